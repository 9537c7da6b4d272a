/* gateway_run.c -- see gateway_run.h. Single-threaded: what relay/delivery.c does with threads and
 * calls, in the same order, with each answer at once. */
#include "tests/powercut/gateway_run.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "adapters/sidechain.h"
#include "proto/compress.h"
#include "relay/anchor_build.h"
#include "relay/lane.h"
#include "spool/audit.h"
#include "spool/batches.h"
#include "tests/powercut/disk.h"
#include "tests/powercut/record.h"

#define STEPS_MAX  100000
#define BATCH_MAX  8 /* Blocks. */
#define CLASS_NAME "default"

struct run {
	struct spool *spool;
	const struct subject_state *state;
	struct main_chain main_chain;
	struct lane lane;
	struct plan plan;
	uint8_t classes[PLAN_CLASS_MAX];
	uint64_t chance;
	int64_t now_ms;
	bool failed;
};

static bool fail(struct run *run, const char *what, const struct err *err)
{
	fprintf(stderr, "run on: %s: %s\n", what, err == NULL ? "broken" : err->message);
	run->failed = true;
	return false;
}

static void mark(const char *format, const char *name, uint64_t number)
{
	char line[128];
	if (name != NULL)
		snprintf(line, sizeof(line), "%s %s %" PRIu64, format, name, number);
	else
		snprintf(line, sizeof(line), "%s %" PRIu64, format, number);
	record_mark(line);
}

/* ---- the edges ---- */

static bool enrol(struct run *run, const struct edge_chain *edge)
{
	const struct sidechain *format = sidechain_find("ledger");
	struct trust *trust = NULL;
	struct buffer saved = BUFFER_EMPTY;
	struct spool_txn txn;
	struct err err;
	if (!format->trust_pin(edge->raws[0], &trust, &err))
		return fail(run, "pin", &err);
	format->trust_save(trust, &saved);
	format->trust_free(trust);
	spool_begin(&txn, run->spool, SPOOL_INTAKE);
	struct spool_chain_new new = { .id = edge->id,
		                       .format = "ledger",
		                       .trust = buffer_bytes(&saved),
		                       .sink = SPOOL_SINK_MAIN };
	bool good = spool_class_number(&txn, CLASS_NAME, &new.class, &err) &&
	            spool_chain_add(&txn, &new, &err) && spool_commit(&txn, &err);
	spool_abort(&txn);
	buffer_fini(&saved);
	return good || fail(run, "enrol", &err);
}

static bool bring_batch(struct run *run, const struct edge_chain *edge, uint64_t from)
{
	uint64_t count = 1 + next_chance(&run->chance) % BATCH_MAX;
	if (count > edge->count - from)
		count = edge->count - from;
	struct buffer raw = BUFFER_EMPTY;
	struct spool_txn txn;
	struct err err;
	uint64_t arrival;
	for (uint64_t i = 0; i < count; i++)
		batch_put_block(&raw, edge->raws[from + i]);
	struct spool_batch batch = { .chain = edge->key,
		                     .headers = &edge->headers[from],
		                     .block_count = (uint32_t)count,
		                     .policy = POLICY_ALL,
		                     .codec = CODEC_NONE,
		                     .content = sha256(buffer_bytes(&raw)),
		                     .raw_size = (uint32_t)raw.size,
		                     .payload = buffer_bytes(&raw),
		                     .received_ms = 1,
		                     .agent = "again" };
	spool_begin(&txn, run->spool, SPOOL_INTAKE);
	uint64_t number = spool_commit_number(&txn);
	bool good = spool_batch_put(&txn, &batch, &arrival, &err) && spool_commit(&txn, &err);
	spool_abort(&txn);
	buffer_fini(&raw);
	if (!good)
		return fail(run, "bring", &err);
	mark("next", edge->id.name, from + count);
	mark("commit", NULL, number);
	return true;
}

