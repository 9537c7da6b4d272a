/* http_loop.h -- libcurl transfers driven by a libevent loop.
 *
 * Threads: the one that runs the base.
 */
#ifndef ZR_ADAPTERS_MAINCHAIN_HTTP_LOOP_H
#define ZR_ADAPTERS_MAINCHAIN_HTTP_LOOP_H

#include <curl/curl.h>
#include <stdbool.h>
#include <stdint.h>

#include "relay/base/err.h"

struct event_base;
struct http_loop;

/* A transfer ended. It was taken out of the loop; the receiver may clean it up, and may start others,
 * but must not free the loop. */
typedef void http_loop_on_done(CURL *easy, CURLcode result, void *arg);

/* Initialises libcurl, once in the process. */
bool http_loop_new(struct http_loop **out_loop, struct event_base *base, uint32_t connection_max,
                   http_loop_on_done *on_done, void *arg, struct err *err) MUST_CHECK;
/* No transfer may be in it. NULL is allowed. */
void http_loop_free(struct http_loop *loop);

/* Begins a transfer; on_done comes later, never from within this call. */
bool http_loop_start(struct http_loop *loop, CURL *easy, struct err *err) MUST_CHECK;
/* Takes a transfer out that has not ended; there will be no on_done. */
void http_loop_cancel(struct http_loop *loop, CURL *easy);

#endif
