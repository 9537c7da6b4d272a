/* Everything that libcurl is told about one request stands here. What would make it depend on the
 * machine's environment (proxies, .netrc, redirects) is set explicitly. */
#include "adapters/mainchain/http_transfer.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "adapters/mainchain/api.h"

/* Slower than this, an upload is given up: 16 KiB/s. */
#define UPLOAD_BYTES_PER_MS 16

#define PATH_SIZE_MAX 160

/* ---- what comes in ---- */

static size_t on_body(char *data, size_t one, size_t size, void *arg)
{
	struct http_transfer *transfer = arg;
	if (transfer->body.size + size > transfer->body_max_bytes) {
		transfer->too_large = true;
		return 0;
	}
	buffer_put(&transfer->body, (struct bytes){ (const uint8_t *)data, size });
	return transfer->body.failed ? 0 : size;
}

static size_t on_header(char *data, size_t one, size_t size, void *arg)
{
	struct http_transfer *transfer = arg;
	int64_t wait_ms = http_retry_after_ms((struct bytes){ (const uint8_t *)data, size });
	if (wait_ms != 0)
		transfer->retry_after_ms = wait_ms;
	return size;
}

/* ---- what goes out ---- */

struct request_shape {
	const char *method;
	const char *content_type; /* NULL: no body. */
};

static const struct request_shape shapes[] = {
	[MAINCHAIN_PUT] = { "PUT", "Content-Type: application/octet-stream" },
	[MAINCHAIN_SUBMIT] = { "PUT", "Content-Type: application/octet-stream" },
	[MAINCHAIN_LOOKUP] = { "GET", NULL },
	[MAINCHAIN_HEAD] = { "GET", NULL },
	[MAINCHAIN_FENCE] = { "POST", "Content-Type: application/json" },
	[MAINCHAIN_CONTENT] = { "GET", NULL },
};

static void write_path(const struct http_question *question, char out_path[static PATH_SIZE_MAX])
{
	char hex[HASH_HEX_SIZE];
	hash_hex(&question->key, hex);
	switch (question->call) {
	case MAINCHAIN_PUT:
		(void)snprintf(out_path, PATH_SIZE_MAX, "/v1/batches/%s", hex);
		break;
	case MAINCHAIN_SUBMIT:
	case MAINCHAIN_LOOKUP:
		(void)snprintf(out_path, PATH_SIZE_MAX, "/v1/lanes/%u/anchors/%s", question->lane,
		               hex);
		break;
	case MAINCHAIN_HEAD:
		(void)snprintf(out_path, PATH_SIZE_MAX, "/v1/lanes/%u/head", question->lane);
		break;
	case MAINCHAIN_FENCE:
		(void)snprintf(out_path, PATH_SIZE_MAX, "/v1/lanes/%u/fence", question->lane);
		break;
	case MAINCHAIN_CONTENT:
		(void)snprintf(out_path, PATH_SIZE_MAX, "/v1/lanes/%u/sequence/%" PRIu64,
		               question->lane, question->seq);
		break;
	}
}

static bool add_header(struct http_transfer *transfer, const char *line)
{
	struct curl_slist *headers = curl_slist_append(transfer->headers, line);
	if (headers != NULL)
		transfer->headers = headers;
	return headers != NULL;
}

static bool add_headers(struct http_transfer *transfer, const struct http_question *question,
                        const char *token)
{
	char line[HTTP_TOKEN_MAX + 64];
	/* We would wait for a "100 Continue" that many gateways never send. */
	bool added = add_header(transfer, "Expect:") &&
	             add_header(transfer, "Accept: application/json, application/octet-stream");
	if (added && shapes[question->call].content_type != NULL)
		added = add_header(transfer, shapes[question->call].content_type);
	if (added && question->call == MAINCHAIN_SUBMIT) {
		(void)snprintf(line, sizeof(line), API_FENCE_HEADER ": %" PRIu64, question->fence);
		added = add_header(transfer, line);
	}
	if (added && token != NULL) {
		(void)snprintf(line, sizeof(line), "Authorization: Bearer %s", token);
		added = add_header(transfer, line);
		secret_wipe(line, sizeof(line));
	}
	return added;
}

/* Remembers the first failure of many curl_easy_setopt() calls. */
#define SET(option, value) \
	(result = result != CURLE_OK ? result : curl_easy_setopt(easy, option, value))

