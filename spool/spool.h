/* spool.h -- the gateway's durable queue: every block we have promised to deliver.
 *
 * The spool is the truth; memory only caches it. This header opens and closes it and has its
 * transactions; what can be done inside one is in
 *
 *     spool/chains.h      chains: identity, state, watermarks, counters, trust sets
 *     spool/batches.h     batches: put, read; what is pending
 *     spool/anchors.h     anchors: intent, state, receipt; from a block to its anchor
 *     spool/quarantine.h  what was refused, what was removed, and evidence
 *     spool/audit.h       what operators did; dictionaries; small named values
 *     spool/upkeep.h      pruning and the paced recount
 *     spool/tools.h       offline: verify, backup, restore, salvage
 *
 * docs/SPOOL-FORMAT.md has every table with its bytes.
 *
 * Changes. One thread, the writer, composes them: begin, any number of operations, commit. An
 * operation that is refused (false with ZR_STATE, ZR_INVALID or ZR_FULL while spool_txn_ok()) has
 * changed nothing, and the transaction goes on with the others: one bad neighbour does not cost the
 * group. A failure of the store itself sticks: every later operation fails, and so does the commit.
 *
 * Reading. Functions that take a struct spool open a short read transaction of their own, see the
 * last commit, copy what they give, and may be called from any thread. "No such ..." is ZR_STATE.
 */
#ifndef ZR_SPOOL_SPOOL_H
#define ZR_SPOOL_SPOOL_H

#include "spool/txn.h"

/* Stored: never renumber. docs/SPOOL-FORMAT.md lists them too. */
enum spool_table {
	SPOOL_BATCHES = 0,       /* arrival number -> batch header, payload */
	SPOOL_HEIGHTS = 1,       /* chain, first height -> arrival number, header records */
	SPOOL_CHAINS = 2,        /* chain -> identity, state, watermarks, counters */
	SPOOL_NAMES = 3,         /* chain name -> chain of its newest epoch */
	SPOOL_PENDING = 4,       /* sink, class, chain -> from height */
	SPOOL_ANCHORS = 5,       /* sink, lane, seq -> state */
	SPOOL_ENTRIES = 6,       /* sink, lane, seq -> entry records */
	SPOOL_COVERAGE = 7,      /* sink, chain, to height -> lane, seq, index of the entry */
	SPOOL_RECEIPTS = 8,      /* sink, lane, seq -> the main chain's evidence, our signature */
	SPOOL_TRUST = 9,         /* chain, from height -> saved trust set */
	SPOOL_QUARANTINE = 10,   /* number -> reason, payload */
	SPOOL_SUSPECTS = 11,     /* chain, content hash -> number in quarantine */
	SPOOL_EVIDENCE = 12,     /* number -> bundle */
	SPOOL_TOMBSTONES = 13,   /* chain, from height, number -> who, why, hash */
	SPOOL_AUDIT = 14,        /* number -> hash-chained record */
	SPOOL_REQUESTS = 15,     /* request id -> audit number */
	SPOOL_DICTIONARIES = 16, /* SHA-256 -> dictionary */
	SPOOL_META = 17,         /* name -> value */
	SPOOL_TABLE_COUNT = 18,
};

const char *spool_table_name(enum spool_table table);

struct spool;

struct spool_create_options {
	const char *dir;
	uint64_t size_bytes;
	bool allocate; /* True in service; tests may say false. */
	int64_t now_ms;
};

/* As store_create(). */
bool spool_create(const struct spool_create_options *options, struct err *err) MUST_CHECK;
bool spool_exists(const char *dir);

struct spool_options {
	const char *dir;
	enum store_mode mode;
	uint64_t size_bytes;    /* 0: as created. */
	uint64_t reserve_bytes; /* Kept from intake, for receipts and deletes; 0: a sixteenth. */
	/* What quarantine keeps whole; beyond it items are counted and hashed only. */
	uint32_t quarantine_count_max; /* Items of one chain; 0: 64. */
	uint64_t quarantine_bytes_max; /* Of all chains, one chain at most a quarter; 0: 256 MiB. */
};

/* Errors as store_open(). */
bool spool_open(struct spool **out_spool, const struct spool_options *options,
                struct err *err) MUST_CHECK;
void spool_close(struct spool *spool); /* NULL is allowed. */

