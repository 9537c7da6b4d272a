/* session.c -- one connected agent, from the TLS handshake to goodbye; see session.h. */
#include "relay/session.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "relay/base/fault_point.h"
#include "relay/base/log.h"
#include "relay/intake.h"
#include "spool/audit.h"

#define GOODBYE_FLUSH_MS 2000

#define TO(state) (1u << (state))
static const struct {
	const char *name;
	unsigned next; /* States it may move to. */
} states[] = {
	[SESSION_HELLO] = { "hello", TO(SESSION_OPEN) | TO(SESSION_CLOSED) },
	[SESSION_OPEN] = { "open", TO(SESSION_CLOSED) },
	[SESSION_CLOSED] = { "closed", 0 },
};

/* The only place that writes state. */
static void enter(struct session *session, enum session_state next)
{
	assert(states[session->state].next & TO(next));
	log_debug("session-state", "link=%" PRIu64 " from=%s to=%s", session->number,
	          states[session->state].name, states[next].name);
	session->state = next;
}

uint32_t jittered_ms(uint32_t base_ms)
{
	return base_ms + (uint32_t)random_below(base_ms + 1);
}

static struct list_node *agent_bucket(struct links *links, const char *agent)
{
	return &links->agents[crc32c(0, bytes_of_string(agent)) & (AGENT_BUCKETS - 1)];
}

struct session *session_of_agent(struct links *links, const char *agent)
{
	LIST_FOR_EACH (node, agent_bucket(links, agent)) {
		struct session *session = LIST_ENTRY(node, struct session, bucket);
		if (strcmp(session->agent, agent) == 0)
			return session;
	}
	return NULL;
}

struct session_chain *carrier_of_link(const struct chain *chain, uint64_t link)
{
	LIST_FOR_EACH (node, &chain->carriers) {
		struct session_chain *place = LIST_ENTRY(node, struct session_chain, node);
		if (place->session->number == link)
			return place;
	}
	return NULL;
}

/* ---- sending ---- */

void session_send(struct session *session, Zonerelay__Link__Frame *frame)
{
	struct err err;
	struct buffer *out = &session->links->frame;
	if (session->state == SESSION_CLOSED)
		return;
	buffer_clear(out);
	if (!link_frame_encode(frame, out, &err)) {
		log_error("frame-not-sent", "agent=%s body=%d detail=\"%s\"", session->agent,
		          (int)frame->body_case, err.message);
		return;
	}
	(void)conn_send(session->conn, buffer_bytes(out)); /* on_close says if it could not be. */
}

void session_send_reject(struct session_chain *place, const struct refusal *refusal)
{
	Zonerelay__Link__Reject reject = ZONERELAY__LINK__REJECT__INIT;
	Zonerelay__Link__Frame frame = ZONERELAY__LINK__FRAME__INIT;
	char detail[LINK_TEXT_MAX / 2];
	struct hash content = refusal->content;
	(void)snprintf(detail, sizeof(detail), "%s", refusal->detail);
	reject.chain = place->place;
	reject.batch = (ProtobufCBinaryData){ HASH_SIZE, content.bytes };
	reject.reason = refusal->reason;
	reject.action = refusal->action;
	reject.next_height = refusal->next_height;
	reject.retry_after_ms = refusal->retry_after_ms;
	reject.bad_height = refusal->bad_height;
	reject.detail = detail;
	frame.body_case = BODY(REJECT);
	frame.reject = &reject;
	session_send(place->session, &frame);
	FAULT_POINT(REJECT_SENT);
}

uint32_t session_grant(struct session *session, Zonerelay__Link__CreditGrant *grant)
{
	share_told(&session->share);
	grant->bytes = session->share.told_bytes;
	grant->batches = session->share.told_batches;
	return (uint32_t)session->links->options.config->gateway.limits.pace_bytes_per_s;
}

void session_tell_credit(struct session *session)
{
	if (session->state != SESSION_OPEN)
		return;
	Zonerelay__Link__CreditGrant grant = ZONERELAY__LINK__CREDIT_GRANT__INIT;
	Zonerelay__Link__Credit credit = ZONERELAY__LINK__CREDIT__INIT;
	Zonerelay__Link__Frame frame = ZONERELAY__LINK__FRAME__INIT;
	credit.credit = &grant;
	credit.pace_bytes_per_s = session_grant(session, &grant);
	frame.body_case = BODY(CREDIT);
	frame.credit = &credit;
	session_send(session, &frame);
}

/* ---- the end ---- */

