/* A day in the life of a spool, with its n-th allocation or its n-th step on the disk failing, for
 * every n. Whatever fails is said, and the spool is sound afterwards: nothing half done. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>

#include "spool/upkeep.h"
#include "tests/lib/fault.h"
#include "tests/unit/spool_fixture.h"

/* ---- a day ---- */

struct day {
	struct spool *spool;
	struct test_chain a, b;
	struct spool_txn txn;
	struct spool_anchor anchor;
	uint64_t final_seq;
	struct hash root; /* Of the newest final one. */
	uint64_t number;
};

static bool ends(struct day *day, bool ok, struct err *err)
{
	if (ok)
		return spool_commit(&day->txn, err);
	spool_abort(&day->txn);
	return false;
}

static struct spool_txn *begins(struct day *day, enum spool_work work)
{
	spool_begin(&day->txn, day->spool, work);
	return &day->txn;
}

static bool add_chains(struct day *day, struct err *err)
{
	struct spool_chain_new row = { .format = "ledger",
		                       .trust = BYTES_LITERAL("trust 0"),
		                       .sink = SPOOL_SINK_MAIN };
	struct spool_txn *txn = begins(day, SPOOL_INTAKE);
	bool ok = spool_class_number(txn, "bulk", &row.class, err);
	row.id = day->a.id;
	ok = ok && spool_chain_add(txn, &row, err);
	row.id = day->b.id;
	return ends(day, ok && spool_chain_add(txn, &row, err), err);
}

static bool take_in(struct day *day, struct err *err)
{
	struct test_batch batches[3];
	struct test_chain a = day->a, b = day->b;
	struct spool_txn *txn = begins(day, SPOOL_INTAKE);
	next_batch(&a, 3, 600, &batches[0]);
	batches[0].batch.trust = BYTES_LITERAL("trust 2");
	batches[0].batch.trust_from = a.next_height - 1;
	next_batch(&a, 2, 3000, &batches[1]);
	next_batch(&b, 2, 100, &batches[2]);
	bool ok = true;
	for (int i = 0; ok && i < 3; i++)
		ok = spool_batch_put(txn, &batches[i].batch, &day->number, err);
	ok = ok && spool_batch_trust(txn, &a.key, a.next_height - 1, BYTES_LITERAL("t"), err);
	ok = ok && spool_chain_add_duplicates(txn, &b.key, 2, err);
	if (!ends(day, ok, err))
		return false;
	day->a = a;
	day->b = b;
	return true;
}

static bool anchor(struct day *day, struct err *err)
{
	const struct test_chain *chains[2] = { &day->a, &day->b };
	struct entry entries[2];
	for (int i = 0; i < 2; i++) {
		struct spool_run run;
		if (!spool_pending_run(day->spool, &chains[i]->key, 100, 100000, &run, err))
			return false;
		entries[i] = (struct entry){ .chain = chains[i]->id,
			                     .from = run.from,
			                     .to = run.to,
			                     .tip = run.tip,
			                     .policy = run.policy };
	}
	struct spool_anchor row = { .id = { 1, 0, day->final_seq + 1 },
		                    .alg = HASH_SHA256,
		                    .deliver = DELIVER_ANCHOR,
		                    .previous = day->root };
	row.root = test_hash("root", row.id.seq, &row.previous);
	if (!ends(day, spool_anchor_put(begins(day, SPOOL_UPKEEP), &row, entries, 2, err), err))
		return false;
	day->anchor = row;
	row.state = SPOOL_ANCHOR_SENT;
	return ends(day, spool_anchor_update(begins(day, SPOOL_UPKEEP), &row, err), err);
}

static bool make_final(struct day *day, struct err *err)
{
	struct spool_receipt receipt = { .evidence = BYTES_LITERAL("evidence"),
		                         .final_ms = TEST_TIME_MS,
		                         .signature = BYTES_LITERAL("signature"),
		                         .key_id = BYTES_LITERAL("key") };
	if (!ends(day,
	          spool_anchor_finalize(begins(day, SPOOL_UPKEEP), &day->anchor.id, &receipt, err),
	          err))
		return false;
	day->final_seq = day->anchor.id.seq;
	day->root = day->anchor.root;
	return true;
}

