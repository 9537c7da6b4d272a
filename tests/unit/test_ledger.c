/* Format `ledger`: what is built, what is accepted, who may seal. docs/LEDGER-FORMAT.md. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "adapters/sidechain/ledger/ledger.h"
#include "adapters/sidechain/wire.h"
#include "proto/ledger.pb-c.h"
#include "tests/lib/chain.h"
#include "tests/lib/expect.h"
#include "tests/lib/fault.h"
#include "tests/lib/vectors.h"

#define TIME INT64_C(1767571200000)

/* ---- the worked example ---- */

static struct key *key_of_seed(struct bytes seed)
{
	struct key *key;
	struct err err;
	struct buffer der = BUFFER_EMPTY;
	struct buffer pem = BUFFER_EMPTY;
	buffer_put(
		&der,
		BYTES_LITERAL("\x30\x2e\x02\x01\x00\x30\x05\x06\x03\x2b\x65\x70\x04\x22\x04\x20"));
	buffer_put(&der, seed);
	buffer_printf(&pem, "-----BEGIN PRIVATE KEY-----\n");
	base64_encode(buffer_bytes(&der), &pem);
	buffer_printf(&pem, "\n-----END PRIVATE KEY-----\n");
	if (!key_from_pem(&key, buffer_bytes(&pem), &err))
		fail_msg("%s", err.message);
	buffer_fini(&der);
	buffer_fini(&pem);
	return key;
}

static void what_is_built_is_byte_for_byte_what_is_documented(void **state)
{
	struct vectors *vectors = vectors_open("ledger.txt");
	struct key *a = key_of_seed(vector(vectors, "seed-a"));
	struct key *b = key_of_seed(vector(vectors, "seed-b"));
	struct key *c = key_of_seed(vector(vectors, "seed-c"));
	const struct key *both[] = { a, b };
	const struct key *only_a[] = { a };
	const struct key *only_b[] = { b };
	const struct key *only_c[] = { c };
	const struct ledger_set first = { both, 2, 1 };
	const struct ledger_set second = { only_c, 1, 1 };
	struct bytes entries[3];
	for (int i = 0; i < 3; i++)
		entries[i] = vector_at(vectors, "entry-%d", i);
	struct ledger_draft drafts[] = {
		{ .set = &first, .signers = both, .signer_count = 2 },
		{ .entries = entries, .entry_count = 3, .signers = only_a, .signer_count = 1 },
		{ .set = &second, .signers = only_b, .signer_count = 1 },
		{ .signers = only_c, .signer_count = 1 },
	};
	struct chain chain;
	struct hash parent = { { 0 } };
	struct err err;
	chain_init(&chain, "ledger");
	for (int height = 0; height < 4; height++) {
		struct buffer raw = BUFFER_EMPTY;
		struct block_header header;
		drafts[height].height = (uint64_t)height;
		drafts[height].time_ms = TIME + 900000 * height;
		drafts[height].parent = parent;
		if (!ledger_block_build(&drafts[height], &raw, &header, &err))
			fail_msg("%s", err.message);
		assert_bytes_equal(buffer_bytes(&raw), vector_at(vectors, "block-%d", height));
		assert_bytes_equal(BYTES_OF(header.hash), vector_at(vectors, "hash-%d", height));
		chain_add(&chain, buffer_bytes(&raw));
		parent = header.hash;
		buffer_fini(&raw);
	}
	struct walk walk = chain_walk_to(&chain, 4);
	assert_int_equal(walk.trust_from, 3);
	walk_fini(&walk);
	chain_fini(&chain);
	key_free(a);
	key_free(b);
	key_free(c);
	vectors_close(vectors);
}

static void the_encoding_is_the_one_of_the_proto_file(void **state)
{
	struct vectors *vectors = vectors_open("ledger.txt");
	struct bytes raw = vector(vectors, "block-1");
	Zonerelay__Ledger__Block *block =
		zonerelay__ledger__block__unpack(NULL, raw.size, raw.data);
	assert_non_null(block);
	assert_int_equal(block->n_entries, 3);
	assert_int_equal(block->n_seals, 1);
	uint8_t *packed = malloc(raw.size);
	assert_non_null(packed);
	assert_int_equal(zonerelay__ledger__block__get_packed_size(block), raw.size);
	zonerelay__ledger__block__pack(block, packed);
	assert_memory_equal(packed, raw.data, raw.size);
	free(packed);
	zonerelay__ledger__block__free_unpacked(block, NULL);
	vectors_close(vectors);
}

