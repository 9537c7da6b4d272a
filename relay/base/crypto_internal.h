/* crypto_internal.h -- what the crypto_*.c files share; nobody else includes it. */
#ifndef ZR_BASE_CRYPTO_INTERNAL_H
#define ZR_BASE_CRYPTO_INTERNAL_H

#include <openssl/evp.h>
#include <openssl/x509.h>

#include "relay/base/crypto.h"

#define RAW_SIZE_MAX  65u
#define SPKI_SIZE_MAX (RAW_SIZE_MAX + 26u)

/* What a suite is. */
struct suite_row {
	const char *name;
	const char *type;  /* OpenSSL's name of the kind of key. */
	const char *group; /* Its curve, where the type has several. */
	enum hash_alg hash;
	size_t raw_size;
	const char *spki_prefix; /* What precedes the raw bytes in SubjectPublicKeyInfo. */
	size_t spki_prefix_size;
	const char *order; /* n in hexadecimal; r and s are below it. */
};
const struct suite_row *suite_row(enum suite suite);

/* What verifying leaves behind for the next time; not part of what a key means. */
struct key_cache {
	_Atomic(EVP_PKEY_CTX *) spare; /* Owned. Ready to verify, or NULL. */
};

struct key {
	enum suite suite;
	EVP_PKEY *public_key;    /* Owned. May be the same as private_key. */
	EVP_PKEY *private_key;   /* Owned. NULL: a public key only. */
	struct key_cache *cache; /* Owned. */
	uint8_t spki[SPKI_SIZE_MAX];
	size_t spki_size;
	struct hash id;
	struct hash sm2_z; /* What precedes the message in an SM2 digest; set for SM2 only. */
};

/* err_set() with what failed and OpenSSL's own reason, whose queue is emptied. Returns false. */
bool crypto_fail(struct err *err, enum err_code code, const char *what);

/* Our key over an OpenSSL key of a suite we know, of which it takes a reference.
 * Errors: ZR_INVALID  another kind of key, or halves that do not belong together. */
bool key_from_evp(struct key **out_key, EVP_PKEY *pkey, struct err *err) MUST_CHECK;

X509 *cert_x509(const struct cert *cert); /* Borrowed. */

/* The standard's default distinguishing identifier of an SM2 signer. */
#define SM2_ID      "1234567812345678"
#define SM2_ID_SIZE 16

#endif
