#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "proto/merkle.h"
#include "tests/lib/fault.h"
#include "tests/lib/vectors.h"

#define CLASSIC_COUNT 8
#define NAIVE_COUNT   200

static const enum hash_alg algs[] = { HASH_SHA256, HASH_SM3 };

static void fill_leaves(struct hash *leaves, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		uint8_t record[2];
		put_be16(record, (uint16_t)i);
		leaves[i] = merkle_leaf(HASH_SHA256, BYTES_OF(record));
	}
}

/* The definition of RFC 9162 section 2.1.1, word for word: recursive, and slow. */
static struct hash naive_root(const struct hash *leaves, size_t count)
{
	if (count == 0)
		return sha256(BYTES_NONE);
	if (count == 1)
		return leaves[0];
	size_t k = 1;
	while (2 * k < count)
		k *= 2;
	struct hash left = naive_root(leaves, k);
	struct hash right = naive_root(leaves + k, count - k);
	const uint8_t prefix = 1;
	const struct bytes parts[] = { BYTES_OF(prefix), BYTES_OF(left.bytes),
		                       BYTES_OF(right.bytes) };
	return hash_parts(HASH_SHA256, parts, 3);
}

/* Section 2.1.3.1, likewise. Returns how many nodes it wrote. */
static size_t naive_path(const struct hash *leaves, size_t count, size_t index, struct hash *nodes)
{
	if (count == 1)
		return 0;
	size_t k = 1;
	while (2 * k < count)
		k *= 2;
	size_t length;
	if (index < k) {
		length = naive_path(leaves, k, index, nodes);
		nodes[length] = naive_root(leaves + k, count - k);
	} else {
		length = naive_path(leaves + k, count - k, index - k, nodes);
		nodes[length] = naive_root(leaves, k);
	}
	return length + 1;
}

