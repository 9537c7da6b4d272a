/* wire.c -- see wire.h. */
#include "adapters/sidechain/wire.h"

#include <assert.h>

#define VARINT_SIZE_MAX  10
#define FIELD_NUMBER_MAX ((1u << 29) - 1)

struct wire wire_of(struct bytes message, enum wire_rule rule)
{
	return (struct wire){ .rest = message, .rule = rule };
}

static bool fail(struct wire *wire)
{
	wire->failed = true;
	return false;
}

static struct bytes take(struct wire *wire, size_t size)
{
	struct bytes taken = { wire->rest.data, size };
	wire->rest.data += size;
	wire->rest.size -= size;
	return taken;
}

static bool read_varint(struct wire *wire, uint64_t *out_value)
{
	uint64_t value = 0;
	for (size_t i = 0; i < VARINT_SIZE_MAX && i < wire->rest.size; i++) {
		uint8_t byte = wire->rest.data[i];
		if (i == VARINT_SIZE_MAX - 1 && byte > 1)
			return fail(wire); /* More than 64 bits. */
		value |= (uint64_t)(byte & 0x7f) << (7 * i);
		if ((byte & 0x80) != 0)
			continue;
		if (byte == 0 && i > 0 && (wire->rule & WIRE_MINIMAL) != 0)
			return fail(wire);
		(void)take(wire, i + 1);
		*out_value = value;
		return true;
	}
	return fail(wire);
}

static bool read_content(struct wire *wire, struct wire_field *field)
{
	uint64_t size = 0;
	switch (field->type) {
	case WIRE_VARINT:
		return read_varint(wire, &field->value);
	case WIRE_LENGTH:
		if (!read_varint(wire, &size))
			return false;
		break;
	case WIRE_FIXED64:
		size = 8;
		break;
	case WIRE_FIXED32:
		size = 4;
		break;
	default: /* Groups are as old as they are useless: nobody's blocks have them. */
		return fail(wire);
	}
	if (size > wire->rest.size)
		return fail(wire);
	field->bytes = take(wire, (size_t)size);
	return true;
}

bool wire_next(struct wire *wire, struct wire_field *out_field)
{
	if (wire->failed || wire->rest.size == 0)
		return false;
	uint64_t tag = 0;
	if (!read_varint(wire, &tag))
		return false;
	uint64_t number = tag >> 3;
	if (number == 0 || number > FIELD_NUMBER_MAX)
		return fail(wire);
	*out_field = (struct wire_field){ .number = (uint32_t)number,
		                          .type = (enum wire_type)(tag & 7) };
	if ((wire->rule & WIRE_MINIMAL) != 0 && out_field->number < wire->previous)
		return fail(wire);
	wire->previous = out_field->number;
	return read_content(wire, out_field);
}

bool wire_ok(const struct wire *wire)
{
	return !wire->failed && wire->rest.size == 0;
}

void wire_unknown(struct wire *wire)
{
	if ((wire->rule & WIRE_KNOWN) != 0)
		wire->failed = true;
}

/* Go takes a field of another wire type for an unknown one. */
static bool has_type(struct wire *wire, const struct wire_field *field, enum wire_type type)
{
	if (field->type == type)
		return true;
	if (wire->rule != WIRE_GO)
		wire->failed = true;
	return false;
}

static bool first_time(struct wire *wire, const struct wire_field *field)
{
	assert(field->number < 32);
	uint32_t bit = 1u << field->number;
	if ((wire->seen & bit) != 0 && (wire->rule & WIRE_ONCE) != 0)
		return fail(wire);
	wire->seen |= bit;
	return true;
}

void wire_message(struct wire *wire, const struct wire_field *field, struct bytes *out)
{
	if (has_type(wire, field, WIRE_LENGTH) && first_time(wire, field))
		*out = field->bytes;
}

void wire_bytes(struct wire *wire, const struct wire_field *field, struct bytes *out)
{
	wire_message(wire, field, out);
	if (field->bytes.size == 0 && (wire->rule & WIRE_MINIMAL) != 0)
		wire->failed = true;
}

void wire_choice(struct wire *wire, const struct wire_field *field, uint64_t *out)
{
	if (has_type(wire, field, WIRE_VARINT) && first_time(wire, field))
		*out = field->value;
}

void wire_u64(struct wire *wire, const struct wire_field *field, uint64_t *out)
{
	wire_choice(wire, field, out);
	if (field->value == 0 && (wire->rule & WIRE_MINIMAL) != 0)
		wire->failed = true;
}

bool wire_repeated(struct wire *wire, const struct wire_field *field, struct bytes *out)
{
	if (!has_type(wire, field, WIRE_LENGTH))
		return false;
	*out = field->bytes;
	return true;
}

/* ---- writing ---- */

static void put_varint(struct buffer *out, uint64_t value)
{
	uint8_t bytes[VARINT_SIZE_MAX];
	size_t size = 0;
	do {
		bytes[size++] = (uint8_t)((value & 0x7f) | (value > 0x7f ? 0x80 : 0));
		value >>= 7;
	} while (value > 0);
	buffer_put(out, (struct bytes){ bytes, size });
}

void wire_put_u64(struct buffer *out, uint32_t number, uint64_t value)
{
	if (value == 0)
		return;
	put_varint(out, (uint64_t)number << 3 | WIRE_VARINT);
	put_varint(out, value);
}

void wire_put_message(struct buffer *out, uint32_t number, struct bytes bytes)
{
	put_varint(out, (uint64_t)number << 3 | WIRE_LENGTH);
	put_varint(out, bytes.size);
	buffer_put(out, bytes);
}

void wire_put_bytes(struct buffer *out, uint32_t number, struct bytes bytes)
{
	if (bytes.size > 0)
		wire_put_message(out, number, bytes);
}
