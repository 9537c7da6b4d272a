/* lane.h -- one ordered sequence of anchors to one main chain: what to do next, and what an answer
 * means. Pure: no I/O, time and chance come in as arguments.
 *
 *     INTENT (spooled) -> SENT -> INCLUDED -> FINAL
 *        ^                 |         |
 *        |                 v         v (reorg)
 *        +--- absent -- UNKNOWN <----+        REJECTED -> key confirmed void, split
 *
 * The owner performs what lane_next() asks for and reports what came of it. A lane begins by asking
 * the main chain for its head (the restore guard) and by taking the fence; anchors that a former
 * process left behind are UNKNOWN until the main chain says otherwise. Sequence N + 1 is sent once
 * N is INCLUDED. Nothing is ever given up, nothing expires (P3).
 *
 * An intent that this gateway itself cannot read any more would hold up everybody after it (P6). It
 * goes the way of a refused one, but what was sent of it may still be under way: the fence is taken
 * anew, which shuts that out, and only what a look-up after that does not find is void.
 */
#ifndef ZR_RELAY_LANE_H
#define ZR_RELAY_LANE_H

#include <stdbool.h>
#include <stdint.h>

#include "adapters/mainchain.h"
#include "proto/record.h"
#include "spool/anchors.h"

#define LANE_OPEN_MAX       64 /* Anchors of a lane that are not FINAL, at once. */
#define LANE_UNREADABLE_MAX 8  /* Failures to read an anchor, in a row, before it is taken back. */

enum lane_phase {
	LANE_ASKING,  /* Where is the main chain? */
	LANE_FENCING, /* Nobody else may send from now on. */
	LANE_RUNNING,
	LANE_HALTED, /* Stands still until an operator decides; says why. */
};
const char *lane_phase_name(enum lane_phase phase);

enum lane_halt {
	LANE_HALT_NONE,
	LANE_HALT_STORE_RESTORED, /* Our spool says so itself: "zonerelay spool restore" made it. */
	LANE_HALT_SPOOL_RESTORED, /* The head is none of ours: our spool is an old copy. */
	LANE_HALT_MAINCHAIN_RESTORED, /* The head is behind our last FINAL. */
	LANE_HALT_FENCED,             /* Another gateway took the fence after us. */
	LANE_HALT_CHANGED,            /* Our key is known there with another body. */
	LANE_HALT_OPERATOR,
};
const char *lane_halt_name(enum lane_halt halt);
/* What happened, and what the operator does about it. One or two sentences. */
const char *lane_halt_text(enum lane_halt halt);

/* One anchor that is not FINAL. */
struct lane_anchor {
	uint64_t seq;
	struct hash root;
	struct hash key;
	enum spool_anchor_state state;
	uint64_t sent_height; /* Main-chain height known when it was (or may have been) sent. */
	uint32_t attempts;    /* In vain, since it was last seen to be included. */
	int64_t next_try_ms;  /* Monotonic. */
	bool uploaded;        /* What it refers to has been put. */
	bool asked;           /* A call about it is under way. */
	bool rejected;        /* Refused for good; its key is to be confirmed void. */
	int64_t reject_entry; /* The entry that was refused, or -1 where it was not said. */
	bool reject_size;     /* Refused for its size alone. */
	bool unreadable;      /* Not refused: rows that it needs cannot be read any more. */
	uint32_t unreadable_count;
	bool finishing; /* FINAL by word of the main chain, being written to the spool. */
};

struct lane_options {
	uint16_t lane;
	bool uploads;         /* Anchors refer to batches that must be put first. */
	uint32_t open_max;    /* INCLUDED and not FINAL, at most; up to LANE_OPEN_MAX. */
	int64_t poll_ms;      /* How often INCLUDED anchors are looked up. */
	int64_t retry_min_ms; /* Backoff: full jitter below min * 2^n, */
	int64_t retry_max_ms; /* at most this. */
};

struct lane {
	struct lane_options options;
	enum lane_phase phase;
	enum lane_halt halt;
	uint64_t fence;       /* Ours while RUNNING. */
	uint64_t fence_seen;  /* In force when we last looked. */
	uint64_t height_seen; /* Highest main-chain height in any answer. */
	uint64_t final_seq;   /* Newest FINAL; 0 for none. */
	struct hash final_root;
	struct lane_anchor anchors[LANE_OPEN_MAX]; /* Seq final_seq + 1 ..., ascending. */
	size_t anchor_count;
	bool more_open; /* The spool has further open ones: no new one before they are added. */
	bool asked;     /* A head or fence call is under way. */
	uint32_t attempts;
	uint32_t
		behind_count; /* Heads that looked restored, but came from a node that is behind. */
	int64_t next_try_ms;
	int64_t last_answer_ms; /* Monotonic, of the last positive answer. */
	uint64_t chance;        /* State of the jitter. */
};

