/* Reading protobuf by hand: how strict each rule is. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "adapters/sidechain/wire.h"

struct message {
	uint64_t number;    /* 1 */
	struct bytes bytes; /* 2 */
	struct bytes inner; /* 3 */
	uint64_t choice;    /* 4 */
	size_t repeated;    /* 5 */
};

static bool decode(struct bytes raw, enum wire_rule rule, struct message *out)
{
	struct wire wire = wire_of(raw, rule);
	struct wire_field field;
	struct bytes item;
	*out = (struct message){ .bytes = BYTES_NONE };
	while (wire_next(&wire, &field)) {
		switch (field.number) {
		case 1:
			wire_u64(&wire, &field, &out->number);
			break;
		case 2:
			wire_bytes(&wire, &field, &out->bytes);
			break;
		case 3:
			wire_message(&wire, &field, &out->inner);
			break;
		case 4:
			wire_choice(&wire, &field, &out->choice);
			break;
		case 5:
			out->repeated += wire_repeated(&wire, &field, &item) ? 1 : 0;
			break;
		default:
			wire_unknown(&wire);
		}
	}
	return wire_ok(&wire);
}

enum { GO = 1, PLAIN = 2, CANONICAL = 4, ALL = 7, NONE = 0 };

/* Which of the rules accept it. */
static void expect(const char *raw, size_t size, unsigned rules)
{
	struct message message;
	struct bytes bytes = { (const uint8_t *)raw, size };
	unsigned found = (decode(bytes, WIRE_GO, &message) ? GO : 0u) |
	                 (decode(bytes, WIRE_PLAIN, &message) ? PLAIN : 0u) |
	                 (decode(bytes, WIRE_CANONICAL, &message) ? CANONICAL : 0u);
	if (found != rules) {
		char hex[64];
		fail_msg("%s: accepted by %u, not %u", hex_encode(bytes, hex), found, rules);
	}
}

#define EXPECT(raw, rules) expect((raw), sizeof(raw) - 1, (rules))

static void a_rule_accepts_what_it_says(void **state)
{
	EXPECT("", ALL);
	EXPECT("\x08\x01\x12\x01x\x1a\x00\x20\x00\x2a\x00\x2a\x00", ALL);
	EXPECT("\x12\x01x\x08\x01", GO | PLAIN); /* Order. */
	EXPECT("\x08\x81\x00", GO | PLAIN);      /* A varint too long. */
	EXPECT("\x88\x00\x01", GO | PLAIN);      /* A tag too long. */
	EXPECT("\x12\x81\x00x", GO | PLAIN);     /* A length too long. */
	EXPECT("\x08\x00", GO | PLAIN);          /* A default. */
	EXPECT("\x12\x00", GO | PLAIN);
	EXPECT("\x08\x01\x08\x02", GO); /* Twice. */
	EXPECT("\x1a\x00\x1a\x00", GO);
	EXPECT("\x30\x01", GO); /* Unknown. */
	EXPECT("\x39\x01\x02\x03\x04\x05\x06\x07\x08", GO);
	EXPECT("\x3d\x01\x02\x03\x04", GO);
	EXPECT("\xf8\xff\xff\xff\x0f\x01", GO); /* The highest number. */
	EXPECT("\x0a\x00", GO);                 /* Another type. */
	EXPECT("\x10\x01", GO);
	EXPECT("\x28\x01", GO);
}

static void what_is_broken_no_rule_accepts(void **state)
{
	EXPECT("\x08", NONE);
	EXPECT("\x80", NONE);
	EXPECT("\x12\x02x", NONE);
	EXPECT("\x12", NONE);
	EXPECT("\x39\x01\x02\x03\x04\x05\x06\x07", NONE);
	EXPECT("\x3d\x01\x02\x03", NONE);
	EXPECT("\x00\x01", NONE);                 /* Number 0. */
	EXPECT("\x80\x80\x80\x80\x10\x01", NONE); /* Number 2^29. */
	EXPECT("\x0b", NONE);                     /* A group. */
	EXPECT("\x0c", NONE);
	EXPECT("\x0e\x00", NONE);
	EXPECT("\x0f\x00", NONE);
	EXPECT("\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02", NONE);     /* 65 bits. */
	EXPECT("\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x80\x00", NONE); /* 11 bytes. */
	EXPECT("\x12\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", NONE);
}

static void values_are_read_whole(void **state)
{
	struct message message;
	assert_true(decode(BYTES_LITERAL("\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01\x12\x03xyz"
	                                 "\x1a\x01w\x20\x07\x2a\x00\x2a\x01v"),
	                   WIRE_CANONICAL, &message));
	assert_true(message.number == UINT64_MAX);
	assert_true(bytes_equal(message.bytes, BYTES_LITERAL("xyz")));
	assert_true(bytes_equal(message.inner, BYTES_LITERAL("w")));
	assert_int_equal(message.choice, 7);
	assert_int_equal(message.repeated, 2);
}

/* As Go: the last of several wins, and one of another type was never there. */
static void the_last_of_several_wins_where_that_is_the_rule(void **state)
{
	struct message message;
	assert_true(decode(BYTES_LITERAL("\x08\x01\x08\x02\x0a\x01x"), WIRE_GO, &message));
	assert_int_equal(message.number, 2);
}

static void what_is_written_is_canonical(void **state)
{
	struct buffer out = BUFFER_EMPTY;
	struct message message;
	wire_put_u64(&out, 1, UINT64_MAX);
	wire_put_bytes(&out, 2, BYTES_LITERAL("x"));
	wire_put_message(&out, 3, BYTES_NONE);
	assert_true(decode(buffer_bytes(&out), WIRE_CANONICAL, &message));
	assert_true(message.number == UINT64_MAX);
	assert_int_equal(out.size, 11 + 3 + 2);
	buffer_clear(&out);
	wire_put_u64(&out, 1, 0);
	wire_put_bytes(&out, 2, BYTES_NONE);
	assert_int_equal(out.size, 0);
	wire_put_u64(&out, 1, 128);
	assert_memory_equal(out.data, "\x08\x80\x01", 3);
	buffer_fini(&out);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_rule_accepts_what_it_says),
		cmocka_unit_test(what_is_broken_no_rule_accepts),
		cmocka_unit_test(values_are_read_whole),
		cmocka_unit_test(the_last_of_several_wins_where_that_is_the_rule),
		cmocka_unit_test(what_is_written_is_canonical),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
