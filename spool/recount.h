/* recount.h -- a chain's record and the indexes, made from the rows; for restore. Nobody outside
 * spool/ includes it. */
#ifndef ZR_SPOOL_RECOUNT_H
#define ZR_SPOOL_RECOUNT_H

#include "spool/spool_private.h"

/* Sums of what was made, for the totals. */
struct recount {
	struct spool_totals totals;
};

/* Index rows of one row: coverage of an anchor's entries, suspects, requests, names, evidence.
 * Raises the totals' next numbers. An anchor that was not final becomes UNKNOWN. */
void recount_row(struct txn *txn, enum spool_table table, struct bytes key, struct bytes value,
                 struct recount *recount);

/* Everything in the chain's record that follows from rows; its rows of names and pending; and takes
 * away what is beyond or below it. The record's own word counts for identity, state, next_height,
 * tip, first_height, lost heights, duplicates and what was dropped.
 * Fails txn with ZR_CORRUPT where there is a hole below next_height. */
void recount_chain(struct txn *txn, const struct chain_key *key, struct recount *recount);

/* A record for a chain of which only batches are left: RESTORED, delivery held, holes declared lost. */
void recount_found_chain(struct txn *txn, const struct chain_key *key, int64_t now_ms,
                         struct recount *recount);

#endif
