/* crypto_chain.c -- is there a path from a certificate to a root; see cert_check() in crypto.h.
 *
 * OpenSSL finds the path and checks each link's signature and each issuer's right to issue. Time
 * and revocation are ours: OpenSSL's clock is a time_t, and its revocation check demands a fresh
 * list for every issuer, while the rule here is that an entry counts and absence does not.
 */
#include <inttypes.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <openssl/x509_vfy.h>
#include <stdlib.h>
#include <string.h>

#include "relay/base/clock.h"
#include "relay/base/crypto_internal.h"

#define CRL_SIZE_MAX    (16u << 20)
#define CHAIN_DEPTH_MAX 8
#define SECURITY_LEVEL  1 /* At least 80 bits: neither MD5 nor SHA-1, nor RSA below 1024. */

static bool is_valid_at(const struct cert *cert, int64_t at_ms)
{
	return at_ms == CERT_ANY_TIME ||
	       (at_ms >= cert_not_before_ms(cert) && at_ms <= cert_not_after_ms(cert));
}

static bool check_time(const struct cert *cert, int64_t at_ms, struct err *err)
{
	char text[CLOCK_TEXT_SIZE];
	if (is_valid_at(cert, at_ms))
		return true;
	if (at_ms < cert_not_before_ms(cert))
		return err_set(err, ZR_UNTRUSTED, "certificate is not valid before %s",
		               clock_text(cert_not_before_ms(cert), text));
	return err_set(err, ZR_UNTRUSTED, "certificate expired at %s",
	               clock_text(cert_not_after_ms(cert), text));
}

/* ---- revocation ---- */

static X509_CRL *parse_crl(struct bytes bytes)
{
	static const char begin[] = "-----BEGIN";
	const unsigned char *at = bytes.data;
	if (bytes.size < sizeof(begin) || bytes.size > CRL_SIZE_MAX)
		return NULL;
	if (memcmp(bytes.data, begin, sizeof(begin) - 1) != 0)
		return d2i_X509_CRL(NULL, &at, (long)bytes.size);
	BIO *bio = BIO_new_mem_buf(bytes.data, (int)bytes.size);
	X509_CRL *crl = bio == NULL ? NULL : PEM_read_bio_X509_CRL(bio, NULL, NULL, NULL);
	BIO_free(bio);
	return crl;
}

/* OpenSSL 3 has no way to give a CRL the SM2 signer's id, so such a list is verified by our own
 * key over the bytes that were signed. */
static bool crl_is_signed_by_sm2(X509_CRL *crl, EVP_PKEY *issuer_key)
{
	const ASN1_BIT_STRING *signature = NULL;
	unsigned char *signed_bytes = NULL;
	struct key *key = NULL;
	X509_CRL_get0_signature(crl, &signature, NULL);
	int size = i2d_re_X509_CRL_tbs(crl, &signed_bytes);
	bool ok = size > 0 && key_from_evp(&key, issuer_key, NULL) &&
	          key_verify(key, (struct bytes){ signed_bytes, (size_t)size },
	                     (struct bytes){ ASN1_STRING_get0_data(signature),
	                                     (size_t)ASN1_STRING_length(signature) },
	                     VERIFY_ANY_S, NULL);
	key_free(key);
	OPENSSL_free(signed_bytes);
	return ok;
}

static bool crl_is_signed_by(X509_CRL *crl, X509 *issuer)
{
	EVP_PKEY *key = X509_get0_pubkey(issuer);
	if (key == NULL ||
	    X509_NAME_cmp(X509_CRL_get_issuer(crl), X509_get_subject_name(issuer)) != 0)
		return false;
	if (X509_CRL_get_signature_nid(crl) == NID_SM2_with_SM3)
		return crl_is_signed_by_sm2(crl, key);
	return X509_CRL_verify(crl, key) == 1;
}

/* Is a certificate of the chain on the list of the one that issued it? */
static bool crl_revokes(X509_CRL *crl, const STACK_OF(X509) * chain)
{
	for (int i = 0; i + 1 < sk_X509_num(chain); i++) {
		X509_REVOKED *entry = NULL;
		bool listed = X509_CRL_get0_by_cert(crl, &entry, sk_X509_value(chain, i)) == 1;
		if (listed && crl_is_signed_by(crl, sk_X509_value(chain, i + 1)))
			return true;
	}
	return false;
}

