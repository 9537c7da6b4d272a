#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <pthread.h>
#include <unistd.h>

#include <cmocka.h>

#include "relay/base/crypto.h"
#include "relay/base/file.h"

static const enum suite all_suites[] = { SUITE_SHA256_P256, SUITE_SHA256_ED25519, SUITE_SM3_SM2 };

#define SUITE_COUNT (sizeof(all_suites) / sizeof(all_suites[0]))

/* Decodes hexadecimal into a buffer of the caller's. */
static struct bytes from_hex(const char *text, uint8_t *data)
{
	size_t size = strlen(text) / 2;
	assert_true(hex_decode(text, data, size));
	return (struct bytes){ data, size };
}

static struct key *raw_key(enum suite suite, const char *hex)
{
	uint8_t raw[65];
	struct key *key = NULL;
	struct err err;
	if (!key_from_raw(&key, suite, from_hex(hex, raw), &err))
		fail_msg("%s", err.message);
	return key;
}

static void a_new_key_signs_what_only_it_can_have_signed(void **state)
{
	for (size_t i = 0; i < SUITE_COUNT; i++) {
		struct key *key = NULL;
		struct key *other = NULL;
		struct signature signature;
		struct err err;
		const struct bytes message = BYTES_LITERAL("12 kWh");
		assert_true(key_generate(&key, all_suites[i], &err));
		assert_true(key_generate(&other, all_suites[i], &err));
		assert_true(key_sign(key, message, &signature, &err));
		struct bytes proof = signature_bytes(&signature);
		assert_true(key_verify(key, message, proof, VERIFY_LOW_S, &err));
		assert_false(key_verify(other, message, proof, VERIFY_ANY_S, &err));
		assert_int_equal(err.code, ZR_UNTRUSTED);
		assert_false(key_verify(key, BYTES_LITERAL("13 kWh"), proof, VERIFY_ANY_S, &err));
		assert_int_equal(err.code, ZR_UNTRUSTED);
		/* And the context that failed still accepts what is right. */
		assert_true(key_verify(key, message, proof, VERIFY_ANY_S, &err));
		for (size_t bit = 0; bit < proof.size * 8; bit += 5) {
			struct signature torn = signature;
			torn.bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
			assert_false(key_verify(key, message, signature_bytes(&torn), VERIFY_ANY_S,
			                        &err));
			assert_int_equal(err.code, ZR_UNTRUSTED);
		}
		key_free(key);
		key_free(other);
	}
}

static void every_suite_has_a_name_that_leads_back_to_it(void **state)
{
	for (size_t i = 0; i < SUITE_COUNT; i++) {
		enum suite found;
		assert_true(suite_from_name(suite_name(all_suites[i]), &found));
		assert_int_equal(found, all_suites[i]);
		assert_true(suite_available(all_suites[i]));
	}
	enum suite untouched = SUITE_SM3_SM2;
	assert_false(suite_from_name("rsa", &untouched));
	assert_int_equal(untouched, SUITE_SM3_SM2);
	assert_int_equal(suite_hash(SUITE_SM3_SM2), HASH_SM3);
	assert_int_equal(suite_hash(SUITE_SHA256_ED25519), HASH_SHA256);
}

static void the_example_of_the_sm2_standard_verifies(void **state)
{
	/* GB/T 32918.5-2017 Annex A.2. */
	struct key *key = raw_key(
		SUITE_SM3_SM2, "0409F9DF311E5421A150DD7D161E4BC5C672179FAD1833FC076BB08FF356F35020"
			       "CCEA490CE26775A52DC6EA718CC1AA600AED05FBF35E084A6632F6072DA9AD13");
	uint8_t data[80];
	struct bytes signature = from_hex(
		"3046022100F5A03B0648D2C4630EEAC513E1BB81A15944DA3827D5B74143AC7EACEEE720B3"
		"022100B1B6AA29DF212FD8763182BC0D421CA1BB9038FD1F7F42D4840B69C485BBC1AA",
		data);
	struct err err;
	assert_true(
		key_verify(key, BYTES_LITERAL("message digest"), signature, VERIFY_ANY_S, &err));
	/* SM2 has no low s: the rule is ECDSA's. */
	assert_true(
		key_verify(key, BYTES_LITERAL("message digest"), signature, VERIFY_LOW_S, &err));
	assert_false(
		key_verify(key, BYTES_LITERAL("message digesT"), signature, VERIFY_ANY_S, &err));
	key_free(key);
}

