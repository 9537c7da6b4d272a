/* session.h -- one connected agent; what links.c and the session_*.c files share.
 *
 *     HELLO ---- welcomed ----> OPEN
 *       |                        |
 *       +-- refused or broken ---+---- goodbye, replaced, revoked, idle, lost ----> CLOSED
 *
 * A session leaves every table the moment it is CLOSED; its memory goes when its conn is gone.
 */
#ifndef ZR_RELAY_SESSION_H
#define ZR_RELAY_SESSION_H

#include "relay/links.h"
#include "spool/anchors.h"

/* Short names for the generated ones. */
#define CHAIN_STATE(name) ZONERELAY__LINK__CHAIN_STATE__CHAIN_STATE_##name
#define REASON(name)      ZONERELAY__LINK__REJECT_REASON__REJECT_REASON_##name
#define ACTION(name)      ZONERELAY__LINK__REJECT_ACTION__REJECT_ACTION_##name
#define GOODBYE(name)     ZONERELAY__LINK__GOODBYE_REASON__GOODBYE_REASON_##name
#define BODY(name)        ZONERELAY__LINK__FRAME__BODY_##name

enum session_state { SESSION_HELLO, SESSION_OPEN, SESSION_CLOSED };

/* One chain on one connection. */
struct session_chain {
	struct list_node node; /* In its chain's carriers, or linked to itself. */
	struct list_node due;  /* In links' due, or linked to itself. */
	struct session *session;
	uint32_t place; /* In Hello: what messages call it. */
	char name[CHAIN_NAME_MAX + 1];
	struct chain *chain;                 /* NULL: not known, or not granted. */
	Zonerelay__Link__ChainState refused; /* Why chain is NULL. */
	char refused_reason[128];
	bool held; /* Refused with HOLD: its agent waits for a ChainUpdate. */
	bool has_blocks;
	uint64_t oldest_height, tip_height; /* As it said in Hello, or has brought since. */
	uint64_t anchored_next;             /* What it was told, or says that it knows. */
	struct hash skipped; /* A batch that was answered already: the rest of it is passed over. */
	uint64_t partial_bytes;   /* What of the chain's partial came over this session, */
	unsigned partial_batches; /* and whether its beginning did. */
};

struct session {
	struct list_node node;   /* In links' greeting or open: heard from longest ago first. */
	struct list_node bucket; /* By agent, once OPEN. */
	struct links *links;     /* Kept. */
	struct conn *conn;       /* Its own; NULL after on_close. */
	uint64_t number;
	enum session_state state;
	bool welcomed;
	const char *agent; /* Borrowed from conn; valid until CLOSED. */
	int64_t heard_ms;
	struct share_link share;
	struct session_chain *chains; /* Owned. */
	size_t chain_count;
};

#define AGENT_BUCKETS 4096 /* A power of two. */

/* The anchor that receipts are cut from at the moment. */
struct anchor_cache {
	bool present;
	struct spool_anchor anchor;
	struct entry *entries; /* Owned, like the rest. */
	size_t entry_count;
	struct merkle_tree *tree;
	struct spool_receipt_copy receipt;
};

struct links {
	struct links_options options;
	struct intake *intake; /* Kept. */
	struct share share;
	struct list_node greeting, open;
	struct list_node agents[AGENT_BUCKETS];
	struct list_node due; /* Of session_chain: anchor receipts are to be sent. */
	struct anchor_cache cache;
	struct buffer frame; /* Scratch. */
	size_t open_count, greeting_count;
	uint64_t number_next;
	uint64_t ended[CONN_REASON_COUNT]; /* Connections that were open, by why they ended. */
	bool stopping;
};

/* ---- session.c ---- */

/* Encodes and queues. A failure closes the session sooner or later; callers go on. */
void session_send(struct session *session, Zonerelay__Link__Frame *frame);
/* Says goodbye and closes. The session is out of every table afterwards; do not touch it again in
 * this callback. */
void session_goodbye(struct session *session, Zonerelay__Link__GoodbyeReason reason,
                     uint32_t retry_after_ms, const char *detail);
/* The hello was good: HELLO -> OPEN. */
void session_opened(struct session *session);
struct session *session_of_agent(struct links *links, const char *agent);
void session_send_reject(struct session_chain *place, const struct refusal *refusal);
void session_tell_credit(struct session *session);
/* Its share as it is told from now on; gives the pace that goes with it, in bytes per second. */
uint32_t session_grant(struct session *session, Zonerelay__Link__CreditGrant *grant);
uint32_t jittered_ms(uint32_t base_ms);
/* The session's place of a chain, where the session is still there; else NULL. */
struct session_chain *carrier_of_link(const struct chain *chain, uint64_t link);

/* ---- session_hello.c ---- */

void session_on_hello(struct session *session, const Zonerelay__Link__Hello *hello);
/* Chooses who is active, if nobody is; tells the chosen. */
void chain_elect(struct links *links, struct chain *chain);
void chain_make_active(struct links *links, struct chain *chain, struct session_chain *place);
/* It was refused for good: another agent may try, and this one waits for a ChainUpdate. */
void session_chain_hold(struct session_chain *place);
/* The chain's partial is given up: its credit comes back. */
void session_chain_give_back(struct session_chain *place);
/* What Welcome and ChainUpdate say about one chain. Fills *out and points into *out_partial. */
struct chain_words {
	Zonerelay__Link__ChainWelcome message;
	char reason[LINK_TEXT_MAX / 2];
};
void chain_words(const struct links *links, const struct session_chain *place,
                 struct chain_words *out_words);
void session_send_update(struct session_chain *place);

/* ---- session_chunk.c ---- */

void session_on_chunk(struct session *session, const Zonerelay__Link__Chunk *chunk);

/* ---- links.c ---- */

/* Shares credit out, as far as there is room. */
void links_grant(struct links *links);

/* ---- session_anchored.c ---- */

/* Sends what is due, at most a bounded number of messages. True: there is more to send now. */
bool links_send_anchored(struct links *links);
void anchor_cache_drop(struct anchor_cache *cache);
bool anchor_cache_load(struct links *links, const struct spool_anchor_id *id, struct err *err);
void session_chain_due(struct session_chain *place);

#endif
