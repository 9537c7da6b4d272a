/* receipts.h -- the key that signs receipts, the certificates that vouch for it, and former ones.
 *
 * Threads: immutable once read; the private key goes to the writer.
 */
#ifndef ZR_RELAY_RECEIPTS_H
#define ZR_RELAY_RECEIPTS_H

#include "config/config.h"
#include "proto/link.h"
#include "proto/receipt.h"
#include "relay/base/crypto.h"

struct receipts {
	struct cert *certificate;                   /* Owned, like the rest. */
	struct cert *former[LINK_CERTIFICATES_MAX]; /* Of keys that were used before. */
	size_t former_count;
};

/* Errors: ZR_UNAVAILABLE  a file.  ZR_INVALID  the certificate is not the key's; too many. */
bool receipts_read(struct receipts *out_receipts, struct key **out_key,
                   const struct config_receipts *config, struct err *err) MUST_CHECK;
void receipts_fini(struct receipts *receipts);
/* The public key that a receipt names, or NULL: not ours. */
const struct key *receipts_key(const struct receipts *receipts, struct bytes key_id);

#endif
