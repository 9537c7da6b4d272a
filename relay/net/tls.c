/* tls.c -- building a TLS context and refusing one that could not work; see tls.h. */
#include "relay/net/tls.h"

#include <assert.h>
#include <inttypes.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "relay/base/crypto.h"
#include "relay/base/file.h"
#include "relay/net/tls_internal.h"

#define KEY_SIZE_MAX       65536u
#define CRL_SIZE_MAX       (16u << 20)
#define PEER_CHAIN_MAX     32768 /* Bytes of certificates that a peer may send. */
#define CHAIN_DEPTH_MAX    8
#define TICKET_LIFETIME_S  86400
#define SESSION_ID_CONTEXT "zonerelay"

static int context_index; /* Of our struct among an SSL_CTX's extra data. */
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void free_with_ssl_context(void *parent, void *data, CRYPTO_EX_DATA *extra, int index,
                                  long argument, void *pointer)
{
	struct tls_context *context = data;
	if (context != NULL)
		SSL_SESSION_free(context->last);
	free(context);
}

static void make_index(void)
{
	context_index = SSL_CTX_get_ex_new_index(0, NULL, NULL, NULL, free_with_ssl_context);
}

struct tls_context *tls_context_of(const SSL *ssl)
{
	return SSL_CTX_get_ex_data(SSL_get_SSL_CTX(ssl), context_index);
}

struct tls_context *tls_context_share(struct tls_context *context)
{
	(void)SSL_CTX_up_ref(context->ssl_context);
	return context;
}

bool tls_is_server(const struct tls_context *context)
{
	return context->is_server;
}

const struct tls_facts *tls_context_facts(const struct tls_context *context)
{
	return &context->facts;
}

void tls_context_free(struct tls_context *context)
{
	if (context != NULL)
		SSL_CTX_free(context->ssl_context);
}

/* err_set() with OpenSSL's own reason. */
static bool tls_fail(struct err *err, enum err_code code, const char *what)
{
	unsigned long last = ERR_peek_last_error();
	const char *reason = last == 0 ? NULL : ERR_reason_error_string(last);
	err_set(err, code, "%s%s%s", what, reason != NULL ? ": " : "",
	        reason != NULL ? reason : "");
	ERR_clear_error();
	return false;
}

/* ---- our own certificate and key ---- */

static bool check_own_time(const struct cert *cert, int64_t now_ms, struct err *err)
{
	char text[CLOCK_TEXT_SIZE];
	if (now_ms < cert_not_before_ms(cert))
		return err_set(err, ZR_UNTRUSTED, "our certificate is not valid before %s",
		               clock_text(cert_not_before_ms(cert), text));
	if (now_ms > cert_not_after_ms(cert))
		return err_set(err, ZR_UNTRUSTED, "our certificate expired at %s",
		               clock_text(cert_not_after_ms(cert), text));
	return true;
}

static X509 *x509_of(const struct cert *cert)
{
	const unsigned char *at = cert_der(cert).data;
	return d2i_X509(NULL, &at, (long)cert_der(cert).size);
}

static bool use_chain(struct tls_context *context, struct cert *const *certs, size_t count,
                      struct err *err)
{
	for (size_t i = 0; i < count; i++) {
		X509 *x509 = x509_of(certs[i]);
		bool ok = x509 != NULL &&
		          (i == 0 ? SSL_CTX_use_certificate(context->ssl_context, x509)
		                  : SSL_CTX_add1_chain_cert(context->ssl_context, x509)) == 1;
		X509_free(x509);
		if (!ok)
			return tls_fail(err, ZR_INVALID, "not a certificate that TLS can use");
	}
	return true;
}

static void certs_free(struct cert **certs, size_t count)
{
	for (size_t i = 0; i < count; i++)
		cert_free(certs[i]);
	free(certs);
}

static bool load_certificate(struct tls_context *context, const char *path, struct err *err)
{
	struct cert **certs = NULL;
	size_t count = 0;
	if (!cert_read_file(&certs, &count, path, err))
		return false;
	bool ok = check_own_time(certs[0], clock_wall_ms(context->clock), err) &&
	          use_chain(context, certs, count, err);
	if (ok) {
		struct tls_facts *facts = &context->facts;
		(void)snprintf(context->subject, sizeof(context->subject), "%s",
		               cert_subject(certs[0]));
		(void)snprintf(context->serial, sizeof(context->serial), "%s",
		               cert_serial(certs[0]));
		facts->subject = context->subject;
		facts->serial = context->serial;
		facts->fingerprint = sha256(cert_der(certs[0]));
		facts->certificate_not_after_ms = cert_not_after_ms(certs[0]);
	}
	certs_free(certs, count);
	return ok || err_wrap(err, "%s", path);
}

