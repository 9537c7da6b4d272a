/* Per chain there are three positions, all heights of the next block:
 *
 *     durable_next <= send_next <= source.next
 *          |               |            |
 *      acked by the    goes into     not there yet
 *        gateway      the next batch
 *
 * What lies between the first two is in flight. A reject, a chain update or a lost link forgets the
 * flight and moves send_next back to what the gateway says it needs: it is the truth about itself.
 */
#include "relay/edge/upload.h"

#include <assert.h>
#include <stdlib.h>

#define HEIGHT_MAX       INT64_MAX /* Heights are below 2^63 everywhere. */
#define RETRY_MIN_MS     100
#define RETRY_MAX_MS     UINT64_C(3600000)
#define RESUMES_FREE     3 /* So many resumes without progress cost no wait. */
#define RESUME_WAIT_MS   1000
#define RESUME_DOUBLINGS 6

struct range {
	uint64_t from, to;
};

struct chain {
	enum upload_state state;
	enum upload_hold hold;
	struct upload_source source;
	uint64_t durable_next;
	uint64_t send_next;
	bool welcomed;
	bool eager;                /* Blocks were waiting before: do not wait for others to join. */
	int64_t fresh_since_ms;    /* When the first block that is not sent yet appeared. */
	uint64_t bytes_sent_up_to; /* source.bytes_total when everything had been sent. */
	int64_t wait_until_ms;
	struct hash voids[UPLOAD_FLIGHT_MAX]; /* Batches whose rejects are still to come. */
	size_t void_count;
	unsigned resumes; /* Rejects with resume since durable_next last rose. */

	struct upload_batch flight[UPLOAD_FLIGHT_MAX];
	size_t flight_count;
	struct range again[UPLOAD_RESEND_MAX];
	size_t again_count;
	/* The batch the gateway may have the beginning of: built once more just so. */
	struct range plan;
	bool planned;
	struct hash partial_batch;
	uint64_t partial_size;

	uint64_t batches_sent, bytes_sent, raw_bytes_sent, blocks_sent, rejects;
};

struct outbox {
	bool full;
	size_t chain;
	struct upload_batch batch;
	uint64_t offset;
};

struct upload {
	struct upload_options options;
	struct upload_limits limits;
	bool link;
	bool building; /* UPLOAD_BUILD was given and not answered yet. */
	size_t build_chain;
	bool build_again;
	int64_t now_ms; /* Of the last upload_next(). */
	struct outbox outbox;
	uint64_t credit_bytes, credit_batches;
	uint64_t link_bytes, link_batches; /* Sent since Welcome. */
	uint32_t pace_bytes_per_s;         /* The gateway's wish. */
	int64_t pace_ready_ms;
	size_t turn; /* The chain that was served last. */
	struct chain chains[];
};

#define TO(state) (1u << (state))
#define TO_ALL                                                                              \
	(TO(UPLOAD_OFFLINE) | TO(UPLOAD_ACTIVE) | TO(UPLOAD_WAITING) | TO(UPLOAD_STANDBY) | \
	 TO(UPLOAD_HELD))
static const struct {
	const char *name;
	unsigned next; /* States it may move to. */
} states[UPLOAD_STATE_COUNT] = {
	[UPLOAD_OFFLINE] = { "offline", TO_ALL & ~TO(UPLOAD_WAITING) },
	[UPLOAD_ACTIVE] = { "active", TO_ALL },
	[UPLOAD_WAITING] = { "waiting", TO_ALL },
	[UPLOAD_STANDBY] = { "standby", TO_ALL & ~TO(UPLOAD_WAITING) },
	[UPLOAD_HELD] = { "held", TO_ALL & ~TO(UPLOAD_WAITING) },
};

