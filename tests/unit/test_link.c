#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "proto/link.h"
#include "proto/message.h"
#include "proto/record.h"
#include "tests/lib/fault.h"
#include "tests/lib/sample.h"
#include "tests/lib/vectors.h"

static struct vectors *vectors;

static int open_vectors(void **state)
{
	vectors = vectors_open("link.txt");
	return 0;
}

static int close_vectors(void **state)
{
	vectors_close(vectors);
	return 0;
}

static uint8_t same_bytes[256][HASH_SIZE];

static ProtobufCBinaryData same(uint8_t byte)
{
	memset(same_bytes[byte], byte, HASH_SIZE);
	return (ProtobufCBinaryData){ HASH_SIZE, same_bytes[byte] };
}

static char chain_name[] = "tq-0001";
static char agent_software[] = "zonerelay-edge 0.1.0";
static char gateway_software[] = "zonerelayd 0.1.0";
static char some_text[] = "some text";
static uint8_t some_data[LINK_CHUNK_MAX + 1] = "some data";

/* One frame of every body, valid, and all that it points to. */
struct frames {
	Zonerelay__Link__Frame frame;
	Zonerelay__Link__Hello hello;
	Zonerelay__Link__ChainHello chain_hello, *chain_hellos[1];
	Zonerelay__Link__Welcome welcome;
	Zonerelay__Link__ChainWelcome chain_welcome, *chain_welcomes[1];
	Zonerelay__Link__Limits limits;
	Zonerelay__Link__CreditGrant grant;
	Zonerelay__Link__Chunk chunk;
	Zonerelay__Link__BatchHeader header;
	Zonerelay__Link__Ack ack;
	Zonerelay__Link__CustodyReceipt custody;
	Zonerelay__Link__Reject reject;
	Zonerelay__Link__Anchored anchored;
	Zonerelay__Link__AnchoredEntry entry, *entries[1];
	Zonerelay__Link__Resend resend;
	Zonerelay__Link__Dictionary dictionary;
	Zonerelay__Link__ChainUpdate update;
	ProtobufCBinaryData hashes[2];
};

static void init_hello(struct frames *f)
{
	zonerelay__link__hello__init(&f->hello);
	zonerelay__link__chain_hello__init(&f->chain_hello);
	f->chain_hello.name = chain_name;
	f->chain_hello.epoch = same(0xe0);
	f->chain_hello.has_blocks = true;
	f->chain_hello.oldest_height = 4;
	f->chain_hello.tip_height = 9;
	f->chain_hello.tip_hash = same(0x19);
	f->chain_hello.anchored_next = 3;
	f->chain_hellos[0] = &f->chain_hello;
	f->hello.version_min = f->hello.version_max = LINK_VERSION;
	f->hello.software = agent_software;
	f->hello.n_chains = 1;
	f->hello.chains = f->chain_hellos;
	f->hashes[0] = same(0xdc);
	f->hello.n_dictionaries = 1;
	f->hello.dictionaries = f->hashes;
	f->hello.store_uuid = (ProtobufCBinaryData){ STORE_UUID_SIZE, some_data + 64 };
	memcpy(some_data + 64, sample_uuid, STORE_UUID_SIZE);
}

static void init_welcome(struct frames *f)
{
	static uint8_t certificate[] = "certificate";
	zonerelay__link__welcome__init(&f->welcome);
	zonerelay__link__chain_welcome__init(&f->chain_welcome);
	zonerelay__link__limits__init(&f->limits);
	zonerelay__link__credit_grant__init(&f->grant);
	f->chain_welcome.state = ZONERELAY__LINK__CHAIN_STATE__CHAIN_STATE_ACTIVE;
	f->chain_welcome.next_height = 7;
	f->chain_welcome.tip_hash = same(0x16);
	f->chain_welcome.anchored_next = 3;
	f->chain_welcome.dictionary = same(0xdc);
	f->chain_welcomes[0] = &f->chain_welcome;
	f->limits = (Zonerelay__Link__Limits){ f->limits.base, 1u << 20,  65536, 16u << 20,
		                               1000,           12u << 20, 240000 };
	f->grant.bytes = 1u << 20;
	f->grant.batches = 16;
	f->welcome.version = LINK_VERSION;
	f->welcome.software = gateway_software;
	f->welcome.store_uuid = (ProtobufCBinaryData){ STORE_UUID_SIZE, some_data + 64 };
	memcpy(some_data + 64, sample_uuid, STORE_UUID_SIZE);
	f->welcome.time_ms = SAMPLE_TIME_MS;
	f->welcome.n_chains = 1;
	f->welcome.chains = f->chain_welcomes;
	f->welcome.limits = &f->limits;
	f->welcome.credit = &f->grant;
	f->welcome.receipt_certificate = (ProtobufCBinaryData){ 11, certificate };
}

