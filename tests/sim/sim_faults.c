/* sim_faults.c -- the profile of a seed, and the faults that come by themselves.
 *
 * Swarm style: how many kinds of fault a seed has is drawn first (few, half, nearly all, none), then
 * which; a run of many seeds thus tries each kind alone, with any other, and without it.
 */
#include "tests/sim/sim.h"

#define SAFETY_MS 60000
#define HOUR_MS   3600000
#define DAY_MS    86400000

static const char *const fault_names[FAULT_COUNT] = {
	[FAULT_BREAK] = "link broken",
	[FAULT_STALL] = "link stalled",
	[FAULT_SILENCE] = "link dead, and nobody told",
	[FAULT_OUTAGE] = "edge without a network",
	[FAULT_SWIZZLE] = "links stopped and released in any order",
	[FAULT_KILL_GATEWAY] = "gateway killed",
	[FAULT_KILL_EDGE] = "edge killed",
	[FAULT_AWAY] = "main chain away",
	[FAULT_REORG] = "anchor reorganised away",
	[FAULT_LIE] = "batch that lies",
	[FAULT_SPOOL_FULL] = "commit that finds the spool full",
	[FAULT_INTENT_LOST] = "killed before an intent was durable",
	[FAULT_MONTH] = "main chain away for a month",
	[FAULT_NIGHT] = "edge without a network for hours",
	[FAULT_REQUEST_LOST] = "request lost",
	[FAULT_ANSWER_LOST] = "answer lost after it was done",
	[FAULT_ANSWER_SLOW] = "answer very late",
	[FAULT_BEHIND] = "answer of a node that is behind",
	[FAULT_BUSY] = "main chain busy",
	[FAULT_DENIED] = "submission denied",
	[FAULT_MISSING] = "batch missing there",
	[FAULT_UPLOAD_CUT] = "upload cut",
	[FAULT_ROT] = "payloads of a chain rotten",
	[FAULT_REFUSED_NAMED] = "chain refused by name",
	[FAULT_REFUSED_UNNAMED] = "chain refused without a name",
	[FAULT_MAINCHAIN_RESTORED] = "main chain restored from a copy",
	[FAULT_SPOOL_RESTORED] = "spool restored from a copy",
	[FAULT_SECOND_GATEWAY] = "second gateway on a copy of the spool",
	[FAULT_ADOPTION_CUT] = "adoption cut short",
};

static const char *const effect_names[EFFECT_COUNT] = {
	[EFFECT_FENCED] = "lane halted by the fence",
	[EFFECT_SPOOL_NOTICED] = "lane halted, spool restored",
	[EFFECT_MAINCHAIN_NOTICED] = "lane halted, main chain restored",
	[EFFECT_LOSS_SHOWN] = "loss shown by a receipt",
	[EFFECT_IMPORTED] = "anchor imported",
	[EFFECT_REWOUND] = "final anchor sent again",
	[EFFECT_VOID] = "anchor void",
	[EFFECT_UNREADABLE] = "unreadable anchor void",
};

const char *sim_fault_name(enum fault fault)
{
	return fault_names[fault];
}

const char *sim_effect_name(enum effect effect)
{
	return effect_names[effect];
}

/* ---- the profile --------------------------------------------------------------------------- */

/* density: how many in eight of all kinds this seed has. */
static uint32_t maybe(struct sim *sim, uint64_t density, uint64_t min, uint64_t max)
{
	return sim_between(sim, 1, 8) <= density ? (uint32_t)sim_between(sim, min, max) : 0;
}

static void draw_links(struct sim *sim, uint64_t density)
{
	struct profile *profile = &sim->profile;
	profile->delay_min_ms = (uint32_t)sim_between(sim, 1, 150);
	profile->delay_max_ms = profile->delay_min_ms + (uint32_t)sim_between(sim, 0, 1500);
	profile->every_ms[FAULT_BREAK] = maybe(sim, density, 100, 8000);
	profile->every_ms[FAULT_STALL] = maybe(sim, density, 500, 8000);
	profile->link_bytes_per_s = maybe(sim, density, 8000, 250000);
	profile->every_ms[FAULT_SILENCE] = maybe(sim, density, 2000, 20000);
	profile->every_ms[FAULT_OUTAGE] = maybe(sim, density, 2000, 20000);
	profile->every_ms[FAULT_SWIZZLE] = maybe(sim, density, 5000, 20000);
	profile->every_ms[FAULT_KILL_GATEWAY] = maybe(sim, density, 1500, 20000);
	profile->every_ms[FAULT_KILL_EDGE] = maybe(sim, density, 500, 10000);
	profile->lie_permille = maybe(sim, density, 1, 300);
	profile->commit_min_ms = (uint32_t)sim_between(sim, 0, 3);
	profile->commit_max_ms = profile->commit_min_ms + (uint32_t)sim_between(sim, 0, 200);
	profile->spool_full_permille = maybe(sim, density, 1, 200);
	profile->intent_lost_permille = maybe(sim, density, 1, 200);
}

