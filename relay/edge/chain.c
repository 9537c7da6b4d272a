/* chain.c -- one chain of the agent: its store, its source, its batches, what may be pruned. */
#include <assert.h>
#include <dirent.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "relay/base/fault_point.h"
#include "relay/base/file.h"
#include "relay/base/log.h"
#include "relay/edge/agent.h"

#define BUILD_RETRY_MS    5000
#define ROOM_LOOK_MS      5000 /* Between two looks at how full a store is. */
#define RECEIPTS_SLICE    256
#define RECEIPTS_KEPT_MIN 100 /* Blocks whose receipts stay, however full it is. */

static void wake_agent(void *arg)
{
	struct agent *agent = arg;
	for (size_t i = 0; i < agent->chain_count; i++)
		agent->chains[i].source_wake_ms = 0; /* Whichever it was: a look costs little. */
	agent_wake(agent);
}

/* A ledger has a store of its own, made at the first start. */
static bool open_store(struct edge_chain *chain, struct agent *agent, struct err *err)
{
	const struct edge_source_config *source = &chain->config->source;
	chain->store = agent->state;
	if (source->type != EDGE_SOURCE_LEDGER)
		return true;
	chain->store = NULL;
	int64_t now_ms = clock_wall_ms(&agent->clock.clock);
	if (!store_exists(source->dir) &&
	    !agent_store_create(source->dir, source->size_bytes, now_ms, err))
		return false;
	chain->owns_store = true;
	return agent_store_open(&chain->store, source->dir, STORE_WRITE, source->size_bytes, err);
}

static bool read_trusted(struct edge_chain *chain, struct err *err)
{
	const struct edge_chain_config *config = chain->config;
	if (config->main_chain_trusted == NULL)
		return true;
	chain->evidence_check = mainchain_evidence_find(config->main_chain_adapter);
	if (chain->evidence_check == NULL)
		return err_set(err, ZR_INVALID, "no main-chain adapter %s",
		               config->main_chain_adapter);
	return mainchain_trusted_read(&config->main_chain_trusted, 1, &chain->trusted, err);
}

bool edge_chain_open(struct edge_chain *chain, struct agent *agent,
                     const struct edge_chain_config *config, struct err *err)
{
	chain->config = config;
	chain->format = sidechain_find(config->format);
	if (chain->format == NULL)
		return err_set(err, ZR_INVALID, "chain %s: no format %s", config->name,
		               config->format);
	if (!read_trusted(chain, err) || !open_store(chain, agent, err))
		return err_wrap(err, "chain %s", config->name);
	struct source_context context = {
		.config = config,
		.state_dir = agent->config->edge.state_dir,
		.block_max_bytes = (size_t)agent->config->edge.block_bytes,
		.store = chain->store,
		.base = agent->base,
		.clock = &agent->clock.clock,
		.wake = wake_agent,
		.wake_arg = agent,
	};
	return source_open(&chain->source, &context, err) && edge_chain_refresh(chain, err);
}

void edge_chain_close(struct edge_chain *chain)
{
	source_close(chain->source);
	if (chain->owns_store)
		agent_store_close(chain->store);
	buffer_fini(&chain->custody.receipt);
	buffer_fini(&chain->trusted);
}

bool edge_chain_refresh(struct edge_chain *chain, struct err *err)
{
	return agent_chain(chain->store, &chain->source->key, &chain->facts, err);
}

bool edge_chain_header(struct agent *agent, struct edge_chain *chain, uint64_t height,
                       struct block_header *out_header)
{
	struct agent_range range = { .chain = chain->source->key, .from = height, .to = height };
	struct err err;
	size_t count = 0;
	if (!agent_headers(chain->store, &range, out_header, 1, &count, &err)) {
		agent_fail(agent, &err);
		return false;
	}
	return count == 1;
}

/* ---- batches ---- */

enum taken { TAKEN, TAKEN_ENOUGH, TAKEN_NOT, TAKEN_TOO_LARGE };

