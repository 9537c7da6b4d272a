/* mainchain.c -- what every main-chain adapter must keep, against a live main chain.
 *
 *     contract_mainchain --devchain PROGRAM
 *     contract_mainchain --adapter NAME --endpoint URL --trusted FILE [--ca FILE] [--certificate FILE]
 *                        [--key FILE] [--token FILE] [--proxy URL] [--lane-base N]
 *
 * The second form leaves out what needs a main chain that can be made to misbehave.
 */
#include <arpa/inet.h>
#include <event2/event.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "relay/base/file.h"
#include "tests/contract/chain_world.h"
#include "tests/lib/pki.h"

static struct world_setup setup;

static const char *const one_chain[] = { "meter-1", NULL };
static const char *const three_chains[] = { "meter-1", "meter-2", "meter-3", NULL };

static int set_up(void **state)
{
	struct chain_world *world = malloc(sizeof(*world));
	assert_non_null(world);
	world_init(world, &setup);
	*state = world;
	return 0;
}

static int tear_down(void **state)
{
	world_fini(*state);
	free(*state);
	return 0;
}

static void needs_devchain(void)
{
	if (setup.devchain == NULL) {
		print_message("skipped: this main chain cannot be made to misbehave\n");
		skip();
	}
}

/* ---- an honest main chain ---- */

static void a_fence_is_acquired_by_one(void **state)
{
	struct chain_world *world = *state;
	struct world_lane lane = world_lane(world);
	const struct world_answer *answer = world_fence(world, lane.lane, lane.fence - 1);
	assert_outcome(answer, MAINCHAIN_FENCED);
	assert_int_equal(answer->view.fence, lane.fence);
	answer = world_fence(world, lane.lane, lane.fence);
	assert_outcome(answer, MAINCHAIN_OK);
	assert_int_equal(answer->view.fence, lane.fence + 1);
	assert_int_equal(world_head(world, lane.lane)->view.fence, lane.fence + 1);

	struct world_anchor anchor;
	world_anchor(&anchor, &lane, 1, one_chain);
	answer = world_submit(world, &lane, &anchor); /* With the fence of before. */
	assert_outcome(answer, MAINCHAIN_FENCED);
	assert_int_equal(answer->view.fence, lane.fence + 1);
	assert_outcome(world_lookup(world, lane.lane, &anchor.key), MAINCHAIN_ABSENT);
	world_anchor_fini(&anchor);
}

static void what_was_submitted_can_be_asked_for_by_its_place(void **state)
{
	struct chain_world *world = *state;
	struct world_lane lane = world_lane(world);
	struct world_anchor anchor;
	world_anchor(&anchor, &lane, 2, three_chains);
	assert_outcome(world_content(world, lane.lane, anchor.anchor.seq), MAINCHAIN_ABSENT);
	(void)world_submit(world, &lane, &anchor);
	(void)world_lookup_final(world, lane.lane, &anchor.key);
	const struct world_answer *answer = world_content(world, lane.lane, anchor.anchor.seq);
	assert_outcome(answer, MAINCHAIN_OK);
	assert_true(bytes_equal(buffer_bytes(&answer->evidence), buffer_bytes(&anchor.content)));
	world_anchor_fini(&anchor);
}

static void an_anchor_is_included_then_final_with_evidence(void **state)
{
	struct chain_world *world = *state;
	struct world_lane lane = world_lane(world);
	struct world_anchor anchor;
	world_anchor(&anchor, &lane, 2, three_chains);
	assert_outcome(world_lookup(world, lane.lane, &anchor.key), MAINCHAIN_ABSENT);
	const struct world_answer *answer = world_submit(world, &lane, &anchor);
	if (answer->view.outcome != MAINCHAIN_FINAL)
		assert_outcome(answer, MAINCHAIN_INCLUDED);
	assert_true(answer->view.height > 0);
	answer = world_lookup_final(world, lane.lane, &anchor.key);

	struct buffer trusted = BUFFER_EMPTY, checks = BUFFER_EMPTY;
	struct err err;
	assert_true(file_read(world->trusted, 1 << 20, &trusted, &err));
	assert_true(setup.adapter->evidence_check(answer->view.evidence, buffer_bytes(&trusted),
	                                          &anchor.anchor, &anchor.key, &checks, &err));
	assert_true(checks.size > 0);
	struct buffer *evidence = (struct buffer *)(uintptr_t)&answer->evidence;
	for (size_t i = 0; i < evidence->size; i++) {
		evidence->data[i] ^= 0x10;
		assert_false(setup.adapter->evidence_check(buffer_bytes(evidence),
		                                           buffer_bytes(&trusted), &anchor.anchor,
		                                           &anchor.key, &checks, &err));
		evidence->data[i] ^= 0x10;
	}

	const struct world_answer *head = world_head(world, lane.lane);
	assert_outcome(head, MAINCHAIN_OK);
	assert_int_equal(head->view.seq, anchor.anchor.seq);
	assert_true(hash_equal(&head->view.root, &anchor.anchor.root));
	assert_true(hash_equal(&head->view.key, &anchor.key));
	buffer_fini(&trusted);
	buffer_fini(&checks);
	world_anchor_fini(&anchor);
}

static void a_repeated_key_gets_the_first_answer_again(void **state)
{
	struct chain_world *world = *state;
	struct world_lane lane = world_lane(world);
	struct world_anchor first, second;
	world_anchor(&first, &lane, 3, one_chain);
	assert_outcome(world_submit(world, &lane, &first), MAINCHAIN_INCLUDED);
	world_lane_follow(&lane, &first);
	world_anchor(&second, &lane, 4, one_chain);
	assert_outcome(world_submit(world, &lane, &second), MAINCHAIN_INCLUDED);

	/* The head and even the fence have moved on. */
	assert_outcome(world_fence(world, lane.lane, lane.fence), MAINCHAIN_OK);
	const struct world_answer *answer = world_submit(world, &lane, &first);
	if (answer->view.outcome != MAINCHAIN_FINAL)
		assert_outcome(answer, MAINCHAIN_INCLUDED);
	assert_int_equal(world_head(world, lane.lane)->view.seq, second.anchor.seq);
	world_anchor_fini(&first);
	world_anchor_fini(&second);
}

