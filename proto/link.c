/* Three checks, from the outside in: exactly one body (the scan), every field within its limits
 * (the table), fields that must fit one another (the checks by body). */
#include "proto/link.h"

#include <assert.h>
#include <string.h>

#include "proto/compress.h"
#include "proto/frame.h"
#include "proto/merkle.h"
#include "proto/message.h"
#include "proto/record.h"

/* ---- every field's limits ---- */

#define CHAIN             RULE_NUMBER("chain", 0, LINK_CHAINS_MAX - 1)
#define HEIGHT(name)      RULE_NUMBER(name, 0, HEIGHT_MAX)
#define NEXT(name)        RULE_NUMBER(name, 0, HEIGHT_MAX + 1) /* One past a height. */
#define TIME              RULE_NUMBER("time_ms", 0, LINK_TIME_MAX_MS)
#define U32(name)         RULE_NUMBER(name, 0, UINT32_MAX)
#define U64(name)         RULE_NUMBER(name, 0, UINT64_MAX)
#define PEOPLE(name)      RULE_TEXT(name, 0, LINK_TEXT_MAX, TEXT_PEOPLE)
#define KEY_ID            RULE_BYTES("key_id", LINK_KEY_ID_SIZE, LINK_KEY_ID_SIZE)
#define SIGNATURE         RULE_BYTES("signature", 1, SIGNATURE_SIZE_MAX)
#define PATH              RULE_MANY_BYTES("path", HASH_SIZE, HASH_SIZE, MERKLE_PATH_MAX)
#define BATCH_BYTES(name) RULE_NUMBER(name, 1, LINK_BATCH_SIZE_MAX)

static const struct field_rule frame_rules[] = {
	RULE_MESSAGE("hello"),        RULE_MESSAGE("welcome"),
	RULE_MESSAGE("chunk"),        RULE_MESSAGE("ack"),
	RULE_MESSAGE("reject"),       RULE_MESSAGE("anchored"),
	RULE_MESSAGE("resend"),       RULE_MESSAGE("dictionary_wanted"),
	RULE_MESSAGE("dictionary"),   RULE_MESSAGE("ping"),
	RULE_MESSAGE("pong"),         RULE_MESSAGE("goodbye"),
	RULE_MESSAGE("credit"),       RULE_MESSAGE("chain_update"),
	RULE_BOOL("must_understand"),
};

static const struct field_rule hello_rules[] = {
	RULE_NUMBER("version_min", 1, UINT32_MAX),
	RULE_NUMBER("version_max", 1, UINT32_MAX),
	PEOPLE("software"),
	RULE_MANY_MESSAGES("chains", LINK_CHAINS_MAX),
	RULE_MANY_BYTES("dictionaries", HASH_SIZE, HASH_SIZE, LINK_DICTIONARIES_MAX),
	RULE_BYTES_OR_NONE("store_uuid", STORE_UUID_SIZE, STORE_UUID_SIZE),
};

static const struct field_rule chain_hello_rules[] = {
	RULE_TEXT("name", 1, CHAIN_NAME_MAX, TEXT_NAME),
	RULE_HASH("epoch"),
	RULE_BOOL("has_blocks"),
	HEIGHT("oldest_height"),
	HEIGHT("tip_height"),
	RULE_HASH_OR_NONE("tip_hash"),
	RULE_BOOL("has_custody"),
	HEIGHT("custody_height"),
	RULE_MESSAGE_OR_NONE("custody"),
	RULE_HASH_OR_NONE("custody_tip"),
	HEIGHT("custody_from"),
	RULE_HASH_OR_NONE("custody_content"),
	NEXT("anchored_next"),
};

static const struct field_rule welcome_rules[] = {
	RULE_NUMBER("version", 1, UINT32_MAX),
	PEOPLE("software"),
	RULE_BYTES("store_uuid", STORE_UUID_SIZE, STORE_UUID_SIZE),
	TIME,
	RULE_MANY_MESSAGES("chains", LINK_CHAINS_MAX),
	RULE_MESSAGE("limits"),
	RULE_MESSAGE("credit"),
	RULE_BYTES("receipt_certificate", 1, LINK_CERTIFICATE_MAX),
	RULE_MANY_BYTES("receipt_certificates_old", 1, LINK_CERTIFICATE_MAX, LINK_CERTIFICATES_MAX),
};

