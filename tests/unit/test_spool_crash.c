/* SIGKILL at any moment of a gateway's life: what was told is there, in order, and every invariant
 * holds. The child takes in, anchors, finalises and prunes, and tells its parent through a pipe what
 * it would have told an edge; the parent kills it, looks, and lets the next child go on. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <signal.h>
#include <sys/wait.h>

#include "spool/upkeep.h"
#include "tests/unit/spool_fixture.h"

#define ROUNDS      30
#define CHAIN_COUNT 3

/* What was told: each only ever grows. */
struct told {
	uint64_t next[CHAIN_COUNT];     /* Custody. */
	uint64_t anchored[CHAIN_COUNT]; /* Receipts. */
	uint64_t commit_number;
};

static uint64_t next_random(uint64_t *seed)
{
	*seed ^= *seed << 13;
	*seed ^= *seed >> 7;
	*seed ^= *seed << 17;
	return *seed;
}

static void chain_name(char name[static 16], int index)
{
	snprintf(name, 16, "tq-%d", index);
}

/* The chain as its edge has it, up to where the spool wants it to go on. */
static struct test_chain edge_of(const char *name, uint64_t next_height)
{
	struct test_chain chain = test_chain(name);
	struct test_batch batch;
	while (chain.next_height < next_height)
		next_batch(&chain, 1, 1, &batch);
	return chain;
}

/* ---- the child ---- */

struct life {
	struct fixture fixture;
	struct test_chain chains[CHAIN_COUNT];
	struct told told;
	int fd;
	uint64_t seed;
};

static void die_unless(bool ok, const struct err *err)
{
	if (ok)
		return;
	fprintf(stderr, "child: %s\n", err->message);
	_exit(3);
}

static void tell(struct life *life)
{
	if (write(life->fd, &life->told, sizeof(life->told)) != sizeof(life->told))
		_exit(4);
}

static void take_in(struct life *life)
{
	struct err err;
	struct test_chain after[CHAIN_COUNT];
	uint64_t arrival = 0;
	spool_begin(&life->fixture.txn, life->fixture.spool, SPOOL_INTAKE);
	uint64_t number = spool_commit_number(&life->fixture.txn);
	for (int i = 0; i < CHAIN_COUNT; i++) {
		struct test_batch batch;
		after[i] = life->chains[i];
		if (next_random(&life->seed) % 3 == 0)
			continue;
		next_batch(&after[i], 1 + (uint32_t)(next_random(&life->seed) % 4),
		           100 + next_random(&life->seed) % 3000, &batch);
		die_unless(spool_batch_put(&life->fixture.txn, &batch.batch, &arrival, &err), &err);
	}
	die_unless(spool_commit(&life->fixture.txn, &err), &err);
	for (int i = 0; i < CHAIN_COUNT; i++) {
		life->chains[i] = after[i];
		life->told.next[i] = after[i].next_height;
	}
	if (arrival > 0) /* Else nothing was taken in, and no custody root has that number. */
		life->told.commit_number = number;
	tell(life);
}

/* The oldest anchor that is not final becomes so. */
static void finish_one(struct life *life)
{
	struct err err;
	struct spool_lane lane;
	struct spool_receipt receipt = { .evidence = BYTES_LITERAL("evidence"),
		                         .final_ms = TEST_TIME_MS };
	die_unless(spool_lane(life->fixture.spool, 1, 0, &lane, &err), &err);
	struct spool_anchor_id id = { 1, 0, lane.final_seq + 1 };
	if (lane.final_seq == lane.newest_seq)
		return;
	spool_begin(&life->fixture.txn, life->fixture.spool, SPOOL_UPKEEP);
	die_unless(spool_anchor_finalize(&life->fixture.txn, &id, &receipt, &err), &err);
	die_unless(spool_commit(&life->fixture.txn, &err), &err);
	for (int i = 0; i < CHAIN_COUNT; i++) {
		struct spool_chain row;
		die_unless(spool_chain(life->fixture.spool, &life->chains[i].key, &row, &err),
		           &err);
		life->told.anchored[i] = row.anchored_next;
	}
	tell(life);
}

