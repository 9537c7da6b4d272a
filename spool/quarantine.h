/* quarantine.h -- what was refused (kept whole), what was removed (tombstones), and evidence.
 *
 * Nothing vanishes (P5): a batch that arrived and failed is in quarantine until an operator releases
 * it (it is verified again and put like any other) or rejects it (a tombstone remains).
 */
#ifndef ZR_SPOOL_QUARANTINE_H
#define ZR_SPOOL_QUARANTINE_H

#include "spool/batches.h"

/* ---- quarantine ---- */

struct spool_suspect {
	struct chain_key chain; /* All zero: no chain we know. */
	const char *reason;     /* A stable word: "untrusted", "link", "malformed", "fork". */
	const char *detail;     /* For people. Cut to SPOOL_REASON_MAX. */
	uint64_t first_height;  /* As the batch claims. */
	uint64_t bad_height;    /* Where known; else first_height. */
	uint32_t block_count;   /* As the batch claims; at least 1. */
	enum codec codec;
	struct hash dictionary;
	struct hash content;  /* SHA-256 of payload. */
	struct bytes payload; /* As it arrived. */
	uint32_t raw_size;
	int64_t received_ms;
	const char *agent;
};

enum spool_suspect_outcome {
	SPOOL_SUSPECT_KEPT,
	SPOOL_SUSPECT_KNOWN,   /* The same bytes are there already: counted as duplicates. */
	SPOOL_SUSPECT_DROPPED, /* Over the chain's limit: counted and hashed, not kept. */
};

/* *out_number: of the item, where KEPT or KNOWN.
 * Errors: ZR_STATE  the chain is unknown.  ZR_FULL  the mark is reached. */
bool spool_quarantine_put(struct spool_txn *txn, const struct spool_suspect *suspect,
                          enum spool_suspect_outcome *out_outcome, uint64_t *out_number,
                          struct err *err) MUST_CHECK;

enum spool_verdict {
	SPOOL_VERDICT_RELEASED,  /* Its blocks are put in the same transaction, after this. */
	SPOOL_VERDICT_DUPLICATE, /* Its blocks are ours already. */
	SPOOL_VERDICT_REJECTED,
};

struct spool_resolution {
	enum spool_verdict verdict;
	const char *who, *why; /* Cut to SPOOL_WHO_MAX and SPOOL_REASON_MAX. */
	int64_t now_ms;
};
/* Takes the item out and leaves a tombstone.
 * Errors: ZR_STATE  no such item. */
bool spool_quarantine_resolve(struct spool_txn *txn, uint64_t number,
                              const struct spool_resolution *resolution,
                              struct err *err) MUST_CHECK;

#define SPOOL_SUSPECT_REASON_MAX 31

struct spool_suspect_info {
	uint64_t number;
	struct chain_key chain;
	char reason[SPOOL_SUSPECT_REASON_MAX + 1];
	char detail[SPOOL_REASON_MAX + 1];
	uint64_t first_height, bad_height;
	uint32_t block_count;
	enum codec codec;
	struct hash dictionary, content;
	uint32_t raw_size, payload_size;
	int64_t received_ms;
	char agent[SPOOL_AGENT_MAX + 1];
};

/* Items with numbers above `after` (0: from the first), oldest first. */
bool spool_quarantine_page(struct spool *spool, uint64_t after,
                           struct spool_suspect_info *out_infos, size_t count_max,
                           size_t *out_count, struct err *err) MUST_CHECK;
/* Appends the payload to out_payload, which may be NULL. */
bool spool_quarantine_get(struct spool *spool, uint64_t number, struct spool_suspect_info *out_info,
                          struct buffer *out_payload, struct err *err) MUST_CHECK;

/* ---- tombstones ---- */

/* Stored: never renumber. */
enum spool_tombstone_kind {
	SPOOL_TOMBSTONE_REJECTED = 1, /* Out of quarantine, gone. */
	SPOOL_TOMBSTONE_RELEASED =
		2,                /* Out of quarantine, into the chain (or known there already). */
	SPOOL_TOMBSTONE_LOST = 3, /* Heights nobody holds any more; declared at adoption. */
	SPOOL_TOMBSTONE_CUT =
		4, /* Batches that did not fit an anchor taken over; the edge has them. */
};

struct spool_tombstone {
	uint64_t number;
	enum spool_tombstone_kind kind;
	struct chain_key chain;
	uint64_t from, to;    /* Both within. */
	uint64_t block_count; /* That count in tombstoned_blocks. */
	struct hash hash; /* Of the payload that went; LOST: of the block the chain goes on after;
		         CUT: of the last block that went. */
	char who[SPOOL_WHO_MAX + 1];
	char why[SPOOL_REASON_MAX + 1];
	int64_t time_ms;
};

/* In the order of chain, height, number; `after` NULL: from the first. */
bool spool_tombstones_page(struct spool *spool, const struct spool_tombstone *after,
                           struct spool_tombstone *out_tombstones, size_t count_max,
                           size_t *out_count, struct err *err) MUST_CHECK;

/* ---- evidence ---- */

struct spool_evidence {
	uint64_t number; /* Assigned. */
	struct chain_key chain;
	uint64_t height;
	struct hash ours, theirs; /* The two blocks' hashes. */
	int64_t time_ms;
	char agent[SPOOL_AGENT_MAX + 1];
};

/* bundle: the portable form, opaque here. The same two hashes at the same height again: *out_number
 * is the old one.
 * Errors: ZR_STATE  the chain is unknown. */
bool spool_evidence_put(struct spool_txn *txn, const struct spool_evidence *evidence,
                        struct bytes bundle, uint64_t *out_number, struct err *err) MUST_CHECK;
bool spool_evidence_page(struct spool *spool, uint64_t after, struct spool_evidence *out_evidence,
                         size_t count_max, size_t *out_count, struct err *err) MUST_CHECK;
bool spool_evidence_get(struct spool *spool, uint64_t number, struct spool_evidence *out_evidence,
                        struct buffer *out_bundle, struct err *err) MUST_CHECK;

#endif