/* ---- chains of all suites ---- */

#define KEYS_MAX 4

struct scene {
	struct key *keys[KEYS_MAX];
	const struct key *order[KEYS_MAX]; /* The same. */
	struct ledger_set set;             /* The first keys. */
	struct trust *trust;
	struct walk walk;
	struct buffer raw;
	struct block_header header; /* Of what was built last. */
};

static struct err ignored;

static void scene_init(struct scene *scene, enum suite suite, size_t threshold, size_t count)
{
	struct walk_position position = { .next_height = 0 };
	struct err err;
	*scene = (struct scene){ .raw = BUFFER_EMPTY };
	for (size_t i = 0; i < KEYS_MAX; i++) {
		assert_true(key_generate(&scene->keys[i], suite, &err));
		scene->order[i] = scene->keys[i];
	}
	scene->set = (struct ledger_set){ scene->order, count, threshold };
	if (!ledger_genesis_build(&scene->set, TIME, &scene->raw, &scene->header, &err) ||
	    !ledger_format()->trust_pin(buffer_bytes(&scene->raw), &scene->trust, &err))
		fail_msg("%s", err.message);
	walk_init(&scene->walk, ledger_format(), scene->trust,
	          &ledger_format()->trust_origin(scene->trust)->hash, position);
	EXPECT_WALK(&scene->walk, buffer_bytes(&scene->raw), WALK_FINE, "");
}

static void scene_fini(struct scene *scene)
{
	walk_fini(&scene->walk);
	ledger_format()->trust_free(scene->trust);
	for (size_t i = 0; i < KEYS_MAX; i++)
		key_free(scene->keys[i]);
	buffer_fini(&scene->raw);
}

static const struct bytes one_entry = { (const uint8_t *)"a reading", 9 };

/* The next block, sealed by the first signer_count keys. */
static struct ledger_draft next_draft(const struct scene *scene, size_t signer_count)
{
	return (struct ledger_draft){ .height = scene->walk.position.next_height,
		                      .parent = scene->walk.position.tip,
		                      .time_ms = TIME,
		                      .entries = &one_entry,
		                      .entry_count = 1,
		                      .signers = scene->order,
		                      .signer_count = signer_count };
}

#define EXPECT_DRAFT(scene, draft, fault, text)                                              \
	do {                                                                                 \
		buffer_clear(&(scene)->raw);                                                 \
		if (!ledger_block_build((draft), &(scene)->raw, &(scene)->header, &ignored)) \
			fail_msg("%s", ignored.message);                                     \
		EXPECT_WALK(&(scene)->walk, buffer_bytes(&(scene)->raw), (fault), (text));   \
	} while (0)

static void blocks_are_built_and_accepted_in_every_suite(void **state)
{
	for (int number = SUITE_SHA256_P256; number <= SUITE_SM3_SM2; number++) {
		struct scene scene;
		if (!suite_available((enum suite)number))
			continue;
		scene_init(&scene, (enum suite)number, 2, 3);
		struct ledger_draft draft = next_draft(&scene, 2);
		EXPECT_DRAFT(&scene, &draft, WALK_FINE, "");
		draft = next_draft(&scene, 3);
		draft.entry_count = 0;
		EXPECT_DRAFT(&scene, &draft, WALK_FINE, "");
		assert_int_equal(scene.header.entry_count, 0);
		struct buffer text = BUFFER_EMPTY;
		ledger_format()->trust_describe(scene.trust, &text);
		buffer_put_u8(&text, 0);
		assert_non_null(strstr((const char *)text.data, "2 of 3 keys of suite"));
		buffer_fini(&text);
		scene_fini(&scene);
	}
}

static void enough_keys_must_seal(void **state)
{
	struct scene scene;
	scene_init(&scene, SUITE_SHA256_ED25519, 2, 3);
	struct ledger_draft draft = next_draft(&scene, 1);
	EXPECT_DRAFT(&scene, &draft, WALK_UNTRUSTED, "1 seals, of which 2 are needed");
	/* The fourth is not of the set; a seal nobody asked for is no ornament. */
	draft = next_draft(&scene, 4);
	EXPECT_DRAFT(&scene, &draft, WALK_UNTRUSTED, "which is not trusted");
	draft = next_draft(&scene, 2);
	EXPECT_DRAFT(&scene, &draft, WALK_FINE, "");
	scene_fini(&scene);
}

