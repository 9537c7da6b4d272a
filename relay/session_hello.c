/* session_hello.c -- who speaks for which chain: hello and welcome, active and standby, take-over.
 *
 * A chain may be carried by several agents. One is active, the first that came; when it leaves, is
 * refused for good, or stays silent while another has blocks that we lack, the next one takes over.
 *
 * Restore guard: an agent that shows a custody receipt of ours for a block that we do not have, or
 * have otherwise, proves that this store was restored from a copy. The chain stops until an operator
 * adopts it (architecture, P3).
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "relay/base/fault_point.h"
#include "relay/base/log.h"
#include "relay/session.h"

#define RETRY_LONG_MS 60000

static const char *software(void)
{
	return "zonerelayd " ZR_VERSION;
}

/* ---- what is said about one chain ---- */

static Zonerelay__Link__ChainState stopped_state(const struct chain *chain)
{
	if (chain->state == SPOOL_CHAIN_RETIRED)
		return CHAIN_STATE(RETIRED);
	if (chain->state == SPOOL_CHAIN_RESTORED)
		return CHAIN_STATE(RESTORED);
	return CHAIN_STATE(FROZEN);
}

static void say_partial(const struct chain *chain, Zonerelay__Link__ChainWelcome *message)
{
	const struct partial *partial = &chain->partial;
	if (partial->data == NULL)
		return;
	/* The generated type knows no const; nobody writes through it. */
	message->partial_batch =
		(ProtobufCBinaryData){ HASH_SIZE,
		                       (uint8_t *)(uintptr_t)partial->header.content.bytes };
	message->partial_size = partial->received;
}

void chain_words(const struct links *links, const struct session_chain *place,
                 struct chain_words *out_words)
{
	Zonerelay__Link__ChainWelcome *message = &out_words->message;
	zonerelay__link__chain_welcome__init(message);
	const struct chain *chain = place->chain;
	const char *reason = "";
	if (chain == NULL) {
		message->state = place->refused;
		reason = place->refused_reason;
	} else {
		const struct walk_position *durable = &chain->admission.durable;
		const struct dictionary *dictionary;
		message->next_height = durable->next_height;
		if (durable->next_height > 0)
			message->tip_hash =
				(ProtobufCBinaryData){ HASH_SIZE,
				                       (uint8_t *)(uintptr_t)durable->tip.bytes };
		message->anchored_next = chain->anchored_next;
		if (!chain_takes(chain, &reason)) {
			message->state = stopped_state(chain);
		} else if (chain->active == place && !place->held) {
			message->state = CHAIN_STATE(ACTIVE);
			say_partial(chain, message);
		} else {
			message->state = CHAIN_STATE(STANDBY);
			reason = place->held ? "what it sent was refused"
			                     : "another agent is active";
		}
		const struct hash *wanted =
			chain->config != NULL ? &chain->config->class->dictionary : NULL;
		if (wanted != NULL && !hash_is_zero(wanted) &&
		    dictionaries_find(links->options.dictionaries, wanted, &dictionary, NULL))
			message->dictionary =
				(ProtobufCBinaryData){ HASH_SIZE,
				                       (uint8_t *)(uintptr_t)wanted->bytes };
	}
	(void)snprintf(out_words->reason, sizeof(out_words->reason), "%s", reason);
	message->reason = out_words->reason;
}

void session_send_update(struct session_chain *place)
{
	struct chain_words words;
	Zonerelay__Link__ChainUpdate update = ZONERELAY__LINK__CHAIN_UPDATE__INIT;
	Zonerelay__Link__Frame frame = ZONERELAY__LINK__FRAME__INIT;
	chain_words(place->session->links, place, &words);
	update.chain = place->place;
	update.welcome = &words.message;
	frame.body_case = BODY(CHAIN_UPDATE);
	frame.chain_update = &update;
	session_send(place->session, &frame);
}

/* ---- active and standby ---- */

