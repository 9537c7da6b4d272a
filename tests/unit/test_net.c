#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/lib/net_world.h"

static void frames_go_both_ways_whole_and_in_order(void **state)
{
	struct world world;
	world_init(&world);
	world.server.echoes = true;
	connect_both(&world);
	assert_string_equal(world.server.peer_id, "e1");
	assert_string_equal(world.client.peer_id, "north");
	const struct net_peer *peer = conn_peer(world.server.conn);
	assert_string_equal(peer->subject, "O=north, CN=e1");
	assert_false(hash_is_zero(&peer->fingerprint));
	assert_true(peer->not_after_ms > clock_wall_ms(clock_system()));
	assert_true(strlen(peer->serial) > 0);

	/* Sizes around every edge: a record, a scratch buffer, the limit of a frame. */
	static const size_t sizes[] = { 1,     2,     100,   16379, 16380,  16384,
		                        16385, 65531, 65536, 65537, 300000, 1u << 20 };
	uint8_t *body = malloc(1u << 20);
	uint64_t total = 0;
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		memset(body, (int)('a' + i), sizes[i]);
		assert_true(conn_send(world.client.conn, (struct bytes){ body, sizes[i] }));
		total += sizes[i];
		RUN_UNTIL(&world, world.client.frame_count == i + 1);
		assert_int_equal(world.client.last.size, sizes[i]);
		assert_memory_equal(world.client.last.data, body, sizes[i]);
	}
	free(body);
	struct conn_counts counts = conn_counts(world.client.conn);
	assert_int_equal(counts.frame_bytes_out, total);
	assert_int_equal(counts.frame_bytes_in, total);
	assert_int_equal(counts.frames_in, sizeof(sizes) / sizeof(sizes[0]));
	assert_true(counts.wire_bytes_out > total &&
	            counts.wire_bytes_out < total + total / 50 + 8000);
	assert_true(conn_idle_ms(world.client.conn) < 5000);
	assert_int_equal(net_totals(world.net)->frame_bytes_in, 2 * total);
	assert_int_equal(net_totals(world.net)->out_queued_bytes, 0);
	world_fini(&world);
	assert_int_equal(world.server.close_count, 1);
	assert_int_equal(world.client.close_count, 1);
}

static void small_frames_of_one_turn_share_a_record(void **state)
{
	struct world world;
	world_init(&world);
	connect_both(&world);
	run_ms(&world, 20); /* The ticket is on its way. */
	uint64_t before = conn_counts(world.client.conn).wire_bytes_out;
	for (int i = 0; i < 100; i++)
		assert_true(conn_send(world.client.conn, BYTES_LITERAL("0123456789")));
	assert_int_equal(conn_out_queued(world.client.conn), 1400);
	RUN_UNTIL(&world, world.server.frame_count == 100);
	assert_int_equal(conn_counts(world.client.conn).wire_bytes_out - before, 1400 + 22);
	world_fini(&world);
}

static void closing_flushes_and_both_sides_know(void **state)
{
	struct world world;
	world_init(&world);
	connect_both(&world);
	uint8_t *body = calloc(1, 1000000);
	assert_true(conn_send(world.client.conn, (struct bytes){ body, 1000000 }));
	conn_close(world.client.conn, 5000);
	assert_false(conn_send(world.client.conn, BYTES_LITERAL("late")));
	RUN_UNTIL(&world, world.client.close_count == 1 && world.server.close_count == 1);
	assert_int_equal(world.client.reason, CONN_CLOSED);
	assert_string_equal(world.client.text, "");
	assert_int_equal(world.server.reason, CONN_PEER_CLOSED);
	assert_int_equal(world.server.frame_bytes, 1000000);
	RUN_UNTIL(&world, net_totals(world.net)->conn_count == 0);
	assert_int_equal(listener_stats(world.listener)->open_count, 0);
	free(body);
	world_fini(&world);
}

static void last_words_arrive_although_the_peer_was_still_talking(void **state)
{
	struct world world;
	world_init(&world);
	world.server.closes = true;
	world.server.echoes = true; /* The echo is the last word. */
	world.server.flush_max_ms = 5000;
	connect_both(&world);
	uint8_t *body = calloc(1, 500000);
	assert_true(conn_send(world.client.conn, BYTES_LITERAL("first")));
	for (int i = 0; i < 6; i++)
		assert_true(conn_send(world.client.conn, (struct bytes){ body, 500000 }));
	free(body);
	RUN_UNTIL(&world, world.client.close_count == 1);
	assert_int_equal(world.client.frame_count, 1);
	assert_int_equal(world.client.reason, CONN_PEER_CLOSED);
	assert_int_equal(world.server.frame_count, 1);
	world_fini(&world);
}