static void keys_are_replaced_by_those_before_them(void **state)
{
	struct scene scene;
	scene_init(&scene, SUITE_SHA256_P256, 1, 1);
	const struct ledger_set next = { scene.order + 1, 2, 2 };
	struct ledger_draft draft = next_draft(&scene, 1);
	draft.set = &next;
	draft.entries = NULL;
	draft.entry_count = 0;
	draft.signers = scene.order + 1;
	EXPECT_DRAFT(&scene, &draft, WALK_UNTRUSTED, "which is not trusted");
	draft.signers = scene.order;
	EXPECT_DRAFT(&scene, &draft, WALK_FINE, "");
	assert_int_equal(scene.walk.trust_from, 2);

	draft = next_draft(&scene, 1);
	EXPECT_DRAFT(&scene, &draft, WALK_UNTRUSTED, "which is not trusted");
	draft.signers = scene.order + 1;
	EXPECT_DRAFT(&scene, &draft, WALK_UNTRUSTED, "1 seals, of which 2 are needed");
	draft.signer_count = 2;
	EXPECT_DRAFT(&scene, &draft, WALK_FINE, "");

	/* The new set, saved and loaded, verifies what it verified before. */
	struct buffer saved = BUFFER_EMPTY;
	struct trust *loaded;
	struct block block;
	ledger_format()->trust_save(scene.walk.trust, &saved);
	assert_true(ledger_format()->trust_load(buffer_bytes(&saved), &loaded, &ignored));
	assert_true(ledger_format()->read(buffer_bytes(&scene.raw), &block, &ignored));
	assert_true(ledger_format()->verify(loaded, &block, &ignored));
	ledger_format()->trust_free(loaded);
	buffer_fini(&saved);
	scene_fini(&scene);
}

static void a_chain_keeps_its_suite(void **state)
{
	struct scene scene;
	struct key *other;
	struct err err = { .code = ZR_OK };
	scene_init(&scene, SUITE_SHA256_P256, 1, 1);
	assert_true(key_generate(&other, SUITE_SHA256_ED25519, &err));
	const struct key *others[] = { other };
	const struct ledger_set set = { others, 1, 1 };
	struct ledger_draft draft = next_draft(&scene, 1);
	draft.signers = others;
	EXPECT_DRAFT(&scene, &draft, WALK_UNTRUSTED, "in a chain of suite sha256-p256");
	draft = next_draft(&scene, 1);
	draft.set = &set;
	draft.entry_count = 0;
	EXPECT_FAILURE(ledger_block_build(&draft, &scene.raw, &scene.header, &err), err, ZR_INVALID,
	               "a chain keeps its suite");
	/* Even where nobody asked whether the block is admitted. */
	struct block block;
	struct trust *next;
	draft = next_draft(&scene, 1);
	draft.set = &set;
	draft.entry_count = 0;
	draft.signers = others;
	buffer_clear(&scene.raw);
	assert_true(ledger_block_build(&draft, &scene.raw, &scene.header, &err));
	assert_true(ledger_format()->read(buffer_bytes(&scene.raw), &block, &err));
	EXPECT_FAILURE(ledger_format()->trust_next(scene.trust, &block, &next, &err), err,
	               ZR_UNTRUSTED, "changes the chain's suite");
	key_free(other);
	scene_fini(&scene);
}

static void a_block_out_of_place_is_refused(void **state)
{
	struct scene scene;
	scene_init(&scene, SUITE_SHA256_ED25519, 1, 1);
	struct ledger_draft draft = next_draft(&scene, 1);
	draft.height = 5;
	EXPECT_DRAFT(&scene, &draft, WALK_HEIGHT, "block 5 where 1 is next");
	draft = next_draft(&scene, 1);
	draft.parent.bytes[0] ^= 1;
	EXPECT_DRAFT(&scene, &draft, WALK_LINK, "does not link");
	scene_fini(&scene);
}

static void another_genesis_is_another_chain(void **state)
{
	struct scene scene;
	struct walk walk;
	struct walk_position position = { .next_height = 0 };
	scene_init(&scene, SUITE_SHA256_ED25519, 1, 1);
	buffer_clear(&scene.raw);
	assert_true(
		ledger_genesis_build(&scene.set, TIME + 1, &scene.raw, &scene.header, &ignored));
	walk_init(&walk, ledger_format(), scene.trust,
	          &ledger_format()->trust_origin(scene.trust)->hash, position);
	EXPECT_WALK(&walk, buffer_bytes(&scene.raw), WALK_LINK, "block 0 is not the pinned one");
	walk_fini(&walk);
	scene_fini(&scene);
}

