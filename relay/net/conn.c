/* conn.c -- a connection's life, from the handshake to the end; see conn.h and conn_internal.h. */
#include "relay/net/conn.h"

#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <event2/buffer.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "proto/frame.h"
#include "relay/net/conn_internal.h"

#define LINGER_MAX_MS       2000
#define CERTIFICATE_LOOK_MS 3600000 /* How often at least the peer's certificate is looked at. */
#define LINGER_COUNT_MAX    256 /* More than so many at once end without waiting for the peer. */
#define KEEPALIVE_IDLE_S    300 /* Sessions have their own heartbeat; this is for the handshake. */
#define KEEPALIVE_EVERY_S   60
#define KEEPALIVE_COUNT     5

static const struct {
	const char *name;
	const char *meaning;
} reasons[CONN_REASON_COUNT] = {
#define CONN_REASON_ROW(code, name, meaning) [CONN_##code] = { name, meaning },
	CONN_REASON_TABLE(CONN_REASON_ROW)
#undef CONN_REASON_ROW
};

const char *conn_reason_name(enum conn_reason reason)
{
	assert((unsigned)reason < CONN_REASON_COUNT);
	return reasons[reason].name;
}

const char *conn_reason_meaning(enum conn_reason reason)
{
	assert((unsigned)reason < CONN_REASON_COUNT);
	return reasons[reason].meaning;
}

struct conn_limits conn_limits_default(void)
{
	return (struct conn_limits){
		.frame_max_bytes = 1u << 20,
		.out_max_bytes = 4u << 20,
		.frame_max_ms = 120000,
		.out_stall_max_ms = 60000,
		.user_timeout_ms = 60000,
		.turn_max_bytes = 256u << 10,
	};
}

bool conn_limits_are_usable(const struct conn_limits *limits)
{
	return limits->frame_max_bytes > 0 && limits->frame_max_bytes <= FRAME_MAX_BYTES_LIMIT &&
	       limits->out_max_bytes > FRAME_HEADER_SIZE && limits->frame_max_ms > 0 &&
	       limits->out_stall_max_ms > 0 && limits->user_timeout_ms >= 0 &&
	       limits->user_timeout_ms <= INT32_MAX && limits->turn_max_bytes > 0;
}

static int64_t now_ms(const struct conn *conn)
{
	return clock_monotonic_ms(conn->net->clock);
}

/* ---- events ---- */

static void on_io(evutil_socket_t fd, short what, void *arg);
static void on_timer(evutil_socket_t fd, short what, void *arg);

static void stop_waiting(struct conn *conn)
{
	if (conn->io_wanted != 0)
		(void)event_del(&conn->io_event);
	conn->io_wanted = 0;
}

void conn_wait_for(struct conn *conn, short what)
{
	if (what == conn->io_wanted)
		return;
	stop_waiting(conn);
	if (what == 0)
		return;
	conn->io_wanted = what;
	(void)event_assign(&conn->io_event, conn->net->base, conn->fd, (short)(what | EV_PERSIST),
	                   on_io, conn);
	if (event_add(&conn->io_event, NULL) != 0) {
		conn->io_wanted = 0;
		struct failure failure;
		failure_set(&failure, CONN_NO_MEMORY, "event");
		conn_end(conn, &failure, false);
	}
}

/* What io_event should wait for, given everything else. */
static void update_interest(struct conn *conn)
{
	short what = 0;
	if (conn->ended && conn->state != STATE_LINGERING)
		what = 0;
	else if (conn->state == STATE_LINGERING)
		what = EV_READ;
	else if (conn->state == STATE_OPEN || conn->state == STATE_FLUSHING) {
		bool reads = conn->state == STATE_OPEN && !conn->paused;
		bool writes = conn->write_blocked || (reads && conn->read_wants_write);
		what = (short)((reads ? EV_READ : 0) | (writes ? EV_WRITE : 0));
	} else {
		return; /* CONNECTING and HANDSHAKE say themselves what they wait for. */
	}
	conn_wait_for(conn, what);
}

static int64_t earliest(int64_t a_ms, int64_t b_ms)
{
	return a_ms == 0 ? b_ms : b_ms == 0 ? a_ms : a_ms < b_ms ? a_ms : b_ms;
}

