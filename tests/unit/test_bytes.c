#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "relay/base/bytes.h"

static void bytes_compare_by_value_and_then_by_length(void **state)
{
	assert_true(bytes_equal(BYTES_LITERAL("abc"), bytes_of_string("abc")));
	assert_false(bytes_equal(BYTES_LITERAL("abc"), BYTES_LITERAL("abd")));
	assert_false(bytes_equal(BYTES_LITERAL("abc"), BYTES_LITERAL("ab")));
	assert_true(bytes_equal(BYTES_NONE, BYTES_LITERAL("")));
	assert_int_equal(bytes_compare(BYTES_LITERAL("abc"), BYTES_LITERAL("abc")), 0);
	assert_true(bytes_compare(BYTES_LITERAL("ab"), BYTES_LITERAL("abc")) < 0);
	assert_true(bytes_compare(BYTES_LITERAL("b"), BYTES_LITERAL("abc")) > 0);
	assert_true(bytes_compare(BYTES_LITERAL("\xff"), BYTES_LITERAL("\x01")) > 0);
	assert_true(bytes_compare(BYTES_NONE, BYTES_LITERAL("a")) < 0);
	assert_int_equal(bytes_compare(BYTES_NONE, BYTES_NONE), 0);
}

static void a_hash_is_written_and_read_as_64_digits(void **state)
{
	struct hash hash;
	struct hash again;
	char hex[HASH_HEX_SIZE];
	for (int i = 0; i < HASH_SIZE; i++)
		hash.bytes[i] = (uint8_t)(i * 9);
	assert_string_equal(hash_hex(&hash, hex),
	                    "0009121b242d363f48515a636c757e879099a2abb4bdc6cfd8e1eaf3fc050e17");
	assert_true(hash_from_hex(&again, hex));
	assert_true(hash_equal(&hash, &again));
	hex[0] = 'F';
	assert_true(hash_from_hex(&again, hex));
	assert_false(hash_equal(&hash, &again));
	assert_int_equal(again.bytes[0], 0xf0);
	assert_false(hash_is_zero(&again));
	memset(&again, 0, sizeof(again));
	assert_true(hash_is_zero(&again));

	assert_false(hash_from_hex(&again, ""));
	hex[63] = '\0';
	assert_false(hash_from_hex(&again, hex));
	assert_false(hash_from_hex(&again, "0009121b242d363f48515a636c757e87"
	                                   "9099a2abb4bdc6cfd8e1eaf3fc050e17a"));
	assert_false(hash_from_hex(&again, "0009121b242d363f48515a636c757e87"
	                                   "9099a2abb4bdc6cfd8e1eaf3fc050e1g"));
	assert_true(hash_is_zero(&again)); /* A failure writes nothing. */
	assert_false(hash_from_bytes(&again, (struct bytes){ hash.bytes, 31 }));
	assert_true(hash_from_bytes(&again, BYTES_OF(hash)));
	assert_true(hash_equal(&hash, &again));
}

static void hexadecimal_has_whole_bytes_and_nothing_else(void **state)
{
	uint8_t data[2] = { 1, 2 };
	char text[5];
	assert_true(hex_decode("aBcD", data, 2));
	assert_int_equal(data[0], 0xab);
	assert_int_equal(data[1], 0xcd);
	assert_string_equal(hex_encode(BYTES_OF(data), text), "abcd");
	static const char *const others[] = { "",     "abc",  "abcde", "ab d", "0x12", "ab/d",
		                              "ab:d", "ab@d", "abGd",  "ab`d", "abgd" };
	for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++)
		assert_false(hex_decode(others[i], data, 2));
	assert_int_equal(data[0], 0xab);
	assert_string_equal(hex_encode(BYTES_NONE, text), "");
	assert_true(hex_decode("", data, 0));
}