/* Nobody sits at a terminal to answer. */
static int no_passphrase(char *buffer, int size, int writing, void *arg)
{
	return -1;
}

static bool use_key(struct tls_context *context, struct bytes pem, struct err *err)
{
	BIO *bio = BIO_new_mem_buf(pem.data, (int)pem.size);
	EVP_PKEY *key =
		bio == NULL ? NULL : PEM_read_bio_PrivateKey(bio, NULL, no_passphrase, NULL);
	bool ok = true;
	if (key == NULL)
		ok = tls_fail(err, ZR_INVALID, "not a private key without a passphrase");
	else if (X509_check_private_key(SSL_CTX_get0_certificate(context->ssl_context), key) != 1)
		ok = tls_fail(err, ZR_INVALID, "the key is not that of the certificate");
	else if (SSL_CTX_use_PrivateKey(context->ssl_context, key) != 1)
		ok = tls_fail(err, ZR_INVALID, "not a key that TLS can use");
	EVP_PKEY_free(key);
	BIO_free(bio);
	return ok;
}

static bool load_key(struct tls_context *context, const char *path, struct err *err)
{
	struct buffer pem = BUFFER_EMPTY;
	bool ok = file_read(path, KEY_SIZE_MAX, &pem, err);
	if (ok && !use_key(context, buffer_bytes(&pem), err))
		ok = err_wrap(err, "%s", path);
	if (pem.data != NULL)
		secret_wipe(pem.data, pem.capacity);
	buffer_fini(&pem);
	return ok;
}

/* ---- whom we trust ---- */

static bool load_ca(struct tls_context *context, const char *path, struct err *err)
{
	X509_STORE *store = SSL_CTX_get_cert_store(context->ssl_context);
	struct cert **certs = NULL;
	size_t count = 0;
	if (!cert_read_file(&certs, &count, path, err))
		return false;
	context->facts.ca_not_after_ms = INT64_MAX;
	bool ok = true;
	for (size_t i = 0; ok && i < count; i++) {
		X509 *x509 = x509_of(certs[i]);
		if (!cert_is_ca(certs[i]))
			ok = err_set(err, ZR_INVALID, "%s is not a CA", cert_subject(certs[i]));
		else if (x509 == NULL || X509_STORE_add_cert(store, x509) != 1)
			ok = tls_fail(err, ZR_INVALID, "not a usable CA certificate");
		X509_free(x509);
		if (cert_not_after_ms(certs[i]) < context->facts.ca_not_after_ms)
			context->facts.ca_not_after_ms = cert_not_after_ms(certs[i]);
	}
	certs_free(certs, count);
	return ok || err_wrap(err, "%s", path);
}

/* An ASN.1 time as Unix milliseconds, without a time_t. */
static bool time_ms(const ASN1_TIME *time, int64_t *out_ms)
{
	int days;
	int seconds;
	ASN1_TIME *epoch = ASN1_TIME_set(NULL, 0);
	bool ok = epoch != NULL && ASN1_TIME_diff(&days, &seconds, epoch, time) == 1;
	ASN1_TIME_free(epoch);
	if (ok)
		*out_ms = (INT64_C(86400) * days + seconds) * 1000;
	return ok;
}

static bool check_crl_time(struct tls_context *context, X509_CRL *crl, struct err *err)
{
	char text[CLOCK_TEXT_SIZE];
	int64_t now_ms = clock_wall_ms(context->clock);
	int64_t from_ms;
	int64_t until_ms;
	const ASN1_TIME *until = X509_CRL_get0_nextUpdate(crl);
	if (until == NULL)
		return err_set(err, ZR_INVALID, "the revocation list has no nextUpdate");
	if (!time_ms(X509_CRL_get0_lastUpdate(crl), &from_ms) || !time_ms(until, &until_ms))
		return tls_fail(err, ZR_INVALID, "the revocation list has a malformed time");
	if (now_ms < from_ms)
		return err_set(err, ZR_UNTRUSTED, "the revocation list is not valid before %s",
		               clock_text(from_ms, text));
	if (now_ms > until_ms)
		return err_set(err, ZR_UNTRUSTED, "the revocation list expired at %s",
		               clock_text(until_ms, text));
	if (until_ms < context->facts.crl_next_update_ms)
		context->facts.crl_next_update_ms = until_ms;
	return true;
}