enum lane_step {
	LANE_WAIT, /* Nothing before *wake_ms (INT64_MAX: until something happens). */
	LANE_ASK_HEAD,
	LANE_TAKE_FENCE, /* Expected value: lane->fence_seen. */
	LANE_UPLOAD,     /* Put what anchor seq refers to, then lane_uploaded(). */
	LANE_SUBMIT,     /* Save SENT if asked for by lane policy, then submit with lane->fence. */
	LANE_LOOKUP,
	LANE_VOID, /* Refused, confirmed absent: take it back, then lane_voided(). */
};

/* Where the lane stands in the spool: its newest FINAL anchor, and the open ones by
 * lane_add_open(), ascending. */
void lane_init(struct lane *lane, const struct lane_options *options, uint64_t final_seq,
               const struct hash *final_root, uint64_t chance);
/* An anchor that a former process left: UNKNOWN until looked up. */
/* More than LANE_OPEN_MAX of them: set more_open, and add the next ones as these become FINAL. */
void lane_add_open(struct lane *lane, uint64_t seq, const struct hash *root, const struct hash *key,
                   uint64_t sent_height);

/* The next thing to do about *out_seq. Each step but LANE_WAIT is given once: the lane then waits
 * for its answer (lane_on_answer) or report. */
enum lane_step lane_next(struct lane *lane, int64_t now_ms, uint64_t *out_seq,
                         int64_t *out_wake_ms);

/* May a new anchor be built now? Its seq and previous root are what lane_tail() gives. */
bool lane_has_room(const struct lane *lane);
void lane_tail(const struct lane *lane, uint64_t *out_next_seq, struct hash *out_previous);
/* The intent is in the spool. */
void lane_intended(struct lane *lane, uint64_t seq, const struct hash *root,
                   const struct hash *key);

/* A step could not be begun (the adapter is busy): try again later. */
void lane_deferred(struct lane *lane, enum lane_step step, uint64_t seq, int64_t now_ms);
/* Uploads of seq are all there, or not yet (then tried again with backoff). */
void lane_uploaded(struct lane *lane, uint64_t seq, bool complete, int64_t now_ms);
/* The spool has the receipt of seq (which is the oldest open one). */
void lane_finished(struct lane *lane, uint64_t seq);
/* The spool took seq, and every later one, back; also those that were never added. */
void lane_voided(struct lane *lane, uint64_t seq);
/* A step could not be done, because rows of one entry cannot be read; or because, entry -1, they can
 * but are not what its key was made of: no waiting helps there. True: it will be taken back unless
 * the main chain has it. */
bool lane_unreadable(struct lane *lane, enum lane_step step, uint64_t seq, int64_t entry,
                     int64_t now_ms) MUST_CHECK;

enum lane_news {
	LANE_NEWS_NONE,
	LANE_NEWS_STATE, /* The state of seq changed: worth saving. */
	LANE_NEWS_FINAL, /* seq is FINAL and the oldest open one: write its receipt, lane_finished(). */
	LANE_NEWS_RUNNING, /* The fence is ours. */
	LANE_NEWS_HALTED,
	LANE_NEWS_MISSING, /* seq refers to something the main chain lacks: it will be put again. */
};
/* What an answer to a step means. seq: the anchor asked about; 0 for head and fence. */
enum lane_news lane_on_answer(struct lane *lane, int64_t now_ms, uint64_t seq,
                              const struct mainchain_answer *answer);

/* Is a receipt, or the taking back of an anchor, on its way to the spool? The lane cannot be set up anew
 * before that has ended. */
bool lane_is_being_written(const struct lane *lane);

struct lane_anchor *lane_find(struct lane *lane, uint64_t seq); /* NULL: not open. */

/* An operator's decisions. */
void lane_stop(struct lane *lane, enum lane_halt halt);
/* Ask for the head again and go on from there: after adopt, replay or a cleared fence. */
void lane_restart(struct lane *lane, int64_t now_ms);

/* Full-jitter backoff: uniform in [min, min * 2^attempts], at most max. Changes *chance. */
int64_t backoff_ms(uint64_t *chance, uint32_t attempts, int64_t min_ms, int64_t max_ms);

#endif
