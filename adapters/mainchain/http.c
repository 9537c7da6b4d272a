/* http.c -- the adapter for main chains behind the HTTP API (docs/mainchain-api.yaml).
 *
 *     call: waiting ---> running at one endpoint ---> answered
 *                  ^            |
 *                  +------------+  what is harmless to ask twice, or never left: the next endpoint
 *
 * A submission or fence that may have arrived is never repeated here: its answer is UNKNOWN, and
 * whoever asked looks the key up.
 */
#include <assert.h>
#include <event2/event.h>
#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "adapters/mainchain.h"
#include "adapters/mainchain/endpoints.h"
#include "adapters/mainchain/evidence.h"
#include "adapters/mainchain/http_answer.h"
#include "adapters/mainchain/http_loop.h"
#include "adapters/mainchain/http_settings.h"
#include "adapters/mainchain/http_transfer.h"
#include "relay/base/clock.h"
#include "relay/base/list.h"

#define WAITING_PER_IN_FLIGHT 4
#define OVERDUE_LOOK_S        1    /* How often is looked for calls that libcurl forgot. */
#define OVERDUE_MS            1000 /* Beyond the time that libcurl was given. */

struct call {
	struct list_node node; /* In waiting or running. */
	struct mainchain *mainchain;
	struct http_question question;
	uint8_t *body; /* Owned: a copy. */
	size_t body_size;
	struct http_transfer *transfer; /* Owned; NULL while waiting. */
	struct http_loop *loop;         /* Where transfer runs. */
	int64_t overdue_at_ms;          /* Ended by us then. */
	size_t endpoint;
	uint32_t tried;      /* One bit per endpoint. */
	uint32_t generation; /* Of the endpoints that endpoint and tried speak of. */
	bool in_doubt;       /* One of the attempts may have arrived. */
};

/* A loop whose connections were made with files that are no longer in force, or that is spoiled. */
struct retired_loop {
	struct list_node node;
	struct http_loop *loop;
};

struct mainchain {
	struct event_base *base;        /* Kept. */
	struct http_settings *settings; /* Owned. */
	struct http_loop *loop;         /* Owned. */
	struct list_node retired;       /* Owned. */
	bool loop_spoiled;              /* loop is to be replaced. */
	struct event *turn;             /* Starts what waits. Owned. */
	struct event *look;             /* For calls that are overdue. Owned. */
	struct endpoints endpoints;
	uint32_t generation; /* One more with each change of the list of endpoints. */
	struct list_node waiting, running;
	size_t waiting_count, running_count;
	mainchain_on_answer *on_answer;
	void *arg;
	bool in_answer; /* Within on_answer. */
};

/* ---- calls ---- */

static void call_free(struct call *call)
{
	list_remove(&call->node);
	http_transfer_free(call->transfer);
	free(call->body);
	free(call);
}

static struct call *call_of(struct list_node *node)
{
	return LIST_ENTRY(node, struct call, node);
}

/* May it be sent to a second endpoint when the first may have had it? */
static bool harmless_twice(enum mainchain_call call)
{
	return call != MAINCHAIN_SUBMIT && call != MAINCHAIN_FENCE;
}

static void give_answer(struct call *call, const struct mainchain_answer *answer)
{
	struct mainchain *mainchain = call->mainchain;
	mainchain->in_answer = true;
	mainchain->on_answer(answer, mainchain->arg);
	mainchain->in_answer = false;
	call_free(call);
}

static void wake(struct mainchain *mainchain)
{
	event_active(mainchain->turn, EV_TIMEOUT, 0);
}

static void count_traffic(struct call *call)
{
	uint64_t bytes_out, bytes_in;
	http_transfer_traffic(call->transfer, &bytes_out, &bytes_in);
	struct mainchain_endpoint_status *status =
		&call->mainchain->endpoints.items[call->endpoint].status;
	status->call_count++;
	status->bytes_out += bytes_out;
	status->bytes_in += bytes_in;
}

/* ---- what an attempt meant ---- */

/* "Absent", or a head, says little when another node was further on already. */
static bool said_too_early(const struct mainchain *mainchain, const struct mainchain_answer *answer)
{
	return (answer->outcome == MAINCHAIN_ABSENT || answer->call == MAINCHAIN_HEAD) &&
	       answer->height < mainchain->endpoints.height;
}

