/* crypto_key.c -- keys, signing and verifying; see crypto.h.
 *
 * Whatever a key came from, it is taken apart into its raw public bytes and built again from the
 * suite's row, so that one key has one SubjectPublicKeyInfo and one id. Verifying is what a gateway
 * does all day: each key keeps one spare, initialised OpenSSL context, which a verifying thread
 * takes with one atomic exchange and puts back; only a second thread at the same key at the same
 * moment has to make another.
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
#define RAW_SIZE_MAX  65u
#define SPKI_SIZE_MAX (RAW_SIZE_MAX + 26u)
#define SCALAR_SIZE   32u
#define ED25519_SIZE  64u
#define SUITE_COUNT   4 /* Numbers of enum suite, from 1. */

static const struct suite_row {
	const char *name;
	const char *type;  /* OpenSSL's name of the kind of key. */
	const char *group; /* Its curve, where the type has several. */
	enum hash_alg hash;
	size_t raw_size;
	const char *spki_prefix; /* What precedes the raw bytes in SubjectPublicKeyInfo. */
	size_t spki_prefix_size;
	const char *order; /* n in hexadecimal; r and s are below it. */
} suites[SUITE_COUNT] = {
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

struct key {
	enum suite suite;
	EVP_PKEY *public_key;          /* Owned. Never holds the private half. */
	EVP_PKEY *private_key;         /* Owned. NULL: a public key only. */
	_Atomic(EVP_PKEY_CTX *) spare; /* Owned. Ready to verify, or NULL. */
	uint8_t spki[SPKI_SIZE_MAX];
	size_t spki_size;
	struct hash id;
	struct hash sm2_z; /* What precedes the message in an SM2 digest; set for SM2 only. */
};

static const struct suite_row *row_of(enum suite suite)
{
	assert(suite == SUITE_SHA256_P256 || suite == SUITE_SHA256_ED25519 ||
	       suite == SUITE_SM3_SM2);
	return &suites[suite];
}

const char *suite_name(enum suite suite)
{
	return row_of(suite)->name;
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
	return row_of(suite)->hash;
}

bool suite_available(enum suite suite)
{
	EVP_SIGNATURE *signature = EVP_SIGNATURE_fetch(
		NULL, suite == SUITE_SHA256_P256 ? "ECDSA" : row_of(suite)->type, NULL);
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

bool key_from_raw(struct key **out_key, enum suite suite, struct bytes raw, struct err *err)
{
	const struct suite_row *row = row_of(suite);
	if (raw.size != row->raw_size || (row->group != NULL && raw.data[0] != 0x04))
		return err_set(err, ZR_INVALID, "a %s key is %zu bytes%s", row->name, row->raw_size,
		               row->group != NULL ? ", 04 first" : "");
	struct key *key = calloc(1, sizeof(*key));
	if (key == NULL)
		return err_set(err, ZR_NO_MEMORY, "key");
	key->suite = suite;
	key->public_key = evp_from_raw(row, raw);
	if (key->public_key == NULL) {
		key_free(key);
		return crypto_fail(err, ZR_INVALID, "not a public key of this suite");
	}
	memcpy(key->spki, row->spki_prefix, row->spki_prefix_size);
	memcpy(key->spki + row->spki_prefix_size, raw.data, raw.size);
	key->spki_size = row->spki_prefix_size + raw.size;
	key->id = sha256(key_spki(key));
	if (suite == SUITE_SM3_SM2)
		key->sm2_z = sm2_z(raw);
	*out_key = key;
	return true;
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
	const struct suite_row *row = row_of(suite);
	if (!raw_of(pkey, row, raw))
		return crypto_fail(err, ZR_INVALID, "the key has no usable public half");
	return key_from_raw(out_key, suite, (struct bytes){ raw, row->raw_size }, err);
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
	const struct suite_row *row = row_of(suite);
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
	EVP_PKEY_CTX_free(atomic_load(&key->spare));
	EVP_PKEY_free(key->public_key);
	EVP_PKEY_free(key->private_key);
	secret_wipe(key, sizeof(*key));
	free(key);
}

/* ---- reading and writing keys ---- */

bool key_from_spki(struct key **out_key, struct bytes der, struct err *err)
{
	const unsigned char *at = der.data;
	if (der.size == 0 || der.size > FILE_SIZE_MAX)
		return err_set(err, ZR_INVALID, "a public key of %zu bytes", der.size);
	EVP_PKEY *pkey = d2i_PUBKEY(NULL, &at, (long)der.size);
	if (pkey == NULL)
		return crypto_fail(err, ZR_INVALID, "not a SubjectPublicKeyInfo");
	bool ok = at == der.data + der.size ||
	          err_set(err, ZR_INVALID, "bytes after the SubjectPublicKeyInfo");
	ok = ok && key_from_evp(out_key, pkey, err);
	EVP_PKEY_free(pkey);
	return ok;
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

/* ---- numbers of a signature ---- */

/* The order of the suite's group, or half of it rounded down: the highest low s. */
static void order_of(const struct suite_row *row, bool half, uint8_t out_order[SCALAR_SIZE])
{
	bool decoded = hex_decode(row->order, out_order, SCALAR_SIZE);
	assert(decoded);
	for (size_t i = SCALAR_SIZE; half && i-- > 0;)
		out_order[i] = (uint8_t)(out_order[i] >> 1 | (i > 0 ? out_order[i - 1] << 7 : 0));
}

/* Reads a DER INTEGER that is positive and as short as it can be, as 32 bytes. */
static bool read_scalar(struct reader *reader, uint8_t out_scalar[SCALAR_SIZE])
{
	static const uint8_t zero[SCALAR_SIZE];
	if (reader_u8(reader) != 0x02)
		return false;
	struct bytes value = reader_short(reader); /* Lengths from 0x80 do not fit into the rest. */
	if (reader->failed || value.size == 0 || value.data[0] >= 0x80)
		return false;
	if (value.data[0] == 0 && value.size > 1) {
		if (value.data[1] < 0x80)
			return false; /* The leading zero was not needed. */
		value.data++;
		value.size--;
	}
	if (value.size > SCALAR_SIZE)
		return false;
	memset(out_scalar, 0, SCALAR_SIZE);
	memcpy(out_scalar + SCALAR_SIZE - value.size, value.data, value.size);
	return memcmp(out_scalar, zero, SCALAR_SIZE) != 0;
}

/* One signature has one encoding; anything else that OpenSSL might accept is refused here. */
static bool check_encoding(const struct suite_row *row, struct bytes signature,
                           enum verify_rule rule, struct err *err)
{
	uint8_t r[SCALAR_SIZE];
	uint8_t s[SCALAR_SIZE];
	uint8_t limit[SCALAR_SIZE];
	struct reader reader = reader_of(signature);
	bool ok = reader_u8(&reader) == 0x30 && reader_u8(&reader) == reader.rest.size &&
	          reader.rest.size < 0x80 && read_scalar(&reader, r) && read_scalar(&reader, s) &&
	          reader_done(&reader);
	if (!ok)
		return err_set(err, ZR_UNTRUSTED, "signature is not canonical DER");
	order_of(row, false, limit);
	if (memcmp(r, limit, SCALAR_SIZE) >= 0 || memcmp(s, limit, SCALAR_SIZE) >= 0)
		return err_set(err, ZR_UNTRUSTED, "signature number is not below the order");
	order_of(row, true, limit);
	if (rule == VERIFY_LOW_S && row == &suites[SUITE_SHA256_P256] &&
	    memcmp(s, limit, SCALAR_SIZE) > 0)
		return err_set(err, ZR_UNTRUSTED, "signature has a high s");
	return true;
}

static void put_scalar(struct signature *signature, const uint8_t scalar[SCALAR_SIZE])
{
	size_t skip = 0;
	while (skip < SCALAR_SIZE - 1 && scalar[skip] == 0)
		skip++;
	bool padded = scalar[skip] >= 0x80;
	size_t size = SCALAR_SIZE - skip;
	uint8_t *at = signature->bytes + signature->size;
	*at++ = 0x02;
	*at++ = (uint8_t)(size + (padded ? 1 : 0));
	if (padded)
		*at++ = 0;
	memcpy(at, scalar + skip, size);
	signature->size = (size_t)(at - signature->bytes) + size;
}

/* Replaces a high s by n - s, which proves the same, so that every verifier accepts our own. */
static void make_s_low(const struct suite_row *row, struct signature *signature)
{
	uint8_t r[SCALAR_SIZE];
	uint8_t s[SCALAR_SIZE];
	uint8_t limit[SCALAR_SIZE];
	struct reader reader = reader_of(signature_bytes(signature));
	(void)reader_bytes(&reader, 2);
	bool ok = read_scalar(&reader, r) && read_scalar(&reader, s) && reader_done(&reader);
	assert(ok); /* OpenSSL has just written it. */
	order_of(row, true, limit);
	if (memcmp(s, limit, SCALAR_SIZE) <= 0)
		return;
	order_of(row, false, limit);
	int borrow = 0;
	for (size_t i = SCALAR_SIZE; i-- > 0;) {
		int difference = limit[i] - s[i] - borrow;
		borrow = difference < 0 ? 1 : 0;
		s[i] = (uint8_t)difference;
	}
	signature->size = 2;
	put_scalar(signature, r);
	put_scalar(signature, s);
	signature->bytes[0] = 0x30;
	signature->bytes[1] = (uint8_t)(signature->size - 2);
}

/* ---- signing and verifying ---- */

/* What ECDSA and SM2 sign: SHA-256 of the message, or SM3 of the signer's Z and the message. */
static struct hash digest_of(const struct key *key, struct bytes message)
{
	const struct bytes parts[] = { BYTES_OF(key->sm2_z), message };
	if (key->suite == SUITE_SM3_SM2)
		return hash_parts(HASH_SM3, parts, 2);
	return hash_one(HASH_SHA256, message);
}

static bool sign_message(const struct key *key, struct bytes message, struct signature *signature)
{
	EVP_MD_CTX *context = EVP_MD_CTX_new();
	bool ok = context != NULL &&
	          EVP_DigestSignInit_ex(context, NULL, NULL, NULL, NULL, key->private_key, NULL) ==
	                  1 &&
	          EVP_DigestSign(context, signature->bytes, &signature->size, message.data,
	                         message.size) == 1;
	EVP_MD_CTX_free(context);
	return ok;
}

static bool sign_digest(const struct key *key, const struct hash *digest,
                        struct signature *signature)
{
	EVP_PKEY_CTX *context = EVP_PKEY_CTX_new_from_pkey(NULL, key->private_key, NULL);
	bool ok = context != NULL && EVP_PKEY_sign_init(context) == 1 &&
	          EVP_PKEY_sign(context, signature->bytes, &signature->size, digest->bytes,
	                        HASH_SIZE) == 1;
	EVP_PKEY_CTX_free(context);
	return ok;
}

bool key_sign(const struct key *key, struct bytes message, struct signature *out_signature,
              struct err *err)
{
	if (key->private_key == NULL)
		return err_set(err, ZR_STATE, "sign: only the public half of the key is here");
	struct signature signature = { .size = sizeof(signature.bytes) };
	struct hash digest;
	bool ok;
	if (key->suite == SUITE_SHA256_ED25519) {
		ok = sign_message(key, message, &signature);
	} else {
		digest = digest_of(key, message);
		ok = sign_digest(key, &digest, &signature);
	}
	if (!ok)
		return crypto_fail(err, ZR_NO_MEMORY, "sign");
	if (key->suite == SUITE_SHA256_P256)
		make_s_low(row_of(key->suite), &signature);
	*out_signature = signature;
	return true;
}

/* Takes the key's spare context, or makes one; NULL when out of memory. */
static EVP_PKEY_CTX *context_take(struct key *key)
{
	EVP_PKEY_CTX *context = atomic_exchange(&key->spare, NULL);
	if (context != NULL)
		return context;
	context = EVP_PKEY_CTX_new_from_pkey(NULL, key->public_key, NULL);
	if (context != NULL && EVP_PKEY_verify_init(context) != 1) {
		EVP_PKEY_CTX_free(context);
		context = NULL;
	}
	return context;
}

static void context_put_back(struct key *key, EVP_PKEY_CTX *take_context)
{
	EVP_PKEY_CTX_free(atomic_exchange(&key->spare, take_context));
}

enum verdict { VERDICT_GOOD, VERDICT_BAD, VERDICT_NO_MEMORY };

static enum verdict verify_digest(const struct key *key, const struct hash *digest,
                                  struct bytes signature)
{
	/* The spare context is a cache, not part of what the key means. */
	struct key *owner = (struct key *)(uintptr_t)key;
	EVP_PKEY_CTX *context = context_take(owner);
	if (context == NULL)
		return VERDICT_NO_MEMORY;
	int result =
		EVP_PKEY_verify(context, signature.data, signature.size, digest->bytes, HASH_SIZE);
	context_put_back(owner, context);
	return result == 1 ? VERDICT_GOOD : VERDICT_BAD;
}

static enum verdict verify_message(const struct key *key, struct bytes message,
                                   struct bytes signature)
{
	EVP_MD_CTX *context = EVP_MD_CTX_new();
	if (context == NULL ||
	    EVP_DigestVerifyInit_ex(context, NULL, NULL, NULL, NULL, key->public_key, NULL) != 1) {
		EVP_MD_CTX_free(context);
		return VERDICT_NO_MEMORY;
	}
	int result = EVP_DigestVerify(context, signature.data, signature.size, message.data,
	                              message.size);
	EVP_MD_CTX_free(context);
	return result == 1 ? VERDICT_GOOD : VERDICT_BAD;
}

bool key_verify(const struct key *key, struct bytes message, struct bytes signature,
                enum verify_rule rule, struct err *err)
{
	enum verdict verdict;
	if (key->suite == SUITE_SHA256_ED25519) {
		if (signature.size != ED25519_SIZE)
			return err_set(err, ZR_UNTRUSTED, "an Ed25519 signature is 64 bytes");
		verdict = verify_message(key, message, signature);
	} else {
		if (!check_encoding(row_of(key->suite), signature, rule, err))
			return false;
		struct hash digest = digest_of(key, message);
		verdict = verify_digest(key, &digest, signature);
	}
	if (verdict == VERDICT_GOOD)
		return true;
	ERR_clear_error();
	return verdict == VERDICT_BAD
	               ? err_set(err, ZR_UNTRUSTED, "signature is not this key's over this message")
	               : err_set(err, ZR_NO_MEMORY, "verify");
}
