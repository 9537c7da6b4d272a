/* Each allocation of a connection's life fails once: it ends with a reason, or does without, and the
 * next one is as good as ever. */
#include <stdlib.h>
#include <string.h>

#include "tests/lib/fault.h"
#include "tests/lib/net_world.h"

static void talk(struct world *world)
{
	struct err err;
	struct connect_options options = connect_options(world);
	static uint8_t body[100000];
	if (!net_connect(&world->client.conn, world->net, &options, &end_callbacks, &world->client,
	                 &err)) {
		assert_int_equal(err.code, ZR_NO_MEMORY);
		return;
	}
	unsigned closed = world->client.close_count;
	size_t frames = world->client.frame_count;
	unsigned opened = world->client.open_count;
	for (int i = 0; i < 2000; i++) {
		if (world->client.close_count > closed)
			return;
		if (world->client.open_count > opened) {
			opened = UINT32_MAX;
			(void)conn_send(world->client.conn, (struct bytes){ body, sizeof(body) });
		}
		if (world->client.frame_count > frames)
			break;
		run_ms(world, 1);
	}
	if (world->client.frame_count == frames)
		fail_msg("neither an answer nor an end");
}

static void end_all(struct world *world)
{
	if (world->client.conn != NULL)
		conn_abort(world->client.conn);
	RUN_UNTIL(world, net_totals(world->net)->conn_count == 0);
	assert_int_equal(listener_stats(world->listener)->silent_count, 0);
	assert_int_equal(listener_stats(world->listener)->handshake_count, 0);
}

static void each_allocation_of_a_connection_may_fail(void **state)
{
	struct world world;
	world_init(&world);
	world.server.echoes = true;
	buffer_put(&world.server.last, (struct bytes){ (const uint8_t[100000]){ 0 }, 100000 });
	buffer_put(&world.client.last, (struct bytes){ (const uint8_t[100000]){ 0 }, 100000 });
	size_t n = 1;
	for (; n < 1000; n++) {
		fault_at(n);
		talk(&world);
		bool over = fault_off() == 0;
		end_all(&world);
		size_t frames = world.client.frame_count;
		talk(&world);
		assert_int_equal(world.client.frame_count, frames + 1);
		end_all(&world);
		if (over)
			break;
	}
	assert_in_range(n, 5, 999);
	world_fini(&world);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_allocation_of_a_connection_may_fail),
	};
	return cmocka_run_group_tests(tests, make_pkis, remove_pkis);
}
