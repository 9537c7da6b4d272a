/* lane.c -- see lane.h. */
#include "relay/lane.h"

#include <assert.h>
#include <string.h>

#define BEHIND_MAX 6 /* Heads from below the height we have seen, before they are believed. */

const char *lane_phase_name(enum lane_phase phase)
{
	static const char *const names[] = {
		[LANE_ASKING] = "asking",
		[LANE_FENCING] = "fencing",
		[LANE_RUNNING] = "running",
		[LANE_HALTED] = "halted",
	};
	return names[phase];
}

static const struct {
	const char *name;
	const char *text;
} halts[] = {
	[LANE_HALT_NONE] = { "none", "" },
	[LANE_HALT_STORE_RESTORED] = {
		"store-restored",
		"This spool was made from a backup. Nothing is sent before an operator has looked: "
		"\"zonerelay adopt lane\" takes over what the main chain got since the backup, "
		"\"zonerelay adopt store\" goes on as things are.",
	},
	[LANE_HALT_SPOOL_RESTORED] = {
		"spool-restored",
		"The main chain's newest anchor of this lane is none of ours: this spool was "
		"restored from an older copy, or another gateway uses the lane. Nothing is sent. "
		"Look with \"zonerelay reconcile\"; then \"zonerelay adopt lane\" takes over what "
		"the main chain has.",
	},
	[LANE_HALT_MAINCHAIN_RESTORED] = {
		"mainchain-restored",
		"The main chain's newest anchor is older than one it had confirmed as final: it "
		"was restored from an older copy. Nothing is sent. Ask its operators; then "
		"\"zonerelay adopt lane\" sends what it lost again, under the same keys.",
	},
	[LANE_HALT_FENCED] = {
		"fenced",
		"Another gateway took the fence of this lane after us; two must not send at once. "
		"Stop one of them, then restart the one that is to send.",
	},
	[LANE_HALT_CHANGED] = {
		"changed",
		"The main chain knows one of our keys with another content. That cannot happen by "
		"accident: keep both sides as they are and find out who wrote it.",
	},
	[LANE_HALT_OPERATOR] = { "operator", "An operator stopped the lane." },
};

const char *lane_halt_name(enum lane_halt halt)
{
	return halts[halt].name;
}

const char *lane_halt_text(enum lane_halt halt)
{
	return halts[halt].text;
}

/* splitmix64: chance for jitter only, never for secrets. */
static uint64_t next_chance(uint64_t *chance)
{
	*chance += 0x9e3779b97f4a7c15u;
	uint64_t value = *chance;
	value = (value ^ (value >> 30)) * 0xbf58476d1ce4e5b9u;
	value = (value ^ (value >> 27)) * 0x94d049bb133111ebu;
	return value ^ (value >> 31);
}

int64_t backoff_ms(uint64_t *chance, uint32_t attempts, int64_t min_ms, int64_t max_ms)
{
	assert(min_ms > 0 && max_ms >= min_ms);
	int64_t bound_ms = min_ms;
	for (uint32_t i = 0; i < attempts && bound_ms < max_ms; i++)
		bound_ms = bound_ms > max_ms / 2 ? max_ms : bound_ms * 2;
	uint64_t span = (uint64_t)(bound_ms - min_ms) + 1;
	return min_ms + (int64_t)(next_chance(chance) % span);
}

/* ---- life ---------------------------------------------------------------------------------- */

void lane_init(struct lane *lane, const struct lane_options *options, uint64_t final_seq,
               const struct hash *final_root, uint64_t chance)
{
	assert(options->open_max > 0 && options->open_max <= LANE_OPEN_MAX);
	memset(lane, 0, sizeof(*lane));
	lane->options = *options;
	lane->phase = LANE_ASKING;
	lane->final_seq = final_seq;
	lane->final_root = *final_root;
	lane->chance = chance;
}

