/* hello.c -- the one round trip that begins a link: what we hold, and what the gateway has. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "relay/base/fault_point.h"
#include "relay/base/log.h"
#include "relay/edge/agent.h"

/* A piece and its frame fit one TLS record, which counts only when it is whole: what a link that
 * breaks often has carried is then of use. */
#define CHUNK_MAX_BYTES (15u << 10)

#define GATEWAY_TIME_STORE_MS (60 * 60 * 1000) /* Stored again after so long. */
#define GATEWAY_TIME_RISE_MS  10000            /* Or at once, if it was behind by more. */

/* What one ChainHello points into. */
struct hello_chain {
	Zonerelay__Link__ChainHello message;
	struct hash tip, custody_tip, custody_content;
	Zonerelay__Link__CustodyReceipt *custody;
};

static ProtobufCBinaryData binary_of_hash(struct hash *hash)
{
	return (ProtobufCBinaryData){ HASH_SIZE, hash->bytes };
}

static void say_custody(struct agent *agent, struct edge_chain *chain, struct hello_chain *hello)
{
	struct agent_custody custody;
	struct buffer receipt = BUFFER_EMPTY;
	struct err err;
	bool found = false;
	if (!agent_custody_newest(chain->store, &chain->source->key, &custody, &receipt, &found,
	                          &err)) {
		agent_fail(agent, &err);
	} else if (found && link_custody_decode(buffer_bytes(&receipt), &hello->custody, &err)) {
		hello->custody_tip = custody.tip;
		hello->custody_content = custody.content;
		hello->message.has_custody = true;
		hello->message.custody_height = custody.to;
		hello->message.custody_from = custody.from;
		hello->message.custody = hello->custody;
		hello->message.custody_tip = binary_of_hash(&hello->custody_tip);
		hello->message.custody_content = binary_of_hash(&hello->custody_content);
	}
	buffer_fini(&receipt);
}

static void say_chain(struct agent *agent, struct edge_chain *chain, struct hello_chain *hello)
{
	const struct source_view *view = &chain->source->view;
	Zonerelay__Link__ChainHello init = ZONERELAY__LINK__CHAIN_HELLO__INIT;
	struct block_header tip;
	hello->message = init;
	hello->message.name = chain->source->id.name;
	hello->message.epoch = binary_of_hash(&chain->source->id.epoch);
	hello->message.anchored_next = chain->facts.anchored_next;
	if (view->oldest < view->next && edge_chain_header(agent, chain, view->next - 1, &tip)) {
		hello->tip = tip.hash;
		hello->message.has_blocks = true;
		hello->message.oldest_height = view->oldest;
		hello->message.tip_height = view->next - 1;
		hello->message.tip_hash = binary_of_hash(&hello->tip);
	}
	say_custody(agent, chain, hello);
}

bool hello_send(struct agent *agent)
{
	Zonerelay__Link__Hello hello = ZONERELAY__LINK__HELLO__INIT;
	Zonerelay__Link__Frame frame = ZONERELAY__LINK__FRAME__INIT;
	ProtobufCBinaryData dictionaries[DICTIONARIES_MAX];
	struct hash hashes[DICTIONARIES_MAX];
	struct hello_chain *chains = calloc(agent->chain_count, sizeof(chains[0]));
	Zonerelay__Link__ChainHello **messages = calloc(agent->chain_count, sizeof(messages[0]));
	bool ok = chains != NULL && messages != NULL;
	for (size_t i = 0; ok && i < agent->chain_count; i++) {
		say_chain(agent, &agent->chains[i], &chains[i]);
		messages[i] = &chains[i].message;
		if (agent->chains[i].facts.pinned)
			hello.store_uuid =
				(ProtobufCBinaryData){ STORE_UUID_SIZE,
				                       agent->chains[i].facts.store_uuid };
	}
	for (size_t i = 0; i < agent->dictionaries.count; i++) {
		hashes[i] = *dictionary_hash(agent->dictionaries.items[i]);
		dictionaries[i] = binary_of_hash(&hashes[i]);
	}
	hello.version_min = LINK_VERSION;
	hello.version_max = LINK_VERSION;
	hello.software = (char *)(uintptr_t) "zonerelay-edge " ZR_VERSION;
	hello.n_chains = agent->chain_count;
	hello.chains = messages;
	hello.n_dictionaries = agent->dictionaries.count;
	hello.dictionaries = dictionaries;
	frame.body_case = ZONERELAY__LINK__FRAME__BODY_HELLO;
	frame.hello = &hello;
	ok = ok && link_send(agent, &frame);
	for (size_t i = 0; chains != NULL && i < agent->chain_count; i++)
		link_custody_free(chains[i].custody);
	free(chains);
	free(messages);
	return ok;
}

