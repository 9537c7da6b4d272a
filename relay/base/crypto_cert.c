/* crypto_cert.c -- certificates taken apart once, then only read; see crypto.h. */
#include <assert.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>
#include <stdlib.h>
#include <string.h>

#include "relay/base/crypto_internal.h"
#include "relay/base/file.h"

#define DER_SIZE_MAX    ((size_t)65536)
#define FILE_SIZE_MAX   (4u << 20)
#define FILE_COUNT_MAX  4096u
#define MS_PER_SECOND   1000
#define SECONDS_PER_DAY 86400

struct text_list {
	char **texts; /* Owned, each and the array. */
	size_t count;
};

struct cert {
	X509 *x509;   /* Owned. Its lazily computed parts are computed, so threads may share it. */
	uint8_t *der; /* Owned. As it was given. */
	size_t der_size;
	struct key *key; /* Owned. NULL: a kind of key we lack. */
	int64_t not_before_ms;
	int64_t not_after_ms;
	bool is_ca;
	char *subject; /* Owned. */
	char *serial;  /* Owned by OpenSSL's allocator. */
	struct text_list subject_ous;
	struct text_list san_uris;
};

X509 *cert_x509(const struct cert *cert)
{
	return cert->x509;
}

struct bytes cert_der(const struct cert *cert)
{
	return (struct bytes){ cert->der, cert->der_size };
}

const struct key *cert_key(const struct cert *cert)
{
	return cert->key;
}

int64_t cert_not_before_ms(const struct cert *cert)
{
	return cert->not_before_ms;
}

int64_t cert_not_after_ms(const struct cert *cert)
{
	return cert->not_after_ms;
}

bool cert_is_ca(const struct cert *cert)
{
	return cert->is_ca;
}

const char *cert_subject(const struct cert *cert)
{
	return cert->subject;
}

const char *cert_subject_ou(const struct cert *cert, size_t index)
{
	return index < cert->subject_ous.count ? cert->subject_ous.texts[index] : NULL;
}

const char *cert_san_uri(const struct cert *cert, size_t index)
{
	return index < cert->san_uris.count ? cert->san_uris.texts[index] : NULL;
}

const char *cert_serial(const struct cert *cert)
{
	return cert->serial;
}

/* ---- taking one apart ---- */

static void text_list_fini(struct text_list *list)
{
	for (size_t i = 0; i < list->count; i++)
		free(list->texts[i]);
	free(list->texts);
}

/* Adds a copy of the text. A zero byte inside would make two names of one: refused. */
static bool text_list_add(struct text_list *list, const unsigned char *text, int size,
                          struct err *err)
{
	if (size < 0 || memchr(text, 0, (size_t)size) != NULL)
		return err_set(err, ZR_INVALID, "a name with a zero byte in it");
	char **texts = realloc(list->texts, (list->count + 1) * sizeof(*texts));
	if (texts == NULL)
		return err_set(err, ZR_NO_MEMORY, "certificate");
	list->texts = texts;
	char *copy = strndup((const char *)text, (size_t)size);
	if (copy == NULL)
		return err_set(err, ZR_NO_MEMORY, "certificate");
	list->texts[list->count++] = copy;
	return true;
}

static bool read_subject(struct cert *cert, struct err *err)
{
	/* One line, in the order of the certificate, control characters escaped, UTF-8 kept. */
	const unsigned long flags = XN_FLAG_SEP_CPLUS_SPC | XN_FLAG_FN_SN |
	                            (ASN1_STRFLGS_RFC2253 & ~(unsigned long)ASN1_STRFLGS_ESC_MSB);
	X509_NAME *name = X509_get_subject_name(cert->x509);
	BIO *bio = BIO_new(BIO_s_mem());
	char *text = NULL;
	if (bio == NULL || X509_NAME_print_ex(bio, name, 0, flags) < 0) {
		BIO_free(bio);
		return crypto_fail(err, ZR_INVALID, "the subject's name is malformed");
	}
	long size = BIO_get_mem_data(bio, &text);
	cert->subject = size <= 0 ? strdup("") : strndup(text, (size_t)size);
	BIO_free(bio);
	if (cert->subject == NULL)
		return err_set(err, ZR_NO_MEMORY, "certificate");
	/* It is logged between double quotes, and strangers choose it. */
	for (char *at = cert->subject; *at != '\0'; at++) {
		if (*at == '"')
			*at = '\'';
	}
	return true;
}

static bool read_subject_ous(struct cert *cert, struct err *err)
{
	X509_NAME *name = X509_get_subject_name(cert->x509);
	int at = -1;
	while ((at = X509_NAME_get_index_by_NID(name, NID_organizationalUnitName, at)) >= 0) {
		unsigned char *text = NULL;
		int size = ASN1_STRING_to_UTF8(
			&text, X509_NAME_ENTRY_get_data(X509_NAME_get_entry(name, at)));
		if (size < 0)
			return crypto_fail(err, ZR_INVALID, "an organisational unit is malformed");
		bool added = text_list_add(&cert->subject_ous, text, size, err);
		OPENSSL_free(text);
		if (!added)
			return false;
	}
	return true;
}

