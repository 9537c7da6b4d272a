/* commands_delivery.c -- an operator's words that only delivery can answer: the lane and what the
 * main chain says of it.
 *
 *     lane show              phase, fence, open anchors
 *     lane retry             whatever waits for its backoff is tried now; a fenced lane starts over
 *     lane stop              nothing is sent until "lane retry"
 *     lane adopt             after a restore: make both sides agree (delivery_restore.c)
 *     lane head              the main chain's newest anchor, compared with ours (reconcile)
 */
#include <inttypes.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "relay/base/exit.h"
#include "relay/base/log.h"
#include "relay/delivery_state.h"

static void answer_json(struct delivery_request *request, json_t *take_object, unsigned exit_status)
{
	char *text = take_object == NULL ? NULL : json_dumps(take_object, JSON_COMPACT);
	json_decref(take_object);
	request->ok = text != NULL;
	if (text == NULL)
		(void)err_set(&request->err, ZR_NO_MEMORY, "the answer");
	else
		buffer_put(&request->json, bytes_of_string(text));
	free(text);
	request->exit_status = request->ok ? exit_status : EXIT_FAILED;
	delivery_answer_request(request);
}

void delivery_answer_error(struct delivery_request *request)
{
	request->ok = false;
	request->exit_status = EXIT_FAILED;
	delivery_answer_request(request);
}

static json_t *hash_json(const struct hash *hash)
{
	char hex[HASH_HEX_SIZE];
	return json_string(hash_hex(hash, hex));
}

static json_t *anchor_json(const struct lane_anchor *anchor, int64_t now_ms)
{
	int64_t wait_ms = anchor->next_try_ms > now_ms ? anchor->next_try_ms - now_ms : 0;
	return json_pack("{s:I, s:s, s:I, s:I, s:b, s:o, s:o}", "seq", (json_int_t)anchor->seq,
	                 "state", spool_anchor_state_name(anchor->state), "attempts",
	                 (json_int_t)anchor->attempts, "next_try_in_ms", (json_int_t)wait_ms,
	                 "call_under_way", anchor->asked || anchor->finishing, "root",
	                 hash_json(&anchor->root), "key", hash_json(&anchor->key));
}

static json_t *lane_json(const struct delivery *delivery)
{
	const struct lane *lane = &delivery->lane;
	json_t *open = json_array();
	for (size_t i = 0; i < lane->anchor_count; i++)
		(void)json_array_append_new(open,
		                            anchor_json(&lane->anchors[i], delivery_now(delivery)));
	return json_pack("{s:s, s:i, s:s, s:s, s:s, s:I, s:I, s:I, s:s, s:o}", "sink",
	                 delivery->sink->name, "lane", (int)lane->options.lane, "phase",
	                 lane_phase_name(lane->phase), "halt", lane_halt_name(lane->halt), "text",
	                 lane_halt_text(lane->halt), "fence", (json_int_t)lane->fence, "final_seq",
	                 (json_int_t)lane->final_seq, "main_chain_height",
	                 (json_int_t)lane->height_seen, "last_answer", delivery->reason, "open",
	                 open);
}

static unsigned lane_exit_status(const struct delivery *delivery)
{
	return delivery->lane.phase == LANE_HALTED ? EXIT_DEGRADED : EXIT_OK;
}

void delivery_show_lane(struct delivery *delivery, struct delivery_request *request)
{
	answer_json(request, lane_json(delivery), lane_exit_status(delivery));
}

/* An adoption moves the lane on its own until it ends: it must not start or stop under it. */
static bool refused_while_adopted(const struct delivery *delivery, struct delivery_request *request)
{
	if (request->dry_run || delivery->restore.request == NULL)
		return false;
	(void)err_set(&request->err, ZR_FULL, "the lane is being adopted; try again");
	delivery_answer_error(request);
	return true;
}