static void draw_mainchain(struct sim *sim, uint64_t density)
{
	struct profile *profile = &sim->profile;
	profile->every_ms[FAULT_AWAY] = maybe(sim, density, 3000, 30000);
	profile->every_ms[FAULT_REORG] = maybe(sim, density, 500, 10000);
	profile->request_lost_permille = maybe(sim, density, 1, 500);
	profile->answer_lost_permille = maybe(sim, density, 1, 500);
	profile->answer_slow_permille = maybe(sim, density, 1, 300);
	profile->behind_permille = maybe(sim, density, 1, 300);
	profile->busy_permille = maybe(sim, density, 1, 300);
	profile->denied_permille = maybe(sim, density, 1, 300);
	profile->missing_permille = maybe(sim, density, 1, 300);
	profile->upload_cut_permille = maybe(sim, density, 1, 400);
	profile->finality_blocks = (uint32_t)sim_between(sim, 0, 12);
	profile->refused_chain = SIM_CHAINS_MAX;
	if (maybe(sim, density / 2, 1, 1) != 0)
		profile->refused_chain = (uint32_t)sim_between(sim, 0, sim_chain_count(sim) - 1);
	profile->says_which = sim_between(sim, 0, 1) == 0;
	profile->rotten_chain = SIM_CHAINS_MAX;
	if (maybe(sim, density / 2, 1, 1) != 0)
		profile->rotten_chain = (uint32_t)sim_between(sim, 0, sim_chain_count(sim) - 1);
	if (maybe(sim, density / 2, 1, 1) != 0)
		profile->month_ms = sim_between(sim, 20, 40) * DAY_MS;
	else
		profile->night_ms = (uint64_t)maybe(sim, density / 2, 1, 12) * HOUR_MS;
}

static void draw_disaster(struct sim *sim, uint64_t density)
{
	static const enum disaster disasters[] = { DISASTER_MAINCHAIN_RESTORED,
		                                   DISASTER_SPOOL_RESTORED,
		                                   DISASTER_SECOND_GATEWAY };
	struct profile *profile = &sim->profile;
	if (maybe(sim, density, 1, 1) == 0)
		return;
	profile->disaster = disasters[sim_between(sim, 0, 2)];
	/* While blocks are made: later nothing would be missing from a copy. */
	uint64_t busy_ms = sim->block_target * profile->block_every_ms;
	busy_ms = busy_ms < SAFETY_MS ? busy_ms : SAFETY_MS;
	profile->copy_at_ms = sim_between(sim, busy_ms / 20, busy_ms / 2);
	profile->disaster_at_ms = profile->copy_at_ms + sim_between(sim, busy_ms / 10, busy_ms);
	if (profile->month_ms > 0 && sim_between(sim, 0, 2) == 0)
		profile->disaster_at_ms += profile->month_ms;
	uint64_t end_ms = sim_safety_ms(sim) - 1;
	profile->disaster_at_ms =
		profile->disaster_at_ms < end_ms ? profile->disaster_at_ms : end_ms;
}

void sim_profile_draw(struct sim *sim)
{
	static const uint64_t densities[] = { 0, 1, 2, 4, 4, 6, 7, 8 };
	struct profile *profile = &sim->profile;
	uint64_t density = densities[sim_between(sim, 0, 7)];
	profile->edge_count = (uint32_t)sim_between(sim, 1, SIM_EDGES_MAX);
	profile->block_every_ms = (uint32_t)sim_between(sim, 20, 600);
	sim->block_target = sim_between(sim, 20, SIM_BLOCKS_MAX - 2);
	draw_links(sim, density);
	draw_mainchain(sim, density);
	draw_disaster(sim, density);
}

uint64_t sim_safety_ms(const struct sim *sim)
{
	return SAFETY_MS + sim->profile.month_ms + sim->profile.night_ms;
}