static bool bring_all(struct run *run)
{
	for (size_t i = 0; i < run->state->edges.count; i++) {
		const struct edge_chain *edge = &run->state->edges.items[i];
		struct spool_chain row;
		struct err err;
		if (!spool_chain(run->spool, &edge->key, &row, &err) && !enrol(run, edge))
			return false;
		do {
			if (!spool_chain(run->spool, &edge->key, &row, &err))
				return fail(run, "chain", &err);
		} while (row.next_height < edge->count && bring_batch(run, edge, row.next_height));
		if (run->failed)
			return false;
	}
	return true;
}

/* ---- the lane ---- */

static bool load_lane(struct run *run)
{
	struct lane_options options = { .uploads = true,
		                        .open_max = 8,
		                        .poll_ms = 100,
		                        .retry_min_ms = 10,
		                        .retry_max_ms = 1000 };
	struct spool_lane stored;
	struct spool_anchor anchor;
	struct hash root = { { 0 } };
	struct err err;
	struct spool_anchor_id id = { .sink = SPOOL_SINK_MAIN };
	if (!spool_lane(run->spool, SPOOL_SINK_MAIN, 0, &stored, &err))
		return fail(run, "lane", &err);
	id.seq = stored.final_seq;
	if (id.seq > 0 && !spool_anchor(run->spool, &id, &anchor, &err))
		return fail(run, "the last final anchor", &err);
	if (id.seq > 0)
		root = anchor.root;
	lane_init(&run->lane, &options, id.seq, &root, run->chance);
	for (id.seq++; id.seq <= stored.newest_seq; id.seq++) {
		if (!spool_anchor(run->spool, &id, &anchor, &err))
			return fail(run, "an open anchor", &err);
		lane_add_open(&run->lane, id.seq, &anchor.root, &anchor.key, anchor.sent_at_height);
	}
	return true;
}

/* The classes of the chains there are, each with a `deliver` of its own. */
static bool make_plan(struct run *run)
{
	static const enum deliver delivers[] = { DELIVER_FULL, DELIVER_HEADERS, DELIVER_ANCHOR };
	struct plan_limits limits = { .entry_max = 4, .block_max = 40, .byte_max = 1u << 20 };
	plan_init(&run->plan, &limits);
	for (size_t i = 0; i < run->state->edges.count; i++) {
		struct spool_chain row;
		struct err err;
		bool known = false;
		if (!spool_chain(run->spool, &run->state->edges.items[i].key, &row, &err))
			return fail(run, "chain", &err);
		for (size_t k = 0; k < run->plan.class_count; k++)
			known = known || run->classes[k] == row.class;
		if (known)
			continue;
		size_t number = run->plan.class_count;
		run->classes[number] = row.class;
		plan_set_class(&run->plan, number, 1, delivers[next_chance(&run->chance) % 3]);
	}
	return true;
}

static struct spool_anchor_id id_of(uint64_t seq)
{
	return (struct spool_anchor_id){ .sink = SPOOL_SINK_MAIN, .seq = seq };
}

static bool put_intent(struct run *run, struct anchor_draft *draft)
{
	struct spool_anchor anchor = { .alg = HASH_SHA256, .deliver = draft->anchor.deliver };
	struct spool_txn txn;
	struct err err;
	uint64_t seq;
	lane_tail(&run->lane, &seq, &draft->anchor.previous);
	draft->id = id_of(seq);
	draft->anchor.alg = HASH_SHA256;
	if (!anchor_draft_seal(draft, run->spool, &err))
		return fail(run, "seal", &err);
	anchor.id = draft->id;
	anchor.previous = draft->anchor.previous;
	anchor.root = draft->anchor.root;
	anchor.key = draft->key;
	anchor.sent_at_height = run->lane.height_seen;
	spool_begin(&txn, run->spool, SPOOL_UPKEEP);
	bool good =
		spool_anchor_put(&txn, &anchor, draft->entries, draft->anchor.entry_count, &err) &&
		spool_commit(&txn, &err);
	spool_abort(&txn);
	if (!good)
		return fail(run, "intent", &err);
	lane_intended(&run->lane, seq, &anchor.root, &anchor.key);
	return true;
}

