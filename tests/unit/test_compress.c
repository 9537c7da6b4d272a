#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "proto/compress.h"
#include "relay/base/crypto.h"
#include "tests/lib/fault.h"

#define LEVEL        3
#define SAMPLE_COUNT 400

/* Meter readings: alike, but not the same. */
static void put_reading(struct buffer *out, unsigned number)
{
	buffer_printf(out,
	              "{\"meter\":\"31-%06u\",\"time\":\"2026-11-23T%02u:%02u:00+08:00\","
	              "\"active_kwh\":%u.%03u,\"phase\":[220.%u,219.%u,221.%u]}",
	              number * 37 % 500, number / 60 % 24, number % 60, number * 13 % 9000,
	              number * 7919 % 1000, number % 10, number * 3 % 10, number * 7 % 10);
}

static void train_sample(struct buffer *out)
{
	struct buffer readings[SAMPLE_COUNT];
	struct bytes samples[SAMPLE_COUNT];
	struct err err;
	for (unsigned i = 0; i < SAMPLE_COUNT; i++) {
		readings[i] = BUFFER_EMPTY;
		put_reading(&readings[i], i);
		samples[i] = buffer_bytes(&readings[i]);
	}
	if (!dictionary_train(samples, SAMPLE_COUNT, 4096, out, &err))
		fail_msg("%s", err.message);
	for (size_t i = 0; i < SAMPLE_COUNT; i++)
		buffer_fini(&readings[i]);
}

struct fixture {
	struct compressor *compressor;
	struct decompressor *decompressor;
	struct dictionary *dictionary;
	struct buffer raw, compressed, out;
	struct err err;
};

static int set_up(void **state)
{
	struct fixture *fixture = calloc(1, sizeof(*fixture));
	struct buffer trained = BUFFER_EMPTY;
	train_sample(&trained);
	assert_true(compressor_new(&fixture->compressor, LEVEL, NULL));
	assert_true(decompressor_new(&fixture->decompressor, NULL));
	assert_true(dictionary_new(&fixture->dictionary, buffer_bytes(&trained), LEVEL, NULL));
	buffer_fini(&trained);
	put_reading(&fixture->raw, 7);
	*state = fixture;
	return 0;
}

static int tear_down(void **state)
{
	struct fixture *fixture = *state;
	compressor_free(fixture->compressor);
	decompressor_free(fixture->decompressor);
	dictionary_free(fixture->dictionary);
	buffer_fini(&fixture->raw);
	buffer_fini(&fixture->compressed);
	buffer_fini(&fixture->out);
	free(fixture);
	return 0;
}

static void pack(struct fixture *fixture, const struct dictionary *dictionary)
{
	buffer_clear(&fixture->compressed);
	assert_true(compressor_run(fixture->compressor, buffer_bytes(&fixture->raw), dictionary,
	                           &fixture->compressed, NULL));
}

static bool unpack(struct fixture *fixture, const struct dictionary *dictionary, size_t size_max)
{
	buffer_clear(&fixture->out);
	bool ok = decompressor_run(fixture->decompressor, buffer_bytes(&fixture->compressed),
	                           dictionary, size_max, &fixture->out, &fixture->err);
	if (!ok) {
		assert_int_equal(fixture->err.code, ZR_INVALID);
		assert_int_equal(fixture->out.size, 0);
	}
	return ok;
}

static void what_was_compressed_comes_back(void **state)
{
	struct fixture *fixture = *state;
	for (size_t size = 0; size < 300000; size = size * 3 + 1) {
		buffer_clear(&fixture->raw);
		for (unsigned i = 0; fixture->raw.size < size; i++)
			put_reading(&fixture->raw, i);
		fixture->raw.size = size;
		pack(fixture, NULL);
		assert_true(unpack(fixture, NULL, size));
		assert_true(bytes_equal(buffer_bytes(&fixture->out), buffer_bytes(&fixture->raw)));
		pack(fixture, fixture->dictionary);
		assert_true(unpack(fixture, fixture->dictionary, size));
		assert_true(bytes_equal(buffer_bytes(&fixture->out), buffer_bytes(&fixture->raw)));
	}
}

