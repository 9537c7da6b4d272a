/* agent.c -- the agent's stores: every entry that was acknowledged is in its ledger, no block that left
 * is ever another one, and it goes on from there.
 *
 * What was told, as marks of the log:
 *
 *     made                        "zonerelay-edge ledger init" has ended well
 *     entry CHAIN NUMBER BYTES    its producer was told that it is on the disk, under that number
 *     tip CHAIN HEIGHT HASH       a block that has left, or that a Hello spoke of
 *     receipts CHAIN HEIGHT       a Hello said that the receipts of all below are held: the gateway will
 *                                 not send them again
 *     taken CHAIN HEIGHT          the gateway has said that it has all below
 *
 * The facts: agent.yaml, the configuration with its folders where the images are; NAME.entries for each
 * chain whose entries are all known beforehand (a file that grew): each of them, once, in order.
 */
#include <event2/event.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "adapters/sidechain/walk.h"
#include "config/config.h"
#include "proto/compress.h"
#include "proto/ledger.pb-c.h"
#include "relay/base/file.h"
#include "relay/edge/source.h"
#include "spool/agent.h"
#include "tests/powercut/disk.h"
#include "tests/powercut/subject.h"

#define CHAINS_MAX  4
#define HEIGHTS_MAX 16384
#define ENTRIES_MAX 65536
#define TURNS_MAX   10000
#define FILE_MAX    (64u << 20)
#define LATER_MS    INT64_C(4000000000000) /* After every time in the record. */

struct told_chain {
	const struct edge_chain_config *config;
	/* What was told. */
	struct hash tips[HEIGHTS_MAX];
	bool has_tip[HEIGHTS_MAX];
	uint64_t sent_next; /* One above the highest of them. */
	uint64_t receipts, taken;
	struct buffer entries[ENTRIES_MAX]; /* Of size 0: not told. */
	/* Known beforehand; count 0: not. */
	struct buffer file;
	struct bytes known[ENTRIES_MAX];
	uint64_t known_count;
};

struct subject_state {
	struct config *config;
	bool made, broken;
	struct told_chain chains[CHAINS_MAX];
	size_t chain_count;
};

/* One chain of the agent, opened again. */
struct opened {
	const struct subject_state *state;
	const struct told_chain *told;
	struct agent_store *store;
	struct event_base *base;
	struct clock_virtual clock;
	struct source *source;
	struct agent_chain facts;
};

/* ---- facts ---- */

static void load_known(struct told_chain *chain, const char *folder)
{
	char path[1024];
	struct err err;
	snprintf(path, sizeof(path), "%.800s/%.100s.entries", folder, chain->config->name);
	if (access(path, R_OK) != 0)
		return;
	if (!file_read(path, FILE_MAX, &chain->file, &err))
		abort();
	struct reader reader = reader_of(buffer_bytes(&chain->file));
	while (batch_next_block(&reader, chain->file.size, &chain->known[chain->known_count]) == 1)
		chain->known_count++;
}

static struct subject_state *agent_open(const char *facts)
{
	char path[1024];
	struct subject_state *state = calloc(1, sizeof(*state));
	struct config_errors errors = CONFIG_NO_ERRORS;
	snprintf(path, sizeof(path), "%.800s/agent.yaml", facts);
	if (state == NULL || !config_load(path, CONFIG_EDGE, &state->config, &errors)) {
		fprintf(stderr, "powercut: %s is not a configuration\n", path);
		exit(2);
	}
	state->chain_count = state->config->edge.chain_count;
	if (state->chain_count > CHAINS_MAX)
		abort();
	for (size_t i = 0; i < state->chain_count; i++) {
		state->chains[i].config = &state->config->edge.chains[i];
		load_known(&state->chains[i], facts);
	}
	return state;
}

static void agent_close(struct subject_state *state)
{
	for (size_t i = 0; i < state->chain_count; i++) {
		for (size_t k = 0; k < ENTRIES_MAX; k++)
			buffer_fini(&state->chains[i].entries[k]);
		buffer_fini(&state->chains[i].file);
	}
	config_free(state->config);
	free(state);
}

/* ---- what is told ---- */

static struct told_chain *find_chain(struct subject_state *state, const char *name)
{
	for (size_t i = 0; i < state->chain_count; i++) {
		if (strcmp(state->chains[i].config->name, name) == 0)
			return &state->chains[i];
	}
	abort();
}

static void from_hex(const char *hex, struct buffer *out)
{
	for (; hex[0] != '\0' && hex[1] != '\0'; hex += 2) {
		unsigned byte;
		if (sscanf(hex, "%2x", &byte) != 1)
			abort();
		buffer_put_u8(out, (uint8_t)byte);
	}
}

