#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/unit/spool_fixture.h"

static struct spool_suspect suspect_of(const struct test_chain *chain, const char *payload)
{
	struct spool_suspect suspect = { .reason = "untrusted",
		                         .detail = "signer orderer9 is not in the set",
		                         .first_height = 4,
		                         .bad_height = 5,
		                         .block_count = 3,
		                         .codec = CODEC_ZSTD,
		                         .payload = bytes_of_string(payload),
		                         .raw_size = 100,
		                         .received_ms = TEST_TIME_MS,
		                         .agent = "agent-9" };
	if (chain != NULL)
		suspect.chain = chain->key;
	suspect.content = sha256(suspect.payload);
	return suspect;
}

static enum spool_suspect_outcome
quarantine(struct fixture *fixture, const struct spool_suspect *suspect, uint64_t *out_number)
{
	struct err err;
	enum spool_suspect_outcome outcome;
	MUST(spool_quarantine_put(begin(fixture, SPOOL_INTAKE), suspect, &outcome, out_number,
	                          &err));
	commit(fixture);
	return outcome;
}

static void what_is_refused_is_kept_whole_with_its_reason(void **state)
{
	struct fixture *fixture = *state;
	struct err err;
	struct test_chain chain = test_chain("tq-0001");
	uint64_t number;
	add_chain(fixture, &chain);
	struct spool_suspect suspect = suspect_of(&chain, "bad bytes");
	assert_int_equal(quarantine(fixture, &suspect, &number), SPOOL_SUSPECT_KEPT);
	open_spool(fixture);
	struct spool_suspect_info info;
	struct buffer payload = BUFFER_EMPTY;
	MUST(spool_quarantine_get(fixture->spool, number, &info, &payload, &err));
	assert_string_equal(info.reason, "untrusted");
	assert_string_equal(info.detail, "signer orderer9 is not in the set");
	assert_string_equal(info.agent, "agent-9");
	assert_int_equal(info.first_height, 4);
	assert_int_equal(info.bad_height, 5);
	assert_int_equal(info.block_count, 3);
	assert_int_equal(info.payload_size, 9);
	assert_true(bytes_equal(buffer_bytes(&payload), suspect.payload));
	struct spool_chain row = load(fixture, &chain);
	assert_int_equal(row.quarantined_blocks, 3);
	assert_int_equal(row.next_height, 0);
	check_conservation(&row, 0);
	MUST_FAIL(spool_quarantine_get(fixture->spool, 99, &info, NULL, &err), ZR_STATE);
	buffer_fini(&payload);
}

static void the_same_bytes_again_are_a_duplicate_not_a_second_item(void **state)
{
	struct fixture *fixture = *state;
	struct test_chain chain = test_chain("tq-0001");
	uint64_t first, again;
	add_chain(fixture, &chain);
	struct spool_suspect suspect = suspect_of(&chain, "bad bytes");
	quarantine(fixture, &suspect, &first);
	assert_int_equal(quarantine(fixture, &suspect, &again), SPOOL_SUSPECT_KNOWN);
	assert_int_equal(first, again);
	struct spool_chain row = load(fixture, &chain);
	assert_int_equal(row.quarantine_count, 1);
	assert_int_equal(row.duplicate_blocks, 3);
	check_conservation(&row, 0);
}

static void a_flood_of_bad_batches_is_bounded_per_chain_and_still_counted(void **state)
{
	struct fixture *fixture = *state;
	struct test_chain bad = test_chain("bad"), good = test_chain("good");
	uint64_t number;
	add_chain(fixture, &bad);
	add_chain(fixture, &good);
	int kept = 0;
	for (int i = 0; i < 100; i++) {
		char payload[32];
		snprintf(payload, sizeof(payload), "bad bytes %d", i);
		struct spool_suspect suspect = suspect_of(&bad, payload);
		kept += quarantine(fixture, &suspect, &number) == SPOOL_SUSPECT_KEPT;
	}
	assert_int_equal(kept, 64);
	struct spool_chain row = load(fixture, &bad);
	assert_int_equal(row.quarantine_count, 64);
	assert_int_equal(row.quarantine_dropped_blocks, 36 * 3);
	assert_int_equal(row.tombstoned_blocks, 36 * 3);
	assert_false(hash_is_zero(&row.quarantine_dropped_hash));
	check_conservation(&row, 0);
	struct spool_suspect suspect = suspect_of(&good, "another chain's");
	assert_int_equal(quarantine(fixture, &suspect, &number), SPOOL_SUSPECT_KEPT);
}

