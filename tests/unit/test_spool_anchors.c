#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/unit/spool_fixture.h"

/* Two chains with three batches of two blocks each. */
struct two_chains {
	struct test_chain a, b;
	const struct test_chain *both[2];
};

static void add_two(struct fixture *fixture, struct two_chains *two)
{
	two->a = test_chain("tq-a");
	two->b = test_chain("tq-b");
	two->both[0] = &two->a;
	two->both[1] = &two->b;
	add_chain(fixture, &two->a);
	add_chain(fixture, &two->b);
	for (int i = 0; i < 3; i++) {
		put_batch(fixture, &two->a, 2);
		put_batch(fixture, &two->b, 2);
	}
}

static void an_intent_takes_its_blocks_out_of_what_is_pending(void **state)
{
	struct fixture *fixture = *state;
	struct err err;
	struct two_chains two;
	add_two(fixture, &two);
	struct spool_anchor put = put_anchor(fixture, two.both, 2), anchor;
	open_spool(fixture);
	MUST(spool_anchor(fixture->spool, &put.id, &anchor, &err));
	assert_int_equal(anchor.state, SPOOL_ANCHOR_INTENT);
	assert_int_equal(anchor.entry_count, 2);
	assert_int_equal(anchor.block_count, 12);
	assert_int_equal(anchor.payload_bytes, 1200);
	assert_false(anchor.ever_sent);
	assert_true(hash_equal(&anchor.key, &put.key));
	assert_true(hash_equal(&anchor.root, &put.root));
	struct spool_chain row = load(fixture, &two.a);
	assert_int_equal(row.pending_from, 6);
	assert_int_equal(row.anchored_next, 0);
	check_conservation(&row, 6);
	struct spool_run run;
	MUST_FAIL(spool_pending_run(fixture->spool, &two.a.key, 9, 9, &run, &err), ZR_STATE);

	struct entry *entries;
	size_t count;
	MUST(spool_anchor_entries(fixture->spool, &put.id, &entries, &count, &err));
	assert_int_equal(count, 2);
	assert_true(chain_id_equal(&entries[1].chain, &two.b.id));
	assert_int_equal(entries[1].from, 0);
	assert_int_equal(entries[1].to, 5);
	assert_true(hash_equal(&entries[1].tip, &two.b.tip));
	free(entries);
}

static void a_final_anchor_moves_its_chains_and_keeps_its_receipt(void **state)
{
	struct fixture *fixture = *state;
	struct err err;
	struct two_chains two;
	add_two(fixture, &two);
	struct spool_anchor put = put_anchor(fixture, two.both, 2), anchor;
	struct spool_receipt_copy receipt = { BUFFER_EMPTY, BUFFER_EMPTY, BUFFER_EMPTY, 0 };
	MUST_FAIL(spool_anchor_receipt(fixture->spool, &put.id, &receipt, &err), ZR_STATE);
	finalize(fixture, &put.id, TEST_TIME_MS + 5);
	finalize(fixture, &put.id, TEST_TIME_MS + 9); /* Again: no change. */

	MUST(spool_anchor(fixture->spool, &put.id, &anchor, &err));
	assert_int_equal(anchor.state, SPOOL_ANCHOR_FINAL);
	assert_int_equal(anchor.final_ms, TEST_TIME_MS + 5);
	for (int i = 0; i < 2; i++) {
		struct spool_chain row = load(fixture, two.both[i]);
		assert_int_equal(row.anchored_next, 6);
		assert_int_equal(row.anchored_blocks, 6);
		check_conservation(&row, 0);
	}
	MUST(spool_anchor_receipt(fixture->spool, &put.id, &receipt, &err));
	assert_true(bytes_equal(buffer_bytes(&receipt.evidence), BYTES_LITERAL("evidence")));
	assert_true(bytes_equal(buffer_bytes(&receipt.signature), BYTES_LITERAL("signature")));
	assert_true(bytes_equal(buffer_bytes(&receipt.key_id), BYTES_LITERAL("key-id..")));
	assert_int_equal(receipt.final_ms, TEST_TIME_MS + 5);
	buffer_fini(&receipt.evidence);
	buffer_fini(&receipt.signature);
	buffer_fini(&receipt.key_id);
	struct spool_totals totals;
	MUST(spool_totals(fixture->spool, &totals, &err));
	assert_int_equal(totals.anchor_count, 1);
	assert_int_equal(totals.anchored_blocks, 12);
	assert_int_equal(totals.final_bytes, 1200);
	assert_int_equal(totals.commit_number, 6); /* Intake only. */
}