void conn_set_timer(struct conn *conn)
{
	int64_t due_ms = earliest(conn->state_deadline_ms,
	                          earliest(conn->frame_deadline_ms, conn->out_deadline_ms));
	/* A deadline mostly moves away again: an early timer is cheaper than setting it each time. */
	if (due_ms == 0 || (conn->timer_ms != 0 && conn->timer_ms <= due_ms))
		return;
	int64_t wait_ms = due_ms - now_ms(conn);
	wait_ms = wait_ms < 0 ? 0 : wait_ms;
	struct timeval wait = { .tv_sec = (time_t)(wait_ms / 1000),
		                .tv_usec = (suseconds_t)(wait_ms % 1000 * 1000) };
	if (event_add(&conn->timer, &wait) == 0)
		conn->timer_ms = due_ms;
	else
		event_active(&conn->timer, EV_TIMEOUT, 0); /* Early rather than never. */
}

void conn_schedule(struct conn *conn)
{
	static const struct timeval at_once = { 0, 0 };
	struct net *net = conn->net;
	if (!list_is_empty(&conn->work_node))
		return;
	/* A timer, not event_active(): the other sockets get their turn before it fires. */
	if (list_is_empty(&net->work) && event_add(net->turn_event, &at_once) != 0)
		event_active(net->turn_event, EV_TIMEOUT, 0);
	list_append(&net->work, &conn->work_node);
}

/* ---- beginning ---- */

struct conn *conn_new(struct net *net, const struct conn_limits *limits, const char *address)
{
	struct conn *conn = calloc(1, sizeof(*conn));
	if (conn == NULL)
		return NULL;
	conn->net = net;
	conn->state = STATE_CONNECTING;
	conn->fd = -1;
	conn->limits = *limits;
	conn->opened_ms = now_ms(conn);
	conn->heard_ms = conn->opened_ms;
	peer_info_init(&conn->info, address);
	list_init(&conn->work_node);
	list_init(&conn->owner_node);
	(void)event_assign(&conn->timer, net->base, -1, 0, on_timer, conn);
	list_append(&net->conns, &conn->node);
	net->totals.conn_count++;
	return conn;
}

void conn_set_owner(struct conn *conn, const struct conn_owner *owner, void *arg)
{
	conn->owner = owner;
	conn->owner_arg = arg;
}

void conn_set_callbacks(struct conn *conn, const struct conn_callbacks *callbacks, void *arg)
{
	conn->callbacks = callbacks;
	conn->arg = arg;
}

void *conn_arg(const struct conn *conn)
{
	return conn->arg;
}

void conn_set_socket_options(int fd, const struct conn_limits *limits)
{
	/* Each only makes things better: a failure is no reason to refuse the peer. */
	const struct {
		int level;
		int name;
		int value;
	} options[] = {
		{ IPPROTO_TCP, TCP_NODELAY, 1 },
		{ SOL_SOCKET, SO_KEEPALIVE, 1 },
		{ IPPROTO_TCP, TCP_KEEPIDLE, KEEPALIVE_IDLE_S },
		{ IPPROTO_TCP, TCP_KEEPINTVL, KEEPALIVE_EVERY_S },
		{ IPPROTO_TCP, TCP_KEEPCNT, KEEPALIVE_COUNT },
		{ IPPROTO_TCP, TCP_USER_TIMEOUT, (int)limits->user_timeout_ms },
	};
	for (size_t i = 0; i < sizeof(options) / sizeof(options[0]); i++)
		(void)setsockopt(fd, options[i].level, options[i].name, &options[i].value,
		                 sizeof(options[i].value));
}

void conn_address_text(const struct sockaddr *address, char text[static PEER_ADDRESS_SIZE])
{
	char host[INET6_ADDRSTRLEN] = "?";
	unsigned port = 0;
	if (address->sa_family == AF_INET6) {
		const struct sockaddr_in6 *v6 = (const void *)address;
		port = ntohs(v6->sin6_port);
		(void)inet_ntop(AF_INET6, &v6->sin6_addr, host, sizeof(host));
		(void)snprintf(text, PEER_ADDRESS_SIZE, "[%s]:%u", host, port);
	} else {
		const struct sockaddr_in *v4 = (const void *)address;
		port = ntohs(v4->sin_port);
		(void)inet_ntop(AF_INET, &v4->sin_addr, host, sizeof(host));
		(void)snprintf(text, PEER_ADDRESS_SIZE, "%s:%u", host, port);
	}
}

