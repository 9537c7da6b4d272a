#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "relay/edge/upload.h"

static const struct upload_options options = {
	.chain_count = 2,
	.batch_max_bytes = 1000,
	.batch_max_blocks = 10,
	.batch_wait_ms = 500,
};

static const struct upload_limits limits = {
	.chunk_max_bytes = 100,
	.batch_max_bytes = 5000,
	.batch_max_blocks = 8,
	.block_max_bytes = 700,
};

/* An upload whose chain 0 holds blocks 0..next-1 and is welcomed at welcome_next, with much credit. */
static struct upload *connected(uint64_t next, uint64_t welcome_next)
{
	struct upload *upload = NULL;
	assert_true(upload_new(&upload, &options, NULL));
	struct upload_source source = { .next = next, .bytes_total = next * 100 };
	upload_on_source(upload, 0, &source, 0);
	upload_on_link(upload, &limits);
	upload_on_credit(upload, 1 << 20, 1000);
	struct upload_welcome welcome = { .grant = GRANT_ACTIVE, .next_height = welcome_next };
	upload_on_welcome(upload, 0, &welcome, 0);
	return upload;
}

static struct upload_action ask(struct upload *upload, int64_t now_ms)
{
	struct upload_action action;
	upload_next(upload, now_ms, &action);
	return action;
}

static struct upload_status status_of(struct upload *upload, size_t chain)
{
	struct upload_status status;
	upload_status(upload, chain, &status);
	return status;
}

static void build(struct upload *upload, const struct upload_action *action, uint64_t count,
                  uint64_t size)
{
	assert_int_equal(action->what, UPLOAD_BUILD);
	struct upload_batch batch = { .from = action->from,
		                      .to = action->from + count - 1,
		                      .size = size,
		                      .raw_size = count * 100 };
	batch.content.bytes[0] = (uint8_t)action->from;
	batch.content.bytes[1] = (uint8_t)count;
	upload_built(upload, &batch);
}

/* Sends the outbox whole. */
static void send_all(struct upload *upload, int64_t now_ms)
{
	struct upload_action action;
	do {
		action = ask(upload, now_ms);
		assert_int_equal(action.what, UPLOAD_SEND);
	} while (!action.last);
}

static void nothing_is_sent_without_a_link(void **state)
{
	struct upload *upload = NULL;
	assert_true(upload_new(&upload, &options, NULL));
	struct upload_source source = { .next = 5 };
	upload_on_source(upload, 0, &source, 0);
	struct upload_action action = ask(upload, 1000);
	assert_int_equal(action.what, UPLOAD_NOTHING);
	assert_true(action.wake_ms == INT64_MAX);
	assert_int_equal(status_of(upload, 0).state, UPLOAD_OFFLINE);
	upload_free(upload);
}

static void the_first_batch_begins_at_what_the_gateway_lacks(void **state)
{
	struct upload *upload = connected(7, 3);
	struct upload_action action = ask(upload, 0);
	assert_int_equal(action.what, UPLOAD_BUILD);
	assert_int_equal(action.from, 3);
	assert_int_equal(action.count_max, 4);
	assert_int_equal(action.bytes_max, 1000);
	assert_int_equal(action.block_max_bytes, 700);
	upload_free(upload);
}

static void the_lower_of_both_limits_counts(void **state)
{
	struct upload *upload = connected(100, 0);
	struct upload_action action = ask(upload, 0);
	assert_int_equal(action.count_max, 8);
	upload_free(upload);
}

static void a_batch_goes_out_in_pieces_and_then_flies(void **state)
{
	struct upload *upload = connected(4, 0);
	struct upload_action action = ask(upload, 0);
	build(upload, &action, 4, 250);
	static const uint32_t sizes[] = { 100, 100, 50 };
	for (size_t i = 0; i < 3; i++) {
		action = ask(upload, 0);
		assert_int_equal(action.what, UPLOAD_SEND);
		assert_int_equal(action.offset, i * 100);
		assert_int_equal(action.size, sizes[i]);
		assert_int_equal(action.last, i == 2);
	}
	assert_int_equal(ask(upload, 0).what, UPLOAD_NOTHING);
	struct upload_status status = status_of(upload, 0);
	assert_int_equal(status.flight_count, 1);
	assert_int_equal(status.send_next, 4);
	assert_int_equal(status.bytes_sent, 250);
	assert_int_equal(status.blocks_sent, 4);
	assert_non_null(upload_find(upload, 0, 0, 3));
	assert_null(upload_find(upload, 0, 0, 2));
	assert_true(upload_on_ack(upload, 0, 4, 0));
	status = status_of(upload, 0);
	assert_int_equal(status.flight_count, 0);
	assert_int_equal(status.durable_next, 4);
	upload_free(upload);
}

