/* Random acts of both ends of several connections, in and out of callbacks: frames arrive whole and
 * in order, everyone is told of the end exactly once, and nothing is left. A failure prints its
 * seed. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/lib/net_world.h"

enum { PAIRS = 8, STEPS = 1500, SEEDS = 4, FRAME_MAX = 60000 };

/* One end of a connection. */
struct side {
	struct party *party;
	struct conn *conn; /* NULL when it is gone. */
	struct side *peer; /* NULL until both know each other. */
	uint32_t number;   /* Of a client. */
	uint32_t sent;     /* Frames given to conn_send() and taken. */
	uint32_t received; /* Frames that came. */
	unsigned open_count;
	unsigned close_count;
	bool is_server;
	bool asked_to_close; /* And not to abort: what was sent before must arrive. */
	enum conn_reason reason;
};

struct party {
	struct world world;
	uint64_t random;
	struct side clients[STEPS]; /* In the order of their coming. */
	unsigned client_count;
	struct side servers[STEPS]; /* Likewise. */
	unsigned server_count;
	uint64_t frame_count;
	uint64_t orderly_count; /* Ends after which all that was sent had come. */
};

/* xorshift64*: the same acts for the same seed. */
static uint32_t pick(struct party *party, uint32_t bound)
{
	party->random ^= party->random >> 12;
	party->random ^= party->random << 25;
	party->random ^= party->random >> 27;
	return (uint32_t)((party->random * UINT64_C(2685821657736338717)) >> 33) % bound;
}

static void act(struct side *side);

static void send_one(struct side *side)
{
	static uint8_t body[FRAME_MAX];
	size_t size = 8 + (pick(side->party, 4) == 0 ? pick(side->party, FRAME_MAX - 8)
	                                             : pick(side->party, 100));
	put_be32(body, side->sent);
	put_be32(body + 4, (uint32_t)size);
	if (conn_send(side->conn, (struct bytes){ body, size }))
		side->sent++;
}

static void side_on_open(struct conn *conn, void *arg)
{
	struct side *side = arg;
	side->open_count++;
	/* The first frame says whose connection it is. */
	uint8_t hello[12];
	put_be32(hello, 0);
	put_be32(hello + 4, sizeof(hello));
	put_be32(hello + 8, side->number);
	assert_true(conn_send(conn, BYTES_OF(hello)));
	side->sent = 1;
}

static void side_on_frame(struct conn *conn, struct bytes frame, void *arg)
{
	struct side *side = arg;
	struct party *party = side->party;
	assert_ptr_equal(conn, side->conn);
	assert_false(conn_is_paused(conn));
	assert_int_equal(side->close_count, 0);
	assert_int_equal(get_be32(frame.data), side->received);
	assert_int_equal(get_be32(frame.data + 4), frame.size);
	if (side->is_server && side->peer == NULL) {
		assert_int_equal(frame.size, 12);
		side->peer = &party->clients[get_be32(frame.data + 8)];
		side->peer->peer = side;
	}
	side->received++;
	party->frame_count++;
	if (pick(party, 8) == 0)
		act(side);
}

static void side_on_close(struct conn *conn, enum conn_reason reason, const char *text, void *arg)
{
	struct side *side = arg;
	side->close_count++;
	side->reason = reason;
	assert_int_equal(side->close_count, 1);
	side->conn = NULL;
	/* What an orderly end was preceded by has come. */
	if (reason == CONN_PEER_CLOSED && side->peer != NULL && side->peer->asked_to_close) {
		assert_int_equal(side->received, side->peer->sent);
		side->party->orderly_count++;
	}
}

static const struct conn_callbacks side_callbacks = { side_on_open, side_on_frame, NULL,
	                                              side_on_close };

static void party_on_open(struct conn *conn, void *arg)
{
	struct party *party = arg;
	struct side *side = &party->servers[party->server_count++];
	*side = (struct side){ .party = party, .conn = conn, .open_count = 1, .is_server = true };
	conn_set_callbacks(conn, &side_callbacks, side);
	if (pick(party, 20) == 0)
		act(side);
}

static void party_on_refused(enum conn_reason reason, const struct net_peer *peer, const char *text,
                             void *arg)
{
	/* A client that gave up in its handshake. */
	assert_true(reason == CONN_LOST || reason == CONN_PEER_CLOSED);
}

