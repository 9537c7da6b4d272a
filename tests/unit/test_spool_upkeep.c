#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "spool/upkeep.h"
#include "tests/unit/spool_fixture.h"

#define DAY_MS 86400000ll

static struct spool_prune_result prune(struct fixture *fixture,
                                       const struct spool_prune_options *options)
{
	struct err err;
	struct spool_prune_result result;
	MUST(spool_prune_slice(begin(fixture, SPOOL_UPKEEP), options, &result, &err));
	commit(fixture);
	return result;
}

static struct spool_prune_options days_after(int64_t days)
{
	return (struct spool_prune_options){ .now_ms = TEST_TIME_MS + days * DAY_MS,
		                             .retention_ms = 7 * DAY_MS,
		                             .batch_max = 100 };
}

static bool is_held(struct fixture *fixture, const struct test_chain *chain, uint64_t height)
{
	struct err err;
	struct spool_batch_info info;
	MUST(spool_batch_info(fixture->spool, &chain->key, height, &info, &err));
	return info.held;
}

static void only_final_payloads_past_retention_are_deleted_and_headers_stay(void **state)
{
	struct fixture *fixture = *state;
	struct err err;
	struct test_chain chain = test_chain("tq-0001");
	add_chain(fixture, &chain);
	for (int i = 0; i < 3; i++)
		put_batch(fixture, &chain, 2);
	anchor_all(fixture, &chain);
	put_batch(fixture, &chain, 2); /* Pending. */
	struct spool_prune_options options = days_after(6);
	assert_int_equal(prune(fixture, &options).batch_count, 0);
	assert_true(is_held(fixture, &chain, 0));
	options = days_after(7);
	struct spool_prune_result result = prune(fixture, &options);
	assert_int_equal(result.batch_count, 3);
	assert_int_equal(result.payload_bytes, 600);
	assert_false(result.more);
	assert_int_equal(prune(fixture, &options).batch_count, 0);

	assert_false(is_held(fixture, &chain, 5));
	assert_true(is_held(fixture, &chain, 6));
	struct buffer payload = BUFFER_EMPTY;
	struct spool_batch_info info;
	MUST_FAIL(spool_batch_payload(fixture->spool, &chain.key, 0, &info, &payload, &err),
	          ZR_STATE);
	struct block_header header;
	MUST(spool_header(fixture->spool, &chain.key, 3, &header, &err));
	struct spool_coverage coverage;
	MUST(spool_anchor_of(fixture->spool, 1, &chain.key, 3, &coverage, &err));
	struct spool_chain row = load(fixture, &chain);
	assert_int_equal(row.held_from, 6);
	assert_int_equal(row.held_batches, 1);
	assert_int_equal(row.held_bytes, 200);
	check_conservation(&row, 2);
	struct spool_totals totals;
	MUST(spool_totals(fixture->spool, &totals, &err));
	assert_int_equal(totals.final_bytes, 0);
	assert_int_equal(totals.held_bytes, 200);
	buffer_fini(&payload);
}

static void pruning_goes_on_where_the_last_slice_ended(void **state)
{
	struct fixture *fixture = *state;
	struct test_chain chains[3] = { test_chain("a"), test_chain("b"), test_chain("c") };
	const struct test_chain *all[3] = { &chains[0], &chains[1], &chains[2] };
	for (int i = 0; i < 3; i++)
		add_chain(fixture, &chains[i]);
	for (int round = 0; round < 2; round++) {
		for (int i = 0; i < 3; i++) {
			for (int k = 0; k < 3; k++)
				put_batch(fixture, &chains[i], 1);
		}
		struct spool_anchor anchor = put_anchor(fixture, all, 3);
		finalize(fixture, &anchor.id, TEST_TIME_MS);
	}
	struct spool_prune_options options = days_after(8);
	options.batch_max = 4;
	uint32_t total = 0;
	for (int slice = 0; slice < 10; slice++) {
		struct spool_prune_result result = prune(fixture, &options);
		assert_true(result.batch_count <= 4);
		total += result.batch_count;
		open_spool(fixture);
		if (!result.more)
			break;
	}
	assert_int_equal(total, 18);
	for (int i = 0; i < 3; i++)
		assert_int_equal(load(fixture, &chains[i]).held_batches, 0);
}

static void too_many_final_bytes_make_way_before_their_time(void **state)
{
	struct fixture *fixture = *state;
	struct err err;
	struct test_chain chain = test_chain("tq-0001");
	struct spool_totals totals;
	add_chain(fixture, &chain);
	for (int i = 0; i < 5; i++) {
		put_batch(fixture, &chain, 1);
		anchor_all(fixture, &chain);
	}
	struct spool_prune_options options = days_after(1);
	options.retention_size_bytes = 450;
	assert_int_equal(prune(fixture, &options).batch_count, 3);
	MUST(spool_totals(fixture->spool, &totals, &err));
	assert_int_equal(totals.final_bytes, 400);
	assert_false(is_held(fixture, &chain, 2));
	assert_true(is_held(fixture, &chain, 3));
}