/* ---- what is not built ---- */

static void expect_not_built(struct scene *scene, const struct ledger_draft *draft, const char *why)
{
	struct err err = { .code = ZR_OK };
	buffer_clear(&scene->raw);
	EXPECT_FAILURE(ledger_block_build(draft, &scene->raw, &scene->header, &err), err,
	               ZR_INVALID, why);
}

static void what_nobody_would_accept_is_not_built(void **state)
{
	struct scene scene;
	scene_init(&scene, SUITE_SHA256_ED25519, 1, 1);
	struct ledger_draft honest = next_draft(&scene, 1);
	struct ledger_draft draft = honest;
	const struct key *twice[] = { scene.keys[0], scene.keys[1], scene.keys[0] };
	struct bytes empty = BYTES_NONE;
	uint8_t *large = calloc(1, LEDGER_ENTRY_SIZE_MAX + 1);
	assert_non_null(large);
	struct bytes entries[17];
	for (size_t i = 0; i < 17; i++)
		entries[i] = (struct bytes){ large, LEDGER_ENTRY_SIZE_MAX };

	draft.signers = twice;
	draft.signer_count = 3;
	expect_not_built(&scene, &draft, "one key is given twice");
	draft.signer_count = 0;
	expect_not_built(&scene, &draft, "0 keys; 1 to 16 are possible");
	draft = honest;
	draft.entries = &empty;
	expect_not_built(&scene, &draft, "entry 0 has 0 bytes");
	draft.entries = entries;
	draft.entry_count = 17;
	expect_not_built(&scene, &draft, "more than 16777216 bytes of entries");
	entries[0].size++;
	expect_not_built(&scene, &draft, "entry 0 has 1048577 bytes");
	draft.entry_count = LEDGER_ENTRIES_MAX + 1;
	expect_not_built(&scene, &draft, "65537 entries");
	draft = honest;
	draft.height = 0;
	expect_not_built(&scene, &draft, "block 0, and only block 0, has no parent");
	draft.parent = (struct hash){ { 0 } };
	expect_not_built(&scene, &draft, "block 0 brings no trust set");
	draft.height = (uint64_t)INT64_MAX + 1;
	expect_not_built(&scene, &draft, "beyond 2^63 - 1");
	draft = honest;
	draft.set = &scene.set;
	expect_not_built(&scene, &draft, "a trust set beside other entries");
	draft.entry_count = 0;
	scene.set.threshold = 2;
	expect_not_built(&scene, &draft, "a threshold of 2 out of 1 keys");
	scene.set.threshold = 0;
	expect_not_built(&scene, &draft, "a threshold of 0 out of 1 keys");
	free(large);
	scene_fini(&scene);
}

/* ---- what is not accepted ---- */

/* A block of the parts given; a part of no bytes is left out. */
struct parts {
	struct bytes header;
	struct bytes entries[3];
	struct bytes seals[3];
};

static struct parts take_apart(struct bytes raw)
{
	struct parts parts = { .header = BYTES_NONE };
	struct wire wire = wire_of(raw, WIRE_CANONICAL);
	struct wire_field field;
	size_t entry_count = 0;
	size_t seal_count = 0;
	while (wire_next(&wire, &field)) {
		if (field.number == 1)
			parts.header = field.bytes;
		else if (field.number == 2)
			parts.entries[entry_count++] = field.bytes;
		else
			parts.seals[seal_count++] = field.bytes;
	}
	return parts;
}

static void expect_parts(struct scene *scene, const struct parts *parts, enum walk_fault fault,
                         const char *why)
{
	struct buffer raw = BUFFER_EMPTY;
	wire_put_bytes(&raw, 1, parts->header);
	for (size_t i = 0; i < 3; i++)
		wire_put_bytes(&raw, 2, parts->entries[i]);
	for (size_t i = 0; i < 3; i++)
		wire_put_bytes(&raw, 3, parts->seals[i]);
	EXPECT_WALK(&scene->walk, buffer_bytes(&raw), fault, why);
	buffer_fini(&raw);
}

