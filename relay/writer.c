/* writer.c -- see writer.h. */
#include "relay/writer.h"
#include "relay/base/fault_point.h"

#include <assert.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

struct writer {
	struct writer_options options;
	struct mailbox *ops;
	pthread_t thread;
	bool closed;        /* The thread has ended. The loop's only. */
	bool failed;        /* The store did. The writer's thread only. */
	struct key *signer; /* Owned; NULL: none. The writer's thread only. */
	struct {
		_Atomic uint64_t commit_count, refused_count, failed_commit_count, op_count;
		_Atomic uint64_t commit_ms_sum;
		_Atomic int64_t last_commit_ms;
	} stats;
};

/* An op without apply: it changes the writer, not the spool. */
struct signer_change {
	struct writer_op op;
	struct key *key;
};

static void answer(struct writer_op *op, bool ok)
{
	op->ok = ok;
	mailbox_answer(op->reply, &op->node);
}

static void refuse(struct writer *writer, struct writer_op *op, const struct err *why)
{
	atomic_fetch_add(&writer->stats.refused_count, 1);
	if (&op->err != why)
		op->err = *why;
	answer(op, false);
}

static void refuse_all(struct writer *writer, struct list_node *ops, const struct err *why)
{
	struct list_node *node;
	while ((node = list_pop(ops)) != NULL)
		refuse(writer, LIST_ENTRY(node, struct writer_op, node), why);
}

static void store_failed(struct writer *writer, const struct err *why)
{
	if (writer->failed)
		return;
	writer->failed = true;
	writer->options.on_store_failed(why, writer->options.arg);
}

/* ---- custody ---- */

static bool sign_root(const struct writer *writer, const struct merkle_tree *tree, uint64_t count,
                      struct custody_proof *out_proof, struct err *err)
{
	struct custody_root root = {
		.commit_number = out_proof->commit_number,
		.time_ms = out_proof->time_ms,
		.count = count,
		.root = merkle_tree_root(tree),
	};
	memcpy(root.store_uuid, spool_uuid(writer->options.spool), STORE_UUID_SIZE);
	uint8_t record[CUSTODY_ROOT_SIZE];
	custody_root_encode(&root, record);
	return key_sign(writer->signer, (struct bytes){ record, sizeof(record) },
	                &out_proof->signature, err);
}

/* One signature for the whole commit, and each batch's path to it. A failure costs the receipts
 * only: what is durable stays durable, and is acked without one. */
static void promise(const struct writer *writer, struct list_node *ops, uint64_t commit_number)
{
	size_t count = 0;
	LIST_FOR_EACH (node, ops)
		count += LIST_ENTRY(node, struct writer_op, node)->custody != NULL;
	if (count == 0 || writer->signer == NULL)
		return;
	struct hash *leaves = calloc(count, sizeof(*leaves));
	if (leaves == NULL)
		return;
	size_t index = 0;
	LIST_FOR_EACH (node, ops) {
		const struct writer_op *op = LIST_ENTRY(node, struct writer_op, node);
		if (op->custody != NULL)
			leaves[index++] = custody_leaf(op->custody);
	}

	struct custody_proof proof = {
		.present = true,
		.commit_number = commit_number,
		.time_ms = clock_wall_ms(writer->options.clock),
		.key_id = key_id(writer->signer),
	};
	struct merkle_tree *tree = NULL;
	FAULT_POINT(CUSTODY_SIGNING);
	if (merkle_tree_new(&tree, HASH_SHA256, leaves, count, NULL) &&
	    sign_root(writer, tree, count, &proof, NULL)) {
		index = 0;
		LIST_FOR_EACH (node, ops) {
			struct writer_op *op = LIST_ENTRY(node, struct writer_op, node);
			if (op->custody == NULL)
				continue;
			op->proof = proof;
			merkle_tree_path(tree, index++, &op->proof.path);
		}
	}
	FAULT_POINT(CUSTODY_SIGNED);
	merkle_tree_free(tree);
	free(leaves);
}

