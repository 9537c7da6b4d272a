/* views.c -- see views.h. */
#include "relay/views.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SLICE 64 /* Rows read in one read transaction. */

json_t *view_hash(const struct hash *hash)
{
	char hex[HASH_HEX_SIZE];
	return json_string(hash_hex(hash, hex));
}

json_t *view_time(int64_t time_ms)
{
	return json_integer(time_ms);
}

static json_t *number(uint64_t value)
{
	return json_integer((json_int_t)value);
}

static json_t *text_or_null(const char *text)
{
	return text != NULL ? json_string(text) : json_null();
}

/* ---- one chain ---- */

json_t *view_chain(struct gateway *gateway, const struct spool_chain *row)
{
	const struct chain_config *config = config_chain(gateway->config, row->id.name);
	const struct chain *chain = chains_by_id(gateway->chains, &row->id);
	return json_pack(
		"{s:s, s:o, s:s, s:o, s:o, s:s, s:s, s:b, s:b, s:o, s:o, s:o, s:o, s:o, s:o, s:o, "
		"s:o}",
		"name", row->id.name, "epoch", view_hash(&row->id.epoch), "format", row->format,
		"class", text_or_null(config != NULL ? config->class->name : NULL), "policy",
		text_or_null(config != NULL ? policy_name(config->policy) : NULL), "state",
		spool_chain_state_name(row->state), "reason", row->state_reason, "enabled",
		config != NULL && config->enabled, "delivery_held", row->delivery_held,
		"first_height", number(row->first_height), "next_height", number(row->next_height),
		"anchored_next", number(row->anchored_next), "pending_blocks",
		number(spool_chain_pending_blocks(row)), "quarantined_blocks",
		number(row->quarantined_blocks), "held_bytes", number(row->held_bytes),
		"last_received_ms", view_time(row->last_received_ms), "agent",
		text_or_null(chain != NULL ? links_active_agent(chain) : NULL));
}

json_t *view_chain_absent(const struct chain_config *chain)
{
	return json_pack("{s:s, s:n, s:s, s:s, s:s, s:s, s:s, s:b, s:b, s:i, s:i, s:i, s:i, s:i, "
	                 "s:i, s:i, s:n}",
	                 "name", chain->name, "epoch", "format", chain->format, "class",
	                 chain->class->name, "policy", policy_name(chain->policy), "state",
	                 "absent", "reason", "in the zone file and not enrolled yet", "enabled",
	                 chain->enabled, "delivery_held", false, "first_height", 0, "next_height",
	                 0, "anchored_next", 0, "pending_blocks", 0, "quarantined_blocks", 0,
	                 "held_bytes", 0, "last_received_ms", 0, "agent");
}

static json_t *trust_text(struct gateway *gateway, const struct spool_chain *row)
{
	const struct sidechain *format = sidechain_find(row->format);
	struct buffer saved = BUFFER_EMPTY, line = BUFFER_EMPTY;
	struct trust *trust = NULL;
	uint64_t from = row->trust_from;
	json_t *object = NULL;
	if (format != NULL &&
	    spool_trust_at(gateway->spool, &row->key, row->next_height, &saved, &from, NULL) &&
	    format->trust_load(buffer_bytes(&saved), &trust, NULL)) {
		format->trust_describe(trust, &line);
		format->trust_free(trust);
		object = json_pack("{s:o, s:o}", "from", number(from), "text",
		                   json_stringn((const char *)line.data, line.size));
	}
	buffer_fini(&saved);
	buffer_fini(&line);
	return object != NULL ? object : json_null();
}

static json_t *agents_of(struct gateway *gateway, const struct spool_chain *row)
{
	const struct chain_config *config = config_chain(gateway->config, row->id.name);
	const struct chain *chain = chains_by_id(gateway->chains, &row->id);
	json_t *agents = json_array();
	for (size_t i = 0; config != NULL && i < config->agents.count; i++) {
		struct carrier_view view;
		const char *id = config->agents.items[i];
		bool connected = chain != NULL && links_carrier(chain, id, &view);
		json_t *agent = json_pack("{s:s, s:b, s:b}", "id", id, "connected", connected,
		                          "active", connected && view.active);
		if (connected) {
			json_object_set_new(agent, "peer", json_string(view.address));
			json_object_set_new(agent, "tip_height", number(view.tip_height));
			json_object_set_new(agent, "oldest_height", number(view.oldest_height));
		}
		json_array_append_new(agents, agent);
	}
	return agents;
}