static void a_full_spool_lets_final_payloads_go_and_takes_in_again(void **state)
{
	struct fixture *fixture = *state;
	struct err err;
	struct test_chain chain = test_chain("tq-0001"), before;
	struct test_batch batch;
	uint64_t arrival;
	add_chain(fixture, &chain);
	for (bool ok = true; ok;) {
		before = chain;
		next_batch(&chain, 4, 4096, &batch);
		ok = spool_batch_put(begin(fixture, SPOOL_INTAKE), &batch.batch, &arrival, &err);
		commit(fixture);
	}
	assert_int_equal(err.code, ZR_FULL);
	chain = before;
	struct entry entry = pending_entry(fixture, &chain, 2000);
	struct spool_anchor anchor = next_anchor(fixture);
	MUST(spool_anchor_put(begin(fixture, SPOOL_UPKEEP), &anchor, &entry, 1, &err));
	commit(fixture);
	finalize(fixture, &anchor.id, TEST_TIME_MS);
	struct spool_prune_options options = days_after(0); /* Long before retention ends. */
	assert_int_equal(prune(fixture, &options).batch_count, 100);
	assert_int_equal(prune(fixture, &options).batch_count, 0); /* Room enough again. */
	put_batch(fixture, &chain, 2);
	assert_int_equal(load(fixture, &chain).next_height, chain.next_height);
}

static void lost_heights_do_not_stop_pruning(void **state)
{
	struct fixture *fixture = *state;
	struct err err;
	struct test_chain chain = test_chain("tq-0001");
	struct test_batch lost;
	add_chain(fixture, &chain);
	put_batch(fixture, &chain, 2);
	put_batch(fixture, &chain, 2);
	next_batch(&chain, 5, 10, &lost);
	struct spool_adoption adoption = { .chain = chain.key,
		                           .next_height = chain.next_height,
		                           .tip = chain.tip,
		                           .anchored_next = 2,
		                           .who = "bob",
		                           .why = "restore" };
	MUST(spool_chain_adopt(begin(fixture, SPOOL_UPKEEP), &adoption, &err));
	commit(fixture);
	put_batch(fixture, &chain, 2);
	anchor_all(fixture, &chain);
	anchor_all(fixture, &chain);
	struct spool_prune_options options = days_after(8);
	assert_int_equal(prune(fixture, &options).batch_count, 3);
	struct spool_chain row = load(fixture, &chain);
	assert_int_equal(row.held_from, 11);
	assert_int_equal(row.held_bytes, 0);
	struct spool_totals totals;
	MUST(spool_totals(fixture->spool, &totals, &err));
	assert_int_equal(totals.final_bytes, 0);
}

static void history_is_forgotten_only_when_asked_for_and_behind_the_payloads(void **state)
{
	struct fixture *fixture = *state;
	struct err err;
	struct test_chain chain = test_chain("tq-0001");
	struct spool_lane lane;
	struct block_header header;
	struct spool_scrub scrub = SPOOL_SCRUB_BEGIN;
	struct spool_scrub_limits limits = { 1000, 1u << 20 };
	struct test_chain idle = test_chain("tq-idle");
	add_chain(fixture, &idle);
	put_batch(fixture, &idle, 1);
	anchor_all(fixture, &idle); /* Its only one, forgotten with all it had. */
	add_chain(fixture, &chain);
	for (int i = 0; i < 4; i++) {
		put_batch(fixture, &chain, 3);
		anchor_all(fixture, &chain);
	}
	struct spool_prune_options options = days_after(400);
	options.history_ms = 365 * DAY_MS;
	struct spool_prune_result result = prune(fixture, &options);
	assert_int_equal(result.batch_count, 5);
	assert_int_equal(result.history_count, 8); /* Four anchors with one batch each. */
	MUST(spool_lane(fixture->spool, 1, 0, &lane, &err));
	assert_int_equal(lane.newest_seq, 5); /* The next anchor names it. */
	assert_int_equal(lane.oldest_seq, 5);
	MUST_FAIL(spool_header(fixture->spool, &chain.key, 8, &header, &err), ZR_STATE);
	MUST(spool_header(fixture->spool, &chain.key, 9, &header, &err));
	struct spool_coverage coverage;
	MUST(spool_anchor_of(fixture->spool, 1, &chain.key, 0, &coverage, &err));
	assert_int_equal(coverage.id.seq, 5); /* The first one above. */
	struct spool_chain row = load(fixture, &chain);
	assert_int_equal(row.known_from, 9);
	assert_int_equal(row.forgotten_blocks, 9);
	MUST(spool_scrub_slice(fixture->spool, &scrub, &limits, &err));
	assert_int_equal(scrub.round, 1);
	put_batch(fixture, &chain, 3);
	anchor_all(fixture, &chain);
}

