/* One thread writes, others read: what a reader sees is always one commit, whole. Also run with the
 * thread sanitizer. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <pthread.h>
#include <stdatomic.h>

#include "spool/upkeep.h"
#include "tests/unit/spool_fixture.h"

#define READERS 3
#define COMMITS 400

struct shared {
	struct spool *spool;
	struct chain_key chain;
	atomic_bool done;
	atomic_uint failures; /* cmocka's assertions are for the main thread only. */
	atomic_uint reads;
};

static void expect(struct shared *shared, bool holds)
{
	if (!holds)
		atomic_fetch_add(&shared->failures, 1);
}

static void read_chain(struct shared *shared)
{
	struct err err;
	struct spool_chain row;
	struct block_header header;
	struct buffer payload = BUFFER_EMPTY;
	struct spool_batch_info info;
	expect(shared, spool_chain(shared->spool, &shared->chain, &row, &err));
	expect(shared, row.received_blocks == row.next_height);
	expect(shared, row.anchored_next <= row.pending_from);
	if (row.next_height == 0)
		return;
	/* What the watermark says is there, in a later transaction too. */
	expect(shared,
	       spool_header(shared->spool, &shared->chain, row.next_height - 1, &header, &err) &&
	               hash_equal(&header.hash, &row.tip));
	if (spool_batch_payload(shared->spool, &shared->chain, row.next_height - 1, &info, &payload,
	                        &err))
		expect(shared, payload.size == info.payload_size);
	else
		expect(shared, err.code == ZR_STATE); /* Pruned meanwhile. */
	buffer_fini(&payload);
}

static void *read_for_ever(void *arg)
{
	struct shared *shared = arg;
	struct spool_scrub scrub = SPOOL_SCRUB_BEGIN;
	const struct spool_scrub_limits limits = { 16, 1u << 20 };
	while (!atomic_load(&shared->done)) {
		struct err err;
		struct spool_stats stats;
		read_chain(shared);
		expect(shared, spool_scrub_slice(shared->spool, &scrub, &limits, &err));
		expect(shared, spool_stats(shared->spool, &stats, &err));
		expect(shared, stats.store.reader_count <= READERS);
		expect(shared, !spool_is_poisoned(shared->spool));
		atomic_fetch_add(&shared->reads, 1);
	}
	return NULL;
}

static void anchor_and_prune(struct fixture *fixture, const struct test_chain *chain)
{
	struct err err;
	struct spool_prune_result result;
	struct spool_prune_options options = { .now_ms = TEST_TIME_MS + 10,
		                               .retention_ms = 5,
		                               .batch_max = 4 };
	anchor_all(fixture, chain);
	MUST(spool_prune_slice(begin(fixture, SPOOL_UPKEEP), &options, &result, &err));
	commit(fixture);
}

static void readers_beside_the_writer_see_whole_commits(void **state)
{
	struct fixture *fixture = *state;
	struct test_chain chain = test_chain("tq-0001");
	pthread_t readers[READERS];
	add_chain(fixture, &chain);
	struct shared shared = { .spool = fixture->spool, .chain = chain.key };
	for (int i = 0; i < READERS; i++)
		assert_int_equal(pthread_create(&readers[i], NULL, read_for_ever, &shared), 0);
	for (int i = 0; i < COMMITS; i++) {
		put_batch(fixture, &chain, 1 + (uint32_t)i % 5);
		if (i % 7 == 6)
			anchor_and_prune(fixture, &chain);
		if (i % 50 == 49) {
			struct err err;
			MUST(spool_set_reserve(fixture->spool, (300u << 10) + (unsigned)i, &err));
			spool_set_quarantine_max(fixture->spool, (1u << 20) + (unsigned)i);
		}
	}
	atomic_store(&shared.done, true);
	for (int i = 0; i < READERS; i++)
		assert_int_equal(pthread_join(readers[i], NULL), 0);
	assert_int_equal(atomic_load(&shared.failures), 0);
	assert_true(atomic_load(&shared.reads) > 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		WITH_SPOOL(readers_beside_the_writer_see_whole_commits),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
