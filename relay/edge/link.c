/* link.c -- the one connection to the gateway: dialled, greeted, kept alive, given up.
 *
 *     DOWN --redial--> CONNECTING --TLS--> HELLO --Welcome--> UP --Goodbye, TERM--> CLOSING
 *       ^                  |                 |                 |                       |
 *       +------------------+-----------------+-----------------+-----------------------+
 */
#include <assert.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "relay/base/fault_point.h"
#include "relay/base/log.h"
#include "relay/edge/agent.h"

#define OUT_MAX_BYTES    (512u << 10)
#define OUT_BUSY_BYTES   (256u << 10) /* Half: on_room comes when a quarter is left. */
#define TURN_ACTIONS_MAX 64
#define GOODBYE_FLUSH_MS 2000
#define USER_TIMEOUT_MS  60000

#define TO(state) (1u << (state))
static const struct {
	const char *name;
	unsigned next; /* States it may move to. */
} states[LINK_STATE_COUNT] = {
	[LINK_DOWN] = { "down", TO(LINK_CONNECTING) },
	[LINK_CONNECTING] = { "connecting", TO(LINK_HELLO) | TO(LINK_CLOSING) | TO(LINK_DOWN) },
	[LINK_HELLO] = { "hello", TO(LINK_UP) | TO(LINK_CLOSING) | TO(LINK_DOWN) },
	[LINK_UP] = { "up", TO(LINK_CLOSING) | TO(LINK_DOWN) },
	[LINK_CLOSING] = { "closing", TO(LINK_DOWN) },
};

const char *link_state_name(enum link_state state)
{
	return states[state].name;
}

/* The only place that writes state. */
static void enter(struct edge_link *link, enum link_state next)
{
	assert(states[link->state].next & TO(next));
	log_debug("link-state", "from=%s to=%s", states[link->state].name, states[next].name);
	link->state = next;
}

static const struct route_config *route_of(const struct agent *agent)
{
	return &agent->live->edge.routes[agent->link.redial.route];
}

void link_init(struct agent *agent)
{
	const struct edge_config *edge = &agent->live->edge;
	redial_init(&agent->link.redial, edge->route_count, (int64_t)edge->retry_min_ms,
	            (int64_t)edge->retry_max_ms, random_below);
	heartbeat_init(&agent->link.heartbeat, (int64_t)edge->idle_timeout_ms);
}

/* ---- ending ---- */

void link_give_up(struct agent *agent, Zonerelay__Link__GoodbyeReason reason, const char *format,
                  ...)
{
	struct edge_link *link = &agent->link;
	va_list arguments;
	va_start(arguments, format);
	vsnprintf(link->last_error, sizeof(link->last_error), format, arguments);
	va_end(arguments);
	log_warn("link-given-up", "address=%s detail=\"%s\"", conn_peer(link->conn)->address,
	         link->last_error);
	link_stop(agent, reason);
}

void link_stop(struct agent *agent, Zonerelay__Link__GoodbyeReason reason)
{
	struct edge_link *link = &agent->link;
	if (link->state == LINK_DOWN || link->state == LINK_CLOSING)
		return;
	if (link->state == LINK_CONNECTING) {
		enter(link, LINK_CLOSING);
		conn_abort(link->conn);
		return;
	}
	Zonerelay__Link__Goodbye goodbye = ZONERELAY__LINK__GOODBYE__INIT;
	Zonerelay__Link__Frame frame = ZONERELAY__LINK__FRAME__INIT;
	goodbye.reason = reason;
	frame.body_case = ZONERELAY__LINK__FRAME__BODY_GOODBYE;
	frame.goodbye = &goodbye;
	struct conn *conn = link->conn;
	(void)link_send(agent, &frame);
	if (link->state != LINK_CLOSING)
		enter(link, LINK_CLOSING);
	conn_close(conn, GOODBYE_FLUSH_MS);
}

