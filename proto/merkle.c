/* A tree of count leaves is the row of full subtrees that the bits of count name, largest first:
 *
 *     7 leaves = 4 + 2 + 1        *            and the root folds that row from its right end:
 *                               /   \          node(four, node(two, one)).
 *                              *     *
 *                             / \   / \        The RFC's rule (left part the largest power of two
 *                            4     2   1       below the count) gives just this shape.
 *
 * Seen by levels: each level pairs its nodes, and an odd last one moves up as it is.
 */
#include "proto/merkle.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#define LEVEL_MAX (MERKLE_PATH_MAX + 1)

static const uint8_t leaf_prefix = 0x00;
static const uint8_t node_prefix = 0x01;

static struct hash node(enum hash_alg alg, const struct hash *left, const struct hash *right)
{
	/* One piece is cheaper to hash than three, and a node is small. */
	uint8_t input[1 + 2 * HASH_SIZE];
	input[0] = node_prefix;
	memcpy(input + 1, left->bytes, HASH_SIZE);
	memcpy(input + 1 + HASH_SIZE, right->bytes, HASH_SIZE);
	return hash_one(alg, BYTES_OF(input));
}

/* The size of the left part: the largest power of two below count. */
static uint64_t split(uint64_t count)
{
	assert(count > 1);
	return UINT64_C(1) << (63 - __builtin_clzll(count - 1));
}

struct hash merkle_leaf(enum hash_alg alg, struct bytes record)
{
	const struct bytes parts[] = { BYTES_OF(leaf_prefix), record };
	return hash_parts(alg, parts, 2);
}

void merkle_builder_init(struct merkle_builder *builder, enum hash_alg alg)
{
	builder->alg = alg;
	builder->count = 0;
}

void merkle_builder_add(struct merkle_builder *builder, const struct hash *leaf)
{
	assert(builder->count < MERKLE_COUNT_MAX);

	struct hash top = *leaf;
	size_t level = 0;
	for (; builder->count >> level & 1; level++)
		top = node(builder->alg, &builder->nodes[level], &top);
	builder->nodes[level] = top;
	builder->count++;
}

struct hash merkle_builder_root(const struct merkle_builder *builder)
{
	if (builder->count == 0)
		return hash_one(builder->alg, BYTES_NONE);

	size_t level = (size_t)__builtin_ctzll(builder->count);
	struct hash root = builder->nodes[level];
	for (level++; level < LEVEL_MAX; level++) {
		if (builder->count >> level & 1)
			root = node(builder->alg, &builder->nodes[level], &root);
	}
	return root;
}

struct hash merkle_root(enum hash_alg alg, const struct hash *leaves, uint64_t count)
{
	struct merkle_builder builder;
	merkle_builder_init(&builder, alg);
	for (uint64_t i = 0; i < count; i++)
		merkle_builder_add(&builder, &leaves[i]);
	return merkle_builder_root(&builder);
}

size_t merkle_path_length(uint64_t index, uint64_t count)
{
	assert(index < count && count <= MERKLE_COUNT_MAX);

	size_t length = 0;
	for (; count > 1; length++) {
		uint64_t left = split(count);
		if (index < left) {
			count = left;
		} else {
			index -= left;
			count -= left;
		}
	}
	return length;
}

void merkle_path(enum hash_alg alg, const struct hash *leaves, uint64_t count, uint64_t index,
                 struct merkle_path *out_path)
{
	out_path->index = index;
	out_path->count = count;
	out_path->node_count = merkle_path_length(index, count);

	/* From the root down, the half that is not ours is a node of the path. */
	for (size_t i = out_path->node_count; i > 0; i--) {
		uint64_t left = split(count);
		if (index < left) {
			out_path->nodes[i - 1] = merkle_root(alg, leaves + left, count - left);
			count = left;
		} else {
			out_path->nodes[i - 1] = merkle_root(alg, leaves, left);
			leaves += left;
			index -= left;
			count -= left;
		}
	}
}