static void one_chain_takes_at_most_a_quarter_of_the_bytes(void **state)
{
	struct fixture *fixture = *state;
	struct test_chain chain = test_chain("tq-0001");
	uint64_t number;
	add_chain(fixture, &chain);
	spool_set_quarantine_max(fixture->spool, 400);
	struct spool_suspect suspect =
		suspect_of(&chain, "sixty bytes, which is more than half of a hundred of them....");
	assert_int_equal(quarantine(fixture, &suspect, &number), SPOOL_SUSPECT_KEPT);
	suspect.content.bytes[0] ^= 1;
	assert_int_equal(quarantine(fixture, &suspect, &number), SPOOL_SUSPECT_DROPPED);
}

static void what_comes_for_no_known_chain_is_kept_under_no_chain(void **state)
{
	struct fixture *fixture = *state;
	struct err err;
	uint64_t number;
	struct spool_suspect suspect = suspect_of(NULL, "who are you");
	assert_int_equal(quarantine(fixture, &suspect, &number), SPOOL_SUSPECT_KEPT);
	assert_int_equal(quarantine(fixture, &suspect, &number), SPOOL_SUSPECT_KNOWN);
	struct test_chain unknown = test_chain("never-added");
	suspect.chain = unknown.key;
	enum spool_suspect_outcome outcome;
	MUST_FAIL(spool_quarantine_put(begin(fixture, SPOOL_INTAKE), &suspect, &outcome, &number,
	                               &err),
	          ZR_STATE);
	commit(fixture);
	struct spool_chain page[2];
	size_t count;
	MUST(spool_chains_page(fixture->spool, NULL, page, 2, &count, &err));
	assert_int_equal(count, 0);
	struct spool_totals totals;
	MUST(spool_totals(fixture->spool, &totals, &err));
	assert_int_equal(totals.received_blocks, 3);
	assert_int_equal(totals.quarantined_blocks, 3);
}

static void resolve(struct fixture *fixture, uint64_t number, enum spool_verdict verdict)
{
	struct err err;
	struct spool_resolution resolution = { verdict, "operator alice", "looked at it",
		                               TEST_TIME_MS + 7 };
	MUST(spool_quarantine_resolve(&fixture->txn, number, &resolution, &err));
}

static void what_an_operator_rejects_leaves_a_tombstone(void **state)
{
	struct fixture *fixture = *state;
	struct err err;
	struct test_chain chain = test_chain("tq-0001");
	uint64_t number;
	add_chain(fixture, &chain);
	struct spool_suspect suspect = suspect_of(&chain, "bad bytes");
	quarantine(fixture, &suspect, &number);
	begin(fixture, SPOOL_UPKEEP);
	resolve(fixture, number, SPOOL_VERDICT_REJECTED);
	struct spool_resolution again = { SPOOL_VERDICT_REJECTED, "", "", 0 };
	MUST_FAIL(spool_quarantine_resolve(&fixture->txn, number, &again, &err), ZR_STATE);
	commit(fixture);
	struct spool_tombstone tombstone;
	size_t count;
	MUST(spool_tombstones_page(fixture->spool, NULL, &tombstone, 1, &count, &err));
	assert_int_equal(count, 1);
	assert_int_equal(tombstone.kind, SPOOL_TOMBSTONE_REJECTED);
	assert_int_equal(tombstone.from, 4);
	assert_int_equal(tombstone.to, 6);
	assert_int_equal(tombstone.block_count, 3);
	assert_int_equal(tombstone.time_ms, TEST_TIME_MS + 7);
	assert_string_equal(tombstone.who, "operator alice");
	assert_string_equal(tombstone.why, "looked at it");
	assert_true(hash_equal(&tombstone.hash, &suspect.content));
	struct spool_chain row = load(fixture, &chain);
	assert_int_equal(row.tombstoned_blocks, 3);
	assert_int_equal(row.quarantined_blocks, 0);
	assert_int_equal(row.quarantine_bytes, 0);
	check_conservation(&row, 0);
	MUST(spool_tombstones_page(fixture->spool, &tombstone, &tombstone, 1, &count, &err));
	assert_int_equal(count, 0);
}

