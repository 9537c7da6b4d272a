/* spool_fixture.h -- a spool in a temporary folder, made-up chains, batches and anchors. */
#ifndef ZR_TESTS_SPOOL_FIXTURE_H
#define ZR_TESTS_SPOOL_FIXTURE_H

#include <inttypes.h>

#include "spool/anchors.h"
#include "spool/audit.h"
#include "spool/batches.h"
#include "spool/quarantine.h"
#include "spool/spool.h"
#include "spool/tools.h"
#include "tests/unit/store_fixture.h"

#define TEST_BLOCKS_MAX 64
#define TEST_TIME_MS    1700000000000

/* A chain as its edge sees it. */
struct test_chain {
	struct chain_id id;
	struct chain_key key;
	uint64_t next_height;
	struct hash tip;
};

struct fixture {
	char dir[TEST_PATH_MAX];
	struct spool *spool;
	struct spool_txn txn; /* Between begin() and commit(). */
	uint64_t seq;         /* Of the newest anchor of lane 0. */
	struct hash root;     /* And its root. */
	bool damaged;         /* On purpose: not verified at the end. */
};

static inline struct hash test_hash(const char *what, uint64_t number, const struct hash *parent)
{
	uint8_t bytes[8];
	put_be64(bytes, number);
	const struct bytes parts[] = { bytes_of_string(what), BYTES_OF(bytes), BYTES_OF(*parent) };
	return hash_parts(HASH_SHA256, parts, 3);
}

static inline struct block_header test_block(const char *name, uint64_t height,
                                             const struct hash *parent)
{
	struct block_header header = { .height = height, .parent = *parent };
	header.hash = test_hash(name, height, parent);
	header.data_root = test_hash("data", height, parent);
	header.time_ms = TEST_TIME_MS + (int64_t)(height % UINT32_MAX) * 1000;
	header.entry_count = (uint32_t)(height % 7);
	return header;
}

static inline struct test_chain test_chain(const char *name)
{
	static const struct hash none;
	struct test_chain chain = { .next_height = 0 };
	snprintf(chain.id.name, sizeof(chain.id.name), "%s", name);
	chain.id.epoch = test_block(name, 0, &none).hash;
	chain.key = chain_key(&chain.id);
	return chain;
}

/* The next count blocks of chain, which moves on. */
struct test_batch {
	struct spool_batch batch;
	struct block_header headers[TEST_BLOCKS_MAX];
	uint8_t payload[4096];
};

static inline void next_batch(struct test_chain *chain, uint32_t count, size_t payload_size,
                              struct test_batch *out)
{
	struct hash parent = chain->tip;
	for (uint32_t i = 0; i < count; i++) {
		out->headers[i] = test_block(chain->id.name, chain->next_height + i, &parent);
		parent = out->headers[i].hash;
	}
	for (size_t i = 0; i < payload_size; i++)
		out->payload[i] = (uint8_t)(chain->next_height * 31 + i);
	out->batch = (struct spool_batch){ .chain = chain->key,
		                           .headers = out->headers,
		                           .block_count = count,
		                           .policy = POLICY_ALL,
		                           .codec = CODEC_ZSTD,
		                           .raw_size = (uint32_t)payload_size * 3,
		                           .payload = { out->payload, payload_size },
		                           .received_ms = TEST_TIME_MS,
		                           .agent = "agent-1" };
	out->batch.content = sha256(out->batch.payload);
	chain->next_height += count;
	chain->tip = parent;
}

/* ---- spool ---- */

static inline void create_spool(struct fixture *fixture, uint64_t size_bytes)
{
	struct err err;
	fresh_path(fixture->dir);
	MUST(spool_create(&(struct spool_create_options){ .dir = fixture->dir,
	                                                  .size_bytes = size_bytes,
	                                                  .now_ms = TEST_TIME_MS },
	                  &err));
}

static inline void open_spool(struct fixture *fixture)
{
	struct err err;
	spool_close(fixture->spool);
	fixture->spool = NULL;
	MUST(spool_open(&fixture->spool,
	                &(struct spool_options){ .dir = fixture->dir, .mode = STORE_WRITE }, &err));
}

static inline int set_up_spool(void **state)
{
	struct fixture *fixture = calloc(1, sizeof(*fixture));
	create_spool(fixture, 16u << 20);
	open_spool(fixture);
	*state = fixture;
	return 0;
}

static inline void print_fault(const char *line, void *arg)
{
	print_error("after the test: %s\n", line);
}

/* Whatever a test does to a spool, every invariant holds at its end. */
static inline int tear_down_spool(void **state)
{
	struct fixture *fixture = *state;
	struct err err;
	struct spool_verify_result result = { .fault_count = 0 };
	spool_abort(&fixture->txn); /* Of a test that failed. */
	spool_close(fixture->spool);
	if (!fixture->damaged && spool_exists(fixture->dir) &&
	    (!spool_verify(fixture->dir, print_fault, NULL, NULL, &result, &err) ||
	     result.fault_count > 0))
		return -1;
	temp_folder_remove(fixture->dir);
	free(fixture);
	return 0;
}

