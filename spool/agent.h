/* agent.h -- the edge agent's store: its own ledger, what the gateway took over, what was anchored.
 *
 * Small and bounded; the file grows up to its limit instead of being allocated. Per chain:
 *
 *     entries   acknowledged to their producer, not yet sealed into a block     (source ledger)
 *     blocks    raw blocks, pruned when the policy says so                      (source ledger)
 *     headers   one record per block, kept after pruning: leaves of proofs      (all sources)
 *     custody   the newest receipts that the gateway has a batch
 *     anchored  per anchored run: its entry, and the message that proves it
 *
 * Every function that changes something is one transaction and returns when it is on the disk. All
 * give copies. Threads: one.
 */
#ifndef ZR_SPOOL_AGENT_H
#define ZR_SPOOL_AGENT_H

#include "proto/record.h"
#include "spool/store.h"

#define AGENT_CUSTODY_KEPT    4
#define AGENT_FORMAT_NAME_MAX 15
#define AGENT_ENTRY_MAX_BYTES (1u << 20)

struct agent_store;

/* As store_create() with allocate false, and store_open(). */
bool agent_store_create(const char *dir, uint64_t size_bytes, int64_t now_ms,
                        struct err *err) MUST_CHECK;
/* size_bytes: 0, or a new limit. STORE_READ works beside the agent (zonerelay-edge status). */
bool agent_store_open(struct agent_store **out_store, const char *dir, enum store_mode mode,
                      uint64_t size_bytes, struct err *err) MUST_CHECK;
void agent_store_close(struct agent_store *store);         /* NULL is allowed. */
struct store *agent_store_base(struct agent_store *store); /* Borrowed: stats, poison. */

/* ---- chains ---- */

struct agent_chain {
	struct chain_id id;
	char format[AGENT_FORMAT_NAME_MAX + 1];
	bool is_ledger;       /* We keep its blocks ourselves. */
	uint64_t next_height; /* Ledger: of the next block to seal. Else: first header not seen. */
	struct hash tip;      /* Of next_height - 1; zero for none. */
	int64_t tip_time_ms;  /* Time of that block: the next one's is not before it. */
	uint64_t oldest_height; /* Ledger: lowest block still held; next_height if none. */
	uint64_t durable_next;  /* The gateway's custody receipts reach up to here. */
	uint64_t anchored_next; /* Receipts without a hole reach up to here. */
	uint64_t entry_next;    /* Number of the next entry; entries are numbered from 0. */
	uint64_t entry_sealed;  /* Entries below are in blocks. */
	uint64_t open_bytes;    /* Of the entries between. */
	int64_t open_since_ms;  /* Wall clock of the oldest of them; 0 for none. */
	bool pinned;
	uint8_t store_uuid[STORE_UUID_SIZE]; /* The gateway store that this chain is handed to. */
	int64_t added_ms;
};

struct agent_chain_new {
	struct chain_id id;
	const char *format;
	bool is_ledger;
	/* Ledger: its genesis block, stored as height 0. Else NULL. */
	const struct block_header *genesis;
	struct bytes genesis_raw;
	int64_t now_ms;
};
/* Errors: ZR_STATE  known already. */
bool agent_chain_add(struct agent_store *store, const struct agent_chain_new *chain,
                     struct err *err) MUST_CHECK;
/* Errors: ZR_STATE  no such chain. */
bool agent_chain(struct agent_store *store, const struct chain_key *chain,
                 struct agent_chain *out_chain, struct err *err) MUST_CHECK;
/* The newest chain under a name, whatever its epoch. *out_found: is there one? */
bool agent_chain_by_name(struct agent_store *store, const char *name, struct agent_chain *out_chain,
                         bool *out_found, struct err *err) MUST_CHECK;
bool agent_chains_page(struct agent_store *store, const struct chain_key *after,
                       struct agent_chain *out_chains, size_t count_max, size_t *out_count,
                       struct err *err) MUST_CHECK;

/* Pins the gateway's store. Another one than the pinned is refused until agent_unpin().
 * Errors: ZR_STATE  another one is pinned. */
bool agent_pin(struct agent_store *store, const struct chain_key *chain,
               const uint8_t uuid[STORE_UUID_SIZE], struct err *err) MUST_CHECK;
bool agent_unpin(struct agent_store *store, const struct chain_key *chain,
                 struct err *err) MUST_CHECK;

/* ---- ledger: entries and blocks ---- */

struct agent_append {
	struct chain_key chain;
	const struct bytes *entries; /* Each of 1 to AGENT_ENTRY_MAX_BYTES. */
	size_t entry_count;
	struct bytes
		position; /* Kept with them: how far their source was read. Empty: unchanged. */
	int64_t now_ms;
};
/* True: the entries are ours, and the producer may be told so. *out_first: number of the first.
 * Errors: ZR_FULL  the store's limit or the disk's; nothing was stored.  ZR_INVALID  a size. */
bool agent_ledger_append(struct agent_store *store, const struct agent_append *append,
                         uint64_t *out_first, struct err *err) MUST_CHECK;

/* Entries not sealed yet, copied out. Begin with AGENT_ENTRIES_EMPTY; may be used again. */
struct agent_entries {
	struct buffer data; /* One after the other, */
	size_t *sizes;      /* of these sizes. Owned. */
	size_t count;
	size_t capacity;
};
#define AGENT_ENTRIES_EMPTY ((struct agent_entries){ .data = BUFFER_EMPTY })
void agent_entries_fini(struct agent_entries *entries);
/* The oldest first, at most count_max and, but for the first, bytes_max. */
bool agent_ledger_open_entries(struct agent_store *store, const struct chain_key *chain,
                               size_t count_max, size_t bytes_max, struct agent_entries *entries,
                               struct err *err) MUST_CHECK;