static void a_new_block_waits_for_others_then_goes(void **state)
{
	struct upload *upload = connected(0, 0);
	struct upload_source source = { .next = 1, .bytes_total = 100 };
	upload_on_source(upload, 0, &source, 1000);
	/* What appears right after the welcome is sent at once; the one after that waits. */
	struct upload_action action = ask(upload, 1000);
	build(upload, &action, 1, 50);
	send_all(upload, 1000);
	source.next = 2;
	source.bytes_total = 200;
	upload_on_source(upload, 0, &source, 2000);
	action = ask(upload, 2000);
	assert_int_equal(action.what, UPLOAD_NOTHING);
	assert_true(action.wake_ms == 2500);
	assert_int_equal(ask(upload, 2499).what, UPLOAD_NOTHING);
	assert_int_equal(ask(upload, 2500).what, UPLOAD_BUILD);
	upload_free(upload);
}

static void enough_blocks_or_bytes_do_not_wait(void **state)
{
	for (int by_count = 0; by_count < 2; by_count++) {
		struct upload *upload = connected(1, 0);
		struct upload_action action = ask(upload, 0);
		build(upload, &action, 1, 50);
		send_all(upload, 0);
		struct upload_source source = { .next = by_count ? 11 : 2,
			                        .bytes_total = by_count ? 101 : 1100 };
		upload_on_source(upload, 0, &source, 10);
		assert_int_equal(ask(upload, 10).what, UPLOAD_BUILD);
		upload_free(upload);
	}
}

static void credit_bounds_batches_and_bytes(void **state)
{
	struct upload *upload = NULL;
	assert_true(upload_new(&upload, &options, NULL));
	struct upload_source source = { .next = 50 };
	upload_on_source(upload, 0, &source, 0);
	upload_on_link(upload, &limits);
	struct upload_welcome welcome = { .grant = GRANT_ACTIVE };
	upload_on_welcome(upload, 0, &welcome, 0);
	assert_int_equal(ask(upload, 0).what, UPLOAD_NOTHING);

	upload_on_credit(upload, 130, 1);
	struct upload_action action = ask(upload, 0);
	build(upload, &action, 3, 250);
	assert_int_equal(ask(upload, 0).size, 100);
	assert_int_equal(ask(upload, 0).size, 30);
	assert_int_equal(ask(upload, 0).what, UPLOAD_NOTHING);
	upload_on_credit(upload, 100, 1); /* Totals never fall. */
	assert_int_equal(ask(upload, 0).what, UPLOAD_NOTHING);
	upload_on_credit(upload, 1000, 1);
	send_all(upload, 0);
	assert_int_equal(ask(upload, 0).what, UPLOAD_NOTHING); /* No second batch. */
	upload_on_credit(upload, 1000, 2);
	assert_int_equal(ask(upload, 0).what, UPLOAD_BUILD);
	upload_free(upload);
}

static void the_slower_pace_is_kept(void **state)
{
	struct upload *upload = connected(4, 0);
	upload_on_pace(upload, 1000);
	struct upload_action action = ask(upload, 0);
	build(upload, &action, 4, 250);
	assert_int_equal(ask(upload, 0).what, UPLOAD_SEND);
	action = ask(upload, 50);
	assert_int_equal(action.what, UPLOAD_NOTHING);
	assert_true(action.wake_ms == 100);
	assert_int_equal(ask(upload, 100).what, UPLOAD_SEND);
	upload_free(upload);
}

static void a_lost_link_is_resumed_in_the_middle_of_the_batch(void **state)
{
	struct upload *upload = connected(4, 0);
	struct upload_action action = ask(upload, 0);
	build(upload, &action, 4, 250);
	assert_int_equal(ask(upload, 0).what, UPLOAD_SEND);
	upload_on_lost(upload);
	assert_int_equal(status_of(upload, 0).state, UPLOAD_OFFLINE);
	struct upload_source source = { .next = 9, .bytes_total = 900 };
	upload_on_source(upload, 0, &source, 10);

	upload_on_link(upload, &limits);
	upload_on_credit(upload, 1 << 20, 10);
	struct upload_welcome welcome = { .grant = GRANT_ACTIVE, .partial_size = 100 };
	welcome.partial_batch.bytes[1] = 4; /* As build() names the batch 0..3. */
	upload_on_welcome(upload, 0, &welcome, 20);
	action = ask(upload, 20);
	assert_int_equal(action.what, UPLOAD_BUILD);
	assert_int_equal(action.count_max, 4); /* The same batch, though there are more blocks. */
	build(upload, &action, 4, 250);
	action = ask(upload, 20);
	assert_int_equal(action.what, UPLOAD_SEND);
	assert_int_equal(action.offset, 100);
	send_all(upload, 20);
	action = ask(upload, 20);
	assert_int_equal(action.from, 4);
	assert_int_equal(action.count_max, 5);
	upload_free(upload);
}

