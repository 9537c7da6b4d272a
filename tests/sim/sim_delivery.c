/* sim_delivery.c -- the gateway's delivery: the real lane and plan; the main chain is a model. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "tests/sim/sim.h"

#define ROT_PERMILLE       150 /* Of each look at what is about to be sent. */
#define ANCHOR_INTERVAL_MS 500
#define MONTH_RETRY_MAX_MS 600000
#define CLASS_COUNT        2 /* Even and odd chains. */

static void on_wake(struct sim *sim, const struct event *event);
static void on_intended(struct sim *sim, const struct event *event);
static void on_finalized(struct sim *sim, const struct event *event);
static void on_voided(struct sim *sim, const struct event *event);

static struct chain_key key_of(uint32_t chain)
{
	struct chain_key key = { { 0 } };
	put_be32(key.bytes, chain + 1);
	return key;
}

static uint32_t chain_of(const struct chain_key *key)
{
	return get_be32(key->bytes) - 1;
}

void sim_delivery_wake(struct sim *sim, struct sim_gateway *gateway, uint64_t delay_ms)
{
	struct event event = { .run = on_wake, .b = ++sim->number, .c = gateway->life };
	gateway->wake = event.b;
	sim_after(sim, delay_ms, &event);
}

const struct sim_anchor *sim_anchor_at(const struct sim *sim, const struct sim_gateway *gateway,
                                       uint64_t seq)
{
	return &sim->anchors[gateway->intents[seq].anchor];
}

/* ---- life ---- */

static struct lane_options lane_options_of(const struct sim *sim)
{
	bool month = sim->profile.month_ms > 0;
	return (struct lane_options){ .lane = 1,
		                      .uploads = sim->seed % 3 == 0,
		                      .open_max = 1 + (uint32_t)(sim->seed % 8),
		                      .poll_ms = 200,
		                      .retry_min_ms = 50,
		                      .retry_max_ms = month ? MONTH_RETRY_MAX_MS : 3000 };
}

/* As add_open() of relay/delivery.c: what a lane has no place for at first. */
static void add_open(struct sim *sim, struct sim_gateway *gateway)
{
	struct lane *lane = &gateway->lane;
	while (lane->final_seq + lane->anchor_count < gateway->newest_seq &&
	       lane->anchor_count < LANE_OPEN_MAX) {
		uint64_t seq = lane->final_seq + lane->anchor_count + 1;
		const struct sim_anchor *anchor = sim_anchor_at(sim, gateway, seq);
		lane_add_open(lane, seq, &anchor->root, &anchor->key,
		              gateway->intents[seq].sent_height);
	}
	lane->more_open = lane->final_seq + lane->anchor_count < gateway->newest_seq;
}

void sim_delivery_load(struct sim *sim, struct sim_gateway *gateway)
{
	struct lane_options options = lane_options_of(sim);
	struct hash root = { { 0 } };
	if (gateway->final_seq > 0)
		root = sim_anchor_at(sim, gateway, gateway->final_seq)->root;
	lane_init(&gateway->lane, &options, gateway->final_seq, &root, ++sim->number);
	add_open(sim, gateway);
}

void sim_delivery_start(struct sim *sim, struct sim_gateway *gateway)
{
	struct plan_limits limits = { .entry_max = 8, .block_max = 100, .byte_max = 1 << 20 };
	sim_delivery_load(sim, gateway);
	plan_init(&gateway->plan, &limits);
	for (size_t class = 0; class < CLASS_COUNT; class ++)
		plan_set_class(&gateway->plan, class, (uint32_t)(class + 1), DELIVER_ANCHOR);
	gateway->building = false;
	gateway->maybe_pending = true;
	gateway->build_at_ms = sim->now_ms;
	sim_delivery_wake(sim, gateway, 1);
}

void sim_delivery_fini(struct sim_gateway *gateway)
{
	plan_fini(&gateway->plan);
}

/* ---- building ---- */

/* The chain's next batches from `from`, at most block_max blocks but at least one batch. */
static uint64_t run_end(const struct sim_chain *chain, uint64_t from, uint64_t block_max)
{
	uint64_t end = from;
	for (uint32_t i = 0; i < chain->batch_count; i++) {
		if (chain->batch_ends[i] <= from)
			continue;
		if (end > from && chain->batch_ends[i] - from > block_max)
			break;
		end = chain->batch_ends[i];
		if (end - from >= block_max)
			break;
	}
	return end;
}

