/* listener.c -- who knocks, who may wait, who gets in; see listener.h.
 *
 * Callers that are not in a handshake yet are in one of two lists, in the order of their coming:
 * silent ones, of which the first is always the next to run out of time, and waiting ones, which
 * said something and get their tokens in that order. One timer serves both lists and the bucket.
 */
#include "relay/net/listener.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "relay/net/conn_internal.h"

#define ACCEPT_TURN_MAX 64   /* Accepted before other events have their turn. */
#define REST_MS         100  /* Not accepting, after running out of something. */
#define TLS_HANDSHAKE   0x16 /* First byte of a TLS client. */

/* Someone who knocked and is not in a handshake. */
struct caller {
	struct list_node node; /* In silent or in waiting. */
	struct listener *listener;
	int fd; /* Owned. */
	struct event event;
	int64_t deadline_ms;
	int64_t handshake_left_ms; /* What waiting does not use up. */
	char address[PEER_ADDRESS_SIZE];
};

struct listener {
	struct net *net; /* Kept. */
	struct listener_options options;
	const struct listener_callbacks *callbacks; /* Kept. */
	void *arg;                                  /* Kept. */
	int fd;
	int reserve_fd; /* Given up for a moment to turn callers away when there is no other. */
	struct event accept_event;
	struct event timer;
	uint16_t port;
	struct list_node silent;
	struct list_node waiting;
	struct list_node conns; /* In handshake or open; borrowed, each tells us when it ends. */
	double tokens;
	int64_t tokens_ms;     /* When tokens was computed. */
	int64_t rest_until_ms; /* 0: accepting. */
	struct listener_stats stats;
};

struct listener_options listener_options_default(void)
{
	return (struct listener_options){
		.host = "127.0.0.1",
		.backlog = 1024,
		.conn_max = 1000,
		.pending_max = 1000,
		.waiting_max = 500,
		.waiting_max_ms = 10000,
		.handshakes_per_s = 200,
		.handshake_burst = 400,
		.handshake_max_ms = 10000,
		.limits = conn_limits_default(),
	};
}

static int64_t now_ms(const struct listener *listener)
{
	return clock_monotonic_ms(listener->net->clock);
}

static size_t pending_count(const struct listener *listener)
{
	const struct listener_stats *stats = &listener->stats;
	return stats->silent_count + stats->waiting_count + stats->handshake_count;
}

/* ---- turning away ---- */

static void refused(struct listener *listener, const struct net_peer *peer,
                    const struct failure *failure)
{
	listener->stats.refused[failure->reason]++;
	listener->callbacks->on_refused(failure->reason, peer, failure->text, listener->arg);
}

static void refuse_address(struct listener *listener, const char *address, enum conn_reason reason,
                           const char *text)
{
	struct peer_info info;
	struct failure failure;
	peer_info_init(&info, address);
	failure_set(&failure, reason, "%s", text);
	refused(listener, &info.peer, &failure);
}

static void caller_forget(struct caller *caller, size_t *count)
{
	(void)event_del(&caller->event);
	list_remove(&caller->node);
	(*count)--;
}

static void caller_free(struct caller *caller)
{
	if (caller->fd >= 0)
		(void)close(caller->fd);
	free(caller);
}

static void caller_refuse(struct caller *caller, size_t *count, enum conn_reason reason,
                          const char *text)
{
	struct listener *listener = caller->listener;
	caller_forget(caller, count);
	refuse_address(listener, caller->address, reason, text);
	caller_free(caller);
}

/* ---- handshakes ---- */

static void on_conn_open(struct conn *conn, void *arg)
{
	struct listener *listener = arg;
	struct failure failure;
	listener->stats.handshake_count--;
	if (listener->stats.open_count >= listener->options.conn_max) {
		listener->stats.open_count++; /* on_end will take it back. */
		failure_set(&failure, CONN_OVER_LIMIT, "%zu are open", listener->options.conn_max);
		refused(listener, conn_peer(conn), &failure);
		conn_end(conn, &failure, true);
		return;
	}
	/* Its handshake may have begun before certificates and lists were read again. */
	if (!tls_made(listener->options.context, conn->ssl) &&
	    !conn_recheck(conn, listener->options.context)) {
		listener->stats.open_count++;
		refused(listener, conn_peer(conn), &conn->failure);
		return;
	}
	listener->stats.open_count++;
	listener->stats.opened++;
	listener->stats.resumed += conn_peer(conn)->resumed ? 1 : 0;
	listener->callbacks->on_open(conn, listener->arg);
}

