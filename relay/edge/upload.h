/* upload.h -- which piece of which chain goes out next: the deciding half of the agent's link.
 *
 * Pure: no I/O, no clock, no bytes of blocks. The agent reports what happened (upload_on_...) and
 * asks what to do (upload_next): nothing until a moment, build a batch, or send a piece of it.
 * One batch at a time is built and sent (the outbox), whatever the number of chains, so memory is
 * bounded by one batch; several that are sent may wait for their acks (the flight), of which only
 * facts are kept.
 *
 *                  welcome: active                 reject: retry after
 *     OFFLINE ------------------------> ACTIVE <------------------------> WAITING
 *        ^  \                           |    ^  time
 *        |   \ welcome: standby         |    | chain update: active
 *        |    +----------> STANDBY -----+    |
 *        |     \ welcome: frozen ...         |
 *        |      +--------> HELD -------------+   (also: reject: hold, own tip is another)
 *        +---- link lost: from every state
 */
#ifndef ZR_EDGE_UPLOAD_H
#define ZR_EDGE_UPLOAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "relay/base/bytes.h"
#include "relay/base/err.h"

#define UPLOAD_FLIGHT_MAX 16 /* Batches of one chain that wait for their acks. */
#define UPLOAD_RESEND_MAX 4  /* Ranges of one chain that the gateway asked for again. */

enum upload_state {
	UPLOAD_OFFLINE, /* No link, or not welcomed on it yet. */
	UPLOAD_ACTIVE,
	UPLOAD_WAITING, /* The gateway, or a source that could not be read, asked for some time. */
	UPLOAD_STANDBY, /* Another agent of this chain is active. */
	UPLOAD_HELD,    /* Stopped until a chain update; hold says why. */
	UPLOAD_STATE_COUNT,
};
const char *upload_state_name(enum upload_state state);

enum upload_hold {
	HOLD_NONE,
	HOLD_FROZEN,
	HOLD_UNKNOWN,
	HOLD_DENIED,
	HOLD_RETIRED,
	HOLD_RESTORED,
	HOLD_REJECTED,  /* A batch was refused in a way that needs an operator. */
	HOLD_DIVERGED,  /* The gateway's block at its tip is another than ours. */
	HOLD_BEHIND,    /* The gateway has blocks that the ledger we seal does not have. */
	HOLD_PRUNED,    /* The gateway asks for blocks that are no longer here. */
	HOLD_TOO_LARGE, /* The next block is above the gateway's block_max_bytes. */
	HOLD_PROTOCOL,  /* The gateway said something impossible about this chain. */
	HOLD_COUNT,
};
const char *upload_hold_name(enum upload_hold hold);
const char *upload_hold_text(enum upload_hold hold); /* One sentence for people. */

struct upload;

struct upload_options {
	size_t chain_count;
	uint64_t batch_max_bytes;  /* Raw; the gateway's limit may lower it. */
	uint32_t batch_max_blocks; /* Likewise. */
	uint32_t batch_wait_ms; /* A block waits at most this long for others to join its batch. */
	uint32_t rate_bytes_per_s; /* Our own limit of the link; 0: none. */
};

bool upload_new(struct upload **out_upload, const struct upload_options *options,
                struct err *err) MUST_CHECK;
void upload_free(struct upload *upload); /* NULL is allowed. */

/* ---- what happened ---- */

/* What the source holds now. Called at start and whenever it changed. */
struct upload_source {
	bool own;             /* We seal it: nobody else can have more of it than we have. */
	uint64_t oldest;      /* Lowest height that can be read. */
	uint64_t next;        /* Highest height + 1; oldest == next: nothing. */
	uint64_t bytes_total; /* Sizes of all blocks ever seen, added up: only differences count. */
};
void upload_on_source(struct upload *upload, size_t index, const struct upload_source *source,
                      int64_t now_ms);

/* enum chain_state of link.proto, and what the caller found out about our block at the tip. */
enum upload_grant {
	GRANT_ACTIVE,
	GRANT_STANDBY,
	GRANT_FROZEN,
	GRANT_UNKNOWN,
	GRANT_DENIED,
	GRANT_RETIRED,
	GRANT_RESTORED,
};
enum upload_tip { TIP_SAME, TIP_OTHER, TIP_NOT_HELD };

