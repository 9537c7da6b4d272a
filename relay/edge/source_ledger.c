/* source_ledger.c -- source "ledger": the agent keeps the chain itself, from entries it is given.
 *
 *     intake -> queue -> [append: entries + position, one commit] -> answer to the producer
 *                        [seal: entries -> block, one commit]     -> there to be sent
 *
 * A block that was sealed is never written again: the store refuses any but the next height on its
 * tip, and where the gateway has more of the chain than we have (our store was restored from a
 * copy), sealing stops until an operator has looked.
 */
#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "adapters/sidechain/ledger/ledger.h"
#include "relay/base/fault_point.h"
#include "relay/base/file.h"
#include "relay/base/log.h"
#include "relay/edge/intake.h"
#include "relay/edge/ledger_chain.h"
#include "relay/edge/seal.h"
#include "relay/edge/source.h"

#define TURN_STEPS_MAX   32 /* Commits of one turn. */
#define FULL_RETRY_MS    1000
#define PRUNE_BLOCKS_MAX 64
#define SLOT_SIZE        8

struct ledger {
	struct source source; /* First: a ledger is a source. */
	struct ledger_chain *chain;
	struct intake *intake;
	char *refused_path; /* Owned. */
	struct intake_queue queue;
	struct seal_rule rule;
	struct seal_open open;
	bool frozen;
};

static struct ledger *ledger_of(struct source *source)
{
	return (struct ledger *)(void *)source;
}

/* ---- opening ---- */

static void ledger_close(struct source *source)
{
	struct ledger *ledger = ledger_of(source);
	intake_close(ledger->intake);
	ledger_chain_close(ledger->chain);
	buffer_fini(&ledger->queue.data);
	free(ledger->refused_path);
	free(ledger);
}

/* The open entries of an earlier run go on as they were: the slot stands before the position. */
static void restore_open(struct ledger *ledger, struct bytes position)
{
	const struct agent_chain *facts = ledger_chain_facts(ledger->chain);
	const struct clock *clock = ledger->source.context.clock;
	if (facts->entry_next == facts->entry_sealed)
		return;
	struct reader reader = reader_of(position);
	int64_t slot = (int64_t)reader_u64(&reader);
	if (reader.failed)
		slot = seal_slot(&ledger->rule, facts->open_since_ms);
	int64_t age_ms = clock_wall_ms(clock) - facts->open_since_ms;
	age_ms = age_ms < 0                          ? 0
	         : age_ms > ledger->rule.interval_ms ? ledger->rule.interval_ms
	                                             : age_ms;
	ledger->open = (struct seal_open){
		.count = facts->entry_next - facts->entry_sealed,
		.bytes = facts->open_bytes,
		.slot = slot,
		.first_wall_ms = facts->open_since_ms,
		.first_ms = clock_monotonic_ms(clock) - age_ms,
	};
}

static bool open_intake(struct ledger *ledger, struct err *err)
{
	const struct source_context *context = &ledger->source.context;
	const struct edge_source_config *config = &context->config->source;
	if (asprintf(&ledger->refused_path, "%s/%s.refused", config->dir, context->config->name) <
	    0) {
		ledger->refused_path = NULL;
		return err_set(err, ZR_NO_MEMORY, "path");
	}
	struct buffer position = BUFFER_EMPTY;
	bool ok = agent_position_get(context->store, &ledger->source.key, &position, err);
	struct bytes rest = buffer_bytes(&position);
	if (ok)
		restore_open(ledger, rest);
	rest = rest.size < SLOT_SIZE
	               ? BYTES_NONE
	               : (struct bytes){ rest.data + SLOT_SIZE, rest.size - SLOT_SIZE };
	struct intake_context intake = {
		.chain = context->config->name,
		.config = config,
		.refused_path = ledger->refused_path,
		.base = context->base,
		.wake = context->wake,
		.wake_arg = context->wake_arg,
	};
	ok = ok && intake_open(&ledger->intake, &intake, rest, err);
	buffer_fini(&position);
	return ok;
}

static void show(struct ledger *ledger)
{
	const struct agent_chain *facts = ledger_chain_facts(ledger->chain);
	ledger->source.view.oldest = facts->oldest_height;
	ledger->source.view.next = facts->next_height;
}