static void a_known_key_with_another_body_is_rejected(void **state)
{
	struct chain_world *world = *state;
	struct world_lane lane = world_lane(world);
	struct world_anchor first, changed;
	world_anchor(&first, &lane, 5, one_chain);
	world_anchor(&changed, &lane, 6, one_chain);
	assert_outcome(world_submit(world, &lane, &first), MAINCHAIN_INCLUDED);
	changed.key = first.key;
	assert_rejected(world_submit(world, &lane, &changed), MAINCHAIN_REJECT_CHANGED);
	world_anchor_fini(&first);
	world_anchor_fini(&changed);
}

static void a_key_that_is_not_the_hash_is_rejected(void **state)
{
	struct chain_world *world = *state;
	struct world_lane lane = world_lane(world);
	struct world_anchor anchor;
	world_anchor(&anchor, &lane, 7, one_chain);
	anchor.key.bytes[5] ^= 1;
	const struct world_answer *answer = world_submit(world, &lane, &anchor);
	assert_rejected(answer, MAINCHAIN_REJECT_CONTENT);
	assert_int_equal(answer->view.entry_index, -1);
	assert_outcome(world_lookup(world, lane.lane, &anchor.key), MAINCHAIN_ABSENT);
	world_anchor_fini(&anchor);
}

static void what_does_not_follow_on_the_head_is_rejected(void **state)
{
	struct chain_world *world = *state;
	struct world_lane lane = world_lane(world);
	struct world_anchor first;
	world_anchor(&first, &lane, 8, one_chain);
	assert_outcome(world_submit(world, &lane, &first), MAINCHAIN_INCLUDED);
	world_lane_follow(&lane, &first);
	world_anchor_fini(&first);
	for (int i = 0; i < 3; i++) {
		struct world_anchor anchor;
		world_anchor(&anchor, &lane, 9, one_chain);
		if (i == 0) {
			anchor.anchor.seq++;
		} else if (i == 1) {
			anchor.anchor.previous.bytes[0] ^= 1;
		} else {
			anchor.anchor.seq = 1;
			anchor.anchor.previous = (struct hash){ { 0 } };
		}
		world_anchor_seal(&anchor);
		assert_rejected(world_submit(world, &lane, &anchor), MAINCHAIN_REJECT_PREVIOUS);
		world_anchor_fini(&anchor);
	}
}

static void two_anchors_for_one_place_are_one(void **state)
{
	struct chain_world *world = *state;
	struct world_lane lane = world_lane(world);
	struct world_anchor a, b;
	world_anchor(&a, &lane, 9, one_chain);
	world_anchor(&b, &lane, 10, one_chain);
	uint64_t first = world_submit_begin(world, &lane, &a);
	uint64_t second = world_submit_begin(world, &lane, &b);
	const struct world_answer *one = world_wait(world, first);
	const struct world_answer *two = world_wait(world, second);
	bool one_won = one->view.outcome == MAINCHAIN_INCLUDED;
	assert_outcome(one_won ? one : two, MAINCHAIN_INCLUDED);
	assert_rejected(one_won ? two : one, MAINCHAIN_REJECT_PREVIOUS);
	assert_int_equal(world_head(world, lane.lane)->view.seq, lane.seq + 1);
	world_anchor_fini(&a);
	world_anchor_fini(&b);
}

static void a_full_anchor_needs_its_batches_first(void **state)
{
	struct chain_world *world = *state;
	struct world_lane lane = world_lane(world);
	struct world_anchor anchor;
	uint8_t payload[70000];
	for (size_t i = 0; i < sizeof(payload); i++)
		payload[i] = (uint8_t)(i * 7 + lane.fence);
	world_anchor(&anchor, &lane, 11, one_chain);
	anchor.batch.content = sha256(BYTES_OF(payload));
	anchor.batch.size_bytes = sizeof(payload);
	anchor.anchor.deliver = DELIVER_FULL;
	anchor.anchor.batches = &anchor.batch;
	anchor.anchor.batch_count = 1;
	world_anchor_seal(&anchor);

	const struct world_answer *answer = world_submit(world, &lane, &anchor);
	assert_rejected(answer, MAINCHAIN_REJECT_MISSING);
	assert_true(hash_equal(&answer->view.content, &anchor.batch.content));
	assert_outcome(world_put(world, BYTES_OF(payload)), MAINCHAIN_OK);
	assert_outcome(world_put(world, BYTES_OF(payload)), MAINCHAIN_OK);
	assert_outcome(world_submit(world, &lane, &anchor), MAINCHAIN_INCLUDED);
	world_anchor_fini(&anchor);
}

static void what_is_no_anchor_never_leaves(void **state)
{
	struct chain_world *world = *state;
	struct hash key = sha256(BYTES_NONE);
	struct err err;
	assert_false(
		setup.adapter->submit(world->mainchain, 1, &key, BYTES_LITERAL("ZRa1"), 1, &err));
	assert_int_equal(err.code, ZR_INVALID);
	world_run(world, 20);
	assert_int_equal(world->answer_count, 0);
}

static void a_lane_never_used_has_an_empty_head(void **state)
{
	struct chain_world *world = *state;
	const struct world_answer *answer = world_head(world, 65535);
	assert_outcome(answer, MAINCHAIN_OK);
	assert_int_equal(answer->view.seq, 0);
	assert_true(hash_is_zero(&answer->view.root) && hash_is_zero(&answer->view.key));
}

