#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "proto/receipt.h"
#include "tests/lib/fault.h"
#include "tests/lib/sample.h"
#include "tests/lib/vectors.h"

static struct vectors *vectors;
static struct key *vector_key; /* The one whose seed is in the vectors. */

/* An Ed25519 private key from its seed, as RFC 8410 wraps one. */
static struct key *key_from_seed(struct bytes seed)
{
	struct buffer der = BUFFER_EMPTY;
	struct buffer pem = BUFFER_EMPTY;
	struct key *key = NULL;
	struct err err;
	buffer_put(&der, BYTES_LITERAL("\x30\x2e\x02\x01\x00\x30\x05\x06\x03\x2b\x65\x70\x04\x22"
	                               "\x04\x20"));
	buffer_put(&der, seed);
	buffer_printf(&pem, "-----BEGIN PRIVATE KEY-----\n");
	base64_encode(buffer_bytes(&der), &pem);
	buffer_printf(&pem, "\n-----END PRIVATE KEY-----\n");
	if (!key_from_pem(&key, buffer_bytes(&pem), &err))
		fail_msg("%s", err.message);
	buffer_fini(&der);
	buffer_fini(&pem);
	return key;
}

static int open_vectors(void **state)
{
	vectors = vectors_open("receipts.txt");
	vector_key = key_from_seed(vector(vectors, "receipt-seed"));
	return 0;
}

static int close_vectors(void **state)
{
	key_free(vector_key);
	vectors_close(vectors);
	return 0;
}

static struct custody_commit *commit_sample(size_t count, const struct key *key)
{
	struct custody_stamp stamp = { .commit_number = 42, .time_ms = SAMPLE_TIME_MS };
	struct custody custodies[100];
	struct custody_commit *commit = NULL;
	struct err err;
	assert_true(count <= 100);
	memcpy(stamp.store_uuid, sample_uuid, STORE_UUID_SIZE);
	for (size_t i = 0; i < count; i++) {
		custodies[i] = sample_custody((int)(i % SAMPLE_CUSTODIES));
		custodies[i].from -= i % SAMPLE_CUSTODIES == 1 ? 0 : i / SAMPLE_CUSTODIES % 7;
	}
	if (!custody_commit_new(&commit, &stamp, custodies, count, key, &err))
		fail_msg("%s", err.message);
	return commit;
}

static bool check(const Zonerelay__Link__CustodyReceipt *receipt, const struct custody *custody,
                  struct err *err)
{
	return custody_receipt_check(receipt, sample_uuid, custody, vector_key, err);
}

/* ---- custody ---- */

static void a_custody_receipt_is_the_vector(void **state)
{
	struct custody_commit *commit = commit_sample(SAMPLE_CUSTODIES, vector_key);
	struct custody_receipt receipt;
	struct buffer body = BUFFER_EMPTY;
	uint8_t root[CUSTODY_ROOT_SIZE];
	custody_root_encode(custody_commit_root(commit), root);
	assert_bytes_equal(BYTES_OF(root), vector(vectors, "custody-root"));
	custody_commit_receipt(commit, 0, &receipt);
	assert_true(link_custody_encode(&receipt.message, &body, NULL));
	assert_bytes_equal(buffer_bytes(&body), vector(vectors, "custody-receipt"));
	buffer_fini(&body);
	custody_commit_free(commit);
}

static void a_key_has_the_id_of_the_vector(void **state)
{
	struct receipt_key_id id = receipt_key_id(vector_key);
	assert_bytes_equal(BYTES_OF(id.bytes), vector(vectors, "receipt-key-id"));
	assert_true(receipt_key_matches(vector_key, vector(vectors, "receipt-key-id")));
	assert_false(receipt_key_matches(vector_key, BYTES_NONE));
	assert_false(receipt_key_matches(vector_key, BYTES_LITERAL("01234567")));
}

