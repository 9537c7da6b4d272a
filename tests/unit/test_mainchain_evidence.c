/* Evidence of the http adapter, and the file of what is trusted. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "adapters/mainchain/evidence.h"
#include "tests/lib/vectors.h"

#define TRANSACTION_COUNT 5
#define SIGNER_COUNT      3

/* A main chain with three signers and one block of five transactions; the anchor is the third. */
struct chain {
	struct key *keys[SIGNER_COUNT]; /* Rising by id, as evidence wants them. */
	struct main_block block;
	struct buffer block_record;
	struct main_transaction transactions[TRANSACTION_COUNT];
	struct buffer records[TRANSACTION_COUNT];
	struct hash leaves[TRANSACTION_COUNT];
	struct signature signatures[SIGNER_COUNT];
};

static int compare_keys(const void *a, const void *b)
{
	struct hash left = key_id(*(struct key *const *)a);
	struct hash right = key_id(*(struct key *const *)b);
	return bytes_compare(BYTES_OF(left), BYTES_OF(right));
}

static void chain_init(struct chain *chain, enum suite suite)
{
	memset(chain, 0, sizeof(*chain));
	for (size_t i = 0; i < SIGNER_COUNT; i++)
		assert_true(key_generate(&chain->keys[i], suite, NULL));
	qsort(chain->keys, SIGNER_COUNT, sizeof(chain->keys[0]), compare_keys);

	enum hash_alg alg = suite_hash(suite);
	for (size_t i = 0; i < TRANSACTION_COUNT; i++) {
		struct main_transaction *transaction = &chain->transactions[i];
		*transaction = (struct main_transaction){
			.alg = HASH_SHA256, .lane = (uint16_t)(i + 1), .seq = 41 + i, .fence = 7
		};
		transaction->root = sha256(BYTES_OF(transaction->seq));
		transaction->key = sha256(BYTES_OF(transaction->root));
		main_transaction_encode(transaction, &chain->records[i]);
		chain->leaves[i] = merkle_leaf(alg, buffer_bytes(&chain->records[i]));
	}
	chain->block = (struct main_block){ .alg = alg,
		                            .chain = "grid-main",
		                            .height = 1842,
		                            .time_ms = 1763865300123,
		                            .previous = sha256(BYTES_LITERAL("before")),
		                            .count = TRANSACTION_COUNT };
	chain->block.root = merkle_root(alg, chain->leaves, TRANSACTION_COUNT);
	main_block_encode(&chain->block, &chain->block_record);
	for (size_t i = 0; i < SIGNER_COUNT; i++)
		assert_true(key_sign(chain->keys[i], buffer_bytes(&chain->block_record),
		                     &chain->signatures[i], NULL));
}

static void chain_fini(struct chain *chain)
{
	for (size_t i = 0; i < SIGNER_COUNT; i++)
		key_free(chain->keys[i]);
	for (size_t i = 0; i < TRANSACTION_COUNT; i++)
		buffer_fini(&chain->records[i]);
	buffer_fini(&chain->block_record);
}

/* Evidence for transaction index with the signatures whose bit is set in signers. */
static void chain_evidence(const struct chain *chain, size_t index, unsigned signers,
                           struct buffer *out)
{
	struct main_evidence evidence = {
		.block_record = buffer_bytes(&chain->block_record),
		.transaction_record = buffer_bytes(&chain->records[index]),
	};
	merkle_path(chain->block.alg, chain->leaves, TRANSACTION_COUNT, index, &evidence.path);
	for (size_t i = 0; i < SIGNER_COUNT; i++) {
		if ((signers & (1u << i)) == 0)
			continue;
		struct main_signature *signature = &evidence.signatures[evidence.signature_count++];
		signature->key_id = key_id(chain->keys[i]);
		signature->signature = signature_bytes(&chain->signatures[i]);
	}
	main_evidence_encode(&evidence, out);
}

static void chain_trusted(const struct chain *chain, unsigned signers, const char *head,
                          struct buffer *out)
{
	buffer_put(out, bytes_of_string(head));
	for (size_t i = 0; i < SIGNER_COUNT; i++) {
		if ((signers & (1u << i)) != 0)
			assert_true(key_to_pem(chain->keys[i], false, out, NULL));
	}
}