static void calls_are_bounded_and_each_is_answered_once(void **state)
{
	struct chain_world *world = *state;
	struct err err;
	uint64_t begun = 0;
	while (setup.adapter->head(world->mainchain, begun + 1, 1, &err))
		begun++;
	assert_int_equal(err.code, ZR_FULL);
	/* Nothing has run yet, so all of them wait. */
	assert_int_equal(begun, world->options.in_flight_max * 4);
	for (uint64_t token = 1; token <= begun; token++)
		assert_outcome(world_wait(world, token), MAINCHAIN_OK);
	world_run(world, 20);
	assert_int_equal(world->answer_count, begun);
}

static void calls_under_way_get_no_answer_after_close(void **state)
{
	struct chain_world *world = *state;
	struct err err;
	for (uint64_t token = 1; token <= 6; token++)
		assert_true(setup.adapter->head(world->mainchain, token, 1, &err));
	world_disconnect(world); /* None begun. */
	world_connect(world);
	for (uint64_t token = 1; token <= 6; token++)
		assert_true(setup.adapter->head(world->mainchain, token, 1, &err));
	event_base_loop(world->base, EVLOOP_NONBLOCK); /* Some begun. */
	size_t answered = world->answer_count;
	world_disconnect(world);
	world_connect(world);
	world_run(world, 50);
	assert_int_equal(world->answer_count, answered);
}

/* ---- a main chain that is away, or loses answers ---- */

static void a_lost_answer_is_unknown_until_looked_up(void **state)
{
	needs_devchain();
	static const char *const ways[] = {
		"{\"do\":\"drop-after\",\"on\":\"submit\",\"count\":1}",
		"{\"do\":\"error-after\",\"on\":\"submit\",\"count\":1,\"status\":502}",
		"{\"do\":\"garble\",\"on\":\"submit\",\"count\":1}",
	};
	struct chain_world *world = *state;
	struct world_lane lane = world_lane(world);
	for (size_t i = 0; i < sizeof(ways) / sizeof(ways[0]); i++) {
		struct world_anchor anchor;
		world_anchor(&anchor, &lane, 20 + i, one_chain);
		world_misbehave(world, ways[i]);
		assert_outcome(world_submit(world, &lane, &anchor), MAINCHAIN_UNKNOWN);
		(void)world_lookup_final(world, lane.lane, &anchor.key);
		assert_int_equal(world_head(world, lane.lane)->view.seq, anchor.anchor.seq);
		world_lane_follow(&lane, &anchor);
		world_anchor_fini(&anchor);
	}
}

static void a_lost_request_is_unknown_and_absent(void **state)
{
	needs_devchain();
	static const char *const ways[] = {
		"{\"do\":\"drop-before\",\"on\":\"submit\",\"count\":1}",
		"{\"do\":\"error-before\",\"on\":\"submit\",\"count\":1}",
	};
	struct chain_world *world = *state;
	struct world_lane lane = world_lane(world);
	for (size_t i = 0; i < sizeof(ways) / sizeof(ways[0]); i++) {
		struct world_anchor anchor;
		world_anchor(&anchor, &lane, 30 + i, one_chain);
		world_misbehave(world, ways[i]);
		assert_outcome(world_submit(world, &lane, &anchor), MAINCHAIN_UNKNOWN);
		assert_outcome(world_lookup(world, lane.lane, &anchor.key), MAINCHAIN_ABSENT);
		assert_outcome(world_submit(world, &lane, &anchor), MAINCHAIN_INCLUDED);
		world_lane_follow(&lane, &anchor);
		world_anchor_fini(&anchor);
	}
}

static void an_answer_cut_at_any_byte_is_unknown(void **state)
{
	needs_devchain();
	struct chain_world *world = *state;
	struct world_lane lane = world_lane(world);
	bool whole = false;
	for (unsigned size = 0; !whole; size += 23) {
		char rule[96];
		struct world_anchor anchor;
		world_anchor(&anchor, &lane, 40 + size, one_chain);
		(void)snprintf(rule, sizeof(rule),
		               "{\"do\":\"reset\",\"on\":\"submit\",\"count\":1,\"bytes\":%u}",
		               size);
		world_misbehave(world, rule);
		const struct world_answer *answer = world_submit(world, &lane, &anchor);
		whole = answer->view.outcome == MAINCHAIN_INCLUDED;
		if (!whole)
			assert_outcome(answer, MAINCHAIN_UNKNOWN);
		answer = world_lookup(world, lane.lane, &anchor.key);
		if (answer->view.outcome != MAINCHAIN_FINAL)
			assert_outcome(answer, MAINCHAIN_INCLUDED);
		world_lane_follow(&lane, &anchor);
		world_anchor_fini(&anchor);
		assert_true(size < 2000);
	}
}

static void an_answer_too_late_is_unknown(void **state)
{
	needs_devchain();
	struct chain_world *world = *state;
	struct world_lane lane = world_lane(world);
	struct world_anchor anchor;
	world_disconnect(world);
	world->options.connect_timeout_ms = 100;
	world->options.answer_timeout_ms = 200;
	world_connect(world);
	world_anchor(&anchor, &lane, 50, one_chain);
	world_misbehave(world, "{\"do\":\"slow\",\"ms\":1500,\"count\":1}");
	assert_outcome(world_submit(world, &lane, &anchor), MAINCHAIN_UNKNOWN);
	(void)world_lookup_final(world, lane.lane, &anchor.key);
	world_anchor_fini(&anchor);
}

static void a_main_chain_killed_before_the_block_has_nothing_of_it(void **state)
{
	needs_devchain();
	struct chain_world *world = *state;
	struct world_lane lane = world_lane(world);
	struct world_anchor anchor;
	world_anchor(&anchor, &lane, 60, one_chain);
	world_misbehave(world, "{\"do\":\"hold-blocks\"}");
	uint64_t token = world_submit_begin(world, &lane, &anchor);
	world_run(world, 100);
	assert_int_equal(world->answer_count, 2); /* Head and fence of the lane. */
	world_kill(world);
	assert_outcome(world_wait(world, token), MAINCHAIN_UNKNOWN);
	world_start(world);
	assert_outcome(world_lookup(world, lane.lane, &anchor.key), MAINCHAIN_ABSENT);
	assert_outcome(world_submit(world, &lane, &anchor), MAINCHAIN_INCLUDED);
	world_anchor_fini(&anchor);
}

