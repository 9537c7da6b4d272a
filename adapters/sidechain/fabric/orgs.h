/* orgs.h -- the organisations of one channel, by the name their identities carry.
 *
 * An organisation is taken apart when somebody names it: a channel has many that never sign a
 * block, some of a kind we could not take apart at all.
 */
#ifndef ZR_ADAPTERS_SIDECHAIN_FABRIC_ORGS_H
#define ZR_ADAPTERS_SIDECHAIN_FABRIC_ORGS_H

#include "adapters/sidechain/fabric/msp.h"

struct org {
	struct bytes name;
	struct bytes value;
	struct msp *msp; /* Owned. NULL until named. */
};

struct orgs {
	struct org *list; /* Owned. */
	size_t count;
	enum msp_level level;
};

/* Of the groups Orderer and Application of a checked channel group, which is borrowed until
 * orgs_fini().
 * Errors: ZR_UNTRUSTED  one name is defined in two ways. */
bool orgs_init(struct orgs *orgs, struct bytes channel_group, enum msp_level level,
               struct err *err) MUST_CHECK;
void orgs_fini(struct orgs *orgs);

/* *out_msp is NULL if the channel has no such organisation.
 * Errors: as msp_new(). */
bool orgs_load(struct orgs *orgs, struct bytes name, const struct msp **out_msp,
               struct err *err) MUST_CHECK;
/* NULL: not one that was loaded. */
const struct msp *orgs_find(const struct orgs *orgs, struct bytes name);

#endif