static struct sim_entry *entry_of(struct sim_anchor *anchor, uint32_t chain)
{
	for (uint32_t i = 0; i < anchor->entry_count; i++) {
		if (anchor->entries[i].chain == chain)
			return &anchor->entries[i];
	}
	return NULL;
}

static bool is_pending(const struct sim_chain *chain)
{
	return !chain->delivery_held && !chain->restored &&
	       chain->pending_from < chain->next_height;
}

static void take_run(const struct sim_gateway *gateway, struct sim_anchor *anchor, uint32_t chain,
                     uint64_t block_max, struct plan_run *out_run)
{
	const struct sim_chain *is = &gateway->chains[chain];
	struct sim_entry *entry = entry_of(anchor, chain);
	*out_run = (struct plan_run){ .chain = key_of(chain), .first = entry == NULL };
	uint64_t from = entry != NULL ? entry->to + 1 : is->pending_from;
	if (!is_pending(is) || from >= is->next_height)
		return;
	uint64_t end = run_end(is, from, block_max);
	if (entry == NULL) {
		entry = &anchor->entries[anchor->entry_count++];
		*entry = (struct sim_entry){ .chain = chain, .from = from };
	}
	entry->to = end - 1;
	out_run->blocks = end - from;
	out_run->bytes = out_run->blocks * 10;
}

/* The next chain of the class after the cursor with anything pending. */
static bool next_chain(const struct sim *sim, const struct sim_gateway *gateway, size_t class,
                       uint32_t *out_chain)
{
	const struct chain_key *after = &gateway->plan.classes[class].cursor;
	for (uint32_t chain = 0; chain < sim_chain_count(sim); chain++) {
		struct chain_key key = key_of(chain);
		if (chain % CLASS_COUNT == class && memcmp(&key, after, sizeof(key)) > 0 &&
		    is_pending(&gateway->chains[chain])) {
			*out_chain = chain;
			return true;
		}
	}
	return false;
}

static void choose(const struct sim *sim, struct sim_gateway *gateway, struct sim_anchor *anchor)
{
	struct plan *plan = &gateway->plan;
	const struct chain_key *suspects;
	struct plan_run run;
	size_t count = plan_probe(plan, &suspects);
	for (size_t i = 0; i < count; i++)
		take_run(gateway, anchor, chain_of(&suspects[i]), 64, &run);
	if (count > 0 || !plan_begin(plan))
		return;
	size_t class;
	uint64_t block_max;
	while (plan_next(plan, &class, &block_max)) {
		uint32_t chain = 0;
		if (!next_chain(sim, gateway, class, &chain)) {
			plan_wrapped(plan, class);
			continue;
		}
		take_run(gateway, anchor, chain, block_max, &run);
		if (run.blocks > 0)
			plan_took(plan, class, &run);
		else
			plan_skipped(plan, class, &run.chain);
	}
}

static void seal(struct sim_anchor *anchor, uint64_t seq, const struct hash *previous)
{
	uint8_t content[40 + 20 * SIM_ENTRIES_MAX];
	size_t size = 40;
	anchor->previous = *previous;
	put_be64(content, seq);
	memcpy(content + 8, previous->bytes, 32);
	for (uint32_t i = 0; i < anchor->entry_count; i++, size += 20) {
		put_be32(content + size, anchor->entries[i].chain);
		put_be64(content + size + 4, anchor->entries[i].from);
		put_be64(content + size + 12, anchor->entries[i].to);
	}
	anchor->root = sha256((struct bytes){ content, size });
	anchor->key = sha256(BYTES_OF(anchor->root));
}

/* Gives its number. */
static uint32_t keep_anchor(struct sim *sim, const struct sim_anchor *anchor)
{
	if (sim->anchor_count == sim->anchor_capacity) {
		size_t capacity = sim->anchor_capacity == 0 ? 256 : sim->anchor_capacity * 2;
		struct sim_anchor *anchors = reallocarray(sim->anchors, capacity, sizeof(*anchors));
		if (anchors == NULL)
			sim_fail(sim, "out of memory");
		sim->anchors = anchors;
		sim->anchor_capacity = capacity;
	}
	sim->anchors[sim->anchor_count] = *anchor;
	return (uint32_t)sim->anchor_count++;
}

