/* crypto_key.c -- the suites, and keys in and out; see crypto.h.
 *
 * Whatever a key came from, its SubjectPublicKeyInfo is written anew from its raw public bytes and
 * the suite's row, so that one key has one SubjectPublicKeyInfo and one id.
 */
#include <assert.h>
#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/param_build.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "relay/base/crypto_internal.h"
#include "relay/base/file.h"

#define FILE_SIZE_MAX 65536u
#define SCALAR_SIZE   32u
#define SUITE_COUNT   4 /* Numbers of enum suite, from 1. */

static const struct suite_row suites[SUITE_COUNT] = {
	[SUITE_SHA256_P256] = {
		.name = "sha256-p256", .type = "EC", .group = "prime256v1", .hash = HASH_SHA256,
		.raw_size = 65,
		.spki_prefix = "\x30\x59\x30\x13\x06\x07\x2a\x86\x48\xce\x3d\x02\x01"
			       "\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07\x03\x42\0",
		.spki_prefix_size = 26,
		.order = "ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551",
	},
	[SUITE_SHA256_ED25519] = {
		.name = "sha256-ed25519", .type = "ED25519", .hash = HASH_SHA256,
		.raw_size = 32,
		.spki_prefix = "\x30\x2a\x30\x05\x06\x03\x2b\x65\x70\x03\x21\0",
		.spki_prefix_size = 12,
	},
	[SUITE_SM3_SM2] = {
		.name = "sm3-sm2", .type = "SM2", .group = "SM2", .hash = HASH_SM3,
		.raw_size = 65,
		.spki_prefix = "\x30\x59\x30\x13\x06\x07\x2a\x86\x48\xce\x3d\x02\x01"
			       "\x06\x08\x2a\x81\x1c\xcf\x55\x01\x82\x2d\x03\x42\0",
		.spki_prefix_size = 26,
		.order = "fffffffeffffffffffffffffffffffff7203df6b21c6052b53bbf40939d54123",
	},
};

/* GB/T 32918.5: a, b, xG, yG of the recommended curve; hashed into every signer's Z. */
static const char sm2_curve[] = "fffffffeffffffffffffffffffffffffffffffff00000000fffffffffffffffc"
				"28e9fa9e9d9f5e344d5a9e4bcf6509a7f39789f515ab8f92ddbcbd414d940e93"
				"32c4ae2c1f1981195f9904466a39c9948fe30bbff2660be1715a4589334c74c7"
				"bc3736a2f4f6779c59bdcee36b692153d0a9877cc62a474002df32e52139f0a0";

const struct suite_row *suite_row(enum suite suite)
{
	assert(suite == SUITE_SHA256_P256 || suite == SUITE_SHA256_ED25519 ||
	       suite == SUITE_SM3_SM2);
	return &suites[suite];
}

const char *suite_name(enum suite suite)
{
	return suite_row(suite)->name;
}

bool suite_from_name(const char *name, enum suite *out_suite)
{
	for (int i = SUITE_SHA256_P256; i < SUITE_COUNT; i++) {
		if (strcmp(suites[i].name, name) == 0) {
			*out_suite = (enum suite)i;
			return true;
		}
	}
	return false;
}

enum hash_alg suite_hash(enum suite suite)
{
	return suite_row(suite)->hash;
}

bool suite_available(enum suite suite)
{
	EVP_SIGNATURE *signature = EVP_SIGNATURE_fetch(
		NULL, suite == SUITE_SHA256_P256 ? "ECDSA" : suite_row(suite)->type, NULL);
	EVP_MD *digest = EVP_MD_fetch(NULL, hash_alg_name(suite_hash(suite)), NULL);
	bool available = signature != NULL && digest != NULL;
	EVP_SIGNATURE_free(signature);
	EVP_MD_free(digest);
	ERR_clear_error();
	return available;
}

struct bytes signature_bytes(const struct signature *signature)
{
	return (struct bytes){ signature->bytes, signature->size };
}

