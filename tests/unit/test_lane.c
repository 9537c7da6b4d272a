#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "relay/lane.h"

static const struct lane_options options = { .lane = 1,
	                                     .uploads = false,
	                                     .open_max = 4,
	                                     .poll_ms = 100,
	                                     .retry_min_ms = 10,
	                                     .retry_max_ms = 1000 };

static struct hash hash_of(uint8_t number)
{
	struct hash hash = { { number } };
	return hash;
}

static struct mainchain_answer answer_of(enum mainchain_call call, enum mainchain_outcome outcome)
{
	return (struct mainchain_answer){
		.call = call, .outcome = outcome, .entry_index = -1, .height = 7
	};
}

static enum lane_step step(struct lane *lane, int64_t now_ms, uint64_t *out_seq)
{
	int64_t wake_ms;
	return lane_next(lane, now_ms, out_seq, &wake_ms);
}

/* A lane with final_seq anchors behind it that knows its head and has the fence. */
static void run_lane(struct lane *lane, uint64_t final_seq)
{
	uint64_t seq;
	struct hash root = hash_of((uint8_t)final_seq);
	lane_init(lane, &options, final_seq, &root, 42);
	assert_int_equal(step(lane, 0, &seq), LANE_ASK_HEAD);
	struct mainchain_answer head = answer_of(MAINCHAIN_HEAD, MAINCHAIN_OK);
	head.seq = final_seq;
	head.root = root;
	head.fence = 3;
	assert_int_equal(lane_on_answer(lane, 0, 0, &head), LANE_NEWS_NONE);
	assert_int_equal(step(lane, 0, &seq), LANE_TAKE_FENCE);
	assert_int_equal(lane->fence_seen, 3);
	struct mainchain_answer fence = answer_of(MAINCHAIN_FENCE, MAINCHAIN_OK);
	fence.fence = 4;
	assert_int_equal(lane_on_answer(lane, 0, 0, &fence), LANE_NEWS_RUNNING);
}

static void intend(struct lane *lane, uint64_t seq)
{
	struct hash root = hash_of((uint8_t)seq), key = hash_of((uint8_t)(100 + seq));
	lane_intended(lane, seq, &root, &key);
}

static enum lane_news answer(struct lane *lane, int64_t now_ms, uint64_t seq,
                             enum mainchain_call call, enum mainchain_outcome outcome)
{
	struct mainchain_answer is = answer_of(call, outcome);
	return lane_on_answer(lane, now_ms, seq, &is);
}

/* ---- the ordinary way ---- */

static void nothing_is_sent_before_head_and_fence_are_known(void **state)
{
	struct lane lane;
	uint64_t seq;
	struct hash root = hash_of(0);
	lane_init(&lane, &options, 0, &root, 1);
	assert_false(lane_has_room(&lane));
	assert_int_equal(step(&lane, 0, &seq), LANE_ASK_HEAD);
	assert_int_equal(step(&lane, 0, &seq), LANE_WAIT); /* Once. */
	assert_false(lane_has_room(&lane));
	run_lane(&lane, 0);
	assert_true(lane_has_room(&lane));
	assert_int_equal(lane.fence, 4);
}

static void the_next_anchor_is_sent_once_its_predecessor_is_included(void **state)
{
	struct lane lane;
	uint64_t seq;
	run_lane(&lane, 0);
	intend(&lane, 1);
	assert_false(lane_has_room(&lane));
	assert_int_equal(step(&lane, 0, &seq), LANE_SUBMIT);
	assert_int_equal(seq, 1);
	assert_int_equal(lane_find(&lane, 1)->state, SPOOL_ANCHOR_SENT);
	assert_int_equal(answer(&lane, 5, 1, MAINCHAIN_SUBMIT, MAINCHAIN_INCLUDED),
	                 LANE_NEWS_STATE);
	assert_true(lane_has_room(&lane));
	uint64_t next_seq;
	struct hash previous, first = hash_of(1);
	lane_tail(&lane, &next_seq, &previous);
	assert_int_equal(next_seq, 2);
	assert_true(hash_equal(&previous, &first));
	intend(&lane, 2);
	assert_int_equal(step(&lane, 5, &seq), LANE_SUBMIT);
	assert_int_equal(seq, 2);
}

static void nothing_said_of_an_anchor_counts_while_its_receipt_is_written(void **state)
{
	struct lane lane;
	uint64_t seq;
	run_lane(&lane, 0);
	intend(&lane, 1);
	(void)step(&lane, 0, &seq);
	assert_int_equal(answer(&lane, 0, 1, MAINCHAIN_SUBMIT, MAINCHAIN_FINAL), LANE_NEWS_FINAL);
	assert_int_equal(answer(&lane, 0, 1, MAINCHAIN_LOOKUP, MAINCHAIN_FINAL), LANE_NEWS_NONE);
	assert_int_equal(answer(&lane, 0, 1, MAINCHAIN_LOOKUP, MAINCHAIN_ABSENT), LANE_NEWS_NONE);
	assert_int_equal(lane_find(&lane, 1)->state, SPOOL_ANCHOR_INCLUDED);
	lane_finished(&lane, 1);
	assert_int_equal(lane.final_seq, 1);
}

