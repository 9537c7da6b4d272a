/* crypto_internal.h -- what the crypto_*.c files share; nobody else includes it. */
#ifndef ZR_BASE_CRYPTO_INTERNAL_H
#define ZR_BASE_CRYPTO_INTERNAL_H

#include <openssl/evp.h>
#include <openssl/x509.h>

#include "relay/base/crypto.h"

/* err_set() with what failed and OpenSSL's own reason, whose queue is emptied. Returns false. */
bool crypto_fail(struct err *err, enum err_code code, const char *what);

/* Our key of an OpenSSL key of a suite we know; pkey is borrowed.
 * Errors: ZR_INVALID  another kind of key, or halves that do not belong together. */
bool key_from_evp(struct key **out_key, EVP_PKEY *pkey, struct err *err) MUST_CHECK;

X509 *cert_x509(const struct cert *cert); /* Borrowed. */

/* The standard's default distinguishing identifier of an SM2 signer. */
#define SM2_ID      "1234567812345678"
#define SM2_ID_SIZE 16

#endif
