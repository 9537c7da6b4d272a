/* listener.h -- lets peers in: accepts, limits, does the handshake, gives open connections away.
 *
 *     accept -> SILENT -- first byte --> WAITING for a token -> HANDSHAKE -> on_open
 *                 |                        |                       |
 *                 +---- over time or limit, not TLS, not trusted: on_refused
 *
 * A connection costs a few hundred bytes until it says something, and a TLS object only once the
 * token bucket lets it begin a handshake. Where too many say nothing, the oldest of them makes room
 * for the newest. Out of file descriptors, a reserved one is used to turn callers away, and
 * accepting rests for a while: never a busy loop.
 *
 * Threads: the one of its net.
 */
#ifndef ZR_NET_LISTENER_H
#define ZR_NET_LISTENER_H

#include "relay/net/conn.h"

struct listener;

struct listener_options {
	struct tls_context *context; /* Kept until replaced. A server's. */
	const char *host;            /* An address: "127.0.0.1", "0.0.0.0"; "::" is IPv6 alone. */
	uint16_t port;               /* 0: any; listener_port() tells. */
	int backlog;
	size_t conn_max;        /* Open connections. */
	size_t pending_max;     /* Those that are not open yet. */
	size_t waiting_max;     /* Of these, how many may wait for a token. */
	int64_t waiting_max_ms; /* And how long. */
	double handshakes_per_s;
	double handshake_burst;
	int64_t handshake_max_ms; /* From accept to open, waiting not counted. */
	struct conn_limits limits;
};

/* Loopback, any port; 1000 open, 1000 pending, 500 waiting 10 s; 200/s, burst 400; 10 s. */
struct listener_options listener_options_default(void);

struct listener_callbacks {
	/* A peer is in. Call conn_set_callbacks() here; a conn without them is ended. */
	void (*on_open)(struct conn *conn, void *arg);
	/* One was turned away: the one line to log. peer has what is known of it: the address
	 * always; the certificate where one was shown. */
	void (*on_refused)(enum conn_reason reason, const struct net_peer *peer, const char *text,
	                   void *arg);
};

/* callbacks and arg are kept until listener_free().
 * Errors: ZR_INVALID  not an address, or a limit is 0.  ZR_UNAVAILABLE  the address is in use, or
 *         cannot be bound. */
bool listener_new(struct listener **out_listener, struct net *net,
                  const struct listener_options *options,
                  const struct listener_callbacks *callbacks, void *arg,
                  struct err *err) MUST_CHECK;
/* Stops listening and drops who is not open yet. Open connections stay. NULL is allowed. */
void listener_free(struct listener *listener);

uint16_t listener_port(const struct listener *listener);
/* For handshakes that begin from now on; the old context may be freed. */
void listener_set_context(struct listener *listener, struct tls_context *context);

/* Counts, rates, times and conn limits of options, for connections from now on; address, backlog and
 * context stay. None may be 0. */
void listener_set_limits(struct listener *listener, const struct listener_options *options);

struct listener_stats {
	uint64_t accepted;
	uint64_t opened;
	uint64_t resumed; /* Of the opened: by a session ticket. */
	uint64_t refused[CONN_REASON_COUNT];
	uint64_t accept_errors; /* Out of descriptors or memory. */
	size_t open_count;
	size_t silent_count;
	size_t waiting_count;
	size_t handshake_count;
};
const struct listener_stats *listener_stats(const struct listener *listener);

#endif
