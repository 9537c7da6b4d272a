/* gateway.c -- the gateway's spool: everything that was told is in it, and it goes on from there.
 *
 * What was told, as marks of the log:
 *
 *     made                    "zonerelay spool init" has ended well
 *     next CHAIN HEIGHT       custody of all below, in an Ack or a Welcome
 *     anchored CHAIN HEIGHT   receipts of all below, in an Anchored or a Welcome
 *     commit NUMBER           a custody root was signed for it
 *     submitted SEQ CONTENT   this anchor has left for the main chain
 *     included SEQ            the main chain has said that it has it
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "adapters/sidechain.h"
#include "proto/compress.h"
#include "spool/batches.h"
#include "spool/tools.h"
#include "tests/powercut/gateway_run.h"
#include "tests/powercut/record.h"
#include "tests/powercut/subject.h"

static struct subject_state *gateway_open(const char *facts)
{
	struct subject_state *state = calloc(1, sizeof(*state));
	if (state == NULL)
		abort();
	edge_chains_load(&state->edges, facts);
	return state;
}

static void gateway_close(struct subject_state *state)
{
	for (uint64_t i = 0; i < state->submitted; i++)
		free(state->contents[i].data);
	edge_chains_free(&state->edges);
	free(state);
}

/* ---- what is told ---- */

static void raise_to(uint64_t *value, uint64_t to)
{
	if (to > *value)
		*value = to;
}

static void told_height(struct subject_state *state, const char *line, uint64_t *values)
{
	char name[CHAIN_NAME_MAX + 1];
	uint64_t height;
	if (sscanf(line, "%64s %" SCNu64, name, &height) != 2)
		abort();
	const struct edge_chain *edge = edge_chain_find(&state->edges, name);
	if (edge == NULL)
		abort();
	raise_to(&values[edge - state->edges.items], height);
}

static void told_submitted(struct subject_state *state, const char *line)
{
	char *hex = NULL;
	uint64_t seq = strtoull(line, &hex, 10);
	size_t size = strlen(hex + 1) / 2;
	uint8_t *content = malloc(size);
	if (seq == 0 || seq > MAIN_CHAIN_ANCHORS_MAX || seq > state->submitted + 1 ||
	    content == NULL)
		abort();
	for (size_t i = 0; i < size; i++) {
		unsigned byte;
		if (sscanf(hex + 1 + 2 * i, "%2x", &byte) != 1)
			abort();
		content[i] = (uint8_t)byte;
	}
	struct content *kept = &state->contents[seq - 1];
	if (seq <= state->submitted &&
	    (kept->size != size || memcmp(kept->data, content, size) != 0)) {
		fprintf(stderr, "anchor %" PRIu64 " left twice, and differs\n", seq);
		state->broken = true;
	}
	free(seq <= state->submitted ? kept->data : NULL);
	*kept = (struct content){ content, size };
	raise_to(&state->submitted, seq);
}

static void gateway_tell(struct subject_state *state, const char *line)
{
	if (strcmp(line, "made") == 0)
		state->made = true;
	else if (strncmp(line, "next ", 5) == 0)
		told_height(state, line + 5, state->next);
	else if (strncmp(line, "anchored ", 9) == 0)
		told_height(state, line + 9, state->anchored);
	else if (strncmp(line, "commit ", 7) == 0)
		raise_to(&state->commit, strtoull(line + 7, NULL, 10));
	else if (strncmp(line, "submitted ", 10) == 0)
		told_submitted(state, line + 10);
	else if (strncmp(line, "included ", 9) == 0)
		raise_to(&state->included, strtoull(line + 9, NULL, 10));
	else
		abort();
}

/* ---- is it there? ---- */

static bool say(const char *what, const char *name, const struct err *err)
{
	fprintf(stderr, "%s: %s: %s\n", name, what, err == NULL ? "broken" : err->message);
	return false;
}

static bool headers_hold(struct spool *spool, const struct edge_chain *edge,
                         const struct spool_chain *row)
{
	struct err err;
	for (uint64_t height = row->known_from; height < row->next_height; height++) {
		struct block_header header;
		if (!spool_header(spool, &edge->key, height, &header, &err))
			return say("header", edge->id.name, &err);
		if (!hash_equal(&header.hash, &edge->headers[height].hash))
			return say("header", edge->id.name, NULL);
	}
	return true;
}

