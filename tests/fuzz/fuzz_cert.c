/* fuzz_cert.c -- certificates as they come in blocks and handshakes, and what is asked of them. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "relay/base/crypto.h"

static void ask(const struct cert *cert)
{
	const struct cert *const roots[] = { cert };
	const struct bytes crls[] = { cert_der(cert) }; /* Not one: must be refused, not misread. */
	const struct cert_trust itself = { roots, 1, NULL, 0, NULL, 0 };
	const struct cert_trust issuer = { NULL, 0, roots, 1, crls, 1 };
	struct err err;
	/* A root is never accepted as a leaf, nor anything without a root. */
	if (cert_check(cert, &itself, CERT_ANY_TIME, &err) ||
	    cert_check(cert, &issuer, cert_not_before_ms(cert), &err))
		abort();
	for (size_t i = 0; cert_san_uri(cert, i) != NULL; i++)
		(void)strlen(cert_san_uri(cert, i));
	for (size_t i = 0; cert_subject_ou(cert, i) != NULL; i++)
		(void)strlen(cert_subject_ou(cert, i));
	(void)strlen(cert_subject(cert));
	(void)strlen(cert_serial(cert));
	(void)cert_is_ca(cert);
	if (cert_key(cert) != NULL) {
		struct key *again = NULL;
		if (!key_from_spki(&again, key_spki(cert_key(cert)), &err) ||
		    !bytes_equal(key_spki(again), key_spki(cert_key(cert))))
			abort();
		key_free(again);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct bytes input = { data, size };
	struct cert *cert = NULL;
	struct key *key = NULL;
	struct err err;
	if (cert_from_der(&cert, input, &err)) {
		ask(cert);
		if (!bytes_equal(cert_der(cert), input))
			abort();
		cert_free(cert);
	} else if (cert_from_pem(&cert, input, &err)) {
		ask(cert);
		cert_free(cert);
	}
	if (key_from_spki(&key, input, &err) || key_from_pem(&key, input, &err))
		key_free(key);
	return 0;
}