void link_end(struct agent *agent)
{
	struct edge_link *link = &agent->link;
	if (link->state == LINK_DOWN || link->state == LINK_CLOSING)
		return;
	enter(link, LINK_CLOSING);
	conn_close(link->conn, GOODBYE_FLUSH_MS);
}

static void on_close(struct conn *conn, enum conn_reason reason, const char *text, void *arg)
{
	struct agent *agent = arg;
	struct edge_link *link = &agent->link;
	struct conn_counts counts = conn_counts(conn);
	int64_t now_ms = agent_now_ms(agent);
	bool was_up = link->state == LINK_UP;
	bool we_ended = link->state == LINK_CLOSING;

	agent->wire_bytes_in += counts.wire_bytes_in;
	agent->wire_bytes_out += counts.wire_bytes_out;
	if (!we_ended)
		snprintf(link->last_error, sizeof(link->last_error), "%s%s%s",
		         conn_reason_meaning(reason), text[0] != '\0' ? ": " : "", text);
	log_info("link-closed", "address=%s reason=%s detail=\"%s\"", conn_peer(conn)->address,
	         conn_reason_name(reason), text);
	if (was_up)
		redial_on_lost(&link->redial, now_ms);
	else if (!we_ended || link->redial.at_ms <= now_ms)
		redial_on_failed(&link->redial, now_ms);
	heartbeat_on_lost(&link->heartbeat);
	upload_on_lost(agent->upload);
	buffer_fini(&agent->outbox);
	receipt_keys_clear(&link->keys);
	for (size_t i = 0; i < agent->chain_count; i++)
		agent->chains[i].dictionary_wanted_ms = 0;
	link->conn = NULL;
	enter(link, LINK_DOWN);
	agent_wake(agent);
}

/* ---- frames ---- */

bool link_send(struct agent *agent, const Zonerelay__Link__Frame *frame)
{
	struct edge_link *link = &agent->link;
	struct buffer bytes = BUFFER_EMPTY;
	struct err err;
	bool ok = link->state != LINK_DOWN && link->state != LINK_CLOSING;
	if (ok && !link_frame_encode(frame, &bytes, &err)) {
		log_error("frame-not-sent", "detail=\"%s\"", err.message);
		snprintf(link->last_error, sizeof(link->last_error), "own frame: %.100s",
		         err.message);
		enter(link, LINK_CLOSING);
		conn_abort(link->conn);
		ok = false;
	}
	ok = ok && conn_send(link->conn, buffer_bytes(&bytes));
	buffer_fini(&bytes);
	if (ok)
		heartbeat_on_traffic(&link->heartbeat, agent_now_ms(agent));
	return ok;
}

static void on_open(struct conn *conn, void *arg)
{
	struct agent *agent = arg;
	enter(&agent->link, LINK_HELLO);
	log_info("link-open", "address=%s peer=%s resumed=%d", conn_peer(conn)->address,
	         conn_peer(conn)->subject, (int)conn_peer(conn)->resumed);
	FAULT_POINT(HELLO_SENDING);
	(void)hello_send(agent);
	agent_wake(agent);
}

static void enter_up(struct edge_link *link)
{
	enter(link, LINK_UP);
	link->count++;
	link->last_error[0] = '\0';
}