static void while_it_is_away_nothing_was_sent_and_after_it_all_is_there(void **state)
{
	needs_devchain();
	struct chain_world *world = *state;
	struct world_lane lane = world_lane(world);
	struct world_anchor first, second;
	world_anchor(&first, &lane, 70, one_chain);
	assert_outcome(world_submit(world, &lane, &first), MAINCHAIN_INCLUDED);
	world_lane_follow(&lane, &first);
	world_anchor(&second, &lane, 71, one_chain);

	world_kill(world); /* The adapter still has a connection from before. */
	assert_outcome(world_submit(world, &lane, &second), MAINCHAIN_UNSENT);
	assert_outcome(world_fence(world, lane.lane, lane.fence), MAINCHAIN_UNSENT);
	struct mainchain_endpoint_status status;
	setup.adapter->endpoint_status(world->mainchain, 0, &status);
	assert_false(status.up);
	assert_true(status.failure_count >= 2);

	world_start(world);
	(void)world_lookup_final(world, lane.lane, &first.key);
	const struct world_answer *head = world_head(world, lane.lane);
	assert_int_equal(head->view.seq, first.anchor.seq);
	assert_int_equal(head->view.fence, lane.fence);
	assert_outcome(world_submit(world, &lane, &second), MAINCHAIN_INCLUDED);
	setup.adapter->endpoint_status(world->mainchain, 0, &status);
	assert_true(status.up && !status.behind);
	assert_int_equal(world_stop(world), 0);
	world_start(world);
	assert_int_equal(world_head(world, lane.lane)->view.seq, second.anchor.seq);
	world_anchor_fini(&first);
	world_anchor_fini(&second);
}

static void busy_is_unsent_and_says_when(void **state)
{
	needs_devchain();
	struct chain_world *world = *state;
	struct world_lane lane = world_lane(world);
	struct world_anchor anchor;
	world_anchor(&anchor, &lane, 80, one_chain);
	world_misbehave(world, "{\"do\":\"busy\",\"retry_after_s\":7,\"count\":1}");
	const struct world_answer *answer = world_submit(world, &lane, &anchor);
	assert_outcome(answer, MAINCHAIN_UNSENT);
	assert_int_equal(answer->view.retry_after_ms, 7000);
	assert_outcome(world_submit(world, &lane, &anchor), MAINCHAIN_INCLUDED);
	world_anchor_fini(&anchor);
}

static void denied_says_so_and_voids_nothing(void **state)
{
	needs_devchain();
	struct chain_world *world = *state;
	struct world_lane lane = world_lane(world);
	struct world_anchor anchor;
	world_anchor(&anchor, &lane, 90, one_chain);
	world_misbehave(world, "{\"do\":\"deny\"}");
	assert_rejected(world_submit(world, &lane, &anchor), MAINCHAIN_REJECT_DENIED);
	const struct world_answer *answer = world_lookup(world, lane.lane, &anchor.key);
	assert_outcome(answer, MAINCHAIN_UNKNOWN);
	assert_int_equal(answer->view.reject, MAINCHAIN_REJECT_DENIED);
	world_misbehave(world, "");
	assert_outcome(world_submit(world, &lane, &anchor), MAINCHAIN_INCLUDED);
	world_anchor_fini(&anchor);
}

static void a_refused_entry_is_named(void **state)
{
	needs_devchain();
	struct chain_world *world = *state;
	struct world_lane lane = world_lane(world);
	struct world_anchor anchor;
	world_anchor(&anchor, &lane, 100, three_chains);
	world_misbehave(world, "{\"do\":\"refuse-chain\",\"chain\":\"meter-2\"}");
	const struct world_answer *answer = world_submit(world, &lane, &anchor);
	assert_rejected(answer, MAINCHAIN_REJECT_CONTENT);
	assert_int_equal(answer->view.entry_index, 1);
	assert_outcome(world_lookup(world, lane.lane, &anchor.key), MAINCHAIN_ABSENT);
	world_anchor_fini(&anchor);
}

/* ---- a main chain that lies, lags or forgets ---- */

static void bad_evidence_is_never_final(void **state)
{
	needs_devchain();
	struct chain_world *world = *state;
	struct world_lane lane = world_lane(world);
	struct world_anchor anchor;
	world_anchor(&anchor, &lane, 110, one_chain);
	assert_outcome(world_submit(world, &lane, &anchor), MAINCHAIN_INCLUDED);
	(void)world_lookup_final(world, lane.lane, &anchor.key);
	world_misbehave(world, "{\"do\":\"bad-evidence\"}");
	const struct world_answer *answer = world_lookup(world, lane.lane, &anchor.key);
	assert_outcome(answer, MAINCHAIN_UNKNOWN);
	assert_int_equal(answer->view.evidence.size, 0);
	assert_non_null(strstr(answer->detail, "evidence"));
	world_anchor_fini(&anchor);
}

static void absent_from_a_node_that_lags_is_unknown(void **state)
{
	needs_devchain();
	struct chain_world *world = *state;
	struct world_lane lane = world_lane(world);
	struct world_anchor anchor;
	world_anchor(&anchor, &lane, 120, one_chain);
	assert_outcome(world_submit(world, &lane, &anchor), MAINCHAIN_INCLUDED);
	(void)world_lookup_final(world, lane.lane, &anchor.key);
	world_misbehave(world, "{\"do\":\"stale\",\"blocks\":50}");
	assert_outcome(world_lookup(world, lane.lane, &anchor.key), MAINCHAIN_UNKNOWN);
	struct mainchain_endpoint_status status;
	setup.adapter->endpoint_status(world->mainchain, 0, &status);
	assert_true(status.up && status.behind);
	/* A head is given as it is, with the height it is of. */
	const struct world_answer *head = world_head(world, lane.lane);
	assert_outcome(head, MAINCHAIN_OK);
	assert_int_equal(head->view.seq, 0);
	world_misbehave(world, "");
	assert_outcome(world_lookup(world, lane.lane, &anchor.key), MAINCHAIN_FINAL);
	setup.adapter->endpoint_status(world->mainchain, 0, &status);
	assert_false(status.behind);
	world_anchor_fini(&anchor);
}