/* ---- the handshake ---- */

/* Deadlines are monotonic, and the wall clock may be set: it is looked at again now and then. */
static void watch_certificate(struct conn *conn)
{
	int64_t left_ms = tls_expires_in_ms(conn->ssl, &conn->info);
	if (left_ms < 0) {
		struct failure failure;
		failure_set(&failure, CONN_EXPIRED, "%s", "while it was connected");
		conn_end(conn, &failure, true);
		return;
	}
	int64_t wait_ms = left_ms < CERTIFICATE_LOOK_MS ? left_ms + 1 : CERTIFICATE_LOOK_MS;
	conn->state_deadline_ms = now_ms(conn) + wait_ms;
}

static void opened(struct conn *conn)
{
	struct failure failure;
	if (!tls_identify(conn->ssl, conn->peer_name, &conn->info, &failure)) {
		conn_end(conn, &failure, true);
		return;
	}
	watch_certificate(conn);
	if (conn->ended)
		return;
	conn->state = STATE_OPEN;
	conn->was_open = true;
	conn->opened_ms = now_ms(conn);
	conn->heard_ms = conn->opened_ms;
	if (conn->owner != NULL && conn->owner->on_open != NULL)
		conn->owner->on_open(conn, conn->owner_arg);
	if (!conn->ended && conn->callbacks == NULL)
		conn_abort(conn);
	else if (!conn->ended && conn->callbacks->on_open != NULL && conn->peer_name != NULL)
		conn->callbacks->on_open(conn, conn->arg);
	/* Frames may have come with the last words of the handshake. */
	if (!conn->ended)
		conn_read(conn);
}

static void step_handshake(struct conn *conn)
{
	ERR_clear_error();
	errno = 0;
	int result = SSL_do_handshake(conn->ssl);
	conn_count_wire(conn);
	if (result == 1) {
		opened(conn);
		return;
	}
	int kind = SSL_get_error(conn->ssl, result);
	if (kind == SSL_ERROR_WANT_READ) {
		conn_wait_for(conn, EV_READ);
	} else if (kind == SSL_ERROR_WANT_WRITE) {
		conn_wait_for(conn, EV_WRITE);
	} else {
		struct failure failure;
		tls_explain(conn->ssl, result, &failure);
		if (conn->context != NULL)
			tls_forget_session(conn->context); /* In case it was the ticket. */
		/* OpenSSL has sent its alert; let the peer read it. */
		conn_end(conn, &failure, failure.reason != CONN_LOST);
	}
}

void conn_handshake(struct conn *conn, int take_fd, struct tls_context *context,
                    int64_t deadline_ms)
{
	assert(conn->state == STATE_CONNECTING && !conn->ended);
	conn_wait_for(conn, 0);
	conn->fd = take_fd;
	conn->state = STATE_HANDSHAKE;
	conn->state_deadline_ms = deadline_ms;
	conn->ssl = tls_ssl_new(context, take_fd, &conn->info);
	if (conn->ssl == NULL) {
		struct failure failure;
		failure_set(&failure, CONN_NO_MEMORY, "TLS");
		conn_end(conn, &failure, false);
		return;
	}
	step_handshake(conn);
	update_interest(conn);
	conn_set_timer(conn);
}

/* ---- moving on ---- */

static void finish_flushing(struct conn *conn)
{
	struct failure failure = FAILURE_NONE;
	if (conn->state == STATE_FLUSHING && conn_out_queued(conn) == 0)
		conn_end(conn, &failure, true);
}

/* Reads and drops, so that closing does not reset what the peer has yet to read. */
static bool drain_socket(struct conn *conn)
{
	for (int i = 0; i < 16; i++) {
		ssize_t got = recv(conn->fd, conn->net->scratch, SCRATCH_SIZE, MSG_DONTWAIT);
		if (got < 0 && (errno == EAGAIN || errno == EINTR))
			return true;
		if (got <= 0)
			return false;
	}
	return true;
}