static struct anchor anchor_of(const struct main_transaction *transaction)
{
	return (struct anchor){ .alg = transaction->alg,
		                .deliver = DELIVER_ANCHOR,
		                .lane = transaction->lane,
		                .seq = transaction->seq,
		                .root = transaction->root };
}

static bool check(const struct chain *chain, size_t index, struct bytes evidence,
                  struct bytes trusted, struct err *err)
{
	const struct main_transaction *transaction = &chain->transactions[index];
	struct anchor anchor = anchor_of(transaction);
	struct buffer lines = BUFFER_EMPTY;
	bool proven = mainchain_evidence_find("http")(evidence, trusted, &anchor, &transaction->key,
	                                              &lines, err);
	buffer_fini(&lines);
	return proven;
}

static const enum suite suites[] = { SUITE_SHA256_P256, SUITE_SHA256_ED25519, SUITE_SM3_SM2 };

static void good_evidence_of_every_suite_proves_its_anchor(void **state)
{
	for (size_t s = 0; s < sizeof(suites) / sizeof(suites[0]); s++) {
		if (!suite_available(suites[s]))
			continue;
		struct chain chain;
		chain_init(&chain, suites[s]);
		for (size_t i = 0; i < TRANSACTION_COUNT; i++) {
			struct buffer evidence = BUFFER_EMPTY, trusted = BUFFER_EMPTY;
			struct err err = { 0 };
			chain_evidence(&chain, i, 1, &evidence);
			chain_trusted(&chain, 1, "", &trusted);
			if (!check(&chain, i, buffer_bytes(&evidence), buffer_bytes(&trusted),
			           &err))
				fail_msg("%s", err.message);
			buffer_fini(&evidence);
			buffer_fini(&trusted);
		}
		chain_fini(&chain);
	}
}

static void every_check_made_is_told(void **state)
{
	struct chain chain;
	struct buffer evidence = BUFFER_EMPTY, trusted = BUFFER_EMPTY, lines = BUFFER_EMPTY;
	chain_init(&chain, SUITE_SHA256_P256);
	chain_evidence(&chain, 2, 3, &evidence);
	chain_trusted(&chain, 1, "chain: grid-main\n", &trusted);
	struct anchor anchor = anchor_of(&chain.transactions[2]);
	assert_true(mainchain_evidence_find("http")(buffer_bytes(&evidence), buffer_bytes(&trusted),
	                                            &anchor, &chain.transactions[2].key, &lines,
	                                            NULL));
	buffer_put_u8(&lines, 0);
	const char *text = (const char *)lines.data;
	assert_non_null(strstr(text, "evidence: of the http adapter"));
	assert_non_null(strstr(text, "anchor: lane 3, sequence 43, root "));
	assert_non_null(strstr(text, "transaction 3 of 5 leads to the root of block 1842 of main "
	                             "chain grid-main, 2025-11-23T"));
	assert_non_null(strstr(text, "sha256-p256\n"));
	assert_non_null(strstr(text, "not trusted, not counted\n"));
	assert_non_null(strstr(text, "threshold: 1 of 1 trusted keys signed, 1 must have\n"));
	buffer_fini(&evidence);
	buffer_fini(&trusted);
	buffer_fini(&lines);
	chain_fini(&chain);
}

static void every_flipped_bit_and_every_cut_is_refused(void **state)
{
	for (size_t s = 0; s < sizeof(suites) / sizeof(suites[0]); s++) {
		if (!suite_available(suites[s]))
			continue;
		struct chain chain;
		struct buffer evidence = BUFFER_EMPTY, trusted = BUFFER_EMPTY;
		chain_init(&chain, suites[s]);
		chain_evidence(&chain, 3, 1, &evidence);
		chain_trusted(&chain, 1, "", &trusted);
		for (size_t bit = 0; bit < evidence.size * 8; bit++) {
			evidence.data[bit / 8] ^= (uint8_t)(1u << (bit % 8));
			struct err err = { 0 };
			if (check(&chain, 3, buffer_bytes(&evidence), buffer_bytes(&trusted), &err))
				fail_msg("suite %s: bit %zu may be flipped", suite_name(suites[s]),
				         bit);
			assert_true(err.code == ZR_INVALID || err.code == ZR_UNTRUSTED);
			evidence.data[bit / 8] ^= (uint8_t)(1u << (bit % 8));
		}
		for (size_t size = 0; size < evidence.size; size++)
			assert_false(check(&chain, 3, (struct bytes){ evidence.data, size },
			                   buffer_bytes(&trusted), NULL));
		buffer_put_u8(&evidence, 0);
		assert_false(
			check(&chain, 3, buffer_bytes(&evidence), buffer_bytes(&trusted), NULL));
		buffer_fini(&evidence);
		buffer_fini(&trusted);
		chain_fini(&chain);
	}
}

