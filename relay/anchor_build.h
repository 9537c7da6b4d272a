/* anchor_build.h -- one anchor as it is submitted: chosen from what is pending, or read back from its
 * intent. Reads the spool, changes nothing.
 *
 * The content of an anchor follows from its entries alone, so a restarted gateway submits the same
 * bytes under the same key; anchor_draft_load() checks that it does.
 */
#ifndef ZR_RELAY_ANCHOR_BUILD_H
#define ZR_RELAY_ANCHOR_BUILD_H

#include "proto/record.h"
#include "relay/anchor_plan.h"
#include "spool/anchors.h"
#include "spool/batches.h"

struct anchor_draft {
	struct spool_anchor_id id;
	struct anchor anchor; /* Its arrays are the ones below. */
	struct hash key;
	struct buffer content;
	struct entry *entries;        /* Owned. */
	struct chain_key *chains;     /* Owned; of each entry. */
	struct block_header *headers; /* Owned; DELIVER_HEADERS only. */
	struct batch_ref *batches;    /* Owned; DELIVER_FULL only. */
	struct upload *uploads;       /* Owned; DELIVER_FULL only: where each batch is found. */
	size_t upload_count;
	/* After a failure: the chain whose rows could not be read, if it was one chain's fault. */
	bool has_culprit;
	struct chain_key culprit;
	/* ... or all rows could be read, and make another content than its key was made of: a payload
	 * was repaired with the same blocks in other bytes. */
	bool stale;
};

/* A payload the main chain must have before the anchor: a batch, or the dictionary it needs. */
struct upload {
	struct hash content;
	bool is_dictionary;
	bool held;              /* Of a batch: its payload was not pruned. */
	struct chain_key chain; /* The batch, or the first that needs the dictionary. */
	uint64_t height;
};

void anchor_draft_init(struct anchor_draft *draft);
void anchor_draft_fini(struct anchor_draft *draft);

/* Which classes and chains there are to choose from. */
struct anchor_choice {
	struct spool *spool;
	struct plan *plan;            /* plan_begin() was called, or it is probing suspects. */
	const uint8_t *class_numbers; /* In the spool, by class of the plan. */
	uint8_t sink;
};

/* Chooses entries by the plan. Nothing pending: true, with draft->anchor.entry_count 0.
 * Errors: ZR_NO_MEMORY, ZR_CORRUPT (names table and chain), ZR_IO. */
bool anchor_draft_choose(struct anchor_draft *draft, const struct anchor_choice *choice,
                         struct err *err) MUST_CHECK;

/* Completes what was chosen: subtree roots, root, content, key. draft->id and the anchor's alg,
 * deliver and previous are set by the caller. What is to be uploaded must be there.
 * Errors: ZR_NO_MEMORY; ZR_STATE, ZR_CORRUPT  rows that it needs are gone or damaged. */
bool anchor_draft_seal(struct anchor_draft *draft, struct spool *spool, struct err *err) MUST_CHECK;

/* Reads an intent back. Errors: ZR_STATE  no such anchor, or what it needs was pruned;
 *                              ZR_CORRUPT  its content is not what its key says. */
bool anchor_draft_load(struct anchor_draft *draft, struct spool *spool,
                       const struct spool_anchor_id *id, struct err *err) MUST_CHECK;

/* Notes that err is due to the rows of that chain, if it is of that kind. False, for return. */
bool anchor_draft_blame(struct anchor_draft *draft, const struct chain_key *chain,
                        const struct err *err);
/* After a failure of a draft that was read back: is it in its rows? *out_entry is the entry whose
 * they are, or -1 where it is stale. */
bool anchor_draft_unreadable(const struct anchor_draft *draft, int64_t *out_entry);

#endif
