/* session_anchored.c -- anchor receipts to the agents: from the spool, a bounded number per turn.
 *
 * What an agent has not said that it knows is sent at its hello and whenever an anchor becomes final,
 * anchor by anchor, as fast as its link takes it. The anchor at hand is kept with its tree, so that an
 * anchor over many chains is hashed once and not once per chain.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "relay/base/fault_point.h"
#include "relay/base/log.h"
#include "relay/session.h"
#include "relay/sinks.h"

#define MESSAGES_PER_TURN      64
#define ENTRIES_PER_MESSAGE    32
#define OUT_QUEUED_MAX_DIVISOR 2 /* Of what one link may have queued: the rest is for acks. */

void anchor_cache_drop(struct anchor_cache *cache)
{
	free(cache->entries);
	merkle_tree_free(cache->tree);
	buffer_fini(&cache->receipt.evidence);
	buffer_fini(&cache->receipt.signature);
	buffer_fini(&cache->receipt.key_id);
	*cache = (struct anchor_cache){ .present = false };
}

static bool build_tree(struct anchor_cache *cache, struct err *err)
{
	struct hash *leaves = calloc(cache->entry_count, sizeof(*leaves));
	if (leaves == NULL)
		return err_set(err, ZR_NO_MEMORY, "%zu leaves", cache->entry_count);
	for (size_t i = 0; i < cache->entry_count; i++)
		leaves[i] = entry_leaf(cache->anchor.alg, &cache->entries[i]);
	bool ok = merkle_tree_new(&cache->tree, cache->anchor.alg, leaves, cache->entry_count, err);
	free(leaves);
	return ok;
}

bool anchor_cache_load(struct links *links, const struct spool_anchor_id *id, struct err *err)
{
	struct anchor_cache *cache = &links->cache;
	const struct spool_anchor_id *have = &cache->anchor.id;
	if (cache->present && have->sink == id->sink && have->lane == id->lane &&
	    have->seq == id->seq)
		return true;
	anchor_cache_drop(cache);
	struct spool *spool = links->options.spool;
	if (spool_anchor(spool, id, &cache->anchor, err)) {
		if (cache->anchor.state != SPOOL_ANCHOR_FINAL)
			err_set(err, ZR_STATE, "not final");
		else if (spool_anchor_entries(spool, id, &cache->entries, &cache->entry_count,
		                              err) &&
		         spool_anchor_receipt(spool, id, &cache->receipt, err) &&
		         build_tree(cache, err))
			cache->present = true;
	}
	if (!cache->present)
		anchor_cache_drop(cache);
	return cache->present;
}

void session_chain_due(struct session_chain *place)
{
	if (place->chain == NULL || place->session->state != SESSION_OPEN)
		return;
	if (place->anchored_next < place->chain->anchored_next && place->due.next == &place->due)
		list_append(&place->session->links->due, &place->due);
}

void links_anchor_final(struct links *links, const struct spool_anchor_id *id)
{
	struct err err;
	if (!anchor_cache_load(links, id, &err)) {
		log_error("anchor-unreadable", "lane=%u seq=%" PRIu64 " detail=\"%s\"", id->lane,
		          id->seq, err.message);
		return;
	}
	for (size_t i = 0; i < links->cache.entry_count; i++) {
		const struct entry *entry = &links->cache.entries[i];
		struct chain *chain = chains_by_id(links->options.chains, &entry->chain);
		if (chain == NULL)
			continue;
		if (entry->to + 1 > chain->anchored_next)
			chain->anchored_next = entry->to + 1;
		LIST_FOR_EACH (node, &chain->carriers)
			session_chain_due(LIST_ENTRY(node, struct session_chain, node));
	}
}

/* ---- one message ---- */

struct message {
	Zonerelay__Link__Anchored anchored;
	size_t count;
	Zonerelay__Link__AnchoredEntry entries[ENTRIES_PER_MESSAGE];
	Zonerelay__Link__AnchoredEntry *pointers[ENTRIES_PER_MESSAGE];
	struct merkle_path paths[ENTRIES_PER_MESSAGE];
	ProtobufCBinaryData nodes[ENTRIES_PER_MESSAGE][MERKLE_PATH_MAX];
};

/* The next anchor that place should hear of. False: none that is final. */
static bool next_coverage(struct links *links, struct session_chain *place,
                          struct spool_coverage *out_coverage)
{
	return place->anchored_next < place->chain->anchored_next &&
	       spool_anchor_of(links->options.spool, SPOOL_SINK_MAIN, &place->chain->key,
	                       place->anchored_next, out_coverage, NULL);
}