static void the_examples_of_rfc_8032_verify(void **state)
{
	struct err err;
	uint8_t data[64];
	struct key *empty =
		raw_key(SUITE_SHA256_ED25519,
	                "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a");
	struct bytes signature = from_hex(
		"e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33b"
		"acc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b",
		data);
	assert_true(key_verify(empty, BYTES_NONE, signature, VERIFY_ANY_S, &err));
	struct key *two =
		raw_key(SUITE_SHA256_ED25519,
	                "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025");
	signature = from_hex(
		"6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16"
		"f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a",
		data);
	assert_true(key_verify(two, BYTES_LITERAL("\xaf\x82"), signature, VERIFY_ANY_S, &err));
	signature.size = 63;
	assert_false(key_verify(two, BYTES_LITERAL("\xaf\x82"), signature, VERIFY_ANY_S, &err));
	assert_int_equal(err.code, ZR_UNTRUSTED);
	key_free(empty);
	key_free(two);
}

/* FIPS 186 test of RFC 6979 A.2.5: P-256, SHA-256, "sample". */
static const char sample_public[] =
	"0460FED4BA255A9D31C961EB74C6356D68C049B8923B61FA6CE669622E60F29FB6"
	"7903FE1008B8BC99A41AE9E95628BC64F2F1B20C2D7E9F5177A3C294D4462299";
#define SAMPLE_R "EFD48B2AACB6A8FD1140DD9CD45E81D69D2C877B56AAF991C34D0EA84EAF3716"
#define SAMPLE_S "F7CB1C942D657C41D436C7A1B6E29F65F3E900DBB9AFF4064DC4AB2F843ACDA8"
/* n - SAMPLE_S. */
#define SAMPLE_LOW_S "0834E36AD29A83BF2BC9385E491D6099C8FDF9D1ED67AA7EA5F51F93782857A9"
#define ORDER        "FFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551"

static void a_high_s_is_refused_where_the_rule_says_so(void **state)
{
	struct key *key = raw_key(SUITE_SHA256_P256, sample_public);
	uint8_t data[80];
	struct err err;
	const struct bytes sample = BYTES_LITERAL("sample");
	struct bytes high = from_hex("3046022100" SAMPLE_R "022100" SAMPLE_S, data);
	assert_true(key_verify(key, sample, high, VERIFY_ANY_S, &err));
	assert_false(key_verify(key, sample, high, VERIFY_LOW_S, &err));
	assert_int_equal(err.code, ZR_UNTRUSTED);
	assert_string_equal(err.message, "signature has a high s");
	struct bytes low = from_hex("3045022100" SAMPLE_R "0220" SAMPLE_LOW_S, data);
	assert_true(key_verify(key, sample, low, VERIFY_ANY_S, &err));
	assert_true(key_verify(key, sample, low, VERIFY_LOW_S, &err));
	key_free(key);
}

static void a_signature_has_one_encoding(void **state)
{
	/* Each carries the numbers of a good signature, or what a lenient reader may take for it. */
	static const char *const others[] = {
		"",
		"30",
		"3000",
		"3045022100" SAMPLE_R "0220" SAMPLE_LOW_S "00", /* A byte more. */
		"3046022100" SAMPLE_R "0220" SAMPLE_LOW_S,      /* Longer than it is. */
		"3044022100" SAMPLE_R "0220" SAMPLE_LOW_S,      /* Shorter than it is. */
		"308145022100" SAMPLE_R "0220" SAMPLE_LOW_S,    /* Long form of a short length. */
		"304602810021"
		"00" SAMPLE_R "0220" SAMPLE_LOW_S,
		"30440220" SAMPLE_R "0220" SAMPLE_LOW_S,     /* r negative. */
		"3046022100" SAMPLE_R "022100" SAMPLE_LOW_S, /* s padded without need. */
		"304602220000" SAMPLE_R "0220" SAMPLE_LOW_S, /* r padded twice. */
		"3045022100" SAMPLE_R "0320" SAMPLE_LOW_S,   /* Not an INTEGER. */
		"3145022100" SAMPLE_R "0220" SAMPLE_LOW_S,   /* Not a SEQUENCE. */
		"3026022100" SAMPLE_R "020100",              /* s is zero. */
		"3025020100"
		"0220" SAMPLE_LOW_S,                              /* r is zero. */
		"3025022100" SAMPLE_R "0200",                     /* s is nothing. */
		"3046022100" SAMPLE_R "022100" ORDER,             /* s is the order. */
		"3045022100" ORDER "0220" SAMPLE_LOW_S,           /* r is the order. */
		"3047022101" SAMPLE_R "0222000100" SAMPLE_LOW_S,  /* Too large to be a number. */
		"3080022100" SAMPLE_R "0220" SAMPLE_LOW_S "0000", /* Indefinite length. */
	};
	struct key *key = raw_key(SUITE_SHA256_P256, sample_public);
	for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
		uint8_t data[128];
		struct err err;
		struct bytes signature = from_hex(others[i], data);
		if (key_verify(key, BYTES_LITERAL("sample"), signature, VERIFY_ANY_S, &err))
			fail_msg("accepted %s", others[i]);
		assert_int_equal(err.code, ZR_UNTRUSTED);
	}
	key_free(key);
}