static void note_endpoint(struct call *call, const struct http_answer *answer)
{
	struct mainchain *mainchain = call->mainchain;
	bool well = answer->from_api && answer->view.outcome != MAINCHAIN_UNSENT &&
	            answer->view.reject != MAINCHAIN_REJECT_DENIED;
	if (well) {
		endpoints_answered(&mainchain->endpoints, call->endpoint,
		                   answer->has_height ? &answer->view.height : NULL);
		return;
	}
	uint32_t jitter;
	random_bytes(&jitter, sizeof(jitter));
	endpoints_failed(&mainchain->endpoints, call->endpoint, clock_monotonic_ms(clock_system()),
	                 answer->view.retry_after_ms, jitter);
}

/* Fills in answer from the attempt that ended with result. */
static void read_attempt(struct call *call, CURLcode result, struct http_answer *answer)
{
	struct http_response response;
	switch (http_transfer_read(call->transfer, result, &response)) {
	case HTTP_ANSWERED:
		http_answer_read(answer, &call->question, &response,
		                 call->mainchain->settings->trusted);
		return;
	case HTTP_UNSENT:
		http_answer_begin(answer, &call->question, MAINCHAIN_UNSENT);
		break;
	case HTTP_LOST:
		http_answer_begin(answer, &call->question, MAINCHAIN_UNKNOWN);
		break;
	}
	http_answer_tell(answer, "%s", http_transfer_error(call->transfer, result));
}

/* Is another endpoint to be asked before this is an answer? */
static bool wants_another(const struct call *call, const struct mainchain_answer *answer)
{
	if (answer->reject == MAINCHAIN_REJECT_DENIED)
		return false;
	if (answer->outcome == MAINCHAIN_UNSENT)
		return true;
	if (answer->outcome == MAINCHAIN_UNKNOWN)
		return harmless_twice(call->question.call);
	return said_too_early(call->mainchain, answer);
}

/* No endpoint is left: what it comes to over all attempts. */
static void conclude(struct call *call, struct http_answer *answer)
{
	struct mainchain_answer *view = &answer->view;
	if (view->outcome == MAINCHAIN_UNSENT && call->in_doubt)
		view->outcome = MAINCHAIN_UNKNOWN;
	if (view->outcome == MAINCHAIN_ABSENT && said_too_early(call->mainchain, view)) {
		view->outcome = MAINCHAIN_UNKNOWN;
		http_answer_tell(answer,
		                 "absent as of height %" PRIu64 ", and height %" PRIu64
		                 " was seen before",
		                 view->height, call->mainchain->endpoints.height);
	}
}

static void put_back(struct call *call)
{
	struct mainchain *mainchain = call->mainchain;
	list_remove(&call->node);
	mainchain->running_count--;
	http_transfer_free(call->transfer);
	call->transfer = NULL;
	list_add_after(&mainchain->waiting, &call->node); /* Its turn came already: first again. */
	mainchain->waiting_count++;
}

static void end_attempt(struct call *call, CURLcode result)
{
	struct mainchain *mainchain = call->mainchain;
	/* A reload may have changed the list of endpoints since. */
	bool endpoint_known = call->generation == mainchain->generation;
	struct http_answer answer = HTTP_ANSWER_EMPTY;
	read_attempt(call, result, &answer);
	if (endpoint_known) {
		count_traffic(call);
		note_endpoint(call, &answer);
	}

	size_t next;
	if (answer.view.outcome == MAINCHAIN_UNKNOWN)
		call->in_doubt = true;
	if (endpoint_known && wants_another(call, &answer.view) &&
	    endpoints_choose(&mainchain->endpoints, call->tried, 0, &next)) {
		put_back(call);
	} else {
		conclude(call, &answer);
		mainchain->running_count--;
		give_answer(call, &answer.view);
	}
	http_answer_fini(&answer);
	wake(mainchain);
}

static void spoil_loop(const struct call *call)
{
	if (call->loop == call->mainchain->loop)
		call->mainchain->loop_spoiled = true;
}

static void on_done(CURL *easy, CURLcode result, void *arg)
{
	void *private;
	curl_easy_getinfo(easy, CURLINFO_PRIVATE, &private);
	struct call *call = private;
	/* Out of memory libcurl may leave a connection behind for which later transfers wait. */
	if (result == CURLE_OUT_OF_MEMORY)
		spoil_loop(call);
	end_attempt(call, result);
}