static void a_final_anchor_waits_for_the_receipt_of_its_predecessor(void **state)
{
	struct lane lane;
	uint64_t seq;
	run_lane(&lane, 0);
	intend(&lane, 1);
	(void)step(&lane, 0, &seq);
	answer(&lane, 0, 1, MAINCHAIN_SUBMIT, MAINCHAIN_INCLUDED);
	intend(&lane, 2);
	(void)step(&lane, 0, &seq);
	assert_int_equal(answer(&lane, 0, 2, MAINCHAIN_SUBMIT, MAINCHAIN_FINAL), LANE_NEWS_STATE);
	assert_int_equal(lane_find(&lane, 2)->state, SPOOL_ANCHOR_INCLUDED);
	assert_int_equal(step(&lane, 100, &seq), LANE_LOOKUP);
	assert_int_equal(seq, 1);
	assert_int_equal(answer(&lane, 100, 1, MAINCHAIN_LOOKUP, MAINCHAIN_FINAL), LANE_NEWS_FINAL);
	lane_finished(&lane, 1);
	assert_int_equal(lane.final_seq, 1);
	assert_int_equal(step(&lane, 100, &seq), LANE_LOOKUP); /* At once. */
	assert_int_equal(seq, 2);
	assert_int_equal(answer(&lane, 100, 2, MAINCHAIN_LOOKUP, MAINCHAIN_FINAL), LANE_NEWS_FINAL);
	lane_finished(&lane, 2);
	assert_int_equal(lane.anchor_count, 0);
}

static void included_anchors_are_looked_up_at_the_polling_interval(void **state)
{
	struct lane lane;
	uint64_t seq;
	int64_t wake_ms;
	run_lane(&lane, 0);
	intend(&lane, 1);
	(void)step(&lane, 0, &seq);
	answer(&lane, 0, 1, MAINCHAIN_SUBMIT, MAINCHAIN_INCLUDED);
	assert_int_equal(lane_next(&lane, 50, &seq, &wake_ms), LANE_WAIT);
	assert_int_equal(wake_ms, 100);
	assert_int_equal(lane_next(&lane, 100, &seq, &wake_ms), LANE_LOOKUP);
}

static void what_an_anchor_refers_to_is_put_before_it_is_sent(void **state)
{
	struct lane lane;
	uint64_t seq;
	run_lane(&lane, 0);
	lane.options.uploads = true;
	intend(&lane, 1);
	assert_int_equal(step(&lane, 0, &seq), LANE_UPLOAD);
	lane_uploaded(&lane, 1, false, 0);
	assert_int_equal(step(&lane, 0, &seq), LANE_WAIT); /* Backoff. */
	assert_int_equal(step(&lane, 2000, &seq), LANE_UPLOAD);
	lane_uploaded(&lane, 1, true, 2000);
	assert_int_equal(step(&lane, 4000, &seq), LANE_SUBMIT);
	struct mainchain_answer missing = answer_of(MAINCHAIN_SUBMIT, MAINCHAIN_REJECTED);
	missing.reject = MAINCHAIN_REJECT_MISSING;
	assert_int_equal(lane_on_answer(&lane, 4000, 1, &missing), LANE_NEWS_MISSING);
	assert_int_equal(step(&lane, 9000, &seq), LANE_UPLOAD);
}

static void no_more_anchors_are_open_than_allowed(void **state)
{
	struct lane lane;
	uint64_t seq;
	run_lane(&lane, 0);
	for (uint64_t i = 1; i <= options.open_max; i++) {
		assert_true(lane_has_room(&lane));
		intend(&lane, i);
		assert_int_equal(step(&lane, 0, &seq), LANE_SUBMIT);
		answer(&lane, 0, i, MAINCHAIN_SUBMIT, MAINCHAIN_INCLUDED);
	}
	assert_false(lane_has_room(&lane));
}

/* ---- doubt (P3) ---- */