/* ---- making keys ---- */

/* GB/T 32918.2 section 5.5: Z = SM3(ENTL || ID || a || b || xG || yG || xA || yA). */
static struct hash sm2_z(struct bytes raw)
{
	uint8_t curve[4 * SCALAR_SIZE];
	bool decoded = hex_decode(sm2_curve, curve, sizeof(curve));
	assert(decoded);
	const struct bytes parts[] = {
		BYTES_LITERAL("\x00\x80" SM2_ID), /* 128 bits of id. */
		{ curve, sizeof(curve) },
		{ raw.data + 1, raw.size - 1 }, /* Without the 0x04 that says "uncompressed". */
	};
	return hash_parts(HASH_SM3, parts, sizeof(parts) / sizeof(parts[0]));
}

static EVP_PKEY *evp_from_raw(const struct suite_row *row, struct bytes raw)
{
	if (row->group == NULL)
		return EVP_PKEY_new_raw_public_key_ex(NULL, row->type, NULL, raw.data, raw.size);
	/* OSSL_PARAM_construct_...() takes pointers it only reads from in this use. */
	char group[16];
	uint8_t point[RAW_SIZE_MAX];
	memcpy(group, row->group, strlen(row->group) + 1);
	memcpy(point, raw.data, raw.size);
	OSSL_PARAM parameters[] = {
		OSSL_PARAM_construct_utf8_string(OSSL_PKEY_PARAM_GROUP_NAME, group, 0),
		OSSL_PARAM_construct_octet_string(OSSL_PKEY_PARAM_PUB_KEY, point, raw.size),
		OSSL_PARAM_construct_end(),
	};
	EVP_PKEY *pkey = NULL;
	EVP_PKEY_CTX *context = EVP_PKEY_CTX_new_from_name(NULL, row->type, NULL);
	if (context == NULL || EVP_PKEY_fromdata_init(context) != 1 ||
	    EVP_PKEY_fromdata(context, &pkey, EVP_PKEY_PUBLIC_KEY, parameters) != 1)
		pkey = NULL;
	EVP_PKEY_CTX_free(context);
	return pkey;
}

/* A key over OpenSSL's, which is taken in any case, and whose raw bytes are raw. */
static bool key_over(struct key **out_key, enum suite suite, struct bytes raw, EVP_PKEY *take_pkey,
                     struct err *err)
{
	const struct suite_row *row = suite_row(suite);
	struct key *key = calloc(1, sizeof(*key));
	struct key_cache *cache = calloc(1, sizeof(*cache));
	if (key == NULL || cache == NULL) {
		free(key);
		free(cache);
		EVP_PKEY_free(take_pkey);
		return err_set(err, ZR_NO_MEMORY, "key");
	}
	key->suite = suite;
	key->cache = cache;
	key->public_key = take_pkey;
	memcpy(key->spki, row->spki_prefix, row->spki_prefix_size);
	memcpy(key->spki + row->spki_prefix_size, raw.data, raw.size);
	key->spki_size = row->spki_prefix_size + raw.size;
	key->id = sha256(key_spki(key));
	if (suite == SUITE_SM3_SM2)
		key->sm2_z = sm2_z(raw);
	*out_key = key;
	return true;
}

bool key_from_raw(struct key **out_key, enum suite suite, struct bytes raw, struct err *err)
{
	const struct suite_row *row = suite_row(suite);
	if (raw.size != row->raw_size || (row->group != NULL && raw.data[0] != 0x04))
		return err_set(err, ZR_INVALID, "a %s key is %zu bytes%s", row->name, row->raw_size,
		               row->group != NULL ? ", 04 first" : "");
	EVP_PKEY *pkey = evp_from_raw(row, raw);
	if (pkey == NULL)
		return crypto_fail(err, ZR_INVALID, "not a public key of this suite");
	return key_over(out_key, suite, raw, pkey, err);
}

