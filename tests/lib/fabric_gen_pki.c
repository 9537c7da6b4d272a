/* fabric_gen_pki.c -- see fabric_gen_pki.h. */
#include "tests/lib/fabric_gen_pki.h"

#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct gen_ca {
	char name[48];
	EVP_PKEY *key;
	X509 *cert;
	uint8_t *der; /* Of cert. */
	size_t der_size;
	X509_CRL *crl;
	long serial; /* Of the last certificate that was issued. */
};

static void must(bool ok, const char *what)
{
	if (ok)
		return;
	fprintf(stderr, "fabric_gen: %s\n", what);
	abort();
}

static void add_extension(X509 *cert, X509 *issuer, int nid, const char *value)
{
	X509V3_CTX context;
	X509V3_set_ctx(&context, issuer, cert, NULL, NULL, 0);
	X509_EXTENSION *extension = X509V3_EXT_conf_nid(NULL, &context, nid, value);
	must(extension != NULL && X509_add_ext(cert, extension, -1) == 1, value);
	X509_EXTENSION_free(extension);
}

static void add_name(X509_NAME *name, const char *field, const char *value)
{
	must(X509_NAME_add_entry_by_txt(name, field, MBSTRING_UTF8, (const unsigned char *)value,
	                                -1, -1, 0) == 1,
	     value);
}

/* Everything but the signature. issuer is NULL for a root. */
static X509 *make_cert(const char *common_name, const char *unit, EVP_PKEY *key, X509 *issuer,
                       long serial)
{
	X509 *cert = X509_new();
	must(cert != NULL, "certificate");
	X509_set_version(cert, 2);
	ASN1_INTEGER_set(X509_get_serialNumber(cert), serial);
	ASN1_TIME_set_string(X509_getm_notBefore(cert), "20200101000000Z");
	ASN1_TIME_set_string(X509_getm_notAfter(cert), "20210101000000Z");
	X509_NAME *name = X509_get_subject_name(cert);
	char units[96];
	(void)snprintf(units, sizeof(units), "%s", unit == NULL ? "" : unit);
	char *rest = NULL;
	for (char *at = strtok_r(units, "+", &rest); at != NULL; at = strtok_r(NULL, "+", &rest))
		add_name(name, "OU", at);
	add_name(name, "CN", common_name);
	X509_set_issuer_name(cert, X509_get_subject_name(issuer == NULL ? cert : issuer));
	must(X509_set_pubkey(cert, key) == 1, "public key");
	return cert;
}

static void extend_cert(X509 *cert, X509 *issuer, bool is_ca)
{
	if (is_ca) {
		add_extension(cert, issuer, NID_basic_constraints, "critical,CA:TRUE");
		add_extension(cert, issuer, NID_key_usage, "critical,keyCertSign,cRLSign");
	} else {
		add_extension(cert, issuer, NID_basic_constraints, "critical,CA:FALSE");
		add_extension(cert, issuer, NID_key_usage, "critical,digitalSignature");
	}
	add_extension(cert, issuer, NID_subject_key_identifier, "hash");
	add_extension(cert, issuer, NID_authority_key_identifier, "keyid");
}

struct gen_ca *gen_ca_new(const char *name, struct gen_ca *parent)
{
	struct gen_ca *ca = calloc(1, sizeof(*ca));
	must(ca != NULL, "authority");
	(void)snprintf(ca->name, sizeof(ca->name), "ca.%s", name);
	ca->key = EVP_EC_gen("P-256");
	must(ca->key != NULL, "authority's key");
	ca->serial = 1000;
	ca->cert = make_cert(ca->name, NULL, ca->key, parent == NULL ? NULL : parent->cert,
	                     parent == NULL ? 1 : ++parent->serial);
	extend_cert(ca->cert, parent == NULL ? ca->cert : parent->cert, true);
	must(X509_sign(ca->cert, parent == NULL ? ca->key : parent->key, EVP_sha256()) > 0,
	     "authority's certificate");
	int size = i2d_X509(ca->cert, &ca->der);
	must(size > 0, "authority's certificate");
	ca->der_size = (size_t)size;
	return ca;
}

void gen_ca_free(struct gen_ca *ca)
{
	if (ca == NULL)
		return;
	X509_CRL_free(ca->crl);
	X509_free(ca->cert);
	EVP_PKEY_free(ca->key);
	OPENSSL_free(ca->der);
	free(ca);
}

struct bytes gen_ca_der(const struct gen_ca *ca)
{
	return (struct bytes){ ca->der, ca->der_size };
}

static void take_text(BIO *bio, struct buffer *out)
{
	char *text;
	long size = BIO_get_mem_data(bio, &text);
	buffer_put(out, (struct bytes){ (const uint8_t *)text, (size_t)size });
	BIO_free(bio);
}

static void put_pem(X509 *cert, struct buffer *out)
{
	BIO *bio = BIO_new(BIO_s_mem());
	must(bio != NULL && PEM_write_bio_X509(bio, cert) == 1, "PEM");
	take_text(bio, out);
}

