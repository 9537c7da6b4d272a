#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "proto/record.h"
#include "tests/lib/fault.h"
#include "tests/lib/sample.h"
#include "tests/lib/vectors.h"

static struct vectors *vectors;

static int open_vectors(void **state)
{
	vectors = vectors_open("records.txt");
	return 0;
}

static int close_vectors(void **state)
{
	vectors_close(vectors);
	return 0;
}

/* A small anchor of each kind, and room to break it. */
struct sample {
	struct anchor anchor;
	struct entry entries[2];
	struct block_header headers[SAMPLE_HEADERS];
	struct batch_ref batches[2];
};

static void sample_init(struct sample *sample, enum deliver deliver, enum hash_alg alg)
{
	sample->anchor = sample_anchor(sample->entries);
	sample->entries[0] = sample_entry(alg);
	for (int i = 0; i < SAMPLE_HEADERS; i++)
		sample->headers[i] = sample_header(i);
	sample->batches[0] = (struct batch_ref){ sample_hash(0xc0), 4096, sample_hash(0xdc) };
	sample->batches[1] = (struct batch_ref){ sample_hash(0xc1), 1, sample_hash(0) };
	sample->anchor.alg = alg;
	sample->anchor.deliver = deliver;
	if (deliver == DELIVER_ANCHOR)
		return;
	sample->anchor.seq = 2;
	sample->anchor.previous = sample_hash(0xa1);
	sample->anchor.entry_count = 1;
	if (deliver == DELIVER_HEADERS) {
		sample->anchor.headers = sample->headers;
		sample->anchor.header_count = SAMPLE_HEADERS;
	} else {
		sample->anchor.batches = sample->batches;
		sample->anchor.batch_count = 1;
	}
}

static void encode(struct sample *sample, struct buffer *out)
{
	sample->anchor.root = anchor_entries_root(sample->anchor.alg, sample->anchor.entries,
	                                          sample->anchor.entry_count);
	buffer_clear(out);
	anchor_content_encode(&sample->anchor, out);
	assert_true(buffer_ok(out, NULL));
	assert_int_equal(anchor_content_size(&sample->anchor), out->size);
}

static bool decodes(struct bytes content, struct err *err)
{
	struct anchor_decoded *decoded = NULL;
	bool ok = anchor_content_decode(content, &decoded, err);
	assert_true(ok || err->code == ZR_INVALID);
	assert_true(ok || strncmp(err->message, "anchor content: ", 16) == 0);
	anchor_decoded_free(decoded);
	return ok;
}

/* Encodes the sample as it is now; must be refused with a message that has `why` in it. */
static void refused(struct sample *sample, const char *why)
{
	struct buffer content = BUFFER_EMPTY;
	struct err err;
	encode(sample, &content);
	assert_false(decodes(buffer_bytes(&content), &err));
	if (strstr(err.message, why) == NULL)
		fail_msg("\"%s\" does not say \"%s\"", err.message, why);
	buffer_fini(&content);
}

static void contents_and_keys_are_the_vectors(void **state)
{
	static const struct {
		const char *name;
		enum deliver deliver;
		enum hash_alg alg;
		uint16_t lane;
	} rows[] = {
		{ "anchor", DELIVER_ANCHOR, HASH_SHA256, 3 },
		{ "anchor-headers", DELIVER_HEADERS, HASH_SHA256, 3 },
		{ "anchor-full", DELIVER_FULL, HASH_SHA256, 3 },
		{ "anchor-sm3", DELIVER_HEADERS, HASH_SM3, UINT16_MAX },
	};
	struct buffer content = BUFFER_EMPTY;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct sample sample;
		sample_init(&sample, rows[i].deliver, rows[i].alg);
		sample.anchor.lane = rows[i].lane;
		encode(&sample, &content);
		assert_bytes_equal(buffer_bytes(&content), vector(vectors, rows[i].name));
		struct hash key = anchor_key(rows[i].alg, buffer_bytes(&content));
		assert_bytes_equal(BYTES_OF(key.bytes), vector_at(vectors, "%s-key", rows[i].name));
	}
	buffer_fini(&content);
}

static void content_decodes_to_what_it_was(void **state)
{
	static const char *const names[] = { "anchor", "anchor-headers", "anchor-full",
		                             "anchor-sm3" };
	struct buffer again = BUFFER_EMPTY;
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		struct anchor_decoded *decoded;
		struct bytes content = vector(vectors, names[i]);
		assert_true(anchor_content_decode(content, &decoded, NULL));
		buffer_clear(&again);
		anchor_content_encode(anchor_decoded_view(decoded), &again);
		assert_bytes_equal(buffer_bytes(&again), content);
		anchor_decoded_free(decoded);
	}
	buffer_fini(&again);
	anchor_decoded_free(NULL);
}

static void content_cut_short_or_with_a_byte_more_is_refused(void **state)
{
	static const char *const names[] = { "anchor", "anchor-headers", "anchor-full" };
	struct err err;
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		struct bytes content = vector(vectors, names[i]);
		for (size_t size = 0; size < content.size; size++)
			assert_false(decodes((struct bytes){ content.data, size }, &err));
		struct buffer longer = BUFFER_EMPTY;
		buffer_put(&longer, content);
		buffer_put_u8(&longer, 0);
		assert_false(decodes(buffer_bytes(&longer), &err));
		assert_non_null(strstr(err.message, "1 bytes too many"));
		buffer_fini(&longer);
	}
}

