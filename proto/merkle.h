/* merkle.h -- the Merkle tree of RFC 9162 section 2.1: leaf H(0x00 || record), node
 * H(0x01 || left || right), the left subtree the largest power of two below the count.
 *
 * H is SHA-256, or SM3 where a zone asks for it. The root over no leaves is H of nothing.
 */
#ifndef ZR_PROTO_MERKLE_H
#define ZR_PROTO_MERKLE_H

#include <stdint.h>

#include "relay/base/bytes.h"
#include "relay/base/crypto.h"

#define MERKLE_PATH_MAX  63 /* Nodes: enough for MERKLE_COUNT_MAX leaves. */
#define MERKLE_COUNT_MAX (UINT64_C(1) << MERKLE_PATH_MAX)

struct merkle_path {
	uint64_t index;    /* Of the leaf, from 0. */
	uint64_t count;    /* Leaves of the tree; index < count. */
	size_t node_count; /* Exactly what index and count ask for, else the path is not canonical. */
	struct hash nodes[MERKLE_PATH_MAX]; /* From the leaf upwards. */
};

struct hash merkle_leaf(enum hash_alg alg, struct bytes record);
/* In O(count) hashes and no memory; leaves are leaf hashes. */
struct hash merkle_root(enum hash_alg alg, const struct hash *leaves, uint64_t count);

/* The same root for leaves that come one by one and are not kept. */
struct merkle_builder {
	enum hash_alg alg;
	uint64_t count;                         /* Leaves so far. */
	struct hash nodes[MERKLE_PATH_MAX + 1]; /* Roots of full subtrees, one per bit of count. */
};
void merkle_builder_init(struct merkle_builder *builder, enum hash_alg alg);
void merkle_builder_add(struct merkle_builder *builder, const struct hash *leaf);
struct hash merkle_builder_root(const struct merkle_builder *builder);

/* index < count. In O(count) hashes and no memory. */
void merkle_path(enum hash_alg alg, const struct hash *leaves, uint64_t count, uint64_t index,
                 struct merkle_path *out_path);

/* For who wants many paths of one tree: all its nodes are kept, twice the leaves in memory. */
struct merkle_tree;
bool merkle_tree_new(struct merkle_tree **out_tree, enum hash_alg alg, const struct hash *leaves,
                     uint64_t count, struct err *err) MUST_CHECK;
void merkle_tree_free(struct merkle_tree *tree);
struct hash merkle_tree_root(const struct merkle_tree *tree);
void merkle_tree_path(const struct merkle_tree *tree, uint64_t index, struct merkle_path *out_path);

/* How many nodes a canonical path has; index < count <= MERKLE_COUNT_MAX. */
size_t merkle_path_length(uint64_t index, uint64_t count);
/* The root that leaf and path lead to. False: node_count is not canonical, index >= count, or count
 * is above MERKLE_COUNT_MAX. */
bool merkle_path_root(enum hash_alg alg, const struct hash *leaf, const struct merkle_path *path,
                      struct hash *out_root) MUST_CHECK;

#endif