static void aborting_ends_without_another_frame(void **state)
{
	struct world world;
	world_init(&world);
	connect_both(&world);
	assert_true(conn_send(world.client.conn, BYTES_LITERAL("x")));
	conn_abort(world.server.conn);
	assert_int_equal(world.server.close_count, 0); /* Never from inside a call. */
	RUN_UNTIL(&world, world.client.close_count == 1 && world.server.close_count == 1);
	assert_int_equal(world.server.reason, CONN_CLOSED);
	assert_int_equal(world.server.frame_count, 0);
	assert_int_equal(world.client.reason, CONN_LOST);
	world_fini(&world);
}

static void a_paused_connection_reads_nothing_and_goes_on_where_it_stopped(void **state)
{
	struct world world;
	world_init(&world);
	world.server.pauses = true;
	connect_both(&world);
	for (int i = 0; i < 5; i++)
		assert_true(conn_send(world.client.conn, BYTES_LITERAL("frame")));
	for (size_t i = 1; i <= 5; i++) {
		RUN_UNTIL(&world, world.server.frame_count == i);
		run_ms(&world, 20);
		assert_int_equal(world.server.frame_count, i);
		assert_true(conn_is_paused(world.server.conn));
		conn_resume(world.server.conn);
	}
	world.server.pauses = false;
	conn_resume(world.server.conn);
	assert_true(conn_send(world.client.conn, BYTES_LITERAL("last")));
	RUN_UNTIL(&world, world.server.frame_count == 6);
	world_fini(&world);
}

static void a_slow_reader_is_cut_when_its_queue_is_full(void **state)
{
	struct world world;
	world_init(&world);
	world.options.limits.out_max_bytes = 200000;
	listen_again(&world);
	connect_both(&world);
	conn_pause(world.client.conn);
	uint8_t *body = calloc(1, 50000);
	int sent = 0;
	while (sent < 1000 && conn_send(world.server.conn, (struct bytes){ body, 50000 })) {
		sent++;
		run_ms(&world, 1);
		if (world.server.conn == NULL)
			break;
	}
	free(body);
	RUN_UNTIL(&world, world.server.close_count == 1);
	assert_int_equal(world.server.reason, CONN_SLOW_READER);
	assert_true(sent >= 3 && sent < 1000);
	assert_int_equal(net_totals(world.net)->out_queued_bytes, 0);
	world_fini(&world);
}

static void a_peer_that_stops_taking_is_cut_after_a_while(void **state)
{
	struct world world;
	world_init(&world);
	world.options.limits.out_max_bytes = 64u << 20;
	world.options.limits.out_stall_max_ms = 200;
	listen_again(&world);
	connect_both(&world);
	conn_pause(world.client.conn);
	uint8_t *body = calloc(1, 1u << 20);
	for (int i = 0; i < 20; i++)
		assert_true(conn_send(world.server.conn, (struct bytes){ body, 1u << 20 }));
	free(body);
	RUN_UNTIL(&world, world.server.close_count == 1);
	assert_int_equal(world.server.reason, CONN_SLOW_READER);
	assert_non_null(strstr(world.server.text, "in 200 ms"));
	world_fini(&world);
}

static void the_sender_hears_when_its_queue_has_room_again(void **state)
{
	struct world world;
	world_init(&world);
	connect_both(&world);
	conn_pause(world.server.conn);
	uint8_t *body = calloc(1, 1u << 20);
	/* More than the sockets' buffers take on this machine, less than the queue's limit. */
	for (int i = 0; i < 3; i++)
		assert_true(conn_send(world.client.conn, (struct bytes){ body, 1u << 20 }));
	free(body);
	assert_true(conn_out_queued(world.client.conn) > 2u << 20);
	conn_resume(world.server.conn);
	RUN_UNTIL(&world, world.client.room_count == 1);
	RUN_UNTIL(&world, world.server.frame_count == 3);
	assert_int_equal(world.client.room_count, 1);
	world_fini(&world);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(frames_go_both_ways_whole_and_in_order),
		cmocka_unit_test(small_frames_of_one_turn_share_a_record),
		cmocka_unit_test(closing_flushes_and_both_sides_know),
		cmocka_unit_test(last_words_arrive_although_the_peer_was_still_talking),
		cmocka_unit_test(aborting_ends_without_another_frame),
		cmocka_unit_test(a_paused_connection_reads_nothing_and_goes_on_where_it_stopped),
		cmocka_unit_test(a_slow_reader_is_cut_when_its_queue_is_full),
		cmocka_unit_test(a_peer_that_stops_taking_is_cut_after_a_while),
		cmocka_unit_test(the_sender_hears_when_its_queue_has_room_again),
	};
	return cmocka_run_group_tests(tests, make_pkis, remove_pkis);
}
