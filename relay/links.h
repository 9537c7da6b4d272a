/* links.h -- all connected agents: who carries which chain, who is active, who gets how much credit.
 *
 * Threads: the loop.
 */
#ifndef ZR_RELAY_LINKS_H
#define ZR_RELAY_LINKS_H

#include "config/config.h"
#include "proto/link.h"
#include "relay/chains.h"
#include "relay/counters.h"
#include "relay/intake.h"
#include "relay/net/conn.h"
#include "relay/operators.h"
#include "relay/receipts.h"
#include "relay/share.h"
#include "spool/anchors.h"

struct links;
struct session;

struct links_options {
	const struct config *config; /* Kept until links_set_config(). */
	const struct clock *clock;   /* The rest is kept. */
	struct spool *spool;
	struct writer *writer;
	struct mailbox *commits;
	struct chains *chains;
	struct dictionaries *dictionaries;
	struct partials *partials;
	const struct receipts *receipts;
	struct counters *counters;
	/* Where events go. What it points at is set later, and may be NULL. */
	struct operators *const *feed;
};

bool links_new(struct links **out_links, const struct links_options *options,
               struct err *err) MUST_CHECK;
/* All conns must be gone. NULL is allowed. */
void links_free(struct links *links);
/* Intake is made after us: it tells us how batches end. */
void links_set_intake(struct links *links, struct intake *intake);
const struct intake_events *links_intake_events(void); /* With links as arg. */
void links_set_config(struct links *links, const struct config *config);

/* A peer is in: for the listener's on_open. */
void links_on_open(struct links *links, struct conn *conn);

/* Gives credit, sends anchor receipts that are due, frees what ended. True: there is more to do. */
bool links_turn(struct links *links);
/* Once a second: idle links, take-overs. */
void links_tick(struct links *links);

/* An anchor became final: its chains' agents are to be told. */
void links_anchor_final(struct links *links, const struct spool_anchor_id *id);
/* The chain's state changed, by whatever hand: read it again and tell its carriers. */
void links_chain_changed(struct links *links, struct chain *chain);
/* A chain of that name is known now: who was told that it is not says hello again. */
void links_chain_enrolled(struct links *links, const char *name);
/* Asks for blocks again: of the active agent, or of the next one that connects. */
void links_resend(struct links *links, struct chain *chain, uint64_t from, uint64_t to,
                  const char *reason);
/* Says goodbye to everybody, with retry-after in it. */
void links_goodbye_all(struct links *links);
/* After a reload: ends the links of those whom context would not let in, and re-reads grants. */
void links_recheck(struct links *links, const struct tls_context *context);

/* After a reload: chains that take batches now, or no more, find or lose their active agents. */
void links_reconfigure(struct links *links);

size_t links_open_count(const struct links *links);
size_t links_greeting_count(const struct links *links);
/* Connections that were open and ended for this reason. */
uint64_t links_ended_count(const struct links *links, enum conn_reason reason);

/* One connected agent, for people. */
struct link_view {
	const char *agent;
	const char *address;
	size_t chain_count, active_count;
	int64_t idle_ms, opened_ms;
	uint64_t granted_bytes, used_bytes;
};
/* Calls see for each open link. */
void links_each(struct links *links, void (*see)(const struct link_view *view, void *arg),
                void *arg);
/* How one agent carries one chain. */
struct carrier_view {
	const char *address;
	bool active, held, has_blocks;
	uint64_t tip_height, oldest_height; /* As it said at its hello, or has brought since. */
};
/* False: that agent is not connected, or does not carry it. */
bool links_carrier(const struct chain *chain, const char *agent, struct carrier_view *out_view);
/* The agent that is active for a chain, or NULL. Borrowed. */
const char *links_active_agent(const struct chain *chain);
size_t links_carrier_count(const struct chain *chain);

#endif
