/* batches.h -- batches in, batches out, and which of them are in no anchor yet.
 *
 * A batch is stored once, exactly as it arrived compressed, under its arrival number. Its header
 * records stay in table heights when the payload is pruned, so duplicates are recognised and proofs
 * are built from them as before.
 */
#ifndef ZR_SPOOL_BATCHES_H
#define ZR_SPOOL_BATCHES_H

#include "proto/compress.h"
#include "spool/chains.h"

#define SPOOL_AGENT_MAX         63
#define SPOOL_BATCH_BLOCKS_MAX  65535
#define SPOOL_PAYLOAD_MAX_BYTES (256u << 20)

struct spool_batch {
	struct chain_key chain;
	const struct block_header *headers; /* In order of height, without a hole. */
	uint32_t block_count;               /* 1 to SPOOL_BATCH_BLOCKS_MAX. */
	enum policy policy;                 /* Under which it was verified. */
	enum codec codec;
	struct hash dictionary; /* Zero: none. */
	struct hash content;    /* SHA-256 of payload. */
	uint32_t raw_size;
	struct bytes payload; /* As it arrived. */
	int64_t received_ms;
	const char *agent; /* Who brought it. */
	/* A trust set that one of its blocks brought: the last such, in force from trust_from (at most
	 * one above its last height). Earlier ones of the same batch: spool_batch_trust(). Empty: none. */
	struct bytes trust;
	uint64_t trust_from;
};

/* Appends it to its chain: data, watermark, trust set and pending index in one transaction (P1, P2).
 *
 * Errors: ZR_STATE    the chain is unknown or not ACTIVE, the first height is not next_height, or the
 *                     first parent is not the tip (a genesis has a zero parent).
 *         ZR_INVALID  heights or parents inside do not follow each other; sizes; an unknown
 *                     dictionary.
 *         ZR_FULL     the mark is reached. */
bool spool_batch_put(struct spool_txn *txn, const struct spool_batch *batch, uint64_t *out_arrival,
                     struct err *err) MUST_CHECK;

/* A trust set that was in force only inside a batch. Call it after the batch was put, with rising
 * heights, before the chain's next batch: evidence is judged under the set of its own height.
 * Errors: ZR_STATE  no such chain, or from is not inside its last batch.
 *         ZR_FULL   the mark is reached. */
bool spool_batch_trust(struct spool_txn *txn, const struct chain_key *chain, uint64_t from,
                       struct bytes trust, struct err *err) MUST_CHECK;

/* Replaces a payload that was found damaged by the same blocks, brought again by the edge: same
 * chain, heights and hashes, whatever the compression.
 * Errors: ZR_STATE  no such batch, already pruned, or other blocks. */
bool spool_batch_repair(struct spool_txn *txn, const struct spool_batch *batch,
                        struct err *err) MUST_CHECK;

/* ---- reading ---- */

/* What is known of a batch for ever. */
struct spool_batch_info {
	struct chain_key chain;
	uint64_t first_height;
	uint32_t block_count;
	uint64_t arrival;
	enum policy policy;
	enum codec codec;
	struct hash dictionary;
	struct hash content;
	uint32_t raw_size;
	uint32_t payload_size;
	int64_t received_ms;
	bool held; /* The payload has not been pruned. */
};

static inline uint64_t spool_batch_next(const struct spool_batch_info *info)
{
	return info->first_height + info->block_count;
}

/* The batch that has block `height`. Errors: ZR_STATE  none known. */
bool spool_batch_info(struct spool *spool, const struct chain_key *chain, uint64_t height,
                      struct spool_batch_info *out_info, struct err *err) MUST_CHECK;
/* Batches from the one that has block `from` (or the first above it) on, in order. */
bool spool_batches_page(struct spool *spool, const struct chain_key *chain, uint64_t from,
                        struct spool_batch_info *out_infos, size_t count_max, size_t *out_count,
                        struct err *err) MUST_CHECK;
/* Appends the payload of the batch that has block `height` to out_payload.
 * Errors: ZR_STATE    none known, or pruned.
 *         ZR_CORRUPT  damaged on the disk; nothing of it is given. */
bool spool_batch_payload(struct spool *spool, const struct chain_key *chain, uint64_t height,
                         struct spool_batch_info *out_info, struct buffer *out_payload,
                         struct err *err) MUST_CHECK;

struct spool_range {
	struct chain_key chain;
	uint64_t from, to; /* Both within. */
};
/* Headers of the range, at most count_max of them, in order, across batches. Reads no payload. Fewer than asked for: lost heights are left out; go on after the last one given.
 * Errors: ZR_STATE  none known there. */
bool spool_headers(struct spool *spool, const struct spool_range *range,
                   struct block_header *out_headers, size_t count_max, size_t *out_count,
                   struct err *err) MUST_CHECK;
bool spool_header(struct spool *spool, const struct chain_key *chain, uint64_t height,
                  struct block_header *out_header, struct err *err) MUST_CHECK;

/* ---- what is pending ---- */

struct spool_pending {
	struct chain_key chain;
	uint64_t from;
};

struct spool_pending_query {
	uint8_t sink, class;
	const struct chain_key *after; /* NULL: from the first. */
};
/* Chains of a class with blocks in no anchor, in the order of keys. Chains whose delivery is held are
 * left out. */
bool spool_pending_page(struct spool *spool, const struct spool_pending_query *query,
                        struct spool_pending *out_pending, size_t count_max, size_t *out_count,
                        struct err *err) MUST_CHECK;

/* The next contiguous run of whole batches that could go into one entry: same policy, at most
 * block_max blocks and payload_max_bytes of payload (the first batch always fits). */
struct spool_run {
	uint64_t from, to;
	struct hash tip; /* Of block `to`. */
	enum policy policy;
	uint32_t batch_count;
	uint64_t block_count;
	uint64_t payload_bytes;
};
/* Errors: ZR_STATE  nothing is pending. */
bool spool_pending_run(struct spool *spool, const struct chain_key *chain, uint64_t block_max,
                       uint64_t payload_max_bytes, struct spool_run *out_run,
                       struct err *err) MUST_CHECK;

#endif
