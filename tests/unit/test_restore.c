#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "spool/restore.h"
#include "tests/unit/spool_fixture.h"

/* An anchor of these entries that the lane's newest one precedes, as the main chain would have it. */
static struct anchor foreign_anchor(struct fixture *fixture, const struct entry *entries,
                                    size_t count)
{
	struct anchor anchor = { .alg = HASH_SHA256,
		                 .deliver = DELIVER_ANCHOR,
		                 .seq = fixture->seq + 1,
		                 .previous = fixture->root,
		                 .entries = entries,
		                 .entry_count = count };
	anchor.root = test_hash("foreign", anchor.seq, &anchor.previous);
	return anchor;
}

static bool import(struct fixture *fixture, const struct anchor *anchor,
                   struct spool_import_result *result, struct err *err)
{
	struct spool_import import = {
		.id = { SPOOL_SINK_MAIN, 0, anchor->seq },
		.anchor = anchor,
		.key = test_hash("key", anchor->seq, &anchor->root),
		.receipt = { .evidence = BYTES_LITERAL("proof"),
		             .final_ms = TEST_TIME_MS,
		             .signature = BYTES_LITERAL("s"),
		             .key_id = BYTES_LITERAL("k") },
		.who = "operator alice",
		.why = "restored from a copy",
		.now_ms = TEST_TIME_MS,
	};
	struct spool_txn *txn = begin(fixture, SPOOL_UPKEEP);
	bool done = spool_anchor_import(txn, &import, result, err);
	if (!done) {
		spool_abort(txn);
		return false;
	}
	commit(fixture);
	fixture->seq = anchor->seq;
	fixture->root = anchor->root;
	return true;
}

static void blocks_that_a_forgotten_anchor_holds_are_pending_no_more(void **state)
{
	struct fixture *fixture = *state;
	struct test_chain chain = test_chain("tq-1");
	struct spool_import_result result;
	add_chain(fixture, &chain);
	put_batch(fixture, &chain, 5);
	anchor_all(fixture, &chain);
	put_batch(fixture, &chain, 4);
	struct entry entry = pending_entry(fixture, &chain, UINT64_MAX);
	put_batch(fixture, &chain, 3);
	struct anchor anchor = foreign_anchor(fixture, &entry, 1);
	struct err err;
	MUST(import(fixture, &anchor, &result, &err));
	assert_int_equal(result.known_chains, 1);
	assert_int_equal(result.blocks_here, 4);
	assert_int_equal(result.heights_lost, 0);
	struct spool_chain row = load(fixture, &chain);
	assert_int_equal(row.anchored_next, 9);
	assert_int_equal(row.next_height, 12);
	check_conservation(&row, 3);
	struct spool_coverage coverage;
	MUST(spool_anchor_of(fixture->spool, SPOOL_SINK_MAIN, &chain.key, 7, &coverage, &err));
	assert_int_equal(coverage.id.seq, 2);
	struct spool_receipt_copy receipt = { .evidence = BUFFER_EMPTY };
	MUST(spool_anchor_receipt(fixture->spool, &coverage.id, &receipt, &err));
	assert_memory_equal(receipt.evidence.data, "proof", 5);
	buffer_fini(&receipt.evidence);
	buffer_fini(&receipt.signature);
	buffer_fini(&receipt.key_id);
	anchor_all(fixture, &chain); /* And the lane goes on behind it. */
	row = load(fixture, &chain);
	assert_int_equal(row.anchored_next, 12);
}

static void blocks_that_are_anchored_and_not_here_are_jumped_over_with_a_tombstone(void **state)
{
	struct fixture *fixture = *state;
	struct test_chain chain = test_chain("tq-1"), other = test_chain("tq-2");
	struct spool_import_result result;
	struct err err;
	add_chain(fixture, &chain);
	put_batch(fixture, &chain, 5);
	struct hash tip = test_hash("lost", 19, &chain.tip);
	struct entry entries[2] = {
		{ .chain = chain.id, .from = 0, .to = 19, .tip = tip, .policy = POLICY_ALL },
		{ .chain = other.id, .from = 0, .to = 3, .tip = tip, .policy = POLICY_ALL },
	};
	struct anchor anchor = foreign_anchor(fixture, entries, 2);
	MUST(import(fixture, &anchor, &result, &err));
	assert_int_equal(result.known_chains, 1);
	assert_int_equal(result.unknown_chains, 1);
	assert_int_equal(result.blocks_here, 5);
	assert_int_equal(result.heights_lost, 15);
	struct spool_chain row = load(fixture, &chain);
	assert_int_equal(row.next_height, 20);
	assert_int_equal(row.anchored_next, 20);
	assert_true(hash_equal(&row.tip, &tip));
	check_conservation(&row, 0);
	chain.next_height = 20;
	chain.tip = tip;
	put_batch(fixture, &chain, 2); /* The edge goes on from there. */
	anchor_all(fixture, &chain);
	row = load(fixture, &chain);
	assert_int_equal(row.anchored_next, 22);
}

