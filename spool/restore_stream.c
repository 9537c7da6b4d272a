/* Restore: the rows of a stream into a new store, then indexes, watermarks and counters from them.
 * A row in table meta says that it is not finished; it goes with the last transaction. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "relay/base/fault_point.h"
#include "spool/recount.h"
#include "spool/stream.h"
#include "spool/tools.h"

#define GROUP_BYTES (4u << 20) /* Of one transaction. */
#define GROUP_ROWS  512

struct restore {
	const struct spool_restore_options *options;
	struct store *store;
	struct stream_in in;
	struct stream_head head;
	struct recount recount;
	struct spool_stream_result result;
};

/* ---- rows ---- */

static void count_row(struct restore *restore, enum spool_table table)
{
	restore->result.batch_count += table == SPOOL_BATCHES;
	restore->result.chain_count += table == SPOOL_CHAINS;
}

/* A batch that salvage found more than once, or of which two generations were left: the later. */
static void put_found(struct txn *txn, const struct stream_row *row)
{
	struct spool_heights_row now, before;
	struct bytes value;
	if (row->table == SPOOL_HEIGHTS && txn_get(txn, SPOOL_HEIGHTS, row->key, &value) &&
	    spool_heights_decode(value, &before) && spool_heights_decode(row->value, &now) &&
	    before.info.arrival > now.info.arrival)
		return;
	txn_put(txn, row->table, row->key, row->value);
}

/* Watermarks begin at the floor; anchors raise them again. A chain that comes without its anchors
 * waits for an operator: what was under way may have been recorded. */
static void put_chain(struct restore *restore, struct txn *txn, const struct stream_row *row)
{
	struct spool_chain chain;
	struct buffer value = BUFFER_EMPTY;
	struct err err;
	if (!spool_chain_decode(row->value, &chain)) {
		spool_damaged(txn, SPOOL_CHAINS, row->key);
		return;
	}
	if (restore->head.kind == STREAM_CHAIN) {
		chain.anchored_floor = chain.anchored_next;
		chain.delivery_held = true;
		chain.state = SPOOL_CHAIN_RESTORED;
		spool_text_copy(chain.state_reason, sizeof(chain.state_reason),
		                "restored without its anchors: adopt it");
	}
	chain.anchored_next = chain.anchored_floor;
	chain.pending_from = chain.anchored_floor;
	spool_chain_encode(&chain, &value);
	if (buffer_ok(&value, &err))
		txn_insert(txn, SPOOL_CHAINS, row->key, buffer_bytes(&value));
	else
		txn_fail(txn, err.code, "%s", err.message);
	buffer_fini(&value);
}

static void take_totals(struct restore *restore, struct txn *txn, const struct stream_row *row)
{
	struct spool_totals old;
	if (!spool_totals_decode(row->value, &old)) {
		spool_damaged(txn, SPOOL_META, row->key);
		return;
	}
	restore->recount.totals.anchor_count = old.anchor_count;
	restore->recount.totals.commit_number = old.commit_number;
}

static void put_row(struct restore *restore, struct txn *txn, const struct stream_row *row)
{
	count_row(restore, row->table);
	if (restore->head.kind == STREAM_SALVAGE)
		put_found(txn, row);
	else if (row->table == SPOOL_CHAINS)
		put_chain(restore, txn, row);
	else if (row->table == SPOOL_META &&
	         bytes_equal(row->key, BYTES_LITERAL(SPOOL_META_TOTALS)))
		take_totals(restore, txn, row);
	else
		txn_insert(txn, row->table, row->key, row->value);
}

static bool read_group(struct restore *restore, bool *out_end, struct err *err)
{
	struct txn txn;
	uint64_t byte_end = restore->in.byte_count + GROUP_BYTES;
	bool end = false, ok = true;
	txn_begin(&txn, restore->store, TXN_WRITE);
	for (int i = 0; ok && i < GROUP_ROWS && restore->in.byte_count < byte_end; i++) {
		struct stream_row row;
		ok = stream_row_get(&restore->in, &row, &end, err);
		if (end)
			break;
		if (ok)
			put_row(restore, &txn, &row);
	}
	if (!ok) {
		txn_abort(&txn);
		return false;
	}
	*out_end = end;
	bool stored = txn_commit(&txn, err);
	FAULT_POINT(RESTORE_GROUP);
	return stored;
}