static void the_newest_final_anchor_is_not_forgotten_while_others_are_under_way(void **state)
{
	struct fixture *fixture = *state;
	struct err err;
	struct test_chain chain = test_chain("tq-0001");
	const struct test_chain *chains[] = { &chain };
	struct spool_lane lane;
	add_chain(fixture, &chain);
	put_batch(fixture, &chain, 3);
	anchor_all(fixture, &chain);
	put_batch(fixture, &chain, 3);
	struct spool_anchor open = put_anchor(fixture, chains, 1);
	struct spool_prune_options options = days_after(400);
	options.history_ms = DAY_MS;
	prune(fixture, &options);
	MUST(spool_lane(fixture->spool, 1, 0, &lane, &err));
	assert_int_equal(lane.final_seq, 1);
	assert_int_equal(lane.newest_seq, 2);
	MUST(spool_anchor_void(begin(fixture, SPOOL_UPKEEP), &open.id, &err));
	commit(fixture);
	fixture->seq = 1; /* The lane goes on after the one that is left. */
	MUST(spool_lane(fixture->spool, 1, 0, &lane, &err));
	fixture->root = lane.newest_root;
	anchor_all(fixture, &chain);
}

/* ---- scrub ---- */

static void fill(struct fixture *fixture, struct test_chain *chains, int count)
{
	for (int i = 0; i < count; i++) {
		char name[16];
		snprintf(name, sizeof(name), "tq-%d", i);
		chains[i] = test_chain(name);
		add_chain(fixture, &chains[i]);
		put_batch(fixture, &chains[i], 3);
		put_batch(fixture, &chains[i], 2);
		anchor_all(fixture, &chains[i]);
		put_batch(fixture, &chains[i], 4);
	}
}

static void the_recount_of_a_sound_spool_finds_nothing(void **state)
{
	struct fixture *fixture = *state;
	struct err err;
	struct test_chain chains[4];
	struct spool_scrub scrub = SPOOL_SCRUB_BEGIN;
	struct spool_scrub_limits limits = { 3, 1u << 20 };
	fill(fixture, chains, 4);
	struct spool_suspect suspect = { .chain = chains[1].key,
		                         .reason = "fork",
		                         .detail = "",
		                         .block_count = 2,
		                         .codec = CODEC_NONE,
		                         .payload = BYTES_LITERAL("x"),
		                         .agent = "" };
	enum spool_suspect_outcome outcome;
	uint64_t number;
	MUST(spool_quarantine_put(begin(fixture, SPOOL_INTAKE), &suspect, &outcome, &number, &err));
	commit(fixture);
	int slices = 0;
	while (scrub.round < 2) {
		MUST(spool_scrub_slice(fixture->spool, &scrub, &limits, &err));
		if (slices % 3 == 0)
			put_batch(fixture, &chains[slices % 4], 1); /* It may go on meanwhile. */
		slices++;
		assert_true(slices < 100);
	}
	assert_true(slices > 8);
}

/* Changes one row behind the spool's back, with a right checksum. */
static void rewrite(struct fixture *fixture, enum spool_table table, struct bytes key, size_t at)
{
	struct err err;
	struct txn txn;
	struct bytes value;
	txn_begin(&txn, spool_store(fixture->spool), TXN_WRITE);
	assert_true(txn_get(&txn, table, key, &value));
	uint8_t *row = bytes_dup(value);
	size_t size = value.size;
	row[at] ^= 1;
	txn_put(&txn, table, key, (struct bytes){ row, size });
	MUST(txn_commit(&txn, &err));
	free(row);
}

static void take_away(struct fixture *fixture, enum spool_table table, struct bytes key)
{
	struct err err;
	struct txn txn;
	txn_begin(&txn, spool_store(fixture->spool), TXN_WRITE);
	assert_true(txn_delete(&txn, table, key));
	MUST(txn_commit(&txn, &err));
}

/* One whole round; counts what it finds. The last finding's sentence stays in err. */
static int scrub_round(struct fixture *fixture, struct spool_scrub *out_scrub, struct err *err)
{
	struct spool_scrub_limits limits = { 1000, 1u << 20 };
	struct spool_scrub scrub = SPOOL_SCRUB_BEGIN;
	int found = 0;
	for (int i = 0; i < 50 && scrub.round == 0; i++) {
		struct err why;
		if (!spool_scrub_slice(fixture->spool, &scrub, &limits, &why)) {
			assert_int_equal(why.code, ZR_CORRUPT);
			found++;
			*err = why;
			*out_scrub = scrub;
		}
	}
	assert_int_equal(scrub.round, 1);
	return found;
}