static void the_classic_tree_has_the_published_roots_and_paths(void **state)
{
	struct vectors *vectors = vectors_open("merkle.txt");
	for (size_t a = 0; a < 2; a++) {
		const char *alg = hash_alg_name(algs[a]);
		struct hash leaves[CLASSIC_COUNT];
		for (int i = 0; i < CLASSIC_COUNT; i++) {
			leaves[i] = merkle_leaf(algs[a], vector_at(vectors, "record-%d", i));
			assert_bytes_equal(BYTES_OF(leaves[i].bytes),
			                   vector_at(vectors, "%s-leaf-%d", alg, i));
		}
		for (int count = 0; count <= CLASSIC_COUNT; count++) {
			struct hash root = merkle_root(algs[a], leaves, (uint64_t)count);
			assert_bytes_equal(BYTES_OF(root.bytes),
			                   vector_at(vectors, "%s-root-%d", alg, count));
			for (int i = 0; i < count; i++) {
				struct merkle_path path;
				merkle_path(algs[a], leaves, (uint64_t)count, (uint64_t)i, &path);
				struct bytes nodes = { path.nodes[0].bytes,
					               path.node_count * HASH_SIZE };
				assert_bytes_equal(nodes, vector_at(vectors, "%s-path-%d-of-%d",
				                                    alg, i, count));
			}
		}
	}
	/* Known by heart in the Certificate Transparency world, and so not only by our generator. */
	char hex[HASH_HEX_SIZE];
	struct hash root;
	assert_true(hash_from_bytes(&root, vector(vectors, "sha256-root-7")));
	assert_string_equal(hash_hex(&root, hex),
	                    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c");
	vectors_close(vectors);
}

static void check_count(const struct hash *leaves, size_t count)
{
	struct hash expected = naive_root(leaves, count);
	struct hash root = merkle_root(HASH_SHA256, leaves, count);
	struct merkle_tree *tree;
	assert_true(merkle_tree_new(&tree, HASH_SHA256, leaves, count, NULL));
	struct hash tree_root = merkle_tree_root(tree);
	assert_true(hash_equal(&root, &expected));
	assert_true(hash_equal(&tree_root, &expected));

	for (size_t i = 0; i < count; i++) {
		struct hash nodes[MERKLE_PATH_MAX];
		size_t length = naive_path(leaves, count, i, nodes);
		struct merkle_path path;
		struct merkle_path from_tree;
		merkle_path(HASH_SHA256, leaves, count, i, &path);
		merkle_tree_path(tree, i, &from_tree);
		assert_int_equal(path.node_count, length);
		assert_int_equal(from_tree.node_count, length);
		assert_int_equal(merkle_path_length(i, count), length);
		assert_memory_equal(path.nodes, nodes, length * HASH_SIZE);
		assert_memory_equal(from_tree.nodes, nodes, length * HASH_SIZE);
		assert_true(merkle_path_root(HASH_SHA256, &leaves[i], &path, &root));
		assert_true(hash_equal(&root, &expected));
	}
	merkle_tree_free(tree);
}

static void every_tree_up_to_200_leaves_is_what_the_definition_gives(void **state)
{
	struct hash leaves[NAIVE_COUNT];
	fill_leaves(leaves, NAIVE_COUNT);
	for (size_t count = 0; count <= NAIVE_COUNT; count++)
		check_count(leaves, count);
}

static void a_path_of_another_length_is_refused(void **state)
{
	struct hash leaves[7];
	struct hash root;
	struct merkle_path path;
	fill_leaves(leaves, 7);
	for (uint64_t index = 0; index < 7; index++) {
		merkle_path(HASH_SHA256, leaves, 7, index, &path);
		memset(&path.nodes[path.node_count], 0, HASH_SIZE);
		path.node_count++;
		assert_false(merkle_path_root(HASH_SHA256, &leaves[index], &path, &root));
		path.node_count -= 2;
		assert_false(merkle_path_root(HASH_SHA256, &leaves[index], &path, &root));
	}
}

static void an_index_that_is_not_in_the_tree_is_refused(void **state)
{
	struct hash leaf = { { 1 } };
	struct hash root;
	struct merkle_path path = { .index = 0, .count = 0 };
	assert_false(merkle_path_root(HASH_SHA256, &leaf, &path, &root));
	path.index = path.count = 5;
	path.node_count = 3;
	assert_false(merkle_path_root(HASH_SHA256, &leaf, &path, &root));
	path.index = UINT64_MAX;
	path.count = UINT64_MAX;
	assert_false(merkle_path_root(HASH_SHA256, &leaf, &path, &root));
}

static void another_leaf_place_or_node_leads_to_another_root(void **state)
{
	struct hash leaves[7];
	struct hash found;
	struct merkle_path path;
	fill_leaves(leaves, 7);
	struct hash root = merkle_root(HASH_SHA256, leaves, 7);
	merkle_path(HASH_SHA256, leaves, 7, 2, &path);
	assert_true(merkle_path_root(HASH_SHA256, &leaves[3], &path, &found));
	assert_false(hash_equal(&found, &root));
	path.index = 3;
	assert_true(merkle_path_root(HASH_SHA256, &leaves[2], &path, &found));
	assert_false(hash_equal(&found, &root));
	path.index = 2;
	for (size_t i = 0; i < path.node_count; i++) {
		path.nodes[i].bytes[31] ^= 1;
		assert_true(merkle_path_root(HASH_SHA256, &leaves[2], &path, &found));
		assert_false(hash_equal(&found, &root));
		path.nodes[i].bytes[31] ^= 1;
	}
}

static void a_tree_may_be_as_large_as_a_path_of_63_nodes_reaches(void **state)
{
	assert_int_equal(merkle_path_length(0, MERKLE_COUNT_MAX), MERKLE_PATH_MAX);
	assert_int_equal(merkle_path_length(MERKLE_COUNT_MAX - 1, MERKLE_COUNT_MAX),
	                 MERKLE_PATH_MAX);
	assert_int_equal(merkle_path_length(MERKLE_COUNT_MAX / 2, MERKLE_COUNT_MAX / 2 + 1), 1);

	struct hash leaf = { { 7 } };
	struct hash root;
	struct merkle_path path = { .index = 0, .count = MERKLE_COUNT_MAX, .node_count = 63 };
	assert_true(merkle_path_root(HASH_SHA256, &leaf, &path, &root));
	path.count = MERKLE_COUNT_MAX + 1;
	assert_false(merkle_path_root(HASH_SHA256, &leaf, &path, &root));
}

static void a_tree_that_no_memory_could_hold_is_an_error(void **state)
{
	struct merkle_tree *tree = NULL;
	struct err err;
	assert_false(merkle_tree_new(&tree, HASH_SHA256, NULL, UINT64_MAX, &err));
	assert_int_equal(err.code, ZR_NO_MEMORY);
	assert_false(merkle_tree_new(&tree, HASH_SHA256, NULL, SIZE_MAX / HASH_SIZE, &err));
	assert_int_equal(err.code, ZR_NO_MEMORY);
	struct hash leaf = { { 1 } };
	fault_at(1);
	assert_false(merkle_tree_new(&tree, HASH_SHA256, &leaf, 1, &err));
	assert_int_equal(fault_off(), 1);
	assert_int_equal(err.code, ZR_NO_MEMORY);
	assert_null(tree);
}

static void a_root_and_a_path_need_no_memory(void **state)
{
	struct hash leaves[64];
	struct merkle_path path;
	struct hash root;
	fill_leaves(leaves, 64);
	fault_at(1);
	root = merkle_root(HASH_SHA256, leaves, 64);
	merkle_path(HASH_SHA256, leaves, 64, 5, &path);
	assert_true(merkle_path_root(HASH_SHA256, &leaves[5], &path, &root));
	assert_int_equal(fault_off(), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_classic_tree_has_the_published_roots_and_paths),
		cmocka_unit_test(every_tree_up_to_200_leaves_is_what_the_definition_gives),
		cmocka_unit_test(a_path_of_another_length_is_refused),
		cmocka_unit_test(an_index_that_is_not_in_the_tree_is_refused),
		cmocka_unit_test(another_leaf_place_or_node_leads_to_another_root),
		cmocka_unit_test(a_tree_may_be_as_large_as_a_path_of_63_nodes_reaches),
		cmocka_unit_test(a_tree_that_no_memory_could_hold_is_an_error),
		cmocka_unit_test(a_root_and_a_path_need_no_memory),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
