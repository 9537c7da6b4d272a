/* test_writer.c -- group commit: who is stored with whom, and who fails alone. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "proto/receipt.h"
#include "relay/writer.h"
#include "tests/unit/spool_fixture.h"

#define CHAINS 4

struct bench {
	struct fixture *fixture;
	struct writer *writer;
	struct mailbox *replies;
	struct key *key; /* A copy of the signer's, to check with. */
	struct test_chain chains[CHAINS];
	unsigned store_failures;
};

/* One batch of one chain, as an operation. */
struct put_op {
	struct writer_op op; /* First. */
	struct test_batch batch;
	struct custody custody;
	unsigned applied;
};

static bool apply_put(struct spool_txn *txn, struct writer_op *op, struct err *err)
{
	struct put_op *put = (struct put_op *)op;
	uint64_t arrival;
	put->applied++;
	return spool_batch_put(txn, &put->batch.batch, &arrival, err);
}

static void on_store_failed(const struct err *err, void *arg)
{
	struct bench *bench = arg;
	bench->store_failures++;
}

static void begin_put(struct bench *bench, struct test_chain *chain, uint32_t count,
                      struct put_op *out)
{
	memset(out, 0, sizeof(*out));
	uint64_t from = chain->next_height;
	next_batch(chain, count, 300, &out->batch);
	out->custody = (struct custody){ .chain = chain->id,
		                         .from = from,
		                         .to = chain->next_height - 1,
		                         .tip = chain->tip,
		                         .content = out->batch.batch.content };
	out->op = (struct writer_op){ .work = SPOOL_INTAKE,
		                      .apply = apply_put,
		                      .reply = bench->replies,
		                      .custody = &out->custody };
}

static void submit(struct bench *bench, struct writer_op *op)
{
	struct err err;
	MUST(writer_submit(bench->writer, op, &err));
}

static void wait_answers(struct bench *bench, size_t count)
{
	while (count-- > 0)
		assert_non_null(mailbox_wait(bench->replies));
}

/* Holds the writer until something is put into gate, so that what is submitted meanwhile is one
 * group. */
struct hold_op {
	struct writer_op op;
	struct mailbox *gate;
};

static bool apply_hold(struct spool_txn *txn, struct writer_op *op, struct err *err)
{
	(void)mailbox_wait(((struct hold_op *)op)->gate);
	return err_set(err, ZR_STATE, "held");
}

static void hold(struct bench *bench, struct hold_op *out_hold)
{
	struct err err;
	*out_hold = (struct hold_op){
		.op = { .work = SPOOL_UPKEEP, .apply = apply_hold, .reply = bench->replies }
	};
	MUST(mailbox_new(&out_hold->gate, 1, &err));
	submit(bench, &out_hold->op);
	while (writer_waiting(bench->writer) > 0)
		usleep(1000);
}

static void let_go(struct bench *bench, struct hold_op *held)
{
	mailbox_close(held->gate);
	wait_answers(bench, 1);
	mailbox_free(held->gate);
}

static int set_up(void **state)
{
	struct err err;
	struct bench *bench = calloc(1, sizeof(*bench));
	void *fixture;
	set_up_spool(&fixture);
	bench->fixture = fixture;
	for (unsigned i = 0; i < CHAINS; i++) {
		char name[8];
		snprintf(name, sizeof(name), "tq-%u", i);
		bench->chains[i] = test_chain(name);
		add_chain(bench->fixture, &bench->chains[i]);
	}
	MUST(mailbox_new(&bench->replies, 1000, &err));
	struct writer_options options = { .spool = bench->fixture->spool,
		                          .clock = clock_system(),
		                          .queue_max = 100,
		                          .on_store_failed = on_store_failed,
		                          .arg = bench };
	MUST(writer_start(&bench->writer, &options, &err));
	struct key *signer;
	struct buffer pem = BUFFER_EMPTY;
	MUST(key_generate(&signer, SUITE_SHA256_P256, &err));
	MUST(key_to_pem(signer, true, &pem, &err));
	MUST(key_from_pem(&bench->key, buffer_bytes(&pem), &err));
	buffer_fini(&pem);
	writer_set_signer(bench->writer, signer);
	*state = bench;
	return 0;
}

static int tear_down(void **state)
{
	struct bench *bench = *state;
	writer_stop(bench->writer);
	mailbox_free(bench->replies);
	key_free(bench->key);
	void *fixture = bench->fixture;
	tear_down_spool(&fixture);
	free(bench);
	return 0;
}

static void what_waits_together_is_committed_together(void **state)
{
	struct bench *bench = *state;
	struct put_op puts[CHAINS];
	struct hold_op held;
	hold(bench, &held);
	for (unsigned i = 0; i < CHAINS; i++) {
		begin_put(bench, &bench->chains[i], 3, &puts[i]);
		submit(bench, &puts[i].op);
	}
	let_go(bench, &held);
	wait_answers(bench, CHAINS);
	for (unsigned i = 0; i < CHAINS; i++) {
		assert_true(puts[i].op.ok);
		assert_int_equal(puts[i].op.commit_number, puts[0].op.commit_number);
		assert_int_equal(load(bench->fixture, &bench->chains[i]).next_height, 3);
	}
}