static void another_partial_batch_is_sent_from_its_beginning(void **state)
{
	struct upload *upload = connected(4, 0);
	upload_on_lost(upload);
	upload_on_link(upload, &limits);
	upload_on_credit(upload, 1 << 20, 10);
	struct upload_welcome welcome = { .grant = GRANT_ACTIVE, .partial_size = 100 };
	welcome.partial_batch.bytes[0] = 0xff;
	upload_on_welcome(upload, 0, &welcome, 0);
	struct upload_action action = ask(upload, 0);
	build(upload, &action, 4, 250);
	assert_int_equal(ask(upload, 0).offset, 0);
	upload_free(upload);
}

static void a_batch_in_flight_when_the_link_was_lost_is_built_just_so_again(void **state)
{
	struct upload *upload = connected(4, 0);
	struct upload_action action = ask(upload, 0);
	build(upload, &action, 3, 50);
	send_all(upload, 0);
	upload_on_lost(upload);
	upload_on_link(upload, &limits);
	upload_on_credit(upload, 1 << 20, 10);
	struct upload_welcome welcome = { .grant = GRANT_ACTIVE };
	upload_on_welcome(upload, 0, &welcome, 0);
	assert_int_equal(ask(upload, 0).count_max, 3);
	upload_free(upload);
}

static void resume_goes_on_where_the_gateway_says(void **state)
{
	struct upload *upload = connected(20, 8);
	struct upload_action action = ask(upload, 0);
	build(upload, &action, 4, 50);
	send_all(upload, 0);
	struct upload_reject reject = { .action = REJECTED_RESUME, .next_height = 5 };
	upload_on_reject(upload, 0, &reject, 0);
	struct upload_status status = status_of(upload, 0);
	assert_int_equal(status.flight_count, 0);
	assert_int_equal(status.send_next, 5);
	assert_int_equal(status.state, UPLOAD_ACTIVE);
	assert_int_equal(ask(upload, 0).from, 5);
	upload_free(upload);
}

static void one_gap_sends_us_back_once_whatever_was_behind_it(void **state)
{
	struct upload *upload = connected(50, 0);
	struct upload_reject reject = { .action = REJECTED_RESUME, .next_height = 4 };
	for (int i = 0; i < 6; i++) {
		struct upload_action action = ask(upload, 0);
		build(upload, &action, 4, 50);
		send_all(upload, 0);
	}
	assert_true(upload_on_ack(upload, 0, 4, 0));
	/* 4..7 was lost at the gateway. What came behind it is rejected, batch by batch: */
	reject.content.bytes[0] = 8;
	reject.content.bytes[1] = 4;
	upload_on_reject(upload, 0, &reject, 0);
	assert_int_equal(status_of(upload, 0).send_next, 4);
	reject.content.bytes[0] = 12; /* Void already. */
	upload_on_reject(upload, 0, &reject, 0);
	/* What was lost and two batches more are on their way again, as before. */
	for (int i = 0; i < 3; i++) {
		struct upload_action action = ask(upload, 0);
		assert_int_equal(action.from, 4 + 4 * i);
		build(upload, &action, 4, 50);
		send_all(upload, 0);
	}
	for (uint8_t from = 12; from <= 20; from = (uint8_t)(from + 4)) {
		reject.content.bytes[0] = from; /* Of their first copies; the one of 12 came. */
		if (from == 12)
			continue;
		upload_on_reject(upload, 0, &reject, 0);
	}
	assert_int_equal(status_of(upload, 0).rejects, 1);
	assert_int_equal(status_of(upload, 0).flight_count, 3);
	assert_int_equal(status_of(upload, 0).send_next, 16);
	/* A reject of the second copy counts, and so does one that names no batch. */
	reject.content.bytes[0] = 12;
	upload_on_reject(upload, 0, &reject, 0);
	assert_int_equal(status_of(upload, 0).rejects, 2);
	assert_int_equal(status_of(upload, 0).flight_count, 0);
	reject.content = (struct hash){ { 0 } };
	upload_on_reject(upload, 0, &reject, 0);
	assert_int_equal(status_of(upload, 0).rejects, 3);
	upload_free(upload);
}