/* False: nothing is pending, or it failed. */
static bool build(struct run *run)
{
	struct anchor_draft draft;
	struct anchor_choice choice = { .spool = run->spool,
		                        .plan = &run->plan,
		                        .class_numbers = run->classes,
		                        .sink = SPOOL_SINK_MAIN };
	struct err err;
	bool built = false;
	anchor_draft_init(&draft);
	for (size_t i = plan_deliver_count(&run->plan); i > 0 && draft.anchor.entry_count == 0;
	     i--) {
		anchor_draft_fini(&draft);
		if (!plan_begin(&run->plan) || !anchor_draft_choose(&draft, &choice, &err)) {
			fail(run, "choose", &err);
			break;
		}
	}
	if (!run->failed && draft.anchor.entry_count > 0)
		built = put_intent(run, &draft);
	anchor_draft_fini(&draft);
	return built;
}

/* ---- steps ---- */

static bool upload_one(struct run *run, const struct upload *upload)
{
	struct spool_batch_info info;
	struct buffer payload = BUFFER_EMPTY;
	struct err err;
	bool good = upload->is_dictionary
	                    ? spool_dictionary_get(run->spool, &upload->content, &payload, &err)
	                    : spool_batch_payload(run->spool, &upload->chain, upload->height, &info,
	                                          &payload, &err);
	if (!good)
		return fail(run, "upload", &err);
	struct hash content = sha256(buffer_bytes(&payload));
	buffer_fini(&payload);
	return hash_equal(&content, &upload->content) || fail(run, "upload: other bytes", NULL);
}

static void mark_submitted(uint64_t seq, struct bytes content)
{
	size_t size = content.size * 2 + 64;
	char *line = malloc(size);
	if (line == NULL)
		abort();
	int at = snprintf(line, size, "submitted %" PRIu64 " ", seq);
	for (size_t i = 0; i < content.size; i++)
		at += snprintf(line + at, size - (size_t)at, "%02x", content.data[i]);
	record_mark(line);
	free(line);
}

/* The draft is read back from the spool, as after any restart. */
static bool send(struct run *run, enum lane_step step, uint64_t seq,
                 struct mainchain_answer *answer)
{
	struct anchor_draft draft;
	struct spool_anchor_id id = id_of(seq);
	struct err err;
	anchor_draft_init(&draft);
	bool good = anchor_draft_load(&draft, run->spool, &id, &err) || fail(run, "load", &err);
	if (good && step == LANE_SUBMIT) {
		mark_submitted(seq, buffer_bytes(&draft.content));
		main_chain_submit(&run->main_chain, run->lane.fence, buffer_bytes(&draft.content),
		                  answer);
		if (answer->outcome == MAINCHAIN_INCLUDED)
			mark("included", NULL, seq);
	}
	for (size_t i = 0; good && step == LANE_UPLOAD && i < draft.upload_count; i++)
		good = upload_one(run, &draft.uploads[i]);
	anchor_draft_fini(&draft);
	return good;
}

static void mark_anchored(struct run *run)
{
	for (size_t i = 0; i < run->state->edges.count; i++) {
		const struct edge_chain *edge = &run->state->edges.items[i];
		struct spool_chain row;
		struct err err;
		if (spool_chain(run->spool, &edge->key, &row, &err))
			mark("anchored", edge->id.name, row.anchored_next);
	}
}

static void finish(struct run *run, uint64_t seq, struct bytes evidence)
{
	struct spool_receipt receipt = { .evidence = evidence, .final_ms = 1 };
	struct spool_anchor_id id = id_of(seq);
	struct spool_txn txn;
	struct err err;
	spool_begin(&txn, run->spool, SPOOL_UPKEEP);
	bool good = spool_anchor_finalize(&txn, &id, &receipt, &err) && spool_commit(&txn, &err);
	spool_abort(&txn);
	if (!good) {
		fail(run, "final", &err);
		return;
	}
	lane_finished(&run->lane, seq);
	mark_anchored(run);
}

