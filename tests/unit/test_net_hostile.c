#include <fcntl.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/lib/net_world.h"

/* A TLS client that speaks no frames but what a test gives it. */
struct raw_tls {
	SSL_CTX *context;
	SSL *ssl;
	int fd;
};

static void raw_tls_connect(struct raw_tls *raw, struct world *world, const char *name)
{
	char path[PKI_PATH_SIZE];
	char file[64];
	raw->context = SSL_CTX_new(TLS_client_method());
	if (name != NULL) {
		(void)snprintf(file, sizeof(file), "%s.pem", name);
		assert_int_equal(SSL_CTX_use_certificate_chain_file(raw->context,
		                                                    pki_path(&pki, file, path)),
		                 1);
		(void)snprintf(file, sizeof(file), "%s.key", name);
		assert_int_equal(SSL_CTX_use_PrivateKey_file(raw->context,
		                                             pki_path(&pki, file, path),
		                                             SSL_FILETYPE_PEM),
		                 1);
	}
	raw->fd = raw_connect(world);
	assert_int_equal(fcntl(raw->fd, F_SETFL, O_NONBLOCK), 0);
	raw->ssl = SSL_new(raw->context);
	assert_int_equal(SSL_set_fd(raw->ssl, raw->fd), 1);
}

static void raw_tls_handshake(struct raw_tls *raw, struct world *world)
{
	for (int i = 0; i < 1000; i++) {
		int result = SSL_connect(raw->ssl);
		int kind = SSL_get_error(raw->ssl, result);
		if (result == 1)
			return;
		if (kind != SSL_ERROR_WANT_READ)
			return; /* The other side has its reasons: the test looks there. */
		run_ms(world, 1);
	}
	fail_msg("no handshake");
}

static void raw_tls_free(struct raw_tls *raw)
{
	SSL_free(raw->ssl);
	SSL_CTX_free(raw->context);
	(void)close(raw->fd);
	ERR_clear_error();
}

/* In, with a proper certificate: what it says now is heard. */
static void raw_tls_open(struct raw_tls *raw, struct world *world)
{
	unsigned before = world->server.open_count;
	raw_tls_connect(raw, world, "agent-e2");
	raw_tls_handshake(raw, world);
	RUN_UNTIL(world, world->server.open_count > before);
}

static void say(struct raw_tls *raw, const char *bytes, size_t size)
{
	size_t put = 0;
	assert_int_equal(SSL_write_ex(raw->ssl, bytes, size, &put), 1);
	assert_int_equal(put, size);
}

/* The next connection is seen as if it were the first. */
static void forget_server(struct world *world)
{
	buffer_fini(&world->server.last);
	memset(&world->server, 0, sizeof(world->server));
}

static void assert_cut(struct world *world, enum conn_reason reason)
{
	RUN_UNTIL(world, world->server.close_count == 1);
	assert_string_equal(conn_reason_name(world->server.reason), conn_reason_name(reason));
}

/* ---- frames ---- */

static void an_empty_frame_ends_the_connection(void **state)
{
	struct world world;
	struct raw_tls raw;
	world_init(&world);
	raw_tls_open(&raw, &world);
	say(&raw, "\0\0\0\2ok\0\0\0\0\0\0\0\1x", 15);
	assert_cut(&world, CONN_FRAME_EMPTY);
	assert_int_equal(world.server.frame_count, 1);
	raw_tls_free(&raw);
	world_fini(&world);
}

