/* The whole spool, looked at from outside, in a child process: each table row by row, then each chain
 * block by block, then the sums and the audit list. In slices, each a short read transaction; a
 * fault is told and the walk goes on behind it, as far as the tree can still be walked.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "spool/check.h"
#include "spool/tools.h"
#include "spool/verify.h"

#define SLICE_ROWS 512

struct verify {
	struct spool *spool;
	struct contain_out *out;
	struct verify_sums sums;
	struct spool_verify_result result;
	uint64_t rows_total;
	uint64_t began_at; /* Commit at which the walk began: later ones make sums incomparable. */
	bool stopped;      /* Nothing more can be read. */
	struct err hindrance; /* Lack of memory or the like, which is no fault of the store. */
};

/* A fault of the store is told; what kept us from looking is none. After either kind of failure that
 * the store itself does not get over, the walk ends. */
static void note(struct verify *verify, const struct err *err)
{
	if (verify->stopped)
		return; /* It has been told why. */
	bool fault = err->code == ZR_CORRUPT || err->code == ZR_IO || err->code == ZR_INVALID ||
	             err->code == ZR_STATE;
	if (!fault)
		verify->hindrance = *err;
	verify->stopped = !fault || store_is_poisoned(spool_store(verify->spool));
	if (fault) {
		verify->result.fault_count++;
		contain_fault(verify->out, "%s", err->message);
	}
}

/* Tells txn's failure, if any, and ends it. */
static void end_slice(struct verify *verify, struct txn *txn)
{
	struct err err;
	if (!txn_commit(txn, &err))
		note(verify, &err);
}

/* ---- rows ---- */

struct cursor {
	uint8_t bytes[TXN_KEY_MAX];
	size_t size; /* 0: before the first. */
};

static bool next_key(struct txn *txn, enum spool_table table, struct cursor *cursor,
                     struct bytes *out_key)
{
	bool found = cursor->size == 0
	                     ? txn_first(txn, table, out_key, NULL)
	                     : txn_after(txn, table, (struct bytes){ cursor->bytes, cursor->size },
	                                 out_key, NULL);
	if (!found)
		return false;
	memcpy(cursor->bytes, out_key->data, out_key->size);
	cursor->size = out_key->size;
	return true;
}

/* True: there is more of the table. keys_only: payloads are read once, by the walk over the chains. */
static bool verify_rows(struct verify *verify, enum spool_table table, struct cursor *cursor,
                        bool keys_only)
{
	struct txn txn;
	struct bytes key, value;
	bool more = true, told = false;
	txn_begin(&txn, spool_store(verify->spool), TXN_READ);
	for (int i = 0; more && txn_ok(&txn) && i < SLICE_ROWS; i++) {
		more = next_key(&txn, table, cursor, &key);
		if (!more)
			break;
		verify->result.row_count++;
		if (keys_only)
			continue;
		if (txn_get(&txn, table, key, &value))
			verify_row(&txn, table, key, value, &verify->sums);
		else if (txn_ok(&txn))
			txn_fail(
				&txn, ZR_CORRUPT,
				"table %s: the tree is damaged: a row is there and cannot be found",
				spool_table_name(table));
		else
			told = table == SPOOL_BATCHES; /* By the walk over its chain. */
	}
	if (told)
		txn_abort(&txn);
	else
		end_slice(verify, &txn);
	contain_progress(verify->out, verify->result.row_count, verify->rows_total);
	return more;
}

static bool is_quiet(struct verify *verify)
{
	struct store_stats stats;
	struct err err;
	if (store_stats(spool_store(verify->spool), &stats, &err))
		return stats.last_commit == verify->began_at;
	note(verify, &err);
	return false;
}

static void verify_table(struct verify *verify, enum spool_table table, bool keys_only)
{
	struct cursor cursor = { .size = 0 };
	struct txn txn;
	uint64_t before = verify->result.row_count, faults = verify->result.fault_count;
	while (!verify->stopped && verify_rows(verify, table, &cursor, keys_only))
		;
	txn_begin(&txn, spool_store(verify->spool), TXN_READ);
	uint64_t said = txn_row_count(&txn, table), found = verify->result.row_count - before;
	if (said != found && !verify->stopped && faults == verify->result.fault_count &&
	    is_quiet(verify))
		txn_fail(&txn, ZR_CORRUPT,
		         "table %s: the tree is damaged: %" PRIu64
		         " rows are found, but it says %" PRIu64,
		         spool_table_name(table), found, said);
	end_slice(verify, &txn);
}

/* ---- chains ---- */

static void add_chain(struct verify_sums *sums, const struct spool_chain *chain)
{
	sums->received_blocks += chain->received_blocks;
	sums->duplicate_blocks += chain->duplicate_blocks;
	sums->quarantined_blocks += chain->quarantined_blocks;
	sums->tombstoned_blocks += chain->tombstoned_blocks;
	sums->anchored_blocks += chain->anchored_blocks;
	sums->held_batches += chain->held_batches;
	sums->held_bytes += chain->held_bytes;
	sums->dropped_blocks += chain->quarantine_dropped_blocks;
}

