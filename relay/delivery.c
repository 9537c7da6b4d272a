/* delivery.c -- the delivery thread: its life, its turn, what it is told and what it tells.
 *
 * What it decides is in lane.c and anchor_plan.c; here those decisions meet the main chain, the
 * spool's writer and the clock. Handlers only note what happened and wake the turn.
 */
#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "relay/base/log.h"
#include "relay/delivery_state.h"
#include "relay/sinks.h"

#define REQUESTS_MAX       64
#define REPLIES_MAX        4096
#define STATUS_INTERVAL_MS 1000
#define STEPS_PER_TURN_MAX 64
#define STOP_POLL_MS       20
#define PENDING_PAGE       64
#define BURST_INTERVAL_MS  100

struct spool_anchor_id delivery_anchor_id(const struct delivery *delivery, uint64_t seq)
{
	return (struct spool_anchor_id){ .sink = SPOOL_SINK_MAIN,
		                         .lane = delivery->lane.options.lane,
		                         .seq = seq };
}

void delivery_say(struct delivery *delivery, const char *format, ...)
{
	va_list args;
	va_start(args, format);
	(void)vsnprintf(delivery->reason, sizeof(delivery->reason), format, args);
	va_end(args);
}

void delivery_wake(struct delivery *delivery)
{
	/* Not by a timer of no time: adding it anew takes an active one off the queue again. */
	event_active(delivery->turn_timer, EV_READ, 0);
}

/* ---- notices ------------------------------------------------------------------------------- */

struct delivery_notice *delivery_notice_new(enum delivery_notice_kind kind)
{
	struct delivery_notice *notice = calloc(1, sizeof(*notice));
	if (notice != NULL)
		notice->kind = kind;
	return notice;
}

void delivery_tell(struct delivery *delivery, struct delivery_notice *take_notice)
{
	mailbox_answer(delivery->options.notices, &take_notice->node);
}

void delivery_tell_anchor(struct delivery *delivery, enum delivery_notice_kind kind, uint64_t seq,
                          const char *reason)
{
	struct delivery_notice *notice = delivery_notice_new(kind);
	if (notice == NULL)
		return;
	(void)snprintf(notice->sink, sizeof(notice->sink), "%s", delivery->sink->name);
	(void)snprintf(notice->reason, sizeof(notice->reason), "%s", reason);
	notice->lane = delivery->lane.options.lane;
	notice->seq = seq;
	delivery_tell(delivery, notice);
}

static enum delivery_lane_state lane_state(const struct delivery *delivery)
{
	const struct lane *lane = &delivery->lane;
	if (lane->phase == LANE_HALTED)
		return DELIVERY_LANE_STOPPED;
	bool waiting = lane->attempts > 0;
	for (size_t i = 0; i < lane->anchor_count; i++)
		waiting = waiting || lane->anchors[i].attempts > 1;
	if (waiting)
		return DELIVERY_LANE_AWAY;
	return lane->phase == LANE_RUNNING ? DELIVERY_LANE_RUNNING : DELIVERY_LANE_STARTING;
}

static void fill_endpoint(struct delivery_lane_status *status,
                          const struct mainchain_endpoint_status *from)
{
	if (status->endpoint_count == DELIVERY_ENDPOINTS_MAX)
		return;
	struct delivery_endpoint_status *endpoint = &status->endpoints[status->endpoint_count++];
	(void)snprintf(endpoint->url, sizeof(endpoint->url), "%s", from->url);
	endpoint->up = from->up;
	endpoint->behind = from->behind;
	endpoint->height = from->height;
	endpoint->call_count = from->call_count;
	endpoint->failure_count = from->failure_count;
}

static void fill_endpoints(const struct delivery *delivery, struct delivery_lane_status *status)
{
	size_t count = delivery->adapter->endpoint_count(delivery->mainchain);
	for (size_t i = 0; i < count; i++) {
		struct mainchain_endpoint_status endpoint;
		delivery->adapter->endpoint_status(delivery->mainchain, i, &endpoint);
		status->bytes_out += endpoint.bytes_out;
		status->bytes_in += endpoint.bytes_in;
		fill_endpoint(status, &endpoint);
	}
}