static void every_batch_of_a_commit_gets_a_path_to_one_signature(void **state)
{
	struct bench *bench = *state;
	struct put_op puts[CHAINS];
	struct hold_op held;
	struct err err;
	hold(bench, &held);
	for (unsigned i = 0; i < CHAINS; i++) {
		begin_put(bench, &bench->chains[i], 2, &puts[i]);
		submit(bench, &puts[i].op);
	}
	let_go(bench, &held);
	wait_answers(bench, CHAINS);
	for (unsigned i = 0; i < CHAINS; i++) {
		struct custody_proof *proof = &puts[i].op.proof;
		ProtobufCBinaryData nodes[MERKLE_PATH_MAX];
		Zonerelay__Link__CustodyReceipt receipt = ZONERELAY__LINK__CUSTODY_RECEIPT__INIT;
		assert_true(proof->present);
		path_to_message(&proof->path, nodes);
		receipt.commit_number = proof->commit_number;
		receipt.time_ms = proof->time_ms;
		receipt.index = proof->path.index;
		receipt.count = proof->path.count;
		receipt.n_path = proof->path.node_count;
		receipt.path = nodes;
		receipt.signature =
			(ProtobufCBinaryData){ proof->signature.size, proof->signature.bytes };
		receipt.key_id = (ProtobufCBinaryData){ LINK_KEY_ID_SIZE, proof->key_id.bytes };
		assert_int_equal(receipt.count, CHAINS);
		MUST(custody_receipt_check(&receipt, spool_uuid(bench->fixture->spool),
		                           &puts[i].custody, bench->key, &err));
		puts[i].custody.to++; /* Of another batch it says nothing. */
		MUST_FAIL(custody_receipt_check(&receipt, spool_uuid(bench->fixture->spool),
		                                &puts[i].custody, bench->key, &err),
		          ZR_UNTRUSTED);
	}
}

static void an_operation_that_is_refused_fails_alone(void **state)
{
	struct bench *bench = *state;
	struct put_op good, gap, after;
	struct hold_op held;
	hold(bench, &held);
	begin_put(bench, &bench->chains[0], 2, &good);
	struct test_chain ahead = bench->chains[1];
	ahead.next_height = 7;
	begin_put(bench, &ahead, 2, &gap);
	begin_put(bench, &bench->chains[2], 2, &after);
	submit(bench, &good.op);
	submit(bench, &gap.op);
	submit(bench, &after.op);
	let_go(bench, &held);
	wait_answers(bench, 3);
	assert_true(good.op.ok && after.op.ok);
	assert_false(gap.op.ok);
	assert_int_equal(gap.op.err.code, ZR_STATE);
	assert_false(gap.op.proof.present);
	assert_int_equal(good.op.proof.path.count, 2);
	assert_int_equal(load(bench->fixture, &bench->chains[1]).next_height, 0);
}

/* Spoils the transaction, as a damaged row does. */
static bool apply_spoil(struct spool_txn *txn, struct writer_op *op, struct err *err)
{
	txn_fail(&txn->txn, ZR_CORRUPT, "a damaged row");
	return err_set(err, ZR_CORRUPT, "a damaged row");
}

/* Whoever waits for several batches of one chain goes back to what is durable at the first that was
 * refused: it must know by then what was stored before it. */
static void what_was_stored_is_answered_before_what_was_refused_behind_it(void **state)
{
	struct bench *bench = *state;
	struct put_op good, gap;
	struct writer_op spoil = { .work = SPOOL_INTAKE,
		                   .apply = apply_spoil,
		                   .reply = bench->replies };
	struct hold_op held;
	hold(bench, &held);
	begin_put(bench, &bench->chains[0], 2, &good);
	struct test_chain ahead = bench->chains[0];
	ahead.next_height += 5;
	begin_put(bench, &ahead, 2, &gap);
	submit(bench, &good.op);
	submit(bench, &gap.op);
	submit(bench, &spoil);
	let_go(bench, &held);
	assert_ptr_equal(mailbox_wait(bench->replies), &good.op.node);
	assert_ptr_equal(mailbox_wait(bench->replies), &gap.op.node);
	assert_ptr_equal(mailbox_wait(bench->replies), &spoil.node);
	assert_true(good.op.ok);
	assert_false(gap.op.ok || spoil.ok);
}

static void batches_of_one_chain_keep_their_order(void **state)
{
	struct bench *bench = *state;
	struct put_op puts[10];
	for (unsigned i = 0; i < 10; i++) {
		begin_put(bench, &bench->chains[0], 1, &puts[i]);
		submit(bench, &puts[i].op);
	}
	wait_answers(bench, 10);
	for (unsigned i = 0; i < 10; i++)
		assert_true(puts[i].op.ok);
	assert_int_equal(load(bench->fixture, &bench->chains[0]).next_height, 10);
}