static const struct {
	const char *name;
	const char *text;
} holds[HOLD_COUNT] = {
	[HOLD_NONE] = { "none", "" },
	[HOLD_FROZEN] = { "frozen", "the gateway froze this chain; an operator there must look" },
	[HOLD_UNKNOWN] = { "unknown",
	                   "the gateway does not know a chain of this name and genesis" },
	[HOLD_DENIED] = { "denied", "this agent's certificate may not carry the chain" },
	[HOLD_RETIRED] = { "retired", "a newer genesis replaced this chain at the gateway" },
	[HOLD_RESTORED] = { "restored",
	                    "the gateway's store was restored from a copy; its operator "
	                    "must adopt the chain" },
	[HOLD_REJECTED] = { "rejected",
	                    "the gateway refused a batch; an operator there must look" },
	[HOLD_DIVERGED] = { "diverged", "the gateway has another block than ours at its tip" },
	[HOLD_BEHIND] = { "behind",
	                  "the gateway has blocks that this ledger lacks; it was restored "
	                  "from a copy and must not seal on" },
	[HOLD_PRUNED] = { "pruned", "the gateway asks for blocks that are no longer here" },
	[HOLD_TOO_LARGE] = { "too-large",
	                     "the next block is above the gateway's limit for a block" },
	[HOLD_PROTOCOL] = { "protocol", "the gateway said something impossible about this chain" },
};

const char *upload_state_name(enum upload_state state)
{
	return states[state].name;
}

const char *upload_hold_name(enum upload_hold hold)
{
	return holds[hold].name;
}

const char *upload_hold_text(enum upload_hold hold)
{
	return holds[hold].text;
}

bool upload_new(struct upload **out_upload, const struct upload_options *options, struct err *err)
{
	assert(options->batch_max_blocks > 0 && options->batch_max_bytes > 0);

	struct upload *upload =
		calloc(1, sizeof(*upload) + options->chain_count * sizeof(upload->chains[0]));
	if (upload == NULL)
		return err_set(err, ZR_NO_MEMORY, "upload of %zu chains", options->chain_count);
	upload->options = *options;
	*out_upload = upload;
	return true;
}

void upload_free(struct upload *upload)
{
	free(upload);
}

/* The only place that writes state. */
static void enter(struct chain *chain, enum upload_state next, enum upload_hold hold)
{
	assert(states[chain->state].next & TO(next));
	assert((next == UPLOAD_HELD) == (hold != HOLD_NONE));
	chain->state = next;
	chain->hold = hold;
}

static struct chain *chain_at(struct upload *upload, size_t chain)
{
	assert(chain < upload->options.chain_count);
	return &upload->chains[chain];
}

