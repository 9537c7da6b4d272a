#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "relay/base/err.h"

static void a_failure_says_what_we_were_doing_before_what_went_wrong(void **state)
{
	struct err err;
	assert_false(err_set(&err, ZR_FULL, "map is full at %d pages", 7));
	assert_false(err_wrap(&err, "append %d records", 2));
	assert_int_equal(err.code, ZR_FULL);
	assert_string_equal(err.message, "append 2 records: map is full at 7 pages");
}

static void a_message_that_does_not_fit_ends_with_three_dots(void **state)
{
	struct err err;
	char text[ERR_MESSAGE_SIZE * 2];
	memset(text, 'x', sizeof(text));
	text[sizeof(text) - 1] = '\0';
	(void)err_set(&err, ZR_INVALID, "%s", text);
	assert_int_equal(strlen(err.message), ERR_MESSAGE_SIZE - 1);
	assert_string_equal(err.message + ERR_MESSAGE_SIZE - 4, "...");
	(void)err_wrap(&err, "outer");
	assert_memory_equal(err.message, "outer: xxx", 10);
	assert_string_equal(err.message + ERR_MESSAGE_SIZE - 4, "...");
}

static void nobody_has_to_read_a_failure(void **state)
{
	assert_false(err_set(NULL, ZR_IO, "disk"));
	assert_false(err_wrap(NULL, "commit"));
}

static void every_code_has_a_name_a_fate_and_an_exit_status(void **state)
{
	assert_string_equal(err_name(ZR_NO_MEMORY), "no-memory");
	assert_int_equal(err_fate(ZR_IO), ERR_STOP);
	assert_int_equal(err_fate(ZR_INVALID), ERR_REJECT);
	assert_int_equal(err_fate(ZR_UNAVAILABLE), ERR_RETRY);
	assert_int_equal(err_exit_status(ZR_CORRUPT), 74);
	assert_string_equal(err_meaning(ZR_IO), "the disk failed");
	assert_string_equal(err_name((enum err_code)99), "unknown");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_failure_says_what_we_were_doing_before_what_went_wrong),
		cmocka_unit_test(a_message_that_does_not_fit_ends_with_three_dots),
		cmocka_unit_test(nobody_has_to_read_a_failure),
		cmocka_unit_test(every_code_has_a_name_a_fate_and_an_exit_status),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