json_t *view_chain_full(struct gateway *gateway, const struct spool_chain *row)
{
	const struct chain_config *config = config_chain(gateway->config, row->id.name);
	json_t *object = view_chain(gateway, row);
	json_t *more = json_pack(
		"{s:o, s:o, s:o, s:s, s:o, s:o, s:{s:o, s:o, s:o, s:o, s:o, s:o}, s:o, s:o, s:o}",
		"tip", view_hash(&row->tip), "added_ms", view_time(row->added_ms), "state_since_ms",
		view_time(row->state_since_ms), "state_who", row->state_who, "trust",
		trust_text(gateway, row), "agents", agents_of(gateway, row), "counters", "received",
		number(row->received_blocks), "duplicates", number(row->duplicate_blocks),
		"anchored", number(row->anchored_blocks), "quarantined",
		number(row->quarantined_blocks), "tombstoned", number(row->tombstoned_blocks),
		"lost", number(row->lost_heights), "held_from", number(row->held_from),
		"known_from", number(row->known_from), "quota_bytes",
		number(config != NULL ? config->class->quota_bytes : 0));
	if (object != NULL && more != NULL)
		(void)json_object_update(object, more);
	json_decref(more);
	return object;
}

/* ---- lists ---- */

/* The zone file's order is the order of the list: names are unique there, and a chain that is not in
 * it any more is shown by name only. */
static size_t first_index(const struct gateway *gateway, const struct view_page *page)
{
	const struct gateway_config *config = &gateway->config->gateway;
	if (page->after == NULL)
		return 0;
	for (size_t i = 0; i < config->chain_count; i++) {
		if (strcmp(config->chains[i].name, page->after) == 0)
			return i + 1;
	}
	return config->chain_count;
}

/* Calls add for each chain of the page; add says whether it counts. Gives the name to go on after, or
 * NULL at the end. */
static const char *walk_chains(struct gateway *gateway, const struct view_page *page,
                               bool (*add)(struct gateway *gateway,
                                           const struct chain_config *config,
                                           const struct spool_chain *row, void *arg),
                               void *arg)
{
	const struct gateway_config *config = &gateway->config->gateway;
	size_t count = 0;
	for (size_t i = first_index(gateway, page); i < config->chain_count; i++) {
		const struct chain_config *chain = &config->chains[i];
		struct spool_chain row;
		if ((page->chain != NULL && strcmp(page->chain, chain->name) != 0) ||
		    (page->class_name != NULL && strcmp(page->class_name, chain->class->name) != 0))
			continue;
		bool known = spool_chain_by_name(gateway->spool, chain->name, &row, NULL);
		const char *state = known ? spool_chain_state_name(row.state) : "absent";
		if (page->state != NULL && strcmp(page->state, state) != 0)
			continue;
		if (!add(gateway, chain, known ? &row : NULL, arg))
			continue;
		if (++count >= page->limit && i + 1 < config->chain_count)
			return chain->name;
	}
	return NULL;
}

static bool add_chain(struct gateway *gateway, const struct chain_config *config,
                      const struct spool_chain *row, void *arg)
{
	json_array_append_new(arg,
	                      row != NULL ? view_chain(gateway, row) : view_chain_absent(config));
	return true;
}

json_t *view_chains(struct gateway *gateway, const struct view_page *page)
{
	json_t *list = json_array();
	const char *next = walk_chains(gateway, page, add_chain, list);
	return json_pack("{s:o, s:o, s:o}", "chains", list, "total",
	                 number(gateway->config->gateway.chain_count), "next", text_or_null(next));
}

struct pending_list {
	json_t *items;
	uint64_t blocks;
};

static bool add_pending(struct gateway *gateway, const struct chain_config *config,
                        const struct spool_chain *row, void *arg)
{
	struct pending_list *list = arg;
	if (row == NULL || row->anchored_next >= row->next_height)
		return false;
	struct spool_batch_info first = { .received_ms = 0 };
	(void)!spool_batch_info(gateway->spool, &row->key, row->anchored_next, &first, NULL);
	uint64_t blocks = spool_chain_pending_blocks(row);
	list->blocks += blocks;
	json_array_append_new(
		list->items,
		json_pack("{s:s, s:s, s:o, s:o, s:o, s:o, s:o, s:o}", "name", row->id.name, "class",
	                  config->class->name, "from", number(row->anchored_next), "to",
	                  number(row->next_height - 1), "blocks", number(blocks), "in_anchors",
	                  number(row->pending_from - row->anchored_next), "bytes",
	                  number(row->held_bytes), "oldest_ms", view_time(first.received_ms)));
	return true;
}