/* libcurl 7.88 keeps no time for a transfer that waits for another one's connection: where that one
 * ends badly, the transfer would wait for ever, and the lane for it. */
static void on_look(evutil_socket_t fd, short what, void *arg)
{
	struct mainchain *mainchain = arg;
	int64_t now_ms = clock_monotonic_ms(clock_system());
	LIST_FOR_EACH (node, &mainchain->running) {
		struct call *call = call_of(node);
		if (call->overdue_at_ms > now_ms)
			continue;
		http_loop_cancel(call->loop, call->transfer->easy);
		spoil_loop(call);
		end_attempt(call, CURLE_OPERATION_TIMEDOUT);
	}
}

/* ---- loops ---- */

/* As many calls at once, each on its own connection where HTTP/2 does not share one. */
static bool make_loop(struct mainchain *mainchain, uint32_t in_flight_max,
                      struct http_loop **out_loop, struct err *err)
{
	return http_loop_new(out_loop, mainchain->base, in_flight_max, on_done, mainchain, err);
}

/* Calls under way end where they began; the next ones use new connections. */
static bool replace_loop(struct mainchain *mainchain, uint32_t in_flight_max, struct err *err)
{
	struct http_loop *loop;
	struct retired_loop *retired = calloc(1, sizeof(*retired));
	if (retired == NULL)
		return err_set(err, ZR_NO_MEMORY, "a retired loop");
	if (!make_loop(mainchain, in_flight_max, &loop, err)) {
		free(retired);
		return false;
	}
	retired->loop = mainchain->loop;
	list_append(&mainchain->retired, &retired->node);
	mainchain->loop = loop;
	mainchain->loop_spoiled = false;
	return true;
}

/* ---- a turn ---- */

static bool start_call(struct call *call)
{
	struct mainchain *mainchain = call->mainchain;
	struct err err;
	if (call->generation != mainchain->generation) {
		call->generation = mainchain->generation;
		call->tried = 0;
	}
	/* There is one: a call without an untried endpoint was answered. */
	if (!endpoints_choose(&mainchain->endpoints, call->tried,
	                      clock_monotonic_ms(clock_system()), &call->endpoint))
		assert(false);
	if (!http_transfer_new(&call->transfer, &call->question,
	                       (struct bytes){ call->body, call->body_size }, mainchain->settings,
	                       call->endpoint, call, &err))
		return false;
	if (!http_loop_start(mainchain->loop, call->transfer->easy, &err)) {
		http_transfer_free(call->transfer);
		call->transfer = NULL;
		return false;
	}
	call->tried |= UINT32_C(1) << call->endpoint;
	call->loop = mainchain->loop;
	call->overdue_at_ms =
		clock_monotonic_ms(clock_system()) + call->transfer->time_max_ms + OVERDUE_MS;
	return true;
}

/* Out of memory: the call ends without having been sent, this time. */
static void fail_call(struct call *call)
{
	struct http_answer answer = HTTP_ANSWER_EMPTY;
	http_answer_begin(&answer, &call->question,
	                  call->in_doubt ? MAINCHAIN_UNKNOWN : MAINCHAIN_UNSENT);
	http_answer_tell(&answer, "out of memory");
	give_answer(call, &answer.view);
	http_answer_fini(&answer);
}

static bool loop_is_used(struct mainchain *mainchain, const struct http_loop *loop)
{
	LIST_FOR_EACH (node, &mainchain->running) {
		if (call_of(node)->loop == loop)
			return true;
	}
	return false;
}

static void free_retired(struct mainchain *mainchain)
{
	LIST_FOR_EACH (node, &mainchain->retired) {
		struct retired_loop *retired = LIST_ENTRY(node, struct retired_loop, node);
		if (loop_is_used(mainchain, retired->loop))
			continue;
		list_remove(node);
		http_loop_free(retired->loop);
		free(retired);
	}
}

