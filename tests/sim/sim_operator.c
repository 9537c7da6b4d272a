/* sim_operator.c -- copies, restores, a second gateway; and the operator, who does what lane_halt_text()
 * and the manual say, at some later time, and sometimes is interrupted half-way.
 *
 * The steps are those of relay/delivery_restore.c and spool/restore.c, one anchor at a time.
 */
#include <stdlib.h>
#include <string.h>

#include "tests/sim/sim.h"

#define CUT_PERMILLE 200 /* An adoption ends after any of its steps. */

static void on_operator(struct sim *sim, const struct event *event);

void sim_operator_call(struct sim *sim, struct sim_gateway *gateway)
{
	struct event event = { .run = on_operator, .a = gateway->index };
	if (gateway->operator_comes)
		return;
	/* An unreadable anchor is taken back once it is absent, and a submission of it that was given up
	 * may arrive all the same: none of ours any more, though nothing was restored. */
	bool late = sim->effects[EFFECT_UNREADABLE] > 0 &&
	            gateway->lane.halt == LANE_HALT_SPOOL_RESTORED;
	if (sim->profile.disaster == DISASTER_NONE && !late)
		sim_fail(sim, "gateway %u stands still (%s) and nothing was restored",
		         gateway->index, lane_halt_name(gateway->lane.halt));
	gateway->operator_comes = true;
	sim_after(sim, 500 + sim_while(sim, 10000), &event);
}

/* ---- copies -------------------------------------------------------------------------------- */

static void copy_spool(struct sim_gateway *to, const struct sim_gateway *from)
{
	memcpy(to->chains, from->chains, sizeof(to->chains));
	memcpy(to->intents, from->intents, sizeof(to->intents));
	to->newest_seq = from->newest_seq;
	to->final_seq = from->final_seq;
}

static void *taken(struct sim *sim, size_t size)
{
	void *copy = calloc(1, size);
	if (copy == NULL)
		sim_fail(sim, "out of memory");
	return copy;
}

static void on_copy(struct sim *sim, const struct event *event)
{
	if (sim->profile.disaster == DISASTER_MAINCHAIN_RESTORED) {
		sim->mainchain_copy = taken(sim, sizeof(sim->mainchain));
		*sim->mainchain_copy = sim->mainchain;
	} else {
		sim->spool_copy = taken(sim, sizeof(*sim->spool_copy));
		copy_spool(sim->spool_copy, &sim->gateways[0]);
	}
}

/* Of the copy's anchors, those that stand to this day: one that was reorganised away and replaced since
 * would be another history, before which the lane stands still for good (relay/delivery_restore.c). */
static uint64_t count_standing(const struct sim_mainchain *copy, const struct sim_mainchain *chain)
{
	uint64_t count = 0;
	while (count < copy->count && count < chain->count &&
	       copy->recorded[count].anchor == chain->recorded[count].anchor)
		count++;
	return count;
}

static void restore_mainchain(struct sim *sim)
{
	struct sim_mainchain *chain = &sim->mainchain;
	bool up = chain->up;
	uint64_t count = count_standing(sim->mainchain_copy, chain);
	*chain = *sim->mainchain_copy;
	chain->count = count;
	chain->up = up;
	sim->seen[FAULT_MAINCHAIN_RESTORED]++;
}

static void restore_spool(struct sim *sim)
{
	struct sim_gateway *gateway = &sim->gateways[0];
	sim_gateway_kill(sim, gateway);
	copy_spool(gateway, sim->spool_copy);
	sim->seen[FAULT_SPOOL_RESTORED]++;
}

static void start_second(struct sim *sim)
{
	struct sim_gateway *gateway = &sim->gateways[1];
	copy_spool(gateway, sim->spool_copy);
	sim->seen[FAULT_SECOND_GATEWAY]++;
	sim_gateway_start(sim, gateway);
}

static void on_disaster(struct sim *sim, const struct event *event)
{
	switch (sim->profile.disaster) {
	case DISASTER_NONE:
		return;
	case DISASTER_MAINCHAIN_RESTORED:
		restore_mainchain(sim);
		return;
	case DISASTER_SPOOL_RESTORED:
		restore_spool(sim);
		return;
	case DISASTER_SECOND_GATEWAY:
		start_second(sim);
		return;
	}
}

void sim_operator_start(struct sim *sim)
{
	struct event copy = { .run = on_copy }, disaster = { .run = on_disaster };
	if (sim->profile.disaster == DISASTER_NONE)
		return;
	sim_after(sim, sim->profile.copy_at_ms, &copy);
	sim_after(sim, sim->profile.disaster_at_ms, &disaster);
}

/* ---- our spool is the copy ----------------------------------------------------------------- */