/* Stores a block and takes the oldest entry_count open entries away, in one transaction.
 * Errors: ZR_STATE  not next_height, not on the tip, or fewer entries are open.
 *         ZR_FULL   nothing was changed. */
bool agent_ledger_seal(struct agent_store *store, const struct chain_key *chain,
                       const struct block_header *header, struct bytes raw, size_t entry_count,
                       struct err *err) MUST_CHECK;

/* Appends the raw block to out_raw. Errors: ZR_STATE  pruned, or not there. */
bool agent_block(struct agent_store *store, const struct chain_key *chain, uint64_t height,
                 struct buffer *out_raw, struct err *err) MUST_CHECK;

/* How far a source was read (file offset, last entry of a folder, ...): the agent's own bytes. */
bool agent_position_put(struct agent_store *store, const struct chain_key *chain,
                        struct bytes position, struct err *err) MUST_CHECK;
bool agent_position_get(struct agent_store *store, const struct chain_key *chain,
                        struct buffer *out_position, struct err *err) MUST_CHECK;

/* ---- headers: of blocks of any source, so that proofs can be built when the blocks are gone ---- */

/* Follows next_height and tip, for chains that are no ledger. Headers below next_height are left
 * alone if they are the same. Several in one transaction. With next_height 0 the first may have any
 * height.
 * Errors: ZR_STATE  a hole, or another block than we know (a fork at the source). */
bool agent_headers_put(struct agent_store *store, const struct chain_key *chain,
                       const struct block_header *headers, size_t count,
                       struct err *err) MUST_CHECK;
struct agent_range {
	struct chain_key chain;
	uint64_t from, to; /* Both within. */
};
/* Those that are known, in order; fewer than asked for: go on after the last. */
bool agent_headers(struct agent_store *store, const struct agent_range *range,
                   struct block_header *out_headers, size_t count_max, size_t *out_count,
                   struct err *err) MUST_CHECK;

/* ---- receipts ---- */

struct agent_custody {
	uint64_t from, to;
	struct hash tip;
	struct hash content;
	uint8_t store_uuid[STORE_UUID_SIZE];
};
/* receipt: the CustodyReceipt message, packed. Moves durable_next to to + 1 if that is higher; the
 * newest AGENT_CUSTODY_KEPT are kept. */
bool agent_custody_put(struct agent_store *store, const struct chain_key *chain,
                       const struct agent_custody *custody, struct bytes receipt,
                       struct err *err) MUST_CHECK;
/* The newest one. */
bool agent_custody_newest(struct agent_store *store, const struct chain_key *chain,
                          struct agent_custody *out_custody, struct buffer *out_receipt,
                          bool *out_found, struct err *err) MUST_CHECK;

struct agent_anchored {
	uint64_t from, to;
	struct hash root; /* Of the anchor: names the message. */
	uint16_t lane;
	uint64_t seq;
	uint32_t entry_index; /* Which entry of the message is this run's. */
};
/* message: the Anchored message, packed, its signature checked; stored once for all its runs. Moves
 * anchored_next of each chain as far as runs follow each other. Repeating it changes nothing.
 * Errors: ZR_STATE  no such chain. */
struct agent_anchored_run {
	struct chain_key chain;
	struct agent_anchored anchored;
};
bool agent_anchored_put(struct agent_store *store, struct bytes message,
                        const struct agent_anchored_run *runs, size_t count,
                        struct err *err) MUST_CHECK;
/* The run that has block `height`, and its message (out_message may be NULL). */
bool agent_anchored(struct agent_store *store, const struct chain_key *chain, uint64_t height,
                    struct agent_anchored *out_anchored, struct buffer *out_message,
                    bool *out_found, struct err *err) MUST_CHECK;
/* Runs from the one that has block `from`, or the first above it, in order. */
bool agent_anchored_page(struct agent_store *store, const struct chain_key *chain, uint64_t from,
                         struct agent_anchored *out_runs, size_t count_max, size_t *out_count,
                         struct err *err) MUST_CHECK;

/* ---- pruning ---- */

/* Deletes at most count_max raw blocks below `below`; the genesis and every header stay. *out_more:
 * call again. */
bool agent_prune(struct agent_store *store, const struct chain_key *chain, uint64_t below,
                 size_t count_max, bool *out_more, struct err *err) MUST_CHECK;
/* Deletes receipts and headers of runs wholly below `below`: a proof of those blocks cannot be built
 * here any more. */
bool agent_prune_receipts(struct agent_store *store, const struct chain_key *chain, uint64_t below,
                          size_t count_max, bool *out_more, struct err *err) MUST_CHECK;

/* ---- small named values: last authenticated gateway time, ... ---- */

bool agent_meta_put(struct agent_store *store, const char *name, struct bytes value,
                    struct err *err) MUST_CHECK;
bool agent_meta_get(struct agent_store *store, const char *name, struct buffer *out,
                    struct err *err) MUST_CHECK;
/* The highest gateway time that was ever authenticated; 0: none. Writing a lower one is no change. */
bool agent_gateway_time_put(struct agent_store *store, int64_t time_ms, struct err *err) MUST_CHECK;
bool agent_gateway_time(struct agent_store *store, int64_t *out_time_ms,
                        struct err *err) MUST_CHECK;

#endif