static void init_chunk(struct frames *f)
{
	static uint8_t data[] = "compressed";
	static struct hash content;
	content = sha256((struct bytes){ data, 10 });
	zonerelay__link__chunk__init(&f->chunk);
	zonerelay__link__batch_header__init(&f->header);
	f->header = (Zonerelay__Link__BatchHeader){ f->header.base, 7,         3, 10, 100, 2,
		                                    same(0xdc),     same(0x19) };
	f->chunk.batch = (ProtobufCBinaryData){ HASH_SIZE, content.bytes };
	f->chunk.data = (ProtobufCBinaryData){ 6, data };
	f->chunk.header = &f->header;
}

static void init_ack(struct frames *f)
{
	zonerelay__link__ack__init(&f->ack);
	zonerelay__link__custody_receipt__init(&f->custody);
	f->hashes[0] = same(1);
	f->hashes[1] = same(2);
	f->custody = (Zonerelay__Link__CustodyReceipt){
		f->custody.base,
		42,
		SAMPLE_TIME_MS,
		0,
		3,
		2,
		f->hashes,
		{ 64, some_data },
		{ LINK_KEY_ID_SIZE, some_data },
	};
	f->ack.durable_next = 10;
	f->ack.from = 7;
	f->ack.custody = &f->custody;
	f->ack.content = same(0xc0);
}

static void init_anchored(struct frames *f)
{
	zonerelay__link__anchored__init(&f->anchored);
	zonerelay__link__anchored_entry__init(&f->entry);
	f->hashes[0] = same(3);
	f->entry = (Zonerelay__Link__AnchoredEntry){ f->entry.base, 0, 7, 9, same(0x19), 1,
		                                     same(0x5b),    1, 2, 1, f->hashes };
	f->entries[0] = &f->entry;
	f->anchored = (Zonerelay__Link__Anchored){
		f->anchored.base,
		HASH_SHA256,
		3,
		1,
		same(4),
		same(5),
		SAMPLE_TIME_MS,
		{ 4, some_data },
		chain_name,
		{ 64, some_data },
		{ LINK_KEY_ID_SIZE, some_data },
		1,
		f->entries,
	};
}

/* A valid frame of the given body. */
static void init(struct frames *f, Zonerelay__Link__Frame__BodyCase body)
{
	memset(f, 0, sizeof(*f));
	init_hello(f);
	init_welcome(f);
	init_chunk(f);
	zonerelay__link__reject__init(&f->reject);
	zonerelay__link__resend__init(&f->resend);
	f->resend.from = 7;
	f->resend.to = 9;
	zonerelay__link__dictionary__init(&f->dictionary);
	f->dictionary.dictionary = same(0xdc);
	zonerelay__link__chain_update__init(&f->update);
	f->update.welcome = &f->chain_welcome;
	zonerelay__link__frame__init(&f->frame);
	f->frame.body_case = body;
	switch ((int)body) {
	case ZONERELAY__LINK__FRAME__BODY_HELLO:
		init_hello(f);
		f->frame.hello = &f->hello;
		break;
	case ZONERELAY__LINK__FRAME__BODY_WELCOME:
		f->frame.welcome = &f->welcome;
		break;
	case ZONERELAY__LINK__FRAME__BODY_CHUNK:
		f->frame.chunk = &f->chunk;
		break;
	case ZONERELAY__LINK__FRAME__BODY_ACK:
		init_ack(f);
		f->frame.ack = &f->ack;
		break;
	case ZONERELAY__LINK__FRAME__BODY_REJECT:
		f->frame.reject = &f->reject;
		break;
	case ZONERELAY__LINK__FRAME__BODY_ANCHORED:
		init_anchored(f);
		f->frame.anchored = &f->anchored;
		break;
	case ZONERELAY__LINK__FRAME__BODY_RESEND:
		f->frame.resend = &f->resend;
		break;
	case ZONERELAY__LINK__FRAME__BODY_DICTIONARY:
		f->frame.dictionary = &f->dictionary;
		break;
	case ZONERELAY__LINK__FRAME__BODY_CHAIN_UPDATE:
		f->frame.chain_update = &f->update;
		break;
	default:
		fail();
	}
}

static Zonerelay__Link__Frame *decode(struct bytes body)
{
	Zonerelay__Link__Frame *frame = NULL;
	struct err err;
	if (link_frame_decode(body, &frame, &err) != LINK_FRAME)
		fail_msg("%s", err.message);
	return frame;
}

static void accepted(struct frames *f)
{
	struct buffer body = BUFFER_EMPTY;
	struct err err;
	if (!link_frame_encode(&f->frame, &body, &err))
		fail_msg("%s", err.message);
	Zonerelay__Link__Frame *frame = decode(buffer_bytes(&body));
	assert_int_equal(frame->body_case, f->frame.body_case);
	link_frame_free(frame);
	buffer_fini(&body);
}

