/* sim.c -- the clock, the events, the links, and a run. See sim.h. */
#include "tests/sim/sim.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LIVENESS_MS (6 * 3600000) /* Of virtual time; a run ends as soon as all is done. */
#define FRAME_BYTES 200           /* Of a message without a piece of a batch, TLS included. */

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

bool sim_happens(struct sim *sim, enum fault fault, uint32_t permille)
{
	bool happens = next_chance(sim) % 1000 < permille && sim->faults;
	sim->seen[fault] += happens ? 1 : 0;
	return happens;
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
	if (sim->edges[edge].link != event->b || sim->edges[edge].dark == event->b)
		return; /* That link is gone. */
	if (event->c != 0)
		sim_gateway_on_message(sim, edge, &event->message);
	else
		sim_edge_on_message(sim, edge, &event->message);
}

void sim_send(struct sim *sim, uint32_t edge, bool up, const struct message *message)
{
	struct sim_edge *is = &sim->edges[edge];
	if (is->link == 0 || is->link == is->dark)
		return;
	int64_t arrives_ms = sim->now_ms + (int64_t)sim_between(sim, sim->profile.delay_min_ms,
	                                                        sim->profile.delay_max_ms);
	if (arrives_ms < is->clear_ms[up])
		arrives_ms = is->clear_ms[up];
	if (sim->profile.link_bytes_per_s > 0)
		arrives_ms += (int64_t)((FRAME_BYTES + message->size) * 1000 /
		                        sim->profile.link_bytes_per_s);
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
	sim_edge_link_lost(sim, edge);
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
			sim_check_recorded(sim);
			if (until_done && sim_is_done(sim))
				return;
		}
	}
}

static void start(struct sim *sim)
{
	sim_profile_draw(sim);
	sim->faults = true;
	sim_mainchain_start(sim);
	sim_gateway_start(sim, &sim->gateways[0]);
	for (uint32_t edge = 0; edge < sim->profile.edge_count; edge++)
		sim_edge_start(sim, edge);
	sim_faults_start(sim);
	sim_operator_start(sim);
}

static void finish(struct sim *sim)
{
	for (uint32_t edge = 0; edge < sim->profile.edge_count; edge++)
		sim_edge_free(sim, edge);
	for (size_t i = 0; i < SIM_GATEWAYS_MAX; i++) {
		if (sim->gateways[i].up)
			sim_delivery_fini(&sim->gateways[i]);
	}
	free(sim->spool_copy);
	free(sim->mainchain_copy);
	free(sim->anchors);
	free(sim->events);
	free(sim);
}

static void say(const struct sim *sim)
{
	printf("seed %llu: %u chains, %llu blocks each, %llu events, %llu anchors, %lld s of its "
	       "time\n",
	       (unsigned long long)sim->seed, sim_chain_count(sim),
	       (unsigned long long)sim->block_target, (unsigned long long)sim->processed,
	       (unsigned long long)sim->mainchain.count, (long long)sim->now_ms / 1000);
	for (enum fault fault = 0; fault < FAULT_COUNT; fault++) {
		if (sim->seen[fault] > 0)
			printf("  %s: %llu\n", sim_fault_name(fault),
			       (unsigned long long)sim->seen[fault]);
	}
	for (enum effect effect = 0; effect < EFFECT_COUNT; effect++) {
		if (sim->effects[effect] > 0)
			printf("  -> %s: %llu\n", sim_effect_name(effect),
			       (unsigned long long)sim->effects[effect]);
	}
}

void sim_run(uint64_t seed, bool talk, struct sim_counts *counts)
{
	struct sim *sim = calloc(1, sizeof(*sim));
	if (sim == NULL)
		abort();
	sim->seed = seed;
	sim->chance = seed;
	start(sim);
	run_until(sim, (int64_t)sim_safety_ms(sim), false);
	sim->faults = false;
	sim_mainchain_back(sim);
	sim_weather_clears(sim);
	sim_edges_go_on(sim);
	run_until(sim, (int64_t)sim_safety_ms(sim) + LIVENESS_MS, true);
	sim_check_recorded(sim);
	if (talk)
		say(sim);
	if (!sim_is_done(sim)) {
		sim_say_where_it_hangs(sim);
		sim_fail(sim, "no liveness: faults are over and work is left");
	}
	counts->events += sim->processed;
	counts->virtual_ms += (uint64_t)sim->now_ms;
	for (size_t i = 0; i < FAULT_COUNT; i++)
		counts->seen[i] += sim->seen[i];
	for (size_t i = 0; i < EFFECT_COUNT; i++)
		counts->effects[i] += sim->effects[i];
	finish(sim);
}