static void fill_status(const struct delivery *delivery, struct delivery_lane_status *status)
{
	const struct lane *lane = &delivery->lane;
	memset(status, 0, sizeof(*status));
	(void)snprintf(status->sink, sizeof(status->sink), "%s", delivery->sink->name);
	status->lane = lane->options.lane;
	status->state = lane_state(delivery);
	status->fence = lane->fence;
	status->final_seq = lane->final_seq;
	status->sent_seq = lane->final_seq;
	for (size_t i = 0; i < lane->anchor_count; i++) {
		enum spool_anchor_state state = lane->anchors[i].state;
		if (state != SPOOL_ANCHOR_INTENT)
			status->sent_seq = lane->anchors[i].seq;
		status->unknown_count += state == SPOOL_ANCHOR_UNKNOWN ? 1 : 0;
	}
	status->progress_ms = delivery->progress_ms;
	status->idle_proven_ms = delivery->idle_proven_ms;
	status->submission_count = delivery->submission_count;
	status->retry_count = delivery->retry_count;
	status->reject_count = delivery->reject_count;
	fill_endpoints(delivery, status);
	if (lane->phase == LANE_HALTED)
		(void)snprintf(status->reason, sizeof(status->reason), "%s",
		               lane_halt_name(lane->halt));
	else if (status->state == DELIVERY_LANE_AWAY)
		(void)snprintf(status->reason, sizeof(status->reason), "%s", delivery->reason);
}

static void tell_status(struct delivery *delivery, int64_t now_ms)
{
	struct delivery_lane_status status;
	fill_status(delivery, &status);
	bool same = status.state == delivery->status.state &&
	            status.final_seq == delivery->status.final_seq &&
	            status.sent_seq == delivery->status.sent_seq &&
	            status.unknown_count == delivery->status.unknown_count;
	if (same && now_ms < delivery->status_at_ms)
		return;
	struct delivery_notice *notice = delivery_notice_new(DELIVERY_STATUS);
	if (notice == NULL)
		return;
	delivery->status = status;
	delivery->status_at_ms = now_ms + STATUS_INTERVAL_MS;
	notice->status = status;
	delivery_tell(delivery, notice);
}

/* ---- the turn ------------------------------------------------------------------------------ */

static void take_replies(struct delivery *delivery)
{
	struct list_node replies;
	list_init(&replies);
	(void)mailbox_take_all(delivery->replies, &replies);
	struct list_node *node;
	while ((node = list_pop(&replies)) != NULL) {
		struct writer_op *op = LIST_ENTRY(node, struct writer_op, node);
		op->on_done(op);
	}
}

static void reload(struct delivery *delivery, struct delivery_request *request);
static void name_classes(struct delivery *delivery);

static void take_requests(struct delivery *delivery)
{
	struct list_node requests;
	list_init(&requests);
	(void)mailbox_take_all(delivery->requests, &requests);
	struct list_node *node;
	while ((node = list_pop(&requests)) != NULL) {
		struct delivery_request *request = LIST_ENTRY(node, struct delivery_request, node);
		switch (request->kind) {
		case DELIVERY_RELOAD:
			reload(delivery, request);
			break;
		case DELIVERY_COMMAND:
			delivery_command(delivery, request);
			break;
		}
	}
}

/* After a rewind more anchors may be open than the lane holds at once. */
static void add_open(struct delivery *delivery)
{
	struct lane *lane = &delivery->lane;
	while (lane->more_open && lane->anchor_count < lane->options.open_max) {
		struct spool_anchor open;
		struct spool_anchor_id id =
			delivery_anchor_id(delivery, lane->final_seq + lane->anchor_count + 1);
		lane->more_open = spool_anchor(delivery->options.spool, &id, &open, NULL);
		if (lane->more_open)
			lane_add_open(lane, id.seq, &open.root, &open.key, open.sent_at_height);
	}
}

static int64_t run_lane(struct delivery *delivery)
{
	int64_t wake_ms = INT64_MAX;
	add_open(delivery);
	for (int i = 0; i < STEPS_PER_TURN_MAX; i++) {
		uint64_t seq = 0;
		int64_t now_ms = delivery_now(delivery);
		enum lane_step step = lane_next(&delivery->lane, now_ms, &seq, &wake_ms);
		if (step == LANE_WAIT)
			return wake_ms;
		delivery_perform(delivery, step, seq);
	}
	return delivery_now(delivery);
}

/* Counts blocks of the class that could go into the next anchor, until *chains or *blocks is an
 * anchor's worth. */