#define WITH_SPOOL(test) cmocka_unit_test_setup_teardown(test, set_up_spool, tear_down_spool)

static inline struct spool_txn *begin(struct fixture *fixture, enum spool_work work)
{
	spool_begin(&fixture->txn, fixture->spool, work);
	return &fixture->txn;
}

static inline void commit(struct fixture *fixture)
{
	struct err err;
	MUST(spool_commit(&fixture->txn, &err));
}

static inline void add_chain(struct fixture *fixture, const struct test_chain *chain)
{
	struct err err;
	struct spool_chain_new row = { .id = chain->id,
		                       .format = "ledger",
		                       .trust = BYTES_LITERAL("trust 0"),
		                       .first_height = chain->next_height,
		                       .tip = chain->tip,
		                       .sink = SPOOL_SINK_MAIN,
		                       .class = 1,
		                       .now_ms = TEST_TIME_MS };
	MUST(spool_chain_add(begin(fixture, SPOOL_INTAKE), &row, &err));
	commit(fixture);
}

static inline uint64_t put_batch(struct fixture *fixture, struct test_chain *chain, uint32_t count)
{
	struct err err;
	struct test_batch batch;
	uint64_t arrival;
	next_batch(chain, count, 200, &batch);
	MUST(spool_batch_put(begin(fixture, SPOOL_INTAKE), &batch.batch, &arrival, &err));
	commit(fixture);
	return arrival;
}

static inline struct spool_chain load(struct fixture *fixture, const struct test_chain *chain)
{
	struct err err;
	struct spool_chain row;
	MUST(spool_chain(fixture->spool, &chain->key, &row, &err));
	return row;
}

/* ---- anchors ---- */

static inline struct entry pending_entry(struct fixture *fixture, const struct test_chain *chain,
                                         uint64_t block_max)
{
	struct err err;
	struct spool_run run;
	MUST(spool_pending_run(fixture->spool, &chain->key, block_max, UINT64_MAX, &run, &err));
	struct entry entry = { .chain = chain->id,
		               .from = run.from,
		               .to = run.to,
		               .tip = run.tip,
		               .policy = run.policy };
	entry.subtree = test_hash("subtree", run.to, &run.tip);
	return entry;
}

static inline struct spool_anchor next_anchor(struct fixture *fixture)
{
	struct spool_anchor anchor = { .id = { SPOOL_SINK_MAIN, 0, fixture->seq + 1 },
		                       .alg = HASH_SHA256,
		                       .deliver = DELIVER_ANCHOR,
		                       .previous = fixture->root,
		                       .created_ms = TEST_TIME_MS };
	anchor.root = test_hash("root", anchor.id.seq, &anchor.previous);
	anchor.key = test_hash("key", anchor.id.seq, &anchor.root);
	return anchor;
}

/* Spools an anchor with all that is pending of these chains. */
static inline struct spool_anchor put_anchor(struct fixture *fixture,
                                             const struct test_chain *const *chains, size_t count)
{
	struct err err;
	struct entry entries[16];
	for (size_t i = 0; i < count; i++)
		entries[i] = pending_entry(fixture, chains[i], UINT64_MAX);
	struct spool_anchor anchor = next_anchor(fixture);
	MUST(spool_anchor_put(begin(fixture, SPOOL_UPKEEP), &anchor, entries, count, &err));
	commit(fixture);
	fixture->seq++;
	fixture->root = anchor.root;
	return anchor;
}

static inline void finalize(struct fixture *fixture, const struct spool_anchor_id *id,
                            int64_t final_ms)
{
	struct err err;
	struct spool_receipt receipt = { .evidence = BYTES_LITERAL("evidence"),
		                         .final_ms = final_ms,
		                         .signature = BYTES_LITERAL("signature"),
		                         .key_id = BYTES_LITERAL("key-id..") };
	MUST(spool_anchor_finalize(begin(fixture, SPOOL_UPKEEP), id, &receipt, &err));
	commit(fixture);
}

static inline void anchor_all(struct fixture *fixture, const struct test_chain *chain)
{
	struct spool_anchor anchor = put_anchor(fixture, &chain, 1);
	finalize(fixture, &anchor.id, TEST_TIME_MS);
}

/* Promise P5 of one chain. */
static inline void check_conservation(const struct spool_chain *chain, uint64_t pending)
{
	assert_int_equal(chain->received_blocks, chain->anchored_blocks + pending +
	                                                 chain->quarantined_blocks +
	                                                 chain->tombstoned_blocks);
	assert_int_equal(spool_chain_pending_blocks(chain), pending);
}

#endif
