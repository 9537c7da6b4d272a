/* server.h -- the development main chain behind its HTTP API: blocks on a timer, requests between.
 *
 *     request -> route -> handler -> reply
 *                  |                    |
 *                  +--- misbehaviour ---+      before it is done, and on the way out
 *
 * A submission waits for the block that records it, so its answer is true when it is given. Whatever
 * waits when the process dies was never answered.
 *
 * Threads: the one that runs the base.
 */
#ifndef ZR_ADAPTERS_MAINCHAIN_DEVCHAIN_SERVER_H
#define ZR_ADAPTERS_MAINCHAIN_DEVCHAIN_SERVER_H

#include "adapters/mainchain/devchain/ledger.h"
#include "adapters/mainchain/devchain/misbehave.h"

struct event_base;
struct tls_context;
struct server;

struct server_options {
	struct ledger *ledger;      /* Kept. */
	const char *address;        /* Numeric. Without TLS, a loopback address. */
	uint16_t port;              /* 0: any that is free. */
	struct tls_context *tls;    /* Kept. NULL: plain HTTP. */
	const char *token;          /* Kept. Bearer token that requests must carry; NULL: none. */
	uint64_t block_interval_ms; /* 0: a block as soon as there is something for it. */
	uint64_t finality_blocks;
	size_t batch_max_bytes;
	size_t anchor_max_bytes;
	struct misbehave *take_misbehave; /* Taken. */
};

/* Listens from now on. Gives *out_server; end with server_free().
 * Errors: ZR_INVALID  the address.  ZR_UNAVAILABLE  it is taken. */
bool server_new(struct server **out_server, const struct server_options *options,
                struct event_base *base, struct err *err) MUST_CHECK;
/* Requests that wait get no answer. NULL is allowed. */
void server_free(struct server *server);

/* New connections are made with tls from now on; only where the server began with TLS. tls is kept. */
void server_use_tls(struct server *server, struct tls_context *tls);

uint16_t server_port(const struct server *server);
/* The ledger failed: the base's loop was ended. False: it did not. */
bool server_failed(const struct server *server, struct err *out_err);

/* The routes, for whoever compares them with the API's document: a list of { method, path }. A new
 * reference. */
json_t *server_routes(void);

#endif