static void a_lost_answer_is_looked_up_and_never_taken_for_a_failure(void **state)
{
	struct lane lane;
	uint64_t seq;
	run_lane(&lane, 0);
	intend(&lane, 1);
	(void)step(&lane, 0, &seq);
	assert_int_equal(answer(&lane, 0, 1, MAINCHAIN_SUBMIT, MAINCHAIN_UNKNOWN), LANE_NEWS_STATE);
	assert_int_equal(lane_find(&lane, 1)->state, SPOOL_ANCHOR_UNKNOWN);
	for (int64_t now_ms = 10000; now_ms < 100000; now_ms += 10000) { /* As long as it takes. */
		assert_int_equal(step(&lane, now_ms, &seq), LANE_LOOKUP);
		answer(&lane, now_ms, 1, MAINCHAIN_LOOKUP, MAINCHAIN_UNKNOWN);
		assert_int_equal(lane_find(&lane, 1)->state, SPOOL_ANCHOR_UNKNOWN);
	}
	assert_int_equal(step(&lane, 200000, &seq), LANE_LOOKUP);
	answer(&lane, 200000, 1, MAINCHAIN_LOOKUP, MAINCHAIN_INCLUDED);
	assert_int_equal(lane_find(&lane, 1)->state, SPOOL_ANCHOR_INCLUDED);
}

static void only_a_node_at_or_past_the_height_of_sending_may_call_it_absent(void **state)
{
	struct lane lane;
	uint64_t seq;
	run_lane(&lane, 0); /* Height 7 was seen. */
	intend(&lane, 1);
	(void)step(&lane, 0, &seq);
	answer(&lane, 0, 1, MAINCHAIN_SUBMIT, MAINCHAIN_UNKNOWN);
	assert_int_equal(step(&lane, 5000, &seq), LANE_LOOKUP);
	struct mainchain_answer absent = answer_of(MAINCHAIN_LOOKUP, MAINCHAIN_ABSENT);
	absent.height = 6;
	lane_on_answer(&lane, 5000, 1, &absent);
	assert_int_equal(lane_find(&lane, 1)->state, SPOOL_ANCHOR_UNKNOWN);
	assert_int_equal(step(&lane, 10000, &seq), LANE_LOOKUP);
	absent.height = 7;
	lane_on_answer(&lane, 10000, 1, &absent);
	assert_int_equal(lane_find(&lane, 1)->state, SPOOL_ANCHOR_INTENT);
	assert_int_equal(step(&lane, 20000, &seq), LANE_SUBMIT); /* The same key again. */
	struct hash key = hash_of(101);
	assert_true(hash_equal(&lane_find(&lane, 1)->key, &key));
}

static void what_certainly_did_not_leave_is_sent_again_after_a_pause(void **state)
{
	struct lane lane;
	uint64_t seq;
	run_lane(&lane, 0);
	intend(&lane, 1);
	(void)step(&lane, 0, &seq);
	struct mainchain_answer unsent = answer_of(MAINCHAIN_SUBMIT, MAINCHAIN_UNSENT);
	unsent.retry_after_ms = 30000;
	lane_on_answer(&lane, 0, 1, &unsent);
	assert_int_equal(step(&lane, 29999, &seq),
	                 LANE_WAIT); /* The main chain's own wish counts. */
	assert_int_equal(step(&lane, 30000, &seq), LANE_SUBMIT);
}

static void anchors_of_a_former_process_are_unknown_until_looked_up(void **state)
{
	struct lane lane;
	uint64_t seq;
	struct hash root0 = hash_of(0), root = hash_of(1), key = hash_of(101);
	lane_init(&lane, &options, 0, &root0, 1);
	lane_add_open(&lane, 1, &root, &key, 5);
	assert_int_equal(step(&lane, 0, &seq), LANE_ASK_HEAD);
	struct mainchain_answer head = answer_of(MAINCHAIN_HEAD, MAINCHAIN_OK);
	head.seq = 1; /* It had arrived. */
	head.root = root;
	head.key = key;
	lane_on_answer(&lane, 0, 0, &head);
	assert_int_equal(lane.phase, LANE_FENCING);
	assert_int_equal(step(&lane, 0, &seq), LANE_TAKE_FENCE);
	answer(&lane, 0, 0, MAINCHAIN_FENCE, MAINCHAIN_OK);
	assert_int_equal(step(&lane, 0, &seq), LANE_LOOKUP);
	assert_false(lane_has_room(&lane));
}

