/* tls_internal.h -- what connections need of a TLS context; for relay/net alone.
 *
 * A context lives in its SSL_CTX, which OpenSSL keeps while a connection was made from it: that is
 * how old connections keep theirs after tls_context_free().
 */
#ifndef ZR_NET_TLS_INTERNAL_H
#define ZR_NET_TLS_INTERNAL_H

#include <openssl/ssl.h>

#include "relay/net/conn.h"
#include "relay/net/tls.h"

#define PEER_ID_MAX       128
#define PEER_SUBJECT_SIZE 200
#define PEER_SERIAL_SIZE  48
#define PEER_ADDRESS_SIZE 64
#define REASON_TEXT_SIZE  192

/* What struct net_peer borrows from. */
struct peer_info {
	struct net_peer peer;
	char id[PEER_ID_MAX + 1];
	char subject[PEER_SUBJECT_SIZE];
	char serial[PEER_SERIAL_SIZE];
	char address[PEER_ADDRESS_SIZE];
};

void peer_info_init(struct peer_info *info, const char *address);

/* Why something failed. */
struct failure {
	enum conn_reason reason;
	char text[REASON_TEXT_SIZE]; /* May be "". */
};

#define FAILURE_NONE ((struct failure){ CONN_CLOSED, "" })

void failure_set(struct failure *out_failure, enum conn_reason reason, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

bool tls_is_server(const struct tls_context *context);
/* Gives a second hold on it, to be given back with tls_context_free(). */
struct tls_context *tls_context_share(struct tls_context *context);
/* A connection over fd, ready for SSL_do_handshake(); NULL when out of memory. info is kept: a
 * certificate that is refused leaves its traces there. */
SSL *tls_ssl_new(struct tls_context *context, int fd, struct peer_info *info);
/* After a call on ssl returned result (not WANT_READ or WANT_WRITE): what went wrong. Empties
 * OpenSSL's queue. */
void tls_explain(SSL *ssl, int result, struct failure *out_failure);
/* After the handshake: fills info, and says whether the peer is one that may be here. peer_name is
 * a client's: whom it wants. */
bool tls_identify(SSL *ssl, const char *peer_name, struct peer_info *info,
                  struct failure *out_failure);
/* Was ssl made from this context? */
bool tls_made(const struct tls_context *context, const SSL *ssl);
/* Would context let the peer of ssl in, now? */
bool tls_recheck(const struct tls_context *context, SSL *ssl, struct failure *out_failure);
/* How long the peer's certificate is still valid, by the clock of its context. */
int64_t tls_expires_in_ms(const SSL *ssl, const struct peer_info *info);
/* A client: offers the last ticket, if its server would still be trusted. */
void tls_offer_session(struct tls_context *context, SSL *ssl);
void tls_forget_session(struct tls_context *context);

/* For tls*.c. */
struct tls_context {
	SSL_CTX *ssl_context; /* Owns us, and is owned by us until tls_context_free(). */
	bool is_server;
	bool resumption;
	const struct clock *clock; /* Kept. */
	SSL_SESSION *last;         /* Owned. A client's newest ticket, or NULL. */
	struct tls_facts facts;
	char subject[PEER_SUBJECT_SIZE];
	char serial[PEER_SERIAL_SIZE];
};
struct tls_context *tls_context_of(const SSL *ssl);
/* SSL_CTX_set_verify()'s callback, and the one for tickets. */
int tls_on_verify(int ok, X509_STORE_CTX *check);
int tls_on_ticket_made(SSL *ssl, void *arg);
SSL_TICKET_RETURN tls_on_ticket_read(SSL *ssl, SSL_SESSION *session, const unsigned char *name,
                                     size_t name_size, SSL_TICKET_STATUS status, void *arg);
int tls_on_session(SSL *ssl, SSL_SESSION *take_session);

#endif