static void send_resend(struct links *links, struct chain *chain)
{
	Zonerelay__Link__Resend resend = ZONERELAY__LINK__RESEND__INIT;
	Zonerelay__Link__Frame frame = ZONERELAY__LINK__FRAME__INIT;
	char reason[] = "asked for by the gateway";
	resend.chain = chain->active->place;
	resend.from = chain->resend_from;
	resend.to = chain->resend_to;
	resend.reason = reason;
	frame.body_case = BODY(RESEND);
	frame.resend = &resend;
	session_send(chain->active->session, &frame);
	FAULT_POINT(RESEND_SENT);
	chain->resend_wanted = false;
	links->options.counters->resends_asked++;
	log_info("resend-asked", "chain=%s from=%" PRIu64 " to=%" PRIu64 " agent=%s",
	         chain->id.name, chain->resend_from, chain->resend_to,
	         chain->active->session->agent);
}

void links_resend(struct links *links, struct chain *chain, uint64_t from, uint64_t to,
                  const char *reason)
{
	log_info("resend-wanted", "chain=%s from=%" PRIu64 " to=%" PRIu64 " why=\"%s\"",
	         chain->id.name, from, to, reason);
	chain->resend_from = from;
	chain->resend_to = to;
	chain->resend_wanted = true;
	chain->repairing = true;
	if (chain->active != NULL)
		send_resend(links, chain);
}

void chain_make_active(struct links *links, struct chain *chain, struct session_chain *place)
{
	/* What one agent began is not another's to finish: its name might be false. */
	if (strcmp(chain->partial_agent, place->session->agent) != 0)
		partial_drop(links->options.partials, &chain->partial);
	chain->active = place;
	chain->progress_ms = clock_monotonic_ms(links->options.clock);
	chain->partial.attended = true;
}

void session_chain_give_back(struct session_chain *place)
{
	struct session *session = place->session;
	if (session->state == SESSION_OPEN &&
	    (place->partial_bytes > 0 || place->partial_batches > 0))
		share_done(&session->links->share, &session->share, place->partial_bytes,
		           place->partial_batches);
	place->partial_bytes = 0;
	place->partial_batches = 0;
}

void session_chain_hold(struct session_chain *place)
{
	struct chain *chain = place->chain;
	if (chain == NULL || chain->active != place)
		return;
	session_chain_give_back(place);
	place->held = true;
	chain->active = NULL;
	chain->partial.attended = false;
	chain_elect(place->session->links, chain);
}

void chain_elect(struct links *links, struct chain *chain)
{
	const char *why;
	if (chain->active != NULL || !chain_takes(chain, &why))
		return;
	LIST_FOR_EACH (node, &chain->carriers) {
		struct session_chain *place = LIST_ENTRY(node, struct session_chain, node);
		if (place->held || place->session->state != SESSION_OPEN)
			continue;
		chain_make_active(links, chain, place);
		links->options.counters->takeovers++;
		log_info("chain-taken-over", "chain=%s agent=%s", chain->id.name,
		         place->session->agent);
		session_send_update(place);
		if (chain->resend_wanted)
			send_resend(links, chain);
		return;
	}
}

void links_chain_changed(struct links *links, struct chain *chain)
{
	struct err err;
	const char *why;
	if (!chain_refresh(links->options.chains, chain, &err))
		log_error("chain-unreadable", "chain=%s detail=\"%s\"", chain->id.name,
		          err.message);
	bool takes = chain_takes(chain, &why);
	if (!takes) {
		if (chain->active != NULL)
			session_chain_give_back(chain->active);
		chain->active = NULL;
		partial_drop(links->options.partials, &chain->partial);
	}
	/* Whatever an agent was refused for, an operator has looked at it now. */
	LIST_FOR_EACH (node, &chain->carriers)
		LIST_ENTRY(node, struct session_chain, node)->held = false;
	if (takes)
		chain_elect(links, chain);
	LIST_FOR_EACH (node, &chain->carriers)
		session_send_update(LIST_ENTRY(node, struct session_chain, node));
}

/* ---- the restore guard ---- */

struct restored_op {
	struct writer_op op;
	struct chain *stopped; /* The loop's. Chains live as long as the writer. */
	struct chain_key chain;
	char reason[SPOOL_REASON_MAX + 1];
	int64_t now_ms;
};

static bool apply_restored(struct spool_txn *txn, struct writer_op *op, struct err *err)
{
	struct restored_op *restored = (struct restored_op *)op;
	struct spool_chain row;
	if (!spool_chain_in(txn, &restored->chain, &row, err))
		return false;
	const struct spool_chain_state_change change = { .chain = restored->chain,
		                                         .state = SPOOL_CHAIN_RESTORED,
		                                         .reason = restored->reason,
		                                         .who = "gateway",
		                                         .delivery_held = true,
		                                         .now_ms = restored->now_ms };
	return spool_chain_set_state(txn, &change, err);
}