static void a_reorganised_anchor_goes_out_again_before_its_successors(void **state)
{
	struct lane lane;
	uint64_t seq;
	run_lane(&lane, 0);
	for (uint64_t i = 1; i <= 2; i++) {
		intend(&lane, i);
		(void)step(&lane, 0, &seq);
		answer(&lane, 0, i, MAINCHAIN_SUBMIT, MAINCHAIN_INCLUDED);
	}
	assert_int_equal(step(&lane, 100, &seq), LANE_LOOKUP);
	answer(&lane, 100, 1, MAINCHAIN_LOOKUP, MAINCHAIN_ABSENT);
	assert_int_equal(step(&lane, 100, &seq), LANE_SUBMIT);
	assert_int_equal(seq, 1);
	assert_int_equal(step(&lane, 100, &seq), LANE_LOOKUP); /* 2, which is gone too. */
	assert_int_equal(seq, 2);
	answer(&lane, 100, 2, MAINCHAIN_LOOKUP, MAINCHAIN_ABSENT);
	assert_int_equal(step(&lane, 5000, &seq), LANE_WAIT); /* Not before 1 is back. */
	answer(&lane, 5000, 1, MAINCHAIN_SUBMIT, MAINCHAIN_INCLUDED);
	assert_int_equal(step(&lane, 5000, &seq), LANE_SUBMIT);
	assert_int_equal(seq, 2);
}

/* ---- refusals (P6) ---- */

static void a_refused_anchor_is_void_only_once_its_key_is_absent(void **state)
{
	struct lane lane;
	uint64_t seq;
	run_lane(&lane, 0);
	intend(&lane, 1);
	(void)step(&lane, 0, &seq);
	struct mainchain_answer refused = answer_of(MAINCHAIN_SUBMIT, MAINCHAIN_REJECTED);
	refused.reject = MAINCHAIN_REJECT_CONTENT;
	refused.entry_index = 2;
	lane_on_answer(&lane, 0, 1, &refused);
	assert_int_equal(step(&lane, 0, &seq), LANE_LOOKUP);
	answer(&lane, 0, 1, MAINCHAIN_LOOKUP, MAINCHAIN_ABSENT);
	assert_int_equal(step(&lane, 0, &seq), LANE_VOID);
	assert_int_equal(lane_find(&lane, 1)->reject_entry, 2);
	lane_voided(&lane, 1);
	assert_true(lane_has_room(&lane));
	uint64_t next_seq;
	struct hash previous;
	lane_tail(&lane, &next_seq, &previous);
	assert_int_equal(next_seq, 1); /* No hole. */
}

static void a_refused_anchor_that_is_there_after_all_stays(void **state)
{
	struct lane lane;
	uint64_t seq;
	run_lane(&lane, 0);
	intend(&lane, 1);
	(void)step(&lane, 0, &seq);
	struct mainchain_answer refused = answer_of(MAINCHAIN_SUBMIT, MAINCHAIN_REJECTED);
	refused.reject = MAINCHAIN_REJECT_CONTENT;
	lane_on_answer(&lane, 0, 1, &refused);
	assert_int_equal(step(&lane, 0, &seq), LANE_LOOKUP);
	answer(&lane, 0, 1, MAINCHAIN_LOOKUP, MAINCHAIN_INCLUDED);
	assert_int_equal(lane_find(&lane, 1)->state, SPOOL_ANCHOR_INCLUDED);
	assert_false(lane_find(&lane, 1)->rejected);
}

static void missing_rights_void_nothing(void **state)
{
	struct lane lane;
	uint64_t seq;
	run_lane(&lane, 0);
	intend(&lane, 1);
	(void)step(&lane, 0, &seq);
	struct mainchain_answer denied = answer_of(MAINCHAIN_SUBMIT, MAINCHAIN_REJECTED);
	denied.reject = MAINCHAIN_REJECT_DENIED;
	lane_on_answer(&lane, 0, 1, &denied);
	assert_false(lane_find(&lane, 1)->rejected);
	assert_int_equal(step(&lane, 5000, &seq), LANE_LOOKUP);
}

/* ---- what we cannot read ourselves ---- */

/* Fails to read entry 1 of anchor seq until the lane takes it back. */
static void fail_to_read(struct lane *lane, uint64_t seq, int64_t *now_ms)
{
	uint64_t found;
	for (unsigned i = 0; i < LANE_UNREADABLE_MAX; i++) {
		*now_ms += 2 * options.retry_max_ms;
		assert_int_equal(step(lane, *now_ms, &found), LANE_SUBMIT);
		assert_int_equal(found, seq);
		bool over = lane_unreadable(lane, LANE_SUBMIT, seq, 1, *now_ms);
		assert_true(over == (i + 1 == LANE_UNREADABLE_MAX));
		if (!over)
			assert_int_equal(step(lane, *now_ms, &found), LANE_WAIT); /* A pause. */
	}
}

/* Head and fence are asked for anew. */
static void take_fence_again(struct lane *lane, int64_t now_ms, uint64_t head, uint64_t height)
{
	uint64_t seq;
	assert_int_equal(step(lane, now_ms, &seq), LANE_ASK_HEAD);
	struct mainchain_answer is = answer_of(MAINCHAIN_HEAD, MAINCHAIN_OK);
	is.seq = head;
	is.root = hash_of((uint8_t)head);
	is.key = hash_of((uint8_t)(100 + head));
	is.fence = 4;
	assert_int_equal(lane_on_answer(lane, now_ms, 0, &is), LANE_NEWS_NONE);
	assert_int_equal(step(lane, now_ms, &seq), LANE_TAKE_FENCE);
	is = answer_of(MAINCHAIN_FENCE, MAINCHAIN_OK);
	is.fence = 5;
	is.height = height;
	assert_int_equal(lane_on_answer(lane, now_ms, 0, &is), LANE_NEWS_RUNNING);
}

