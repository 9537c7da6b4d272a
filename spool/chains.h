/* chains.h -- what the spool knows about each chain: identity, state, watermarks, counters, trust.
 *
 * A watermark is written "next": the first height that has not reached the stage. Each moves by
 * whole batches only, in the transaction that moves the data.
 *
 *     first_height <= anchored_next <= pending_from <= next_height
 *
 *     [first_height, anchored_next)   final on the main chain
 *     [anchored_next, pending_from)   in anchors that are not final yet
 *     [pending_from, next_height)     in no anchor
 *
 * Heights that an operator declared lost (tombstones of kind SPOOL_TOMBSTONE_LOST) are jumped over.
 * Promise P5 per chain:  received_blocks = anchored_blocks + pending + quarantined_blocks +
 * tombstoned_blocks, where pending are the blocks stored and not yet final.
 */
#ifndef ZR_SPOOL_CHAINS_H
#define ZR_SPOOL_CHAINS_H

#include "spool/spool.h"

/* Stored: never renumber. */
enum spool_chain_state {
	SPOOL_CHAIN_ACTIVE = 1,   /* Takes batches. */
	SPOOL_CHAIN_FROZEN = 2,   /* Takes none: evidence, poison or an operator. */
	SPOOL_CHAIN_RETIRED = 3,  /* Takes none ever: a newer epoch, or moved away. Still drains. */
	SPOOL_CHAIN_RESTORED = 4, /* Takes none until adopted: this store lost what it promised. */
};
const char *spool_chain_state_name(enum spool_chain_state state); /* "active", ... */

#define SPOOL_FORMAT_NAME_MAX 15
#define SPOOL_WHO_MAX         63
#define SPOOL_REASON_MAX      191
#define SPOOL_HEIGHT_MAX      (UINT64_MAX >> 1)
#define SPOOL_SINK_MAIN       1 /* The only main chain for now. */

struct spool_chain {
	struct chain_id id;
	struct chain_key key;
	char format[SPOOL_FORMAT_NAME_MAX + 1];
	enum spool_chain_state state;
	char state_reason[SPOOL_REASON_MAX + 1];
	char state_who[SPOOL_WHO_MAX + 1];
	int64_t state_since_ms;
	bool delivery_held;  /* What is pending stays pending: the main chain refused it. */
	uint8_t sink, class; /* Where it stands in the pending index. */
	int64_t added_ms;

	uint64_t first_height; /* Lowest height this store was ever asked to take. */
	uint64_t next_height;  /* Everything below is durable here (or was, or is declared lost). */
	struct hash tip;       /* Hash of block next_height - 1; zero where there is none. */
	uint64_t pending_from;
	uint64_t anchored_next;
	uint64_t
		anchored_floor; /* Below it anchored by another store; set at adding and adopting. */
	uint64_t held_from;     /* First height whose payload is held. */
	uint64_t known_from;    /* First height whose header is still known. */
	uint64_t trust_from;    /* Where the newest trust set begins to be in force. */

	uint64_t received_blocks; /* Verified and stored, or quarantined; duplicates apart. */
	uint64_t duplicate_blocks;
	uint64_t quarantined_blocks; /* In quarantine now. */
	uint64_t tombstoned_blocks;  /* Rejected, or dropped from quarantine. */
	uint64_t anchored_blocks;
	uint64_t forgotten_blocks;           /* Of anchored_blocks: below known_from. */
	uint64_t lost_heights;               /* Declared lost; never received by this store. */
	uint64_t held_batches, held_bytes;   /* Payloads, as they arrived. For quotas. */
	uint32_t quarantine_count;           /* Items kept whole, */
	uint64_t quarantine_bytes;           /* their payloads, */
	uint64_t quarantine_dropped_blocks;  /* blocks over the limit, only counted, */
	struct hash quarantine_dropped_hash; /* and a running hash over their content hashes. */
	int64_t last_received_ms;            /* 0: never. */
};

/* Stored blocks that are not final yet. */
uint64_t spool_chain_pending_blocks(const struct spool_chain *chain);