static void what_is_released_is_counted_once_when_its_blocks_are_put(void **state)
{
	struct fixture *fixture = *state;
	struct err err;
	struct test_chain chain = test_chain("tq-0001");
	struct test_batch batch;
	uint64_t number, arrival;
	add_chain(fixture, &chain);
	next_batch(&chain, 3, 50, &batch);
	struct spool_suspect suspect = suspect_of(&chain, "");
	suspect.payload = batch.batch.payload;
	suspect.content = batch.batch.content;
	suspect.first_height = 0;
	quarantine(fixture, &suspect, &number);
	begin(fixture, SPOOL_INTAKE);
	resolve(fixture, number, SPOOL_VERDICT_RELEASED);
	MUST(spool_batch_put(&fixture->txn, &batch.batch, &arrival, &err));
	commit(fixture);
	struct spool_chain row = load(fixture, &chain);
	assert_int_equal(row.received_blocks, 3);
	assert_int_equal(row.quarantined_blocks, 0);
	check_conservation(&row, 3);

	/* The same once more: its blocks are ours already. */
	quarantine(fixture, &suspect, &number);
	begin(fixture, SPOOL_UPKEEP);
	resolve(fixture, number, SPOOL_VERDICT_DUPLICATE);
	commit(fixture);
	row = load(fixture, &chain);
	assert_int_equal(row.received_blocks, 3);
	assert_int_equal(row.duplicate_blocks, 3);
	check_conservation(&row, 3);
	struct spool_tombstone tombstones[3];
	size_t count;
	MUST(spool_tombstones_page(fixture->spool, NULL, tombstones, 3, &count, &err));
	assert_int_equal(count, 2);
	assert_int_equal(tombstones[0].kind, SPOOL_TOMBSTONE_RELEASED);
	assert_int_equal(tombstones[0].block_count, 0);
}

static void a_claim_of_impossible_heights_can_be_resolved(void **state)
{
	struct fixture *fixture = *state;
	struct err err;
	struct test_chain chain = test_chain("tq-0001");
	uint64_t number;
	add_chain(fixture, &chain);
	struct spool_suspect suspect = suspect_of(&chain, "far away");
	suspect.first_height = UINT64_MAX;
	quarantine(fixture, &suspect, &number);
	begin(fixture, SPOOL_UPKEEP);
	resolve(fixture, number, SPOOL_VERDICT_REJECTED);
	commit(fixture);
	struct spool_tombstone tombstone;
	size_t count;
	MUST(spool_tombstones_page(fixture->spool, NULL, &tombstone, 1, &count, &err));
	assert_true(tombstone.to >= tombstone.from);
}

static void quarantine_is_listed_oldest_first_in_pages(void **state)
{
	struct fixture *fixture = *state;
	struct err err;
	struct test_chain chain = test_chain("tq-0001");
	uint64_t numbers[5];
	add_chain(fixture, &chain);
	for (int i = 0; i < 5; i++) {
		char payload[16];
		snprintf(payload, sizeof(payload), "bad %d", i);
		struct spool_suspect suspect = suspect_of(&chain, payload);
		quarantine(fixture, &suspect, &numbers[i]);
	}
	struct spool_suspect_info page[3];
	size_t count;
	MUST(spool_quarantine_page(fixture->spool, 0, page, 3, &count, &err));
	assert_int_equal(count, 3);
	assert_int_equal(page[0].number, numbers[0]);
	MUST(spool_quarantine_page(fixture->spool, page[2].number, page, 3, &count, &err));
	assert_int_equal(count, 2);
	assert_int_equal(page[1].number, numbers[4]);
}

/* ---- evidence ---- */

static void the_same_evidence_is_kept_once(void **state)
{
	struct fixture *fixture = *state;
	struct err err;
	struct test_chain chain = test_chain("tq-0001");
	uint64_t first, again, other;
	add_chain(fixture, &chain);
	struct spool_evidence evidence = { .chain = chain.key,
		                           .height = 12,
		                           .ours = { { 1 } },
		                           .theirs = { { 2 } },
		                           .time_ms = TEST_TIME_MS,
		                           .agent = "agent-3" };
	begin(fixture, SPOOL_INTAKE);
	MUST(spool_evidence_put(&fixture->txn, &evidence, BYTES_LITERAL("bundle"), &first, &err));
	MUST(spool_evidence_put(&fixture->txn, &evidence, BYTES_LITERAL("bundle"), &again, &err));
	evidence.theirs.bytes[0] = 3;
	MUST(spool_evidence_put(&fixture->txn, &evidence, BYTES_LITERAL("third"), &other, &err));
	struct test_chain unknown = test_chain("unknown");
	evidence.chain = unknown.key;
	MUST_FAIL(spool_evidence_put(&fixture->txn, &evidence, BYTES_LITERAL("x"), &again, &err),
	          ZR_STATE);
	commit(fixture);
	assert_int_equal(first, 1);
	assert_int_equal(again, 1);
	assert_int_equal(other, 2);
	struct spool_evidence page[4];
	size_t count;
	MUST(spool_evidence_page(fixture->spool, 0, page, 4, &count, &err));
	assert_int_equal(count, 2);
	struct buffer bundle = BUFFER_EMPTY;
	MUST(spool_evidence_get(fixture->spool, 1, page, &bundle, &err));
	assert_true(bytes_equal(buffer_bytes(&bundle), BYTES_LITERAL("bundle")));
	assert_int_equal(page[0].height, 12);
	assert_string_equal(page[0].agent, "agent-3");
	assert_int_equal(page[0].ours.bytes[0], 1);
	MUST_FAIL(spool_evidence_get(fixture->spool, 3, page, &bundle, &err), ZR_STATE);
	buffer_fini(&bundle);
}