static void a_hold_for_a_batch_that_is_void_holds_nothing(void **state)
{
	struct upload *upload = connected(8, 0);
	struct upload_reject reject = { .action = REJECTED_HOLD };
	reject.content.bytes[0] = 77;
	upload_on_reject(upload, 0, &reject, 0);
	assert_int_equal(status_of(upload, 0).state, UPLOAD_ACTIVE);
	upload_free(upload);
}

static void resuming_in_circles_slows_down(void **state)
{
	struct upload *upload = connected(20, 0);
	struct upload_reject reject = { .action = REJECTED_RESUME, .next_height = 0 };
	int64_t now_ms = 0;
	int64_t waited_ms = 0;
	for (int i = 0; i < 12; i++) {
		struct upload_action action = ask(upload, now_ms);
		if (action.what == UPLOAD_NOTHING) {
			waited_ms = action.wake_ms - now_ms;
			now_ms = action.wake_ms;
			action = ask(upload, now_ms);
		}
		build(upload, &action, 1, 50);
		upload_on_reject(upload, 0, &reject, now_ms);
	}
	assert_true(waited_ms == 64000);
	/* Progress makes it quick again. */
	struct upload_action action = ask(upload, now_ms + 64000);
	build(upload, &action, 1, 50);
	send_all(upload, now_ms + 64000);
	assert_true(upload_on_ack(upload, 0, 1, now_ms + 64000));
	reject.next_height = 1;
	upload_on_reject(upload, 0, &reject, now_ms + 64000);
	assert_int_equal(status_of(upload, 0).state, UPLOAD_ACTIVE);
	upload_free(upload);
}

static void retry_after_waits_and_sends_the_same_again(void **state)
{
	struct upload *upload = connected(8, 2);
	struct upload_action action = ask(upload, 0);
	build(upload, &action, 4, 250);
	assert_int_equal(ask(upload, 0).what, UPLOAD_SEND);
	struct upload_reject reject = { .action = REJECTED_RETRY, .retry_after_ms = 3000 };
	upload_on_reject(upload, 0, &reject, 100);
	assert_int_equal(status_of(upload, 0).state, UPLOAD_WAITING);
	size_t chain;
	struct upload_batch batch;
	assert_false(upload_outbox(upload, &chain, &batch));
	action = ask(upload, 100);
	assert_int_equal(action.what, UPLOAD_NOTHING);
	assert_true(action.wake_ms == 3100);
	action = ask(upload, 3100);
	assert_int_equal(action.what, UPLOAD_BUILD);
	assert_int_equal(action.from, 2);
	upload_free(upload);
}

static void a_retry_after_has_a_least_and_a_most(void **state)
{
	struct upload *upload = connected(8, 0);
	struct upload_reject reject = { .action = REJECTED_RETRY };
	upload_on_reject(upload, 0, &reject, 0);
	assert_true(ask(upload, 0).wake_ms == 100);
	reject.retry_after_ms = UINT32_MAX;
	upload_on_reject(upload, 0, &reject, 0);
	assert_true(ask(upload, 0).wake_ms == 3600 * 1000);
	upload_free(upload);
}

static void hold_stops_one_chain_until_it_is_updated(void **state)
{
	struct upload *upload = connected(8, 0);
	struct upload_source source = { .next = 3 };
	upload_on_source(upload, 1, &source, 0);
	struct upload_welcome welcome = { .grant = GRANT_ACTIVE };
	upload_on_welcome(upload, 1, &welcome, 0);
	struct upload_reject reject = { .action = REJECTED_HOLD };
	upload_on_reject(upload, 0, &reject, 0);
	assert_int_equal(status_of(upload, 0).hold, HOLD_REJECTED);

	struct upload_action action = ask(upload, 0);
	assert_int_equal(action.chain, 1);
	build(upload, &action, 3, 50);
	send_all(upload, 0);
	assert_int_equal(ask(upload, 0).what, UPLOAD_NOTHING);
	upload_on_reject(upload, 0, &reject, 0); /* Of what was on its way: nothing more happens. */
	assert_int_equal(status_of(upload, 0).rejects, 1);

	welcome.next_height = 2;
	upload_on_welcome(upload, 0, &welcome, 0);
	action = ask(upload, 0);
	assert_int_equal(action.chain, 0);
	assert_int_equal(action.from, 2);
	upload_free(upload);
}