/* The next block of three entries, sealed by both keys; owned by scene->raw. */
static struct parts honest_parts(struct scene *scene)
{
	static const struct bytes entries[] = { { (const uint8_t *)"one", 3 },
		                                { (const uint8_t *)"two", 3 },
		                                { (const uint8_t *)"three", 5 } };
	struct ledger_draft draft = next_draft(scene, 2);
	draft.entries = entries;
	draft.entry_count = 3;
	buffer_clear(&scene->raw);
	assert_true(ledger_block_build(&draft, &scene->raw, &scene->header, &ignored));
	return take_apart(buffer_bytes(&scene->raw));
}

static void entries_are_what_the_header_commits_to(void **state)
{
	struct scene scene;
	scene_init(&scene, SUITE_SHA256_ED25519, 2, 2);
	const struct parts honest = honest_parts(&scene);
	struct parts parts = honest;
	parts.entries[2] = BYTES_NONE;
	expect_parts(&scene, &parts, WALK_MALFORMED, "says 3 entries and has 2");
	parts = honest;
	parts.entries[0] = honest.entries[1];
	parts.entries[1] = honest.entries[0];
	expect_parts(&scene, &parts, WALK_MALFORMED, "the data root is another");
	parts = honest;
	parts.entries[0] = BYTES_LITERAL("onet");
	parts.entries[1] = BYTES_LITERAL("wo");
	expect_parts(&scene, &parts, WALK_MALFORMED, "the data root is another");
	expect_parts(&scene, &honest, WALK_FINE, "");
	scene_fini(&scene);
}

/* The block, with one more entry in front. */
static void expect_entry_refused(struct scene *scene, struct bytes entry, size_t times)
{
	const struct parts parts = honest_parts(scene);
	struct buffer raw = BUFFER_EMPTY;
	wire_put_bytes(&raw, 1, parts.header);
	for (size_t i = 0; i < times; i++)
		wire_put_message(&raw, 2, entry);
	wire_put_message(&raw, 3, parts.seals[0]);
	EXPECT_WALK(&scene->walk, buffer_bytes(&raw), WALK_MALFORMED, "not the canonical encoding");
	buffer_fini(&raw);
}

static void entries_beyond_the_limits_are_refused(void **state)
{
	struct scene scene;
	uint8_t *large = calloc(1, LEDGER_ENTRY_SIZE_MAX + 1);
	assert_non_null(large);
	scene_init(&scene, SUITE_SHA256_ED25519, 1, 1);
	scene.set.key_count = 1;
	expect_entry_refused(&scene, BYTES_NONE, 1);
	expect_entry_refused(&scene, (struct bytes){ large, LEDGER_ENTRY_SIZE_MAX + 1 }, 1);
	expect_entry_refused(&scene, (struct bytes){ large, LEDGER_ENTRY_SIZE_MAX }, 17);
	expect_entry_refused(&scene, (struct bytes){ large, 1 }, LEDGER_ENTRIES_MAX + 1);
	free(large);
	scene_fini(&scene);
}

static void seals_are_ascending_different_and_valid(void **state)
{
	struct scene scene;
	scene_init(&scene, SUITE_SHA256_ED25519, 2, 2);
	const struct parts honest = honest_parts(&scene);
	struct parts parts = honest;
	uint8_t changed[100];
	assert_int_equal(honest.seals[0].size, sizeof(changed));
	parts.seals[1] = honest.seals[0];
	expect_parts(&scene, &parts, WALK_MALFORMED, "not the canonical encoding");
	parts.seals[0] = honest.seals[1];
	expect_parts(&scene, &parts, WALK_MALFORMED, "not the canonical encoding");
	parts = honest;
	parts.seals[0] = BYTES_NONE;
	parts.seals[1] = BYTES_NONE;
	expect_parts(&scene, &parts, WALK_MALFORMED, "a block without a seal");
	parts = honest;
	memcpy(changed, honest.seals[1].data, sizeof(changed));
	changed[99] ^= 1;
	parts.seals[1] = BYTES_OF(changed);
	expect_parts(&scene, &parts, WALK_UNTRUSTED, "seal of key");
	parts.seals[1].size--;
	expect_parts(&scene, &parts, WALK_MALFORMED, "not the canonical encoding");
	expect_parts(&scene, &honest, WALK_FINE, "");
	scene_fini(&scene);
}

