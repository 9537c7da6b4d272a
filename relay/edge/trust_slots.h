/* trust_slots.h -- the trust set in force for a chain that is followed, through crashes.
 *
 * Headers and trust sets are stored in transactions of their own. So two slots are kept, each with
 * the height it is in force from: a new set goes into the slot that is not in force, before the
 * header of the block that brought it. After a crash the newest set that is not ahead of the stored
 * headers is the right one.
 */
#ifndef ZR_EDGE_TRUST_SLOTS_H
#define ZR_EDGE_TRUST_SLOTS_H

#include "adapters/sidechain.h"
#include "spool/agent.h"

/* The newest set in force at or below next_height. Gives *out_trust, NULL where none is stored.
 * Errors: ZR_CORRUPT  a slot cannot be read, and what the store has failed with. */
bool trust_slots_load(struct agent_store *store, const struct chain_key *chain,
                      const struct sidechain *format, uint64_t next_height,
                      struct trust **out_trust, uint64_t *out_from, struct err *err) MUST_CHECK;
/* trust is in force from `from` on, and the header of block from - 1 is not stored yet. */
bool trust_slots_store(struct agent_store *store, const struct chain_key *chain,
                       const struct sidechain *format, const struct trust *trust, uint64_t from,
                       struct err *err) MUST_CHECK;

#endif