/* ---- welcome ---- */

/* One certificate of the CA file after the other; a former receipt key's certificate may have
 * expired. One that does not fit is no reason to stop: its receipts will not be believed. */
static void take_receipt_keys(struct agent *agent, const Zonerelay__Link__Welcome *welcome)
{
	struct cert **certs = NULL;
	size_t count = 0;
	struct err err;
	receipt_keys_clear(&agent->link.keys);
	if (!cert_read_file(&certs, &count, agent->live->tls.ca, &err)) {
		log_error("ca-unreadable", "detail=\"%s\"", err.message);
		return;
	}
	struct cert_trust trust = { .roots = (const struct cert *const *)certs,
		                    .root_count = count };
	struct bytes der = { welcome->receipt_certificate.data, welcome->receipt_certificate.len };
	int64_t now_ms = clock_wall_ms(&agent->clock.clock);
	if (der.size > 0 && !receipt_keys_add(&agent->link.keys, der, &trust, now_ms, &err))
		log_error("receipt-key-refused", "detail=\"%s\"", err.message);
	for (size_t i = 0; i < welcome->n_receipt_certificates_old; i++) {
		der = (struct bytes){ welcome->receipt_certificates_old[i].data,
			              welcome->receipt_certificates_old[i].len };
		if (!receipt_keys_add(&agent->link.keys, der, &trust, CERT_ANY_TIME, &err))
			log_warn("receipt-key-refused", "detail=\"%s\"", err.message);
	}
	for (size_t i = 0; i < count; i++)
		cert_free(certs[i]);
	free(certs);
}

static enum upload_grant grant_of(Zonerelay__Link__ChainState state)
{
	switch (state) {
	case ZONERELAY__LINK__CHAIN_STATE__CHAIN_STATE_ACTIVE:
		return GRANT_ACTIVE;
	case ZONERELAY__LINK__CHAIN_STATE__CHAIN_STATE_STANDBY:
		return GRANT_STANDBY;
	case ZONERELAY__LINK__CHAIN_STATE__CHAIN_STATE_FROZEN:
		return GRANT_FROZEN;
	case ZONERELAY__LINK__CHAIN_STATE__CHAIN_STATE_DENIED:
		return GRANT_DENIED;
	case ZONERELAY__LINK__CHAIN_STATE__CHAIN_STATE_RETIRED:
		return GRANT_RETIRED;
	case ZONERELAY__LINK__CHAIN_STATE__CHAIN_STATE_RESTORED:
		return GRANT_RESTORED;
	case ZONERELAY__LINK__CHAIN_STATE__CHAIN_STATE_UNKNOWN:
	case ZONERELAY__LINK__CHAIN_STATE__CHAIN_STATE_UNSPECIFIED:
	case _ZONERELAY__LINK__CHAIN_STATE_IS_INT_SIZE:
		break;
	}
	return GRANT_UNKNOWN; /* A state of a later version stops the chain, too. */
}

/* The first gateway store that takes the chain is the only one that may. */
static bool pin_store(struct agent *agent, struct edge_chain *chain, enum upload_grant grant)
{
	struct err err;
	if (chain->facts.pinned || (grant != GRANT_ACTIVE && grant != GRANT_STANDBY))
		return true;
	FAULT_POINT(GATEWAY_PINNING);
	bool pinned = agent_pin(chain->store, &chain->source->key, agent->link.store_uuid, &err);
	FAULT_POINT(GATEWAY_PINNED);
	if (pinned && edge_chain_refresh(chain, &err))
		return true;
	if (err_fate(err.code) == ERR_STOP)
		agent_fail(agent, &err);
	else /* A full disk: nothing is handed over before it is known to whom. */
		link_give_up(agent, ZONERELAY__LINK__GOODBYE_REASON__GOODBYE_REASON_BUSY,
		             "chain %s: %s", chain->config->name, err.message);
	return false;
}

