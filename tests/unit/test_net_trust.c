#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <event2/event.h>

#include "relay/base/crypto.h"
#include "relay/base/file.h"
#include "tests/lib/net_world.h"

#define DAY_MS INT64_C(86400000)

/* ---- whom the server lets in ---- */

static void who_must_not_come_in_is_refused_by_name_and_learns_why(void **state)
{
	static const struct {
		const char *name;
		enum conn_reason reason;
		const char *told; /* To the one refused. */
	} rows[] = {
		{ "stranger/agent-e1", CONN_WRONG_CA, "unknown ca" },
		{ "agent-revoked", CONN_REVOKED, "certificate revoked" },
		{ "agent-early", CONN_NOT_YET_VALID, "bad certificate" },
		{ "agent-server", CONN_BAD_CERTIFICATE, "unsupported certificate" },
		{ "agent-nameless", CONN_NO_IDENTITY, NULL },
		{ "agent-odd", CONN_NO_IDENTITY, NULL },
		{ "agent-two", CONN_NO_IDENTITY, NULL },
		{ "gateway", CONN_NO_IDENTITY, NULL },
	};
	struct world world;
	world_init(&world);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		/* What a client would refuse to start with is no hindrance to an attacker. */
		bool early = strcmp(rows[i].name, "agent-early") == 0;
		use_client_of(&world, rows[i].name, early ? 5 * DAY_MS : 0);
		start_client(&world);
		RUN_UNTIL(&world,
		          world.refused_count == i + 1 && world.client.close_count == i + 1);
		if (world.refused != rows[i].reason)
			fail_msg("%s: %s (%s)", rows[i].name, conn_reason_name(world.refused),
			         world.refused_text);
		assert_true(strlen(world.refused_subject) > 0);
		assert_int_equal(listener_stats(world.listener)->refused[rows[i].reason] > 0, 1);
		if (rows[i].told == NULL) {
			assert_int_equal(world.client.reason, CONN_PEER_CLOSED);
			continue;
		}
		assert_int_equal(world.client.reason, CONN_REFUSED);
		if (strstr(world.client.text, rows[i].told) == NULL)
			fail_msg("%s: \"%s\"", rows[i].name, world.client.text);
	}
	assert_int_equal(world.server.open_count, 0);
	RUN_UNTIL(&world, net_totals(world.net)->conn_count == 0);
	world_fini(&world);
}

static void an_expired_agent_is_refused(void **state)
{
	struct world world;
	world_init(&world);
	use_client_of(&world, "agent-expired", -5 * DAY_MS);
	start_client(&world);
	RUN_UNTIL(&world, world.client.close_count == 1 && world.refused_count == 1);
	assert_int_equal(world.refused, CONN_EXPIRED);
	assert_int_equal(world.client.reason, CONN_REFUSED);
	assert_non_null(strstr(world.client.text, "certificate expired"));
	world_fini(&world);
}

static void without_a_list_of_its_issuer_nobody_is_known_not_to_be_revoked(void **state)
{
	struct world world;
	world_init(&world);
	use_server(&world, &(struct context_spec){
				   .is_server = true, .name = "gateway", .crl = "root-crl.pem" });
	start_client(&world);
	RUN_UNTIL(&world, world.refused_count == 1);
	assert_int_equal(world.refused, CONN_CRL);
	world_fini(&world);
}

/* ---- whom the client wants ---- */

