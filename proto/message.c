#include "proto/message.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "proto/record.h"

/* ---- memory ---- */

/* What protobuf-c may have at one time while it takes one message apart. */
struct budget {
	size_t left;
	bool exceeded;
	bool no_memory;
};

/* In front of each allocation, so that giving it back is counted too. */
union block {
	size_t size;
	max_align_t align;
};

static void *budget_alloc(void *data, size_t size)
{
	struct budget *budget = data;
	if (size > SIZE_MAX - sizeof(union block) || size + sizeof(union block) > budget->left) {
		budget->exceeded = true;
		return NULL;
	}
	union block *block = malloc(sizeof(*block) + size);
	if (block == NULL) {
		budget->no_memory = true;
		return NULL;
	}
	block->size = sizeof(*block) + size;
	budget->left -= block->size;
	return block + 1;
}

static void budget_free(void *data, void *pointer)
{
	struct budget *budget = data;
	if (pointer == NULL)
		return;
	union block *block = (union block *)pointer - 1;
	budget->left += block->size;
	free(block);
}

/* Nobody reads what we do not know, and it must not travel on when a message is kept or sent again. */
static void drop_unknown_fields(ProtobufCMessage *message)
{
	struct budget nobody = { .left = 0 };
	for (unsigned i = 0; i < message->n_unknown_fields; i++)
		budget_free(&nobody, message->unknown_fields[i].data);
	budget_free(&nobody, message->unknown_fields);
	message->n_unknown_fields = 0;
	message->unknown_fields = NULL;
}

/* ---- texts ---- */

/* The size of the well-formed, printable UTF-8 character at text, or 0. Stops at a zero byte. */
static size_t character_size(const uint8_t *text)
{
	static const struct {
		uint8_t mask, lead;
		uint32_t min;
	} forms[] = {
		{ 0x80, 0x00, 0x20 },
		{ 0xe0, 0xc0, 0xa0 }, /* Not the C1 controls below. */
		{ 0xf0, 0xe0, 0x800 },
		{ 0xf8, 0xf0, 0x10000 },
	};
	for (size_t form = 0; form < 4; form++) {
		if ((text[0] & forms[form].mask) != forms[form].lead)
			continue;
		uint32_t code = text[0] & (uint8_t)~forms[form].mask;
		for (size_t i = 1; i <= form; i++) {
			if ((text[i] & 0xc0) != 0x80)
				return 0;
			code = code << 6 | (text[i] & 0x3f);
		}
		bool good = code >= forms[form].min && code <= 0x10ffff && code != 0x7f &&
		            (code < 0xd800 || code > 0xdfff);
		return good ? form + 1 : 0;
	}
	return 0;
}

static bool text_printable(const char *text)
{
	const uint8_t *next = (const uint8_t *)text;
	while (*next != 0) {
		size_t size = character_size(next);
		if (size == 0)
			return false;
		next += size;
	}
	return true;
}

static void make_printable(char *text)
{
	uint8_t *next = (uint8_t *)text;
	while (*next != 0) {
		size_t size = character_size(next);
		if (size == 0)
			*next = '?';
		next += size == 0 ? 1 : size;
	}
}

/* ---- rules ---- */

struct walk {
	const struct rule_table *table;
	bool received; /* Then it is ours to change; else it is only looked at. */
};

static bool check_number(const struct field_rule *rule, uint64_t value, struct err *err)
{
	if ((rule->optional && value == 0) || (value >= rule->min && value <= rule->max))
		return true;
	return err_set(err, ZR_INVALID, "%llu is out of range", (unsigned long long)value);
}

static bool check_size(const struct field_rule *rule, size_t size, struct err *err)
{
	if ((rule->optional && size == 0) || (size >= rule->min && size <= rule->max))
		return true;
	return err_set(err, ZR_INVALID, "%zu bytes, must be %llu to %llu%s", size,
	               (unsigned long long)rule->min, (unsigned long long)rule->max,
	               rule->optional ? " or none" : "");
}

static bool check_text(const struct walk *walk, const struct field_rule *rule, char *text,
                       struct err *err)
{
	size_t size = text == NULL ? 0 : strlen(text);
	if (!check_size(rule, size, err))
		return false;
	if (size == 0)
		return true;
	switch (rule->text) {
	case TEXT_NAME:
		return chain_name_valid(text) || err_set(err, ZR_INVALID, "not a name");
	case TEXT_EXACT:
		return text_printable(text) || err_set(err, ZR_INVALID, "not printable UTF-8");
	case TEXT_PEOPLE:
		if (walk->received)
			make_printable(text);
		return true;
	}
	assert(false);
	return false;
}

