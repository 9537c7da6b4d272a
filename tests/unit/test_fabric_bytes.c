/* A Fabric block has one encoding: every other one is refused, byte by byte. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "adapters/sidechain/fabric/block.h"
#include "adapters/sidechain/wire.h"
#include "tests/lib/chain.h"
#include "tests/lib/expect.h"

#define RAFT "tests/data/fabric/raft-edge-1"
#define BFT  "tests/data/fabric/bft-edge"

/* ---- the header ---- */

static void expect_der(struct bytes header, const char *hash, size_t der_size)
{
	struct fabric_block block;
	struct buffer raw = BUFFER_EMPTY;
	struct err err = { .code = ZR_OK };
	char hex[HASH_HEX_SIZE];
	wire_put_message(&raw, 1, header);
	wire_put_message(&raw, 2, BYTES_LITERAL("\x0a\x00"));
	wire_put_message(&raw, 3, BYTES_LITERAL("\x0a\x00"));
	if (!fabric_block_decode(buffer_bytes(&raw), &block, &err))
		fail_msg("%s", err.message);
	struct hash found = fabric_header_hash(&block);
	assert_string_equal(hash_hex(&found, hex), hash);
	assert_int_equal(block.header_der_size, der_size);
	buffer_fini(&raw);
}

static struct bytes header_of(struct buffer *out, uint64_t number, bool has_parent)
{
	uint8_t parent[32];
	uint8_t data[32];
	memset(parent, 0x11, sizeof(parent));
	memset(data, 0x22, sizeof(data));
	buffer_clear(out);
	wire_put_u64(out, 1, number);
	if (has_parent)
		wire_put_bytes(out, 2, BYTES_OF(parent));
	wire_put_bytes(out, 3, BYTES_OF(data));
	return buffer_bytes(out);
}

/* A number with its top bit set needs one byte more, or it would be negative. */
static void a_header_is_hashed_as_der(void **state)
{
	struct buffer header = BUFFER_EMPTY;
	expect_der(header_of(&header, 128, true),
	           "21255970fce2d8bd67c1b022cb7528f12d311fec7fc8ba34f5414d3983808260", 74);
	expect_der(header_of(&header, 0, false),
	           "bc6f715bf0b5af641d2359a60c419057757571a331a11111b794455d9dbfa6d3", 41);
	expect_der(header_of(&header, 127, true),
	           "1e50be891d2475affbe8b2292d2f771d4ea0b0e853d52d0b341336d81fd27424", 73);
	buffer_fini(&header);
}

static void expect_header_refused(struct bytes header, const char *why)
{
	struct fabric_block block;
	struct buffer raw = BUFFER_EMPTY;
	struct err err = { .code = ZR_OK };
	wire_put_message(&raw, 1, header);
	wire_put_message(&raw, 2, BYTES_LITERAL("\x0a\x00"));
	wire_put_message(&raw, 3, BYTES_LITERAL("\x0a\x00"));
	EXPECT_FAILURE(fabric_block_decode(buffer_bytes(&raw), &block, &err), err, ZR_INVALID, why);
	buffer_fini(&raw);
}

static void a_header_of_another_shape_is_refused(void **state)
{
	struct buffer header = BUFFER_EMPTY;
	expect_header_refused(header_of(&header, 0, true), "a hash of a wrong size");
	expect_header_refused(header_of(&header, 1, false), "a hash of a wrong size");
	expect_header_refused(header_of(&header, UINT64_C(1) << 63, true), "beyond 2^63 - 1");
	expect_header_refused(header_of(&header, UINT64_MAX, true), "beyond 2^63 - 1");
	expect_header_refused(BYTES_LITERAL("\x08\x01"), "a hash of a wrong size");
	expect_header_refused(BYTES_LITERAL("\x08\x00"), "not a canonical");
	expect_header_refused(BYTES_LITERAL("\x08\x81\x00"), "not a canonical");
	expect_header_refused(BYTES_NONE, "not a Fabric block");
	(void)header_of(&header, 1, true);
	wire_put_u64(&header, 4, 1);
	expect_header_refused(buffer_bytes(&header), "not a canonical");
	buffer_fini(&header);
}

/* ---- real blocks, damaged ---- */