static enum upload_tip compare_tip(struct agent *agent, struct edge_chain *chain,
                                   const Zonerelay__Link__ChainWelcome *welcome)
{
	struct block_header header;
	struct hash tip;
	struct bytes theirs = { welcome->tip_hash.data, welcome->tip_hash.len };
	if (welcome->next_height == 0 || !hash_from_bytes(&tip, theirs) ||
	    !edge_chain_header(agent, chain, welcome->next_height - 1, &header))
		return TIP_NOT_HELD;
	return hash_equal(&header.hash, &tip) ? TIP_SAME : TIP_OTHER;
}

static void want_dictionary(struct agent *agent, struct edge_chain *chain,
                            const ProtobufCBinaryData *wanted)
{
	struct bytes bytes = { wanted->data, wanted->len };
	chain->dictionary = (struct hash){ { 0 } };
	chain->dictionary_refused = false;
	if (!hash_from_bytes(&chain->dictionary, bytes) ||
	    edge_dictionary(agent, &chain->dictionary) != NULL)
		return;
	for (size_t i = 0; i < agent->chain_count; i++) {
		if (agent->chains[i].dictionary_wanted_ms != 0 &&
		    hash_equal(&agent->chains[i].dictionary, &chain->dictionary))
			return; /* Asked for already. */
	}
	Zonerelay__Link__DictionaryWanted ask = ZONERELAY__LINK__DICTIONARY_WANTED__INIT;
	Zonerelay__Link__Frame frame = ZONERELAY__LINK__FRAME__INIT;
	ask.dictionary = binary_of_hash(&chain->dictionary);
	frame.body_case = ZONERELAY__LINK__FRAME__BODY_DICTIONARY_WANTED;
	frame.dictionary_wanted = &ask;
	if (link_send(agent, &frame))
		chain->dictionary_wanted_ms = agent_now_ms(agent);
}

/* Has the link before this one carried something that nobody had the time to answer? */
static void look_for_progress(struct agent *agent, struct edge_chain *chain,
                              const struct upload_welcome *facts)
{
	bool further = facts->next_height != chain->told_next
	                       ? facts->next_height > chain->told_next
	                       : facts->partial_size > chain->told_partial;
	chain->told_next = facts->next_height;
	chain->told_partial = facts->partial_size;
	if (further)
		redial_on_answer(&agent->link.redial);
}

void chain_welcome_on(struct agent *agent, size_t index,
                      const Zonerelay__Link__ChainWelcome *welcome)
{
	struct edge_chain *chain = &agent->chains[index];
	struct upload_welcome facts = {
		.grant = grant_of(welcome->state),
		.next_height = welcome->next_height,
		.tip = compare_tip(agent, chain, welcome),
		.partial_size = welcome->partial_size,
	};
	struct bytes partial = { welcome->partial_batch.data, welcome->partial_batch.len };
	if (!hash_from_bytes(&facts.partial_batch, partial))
		facts.partial_size = 0;
	look_for_progress(agent, chain, &facts);
	if (!pin_store(agent, chain, facts.grant))
		return;
	upload_on_welcome(agent->upload, index, &facts, agent_now_ms(agent));
	snprintf(chain->why_held, sizeof(chain->why_held), "%.127s", welcome->reason);

	struct upload_status status;
	upload_status(agent->upload, index, &status);
	log_info("chain-welcomed",
	         "chain=%s state=%s hold=%s next=%" PRIu64 " partial=%" PRIu64 " anchored=%" PRIu64
	         " held=%" PRIu64 "..%" PRIu64 " detail=\"%s\"",
	         chain->config->name, upload_state_name(status.state),
	         upload_hold_name(status.hold), welcome->next_height, welcome->partial_size,
	         welcome->anchored_next, chain->source->view.oldest, chain->source->view.next,
	         chain->why_held);
	if (chain->source->ops->freeze != NULL)
		chain->source->ops->freeze(chain->source, status.hold == HOLD_BEHIND ||
		                                                  status.hold == HOLD_DIVERGED);
	want_dictionary(agent, chain, &welcome->dictionary);
}

/* Another store than the one a chain was handed to could anchor its blocks a second time. */
static bool is_our_store(struct agent *agent)
{
	for (size_t i = 0; i < agent->chain_count; i++) {
		const struct agent_chain *facts = &agent->chains[i].facts;
		if (!facts->pinned ||
		    memcmp(facts->store_uuid, agent->link.store_uuid, STORE_UUID_SIZE) == 0)
			continue;
		log_error("store-refused",
		          "chain=%s detail=\"the gateway is another store than the chain was "
		          "handed to; see zonerelay-edge unpin\"",
		          facts->id.name);
		return false;
	}
	return true;
}

