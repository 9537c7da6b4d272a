/* spool_private.h -- what the files of the spool share. Nobody outside spool/ includes it. */
#ifndef ZR_SPOOL_SPOOL_PRIVATE_H
#define ZR_SPOOL_SPOOL_PRIVATE_H

#include <stdatomic.h>

#include "spool/codec.h"

extern const struct store_format spool_format;

/* Names in table meta that are the spool's own. */
#define SPOOL_META_TOTALS     ".totals"
#define SPOOL_META_STRANGER   ".stranger"   /* The chain record of what came for no known chain. */
#define SPOOL_META_CLASS      ".class/"     /* Then a name -> u8 number. */
#define SPOOL_META_PRUNED     ".pruned/"    /* Then sink and lane -> where pruning stands. */
#define SPOOL_META_UNFINISHED ".unfinished" /* A restore is under way, or was cut short. */
#define SPOOL_META_EVIDENCE   ".evidence/" /* Then a hash over chain, height and hashes -> number. */

struct spool {
	struct store *store;                /* Owned. */
	_Atomic uint64_t mark_bytes;        /* Intake stops here, */
	_Atomic uint64_t anchor_mark_bytes; /* new anchors here; deletes and receipts never. */
	/* Less room than this below the mark counts as full: as much as was refused last. */
	_Atomic uint64_t margin_bytes;
	uint32_t quarantine_count_max;
	_Atomic uint64_t quarantine_bytes_max;
	/* The writer's own: */
	struct buffer scratch; /* Values are encoded here. */
	uint64_t used_bytes;   /* As counted some transactions ago, plus what was taken since. */
	unsigned recount_in;   /* Transactions until it is counted again. */
};

/* ---- inside a write transaction ---- */

/* Empty, and valid until the next call. */
struct buffer *spool_scratch(struct spool_txn *txn);
/* Puts what is in scratch. */
void spool_put(struct spool_txn *txn, enum spool_table table, const struct spool_key *key);
void spool_insert(struct spool_txn *txn, enum spool_table table, const struct spool_key *key);
/* Replaces, or inserts, a number. */
void spool_put_u64(struct spool_txn *txn, enum spool_table table, const struct spool_key *key,
                   uint64_t number);
bool spool_delete(struct spool_txn *txn, enum spool_table table, const struct spool_key *key);

/* What intake may still take before the mark. Errors: ZR_FULL, ZR_IO. */
bool spool_take_room(struct spool_txn *txn, uint64_t bytes, struct err *err) MUST_CHECK;
/* Is intake at its mark now? False where that cannot be found out. */
bool spool_intake_is_full(struct spool_txn *txn);
/* For a new anchor: half of the reserve is left to receipts and deletes. */
bool spool_anchor_room(struct spool_txn *txn, uint64_t bytes, struct err *err) MUST_CHECK;

/* Errors: ZR_STATE  no such chain. A chain key of zeros is the stranger, who always exists. */
bool spool_load_chain(struct spool_txn *txn, const struct chain_key *key,
                      struct spool_chain *out_chain, struct err *err) MUST_CHECK;
void spool_save_chain(struct spool_txn *txn, const struct spool_chain *chain);
bool spool_is_stranger(const struct chain_key *key);
/* Makes table pending say what chain says. */
void spool_index_pending(struct spool_txn *txn, const struct spool_chain *chain);
/* Number is assigned. */
void spool_put_tombstone(struct spool_txn *txn, const struct spool_tombstone *tombstone);

/* ---- inside any transaction ---- */

/* The row under key is not one of ours: fails the transaction with ZR_CORRUPT. */
void spool_damaged(struct txn *txn, enum spool_table table, struct bytes key);

bool spool_get(struct txn *txn, enum spool_table table, const struct spool_key *key,
               struct bytes *out_value);
bool spool_read_chain(struct txn *txn, const struct chain_key *key, struct spool_chain *out_chain);
bool spool_read_totals(struct txn *txn, struct spool_totals *out_totals);
/* height, or where the chain goes on if the heights from there on are declared lost. */
uint64_t spool_skip_lost(struct txn *txn, const struct chain_key *chain, uint64_t height);

/* Rows of table heights of one chain. */
struct spool_span {
	struct spool_heights_row row; /* With chain and first_height set; held is not. */
};
/* The row that begins at `from`, or the first after it. */
bool spool_span_at_or_after(struct txn *txn, const struct chain_key *chain, uint64_t from,
                            struct spool_span *out_span);
/* The row that has block `height`. */
bool spool_span_with(struct txn *txn, const struct chain_key *chain, uint64_t height,
                     struct spool_span *out_span);
/* The last row that begins below `height`. */
bool spool_span_before(struct txn *txn, const struct chain_key *chain, uint64_t height,
                       struct spool_span *out_span);
uint64_t spool_span_next(const struct spool_span *span);
struct block_header spool_span_block(const struct spool_span *span, uint32_t index);

bool spool_read_anchor(struct txn *txn, const struct spool_anchor_id *id,
                       struct spool_anchor *out_anchor);
bool spool_read_lane(struct txn *txn, uint8_t sink, uint16_t lane, struct spool_lane *out_lane);
/* Gives *out_entries; free(). False: none, or txn failed. */
bool spool_read_entries(struct txn *txn, const struct spool_anchor_id *id,
                        struct entry **out_entries, size_t *out_count);

struct spool_quarantine_sums {
	uint32_t count;
	uint64_t blocks, bytes;
};
/* What is in quarantine of one chain, row by row. False: txn failed. */
bool spool_sum_quarantine(struct txn *txn, const struct chain_key *chain,
                          struct spool_quarantine_sums *out_sums);

/* Where table meta has the number of such evidence, so that it is kept once. */
struct spool_key spool_evidence_index(const struct spool_evidence *evidence);

/* ---- ends of reading functions ---- */

/* Ends txn. True where it did not fail and found; else ZR_STATE with what is missing. */
bool spool_end_read(struct txn *txn, bool found, const char *missing, struct err *err) MUST_CHECK;

#endif