static bool find_suite(EVP_PKEY *pkey, enum suite *out_suite)
{
	for (int i = SUITE_SHA256_P256; i < SUITE_COUNT; i++) {
		char group[64] = "";
		if (!EVP_PKEY_is_a(pkey, suites[i].type))
			continue;
		if (suites[i].group != NULL &&
		    (EVP_PKEY_get_group_name(pkey, group, sizeof(group), NULL) != 1 ||
		     OPENSSL_strcasecmp(group, suites[i].group) != 0))
			continue;
		*out_suite = (enum suite)i;
		return true;
	}
	return false;
}

/* The raw public bytes of pkey, uncompressed whatever form it came in. */
static bool raw_of(EVP_PKEY *pkey, const struct suite_row *row, uint8_t raw[RAW_SIZE_MAX])
{
	size_t size = RAW_SIZE_MAX;
	if (row->group == NULL)
		return EVP_PKEY_get_raw_public_key(pkey, raw, &size) == 1 && size == row->raw_size;
	BIGNUM *x = NULL;
	BIGNUM *y = NULL;
	raw[0] = 0x04;
	bool ok = EVP_PKEY_get_bn_param(pkey, OSSL_PKEY_PARAM_EC_PUB_X, &x) == 1 &&
	          EVP_PKEY_get_bn_param(pkey, OSSL_PKEY_PARAM_EC_PUB_Y, &y) == 1 &&
	          BN_bn2binpad(x, raw + 1, SCALAR_SIZE) == (int)SCALAR_SIZE &&
	          BN_bn2binpad(y, raw + 1 + SCALAR_SIZE, SCALAR_SIZE) == (int)SCALAR_SIZE;
	BN_free(x);
	BN_free(y);
	return ok;
}

bool key_from_evp(struct key **out_key, EVP_PKEY *pkey, struct err *err)
{
	enum suite suite;
	uint8_t raw[RAW_SIZE_MAX];
	if (!find_suite(pkey, &suite))
		return crypto_fail(err, ZR_INVALID, "not a P-256, Ed25519 or SM2 key");
	const struct suite_row *row = suite_row(suite);
	if (!raw_of(pkey, row, raw))
		return crypto_fail(err, ZR_INVALID, "the key has no usable public half");
	if (EVP_PKEY_up_ref(pkey) != 1)
		return crypto_fail(err, ZR_NO_MEMORY, "key");
	return key_over(out_key, suite, (struct bytes){ raw, row->raw_size }, pkey, err);
}

/* A private key whose public half is another's would sign what nobody can verify. */
static bool check_pair(const struct key *key, struct err *err)
{
	struct signature signature;
	const struct bytes probe = BYTES_LITERAL("zonerelay key check");
	if (!key_sign(key, probe, &signature, err))
		return false;
	if (!key_verify(key, probe, signature_bytes(&signature), VERIFY_ANY_S, NULL))
		return err_set(err, ZR_INVALID, "its private and public halves do not match");
	return true;
}

/* Takes pkey in any case, to spare its callers a second way out. */
static bool pair_from_evp(struct key **out_key, EVP_PKEY *take_pkey, struct err *err)
{
	struct key *key = NULL;
	if (!key_from_evp(&key, take_pkey, err)) {
		EVP_PKEY_free(take_pkey);
		return false;
	}
	key->private_key = take_pkey;
	if (!check_pair(key, err)) {
		key_free(key);
		return false;
	}
	*out_key = key;
	return true;
}

bool key_generate(struct key **out_key, enum suite suite, struct err *err)
{
	const struct suite_row *row = suite_row(suite);
	EVP_PKEY *pkey = NULL;
	EVP_PKEY_CTX *context = EVP_PKEY_CTX_new_from_name(NULL, row->type, NULL);
	bool ok = context != NULL && EVP_PKEY_keygen_init(context) == 1 &&
	          (row->group == NULL || EVP_PKEY_CTX_set_group_name(context, row->group) == 1) &&
	          EVP_PKEY_generate(context, &pkey) == 1;
	EVP_PKEY_CTX_free(context);
	if (!ok) {
		crypto_fail(err, ZR_INVALID, "this OpenSSL cannot make such a key");
		return err_wrap(err, "new %s key", row->name);
	}
	return pair_from_evp(out_key, pkey, err) || err_wrap(err, "new %s key", row->name);
}

