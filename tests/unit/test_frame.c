#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "proto/frame.h"

#define LIMIT 16

static enum frame_cut cut(const char *input, size_t size, struct bytes *out_frame, size_t *out_used)
{
	*out_frame = BYTES_NONE;
	*out_used = 0;
	return frame_cut((struct bytes){ (const uint8_t *)input, size }, LIMIT, out_frame,
	                 out_used);
}

static void a_whole_frame_is_cut_off_and_the_rest_is_left(void **state)
{
	struct bytes frame;
	size_t used;
	assert_int_equal(cut("\0\0\0\3abcde", 9, &frame, &used), FRAME_READY);
	assert_true(bytes_equal(frame, BYTES_LITERAL("abc")));
	assert_int_equal(used, 7);
}

static void the_beginning_of_a_frame_says_how_much_it_needs(void **state)
{
	static const char input[] = "\0\0\0\3abc";
	struct bytes frame;
	size_t used;
	for (size_t size = 0; size < 7; size++) {
		assert_int_equal(cut(input, size, &frame, &used), FRAME_MORE);
		assert_int_equal(used, size < FRAME_HEADER_SIZE ? FRAME_HEADER_SIZE : 7);
		assert_int_equal(frame.size, 0);
	}
	assert_int_equal(cut(input, 7, &frame, &used), FRAME_READY);
}

static void an_empty_frame_is_refused_at_once(void **state)
{
	struct bytes frame;
	size_t used;
	assert_int_equal(cut("\0\0\0\0", 4, &frame, &used), FRAME_EMPTY);
}

static void a_frame_above_the_limit_is_refused_before_its_bytes_come(void **state)
{
	struct bytes frame;
	size_t used;
	assert_int_equal(cut("\0\0\0\x11", 4, &frame, &used), FRAME_LARGE);
	assert_int_equal(cut("\xff\xff\xff\xff", 4, &frame, &used), FRAME_LARGE);
	assert_int_equal(cut("GET / HTTP/1.1", 14, &frame, &used), FRAME_LARGE);
	assert_int_equal(cut("\0\0\0\x10"
	                     "0123456789abcdef",
	                     20, &frame, &used),
	                 FRAME_READY);
	assert_int_equal(frame.size, LIMIT);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_whole_frame_is_cut_off_and_the_rest_is_left),
		cmocka_unit_test(the_beginning_of_a_frame_says_how_much_it_needs),
		cmocka_unit_test(an_empty_frame_is_refused_at_once),
		cmocka_unit_test(a_frame_above_the_limit_is_refused_before_its_bytes_come),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
