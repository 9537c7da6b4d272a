#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <pthread.h>

#include <cmocka.h>

#include "relay/base/crypto.h"

#define ABCD_16 "abcdabcdabcdabcdabcdabcdabcdabcdabcdabcdabcdabcdabcdabcdabcdabcd"

static void the_examples_of_the_standards_are_reproduced(void **state)
{
	static const struct {
		enum hash_alg alg;
		struct bytes message;
		const char *digest;
	} rows[] = {
		/* FIPS 180-4 examples; GB/T 32905 Annex A. */
		{ HASH_SHA256,
		  { (const uint8_t *)"abc", 3 },
		  "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad" },
		{ HASH_SHA256,
		  { NULL, 0 },
		  "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855" },
		{ HASH_SHA256,
		  { (const uint8_t *)"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
		    56 },
		  "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1" },
		{ HASH_SM3,
		  { (const uint8_t *)"abc", 3 },
		  "66c7f0f462eeedd9d1f2d46bdc10e4e24167c4875cf2f7a2297da02b8f4ba8e0" },
		{ HASH_SM3,
		  { (const uint8_t *)ABCD_16, 64 },
		  "debe9ff92275b8a138604889c18e5a4d6fdb70e5387e5765293dcba39c0c5732" },
	};
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		char hex[HASH_HEX_SIZE];
		struct hash hash = hash_one(rows[i].alg, rows[i].message);
		assert_string_equal(hash_hex(&hash, hex), rows[i].digest);
	}
}

static void the_hash_of_parts_is_that_of_their_concatenation(void **state)
{
	static const enum hash_alg algs[] = { HASH_SHA256, HASH_SM3 };
	for (size_t i = 0; i < 2; i++) {
		struct hash whole = hash_one(algs[i], BYTES_LITERAL(ABCD_16));
		for (size_t cut = 0; cut <= 64; cut++) {
			const struct bytes parts[] = {
				{ (const uint8_t *)ABCD_16, cut },
				BYTES_NONE,
				{ (const uint8_t *)ABCD_16 + cut, 64 - cut },
			};
			struct hash hash = hash_parts(algs[i], parts, 3);
			assert_true(hash_equal(&hash, &whole));
		}
		struct hash none = hash_parts(algs[i], NULL, 0);
		struct hash empty = hash_one(algs[i], BYTES_NONE);
		assert_true(hash_equal(&none, &empty));
	}
	struct hash sha = sha256(BYTES_LITERAL("x"));
	struct hash one = hash_one(HASH_SHA256, BYTES_LITERAL("x"));
	assert_true(hash_equal(&sha, &one));
}

static void an_algorithm_has_a_name_that_leads_back_to_it(void **state)
{
	enum hash_alg alg = HASH_SHA256;
	assert_true(hash_alg_from_name("sm3", &alg));
	assert_int_equal(alg, HASH_SM3);
	assert_string_equal(hash_alg_name(HASH_SM3), "sm3");
	assert_string_equal(hash_alg_name(HASH_SHA256), "sha256");
	assert_false(hash_alg_from_name("md5", &alg));
	assert_int_equal(alg, HASH_SM3);
}

static void *hash_in_a_thread(void *arg)
{
	struct hash *out_hash = arg;
	for (int i = 0; i < 2000; i++) {
		*out_hash = sha256(BYTES_LITERAL("abc"));
		(void)hash_one(HASH_SM3, BYTES_LITERAL("abc"));
	}
	return NULL;
}

static void each_thread_has_its_own_scratch(void **state)
{
	pthread_t threads[4];
	struct hash hashes[4];
	struct hash expected = sha256(BYTES_LITERAL("abc"));
	for (int i = 0; i < 4; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, hash_in_a_thread, &hashes[i]),
		                 0);
	for (int i = 0; i < 4; i++) {
		assert_int_equal(pthread_join(threads[i], NULL), 0);
		assert_true(hash_equal(&hashes[i], &expected));
	}
}

static void crc32c_agrees_with_rfc_3720(void **state)
{
	uint8_t data[48];
	memset(data, 0, 32);
	assert_int_equal(crc32c(0, (struct bytes){ data, 32 }), 0x8a9136aa);
	memset(data, 0xff, 32);
	assert_int_equal(crc32c(0, (struct bytes){ data, 32 }), 0x62a8ab43);
	for (size_t i = 0; i < 32; i++)
		data[i] = (uint8_t)i;
	assert_int_equal(crc32c(0, (struct bytes){ data, 32 }), 0x46dd794e);
	for (size_t i = 0; i < 32; i++)
		data[i] = (uint8_t)(31 - i);
	assert_int_equal(crc32c(0, (struct bytes){ data, 32 }), 0x113fdb5c);
	/* An iSCSI Read (10) command PDU. */
	static const uint8_t pdu[48] = { 0x01, 0xc0, 0,    0, 0, 0, 0, 0, 0, 0, 0,   0, 0,    0, 0,
		                         0,    0x14, 0,    0, 0, 0, 0, 4, 0, 0, 0,   0, 0x14, 0, 0,
		                         0,    0x18, 0x28, 0, 0, 0, 0, 0, 0, 0, 0x02 };
	assert_int_equal(crc32c(0, BYTES_OF(pdu)), 0xd9963a56);
	assert_int_equal(crc32c(0, BYTES_LITERAL("123456789")), 0xe3069283);
	assert_int_equal(crc32c(0, BYTES_NONE), 0);
}