static void what_a_reorganisation_drops_is_absent_and_may_come_again(void **state)
{
	needs_devchain();
	struct chain_world *world = *state;
	struct world_lane lane = world_lane(world);
	struct world_anchor anchor;
	world_misbehave(world, "{\"do\":\"hold-finality\"}");
	world_anchor(&anchor, &lane, 130, one_chain);
	const struct world_answer *answer = world_submit(world, &lane, &anchor);
	assert_outcome(answer, MAINCHAIN_INCLUDED);
	world_misbehave(world, "{\"do\":\"hold-finality\"},"
	                       "{\"do\":\"reorganise\",\"blocks\":1000,\"count\":1}");
	world_post(world, "/dev/blocks", "{\"count\":1}");
	assert_outcome(world_lookup(world, lane.lane, &anchor.key), MAINCHAIN_ABSENT);
	assert_int_equal(world_head(world, lane.lane)->view.seq, lane.seq);
	assert_outcome(world_submit(world, &lane, &anchor), MAINCHAIN_INCLUDED);
	world_misbehave(world, "");
	(void)world_lookup_final(world, lane.lane, &anchor.key);
	world_anchor_fini(&anchor);
}

static void a_restored_main_chain_shows_in_its_head(void **state)
{
	needs_devchain();
	struct chain_world *world = *state;
	struct world_lane lane = world_lane(world);
	struct world_anchor first, second;
	world_anchor(&first, &lane, 140, one_chain);
	assert_outcome(world_submit(world, &lane, &first), MAINCHAIN_INCLUDED);
	(void)world_lookup_final(world, lane.lane, &first.key);
	world_post(world, "/dev/snapshot", "{\"name\":\"old\"}");
	world_lane_follow(&lane, &first);
	world_anchor(&second, &lane, 141, one_chain);
	assert_outcome(world_submit(world, &lane, &second), MAINCHAIN_INCLUDED);
	(void)world_lookup_final(world, lane.lane, &second.key);
	assert_outcome(world_fence(world, lane.lane, lane.fence), MAINCHAIN_OK);

	world_post(world, "/dev/restore", "{\"name\":\"old\"}");
	const struct world_answer *head = world_head(world, lane.lane);
	assert_outcome(head, MAINCHAIN_OK);
	assert_int_equal(head->view.seq, first.anchor.seq);
	assert_int_equal(head->view.fence, lane.fence);
	/* It is not past the height at which it was final, so this is no word of absence. */
	assert_outcome(world_lookup(world, lane.lane, &second.key), MAINCHAIN_UNKNOWN);
	world_anchor_fini(&first);
	world_anchor_fini(&second);
}

/* ---- of the http adapter: endpoints, files, TLS ---- */

static void a_dead_endpoint_is_passed_over(void **state)
{
	needs_devchain();
	struct chain_world *world = *state;
	const char *urls[] = { "http://127.0.0.1:9", world->url };
	struct world_lane lane = world_lane(world);
	struct world_anchor anchor;
	world_disconnect(world);
	world->options.endpoints = urls;
	world->options.endpoint_count = 2;
	world_connect(world);
	world_anchor(&anchor, &lane, 150, one_chain);
	assert_outcome(world_submit(world, &lane, &anchor), MAINCHAIN_INCLUDED);
	for (int i = 0; i < 5; i++)
		assert_outcome(world_head(world, lane.lane), MAINCHAIN_OK);
	assert_int_equal(setup.adapter->endpoint_count(world->mainchain), 2);
	struct mainchain_endpoint_status dead, well;
	setup.adapter->endpoint_status(world->mainchain, 0, &dead);
	setup.adapter->endpoint_status(world->mainchain, 1, &well);
	assert_true(!dead.up && well.up);
	assert_int_equal(dead.call_count, 1); /* It cools down; nobody waits for it. */
	assert_int_equal(dead.failure_count, 1);
	assert_int_equal(well.call_count, 6);
	assert_int_equal(well.failure_count, 0);
	assert_true(well.bytes_out > 500 && well.bytes_in > 500 && well.height > 0);
	world_anchor_fini(&anchor);
}

static void a_submission_in_doubt_is_not_sent_to_a_second_endpoint(void **state)
{
	needs_devchain();
	struct chain_world *world = *state;
	struct world_lane lane = world_lane(world);
	struct world_anchor anchor;
	char same[WORLD_PATH_SIZE];
	const char *urls[] = { world->url, same };
	world_disconnect(world);
	(void)snprintf(same, sizeof(same), "http://localhost:%u", world->port);
	world->options.endpoints = urls;
	world->options.endpoint_count = 2;
	world_connect(world);
	world_anchor(&anchor, &lane, 160, one_chain);
	world_misbehave(world, "{\"do\":\"drop-before\",\"count\":1}");
	assert_outcome(world_submit(world, &lane, &anchor), MAINCHAIN_UNKNOWN);
	struct mainchain_endpoint_status first, second;
	setup.adapter->endpoint_status(world->mainchain, 0, &first);
	setup.adapter->endpoint_status(world->mainchain, 1, &second);
	assert_int_equal(first.call_count, 1);
	assert_int_equal(second.call_count, 0);

	/* A look-up is: the second one, as the first failed just now; and then the first after all. */
	world_misbehave(world, "{\"do\":\"drop-before\",\"on\":\"lookup\",\"count\":1}");
	assert_outcome(world_lookup(world, lane.lane, &anchor.key), MAINCHAIN_ABSENT);
	setup.adapter->endpoint_status(world->mainchain, 0, &first);
	setup.adapter->endpoint_status(world->mainchain, 1, &second);
	assert_true(first.call_count == 2 && first.failure_count == 1 && first.up);
	assert_true(second.call_count == 1 && second.failure_count == 1 && !second.up);
	world_anchor_fini(&anchor);
}

