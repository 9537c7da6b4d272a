/* anchor_plan.c -- see anchor_plan.h. */
#include "relay/anchor_plan.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

void plan_init(struct plan *plan, const struct plan_limits *limits)
{
	memset(plan, 0, sizeof(*plan));
	plan->limits = *limits;
	plan->deliver = DELIVER_ANCHOR;
}

void plan_fini(struct plan *plan)
{
	free(plan->suspects);
	plan->suspects = NULL;
}

void plan_set_class(struct plan *plan, size_t number, uint32_t weight, enum deliver deliver)
{
	assert(number < PLAN_CLASS_MAX && number <= plan->class_count && weight > 0);
	if (number == plan->class_count) {
		plan->classes[number] = (struct plan_class){ 0 };
		plan->class_count++;
	}
	plan->classes[number].weight = weight;
	plan->classes[number].deliver = deliver;
}

static bool has_deliver(const struct plan *plan, enum deliver deliver)
{
	for (size_t i = 0; i < plan->class_count; i++) {
		if (plan->classes[i].deliver == deliver)
			return true;
	}
	return false;
}

size_t plan_deliver_count(const struct plan *plan)
{
	size_t count = 0;
	for (int deliver = DELIVER_ANCHOR; deliver <= DELIVER_FULL; deliver++)
		count += has_deliver(plan, (enum deliver)deliver) ? 1 : 0;
	return count;
}

bool plan_begin(struct plan *plan)
{
	if (plan->class_count == 0)
		return false;
	do {
		plan->deliver = plan->deliver == DELIVER_FULL ? DELIVER_ANCHOR
		                                              : (enum deliver)(plan->deliver + 1);
	} while (!has_deliver(plan, plan->deliver));
	plan->entry_count = 0;
	plan->block_count = 0;
	plan->byte_count = 0;
	for (size_t i = 0; i < plan->class_count; i++) {
		plan->classes[i].exhausted = plan->classes[i].deliver != plan->deliver;
		plan->classes[i].took_since_wrap = false;
		plan->classes[i].was_wrapped = false;
	}
	return true;
}

static bool is_full(const struct plan *plan)
{
	return plan->entry_count >= plan->limits.entry_max ||
	       plan->block_count >= plan->limits.block_max ||
	       plan->byte_count >= plan->limits.byte_max;
}

static bool all_exhausted(const struct plan *plan)
{
	for (size_t i = 0; i < plan->class_count; i++) {
		if (!plan->classes[i].exhausted)
			return false;
	}
	return true;
}

/* The turn goes to the next class, which is given its share of a new round. */
static void next_turn(struct plan *plan)
{
	plan->turn = (plan->turn + 1) % plan->class_count;
	struct plan_class *class = &plan->classes[plan->turn];
	if (!class->exhausted)
		class->deficit_blocks += (int64_t) class->weight * PLAN_QUANTUM_BLOCKS;
}

bool plan_next(struct plan *plan, size_t *out_class, uint64_t *out_block_max)
{
	if (is_full(plan) || all_exhausted(plan))
		return false;
	if (plan->turn >= plan->class_count)
		plan->turn = 0;
	while (plan->classes[plan->turn].exhausted || plan->classes[plan->turn].deficit_blocks <= 0)
		next_turn(plan);
	uint64_t share = (uint64_t)plan->classes[plan->turn].deficit_blocks;
	uint64_t left = plan->limits.block_max - plan->block_count;
	uint64_t block_max = share < left ? share : left;
	*out_block_max = block_max < PLAN_QUANTUM_BLOCKS ? block_max : PLAN_QUANTUM_BLOCKS;
	*out_class = plan->turn;
	return true;
}

void plan_took(struct plan *plan, size_t number, const struct plan_run *run)
{
	struct plan_class *class = &plan->classes[number];
	class->deficit_blocks -= (int64_t)run->blocks;
	class->cursor = run->chain;
	class->took_since_wrap = true;
	plan->entry_count += run->first ? 1 : 0;
	plan->block_count += run->blocks;
	plan->byte_count += run->bytes;
}

void plan_skipped(struct plan *plan, size_t number, const struct chain_key *chain)
{
	plan->classes[number].cursor = *chain;
}

void plan_wrapped(struct plan *plan, size_t number)
{
	struct plan_class *class = &plan->classes[number];
	bool began_at_first = chain_key_equal(&class->cursor, &(struct chain_key){ { 0 } });
	class->cursor = (struct chain_key){ { 0 } };
	if (!class->took_since_wrap && (began_at_first || class->was_wrapped)) {
		class->exhausted = true;
		class->deficit_blocks = 0;
	}
	class->was_wrapped = true;
	class->took_since_wrap = false;
}

/* ---- finding the culprit ------------------------------------------------------------------- */

static void set_probe(struct plan *plan)
{
	plan->probe_count = (plan->suspect_count + 1) / 2;
}

bool plan_refused(struct plan *plan, const struct chain_key *chains, size_t count, bool *out_found,
                  struct chain_key *out_culprit, struct err *err)
{
	assert(count > 0);
	*out_found = count == 1;
	if (count == 1) {
		*out_culprit = chains[0];
		plan_cleared(plan, &chains[0]);
		return true;
	}
	struct chain_key *suspects = calloc(count, sizeof(*suspects));
	if (suspects == NULL)
		return err_set(err, ZR_NO_MEMORY, "%zu chains under suspicion", count);
	memcpy(suspects, chains, count * sizeof(*suspects));
	free(plan->suspects);
	plan->suspects = suspects;
	plan->suspect_count = count;
	set_probe(plan);
	return true;
}

void plan_cleared(struct plan *plan, const struct chain_key *chain)
{
	size_t kept = 0;
	for (size_t i = 0; i < plan->suspect_count; i++) {
		if (!chain_key_equal(&plan->suspects[i], chain))
			plan->suspects[kept++] = plan->suspects[i];
	}
	if (kept == plan->suspect_count)
		return;
	plan->suspect_count = kept;
	set_probe(plan);
}

void plan_accepted(struct plan *plan, const struct chain_key *chains, size_t count)
{
	for (size_t i = 0; i < count && plan->suspect_count > 0; i++)
		plan_cleared(plan, &chains[i]);
}

size_t plan_probe(const struct plan *plan, const struct chain_key **out_chains)
{
	*out_chains = plan->suspects;
	return plan->probe_count;
}