/* What one chain holds, by its rows of heights from held_from on. */
struct holding {
	uint64_t batches, bytes;
};

static void add_holding(struct verify *verify, struct txn *txn, const struct spool_chain *chain,
                        uint64_t height, struct holding *holding)
{
	struct spool_span span;
	if (!spool_span_with(txn, &chain->key, height, &span) || height < chain->held_from)
		return;
	holding->batches++;
	holding->bytes += span.row.info.payload_size;
	if (height < chain->anchored_next)
		verify->sums.final_bytes += span.row.info.payload_size;
}

/* Behind a row that could not be read: on to the next key of that chain. */
static bool skip_bad_row(struct txn *txn, struct spool_scrub *scrub)
{
	struct spool_key at = spool_key_height(&scrub->chain, scrub->height);
	struct bytes key;
	struct chain_key chain;
	uint64_t height;
	if (!txn_after(txn, SPOOL_HEIGHTS, spool_key_bytes(&at), &key, NULL) ||
	    !spool_key_height_read(key, &chain, &height) ||
	    !chain_key_equal(&chain, &scrub->chain) || height >= scrub->next_height)
		return false;
	scrub->height = height;
	scrub->tip_known = false;
	scrub->in_chain = true;
	return true;
}

/* True: there is more of the chain. */
static bool walk_slice(struct verify *verify, struct spool_chain *chain, struct spool_scrub *scrub,
                       struct holding *holding)
{
	struct txn txn;
	uint64_t before = scrub->height;
	bool more = true;
	txn_begin(&txn, spool_store(verify->spool), TXN_READ);
	if (spool_read_chain(&txn, &chain->key, chain) && chain->known_from > scrub->height) {
		/* Forgotten while we walked: once more, from where headers are known now. */
		spool_check_begin(scrub, chain);
		*holding = (struct holding){ 0, 0 };
	}
	for (int i = 0; more && txn_ok(&txn) && i < SLICE_ROWS; i++) {
		before = scrub->height;
		more = spool_check_row(&txn, chain, scrub);
		if (more)
			add_holding(verify, &txn, chain, scrub->height - 1, holding);
	}
	bool ok = txn_ok(&txn);
	bool stuck = !ok && scrub->height == before;
	end_slice(verify, &txn);
	if (verify->stopped)
		return false;
	if (!stuck)
		return scrub->in_chain;
	txn_begin(&txn, spool_store(verify->spool), TXN_READ);
	bool skipped = skip_bad_row(&txn, scrub);
	txn_abort(&txn);
	return skipped;
}

static void verify_one_chain(struct verify *verify, struct spool_chain *chain)
{
	struct spool_scrub scrub = SPOOL_SCRUB_BEGIN;
	struct holding holding = { 0, 0 };
	uint64_t faults = verify->result.fault_count;
	spool_check_begin(&scrub, chain);
	while (walk_slice(verify, chain, &scrub, &holding))
		contain_progress(verify->out, verify->result.row_count, verify->rows_total);
	verify->result.chain_count++;
	verify->result.batch_count += scrub.batch_count;
	verify->result.payload_bytes += scrub.byte_count;
	verify->result.block_count += scrub.stored;
	if (faults != verify->result.fault_count || !is_quiet(verify))
		return;
	if (holding.batches != chain->held_batches || holding.bytes != chain->held_bytes) {
		verify->result.fault_count++;
		contain_fault(verify->out,
		              "table chains, %s: %" PRIu64 " payloads of %" PRIu64
		              " bytes are held, but the chain says %" PRIu64 " of %" PRIu64,
		              chain->id.name, holding.batches, holding.bytes, chain->held_batches,
		              chain->held_bytes);
	}
}

static void verify_chains(struct verify *verify)
{
	struct cursor cursor = { .size = 0 };
	for (;;) {
		struct txn txn;
		struct spool_chain chain;
		struct bytes key, value;
		txn_begin(&txn, spool_store(verify->spool), TXN_READ);
		bool more = next_key(&txn, SPOOL_CHAINS, &cursor, &key);
		bool found = more && txn_get(&txn, SPOOL_CHAINS, key, &value) &&
		             spool_chain_decode(value, &chain);
		if (found) {
			add_chain(&verify->sums, &chain);
			verify->sums.chain_count++;
			spool_check_chain(&txn, &chain);
		}
		end_slice(verify, &txn);
		if (!more || verify->stopped)
			return;
		if (found)
			verify_one_chain(verify, &chain);
	}
}

/* ---- sums ---- */

static void compare(struct verify *verify, const char *what, uint64_t counted, uint64_t said)
{
	if (counted == said)
		return;
	verify->result.fault_count++;
	contain_fault(verify->out, "totals: %" PRIu64 " %s, but the totals say %" PRIu64, counted,
	              what, said);
}

