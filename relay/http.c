/* http.c -- see http.h. Read-only: GET and HEAD, one small table of paths. */
#include "relay/http.h"

#include <event2/buffer.h>
#include <event2/http.h>
#include <event2/listener.h>
#include <stdlib.h>
#include <string.h>

#include "relay/base/log.h"
#include "relay/gateway.h"
#include "relay/metrics.h"
#include "relay/views.h"

#define REQUEST_MAX_BYTES 8192
#define TIMEOUT_S         10

struct http {
	struct gateway *gateway; /* Kept. */
	struct evhttp *server;
};

static void respond(struct evhttp_request *request, int status, const char *type,
                    struct buffer *body)
{
	struct evbuffer *out = evhttp_request_get_output_buffer(request);
	struct evkeyvalq *headers = evhttp_request_get_output_headers(request);
	(void)evhttp_add_header(headers, "Content-Type", type);
	(void)evhttp_add_header(headers, "Cache-Control", "no-store");
	(void)evhttp_add_header(headers, "X-Content-Type-Options", "nosniff");
	bool whole = buffer_ok(body, NULL) && evbuffer_add(out, body->data, body->size) == 0;
	evhttp_send_reply(request, whole ? status : 500, NULL, NULL);
}

/* ---- the paths ---- */

/* Fills body; returns the status. query is what follows "?", or "". */
typedef int page(struct gateway *gateway, const char *query, struct buffer *body);

static int page_metrics(struct gateway *gateway, const char *query, struct buffer *body)
{
	metrics_print(gateway, body);
	return 200;
}

/* The process answers: that is all. */
static int page_healthz(struct gateway *gateway, const char *query, struct buffer *body)
{
	buffer_printf(body, "ok\n");
	return 200;
}

static int page_readyz(struct gateway *gateway, const char *query, struct buffer *body)
{
	const char *why = "";
	bool ready = gateway_is_ready(gateway, &why);
	buffer_printf(body, ready ? "ready\n" : "not ready: %s\n", why);
	return ready ? 200 : 503;
}

static int page_status(struct gateway *gateway, const char *query, struct buffer *body)
{
	return view_status_json(gateway, body) ? 200 : 500;
}

static int page_chains(struct gateway *gateway, const char *query, struct buffer *body)
{
	return view_chains_json(gateway, query, body) ? 200 : 500;
}

static int page_anchors(struct gateway *gateway, const char *query, struct buffer *body)
{
	return view_anchors_json(gateway, query, body) ? 200 : 500;
}

#define TEXT    "text/plain; charset=utf-8"
#define METRICS "text/plain; version=0.0.4; charset=utf-8"
#define JSON    "application/json"

static const struct {
	const char *path;
	const char *type;
	page *page;
} pages[] = {
	{ "/metrics", METRICS, page_metrics },   { "/healthz", TEXT, page_healthz },
	{ "/readyz", TEXT, page_readyz },        { "/api/v1/status", JSON, page_status },
	{ "/api/v1/chains", JSON, page_chains }, { "/api/v1/anchors", JSON, page_anchors },
};

static void on_request(struct evhttp_request *request, void *arg)
{
	struct http *http = arg;
	const struct evhttp_uri *uri = evhttp_request_get_evhttp_uri(request);
	const char *path = evhttp_uri_get_path(uri);
	const char *query = evhttp_uri_get_query(uri);
	struct buffer body = BUFFER_EMPTY;
	for (size_t i = 0; i < sizeof(pages) / sizeof(pages[0]); i++) {
		if (path == NULL || strcmp(path, pages[i].path) != 0)
			continue;
		int status = pages[i].page(http->gateway, query != NULL ? query : "", &body);
		respond(request, status, pages[i].type, &body);
		buffer_fini(&body);
		return;
	}
	buffer_printf(&body, "no such page; there are:\n");
	for (size_t i = 0; i < sizeof(pages) / sizeof(pages[0]); i++)
		buffer_printf(&body, "%s\n", pages[i].path);
	respond(request, 404, TEXT, &body);
	buffer_fini(&body);
}

/* ---- life ---- */

bool http_start(struct http **out_http, struct gateway *gateway, struct err *err)
{
	const struct config_addresses *listen = &gateway->config->gateway.http_listen;
	struct http *http = calloc(1, sizeof(*http));
	if (http == NULL)
		return err_set(err, ZR_NO_MEMORY, "http");
	http->gateway = gateway;
	http->server = evhttp_new(gateway->base);
	if (http->server == NULL) {
		free(http);
		return err_set(err, ZR_NO_MEMORY, "http");
	}
	evhttp_set_allowed_methods(http->server, EVHTTP_REQ_GET | EVHTTP_REQ_HEAD);
	evhttp_set_max_headers_size(http->server, REQUEST_MAX_BYTES);
	evhttp_set_max_body_size(http->server, 0);
	evhttp_set_timeout(http->server, TIMEOUT_S);
	evhttp_set_gencb(http->server, on_request, http);
	for (size_t i = 0; i < listen->count; i++) {
		const struct config_address *address = &listen->items[i];
		struct evhttp_bound_socket *bound =
			evhttp_bind_socket_with_handle(http->server, address->host, address->port);
		/* Enabling again says whether it was enabled. */
		if (bound != NULL &&
		    evconnlistener_enable(evhttp_bound_socket_get_listener(bound)) == 0)
			continue;
		http_stop(http);
		return err_set(err, ZR_UNAVAILABLE, "http.listen: cannot listen on %s",
		               address->text);
	}
	*out_http = http;
	return true;
}

void http_stop(struct http *http)
{
	if (http == NULL)
		return;
	evhttp_free(http->server);
	free(http);
}
