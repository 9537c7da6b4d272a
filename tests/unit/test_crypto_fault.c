/* Each allocation of ours, and then many of OpenSSL's, fails once; nothing may be half done. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <pthread.h>
#include <sys/wait.h>
#include <unistd.h>

#include <openssl/crypto.h>

#include <cmocka.h>

#include "relay/base/clock.h"
#include "relay/base/crypto.h"
#include "relay/base/exit.h"
#include "relay/base/file.h"
#include "relay/net/tls.h"
#include "tests/lib/fault.h"
#include "tests/lib/pki.h"

#define FAULT_MAX 20000 /* No step below allocates so often: the loop does not end otherwise. */

/* ---- OpenSSL's allocator ---- */

static size_t openssl_left; /* Allocations until one fails; 0: none will. */
static size_t openssl_failed;

/* Not those of a hash in progress: without memory hashing ends the program, by design. */
static bool openssl_fails(const char *file)
{
	bool hashing = strstr(file, "digests/") != NULL;
	if (hashing || openssl_left == 0 || --openssl_left > 0)
		return false;
	openssl_failed++;
	return true;
}

/* reallocarray(), because malloc() and realloc() are those of fault.h here. */
static void *openssl_malloc(size_t size, const char *file, int line)
{
	return openssl_fails(file) ? NULL : reallocarray(NULL, 1, size);
}

static void *openssl_realloc(void *pointer, size_t size, const char *file, int line)
{
	return openssl_fails(file) ? NULL : reallocarray(pointer, 1, size);
}

static void openssl_free(void *pointer, const char *file, int line)
{
	free(pointer);
}

static void openssl_fault_at(size_t n)
{
	openssl_left = n;
	openssl_failed = 0;
}

static size_t openssl_fault_off(void)
{
	openssl_left = 0;
	return openssl_failed;
}

/* ---- what is tried ---- */

static struct pki pki;
static struct buffer key_pem;
static struct buffer cert_pem;
static struct buffer root_pem;
static struct buffer issuing_pem;
static struct buffer crl_pem;

static struct buffer read_data(const char *name)
{
	char path[PKI_PATH_SIZE];
	struct buffer data = BUFFER_EMPTY;
	struct err err;
	assert_true(file_read(pki_path(&pki, name, path), 1u << 20, &data, &err));
	return data;
}

static int prepare(void **state)
{
	if (CRYPTO_set_mem_functions(openssl_malloc, openssl_realloc, openssl_free) != 1)
		return -1;
	pki_init(&pki, "make_pki(folder, ['e1'], variants=True)");
	key_pem = read_data("agent-e1.key");
	cert_pem = read_data("agent-e1.pem");
	root_pem = read_data("private/root/ca.pem");
	issuing_pem = read_data("private/issuing/ca.pem");
	crl_pem = read_data("private/issuing/crl.pem");
	(void)sha256(
		BYTES_NONE); /* Without memory the program ends: hashing has its contexts now. */
	return 0;
}

static int clean_up(void **state)
{
	buffer_fini(&key_pem);
	buffer_fini(&cert_pem);
	buffer_fini(&root_pem);
	buffer_fini(&issuing_pem);
	buffer_fini(&crl_pem);
	pki_fini(&pki);
	return 0;
}

static void *hash_without_memory(void *arg)
{
	fault_at(1);
	(void)sha256(BYTES_NONE); /* In a new thread: its context is to be made. */
	return arg;
}

static void without_memory_to_hash_the_program_ends_as_documented(void **state)
{
	pid_t child = fork();
	assert_true(child >= 0);
	if (child == 0) {
		pthread_t thread;
		(void)freopen("/dev/null", "w", stderr);
		(void)!pthread_create(&thread, NULL, hash_without_memory, NULL);
		(void)pthread_join(thread, NULL);
		_exit(EXIT_OK);
	}
	int status;
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), EXIT_SYSTEM);
}

static bool read_a_key(struct err *err)
{
	struct key *key = NULL;
	struct signature signature;
	bool ok =
		key_from_pem(&key, buffer_bytes(&key_pem), err) &&
		key_sign(key, BYTES_LITERAL("x"), &signature, err) &&
		key_verify(key, BYTES_LITERAL("x"), signature_bytes(&signature), VERIFY_LOW_S, err);
	key_free(key);
	return ok;
}

static bool write_a_key(struct err *err)
{
	struct key *key = NULL;
	struct buffer pem = BUFFER_EMPTY;
	bool ok = key_generate(&key, SUITE_SHA256_ED25519, err) &&
	          key_to_pem(key, true, &pem, err) && key_to_pem(key, false, &pem, err);
	key_free(key);
	buffer_fini(&pem);
	return ok;
}