static bool count_pending(const struct delivery *delivery, size_t class, size_t *chains,
                          uint64_t *blocks)
{
	struct spool *spool = delivery->options.spool;
	const struct plan_limits *limits = &delivery->plan.limits;
	struct spool_pending page[PENDING_PAGE];
	struct chain_key after = { { 0 } };
	size_t count = PENDING_PAGE;
	while (count == PENDING_PAGE) {
		struct spool_pending_query query = { .sink = SPOOL_SINK_MAIN,
			                             .class = delivery->class_numbers[class],
			                             .after = &after };
		if (!spool_pending_page(spool, &query, page, PENDING_PAGE, &count, NULL))
			return false;
		for (size_t i = 0; i < count; i++) {
			struct spool_chain chain;
			if (spool_chain(spool, &page[i].chain, &chain, NULL))
				*blocks += chain.next_height - page[i].from;
			if (++*chains >= limits->entry_max || *blocks >= limits->block_max)
				return true;
		}
		if (count > 0)
			after = page[count - 1].chain;
	}
	return false;
}

/* A full anchor's worth is pending: the interval need not pass. The totals are quickly read, but
 * speak of held chains and of anchors that are under way, too: where they are high, what can be sent
 * is counted, now and then. */
static bool burst_is_pending(struct delivery *delivery, int64_t now_ms)
{
	struct spool_totals totals;
	if (now_ms < delivery->burst_at_ms || !spool_totals(delivery->options.spool, &totals, NULL))
		return false;
	uint64_t settled =
		totals.anchored_blocks + totals.quarantined_blocks + totals.tombstoned_blocks;
	if (totals.received_blocks - settled < delivery->plan.limits.block_max)
		return false;
	delivery->burst_at_ms = now_ms + BURST_INTERVAL_MS;
	size_t chains = 0;
	uint64_t blocks = 0;
	bool burst = false;
	for (size_t class = 0; class < delivery->plan.class_count && !burst; class ++)
		burst = count_pending(delivery, class, &chains, &blocks);
	return burst;
}

static int64_t build(struct delivery *delivery, int64_t now_ms)
{
	const struct chain_key *suspects;
	if (!delivery->classes_ready && now_ms >= delivery->classes_at_ms)
		name_classes(delivery);
	if (!delivery->maybe_pending || delivery->building || !delivery->classes_ready ||
	    !lane_has_room(&delivery->lane))
		return INT64_MAX;
	bool at_once = delivery->more_pending || plan_probe(&delivery->plan, &suspects) > 0;
	if (now_ms < delivery->build_at_ms && !at_once && !burst_is_pending(delivery, now_ms))
		return delivery->build_at_ms;
	delivery->build_at_ms = now_ms + (int64_t)delivery->sink->anchor_interval_ms;
	delivery->more_pending = false;
	struct err err;
	bool nothing = false;
	if (delivery_op_intent(delivery, &nothing, &err))
		return INT64_MAX;
	if (nothing) {
		delivery->maybe_pending = false;
		return INT64_MAX;
	}
	log_warn("anchor-not-built", "why=%s detail=\"%s\"", err_name(err.code), err.message);
	delivery_say(delivery, "%s", err.message);
	return delivery->build_at_ms;
}

static int64_t prune(struct delivery *delivery, int64_t now_ms)
{
	if (delivery->pruning)
		return INT64_MAX;
	if (now_ms < delivery->prune_at_ms)
		return delivery->prune_at_ms;
	struct err err;
	if (!delivery_op_prune(delivery, &err)) {
		log_debug("spool-prune-waits", "detail=\"%s\"", err.message);
		delivery->prune_at_ms = now_ms + STATUS_INTERVAL_MS;
		return delivery->prune_at_ms;
	}
	return INT64_MAX;
}

static bool waits_for_interval(const struct delivery *delivery, int64_t now_ms)
{
	return delivery->lane.anchor_count == 0 && !delivery->building && !delivery->more_pending &&
	       now_ms < delivery->build_at_ms;
}

/* Is standing still right? Then the watchdog may be fed (architecture: progress, or a proven reason). */
static void prove_idle(struct delivery *delivery, int64_t now_ms)
{
	bool empty = !delivery->maybe_pending && delivery->lane.anchor_count == 0;
	bool waits = delivery->lane.phase == LANE_HALTED || waits_for_interval(delivery, now_ms) ||
	             lane_state(delivery) == DELIVERY_LANE_AWAY ||
	             delivery_has_calls(delivery); /* Each call has a time-out of its own. */
	if (empty || waits)
		delivery->idle_proven_ms = now_ms;
}