void gen_ca_pem(const struct gen_ca *ca, struct buffer *out)
{
	put_pem(ca->cert, out);
}

void gen_ca_renew(struct gen_ca *ca, struct buffer *out)
{
	X509 *cert = make_cert(ca->name, NULL, ca->key, NULL, ++ca->serial);
	extend_cert(cert, cert, true);
	must(X509_sign(cert, ca->key, EVP_sha256()) > 0, "authority's certificate");
	put_pem(cert, out);
	X509_free(cert);
}

void gen_ca_issue(struct gen_ca *ca, const struct key *key, const char *unit, bool is_ca,
                  struct buffer *out)
{
	struct bytes spki = key_spki(key);
	const unsigned char *at = spki.data;
	EVP_PKEY *public_key = d2i_PUBKEY(NULL, &at, (long)spki.size);
	must(public_key != NULL, "public key");
	char name[96];
	(void)snprintf(name, sizeof(name), "node%ld.%s", ++ca->serial, ca->name);
	X509 *cert = make_cert(name, unit, public_key, ca->cert, ca->serial);
	extend_cert(cert, ca->cert, is_ca);
	must(X509_sign(cert, ca->key, EVP_sha256()) > 0, "certificate");
	put_pem(cert, out);
	X509_free(cert);
	EVP_PKEY_free(public_key);
}

static void add_revoked(X509_CRL *crl, struct bytes pem)
{
	BIO *bio = BIO_new_mem_buf(pem.data, (int)pem.size);
	X509 *cert = bio == NULL ? NULL : PEM_read_bio_X509(bio, NULL, NULL, NULL);
	X509_REVOKED *entry = X509_REVOKED_new();
	ASN1_TIME *time = ASN1_TIME_new();
	must(cert != NULL && entry != NULL && time != NULL, "revocation");
	ASN1_TIME_set_string(time, "20200601000000Z");
	X509_REVOKED_set_serialNumber(entry, X509_get_serialNumber(cert));
	X509_REVOKED_set_revocationDate(entry, time);
	must(X509_CRL_add0_revoked(crl, entry) == 1, "revocation");
	ASN1_TIME_free(time);
	X509_free(cert);
	BIO_free(bio);
}

static X509_CRL *new_crl(const struct gen_ca *ca)
{
	X509_CRL *crl = X509_CRL_new();
	ASN1_TIME *time = ASN1_TIME_new();
	must(crl != NULL && time != NULL, "revocation list");
	X509_CRL_set_version(crl, 1);
	X509_CRL_set_issuer_name(crl, X509_get_subject_name(ca->cert));
	ASN1_TIME_set_string(time, "20200601000000Z");
	X509_CRL_set1_lastUpdate(crl, time);
	ASN1_TIME_set_string(time, "20200701000000Z");
	X509_CRL_set1_nextUpdate(crl, time); /* Long past: entries count all the same. */
	ASN1_TIME_free(time);
	X509V3_CTX context;
	X509V3_set_ctx(&context, ca->cert, NULL, NULL, crl, 0);
	X509_EXTENSION *extension =
		X509V3_EXT_conf_nid(NULL, &context, NID_authority_key_identifier, "keyid");
	must(extension != NULL && X509_CRL_add_ext(crl, extension, -1) == 1, "revocation list");
	X509_EXTENSION_free(extension);
	return crl;
}

void gen_ca_revoke(struct gen_ca *ca, struct bytes pem, struct buffer *out)
{
	if (ca->crl == NULL)
		ca->crl = new_crl(ca);
	add_revoked(ca->crl, pem);
	X509_CRL_sort(ca->crl);
	must(X509_CRL_sign(ca->crl, ca->key, EVP_sha256()) > 0, "revocation list");
	BIO *bio = BIO_new(BIO_s_mem());
	must(bio != NULL && PEM_write_bio_X509_CRL(bio, ca->crl) == 1, "revocation list");
	buffer_clear(out);
	take_text(bio, out);
}

void gen_flip_s(struct signature *signature)
{
	const unsigned char *at = signature->bytes;
	ECDSA_SIG *numbers = d2i_ECDSA_SIG(NULL, &at, (long)signature->size);
	BIGNUM *order = NULL;
	BN_hex2bn(&order, "ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551");
	must(numbers != NULL && order != NULL, "signature");
	BIGNUM *s = BN_new();
	must(s != NULL && BN_sub(s, order, ECDSA_SIG_get0_s(numbers)) == 1, "signature");
	must(ECDSA_SIG_set0(numbers, BN_dup(ECDSA_SIG_get0_r(numbers)), s) == 1, "signature");
	unsigned char *out = signature->bytes;
	int size = i2d_ECDSA_SIG(numbers, NULL);
	must(size > 0 && size <= SIGNATURE_SIZE_MAX, "signature");
	signature->size = (size_t)i2d_ECDSA_SIG(numbers, &out);
	ECDSA_SIG_free(numbers);
	BN_free(order);
}
