/* crypto_signature.c -- signing and verifying; see crypto.h.
 *
 * Verifying is what a gateway does all day: each key keeps one spare, initialised OpenSSL context,
 * which a verifying thread takes with one atomic exchange and puts back; only a second thread at the
 * same key at the same moment has to make another.
 */
#include <assert.h>
#include <openssl/err.h>
#include <stdatomic.h>
#include <string.h>

#include "relay/base/crypto_internal.h"

#define SCALAR_SIZE  32u
#define ED25519_SIZE 64u

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
	uint8_t r[SCALAR_SIZE] = { 0 };
	uint8_t s[SCALAR_SIZE] = { 0 };
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
	if (rule == VERIFY_LOW_S && row == suite_row(SUITE_SHA256_P256) &&
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
	uint8_t r[SCALAR_SIZE] = { 0 };
	uint8_t s[SCALAR_SIZE] = { 0 };
	uint8_t limit[SCALAR_SIZE];
	struct reader reader = reader_of(signature_bytes(signature));
	(void)reader_bytes(&reader, 2);
	bool ok = read_scalar(&reader, r) && read_scalar(&reader, s) && reader_done(&reader);
	assert(ok); /* Its encoding was checked. */
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
	/* Out of memory OpenSSL 3.0 may call a signature done that it could not write down. */
	ok = ok && signature.size <= sizeof(signature.bytes) &&
	     (key->suite == SUITE_SHA256_ED25519 ||
	      check_encoding(suite_row(key->suite), signature_bytes(&signature), VERIFY_ANY_S,
	                     NULL));
	if (!ok)
		return crypto_fail(err, ZR_NO_MEMORY, "sign");
	if (key->suite == SUITE_SHA256_P256)
		make_s_low(suite_row(key->suite), &signature);
	*out_signature = signature;
	return true;
}

/* Takes the key's spare context, or makes one; NULL when out of memory. */
static EVP_PKEY_CTX *context_take(const struct key *key)
{
	EVP_PKEY_CTX *context = atomic_exchange(&key->cache->spare, NULL);
	if (context != NULL)
		return context;
	context = EVP_PKEY_CTX_new_from_pkey(NULL, key->public_key, NULL);
	if (context != NULL && EVP_PKEY_verify_init(context) != 1) {
		EVP_PKEY_CTX_free(context);
		context = NULL;
	}
	return context;
}

static void context_put_back(const struct key *key, EVP_PKEY_CTX *take_context)
{
	EVP_PKEY_CTX_free(atomic_exchange(&key->cache->spare, take_context));
}

enum verdict { VERDICT_GOOD, VERDICT_BAD, VERDICT_NO_MEMORY };

/* OpenSSL also says no when it could not find out; what is in its queue mostly tells the two apart. A
 * crafted signature can make it fail with other errors than of memory, and those are verdicts. */
static enum verdict verdict_of(int result)
{
	unsigned long code = ERR_get_error();
	bool found_out = result >= 0 || code != 0;
	for (; code != 0; code = ERR_get_error()) {
		if (ERR_GET_REASON(code) == ERR_R_MALLOC_FAILURE)
			found_out = false;
	}
	if (result == 1)
		return VERDICT_GOOD;
	return found_out ? VERDICT_BAD : VERDICT_NO_MEMORY;
}

static enum verdict verify_digest(const struct key *key, const struct hash *digest,
                                  struct bytes signature)
{
	EVP_PKEY_CTX *context = context_take(key);
	if (context == NULL)
		return VERDICT_NO_MEMORY;
	ERR_clear_error();
	enum verdict verdict = verdict_of(
		EVP_PKEY_verify(context, signature.data, signature.size, digest->bytes, HASH_SIZE));
	context_put_back(key, context);
	return verdict;
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
	ERR_clear_error();
	enum verdict verdict = verdict_of(EVP_DigestVerify(context, signature.data, signature.size,
	                                                   message.data, message.size));
	EVP_MD_CTX_free(context);
	return verdict;
}

static enum verdict verify_once(const struct key *key, struct bytes message, struct bytes signature)
{
	if (key->suite == SUITE_SHA256_ED25519)
		return verify_message(key, message, signature);
	struct hash digest = digest_of(key, message);
	return verify_digest(key, &digest, signature);
}

bool key_verify(const struct key *key, struct bytes message, struct bytes signature,
                enum verify_rule rule, struct err *err)
{
	if (key->suite == SUITE_SHA256_ED25519) {
		if (signature.size != ED25519_SIZE)
			return err_set(err, ZR_UNTRUSTED, "an Ed25519 signature is 64 bytes");
	} else if (!check_encoding(suite_row(key->suite), signature, rule, err)) {
		return false;
	}
	enum verdict verdict = verify_once(key, message, signature);
	/* Without memory Ed25519 and SM2 say no and nothing else: what is bad is bad twice. */
	if (verdict == VERDICT_BAD)
		verdict = verify_once(key, message, signature);
	if (verdict == VERDICT_GOOD)
		return true;
	ERR_clear_error();
	return verdict == VERDICT_BAD
	               ? err_set(err, ZR_UNTRUSTED, "signature is not this key's over this message")
	               : err_set(err, ZR_NO_MEMORY, "verify");
}