struct upload_welcome {
	enum upload_grant grant;
	uint64_t next_height;
	enum upload_tip tip; /* Our block at next_height - 1 against the gateway's. */
	struct hash partial_batch;
	uint64_t partial_size; /* 0: the gateway has nothing of a batch. */
};
/* From Welcome, once per chain, and from each ChainUpdate. */
void upload_on_welcome(struct upload *upload, size_t index, const struct upload_welcome *welcome,
                       int64_t now_ms);

struct upload_limits {
	uint32_t chunk_max_bytes;
	uint64_t batch_max_bytes;
	uint32_t batch_max_blocks;
	uint64_t block_max_bytes;
};
/* From Welcome, before its chains. Credit and sent totals begin again at zero. */
void upload_on_link(struct upload *upload, const struct upload_limits *limits);
/* Totals since Welcome; they only rise. */
void upload_on_credit(struct upload *upload, uint64_t bytes, uint64_t batches);
void upload_on_pace(struct upload *upload, uint32_t bytes_per_s);
/* The link is gone. The outbox is kept: the gateway may have its beginning. */
void upload_on_lost(struct upload *upload);

/* One batch that was sent, for checking its receipt. */
struct upload_batch {
	uint64_t from, to;
	struct hash content; /* SHA-256 of the compressed bytes. */
	struct hash tip;     /* Hash of block `to`. */
	uint64_t size;       /* Compressed. */
	uint64_t raw_size;
	bool again; /* Part of a range the gateway asked for again. */
};

/* False: the gateway acknowledged blocks that it cannot have from this chain (HOLD_PROTOCOL). */
bool upload_on_ack(struct upload *upload, size_t index, uint64_t durable_next, int64_t now_ms);
/* The batch in flight or in the outbox that is exactly from..to, or NULL. Ask before on_ack. */
const struct upload_batch *upload_find(const struct upload *upload, size_t index, uint64_t from,
                                       uint64_t to);

enum upload_action_wanted { REJECTED_RESUME, REJECTED_RETRY, REJECTED_HOLD };
struct upload_reject {
	enum upload_action_wanted action;
	struct hash content; /* Of the batch it is about; zero: not said. */
	uint64_t next_height;
	uint32_t retry_after_ms;
};
/* A batch that is on its way no more was void already: nothing happens. */
void upload_on_reject(struct upload *upload, size_t index, const struct upload_reject *reject,
                      int64_t now_ms);

/* The gateway asks for from..to again. What is no longer here is left out. */
void upload_on_resend(struct upload *upload, size_t index, uint64_t from, uint64_t to);

/* The caller stops a chain by itself (a block that is too large), or releases it again. */
void upload_hold(struct upload *upload, size_t index, enum upload_hold hold);

/* ---- what to do ---- */

enum upload_what {
	UPLOAD_NOTHING, /* Until wake_ms, or an event. */
	UPLOAD_BUILD,   /* Call upload_built() or upload_not_built(). */
	UPLOAD_SEND,    /* The piece counts as sent. */
};

struct upload_action {
	enum upload_what what;
	size_t chain;
	int64_t wake_ms; /* UPLOAD_NOTHING; INT64_MAX: only an event changes anything. */
	/* UPLOAD_BUILD: at most count_max blocks from this height, and at most bytes_max raw bytes,
	 * but always one block if it is not above block_max_bytes. */
	uint64_t from;
	uint64_t count_max;
	uint64_t bytes_max;
	uint64_t block_max_bytes;
	/* UPLOAD_SEND: a piece of the outbox. Offset 0 carries the header. */
	uint64_t offset;
	uint32_t size;
	bool last; /* The outbox's bytes may be forgotten. */
};

void upload_next(struct upload *upload, int64_t now_ms, struct upload_action *out_action);

/* The answer to UPLOAD_BUILD. */
void upload_built(struct upload *upload, const struct upload_batch *batch);
void upload_not_built(struct upload *upload, int64_t retry_ms);

/* True if the outbox holds a batch of which bytes may still be asked for. */
bool upload_outbox(const struct upload *upload, size_t *out_chain, struct upload_batch *out_batch);

/* ---- for status ---- */

struct upload_status {
	enum upload_state state;
	enum upload_hold hold;
	uint64_t send_next;    /* The next height to be sent. */
	uint64_t durable_next; /* As the gateway last said; meaningless before the first welcome. */
	bool welcomed;         /* durable_next is known. */
	size_t flight_count;
	int64_t wait_until_ms; /* UPLOAD_WAITING. */
	uint64_t batches_sent, bytes_sent, raw_bytes_sent, blocks_sent, rejects; /* Since start. */
};
void upload_status(const struct upload *upload, size_t index, struct upload_status *out_status);

#endif
