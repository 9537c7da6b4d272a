/* delivery_state.h -- what the files of the delivery thread share. Nobody else includes it.
 *
 *     delivery.c           the thread, its turn, requests, notices
 *     delivery_ops.c       changes to the spool, through the writer
 *     delivery_calls.c     calls to the main chain, uploads, and their answers
 *     commands_delivery.c  an operator's words
 *
 * All of it belongs to the delivery thread, but for the mailboxes, wake_fd and `stopping`.
 */
#ifndef ZR_RELAY_DELIVERY_STATE_H
#define ZR_RELAY_DELIVERY_STATE_H

#include <event2/event.h>
#include <pthread.h>
#include <stdatomic.h>

#include "adapters/mainchain.h"
#include "config/config.h"
#include "relay/anchor_build.h"
#include "relay/anchor_plan.h"
#include "relay/delivery.h"
#include "relay/lane.h"
#include "relay/writer.h"
#include "spool/upkeep.h"

#define DELIVERY_CALLS_MAX 256

/* One change of the spool; stands at the beginning of a larger struct. */
struct delivery_op {
	struct writer_op op;
	struct delivery *delivery;
};

/* A call to the main chain that has no answer yet. */
struct delivery_call {
	uint64_t token; /* 0: free. */
	enum lane_step step;
	uint64_t seq;
	struct hash
		key; /* Of the anchor asked about: a voided one's answer is not its successor's. */
	size_t upload;                    /* LANE_UPLOAD: which one, */
	uint64_t upload_number;           /* and of which round. */
	struct delivery_request *request; /* An operator's question; NULL: the lane's own. */
};

/* The anchor whose payloads are being put. */
struct delivery_upload {
	uint64_t seq;    /* 0: none. */
	uint64_t number; /* Of this round: an answer to one that was given up is nobody's. */
	struct anchor_draft draft;
	bool *done; /* Owned; one per upload. */
	size_t next;
	size_t under_way;
	bool failed;
	struct err err; /* Why, where it failed here. */
};

/* An operator makes both sides agree again after one was restored from a copy. */
struct delivery_restore {
	struct delivery_request *request; /* NULL: nobody does. */
	uint64_t head_seq;                /* Where the main chain stands. */
	struct hash head_root;
	struct buffer content; /* Of the anchor that is being taken over. */
	uint32_t settled, imported, voided, rewound;
	uint64_t blocks_here, heights_lost;
};

struct delivery {
	struct delivery_options options;
	const struct config_main_chain *sink; /* In the configuration in force. */
	const struct mainchain_adapter *adapter;
	struct mainchain *mainchain;
	struct key *receipt_key; /* Owned. */

	pthread_t thread;
	struct event_base *base;
	struct event *turn_timer;
	struct event *wake_event, *requests_event, *replies_event;
	int wake_fd;
	atomic_bool stopping;
	atomic_llong stop_at_ms;  /* Monotonic: the grace ends. */
	struct mailbox *requests; /* From the loop. */
	struct mailbox *replies;  /* From the writer. */

	struct lane lane;
	struct plan plan;
	uint8_t class_numbers[PLAN_CLASS_MAX];
	bool classes_ready;
	uint64_t classes_asked; /* How often: only the newest answer counts. */
	int64_t classes_at_ms;  /* Where they are not ready: asked for again then. */
	struct delivery_call calls[DELIVERY_CALLS_MAX];
	uint64_t next_token;
	struct delivery_upload upload;

	size_t ops_under_way;
	bool building;       /* An intent is on its way to the spool. */
	bool maybe_pending;  /* Something may be pending: look. */
	bool more_pending;   /* The last anchor was full: do not wait for the interval. */
	int64_t build_at_ms; /* Not before; the interval. */
	int64_t burst_at_ms; /* Not before is pending counted again, for a burst. */
	bool pruning;
	int64_t prune_at_ms;
	struct delivery_lane_status status; /* As last told. */
	int64_t status_at_ms;
	char reason[DELIVERY_REASON_SIZE]; /* The main chain's last word, or why nothing moves. */
	char unreadable[DELIVERY_REASON_SIZE]; /* What of the oldest intent could not be read. */
	uint64_t submission_count, retry_count, reject_count;
	uint64_t failure_count; /* Calls without an answer, in a row. */
	int64_t progress_ms, idle_proven_ms;
	struct delivery_request *command; /* One that waits for the main chain; NULL: none. */
	struct delivery_restore restore;
};

static inline int64_t delivery_now(const struct delivery *delivery)
{
	return clock_monotonic_ms(delivery->options.clock);
}

struct spool_anchor_id delivery_anchor_id(const struct delivery *delivery, uint64_t seq);
/* Runs the turn soon, but not from within the present callback. */
void delivery_wake(struct delivery *delivery);
/* Says why nothing moves, or what was answered last. */
void delivery_say(struct delivery *delivery, const char *format, ...)
	__attribute__((format(printf, 2, 3)));