static bool read_rows(struct restore *restore, struct err *err)
{
	bool end = false;
	while (!end) {
		if (!read_group(restore, &end, err))
			return false;
		const struct spool_progress *progress = &restore->options->progress;
		if (progress->call != NULL)
			progress->call(restore->in.row_count, 0, progress->arg);
	}
	return true;
}

/* ---- indexes and counters ---- */

typedef void row_fn(struct restore *restore, struct txn *txn, enum spool_table table,
                    struct bytes key, struct bytes value);

/* Calls each for every row of table, some of them per transaction. each may change other tables and
 * the row itself; key and value are copies. */
static bool for_each_row(struct restore *restore, enum spool_table table, row_fn *each,
                         struct err *err)
{
	struct buffer row = BUFFER_EMPTY;
	uint8_t at[TXN_KEY_MAX];
	size_t at_size = 0;
	bool more = true, ok = true;
	while (ok && more) {
		struct txn txn;
		struct bytes key, value;
		uint64_t bytes = 0;
		txn_begin(&txn, restore->store, TXN_WRITE);
		for (int i = 0; i < GROUP_ROWS && bytes < GROUP_BYTES && txn_ok(&txn); i++) {
			more = at_size == 0 ? txn_first(&txn, table, &key, &value)
			                    : txn_after(&txn, table, (struct bytes){ at, at_size },
			                                &key, &value);
			if (!more)
				break;
			memcpy(at, key.data, key.size);
			at_size = key.size;
			buffer_clear(&row);
			buffer_put(&row, value);
			bytes += value.size;
			ok = buffer_ok(&row, err);
			if (!ok)
				break;
			each(restore, &txn, table, (struct bytes){ at, at_size },
			     buffer_bytes(&row));
		}
		if (ok)
			ok = txn_commit(&txn, err);
		else
			txn_abort(&txn);
	}
	buffer_fini(&row);
	return ok;
}

static void index_row(struct restore *restore, struct txn *txn, enum spool_table table,
                      struct bytes key, struct bytes value)
{
	recount_row(txn, table, key, value, &restore->recount);
}

static void settle_chain(struct restore *restore, struct txn *txn, enum spool_table table,
                         struct bytes key, struct bytes value)
{
	struct chain_key chain;
	if (spool_key_chain_read(key, &chain))
		recount_chain(txn, &chain, &restore->recount);
	else
		spool_damaged(txn, SPOOL_CHAINS, key);
}

/* Makes a record for the chain of this row of heights, unless it has one. */
static void find_chain(struct restore *restore, struct txn *txn, enum spool_table table,
                       struct bytes key, struct bytes value)
{
	struct chain_key chain;
	uint64_t height;
	if (!spool_key_height_read(key, &chain, &height)) {
		spool_damaged(txn, SPOOL_HEIGHTS, key);
		return;
	}
	struct spool_key row = spool_key_chain(&chain);
	if (!txn_has(txn, SPOOL_CHAINS, spool_key_bytes(&row))) {
		recount_found_chain(txn, &chain, restore->options->now_ms, &restore->recount);
		restore->result.chain_count += txn_has(txn, SPOOL_CHAINS, spool_key_bytes(&row));
	}
}

static bool settle_stranger(struct restore *restore, struct err *err)
{
	static const struct chain_key none;
	struct txn txn;
	txn_begin(&txn, restore->store, TXN_WRITE);
	recount_chain(&txn, &none, &restore->recount);
	return txn_commit(&txn, err);
}