static void on_turn(evutil_socket_t fd, short what, void *arg)
{
	struct mainchain *mainchain = arg;
	/* Where that needs memory, too: the next turn tries again. */
	if (mainchain->loop_spoiled)
		(void)!replace_loop(mainchain, mainchain->settings->in_flight_max, NULL);
	while (mainchain->running_count < mainchain->settings->in_flight_max) {
		struct list_node *node = list_pop(&mainchain->waiting);
		if (node == NULL)
			break;
		mainchain->waiting_count--;
		struct call *call = call_of(node);
		if (!start_call(call)) {
			fail_call(call);
			continue;
		}
		list_append(&mainchain->running, node);
		mainchain->running_count++;
	}
	free_retired(mainchain);
}

/* ---- the interface: life ---- */

static void use_endpoints(struct mainchain *mainchain)
{
	mainchain->endpoints.count = mainchain->settings->url_count;
	for (size_t i = 0; i < mainchain->endpoints.count; i++)
		mainchain->endpoints.items[i].status.url = mainchain->settings->urls[i];
}

static void http_close(struct mainchain *mainchain)
{
	if (mainchain == NULL)
		return;
	assert(!mainchain->in_answer);
	LIST_FOR_EACH (node, &mainchain->running) {
		http_loop_cancel(call_of(node)->loop, call_of(node)->transfer->easy);
		call_free(call_of(node));
	}
	LIST_FOR_EACH (node, &mainchain->waiting) {
		call_free(call_of(node));
	}
	free_retired(mainchain);
	http_loop_free(mainchain->loop);
	if (mainchain->turn != NULL)
		event_free(mainchain->turn);
	if (mainchain->look != NULL)
		event_free(mainchain->look);
	http_settings_free(mainchain->settings);
	free(mainchain);
}

static bool http_open(struct mainchain **out_mainchain, const struct mainchain_options *options,
                      struct event_base *base, mainchain_on_answer *on_answer, void *arg,
                      struct err *err)
{
	struct sigaction action;
	/* A connection that breaks under a TLS write would otherwise end the process. */
	assert(sigaction(SIGPIPE, NULL, &action) == 0 && action.sa_handler == SIG_IGN);

	struct mainchain *mainchain = calloc(1, sizeof(*mainchain));
	if (mainchain == NULL)
		return err_set(err, ZR_NO_MEMORY, "main chain %s", options->name);
	mainchain->base = base;
	mainchain->on_answer = on_answer;
	mainchain->arg = arg;
	list_init(&mainchain->waiting);
	list_init(&mainchain->running);
	list_init(&mainchain->retired);
	const struct timeval every = { OVERDUE_LOOK_S, 0 };
	mainchain->turn = event_new(base, -1, 0, on_turn, mainchain);
	mainchain->look = event_new(base, -1, EV_PERSIST, on_look, mainchain);
	if (mainchain->turn == NULL || mainchain->look == NULL ||
	    event_add(mainchain->look, &every) != 0) {
		(void)err_set(err, ZR_NO_MEMORY, "main chain %s", options->name);
		goto fail;
	}
	if (!http_settings_new(&mainchain->settings, options, err) ||
	    !make_loop(mainchain, options->in_flight_max, &mainchain->loop, err))
		goto fail;
	use_endpoints(mainchain);

	*out_mainchain = mainchain;
	return true;

fail:
	http_close(mainchain);
	return false;
}

/* Calls under way end where they began; the next ones use new files and new connections. */
static bool http_reload(struct mainchain *mainchain, const struct mainchain_options *options,
                        struct err *err)
{
	struct http_settings *settings = NULL;
	if (!http_settings_new(&settings, options, err) ||
	    !replace_loop(mainchain, options->in_flight_max, err)) {
		http_settings_free(settings);
		return err_wrap(err, "reload");
	}

	if (!http_settings_same_urls(settings, mainchain->settings)) {
		memset(mainchain->endpoints.items, 0, sizeof(mainchain->endpoints.items));
		mainchain->generation++;
	}
	http_settings_free(mainchain->settings);
	mainchain->settings = settings;
	use_endpoints(mainchain);
	wake(mainchain);
	return true;
}

/* ---- the interface: calls ---- */

static bool add_call(struct mainchain *mainchain, const struct http_question *question,
                     struct bytes body, struct err *err)
{
	size_t waiting_max = (size_t)mainchain->settings->in_flight_max * WAITING_PER_IN_FLIGHT;
	if (mainchain->waiting_count >= waiting_max)
		return err_set(err, ZR_FULL, "%zu calls to the main chain wait already",
		               waiting_max);

