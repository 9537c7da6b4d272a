/* sim.c -- the clock, the events, the faults, the oracle, and main(). See sim.h. */
#include "tests/sim/sim.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SAFETY_MS   60000
#define LIVENESS_MS 3600000 /* Of virtual time; a run ends as soon as all is done. */

/* ---- chance -------------------------------------------------------------------------------- */

static uint64_t next_chance(struct sim *sim)
{
	sim->chance += 0x9e3779b97f4a7c15u;
	uint64_t value = sim->chance;
	value = (value ^ (value >> 30)) * 0xbf58476d1ce4e5b9u;
	value = (value ^ (value >> 27)) * 0x94d049bb133111ebu;
	return value ^ (value >> 31);
}

uint64_t sim_between(struct sim *sim, uint64_t min, uint64_t max)
{
	return min + next_chance(sim) % (max - min + 1);
}

bool sim_chance(struct sim *sim, uint32_t permille)
{
	bool happens = next_chance(sim) % 1000 < permille;
	return sim->faults && happens;
}

void sim_fail(const struct sim *sim, const char *format, ...)
{
	va_list args;
	va_start(args, format);
	(void)fprintf(stderr,
	              "seed %llu, after %lld ms and %llu events: ", (unsigned long long)sim->seed,
	              (long long)sim->now_ms, (unsigned long long)sim->processed);
	(void)vfprintf(stderr, format, args);
	(void)fprintf(stderr, "\nreproduce: sim --seed %llu\n", (unsigned long long)sim->seed);
	va_end(args);
	exit(1);
}

uint32_t sim_chain_count(const struct sim *sim)
{
	return sim->profile.edge_count * SIM_CHAINS_PER_EDGE;
}

struct hash sim_block_hash(uint32_t chain, uint64_t height)
{
	struct hash hash = { { 0 } };
	put_be32(hash.bytes, chain + 1);
	put_be64(hash.bytes + 8, height + 1);
	return hash;
}

uint64_t sim_trust_from(uint64_t height)
{
	/* The block at a multiple of SIM_TRUST_EVERY brings the set for the heights above it. */
	if (height <= SIM_TRUST_EVERY)
		return 0;
	return (height - 1) / SIM_TRUST_EVERY * SIM_TRUST_EVERY + 1;
}

/* ---- events: a heap by time, then by order ------------------------------------------------- */

static bool before(const struct event *a, const struct event *b)
{
	return a->at_ms != b->at_ms ? a->at_ms < b->at_ms : a->order < b->order;
}

static void swap(struct event *a, struct event *b)
{
	struct event kept = *a;
	*a = *b;
	*b = kept;
}

void sim_after(struct sim *sim, uint64_t delay_ms, const struct event *event)
{
	if (sim->event_count == sim->event_capacity) {
		size_t capacity = sim->event_capacity == 0 ? 1024 : sim->event_capacity * 2;
		struct event *events = reallocarray(sim->events, capacity, sizeof(*events));
		if (events == NULL)
			sim_fail(sim, "out of memory");
		/* The event may be one of those that just moved: it is copied by value below only
		 * where the caller holds it outside the heap, as pop() does. */
		sim->events = events;
		sim->event_capacity = capacity;
	}
	size_t at = sim->event_count++;
	sim->events[at] = *event;
	sim->events[at].at_ms = sim->now_ms + (int64_t)delay_ms;
	sim->events[at].order = ++sim->order;
	while (at > 0 && before(&sim->events[at], &sim->events[(at - 1) / 2])) {
		swap(&sim->events[at], &sim->events[(at - 1) / 2]);
		at = (at - 1) / 2;
	}
}

static struct event pop(struct sim *sim)
{
	struct event first = sim->events[0];
	sim->events[0] = sim->events[--sim->event_count];
	size_t at = 0;
	for (;;) {
		size_t child = 2 * at + 1;
		if (child >= sim->event_count)
			return first;
		if (child + 1 < sim->event_count &&
		    before(&sim->events[child + 1], &sim->events[child]))
			child++;
		if (!before(&sim->events[child], &sim->events[at]))
			return first;
		swap(&sim->events[child], &sim->events[at]);
		at = child;
	}
}

/* ---- links --------------------------------------------------------------------------------- */

static void on_message(struct sim *sim, const struct event *event)
{
	uint32_t edge = (uint32_t)event->a;
	if (sim->edges[edge].link != event->b || !sim->gateway.up)
		return; /* That link is gone. */
	if (event->c != 0)
		sim_gateway_on_message(sim, edge, &event->message);
	else
		sim_edge_on_message(sim, edge, &event->message);
}