static void check_enum(const struct walk *walk, const ProtobufCFieldDescriptor *field, int *value)
{
	const ProtobufCEnumDescriptor *known = field->descriptor;
	/* A newer peer may send a value that we do not know: tables are indexed by these. */
	if (walk->received && protobuf_c_enum_descriptor_get_value(known, *value) == NULL)
		*value = 0;
}

static bool walk_message(const struct walk *walk, ProtobufCMessage *message, struct err *err);

/* NOLINTNEXTLINE(misc-no-recursion): as deep as the .proto file nests messages. */
static bool check_value(const struct walk *walk, const ProtobufCFieldDescriptor *field,
                        const struct field_rule *rule, void *value, struct err *err)
{
	switch (field->type) {
	case PROTOBUF_C_TYPE_UINT32:
		return check_number(rule, *(uint32_t *)value, err);
	case PROTOBUF_C_TYPE_UINT64:
	case PROTOBUF_C_TYPE_INT64: /* A negative one is above every limit. */
		return check_number(rule, *(uint64_t *)value, err);
	case PROTOBUF_C_TYPE_BOOL:
		return true;
	case PROTOBUF_C_TYPE_ENUM:
		check_enum(walk, field, value);
		return true;
	case PROTOBUF_C_TYPE_STRING:
		return check_text(walk, rule, *(char **)value, err);
	case PROTOBUF_C_TYPE_BYTES:
		return check_size(rule, ((ProtobufCBinaryData *)value)->len, err);
	case PROTOBUF_C_TYPE_MESSAGE:
		if (*(ProtobufCMessage **)value == NULL)
			return rule->optional || err_set(err, ZR_INVALID, "missing");
		return walk_message(walk, *(ProtobufCMessage **)value, err);
	case PROTOBUF_C_TYPE_INT32:
	case PROTOBUF_C_TYPE_SINT32:
	case PROTOBUF_C_TYPE_SFIXED32:
	case PROTOBUF_C_TYPE_SINT64:
	case PROTOBUF_C_TYPE_SFIXED64:
	case PROTOBUF_C_TYPE_FIXED32:
	case PROTOBUF_C_TYPE_FIXED64:
	case PROTOBUF_C_TYPE_FLOAT:
	case PROTOBUF_C_TYPE_DOUBLE:
		break;
	}
	assert(false); /* None of our messages has such a field. */
	return false;
}

static size_t element_size(const ProtobufCFieldDescriptor *field)
{
	switch ((int)field->type) {
	case PROTOBUF_C_TYPE_BYTES:
		return sizeof(ProtobufCBinaryData);
	case PROTOBUF_C_TYPE_STRING:
	case PROTOBUF_C_TYPE_MESSAGE:
		return sizeof(void *);
	default:
		assert(false); /* None of our messages repeats numbers. */
		return 0;
	}
}

/* NOLINTNEXTLINE(misc-no-recursion): as above. */
static bool check_repeated(const struct walk *walk, const ProtobufCFieldDescriptor *field,
                           const struct field_rule *rule, const uint8_t *message, struct err *err)
{
	size_t count = *(const size_t *)(const void *)(message + field->quantifier_offset);
	uint8_t *elements = *(uint8_t *const *)(const void *)(message + field->offset);
	if (count > rule->count_max)
		return err_set(err, ZR_INVALID, "%zu of them, at most %u are allowed", count,
		               rule->count_max);
	size_t size = element_size(field);
	for (size_t i = 0; i < count; i++) {
		if (!check_value(walk, field, rule, elements + i * size, err))
			return err_wrap(err, "number %zu", i);
	}
	return true;
}

/* NOLINTNEXTLINE(misc-no-recursion): as above. */
static bool check_field(const struct walk *walk, const ProtobufCFieldDescriptor *field,
                        const struct field_rule *rule, uint8_t *message, struct err *err)
{
	if (field->label == PROTOBUF_C_LABEL_REPEATED)
		return check_repeated(walk, field, rule, message, err);
	if ((field->flags & PROTOBUF_C_FIELD_FLAG_ONEOF) != 0) {
		uint32_t chosen = *(uint32_t *)(void *)(message + field->quantifier_offset);
		if (chosen != field->id)
			return true;
	}
	return check_value(walk, field, rule, message + field->offset, err);
}

