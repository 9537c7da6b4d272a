/* writer.h -- the one thread that changes the spool.
 *
 * It takes everything that waits, applies it, commits once, and answers: while the disk syncs, the
 * next group gathers. Intake and upkeep go into separate transactions, so that a full spool stops
 * the one and not the other.
 *
 * Each operation stands alone: one that is refused (a height that does not follow, a chain that is
 * frozen) has changed nothing and costs the others nothing. Only the commit itself fails or succeeds
 * for all. If the store says that the disk failed, on_store_failed is called and nothing is ever
 * tried again (P7).
 *
 * Threads: writer_submit() any; the rest the one that started it.
 */
#ifndef ZR_RELAY_WRITER_H
#define ZR_RELAY_WRITER_H

#include "proto/merkle.h"
#include "proto/record.h"
#include "relay/base/clock.h"
#include "relay/base/crypto.h"
#include "relay/base/err.h"
#include "relay/base/list.h"
#include "relay/base/mailbox.h"
#include "spool/spool.h"

struct writer;

/* Our promise for one batch: the path to the commit's signed root. */
struct custody_proof {
	bool present; /* False: no key to sign with. The batch is durable all the same. */
	uint64_t commit_number;
	int64_t time_ms;
	struct merkle_path path;
	struct signature signature; /* Over the custody root record. */
	struct hash key_id;         /* Its first 8 bytes go into the receipt. */
};

/* One change. It stands at the beginning of a larger struct of its submitter, which has what apply
 * needs and keeps what apply finds. */
struct writer_op {
	struct list_node node; /* In the writer's mailbox, then in reply's. */
	enum spool_work work;
	/* Makes the change, on the writer's thread. False: it was refused, err says why. May be
	 * called again, if the transaction had to be begun anew without another operation. */
	bool (*apply)(struct spool_txn *txn, struct writer_op *op, struct err *err);
	/* What the answer's reader does with it; the writer does not call it. */
	void (*on_done)(struct writer_op *op);
	const struct custody *custody; /* SPOOL_INTAKE: what to promise. Borrowed until answered. */
	struct mailbox *reply;         /* Kept until answered. */
	/* The answer: */
	bool ok; /* True: on the disk. */
	struct err err;
	uint64_t commit_number; /* Of an intake commit. */
	struct custody_proof proof;
};

struct writer_options {
	struct spool *spool;       /* Kept. */
	const struct clock *clock; /* Kept. */
	size_t queue_max;
	/* The disk failed, or the store is damaged beyond one row: called once, on the writer's
	 * thread. The daemon ends the process here. Every operation is refused from then on. */
	void (*on_store_failed)(const struct err *err, void *arg);
	void *arg;
};

bool writer_start(struct writer **out_writer, const struct writer_options *options,
                  struct err *err) MUST_CHECK;
/* Does what waits, answers it, ends; refuses from then on. NULL is allowed. */
void writer_close(struct writer *writer);
/* The same, and frees it. */
void writer_stop(struct writer *writer);

/* Takes op until it comes back in op->reply.
 * Errors: ZR_FULL  queue_max operations wait, or it has stopped: op was not taken. */
bool writer_submit(struct writer *writer, struct writer_op *take_op, struct err *err) MUST_CHECK;

/* The key that signs custody roots from the next commit on; takes it. */
void writer_set_signer(struct writer *writer, struct key *take_key);

/* For metrics; running totals, read without waiting. */
struct writer_stats {
	uint64_t commit_count, refused_count, failed_commit_count;
	uint64_t op_count;
	uint64_t commit_ms_sum; /* From the first apply to the end of the sync. */
	int64_t last_commit_ms; /* Monotonic; 0: none yet. */
};
struct writer_stats writer_stats(const struct writer *writer);
size_t writer_waiting(struct writer *writer);

#endif