static struct lane_anchor *append(struct lane *lane, uint64_t seq, const struct hash *root,
                                  const struct hash *key)
{
	assert(lane->anchor_count < LANE_OPEN_MAX);
	assert(seq == lane->final_seq + lane->anchor_count + 1);
	struct lane_anchor *anchor = &lane->anchors[lane->anchor_count++];
	*anchor =
		(struct lane_anchor){ .seq = seq, .root = *root, .key = *key, .reject_entry = -1 };
	return anchor;
}

void lane_add_open(struct lane *lane, uint64_t seq, const struct hash *root, const struct hash *key,
                   uint64_t sent_height)
{
	struct lane_anchor *anchor = append(lane, seq, root, key);
	anchor->state = SPOOL_ANCHOR_UNKNOWN;
	anchor->sent_height = sent_height;
	anchor->uploaded = !lane->options.uploads;
}

void lane_intended(struct lane *lane, uint64_t seq, const struct hash *root, const struct hash *key)
{
	struct lane_anchor *anchor = append(lane, seq, root, key);
	anchor->state = SPOOL_ANCHOR_INTENT;
	anchor->sent_height = lane->height_seen;
	anchor->uploaded = !lane->options.uploads;
}

struct lane_anchor *lane_find(struct lane *lane, uint64_t seq)
{
	if (seq <= lane->final_seq || seq > lane->final_seq + lane->anchor_count)
		return NULL;
	return &lane->anchors[seq - lane->final_seq - 1];
}

bool lane_is_being_written(const struct lane *lane)
{
	for (size_t i = 0; i < lane->anchor_count; i++) {
		const struct lane_anchor *anchor = &lane->anchors[i];
		if (anchor->finishing || (anchor->asked && anchor->state == SPOOL_ANCHOR_REJECTED))
			return true;
	}
	return false;
}

/* Is everything before anchors[index] on the main chain? */
static bool may_send(const struct lane *lane, size_t index)
{
	for (size_t i = 0; i < index; i++) {
		if (lane->anchors[i].state != SPOOL_ANCHOR_INCLUDED && !lane->anchors[i].finishing)
			return false;
	}
	return true;
}

bool lane_has_room(const struct lane *lane)
{
	return lane->phase == LANE_RUNNING && !lane->more_open &&
	       lane->anchor_count < lane->options.open_max && may_send(lane, lane->anchor_count);
}

void lane_tail(const struct lane *lane, uint64_t *out_next_seq, struct hash *out_previous)
{
	*out_next_seq = lane->final_seq + lane->anchor_count + 1;
	*out_previous = lane->anchor_count > 0 ? lane->anchors[lane->anchor_count - 1].root
	                                       : lane->final_root;
}

/* ---- what to do next ----------------------------------------------------------------------- */

static enum lane_step step_of(const struct lane *lane, const struct lane_anchor *anchor,
                              size_t index)
{
	switch (anchor->state) {
	case SPOOL_ANCHOR_INTENT:
		if (!may_send(lane, index))
			return LANE_WAIT;
		return anchor->uploaded ? LANE_SUBMIT : LANE_UPLOAD;
	case SPOOL_ANCHOR_SENT:
	case SPOOL_ANCHOR_UNKNOWN:
	case SPOOL_ANCHOR_INCLUDED:
		return LANE_LOOKUP;
	case SPOOL_ANCHOR_REJECTED:
		/* Confirmed absent: every later one goes with it, so the oldest is the one to void. */
		return LANE_VOID;
	case SPOOL_ANCHOR_FINAL:
		break;
	}
	return LANE_WAIT;
}

static enum lane_step head_step(struct lane *lane, int64_t now_ms, int64_t *wake_ms)
{
	if (lane->asked)
		return LANE_WAIT;
	if (lane->next_try_ms > now_ms) {
		*wake_ms = lane->next_try_ms;
		return LANE_WAIT;
	}
	lane->asked = true;
	return lane->phase == LANE_ASKING ? LANE_ASK_HEAD : LANE_TAKE_FENCE;
}

