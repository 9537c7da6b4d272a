/* control.h -- the operator's socket, both ends, and the feed of events. The only user of nng.
 *
 * Requests and answers are proto/control.proto over REQ/REP, events over PUB/SUB, both on local
 * sockets. Who may use them is decided by the permissions of the socket files; who did is known
 * from the peer's credentials.
 *
 * nng has threads of its own. They only decode and put calls into a mailbox; everything here is
 * called on the thread that owns the server or the client.
 */
#ifndef ZR_RELAY_CONTROL_H
#define ZR_RELAY_CONTROL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/control.h"
#include "relay/base/bytes.h"
#include "relay/base/err.h"
#include "relay/base/list.h"

#define CONTROL_USER_SIZE 64
#define CONTROL_CALLS_MAX 16 /* Requests under way at once; further ones wait in the sockets. */

/* ---- the daemon's end ---- */

struct control_server;

struct control_server_options {
	const char *socket; /* Path of the request socket. */
	const char *events; /* Path of the event socket. */
	const char *group;  /* Group that may use both; NULL: only our own user and root. */
};

/* A request that came. Belongs to whoever was given it, until it is answered. */
struct control_call {
	struct list_node node;                      /* Free for the use of its owner. */
	const Zonerelay__Control__Request *request; /* Decoded, within its limits. */
	char user[CONTROL_USER_SIZE]; /* Who asks: a name, or "uid 1007". From the kernel; what
	                                 request->user says is not believed. */
	struct control_slot *slot;    /* The server's own. */
};

struct control_answer {
	unsigned exit_status;    /* relay/base/exit.h */
	struct bytes json;       /* One object; empty where there is only an error. */
	const char *error;       /* NULL or "": none. */
	struct bytes attachment; /* May be empty. */
};

/* Errors: ZR_UNAVAILABLE  a socket cannot be made, or another daemon listens on it. */
bool control_server_start(struct control_server **out_server,
                          const struct control_server_options *options, struct err *err) MUST_CHECK;
/* Calls that were not answered get no answer; they must not be used any more. NULL is allowed. */
void control_server_stop(struct control_server *server);

/* Readable while calls wait. */
int control_server_fd(const struct control_server *server);
/* The next call that waits, or NULL: ask until it is NULL. Never blocks. */
struct control_call *control_server_next(struct control_server *server);
/* Sends the answer and frees the call. Copies what answer points at. Never blocks. */
void control_call_answer(struct control_call *call, const struct control_answer *answer);

/* Tells whoever watches. name as in the log; json one object. Never blocks: who is too slow misses
 * some, and sees so from the numbers. */
void control_server_publish(struct control_server *server, const char *name, const char *json,
                            int64_t time_ms);

/* ---- the command line's end ---- */

struct control_request {
	const char *const *words;
	size_t word_count;
	const char *reason; /* May be NULL. */
	bool dry_run;
	struct bytes attachment; /* May be empty. */
};

/* Asks, and waits for the answer. While it waits the same request (with the same id) is sent again
 * if the daemon goes away and comes back. Gives *out_response; end with control_response_free().
 *
 * Errors: ZR_UNAVAILABLE  nobody listens on socket, it is not ours to use, or no answer came in
 *                         timeout_ms: then what was asked for may have been done. */
bool control_ask(const char *socket, const struct control_request *request, int timeout_ms,
                 Zonerelay__Control__Response **out_response, struct err *err) MUST_CHECK;

struct control_watch; /* A subscription. */

/* events is kept until control_watch_close(). */
bool control_watch_open(struct control_watch **out_watch, const char *events,
                        struct err *err) MUST_CHECK;
void control_watch_close(struct control_watch *watch); /* NULL is allowed. */
/* The next event; waits up to timeout_ms (-1: for ever). Gives *out_event, to be ended with
 * control_event_free(); NULL after a timeout. */
bool control_watch_next(struct control_watch *watch, int timeout_ms,
                        Zonerelay__Control__Event **out_event, struct err *err) MUST_CHECK;

#endif
