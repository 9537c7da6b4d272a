/* upkeep.h -- what is done to the spool a little at a time: pruning, and the paced recount. */
#ifndef ZR_SPOOL_UPKEEP_H
#define ZR_SPOOL_UPKEEP_H

#include "spool/spool.h"

struct spool_prune_options {
	int64_t now_ms;
	int64_t retention_ms;          /* Payloads live so long after their anchor is FINAL, */
	uint64_t retention_size_bytes; /* and beyond so many bytes not even so long. 0: any. */
	int64_t history_ms; /* Headers, entries and receipts live so long; 0: for ever. */
	uint32_t batch_max; /* At most so many rows are deleted by one call. */
};

struct spool_prune_result {
	uint32_t batch_count;
	uint64_t payload_bytes;
	uint32_t history_count; /* Rows of headers, anchors and receipts. */
	bool more;              /* There is more to do at once. */
};

/* One slice, inside an upkeep transaction: walks FINAL anchors in order and deletes the payloads of
 * the whole batches they list. Headers stay until history_ms. */
bool spool_prune_slice(struct spool_txn *txn, const struct spool_prune_options *options,
                       struct spool_prune_result *out_result, struct err *err) MUST_CHECK;

/* ---- the paced recount (P5) ---- */

/* Where it stands; keep it between calls, begin with SPOOL_SCRUB_BEGIN. */
struct spool_scrub {
	uint64_t round;                                /* Complete walks so far. */
	uint64_t chain_count, batch_count, byte_count; /* Looked at in this round. */
	/* After ZR_CORRUPT: where, if it was in a chain; and if only a payload is bad, which batch to
	 * ask the edge for again (spool_batch_repair()). */
	bool bad_payload;
	struct chain_key bad_chain;
	uint64_t bad_from, bad_to;
	/* The spool's own: the chain it is in, as it was when its walk began. */
	bool in_chain;
	struct chain_key chain;
	uint64_t height; /* Next to look at. */
	uint64_t next_height, anchored_next;
	uint64_t stored_said, anchored_said; /* What the chain's counters say; */
	uint64_t stored, anchored;           /* and what was counted. */
	struct hash tip, tip_said;
	bool tip_known; /* tip is the block right below height. */
};
#define SPOOL_SCRUB_BEGIN ((struct spool_scrub){ .round = 0 })

struct spool_scrub_limits {
	uint32_t row_max;
	uint64_t byte_max;
};

/* Looks at the next rows, in a short read transaction: checksums, links, contiguity, and per chain
 * the counters against what is there. Begins again by itself after the last chain.
 * Errors: ZR_CORRUPT  a difference, with table, chain and height. The next call goes on behind it. */
bool spool_scrub_slice(struct spool *spool, struct spool_scrub *scrub,
                       const struct spool_scrub_limits *limits, struct err *err) MUST_CHECK;

#endif