static void verify_totals(struct verify *verify)
{
	struct txn txn;
	struct spool_totals totals = { .commit_number = 0 };
	struct spool_chain stranger = { .sink = 0 };
	static const struct chain_key none;
	struct verify_sums *sums = &verify->sums;
	txn_begin(&txn, spool_store(verify->spool), TXN_READ);
	(void)spool_read_totals(&txn, &totals);
	if (spool_read_chain(&txn, &none, &stranger)) {
		add_chain(sums, &stranger);
		spool_check_chain(&txn, &stranger);
	}
	uint64_t coverage_rows = txn_row_count(&txn, SPOOL_COVERAGE);
	uint64_t batch_rows = txn_row_count(&txn, SPOOL_BATCHES);
	bool ok = txn_ok(&txn);
	end_slice(verify, &txn);
	if (!ok || verify->result.fault_count > 0 || !is_quiet(verify))
		return;
	compare(verify, "chains", sums->chain_count, totals.chain_count);
	compare(verify, "payloads held", sums->held_batches, totals.held_batches);
	compare(verify, "rows of table batches", batch_rows, totals.held_batches);
	compare(verify, "payload bytes held", sums->held_bytes, totals.held_bytes);
	compare(verify, "payload bytes final", sums->final_bytes, totals.final_bytes);
	compare(verify, "blocks received", sums->received_blocks, totals.received_blocks);
	compare(verify, "blocks twice", sums->duplicate_blocks, totals.duplicate_blocks);
	compare(verify, "blocks quarantined", sums->quarantined_blocks, totals.quarantined_blocks);
	compare(verify, "bytes quarantined", sums->quarantine_bytes, totals.quarantine_bytes);
	compare(verify, "blocks tombstoned", sums->tombstoned_blocks, totals.tombstoned_blocks);
	compare(verify, "blocks in tombstones", sums->tombstoned_by_row + sums->dropped_blocks,
	        totals.tombstoned_blocks);
	compare(verify, "blocks anchored", sums->anchored_blocks, totals.anchored_blocks);
	compare(verify, "entries of anchors", sums->entry_count, coverage_rows);
}

static void verify_audit(struct verify *verify)
{
	uint64_t count;
	struct err err;
	if (!spool_audit_verify(verify->spool, &count, &err))
		note(verify, &err);
}

/* ---- in the child ---- */

static void verify_all(struct verify *verify)
{
	for (unsigned table = 0; table < SPOOL_TABLE_COUNT; table++)
		verify_table(verify, (enum spool_table)table, table == SPOOL_BATCHES);
	verify_chains(verify);
	verify_totals(verify);
	/* Something in table batches is not as it should be: which rows? */
	if (verify->result.fault_count > 0)
		verify_table(verify, SPOOL_BATCHES, false);
	verify_audit(verify);
}

static bool verify_in_child(struct contain_out *out, uint64_t numbers[CONTAIN_NUMBERS_MAX],
                            void *arg, struct err *err)
{
	const char *dir = arg;
	struct verify verify = { .out = out, .hindrance.code = ZR_OK };
	struct spool_options options = { .dir = dir, .mode = STORE_READ };
	struct store_stats stats;
	if (!spool_open(&verify.spool, &options, err))
		return false;
	bool ok = store_stats(spool_store(verify.spool), &stats, err);
	if (ok) {
		verify.began_at = stats.last_commit;
		for (unsigned table = 0; table < SPOOL_TABLE_COUNT; table++)
			verify.rows_total += stats.row_counts[table];
		verify_all(&verify);
	}
	spool_close(verify.spool);
	if (ok && verify.hindrance.code != ZR_OK) {
		*err = verify.hindrance;
		return false;
	}
	numbers[0] = verify.result.row_count;
	numbers[1] = verify.result.chain_count;
	numbers[2] = verify.result.batch_count;
	numbers[3] = verify.result.block_count;
	numbers[4] = verify.result.payload_bytes;
	numbers[5] = verify.result.fault_count;
	return ok;
}

/* ---- in the parent ---- */

bool spool_verify(const char *dir, spool_fault_fn *on_fault, void *arg,
                  const struct spool_progress *progress, struct spool_verify_result *out_result,
                  struct err *err)
{
	struct contain_parent parent = { on_fault, arg, progress };
	uint64_t numbers[CONTAIN_NUMBERS_MAX];
	char crash[64];
	if (!spool_exists(dir))
		return err_set(err, ZR_UNAVAILABLE, "there is no store in %s", dir);
	if (!contain_run(verify_in_child, (void *)(uintptr_t)dir, &parent, numbers, crash, err))
		return err_wrap(err, "verify");
	*out_result = (struct spool_verify_result){ .row_count = numbers[0],
		                                    .chain_count = numbers[1],
		                                    .batch_count = numbers[2],
		                                    .block_count = numbers[3],
		                                    .payload_bytes = numbers[4],
		                                    .fault_count = numbers[5] };
	if (crash[0] == '\0')
		return true;
	char line[160];
	snprintf(line, sizeof(line),
	         "LMDB's tree is damaged: reading it was %s; \"spool salvage\" reads without it",
	         crash);
	if (on_fault != NULL)
		on_fault(line, arg);
	out_result->fault_count++;
	return true;
}
