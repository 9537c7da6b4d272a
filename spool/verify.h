/* verify.h -- the rows of each table against each other; see verify.c. Nobody outside spool/
 * includes it. */
#ifndef ZR_SPOOL_VERIFY_H
#define ZR_SPOOL_VERIFY_H

#include "spool/contain.h"
#include "spool/spool_private.h"

/* Sums over all rows, to be compared with the totals. */
struct verify_sums {
	uint64_t chain_count;
	uint64_t held_batches, held_bytes, final_bytes;
	uint64_t received_blocks, duplicate_blocks, quarantined_blocks, tombstoned_blocks;
	uint64_t anchored_blocks;
	uint64_t quarantine_bytes;
	uint64_t entry_count;       /* Of all anchors: as many rows has table coverage. */
	uint64_t tombstoned_by_row; /* What the rows of table tombstones add up to. */
	uint64_t dropped_blocks;    /* Tombstoned without a row. */
};

/* Decodes one row and looks at what it points to. Fails txn with ZR_CORRUPT where it is wrong. */
void verify_row(struct txn *txn, enum spool_table table, struct bytes key, struct bytes value,
                struct verify_sums *sums);

#endif