static void each_grant_but_active_holds_or_stands_by(void **state)
{
	static const struct {
		enum upload_grant grant;
		enum upload_state state;
		enum upload_hold hold;
	} rows[] = {
		{ GRANT_ACTIVE, UPLOAD_ACTIVE, HOLD_NONE },
		{ GRANT_STANDBY, UPLOAD_STANDBY, HOLD_NONE },
		{ GRANT_FROZEN, UPLOAD_HELD, HOLD_FROZEN },
		{ GRANT_UNKNOWN, UPLOAD_HELD, HOLD_UNKNOWN },
		{ GRANT_DENIED, UPLOAD_HELD, HOLD_DENIED },
		{ GRANT_RETIRED, UPLOAD_HELD, HOLD_RETIRED },
		{ GRANT_RESTORED, UPLOAD_HELD, HOLD_RESTORED },
	};
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct upload *upload = connected(8, 0);
		struct upload_welcome welcome = { .grant = rows[i].grant };
		upload_on_welcome(upload, 0, &welcome, 0);
		struct upload_status status = status_of(upload, 0);
		assert_int_equal(status.state, rows[i].state);
		assert_int_equal(status.hold, rows[i].hold);
		assert_int_equal(ask(upload, 0).what,
		                 rows[i].state == UPLOAD_ACTIVE ? UPLOAD_BUILD : UPLOAD_NOTHING);
		upload_free(upload);
	}
	for (int hold = 0; hold < HOLD_COUNT; hold++) {
		assert_non_null(upload_hold_name((enum upload_hold)hold));
		assert_non_null(upload_hold_text((enum upload_hold)hold));
	}
	for (int i = 0; i < UPLOAD_STATE_COUNT; i++)
		assert_non_null(upload_state_name((enum upload_state)i));
}

static void standby_takes_over_when_told(void **state)
{
	struct upload *upload = connected(8, 0);
	struct upload_welcome welcome = { .grant = GRANT_STANDBY, .next_height = 4 };
	upload_on_welcome(upload, 0, &welcome, 0);
	assert_int_equal(ask(upload, 0).what, UPLOAD_NOTHING);
	welcome.grant = GRANT_ACTIVE;
	welcome.next_height = 6;
	upload_on_welcome(upload, 0, &welcome, 0);
	assert_int_equal(ask(upload, 0).from, 6);
	upload_free(upload);
}

static void another_block_at_the_tip_holds_the_chain(void **state)
{
	struct upload *upload = connected(8, 0);
	struct upload_welcome welcome = { .next_height = 3, .tip = TIP_OTHER };
	upload_on_welcome(upload, 0, &welcome, 0);
	assert_int_equal(status_of(upload, 0).hold, HOLD_DIVERGED);
	upload_free(upload);
}

static void a_gateway_that_has_more_than_our_own_ledger_holds_it(void **state)
{
	struct upload *upload = connected(0, 0);
	struct upload_source source = { .own = true, .next = 5 };
	upload_on_source(upload, 0, &source, 0);
	struct upload_welcome welcome = { .next_height = 6, .tip = TIP_NOT_HELD };
	upload_on_welcome(upload, 0, &welcome, 0);
	assert_int_equal(status_of(upload, 0).hold, HOLD_BEHIND);
	/* Of a folder that somebody else fills it is ordinary: we wait for it. */
	source.own = false;
	upload_on_source(upload, 0, &source, 0);
	upload_on_welcome(upload, 0, &welcome, 0);
	assert_int_equal(status_of(upload, 0).state, UPLOAD_ACTIVE);
	assert_int_equal(ask(upload, 0).what, UPLOAD_NOTHING);
	source.next = 7;
	upload_on_source(upload, 0, &source, 10);
	assert_int_equal(ask(upload, 10).from, 6);
	upload_free(upload);
}

static void pruned_blocks_that_are_wanted_hold_until_they_are_back(void **state)
{
	struct upload *upload = connected(0, 0);
	struct upload_source source = { .oldest = 4, .next = 8 };
	upload_on_source(upload, 0, &source, 0);
	assert_int_equal(status_of(upload, 0).hold, HOLD_PRUNED);
	source.oldest = 0;
	upload_on_source(upload, 0, &source, 0);
	assert_int_equal(status_of(upload, 0).state, UPLOAD_ACTIVE);
	assert_int_equal(ask(upload, 0).from, 0);
	upload_free(upload);
}