/* Where the metadata that nobody signs begins: behind the first entry. */
static size_t unsigned_from(struct bytes raw)
{
	struct fabric_block block;
	assert_true(fabric_block_decode(raw, &block, NULL));
	return (size_t)(block.signatures.data + block.signatures.size - raw.data);
}

/* Is what the walk accepts the block that it was? */
static void expect_unchanged(const struct block *found, const struct block_header *header)
{
	assert_memory_equal(&found->header, header, sizeof(*header));
}

/* Flips bits of every byte of block 1; step spares time where a block is long. */
static void flip_all(const char *folder, size_t step)
{
	struct chain chain;
	chain_read(&chain, "fabric", folder);
	struct bytes raw = chain_raw(&chain, 1);
	struct walk walk = chain_walk_to(&chain, 1);
	struct block block;
	struct err err;
	size_t free_from = unsigned_from(raw);
	size_t accepted = 0;
	assert_true(chain.format->read(raw, &block, NULL));
	struct block_header header = block.header;
	uint8_t *copy = bytes_dup(raw);
	for (size_t at = 0; at < raw.size; at += step) {
		for (unsigned bit = 0; bit < 8; bit++) {
			struct walk trial = walk;
			copy[at] ^= (uint8_t)(1u << bit);
			enum walk_fault fault = walk_block(&trial, (struct bytes){ copy, raw.size },
			                                   true, &block, &err);
			if (fault == WALK_FINE) {
				if (at < free_from)
					fail_msg("byte %zu, bit %u: accepted", at, bit);
				expect_unchanged(&block, &header);
				accepted++;
			}
			copy[at] ^= (uint8_t)(1u << bit);
		}
	}
	/* The unsigned rest is four empty entries: a length or a tag changed is no entry. */
	assert_true(raw.size - free_from <= 8);
	assert_true(accepted <= 8);
	free(copy);
	walk_fini(&walk);
	chain_fini(&chain);
}

static void no_bit_of_a_block_can_be_flipped(void **state)
{
	flip_all(BFT, 1);
	flip_all(RAFT, 1);
}

static void a_block_cut_anywhere_is_refused(void **state)
{
	struct chain chain;
	struct err err = { .code = ZR_OK };
	chain_read(&chain, "fabric", BFT);
	struct bytes raw = chain_raw(&chain, 1);
	struct walk walk = chain_walk_to(&chain, 1);
	for (size_t size = 0; size < raw.size; size++) {
		struct block block;
		struct walk trial = walk;
		uint8_t *exact = bytes_dup((struct bytes){ raw.data, size });
		enum walk_fault fault =
			walk_block(&trial, (struct bytes){ exact, size }, true, &block, &err);
		if (fault != WALK_MALFORMED)
			fail_msg("cut at %zu: %s", size, walk_fault_name(fault));
		/* Once the header is here, the log can say which block it was. */
		assert_true(block.header.height == (size < 72 ? HEIGHT_UNKNOWN : 1));
		free(exact);
	}
	walk_fini(&walk);
	chain_fini(&chain);
}

static void a_block_with_anything_behind_it_is_refused(void **state)
{
	struct chain chain;
	struct buffer raw = BUFFER_EMPTY;
	chain_read(&chain, "fabric", RAFT);
	static const struct bytes tails[] = { { (const uint8_t *)"\0", 1 },
		                              { (const uint8_t *)"\x1a\x00", 2 },
		                              { (const uint8_t *)"\x22\x00", 2 },
		                              { (const uint8_t *)"\x12\x00", 2 } };
	for (size_t i = 0; i < sizeof(tails) / sizeof(tails[0]); i++) {
		buffer_clear(&raw);
		buffer_put(&raw, chain_raw(&chain, 1));
		buffer_put(&raw, tails[i]);
		struct err err = { .code = ZR_OK };
		assert_int_equal(chain_judge(&chain, 1, buffer_bytes(&raw), &err), WALK_MALFORMED);
		assert_non_null(strstr(err.message, "torn, or not canonically encoded"));
	}
	buffer_fini(&raw);
	chain_fini(&chain);
}

/* ---- real blocks, cut into other transactions ---- */

#define ENVELOPES_MAX 16

struct pieces {
	struct bytes list[ENVELOPES_MAX];
	size_t count;
};

static struct pieces take_apart(struct bytes raw)
{
	struct fabric_block block;
	struct pieces pieces = { .count = 0 };
	assert_true(fabric_block_decode(raw, &block, NULL));
	while (fabric_next_envelope(&block.data, &pieces.list[pieces.count]))
		pieces.count++;
	return pieces;
}

