/* sinks.h -- the one table of main-chain adapters (adapters/mainchain.h). */
#ifndef ZR_RELAY_SINKS_H
#define ZR_RELAY_SINKS_H

#include "adapters/mainchain.h"

const struct mainchain_adapter *sink_find(const char *name); /* NULL: no such adapter. */
const struct mainchain_adapter *sink_at(size_t index);       /* NULL past the end. */

#endif
