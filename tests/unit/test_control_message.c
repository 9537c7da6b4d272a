#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "proto/control.h"
#include "proto/message.h"

static char verb[] = "chains";
static char name[] = "tq-0001";
static char reason[] = "\xe6\xa3\x80\xe4\xbf\xae, \"planned\"";
static char json[] = "{\"state\":\"frozen\"}";
static char bad_text[] = "line\nbreak";
static uint8_t request_id[CONTROL_REQUEST_ID_SIZE + 1] = { 1, 2, 3 };

static void init(Zonerelay__Control__Request *request, char **words)
{
	zonerelay__control__request__init(request);
	words[0] = verb;
	words[1] = name;
	request->version = CONTROL_VERSION;
	request->request_id = (ProtobufCBinaryData){ CONTROL_REQUEST_ID_SIZE, request_id };
	request->n_words = 2;
	request->words = words;
	request->reason = reason;
	request->dry_run = true;
	request->attachment = (ProtobufCBinaryData){ 3, request_id };
}

static void every_field_has_its_limits(void **state)
{
	const char *missing = NULL;
	if (!rule_table_complete(control_rules(), &missing))
		fail_msg("%s: its rules are not its fields", missing);
	assert_int_equal(control_rules()->count, 3);
}

static void a_request_arrives_as_it_was_sent(void **state)
{
	Zonerelay__Control__Request request;
	Zonerelay__Control__Request *arrived = NULL;
	char *words[2];
	struct buffer body = BUFFER_EMPTY;
	init(&request, words);
	assert_true(control_request_encode(&request, &body, NULL));
	assert_true(control_request_decode(buffer_bytes(&body), &arrived, NULL));
	assert_int_equal(arrived->n_words, 2);
	assert_string_equal(arrived->words[1], name);
	assert_string_equal(arrived->reason, reason);
	assert_true(arrived->dry_run);
	assert_int_equal(arrived->attachment.len, 3);
	assert_memory_equal(arrived->request_id.data, request_id, CONTROL_REQUEST_ID_SIZE);
	control_request_free(arrived);
	buffer_fini(&body);
}

static void refused(const Zonerelay__Control__Request *request, const char *why)
{
	struct buffer body = BUFFER_EMPTY;
	Zonerelay__Control__Request *arrived = NULL;
	struct err err;
	assert_false(control_request_encode(request, &body, &err));
	assert_non_null(strstr(err.message, why));
	assert_true(message_put(&request->base, &body, &err));
	assert_false(control_request_decode(buffer_bytes(&body), &arrived, &err));
	assert_int_equal(err.code, ZR_INVALID);
	if (strstr(err.message, why) == NULL)
		fail_msg("\"%s\" does not say \"%s\"", err.message, why);
	assert_null(arrived);
	buffer_fini(&body);
}

static void a_request_outside_its_limits_is_refused(void **state)
{
	Zonerelay__Control__Request request;
	char *words[2];
	static char *many[CONTROL_WORDS_MAX + 1];
	static char long_word[CONTROL_WORD_SIZE_MAX + 2];
	memset(long_word, 'x', CONTROL_WORD_SIZE_MAX + 1);
	for (size_t i = 0; i <= CONTROL_WORDS_MAX; i++)
		many[i] = verb;

	init(&request, words);
	request.version = 2;
	refused(&request, "version: 2 is out of range");
	init(&request, words);
	request.request_id.len = CONTROL_REQUEST_ID_SIZE + 1;
	refused(&request, "request_id");
	init(&request, words);
	words[1] = bad_text;
	refused(&request, "words: number 1: not printable UTF-8");
	words[1] = long_word;
	refused(&request, "words: number 1: 4097 bytes");
	request.n_words = CONTROL_WORDS_MAX + 1;
	request.words = many;
	refused(&request, "257 of them");
	init(&request, words);
	request.reason = bad_text;
	refused(&request, "reason: not printable");
	init(&request, words);
	request.user = long_word;
	refused(&request, "user");
}