static void a_frame_above_the_limit_ends_the_connection_before_it_is_read(void **state)
{
	struct world world;
	struct raw_tls raw;
	world_init(&world);
	world.options.limits.frame_max_bytes = 1000;
	listen_again(&world);
	raw_tls_open(&raw, &world);
	char frame[1004] = { 0, 0, 0x03, (char)0xe8 }; /* 1000: allowed. */
	say(&raw, frame, sizeof(frame));
	RUN_UNTIL(&world, world.server.frame_count == 1);
	assert_int_equal(world.server.last.size, 1000);
	say(&raw, "\0\0\x03\xe9", 4);
	assert_cut(&world, CONN_FRAME_LARGE);
	assert_int_equal(world.server.frame_count, 1);
	raw_tls_free(&raw);

	forget_server(&world);
	raw_tls_open(&raw, &world);
	say(&raw, "\xff\xff\xff\xff", 4);
	assert_cut(&world, CONN_FRAME_LARGE);
	raw_tls_free(&raw);
	world_fini(&world);
}

static void a_frame_torn_into_single_bytes_is_whole_again(void **state)
{
	struct world world;
	struct raw_tls raw;
	world_init(&world);
	raw_tls_open(&raw, &world);
	const char bytes[] = "\0\0\0\5hello\0\0\0\1x";
	for (size_t i = 0; i < sizeof(bytes) - 1; i++) {
		say(&raw, bytes + i, 1);
		run_ms(&world, 1);
	}
	RUN_UNTIL(&world, world.server.frame_count == 2);
	assert_int_equal(world.server.frame_bytes, 6);
	assert_int_equal(net_totals(world.net)->in_buffered_bytes, 0);
	say(&raw, "\0\0\0\5he", 6);
	RUN_UNTIL(&world, net_totals(world.net)->in_buffered_bytes > 0);
	conn_abort(world.server.conn);
	RUN_UNTIL(&world, net_totals(world.net)->conn_count == 0);
	assert_int_equal(net_totals(world.net)->in_buffered_bytes, 0);
	raw_tls_free(&raw);
	world_fini(&world);
}

static void a_slow_writer_is_cut(void **state)
{
	struct world world;
	struct raw_tls raw;
	world_init(&world);
	world.options.limits.frame_max_ms = 150;
	listen_again(&world);
	raw_tls_open(&raw, &world);
	/* Whole frames now and then are fine, however long that goes on. */
	for (int i = 0; i < 5; i++) {
		say(&raw, "\0\0\0\1x", 5);
		run_ms(&world, 50);
	}
	assert_int_equal(world.server.frame_count, 5);
	assert_int_equal(world.server.close_count, 0);
	/* One that is begun is not kept alive by a byte now and then. */
	say(&raw, "\0\0\0\x7f", 4);
	for (int i = 0; i < 40 && world.server.close_count == 0; i++) {
		(void)SSL_write(raw.ssl, "y", 1);
		run_ms(&world, 10);
	}
	assert_cut(&world, CONN_SLOW_WRITER);
	raw_tls_free(&raw);
	world_fini(&world);
}

static void a_tls_record_that_dribbles_in_is_a_slow_writer_too(void **state)
{
	struct world world;
	struct raw_tls raw;
	world_init(&world);
	world.options.limits.frame_max_ms = 150;
	listen_again(&world);
	raw_tls_open(&raw, &world);
	/* An application data record of 1024 bytes, of which a few come. */
	const char header[] = "\x17\x03\x03\x04\x00";
	assert_int_equal(send(raw.fd, header, 5, MSG_NOSIGNAL), 5);
	for (int i = 0; i < 40 && world.server.close_count == 0; i++) {
		(void)send(raw.fd, "z", 1, MSG_NOSIGNAL);
		run_ms(&world, 10);
	}
	assert_cut(&world, CONN_SLOW_WRITER);
	raw_tls_free(&raw);
	world_fini(&world);
}

static void a_paused_connection_is_no_slow_writer(void **state)
{
	struct world world;
	struct raw_tls raw;
	world_init(&world);
	world.options.limits.frame_max_ms = 100;
	listen_again(&world);
	raw_tls_open(&raw, &world);
	say(&raw, "\0\0\0\5he", 6);
	run_ms(&world, 20);
	conn_pause(world.server.conn);
	run_ms(&world, 300);
	say(&raw, "llo", 3);
	conn_resume(world.server.conn);
	RUN_UNTIL(&world, world.server.frame_count == 1);
	assert_int_equal(world.server.close_count, 0);
	raw_tls_free(&raw);
	world_fini(&world);
}