static void doubt_at_one_endpoint_outlives_the_refusal_of_the_next(void **state)
{
	needs_devchain();
	struct chain_world *world = *state;
	struct world_lane lane = world_lane(world);
	struct world_anchor anchor;
	const char *urls[] = { world->url, "http://127.0.0.1:9" };
	world_disconnect(world);
	world->options.endpoints = urls;
	world->options.endpoint_count = 2;
	world_connect(world);
	world_anchor(&anchor, &lane, 165, one_chain);
	world_misbehave(world, "{\"do\":\"drop-before\",\"on\":\"lookup\",\"count\":1}");
	assert_outcome(world_lookup(world, lane.lane, &anchor.key), MAINCHAIN_UNKNOWN);
	struct mainchain_endpoint_status first, second;
	setup.adapter->endpoint_status(world->mainchain, 0, &first);
	setup.adapter->endpoint_status(world->mainchain, 1, &second);
	assert_true(first.failure_count == 1 && second.failure_count == 1);
	world_anchor_fini(&anchor);
}

static void write_text(const char *path, const char *text)
{
	assert_true(file_write_atomic(path, bytes_of_string(text), 0600, NULL));
}

static void the_token_is_read_again_when_its_file_changes(void **state)
{
	needs_devchain();
	struct chain_world *world = *state;
	char path[WORLD_PATH_SIZE + 16], server[WORLD_PATH_SIZE + 16];
	(void)snprintf(path, sizeof(path), "%s/token", world->folder);
	(void)snprintf(server, sizeof(server), "%s/server-token", world->folder);
	write_text(path, "wrong\n");
	write_text(server, "right-one\n");
	world_disconnect(world);
	world_kill(world);
	world->devchain_arguments[0] = "--token-file";
	world->devchain_arguments[1] = server;
	world_start(world);
	world->options.token_file = path;
	world_connect(world);
	const struct world_answer *answer = world_head(world, 1);
	assert_outcome(answer, MAINCHAIN_UNKNOWN);
	assert_int_equal(answer->view.reject, MAINCHAIN_REJECT_DENIED);
	write_text(path, "right-one\n");
	assert_outcome(world_head(world, 1), MAINCHAIN_OK);
}

static void a_reload_takes_new_options_or_keeps_the_old(void **state)
{
	needs_devchain();
	struct chain_world *world = *state;
	struct err err;
	struct mainchain_options bad = world->options;
	bad.ca_file = "/nowhere/ca.pem";
	assert_outcome(world_head(world, 1), MAINCHAIN_OK);
	assert_false(setup.adapter->reload(world->mainchain, &bad, &err));
	assert_outcome(world_head(world, 1), MAINCHAIN_OK);

	/* With calls under way: they end, and end where they began. */
	const char *urls[] = { "http://127.0.0.1:9", world->url };
	struct mainchain_options more = world->options;
	more.endpoints = urls;
	more.endpoint_count = 2;
	world_misbehave(world, "{\"do\":\"slow\",\"ms\":200,\"count\":2}");
	assert_true(setup.adapter->head(world->mainchain, 1001, 1, &err));
	assert_true(setup.adapter->head(world->mainchain, 1002, 1, &err));
	world_run(world, 50);
	assert_true(setup.adapter->reload(world->mainchain, &more, &err));
	assert_int_equal(setup.adapter->endpoint_count(world->mainchain), 2);
	assert_outcome(world_wait(world, 1001), MAINCHAIN_OK);
	assert_outcome(world_wait(world, 1002), MAINCHAIN_OK);
	assert_outcome(world_head(world, 1), MAINCHAIN_OK);
	struct mainchain_endpoint_status status;
	setup.adapter->endpoint_status(world->mainchain, 1, &status);
	assert_int_equal(status.call_count, 1);
	assert_true(setup.adapter->reload(world->mainchain, &world->options, &err));
	assert_outcome(world_head(world, 1), MAINCHAIN_OK);
}

