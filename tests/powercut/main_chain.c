/* main_chain.c -- see main_chain.h. */
#include "tests/powercut/main_chain.h"

#include <dirent.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "adapters/sidechain.h"
#include "proto/compress.h"
#include "relay/base/file.h"

#define FILE_MAX (256u << 20)

static void must(bool good, const struct err *err)
{
	if (good)
		return;
	fprintf(stderr, "powercut: %s\n", err->message);
	abort();
}

/* ---- the side chains ---- */

static void add_block(struct edge_chain *chain, const struct sidechain *format, struct bytes raw)
{
	struct block block;
	struct err err;
	must(format->read(raw, &block, &err), &err);
	chain->headers =
		reallocarray(chain->headers, (size_t)chain->count + 1, sizeof(*chain->headers));
	chain->raws = reallocarray(chain->raws, (size_t)chain->count + 1, sizeof(*chain->raws));
	if (chain->headers == NULL || chain->raws == NULL)
		abort();
	chain->headers[chain->count] = block.header;
	chain->raws[chain->count++] = raw;
}

static void load_chain(struct edge_chain *chain, const char *folder, const char *file)
{
	char path[1024];
	struct err err;
	struct bytes raw;
	const struct sidechain *format = sidechain_find("ledger");
	*chain = (struct edge_chain){ .file = BUFFER_EMPTY };
	snprintf(path, sizeof(path), "%.700s/%.255s", folder, file);
	must(file_read(path, FILE_MAX, &chain->file, &err), &err);
	struct reader reader = reader_of(buffer_bytes(&chain->file));
	while (batch_next_block(&reader, 16u << 20, &raw) == 1)
		add_block(chain, format, raw);
	if (chain->count == 0)
		abort();
	snprintf(chain->id.name, sizeof(chain->id.name), "%.*s",
	         (int)(strlen(file) - strlen(".blocks")), file);
	chain->id.epoch = chain->headers[0].hash;
	chain->key = chain_key(&chain->id);
}

void edge_chains_load(struct edge_chains *chains, const char *folder)
{
	DIR *dir = opendir(folder);
	chains->count = 0;
	if (dir == NULL)
		abort();
	for (struct dirent *entry; (entry = readdir(dir)) != NULL;) {
		const char *dot = strrchr(entry->d_name, '.');
		if (dot == NULL || strcmp(dot, ".blocks") != 0)
			continue;
		if (chains->count == EDGE_CHAINS_MAX)
			abort();
		load_chain(&chains->items[chains->count++], folder, entry->d_name);
	}
	closedir(dir);
}

void edge_chains_free(struct edge_chains *chains)
{
	for (size_t i = 0; i < chains->count; i++) {
		free(chains->items[i].headers);
		free(chains->items[i].raws);
		buffer_fini(&chains->items[i].file);
	}
}

const struct edge_chain *edge_chain_find(const struct edge_chains *chains, const char *name)
{
	for (size_t i = 0; i < chains->count; i++) {
		if (strcmp(chains->items[i].id.name, name) == 0)
			return &chains->items[i];
	}
	return NULL;
}

/* ---- the main chain ---- */

void main_chain_init(struct main_chain *chain, const struct edge_chains *edges)
{
	memset(chain, 0, sizeof(*chain));
	chain->edges = edges;
	chain->height = 1;
}

static bool violation(struct main_chain *chain, uint64_t seq, const char *name, const char *what)
{
	fprintf(stderr, "main chain: anchor %" PRIu64 ", %s: %s\n", seq, name, what);
	chain->violated = true;
	return false;
}

static bool admit_entry(struct main_chain *chain, uint64_t seq, const struct entry *entry)
{
	const struct edge_chain *edge = edge_chain_find(chain->edges, entry->chain.name);
	if (edge == NULL || !chain_id_equal(&edge->id, &entry->chain))
		return violation(chain, seq, entry->chain.name, "no such chain");
	uint64_t *covered = &chain->covered[edge - chain->edges->items];
	if (entry->from < *covered)
		return violation(chain, seq, entry->chain.name, "anchored twice");
	if (entry->from > *covered)
		return violation(chain, seq, entry->chain.name, "a hole");
	if (entry->to >= edge->count || !hash_equal(&edge->headers[entry->to].hash, &entry->tip))
		return violation(chain, seq, entry->chain.name, "not what the edge has");
	struct err err;
	if (!entry_check_headers(HASH_SHA256, entry, &edge->headers[entry->from],
	                         (size_t)(entry->to - entry->from + 1), &err))
		return violation(chain, seq, entry->chain.name, err.message);
	*covered = entry->to + 1;
	return true;
}