uint64_t sim_while(struct sim *sim, uint64_t max_ms)
{
	uint64_t long_ms = sim->profile.month_ms + sim->profile.night_ms; /* One of them is 0. */
	uint64_t left_ms = 0, stretched_ms = 0;
	if (sim->month || sim->night)
		left_ms = SIM_LONG_AFTER_MS + long_ms - (uint64_t)sim->now_ms;
	if (left_ms > 0)
		stretched_ms = sim_between(sim, 0, max_ms * (long_ms / SAFETY_MS));
	return sim_between(sim, 1, max_ms) + (stretched_ms < left_ms ? stretched_ms : left_ms);
}

/* ---- what comes by itself ------------------------------------------------------------------ */

static void on_back(struct sim *sim, const struct event *event)
{
	if (!sim->month)
		sim_mainchain_back(sim);
}

static void on_month(struct sim *sim, const struct event *event)
{
	sim->month = event->a != 0;
	sim->mainchain.up = false;
	sim->seen[FAULT_MONTH] += event->a;
	if (!sim->month)
		sim_mainchain_back(sim);
}

/* Drops anchors from the end that are not final yet. */
static void reorganise(struct sim *sim)
{
	struct sim_mainchain *chain = &sim->mainchain;
	uint64_t deepest = sim_between(sim, 1, sim->profile.finality_blocks + 1);
	while (chain->count > 0 && deepest-- > 0) {
		if (sim_mainchain_is_final(sim, chain->count))
			return;
		chain->count--;
		sim->seen[FAULT_REORG]++;
	}
}

static void kill_one(struct sim *sim)
{
	struct sim_gateway *gateway = &sim->gateways[sim_between(sim, 0, SIM_GATEWAYS_MAX - 1)];
	if (!gateway->up)
		gateway = &sim->gateways[0];
	if (!gateway->up)
		return;
	sim->seen[FAULT_KILL_GATEWAY]++;
	sim_gateway_kill(sim, gateway);
}

static void away(struct sim *sim)
{
	struct event back = { .run = on_back };
	if (sim->month)
		return;
	sim->mainchain.up = false;
	sim->seen[FAULT_AWAY]++;
	sim_after(sim, sim_between(sim, 500, 15000), &back);
}

static void cause(struct sim *sim, enum fault fault)
{
	uint32_t edge = (uint32_t)sim_between(sim, 0, sim->profile.edge_count - 1);
	switch ((int)fault) {
	case FAULT_BREAK:
		sim->seen[fault] += sim->edges[edge].link != 0 ? 1 : 0;
		sim_break_link(sim, edge);
		return;
	case FAULT_STALL:
		sim->seen[fault] += sim->edges[edge].link != 0 ? 1 : 0;
		sim->edges[edge].clear_ms[0] += (int64_t)sim_between(sim, 100, 5000);
		sim->edges[edge].clear_ms[1] += (int64_t)sim_between(sim, 100, 5000);
		return;
	case FAULT_SILENCE:
	case FAULT_OUTAGE:
	case FAULT_SWIZZLE:
		sim_weather_cause(sim, fault, edge);
		return;
	case FAULT_KILL_GATEWAY:
		kill_one(sim);
		return;
	case FAULT_KILL_EDGE:
		sim->seen[fault]++;
		sim_edge_kill(sim, edge);
		return;
	case FAULT_AWAY:
		away(sim);
		return;
	case FAULT_REORG:
		reorganise(sim);
		return;
	default:
		return;
	}
}

static void on_fault(struct sim *sim, const struct event *event)
{
	if (!sim->faults)
		return;
	cause(sim, (enum fault)event->a);
	sim_after(sim, sim_while(sim, 2 * (uint64_t)sim->profile.every_ms[event->a]), event);
}

void sim_faults_start(struct sim *sim)
{
	for (uint64_t fault = 0; fault < FAULT_TIMED_COUNT; fault++) {
		struct event event = { .run = on_fault, .a = fault };
		if (sim->profile.every_ms[fault] > 0)
			sim_after(sim, sim_while(sim, sim->profile.every_ms[fault]), &event);
	}
	sim_weather_start(sim);
	if (sim->profile.month_ms > 0) {
		struct event begins = { .run = on_month, .a = 1 }, ends = { .run = on_month };
		sim_after(sim, SIM_LONG_AFTER_MS, &begins);
		sim_after(sim, SIM_LONG_AFTER_MS + sim->profile.month_ms, &ends);
	}
}