static bool same_anchor(const struct spool_anchor_id *a, const struct spool_anchor_id *b)
{
	return a->sink == b->sink && a->lane == b->lane && a->seq == b->seq;
}

static void add_entry(struct message *message, const struct anchor_cache *cache,
                      struct session_chain *place, const struct spool_coverage *coverage)
{
	size_t at = message->count++;
	merkle_tree_path(cache->tree, coverage->entry_index, &message->paths[at]);
	anchored_entry_fill(&cache->entries[coverage->entry_index], &message->paths[at],
	                    message->nodes[at], &message->entries[at]);
	message->entries[at].chain = place->place;
	message->pointers[at] = &message->entries[at];
	place->anchored_next = coverage->to + 1;
}

static ProtobufCBinaryData data_of(const struct buffer *buffer)
{
	return (ProtobufCBinaryData){ buffer->size, buffer->data };
}

static void send_message(struct links *links, struct session *session, struct message *message)
{
	struct anchor_cache *cache = &links->cache;
	Zonerelay__Link__Anchored *anchored = &message->anchored;
	Zonerelay__Link__Frame frame = ZONERELAY__LINK__FRAME__INIT;
	zonerelay__link__anchored__init(anchored);
	anchored->hash_alg = cache->anchor.alg;
	anchored->lane = cache->anchor.id.lane;
	anchored->seq = cache->anchor.id.seq;
	anchored->root = (ProtobufCBinaryData){ HASH_SIZE, cache->anchor.root.bytes };
	anchored->key = (ProtobufCBinaryData){ HASH_SIZE, cache->anchor.key.bytes };
	anchored->time_ms = cache->receipt.final_ms;
	anchored->evidence = data_of(&cache->receipt.evidence);
	anchored->sink = (char *)(uintptr_t)links->options.config->gateway.main_chain.adapter;
	anchored->signature = data_of(&cache->receipt.signature);
	anchored->key_id = data_of(&cache->receipt.key_id);
	anchored->n_entries = message->count;
	anchored->entries = message->pointers;
	frame.body_case = BODY(ANCHORED);
	frame.anchored = anchored;
	session_send(session, &frame);
	FAULT_POINT(ANCHORED_SENT);
	links->options.counters->anchored_sent++;
}

/* An adopted anchor, or one whose receipt is gone, cannot be shown: pass over it. */
static void pass_over(struct session_chain *place, const struct spool_coverage *coverage,
                      const struct err *err)
{
	log_warn("anchor-not-shown", "chain=%s to=%" PRIu64 " detail=\"%s\"", place->chain->id.name,
	         coverage->to, err->message);
	place->anchored_next = coverage->to + 1;
}

/* One message for the session of place: its next anchor, with every chain of that session whose next
 * one it is too. */
static void send_next(struct links *links, struct session_chain *place)
{
	struct session *session = place->session;
	struct spool_coverage coverage;
	struct err err;
	if (!next_coverage(links, place, &coverage))
		return;
	const struct spool_anchor_id id = coverage.id;
	if (!anchor_cache_load(links, &id, &err)) {
		pass_over(place, &coverage, &err);
		session_chain_due(place);
		return;
	}
	struct message *message = calloc(1, sizeof(*message));
	if (message == NULL)
		return; /* The next final anchor, or the next hello, brings it up again. */
	add_entry(message, &links->cache, place, &coverage);
	session_chain_due(place);
	for (size_t i = 0; i < session->chain_count && message->count < ENTRIES_PER_MESSAGE; i++) {
		struct session_chain *other = &session->chains[i];
		if (other->due.next == &other->due || !next_coverage(links, other, &coverage) ||
		    !same_anchor(&coverage.id, &id))
			continue;
		add_entry(message, &links->cache, other, &coverage);
		list_remove(&other->due);
		session_chain_due(other);
	}
	send_message(links, session, message);
	free(message);
}

bool links_send_anchored(struct links *links)
{
	size_t out_max = links->options.config->gateway.limits.link_out_bytes;
	struct list_node waiting;
	list_init(&waiting);
	struct list_node *node;
	for (unsigned count = 0;
	     count < MESSAGES_PER_TURN && (node = list_pop(&links->due)) != NULL; count++) {
		struct session_chain *place = LIST_ENTRY(node, struct session_chain, due);
		if (conn_out_queued(place->session->conn) > out_max / OUT_QUEUED_MAX_DIVISOR)
			list_append(&waiting, node);
		else
			send_next(links, place);
	}
	bool more = !list_is_empty(&links->due);
	while ((node = list_pop(&waiting)) != NULL)
		list_append(&links->due, node);
	return more;
}
