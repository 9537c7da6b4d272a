/* From a request to its handler: the path, the token, and what is refused before it is done. */
#include <string.h>

#include "adapters/mainchain/devchain/server_private.h"

static bool token_fits(const struct server *server, struct evhttp_request *request)
{
	static const char scheme[] = "Bearer ";
	const char *wanted = server->options.token;
	if (wanted == NULL)
		return true;
	const char *given =
		evhttp_find_header(evhttp_request_get_input_headers(request), "Authorization");
	if (given == NULL || strncmp(given, scheme, sizeof(scheme) - 1) != 0)
		return false;
	/* Compared by hash, so that the time it takes says nothing. */
	struct hash a = sha256(bytes_of_string(given + sizeof(scheme) - 1));
	struct hash b = sha256(bytes_of_string(wanted));
	return hash_equal(&a, &b);
}

/* Something of the request is answered before it is done. */
static bool refuses_before(struct exchange *exchange)
{
	uint64_t parameter;
	if (!token_fits(exchange->server, exchange->request)) {
		reply_reason(exchange, API_DENIED, 401, "the token");
	} else if (exchange_acts(exchange, MISBEHAVE_DROP_BEFORE, NULL)) {
		reply_nothing(exchange);
	} else if (exchange_acts(exchange, MISBEHAVE_BUSY, &parameter)) {
		exchange->retry_after_s = parameter;
		reply_reason(exchange, API_BUSY, 503, "as it was told to be");
	} else if (exchange_acts(exchange, MISBEHAVE_DENY, NULL)) {
		reply_reason(exchange, API_DENIED, 403, "as it was told to do");
	} else if (exchange_acts(exchange, MISBEHAVE_ERROR_BEFORE, &parameter)) {
		reply_text(exchange, (int)parameter, "something went wrong");
	} else {
		return false;
	}
	return true;
}

/* Takes one path segment off; "" at the end. */
static struct bytes take_segment(const char **path)
{
	if (**path == '/')
		(*path)++;
	struct bytes segment = { (const uint8_t *)*path, strcspn(*path, "/?") };
	*path += segment.size;
	return segment;
}

bool route_number(struct bytes text, uint64_t max, uint64_t *out_number)
{
	uint64_t number = 0;
	if (text.size == 0 || text.size > 19 || (text.size > 1 && text.data[0] == '0'))
		return false;
	for (size_t i = 0; i < text.size; i++) {
		if (text.data[i] < '0' || text.data[i] > '9')
			return false;
		number = number * 10 + (uint64_t)(text.data[i] - '0');
	}
	*out_number = number;
	return number <= max;
}

static bool read_hash(struct bytes text, struct hash *out_hash)
{
	char hex[HASH_HEX_SIZE];
	if (text.size != sizeof(hex) - 1)
		return false;
	memcpy(hex, text.data, text.size);
	hex[text.size] = 0;
	return strspn(hex, "0123456789abcdef") == text.size && hash_from_hex(out_hash, hex);
}

enum segment { SEGMENT_OTHER, SEGMENT_GOOD, SEGMENT_BAD };

/* Does the segment of a request fit the segment of a route? Bad: it stands in the right place. */
static enum segment match_segment(struct bytes wanted, struct bytes given,
                                  struct exchange *exchange)
{
	uint64_t number;
	bool good;
	if (wanted.size == 0 || wanted.data[0] != '{')
		return bytes_equal(wanted, given) ? SEGMENT_GOOD : SEGMENT_OTHER;
	if (bytes_equal(wanted, BYTES_LITERAL("{lane}"))) {
		good = route_number(given, UINT16_MAX, &number);
		exchange->lane = good ? (uint16_t)number : 0;
	} else if (bytes_equal(wanted, BYTES_LITERAL("{height}")) ||
	           bytes_equal(wanted, BYTES_LITERAL("{seq}"))) {
		good = route_number(given, MAIN_NUMBER_MAX, &exchange->height);
	} else {
		good = read_hash(given, &exchange->hash);
	}
	return good ? SEGMENT_GOOD : SEGMENT_BAD;
}

static enum segment match_path(const char *wanted, const char *given, struct exchange *exchange)
{
	enum segment result = SEGMENT_GOOD;
	while (*wanted != 0 || (*given != 0 && *given != '?')) {
		enum segment next =
			match_segment(take_segment(&wanted), take_segment(&given), exchange);
		if (next == SEGMENT_OTHER)
			return SEGMENT_OTHER;
		if (next == SEGMENT_BAD)
			result = SEGMENT_BAD;
	}
	return result;
}

void exchange_dispatch(struct exchange *exchange)
{
	const char *path = evhttp_request_get_uri(exchange->request);
	bool other_method = false;
	const struct route *route;
	for (size_t i = 0; (route = server_route_at(i)) != NULL; i++) {
		enum segment match = match_path(route->path, path, exchange);
		if (match == SEGMENT_OTHER)
			continue;
		if (route->method != evhttp_request_get_command(exchange->request)) {
			other_method = true;
			continue;
		}
		exchange->route = route;
		if (refuses_before(exchange))
			return;
		if (match == SEGMENT_BAD)
			reply_reason(exchange, API_CONTENT, 400, "the path");
		else
			route->handler(exchange);
		return;
	}
	reply_text(exchange, other_method ? 405 : 404,
	           other_method ? "no such method here" : "no such path");
}

static const char *method_name(enum evhttp_cmd_type method)
{
	return method == EVHTTP_REQ_PUT ? "put" : method == EVHTTP_REQ_POST ? "post" : "get";
}

json_t *server_routes(void)
{
	json_t *routes = json_array();
	const struct route *route;
	for (size_t i = 0; (route = server_route_at(i)) != NULL; i++)
		json_array_append_new(routes,
		                      json_pack("{s:s, s:s}", "method", method_name(route->method),
		                                "path", route->path));
	return routes;
}