static void a_frozen_chain_stays_frozen(void **state)
{
	struct fixture *fixture = *state;
	struct test_chain chain = test_chain("tq-1");
	struct spool_import_result result;
	struct err err;
	add_chain(fixture, &chain);
	put_batch(fixture, &chain, 5);
	struct entry entry = pending_entry(fixture, &chain, UINT64_MAX);
	struct spool_chain_state_change change = { .chain = chain.key,
		                                   .state = SPOOL_CHAIN_FROZEN,
		                                   .reason = "a fork",
		                                   .who = "gateway" };
	MUST(spool_chain_set_state(begin(fixture, SPOOL_UPKEEP), &change, &err));
	commit(fixture);
	struct anchor anchor = foreign_anchor(fixture, &entry, 1);
	MUST(import(fixture, &anchor, &result, &err));
	struct spool_chain row = load(fixture, &chain);
	assert_int_equal(row.state, SPOOL_CHAIN_FROZEN);
	assert_string_equal(row.state_reason, "a fork");
	assert_int_equal(row.anchored_next, 5);
}

static void only_the_successor_of_our_newest_final_anchor_is_imported(void **state)
{
	struct fixture *fixture = *state;
	struct test_chain chain = test_chain("tq-1");
	struct spool_import_result result;
	struct err err;
	add_chain(fixture, &chain);
	put_batch(fixture, &chain, 5);
	struct entry entry = pending_entry(fixture, &chain, UINT64_MAX);
	struct anchor anchor = foreign_anchor(fixture, &entry, 1);
	anchor.seq = 2;
	assert_false(import(fixture, &anchor, &result, &err));
	assert_int_equal(err.code, ZR_STATE);
	anchor = foreign_anchor(fixture, &entry, 1);
	anchor.previous = test_hash("another", 1, &anchor.root);
	assert_false(import(fixture, &anchor, &result, &err));
	const struct test_chain *chains[] = { &chain };
	put_anchor(fixture, chains, 1); /* Open. */
	anchor = foreign_anchor(fixture, &entry, 1);
	assert_false(import(fixture, &anchor, &result, &err));
	assert_non_null(strstr(err.message, "not final"));
}

static void trust_changes(struct fixture *fixture, const struct test_chain *chain, uint64_t from)
{
	struct err err;
	MUST(spool_batch_trust(begin(fixture, SPOOL_INTAKE), &chain->key, from,
	                       BYTES_LITERAL("another set"), &err));
	commit(fixture);
}

static void a_batch_that_the_main_chain_has_a_part_of_leaves_the_store(void **state)
{
	struct fixture *fixture = *state;
	struct test_chain chain = test_chain("tq-1");
	struct spool_import_result result;
	struct err err;
	add_chain(fixture, &chain);
	put_batch(fixture, &chain, 5);
	anchor_all(fixture, &chain);
	put_batch(fixture, &chain, 2);
	struct test_chain at_8 = chain, from_9 = chain, end;
	put_batch(fixture, &chain, 4); /* 7 to 10, of which the main chain has 7 and 8. */
	trust_changes(fixture, &chain, 8);
	put_batch(fixture, &chain, 3);
	trust_changes(fixture, &chain, 12);
	end = chain;
	struct test_batch batch;
	next_batch(&at_8, 2, 1, &batch);
	struct entry entry = {
		.chain = chain.id, .from = 5, .to = 8, .tip = at_8.tip, .policy = POLICY_ALL
	};
	struct anchor anchor = foreign_anchor(fixture, &entry, 1);
	MUST(import(fixture, &anchor, &result, &err));
	assert_int_equal(result.blocks_here, 2);
	assert_int_equal(result.heights_lost, 2);
	struct spool_chain row = load(fixture, &chain);
	assert_int_equal(row.next_height, 9);
	assert_int_equal(row.anchored_next, 9);
	assert_true(hash_equal(&row.tip, &at_8.tip));
	assert_int_equal(row.trust_from, 8);
	assert_int_equal(row.held_batches, 2);
	assert_int_equal(row.tombstoned_blocks, 7);
	check_conservation(&row, 0);
	/* The edge brings again what it has. */
	from_9.next_height = 9;
	from_9.tip = at_8.tip;
	put_batch(fixture, &from_9, 5);
	assert_true(hash_equal(&from_9.tip, &end.tip));
	anchor_all(fixture, &from_9);
	row = load(fixture, &chain);
	assert_int_equal(row.anchored_next, 14);
	check_conservation(&row, 0);
}