static void told_tip(struct subject_state *state, struct told_chain *chain, uint64_t height,
                     const char *hex)
{
	struct buffer bytes = BUFFER_EMPTY;
	struct hash hash;
	from_hex(hex, &bytes);
	if (height >= HEIGHTS_MAX || !hash_from_bytes(&hash, buffer_bytes(&bytes)))
		abort();
	buffer_fini(&bytes);
	if (chain->has_tip[height] && !hash_equal(&chain->tips[height], &hash)) {
		fprintf(stderr, "%s: two blocks of height %" PRIu64 " have left\n",
		        chain->config->name, height);
		state->broken = true;
	}
	chain->tips[height] = hash;
	chain->has_tip[height] = true;
	if (height >= chain->sent_next)
		chain->sent_next = height + 1;
}

static void told_entry(struct subject_state *state, struct told_chain *chain, uint64_t number,
                       const char *hex)
{
	if (number >= ENTRIES_MAX)
		abort();
	if (chain->entries[number].size > 0) {
		fprintf(stderr, "%s: entry %" PRIu64 " was told twice\n", chain->config->name,
		        number);
		state->broken = true;
		return;
	}
	from_hex(hex, &chain->entries[number]);
}

static void agent_tell(struct subject_state *state, const char *line)
{
	char word[16] = "";
	char name[CHAIN_NAME_MAX + 1] = "";
	uint64_t number = 0;
	int at = 0;
	int got = sscanf(line, "%15s %64s %" SCNu64 " %n", word, name, &number, &at);
	if (strcmp(word, "made") == 0) {
		state->made = true;
		return;
	}
	if (got < 3)
		abort();
	struct told_chain *chain = find_chain(state, name);
	if (strcmp(word, "entry") == 0)
		told_entry(state, chain, number, line + at);
	else if (strcmp(word, "tip") == 0)
		told_tip(state, chain, number, line + at);
	else if (strcmp(word, "receipts") == 0)
		chain->receipts = number > chain->receipts ? number : chain->receipts;
	else if (strcmp(word, "taken") == 0)
		chain->taken = number > chain->taken ? number : chain->taken;
	else
		abort();
}

/* ---- opening ---- */

static bool say(const struct opened *opened, const char *what, const struct err *err)
{
	fprintf(stderr, "%s: %s: %s\n", opened->told->config->name, what,
	        err == NULL ? "broken" : err->message);
	return false;
}

static bool say_height(const struct opened *opened, const char *what, uint64_t height)
{
	fprintf(stderr, "%s: %s at %" PRIu64 "\n", opened->told->config->name, what, height);
	return false;
}

static void do_nothing(void *arg)
{
}

/* As the agent does at its start. */
static bool open_store(struct opened *opened)
{
	const struct edge_source_config *source = &opened->told->config->source;
	struct err err;
	if (!store_exists(source->dir)) {
		if (opened->state->made)
			return say(opened, "the ledger is gone", NULL);
		if (!agent_store_create(source->dir, source->size_bytes, 1, &err))
			return say(opened, "make the ledger again", &err);
	}
	return agent_store_open(&opened->store, source->dir, STORE_WRITE, source->size_bytes,
	                        &err) ||
	       say(opened, "open", &err);
}

static bool open_source(struct opened *opened)
{
	struct source_context context = {
		.config = opened->told->config,
		.state_dir = opened->state->config->edge.state_dir,
		.block_max_bytes = 1u << 20,
		.store = opened->store,
		.base = opened->base,
		.clock = &opened->clock.clock,
		.wake = do_nothing,
	};
	struct err err;
	return source_open(&opened->source, &context, &err) || say(opened, "source", &err);
}

static bool refresh(struct opened *opened)
{
	struct err err;
	return agent_chain(opened->store, &opened->source->key, &opened->facts, &err) ||
	       say(opened, "chain", &err);
}

/* ---- is it there? ---- */

static bool header_at(const struct opened *opened, uint64_t height, struct block_header *out)
{
	struct agent_range range = { .chain = opened->source->key, .from = height, .to = height };
	struct err err;
	size_t count = 0;
	if (!agent_headers(opened->store, &range, out, 1, &count, &err))
		return say(opened, "header", &err);
	return count == 1 || say_height(opened, "no header", height);
}

static bool tips_hold(const struct opened *opened)
{
	const struct told_chain *told = opened->told;
	if (opened->facts.next_height < told->sent_next)
		return say_height(opened, "blocks that have left are gone",
		                  opened->facts.next_height);
	for (uint64_t height = 0; height < told->sent_next; height++) {
		struct block_header header;
		if (!told->has_tip[height])
			continue;
		if (!header_at(opened, height, &header))
			return false;
		if (!hash_equal(&header.hash, &told->tips[height]))
			return say_height(opened, "another block than has left", height);
	}
	return true;
}