	struct call *call = calloc(1, sizeof(*call));
	uint8_t *copy = call == NULL ? NULL : bytes_dup(body);
	if (copy == NULL) {
		free(call);
		return err_set(err, ZR_NO_MEMORY, "a call to the main chain");
	}
	call->mainchain = mainchain;
	call->question = *question;
	call->body = copy;
	call->body_size = body.size;
	call->generation = mainchain->generation;
	list_append(&mainchain->waiting, &call->node);
	mainchain->waiting_count++;
	wake(mainchain);
	return true;
}

static bool http_put(struct mainchain *mainchain, uint64_t token, const struct hash *content,
                     struct bytes payload, struct err *err)
{
	struct http_question question = { .call = MAINCHAIN_PUT, .token = token, .key = *content };
	return add_call(mainchain, &question, payload, err);
}

/* The answer is compared with what the anchor itself says, so it is read here; what is not an
 * anchor is the caller's mistake and never leaves. */
static bool http_submit(struct mainchain *mainchain, uint64_t token, const struct hash *key,
                        struct bytes anchor_content, uint64_t fence, struct err *err)
{
	struct anchor_decoded *decoded;
	if (!anchor_content_decode(anchor_content, &decoded, err))
		return err_wrap(err, "submit");
	const struct anchor *anchor = anchor_decoded_view(decoded);
	struct http_question question = { .call = MAINCHAIN_SUBMIT,
		                          .token = token,
		                          .lane = anchor->lane,
		                          .key = *key,
		                          .root = anchor->root,
		                          .seq = anchor->seq,
		                          .fence = fence };
	anchor_decoded_free(decoded);
	return add_call(mainchain, &question, anchor_content, err);
}

static bool http_lookup(struct mainchain *mainchain, uint64_t token, uint16_t lane,
                        const struct hash *key, struct err *err)
{
	struct http_question question = {
		.call = MAINCHAIN_LOOKUP, .token = token, .lane = lane, .key = *key
	};
	return add_call(mainchain, &question, BYTES_NONE, err);
}

static bool http_head(struct mainchain *mainchain, uint64_t token, uint16_t lane, struct err *err)
{
	struct http_question question = { .call = MAINCHAIN_HEAD, .token = token, .lane = lane };
	return add_call(mainchain, &question, BYTES_NONE, err);
}

static bool http_fence(struct mainchain *mainchain, uint64_t token, uint16_t lane,
                       uint64_t expected, struct err *err)
{
	assert(expected < MAIN_NUMBER_MAX);
	struct http_question question = {
		.call = MAINCHAIN_FENCE, .token = token, .lane = lane, .fence = expected
	};
	return add_call(mainchain, &question, BYTES_NONE, err);
}

static bool http_content(struct mainchain *mainchain, uint64_t token, uint16_t lane, uint64_t seq,
                         struct err *err)
{
	struct http_question question = {
		.call = MAINCHAIN_CONTENT, .token = token, .lane = lane, .seq = seq
	};
	return add_call(mainchain, &question, BYTES_NONE, err);
}

static size_t http_endpoint_count(const struct mainchain *mainchain)
{
	return mainchain->endpoints.count;
}

static void http_endpoint_status(const struct mainchain *mainchain, size_t index,
                                 struct mainchain_endpoint_status *out_status)
{
	assert(index < mainchain->endpoints.count);
	*out_status = mainchain->endpoints.items[index].status;
}

const struct mainchain_adapter *mainchain_http(void)
{
	static const struct mainchain_adapter adapter = {
		.name = "http",
		.text = "A main chain behind the HTTP API of docs/mainchain-api.yaml.",
		.deliver_mask = 1u << DELIVER_ANCHOR | 1u << DELIVER_HEADERS | 1u << DELIVER_FULL,
		.open = http_open,
		.close = http_close,
		.reload = http_reload,
		.put = http_put,
		.submit = http_submit,
		.lookup = http_lookup,
		.head = http_head,
		.fence = http_fence,
		.content = http_content,
		.endpoint_count = http_endpoint_count,
		.endpoint_status = http_endpoint_status,
		.evidence_check = http_evidence_check,
	};
	return &adapter;
}
