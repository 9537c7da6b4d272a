/* sim_weather.c -- what a cellular network does to links, from seconds to hours.
 *
 * A silence is a NAT entry that is forgotten, or a half-open link: both ends believe in it, what they
 * send goes nowhere, and the edge finds out when an answer is due. An outage takes the network away;
 * a night takes it from some edges for hours, while the rest of the model slows down to be worth
 * simulating. A swizzle stops a random set of links one by one and lets them go in another order.
 */
#include "tests/sim/sim.h"

#define SECOND_MS      1000
#define NOTICED_MAX_MS (60 * SECOND_MS) /* A heartbeat and its answer. */
#define OUTAGE_MAX_MS  (30 * SECOND_MS)
#define SWIZZLE_MAX_MS (10 * SECOND_MS)

/* ---- silence ------------------------------------------------------------------------------- */

static void on_noticed(struct sim *sim, const struct event *event)
{
	if (sim->edges[event->a].link == event->b)
		sim_break_link(sim, (uint32_t)event->a);
}

static void silence(struct sim *sim, uint32_t edge)
{
	struct sim_edge *is = &sim->edges[edge];
	struct event noticed = { .run = on_noticed, .a = edge, .b = is->link };
	if (is->link == 0 || is->dark == is->link)
		return;
	sim->seen[FAULT_SILENCE]++;
	is->dark = is->link;
	sim_after(sim, sim_between(sim, 1, NOTICED_MAX_MS), &noticed);
}

/* ---- outages ------------------------------------------------------------------------------- */

/* With a reset, or in silence. */
static void go_offline(struct sim *sim, uint32_t edge, uint64_t for_ms)
{
	sim->edges[edge].offline_until_ms = sim->now_ms + (int64_t)for_ms;
	if (sim_between(sim, 0, 1) == 0)
		sim_break_link(sim, edge);
	else
		silence(sim, edge);
}

static void on_lost_for_hours(struct sim *sim, const struct event *event)
{
	sim->seen[FAULT_NIGHT]++;
	go_offline(sim, (uint32_t)event->a, event->b);
}

static void on_night(struct sim *sim, const struct event *event)
{
	sim->night = event->a != 0;
	for (uint32_t edge = 0; sim->night && edge < sim->profile.edge_count; edge++) {
		uint64_t begins_ms = sim_between(sim, 0, sim->profile.night_ms / 2);
		uint64_t lasts_ms = sim_between(sim, 1, sim->profile.night_ms / 2);
		struct event lost = { .run = on_lost_for_hours, .a = edge, .b = lasts_ms };
		if (sim_between(sim, 0, 2) > 0)
			sim_after(sim, begins_ms, &lost);
	}
}

void sim_weather_start(struct sim *sim)
{
	struct event begins = { .run = on_night, .a = 1 }, ends = { .run = on_night };
	if (sim->profile.night_ms == 0)
		return;
	sim_after(sim, SIM_LONG_AFTER_MS, &begins);
	sim_after(sim, SIM_LONG_AFTER_MS + sim->profile.night_ms, &ends);
}

/* ---- swizzle ------------------------------------------------------------------------------- */

static void on_stopped(struct sim *sim, const struct event *event)
{
	struct sim_edge *is = &sim->edges[event->a];
	for (int direction = 0; direction < 2; direction++) {
		if (is->clear_ms[direction] < (int64_t)event->b)
			is->clear_ms[direction] = (int64_t)event->b;
	}
}

static void swizzle(struct sim *sim)
{
	uint64_t released_ms = (uint64_t)sim->now_ms + SWIZZLE_MAX_MS;
	sim->seen[FAULT_SWIZZLE]++;
	for (uint32_t edge = 0; edge < sim->profile.edge_count; edge++) {
		uint64_t until_ms = released_ms + sim_between(sim, 0, SWIZZLE_MAX_MS);
		struct event stopped = { .run = on_stopped, .a = edge, .b = until_ms };
		if (sim_between(sim, 0, 1) == 0)
			sim_after(sim, sim_between(sim, 0, SWIZZLE_MAX_MS), &stopped);
	}
}

/* -------------------------------------------------------------------------------------------- */

void sim_weather_cause(struct sim *sim, enum fault fault, uint32_t edge)
{
	if (fault == FAULT_SILENCE)
		silence(sim, edge);
	else if (fault == FAULT_SWIZZLE)
		swizzle(sim);
	else if (sim->now_ms >= sim->edges[edge].offline_until_ms) {
		sim->seen[FAULT_OUTAGE]++;
		go_offline(sim, edge, sim_between(sim, 500, OUTAGE_MAX_MS));
	}
}

void sim_weather_clears(struct sim *sim)
{
	for (uint32_t edge = 0; edge < sim->profile.edge_count; edge++) {
		struct sim_edge *is = &sim->edges[edge];
		is->offline_until_ms = sim->now_ms;
		if (is->link != 0 && is->dark == is->link)
			sim_break_link(sim, edge);
		else if (is->link == 0)
			sim_edge_dial(sim, edge);
	}
}
