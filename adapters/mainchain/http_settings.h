/* http_settings.h -- the options of the http adapter, copied and checked, and the bearer token.
 *
 * Immutable but for the token, which follows its file.
 */
#ifndef ZR_ADAPTERS_MAINCHAIN_HTTP_SETTINGS_H
#define ZR_ADAPTERS_MAINCHAIN_HTTP_SETTINGS_H

#include <sys/stat.h>

#include "adapters/mainchain.h"
#include "adapters/mainchain/endpoints.h"
#include "adapters/mainchain/trusted.h"

#define HTTP_URL_MAX       512
#define HTTP_TOKEN_MAX     8192
#define HTTP_IN_FLIGHT_MAX 1024

struct http_settings {
	char *urls[ENDPOINTS_MAX]; /* Without a slash at the end. */
	size_t url_count;
	char *ca_file; /* This and what follows may be NULL, as in mainchain_options. */
	char *certificate_file;
	char *key_file;
	char *token_file;
	char *proxy;
	uint64_t connect_timeout_ms;
	uint64_t answer_timeout_ms;
	uint32_t in_flight_max;
	struct trusted *trusted; /* NULL: none given. */
	char *token;             /* As it stood in the file when it was last good. */
	struct stat token_stat;  /* Of that file then. */
};

/* Reads and checks every file once, so that a mistake shows here and not at the next connection.
 * Errors: ZR_INVALID  an option, or what is in a file.  ZR_UNAVAILABLE, ZR_FULL  a file that cannot
 * be read, or is too large. */
bool http_settings_new(struct http_settings **out_settings, const struct mainchain_options *options,
                       struct err *err) MUST_CHECK;
void http_settings_free(struct http_settings *settings); /* NULL is allowed. */

bool http_settings_same_urls(const struct http_settings *a, const struct http_settings *b);

/* The token now: looks whether the file changed, and keeps the old token while it cannot be read.
 * NULL: there is none. Borrowed until the next call. */
const char *http_settings_token(struct http_settings *settings);

#endif