static void restored_done(struct writer_op *op)
{
	struct restored_op *restored = (struct restored_op *)op;
	if (op->ok)
		restored->stopped->loss_unsaved = false;
	else
		log_error("chain-restored-unsaved", "detail=\"%s\"", op->err.message);
	free(restored);
}

static void stop_restored(struct links *links, struct chain *chain, uint64_t height,
                          const char *agent)
{
	log_error("chain-restored",
	          "chain=%s height=%" PRIu64 " next=%" PRIu64
	          " agent=%s why=\"the agent holds our receipt for a block that is not here: this "
	          "store was restored from a copy; zonerelay adopt\"",
	          chain->id.name, height, chain->admission.durable.next_height, agent);
	if (!chain->loss_unsaved)
		links->options.counters->chains_restored++;
	chain->loss_unsaved = true;
	chain->state = SPOOL_CHAIN_RESTORED;
	(void)snprintf(chain->state_reason, sizeof(chain->state_reason),
	               "the agent %s holds our receipt for block %" PRIu64 ", which is not here",
	               agent, height);
	struct restored_op *restored = calloc(1, sizeof(*restored));
	struct err err;
	if (restored == NULL)
		return; /* It is stopped in memory, and the next hello shows the same again. */
	restored->op = (struct writer_op){ .work = SPOOL_UPKEEP,
		                           .apply = apply_restored,
		                           .on_done = restored_done,
		                           .reply = links->options.commits };
	restored->stopped = chain;
	restored->chain = chain->key;
	restored->now_ms = clock_wall_ms(links->options.clock);
	(void)snprintf(restored->reason, sizeof(restored->reason), "%s", chain->state_reason);
	if (!writer_submit(links->options.writer, &restored->op, &err))
		free(restored);
}

/* Does the hello prove that we promised more than we have? */
static bool shows_loss(struct links *links, const struct chain *chain,
                       const Zonerelay__Link__ChainHello *hello)
{
	struct custody custody = { .chain = chain->id,
		                   .from = hello->custody_from,
		                   .to = hello->custody_height };
	if (!hello->has_custody || hello->custody == NULL ||
	    !hash_from_bytes(&custody.tip,
	                     (struct bytes){ hello->custody_tip.data, hello->custody_tip.len }) ||
	    !hash_from_bytes(&custody.content, (struct bytes){ hello->custody_content.data,
	                                                       hello->custody_content.len }))
		return false;
	if (custody.to < chain->admission.durable.next_height) {
		struct block_header ours;
		if (!spool_header(links->options.spool, &chain->key, custody.to, &ours, NULL) ||
		    hash_equal(&ours.hash, &custody.tip))
			return false;
	}
	/* Only now is the signature worth checking. */
	const struct key *key =
		receipts_key(links->options.receipts, (struct bytes){ hello->custody->key_id.data,
	                                                              hello->custody->key_id.len });
	struct err err;
	if (key != NULL && custody_receipt_check(hello->custody, spool_uuid(links->options.spool),
	                                         &custody, key, &err))
		return true;
	log_warn("receipt-foreign", "chain=%s height=%" PRIu64, chain->id.name, custody.to);
	return false;
}

/* ---- hello ---- */

static void refuse_place(struct session_chain *place, Zonerelay__Link__ChainState state,
                         const char *reason)
{
	place->chain = NULL;
	place->refused = state;
	(void)snprintf(place->refused_reason, sizeof(place->refused_reason), "%.*s",
	               (int)sizeof(place->refused_reason) - 1, reason);
}