/* What the gateway will not send again, and what lets blocks be pruned. */
static bool receipts_hold(const struct opened *opened)
{
	const struct agent_chain *facts = &opened->facts;
	if (facts->anchored_next < opened->told->receipts)
		return say_height(opened, "receipts that were told of are gone",
		                  facts->anchored_next);
	for (uint64_t height = 0; height < facts->anchored_next;) {
		struct agent_anchored run;
		struct buffer message = BUFFER_EMPTY;
		struct err err;
		bool found = false;
		if (!agent_anchored(opened->store, &opened->source->key, height, &run, &message,
		                    &found, &err))
			return say(opened, "receipt", &err);
		if (!found || message.size == 0)
			return say_height(opened, "no receipt", height);
		buffer_fini(&message);
		height = run.to + 1;
	}
	for (uint64_t height = 1; height < facts->oldest_height; height++) {
		if (height >= facts->anchored_next)
			return say_height(opened, "pruned without a receipt", height);
	}
	return true;
}

static bool entry_is(const struct opened *opened, uint64_t number, struct bytes entry)
{
	const struct told_chain *told = opened->told;
	if (told->known_count > 0 &&
	    (number >= told->known_count || !bytes_equal(entry, told->known[number])))
		return say_height(opened, "not the entry that stands in the file", number);
	if (number < ENTRIES_MAX && told->entries[number].size > 0 &&
	    !bytes_equal(entry, buffer_bytes(&told->entries[number])))
		return say_height(opened, "not the entry that was acknowledged", number);
	return true;
}

/* Entries of one block that is held; a pruned one only counts them. */
static bool block_holds(const struct opened *opened, uint64_t height, uint64_t *number)
{
	struct block_header header;
	struct buffer raw = BUFFER_EMPTY;
	struct err err;
	if (!header_at(opened, height, &header))
		return false;
	if (height < opened->facts.oldest_height) {
		*number += header.entry_count;
		return true;
	}
	if (!agent_block(opened->store, &opened->source->key, height, &raw, &err))
		return say(opened, "block", &err);
	Zonerelay__Ledger__Block *block =
		zonerelay__ledger__block__unpack(NULL, raw.size, raw.data);
	bool good = block != NULL || say_height(opened, "no block", height);
	for (size_t i = 0; good && i < block->n_entries; i++) {
		struct bytes entry = { block->entries[i].data, block->entries[i].len };
		good = entry_is(opened, (*number)++, entry);
	}
	if (block != NULL)
		zonerelay__ledger__block__free_unpacked(block, NULL);
	buffer_fini(&raw);
	return good;
}

static bool open_entries_hold(const struct opened *opened, uint64_t *number)
{
	struct agent_entries entries = AGENT_ENTRIES_EMPTY;
	struct err err;
	bool good = true;
	size_t at = 0;
	if (opened->facts.entry_next == opened->facts.entry_sealed)
		return true;
	if (!agent_ledger_open_entries(opened->store, &opened->source->key, ENTRIES_MAX, FILE_MAX,
	                               &entries, &err))
		return say(opened, "open entries", &err);
	for (size_t i = 0; good && i < entries.count; i++) {
		struct bytes entry = { entries.data.data + at, entries.sizes[i] };
		good = entry_is(opened, (*number)++, entry);
		at += entries.sizes[i];
	}
	agent_entries_fini(&entries);
	return good;
}

/* Every entry that was acknowledged, each once, in its place. */
static bool entries_hold(const struct opened *opened)
{
	uint64_t number = 0;
	for (uint64_t height = 1; height < opened->facts.next_height; height++) {
		if (!block_holds(opened, height, &number))
			return false;
	}
	if (number != opened->facts.entry_sealed || !open_entries_hold(opened, &number))
		return say_height(opened, "entries are counted wrong", number);
	for (uint64_t i = number; i < ENTRIES_MAX; i++) {
		if (opened->told->entries[i].size > 0)
			return say_height(opened, "an entry that was acknowledged is gone", i);
	}
	return true;
}

static bool holds(struct opened *opened)
{
	return refresh(opened) && tips_hold(opened) && receipts_hold(opened) &&
	       entries_hold(opened);
}

/* ---- to the end ---- */

