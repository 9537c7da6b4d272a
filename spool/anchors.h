/* anchors.h -- anchors in the spool: intent before anything is sent, state, receipt.
 *
 * A lane is one ordered sequence: seq 1, 2, 3 ... without holes. They become final in that order.
 *
 *     INTENT ---> SENT ---> INCLUDED ---> FINAL
 *        ^         |            |
 *        |         v            v (reorganised away)
 *        +----- UNKNOWN <-------+         REJECTED (from any but FINAL)
 *
 * What decides about these moves is relay/submission.h; here only impossible ones are refused.
 */
#ifndef ZR_SPOOL_ANCHORS_H
#define ZR_SPOOL_ANCHORS_H

#include "spool/chains.h"

/* Stored: never renumber. */
enum spool_anchor_state {
	SPOOL_ANCHOR_INTENT = 1,   /* Not known to have left us since the last look-up. */
	SPOOL_ANCHOR_SENT = 2,     /* May have been received. Written before sending. */
	SPOOL_ANCHOR_UNKNOWN = 3,  /* In doubt: look up. */
	SPOOL_ANCHOR_INCLUDED = 4, /* Recorded, may be reorganised away. */
	SPOOL_ANCHOR_REJECTED = 5, /* Confirmed void: may be removed. */
	SPOOL_ANCHOR_FINAL = 6,
};
const char *spool_anchor_state_name(enum spool_anchor_state state); /* "intent", ... */

#define SPOOL_DETAIL_MAX 191

struct spool_anchor_id {
	uint8_t sink;
	uint16_t lane;
	uint64_t seq;
};

struct spool_anchor {
	struct spool_anchor_id id;
	enum hash_alg alg;
	enum deliver deliver;
	struct hash previous; /* Root of seq - 1. */
	struct hash root;
	struct hash key;
	uint32_t entry_count;
	uint64_t block_count;
	uint64_t payload_bytes; /* Of the batches in it, as they arrived. */
	int64_t created_ms;
	/* What changes: */
	enum spool_anchor_state state;
	bool ever_sent; /* It was SENT once; then only REJECTED frees its blocks. */
	uint32_t attempts;
	int64_t next_try_ms;     /* Wall clock; 0: now. */
	uint64_t sent_at_height; /* Main-chain height before the last sending. */
	int64_t final_ms;
	char detail[SPOOL_DETAIL_MAX + 1]; /* The main chain's last word, for people. */
};

/* Spools the intent: seq must be the newest plus one, previous its root, and each entry must begin at
 * its chain's pending_from and end with a batch; a chain is in it once. Moves pending_from and the
 * pending index. id, alg, deliver, previous, root, key and created_ms are read from anchor; counts
 * and state are set.
 *
 * Errors: ZR_STATE  something of that does not hold; or a chain's delivery is held. */
bool spool_anchor_put(struct spool_txn *txn, const struct spool_anchor *anchor,
                      const struct entry *entries, size_t entry_count, struct err *err) MUST_CHECK;

/* Writes what changes: state (any but FINAL), attempts, next_try_ms, sent_at_height, detail. A state
 * of SENT sets ever_sent.
 * Errors: ZR_STATE  no such anchor, or it is FINAL. */
bool spool_anchor_update(struct spool_txn *txn, const struct spool_anchor *anchor,
                         struct err *err) MUST_CHECK;

struct spool_receipt {
	struct bytes evidence;  /* The main chain's own proof. */
	int64_t final_ms;       /* As in the receipt root that was signed. */
	struct bytes signature; /* Ours, over the receipt root. */
	struct bytes key_id;
};

/* FINAL: the receipt, anchored_next and the counters of every chain in it (P3). Repeating it on a
 * FINAL one changes nothing.
 * Errors: ZR_STATE  no such anchor, the one before is not FINAL, or a chain's anchored_next is not
 *                   the entry's from. */
bool spool_anchor_finalize(struct spool_txn *txn, const struct spool_anchor_id *id,
                           const struct spool_receipt *receipt, struct err *err) MUST_CHECK;

/* Removes the newest anchor of its lane; its blocks are pending again. Only if it was never sent, or
 * is REJECTED.
 * Errors: ZR_STATE. */
bool spool_anchor_void(struct spool_txn *txn, const struct spool_anchor_id *id,
                       struct err *err) MUST_CHECK;

/* By an operator, after a restore: the lane goes on after an anchor of the store that is gone. Only
 * while no anchor of the lane is unfinished.
 * Errors: ZR_STATE  unfinished ones, or seq is not above the newest. */
bool spool_lane_adopt(struct spool_txn *txn, const struct spool_anchor_id *id,
                      const struct hash *root, const struct hash *key, int64_t now_ms,
                      struct err *err) MUST_CHECK;

/* ---- reading ---- */

bool spool_anchor(struct spool *spool, const struct spool_anchor_id *id,
                  struct spool_anchor *out_anchor, struct err *err) MUST_CHECK;

struct spool_lane {
	uint64_t newest_seq;     /* 0: the lane is empty. */
	struct hash newest_root; /* Zero for none. */
	struct hash newest_key;
	uint64_t final_seq;  /* Everything up to it is FINAL; 0 for none. */
	uint64_t oldest_seq; /* Still known. */
};
bool spool_lane(struct spool *spool, uint8_t sink, uint16_t lane, struct spool_lane *out_lane,
                struct err *err) MUST_CHECK;
/* The same, as it is inside txn. */
bool spool_lane_in(struct spool_txn *txn, uint8_t sink, uint16_t lane, struct spool_lane *out_lane,
                   struct err *err) MUST_CHECK;

/* The newest anchor of another lane of that sink that is not FINAL; *out_id is zero if there is none.
 * Chains it holds blocks of cannot become final in this lane before it does in its own. */
bool spool_open_in_other_lane(struct spool *spool, uint8_t sink, uint16_t lane,
                              struct spool_anchor_id *out_id, struct err *err) MUST_CHECK;

/* Anchors of a lane from seq on, in order. */
bool spool_anchors_page(struct spool *spool, const struct spool_anchor_id *from,
                        struct spool_anchor *out_anchors, size_t count_max, size_t *out_count,
                        struct err *err) MUST_CHECK;

/* All entries, in the anchor's order. Gives *out_entries, to be freed with free(). */
bool spool_anchor_entries(struct spool *spool, const struct spool_anchor_id *id,
                          struct entry **out_entries, size_t *out_count,
                          struct err *err) MUST_CHECK;

/* Appends evidence, signature and key id. Errors: ZR_STATE  not FINAL, or adopted. */
struct spool_receipt_copy {
	struct buffer evidence, signature, key_id; /* The caller's; begin with BUFFER_EMPTY. */
	int64_t final_ms;
};
bool spool_anchor_receipt(struct spool *spool, const struct spool_anchor_id *id,
                          struct spool_receipt_copy *out_receipt, struct err *err) MUST_CHECK;

/* The anchor that has block `height` of chain, or the first one above it, in O(log n). */
struct spool_coverage {
	struct spool_anchor_id id;
	uint32_t entry_index;
	uint64_t from, to;
};
/* Errors: ZR_STATE  none. */
bool spool_anchor_of(struct spool *spool, uint8_t sink, const struct chain_key *chain,
                     uint64_t height, struct spool_coverage *out_coverage,
                     struct err *err) MUST_CHECK;

#endif