/* ---- groups ---- */

enum group_end { GROUP_COMMITTED, GROUP_AGAIN, GROUP_FAILED };

/* Moves an operation that was refused out of the way. It is answered last: for one chain's batches
 * that is their order, since nothing behind a refused one can be stored. */
static void set_aside(struct writer_op *op, struct list_node *refused)
{
	list_remove(&op->node);
	list_append(refused, &op->node);
}

/* Applies ops and commits. Refused ones move to refused. GROUP_AGAIN: one of them spoiled the
 * transaction, and the rest is to be done without it. */
static enum group_end run_once(struct writer *writer, enum spool_work work, struct list_node *ops,
                               struct list_node *refused, struct err *err)
{
	struct spool_txn txn;
	spool_begin(&txn, writer->options.spool, work);
	LIST_FOR_EACH (node, ops) {
		struct writer_op *op = LIST_ENTRY(node, struct writer_op, node);
		op->proof.present = false;
		if (op->apply(&txn, op, &op->err)) {
			op->commit_number = spool_commit_number(&txn);
			continue;
		}
		bool spoiled = !spool_txn_ok(&txn);
		if (spoiled)
			spool_abort(&txn);
		if (spoiled && op->err.code == ZR_IO) {
			*err = op->err;
			return GROUP_FAILED;
		}
		set_aside(op, refused);
		if (spoiled)
			return GROUP_AGAIN;
	}
	if (list_is_empty(ops)) {
		spool_abort(&txn);
		return GROUP_COMMITTED;
	}
	uint64_t commit_number = spool_commit_number(&txn);
	if (!spool_commit(&txn, err))
		return GROUP_FAILED;
	if (work == SPOOL_INTAKE)
		promise(writer, ops, commit_number);
	return GROUP_COMMITTED;
}

/* Stores ops, and answers all but those that it moves to refused. */
static void store_group(struct writer *writer, enum spool_work work, struct list_node *ops,
                        struct list_node *refused)
{
	struct err err = { .code = ZR_OK };
	int64_t begun_ms = clock_monotonic_ms(writer->options.clock);
	enum group_end end = GROUP_AGAIN;
	/* Each further attempt has one operation less. */
	while (end == GROUP_AGAIN && !list_is_empty(ops))
		end = run_once(writer, work, ops, refused, &err);
	if (list_is_empty(ops))
		return;
	if (end == GROUP_FAILED) {
		atomic_fetch_add(&writer->stats.failed_commit_count, 1);
		if (err_fate(err.code) == ERR_STOP)
			store_failed(writer, &err);
		refuse_all(writer, ops, &err);
		return;
	}
	int64_t now_ms = clock_monotonic_ms(writer->options.clock);
	atomic_fetch_add(&writer->stats.commit_count, 1);
	atomic_fetch_add(&writer->stats.commit_ms_sum, (uint64_t)(now_ms - begun_ms));
	atomic_store(&writer->stats.last_commit_ms, now_ms);
	struct list_node *node;
	while ((node = list_pop(ops)) != NULL) {
		atomic_fetch_add(&writer->stats.op_count, 1);
		answer(LIST_ENTRY(node, struct writer_op, node), true);
	}
}

static void run_group(struct writer *writer, enum spool_work work, struct list_node *ops)
{
	struct list_node refused;
	list_init(&refused);
	store_group(writer, work, ops, &refused);
	struct list_node *node;
	while ((node = list_pop(&refused)) != NULL) {
		struct writer_op *op = LIST_ENTRY(node, struct writer_op, node);
		refuse(writer, op, &op->err);
	}
}