/* Header and metadata of raw, around other data. */
static void put_together(struct bytes raw, struct bytes data, struct buffer *out)
{
	struct wire wire = wire_of(raw, WIRE_CANONICAL);
	struct wire_field field;
	buffer_clear(out);
	while (wire_next(&wire, &field))
		wire_put_message(out, field.number, field.number == 2 ? data : field.bytes);
}

static void expect_pieces(const struct chain *chain, size_t height, const struct pieces *pieces,
                          enum walk_fault fault, const char *why)
{
	struct buffer data = BUFFER_EMPTY;
	struct buffer raw = BUFFER_EMPTY;
	struct err err = { .code = ZR_OK };
	for (size_t i = 0; i < pieces->count; i++)
		wire_put_message(&data, 1, pieces->list[i]);
	put_together(chain_raw(chain, height), buffer_bytes(&data), &raw);
	enum walk_fault found = chain_judge(chain, height, buffer_bytes(&raw), &err);
	if (found != fault || strstr(err.message, why) == NULL)
		fail_msg("%s: %s", walk_fault_name(found), err.message);
	buffer_fini(&data);
	buffer_fini(&raw);
}

/* All of these keep the data hash, and the signature over it. */
static void the_bytes_of_a_block_cannot_be_cut_into_other_transactions(void **state)
{
	struct chain chain;
	chain_read(&chain, "fabric", RAFT);
	struct pieces honest = take_apart(chain_raw(&chain, 4));
	assert_int_equal(honest.count, 6);
	expect_pieces(&chain, 4, &honest, WALK_FINE, "");
	for (size_t i = 0; i + 1 < honest.count; i++) {
		struct pieces merged = honest;
		size_t size = honest.list[i].size + honest.list[i + 1].size;
		uint8_t *both = malloc(size);
		assert_non_null(both);
		memcpy(both, honest.list[i].data, honest.list[i].size);
		memcpy(both + honest.list[i].size, honest.list[i + 1].data,
		       honest.list[i + 1].size);
		merged.list[i] = (struct bytes){ both, size };
		memmove(&merged.list[i + 1], &honest.list[i + 2],
		        (honest.count - i - 2) * sizeof(struct bytes));
		merged.count--;
		expect_pieces(&chain, 4, &merged, WALK_MALFORMED, "not in canonical form");

		for (size_t cut = 0; cut < size; cut += cut < 8 ? 1 : 997) {
			struct pieces moved = honest;
			if (cut == honest.list[i].size)
				continue;
			moved.list[i] = (struct bytes){ both, cut };
			moved.list[i + 1] = (struct bytes){ both + cut, size - cut };
			expect_pieces(&chain, 4, &moved, WALK_MALFORMED, "not in canonical form");
		}
		free(both);
	}
	chain_fini(&chain);
}

static void an_envelope_may_not_be_taken_away_added_or_moved(void **state)
{
	struct chain chain;
	chain_read(&chain, "fabric", RAFT);
	struct pieces pieces = take_apart(chain_raw(&chain, 4));
	pieces.count--;
	expect_pieces(&chain, 4, &pieces, WALK_MALFORMED, "the data hash is another");
	pieces.list[pieces.count] = pieces.list[0];
	pieces.count++;
	expect_pieces(&chain, 4, &pieces, WALK_MALFORMED, "the data hash is another");
	pieces = take_apart(chain_raw(&chain, 4));
	struct bytes first = pieces.list[0];
	pieces.list[0] = pieces.list[1];
	pieces.list[1] = first;
	expect_pieces(&chain, 4, &pieces, WALK_MALFORMED, "the data hash is another");
	pieces.count = 0;
	expect_pieces(&chain, 4, &pieces, WALK_MALFORMED, "is empty");
	chain_fini(&chain);
}

static void a_config_transaction_stands_alone_and_only_it_may_be_unsigned(void **state)
{
	struct chain chain;
	chain_read(&chain, "fabric", RAFT);
	struct pieces pieces = take_apart(chain_raw(&chain, 4));
	pieces.list[3] = take_apart(chain_raw(&chain, 0)).list[0];
	expect_pieces(&chain, 4, &pieces, WALK_MALFORMED,
	              "envelope 3: a config transaction among others");
	pieces = take_apart(chain_raw(&chain, 4));
	/* Without its last field: 12 46 30 44 ... */
	pieces.list[2].size -= 72;
	while (pieces.list[2].data[pieces.list[2].size] != 0x12)
		pieces.list[2].size--;
	expect_pieces(&chain, 4, &pieces, WALK_MALFORMED, "envelope 2: no signature");
	chain_fini(&chain);
}