static bool take_back(struct day *day, struct err *err)
{
	struct spool_anchor row = day->anchor;
	row.state = SPOOL_ANCHOR_REJECTED;
	struct spool_txn *txn = begins(day, SPOOL_UPKEEP);
	return ends(day,
	            spool_anchor_update(txn, &row, err) && spool_anchor_void(txn, &row.id, err),
	            err);
}

static bool refuse(struct day *day, struct err *err)
{
	struct spool_suspect suspect = { .chain = day->a.key,
		                         .reason = "link",
		                         .detail = "",
		                         .block_count = 2,
		                         .codec = CODEC_NONE,
		                         .payload = BYTES_LITERAL("bad"),
		                         .content = { { 4 } },
		                         .agent = "agent-1" };
	struct spool_resolution reject = { SPOOL_VERDICT_REJECTED, "alice", "no", 1 };
	struct spool_evidence evidence = { .chain = day->a.key, .height = 1 };
	enum spool_suspect_outcome outcome;
	uint64_t number;
	struct spool_txn *txn = begins(day, SPOOL_INTAKE);
	bool ok = spool_quarantine_put(txn, &suspect, &outcome, &number, err);
	suspect.content.bytes[0] = 5;
	ok = ok && spool_quarantine_put(txn, &suspect, &outcome, &number, err) &&
	     spool_quarantine_resolve(txn, number, &reject, err) &&
	     spool_evidence_put(txn, &evidence, BYTES_LITERAL("bundle"), &number, err);
	return ends(day, ok, err);
}

static bool operate(struct day *day, struct err *err)
{
	struct spool_audit audit = {
		.who = "alice", .verb = "adopt", .reason = "", .result = "ok", .request_id = { 1 }
	};
	struct spool_chain_state_change hold = { .chain = day->b.key,
		                                 .state = SPOOL_CHAIN_FROZEN,
		                                 .reason = "",
		                                 .who = "",
		                                 .delivery_held = true };
	struct hash hash;
	struct spool_txn *txn = begins(day, SPOOL_UPKEEP);
	bool ok = spool_audit_append(txn, &audit, err) &&
	          spool_dictionary_put(txn, BYTES_LITERAL("dictionary"), &hash, err) &&
	          spool_meta_put(txn, "fence", BYTES_LITERAL("3"), err) &&
	          spool_chain_set_class(txn, &day->a.key, 9, err) &&
	          spool_chain_set_trust(txn, &day->a.key, BYTES_LITERAL("hand"), err) &&
	          spool_chain_set_state(txn, &hold, err);
	return ends(day, ok, err);
}

static bool adopt(struct day *day, struct err *err)
{
	struct test_chain b = day->b;
	struct test_batch lost;
	next_batch(&b, 3, 10, &lost);
	struct spool_adoption adoption = { .chain = b.key,
		                           .next_height = b.next_height,
		                           .tip = b.tip,
		                           .anchored_next = day->b.next_height,
		                           .who = "bob",
		                           .why = "flood" };
	if (!ends(day, spool_chain_adopt(begins(day, SPOOL_UPKEEP), &adoption, err), err))
		return false;
	day->b = b;
	return true;
}

static bool prune(struct day *day, struct err *err)
{
	struct spool_prune_options options = {
		.now_ms = TEST_TIME_MS + 10, .retention_ms = 1, .history_ms = 1, .batch_max = 50
	};
	struct spool_prune_result result;
	return ends(day, spool_prune_slice(begins(day, SPOOL_UPKEEP), &options, &result, err), err);
}

