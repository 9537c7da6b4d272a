/* trusted.h -- what an operator trusts of a main chain behind the HTTP API.
 *
 * One or more PEM blocks (public keys, or certificates whose key counts and whose validity does not:
 * the file is the trust), and between them blank lines, comments that begin with '#', and at most
 * once each:
 *
 *     chain: NAME         evidence must be of the main chain of this name
 *     threshold: N        so many of the keys must have signed; 1 if not given
 *
 * Anything else is an error, so that a misspelt threshold is not silently 1.
 */
#ifndef ZR_ADAPTERS_MAINCHAIN_TRUSTED_H
#define ZR_ADAPTERS_MAINCHAIN_TRUSTED_H

#include <stddef.h>

#include "relay/base/bytes.h"
#include "relay/base/crypto.h"
#include "relay/base/err.h"

#define TRUSTED_SIZE_MAX ((size_t)1 << 20)
#define TRUSTED_KEYS_MAX 64

struct trusted; /* Immutable: may be shared between threads. */

/* Errors: ZR_INVALID  with the line. */
bool trusted_parse(struct bytes text, struct trusted **out_trusted, struct err *err) MUST_CHECK;
void trusted_free(struct trusted *trusted); /* NULL is allowed. */

size_t trusted_key_count(const struct trusted *trusted);
size_t trusted_threshold(const struct trusted *trusted);
const char *trusted_chain(const struct trusted *trusted); /* NULL: any. Borrowed. */
/* NULL: not one of them. Borrowed. */
const struct key *trusted_find(const struct trusted *trusted, const struct hash *key_id);

#endif
