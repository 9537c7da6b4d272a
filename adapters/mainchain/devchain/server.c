/* Listening, routing, misbehaving on the way, and making blocks. */
#include "adapters/mainchain/devchain/server.h"

#include <arpa/inet.h>
#include <assert.h>
#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/keyvalq_struct.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "adapters/mainchain/devchain/server_private.h"
#include "relay/base/clock.h"
#include "relay/base/log.h"
#include "relay/net/tls_bufferevent.h"

#define REQUEST_TIMEOUT_S 120
#define HEADERS_SIZE_MAX  (32 << 10)
#define BODY_MARGIN_BYTES \
	(1 << 20) /* Over our own limit, so that we may answer in our own words. */

/* ---- blocks ---- */

static bool refuses(const char *chain, void *arg)
{
	return misbehave_refuses(arg, chain);
}

void server_rules(struct server *server, bool for_block, struct ledger_rules *out_rules)
{
	uint64_t ignored;
	*out_rules = (struct ledger_rules){
		.finality_blocks = server->options.finality_blocks,
		.hold_finality =
			for_block && misbehave_acts(server->misbehave, MISBEHAVE_HOLD_FINALITY,
		                                    MISBEHAVE_NO_CALL, &ignored),
		.refuses = refuses,
		.arg = server->misbehave,
	};
}

static bool reorganise(struct server *server, const struct ledger_rules *rules, int64_t now_ms,
                       struct err *err)
{
	uint64_t blocks, dropped;
	if (!misbehave_acts(server->misbehave, MISBEHAVE_REORGANISE, MISBEHAVE_NO_CALL, &blocks))
		return true;
	if (!ledger_reorganise(server->options.ledger, blocks, rules, now_ms, &dropped, err))
		return false;
	log_info("reorganised", "dropped=%" PRIu64 " height=%" PRIu64, dropped,
	         ledger_height(server->options.ledger));
	return true;
}

void server_stop_if_lost(struct server *server, const struct err *err)
{
	if (server->failed)
		return;
	log_error("ledger-failed", "detail=\"%s\"", err->message);
	if (err_fate(err->code) != ERR_STOP)
		return;
	server->failed = true;
	server->err = *err;
	(void)event_base_loopexit(server->base, NULL);
}

bool server_make_block(struct server *server)
{
	struct exchange *exchanges[LEDGER_BLOCK_MAX];
	struct ledger_submission *submissions[LEDGER_BLOCK_MAX];
	struct ledger_rules rules;
	struct err err = { .code = ZR_OK };
	size_t count = 0;
	int64_t now_ms = clock_wall_ms(clock_system());
	LIST_FOR_EACH (node, &server->pending) {
		if (count == LEDGER_BLOCK_MAX)
			break;
		exchanges[count] = LIST_ENTRY(node, struct exchange, pending);
		submissions[count] = &exchanges[count]->submission;
		count++;
	}
	server_rules(server, true, &rules);
	bool done =
		reorganise(server, &rules, now_ms, &err) &&
		ledger_make_block(server->options.ledger, submissions, count, &rules, now_ms, &err);
	if (!done && count == 0)
		server_stop_if_lost(server, &err);
	for (size_t i = 0; i < count; i++) {
		list_remove(&exchanges[i]->pending);
		server->pending_count--;
		if (done)
			reply_judged(exchanges[i]);
		else
			reply_failure(exchanges[i], &err);
	}
	return done;
}

/* Nothing waits and every anchor is final: a block would say nothing. */
static bool is_idle(const struct server *server)
{
	return server->pending_count == 0 && ledger_is_settled(server->options.ledger);
}

void server_schedule(struct server *server)
{
	uint64_t wait_ms = server->options.block_interval_ms;
	struct timeval wait = { (time_t)(wait_ms / 1000), (suseconds_t)(wait_ms % 1000 * 1000) };
	if (!evtimer_pending(server->block_timer, NULL))
		evtimer_add(server->block_timer, &wait);
}

/* With no interval an empty block, or one that is held, still takes a moment. */
static void schedule_next(struct server *server)
{
	static const struct timeval moment = { 0, 10000 };
	if (server->options.block_interval_ms > 0)
		server_schedule(server);
	else if (!is_idle(server))
		evtimer_add(server->block_timer, &moment);
}

static void on_block_due(evutil_socket_t fd, short what, void *arg)
{
	struct server *server = arg;
	uint64_t ignored;
	bool held = misbehave_acts(server->misbehave, MISBEHAVE_HOLD_BLOCKS, MISBEHAVE_NO_CALL,
	                           &ignored);
	if (!held && !is_idle(server))
		(void)server_make_block(server);
	schedule_next(server);
}