/* The walk's answer to the block with one byte of its header changed and sealed anew. */
static void expect_header(struct scene *scene, size_t at, uint8_t value, enum walk_fault fault,
                          const char *why)
{
	struct parts parts = honest_parts(scene);
	struct signature signature;
	struct buffer seal = BUFFER_EMPTY;
	uint8_t header[LEDGER_HEADER_SIZE];
	memcpy(header, parts.header.data, sizeof(header));
	header[at] = value;
	parts.header = BYTES_OF(header);
	assert_true(key_sign(scene->keys[0], parts.header, &signature, &ignored));
	struct hash id = key_id(scene->keys[0]);
	wire_put_bytes(&seal, 1, BYTES_OF(id));
	wire_put_bytes(&seal, 2, signature_bytes(&signature));
	parts.seals[0] = buffer_bytes(&seal);
	parts.seals[1] = BYTES_NONE;
	expect_parts(scene, &parts, fault, why);
	buffer_fini(&seal);
}

static void every_field_of_the_header_is_checked(void **state)
{
	struct scene scene;
	scene_init(&scene, SUITE_SHA256_ED25519, 1, 2);
	expect_header(&scene, 0, 'z', WALK_MALFORMED, "not a ledger block header");
	expect_header(&scene, 3, '2', WALK_MALFORMED, "not a ledger block header");
	expect_header(&scene, 4, 0, WALK_MALFORMED, "unknown suite 0");
	expect_header(&scene, 4, 9, WALK_MALFORMED, "unknown suite 9");
	expect_header(&scene, 4, 1, WALK_UNTRUSTED, "in a chain of suite sha256-ed25519");
	expect_header(&scene, 4, 3, WALK_MALFORMED, "the data root is another");
	expect_header(&scene, 5, 2, WALK_MALFORMED, "unknown kind 2");
	expect_header(&scene, 5, 1, WALK_MALFORMED, "a trust set beside other entries");
	expect_header(&scene, 6, 0x80, WALK_MALFORMED, "beyond 2^63 - 1");
	expect_header(&scene, 13, 2, WALK_HEIGHT, "block 2 where 1 is next");
	expect_header(&scene, 13, 0, WALK_MALFORMED, "only block 0, has no parent");
	expect_header(&scene, 22, 0x55, WALK_LINK, "does not link");
	expect_header(&scene, 54, 0x55, WALK_MALFORMED, "the data root is another");
	expect_header(&scene, 86, 0x01, WALK_MALFORMED, "and has 3");
	expect_header(&scene, 14, 0xff, WALK_FINE, ""); /* Any time may be claimed. */
	scene_fini(&scene);
}

/* No bit at all: this format has no part that nobody signs. */
static void no_bit_of_a_block_can_be_flipped(void **state)
{
	struct scene scene;
	scene_init(&scene, SUITE_SHA256_ED25519, 2, 2);
	(void)honest_parts(&scene);
	for (size_t at = 0; at < scene.raw.size; at++) {
		for (unsigned bit = 0; bit < 8; bit++) {
			struct block block;
			struct walk trial = scene.walk;
			scene.raw.data[at] ^= (uint8_t)(1u << bit);
			if (walk_block(&trial, buffer_bytes(&scene.raw), true, &block, NULL) ==
			    WALK_FINE)
				fail_msg("byte %zu, bit %u: accepted", at, bit);
			scene.raw.data[at] ^= (uint8_t)(1u << bit);
		}
	}
	for (size_t size = 0; size < scene.raw.size; size++) {
		struct block block;
		struct walk trial = scene.walk;
		uint8_t *exact = bytes_dup((struct bytes){ scene.raw.data, size });
		assert_int_not_equal(
			walk_block(&trial, (struct bytes){ exact, size }, true, &block, NULL),
			WALK_FINE);
		free(exact);
	}
	EXPECT_WALK(&scene.walk, buffer_bytes(&scene.raw), WALK_FINE, "");
	scene_fini(&scene);
}

/* ---- trust sets that are not accepted ---- */