static void an_operation_that_spoils_the_transaction_costs_the_others_nothing(void **state)
{
	struct bench *bench = *state;
	struct put_op first, second;
	struct writer_op spoil = { .work = SPOOL_INTAKE,
		                   .apply = apply_spoil,
		                   .reply = bench->replies };
	struct hold_op held;
	hold(bench, &held);
	begin_put(bench, &bench->chains[0], 2, &first);
	begin_put(bench, &bench->chains[1], 2, &second);
	submit(bench, &first.op);
	submit(bench, &spoil);
	submit(bench, &second.op);
	let_go(bench, &held);
	wait_answers(bench, 3);
	assert_true(first.op.ok && second.op.ok);
	assert_false(spoil.ok);
	assert_int_equal(spoil.err.code, ZR_CORRUPT);
	assert_int_equal(first.applied, 2); /* Begun anew without the bad one. */
	assert_int_equal(second.applied, 1);
	assert_int_equal(bench->store_failures, 0);
}

static int fail_commit(const char *point, void *arg)
{
	return strcmp(point, "commit") == 0 ? *(int *)arg : 0;
}

static void a_disk_that_failed_is_never_tried_again(void **state)
{
	struct bench *bench = *state;
	struct put_op first, second;
	int number = EIO;
	begin_put(bench, &bench->chains[0], 2, &first);
	begin_put(bench, &bench->chains[1], 2, &second);
	store_set_fault(spool_store(bench->fixture->spool), fail_commit, &number);
	submit(bench, &first.op);
	wait_answers(bench, 1);
	assert_false(first.op.ok);
	assert_int_equal(first.op.err.code, ZR_IO);
	assert_int_equal(bench->store_failures, 1);
	number = 0; /* The disk says that it is well again; what it lost is lost. */
	submit(bench, &second.op);
	wait_answers(bench, 1);
	assert_false(second.op.ok);
	assert_int_equal(second.applied, 0);
	assert_int_equal(bench->store_failures, 1);
}

static void a_full_spool_refuses_intake_and_still_does_upkeep(void **state)
{
	struct bench *bench = *state;
	struct put_op put;
	bool full = false;
	for (unsigned i = 0; i < 20000 && !full; i++) {
		begin_put(bench, &bench->chains[0], 20, &put);
		submit(bench, &put.op);
		wait_answers(bench, 1);
		full = !put.op.ok;
	}
	assert_true(full);
	assert_int_equal(put.op.err.code, ZR_FULL);
	assert_int_equal(bench->store_failures, 0);

	struct spool_chain row = load(bench->fixture, &bench->chains[1]);
	assert_int_equal(row.state, SPOOL_CHAIN_ACTIVE);
	struct put_op other;
	begin_put(bench, &bench->chains[1], 1, &other);
	other.op.work = SPOOL_INTAKE;
	submit(bench, &other.op);
	wait_answers(bench, 1);
	assert_false(other.op.ok);
	assert_int_equal(writer_stats(bench->writer).failed_commit_count, 0);
}

static void without_a_key_what_is_durable_is_durable_all_the_same(void **state)
{
	struct bench *bench = *state;
	struct put_op put;
	writer_set_signer(bench->writer, NULL);
	begin_put(bench, &bench->chains[0], 2, &put);
	submit(bench, &put.op);
	wait_answers(bench, 1);
	assert_true(put.op.ok);
	assert_false(put.op.proof.present);
}

static void what_waits_at_the_end_is_done_first(void **state)
{
	struct bench *bench = *state;
	struct put_op puts[5];
	struct err err;
	for (unsigned i = 0; i < 5; i++) {
		begin_put(bench, &bench->chains[0], 1, &puts[i]);
		submit(bench, &puts[i].op);
	}
	writer_close(bench->writer);
	struct put_op late;
	begin_put(bench, &bench->chains[0], 1, &late);
	MUST_FAIL(writer_submit(bench->writer, &late.op, &err), ZR_FULL);
	writer_stop(bench->writer);
	bench->writer = NULL;
	wait_answers(bench, 5);
	assert_true(puts[4].op.ok);
	struct writer_options options = { .spool = bench->fixture->spool,
		                          .clock = clock_system(),
		                          .queue_max = 1,
		                          .on_store_failed = on_store_failed,
		                          .arg = bench };
	MUST(writer_start(&bench->writer, &options, &err));
}

#define WITH_WRITER(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		WITH_WRITER(what_waits_together_is_committed_together),
		WITH_WRITER(every_batch_of_a_commit_gets_a_path_to_one_signature),
		WITH_WRITER(an_operation_that_is_refused_fails_alone),
		WITH_WRITER(what_was_stored_is_answered_before_what_was_refused_behind_it),
		WITH_WRITER(batches_of_one_chain_keep_their_order),
		WITH_WRITER(an_operation_that_spoils_the_transaction_costs_the_others_nothing),
		WITH_WRITER(a_disk_that_failed_is_never_tried_again),
		WITH_WRITER(a_full_spool_refuses_intake_and_still_does_upkeep),
		WITH_WRITER(without_a_key_what_is_durable_is_durable_all_the_same),
		WITH_WRITER(what_waits_at_the_end_is_done_first),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
