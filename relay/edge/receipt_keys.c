#include "relay/edge/receipt_keys.h"

#include <string.h>

#include "proto/receipt.h"

void receipt_keys_clear(struct receipt_keys *keys)
{
	for (size_t i = 0; i < keys->count; i++)
		cert_free(keys->certs[i]);
	keys->count = 0;
}

static bool is_of_agent(const struct cert *cert)
{
	static const char agent[] = "zonerelay:agent/";
	for (size_t i = 0; cert_san_uri(cert, i) != NULL; i++) {
		if (strncmp(cert_san_uri(cert, i), agent, sizeof(agent) - 1) == 0)
			return true;
	}
	return false;
}

bool receipt_keys_add(struct receipt_keys *keys, struct bytes der, const struct cert_trust *trust,
                      int64_t at_ms, struct err *err)
{
	struct cert *cert = NULL;
	if (keys->count == RECEIPT_KEYS_MAX)
		return err_set(err, ZR_INVALID, "more than %d receipt certificates",
		               RECEIPT_KEYS_MAX);
	if (!cert_from_der(&cert, der, err))
		return err_wrap(err, "receipt certificate");
	bool ok = cert_check(cert, trust, at_ms, err);
	if (ok && is_of_agent(cert))
		ok = err_set(err, ZR_UNTRUSTED, "it is an agent's");
	if (ok && cert_key(cert) == NULL)
		ok = err_set(err, ZR_UNTRUSTED, "its key is of a kind that is not known here");
	if (!ok) {
		err_wrap(err, "receipt certificate %s", cert_subject(cert));
		cert_free(cert);
		return false;
	}
	keys->certs[keys->count++] = cert;
	return true;
}

const struct key *receipt_keys_find(const struct receipt_keys *keys, struct bytes id)
{
	for (size_t i = 0; i < keys->count; i++) {
		if (receipt_key_matches(cert_key(keys->certs[i]), id))
			return cert_key(keys->certs[i]);
	}
	return NULL;
}