static const struct field_rule chain_welcome_rules[] = {
	RULE_ENUM("state"),
	NEXT("next_height"),
	RULE_HASH_OR_NONE("tip_hash"),
	NEXT("anchored_next"),
	RULE_HASH_OR_NONE("partial_batch"),
	RULE_NUMBER("partial_size", 0, LINK_BATCH_SIZE_MAX),
	RULE_HASH_OR_NONE("dictionary"),
	PEOPLE("reason"),
};

static const struct field_rule limits_rules[] = {
	RULE_NUMBER("frame_max_bytes", LINK_FRAME_SIZE_MIN, FRAME_MAX_BYTES_LIMIT),
	RULE_NUMBER("chunk_max_bytes", 1, LINK_CHUNK_MAX),
	BATCH_BYTES("batch_max_bytes"),
	RULE_NUMBER("batch_max_blocks", 1, LINK_BATCH_BLOCKS_MAX),
	BATCH_BYTES("block_max_bytes"),
	RULE_NUMBER("heartbeat_ms", 1, UINT32_MAX),
};

static const struct field_rule credit_grant_rules[] = { U64("bytes"), U64("batches") };

static const struct field_rule credit_rules[] = {
	RULE_MESSAGE("credit"),
	U32("pace_bytes_per_s"),
};

static const struct field_rule chunk_rules[] = {
	CHAIN,
	RULE_HASH("batch"),
	RULE_NUMBER("offset", 0, LINK_BATCH_SIZE_MAX - 1),
	RULE_BYTES("data", 1, LINK_CHUNK_MAX),
	RULE_MESSAGE_OR_NONE("header"),
};

static const struct field_rule batch_header_rules[] = {
	HEIGHT("first_height"),
	RULE_NUMBER("block_count", 1, LINK_BATCH_BLOCKS_MAX),
	BATCH_BYTES("size"),
	BATCH_BYTES("raw_size"),
	RULE_NUMBER("codec", CODEC_NONE,
	            UINT8_MAX), /* A codec that we lack is a Reject, no more. */
	RULE_HASH_OR_NONE("dictionary"),
	RULE_HASH("tip_hash"),
};

static const struct field_rule ack_rules[] = {
	CHAIN,
	NEXT("durable_next"),
	RULE_MESSAGE_OR_NONE("custody"),
	HEIGHT("from"),
	RULE_HASH_OR_NONE("content"),
	RULE_MESSAGE_OR_NONE("credit"),
	U32("pace_bytes_per_s"),
};

static const struct field_rule custody_receipt_rules[] = {
	U64("commit_number"),
	TIME,
	U64("index"),
	RULE_NUMBER("count", 1, MERKLE_COUNT_MAX),
	PATH,
	SIGNATURE,
	KEY_ID,
};

static const struct field_rule reject_rules[] = {
	CHAIN,
	RULE_HASH_OR_NONE("batch"),
	RULE_ENUM("reason"),
	RULE_ENUM("action"),
	NEXT("next_height"),
	U32("retry_after_ms"),
	PEOPLE("detail"),
	HEIGHT("bad_height"),
};

static const struct field_rule anchored_rules[] = {
	RULE_NUMBER("hash_alg", HASH_SHA256, HASH_SM3),
	RULE_NUMBER("lane", 0, UINT16_MAX),
	RULE_NUMBER("seq", 1, UINT64_MAX),
	RULE_HASH("root"),
	RULE_HASH("key"),
	TIME,
	RULE_BYTES_OR_NONE("evidence", 1, LINK_EVIDENCE_MAX),
	RULE_TEXT("sink", 1, LINK_SINK_MAX, TEXT_NAME),
	SIGNATURE,
	KEY_ID,
	RULE_MANY_MESSAGES("entries", LINK_CHAINS_MAX),
};

static const struct field_rule anchored_entry_rules[] = {
	CHAIN,
	HEIGHT("from"),
	HEIGHT("to"),
	RULE_HASH("tip"),
	RULE_NUMBER("policy", POLICY_ALL, POLICY_TAIL),
	RULE_HASH("subtree"),
	U64("index"),
	RULE_NUMBER("count", 1, ANCHOR_ENTRIES_MAX),
	PATH,
};