static bool is_cut(struct sim *sim)
{
	return sim_happens(sim, FAULT_ADOPTION_CUT, CUT_PERMILLE);
}

/* Only whole batches are anchored: one that the main chain has a part of leaves the spool, with all
 * that follows it (spool/restore.c). The edge has them still. */
static void cut_batch(struct sim_chain *chain, uint64_t height)
{
	uint32_t whole = chain->batch_count;
	while (whole > 0 && chain->batch_ends[whole - 1] > height)
		whole--;
	bool is_inside = whole < chain->batch_count &&
	                 (whole == 0 ? height > 0 : chain->batch_ends[whole - 1] < height);
	if (!is_inside)
		return;
	chain->batch_count = whole;
	chain->next_height = whole == 0 ? 0 : chain->batch_ends[whole - 1];
}

static void import_entry(struct sim *sim, struct sim_gateway *gateway,
                         const struct sim_entry *entry)
{
	struct sim_chain *chain = &gateway->chains[entry->chain];
	uint64_t next = entry->to + 1;
	if (next <= chain->anchored_next)
		return;
	cut_batch(chain, next);
	if (next > chain->next_height) {
		chain->next_height = next;
		chain->batch_ends[chain->batch_count++] = next;
		chain->trust_from = sim_trust_from(next);
	}
	chain->anchored_next = chain->pending_from = next;
	chain->restored = false;
	sim_gateway_chain_adopted(sim, gateway, entry->chain);
}

/* The main chain's next anchor after ours; false: it is not final yet. */
static bool import(struct sim *sim, struct sim_gateway *gateway)
{
	uint64_t seq = gateway->final_seq + 1;
	uint32_t number = sim->mainchain.recorded[seq - 1].anchor;
	struct lane *lane = &gateway->lane;
	struct lane_options options = lane->options;
	enum lane_halt halt = lane->halt;
	if (!sim_mainchain_is_final(sim, seq))
		return false;
	if (!hash_equal(&sim->anchors[number].previous, &lane->final_root))
		sim_fail(sim, "anchor %llu does not follow ours", (unsigned long long)seq);
	for (uint32_t i = 0; i < sim->anchors[number].entry_count; i++)
		import_entry(sim, gateway, &sim->anchors[number].entries[i]);
	gateway->intents[seq] = (struct sim_intent){ .anchor = number };
	gateway->final_seq = gateway->newest_seq = seq;
	lane_init(lane, &options, seq, &sim->anchors[number].root, lane->chance);
	lane_stop(lane, halt);
	sim->effects[EFFECT_IMPORTED]++;
	return true;
}

/* What was open when the copy was made. False: it is not final yet. */
static bool settle_open(struct sim *sim, struct sim_gateway *gateway)
{
	struct lane *lane = &gateway->lane;
	uint64_t seq = lane->anchors[0].seq;
	uint64_t known = sim_mainchain_find(sim, &lane->anchors[0].key);
	if (known == 0) {
		sim_delivery_void(sim, gateway, seq);
		lane_voided(lane, seq);
		return true;
	}
	if (!sim_mainchain_is_final(sim, known))
		return false;
	sim_delivery_finalize(sim, gateway, seq);
	lane_finished(lane, seq);
	return true;
}

static void adopt_spool(struct sim *sim, struct sim_gateway *gateway)
{
	const struct lane *lane = &gateway->lane;
	while (lane->anchor_count > 0) {
		if (!settle_open(sim, gateway) || is_cut(sim))
			return;
	}
	while (gateway->final_seq < sim->mainchain.count) {
		if (!import(sim, gateway) || is_cut(sim))
			return;
	}
	lane_restart(&gateway->lane, sim->now_ms);
}

/* ---- the main chain is the copy ------------------------------------------------------------ */

static void rewind_anchor(struct sim *sim, struct sim_gateway *gateway)
{
	const struct sim_anchor *anchor = sim_anchor_at(sim, gateway, gateway->final_seq);
	for (uint32_t i = 0; i < anchor->entry_count; i++) {
		const struct sim_entry *entry = &anchor->entries[i];
		struct sim_chain *chain = &gateway->chains[entry->chain];
		if (chain->anchored_next != entry->to + 1)
			sim_fail(sim, "chain %u: it was anchored further", entry->chain);
		chain->anchored_next = entry->from;
	}
	gateway->final_seq--;
	sim->effects[EFFECT_REWOUND]++;
}

