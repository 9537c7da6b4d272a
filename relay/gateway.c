/* gateway.c -- starting, turning and stopping; see gateway.h. */
#include "relay/gateway.h"

#include <assert.h>
#include <event2/event.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#include "relay/base/exit.h"
#include "relay/base/fault_point.h"
#include "relay/base/log.h"
#include "relay/base/notify.h"
#include "relay/http.h"
#include "relay/operators.h"
#include "relay/views.h"

#define WRITER_QUEUE_MAX  4096
#define NOTICES_MAX       4096
#define REQUESTS_MAX      64
#define STOP_GRACE_MS     15000
#define STOP_INTAKE_MS    3000 /* Of these, at most, before links are ended. */
#define DELIVERY_GRACE_MS 5000
#define DESCRIPTORS_SPARE 128 /* Spool, logs, sockets of delivery, control and HTTP. */
#define LISTEN_BACKLOG    1024
#define CONN_TURN_BYTES   (256u << 10)
#define TICKET_KEYS_TICKS (24u * 3600u * 1000u / GATEWAY_TICK_MS)

/* ---- the turn ---- */

static void run_commits(struct gateway *gateway)
{
	struct list_node answers;
	list_init(&answers);
	(void)mailbox_take_all(gateway->commits, &answers);
	struct list_node *node;
	while ((node = list_pop(&answers)) != NULL) {
		struct writer_op *op = LIST_ENTRY(node, struct writer_op, node);
		op->on_done(op);
	}
}

static void note_lane(struct gateway *gateway, const struct delivery_lane_status *status)
{
	size_t max = sizeof(gateway->lanes) / sizeof(gateway->lanes[0]);
	size_t at = 0;
	while (at < gateway->lane_count && gateway->lanes[at].lane != status->lane)
		at++;
	if (at == max)
		return;
	if (at < gateway->lane_count && gateway->lanes[at].state != status->state)
		operators_publish(gateway->operators, "lane-state",
		                  json_pack("{s:s, s:i, s:s, s:s}", "sink", status->sink, "lane",
		                            (int)status->lane, "state",
		                            view_lane_state_name(status->state), "reason",
		                            status->reason));
	gateway->lanes[at] = *status;
	if (at == gateway->lane_count)
		gateway->lane_count++;
}

static void publish_anchor(struct gateway *gateway, const char *name,
                           const struct delivery_notice *notice)
{
	operators_publish(gateway->operators, name,
	                  json_pack("{s:s, s:i, s:I, s:s}", "sink", notice->sink, "lane",
	                            (int)notice->lane, "seq", (json_int_t)notice->seq, "detail",
	                            notice->reason));
}

static void run_notice(struct gateway *gateway, const struct delivery_notice *notice)
{
	struct chain *chain;
	switch (notice->kind) {
	case DELIVERY_ANCHOR_FINAL:
		publish_anchor(gateway, "anchor-final", notice);
		links_anchor_final(
			gateway->links,
			&(struct spool_anchor_id){ SPOOL_SINK_MAIN, notice->lane, notice->seq });
		return;
	case DELIVERY_ANCHOR_SENT:
		publish_anchor(gateway, "anchor-sent", notice);
		return;
	case DELIVERY_ANCHOR_REJECTED:
		publish_anchor(gateway, "anchor-rejected", notice);
		return;
	case DELIVERY_ANCHOR_UNKNOWN:
		publish_anchor(gateway, "anchor-unknown", notice);
		return;
	case DELIVERY_STATUS:
		note_lane(gateway, &notice->status);
		return;
	case DELIVERY_CHAIN_FROZEN:
		gateway->counters.chains_frozen++;
		__attribute__((fallthrough));
	case DELIVERY_CHAINS_CHANGED:
		for (chain = chains_next(gateway->chains, NULL); chain != NULL;
		     chain = chains_next(gateway->chains, chain))
			links_chain_changed(gateway->links, chain);
		return;
	case DELIVERY_PAYLOAD_LOST:
		chain = chains_by_key(gateway->chains, &notice->chain);
		if (chain != NULL)
			links_resend(gateway->links, chain, notice->from, notice->to,
			             notice->reason);
		return;
	}
}