static void evidence_of_one_anchor_proves_no_other(void **state)
{
	struct chain chain;
	struct buffer evidence = BUFFER_EMPTY, trusted = BUFFER_EMPTY;
	chain_init(&chain, SUITE_SHA256_ED25519);
	chain_evidence(&chain, 0, 1, &evidence);
	chain_trusted(&chain, 1, "", &trusted);
	const struct main_transaction *own = &chain.transactions[0];
	for (int field = 0; field < 5; field++) {
		struct anchor anchor = anchor_of(own);
		struct hash key = own->key;
		switch (field) {
		case 0:
			anchor.lane++;
			break;
		case 1:
			anchor.seq++;
			break;
		case 2:
			anchor.root.bytes[31] ^= 1;
			break;
		case 3:
			key.bytes[0] ^= 1;
			break;
		default:
			anchor.alg = HASH_SM3;
		}
		struct err err = { 0 };
		struct buffer lines = BUFFER_EMPTY;
		assert_false(mainchain_evidence_find("http")(buffer_bytes(&evidence),
		                                             buffer_bytes(&trusted), &anchor, &key,
		                                             &lines, &err));
		buffer_fini(&lines);
		assert_int_equal(err.code, ZR_UNTRUSTED);
	}
	buffer_fini(&evidence);
	buffer_fini(&trusted);
	chain_fini(&chain);
}

static void a_threshold_needs_so_many_trusted_signatures(void **state)
{
	static const struct {
		const char *head;
		unsigned trusted, signers;
		bool good;
	} cases[] = {
		{ "threshold: 2\n", 7, 7, true },
		{ "threshold: 2\n", 7, 3, true },
		{ "threshold: 2\n", 7, 1, false },
		{ "threshold: 2\n", 3, 5, false },
		{ "threshold: 3\n", 7, 6, false },
		{ "", 2, 1, false },
		{ "", 2, 7, true },
	};
	struct chain chain;
	chain_init(&chain, SUITE_SHA256_P256);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct buffer evidence = BUFFER_EMPTY, trusted = BUFFER_EMPTY;
		chain_evidence(&chain, 1, cases[i].signers, &evidence);
		chain_trusted(&chain, cases[i].trusted, cases[i].head, &trusted);
		assert_int_equal(
			check(&chain, 1, buffer_bytes(&evidence), buffer_bytes(&trusted), NULL),
			cases[i].good);
		buffer_fini(&evidence);
		buffer_fini(&trusted);
	}
	chain_fini(&chain);
}

static void one_bad_signature_of_a_trusted_key_spoils_the_evidence(void **state)
{
	struct chain chain;
	struct buffer evidence = BUFFER_EMPTY, trusted = BUFFER_EMPTY;
	chain_init(&chain, SUITE_SHA256_P256);
	struct signature swapped = chain.signatures[0];
	chain.signatures[0] = chain.signatures[1];
	chain_evidence(&chain, 1, 7, &evidence);
	chain_trusted(&chain, 7, "", &trusted);
	struct err err = { 0 };
	assert_false(check(&chain, 1, buffer_bytes(&evidence), buffer_bytes(&trusted), &err));
	assert_int_equal(err.code, ZR_UNTRUSTED);
	chain.signatures[0] = swapped;
	buffer_fini(&evidence);
	buffer_fini(&trusted);
	chain_fini(&chain);
}

static void a_signer_cannot_be_counted_twice(void **state)
{
	struct chain chain;
	struct buffer bytes = BUFFER_EMPTY;
	chain_init(&chain, SUITE_SHA256_ED25519);
	struct main_evidence evidence = {
		.block_record = buffer_bytes(&chain.block_record),
		.transaction_record = buffer_bytes(&chain.records[0]),
		.signature_count = 2,
	};
	merkle_path(chain.block.alg, chain.leaves, TRANSACTION_COUNT, 0, &evidence.path);
	for (size_t i = 0; i < 2; i++) {
		evidence.signatures[i].key_id = key_id(chain.keys[0]);
		evidence.signatures[i].signature = signature_bytes(&chain.signatures[0]);
	}
	main_evidence_encode(&evidence, &bytes);
	struct main_evidence decoded;
	assert_false(main_evidence_decode(buffer_bytes(&bytes), &decoded, NULL));
	buffer_fini(&bytes);
	chain_fini(&chain);
}