static const struct field_rule resend_rules[] = {
	CHAIN,
	HEIGHT("from"),
	HEIGHT("to"),
	PEOPLE("reason"),
};

static const struct field_rule dictionary_wanted_rules[] = { RULE_HASH("dictionary") };

static const struct field_rule dictionary_rules[] = {
	RULE_HASH("dictionary"),
	RULE_BYTES_OR_NONE("data", 1, DICTIONARY_SIZE_MAX),
};

static const struct field_rule ping_rules[] = { U64("number") };

static const struct field_rule pong_rules[] = { U64("number"), TIME };

static const struct field_rule goodbye_rules[] = {
	RULE_ENUM("reason"),
	U32("retry_after_ms"),
	PEOPLE("detail"),
};

static const struct field_rule chain_update_rules[] = { CHAIN, RULE_MESSAGE("welcome") };

static const struct message_rules messages[] = {
	MESSAGE_RULES(zonerelay__link__frame__descriptor, frame_rules),
	MESSAGE_RULES(zonerelay__link__hello__descriptor, hello_rules),
	MESSAGE_RULES(zonerelay__link__chain_hello__descriptor, chain_hello_rules),
	MESSAGE_RULES(zonerelay__link__welcome__descriptor, welcome_rules),
	MESSAGE_RULES(zonerelay__link__chain_welcome__descriptor, chain_welcome_rules),
	MESSAGE_RULES(zonerelay__link__limits__descriptor, limits_rules),
	MESSAGE_RULES(zonerelay__link__credit_grant__descriptor, credit_grant_rules),
	MESSAGE_RULES(zonerelay__link__credit__descriptor, credit_rules),
	MESSAGE_RULES(zonerelay__link__chunk__descriptor, chunk_rules),
	MESSAGE_RULES(zonerelay__link__batch_header__descriptor, batch_header_rules),
	MESSAGE_RULES(zonerelay__link__ack__descriptor, ack_rules),
	MESSAGE_RULES(zonerelay__link__custody_receipt__descriptor, custody_receipt_rules),
	MESSAGE_RULES(zonerelay__link__reject__descriptor, reject_rules),
	MESSAGE_RULES(zonerelay__link__anchored__descriptor, anchored_rules),
	MESSAGE_RULES(zonerelay__link__anchored_entry__descriptor, anchored_entry_rules),
	MESSAGE_RULES(zonerelay__link__resend__descriptor, resend_rules),
	MESSAGE_RULES(zonerelay__link__dictionary_wanted__descriptor, dictionary_wanted_rules),
	MESSAGE_RULES(zonerelay__link__dictionary__descriptor, dictionary_rules),
	MESSAGE_RULES(zonerelay__link__ping__descriptor, ping_rules),
	MESSAGE_RULES(zonerelay__link__pong__descriptor, pong_rules),
	MESSAGE_RULES(zonerelay__link__goodbye__descriptor, goodbye_rules),
	MESSAGE_RULES(zonerelay__link__chain_update__descriptor, chain_update_rules),
};

static const struct rule_table table = { messages, sizeof(messages) / sizeof(messages[0]) };

const struct rule_table *link_rules(void)
{
	return &table;
}

/* ---- fields that must fit one another ---- */

static bool check_range(uint64_t from, uint64_t to, struct err *err)
{
	return from <= to || err_set(err, ZR_INVALID, "a range that ends before it begins");
}

static bool check_path(uint64_t index, uint64_t count, size_t node_count, struct err *err)
{
	if (index >= count)
		return err_set(err, ZR_INVALID, "index is not below count");
	if (node_count != merkle_path_length(index, count))
		return err_set(err, ZR_INVALID, "a path of %zu nodes, must be %zu", node_count,
		               merkle_path_length(index, count));
	return true;
}

static bool check_custody(const Zonerelay__Link__CustodyReceipt *custody, struct err *err)
{
	return check_path(custody->index, custody->count, custody->n_path, err) ||
	       err_wrap(err, "custody");
}