bool merkle_path_root(enum hash_alg alg, const struct hash *leaf, const struct merkle_path *path,
                      struct hash *out_root)
{
	if (path->count > MERKLE_COUNT_MAX || path->index >= path->count ||
	    path->node_count != merkle_path_length(path->index, path->count))
		return false;

	struct hash root = *leaf;
	uint64_t index = path->index;
	uint64_t last = path->count - 1; /* Of the level we are at. */
	for (size_t i = 0; i < path->node_count; i++) {
		assert(last > 0);
		while (index == last && (index & 1) == 0) {
			index >>= 1; /* The odd last node moves up as it is. */
			last >>= 1;
		}
		root = (index & 1) == 1 ? node(alg, &path->nodes[i], &root)
		                        : node(alg, &root, &path->nodes[i]);
		index >>= 1;
		last >>= 1;
	}
	*out_root = root;
	return true;
}

struct merkle_tree {
	enum hash_alg alg;
	uint64_t count;
	size_t level_count;
	size_t level_begin[LEVEL_MAX + 1]; /* In nodes; level 0 are the leaves. */
	struct hash nodes[];
};

static size_t level_size(const struct merkle_tree *tree, size_t level)
{
	return tree->level_begin[level + 1] - tree->level_begin[level];
}

static void fill_level(struct merkle_tree *tree, size_t level)
{
	const struct hash *below = tree->nodes + tree->level_begin[level - 1];
	size_t below_size = level_size(tree, level - 1);
	struct hash *nodes = tree->nodes + tree->level_begin[level];
	for (size_t i = 0; i < below_size / 2; i++)
		nodes[i] = node(tree->alg, &below[2 * i], &below[2 * i + 1]);
	if (below_size % 2 == 1)
		nodes[below_size / 2] = below[below_size - 1];
}

bool merkle_tree_new(struct merkle_tree **out_tree, enum hash_alg alg, const struct hash *leaves,
                     uint64_t count, struct err *err)
{
	struct merkle_tree shape = { .alg = alg, .count = count };
	if (count > (SIZE_MAX - sizeof(shape)) / sizeof(struct hash) / 2 - LEVEL_MAX)
		return err_set(err, ZR_NO_MEMORY, "a tree of so many leaves");

	size_t size = (size_t)count;
	shape.level_begin[1] = size;
	for (shape.level_count = 1; size > 1; shape.level_count++) {
		size = (size + 1) / 2;
		shape.level_begin[shape.level_count + 1] =
			shape.level_begin[shape.level_count] + size;
	}
	size_t node_count = shape.level_begin[shape.level_count];
	struct merkle_tree *tree = malloc(sizeof(*tree) + node_count * sizeof(struct hash));
	if (tree == NULL)
		return err_set(err, ZR_NO_MEMORY, "a tree of %zu nodes", node_count);

	*tree = shape;
	if (count > 0)
		memcpy(tree->nodes, leaves, (size_t)count * sizeof(struct hash));
	for (size_t level = 1; level < tree->level_count; level++)
		fill_level(tree, level);
	*out_tree = tree;
	return true;
}

void merkle_tree_free(struct merkle_tree *tree)
{
	free(tree);
}

struct hash merkle_tree_root(const struct merkle_tree *tree)
{
	if (tree->count == 0)
		return hash_one(tree->alg, BYTES_NONE);
	return tree->nodes[tree->level_begin[tree->level_count] - 1];
}

void merkle_tree_path(const struct merkle_tree *tree, uint64_t index, struct merkle_path *out_path)
{
	assert(index < tree->count);

	out_path->index = index;
	out_path->count = tree->count;
	out_path->node_count = 0;
	size_t place = (size_t)index;
	for (size_t level = 0; level + 1 < tree->level_count; level++, place /= 2) {
		size_t sibling = place ^ 1;
		if (sibling < level_size(tree, level))
			out_path->nodes[out_path->node_count++] =
				tree->nodes[tree->level_begin[level] + sibling];
	}
	assert(out_path->node_count == merkle_path_length(index, tree->count));
}