static const struct main_anchor *find(const struct main_chain *chain, const struct hash *key)
{
	for (uint64_t i = chain->count; i > 0; i--) {
		if (hash_equal(&chain->anchors[i - 1].key, key))
			return &chain->anchors[i - 1];
	}
	return NULL;
}

static void record(struct main_chain *chain, const struct anchor *anchor, const struct hash *key,
                   struct mainchain_answer *answer)
{
	static const struct hash none;
	const struct hash *head = chain->count > 0 ? &chain->anchors[chain->count - 1].root : &none;
	if (anchor->seq != chain->count + 1 || !hash_equal(&anchor->previous, head)) {
		answer->outcome = MAINCHAIN_REJECTED;
		answer->reject = MAINCHAIN_REJECT_PREVIOUS;
		return;
	}
	for (size_t i = 0; i < anchor->entry_count; i++) {
		if (!admit_entry(chain, anchor->seq, &anchor->entries[i])) {
			answer->outcome = MAINCHAIN_REJECTED;
			answer->reject = MAINCHAIN_REJECT_CONTENT;
			return;
		}
	}
	if (chain->count == MAIN_CHAIN_ANCHORS_MAX)
		abort();
	chain->anchors[chain->count++] = (struct main_anchor){ anchor->root, *key };
	answer->outcome = MAINCHAIN_INCLUDED;
}

static void begin_answer(struct main_chain *chain, enum mainchain_call call,
                         struct mainchain_answer *answer)
{
	*answer = (struct mainchain_answer){ .call = call,
		                             .outcome = MAINCHAIN_OK,
		                             .entry_index = -1,
		                             .fence = chain->fence,
		                             .height = ++chain->height };
}

void main_chain_submit(struct main_chain *chain, uint64_t fence, struct bytes content,
                       struct mainchain_answer *answer)
{
	struct anchor_decoded *decoded;
	struct err err;
	begin_answer(chain, MAINCHAIN_SUBMIT, answer);
	if (!anchor_content_decode(content, &decoded, &err)) {
		violation(chain, 0, "-", err.message);
		answer->outcome = MAINCHAIN_REJECTED;
		answer->reject = MAINCHAIN_REJECT_CONTENT;
		return;
	}
	const struct anchor *anchor = anchor_decoded_view(decoded);
	struct hash key = anchor_key(anchor->alg, content);
	if (find(chain, &key) != NULL)
		answer->outcome = MAINCHAIN_INCLUDED;
	else if (fence != chain->fence)
		answer->outcome = MAINCHAIN_FENCED;
	else
		record(chain, anchor, &key, answer);
	anchor_decoded_free(decoded);
}

void main_chain_lookup(struct main_chain *chain, const struct hash *key,
                       struct mainchain_answer *answer)
{
	begin_answer(chain, MAINCHAIN_LOOKUP, answer);
	answer->outcome = find(chain, key) != NULL ? MAINCHAIN_FINAL : MAINCHAIN_ABSENT;
	answer->evidence = BYTES_LITERAL("evidence");
}

void main_chain_head(struct main_chain *chain, struct mainchain_answer *answer)
{
	begin_answer(chain, MAINCHAIN_HEAD, answer);
	answer->seq = chain->count;
	if (chain->count > 0) {
		answer->root = chain->anchors[chain->count - 1].root;
		answer->key = chain->anchors[chain->count - 1].key;
	}
}

void main_chain_fence(struct main_chain *chain, uint64_t expected, struct mainchain_answer *answer)
{
	begin_answer(chain, MAINCHAIN_FENCE, answer);
	if (expected == chain->fence)
		answer->fence = ++chain->fence;
	else
		answer->outcome = MAINCHAIN_FENCED;
}
