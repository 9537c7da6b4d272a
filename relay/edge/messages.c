/* messages.c -- what the gateway says after its Welcome. */
#include <inttypes.h>
#include <stdio.h>

#include "relay/base/file.h"
#include "relay/base/log.h"
#include "relay/edge/agent.h"

/* The chain a message speaks of; a place that we never named ends the link. */
static struct edge_chain *chain_of(struct agent *agent, uint32_t chain)
{
	if (chain < agent->chain_count)
		return &agent->chains[chain];
	link_give_up(agent, ZONERELAY__LINK__GOODBYE_REASON__GOODBYE_REASON_PROTOCOL,
	             "a message about chain %" PRIu32 ", which we do not have", chain);
	return NULL;
}

static void on_credit(struct agent *agent, const Zonerelay__Link__CreditGrant *credit,
                      uint32_t pace_bytes_per_s)
{
	if (credit != NULL)
		upload_on_credit(agent->upload, credit->bytes, credit->batches);
	upload_on_pace(agent->upload, pace_bytes_per_s);
}

static void on_ack(struct agent *agent, const Zonerelay__Link__Ack *ack)
{
	struct edge_chain *chain = chain_of(agent, ack->chain);
	if (chain == NULL)
		return;
	receipt_on_ack(agent, ack);
	on_credit(agent, ack->credit, ack->pace_bytes_per_s);
	if (!upload_on_ack(agent->upload, ack->chain, ack->durable_next, agent_now_ms(agent)))
		log_error("ack-impossible", "chain=%s durable_next=%" PRIu64, chain->config->name,
		          ack->durable_next);
	else
		log_debug("ack", "chain=%s durable_next=%" PRIu64, chain->config->name,
		          ack->durable_next);
}

static enum upload_action_wanted action_of(Zonerelay__Link__RejectAction action)
{
	switch (action) {
	case ZONERELAY__LINK__REJECT_ACTION__REJECT_ACTION_RESUME:
		return REJECTED_RESUME;
	case ZONERELAY__LINK__REJECT_ACTION__REJECT_ACTION_RETRY_AFTER:
		return REJECTED_RETRY;
	case ZONERELAY__LINK__REJECT_ACTION__REJECT_ACTION_HOLD:
	case ZONERELAY__LINK__REJECT_ACTION__REJECT_ACTION_UNSPECIFIED:
	case _ZONERELAY__LINK__REJECT_ACTION_IS_INT_SIZE:
		break;
	}
	return REJECTED_HOLD; /* What we do not understand stops the chain. */
}

static const char *reason_name(Zonerelay__Link__RejectReason reason)
{
	const ProtobufCEnumValue *value = protobuf_c_enum_descriptor_get_value(
		&zonerelay__link__reject_reason__descriptor, (int)reason);
	return value == NULL ? "?" : value->name;
}

static void on_reject(struct agent *agent, const Zonerelay__Link__Reject *reject)
{
	struct edge_chain *chain = chain_of(agent, reject->chain);
	if (chain == NULL)
		return;
	struct upload_reject facts = {
		.action = action_of(reject->action),
		.next_height = reject->next_height,
		.retry_after_ms = reject->retry_after_ms,
	};
	struct bytes batch = { reject->batch.data, reject->batch.len };
	(void)hash_from_bytes(&facts.content, batch);
	log_warn("batch-rejected",
	         "chain=%s reason=%s next=%" PRIu64 " bad=%" PRIu64 " retry_ms=%" PRIu32
	         " detail=\"%s\"",
	         chain->config->name, reason_name(reject->reason), reject->next_height,
	         reject->bad_height, reject->retry_after_ms, reject->detail);
	if (reject->reason == ZONERELAY__LINK__REJECT_REASON__REJECT_REASON_DICTIONARY)
		chain->dictionary_refused = true;
	if (facts.action == REJECTED_HOLD)
		snprintf(chain->why_held, sizeof(chain->why_held), "%.127s", reject->detail);
	upload_on_reject(agent->upload, reject->chain, &facts, agent_now_ms(agent));
}