json_t *view_pending(struct gateway *gateway, const struct view_page *page)
{
	struct pending_list list = { json_array(), 0 };
	const char *next = walk_chains(gateway, page, add_pending, &list);
	return json_pack("{s:o, s:o, s:o}", "pending", list.items, "blocks", number(list.blocks),
	                 "next", text_or_null(next));
}

/* ---- gaps ---- */

struct gap_list {
	json_t *items;
	bool open;
};

static void add_gap(struct gap_list *list, const char *name, uint64_t from, uint64_t to,
                    const char *kind, const char *reason)
{
	json_array_append_new(list->items, json_pack("{s:s, s:o, s:o, s:s, s:i, s:s}", "name", name,
	                                             "from", number(from), "to", number(to), "kind",
	                                             kind, "since_ms", 0, "reason", reason));
	if (strcmp(kind, "lost") != 0)
		list->open = true;
}

static void add_lost(struct gateway *gateway, const struct spool_chain *row, struct gap_list *list)
{
	struct spool_tombstone stones[SLICE], after = { .chain = row->key };
	size_t count;
	while (row->lost_heights > 0 &&
	       spool_tombstones_page(gateway->spool, &after, stones, SLICE, &count, NULL) &&
	       count > 0) {
		for (size_t i = 0; i < count; i++) {
			if (!chain_key_equal(&stones[i].chain, &row->key))
				return;
			if (stones[i].kind == SPOOL_TOMBSTONE_LOST)
				add_gap(list, row->id.name, stones[i].from, stones[i].to, "lost",
				        stones[i].why);
		}
		after = stones[count - 1];
	}
}

static bool add_gaps(struct gateway *gateway, const struct chain_config *config,
                     const struct spool_chain *row, void *arg)
{
	struct gap_list *list = arg;
	if (row == NULL)
		return false;
	size_t before = json_array_size(list->items);
	add_lost(gateway, row, list);
	const struct chain *chain = chains_by_id(gateway->chains, &row->id);
	struct carrier_view view;
	if (chain != NULL && chain->resend_wanted)
		add_gap(list, row->id.name, chain->resend_from, chain->resend_to, "asked",
		        "a resync waits for its agent");
	const char *agent = chain != NULL ? links_active_agent(chain) : NULL;
	if (agent != NULL && links_carrier(chain, agent, &view) && view.has_blocks &&
	    view.oldest_height > row->next_height)
		add_gap(list, row->id.name, row->next_height, view.oldest_height - 1, "wanted",
		        "the agent does not hold them any more");
	if (row->quarantined_blocks > 0)
		add_gap(list, row->id.name, row->next_height, row->next_height, "quarantined",
		        "what came next was refused");
	return json_array_size(list->items) > before;
}

json_t *view_gaps(struct gateway *gateway, const struct view_page *page, bool *out_open)
{
	struct gap_list list = { json_array(), false };
	const char *next = walk_chains(gateway, page, add_gaps, &list);
	*out_open = list.open;
	return json_pack("{s:o, s:o}", "gaps", list.items, "next", text_or_null(next));
}

/* ---- anchors, quarantine, evidence ---- */

json_t *view_anchor(const struct gateway *gateway, const struct spool_anchor *anchor)
{
	return json_pack("{s:s, s:i, s:o, s:s, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:s}",
	                 "sink", gateway->config->gateway.main_chain.name, "lane",
	                 (int)anchor->id.lane, "seq", number(anchor->id.seq), "state",
	                 spool_anchor_state_name(anchor->state), "root", view_hash(&anchor->root),
	                 "key", view_hash(&anchor->key), "entries", number(anchor->entry_count),
	                 "blocks", number(anchor->block_count), "attempts",
	                 number(anchor->attempts), "created_ms", view_time(anchor->created_ms),
	                 "final_ms", view_time(anchor->final_ms), "next_try_ms",
	                 view_time(anchor->next_try_ms), "detail", anchor->detail);
}