static bool settle_all(struct restore *restore, struct err *err)
{
	if (restore->head.kind == STREAM_SALVAGE &&
	    !for_each_row(restore, SPOOL_HEIGHTS, find_chain, err))
		return false;
	return for_each_row(restore, SPOOL_BATCHES, index_row, err) &&
	       for_each_row(restore, SPOOL_ANCHORS, index_row, err) &&
	       for_each_row(restore, SPOOL_QUARANTINE, index_row, err) &&
	       for_each_row(restore, SPOOL_EVIDENCE, index_row, err) &&
	       for_each_row(restore, SPOOL_AUDIT, index_row, err) &&
	       for_each_row(restore, SPOOL_TOMBSTONES, index_row, err) &&
	       for_each_row(restore, SPOOL_CHAINS, settle_chain, err) &&
	       settle_stranger(restore, err);
}

/* ---- beginning and end ---- */

static void begin_restore(struct restore *restore)
{
	struct spool_totals *totals = &restore->recount.totals;
	totals->arrival_next = 1;
	totals->quarantine_next = 1;
	totals->evidence_next = 1;
	totals->tombstone_next = 1;
	totals->audit_next = 1;
}

static bool end_restore(struct restore *restore, struct err *err)
{
	struct txn txn;
	struct spool_key unfinished = spool_key_name(SPOOL_META_UNFINISHED);
	struct spool_key key = spool_key_name(SPOOL_META_TOTALS);
	struct spool_totals *totals = &restore->recount.totals;
	struct buffer value = BUFFER_EMPTY;
	/* Microseconds rise faster than any store can commit: no number is used twice, whatever the
	 * lost store did after the copy was made. */
	uint64_t now = (uint64_t)restore->options->now_ms * 1000;
	if (totals->commit_number < now)
		totals->commit_number = now;
	totals->restored_ms = restore->options->now_ms;
	spool_totals_encode(totals, &value);
	if (!buffer_ok(&value, err)) {
		buffer_fini(&value);
		return false;
	}
	txn_begin(&txn, restore->store, TXN_WRITE);
	txn_put(&txn, SPOOL_META, spool_key_bytes(&key), buffer_bytes(&value));
	(void)txn_delete(&txn, SPOOL_META, spool_key_bytes(&unfinished));
	buffer_fini(&value);
	FAULT_POINT(RESTORE_ENDING);
	return txn_commit(&txn, err);
}

static bool fill_store(struct restore *restore, struct err *err)
{
	struct store_options options = { .dir = restore->options->dir,
		                         .format = &spool_format,
		                         .mode = STORE_WRITE };
	begin_restore(restore);
	bool ok = store_open(&restore->store, &options, err) && read_rows(restore, err) &&
	          settle_all(restore, err) && end_restore(restore, err);
	store_close(restore->store);
	if (!ok)
		store_remove(restore->options->dir);
	return ok;
}

bool spool_restore(const struct spool_restore_options *options,
                   struct spool_stream_result *out_result, struct err *err)
{
	struct restore restore = { .options = options,
		                   .in = { .fd = options->fd, .row = BUFFER_EMPTY } };
	struct spool_key unfinished = spool_key_name(SPOOL_META_UNFINISHED);
	bool ok = !spool_exists(options->dir) || err_set(err, ZR_STATE, "there is a store already");
	ok = ok && stream_head_get(&restore.in, &restore.head, err) &&
	     store_create(&(struct store_create_options){ .dir = options->dir,
	                                                  .format = &spool_format,
	                                                  .size_bytes = options->size_bytes,
	                                                  .allocate = options->allocate,
	                                                  .uuid = restore.head.uuid,
	                                                  .now_ms = options->now_ms,
	                                                  .first = { SPOOL_META,
	                                                             spool_key_bytes(&unfinished),
	                                                             BYTES_LITERAL("restore") } },
	                  err) &&
	     fill_store(&restore, err);
	stream_in_fini(&restore.in);
	if (!ok)
		return err_wrap(err, "restore");
	restore.result.row_count = restore.in.row_count;
	restore.result.byte_count = restore.in.byte_count;
	*out_result = restore.result;
	return true;
}