static bool may_stop(struct delivery *delivery, int64_t now_ms)
{
	if (!atomic_load(&delivery->stopping))
		return false;
	bool quiet = delivery->ops_under_way == 0 && !delivery_has_calls(delivery);
	bool late = now_ms >= atomic_load(&delivery->stop_at_ms) && delivery->ops_under_way == 0;
	return quiet || late;
}

static int64_t soonest(int64_t a, int64_t b)
{
	return a < b ? a : b;
}

/* Everything that delivery does, in the order it does it. */
static void delivery_turn(evutil_socket_t fd, short what, void *arg)
{
	struct delivery *delivery = arg;
	take_replies(delivery);
	take_requests(delivery);
	int64_t now_ms = delivery_now(delivery);
	if (may_stop(delivery, now_ms)) {
		(void)event_base_loopbreak(delivery->base);
		return;
	}
	int64_t wake_ms = now_ms + STATUS_INTERVAL_MS;
	if (!atomic_load(&delivery->stopping)) {
		wake_ms = soonest(wake_ms, run_lane(delivery));
		wake_ms = soonest(wake_ms, build(delivery, now_ms));
		wake_ms = soonest(wake_ms, prune(delivery, now_ms));
	} else {
		wake_ms = now_ms + STOP_POLL_MS;
	}
	prove_idle(delivery, now_ms);
	tell_status(delivery, now_ms);
	int64_t wait_ms = wake_ms > now_ms ? wake_ms - now_ms : 0;
	struct timeval wait = { .tv_sec = wait_ms / 1000, .tv_usec = (wait_ms % 1000) * 1000 };
	if (evtimer_add(delivery->turn_timer, &wait) != 0)
		event_active(delivery->turn_timer, EV_TIMEOUT, 0); /* Early rather than never. */
}

static void on_mailbox(evutil_socket_t fd, short what, void *arg)
{
	delivery_wake(arg);
}

static void on_wake(evutil_socket_t fd, short what, void *arg)
{
	struct delivery *delivery = arg;
	uint64_t count;
	if (read(delivery->wake_fd, &count, sizeof(count)) == (ssize_t)sizeof(count))
		delivery->maybe_pending = true;
	delivery_store_adopted(delivery);
	delivery_wake(delivery);
}

/* ---- configuration ------------------------------------------------------------------------- */

static void mainchain_options_of(const struct config_main_chain *sink,
                                 struct mainchain_options *out_options)
{
	*out_options = (struct mainchain_options){
		.name = sink->name,
		.endpoints = sink->endpoints.items,
		.endpoint_count = sink->endpoints.count,
		.ca_file = sink->ca,
		.certificate_file = sink->certificate,
		.key_file = sink->key,
		.token_file = sink->token_file,
		.proxy = sink->proxy,
		.trusted_files = sink->trusted.items,
		.trusted_file_count = sink->trusted.count,
		.connect_timeout_ms = sink->connect_timeout_ms,
		.answer_timeout_ms = sink->answer_timeout_ms,
		.in_flight_max = (uint32_t)sink->in_flight_count,
	};
}

static bool uploads_anything(const struct config *config)
{
	for (size_t i = 0; i < config->gateway.class_count; i++) {
		if (config->gateway.classes[i].deliver == DELIVER_FULL)
			return true;
	}
	return false;
}

struct lane_options delivery_lane_options(const struct config *config)
{
	const struct config_main_chain *sink = &config->gateway.main_chain;
	size_t open_max =
		sink->in_flight_count < LANE_OPEN_MAX ? sink->in_flight_count : LANE_OPEN_MAX;
	return (struct lane_options){
		.lane = (uint16_t)sink->lane,
		.uploads = uploads_anything(config),
		.open_max = (uint32_t)(open_max > 0 ? open_max : 1),
		.poll_ms = (int64_t)sink->poll_interval_ms,
		.retry_min_ms = (int64_t)sink->retry_min_ms,
		.retry_max_ms = (int64_t)sink->retry_max_ms,
	};
}

static struct plan_limits plan_limits_of(const struct config_main_chain *sink)
{
	struct plan_limits limits = {
		.entry_max = sink->anchor_entry_count,
		.block_max = sink->anchor_block_count,
		.byte_max = sink->anchor_bytes,
	};
	if (limits.entry_max > ANCHOR_ENTRIES_MAX)
		limits.entry_max = ANCHOR_ENTRIES_MAX;
	return limits;
}