enum lane_step lane_next(struct lane *lane, int64_t now_ms, uint64_t *out_seq, int64_t *out_wake_ms)
{
	*out_seq = 0;
	*out_wake_ms = INT64_MAX;
	if (lane->phase == LANE_HALTED)
		return LANE_WAIT;
	if (lane->phase != LANE_RUNNING)
		return head_step(lane, now_ms, out_wake_ms);
	for (size_t i = 0; i < lane->anchor_count; i++) {
		struct lane_anchor *anchor = &lane->anchors[i];
		if (anchor->asked || anchor->finishing)
			continue;
		enum lane_step step = step_of(lane, anchor, i);
		if (step == LANE_WAIT)
			continue;
		if (anchor->next_try_ms > now_ms) {
			if (anchor->next_try_ms < *out_wake_ms)
				*out_wake_ms = anchor->next_try_ms;
			continue;
		}
		anchor->asked = true;
		if (step == LANE_SUBMIT) {
			anchor->state = SPOOL_ANCHOR_SENT;
			anchor->sent_height = lane->height_seen;
		}
		*out_seq = anchor->seq;
		return step;
	}
	return LANE_WAIT;
}

/* ---- what came of it ----------------------------------------------------------------------- */

static void retry_lane(struct lane *lane, int64_t now_ms, int64_t after_ms)
{
	int64_t wait_ms = backoff_ms(&lane->chance, lane->attempts++, lane->options.retry_min_ms,
	                             lane->options.retry_max_ms);
	lane->next_try_ms = now_ms + (after_ms > wait_ms ? after_ms : wait_ms);
}

static void retry_anchor(struct lane *lane, struct lane_anchor *anchor, int64_t now_ms,
                         int64_t after_ms)
{
	int64_t wait_ms = backoff_ms(&lane->chance, anchor->attempts++, lane->options.retry_min_ms,
	                             lane->options.retry_max_ms);
	anchor->next_try_ms = now_ms + (after_ms > wait_ms ? after_ms : wait_ms);
}

/* Only what gets on begins its backoff anew: going to and fro between INTENT, SENT and UNKNOWN is no
 * progress, however often the state changes. */
static void enter(struct lane_anchor *anchor, enum spool_anchor_state state)
{
	if (state == SPOOL_ANCHOR_INCLUDED)
		anchor->attempts = 0;
	anchor->state = state;
}

void lane_stop(struct lane *lane, enum lane_halt halt)
{
	lane->phase = LANE_HALTED;
	lane->halt = halt;
}

static enum lane_news halt_because(struct lane *lane, enum lane_halt halt)
{
	lane_stop(lane, halt);
	return LANE_NEWS_HALTED;
}

void lane_restart(struct lane *lane, int64_t now_ms)
{
	lane->phase = LANE_ASKING;
	lane->halt = LANE_HALT_NONE;
	lane->attempts = 0;
	lane->next_try_ms = now_ms;
	for (size_t i = 0; i < lane->anchor_count; i++) {
		struct lane_anchor *anchor = &lane->anchors[i];
		if (anchor->state != SPOOL_ANCHOR_INTENT && !anchor->rejected)
			enter(anchor, SPOOL_ANCHOR_UNKNOWN);
		anchor->next_try_ms = now_ms;
	}
}

void lane_deferred(struct lane *lane, enum lane_step step, uint64_t seq, int64_t now_ms)
{
	if (step == LANE_ASK_HEAD || step == LANE_TAKE_FENCE) {
		lane->asked = false;
		retry_lane(lane, now_ms, 0);
		return;
	}
	struct lane_anchor *anchor = lane_find(lane, seq);
	assert(anchor != NULL);
	anchor->asked = false;
	if (step == LANE_SUBMIT)
		enter(anchor, SPOOL_ANCHOR_INTENT); /* It did not leave. */
	retry_anchor(lane, anchor, now_ms, 0);
}

void lane_uploaded(struct lane *lane, uint64_t seq, bool complete, int64_t now_ms)
{
	struct lane_anchor *anchor = lane_find(lane, seq);
	if (anchor == NULL)
		return;
	anchor->asked = false;
	anchor->uploaded = complete;
	if (complete)
		anchor->attempts = anchor->unreadable_count = 0;
	else
		retry_anchor(lane, anchor, now_ms, 0);
}