static void an_intent_that_cannot_be_read_is_taken_back_under_a_new_fence(void **state)
{
	struct lane lane;
	uint64_t seq;
	int64_t now_ms = 0;
	run_lane(&lane, 0);
	intend(&lane, 1);
	fail_to_read(&lane, 1, &now_ms);
	take_fence_again(&lane, now_ms, 0, 30);
	assert_int_equal(step(&lane, now_ms, &seq), LANE_LOOKUP);
	/* A node that has not seen the new fence cannot know what came in before it. */
	struct mainchain_answer absent = answer_of(MAINCHAIN_LOOKUP, MAINCHAIN_ABSENT);
	absent.height = 29;
	assert_int_equal(lane_on_answer(&lane, now_ms, 1, &absent), LANE_NEWS_NONE);
	now_ms += 2 * options.retry_max_ms;
	assert_int_equal(step(&lane, now_ms, &seq), LANE_LOOKUP);
	absent.height = 30;
	assert_int_equal(lane_on_answer(&lane, now_ms, 1, &absent), LANE_NEWS_STATE);
	assert_int_equal(step(&lane, now_ms, &seq), LANE_VOID);
	assert_int_equal(lane_find(&lane, 1)->reject_entry, 1);
	assert_true(lane_find(&lane, 1)->unreadable);
	lane_voided(&lane, 1);
	assert_true(lane_has_room(&lane));
}

static void an_intent_that_cannot_be_read_but_arrived_stays(void **state)
{
	struct lane lane;
	uint64_t seq;
	int64_t now_ms = 0;
	run_lane(&lane, 0);
	intend(&lane, 1);
	(void)step(&lane, 0, &seq);
	(void)answer(&lane, 0, 1, MAINCHAIN_SUBMIT, MAINCHAIN_UNKNOWN);
	(void)step(&lane, 5000, &seq);
	(void)answer(&lane, 5000, 1, MAINCHAIN_LOOKUP, MAINCHAIN_ABSENT);
	now_ms = 5000;
	fail_to_read(&lane, 1, &now_ms);
	take_fence_again(&lane, now_ms, 1, 30); /* The first one was only slow. */
	assert_int_equal(step(&lane, now_ms, &seq), LANE_LOOKUP);
	assert_int_equal(answer(&lane, now_ms, 1, MAINCHAIN_LOOKUP, MAINCHAIN_FINAL),
	                 LANE_NEWS_FINAL);
	assert_false(lane_find(&lane, 1)->rejected || lane_find(&lane, 1)->unreadable);
}

static void failures_to_read_that_end_are_forgotten(void **state)
{
	struct lane lane;
	uint64_t seq;
	int64_t now_ms = 0;
	run_lane(&lane, 0);
	lane.options.uploads = true;
	intend(&lane, 1);
	for (unsigned i = 0; i < 3 * LANE_UNREADABLE_MAX; i++) {
		now_ms += 2 * options.retry_max_ms;
		assert_int_equal(step(&lane, now_ms, &seq), LANE_UPLOAD);
		if (i % LANE_UNREADABLE_MAX < LANE_UNREADABLE_MAX - 1) {
			assert_false(lane_unreadable(&lane, LANE_UPLOAD, 1, 0, now_ms));
			continue;
		}
		lane_uploaded(&lane, 1, true, now_ms);
		assert_int_equal(step(&lane, now_ms, &seq), LANE_SUBMIT);
		struct mainchain_answer missing = answer_of(MAINCHAIN_SUBMIT, MAINCHAIN_REJECTED);
		missing.reject = MAINCHAIN_REJECT_MISSING;
		(void)lane_on_answer(&lane, now_ms, 1, &missing);
	}
	assert_int_equal(lane.phase, LANE_RUNNING);
}

static void what_is_readable_but_not_what_was_intended_is_taken_back_at_once(void **state)
{
	struct lane lane;
	uint64_t seq;
	run_lane(&lane, 0);
	intend(&lane, 1);
	assert_int_equal(step(&lane, 0, &seq), LANE_SUBMIT);
	assert_true(lane_unreadable(&lane, LANE_SUBMIT, 1, -1, 0));
	take_fence_again(&lane, 0, 0, 8);
	assert_int_equal(step(&lane, 0, &seq), LANE_LOOKUP);
	struct mainchain_answer absent = answer_of(MAINCHAIN_LOOKUP, MAINCHAIN_ABSENT);
	absent.height = 8;
	(void)lane_on_answer(&lane, 0, 1, &absent);
	assert_int_equal(step(&lane, 0, &seq), LANE_VOID);
	assert_int_equal(lane_find(&lane, 1)->reject_entry, -1);
}