static void an_entry_that_ends_inside_a_batch_of_other_blocks_changes_nothing(void **state)
{
	struct fixture *fixture = *state;
	struct test_chain good = test_chain("tq-1"), bad = test_chain("tq-2");
	struct spool_import_result result;
	struct err err;
	add_chain(fixture, &good);
	add_chain(fixture, &bad);
	put_batch(fixture, &good, 5);
	put_batch(fixture, &bad, 5);
	struct entry entries[2] = { pending_entry(fixture, &good, UINT64_MAX),
		                    pending_entry(fixture, &bad, UINT64_MAX) };
	entries[1].to = 2;
	struct anchor anchor = foreign_anchor(fixture, entries, 2);
	assert_false(import(fixture, &anchor, &result, &err));
	assert_int_equal(load(fixture, &good).anchored_next, 0);
	assert_int_equal(load(fixture, &bad).anchored_next, 0);
}

static bool rewind_to(struct fixture *fixture, uint64_t seq, uint32_t count_max, bool *out_more,
                      struct err *err)
{
	struct spool_anchor_id last = { SPOOL_SINK_MAIN, 0, seq };
	struct spool_txn *txn = begin(fixture, SPOOL_UPKEEP);
	bool done = spool_lane_rewind(txn, &last, count_max, out_more, err);
	if (!done)
		spool_abort(txn);
	else
		commit(fixture);
	return done;
}

static void anchors_that_the_main_chain_lost_become_final_again_in_their_order(void **state)
{
	struct fixture *fixture = *state;
	struct test_chain chain = test_chain("tq-1"), other = test_chain("tq-2");
	const struct test_chain *both[] = { &chain, &other };
	struct spool_totals before, after;
	struct err err;
	bool more = false;
	add_chain(fixture, &chain);
	add_chain(fixture, &other);
	for (int i = 0; i < 4; i++) {
		put_batch(fixture, &chain, 3);
		put_batch(fixture, &other, 2);
		struct spool_anchor anchor = put_anchor(fixture, both, 2);
		finalize(fixture, &anchor.id, TEST_TIME_MS);
	}
	MUST(spool_totals(fixture->spool, &before, &err));
	MUST(rewind_to(fixture, 1, 2, &more, &err));
	assert_true(more);
	MUST(rewind_to(fixture, 1, 2, &more, &err));
	assert_false(more);
	struct spool_chain row = load(fixture, &chain);
	assert_int_equal(row.anchored_next, 3);
	assert_int_equal(row.pending_from, 12);
	check_conservation(&row, 9);
	struct spool_lane lane;
	MUST(spool_lane(fixture->spool, SPOOL_SINK_MAIN, 0, &lane, &err));
	assert_int_equal(lane.final_seq, 1);
	assert_int_equal(lane.newest_seq, 4);
	struct spool_anchor_id id = { SPOOL_SINK_MAIN, 0, 2 };
	struct spool_anchor anchor;
	MUST(spool_anchor(fixture->spool, &id, &anchor, &err));
	assert_int_equal(anchor.state, SPOOL_ANCHOR_UNKNOWN);
	for (id.seq = 2; id.seq <= 4; id.seq++)
		finalize(fixture, &id, TEST_TIME_MS + 1);
	MUST(spool_totals(fixture->spool, &after, &err));
	assert_int_equal(after.anchored_blocks, before.anchored_blocks);
	assert_int_equal(after.final_bytes, before.final_bytes);
	assert_int_equal(after.anchor_count, before.anchor_count);
	assert_int_equal(load(fixture, &other).anchored_next, 8);
}

static void what_was_adopted_without_entries_can_not_be_submitted_again(void **state)
{
	struct fixture *fixture = *state;
	struct spool_anchor_id id = { SPOOL_SINK_MAIN, 0, 7 };
	struct hash root = test_hash("root", 7, &fixture->root);
	struct err err;
	bool more = false;
	MUST(spool_lane_adopt(begin(fixture, SPOOL_UPKEEP), &id, &root, &root, TEST_TIME_MS, &err));
	commit(fixture);
	assert_false(rewind_to(fixture, 0, 10, &more, &err));
	assert_int_equal(err.code, ZR_STATE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		WITH_SPOOL(blocks_that_a_forgotten_anchor_holds_are_pending_no_more),
		WITH_SPOOL(blocks_that_are_anchored_and_not_here_are_jumped_over_with_a_tombstone),
		WITH_SPOOL(a_frozen_chain_stays_frozen),
		WITH_SPOOL(only_the_successor_of_our_newest_final_anchor_is_imported),
		WITH_SPOOL(a_batch_that_the_main_chain_has_a_part_of_leaves_the_store),
		WITH_SPOOL(an_entry_that_ends_inside_a_batch_of_other_blocks_changes_nothing),
		WITH_SPOOL(anchors_that_the_main_chain_lost_become_final_again_in_their_order),
		WITH_SPOOL(what_was_adopted_without_entries_can_not_be_submitted_again),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
