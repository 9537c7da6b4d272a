/* The status chooses the reader, the reader wants every member it needs, and each member that
 * repeats the question must repeat it exactly. */
#include "adapters/mainchain/http_answer.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "adapters/mainchain/api.h"
#include "adapters/mainchain/evidence.h"

#define RETRY_AFTER_MAX_MS INT64_C(3600000)

void http_answer_begin(struct http_answer *answer, const struct http_question *question,
                       enum mainchain_outcome outcome)
{
	buffer_clear(&answer->evidence);
	answer->detail[0] = 0;
	answer->from_api = answer->has_height = false;
	answer->view = (struct mainchain_answer){ .call = question->call,
		                                  .token = question->token,
		                                  .outcome = outcome,
		                                  .entry_index = -1,
		                                  .detail = answer->detail };
}

void http_answer_fini(struct http_answer *answer)
{
	buffer_fini(&answer->evidence);
}

void http_answer_tell(struct http_answer *answer, const char *format, ...)
{
	va_list arguments;
	va_start(arguments, format);
	(void)vsnprintf(answer->detail, sizeof(answer->detail), format, arguments);
	va_end(arguments);
}

/* ---- members ---- */

static bool member_number(const json_t *object, const char *name, uint64_t *out_number)
{
	const json_t *value = json_object_get(object, name);
	if (!json_is_integer(value) || json_integer_value(value) < 0)
		return false;
	*out_number = (uint64_t)json_integer_value(value);
	return true;
}

static bool read_height(struct http_answer *answer, const json_t *object)
{
	answer->has_height = member_number(object, "height", &answer->view.height);
	return answer->has_height;
}

static bool is_lower_hex(const char *text)
{
	return strspn(text, "0123456789abcdef") == strlen(text);
}

static bool member_hash(const json_t *object, const char *name, struct hash *out_hash)
{
	const char *text = json_string_value(json_object_get(object, name));
	return text != NULL && is_lower_hex(text) && hash_from_hex(out_hash, text);
}

static bool member_is(const json_t *object, const char *name, const char *expected)
{
	const char *text = json_string_value(json_object_get(object, name));
	return text != NULL && strcmp(text, expected) == 0;
}

static bool member_is_hash(const json_t *object, const char *name, const struct hash *expected)
{
	struct hash hash;
	return member_hash(object, name, &hash) && hash_equal(&hash, expected);
}

static bool member_is_lane(const json_t *object, uint16_t lane)
{
	uint64_t number;
	return member_number(object, "lane", &number) && number == lane;
}

/* ---- what each call is told when it went well ---- */

static bool read_put(struct http_answer *answer, const struct http_question *question,
                     const json_t *object)
{
	answer->view.outcome = MAINCHAIN_OK;
	return member_is_hash(object, "content", &question->key);
}

static bool read_head(struct http_answer *answer, const struct http_question *question,
                      const json_t *object)
{
	struct mainchain_answer *view = &answer->view;
	view->outcome = MAINCHAIN_OK;
	return member_is_lane(object, question->lane) && member_number(object, "seq", &view->seq) &&
	       member_hash(object, "root", &view->root) && member_hash(object, "key", &view->key) &&
	       member_number(object, "fence", &view->fence) &&
	       (view->seq == 0) == (hash_is_zero(&view->root) && hash_is_zero(&view->key));
}

static bool read_fence(struct http_answer *answer, const struct http_question *question,
                       const json_t *object)
{
	answer->view.outcome = MAINCHAIN_OK;
	return member_is_lane(object, question->lane) &&
	       member_number(object, "fence", &answer->view.fence) &&
	       answer->view.fence == question->fence + 1;
}

/* Does the transaction that the evidence is of say what the answer says? */
static bool evidence_fits(const struct main_transaction *transaction,
                          const struct http_question *question, const struct mainchain_answer *view)
{
	return transaction->lane == question->lane &&
	       hash_equal(&transaction->key, &question->key) && transaction->seq == view->seq &&
	       hash_equal(&transaction->root, &view->root);
}