static void retry(struct delivery *delivery, struct delivery_request *request)
{
	if (refused_while_adopted(delivery, request))
		return;
	if (!request->dry_run) {
		log_info("lane-retried", "who=%s", request->user);
		lane_restart(&delivery->lane, delivery_now(delivery));
		delivery->maybe_pending = true;
		delivery_wake(delivery);
	}
	delivery_show_lane(delivery, request);
}

static void stop(struct delivery *delivery, struct delivery_request *request)
{
	if (refused_while_adopted(delivery, request))
		return;
	if (!request->dry_run) {
		log_warn("lane-stopped", "who=%s reason=\"%s\"", request->user, request->reason);
		lane_stop(&delivery->lane, LANE_HALT_OPERATOR);
	}
	delivery_show_lane(delivery, request);
}

/* ---- what waits for the main chain ---------------------------------------------------------- */

static void ask_head(struct delivery *delivery, struct delivery_request *request)
{
	if (delivery->command != NULL || delivery->restore.request != NULL) {
		(void)err_set(&request->err, ZR_FULL,
		              "another command waits for the main chain; try again");
		delivery_answer_error(request);
		return;
	}
	if (!delivery_ask(delivery, request, MAINCHAIN_HEAD, 0, NULL, &request->err)) {
		delivery_answer_error(request);
		return;
	}
	delivery->command = request;
}

static void compare_head(struct delivery *delivery, struct delivery_request *request,
                         const struct mainchain_answer *answer)
{
	const struct lane *lane = &delivery->lane;
	const struct lane_anchor *open =
		answer->seq == 0 ? NULL : lane_find(&delivery->lane, answer->seq);
	bool same = answer->seq == lane->final_seq
	                    ? lane->final_seq == 0 || hash_equal(&answer->root, &lane->final_root)
	                    : open != NULL && hash_equal(&open->root, &answer->root);
	json_t *object = json_pack(
		"{s:b, s:I, s:I, s:I, s:I, s:o, s:o}", "same", same, "head_seq",
		(json_int_t)answer->seq, "final_seq", (json_int_t)lane->final_seq,
		"main_chain_height", (json_int_t)answer->height, "fence", (json_int_t)answer->fence,
		"head_root", hash_json(&answer->root), "final_root", hash_json(&lane->final_root));
	answer_json(request, object, same ? EXIT_OK : EXIT_INTEGRITY);
}

void delivery_command_answer(struct delivery *delivery, struct delivery_request *request,
                             const struct mainchain_answer *answer)
{
	if (delivery->restore.request == request) {
		delivery_restore_on_answer(delivery, answer);
		return;
	}
	delivery->command = NULL;
	if (answer->outcome != MAINCHAIN_OK) {
		(void)err_set(&request->err, ZR_UNAVAILABLE, "the main chain does not answer: %s",
		              answer->detail == NULL ? "no detail" : answer->detail);
		delivery_answer_error(request);
		return;
	}
	if (strcmp(request->words[1], "adopt") == 0 && !request->dry_run)
		delivery_restore_begin(delivery, request, answer);
	else
		compare_head(delivery, request, answer);
}

/* ---- the table ------------------------------------------------------------------------------ */

static const struct {
	const char *word;
	void (*run)(struct delivery *delivery, struct delivery_request *request);
} rows[] = {
	{ "show", delivery_show_lane }, { "retry", retry },    { "stop", stop },
	{ "head", ask_head },           { "adopt", ask_head },
};

void delivery_command(struct delivery *delivery, struct delivery_request *request)
{
	bool is_lane = request->word_count >= 2 && strcmp(request->words[0], "lane") == 0;
	for (size_t i = 0; is_lane && i < sizeof(rows) / sizeof(rows[0]); i++) {
		if (strcmp(request->words[1], rows[i].word) == 0) {
			rows[i].run(delivery, request);
			return;
		}
	}
	(void)err_set(&request->err, ZR_INVALID, "delivery knows no such command");
	request->ok = false;
	request->exit_status = EXIT_BAD_USAGE;
	delivery_answer_request(request);
}