/* Leaves every table, and lets another agent take over its chains. */
static void detach(struct session *session)
{
	struct links *links = session->links;
	bool was_open = session->state == SESSION_OPEN;
	enter(session, SESSION_CLOSED);
	list_remove(&session->node);
	list_remove(&session->bucket);
	share_link_fini(&session->share);
	if (was_open) {
		links->open_count--;
		links->options.counters->links_closed++;
	} else {
		links->greeting_count--;
	}
	for (size_t i = 0; i < session->chain_count; i++) {
		struct session_chain *place = &session->chains[i];
		list_remove(&place->node);
		list_remove(&place->due);
		struct chain *chain = place->chain;
		if (chain == NULL || chain->active != place)
			continue;
		chain->active = NULL;
		chain->partial.attended = false;
	}
	for (size_t i = 0; i < session->chain_count; i++) {
		struct chain *chain = session->chains[i].chain;
		if (chain != NULL && chain->active == NULL && !links->stopping)
			chain_elect(links, chain);
	}
}

void session_goodbye(struct session *session, Zonerelay__Link__GoodbyeReason reason,
                     uint32_t retry_after_ms, const char *detail)
{
	if (session->state == SESSION_CLOSED)
		return;
	Zonerelay__Link__Goodbye goodbye = ZONERELAY__LINK__GOODBYE__INIT;
	Zonerelay__Link__Frame frame = ZONERELAY__LINK__FRAME__INIT;
	char text[LINK_TEXT_MAX / 2];
	(void)snprintf(text, sizeof(text), "%s", detail);
	goodbye.reason = reason;
	goodbye.retry_after_ms = retry_after_ms;
	goodbye.detail = text;
	frame.body_case = BODY(GOODBYE);
	frame.goodbye = &goodbye;
	session_send(session, &frame);
	log_info("link-goodbye", "agent=%s address=%s reason=%d retry_ms=%u detail=\"%s\"",
	         session->agent, conn_peer(session->conn)->address, (int)reason, retry_after_ms,
	         text);
	detach(session);
	conn_close(session->conn, GOODBYE_FLUSH_MS);
}

static void on_close(struct conn *conn, enum conn_reason reason, const char *text, void *arg)
{
	struct session *session = arg;
	log_info("link-closed", "agent=%s address=%s why=%s detail=\"%s\"", conn_peer(conn)->id,
	         conn_peer(conn)->address, conn_reason_name(reason), text);
	session->links->ended[reason]++;
	if (session->state != SESSION_CLOSED)
		detach(session);
	if (session->welcomed)
		operators_publish(*session->links->options.feed, "agent-gone",
		                  json_pack("{s:s, s:s, s:I, s:s}", "agent", conn_peer(conn)->id,
		                            "peer", conn_peer(conn)->address, "chains",
		                            (json_int_t)session->chain_count, "reason",
		                            conn_reason_name(reason)));
	free(session->chains);
	free(session);
}

/* ---- frames ---- */

static void on_ping(struct session *session, const Zonerelay__Link__Ping *ping)
{
	Zonerelay__Link__Pong pong = ZONERELAY__LINK__PONG__INIT;
	Zonerelay__Link__Frame frame = ZONERELAY__LINK__FRAME__INIT;
	pong.number = ping->number;
	pong.time_ms = clock_wall_ms(session->links->options.clock);
	frame.body_case = BODY(PONG);
	frame.pong = &pong;
	session_send(session, &frame);
}

static void on_dictionary_wanted(struct session *session,
                                 const Zonerelay__Link__DictionaryWanted *wanted)
{
	Zonerelay__Link__Dictionary dictionary = ZONERELAY__LINK__DICTIONARY__INIT;
	Zonerelay__Link__Frame frame = ZONERELAY__LINK__FRAME__INIT;
	struct buffer bytes = BUFFER_EMPTY;
	struct hash hash;
	struct err err;
	bool known = hash_from_bytes(&hash, (struct bytes){ wanted->dictionary.data,
	                                                    wanted->dictionary.len }) &&
	             spool_dictionary_get(session->links->options.spool, &hash, &bytes, &err);
	dictionary.dictionary = wanted->dictionary;
	if (known) {
		dictionary.data = (ProtobufCBinaryData){ bytes.size, bytes.data };
		session->links->options.counters->dictionaries_sent++;
	}
	frame.body_case = BODY(DICTIONARY);
	frame.dictionary = &dictionary;
	session_send(session, &frame);
	buffer_fini(&bytes);
}