/* Neither sent nor taken, and the failure says why. */
static void refused(struct frames *f, const char *why)
{
	struct buffer body = BUFFER_EMPTY;
	Zonerelay__Link__Frame *frame = NULL;
	struct err err;
	assert_false(link_frame_encode(&f->frame, &body, &err));
	assert_int_equal(body.size, 0);
	if (strstr(err.message, why) == NULL)
		fail_msg("sending: \"%s\" does not say \"%s\"", err.message, why);

	assert_true(message_put(&f->frame.base, &body, &err));
	assert_int_equal(link_frame_decode(buffer_bytes(&body), &frame, &err), LINK_BAD);
	assert_int_equal(err.code, ZR_INVALID);
	if (strstr(err.message, why) == NULL)
		fail_msg("receiving: \"%s\" does not say \"%s\"", err.message, why);
	assert_null(frame);
	buffer_fini(&body);
}

/* ---- tests ---- */

static void every_field_has_its_limits(void **state)
{
	const char *missing = NULL;
	if (!rule_table_complete(link_rules(), &missing))
		fail_msg("%s: its rules are not its fields", missing);
	assert_int_equal(link_rules()->count, 22);
}

static void frames_are_the_vectors(void **state)
{
	static const struct {
		const char *name;
		Zonerelay__Link__Frame__BodyCase body;
	} rows[] = {
		{ "hello", ZONERELAY__LINK__FRAME__BODY_HELLO },
		{ "welcome", ZONERELAY__LINK__FRAME__BODY_WELCOME },
		{ "chunk", ZONERELAY__LINK__FRAME__BODY_CHUNK },
	};
	struct buffer body = BUFFER_EMPTY;
	struct frames f;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		init(&f, rows[i].body);
		buffer_clear(&body);
		assert_true(link_frame_encode(&f.frame, &body, NULL));
		assert_bytes_equal(buffer_bytes(&body), vector(vectors, rows[i].name));
	}
	buffer_fini(&body);
}

static void every_vector_decodes_to_what_encodes_to_it(void **state)
{
	static const char *const names[] = {
		"hello",  "welcome", "chunk", "chunk-rest", "ack",
		"reject", "resend",  "ping",  "pong",       "goodbye"
	};
	struct buffer body = BUFFER_EMPTY;
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		Zonerelay__Link__Frame *frame = decode(vector(vectors, names[i]));
		buffer_clear(&body);
		assert_true(link_frame_encode(frame, &body, NULL));
		assert_bytes_equal(buffer_bytes(&body), vector(vectors, names[i]));
		link_frame_free(frame);
	}
	buffer_fini(&body);
}

static void a_frame_cut_short_is_refused(void **state)
{
	static const char *const names[] = { "hello", "welcome", "chunk", "ack", "pong" };
	Zonerelay__Link__Frame *frame = NULL;
	struct err err;
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		struct bytes body = vector(vectors, names[i]);
		for (size_t size = 0; size < body.size; size++) {
			struct bytes cut = { body.data, size };
			assert_int_equal(link_frame_decode(cut, &frame, &err), LINK_BAD);
		}
	}
	assert_null(frame);
}

static enum link_decoded decode_text(const char *hex)
{
	uint8_t data[256];
	Zonerelay__Link__Frame *frame = NULL;
	struct err err;
	assert_true(hex_decode(hex, data, strlen(hex) / 2));
	struct bytes body = { data, strlen(hex) / 2 };
	enum link_decoded answer = link_frame_decode(body, &frame, &err);
	assert_true((frame != NULL) == (answer == LINK_FRAME));
	link_frame_free(frame);
	return answer;
}

static void a_body_that_only_a_newer_peer_knows_may_be_ignored(void **state)
{
	assert_int_equal(decode_text("8201020801"), LINK_UNKNOWN);     /* Field 16. */
	assert_int_equal(decode_text("82020478797a7a"), LINK_UNKNOWN); /* Field 32. */
	assert_int_equal(decode_text("82010208017801"), LINK_BAD);     /* must_understand */
	assert_int_equal(decode_text("82010208017800"), LINK_UNKNOWN);
}

static void unknown_fields_beside_a_known_body_are_ignored(void **state)
{
	assert_int_equal(decode_text("52020801"), LINK_FRAME); /* Ping, number 1. */
	assert_int_equal(decode_text("520208018201020801"), LINK_FRAME);
	assert_int_equal(decode_text("520408011005"), LINK_FRAME); /* Inside it. */
	assert_int_equal(decode_text("520208017801"), LINK_FRAME);
	assert_int_equal(decode_text("52020801ad0201020304"), LINK_FRAME); /* Fixed 32 bits. */
	assert_int_equal(decode_text("52020801a9020102030405060708"), LINK_FRAME);
}

static void unknown_fields_are_not_kept(void **state)
{
	Zonerelay__Link__Frame *frame = decode(BYTES_LITERAL("\x52\4\x08\1\x10\5\x82\1\2\x08\1"));
	struct buffer body = BUFFER_EMPTY;
	assert_true(link_frame_encode(frame, &body, NULL));
	assert_bytes_equal(buffer_bytes(&body), BYTES_LITERAL("\x52\2\x08\1"));
	link_frame_free(frame);
	buffer_fini(&body);
}