static void a_client_meets_only_the_gateway_it_wants(void **state)
{
	static const struct {
		const char *wanted;
		bool good;
	} rows[] = {
		{ "zonerelay:gateway/north", true },
		{ "localhost", true },
		{ "127.0.0.1", true },
		{ "::1", true },
		{ "zonerelay:gateway/nort", false },
		{ "zonerelay:gateway/north2", false },
		{ "localhost.example", false },
		{ "127.0.0.2", false },
		{ "gateway of north", false }, /* A common name is no name. */
	};
	struct world world;
	world_init(&world);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct connect_options options = connect_options(&world);
		memset(&world.client, 0, sizeof(world.client));
		options.peer_name = rows[i].wanted;
		start_client_with(&world, &options);
		RUN_UNTIL(&world, world.client.open_count + world.client.close_count > 0);
		if ((world.client.open_count == 1) != rows[i].good)
			fail_msg("%s: %s %s", rows[i].wanted, conn_reason_name(world.client.reason),
			         world.client.text);
		if (rows[i].good) {
			assert_string_equal(world.client.peer_id, "north");
			conn_abort(world.client.conn);
			RUN_UNTIL(&world, world.client.close_count == 1);
		} else {
			assert_int_equal(world.client.reason, CONN_WRONG_NAME);
			assert_non_null(strstr(world.client.text, rows[i].wanted));
		}
	}
	world_fini(&world);
}

static void an_agent_is_no_gateway(void **state)
{
	struct world world;
	world_init(&world);
	use_server(&world, &(struct context_spec){ .is_server = true, .name = "agent-e2" });
	start_client(&world);
	RUN_UNTIL(&world, world.client.close_count == 1);
	assert_int_equal(world.client.reason, CONN_BAD_CERTIFICATE); /* For clients only. */
	assert_int_equal(world.refused, CONN_REFUSED);
	world_fini(&world);
}

static void a_gateway_of_another_ca_or_an_expired_one_is_refused_by_the_client(void **state)
{
	struct world world;
	world_init(&world);
	use_client(&world, &(struct context_spec){ .name = "agent-e1", .trusted = &stranger });
	start_client(&world);
	RUN_UNTIL(&world, world.client.close_count == 1 && world.refused_count == 1);
	assert_int_equal(world.client.reason, CONN_WRONG_CA);
	assert_int_equal(world.refused, CONN_REFUSED);
	assert_non_null(strstr(world.refused_text, "unknown ca"));

	use_client(&world, &(struct context_spec){ .name = "agent-e1" });
	use_server_of(&world, "gateway-expired", -DAY_MS / 2);
	start_client(&world);
	RUN_UNTIL(&world, world.client.close_count == 2);
	assert_int_equal(world.client.reason, CONN_EXPIRED);
	world_fini(&world);
}

/* An agent without a battery wakes in 1970; its clock is what the caller says it is. */
static void validity_is_judged_by_the_clock_that_was_given(void **state)
{
	struct world world;
	world_init(&world);
	use_client_of(&world, "agent-e1", 0);
	connect_both(&world);
	conn_abort(world.client.conn);
	world.clock.wall_offset_ms = 0; /* 1970. */
	start_client(&world);
	RUN_UNTIL(&world, world.client.close_count == 2);
	assert_int_equal(world.client.reason, CONN_NOT_YET_VALID);
	world_fini(&world);
}

/* ---- coming to a connection ---- */

static void a_refused_call_is_told_from_the_loop(void **state)
{
	struct world world;
	world_init(&world);
	struct connect_options options = connect_options(&world);
	listener_free(world.listener);
	world.listener = NULL;
	start_client_with(&world, &options);
	assert_int_equal(world.client.close_count, 0);
	RUN_UNTIL(&world, world.client.close_count == 1);
	assert_int_equal(world.client.reason, CONN_CONNECT);
	assert_string_equal(world.client.text, "Connection refused");

	options.host = "no-such-host.invalid";
	start_client_with(&world, &options);
	RUN_UNTIL(&world, world.client.close_count == 2);
	assert_int_equal(world.client.reason, CONN_CONNECT);
	assert_non_null(strstr(world.client.text, "no-such-host.invalid"));
	world_fini(&world);
}

