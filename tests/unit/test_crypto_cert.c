#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "relay/base/clock.h"
#include "relay/base/crypto.h"
#include "relay/base/file.h"
#include "tests/lib/pki.h"

#define DAY_MS INT64_C(86400000)

/* A PKI of each algorithm, a stranger's, and one whose issuing CA has expired. */
static struct pki p256;
static struct pki sm2;
static struct pki ed25519;
static struct pki stranger;
static struct pki old;

static const char *const good_script =
	"pki = make_pki(folder, ['e1'], variants=True)\n"
	"pki.issue('units', '/O=org/OU=client/OU=\xe5\x8f\xb0\xe5\x8c\xba/CN=\"a,b\"', None, "
	"None)\n"
	"pki.issue('two-uris', '/CN=x', 'DNS:x, URI:first, URI:second', None)\n"
	/* A certificate that is no CA, used as if it were one. */
	"fake = Authority(folder / 'fake', 'fake', issuer=pki.issuing)\n"
	"pki.issuing.sign(fake.key, fake.certificate, '/O=zonerelay test/CN=fake', LEAF,\n"
	"                 now() - datetime.timedelta(days=1), now() + datetime.timedelta(days=9))\n"
	"pki.issuing, real = fake, pki.issuing\n"
	"pki.issue_agent('e1', 'by-fake')\n"
	/* A whole branch that the root revokes. */
	"pki.issuing = Authority(folder / 'lost', 'lost', issuer=pki.root)\n"
	"pki.issue_agent('e1', 'by-lost')\n"
	"pki.root.revoke(pki.issuing.certificate)\n";

static int make_all(void **state)
{
	pki_init(&p256, good_script);
	pki_init(&sm2, "make_pki(folder, ['e1'], algorithm='sm2', variants=True)");
	pki_init(&ed25519, "make_pki(folder, ['e1'], algorithm='ed25519')");
	pki_init(&stranger, "make_pki(folder, ['e1'])");
	pki_init(&old, "pki = make_pki(folder)\n"
	               "day = datetime.timedelta(days=1)\n"
	               "pki.issuing = Authority(folder / 'old', 'old', issuer=pki.root,\n"
	               "                        start=now() - 9 * day, end=now() - 2 * day)\n"
	               "pki.issue_agent('e1')\n");
	return 0;
}

static int remove_all(void **state)
{
	pki_fini(&p256);
	pki_fini(&sm2);
	pki_fini(&ed25519);
	pki_fini(&stranger);
	pki_fini(&old);
	return 0;
}

static int64_t now_ms(void)
{
	return clock_wall_ms(clock_system());
}

static struct buffer read_data(const char *path)
{
	struct buffer data = BUFFER_EMPTY;
	struct err err;
	if (!file_read(path, 1u << 20, &data, &err))
		fail_msg("%s", err.message);
	return data;
}

/* The first certificate of a file: the leaf. */
static struct cert *read_cert(const struct pki *pki, const char *name)
{
	char path[PKI_PATH_SIZE];
	struct buffer pem = read_data(pki_path(pki, name, path));
	struct cert *cert = NULL;
	struct err err;
	if (!cert_from_pem(&cert, buffer_bytes(&pem), &err))
		fail_msg("%s: %s", name, err.message);
	buffer_fini(&pem);
	return cert;
}

struct outcome {
	bool ok;
	struct err err;
};