static bool ledger_open(struct source **out_source, const struct source_context *context,
                        struct err *err)
{
	const struct edge_source_config *config = &context->config->source;
	struct ledger *ledger = calloc(1, sizeof(*ledger));
	if (ledger == NULL)
		return err_set(err, ZR_NO_MEMORY, "source");
	ledger->source.ops = &source_ledger;
	ledger->source.context = *context;
	ledger->queue.data = BUFFER_EMPTY;
	ledger->rule = (struct seal_rule){
		.interval_ms = (int64_t)config->block_interval_ms,
		.bytes_max = config->block_bytes,
		.count_max = config->block_entry_count,
	};
	if (!ledger_chain_open(&ledger->chain, context->config, context->store, context->clock,
	                       err))
		goto fail;
	ledger->source.id = ledger_chain_facts(ledger->chain)->id;
	ledger->source.key = chain_key(&ledger->source.id);
	if (!open_intake(ledger, err))
		goto fail;
	show(ledger);
	*out_source = &ledger->source;
	return true;

fail:
	ledger_close(&ledger->source);
	return false;
}

/* ---- sealing ---- */

/* Makes one block of the oldest open entries. */
static bool seal(struct ledger *ledger, struct err *err)
{
	size_t entries = 0;
	size_t bytes = 0;
	if (!ledger_chain_seal(ledger->chain, (size_t)ledger->rule.count_max,
	                       (size_t)ledger->rule.bytes_max, &entries, &bytes, err))
		return false;
	const struct agent_chain *facts = ledger_chain_facts(ledger->chain);
	char hex[HASH_HEX_SIZE];
	log_info("block-sealed", "chain=%s height=%" PRIu64 " entries=%zu bytes=%zu hash=%s",
	         ledger->source.id.name, facts->next_height - 1, entries, bytes,
	         hash_hex(&facts->tip, hex));
	ledger->source.view.bytes_total += bytes;
	ledger->open.count = facts->entry_next - facts->entry_sealed;
	ledger->open.bytes = facts->open_bytes;
	show(ledger);
	return true;
}

/* ---- taking entries ---- */

static int64_t slot_of(const struct ledger *ledger, const struct intake_entry *entry)
{
	int64_t time_ms = entry->time_ms;
	if (!ledger->intake->has_time)
		time_ms = clock_wall_ms(ledger->source.context.clock);
	return seal_slot(&ledger->rule, time_ms);
}

/* How many entries at the front of the queue go into the block that is open; *out_after: as it is
 * open then. */
static size_t group(const struct ledger *ledger, int64_t now_ms, struct seal_open *out_after)
{
	const struct intake_queue *queue = &ledger->queue;
	int64_t wall_ms = clock_wall_ms(ledger->source.context.clock);
	size_t count = 0;
	*out_after = ledger->open;
	for (size_t i = queue->first; i < queue->count; i++) {
		const struct intake_entry *entry = &queue->entries[i];
		int64_t slot = slot_of(ledger, entry);
		if (!ledger->frozen && seal_before(&ledger->rule, out_after, slot, entry->size))
			break;
		seal_add(out_after, slot, entry->size, wall_ms, now_ms);
		count++;
	}
	return count;
}

/* Stores the group with the position after it in one commit, then answers. */
static bool append(struct ledger *ledger, size_t count, const struct seal_open *after,
                   struct err *err)
{
	struct intake_queue *queue = &ledger->queue;
	struct bytes entries[INTAKE_QUEUE_COUNT];
	struct buffer position = BUFFER_EMPTY;
	const struct intake_entry *first = &queue->entries[queue->first];
	for (size_t i = 0; i < count; i++)
		entries[i] = intake_queue_bytes(queue, &first[i]);
	buffer_put_u64(&position, (uint64_t)after->slot);
	ledger->intake->ops->position(ledger->intake, &first[count - 1], &position);
	FAULT_POINT(ENTRIES_KEEPING);

	uint64_t number = 0;
	bool ok = buffer_ok(&position, err) &&
	          ledger_chain_append(ledger->chain, entries, count, buffer_bytes(&position),
	                              &number, err);
	buffer_fini(&position);
	if (!ok)
		return false;
	FAULT_POINT(ENTRIES_KEPT);
	ledger->intake->ops->stored(ledger->intake, first, count, number);
	ledger->open = *after;
	queue->first += count;
	if (queue->first == queue->count) {
		queue->first = queue->count = 0;
		buffer_clear(&queue->data);
	}
	return true;
}