/* One turn: everything that waits. */
static void turn(struct writer *writer, struct list_node *ops)
{
	struct list_node groups[2];
	list_init(&groups[SPOOL_INTAKE]);
	list_init(&groups[SPOOL_UPKEEP]);
	struct list_node *node;
	while ((node = list_pop(ops)) != NULL) {
		struct writer_op *op = LIST_ENTRY(node, struct writer_op, node);
		if (op->apply != NULL) {
			list_append(&groups[op->work], node);
			continue;
		}
		struct signer_change *change = (struct signer_change *)op;
		key_free(writer->signer);
		writer->signer = change->key;
		free(change);
	}
	if (writer->failed) {
		struct err err;
		err_set(&err, ZR_IO, "the store failed before");
		refuse_all(writer, &groups[SPOOL_INTAKE], &err);
		refuse_all(writer, &groups[SPOOL_UPKEEP], &err);
		return;
	}
	run_group(writer, SPOOL_INTAKE, &groups[SPOOL_INTAKE]);
	run_group(writer, SPOOL_UPKEEP, &groups[SPOOL_UPKEEP]);
}

static void *writer_main(void *arg)
{
	struct writer *writer = arg;
	struct list_node ops;
	list_init(&ops);
	while (mailbox_wait_all(writer->ops, &ops) > 0)
		turn(writer, &ops);
	return NULL;
}

/* ---- life ---- */

static void writer_free(struct writer *writer)
{
	mailbox_free(writer->ops);
	key_free(writer->signer);
	free(writer);
}

bool writer_start(struct writer **out_writer, const struct writer_options *options, struct err *err)
{
	struct writer *writer = calloc(1, sizeof(*writer));
	if (writer == NULL)
		return err_set(err, ZR_NO_MEMORY, "writer");
	writer->options = *options;
	if (!mailbox_new(&writer->ops, options->queue_max, err)) {
		writer_free(writer);
		return false;
	}
	/* Signals belong to the loop. */
	sigset_t all, before;
	(void)sigfillset(&all);
	(void)pthread_sigmask(SIG_SETMASK, &all, &before);
	int failed = pthread_create(&writer->thread, NULL, writer_main, writer);
	(void)pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (failed != 0) {
		writer_free(writer);
		return err_set(err, ZR_UNAVAILABLE, "writer: no thread");
	}
	(void)pthread_setname_np(writer->thread, "writer");
	*out_writer = writer;
	return true;
}

void writer_close(struct writer *writer)
{
	if (writer == NULL || writer->closed)
		return;
	mailbox_close(writer->ops);
	(void)pthread_join(writer->thread, NULL);
	writer->closed = true;
}

void writer_stop(struct writer *writer)
{
	if (writer == NULL)
		return;
	writer_close(writer);
	writer_free(writer);
}

bool writer_submit(struct writer *writer, struct writer_op *take_op, struct err *err)
{
	assert(take_op->apply != NULL && take_op->reply != NULL);
	if (!mailbox_put(writer->ops, &take_op->node))
		return err_set(err, ZR_FULL, "the writer has too much to do");
	return true;
}

void writer_set_signer(struct writer *writer, struct key *take_key)
{
	struct signer_change *change = calloc(1, sizeof(*change));
	if (change == NULL) {
		key_free(take_key); /* The old one goes on. */
		return;
	}
	change->key = take_key;
	mailbox_answer(writer->ops, &change->op.node);
}

struct writer_stats writer_stats(const struct writer *writer)
{
	return (struct writer_stats){
		.commit_count = atomic_load(&writer->stats.commit_count),
		.refused_count = atomic_load(&writer->stats.refused_count),
		.failed_commit_count = atomic_load(&writer->stats.failed_commit_count),
		.op_count = atomic_load(&writer->stats.op_count),
		.commit_ms_sum = atomic_load(&writer->stats.commit_ms_sum),
		.last_commit_ms = atomic_load(&writer->stats.last_commit_ms),
	};
}

size_t writer_waiting(struct writer *writer)
{
	return mailbox_count(writer->ops);
}