static void on_io(evutil_socket_t fd, short what, void *arg)
{
	struct conn *conn = arg;
	switch (conn->state) {
	case STATE_CONNECTING:
		connector_on_event(conn);
		return;
	case STATE_HANDSHAKE:
		step_handshake(conn);
		break;
	case STATE_OPEN:
		if ((what & EV_READ) != 0 || conn->read_wants_write)
			conn_read(conn);
		if (!conn->ended && (what & EV_WRITE) != 0)
			conn_write(conn);
		break;
	case STATE_FLUSHING:
		conn_write(conn);
		finish_flushing(conn);
		break;
	case STATE_LINGERING:
		if (!drain_socket(conn)) {
			conn->state = STATE_DEAD;
			conn_schedule(conn);
		}
		break;
	case STATE_DEAD:
		break;
	}
	update_interest(conn);
	conn_set_timer(conn);
}

static bool is_due(int64_t deadline_ms, int64_t at_ms)
{
	return deadline_ms != 0 && deadline_ms <= at_ms;
}

static void on_state_deadline(struct conn *conn)
{
	struct failure failure = FAILURE_NONE;
	conn->state_deadline_ms = 0;
	switch (conn->state) {
	case STATE_CONNECTING:
		connector_on_event(conn);
		return;
	case STATE_HANDSHAKE:
		failure_set(&failure, CONN_HANDSHAKE_TIMEOUT, "%s", "");
		conn_end(conn, &failure, false);
		return;
	case STATE_FLUSHING:
		failure_set(&failure, CONN_CLOSED, "with %zu bytes unsent", conn_out_queued(conn));
		conn_end(conn, &failure, false);
		return;
	case STATE_LINGERING:
		conn->state = STATE_DEAD;
		conn_schedule(conn);
		return;
	case STATE_OPEN:
		watch_certificate(conn);
		return;
	case STATE_DEAD:
		return;
	}
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
	struct conn *conn = arg;
	struct failure failure;
	int64_t at_ms = now_ms(conn);
	conn->timer_ms = 0;
	if (is_due(conn->state_deadline_ms, at_ms)) {
		on_state_deadline(conn);
	} else if (conn->state == STATE_OPEN && is_due(conn->frame_deadline_ms, at_ms)) {
		failure_set(&failure, CONN_SLOW_WRITER, "%zu bytes of a frame in %lld ms",
		            conn->in.size, (long long)conn->limits.frame_max_ms);
		conn_end(conn, &failure, false);
	} else if (is_due(conn->out_deadline_ms, at_ms)) {
		failure_set(&failure, CONN_SLOW_READER, "none of %zu bytes taken in %lld ms",
		            conn_out_queued(conn), (long long)conn->limits.out_stall_max_ms);
		conn_end(conn, &failure, false);
	}
	update_interest(conn);
	conn_set_timer(conn);
}

/* ---- what users ask for ---- */

void conn_pause(struct conn *conn)
{
	conn->paused = true;
	conn->frame_deadline_ms = 0;
	if (conn->state == STATE_OPEN)
		update_interest(conn);
}

void conn_resume(struct conn *conn)
{
	if (!conn->paused)
		return;
	conn->paused = false;
	conn->read_again = true;
	if (conn->state == STATE_OPEN && !conn->ended)
		conn_schedule(conn);
}

bool conn_is_paused(const struct conn *conn)
{
	return conn->paused;
}

void conn_close(struct conn *conn, int64_t flush_max_ms)
{
	if (conn->ended || conn->state == STATE_FLUSHING)
		return;
	if (conn->state != STATE_OPEN) {
		conn_abort(conn);
		return;
	}
	conn->state = STATE_FLUSHING;
	conn->frame_deadline_ms = 0;
	conn->state_deadline_ms = now_ms(conn) + (flush_max_ms > 0 ? flush_max_ms : 1);
	conn_set_timer(conn);
	conn_schedule(conn);
}

void conn_abort(struct conn *conn)
{
	struct failure failure = FAILURE_NONE;
	conn_end(conn, &failure, false);
}

bool conn_recheck(struct conn *conn, const struct tls_context *context)
{
	struct failure failure;
	if (conn->ended)
		return false;
	if (!conn->was_open || tls_recheck(context, conn->ssl, &failure))
		return true;
	conn_end(conn, &failure, true);
	return false;
}