static void on_conn_end(struct conn *conn, bool was_open, const struct failure *failure, void *arg)
{
	struct listener *listener = arg;
	if (was_open) {
		listener->stats.open_count--;
		return;
	}
	listener->stats.handshake_count--;
	refused(listener, conn_peer(conn), failure);
}

static const struct conn_owner owner = { on_conn_open, on_conn_end };

/* Takes the caller, whose first bytes are there and who has a token. */
static void begin_handshake(struct caller *take_caller)
{
	struct listener *listener = take_caller->listener;
	struct conn *conn =
		conn_new(listener->net, &listener->options.limits, take_caller->address);
	if (conn == NULL) {
		refuse_address(listener, take_caller->address, CONN_NO_MEMORY, "");
		caller_free(take_caller);
		return;
	}
	int fd = take_caller->fd;
	int64_t deadline_ms = now_ms(listener) + take_caller->handshake_left_ms;
	take_caller->fd = -1;
	caller_free(take_caller);
	listener->stats.handshake_count++;
	conn_set_owner(conn, &owner, listener);
	list_append(&listener->conns, &conn->owner_node);
	conn_handshake(conn, fd, listener->options.context, deadline_ms);
}

static void refill(struct listener *listener)
{
	int64_t at_ms = now_ms(listener);
	double gained = (double)(at_ms - listener->tokens_ms) * listener->options.handshakes_per_s;
	listener->tokens += gained / 1000;
	if (listener->tokens > listener->options.handshake_burst)
		listener->tokens = listener->options.handshake_burst;
	listener->tokens_ms = at_ms;
}

static void admit_waiting(struct listener *listener)
{
	refill(listener);
	while (listener->tokens >= 1 && !list_is_empty(&listener->waiting)) {
		struct caller *caller = LIST_ENTRY(listener->waiting.next, struct caller, node);
		caller_forget(caller, &listener->stats.waiting_count);
		listener->tokens -= 1;
		begin_handshake(caller);
	}
}

/* ---- the timer ---- */

/* The first of a list, if its time is over. */
static struct caller *first_overdue(const struct list_node *head, int64_t at_ms)
{
	if (list_is_empty(head))
		return NULL;
	struct caller *caller = LIST_ENTRY(head->next, struct caller, node);
	return caller->deadline_ms <= at_ms ? caller : NULL;
}

static void expire(struct listener *listener)
{
	int64_t at_ms = now_ms(listener);
	struct caller *caller;
	while ((caller = first_overdue(&listener->silent, at_ms)) != NULL)
		caller_refuse(caller, &listener->stats.silent_count, CONN_HANDSHAKE_TIMEOUT,
		              "it said nothing");
	while ((caller = first_overdue(&listener->waiting, at_ms)) != NULL)
		caller_refuse(caller, &listener->stats.waiting_count, CONN_OVER_RATE,
		              "waited too long for its handshake");
}

static int64_t first_deadline_ms(const struct list_node *head)
{
	if (list_is_empty(head))
		return INT64_MAX;
	return LIST_ENTRY(head->next, const struct caller, node)->deadline_ms;
}

