#include "relay/edge/status.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "relay/edge/agent.h"

/* ---- the fields, for both forms ---- */

enum kind { KIND_TEXT, KIND_NUMBER, KIND_TIME, KIND_BOOL };

struct field {
	const char *key;   /* In JSON. */
	const char *label; /* For people; NULL: shown in JSON only. */
	enum kind kind;
	size_t offset;
	bool if_set; /* People see it only where it is not empty or 0. */
};

#define LINK(key, label, kind, member, if_set)                                 \
	{                                                                      \
		key, label, kind, offsetof(struct status_link, member), if_set \
	}
static const struct field link_fields[] = {
	LINK("running", NULL, KIND_BOOL, running, false),
	LINK("link", "link", KIND_TEXT, state, false),
	LINK("address", "gateway address", KIND_TEXT, address, true),
	LINK("gateway", "gateway software", KIND_TEXT, gateway, true),
	LINK("last_error", "last error", KIND_TEXT, last_error, true),
	LINK("links", "links since start", KIND_NUMBER, links, false),
	LINK("wire_bytes_in", "bytes received", KIND_NUMBER, wire_bytes_in, false),
	LINK("wire_bytes_out", "bytes sent", KIND_NUMBER, wire_bytes_out, false),
	LINK("heartbeat_ms", "heartbeat, ms", KIND_NUMBER, heartbeat_ms, true),
	LINK("gateway_time_ms", "gateway time", KIND_TIME, gateway_time_ms, true),
};

#define CHAIN(key, label, kind, member, if_set)                                 \
	{                                                                       \
		key, label, kind, offsetof(struct status_chain, member), if_set \
	}
static const struct field chain_fields[] = {
	CHAIN("name", "chain", KIND_TEXT, name, false),
	CHAIN("format", "format", KIND_TEXT, format, false),
	CHAIN("source", "source", KIND_TEXT, source, false),
	CHAIN("epoch", "genesis", KIND_TEXT, epoch, false),
	CHAIN("state", "state", KIND_TEXT, state, false),
	CHAIN("hold", "held because", KIND_TEXT, hold, true),
	CHAIN("detail", "detail", KIND_TEXT, detail, true),
	CHAIN("problem", "source problem", KIND_TEXT, problem, true),
	CHAIN("oldest", "oldest block here", KIND_NUMBER, oldest, false),
	CHAIN("next", "next block", KIND_NUMBER, next, false),
	CHAIN("tip", "tip", KIND_TEXT, tip, true),
	CHAIN("send_next", "next to send", KIND_NUMBER, send_next, true),
	CHAIN("gateway_next", "next at gateway", KIND_NUMBER, gateway_next, true),
	CHAIN("durable_next", "durable below", KIND_NUMBER, durable_next, false),
	CHAIN("anchored_next", "anchored below", KIND_NUMBER, anchored_next, false),
	CHAIN("prune", "prune", KIND_TEXT, prune, false),
	CHAIN("prunable_below", "prunable below", KIND_NUMBER, prunable_below, false),
	CHAIN("entries", "entries", KIND_NUMBER, entries, true),
	CHAIN("entries_sealed", "entries in blocks", KIND_NUMBER, entries_sealed, true),
	CHAIN("batches_sent", "batches sent", KIND_NUMBER, batches_sent, true),
	CHAIN("blocks_sent", "blocks sent", KIND_NUMBER, blocks_sent, true),
	CHAIN("raw_bytes_sent", "bytes before zstd", KIND_NUMBER, raw_bytes_sent, true),
	CHAIN("bytes_sent", "bytes after zstd", KIND_NUMBER, bytes_sent, true),
	CHAIN("rejects", "rejects", KIND_NUMBER, rejects, true),
	CHAIN("receipts_refused", "receipts refused", KIND_NUMBER, receipts_refused, true),
	CHAIN("store", "gateway store", KIND_TEXT, store, true),
};
#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))

static uint64_t number_of(const struct field *field, const void *object)
{
	uint64_t number = 0;
	memcpy(&number, (const char *)object + field->offset, sizeof(number));
	return number;
}