static void the_recount_names_what_is_wrong_and_goes_on(void **state)
{
	struct fixture *fixture = *state;
	struct err err;
	struct test_chain chains[3];
	struct spool_scrub scrub;
	uint8_t key[24];
	fixture->damaged = true;
	fill(fixture, chains, 3);
	assert_int_equal(scrub_round(fixture, &scrub, &err), 0);

	/* A payload. */
	struct spool_batch_info info;
	MUST(spool_batch_info(fixture->spool, &chains[1].key, 3, &info, &err));
	uint8_t arrival[8];
	put_be64(arrival, info.arrival);
	rewrite(fixture, SPOOL_BATCHES, BYTES_OF(arrival), 500);
	assert_int_equal(scrub_round(fixture, &scrub, &err), 1);
	assert_non_null(strstr(err.message, "content hash"));
	assert_true(scrub.bad_payload);
	assert_true(chain_key_equal(&scrub.bad_chain, &chains[1].key));
	assert_int_equal(scrub.bad_from, 3);
	assert_int_equal(scrub.bad_to, 4);
	take_away(fixture, SPOOL_BATCHES, BYTES_OF(arrival));
	assert_int_equal(scrub_round(fixture, &scrub, &err), 1);
	assert_non_null(strstr(err.message, "payload is missing"));
	assert_int_equal(scrub.bad_from, 3);

	/* A pending row that is not there, in another chain. */
	uint8_t pending[18] = { 1, 1 };
	memcpy(pending + 2, chains[0].key.bytes, CHAIN_KEY_SIZE);
	take_away(fixture, SPOOL_PENDING, BYTES_OF(pending));
	assert_int_equal(scrub_round(fixture, &scrub, &err), 2);

	/* A row of heights. */
	memcpy(key, chains[2].key.bytes, CHAIN_KEY_SIZE);
	put_be64(key + CHAIN_KEY_SIZE, 3);
	take_away(fixture, SPOOL_HEIGHTS, BYTES_OF(key));
	assert_int_equal(scrub_round(fixture, &scrub, &err), 3);
}

static void the_recount_sees_a_counter_that_is_off_by_one(void **state)
{
	struct fixture *fixture = *state;
	struct err err;
	struct test_chain chains[2];
	struct spool_scrub scrub;
	fill(fixture, chains, 2);
	struct txn txn;
	struct bytes value;
	struct chain_key key = chains[0].key;
	txn_begin(&txn, spool_store(fixture->spool), TXN_READ);
	assert_true(txn_get(&txn, SPOOL_CHAINS, BYTES_OF(key), &value));
	/* The counters end where tip, dropped hash and last time begin. */
	size_t numbers_end = value.size - 32 - 32 - 8;
	txn_abort(&txn);
	for (size_t back = 1; back <= 20; back++) {
		size_t at = numbers_end - 8 * back + 7;
		rewrite(fixture, SPOOL_CHAINS, BYTES_OF(key), at);
		int found = scrub_round(fixture, &scrub, &err);
		rewrite(fixture, SPOOL_CHAINS, BYTES_OF(key), at);
		/* Only duplicates, held batches and bytes, dropped blocks and the floor of
		 * anchoring have nothing in their own chain to be compared with here. */
		bool own = back == 1 || back == 4 || back == 5 || back == 11 || back == 16;
		if (!own && found == 0) {
			print_error("number %zu from the end may be changed unseen\n", back);
			fail();
		}
	}
	assert_int_equal(scrub_round(fixture, &scrub, &err), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		WITH_SPOOL(only_final_payloads_past_retention_are_deleted_and_headers_stay),
		WITH_SPOOL(pruning_goes_on_where_the_last_slice_ended),
		WITH_SPOOL(too_many_final_bytes_make_way_before_their_time),
		WITH_SPOOL(a_full_spool_lets_final_payloads_go_and_takes_in_again),
		WITH_SPOOL(lost_heights_do_not_stop_pruning),
		WITH_SPOOL(history_is_forgotten_only_when_asked_for_and_behind_the_payloads),
		WITH_SPOOL(the_newest_final_anchor_is_not_forgotten_while_others_are_under_way),
		WITH_SPOOL(the_recount_of_a_sound_spool_finds_nothing),
		WITH_SPOOL(the_recount_names_what_is_wrong_and_goes_on),
		WITH_SPOOL(the_recount_sees_a_counter_that_is_off_by_one),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
