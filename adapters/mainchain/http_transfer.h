/* http_transfer.h -- one HTTP request and what became of it.
 *
 * A transfer is made from a question and the settings, handed to a loop as transfer->easy, and read
 * when it has ended. It decides one thing: whether the main chain can have seen the request.
 */
#ifndef ZR_ADAPTERS_MAINCHAIN_HTTP_TRANSFER_H
#define ZR_ADAPTERS_MAINCHAIN_HTTP_TRANSFER_H

#include <curl/curl.h>

#include "adapters/mainchain/http_answer.h"
#include "adapters/mainchain/http_settings.h"

enum http_fate {
	HTTP_ANSWERED, /* An HTTP answer arrived, complete. */
	HTTP_UNSENT,   /* The request never left. */
	HTTP_LOST,     /* It may have arrived, and there is no complete answer. */
};

struct http_transfer {
	CURL *easy; /* Owned. */
	struct curl_slist *headers;
	struct buffer out_of_line; /* A body made here, not borrowed. */
	struct buffer body;        /* The answer's. */
	int64_t retry_after_ms;
	int64_t time_max_ms; /* libcurl is told to end it after so long. */
	size_t body_max_bytes;
	bool too_large; /* The answer is; it was cut off. */
	char error[CURL_ERROR_SIZE];
};

/* The question's call says method, path and headers. body is kept until http_transfer_free().
 * arg comes back from curl's CURLINFO_PRIVATE. */
bool http_transfer_new(struct http_transfer **out_transfer, const struct http_question *question,
                       struct bytes body, struct http_settings *settings, size_t url_index,
                       void *arg, struct err *err) MUST_CHECK;
void http_transfer_free(struct http_transfer *transfer); /* NULL is allowed. Not in a loop. */

/* After it has ended with result. out_response borrows from transfer; set for HTTP_ANSWERED only. */
enum http_fate http_transfer_read(const struct http_transfer *transfer, CURLcode result,
                                  struct http_response *out_response);
/* Why there was no answer, for people. Borrowed from transfer. */
const char *http_transfer_error(const struct http_transfer *transfer, CURLcode result);
void http_transfer_traffic(const struct http_transfer *transfer, uint64_t *out_bytes_out,
                           uint64_t *out_bytes_in);

/* The decision itself. request_size: bytes of request that were written to a connection; what asks a
 * proxy for a tunnel counts as well, so behind one "unsent" is said less often than it could be. */
enum http_fate http_fate_of(CURLcode result, long status, long connect_status, long request_size);

#endif
