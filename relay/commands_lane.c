/* commands_lane.c -- commands that need delivery's word: its thread is asked, its answer passed on.
 *
 *     anchors retry -> lane retry      adopt lane -> lane adopt
 *     replay        -> lane retry, where an anchor of the range is not final
 *     reconcile     -> lane head, and each chain beside it
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "relay/commands_daemon.h"

struct lane_command {
	struct delivery_request request; /* First. */
	struct command_call *call;       /* Owned. */
	const char *words[2];
	void (*answered)(struct lane_command *command, json_t *take_object);
	json_t *extra; /* Owned. For the answer. */
};

static bool apply_nothing(struct spool_txn *txn, struct change *change, struct err *err)
{
	return true; /* The audit record is all: delivery did the rest. */
}

/* ---- asking ---- */

static void ask(struct command_call *take_call, const char *verb,
                void (*answered)(struct lane_command *command, json_t *take_object),
                json_t *take_extra)
{
	struct lane_command *command = calloc(1, sizeof(*command));
	struct err err;
	if (command == NULL) {
		json_decref(take_extra);
		command_answer_error(take_call, EXIT_FAILED, "out of memory");
		return;
	}
	command->call = take_call;
	command->answered = answered;
	command->extra = take_extra;
	command->words[0] = "lane";
	command->words[1] = verb;
	command->request = (struct delivery_request){ .kind = DELIVERY_COMMAND,
		                                      .reply = take_call->gateway->requests,
		                                      .words = command->words,
		                                      .word_count = 2,
		                                      .reason = take_call->reason,
		                                      .user = take_call->user,
		                                      .dry_run = take_call->dry_run };
	if (delivery_request(take_call->gateway->delivery, &command->request, &err)) {
		take_call->gateway->ops_under_way++;
		return;
	}
	command_answer_err(take_call, &err);
	json_decref(take_extra);
	free(command);
}

void command_on_delivery(struct delivery_request *take_request)
{
	struct lane_command *command = (struct lane_command *)take_request;
	command->call->gateway->ops_under_way--;
	json_t *object =
		json_loadb((const char *)take_request->json.data, take_request->json.size, 0, NULL);
	if (take_request->ok) {
		command->answered(command, object);
	} else {
		json_decref(object);
		command_answer_err(command->call, &take_request->err);
	}
	json_decref(command->extra);
	buffer_fini(&take_request->json);
	free(command);
}

/* ---- changes ---- */

static void record(struct lane_command *command, json_t *take_object)
{
	struct change *change = change_new(sizeof(*change), command->call);
	if (change == NULL) {
		json_decref(take_object);
		return;
	}
	change->apply = apply_nothing;
	change->exit_status = command->request.exit_status;
	change->extra = json_pack("{s:o}", "lane_answer", take_object);
	if (command->extra != NULL)
		(void)json_object_update(change->extra, command->extra);
	change_say(change, "lane: %s", command->words[1]);
	change_run(change);
}

void command_anchors_retry(struct command_call *call)
{
	if (call->dry_run)
		command_answer(call, EXIT_OK,
		               json_pack("{s:i, s:b, s:[s], s:n}", "changed", 1, "dry_run", 1,
		                         "what", "whatever waits is tried now", "audit"));
	else
		ask(call, "retry", record, NULL);
}

void command_adopt_lane(struct command_call *call)
{
	uint64_t lane;
	struct err err;
	if (!command_number(call->line.arguments[0], "a lane", UINT16_MAX, &lane, &err))
		command_answer_error(call, EXIT_BAD_USAGE, "%s", err.message);
	else if (lane != call->gateway->config->gateway.main_chain.lane)
		command_answer_error(call, EXIT_FAILED, "there is no lane %" PRIu64, lane);
	else
		ask(call, "adopt", record, NULL);
}

/* ---- replay ---- */

/* Every anchor over the ranges, once. */
static json_t *anchors_over(struct gateway *gateway, const struct spool_chain *row,
                            const struct ranges *ranges, bool *out_open)
{
	json_t *what = json_array();
	*out_open = false;
	for (size_t i = 0; i < ranges->count; i++) {
		uint64_t height = ranges->items[i].from;
		struct spool_coverage coverage;
		while (height <= ranges->items[i].to && json_array_size(what) < VIEW_PAGE_MAX &&
		       spool_anchor_of(gateway->spool, row->sink, &row->key, height, &coverage,
		                       NULL) &&
		       coverage.from <= ranges->items[i].to) {
			struct spool_anchor anchor;
			const char *state = "?";
			if (spool_anchor(gateway->spool, &coverage.id, &anchor, NULL)) {
				state = spool_anchor_state_name(anchor.state);
				*out_open |= anchor.state != SPOOL_ANCHOR_FINAL;
			}
			json_array_append_new(what,
			                      json_sprintf("%s %" PRIu64 "..%" PRIu64
			                                   ": anchor %" PRIu64 " is %s",
			                                   row->id.name, coverage.from, coverage.to,
			                                   coverage.id.seq, state));
			height = coverage.to + 1;
		}
	}
	return what;
}