void key_free(struct key *key)
{
	if (key == NULL)
		return;
	EVP_PKEY_CTX_free(atomic_load(&key->cache->spare));
	free(key->cache);
	EVP_PKEY_free(key->public_key);
	EVP_PKEY_free(key->private_key);
	secret_wipe(key, sizeof(*key));
	free(key);
}

/* ---- reading and writing keys ---- */

/* Whatever else a SubjectPublicKeyInfo may look like: a compressed point, parameters spelt out. */
static bool key_from_odd_spki(struct key **out_key, struct bytes der, struct err *err)
{
	const unsigned char *at = der.data;
	EVP_PKEY *pkey = d2i_PUBKEY(NULL, &at, (long)der.size);
	if (pkey == NULL)
		return crypto_fail(err, ZR_INVALID, "not a SubjectPublicKeyInfo");
	bool ok = at == der.data + der.size ||
	          err_set(err, ZR_INVALID, "bytes after the SubjectPublicKeyInfo");
	ok = ok && key_from_evp(out_key, pkey, err);
	EVP_PKEY_free(pkey);
	return ok;
}

bool key_from_spki(struct key **out_key, struct bytes der, struct err *err)
{
	if (der.size == 0 || der.size > FILE_SIZE_MAX)
		return err_set(err, ZR_INVALID, "a public key of %zu bytes", der.size);
	/* Nearly always it is what we would write ourselves, and OpenSSL's decoder is slow. */
	for (int i = SUITE_SHA256_P256; i < SUITE_COUNT; i++) {
		const struct suite_row *row = &suites[i];
		if (der.size != row->spki_prefix_size + row->raw_size ||
		    memcmp(der.data, row->spki_prefix, row->spki_prefix_size) != 0)
			continue;
		const struct bytes raw = { der.data + row->spki_prefix_size, row->raw_size };
		return key_from_raw(out_key, (enum suite)i, raw, err);
	}
	return key_from_odd_spki(out_key, der, err);
}

static bool key_from_private_der(struct key **out_key, struct bytes der, struct err *err)
{
	const unsigned char *at = der.data;
	EVP_PKEY *pkey = d2i_AutoPrivateKey(NULL, &at, (long)der.size);
	if (pkey == NULL)
		return crypto_fail(err, ZR_INVALID, "not a private key");
	return pair_from_evp(out_key, pkey, err);
}

static bool key_from_cert_der(struct key **out_key, struct bytes der, struct err *err)
{
	const unsigned char *at = der.data;
	X509 *x509 = d2i_X509(NULL, &at, (long)der.size);
	EVP_PKEY *pkey = x509 == NULL ? NULL : X509_get0_pubkey(x509);
	bool ok = pkey != NULL
	                  ? key_from_evp(out_key, pkey, err)
	                  : crypto_fail(err, ZR_INVALID, "not a certificate with a usable key");
	X509_free(x509);
	return ok;
}

/* What a PEM block may be called, and who reads it. */
static const struct pem_row {
	const char *name;
	bool (*read)(struct key **out_key, struct bytes der, struct err *err);
} pem_rows[] = {
	{ PEM_STRING_PKCS8INF, key_from_private_der },
	{ PEM_STRING_ECPRIVATEKEY, key_from_private_der },
	{ PEM_STRING_PUBLIC, key_from_spki },
	{ PEM_STRING_X509, key_from_cert_der },
};

#define PEM_ROW_COUNT (sizeof(pem_rows) / sizeof(pem_rows[0]))

