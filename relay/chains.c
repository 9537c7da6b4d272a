/* chains.c -- see chains.h. */
#include "relay/chains.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BUCKET_COUNT 16384 /* A power of two. */

struct chains {
	struct spool *spool;         /* Kept. */
	const struct config *config; /* Kept. */
	struct list_node recent;     /* Chains with loaded trust sets, used longest ago first. */
	size_t trust_chain_count;
	size_t count;
	struct list_node buckets[BUCKET_COUNT];
};

bool chains_new(struct chains **out_chains, struct spool *spool, const struct config *config,
                struct err *err)
{
	struct chains *chains = calloc(1, sizeof(*chains));
	if (chains == NULL)
		return err_set(err, ZR_NO_MEMORY, "chains");
	chains->spool = spool;
	chains->config = config;
	list_init(&chains->recent);
	for (size_t i = 0; i < BUCKET_COUNT; i++)
		list_init(&chains->buckets[i]);
	*out_chains = chains;
	return true;
}

static struct list_node *bucket_of(struct chains *chains, const char *name)
{
	uint32_t value = crc32c(0, bytes_of_string(name));
	return &chains->buckets[value & (BUCKET_COUNT - 1)];
}

/* ---- trust ---- */

static void held_free(const struct chain *chain, struct held_trust *held)
{
	list_remove(&held->node);
	chain->format->trust_free(held->trust);
	free(held);
}

static void drop_trusts(struct chains *chains, struct chain *chain)
{
	if (list_is_empty(&chain->trusts))
		return;
	LIST_FOR_EACH (node, &chain->trusts)
		held_free(chain, LIST_ENTRY(node, struct held_trust, node));
	list_remove(&chain->recent);
	chains->trust_chain_count--;
}

static struct held_trust *in_force(const struct chain *chain)
{
	LIST_FOR_EACH (node, &chain->trusts) {
		struct held_trust *held = LIST_ENTRY(node, struct held_trust, node);
		if (held->from == chain->admission.trust_from)
			return held;
	}
	return NULL;
}

bool chain_add_trust(struct chain *chain, struct trust *take_trust, uint64_t from, struct err *err)
{
	struct held_trust *held = calloc(1, sizeof(*held));
	if (held == NULL)
		return err_set(err, ZR_NO_MEMORY, "trust set");
	held->trust = take_trust;
	held->from = from;
	/* Found before one from the same height on whose batch was not stored, and which a worker
	 * may still be reading. */
	list_add_after(&chain->trusts, &held->node);
	return true;
}

void chain_settle_trust(struct chain *chain)
{
	assert(list_is_empty(&chain->pipeline));
	LIST_FOR_EACH (node, &chain->trusts) {
		struct held_trust *held = LIST_ENTRY(node, struct held_trust, node);
		if (held->from != chain->admission.trust_from)
			held_free(chain, held);
	}
}

void chain_forget_trust(struct chains *chains, struct chain *chain)
{
	assert(list_is_empty(&chain->pipeline));
	drop_trusts(chains, chain);
}

/* Those used longest ago, of chains with nothing under way, make room. */
static void shrink(struct chains *chains)
{
	LIST_FOR_EACH (node, &chains->recent) {
		if (chains->trust_chain_count < TRUST_CACHE_CHAINS)
			break;
		struct chain *chain = LIST_ENTRY(node, struct chain, recent);
		if (list_is_empty(&chain->pipeline))
			drop_trusts(chains, chain);
	}
}

bool chain_trust_at(struct chains *chains, const struct chain *chain, uint64_t height,
                    struct trust **out_trust, struct err *err)
{
	struct buffer saved = BUFFER_EMPTY;
	uint64_t from;
	bool ok = spool_trust_at(chains->spool, &chain->key, height, &saved, &from, err) &&
	          chain->format->trust_load(buffer_bytes(&saved), out_trust, err);
	buffer_fini(&saved);
	return ok || err_wrap(err, "trust set of %s", chain->id.name);
}

