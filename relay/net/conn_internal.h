/* conn_internal.h -- a connection's inside, for conn*.c, connect.c and listener.c.
 *
 *     CONNECTING -> HANDSHAKE -> OPEN -> FLUSHING -> LINGERING -> DEAD
 *
 * conn_end() says why it ended and stops all callbacks but one; the net's turn then calls on_close
 * and either frees the connection or lets it linger, reading and dropping what still comes, so that
 * our last words are not lost in a TCP reset.
 */
#ifndef ZR_NET_CONN_INTERNAL_H
#define ZR_NET_CONN_INTERNAL_H

#include <event2/event.h>
#include <event2/event_struct.h>

#include "relay/base/list.h"
#include "relay/net/conn.h"
#include "relay/net/tls_internal.h"

#define SCRATCH_SIZE 65536

struct net {
	struct event_base *base;   /* Kept. */
	const struct clock *clock; /* Kept. */
	struct event *turn_event;  /* Owned. Fires once when work is not empty. */
	struct list_node conns;    /* Every struct conn; owned. */
	struct list_node work;     /* Those with something to do in the next turn. */
	size_t lingering_count;
	struct net_totals totals;
	uint8_t scratch[SCRATCH_SIZE]; /* What one read or write works on; never across calls. */
};

enum conn_state {
	STATE_CONNECTING,
	STATE_HANDSHAKE,
	STATE_OPEN,
	STATE_FLUSHING,
	STATE_LINGERING,
	STATE_DEAD,
};

struct connector;

/* Who made the connection, and is told before its user. */
struct conn_owner {
	/* The handshake is done and the peer identified. */
	void (*on_open)(struct conn *conn, void *arg);
	/* It ended, open or not. The owner forgets it. */
	void (*on_end)(struct conn *conn, bool was_open, const struct failure *failure, void *arg);
};

struct conn {
	struct list_node node;       /* In net's conns. */
	struct list_node work_node;  /* In net's work, or alone. */
	struct list_node owner_node; /* In the owner's list, or alone. */
	struct net *net;             /* Kept. */
	enum conn_state state;
	int fd;   /* Owned. -1 while there is none. */
	SSL *ssl; /* Owned. NULL before the handshake. */
	struct event io_event;
	short io_wanted; /* What io_event waits for: EV_READ, EV_WRITE, both or 0. */
	struct event timer;
	int64_t timer_ms; /* What it is set to; 0: not set. */
	struct conn_limits limits;
	const struct conn_callbacks *callbacks; /* Kept. NULL until set. */
	void *arg;                              /* Kept. */
	const struct conn_owner *owner;         /* NULL: none, or it is gone. */
	void *owner_arg;                        /* Kept. */
	struct connector *connector; /* Owned. NULL once connected, and for a listener's. */
	char *peer_name;             /* Owned. Whom a client wants; NULL for a server. */
	struct tls_context *context; /* Shared. A client's; NULL where we are the server. */

	/* Reading. */
	struct buffer in; /* The beginning of a frame, or what waits for conn_resume(). */
	bool paused;
	bool read_wants_write; /* TLS has something to send before it can read on. */
	bool read_again;       /* The turn was over before the peer's bytes were. */

	/* Writing. */
	struct evbuffer *out; /* Owned. Made with the first frame. */
	bool write_blocked;   /* TCP takes no more for now. */
	bool above_half;      /* on_room is due when the queue is short again. */

	/* Deadlines, monotonic; 0: none. */
	int64_t state_deadline_ms; /* Of connecting, handshake, flushing, lingering; where it is open, of
	                            * the peer's certificate. */
	int64_t frame_deadline_ms;
	int64_t out_deadline_ms;

	bool ended;     /* conn_end() was called; failure says why. */
	bool was_open;  /* When it ended, or is. */
	bool announced; /* on_close was called. */
	bool polite;    /* It ends with a goodbye and lingers. */
	struct failure failure;

	struct peer_info info;
	struct conn_counts counts;
	int64_t opened_ms;
	int64_t heard_ms;
};

/* A connection in CONNECTING without an fd; NULL when out of memory. */
struct conn *conn_new(struct net *net, const struct conn_limits *limits, const char *address);
void conn_set_owner(struct conn *conn, const struct conn_owner *owner, void *arg);
/* Takes fd, a connected socket, and begins the handshake; it must be done by deadline_ms. */
void conn_handshake(struct conn *conn, int take_fd, struct tls_context *context,
                    int64_t deadline_ms);
/* Ends it at the end of the turn, with on_close. Only the first call counts. polite: with a goodbye
 * that the peer has a chance to read. */
void conn_end(struct conn *conn, const struct failure *failure, bool polite);
/* Tells owner and user that it ended; once. */
void conn_announce(struct conn *conn);
/* Does what its events left for the turn; may free it. */
void conn_work(struct conn *conn);
/* For one that nobody was told of, and for the net. */
void conn_free(struct conn *conn);
/* Sets the timer to the earliest deadline. */
void conn_set_timer(struct conn *conn);
void conn_wait_for(struct conn *conn, short what);
/* Has the net's turn look at conn. */
void conn_schedule(struct conn *conn);
/* Options of a TCP socket of ours. */
void conn_set_socket_options(int fd, const struct conn_limits *limits);
/* A socket address as text. */
void conn_address_text(const struct sockaddr *address, char text[static PEER_ADDRESS_SIZE]);
bool conn_limits_are_usable(const struct conn_limits *limits);

/* connect.c: the io_event or the timer of a CONNECTING conn fired. */
void connector_on_event(struct conn *conn);
void connector_free(struct connector *connector);

/* conn_io.c: reading and writing. */
void conn_read(struct conn *conn);
void conn_write(struct conn *conn);
void conn_count_wire(struct conn *conn);

#endif