void command_replay(struct command_call *call)
{
	struct spool_chain row;
	struct ranges ranges;
	struct err err;
	bool open;
	if (!command_chain(call, call->line.arguments[0], &row))
		return;
	if (!ranges_parse(call->line.arguments[1], &ranges, &err)) {
		command_answer_error(call, EXIT_BAD_USAGE, "%s", err.message);
		return;
	}
	json_t *what = anchors_over(call->gateway, &row, &ranges, &open);
	json_t *list = json_array();
	for (size_t i = 0; i < ranges.count; i++)
		json_array_append_new(list, json_pack("[I, I]", (json_int_t)ranges.items[i].from,
		                                      (json_int_t)ranges.items[i].to));
	json_t *extra = json_pack("{s:o, s:o}", "ranges", list, "what", what);
	if (!call->dry_run && open) {
		ask(call, "retry", record, extra);
		return;
	}
	/* What is final is on the main chain once, and sending it again would change nothing. */
	json_t *object =
		json_pack("{s:i, s:b, s:n}", "changed", 0, "dry_run", call->dry_run, "audit");
	(void)json_object_update(object, extra);
	json_decref(extra);
	command_answer(call, EXIT_OK, object);
}

/* ---- reconcile ---- */

static json_t *edge_of(struct gateway *gateway, const struct spool_chain *row,
                       struct carrier_view *out_view)
{
	const struct chain *chain = chains_by_id(gateway->chains, &row->id);
	const char *agent = chain != NULL ? links_active_agent(chain) : NULL;
	if (agent == NULL || !links_carrier(chain, agent, out_view))
		return NULL;
	return json_pack("{s:I, s:n, s:n, s:I}", "tip_height", (json_int_t)out_view->tip_height,
	                 "tip", "custody_height", "seen_ms",
	                 (json_int_t)clock_wall_ms(gateway->clock));
}

/* What the newest final anchor over the chain says, out of our spool, the main chain's head being ours. */
static json_t *compare_chain(struct gateway *gateway, const struct spool_chain *row,
                             size_t *differences)
{
	json_t *found = json_array();
	struct carrier_view view;
	json_t *edge = edge_of(gateway, row, &view);
	if (edge != NULL && view.has_blocks && view.tip_height + 1 < row->next_height)
		json_array_append_new(found, json_sprintf("the agent's tip %" PRIu64
		                                          " is below what is durable here",
		                                          view.tip_height));
	if (edge != NULL && view.has_blocks && view.oldest_height > row->next_height)
		json_array_append_new(found, json_string("the agent no longer holds what is next"));
	if (row->lost_heights > 0)
		json_array_append_new(found, json_sprintf("%" PRIu64 " heights were declared lost",
		                                          row->lost_heights));
	struct block_header tip;
	if (row->next_height > row->first_height &&
	    spool_header(gateway->spool, &row->key, row->next_height - 1, &tip, NULL) &&
	    !hash_equal(&tip.hash, &row->tip))
		json_array_append_new(found, json_string("the spool's tip is not its last block"));
	*differences += json_array_size(found);
	return json_pack("{s:s, s:o, s:{s:I, s:o, s:I}, s:{s:I}, s:o}", "name", row->id.name,
	                 "edge", edge != NULL ? edge : json_null(), "spool", "next_height",
	                 (json_int_t)row->next_height, "tip", view_hash(&row->tip), "anchored_next",
	                 (json_int_t)row->anchored_next, "main_chain", "anchored_next",
	                 (json_int_t)row->anchored_next, "differences", found);
}

static bool is_asked(const struct command_line *line, const char *name)
{
	for (size_t i = 0; i < line->argument_count; i++) {
		if (strcmp(line->arguments[i], name) == 0)
			return true;
	}
	return line->argument_count == 0;
}

static void compare(struct lane_command *command, json_t *take_object)
{
	struct command_call *call = command->call;
	struct gateway *gateway = call->gateway;
	const struct gateway_config *config = &gateway->config->gateway;
	size_t differences = command->request.exit_status == EXIT_INTEGRITY ? 1 : 0;
	json_t *list = json_array();
	for (size_t i = 0; i < config->chain_count; i++) {
		struct spool_chain row;
		if (is_asked(&call->line, config->chains[i].name) &&
		    spool_chain_by_name(gateway->spool, config->chains[i].name, &row, NULL))
			json_array_append_new(list, compare_chain(gateway, &row, &differences));
	}
	command_answer(call, differences > 0 ? EXIT_INTEGRITY : EXIT_OK,
	               json_pack("{s:o, s:o, s:I, s:n}", "chains", list, "head", take_object,
	                         "differences", (json_int_t)differences, "next"));
}

void command_reconcile(struct command_call *call)
{
	ask(call, "head", compare, NULL);
}