static void on_resend(struct agent *agent, const Zonerelay__Link__Resend *resend)
{
	struct edge_chain *chain = chain_of(agent, resend->chain);
	if (chain == NULL)
		return;
	log_info("resend-asked", "chain=%s from=%" PRIu64 " to=%" PRIu64 " detail=\"%s\"",
	         chain->config->name, resend->from, resend->to, resend->reason);
	upload_on_resend(agent->upload, resend->chain, resend->from, resend->to);
}

/* Somebody may ask us for what we compress with. */
static void on_dictionary_wanted(struct agent *agent,
                                 const Zonerelay__Link__DictionaryWanted *wanted)
{
	Zonerelay__Link__Dictionary answer = ZONERELAY__LINK__DICTIONARY__INIT;
	Zonerelay__Link__Frame frame = ZONERELAY__LINK__FRAME__INIT;
	struct hash hash;
	struct bytes bytes = { wanted->dictionary.data, wanted->dictionary.len };
	struct dictionary *held =
		hash_from_bytes(&hash, bytes) ? edge_dictionary(agent, &hash) : NULL;
	answer.dictionary = wanted->dictionary;
	if (held != NULL) {
		struct bytes content = dictionary_bytes(held);
		answer.data =
			(ProtobufCBinaryData){ content.size, (uint8_t *)(uintptr_t)content.data };
	}
	frame.body_case = ZONERELAY__LINK__FRAME__BODY_DICTIONARY;
	frame.dictionary = &answer;
	(void)link_send(agent, &frame);
}

/* Kept under its hash, so that it is fetched once. */
static void keep_dictionary(struct agent *agent, const struct hash *hash, struct bytes bytes)
{
	struct err err;
	char hex[HASH_HEX_SIZE];
	struct buffer path = BUFFER_EMPTY;
	buffer_printf(&path, "%s/%s.dict", agent->config->edge.state_dir, hash_hex(hash, hex));
	buffer_put_u8(&path, 0);
	if (!edge_dictionary_add(agent, bytes, &err) || !buffer_ok(&path, &err) ||
	    !file_write_atomic((const char *)path.data, bytes, 0644, &err))
		log_warn("dictionary-not-kept", "dictionary=%s detail=\"%s\"", hex, err.message);
	else
		log_info("dictionary-fetched", "dictionary=%s bytes=%zu", hex, bytes.size);
	buffer_fini(&path);
}

static void on_dictionary(struct agent *agent, const Zonerelay__Link__Dictionary *dictionary)
{
	struct hash hash;
	struct bytes name = { dictionary->dictionary.data, dictionary->dictionary.len };
	struct bytes bytes = { dictionary->data.data, dictionary->data.len };
	bool asked = false;
	if (!hash_from_bytes(&hash, name))
		return;
	for (size_t i = 0; i < agent->chain_count; i++) {
		struct edge_chain *chain = &agent->chains[i];
		if (chain->dictionary_wanted_ms == 0 || !hash_equal(&chain->dictionary, &hash))
			continue;
		chain->dictionary_wanted_ms = 0;
		asked = true;
	}
	struct hash actual = sha256(bytes);
	if (asked && bytes.size > 0 && hash_equal(&actual, &hash))
		keep_dictionary(agent, &hash, bytes);
	else
		log_warn("dictionary-refused", "bytes=%zu asked=%d", bytes.size, (int)asked);
}

static void on_ping(struct agent *agent, const Zonerelay__Link__Ping *ping)
{
	Zonerelay__Link__Pong pong = ZONERELAY__LINK__PONG__INIT;
	Zonerelay__Link__Frame frame = ZONERELAY__LINK__FRAME__INIT;
	pong.number = ping->number;
	pong.time_ms = clock_wall_ms(&agent->clock.clock);
	frame.body_case = ZONERELAY__LINK__FRAME__BODY_PONG;
	frame.pong = &pong;
	(void)link_send(agent, &frame);
}