static void anchors_beyond_those_that_the_lane_holds_are_voided_before_them(void **state)
{
	struct lane lane;
	uint64_t seq;
	run_lane(&lane, 0);
	intend(&lane, 1);
	lane.more_open = true; /* 2 to 100 are in the spool. */
	lane_voided(&lane, 60);
	assert_true(lane.more_open);
	assert_int_equal(lane.anchor_count, 1);
	lane_voided(&lane, 2);
	assert_false(lane.more_open);
	assert_int_equal(lane.anchor_count, 1);
	lane_voided(&lane, 1);
	assert_int_equal(lane.anchor_count, 0);
	assert_int_equal(step(&lane, 0, &seq), LANE_WAIT);
}

/* ---- standing still ---- */

static void head_case(uint64_t seq, uint8_t root, enum lane_halt expected)
{
	struct lane lane;
	uint64_t ignored;
	struct hash final_root = hash_of(5);
	lane_init(&lane, &options, 5, &final_root, 1);
	(void)step(&lane, 0, &ignored);
	struct mainchain_answer head = answer_of(MAINCHAIN_HEAD, MAINCHAIN_OK);
	head.seq = seq;
	head.root = hash_of(root);
	(void)lane_on_answer(&lane, 0, 0, &head);
	assert_int_equal(lane.halt, expected);
	assert_int_equal(lane.phase, expected == LANE_HALT_NONE ? LANE_FENCING : LANE_HALTED);
	assert_true(strlen(lane_halt_name(expected)) > 0);
}

static void the_head_tells_which_side_was_restored_from_a_copy(void **state)
{
	head_case(5, 5, LANE_HALT_NONE);
	head_case(5, 6, LANE_HALT_SPOOL_RESTORED);
	head_case(6, 6, LANE_HALT_SPOOL_RESTORED);
	head_case(4, 4, LANE_HALT_MAINCHAIN_RESTORED);
}

static void a_head_from_a_node_that_is_behind_is_asked_for_again(void **state)
{
	struct lane lane;
	uint64_t seq;
	run_lane(&lane, 5);
	lane_restart(&lane, 0);
	struct mainchain_answer head = answer_of(MAINCHAIN_HEAD, MAINCHAIN_OK);
	head.seq = 4;
	head.height = 6;
	int64_t now_ms = 0;
	unsigned asked = 0;
	while (lane.phase != LANE_HALTED && asked < 100) {
		now_ms += 10000;
		assert_int_equal(step(&lane, now_ms, &seq), LANE_ASK_HEAD);
		asked++;
		(void)lane_on_answer(&lane, now_ms, 0, &head);
	}
	assert_true(asked > 1);
	assert_int_equal(lane.halt, LANE_HALT_MAINCHAIN_RESTORED); /* Believed in the end. */
}

static void an_older_holder_of_the_fence_stops(void **state)
{
	struct lane lane;
	uint64_t seq;
	run_lane(&lane, 0);
	intend(&lane, 1);
	(void)step(&lane, 0, &seq);
	struct mainchain_answer fenced = answer_of(MAINCHAIN_SUBMIT, MAINCHAIN_FENCED);
	fenced.fence = 5;
	assert_int_equal(lane_on_answer(&lane, 0, 1, &fenced), LANE_NEWS_HALTED);
	assert_int_equal(lane.halt, LANE_HALT_FENCED);
	assert_int_equal(step(&lane, 100000, &seq), LANE_WAIT);
	lane_restart(&lane, 100000);
	assert_int_equal(step(&lane, 100000, &seq), LANE_ASK_HEAD);
}

static void a_slow_submission_that_meets_our_own_newer_fence_stops_nothing(void **state)
{
	struct lane lane;
	uint64_t seq;
	run_lane(&lane, 0); /* Fence 4. */
	intend(&lane, 1);
	(void)step(&lane, 0, &seq);
	struct mainchain_answer fenced = answer_of(MAINCHAIN_SUBMIT, MAINCHAIN_FENCED);
	fenced.fence = 4;
	assert_int_equal(lane_on_answer(&lane, 0, 1, &fenced), LANE_NEWS_STATE);
	assert_int_equal(lane.phase, LANE_RUNNING);
	assert_int_equal(step(&lane, 9000, &seq), LANE_LOOKUP);
	lane_restart(&lane, 9000); /* The answer to our taking fence 5 is still on its way. */
	fenced.fence = 5;
	assert_int_equal(lane_on_answer(&lane, 9000, 1, &fenced), LANE_NEWS_STATE);
	assert_int_equal(lane.phase, LANE_ASKING);
}