static void impossible_heights_hold_the_chain(void **state)
{
	struct upload *upload = connected(8, 0);
	assert_false(upload_on_ack(upload, 0, 9, 0));
	assert_int_equal(status_of(upload, 0).hold, HOLD_PROTOCOL);
	assert_int_equal(status_of(upload, 0).durable_next, 0);
	upload_free(upload);

	upload = connected(8, 0);
	struct upload_welcome welcome = { .next_height = UINT64_MAX };
	upload_on_welcome(upload, 0, &welcome, 0);
	assert_int_equal(status_of(upload, 0).hold, HOLD_PROTOCOL);
	upload_free(upload);

	upload = connected(8, 0);
	struct upload_reject reject = { .action = REJECTED_RESUME, .next_height = 9 };
	upload_on_reject(upload, 0, &reject, 0);
	assert_int_equal(status_of(upload, 0).hold, HOLD_PROTOCOL);
	upload_free(upload);
}

static void an_older_ack_moves_nothing_back(void **state)
{
	struct upload *upload = connected(8, 6);
	assert_true(upload_on_ack(upload, 0, 3, 0));
	assert_int_equal(status_of(upload, 0).durable_next, 6);
	assert_true(
		upload_on_ack(upload, 0, 8, 0)); /* A duplicate from elsewhere: skip what it has. */
	assert_int_equal(status_of(upload, 0).send_next, 8);
	upload_free(upload);
}

static void a_range_asked_for_again_goes_first_and_then_it_goes_on(void **state)
{
	struct upload *upload = connected(8, 8);
	upload_on_resend(upload, 0, 2, 100);
	struct upload_action action = ask(upload, 0);
	assert_int_equal(action.from, 2);
	assert_int_equal(action.count_max, 6);
	build(upload, &action, 4, 50);
	send_all(upload, 0);
	action = ask(upload, 0);
	assert_int_equal(action.from, 6);
	assert_int_equal(action.count_max, 2);
	build(upload, &action, 2, 50);
	send_all(upload, 0);
	assert_int_equal(ask(upload, 0).what, UPLOAD_NOTHING);
	assert_int_equal(status_of(upload, 0).send_next, 8);
	assert_true(upload_on_ack(upload, 0, 8, 0));
	assert_int_equal(status_of(upload, 0).flight_count, 0);
	upload_free(upload);
}

static void ranges_that_cannot_be_sent_are_left_out(void **state)
{
	struct upload *upload = connected(8, 8);
	upload_on_resend(upload, 0, 8, 9);
	upload_on_resend(upload, 0, 5, 4);
	upload_on_resend(upload, 0, UINT64_MAX, UINT64_MAX);
	assert_int_equal(ask(upload, 0).what, UPLOAD_NOTHING);
	upload_free(upload);
}

static void many_ranges_are_joined_and_none_is_lost(void **state)
{
	struct upload *upload = connected(40, 40);
	for (uint64_t i = 0; i < 8; i++)
		upload_on_resend(upload, 0, 30 - i * 4, 31 - i * 4);
	bool seen[40] = { false };
	for (struct upload_action action = ask(upload, 0); action.what != UPLOAD_NOTHING;
	     action = ask(upload, 0)) {
		build(upload, &action, action.count_max, 50);
		send_all(upload, 0);
		for (uint64_t height = 0; height < action.count_max; height++)
			seen[action.from + height] = true;
	}
	for (uint64_t i = 0; i < 8; i++)
		assert_true(seen[30 - i * 4] && seen[31 - i * 4]);
	upload_free(upload);
}

static void a_refused_range_is_asked_for_again_after_the_wait(void **state)
{
	struct upload *upload = connected(8, 8);
	upload_on_resend(upload, 0, 2, 3);
	struct upload_action action = ask(upload, 0);
	build(upload, &action, 2, 50);
	send_all(upload, 0);
	struct upload_reject reject = { .action = REJECTED_RETRY, .retry_after_ms = 1000 };
	upload_on_reject(upload, 0, &reject, 0);
	action = ask(upload, 1000);
	assert_int_equal(action.what, UPLOAD_BUILD);
	assert_int_equal(action.from, 2);
	assert_int_equal(action.count_max, 2);
	upload_free(upload);
}

static void a_source_that_cannot_be_read_is_tried_again_later(void **state)
{
	struct upload *upload = connected(8, 0);
	assert_int_equal(ask(upload, 0).what, UPLOAD_BUILD);
	upload_not_built(upload, 5000);
	assert_int_equal(status_of(upload, 0).state, UPLOAD_WAITING);
	assert_true(ask(upload, 1).wake_ms == 5000);
	assert_int_equal(ask(upload, 5000).what, UPLOAD_BUILD);
	upload_hold(upload, 0, HOLD_TOO_LARGE);
	assert_int_equal(ask(upload, 5000).what, UPLOAD_NOTHING);
	assert_int_equal(status_of(upload, 0).hold, HOLD_TOO_LARGE);
	upload_hold(upload, 0, HOLD_NONE);
	assert_int_equal(ask(upload, 5000).what, UPLOAD_BUILD);
	upload_free(upload);
}

