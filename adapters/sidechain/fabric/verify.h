/* verify.h -- a block under a trust set; what the two do is in adapters/sidechain.h. */
#ifndef ZR_ADAPTERS_SIDECHAIN_FABRIC_VERIFY_H
#define ZR_ADAPTERS_SIDECHAIN_FABRIC_VERIFY_H

#include "adapters/sidechain/fabric/trust.h"

bool fabric_verify(const struct trust *trust, const struct block *block, struct err *err);
bool fabric_admits(const struct trust *trust, const struct block *block, struct err *err);

#endif