static void every_batch_of_a_commit_has_a_receipt_that_an_agent_accepts(void **state)
{
	static const enum suite suites[] = { SUITE_SHA256_P256, SUITE_SHA256_ED25519,
		                             SUITE_SM3_SM2 };
	for (size_t s = 0; s < sizeof(suites) / sizeof(suites[0]); s++) {
		struct key *key = NULL;
		if (!suite_available(suites[s]))
			continue;
		assert_true(key_generate(&key, suites[s], NULL));
		struct custody_commit *commit = commit_sample(100, key);
		for (size_t i = 0; i < 100; i++) {
			struct custody_receipt receipt;
			struct custody custody = sample_custody((int)(i % SAMPLE_CUSTODIES));
			struct err err;
			custody.from -= i % SAMPLE_CUSTODIES == 1 ? 0 : i / SAMPLE_CUSTODIES % 7;
			custody_commit_receipt(commit, i, &receipt);
			if (!custody_receipt_check(&receipt.message, sample_uuid, &custody, key,
			                           &err))
				fail_msg("%s", err.message);
		}
		custody_commit_free(commit);
		key_free(key);
	}
}

static void a_receipt_is_for_one_batch_of_one_store_only(void **state)
{
	struct custody_commit *commit = commit_sample(SAMPLE_CUSTODIES, vector_key);
	struct custody_receipt receipt;
	struct err err;
	custody_commit_receipt(commit, 0, &receipt);
	struct custody custody = sample_custody(0);
	assert_true(check(&receipt.message, &custody, &err));

	struct custody other = custody;
	other.to++;
	assert_false(check(&receipt.message, &other, &err));
	assert_int_equal(err.code, ZR_UNTRUSTED);
	other = custody;
	other.tip.bytes[0] ^= 1;
	assert_false(check(&receipt.message, &other, &err));
	other = custody;
	other.content.bytes[0] ^= 1;
	assert_false(check(&receipt.message, &other, &err));
	other = custody;
	other.chain.epoch.bytes[0] ^= 1;
	assert_false(check(&receipt.message, &other, &err));
	other = sample_custody(1);
	assert_false(check(&receipt.message, &other, &err));

	uint8_t uuid[STORE_UUID_SIZE] = { 9 };
	assert_false(custody_receipt_check(&receipt.message, uuid, &custody, vector_key, &err));
	assert_int_equal(err.code, ZR_UNTRUSTED);
	custody_commit_free(commit);
}

static void a_receipt_that_was_changed_is_refused(void **state)
{
	struct custody_commit *commit = commit_sample(SAMPLE_CUSTODIES, vector_key);
	struct custody custody = sample_custody(0);
	struct custody_receipt receipt;
	struct err err;
#define CHANGED(change, expected)                                      \
	do {                                                           \
		custody_commit_receipt(commit, 0, &receipt);           \
		change;                                                \
		assert_false(check(&receipt.message, &custody, &err)); \
		assert_int_equal(err.code, expected);                  \
	} while (0)
	CHANGED(receipt.message.commit_number++, ZR_UNTRUSTED);
	CHANGED(receipt.message.time_ms++, ZR_UNTRUSTED);
	CHANGED(receipt.message.count = 4, ZR_UNTRUSTED);
	CHANGED(receipt.message.index = 1, ZR_UNTRUSTED);
	CHANGED(receipt.message.index = 3, ZR_INVALID);
	CHANGED(receipt.message.count = 2, ZR_INVALID);
	CHANGED(receipt.message.n_path = 1, ZR_INVALID);
	CHANGED(receipt.message.n_path = 64, ZR_INVALID);
	CHANGED(receipt.nodes[0].len = 31, ZR_INVALID);
	CHANGED(receipt.path.nodes[1].bytes[0] ^= 1, ZR_UNTRUSTED);
	CHANGED(receipt.message.signature.len--, ZR_UNTRUSTED);
	CHANGED(receipt.message.key_id.len = 0, ZR_UNTRUSTED);
#undef CHANGED
	custody_commit_free(commit);
}

static void another_keys_receipt_is_refused(void **state)
{
	struct key *other = NULL;
	struct custody_receipt receipt;
	struct custody custody = sample_custody(0);
	struct err err;
	assert_true(key_generate(&other, SUITE_SHA256_ED25519, NULL));
	struct custody_commit *commit = commit_sample(1, other);
	custody_commit_receipt(commit, 0, &receipt);
	assert_false(check(&receipt.message, &custody, &err));
	assert_non_null(strstr(err.message, "another key"));
	struct receipt_key_id id = receipt_key_id(vector_key);
	receipt.message.key_id.data = id.bytes; /* It pretends to be ours. */
	assert_false(check(&receipt.message, &custody, &err));
	assert_int_equal(err.code, ZR_UNTRUSTED);
	custody_commit_free(commit);
	key_free(other);
}