static CURLcode set_security(CURL *easy, const struct http_settings *settings)
{
	CURLcode result = CURLE_OK;
	SET(CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
	if (settings->ca_file != NULL) {
		SET(CURLOPT_CAINFO, settings->ca_file);
		SET(CURLOPT_CAPATH, NULL);
	}
	if (settings->certificate_file != NULL) {
		SET(CURLOPT_SSLCERT, settings->certificate_file);
		SET(CURLOPT_SSLKEY, settings->key_file);
	}
	/* An empty proxy is none, whatever http_proxy says; likewise for the exceptions. */
	SET(CURLOPT_PROXY, settings->proxy == NULL ? "" : settings->proxy);
	SET(CURLOPT_NOPROXY, "");
	return result;
}

static CURLcode set_limits(struct http_transfer *transfer, const struct http_settings *settings,
                           size_t body_size)
{
	CURL *easy = transfer->easy;
	CURLcode result = CURLE_OK;
	transfer->time_max_ms =
		(int64_t)(settings->connect_timeout_ms + settings->answer_timeout_ms +
	                  body_size / UPLOAD_BYTES_PER_MS);
	SET(CURLOPT_NOSIGNAL, 1L);
	SET(CURLOPT_CONNECTTIMEOUT_MS, (long)settings->connect_timeout_ms);
	SET(CURLOPT_TIMEOUT_MS, (long)transfer->time_max_ms);
	SET(CURLOPT_FOLLOWLOCATION, 0L);
	SET(CURLOPT_TCP_KEEPALIVE, 1L);
	SET(CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_2TLS);
	SET(CURLOPT_PIPEWAIT, 1L);
	return result;
}

static CURLcode set_request(struct http_transfer *transfer, const struct http_question *question,
                            struct bytes body, const char *url)
{
	CURL *easy = transfer->easy;
	CURLcode result = CURLE_OK;
	char path[PATH_SIZE_MAX], whole[HTTP_URL_MAX + PATH_SIZE_MAX];
	write_path(question, path);
	(void)snprintf(whole, sizeof(whole), "%s%s", url, path);
	SET(CURLOPT_URL, whole);
	if (shapes[question->call].content_type != NULL) {
		SET(CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)body.size);
		SET(CURLOPT_POSTFIELDS, body.size == 0 ? "" : (const char *)body.data);
		SET(CURLOPT_CUSTOMREQUEST, shapes[question->call].method);
	}
	/* On a connection that was used before, libcurl itself sends a request again if the connection
	 * turns out to be dead, and then tells of the second attempt only: "cannot connect" would not
	 * mean that nothing was sent. What must not be in doubt needlessly gets a new connection. */
	if (question->call == MAINCHAIN_SUBMIT || question->call == MAINCHAIN_FENCE)
		SET(CURLOPT_FRESH_CONNECT, 1L);
	SET(CURLOPT_HTTPHEADER, transfer->headers);
	SET(CURLOPT_USERAGENT, "zonerelay/" ZR_VERSION);
	SET(CURLOPT_WRITEFUNCTION, on_body);
	SET(CURLOPT_WRITEDATA, transfer);
	SET(CURLOPT_HEADERFUNCTION, on_header);
	SET(CURLOPT_HEADERDATA, transfer);
	SET(CURLOPT_ERRORBUFFER, transfer->error);
	return result;
}

bool http_transfer_new(struct http_transfer **out_transfer, const struct http_question *question,
                       struct bytes body, struct http_settings *settings, size_t url_index,
                       void *arg, struct err *err)
{
	struct http_transfer *transfer = calloc(1, sizeof(*transfer));
	if (transfer == NULL)
		return err_set(err, ZR_NO_MEMORY, "a request");
	transfer->body_max_bytes =
		question->call == MAINCHAIN_CONTENT ? ANCHOR_CONTENT_SIZE_MAX : API_ANSWER_SIZE_MAX;

	if (question->call == MAINCHAIN_FENCE) {
		buffer_printf(&transfer->out_of_line, "{\"expected\":%" PRIu64 "}",
		              question->fence);
		body = buffer_bytes(&transfer->out_of_line);
	}
	transfer->easy = curl_easy_init();
	if (transfer->easy == NULL || transfer->out_of_line.failed ||
	    !add_headers(transfer, question, http_settings_token(settings)))
		goto fail;
	if (set_request(transfer, question, body, settings->urls[url_index]) != CURLE_OK ||
	    set_limits(transfer, settings, body.size) != CURLE_OK ||
	    set_security(transfer->easy, settings) != CURLE_OK ||
	    curl_easy_setopt(transfer->easy, CURLOPT_PRIVATE, arg) != CURLE_OK)
		goto fail;

	*out_transfer = transfer;
	return true;

fail:
	http_transfer_free(transfer);
	return err_set(err, ZR_NO_MEMORY, "a request to %s", settings->urls[url_index]);
}