/* ---- audit ---- */

static struct spool_audit audit_of(uint8_t request)
{
	struct spool_audit audit = { .time_ms = TEST_TIME_MS,
		                     .who = "alice",
		                     .verb = "chains freeze tq-0001",
		                     .reason = "looks odd",
		                     .result = "{\"ok\":true}" };
	audit.request_id[0] = request;
	return audit;
}

static void a_request_is_found_again_and_acts_once(void **state)
{
	struct fixture *fixture = *state;
	struct err err;
	struct spool_audit audit = audit_of(9);
	struct spool_audit_copy copy = SPOOL_AUDIT_COPY_EMPTY;
	bool found;
	MUST(spool_audit_append(begin(fixture, SPOOL_UPKEEP), &audit, &err));
	MUST_FAIL(spool_audit_append(&fixture->txn, &audit, &err), ZR_STATE);
	commit(fixture);
	MUST_FAIL(spool_audit_append(begin(fixture, SPOOL_UPKEEP), &audit, &err), ZR_STATE);
	commit(fixture);
	MUST(spool_audit_by_request(fixture->spool, audit.request_id, &copy, &found, &err));
	assert_true(found);
	assert_int_equal(copy.audit.number, 1);
	assert_string_equal(copy.audit.who, "alice");
	assert_string_equal(copy.audit.verb, "chains freeze tq-0001");
	assert_string_equal(copy.audit.reason, "looks odd");
	assert_string_equal(copy.audit.result, "{\"ok\":true}");
	audit.request_id[0] = 10;
	MUST(spool_audit_by_request(fixture->spool, audit.request_id, &copy, &found, &err));
	assert_false(found);
	spool_audit_copy_fini(&copy);
}

static void the_audit_list_is_bound_together_and_a_change_is_seen(void **state)
{
	struct fixture *fixture = *state;
	struct err err;
	struct spool_audit_copy copy = SPOOL_AUDIT_COPY_EMPTY;
	struct hash before = { .bytes = { 0 } };
	uint64_t count, number = 0;
	bool found = true;
	fixture->damaged = true;
	MUST(spool_audit_verify(fixture->spool, &count, &err));
	assert_int_equal(count, 0);
	for (uint8_t i = 0; i < 4; i++) {
		struct spool_audit audit = audit_of(0); /* No request: may repeat. */
		MUST(spool_audit_append(begin(fixture, SPOOL_UPKEEP), &audit, &err));
		commit(fixture);
	}
	MUST(spool_audit_verify(fixture->spool, &count, &err));
	assert_int_equal(count, 4);
	for (;;) {
		MUST(spool_audit_next(fixture->spool, number, &copy, &found, &err));
		if (!found)
			break;
		assert_true(hash_equal(&copy.previous, &before));
		before = copy.hash;
		number = copy.audit.number;
	}
	assert_int_equal(number, 4);

	/* A record that somebody took out, and then one that somebody rewrote. */
	struct txn txn;
	struct bytes value;
	uint8_t key[8];
	put_be64(key, 2);
	txn_begin(&txn, spool_store(fixture->spool), TXN_WRITE);
	assert_true(txn_get(&txn, SPOOL_AUDIT, BYTES_OF(key), &value));
	uint8_t *row = bytes_dup(value);
	size_t size = value.size;
	row[size - 3] ^= 1;
	txn_put(&txn, SPOOL_AUDIT, BYTES_OF(key), (struct bytes){ row, size });
	MUST(txn_commit(&txn, &err));
	MUST_FAIL(spool_audit_verify(fixture->spool, &count, &err), ZR_CORRUPT);
	row[size - 3] ^= 1;
	put_be64(key, 4);
	txn_begin(&txn, spool_store(fixture->spool), TXN_WRITE);
	put_be64(key, 2);
	txn_put(&txn, SPOOL_AUDIT, BYTES_OF(key), (struct bytes){ row, size });
	put_be64(key, 4);
	assert_true(txn_delete(&txn, SPOOL_AUDIT, BYTES_OF(key)));
	MUST(txn_commit(&txn, &err));
	MUST_FAIL(spool_audit_verify(fixture->spool, &count, &err), ZR_CORRUPT);
	free(row);
	spool_audit_copy_fini(&copy);
}