static void a_frame_has_exactly_one_body(void **state)
{
	assert_int_equal(decode_text("7800"), LINK_BAD);             /* None at all. */
	assert_int_equal(decode_text("5202080152020801"), LINK_BAD); /* The same twice. */
	assert_int_equal(decode_text("520208015a020801"), LINK_BAD); /* Ping and Pong. */
}

static void what_is_no_protobuf_is_refused(void **state)
{
	assert_int_equal(decode_text("0001"), LINK_BAD);       /* Field 0. */
	assert_int_equal(decode_text("5308015408"), LINK_BAD); /* Groups. */
	assert_int_equal(decode_text("5602"), LINK_BAD);       /* Wire type 6. */
	assert_int_equal(decode_text("52ffffffffffffffffff01"),
	                 LINK_BAD); /* A length of 2^64 - 1. */
	assert_int_equal(decode_text("ffffffffffffffffffffff"), LINK_BAD); /* An endless key. */
	assert_int_equal(decode_text("5205080111223344"), LINK_BAD);       /* Cut short inside. */
	assert_int_equal(decode_text("474554202f20485454502f312e310d0a0d0a"), LINK_BAD);
}

static void a_value_that_we_do_not_know_reads_as_unspecified(void **state)
{
	struct frames f;
	struct buffer body = BUFFER_EMPTY;
	init(&f, ZONERELAY__LINK__FRAME__BODY_REJECT);
	f.reject.reason = (Zonerelay__Link__RejectReason)99;
	f.reject.action = ZONERELAY__LINK__REJECT_ACTION__REJECT_ACTION_HOLD;
	assert_true(link_frame_encode(&f.frame, &body, NULL));
	Zonerelay__Link__Frame *frame = decode(buffer_bytes(&body));
	assert_int_equal(frame->reject->reason, 0);
	assert_int_equal(frame->reject->action, 3);
	link_frame_free(frame);
	buffer_fini(&body);
}

static void texts_for_people_are_made_printable(void **state)
{
	static const struct {
		const char *sent, *shown;
	} rows[] = {
		{ "plain", "plain" },
		{ "x\" why=\"y", "x' why='y" }, /* It is logged between quotes. */
		{ "\xe5\x8f\xb0\xe5\x8c\xba", "\xe5\x8f\xb0\xe5\x8c\xba" },
		{ "\xf0\x9f\x94\x8c!", "\xf0\x9f\x94\x8c!" },
		{ "line\nbreak\x1b[31m\x7f", "line?break?[31m?" },
		{ "\xc2\x85\xc0\xaf", "????" }, /* C1 control; an overlong slash. */
		{ "\xed\xa0\x80", "???" },      /* A surrogate. */
		{ "\xf4\x90\x80\x80", "????" }, /* Above U+10FFFF. */
		{ "cut \xe5\x8f", "cut ??" },
		{ "\xff\xfe", "??" },
		{ "\xe0\x80\x80", "???" },
	};
	struct buffer body = BUFFER_EMPTY;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct frames f;
		char text[64];
		init(&f, ZONERELAY__LINK__FRAME__BODY_REJECT);
		strcpy(text, rows[i].sent);
		f.reject.detail = text;
		buffer_clear(&body);
		assert_true(link_frame_encode(&f.frame, &body, NULL));
		assert_string_equal(text, rows[i].sent); /* What is ours is left alone. */
		Zonerelay__Link__Frame *frame = decode(buffer_bytes(&body));
		assert_string_equal(frame->reject->detail, rows[i].shown);
		link_frame_free(frame);
	}
	buffer_fini(&body);
}

static void a_hello_outside_its_limits_is_refused(void **state)
{
	struct frames f;
#define CHANGED(change, why)                                  \
	do {                                                  \
		init(&f, ZONERELAY__LINK__FRAME__BODY_HELLO); \
		change;                                       \
		refused(&f, why);                             \
	} while (0)
	static ProtobufCBinaryData many[LINK_DICTIONARIES_MAX + 1];
	char long_name[] = "01234567890123456789012345678901234567890123456789012345678901234";
	for (size_t i = 0; i <= LINK_DICTIONARIES_MAX; i++)
		many[i] = same(1);

	CHANGED(f.hello.version_min = 0, "Frame: hello: version_min: 0 is out of range");
	CHANGED(f.hello.version_min = 2, "versions 2 to 1");
	CHANGED(f.chain_hello.name = some_text, "chains: number 0: name: not a name");
	CHANGED(f.chain_hello.name = long_name, "65 bytes, must be 1 to 64");
	CHANGED(f.chain_hello.name = NULL, "name: 0 bytes");
	CHANGED(f.chain_hello.epoch.len = 31, "epoch: 31 bytes, must be 32 to 32");
	CHANGED(f.chain_hello.epoch.len = 0, "epoch");
	CHANGED(f.chain_hello.tip_hash.len = 31, "must be 32 to 32 or none");
	CHANGED(f.chain_hello.tip_hash.len = 0, "blocks without a tip_hash");
	CHANGED(f.chain_hello.oldest_height = 10, "ends before it begins");
	CHANGED(f.chain_hello.tip_height = HEIGHT_MAX + 1, "tip_height");
	CHANGED(f.chain_hello.anchored_next = HEIGHT_MAX + 2, "anchored_next");
	CHANGED(f.hello.store_uuid.len = 15, "store_uuid");
	CHANGED(f.hashes[0].len = 33, "dictionaries: number 0: 33 bytes");
	CHANGED((f.hello.n_dictionaries = 65, f.hello.dictionaries = many),
	        "65 of them, at most 64");
	CHANGED(f.chain_hello.has_custody = true, "custody is not complete");
#undef CHANGED
	init(&f, ZONERELAY__LINK__FRAME__BODY_HELLO);
	f.chain_hello.anchored_next = HEIGHT_MAX + 1;
	f.hello.store_uuid.len = 0;
	accepted(&f);
}

