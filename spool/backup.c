/* Backup, hot: slices of rows, each from a short read transaction, in an order that makes the whole
 * consistent although the writer goes on:
 *
 *   1. In one transaction: totals, named values, and the few anchors that are not final.
 *   2. Final anchors up to where each lane stood then. They never change.
 *   3. Chain by chain: the record is read, then its rows of heights and batches up to the record's
 *      next_height are written, which never change either, then the record.
 *   4. What operators and refusals left: tombstones, quarantine, evidence, audit, dictionaries.
 *
 * So each anchor speaks of blocks that are in the stream, and each chain is a prefix of itself.
 * Indexes are left out: restore makes them again.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "relay/base/clock.h"
#include "relay/base/fault_point.h"
#include "spool/stream.h"
#include "spool/tools.h"

#define SLICE_ROWS_DEFAULT 256
#define SLICE_BYTES_MAX    (8u << 20)
#define LANES_MAX          256

struct backup {
	const struct spool_backup_options *options;
	struct spool *spool;
	struct stream_out out;
	struct spool_stream_result result;
	uint64_t rows_total; /* About. */
	uint32_t slice_rows;
	int64_t began_ms;
	struct spool_anchor_id lanes[LANES_MAX]; /* Each one's newest final anchor; seq 0: none. */
	size_t lane_count;
};

/* ---- slices ---- */

static void keep_pace(struct backup *backup)
{
	const struct spool_progress *progress = &backup->options->progress;
	if (progress->call != NULL)
		progress->call(backup->out.row_count, backup->rows_total, progress->arg);
	uint64_t pace = backup->options->pace_bytes_per_s;
	if (pace == 0)
		return;
	int64_t due_ms = backup->began_ms + (int64_t)(backup->out.byte_count * 1000 / pace);
	int64_t wait_ms = due_ms - clock_monotonic_ms(clock_system());
	if (wait_ms > 0) {
		struct timespec wait = { (time_t)(wait_ms / 1000),
			                 (long)(wait_ms % 1000) * 1000000 };
		nanosleep(&wait, NULL);
	}
}

/* A transaction's failure, or the stream's, whichever came first. */
static bool end_slice(struct backup *backup, struct txn *txn, bool ok, struct err *err)
{
	if (!txn_ok(txn) || ok) {
		if (!txn_commit(txn, err))
			return false;
	} else {
		txn_abort(txn);
	}
	FAULT_POINT(BACKUP_SLICE);
	keep_pace(backup);
	return ok;
}

struct walk {
	enum spool_table table;
	uint8_t at[TXN_KEY_MAX]; /* Key of the last row written; before the first: at_size 0. */
	size_t at_size;
	/* Keys that do not begin so, or are not below end, are not written. */
	struct spool_key prefix;
	struct spool_key end;
};

static bool is_inside(const struct walk *walk, struct bytes key)
{
	if (key.size < walk->prefix.size ||
	    memcmp(key.data, walk->prefix.bytes, walk->prefix.size) != 0)
		return false;
	return walk->end.size == 0 || bytes_compare(key, spool_key_bytes(&walk->end)) < 0;
}

static bool next_row(struct txn *txn, struct walk *walk, struct bytes *out_key,
                     struct bytes *out_value)
{
	bool found;
	if (walk->at_size > 0)
		found = txn_after(txn, walk->table, (struct bytes){ walk->at, walk->at_size },
		                  out_key, out_value);
	else if (walk->prefix.size > 0)
		found = txn_at_or_after(txn, walk->table, spool_key_bytes(&walk->prefix), out_key,
		                        out_value);
	else
		found = txn_first(txn, walk->table, out_key, out_value);
	if (!found || !is_inside(walk, *out_key))
		return false;
	memcpy(walk->at, out_key->data, out_key->size);
	walk->at_size = out_key->size;
	return true;
}

