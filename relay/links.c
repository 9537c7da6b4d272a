/* links.c -- all connected agents; see links.h and session.h. */
#include "relay/links.h"

#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "relay/base/fault_point.h"
#include "relay/base/log.h"
#include "relay/session.h"

#define SHUTDOWN_RETRY_MS  5000
#define TAKEOVER_SILENT_MS 60000 /* An active agent this long without a batch may be replaced. */
#define PARTIAL_STALL_MS   30000 /* A batch that has not grown for so long makes room for others. */
#define SHARE_SLICE_BYTES  (64u << 10)

static void set_limits(struct links *links)
{
	const struct config_limits *limits = &links->options.config->gateway.limits;
	links->share.options = (struct share_options){ .window_bytes = limits->credit_bytes,
		                                       .window_batches = limits->credit_batch_count,
		                                       .slice_bytes = SHARE_SLICE_BYTES };
}

bool links_new(struct links **out_links, const struct links_options *options, struct err *err)
{
	struct links *links = calloc(1, sizeof(*links));
	if (links == NULL)
		return err_set(err, ZR_NO_MEMORY, "links");
	links->options = *options;
	list_init(&links->greeting);
	list_init(&links->open);
	list_init(&links->due);
	for (size_t i = 0; i < AGENT_BUCKETS; i++)
		list_init(&links->agents[i]);
	share_init(&links->share, &(struct share_options){ .window_bytes = 0 });
	set_limits(links);
	*out_links = links;
	return true;
}

void links_free(struct links *links)
{
	if (links == NULL)
		return;
	assert(list_is_empty(&links->greeting) && list_is_empty(&links->open));
	anchor_cache_drop(&links->cache);
	buffer_fini(&links->frame);
	free(links);
}

void links_set_intake(struct links *links, struct intake *intake)
{
	links->intake = intake;
}

void links_set_config(struct links *links, const struct config *config)
{
	links->options.config = config;
	set_limits(links);
}

size_t links_open_count(const struct links *links)
{
	return links->open_count;
}

size_t links_greeting_count(const struct links *links)
{
	return links->greeting_count;
}

uint64_t links_ended_count(const struct links *links, enum conn_reason reason)
{
	return links->ended[reason];
}

/* ---- how batches end ---- */

static void send_ack(struct session_chain *place, uint64_t from, const struct hash *content,
                     const struct custody_proof *proof, uint64_t durable_next)
{
	struct session *session = place->session;
	Zonerelay__Link__Ack ack = ZONERELAY__LINK__ACK__INIT;
	Zonerelay__Link__Frame frame = ZONERELAY__LINK__FRAME__INIT;
	Zonerelay__Link__CustodyReceipt receipt = ZONERELAY__LINK__CUSTODY_RECEIPT__INIT;
	Zonerelay__Link__CreditGrant credit = ZONERELAY__LINK__CREDIT_GRANT__INIT;
	ProtobufCBinaryData nodes[MERKLE_PATH_MAX];
	struct hash content_copy = *content;
	ack.chain = place->place;
	ack.durable_next = durable_next;
	if (proof != NULL) {
		ack.from = from;
		ack.content = (ProtobufCBinaryData){ HASH_SIZE, content_copy.bytes };
		path_to_message(&proof->path, nodes);
		receipt.commit_number = proof->commit_number;
		receipt.time_ms = proof->time_ms;
		receipt.index = proof->path.index;
		receipt.count = proof->path.count;
		receipt.n_path = proof->path.node_count;
		receipt.path = nodes;
		receipt.signature =
			(ProtobufCBinaryData){ proof->signature.size,
			                       (uint8_t *)(uintptr_t)proof->signature.bytes };
		receipt.key_id = (ProtobufCBinaryData){ LINK_KEY_ID_SIZE,
			                                (uint8_t *)(uintptr_t)proof->key_id.bytes };
		ack.custody = &receipt;
	}
	ack.credit = &credit;
	ack.pace_bytes_per_s = session_grant(session, &credit);
	frame.body_case = BODY(ACK);
	frame.ack = &ack;
	FAULT_POINT(ACK_SENDING);
	session_send(session, &frame);
	FAULT_POINT(ACK_SENT);
}

