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

#define MERKLE_PATH_MAX 63 /* Nodes: enough for any count a uint64_t holds. */

struct merkle_path {
	uint64_t index;    /* Of the leaf, from 0. */
	uint64_t count;    /* Leaves of the tree; index < count. */
	size_t node_count; /* Exactly what index and count ask for, else the path is not canonical. */
	struct hash nodes[MERKLE_PATH_MAX]; /* From the leaf upwards. */
};

struct hash merkle_leaf(enum hash_alg alg, struct bytes record);
/* In O(count) hashes; leaves are leaf hashes. */
struct hash merkle_root(enum hash_alg alg, const struct hash *leaves, uint64_t count);
void merkle_path(enum hash_alg alg, const struct hash *leaves, uint64_t count, uint64_t index,
                 struct merkle_path *out_path);
/* All paths at once in O(count) memory: levels kept by the caller of many paths. */
struct merkle_tree;
bool merkle_tree_new(struct merkle_tree **out_tree, enum hash_alg alg, const struct hash *leaves,
                     uint64_t count, struct err *err) MUST_CHECK;
void merkle_tree_free(struct merkle_tree *tree);
struct hash merkle_tree_root(const struct merkle_tree *tree);
void merkle_tree_path(const struct merkle_tree *tree, uint64_t index, struct merkle_path *out_path);

/* How many nodes a canonical path has. */
size_t merkle_path_length(uint64_t index, uint64_t count);
/* The root that leaf and path lead to. False: node_count is not canonical, or index >= count. */
bool merkle_path_root(enum hash_alg alg, const struct hash *leaf, const struct merkle_path *path,
                      struct hash *out_root);

#endif
