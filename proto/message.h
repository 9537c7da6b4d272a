/* message.h -- protobuf messages from outside: bounded in memory, then held to a table of limits.
 *
 * Protobuf says which fields there are; the table says what may be in them: one row per field, in
 * the order of the descriptor (a unit test compares names). A message cannot make us allocate more
 * than MESSAGE_MEMORY_BASE plus four times its own size, whatever it looks like.
 */
#ifndef ZR_PROTO_MESSAGE_H
#define ZR_PROTO_MESSAGE_H

#include <protobuf-c/protobuf-c.h>
#include <stdbool.h>
#include <stdint.h>

#include "relay/base/bytes.h"
#include "relay/base/err.h"

#define MESSAGE_MEMORY_BASE (1536u << 10)

enum text_kind {
	TEXT_NAME,   /* Letters, digits, '.', '-', '_'; begins with a letter or digit. */
	TEXT_EXACT,  /* Printable UTF-8, or the message is refused. */
	TEXT_PEOPLE, /* Only ever shown: what is not printable becomes '?' on receipt. */
};

struct field_rule {
	const char *name;
	uint64_t min, max;   /* Of the size of bytes and texts, of the value of numbers. */
	uint32_t count_max;  /* Repeated fields. */
	bool optional;       /* May also be empty, 0 or absent. */
	enum text_kind text; /* Strings. */
};

struct message_rules {
	const ProtobufCMessageDescriptor *message;
	const struct field_rule *fields; /* In the order of message->fields. */
	size_t field_count;
};

#define MESSAGE_RULES(descriptor, rules)                                 \
	{                                                                \
		&(descriptor), rules, sizeof(rules) / sizeof((rules)[0]) \
	}

struct rule_table {
	const struct message_rules *messages; /* Each that may be met, nested ones too. */
	size_t count;
};

#define RULE(name, min, max, count_max, optional, text)   \
	{                                                 \
		name, min, max, count_max, optional, text \
	}
#define RULE_BYTES(name, min, max)         RULE(name, min, max, 0, false, TEXT_EXACT)
#define RULE_BYTES_OR_NONE(name, min, max) RULE(name, min, max, 0, true, TEXT_EXACT)
#define RULE_HASH(name)                    RULE_BYTES(name, HASH_SIZE, HASH_SIZE)
#define RULE_HASH_OR_NONE(name)            RULE_BYTES_OR_NONE(name, HASH_SIZE, HASH_SIZE)
#define RULE_MANY_BYTES(name, min, max, n) RULE(name, min, max, n, false, TEXT_EXACT)
#define RULE_NUMBER(name, min, max)        RULE(name, min, max, 0, false, TEXT_EXACT)
#define RULE_BOOL(name)                    RULE(name, 0, 1, 0, false, TEXT_EXACT)
#define RULE_ENUM(name)                    RULE(name, 0, 0, 0, false, TEXT_EXACT)
#define RULE_TEXT(name, min, max, kind)    RULE(name, min, max, 0, false, kind)
#define RULE_MANY_TEXTS(name, min, max, n) RULE(name, min, max, n, false, TEXT_EXACT)
#define RULE_MESSAGE(name)                 RULE(name, 0, 0, 0, false, TEXT_EXACT)
#define RULE_MESSAGE_OR_NONE(name)         RULE(name, 0, 0, 0, true, TEXT_EXACT)
#define RULE_MANY_MESSAGES(name, n)        RULE(name, 0, 0, n, false, TEXT_EXACT)

/* Does every message of the table, and every message inside one, have one row per field? If not,
 * *out_missing names the first that does not. For unit tests. */
bool rule_table_complete(const struct rule_table *table, const char **out_missing);

/* Gives *out_message; end with message_free(). Fields that we do not
 * know are dropped, and an enum value that we do not know reads as 0.
 * Errors: ZR_INVALID  with the field. */
bool message_decode(struct bytes body, const ProtobufCMessageDescriptor *descriptor,
                    const struct rule_table *table, ProtobufCMessage **out_message,
                    struct err *err) MUST_CHECK;
/* NULL is allowed. Only for what message_decode() gave. */
void message_free(ProtobufCMessage *message);

/* Holds what we are about to send to the same table: what passes, the peer accepts.
 * Errors: ZR_INVALID  with the field. */
bool message_check(const ProtobufCMessage *message, const struct rule_table *table,
                   struct err *err) MUST_CHECK;
/* Appends a message that was checked. Fails only for memory. */
bool message_put(const ProtobufCMessage *message, struct buffer *out, struct err *err) MUST_CHECK;

#endif