static void out_of_place(struct session *session, const Zonerelay__Link__Frame *frame)
{
	char detail[64];
	(void)snprintf(detail, sizeof(detail), "frame %d has no place here", (int)frame->body_case);
	session->links->options.counters->protocol_errors++;
	session_goodbye(session, GOODBYE(PROTOCOL), jittered_ms(60000), detail);
}

static void on_open_frame(struct session *session, const Zonerelay__Link__Frame *frame)
{
	switch (frame->body_case) {
	case BODY(CHUNK):
		session_on_chunk(session, frame->chunk);
		return;
	case BODY(PING):
		on_ping(session, frame->ping);
		return;
	case BODY(PONG):
		return; /* That it came is all. */
	case BODY(DICTIONARY_WANTED):
		on_dictionary_wanted(session, frame->dictionary_wanted);
		return;
	case BODY(GOODBYE):
		log_info("link-agent-leaves", "agent=%s detail=\"%s\"", session->agent,
		         frame->goodbye->detail);
		detach(session);
		conn_close(session->conn, 0);
		return;
	case ZONERELAY__LINK__FRAME__BODY__NOT_SET:
	case BODY(HELLO):
	case BODY(WELCOME):
	case BODY(ACK):
	case BODY(REJECT):
	case BODY(ANCHORED):
	case BODY(RESEND):
	case BODY(DICTIONARY):
	case BODY(CREDIT):
	case BODY(CHAIN_UPDATE):
	case _ZONERELAY__LINK__FRAME__BODY__CASE_IS_INT_SIZE:
	default:
		out_of_place(session, frame);
		return;
	}
}

static void on_decoded(struct session *session, const Zonerelay__Link__Frame *frame)
{
	switch (session->state) {
	case SESSION_HELLO:
		if (frame->body_case != BODY(HELLO)) {
			out_of_place(session, frame);
			return;
		}
		session_on_hello(session, frame->hello);
		return;
	case SESSION_OPEN:
		on_open_frame(session, frame);
		return;
	case SESSION_CLOSED:
		return;
	}
}

static void on_frame(struct conn *conn, struct bytes body, void *arg)
{
	struct session *session = arg;
	struct links *links = session->links;
	if (session->state == SESSION_CLOSED)
		return;
	session->heard_ms = clock_monotonic_ms(links->options.clock);
	if (session->state == SESSION_OPEN) {
		list_remove(&session->node);
		list_append(&links->open, &session->node);
	}
	Zonerelay__Link__Frame *frame;
	struct err err;
	switch (link_frame_decode(body, &frame, &err)) {
	case LINK_FRAME:
		on_decoded(session, frame);
		link_frame_free(frame);
		return;
	case LINK_UNKNOWN:
		links->options.counters->frames_unknown++;
		return;
	case LINK_BAD:
		links->options.counters->protocol_errors++;
		log_warn("frame-bad", "agent=%s address=%s detail=\"%s\"", session->agent,
		         conn_peer(conn)->address, err.message);
		session_goodbye(session, GOODBYE(PROTOCOL), jittered_ms(60000), err.message);
		return;
	}
}

static const struct conn_callbacks callbacks = { .on_frame = on_frame, .on_close = on_close };

void links_on_open(struct links *links, struct conn *conn)
{
	struct session *session = calloc(1, sizeof(*session));
	if (session == NULL)
		return; /* A conn without callbacks is ended. */
	session->links = links;
	session->conn = conn;
	session->number = ++links->number_next;
	session->agent = conn_peer(conn)->id;
	session->heard_ms = clock_monotonic_ms(links->options.clock);
	list_init(&session->bucket);
	share_link_init(&session->share, 1);
	list_append(&links->greeting, &session->node);
	links->greeting_count++;
	conn_set_callbacks(conn, &callbacks, session);
	log_debug("link-open", "link=%" PRIu64 " agent=%s address=%s", session->number,
	          session->agent, conn_peer(conn)->address);
	if (links->stopping)
		session_goodbye(session, GOODBYE(SHUTDOWN), jittered_ms(5000), "shutting down");
}

/* For session_hello.c: the hello was good. */
void session_opened(struct session *session)
{
	struct links *links = session->links;
	enter(session, SESSION_OPEN);
	links->greeting_count--;
	links->open_count++;
	list_remove(&session->node);
	list_append(&links->open, &session->node);
	list_append(agent_bucket(links, session->agent), &session->bucket);
	links->options.counters->links_opened++;
}
