#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "relay/edge/seal.h"

#define QUARTER_MS (15 * 60 * 1000)

static const struct seal_rule rule = { .interval_ms = QUARTER_MS,
	                               .bytes_max = 1000,
	                               .count_max = 4 };

static struct seal_open open_with(int64_t slot, uint64_t size)
{
	struct seal_open open = { 0 };
	seal_add(&open, slot, size, slot * QUARTER_MS + 60000, 5000);
	return open;
}

static void an_entry_of_the_next_quarter_hour_ends_the_block(void **state)
{
	struct seal_open open = open_with(100, 10);
	assert_int_equal(seal_slot(&rule, INT64_C(100) * QUARTER_MS + QUARTER_MS - 1), 100);
	assert_int_equal(seal_slot(&rule, INT64_C(101) * QUARTER_MS), 101);
	assert_false(seal_before(&rule, &open, 100, 10));
	assert_true(seal_before(&rule, &open, 101, 10));
}

static void a_late_entry_joins_the_open_block(void **state)
{
	struct seal_open open = open_with(100, 10);
	assert_false(seal_before(&rule, &open, 99, 10));
	seal_add(&open, 99, 10, 0, 0);
	assert_int_equal(open.slot, 100);
	assert_int_equal(open.count, 2);
	assert_int_equal(open.bytes, 20);
}

static void bytes_and_count_end_a_block(void **state)
{
	struct seal_open open = open_with(100, 900);
	int64_t wake_ms = 0;
	assert_false(seal_before(&rule, &open, 100, 100));
	assert_true(seal_before(&rule, &open, 100, 101));
	for (int i = 0; i < 3; i++)
		seal_add(&open, 100, 1, 0, 0);
	assert_true(seal_before(&rule, &open, 100, 1));
	assert_true(seal_due(&rule, &open, true, 0, 5000, &wake_ms));
	open = open_with(100, 1000);
	assert_true(seal_due(&rule, &open, true, 0, 5000, &wake_ms));
}

static void nothing_open_is_never_due(void **state)
{
	struct seal_open open = { 0 };
	int64_t wake_ms = 0;
	assert_false(seal_due(&rule, &open, false, INT64_MAX / 2, INT64_MAX / 2, &wake_ms));
	assert_int_equal(wake_ms, INT64_MAX);
	assert_false(seal_before(&rule, &open, 5, 100000));
}

static void by_arrival_the_wall_clock_s_quarter_hour_ends_the_block(void **state)
{
	struct seal_open open = open_with(100, 10);
	int64_t wake_ms = 0;
	int64_t wall_ms = INT64_C(100) * QUARTER_MS + 60000;
	assert_false(seal_due(&rule, &open, false, wall_ms, 5000, &wake_ms));
	assert_int_equal(wake_ms, 5000 + QUARTER_MS - 60000);
	assert_true(seal_due(&rule, &open, false, INT64_C(101) * QUARTER_MS, 6000, &wake_ms));
}

static void by_meter_time_only_age_ends_the_block(void **state)
{
	struct seal_open open = open_with(100, 10);
	int64_t wake_ms = 0;
	assert_false(seal_due(&rule, &open, true, INT64_C(5000) * QUARTER_MS, 6000, &wake_ms));
	assert_int_equal(wake_ms, 5000 + QUARTER_MS);
	assert_true(seal_due(&rule, &open, true, 0, 5000 + QUARTER_MS, &wake_ms));
}

static void a_wall_clock_that_was_set_back_keeps_no_block_open(void **state)
{
	struct seal_open open = open_with(100, 10);
	int64_t wake_ms = 0;
	assert_false(seal_due(&rule, &open, false, 0, 6000, &wake_ms));
	assert_int_equal(wake_ms, 5000 + QUARTER_MS);
	assert_true(seal_due(&rule, &open, false, 0, 5000 + QUARTER_MS, &wake_ms));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_entry_of_the_next_quarter_hour_ends_the_block),
		cmocka_unit_test(a_late_entry_joins_the_open_block),
		cmocka_unit_test(bytes_and_count_end_a_block),
		cmocka_unit_test(nothing_open_is_never_due),
		cmocka_unit_test(by_arrival_the_wall_clock_s_quarter_hour_ends_the_block),
		cmocka_unit_test(by_meter_time_only_age_ends_the_block),
		cmocka_unit_test(a_wall_clock_that_was_set_back_keeps_no_block_open),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