/* ---- the signatures of a real block ---- */

/* The block, with other metadata in its first place. */
static void expect_metadata(const struct chain *chain, size_t height, struct bytes metadata,
                            enum walk_fault fault, const char *why)
{
	struct wire wire = wire_of(chain_raw(chain, height), WIRE_CANONICAL);
	struct wire_field field;
	struct buffer list = BUFFER_EMPTY;
	struct buffer raw = BUFFER_EMPTY;
	struct err err = { .code = ZR_OK };
	wire_put_message(&list, 1, metadata);
	while (wire_next(&wire, &field))
		wire_put_message(&raw, field.number,
		                 field.number == 3 ? buffer_bytes(&list) : field.bytes);
	enum walk_fault found = chain_judge(chain, height, buffer_bytes(&raw), &err);
	if (found != fault || strstr(err.message, why) == NULL)
		fail_msg("%s: %s", walk_fault_name(found), err.message);
	buffer_fini(&list);
	buffer_fini(&raw);
}

/* The one signature of a Raft block. */
struct signed_parts {
	struct bytes value;
	struct bytes header;
	struct bytes signature;
};

static struct signed_parts take_signature(struct bytes raw)
{
	struct fabric_block block;
	struct signed_parts parts = { .value = BYTES_NONE };
	struct bytes message = BYTES_NONE;
	struct wire_field field;
	assert_true(fabric_block_decode(raw, &block, NULL));
	struct wire wire = wire_of(block.signatures, WIRE_CANONICAL);
	while (wire_next(&wire, &field)) {
		if (field.number == 1)
			parts.value = field.bytes;
		else
			message = field.bytes;
	}
	wire = wire_of(message, WIRE_CANONICAL);
	while (wire_next(&wire, &field)) {
		if (field.number == 1)
			parts.header = field.bytes;
		else
			parts.signature = field.bytes;
	}
	return parts;
}

static void put_metadata(const struct signed_parts *parts, struct buffer *out)
{
	struct buffer message = BUFFER_EMPTY;
	buffer_clear(out);
	wire_put_bytes(&message, 1, parts->header);
	wire_put_bytes(&message, 2, parts->signature);
	wire_put_bytes(out, 1, parts->value);
	wire_put_message(out, 2, buffer_bytes(&message));
	buffer_fini(&message);
}

static void expect_signature(const struct chain *chain, const struct signed_parts *parts,
                             enum walk_fault fault, const char *why)
{
	struct buffer metadata = BUFFER_EMPTY;
	put_metadata(parts, &metadata);
	expect_metadata(chain, 1, buffer_bytes(&metadata), fault, why);
	buffer_fini(&metadata);
}

/* The signature is 30 45 | 02 21 00 r | 02 20 s. */
static void a_signature_has_one_encoding(void **state)
{
	struct chain chain;
	chain_read(&chain, "fabric", RAFT);
	struct signed_parts honest = take_signature(chain_raw(&chain, 1));
	assert_int_equal(honest.signature.size, 71);
	expect_signature(&chain, &honest, WALK_FINE, "");

	struct signed_parts parts = honest;
	uint8_t bytes[80] = { 0 };
	memcpy(bytes, honest.signature.data, 71);
	parts.signature = (struct bytes){ bytes, 72 }; /* A byte behind it. */
	expect_signature(&chain, &parts, WALK_UNTRUSTED, "0 valid signatures");
	bytes[1]++; /* The same, inside. */
	expect_signature(&chain, &parts, WALK_UNTRUSTED, "0 valid signatures");
	memcpy(bytes, honest.signature.data, 71);
	memmove(bytes + 40, bytes + 39, 32); /* s with a needless zero in front. */
	bytes[1] = 0x46;
	bytes[38] = 0x21;
	bytes[39] = 0x00;
	expect_signature(&chain, &parts, WALK_UNTRUSTED, "0 valid signatures");
	parts.signature = BYTES_NONE;
	expect_signature(&chain, &parts, WALK_UNTRUSTED, "0 valid signatures");
	chain_fini(&chain);
}