static bool check_a_chain(struct err *err)
{
	struct cert *leaf = NULL;
	struct cert *root = NULL;
	struct cert *issuing = NULL;
	const struct bytes crls[] = { buffer_bytes(&crl_pem) };
	bool ok = cert_from_pem(&leaf, buffer_bytes(&cert_pem), err) &&
	          cert_from_pem(&root, buffer_bytes(&root_pem), err) &&
	          cert_from_pem(&issuing, buffer_bytes(&issuing_pem), err);
	if (ok) {
		const struct cert *roots[] = { root };
		const struct cert *issuers[] = { issuing };
		const struct cert_trust trust = { roots, 1, issuers, 1, crls, 1 };
		ok = cert_check(leaf, &trust, clock_wall_ms(clock_system()), err);
	}
	cert_free(leaf);
	cert_free(root);
	cert_free(issuing);
	return ok;
}

static bool read_certificates(struct err *err)
{
	char path[PKI_PATH_SIZE];
	struct cert **certs = NULL;
	size_t count = 0;
	bool ok = cert_read_file(&certs, &count, pki_path(&pki, "ca.pem", path), err);
	for (size_t i = 0; i < count; i++)
		cert_free(certs[i]);
	free(certs);
	return ok;
}

static bool make_a_context(struct err *err)
{
	char certificate[PKI_PATH_SIZE];
	char key[PKI_PATH_SIZE];
	char ca[PKI_PATH_SIZE];
	char crl[PKI_PATH_SIZE];
	const char *crls[] = { pki_path(&pki, "crl.pem", crl) };
	const struct tls_options options = {
		.is_server = true,
		.certificate = pki_path(&pki, "gateway.pem", certificate),
		.key = pki_path(&pki, "gateway.key", key),
		.ca = pki_path(&pki, "ca.pem", ca),
		.crls = crls,
		.crl_count = 1,
		.resumption = true,
		.clock = clock_system(),
	};
	struct tls_context *context = NULL;
	bool ok = tls_context_new(&context, &options, err);
	tls_context_free(context);
	return ok;
}

static bool (*const steps[])(struct err *err) = {
	read_a_key, write_a_key, check_a_chain, read_certificates, make_a_context,
};

#define STEP_COUNT (sizeof(steps) / sizeof(steps[0]))

static void each_of_our_allocations_may_fail(void **state)
{
	for (size_t i = 0; i < STEP_COUNT; i++) {
		struct err err;
		size_t n = 1;
		for (; n < FAULT_MAX; n++) {
			err.code = ZR_OK;
			fault_at(n);
			bool ok = steps[i](&err);
			if (fault_off() == 0) {
				assert_true(ok);
				break;
			}
			assert_false(ok);
			assert_int_equal(err.code, ZR_NO_MEMORY);
		}
		assert_in_range(n, 2, FAULT_MAX - 1);
	}
}

/* OpenSSL may do without some (a cache) and call others malformed input, but never crash, leak, or
 * say yes to what it did not check. */
static void openssls_allocations_may_fail(void **state)
{
	for (size_t i = 0; i < STEP_COUNT; i++) {
		struct err err;
		size_t n = 1;
		/* There are thousands: each of the first, and a sample of the rest. */
		for (; n < FAULT_MAX; n += 1 + n / 25) {
			err.code = ZR_OK;
			openssl_fault_at(n);
			bool ok = steps[i](&err);
			if (openssl_fault_off() == 0) {
				assert_true(ok);
				break;
			}
			assert_true(ok || err.code != ZR_OK);
		}
		assert_in_range(n, 2, FAULT_MAX - 1);
	}
}

/* What is good is never called bad, or its chain would be blamed for it. */
static void without_memory_a_good_signature_is_not_called_a_bad_one(void **state)
{
	static const enum suite suites[] = { SUITE_SHA256_P256, SUITE_SHA256_ED25519,
		                             SUITE_SM3_SM2 };
	struct bytes message = BYTES_LITERAL("x");
	for (size_t i = 0; i < sizeof(suites) / sizeof(suites[0]); i++) {
		struct err err = { .code = ZR_OK };
		struct key *key = NULL;
		struct signature signature;
		if (!suite_available(suites[i]))
			continue;
		assert_true(key_generate(&key, suites[i], &err));
		assert_true(key_sign(key, message, &signature, &err));
		size_t n = 1;
		for (; n < FAULT_MAX; n++) {
			openssl_fault_at(n);
			bool ok = key_verify(key, message, signature_bytes(&signature),
			                     VERIFY_ANY_S, &err);
			size_t failed = openssl_fault_off();
			assert_true(ok || err.code == ZR_NO_MEMORY);
			if (failed == 0) {
				assert_true(ok);
				break;
			}
		}
		assert_in_range(n, 2, FAULT_MAX - 1);
		key_free(key);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(without_memory_to_hash_the_program_ends_as_documented),
		cmocka_unit_test(each_of_our_allocations_may_fail),
		cmocka_unit_test(openssls_allocations_may_fail),
		cmocka_unit_test(without_memory_a_good_signature_is_not_called_a_bad_one),
	};
	return cmocka_run_group_tests(tests, prepare, clean_up);
}