static void our_own_p256_signatures_have_a_low_s(void **state)
{
	struct key *key = NULL;
	struct err err;
	assert_true(key_generate(&key, SUITE_SHA256_P256, &err));
	for (uint8_t i = 0; i < 40; i++) { /* Half of them were high before. */
		struct signature signature;
		assert_true(key_sign(key, BYTES_OF(i), &signature, &err));
		assert_true(key_verify(key, BYTES_OF(i), signature_bytes(&signature), VERIFY_LOW_S,
		                       &err));
	}
	key_free(key);
}

static void a_key_survives_its_way_through_a_file(void **state)
{
	for (size_t i = 0; i < SUITE_COUNT; i++) {
		char path[] = "/tmp/zr-test-key-XXXXXX";
		int fd = mkstemp(path);
		assert_true(fd >= 0);
		close(fd);
		struct key *key = NULL;
		struct key *pair = NULL;
		struct key *public = NULL;
		struct buffer text = BUFFER_EMPTY;
		struct signature signature;
		struct err err;
		assert_true(key_generate(&key, all_suites[i], &err));
		assert_true(key_is_private(key));
		assert_int_equal(key_suite(key), all_suites[i]);

		assert_true(key_to_pem(key, true, &text, &err));
		assert_true(file_write_atomic(path, buffer_bytes(&text), 0600, &err));
		if (!key_read_file(&pair, path, &err))
			fail_msg("%s", err.message);
		assert_true(key_is_private(pair));
		struct hash ids[2] = { key_id(key), key_id(pair) };
		assert_true(hash_equal(&ids[0], &ids[1]));

		buffer_clear(&text);
		assert_true(key_to_pem(pair, false, &text, &err));
		assert_true(key_from_pem(&public, buffer_bytes(&text), &err));
		assert_false(key_is_private(public));
		assert_true(bytes_equal(key_spki(public), key_spki(key)));
		assert_true(key_sign(pair, BYTES_LITERAL("x"), &signature, &err));
		assert_true(key_verify(public, BYTES_LITERAL("x"), signature_bytes(&signature),
		                       VERIFY_ANY_S, &err));
		assert_false(key_sign(public, BYTES_LITERAL("x"), &signature, &err));
		assert_int_equal(err.code, ZR_STATE);
		assert_false(key_to_pem(public, true, &text, &err));
		assert_int_equal(err.code, ZR_STATE);

		struct key *again = NULL;
		assert_true(key_from_spki(&again, key_spki(key), &err));
		assert_true(bytes_equal(key_spki(again), key_spki(key)));
		struct hash id = sha256(key_spki(key));
		assert_true(hash_equal(&id, &ids[0]));
		key_free(again);
		key_free(key);
		key_free(pair);
		key_free(public);
		buffer_fini(&text);
		unlink(path);
	}
}

struct verifier {
	pthread_t thread;
	const struct key *key;
	struct signature signature;
	int good_count;
};

static void *verify_often(void *arg)
{
	struct verifier *verifier = arg;
	struct signature torn = verifier->signature;
	torn.bytes[torn.size - 1] ^= 1;
	for (int i = 0; i < 200; i++) {
		bool good = key_verify(verifier->key, BYTES_LITERAL("shared"),
		                       signature_bytes(&verifier->signature), VERIFY_ANY_S, NULL);
		bool bad = key_verify(verifier->key, BYTES_LITERAL("shared"),
		                      signature_bytes(&torn), VERIFY_ANY_S, NULL);
		verifier->good_count += good && !bad ? 1 : 0;
	}
	return NULL;
}

static void many_threads_verify_with_one_key(void **state)
{
	for (size_t i = 0; i < SUITE_COUNT; i++) {
		struct key *key = NULL;
		struct verifier verifiers[4];
		struct err err;
		assert_true(key_generate(&key, all_suites[i], &err));
		for (int k = 0; k < 4; k++) {
			verifiers[k] = (struct verifier){ .key = key };
			assert_true(key_sign(key, BYTES_LITERAL("shared"), &verifiers[k].signature,
			                     &err));
			assert_int_equal(pthread_create(&verifiers[k].thread, NULL, verify_often,
			                                &verifiers[k]),
			                 0);
		}
		for (int k = 0; k < 4; k++) {
			assert_int_equal(pthread_join(verifiers[k].thread, NULL), 0);
			assert_int_equal(verifiers[k].good_count, 200);
		}
		key_free(key);
	}
}