static void crc32c_is_the_same_by_table_in_pieces_and_at_any_alignment(void **state)
{
	uint8_t data[300];
	random_bytes(data, sizeof(data));
	for (size_t start = 0; start < 9; start++) {
		for (size_t size = 0; size + start <= sizeof(data); size += 1 + size / 7) {
			struct bytes bytes = { data + start, size };
			uint32_t whole = crc32c(0, bytes);
			assert_int_equal(crc32c_portable(0, bytes), whole);
			size_t half = size / 3;
			uint32_t first = crc32c(0, (struct bytes){ bytes.data, half });
			assert_int_equal(
				crc32c(first, (struct bytes){ bytes.data + half, size - half }),
				whole);
			first = crc32c_portable(0, (struct bytes){ bytes.data, half });
			assert_int_equal(crc32c_portable(first, (struct bytes){ bytes.data + half,
			                                                        size - half }),
			                 whole);
		}
	}
}

static void random_numbers_are_below_their_bound_and_reach_all_of_it(void **state)
{
	unsigned counts[5] = { 0 };
	for (int i = 0; i < 2000; i++)
		counts[random_below(5)]++;
	for (int i = 0; i < 5; i++)
		assert_true(counts[i] > 250 && counts[i] < 550); /* 400, ten deviations away. */
	assert_int_equal(random_below(1), 0);
	(void)random_below(UINT64_MAX);
	uint8_t data[200000] = { 0 };
	uint8_t zero[32] = { 0 };
	random_bytes(data, sizeof(data));
	assert_memory_not_equal(data, zero, 32);
	assert_memory_not_equal(data + sizeof(data) - 32, zero, 32); /* Asked for in pieces. */
	secret_wipe(data, sizeof(data));
	assert_memory_equal(data, zero, 32);
	assert_memory_equal(data + sizeof(data) - 32, zero, 32);
}

static void base64_agrees_with_rfc_4648(void **state)
{
	static const struct {
		const char *plain;
		const char *text;
	} rows[] = {
		{ "", "" },
		{ "f", "Zg==" },
		{ "fo", "Zm8=" },
		{ "foo", "Zm9v" },
		{ "foob", "Zm9vYg==" },
		{ "fooba", "Zm9vYmE=" },
		{ "foobar", "Zm9vYmFy" },
		{ "\xff\xef\xfe", "/+/+" },
	};
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct buffer out = BUFFER_EMPTY;
		base64_encode(bytes_of_string(rows[i].plain), &out);
		assert_true(bytes_equal(buffer_bytes(&out), bytes_of_string(rows[i].text)));
		buffer_clear(&out);
		buffer_put(&out, BYTES_LITERAL("+"));
		assert_true(base64_decode(rows[i].text, strlen(rows[i].text), &out));
		assert_int_equal(out.size, 1 + strlen(rows[i].plain)); /* Appended. */
		assert_memory_equal(out.data + 1, rows[i].plain, out.size - 1);
		buffer_fini(&out);
	}
}

static void base64_has_one_text_for_each_content(void **state)
{
	static const char *const others[] = {
		"Z",    "Zg",   "Zg=",    "Zg===", "====",     "=Zg=",    "Z===",
		"Zh==", /* Unused bits. */
		"Zm9=", "Zm 9", "Zm9v\n", "Zm-_",  "Zg==Zg==", "Zm9vYg=", "Zm9*",
	};
	for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
		struct buffer out = BUFFER_EMPTY;
		if (base64_decode(others[i], strlen(others[i]), &out))
			fail_msg("accepted %s", others[i]);
		assert_int_equal(out.size, 0);
		buffer_fini(&out);
	}
	struct buffer out = BUFFER_EMPTY;
	assert_false(base64_decode("Zm9\0", 4, &out));
	buffer_fini(&out);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_examples_of_the_standards_are_reproduced),
		cmocka_unit_test(the_hash_of_parts_is_that_of_their_concatenation),
		cmocka_unit_test(an_algorithm_has_a_name_that_leads_back_to_it),
		cmocka_unit_test(each_thread_has_its_own_scratch),
		cmocka_unit_test(crc32c_agrees_with_rfc_3720),
		cmocka_unit_test(crc32c_is_the_same_by_table_in_pieces_and_at_any_alignment),
		cmocka_unit_test(random_numbers_are_below_their_bound_and_reach_all_of_it),
		cmocka_unit_test(base64_agrees_with_rfc_4648),
		cmocka_unit_test(base64_has_one_text_for_each_content),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