static bool read_receipts(struct day *day, struct err *err)
{
	struct spool_receipt_copy receipt = { BUFFER_EMPTY, BUFFER_EMPTY, BUFFER_EMPTY, 0 };
	struct spool_audit_copy copy = SPOOL_AUDIT_COPY_EMPTY;
	struct buffer value = BUFFER_EMPTY;
	struct entry *entries = NULL;
	size_t count;
	bool found;
	bool ok = spool_anchor_receipt(day->spool, &day->anchor.id, &receipt, err) &&
	          spool_anchor_entries(day->spool, &day->anchor.id, &entries, &count, err) &&
	          spool_audit_next(day->spool, 0, &copy, &found, err) &&
	          spool_meta_get(day->spool, "fence", &value, err);
	free(entries);
	buffer_fini(&value);
	buffer_fini(&receipt.evidence);
	buffer_fini(&receipt.signature);
	buffer_fini(&receipt.key_id);
	spool_audit_copy_fini(&copy);
	return ok;
}

static bool read_chains(struct day *day, struct err *err)
{
	struct buffer payload = BUFFER_EMPTY, trust = BUFFER_EMPTY;
	struct spool_batch_info info;
	struct spool_scrub scrub = SPOOL_SCRUB_BEGIN;
	struct spool_scrub_limits limits = { 100, 1u << 20 };
	struct spool_stats stats;
	uint64_t from, height = day->a.next_height - 1;
	bool ok = spool_batch_payload(day->spool, &day->a.key, height, &info, &payload, err) &&
	          spool_trust_at(day->spool, &day->a.key, height, &trust, &from, err) &&
	          spool_scrub_slice(day->spool, &scrub, &limits, err) &&
	          spool_stats(day->spool, &stats, err);
	buffer_fini(&payload);
	buffer_fini(&trust);
	return ok;
}

static bool live(struct day *day, struct err *err)
{
	return add_chains(day, err) && take_in(day, err) && anchor(day, err) &&
	       make_final(day, err) && take_in(day, err) && anchor(day, err) &&
	       take_back(day, err) && anchor(day, err) && make_final(day, err) && prune(day, err) &&
	       refuse(day, err) && adopt(day, err) && take_in(day, err) && operate(day, err) &&
	       read_receipts(day, err) && read_chains(day, err);
}

/* ---- with faults ---- */

static struct day new_day(struct fixture *fixture)
{
	struct day day = { .a = test_chain("tq-a"), .b = test_chain("tq-b") };
	create_spool(fixture, 8u << 20);
	open_spool(fixture);
	day.spool = fixture->spool;
	return day;
}

/* Sound, also after the next opening, and ready for more. */
static void end_day(struct fixture *fixture)
{
	struct err err;
	struct spool_verify_result result;
	open_spool(fixture);
	struct test_chain chain = test_chain("tq-next");
	add_chain(fixture, &chain);
	put_batch(fixture, &chain, 2);
	spool_close(fixture->spool);
	fixture->spool = NULL;
	MUST(spool_verify(fixture->dir, print_fault, NULL, NULL, &result, &err));
	assert_int_equal(result.fault_count, 0);
	temp_folder_remove(fixture->dir);
}

static void each_allocation_of_a_day_may_fail(void **state)
{
	for (size_t n = 1;; n++) {
		struct fixture fixture = { .spool = NULL };
		struct err err = { .code = ZR_OK };
		struct day day = new_day(&fixture);
		fault_at(n);
		bool ok = live(&day, &err);
		bool failed = fault_off() > 0;
		assert_int_equal(ok, !failed);
		if (failed)
			assert_int_equal(err.code, ZR_NO_MEMORY);
		assert_false(spool_is_poisoned(fixture.spool));
		end_day(&fixture);
		if (!failed) {
			assert_true(n > 20);
			return;
		}
	}
}

struct plan {
	const char *point;
	size_t until; /* Calls of point; 0: it has failed. */
	int rc;
};

