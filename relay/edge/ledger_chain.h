/* ledger_chain.h -- one `ledger` chain in the agent's store: genesis, entries, blocks.
 *
 * Made at the first start with the configured key; the genesis is then written to the file that
 * chains[].trust names, to be given to the zone. From then on store and file must fit together: a
 * file without its chain means that the store was lost, and beginning anew under the same genesis
 * would fork the chain.
 */
#ifndef ZR_EDGE_LEDGER_CHAIN_H
#define ZR_EDGE_LEDGER_CHAIN_H

#include "config/config.h"
#include "relay/base/clock.h"
#include "spool/agent.h"

struct ledger_chain;

/* Keeps store and clock, borrows config. Gives *out_chain.
 * Errors: ZR_INVALID    the key is not of the suite, cannot be read, or may not seal this chain.
 *         ZR_STATE      the pinned genesis is of a chain that the store does not have. */
bool ledger_chain_open(struct ledger_chain **out_chain, const struct edge_chain_config *config,
                       struct agent_store *store, const struct clock *clock,
                       struct err *err) MUST_CHECK;
void ledger_chain_close(struct ledger_chain *chain); /* NULL is allowed. */

/* As stored. Borrowed, and kept up to date. */
const struct agent_chain *ledger_chain_facts(const struct ledger_chain *chain);
/* Reads them again, after others changed the store. */
bool ledger_chain_refresh(struct ledger_chain *chain, struct err *err) MUST_CHECK;
/* It appended or sealed, and then could not read what is there: only a new start may go on. */
bool ledger_chain_is_behind(const struct ledger_chain *chain);

/* One commit. True: they are on the disk; the first has this number.
 * Errors: ZR_FULL  a limit, kept so that sealing still has room; nothing was stored. */
bool ledger_chain_append(struct ledger_chain *chain, const struct bytes *entries, size_t count,
                         struct bytes position, uint64_t *out_first, struct err *err) MUST_CHECK;
/* Seals the oldest open entries, at most count_max of at most bytes_max together (but always one),
 * into the next block. There is one at least. *out_bytes: of the block. */
bool ledger_chain_seal(struct ledger_chain *chain, size_t count_max, size_t bytes_max,
                       size_t *out_entries, size_t *out_bytes, struct err *err) MUST_CHECK;

#endif