static void custody_in_a_hello_is_whole(void **state)
{
	struct frames f;
	ProtobufCBinaryData path[2] = { same(1), same(2) };
	init(&f, ZONERELAY__LINK__FRAME__BODY_HELLO);
	init_ack(&f);
	f.custody.path = path;
	f.hashes[0] = same(0xdc);
	f.chain_hello.has_custody = true;
	f.chain_hello.custody = &f.custody;
	f.chain_hello.custody_tip = same(0x19);
	f.chain_hello.custody_content = same(0xc0);
	f.chain_hello.custody_from = 7;
	f.chain_hello.custody_height = 9;
	accepted(&f);
	f.chain_hello.custody_from = 10;
	refused(&f, "ends before it begins");
	f.chain_hello.custody_from = 7;
	f.custody.count = 5;
	refused(&f, "chain 0: custody: a path of 2 nodes, must be 3");
	f.custody.index = f.custody.count = 4;
	refused(&f, "index is not below count");
	f.custody.count = UINT64_MAX;
	refused(&f, "count");
}

static void a_welcome_outside_its_limits_is_refused(void **state)
{
	struct frames f;
#define CHANGED(change, why)                                    \
	do {                                                    \
		init(&f, ZONERELAY__LINK__FRAME__BODY_WELCOME); \
		change;                                         \
		refused(&f, why);                               \
	} while (0)
	CHANGED(f.welcome.version = 0, "version");
	CHANGED(f.welcome.store_uuid.len = 0, "store_uuid");
	CHANGED(f.welcome.time_ms = -1, "time_ms");
	CHANGED(f.welcome.time_ms = LINK_TIME_MAX_MS + 1, "time_ms");
	CHANGED(f.welcome.limits = NULL, "limits: missing");
	CHANGED(f.welcome.credit = NULL, "credit: missing");
	CHANGED(f.welcome.receipt_certificate.len = 0, "receipt_certificate");
	CHANGED(f.limits.frame_max_bytes = LINK_FRAME_SIZE_MIN - 1, "frame_max_bytes");
	CHANGED(f.limits.chunk_max_bytes = LINK_CHUNK_MAX + 1, "chunk_max_bytes");
	CHANGED(f.limits.chunk_max_bytes = 0, "chunk_max_bytes");
	CHANGED(f.limits.batch_max_blocks = LINK_BATCH_BLOCKS_MAX + 1, "batch_max_blocks");
	CHANGED(f.limits.block_max_bytes = 0, "block_max_bytes");
	CHANGED(f.limits.heartbeat_ms = 0, "heartbeat_ms");
	CHANGED(f.chain_welcome.tip_hash.len = 0, "next_height without a tip_hash");
	CHANGED(f.chain_welcome.anchored_next = 8, "anchored above");
	CHANGED(f.chain_welcome.partial_size = 1, "half of a partial");
	CHANGED(f.chain_welcome.partial_batch = same(1), "half of a partial");
#undef CHANGED
	init(&f, ZONERELAY__LINK__FRAME__BODY_WELCOME);
	f.chain_welcome.next_height = f.chain_welcome.anchored_next = 0;
	f.chain_welcome.tip_hash.len = 0;
	accepted(&f);
	f.chain_welcome.next_height = 7;
	f.chain_welcome.state = ZONERELAY__LINK__CHAIN_STATE__CHAIN_STATE_DENIED;
	accepted(&f);
}