static void on_stored(struct chain *chain, const struct bringer *bringer, uint64_t from,
                      const struct hash *content, const struct custody_proof *proof, void *arg)
{
	struct links *links = arg;
	uint64_t durable_next = chain->admission.durable.next_height;
	struct session_chain *place = carrier_of_link(chain, bringer->link);
	chain->progress_ms = clock_monotonic_ms(links->options.clock);
	if (place != NULL) {
		/* What it brought it holds, whatever it said at its hello. */
		if (proof != NULL && (!place->has_blocks || place->tip_height + 1 < durable_next)) {
			place->tip_height = durable_next - 1;
			place->has_blocks = true;
		}
		send_ack(place, from, content, proof, durable_next);
	}
	if (chain->active != NULL && chain->active != place)
		send_ack(chain->active, from, content, proof, durable_next);
}

static void on_refused(struct chain *chain, const struct bringer *bringer,
                       const struct refusal *refusal, void *arg)
{
	struct session_chain *place = carrier_of_link(chain, bringer->link);
	if (place == NULL)
		place = chain->active; /* Its bringer left; what to do next concerns its successor. */
	if (place == NULL)
		return;
	session_send_reject(place, refusal);
	if (refusal->action == ACTION(HOLD))
		session_chain_hold(place);
}

static void on_ended(struct chain *chain, const struct bringer *bringer, void *arg)
{
	struct links *links = arg;
	const struct session_chain *place = carrier_of_link(chain, bringer->link);
	if (place != NULL)
		share_done(&links->share, &place->session->share, bringer->link_bytes,
		           bringer->link_batches);
}

static void on_changed(struct chain *chain, void *arg)
{
	links_chain_changed(arg, chain);
}

const struct intake_events *links_intake_events(void)
{
	static const struct intake_events events = {
		.stored = on_stored, .refused = on_refused, .ended = on_ended, .changed = on_changed
	};
	return &events;
}

/* ---- credit ---- */

static void on_granted(struct share_link *link, void *arg)
{
	struct session *session = LIST_ENTRY(link, struct session, share);
	const struct links *links = arg;
	if (session->welcomed && share_should_tell(&links->share, link))
		session_tell_credit(session);
}

void links_grant(struct links *links)
{
	const struct partials *partials = links->options.partials;
	/* Zero credit at the mark, until the spool has room again, or the workers have. */
	if (intake_is_full(links->intake) || intake_is_behind(links->intake))
		return;
	size_t free_bytes = partials->budget_bytes - partials->booked_bytes;
	bool ample = free_bytes > partials->budget_bytes / 2;
	share_turn(&links->share, free_bytes / 4, ample, on_granted, links);
}

bool links_turn(struct links *links)
{
	links_grant(links);
	return links_send_anchored(links);
}

/* ---- time ---- */

static void end_silent(struct links *links, struct list_node *list, int64_t silent_max_ms)
{
	int64_t now_ms = clock_monotonic_ms(links->options.clock);
	while (!list_is_empty(list)) {
		struct session *session = LIST_ENTRY(list->next, struct session, node);
		if (now_ms - session->heard_ms < silent_max_ms)
			return;
		session_goodbye(session, GOODBYE(IDLE), jittered_ms(SHUTDOWN_RETRY_MS),
		                "nothing was heard for too long");
	}
}

/* A silent active agent makes room where a standby said that it has blocks we lack. */
static void replace_silent(struct links *links, struct chain *chain, int64_t now_ms)
{
	if (chain->active == NULL || now_ms - chain->progress_ms < TAKEOVER_SILENT_MS ||
	    !list_is_empty(&chain->pipeline))
		return;
	uint64_t next = chain->admission.durable.next_height;
	LIST_FOR_EACH (node, &chain->carriers) {
		struct session_chain *place = LIST_ENTRY(node, struct session_chain, node);
		if (place == chain->active || place->held || !place->has_blocks ||
		    place->tip_height < next || place->oldest_height > next)
			continue;
		struct session_chain *former = chain->active;
		log_info("chain-active-silent", "chain=%s agent=%s", chain->id.name,
		         former->session->agent);
		session_chain_give_back(former);
		chain_make_active(links, chain, place);
		links->options.counters->takeovers++;
		session_send_update(former);
		session_send_update(place);
		/* To the end of the line: the next silent minute is another's chance. */
		list_remove(&former->node);
		list_append(&chain->carriers, &former->node);
		return;
	}
}

void links_tick(struct links *links)
{
	const struct config_limits *limits = &links->options.config->gateway.limits;
	int64_t now_ms = clock_monotonic_ms(links->options.clock);
	end_silent(links, &links->greeting, (int64_t)limits->handshake_timeout_ms);
	end_silent(links, &links->open, (int64_t)limits->idle_timeout_ms);
	for (struct chain *chain = chains_next(links->options.chains, NULL); chain != NULL;
	     chain = chains_next(links->options.chains, chain)) {
		bool several = chain->carriers.next != chain->carriers.prev;
		if (several)
			replace_silent(links, chain, now_ms);
		/* It goes on if its memory was not needed meanwhile. */
		if (now_ms - chain->partial.piece_ms >= PARTIAL_STALL_MS)
			chain->partial.attended = false;
	}
}

