/* agent.h -- the agent: its chains, its one link, and the turn in which everything is done.
 *
 * Everything runs in one thread on one event loop. Callbacks note what happened (frames are an
 * exception: they are handled as they come); agent_turn() does the work in one visible order, each
 * step bounded, and says when it wants to be called again.
 */
#ifndef ZR_EDGE_AGENT_H
#define ZR_EDGE_AGENT_H

#include "adapters/mainchain/evidence.h"
#include "config/config.h"
#include "proto/compress.h"
#include "proto/link.h"
#include "relay/edge/edge_clock.h"
#include "relay/edge/heartbeat.h"
#include "relay/edge/receipt_keys.h"
#include "relay/edge/redial.h"
#include "relay/edge/source.h"
#include "relay/edge/upload.h"
#include "relay/net/conn.h"
#include "spool/agent.h"

struct event_base;
struct event;
struct status_server;

/* A receipt that was checked and not stored yet: only the newest of a turn is. */
struct custody_news {
	bool waiting;
	bool told; /* That it could not be kept. */
	struct agent_custody custody;
	struct buffer receipt;
};

struct edge_chain {
	const struct edge_chain_config *config; /* Of the configuration the agent started with. */
	const struct sidechain *format;
	struct agent_store *store;
	bool owns_store; /* A ledger has a store of its own. */
	/* Where the operator trusts the main chain itself: its evidence is checked, too. Else NULL. */
	mainchain_evidence_check *evidence_check;
	struct buffer trusted; /* PEM. */
	struct source *source;
	struct agent_chain facts; /* As stored; read again after each change. */
	int64_t source_wake_ms;
	struct source_view shown; /* As upload was last told. */
	char problem_logged[SOURCE_PROBLEM_SIZE];

	struct hash dictionary;       /* The gateway asks for this one; zero: none. */
	int64_t dictionary_wanted_ms; /* When it was asked for; 0: it was not. */
	bool dictionary_refused;      /* Compress without until the next welcome. */
	struct custody_news custody;
	uint64_t pruned_below; /* As the source was last told. */
	bool pruning;          /* There is more to delete. */
	int64_t room_look_ms;  /* When its store's room is looked at again. */
	char why_held[128];    /* The gateway's words. */
	uint64_t told_next;    /* Where the last welcome said to go on, */
	uint64_t told_partial; /* and how much of the batch there it had. */
	uint64_t receipts_refused;
};

/* A dictionary that is held, from a file or fetched. */
#define DICTIONARIES_MAX 16
struct dictionaries {
	struct dictionary *items[DICTIONARIES_MAX];
	size_t count;
};

enum link_state {
	LINK_DOWN,       /* Waiting for redial. */
	LINK_CONNECTING, /* TCP and TLS. */
	LINK_HELLO,      /* Hello is out, Welcome is waited for. */
	LINK_UP,
	LINK_CLOSING, /* Goodbye is out. */
	LINK_STATE_COUNT,
};
const char *link_state_name(enum link_state state);

struct edge_link {
	enum link_state state;
	struct conn *conn; /* NULL while down. */
	struct redial redial;
	struct heartbeat heartbeat;
	int64_t deadline_ms; /* For Welcome. */
	uint8_t store_uuid[STORE_UUID_SIZE];
	struct receipt_keys keys;
	uint32_t frame_max_bytes;
	uint64_t count; /* Links welcomed since start. */
	char last_error[128];
	char peer_software[64];
};

struct agent {
	struct config *config; /* That it started with; chains point into it. Owned. */
	struct config
		*live; /* The newest, for what may change while running. Owned unless config. */
	const char *config_path;
	struct event_base *base;
	struct event *turn_event; /* The next turn. */
	struct event *signals[4];
	struct net *net;
	struct tls_context *tls;
	struct edge_clock clock;
	struct agent_store *state; /* Of chains without a store of their own, and of the clock. */
	struct edge_chain *chains;
	size_t chain_count;
	struct upload *upload;
	struct edge_link link;
	struct dictionaries dictionaries;
	struct compressor *compressor;
	struct buffer raw;             /* Scratch: the batch before compression. */
	struct buffer outbox;          /* The batch that is being sent, compressed. */
	struct hash outbox_dictionary; /* It is compressed with; zero: none. */
	struct status_server *status;

