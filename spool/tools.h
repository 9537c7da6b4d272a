/* tools.h -- the spool from outside: verify, backup, restore, salvage.
 *
 * The record stream, what backup writes and restore reads, is described in docs/SPOOL-FORMAT.md: a
 * head that names store and format, rows with a checksum each, an end that counts them. It depends
 * on no page size, word size or byte order. A stream without its end is incomplete, and is said so.
 */
#ifndef ZR_SPOOL_TOOLS_H
#define ZR_SPOOL_TOOLS_H

#include "spool/spool.h"

/* Called now and then; work is in rows. May be NULL. */
typedef void spool_progress_fn(uint64_t done, uint64_t total, void *arg);
struct spool_progress {
	spool_progress_fn *call;
	void *arg;
};

/* ---- verify ---- */

struct spool_verify_result {
	uint64_t row_count;
	uint64_t chain_count;
	uint64_t batch_count;
	uint64_t block_count;
	uint64_t payload_bytes;
	uint64_t fault_count;
};

/* Each fault is one line: table, chain, height, what is wrong. Borrowed until the call returns. */
typedef void spool_fault_fn(const char *line, void *arg);

/* Every checksum and every invariant: contiguity (P2), watermarks against batches and anchors,
 * pending against chains, lanes, conservation (P5), the audit chain. In a child process, since LMDB
 * may crash on a damaged tree: a crash is a fault too. The daemon may run: then rows that change
 * meanwhile are judged as of one moment only with the daemon stopped.
 *
 * True: it could look, and result->fault_count says what it found.
 * Errors: as spool_open(). */
bool spool_verify(const char *dir, spool_fault_fn *on_fault, void *arg,
                  const struct spool_progress *progress, struct spool_verify_result *out_result,
                  struct err *err) MUST_CHECK;

/* ---- the record stream ---- */

struct spool_stream_result {
	uint64_t row_count;
	uint64_t chain_count;
	uint64_t batch_count;
	uint64_t byte_count; /* Of the stream. */
};

struct spool_backup_options {
	const char *dir;
	struct spool *spool;           /* One that this process has open; NULL: dir is opened. */
	int fd;                        /* Written to; not closed. */
	const struct chain_key *chain; /* Only this chain, without anchors; NULL: everything. */
	uint32_t slice_rows;           /* Per read transaction; 0: 256. */
	uint32_t pace_bytes_per_s;     /* 0: as fast as it goes. */
	struct spool_progress progress;
};

/* Beside a running daemon or without one, in slices. What a restore gives is a consistent prefix of
 * each chain: everything that was durable when its chain was reached.
 * Errors: ZR_IO     fd, or the disk.  ZR_CORRUPT  a damaged row: salvage instead.
 *         ZR_STATE  no such chain; or history (spool_prune_options.history_ms) was forgotten faster
 *                   than it was copied: repeat. */
bool spool_backup(const struct spool_backup_options *options,
                  struct spool_stream_result *out_result, struct err *err) MUST_CHECK;

struct spool_restore_options {
	const char *dir; /* A new store is made there. */
	int fd;          /* Read from. */
	uint64_t size_bytes;
	bool allocate;
	int64_t now_ms;
	struct spool_progress progress;
};

/* Into a new directory. The store keeps its UUID, since agents have pinned it; it is marked as
 * restored (spool_totals.restored_ms), and its commit numbers go on at now_ms in microseconds, above
 * all that the lost store can have used. Watermarks and counters are computed anew from the rows.
 * Anchors that were not final may have been sent since: they are UNKNOWN, to be looked up. Until it
 * is complete, no spool_open() accepts it.
 * Errors: ZR_STATE    there is a store already.
 *         ZR_CORRUPT  a damaged stream, or one without its end: nothing usable is left in dir.
 *         ZR_FULL     size_bytes is too small. */
bool spool_restore(const struct spool_restore_options *options,
                   struct spool_stream_result *out_result, struct err *err) MUST_CHECK;

/* ---- salvage ---- */

struct spool_salvage_result {
	uint64_t page_count;
	uint64_t batch_count;   /* Whole, each once. */
	uint64_t damaged_count; /* Began like a batch, and their checksum is wrong. */
	uint64_t chain_count;
};

/* Reads data.mdb as raw pages, without LMDB, in a child process, and writes every batch whose checksum
 * is right to fd as a record stream. A restore of it has chains in state RESTORED, without trust
 * sets and anchors: an operator adopts them. */
bool spool_salvage(const char *dir, int fd, const struct spool_progress *progress,
                   struct spool_salvage_result *out_result, struct err *err) MUST_CHECK;

#endif