static void what_is_written_is_read_again(void **state)
{
	struct buffer buffer = BUFFER_EMPTY;
	struct hash hash;
	memset(hash.bytes, 0x5a, sizeof(hash.bytes));
	buffer_put_u8(&buffer, 0xfe);
	buffer_put_u16(&buffer, 0xfedc);
	buffer_put_u32(&buffer, 0xfedcba98);
	buffer_put_u64(&buffer, UINT64_C(0xfedcba9876543210));
	buffer_put_hash(&buffer, &hash);
	buffer_put_short(&buffer, BYTES_LITERAL("short"));
	buffer_put_long(&buffer, BYTES_LITERAL("long"));
	buffer_put_short(&buffer, BYTES_NONE);
	buffer_put(&buffer, BYTES_LITERAL("end"));
	struct err err;
	assert_true(buffer_ok(&buffer, &err));
	assert_memory_equal(buffer.data,
	                    "\xfe\xfe\xdc\xfe\xdc\xba\x98\xfe\xdc\xba\x98\x76\x54\x32\x10", 15);

	struct reader reader = reader_of(buffer_bytes(&buffer));
	assert_int_equal(reader_u8(&reader), 0xfe);
	assert_int_equal(reader_u16(&reader), 0xfedc);
	assert_int_equal(reader_u32(&reader), 0xfedcba98);
	assert_true(reader_u64(&reader) == UINT64_C(0xfedcba9876543210));
	struct hash read = reader_hash(&reader);
	assert_true(hash_equal(&read, &hash));
	assert_true(bytes_equal(reader_short(&reader), BYTES_LITERAL("short")));
	assert_true(bytes_equal(reader_long(&reader), BYTES_LITERAL("long")));
	assert_int_equal(reader_short(&reader).size, 0);
	assert_false(reader_done(&reader));
	assert_true(bytes_equal(reader_bytes(&reader, 3), BYTES_LITERAL("end")));
	assert_true(reader_done(&reader));
	buffer_fini(&buffer);
}

static void a_short_read_sticks_and_gives_zeros(void **state)
{
	static const uint8_t data[] = { 0xff, 0xff, 0xff };
	struct reader reader = reader_of(BYTES_OF(data));
	assert_int_equal(reader_u16(&reader), 0xffff);
	assert_int_equal(reader_u16(&reader), 0);
	assert_true(reader.failed);
	assert_int_equal(reader_u8(&reader), 0); /* Although one byte is left. */
	assert_int_equal(reader_u64(&reader), 0);
	struct hash hash = reader_hash(&reader);
	assert_true(hash_is_zero(&hash));
	assert_null(reader_bytes(&reader, 0).data);
	assert_false(reader_done(&reader));

	reader = reader_of(BYTES_OF(data));
	assert_int_equal(reader_long(&reader).size, 0); /* Not even a length. */
	assert_true(reader.failed);
	reader = reader_of(BYTES_OF(data));
	assert_int_equal(reader_short(&reader).size, 0); /* Longer than what there is. */
	assert_true(reader.failed);
	reader = reader_of(BYTES_NONE);
	assert_true(reader_done(&reader));
	assert_int_equal(reader_bytes(&reader, 0).size, 0);
	assert_true(reader_done(&reader));
	assert_int_equal(reader_bytes(&reader, SIZE_MAX).size, 0);
	assert_true(reader.failed);
}

static void a_buffer_grows_and_may_be_used_again(void **state)
{
	struct buffer buffer = BUFFER_EMPTY;
	for (unsigned i = 0; i < 10000; i++)
		buffer_put_u8(&buffer, (uint8_t)i);
	assert_int_equal(buffer.size, 10000);
	for (unsigned i = 0; i < 10000; i++)
		assert_int_equal(buffer.data[i], (uint8_t)i);
	assert_true(buffer.capacity < 20001);
	size_t capacity = buffer.capacity;
	buffer_clear(&buffer);
	assert_int_equal(buffer.size, 0);
	assert_int_equal(buffer.capacity, capacity);
	buffer_printf(&buffer, "%s=%d;", "a", 7);
	buffer_printf(&buffer, "%05u", 42u);
	assert_true(bytes_equal(buffer_bytes(&buffer), BYTES_LITERAL("a=7;00042")));
	buffer_fini(&buffer);
	buffer_fini(&buffer);
	assert_int_equal(buffer_bytes(&buffer).size, 0);
	buffer_put(&buffer, BYTES_NONE);
	assert_int_equal(buffer.size, 0);
	buffer_fini(&buffer);
}