/* Is the list signed by one of its issuer's name in the CA file? An issuer that peers send along
 * is not known yet: its list is checked when it is needed. */
static bool check_crl_issuer(struct tls_context *context, X509_CRL *crl, struct err *err)
{
	X509_STORE *store = SSL_CTX_get_cert_store(context->ssl_context);
	STACK_OF(X509_OBJECT) *objects = X509_STORE_get0_objects(store);
	bool known = false;
	bool good = false;
	for (int i = 0; !good && i < sk_X509_OBJECT_num(objects); i++) {
		X509 *ca = X509_OBJECT_get0_X509(sk_X509_OBJECT_value(objects, i));
		if (ca == NULL ||
		    X509_NAME_cmp(X509_get_subject_name(ca), X509_CRL_get_issuer(crl)) != 0)
			continue;
		known = true;
		good = X509_CRL_verify(crl, X509_get0_pubkey(ca)) == 1;
	}
	ERR_clear_error();
	if (known && !good)
		return err_set(err, ZR_UNTRUSTED,
		               "the revocation list is not signed by its issuer");
	return true;
}

static bool add_crl(struct tls_context *context, X509_CRL *crl, struct err *err)
{
	X509_STORE *store = SSL_CTX_get_cert_store(context->ssl_context);
	if (!check_crl_time(context, crl, err) || !check_crl_issuer(context, crl, err))
		return false;
	if (X509_STORE_add_crl(store, crl) != 1)
		return tls_fail(err, ZR_INVALID, "not a usable revocation list");
	int revoked = sk_X509_REVOKED_num(X509_CRL_get_REVOKED(crl));
	context->facts.revoked_count += revoked > 0 ? (size_t)revoked : 0;
	return true;
}

static bool add_crls(struct tls_context *context, struct bytes pem, struct err *err)
{
	BIO *bio = BIO_new_mem_buf(pem.data, (int)pem.size);
	size_t count = 0;
	bool ok = bio != NULL;
	while (ok) {
		X509_CRL *crl = PEM_read_bio_X509_CRL(bio, NULL, NULL, NULL);
		if (crl == NULL)
			break;
		ok = add_crl(context, crl, err);
		count += ok ? 1 : 0;
		X509_CRL_free(crl);
	}
	BIO_free(bio);
	if (!ok)
		return false;
	bool at_end = ERR_GET_REASON(ERR_peek_last_error()) == PEM_R_NO_START_LINE;
	if (count == 0 || !at_end)
		return tls_fail(err, ZR_INVALID, "not a revocation list in PEM");
	ERR_clear_error();
	return true;
}

static bool load_crls(struct tls_context *context, const struct tls_options *options,
                      struct err *err)
{
	context->facts.crl_next_update_ms = INT64_MAX;
	for (size_t i = 0; i < options->crl_count; i++) {
		struct buffer pem = BUFFER_EMPTY;
		bool ok = file_read(options->crls[i], CRL_SIZE_MAX, &pem, err);
		if (ok && !add_crls(context, buffer_bytes(&pem), err))
			ok = err_wrap(err, "%s", options->crls[i]);
		buffer_fini(&pem);
		if (!ok)
			return false;
	}
	if (options->crl_count > 0)
		(void)X509_STORE_set_flags(SSL_CTX_get_cert_store(context->ssl_context),
		                           X509_V_FLAG_CRL_CHECK | X509_V_FLAG_CRL_CHECK_ALL);
	return true;
}

/* ---- the protocol ---- */

static bool set_algorithms(SSL_CTX *ssl_context, const struct tls_options *options, struct err *err)
{
	if (options->groups != NULL &&
	    SSL_CTX_set1_groups_list(ssl_context, options->groups) != 1) {
		tls_fail(err, ZR_INVALID, "unknown group");
		return err_wrap(err, "groups \"%s\"", options->groups);
	}
	if (options->ciphers != NULL &&
	    SSL_CTX_set_ciphersuites(ssl_context, options->ciphers) != 1) {
		tls_fail(err, ZR_INVALID, "unknown cipher");
		return err_wrap(err, "ciphers \"%s\"", options->ciphers);
	}
	const char *algorithms = options->signature_algorithms;
	if (algorithms != NULL &&
	    (SSL_CTX_set1_sigalgs_list(ssl_context, algorithms) != 1 ||
	     SSL_CTX_set1_client_sigalgs_list(ssl_context, algorithms) != 1)) {
		tls_fail(err, ZR_INVALID, "unknown signature algorithm");
		return err_wrap(err, "signature algorithms \"%s\"", algorithms);
	}
	return true;
}