static void evidence_of_another_main_chain_is_refused_where_one_is_named(void **state)
{
	struct chain chain;
	struct buffer evidence = BUFFER_EMPTY, trusted = BUFFER_EMPTY;
	chain_init(&chain, SUITE_SHA256_P256);
	chain_evidence(&chain, 0, 1, &evidence);
	chain_trusted(&chain, 1, "chain: grid-other\n", &trusted);
	struct err err = { 0 };
	assert_false(check(&chain, 0, buffer_bytes(&evidence), buffer_bytes(&trusted), &err));
	assert_non_null(strstr(err.message, "grid-other"));
	buffer_fini(&evidence);
	buffer_fini(&trusted);
	chain_fini(&chain);
}

static void a_block_header_is_read_only_in_its_own_form(void **state)
{
	struct main_block block = { .alg = HASH_SM3, .chain = "m", .height = 1, .time_ms = -5 };
	struct buffer record = BUFFER_EMPTY;
	main_block_encode(&block, &record);
	struct main_block read;
	assert_true(main_block_decode(buffer_bytes(&record), &read, NULL));
	assert_int_equal(read.height, 1);
	assert_int_equal(read.time_ms, -5);
	assert_string_equal(read.chain, "m");

	static const struct {
		size_t offset;
		uint8_t value;
	} changes[] = {
		{ 3, '2' },          /* Another version. */
		{ 4, 3 },            /* No such hash. */
		{ 5, 2 },            /* The name is longer than it is. */
		{ 6, 0 },            /* No chain name. */
		{ 6, '-' },          /* Likewise. */
		{ 7, 0x80 },         /* A height beyond 2^63. */
		{ 14, 2 },           /* Height 2 without a block before it. */
		{ 14, 0 },           /* Height 0. */
		{ 6 + 1 + 8 + 8, 1 } /* Height 1 with a block before it. */
	};
	for (size_t i = 0; i < sizeof(changes) / sizeof(changes[0]); i++) {
		uint8_t kept = record.data[changes[i].offset];
		record.data[changes[i].offset] = changes[i].value;
		assert_false(main_block_decode(buffer_bytes(&record), &read, NULL));
		record.data[changes[i].offset] = kept;
	}
	buffer_fini(&record);
}

static void trusted_is(const char *text, const char *message)
{
	struct trusted *trusted;
	struct err err = { 0 };
	assert_false(trusted_parse(bytes_of_string(text), &trusted, &err));
	assert_int_equal(err.code, ZR_INVALID);
	if (strstr(err.message, message) == NULL)
		fail_msg("\"%s\" does not say \"%s\"", err.message, message);
}

static void what_is_trusted_is_read_strictly(void **state)
{
	struct key *key;
	struct buffer pem = BUFFER_EMPTY, secret = BUFFER_EMPTY;
	char text[4096];
	assert_true(key_generate(&key, SUITE_SHA256_P256, NULL));
	assert_true(key_to_pem(key, false, &pem, NULL));
	assert_true(key_to_pem(key, true, &secret, NULL));
	buffer_put_u8(&pem, 0);
	buffer_put_u8(&secret, 0);
	const char *one = (const char *)pem.data;

	trusted_is("", "no key");
	trusted_is("# nothing\n\n", "no key");
	trusted_is("treshold: 2\n", "line 1: neither");
	trusted_is("\nthreshold: 0\n", "line 2: threshold");
	trusted_is("threshold: 2x\n", "threshold");
	trusted_is("threshold: 100\n", "threshold");
	trusted_is("threshold:\n", "threshold");
	trusted_is("threshold: 1\nthreshold: 1\n", "line 2: threshold");
	trusted_is("chain: a\nchain: a\n", "line 2: chain");
	trusted_is("chain: a b\n", "chain");
	trusted_is("-----BEGIN PUBLIC KEY-----\nAAAA\n", "does not end");
	trusted_is("-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n", "line 3");
	trusted_is((const char *)secret.data, "private key");
	(void)snprintf(text, sizeof(text), "%s\n%s", one, one);
	trusted_is(text, "twice");
	(void)snprintf(text, sizeof(text), "threshold: 2\n%s", one);
	trusted_is(text, "threshold is 2");

	struct trusted *trusted;
	(void)snprintf(text, sizeof(text), "# ours\r\n\r\n chain: grid-main \r\nthreshold: 1\n%s",
	               one);
	assert_true(trusted_parse(bytes_of_string(text), &trusted, NULL));
	assert_int_equal(trusted_key_count(trusted), 1);
	assert_int_equal(trusted_threshold(trusted), 1);
	assert_string_equal(trusted_chain(trusted), "grid-main");
	struct hash id = key_id(key);
	assert_non_null(trusted_find(trusted, &id));
	trusted_free(trusted);
	trusted_free(NULL);
	buffer_fini(&pem);
	buffer_fini(&secret);
	key_free(key);
}

