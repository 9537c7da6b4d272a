/* net_world.c -- see net_world.h. */
#include "tests/lib/net_world.h"

#include <arpa/inet.h>
#include <event2/event.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

struct pki pki;
struct pki stranger;

int make_pkis(void **state)
{
	pki_init(&pki,
	         "pki = make_pki(folder, ['e1', 'e2', 'soon'], zone='north', variants=True)\n"
	         "pki.issue('agent-odd', '/CN=odd', 'URI:zonerelay:agent/a b', None)\n"
	         "pki.issue('agent-two', '/CN=two',\n"
	         "          'URI:zonerelay:agent/a, URI:zonerelay:agent/b', None)\n"
	         "root_only = (folder / 'root.pem')\n"
	         "root_only.write_text(pki.root.certificate.read_text())\n"
	         "text = pki.crl.read_text()\n"
	         "pki.issuing.write_crl(now() - datetime.timedelta(days=9),\n"
	         "                      now() - datetime.timedelta(days=1))\n"
	         "(folder / 'stale.pem').write_text(pki.issuing.crl.read_text())\n"
	         "pki.issuing.write_crl()\n"
	         "(folder / 'root-crl.pem').write_text(pki.root.crl.read_text())\n"
	         "pki.issue_gateway('gateway-expired', end=now() - datetime.timedelta(hours=1))\n"
	         "pki.revoke('agent-soon')\n"
	         "(folder / 'crl-later.pem').write_text(pki.crl.read_text())\n"
	         "pki.crl.write_text(text)\n");
	pki_init(&stranger, "make_pki(folder, ['e1'], zone='north')");
	return 0;
}

int remove_pkis(void **state)
{
	pki_fini(&pki);
	pki_fini(&stranger);
	return 0;
}

/* ---- one server, some clients, one loop ---- */

static void end_on_open(struct conn *conn, void *arg)
{
	struct end *end = arg;
	end->open_count++;
	end->resumed = conn_peer(conn)->resumed;
	(void)snprintf(end->peer_id, sizeof(end->peer_id), "%s", conn_peer(conn)->id);
}

static void end_on_frame(struct conn *conn, struct bytes frame, void *arg)
{
	struct end *end = arg;
	assert_true(frame.size > 0);
	end->frame_count++;
	end->frame_bytes += frame.size;
	buffer_clear(&end->last);
	buffer_put(&end->last, frame);
	if (end->echoes)
		(void)conn_send(conn, frame);
	if (end->pauses)
		conn_pause(conn);
	if (end->closes)
		conn_close(conn, end->flush_max_ms);
}

static void end_on_room(struct conn *conn, void *arg)
{
	struct end *end = arg;
	end->room_count++;
}

static void end_on_close(struct conn *conn, enum conn_reason reason, const char *text, void *arg)
{
	struct end *end = arg;
	end->close_count++;
	end->conn = NULL;
	end->reason = reason;
	(void)snprintf(end->text, sizeof(end->text), "%s", text);
}

const struct conn_callbacks end_callbacks = { end_on_open, end_on_frame, end_on_room,
	                                      end_on_close };

static void world_on_open(struct conn *conn, void *arg)
{
	struct world *world = arg;
	if (world->deaf)
		return;
	world->server.conn = conn;
	conn_set_callbacks(conn, &end_callbacks, &world->server);
	end_on_open(conn, &world->server);
}

static void world_on_refused(enum conn_reason reason, const struct net_peer *peer, const char *text,
                             void *arg)
{
	struct world *world = arg;
	world->refused = reason;
	world->refused_count++;
	(void)snprintf(world->refused_text, sizeof(world->refused_text), "%s", text);
	(void)snprintf(world->refused_subject, sizeof(world->refused_subject), "%s", peer->subject);
	assert_memory_equal(peer->address, "127.0.0.1:", 10);
}

const struct listener_callbacks world_callbacks = { world_on_open, world_on_refused };

struct tls_context *make_context(const struct context_spec *spec)
{
	char certificate[PKI_PATH_SIZE];
	char key[PKI_PATH_SIZE];
	char ca[PKI_PATH_SIZE];
	char crl[PKI_PATH_SIZE];
	char file[128];
	bool is_stranger = strncmp(spec->name, "stranger/", 9) == 0;
	const struct pki *own = is_stranger ? &stranger : &pki;
	const struct pki *trusted = spec->trusted != NULL ? spec->trusted : &pki;
	const char *name = spec->name + (is_stranger ? 9 : 0);
	(void)snprintf(file, sizeof(file), "%s.pem", name);
	(void)pki_path(own, file, certificate);
	(void)snprintf(file, sizeof(file), "%s.key", name);
	(void)pki_path(own, file, key);
	const char *const crls[] = { pki_path(trusted, spec->crl != NULL ? spec->crl : "", crl) };
	const struct tls_options options = {
		.is_server = spec->is_server,
		.certificate = certificate,
		.key = key,
		.ca = pki_path(trusted, spec->ca != NULL ? spec->ca : "ca.pem", ca),
		.crls = crls,
		.crl_count = spec->crl != NULL ? 1 : 0,
		.resumption = !spec->refuses_resumption,
		.clock = spec->clock != NULL ? spec->clock : clock_system(),
	};
	struct tls_context *context = NULL;
	struct err err;
	if (!tls_context_new(&context, &options, &err))
		fail_msg("%s", err.message);
	return context;
}