static void adopt_mainchain(struct sim *sim, struct sim_gateway *gateway)
{
	bool cut = false;
	while (gateway->final_seq > sim->mainchain.count && !cut) {
		rewind_anchor(sim, gateway);
		cut = is_cut(sim);
	}
	for (uint64_t seq = gateway->final_seq + 1; seq <= gateway->newest_seq; seq++)
		gateway->intents[seq].sent_height = 0; /* Heights begin lower there now. */
	sim_delivery_load(sim, gateway);
	if (cut)
		lane_stop(&gateway->lane, LANE_HALT_MAINCHAIN_RESTORED);
	else
		lane_restart(&gateway->lane, sim->now_ms);
}

/* ---- a visit ------------------------------------------------------------------------------- */

static void retire(struct sim *sim, struct sim_gateway *gateway)
{
	gateway->retired = true;
	sim_gateway_kill(sim, gateway);
}

/* "Stop one of them, then restart the one that is to send." In a hurry, only the second half. */
static void decide_who_sends(struct sim *sim, struct sim_gateway *gateway)
{
	struct sim_gateway *other = &sim->gateways[1 - gateway->index];
	bool two = sim_has_second(sim) && !other->retired;
	if (two && (!sim->faults || sim_between(sim, 0, 2) > 0)) {
		if (sim_between(sim, 0, 1) == 0) {
			retire(sim, gateway);
			return;
		}
		retire(sim, other);
	}
	lane_restart(&gateway->lane, sim->now_ms);
}

/* As delivery_restore_begin(): not while the writer still has a change of the lane. */
static bool is_being_written(const struct sim_gateway *gateway)
{
	const struct lane *lane = &gateway->lane;
	for (size_t i = 0; i < lane->anchor_count; i++) {
		const struct lane_anchor *anchor = &lane->anchors[i];
		if (anchor->finishing || (anchor->asked && anchor->state == SPOOL_ANCHOR_REJECTED))
			return true;
	}
	return gateway->building;
}

static void mend_lane(struct sim *sim, struct sim_gateway *gateway)
{
	switch (gateway->lane.halt) {
	case LANE_HALT_SPOOL_RESTORED:
		if (sim->mainchain.up && !is_being_written(gateway))
			adopt_spool(sim, gateway);
		break;
	case LANE_HALT_MAINCHAIN_RESTORED:
		if (sim->mainchain.up && !is_being_written(gateway))
			adopt_mainchain(sim, gateway);
		break;
	case LANE_HALT_FENCED:
		decide_who_sends(sim, gateway);
		break;
	case LANE_HALT_NONE:
	case LANE_HALT_STORE_RESTORED:
	case LANE_HALT_CHANGED:
	case LANE_HALT_OPERATOR:
		sim_fail(sim, "the lane halted: %s", lane_halt_name(gateway->lane.halt));
	}
	if (gateway->up) {
		gateway->maybe_pending = true;
		sim_delivery_wake(sim, gateway, 0);
	}
}

/* "reconcile": does the lane stand where the main chain stands? One without work does not look. */
static bool is_reconciled(const struct sim *sim, const struct sim_gateway *gateway)
{
	const struct sim_mainchain *chain = &sim->mainchain;
	return gateway->lane.fence == chain->fence && chain->count >= gateway->final_seq &&
	       chain->count <= gateway->newest_seq &&
	       (chain->count == 0 ||
	        chain->recorded[chain->count - 1].anchor == gateway->intents[chain->count].anchor);
}

/* "adopt chain": once the lane stands where the main chain stands. */
static bool mend_chains(struct sim *sim, struct sim_gateway *gateway)
{
	bool good = true, looked = false;
	for (uint32_t number = 0; number < sim_chain_count(sim); number++) {
		struct sim_chain *chain = &gateway->chains[number];
		if (!chain->restored)
			continue;
		if (!looked && gateway->lane.phase == LANE_RUNNING && sim->mainchain.up &&
		    !is_reconciled(sim, gateway)) {
			lane_restart(&gateway->lane, sim->now_ms); /* "anchors retry" */
			sim_delivery_wake(sim, gateway, 0);
		}
		looked = true;
		if (gateway->lane.phase != LANE_RUNNING ||
		    chain->pending_from != chain->anchored_next) {
			good = false;
			continue;
		}
		chain->restored = false;
		sim_gateway_chain_adopted(sim, gateway, number);
	}
	return good;
}

static void on_operator(struct sim *sim, const struct event *event)
{
	struct sim_gateway *gateway = &sim->gateways[event->a];
	gateway->operator_comes = false;
	if (!gateway->up)
		return; /* After its restart it calls again. */
	if (gateway->lane.phase == LANE_HALTED)
		mend_lane(sim, gateway);
	if (!gateway->up)
		return;
	if (!mend_chains(sim, gateway) || gateway->lane.phase == LANE_HALTED)
		sim_operator_call(sim, gateway);
}
