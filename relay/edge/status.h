/* status.h -- what the agent knows of itself, as people and programs read it; and the socket that
 * tells it.
 *
 * The socket takes one line and answers until it closes:
 *
 *     status         text for people
 *     status json    one line of JSON
 *     unpin CHAIN    "ok" or "error: ..."
 */
#ifndef ZR_EDGE_STATUS_H
#define ZR_EDGE_STATUS_H

#include <stdbool.h>
#include <stdint.h>

#include "config/config.h"
#include "relay/base/bytes.h"
#include "spool/agent.h"

struct agent;

#define STATUS_TEXT_SIZE 384

struct status_link {
	bool running; /* False: the agent is not, and what follows is only what is stored. */
	char state[16];
	char address[96];
	char gateway[80];
	char last_error[STATUS_TEXT_SIZE];
	uint64_t links;
	uint64_t wire_bytes_in, wire_bytes_out;
	int64_t heartbeat_ms;
	int64_t gateway_time_ms;
	uint64_t chains;
};

struct status_chain {
	char name[CHAIN_NAME_MAX + 1];
	char format[16];
	char source[16];
	char epoch[HASH_HEX_SIZE];
	char tip[HASH_HEX_SIZE];
	char store[2 * STORE_UUID_SIZE + 1]; /* Pinned; empty: none. */
	char state[16];
	char hold[16];
	char detail[STATUS_TEXT_SIZE];  /* Why it is held: our words and the gateway's. */
	char problem[STATUS_TEXT_SIZE]; /* Of the source. */
	uint64_t oldest, next;
	uint64_t send_next, gateway_next;
	uint64_t durable_next, anchored_next;
	char prune[16];
	uint64_t prunable_below;
	uint64_t entries, entries_sealed;
	uint64_t batches_sent, blocks_sent, raw_bytes_sent, bytes_sent;
	uint64_t rejects, receipts_refused;
};

/* What is stored, without the agent. */
void status_of_stored(const struct edge_chain_config *config, const struct agent_chain *facts,
                      struct status_chain *out_status);
void status_of_link(const struct agent *agent, struct status_link *out_status);
void status_of_chain(struct agent *agent, size_t index, struct status_chain *out_status);

/* Appends. Text: several lines a chain. JSON: one object, no line end. */
void status_text(const struct status_link *link, const struct status_chain *chains, size_t count,
                 struct buffer *out);
void status_json(const struct status_link *link, const struct status_chain *chains, size_t count,
                 struct buffer *out);
/* Both from the running agent. */
bool status_show(struct agent *agent, bool json, struct buffer *out);

struct status_server;
bool status_server_new(struct status_server **out_server, struct agent *agent, const char *path,
                       struct err *err) MUST_CHECK;
void status_server_free(struct status_server *server); /* NULL is allowed. */

/* One request to a running agent; its answer is appended.
 * Errors: ZR_UNAVAILABLE  nobody listens there. */
bool status_ask(const char *path, const char *request, struct buffer *out,
                struct err *err) MUST_CHECK;

#endif