static const struct listener_callbacks party_callbacks = { party_on_open, party_on_refused };

static void act(struct side *side)
{
	struct party *party = side->party;
	if (side->conn == NULL)
		return;
	switch (pick(party, 24)) {
	case 0:
		side->asked_to_close = side->open_count > 0;
		conn_close(side->conn, 5000);
		return;
	case 1:
		conn_abort(side->conn);
		return;
	case 2:
	case 3:
		conn_pause(side->conn);
		return;
	case 4:
	case 5:
	case 6:
	case 7:
		conn_resume(side->conn);
		return;
	default:
		if (side->open_count > 0 && !side->asked_to_close)
			send_one(side);
	}
}

static void add_client(struct party *party)
{
	struct side *side = &party->clients[party->client_count];
	struct err err;
	*side = (struct side){ .party = party, .number = party->client_count++ };
	struct connect_options options = connect_options(&party->world);
	assert_true(
		net_connect(&side->conn, party->world.net, &options, &side_callbacks, side, &err));
}

/* One of the last few, as the others are mostly gone; the first where there is none. */
static struct side *any_of(struct party *party, struct side *sides, unsigned count)
{
	unsigned last = count < 2 * PAIRS ? count : 2 * PAIRS;
	return &sides[count == 0 ? 0 : count - 1 - pick(party, last)];
}

static void run_party(struct party *party, uint64_t seed)
{
	struct err err;
	struct world *world = &party->world;
	memset(party, 0, sizeof(*party));
	party->random = seed;
	world_init(world);
	listener_free(world->listener);
	world->options.limits.turn_max_bytes = 20000;
	assert_true(listener_new(&world->listener, world->net, &world->options, &party_callbacks,
	                         party, &err));
	for (unsigned step = 0; step < STEPS; step++) {
		if (net_totals(world->net)->conn_count < 2 * PAIRS)
			add_client(party);
		act(any_of(party, party->clients, party->client_count));
		act(any_of(party, party->servers, party->server_count));
		if (pick(party, 3) == 0)
			run_ms(world, 1);
	}
}

static void finish_party(struct party *party)
{
	struct world *world = &party->world;
	for (unsigned i = 0; i < party->client_count; i++) {
		if (party->clients[i].conn != NULL)
			conn_abort(party->clients[i].conn);
	}
	for (unsigned i = 0; i < party->server_count; i++) {
		if (party->servers[i].conn != NULL)
			conn_abort(party->servers[i].conn);
	}
	RUN_UNTIL(world, net_totals(world->net)->conn_count == 0);
	for (unsigned i = 0; i < party->client_count; i++)
		assert_int_equal(party->clients[i].close_count, 1);
	for (unsigned i = 0; i < party->server_count; i++)
		assert_int_equal(party->servers[i].close_count, 1);
	const struct listener_stats *stats = listener_stats(world->listener);
	assert_int_equal(stats->open_count, 0);
	assert_int_equal(stats->handshake_count, 0);
	assert_int_equal(net_totals(world->net)->out_queued_bytes, 0);
	assert_int_equal(net_totals(world->net)->in_buffered_bytes, 0);
	world_fini(world);
}

static void whatever_both_ends_do_nothing_is_lost_mixed_or_left(void **state)
{
	struct party *party = malloc(sizeof(*party));
	uint64_t frame_count = 0;
	uint64_t orderly_count = 0;
	assert_non_null(party);
	for (uint64_t seed = 1; seed <= SEEDS; seed++) {
		print_message("seed %u\n", (unsigned)seed);
		run_party(party, seed * UINT64_C(0x9e3779b97f4a7c15));
		finish_party(party);
		frame_count += party->frame_count;
		orderly_count += party->orderly_count;
		assert_true(party->server_count > PAIRS);
	}
	print_message("%u frames, %u orderly ends\n", (unsigned)frame_count,
	              (unsigned)orderly_count);
	assert_true(frame_count > 500 && orderly_count > 20);
	free(party);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(whatever_both_ends_do_nothing_is_lost_mixed_or_left),
	};
	return cmocka_run_group_tests(tests, make_pkis, remove_pkis);
}