/* Every payload that is held is the edge's blocks, byte for byte. */
static bool payload_holds(struct spool *spool, const struct edge_chain *edge, uint64_t height,
                          uint64_t *out_next)
{
	struct spool_batch_info info;
	struct buffer payload = BUFFER_EMPTY;
	struct buffer raw = BUFFER_EMPTY;
	struct decompressor *decompressor;
	struct err err;
	struct bytes block;
	if (!spool_batch_payload(spool, &edge->key, height, &info, &payload, &err))
		return say("payload", edge->id.name, &err);
	if (info.codec == CODEC_NONE)
		buffer_put(&raw, buffer_bytes(&payload));
	else if (!decompressor_new(&decompressor, &err) ||
	         !decompressor_run(decompressor, buffer_bytes(&payload), NULL, info.raw_size, &raw,
	                           &err))
		return say("inflate", edge->id.name, &err);
	else
		decompressor_free(decompressor);
	struct reader reader = reader_of(buffer_bytes(&raw));
	while (batch_next_block(&reader, raw.size, &block) == 1) {
		if (height >= edge->count || !bytes_equal(block, edge->raws[height]))
			return say("a wrong block", edge->id.name, NULL);
		height++;
	}
	if (height != spool_batch_next(&info))
		return say("a batch that ends early", edge->id.name, NULL);
	buffer_fini(&payload);
	buffer_fini(&raw);
	*out_next = height;
	return true;
}

static bool chain_holds(struct spool *spool, const struct subject_state *state, size_t index)
{
	const struct edge_chain *edge = &state->edges.items[index];
	struct spool_chain row;
	struct err err;
	if (!spool_chain(spool, &edge->key, &row, &err)) {
		bool told = state->next[index] > 0 || state->anchored[index] > 0;
		return !told ? true : say("lost", edge->id.name, &err);
	}
	if (row.next_height < state->next[index] || row.anchored_next < state->anchored[index]) {
		fprintf(stderr,
		        "%s: at %" PRIu64 " and %" PRIu64 " anchored, told %" PRIu64 " and %" PRIu64
		        "\n",
		        edge->id.name, row.next_height, row.anchored_next, state->next[index],
		        state->anchored[index]);
		return false;
	}
	if (row.next_height > edge->count || !headers_hold(spool, edge, &row))
		return say("beyond the edge", edge->id.name, NULL);
	for (uint64_t height = row.held_from; height < row.next_height;) {
		if (!payload_holds(spool, edge, height, &height))
			return false;
	}
	return true;
}

/* Nothing was sent that is not intended: else it would be built anew, and sent under another key. */
static bool intents_hold(struct spool *spool, const struct subject_state *state)
{
	for (uint64_t seq = 1; seq <= state->submitted; seq++) {
		struct spool_anchor_id id = { .sink = SPOOL_SINK_MAIN, .lane = 0, .seq = seq };
		const struct content *content = &state->contents[seq - 1];
		struct spool_anchor anchor;
		struct err err;
		if (!spool_anchor(spool, &id, &anchor, &err))
			return say("an anchor that was sent", "lane", &err);
		struct hash key =
			anchor_key(anchor.alg, (struct bytes){ content->data, content->size });
		if (!hash_equal(&key, &anchor.key))
			return say("an anchor that was sent under another key", "lane", NULL);
	}
	return true;
}

static bool holds(struct spool *spool, const struct subject_state *state)
{
	struct spool_totals totals;
	struct err err;
	for (size_t i = 0; i < state->edges.count; i++) {
		if (!chain_holds(spool, state, i))
			return false;
	}
	if (!spool_totals(spool, &totals, &err))
		return say("totals", "spool", &err);
	if (totals.commit_number < state->commit)
		return say("a commit is missing", "spool", NULL);
	return intents_hold(spool, state);
}

/* ---- the check ---- */

static void print_fault(const char *line, void *arg)
{
	fprintf(stderr, "verify: %s\n", line);
}

static bool verifies(const char *dir)
{
	struct spool_verify_result result = { .fault_count = 0 };
	struct err err;
	if (!spool_verify(dir, print_fault, NULL, NULL, &result, &err))
		return say("verify", "spool", &err);
	return result.fault_count == 0;
}

/* Before "spool init" has ended there may be none, or a whole one: never half of one. */
static bool make(const struct subject_state *state, const char *dir)
{
	struct spool_create_options options = { .dir = dir, .size_bytes = 16u << 20, .now_ms = 1 };
	struct err err;
	if (state->made)
		return say("the spool is gone", dir, NULL);
	return spool_create(&options, &err) || say("init again", dir, &err);
}

static bool gateway_check(const struct subject_state *state, const char *root, uint64_t chance)
{
	char dir[1024];
	struct spool *spool;
	struct err err;
	snprintf(dir, sizeof(dir), "%.900s/spool", root);
	if (state->broken)
		return false;
	if (!spool_exists(dir) && !make(state, dir))
		return false;
	struct spool_options options = { .dir = dir, .mode = STORE_WRITE };
	if (!spool_open(&spool, &options, &err))
		return say("open", "spool", &err);
	bool good = holds(spool, state) && gateway_run_on(spool, state, chance);
	spool_close(spool);
	return good && verifies(dir);
}

const struct subject subject_gateway = {
	.name = "gateway",
	.open = gateway_open,
	.close = gateway_close,
	.tell = gateway_tell,
	.check = gateway_check,
};
