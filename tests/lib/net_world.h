/* net_world.h -- a listener and its clients on one loop, for tests of connections. */
#ifndef ZR_TESTS_LIB_NET_WORLD_H
#define ZR_TESTS_LIB_NET_WORLD_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "relay/net/conn.h"
#include "relay/net/listener.h"
#include "relay/net/tls.h"
#include "tests/lib/pki.h"

#define TURN_MS     5
#define WAIT_MAX_MS 10000

/* What one end saw, and how it behaves. */
struct end {
	struct conn *conn; /* NULL when it is gone. */
	unsigned open_count;
	unsigned close_count;
	unsigned room_count;
	enum conn_reason reason;
	char text[256];
	char peer_id[64];
	bool resumed;
	struct buffer last; /* The last frame. */
	size_t frame_count;
	uint64_t frame_bytes;
	bool echoes;
	bool pauses; /* After each frame. */
	bool closes; /* After each frame. */
	int64_t flush_max_ms;
};

struct world {
	struct event_base *base;
	struct net *net;
	struct listener *listener;
	struct tls_context *server_context;
	struct tls_context *client_context;
	struct listener_options options;
	struct end server; /* The last connection that was let in. */
	struct end client;
	enum conn_reason refused; /* CONN_REASON_COUNT: nobody yet. */
	char refused_text[256];
	char refused_subject[128];
	unsigned refused_count;
	struct clock_virtual clock; /* For contexts, where a test sets it. */
	bool deaf;                  /* Gives new connections no callbacks. */
};

/* Group setup and teardown: the PKIs that every test here uses. */
int make_pkis(void **state);
int remove_pkis(void **state);
extern struct pki pki;
extern struct pki stranger;

/* What a context is made of. */
struct context_spec {
	bool is_server;
	const char *name;          /* NAME.pem and NAME.key; the stranger's after "stranger/". */
	const char *ca;            /* A file of trusted's folder; NULL: ca.pem. */
	const char *crl;           /* Likewise; NULL: none. */
	const struct pki *trusted; /* NULL: pki. */
	bool refuses_resumption;
	const struct clock *clock; /* NULL: the system's. */
};
struct tls_context *make_context(const struct context_spec *spec);

/* Server "gateway", client "agent-e1", a listener with default limits. */
void world_init(struct world *world);
void world_fini(struct world *world);
/* A new listener, after a change of world->options. */
void listen_again(struct world *world);

extern const struct conn_callbacks end_callbacks;
extern const struct listener_callbacks world_callbacks;
struct connect_options connect_options(const struct world *world);
void start_client_with(struct world *world, const struct connect_options *options);
void start_client(struct world *world);
/* Starts the client and waits until both ends are open. */
void connect_both(struct world *world);
/* From now on the client, or the server, is this one. */
void use_client(struct world *world, const struct context_spec *spec);
void use_server(struct world *world, const struct context_spec *spec);
/* The same for one whose certificate is not valid now: its context was made when it was. */
void use_client_of(struct world *world, const char *name, int64_t made_after_ms);
void use_server_of(struct world *world, const char *name, int64_t made_after_ms);

void run_ms(struct world *world, int ms);

/* Runs the loop until condition holds; fails the test if it never does. */
#define RUN_UNTIL(world, condition)                                                \
	do {                                                                       \
		int left_ms = WAIT_MAX_MS;                                         \
		for (; !(condition) && left_ms > 0; left_ms -= TURN_MS)            \
			run_ms(world, TURN_MS);                                    \
		if (left_ms <= 0)                                                  \
			fail_msg("line %d: never came: %s", __LINE__, #condition); \
	} while (0)

/* A blocking socket of our own, for what no honest client does. */
int raw_connect(const struct world *world);
/* The same with a socket that is there already. */
void raw_connect_socket(const struct world *world, int fd);

#endif