/* A first block, honestly sealed by the first key, that brings any entry. */
static void expect_set_refused(struct scene *scene, struct bytes entry, const char *why)
{
	struct err err = { .code = ZR_OK };
	struct trust *trust;
	struct ledger_draft draft = { .height = 1,
		                      .parent = scene->walk.position.tip,
		                      .entries = &entry,
		                      .entry_count = 1,
		                      .signers = scene->order,
		                      .signer_count = 1 };
	buffer_clear(&scene->raw);
	assert_true(ledger_block_build(&draft, &scene->raw, &scene->header, &err));
	/* The header says trust set, and is sealed anew. */
	struct parts parts = take_apart(buffer_bytes(&scene->raw));
	struct buffer raw = BUFFER_EMPTY;
	struct buffer seal = BUFFER_EMPTY;
	struct signature signature;
	uint8_t header[LEDGER_HEADER_SIZE];
	memcpy(header, parts.header.data, sizeof(header));
	header[5] = LEDGER_TRUST_SET;
	assert_true(key_sign(scene->keys[0], BYTES_OF(header), &signature, &err));
	struct hash id = key_id(scene->keys[0]);
	wire_put_bytes(&seal, 1, BYTES_OF(id));
	wire_put_bytes(&seal, 2, signature_bytes(&signature));
	wire_put_bytes(&raw, 1, BYTES_OF(header));
	wire_put_bytes(&raw, 2, entry);
	wire_put_bytes(&raw, 3, buffer_bytes(&seal));
	EXPECT_FAILURE(ledger_format()->trust_pin(buffer_bytes(&raw), &trust, &err), err,
	               ZR_INVALID, why);
	EXPECT_WALK(&scene->walk, buffer_bytes(&raw), WALK_MALFORMED, why);
	buffer_fini(&raw);
	buffer_fini(&seal);
}

static void a_trust_set_has_one_encoding(void **state)
{
	struct scene scene;
	struct buffer entry = BUFFER_EMPTY;
	scene_init(&scene, SUITE_SHA256_ED25519, 1, 2);
	/* The honest set of two keys, cut out of the first block: 7 bytes and twice 46. */
	struct parts parts = take_apart(buffer_bytes(&scene.raw));
	assert_int_equal(parts.entries[0].size, 99);
	uint8_t set[99];
	memcpy(set, parts.entries[0].data, sizeof(set));
	struct bytes whole = BYTES_OF(set);

	set[0] = 'X';
	expect_set_refused(&scene, whole, "not a trust set");
	set[0] = 'Z';
	set[4] = 7;
	expect_set_refused(&scene, whole, "unknown suite 7");
	set[4] = SUITE_SHA256_P256;
	expect_set_refused(&scene, whole, "is not a key of suite sha256-p256");
	set[4] = SUITE_SHA256_ED25519;
	set[5] = 3;
	expect_set_refused(&scene, whole, "3 out of 2 keys");
	set[5] = 0;
	expect_set_refused(&scene, whole, "0 out of 2 keys");
	set[5] = 1;
	set[6] = 0;
	expect_set_refused(&scene, whole, "1 out of 0 keys");
	set[6] = 17;
	expect_set_refused(&scene, whole, "1 out of 17 keys");
	set[6] = 1;
	expect_set_refused(&scene, whole, "bytes after the trust set");
	set[6] = 2;
	expect_set_refused(&scene, (struct bytes){ set, 98 }, "");
	buffer_put(&entry, (struct bytes){ set, 7 });
	buffer_put(&entry, (struct bytes){ set + 53, 46 });
	buffer_put(&entry, (struct bytes){ set + 7, 46 });
	expect_set_refused(&scene, buffer_bytes(&entry), "not in ascending order");
	memcpy(entry.data + 53, entry.data + 7, 46);
	expect_set_refused(&scene, buffer_bytes(&entry), "not in ascending order");
	buffer_fini(&entry);
	scene_fini(&scene);
}

/* The same key with its point compressed: it would have two ids. */
static void a_key_has_one_encoding(void **state)
{
	struct scene scene;
	struct buffer entry = BUFFER_EMPTY;
	scene_init(&scene, SUITE_SHA256_P256, 1, 1);
	struct bytes spki = key_spki(scene.keys[0]);
	assert_int_equal(spki.size, 91);
	uint8_t sign = (uint8_t)(2 | (spki.data[90] & 1));
	buffer_put(&entry, BYTES_LITERAL("ZRt1\x01\x01\x01"));
	buffer_put_u16(&entry, 59);
	buffer_put(&entry, BYTES_LITERAL("\x30\x39\x30\x13\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06"
	                                 "\x08\x2a\x86\x48\xce\x3d\x03\x01\x07\x03\x22\x00"));
	buffer_put_u8(&entry, sign);
	buffer_put(&entry, (struct bytes){ spki.data + 27, 32 });
	expect_set_refused(&scene, buffer_bytes(&entry), "");
	buffer_fini(&entry);
	scene_fini(&scene);
}