const struct net_peer *conn_peer(const struct conn *conn)
{
	return &conn->info.peer;
}

struct conn_counts conn_counts(const struct conn *conn)
{
	return conn->counts;
}

int64_t conn_idle_ms(const struct conn *conn)
{
	return now_ms(conn) - conn->heard_ms;
}

int64_t conn_opened_ms(const struct conn *conn)
{
	return conn->opened_ms;
}

/* ---- ending ---- */

void conn_end(struct conn *conn, const struct failure *failure, bool polite)
{
	if (conn->ended)
		return;
	conn->ended = true;
	conn->polite = polite;
	conn->failure = *failure;
	stop_waiting(conn);
	(void)event_del(&conn->timer);
	conn->timer_ms = 0;
	conn->state_deadline_ms = 0;
	conn->frame_deadline_ms = 0;
	conn->out_deadline_ms = 0;
	conn_schedule(conn);
}

void conn_announce(struct conn *conn)
{
	conn->announced = true;
	if (conn->owner != NULL && conn->owner->on_end != NULL)
		conn->owner->on_end(conn, conn->was_open, &conn->failure, conn->owner_arg);
	list_remove(&conn->owner_node);
	if (conn->callbacks != NULL && conn->callbacks->on_close != NULL)
		conn->callbacks->on_close(conn, conn->failure.reason, conn->failure.text,
		                          conn->arg);
}

/* Says goodbye and waits a moment for the peer to read it. */
static bool begin_lingering(struct conn *conn)
{
	if (!conn->polite || conn->ssl == NULL || conn->net->lingering_count >= LINGER_COUNT_MAX)
		return false;
	ERR_clear_error();
	if (SSL_is_init_finished(conn->ssl) == 1)
		(void)SSL_shutdown(conn->ssl);
	ERR_clear_error();
	conn_count_wire(conn);
	if (shutdown(conn->fd, SHUT_WR) != 0)
		return false;
	conn->net->lingering_count++;
	conn->state = STATE_LINGERING;
	conn->state_deadline_ms = now_ms(conn) + LINGER_MAX_MS;
	update_interest(conn);
	conn_set_timer(conn);
	return true;
}

void conn_free(struct conn *conn)
{
	struct net *net = conn->net;
	stop_waiting(conn);
	(void)event_del(&conn->timer);
	list_remove(&conn->node);
	list_remove(&conn->work_node);
	list_remove(&conn->owner_node);
	net->totals.conn_count--;
	net->totals.out_queued_bytes -= conn_out_queued(conn);
	net->totals.in_buffered_bytes -= conn->in.capacity;
	if (conn->out != NULL)
		evbuffer_free(conn->out);
	buffer_fini(&conn->in);
	/* Or OpenSSL would spoil the session's ticket because nobody said goodbye: links break. */
	if (conn->ssl != NULL)
		SSL_set_shutdown(conn->ssl, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);
	SSL_free(conn->ssl);
	if (conn->fd >= 0)
		(void)close(conn->fd);
	connector_free(conn->connector);
	tls_context_free(conn->context);
	free(conn->peer_name);
	free(conn);
}

/* Announces the end, and frees what does not linger. */
static void finish(struct conn *conn)
{
	bool lingered = conn->state == STATE_LINGERING || conn->state == STATE_DEAD;
	if (!conn->announced)
		conn_announce(conn);
	if (conn->state == STATE_LINGERING)
		return;
	if (conn->state == STATE_DEAD)
		conn->net->lingering_count--;
	if (!lingered && begin_lingering(conn))
		return;
	conn_free(conn);
}

/* ---- its part of a turn ---- */

void conn_work(struct conn *conn)
{
	if (!conn->ended && conn->state == STATE_OPEN && conn->read_again)
		conn_read(conn);
	if (!conn->ended && (conn->state == STATE_OPEN || conn->state == STATE_FLUSHING)) {
		if (!conn->write_blocked)
			conn_write(conn);
		if (!conn->ended)
			finish_flushing(conn);
	}
	if (conn->ended) {
		list_remove(&conn->work_node);
		finish(conn);
		return;
	}
	update_interest(conn);
	conn_set_timer(conn);
}