static void output_is_appended_to_what_is_there(void **state)
{
	struct fixture *fixture = *state;
	buffer_put(&fixture->compressed, BYTES_LITERAL("front"));
	assert_true(compressor_run(fixture->compressor, BYTES_LITERAL("tail"), NULL,
	                           &fixture->compressed, NULL));
	assert_memory_equal(fixture->compressed.data, "front", 5);
	struct bytes frame = { fixture->compressed.data + 5, fixture->compressed.size - 5 };
	buffer_put(&fixture->out, BYTES_LITERAL("head"));
	assert_true(decompressor_run(fixture->decompressor, frame, NULL, 4, &fixture->out, NULL));
	assert_true(bytes_equal(buffer_bytes(&fixture->out), BYTES_LITERAL("headtail")));
}

static void a_dictionary_is_named_by_its_hash_and_makes_small_batches_smaller(void **state)
{
	struct fixture *fixture = *state;
	struct hash hash = sha256(dictionary_bytes(fixture->dictionary));
	assert_true(hash_equal(&hash, dictionary_hash(fixture->dictionary)));
	pack(fixture, NULL);
	size_t plain = fixture->compressed.size;
	pack(fixture, fixture->dictionary);
	assert_true(fixture->compressed.size < plain * 3 / 4);
}

static void the_dictionarys_own_number_does_not_travel(void **state)
{
	struct fixture *fixture = *state;
	pack(fixture, fixture->dictionary);
	assert_int_equal(fixture->compressed.data[4] & 3, 0);
}

static void a_missing_or_wrong_dictionary_is_noticed(void **state)
{
	struct fixture *fixture = *state;
	struct dictionary *other;
	struct buffer bytes = BUFFER_EMPTY;
	for (unsigned i = 0; i < 30; i++)
		buffer_printf(&bytes, "wholly other words %u, ", i * i);
	assert_true(dictionary_new(&other, buffer_bytes(&bytes), LEVEL, NULL));
	pack(fixture, fixture->dictionary);
	assert_false(unpack(fixture, NULL, 4096));
	assert_false(unpack(fixture, other, 4096));
	assert_true(unpack(fixture, fixture->dictionary, 4096));
	dictionary_free(other);
	buffer_fini(&bytes);
}

static void more_than_the_limit_is_refused_before_anything_is_allocated(void **state)
{
	struct fixture *fixture = *state;
	buffer_clear(&fixture->raw);
	memset(buffer_reserve(&fixture->raw, 64u << 20), 0, 64u << 20);
	buffer_grew(&fixture->raw, 64u << 20);
	pack(fixture, NULL);
	assert_true(fixture->compressed.size < 8192); /* A bomb. */
	buffer_fini(&fixture->out);
	assert_false(unpack(fixture, NULL, (64u << 20) - 1));
	assert_int_equal(fixture->out.capacity, 0);
	assert_true(unpack(fixture, NULL, 64u << 20));
}

static void a_size_that_no_buffer_can_have_is_refused(void **state)
{
	struct fixture *fixture = *state;
	/* Single segment, 8-byte content size, checksum: then a size of 2^63. */
	static const uint8_t frame[] = { 0x28, 0xb5, 0x2f, 0xfd, 0xe4, 0, 0, 0, 0, 0,
		                         0,    0,    0x80, 1,    0,    0, 0, 0, 0, 0 };
	buffer_put(&fixture->compressed, BYTES_OF(frame));
	assert_false(unpack(fixture, NULL, SIZE_MAX / 4));
	assert_false(unpack(fixture, NULL, 1u << 20));
}

static void only_one_whole_frame_with_size_and_checksum_is_taken(void **state)
{
	struct fixture *fixture = *state;
	pack(fixture, NULL);
	struct bytes good = buffer_bytes(&fixture->compressed);
	uint8_t *copy = bytes_dup(good);
	size_t size = good.size;
	assert_non_null(copy);

	for (size_t cut = 0; cut < size; cut++) {
		fixture->compressed.size = cut;
		assert_false(unpack(fixture, NULL, 4096));
	}
	fixture->compressed.size = size;
	buffer_put(&fixture->compressed, BYTES_LITERAL("x"));
	assert_false(unpack(fixture, NULL, 4096)); /* A byte too many. */
	fixture->compressed.size = size;
	buffer_put(&fixture->compressed, (struct bytes){ copy, size });
	assert_false(unpack(fixture, NULL, 4096)); /* Two frames. */

	buffer_clear(&fixture->compressed);
	buffer_put(&fixture->compressed, BYTES_LITERAL("\x50\x2a\x4d\x18\4\0\0\0skip"));
	assert_false(unpack(fixture, NULL, 4096)); /* A skippable frame. */
	buffer_put(&fixture->compressed, (struct bytes){ copy, size });
	assert_false(unpack(fixture, NULL, 4096)); /* And one in front of a good one. */
	free(copy);
}