static void a_genesis_is_sealed_by_its_own_keys(void **state)
{
	struct scene scene;
	struct trust *trust;
	struct err err = { .code = ZR_OK };
	scene_init(&scene, SUITE_SHA256_ED25519, 2, 2);
	struct ledger_draft draft = { .set = &scene.set,
		                      .signers = scene.order,
		                      .signer_count = 1 };
	buffer_clear(&scene.raw);
	assert_true(ledger_block_build(&draft, &scene.raw, &scene.header, &err));
	EXPECT_FAILURE(ledger_format()->trust_pin(buffer_bytes(&scene.raw), &trust, &err), err,
	               ZR_UNTRUSTED, "1 seals, of which 2 are needed");
	draft.signers = scene.order + 1;
	draft.signer_count = 2;
	buffer_clear(&scene.raw);
	assert_true(ledger_block_build(&draft, &scene.raw, &scene.header, &err));
	EXPECT_FAILURE(ledger_format()->trust_pin(buffer_bytes(&scene.raw), &trust, &err), err,
	               ZR_UNTRUSTED, "which is not trusted");
	(void)honest_parts(&scene);
	EXPECT_FAILURE(ledger_format()->trust_pin(buffer_bytes(&scene.raw), &trust, &err), err,
	               ZR_INVALID, "brings no trust set");
	scene_fini(&scene);
}

/* ---- memory ---- */

/* Builds, pins and walks two blocks, with the n-th allocation failing. */
static bool build_and_walk(const struct scene *scene, struct err *err)
{
	struct buffer raw = BUFFER_EMPTY;
	struct trust *trust = NULL;
	struct block_header header;
	struct walk walk;
	struct walk_position position = { .next_height = 0 };
	bool ok = ledger_genesis_build(&scene->set, TIME, &raw, &header, err) &&
	          ledger_format()->trust_pin(buffer_bytes(&raw), &trust, err);
	if (ok) {
		struct block block;
		walk_init(&walk, ledger_format(), trust, &header.hash, position);
		ok = walk_block(&walk, buffer_bytes(&raw), true, &block, err) == WALK_FINE;
		struct ledger_draft draft = { .height = 1,
			                      .parent = header.hash,
			                      .set = &scene->set,
			                      .signers = scene->order,
			                      .signer_count = 2 };
		buffer_clear(&raw);
		ok = ok && ledger_block_build(&draft, &raw, &header, err) &&
		     walk_block(&walk, buffer_bytes(&raw), true, &block, err) == WALK_FINE;
		walk_fini(&walk);
	}
	ledger_format()->trust_free(trust);
	buffer_fini(&raw);
	return ok;
}

static void any_allocation_may_fail(void **state)
{
	struct scene scene;
	scene_init(&scene, SUITE_SHA256_ED25519, 2, 2);
	for (size_t n = 1;; n++) {
		struct err err = { .code = ZR_OK };
		fault_at(n);
		bool ok = build_and_walk(&scene, &err);
		if (fault_off() == 0) {
			assert_true(ok);
			break;
		}
		if (!ok && err.code != ZR_NO_MEMORY)
			fail_msg("allocation %zu: %s", n, err.message);
	}
	scene_fini(&scene);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_built_is_byte_for_byte_what_is_documented),
		cmocka_unit_test(the_encoding_is_the_one_of_the_proto_file),
		cmocka_unit_test(blocks_are_built_and_accepted_in_every_suite),
		cmocka_unit_test(enough_keys_must_seal),
		cmocka_unit_test(keys_are_replaced_by_those_before_them),
		cmocka_unit_test(a_chain_keeps_its_suite),
		cmocka_unit_test(a_block_out_of_place_is_refused),
		cmocka_unit_test(another_genesis_is_another_chain),
		cmocka_unit_test(what_nobody_would_accept_is_not_built),
		cmocka_unit_test(entries_are_what_the_header_commits_to),
		cmocka_unit_test(entries_beyond_the_limits_are_refused),
		cmocka_unit_test(seals_are_ascending_different_and_valid),
		cmocka_unit_test(every_field_of_the_header_is_checked),
		cmocka_unit_test(no_bit_of_a_block_can_be_flipped),
		cmocka_unit_test(a_trust_set_has_one_encoding),
		cmocka_unit_test(a_key_has_one_encoding),
		cmocka_unit_test(a_genesis_is_sealed_by_its_own_keys),
		cmocka_unit_test(any_allocation_may_fail),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