static void a_fence_below_ours_is_of_a_main_chain_that_went_back(void **state)
{
	struct lane lane;
	uint64_t seq;
	run_lane(&lane, 2);
	intend(&lane, 3);
	assert_int_equal(step(&lane, 0, &seq), LANE_SUBMIT);
	struct mainchain_answer fenced = answer_of(MAINCHAIN_SUBMIT, MAINCHAIN_FENCED);
	fenced.fence = 2;
	assert_int_equal(lane_on_answer(&lane, 0, 3, &fenced), LANE_NEWS_STATE);
	assert_int_equal(lane.phase, LANE_ASKING); /* With our fence nothing is ever taken. */
	assert_int_equal(step(&lane, 2000, &seq), LANE_ASK_HEAD);
	struct mainchain_answer head = answer_of(MAINCHAIN_HEAD, MAINCHAIN_OK);
	head.seq = 1;
	head.root = hash_of(1);
	head.fence = 2;
	assert_int_equal(lane_on_answer(&lane, 2000, 0, &head), LANE_NEWS_HALTED);
	assert_int_equal(lane.halt, LANE_HALT_MAINCHAIN_RESTORED);
}

static void a_key_that_is_known_with_another_body_stops_the_lane(void **state)
{
	struct lane lane;
	uint64_t seq;
	run_lane(&lane, 0);
	intend(&lane, 1);
	(void)step(&lane, 0, &seq);
	struct mainchain_answer changed = answer_of(MAINCHAIN_SUBMIT, MAINCHAIN_REJECTED);
	changed.reject = MAINCHAIN_REJECT_CHANGED;
	assert_int_equal(lane_on_answer(&lane, 0, 1, &changed), LANE_NEWS_HALTED);
	assert_int_equal(lane.halt, LANE_HALT_CHANGED);
}

static void a_wrong_predecessor_asks_for_the_head_again(void **state)
{
	struct lane lane;
	uint64_t seq;
	run_lane(&lane, 0);
	intend(&lane, 1);
	(void)step(&lane, 0, &seq);
	struct mainchain_answer refused = answer_of(MAINCHAIN_SUBMIT, MAINCHAIN_REJECTED);
	refused.reject = MAINCHAIN_REJECT_PREVIOUS;
	lane_on_answer(&lane, 0, 1, &refused);
	assert_int_equal(lane.phase, LANE_ASKING);
	assert_int_equal(step(&lane, 5000, &seq), LANE_ASK_HEAD);
}

static void a_lost_race_for_the_fence_begins_with_the_head_again(void **state)
{
	struct lane lane;
	uint64_t seq;
	struct hash root = hash_of(0);
	lane_init(&lane, &options, 0, &root, 1);
	(void)step(&lane, 0, &seq);
	answer(&lane, 0, 0, MAINCHAIN_HEAD, MAINCHAIN_OK);
	assert_int_equal(step(&lane, 0, &seq), LANE_TAKE_FENCE);
	answer(&lane, 0, 0, MAINCHAIN_FENCE, MAINCHAIN_FENCED);
	assert_int_equal(step(&lane, 5000, &seq), LANE_ASK_HEAD);
}

static void a_busy_adapter_is_asked_again_later(void **state)
{
	struct lane lane;
	uint64_t seq;
	run_lane(&lane, 0);
	intend(&lane, 1);
	assert_int_equal(step(&lane, 0, &seq), LANE_SUBMIT);
	lane_deferred(&lane, LANE_SUBMIT, 1, 0);
	assert_int_equal(lane_find(&lane, 1)->state, SPOOL_ANCHOR_INTENT);
	assert_int_equal(step(&lane, 5000, &seq), LANE_SUBMIT);
}

/* Answers the next steps of anchor 1 by turns for so long, and gives how many there were. */
static unsigned steps_in(struct lane *lane, int64_t until_ms, enum mainchain_outcome submitted,
                         enum mainchain_outcome looked_up)
{
	int64_t now_ms = 0, wake_ms;
	unsigned count = 0;
	while (now_ms < until_ms) {
		uint64_t seq;
		enum lane_step next = lane_next(lane, now_ms, &seq, &wake_ms);
		if (next == LANE_SUBMIT)
			(void)answer(lane, now_ms, 1, MAINCHAIN_SUBMIT, submitted);
		else if (next == LANE_LOOKUP)
			(void)answer(lane, now_ms, 1, MAINCHAIN_LOOKUP, looked_up);
		else
			now_ms = wake_ms;
		count += next != LANE_WAIT;
	}
	return count;
}

