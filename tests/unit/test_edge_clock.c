#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "relay/edge/edge_clock.h"

static void a_good_machine_clock_is_left_alone(void **state)
{
	struct clock_virtual machine;
	struct edge_clock clock;
	clock_virtual_init(&machine, 1000, 500000);
	edge_clock_init(&clock, &machine.clock, 400000);
	assert_int_equal(clock_wall_ms(&clock.clock), 500000);
	assert_int_equal(clock_monotonic_ms(&clock.clock), 1000);
	assert_true(edge_clock_on_gateway(&clock, 450000));
	assert_int_equal(clock_wall_ms(&clock.clock), 500000);
}

static void a_clock_behind_the_gateway_runs_on_from_the_gateway_s_time(void **state)
{
	struct clock_virtual machine;
	struct edge_clock clock;
	clock_virtual_init(&machine, 1000, 500000);
	edge_clock_init(&clock, &machine.clock, 0);
	assert_true(edge_clock_on_gateway(&clock, 900000));
	assert_int_equal(clock_wall_ms(&clock.clock), 900000);
	clock_virtual_advance(&machine, 250);
	assert_int_equal(clock_wall_ms(&clock.clock), 900250);
	assert_int_equal(edge_clock_floor_ms(&clock), 900250);
}

static void a_machine_clock_set_back_does_not_go_below_the_floor(void **state)
{
	struct clock_virtual machine;
	struct edge_clock clock;
	clock_virtual_init(&machine, 1000, 500000);
	edge_clock_init(&clock, &machine.clock, 0);
	assert_true(edge_clock_on_gateway(&clock, 499000));
	machine.wall_offset_ms -= 400000;
	clock_virtual_advance(&machine, 10);
	assert_int_equal(clock_wall_ms(&clock.clock), 499010);
}

static void an_older_gateway_time_changes_nothing(void **state)
{
	struct clock_virtual machine;
	struct edge_clock clock;
	clock_virtual_init(&machine, 1000, 0);
	edge_clock_init(&clock, &machine.clock, 0);
	assert_true(edge_clock_on_gateway(&clock, 900000));
	clock_virtual_advance(&machine, 100);
	assert_false(edge_clock_on_gateway(&clock, 900100));
	assert_false(edge_clock_on_gateway(&clock, 5));
	assert_int_equal(clock_wall_ms(&clock.clock), 900100);
}

static void the_stored_time_holds_before_the_first_link(void **state)
{
	struct clock_virtual machine;
	struct edge_clock clock;
	clock_virtual_init(&machine, 1000, 0);
	edge_clock_init(&clock, &machine.clock, 900000);
	assert_int_equal(clock_wall_ms(&clock.clock), 900000);
}

static void nonsense_is_ignored(void **state)
{
	struct clock_virtual machine;
	struct edge_clock clock;
	clock_virtual_init(&machine, 1000, 7);
	edge_clock_init(&clock, &machine.clock, INT64_MAX);
	assert_int_equal(clock_wall_ms(&clock.clock), 7);
	assert_false(edge_clock_on_gateway(&clock, INT64_MAX));
	assert_false(edge_clock_on_gateway(&clock, INT64_MIN));
	assert_int_equal(clock_wall_ms(&clock.clock), 7);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_good_machine_clock_is_left_alone),
		cmocka_unit_test(a_clock_behind_the_gateway_runs_on_from_the_gateway_s_time),
		cmocka_unit_test(a_machine_clock_set_back_does_not_go_below_the_floor),
		cmocka_unit_test(an_older_gateway_time_changes_nothing),
		cmocka_unit_test(the_stored_time_holds_before_the_first_link),
		cmocka_unit_test(nonsense_is_ignored),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
