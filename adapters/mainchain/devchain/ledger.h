/* ledger.h -- the durable state of the development main chain: blocks, anchors, lanes, batches.
 *
 * Honest in everything that docs/mainchain-api.yaml promises: a key is recorded once, in order, under
 * the fence in force, and what a call says was done is on the disk. A block's header is signed when
 * the block is final, never before. Reading "as of" an older height answers as a node would that has
 * not got further.
 *
 * A block, with everything in it, is one transaction of the store, so a crash leaves all or nothing
 * of it.
 *
 * Threads: one.
 */
#ifndef ZR_ADAPTERS_MAINCHAIN_DEVCHAIN_LEDGER_H
#define ZR_ADAPTERS_MAINCHAIN_DEVCHAIN_LEDGER_H

#include <stdint.h>

#include "adapters/mainchain/api.h"
#include "adapters/mainchain/evidence_record.h"

#define LEDGER_DETAIL_SIZE    160
#define LEDGER_SNAPSHOTS_MAX  64
#define LEDGER_BLOCK_MAX      256 /* Submissions in one block. */
#define LEDGER_BLOCKS_AT_ONCE 1000

struct ledger;

struct ledger_options {
	const char *dir; /* The store's folder. */
	const struct key
		*key;      /* Signs headers; its suite gives the hash. Kept until ledger_close(). */
	const char *chain; /* ledger_create(): the main chain's name. */
	uint64_t size_bytes; /* Limit of the store; opening: 0 keeps it. */
	bool read_only;      /* Opening: beside a running owner; key may be NULL. */
};

bool ledger_exists(const char *dir);
/* Errors as store_create(). */
bool ledger_create(const struct ledger_options *options, struct err *err) MUST_CHECK;
/* Errors as store_open(), and ZR_INVALID: the key's suite is not the ledger's. */
bool ledger_open(struct ledger **out_ledger, const struct ledger_options *options,
                 struct err *err) MUST_CHECK;
void ledger_close(struct ledger *ledger); /* NULL is allowed. */

const char *ledger_chain(const struct ledger *ledger);
enum hash_alg ledger_alg(const struct ledger *ledger);
uint64_t ledger_height(const struct ledger *ledger);
uint64_t ledger_final_height(const struct ledger *ledger);
/* Is every block final that records something? */
bool ledger_is_settled(struct ledger *ledger);

/* ---- batches ---- */

/* out_before: it was stored already. content is the SHA-256 of payload. */
bool ledger_put_batch(struct ledger *ledger, const struct hash *content, struct bytes payload,
                      bool *out_before, struct err *err) MUST_CHECK;
bool ledger_get_batch(struct ledger *ledger, const struct hash *content, struct buffer *out,
                      bool *out_found, struct err *err) MUST_CHECK;

/* ---- anchors ---- */

struct ledger_place {
	struct main_transaction transaction; /* Lane, seq, root, key, fence. */
	uint64_t block;
	uint32_t index; /* In the block. */
};

/* What the ledger says of one submission. */
struct ledger_verdict {
	bool accepted;
	bool before;               /* accepted: it was recorded already, at place. */
	struct ledger_place place; /* accepted, and recorded. */
	enum api_reason reason;    /* Not accepted. */
	int64_t entry_index;       /* API_CONTENT; -1: none. */
	struct hash content;       /* API_MISSING */
	uint64_t fence;            /* API_FENCED: in force. */
	char detail[LEDGER_DETAIL_SIZE];
};

struct ledger_submission {
	uint16_t lane;
	struct hash key;
	uint64_t fence;
	struct bytes content; /* Borrowed. */
	struct ledger_verdict verdict;
};

/* How the next blocks are made. */
struct ledger_rules {
	uint64_t finality_blocks; /* A block is final when so many came after it. */
	bool hold_finality;       /* Nothing becomes final. */
	bool (*refuses)(const char *chain, void *arg); /* NULL: no chain is refused. */
	void *arg;
};

/* Fills in verdict as things stand now and records nothing; accepted then means: could be. */
bool ledger_judge(struct ledger *ledger, struct ledger_submission *submission,
                  const struct ledger_rules *rules, struct err *err) MUST_CHECK;

/* Makes one block of the submissions that are acceptable, in their order, and fills in each verdict.
 * At most LEDGER_BLOCK_MAX. All or nothing.
 * Errors: ZR_FULL  the store; nothing was done.  ZR_IO  the disk. */
