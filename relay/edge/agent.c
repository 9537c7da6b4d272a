#include "relay/edge/agent.h"

#include <assert.h>
#include <event2/event.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "relay/base/exit.h"
#include "relay/base/fault_point.h"
#include "relay/base/log.h"
#include "relay/base/notify.h"
#include "relay/edge/status.h"

#define STOP_MAX_MS  3000
#define SLEEP_MAX_MS 60000 /* A turn at least so often, whatever is thought to be due. */
#define STATUS_MS    10000 /* Between two lines for the service manager. */

int64_t agent_now_ms(const struct agent *agent)
{
	return clock_monotonic_ms(&agent->clock.clock);
}

void agent_wake(struct agent *agent)
{
	if (agent->turn_event != NULL)
		event_active(agent->turn_event, EV_TIMEOUT, 1);
}

void agent_fail(struct agent *agent, const struct err *failure)
{
	if (agent->failed)
		return;
	agent->failed = true;
	agent->failure = *failure;
	log_error("agent-failed", "code=%s detail=\"%s\"", err_name(failure->code),
	          failure->message);
	agent_wake(agent);
}

/* ---- the turn ---- */

static void tell_upload(struct agent *agent, size_t index, int64_t now_ms)
{
	struct edge_chain *chain = &agent->chains[index];
	const struct source_view *view = &chain->source->view;
	if (strcmp(view->problem, chain->problem_logged) != 0) {
		memcpy(chain->problem_logged, view->problem, sizeof(view->problem));
		if (view->problem[0] != '\0')
			log_warn("source-problem", "chain=%s detail=\"%s\"", chain->config->name,
			         view->problem);
		else
			log_info("source-fine", "chain=%s", chain->config->name);
	}
	if (view->oldest == chain->shown.oldest && view->next == chain->shown.next)
		return;
	chain->shown.oldest = view->oldest;
	chain->shown.next = view->next;
	struct upload_source facts = {
		.own = chain->source->ops->own,
		.oldest = view->oldest,
		.next = view->next,
		.bytes_total = view->bytes_total,
	};
	upload_on_source(agent->upload, index, &facts, now_ms);
}

static int64_t sooner(int64_t a, int64_t b)
{
	return a < b ? a : b;
}

static int64_t turn_sources(struct agent *agent, int64_t now_ms)
{
	int64_t wake_ms = INT64_MAX;
	for (size_t i = 0; i < agent->chain_count && !agent->failed; i++) {
		struct edge_chain *chain = &agent->chains[i];
		struct err err;
		if (chain->source_wake_ms <= now_ms &&
		    !source_turn(chain->source, now_ms, &chain->source_wake_ms, &err)) {
			err_wrap(&err, "chain %s", chain->config->name);
			agent_fail(agent, &err);
			return now_ms;
		}
		tell_upload(agent, i, now_ms);
		wake_ms = sooner(wake_ms, chain->source_wake_ms);
	}
	return wake_ms;
}

static int64_t keep_all(struct agent *agent, int64_t now_ms)
{
	int64_t wake_ms = INT64_MAX;
	for (size_t i = 0; i < agent->chain_count && !agent->failed; i++) {
		struct edge_chain *chain = &agent->chains[i];
		struct err err;
		if (!edge_chain_keep(chain, now_ms, &err))
			agent_fail(agent, &err);
		tell_upload(agent, i, now_ms);
		if (chain->pruning)
			wake_ms = now_ms;
	}
	return wake_ms;
}

static void tell_manager(struct agent *agent, int64_t now_ms)
{
	notify_watchdog();
	if (now_ms < agent->manager_told_ms + STATUS_MS)
		return;
	agent->manager_told_ms = now_ms;
	uint64_t blocks = 0;
	uint64_t anchored = 0;
	for (size_t i = 0; i < agent->chain_count; i++) {
		blocks += agent->chains[i].source->view.next;
		anchored += agent->chains[i].facts.anchored_next;
	}
	notify_status("link %s, %zu chains, %" PRIu64 " blocks, %" PRIu64 " anchored",
	              link_state_name(agent->link.state), agent->chain_count, blocks, anchored);
}