/* What is checked: the leaf of a file, under the PKI's root, with the issuers and lists given. */
static struct outcome check(const struct pki *pki, const char *name, const char *issuer,
                            const char *crl, int64_t at_ms)
{
	char path[PKI_PATH_SIZE];
	struct cert *leaf = read_cert(pki, name);
	struct cert *root = read_cert(pki, "private/root/ca.pem");
	struct cert *between[2] = { read_cert(pki, "private/issuing/ca.pem"), NULL };
	struct buffer list = BUFFER_EMPTY;
	if (issuer != NULL)
		between[1] = read_cert(pki, issuer);
	if (crl != NULL)
		list = read_data(pki_path(pki, crl, path));
	const struct bytes crls[] = { buffer_bytes(&list) };
	const struct cert *roots[] = { root };
	const struct cert *const intermediates[] = { between[0], between[1] };
	const struct cert_trust trust = {
		.roots = roots,
		.root_count = 1,
		.intermediates = intermediates,
		.intermediate_count = issuer != NULL ? 2 : 1,
		.crls = crls,
		.crl_count = crl != NULL ? 1 : 0,
	};
	struct outcome outcome;
	outcome.ok = cert_check(leaf, &trust, at_ms, &outcome.err);
	cert_free(leaf);
	cert_free(root);
	cert_free(between[0]);
	cert_free(between[1]);
	buffer_fini(&list);
	return outcome;
}

static void assert_good(struct outcome outcome)
{
	if (!outcome.ok)
		fail_msg("%s", outcome.err.message);
}

static void assert_refused(struct outcome outcome, const char *reason)
{
	assert_false(outcome.ok);
	assert_int_equal(outcome.err.code, ZR_UNTRUSTED);
	if (strstr(outcome.err.message, reason) == NULL)
		fail_msg("\"%s\" does not say \"%s\"", outcome.err.message, reason);
}

static void a_chain_of_each_algorithm_leads_to_its_root(void **state)
{
	assert_good(check(&p256, "agent-e1.pem", NULL, NULL, now_ms()));
	assert_good(check(&sm2, "agent-e1.pem", NULL, NULL, now_ms()));
	assert_good(check(&ed25519, "agent-e1.pem", NULL, NULL, now_ms()));
	assert_good(check(&p256, "agent-e1.pem", NULL, "private/issuing/crl.pem", now_ms()));
	assert_good(check(&sm2, "agent-e1.pem", NULL, "private/issuing/crl.pem", now_ms()));
}

static void the_key_of_a_certificate_is_of_its_suite(void **state)
{
	struct cert *cert = read_cert(&sm2, "agent-e1.pem");
	assert_int_equal(key_suite(cert_key(cert)), SUITE_SM3_SM2);
	cert_free(cert);
	cert = read_cert(&p256, "agent-e1.pem");
	assert_int_equal(key_suite(cert_key(cert)), SUITE_SHA256_P256);
	cert_free(cert);
}

static void a_stranger_leads_nowhere(void **state)
{
	struct cert *leaf = read_cert(&stranger, "agent-e1.pem");
	struct cert *root = read_cert(&p256, "private/root/ca.pem");
	struct cert *issuing = read_cert(&p256, "private/issuing/ca.pem");
	const struct cert *roots[] = { root };
	const struct cert *intermediates[] = { issuing };
	struct cert_trust trust = { roots, 1, intermediates, 1, NULL, 0 };
	struct err err;
	/* The strangers' CAs have the same names as ours. */
	assert_false(cert_check(leaf, &trust, now_ms(), &err));
	assert_int_equal(err.code, ZR_UNTRUSTED);
	trust.intermediate_count = 0;
	struct cert *ours = read_cert(&p256, "agent-e1.pem");
	assert_false(cert_check(ours, &trust, now_ms(), &err)); /* Its issuer is missing. */
	trust = (struct cert_trust){ NULL, 0, intermediates, 1, NULL, 0 };
	assert_false(cert_check(ours, &trust, now_ms(), &err)); /* Its root is missing. */
	cert_free(ours);
	cert_free(leaf);
	cert_free(root);
	cert_free(issuing);
}

