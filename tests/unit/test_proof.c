#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "proto/message.h"
#include "proto/proof.h"
#include "tests/lib/fault.h"
#include "tests/lib/sample.h"
#include "tests/lib/vectors.h"

static struct vectors *vectors;

static int open_vectors(void **state)
{
	vectors = vectors_open("receipts.txt");
	return 0;
}

static int close_vectors(void **state)
{
	vectors_close(vectors);
	return 0;
}

/* Of block 8, the second of three, in the first of two entries. */
static struct proof sample_proof(void)
{
	struct entry entries[2];
	struct anchor anchor = sample_anchor(entries);
	struct receipt_root receipt = sample_receipt_root();
	struct hash leaves[SAMPLE_HEADERS];
	struct hash entry_leaves[2] = { entry_leaf(HASH_SHA256, &entries[0]),
		                        entry_leaf(HASH_SHA256, &entries[1]) };
	struct proof proof = {
		.block = BYTES_LITERAL("raw block"),
		.format = "fabric",
		.header = sample_header(1),
		.entry = entries[0],
		.alg = HASH_SHA256,
		.lane = anchor.lane,
		.seq = anchor.seq,
		.root = anchor.root,
		.key = receipt.key,
		.sink = "http",
		.evidence = BYTES_LITERAL(SAMPLE_EVIDENCE),
	};
	for (int i = 0; i < SAMPLE_HEADERS; i++) {
		struct block_header header = sample_header(i);
		leaves[i] = header_leaf(HASH_SHA256, &header);
	}
	merkle_path(HASH_SHA256, leaves, SAMPLE_HEADERS, 1, &proof.block_path);
	merkle_path(HASH_SHA256, entry_leaves, 2, 0, &proof.entry_path);
	return proof;
}

static void a_proof_is_the_vector_and_proves_its_block(void **state)
{
	struct proof proof = sample_proof();
	struct buffer file = BUFFER_EMPTY;
	struct err err;
	if (!proof_encode(&proof, &file, &err))
		fail_msg("%s", err.message);
	assert_bytes_equal(buffer_bytes(&file), vector(vectors, "proof"));
	assert_true(proof_check(&proof, &err));
	assert_true(proof_check_block(&proof, &proof.header, &err));
	buffer_fini(&file);
}

static void a_decoded_proof_is_what_was_encoded(void **state)
{
	struct proof *proof = NULL;
	struct buffer again = BUFFER_EMPTY;
	struct err err;
	assert_true(proof_decode(vector(vectors, "proof"), &proof, &err));
	assert_string_equal(proof->format, "fabric");
	assert_string_equal(proof->sink, "http");
	assert_int_equal(proof->header.height, 8);
	assert_int_equal(proof->block_path.count, 3);
	assert_true(bytes_equal(proof->block, BYTES_LITERAL("raw block")));
	assert_true(proof_check(proof, &err));
	assert_true(proof_encode(proof, &again, &err));
	assert_bytes_equal(buffer_bytes(&again), vector(vectors, "proof"));
	proof_free(proof);
	proof_free(NULL);
	buffer_fini(&again);
}

static void no_changed_byte_leaves_both_a_proof_and_its_meaning(void **state)
{
	struct bytes file = vector(vectors, "proof");
	struct proof good = sample_proof();
	struct buffer changed = BUFFER_EMPTY;
	buffer_put(&changed, file);
	for (size_t at = 0; at < file.size; at++) {
		struct proof *proof = NULL;
		struct err err;
		changed.data[at] ^= 0x01;
		/* What is left for others to check: raw block, key, lane, seq, evidence, names. */
		if (proof_decode(buffer_bytes(&changed), &proof, &err) &&
		    proof_check(proof, &err)) {
			assert_true(hash_equal(&proof->root, &good.root));
			assert_true(proof_check_block(proof, &good.header, &err));
		}
		proof_free(proof);
		changed.data[at] ^= 0x01;
	}
	buffer_fini(&changed);
}