static void run_notices(struct gateway *gateway)
{
	struct list_node notices;
	list_init(&notices);
	(void)mailbox_take_all(gateway->notices, &notices);
	struct list_node *node;
	while ((node = list_pop(&notices)) != NULL) {
		struct delivery_notice *notice = LIST_ENTRY(node, struct delivery_notice, node);
		run_notice(gateway, notice);
		free(notice);
	}
	list_init(&notices);
	(void)mailbox_take_all(gateway->requests, &notices);
	while ((node = list_pop(&notices)) != NULL)
		gateway_on_delivery_answer(gateway,
		                           LIST_ENTRY(node, struct delivery_request, node));
}

void gateway_wake(struct gateway *gateway)
{
	event_active(gateway->turn_event, 0, 0);
}

/* What is under way is stored and acked first, for a while; then everybody is sent away. */
static void go_on_stopping(struct gateway *gateway)
{
	bool drained = intake_busy(gateway->intake) == 0 && gateway->ops_under_way == 0;
	int64_t left_ms = gateway->stop_by_ms - clock_monotonic_ms(gateway->clock);
	if (drained || left_ms < STOP_GRACE_MS - STOP_INTAKE_MS)
		links_goodbye_all(gateway->links);
	if (drained && net_totals(gateway->net)->conn_count == 0) {
		(void)event_base_loopbreak(gateway->base);
	} else if (left_ms <= 0) {
		log_warn("stop-cut-short", "batches=%zu", intake_busy(gateway->intake));
		(void)event_base_loopbreak(gateway->base);
	}
}

/* P7: what the disk did not take is not there, and nothing is tried again. */
static void on_store_failed(const struct err *err, void *arg)
{
	log_error("store-failed", "detail=\"%s\" action=\"exit %d\"", err->message, EXIT_STORE_IO);
	_exit(EXIT_STORE_IO);
}

/* The writer says at once that the store failed; a reader leaves it poisoned. */
static void end_if_disk_failed(struct gateway *gateway)
{
	struct err err;
	if (!spool_is_poisoned(gateway->spool))
		return;
	err_set(&err, ZR_IO, "the store could not be read");
	on_store_failed(&err, NULL);
}

void gateway_turn(struct gateway *gateway)
{
	uint64_t stored = gateway->counters.batches_stored;
	end_if_disk_failed(gateway);
	run_commits(gateway);
	(void)intake_turn(gateway->intake);
	run_notices(gateway);
	bool more = links_turn(gateway->links);
	if (gateway->operators != NULL)
		operators_turn(gateway->operators);
	if (gateway->counters.batches_stored != stored)
		delivery_nudge(gateway->delivery);
	if (more)
		gateway_wake(gateway);
	if (gateway->stopping)
		go_on_stopping(gateway);
}

static void on_wake(evutil_socket_t fd, short what, void *arg)
{
	gateway_turn(arg);
}

static void on_tick(evutil_socket_t fd, short what, void *arg)
{
	struct gateway *gateway = arg;
	gateway->ticks++;
	links_tick(gateway->links);
	gateway_enrol_some(gateway);
	gateway_upkeep(gateway);
	if (gateway->ticks % TICKET_KEYS_TICKS == 0)
		gateway_renew_tls(gateway);
	gateway_wake(gateway);
}

/* ---- signals ---- */

static void begin_stop(struct gateway *gateway)
{
	gateway->stopping = true;
	gateway->stop_by_ms = clock_monotonic_ms(gateway->clock) + STOP_GRACE_MS;
	notify_stopping();
	log_info("stopping", "links=%zu batches=%zu", links_open_count(gateway->links),
	         intake_busy(gateway->intake));
	for (size_t i = 0; i < gateway->listener_count; i++)
		listener_free(gateway->listeners[i]);
	gateway->listener_count = 0;
	gateway_wake(gateway);
}