static bool read_evidence(struct http_answer *answer, const struct http_question *question,
                          const json_t *object, const struct trusted *trusted)
{
	const json_t *text = json_object_get(object, "evidence");
	struct main_evidence evidence;
	struct err err = { .code = ZR_OK };
	bool good = false;
	if (!json_is_string(text)) {
		http_answer_tell(answer, "final, and there is no evidence");
	} else if (!base64_decode(json_string_value(text), json_string_length(text),
	                          &answer->evidence) ||
	           !main_evidence_decode(buffer_bytes(&answer->evidence), &evidence, &err)) {
		http_answer_tell(answer, "final, and the evidence is malformed");
	} else if (!evidence_fits(&evidence.transaction, question, &answer->view)) {
		http_answer_tell(answer, "final, and the evidence is of another anchor");
	} else if (trusted != NULL) {
		struct buffer checks = BUFFER_EMPTY;
		good = evidence_verify(&evidence, trusted, &checks, &err);
		buffer_fini(&checks);
		if (!good)
			http_answer_tell(answer, "final, and the evidence does not prove it: %s",
			                 err.message);
	} else {
		good = true;
	}
	answer->view.evidence = buffer_bytes(&answer->evidence);
	return good;
}

/* SUBMIT and LOOKUP: where the anchor is recorded. */
static bool read_anchor(struct http_answer *answer, const struct http_question *question,
                        const json_t *object, const struct trusted *trusted)
{
	struct mainchain_answer *view = &answer->view;
	uint64_t block;
	if (!member_is_lane(object, question->lane) ||
	    !member_is_hash(object, "key", &question->key) ||
	    !member_number(object, "seq", &view->seq) ||
	    !member_hash(object, "root", &view->root) || !member_number(object, "block", &block) ||
	    block == 0 || block > view->height)
		return false;
	view->key = question->key;
	if (question->call == MAINCHAIN_SUBMIT &&
	    (view->seq != question->seq || !hash_equal(&view->root, &question->root)))
		return false;
	if (member_is(object, "status", "included")) {
		view->outcome = MAINCHAIN_INCLUDED;
		return true;
	}
	view->outcome = MAINCHAIN_FINAL;
	return member_is(object, "status", "final") &&
	       read_evidence(answer, question, object, trusted);
}

static bool read_good(struct http_answer *answer, const struct http_question *question,
                      const json_t *object, const struct trusted *trusted)
{
	if (!read_height(answer, object))
		return false;
	switch (question->call) {
	case MAINCHAIN_PUT:
		return read_put(answer, question, object);
	case MAINCHAIN_SUBMIT:
	case MAINCHAIN_LOOKUP:
		return read_anchor(answer, question, object, trusted);
	case MAINCHAIN_HEAD:
		return read_head(answer, question, object);
	case MAINCHAIN_FENCE:
		return read_fence(answer, question, object);
	case MAINCHAIN_CONTENT:
		break; /* A good one is no JSON: read_content(). */
	}
	return false;
}

/* ---- refusals ---- */

static bool read_absent(struct http_answer *answer, const struct http_question *question,
                        const json_t *object)
{
	answer->view.outcome = MAINCHAIN_ABSENT;
	bool may_be = question->call == MAINCHAIN_LOOKUP || question->call == MAINCHAIN_CONTENT;
	return may_be && member_is(object, "status", "absent") && read_height(answer, object);
}

/* Nobody may take a refused look-up for a refused anchor: only what was to be recorded or stored is
 * REJECTED. For the other calls no rights means no answer, and reject says why. */
static enum mainchain_outcome denied_outcome(enum mainchain_call call)
{
	return call == MAINCHAIN_SUBMIT || call == MAINCHAIN_PUT ? MAINCHAIN_REJECTED
	                                                         : MAINCHAIN_UNKNOWN;
}

static bool read_reason(struct http_answer *answer, enum api_reason reason, const json_t *object,
                        const struct http_response *response)
{
	struct mainchain_answer *view = &answer->view;
	uint64_t index;
	view->reject = api_reason_row(reason)->reject;
	view->outcome = MAINCHAIN_REJECTED;
	switch (reason) {
	case API_BUSY:
		view->outcome = MAINCHAIN_UNSENT;
		view->retry_after_ms = response->retry_after_ms;
		return true;
	case API_FENCED:
		view->outcome = MAINCHAIN_FENCED;
		return member_number(object, "fence", &view->fence);
	case API_MISSING:
		return member_hash(object, "content", &view->content);
	case API_DENIED:
		view->outcome = denied_outcome(view->call);
		return true;
	case API_CONTENT:
		if (member_number(object, "entry_index", &index))
			view->entry_index = (int64_t)index;
		return true;
	case API_PREVIOUS:
	case API_CHANGED:
	case API_TOO_LARGE:
	case API_REASON_COUNT:
		break;
	}
	return true;
}

