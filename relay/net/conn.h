/* conn.h -- one TLS connection that carries frames, on libevent.
 *
 * A frame is a 4-byte big-endian length and that many bytes (proto/frame.h); callbacks see whole
 * frames only. Everything is bounded: a frame by frame_max_bytes and, once begun, by frame_max_ms;
 * the output queue by out_max_bytes and out_stall_max_ms; a turn of one connection by
 * turn_max_bytes, so that a fast peer does not starve the others.
 *
 *     net_connect():  CONNECTING -> HANDSHAKE -> OPEN -> FLUSHING -> gone
 *     listener:           (listener.h) HANDSHAKE -> OPEN -> FLUSHING -> gone
 *
 * Callbacks come from the event loop only, never from inside a call of ours. on_close comes exactly
 * once, last, whoever closed; the conn may be used until it returns and is freed by us at the end of
 * the turn. Nothing is ever freed inside its own callback.
 *
 * Threads: a net and all of its connections belong to the thread of their event loop.
 */
#ifndef ZR_NET_CONN_H
#define ZR_NET_CONN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "relay/base/bytes.h"
#include "relay/base/clock.h"
#include "relay/base/err.h"
#include "relay/net/tls.h"

struct event_base;
struct conn;

/* Why a connection ended, or never began. X(code, name, meaning); the name is a metric label. */
#define CONN_REASON_TABLE(X)                                                                       \
	X(CLOSED, "closed", "we closed it")                                                        \
	X(PEER_CLOSED, "peer-closed", "the peer closed it")                                        \
	X(LOST, "lost", "the network or the peer went away without a goodbye")                     \
	X(CONNECT, "connect", "no connection to the address")                                      \
	X(NOT_TLS, "not-tls", "the peer does not speak TLS")                                       \
	X(PROTOCOL, "tls-protocol", "no TLS version, cipher or group in common, or a violation")   \
	X(NO_CERTIFICATE, "no-certificate", "the peer showed no certificate")                      \
	X(WRONG_CA, "wrong-ca", "the peer's certificate is not from a CA that we trust")           \
	X(REVOKED, "revoked", "the peer's certificate or its issuer's is revoked")                 \
	X(EXPIRED, "expired", "the peer's certificate or its issuer's has expired")                \
	X(NOT_YET_VALID, "not-yet-valid", "the peer's certificate is not valid yet")               \
	X(CRL, "crl", "no current revocation list of the peer's issuer")                           \
	X(BAD_CERTIFICATE, "bad-certificate", "the peer's certificate is not fit for this use")    \
	X(NO_IDENTITY, "no-identity", "the peer's certificate names no agent or gateway")          \
	X(WRONG_NAME, "wrong-name", "the peer is not the gateway that we want")                    \
	X(REFUSED, "refused", "the peer refused us")                                               \
	X(HANDSHAKE_TIMEOUT, "handshake-timeout", "the peer did not finish the handshake in time") \
	X(OVER_LIMIT, "over-limit", "too many connections")                                        \
	X(OVER_RATE, "over-rate", "too many handshakes at once")                                   \
	X(FRAME_EMPTY, "frame-empty", "a frame of length 0")                                       \
	X(FRAME_LARGE, "frame-large", "a frame above the limit")                                   \
	X(SLOW_WRITER, "slow-writer", "a frame was begun and not completed in time")               \
	X(SLOW_READER, "slow-reader", "the peer does not take what we send")                       \
	X(NO_MEMORY, "no-memory", "out of memory")

enum conn_reason {
#define CONN_REASON_ENUM(code, name, meaning) CONN_##code,
	CONN_REASON_TABLE(CONN_REASON_ENUM)
#undef CONN_REASON_ENUM
		CONN_REASON_COUNT
};

const char *conn_reason_name(enum conn_reason reason);    /* "slow-reader". Static. */
const char *conn_reason_meaning(enum conn_reason reason); /* A sentence. Static. */

/* ---- the surroundings of all connections of one loop ---- */

struct net;

/* Both are kept until net_free(). Has the process ignore SIGPIPE: OpenSSL writes with write(). */
bool net_new(struct net **out_net, struct event_base *base, const struct clock *clock,
             struct err *err) MUST_CHECK;
/* Cuts what is still open (on_close comes from here, the one exception) and frees it. Listeners
 * must be gone. NULL is allowed. */
void net_free(struct net *net);

struct net_totals {
	uint64_t wire_bytes_in; /* As TCP carries them: TLS included. */
	uint64_t wire_bytes_out;
	uint64_t frame_bytes_in; /* Bodies of frames. */
	uint64_t frame_bytes_out;
	uint64_t frames_in;
	uint64_t frames_out;
	size_t conn_count;        /* In any state. */
	size_t out_queued_bytes;  /* In all output queues together. */
	size_t in_buffered_bytes; /* Held for frames that are only partly here, or paused. */
};
const struct net_totals *net_totals(const struct net *net);

/* ---- one connection ---- */

