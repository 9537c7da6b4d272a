/* fabric.h -- format `fabric`: channels of Hyperledger Fabric 1.4.1 and later, 2.x, 3.x (BFT).
 *
 *     block.[ch]     a block cut into its parts; header hash, data hash, canonical envelopes
 *     envelope.[ch]  what an envelope says about itself: channel, type, time
 *     config.[ch]    the tree of groups, values and policies inside a config block
 *     msp.[ch]       an organisation: its authorities, revocations, and which certificate is what
 *     policy.[ch]    who must have signed a block
 *     trust.[ch]     all of that together, as one config block gives it
 *     verify.c       a block under a trust set
 *
 * What Fabric accepts that has two meanings is refused here; what Fabric ignores (validity flags,
 * expiry of certificates) is ignored here too. docs/FABRIC.md says what a Raft block's one
 * signature proves and what it does not.
 */
#ifndef ZR_ADAPTERS_SIDECHAIN_FABRIC_FABRIC_H
#define ZR_ADAPTERS_SIDECHAIN_FABRIC_FABRIC_H

#include "adapters/sidechain.h"

const struct sidechain *fabric_format(void);

#endif