/* Puts an anchor of these entries, which must be refused and change nothing. */
static void check_refused(struct fixture *fixture, const struct spool_anchor *anchor,
                          const struct entry *entries, size_t count)
{
	struct err err;
	MUST_FAIL(spool_anchor_put(begin(fixture, SPOOL_UPKEEP), anchor, entries, count, &err),
	          ZR_STATE);
	assert_true(spool_txn_ok(&fixture->txn));
	commit(fixture);
	struct spool_lane lane;
	MUST(spool_lane(fixture->spool, anchor->id.sink, anchor->id.lane, &lane, &err));
	assert_int_equal(lane.newest_seq, 0);
}

static void an_intent_that_is_not_just_what_is_pending_is_refused(void **state)
{
	struct fixture *fixture = *state;
	struct err err;
	struct two_chains two;
	add_two(fixture, &two);
	struct spool_anchor good = next_anchor(fixture), anchor = good;
	struct entry entries[2] = { pending_entry(fixture, &two.a, UINT64_MAX),
		                    pending_entry(fixture, &two.b, UINT64_MAX) };
	struct entry good_entry = entries[1];

	entries[1].from = 2;
	check_refused(fixture, &good, entries, 2);
	entries[1] = good_entry;
	entries[1].to = 4; /* Inside a batch. */
	check_refused(fixture, &good, entries, 2);
	entries[1].to = 7; /* Not here yet. */
	check_refused(fixture, &good, entries, 2);
	entries[1] = good_entry;
	entries[1].tip.bytes[3] ^= 1;
	check_refused(fixture, &good, entries, 2);
	entries[1] = good_entry;
	entries[1].policy = POLICY_TAIL;
	check_refused(fixture, &good, entries, 2);
	entries[1] = entries[0]; /* A chain twice. */
	check_refused(fixture, &good, entries, 2);
	entries[1] = good_entry;
	strcpy(entries[1].chain.name, "tq-x");
	check_refused(fixture, &good, entries, 2);
	entries[1] = good_entry;
	check_refused(fixture, &good, entries, 0);
	anchor.id.seq = 2;
	check_refused(fixture, &anchor, entries, 2);
	anchor = good;
	anchor.previous.bytes[0] = 1;
	check_refused(fixture, &anchor, entries, 2);

	struct spool_chain_state_change hold = { .chain = two.b.key,
		                                 .state = SPOOL_CHAIN_FROZEN,
		                                 .reason = "",
		                                 .who = "",
		                                 .delivery_held = true };
	MUST(spool_chain_set_state(begin(fixture, SPOOL_UPKEEP), &hold, &err));
	commit(fixture);
	check_refused(fixture, &good, entries, 2);
	MUST(spool_anchor_put(begin(fixture, SPOOL_UPKEEP), &good, entries, 1, &err));
	commit(fixture);
}

