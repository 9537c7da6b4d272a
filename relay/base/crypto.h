/* crypto.h -- hashes, keys, signatures and certificates; the only user of OpenSSL's EVP and X509.
 *
 * Three suites, named everywhere as here:
 *
 *     sha256-p256      ECDSA over NIST P-256 with SHA-256 (FIPS 186-5)
 *     sha256-ed25519   Ed25519 (RFC 8032); the message is signed itself
 *     sm3-sm2          SM2 with SM3 (GB/T 32918.2, GB/T 32905); id 1234567812345678, always set
 *
 * ECDSA and SM2 signatures are DER SEQUENCE { r, s }; verifying rejects any other encoding of the
 * same numbers (non-minimal, negative, zero, at or above the order, trailing bytes).
 *
 * Threads: a key or cert may be used by many threads at once for reading; each thread has its own
 * scratch contexts. Hashing cannot fail except for memory, and then the process says so and exits with
 * EXIT_SYSTEM: that is the one place where out of memory is not an err.
 */
#ifndef ZR_BASE_CRYPTO_H
#define ZR_BASE_CRYPTO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "relay/base/bytes.h"
#include "relay/base/err.h"

/* ---- hashes ---- */

/* Stored on disk and in records: never renumber. */
enum hash_alg { HASH_SHA256 = 1, HASH_SM3 = 2 };

const char *hash_alg_name(enum hash_alg alg); /* "sha256", "sm3" */
bool hash_alg_from_name(const char *name, enum hash_alg *out_alg);

struct hash hash_one(enum hash_alg alg, struct bytes bytes);
/* The hash of the concatenation. */
struct hash hash_parts(enum hash_alg alg, const struct bytes *parts, size_t count);
struct hash sha256(struct bytes bytes);

/* CRC-32C (Castagnoli, RFC 3720 appendix B.4); seed 0 to begin, the last result to go on. */
uint32_t crc32c(uint32_t seed, struct bytes bytes);
/* The same without the processor's help: what runs where there is none, and for its test. */
uint32_t crc32c_portable(uint32_t seed, struct bytes bytes);

/* Cryptographically strong; exits with EXIT_SYSTEM if the system cannot give any. */
void random_bytes(void *out_data, size_t size);
uint64_t random_below(uint64_t bound); /* Uniform in [0, bound); bound > 0. */

/* Overwrites, and is not optimised away. */
void secret_wipe(void *data, size_t size);

/* ---- keys and signatures ---- */

/* Stored on disk and in records: never renumber. */
enum suite { SUITE_SHA256_P256 = 1, SUITE_SHA256_ED25519 = 2, SUITE_SM3_SM2 = 3 };

const char *suite_name(enum suite suite);
bool suite_from_name(const char *name, enum suite *out_suite);
enum hash_alg suite_hash(enum suite suite);
/* False where the OpenSSL we run with lacks it (SM2 on the RHEL family). */
bool suite_available(enum suite suite);

#define SIGNATURE_SIZE_MAX 80

struct signature {
	uint8_t bytes[SIGNATURE_SIZE_MAX];
	size_t size;
};

struct bytes signature_bytes(const struct signature *signature); /* Borrowed. */

struct key; /* A public key, or a pair. */

bool key_generate(struct key **out_key, enum suite suite, struct err *err) MUST_CHECK;
void key_free(struct key *key); /* NULL is allowed. Wipes. */
/* From a file: PKCS#8 or SEC1 private key, SPKI public key, or a certificate's key, in PEM.
 * Errors: ZR_UNAVAILABLE  cannot be read.  ZR_INVALID  not such a file, or another kind of key. */
bool key_read_file(struct key **out_key, const char *path, struct err *err) MUST_CHECK;
bool key_from_pem(struct key **out_key, struct bytes pem, struct err *err) MUST_CHECK;
bool key_from_spki(struct key **out_key, struct bytes der, struct err *err) MUST_CHECK;
/* An SM2 or P-256 public key as 0x04 || X || Y (65 bytes), an Ed25519 one as its 32 bytes. */
bool key_from_raw(struct key **out_key, enum suite suite, struct bytes raw,
                  struct err *err) MUST_CHECK;