static const struct message_rules *find_rules(const struct rule_table *table,
                                              const ProtobufCMessageDescriptor *descriptor)
{
	for (size_t i = 0; i < table->count; i++) {
		if (table->messages[i].message == descriptor)
			return &table->messages[i];
	}
	return NULL;
}

static bool rules_match(const struct rule_table *table, const struct message_rules *rules)
{
	const ProtobufCMessageDescriptor *message = rules->message;
	if (rules->field_count != message->n_fields)
		return false;
	for (unsigned i = 0; i < message->n_fields; i++) {
		if (strcmp(rules->fields[i].name, message->fields[i].name) != 0)
			return false;
		if (message->fields[i].type == PROTOBUF_C_TYPE_MESSAGE &&
		    find_rules(table, message->fields[i].descriptor) == NULL)
			return false;
	}
	return true;
}

bool rule_table_complete(const struct rule_table *table, const char **out_missing)
{
	for (size_t i = 0; i < table->count; i++) {
		if (!rules_match(table, &table->messages[i])) {
			*out_missing = table->messages[i].message->short_name;
			return false;
		}
	}
	return true;
}

/* NOLINTNEXTLINE(misc-no-recursion): as above. */
static bool walk_message(const struct walk *walk, ProtobufCMessage *message, struct err *err)
{
	const ProtobufCMessageDescriptor *descriptor = message->descriptor;
	const struct message_rules *rules = find_rules(walk->table, descriptor);
	assert(rules != NULL && rules->field_count == descriptor->n_fields);
	if (walk->received)
		drop_unknown_fields(message);
	for (unsigned i = 0; i < descriptor->n_fields; i++) {
		const ProtobufCFieldDescriptor *field = &descriptor->fields[i];
		if (!check_field(walk, field, &rules->fields[i], (uint8_t *)message, err))
			return err_wrap(err, "%s", field->name);
	}
	return true;
}

/* ---- both directions ---- */

bool message_decode(struct bytes body, const ProtobufCMessageDescriptor *descriptor,
                    const struct rule_table *table, ProtobufCMessage **out_message, struct err *err)
{
	size_t memory_max = body.size > (SIZE_MAX - MESSAGE_MEMORY_BASE) / 4
	                            ? SIZE_MAX
	                            : MESSAGE_MEMORY_BASE + 4 * body.size;
	struct budget budget = { .left = memory_max };
	ProtobufCAllocator allocator = { budget_alloc, budget_free, &budget };
	ProtobufCMessage *message =
		protobuf_c_message_unpack(descriptor, &allocator, body.size, body.data);
	if (message == NULL && budget.no_memory)
		return err_set(err, ZR_NO_MEMORY, "%s of %zu bytes", descriptor->short_name,
		               body.size);
	if (message == NULL && budget.exceeded)
		return err_set(err, ZR_INVALID, "%s of %zu bytes would take over %zu in memory",
		               descriptor->short_name, body.size, memory_max);
	if (message == NULL)
		return err_set(err, ZR_INVALID, "not a %s message", descriptor->short_name);

	const struct walk walk = { table, true };
	if (!walk_message(&walk, message, err)) {
		message_free(message);
		return err_wrap(err, "%s", descriptor->short_name);
	}
	*out_message = message;
	return true;
}

void message_free(ProtobufCMessage *message)
{
	struct budget nobody = { .left = 0 };
	ProtobufCAllocator allocator = { budget_alloc, budget_free, &nobody };
	protobuf_c_message_free_unpacked(message, &allocator);
}

bool message_check(const ProtobufCMessage *message, const struct rule_table *table, struct err *err)
{
	const struct walk walk = { table, false };
	/* The walk changes only what was received. */
	return walk_message(&walk, (ProtobufCMessage *)message, err) ||
	       err_wrap(err, "%s", message->descriptor->short_name);
}

bool message_put(const ProtobufCMessage *message, struct buffer *out, struct err *err)
{
	size_t size = protobuf_c_message_get_packed_size(message);
	uint8_t *place = buffer_reserve(out, size);
	if (place == NULL)
		return err_set(err, ZR_NO_MEMORY, "%s of %zu bytes",
		               message->descriptor->short_name, size);
	buffer_grew(out, protobuf_c_message_pack(message, place));
	return true;
}