/* Suspects that have nothing to send any more cannot be tried: let go of them. */
static bool forget_suspects(struct sim_gateway *gateway)
{
	const struct chain_key *suspects;
	bool any = false;
	while (plan_probe(&gateway->plan, &suspects) > 0) {
		struct chain_key first = suspects[0];
		plan_cleared(&gateway->plan, &first);
		any = true;
	}
	return any;
}

static void on_killed(struct sim *sim, const struct event *event)
{
	struct sim_gateway *gateway = sim_gateway_alive(sim, event->c);
	if (gateway != NULL)
		sim_gateway_kill(sim, gateway);
}

/* As relay/delivery.c: intent first, nothing is sent before it is durable. */
static void build(struct sim *sim, struct sim_gateway *gateway)
{
	if (!gateway->maybe_pending || gateway->building || !lane_has_room(&gateway->lane) ||
	    sim->now_ms < gateway->build_at_ms)
		return;
	struct sim_anchor anchor = { .entry_count = 0 };
	struct hash previous;
	uint64_t seq;
	gateway->build_at_ms = sim->now_ms + ANCHOR_INTERVAL_MS;
	choose(sim, gateway, &anchor);
	if (anchor.entry_count == 0 && forget_suspects(gateway))
		choose(sim, gateway, &anchor);
	if (anchor.entry_count == 0) {
		gateway->maybe_pending = false;
		return;
	}
	lane_tail(&gateway->lane, &seq, &previous);
	assert(seq < SIM_ANCHORS_MAX);
	seal(&anchor, seq, &previous);
	/* Counts once it is committed: newest_seq says so. */
	gateway->intents[seq] = (struct sim_intent){ .anchor = keep_anchor(sim, &anchor),
		                                     .sent_height = gateway->lane.height_seen };
	gateway->building = true;
	struct event killed = { .run = on_killed, .c = gateway->life };
	if (sim_happens(sim, FAULT_INTENT_LOST, sim->profile.intent_lost_permille))
		sim_after(sim, 0, &killed);
	struct event event = { .run = on_intended, .a = seq, .c = gateway->life };
	sim_after(sim, sim_between(sim, sim->profile.commit_min_ms, sim->profile.commit_max_ms),
	          &event);
}

static void on_intended(struct sim *sim, const struct event *event)
{
	struct sim_gateway *gateway = sim_gateway_alive(sim, event->c);
	if (gateway == NULL)
		return; /* Killed before the commit: there was no intent. */
	const struct sim_anchor *anchor = sim_anchor_at(sim, gateway, event->a);
	gateway->building = false;
	sim_delivery_wake(sim, gateway, 0);
	for (uint32_t i = 0; i < anchor->entry_count; i++) {
		const struct sim_chain *chain = &gateway->chains[anchor->entries[i].chain];
		if (chain->restored)
			return; /* As spool_anchor_put(): choose again. */
		if (anchor->entries[i].from != chain->pending_from)
			sim_fail(sim, "anchor %llu: a hole or an overlap",
			         (unsigned long long)event->a);
	}
	for (uint32_t i = 0; i < anchor->entry_count; i++)
		gateway->chains[anchor->entries[i].chain].pending_from = anchor->entries[i].to + 1;
	gateway->newest_seq = event->a;
	lane_intended(&gateway->lane, event->a, &anchor->root, &anchor->key);
}

/* ---- steps ---- */

static void void_later(struct sim *sim, const struct sim_gateway *gateway, uint64_t seq)
{
	struct event event = { .run = on_voided, .a = seq, .c = gateway->life };
	sim_after(sim, sim_between(sim, sim->profile.commit_min_ms, sim->profile.commit_max_ms),
	          &event);
}

void sim_delivery_void(struct sim *sim, struct sim_gateway *gateway, uint64_t seq)
{
	for (uint64_t newest = gateway->newest_seq; newest >= seq; newest--) {
		const struct sim_anchor *back = sim_anchor_at(sim, gateway, newest);
		for (uint32_t i = 0; i < back->entry_count; i++)
			gateway->chains[back->entries[i].chain].pending_from =
				back->entries[i].from;
		sim->effects[EFFECT_VOID]++;
	}
	gateway->newest_seq = seq - 1;
}