static bool check_revocation(const struct cert_trust *trust, const STACK_OF(X509) * chain,
                             struct err *err)
{
	for (size_t i = 0; i < trust->crl_count; i++) {
		X509_CRL *crl = parse_crl(trust->crls[i]);
		if (crl == NULL)
			return crypto_fail(err, ZR_UNTRUSTED, "a revocation list cannot be read");
		bool revoked = crl_revokes(crl, chain);
		X509_CRL_free(crl);
		ERR_clear_error();
		if (revoked)
			return err_set(err, ZR_UNTRUSTED, "certificate or its issuer is revoked");
	}
	return true;
}

/* ---- the path ---- */

/* What one check needs of OpenSSL; built and freed as one. */
struct search {
	X509_STORE *roots;
	STACK_OF(X509) * intermediates;
	X509_STORE_CTX *context;
	size_t left_out_count; /* Issuers outside their validity. */
};

static void search_fini(struct search *search)
{
	X509_STORE_CTX_free(search->context);
	sk_X509_free(search->intermediates); /* Its members are borrowed. */
	X509_STORE_free(search->roots);
}

static bool search_init(struct search *search, const struct cert *cert,
                        const struct cert_trust *trust, int64_t at_ms)
{
	*search = (struct search){
		.roots = X509_STORE_new(),
		.intermediates = sk_X509_new_null(),
		.context = X509_STORE_CTX_new(),
	};
	if (search->roots == NULL || search->intermediates == NULL || search->context == NULL)
		return false;
	for (size_t i = 0; i < trust->root_count; i++) {
		if (!is_valid_at(trust->roots[i], at_ms))
			search->left_out_count++;
		else if (X509_STORE_add_cert(search->roots, cert_x509(trust->roots[i])) != 1)
			return false;
	}
	for (size_t i = 0; i < trust->intermediate_count; i++) {
		if (!is_valid_at(trust->intermediates[i], at_ms))
			search->left_out_count++;
		else if (sk_X509_push(search->intermediates, cert_x509(trust->intermediates[i])) <=
		         0)
			return false;
	}
	if (X509_STORE_CTX_init(search->context, search->roots, cert_x509(cert),
	                        search->intermediates) != 1)
		return false;
	X509_VERIFY_PARAM *rules = X509_STORE_CTX_get0_param(search->context);
	X509_VERIFY_PARAM_set_flags(rules, X509_V_FLAG_NO_CHECK_TIME | X509_V_FLAG_PARTIAL_CHAIN |
	                                           X509_V_FLAG_TRUSTED_FIRST);
	X509_VERIFY_PARAM_set_auth_level(rules, SECURITY_LEVEL);
	X509_VERIFY_PARAM_set_depth(rules, CHAIN_DEPTH_MAX);
	return true;
}

static bool search_run(struct search *search, const struct cert_trust *trust, struct err *err)
{
	if (X509_verify_cert(search->context) == 1)
		return check_revocation(trust, X509_STORE_CTX_get0_chain(search->context), err);
	int reason = X509_STORE_CTX_get_error(search->context);
	ERR_clear_error();
	if (search->left_out_count > 0)
		return err_set(err, ZR_UNTRUSTED, "%s (%zu issuers are outside their validity)",
		               X509_verify_cert_error_string(reason), search->left_out_count);
	return err_set(err, ZR_UNTRUSTED, "%s", X509_verify_cert_error_string(reason));
}

static bool is_root(const struct cert *cert, const struct cert_trust *trust)
{
	for (size_t i = 0; i < trust->root_count; i++) {
		if (bytes_equal(cert_der(cert), cert_der(trust->roots[i])))
			return true;
	}
	return false;
}

bool cert_check(const struct cert *cert, const struct cert_trust *trust, int64_t at_ms,
                struct err *err)
{
	struct search search;
	bool ok = is_root(cert, trust) ? err_set(err, ZR_UNTRUSTED, "certificate is itself a root")
	                               : check_time(cert, at_ms, err);
	if (ok) {
		ok = search_init(&search, cert, trust, at_ms)
		             ? search_run(&search, trust, err)
		             : crypto_fail(err, ZR_NO_MEMORY, "certificate check");
		search_fini(&search);
	}
	return ok || err_wrap(err, "%s", cert_subject(cert));
}
