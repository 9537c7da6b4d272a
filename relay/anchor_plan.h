/* anchor_plan.h -- which chains get into the next anchor, and how much of each: the fair choice.
 *
 * Pure. Classes share by deficit round robin: in each round a class may place its weight times
 * PLAN_QUANTUM_BLOCKS, what it overdraws by taking whole batches is owed in the next round, what it
 * leaves because it has nothing pending is not saved up. Within a class the chains take turns, a
 * quantum each, as often as there is room: a backlog fills what the others leave, and no more. An
 * anchor has one `deliver`; classes of each take turns by anchor.
 *
 * After the main chain refused an anchor without saying why, the plan narrows the choice to the
 * chains under suspicion, half by half, until one is left (P6).
 */
#ifndef ZR_RELAY_ANCHOR_PLAN_H
#define ZR_RELAY_ANCHOR_PLAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/record.h"

#define PLAN_CLASS_MAX      32
#define PLAN_QUANTUM_BLOCKS 256

struct plan_limits {
	size_t entry_max;
	uint64_t block_max; /* At least; one whole batch may go over it. */
	uint64_t byte_max;  /* What the anchor makes the sender carry. */
};

struct plan_class {
	uint32_t weight; /* At least 1. */
	enum deliver deliver;
	int64_t deficit_blocks;
	bool exhausted;          /* Nothing (more) pending, as far as this anchor goes. */
	bool took_since_wrap;    /* A whole turn over its chains without this is the end. */
	bool was_wrapped;        /* In this anchor: so the turn has begun at its first chain. */
	struct chain_key cursor; /* The chain served last. */
};

struct plan {
	struct plan_limits limits;
	struct plan_class classes[PLAN_CLASS_MAX]; /* By class number. */
	size_t class_count;
	size_t turn;          /* Class whose turn it is. */
	enum deliver deliver; /* Of the anchor being planned. */
	/* The anchor being planned: */
	size_t entry_count;
	uint64_t block_count;
	uint64_t byte_count;
	/* Suspects: chains of a refused anchor, in its order. Owned. */
	struct chain_key *suspects;
	size_t suspect_count;
	size_t probe_count; /* The first so many are being tried now; 0: not isolating. */
};

void plan_init(struct plan *plan, const struct plan_limits *limits);
void plan_fini(struct plan *plan);
/* Adds the next class number. Weights and delivers may be set anew after a reload. */
void plan_set_class(struct plan *plan, size_t number, uint32_t weight, enum deliver deliver);

/* Begins an anchor for the next `deliver` in turn that has classes. False: there are no classes. */
bool plan_begin(struct plan *plan);
/* How many different delivers there are: so often plan_begin() finds another one. */
size_t plan_deliver_count(const struct plan *plan);

/* The class to take a chain from, and how many blocks it may give (at least one batch is taken
 * whatever it says). False: the anchor is full, or no class has anything. */
bool plan_next(struct plan *plan, size_t *out_class, uint64_t *out_block_max);
/* A run of the chain was taken: the first in this anchor, or one that goes on where that ended. */
struct plan_run {
	struct chain_key chain;
	bool first;
	uint64_t blocks;
	uint64_t bytes;
};
void plan_took(struct plan *plan, size_t number, const struct plan_run *run);
/* The chain has nothing (more) to give: its turn is over. */
void plan_skipped(struct plan *plan, size_t number, const struct chain_key *chain);
/* The class has no chain after its cursor: the turn starts over, or it is exhausted. */
void plan_wrapped(struct plan *plan, size_t number);

/* ---- finding the culprit ---- */

/* The main chain refused an anchor of these chains, in this order, and did not say which. Gives the
 * one to freeze in *out_culprit if only one is left. Errors: ZR_NO_MEMORY. */
bool plan_refused(struct plan *plan, const struct chain_key *chains, size_t count, bool *out_found,
                  struct chain_key *out_culprit, struct err *err) MUST_CHECK;
/* An anchor was accepted: its chains are free of suspicion. */
void plan_accepted(struct plan *plan, const struct chain_key *chains, size_t count);
/* The chain is frozen, or has nothing pending any more: it cannot be tried. */
void plan_cleared(struct plan *plan, const struct chain_key *chain);
/* While isolating: the chains of the next anchor. 0: choose freely. Borrowed until the next call. */
size_t plan_probe(const struct plan *plan, const struct chain_key **out_chains);

#endif