/* An empty notice to be filled and given to delivery_tell(); NULL: no memory, it is left out. */
struct delivery_notice *delivery_notice_new(enum delivery_notice_kind kind);
void delivery_tell(struct delivery *delivery, struct delivery_notice *take_notice);
/* What became of an anchor; reason may be "". Without memory nobody is told. */
void delivery_tell_anchor(struct delivery *delivery, enum delivery_notice_kind kind, uint64_t seq,
                          const char *reason);
/* Closes it first where it is open: heights it has seen are forgotten, calls under way have no answer
 * any more. Not from within an answer. */
bool delivery_open_mainchain(struct delivery *delivery, struct err *err) MUST_CHECK;
/* Puts the configuration's limits and classes into the plan. */
struct lane_options delivery_lane_options(const struct config *config);
void delivery_plan_classes(struct delivery *delivery, const struct config *config);

/* Gives the larger struct that begins with op to the writer. Its on_done ends it. */
bool delivery_submit(struct delivery *delivery, struct delivery_op *take_op,
                     struct err *err) MUST_CHECK;

/* ---- delivery_ops.c: each submits one change; what follows from it happens when it is durable ---- */

bool delivery_op_classes(struct delivery *delivery, struct err *err) MUST_CHECK;
/* Chooses, completes and spools the next anchor. Nothing pending: false with *out_nothing. */
bool delivery_op_intent(struct delivery *delivery, bool *out_nothing, struct err *err) MUST_CHECK;
void delivery_op_state(struct delivery *delivery, const struct lane_anchor *anchor);
bool delivery_op_final(struct delivery *delivery, const struct lane_anchor *anchor,
                       struct bytes evidence, struct err *err) MUST_CHECK;
/* Takes back seq and everything after it; freezes the chain that caused it, if it is known. */
bool delivery_op_void(struct delivery *delivery, uint64_t seq, struct err *err) MUST_CHECK;
/* Takes back the anchors of a lane from `from` on, newest first, a bounded number of them: all of them
 * are confirmed absent. *out_first is the lowest that is gone: above from->seq, ask again. */
bool delivery_void_anchors(struct spool_txn *txn, const struct spool_anchor_id *from,
                           uint64_t *out_first, struct err *err) MUST_CHECK;
bool delivery_op_prune(struct delivery *delivery, struct err *err) MUST_CHECK;

/* ---- delivery_calls.c ---- */

/* Performs one step of the lane. */
void delivery_perform(struct delivery *delivery, enum lane_step step, uint64_t seq);
mainchain_on_answer delivery_on_answer;
bool delivery_has_calls(const struct delivery *delivery);
void delivery_upload_fini(struct delivery_upload *upload);
/* What an operator's command asks the main chain; its answer goes to delivery_command_answer().
 * seq: of MAINCHAIN_CONTENT; key: of MAINCHAIN_LOOKUP. False: none is free, or the adapter is busy. */
bool delivery_ask(struct delivery *delivery, struct delivery_request *request,
                  enum mainchain_call call, uint64_t seq, const struct hash *key,
                  struct err *err) MUST_CHECK;

/* Signs the receipt of an anchor. Fills receipt; it points into the three buffers after it. */
struct delivery_receipt {
	struct spool_receipt receipt;
	struct buffer evidence; /* Owned. */
	struct signature signature;
	struct hash key_id;
};
bool delivery_sign_receipt(struct delivery *delivery, const struct receipt_root *root,
                           struct bytes evidence, struct delivery_receipt *out_receipt,
                           struct err *err) MUST_CHECK;

/* ---- delivery_restore.c ---- */

/* The head is known; the lane stands still. Ends by answering request. */
void delivery_restore_begin(struct delivery *delivery, struct delivery_request *request,
                            const struct mainchain_answer *head);
void delivery_restore_on_answer(struct delivery *delivery, const struct mainchain_answer *answer);
/* An anchor that was open has its receipt, or could not get it. Nothing where nobody adopts. */
void delivery_restore_go_on(struct delivery *delivery);
void delivery_restore_stop(struct delivery *delivery, const struct err *err);
/* After each nudge: a lane that stood still for a restored store goes on once it is adopted. */
void delivery_store_adopted(struct delivery *delivery);
/* Where the lane stands in the spool. */
bool delivery_load_lane(struct delivery *delivery, struct err *err) MUST_CHECK;

/* ---- commands_delivery.c ---- */

/* Begins, and for short ones ends, an operator's command. */
void delivery_command(struct delivery *delivery, struct delivery_request *request);
void delivery_command_answer(struct delivery *delivery, struct delivery_request *request,
                             const struct mainchain_answer *answer);
void delivery_answer_request(struct delivery_request *request);
/* The lane as it stands, as the answer. */
void delivery_show_lane(struct delivery *delivery, struct delivery_request *request);
void delivery_answer_error(struct delivery_request *request);

#endif
