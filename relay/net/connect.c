/* connect.c -- the side that calls: resolve, bind, try each address, then the handshake. */
#include <assert.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "relay/net/conn_internal.h"

#define TEXT_SIZE 96

/* What is only needed until a connection stands. */
struct connector {
	struct addrinfo *addresses; /* Owned. */
	struct addrinfo *current;   /* The one being tried; NULL after the last. */
	char *source;               /* Owned. NULL: the system decides. */
	int64_t deadline_ms;        /* For everything. */
	struct failure last;        /* Why the last address failed. */
};

void connector_free(struct connector *connector)
{
	if (connector == NULL)
		return;
	if (connector->addresses != NULL)
		freeaddrinfo(connector->addresses);
	free(connector->source);
	free(connector);
}

/* An address as it is written, or, where it is a name, by asking for it, which blocks. */
static struct addrinfo *resolve(const char *host, uint16_t port, bool numeric_only,
                                struct failure *out_failure)
{
	char service[8];
	struct addrinfo *found = NULL;
	struct addrinfo hints = {
		.ai_family = AF_UNSPEC,
		.ai_socktype = SOCK_STREAM,
		.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV,
	};
	(void)snprintf(service, sizeof(service), "%u", port);
	int result = getaddrinfo(host, service, &hints, &found);
	if (result != 0 && !numeric_only) {
		hints.ai_flags = AI_NUMERICSERV | AI_ADDRCONFIG;
		result = getaddrinfo(host, service, &hints, &found);
	}
	if (result == 0)
		return found;
	failure_set(out_failure, CONN_CONNECT, "%s: %s", host, gai_strerror(result));
	return NULL;
}

/* Calls from an address of ours, or through an interface. */
static bool bind_source(int fd, const char *source, int family, struct failure *out_failure)
{
	struct failure ignored;
	struct addrinfo *address = resolve(source, 0, true, &ignored);
	bool ok;
	if (address == NULL)
		ok = setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, source,
		                (socklen_t)strlen(source)) == 0;
	else
		ok = address->ai_family == family &&
		     bind(fd, address->ai_addr, address->ai_addrlen) == 0;
	if (!ok)
		failure_set(out_failure, CONN_CONNECT, "from %s: %s", source,
		            address != NULL && address->ai_family != family ? "another family"
		                                                            : strerror(errno));
	if (address != NULL)
		freeaddrinfo(address);
	return ok;
}

/* Begins with the current address. False: it failed at once. */
static bool try_address(struct conn *conn, struct connector *connector)
{
	const struct addrinfo *address = connector->current;
	conn_address_text(address->ai_addr, conn->info.address);
	int fd = socket(address->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0) {
		failure_set(&connector->last, CONN_CONNECT, "socket: %s", strerror(errno));
		return false;
	}
	conn_set_socket_options(fd, &conn->limits);
	if (connector->source != NULL &&
	    !bind_source(fd, connector->source, address->ai_family, &connector->last)) {
		(void)close(fd);
		return false;
	}
	if (connect(fd, address->ai_addr, address->ai_addrlen) != 0 && errno != EINPROGRESS) {
		failure_set(&connector->last, CONN_CONNECT, "%s", strerror(errno));
		(void)close(fd);
		return false;
	}
	conn->fd = fd;
	return true;
}

static size_t count_left(const struct connector *connector)
{
	size_t count = 0;
	for (const struct addrinfo *at = connector->current; at != NULL; at = at->ai_next)
		count++;
	return count;
}

/* Goes on with the current address and those after it, each with its share of the time. */
static void try_addresses(struct conn *conn, struct connector *connector)
{
	for (; connector->current != NULL; connector->current = connector->current->ai_next) {
		if (!try_address(conn, connector))
			continue;
		int64_t now_ms = clock_monotonic_ms(conn->net->clock);
		int64_t left_ms = connector->deadline_ms - now_ms;
		int64_t share_ms = left_ms / (int64_t)count_left(connector);
		conn->state_deadline_ms = now_ms + (share_ms > 0 ? share_ms : 1);
		conn_wait_for(conn, EV_WRITE);
		conn_set_timer(conn);
		return;
	}
	conn_end(conn, &connector->last, false);
}

static void give_up_address(struct conn *conn, struct connector *connector)
{
	conn_wait_for(conn, 0);
	(void)close(conn->fd);
	conn->fd = -1;
	connector->current = connector->current->ai_next;
	try_addresses(conn, connector);
}

void connector_on_event(struct conn *conn)
{
	struct connector *connector = conn->connector;
	struct sockaddr_storage peer;
	socklen_t size = sizeof(peer);
	int error = 0;
	socklen_t error_size = sizeof(error);
	(void)getsockopt(conn->fd, SOL_SOCKET, SO_ERROR, &error, &error_size);
	if (error == 0 && getpeername(conn->fd, (struct sockaddr *)&peer, &size) != 0)
		error = ETIMEDOUT; /* Not connected and no error yet: the time was over. */
	if (error != 0) {
		failure_set(&connector->last, CONN_CONNECT, "%s", strerror(error));
		give_up_address(conn, connector);
		return;
	}
	int fd = conn->fd;
	int64_t deadline_ms = connector->deadline_ms;
	connector_free(connector);
	conn->connector = NULL;
	conn_handshake(conn, fd, conn->context, deadline_ms);
}

bool net_connect(struct conn **out_conn, struct net *net, const struct connect_options *options,
                 const struct conn_callbacks *callbacks, void *arg, struct err *err)
{
	assert(callbacks->on_frame != NULL && callbacks->on_close != NULL);
	if (options->context == NULL || tls_is_server(options->context) || options->host == NULL ||
	    options->peer_name == NULL || options->connect_max_ms <= 0 ||
	    !conn_limits_are_usable(&options->limits))
		return err_set(err, ZR_INVALID, "connect: options are not usable");

	struct conn *conn = conn_new(net, &options->limits, options->host);
	struct connector *connector = calloc(1, sizeof(*connector));
	if (conn == NULL || connector == NULL) {
		free(connector);
		goto fail;
	}
	conn->connector = connector;
	conn->context = tls_context_share(options->context);
	conn->peer_name = strdup(options->peer_name);
	if (options->source != NULL)
		connector->source = strdup(options->source);
	if (conn->peer_name == NULL || (options->source != NULL && connector->source == NULL))
		goto fail;

	conn_set_callbacks(conn, callbacks, arg);
	connector->deadline_ms = clock_monotonic_ms(net->clock) + options->connect_max_ms;
	connector->addresses = resolve(options->host, options->port, false, &connector->last);
	connector->current = connector->addresses;
	try_addresses(conn, connector);
	*out_conn = conn;
	return true;

fail:
	if (conn != NULL)
		conn_free(conn);
	return err_set(err, ZR_NO_MEMORY, "connect");
}