static void anchor(struct life *life)
{
	struct err err;
	struct entry entries[CHAIN_COUNT];
	size_t count = 0;
	struct spool_lane lane;
	for (int i = 0; i < CHAIN_COUNT; i++) {
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
	die_unless(spool_lane(life->fixture.spool, 1, 0, &lane, &err), &err);
	struct spool_anchor row = { .id = { 1, 0, lane.newest_seq + 1 },
		                    .alg = HASH_SHA256,
		                    .deliver = DELIVER_ANCHOR,
		                    .previous = lane.newest_root };
	row.root = test_hash("root", row.id.seq, &row.previous);
	if (count == 0)
		return;
	spool_begin(&life->fixture.txn, life->fixture.spool, SPOOL_UPKEEP);
	die_unless(spool_anchor_put(&life->fixture.txn, &row, entries, count, &err), &err);
	die_unless(spool_commit(&life->fixture.txn, &err), &err);
}

static void prune(struct life *life)
{
	struct err err;
	struct spool_prune_options options = { .now_ms = TEST_TIME_MS + 10,
		                               .retention_ms = 5,
		                               .history_ms =
		                                       next_random(&life->seed) % 8 == 0 ? 5 : 0,
		                               .batch_max = 8 };
	struct spool_prune_result result;
	spool_begin(&life->fixture.txn, life->fixture.spool, SPOOL_UPKEEP);
	die_unless(spool_prune_slice(&life->fixture.txn, &options, &result, &err), &err);
	die_unless(spool_commit(&life->fixture.txn, &err), &err);
}

static void live(const char *dir, int fd, uint64_t seed, const struct told *told)
{
	struct life life = { .fd = fd, .seed = seed, .told = *told };
	struct err err;
	struct spool_options options = { .dir = dir, .mode = STORE_WRITE };
	signal(SIGBUS, SIG_DFL);
	signal(SIGSEGV, SIG_DFL);
	signal(SIGABRT, SIG_DFL);
	die_unless(spool_open(&life.fixture.spool, &options, &err), &err);
	for (int i = 0; i < CHAIN_COUNT; i++) {
		char name[16];
		struct spool_chain row;
		chain_name(name, i);
		die_unless(spool_chain_by_name(life.fixture.spool, name, &row, &err), &err);
		life.chains[i] = edge_of(name, row.next_height);
	}
	for (;;) {
		switch (next_random(&life.seed) % 5) {
		case 0:
			anchor(&life);
			break;
		case 1:
			finish_one(&life);
			break;
		case 2:
			prune(&life);
			break;
		default:
			take_in(&life);
			break;
		}
	}
}

/* ---- the parent ---- */

static void read_told(int fd, struct told *told)
{
	struct told now;
	while (read(fd, &now, sizeof(now)) == sizeof(now))
		*told = now;
	close(fd);
}

static void check(struct fixture *fixture, const struct told *told)
{
	struct err err;
	struct spool_verify_result result;
	struct spool_totals totals;
	open_spool(fixture);
	for (int i = 0; i < CHAIN_COUNT; i++) {
		char name[16];
		struct spool_chain row;
		struct block_header header;
		chain_name(name, i);
		MUST(spool_chain_by_name(fixture->spool, name, &row, &err));
		assert_true(row.next_height >= told->next[i]);
		assert_true(row.anchored_next >= told->anchored[i]);
		struct test_chain edge = edge_of(name, row.next_height);
		assert_true(hash_equal(&row.tip, &edge.tip));
		if (row.known_from < row.next_height)
			MUST(spool_header(fixture->spool, &row.key, row.next_height - 1, &header,
			                  &err));
	}
	MUST(spool_totals(fixture->spool, &totals, &err));
	assert_true(totals.commit_number >= told->commit_number);
	spool_close(fixture->spool);
	fixture->spool = NULL;
	MUST(spool_verify(fixture->dir, print_fault, NULL, NULL, &result, &err));
	assert_int_equal(result.fault_count, 0);
}

static void what_was_told_survives_sigkill_and_nothing_is_half_done(void **state)
{
	struct fixture *fixture = *state;
	struct told told = { .commit_number = 0 };
	const char *given = getenv("ZR_TEST_SEED");
	uint64_t seed =
		given != NULL ? strtoull(given, NULL, 10) : (uint64_t)getpid() * 2654435761u + 1;
	print_message("seed %" PRIu64 "\n", seed);
	for (int i = 0; i < CHAIN_COUNT; i++) {
		char name[16];
		chain_name(name, i);
		struct test_chain chain = test_chain(name);
		add_chain(fixture, &chain);
	}
	spool_close(fixture->spool);
	fixture->spool = NULL;
	for (int round = 0; round < ROUNDS; round++) {
		int fds[2], status;
		assert_int_equal(pipe(fds), 0);
		uint64_t child_seed = next_random(&seed) | 1;
		pid_t child = fork();
		if (child == 0) {
			close(fds[0]);
			live(fixture->dir, fds[1], child_seed, &told);
		}
		close(fds[1]);
		usleep((useconds_t)(next_random(&seed) % 20000));
		assert_int_equal(kill(child, SIGKILL), 0);
		assert_int_equal(waitpid(child, &status, 0), child);
		assert_true(WIFSIGNALED(status));
		read_told(fds[0], &told);
		check(fixture, &told);
	}
	assert_true(told.next[0] > 0);
	assert_true(told.anchored[0] > 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		WITH_SPOOL(what_was_told_survives_sigkill_and_nothing_is_half_done),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