static void a_server_that_never_answers_is_given_up(void **state)
{
	struct world world;
	world_init(&world);
	struct connect_options options = connect_options(&world);
	struct sockaddr_in address = { .sin_family = AF_INET,
		                       .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t size = sizeof(address);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&address, size), 0);
	assert_int_equal(listen(fd, 1), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &size), 0);
	options.port = ntohs(address.sin_port);
	options.connect_max_ms = 100;
	start_client_with(&world, &options);
	RUN_UNTIL(&world, world.client.close_count == 1);
	assert_int_equal(world.client.reason, CONN_HANDSHAKE_TIMEOUT);
	(void)close(fd);
	world_fini(&world);
}

static void a_caller_may_choose_its_own_address(void **state)
{
	struct world world;
	world_init(&world);
	struct connect_options options = connect_options(&world);
	options.source = "127.0.0.9";
	start_client_with(&world, &options);
	RUN_UNTIL(&world, world.server.open_count == 1);
	assert_memory_equal(conn_peer(world.server.conn)->address, "127.0.0.9:", 10);
	conn_abort(world.client.conn);
	RUN_UNTIL(&world, world.client.close_count == 1);

	static const char *const bad[] = { "192.0.2.1", "::1", "no-such-interface0" };
	for (unsigned i = 0; i < 3; i++) {
		options.source = bad[i];
		start_client_with(&world, &options);
		RUN_UNTIL(&world, world.client.close_count == 2 + i);
		assert_int_equal(world.client.reason, CONN_CONNECT);
		assert_non_null(strstr(world.client.text, bad[i]));
	}
	world_fini(&world);
}

static void a_name_with_several_addresses_is_tried_to_the_end(void **state)
{
	struct world world;
	world_init(&world);
	struct connect_options options = connect_options(&world);
	options.host = "localhost"; /* Often ::1 first, where nobody listens. */
	start_client_with(&world, &options);
	RUN_UNTIL(&world, world.client.open_count == 1);
	world_fini(&world);
}

static void a_call_may_be_given_up_before_it_was_answered(void **state)
{
	struct world world;
	world_init(&world);
	start_client(&world);
	conn_abort(world.client.conn);
	RUN_UNTIL(&world, world.client.close_count == 1);
	assert_int_equal(world.client.reason, CONN_CLOSED);
	assert_int_equal(world.client.open_count, 0);
	start_client(&world);
	conn_close(world.client.conn, 1000);
	RUN_UNTIL(&world, world.client.close_count == 2);
	RUN_UNTIL(&world, net_totals(world.net)->conn_count == 0);
	world_fini(&world);
}

static void options_that_cannot_work_are_refused(void **state)
{
	struct world world;
	struct conn *conn = NULL;
	struct err err;
	world_init(&world);
	struct connect_options options = connect_options(&world);
	options.context = world.server_context;
	assert_false(net_connect(&conn, world.net, &options, &end_callbacks, &world.client, &err));
	assert_int_equal(err.code, ZR_INVALID);
	options = connect_options(&world);
	options.limits.frame_max_bytes = UINT32_MAX;
	assert_false(net_connect(&conn, world.net, &options, &end_callbacks, &world.client, &err));
	assert_int_equal(err.code, ZR_INVALID);
	assert_null(conn);
	world_fini(&world);
}

/* ---- sessions ---- */

static void reconnect(struct world *world)
{
	run_ms(world, 20); /* The ticket is on its way. */
	conn_abort(world->client.conn);
	RUN_UNTIL(world, world->client.conn == NULL && world->server.conn == NULL);
	connect_both(world);
}

static void a_second_connection_resumes_the_session(void **state)
{
	struct world world;
	world_init(&world);
	connect_both(&world);
	assert_false(world.client.resumed);
	run_ms(&world, 20);
	uint64_t full = conn_counts(world.client.conn).wire_bytes_in +
	                conn_counts(world.client.conn).wire_bytes_out;
	for (int i = 0; i < 3; i++) { /* Each brings a new ticket. */
		reconnect(&world);
		assert_true(world.client.resumed);
		assert_true(world.server.resumed);
		assert_string_equal(world.server.peer_id, "e1");
		assert_string_equal(conn_peer(world.server.conn)->subject, "O=north, CN=e1");
	}
	run_ms(&world, 20);
	uint64_t resumed = conn_counts(world.client.conn).wire_bytes_in +
	                   conn_counts(world.client.conn).wire_bytes_out;
	assert_true(resumed < full);
	assert_int_equal(listener_stats(world.listener)->resumed, 3);
	world_fini(&world);
}