static bool check_chain_hello(const Zonerelay__Link__ChainHello *chain, struct err *err)
{
	if (chain->has_blocks && chain->tip_hash.len == 0)
		return err_set(err, ZR_INVALID, "blocks without a tip_hash");
	if (chain->has_blocks && !check_range(chain->oldest_height, chain->tip_height, err))
		return err_wrap(err, "blocks");
	if (!chain->has_custody)
		return true;
	if (chain->custody == NULL || chain->custody_tip.len == 0 ||
	    chain->custody_content.len == 0)
		return err_set(err, ZR_INVALID, "custody is not complete");
	return check_range(chain->custody_from, chain->custody_height, err) &&
	       check_custody(chain->custody, err);
}

static bool check_hello(const Zonerelay__Link__Hello *hello, struct err *err)
{
	if (hello->version_min > hello->version_max)
		return err_set(err, ZR_INVALID, "versions %u to %u", hello->version_min,
		               hello->version_max);
	for (size_t i = 0; i < hello->n_chains; i++) {
		if (!check_chain_hello(hello->chains[i], err))
			return err_wrap(err, "chain %zu", i);
	}
	return true;
}

static bool check_chain_welcome(const Zonerelay__Link__ChainWelcome *chain, struct err *err)
{
	bool active = chain->state == ZONERELAY__LINK__CHAIN_STATE__CHAIN_STATE_ACTIVE;
	if (active && chain->next_height > 0 && chain->tip_hash.len == 0)
		return err_set(err, ZR_INVALID, "next_height without a tip_hash");
	if (active && chain->anchored_next > chain->next_height)
		return err_set(err, ZR_INVALID, "anchored above what is durable");
	if ((chain->partial_batch.len == 0) != (chain->partial_size == 0))
		return err_set(err, ZR_INVALID, "half of a partial batch's description");
	return true;
}

static bool check_welcome(const Zonerelay__Link__Welcome *welcome, struct err *err)
{
	for (size_t i = 0; i < welcome->n_chains; i++) {
		if (!check_chain_welcome(welcome->chains[i], err))
			return err_wrap(err, "chain %zu", i);
	}
	return true;
}

static bool check_chunk(const Zonerelay__Link__Chunk *chunk, struct err *err)
{
	const Zonerelay__Link__BatchHeader *header = chunk->header;
	if ((chunk->offset == 0) != (header != NULL))
		return err_set(err, ZR_INVALID, "offset 0 and the header go together");
	if (header == NULL)
		return true;
	if (chunk->data.len > header->size)
		return err_set(err, ZR_INVALID, "more data than the batch has");
	if (header->first_height > HEIGHT_MAX - (header->block_count - 1))
		return err_set(err, ZR_INVALID, "heights beyond 2^63 - 1");
	return true;
}

static bool check_ack(const Zonerelay__Link__Ack *ack, struct err *err)
{
	if (ack->custody == NULL)
		return true;
	if (ack->from >= ack->durable_next)
		return err_set(err, ZR_INVALID, "custody of no block");
	return check_custody(ack->custody, err);
}

static bool check_anchored(const Zonerelay__Link__Anchored *anchored, struct err *err)
{
	for (size_t i = 0; i < anchored->n_entries; i++) {
		const Zonerelay__Link__AnchoredEntry *entry = anchored->entries[i];
		if (!check_range(entry->from, entry->to, err) ||
		    !check_path(entry->index, entry->count, entry->n_path, err))
			return err_wrap(err, "entry %zu", i);
	}
	return true;
}

static bool check_body(const Zonerelay__Link__Frame *frame, struct err *err)
{
	switch (frame->body_case) {
	case ZONERELAY__LINK__FRAME__BODY_HELLO:
		return check_hello(frame->hello, err);
	case ZONERELAY__LINK__FRAME__BODY_WELCOME:
		return check_welcome(frame->welcome, err);
	case ZONERELAY__LINK__FRAME__BODY_CHUNK:
		return check_chunk(frame->chunk, err);
	case ZONERELAY__LINK__FRAME__BODY_ACK:
		return check_ack(frame->ack, err);
	case ZONERELAY__LINK__FRAME__BODY_ANCHORED:
		return check_anchored(frame->anchored, err);
	case ZONERELAY__LINK__FRAME__BODY_RESEND:
		return check_range(frame->resend->from, frame->resend->to, err);
	case ZONERELAY__LINK__FRAME__BODY_CHAIN_UPDATE:
		return check_chain_welcome(frame->chain_update->welcome, err);
	case ZONERELAY__LINK__FRAME__BODY_REJECT:
	case ZONERELAY__LINK__FRAME__BODY_DICTIONARY_WANTED:
	case ZONERELAY__LINK__FRAME__BODY_DICTIONARY:
	case ZONERELAY__LINK__FRAME__BODY_PING:
	case ZONERELAY__LINK__FRAME__BODY_PONG:
	case ZONERELAY__LINK__FRAME__BODY_GOODBYE:
	case ZONERELAY__LINK__FRAME__BODY_CREDIT:
		return true;
	case ZONERELAY__LINK__FRAME__BODY__NOT_SET:
	case _ZONERELAY__LINK__FRAME__BODY__CASE_IS_INT_SIZE:
		break;
	}
	return err_set(err, ZR_INVALID, "no body that we understand");
}