static void on_frame(struct conn *conn, struct bytes body, void *arg)
{
	struct agent *agent = arg;
	struct edge_link *link = &agent->link;
	Zonerelay__Link__Frame *frame = NULL;
	struct err err;
	if (link->state != LINK_HELLO && link->state != LINK_UP)
		return;
	heartbeat_on_traffic(&link->heartbeat, agent_now_ms(agent));
	switch (link_frame_decode(body, &frame, &err)) {
	case LINK_UNKNOWN:
		return;
	case LINK_BAD:
		link_give_up(agent, ZONERELAY__LINK__GOODBYE_REASON__GOODBYE_REASON_PROTOCOL,
		             "the gateway's frame: %.90s", err.message);
		return;
	case LINK_FRAME:
		break;
	}
	bool is_welcome = frame->body_case == ZONERELAY__LINK__FRAME__BODY_WELCOME;
	bool is_goodbye = frame->body_case == ZONERELAY__LINK__FRAME__BODY_GOODBYE;
	if (!is_goodbye && is_welcome != (link->state == LINK_HELLO)) {
		link_give_up(agent, ZONERELAY__LINK__GOODBYE_REASON__GOODBYE_REASON_PROTOCOL,
		             "a frame of kind %d out of its turn", (int)frame->body_case);
	} else if (is_welcome) {
		FAULT_POINT(WELCOME_READ);
		if (welcome_on(agent, frame->welcome) && link->state == LINK_HELLO)
			enter_up(link);
	} else {
		message_on(agent, frame);
	}
	link_frame_free(frame);
	agent_wake(agent);
}

static void on_room(struct conn *conn, void *arg)
{
	agent_wake(arg);
}

static const struct conn_callbacks callbacks = {
	.on_open = on_open,
	.on_frame = on_frame,
	.on_room = on_room,
	.on_close = on_close,
};

/* ---- the turn ---- */

static void dial(struct agent *agent, int64_t now_ms)
{
	struct edge_link *link = &agent->link;
	const struct edge_config *edge = &agent->live->edge;
	if (link->redial.route >= edge->route_count)
		link->redial.route = 0; /* Fewer routes since a reload. */
	const struct route_config *route = route_of(agent);
	struct connect_options options = {
		.host = route->address.host,
		.port = route->address.port,
		.source = route->source,
		.peer_name = edge->gateway_name,
		.connect_max_ms = (int64_t)edge->connect_timeout_ms,
		.limits = conn_limits_default(),
	};
	options.limits.frame_max_bytes = (uint32_t)edge->frame_bytes;
	options.limits.out_max_bytes = OUT_MAX_BYTES;
	options.limits.user_timeout_ms = USER_TIMEOUT_MS;
	struct err err;
	log_debug("link-dial", "address=%s", route->address.text);
	/* Certificates that could not be used at start may have been replaced since. */
	bool ok = agent->tls != NULL || agent_open_tls(agent, &err);
	options.context = agent->tls;
	if (!ok || !net_connect(&link->conn, agent->net, &options, &callbacks, agent, &err)) {
		log_warn("link-not-dialled", "address=%s detail=\"%s\"", route->address.text,
		         err.message);
		snprintf(link->last_error, sizeof(link->last_error), "%.127s", err.message);
		redial_on_failed(&link->redial, now_ms);
		return;
	}
	link->deadline_ms = now_ms + (int64_t)edge->connect_timeout_ms;
	enter(link, LINK_CONNECTING);
}

static void send_chunk(struct agent *agent, const struct upload_action *action, uint32_t chain,
                       const struct upload_batch *batch)
{
	Zonerelay__Link__Chunk chunk = ZONERELAY__LINK__CHUNK__INIT;
	Zonerelay__Link__BatchHeader header = ZONERELAY__LINK__BATCH_HEADER__INIT;
	Zonerelay__Link__Frame frame = ZONERELAY__LINK__FRAME__INIT;
	struct hash content = batch->content;
	struct hash tip = batch->tip;
	chunk.chain = chain;
	chunk.batch = (ProtobufCBinaryData){ HASH_SIZE, content.bytes };
	chunk.offset = action->offset;
	chunk.data = (ProtobufCBinaryData){ action->size, agent->outbox.data + action->offset };
	if (action->offset == 0) {
		header.first_height = batch->from;
		header.block_count = (uint32_t)(batch->to - batch->from + 1);
		header.size = batch->size;
		header.raw_size = batch->raw_size;
		header.codec = CODEC_ZSTD;
		header.tip_hash = (ProtobufCBinaryData){ HASH_SIZE, tip.bytes };
		if (!hash_is_zero(&agent->outbox_dictionary))
			header.dictionary =
				(ProtobufCBinaryData){ HASH_SIZE, agent->outbox_dictionary.bytes };
		chunk.header = &header;
	}
	frame.body_case = ZONERELAY__LINK__FRAME__BODY_CHUNK;
	frame.chunk = &chunk;
	FAULT_POINT(CHUNK_SENDING);
	(void)link_send(agent, &frame);
	FAULT_POINT(CHUNK_SENT);
}