static void a_flipped_bit_never_passes(void **state)
{
	struct fixture *fixture = *state;
	pack(fixture, NULL);
	for (size_t bit = 0; bit < fixture->compressed.size * 8; bit++) {
		fixture->compressed.data[bit / 8] ^= (uint8_t)(1u << bit % 8);
		bool same = unpack(fixture, NULL, 1u << 20) &&
		            bytes_equal(buffer_bytes(&fixture->out), buffer_bytes(&fixture->raw));
		fixture->compressed.data[bit / 8] ^= (uint8_t)(1u << bit % 8);
		/* Reserved and unused bits of the format may be either; the content never is. */
		assert_true(same || fixture->out.size == 0);
	}
	assert_true(unpack(fixture, NULL, 4096)); /* The context survived all of it. */
}

static void frames_without_checksum_or_size_are_refused(void **state)
{
	struct fixture *fixture = *state;
	/* One raw block of one byte: first without a checksum, then without a content size. */
	static const uint8_t no_checksum[] = { 0x28, 0xb5, 0x2f, 0xfd, 0x20, 1, 9, 0, 0, 'x' };
	static const uint8_t no_size[] = {
		0x28, 0xb5, 0x2f, 0xfd, 0x04, 0, 9, 0, 0, 'x', 0, 0, 0, 0
	};
	buffer_put(&fixture->compressed, BYTES_OF(no_checksum));
	assert_false(unpack(fixture, NULL, 4096));
	assert_non_null(strstr(fixture->err.message, "checksum"));
	buffer_clear(&fixture->compressed);
	buffer_put(&fixture->compressed, BYTES_OF(no_size));
	assert_false(unpack(fixture, NULL, 4096));
	assert_non_null(strstr(fixture->err.message, "content size"));
}

static void what_is_no_dictionary_is_refused(void **state)
{
	struct fixture *fixture = *state;
	struct dictionary *dictionary = NULL;
	struct buffer large = BUFFER_EMPTY;
	assert_false(dictionary_new(&dictionary, BYTES_NONE, LEVEL, &fixture->err));
	assert_int_equal(fixture->err.code, ZR_INVALID);
	memset(buffer_reserve(&large, DICTIONARY_SIZE_MAX + 1), 7, DICTIONARY_SIZE_MAX + 1);
	buffer_grew(&large, DICTIONARY_SIZE_MAX + 1);
	assert_false(dictionary_new(&dictionary, buffer_bytes(&large), LEVEL, &fixture->err));
	assert_int_equal(fixture->err.code, ZR_INVALID);
	/* It says that it is a trained one, and is damaged behind that. */
	memcpy(large.data, dictionary_bytes(fixture->dictionary).data, 8);
	large.size = 1024;
	assert_false(dictionary_new(&dictionary, buffer_bytes(&large), LEVEL, &fixture->err));
	assert_int_equal(fixture->err.code, ZR_INVALID);
	assert_null(dictionary);
	buffer_fini(&large);
}

static void training_needs_samples(void **state)
{
	struct fixture *fixture = *state;
	struct bytes one = BYTES_LITERAL("reading");
	assert_false(dictionary_train(&one, 0, 4096, &fixture->out, &fixture->err));
	assert_int_equal(fixture->err.code, ZR_INVALID);
	assert_false(dictionary_train(&one, 1, 4096, &fixture->out, &fixture->err));
	assert_int_equal(fixture->err.code, ZR_INVALID);
	assert_int_equal(fixture->out.size, 0);
}

