/* sim_delivery.c -- the gateway's delivery: the real lane and plan; the main chain is a model. */
#include <assert.h>
#include <string.h>

#include "tests/sim/sim.h"

#define ANCHOR_INTERVAL_MS 500
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

void sim_delivery_wake(struct sim *sim, uint64_t delay_ms)
{
	struct event event = { .run = on_wake, .b = ++sim->number, .c = sim->gateway.life };
	sim->gateway.wake = event.b;
	sim_after(sim, delay_ms, &event);
}

/* ---- life ---- */

static struct lane_options lane_options_of(const struct sim *sim)
{
	return (struct lane_options){ .lane = 1,
		                      .uploads = sim->seed % 3 == 0,
		                      .open_max = 1 + (uint32_t)(sim->seed % 8),
		                      .poll_ms = 200,
		                      .retry_min_ms = 50,
		                      .retry_max_ms = 3000 };
}

void sim_delivery_start(struct sim *sim)
{
	struct sim_gateway *gateway = &sim->gateway;
	struct lane_options options = lane_options_of(sim);
	struct plan_limits limits = { .entry_max = 8, .block_max = 100, .byte_max = 1 << 20 };
	struct hash root = gateway->anchors[gateway->final_seq].root;
	lane_init(&gateway->lane, &options, gateway->final_seq, &root, sim->number);
	for (uint64_t seq = gateway->final_seq + 1; seq <= gateway->newest_seq; seq++) {
		const struct sim_anchor *anchor = &gateway->anchors[seq];
		lane_add_open(&gateway->lane, seq, &anchor->root, &anchor->key,
		              anchor->sent_height);
	}
	plan_init(&gateway->plan, &limits);
	for (size_t class = 0; class < CLASS_COUNT; class ++)
		plan_set_class(&gateway->plan, class, (uint32_t)(class + 1), DELIVER_ANCHOR);
	gateway->building = false;
	sim_delivery_wake(sim, 1);
}