static void an_end_in_the_middle_of_a_frame_is_told(void **state)
{
	struct world world;
	struct raw_tls raw;
	world_init(&world);
	raw_tls_open(&raw, &world);
	say(&raw, "\0\0\0\5he", 6);
	(void)SSL_shutdown(raw.ssl);
	assert_cut(&world, CONN_PEER_CLOSED);
	assert_string_equal(world.server.text, "in the middle of a frame");
	raw_tls_free(&raw);

	forget_server(&world);
	raw_tls_open(&raw, &world);
	(void)shutdown(raw.fd, SHUT_WR); /* No goodbye: it may have been cut off. */
	assert_cut(&world, CONN_LOST);
	raw_tls_free(&raw);

	forget_server(&world);
	raw_tls_open(&raw, &world);
	/* A record that does not decrypt. */
	assert_int_equal(
		send(raw.fd, "\x17\x03\x03\x00\x20qwertyuiopasdfghjklzxcvbnm123456", 37, 0), 37);
	assert_cut(&world, CONN_PROTOCOL);
	raw_tls_free(&raw);
	world_fini(&world);
}

/* ---- knocking ---- */

static void who_does_not_speak_tls_is_turned_away(void **state)
{
	static const struct {
		const char *words;
		size_t size;
		enum conn_reason reason;
	} rows[] = {
		{ "GET / HTTP/1.1\r\n\r\n", 18, CONN_NOT_TLS },
		{ "\0\0\0\5hello", 9, CONN_NOT_TLS },
		{ "SSH-2.0-x\r\n", 11, CONN_NOT_TLS },
		/* The first byte is right, and no more. */
		{ "\x16GET / HTTP/1.1\r\n\r\n", 19, CONN_NOT_TLS },
		/* A ClientHello of nonsense. */
		{ "\x16\x03\x01\x00\x06\x01\x00\x00\x02\xff\xff", 11, CONN_PROTOCOL },
	};
	struct world world;
	world_init(&world);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		int fd = raw_connect(&world);
		assert_int_equal(send(fd, rows[i].words, rows[i].size, 0), (ssize_t)rows[i].size);
		RUN_UNTIL(&world, world.refused_count == i + 1);
		assert_string_equal(conn_reason_name(world.refused),
		                    conn_reason_name(rows[i].reason));
		(void)close(fd);
	}
	assert_int_equal(listener_stats(world.listener)->refused[CONN_NOT_TLS], 4);
	assert_int_equal(world.server.open_count, 0);
	world_fini(&world);
}

static void nobody_comes_in_without_a_certificate_or_with_an_old_protocol(void **state)
{
	struct world world;
	struct raw_tls raw;
	world_init(&world);
	raw_tls_connect(&raw, &world, NULL);
	raw_tls_handshake(&raw, &world);
	RUN_UNTIL(&world, world.refused == CONN_NO_CERTIFICATE);
	raw_tls_free(&raw);

	raw_tls_connect(&raw, &world, "agent-e2");
	assert_int_equal(SSL_set_max_proto_version(raw.ssl, TLS1_2_VERSION), 1);
	raw_tls_handshake(&raw, &world);
	RUN_UNTIL(&world, world.refused == CONN_PROTOCOL);
	assert_non_null(strstr(world.refused_text, "protocol"));
	raw_tls_free(&raw);
	assert_int_equal(world.server.open_count, 0);
	world_fini(&world);
}

