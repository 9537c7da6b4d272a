#include "proto/control.h"

#include "proto/message.h"

static const struct field_rule request_rules[] = {
	RULE_NUMBER("version", CONTROL_VERSION, CONTROL_VERSION),
	RULE_BYTES_OR_NONE("request_id", CONTROL_REQUEST_ID_SIZE, CONTROL_REQUEST_ID_SIZE),
	RULE_MANY_TEXTS("words", 0, CONTROL_WORD_SIZE_MAX, CONTROL_WORDS_MAX),
	RULE_TEXT("reason", 0, CONTROL_TEXT_MAX, TEXT_EXACT),
	RULE_BOOL("dry_run"),
	RULE_BYTES("attachment", 0, CONTROL_ATTACHMENT_MAX),
	RULE_TEXT("user", 0, CONTROL_TEXT_MAX, TEXT_EXACT),
};

static const struct field_rule response_rules[] = {
	RULE_NUMBER("version", CONTROL_VERSION, CONTROL_VERSION),
	RULE_NUMBER("exit_status", 0, UINT8_MAX),
	RULE_TEXT("json", 0, CONTROL_JSON_SIZE_MAX, TEXT_PEOPLE),
	RULE_TEXT("error", 0, CONTROL_TEXT_MAX, TEXT_PEOPLE),
	RULE_BYTES("attachment", 0, CONTROL_ATTACHMENT_MAX),
};

static const struct field_rule event_rules[] = {
	RULE_NUMBER("number", 0, UINT64_MAX),
	RULE_NUMBER("time_ms", 0, INT64_MAX),
	RULE_TEXT("name", 1, CONTROL_TEXT_MAX, TEXT_EXACT),
	RULE_TEXT("json", 0, CONTROL_JSON_SIZE_MAX, TEXT_PEOPLE),
};

static const struct message_rules messages[] = {
	MESSAGE_RULES(zonerelay__control__request__descriptor, request_rules),
	MESSAGE_RULES(zonerelay__control__response__descriptor, response_rules),
	MESSAGE_RULES(zonerelay__control__event__descriptor, event_rules),
};

static const struct rule_table table = { messages, sizeof(messages) / sizeof(messages[0]) };

const struct rule_table *control_rules(void)
{
	return &table;
}

bool control_request_decode(struct bytes body, Zonerelay__Control__Request **out_request,
                            struct err *err)
{
	ProtobufCMessage *message = NULL;
	if (!message_decode(body, &zonerelay__control__request__descriptor, &table, &message, err))
		return false;
	*out_request = (Zonerelay__Control__Request *)message;
	return true;
}

void control_request_free(Zonerelay__Control__Request *request)
{
	message_free((ProtobufCMessage *)request);
}

bool control_request_encode(const Zonerelay__Control__Request *request, struct buffer *out,
                            struct err *err)
{
	return message_check(&request->base, &table, err) && message_put(&request->base, out, err);
}

bool control_response_decode(struct bytes body, Zonerelay__Control__Response **out_response,
                             struct err *err)
{
	ProtobufCMessage *message = NULL;
	if (!message_decode(body, &zonerelay__control__response__descriptor, &table, &message, err))
		return false;
	*out_response = (Zonerelay__Control__Response *)message;
	return true;
}

void control_response_free(Zonerelay__Control__Response *response)
{
	message_free((ProtobufCMessage *)response);
}

bool control_response_encode(const Zonerelay__Control__Response *response, struct buffer *out,
                             struct err *err)
{
	return message_check(&response->base, &table, err) &&
	       message_put(&response->base, out, err);
}

bool control_event_decode(struct bytes body, Zonerelay__Control__Event **out_event, struct err *err)
{
	ProtobufCMessage *message = NULL;
	if (!message_decode(body, &zonerelay__control__event__descriptor, &table, &message, err))
		return false;
	*out_event = (Zonerelay__Control__Event *)message;
	return true;
}

void control_event_free(Zonerelay__Control__Event *event)
{
	message_free((ProtobufCMessage *)event);
}

bool control_event_encode(const Zonerelay__Control__Event *event, struct buffer *out,
                          struct err *err)
{
	return message_check(&event->base, &table, err) && message_put(&event->base, out, err);
}