static bool read_san_uris(struct cert *cert, struct err *err)
{
	int found = 0;
	GENERAL_NAMES *names = X509_get_ext_d2i(cert->x509, NID_subject_alt_name, &found, NULL);
	if (names == NULL && found != -1)
		return crypto_fail(err, ZR_INVALID, "the subject alternative name is malformed");
	bool ok = true;
	for (int i = 0; ok && i < sk_GENERAL_NAME_num(names); i++) {
		const GENERAL_NAME *name = sk_GENERAL_NAME_value(names, i);
		if (name->type != GEN_URI)
			continue;
		const ASN1_IA5STRING *uri = name->d.uniformResourceIdentifier;
		ok = text_list_add(&cert->san_uris, ASN1_STRING_get0_data(uri),
		                   ASN1_STRING_length(uri), err);
	}
	GENERAL_NAMES_free(names);
	return ok;
}

static bool read_serial(struct cert *cert, struct err *err)
{
	BIGNUM *number = ASN1_INTEGER_to_BN(X509_get0_serialNumber(cert->x509), NULL);
	cert->serial = number == NULL ? NULL : BN_bn2hex(number);
	BN_free(number);
	if (cert->serial == NULL)
		return crypto_fail(err, ZR_INVALID, "the serial number is malformed");
	for (char *at = cert->serial; *at != '\0'; at++) {
		if (*at >= 'A' && *at <= 'F')
			*at = (char)(*at - 'A' + 'a');
	}
	return true;
}

/* Own arithmetic: time_t ends in 2038 on 32-bit machines, certificates do not. */
static bool read_time(const ASN1_TIME *time, int64_t *out_ms, struct err *err)
{
	struct tm tm;
	if (ASN1_TIME_to_tm(time, &tm) != 1)
		return crypto_fail(err, ZR_INVALID, "a validity time is malformed");
	/* Years are counted from March, so that the leap day is a year's last. */
	int64_t year = (int64_t)tm.tm_year + 1900 - (tm.tm_mon < 2 ? 1 : 0);
	int64_t month = (tm.tm_mon + 10) % 12;
	int64_t day = 365 * year + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 +
	              tm.tm_mday - 1 - 719468;
	int64_t second = day * SECONDS_PER_DAY + tm.tm_hour * INT64_C(3600) +
	                 tm.tm_min * INT64_C(60) + tm.tm_sec;
	*out_ms = second * MS_PER_SECOND;
	return true;
}

static bool read_key(struct cert *cert, struct err *err)
{
	EVP_PKEY *pkey = X509_get0_pubkey(cert->x509);
	struct err ignored;
	if (pkey == NULL || key_from_evp(&cert->key, pkey, &ignored)) {
		ERR_clear_error();
		return true;
	}
	/* A kind of key we lack is no failure; running out of memory is. */
	return ignored.code != ZR_NO_MEMORY || err_set(err, ZR_NO_MEMORY, "certificate");
}

/* OpenSSL 3 verifies an SM2 signature on a certificate only if told the signer's id, and passes
 * none by itself. */
static bool set_sm2_id(struct cert *cert, struct err *err)
{
	if (X509_get_signature_nid(cert->x509) != NID_SM2_with_SM3)
		return true;
	ASN1_OCTET_STRING *id = ASN1_OCTET_STRING_new();
	if (id == NULL ||
	    ASN1_OCTET_STRING_set(id, (const unsigned char *)SM2_ID, SM2_ID_SIZE) != 1) {
		ASN1_OCTET_STRING_free(id);
		return err_set(err, ZR_NO_MEMORY, "certificate");
	}
	X509_set0_distinguishing_id(cert->x509, id);
	return true;
}

bool cert_from_der(struct cert **out_cert, struct bytes der, struct err *err)
{
	if (der.size == 0 || der.size > DER_SIZE_MAX)
		return err_set(err, ZR_INVALID, "a certificate of %zu bytes", der.size);
	struct cert *cert = calloc(1, sizeof(*cert));
	if (cert == NULL)
		return err_set(err, ZR_NO_MEMORY, "certificate");

	const unsigned char *at = der.data;
	cert->x509 = d2i_X509(NULL, &at, (long)der.size);
	if (cert->x509 == NULL) {
		crypto_fail(err, ZR_INVALID, "not a certificate");
		goto fail;
	}
	if (at != der.data + der.size) {
		err_set(err, ZR_INVALID, "bytes after the certificate");
		goto fail;
	}
	cert->der = bytes_dup(der);
	cert->der_size = der.size;
	if (cert->der == NULL) {
		err_set(err, ZR_NO_MEMORY, "certificate");
		goto fail;
	}
	if (!read_subject(cert, err) || !read_subject_ous(cert, err) || !read_san_uris(cert, err) ||
	    !read_serial(cert, err) || !read_key(cert, err) || !set_sm2_id(cert, err) ||
	    !read_time(X509_get0_notBefore(cert->x509), &cert->not_before_ms, err) ||
	    !read_time(X509_get0_notAfter(cert->x509), &cert->not_after_ms, err))
		goto fail;
	cert->is_ca =
		X509_check_ca(cert->x509) == 1; /* Also fills OpenSSL's cache of extensions. */
	ERR_clear_error();
	*out_cert = cert;
	return true;

fail:
	cert_free(cert);
	return false;
}

