/* libcurl says which sockets and which time it waits for; libevent waits; libcurl is told what came.
 *
 *     curl --- on_socket_wish(), on_timer_wish() ---> events
 *     events --- on_ready(), on_timer() ---> curl_multi_socket_action() ---> on_done()
 */
#include "adapters/mainchain/http_loop.h"

#include <assert.h>
#include <event2/event.h>
#include <pthread.h>
#include <stdlib.h>

struct http_loop {
	struct event_base *base; /* Kept. */
	struct event *timer;     /* Owned. */
	CURLM *multi;            /* Owned. */
	http_loop_on_done *on_done;
	void *arg;
	bool in_action; /* Within libcurl's own callbacks. */
};

static pthread_once_t curl_once = PTHREAD_ONCE_INIT;
static CURLcode curl_started = CURLE_FAILED_INIT;

static void start_curl(void)
{
	curl_started = curl_global_init(CURL_GLOBAL_DEFAULT);
}

/* ---- what ended ---- */

static void take_ended(struct http_loop *loop)
{
	int left;
	CURLMsg *message;
	while ((message = curl_multi_info_read(loop->multi, &left)) != NULL) {
		if (message->msg != CURLMSG_DONE)
			continue;
		CURL *easy = message->easy_handle;
		CURLcode result = message->data.result; /* message dies with the removal. */
		curl_multi_remove_handle(loop->multi, easy);
		loop->on_done(easy, result, loop->arg);
	}
}

static void act(struct http_loop *loop, curl_socket_t fd, int what)
{
	int running;
	assert(!loop->in_action);
	loop->in_action = true;
	(void)curl_multi_socket_action(loop->multi, fd, what, &running);
	loop->in_action = false;
	take_ended(loop);
}

/* ---- from libevent ---- */

static void on_ready(evutil_socket_t fd, short what, void *arg)
{
	act(arg, (curl_socket_t)fd,
	    (what & EV_READ ? CURL_CSELECT_IN : 0) | (what & EV_WRITE ? CURL_CSELECT_OUT : 0));
}

static void set_timer(struct http_loop *loop, long timeout_ms)
{
	const struct timeval wait = { timeout_ms / 1000, (timeout_ms % 1000) * 1000 };
	if (event_add(loop->timer, &wait) != 0)
		event_active(loop->timer, EV_TIMEOUT, 0); /* Early rather than never. */
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
	struct http_loop *loop = arg;
	long left_ms = -1;
	act(loop, CURL_SOCKET_TIMEOUT, 0);
	/* Where it fired early, libcurl does not say again what it has said. */
	if (!evtimer_pending(loop->timer, NULL) &&
	    curl_multi_timeout(loop->multi, &left_ms) == CURLM_OK && left_ms >= 0)
		set_timer(loop, left_ms);
}

/* ---- from libcurl ---- */

/* The event of a socket, made at the first wish; NULL: there is no memory. */
static struct event *event_of(struct http_loop *loop, curl_socket_t fd, struct event *event,
                              short what)
{
	if (event != NULL) {
		event_del(event);
		event_assign(event, loop->base, fd, what, on_ready, loop);
		return event;
	}
	event = event_new(loop->base, fd, what, on_ready, loop);
	/* What libcurl does not know it could not give back. */
	if (event != NULL && curl_multi_assign(loop->multi, fd, event) != CURLM_OK) {
		event_free(event);
		event = NULL;
	}
	return event;
}

/* Without an event a transfer would hang; its own time-out ends it then. */
static int on_socket_wish(CURL *easy, curl_socket_t fd, int wish, void *arg, void *socket_arg)
{
	struct event *event = socket_arg;
	if (wish == CURL_POLL_REMOVE) {
		if (event != NULL)
			event_free(event);
		return 0;
	}
	int what = EV_PERSIST | (wish & CURL_POLL_IN ? EV_READ : 0) |
	           (wish & CURL_POLL_OUT ? EV_WRITE : 0);
	event = event_of(arg, fd, event, (short)what);
	if (event != NULL)
		(void)event_add(event, NULL);
	return 0;
}

static int on_timer_wish(CURLM *multi, long timeout_ms, void *arg)
{
	struct http_loop *loop = arg;
	if (timeout_ms < 0) {
		event_del(loop->timer);
		return 0;
	}
	/* A failure told to libcurl would be the end of all its transfers, now and later. */
	set_timer(loop, timeout_ms);
	return 0;
}

/* ---- the life of a loop ---- */

bool http_loop_new(struct http_loop **out_loop, struct event_base *base, uint32_t connection_max,
                   http_loop_on_done *on_done, void *arg, struct err *err)
{
	pthread_once(&curl_once, start_curl);
	struct http_loop *loop = calloc(1, sizeof(*loop));
	if (curl_started != CURLE_OK || loop == NULL)
		goto fail;

	loop->base = base;
	loop->on_done = on_done;
	loop->arg = arg;
	loop->multi = curl_multi_init();
	loop->timer = evtimer_new(base, on_timer, loop);
	if (loop->multi == NULL || loop->timer == NULL)
		goto fail;
	curl_multi_setopt(loop->multi, CURLMOPT_SOCKETFUNCTION, on_socket_wish);
	curl_multi_setopt(loop->multi, CURLMOPT_SOCKETDATA, loop);
	curl_multi_setopt(loop->multi, CURLMOPT_TIMERFUNCTION, on_timer_wish);
	curl_multi_setopt(loop->multi, CURLMOPT_TIMERDATA, loop);
	curl_multi_setopt(loop->multi, CURLMOPT_PIPELINING, CURLPIPE_MULTIPLEX);
	curl_multi_setopt(loop->multi, CURLMOPT_MAX_TOTAL_CONNECTIONS, (long)connection_max);

	*out_loop = loop;
	return true;

fail:
	http_loop_free(loop);
	return err_set(err, ZR_NO_MEMORY, "the HTTP client cannot begin");
}

void http_loop_free(struct http_loop *loop)
{
	if (loop == NULL)
		return;
	assert(!loop->in_action);
	if (loop->multi != NULL)
		curl_multi_cleanup(
			loop->multi); /* Closes connections and asks for their events' removal. */
	if (loop->timer != NULL)
		event_free(loop->timer);
	free(loop);
}

bool http_loop_start(struct http_loop *loop, CURL *easy, struct err *err)
{
	CURLMcode result = curl_multi_add_handle(loop->multi, easy);
	return result == CURLM_OK ||
	       err_set(err, ZR_NO_MEMORY, "begin a transfer: %s", curl_multi_strerror(result));
}

void http_loop_cancel(struct http_loop *loop, CURL *easy)
{
	curl_multi_remove_handle(loop->multi, easy);
}