static void chains_take_turns(void **state)
{
	struct upload *upload = connected(100, 0);
	struct upload_source source = { .next = 100 };
	upload_on_source(upload, 1, &source, 0);
	struct upload_welcome welcome = { .grant = GRANT_ACTIVE };
	upload_on_welcome(upload, 1, &welcome, 0);
	size_t last = 99;
	for (int i = 0; i < 6; i++) {
		struct upload_action action = ask(upload, 0);
		assert_int_not_equal(action.chain, last);
		last = action.chain;
		build(upload, &action, 2, 50);
		send_all(upload, 0);
	}
	upload_free(upload);
}

static void batches_that_wait_for_acks_are_bounded(void **state)
{
	struct upload *upload = connected(1000, 0);
	size_t count = 0;
	for (struct upload_action action = ask(upload, 0); action.what != UPLOAD_NOTHING;
	     action = ask(upload, 0)) {
		build(upload, &action, 1, 50);
		send_all(upload, 0);
		count++;
	}
	assert_int_equal(count, UPLOAD_FLIGHT_MAX);
	assert_true(upload_on_ack(upload, 0, 1, 0));
	assert_int_equal(ask(upload, 0).from, UPLOAD_FLIGHT_MAX);
	upload_free(upload);
}

/* ---- a small world: a lossy link and a gateway that must end with every block once, in order ---- */

struct world {
	uint64_t seed;
	uint64_t gateway_next;
	uint64_t partial_from, partial_count, partial_size;
	uint64_t credit_bytes, credit_batches;
	uint64_t accepted; /* Blocks, each counted when the gateway takes it. */
	bool linked;
	/* The batch on the wire. */
	uint64_t from, count, got, size;
};

static uint64_t draw(struct world *world, uint64_t bound)
{
	world->seed ^= world->seed << 13;
	world->seed ^= world->seed >> 7;
	world->seed ^= world->seed << 17;
	return world->seed % bound;
}

static uint64_t compressed_size(uint64_t from, uint64_t count)
{
	return 20 + (from * 7 + count * 31) % 300;
}

static void link_up(struct upload *upload, struct world *world, int64_t now_ms)
{
	upload_on_link(upload, &limits);
	world->credit_bytes = 400;
	world->credit_batches = 2;
	upload_on_credit(upload, world->credit_bytes, world->credit_batches);
	struct upload_welcome welcome = { .grant = GRANT_ACTIVE,
		                          .next_height = world->gateway_next };
	if (world->partial_size > 0 && world->partial_from == world->gateway_next) {
		welcome.partial_size = world->partial_size;
		welcome.partial_batch.bytes[0] = (uint8_t)world->partial_from;
		welcome.partial_batch.bytes[1] = (uint8_t)world->partial_count;
	}
	upload_on_welcome(upload, 0, &welcome, now_ms);
	world->linked = true;
}

/* The gateway has a whole batch: takes it, or asks for something else. */
static void gateway_takes(struct upload *upload, struct world *world, int64_t now_ms)
{
	world->credit_bytes += world->size;
	world->credit_batches++;
	upload_on_credit(upload, world->credit_bytes, world->credit_batches);
	if (world->from > world->gateway_next || draw(world, 10) == 0) {
		struct upload_reject reject = { .action = (enum upload_action_wanted)draw(world, 2),
			                        .next_height = world->gateway_next,
			                        .retry_after_ms = 50 };
		upload_on_reject(upload, 0, &reject, now_ms);
		return;
	}
	if (world->from + world->count > world->gateway_next) {
		world->accepted += world->from + world->count - world->gateway_next;
		world->gateway_next = world->from + world->count;
	}
	if (draw(world, 4) > 0) /* The ack may be lost: then the link is, too. */
		assert_true(upload_on_ack(upload, 0, world->gateway_next, now_ms));
	else
		world->linked = false;
}