static void an_expired_certificate_is_good_at_any_time_but_now(void **state)
{
	assert_refused(check(&p256, "agent-expired.pem", NULL, NULL, now_ms()), "expired at 20");
	assert_refused(check(&p256, "agent-early.pem", NULL, NULL, now_ms()),
	               "not valid before 20");
	assert_good(check(&p256, "agent-expired.pem", NULL, NULL, CERT_ANY_TIME));
	assert_good(check(&p256, "agent-early.pem", NULL, NULL, CERT_ANY_TIME));
	assert_good(check(&p256, "agent-early.pem", NULL, NULL, now_ms() + 5 * DAY_MS));
	assert_good(check(&sm2, "agent-expired.pem", NULL, NULL, CERT_ANY_TIME));
	assert_refused(check(&sm2, "agent-expired.pem", NULL, NULL, now_ms()), "expired at");
}

static void an_expired_issuer_is_good_at_any_time_but_now(void **state)
{
	assert_refused(check(&old, "agent-e1.pem", "old/ca.pem", NULL, now_ms()),
	               "1 issuers are outside their validity");
	assert_good(check(&old, "agent-e1.pem", "old/ca.pem", NULL, CERT_ANY_TIME));
}

static void a_revoked_certificate_is_refused_at_any_time(void **state)
{
	const char *crl = "private/issuing/crl.pem";
	assert_good(check(&p256, "agent-revoked.pem", NULL, NULL, now_ms()));
	assert_refused(check(&p256, "agent-revoked.pem", NULL, crl, now_ms()), "revoked");
	assert_refused(check(&p256, "agent-revoked.pem", NULL, crl, CERT_ANY_TIME), "revoked");
	assert_refused(check(&sm2, "agent-revoked.pem", NULL, crl, now_ms()), "revoked");
	/* The root's list says nothing about what another CA issued. */
	assert_good(check(&p256, "agent-revoked.pem", NULL, "private/root/crl.pem", now_ms()));
}

static void what_a_revoked_issuer_signed_is_refused(void **state)
{
	assert_good(check(&p256, "by-lost.pem", "lost/ca.pem", NULL, now_ms()));
	assert_refused(check(&p256, "by-lost.pem", "lost/ca.pem", "private/root/crl.pem", now_ms()),
	               "revoked");
}

static void an_entry_counts_although_its_list_is_stale(void **state)
{
	pki_run(&p256, "pki = Pki.__new__(Pki)\n"
	               "issuing = Authority.__new__(Authority)\n"
	               "issuing.folder, issuing.algorithm = folder / 'private/issuing', 'p256'\n"
	               "issuing.crl = folder / 'stale.pem'\n"
	               "day = datetime.timedelta(days=1)\n"
	               "issuing.write_crl(now() - 9 * day, now() - 8 * day)\n");
	assert_refused(check(&p256, "agent-revoked.pem", NULL, "stale.pem", now_ms()), "revoked");
	assert_good(check(&p256, "agent-e1.pem", NULL, "stale.pem", now_ms()));
}

static void a_list_that_its_issuer_did_not_sign_says_nothing(void **state)
{
	char path[PKI_PATH_SIZE];
	/* The stranger's issuing CA has our issuing CA's name and, by chance, our serial numbers. */
	pki_run(&stranger,
	        "pki = Pki.__new__(Pki)\n"
	        "issuing = Authority.__new__(Authority)\n"
	        "issuing.folder, issuing.algorithm = folder / 'private/issuing', 'p256'\n"
	        "issuing.crl = folder / 'forged.pem'\n"
	        "issuing.revoke(folder / 'private/agent-e1.pem')\n"
	        "issuing.revoke(folder / 'private/gateway.pem')\n");
	struct cert *leaf = read_cert(&p256, "agent-e1.pem");
	struct cert *theirs = read_cert(&stranger, "agent-e1.pem");
	assert_string_equal(cert_serial(leaf), cert_serial(theirs));
	struct cert *root = read_cert(&p256, "private/root/ca.pem");
	struct cert *issuing = read_cert(&p256, "private/issuing/ca.pem");
	struct buffer list = read_data(pki_path(&stranger, "forged.pem", path));
	const struct bytes crls[] = { buffer_bytes(&list) };
	const struct cert *roots[] = { root };
	const struct cert *intermediates[] = { issuing };
	struct cert_trust trust = { roots, 1, intermediates, 1, crls, 1 };
	struct err err;
	if (!cert_check(leaf, &trust, now_ms(), &err))
		fail_msg("%s", err.message);
	buffer_fini(&list);
	cert_free(leaf);
	cert_free(theirs);
	cert_free(root);
	cert_free(issuing);
}