	int64_t gateway_time_stored_ms; /* Monotonic: when it was last stored. */
	int64_t manager_told_ms;
	int64_t stopping_ms; /* Monotonic deadline; 0: not stopping. */
	bool failed;         /* failure says why the agent ends. */
	struct err failure;
	uint64_t wire_bytes_in, wire_bytes_out; /* Of links that are gone. */
};

/* ---- agent.c ---- */

/* Takes config. Opens stores, chains and the status socket; nothing is connected yet.
 * Errors: exit with err_exit_status(), but for ZR_INVALID of the configuration's own. */
bool agent_new(struct agent **out_agent, struct config *take_config, const char *config_path,
               struct err *err) MUST_CHECK;
void agent_free(struct agent *agent); /* NULL is allowed. */
/* Until a signal or a failure ends it. Returns the exit status. */
int agent_run(struct agent *agent);
/* There is work: the next turn comes at once. */
void agent_wake(struct agent *agent);
/* The store failed: the agent ends with this. */
void agent_fail(struct agent *agent, const struct err *failure);
int64_t agent_now_ms(const struct agent *agent); /* Monotonic. */

/* ---- reload.c ---- */

/* Reads the configuration and the certificates again; what is wrong changes nothing. */
void agent_reload(struct agent *agent);
/* A new context from the certificates as they are now. The old one is kept on failure. */
bool agent_open_tls(struct agent *agent, struct err *err) MUST_CHECK;

/* ---- chain.c: one chain of the agent ---- */

/* Errors: as source_open() and agent_store_open(). */
bool edge_chain_open(struct edge_chain *chain, struct agent *agent,
                     const struct edge_chain_config *config, struct err *err) MUST_CHECK;
void edge_chain_close(struct edge_chain *chain);
bool edge_chain_refresh(struct edge_chain *chain, struct err *err) MUST_CHECK;
/* Our block at a height: false where it is not known. Errors that stop go to agent_fail(). */
bool edge_chain_header(struct agent *agent, struct edge_chain *chain, uint64_t height,
                       struct block_header *out_header);
/* Builds what upload_next() asked for and answers it. */
void edge_chain_build(struct agent *agent, const struct upload_action *action);
/* Stores what was noted, and deletes a slice of what may go. Errors: those that stop. */
bool edge_chain_keep(struct edge_chain *chain, int64_t now_ms, struct err *err) MUST_CHECK;
/* Blocks below may go, as the policy says and receipts allow. */
uint64_t edge_chain_prunable(const struct edge_chain *chain);
struct dictionary *edge_dictionary(const struct agent *agent, const struct hash *hash);
bool edge_dictionary_add(struct agent *agent, struct bytes bytes, struct err *err) MUST_CHECK;
void edge_dictionaries_load(struct agent *agent);

/* ---- link.c: the connection ---- */

void link_init(struct agent *agent);
/* Connects, pings, gives up, sends batches. *out_wake_ms: when to call again at the latest. */
void link_turn(struct agent *agent, int64_t now_ms, int64_t *out_wake_ms);
/* Says goodbye if there is a link. */
void link_stop(struct agent *agent, Zonerelay__Link__GoodbyeReason reason);
/* The gateway said goodbye. */
void link_end(struct agent *agent);
/* Encodes and queues one frame. A frame that cannot be sent ends the link. */
bool link_send(struct agent *agent, const Zonerelay__Link__Frame *frame);
/* Ends the link for something the gateway did, and remembers why. */
void link_give_up(struct agent *agent, Zonerelay__Link__GoodbyeReason reason, const char *format,
                  ...) __attribute__((format(printf, 3, 4)));

/* ---- hello.c, messages.c: what is said on it ---- */

bool hello_send(struct agent *agent);
/* False: the link was given up, or the agent failed. */
bool welcome_on(struct agent *agent, const Zonerelay__Link__Welcome *welcome);
void chain_welcome_on(struct agent *agent, size_t index,
                      const Zonerelay__Link__ChainWelcome *welcome);
/* The gateway said its time, authenticated: the clock follows, and it is stored now and then. */
void gateway_time_on(struct agent *agent, int64_t time_ms);
/* Every frame but Welcome, which comes first and only once. */
void message_on(struct agent *agent, const Zonerelay__Link__Frame *frame);

/* ---- receipts.c ---- */

void receipt_on_ack(struct agent *agent, const Zonerelay__Link__Ack *ack);
void receipt_on_anchored(struct agent *agent, const Zonerelay__Link__Anchored *anchored);

#endif