static void a_main_chain_that_is_away_for_long_is_not_hammered(void **state)
{
	struct lane lane;
	const int64_t hour_ms = 3600000, at_least_ms = options.retry_max_ms / 4;
	run_lane(&lane, 0);
	intend(&lane, 1);
	assert_in_range(steps_in(&lane, hour_ms, MAINCHAIN_UNSENT, MAINCHAIN_UNKNOWN), 1000,
	                (uint64_t)(hour_ms / at_least_ms));
	/* It answers what it is asked, and takes nothing. */
	run_lane(&lane, 0);
	intend(&lane, 1);
	assert_in_range(steps_in(&lane, hour_ms, MAINCHAIN_UNKNOWN, MAINCHAIN_ABSENT), 1000,
	                2 * (uint64_t)(hour_ms / at_least_ms));
	/* Once it was seen there, the next failure is the first one. */
	assert_true(lane_find(&lane, 1)->attempts > 100);
	lane_find(&lane, 1)->asked = true;
	(void)answer(&lane, hour_ms, 1, MAINCHAIN_LOOKUP, MAINCHAIN_INCLUDED);
	assert_int_equal(lane_find(&lane, 1)->attempts, 0);
}

static void backoff_grows_has_jitter_and_a_cap(void **state)
{
	uint64_t chance = 1;
	int64_t largest = 0;
	for (uint32_t attempts = 0; attempts < 100; attempts++) {
		int64_t wait_ms = backoff_ms(&chance, attempts, 10, 1000);
		assert_true(wait_ms >= 10 && wait_ms <= 1000);
		largest = wait_ms > largest ? wait_ms : largest;
	}
	assert_true(largest > 500);
	assert_int_equal(backoff_ms(&chance, 0, 10, 1000), 10);
	assert_true(backoff_ms(&chance, UINT32_MAX, INT64_MAX / 4, INT64_MAX / 2) >= INT64_MAX / 4);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(nothing_is_sent_before_head_and_fence_are_known),
		cmocka_unit_test(the_next_anchor_is_sent_once_its_predecessor_is_included),
		cmocka_unit_test(nothing_said_of_an_anchor_counts_while_its_receipt_is_written),
		cmocka_unit_test(a_final_anchor_waits_for_the_receipt_of_its_predecessor),
		cmocka_unit_test(included_anchors_are_looked_up_at_the_polling_interval),
		cmocka_unit_test(what_an_anchor_refers_to_is_put_before_it_is_sent),
		cmocka_unit_test(no_more_anchors_are_open_than_allowed),
		cmocka_unit_test(a_lost_answer_is_looked_up_and_never_taken_for_a_failure),
		cmocka_unit_test(only_a_node_at_or_past_the_height_of_sending_may_call_it_absent),
		cmocka_unit_test(what_certainly_did_not_leave_is_sent_again_after_a_pause),
		cmocka_unit_test(anchors_of_a_former_process_are_unknown_until_looked_up),
		cmocka_unit_test(a_reorganised_anchor_goes_out_again_before_its_successors),
		cmocka_unit_test(a_refused_anchor_is_void_only_once_its_key_is_absent),
		cmocka_unit_test(a_refused_anchor_that_is_there_after_all_stays),
		cmocka_unit_test(missing_rights_void_nothing),
		cmocka_unit_test(an_intent_that_cannot_be_read_is_taken_back_under_a_new_fence),
		cmocka_unit_test(an_intent_that_cannot_be_read_but_arrived_stays),
		cmocka_unit_test(failures_to_read_that_end_are_forgotten),
		cmocka_unit_test(what_is_readable_but_not_what_was_intended_is_taken_back_at_once),
		cmocka_unit_test(anchors_beyond_those_that_the_lane_holds_are_voided_before_them),
		cmocka_unit_test(the_head_tells_which_side_was_restored_from_a_copy),
		cmocka_unit_test(a_head_from_a_node_that_is_behind_is_asked_for_again),
		cmocka_unit_test(an_older_holder_of_the_fence_stops),
		cmocka_unit_test(a_slow_submission_that_meets_our_own_newer_fence_stops_nothing),
		cmocka_unit_test(a_fence_below_ours_is_of_a_main_chain_that_went_back),
		cmocka_unit_test(a_key_that_is_known_with_another_body_stops_the_lane),
		cmocka_unit_test(a_wrong_predecessor_asks_for_the_head_again),
		cmocka_unit_test(a_lost_race_for_the_fence_begins_with_the_head_again),
		cmocka_unit_test(a_busy_adapter_is_asked_again_later),
		cmocka_unit_test(a_main_chain_that_is_away_for_long_is_not_hammered),
		cmocka_unit_test(backoff_grows_has_jitter_and_a_cap),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
