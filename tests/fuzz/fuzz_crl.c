/* fuzz_crl.c -- any bytes as a revocation list of a CA whose key nobody has: no list but its own
 * revokes, and none takes a revocation back. The corpus holds the CA's own list. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "relay/base/crypto.h"

struct pki {
	struct cert **roots, **issuing, **good, **revoked;
};

static void must(bool ok)
{
	if (!ok)
		abort();
}

static struct cert **read_certs(const char *name)
{
	char path[512];
	struct cert **certs = NULL;
	size_t count = 0;
	(void)snprintf(path, sizeof(path), "%s/revocation/%s.pem", TEST_DATA, name);
	must(cert_read_file(&certs, &count, path, NULL) && count == 1);
	return certs;
}

static const struct pki *pki(void)
{
	static struct pki made;
	if (made.roots == NULL)
		made = (struct pki){ read_certs("roots"), read_certs("issuing"), read_certs("good"),
			             read_certs("revoked") };
	return &made;
}

static bool holds(const struct cert *cert, struct bytes crl, struct err *err)
{
	const struct cert *roots[] = { pki()->roots[0] };
	const struct cert *issuing[] = { pki()->issuing[0] };
	const struct cert_trust trust = { .roots = roots,
		                          .root_count = 1,
		                          .intermediates = issuing,
		                          .intermediate_count = 1,
		                          .crls = &crl,
		                          .crl_count = 1 };
	return cert_check(cert, &trust, CERT_ANY_TIME, err);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct err err;
	struct bytes crl = { data, size };
	bool good = holds(pki()->good[0], crl, &err);
	/* A list that cannot be read stops both; one that can speaks of nobody but the revoked. */
	must(good || strstr(err.message, "cannot be read") != NULL);
	bool revoked = !holds(pki()->revoked[0], crl, NULL);
	must(good || revoked);
	return 0;
}