static void trust_signer(const struct vectors *vectors, const char *name, struct buffer *out)
{
	struct key *key;
	assert_true(key_from_spki(&key, vector(vectors, name), NULL));
	assert_true(key_to_pem(key, false, out, NULL));
	key_free(key);
}

/* Made by another implementation: tests/data/vectors/generate.py. */
static void the_vectors_of_the_document_are_evidence(void **state)
{
	static const char *const names[] = { "evidence", "evidence-sm3" };
	struct vectors *vectors = vectors_open("evidence.txt");
	struct buffer trusted = BUFFER_EMPTY, again = BUFFER_EMPTY, checks = BUFFER_EMPTY;
	buffer_put(&trusted, BYTES_LITERAL("chain: grid-main\nthreshold: 2\n"));
	trust_signer(vectors, "evidence-signer-first", &trusted);
	trust_signer(vectors, "evidence-signer-second", &trusted);
	for (size_t i = 0; i < 2; i++) {
		struct main_evidence evidence;
		struct err err = { 0 };
		struct bytes bytes = vector(vectors, names[i]);
		assert_true(main_evidence_decode(bytes, &evidence, NULL));
		assert_bytes_equal(evidence.transaction_record,
		                   vector(vectors, "main-transaction"));
		assert_int_equal(evidence.block.height, 1842);
		assert_int_equal(evidence.transaction.seq, 43);
		struct hash hash = main_block_hash(evidence.block.alg, evidence.block_record);
		assert_bytes_equal(evidence.block_record,
		                   vector(vectors, i == 0 ? "main-block" : "main-block-sm3"));
		assert_bytes_equal(
			BYTES_OF(hash.bytes),
			vector(vectors, i == 0 ? "main-block-hash" : "main-block-sm3-hash"));
		struct anchor anchor = anchor_of(&evidence.transaction);
		if (!http_evidence_check(bytes, buffer_bytes(&trusted), &anchor,
		                         &evidence.transaction.key, &checks, &err))
			fail_msg("%s: %s", names[i], err.message);
		buffer_clear(&again);
		main_evidence_encode(&evidence, &again);
		assert_bytes_equal(buffer_bytes(&again), bytes);
	}
	buffer_fini(&trusted);
	buffer_fini(&again);
	buffer_fini(&checks);
	vectors_close(vectors);
}

static void there_is_no_check_for_an_unknown_adapter(void **state)
{
	assert_null(mainchain_evidence_find("carrier-pigeon"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(good_evidence_of_every_suite_proves_its_anchor),
		cmocka_unit_test(every_check_made_is_told),
		cmocka_unit_test(every_flipped_bit_and_every_cut_is_refused),
		cmocka_unit_test(evidence_of_one_anchor_proves_no_other),
		cmocka_unit_test(a_threshold_needs_so_many_trusted_signatures),
		cmocka_unit_test(one_bad_signature_of_a_trusted_key_spoils_the_evidence),
		cmocka_unit_test(a_signer_cannot_be_counted_twice),
		cmocka_unit_test(evidence_of_another_main_chain_is_refused_where_one_is_named),
		cmocka_unit_test(a_block_header_is_read_only_in_its_own_form),
		cmocka_unit_test(what_is_trusted_is_read_strictly),
		cmocka_unit_test(the_vectors_of_the_document_are_evidence),
		cmocka_unit_test(there_is_no_check_for_an_unknown_adapter),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
