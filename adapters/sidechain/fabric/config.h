/* config.h -- the tree inside a config block: groups, and in each of them values and policies.
 *
 * The whole tree is checked once (config_decode()); looking something up afterwards cannot fail for
 * its form. Everything is borrowed from the block.
 */
#ifndef ZR_ADAPTERS_SIDECHAIN_FABRIC_CONFIG_H
#define ZR_ADAPTERS_SIDECHAIN_FABRIC_CONFIG_H

#include "relay/base/bytes.h"
#include "relay/base/err.h"

enum config_kind { CONFIG_GROUP = 2, CONFIG_VALUE = 3, CONFIG_POLICY = 4 };

struct config {
	uint64_t sequence;
	struct bytes channel_group;
};

/* content: what a CONFIG envelope carries.
 * Errors: ZR_INVALID  malformed, a name twice, or nested or crowded beyond reason. */
bool config_decode(struct bytes content, struct config *out_config, struct err *err) MUST_CHECK;

/* What stands under name: a group, the bytes of a value, or a policy. False: nothing does. */
bool config_find(struct bytes group, enum config_kind kind, struct bytes name,
                 struct bytes *out_found);

/* Walks the members of one kind, in the order they stand: start with at = group. */
bool config_next(struct bytes *at, enum config_kind kind, struct bytes *out_name,
                 struct bytes *out_found);

/* The two halves of a policy as config_find() gives it. */
struct config_policy {
	uint64_t type; /* enum config_policy_type, or something newer. */
	struct bytes content;
};
enum config_policy_type { CONFIG_POLICY_SIGNATURE = 1, CONFIG_POLICY_IMPLICIT_META = 3 };
/* False: malformed. */
bool config_policy_decode(struct bytes policy, struct config_policy *out_policy);

#endif
