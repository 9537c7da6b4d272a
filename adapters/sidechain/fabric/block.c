/* block.c -- see block.h.
 *
 *     Block         { BlockHeader header = 1; BlockData data = 2; BlockMetadata metadata = 3; }
 *     BlockHeader   { uint64 number = 1; bytes previous_hash = 2; bytes data_hash = 3; }
 *     BlockData     { repeated bytes data = 1; }
 *     BlockMetadata { repeated bytes metadata = 1; }
 *
 * Entries of the metadata after the first are filled in by peers and signed by nobody (validity of
 * transactions among them): they are never looked at.
 */
#include "adapters/sidechain/fabric/block.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "adapters/sidechain.h"
#include "adapters/sidechain/wire.h"

#define METADATA_COUNT_MAX 16 /* Fabric writes 5. */

/* ---- the header ---- */

static size_t put_octets(uint8_t *at, struct bytes octets)
{
	at[0] = 0x04;
	at[1] = (uint8_t)octets.size;
	if (octets.size > 0)
		memcpy(at + 2, octets.data, octets.size);
	return 2 + octets.size;
}

/* At most 2 + 8 + 34 + 34 bytes, so every length takes one byte. */
static void encode_der(struct fabric_block *block)
{
	uint8_t number[9] = { 0 }; /* A zero byte first keeps a high bit from meaning a sign. */
	put_be64(number + 1, block->number);
	size_t skip = 0;
	while (skip < 8 && number[skip] == 0 && (number[skip + 1] & 0x80) == 0)
		skip++;

	uint8_t *at = block->header_der + 2;
	at[0] = 0x02;
	at[1] = (uint8_t)(9 - skip);
	memcpy(at + 2, number + skip, 9 - skip);
	at += 2 + 9 - skip;
	at += put_octets(at, block->previous_hash);
	at += put_octets(at, block->data_hash);
	block->header_der[0] = 0x30;
	block->header_der[1] = (uint8_t)(at - block->header_der - 2);
	block->header_der_size = (size_t)(at - block->header_der);
}

static bool decode_header(struct bytes message, struct fabric_block *block, struct err *err)
{
	struct wire wire = wire_of(message, WIRE_CANONICAL);
	struct wire_field field;
	uint64_t number = 0;
	while (wire_next(&wire, &field)) {
		switch (field.number) {
		case 1:
			wire_u64(&wire, &field, &number);
			break;
		case 2:
			wire_bytes(&wire, &field, &block->previous_hash);
			break;
		case 3:
			wire_bytes(&wire, &field, &block->data_hash);
			break;
		default:
			wire_unknown(&wire);
		}
	}
	if (!wire_ok(&wire))
		return err_set(err, ZR_INVALID, "not a canonical Fabric block header");
	if (number > INT64_MAX)
		return err_set(err, ZR_INVALID, "height %" PRIu64 " is beyond 2^63 - 1", number);
	block->number = number;
	if (block->data_hash.size != HASH_SIZE ||
	    block->previous_hash.size != (number == 0 ? 0 : HASH_SIZE))
		return err_set(err, ZR_INVALID, "block %" PRIu64 ": a hash of a wrong size",
		               number);
	encode_der(block);
	return true;
}

struct hash fabric_header_hash(const struct fabric_block *block)
{
	return sha256((struct bytes){ block->header_der, block->header_der_size });
}

/* ---- data ---- */

/* Data and metadata have the same form: a run of bytes in field 1. */
static bool next_item(struct bytes *list, struct bytes *out_item)
{
	struct wire wire = wire_of(*list, WIRE_CANONICAL);
	struct wire_field field;
	if (!wire_next(&wire, &field))
		return false;
	*out_item = field.bytes;
	*list = wire.rest;
	return true;
}

bool fabric_next_envelope(struct bytes *data, struct bytes *out_envelope)
{
	return next_item(data, out_envelope);
}

/* Is list a run of bytes in field 1 and nothing else? */
static bool count_items(struct bytes list, size_t *out_count)
{
	struct wire wire = wire_of(list, WIRE_CANONICAL);
	struct wire_field field;
	size_t count = 0;
	while (wire_next(&wire, &field)) {
		if (field.number != 1 || field.type != WIRE_LENGTH)
			return false;
		count++;
	}
	*out_count = count;
	return wire_ok(&wire);
}

bool fabric_data_hash(const struct fabric_block *block, struct hash *out_hash, struct err *err)
{
	struct bytes few[64] = { BYTES_NONE };
	struct bytes *parts = few;
	if (block->envelope_count > sizeof(few) / sizeof(few[0])) {
		parts = calloc(block->envelope_count, sizeof(*parts));
		if (parts == NULL)
			return err_set(err, ZR_NO_MEMORY, "%zu envelopes", block->envelope_count);
	}
	struct bytes data = block->data;
	size_t count = 0;
	while (count < block->envelope_count && fabric_next_envelope(&data, &parts[count]))
		count++;
	*out_hash = hash_parts(HASH_SHA256, parts, count);
	if (parts != few)
		free(parts);
	return true;
}

/* ---- the block ---- */

static bool decode_parts(struct bytes raw, struct bytes *out_header, struct bytes *out_data,
                         struct bytes *out_metadata)
{
	struct wire wire = wire_of(raw, WIRE_CANONICAL);
	struct wire_field field;
	while (wire_next(&wire, &field)) {
		switch (field.number) {
		case 1:
			wire_message(&wire, &field, out_header);
			break;
		case 2:
			wire_message(&wire, &field, out_data);
			break;
		case 3:
			wire_message(&wire, &field, out_metadata);
			break;
		default:
			wire_unknown(&wire);
		}
	}
	return wire_ok(&wire);
}

bool fabric_block_decode(struct bytes raw, struct fabric_block *out_block, struct err *err)
{
	*out_block = (struct fabric_block){ .number = HEIGHT_UNKNOWN };
	struct bytes header = BYTES_NONE;
	struct bytes metadata = BYTES_NONE;
	bool whole = decode_parts(raw, &header, &out_block->data, &metadata);
	/* A torn block may still say which one it is. */
	if (header.size == 0)
		return err_set(err, ZR_INVALID, "not a Fabric block");
	if (!decode_header(header, out_block, err))
		return false;
	size_t metadata_count = 0;
	if (!whole || !count_items(out_block->data, &out_block->envelope_count) ||
	    !count_items(metadata, &metadata_count))
		return err_set(err, ZR_INVALID,
		               "block %" PRIu64 " is torn, or not canonically encoded",
		               out_block->number);
	if (out_block->envelope_count == 0)
		return err_set(err, ZR_INVALID, "block %" PRIu64 " is empty", out_block->number);
	if (metadata_count == 0 || metadata_count > METADATA_COUNT_MAX)
		return err_set(err, ZR_INVALID, "block %" PRIu64 " has %zu metadata entries",
		               out_block->number, metadata_count);
	(void)next_item(&metadata, &out_block->signatures);
	return true;
}