static const struct pem_row *find_pem_row(const char *name)
{
	for (size_t i = 0; i < PEM_ROW_COUNT; i++) {
		if (strcmp(pem_rows[i].name, name) == 0)
			return &pem_rows[i];
	}
	return NULL;
}

enum pem_answer { PEM_KEY, PEM_OTHER, PEM_FAILED };

/* Reads one block; OTHER where it is none that holds a key, such as "EC PARAMETERS". */
static enum pem_answer read_pem_block(struct key **out_key, BIO *bio, struct err *err)
{
	char *name = NULL;
	char *header = NULL;
	unsigned char *data = NULL;
	long size = 0;
	if (PEM_read_bio_ex(bio, &name, &header, &data, &size, PEM_FLAG_SECURE) != 1) {
		(void)crypto_fail(err, ZR_INVALID, "no key in PEM");
		return PEM_FAILED;
	}
	enum pem_answer answer = PEM_OTHER;
	const struct pem_row *row = find_pem_row(name);
	if (header[0] != '\0' || strcmp(name, PEM_STRING_PKCS8) == 0) {
		err_set(err, ZR_INVALID, "the key is protected by a passphrase");
		answer = PEM_FAILED;
	} else if (row != NULL) {
		struct bytes der = { data, (size_t)size };
		answer = row->read(out_key, der, err) ? PEM_KEY : PEM_FAILED;
	}
	OPENSSL_secure_free(name);
	OPENSSL_secure_free(header);
	OPENSSL_secure_clear_free(data, (size_t)size);
	return answer;
}

bool key_from_pem(struct key **out_key, struct bytes pem, struct err *err)
{
	if (pem.size == 0 || pem.size > FILE_SIZE_MAX)
		return err_set(err, ZR_INVALID, "a key of %zu bytes", pem.size);
	BIO *bio = BIO_new_mem_buf(pem.data, (int)pem.size);
	if (bio == NULL)
		return err_set(err, ZR_NO_MEMORY, "key");
	enum pem_answer answer;
	do {
		answer = read_pem_block(out_key, bio, err);
	} while (answer == PEM_OTHER);
	BIO_free(bio);
	return answer == PEM_KEY;
}

bool key_read_file(struct key **out_key, const char *path, struct err *err)
{
	struct buffer pem = BUFFER_EMPTY;
	bool ok = file_read(path, FILE_SIZE_MAX, &pem, err);
	if (ok && !key_from_pem(out_key, buffer_bytes(&pem), err))
		ok = err_wrap(err, "%s", path);
	if (pem.data != NULL)
		secret_wipe(pem.data, pem.capacity);
	buffer_fini(&pem);
	return ok;
}

bool key_to_pem(const struct key *key, bool private_too, struct buffer *out, struct err *err)
{
	if (private_too && key->private_key == NULL)
		return err_set(err, ZR_STATE, "only the public half of the key is here");
	BIO *bio = BIO_new(BIO_s_secmem());
	if (bio == NULL)
		return err_set(err, ZR_NO_MEMORY, "key");
	bool ok = private_too ? PEM_write_bio_PKCS8PrivateKey(bio, key->private_key, NULL, NULL, 0,
	                                                      NULL, NULL) == 1
	                      : PEM_write_bio(bio, PEM_STRING_PUBLIC, "", key->spki,
	                                      (long)key->spki_size) > 0;
	if (ok) {
		char *text = NULL;
		long size = BIO_get_mem_data(bio, &text);
		buffer_put(out, (struct bytes){ (const uint8_t *)text, (size_t)size });
		ok = buffer_ok(out, err);
	} else {
		crypto_fail(err, ZR_NO_MEMORY, "write the key as PEM");
	}
	BIO_free(bio);
	return ok;
}

enum suite key_suite(const struct key *key)
{
	return key->suite;
}

bool key_is_private(const struct key *key)
{
	return key->private_key != NULL;
}

struct bytes key_spki(const struct key *key)
{
	return (struct bytes){ key->spki, key->spki_size };
}

struct hash key_id(const struct key *key)
{
	return key->id;
}