bool chain_trust(struct chains *chains, struct chain *chain, const struct trust **out_trust,
                 struct err *err)
{
	struct held_trust *held = in_force(chain);
	if (held == NULL) {
		/* What is not in memory is what is durable: newer ones came with batches under way. */
		assert(chain->admission.trust_from == chain->durable_trust_from);
		struct trust *trust;
		if (!chain_trust_at(chains, chain, chain->admission.durable.next_height, &trust,
		                    err))
			return false;
		bool first = list_is_empty(&chain->trusts);
		if (!chain_add_trust(chain, trust, chain->admission.trust_from, err)) {
			chain->format->trust_free(trust);
			return false;
		}
		if (first) {
			shrink(chains);
			chains->trust_chain_count++;
			list_append(&chains->recent, &chain->recent);
		}
		held = in_force(chain);
	} else {
		list_remove(&chain->recent);
		list_append(&chains->recent, &chain->recent);
	}
	*out_trust = held->trust;
	return true;
}

/* ---- the table ---- */

static void take_row(struct chain *chain, const struct spool_chain *row)
{
	if (!chain->loss_unsaved) {
		chain->state = row->state;
		(void)snprintf(chain->state_reason, sizeof(chain->state_reason), "%s",
		               row->state_reason);
	}
	chain->anchored_next = row->anchored_next;
	chain->held_bytes = row->held_bytes;
	chain->held_from = row->held_from;
	if (!list_is_empty(&chain->pipeline))
		return;
	chain->durable_trust_from = row->trust_from;
	admission_init(&chain->admission, (struct walk_position){ row->next_height, row->tip },
	               row->trust_from);
}

static void chain_free(struct chains *chains, struct partials *partials, struct chain *chain)
{
	assert(list_is_empty(&chain->pipeline) && list_is_empty(&chain->carriers));
	drop_trusts(chains, chain);
	partial_drop(partials, &chain->partial);
	list_remove(&chain->node);
	chains->count--;
	free(chain);
}

void chains_free(struct chains *chains, struct partials *partials)
{
	if (chains == NULL)
		return;
	for (size_t i = 0; i < BUCKET_COUNT; i++) {
		LIST_FOR_EACH (node, &chains->buckets[i])
			chain_free(chains, partials, LIST_ENTRY(node, struct chain, node));
	}
	free(chains);
}

static bool load(struct chains *chains, const struct chain_id *id, struct chain **out_chain,
                 struct err *err)
{
	struct chain_key key = chain_key(id);
	struct spool_chain row;
	if (!spool_chain(chains->spool, &key, &row, err)) {
		struct spool_chain other;
		if (err->code == ZR_STATE &&
		    spool_chain_by_name(chains->spool, id->name, &other, NULL)) {
			char hex[HASH_HEX_SIZE];
			return err_set(err, ZR_STATE,
			               "another genesis is enrolled under that name (%.16s...): "
			               "\"zonerelay chains renew %s\" admits a new one",
			               hash_hex(&other.id.epoch, hex), id->name);
		}
		return false;
	}
	const struct sidechain *format = sidechain_find(row.format);
	if (format == NULL)
		return err_set(err, ZR_INVALID, "format %s is not known to this program",
		               row.format);
	struct chain *chain = calloc(1, sizeof(*chain));
	if (chain == NULL)
		return err_set(err, ZR_NO_MEMORY, "chain");
	chain->id = row.id;
	chain->key = row.key;
	chain->format = format;
	list_init(&chain->trusts);
	list_init(&chain->recent);
	list_init(&chain->pipeline);
	list_init(&chain->carriers);
	partial_init(&chain->partial);
	take_row(chain, &row);
	list_append(bucket_of(chains, id->name), &chain->node);
	chains->count++;
	*out_chain = chain;
	return true;
}