void delivery_plan_classes(struct delivery *delivery, const struct config *config)
{
	const struct gateway_config *gateway = &config->gateway;
	delivery->plan.limits = plan_limits_of(&gateway->main_chain);
	delivery->plan.class_count = 0;
	for (size_t i = 0; i < gateway->class_count && i < PLAN_CLASS_MAX; i++) {
		uint64_t weight = gateway->classes[i].priority;
		plan_set_class(&delivery->plan, i, (uint32_t)(weight > 0 ? weight : 1),
		               gateway->classes[i].deliver);
	}
}

static bool read_receipt_key(struct delivery *delivery, const struct config *config,
                             struct err *err)
{
	struct key *key = NULL;
	if (!key_read_file(&key, config->gateway.receipts.key, err))
		return err_wrap(err, "receipts.key");
	key_free(delivery->receipt_key);
	delivery->receipt_key = key;
	return true;
}

/* Without them nothing is built, so it is tried until it succeeds. */
static void name_classes(struct delivery *delivery)
{
	struct err err;
	if (!delivery_op_classes(delivery, &err))
		log_warn("delivery-classes-failed", "detail=\"%s\"", err.message);
}

static void reload(struct delivery *delivery, struct delivery_request *request)
{
	const struct config *config = request->config;
	struct mainchain_options options;
	mainchain_options_of(&config->gateway.main_chain, &options);
	request->ok = delivery->adapter->reload(delivery->mainchain, &options, &request->err) &&
	              read_receipt_key(delivery, config, &request->err);
	if (request->ok) {
		delivery->options.config = config;
		delivery->sink = &config->gateway.main_chain;
		uint16_t lane = delivery->lane.options.lane; /* Another lane needs a restart. */
		delivery->lane.options = delivery_lane_options(config);
		delivery->lane.options.lane = lane;
		delivery_plan_classes(delivery, config);
		name_classes(delivery);
	}
	delivery_answer_request(request);
}

void delivery_answer_request(struct delivery_request *request)
{
	mailbox_answer(request->reply, &request->node);
}

/* ---- life ---------------------------------------------------------------------------------- */

static bool open_events(struct delivery *delivery, struct err *err)
{
	delivery->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	delivery->base = event_base_new();
	if (delivery->wake_fd < 0 || delivery->base == NULL)
		return err_set(err, ZR_UNAVAILABLE, "an event loop");
	struct event_base *base = delivery->base;
	delivery->turn_timer = evtimer_new(base, delivery_turn, delivery);
	delivery->wake_event =
		event_new(base, delivery->wake_fd, EV_READ | EV_PERSIST, on_wake, delivery);
	delivery->requests_event = event_new(base, mailbox_fd(delivery->requests),
	                                     EV_READ | EV_PERSIST, on_mailbox, delivery);
	delivery->replies_event = event_new(base, mailbox_fd(delivery->replies),
	                                    EV_READ | EV_PERSIST, on_mailbox, delivery);
	if (delivery->turn_timer == NULL || delivery->wake_event == NULL ||
	    delivery->requests_event == NULL || delivery->replies_event == NULL)
		return err_set(err, ZR_NO_MEMORY, "events");
	if (event_add(delivery->wake_event, NULL) != 0 ||
	    event_add(delivery->requests_event, NULL) != 0 ||
	    event_add(delivery->replies_event, NULL) != 0)
		return err_set(err, ZR_UNAVAILABLE, "an event cannot be watched");
	delivery_wake(delivery);
	return true;
}

bool delivery_open_mainchain(struct delivery *delivery, struct err *err)
{
	struct mainchain_options options;
	delivery->adapter = sink_find(delivery->sink->adapter);
	if (delivery->adapter == NULL)
		return err_set(err, ZR_INVALID, "main-chain.adapter: there is none named %s",
		               delivery->sink->adapter);
	mainchain_options_of(delivery->sink, &options);
	if (delivery->mainchain != NULL)
		delivery->adapter->close(delivery->mainchain);
	delivery->mainchain = NULL;
	memset(delivery->calls, 0, sizeof(delivery->calls));
	delivery_upload_fini(&delivery->upload); /* Its answers will not come. */
	return delivery->adapter->open(&delivery->mainchain, &options, delivery->base,
	                               delivery_on_answer, delivery, err);
}

static void free_event(struct event *event)
{
	if (event != NULL)
		event_free(event);
}