static void on_signal(evutil_socket_t number, short what, void *arg)
{
	struct gateway *gateway = arg;
	struct err err;
	switch (number) {
	case SIGTERM:
	case SIGINT:
		if (!gateway->stopping) {
			begin_stop(gateway);
		} else {
			log_info("stopping-now", "why=\"asked twice\"");
			(void)event_base_loopbreak(gateway->base);
		}
		return;
	case SIGHUP:
		if (gateway_reload(gateway, &err))
			return;
		log_error("reload-failed", "detail=\"%s\"", err.message);
		return;
	case SIGUSR1:
		gateway_dump_state(gateway);
		return;
	default:
		return;
	}
}

/* ---- starting ---- */

/* One descriptor per link, and some more. Too low a hard limit is said, not hidden. */
static void raise_descriptor_limit(const struct config *config)
{
	struct rlimit limit;
	rlim_t wanted = config->gateway.limits.link_count * 2 + DESCRIPTORS_SPARE;
	if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
		return;
	rlim_t have = limit.rlim_cur;
	if (have < wanted) {
		limit.rlim_cur = limit.rlim_max < wanted ? limit.rlim_max : wanted;
		if (setrlimit(RLIMIT_NOFILE, &limit) == 0)
			have = limit.rlim_cur;
	}
	if (have < config->gateway.limits.link_count + DESCRIPTORS_SPARE)
		log_warn("descriptors-few",
		         "have=%llu links=%" PRIu64
		         " why=\"raise LimitNOFILE or lower limits.links\"",
		         (unsigned long long)have, config->gateway.limits.link_count);
}

static bool start_spool(struct gateway *gateway, struct err *err)
{
	const struct config_spool *config = &gateway->config->gateway.spool;
	const struct spool_options options = {
		.dir = config->dir,
		.mode = STORE_WRITE,
		.size_bytes = config->size_bytes,
		.reserve_bytes = config->reserve_bytes,
		.quarantine_bytes_max = config->quarantine_size_bytes,
	};
	if (!spool_exists(config->dir)) {
		gateway->exit_status = EXIT_STORE_MISSING;
		return err_set(err, ZR_STATE,
		               "no spool in %s: make one with \"zonerelay spool init\", or mount "
		               "the disk that holds it",
		               config->dir);
	}
	return spool_open(&gateway->spool, &options, err);
}

static bool start_threads(struct gateway *gateway, struct err *err)
{
	struct key *key = NULL;
	const struct gateway_config *config = &gateway->config->gateway;
	if (!mailbox_new(&gateway->commits, SIZE_MAX, err) ||
	    !mailbox_new(&gateway->notices, NOTICES_MAX, err) ||
	    !mailbox_new(&gateway->requests, REQUESTS_MAX, err) ||
	    !receipts_read(&gateway->receipts, &key, &config->receipts, err))
		return false;
	const struct writer_options writer = { .spool = gateway->spool,
		                               .clock = gateway->clock,
		                               .queue_max = WRITER_QUEUE_MAX,
		                               .on_store_failed = on_store_failed };
	if (!writer_start(&gateway->writer, &writer, err)) {
		key_free(key);
		return false;
	}
	writer_set_signer(gateway->writer, key);
	long cores = sysconf(_SC_NPROCESSORS_ONLN);
	size_t threads = config->verify_thread_count > 0 ? config->verify_thread_count
	                                                 : (size_t)(cores > 0 ? cores : 1);
	return verify_pool_start(&gateway->verify, threads, config->limits.verify_queue_count, err);
}

