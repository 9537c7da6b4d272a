/* restore.h -- after one side was restored from an older copy: making both agree again, by an
 * operator's decision and never by guessing.
 *
 *     our spool is the copy      the main chain has anchors we forgot: spool_anchor_import(), one after
 *                                the other, then nothing of them is pending any more
 *     the main chain is the copy anchors that were FINAL are gone there: spool_lane_rewind(), and they
 *                                are submitted again under their old keys
 */
#ifndef ZR_SPOOL_RESTORE_H
#define ZR_SPOOL_RESTORE_H

#include "spool/anchors.h"

/* One anchor as the main chain has it. */
struct spool_import {
	struct spool_anchor_id id;
	const struct anchor *anchor; /* Decoded from its content. */
	struct hash key;
	struct spool_receipt receipt;
	const char *who, *why;
	int64_t now_ms;
};

struct spool_import_result {
	uint32_t known_chains;   /* Entries of chains that this store has; */
	uint32_t unknown_chains; /* others are nothing to us. */
	uint64_t blocks_here;    /* Pending here until now; anchored from now on. */
	uint64_t heights_lost;   /* On the main chain and not here: declared lost. */
};

/* Takes over an anchor that the lane's newest one is the predecessor of. Of each of its chains:
 * blocks that were pending are anchored now; blocks that are not here are jumped over, with a
 * tombstone; the chain is ACTIVE afterwards. An entry that ends inside a batch of ours: that batch
 * and what follows it leave the store, with a tombstone, for the edge has them still.
 *
 * Errors: ZR_STATE  the lane has anchors that are not final, seq or previous root do not follow, or
 *                   an entry ends with another block than ours. */
bool spool_anchor_import(struct spool_txn *txn, const struct spool_import *import,
                         struct spool_import_result *out_result, struct err *err) MUST_CHECK;

/* Makes the newest FINAL anchors above `last` UNKNOWN again, at most count_max of them in this
 * transaction, newest first: watermarks and counters go back with them, receipts are dropped.
 * *out_more: call again.
 *
 * Errors: ZR_STATE  one of them was imported or adopted, and cannot be submitted from here. */
bool spool_lane_rewind(struct spool_txn *txn, const struct spool_anchor_id *last,
                       uint32_t count_max, bool *out_more, struct err *err) MUST_CHECK;

#endif