static void a_chunk_outside_its_limits_is_refused(void **state)
{
	struct frames f;
#define CHANGED(change, why)                                  \
	do {                                                  \
		init(&f, ZONERELAY__LINK__FRAME__BODY_CHUNK); \
		change;                                       \
		refused(&f, why);                             \
	} while (0)
	CHANGED(f.chunk.chain = LINK_CHAINS_MAX, "chunk: chain: 4096 is out of range");
	CHANGED(f.chunk.batch.len = 0, "batch");
	CHANGED(f.chunk.data.len = 0, "data");
	CHANGED((f.chunk.data = (ProtobufCBinaryData){ LINK_CHUNK_MAX + 1, some_data }), "data");
	CHANGED(f.chunk.header = NULL, "offset 0 and the header go together");
	CHANGED(f.chunk.offset = 1, "offset 0 and the header go together");
	CHANGED((f.chunk.header = NULL, f.chunk.offset = LINK_BATCH_SIZE_MAX), "offset");
	CHANGED(f.header.size = 5, "more data than the batch has");
	CHANGED(f.header.size = LINK_BATCH_SIZE_MAX + 1, "size");
	CHANGED(f.header.raw_size = 0, "raw_size");
	CHANGED(f.header.block_count = 0, "block_count");
	CHANGED(f.header.block_count = LINK_BATCH_BLOCKS_MAX + 1, "block_count");
	CHANGED(f.header.first_height = HEIGHT_MAX - 1, "beyond 2^63 - 1");
	CHANGED(f.header.first_height = UINT64_MAX, "first_height");
	CHANGED(f.header.codec = 0, "codec");
	CHANGED(f.header.dictionary.len = 1, "dictionary");
	CHANGED(f.header.tip_hash.len = 0, "tip_hash");
#undef CHANGED
	init(&f, ZONERELAY__LINK__FRAME__BODY_CHUNK);
	f.header.first_height = HEIGHT_MAX - 2;
	f.header.codec = 77;
	accepted(&f);
	f.chunk.data = (ProtobufCBinaryData){ LINK_CHUNK_MAX, some_data };
	f.chunk.header = NULL;
	f.chunk.offset = 6;
	accepted(&f);
}

static void receipts_outside_their_limits_are_refused(void **state)
{
	struct frames f;
#define CHANGED(change, why)                                \
	do {                                                \
		init(&f, ZONERELAY__LINK__FRAME__BODY_ACK); \
		change;                                     \
		refused(&f, why);                           \
	} while (0)
	CHANGED(f.ack.durable_next = HEIGHT_MAX + 2, "durable_next");
	CHANGED(f.ack.from = 10, "custody of no block");
	CHANGED(f.ack.content.len = 4, "content");
	CHANGED(f.custody.signature.len = 0, "signature");
	CHANGED(f.custody.signature.len = SIGNATURE_SIZE_MAX + 1, "signature");
	CHANGED(f.custody.key_id.len = 7, "key_id");
	CHANGED(f.custody.count = 0, "count");
	CHANGED(f.custody.n_path = 1, "ack: custody: a path of 1 nodes, must be 2");
	CHANGED(f.hashes[1].len = 31, "path: number 1: 31 bytes");
#undef CHANGED
#define CHANGED(change, why)                                     \
	do {                                                     \
		init(&f, ZONERELAY__LINK__FRAME__BODY_ANCHORED); \
		change;                                          \
		refused(&f, why);                                \
	} while (0)
	CHANGED(f.anchored.hash_alg = 3, "hash_alg");
	CHANGED(f.anchored.lane = 65536, "lane");
	CHANGED(f.anchored.seq = 0, "seq");
	CHANGED(f.anchored.root.len = 0, "root");
	CHANGED(f.anchored.sink = some_text, "sink");
	CHANGED(f.anchored.key_id.len = 0, "key_id");
	CHANGED(f.entry.policy = 3, "policy");
	CHANGED(f.entry.from = 10, "entry 0: a range that ends");
	CHANGED(f.entry.index = 2, "entry 0: index is not below count");
	CHANGED(f.entry.n_path = 0, "a path of 0 nodes, must be 1");
	CHANGED(f.entry.count = ANCHOR_ENTRIES_MAX + 1, "count");
	CHANGED(f.entry.subtree.len = 31, "subtree");
#undef CHANGED
	init(&f, ZONERELAY__LINK__FRAME__BODY_ACK);
	accepted(&f);
	f.ack.custody = NULL;
	accepted(&f);
	init(&f, ZONERELAY__LINK__FRAME__BODY_ANCHORED);
	accepted(&f);
}

static void other_messages_outside_their_limits_are_refused(void **state)
{
	struct frames f;
	char text[LINK_TEXT_MAX + 2];
	memset(text, 'x', sizeof(text));
	text[LINK_TEXT_MAX + 1] = '\0';
	init(&f, ZONERELAY__LINK__FRAME__BODY_REJECT);
	f.reject.detail = text;
	refused(&f, "detail: 513 bytes");
	init(&f, ZONERELAY__LINK__FRAME__BODY_RESEND);
	f.resend.from = 10;
	refused(&f, "ends before it begins");
	init(&f, ZONERELAY__LINK__FRAME__BODY_CHAIN_UPDATE);
	f.update.welcome = NULL;
	refused(&f, "welcome: missing");
	init(&f, ZONERELAY__LINK__FRAME__BODY_CHAIN_UPDATE);
	f.chain_welcome.tip_hash.len = 0;
	refused(&f, "chain_update: next_height without a tip_hash");
	init(&f, ZONERELAY__LINK__FRAME__BODY_DICTIONARY);
	f.dictionary.dictionary.len = 0;
	refused(&f, "dictionary");
	init(&f, ZONERELAY__LINK__FRAME__BODY_DICTIONARY);
	f.dictionary.data = (ProtobufCBinaryData){ 1, some_data };
	accepted(&f);
}