static void a_public_key_cannot_sign_a_commit(void **state)
{
	struct key *public = NULL;
	struct custody_commit *commit = NULL;
	struct custody_stamp stamp = { .commit_number = 1 };
	struct custody custody = sample_custody(0);
	struct err err;
	assert_true(key_from_spki(&public, key_spki(vector_key), NULL));
	assert_false(custody_commit_new(&commit, &stamp, &custody, 1, public, &err));
	assert_int_equal(err.code, ZR_STATE);
	assert_null(commit);
	key_free(public);
}

static void out_of_memory_while_signing_leaves_nothing_behind(void **state)
{
	struct custody_stamp stamp = { .commit_number = 1 };
	struct custody custodies[] = { sample_custody(0), sample_custody(1) };
	struct custody_commit *commit = NULL;
	struct err err;
	size_t n = 0;
	for (bool ok = false; !ok; n++) {
		fault_at(n + 1);
		ok = custody_commit_new(&commit, &stamp, custodies, 2, vector_key, &err);
		assert_int_equal(fault_off() == 0, ok);
		assert_true(ok || err.code == ZR_NO_MEMORY);
	}
	assert_true(n > 3);
	custody_commit_free(commit);
	custody_commit_free(NULL);
}

/* ---- anchored ---- */

static Zonerelay__Link__Anchored *anchored_vector(void)
{
	Zonerelay__Link__Anchored *anchored = NULL;
	struct err err;
	if (!link_anchored_decode(vector(vectors, "anchored"), &anchored, &err))
		fail_msg("%s", err.message);
	return anchored;
}

static void a_receipt_roots_signature_is_the_vector(void **state)
{
	struct receipt_root root = sample_receipt_root();
	struct signature signature;
	assert_true(receipt_root_sign(&root, vector_key, &signature, NULL));
	assert_bytes_equal(signature_bytes(&signature), vector(vectors, "receipt-root-signature"));
}

static void an_agent_accepts_what_the_gateway_signed(void **state)
{
	Zonerelay__Link__Anchored *anchored = anchored_vector();
	struct err err;
	assert_true(anchored_check(anchored, sample_uuid, vector_key, &err));
#define CHANGED(change, restore, expected)                                             \
	do {                                                                           \
		change;                                                                \
		assert_false(anchored_check(anchored, sample_uuid, vector_key, &err)); \
		assert_int_equal(err.code, expected);                                  \
		restore;                                                               \
	} while (0)
	CHANGED(anchored->seq++, anchored->seq--, ZR_UNTRUSTED);
	CHANGED(anchored->lane++, anchored->lane--, ZR_UNTRUSTED);
	CHANGED(anchored->lane = 65536 + 3, anchored->lane = 3, ZR_INVALID);
	CHANGED(anchored->hash_alg = 2, anchored->hash_alg = 1, ZR_UNTRUSTED);
	CHANGED(anchored->hash_alg = 3, anchored->hash_alg = 1, ZR_INVALID);
	CHANGED(anchored->time_ms++, anchored->time_ms--, ZR_UNTRUSTED);
	CHANGED(anchored->root.data[0] ^= 1, anchored->root.data[0] ^= 1, ZR_UNTRUSTED);
	CHANGED(anchored->root.len = 0, anchored->root.len = 32, ZR_INVALID);
	CHANGED(anchored->key.data[0] ^= 1, anchored->key.data[0] ^= 1, ZR_UNTRUSTED);
	CHANGED(anchored->evidence.data[0] ^= 1, anchored->evidence.data[0] ^= 1, ZR_UNTRUSTED);
	CHANGED(anchored->signature.data[0] ^= 1, anchored->signature.data[0] ^= 1, ZR_UNTRUSTED);
	CHANGED(anchored->key_id.data[0] ^= 1, anchored->key_id.data[0] ^= 1, ZR_UNTRUSTED);
#undef CHANGED
	uint8_t uuid[STORE_UUID_SIZE] = { 9 };
	assert_false(anchored_check(anchored, uuid, vector_key, &err));
	assert_true(anchored_check(anchored, sample_uuid, vector_key, &err));
	link_anchored_free(anchored);
}