static void what_is_signed_cannot_be_swapped(void **state)
{
	struct chain chain;
	chain_read(&chain, "fabric", RAFT);
	struct signed_parts parts = take_signature(chain_raw(&chain, 1));
	struct signed_parts other = take_signature(chain_raw(&chain, 2));
	struct signed_parts mixed = parts;
	mixed.value = other.value;
	expect_signature(&chain, &mixed, WALK_UNTRUSTED, "0 valid signatures");
	mixed = parts;
	mixed.header = other.header;
	expect_signature(&chain, &mixed, WALK_UNTRUSTED, "0 valid signatures");
	expect_signature(&chain, &other, WALK_UNTRUSTED, "0 valid signatures");
	chain_fini(&chain);
}

static void malformed_metadata_is_told_from_a_bad_signature(void **state)
{
	struct chain chain;
	struct buffer metadata = BUFFER_EMPTY;
	chain_read(&chain, "fabric", RAFT);
	struct signed_parts parts = take_signature(chain_raw(&chain, 1));
	expect_metadata(&chain, 1, BYTES_NONE, WALK_UNTRUSTED, "from 1.4.1 on");
	expect_metadata(&chain, 1, BYTES_LITERAL("\x18\x01"), WALK_MALFORMED,
	                "malformed signatures");
	expect_metadata(&chain, 1, BYTES_LITERAL("\x0a\x01x"), WALK_MALFORMED,
	                "malformed orderer metadata");
	expect_metadata(&chain, 1, BYTES_LITERAL("\x0a\x02\x12\x00"), WALK_MALFORMED,
	                "malformed orderer metadata");
	put_metadata(&parts, &metadata);
	wire_put_bytes(&metadata, 1, parts.value); /* Twice, and out of order. */
	expect_metadata(&chain, 1, buffer_bytes(&metadata), WALK_MALFORMED, "malformed signatures");
	put_metadata(&parts, &metadata);
	for (int i = 0; i < 256; i++)
		wire_put_message(&metadata, 2, BYTES_NONE);
	expect_metadata(&chain, 1, buffer_bytes(&metadata), WALK_MALFORMED,
	                "more than 256 signatures");
	buffer_fini(&metadata);
	chain_fini(&chain);
}

static void lengths_beyond_the_block_are_refused(void **state)
{
	static const struct bytes raws[] = {
		{ (const uint8_t *)"\x0a\xff\xff\xff\xff\x0f", 6 },
		{ (const uint8_t *)"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 11 },
		{ (const uint8_t *)"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02", 11 },
		{ (const uint8_t *)"\x0a\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01", 12 },
		{ (const uint8_t *)"\xff\xff\xff\xff\x7f\x00", 6 },
		{ (const uint8_t *)"\x02\x00", 2 },
		{ (const uint8_t *)"\x0b\x0c", 2 },
		{ (const uint8_t *)"\x0f\x00", 2 },
	};
	const struct sidechain *format = sidechain_find("fabric");
	for (size_t i = 0; i < sizeof(raws) / sizeof(raws[0]); i++) {
		struct block block;
		struct err err = { .code = ZR_OK };
		EXPECT_FAILURE(format->read(raws[i], &block, &err), err, ZR_INVALID,
		               "not a Fabric block");
		assert_true(block.header.height == HEIGHT_UNKNOWN);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_header_is_hashed_as_der),
		cmocka_unit_test(a_header_of_another_shape_is_refused),
		cmocka_unit_test(no_bit_of_a_block_can_be_flipped),
		cmocka_unit_test(a_block_cut_anywhere_is_refused),
		cmocka_unit_test(a_block_with_anything_behind_it_is_refused),
		cmocka_unit_test(the_bytes_of_a_block_cannot_be_cut_into_other_transactions),
		cmocka_unit_test(an_envelope_may_not_be_taken_away_added_or_moved),
		cmocka_unit_test(a_config_transaction_stands_alone_and_only_it_may_be_unsigned),
		cmocka_unit_test(a_signature_has_one_encoding),
		cmocka_unit_test(what_is_signed_cannot_be_swapped),
		cmocka_unit_test(malformed_metadata_is_told_from_a_bad_signature),
		cmocka_unit_test(lengths_beyond_the_block_are_refused),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