static void an_update_changes_what_may_change_and_remembers_that_it_was_sent(void **state)
{
	struct fixture *fixture = *state;
	struct err err;
	struct two_chains two;
	add_two(fixture, &two);
	struct spool_anchor put = put_anchor(fixture, two.both, 2), anchor;
	MUST(spool_anchor(fixture->spool, &put.id, &anchor, &err));
	struct hash root = anchor.root;
	anchor.state = SPOOL_ANCHOR_SENT;
	anchor.attempts = 3;
	anchor.next_try_ms = 12345;
	anchor.sent_at_height = 99;
	anchor.root.bytes[0] ^= 1; /* Not for changing. */
	strcpy(anchor.detail, "503 from https://main/");
	MUST(spool_anchor_update(begin(fixture, SPOOL_UPKEEP), &anchor, &err));
	commit(fixture);
	MUST(spool_anchor(fixture->spool, &put.id, &anchor, &err));
	assert_int_equal(anchor.state, SPOOL_ANCHOR_SENT);
	assert_int_equal(anchor.attempts, 3);
	assert_int_equal(anchor.next_try_ms, 12345);
	assert_int_equal(anchor.sent_at_height, 99);
	assert_string_equal(anchor.detail, "503 from https://main/");
	assert_true(hash_equal(&anchor.root, &root));
	anchor.state = SPOOL_ANCHOR_INTENT;
	MUST(spool_anchor_update(begin(fixture, SPOOL_UPKEEP), &anchor, &err));
	commit(fixture);
	MUST(spool_anchor(fixture->spool, &put.id, &anchor, &err));
	assert_true(anchor.ever_sent);
	MUST_FAIL(spool_anchor_void(begin(fixture, SPOOL_UPKEEP), &put.id, &err), ZR_STATE);
	anchor.state = SPOOL_ANCHOR_FINAL;
	MUST_FAIL(spool_anchor_update(&fixture->txn, &anchor, &err), ZR_STATE);
	commit(fixture);
	finalize(fixture, &put.id, TEST_TIME_MS);
	anchor.state = SPOOL_ANCHOR_UNKNOWN;
	MUST_FAIL(spool_anchor_update(begin(fixture, SPOOL_UPKEEP), &anchor, &err), ZR_STATE);
	anchor.id.seq = 7;
	MUST_FAIL(spool_anchor_update(&fixture->txn, &anchor, &err), ZR_STATE);
	commit(fixture);
}

static void only_a_void_newest_anchor_gives_its_blocks_back(void **state)
{
	struct fixture *fixture = *state;
	struct err err;
	struct two_chains two;
	add_two(fixture, &two);
	struct spool_anchor first = put_anchor(fixture, two.both, 2), anchor;
	put_batch(fixture, &two.a, 2);
	struct hash first_root = fixture->root;
	struct spool_anchor second = put_anchor(fixture, two.both, 1);
	MUST_FAIL(spool_anchor_void(begin(fixture, SPOOL_UPKEEP), &first.id, &err), ZR_STATE);
	commit(fixture);

	for (int state_number = SPOOL_ANCHOR_SENT; state_number <= SPOOL_ANCHOR_INCLUDED;
	     state_number++) {
		MUST(spool_anchor(fixture->spool, &second.id, &anchor, &err));
		anchor.state = (enum spool_anchor_state)state_number;
		MUST(spool_anchor_update(begin(fixture, SPOOL_UPKEEP), &anchor, &err));
		MUST_FAIL(spool_anchor_void(&fixture->txn, &second.id, &err), ZR_STATE);
		commit(fixture);
	}
	anchor.state = SPOOL_ANCHOR_REJECTED;
	MUST(spool_anchor_update(begin(fixture, SPOOL_UPKEEP), &anchor, &err));
	MUST(spool_anchor_void(&fixture->txn, &second.id, &err));
	MUST(spool_anchor_void(&fixture->txn, &first.id, &err)); /* Never sent. */
	commit(fixture);
	MUST_FAIL(spool_anchor(fixture->spool, &second.id, &anchor, &err), ZR_STATE);
	struct spool_chain row = load(fixture, &two.a);
	assert_int_equal(row.pending_from, 0);
	check_conservation(&row, 8);
	struct spool_coverage coverage;
	MUST_FAIL(spool_anchor_of(fixture->spool, 1, &two.a.key, 0, &coverage, &err), ZR_STATE);

	fixture->seq = 0; /* The same numbers again, with other content. */
	memset(&fixture->root, 0, sizeof(fixture->root));
	first = put_anchor(fixture, two.both, 2);
	assert_int_equal(first.id.seq, 1);
	assert_true(hash_equal(&first_root, &first.root));
	finalize(fixture, &first.id, TEST_TIME_MS);
	row = load(fixture, &two.a);
	assert_int_equal(row.anchored_next, 8);
}