static void who_says_nothing_or_half_a_hello_runs_out_of_time(void **state)
{
	struct world world;
	world_init(&world);
	world.options.handshake_max_ms = 100;
	listen_again(&world);
	int silent = raw_connect(&world);
	int half = raw_connect(&world);
	int gone = raw_connect(&world);
	assert_int_equal(send(half, "\x16\x03\x01\x02\x00\x01", 6, 0), 6);
	(void)close(gone);
	RUN_UNTIL(&world, world.refused_count == 3);
	const struct listener_stats *stats = listener_stats(world.listener);
	assert_int_equal(stats->refused[CONN_HANDSHAKE_TIMEOUT], 2);
	assert_int_equal(stats->refused[CONN_LOST], 1);
	RUN_UNTIL(&world, stats->silent_count + stats->handshake_count == 0);
	char byte;
	assert_true(recv(silent, &byte, 1, 0) <= 0); /* It was closed. */
	(void)close(silent);
	(void)close(half);
	world_fini(&world);
}

static void the_oldest_silent_caller_makes_room_for_the_newest(void **state)
{
	struct world world;
	world_init(&world);
	world.options.pending_max = 3;
	listen_again(&world);
	int fds[5];
	for (int i = 0; i < 5; i++) {
		fds[i] = raw_connect(&world);
		run_ms(&world, 10);
	}
	const struct listener_stats *stats = listener_stats(world.listener);
	assert_int_equal(stats->refused[CONN_OVER_LIMIT], 2);
	assert_int_equal(stats->silent_count, 3);
	connect_both(&world); /* An honest one is quick, so there is room for it. */
	char byte;
	assert_int_equal(recv(fds[0], &byte, 1, MSG_DONTWAIT), 0);
	assert_int_equal(recv(fds[4], &byte, 1, MSG_DONTWAIT), -1);
	for (int i = 0; i < 5; i++)
		(void)close(fds[i]);
	world_fini(&world);
}

static void an_open_connection_too_many_is_turned_away(void **state)
{
	struct world world;
	world_init(&world);
	world.options.conn_max = 1;
	listen_again(&world);
	connect_both(&world);
	struct conn *first = world.client.conn;
	start_client(&world);
	RUN_UNTIL(&world, world.client.close_count == 1);
	assert_int_equal(world.refused, CONN_OVER_LIMIT);
	assert_int_equal(listener_stats(world.listener)->open_count, 1);
	conn_abort(first);
	RUN_UNTIL(&world, listener_stats(world.listener)->open_count == 0);
	connect_both(&world);
	world_fini(&world);
}

/* Both were let in while there was room for one: the slower one learns it at the end of its handshake. */
static void of_two_in_their_handshake_one_too_many_is_turned_away(void **state)
{
	struct world world;
	struct raw_tls raw;
	world_init(&world);
	world.options.conn_max = 1;
	listen_again(&world);
	raw_tls_connect(&raw, &world, "agent-e2");
	RUN_UNTIL(&world, listener_stats(world.listener)->silent_count == 1);
	connect_both(&world);
	raw_tls_handshake(&raw, &world);
	RUN_UNTIL(&world, world.refused_count == 1);
	assert_int_equal(world.refused, CONN_OVER_LIMIT);
	assert_int_equal(world.server.open_count, 1);
	RUN_UNTIL(&world, listener_stats(world.listener)->open_count == 1);
	assert_non_null(world.client.conn);
	raw_tls_free(&raw);
	world_fini(&world);
}

static void handshakes_over_the_rate_wait_and_not_for_ever(void **state)
{
	struct world world;
	struct raw_tls raw[4];
	world_init(&world);
	world.options.handshakes_per_s = 10;
	world.options.handshake_burst = 1;
	world.options.waiting_max = 2;
	world.options.waiting_max_ms = 150;
	listen_again(&world);
	for (int i = 0; i < 4; i++) {
		raw_tls_connect(&raw[i], &world, "agent-e1");
		(void)SSL_connect(raw[i].ssl); /* Its hello is on the way. */
	}
	const struct listener_stats *stats = listener_stats(world.listener);
	run_ms(&world, 30);
	assert_int_equal(stats->waiting_count, 2);           /* One token, two places, */
	assert_int_equal(stats->refused[CONN_OVER_RATE], 1); /* one too many. */
	RUN_UNTIL(&world, stats->waiting_count == 0);
	/* After 100 ms the first had its token; the second's would have come after 200 ms. */
	assert_int_equal(stats->refused[CONN_OVER_RATE], 2);
	for (int i = 0; i < 4; i++)
		raw_tls_free(&raw[i]);
	world_fini(&world);
}

