/* tls_bufferevent.h -- TLS under libevent's own HTTP server.
 *
 * Connections of our link protocol are relay/net/conn.h; this is for servers whose protocol libevent
 * speaks itself.
 */
#ifndef ZR_NET_TLS_BUFFEREVENT_H
#define ZR_NET_TLS_BUFFEREVENT_H

#include "relay/net/tls.h"

struct bufferevent;
struct event_base;

/* The server's side of a connection whose socket comes later (bufferevent_setfd()), and which lets in
 * whom context trusts. It closes its socket when it is freed. NULL when out of memory. */
struct bufferevent *tls_bufferevent_new(struct tls_context *context, struct event_base *base);

#endif