static void set_timer(struct listener *listener)
{
	int64_t due_ms = first_deadline_ms(&listener->silent);
	int64_t waiting_ms = first_deadline_ms(&listener->waiting);
	if (waiting_ms < due_ms)
		due_ms = waiting_ms;
	if (!list_is_empty(&listener->waiting)) {
		double missing = listener->tokens < 1 ? 1 - listener->tokens : 0;
		int64_t token_ms = now_ms(listener) + 1 +
		                   (int64_t)(missing * 1000 / listener->options.handshakes_per_s);
		due_ms = token_ms < due_ms ? token_ms : due_ms;
	}
	if (listener->rest_until_ms != 0 && listener->rest_until_ms < due_ms)
		due_ms = listener->rest_until_ms;
	if (due_ms == INT64_MAX)
		return;
	int64_t wait_ms = due_ms - now_ms(listener);
	wait_ms = wait_ms < 0 ? 0 : wait_ms;
	struct timeval wait = { .tv_sec = (time_t)(wait_ms / 1000),
		                .tv_usec = (suseconds_t)(wait_ms % 1000 * 1000) };
	if (event_add(&listener->timer, &wait) != 0)
		event_active(&listener->timer, EV_TIMEOUT, 0); /* Early rather than never. */
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
	struct listener *listener = arg;
	if (listener->rest_until_ms != 0 && listener->rest_until_ms <= now_ms(listener)) {
		bool accepting = event_add(&listener->accept_event, NULL) == 0;
		listener->rest_until_ms = accepting ? 0 : now_ms(listener) + REST_MS;
	}
	expire(listener);
	admit_waiting(listener);
	set_timer(listener);
}

/* ---- knocking ---- */