static void a_new_context_knows_no_old_tickets(void **state)
{
	struct world world;
	world_init(&world);
	connect_both(&world);
	run_ms(&world, 20);
	use_server(&world, &(struct context_spec){ .is_server = true, .name = "gateway" });
	/* The old connection goes on without its context. */
	world.server.echoes = true;
	assert_true(conn_send(world.client.conn, BYTES_LITERAL("x")));
	RUN_UNTIL(&world, world.client.frame_count == 1);
	reconnect(&world);
	assert_false(world.client.resumed);
	reconnect(&world);
	assert_true(world.client.resumed);
	world_fini(&world);
}

static void a_handshake_that_began_before_a_reload_is_judged_by_what_was_read(void **state)
{
	struct world world;
	world_init(&world);
	start_client(&world);
	for (int i = 0; i < 1000 && listener_stats(world.listener)->handshake_count == 0; i++)
		(void)event_base_loop(world.base, EVLOOP_ONCE);
	assert_int_equal(listener_stats(world.listener)->handshake_count, 1);
	use_server(&world, &(struct context_spec){
				   .is_server = true, .name = "gateway", .trusted = &stranger });
	RUN_UNTIL(&world, world.refused_count == 1);
	assert_int_equal(world.refused, CONN_WRONG_CA);
	assert_int_equal(listener_stats(world.listener)->opened, 0);
	RUN_UNTIL(&world, listener_stats(world.listener)->open_count == 0);
	world_fini(&world);
}

static void a_client_that_calls_while_its_context_is_replaced_gets_through(void **state)
{
	struct world world;
	world_init(&world);
	unsigned opened = world.client.open_count;
	start_client(&world);
	use_client(&world, &(struct context_spec){ .name = "agent-e1" }); /* The old one is gone. */
	RUN_UNTIL(&world, world.client.open_count > opened);
	world_fini(&world);
}

static void limits_that_were_read_again_count_for_those_who_come(void **state)
{
	struct world world;
	world_init(&world);
	connect_both(&world);
	world.options.conn_max = 1;
	listener_set_limits(world.listener, &world.options);
	struct conn *first = world.client.conn;
	start_client(&world);
	RUN_UNTIL(&world, world.refused_count == 1);
	assert_int_equal(world.refused, CONN_OVER_LIMIT);
	conn_abort(first);
	world_fini(&world);
}

static void a_revoked_peer_cannot_come_back_with_its_ticket(void **state)
{
	struct world world;
	world_init(&world);
	/* The very context that wrote the ticket, a clock further on: the certificate expired. */
	use_server_of(&world, "gateway", 0);
	connect_both(&world);
	reconnect(&world);
	assert_true(world.server.resumed);
	run_ms(&world, 20);
	conn_abort(world.client.conn);
	RUN_UNTIL(&world, world.client.conn == NULL);
	clock_virtual_advance(&world.clock, 400 * DAY_MS);
	start_client(&world);
	RUN_UNTIL(&world, world.refused_count == 1);
	assert_int_equal(world.refused, CONN_EXPIRED);
	world_fini(&world);
}

static void a_client_offers_no_session_of_a_server_it_would_not_trust_now(void **state)
{
	struct world world;
	world_init(&world);
	use_client_of(&world, "agent-e1", 0);
	connect_both(&world);
	reconnect(&world);
	assert_true(world.client.resumed);
	run_ms(&world, 20);
	conn_abort(world.client.conn);
	RUN_UNTIL(&world, world.client.conn == NULL);
	clock_virtual_advance(&world.clock, 400 * DAY_MS);
	unsigned closed = world.client.close_count;
	start_client(&world);
	RUN_UNTIL(&world, world.client.close_count > closed);
	assert_int_equal(world.client.reason, CONN_EXPIRED);
	world_fini(&world);
}

