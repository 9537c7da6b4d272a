/* verify.h -- the workers: a batch in, facts about it out. No state, no clock, no I/O.
 *
 * A job names everything that its facts depend on: the bytes, the trust set, and the position the
 * batch is walked from. Whoever asked compares those names with the present before using the facts:
 * a batch that was verified ahead of its predecessors may have been looked at under a trust set that
 * is no longer the one in force.
 *
 * Threads: verify_run() any; the pool's functions the one that made it.
 */
#ifndef ZR_RELAY_VERIFY_H
#define ZR_RELAY_VERIFY_H

#include "adapters/sidechain.h"
#include "adapters/sidechain/walk.h"
#include "proto/compress.h"
#include "proto/record.h"
#include "relay/base/bytes.h"
#include "relay/base/err.h"
#include "relay/base/list.h"
#include "relay/base/mailbox.h"

enum verify_kind {
	VERIFY_WALK,  /* Everything: links, roots, signatures as the policy says, trust changes. */
	VERIFY_READ,  /* Only what the blocks say of themselves: headers, recomputed hashes. */
	VERIFY_PROVE, /* One block's own signatures, wherever it stands: for evidence. */
};

struct verify_job {
	struct list_node node; /* In the pool's mailbox, then in reply's. */
	enum verify_kind kind;
	struct mailbox *reply; /* Kept until answered. */

	/* What is asked. Borrowed until answered. */
	const struct sidechain *format;
	const struct hash *epoch;
	const struct trust *trust;     /* WALK, PROVE: in force for the first height. */
	uint64_t trust_from;           /* WALK: names that set: first height it is in force for. */
	struct walk_position position; /* WALK: what the batch is expected to follow. */
	uint64_t prove_height;         /* PROVE. */
	enum policy policy;            /* WALK. */
	struct bytes payload;          /* Compressed. */
	struct hash content;           /* What its SHA-256 is said to be. */
	enum codec codec;
	const struct dictionary *dictionary; /* NULL: none. */
	size_t raw_size;                     /* As the sender said; checked. */
	size_t block_max_bytes;
	size_t count_max; /* Blocks. */

	/* What was found. */
	enum walk_fault fault;
	uint64_t bad_height; /* Where known. */
	struct err err;      /* What is wrong, where fault says that something is. */
	bool mislabelled;    /* The bytes are not those that `content` names. */
	bool no_memory;      /* Nothing was found out: the machine is short, not the batch wrong. */
	struct block_header *headers; /* Owned: verify_job_forget() frees. */
	size_t header_count;
	struct trust *trust_next; /* Owned: the set after the batch; NULL: unchanged. */
	uint64_t trust_next_from;
	struct buffer trusts_between; /* Owned: sets in force only inside; walk_next_replaced(). */
	struct buffer block;          /* PROVE: the block as it came. Owned. */
};

/* Frees what was found, so that the job can be asked again. */
void verify_job_forget(struct verify_job *job);

/* One thread's tools. */
struct verify_bench;
bool verify_bench_new(struct verify_bench **out_bench, struct err *err) MUST_CHECK;
void verify_bench_free(struct verify_bench *bench);

/* Does the job here and now. */
void verify_run(struct verify_bench *bench, struct verify_job *job);

/* ---- the pool ---- */

struct verify_pool;

/* Starts thread_count workers. At most queue_max jobs wait.
 * Errors: ZR_UNAVAILABLE  a thread cannot be started. */
bool verify_pool_start(struct verify_pool **out_pool, size_t thread_count, size_t queue_max,
                       struct err *err) MUST_CHECK;
/* Waits for the jobs that are under way; those that wait are answered too. NULL is allowed. */
void verify_pool_stop(struct verify_pool *pool);
/* Takes the job on success, until it comes back in job->reply. False: queue_max wait. */
bool verify_pool_put(struct verify_pool *pool, struct verify_job *take_job) MUST_CHECK;
size_t verify_pool_waiting(struct verify_pool *pool);

#endif