bool ledger_make_block(struct ledger *ledger, struct ledger_submission *const *submissions,
                       size_t count, const struct ledger_rules *rules, int64_t now_ms,
                       struct err *err) MUST_CHECK;

/* The place of key in lane in blocks up to as_of. */
bool ledger_find(struct ledger *ledger, uint16_t lane, const struct hash *key, uint64_t as_of,
                 bool *out_found, struct ledger_place *out_place, struct err *err) MUST_CHECK;
/* The key of anchor seq of lane. */
bool ledger_sequence(struct ledger *ledger, uint16_t lane, uint64_t seq, struct hash *out_key,
                     bool *out_found, struct err *err) MUST_CHECK;
bool ledger_content(struct ledger *ledger, const struct hash *key, struct buffer *out,
                    bool *out_found, struct err *err) MUST_CHECK;
/* The block of place must be final. Appends. */
bool ledger_evidence(struct ledger *ledger, const struct ledger_place *place, struct buffer *out,
                     struct err *err) MUST_CHECK;

/* ---- lanes ---- */

struct ledger_head {
	uint64_t seq; /* 0, and zero hashes: none. */
	struct hash root, key;
	uint64_t fence;
};

bool ledger_head(struct ledger *ledger, uint16_t lane, uint64_t as_of, struct ledger_head *out_head,
                 struct err *err) MUST_CHECK;
/* Compare-and-swap. out_fence: in force afterwards, whoever has it. */
bool ledger_fence(struct ledger *ledger, uint16_t lane, uint64_t expected, bool *out_acquired,
                  uint64_t *out_fence, struct err *err) MUST_CHECK;

/* ---- blocks ---- */

struct ledger_block {
	struct buffer record; /* Its header. */
	bool final;           /* Then it is signed. */
	struct hash key_id;
	struct signature signature;
	struct buffer transactions; /* Records of MAIN_TRANSACTION_SIZE, one after the other. */
};
#define LEDGER_BLOCK_EMPTY ((struct ledger_block){ .record = BUFFER_EMPTY })

void ledger_block_fini(struct ledger_block *block);
/* Begin with LEDGER_BLOCK_EMPTY. */
bool ledger_block(struct ledger *ledger, uint64_t height, bool *out_found,
                  struct ledger_block *out_block, struct err *err) MUST_CHECK;

/* ---- going back (ledger_rewind.c) ---- */

/* Drops at most count of the newest blocks that are not final, with all they recorded, and makes one
 * more empty block than that, so that the height does not go back: another branch became the longer
 * one. out_dropped: blocks. Fences stay. */
bool ledger_reorganise(struct ledger *ledger, uint64_t count, const struct ledger_rules *rules,
                       int64_t now_ms, uint64_t *out_dropped, struct err *err) MUST_CHECK;
/* Remembers how everything is now, under a name; a snapshot of that name is replaced.
 * Errors: ZR_FULL  LEDGER_SNAPSHOTS_MAX. */
bool ledger_snapshot(struct ledger *ledger, const char *name, struct err *err) MUST_CHECK;
/* Everything is again as it was then, final or not: a node restored from an old copy.
 * Errors: ZR_INVALID  no such snapshot, or the ledger is behind it. */
bool ledger_restore(struct ledger *ledger, const char *name, struct err *err) MUST_CHECK;

/* ---- the audit (ledger_audit.c) ---- */

struct ledger_range {
	uint64_t from, to;
};

/* One side chain: what of it is in anchors. Arrays are borrowed from the audit. */
struct ledger_audit_chain {
	struct chain_id id;
	struct ledger_range *anchored; /* Rising, not touching. */
	size_t anchored_count;
	uint64_t blocks;     /* Different heights. */
	uint64_t duplicates; /* Heights, once for each time too many. */
};

struct ledger_audit {
	struct ledger_audit_chain *chains;
	size_t count;
};
#define LEDGER_AUDIT_EMPTY ((struct ledger_audit){ NULL, 0 })

/* name NULL: every chain. Begin with LEDGER_AUDIT_EMPTY; end with ledger_audit_fini(). */
bool ledger_audit(struct ledger *ledger, const char *name, struct ledger_audit *audit,
                  struct err *err) MUST_CHECK;
void ledger_audit_fini(struct ledger_audit *audit);

#endif