/* Until everything is in blocks. */
static bool seal_all(struct opened *opened)
{
	for (int i = 0; i < TURNS_MAX; i++) {
		int64_t wake_ms = 0;
		struct err err;
		if (!source_turn(opened->source, opened->clock.now_ms, &wake_ms, &err))
			return say(opened, "turn", &err);
		(void)event_base_loop(opened->base, EVLOOP_NONBLOCK);
		if (!refresh(opened))
			return false;
		bool sealed = opened->facts.entry_next == opened->facts.entry_sealed;
		if (sealed && opened->facts.entry_next >= opened->told->known_count)
			return true;
		if (wake_ms > opened->clock.now_ms)
			clock_virtual_advance(
				&opened->clock,
				wake_ms == INT64_MAX ? 1000 : wake_ms - opened->clock.now_ms);
	}
	return say(opened, "it does not come to an end", NULL);
}

/* The gateway has everything that it said, and perhaps some of what was on its way: it goes on from
 * there, with the trust set of the genesis that the zone was given. */
static bool gateway_goes_on(const struct opened *opened, uint64_t chance)
{
	const struct told_chain *told = opened->told;
	const struct sidechain *format = sidechain_find("ledger");
	struct buffer pinned = BUFFER_EMPTY;
	struct trust *trust = NULL;
	struct block_header tip = { .height = 0 };
	struct walk walk;
	struct err err;
	uint64_t from = told->taken;
	if (told->sent_next > from)
		from += next_chance(&chance) % (told->sent_next - from + 1);
	if (!file_read(told->config->trust, 1u << 20, &pinned, &err) ||
	    !format->trust_pin(buffer_bytes(&pinned), &trust, &err))
		return say(opened, "the genesis for the zone", &err);
	if (from > 0 && !header_at(opened, from - 1, &tip))
		return false;
	walk_init(&walk, format, trust, &opened->source->id.epoch,
	          (struct walk_position){ .next_height = from, .tip = tip.hash });
	bool good = true;
	while (good && walk.position.next_height < opened->facts.next_height) {
		struct buffer raw = BUFFER_EMPTY;
		struct block block;
		good = source_read(opened->source, walk.position.next_height, &raw, &err) &&
		       walk_block(&walk, buffer_bytes(&raw), true, &block, &err) == WALK_FINE;
		buffer_fini(&raw);
	}
	walk_fini(&walk);
	format->trust_free(trust);
	buffer_fini(&pinned);
	return good || say(opened, "the gateway cannot go on", &err);
}

static bool run_on(struct opened *opened, uint64_t chance)
{
	return seal_all(opened) && entries_hold(opened) && tips_hold(opened) &&
	       gateway_goes_on(opened, chance);
}

/* ---- the check ---- */

/* Without the key nothing of the chain can be there, for it is made first. */
static bool nothing_without_key(struct opened *opened)
{
	const struct edge_chain_config *config = opened->told->config;
	struct agent_chain facts;
	struct err err;
	bool found = false;
	if (opened->state->made || access(config->trust, F_OK) == 0)
		return say(opened, "the key is gone", NULL);
	if (!agent_chain_by_name(opened->store, config->name, &facts, &found, &err))
		return say(opened, "chain", &err);
	return !found || say(opened, "a chain without its key", NULL);
}

static bool chain_check(const struct subject_state *state, const struct told_chain *told,
                        uint64_t chance)
{
	struct opened opened = { .state = state, .told = told, .base = event_base_new() };
	clock_virtual_init(&opened.clock, 1000, LATER_MS);
	if (opened.base == NULL || !open_store(&opened))
		return false;
	if (access(told->config->source.key, F_OK) != 0)
		return nothing_without_key(&opened);
	bool good = open_source(&opened) && holds(&opened) && run_on(&opened, chance);
	source_close(opened.source);
	agent_store_close(opened.store);
	event_base_free(opened.base);
	return good;
}

static bool state_check(const struct subject_state *state)
{
	const struct edge_config *edge = &state->config->edge;
	struct agent_store *store;
	struct err err;
	if (!store_exists(edge->state_dir) &&
	    !agent_store_create(edge->state_dir, edge->state_size_bytes, 1, &err)) {
		fprintf(stderr, "make the state again: %s\n", err.message);
		return false;
	}
	if (!agent_store_open(&store, edge->state_dir, STORE_WRITE, 0, &err)) {
		fprintf(stderr, "state: %s\n", err.message);
		return false;
	}
	agent_store_close(store);
	return true;
}

static bool agent_check(const struct subject_state *state, const char *root, uint64_t chance)
{
	bool good = !state->broken && state_check(state);
	for (size_t i = 0; good && i < state->chain_count; i++)
		good = chain_check(state, &state->chains[i], chance);
	return good;
}

const struct subject subject_agent = {
	.name = "agent",
	.open = agent_open,
	.close = agent_close,
	.tell = agent_tell,
	.check = agent_check,
};
