/* gateway_run.h -- between gateway.c (what must be there) and gateway_run.c (how it goes on). */
#ifndef ZR_TESTS_POWERCUT_GATEWAY_RUN_H
#define ZR_TESTS_POWERCUT_GATEWAY_RUN_H

#include "spool/anchors.h"
#include "tests/powercut/main_chain.h"

struct content {
	uint8_t *data; /* Owned. */
	size_t size;
};

struct subject_state {
	struct edge_chains edges;
	/* What was told. */
	bool made;
	uint64_t next[EDGE_CHAINS_MAX], anchored[EDGE_CHAINS_MAX];
	uint64_t commit;
	struct content contents[MAIN_CHAIN_ANCHORS_MAX]; /* Of the anchors that left, from seq 1. */
	uint64_t submitted, included;
	bool broken; /* What was told contradicts itself. */
};

/* The gateway as it goes on: edges bring what it does not have, its lane delivers, until the main
 * chain has everything. The lane, the plan and the drafts are the real ones; the main chain is as it
 * was at the cut, with or without what was on its way. False: why is on standard error. */
bool gateway_run_on(struct spool *spool, const struct subject_state *state, uint64_t chance);

#endif