static void a_list_that_cannot_be_read_lets_nobody_in(void **state)
{
	assert_refused(check(&p256, "agent-e1.pem", NULL, "agent-e1.key", now_ms()),
	               "a revocation list cannot be read");
}

static void only_a_ca_may_issue(void **state)
{
	assert_refused(check(&p256, "by-fake.pem", "fake/ca.pem", NULL, now_ms()), "CA");
	assert_refused(check(&p256, "by-fake.pem", "fake/ca.pem", NULL, CERT_ANY_TIME), "CA");
}

static void a_root_is_no_leaf(void **state)
{
	assert_refused(check(&p256, "private/root/ca.pem", NULL, NULL, now_ms()), "itself a root");
	/* An issuing CA may have signed something itself: whether that is allowed is the caller's. */
	assert_good(check(&p256, "private/issuing/ca.pem", NULL, NULL, now_ms()));
}

static void a_certificate_tells_what_is_in_it(void **state)
{
	struct cert *cert = read_cert(&p256, "agent-e1.pem");
	assert_string_equal(cert_subject(cert), "O=demo, CN=e1");
	assert_string_equal(cert_san_uri(cert, 0), "zonerelay:agent/e1");
	assert_null(cert_san_uri(cert, 1));
	assert_null(cert_subject_ou(cert, 0));
	assert_false(cert_is_ca(cert));
	assert_int_equal(strspn(cert_serial(cert), "0123456789abcdef"), strlen(cert_serial(cert)));
	int64_t span_ms = cert_not_after_ms(cert) - cert_not_before_ms(cert);
	assert_int_equal(span_ms, 366 * DAY_MS);
	assert_true(cert_not_before_ms(cert) < now_ms() && now_ms() < cert_not_after_ms(cert));
	cert_free(cert);

	cert = read_cert(&p256, "units.pem");
	assert_string_equal(cert_subject_ou(cert, 0), "client");
	assert_string_equal(cert_subject_ou(cert, 1), "\xe5\x8f\xb0\xe5\x8c\xba");
	assert_null(cert_subject_ou(cert, 2));
	assert_non_null(strstr(cert_subject(cert), "CN=\\'a\\,b\\'"));
	cert_free(cert);

	cert = read_cert(&p256, "two-uris.pem");
	assert_string_equal(cert_san_uri(cert, 0), "first");
	assert_string_equal(cert_san_uri(cert, 1), "second");
	cert_free(cert);

	cert = read_cert(&p256, "private/issuing/ca.pem");
	assert_true(cert_is_ca(cert));
	struct cert *again = NULL;
	struct err err;
	assert_true(cert_from_der(&again, cert_der(cert), &err));
	assert_true(bytes_equal(cert_der(cert), cert_der(again)));
	cert_free(again);
	cert_free(cert);
}

static void every_certificate_of_a_file_is_read(void **state)
{
	char path[PKI_PATH_SIZE];
	struct cert **certs = NULL;
	size_t count = 0;
	struct err err;
	assert_true(cert_read_file(&certs, &count, pki_path(&p256, "ca.pem", path), &err));
	assert_int_equal(count, 2);
	for (size_t i = 0; i < count; i++) {
		assert_true(cert_is_ca(certs[i]));
		cert_free(certs[i]);
	}
	free(certs);
	assert_false(cert_read_file(&certs, &count, pki_path(&p256, "agent-e1.key", path), &err));
	assert_int_equal(err.code, ZR_INVALID);
	assert_false(cert_read_file(&certs, &count, "/nonexistent", &err));
	assert_int_equal(err.code, ZR_UNAVAILABLE);
}