static const char *text_of(const struct field *field, const void *object)
{
	return (const char *)object + field->offset;
}

static bool is_set(const struct field *field, const void *object)
{
	if (field->kind == KIND_TEXT)
		return text_of(field, object)[0] != '\0';
	return field->kind == KIND_BOOL || number_of(field, object) != 0;
}

/* A JSON string. What is not printable ASCII or UTF-8 was replaced where the text came from. */
static void put_json_string(struct buffer *out, const char *text)
{
	buffer_put_u8(out, '"');
	for (; *text != '\0'; text++) {
		unsigned char byte = (unsigned char)*text;
		if (byte == '"' || byte == '\\')
			buffer_printf(out, "\\%c", byte);
		else if (byte < 0x20 || byte == 0x7f)
			buffer_printf(out, "\\u%04x", byte);
		else
			buffer_put_u8(out, byte);
	}
	buffer_put_u8(out, '"');
}

static void put_json_fields(const struct field *fields, size_t count, const void *object,
                            struct buffer *out)
{
	for (size_t i = 0; i < count; i++) {
		const struct field *field = &fields[i];
		buffer_printf(out, "%s\"%s\":", i == 0 ? "" : ",", field->key);
		if (field->kind == KIND_TEXT)
			put_json_string(out, text_of(field, object));
		else if (field->kind == KIND_BOOL)
			buffer_printf(out, "%s",
			              *(const bool *)(const void *)text_of(field, object)
			                      ? "true"
			                      : "false");
		else
			buffer_printf(out, "%" PRIu64, number_of(field, object));
	}
}

static void put_text_fields(const struct field *fields, size_t count, const void *object,
                            struct buffer *out)
{
	for (size_t i = 0; i < count; i++) {
		const struct field *field = &fields[i];
		if (field->label == NULL || (field->if_set && !is_set(field, object)))
			continue;
		char time[CLOCK_TEXT_SIZE];
		buffer_printf(out, "%-18s ", field->label);
		if (field->kind == KIND_TEXT)
			buffer_printf(out, "%s\n", text_of(field, object));
		else if (field->kind == KIND_TIME)
			buffer_printf(out, "%s\n",
			              clock_text((int64_t)number_of(field, object), time));
		else
			buffer_printf(out, "%" PRIu64 "\n", number_of(field, object));
	}
}

void status_text(const struct status_link *link, const struct status_chain *chains, size_t count,
                 struct buffer *out)
{
	if (link->running)
		put_text_fields(link_fields, COUNT_OF(link_fields), link, out);
	else
		buffer_printf(out, "%-18s %s\n", "agent", "not running; this is what is stored");
	for (size_t i = 0; i < count; i++) {
		buffer_printf(out, "\n");
		put_text_fields(chain_fields, COUNT_OF(chain_fields), &chains[i], out);
	}
}

void status_json(const struct status_link *link, const struct status_chain *chains, size_t count,
                 struct buffer *out)
{
	buffer_printf(out, "{");
	put_json_fields(link_fields, COUNT_OF(link_fields), link, out);
	buffer_printf(out, ",\"chains\":[");
	for (size_t i = 0; i < count; i++) {
		buffer_printf(out, "%s{", i == 0 ? "" : ",");
		put_json_fields(chain_fields, COUNT_OF(chain_fields), &chains[i], out);
		buffer_printf(out, "}");
	}
	buffer_printf(out, "]}");
}

/* ---- gathering ---- */

static void copy(char *out, size_t size, const char *text)
{
	snprintf(out, size, "%.*s", (int)size - 1, text);
}
#define COPY(out, text) copy(out, sizeof(out), text)

static const char *prune_name(enum edge_prune prune)
{
	switch (prune) {
	case EDGE_PRUNE_DURABLE:
		return "durable";
	case EDGE_PRUNE_ANCHORED:
		return "anchored";
	case EDGE_PRUNE_NEVER:
		break;
	}
	return "never";
}

