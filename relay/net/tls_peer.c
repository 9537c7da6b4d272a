/* tls_peer.c -- judging the other side: its certificate, its name, its tickets, its failures.
 *
 * A ticket carries the peer's certificate, encrypted, and in its application data the intermediates
 * the peer sent, so that the whole chain is checked again, against the lists of now, before a
 * session is resumed; one that fails gets an ordinary handshake, which says precisely why.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "relay/base/crypto.h"
#include "relay/net/tls_internal.h"

#define AGENT_PREFIX     "zonerelay:agent/"
#define GATEWAY_PREFIX   "zonerelay:gateway/"
#define OWN_PREFIX       "zonerelay:"
#define TICKET_CHAIN_MAX 8192 /* Of intermediates in a ticket; a longer chain is not resumed. */

void failure_set(struct failure *out_failure, enum conn_reason reason, const char *format, ...)
{
	va_list args;
	va_start(args, format);
	out_failure->reason = reason;
	(void)vsnprintf(out_failure->text, sizeof(out_failure->text), format, args);
	va_end(args);
}

void peer_info_init(struct peer_info *info, const char *address)
{
	memset(info, 0, sizeof(*info));
	(void)snprintf(info->address, sizeof(info->address), "%s", address);
	info->peer = (struct net_peer){
		.id = info->id,
		.address = info->address,
		.subject = info->subject,
		.serial = info->serial,
	};
}

/* ---- time ---- */

/* The validity of certificates is judged by the context's clock, not by OpenSSL's time(). */
static void set_time(X509_VERIFY_PARAM *rules, const struct tls_context *context)
{
	int64_t now_s = clock_wall_ms(context->clock) / 1000;
	time_t now = (time_t)now_s;
	if (now != now_s) /* A 32-bit time_t after 2038: the latest that it can say. */
		now = (time_t)INT32_MAX;
	X509_VERIFY_PARAM_set_time(rules, now);
}

/* ---- certificates ---- */

static bool info_from_x509(struct peer_info *info, X509 *x509, struct cert **out_cert)
{
	unsigned char *der = NULL;
	int size = i2d_X509(x509, &der);
	if (size <= 0)
		return false;
	struct bytes bytes = { der, (size_t)size };
	info->peer.fingerprint = sha256(bytes);
	struct cert *cert = NULL;
	bool ok = cert_from_der(&cert, bytes, NULL);
	OPENSSL_free(der);
	if (!ok)
		return false;
	(void)snprintf(info->subject, sizeof(info->subject), "%s", cert_subject(cert));
	(void)snprintf(info->serial, sizeof(info->serial), "%s", cert_serial(cert));
	info->peer.not_after_ms = cert_not_after_ms(cert);
	*out_cert = cert;
	return true;
}

int tls_on_verify(int ok, X509_STORE_CTX *check)
{
	int error = X509_STORE_CTX_get_error(check);
	/* A root that publishes no list is common; the issuer of a peer without one is not. */
	if (!ok && error == X509_V_ERR_UNABLE_TO_GET_CRL &&
	    X509_STORE_CTX_get_error_depth(check) > 0) {
		X509_STORE_CTX_set_error(check, X509_V_OK);
		return 1;
	}
	SSL *ssl = X509_STORE_CTX_get_ex_data(check, SSL_get_ex_data_X509_STORE_CTX_idx());
	struct peer_info *info = ssl == NULL ? NULL : SSL_get_app_data(ssl);
	struct cert *cert = NULL;
	if (!ok && info != NULL && info_from_x509(info, X509_STORE_CTX_get0_cert(check), &cert))
		cert_free(cert); /* So that who is refused can be named. */
	return ok;
}

static enum conn_reason reason_of(long error)
{
	switch (error) {
	case X509_V_ERR_CERT_REVOKED:
		return CONN_REVOKED;
	case X509_V_ERR_CERT_HAS_EXPIRED:
		return CONN_EXPIRED;
	case X509_V_ERR_CERT_NOT_YET_VALID:
		return CONN_NOT_YET_VALID;
	case X509_V_ERR_UNABLE_TO_GET_CRL:
	case X509_V_ERR_UNABLE_TO_GET_CRL_ISSUER:
	case X509_V_ERR_CRL_HAS_EXPIRED:
	case X509_V_ERR_CRL_NOT_YET_VALID:
	case X509_V_ERR_CRL_SIGNATURE_FAILURE:
		return CONN_CRL;
	case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT:
	case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY:
	case X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE:
	case X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT:
	case X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN:
	case X509_V_ERR_CERT_SIGNATURE_FAILURE:
	case X509_V_ERR_CERT_UNTRUSTED:
		return CONN_WRONG_CA;
	default:
		return CONN_BAD_CERTIFICATE;
	}
}

