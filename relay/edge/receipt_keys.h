/* receipt_keys.h -- the keys that receipts of this gateway may be signed with.
 *
 * The gateway shows their certificates at every welcome; the zone's CA must have certified each. A
 * certificate of an agent does not count, whoever certified it.
 */
#ifndef ZR_EDGE_RECEIPT_KEYS_H
#define ZR_EDGE_RECEIPT_KEYS_H

#include "relay/base/bytes.h"
#include "relay/base/crypto.h"
#include "relay/base/err.h"

#define RECEIPT_KEYS_MAX 9 /* The one in use, and former ones. */

struct receipt_keys {
	struct cert *certs[RECEIPT_KEYS_MAX];
	size_t count;
};

void receipt_keys_clear(struct receipt_keys *keys);

/* Adds the key of one certificate (DER). at_ms: CERT_ANY_TIME for former ones.
 * Errors: ZR_UNTRUSTED  not certified by the zone CA, or of an agent.  ZR_INVALID  malformed. */
bool receipt_keys_add(struct receipt_keys *keys, struct bytes der, const struct cert_trust *trust,
                      int64_t at_ms, struct err *err) MUST_CHECK;

/* The key that a receipt names, or NULL. Borrowed. */
const struct key *receipt_keys_find(const struct receipt_keys *keys, struct bytes id);

#endif