/* Called for each row of a walk; writes it. */
typedef bool write_row_fn(struct backup *backup, struct txn *txn, struct bytes key,
                          struct bytes value, const struct walk *walk, struct err *err);

static bool write_plain(struct backup *backup, struct txn *txn, struct bytes key,
                        struct bytes value, const struct walk *walk, struct err *err)
{
	return stream_row_put(&backup->out, walk->table, key, value, err);
}

static bool write_walk(struct backup *backup, struct walk *walk, write_row_fn *write_row,
                       struct err *err)
{
	bool more = true;
	while (more) {
		struct txn txn;
		struct bytes key, value;
		uint64_t byte_end = backup->out.byte_count + SLICE_BYTES_MAX;
		bool ok = true;
		txn_begin(&txn, spool_store(backup->spool), TXN_READ);
		for (uint32_t i = 0; ok && i < backup->slice_rows; i++) {
			if (backup->out.byte_count > byte_end)
				break;
			more = next_row(&txn, walk, &key, &value);
			if (!more)
				break;
			ok = write_row(backup, &txn, key, value, walk, err);
		}
		if (!end_slice(backup, &txn, ok, err))
			return false;
	}
	return true;
}

static bool write_table(struct backup *backup, enum spool_table table, struct err *err)
{
	struct walk walk = { .table = table };
	return write_walk(backup, &walk, write_plain, err);
}

/* ---- 1: totals, named values, anchors under way ---- */

static bool is_index(struct bytes key)
{
	size_t size = strlen(SPOOL_META_EVIDENCE);
	return key.size > size && memcmp(key.data, SPOOL_META_EVIDENCE, size) == 0;
}

static bool write_meta(struct backup *backup, struct txn *txn, struct err *err)
{
	struct walk walk = { .table = SPOOL_META };
	struct bytes key, value;
	while (next_row(txn, &walk, &key, &value)) {
		if (!is_index(key) && !stream_row_put(&backup->out, SPOOL_META, key, value, err))
			return false;
	}
	return true;
}

static bool copy_row(struct backup *backup, struct txn *txn, enum spool_table table,
                     const struct spool_key *key, struct err *err)
{
	struct bytes value;
	return !spool_get(txn, table, key, &value) ||
	       stream_row_put(&backup->out, table, spool_key_bytes(key), value, err);
}

/* A lane's anchors that are not final, and where the final ones end. */
static bool write_lane_head(struct backup *backup, struct txn *txn, struct spool_anchor_id id,
                            struct err *err)
{
	struct spool_lane lane;
	if (backup->lane_count == LANES_MAX)
		return err_set(err, ZR_FULL, "more than %d lanes", LANES_MAX);
	if (!spool_read_lane(txn, id.sink, id.lane, &lane))
		return true; /* The transaction knows why. */
	id.seq = lane.final_seq;
	backup->lanes[backup->lane_count++] = id;
	for (id.seq = lane.final_seq + 1; id.seq <= lane.newest_seq; id.seq++) {
		struct spool_key key = spool_key_anchor(&id);
		if (!copy_row(backup, txn, SPOOL_ANCHORS, &key, err) ||
		    !copy_row(backup, txn, SPOOL_ENTRIES, &key, err))
			return false;
	}
	return true;
}

static bool write_lane_heads(struct backup *backup, struct txn *txn, struct err *err)
{
	struct spool_anchor_id id = { .sink = 0 };
	struct bytes key;
	for (;;) {
		struct spool_key at = spool_key_anchor(&id);
		if (!txn_at_or_after(txn, SPOOL_ANCHORS, spool_key_bytes(&at), &key, NULL) ||
		    !spool_key_anchor_read(key, &id))
			return true;
		if (!write_lane_head(backup, txn, id, err))
			return false;
		id.seq = UINT64_MAX; /* Past this lane. */
	}
}