static void with_mutual_tls_only_the_right_certificates_speak(void **state)
{
	needs_devchain();
	struct chain_world *world = *state;
	struct pki pki, other;
	char ca[PKI_PATH_SIZE], certificate[PKI_PATH_SIZE], key[PKI_PATH_SIZE];
	char other_ca[PKI_PATH_SIZE], client[PKI_PATH_SIZE], client_key[PKI_PATH_SIZE];
	pki_init(&pki, "(lambda pki: (pki.issue('client', '/CN=zone iii', None, 'clientAuth'),"
	               " pki.issue('elsewhere', '/CN=elsewhere', 'DNS:elsewhere.example',"
	               " 'serverAuth')))(make_pki(folder))");
	pki_init(&other, "make_pki(folder)");
	pki_path(&pki, "ca.pem", ca);
	pki_path(&pki, "gateway.pem", certificate);
	pki_path(&pki, "gateway.key", key);
	pki_path(&pki, "client.pem", client);
	pki_path(&pki, "client.key", client_key);
	pki_path(&other, "ca.pem", other_ca);
	world_disconnect(world);
	world_kill(world);
	const char *arguments[] = { "--tls-certificate", certificate, "--tls-key", key,
		                    "--tls-ca",          ca };
	memcpy(world->devchain_arguments, arguments, sizeof(arguments));
	world_start(world);
	char url[64];
	const char *urls[] = { url };
	(void)snprintf(url, sizeof(url), "https://127.0.0.1:%u", world->port);
	world->options.endpoints = urls;
	world->options.ca_file = other_ca;
	world_connect(world);
	struct world_lane lane = { .lane = 9, .fence = 1 };
	struct world_anchor anchor;
	world_anchor(&anchor, &lane, 170, one_chain);
	/* We do not trust the server: nothing leaves. */
	assert_outcome(world_submit(world, &lane, &anchor), MAINCHAIN_UNSENT);

	/* The server does not trust us. It says so after our half of the handshake, when we may have
	 * sent something already. */
	struct err err;
	world->options.ca_file = ca;
	assert_true(setup.adapter->reload(world->mainchain, &world->options, &err));
	assert_outcome(world_head(world, lane.lane), MAINCHAIN_UNKNOWN);

	/* A key that is not the certificate's is found before it is used. */
	world->options.certificate_file = client;
	world->options.key_file = key;
	assert_false(setup.adapter->reload(world->mainchain, &world->options, &err));
	assert_int_equal(err.code, ZR_INVALID);

	world->options.key_file = client_key;
	assert_true(setup.adapter->reload(world->mainchain, &world->options, &err));
	assert_outcome(world_fence(world, lane.lane, 0), MAINCHAIN_OK);
	assert_outcome(world_submit(world, &lane, &anchor), MAINCHAIN_INCLUDED);
	(void)world_lookup_final(world, lane.lane, &anchor.key);

	/* Whoever else has a certificate of that CA is not our main chain. */
	world_kill(world);
	pki_path(&pki, "elsewhere.pem", certificate);
	pki_path(&pki, "elsewhere.key", key);
	world_start(world);
	(void)snprintf(url, sizeof(url), "https://127.0.0.1:%u", world->port);
	assert_true(setup.adapter->reload(world->mainchain, &world->options, &err));
	assert_outcome(world_submit(world, &lane, &anchor), MAINCHAIN_UNSENT);
	world_anchor_fini(&anchor);
	pki_fini(&pki);
	pki_fini(&other);
}

/* Says head to whoever asks, then more again and again, until the other side has had enough. */
static void speak(int peer, const char *head, const char *more, unsigned pause_us)
{
	char request[4096];
	ssize_t sent = read(peer, request, sizeof(request));
	if (sent > 0)
		sent = write(peer, head, strlen(head));
	while (more != NULL && sent > 0) {
		usleep(pause_us);
		sent = write(peer, more, strlen(more));
	}
}

/* A server, or a proxy, that says the same to everything, until it is killed. */
static pid_t start_parrot(const char *head, const char *more, unsigned pause_us, uint16_t *out_port)
{
	struct sockaddr_in address = { .sin_family = AF_INET };
	socklen_t size = sizeof(address);
	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	int fd = socket(AF_INET, SOCK_STREAM, 0);
	assert_true(fd >= 0 && bind(fd, (struct sockaddr *)&address, sizeof(address)) == 0);
	assert_true(listen(fd, 8) == 0);
	assert_true(getsockname(fd, (struct sockaddr *)&address, &size) == 0);
	*out_port = ntohs(address.sin_port);
	pid_t pid = fork();
	while (pid == 0) {
		int peer = accept(fd, NULL, NULL);
		if (peer < 0)
			_exit(1);
		speak(peer, head, more, pause_us);
		close(peer);
	}
	close(fd);
	assert_true(pid > 0);
	return pid;
}

static void end_parrot(pid_t pid)
{
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
}

static void an_answer_without_end_is_unknown_and_costs_little(void **state)
{
	needs_devchain();
	static const struct {
		const char *head, *more;
		unsigned pause_us;
	} ways[] = {
		{ "HTTP/1.1 200 OK\r\n\r\n",
		  "{\"a\":[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[",
		  0 },
		{ "HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n", "xxxxxxxxxxxxxxxx", 0 },
		{ "HTTP/1.1 200 OK\r\n", "X-More: more and more and more and more and more\r\n",
		  0 },
		{ "HTTP/1.1 100 Continue\r\n\r\n", "HTTP/1.1 100 Continue\r\n\r\n", 0 },
		{ "HTTP/1.1 200 OK\r\n\r\n", " ", 50000 },
		{ "SSH-2.0-OpenSSH_9.2\r\n", NULL, 0 },
		{ "HTTP/1.1 301 Go\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n",
		  NULL, 0 },
	};
	struct chain_world *world = *state;
	struct world_lane lane = { .lane = 9, .fence = 1 };
	for (size_t i = 0; i < sizeof(ways) / sizeof(ways[0]); i++) {
		struct world_anchor anchor;
		char url[64];
		const char *urls[] = { url };
		uint16_t port;
		pid_t pid = start_parrot(ways[i].head, ways[i].more, ways[i].pause_us, &port);
		(void)snprintf(url, sizeof(url), "http://127.0.0.1:%u", port);
		world_disconnect(world);
		world->options.endpoints = urls;
		world->options.connect_timeout_ms = 300;
		world->options.answer_timeout_ms = 300;
		world_connect(world);
		world_anchor(&anchor, &lane, 190 + i, one_chain);
		const struct world_answer *submit = world_submit(world, &lane, &anchor);
		const struct world_answer *head = world_head(world, lane.lane);
		end_parrot(pid);
		assert_outcome(submit, MAINCHAIN_UNKNOWN);
		assert_outcome(head, MAINCHAIN_UNKNOWN);
		struct mainchain_endpoint_status status;
		setup.adapter->endpoint_status(world->mainchain, 0, &status);
		assert_int_equal(status.failure_count, 2);
		assert_true(status.bytes_in < 2u << 20);
		world_anchor_fini(&anchor);
	}
}