/* ---- memory ---- */

static void a_small_frame_cannot_take_much_memory(void **state)
{
	/* 64 KiB of empty ChainHello: two bytes each on the wire, hundreds in memory. */
	uint8_t *body = malloc(65536 + 4);
	Zonerelay__Link__Frame *frame = NULL;
	struct err err;
	assert_non_null(body);
	body[0] = 0x0a;
	body[1] = 0x80;
	body[2] = 0x80;
	body[3] = 0x04;
	for (size_t i = 0; i < 65536; i += 2)
		memcpy(body + 4 + i, "\x22\0", 2);
	assert_int_equal(link_frame_decode((struct bytes){ body, 65536 + 4 }, &frame, &err),
	                 LINK_BAD);
	assert_non_null(strstr(err.message, "in memory"));
	free(body);
}

static void as_many_chains_as_the_limit_says_fit(void **state)
{
	struct frames f;
	struct buffer body = BUFFER_EMPTY;
	static Zonerelay__Link__ChainHello *hellos[LINK_CHAINS_MAX];
	static Zonerelay__Link__ChainWelcome *welcomes[LINK_CHAINS_MAX + 1];
	init(&f, ZONERELAY__LINK__FRAME__BODY_HELLO);
	for (size_t i = 0; i < LINK_CHAINS_MAX; i++)
		hellos[i] = &f.chain_hello;
	f.hello.n_chains = LINK_CHAINS_MAX;
	f.hello.chains = hellos;
	accepted(&f);

	/* The smallest on the wire for what they are in memory. */
	init(&f, ZONERELAY__LINK__FRAME__BODY_WELCOME);
	zonerelay__link__chain_welcome__init(&f.chain_welcome);
	for (size_t i = 0; i <= LINK_CHAINS_MAX; i++)
		welcomes[i] = &f.chain_welcome;
	f.welcome.n_chains = LINK_CHAINS_MAX;
	f.welcome.chains = welcomes;
	accepted(&f);
	f.welcome.n_chains = LINK_CHAINS_MAX + 1;
	refused(&f, "4097 of them, at most 4096");
	buffer_fini(&body);
}

static void no_frame_is_sent_that_is_larger_than_any_peer_takes(void **state)
{
	struct frames f;
	struct buffer body = BUFFER_EMPTY;
	struct err err;
	static Zonerelay__Link__ChainWelcome *welcomes[LINK_CHAINS_MAX];
	char text[LINK_TEXT_MAX + 1];
	memset(text, 'x', sizeof(text));
	text[LINK_TEXT_MAX] = '\0';
	init(&f, ZONERELAY__LINK__FRAME__BODY_WELCOME);
	f.chain_welcome.reason = text;
	for (size_t i = 0; i < LINK_CHAINS_MAX; i++)
		welcomes[i] = &f.chain_welcome;
	f.welcome.n_chains = LINK_CHAINS_MAX;
	f.welcome.chains = welcomes;
	assert_false(link_frame_encode(&f.frame, &body, &err));
	assert_non_null(strstr(err.message, "a frame of"));
	assert_int_equal(body.size, 0);
	buffer_fini(&body);
}

static void out_of_memory_while_decoding_leaves_nothing_behind(void **state)
{
	static const char *const names[] = { "hello", "welcome", "ack" };
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		enum link_decoded answer = LINK_BAD;
		size_t n = 0;
		for (; answer == LINK_BAD; n++) {
			Zonerelay__Link__Frame *frame = NULL;
			struct err err;
			fault_at(n + 1);
			answer = link_frame_decode(vector(vectors, names[i]), &frame, &err);
			assert_int_equal(fault_off() == 0, answer == LINK_FRAME);
			assert_true(answer == LINK_FRAME || err.code == ZR_NO_MEMORY);
			link_frame_free(frame);
		}
		assert_true(n > 5); /* So many allocations failed in turn. */
	}
}

static void out_of_memory_while_encoding_is_an_error(void **state)
{
	struct frames f;
	struct buffer body = BUFFER_EMPTY;
	struct err err;
	init(&f, ZONERELAY__LINK__FRAME__BODY_HELLO);
	fault_at(1);
	assert_false(link_frame_encode(&f.frame, &body, &err));
	assert_int_equal(fault_off(), 1);
	assert_int_equal(err.code, ZR_NO_MEMORY);
	buffer_fini(&body);
}

/* ---- receipts by themselves ---- */