bool lane_unreadable(struct lane *lane, enum lane_step step, uint64_t seq, int64_t entry,
                     int64_t now_ms)
{
	lane_deferred(lane, step, seq, now_ms);
	struct lane_anchor *anchor = lane_find(lane, seq);
	if (entry >= 0 && ++anchor->unreadable_count < LANE_UNREADABLE_MAX)
		return false;
	anchor->rejected = true;
	anchor->unreadable = true;
	anchor->reject_entry = entry;
	anchor->reject_size = false;
	anchor->attempts = 0;
	enter(anchor, SPOOL_ANCHOR_UNKNOWN);
	anchor->next_try_ms = now_ms;
	lane->phase = LANE_ASKING;
	lane->attempts = 0;
	lane->next_try_ms = now_ms;
	return true;
}

void lane_finished(struct lane *lane, uint64_t seq)
{
	assert(lane->anchor_count > 0 && lane->anchors[0].seq == seq);
	lane->final_seq = seq;
	lane->final_root = lane->anchors[0].root;
	lane->anchor_count--;
	memmove(&lane->anchors[0], &lane->anchors[1],
	        lane->anchor_count * sizeof(lane->anchors[0]));
}

void lane_voided(struct lane *lane, uint64_t seq)
{
	assert(seq > lane->final_seq);
	uint64_t left = seq - lane->final_seq - 1;
	if (left > lane->anchor_count)
		return; /* Of those that were not added some are left. */
	lane->anchor_count = (size_t)left;
	lane->more_open = false;
}

/* ---- what an answer means ------------------------------------------------------------------ */

/* The restore guard. Is the head one that this spool knows? */
static enum lane_halt judge_head(struct lane *lane, const struct mainchain_answer *answer)
{
	if (answer->seq < lane->final_seq)
		return LANE_HALT_MAINCHAIN_RESTORED;
	if (answer->seq == lane->final_seq) {
		bool ours = lane->final_seq == 0 || hash_equal(&answer->root, &lane->final_root);
		return ours ? LANE_HALT_NONE : LANE_HALT_SPOOL_RESTORED;
	}
	const struct lane_anchor *anchor = lane_find(lane, answer->seq);
	if (anchor == NULL || !hash_equal(&anchor->key, &answer->key))
		return LANE_HALT_SPOOL_RESTORED;
	return LANE_HALT_NONE;
}

static enum lane_news on_head(struct lane *lane, int64_t now_ms,
                              const struct mainchain_answer *answer)
{
	lane->asked = false;
	if (lane->phase != LANE_ASKING)
		return LANE_NEWS_NONE; /* An operator stopped the lane meanwhile. */
	if (answer->outcome != MAINCHAIN_OK) {
		retry_lane(lane, now_ms, answer->retry_after_ms);
		return LANE_NEWS_NONE;
	}
	enum lane_halt halt = judge_head(lane, answer);
	/* A node that is merely behind another one looks restored for a while: ask a few times. */
	bool behind = answer->height < lane->height_seen;
	if (halt == LANE_HALT_MAINCHAIN_RESTORED && behind && ++lane->behind_count < BEHIND_MAX) {
		retry_lane(lane, now_ms, answer->retry_after_ms);
		return LANE_NEWS_NONE;
	}
	lane->behind_count = 0;
	if (halt != LANE_HALT_NONE)
		return halt_because(lane, halt);
	lane->fence_seen = answer->fence;
	lane->phase = LANE_FENCING;
	lane->attempts = 0;
	lane->next_try_ms = now_ms;
	return LANE_NEWS_NONE;
}

/* The new fence shuts out what is under way of anchors that are to be taken back. Absent they are for
 * a node that has seen it. */
static void forget_senders(struct lane *lane, uint64_t fenced_height)
{
	uint64_t height = fenced_height > lane->height_seen ? fenced_height : lane->height_seen;
	for (size_t i = 0; i < lane->anchor_count; i++) {
		if (lane->anchors[i].unreadable)
			lane->anchors[i].sent_height = height;
	}
}