/* Wherever it leads: the zone file says who the main chain is. */
static void nobody_sends_us_to_another_main_chain(void **state)
{
	needs_devchain();
	struct chain_world *world = *state;
	char head[256], url[64];
	const char *urls[] = { url };
	uint16_t port;
	assert_outcome(world_head(world, 9), MAINCHAIN_OK);
	(void)snprintf(head, sizeof(head),
	               "HTTP/1.1 307 Go\r\nLocation: http://127.0.0.1:%u/v1/lanes/9/head\r\n"
	               "Content-Length: 0\r\n\r\n",
	               world->port);
	pid_t pid = start_parrot(head, NULL, 0, &port);
	(void)snprintf(url, sizeof(url), "http://127.0.0.1:%u", port);
	world_disconnect(world);
	world->options.endpoints = urls;
	world_connect(world);
	const struct world_answer *answer = world_head(world, 9);
	end_parrot(pid);
	assert_outcome(answer, MAINCHAIN_UNKNOWN);
}

static void what_a_proxy_refuses_to_connect_was_not_sent(void **state)
{
	needs_devchain();
	struct chain_world *world = *state;
	struct world_lane lane = { .lane = 9, .fence = 1 };
	struct world_anchor anchor;
	uint16_t port;
	char proxy[64];
	static const char *const url = "https://main-chain.invalid";
	pid_t pid = start_parrot("HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n", NULL, 0, &port);
	(void)snprintf(proxy, sizeof(proxy), "http://127.0.0.1:%u", port);
	world_disconnect(world);
	world->options.proxy = proxy;
	world->options.endpoints = &url;
	world_connect(world);
	world_anchor(&anchor, &lane, 180, one_chain);
	const struct world_answer *answer = world_submit(world, &lane, &anchor);
	end_parrot(pid);
	assert_outcome(answer, MAINCHAIN_UNSENT);
	assert_non_null(strstr(answer->detail, "403"));
	world_anchor_fini(&anchor);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

static int run_contract(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_fence_is_acquired_by_one),
		TEST(what_was_submitted_can_be_asked_for_by_its_place),
		TEST(an_anchor_is_included_then_final_with_evidence),
		TEST(a_repeated_key_gets_the_first_answer_again),
		TEST(a_known_key_with_another_body_is_rejected),
		TEST(a_key_that_is_not_the_hash_is_rejected),
		TEST(what_does_not_follow_on_the_head_is_rejected),
		TEST(two_anchors_for_one_place_are_one),
		TEST(a_full_anchor_needs_its_batches_first),
		TEST(what_is_no_anchor_never_leaves),
		TEST(a_lane_never_used_has_an_empty_head),
		TEST(calls_are_bounded_and_each_is_answered_once),
		TEST(calls_under_way_get_no_answer_after_close),
		TEST(a_lost_answer_is_unknown_until_looked_up),
		TEST(a_lost_request_is_unknown_and_absent),
		TEST(an_answer_cut_at_any_byte_is_unknown),
		TEST(an_answer_too_late_is_unknown),
		TEST(a_main_chain_killed_before_the_block_has_nothing_of_it),
		TEST(while_it_is_away_nothing_was_sent_and_after_it_all_is_there),
		TEST(busy_is_unsent_and_says_when),
		TEST(denied_says_so_and_voids_nothing),
		TEST(a_refused_entry_is_named),
		TEST(bad_evidence_is_never_final),
		TEST(absent_from_a_node_that_lags_is_unknown),
		TEST(what_a_reorganisation_drops_is_absent_and_may_come_again),
		TEST(a_restored_main_chain_shows_in_its_head),
		TEST(a_dead_endpoint_is_passed_over),
		TEST(a_submission_in_doubt_is_not_sent_to_a_second_endpoint),
		TEST(doubt_at_one_endpoint_outlives_the_refusal_of_the_next),
		TEST(the_token_is_read_again_when_its_file_changes),
		TEST(a_reload_takes_new_options_or_keeps_the_old),
		TEST(with_mutual_tls_only_the_right_certificates_speak),
		TEST(nobody_sends_us_to_another_main_chain),
		TEST(what_a_proxy_refuses_to_connect_was_not_sent),
		TEST(an_answer_without_end_is_unknown_and_costs_little),
	};
	return cmocka_run_group_tests_name("mainchain", tests, NULL, NULL);
}

static bool read_argument(const char *name, const char *value)
{
	static const struct {
		const char *name;
		const char **place;
	} texts[] = {
		{ "--devchain", &setup.devchain },
		{ "--endpoint", &setup.endpoint },
		{ "--trusted", &setup.trusted_file },
		{ "--ca", &setup.ca_file },
		{ "--certificate", &setup.certificate_file },
		{ "--key", &setup.key_file },
		{ "--token", &setup.token_file },
		{ "--proxy", &setup.proxy },
	};
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		if (strcmp(texts[i].name, name) == 0) {
			*texts[i].place = value;
			return true;
		}
	}
	if (strcmp(name, "--adapter") == 0)
		return strcmp(value, mainchain_http()->name) == 0;
	if (strcmp(name, "--lane-base") == 0)
		setup.lane_base = (uint16_t)atoi(value);
	return strcmp(name, "--lane-base") == 0;
}

int main(int argc, char **argv)
{
	setup.adapter = mainchain_http();
	setup.lane_base = 100;
	for (int i = 1; i < argc; i += 2) {
		if (i + 1 == argc || !read_argument(argv[i], argv[i + 1])) {
			(void)fprintf(stderr, "%s: not an argument\n", argv[i]);
			return 2;
		}
	}
	if (setup.devchain == NULL && (setup.endpoint == NULL || setup.trusted_file == NULL)) {
		(void)fprintf(stderr, "--devchain, or --endpoint and --trusted, is needed\n");
		return 2;
	}
	(void)signal(SIGPIPE, SIG_IGN);
	/* No test reaches anything through these; only what is configured is a proxy. */
	setenv("http_proxy", "http://127.0.0.1:9", 1);
	setenv("https_proxy", "http://127.0.0.1:9", 1);
	setenv("ALL_PROXY", "http://127.0.0.1:9", 1);
	return run_contract();
}