void sim_send(struct sim *sim, uint32_t edge, bool up, const struct message *message)
{
	struct sim_edge *is = &sim->edges[edge];
	if (is->link == 0)
		return;
	int64_t arrives_ms = sim->now_ms + (int64_t)sim_between(sim, sim->profile.delay_min_ms,
	                                                        sim->profile.delay_max_ms);
	if (arrives_ms < is->clear_ms[up])
		arrives_ms = is->clear_ms[up];
	is->clear_ms[up] = arrives_ms;
	struct event event = {
		.run = on_message, .a = edge, .b = is->link, .c = up, .message = *message
	};
	sim_after(sim, (uint64_t)(arrives_ms - sim->now_ms), &event);
}

void sim_break_link(struct sim *sim, uint32_t edge)
{
	if (sim->edges[edge].link == 0)
		return;
	sim->edges[edge].link = 0;
	sim->breaks++;
	sim_edge_link_lost(sim, edge);
}

/* ---- faults -------------------------------------------------------------------------------- */

enum fault {
	FAULT_BREAK,
	FAULT_STALL,
	FAULT_KILL_GATEWAY,
	FAULT_KILL_EDGE,
	FAULT_AWAY,
	FAULT_REORG,
	FAULT_COUNT
};

static uint32_t period_of(const struct sim *sim, enum fault fault)
{
	const uint32_t periods[FAULT_COUNT] = {
		[FAULT_BREAK] = sim->profile.link_break_every_ms,
		[FAULT_STALL] = sim->profile.stall_every_ms,
		[FAULT_KILL_GATEWAY] = sim->profile.gateway_kill_every_ms,
		[FAULT_KILL_EDGE] = sim->profile.edge_kill_every_ms,
		[FAULT_AWAY] = sim->profile.mainchain_away_every_ms,
		[FAULT_REORG] = sim->profile.reorg_every_ms,
	};
	return periods[fault];
}

static void on_back(struct sim *sim, const struct event *event)
{
	sim->mainchain.up = true;
}

/* Drops anchors from the end that are not final yet. */
static void reorganise(struct sim *sim)
{
	struct sim_mainchain *chain = &sim->mainchain;
	uint64_t deepest = 1 + next_chance(sim) % (sim->profile.finality_blocks + 1);
	while (chain->count > 0 && deepest-- > 0) {
		const struct sim_recorded *last = &chain->recorded[chain->count - 1];
		if (last->height + sim->profile.finality_blocks <= chain->height)
			return;
		chain->count--;
		sim->reorgs++;
	}
}

static void cause(struct sim *sim, enum fault fault)
{
	uint32_t edge = (uint32_t)sim_between(sim, 0, sim->profile.edge_count - 1);
	struct event back = { .run = on_back };
	switch (fault) {
	case FAULT_BREAK:
		sim_break_link(sim, edge);
		return;
	case FAULT_STALL:
		sim->edges[edge].clear_ms[0] += (int64_t)sim_between(sim, 100, 5000);
		sim->edges[edge].clear_ms[1] += (int64_t)sim_between(sim, 100, 5000);
		return;
	case FAULT_KILL_GATEWAY:
		sim_gateway_kill(sim);
		return;
	case FAULT_KILL_EDGE:
		sim_edge_kill(sim, edge);
		return;
	case FAULT_AWAY:
		sim->mainchain.up = false;
		sim_after(sim, sim_between(sim, 500, 15000), &back);
		return;
	case FAULT_REORG:
		reorganise(sim);
		return;
	case FAULT_COUNT:
		return;
	}
}

static void on_fault(struct sim *sim, const struct event *event)
{
	if (!sim->faults)
		return;
	cause(sim, (enum fault)event->a);
	sim_after(sim, sim_between(sim, 1, 2 * (uint64_t)period_of(sim, (enum fault)event->a)),
	          event);
}

static uint32_t rarely(struct sim *sim, uint64_t min, uint64_t max)
{
	return sim_between(sim, 0, 2) == 0 ? 0 : (uint32_t)sim_between(sim, min, max);
}