/* False: we cannot say anything about the chain now, and the whole hello is to come again. */
static bool greet_chain(struct session *session, struct session_chain *place,
                        const Zonerelay__Link__ChainHello *hello, struct err *err)
{
	struct links *links = session->links;
	const struct chain_config *config = config_chain(links->options.config, hello->name);
	struct hash epoch;
	(void)snprintf(place->name, sizeof(place->name), "%s", hello->name);
	if (config == NULL ||
	    !hash_from_bytes(&epoch, (struct bytes){ hello->epoch.data, hello->epoch.len })) {
		refuse_place(place, CHAIN_STATE(UNKNOWN), "no such chain in the zone file");
		return true;
	}
	if (!config_chain_grants(config, session->agent)) {
		log_warn("chain-denied", "chain=%s agent=%s", hello->name, session->agent);
		refuse_place(place, CHAIN_STATE(DENIED), "not granted to this agent");
		return true;
	}
	struct chain *chain;
	if (!chains_find(links->options.chains, hello->name, &epoch, &chain, err)) {
		if (err_fate(err->code) != ERR_REJECT)
			return false; /* Our trouble; the chain may be as well known as any. */
		log_warn("chain-unknown", "chain=%s agent=%s detail=\"%s\"", hello->name,
		         session->agent, err->message);
		refuse_place(place, CHAIN_STATE(UNKNOWN), err->message);
		return true;
	}
	if (carrier_of_link(chain, session->number) != NULL) {
		refuse_place(place, CHAIN_STATE(DENIED), "named twice");
		return true;
	}
	place->chain = chain;
	place->has_blocks = hello->has_blocks;
	place->oldest_height = hello->oldest_height;
	place->tip_height = hello->tip_height;
	place->anchored_next = hello->anchored_next;
	list_append(&chain->carriers, &place->node);
	if ((chain->state == SPOOL_CHAIN_ACTIVE || chain->loss_unsaved) &&
	    shows_loss(links, chain, hello))
		stop_restored(links, chain, hello->custody_height, session->agent);
	const char *why;
	if (chain->active == NULL && chain_takes(chain, &why))
		chain_make_active(links, chain, place);
	uint64_t priority = config->class->priority;
	if (priority > session->share.weight)
		session->share.weight = (uint32_t)priority;
	return true;
}

static bool places_new(struct session *session, size_t count)
{
	session->chains = calloc(count > 0 ? count : 1, sizeof(*session->chains));
	if (session->chains == NULL)
		return false;
	for (size_t i = 0; i < count; i++) {
		struct session_chain *place = &session->chains[i];
		list_init(&place->node);
		list_init(&place->due);
		place->session = session;
		place->place = (uint32_t)i;
	}
	session->chain_count = count;
	return true;
}

/* ---- welcome ---- */

static void fill_limits(const struct links *links, Zonerelay__Link__Limits *out_limits)
{
	const struct gateway_config *gateway = &links->options.config->gateway;
	zonerelay__link__limits__init(out_limits);
	out_limits->frame_max_bytes = (uint32_t)gateway->limits.frame_bytes;
	out_limits->chunk_max_bytes = (uint32_t)gateway->limits.chunk_bytes;
	out_limits->batch_max_bytes = gateway->limits.batch_bytes;
	out_limits->batch_max_blocks = (uint32_t)gateway->limits.batch_block_count;
	out_limits->block_max_bytes = gateway->limits.block_bytes;
	out_limits->heartbeat_ms = (uint32_t)gateway->heartbeat_ms;
}

static ProtobufCBinaryData der_of(const struct cert *cert)
{
	struct bytes der = cert_der(cert);
	return (ProtobufCBinaryData){ der.size, (uint8_t *)(uintptr_t)der.data };
}

