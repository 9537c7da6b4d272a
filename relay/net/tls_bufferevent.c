/* libevent's TLS filter over one of our contexts. */
#include "relay/net/tls_bufferevent.h"

#include <assert.h>
#include <event2/bufferevent.h>
#include <event2/bufferevent_ssl.h>

#include "relay/net/tls_internal.h"

struct bufferevent *tls_bufferevent_new(struct tls_context *context, struct event_base *base)
{
	assert(tls_is_server(context));
	SSL *ssl = tls_ssl_new(context, -1, NULL);
	if (ssl == NULL)
		return NULL;
	/* libevent asks SSL_pending(), which does not see what was read ahead. */
	SSL_set_read_ahead(ssl, 0);
	struct bufferevent *bufferevent = bufferevent_openssl_socket_new(
		base, -1, ssl, BUFFEREVENT_SSL_ACCEPTING, BEV_OPT_CLOSE_ON_FREE);
	if (bufferevent == NULL)
		SSL_free(ssl);
	else
		/* A peer that ends without "close notify" is an end, not an error. */
		bufferevent_openssl_set_allow_dirty_shutdown(bufferevent, 1);
	return bufferevent;
}