static const char *body_name(const Zonerelay__Link__Frame *frame)
{
	const ProtobufCFieldDescriptor *field = protobuf_c_message_descriptor_get_field(
		&zonerelay__link__frame__descriptor, (unsigned)frame->body_case);
	return field == NULL ? "frame" : field->name;
}

/* ---- the scan ---- */

static uint64_t read_varint(struct reader *reader)
{
	uint64_t value = 0;
	for (unsigned shift = 0; shift < 64; shift += 7) {
		uint8_t byte = reader_u8(reader);
		value |= (uint64_t)(byte & 0x7f) << shift;
		if ((byte & 0x80) == 0)
			return value;
	}
	reader->failed = true;
	return 0;
}

static void skip_value(struct reader *reader, unsigned wire_type)
{
	uint64_t size = 0;
	switch (wire_type) {
	case PROTOBUF_C_WIRE_TYPE_VARINT:
		(void)read_varint(reader);
		return;
	case PROTOBUF_C_WIRE_TYPE_64BIT:
		size = 8;
		break;
	case PROTOBUF_C_WIRE_TYPE_32BIT:
		size = 4;
		break;
	case PROTOBUF_C_WIRE_TYPE_LENGTH_PREFIXED:
		size = read_varint(reader);
		break;
	default:
		reader->failed = true; /* Groups, which proto3 does not have. */
		return;
	}
	if (size > reader->rest.size)
		reader->failed = true;
	else
		(void)reader_bytes(reader, (size_t)size);
}

/* Counts known and unknown fields of a frame. Protobuf itself takes the last of several bodies; two
 * implementations could then read one frame differently. */
static bool scan(struct bytes body, size_t *out_body_count, size_t *out_unknown_count)
{
	struct reader reader = reader_of(body);
	*out_body_count = 0;
	*out_unknown_count = 0;
	while (!reader.failed && reader.rest.size > 0) {
		uint64_t key = read_varint(&reader);
		if (key >> 3 == 0 || key >> 3 > UINT32_MAX >> 3)
			return false;
		const ProtobufCFieldDescriptor *field = protobuf_c_message_descriptor_get_field(
			&zonerelay__link__frame__descriptor, (unsigned)(key >> 3));
		if (field == NULL)
			++*out_unknown_count;
		else if ((field->flags & PROTOBUF_C_FIELD_FLAG_ONEOF) != 0)
			++*out_body_count;
		skip_value(&reader, key & 7);
	}
	return !reader.failed;
}

/* ---- frames ---- */

/* Texts for people are logged between double quotes, which no peer shall close. */
static void unquote(char *text)
{
	while ((text = strchr(text, '"')) != NULL)
		*text = '\'';
}

static void unquote_texts(const Zonerelay__Link__Frame *frame)
{
	if (frame->body_case == ZONERELAY__LINK__FRAME__BODY_HELLO)
		unquote(frame->hello->software);
	else if (frame->body_case == ZONERELAY__LINK__FRAME__BODY_REJECT)
		unquote(frame->reject->detail);
	else if (frame->body_case == ZONERELAY__LINK__FRAME__BODY_RESEND)
		unquote(frame->resend->reason);
	else if (frame->body_case == ZONERELAY__LINK__FRAME__BODY_GOODBYE)
		unquote(frame->goodbye->detail);
	else if (frame->body_case == ZONERELAY__LINK__FRAME__BODY_CHAIN_UPDATE)
		unquote(frame->chain_update->welcome->reason);
	if (frame->body_case != ZONERELAY__LINK__FRAME__BODY_WELCOME)
		return;
	unquote(frame->welcome->software);
	for (size_t i = 0; i < frame->welcome->n_chains; i++)
		unquote(frame->welcome->chains[i]->reason);
}

