/* crypto_hash.c -- hashes, random numbers, and wiping; see crypto.h.
 *
 * Fetching an algorithm and allocating a context cost more than hashing a short record, so the
 * algorithms are fetched once per process and each thread keeps one context per algorithm.
 */
#include <assert.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/rand.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "relay/base/crypto_internal.h"
#include "relay/base/exit.h"

#define ALG_COUNT 3 /* Numbers of enum hash_alg, from 1. */

static const char *const alg_names[ALG_COUNT] = {
	[HASH_SHA256] = "sha256",
	[HASH_SM3] = "sm3",
};

struct scratch {
	EVP_MD_CTX *contexts[ALG_COUNT];
};

static pthread_once_t once = PTHREAD_ONCE_INIT;
static EVP_MD *algorithms[ALG_COUNT]; /* Fetched once, kept for ever. NULL where we lack one. */
static pthread_key_t scratch_key;     /* Only frees; own_scratch is what is read. */
static _Thread_local struct scratch *own_scratch;

static void scratch_free(void *arg)
{
	struct scratch *scratch = arg;
	for (int i = 0; i < ALG_COUNT; i++)
		EVP_MD_CTX_free(scratch->contexts[i]);
	free(scratch);
	own_scratch = NULL;
}

static void fetch_algorithms(void)
{
	algorithms[HASH_SHA256] = EVP_MD_fetch(NULL, "SHA2-256", NULL);
	algorithms[HASH_SM3] = EVP_MD_fetch(NULL, "SM3", NULL);
	ERR_clear_error();
	int failed = pthread_key_create(&scratch_key, scratch_free);
	assert(failed == 0);
}

/* What a restart cures and nothing else: an end that is said, without a core. */
static _Noreturn void end_because(const char *what)
{
	(void)fprintf(stderr, "zonerelay: %s\n", what);
	_exit(EXIT_SYSTEM);
}

/* Hashing cannot fail but for memory, and a caller in the middle of a tree could not go on. */
static void hash_must(bool ok)
{
	if (!ok)
		end_because("error: hashing failed (out of memory, or not in this OpenSSL)");
}

static EVP_MD_CTX *context_of(enum hash_alg alg)
{
	assert(alg == HASH_SHA256 || alg == HASH_SM3);
	if (own_scratch == NULL) {
		hash_must(pthread_once(&once, fetch_algorithms) == 0);
		own_scratch = calloc(1, sizeof(*own_scratch));
		hash_must(own_scratch != NULL);
		hash_must(pthread_setspecific(scratch_key, own_scratch) == 0);
	}
	if (own_scratch->contexts[alg] == NULL) {
		hash_must(algorithms[alg] != NULL);
		own_scratch->contexts[alg] = EVP_MD_CTX_new();
		hash_must(own_scratch->contexts[alg] != NULL);
	}
	return own_scratch->contexts[alg];
}

const char *hash_alg_name(enum hash_alg alg)
{
	assert(alg == HASH_SHA256 || alg == HASH_SM3);
	return alg_names[alg];
}

bool hash_alg_from_name(const char *name, enum hash_alg *out_alg)
{
	for (int i = HASH_SHA256; i < ALG_COUNT; i++) {
		if (strcmp(alg_names[i], name) == 0) {
			*out_alg = (enum hash_alg)i;
			return true;
		}
	}
	return false;
}

struct hash hash_parts(enum hash_alg alg, const struct bytes *parts, size_t count)
{
	EVP_MD_CTX *context = context_of(alg);
	struct hash hash;
	hash_must(EVP_DigestInit_ex2(context, algorithms[alg], NULL) == 1);
	for (size_t i = 0; i < count; i++) {
		if (parts[i].size > 0)
			hash_must(EVP_DigestUpdate(context, parts[i].data, parts[i].size) == 1);
	}
	hash_must(EVP_DigestFinal_ex(context, hash.bytes, NULL) == 1);
	return hash;
}

struct hash hash_one(enum hash_alg alg, struct bytes bytes)
{
	return hash_parts(alg, &bytes, 1);
}

struct hash sha256(struct bytes bytes)
{
	return hash_parts(HASH_SHA256, &bytes, 1);
}

void random_bytes(void *out_data, size_t size)
{
	uint8_t *at = out_data;
	while (size > 0) {
		int step = size > 65536 ? 65536 : (int)size;
		if (RAND_bytes(at, step) != 1)
			end_because("error: the system gives no random numbers");
		at += step;
		size -= (size_t)step;
	}
}

uint64_t random_below(uint64_t bound)
{
	assert(bound > 0);
	/* Numbers at or above the last whole multiple of bound would favour the small ones. */
	uint64_t excess = (UINT64_MAX % bound + 1) % bound;
	uint64_t number;
	do {
		random_bytes(&number, sizeof(number));
	} while (number > UINT64_MAX - excess);
	return number % bound;
}

void secret_wipe(void *data, size_t size)
{
	OPENSSL_cleanse(data, size);
}

bool crypto_fail(struct err *err, enum err_code code, const char *what)
{
	unsigned long last = ERR_peek_last_error();
	const char *reason = last == 0 ? NULL : ERR_reason_error_string(last);
	if (reason != NULL)
		err_set(err, code, "%s: %s", what, reason);
	else
		err_set(err, code, "%s", what);
	ERR_clear_error();
	return false;
}