static bool write_beginning(struct backup *backup, struct err *err)
{
	struct txn txn;
	txn_begin(&txn, spool_store(backup->spool), TXN_READ);
	bool ok = write_meta(backup, &txn, err) && write_lane_heads(backup, &txn, err);
	return end_slice(backup, &txn, ok, err);
}

/* ---- 2: final anchors ---- */

static bool write_anchor(struct backup *backup, struct txn *txn, struct bytes key,
                         struct bytes value, const struct walk *walk, struct err *err)
{
	struct spool_anchor_id id;
	if (!spool_key_anchor_read(key, &id)) {
		spool_damaged(txn, SPOOL_ANCHORS, key);
		return true;
	}
	struct spool_key row = spool_key_anchor(&id);
	return stream_row_put(&backup->out, SPOOL_ANCHORS, key, value, err) &&
	       copy_row(backup, txn, SPOOL_ENTRIES, &row, err) &&
	       copy_row(backup, txn, SPOOL_RECEIPTS, &row, err);
}

static bool write_final_anchors(struct backup *backup, struct err *err)
{
	for (size_t i = 0; i < backup->lane_count; i++) {
		struct spool_anchor_id id = backup->lanes[i];
		struct walk walk = { .table = SPOOL_ANCHORS };
		id.seq++;
		walk.end = spool_key_anchor(&id);
		walk.prefix = walk.end;
		walk.prefix.size -= sizeof(id.seq); /* Sink and lane. */
		if (!write_walk(backup, &walk, write_anchor, err))
			return false;
	}
	return true;
}

/* ---- 3: chains ---- */

static bool write_batch(struct backup *backup, struct txn *txn, struct bytes key,
                        struct bytes value, const struct walk *walk, struct err *err)
{
	struct spool_heights_row row;
	if (!spool_heights_decode(value, &row)) {
		spool_damaged(txn, SPOOL_HEIGHTS, key);
		return true;
	}
	struct spool_key batch = spool_key_number(row.info.arrival);
	backup->result.batch_count++;
	return stream_row_put(&backup->out, SPOOL_HEIGHTS, key, value, err) &&
	       copy_row(backup, txn, SPOOL_BATCHES, &batch, err);
}

/* The record as it was when the walk over its rows began, but for what may have been forgotten of
 * them meanwhile. */
static bool write_record(struct backup *backup, const struct spool_chain *chain, struct err *err)
{
	struct spool_key key = spool_key_chain(&chain->key);
	struct buffer record = BUFFER_EMPTY;
	struct spool_chain then = *chain, now;
	if (!spool_chain(backup->spool, &chain->key, &now, err))
		return false;
	then.known_from = now.known_from < then.next_height ? now.known_from : then.next_height;
	then.anchored_floor =
		now.anchored_floor < then.next_height ? now.anchored_floor : then.next_height;
	spool_chain_encode(&then, &record);
	bool ok = buffer_ok(&record, err) &&
	          stream_row_put(&backup->out, SPOOL_CHAINS, spool_key_bytes(&key),
	                         buffer_bytes(&record), err);
	buffer_fini(&record);
	backup->result.chain_count++;
	return ok;
}

static bool write_chain(struct backup *backup, const struct spool_chain *chain, struct err *err)
{
	struct spool_key key = spool_key_chain(&chain->key);
	struct walk heights = { .table = SPOOL_HEIGHTS, .prefix = key };
	struct walk trust = { .table = SPOOL_TRUST, .prefix = key };
	heights.end = spool_key_height(&chain->key, chain->next_height);
	trust.end = spool_key_height(&chain->key, chain->next_height + 1);
	return (write_walk(backup, &heights, write_batch, err) &&
	        write_walk(backup, &trust, write_plain, err) && write_record(backup, chain, err)) ||
	       err_wrap(err, "%s", chain->id.name);
}

