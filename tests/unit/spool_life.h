/* spool_life.h -- a gateway's life in the spool, driven by a seed: it takes in, anchors, finalises and
 * prunes, and says each time what an edge was told. And whether a spool still has all that was told. */
#ifndef ZR_TESTS_SPOOL_LIFE_H
#define ZR_TESTS_SPOOL_LIFE_H

#include "spool/upkeep.h"
#include "tests/unit/spool_fixture.h"

#define LIFE_CHAINS 3

/* What was told: each only ever grows. */
struct told {
	uint64_t next[LIFE_CHAINS];     /* Custody. */
	uint64_t anchored[LIFE_CHAINS]; /* Receipts. */
	uint64_t commit_number;
};

struct life {
	struct fixture fixture;
	struct test_chain chains[LIFE_CHAINS];
	struct told told;
	uint64_t seed;
	void (*tell)(struct life *life); /* told has changed. */
	void *arg;
};

static inline uint64_t life_random(uint64_t *seed)
{
	*seed ^= *seed << 13;
	*seed ^= *seed >> 7;
	*seed ^= *seed << 17;
	return *seed;
}

static inline void life_chain_name(char name[static 16], int index)
{
	snprintf(name, 16, "tq-%d", index);
}

/* The chain as its edge has it, up to where the spool wants it to go on. */
static inline struct test_chain life_edge_of(const char *name, uint64_t next_height)
{
	struct test_chain chain = test_chain(name);
	struct test_batch batch;
	while (chain.next_height < next_height)
		next_batch(&chain, 1, 1, &batch);
	return chain;
}

static inline void life_die_unless(bool ok, const struct err *err)
{
	if (ok)
		return;
	fprintf(stderr, "child: %s\n", err->message);
	_exit(3);
}

static inline void life_take_in(struct life *life)
{
	struct err err;
	struct test_chain after[LIFE_CHAINS];
	uint64_t arrival = 0;
	spool_begin(&life->fixture.txn, life->fixture.spool, SPOOL_INTAKE);
	uint64_t number = spool_commit_number(&life->fixture.txn);
	for (int i = 0; i < LIFE_CHAINS; i++) {
		struct test_batch batch;
		after[i] = life->chains[i];
		if (life_random(&life->seed) % 3 == 0)
			continue;
		next_batch(&after[i], 1 + (uint32_t)(life_random(&life->seed) % 4),
		           100 + life_random(&life->seed) % 3000, &batch);
		life_die_unless(spool_batch_put(&life->fixture.txn, &batch.batch, &arrival, &err),
		                &err);
	}
	life_die_unless(spool_commit(&life->fixture.txn, &err), &err);
	for (int i = 0; i < LIFE_CHAINS; i++) {
		life->chains[i] = after[i];
		life->told.next[i] = after[i].next_height;
	}
	if (arrival > 0) /* Else nothing was taken in, and no custody root has that number. */
		life->told.commit_number = number;
	life->tell(life);
}

/* The oldest anchor that is not final becomes so. */
static inline void life_finish_one(struct life *life)
{
	struct err err;
	struct spool_lane lane;
	struct spool_receipt receipt = { .evidence = BYTES_LITERAL("evidence"),
		                         .final_ms = TEST_TIME_MS };
	life_die_unless(spool_lane(life->fixture.spool, 1, 0, &lane, &err), &err);
	struct spool_anchor_id id = { 1, 0, lane.final_seq + 1 };
	if (lane.final_seq == lane.newest_seq)
		return;
	spool_begin(&life->fixture.txn, life->fixture.spool, SPOOL_UPKEEP);
	life_die_unless(spool_anchor_finalize(&life->fixture.txn, &id, &receipt, &err), &err);
	life_die_unless(spool_commit(&life->fixture.txn, &err), &err);
	for (int i = 0; i < LIFE_CHAINS; i++) {
		struct spool_chain row;
		life_die_unless(spool_chain(life->fixture.spool, &life->chains[i].key, &row, &err),
		                &err);
		life->told.anchored[i] = row.anchored_next;
	}
	life->tell(life);
}