/* The intermediates of a peer: those it sent in this handshake, or those that the ticket kept. Gives
 * a stack of owned certificates; NULL when out of memory or when the ticket kept nonsense. */
static STACK_OF(X509) * intermediates_of(STACK_OF(X509) * sent, SSL_SESSION *session)
{
	void *kept = NULL;
	size_t size = 0;
	if (sent != NULL)
		return X509_chain_up_ref(sent);
	STACK_OF(X509) *chain = sk_X509_new_null();
	(void)SSL_SESSION_get0_ticket_appdata(session, &kept, &size);
	const unsigned char *at = kept;
	const unsigned char *end = at + size;
	while (chain != NULL && at < end) {
		X509 *x509 = d2i_X509(NULL, &at, end - at);
		if (x509 == NULL || sk_X509_push(chain, x509) <= 0) {
			X509_free(x509);
			sk_X509_pop_free(chain, X509_free);
			chain = NULL;
		}
	}
	return chain;
}

/* The check of the handshake, made again with what context knows now. */
static long verify_again(const struct tls_context *context, X509 *leaf, STACK_OF(X509) * chain)
{
	X509_STORE_CTX *check = X509_STORE_CTX_new();
	X509_STORE *store = SSL_CTX_get_cert_store(context->ssl_context);
	long error = X509_V_ERR_OUT_OF_MEM;
	if (check != NULL && X509_STORE_CTX_init(check, store, leaf, chain) == 1 &&
	    X509_STORE_CTX_set_default(check, context->is_server ? "ssl_client" : "ssl_server") ==
	            1) {
		X509_VERIFY_PARAM *rules = X509_STORE_CTX_get0_param(check);
		set_time(rules, context);
		X509_VERIFY_PARAM_set_auth_level(rules,
		                                 SSL_CTX_get_security_level(context->ssl_context));
		X509_STORE_CTX_set_verify_cb(check, tls_on_verify);
		error = X509_verify_cert(check) == 1 ? X509_V_OK : X509_STORE_CTX_get_error(check);
	}
	X509_STORE_CTX_free(check);
	ERR_clear_error();
	return error;
}

bool tls_made(const struct tls_context *context, const SSL *ssl)
{
	return SSL_get_SSL_CTX(ssl) == context->ssl_context;
}

bool tls_recheck(const struct tls_context *context, SSL *ssl, struct failure *out_failure)
{
	X509 *leaf = SSL_get0_peer_certificate(ssl);
	STACK_OF(X509) *chain =
		intermediates_of(SSL_get_peer_cert_chain(ssl), SSL_get_session(ssl));
	long error = leaf == NULL || chain == NULL ? X509_V_ERR_OUT_OF_MEM
	                                           : verify_again(context, leaf, chain);
	sk_X509_pop_free(chain, X509_free);
	if (error == X509_V_OK)
		return true;
	failure_set(out_failure, reason_of(error), "%s", X509_verify_cert_error_string(error));
	return false;
}

int64_t tls_expires_in_ms(const SSL *ssl, const struct peer_info *info)
{
	return info->peer.not_after_ms - clock_wall_ms(tls_context_of(ssl)->clock);
}

/* ---- names ---- */