struct conn_limits {
	uint32_t frame_max_bytes; /* Of a frame from the peer: its body. */
	size_t out_max_bytes;     /* Queued for the peer. */
	int64_t frame_max_ms;     /* From a frame's first byte to its last. */
	int64_t out_stall_max_ms; /* Without the peer taking a byte of what is queued. */
	/* TCP_USER_TIMEOUT; 0: the system's. Linux ends a connection after so long without an
	 * acknowledgement, and also when the peer pauses reading for so long while we have something to
	 * send: credit, not a pause, is how to make a peer wait. */
	int64_t user_timeout_ms;
	size_t turn_max_bytes; /* Read, or written, before the others have their turn. */
};

/* 1 MiB frames, 4 MiB queued, 120 s a frame, 60 s stall, 60 s unacknowledged, 256 KiB a turn. */
struct conn_limits conn_limits_default(void);

struct conn_callbacks {
	/* The handshake is done and the peer is who it must be: conn_peer() is known. For
	 * net_connect() only; a listener has its own on_open. A server may still refuse our
	 * certificate afterwards (TLS 1.3): on_close then says CONN_REFUSED. */
	void (*on_open)(struct conn *conn, void *arg);
	/* frame is borrowed, and never empty. */
	void (*on_frame)(struct conn *conn, struct bytes frame, void *arg);
	/* The output queue, which was above half of out_max_bytes, is below a quarter. May be NULL. */
	void (*on_room)(struct conn *conn, void *arg);
	/* Last call. text says more than the reason's meaning, and may be "". */
	void (*on_close)(struct conn *conn, enum conn_reason reason, const char *text, void *arg);
};

/* callbacks and arg are kept until on_close. */
void conn_set_callbacks(struct conn *conn, const struct conn_callbacks *callbacks, void *arg);
void *conn_arg(const struct conn *conn);

/* Queues one frame of at most FRAME_MAX_BYTES_LIMIT bytes; it leaves at the end of the turn. False:
 * it was not queued, because the connection is not open (any more) or the queue is full, which
 * ends it: on_close says why. */
bool conn_send(struct conn *conn, struct bytes frame);
/* Bytes queued and not yet given to TCP. */
size_t conn_out_queued(const struct conn *conn);

/* Back-pressure. While paused nothing is read and no on_frame comes, not even for what was read
 * already; a frame's time does not run. Both may be called inside on_frame, and twice. */
void conn_pause(struct conn *conn);
void conn_resume(struct conn *conn);
bool conn_is_paused(const struct conn *conn);

/* No further on_frame. Sends what is queued for at most flush_max_ms, says goodbye, ends. */
void conn_close(struct conn *conn, int64_t flush_max_ms);
/* Ends now; what is queued is dropped. */
void conn_abort(struct conn *conn);
/* Ends it, with the reason that a handshake would give, if its peer would not be let in by context:
 * after a reload, for every connection. Returns whether the peer is still good. */
bool conn_recheck(struct conn *conn, const struct tls_context *context);

/* Who is on the other side. Borrowed from the connection. */
struct net_peer {
	const char *id; /* What follows zonerelay:agent/ or zonerelay:gateway/ in its SAN URI; */
			/* "" for a gateway that was named by DNS or IP. */
	const char *address;     /* "10.1.2.3:51234", "[2001:db8::1]:51234" */
	const char *subject;     /* "CN=..., O=..." */
	const char *serial;      /* Hexadecimal, lower case. */
	struct hash fingerprint; /* SHA-256 of its certificate. */
	int64_t not_after_ms;
	bool resumed; /* By a session ticket; its chain was checked again. */
};
/* Only the address is known before the handshake is done. */
const struct net_peer *conn_peer(const struct conn *conn);

struct conn_counts {
	uint64_t wire_bytes_in;
	uint64_t wire_bytes_out;
	uint64_t frame_bytes_in;
	uint64_t frame_bytes_out;
	uint64_t frames_in;
	uint64_t frames_out;
};
struct conn_counts conn_counts(const struct conn *conn);
/* Since a byte last came from the peer. */
int64_t conn_idle_ms(const struct conn *conn);
int64_t conn_opened_ms(const struct conn *conn); /* Monotonic. */

/* ---- the side that calls ---- */

struct connect_options {
	struct tls_context *context; /* A client's. Shared: it may be freed at any time. */
	/* An address, or a name that getaddrinfo() resolves: that blocks the loop, so only an agent
	 * with nothing else to do should use names. Every address it gives is tried in turn. */
	const char *host;
	uint16_t port;
	/* Where to call from: an address of ours, or an interface's name. NULL: the system decides. */
	const char *source;
	/* Whom we want: "zonerelay:gateway/<zone>" (a SAN URI), an IP address or a DNS name. */
	const char *peer_name;
	int64_t connect_max_ms; /* For TCP and the handshake together, over all addresses. */
	struct conn_limits limits;
};

/* Begins to connect. What goes wrong at once is given to on_close too, from the loop.
 * Errors: ZR_NO_MEMORY; ZR_INVALID  limits or context are not usable. */
bool net_connect(struct conn **out_conn, struct net *net, const struct connect_options *options,
                 const struct conn_callbacks *callbacks, void *arg, struct err *err) MUST_CHECK;

#endif