static void every_byte_of_headers_content_is_bound(void **state)
{
	/* From the root on; lane, sequence and previous root are for the main chain to judge. */
	struct bytes content = vector(vectors, "anchor-headers");
	struct buffer changed = BUFFER_EMPTY;
	struct err err;
	buffer_put(&changed, content);
	for (size_t at = 48; at < content.size; at++) {
		changed.data[at] ^= 0x01;
		assert_false(decodes(buffer_bytes(&changed), &err));
		changed.data[at] ^= 0x01;
	}
	buffer_fini(&changed);
}

static void unknown_kinds_of_anchor_are_refused(void **state)
{
	struct bytes content = vector(vectors, "anchor");
	struct buffer changed = BUFFER_EMPTY;
	struct err err;
	static const struct {
		size_t at;
		uint8_t value;
		const char *why;
	} rows[] = {
		{ 3, '2', "not anchor content" },
		{ 4, 0, "hash algorithm" },
		{ 4, 3, "hash algorithm" },
		{ 5, 0, "deliver" },
		{ 5, 4, "deliver" },
		{ 15, 0, "sequence" },
		{ 15, 2, "sequence" },
		{ 16, 1, "sequence" },
	};
	buffer_put(&changed, content);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		uint8_t before = changed.data[rows[i].at];
		changed.data[rows[i].at] = rows[i].value;
		assert_false(decodes(buffer_bytes(&changed), &err));
		if (strstr(err.message, rows[i].why) == NULL)
			fail_msg("row %zu: %s", i, err.message);
		changed.data[rows[i].at] = before;
	}
	assert_true(decodes(buffer_bytes(&changed), &err));
	buffer_fini(&changed);
}

static void counts_that_the_bytes_cannot_hold_allocate_nothing(void **state)
{
	struct bytes content = vector(vectors, "anchor");
	struct buffer changed = BUFFER_EMPTY;
	struct err err;
	buffer_put(&changed, content);
	static const uint32_t counts[] = { 0, 4, 65536, 65537, UINT32_MAX };
	for (size_t i = 0; i < sizeof(counts) / sizeof(counts[0]); i++) {
		put_be32(changed.data + 80, counts[i]);
		assert_false(decodes(buffer_bytes(&changed), &err));
		assert_non_null(strstr(err.message, "entries"));
	}
	put_be32(changed.data + 80, 2);
	put_be32(changed.data + content.size - 8, 1000001);
	assert_false(decodes(buffer_bytes(&changed), &err));
	assert_non_null(strstr(err.message, "headers"));
	put_be32(changed.data + content.size - 8, 0);
	put_be32(changed.data + content.size - 4, 262145);
	assert_false(decodes(buffer_bytes(&changed), &err));
	assert_non_null(strstr(err.message, "batches"));
	buffer_fini(&changed);
}

static void a_root_that_is_not_the_tree_over_the_entries_is_refused(void **state)
{
	struct buffer changed = BUFFER_EMPTY;
	struct err err;
	buffer_put(&changed, vector(vectors, "anchor"));
	changed.data[48] ^= 1;
	assert_false(decodes(buffer_bytes(&changed), &err));
	assert_non_null(strstr(err.message, "root"));
	buffer_fini(&changed);
}

static void no_block_may_be_in_two_entries(void **state)
{
	struct sample sample;
	struct buffer content = BUFFER_EMPTY;
	struct err err;
	sample_init(&sample, DELIVER_ANCHOR, HASH_SHA256);
	sample.entries[1] = sample.entries[0];
	refused(&sample, "two entries of tq-0001 overlap");
	sample.entries[1].from = 9;
	sample.entries[1].to = 20;
	refused(&sample, "overlap");
	sample.entries[1].from = 0;
	sample.entries[1].to = HEIGHT_MAX; /* Around the other one. */
	refused(&sample, "overlap");

	sample.entries[1].from = 10;
	encode(&sample, &content);
	assert_true(decodes(buffer_bytes(&content), &err)); /* One after the other is right. */
	sample.entries[1] = sample.entries[0];
	sample.entries[1].chain.epoch.bytes[0] ^= 1;
	encode(&sample, &content);
	assert_true(decodes(buffer_bytes(&content), &err)); /* Another epoch is another chain. */
	buffer_fini(&content);
}