static bool use_everything(const struct fixture *fixture, struct err *err)
{
	struct compressor *compressor = NULL;
	struct decompressor *decompressor = NULL;
	struct dictionary *dictionary = NULL;
	struct buffer compressed = BUFFER_EMPTY;
	struct buffer raw = BUFFER_EMPTY;
	bool ok = compressor_new(&compressor, LEVEL, err) && decompressor_new(&decompressor, err) &&
	          dictionary_new(&dictionary, dictionary_bytes(fixture->dictionary), LEVEL, err) &&
	          compressor_run(compressor, buffer_bytes(&fixture->raw), dictionary, &compressed,
	                         err) &&
	          decompressor_run(decompressor, buffer_bytes(&compressed), dictionary, 4096, &raw,
	                           err);
	compressor_free(compressor);
	decompressor_free(decompressor);
	dictionary_free(dictionary);
	buffer_fini(&compressed);
	buffer_fini(&raw);
	return ok;
}

static void out_of_memory_is_told_from_bad_input(void **state)
{
	struct fixture *fixture = *state;
	struct bytes samples[] = { BYTES_LITERAL("one"), BYTES_LITERAL("two") };
	size_t n = 0;
	for (bool ok = false; !ok; n++) {
		fault_at(n + 1);
		ok = use_everything(fixture, &fixture->err);
		assert_int_equal(fault_off() == 0, ok);
		assert_true(ok || fixture->err.code == ZR_NO_MEMORY);
	}
	assert_true(n > 5);
	for (n = 1; n <= 3; n++) {
		fault_at(n);
		assert_false(dictionary_train(samples, 2, 4096, &fixture->out, &fixture->err));
		assert_int_equal(fault_off(), 1);
		assert_int_equal(fixture->err.code, ZR_NO_MEMORY);
		buffer_fini(&fixture->out);
	}
}

static void a_batch_gives_back_its_blocks_in_order(void **state)
{
	struct buffer raw = BUFFER_EMPTY;
	struct bytes block;
	batch_put_block(&raw, BYTES_LITERAL("one"));
	batch_put_block(&raw, BYTES_LITERAL("fifteen"));
	struct reader reader = reader_of(buffer_bytes(&raw));
	assert_int_equal(batch_next_block(&reader, 7, &block), 1);
	assert_true(bytes_equal(block, BYTES_LITERAL("one")));
	assert_int_equal(batch_next_block(&reader, 7, &block), 1);
	assert_true(bytes_equal(block, BYTES_LITERAL("fifteen")));
	assert_int_equal(batch_next_block(&reader, 7, &block), 0);
	assert_int_equal(batch_next_block(&reader, 7, &block), 0);
	buffer_fini(&raw);
}

static int walk(struct bytes raw, size_t block_max)
{
	struct reader reader = reader_of(raw);
	struct bytes block;
	int answer;
	while ((answer = batch_next_block(&reader, block_max, &block)) == 1)
		assert_true(block.size > 0 && block.size <= block_max);
	return answer;
}

static void a_malformed_batch_is_noticed_where_it_begins(void **state)
{
	assert_int_equal(walk(BYTES_NONE, 9), 0);
	assert_int_equal(walk(BYTES_LITERAL("\0\0\0\0"), 9), -1);
	assert_int_equal(walk(BYTES_LITERAL("\0\0\0"), 9), -1);
	assert_int_equal(walk(BYTES_LITERAL("\0\0\0\2a"), 9), -1);
	assert_int_equal(walk(BYTES_LITERAL("\0\0\0\2ab\0\0"), 9), -1);
	assert_int_equal(walk(BYTES_LITERAL("\0\0\0\2ab"), 1), -1);
	assert_int_equal(walk(BYTES_LITERAL("\xff\xff\xff\xff"
	                                    "ab"),
	                      SIZE_MAX),
	                 -1);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(what_was_compressed_comes_back),
		TEST(output_is_appended_to_what_is_there),
		TEST(a_dictionary_is_named_by_its_hash_and_makes_small_batches_smaller),
		TEST(the_dictionarys_own_number_does_not_travel),
		TEST(a_missing_or_wrong_dictionary_is_noticed),
		TEST(more_than_the_limit_is_refused_before_anything_is_allocated),
		TEST(a_size_that_no_buffer_can_have_is_refused),
		TEST(only_one_whole_frame_with_size_and_checksum_is_taken),
		TEST(a_flipped_bit_never_passes),
		TEST(frames_without_checksum_or_size_are_refused),
		TEST(what_is_no_dictionary_is_refused),
		TEST(training_needs_samples),
		TEST(out_of_memory_is_told_from_bad_input),
		cmocka_unit_test(a_batch_gives_back_its_blocks_in_order),
		cmocka_unit_test(a_malformed_batch_is_noticed_where_it_begins),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