static void raise_descriptor_limit(rlim_t wanted)
{
	struct rlimit limit;
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
	limit.rlim_cur = limit.rlim_max < wanted ? limit.rlim_max : wanted;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
	if (limit.rlim_cur < wanted)
		skip();
}

static size_t memory_kib(void)
{
	FILE *file = fopen("/proc/self/statm", "r");
	unsigned long pages = 0;
	assert_non_null(file);
	assert_int_equal(fscanf(file, "%*u %lu", &pages), 1);
	(void)fclose(file);
	return pages * (size_t)sysconf(_SC_PAGESIZE) / 1024;
}

static void five_thousand_who_say_nothing_cost_little_and_honest_ones_come_in(void **state)
{
	enum { COUNT = 5000 };
	struct world world;
	raise_descriptor_limit(2 * COUNT + 100);
	int *fds = calloc(COUNT, sizeof(int));
	world_init(&world);
	world.options.pending_max = COUNT;
	world.options.backlog = 4096;
	listen_again(&world);
	size_t before_kib = memory_kib();
	const struct listener_stats *stats = listener_stats(world.listener);
	for (int i = 0; i < COUNT; i++) {
		fds[i] = raw_connect(&world);
		if (i % 100 == 99)
			run_ms(&world, 1);
	}
	RUN_UNTIL(&world, stats->accepted == COUNT);
	assert_int_equal(stats->silent_count, COUNT);
	assert_true(memory_kib() - before_kib < 8192); /* Well below 2 KiB each. */
	connect_both(&world);
	world.server.echoes = true;
	assert_true(conn_send(world.client.conn, BYTES_LITERAL("still here?")));
	RUN_UNTIL(&world, world.client.frame_count == 1);
	for (int i = 0; i < COUNT; i++)
		(void)close(fds[i]);
	RUN_UNTIL(&world, stats->silent_count == 0);
	free(fds);
	world_fini(&world);
}

static void out_of_descriptors_callers_are_turned_away_without_a_busy_loop(void **state)
{
	struct world world;
	world_init(&world);
	int callers[8];
	for (int i = 0; i < 8; i++)
		callers[i] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct rlimit saved;
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &saved), 0);
	struct rlimit low = { .rlim_cur = (rlim_t)callers[7] + 1, .rlim_max = saved.rlim_max };
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &low), 0);
	for (int i = 0; i < 8; i++)
		raw_connect_socket(&world, callers[i]);
	const struct listener_stats *stats = listener_stats(world.listener);
	run_ms(&world, 250);
	assert_true(stats->accept_errors >= 2); /* It rests 100 ms each time: */
	assert_true(stats->accept_errors <= 4); /* a busy loop would count thousands. */
	assert_int_equal(stats->refused[CONN_OVER_LIMIT], stats->accept_errors);
	assert_string_equal(world.refused_text, "out of file descriptors");

	assert_int_equal(setrlimit(RLIMIT_NOFILE, &saved), 0);
	RUN_UNTIL(&world, stats->accepted + stats->accept_errors == 8);
	connect_both(&world);
	for (int i = 0; i < 8; i++)
		(void)close(callers[i]);
	world_fini(&world);
}

static void a_connection_that_nobody_wants_is_ended(void **state)
{
	struct world world;
	world_init(&world);
	world.deaf = true;
	start_client(&world);
	RUN_UNTIL(&world, world.client.close_count == 1);
	assert_int_equal(listener_stats(world.listener)->open_count, 0);
	world_fini(&world);
}

