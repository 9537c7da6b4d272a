/* wire.h -- reading and writing protobuf by hand: no copies, no allocation, every length bounded by
 * the message it stands in.
 *
 * A generated decoder accepts many encodings of one message and hides which one it saw. What is
 * hashed, signed or trusted here must have one meaning only, so the rule says how much freedom an
 * encoding has. The first violation sticks; wire_ok() is asked once, after the loop:
 *
 *     struct wire wire = wire_of(message, WIRE_CANONICAL);
 *     struct wire_field field;
 *     while (wire_next(&wire, &field)) {
 *             switch (field.number) {
 *             case 1: wire_bytes(&wire, &field, &payload); break;
 *             case 2: wire_bytes(&wire, &field, &signature); break;
 *             default: wire_unknown(&wire);
 *             }
 *     }
 *     if (!wire_ok(&wire)) ...
 */
#ifndef ZR_ADAPTERS_SIDECHAIN_WIRE_H
#define ZR_ADAPTERS_SIDECHAIN_WIRE_H

#include "relay/base/bytes.h"

enum wire_rule {
	WIRE_GO = 0,    /* As Go's decoder: unknown fields are skipped, the last of several wins. */
	WIRE_ONCE = 1,  /* A field that is not repeated occurs once at most. */
	WIRE_KNOWN = 2, /* No unknown field. */
	WIRE_MINIMAL = 4, /* Shortest varints, fields in ascending order, defaults left out. */
	WIRE_PLAIN = WIRE_ONCE | WIRE_KNOWN,
	WIRE_CANONICAL = WIRE_ONCE | WIRE_KNOWN | WIRE_MINIMAL, /* One encoding per message. */
};

enum wire_type { WIRE_VARINT = 0, WIRE_FIXED64 = 1, WIRE_LENGTH = 2, WIRE_FIXED32 = 5 };

struct wire {
	struct bytes rest;
	enum wire_rule rule;
	bool failed;
	uint32_t previous; /* Number of the field before. */
	uint32_t seen;     /* Bit n: field n, below 32, was taken by wire_bytes() or its like. */
};

struct wire_field {
	uint32_t number;
	enum wire_type type;
	uint64_t value;     /* WIRE_VARINT. */
	struct bytes bytes; /* WIRE_LENGTH. Borrowed from the message. */
};

struct wire wire_of(struct bytes message, enum wire_rule rule);
/* False at the end and at the first malformed byte. */
bool wire_next(struct wire *wire, struct wire_field *out_field);
/* Nothing was wrong, and all of the message was read. */
bool wire_ok(const struct wire *wire);

/* Each takes the field into *out, or notes a violation: another wire type (which WIRE_GO skips), a
 * second one under WIRE_ONCE, a default under WIRE_MINIMAL. Numbers below 32 only. */
void wire_bytes(struct wire *wire, const struct wire_field *field, struct bytes *out);
void wire_u64(struct wire *wire, const struct wire_field *field, uint64_t *out);
/* A message may be empty and yet present. */
void wire_message(struct wire *wire, const struct wire_field *field, struct bytes *out);
/* A member of a oneof may be zero and yet present. */
void wire_choice(struct wire *wire, const struct wire_field *field, uint64_t *out);
/* May occur many times. False: not of this type, noted as above. */
bool wire_repeated(struct wire *wire, const struct wire_field *field, struct bytes *out);
void wire_unknown(struct wire *wire);

/* ---- writing, always canonical ---- */

/* A default (0, or no bytes) is left out. */
void wire_put_u64(struct buffer *out, uint32_t number, uint64_t value);
void wire_put_bytes(struct buffer *out, uint32_t number, struct bytes bytes);
/* Present even where empty: messages, repeated fields. */
void wire_put_message(struct buffer *out, uint32_t number, struct bytes bytes);

#endif
