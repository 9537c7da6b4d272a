/* The life of one request, and its answer on the way out: whole, late, cut, or not at all. */
#include <assert.h>
#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/keyvalq_struct.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "adapters/mainchain/devchain/server_private.h"

/* ---- exchanges ---- */

static void exchange_free(struct exchange *exchange)
{
	struct server *server = exchange->server;
	if (!list_is_empty(&exchange->pending)) {
		list_remove(&exchange->pending);
		server->pending_count--;
	}
	list_remove(&exchange->node);
	server->exchange_count--;
	event_free(exchange->timer);
	buffer_fini(&exchange->body);
	buffer_fini(&exchange->answer);
	free(exchange);
}

static void on_connection_closed(struct evhttp_connection *connection, void *arg)
{
	exchange_free(arg);
}

static struct evhttp_connection *connection_of(struct exchange *exchange)
{
	return evhttp_request_get_connection(exchange->request);
}

/* From here on the connection does not know the exchange any more. */
static void let_go(struct exchange *exchange)
{
	evhttp_connection_set_closecb(connection_of(exchange), NULL, NULL);
	exchange_free(exchange);
}

void exchange_drop(struct exchange *exchange, bool reset)
{
	struct evhttp_connection *connection = connection_of(exchange);
	evutil_socket_t fd = bufferevent_getfd(evhttp_connection_get_bufferevent(connection));
	struct linger linger = { .l_onoff = 1, .l_linger = 0 };
	if (reset)
		(void)setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
	let_go(exchange);
	evhttp_connection_free(connection);
}

bool exchange_acts(struct exchange *exchange, enum misbehaviour kind, uint64_t *out_parameter)
{
	uint64_t ignored;
	return exchange->route->call != MISBEHAVE_NO_CALL &&
	       misbehave_acts(exchange->server->misbehave, kind, exchange->route->call,
	                      out_parameter == NULL ? &ignored : out_parameter);
}

uint64_t server_as_of(struct exchange *exchange)
{
	uint64_t height = ledger_height(exchange->server->options.ledger);
	uint64_t blocks;
	if (!exchange_acts(exchange, MISBEHAVE_STALE, &blocks))
		return height;
	return blocks < height ? height - blocks : 0;
}

/* ---- the way out ---- */

static void on_cut_event(struct bufferevent *bufferevent, short what, void *arg)
{
	exchange_drop(arg, true);
}

static void on_cut_written(struct bufferevent *bufferevent, void *arg)
{
	exchange_drop(arg, true);
}

/* Writes the first size bytes of the whole answer by hand, then resets. */
static void send_cut(struct exchange *exchange, uint64_t size)
{
	struct bufferevent *bufferevent =
		evhttp_connection_get_bufferevent(connection_of(exchange));
	struct buffer whole = BUFFER_EMPTY;
	buffer_printf(&whole, "HTTP/1.1 %d cut\r\nContent-Type: %s\r\nContent-Length: %zu\r\n\r\n",
	              exchange->status, exchange->content_type, exchange->answer.size);
	buffer_put(&whole, buffer_bytes(&exchange->answer));
	if (size > whole.size)
		size = whole.size;
	if (size == 0) {
		exchange_drop(exchange, true);
	} else {
		bufferevent_setcb(bufferevent, NULL, on_cut_written, on_cut_event, exchange);
		bufferevent_enable(bufferevent, EV_WRITE);
		(void)bufferevent_write(bufferevent, whole.data, size);
	}
	buffer_fini(&whole);
}

static void send_whole(struct exchange *exchange)
{
	struct evhttp_request *request = exchange->request;
	struct evkeyvalq *headers = evhttp_request_get_output_headers(request);
	struct evbuffer *body = evhttp_request_get_output_buffer(request);
	char text[24];
	(void)evhttp_add_header(headers, "Content-Type", exchange->content_type);
	if (exchange->retry_after_s != 0) {
		(void)snprintf(text, sizeof(text), "%" PRIu64, exchange->retry_after_s);
		(void)evhttp_add_header(headers, "Retry-After", text);
	}
	(void)evbuffer_add(body, exchange->answer.data, exchange->answer.size);
	int status = exchange->status;
	let_go(exchange);
	evhttp_send_reply(request, status, NULL, NULL);
}

static void on_answer_due(evutil_socket_t fd, short what, void *arg)
{
	struct exchange *exchange = arg;
	uint64_t bytes;
	if (exchange->is_dropped || exchange_acts(exchange, MISBEHAVE_DROP_AFTER, NULL))
		exchange_drop(exchange, false);
	else if (exchange_acts(exchange, MISBEHAVE_RESET, &bytes))
		send_cut(exchange, bytes);
	else
		send_whole(exchange);
}

