/* receipts.c -- see receipts.h. */
#include "relay/receipts.h"

#include <stdlib.h>

#include "relay/base/file.h"

#define CERTIFICATE_FILE_MAX (64u << 10)

static bool read_certificate(struct cert **out_cert, const char *path, struct err *err)
{
	struct buffer pem = BUFFER_EMPTY;
	bool ok = file_read(path, CERTIFICATE_FILE_MAX, &pem, err) &&
	          cert_from_pem(out_cert, buffer_bytes(&pem), err);
	buffer_fini(&pem);
	return ok || err_wrap(err, "%s", path);
}

bool receipts_read(struct receipts *out_receipts, struct key **out_key,
                   const struct config_receipts *config, struct err *err)
{
	struct receipts receipts = { .certificate = NULL };
	struct key *key = NULL;
	if (!key_read_file(&key, config->key, err) ||
	    !read_certificate(&receipts.certificate, config->certificate, err))
		goto fail;
	const struct key *certified = cert_key(receipts.certificate);
	if (!key_is_private(key) || certified == NULL ||
	    !bytes_equal(key_spki(key), key_spki(certified))) {
		err_set(err, ZR_INVALID, "%s is not the key of %s", config->key,
		        config->certificate);
		goto fail;
	}
	if (config->old_certificates.count > LINK_CERTIFICATES_MAX) {
		err_set(err, ZR_INVALID, "more than %u old receipt certificates",
		        LINK_CERTIFICATES_MAX);
		goto fail;
	}
	for (size_t i = 0; i < config->old_certificates.count; i++) {
		if (!read_certificate(&receipts.former[i], config->old_certificates.items[i], err))
			goto fail;
		receipts.former_count++;
	}
	*out_receipts = receipts;
	*out_key = key;
	return true;

fail:
	receipts_fini(&receipts);
	key_free(key);
	return err_wrap(err, "receipts");
}

void receipts_fini(struct receipts *receipts)
{
	cert_free(receipts->certificate);
	for (size_t i = 0; i < receipts->former_count; i++)
		cert_free(receipts->former[i]);
	*receipts = (struct receipts){ .certificate = NULL };
}

const struct key *receipts_key(const struct receipts *receipts, struct bytes key_id)
{
	const struct key *key = cert_key(receipts->certificate);
	if (receipt_key_matches(key, key_id))
		return key;
	for (size_t i = 0; i < receipts->former_count; i++) {
		key = cert_key(receipts->former[i]);
		if (key != NULL && receipt_key_matches(key, key_id))
			return key;
	}
	return NULL;
}