static inline void life_anchor(struct life *life)
{
	struct err err;
	struct entry entries[LIFE_CHAINS];
	size_t count = 0;
	struct spool_lane lane;
	for (int i = 0; i < LIFE_CHAINS; i++) {
		struct spool_run run;
		if (!spool_pending_run(life->fixture.spool, &life->chains[i].key, 20, UINT64_MAX,
		                       &run, &err))
			continue; /* Nothing is pending. */
		entries[count++] = (struct entry){ .chain = life->chains[i].id,
			                           .from = run.from,
			                           .to = run.to,
			                           .tip = run.tip,
			                           .policy = run.policy };
	}
	life_die_unless(spool_lane(life->fixture.spool, 1, 0, &lane, &err), &err);
	struct spool_anchor row = { .id = { 1, 0, lane.newest_seq + 1 },
		                    .alg = HASH_SHA256,
		                    .deliver = DELIVER_ANCHOR,
		                    .previous = lane.newest_root };
	row.root = test_hash("root", row.id.seq, &row.previous);
	if (count == 0)
		return;
	spool_begin(&life->fixture.txn, life->fixture.spool, SPOOL_UPKEEP);
	life_die_unless(spool_anchor_put(&life->fixture.txn, &row, entries, count, &err), &err);
	life_die_unless(spool_commit(&life->fixture.txn, &err), &err);
}

static inline void life_prune(struct life *life)
{
	struct err err;
	struct spool_prune_options options = { .now_ms = TEST_TIME_MS + 10,
		                               .retention_ms = 5,
		                               .history_ms =
		                                       life_random(&life->seed) % 8 == 0 ? 5 : 0,
		                               .batch_max = 8 };
	struct spool_prune_result result;
	spool_begin(&life->fixture.txn, life->fixture.spool, SPOOL_UPKEEP);
	life_die_unless(spool_prune_slice(&life->fixture.txn, &options, &result, &err), &err);
	life_die_unless(spool_commit(&life->fixture.txn, &err), &err);
}

/* Opens the spool of that life, which has its chains. */
static inline void life_open(struct life *life, const char *dir)
{
	struct err err;
	struct spool_options options = { .dir = dir, .mode = STORE_WRITE };
	life_die_unless(spool_open(&life->fixture.spool, &options, &err), &err);
	for (int i = 0; i < LIFE_CHAINS; i++) {
		char name[16];
		struct spool_chain row;
		life_chain_name(name, i);
		life_die_unless(spool_chain_by_name(life->fixture.spool, name, &row, &err), &err);
		life->chains[i] = life_edge_of(name, row.next_height);
	}
}

/* One thing happens. */
static inline void life_step(struct life *life)
{
	switch (life_random(&life->seed) % 5) {
	case 0:
		life_anchor(life);
		break;
	case 1:
		life_finish_one(life);
		break;
	case 2:
		life_prune(life);
		break;
	default:
		life_take_in(life);
		break;
	}
}

static inline void life_add_chains(struct fixture *fixture)
{
	for (int i = 0; i < LIFE_CHAINS; i++) {
		char name[16];
		life_chain_name(name, i);
		struct test_chain chain = test_chain(name);
		add_chain(fixture, &chain);
	}
}

/* Is all of told in the spool, and is the rest of it what the edge has? Prints what is not. */
static inline bool life_holds(struct spool *spool, const struct told *told)
{
	struct err err;
	struct spool_totals totals;
	for (int i = 0; i < LIFE_CHAINS; i++) {
		char name[16];
		struct spool_chain row;
		struct block_header header;
		life_chain_name(name, i);
		if (!spool_chain_by_name(spool, name, &row, &err)) {
			fprintf(stderr, "%s: %s\n", name, err.message);
			return false;
		}
		struct test_chain edge = life_edge_of(name, row.next_height);
		if (row.next_height < told->next[i] || row.anchored_next < told->anchored[i] ||
		    !hash_equal(&row.tip, &edge.tip)) {
			fprintf(stderr,
			        "%s: at %" PRIu64 "/%" PRIu64 ", told %" PRIu64 "/%" PRIu64 "\n",
			        name, row.next_height, row.anchored_next, told->next[i],
			        told->anchored[i]);
			return false;
		}
		if (row.known_from < row.next_height &&
		    !spool_header(spool, &row.key, row.next_height - 1, &header, &err)) {
			fprintf(stderr, "%s: %s\n", name, err.message);
			return false;
		}
	}
	if (!spool_totals(spool, &totals, &err) || totals.commit_number < told->commit_number) {
		fprintf(stderr, "a commit is missing\n");
		return false;
	}
	return true;
}

#endif