static bool start_tables(struct gateway *gateway, struct err *err)
{
	partials_init(&gateway->partials, gateway->config->gateway.limits.partial_budget_bytes);
	dictionaries_init(&gateway->dictionaries, gateway->spool);
	if (!chains_new(&gateway->chains, gateway->spool, gateway->config, err))
		return false;
	const struct links_options links = { .config = gateway->config,
		                             .clock = gateway->clock,
		                             .spool = gateway->spool,
		                             .writer = gateway->writer,
		                             .commits = gateway->commits,
		                             .chains = gateway->chains,
		                             .dictionaries = &gateway->dictionaries,
		                             .partials = &gateway->partials,
		                             .receipts = &gateway->receipts,
		                             .counters = &gateway->counters,
		                             .feed = &gateway->operators };
	if (!links_new(&gateway->links, &links, err))
		return false;
	const struct intake_options intake = { .spool = gateway->spool,
		                               .writer = gateway->writer,
		                               .commits = gateway->commits,
		                               .verify = gateway->verify,
		                               .chains = gateway->chains,
		                               .dictionaries = &gateway->dictionaries,
		                               .partials = &gateway->partials,
		                               .counters = &gateway->counters,
		                               .clock = gateway->clock,
		                               .feed = &gateway->operators,
		                               .events = links_intake_events(),
		                               .arg = gateway->links };
	if (!intake_new(&gateway->intake, &intake, err))
		return false;
	links_set_intake(gateway->links, gateway->intake);
	return true;
}

static void on_conn_open(struct conn *conn, void *arg)
{
	struct gateway *gateway = arg;
	links_on_open(gateway->links, conn);
}

static void on_conn_refused(enum conn_reason reason, const struct net_peer *peer, const char *text,
                            void *arg)
{
	log_info("link-refused", "address=%s subject=\"%s\" why=%s detail=\"%s\"", peer->address,
	         peer->subject != NULL ? peer->subject : "", conn_reason_name(reason), text);
}

static struct conn_limits conn_limits_of(const struct config_limits *limits)
{
	struct conn_limits conn = conn_limits_default();
	conn.frame_max_bytes = (uint32_t)limits->frame_bytes;
	conn.out_max_bytes = limits->link_out_bytes;
	conn.frame_max_ms = (int64_t)limits->frame_timeout_ms;
	conn.out_stall_max_ms = (int64_t)limits->stall_timeout_ms;
	conn.turn_max_bytes = CONN_TURN_BYTES;
	return conn;
}

static struct listener_options listener_options_of(const struct config_limits *limits)
{
	struct listener_options options = listener_options_default();
	options.backlog = LISTEN_BACKLOG;
	options.conn_max = limits->link_count;
	options.pending_max = limits->link_count;
	options.waiting_max = limits->link_count;
	options.waiting_max_ms = (int64_t)limits->handshake_timeout_ms;
	options.handshakes_per_s = (double)limits->handshakes_per_s;
	options.handshake_burst = (double)limits->handshake_burst;
	options.handshake_max_ms = (int64_t)limits->handshake_timeout_ms;
	options.limits = conn_limits_of(limits);
	return options;
}

void gateway_apply_link_limits(struct gateway *gateway)
{
	const struct listener_options options =
		listener_options_of(&gateway->config->gateway.limits);
	for (size_t i = 0; i < gateway->listener_count; i++)
		listener_set_limits(gateway->listeners[i], &options);
}

static bool start_listeners(struct gateway *gateway, struct err *err)
{
	FAULT_POINT(GATEWAY_OPENING);
	const struct gateway_config *config = &gateway->config->gateway;
	static const struct listener_callbacks callbacks = { .on_open = on_conn_open,
		                                             .on_refused = on_conn_refused };
	struct listener_options options = listener_options_of(&config->limits);
	options.context = gateway->tls;
	for (size_t i = 0; i < config->listen.count && i < LISTENERS_MAX; i++) {
		options.host = config->listen.items[i].host;
		options.port = config->listen.items[i].port;
		if (!listener_new(&gateway->listeners[i], gateway->net, &options, &callbacks,
		                  gateway, err))
			return false;
		gateway->listener_count++;
		log_info("listening", "address=%s port=%u", options.host,
		         listener_port(gateway->listeners[i]));
	}
	return true;
}

