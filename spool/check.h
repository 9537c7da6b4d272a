/* check.h -- what must hold among the rows about one chain; shared by scrub and verify. Nobody
 * outside spool/ includes it. */
#ifndef ZR_SPOOL_CHECK_H
#define ZR_SPOOL_CHECK_H

#include "spool/spool_private.h"
#include "spool/upkeep.h"

/* The record's own arithmetic, its row in table pending, its items in quarantine, its trust set. All
 * in the transaction that read the record. Fails txn with ZR_CORRUPT at the first difference. */
void spool_check_chain(struct txn *txn, const struct spool_chain *chain);

/* The walk over one chain's rows: begin, then rows until it is false. */
void spool_check_begin(struct spool_scrub *scrub, const struct spool_chain *chain);
/* Looks at one row of heights and its batch. False: the chain's walk is over (or txn failed, with
 * scrub already behind the bad place). */
bool spool_check_row(struct txn *txn, const struct spool_chain *chain, struct spool_scrub *scrub);

#endif
