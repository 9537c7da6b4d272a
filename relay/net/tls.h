/* tls.h -- who we are and whom we trust: what every TLS connection of one side is made from.
 *
 * TLS 1.3 only, certificates on both sides, no early data. A context is complete and checked when
 * tls_context_new() gives it, and never changes: a reload builds a new one, hands it to the listener
 * or the next net_connect(), and drops the old one, which lives on in the connections made from it.
 * A session ticket opens only with the context that wrote it, so ticket keys change with certificate,
 * CA and CRL; rebuild the context once a day to change them more often.
 *
 * Revocation: where lists are given, one of the issuer of the peer's own certificate must be among
 * them and must not be past its nextUpdate; for issuers above it a list counts if it is there.
 *
 * Threads: a context belongs to the thread of its connections.
 */
#ifndef ZR_NET_TLS_H
#define ZR_NET_TLS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "config/config.h"
#include "relay/base/bytes.h"
#include "relay/base/clock.h"
#include "relay/base/err.h"

struct tls_context;

/* Everything is borrowed until tls_context_new() returns, but for the clock. */
struct tls_options {
	bool is_server;
	const char *certificate; /* PEM: own certificate, then its intermediates. */
	const char *key;         /* PEM, without a passphrase. */
	const char *ca;          /* PEM: roots, and intermediates that peers need not send. */
	const char *const *crls; /* PEM files, each with one list or more. */
	size_t crl_count;        /* 0: nothing is ever revoked. */
	const char *groups;      /* The next three go to OpenSSL as they are; */
	const char *ciphers;     /* NULL: its own choice. */
	const char *signature_algorithms;
	bool resumption;           /* Server: give tickets. Client: keep the last and offer it. */
	const struct clock *clock; /* Kept. Validity is judged by its wall time. */
};

/* As the configuration has them: for tls_context_new(), with is_server and resumption set. Borrows
 * from config. */
struct tls_options tls_options_of(const struct config_tls *config, const struct clock *clock);

/* Errors name the file: ZR_UNAVAILABLE  one cannot be read.  ZR_INVALID  one is malformed; the key
 * is not the certificate's; an algorithm is unknown.  ZR_UNTRUSTED  our certificate or a CRL has
 * expired or is not valid yet. */
bool tls_context_new(struct tls_context **out_context, const struct tls_options *options,
                     struct err *err) MUST_CHECK;
/* NULL is allowed. Connections made from it are not touched. */
void tls_context_free(struct tls_context *context);

/* What the operator wants to see of it, and metrics. */
struct tls_facts {
	int64_t certificate_not_after_ms;
	int64_t ca_not_after_ms;    /* The earliest of the CA file. */
	int64_t crl_next_update_ms; /* The earliest; INT64_MAX where there is none. */
	const char *subject;        /* Of our certificate. Borrowed, like the rest. */
	const char *serial;
	struct hash fingerprint; /* SHA-256 of our certificate. */
	size_t revoked_count;    /* Entries of all lists. */
};
const struct tls_facts *tls_context_facts(const struct tls_context *context);

#endif