static void anchors_become_final_in_the_order_of_their_lane(void **state)
{
	struct fixture *fixture = *state;
	struct err err;
	struct two_chains two;
	struct spool_lane lane;
	add_two(fixture, &two);
	struct spool_anchor first = put_anchor(fixture, two.both, 1);
	struct spool_anchor second = put_anchor(fixture, two.both + 1, 1);
	struct spool_receipt receipt = { .evidence = BYTES_LITERAL("e") };
	MUST_FAIL(spool_anchor_finalize(begin(fixture, SPOOL_UPKEEP), &second.id, &receipt, &err),
	          ZR_STATE);
	commit(fixture);
	MUST(spool_lane(fixture->spool, 1, 0, &lane, &err));
	assert_int_equal(lane.newest_seq, 2);
	assert_int_equal(lane.final_seq, 0);
	assert_int_equal(lane.oldest_seq, 1);
	finalize(fixture, &first.id, TEST_TIME_MS);
	MUST(spool_lane(fixture->spool, 1, 0, &lane, &err));
	assert_int_equal(lane.final_seq, 1);
	finalize(fixture, &second.id, TEST_TIME_MS);
	MUST(spool_lane(fixture->spool, 1, 0, &lane, &err));
	assert_int_equal(lane.final_seq, 2);
	assert_true(hash_equal(&lane.newest_root, &second.root));
	MUST(spool_lane(fixture->spool, 1, 1, &lane, &err));
	assert_int_equal(lane.newest_seq, 0);
	struct spool_anchor page[4];
	size_t count;
	struct spool_anchor_id from = { 1, 0, 2 };
	MUST(spool_anchors_page(fixture->spool, &from, page, 4, &count, &err));
	assert_int_equal(count, 1);
	from.seq = 0;
	MUST(spool_anchors_page(fixture->spool, &from, page, 4, &count, &err));
	assert_int_equal(count, 2);
	assert_int_equal(page[1].id.seq, 2);
	from.lane = 3;
	MUST(spool_anchors_page(fixture->spool, &from, page, 4, &count, &err));
	assert_int_equal(count, 0);
}

static void a_chain_that_changes_its_lane_is_still_anchored_in_order(void **state)
{
	struct fixture *fixture = *state;
	struct err err;
	struct two_chains two;
	add_two(fixture, &two);
	struct spool_anchor first = put_anchor(fixture, two.both, 1);
	put_batch(fixture, &two.a, 2);
	struct entry entry = pending_entry(fixture, &two.a, UINT64_MAX);
	struct spool_anchor other = { .id = { 1, 5, 1 },
		                      .alg = HASH_SHA256,
		                      .deliver = DELIVER_ANCHOR };
	MUST(spool_anchor_put(begin(fixture, SPOOL_UPKEEP), &other, &entry, 1, &err));
	commit(fixture);
	struct spool_receipt receipt = { .evidence = BYTES_LITERAL("e") };
	MUST_FAIL(spool_anchor_finalize(begin(fixture, SPOOL_UPKEEP), &other.id, &receipt, &err),
	          ZR_STATE);
	MUST_FAIL(spool_anchor_void(&fixture->txn, &first.id, &err), ZR_STATE);
	assert_true(spool_txn_ok(&fixture->txn));
	commit(fixture);
	struct spool_anchor_id open;
	MUST(spool_open_in_other_lane(fixture->spool, 1, 5, &open, &err));
	assert_true(open.lane == first.id.lane && open.seq == first.id.seq);
	finalize(fixture, &first.id, TEST_TIME_MS);
	MUST(spool_open_in_other_lane(fixture->spool, 1, 5, &open, &err));
	assert_int_equal(open.seq, 0);
	MUST(spool_open_in_other_lane(fixture->spool, 1, first.id.lane, &open, &err));
	assert_true(open.lane == 5 && open.seq == 1);
	MUST(spool_open_in_other_lane(fixture->spool, 2, 0, &open, &err));
	assert_int_equal(open.seq, 0);
	finalize(fixture, &other.id, TEST_TIME_MS);
	assert_int_equal(load(fixture, &two.a).anchored_next, 8);
}

static void the_anchor_of_a_block_is_found_by_chain_and_height(void **state)
{
	struct fixture *fixture = *state;
	struct err err;
	struct two_chains two;
	struct spool_coverage coverage;
	add_two(fixture, &two);
	put_anchor(fixture, two.both, 2);
	put_batch(fixture, &two.b, 5);
	put_anchor(fixture, two.both + 1, 1);
	static const struct {
		uint64_t height, seq, from, to;
	} rows[] = { { 0, 1, 0, 5 }, { 5, 1, 0, 5 }, { 6, 2, 6, 10 }, { 10, 2, 6, 10 } };
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		MUST(spool_anchor_of(fixture->spool, 1, &two.b.key, rows[i].height, &coverage,
		                     &err));
		assert_int_equal(coverage.id.seq, rows[i].seq);
		assert_int_equal(coverage.from, rows[i].from);
		assert_int_equal(coverage.to, rows[i].to);
		assert_int_equal(coverage.entry_index, rows[i].seq == 1 ? 1 : 0);
	}
	MUST_FAIL(spool_anchor_of(fixture->spool, 1, &two.b.key, 11, &coverage, &err), ZR_STATE);
	MUST_FAIL(spool_anchor_of(fixture->spool, 1, &two.a.key, 6, &coverage, &err), ZR_STATE);
	MUST_FAIL(spool_anchor_of(fixture->spool, 2, &two.b.key, 0, &coverage, &err), ZR_STATE);
}