static int64_t valid_ms(const struct end *end, const struct clock *clock)
{
	return conn_peer(end->conn)->not_after_ms - clock_wall_ms(clock);
}

/* For `end`, in whose context the world's clock is, the other's certificate expires soon. */
static void expire_while_connected(struct world *world, struct end *end)
{
	connect_both(world);
	int64_t left = valid_ms(end, &world->clock.clock);
	conn_abort(world->client.conn);
	RUN_UNTIL(world, world->client.conn == NULL && world->server.conn == NULL);
	clock_virtual_advance(&world->clock, left - 250);
	start_client(world);
	RUN_UNTIL(world, end->conn != NULL && end->open_count == 2);
	run_ms(world, 600);
	assert_non_null(end->conn); /* Its time stands still. */
	clock_virtual_advance(&world->clock, 1000);
	RUN_UNTIL(world, end->conn == NULL);
	assert_int_equal(end->reason, CONN_EXPIRED);
}

static void a_peer_whose_certificate_expires_is_cut_without_a_reload(void **state)
{
	struct world world;
	world_init(&world);
	use_server_of(&world, "gateway", 0);
	expire_while_connected(&world, &world.server);
	world_fini(&world);
	world_init(&world);
	use_client_of(&world, "agent-e1", 0);
	expire_while_connected(&world, &world.client);
	world_fini(&world);
}

static void a_ticket_keeps_the_intermediates_that_the_peer_sent(void **state)
{
	struct world world;
	world_init(&world);
	use_server(&world, &(struct context_spec){
				   .is_server = true, .name = "gateway", .ca = "root.pem" });
	connect_both(&world);
	reconnect(&world);
	assert_true(world.server.resumed);
	reconnect(&world);
	assert_true(world.server.resumed);
	assert_true(conn_recheck(world.server.conn, world.server_context));
	world_fini(&world);
}

static void no_tickets_are_given_where_there_is_to_be_no_resumption(void **state)
{
	struct world world;
	world_init(&world);
	use_client(&world,
	           &(struct context_spec){ .name = "agent-e1", .refuses_resumption = true });
	connect_both(&world);
	reconnect(&world);
	assert_false(world.client.resumed);

	use_client(&world, &(struct context_spec){ .name = "agent-e1" });
	use_server(&world, &(struct context_spec){ .is_server = true,
	                                           .name = "gateway",
	                                           .refuses_resumption = true });
	reconnect(&world);
	reconnect(&world);
	assert_false(world.client.resumed);
	world_fini(&world);
}

/* ---- reload ---- */

static void after_a_reload_a_revoked_peer_is_cut_and_a_good_one_is_not(void **state)
{
	struct world world;
	world_init(&world);
	connect_both(&world);
	struct conn *good = world.server.conn;
	world.client.conn = NULL;
	world.server.conn = NULL;
	use_client(&world, &(struct context_spec){ .name = "agent-soon" });
	connect_both(&world);
	assert_string_equal(world.server.peer_id, "soon");

	const struct context_spec later = { .is_server = true,
		                            .name = "gateway",
		                            .crl = "crl-later.pem" };
	struct tls_context *now = make_context(&later);
	assert_true(conn_recheck(good, now));
	assert_false(conn_recheck(world.server.conn, now));
	RUN_UNTIL(&world, world.server.close_count == 1 && world.client.close_count == 1);
	assert_int_equal(world.server.reason, CONN_REVOKED);
	assert_int_equal(listener_stats(world.listener)->open_count, 1);

	/* And it does not come in again, ticket or not. */
	tls_context_free(now);
	use_server(&world, &later);
	start_client(&world);
	RUN_UNTIL(&world, world.refused_count == 1);
	assert_int_equal(world.refused, CONN_REVOKED);
	world_fini(&world);
}

