#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "relay/edge/heartbeat.h"
#include "relay/edge/redial.h"

/* Chance always gives its highest, so that bounds show. */
static uint64_t highest(uint64_t bound)
{
	return bound - 1;
}

static void all_routes_are_tried_before_any_wait(void **state)
{
	struct redial redial;
	redial_init(&redial, 3, 1000, 60000, highest);
	assert_true(redial.at_ms < 0);
	for (size_t route = 0; route < 3; route++) {
		assert_int_equal(redial.route, route);
		assert_true(redial.at_ms <= 500);
		redial_on_failed(&redial, 500);
	}
	assert_int_equal(redial.route, 0);
	assert_int_equal(redial.at_ms, 1500);
}

static void each_round_doubles_the_bound_up_to_the_most(void **state)
{
	struct redial redial;
	redial_init(&redial, 1, 1000, 10000, highest);
	static const int64_t bounds[] = { 1000, 2000, 4000, 8000, 10000, 10000 };
	for (size_t i = 0; i < sizeof(bounds) / sizeof(bounds[0]); i++) {
		redial_on_failed(&redial, 0);
		assert_int_equal(redial.at_ms, bounds[i]);
	}
	for (int i = 0; i < 100; i++)
		redial_on_failed(&redial, 0);
	assert_int_equal(redial.at_ms, 10000);
}

static void an_answer_ends_the_waiting(void **state)
{
	struct redial redial;
	redial_init(&redial, 2, 1000, 10000, highest);
	for (int i = 0; i < 9; i++)
		redial_on_failed(&redial, 0);
	assert_int_equal(redial.route, 1);
	redial_on_answer(&redial);
	redial_on_lost(&redial, 100);
	assert_int_equal(redial.route, 0);
	assert_int_equal(redial.at_ms, 1100);
}

static void a_route_that_dies_behind_every_welcome_has_failed(void **state)
{
	struct redial redial;
	redial_init(&redial, 2, 1000, 10000, highest);
	redial_on_answer(&redial);
	redial_on_lost(&redial, 0); /* It was good. */
	assert_int_equal(redial.route, 0);
	redial_on_lost(&redial, 100); /* Welcomed again, and lost before any answer. */
	assert_int_equal(redial.route, 1);
	assert_int_equal(redial.at_ms, 100);
	redial_on_lost(&redial, 200);
	assert_int_equal(redial.route, 0);
	assert_int_equal(redial.at_ms, 1200);
	for (int i = 0; i < 2; i++)
		redial_on_lost(&redial, 300); /* The other one, too: the bound grows. */
	assert_int_equal(redial.at_ms, 2300);
}

static void a_goodbye_is_obeyed_within_reason(void **state)
{
	struct redial redial;
	redial_init(&redial, 2, 1000, 10000, highest);
	redial_on_goodbye(&redial, 100, 30000);
	assert_int_equal(redial.at_ms, 30100);
	redial_on_goodbye(&redial, 100, 0);
	assert_int_equal(redial.at_ms, 1100);
	redial_on_goodbye(&redial, 0, UINT32_MAX);
	assert_int_equal(redial.at_ms, 24 * 60 * 60 * 1000);
}

static void answered_pings_become_rarer_up_to_the_gateway_s_limit(void **state)
{
	struct heartbeat heartbeat;
	int64_t wake_ms = 0;
	int64_t now_ms = 1000;
	heartbeat_init(&heartbeat, 20000);
	heartbeat_on_link(&heartbeat, 240000, now_ms);
	int64_t last_ms = 0;
	for (int i = 0; i < 10; i++) {
		assert_int_equal(heartbeat_next(&heartbeat, now_ms, &wake_ms), HEARTBEAT_WAIT);
		int64_t interval_ms = wake_ms - now_ms;
		assert_true(interval_ms >= last_ms && interval_ms <= 240000);
		last_ms = interval_ms;
		now_ms = wake_ms;
		assert_int_equal(heartbeat_next(&heartbeat, now_ms, &wake_ms), HEARTBEAT_PING);
		assert_true(heartbeat_on_pong(&heartbeat, heartbeat.number, now_ms));
	}
	assert_int_equal(last_ms, 240000);
}

static void a_ping_without_answer_ends_the_link_and_halves_the_interval(void **state)
{
	struct heartbeat heartbeat;
	int64_t wake_ms = 0;
	heartbeat_init(&heartbeat, 20000);
	heartbeat_on_link(&heartbeat, 240000, 0);
	assert_int_equal(heartbeat_next(&heartbeat, 60000, &wake_ms), HEARTBEAT_PING);
	assert_int_equal(heartbeat_next(&heartbeat, 70000, &wake_ms), HEARTBEAT_WAIT);
	assert_int_equal(wake_ms, 80000);
	assert_false(heartbeat_on_pong(&heartbeat, heartbeat.number + 1, 71000));
	assert_int_equal(heartbeat_next(&heartbeat, 80000, &wake_ms), HEARTBEAT_DEAD);
	heartbeat_on_lost(&heartbeat);
	assert_int_equal(heartbeat.interval_ms, 30000);
	for (int i = 0; i < 5; i++) {
		heartbeat_on_link(&heartbeat, 240000, 0);
		(void)heartbeat_next(&heartbeat, 1000000, &wake_ms);
		heartbeat_on_lost(&heartbeat);
	}
	assert_int_equal(heartbeat.interval_ms, HEARTBEAT_MIN_MS);
	/* Lost without a ping on its way: nothing is learnt. */
	heartbeat_on_link(&heartbeat, 240000, 0);
	heartbeat_on_lost(&heartbeat);
	assert_int_equal(heartbeat.interval_ms, HEARTBEAT_MIN_MS);
}

static void traffic_makes_pings_needless(void **state)
{
	struct heartbeat heartbeat;
	int64_t wake_ms = 0;
	heartbeat_init(&heartbeat, 20000);
	heartbeat_on_link(&heartbeat, 240000, 0);
	heartbeat_on_traffic(&heartbeat, 50000);
	assert_int_equal(heartbeat_next(&heartbeat, 60000, &wake_ms), HEARTBEAT_WAIT);
	assert_int_equal(wake_ms, 110000);
}

static void a_gateway_that_wants_quicker_pings_gets_them(void **state)
{
	struct heartbeat heartbeat;
	int64_t wake_ms = 0;
	heartbeat_init(&heartbeat, 20000);
	heartbeat_on_link(&heartbeat, 2000, 0);
	assert_int_equal(heartbeat_next(&heartbeat, 1000, &wake_ms), HEARTBEAT_WAIT);
	assert_int_equal(wake_ms, 2000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(all_routes_are_tried_before_any_wait),
		cmocka_unit_test(each_round_doubles_the_bound_up_to_the_most),
		cmocka_unit_test(an_answer_ends_the_waiting),
		cmocka_unit_test(a_route_that_dies_behind_every_welcome_has_failed),
		cmocka_unit_test(a_goodbye_is_obeyed_within_reason),
		cmocka_unit_test(answered_pings_become_rarer_up_to_the_gateway_s_limit),
		cmocka_unit_test(a_ping_without_answer_ends_the_link_and_halves_the_interval),
		cmocka_unit_test(traffic_makes_pings_needless),
		cmocka_unit_test(a_gateway_that_wants_quicker_pings_gets_them),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