static void one_step(struct upload *upload, struct world *world, int64_t *now_ms)
{
	struct upload_action action = ask(upload, *now_ms);
	switch (action.what) {
	case UPLOAD_NOTHING:
		*now_ms = action.wake_ms == INT64_MAX ? *now_ms + 10 : action.wake_ms;
		return;
	case UPLOAD_BUILD: {
		uint64_t count = 1 + draw(world, action.count_max);
		/* A batch that is planned is built whole. */
		count = action.count_max < 4 ? action.count_max : count;
		world->from = action.from;
		world->count = count;
		world->size = compressed_size(action.from, count);
		build(upload, &action, count, world->size);
		return;
	}
	case UPLOAD_SEND:
		if (draw(world, 12) == 0) { /* Lost on the way. */
			world->linked = false;
			return;
		}
		if (action.offset > 0 && action.offset != world->got)
			assert_int_equal(action.offset, world->partial_size);
		world->got = action.offset + action.size;
		world->partial_from = world->from;
		world->partial_count = world->count;
		world->partial_size = world->got;
		if (!action.last)
			return;
		assert_int_equal(world->got, world->size);
		world->partial_size = 0;
		gateway_takes(upload, world, *now_ms);
		return;
	}
}

static void every_block_arrives_once_and_in_order_over_a_bad_link(void **state)
{
	enum { BLOCKS = 200 };
	for (uint64_t seed = 1; seed <= 300; seed++) {
		struct upload *upload = NULL;
		assert_true(upload_new(&upload, &options, NULL));
		struct world world = { .seed = seed * UINT64_C(0x9e3779b97f4a7c15) };
		struct upload_source source = { 0 };
		int64_t now_ms = 0;
		int steps = 0;
		while (world.gateway_next < BLOCKS) {
			if (source.next < BLOCKS && draw(&world, 3) == 0) {
				source.next += 1 + draw(&world, 5);
				source.next = source.next > BLOCKS ? BLOCKS : source.next;
				source.bytes_total += 100;
				upload_on_source(upload, 0, &source, now_ms);
			}
			if (!world.linked) {
				upload_on_lost(upload);
				link_up(upload, &world, now_ms);
			}
			one_step(upload, &world, &now_ms);
			if (++steps > 100000)
				fail_msg("seed %llu makes no progress", (unsigned long long)seed);
		}
		assert_int_equal(world.accepted, BLOCKS);
		upload_free(upload);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(nothing_is_sent_without_a_link),
		cmocka_unit_test(the_first_batch_begins_at_what_the_gateway_lacks),
		cmocka_unit_test(the_lower_of_both_limits_counts),
		cmocka_unit_test(a_batch_goes_out_in_pieces_and_then_flies),
		cmocka_unit_test(a_new_block_waits_for_others_then_goes),
		cmocka_unit_test(enough_blocks_or_bytes_do_not_wait),
		cmocka_unit_test(credit_bounds_batches_and_bytes),
		cmocka_unit_test(the_slower_pace_is_kept),
		cmocka_unit_test(a_lost_link_is_resumed_in_the_middle_of_the_batch),
		cmocka_unit_test(another_partial_batch_is_sent_from_its_beginning),
		cmocka_unit_test(a_batch_in_flight_when_the_link_was_lost_is_built_just_so_again),
		cmocka_unit_test(resume_goes_on_where_the_gateway_says),
		cmocka_unit_test(one_gap_sends_us_back_once_whatever_was_behind_it),
		cmocka_unit_test(a_hold_for_a_batch_that_is_void_holds_nothing),
		cmocka_unit_test(resuming_in_circles_slows_down),
		cmocka_unit_test(retry_after_waits_and_sends_the_same_again),
		cmocka_unit_test(a_retry_after_has_a_least_and_a_most),
		cmocka_unit_test(hold_stops_one_chain_until_it_is_updated),
		cmocka_unit_test(each_grant_but_active_holds_or_stands_by),
		cmocka_unit_test(standby_takes_over_when_told),
		cmocka_unit_test(another_block_at_the_tip_holds_the_chain),
		cmocka_unit_test(a_gateway_that_has_more_than_our_own_ledger_holds_it),
		cmocka_unit_test(pruned_blocks_that_are_wanted_hold_until_they_are_back),
		cmocka_unit_test(impossible_heights_hold_the_chain),
		cmocka_unit_test(an_older_ack_moves_nothing_back),
		cmocka_unit_test(a_range_asked_for_again_goes_first_and_then_it_goes_on),
		cmocka_unit_test(ranges_that_cannot_be_sent_are_left_out),
		cmocka_unit_test(many_ranges_are_joined_and_none_is_lost),
		cmocka_unit_test(a_refused_range_is_asked_for_again_after_the_wait),
		cmocka_unit_test(a_source_that_cannot_be_read_is_tried_again_later),
		cmocka_unit_test(chains_take_turns),
		cmocka_unit_test(batches_that_wait_for_acks_are_bounded),
		cmocka_unit_test(every_block_arrives_once_and_in_order_over_a_bad_link),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