/* Puts one block into the batch, if it fits and is the one that was verified. */
static enum taken take_block(struct agent *agent, struct edge_chain *chain,
                             const struct upload_action *action, uint64_t height,
                             struct block_header *out_header)
{
	struct buffer block = BUFFER_EMPTY;
	struct block read;
	struct err err;
	enum taken taken = TAKEN_NOT;
	if (!edge_chain_header(agent, chain, height, out_header))
		return TAKEN_NOT;
	if (!source_read(chain->source, height, &block, &err)) {
		log_warn("block-unreadable", "chain=%s height=%" PRIu64 " detail=\"%s\"",
		         chain->config->name, height, err.message);
		if (err_fate(err.code) == ERR_STOP)
			agent_fail(agent, &err);
	} else if (block.size > action->block_max_bytes) {
		taken = TAKEN_TOO_LARGE;
	} else if (agent->raw.size > 0 && agent->raw.size + 4 + block.size > action->bytes_max) {
		taken = TAKEN_ENOUGH;
	} else if (!chain->format->read(buffer_bytes(&block), &read, &err) ||
	           !hash_equal(&read.header.hash, &out_header->hash)) {
		log_error("block-changed", "chain=%s height=%" PRIu64, chain->config->name, height);
	} else {
		batch_put_block(&agent->raw, buffer_bytes(&block));
		taken = buffer_ok(&agent->raw, &err) ? TAKEN : TAKEN_NOT;
	}
	buffer_fini(&block);
	return taken;
}

static bool compress(struct agent *agent, struct edge_chain *chain, struct upload_batch *batch,
                     struct err *err)
{
	struct dictionary *dictionary = NULL;
	if (!chain->dictionary_refused)
		dictionary = edge_dictionary(agent, &chain->dictionary);
	buffer_clear(&agent->outbox);
	if (!compressor_run(agent->compressor, buffer_bytes(&agent->raw), dictionary,
	                    &agent->outbox, err))
		return false;
	agent->outbox_dictionary = (struct hash){ { 0 } };
	if (dictionary != NULL)
		agent->outbox_dictionary = *dictionary_hash(dictionary);
	batch->raw_size = agent->raw.size;
	batch->size = agent->outbox.size;
	batch->content = sha256(buffer_bytes(&agent->outbox));
	return true;
}

void edge_chain_build(struct agent *agent, const struct upload_action *action)
{
	struct edge_chain *chain = &agent->chains[action->chain];
	struct upload_batch batch = { .from = action->from };
	struct err err;
	uint64_t count = 0;
	enum taken taken = TAKEN;
	buffer_clear(&agent->raw);
	while (count < action->count_max && agent->raw.size < action->bytes_max) {
		struct block_header header;
		taken = take_block(agent, chain, action, action->from + count, &header);
		if (taken != TAKEN)
			break;
		batch.tip = header.hash;
		count++;
	}
	if (count == 0 && taken == TAKEN_TOO_LARGE) {
		log_error("block-too-large", "chain=%s height=%" PRIu64 " limit=%" PRIu64,
		          chain->config->name, action->from, action->block_max_bytes);
		upload_hold(agent->upload, action->chain, HOLD_TOO_LARGE);
		return;
	}
	batch.to = action->from + count - 1;
	if (count == 0 || !compress(agent, chain, &batch, &err)) {
		upload_not_built(agent->upload, BUILD_RETRY_MS);
		return;
	}
	FAULT_POINT(BATCH_BUILT);
	upload_built(agent->upload, &batch);
	buffer_fini(&agent->raw); /* A large batch now and then must not keep its memory. */
}

/* ---- what is kept and what goes ---- */

static bool keep_custody(struct edge_chain *chain, struct err *err)
{
	struct custody_news *news = &chain->custody;
	if (!news->waiting)
		return true;
	FAULT_POINT(CUSTODY_KEEPING);
	if (!agent_custody_put(chain->store, &chain->source->key, &news->custody,
	                       buffer_bytes(&news->receipt), err)) {
		/* A full disk: it waits, and a newer one takes its place. */
		if (err_fate(err->code) != ERR_STOP && !news->told)
			log_warn("receipt-not-kept", "chain=%s detail=\"%s\"", chain->config->name,
			         err->message);
		news->told = true;
		return err_fate(err->code) != ERR_STOP;
	}
	news->waiting = news->told = false;
	FAULT_POINT(CUSTODY_KEPT);
	return edge_chain_refresh(chain, err);
}

uint64_t edge_chain_prunable(const struct edge_chain *chain)
{
	switch (chain->config->prune) {
	case EDGE_PRUNE_DURABLE:
		return chain->facts.durable_next;
	case EDGE_PRUNE_ANCHORED:
		return chain->facts.anchored_next;
	case EDGE_PRUNE_NEVER:
		break;
	}
	return 0;
}

/* A store that is nearly full loses the oldest receipts rather than the ability to go on: gateway and
 * main chain still have them. Where nothing may ever be pruned, a full ledger is the operator's wish. */
