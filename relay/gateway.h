/* gateway.h -- the pieces of zonerelayd and how they meet.
 *
 *     agents ==TLS==> listener -> session -> partials -> intake <==jobs==> verify workers
 *                        ^           ^                     |
 *                        |           +--- stored, refused -+--ops--> writer --> spool
 *                        +--- credit, anchor receipts                   ^         |
 *     operator ==> control, http (relay/control.h, relay/http.h)       |         v
 *     delivery (its own thread) <--nudge, requests-- loop --notices--> +------ reads
 *
 * Everything but verify workers, writer and delivery runs on one thread, the loop. Event handlers
 * only note what happened; gateway_turn() does the work of a turn, in one visible order, each step
 * bounded.
 *
 * Threads: the one that called gateway_start().
 */
#ifndef ZR_RELAY_GATEWAY_H
#define ZR_RELAY_GATEWAY_H

#include "config/config.h"
#include "relay/chains.h"
#include "relay/counters.h"
#include "relay/delivery.h"
#include "relay/dictionaries.h"
#include "relay/intake.h"
#include "relay/links.h"
#include "relay/net/listener.h"
#include "relay/partials.h"
#include "relay/pinned.h"
#include "relay/receipts.h"
#include "relay/verify.h"
#include "relay/writer.h"
#include "spool/spool.h"
#include "spool/upkeep.h"

#define LISTENERS_MAX 16

struct event;
struct event_base;
struct http;
struct operators;

/* What the spool was like when it was last looked at: at most a second ago. */
struct gateway_view {
	struct spool_stats spool;
	int64_t looked_ms; /* Monotonic. */
	bool valid;
};

struct gateway {
	const struct clock *clock;
	const char *config_path; /* Borrowed for ever. */
	struct config *config;   /* Owned; replaced whole by a reload. */
	struct config *former;   /* Owned: still used by delivery. NULL: none. */
	bool delivery_reloading; /* It was asked to use the one in force. */
	struct event_base *base;

	struct spool *spool;
	struct writer *writer;
	struct mailbox *commits; /* The writer's answers; each op's on_done is called. */
	struct verify_pool *verify;
	struct delivery *delivery;
	struct mailbox *notices;  /* Delivery's. */
	struct mailbox *requests; /* Delivery's answers to ours. */

	struct receipts receipts;
	struct dictionaries dictionaries;
	struct partials partials;
	struct chains *chains;
	struct links *links;
	struct intake *intake;
	struct counters counters;

	struct net *net;
	struct tls_context *tls;
	struct listener *listeners[LISTENERS_MAX];
	size_t listener_count;

	struct event *turn_event; /* Activated by whatever noted something. */
	struct event *mailbox_events[4];
	struct event *tick_event; /* Every TICK_MS. */
	struct event *signal_events[4];

	struct gateway_view view;
	bool full_told;                       /* The log says that the spool is full. */
	struct delivery_lane_status lanes[8]; /* As last noticed. */
	size_t lane_count;
	struct spool_scrub scrub;
	size_t ops_under_way;    /* Of enrol.c and upkeep.c. */
	size_t enrols_under_way; /* Of these, enrol.c's. */
	size_t enrol_next;       /* Index into config->gateway.chains. */
	int64_t started_ms;      /* Monotonic. */
	int64_t reloaded_ms;     /* Wall clock of the last good load. */
	bool reload_ok;          /* The last attempt to reload was good. */
	uint64_t ticks;
	bool stopping;
	int64_t stop_by_ms; /* Monotonic: the end of patience. */
	unsigned exit_status;

	struct http *http;           /* relay/http.h; NULL: none. */
	struct operators *operators; /* relay/operators.h; NULL: none. */
};

#define GATEWAY_TICK_MS 1000

/* Takes config. Everything is up when it returns: listening, delivery started, intake ready.
 * Errors: as the parts; gateway_exit_status() says what to exit with. */
bool gateway_start(struct gateway **out_gateway, struct config *take_config,
                   const char *config_path, struct err *err) MUST_CHECK;
/* Runs until told to stop. Returns the process's exit status. */
unsigned gateway_run(struct gateway *gateway);
/* NULL is allowed. */
void gateway_stop(struct gateway *gateway);

/* One turn of the loop: everything that was noted. */
void gateway_turn(struct gateway *gateway);
/* There is something to do: a turn comes soon. */
void gateway_wake(struct gateway *gateway);

/* ---- gateway_reload.c ---- */

/* Reads the configuration again: parse, validate, compare, swap or keep.
 * Errors: ZR_INVALID  the new one is bad, and the old one stays; everything wrong was logged. */
bool gateway_reload(struct gateway *gateway, struct err *err) MUST_CHECK;
bool gateway_read_tls(struct gateway *gateway, const struct config *config,
                      struct tls_context **out_context, struct err *err) MUST_CHECK;
void gateway_apply_limits(struct gateway *gateway);
void gateway_apply_link_limits(struct gateway *gateway); /* gateway.c */
/* A new TLS context from the same files, so that the keys of session tickets change. */
void gateway_renew_tls(struct gateway *gateway);
/* Delivery uses the new configuration: the former may go. */
void gateway_on_delivery_answer(struct gateway *gateway, struct delivery_request *take_request);

/* ---- gateway_enrol.c ---- */

/* Brings chains that are new in the zone file into the spool, some at a time. */
void gateway_enrol_some(struct gateway *gateway);

/* ---- gateway_upkeep.c ---- */

/* Once a tick: looks at the spool, recounts a little, tells the service manager. */
void gateway_upkeep(struct gateway *gateway);
void gateway_dump_state(struct gateway *gateway); /* To the log. */
/* Is everything moving that should? *out_why is a sentence where not. For /readyz. */
bool gateway_is_ready(struct gateway *gateway, const char **out_why);
/* Does it make progress, or is there a proven reason for none? For the watchdog. */
bool gateway_progresses(const struct gateway *gateway, const char **out_why);

#endif