static bool send_welcome(struct session *session)
{
	struct links *links = session->links;
	const struct receipts *receipts = links->options.receipts;
	size_t count = session->chain_count;
	struct chain_words *words = calloc(count + 1, sizeof(*words));
	Zonerelay__Link__ChainWelcome **messages =
		calloc(count + 1, sizeof(Zonerelay__Link__ChainWelcome *));
	if (words == NULL || messages == NULL) {
		free(words);
		free(messages);
		return false;
	}
	for (size_t i = 0; i < count; i++) {
		chain_words(links, &session->chains[i], &words[i]);
		messages[i] = &words[i].message;
	}
	Zonerelay__Link__Limits limits;
	fill_limits(links, &limits);
	Zonerelay__Link__CreditGrant credit = ZONERELAY__LINK__CREDIT_GRANT__INIT;
	share_told(&session->share);
	credit.bytes = session->share.told_bytes;
	credit.batches = session->share.told_batches;
	ProtobufCBinaryData former[LINK_CERTIFICATES_MAX];
	for (size_t i = 0; i < receipts->former_count; i++)
		former[i] = der_of(receipts->former[i]);

	Zonerelay__Link__Welcome welcome = ZONERELAY__LINK__WELCOME__INIT;
	Zonerelay__Link__Frame frame = ZONERELAY__LINK__FRAME__INIT;
	welcome.version = LINK_VERSION;
	welcome.software = (char *)(uintptr_t)software();
	welcome.store_uuid =
		(ProtobufCBinaryData){ STORE_UUID_SIZE,
		                       (uint8_t *)(uintptr_t)spool_uuid(links->options.spool) };
	welcome.time_ms = clock_wall_ms(links->options.clock);
	welcome.n_chains = count;
	welcome.chains = messages;
	welcome.limits = &limits;
	welcome.credit = &credit;
	welcome.receipt_certificate = der_of(receipts->certificate);
	welcome.n_receipt_certificates_old = receipts->former_count;
	welcome.receipt_certificates_old = former;
	frame.body_case = BODY(WELCOME);
	frame.welcome = &welcome;
	session_send(session, &frame);
	free(words);
	free(messages);
	return true;
}

static bool acceptable(struct session *session, const Zonerelay__Link__Hello *hello)
{
	struct links *links = session->links;
	if (hello->version_min > LINK_VERSION || hello->version_max < LINK_VERSION) {
		session_goodbye(session, GOODBYE(VERSION), jittered_ms(10 * RETRY_LONG_MS),
		                "no version in common: ours is 1");
		return false;
	}
	if (hello->store_uuid.len > 0 &&
	    (hello->store_uuid.len != STORE_UUID_SIZE ||
	     memcmp(hello->store_uuid.data, spool_uuid(links->options.spool), STORE_UUID_SIZE) !=
	             0)) {
		session_goodbye(session, GOODBYE(STORE), jittered_ms(RETRY_LONG_MS),
		                "this is not the store that you have pinned");
		return false;
	}
	return true;
}

void session_on_hello(struct session *session, const Zonerelay__Link__Hello *hello)
{
	struct links *links = session->links;
	FAULT_POINT(HELLO_READ);
	if (!acceptable(session, hello)) {
		links->options.counters->hello_refused++;
		return;
	}
	struct session *former = session_of_agent(links, session->agent);
	if (former != NULL) {
		links->options.counters->links_replaced++;
		session_goodbye(former, GOODBYE(REPLACED), jittered_ms(RETRY_LONG_MS),
		                "the same certificate connected again");
	}
	if (!places_new(session, hello->n_chains)) {
		session_goodbye(session, GOODBYE(BUSY), jittered_ms(RETRY_LONG_MS), "no memory");
		return;
	}
	session_opened(session);
	for (size_t i = 0; i < hello->n_chains; i++) {
		struct err err;
		if (!greet_chain(session, &session->chains[i], hello->chains[i], &err)) {
			log_error("hello-not-answered", "agent=%s chain=%s detail=\"%s\"",
			          session->agent, hello->chains[i]->name, err.message);
			session_goodbye(session, GOODBYE(BUSY), jittered_ms(RETRY_LONG_MS),
			                "the gateway cannot look at its chains now");
			return;
		}
	}
	share_want(&links->share, &session->share);
	links_grant(links);
	if (!send_welcome(session)) {
		session_goodbye(session, GOODBYE(BUSY), jittered_ms(RETRY_LONG_MS), "no memory");
		return;
	}
	FAULT_POINT(WELCOME_SENT);
	session->welcomed = true;
	operators_publish(*links->options.feed, "agent-connected",
	                  json_pack("{s:s, s:s, s:I, s:s}", "agent", session->agent, "peer",
	                            conn_peer(session->conn)->address, "chains",
	                            (json_int_t)session->chain_count, "reason", ""));
	log_info("link-welcomed", "agent=%s address=%s chains=%zu software=\"%s\"", session->agent,
	         conn_peer(session->conn)->address, session->chain_count, hello->software);
	for (size_t i = 0; i < session->chain_count; i++) {
		struct session_chain *place = &session->chains[i];
		if (place->chain == NULL)
			continue;
		session_chain_due(place);
		if (place->chain->active == place && place->chain->resend_wanted)
			send_resend(links, place->chain);
	}
}