static void room_is_reserved_before_it_is_used(void **state)
{
	struct buffer buffer = BUFFER_EMPTY;
	uint8_t *place = buffer_reserve(&buffer, 100);
	assert_non_null(place);
	memset(place, 7, 60);
	assert_int_equal(buffer.size, 0);
	buffer_grew(&buffer, 60);
	assert_int_equal(buffer.size, 60);
	assert_ptr_equal(buffer_reserve(&buffer, 40), buffer.data + 60);
	assert_non_null(buffer_reserve(&buffer, 0));
	buffer_fini(&buffer);
	assert_non_null(buffer_reserve(&buffer, 0));
	buffer_fini(&buffer);
}

static void a_failed_allocation_sticks_until_it_is_cleared(void **state)
{
	struct buffer buffer = BUFFER_EMPTY;
	struct err err;
	buffer_put(&buffer, BYTES_LITERAL("abc"));
	assert_null(buffer_reserve(&buffer, SIZE_MAX - 1));
	assert_true(buffer.failed);
	buffer_put(&buffer, BYTES_LITERAL("d"));
	buffer_put_u16(&buffer, 1);
	buffer_put_u32(&buffer, 1);
	buffer_put_u64(&buffer, 1);
	buffer_printf(&buffer, "x");
	assert_int_equal(buffer.size, 3);
	assert_false(buffer_ok(&buffer, &err));
	assert_int_equal(err.code, ZR_NO_MEMORY);
	buffer_clear(&buffer);
	assert_true(buffer_ok(&buffer, &err));
	buffer_fini(&buffer);
}

static void a_copy_is_never_null_for_lack_of_bytes(void **state)
{
	uint8_t *copy = bytes_dup(BYTES_NONE);
	assert_non_null(copy);
	free(copy);
	copy = bytes_dup(BYTES_LITERAL("xyz"));
	assert_memory_equal(copy, "xyz", 3);
	free(copy);
}

static void fixed_places_hold_big_endian_numbers(void **state)
{
	uint8_t data[8];
	put_be16(data, 0x0102);
	assert_memory_equal(data, "\1\2", 2);
	assert_int_equal(get_be16(data), 0x0102);
	put_be32(data, 0x80000001);
	assert_memory_equal(data, "\x80\0\0\1", 4);
	assert_int_equal(get_be32(data), 0x80000001);
	put_be64(data, UINT64_C(0x8000000000000002));
	assert_memory_equal(data, "\x80\0\0\0\0\0\0\2", 8);
	assert_true(get_be64(data) == UINT64_C(0x8000000000000002));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(bytes_compare_by_value_and_then_by_length),
		cmocka_unit_test(a_hash_is_written_and_read_as_64_digits),
		cmocka_unit_test(hexadecimal_has_whole_bytes_and_nothing_else),
		cmocka_unit_test(what_is_written_is_read_again),
		cmocka_unit_test(a_short_read_sticks_and_gives_zeros),
		cmocka_unit_test(a_buffer_grows_and_may_be_used_again),
		cmocka_unit_test(room_is_reserved_before_it_is_used),
		cmocka_unit_test(a_failed_allocation_sticks_until_it_is_cleared),
		cmocka_unit_test(a_copy_is_never_null_for_lack_of_bytes),
		cmocka_unit_test(fixed_places_hold_big_endian_numbers),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
