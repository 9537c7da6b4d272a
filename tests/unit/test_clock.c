#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#include <cmocka.h>

#include "relay/base/clock.h"

static void a_virtual_clock_moves_only_when_told_to(void **state)
{
	struct clock_virtual virtual;
	clock_virtual_init(&virtual, 1000, 5000000);
	assert_int_equal(clock_monotonic_ms(&virtual.clock), 1000);
	assert_int_equal(clock_wall_ms(&virtual.clock), 5000000);
	clock_virtual_advance(&virtual, 250);
	assert_int_equal(clock_monotonic_ms(&virtual.clock), 1250);
	assert_int_equal(clock_wall_ms(&virtual.clock), 5000250);
	clock_virtual_advance(&virtual, 0);
	assert_int_equal(clock_monotonic_ms(&virtual.clock), 1250);
}

static void the_systems_clock_goes_forward(void **state)
{
	const struct clock *clock = clock_system();
	int64_t before_ms = clock_monotonic_ms(clock);
	int64_t wall_ms = clock_wall_ms(clock);
	assert_true(wall_ms / 1000 >= (int64_t)time(NULL) - 5 &&
	            wall_ms / 1000 <= (int64_t)time(NULL) + 5);
	nanosleep(&(struct timespec){ .tv_nsec = 20000000 }, NULL);
	int64_t passed_ms = clock_monotonic_ms(clock) - before_ms;
	assert_true(passed_ms >= 19 && passed_ms < 30000);
}

static void a_time_is_written_as_people_and_machines_read_it(void **state)
{
	static const struct {
		int64_t wall_ms;
		const char *text;
	} rows[] = {
		{ 0, "1970-01-01T00:00:00.000Z" },
		{ 1, "1970-01-01T00:00:00.001Z" },
		{ -1, "1969-12-31T23:59:59.999Z" },
		{ INT64_C(1795400100123), "2026-11-23T02:15:00.123Z" },
		{ INT64_C(951782400000), "2000-02-29T00:00:00.000Z" },
		{ INT64_C(1709164799999), "2024-02-28T23:59:59.999Z" },
		{ INT64_C(1709251200000), "2024-03-01T00:00:00.000Z" },
		{ INT64_C(2147483648000), "2038-01-19T03:14:08.000Z" },
		{ INT64_C(4107542400000), "2100-03-01T00:00:00.000Z" },
		{ INT64_C(-2203891200000), "1900-03-01T00:00:00.000Z" },
		{ INT64_C(253402300799999), "9999-12-31T23:59:59.999Z" },
		{ INT64_C(253402300800000), "9999-12-31T23:59:59.999Z" },
		{ INT64_MAX, "9999-12-31T23:59:59.999Z" },
		{ INT64_C(-62167219200000), "0000-01-01T00:00:00.000Z" },
		{ INT64_MIN, "0000-01-01T00:00:00.000Z" },
	};
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		char text[CLOCK_TEXT_SIZE];
		assert_string_equal(clock_text(rows[i].wall_ms, text), rows[i].text);
	}
}

static void every_day_of_four_centuries_agrees_with_the_c_library(void **state)
{
	for (int64_t day = -60000; day < 90000; day++) {
		char text[CLOCK_TEXT_SIZE];
		char expected[64];
		time_t second = (time_t)(day * 86400 + 3661);
		struct tm tm;
		if ((int64_t)second != day * 86400 + 3661)
			continue; /* A 32-bit time_t knows fewer of them. */
		assert_non_null(gmtime_r(&second, &tm));
		assert_true(strftime(expected, sizeof(expected), "%Y-%m-%dT%H:%M:%S.000Z", &tm) >
		            0);
		assert_string_equal(clock_text((day * 86400 + 3661) * 1000, text), expected);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_virtual_clock_moves_only_when_told_to),
		cmocka_unit_test(the_systems_clock_goes_forward),
		cmocka_unit_test(a_time_is_written_as_people_and_machines_read_it),
		cmocka_unit_test(every_day_of_four_centuries_agrees_with_the_c_library),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