static void on_pong(struct agent *agent, const Zonerelay__Link__Pong *pong)
{
	int64_t now_ms = agent_now_ms(agent);
	if (!heartbeat_on_pong(&agent->link.heartbeat, pong->number, now_ms))
		return;
	redial_on_answer(&agent->link.redial);
	if (pong->time_ms > 0)
		gateway_time_on(agent, pong->time_ms);
}

static void on_goodbye(struct agent *agent, const Zonerelay__Link__Goodbye *goodbye)
{
	const ProtobufCEnumValue *value = protobuf_c_enum_descriptor_get_value(
		&zonerelay__link__goodbye_reason__descriptor, (int)goodbye->reason);
	log_info("link-goodbye", "reason=%s retry_ms=%" PRIu32 " detail=\"%s\"",
	         value == NULL ? "?" : value->name, goodbye->retry_after_ms, goodbye->detail);
	snprintf(agent->link.last_error, sizeof(agent->link.last_error), "the gateway: %.100s",
	         goodbye->detail[0] != '\0' ? goodbye->detail
	                                    : (value == NULL ? "goodbye" : value->name));
	redial_on_goodbye(&agent->link.redial, agent_now_ms(agent), goodbye->retry_after_ms);
	link_end(agent);
}

void message_on(struct agent *agent, const Zonerelay__Link__Frame *frame)
{
	switch (frame->body_case) {
	case ZONERELAY__LINK__FRAME__BODY_ACK:
		redial_on_answer(&agent->link.redial);
		on_ack(agent, frame->ack);
		return;
	case ZONERELAY__LINK__FRAME__BODY_REJECT:
		redial_on_answer(&agent->link.redial);
		on_reject(agent, frame->reject);
		return;
	case ZONERELAY__LINK__FRAME__BODY_ANCHORED:
		receipt_on_anchored(agent, frame->anchored);
		return;
	case ZONERELAY__LINK__FRAME__BODY_RESEND:
		on_resend(agent, frame->resend);
		return;
	case ZONERELAY__LINK__FRAME__BODY_DICTIONARY_WANTED:
		on_dictionary_wanted(agent, frame->dictionary_wanted);
		return;
	case ZONERELAY__LINK__FRAME__BODY_DICTIONARY:
		on_dictionary(agent, frame->dictionary);
		return;
	case ZONERELAY__LINK__FRAME__BODY_PING:
		on_ping(agent, frame->ping);
		return;
	case ZONERELAY__LINK__FRAME__BODY_PONG:
		on_pong(agent, frame->pong);
		return;
	case ZONERELAY__LINK__FRAME__BODY_GOODBYE:
		on_goodbye(agent, frame->goodbye);
		return;
	case ZONERELAY__LINK__FRAME__BODY_CREDIT:
		on_credit(agent, frame->credit->credit, frame->credit->pace_bytes_per_s);
		return;
	case ZONERELAY__LINK__FRAME__BODY_CHAIN_UPDATE:
		if (chain_of(agent, frame->chain_update->chain) != NULL &&
		    frame->chain_update->welcome != NULL)
			chain_welcome_on(agent, frame->chain_update->chain,
			                 frame->chain_update->welcome);
		return;
	case ZONERELAY__LINK__FRAME__BODY_HELLO:
	case ZONERELAY__LINK__FRAME__BODY_WELCOME:
	case ZONERELAY__LINK__FRAME__BODY_CHUNK:
	case ZONERELAY__LINK__FRAME__BODY__NOT_SET:
	case _ZONERELAY__LINK__FRAME__BODY__CASE_IS_INT_SIZE:
		break;
	}
	link_give_up(agent, ZONERELAY__LINK__GOODBYE_REASON__GOODBYE_REASON_PROTOCOL,
	             "a frame of kind %d is not for agents", (int)frame->body_case);
}