static bool write_chains(struct backup *backup, struct err *err)
{
	struct chain_key after = { .bytes = { 0 } };
	struct spool_chain chain;
	size_t count;
	for (;;) {
		if (!spool_chains_page(backup->spool, &after, &chain, 1, &count, err))
			return false;
		if (count == 0)
			return true;
		if (!write_chain(backup, &chain, err))
			return false;
		after = chain.key;
	}
}

/* ---- the whole ---- */

static bool write_all_tables(struct backup *backup, struct err *err)
{
	return write_beginning(backup, err) && write_final_anchors(backup, err) &&
	       write_chains(backup, err) && write_table(backup, SPOOL_TOMBSTONES, err) &&
	       write_table(backup, SPOOL_QUARANTINE, err) &&
	       write_table(backup, SPOOL_EVIDENCE, err) && write_table(backup, SPOOL_AUDIT, err) &&
	       write_table(backup, SPOOL_DICTIONARIES, err);
}

static bool write_one_chain(struct backup *backup, struct err *err)
{
	struct spool_chain chain;
	struct walk tombstones = { .table = SPOOL_TOMBSTONES };
	tombstones.prefix = spool_key_chain(backup->options->chain);
	return spool_chain(backup->spool, backup->options->chain, &chain, err) &&
	       write_chain(backup, &chain, err) &&
	       write_walk(backup, &tombstones, write_plain, err) &&
	       write_table(backup, SPOOL_DICTIONARIES, err);
}

/* Anchors that were under way when the backup began must still be known at its end, or chains and
 * anchors in the stream would not agree. */
static bool nothing_was_forgotten(struct backup *backup, struct err *err)
{
	for (size_t i = 0; i < backup->lane_count; i++) {
		const struct spool_anchor_id *id = &backup->lanes[i];
		struct spool_lane lane;
		if (!spool_lane(backup->spool, id->sink, id->lane, &lane, err))
			return false;
		if (lane.oldest_seq > id->seq + 1)
			return err_set(err, ZR_STATE,
			               "history was forgotten faster than it was copied: repeat");
	}
	return true;
}

static bool write_stream(struct backup *backup, struct err *err)
{
	struct store_stats stats;
	struct stream_head head = { .kind = backup->options->chain != NULL ? STREAM_CHAIN
		                                                           : STREAM_FULL,
		                    .time_ms = clock_wall_ms(clock_system()) };
	if (!store_stats(spool_store(backup->spool), &stats, err))
		return false;
	for (unsigned table = 0; table < SPOOL_TABLE_COUNT; table++)
		backup->rows_total += stats.row_counts[table];
	memcpy(head.uuid, spool_uuid(backup->spool), STORE_UUID_SIZE);
	return stream_head_put(&backup->out, &head, err) &&
	       (head.kind == STREAM_CHAIN ? write_one_chain(backup, err)
	                                  : write_all_tables(backup, err)) &&
	       nothing_was_forgotten(backup, err) && stream_end_put(&backup->out, err);
}

bool spool_backup(const struct spool_backup_options *options,
                  struct spool_stream_result *out_result, struct err *err)
{
	struct backup backup = { .options = options,
		                 .spool = options->spool,
		                 .out = { .fd = options->fd, .buffer = BUFFER_EMPTY },
		                 .slice_rows = options->slice_rows != 0 ? options->slice_rows
		                                                        : SLICE_ROWS_DEFAULT,
		                 .began_ms = clock_monotonic_ms(clock_system()) };
	struct spool_options open_options = { .dir = options->dir, .mode = STORE_READ };
	if (options->spool == NULL && !spool_open(&backup.spool, &open_options, err))
		return err_wrap(err, "backup");
	bool ok = write_stream(&backup, err);
	if (options->spool == NULL)
		spool_close(backup.spool);
	stream_out_fini(&backup.out);
	if (!ok)
		return err_wrap(err, "backup");
	backup.result.row_count = backup.out.row_count;
	backup.result.byte_count = backup.out.byte_count;
	*out_result = backup.result;
	return true;
}