static void draw_profile(struct sim *sim)
{
	struct profile *profile = &sim->profile;
	profile->edge_count = (uint32_t)sim_between(sim, 1, SIM_EDGES_MAX);
	profile->block_every_ms = (uint32_t)sim_between(sim, 20, 600);
	profile->delay_min_ms = (uint32_t)sim_between(sim, 1, 150);
	profile->delay_max_ms = profile->delay_min_ms + (uint32_t)sim_between(sim, 0, 1500);
	profile->link_break_every_ms = rarely(sim, 100, 8000);
	profile->stall_every_ms = rarely(sim, 500, 8000);
	profile->gateway_kill_every_ms = rarely(sim, 1500, 20000);
	profile->edge_kill_every_ms = rarely(sim, 500, 10000);
	profile->lie_permille = rarely(sim, 1, 300);
	profile->mainchain_away_every_ms = rarely(sim, 3000, 30000);
	profile->answer_lost_permille = rarely(sim, 1, 500);
	profile->submit_lost_permille = rarely(sim, 1, 500);
	profile->stale_permille = rarely(sim, 1, 300);
	profile->reorg_every_ms = rarely(sim, 500, 10000);
	profile->finality_blocks = (uint32_t)sim_between(sim, 0, 12);
	profile->refused_chain = SIM_CHAINS_MAX;
	if (sim_between(sim, 0, 3) == 0)
		profile->refused_chain = (uint32_t)sim_between(sim, 0, sim_chain_count(sim) - 1);
	profile->says_which = sim_between(sim, 0, 1) == 0;
	profile->commit_min_ms = (uint32_t)sim_between(sim, 0, 3);
	profile->commit_max_ms = profile->commit_min_ms + (uint32_t)sim_between(sim, 0, 200);
	profile->spool_fails_permille = rarely(sim, 1, 200);
	sim->block_target = sim_between(sim, 20, SIM_BLOCKS_MAX - 1);
}

/* ---- the oracle ---------------------------------------------------------------------------- */

/* What the main chain holds of each chain follows from height 0 on without hole or repetition. */
static void check_recorded(const struct sim *sim)
{
	uint64_t next[SIM_CHAINS_MAX] = { 0 };
	for (uint64_t i = 0; i < sim->mainchain.count; i++) {
		const struct sim_anchor *anchor = &sim->mainchain.recorded[i].anchor;
		for (uint32_t j = 0; j < anchor->entry_count; j++) {
			const struct sim_entry *entry = &anchor->entries[j];
			if (entry->from != next[entry->chain])
				sim_fail(sim,
				         "the main chain has chain %u from %llu on after %llu "
				         "blocks",
				         entry->chain, (unsigned long long)entry->from,
				         (unsigned long long)next[entry->chain]);
			next[entry->chain] = entry->to + 1;
		}
	}
	for (uint32_t chain = 0; chain < sim_chain_count(sim); chain++) {
		if (next[chain] > sim->gateway.chains[chain].next_height)
			sim_fail(sim, "chain %u: anchored and not durable", chain);
		if (sim->gateway.chains[chain].anchored_next > next[chain])
			sim_fail(sim, "chain %u: its receipt speaks of what the main chain has not",
			         chain);
	}
}

void sim_check(const struct sim *sim)
{
	for (uint32_t number = 0; number < sim_chain_count(sim); number++) {
		const struct sim_chain *chain = &sim->gateway.chains[number];
		const struct sim_edge *edge = &sim->edges[number / SIM_CHAINS_PER_EDGE];
		size_t local = number % SIM_CHAINS_PER_EDGE;
		if (edge->acked[local] > chain->next_height)
			sim_fail(sim, "chain %u: acked up to %llu, durable up to %llu", number,
			         (unsigned long long)edge->acked[local],
			         (unsigned long long)chain->next_height);
		if (edge->anchored[local] > chain->anchored_next ||
		    chain->anchored_next > chain->pending_from ||
		    chain->pending_from > chain->next_height ||
		    chain->next_height > edge->made[local])
			sim_fail(sim, "chain %u: its watermarks are out of order", number);
	}
}

bool sim_is_done(const struct sim *sim)
{
	for (uint32_t number = 0; number < sim_chain_count(sim); number++) {
		const struct sim_edge *edge = &sim->edges[number / SIM_CHAINS_PER_EDGE];
		size_t local = number % SIM_CHAINS_PER_EDGE;
		bool refused = number == sim->profile.refused_chain;
		uint64_t reached = refused ? edge->acked[local] : edge->anchored[local];
		if (edge->made[local] < sim->block_target || reached < edge->made[local])
			return false;
	}
	return true;
}

/* ---- a run --------------------------------------------------------------------------------- */

static void run_until(struct sim *sim, int64_t end_ms, bool until_done)
{
	while (sim->event_count > 0 && sim->events[0].at_ms <= end_ms) {
		struct event event = pop(sim);
		sim->now_ms = event.at_ms;
		sim->processed++;
		event.run(sim, &event);
		sim_check(sim);
		if (sim->processed % 256 == 0) {
			check_recorded(sim);
			if (until_done && sim_is_done(sim))
				return;
		}
	}
}