enum suite key_suite(const struct key *key);
bool key_is_private(const struct key *key);
/* SubjectPublicKeyInfo in DER; borrowed from key. */
struct bytes key_spki(const struct key *key);
/* SHA-256 of key_spki(): what receipts and configuration call the key's id. */
struct hash key_id(const struct key *key);
/* PEM text appended to out: PKCS#8 for private_too, SPKI otherwise. */
bool key_to_pem(const struct key *key, bool private_too, struct buffer *out,
                struct err *err) MUST_CHECK;

/* Errors: ZR_STATE  key is not private. */
bool key_sign(const struct key *key, struct bytes message, struct signature *out_signature,
              struct err *err) MUST_CHECK;

enum verify_rule {
	VERIFY_ANY_S, /* s or n - s are both accepted: they prove the same. */
	VERIFY_LOW_S, /* ECDSA s must be at most n / 2 (Fabric's rule). */
};

/* Errors: ZR_UNTRUSTED  not this key's signature over message, or not in its canonical form. */
bool key_verify(const struct key *key, struct bytes message, struct bytes signature,
                enum verify_rule rule, struct err *err) MUST_CHECK;

/* ---- certificates ---- */

struct cert;

bool cert_from_pem(struct cert **out_cert, struct bytes pem, struct err *err) MUST_CHECK;
bool cert_from_der(struct cert **out_cert, struct bytes der, struct err *err) MUST_CHECK;
void cert_free(struct cert *cert); /* NULL is allowed. */

struct bytes cert_der(const struct cert *cert);      /* Borrowed. */
const struct key *cert_key(const struct cert *cert); /* Borrowed. NULL: a kind we lack. */
int64_t cert_not_before_ms(const struct cert *cert);
int64_t cert_not_after_ms(const struct cert *cert);
bool cert_is_ca(const struct cert *cert);
/* "CN=..., O=...": for people, on one line and without double quotes. Borrowed. */
const char *cert_subject(const struct cert *cert);
/* The index-th organisationalUnit of the subject, or NULL. Borrowed. */
const char *cert_subject_ou(const struct cert *cert, size_t index);
/* The index-th URI of the subject alternative name, or NULL. Borrowed. */
const char *cert_san_uri(const struct cert *cert, size_t index);
/* Hexadecimal serial number, lower case. Borrowed. */
const char *cert_serial(const struct cert *cert);

/* What a certificate is checked against. Arrays and what they hold are borrowed. */
struct cert_trust {
	const struct cert *const *roots;
	size_t root_count;
	const struct cert *const *intermediates;
	size_t intermediate_count;
	const struct bytes
		*crls; /* DER or PEM. An entry counts whatever the CRL's nextUpdate says. */
	size_t crl_count;
};

/* Is there a path from cert through the intermediates to one of the roots, each link signed, each
 * issuer a CA, no link revoked? At at_ms (wall clock), or at no particular time if at_ms is
 * CERT_ANY_TIME: validity periods are then ignored, as Fabric does for old blocks. A certificate
 * that is itself a root is not accepted as a leaf. SM2 chains are checked link by link with the
 * id set (OpenSSL 3.x does not do it itself).
 *
 * Errors: ZR_UNTRUSTED  with the reason. */
#define CERT_ANY_TIME INT64_MIN
bool cert_check(const struct cert *cert, const struct cert_trust *trust, int64_t at_ms,
                struct err *err) MUST_CHECK;

/* Reads every certificate of a PEM file. Gives an array (free each, then the array with free()). */
bool cert_read_file(struct cert ***out_certs, size_t *out_count, const char *path,
                    struct err *err) MUST_CHECK;

/* ---- text ---- */

/* Base64 (RFC 4648 section 4), appended to out. */
void base64_encode(struct bytes bytes, struct buffer *out);
bool base64_decode(const char *text, size_t size, struct buffer *out); /* Strict. */

#endif
