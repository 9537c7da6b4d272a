/* http.h -- /metrics, /healthz, /readyz and the read-only /api/v1, on a listener of their own.
 *
 * Threads: the loop.
 */
#ifndef ZR_RELAY_HTTP_H
#define ZR_RELAY_HTTP_H

#include "relay/base/err.h"

struct gateway;
struct http;

/* Errors: ZR_UNAVAILABLE  an address cannot be bound. */
bool http_start(struct http **out_http, struct gateway *gateway, struct err *err) MUST_CHECK;
void http_stop(struct http *http); /* NULL is allowed. */

#endif