void http_transfer_free(struct http_transfer *transfer)
{
	if (transfer == NULL)
		return;
	if (transfer->easy != NULL)
		curl_easy_cleanup(transfer->easy);
	curl_slist_free_all(transfer->headers);
	buffer_fini(&transfer->out_of_line);
	buffer_fini(&transfer->body);
	free(transfer);
}

/* ---- what became of it ---- */

/* Failures that libcurl has before it writes a request. Some of them it has later, too, so they count
 * only where nothing was written. */
static bool fails_before_sending(CURLcode result)
{
	static const CURLcode codes[] = {
		CURLE_URL_MALFORMAT,
		CURLE_NOT_BUILT_IN,
		CURLE_COULDNT_RESOLVE_PROXY,
		CURLE_COULDNT_RESOLVE_HOST,
		CURLE_COULDNT_CONNECT,
		CURLE_INTERFACE_FAILED,
		CURLE_SSL_CONNECT_ERROR,
		CURLE_SSL_CERTPROBLEM,
		CURLE_SSL_CIPHER,
		CURLE_SSL_CACERT,
		CURLE_PEER_FAILED_VERIFICATION,
		CURLE_SSL_CACERT_BADFILE,
		CURLE_SSL_ISSUER_ERROR,
		CURLE_SSL_ENGINE_NOTFOUND,
		CURLE_SSL_ENGINE_SETFAILED,
	};
	for (size_t i = 0; i < sizeof(codes) / sizeof(codes[0]); i++) {
		if (result == codes[i])
			return true;
	}
	return false;
}

enum http_fate http_fate_of(CURLcode result, long status, long connect_status, long request_size)
{
	if (result == CURLE_OK && status != 0)
		return HTTP_ANSWERED;
	if (status != 0)
		return HTTP_LOST;
	if (request_size == 0 &&
	    (fails_before_sending(result) || result == CURLE_OPERATION_TIMEDOUT))
		return HTTP_UNSENT;
	/* A proxy said no to CONNECT: there never was a way to the main chain. */
	return connect_status >= 300 ? HTTP_UNSENT : HTTP_LOST;
}

enum http_fate http_transfer_read(const struct http_transfer *transfer, CURLcode result,
                                  struct http_response *out_response)
{
	long status = 0, connect_status = 0, request_size = 0;
	curl_easy_getinfo(transfer->easy, CURLINFO_RESPONSE_CODE, &status);
	curl_easy_getinfo(transfer->easy, CURLINFO_HTTP_CONNECTCODE, &connect_status);
	curl_easy_getinfo(transfer->easy, CURLINFO_REQUEST_SIZE, &request_size);
	enum http_fate fate = http_fate_of(result, status, connect_status, request_size);
	if (fate == HTTP_ANSWERED)
		*out_response = (struct http_response){ status, buffer_bytes(&transfer->body),
			                                transfer->retry_after_ms };
	return fate;
}

const char *http_transfer_error(const struct http_transfer *transfer, CURLcode result)
{
	if (transfer->too_large)
		return "the answer is too large";
	return transfer->error[0] != 0 ? transfer->error : curl_easy_strerror(result);
}

void http_transfer_traffic(const struct http_transfer *transfer, uint64_t *out_bytes_out,
                           uint64_t *out_bytes_in)
{
	long request_size = 0, header_size = 0;
	curl_off_t sent = 0, received = 0;
	curl_easy_getinfo(transfer->easy, CURLINFO_REQUEST_SIZE, &request_size);
	curl_easy_getinfo(transfer->easy, CURLINFO_HEADER_SIZE, &header_size);
	curl_easy_getinfo(transfer->easy, CURLINFO_SIZE_UPLOAD_T, &sent);
	curl_easy_getinfo(transfer->easy, CURLINFO_SIZE_DOWNLOAD_T, &received);
	*out_bytes_out = (uint64_t)request_size + (uint64_t)sent;
	*out_bytes_in = (uint64_t)header_size + (uint64_t)received;
}