enum link_decoded link_frame_decode(struct bytes body, Zonerelay__Link__Frame **out_frame,
                                    struct err *err)
{
	size_t body_count;
	size_t unknown_count;
	if (!scan(body, &body_count, &unknown_count)) {
		(void)err_set(err, ZR_INVALID, "not a Frame message");
		return LINK_BAD;
	}
	if (body_count > 1) {
		(void)err_set(err, ZR_INVALID, "a frame with %zu bodies", body_count);
		return LINK_BAD;
	}

	ProtobufCMessage *message = NULL;
	if (!message_decode(body, &zonerelay__link__frame__descriptor, &table, &message, err))
		return LINK_BAD;
	Zonerelay__Link__Frame *frame = (Zonerelay__Link__Frame *)message;
	if (body_count == 0 && unknown_count > 0 && !frame->must_understand) {
		link_frame_free(frame);
		return LINK_UNKNOWN;
	}
	if (!check_body(frame, err)) {
		(void)err_wrap(err, "%s", body_name(frame));
		link_frame_free(frame);
		return LINK_BAD;
	}
	unquote_texts(frame);
	*out_frame = frame;
	return LINK_FRAME;
}

void link_frame_free(Zonerelay__Link__Frame *frame)
{
	message_free((ProtobufCMessage *)frame);
}

bool link_frame_encode(const Zonerelay__Link__Frame *frame, struct buffer *out, struct err *err)
{
	if (!message_check(&frame->base, &table, err))
		return false;
	if (!check_body(frame, err))
		return err_wrap(err, "%s", body_name(frame));
	size_t size = protobuf_c_message_get_packed_size(&frame->base);
	if (size > LINK_FRAME_SIZE_MAX)
		return err_set(err, ZR_INVALID, "%s: a frame of %zu bytes", body_name(frame), size);
	return message_put(&frame->base, out, err);
}

/* ---- receipts by themselves ---- */

bool link_custody_decode(struct bytes body, Zonerelay__Link__CustodyReceipt **out_receipt,
                         struct err *err)
{
	ProtobufCMessage *message = NULL;
	if (!message_decode(body, &zonerelay__link__custody_receipt__descriptor, &table, &message,
	                    err))
		return false;
	if (!check_custody((Zonerelay__Link__CustodyReceipt *)message, err)) {
		message_free(message);
		return false;
	}
	*out_receipt = (Zonerelay__Link__CustodyReceipt *)message;
	return true;
}

void link_custody_free(Zonerelay__Link__CustodyReceipt *receipt)
{
	message_free((ProtobufCMessage *)receipt);
}

bool link_custody_encode(const Zonerelay__Link__CustodyReceipt *receipt, struct buffer *out,
                         struct err *err)
{
	return message_check(&receipt->base, &table, err) && check_custody(receipt, err) &&
	       message_put(&receipt->base, out, err);
}

bool link_anchored_decode(struct bytes body, Zonerelay__Link__Anchored **out_anchored,
                          struct err *err)
{
	ProtobufCMessage *message = NULL;
	if (!message_decode(body, &zonerelay__link__anchored__descriptor, &table, &message, err))
		return false;
	if (!check_anchored((Zonerelay__Link__Anchored *)message, err)) {
		message_free(message);
		return err_wrap(err, "anchored");
	}
	*out_anchored = (Zonerelay__Link__Anchored *)message;
	return true;
}

void link_anchored_free(Zonerelay__Link__Anchored *anchored)
{
	message_free((ProtobufCMessage *)anchored);
}

bool link_anchored_encode(const Zonerelay__Link__Anchored *anchored, struct buffer *out,
                          struct err *err)
{
	if (!message_check(&anchored->base, &table, err))
		return false;
	if (!check_anchored(anchored, err))
		return err_wrap(err, "anchored");
	return message_put(&anchored->base, out, err);
}