/* ---- contexts ---- */

static void a_context_that_could_not_work_is_refused_with_the_file_and_the_reason(void **state)
{
	char good_cert[PKI_PATH_SIZE];
	char good_key[PKI_PATH_SIZE];
	char ca[PKI_PATH_SIZE];
	char crl[PKI_PATH_SIZE];
	char path[PKI_PATH_SIZE];
	const char *crls[1] = { pki_path(&pki, "crl.pem", crl) };
	const struct tls_options good = {
		.is_server = true,
		.certificate = pki_path(&pki, "gateway.pem", good_cert),
		.key = pki_path(&pki, "gateway.key", good_key),
		.ca = pki_path(&pki, "ca.pem", ca),
		.crls = crls,
		.crl_count = 1,
		.groups = "P-256:X25519",
		.ciphers = "TLS_AES_128_GCM_SHA256",
		.signature_algorithms = "ECDSA+SHA256:ed25519",
		.clock = clock_system(),
	};
	static const struct {
		const char *field;
		const char *value; /* A file of the PKI where it ends so. */
		enum err_code code;
		const char *message;
	} rows[] = {
		{ "certificate", "missing.pem", ZR_UNAVAILABLE, "missing.pem: open: No such file" },
		{ "certificate", "gateway.key", ZR_INVALID, "no certificate in the file" },
		{ "certificate", "gateway-expired.pem", ZR_UNTRUSTED,
		  "our certificate expired at" },
		{ "certificate", "agent-early.pem", ZR_UNTRUSTED, "is not valid before" },
		{ "key", "missing.key", ZR_UNAVAILABLE, "missing.key: open: No such file" },
		{ "key", "gateway.pem", ZR_INVALID, "not a private key" },
		{ "key", "agent-e1.key", ZR_INVALID, "not that of the certificate" },
		{ "ca", "missing.pem", ZR_UNAVAILABLE, "missing.pem: open: No such file" },
		{ "ca", "gateway.key", ZR_INVALID, "no certificate in the file" },
		{ "ca", "agent-e1.pem", ZR_INVALID, "O=north, CN=e1 is not a CA" },
		{ "crl", "missing.pem", ZR_UNAVAILABLE, "missing.pem: open: No such file" },
		{ "crl", "ca.pem", ZR_INVALID, "not a revocation list" },
		{ "crl", "stale.pem", ZR_UNTRUSTED, "stale.pem: the revocation list expired at" },
		{ "crl", "stranger", ZR_UNTRUSTED, "not signed by its issuer" },
		{ "groups", "P-256:none", ZR_INVALID, "groups \"P-256:none\"" },
		{ "ciphers", "TLS_NONE", ZR_INVALID, "ciphers \"TLS_NONE\"" },
		{ "sigalgs", "rot13", ZR_INVALID, "signature algorithms \"rot13\"" },
	};
	struct tls_context *context = NULL;
	struct err err;
	if (!tls_context_new(&context, &good, &err))
		fail_msg("%s", err.message);
	tls_context_free(context);
	context = NULL;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct tls_options options = good;
		const char *changed[1];
		const char *file = strcmp(rows[i].value, "stranger") == 0
		                           ? pki_path(&stranger, "crl.pem", path)
		                           : pki_path(&pki, rows[i].value, path);
		if (strcmp(rows[i].field, "certificate") == 0) {
			options.certificate = file;
		} else if (strcmp(rows[i].field, "key") == 0) {
			options.key = file;
		} else if (strcmp(rows[i].field, "ca") == 0) {
			options.ca = file;
		} else if (strcmp(rows[i].field, "crl") == 0) {
			changed[0] = file;
			options.crls = changed;
		} else if (strcmp(rows[i].field, "groups") == 0) {
			options.groups = rows[i].value;
		} else if (strcmp(rows[i].field, "ciphers") == 0) {
			options.ciphers = rows[i].value;
		} else {
			options.signature_algorithms = rows[i].value;
		}
		assert_false(tls_context_new(&context, &options, &err));
		if (err.code != rows[i].code || strstr(err.message, rows[i].message) == NULL)
			fail_msg("%s=%s: %s: %s", rows[i].field, rows[i].value, err_name(err.code),
			         err.message);
		assert_null(context);
	}
}