/* Who caused it? False: not known yet. */
static bool judge(struct sim *sim, struct sim_gateway *gateway, uint64_t seq,
                  struct chain_key *out_culprit)
{
	const struct lane_anchor *refused = lane_find(&gateway->lane, seq);
	const struct sim_anchor *anchor = sim_anchor_at(sim, gateway, seq);
	struct chain_key chains[SIM_ENTRIES_MAX];
	bool found = false;
	for (uint32_t i = 0; i < anchor->entry_count; i++)
		chains[i] = key_of(anchor->entries[i].chain);
	if (refused->reject_entry >= 0) {
		*out_culprit = chains[refused->reject_entry];
		plan_cleared(&gateway->plan, out_culprit);
		return true;
	}
	if (!plan_refused(&gateway->plan, chains, anchor->entry_count, &found, out_culprit, NULL))
		sim_fail(sim, "out of memory");
	return found;
}

static void on_voided(struct sim *sim, const struct event *event)
{
	struct sim_gateway *gateway = sim_gateway_alive(sim, event->c);
	struct chain_key culprit;
	if (gateway == NULL)
		return;
	bool unreadable = lane_find(&gateway->lane, event->a)->unreadable;
	uint32_t guilty = unreadable ? sim->profile.rotten_chain : sim->profile.refused_chain;
	sim->effects[EFFECT_UNREADABLE] += unreadable ? 1 : 0;
	bool found = judge(sim, gateway, event->a, &culprit);
	sim_delivery_void(sim, gateway, event->a);
	lane_voided(&gateway->lane, event->a);
	if (found) {
		uint32_t chain = chain_of(&culprit);
		if (chain != guilty)
			sim_fail(sim, "chain %u is frozen for what another did", chain);
		gateway->chains[chain].delivery_held = true;
	}
	gateway->maybe_pending = true;
	gateway->build_at_ms = sim->now_ms;
	sim_delivery_wake(sim, gateway, 0);
}

/* The intent stands, and what it needs of one chain is gone for good. */
static bool can_read(struct sim *sim, struct sim_gateway *gateway, enum lane_step step,
                     uint64_t seq)
{
	const struct sim_anchor *anchor = sim_anchor_at(sim, gateway, seq);
	for (uint32_t i = 0; i < anchor->entry_count; i++) {
		if (anchor->entries[i].chain != sim->profile.rotten_chain)
			continue;
		sim->rotten = sim->rotten || sim_happens(sim, FAULT_ROT, ROT_PERMILLE);
		if (!sim->rotten)
			return true;
		(void)!lane_unreadable(&gateway->lane, step, seq, i, sim->now_ms);
		return false;
	}
	return true;
}

static void perform(struct sim *sim, struct sim_gateway *gateway, enum lane_step step, uint64_t seq)
{
	bool cut;
	if ((step == LANE_UPLOAD || step == LANE_SUBMIT) && !can_read(sim, gateway, step, seq))
		return;
	switch (step) {
	case LANE_WAIT:
		return;
	case LANE_ASK_HEAD:
		sim_mainchain_ask(sim, gateway, MAINCHAIN_HEAD, 0);
		return;
	case LANE_TAKE_FENCE:
		sim_mainchain_ask(sim, gateway, MAINCHAIN_FENCE, 0);
		return;
	case LANE_UPLOAD:
		cut = sim_happens(sim, FAULT_UPLOAD_CUT, sim->profile.upload_cut_permille);
		lane_uploaded(&gateway->lane, seq, !cut, sim->now_ms);
		return;
	case LANE_SUBMIT:
		sim_mainchain_ask(sim, gateway, MAINCHAIN_SUBMIT, seq);
		return;
	case LANE_LOOKUP:
		sim_mainchain_ask(sim, gateway, MAINCHAIN_LOOKUP, seq);
		return;
	case LANE_VOID:
		void_later(sim, gateway, seq);
		return;
	}
}