/* ---- the turn ---- */

enum next { NEXT_NOTHING, NEXT_SEAL, NEXT_APPEND };

/* What is to be done with what waits now. */
static enum next next_step(struct ledger *ledger, int64_t now_ms, size_t *out_count,
                           struct seal_open *out_after, int64_t *out_wake_ms)
{
	int64_t wall_ms = clock_wall_ms(ledger->source.context.clock);
	bool due = seal_due(&ledger->rule, &ledger->open, ledger->intake->has_time, wall_ms, now_ms,
	                    out_wake_ms);
	bool waiting = ledger->queue.first < ledger->queue.count;
	if (ledger->intake->ended && !waiting && ledger->open.count > 0)
		due = true; /* Nobody will come to join them. */
	if (due && !ledger->frozen)
		return NEXT_SEAL;
	if (ledger->frozen)
		*out_wake_ms = INT64_MAX;
	if (!waiting)
		return NEXT_NOTHING;
	*out_count = group(ledger, now_ms, out_after);
	return *out_count > 0 ? NEXT_APPEND : NEXT_SEAL;
}

static void set_problem(struct ledger *ledger, const char *text)
{
	snprintf(ledger->source.view.problem, SOURCE_PROBLEM_SIZE, "%.255s", text);
}

static int64_t sooner(int64_t a, int64_t b)
{
	return a < b ? a : b;
}

static bool ledger_turn(struct source *source, int64_t now_ms, int64_t *out_wake_ms,
                        struct err *err)
{
	struct ledger *ledger = ledger_of(source);
	int64_t intake_wake_ms = INT64_MAX;
	int64_t seal_wake_ms = INT64_MAX;
	set_problem(ledger, ledger->frozen ? "sealing has stopped: the gateway has more of this "
	                                     "chain"
	                                   : "");
	for (int i = 0; i < TURN_STEPS_MAX; i++) {
		struct seal_open after;
		size_t count = 0;
		struct err failure;
		bool ok = true;
		if (ledger->queue.count == 0)
			ledger->intake->ops->fill(ledger->intake, &ledger->queue, now_ms,
			                          &intake_wake_ms);
		enum next next = next_step(ledger, now_ms, &count, &after, &seal_wake_ms);
		if (next == NEXT_NOTHING) {
			if (ledger->intake->problem[0] != '\0')
				set_problem(ledger, ledger->intake->problem);
			*out_wake_ms = sooner(intake_wake_ms, seal_wake_ms);
			return true;
		}
		if (next == NEXT_SEAL)
			ok = seal(ledger, &failure);
		else
			ok = append(ledger, count, &after, &failure);
		if (!ok &&
		    (err_fate(failure.code) == ERR_STOP || ledger_chain_is_behind(ledger->chain))) {
			*err = failure;
			return false;
		}
		if (!ok) {
			set_problem(ledger, failure.message);
			*out_wake_ms = now_ms + FULL_RETRY_MS;
			return true;
		}
	}
	*out_wake_ms = now_ms;
	return true;
}

static bool ledger_read(struct source *source, uint64_t height, struct buffer *out_raw,
                        struct err *err)
{
	return agent_block(source->context.store, &source->key, height, out_raw, err);
}

static bool ledger_prune(struct source *source, uint64_t below, bool *out_more, struct err *err)
{
	struct ledger *ledger = ledger_of(source);
	if (!agent_prune(source->context.store, &source->key, below, PRUNE_BLOCKS_MAX, out_more,
	                 err) ||
	    !ledger_chain_refresh(ledger->chain, err))
		return false;
	show(ledger);
	return true;
}

static void ledger_freeze(struct source *source, bool frozen)
{
	struct ledger *ledger = ledger_of(source);
	if (ledger->frozen == frozen)
		return;
	ledger->frozen = frozen;
	source->context.wake(source->context.wake_arg);
}

const struct source_ops source_ledger = {
	.name = "ledger",
	.text = "a chain that the agent keeps itself, from entries it is given",
	.own = true,
	.open = ledger_open,
	.close = ledger_close,
	.turn = ledger_turn,
	.read = ledger_read,
	.prune = ledger_prune,
	.freeze = ledger_freeze,
};