/* Accepts half-built ones. */
static void delivery_free(struct delivery *delivery)
{
	if (delivery->mainchain != NULL)
		delivery->adapter->close(delivery->mainchain);
	delivery_upload_fini(&delivery->upload);
	buffer_fini(&delivery->restore.content);
	plan_fini(&delivery->plan);
	free_event(delivery->turn_timer);
	free_event(delivery->wake_event);
	free_event(delivery->requests_event);
	free_event(delivery->replies_event);
	if (delivery->base != NULL)
		event_base_free(delivery->base);
	if (delivery->wake_fd >= 0)
		(void)close(delivery->wake_fd);
	mailbox_free(delivery->requests);
	mailbox_free(delivery->replies);
	key_free(delivery->receipt_key);
	free(delivery);
}

static void *run(void *arg)
{
	struct delivery *delivery = arg;
	if (delivery->lane.phase == LANE_HALTED)
		log_error("lane-halted", "lane=%u why=%s detail=\"%s\"",
		          (unsigned)delivery->lane.options.lane,
		          lane_halt_name(delivery->lane.halt), lane_halt_text(delivery->lane.halt));
	(void)event_base_dispatch(delivery->base);
	return NULL;
}

bool delivery_start(struct delivery **out_delivery, const struct delivery_options *options,
                    struct err *err)
{
	struct delivery *delivery = calloc(1, sizeof(*delivery));
	if (delivery == NULL)
		return err_set(err, ZR_NO_MEMORY, "delivery");
	delivery->wake_fd = -1;
	delivery->options = *options;
	delivery->sink = &options->config->gateway.main_chain;
	delivery->maybe_pending = true;
	delivery->progress_ms = delivery->idle_proven_ms = clock_monotonic_ms(options->clock);
	plan_init(&delivery->plan, &(struct plan_limits){ 0 });
	delivery_plan_classes(delivery, options->config);
	if (!mailbox_new(&delivery->requests, REQUESTS_MAX, err) ||
	    !mailbox_new(&delivery->replies, REPLIES_MAX, err) ||
	    !read_receipt_key(delivery, options->config, err) ||
	    !delivery_load_lane(delivery, err) || !open_events(delivery, err) ||
	    !delivery_open_mainchain(delivery, err))
		goto fail;
	int failed = pthread_create(&delivery->thread, NULL, run, delivery);
	if (failed != 0) {
		(void)err_set(err, ZR_UNAVAILABLE, "a thread: %s", strerror(failed));
		goto fail;
	}
	(void)pthread_setname_np(delivery->thread, "delivery");
	*out_delivery = delivery;
	return true;

fail:
	delivery_free(delivery);
	return err_wrap(err, "delivery");
}

static void ring(struct delivery *delivery)
{
	uint64_t one = 1;
	/* Full means that it is ringing already. */
	while (write(delivery->wake_fd, &one, sizeof(one)) < 0 && errno == EINTR) {
	}
}

void delivery_nudge(struct delivery *delivery)
{
	if (delivery != NULL)
		ring(delivery);
}

bool delivery_request(struct delivery *delivery, struct delivery_request *request, struct err *err)
{
	if (!mailbox_put(delivery->requests, &request->node))
		return err_set(err, ZR_FULL, "%d requests wait for delivery; try again",
		               REQUESTS_MAX);
	return true;
}

/* Requests that nobody will take up any more are answered, so that nobody waits for them. */
static void refuse_requests(struct delivery *delivery)
{
	struct list_node requests;
	list_init(&requests);
	(void)mailbox_take_all(delivery->requests, &requests);
	struct list_node *node;
	while ((node = list_pop(&requests)) != NULL) {
		struct delivery_request *request = LIST_ENTRY(node, struct delivery_request, node);
		request->ok = err_set(&request->err, ZR_UNAVAILABLE, "the gateway is stopping");
		delivery_answer_request(request);
	}
}

void delivery_stop(struct delivery *delivery, int64_t grace_ms)
{
	if (delivery == NULL)
		return;
	atomic_store(&delivery->stop_at_ms, delivery_now(delivery) + grace_ms);
	atomic_store(&delivery->stopping, true);
	ring(delivery);
	(void)pthread_join(delivery->thread, NULL);
	mailbox_close(delivery->requests);
	if (delivery->restore.request != NULL)
		delivery->command = delivery->restore.request;
	if (delivery->command != NULL) {
		delivery->command->ok =
			err_set(&delivery->command->err, ZR_UNAVAILABLE, "the gateway is stopping");
		delivery_answer_request(delivery->command);
	}
	refuse_requests(delivery);
	delivery_free(delivery);
}