static void a_listener_may_go_while_others_knock_and_talk(void **state)
{
	struct world world;
	struct raw_tls raw;
	world_init(&world);
	connect_both(&world);
	int silent = raw_connect(&world);
	raw_tls_connect(&raw, &world, "agent-e2");
	(void)SSL_connect(raw.ssl);
	run_ms(&world, 20); /* One is open, one silent, one in its handshake. */
	assert_int_equal(listener_stats(world.listener)->handshake_count, 1);
	listener_free(world.listener);
	world.listener = NULL;
	world.server.echoes = true;
	assert_true(conn_send(world.client.conn, BYTES_LITERAL("x")));
	RUN_UNTIL(&world, world.client.frame_count == 1);
	RUN_UNTIL(&world, net_totals(world.net)->conn_count == 2);
	(void)close(silent);
	raw_tls_free(&raw);
	world_fini(&world);
}

static void a_listener_says_what_is_wrong_with_its_address(void **state)
{
	struct world world;
	struct listener *second = NULL;
	struct err err;
	world_init(&world);
	struct listener_options options = world.options;
	options.port = listener_port(world.listener);
	assert_false(listener_new(&second, world.net, &options, &world_callbacks, &world, &err));
	assert_int_equal(err.code, ZR_UNAVAILABLE);
	assert_non_null(strstr(err.message, "in use"));
	options.host = "not-an-address";
	assert_false(listener_new(&second, world.net, &options, &world_callbacks, &world, &err));
	assert_int_equal(err.code, ZR_INVALID);
	options.host = "::1";
	options.port = 0;
	assert_true(listener_new(&second, world.net, &options, &world_callbacks, &world, &err));
	listener_free(second);
	/* IPv4 and IPv6 may stand side by side at one port. */
	struct listener *third = NULL;
	options.host = "0.0.0.0";
	assert_true(listener_new(&second, world.net, &options, &world_callbacks, &world, &err));
	options.host = "::";
	options.port = listener_port(second);
	assert_true(listener_new(&third, world.net, &options, &world_callbacks, &world, &err));
	listener_free(second);
	listener_free(third);
	options.port = 0;
	options.pending_max = 0;
	assert_false(listener_new(&second, world.net, &options, &world_callbacks, &world, &err));
	assert_int_equal(err.code, ZR_INVALID);
	world_fini(&world);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_empty_frame_ends_the_connection),
		cmocka_unit_test(a_frame_above_the_limit_ends_the_connection_before_it_is_read),
		cmocka_unit_test(a_frame_torn_into_single_bytes_is_whole_again),
		cmocka_unit_test(a_slow_writer_is_cut),
		cmocka_unit_test(a_tls_record_that_dribbles_in_is_a_slow_writer_too),
		cmocka_unit_test(a_paused_connection_is_no_slow_writer),
		cmocka_unit_test(an_end_in_the_middle_of_a_frame_is_told),
		cmocka_unit_test(who_does_not_speak_tls_is_turned_away),
		cmocka_unit_test(nobody_comes_in_without_a_certificate_or_with_an_old_protocol),
		cmocka_unit_test(who_says_nothing_or_half_a_hello_runs_out_of_time),
		cmocka_unit_test(the_oldest_silent_caller_makes_room_for_the_newest),
		cmocka_unit_test(an_open_connection_too_many_is_turned_away),
		cmocka_unit_test(of_two_in_their_handshake_one_too_many_is_turned_away),
		cmocka_unit_test(handshakes_over_the_rate_wait_and_not_for_ever),
		cmocka_unit_test(five_thousand_who_say_nothing_cost_little_and_honest_ones_come_in),
		cmocka_unit_test(out_of_descriptors_callers_are_turned_away_without_a_busy_loop),
		cmocka_unit_test(a_connection_that_nobody_wants_is_ended),
		cmocka_unit_test(a_listener_may_go_while_others_knock_and_talk),
		cmocka_unit_test(a_listener_says_what_is_wrong_with_its_address),
	};
	return cmocka_run_group_tests(tests, make_pkis, remove_pkis);
}