static void what_is_not_a_certificate_is_refused(void **state)
{
	struct cert *cert = NULL;
	struct err err;
	struct cert *good = read_cert(&p256, "agent-e1.pem");
	struct buffer der = BUFFER_EMPTY;
	buffer_put(&der, cert_der(good));
	buffer_put_u8(&der, 0);
	assert_false(cert_from_der(&cert, buffer_bytes(&der), &err));
	assert_string_equal(err.message, "bytes after the certificate");
	for (size_t size = 0; size < cert_der(good).size; size += 7) {
		struct bytes torn = { der.data, size };
		assert_false(cert_from_der(&cert, torn, &err));
		assert_int_equal(err.code, ZR_INVALID);
	}
	assert_false(cert_from_pem(&cert, BYTES_LITERAL("no PEM"), &err));
	assert_string_equal(err.message, "no certificate in PEM");
	assert_false(cert_from_pem(&cert, BYTES_NONE, &err));
	assert_false(cert_from_pem(&cert,
	                           BYTES_LITERAL("-----BEGIN CERTIFICATE-----\n"
	                                         "AAAA\n-----END CERTIFICATE-----\n"),
	                           &err));
	assert_int_equal(err.code, ZR_INVALID);
	assert_null(cert);
	buffer_fini(&der);
	cert_free(good);
}

/* tests/data/fabric-worked-example/README.md */
static void signatures_of_real_fabric_orderers_verify(void **state)
{
	static const char *const names[] = { "raft8", "bft5.id1", "bft5.id2", "bft5.id3" };
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		struct buffer parts[3];
		static const char *const endings[] = { "cert.pem", "signed.bin", "sig.der" };
		for (size_t k = 0; k < 3; k++) {
			char path[128];
			(void)snprintf(path, sizeof(path), "tests/data/fabric-worked-example/%s.%s",
			               names[i], endings[k]);
			parts[k] = read_data(path);
		}
		struct cert *cert = NULL;
		struct err err;
		assert_true(cert_from_pem(&cert, buffer_bytes(&parts[0]), &err));
		if (!key_verify(cert_key(cert), buffer_bytes(&parts[1]), buffer_bytes(&parts[2]),
		                VERIFY_LOW_S, &err))
			fail_msg("%s: %s", names[i], err.message);
		parts[1].data[parts[1].size / 2] ^= 1;
		assert_false(key_verify(cert_key(cert), buffer_bytes(&parts[1]),
		                        buffer_bytes(&parts[2]), VERIFY_LOW_S, &err));
		cert_free(cert);
		for (size_t k = 0; k < 3; k++)
			buffer_fini(&parts[k]);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_chain_of_each_algorithm_leads_to_its_root),
		cmocka_unit_test(the_key_of_a_certificate_is_of_its_suite),
		cmocka_unit_test(a_stranger_leads_nowhere),
		cmocka_unit_test(an_expired_certificate_is_good_at_any_time_but_now),
		cmocka_unit_test(an_expired_issuer_is_good_at_any_time_but_now),
		cmocka_unit_test(a_revoked_certificate_is_refused_at_any_time),
		cmocka_unit_test(what_a_revoked_issuer_signed_is_refused),
		cmocka_unit_test(an_entry_counts_although_its_list_is_stale),
		cmocka_unit_test(a_list_that_its_issuer_did_not_sign_says_nothing),
		cmocka_unit_test(a_list_that_cannot_be_read_lets_nobody_in),
		cmocka_unit_test(only_a_ca_may_issue),
		cmocka_unit_test(a_root_is_no_leaf),
		cmocka_unit_test(a_certificate_tells_what_is_in_it),
		cmocka_unit_test(every_certificate_of_a_file_is_read),
		cmocka_unit_test(what_is_not_a_certificate_is_refused),
		cmocka_unit_test(signatures_of_real_fabric_orderers_verify),
	};
	return cmocka_run_group_tests(tests, make_all, remove_all);
}