static int fail_planned(const char *point, void *arg)
{
	struct plan *plan = arg;
	if (plan->until == 0 || strcmp(point, plan->point) != 0 || --plan->until > 0)
		return 0;
	return plan->rc;
}

static void fail_each(const char *point, int rc, enum err_code wanted, bool poisons)
{
	size_t n = 1;
	for (;; n += 1 + n / 16) { /* Later ones less often: there are many. */
		struct fixture fixture = { .spool = NULL };
		struct err err = { .code = ZR_OK };
		struct day day = new_day(&fixture);
		struct plan plan = { point, n, rc };
		store_set_fault(spool_store(day.spool), fail_planned, &plan);
		bool ok = live(&day, &err);
		bool failed = plan.until == 0;
		store_set_fault(spool_store(day.spool), NULL, NULL);
		if (ok == failed || (failed && err.code != wanted)) {
			print_error("%s %zu: %s, %s\n", point, n, err_name(err.code), err.message);
			fail();
		}
		assert_int_equal(spool_is_poisoned(fixture.spool), failed && poisons);
		end_day(&fixture);
		if (!failed)
			break;
	}
	assert_true(n > 5);
}

static void each_step_may_run_out_of_memory(void **state)
{
	fail_each("begin", ENOMEM, ZR_NO_MEMORY, false);
	fail_each("get", ENOMEM, ZR_NO_MEMORY, false);
	fail_each("put", ENOMEM, ZR_NO_MEMORY, false);
	fail_each("delete", ENOMEM, ZR_NO_MEMORY, false);
	fail_each("commit", ENOMEM, ZR_NO_MEMORY, false);
}

static void each_commit_may_find_the_disk_full_or_broken(void **state)
{
	fail_each("room", ENOSPC, ZR_FULL, false);
	fail_each("commit", EIO, ZR_IO, true);
	fail_each("commit", ENOSPC, ZR_IO, true); /* There was room: it is the device. */
	fail_each("put", EIO, ZR_IO, true);
}

/* ---- tools ---- */

static bool copy(const struct day *day, const char *dir, struct err *err)
{
	struct spool_stream_result result;
	char path[TEST_PATH_MAX];
	fresh_path(path);
	int fd = open(path, O_RDWR | O_CREAT | O_EXCL, 0600);
	unlink(path);
	bool ok = spool_backup(&(struct spool_backup_options){ .spool = day->spool, .fd = fd },
	                       &result, err) &&
	          lseek(fd, 0, SEEK_SET) == 0 &&
	          spool_restore(&(struct spool_restore_options){ .dir = dir,
	                                                         .fd = fd,
	                                                         .size_bytes = 8u << 20,
	                                                         .now_ms = TEST_TIME_MS },
	                        &result, err);
	close(fd);
	return ok;
}

static void each_allocation_of_backup_and_restore_may_fail(void **state)
{
	struct fixture fixture = { .spool = NULL };
	struct err err;
	struct day day = new_day(&fixture);
	MUST(live(&day, &err));
	for (size_t n = 1;; n++) {
		char dir[TEST_PATH_MAX];
		struct spool_verify_result result;
		fresh_path(dir);
		fault_at(n);
		bool ok = copy(&day, dir, &err);
		bool failed = fault_off() > 0;
		assert_int_equal(ok, !failed);
		assert_int_equal(spool_exists(dir), ok);
		if (failed)
			assert_int_equal(err.code, ZR_NO_MEMORY);
		if (ok) {
			MUST(spool_verify(dir, print_fault, NULL, NULL, &result, &err));
			assert_int_equal(result.fault_count, 0);
		}
		temp_folder_remove(dir);
		if (!failed) {
			assert_true(n > 20);
			break;
		}
	}
	end_day(&fixture);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_allocation_of_a_day_may_fail),
		cmocka_unit_test(each_step_may_run_out_of_memory),
		cmocka_unit_test(each_commit_may_find_the_disk_full_or_broken),
		cmocka_unit_test(each_allocation_of_backup_and_restore_may_fail),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