static void headers_must_be_all_blocks_of_all_entries(void **state)
{
	struct sample sample;
	sample_init(&sample, DELIVER_HEADERS, HASH_SHA256);
	sample.anchor.header_count = SAMPLE_HEADERS - 1;
	refused(&sample, "headers of entry 0 are missing");
	sample.anchor.header_count = 0;
	refused(&sample, "0 headers where deliver is headers");
	sample_init(&sample, DELIVER_HEADERS, HASH_SHA256);
	sample.entries[0].to = 8;
	refused(&sample, "tip");
	sample.entries[0].tip = sample.headers[1].hash;
	refused(&sample, "subtree");

	struct hash leaves[2] = { header_leaf(HASH_SHA256, &sample.headers[0]),
		                  header_leaf(HASH_SHA256, &sample.headers[1]) };
	sample.entries[0].subtree = merkle_root(HASH_SHA256, leaves, 2);
	refused(&sample, "more headers than the entries name");
	sample_init(&sample, DELIVER_HEADERS, HASH_SHA256);
	sample.entries[0].to = HEIGHT_MAX;
	refused(&sample, "missing");
	sample_init(&sample, DELIVER_HEADERS, HASH_SHA256);
	sample.headers[2].parent.bytes[0] ^= 1;
	refused(&sample, "headers of entry 0: header 2 has another parent");
	sample_init(&sample, DELIVER_HEADERS, HASH_SHA256);
	sample.headers[2].height = HEIGHT_MAX + 1;
	refused(&sample, "header 2: ");
}

static void a_deliver_policy_has_its_own_array_and_no_other(void **state)
{
	struct sample sample;
	sample_init(&sample, DELIVER_HEADERS, HASH_SHA256);
	sample.anchor.deliver = DELIVER_ANCHOR;
	refused(&sample, "3 headers where deliver is anchor");
	sample.anchor.deliver = DELIVER_FULL;
	refused(&sample, "3 headers where deliver is full");
	sample_init(&sample, DELIVER_FULL, HASH_SHA256);
	sample.anchor.deliver = DELIVER_ANCHOR;
	refused(&sample, "1 batches of 1 entries where deliver is anchor");
	sample_init(&sample, DELIVER_FULL, HASH_SHA256);
	sample.anchor.batch_count = 0;
	refused(&sample, "0 batches of 1 entries");
	sample_init(&sample, DELIVER_FULL, HASH_SHA256);
	sample.batches[0].size_bytes = 0;
	refused(&sample, "batch 0 is empty");
}

static void content_above_the_limit_is_not_looked_at(void **state)
{
	uint8_t *data = calloc(1, ANCHOR_CONTENT_SIZE_MAX + 1);
	struct err err;
	assert_non_null(data);
	assert_false(anchor_content_decode((struct bytes){ data, ANCHOR_CONTENT_SIZE_MAX + 1 },
	                                   NULL, &err));
	assert_int_equal(err.code, ZR_INVALID);
	free(data);
}

static void the_largest_number_of_entries_is_taken(void **state)
{
	struct entry *entries = calloc(ANCHOR_ENTRIES_MAX, sizeof(*entries));
	struct buffer content = BUFFER_EMPTY;
	struct err err;
	assert_non_null(entries);
	for (size_t i = 0; i < ANCHOR_ENTRIES_MAX; i++) {
		entries[i] = sample_other_entry();
		entries[i].from = entries[i].to = ANCHOR_ENTRIES_MAX - i;
	}
	struct anchor anchor = {
		.alg = HASH_SHA256,
		.deliver = DELIVER_ANCHOR,
		.seq = 1,
		.entries = entries,
		.entry_count = ANCHOR_ENTRIES_MAX,
	};
	anchor.root = anchor_entries_root(HASH_SHA256, entries, ANCHOR_ENTRIES_MAX);
	anchor_content_encode(&anchor, &content);
	assert_true(decodes(buffer_bytes(&content), &err));
	buffer_fini(&content);
	free(entries);
}

static void out_of_memory_leaves_nothing_behind(void **state)
{
	static const char *const names[] = { "anchor", "anchor-headers", "anchor-full" };
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		size_t n = 0;
		for (bool ok = false; !ok; n++) {
			struct anchor_decoded *decoded = NULL;
			struct err err;
			fault_at(n + 1);
			ok = anchor_content_decode(vector(vectors, names[i]), &decoded, &err);
			assert_int_equal(fault_off() == 0, ok);
			assert_true(ok || err.code == ZR_NO_MEMORY);
			anchor_decoded_free(decoded);
		}
		assert_true(n > 3);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(contents_and_keys_are_the_vectors),
		cmocka_unit_test(content_decodes_to_what_it_was),
		cmocka_unit_test(content_cut_short_or_with_a_byte_more_is_refused),
		cmocka_unit_test(every_byte_of_headers_content_is_bound),
		cmocka_unit_test(unknown_kinds_of_anchor_are_refused),
		cmocka_unit_test(counts_that_the_bytes_cannot_hold_allocate_nothing),
		cmocka_unit_test(a_root_that_is_not_the_tree_over_the_entries_is_refused),
		cmocka_unit_test(no_block_may_be_in_two_entries),
		cmocka_unit_test(headers_must_be_all_blocks_of_all_entries),
		cmocka_unit_test(a_deliver_policy_has_its_own_array_and_no_other),
		cmocka_unit_test(content_above_the_limit_is_not_looked_at),
		cmocka_unit_test(the_largest_number_of_entries_is_taken),
		cmocka_unit_test(out_of_memory_leaves_nothing_behind),
	};
	return cmocka_run_group_tests(tests, open_vectors, close_vectors);
}