static void agent_turn(struct agent *agent)
{
	int64_t now_ms = agent_now_ms(agent);
	int64_t link_ms = INT64_MAX;
	int64_t wake_ms = now_ms + SLEEP_MAX_MS;
	int64_t watchdog_ms = notify_watchdog_interval_ms();

	wake_ms = sooner(wake_ms, turn_sources(agent, now_ms));
	link_turn(agent, now_ms, &link_ms);
	wake_ms = sooner(wake_ms, link_ms);
	wake_ms = sooner(wake_ms, keep_all(agent, now_ms));
	tell_manager(agent, now_ms);

	bool stopped = agent->stopping_ms != 0 &&
	               (agent->link.state == LINK_DOWN || now_ms >= agent->stopping_ms);
	if (stopped || agent->failed) {
		event_base_loopbreak(agent->base);
		return;
	}
	if (agent->stopping_ms != 0)
		wake_ms = sooner(wake_ms, agent->stopping_ms);
	if (watchdog_ms > 0)
		wake_ms = sooner(wake_ms, now_ms + watchdog_ms);
	int64_t wait_ms = wake_ms > now_ms ? wake_ms - now_ms : 0;
	struct timeval wait = { .tv_sec = (time_t)(wait_ms / 1000),
		                .tv_usec = (suseconds_t)(wait_ms % 1000 * 1000) };
	if (event_add(agent->turn_event, &wait) != 0)
		agent_wake(agent); /* Early rather than never. */
}

static void on_turn(evutil_socket_t fd, short what, void *arg)
{
	agent_turn(arg);
}

/* ---- signals ---- */

static void on_stop(evutil_socket_t number, short what, void *arg)
{
	struct agent *agent = arg;
	if (agent->stopping_ms != 0)
		return;
	log_info("stopping", "signal=%d", (int)number);
	notify_stopping();
	agent->stopping_ms = agent_now_ms(agent) + STOP_MAX_MS;
	link_stop(agent, ZONERELAY__LINK__GOODBYE_REASON__GOODBYE_REASON_SHUTDOWN);
	agent_wake(agent);
}

static void on_show(evutil_socket_t number, short what, void *arg)
{
	struct agent *agent = arg;
	struct buffer text = BUFFER_EMPTY;
	if (status_show(agent, true, &text)) {
		buffer_put_u8(&text, 0);
		if (buffer_ok(&text, NULL))
			log_info("state", "%s", (const char *)text.data);
	}
	buffer_fini(&text);
}

/* Certificates are read again at every reload, whatever else changed. */
static void on_reload(evutil_socket_t number, short what, void *arg)
{
	struct agent *agent = arg;
	notify_reloading();
	agent_reload(agent);
	notify_ready();
	agent_wake(agent);
}

/* ---- life ---- */

static bool open_state(struct agent *agent, struct err *err)
{
	const struct edge_config *edge = &agent->config->edge;
	int64_t stored_ms = 0;
	if (!store_exists(edge->state_dir) &&
	    !agent_store_create(edge->state_dir, edge->state_size_bytes,
	                        clock_wall_ms(clock_system()), err))
		return err_wrap(err, "state %s", edge->state_dir);
	if (!agent_store_open(&agent->state, edge->state_dir, STORE_WRITE, edge->state_size_bytes,
	                      err) ||
	    !agent_gateway_time(agent->state, &stored_ms, err))
		return err_wrap(err, "state %s", edge->state_dir);
	edge_clock_init(&agent->clock, clock_system(), stored_ms);
	return true;
}

static bool open_chains(struct agent *agent, struct err *err)
{
	const struct edge_config *edge = &agent->config->edge;
	agent->chains = calloc(edge->chain_count, sizeof(agent->chains[0]));
	if (agent->chains == NULL)
		return err_set(err, ZR_NO_MEMORY, "%zu chains", edge->chain_count);
	struct upload_options options = {
		.chain_count = edge->chain_count,
		.batch_max_bytes = edge->batch.bytes,
		.batch_max_blocks = (uint32_t)edge->batch.block_count,
		.batch_wait_ms = (uint32_t)edge->batch.wait_ms,
	};
	if (!upload_new(&agent->upload, &options, err))
		return false;
	for (size_t i = 0; i < edge->chain_count; i++) {
		agent->chain_count = i + 1;
		if (!edge_chain_open(&agent->chains[i], agent, &edge->chains[i], err))
			return false;
	}
	return true;
}