void status_of_stored(const struct edge_chain_config *config, const struct agent_chain *facts,
                      struct status_chain *out_status)
{
	*out_status = (struct status_chain){
		.oldest = facts->oldest_height,
		.next = facts->next_height,
		.durable_next = facts->durable_next,
		.anchored_next = facts->anchored_next,
		.entries = facts->entry_next,
		.entries_sealed = facts->entry_sealed,
	};
	bool ledger = config->source.type == EDGE_SOURCE_LEDGER;
	COPY(out_status->name, config->name);
	COPY(out_status->format, config->format);
	COPY(out_status->source, ledger ? "ledger" : "fabric-dir");
	COPY(out_status->state, "stopped");
	COPY(out_status->prune, prune_name(config->prune));
	hash_hex(&facts->id.epoch, out_status->epoch);
	if (!hash_is_zero(&facts->tip))
		hash_hex(&facts->tip, out_status->tip);
	if (facts->pinned)
		hex_encode((struct bytes){ facts->store_uuid, STORE_UUID_SIZE }, out_status->store);
}

void status_of_chain(struct agent *agent, size_t index, struct status_chain *out_status)
{
	struct edge_chain *chain = &agent->chains[index];
	struct upload_status upload;
	struct block_header tip;
	struct err err;
	upload_status(agent->upload, index, &upload);
	if (!edge_chain_refresh(chain, &err)) /* A ledger's source changes it, too. */
		agent_fail(agent, &err);
	status_of_stored(chain->config, &chain->facts, out_status);
	COPY(out_status->state, upload_state_name(upload.state));
	if (upload.state == UPLOAD_HELD) {
		COPY(out_status->hold, upload_hold_name(upload.hold));
		snprintf(out_status->detail, sizeof(out_status->detail), "%s%s%s",
		         upload_hold_text(upload.hold), chain->why_held[0] != '\0' ? ": " : "",
		         chain->why_held);
	}
	COPY(out_status->problem, chain->source->view.problem);
	out_status->oldest = chain->source->view.oldest;
	out_status->next = chain->source->view.next;
	if (out_status->next > 0 && edge_chain_header(agent, chain, out_status->next - 1, &tip))
		hash_hex(&tip.hash, out_status->tip);
	out_status->send_next = upload.send_next;
	out_status->gateway_next = upload.welcomed ? upload.durable_next : 0;
	out_status->prunable_below = edge_chain_prunable(chain);
	out_status->batches_sent = upload.batches_sent;
	out_status->blocks_sent = upload.blocks_sent;
	out_status->raw_bytes_sent = upload.raw_bytes_sent;
	out_status->bytes_sent = upload.bytes_sent;
	out_status->rejects = upload.rejects;
	out_status->receipts_refused = chain->receipts_refused;
}

void status_of_link(const struct agent *agent, struct status_link *out_status)
{
	const struct edge_link *link = &agent->link;
	*out_status = (struct status_link){
		.running = true,
		.links = link->count,
		.wire_bytes_in = agent->wire_bytes_in,
		.wire_bytes_out = agent->wire_bytes_out,
		.heartbeat_ms = link->heartbeat.interval_ms,
		.chains = agent->chain_count,
	};
	COPY(out_status->state, link_state_name(link->state));
	COPY(out_status->last_error, link->last_error);
	if (link->conn != NULL) {
		struct conn_counts counts = conn_counts(link->conn);
		COPY(out_status->address, conn_peer(link->conn)->address);
		COPY(out_status->gateway, link->peer_software);
		out_status->wire_bytes_in += counts.wire_bytes_in;
		out_status->wire_bytes_out += counts.wire_bytes_out;
	}
	if (link->count > 0)
		out_status->gateway_time_ms = edge_clock_floor_ms(&agent->clock);
}

bool status_show(struct agent *agent, bool json, struct buffer *out)
{
	struct status_link link;
	struct status_chain *chains = calloc(agent->chain_count, sizeof(chains[0]));
	if (chains == NULL)
		return false;
	status_of_link(agent, &link);
	for (size_t i = 0; i < agent->chain_count; i++)
		status_of_chain(agent, i, &chains[i]);
	if (json)
		status_json(&link, chains, agent->chain_count, out);
	else
		status_text(&link, chains, agent->chain_count, out);
	free(chains);
	return true;
}