static void an_entry_leads_to_the_anchors_root(void **state)
{
	Zonerelay__Link__Anchored *anchored = anchored_vector();
	Zonerelay__Link__AnchoredEntry *message = anchored->entries[0];
	struct chain_id chain = sample_chain();
	struct entry entry;
	struct merkle_path path;
	struct err err;
	assert_true(anchored_entry_check(anchored, message, &chain, &entry, &path, &err));
	assert_int_equal(entry.to, 9);
	assert_int_equal(path.node_count, 1);
	struct block_header headers[SAMPLE_HEADERS];
	for (int i = 0; i < SAMPLE_HEADERS; i++)
		headers[i] = sample_header(i);
	assert_true(entry_check_headers(HASH_SHA256, &entry, headers, SAMPLE_HEADERS, &err));

#define CHANGED(change, restore, expected)                                                     \
	do {                                                                                   \
		change;                                                                        \
		assert_false(                                                                  \
			anchored_entry_check(anchored, message, &chain, &entry, &path, &err)); \
		assert_int_equal(err.code, expected);                                          \
		restore;                                                                       \
	} while (0)
	CHANGED(message->to--, message->to++, ZR_UNTRUSTED);
	CHANGED(message->policy = 2, message->policy = 1, ZR_UNTRUSTED);
	CHANGED(message->tip.data[0] ^= 1, message->tip.data[0] ^= 1, ZR_UNTRUSTED);
	CHANGED(message->subtree.len = 31, message->subtree.len = 32, ZR_INVALID);
	CHANGED(message->index = 1, message->index = 0, ZR_UNTRUSTED);
	CHANGED(message->count = 1, message->count = 2, ZR_INVALID);
	CHANGED(message->path[0].data[0] ^= 1, message->path[0].data[0] ^= 1, ZR_UNTRUSTED);
	CHANGED(message->path[0].len = 33, message->path[0].len = 32, ZR_INVALID);
	CHANGED(anchored->hash_alg = 0, anchored->hash_alg = 1, ZR_INVALID);
	CHANGED(chain.epoch.bytes[0] ^= 1, chain.epoch.bytes[0] ^= 1, ZR_UNTRUSTED);
	CHANGED(chain.name[0] = 'x', chain.name[0] = 't', ZR_UNTRUSTED);
#undef CHANGED
	assert_true(anchored_entry_check(anchored, message, &chain, &entry, &path, &err));
	link_anchored_free(anchored);
}

static void the_gateway_fills_what_the_agent_reads(void **state)
{
	struct entry entries[2];
	struct anchor anchor = sample_anchor(entries);
	struct hash leaves[2] = { entry_leaf(HASH_SHA256, &entries[0]),
		                  entry_leaf(HASH_SHA256, &entries[1]) };
	struct merkle_path path;
	ProtobufCBinaryData nodes[MERKLE_PATH_MAX];
	Zonerelay__Link__AnchoredEntry message;
	merkle_path(HASH_SHA256, leaves, 2, 1, &path);
	anchored_entry_fill(&entries[1], &path, nodes, &message);

	Zonerelay__Link__Anchored anchored = ZONERELAY__LINK__ANCHORED__INIT;
	anchored.hash_alg = HASH_SHA256;
	anchored.root = (ProtobufCBinaryData){ HASH_SIZE, anchor.root.bytes };
	struct entry entry;
	assert_true(
		anchored_entry_check(&anchored, &message, &entries[1].chain, &entry, &path, NULL));
	assert_int_equal(entry.policy, POLICY_TAIL);
	assert_int_equal(path.index, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_custody_receipt_is_the_vector),
		cmocka_unit_test(a_key_has_the_id_of_the_vector),
		cmocka_unit_test(every_batch_of_a_commit_has_a_receipt_that_an_agent_accepts),
		cmocka_unit_test(a_receipt_is_for_one_batch_of_one_store_only),
		cmocka_unit_test(a_receipt_that_was_changed_is_refused),
		cmocka_unit_test(another_keys_receipt_is_refused),
		cmocka_unit_test(a_public_key_cannot_sign_a_commit),
		cmocka_unit_test(out_of_memory_while_signing_leaves_nothing_behind),
		cmocka_unit_test(a_receipt_roots_signature_is_the_vector),
		cmocka_unit_test(an_agent_accepts_what_the_gateway_signed),
		cmocka_unit_test(an_entry_leads_to_the_anchors_root),
		cmocka_unit_test(the_gateway_fills_what_the_agent_reads),
	};
	return cmocka_run_group_tests(tests, open_vectors, close_vectors);
}