static bool open_signals(struct agent *agent, struct err *err)
{
	static const struct {
		int number;
		event_callback_fn callback;
	} rows[] = { { SIGTERM, on_stop },
		     { SIGINT, on_stop },
		     { SIGHUP, on_reload },
		     { SIGUSR1, on_show } };
	static_assert(sizeof(rows) / sizeof(rows[0]) ==
	                      sizeof(((struct agent *)NULL)->signals) / sizeof(struct event *),
	              "one event for each signal");
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		agent->signals[i] =
			evsignal_new(agent->base, rows[i].number, rows[i].callback, agent);
		if (agent->signals[i] == NULL || event_add(agent->signals[i], NULL) != 0)
			return err_set(err, ZR_NO_MEMORY, "signal %d", rows[i].number);
	}
	return true;
}

/* Without it the agent works as well; only nobody can ask it. */
static void open_status(struct agent *agent)
{
	struct err err;
	const char *path = agent->config->edge.status_socket;
	if (!status_server_new(&agent->status, agent, path, &err))
		log_warn("status-unavailable", "detail=\"%s\"", err.message);
}

bool agent_new(struct agent **out_agent, struct config *take_config, const char *config_path,
               struct err *err)
{
	struct agent *agent = calloc(1, sizeof(*agent));
	if (agent == NULL)
		return err_set(err, ZR_NO_MEMORY, "agent");
	agent->config_path = config_path;
	agent->config = take_config;
	agent->live = take_config;
	agent->raw = BUFFER_EMPTY;
	agent->outbox = BUFFER_EMPTY;
	agent->base = event_base_new();
	if (agent->base != NULL)
		agent->turn_event = event_new(agent->base, -1, 0, on_turn, agent);
	if (agent->turn_event == NULL) {
		err_set(err, ZR_NO_MEMORY, "event loop");
		goto fail;
	}
	if (!open_state(agent, err) || !open_chains(agent, err) ||
	    !compressor_new(&agent->compressor, (int)agent->config->edge.batch.compression_level,
	                    err) ||
	    !net_new(&agent->net, agent->base, &agent->clock.clock, err) ||
	    !open_signals(agent, err))
		goto fail;
	edge_dictionaries_load(agent);
	link_init(agent);
	open_status(agent);
	*out_agent = agent;
	return true;

fail:
	agent->config = agent->live = NULL; /* Taken on success only. */
	agent_free(agent);
	return false;
}

void agent_free(struct agent *agent)
{
	if (agent == NULL)
		return;
	status_server_free(agent->status);
	net_free(agent->net);
	tls_context_free(agent->tls);
	receipt_keys_clear(&agent->link.keys);
	for (size_t i = 0; i < agent->chain_count; i++)
		edge_chain_close(&agent->chains[i]);
	free(agent->chains);
	upload_free(agent->upload);
	compressor_free(agent->compressor);
	for (size_t i = 0; i < agent->dictionaries.count; i++)
		dictionary_free(agent->dictionaries.items[i]);
	agent_store_close(agent->state);
	for (size_t i = 0; i < sizeof(agent->signals) / sizeof(agent->signals[0]); i++) {
		if (agent->signals[i] != NULL)
			event_free(agent->signals[i]);
	}
	if (agent->turn_event != NULL)
		event_free(agent->turn_event);
	if (agent->base != NULL)
		event_base_free(agent->base);
	buffer_fini(&agent->raw);
	buffer_fini(&agent->outbox);
	if (agent->live != agent->config)
		config_free(agent->live);
	config_free(agent->config);
	free(agent);
}

int agent_run(struct agent *agent)
{
	log_info("started", "version=%s chains=%zu routes=%zu", ZR_VERSION, agent->chain_count,
	         agent->config->edge.route_count);
	FAULT_POINT(AGENT_STARTED);
	notify_ready();
	agent_wake(agent);
	event_base_dispatch(agent->base);
	if (agent->failed)
		return err_exit_status(agent->failure.code);
	log_info("stopped", "links=%" PRIu64, agent->link.count);
	return EXIT_OK;
}
