/* status_server.c -- the local socket that answers "zonerelay-edge status" (status.h). */
#include <errno.h>
#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/event.h>
#include <event2/listener.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "relay/base/list.h"
#include "relay/base/log.h"
#include "relay/edge/agent.h"
#include "relay/edge/local_socket.h"
#include "relay/edge/status.h"

#define REQUEST_MAX    256
#define CLIENTS_MAX    8
#define CLIENT_SECONDS 5
#define ASK_TIMEOUT_MS 5000
#define ANSWER_MAX     (4u << 20)

struct asker {
	struct list_node node;
	struct status_server *server;
	struct bufferevent *stream;
	bool answered;
};

struct status_server {
	struct agent *agent;
	struct evconnlistener *listener;
	char *path; /* Owned. */
	struct list_node askers;
	size_t count;
};

static void free_asker(struct asker *asker)
{
	asker->server->count--;
	list_remove(&asker->node);
	bufferevent_free(asker->stream);
	free(asker);
}

/* ---- requests ---- */

static void unpin(struct agent *agent, const char *name, struct buffer *out)
{
	for (size_t i = 0; i < agent->chain_count; i++) {
		struct edge_chain *chain = &agent->chains[i];
		struct err err;
		if (strcmp(chain->config->name, name) != 0)
			continue;
		if (!agent_unpin(chain->store, &chain->source->key, &err) ||
		    !edge_chain_refresh(chain, &err)) {
			buffer_printf(out, "error: %s\n", err.message);
			return;
		}
		log_warn("store-unpinned", "chain=%s", name);
		link_stop(agent, ZONERELAY__LINK__GOODBYE_REASON__GOODBYE_REASON_UNSPECIFIED);
		buffer_printf(out, "ok\n");
		return;
	}
	buffer_printf(out, "error: no chain %s\n", name);
}

static void answer(struct agent *agent, const char *request, struct buffer *out)
{
	bool ok = true;
	if (strcmp(request, "status") == 0)
		ok = status_show(agent, false, out);
	else if (strcmp(request, "status json") == 0)
		ok = status_show(agent, true, out);
	else if (strncmp(request, "unpin ", 6) == 0)
		unpin(agent, request + 6, out);
	else
		buffer_printf(out, "error: unknown request\n");
	if (!ok)
		buffer_printf(out, "error: out of memory\n");
}

static void on_readable(struct bufferevent *stream, void *arg)
{
	struct asker *asker = arg;
	struct buffer out = BUFFER_EMPTY;
	size_t size = 0;
	char *request = evbuffer_readln(bufferevent_get_input(stream), &size, EVBUFFER_EOL_LF);
	if (request == NULL) {
		if (evbuffer_get_length(bufferevent_get_input(stream)) > REQUEST_MAX)
			free_asker(asker);
		return;
	}
	answer(asker->server->agent, request, &out);
	free(request);
	asker->answered = true;
	bufferevent_disable(stream, EV_READ);
	if (buffer_ok(&out, NULL))
		(void)bufferevent_write(stream, out.data, out.size);
	buffer_fini(&out);
}

static void on_written(struct bufferevent *stream, void *arg)
{
	struct asker *asker = arg;
	if (asker->answered)
		free_asker(asker);
}

static void on_event(struct bufferevent *stream, short what, void *arg)
{
	free_asker(arg); /* Closed, failed, or too slow. */
}

static void on_accept(struct evconnlistener *listener, evutil_socket_t fd, struct sockaddr *address,
                      int address_size, void *arg)
{
	struct status_server *server = arg;
	struct asker *asker = server->count < CLIENTS_MAX ? calloc(1, sizeof(*asker)) : NULL;
	if (asker != NULL)
		asker->stream =
			bufferevent_socket_new(server->agent->base, fd, BEV_OPT_CLOSE_ON_FREE);
	if (asker == NULL || asker->stream == NULL) {
		free(asker);
		evutil_closesocket(fd);
		return;
	}
	struct timeval most = { .tv_sec = CLIENT_SECONDS };
	asker->server = server;
	server->count++;
	list_append(&server->askers, &asker->node);
	bufferevent_setcb(asker->stream, on_readable, on_written, on_event, asker);
	bufferevent_set_timeouts(asker->stream, &most, &most);
	bufferevent_setwatermark(asker->stream, EV_READ, 0, REQUEST_MAX + 1);
	if (bufferevent_enable(asker->stream, EV_READ | EV_WRITE) != 0)
		free_asker(asker);
}

bool status_server_new(struct status_server **out_server, struct agent *agent, const char *path,
                       struct err *err)
{
	struct status_server *server = calloc(1, sizeof(*server));
	int fd = -1;
	if (server == NULL)
		return err_set(err, ZR_NO_MEMORY, "status socket");
	list_init(&server->askers);
	server->agent = agent;
	if (!local_socket_listen(path, 0660, &fd, err))
		goto fail;
	server->listener =
		evconnlistener_new(agent->base, on_accept, server, LEV_OPT_CLOSE_ON_FREE, 8, fd);
	server->path = strdup(path);
	/* Enabling again says whether it was enabled. */
	if (server->listener == NULL || server->path == NULL ||
	    evconnlistener_enable(server->listener) != 0) {
		if (server->listener == NULL)
			close(fd);
		err_set(err, ZR_NO_MEMORY, "status socket");
		goto fail;
	}
	*out_server = server;
	return true;

fail:
	status_server_free(server);
	return false;
}

void status_server_free(struct status_server *server)
{
	if (server == NULL)
		return;
	while (!list_is_empty(&server->askers))
		free_asker(LIST_ENTRY(server->askers.next, struct asker, node));
	if (server->listener != NULL)
		evconnlistener_free(server->listener);
	if (server->path != NULL)
		(void)unlink(server->path);
	free(server->path);
	free(server);
}

/* ---- the other side ---- */

bool status_ask(const char *path, const char *request, struct buffer *out, struct err *err)
{
	int fd = -1;
	char line[REQUEST_MAX];
	int size = snprintf(line, sizeof(line), "%s\n", request);
	if (size < 0 || (size_t)size >= sizeof(line))
		return err_set(err, ZR_INVALID, "request too long");
	if (!local_socket_call(path, ASK_TIMEOUT_MS, &fd, err))
		return false;
	bool ok = write(fd, line, (size_t)size) == size;
	while (ok && out->size < ANSWER_MAX) {
		uint8_t *place = buffer_reserve(out, 4096);
		ssize_t got = place == NULL ? -1 : read(fd, place, 4096);
		ok = got >= 0;
		if (got <= 0)
			break;
		buffer_grew(out, (size_t)got);
	}
	int failure = errno;
	close(fd);
	return ok || err_set(err, ZR_UNAVAILABLE, "%s: %s", path, strerror(failure));
}