static void a_lane_is_adopted_behind_an_anchor_of_a_store_that_is_gone(void **state)
{
	struct fixture *fixture = *state;
	struct err err;
	struct two_chains two;
	struct spool_lane lane;
	struct hash root = { .bytes = { 7 } }, key = { .bytes = { 8 } };
	add_two(fixture, &two);
	struct spool_anchor first = put_anchor(fixture, two.both, 1);
	struct spool_anchor_id id = { 1, 0, 40 };
	MUST_FAIL(spool_lane_adopt(begin(fixture, SPOOL_UPKEEP), &id, &root, &key, 1, &err),
	          ZR_STATE);
	commit(fixture);
	finalize(fixture, &first.id, TEST_TIME_MS);
	id.seq = 1;
	MUST_FAIL(spool_lane_adopt(begin(fixture, SPOOL_UPKEEP), &id, &root, &key, 1, &err),
	          ZR_STATE);
	id.seq = 40;
	MUST(spool_lane_adopt(&fixture->txn, &id, &root, &key, 1, &err));
	commit(fixture);
	MUST(spool_lane(fixture->spool, 1, 0, &lane, &err));
	assert_int_equal(lane.newest_seq, 40);
	assert_int_equal(lane.final_seq, 40);
	assert_true(hash_equal(&lane.newest_root, &root));
	assert_true(hash_equal(&lane.newest_key, &key));
	fixture->seq = 40;
	fixture->root = root;
	struct spool_anchor next = put_anchor(fixture, two.both + 1, 1);
	assert_int_equal(next.id.seq, 41);
	finalize(fixture, &next.id, TEST_TIME_MS);
}

static void a_spool_that_lost_the_entries_of_an_anchor_is_damaged(void **state)
{
	struct fixture *fixture = *state;
	struct err err;
	struct two_chains two;
	struct txn txn;
	fixture->damaged = true;
	add_two(fixture, &two);
	struct spool_anchor anchor = put_anchor(fixture, two.both, 2);
	const uint8_t key[] = { 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1 };
	txn_begin(&txn, spool_store(fixture->spool), TXN_WRITE);
	assert_true(txn_delete(&txn, SPOOL_ENTRIES, BYTES_OF(key)));
	MUST(txn_commit(&txn, &err));
	struct spool_receipt receipt = { .evidence = BYTES_LITERAL("e") };
	MUST_FAIL(spool_anchor_finalize(begin(fixture, SPOOL_UPKEEP), &anchor.id, &receipt, &err),
	          ZR_CORRUPT);
	MUST_FAIL(spool_commit(&fixture->txn, &err), ZR_CORRUPT);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		WITH_SPOOL(an_intent_takes_its_blocks_out_of_what_is_pending),
		WITH_SPOOL(a_final_anchor_moves_its_chains_and_keeps_its_receipt),
		WITH_SPOOL(an_intent_that_is_not_just_what_is_pending_is_refused),
		WITH_SPOOL(an_update_changes_what_may_change_and_remembers_that_it_was_sent),
		WITH_SPOOL(only_a_void_newest_anchor_gives_its_blocks_back),
		WITH_SPOOL(anchors_become_final_in_the_order_of_their_lane),
		WITH_SPOOL(a_chain_that_changes_its_lane_is_still_anchored_in_order),
		WITH_SPOOL(the_anchor_of_a_block_is_found_by_chain_and_height),
		WITH_SPOOL(a_lane_is_adopted_behind_an_anchor_of_a_store_that_is_gone),
		WITH_SPOOL(a_spool_that_lost_the_entries_of_an_anchor_is_damaged),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