static enum lane_news on_fence(struct lane *lane, int64_t now_ms,
                               const struct mainchain_answer *answer)
{
	lane->asked = false;
	if (lane->phase != LANE_FENCING)
		return LANE_NEWS_NONE;
	if (answer->outcome == MAINCHAIN_OK) {
		lane->fence = answer->fence;
		lane->phase = LANE_RUNNING;
		lane->attempts = 0;
		forget_senders(lane, answer->height);
		return LANE_NEWS_RUNNING;
	}
	/* FENCED: somebody was quicker, or our own lost attempt succeeded. Look at the head again. */
	lane->phase = LANE_ASKING;
	retry_lane(lane, now_ms, answer->retry_after_ms);
	return LANE_NEWS_NONE;
}

static enum lane_news on_rejected(struct lane *lane, struct lane_anchor *anchor, int64_t now_ms,
                                  const struct mainchain_answer *answer)
{
	switch (answer->reject) {
	case MAINCHAIN_REJECT_CHANGED:
		return halt_because(lane, LANE_HALT_CHANGED);
	case MAINCHAIN_REJECT_CONTENT:
	case MAINCHAIN_REJECT_TOO_LARGE:
		/* Not void before the main chain says that the key is absent. */
		anchor->rejected = true;
		anchor->reject_entry = answer->entry_index;
		anchor->reject_size = answer->reject == MAINCHAIN_REJECT_TOO_LARGE;
		enter(anchor, SPOOL_ANCHOR_UNKNOWN);
		anchor->next_try_ms = now_ms;
		return LANE_NEWS_STATE;
	case MAINCHAIN_REJECT_MISSING:
		anchor->uploaded = false;
		enter(anchor, SPOOL_ANCHOR_INTENT);
		retry_anchor(lane, anchor, now_ms, answer->retry_after_ms);
		return LANE_NEWS_MISSING;
	case MAINCHAIN_REJECT_PREVIOUS:
		/* The head is not where we thought: the restore guard decides. */
		enter(anchor, SPOOL_ANCHOR_UNKNOWN);
		retry_anchor(lane, anchor, now_ms, answer->retry_after_ms);
		lane->phase = LANE_ASKING;
		retry_lane(lane, now_ms, answer->retry_after_ms);
		return LANE_NEWS_STATE;
	case MAINCHAIN_REJECT_DENIED:
	case MAINCHAIN_REJECT_NONE:
		break;
	}
	/* Refused for a reason that says nothing about the content: the same key again, later. */
	enter(anchor, SPOOL_ANCHOR_UNKNOWN);
	retry_anchor(lane, anchor, now_ms, answer->retry_after_ms);
	return LANE_NEWS_STATE;
}

static enum lane_news on_absent(struct lane *lane, struct lane_anchor *anchor, int64_t now_ms,
                                const struct mainchain_answer *answer)
{
	if (answer->height < anchor->sent_height) { /* That node is behind: it cannot know. */
		retry_anchor(lane, anchor, now_ms, answer->retry_after_ms);
		return LANE_NEWS_NONE;
	}
	if (anchor->rejected) {
		enter(anchor, SPOOL_ANCHOR_REJECTED);
		anchor->next_try_ms = now_ms;
		return LANE_NEWS_STATE;
	}
	/* Never arrived, or reorganised away: only the same key may be sent again, successors after
	 * it. What was sent and is still on its way counts as sent: SENT waits a while first. */
	bool was_sent = anchor->state == SPOOL_ANCHOR_SENT;
	enter(anchor, SPOOL_ANCHOR_INTENT);
	if (was_sent)
		retry_anchor(lane, anchor, now_ms, answer->retry_after_ms);
	else
		anchor->next_try_ms = now_ms;
	return LANE_NEWS_STATE;
}

/* A submission that was slow may meet a fence that we took ourselves meanwhile, and may not even
 * know of yet. Only one above ours, while we hold ours, is another gateway's. One below ours is of a
 * main chain that was restored from a copy (or the answer is an old one): the head decides. */