void links_goodbye_all(struct links *links)
{
	links->stopping = true;
	struct list_node *lists[] = { &links->greeting, &links->open };
	for (size_t i = 0; i < 2; i++) {
		while (!list_is_empty(lists[i]))
			session_goodbye(LIST_ENTRY(lists[i]->next, struct session, node),
			                GOODBYE(SHUTDOWN), jittered_ms(SHUTDOWN_RETRY_MS),
			                "shutting down");
	}
}

void links_chain_enrolled(struct links *links, const char *name)
{
	LIST_FOR_EACH (node, &links->open) {
		struct session *session = LIST_ENTRY(node, struct session, node);
		for (size_t i = 0; i < session->chain_count; i++) {
			const struct session_chain *place = &session->chains[i];
			if (place->chain != NULL || place->refused != CHAIN_STATE(UNKNOWN) ||
			    strcmp(place->name, name) != 0)
				continue;
			session_goodbye(session, GOODBYE(BUSY), jittered_ms(200),
			                "a chain was enrolled: say hello again");
			break;
		}
	}
}

/* ---- reload ---- */

static void regrant(struct session *session)
{
	for (size_t i = 0; i < session->chain_count; i++) {
		struct session_chain *place = &session->chains[i];
		if (place->chain == NULL)
			continue;
		const struct chain_config *config = place->chain->config;
		if (config == NULL || !config_chain_grants(config, session->agent)) {
			/* A new hello says what is granted now. */
			session_goodbye(session, GOODBYE(BUSY), jittered_ms(1000),
			                "what this agent may carry has changed");
			return;
		}
	}
}

void links_recheck(struct links *links, const struct tls_context *context)
{
	struct list_node *lists[] = { &links->greeting, &links->open };
	for (size_t i = 0; i < 2; i++) {
		LIST_FOR_EACH (node, lists[i]) {
			struct session *session = LIST_ENTRY(node, struct session, node);
			if (!conn_recheck(session->conn, context))
				log_warn("link-revoked", "agent=%s", session->agent);
			else
				regrant(session);
		}
	}
}

void links_reconfigure(struct links *links)
{
	for (struct chain *chain = chains_next(links->options.chains, NULL); chain != NULL;
	     chain = chains_next(links->options.chains, chain)) {
		const char *why;
		bool should = chain_takes(chain, &why) && !list_is_empty(&chain->carriers);
		if (should != (chain->active != NULL))
			links_chain_changed(links, chain);
	}
}

/* ---- views ---- */

void links_each(struct links *links, void (*see)(const struct link_view *view, void *arg),
                void *arg)
{
	LIST_FOR_EACH (node, &links->open) {
		const struct session *session = LIST_ENTRY(node, struct session, node);
		struct link_view view = { .agent = session->agent,
			                  .address = conn_peer(session->conn)->address,
			                  .chain_count = session->chain_count,
			                  .idle_ms = conn_idle_ms(session->conn),
			                  .opened_ms = conn_opened_ms(session->conn),
			                  .granted_bytes = session->share.granted_bytes,
			                  .used_bytes = session->share.used_bytes };
		for (size_t i = 0; i < session->chain_count; i++) {
			const struct session_chain *place = &session->chains[i];
			view.active_count += place->chain != NULL && place->chain->active == place;
		}
		see(&view, arg);
	}
}

bool links_carrier(const struct chain *chain, const char *agent, struct carrier_view *out_view)
{
	LIST_FOR_EACH (node, &chain->carriers) {
		const struct session_chain *place = LIST_ENTRY(node, struct session_chain, node);
		if (strcmp(place->session->agent, agent) != 0)
			continue;
		*out_view = (struct carrier_view){
			.address = conn_peer(place->session->conn)->address,
			.active = chain->active == place,
			.held = place->held,
			.has_blocks = place->has_blocks,
			.tip_height = place->tip_height,
			.oldest_height = place->oldest_height,
		};
		return true;
	}
	return false;
}

const char *links_active_agent(const struct chain *chain)
{
	return chain->active != NULL ? chain->active->session->agent : NULL;
}

size_t links_carrier_count(const struct chain *chain)
{
	size_t count = 0;
	LIST_FOR_EACH (node, &chain->carriers)
		count++;
	return count;
}