static bool watch(struct gateway *gateway, struct event **out_event, int fd, short what,
                  event_callback_fn on_event, struct err *err)
{
	*out_event = event_new(gateway->base, fd, what, on_event, gateway);
	if (*out_event == NULL)
		return err_set(err, ZR_NO_MEMORY, "event");
	return true;
}

static bool await(struct event *event, const struct timeval *every, struct err *err)
{
	return event_add(event, every) == 0 || err_set(err, ZR_NO_MEMORY, "event");
}

static bool start_events(struct gateway *gateway, struct err *err)
{
	static const int signals[] = { SIGTERM, SIGINT, SIGHUP, SIGUSR1 };
	const int fds[] = { mailbox_fd(gateway->commits), mailbox_fd(gateway->notices),
		            mailbox_fd(gateway->requests), intake_facts_fd(gateway->intake) };
	if (!watch(gateway, &gateway->turn_event, -1, 0, on_wake, err) ||
	    !watch(gateway, &gateway->tick_event, -1, EV_PERSIST, on_tick, err))
		return false;
	for (size_t i = 0; i < sizeof(fds) / sizeof(fds[0]); i++) {
		if (!watch(gateway, &gateway->mailbox_events[i], fds[i], EV_READ | EV_PERSIST,
		           on_wake, err) ||
		    !await(gateway->mailbox_events[i], NULL, err))
			return false;
	}
	for (size_t i = 0; i < sizeof(signals) / sizeof(signals[0]); i++) {
		if (!watch(gateway, &gateway->signal_events[i], signals[i], EV_SIGNAL | EV_PERSIST,
		           on_signal, err) ||
		    !await(gateway->signal_events[i], NULL, err))
			return false;
	}
	const struct timeval tick = { GATEWAY_TICK_MS / 1000, (GATEWAY_TICK_MS % 1000) * 1000 };
	return await(gateway->tick_event, &tick, err);
}

static bool start_delivery(struct gateway *gateway, struct err *err)
{
	/* The lane is there from the first scrape on; delivery's first notice comes soon. */
	const struct config_main_chain *sink = &gateway->config->gateway.main_chain;
	struct delivery_lane_status lane = { .lane = (uint16_t)sink->lane,
		                             .state = DELIVERY_LANE_STARTING,
		                             .idle_proven_ms = clock_monotonic_ms(gateway->clock) };
	(void)snprintf(lane.sink, sizeof(lane.sink), "%s", sink->name);
	note_lane(gateway, &lane);
	const struct delivery_options options = { .config = gateway->config,
		                                  .spool = gateway->spool,
		                                  .writer = gateway->writer,
		                                  .clock = gateway->clock,
		                                  .notices = gateway->notices };
	return delivery_start(&gateway->delivery, &options, err);
}

static bool start_all(struct gateway *gateway, struct err *err)
{
	gateway->base = event_base_new();
	if (gateway->base == NULL)
		return err_set(err, ZR_NO_MEMORY, "event loop");
	raise_descriptor_limit(gateway->config);
	if (!start_spool(gateway, err) || !start_threads(gateway, err) ||
	    !start_tables(gateway, err))
		return false;
	gateway_apply_limits(gateway);
	return gateway_read_tls(gateway, gateway->config, &gateway->tls, err) &&
	       net_new(&gateway->net, gateway->base, gateway->clock, err) &&
	       start_events(gateway, err) && start_delivery(gateway, err) &&
	       operators_start(&gateway->operators, gateway, err) &&
	       http_start(&gateway->http, gateway, err) && start_listeners(gateway, err);
}

bool gateway_start(struct gateway **out_gateway, struct config *take_config,
                   const char *config_path, struct err *err)
{
	struct gateway *gateway = calloc(1, sizeof(*gateway));
	if (gateway == NULL)
		return err_set(err, ZR_NO_MEMORY, "gateway");
	gateway->clock = clock_system();
	gateway->config_path = config_path;
	gateway->config = take_config;
	gateway->started_ms = clock_monotonic_ms(gateway->clock);
	gateway->reloaded_ms = clock_wall_ms(gateway->clock);
	gateway->reload_ok = true;
	gateway->scrub = SPOOL_SCRUB_BEGIN;
	*out_gateway = gateway; /* Also of a half-started one: it knows the exit status. */
	if (!start_all(gateway, err)) {
		if (gateway->exit_status == EXIT_OK)
			gateway->exit_status = (unsigned)err_exit_status(err->code);
		return false;
	}
	return true;
}