static void on_wake(struct sim *sim, const struct event *event)
{
	struct sim_gateway *gateway = sim_gateway_alive(sim, event->c);
	if (gateway == NULL || event->b != gateway->wake)
		return;
	int64_t wake_ms = INT64_MAX;
	add_open(sim, gateway);
	for (;;) {
		uint64_t seq;
		enum lane_step step = lane_next(&gateway->lane, sim->now_ms, &seq, &wake_ms);
		if (step == LANE_WAIT)
			break;
		perform(sim, gateway, step, seq);
	}
	if (gateway->lane.phase == LANE_HALTED) {
		sim_operator_call(sim, gateway);
		return;
	}
	build(sim, gateway);
	bool builds = gateway->maybe_pending && !gateway->building && lane_has_room(&gateway->lane);
	if (builds && gateway->build_at_ms < wake_ms)
		wake_ms = gateway->build_at_ms;
	if (wake_ms != INT64_MAX)
		sim_delivery_wake(sim, gateway,
		                  wake_ms > sim->now_ms ? (uint64_t)(wake_ms - sim->now_ms) : 1);
}

/* ---- answers ---- */

static void clear_suspects(const struct sim *sim, struct sim_gateway *gateway, uint64_t seq)
{
	const struct sim_anchor *anchor = sim_anchor_at(sim, gateway, seq);
	for (uint32_t i = 0; i < anchor->entry_count; i++) {
		struct chain_key key = key_of(anchor->entries[i].chain);
		plan_accepted(&gateway->plan, &key, 1);
	}
}

static void note_halt(struct sim *sim, enum lane_halt halt)
{
	sim->effects[EFFECT_FENCED] += halt == LANE_HALT_FENCED ? 1 : 0;
	sim->effects[EFFECT_SPOOL_NOTICED] += halt == LANE_HALT_SPOOL_RESTORED ? 1 : 0;
	sim->effects[EFFECT_MAINCHAIN_NOTICED] += halt == LANE_HALT_MAINCHAIN_RESTORED ? 1 : 0;
}

static void finish_later(struct sim *sim, const struct sim_gateway *gateway, uint64_t seq)
{
	struct event event = { .run = on_finalized, .a = seq, .c = gateway->life };
	sim_after(sim, sim_between(sim, sim->profile.commit_min_ms, sim->profile.commit_max_ms),
	          &event);
}

void sim_delivery_on_answer(struct sim *sim, uint64_t life, uint64_t seq, const struct hash *key,
                            const struct mainchain_answer *answer)
{
	struct sim_gateway *gateway = sim_gateway_alive(sim, life);
	if (gateway == NULL)
		return;
	const struct lane_anchor *anchor = seq == 0 ? NULL : lane_find(&gateway->lane, seq);
	if (seq != 0 && (anchor == NULL || !hash_equal(&anchor->key, key)))
		return;
	enum lane_news news = lane_on_answer(&gateway->lane, sim->now_ms, seq, answer);
	if (news == LANE_NEWS_FINAL) {
		clear_suspects(sim, gateway, seq);
		finish_later(sim, gateway, seq);
	} else if (news == LANE_NEWS_STATE && anchor->state == SPOOL_ANCHOR_INCLUDED) {
		clear_suspects(sim, gateway, seq);
	} else if (news == LANE_NEWS_HALTED) {
		note_halt(sim, gateway->lane.halt);
	}
	sim_delivery_wake(sim, gateway, 0);
}

void sim_delivery_finalize(struct sim *sim, struct sim_gateway *gateway, uint64_t seq)
{
	const struct sim_anchor *anchor = sim_anchor_at(sim, gateway, seq);
	for (uint32_t i = 0; i < anchor->entry_count; i++) {
		struct sim_chain *chain = &gateway->chains[anchor->entries[i].chain];
		if (chain->anchored_next != anchor->entries[i].from)
			sim_fail(sim, "chain %u: its anchored watermark jumps",
			         anchor->entries[i].chain);
		chain->anchored_next = anchor->entries[i].to + 1;
	}
	gateway->final_seq = seq;
	sim_gateway_tell_anchored(sim, gateway, seq);
}

static void on_finalized(struct sim *sim, const struct event *event)
{
	struct sim_gateway *gateway = sim_gateway_alive(sim, event->c);
	if (gateway == NULL)
		return;
	sim_delivery_finalize(sim, gateway, event->a);
	lane_finished(&gateway->lane, event->a);
	sim_delivery_wake(sim, gateway, 0);
}