static void set_resumption(struct tls_context *context, const struct tls_options *options)
{
	SSL_CTX *ssl_context = context->ssl_context;
	context->resumption = options->resumption;
	(void)SSL_CTX_set_timeout(ssl_context, TICKET_LIFETIME_S);
	if (!options->is_server) {
		(void)SSL_CTX_set_session_cache_mode(
			ssl_context, options->resumption
					     ? SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL
					     : SSL_SESS_CACHE_OFF);
		SSL_CTX_sess_set_new_cb(ssl_context, tls_on_session);
		return;
	}
	/* Tickets hold the session, encrypted with keys that this SSL_CTX makes for itself; we hold
	 * nothing for an agent that is away. */
	(void)SSL_CTX_set_session_cache_mode(ssl_context, SSL_SESS_CACHE_OFF);
	(void)SSL_CTX_set_num_tickets(ssl_context, options->resumption ? 1 : 0);
	if (!options->resumption)
		(void)SSL_CTX_set_options(ssl_context, SSL_OP_NO_TICKET);
	(void)SSL_CTX_set_session_ticket_cb(ssl_context, tls_on_ticket_made, tls_on_ticket_read,
	                                    NULL);
}

static bool set_protocol(struct tls_context *context, const struct tls_options *options,
                         struct err *err)
{
	SSL_CTX *ssl_context = context->ssl_context;
	bool ok = SSL_CTX_set_min_proto_version(ssl_context, TLS1_3_VERSION) == 1 &&
	          SSL_CTX_set_max_proto_version(ssl_context, TLS1_3_VERSION) == 1 &&
	          SSL_CTX_set_max_early_data(ssl_context, 0) == 1 &&
	          SSL_CTX_set_session_id_context(ssl_context,
	                                         (const unsigned char *)SESSION_ID_CONTEXT,
	                                         sizeof(SESSION_ID_CONTEXT) - 1) == 1;
	if (!ok)
		return tls_fail(err, ZR_INVALID, "this OpenSSL has no TLS 1.3");
	(void)SSL_CTX_set_mode(ssl_context, SSL_MODE_RELEASE_BUFFERS |
	                                            SSL_MODE_ENABLE_PARTIAL_WRITE |
	                                            SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
	SSL_CTX_set_read_ahead(ssl_context, 1);
	(void)SSL_CTX_set_max_cert_list(ssl_context, PEER_CHAIN_MAX);
	SSL_CTX_set_verify_depth(ssl_context, CHAIN_DEPTH_MAX);
	SSL_CTX_set_verify(ssl_context, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT,
	                   tls_on_verify);
	set_resumption(context, options);
	return set_algorithms(ssl_context, options, err);
}

/* The context inside its SSL_CTX; NULL when out of memory. */
static struct tls_context *make_context(const struct tls_options *options)
{
	SSL_CTX *ssl_context =
		SSL_CTX_new(options->is_server ? TLS_server_method() : TLS_client_method());
	struct tls_context *context = calloc(1, sizeof(*context));
	if (ssl_context == NULL || context == NULL ||
	    SSL_CTX_set_ex_data(ssl_context, context_index, context) != 1) {
		SSL_CTX_free(ssl_context);
		free(context);
		return NULL;
	}
	context->ssl_context = ssl_context;
	context->is_server = options->is_server;
	context->clock = options->clock;
	return context;
}

struct tls_options tls_options_of(const struct config_tls *config, const struct clock *clock)
{
	return (struct tls_options){
		.certificate = config->certificate,
		.key = config->key,
		.ca = config->ca,
		.crls = config->crl.items,
		.crl_count = config->crl.count,
		.groups = config->groups,
		.ciphers = config->ciphers,
		.signature_algorithms = config->signature_algorithms,
		.clock = clock,
	};
}

bool tls_context_new(struct tls_context **out_context, const struct tls_options *options,
                     struct err *err)
{
	assert(options->clock != NULL);
	(void)pthread_once(&once, make_index);
	struct tls_context *context = make_context(options);
	if (context == NULL)
		return tls_fail(err, ZR_NO_MEMORY, "TLS context");
	if (!set_protocol(context, options, err) ||
	    !load_certificate(context, options->certificate, err) ||
	    !load_key(context, options->key, err) || !load_ca(context, options->ca, err) ||
	    !load_crls(context, options, err)) {
		tls_context_free(context);
		return false;
	}
	*out_context = context;
	return true;
}
