/* pinned.h -- what an operator pins for a chain, as the zone file names it.
 *
 * Threads: any.
 */
#ifndef ZR_RELAY_PINNED_H
#define ZR_RELAY_PINNED_H

#include "config/config.h"
#include "proto/record.h"
#include "relay/base/bytes.h"
#include "relay/base/err.h"

/* What is pinned for a chain: its trust set as saved, its identity, and where it begins. */
struct pinned {
	struct chain_id id;
	struct buffer trust;   /* Owned: pinned_fini(). */
	uint64_t first_height; /* 0, or one above the pinned block. */
	struct hash tip;       /* Of the pinned block, where first_height is not 0. */
};
void pinned_fini(struct pinned *pinned);
/* Errors: ZR_UNAVAILABLE  the file.  ZR_INVALID  format, content, or another genesis than the zone
 *         file says.  ZR_UNTRUSTED  rules that we cannot evaluate. */
bool pinned_read(struct pinned *out_pinned, const struct chain_config *chain,
                 struct err *err) MUST_CHECK;
bool pinned_from_bytes(struct pinned *out_pinned, const struct chain_config *chain,
                       struct bytes bytes, struct err *err) MUST_CHECK;

#endif