/* Batches are built and sent as far as credit, pace and the output queue let them. */
static int64_t send_batches(struct agent *agent, int64_t now_ms)
{
	for (int i = 0; i < TURN_ACTIONS_MAX && !agent->failed; i++) {
		struct upload_action action;
		struct upload_batch batch;
		size_t chain = 0;
		if (agent->link.state != LINK_UP)
			return INT64_MAX;
		if (conn_out_queued(agent->link.conn) > OUT_BUSY_BYTES)
			return INT64_MAX; /* on_room wakes us. */
		bool full = upload_outbox(agent->upload, &chain, &batch);
		upload_next(agent->upload, now_ms, &action);
		switch (action.what) {
		case UPLOAD_NOTHING:
			return action.wake_ms;
		case UPLOAD_BUILD:
			edge_chain_build(agent, &action);
			break;
		case UPLOAD_SEND:
			assert(full && chain == action.chain);
			send_chunk(agent, &action, (uint32_t)chain, &batch);
			if (action.last)
				buffer_fini(&agent->outbox);
			break;
		}
	}
	return now_ms;
}

static int64_t beat(struct agent *agent, int64_t now_ms)
{
	struct edge_link *link = &agent->link;
	int64_t wake_ms = INT64_MAX;
	Zonerelay__Link__Ping ping = ZONERELAY__LINK__PING__INIT;
	Zonerelay__Link__Frame frame = ZONERELAY__LINK__FRAME__INIT;
	switch (heartbeat_next(&link->heartbeat, now_ms, &wake_ms)) {
	case HEARTBEAT_WAIT:
		break;
	case HEARTBEAT_PING:
		ping.number = link->heartbeat.number;
		frame.body_case = ZONERELAY__LINK__FRAME__BODY_PING;
		frame.ping = &ping;
		(void)link_send(agent, &frame);
		break;
	case HEARTBEAT_DEAD:
		snprintf(link->last_error, sizeof(link->last_error), "no answer to a heartbeat");
		log_warn("link-dead", "address=%s interval_ms=%" PRId64,
		         conn_peer(link->conn)->address, link->heartbeat.interval_ms);
		conn_abort(link->conn);
		return INT64_MAX;
	}
	return wake_ms;
}

void link_turn(struct agent *agent, int64_t now_ms, int64_t *out_wake_ms)
{
	struct edge_link *link = &agent->link;
	if (link->state == LINK_DOWN && agent->stopping_ms == 0) {
		if (now_ms >= link->redial.at_ms)
			dial(agent, now_ms);
		if (link->state == LINK_DOWN) {
			*out_wake_ms = link->redial.at_ms;
			return;
		}
	}
	switch (link->state) {
	case LINK_HELLO:
		if (now_ms >= link->deadline_ms)
			link_give_up(agent, ZONERELAY__LINK__GOODBYE_REASON__GOODBYE_REASON_IDLE,
			             "no Welcome in time");
		*out_wake_ms = link->deadline_ms;
		return;
	case LINK_UP: {
		int64_t beat_ms = beat(agent, now_ms);
		int64_t send_ms = link->state == LINK_UP ? send_batches(agent, now_ms) : INT64_MAX;
		*out_wake_ms = beat_ms < send_ms ? beat_ms : send_ms;
		return;
	}
	case LINK_DOWN:
	case LINK_CONNECTING: /* net has the deadline. */
	case LINK_CLOSING:
	case LINK_STATE_COUNT:
		*out_wake_ms = INT64_MAX;
		return;
	}
}