struct store *spool_store(struct spool *spool);       /* Borrowed. */
const uint8_t *spool_uuid(const struct spool *spool); /* STORE_UUID_SIZE bytes; borrowed. */
/* New limits (reload of the configuration), as in spool_options; what is there already stays. Any
 * thread. Errors: ZR_INVALID  a reserve over half of the spool; the old one stays. */
void spool_set_quarantine_max(struct spool *spool, uint64_t bytes_max);
bool spool_set_reserve(struct spool *spool, uint64_t reserve_bytes, struct err *err) MUST_CHECK;
bool spool_is_poisoned(const struct spool *spool); /* As store_is_poisoned(). */

/* ---- transactions ---- */

enum spool_work {
	SPOOL_INTAKE, /* New batches, quarantine, chains: stops at the mark (size minus reserve). */
	SPOOL_UPKEEP, /* Anchors, receipts, deletes, states, audit: may use the reserve. */
};

/* Totals over all chains, kept in the same transactions. */
struct spool_totals {
	uint64_t
		commit_number; /* Of the last intake commit; rises for ever, also over a restore. */
	uint64_t arrival_next; /* Number of the next batch. */
	uint64_t chain_count;
	uint64_t held_batches; /* Batches whose payload is held, */
	uint64_t held_bytes;   /* and the bytes of these payloads as they arrived. */
	uint64_t final_bytes;  /* Of held_bytes: anchored, waiting for retention. */
	uint64_t received_blocks, duplicate_blocks, quarantined_blocks, tombstoned_blocks;
	uint64_t anchored_blocks;
	uint64_t anchor_count;     /* Anchors that became final. */
	uint64_t quarantine_bytes; /* Payloads kept in quarantine. */
	uint64_t quarantine_next, evidence_next, tombstone_next, audit_next; /* Numbers. */
	struct hash audit_head; /* Hash of the last audit record. */
	int64_t restored_ms;    /* Wall clock of the restore this store came from; 0: none. */
};

/* On the writer's stack; fields are the spool's own. */
struct spool_txn {
	struct txn txn;
	struct spool *spool;
	enum spool_work work;
	struct spool_totals totals;
	bool intake_done;   /* Something was taken in: commit_number rises. */
	bool pages_counted; /* Once per transaction is enough. */
};

/* Always to be ended by spool_commit() or spool_abort(). */
void spool_begin(struct spool_txn *txn, struct spool *spool, enum spool_work work);

/* The number that this transaction's custody root has if it commits. Known from the beginning, so
 * that the root may be built before, and signed after, the commit. */
uint64_t spool_commit_number(const struct spool_txn *txn);

bool spool_txn_ok(const struct spool_txn *txn);

/* True: on the disk. False: nothing of it was stored.
 * Errors: ZR_FULL  no room; nothing else is wrong.   ZR_IO  poisoned: exit.
 *         ZR_CORRUPT  a damaged row was met. */
bool spool_commit(struct spool_txn *txn, struct err *err) MUST_CHECK;
void spool_abort(struct spool_txn *txn); /* Harmless after a commit. */

/* ---- how it stands ---- */

struct spool_stats {
	struct store_stats store;
	struct spool_totals totals;
	uint64_t used_bytes; /* Pages in use. */
	uint64_t limit_bytes;
	uint64_t mark_bytes; /* Intake stops here. */
	bool intake_full;    /* The mark is reached, or */
	bool disk_full;      /* the disk around a spool that was not allocated whole is full. */
};

bool spool_stats(struct spool *spool, struct spool_stats *out_stats, struct err *err) MUST_CHECK;
bool spool_totals(struct spool *spool, struct spool_totals *out_totals, struct err *err) MUST_CHECK;

/* Marks the store as no longer "restored from a copy": the operator has adopted. */
bool spool_adopted(struct spool_txn *txn, struct err *err) MUST_CHECK;

/* ---- small named values (table meta): prune cursors, the last fence seen, ... ---- */

#define SPOOL_META_NAME_MAX 64

/* Names begin with a letter; "." is the spool's own. An empty value removes it. */
bool spool_meta_put(struct spool_txn *txn, const char *name, struct bytes value,
                    struct err *err) MUST_CHECK;
/* Appends the value to out, which stays empty if there is none. */
bool spool_meta_get(struct spool *spool, const char *name, struct buffer *out,
                    struct err *err) MUST_CHECK;

/* A class's number in the pending index: given once per name, kept for ever, so that the order of
 * classes in the zone file may change. At most 255. */
bool spool_class_number(struct spool_txn *txn, const char *class_name, uint8_t *out_class,
                        struct err *err) MUST_CHECK;

#endif