static uint64_t least(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

static uint64_t most(uint64_t a, uint64_t b)
{
	return a > b ? a : b;
}

/* Remembers the oldest batch that was sent in whole or in part, so that it is built again just so
 * and the gateway's beginning of it is of use. */
static void make_plan(const struct upload *upload, struct chain *chain)
{
	const struct outbox *outbox = &upload->outbox;
	chain->planned = true;
	for (size_t i = 0; i < chain->flight_count; i++) {
		if (chain->flight[i].again)
			continue;
		chain->plan = (struct range){ chain->flight[i].from, chain->flight[i].to };
		return;
	}
	if (outbox->full && chain == &upload->chains[outbox->chain] && !outbox->batch.again)
		chain->plan = (struct range){ outbox->batch.from, outbox->batch.to };
	else
		chain->planned = false;
}

/* Forgets everything of chain that is on its way, and goes on at next. */
static void rewind_to(struct upload *upload, struct chain *chain, uint64_t next)
{
	if (upload->outbox.full && chain == &upload->chains[upload->outbox.chain])
		upload->outbox.full = false;
	chain->flight_count = 0;
	chain->send_next = next;
	chain->eager = true;
}

/* Where we stand against the source decides between ACTIVE and HELD for lack of blocks. */
static void enter_active(struct chain *chain)
{
	const struct upload_source *source = &chain->source;
	if (source->own && chain->durable_next > source->next)
		enter(chain, UPLOAD_HELD, HOLD_BEHIND);
	else if (source->oldest < source->next && chain->send_next < source->oldest)
		enter(chain, UPLOAD_HELD, HOLD_PRUNED);
	else
		enter(chain, UPLOAD_ACTIVE, HOLD_NONE);
}

/* ---- what happened ---- */

void upload_on_source(struct upload *upload, size_t index, const struct upload_source *source,
                      int64_t now_ms)
{
	struct chain *chain = chain_at(upload, index);
	assert(source->oldest <= source->next);

	bool had_unsent = chain->send_next < chain->source.next;
	chain->source = *source;
	if (!had_unsent && chain->send_next < source->next)
		chain->fresh_since_ms = now_ms;
	if (chain->state == UPLOAD_ACTIVE ||
	    (chain->state == UPLOAD_HELD && chain->hold == HOLD_PRUNED))
		enter_active(chain);
}

void upload_on_link(struct upload *upload, const struct upload_limits *limits)
{
	assert(!upload->link && !upload->outbox.full);
	upload->link = true;
	upload->limits = *limits;
	upload->credit_bytes = upload->credit_batches = 0;
	upload->link_bytes = upload->link_batches = 0;
	upload->pace_bytes_per_s = 0;
}

static enum upload_hold hold_of_grant(enum upload_grant grant)
{
	switch (grant) {
	case GRANT_FROZEN:
		return HOLD_FROZEN;
	case GRANT_UNKNOWN:
		return HOLD_UNKNOWN;
	case GRANT_DENIED:
		return HOLD_DENIED;
	case GRANT_RETIRED:
		return HOLD_RETIRED;
	case GRANT_RESTORED:
		return HOLD_RESTORED;
	case GRANT_ACTIVE:
	case GRANT_STANDBY:
		break;
	}
	return HOLD_NONE;
}

void upload_on_welcome(struct upload *upload, size_t index, const struct upload_welcome *welcome,
                       int64_t now_ms)
{
	struct chain *chain = chain_at(upload, index);
	assert(upload->link);

	if (welcome->next_height >= HEIGHT_MAX) {
		rewind_to(upload, chain, chain->durable_next);
		enter(chain, UPLOAD_HELD, HOLD_PROTOCOL);
		return;
	}
	if (chain->state != UPLOAD_OFFLINE) /* A chain update: what was on its way is void. */
		make_plan(upload, chain);
	rewind_to(upload, chain, welcome->next_height);
	chain->again_count = 0;
	chain->void_count = 0;
	chain->resumes = 0;
	chain->durable_next = welcome->next_height;
	chain->welcomed = true;
	chain->partial_batch = welcome->partial_batch;
	chain->partial_size = welcome->partial_size;
	chain->fresh_since_ms = now_ms;

	enum upload_hold hold = hold_of_grant(welcome->grant);
	if (hold != HOLD_NONE)
		enter(chain, UPLOAD_HELD, hold);
	else if (welcome->tip == TIP_OTHER)
		enter(chain, UPLOAD_HELD, HOLD_DIVERGED);
	else if (welcome->grant == GRANT_STANDBY)
		enter(chain, UPLOAD_STANDBY, HOLD_NONE);
	else
		enter_active(chain);
}

void upload_on_credit(struct upload *upload, uint64_t bytes, uint64_t batches)
{
	upload->credit_bytes = most(upload->credit_bytes, bytes);
	upload->credit_batches = most(upload->credit_batches, batches);
}

void upload_on_pace(struct upload *upload, uint32_t bytes_per_s)
{
	upload->pace_bytes_per_s = bytes_per_s;
}

void upload_on_lost(struct upload *upload)
{
	for (size_t i = 0; i < upload->options.chain_count; i++) {
		struct chain *chain = &upload->chains[i];
		if (chain->state == UPLOAD_ACTIVE || chain->state == UPLOAD_WAITING)
			make_plan(upload, chain);
		rewind_to(upload, chain, chain->durable_next);
		chain->again_count = 0;
		enter(chain, UPLOAD_OFFLINE, HOLD_NONE);
	}
	upload->link = false;
	upload->building = false;
}

const struct upload_batch *upload_find(const struct upload *upload, size_t index, uint64_t from,
                                       uint64_t to)
{
	assert(index < upload->options.chain_count);
	const struct chain *chain = &upload->chains[index];
	for (size_t i = 0; i < chain->flight_count; i++) {
		if (chain->flight[i].from == from && chain->flight[i].to == to)
			return &chain->flight[i];
	}
	const struct outbox *outbox = &upload->outbox;
	if (outbox->full && outbox->chain == index && outbox->batch.from == from &&
	    outbox->batch.to == to)
		return &outbox->batch;
	return NULL;
}

bool upload_on_ack(struct upload *upload, size_t index, uint64_t durable_next, int64_t now_ms)
{
	struct chain *chain = chain_at(upload, index);
	if (durable_next > most(chain->source.next, chain->durable_next)) {
		rewind_to(upload, chain, chain->durable_next);
		enter(chain, UPLOAD_HELD, HOLD_PROTOCOL);
		return false;
	}
	size_t kept = 0;
	for (size_t i = 0; i < chain->flight_count; i++) {
		if (chain->flight[i].to >= durable_next)
			chain->flight[kept++] = chain->flight[i];
	}
	chain->flight_count = kept;
	if (durable_next > chain->durable_next) {
		chain->durable_next = durable_next;
		chain->resumes = 0;
		chain->void_count = 0; /* Later than any answer about what is void. */
	}
	if (chain->send_next < durable_next) {
		chain->send_next = durable_next;
		chain->fresh_since_ms = now_ms;
	}
	return true;
}

static void add_again(struct chain *chain, uint64_t from, uint64_t to)
{
	if (chain->again_count == UPLOAD_RESEND_MAX) {
		/* One range that covers the last two: more than was asked for, never less. */
		struct range *last = &chain->again[UPLOAD_RESEND_MAX - 1];
		last->from = least(last->from, from);
		last->to = most(last->to, to);
		return;
	}
	chain->again[chain->again_count++] = (struct range){ from, to };
}

void upload_on_resend(struct upload *upload, size_t index, uint64_t from, uint64_t to)
{
	struct chain *chain = chain_at(upload, index);
	const struct upload_source *source = &chain->source;

	from = most(from, source->oldest);
	if (source->oldest == source->next || from > to || from >= source->next)
		return;
	add_again(chain, from, least(to, source->next - 1));
}

static void wait_for(struct chain *chain, int64_t now_ms, uint64_t ms)
{
	ms = most(RETRY_MIN_MS, least(ms, RETRY_MAX_MS));
	chain->wait_until_ms = now_ms + (int64_t)ms;
	enter(chain, UPLOAD_WAITING, HOLD_NONE);
}

/* Ranges asked for again that were on their way go back into the queue. */
static void requeue_again(struct upload *upload, struct chain *chain)
{
	const struct outbox *outbox = &upload->outbox;
	for (size_t i = 0; i < chain->flight_count; i++) {
		if (chain->flight[i].again)
			add_again(chain, chain->flight[i].from, chain->flight[i].to);
	}
	if (outbox->full && chain == &upload->chains[outbox->chain] && outbox->batch.again)
		add_again(chain, outbox->batch.from, outbox->batch.to);
}

/* The batches of chain on their way, oldest first; NULL past the last. */
static const struct upload_batch *on_its_way(const struct upload *upload, const struct chain *chain,
                                             size_t place)
{
	if (place < chain->flight_count)
		return &chain->flight[place];
	const struct outbox *outbox = &upload->outbox;
	bool ours = outbox->full && chain == &upload->chains[outbox->chain];
	return ours && place == chain->flight_count ? &outbox->batch : NULL;
}

/* One gap makes the gateway reject every batch that was on its way behind it. The first such reject
 * sends us back; the others are told apart by what they name: answers come in the order of sending,
 * so the first about a void batch is about its void copy. */
static bool is_stale(const struct upload *upload, struct chain *chain, const struct hash *content)
{
	const struct upload_batch *batch;
	if (chain->state != UPLOAD_ACTIVE && chain->state != UPLOAD_WAITING)
		return true;
	if (hash_is_zero(content))
		return false;
	for (size_t i = 0; i < chain->void_count; i++) {
		if (!hash_equal(&chain->voids[i], content))
			continue;
		chain->voids[i] = chain->voids[--chain->void_count];
		return true;
	}
	for (size_t i = 0; (batch = on_its_way(upload, chain, i)) != NULL; i++) {
		if (hash_equal(&batch->content, content))
			return false;
	}
	return true;
}

/* Remembers what was sent after the batch that is rejected: each will be rejected, too. */
static void void_behind(struct chain *chain, const struct hash *content)
{
	bool behind = false;
	chain->void_count = 0;
	for (size_t i = 0; i < chain->flight_count; i++) {
		const struct upload_batch *batch = &chain->flight[i];
		if (behind)
			chain->voids[chain->void_count++] = batch->content;
		behind = behind || hash_equal(&batch->content, content);
	}
}

void upload_on_reject(struct upload *upload, size_t index, const struct upload_reject *reject,
                      int64_t now_ms)
{
	struct chain *chain = chain_at(upload, index);
	if (is_stale(upload, chain, &reject->content))
		return;
	chain->rejects++;
	void_behind(chain, &reject->content);

	switch (reject->action) {
	case REJECTED_HOLD:
		rewind_to(upload, chain, chain->durable_next);
		enter(chain, UPLOAD_HELD, HOLD_REJECTED);
		return;
	case REJECTED_RETRY:
		requeue_again(upload, chain);
		rewind_to(upload, chain, chain->durable_next);
		wait_for(chain, now_ms, reject->retry_after_ms);
		return;
	case REJECTED_RESUME:
		chain->again_count = 0;
		if (reject->next_height > most(chain->source.next, chain->durable_next)) {
			rewind_to(upload, chain, chain->durable_next);
			enter(chain, UPLOAD_HELD, chain->source.own ? HOLD_BEHIND : HOLD_PROTOCOL);
			return;
		}
		/* Where to go on, not what is durable: blocks below may still be under way there,
		 * and a commit that fails sends us back to durable_next. */
		rewind_to(upload, chain, reject->next_height);
		enter_active(chain);
		if (chain->state == UPLOAD_ACTIVE && ++chain->resumes > RESUMES_FREE) {
			unsigned doublings = chain->resumes - RESUMES_FREE - 1;
			doublings = doublings < RESUME_DOUBLINGS ? doublings : RESUME_DOUBLINGS;
			wait_for(chain, now_ms, (uint64_t)RESUME_WAIT_MS << doublings);
		}
		return;
	}
}

void upload_hold(struct upload *upload, size_t index, enum upload_hold hold)
{
	struct chain *chain = chain_at(upload, index);
	if (chain->state == UPLOAD_OFFLINE)
		return; /* The next welcome finds out again. */
	if (hold != HOLD_NONE) {
		rewind_to(upload, chain, chain->durable_next);
		enter(chain, UPLOAD_HELD, hold);
	} else if (chain->state == UPLOAD_HELD) {
		enter_active(chain);
	}
	if (upload->building && upload->build_chain == index)
		upload->building = false;
}

/* ---- what to do ---- */

static bool can_build(const struct upload *upload, const struct chain *chain, int64_t now_ms,
                      int64_t *wake_ms)
{
	if (chain->state != UPLOAD_ACTIVE || chain->flight_count == UPLOAD_FLIGHT_MAX)
		return false;
	if (upload->link_batches >= upload->credit_batches)
		return false;
	if (chain->again_count > 0)
		return true;
	if (chain->send_next >= chain->source.next)
		return false;
	if (chain->eager ||
	    chain->source.next - chain->send_next >= upload->options.batch_max_blocks ||
	    chain->source.bytes_total - chain->bytes_sent_up_to >= upload->options.batch_max_bytes)
		return true;
	int64_t due_ms = chain->fresh_since_ms + upload->options.batch_wait_ms;
	if (due_ms <= now_ms)
		return true;
	*wake_ms = due_ms < *wake_ms ? due_ms : *wake_ms;
	return false;
}

static void build_action(struct upload *upload, size_t index, struct upload_action *out_action)
{
	const struct chain *chain = &upload->chains[index];
	struct range range = { chain->send_next, chain->source.next - 1 };
	upload->build_again = chain->again_count > 0;
	if (upload->build_again)
		range = chain->again[0];
	else if (chain->planned && chain->plan.from == range.from && chain->plan.to <= range.to)
		range = chain->plan;

	upload->building = true;
	upload->build_chain = index;
	upload->turn = index;
	uint64_t count_max =
		least(upload->options.batch_max_blocks, upload->limits.batch_max_blocks);
	*out_action = (struct upload_action){
		.what = UPLOAD_BUILD,
		.chain = index,
		.from = range.from,
		.count_max = most(1, least(count_max, range.to - range.from + 1)),
		.bytes_max = least(upload->options.batch_max_bytes, upload->limits.batch_max_bytes),
		.block_max_bytes = upload->limits.block_max_bytes,
	};
}

/* The slower of the two wishes; 0: none. */
static uint32_t pace(const struct upload *upload)
{
	uint32_t ours = upload->options.rate_bytes_per_s;
	uint32_t theirs = upload->pace_bytes_per_s;
	if (ours == 0 || theirs == 0)
		return ours + theirs;
	return ours < theirs ? ours : theirs;
}

static void fly(struct upload *upload)
{
	struct outbox *outbox = &upload->outbox;
	struct chain *chain = &upload->chains[outbox->chain];
	assert(chain->flight_count < UPLOAD_FLIGHT_MAX);
	chain->flight[chain->flight_count++] = outbox->batch;
	chain->batches_sent++;
	chain->raw_bytes_sent += outbox->batch.raw_size;
	chain->blocks_sent += outbox->batch.to - outbox->batch.from + 1;
	outbox->full = false;
}

/* A piece of the outbox, as far as credit and pace allow. */
static void send_action(struct upload *upload, int64_t now_ms, struct upload_action *out_action)
{
	struct outbox *outbox = &upload->outbox;
	uint64_t credit = upload->credit_bytes - least(upload->credit_bytes, upload->link_bytes);
	uint64_t size = least(outbox->batch.size - outbox->offset, upload->limits.chunk_max_bytes);
	size = least(size, credit);
	if (size == 0 || upload->pace_ready_ms > now_ms) {
		out_action->wake_ms = size == 0 ? INT64_MAX : upload->pace_ready_ms;
		return;
	}
	*out_action = (struct upload_action){
		.what = UPLOAD_SEND,
		.chain = outbox->chain,
		.offset = outbox->offset,
		.size = (uint32_t)size,
		.last = outbox->offset + size == outbox->batch.size,
	};
	outbox->offset += size;
	upload->link_bytes += size;
	upload->chains[outbox->chain].bytes_sent += size;
	if (pace(upload) > 0)
		upload->pace_ready_ms = now_ms + (int64_t)(size * 1000 / pace(upload));
	if (out_action->last)
		fly(upload);
}

void upload_next(struct upload *upload, int64_t now_ms, struct upload_action *out_action)
{
	assert(!upload->building);
	*out_action = (struct upload_action){ .what = UPLOAD_NOTHING, .wake_ms = INT64_MAX };
	upload->now_ms = now_ms;
	if (!upload->link)
		return;
	for (size_t i = 0; i < upload->options.chain_count; i++) {
		struct chain *chain = &upload->chains[i];
		if (chain->state != UPLOAD_WAITING)
			continue;
		if (chain->wait_until_ms <= now_ms)
			enter_active(chain);
		else if (chain->wait_until_ms < out_action->wake_ms)
			out_action->wake_ms = chain->wait_until_ms;
	}
	if (upload->outbox.full) {
		struct upload_action send = *out_action;
		send_action(upload, now_ms, &send);
		if (send.what == UPLOAD_NOTHING && send.wake_ms > out_action->wake_ms)
			send.wake_ms = out_action->wake_ms;
		*out_action = send;
		return;
	}
	for (size_t i = 1; i <= upload->options.chain_count; i++) {
		size_t index = (upload->turn + i) % upload->options.chain_count;
		if (can_build(upload, &upload->chains[index], now_ms, &out_action->wake_ms)) {
			build_action(upload, index, out_action);
			return;
		}
	}
}

void upload_built(struct upload *upload, const struct upload_batch *batch)
{
	assert(upload->building && !upload->outbox.full && batch->size > 0);
	struct chain *chain = chain_at(upload, upload->build_chain);
	struct outbox *outbox = &upload->outbox;

	upload->building = false;
	*outbox = (struct outbox){ .full = true, .chain = upload->build_chain, .batch = *batch };
	outbox->batch.again = upload->build_again;
	if (chain->partial_size > 0 && chain->partial_size < batch->size &&
	    hash_equal(&chain->partial_batch, &batch->content))
		outbox->offset = chain->partial_size;
	chain->partial_size = 0;
	upload->link_batches++;

	if (upload->build_again) {
		struct range *range = &chain->again[0];
		assert(batch->from == range->from && batch->to <= range->to);
		range->from = batch->to + 1;
		if (range->from > range->to) {
			chain->again_count--;
			for (size_t i = 0; i < chain->again_count; i++)
				chain->again[i] = chain->again[i + 1];
		}
		return;
	}
	assert(batch->from == chain->send_next);
	chain->planned = false;
	chain->send_next = batch->to + 1;
	chain->eager = chain->send_next < chain->source.next;
	chain->fresh_since_ms = upload->now_ms;
	if (!chain->eager)
		chain->bytes_sent_up_to = chain->source.bytes_total;
}

void upload_not_built(struct upload *upload, int64_t retry_ms)
{
	assert(upload->building && retry_ms >= 0);
	upload->building = false;
	wait_for(chain_at(upload, upload->build_chain), upload->now_ms, (uint64_t)retry_ms);
}

bool upload_outbox(const struct upload *upload, size_t *out_chain, struct upload_batch *out_batch)
{
	if (!upload->outbox.full)
		return false;
	*out_chain = upload->outbox.chain;
	*out_batch = upload->outbox.batch;
	return true;
}

void upload_status(const struct upload *upload, size_t index, struct upload_status *out_status)
{
	assert(index < upload->options.chain_count);
	const struct chain *chain = &upload->chains[index];
	*out_status = (struct upload_status){
		.state = chain->state,
		.hold = chain->hold,
		.send_next = chain->send_next,
		.durable_next = chain->durable_next,
		.welcomed = chain->welcomed,
		.flight_count = chain->flight_count,
		.wait_until_ms = chain->wait_until_ms,
		.batches_sent = chain->batches_sent,
		.bytes_sent = chain->bytes_sent,
		.raw_bytes_sent = chain->raw_bytes_sent,
		.blocks_sent = chain->blocks_sent,
		.rejects = chain->rejects,
	};
}