static void a_request_that_changes_nothing_needs_no_id(void **state)
{
	Zonerelay__Control__Request request;
	char *words[2];
	struct buffer body = BUFFER_EMPTY;
	init(&request, words);
	request.request_id.len = 0;
	assert_true(control_request_encode(&request, &body, NULL));
	buffer_fini(&body);
}

static void a_response_arrives_as_it_was_sent(void **state)
{
	Zonerelay__Control__Response response = ZONERELAY__CONTROL__RESPONSE__INIT;
	Zonerelay__Control__Response *arrived = NULL;
	struct buffer body = BUFFER_EMPTY;
	struct err err;
	response.version = CONTROL_VERSION;
	response.exit_status = 3;
	response.json = json;
	response.error = bad_text;
	assert_true(control_response_encode(&response, &body, &err));
	assert_true(control_response_decode(buffer_bytes(&body), &arrived, &err));
	assert_int_equal(arrived->exit_status, 3);
	assert_string_equal(arrived->json, json);
	assert_string_equal(arrived->error, "line?break");
	control_response_free(arrived);

	response.exit_status = 256;
	assert_false(control_response_encode(&response, &body, &err));
	assert_false(control_response_decode(BYTES_LITERAL("\x0a"), &arrived, &err));
	assert_int_equal(err.code, ZR_INVALID);
	buffer_fini(&body);
}

static void a_list_of_50000_chains_fits_into_a_response(void **state)
{
	enum { SIZE = 20u << 20 };
	Zonerelay__Control__Response response = ZONERELAY__CONTROL__RESPONSE__INIT;
	Zonerelay__Control__Response *arrived = NULL;
	struct buffer body = BUFFER_EMPTY;
	char *text = malloc(SIZE + 1);
	assert_non_null(text);
	memset(text, 'x', SIZE);
	text[SIZE] = '\0';
	response.version = CONTROL_VERSION;
	response.json = text;
	assert_true(control_response_encode(&response, &body, NULL));
	assert_true(body.size <= CONTROL_MESSAGE_SIZE_MAX);
	assert_true(control_response_decode(buffer_bytes(&body), &arrived, NULL));
	assert_int_equal(strlen(arrived->json), SIZE);
	control_response_free(arrived);
	buffer_fini(&body);
	free(text);
}

static void an_event_arrives_as_it_was_sent(void **state)
{
	Zonerelay__Control__Event event = ZONERELAY__CONTROL__EVENT__INIT;
	Zonerelay__Control__Event *arrived = NULL;
	struct buffer body = BUFFER_EMPTY;
	struct err err;
	event.number = 9;
	event.time_ms = 1700000000000;
	event.name = verb;
	event.json = json;
	assert_true(control_event_encode(&event, &body, &err));
	assert_true(control_event_decode(buffer_bytes(&body), &arrived, &err));
	assert_int_equal(arrived->number, 9);
	assert_string_equal(arrived->name, verb);
	control_event_free(arrived);
	event.time_ms = -1;
	assert_false(control_event_encode(&event, &body, &err));
	assert_false(control_event_decode(BYTES_NONE, &arrived, &err)); /* No name. */
	assert_int_equal(err.code, ZR_INVALID);
	control_request_free(NULL);
	control_response_free(NULL);
	control_event_free(NULL);
	buffer_fini(&body);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_field_has_its_limits),
		cmocka_unit_test(a_request_arrives_as_it_was_sent),
		cmocka_unit_test(a_request_outside_its_limits_is_refused),
		cmocka_unit_test(a_request_that_changes_nothing_needs_no_id),
		cmocka_unit_test(a_response_arrives_as_it_was_sent),
		cmocka_unit_test(a_list_of_50000_chains_fits_into_a_response),
		cmocka_unit_test(an_event_arrives_as_it_was_sent),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