void cert_free(struct cert *cert)
{
	if (cert == NULL)
		return;
	text_list_fini(&cert->subject_ous);
	text_list_fini(&cert->san_uris);
	key_free(cert->key);
	free(cert->subject);
	OPENSSL_free(cert->serial);
	free(cert->der);
	X509_free(cert->x509);
	free(cert);
}

/* ---- PEM ---- */

enum pem_answer { PEM_CERT, PEM_END, PEM_FAILED };

/* Reads the next certificate, passing over other blocks (a file may hold a key as well). */
static enum pem_answer next_cert(struct cert **out_cert, BIO *bio, struct err *err)
{
	for (;;) {
		char *name = NULL;
		char *header = NULL;
		unsigned char *data = NULL;
		long size = 0;
		if (PEM_read_bio_ex(bio, &name, &header, &data, &size, PEM_FLAG_SECURE) != 1) {
			bool end = ERR_GET_REASON(ERR_peek_last_error()) == PEM_R_NO_START_LINE;
			crypto_fail(err, ZR_INVALID, "malformed PEM");
			return end ? PEM_END : PEM_FAILED;
		}
		bool wanted = strcmp(name, PEM_STRING_X509) == 0;
		bool ok = wanted &&
		          cert_from_der(out_cert, (struct bytes){ data, (size_t)size }, err);
		OPENSSL_secure_free(name);
		OPENSSL_secure_free(header);
		OPENSSL_secure_clear_free(data, (size_t)size);
		if (wanted)
			return ok ? PEM_CERT : PEM_FAILED;
	}
}

bool cert_from_pem(struct cert **out_cert, struct bytes pem, struct err *err)
{
	if (pem.size == 0 || pem.size > 2 * DER_SIZE_MAX)
		return err_set(err, ZR_INVALID, "a certificate of %zu bytes", pem.size);
	BIO *bio = BIO_new_mem_buf(pem.data, (int)pem.size);
	if (bio == NULL)
		return err_set(err, ZR_NO_MEMORY, "certificate");
	enum pem_answer answer = next_cert(out_cert, bio, err);
	BIO_free(bio);
	if (answer == PEM_END)
		return err_set(err, ZR_INVALID, "no certificate in PEM");
	return answer == PEM_CERT;
}

struct cert_list {
	struct cert **certs; /* Owned, each and the array. */
	size_t count;
};

static void cert_list_fini(struct cert_list *list)
{
	for (size_t i = 0; i < list->count; i++)
		cert_free(list->certs[i]);
	free(list->certs);
}

static bool cert_list_add(struct cert_list *list, struct cert *take_cert, struct err *err)
{
	struct cert **certs = NULL;
	if (list->count < FILE_COUNT_MAX)
		certs = realloc(list->certs, (list->count + 1) * sizeof(struct cert *));
	if (certs == NULL)
		return err_set(err, list->count < FILE_COUNT_MAX ? ZR_NO_MEMORY : ZR_FULL,
		               "more than %zu certificates", list->count);
	certs[list->count++] = take_cert;
	list->certs = certs;
	return true;
}

static bool read_certs(struct cert_list *list, struct bytes pem, struct err *err)
{
	BIO *bio = BIO_new_mem_buf(pem.data, (int)pem.size);
	if (bio == NULL)
		return err_set(err, ZR_NO_MEMORY, "certificates");
	struct cert *cert = NULL;
	bool ok = true;
	enum pem_answer answer;
	while (ok && (answer = next_cert(&cert, bio, err)) != PEM_END) {
		ok = answer == PEM_CERT;
		if (ok && !cert_list_add(list, cert, err)) {
			cert_free(cert);
			ok = false;
		}
	}
	BIO_free(bio);
	if (ok && list->count == 0)
		ok = err_set(err, ZR_INVALID, "no certificate in the file");
	return ok;
}

bool cert_read_file(struct cert ***out_certs, size_t *out_count, const char *path, struct err *err)
{
	struct buffer pem = BUFFER_EMPTY;
	struct cert_list list = { NULL, 0 };
	bool ok = file_read(path, FILE_SIZE_MAX, &pem, err);
	if (ok && !read_certs(&list, buffer_bytes(&pem), err))
		ok = err_wrap(err, "%s", path);
	buffer_fini(&pem);
	if (!ok) {
		cert_list_fini(&list);
		return false;
	}
	*out_certs = list.certs;
	*out_count = list.count;
	return true;
}