json_t *view_anchors(struct gateway *gateway, const struct view_page *page)
{
	struct spool_anchor anchors[SLICE];
	struct spool_anchor_id from = { .sink = SPOOL_SINK_MAIN,
		                        .lane = (uint16_t)gateway->config->gateway.main_chain.lane,
		                        .seq = 1 };
	struct spool_lane lane;
	if (page->after != NULL)
		from.seq = strtoull(page->after, NULL, 10) + 1;
	else if (spool_lane(gateway->spool, from.sink, from.lane, &lane, NULL) &&
	         lane.oldest_seq > 0)
		from.seq = lane.oldest_seq;
	json_t *list = json_array();
	json_t *next = NULL;
	size_t count = 1;
	while (next == NULL && count > 0 &&
	       spool_anchors_page(gateway->spool, &from, anchors, SLICE, &count, NULL)) {
		for (size_t i = 0; i < count && next == NULL; i++) {
			const struct spool_anchor *anchor = &anchors[i];
			from.seq = anchor->id.seq + 1;
			if (page->state != NULL &&
			    strcmp(page->state, spool_anchor_state_name(anchor->state)) != 0)
				continue;
			json_array_append_new(list, view_anchor(gateway, anchor));
			if (json_array_size(list) >= page->limit)
				next = json_sprintf("%" PRIu64, anchor->id.seq);
		}
	}
	return json_pack("{s:o, s:o}", "anchors", list, "next", next != NULL ? next : json_null());
}

static json_t *chain_name_of(struct gateway *gateway, const struct chain_key *key)
{
	struct spool_chain row;
	if (!spool_chain(gateway->spool, key, &row, NULL))
		return json_null();
	return json_string(row.id.name);
}

json_t *view_suspect(struct gateway *gateway, const struct spool_suspect_info *info)
{
	return json_pack("{s:o, s:o, s:s, s:s, s:o, s:o, s:o, s:o, s:s, s:o}", "number",
	                 number(info->number), "chain", chain_name_of(gateway, &info->chain),
	                 "reason", info->reason, "detail", info->detail, "from",
	                 number(info->first_height), "blocks", number(info->block_count),
	                 "bad_height", number(info->bad_height), "bytes",
	                 number(info->payload_size), "agent", info->agent, "received_ms",
	                 view_time(info->received_ms));
}

json_t *view_evidence(struct gateway *gateway, const struct spool_evidence *evidence)
{
	return json_pack("{s:o, s:o, s:o, s:o, s:o, s:s, s:o}", "number", number(evidence->number),
	                 "chain", chain_name_of(gateway, &evidence->chain), "height",
	                 number(evidence->height), "ours", view_hash(&evidence->ours), "theirs",
	                 view_hash(&evidence->theirs), "agent", evidence->agent, "time_ms",
	                 view_time(evidence->time_ms));
}

/* ---- HTTP ---- */

static bool dump(json_t *take_object, struct buffer *out)
{
	char *text = take_object != NULL ? json_dumps(take_object, JSON_COMPACT) : NULL;
	json_decref(take_object);
	if (text == NULL)
		return false;
	buffer_put(out, bytes_of_string(text));
	buffer_put_u8(out, '\n');
	free(text);
	return true;
}

/* "after=NAME&limit=N": names need no escapes. */
struct query {
	char after[CHAIN_NAME_MAX + 1];
	struct view_page page;
};

static void read_query(const char *text, struct query *out_query)
{
	*out_query = (struct query){ .page = { .limit = VIEW_PAGE_DEFAULT } };
	for (const char *at = text; at != NULL; at = strchr(at, '&')) {
		at += *at == '&';
		uint64_t limit;
		if (sscanf(at, "after=%64[A-Za-z0-9._-]", out_query->after) == 1)
			out_query->page.after = out_query->after;
		else if (sscanf(at, "limit=%" SCNu64, &limit) == 1 && limit > 0)
			out_query->page.limit =
				limit < VIEW_PAGE_MAX ? (size_t)limit : VIEW_PAGE_MAX;
	}
}

bool view_status_json(struct gateway *gateway, struct buffer *out)
{
	return dump(view_status(gateway), out);
}

bool view_chains_json(struct gateway *gateway, const char *query, struct buffer *out)
{
	struct query parsed;
	read_query(query, &parsed);
	return dump(view_chains(gateway, &parsed.page), out);
}

bool view_anchors_json(struct gateway *gateway, const char *query, struct buffer *out)
{
	struct query parsed;
	read_query(query, &parsed);
	return dump(view_anchors(gateway, &parsed.page), out);
}
