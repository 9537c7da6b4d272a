/* delivery.h -- the thread that takes durable blocks to the main chain, as the loop sees it.
 *
 * It has its own libevent loop. It reads the spool with short read transactions, changes it only
 * through the writer, and shares nothing else with the other threads: messages go in, notices come
 * out. What it decides is in relay/anchor_*.h and relay/submission.h; nothing of that is seen here.
 *
 *     loop                        delivery
 *       | ---- nudge, request ----> |      pending blocks; the operator's wish; a new configuration
 *       | <--- notice ------------- |      anchor final; state for /readyz, metrics, status
 *       |                           | ---- writer_submit() with its own mailbox for the answers
 */
#ifndef ZR_RELAY_DELIVERY_H
#define ZR_RELAY_DELIVERY_H

#include "proto/record.h"
#include "relay/base/clock.h"
#include "relay/base/crypto.h"
#include "relay/base/err.h"
#include "relay/base/list.h"
#include "relay/base/mailbox.h"

struct config;
struct delivery;
struct spool;
struct writer;

struct delivery_options {
	const struct config
		*config;           /* Kept until a delivery_reload() with another one was answered,
	                                or delivery_stop(). */
	struct spool *spool;       /* Kept. Read transactions only. */
	struct writer *writer;     /* Kept. */
	const struct clock *clock; /* Kept. */
	struct mailbox *notices;   /* Kept. What comes out: struct delivery_notice. */
};

/* Starts the thread. Nothing was sent yet when it returns; the fence, the heads of the lanes and the
 * restore guard come first, in the thread, and a main chain that is away is no failure.
 *
 * Errors: ZR_INVALID  the configuration of a sink.  ZR_UNAVAILABLE  a file, a thread, a loop. */
bool delivery_start(struct delivery **out_delivery, const struct delivery_options *options,
                    struct err *err) MUST_CHECK;

/* Asks the thread to finish: no new submission, answers under way are waited for at most grace_ms,
 * then it ends and is joined. What had no answer is UNKNOWN in the spool. NULL is allowed. */
void delivery_stop(struct delivery *delivery, int64_t grace_ms);

/* "There is something pending": after a commit with new blocks, an unfreeze, a release from
 * quarantine. Never blocks; many nudges are one. */
void delivery_nudge(struct delivery *delivery);

/* ---- requests: each has exactly one answer, the same object, in reply ---- */

enum delivery_request_kind {
	DELIVERY_RELOAD, /* Use config from now on. An error keeps the old one. */
	DELIVERY_COMMAND, /* An operator's words: "anchors retry ...", "replay ...", "adopt lane ...",
	                     "reconcile ..."; relay/commands_delivery.c knows them. */
};

struct delivery_request {
	struct list_node node; /* In the delivery's mailbox, then in reply's. */
	enum delivery_request_kind kind;
	struct mailbox *reply;       /* Kept until answered. */
	const struct config *config; /* RELOAD: kept from then on if ok. */
	const char *const *words;    /* COMMAND: borrowed until answered. */
	size_t word_count;
	const char *reason; /* COMMAND: as the operator gave it; borrowed likewise; may be "". */
	const char *user;
	bool dry_run;
	/* Filled in before the answer: */
	bool ok;
	unsigned exit_status; /* COMMAND: for the command line, relay/base/exit.h. */
	struct buffer json;   /* COMMAND: one object. Owned by whoever owns the request. */
	struct err err;
};

/* Takes request until it comes back in request->reply. Never blocks.
 * Errors: ZR_FULL  too many requests wait: it was not taken. */
bool delivery_request(struct delivery *delivery, struct delivery_request *request,
                      struct err *err) MUST_CHECK;

/* ---- notices ---- */

enum delivery_lane_state {
	DELIVERY_LANE_STARTING, /* Fence and head are being asked for. */
	DELIVERY_LANE_RUNNING,
	DELIVERY_LANE_AWAY,    /* The main chain does not answer: waiting, with backoff. */
	DELIVERY_LANE_STOPPED, /* Restore guard, fence or the operator; `reason` says which. */
};

#define DELIVERY_REASON_SIZE 160

/* One endpoint of the main chain, as its calls went. */
#define DELIVERY_ENDPOINTS_MAX    8 /* More are used, and not told about. */
#define DELIVERY_ENDPOINT_URL_MAX 255

struct delivery_endpoint_status {
	char url[DELIVERY_ENDPOINT_URL_MAX + 1]; /* A longer one is cut. */
	bool up;                                 /* Its last call had an answer. */
	bool behind; /* Its last answer was made below its own or another's height. */
	uint64_t height;
	uint64_t call_count, failure_count;
};

/* One lane of one sink, as it stands now. The spool has the rest. */
struct delivery_lane_status {
	char sink[CHAIN_NAME_MAX + 1];
	uint16_t lane;
	enum delivery_lane_state state;
	uint64_t fence;
	uint64_t final_seq;     /* Newest anchor that is FINAL. */
	uint64_t sent_seq;      /* Newest anchor that was sent. */
	uint64_t unknown_count; /* Anchors whose outcome is in doubt. */
	int64_t progress_ms;    /* Monotonic: when an anchor last moved on. */
	int64_t idle_proven_ms; /* Monotonic: when it last saw that there is nothing to do, or that
	                             waiting is right (backoff, a stopped lane). The watchdog's food. */
	uint64_t submission_count, retry_count, reject_count;
	uint64_t bytes_out, bytes_in;
	struct delivery_endpoint_status endpoints[DELIVERY_ENDPOINTS_MAX];
	size_t endpoint_count;
	char reason[DELIVERY_REASON_SIZE];
};

enum delivery_notice_kind {
	DELIVERY_ANCHOR_FINAL,    /* sink, lane, seq: its chains' edges may be told. */
	DELIVERY_ANCHOR_SENT,     /* sink, lane, seq; as the next two only for whoever watches. */
	DELIVERY_ANCHOR_REJECTED, /* The main chain refused it; reason: its word. */
	DELIVERY_ANCHOR_UNKNOWN,  /* Its outcome is in doubt; reason: why. */
	DELIVERY_STATUS,          /* status: after each change, and at least every second. */
	DELIVERY_CHAIN_FROZEN,    /* chain: the main chain refused it; already so in the spool. */
	DELIVERY_CHAINS_CHANGED, /* Heights of any chain may have moved in the spool: after a restore. */
	DELIVERY_PAYLOAD_LOST, /* chain, from, to: damaged in the spool; ask the edge again. */
};

/* Made by delivery with calloc(); taken, and freed with free(), by the loop. */
struct delivery_notice {
	struct list_node node;
	enum delivery_notice_kind kind;
	char sink[CHAIN_NAME_MAX + 1];
	uint16_t lane;
	uint64_t seq;
	struct chain_key chain;
	uint64_t from, to;
	char reason[DELIVERY_REASON_SIZE];
	struct delivery_lane_status status;
};

#endif