/* An id names files, log fields and metrics: nothing that could be mistaken for syntax there. */
static bool id_is_clean(const char *id)
{
	size_t size = strlen(id);
	return size > 0 && size <= PEER_ID_MAX &&
	       strspn(id, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-") ==
	               size &&
	       id[0] != '.';
}

/* What follows prefix in the only SAN URI that begins so; NULL for none, or two. */
static const char *only_id(const struct cert *cert, const char *prefix)
{
	const char *found = NULL;
	const char *uri;
	for (size_t i = 0; (uri = cert_san_uri(cert, i)) != NULL; i++) {
		if (strncmp(uri, prefix, strlen(prefix)) != 0)
			continue;
		if (found != NULL)
			return NULL;
		found = uri + strlen(prefix);
	}
	return found;
}

static bool identify_agent(const struct cert *cert, struct peer_info *info,
                           struct failure *out_failure)
{
	const char *id = only_id(cert, AGENT_PREFIX);
	if (id == NULL || !id_is_clean(id)) {
		failure_set(out_failure, CONN_NO_IDENTITY, "no single clean SAN URI %s<id>",
		            AGENT_PREFIX);
		return false;
	}
	(void)snprintf(info->id, sizeof(info->id), "%s", id);
	return true;
}

static bool has_uri(const struct cert *cert, const char *wanted)
{
	const char *uri;
	for (size_t i = 0; (uri = cert_san_uri(cert, i)) != NULL; i++) {
		if (strcmp(uri, wanted) == 0)
			return true;
	}
	return false;
}

static bool is_address(const char *text)
{
	struct in6_addr address;
	return inet_pton(AF_INET, text, &address) == 1 || inet_pton(AF_INET6, text, &address) == 1;
}

static bool identify_gateway(const struct cert *cert, X509 *x509, const char *peer_name,
                             struct peer_info *info, struct failure *out_failure)
{
	bool good;
	if (strncmp(peer_name, OWN_PREFIX, strlen(OWN_PREFIX)) == 0)
		good = has_uri(cert, peer_name);
	else if (is_address(peer_name))
		good = X509_check_ip_asc(x509, peer_name, 0) == 1;
	else
		good = X509_check_host(x509, peer_name, 0, X509_CHECK_FLAG_NEVER_CHECK_SUBJECT,
		                       NULL) == 1;
	if (!good) {
		failure_set(out_failure, CONN_WRONG_NAME, "wanted %s, met %s", peer_name,
		            cert_subject(cert));
		return false;
	}
	const char *id = only_id(cert, GATEWAY_PREFIX);
	if (id != NULL && id_is_clean(id))
		(void)snprintf(info->id, sizeof(info->id), "%s", id);
	return true;
}

bool tls_identify(SSL *ssl, const char *peer_name, struct peer_info *info,
                  struct failure *out_failure)
{
	X509 *x509 = SSL_get0_peer_certificate(ssl);
	struct cert *cert = NULL;
	if (x509 == NULL || SSL_get_verify_result(ssl) != X509_V_OK) {
		failure_set(out_failure, CONN_NO_CERTIFICATE, "%s", "");
		return false;
	}
	if (!info_from_x509(info, x509, &cert)) {
		failure_set(out_failure, CONN_BAD_CERTIFICATE, "it cannot be taken apart");
		return false;
	}
	info->peer.resumed = SSL_session_reused(ssl) == 1;
	bool ok = peer_name == NULL ? identify_agent(cert, info, out_failure)
	                            : identify_gateway(cert, x509, peer_name, info, out_failure);
	cert_free(cert);
	return ok;
}

/* ---- tickets ---- */

int tls_on_ticket_made(SSL *ssl, void *arg)
{
	STACK_OF(X509) *sent = SSL_get_peer_cert_chain(ssl);
	struct buffer chain = BUFFER_EMPTY;
	if (SSL_session_reused(ssl) || sent == NULL)
		return 1; /* The old ticket's data is in the new one already. */
	for (int i = 0; i < sk_X509_num(sent); i++) {
		unsigned char *der = NULL;
		int size = i2d_X509(sk_X509_value(sent, i), &der);
		if (size > 0)
			buffer_put(&chain, (struct bytes){ der, (size_t)size });
		OPENSSL_free(der);
	}
	int kept = 1;
	/* Without its chain the ticket will not be accepted, which costs a handshake and no more. */
	if (chain.size > 0 && chain.size <= TICKET_CHAIN_MAX && !chain.failed)
		kept = SSL_SESSION_set1_ticket_appdata(SSL_get_session(ssl), chain.data,
		                                       chain.size);
	buffer_fini(&chain);
	return kept;
}

static bool session_is_good(const struct tls_context *context, SSL_SESSION *session)
{
	X509 *leaf = SSL_SESSION_get0_peer(session);
	STACK_OF(X509) *chain = intermediates_of(NULL, session);
	bool good =
		leaf != NULL && chain != NULL && verify_again(context, leaf, chain) == X509_V_OK;
	sk_X509_pop_free(chain, X509_free);
	return good;
}

SSL_TICKET_RETURN tls_on_ticket_read(SSL *ssl, SSL_SESSION *session, const unsigned char *name,
                                     size_t name_size, SSL_TICKET_STATUS status, void *arg)
{
	bool readable = status == SSL_TICKET_SUCCESS || status == SSL_TICKET_SUCCESS_RENEW;
	if (readable && session_is_good(tls_context_of(ssl), session))
		return SSL_TICKET_RETURN_USE_RENEW;
	return SSL_TICKET_RETURN_IGNORE_RENEW;
}

int tls_on_session(SSL *ssl, SSL_SESSION *take_session)
{
	struct tls_context *context = tls_context_of(ssl);
	SSL_SESSION_free(context->last);
	context->last = take_session;
	return 1; /* Taken. */
}

void tls_forget_session(struct tls_context *context)
{
	SSL_SESSION_free(context->last);
	context->last = NULL;
}

void tls_offer_session(struct tls_context *context, SSL *ssl)
{
	if (context->last == NULL)
		return;
	/* We will not see the server's certificate again, so the one of then is judged by now. */
	struct failure ignored;
	if (SSL_SESSION_is_resumable(context->last) && SSL_set_session(ssl, context->last) == 1 &&
	    tls_recheck(context, ssl, &ignored))
		return;
	(void)SSL_set_session(ssl, NULL);
	ERR_clear_error();
	tls_forget_session(context);
}

/* ---- connections ---- */

SSL *tls_ssl_new(struct tls_context *context, int fd, struct peer_info *info)
{
	SSL *ssl = SSL_new(context->ssl_context);
	if (ssl == NULL || SSL_set_fd(ssl, fd) != 1) {
		SSL_free(ssl);
		ERR_clear_error();
		return NULL;
	}
	(void)SSL_set_app_data(ssl, info);
	set_time(SSL_get0_param(ssl), context);
	if (context->is_server) {
		SSL_set_accept_state(ssl);
	} else {
		SSL_set_connect_state(ssl);
		tls_offer_session(context, ssl);
	}
	return ssl;
}

static void explain_protocol(SSL *ssl, unsigned long error, struct failure *out_failure)
{
	int reason = ERR_GET_REASON(error);
	const char *text = ERR_reason_error_string(error);
	text = text == NULL ? "" : text;
	if (ERR_GET_LIB(error) != ERR_LIB_SSL) {
		failure_set(out_failure, CONN_PROTOCOL, "%s", text);
		return;
	}
	switch (reason) {
	case SSL_R_CERTIFICATE_VERIFY_FAILED:
		failure_set(out_failure, reason_of(SSL_get_verify_result(ssl)), "%s",
		            X509_verify_cert_error_string(SSL_get_verify_result(ssl)));
		return;
	case SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE:
		failure_set(out_failure, CONN_NO_CERTIFICATE, "%s", "");
		return;
	case SSL_R_HTTP_REQUEST:
	case SSL_R_HTTPS_PROXY_REQUEST:
	case SSL_R_WRONG_VERSION_NUMBER:
		failure_set(out_failure, CONN_NOT_TLS, "%s", text);
		return;
	case SSL_R_UNEXPECTED_EOF_WHILE_READING:
		failure_set(out_failure, CONN_LOST, "end of stream");
		return;
	default:
		/* An alert is what the peer says is wrong with us. */
		failure_set(out_failure,
		            reason > SSL_AD_REASON_OFFSET ? CONN_REFUSED : CONN_PROTOCOL, "%s",
		            text);
	}
}

void tls_explain(SSL *ssl, int result, struct failure *out_failure)
{
	int saved_errno = errno;
	int kind = SSL_get_error(ssl, result);
	unsigned long error = ERR_peek_last_error();
	if (kind == SSL_ERROR_ZERO_RETURN)
		failure_set(out_failure, CONN_PEER_CLOSED, "%s", "");
	else if (error != 0)
		explain_protocol(ssl, error, out_failure);
	else
		failure_set(out_failure, CONN_LOST, "%s",
		            saved_errno == 0 ? "end of stream" : strerror(saved_errno));
	ERR_clear_error();
}