static enum lane_news on_fenced(struct lane *lane, struct lane_anchor *anchor, int64_t now_ms,
                                const struct mainchain_answer *answer)
{
	if (lane->phase == LANE_RUNNING && answer->fence > lane->fence)
		return halt_because(lane, LANE_HALT_FENCED);
	enter(anchor, SPOOL_ANCHOR_UNKNOWN);
	retry_anchor(lane, anchor, now_ms, answer->retry_after_ms);
	if (lane->phase == LANE_RUNNING && answer->fence < lane->fence) {
		lane->phase = LANE_ASKING;
		retry_lane(lane, now_ms, answer->retry_after_ms);
	}
	return LANE_NEWS_STATE;
}

/* It is there: whatever was wrong with it is no more. */
static void acquit(struct lane_anchor *anchor)
{
	anchor->rejected = false;
	anchor->unreadable = false;
	anchor->unreadable_count = 0;
}

static enum lane_news on_anchor(struct lane *lane, struct lane_anchor *anchor, int64_t now_ms,
                                const struct mainchain_answer *answer)
{
	enum lane_news news;
	switch (answer->outcome) {
	case MAINCHAIN_FINAL:
		acquit(anchor);
		if (anchor != &lane->anchors[0]) { /* Its predecessor's receipt comes first. */
			enter(anchor, SPOOL_ANCHOR_INCLUDED);
			anchor->next_try_ms = now_ms + lane->options.poll_ms;
			return LANE_NEWS_STATE;
		}
		enter(anchor, SPOOL_ANCHOR_INCLUDED);
		anchor->finishing = true;
		return LANE_NEWS_FINAL;
	case MAINCHAIN_INCLUDED:
		acquit(anchor);
		anchor->next_try_ms = now_ms + lane->options.poll_ms;
		news = anchor->state == SPOOL_ANCHOR_INCLUDED ? LANE_NEWS_NONE : LANE_NEWS_STATE;
		enter(anchor, SPOOL_ANCHOR_INCLUDED);
		return news;
	case MAINCHAIN_ABSENT:
		return on_absent(lane, anchor, now_ms, answer);
	case MAINCHAIN_REJECTED:
		return on_rejected(lane, anchor, now_ms, answer);
	case MAINCHAIN_FENCED:
		return on_fenced(lane, anchor, now_ms, answer);
	case MAINCHAIN_UNSENT:
		if (answer->call == MAINCHAIN_SUBMIT)
			enter(anchor, SPOOL_ANCHOR_INTENT);
		retry_anchor(lane, anchor, now_ms, answer->retry_after_ms);
		return LANE_NEWS_NONE;
	case MAINCHAIN_OK:
	case MAINCHAIN_UNKNOWN:
		break;
	}
	if (answer->call == MAINCHAIN_SUBMIT)
		enter(anchor, SPOOL_ANCHOR_UNKNOWN);
	retry_anchor(lane, anchor, now_ms, answer->retry_after_ms);
	return answer->call == MAINCHAIN_SUBMIT ? LANE_NEWS_STATE : LANE_NEWS_NONE;
}

enum lane_news lane_on_answer(struct lane *lane, int64_t now_ms, uint64_t seq,
                              const struct mainchain_answer *answer)
{
	bool positive = answer->outcome != MAINCHAIN_UNKNOWN && answer->outcome != MAINCHAIN_UNSENT;
	if (positive)
		lane->last_answer_ms = now_ms;
	enum lane_news news = LANE_NEWS_NONE;
	if (answer->call == MAINCHAIN_HEAD) {
		news = on_head(lane, now_ms, answer);
	} else if (answer->call == MAINCHAIN_FENCE) {
		news = on_fence(lane, now_ms, answer);
	} else {
		struct lane_anchor *anchor = lane_find(lane, seq);
		if (anchor != NULL) {
			anchor->asked = false;
			/* Its receipt is being written: nothing that is said of it matters now. */
			if (!anchor->finishing)
				news = on_anchor(lane, anchor, now_ms, answer);
		}
	}
	if (positive && answer->height > lane->height_seen)
		lane->height_seen = answer->height;
	return news;
}