static void take_limits(struct agent *agent, const Zonerelay__Link__Limits *limits)
{
	const struct edge_config *edge = &agent->live->edge;
	struct upload_limits upload = {
		.chunk_max_bytes = CHUNK_MAX_BYTES,
		.batch_max_bytes = edge->batch.bytes,
		.batch_max_blocks = (uint32_t)edge->batch.block_count,
		.block_max_bytes = edge->block_bytes,
	};
	int64_t heartbeat_ms = HEARTBEAT_START_MS;
	if (limits != NULL) {
		if (limits->chunk_max_bytes > 0 && limits->chunk_max_bytes < CHUNK_MAX_BYTES)
			upload.chunk_max_bytes = limits->chunk_max_bytes;
		if (limits->batch_max_bytes > 0)
			upload.batch_max_bytes = limits->batch_max_bytes;
		if (limits->batch_max_blocks > 0)
			upload.batch_max_blocks = limits->batch_max_blocks;
		if (limits->block_max_bytes > 0 && limits->block_max_bytes < edge->block_bytes)
			upload.block_max_bytes = limits->block_max_bytes;
		if (limits->heartbeat_ms > 0)
			heartbeat_ms = limits->heartbeat_ms;
	}
	upload_on_link(agent->upload, &upload);
	heartbeat_on_link(&agent->link.heartbeat, heartbeat_ms, agent_now_ms(agent));
}

void gateway_time_on(struct agent *agent, int64_t time_ms)
{
	struct err err;
	int64_t now_ms = agent_now_ms(agent);
	int64_t rise_ms = time_ms - edge_clock_floor_ms(&agent->clock);
	bool first = agent->gateway_time_stored_ms == 0;
	bool rose = edge_clock_on_gateway(&agent->clock, time_ms);
	if (!first && !(rose && rise_ms > GATEWAY_TIME_RISE_MS) &&
	    now_ms - agent->gateway_time_stored_ms < GATEWAY_TIME_STORE_MS)
		return;
	agent->gateway_time_stored_ms = now_ms;
	FAULT_POINT(CLOCK_KEEPING);
	bool kept = agent_gateway_time_put(agent->state, edge_clock_floor_ms(&agent->clock), &err);
	FAULT_POINT(CLOCK_KEPT);
	if (kept)
		return;
	if (err_fate(err.code) == ERR_STOP)
		agent_fail(agent, &err);
	else /* A full disk. It is known as long as we run, and kept next time. */
		log_warn("gateway-time-not-kept", "detail=\"%s\"", err.message);
}

bool welcome_on(struct agent *agent, const Zonerelay__Link__Welcome *welcome)
{
	struct edge_link *link = &agent->link;
	if (welcome->version != LINK_VERSION) {
		link_give_up(agent, ZONERELAY__LINK__GOODBYE_REASON__GOODBYE_REASON_VERSION,
		             "the gateway speaks version %" PRIu32, welcome->version);
		return false;
	}
	if (welcome->n_chains != agent->chain_count || welcome->store_uuid.len != STORE_UUID_SIZE) {
		link_give_up(agent, ZONERELAY__LINK__GOODBYE_REASON__GOODBYE_REASON_PROTOCOL,
		             "the Welcome is for other chains");
		return false;
	}
	memcpy(link->store_uuid, welcome->store_uuid.data, STORE_UUID_SIZE);
	if (!is_our_store(agent)) {
		link_give_up(agent, ZONERELAY__LINK__GOODBYE_REASON__GOODBYE_REASON_STORE,
		             "the gateway is another store than the one that is pinned");
		return false;
	}
	snprintf(link->peer_software, sizeof(link->peer_software), "%.63s", welcome->software);
	gateway_time_on(agent, welcome->time_ms);
	take_receipt_keys(agent, welcome);
	take_limits(agent, welcome->limits);
	if (welcome->credit != NULL)
		upload_on_credit(agent->upload, welcome->credit->bytes, welcome->credit->batches);
	log_info("link-up", "address=%s software=\"%s\" chains=%zu receipt_keys=%zu",
	         conn_peer(link->conn)->address, link->peer_software, agent->chain_count,
	         link->keys.count);
	for (size_t i = 0; i < agent->chain_count && !agent->failed && link->state != LINK_CLOSING;
	     i++)
		chain_welcome_on(agent, i, welcome->chains[i]);
	return !agent->failed && link->state != LINK_CLOSING;
}