static void start(struct sim *sim)
{
	draw_profile(sim);
	sim->faults = true;
	sim_mainchain_start(sim);
	sim_gateway_start(sim);
	for (uint32_t edge = 0; edge < sim->profile.edge_count; edge++)
		sim_edge_start(sim, edge);
	for (int fault = 0; fault < FAULT_COUNT; fault++) {
		struct event event = { .run = on_fault, .a = (uint64_t)fault };
		if (period_of(sim, (enum fault)fault) > 0)
			sim_after(sim, sim_between(sim, 1, period_of(sim, (enum fault)fault)),
			          &event);
	}
}

static void say_where_it_hangs(const struct sim *sim)
{
	for (uint32_t number = 0; number < sim_chain_count(sim); number++) {
		const struct sim_chain *chain = &sim->gateway.chains[number];
		const struct sim_edge *edge = &sim->edges[number / SIM_CHAINS_PER_EDGE];
		size_t local = number % SIM_CHAINS_PER_EDGE;
		struct upload_status status;
		upload_status(edge->upload, local, &status);
		(void)fprintf(stderr,
		              "chain %u: made %llu durable %llu pending %llu anchored %llu, edge "
		              "acked %llu "
		              "anchored %llu, %s/%s send_next %llu\n",
		              number, (unsigned long long)edge->made[local],
		              (unsigned long long)chain->next_height,
		              (unsigned long long)chain->pending_from,
		              (unsigned long long)chain->anchored_next,
		              (unsigned long long)edge->acked[local],
		              (unsigned long long)edge->anchored[local],
		              upload_state_name(status.state), upload_hold_name(status.hold),
		              (unsigned long long)status.send_next);
	}
	(void)fprintf(stderr, "lane %s, final %llu, open %zu\n",
	              lane_phase_name(sim->gateway.lane.phase),
	              (unsigned long long)sim->gateway.final_seq, sim->gateway.lane.anchor_count);
}

static uint64_t run_seed(uint64_t seed, bool talk)
{
	struct sim *sim = calloc(1, sizeof(*sim));
	if (sim == NULL)
		abort();
	sim->seed = seed;
	sim->chance = seed;
	start(sim);
	run_until(sim, SAFETY_MS, false);
	sim->faults = false;
	sim->mainchain.up = true;
	run_until(sim, SAFETY_MS + LIVENESS_MS, true);
	check_recorded(sim);
	if (!sim_is_done(sim)) {
		say_where_it_hangs(sim);
		sim_fail(sim, "no liveness: faults are over and work is left");
	}
	if (talk)
		printf("seed %llu: %u chains, %llu blocks each, %llu events, %llu anchors, %llu "
		       "kills, "
		       "%llu links lost, %llu answers lost, %llu anchors reorganised, %llu void, "
		       "%llu lies\n",
		       (unsigned long long)seed, sim_chain_count(sim),
		       (unsigned long long)sim->block_target, (unsigned long long)sim->processed,
		       (unsigned long long)sim->gateway.final_seq, (unsigned long long)sim->kills,
		       (unsigned long long)sim->breaks, (unsigned long long)sim->lost_answers,
		       (unsigned long long)sim->reorgs, (unsigned long long)sim->voids,
		       (unsigned long long)sim->lies);
	uint64_t processed = sim->processed;
	for (uint32_t edge = 0; edge < sim->profile.edge_count; edge++)
		sim_edge_free(sim, edge);
	if (sim->gateway.up)
		sim_delivery_fini(sim);
	free(sim->events);
	free(sim);
	return processed;
}

int main(int argc, char **argv)
{
	uint64_t seed = 1, count = 100, events = 0;
	bool talk = false;
	for (int i = 1; i + 1 < argc; i += 2) {
		if (strcmp(argv[i], "--seed") == 0) {
			seed = strtoull(argv[i + 1], NULL, 0);
			count = 1;
			talk = true;
		} else if (strcmp(argv[i], "--from") == 0) {
			seed = strtoull(argv[i + 1], NULL, 0);
		} else if (strcmp(argv[i], "--count") == 0) {
			count = strtoull(argv[i + 1], NULL, 0);
		} else {
			(void)fprintf(stderr, "usage: sim [--seed S | --from S --count N]\n");
			return 2;
		}
	}
	for (uint64_t i = 0; i < count; i++)
		events += run_seed(seed + i, talk);
	printf("simulated seeds %llu to %llu: %llu events, no violation\n",
	       (unsigned long long)seed, (unsigned long long)(seed + count - 1),
	       (unsigned long long)events);
	return 0;
}