struct spool_chain_new {
	struct chain_id id;
	const char *format;
	struct bytes trust;    /* Saved trust set, in force from first_height on. */
	uint64_t first_height; /* 0, or where a chain that moved here goes on. */
	struct hash tip;       /* Hash of block first_height - 1; zero with first_height 0. */
	uint8_t sink, class;
	int64_t now_ms;
};

/* Renewing an epoch is spool_chain_set_state(old, RETIRED) and this, in one transaction.
 *
 * Errors: ZR_STATE    known already; or the name has an epoch that is not RETIRED.
 *         ZR_INVALID  name, format or trust set empty or too long; or the sixteen-byte key of another
 *                     chain is the same. */
bool spool_chain_add(struct spool_txn *txn, const struct spool_chain_new *chain,
                     struct err *err) MUST_CHECK;

struct spool_chain_state_change {
	struct chain_key chain;
	enum spool_chain_state state;
	const char *reason; /* Cut to SPOOL_REASON_MAX. */
	const char *who;    /* "operator alice", "gateway". Cut likewise. */
	bool delivery_held; /* Take it out of the pending index, or put it back. */
	int64_t now_ms;
};
/* Errors: ZR_STATE  no such chain; or it is RETIRED and the new state is not. */
bool spool_chain_set_state(struct spool_txn *txn, const struct spool_chain_state_change *change,
                           struct err *err) MUST_CHECK;

/* Moves it in the pending index. Errors: ZR_STATE  no such chain. */
bool spool_chain_set_class(struct spool_txn *txn, const struct chain_key *chain, uint8_t class,
                           struct err *err) MUST_CHECK;

/* Counts blocks that came again. */
bool spool_chain_add_duplicates(struct spool_txn *txn, const struct chain_key *chain,
                                uint64_t block_count, struct err *err) MUST_CHECK;

/* After a restore from an older copy, by an operator: the chain goes on at next_height with parent
 * tip; heights between are declared lost (a tombstone says by whom and why); heights below
 * anchored_next are taken as anchored by the store that is gone. Makes the chain ACTIVE. */
struct spool_adoption {
	struct chain_key chain;
	uint64_t next_height; /* At least the present one. */
	struct hash tip; /* Hash of block next_height - 1; must be the known one if unchanged. */
	uint64_t anchored_next; /* Between the present one and next_height, on a batch's edge. */
	const char *who, *why;
	int64_t now_ms;
};
/* Errors: ZR_STATE  no such chain, it is RETIRED, it has anchors that are not final, or a height does
 *                   not fit. */
bool spool_chain_adopt(struct spool_txn *txn, const struct spool_adoption *adoption,
                       struct err *err) MUST_CHECK;

/* A trust set that an operator replaces by hand, in force from next_height on. */
bool spool_chain_set_trust(struct spool_txn *txn, const struct chain_key *chain, struct bytes trust,
                           struct err *err) MUST_CHECK;

/* As the transaction sees it now, its own changes included. */
bool spool_chain_in(struct spool_txn *txn, const struct chain_key *chain,
                    struct spool_chain *out_chain, struct err *err) MUST_CHECK;

/* ---- reading ---- */

bool spool_chain(struct spool *spool, const struct chain_key *chain, struct spool_chain *out_chain,
                 struct err *err) MUST_CHECK;
/* The newest epoch under that name. */
bool spool_chain_by_name(struct spool *spool, const char *name, struct spool_chain *out_chain,
                         struct err *err) MUST_CHECK;
/* The chains after `after` (NULL: from the first) in the order of keys, at most count_max. */
bool spool_chains_page(struct spool *spool, const struct chain_key *after,
                       struct spool_chain *out_chains, size_t count_max, size_t *out_count,
                       struct err *err) MUST_CHECK;

/* The set that block `height` has to satisfy; appends its saved form. *out_from: since which height.
 * Errors: ZR_STATE  no such chain, or height is below first_height. */
bool spool_trust_at(struct spool *spool, const struct chain_key *chain, uint64_t height,
                    struct buffer *out_trust, uint64_t *out_from, struct err *err) MUST_CHECK;

#endif