static void an_audit_record_has_a_limit(void **state)
{
	struct fixture *fixture = *state;
	struct err err;
	struct spool_audit audit = audit_of(1);
	char *text = calloc(1, SPOOL_AUDIT_TEXT_MAX + 1);
	memset(text, 'x', SPOOL_AUDIT_TEXT_MAX);
	audit.result = text;
	MUST_FAIL(spool_audit_append(begin(fixture, SPOOL_UPKEEP), &audit, &err), ZR_INVALID);
	commit(fixture);
	free(text);
}

/* ---- dictionaries ---- */

static void a_dictionary_is_found_by_its_hash(void **state)
{
	struct fixture *fixture = *state;
	struct err err;
	struct hash hashes[3], page[4];
	size_t count;
	struct buffer dictionary = BUFFER_EMPTY;
	static const char *const texts[3] = { "one", "two", "three" };
	begin(fixture, SPOOL_INTAKE);
	for (int i = 0; i < 3; i++)
		MUST(spool_dictionary_put(&fixture->txn, bytes_of_string(texts[i]), &hashes[i],
		                          &err));
	MUST(spool_dictionary_put(&fixture->txn, bytes_of_string("one"), &hashes[0], &err));
	MUST_FAIL(spool_dictionary_put(&fixture->txn, BYTES_NONE, &hashes[0], &err), ZR_INVALID);
	commit(fixture);
	MUST(spool_dictionaries_page(fixture->spool, NULL, page, 4, &count, &err));
	assert_int_equal(count, 3);
	MUST(spool_dictionaries_page(fixture->spool, &page[1], page, 4, &count, &err));
	assert_int_equal(count, 1);
	MUST(spool_dictionary_get(fixture->spool, &hashes[2], &dictionary, &err));
	assert_true(bytes_equal(buffer_bytes(&dictionary), BYTES_LITERAL("three")));
	hashes[0].bytes[0] ^= 1;
	MUST_FAIL(spool_dictionary_get(fixture->spool, &hashes[0], &dictionary, &err), ZR_STATE);
	buffer_fini(&dictionary);

	/* And a batch may say that it needs it. */
	struct test_chain chain = test_chain("tq-0001");
	struct test_batch batch;
	uint64_t arrival;
	add_chain(fixture, &chain);
	next_batch(&chain, 1, 50, &batch);
	batch.batch.dictionary = hashes[1];
	MUST(spool_batch_put(begin(fixture, SPOOL_INTAKE), &batch.batch, &arrival, &err));
	commit(fixture);
	struct spool_batch_info info;
	MUST(spool_batch_info(fixture->spool, &chain.key, 0, &info, &err));
	assert_true(hash_equal(&info.dictionary, &hashes[1]));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		WITH_SPOOL(what_is_refused_is_kept_whole_with_its_reason),
		WITH_SPOOL(the_same_bytes_again_are_a_duplicate_not_a_second_item),
		WITH_SPOOL(a_flood_of_bad_batches_is_bounded_per_chain_and_still_counted),
		WITH_SPOOL(one_chain_takes_at_most_a_quarter_of_the_bytes),
		WITH_SPOOL(what_comes_for_no_known_chain_is_kept_under_no_chain),
		WITH_SPOOL(what_an_operator_rejects_leaves_a_tombstone),
		WITH_SPOOL(what_is_released_is_counted_once_when_its_blocks_are_put),
		WITH_SPOOL(a_claim_of_impossible_heights_can_be_resolved),
		WITH_SPOOL(quarantine_is_listed_oldest_first_in_pages),
		WITH_SPOOL(the_same_evidence_is_kept_once),
		WITH_SPOOL(a_request_is_found_again_and_acts_once),
		WITH_SPOOL(the_audit_list_is_bound_together_and_a_change_is_seen),
		WITH_SPOOL(an_audit_record_has_a_limit),
		WITH_SPOOL(a_dictionary_is_found_by_its_hash),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