static struct chain *in_memory(struct chains *chains, const char *name, const struct hash *epoch)
{
	LIST_FOR_EACH (node, bucket_of(chains, name)) {
		struct chain *chain = LIST_ENTRY(node, struct chain, node);
		if (strcmp(chain->id.name, name) == 0 &&
		    (epoch == NULL || hash_equal(&chain->id.epoch, epoch)))
			return chain;
	}
	return NULL;
}

bool chains_find(struct chains *chains, const char *name, const struct hash *epoch,
                 struct chain **out_chain, struct err *err)
{
	const struct chain_config *config = config_chain(chains->config, name);
	if (config == NULL || !chain_name_valid(name))
		return err_set(err, ZR_STATE, "no such chain in the zone file");
	struct chain *chain = in_memory(chains, name, epoch);
	if (chain == NULL) {
		struct chain_id id = { .epoch = *epoch };
		(void)snprintf(id.name, sizeof(id.name), "%s", name);
		if (!load(chains, &id, &chain, err))
			return false;
	}
	chain->config = config;
	*out_chain = chain;
	return true;
}

struct chain *chains_by_name(struct chains *chains, const char *name)
{
	return in_memory(chains, name, NULL);
}

struct chain *chains_by_id(struct chains *chains, const struct chain_id *id)
{
	return in_memory(chains, id->name, &id->epoch);
}

struct chain *chains_by_key(struct chains *chains, const struct chain_key *key)
{
	for (struct chain *chain = chains_next(chains, NULL); chain != NULL;
	     chain = chains_next(chains, chain)) {
		if (chain_key_equal(&chain->key, key))
			return chain;
	}
	return NULL;
}

struct chain *chains_next(struct chains *chains, const struct chain *after)
{
	size_t index = 0;
	if (after != NULL) {
		const struct list_node *bucket = bucket_of(chains, after->id.name);
		if (after->node.next != bucket)
			return LIST_ENTRY(after->node.next, struct chain, node);
		index = (size_t)(bucket - chains->buckets) + 1;
	}
	for (; index < BUCKET_COUNT; index++) {
		if (!list_is_empty(&chains->buckets[index]))
			return LIST_ENTRY(chains->buckets[index].next, struct chain, node);
	}
	return NULL;
}

size_t chains_count(const struct chains *chains)
{
	return chains->count;
}

size_t chains_trust_count(const struct chains *chains)
{
	return chains->trust_chain_count;
}

bool chain_refresh(struct chains *chains, struct chain *chain, struct err *err)
{
	struct spool_chain row;
	if (!spool_chain(chains->spool, &chain->key, &row, err))
		return false;
	if (list_is_empty(&chain->pipeline) && row.trust_from != chain->durable_trust_from)
		drop_trusts(chains, chain);
	take_row(chain, &row);
	return true;
}

void chains_set_config(struct chains *chains, const struct config *config)
{
	chains->config = config;
	for (struct chain *chain = chains_next(chains, NULL); chain != NULL;
	     chain = chains_next(chains, chain))
		chain->config = config_chain(config, chain->id.name);
}

uint64_t chain_pending_bytes(const struct chain *chain)
{
	uint64_t next = chain->admission.durable.next_height;
	if (chain->held_from >= next || chain->anchored_next >= next)
		return 0;
	double held = (double)(next - chain->held_from);
	double pending = (double)(next - chain->anchored_next);
	return pending >= held ? chain->held_bytes
	                       : (uint64_t)((double)chain->held_bytes * pending / held);
}

bool chain_takes(const struct chain *chain, const char **out_why)
{
	if (chain->config == NULL)
		*out_why = "not in the zone file any more";
	else if (!chain->config->enabled)
		*out_why = "disabled in the zone file";
	else if (chain->state != SPOOL_CHAIN_ACTIVE)
		*out_why = chain->state_reason;
	else
		return true;
	return false;
}