static void a_proof_that_does_not_hold_says_where(void **state)
{
	struct proof proof;
	struct err err;
#define CHANGED(change, why)                              \
	do {                                              \
		proof = sample_proof();                   \
		change;                                   \
		assert_false(proof_check(&proof, &err));  \
		assert_int_equal(err.code, ZR_UNTRUSTED); \
		if (strstr(err.message, why) == NULL)     \
			fail_msg("%s", err.message);      \
	} while (0)
	CHANGED(proof.header.height = 6, "height is not in the entry");
	CHANGED(proof.header.height = 10, "height is not in the entry");
	CHANGED(proof.header.height = 7, "path is not that of its height");
	CHANGED(proof.block_path.count = 2, "path is not that of its height");
	CHANGED(proof.block_path.node_count = 1, "block's path is not canonical");
	CHANGED(proof.header.entry_count = 16, "does not lead to the entry's subtree");
	CHANGED(proof.block_path.nodes[0].bytes[0] ^= 1, "does not lead to the entry's subtree");
	CHANGED((proof.header = sample_header(2), proof.header.hash.bytes[0] ^= 1,
	         proof.block_path.index = 2),
	        "not the entry's tip");
	CHANGED(proof.entry_path.count = 0, "entry's path is not canonical");
	CHANGED(proof.entry_path.nodes[0].bytes[0] ^= 1, "does not lead to the anchor's root");
	CHANGED(proof.entry.policy = POLICY_TAIL, "does not lead to the anchor's root");
	CHANGED(proof.root.bytes[0] ^= 1, "does not lead to the anchor's root");
	CHANGED(proof.alg = HASH_SM3, "subtree");
#undef CHANGED
}

static void a_proof_is_for_one_block_only(void **state)
{
	struct proof proof = sample_proof();
	struct block_header other = sample_header(0);
	struct err err;
	assert_false(proof_check_block(&proof, &other, &err));
	assert_int_equal(err.code, ZR_UNTRUSTED);
	other = proof.header;
	other.time_ms++;
	assert_false(proof_check_block(&proof, &other, &err));
}

static void a_proof_outside_its_limits_is_not_written(void **state)
{
	struct proof proof;
	struct buffer file = BUFFER_EMPTY;
	struct err err;
	static uint8_t large[PROOF_EVIDENCE_MAX + 1];
#define CHANGED(change, why)                                     \
	do {                                                     \
		proof = sample_proof();                          \
		change;                                          \
		assert_false(proof_encode(&proof, &file, &err)); \
		assert_int_equal(err.code, ZR_INVALID);          \
		assert_non_null(strstr(err.message, why));       \
	} while (0)
	CHANGED(proof.seq = 0, "seq");
	CHANGED(proof.sink = "", "sink");
	CHANGED(proof.format = "two words", "format");
	CHANGED(proof.evidence = BYTES_OF(large), "evidence");
	CHANGED(proof.alg = (enum hash_alg)0, "hash_alg");
	CHANGED(proof.block_path.count = 0, "block_path: count");
#undef CHANGED
	assert_int_equal(file.size, 0);
	buffer_fini(&file);
}

static void a_file_that_is_no_proof_is_refused(void **state)
{
	struct bytes file = vector(vectors, "proof");
	struct proof *proof = NULL;
	struct err err;
	for (size_t size = 0; size < file.size; size++) {
		assert_false(proof_decode((struct bytes){ file.data, size }, &proof, &err));
		assert_int_equal(err.code, ZR_INVALID);
	}
	uint8_t *large = calloc(1, PROOF_SIZE_MAX + 1);
	assert_non_null(large);
	assert_false(proof_decode((struct bytes){ large, PROOF_SIZE_MAX + 1 }, &proof, &err));
	assert_false(proof_decode((struct bytes){ large, 4096 }, &proof, &err));
	free(large);
	assert_null(proof);
}

static void out_of_memory_leaves_nothing_behind(void **state)
{
	size_t n = 0;
	for (bool ok = false; !ok; n++) {
		struct proof *proof = NULL;
		struct err err;
		fault_at(n + 1);
		ok = proof_decode(vector(vectors, "proof"), &proof, &err);
		assert_int_equal(fault_off() == 0, ok);
		assert_true(ok || err.code == ZR_NO_MEMORY);
		proof_free(proof);
	}
	assert_true(n > 5);
	n = 0;
	for (bool ok = false; !ok; n++) {
		struct proof proof = sample_proof();
		struct buffer file = BUFFER_EMPTY;
		struct err err;
		fault_at(n + 1);
		ok = proof_encode(&proof, &file, &err);
		assert_int_equal(fault_off() == 0, ok);
		assert_true(ok || err.code == ZR_NO_MEMORY);
		buffer_fini(&file);
	}
	assert_true(n > 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_proof_is_the_vector_and_proves_its_block),
		cmocka_unit_test(a_decoded_proof_is_what_was_encoded),
		cmocka_unit_test(no_changed_byte_leaves_both_a_proof_and_its_meaning),
		cmocka_unit_test(a_proof_that_does_not_hold_says_where),
		cmocka_unit_test(a_proof_is_for_one_block_only),
		cmocka_unit_test(a_proof_outside_its_limits_is_not_written),
		cmocka_unit_test(a_file_that_is_no_proof_is_refused),
		cmocka_unit_test(out_of_memory_leaves_nothing_behind),
	};
	return cmocka_run_group_tests(tests, open_vectors, close_vectors);
}