static void perform(struct run *run, enum lane_step step, uint64_t seq)
{
	struct mainchain_answer answer;
	switch (step) {
	case LANE_WAIT:
		return;
	case LANE_ASK_HEAD:
		main_chain_head(&run->main_chain, &answer);
		break;
	case LANE_TAKE_FENCE:
		main_chain_fence(&run->main_chain, run->lane.fence_seen, &answer);
		break;
	case LANE_LOOKUP:
		main_chain_lookup(&run->main_chain, &lane_find(&run->lane, seq)->key, &answer);
		if (answer.outcome == MAINCHAIN_FINAL)
			mark("included", NULL, seq);
		break;
	case LANE_SUBMIT:
		if (!send(run, step, seq, &answer))
			return;
		break;
	case LANE_UPLOAD:
		if (send(run, step, seq, &answer))
			lane_uploaded(&run->lane, seq, true, run->now_ms);
		return;
	case LANE_VOID:
		fail(run, "an anchor was refused", NULL);
		return;
	}
	if (lane_on_answer(&run->lane, run->now_ms, seq, &answer) == LANE_NEWS_FINAL)
		finish(run, seq, answer.evidence);
}

static bool deliver_all(struct run *run)
{
	for (int i = 0; i < STEPS_MAX && !run->failed && !run->main_chain.violated; i++) {
		uint64_t seq;
		int64_t wake_ms;
		enum lane_step step = lane_next(&run->lane, run->now_ms, &seq, &wake_ms);
		if (step != LANE_WAIT) {
			perform(run, step, seq);
			continue;
		}
		if (run->lane.phase == LANE_HALTED)
			return fail(run, lane_halt_name(run->lane.halt), NULL);
		if (lane_has_room(&run->lane) && build(run))
			continue;
		if (run->lane.anchor_count == 0 && run->lane.phase == LANE_RUNNING)
			return !run->failed;
		run->now_ms =
			wake_ms != INT64_MAX && wake_ms > run->now_ms ? wake_ms : run->now_ms + 1;
	}
	return run->failed ? false : fail(run, "it does not come to an end", NULL);
}

/* As it was when the power was cut: what it has said that it has, and perhaps what was on its way. */
static bool seed_main_chain(struct run *run)
{
	const struct subject_state *state = run->state;
	struct mainchain_answer answer;
	main_chain_init(&run->main_chain, &state->edges);
	uint64_t on_the_way = state->submitted - state->included;
	uint64_t count = state->included + next_chance(&run->chance) % (on_the_way + 1);
	for (uint64_t i = 0; i < count; i++) {
		struct bytes content = { state->contents[i].data, state->contents[i].size };
		main_chain_submit(&run->main_chain, 0, content, &answer);
		if (answer.outcome != MAINCHAIN_INCLUDED)
			return fail(run, "what was sent does not follow", NULL);
	}
	run->main_chain.fence = 1 + next_chance(&run->chance) % 5;
	return true;
}

static bool reached_the_end(struct run *run)
{
	for (size_t i = 0; i < run->state->edges.count; i++) {
		if (run->main_chain.covered[i] != run->state->edges.items[i].count)
			return fail(run, "the main chain lacks blocks", NULL);
	}
	return true;
}

bool gateway_run_on(struct spool *spool, const struct subject_state *state, uint64_t chance)
{
	struct run *run = calloc(1, sizeof(*run));
	if (run == NULL)
		abort();
	run->spool = spool;
	run->state = state;
	run->chance = chance;
	bool good = seed_main_chain(run) && bring_all(run) && make_plan(run) && load_lane(run) &&
	            deliver_all(run) && reached_the_end(run) && !run->main_chain.violated;
	plan_fini(&run->plan);
	free(run);
	return good;
}