static bool drop_receipts(struct edge_chain *chain, int64_t now_ms, struct err *err)
{
	struct store_stats stats;
	bool more = false;
	bool kept_for_ever = chain->owns_store && chain->config->prune == EDGE_PRUNE_NEVER;
	if (kept_for_ever || now_ms < chain->room_look_ms)
		return true;
	chain->room_look_ms = now_ms + ROOM_LOOK_MS;
	if (!store_stats(agent_store_base(chain->store), &stats, err))
		return false;
	if (stats.pages_file - stats.pages_free < stats.pages_limit / 4 * 3)
		return true;
	uint64_t below = chain->facts.anchored_next;
	uint64_t kept = below > RECEIPTS_KEPT_MIN ? below - RECEIPTS_KEPT_MIN : 0;
	if (kept == 0)
		return true;
	if (!agent_prune_receipts(chain->store, &chain->source->key, kept, RECEIPTS_SLICE, &more,
	                          err))
		return err_fate(err->code) != ERR_STOP;
	if (more)
		chain->room_look_ms = now_ms;
	log_warn("receipts-dropped",
	         "chain=%s below=%" PRIu64 " detail=\"the store is nearly full\"",
	         chain->config->name, kept);
	return edge_chain_refresh(chain, err);
}

bool edge_chain_keep(struct edge_chain *chain, int64_t now_ms, struct err *err)
{
	if (!keep_custody(chain, err) || !drop_receipts(chain, now_ms, err))
		return false;
	uint64_t below = edge_chain_prunable(chain);
	if (below <= chain->pruned_below && !chain->pruning)
		return true;
	chain->pruned_below = below;
	FAULT_POINT(SOURCE_PRUNING);
	if (!chain->source->ops->prune(chain->source, below, &chain->pruning, err)) {
		chain->pruning = true; /* A full disk: again next time. */
		if (err_fate(err->code) == ERR_STOP)
			return false;
		log_warn("prune-failed", "chain=%s detail=\"%s\"", chain->config->name,
		         err->message);
		chain->pruning = false;
		chain->pruned_below = 0;
		return true;
	}
	FAULT_POINT(SOURCE_PRUNED);
	return edge_chain_refresh(chain, err);
}

/* ---- dictionaries ---- */

struct dictionary *edge_dictionary(const struct agent *agent, const struct hash *hash)
{
	for (size_t i = 0; i < agent->dictionaries.count; i++) {
		struct dictionary *dictionary = agent->dictionaries.items[i];
		if (hash_equal(dictionary_hash(dictionary), hash))
			return dictionary;
	}
	return NULL;
}

bool edge_dictionary_add(struct agent *agent, struct bytes bytes, struct err *err)
{
	struct dictionaries *held = &agent->dictionaries;
	struct hash hash = sha256(bytes);
	if (edge_dictionary(agent, &hash) != NULL)
		return true;
	if (held->count == DICTIONARIES_MAX)
		return err_set(err, ZR_FULL, "more than %d dictionaries", DICTIONARIES_MAX);
	if (!dictionary_new(&held->items[held->count], bytes,
	                    (int)agent->config->edge.batch.compression_level, err))
		return false;
	held->count++;
	return true;
}

static void load_file(struct agent *agent, const char *path)
{
	struct buffer bytes = BUFFER_EMPTY;
	struct err err;
	if (!file_read(path, DICTIONARY_SIZE_MAX, &bytes, &err) ||
	    !edge_dictionary_add(agent, buffer_bytes(&bytes), &err))
		log_warn("dictionary-unusable", "path=%s detail=\"%s\"", path, err.message);
	buffer_fini(&bytes);
}

/* Those of the configuration, and those that were fetched: <state>/<hash>.dict. */
void edge_dictionaries_load(struct agent *agent)
{
	for (size_t i = 0; i < agent->config->edge.chain_count; i++) {
		const struct config_list *files = &agent->config->edge.chains[i].dictionaries;
		for (size_t j = 0; j < files->count; j++)
			load_file(agent, files->items[j]);
	}
	DIR *directory = opendir(agent->config->edge.state_dir);
	if (directory == NULL)
		return;
	for (struct dirent *entry = readdir(directory); entry != NULL; entry = readdir(directory)) {
		size_t size = strlen(entry->d_name);
		char path[4096];
		if (size != 2 * HASH_SIZE + 5 || strcmp(entry->d_name + size - 5, ".dict") != 0)
			continue;
		int written = snprintf(path, sizeof(path), "%s/%s", agent->config->edge.state_dir,
		                       entry->d_name);
		if (written > 0 && (size_t)written < sizeof(path))
			load_file(agent, path);
	}
	closedir(directory);
}