static bool read_refusal(struct http_answer *answer, const struct http_question *question,
                         const struct http_response *response, const json_t *object)
{
	const char *name = json_string_value(json_object_get(object, "reason"));
	enum api_reason reason;
	if (name == NULL || !api_reason_from_name(name, &reason))
		return false;
	const struct api_reason_row *row = api_reason_row(reason);
	if (response->status != row->statuses[0] && response->status != row->statuses[1])
		return false;
	if ((row->calls & (1u << question->call)) == 0)
		return false;
	(void)read_height(answer, object);
	const char *detail = json_string_value(json_object_get(object, "detail"));
	http_answer_tell(answer, "%s: %s", name, detail == NULL ? "" : detail);
	return read_reason(answer, reason, object, response);
}

/* What a proxy in front of the main chain says in its own words, and what certainly was not passed
 * on by it. A 429 or 503 is not among them: it may come after the main chain had the request. */
static bool read_bare_status(struct http_answer *answer, const struct http_question *question,
                             long status)
{
	struct mainchain_answer *view = &answer->view;
	if (status == 401 || status == 403) {
		view->outcome = denied_outcome(question->call);
		view->reject = MAINCHAIN_REJECT_DENIED;
		return true;
	}
	if (status == 413 && denied_outcome(question->call) == MAINCHAIN_REJECTED) {
		view->outcome = MAINCHAIN_REJECTED;
		view->reject = MAINCHAIN_REJECT_TOO_LARGE;
		return true;
	}
	return false;
}

static bool read_object(struct http_answer *answer, const struct http_question *question,
                        const struct http_response *response, const json_t *object,
                        const struct trusted *trusted)
{
	if (response->status == 200 || response->status == 201)
		return read_good(answer, question, object, trusted);
	if (response->status == 404)
		return read_absent(answer, question, object);
	return read_refusal(answer, question, response, object);
}

/* The bytes are believed only if they are an anchor of that place, right in itself. */
static bool read_content(struct http_answer *answer, const struct http_question *question,
                         const struct http_response *response)
{
	struct anchor_decoded *decoded;
	struct err err;
	if (question->call != MAINCHAIN_CONTENT || response->status != 200)
		return false;
	if (!anchor_content_decode(response->body, &decoded, &err)) {
		http_answer_tell(answer, "no anchor: %s", err.message);
		return false;
	}
	const struct anchor *anchor = anchor_decoded_view(decoded);
	bool fits = anchor->lane == question->lane && anchor->seq == question->seq;
	anchor_decoded_free(decoded);
	if (!fits) {
		http_answer_tell(answer, "the anchor of another place");
		return false;
	}
	answer->view.outcome = MAINCHAIN_OK;
	answer->view.content_bytes = response->body;
	return true;
}

void http_answer_read(struct http_answer *answer, const struct http_question *question,
                      const struct http_response *response, const struct trusted *trusted)
{
	http_answer_begin(answer, question, MAINCHAIN_UNKNOWN);
	json_t *object = json_loadb((const char *)response->body.data, response->body.size,
	                            JSON_REJECT_DUPLICATES, NULL);
	bool from_api = object == NULL
	                        ? read_content(answer, question, response)
	                        : json_is_object(object) &&
	                                  read_object(answer, question, response, object, trusted);
	json_decref(object);

	if (!from_api) {
		char why[HTTP_DETAIL_SIZE];
		memcpy(why, answer->detail, sizeof(why));
		http_answer_begin(answer, question, MAINCHAIN_UNKNOWN);
		memcpy(answer->detail, why, sizeof(why));
		from_api = read_bare_status(answer, question, response->status);
	}
	answer->from_api = from_api;
	if (answer->detail[0] == 0)
		http_answer_tell(answer, "status %ld%s", response->status,
		                 from_api ? "" : ", not an answer of the API");
}

int64_t http_retry_after_ms(struct bytes header_line)
{
	static const char name[] = "retry-after:";
	const size_t name_size = sizeof(name) - 1;
	if (header_line.size < name_size ||
	    strncasecmp((const char *)header_line.data, name, name_size) != 0)
		return 0;

	int64_t seconds = 0;
	bool any = false;
	for (size_t i = name_size; i < header_line.size; i++) {
		char c = (char)header_line.data[i];
		if (c == ' ' || c == '\t' || c == '\r' || c == '\n')
			continue;
		if (c < '0' || c > '9')
			return 0; /* A date: we do not trust our clocks to agree. */
		any = true;
		seconds = seconds * 10 + (c - '0');
		if (seconds > RETRY_AFTER_MAX_MS / 1000)
			return RETRY_AFTER_MAX_MS;
	}
	return any ? seconds * 1000 : 0;
}