/* The caller said something, or went away. */
static void on_caller(evutil_socket_t fd, short what, void *arg)
{
	struct caller *caller = arg;
	struct listener *listener = caller->listener;
	size_t *silent_count = &listener->stats.silent_count;
	uint8_t first = 0;
	ssize_t got = recv(caller->fd, &first, 1, MSG_PEEK | MSG_DONTWAIT);
	if (got < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (got <= 0) {
		caller_refuse(caller, silent_count, CONN_LOST, "it said nothing");
		return;
	}
	if (first != TLS_HANDSHAKE) {
		caller_refuse(caller, silent_count, CONN_NOT_TLS, "");
		return;
	}
	refill(listener);
	if (listener->tokens >= 1 && list_is_empty(&listener->waiting)) {
		listener->tokens -= 1;
		caller->handshake_left_ms = caller->deadline_ms - now_ms(listener);
		caller_forget(caller, silent_count);
		begin_handshake(caller);
		return;
	}
	if (listener->stats.waiting_count >= listener->options.waiting_max) {
		caller_refuse(caller, silent_count, CONN_OVER_RATE, "too many wait already");
		return;
	}
	caller->handshake_left_ms = caller->deadline_ms - now_ms(listener);
	caller_forget(caller, silent_count);
	caller->deadline_ms = now_ms(listener) + listener->options.waiting_max_ms;
	list_append(&listener->waiting, &caller->node);
	listener->stats.waiting_count++;
	set_timer(listener);
}

/* Makes room for one more, at the cost of the one who has been silent for longest. */
static bool make_room(struct listener *listener)
{
	if (pending_count(listener) < listener->options.pending_max)
		return true;
	if (list_is_empty(&listener->silent))
		return false;
	struct caller *oldest = LIST_ENTRY(listener->silent.next, struct caller, node);
	caller_refuse(oldest, &listener->stats.silent_count, CONN_OVER_LIMIT,
	              "it said nothing and others knocked");
	return true;
}

/* Takes fd. */
static void add_caller(struct listener *listener, int take_fd, const char *address)
{
	if (listener->stats.open_count >= listener->options.conn_max || !make_room(listener)) {
		(void)close(take_fd);
		refuse_address(listener, address, CONN_OVER_LIMIT, "");
		return;
	}
	struct caller *caller = calloc(1, sizeof(*caller));
	if (caller == NULL) {
		(void)close(take_fd);
		refuse_address(listener, address, CONN_NO_MEMORY, "");
		return;
	}
	conn_set_socket_options(take_fd, &listener->options.limits);
	caller->listener = listener;
	caller->fd = take_fd;
	caller->deadline_ms = now_ms(listener) + listener->options.handshake_max_ms;
	(void)snprintf(caller->address, sizeof(caller->address), "%s", address);
	list_append(&listener->silent, &caller->node);
	listener->stats.silent_count++;
	(void)event_assign(&caller->event, listener->net->base, take_fd, EV_READ | EV_PERSIST,
	                   on_caller, caller);
	if (event_add(&caller->event, NULL) != 0) {
		caller_refuse(caller, &listener->stats.silent_count, CONN_NO_MEMORY, "event");
		return;
	}
	/* Others' timers are earlier: they came earlier. */
	if (listener->silent.next == &caller->node)
		set_timer(listener);
}

static void rest(struct listener *listener)
{
	(void)event_del(&listener->accept_event);
	listener->rest_until_ms = now_ms(listener) + REST_MS;
	set_timer(listener);
}

/* No descriptor is left. Whoever waits in the backlog would wake us for ever: the reserved
 * descriptor is used to take one of them in and turn him away. */
static void turn_one_away(struct listener *listener)
{
	struct sockaddr_storage address;
	socklen_t size = sizeof(address);
	char text[PEER_ADDRESS_SIZE];
	if (listener->reserve_fd >= 0)
		(void)close(listener->reserve_fd);
	int fd = accept4(listener->fd, (struct sockaddr *)&address, &size,
	                 SOCK_NONBLOCK | SOCK_CLOEXEC);
	if (fd >= 0) {
		conn_address_text((struct sockaddr *)&address, text);
		(void)close(fd);
	}
	listener->reserve_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	if (fd >= 0)
		refuse_address(listener, text, CONN_OVER_LIMIT, "out of file descriptors");
}

/* Returns whether another one may wait. */
static bool accept_one(struct listener *listener)
{
	struct sockaddr_storage address;
	socklen_t size = sizeof(address);
	char text[PEER_ADDRESS_SIZE];
	int fd = accept4(listener->fd, (struct sockaddr *)&address, &size,
	                 SOCK_NONBLOCK | SOCK_CLOEXEC);
	if (fd >= 0) {
		listener->stats.accepted++;
		conn_address_text((struct sockaddr *)&address, text);
		add_caller(listener, fd, text);
		return true;
	}
	switch (errno) {
	case EAGAIN:
		return false;
	case EMFILE:
	case ENFILE:
		listener->stats.accept_errors++;
		turn_one_away(listener);
		rest(listener);
		return false;
	case ENOBUFS:
	case ENOMEM:
		listener->stats.accept_errors++;
		rest(listener);
		return false;
	default:
		return true; /* The caller's own trouble (ECONNABORTED and the like): the next. */
	}
}

static void on_accept(evutil_socket_t fd, short what, void *arg)
{
	struct listener *listener = arg;
	for (int i = 0; i < ACCEPT_TURN_MAX; i++) {
		if (!accept_one(listener))
			break;
	}
}

/* ---- opening and closing ---- */

static bool options_are_usable(const struct listener_options *options)
{
	return options->context != NULL && tls_is_server(options->context) &&
	       options->host != NULL && options->backlog > 0 && options->conn_max > 0 &&
	       options->pending_max > 0 && options->waiting_max_ms > 0 &&
	       options->handshakes_per_s > 0 && options->handshake_burst >= 1 &&
	       options->handshake_max_ms > 0 && conn_limits_are_usable(&options->limits);
}

static bool bind_and_listen(int fd, const struct addrinfo *address, int backlog, struct err *err)
{
	const int on = 1;
	(void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (address->ai_family == AF_INET6) /* So that 0.0.0.0 may stand beside ::. */
		(void)setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof(on));
	if (bind(fd, address->ai_addr, address->ai_addrlen) != 0)
		return err_set(err, ZR_UNAVAILABLE, "bind: %s", strerror(errno));
	if (listen(fd, backlog) != 0)
		return err_set(err, ZR_UNAVAILABLE, "listen: %s", strerror(errno));
	return true;
}

static bool open_socket(struct listener *listener, struct err *err)
{
	char service[8];
	struct addrinfo *address = NULL;
	const struct addrinfo hints = {
		.ai_family = AF_UNSPEC,
		.ai_socktype = SOCK_STREAM,
		.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV,
	};
	(void)snprintf(service, sizeof(service), "%u", listener->options.port);
	if (getaddrinfo(listener->options.host, service, &hints, &address) != 0)
		return err_set(err, ZR_INVALID, "not an IP address");
	listener->fd = socket(address->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	bool ok = listener->fd >= 0 || err_set(err, ZR_UNAVAILABLE, "socket: %s", strerror(errno));
	ok = ok && bind_and_listen(listener->fd, address, listener->options.backlog, err);
	freeaddrinfo(address);
	return ok;
}

static uint16_t bound_port(int fd)
{
	union {
		struct sockaddr any;
		struct sockaddr_in v4;
		struct sockaddr_in6 v6;
	} address;
	socklen_t size = sizeof(address);
	memset(&address, 0, sizeof(address));
	if (getsockname(fd, &address.any, &size) != 0)
		return 0;
	return ntohs(address.any.sa_family == AF_INET6 ? address.v6.sin6_port
	                                               : address.v4.sin_port);
}

bool listener_new(struct listener **out_listener, struct net *net,
                  const struct listener_options *options,
                  const struct listener_callbacks *callbacks, void *arg, struct err *err)
{
	assert(callbacks->on_open != NULL && callbacks->on_refused != NULL);
	if (!options_are_usable(options))
		return err_set(err, ZR_INVALID, "listener: options are not usable");
	struct listener *listener = calloc(1, sizeof(*listener));
	if (listener == NULL)
		return err_set(err, ZR_NO_MEMORY, "listener");
	listener->net = net;
	listener->options = *options;
	listener->callbacks = callbacks;
	listener->arg = arg;
	listener->fd = -1;
	listener->reserve_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	list_init(&listener->silent);
	list_init(&listener->waiting);
	list_init(&listener->conns);
	listener->tokens = options->handshake_burst;
	listener->tokens_ms = now_ms(listener);
	(void)event_assign(&listener->timer, net->base, -1, 0, on_timer, listener);
	if (!open_socket(listener, err)) {
		err_wrap(err, "%s:%u", options->host, options->port);
		listener_free(listener);
		return false;
	}
	listener->options.host = NULL; /* Borrowed until now. */
	listener->port = bound_port(listener->fd);
	(void)event_assign(&listener->accept_event, net->base, listener->fd, EV_READ | EV_PERSIST,
	                   on_accept, listener);
	if (event_add(&listener->accept_event, NULL) != 0) {
		listener_free(listener);
		return err_set(err, ZR_NO_MEMORY, "listener");
	}
	*out_listener = listener;
	return true;
}

static void free_callers(struct list_node *callers, size_t *count)
{
	LIST_FOR_EACH (node, callers) {
		struct caller *caller = LIST_ENTRY(node, struct caller, node);
		caller_forget(caller, count);
		caller_free(caller);
	}
}

void listener_free(struct listener *listener)
{
	if (listener == NULL)
		return;
	if (listener->port != 0)
		(void)event_del(&listener->accept_event);
	(void)event_del(&listener->timer);
	free_callers(&listener->silent, &listener->stats.silent_count);
	free_callers(&listener->waiting, &listener->stats.waiting_count);
	LIST_FOR_EACH (node, &listener->conns) {
		struct conn *conn = LIST_ENTRY(node, struct conn, owner_node);
		list_remove(node);
		conn_set_owner(conn, NULL, NULL);
		if (!conn->was_open)
			conn_abort(conn);
	}
	if (listener->fd >= 0)
		(void)close(listener->fd);
	if (listener->reserve_fd >= 0)
		(void)close(listener->reserve_fd);
	free(listener);
}

uint16_t listener_port(const struct listener *listener)
{
	return listener->port;
}

void listener_set_context(struct listener *listener, struct tls_context *context)
{
	assert(tls_is_server(context));
	listener->options.context = context;
}

void listener_set_limits(struct listener *listener, const struct listener_options *options)
{
	struct listener_options former = listener->options;
	assert(options->conn_max > 0 && options->pending_max > 0);
	assert(options->handshakes_per_s > 0 && options->handshake_burst > 0);
	listener->options = *options;
	listener->options.context = former.context;
	listener->options.host = former.host;
	listener->options.port = former.port;
	listener->options.backlog = former.backlog;
}

const struct listener_stats *listener_stats(const struct listener *listener)
{
	return &listener->stats;
}