static void a_raw_key_must_be_a_point_of_its_curve(void **state)
{
	struct key *key = NULL;
	struct err err;
	uint8_t raw[65] = { 4, 1, 2, 3 };
	assert_false(key_from_raw(&key, SUITE_SHA256_P256, BYTES_OF(raw), &err));
	assert_int_equal(err.code, ZR_INVALID);
	assert_false(key_from_raw(&key, SUITE_SM3_SM2, BYTES_OF(raw), &err));
	assert_false(key_from_raw(&key, SUITE_SM3_SM2, (struct bytes){ raw, 64 }, &err));
	assert_false(key_from_raw(&key, SUITE_SHA256_ED25519, (struct bytes){ raw, 33 }, &err));
	assert_false(key_from_raw(&key, SUITE_SHA256_P256, BYTES_NONE, &err));
	raw[0] = 2;
	assert_false(key_from_raw(&key, SUITE_SHA256_P256, BYTES_OF(raw), &err));
	assert_null(key);
}

static void one_key_has_one_id_in_whatever_form_it_comes(void **state)
{
	/* The point of RFC 6979 A.2.5, compressed: its y is odd. */
	static const char compressed[] =
		"3039301306072a8648ce3d020106082a8648ce3d030107032200"
		"0360FED4BA255A9D31C961EB74C6356D68C049B8923B61FA6CE669622E60F29FB6";
	struct key *key = raw_key(SUITE_SHA256_P256, sample_public);
	struct key *other = NULL;
	struct err err;
	uint8_t data[64];
	if (!key_from_spki(&other, from_hex(compressed, data), &err))
		fail_msg("%s", err.message);
	assert_true(bytes_equal(key_spki(key), key_spki(other)));
	struct hash ids[2] = { key_id(key), key_id(other) };
	assert_true(hash_equal(&ids[0], &ids[1]));
	key_free(key);
	key_free(other);
	other = NULL;
	struct buffer longer = BUFFER_EMPTY;
	key = raw_key(SUITE_SHA256_P256, sample_public);
	buffer_put(&longer, key_spki(key));
	buffer_put_u8(&longer, 0);
	assert_false(key_from_spki(&other, buffer_bytes(&longer), &err));
	assert_string_equal(err.message, "bytes after the SubjectPublicKeyInfo");
	longer.data[longer.size - 2] ^= 1; /* And this is no point of the curve. */
	longer.size--;
	assert_false(key_from_spki(&other, buffer_bytes(&longer), &err));
	assert_int_equal(err.code, ZR_INVALID);
	buffer_fini(&longer);
	key_free(key);
}

static void what_is_not_a_key_is_refused_with_a_reason(void **state)
{
	static const struct {
		const char *pem;
		const char *reason;
	} rows[] = {
		{ "nothing", "no key in PEM" },
		{ "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n",
		  "SubjectPublicKeyInfo" },
		{ "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
		  "not a private key" },
		{ "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
		  "not a certificate" },
		{ "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE "
		  "KEY-----\n",
		  "passphrase" },
		{ "-----BEGIN EC PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n\nAAAA\n"
		  "-----END EC PRIVATE KEY-----\n",
		  "passphrase" },
		{ "-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n",
		  "no key in PEM" },
	};
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct key *key = NULL;
		struct err err;
		assert_false(key_from_pem(&key, bytes_of_string(rows[i].pem), &err));
		assert_int_equal(err.code, ZR_INVALID);
		if (strstr(err.message, rows[i].reason) == NULL)
			fail_msg("%s", err.message);
		assert_null(key);
	}
	struct key *key = NULL;
	struct err err;
	assert_false(key_read_file(&key, "/nonexistent/key.pem", &err));
	assert_int_equal(err.code, ZR_UNAVAILABLE);
	assert_false(key_from_spki(&key, BYTES_NONE, &err));
	assert_int_equal(err.code, ZR_INVALID);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_new_key_signs_what_only_it_can_have_signed),
		cmocka_unit_test(every_suite_has_a_name_that_leads_back_to_it),
		cmocka_unit_test(the_example_of_the_sm2_standard_verifies),
		cmocka_unit_test(the_examples_of_rfc_8032_verify),
		cmocka_unit_test(a_high_s_is_refused_where_the_rule_says_so),
		cmocka_unit_test(a_signature_has_one_encoding),
		cmocka_unit_test(our_own_p256_signatures_have_a_low_s),
		cmocka_unit_test(a_key_survives_its_way_through_a_file),
		cmocka_unit_test(many_threads_verify_with_one_key),
		cmocka_unit_test(a_raw_key_must_be_a_point_of_its_curve),
		cmocka_unit_test(one_key_has_one_id_in_whatever_form_it_comes),
		cmocka_unit_test(what_is_not_a_key_is_refused_with_a_reason),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