static void receipts_are_kept_by_themselves(void **state)
{
	struct vectors *receipts = vectors_open("receipts.txt");
	struct buffer again = BUFFER_EMPTY;
	Zonerelay__Link__CustodyReceipt *custody = NULL;
	Zonerelay__Link__Anchored *anchored = NULL;
	struct err err;
	assert_true(link_custody_decode(vector(receipts, "custody-receipt"), &custody, &err));
	assert_true(link_custody_encode(custody, &again, &err));
	assert_bytes_equal(buffer_bytes(&again), vector(receipts, "custody-receipt"));
	custody->index = 3;
	assert_false(link_custody_encode(custody, &again, &err));
	assert_int_equal(err.code, ZR_INVALID);

	buffer_clear(&again);
	assert_true(link_anchored_decode(vector(receipts, "anchored"), &anchored, &err));
	assert_true(link_anchored_encode(anchored, &again, &err));
	assert_bytes_equal(buffer_bytes(&again), vector(receipts, "anchored"));
	anchored->entries[0]->index = 2;
	assert_false(link_anchored_encode(anchored, &again, &err));
	assert_int_equal(err.code, ZR_INVALID);
	link_custody_free(custody);
	link_anchored_free(anchored);
	buffer_fini(&again);
	vectors_close(receipts);
}

static void malformed_receipts_are_refused(void **state)
{
	Zonerelay__Link__CustodyReceipt *custody = NULL;
	Zonerelay__Link__Anchored *anchored = NULL;
	struct err err;
	assert_false(link_custody_decode(BYTES_NONE, &custody, &err));
	assert_int_equal(err.code, ZR_INVALID);
	assert_false(link_anchored_decode(BYTES_NONE, &anchored, &err));
	assert_int_equal(err.code, ZR_INVALID);
	assert_false(link_custody_decode(BYTES_LITERAL("\x0f"), &custody, &err));
	assert_false(link_anchored_decode(BYTES_LITERAL("\x0f"), &anchored, &err));

	/* Their fields are right, and do not fit one another. */
	struct vectors *receipts = vectors_open("receipts.txt");
	struct buffer changed = BUFFER_EMPTY;
	buffer_put(&changed, vector(receipts, "custody-receipt"));
	assert_memory_equal(changed.data + 9, "\x20\3", 2); /* count = 3 */
	changed.data[10] = 9;
	assert_false(link_custody_decode(buffer_bytes(&changed), &custody, &err));
	assert_non_null(strstr(err.message, "a path of 2 nodes, must be 4"));
	buffer_clear(&changed);
	buffer_put(&changed, vector(receipts, "anchored"));
	assert_memory_equal(changed.data + changed.size - 36, "\x40\2", 2); /* count = 2 */
	changed.data[changed.size - 35] = 1;
	assert_false(link_anchored_decode(buffer_bytes(&changed), &anchored, &err));
	assert_non_null(strstr(err.message, "anchored: entry 0: a path of 1 nodes, must be 0"));
	buffer_fini(&changed);
	vectors_close(receipts);
	link_custody_free(NULL);
	link_anchored_free(NULL);
	link_frame_free(NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_field_has_its_limits),
		cmocka_unit_test(frames_are_the_vectors),
		cmocka_unit_test(every_vector_decodes_to_what_encodes_to_it),
		cmocka_unit_test(a_frame_cut_short_is_refused),
		cmocka_unit_test(a_body_that_only_a_newer_peer_knows_may_be_ignored),
		cmocka_unit_test(unknown_fields_beside_a_known_body_are_ignored),
		cmocka_unit_test(unknown_fields_are_not_kept),
		cmocka_unit_test(a_frame_has_exactly_one_body),
		cmocka_unit_test(what_is_no_protobuf_is_refused),
		cmocka_unit_test(a_value_that_we_do_not_know_reads_as_unspecified),
		cmocka_unit_test(texts_for_people_are_made_printable),
		cmocka_unit_test(a_hello_outside_its_limits_is_refused),
		cmocka_unit_test(custody_in_a_hello_is_whole),
		cmocka_unit_test(a_welcome_outside_its_limits_is_refused),
		cmocka_unit_test(a_chunk_outside_its_limits_is_refused),
		cmocka_unit_test(receipts_outside_their_limits_are_refused),
		cmocka_unit_test(other_messages_outside_their_limits_are_refused),
		cmocka_unit_test(a_small_frame_cannot_take_much_memory),
		cmocka_unit_test(as_many_chains_as_the_limit_says_fit),
		cmocka_unit_test(no_frame_is_sent_that_is_larger_than_any_peer_takes),
		cmocka_unit_test(out_of_memory_while_decoding_leaves_nothing_behind),
		cmocka_unit_test(out_of_memory_while_encoding_is_an_error),
		cmocka_unit_test(receipts_are_kept_by_themselves),
		cmocka_unit_test(malformed_receipts_are_refused),
	};
	return cmocka_run_group_tests(tests, open_vectors, close_vectors);
}