/* What the answer turns into before it leaves. */
static void spoil_answer(struct exchange *exchange)
{
	uint64_t status;
	const char *words = NULL;
	if (exchange_acts(exchange, MISBEHAVE_ERROR_AFTER, &status)) {
		exchange->status = (int)status;
		words = "<html>something went wrong</html>";
	} else if (exchange_acts(exchange, MISBEHAVE_GARBLE, NULL)) {
		exchange->status = 200;
		words = "<html>welcome</html>";
	}
	if (words == NULL)
		return;
	exchange->content_type = "text/html";
	buffer_clear(&exchange->answer);
	buffer_put(&exchange->answer, bytes_of_string(words));
}

void reply_nothing(struct exchange *exchange)
{
	exchange->is_dropped = true;
	event_active(exchange->timer, EV_TIMEOUT, 0);
}

static void send_answer(struct exchange *exchange)
{
	uint64_t wait_ms = 0;
	spoil_answer(exchange);
	if (!exchange_acts(exchange, MISBEHAVE_SLOW, &wait_ms))
		wait_ms = 0;
	struct timeval wait = { (time_t)(wait_ms / 1000), (suseconds_t)(wait_ms % 1000 * 1000) };
	evtimer_add(exchange->timer, &wait);
}

void reply_json(struct exchange *exchange, int status, json_t *take_object)
{
	char *text = take_object == NULL ? NULL : json_dumps(take_object, JSON_COMPACT);
	json_decref(take_object);
	exchange->status = text == NULL ? 500 : status;
	exchange->content_type = "application/json";
	buffer_put(&exchange->answer, bytes_of_string(text == NULL ? "" : text));
	free(text);
	send_answer(exchange);
}

void reply_bytes(struct exchange *exchange, struct bytes bytes)
{
	exchange->status = 200;
	exchange->content_type = "application/octet-stream";
	buffer_put(&exchange->answer, bytes);
	send_answer(exchange);
}

void reply_text(struct exchange *exchange, int status, const char *text)
{
	exchange->status = status;
	exchange->content_type = "text/plain";
	buffer_put(&exchange->answer, bytes_of_string(text));
	send_answer(exchange);
}

static json_t *reason_object(struct exchange *exchange, enum api_reason reason, const char *detail)
{
	return json_pack("{s:s, s:I, s:s}", "reason", api_reason_row(reason)->name, "height",
	                 (json_int_t)ledger_height(exchange->server->options.ledger), "detail",
	                 detail);
}

void reply_reason(struct exchange *exchange, enum api_reason reason, int status, const char *detail)
{
	const struct api_reason_row *row = api_reason_row(reason);
	assert(status == row->statuses[0] || status == row->statuses[1]);
	if (reason == API_BUSY && exchange->retry_after_s == 0)
		exchange->retry_after_s = 1;
	reply_json(exchange, status, reason_object(exchange, reason, detail));
}

void reply_verdict(struct exchange *exchange)
{
	const struct ledger_verdict *verdict = &exchange->submission.verdict;
	char hex[HASH_HEX_SIZE];
	json_t *object = reason_object(exchange, verdict->reason, verdict->detail);
	if (verdict->entry_index >= 0)
		json_object_set_new(object, "entry_index", json_integer(verdict->entry_index));
	if (verdict->reason == API_MISSING)
		json_object_set_new(object, "content",
		                    json_string(hash_hex(&verdict->content, hex)));
	if (verdict->reason == API_FENCED)
		json_object_set_new(object, "fence", json_integer((json_int_t)verdict->fence));
	reply_json(exchange, api_reason_row(verdict->reason)->statuses[0], object);
}

void reply_absent(struct exchange *exchange, uint64_t height)
{
	reply_json(exchange, 404,
	           json_pack("{s:s, s:I}", "status", "absent", "height", (json_int_t)height));
}

void reply_failure(struct exchange *exchange, const struct err *err)
{
	server_stop_if_lost(exchange->server, err);
	if (err->code == ZR_FULL)
		reply_reason(exchange, API_BUSY, 503, "the ledger is full");
	else
		reply_text(exchange, 500, "the ledger failed");
}

/* ---- the beginning ---- */

static const struct route no_route = { .call = MISBEHAVE_NO_CALL };

struct exchange *exchange_new(struct server *server, struct evhttp_request *request)
{
	struct exchange *exchange = calloc(1, sizeof(*exchange));
	struct evbuffer *body = evhttp_request_get_input_buffer(request);
	size_t size = evbuffer_get_length(body);
	uint8_t *place = exchange == NULL ? NULL : buffer_reserve(&exchange->body, size + 1);
	if (place != NULL)
		exchange->timer = evtimer_new(server->base, on_answer_due, exchange);
	if (place == NULL || exchange->timer == NULL) {
		if (exchange != NULL)
			buffer_fini(&exchange->body);
		free(exchange);
		return NULL;
	}
	buffer_grew(&exchange->body, (size_t)evbuffer_remove(body, place, size));
	exchange->server = server;
	exchange->request = request;
	exchange->route = &no_route;
	list_init(&exchange->pending);
	list_append(&server->exchanges, &exchange->node);
	server->exchange_count++;
	evhttp_connection_set_closecb(connection_of(exchange), on_connection_closed, exchange);
	return exchange;
}
