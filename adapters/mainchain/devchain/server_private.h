/* server_private.h -- requests on their way through the server; for server*.c and handlers.c. */
#ifndef ZR_ADAPTERS_MAINCHAIN_DEVCHAIN_SERVER_PRIVATE_H
#define ZR_ADAPTERS_MAINCHAIN_DEVCHAIN_SERVER_PRIVATE_H

#include <event2/event.h>
#include <event2/http.h>

#include "adapters/mainchain/devchain/server.h"
#include "relay/base/list.h"

#define SERVER_EXCHANGES_MAX 1024
#define SERVER_DEV_BODY_MAX  MISBEHAVE_TEXT_MAX

struct exchange;
typedef void exchange_handler(struct exchange *exchange);

struct route {
	enum evhttp_cmd_type method;
	const char
		*path; /* {lane}, {key}, {content}, {height} and {seq} stand for what they say. */
	int call;      /* enum mainchain_call, or MISBEHAVE_NO_CALL. */
	exchange_handler *handler;
};

/* One request. It lives until its answer is handed over or its connection is gone. */
struct exchange {
	struct list_node node;          /* In server->exchanges. */
	struct list_node pending;       /* A submission: in server->pending. */
	struct server *server;          /* Kept. */
	struct evhttp_request *request; /* Kept; evhttp's. */
	const struct route *route;
	struct event *timer; /* Owned. The answer leaves from here, so never from within evhttp. */
	/* From the path: */
	uint16_t lane;
	struct hash hash; /* {key} or {content} */
	uint64_t height;  /* {height} or {seq} */
	/* The body: */
	struct buffer body;
	struct ledger_submission submission;
	/* The answer: */
	int status;
	const char *content_type;
	uint64_t retry_after_s;
	struct buffer answer;
	bool is_dropped; /* There will be none. */
};

struct server {
	struct server_options options;
	struct event_base *base;     /* Kept. */
	struct evhttp *http;         /* Owned. */
	struct event *block_timer;   /* Owned. */
	struct misbehave *misbehave; /* Owned. */
	struct list_node exchanges;  /* All. */
	struct list_node pending;    /* Submissions that wait for a block, oldest first. */
	size_t exchange_count, pending_count;
	uint16_t port;
	bool failed;
	struct err err; /* Why, where failed. */
};

/* ---- exchange.c ---- */

/* NULL: out of memory. */
struct exchange *exchange_new(struct server *server, struct evhttp_request *request);
/* Closes its connection, and so ends it. Not from within evhttp. */
void exchange_drop(struct exchange *exchange, bool reset);
/* As misbehave_acts() for its call. out_parameter may be NULL. */
bool exchange_acts(struct exchange *exchange, enum misbehaviour kind, uint64_t *out_parameter);

/* Answering: exactly once; the exchange ends with it, a little later. */

/* Takes object. */
void reply_json(struct exchange *exchange, int status, json_t *take_object);
void reply_bytes(struct exchange *exchange, struct bytes bytes);
/* In words that are not the API's: paths and methods that it does not have. */
void reply_text(struct exchange *exchange, int status, const char *text);
void reply_reason(struct exchange *exchange, enum api_reason reason, int status,
                  const char *detail);
/* Its submission was not accepted. */
void reply_verdict(struct exchange *exchange);
void reply_absent(struct exchange *exchange, uint64_t height);
/* The ledger failed. Full is busy, anything else no answer of the API. */
void reply_failure(struct exchange *exchange, const struct err *err);
/* Closes the connection. */
void reply_nothing(struct exchange *exchange);

/* ---- route.c ---- */

void exchange_dispatch(struct exchange *exchange);
/* A decimal number without leading zeros, at most max. */
bool route_number(struct bytes text, uint64_t max, uint64_t *out_number);

/* ---- handlers.c ---- */

/* NULL past the end. */
const struct route *server_route_at(size_t index);
/* Its submission was judged, in a block. */
void reply_judged(struct exchange *exchange);

/* ---- server.c ---- */

/* for_block: a rule that is counted by blocks counts this one. */
void server_rules(struct server *server, bool for_block, struct ledger_rules *out_rules);
/* Makes one block of what waits, and answers it. False: the ledger failed. */
bool server_make_block(struct server *server);
/* A block comes after the interval at the latest. */
void server_schedule(struct server *server);
/* What a node answers as that is a little behind, if it is to be so. */
uint64_t server_as_of(struct exchange *exchange);
/* The ledger failed: if it cannot go on, neither can the program. */
void server_stop_if_lost(struct server *server, const struct err *err);

#endif