unsigned gateway_run(struct gateway *gateway)
{
	FAULT_POINT(GATEWAY_STARTED);
	notify_ready();
	gateway_enrol_some(gateway);
	gateway_upkeep(gateway);
	log_info("started", "version=%s chains=%zu listeners=%zu ms=%" PRId64, ZR_VERSION,
	         gateway->config->gateway.chain_count, gateway->listener_count,
	         clock_monotonic_ms(gateway->clock) - gateway->started_ms);
	if (event_base_dispatch(gateway->base) < 0)
		gateway->exit_status = EXIT_INTERNAL;
	return gateway->exit_status;
}

/* ---- stopping ---- */

static void free_events(struct gateway *gateway)
{
	struct event **const all[] = { &gateway->turn_event, &gateway->tick_event };
	for (size_t i = 0; i < 2; i++) {
		if (*all[i] != NULL)
			event_free(*all[i]);
	}
	for (size_t i = 0; i < 4; i++) {
		if (gateway->mailbox_events[i] != NULL)
			event_free(gateway->mailbox_events[i]);
		if (gateway->signal_events[i] != NULL)
			event_free(gateway->signal_events[i]);
	}
}

/* After the threads ended: what they answered last. */
static void drain(struct gateway *gateway)
{
	struct list_node notices;
	list_init(&notices);
	if (gateway->commits != NULL)
		run_commits(gateway);
	if (gateway->notices != NULL)
		(void)mailbox_take_all(gateway->notices, &notices);
	struct list_node *node;
	while ((node = list_pop(&notices)) != NULL)
		free(LIST_ENTRY(node, struct delivery_notice, node));
	if (gateway->requests != NULL)
		(void)mailbox_take_all(gateway->requests, &notices);
	while ((node = list_pop(&notices)) != NULL)
		gateway_on_delivery_answer(gateway,
		                           LIST_ENTRY(node, struct delivery_request, node));
}

void gateway_stop(struct gateway *gateway)
{
	if (gateway == NULL)
		return;
	delivery_stop(gateway->delivery, gateway->exit_status == EXIT_OK ? DELIVERY_GRACE_MS : 0);
	gateway->delivery = NULL;
	http_stop(gateway->http);
	for (size_t i = 0; i < gateway->listener_count; i++)
		listener_free(gateway->listeners[i]);
	if (gateway->links != NULL)
		links_goodbye_all(gateway->links);
	net_free(gateway->net);
	verify_pool_stop(gateway->verify);
	/* What is not with the writer was not acked: its agent sends it again. */
	if (gateway->intake != NULL)
		intake_abandon(gateway->intake);
	/* Operators' changes that are with the writer borrow from their requests, and what the last
	 * answers set off may still ask the writer: it refuses. */
	writer_close(gateway->writer);
	drain(gateway);
	operators_stop(gateway->operators);
	writer_stop(gateway->writer);
	intake_free(gateway->intake);
	links_free(gateway->links);
	chains_free(gateway->chains, &gateway->partials);
	dictionaries_fini(&gateway->dictionaries);
	receipts_fini(&gateway->receipts);
	tls_context_free(gateway->tls);
	free_events(gateway);
	mailbox_free(gateway->commits);
	mailbox_free(gateway->notices);
	mailbox_free(gateway->requests);
	spool_close(gateway->spool);
	if (gateway->base != NULL)
		event_base_free(gateway->base);
	config_free(gateway->former);
	config_free(gateway->config);
	log_info("stopped", "exit=%u", gateway->exit_status);
	free(gateway);
}