/* ---- requests ---- */

static void on_request(struct evhttp_request *request, void *arg)
{
	struct server *server = arg;
	struct exchange *exchange = NULL;
	if (server->exchange_count < SERVER_EXCHANGES_MAX)
		exchange = exchange_new(server, request);
	if (exchange == NULL)
		evhttp_send_reply(request, 503, NULL, NULL);
	else
		exchange_dispatch(exchange);
}

/* ---- life ---- */

static bool is_loopback(const char *address)
{
	struct in_addr four;
	struct in6_addr six;
	if (inet_pton(AF_INET, address, &four) == 1)
		return ntohl(four.s_addr) >> 24 == 127;
	return inet_pton(AF_INET6, address, &six) == 1 && IN6_IS_ADDR_LOOPBACK(&six);
}

static struct bufferevent *make_tls_bufferevent(struct event_base *base, void *arg)
{
	struct server *server = arg;
	return tls_bufferevent_new(server->options.tls, base);
}

static uint16_t bound_port(struct evhttp_bound_socket *bound)
{
	struct sockaddr_storage address;
	socklen_t size = sizeof(address);
	if (getsockname(evhttp_bound_socket_get_fd(bound), (struct sockaddr *)&address, &size) != 0)
		return 0;
	if (address.ss_family == AF_INET6)
		return ntohs(((struct sockaddr_in6 *)&address)->sin6_port);
	return ntohs(((struct sockaddr_in *)&address)->sin_port);
}

static bool listen_on(struct server *server, struct err *err)
{
	const struct server_options *options = &server->options;
	size_t body_max = options->batch_max_bytes > options->anchor_max_bytes
	                          ? options->batch_max_bytes
	                          : options->anchor_max_bytes;
	server->http = evhttp_new(server->base);
	if (server->http == NULL)
		return err_set(err, ZR_NO_MEMORY, "HTTP server");
	evhttp_set_max_body_size(server->http, (ev_ssize_t)(body_max + BODY_MARGIN_BYTES));
	evhttp_set_max_headers_size(server->http, HEADERS_SIZE_MAX);
	evhttp_set_timeout(server->http, REQUEST_TIMEOUT_S);
	evhttp_set_default_content_type(server->http, NULL);
	evhttp_set_allowed_methods(server->http, EVHTTP_REQ_GET | EVHTTP_REQ_PUT | EVHTTP_REQ_POST |
	                                                 EVHTTP_REQ_HEAD | EVHTTP_REQ_DELETE);
	evhttp_set_gencb(server->http, on_request, server);
	if (options->tls != NULL)
		evhttp_set_bevcb(server->http, make_tls_bufferevent, server);
	struct evhttp_bound_socket *bound =
		evhttp_bind_socket_with_handle(server->http, options->address, options->port);
	if (bound == NULL)
		return err_set(err, ZR_UNAVAILABLE, "listen on %s port %u: %s", options->address,
		               options->port, strerror(errno));
	server->port = bound_port(bound);
	return true;
}

bool server_new(struct server **out_server, const struct server_options *options,
                struct event_base *base, struct err *err)
{
	if (options->tls == NULL && !is_loopback(options->address))
		return err_set(err, ZR_INVALID, "%s: without TLS only on a loopback address",
		               options->address);
	struct server *server = calloc(1, sizeof(*server));
	if (server == NULL)
		return err_set(err, ZR_NO_MEMORY, "server");
	server->options = *options;
	server->base = base;
	list_init(&server->exchanges);
	list_init(&server->pending);
	server->block_timer = evtimer_new(base, on_block_due, server);
	if (server->block_timer == NULL) {
		(void)err_set(err, ZR_NO_MEMORY, "server");
		goto fail;
	}
	if (!listen_on(server, err))
		goto fail;

	server->misbehave = options->take_misbehave;
	server_schedule(server);
	*out_server = server;
	return true;

fail:
	server_free(server);
	return false;
}

void server_free(struct server *server)
{
	if (server == NULL)
		return;
	LIST_FOR_EACH (node, &server->exchanges) {
		exchange_drop(LIST_ENTRY(node, struct exchange, node), false);
	}
	if (server->http != NULL)
		evhttp_free(server->http);
	if (server->block_timer != NULL)
		event_free(server->block_timer);
	misbehave_free(server->misbehave);
	free(server);
}

void server_use_tls(struct server *server, struct tls_context *tls)
{
	assert(server->options.tls != NULL && tls != NULL);
	server->options.tls = tls;
}

uint16_t server_port(const struct server *server)
{
	return server->port;
}

bool server_failed(const struct server *server, struct err *out_err)
{
	if (server->failed)
		*out_err = server->err;
	return server->failed;
}
