/* sim_oracle.c -- what must hold, whatever went wrong. */
#include <stdio.h>

#include "tests/sim/sim.h"

/* Of eight open anchors and two gateways for forty days, each waiting five minutes on average; and
 * what each start of a gateway asks before it has learned to wait. */
#define ASKED_MAX 300000

/* How far the main chain has each chain: from height 0 on without hole or repetition (P2, P3). */
static void recorded_next(const struct sim *sim, uint64_t *next)
{
	for (uint64_t i = 0; i < sim->mainchain.count; i++) {
		const struct sim_anchor *anchor = &sim->anchors[sim->mainchain.recorded[i].anchor];
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
}

/* Blocks that some store has; one that was thrown away has none. */
static uint64_t durable_next(const struct sim *sim, uint32_t chain)
{
	uint64_t next = 0;
	for (size_t i = 0; i < SIM_GATEWAYS_MAX; i++) {
		const struct sim_gateway *gateway = &sim->gateways[i];
		if (!gateway->retired && gateway->chains[chain].next_height > next)
			next = gateway->chains[chain].next_height;
	}
	return next;
}

void sim_check_recorded(const struct sim *sim)
{
	uint64_t next[SIM_CHAINS_MAX] = { 0 };
	bool one_history = sim->profile.disaster == DISASTER_NONE;
	if (sim->asked_in_vain > ASKED_MAX)
		sim_fail(sim, "a main chain that is away is asked %llu times",
		         (unsigned long long)sim->asked_in_vain);
	bool forgetful = sim->profile.disaster == DISASTER_MAINCHAIN_RESTORED;
	recorded_next(sim, next);
	for (uint32_t chain = 0; chain < sim_chain_count(sim); chain++) {
		const struct sim_edge *edge = &sim->edges[chain / SIM_CHAINS_PER_EDGE];
		uint64_t oldest = edge->oldest[chain % SIM_CHAINS_PER_EDGE];
		if (one_history && next[chain] > sim->gateways[0].chains[chain].next_height)
			sim_fail(sim, "chain %u: anchored and not durable", chain);
		for (size_t i = 0; i < SIM_GATEWAYS_MAX && !forgetful; i++) {
			const struct sim_chain *is = &sim->gateways[i].chains[chain];
			if (!sim->gateways[i].retired && is->anchored_next > next[chain])
				sim_fail(sim,
				         "chain %u: its receipt speaks of what the main chain has "
				         "not",
				         chain);
		}
		/* What the edge let go of (P10) is on the main chain, or where it can get it from. */
		if (oldest > next[chain] && (!forgetful || oldest > durable_next(sim, chain)))
			sim_fail(sim, "chain %u: pruned below %llu, and nobody has it", chain,
			         (unsigned long long)oldest);
	}
}

static void check_marks(const struct sim *sim, const struct sim_gateway *gateway, uint32_t number)
{
	const struct sim_chain *chain = &gateway->chains[number];
	const struct sim_edge *edge = &sim->edges[number / SIM_CHAINS_PER_EDGE];
	if (chain->anchored_next > chain->pending_from ||
	    chain->pending_from > chain->next_height ||
	    chain->next_height > edge->made[number % SIM_CHAINS_PER_EDGE])
		sim_fail(sim, "chain %u: its watermarks are out of order at gateway %u", number,
		         gateway->index);
}

void sim_check(const struct sim *sim)
{
	size_t count = sim_has_second(sim) ? 2 : 1;
	for (uint32_t number = 0; number < sim_chain_count(sim); number++) {
		for (size_t i = 0; i < count; i++)
			check_marks(sim, &sim->gateways[i], number);
		if (sim->profile.disaster != DISASTER_NONE)
			continue; /* Promises of a store that is gone are kept by the edge. */
		const struct sim_chain *chain = &sim->gateways[0].chains[number];
		const struct sim_edge *edge = &sim->edges[number / SIM_CHAINS_PER_EDGE];
		size_t local = number % SIM_CHAINS_PER_EDGE;
		if (edge->acked[local] > chain->next_height)
			sim_fail(sim, "chain %u: acked up to %llu, durable up to %llu", number,
			         (unsigned long long)edge->acked[local],
			         (unsigned long long)chain->next_height);
		if (edge->anchored[local] > chain->anchored_next)
			sim_fail(sim, "chain %u: anchored by the edge's word alone", number);
	}
}

bool sim_is_done(const struct sim *sim)
{
	uint64_t next[SIM_CHAINS_MAX] = { 0 };
	recorded_next(sim, next);
	for (uint32_t number = 0; number < sim_chain_count(sim); number++) {
		const struct sim_edge *edge = &sim->edges[number / SIM_CHAINS_PER_EDGE];
		size_t local = number % SIM_CHAINS_PER_EDGE;
		bool refused = number == sim->profile.refused_chain ||
		               (sim->rotten && number == sim->profile.rotten_chain);
		uint64_t reached = refused ? edge->acked[local] : edge->anchored[local];
		if (edge->made[local] < sim->block_target || reached < edge->made[local] ||
		    (!refused && next[number] < edge->made[local]))
			return false;
	}
	return true;
}

void sim_say_where_it_hangs(const struct sim *sim)
{
	for (uint32_t number = 0; number < sim_chain_count(sim); number++) {
		const struct sim_edge *edge = &sim->edges[number / SIM_CHAINS_PER_EDGE];
		const struct sim_chain *chain = &sim->gateways[edge->at].chains[number];
		size_t local = number % SIM_CHAINS_PER_EDGE;
		struct upload_status status;
		upload_status(edge->upload, local, &status);
		(void)fprintf(
			stderr,
			"chain %u at gateway %u: made %llu durable %llu pending %llu "
			"anchored %llu%s%s, edge acked %llu anchored %llu oldest %llu, %s/%s "
			"send_next %llu\n",
			number, edge->at, (unsigned long long)edge->made[local],
			(unsigned long long)chain->next_height,
			(unsigned long long)chain->pending_from,
			(unsigned long long)chain->anchored_next,
			chain->restored ? " restored" : "", chain->delivery_held ? " held" : "",
			(unsigned long long)edge->acked[local],
			(unsigned long long)edge->anchored[local],
			(unsigned long long)edge->oldest[local], upload_state_name(status.state),
			upload_hold_name(status.hold), (unsigned long long)status.send_next);
	}
	for (size_t i = 0; i < SIM_GATEWAYS_MAX; i++) {
		const struct sim_gateway *gateway = &sim->gateways[i];
		(void)fprintf(
			stderr, "gateway %zu %s: lane %s (%s), fence %llu, final %llu, open %zu\n",
			i, gateway->up ? "up" : "down", lane_phase_name(gateway->lane.phase),
			lane_halt_name(gateway->lane.halt), (unsigned long long)gateway->lane.fence,
			(unsigned long long)gateway->final_seq, gateway->lane.anchor_count);
	}
	(void)fprintf(stderr, "main chain: %s, height %llu, fence %llu, %llu anchors\n",
	              sim->mainchain.up ? "up" : "away", (unsigned long long)sim->mainchain.height,
	              (unsigned long long)sim->mainchain.fence,
	              (unsigned long long)sim->mainchain.count);
}