void use_client(struct world *world, const struct context_spec *spec)
{
	tls_context_free(world->client_context);
	world->client_context = make_context(spec);
}

void use_server(struct world *world, const struct context_spec *spec)
{
	tls_context_free(world->server_context);
	world->server_context = make_context(spec);
	world->options.context = world->server_context;
	if (world->listener != NULL)
		listener_set_context(world->listener, world->server_context);
}

static struct context_spec spec_of_another_time(struct world *world, const char *name,
                                                int64_t made_after_ms)
{
	clock_virtual_init(&world->clock, 0, clock_wall_ms(clock_system()) + made_after_ms);
	return (struct context_spec){ .name = name, .clock = &world->clock.clock };
}

void use_client_of(struct world *world, const char *name, int64_t made_after_ms)
{
	struct context_spec spec = spec_of_another_time(world, name, made_after_ms);
	use_client(world, &spec);
	world->clock.wall_offset_ms -= made_after_ms;
}

void use_server_of(struct world *world, const char *name, int64_t made_after_ms)
{
	struct context_spec spec = spec_of_another_time(world, name, made_after_ms);
	spec.is_server = true;
	use_server(world, &spec);
	world->clock.wall_offset_ms -= made_after_ms;
}

void listen_again(struct world *world)
{
	struct err err;
	listener_free(world->listener);
	if (!listener_new(&world->listener, world->net, &world->options, &world_callbacks, world,
	                  &err))
		fail_msg("%s", err.message);
}

void world_init(struct world *world)
{
	struct err err;
	memset(world, 0, sizeof(*world));
	world->refused = CONN_REASON_COUNT;
	world->base = event_base_new();
	assert_true(net_new(&world->net, world->base, clock_system(), &err));
	world->options = listener_options_default();
	use_server(world, &(struct context_spec){
				  .is_server = true, .name = "gateway", .crl = "crl.pem" });
	use_client(world, &(struct context_spec){ .name = "agent-e1", .crl = "crl.pem" });
	listen_again(world);
}

void world_fini(struct world *world)
{
	listener_free(world->listener);
	net_free(world->net);
	tls_context_free(world->server_context);
	tls_context_free(world->client_context);
	event_base_free(world->base);
	buffer_fini(&world->server.last);
	buffer_fini(&world->client.last);
}

static void stop_loop(evutil_socket_t fd, short what, void *arg)
{
	(void)event_base_loopbreak(arg);
}

void run_ms(struct world *world, int ms)
{
	struct timeval wait = { ms / 1000, ms % 1000 * 1000 };
	(void)event_base_once(world->base, -1, EV_TIMEOUT, stop_loop, world->base, &wait);
	(void)event_base_dispatch(world->base);
}

struct connect_options connect_options(const struct world *world)
{
	return (struct connect_options){
		.context = world->client_context,
		.host = "127.0.0.1",
		.port = listener_port(world->listener),
		.peer_name = "zonerelay:gateway/north",
		.connect_max_ms = 5000,
		.limits = conn_limits_default(),
	};
}

void start_client_with(struct world *world, const struct connect_options *options)
{
	struct err err;
	if (!net_connect(&world->client.conn, world->net, options, &end_callbacks, &world->client,
	                 &err))
		fail_msg("%s", err.message);
}

void start_client(struct world *world)
{
	struct connect_options options = connect_options(world);
	start_client_with(world, &options);
}

void connect_both(struct world *world)
{
	unsigned servers = world->server.open_count;
	unsigned clients = world->client.open_count;
	start_client(world);
	RUN_UNTIL(world, world->server.open_count > servers && world->client.open_count > clients);
}

void raw_connect_socket(const struct world *world, int fd)
{
	struct sockaddr_in address = { .sin_family = AF_INET,
		                       .sin_port = htons(listener_port(world->listener)),
		                       .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	assert_true(fd >= 0);
	assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
}

int raw_connect(const struct world *world)
{
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	raw_connect_socket(world, fd);
	return fd;
}