void sim_delivery_fini(struct sim *sim)
{
	plan_fini(&sim->gateway.plan);
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

static void take_run(struct sim *sim, struct sim_anchor *anchor, uint32_t chain, uint64_t block_max,
                     struct plan_run *out_run)
{
	const struct sim_chain *is = &sim->gateway.chains[chain];
	struct sim_entry *entry = entry_of(anchor, chain);
	*out_run = (struct plan_run){ .chain = key_of(chain), .first = entry == NULL };
	uint64_t from = entry != NULL ? entry->to + 1 : is->pending_from;
	if (is->delivery_held || from >= is->next_height)
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
static bool next_chain(const struct sim *sim, size_t class, const struct chain_key *after,
                       uint32_t *out_chain)
{
	for (uint32_t chain = 0; chain < sim_chain_count(sim); chain++) {
		const struct sim_chain *is = &sim->gateway.chains[chain];
		struct chain_key key = key_of(chain);
		if (chain % CLASS_COUNT == class && memcmp(&key, after, sizeof(key)) > 0 &&
		    !is->delivery_held && is->pending_from < is->next_height) {
			*out_chain = chain;
			return true;
		}
	}
	return false;
}

static void choose(struct sim *sim, struct sim_anchor *anchor)
{
	struct plan *plan = &sim->gateway.plan;
	const struct chain_key *suspects;
	struct plan_run run;
	size_t count = plan_probe(plan, &suspects);
	for (size_t i = 0; i < count; i++)
		take_run(sim, anchor, chain_of(&suspects[i]), 64, &run);
	if (count > 0 || !plan_begin(plan))
		return;
	size_t class;
	uint64_t block_max;
	while (plan_next(plan, &class, &block_max)) {
		uint32_t chain = 0;
		if (!next_chain(sim, class, &plan->classes[class].cursor, &chain)) {
			plan_wrapped(plan, class);
			continue;
		}
		take_run(sim, anchor, chain, block_max, &run);
		if (run.blocks > 0)
			plan_took(plan, class, &run);
		else
			plan_skipped(plan, class, &run.chain);
	}
}

static void seal(struct sim_anchor *anchor, uint64_t seq, const struct hash *previous)
{
	uint8_t content[32 + 16 * SIM_ENTRIES_MAX + 8];
	size_t size = 0;
	put_be64(content, seq);
	memcpy(content + 8, previous->bytes, 32);
	size = 40;
	for (uint32_t i = 0; i < anchor->entry_count && size + 20 <= sizeof(content); i++) {
		put_be32(content + size, anchor->entries[i].chain);
		put_be64(content + size + 4, anchor->entries[i].from);
		put_be64(content + size + 12, anchor->entries[i].to);
		size += 20;
	}
	anchor->root = sha256((struct bytes){ content, size });
	anchor->key = sha256(BYTES_OF(anchor->root));
}

/* As relay/delivery.c: intent first, nothing is sent before it is durable. */
static void build(struct sim *sim)
{
	struct sim_gateway *gateway = &sim->gateway;
	if (gateway->building || !lane_has_room(&gateway->lane) ||
	    sim->now_ms < gateway->build_at_ms)
		return;
	struct sim_anchor anchor = { .entry_count = 0 };
	struct hash previous;
	uint64_t seq;
	choose(sim, &anchor);
	if (anchor.entry_count == 0) {
		const struct chain_key *suspects;
		while (plan_probe(&gateway->plan, &suspects) > 0) {
			struct chain_key first = suspects[0];
			plan_cleared(&gateway->plan, &first);
		}
		return;
	}
	gateway->build_at_ms = sim->now_ms + ANCHOR_INTERVAL_MS;
	lane_tail(&gateway->lane, &seq, &previous);
	assert(seq < SIM_ANCHORS_MAX);
	seal(&anchor, seq, &previous);
	anchor.sent_height = gateway->lane.height_seen;
	gateway->anchors[seq] = anchor; /* Counts once it is committed: newest_seq says so. */
	gateway->building = true;
	struct event event = { .run = on_intended, .a = seq, .c = gateway->life };
	sim_after(sim, sim_between(sim, sim->profile.commit_min_ms, sim->profile.commit_max_ms),
	          &event);
}

static void on_intended(struct sim *sim, const struct event *event)
{
	struct sim_gateway *gateway = &sim->gateway;
	if (event->c != gateway->life || !gateway->up)
		return; /* Killed before the commit: there was no intent. */
	const struct sim_anchor *anchor = &gateway->anchors[event->a];
	gateway->building = false;
	for (uint32_t i = 0; i < anchor->entry_count; i++) {
		struct sim_chain *chain = &gateway->chains[anchor->entries[i].chain];
		if (anchor->entries[i].from != chain->pending_from)
			sim_fail(sim, "anchor %llu: a hole or an overlap",
			         (unsigned long long)event->a);
		chain->pending_from = anchor->entries[i].to + 1;
	}
	gateway->newest_seq = event->a;
	lane_intended(&gateway->lane, event->a, &anchor->root, &anchor->key);
	sim_delivery_wake(sim, 0);
}

/* ---- steps ---- */

static void void_anchors(struct sim *sim, uint64_t seq)
{
	struct event event = { .run = on_voided, .a = seq, .c = sim->gateway.life };
	sim_after(sim, sim_between(sim, sim->profile.commit_min_ms, sim->profile.commit_max_ms),
	          &event);
}

static void on_voided(struct sim *sim, const struct event *event)
{
	struct sim_gateway *gateway = &sim->gateway;
	if (event->c != gateway->life || !gateway->up)
		return;
	uint64_t seq = event->a;
	const struct lane_anchor *refused = lane_find(&gateway->lane, seq);
	const struct sim_anchor *anchor = &gateway->anchors[seq];
	struct chain_key chains[SIM_ENTRIES_MAX], culprit;
	bool found = false;
	for (uint32_t i = 0; i < anchor->entry_count; i++)
		chains[i] = key_of(anchor->entries[i].chain);
	if (refused->reject_entry >= 0) {
		found = true;
		culprit = chains[refused->reject_entry];
		plan_cleared(&gateway->plan, &culprit);
	} else if (!plan_refused(&gateway->plan, chains, anchor->entry_count, &found, &culprit,
	                         NULL)) {
		sim_fail(sim, "out of memory");
	}
	for (uint64_t newest = gateway->newest_seq; newest >= seq; newest--) {
		const struct sim_anchor *back = &gateway->anchors[newest];
		for (uint32_t i = 0; i < back->entry_count; i++)
			gateway->chains[back->entries[i].chain].pending_from =
				back->entries[i].from;
	}
	gateway->newest_seq = seq - 1;
	lane_voided(&gateway->lane, seq);
	sim->voids++;
	if (found) {
		uint32_t chain = chain_of(&culprit);
		if (chain != sim->profile.refused_chain)
			sim_fail(sim, "chain %u is frozen for what another did", chain);
		gateway->chains[chain].delivery_held = true;
	}
	gateway->build_at_ms = sim->now_ms;
	sim_delivery_wake(sim, 0);
}

static void perform(struct sim *sim, enum lane_step step, uint64_t seq)
{
	switch (step) {
	case LANE_WAIT:
		return;
	case LANE_ASK_HEAD:
		sim_mainchain_ask(sim, MAINCHAIN_HEAD, 0);
		return;
	case LANE_TAKE_FENCE:
		sim_mainchain_ask(sim, MAINCHAIN_FENCE, 0);
		return;
	case LANE_UPLOAD:
		lane_uploaded(&sim->gateway.lane, seq, !sim_chance(sim, 100), sim->now_ms);
		return;
	case LANE_SUBMIT:
		sim_mainchain_ask(sim, MAINCHAIN_SUBMIT, seq);
		return;
	case LANE_LOOKUP:
		sim_mainchain_ask(sim, MAINCHAIN_LOOKUP, seq);
		return;
	case LANE_VOID:
		void_anchors(sim, seq);
		return;
	}
}

static void on_wake(struct sim *sim, const struct event *event)
{
	struct sim_gateway *gateway = &sim->gateway;
	if (event->b != gateway->wake || event->c != gateway->life || !gateway->up)
		return;
	int64_t wake_ms = INT64_MAX;
	for (;;) {
		uint64_t seq;
		enum lane_step step = lane_next(&gateway->lane, sim->now_ms, &seq, &wake_ms);
		if (step == LANE_WAIT)
			break;
		perform(sim, step, seq);
	}
	if (gateway->lane.phase == LANE_HALTED)
		sim_fail(sim, "the lane halted: %s", lane_halt_name(gateway->lane.halt));
	build(sim);
	int64_t wait_ms = wake_ms == INT64_MAX ? ANCHOR_INTERVAL_MS : wake_ms - sim->now_ms;
	if (wait_ms > ANCHOR_INTERVAL_MS)
		wait_ms = ANCHOR_INTERVAL_MS;
	sim_delivery_wake(sim, (uint64_t)(wait_ms < 1 ? 1 : wait_ms));
}

/* ---- answers ---- */

static void clear_suspects(struct sim *sim, uint64_t seq)
{
	const struct sim_anchor *anchor = &sim->gateway.anchors[seq];
	for (uint32_t i = 0; i < anchor->entry_count; i++) {
		struct chain_key key = key_of(anchor->entries[i].chain);
		plan_accepted(&sim->gateway.plan, &key, 1);
	}
}

void sim_delivery_on_answer(struct sim *sim, uint64_t life, uint64_t seq, const struct hash *key,
                            const struct mainchain_answer *answer)
{
	struct sim_gateway *gateway = &sim->gateway;
	if (life != gateway->life || !gateway->up)
		return;
	const struct lane_anchor *anchor = seq == 0 ? NULL : lane_find(&gateway->lane, seq);
	if (seq != 0 && (anchor == NULL || !hash_equal(&anchor->key, key)))
		return;
	enum lane_news news = lane_on_answer(&gateway->lane, sim->now_ms, seq, answer);
	if (news == LANE_NEWS_FINAL) {
		struct event event = { .run = on_finalized, .a = seq, .c = life };
		clear_suspects(sim, seq);
		sim_after(sim,
		          sim_between(sim, sim->profile.commit_min_ms, sim->profile.commit_max_ms),
		          &event);
	} else if (news == LANE_NEWS_STATE && anchor->state == SPOOL_ANCHOR_INCLUDED) {
		clear_suspects(sim, seq);
	}
	sim_delivery_wake(sim, 0);
}

static void on_finalized(struct sim *sim, const struct event *event)
{
	struct sim_gateway *gateway = &sim->gateway;
	if (event->c != gateway->life || !gateway->up)
		return;
	struct sim_anchor *anchor = &gateway->anchors[event->a];
	for (uint32_t i = 0; i < anchor->entry_count; i++) {
		struct sim_chain *chain = &gateway->chains[anchor->entries[i].chain];
		if (chain->anchored_next != anchor->entries[i].from)
			sim_fail(sim, "chain %u: its anchored watermark jumps",
			         anchor->entries[i].chain);
		chain->anchored_next = anchor->entries[i].to + 1;
	}
	anchor->final = true;
	gateway->final_seq = event->a;
	lane_finished(&gateway->lane, event->a);
	sim_gateway_tell_anchored(sim, event->a);
	sim_delivery_wake(sim, 0);
}