static void a_context_tells_what_the_operator_wants_to_see(void **state)
{
	struct context_spec spec = { .is_server = true, .name = "gateway", .crl = "crl.pem" };
	struct tls_context *context = make_context(&spec);
	const struct tls_facts *facts = tls_context_facts(context);
	int64_t now_ms = clock_wall_ms(clock_system());
	assert_string_equal(facts->subject, "O=north, CN=gateway of north");
	assert_true(strlen(facts->serial) > 0);
	assert_false(hash_is_zero(&facts->fingerprint));
	assert_int_equal(facts->revoked_count, 1);
	assert_true(facts->certificate_not_after_ms > now_ms + 300 * DAY_MS);
	assert_true(facts->certificate_not_after_ms < now_ms + 366 * DAY_MS);
	assert_true(facts->ca_not_after_ms > now_ms + 3000 * DAY_MS);
	assert_true(facts->crl_next_update_ms > now_ms + 29 * DAY_MS);
	assert_true(facts->crl_next_update_ms < now_ms + 31 * DAY_MS);
	tls_context_free(context);
	spec.crl = NULL;
	context = make_context(&spec);
	assert_true(tls_context_facts(context)->crl_next_update_ms == INT64_MAX);
	tls_context_free(context);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(who_must_not_come_in_is_refused_by_name_and_learns_why),
		cmocka_unit_test(an_expired_agent_is_refused),
		cmocka_unit_test(without_a_list_of_its_issuer_nobody_is_known_not_to_be_revoked),
		cmocka_unit_test(a_client_meets_only_the_gateway_it_wants),
		cmocka_unit_test(an_agent_is_no_gateway),
		cmocka_unit_test(
			a_gateway_of_another_ca_or_an_expired_one_is_refused_by_the_client),
		cmocka_unit_test(validity_is_judged_by_the_clock_that_was_given),
		cmocka_unit_test(a_refused_call_is_told_from_the_loop),
		cmocka_unit_test(a_server_that_never_answers_is_given_up),
		cmocka_unit_test(a_caller_may_choose_its_own_address),
		cmocka_unit_test(a_name_with_several_addresses_is_tried_to_the_end),
		cmocka_unit_test(a_call_may_be_given_up_before_it_was_answered),
		cmocka_unit_test(options_that_cannot_work_are_refused),
		cmocka_unit_test(a_second_connection_resumes_the_session),
		cmocka_unit_test(a_new_context_knows_no_old_tickets),
		cmocka_unit_test(a_handshake_that_began_before_a_reload_is_judged_by_what_was_read),
		cmocka_unit_test(a_client_that_calls_while_its_context_is_replaced_gets_through),
		cmocka_unit_test(limits_that_were_read_again_count_for_those_who_come),
		cmocka_unit_test(a_revoked_peer_cannot_come_back_with_its_ticket),
		cmocka_unit_test(a_client_offers_no_session_of_a_server_it_would_not_trust_now),
		cmocka_unit_test(a_peer_whose_certificate_expires_is_cut_without_a_reload),
		cmocka_unit_test(a_ticket_keeps_the_intermediates_that_the_peer_sent),
		cmocka_unit_test(no_tickets_are_given_where_there_is_to_be_no_resumption),
		cmocka_unit_test(after_a_reload_a_revoked_peer_is_cut_and_a_good_one_is_not),
		cmocka_unit_test(
			a_context_that_could_not_work_is_refused_with_the_file_and_the_reason),
		cmocka_unit_test(a_context_tells_what_the_operator_wants_to_see),
	};
	return cmocka_run_group_tests(tests, make_pkis, remove_pkis);
}
