/* What the http adapter makes of answers, of failures and of several endpoints. */
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "adapters/mainchain/api.h"
#include "adapters/mainchain/endpoints.h"
#include "adapters/mainchain/evidence.h"
#include "adapters/mainchain/http_answer.h"
#include "adapters/mainchain/http_settings.h"
#include "adapters/mainchain/http_transfer.h"
#include "relay/base/file.h"

#define H1 "1111111111111111111111111111111111111111111111111111111111111111"
#define H2 "2222222222222222222222222222222222222222222222222222222222222222"
#define H3 "3333333333333333333333333333333333333333333333333333333333333333"
#define H0 "0000000000000000000000000000000000000000000000000000000000000000"
#define UP "ABCDEFABCDEFABCDEFABCDEFABCDEFABCDEFABCDEFABCDEFABCDEFABCDEFABCD"

/* Lane 3, key H1, root H2, sequence 5, fence 7. */
static struct http_question question_of(enum mainchain_call call)
{
	struct http_question question = {
		.call = call, .token = 99, .lane = 3, .seq = 5, .fence = 7
	};
	assert_true(hash_from_hex(&question.key, H1));
	assert_true(hash_from_hex(&question.root, H2));
	return question;
}

static void read_text(struct http_answer *answer, enum mainchain_call call, long status,
                      const char *body)
{
	struct http_question question = question_of(call);
	struct http_response response = { status, bytes_of_string(body), 2000 };
	http_answer_read(answer, &question, &response, NULL);
	assert_int_equal(answer->view.call, call);
	assert_int_equal(answer->view.token, 99);
	assert_ptr_equal(answer->view.detail, answer->detail);
}

#define ANCHOR(status, rest)                                                                      \
	"{\"status\":\"" status "\",\"lane\":3,\"seq\":5,\"root\":\"" H2 "\",\"key\":\"" H1 "\"," \
	"\"block\":8,\"height\":9" rest "}"

static const struct {
	enum mainchain_call call;
	long status;
	const char *body;
	enum mainchain_outcome outcome;
	enum mainchain_reject reject;
} cases[] = {
	/* What each call is told when it went well. */
	{ MAINCHAIN_PUT, 201, "{\"content\":\"" H1 "\",\"size\":1,\"height\":4}", MAINCHAIN_OK, 0 },
	{ MAINCHAIN_PUT, 200, "{\"content\":\"" H1 "\",\"height\":4,\"more\":[]}", MAINCHAIN_OK,
	  0 },
	{ MAINCHAIN_SUBMIT, 201, ANCHOR("included", ""), MAINCHAIN_INCLUDED, 0 },
	{ MAINCHAIN_LOOKUP, 200, ANCHOR("included", ""), MAINCHAIN_INCLUDED, 0 },
	{ MAINCHAIN_LOOKUP, 404, "{\"status\":\"absent\",\"height\":9}", MAINCHAIN_ABSENT, 0 },
	{ MAINCHAIN_HEAD, 200,
	  "{\"lane\":3,\"seq\":5,\"root\":\"" H2 "\",\"key\":\"" H1 "\",\"fence\":2,\"height\":9}",
	  MAINCHAIN_OK, 0 },
	{ MAINCHAIN_HEAD, 200,
	  "{\"lane\":3,\"seq\":0,\"root\":\"" H0 "\",\"key\":\"" H0 "\",\"fence\":0,\"height\":0}",
	  MAINCHAIN_OK, 0 },
	{ MAINCHAIN_FENCE, 200, "{\"lane\":3,\"fence\":8,\"height\":9}", MAINCHAIN_OK, 0 },

	/* Every reason. */
	{ MAINCHAIN_SUBMIT, 409, "{\"reason\":\"previous\",\"height\":9}", MAINCHAIN_REJECTED,
	  MAINCHAIN_REJECT_PREVIOUS },
	{ MAINCHAIN_SUBMIT, 409, "{\"reason\":\"changed\"}", MAINCHAIN_REJECTED,
	  MAINCHAIN_REJECT_CHANGED },
	{ MAINCHAIN_SUBMIT, 422, "{\"reason\":\"content\",\"entry_index\":4}", MAINCHAIN_REJECTED,
	  MAINCHAIN_REJECT_CONTENT },
	{ MAINCHAIN_SUBMIT, 400, "{\"reason\":\"content\"}", MAINCHAIN_REJECTED,
	  MAINCHAIN_REJECT_CONTENT },
	{ MAINCHAIN_SUBMIT, 422, "{\"reason\":\"missing\",\"content\":\"" H3 "\"}",
	  MAINCHAIN_REJECTED, MAINCHAIN_REJECT_MISSING },
	{ MAINCHAIN_SUBMIT, 403, "{\"reason\":\"denied\"}", MAINCHAIN_REJECTED,
	  MAINCHAIN_REJECT_DENIED },
	{ MAINCHAIN_PUT, 401, "{\"reason\":\"denied\"}", MAINCHAIN_REJECTED,
	  MAINCHAIN_REJECT_DENIED },
	{ MAINCHAIN_LOOKUP, 403, "{\"reason\":\"denied\"}", MAINCHAIN_UNKNOWN,
	  MAINCHAIN_REJECT_DENIED },
	{ MAINCHAIN_FENCE, 403, "{\"reason\":\"denied\"}", MAINCHAIN_UNKNOWN,
	  MAINCHAIN_REJECT_DENIED },
	{ MAINCHAIN_SUBMIT, 413, "{\"reason\":\"too-large\"}", MAINCHAIN_REJECTED,
	  MAINCHAIN_REJECT_TOO_LARGE },
	{ MAINCHAIN_SUBMIT, 409, "{\"reason\":\"fenced\",\"fence\":8}", MAINCHAIN_FENCED, 0 },
	{ MAINCHAIN_FENCE, 409, "{\"reason\":\"fenced\",\"fence\":8}", MAINCHAIN_FENCED, 0 },
	{ MAINCHAIN_SUBMIT, 503, "{\"reason\":\"busy\"}", MAINCHAIN_UNSENT, 0 },
	{ MAINCHAIN_HEAD, 429, "{\"reason\":\"busy\"}", MAINCHAIN_UNSENT, 0 },
	{ MAINCHAIN_PUT, 422, "{\"reason\":\"content\"}", MAINCHAIN_REJECTED,
	  MAINCHAIN_REJECT_CONTENT },

	/* What a proxy says in its own words, where it can be sure. */
	{ MAINCHAIN_SUBMIT, 403, "<html>", MAINCHAIN_REJECTED, MAINCHAIN_REJECT_DENIED },
	{ MAINCHAIN_HEAD, 401, "", MAINCHAIN_UNKNOWN, MAINCHAIN_REJECT_DENIED },
	{ MAINCHAIN_SUBMIT, 413, "<html>", MAINCHAIN_REJECTED, MAINCHAIN_REJECT_TOO_LARGE },

	/* Everything else is no answer. */
	{ MAINCHAIN_SUBMIT, 503, "<html>", MAINCHAIN_UNKNOWN, 0 },
	{ MAINCHAIN_SUBMIT, 429, "", MAINCHAIN_UNKNOWN, 0 },
	{ MAINCHAIN_SUBMIT, 500, "{\"reason\":\"busy\"}", MAINCHAIN_UNKNOWN, 0 },
	{ MAINCHAIN_SUBMIT, 502, "", MAINCHAIN_UNKNOWN, 0 },
	{ MAINCHAIN_SUBMIT, 409, "{\"reason\":\"fenced\"}", MAINCHAIN_UNKNOWN, 0 },
	{ MAINCHAIN_SUBMIT, 422, "{\"reason\":\"previous\"}", MAINCHAIN_UNKNOWN, 0 },
	{ MAINCHAIN_SUBMIT, 422, "{\"reason\":\"missing\",\"content\":7}", MAINCHAIN_UNKNOWN, 0 },
	{ MAINCHAIN_SUBMIT, 409, "{\"reason\":\"new one\"}", MAINCHAIN_UNKNOWN, 0 },
	{ MAINCHAIN_PUT, 409, "{\"reason\":\"previous\"}", MAINCHAIN_UNKNOWN, 0 },
	{ MAINCHAIN_LOOKUP, 422, "{\"reason\":\"content\"}", MAINCHAIN_UNKNOWN, 0 },
	{ MAINCHAIN_LOOKUP, 404, "", MAINCHAIN_UNKNOWN, 0 },
	{ MAINCHAIN_LOOKUP, 404, "{\"status\":\"absent\"}", MAINCHAIN_UNKNOWN, 0 },
	{ MAINCHAIN_LOOKUP, 404, "{\"status\":\"gone\",\"height\":9}", MAINCHAIN_UNKNOWN, 0 },
	{ MAINCHAIN_SUBMIT, 404, "{\"status\":\"absent\",\"height\":9}", MAINCHAIN_UNKNOWN, 0 },
	{ MAINCHAIN_LOOKUP, 200, "{\"status\":\"absent\",\"height\":9}", MAINCHAIN_UNKNOWN, 0 },
	{ MAINCHAIN_LOOKUP, 404, ANCHOR("included", ""), MAINCHAIN_UNKNOWN, 0 },
	{ MAINCHAIN_LOOKUP, 204, "", MAINCHAIN_UNKNOWN, 0 },
	{ MAINCHAIN_LOOKUP, 302, ANCHOR("included", ""), MAINCHAIN_UNKNOWN, 0 },
	{ MAINCHAIN_LOOKUP, 200, "[]", MAINCHAIN_UNKNOWN, 0 },
	{ MAINCHAIN_LOOKUP, 200, "", MAINCHAIN_UNKNOWN, 0 },
	{ MAINCHAIN_LOOKUP, 200, ANCHOR("included", ",\"lane\":3"), MAINCHAIN_UNKNOWN, 0 },
	{ MAINCHAIN_LOOKUP, 200, ANCHOR("pending", ""), MAINCHAIN_UNKNOWN, 0 },
	{ MAINCHAIN_LOOKUP, 200, ANCHOR("final", ""), MAINCHAIN_UNKNOWN, 0 },
	{ MAINCHAIN_LOOKUP, 200, ANCHOR("final", ",\"evidence\":\"!\""), MAINCHAIN_UNKNOWN, 0 },
	{ MAINCHAIN_LOOKUP, 200, ANCHOR("final", ",\"evidence\":\"WlJ2MQ==\""), MAINCHAIN_UNKNOWN,
	  0 },
	{ MAINCHAIN_PUT, 201, "{\"content\":\"" H2 "\",\"height\":4}", MAINCHAIN_UNKNOWN, 0 },
	{ MAINCHAIN_PUT, 201, "{\"content\":\"" H1 "\"}", MAINCHAIN_UNKNOWN, 0 },
	{ MAINCHAIN_PUT, 201, "{\"content\":\"" H1 "\",\"height\":-4}", MAINCHAIN_UNKNOWN, 0 },
	{ MAINCHAIN_PUT, 201, "{\"content\":\"" H1 "\",\"height\":4.5}", MAINCHAIN_UNKNOWN, 0 },
	{ MAINCHAIN_PUT, 201, "{\"content\":\"" H1 "\",\"height\":9223372036854775808}",
	  MAINCHAIN_UNKNOWN, 0 },
	{ MAINCHAIN_FENCE, 200, "{\"lane\":3,\"fence\":9,\"height\":9}", MAINCHAIN_UNKNOWN, 0 },
	{ MAINCHAIN_FENCE, 200, "{\"lane\":4,\"fence\":8,\"height\":9}", MAINCHAIN_UNKNOWN, 0 },
	{ MAINCHAIN_HEAD, 200,
	  "{\"lane\":3,\"seq\":0,\"root\":\"" H2 "\",\"key\":\"" H0 "\",\"fence\":0,\"height\":0}",
	  MAINCHAIN_UNKNOWN, 0 },
	{ MAINCHAIN_HEAD, 200,
	  "{\"lane\":3,\"seq\":2,\"root\":\"" H0 "\",\"key\":\"" H0 "\",\"fence\":0,\"height\":0}",
	  MAINCHAIN_UNKNOWN, 0 },
	{ MAINCHAIN_HEAD, 200,
	  "{\"lane\":3,\"seq\":2,\"root\":\"" UP "\",\"key\":\"" H2 "\",\"fence\":0,\"height\":0}",
	  MAINCHAIN_UNKNOWN, 0 },
};

static void every_answer_means_one_thing(void **state)
{
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct http_answer answer = HTTP_ANSWER_EMPTY;
		read_text(&answer, cases[i].call, cases[i].status, cases[i].body);
		if (answer.view.outcome != cases[i].outcome ||
		    answer.view.reject != cases[i].reject)
			fail_msg("case %zu: outcome %d reject %d: %s", i, (int)answer.view.outcome,
			         (int)answer.view.reject, answer.detail);
		assert_true(answer.detail[0] != 0);
		if (cases[i].outcome == MAINCHAIN_UNKNOWN)
			assert_int_equal(answer.view.evidence.size, 0);
		http_answer_fini(&answer);
	}
}

static void an_answer_carries_what_was_said(void **state)
{
	struct http_answer answer = HTTP_ANSWER_EMPTY;
	struct hash three;
	assert_true(hash_from_hex(&three, H3));

	read_text(&answer, MAINCHAIN_HEAD, 200,
	          "{\"lane\":3,\"seq\":5,\"root\":\"" H2 "\",\"key\":\"" H3 "\",\"fence\":2,"
	          "\"height\":9}");
	assert_int_equal(answer.view.seq, 5);
	assert_int_equal(answer.view.fence, 2);
	assert_int_equal(answer.view.height, 9);
	assert_true(hash_equal(&answer.view.key, &three));

	read_text(&answer, MAINCHAIN_SUBMIT, 422, "{\"reason\":\"content\",\"entry_index\":4}");
	assert_int_equal(answer.view.entry_index, 4);
	read_text(&answer, MAINCHAIN_SUBMIT, 422, "{\"reason\":\"content\",\"detail\":\"bad\"}");
	assert_int_equal(answer.view.entry_index, -1);
	assert_string_equal(answer.detail, "content: bad");

	read_text(&answer, MAINCHAIN_SUBMIT, 422,
	          "{\"reason\":\"missing\",\"content\":\"" H3 "\"}");
	assert_true(hash_equal(&answer.view.content, &three));
	read_text(&answer, MAINCHAIN_SUBMIT, 409, "{\"reason\":\"fenced\",\"fence\":8}");
	assert_int_equal(answer.view.fence, 8);
	read_text(&answer, MAINCHAIN_SUBMIT, 503, "{\"reason\":\"busy\"}");
	assert_int_equal(answer.view.retry_after_ms, 2000);
	http_answer_fini(&answer);
}

/* Lane 3, sequence 5, one entry. */
static void put_anchor(uint16_t lane, uint64_t seq, struct buffer *out)
{
	struct http_question question = question_of(MAINCHAIN_CONTENT);
	struct entry entry = { .chain = { "tq-1", question.key }, .policy = POLICY_ALL };
	struct anchor anchor = { .alg = HASH_SHA256,
		                 .deliver = DELIVER_ANCHOR,
		                 .lane = lane,
		                 .seq = seq,
		                 .previous = question.root,
		                 .entries = &entry,
		                 .entry_count = 1 };
	anchor.root = anchor_entries_root(anchor.alg, &entry, 1);
	buffer_clear(out);
	anchor_content_encode(&anchor, out);
}

static void content_is_believed_only_for_the_place_that_was_asked_for(void **state)
{
	struct http_question question = question_of(MAINCHAIN_CONTENT);
	struct buffer content = BUFFER_EMPTY;
	struct http_answer answer = HTTP_ANSWER_EMPTY;
	static const struct {
		uint16_t lane;
		uint64_t seq;
		long status;
		enum mainchain_outcome outcome;
	} rows[] = {
		{ 3, 5, 200, MAINCHAIN_OK },      { 4, 5, 200, MAINCHAIN_UNKNOWN },
		{ 3, 6, 200, MAINCHAIN_UNKNOWN }, { 3, 5, 201, MAINCHAIN_UNKNOWN },
		{ 3, 5, 404, MAINCHAIN_UNKNOWN },
	};
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		put_anchor(rows[i].lane, rows[i].seq, &content);
		struct http_response response = { rows[i].status, buffer_bytes(&content), 0 };
		http_answer_read(&answer, &question, &response, NULL);
		assert_int_equal(answer.view.outcome, rows[i].outcome);
		assert_int_equal(answer.view.content_bytes.size,
		                 rows[i].outcome == MAINCHAIN_OK ? content.size : 0);
	}
	put_anchor(3, 5, &content);
	content.data[content.size - 20] ^= 1;
	struct http_response response = { 200, buffer_bytes(&content), 0 };
	http_answer_read(&answer, &question, &response, NULL);
	assert_int_equal(answer.view.outcome, MAINCHAIN_UNKNOWN);
	read_text(&answer, MAINCHAIN_CONTENT, 404, "{\"status\":\"absent\",\"height\":3}");
	assert_int_equal(answer.view.outcome, MAINCHAIN_ABSENT);
	read_text(&answer, MAINCHAIN_CONTENT, 200, "{}");
	assert_int_equal(answer.view.outcome, MAINCHAIN_UNKNOWN);
	http_answer_fini(&answer);
	buffer_fini(&content);
}

static void an_answer_about_another_anchor_is_no_answer(void **state)
{
	static const char *const swaps[][2] = {
		{ "\"lane\":3", "\"lane\":4" },   { "\"seq\":5", "\"seq\":6" },
		{ "\"" H1 "\"", "\"" H3 "\"" },   { "\"" H2 "\"", "\"" H3 "\"" },
		{ "\"block\":8", "\"block\":0" }, { "\"block\":8", "\"block\":10" },
	};
	for (size_t i = 0; i < sizeof(swaps) / sizeof(swaps[0]); i++) {
		const char *good = ANCHOR("included", "");
		const char *place = strstr(good, swaps[i][0]);
		char text[512];
		(void)snprintf(text, sizeof(text), "%.*s%s%s", (int)(place - good), good,
		               swaps[i][1], place + strlen(swaps[i][0]));
		struct http_answer answer = HTTP_ANSWER_EMPTY;
		read_text(&answer, MAINCHAIN_SUBMIT, 201, text);
		if (answer.view.outcome != MAINCHAIN_UNKNOWN)
			fail_msg("%s was taken", text);
		http_answer_fini(&answer);
	}
}

/* Evidence for the anchor of question_of(), signed by key, and the answer around it. */
static void final_answer(struct key *key, uint64_t seq, struct buffer *out)
{
	struct http_question question = question_of(MAINCHAIN_SUBMIT);
	struct main_transaction transaction = { .alg = HASH_SHA256,
		                                .lane = 3,
		                                .seq = seq,
		                                .fence = 7,
		                                .root = question.root,
		                                .key = question.key };
	struct buffer record = BUFFER_EMPTY, header = BUFFER_EMPTY, bytes = BUFFER_EMPTY;
	main_transaction_encode(&transaction, &record);
	struct main_block block = {
		.alg = HASH_SHA256, .chain = "m", .height = 8, .count = 1, .previous = question.root
	};
	block.root = merkle_leaf(HASH_SHA256, buffer_bytes(&record));
	main_block_encode(&block, &header);
	struct signature signature;
	assert_true(key_sign(key, buffer_bytes(&header), &signature, NULL));
	struct main_evidence evidence = { .block_record = buffer_bytes(&header),
		                          .transaction_record = buffer_bytes(&record),
		                          .path = { .count = 1 },
		                          .signature_count = 1 };
	evidence.signatures[0].key_id = key_id(key);
	evidence.signatures[0].signature = signature_bytes(&signature);
	main_evidence_encode(&evidence, &bytes);
	buffer_put(out, bytes_of_string("{\"status\":\"final\",\"lane\":3,\"seq\":5,\"root\":\"" H2
	                                "\",\"key\":\"" H1 "\",\"block\":8,\"height\":9,"
	                                "\"evidence\":\""));
	base64_encode(buffer_bytes(&bytes), out);
	buffer_put(out, bytes_of_string("\"}"));
	buffer_put_u8(out, 0);
	buffer_fini(&record);
	buffer_fini(&header);
	buffer_fini(&bytes);
}

static void final_without_proof_is_not_final(void **state)
{
	struct key *key, *other;
	struct buffer good = BUFFER_EMPTY, wrong = BUFFER_EMPTY, pem = BUFFER_EMPTY;
	struct trusted *trusted;
	assert_true(key_generate(&key, SUITE_SHA256_P256, NULL));
	assert_true(key_generate(&other, SUITE_SHA256_P256, NULL));
	assert_true(key_to_pem(other, false, &pem, NULL));
	assert_true(trusted_parse(buffer_bytes(&pem), &trusted, NULL));
	final_answer(key, 5, &good);
	final_answer(key, 6, &wrong);

	struct http_answer answer = HTTP_ANSWER_EMPTY;
	read_text(&answer, MAINCHAIN_LOOKUP, 200, (const char *)good.data);
	assert_int_equal(answer.view.outcome, MAINCHAIN_FINAL);
	assert_true(answer.view.evidence.size > 200);
	read_text(&answer, MAINCHAIN_LOOKUP, 200, (const char *)wrong.data);
	assert_int_equal(answer.view.outcome, MAINCHAIN_UNKNOWN);
	assert_string_equal(answer.detail, "final, and the evidence is of another anchor");

	struct http_question question = question_of(MAINCHAIN_SUBMIT);
	struct http_response response = { 200, bytes_of_string((const char *)good.data), 0 };
	http_answer_read(&answer, &question, &response, trusted);
	assert_int_equal(answer.view.outcome, MAINCHAIN_UNKNOWN);
	assert_non_null(strstr(answer.detail, "does not prove it"));

	final_answer(other, 5, &wrong);
	size_t first = strlen((const char *)wrong.data) + 1;
	response.body = bytes_of_string((const char *)wrong.data + first);
	http_answer_read(&answer, &question, &response, trusted);
	assert_int_equal(answer.view.outcome, MAINCHAIN_FINAL);
	http_answer_fini(&answer);
	trusted_free(trusted);
	buffer_fini(&good);
	buffer_fini(&wrong);
	buffer_fini(&pem);
	key_free(key);
	key_free(other);
}

static void retry_after_is_read_in_seconds_only(void **state)
{
	static const struct {
		const char *line;
		int64_t wait_ms;
	} lines[] = {
		{ "Retry-After: 2\r\n", 2000 },
		{ "retry-after:120", 120000 },
		{ "Retry-After: 99999999999999999999\r\n", 3600000 },
		{ "Retry-After: Fri, 31 Dec 2027 23:59:59 GMT\r\n", 0 },
		{ "Retry-After:\r\n", 0 },
		{ "Retry-Aft", 0 },
		{ "X-Retry-After: 2\r\n", 0 },
	};
	for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++)
		assert_int_equal(http_retry_after_ms(bytes_of_string(lines[i].line)),
		                 lines[i].wait_ms);
}

static void only_what_cannot_have_left_is_unsent(void **state)
{
	static const struct {
		CURLcode result;
		long status, connect_status, request_size;
		enum http_fate fate;
	} rows[] = {
		{ CURLE_OK, 200, 0, 100, HTTP_ANSWERED },
		{ CURLE_OK, 503, 200, 100, HTTP_ANSWERED },
		{ CURLE_OK, 0, 0, 100, HTTP_LOST }, /* HTTP/0.9, or nothing. */
		{ CURLE_COULDNT_CONNECT, 0, 0, 0, HTTP_UNSENT },
		{ CURLE_COULDNT_RESOLVE_HOST, 0, 0, 0, HTTP_UNSENT },
		{ CURLE_COULDNT_RESOLVE_PROXY, 0, 0, 0, HTTP_UNSENT },
		{ CURLE_SSL_CONNECT_ERROR, 0, 0, 0, HTTP_UNSENT },
		{ CURLE_PEER_FAILED_VERIFICATION, 0, 0, 0, HTTP_UNSENT },
		{ CURLE_PEER_FAILED_VERIFICATION, 0, 200, 50, HTTP_LOST }, /* Behind a proxy. */
		{ CURLE_UNSUPPORTED_PROTOCOL, 0, 0, 50, HTTP_LOST }, /* An answer, but not HTTP. */
		{ CURLE_COULDNT_CONNECT, 0, 0, 50, HTTP_LOST },      /* A second attempt. */
		{ CURLE_OPERATION_TIMEDOUT, 0, 0, 0, HTTP_UNSENT },
		{ CURLE_OPERATION_TIMEDOUT, 0, 0, 1, HTTP_LOST },
		{ CURLE_RECV_ERROR, 0, 403, 50, HTTP_UNSENT }, /* The proxy refused. */
		{ CURLE_RECV_ERROR, 0, 200, 50, HTTP_LOST },
		{ CURLE_RECV_ERROR, 0, 0, 0, HTTP_LOST },
		{ CURLE_SEND_ERROR, 0, 0, 10, HTTP_LOST },
		{ CURLE_GOT_NOTHING, 0, 0, 100, HTTP_LOST },
		{ CURLE_PARTIAL_FILE, 200, 0, 100, HTTP_LOST },
		{ CURLE_WRITE_ERROR, 200, 0, 100, HTTP_LOST },
		{ CURLE_HTTP2_STREAM, 0, 0, 100, HTTP_LOST },
		{ CURLE_OUT_OF_MEMORY, 0, 0, 100, HTTP_LOST },
	};
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		assert_int_equal(http_fate_of(rows[i].result, rows[i].status,
		                              rows[i].connect_status, rows[i].request_size),
		                 rows[i].fate);
}

/* ---- endpoints ---- */

static void answered(struct endpoints *endpoints, size_t index, uint64_t height)
{
	endpoints_answered(endpoints, index, &height);
}

static void a_failed_endpoint_is_avoided_for_a_while(void **state)
{
	struct endpoints endpoints = { .count = 2 };
	size_t index = 9;
	assert_true(endpoints_choose(&endpoints, 0, 1000, &index));
	assert_int_equal(index, 0);
	endpoints_failed(&endpoints, 0, 1000, 0, UINT32_MAX);
	assert_true(endpoints_choose(&endpoints, 0, 1001, &index));
	assert_int_equal(index, 1);
	assert_true(endpoints_choose(&endpoints, 0, 2000, &index));
	assert_int_equal(index, 0);
	assert_false(endpoints.items[0].status.up);
	assert_int_equal(endpoints.items[0].status.failure_count, 1);
}

static void where_all_failed_the_first_to_be_well_again_is_asked(void **state)
{
	struct endpoints endpoints = { .count = 3 };
	size_t index = 9;
	endpoints_failed(&endpoints, 0, 0, 30000, 0);
	endpoints_failed(&endpoints, 1, 0, 10000, 0);
	endpoints_failed(&endpoints, 2, 0, 20000, 0);
	assert_true(endpoints_choose(&endpoints, 0, 5, &index));
	assert_int_equal(index, 1);
	assert_true(endpoints_choose(&endpoints, 2, 5, &index));
	assert_int_equal(index, 2);
	assert_true(endpoints_choose(&endpoints, 6, 5, &index));
	assert_int_equal(index, 0);
	assert_false(endpoints_choose(&endpoints, 7, 5, &index));
}

static void cooling_grows_to_a_minute_and_ends_with_an_answer(void **state)
{
	struct endpoints endpoints = { .count = 1 };
	int64_t last_ms = 0;
	for (int i = 0; i < 20; i++) {
		endpoints_failed(&endpoints, 0, 0, 0, 0);
		int64_t now_ms = endpoints.items[0].cool_until_ms;
		assert_true(now_ms >= last_ms && now_ms >= ENDPOINT_COOL_MIN_MS / 2);
		last_ms = now_ms;
	}
	assert_int_equal(last_ms, ENDPOINT_COOL_MAX_MS / 2);
	endpoints_failed(&endpoints, 0, 0, 0, UINT32_MAX);
	assert_in_range(endpoints.items[0].cool_until_ms, ENDPOINT_COOL_MAX_MS - 1000,
	                ENDPOINT_COOL_MAX_MS);
	answered(&endpoints, 0, 5);
	assert_int_equal(endpoints.items[0].cool_until_ms, 0);
	assert_true(endpoints.items[0].status.up);
	endpoints_failed(&endpoints, 0, 0, 0, 0);
	assert_int_equal(endpoints.items[0].cool_until_ms, ENDPOINT_COOL_MIN_MS / 2);
}

static void a_height_that_goes_back_is_told(void **state)
{
	struct endpoints endpoints = { .count = 2 };
	answered(&endpoints, 0, 10);
	assert_false(endpoints.items[0].status.behind);
	answered(&endpoints, 1, 9); /* Behind the other. */
	assert_true(endpoints.items[1].status.behind);
	endpoints_answered(&endpoints, 1,
	                   NULL); /* An answer without a height says nothing of it. */
	assert_true(endpoints.items[1].status.behind);
	answered(&endpoints, 1, 10);
	assert_false(endpoints.items[1].status.behind);
	answered(&endpoints, 0, 4); /* Behind itself. */
	assert_true(endpoints.items[0].status.behind);
	assert_int_equal(endpoints.items[0].status.height, 4);
	assert_int_equal(endpoints.height, 10);
}

/* ---- settings ---- */

static struct mainchain_options options_of(const char *const *endpoints, size_t count)
{
	return (struct mainchain_options){ .name = "iv",
		                           .endpoints = endpoints,
		                           .endpoint_count = count,
		                           .connect_timeout_ms = 100,
		                           .answer_timeout_ms = 100,
		                           .in_flight_max = 4 };
}

static void only_plain_base_addresses_are_endpoints(void **state)
{
	static const char *const bad[] = {
		"",
		"ftp://a/",
		"http://",
		"https:///a",
		"https://u:p@a/",
		"http://a b/",
		"https://a/?x=1",
		"https://a/#x",
		"a:80",
	};
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct mainchain_options options = options_of(&bad[i], 1);
		struct http_settings *settings;
		struct err err = { 0 };
		assert_false(http_settings_new(&settings, &options, &err));
		assert_int_equal(err.code, ZR_INVALID);
	}
	static const char *const good[] = { "https://a.example:8443/main//", "http://[::1]:80" };
	struct mainchain_options options = options_of(good, 2);
	struct http_settings *settings;
	assert_true(http_settings_new(&settings, &options, NULL));
	assert_string_equal(settings->urls[0], "https://a.example:8443/main");
	assert_string_equal(settings->urls[1], "http://[::1]:80");
	assert_true(http_settings_same_urls(settings, settings));
	http_settings_free(settings);
	http_settings_free(NULL);
}

static void impossible_options_are_refused(void **state)
{
	static const char *const url = "https://a";
	for (int i = 0; i < 6; i++) {
		struct mainchain_options options = options_of(&url, 1);
		switch (i) {
		case 0:
			options.endpoint_count = 0;
			break;
		case 1:
			options.endpoint_count = ENDPOINTS_MAX + 1;
			break;
		case 2:
			options.in_flight_max = 0;
			break;
		case 3:
			options.answer_timeout_ms = 0;
			break;
		case 4:
			options.certificate_file = "/nowhere/cert.pem";
			break;
		default:
			options.ca_file = "/nowhere/ca.pem";
		}
		struct http_settings *settings;
		struct err err = { 0 };
		assert_false(http_settings_new(&settings, &options, &err));
		assert_int_equal(err.code, i == 5 ? ZR_UNAVAILABLE : ZR_INVALID);
	}
}

static void write_file(const char *path, const char *text)
{
	assert_true(file_write_atomic(path, bytes_of_string(text), 0600, NULL));
}

static void the_token_follows_its_file_and_survives_a_bad_one(void **state)
{
	char path[] = "/tmp/zonerelay-token-XXXXXX";
	int fd = mkstemp(path);
	assert_true(fd >= 0);
	close(fd);
	static const char *const loopback = "http://127.0.0.1:80", *const open = "http://10.0.0.1";
	struct http_settings *settings;
	struct mainchain_options options = options_of(&loopback, 1);
	options.token_file = path;
	assert_false(http_settings_new(&settings, &options, NULL)); /* Empty. */
	write_file(path, "first\n");
	assert_true(http_settings_new(&settings, &options, NULL));
	assert_string_equal(http_settings_token(settings), "first");
	write_file(path, "second-one");
	assert_string_equal(http_settings_token(settings), "second-one");
	write_file(path, "bad\r\nX-Header: 1\n");
	assert_string_equal(http_settings_token(settings), "second-one");
	unlink(path);
	assert_string_equal(http_settings_token(settings), "second-one");
	write_file(path, "third\n");
	assert_string_equal(http_settings_token(settings), "third");
	http_settings_free(settings);

	struct err err = { 0 };
	options = options_of(&open, 1);
	options.token_file = path;
	assert_false(http_settings_new(&settings, &options, &err));
	assert_non_null(strstr(err.message, "in the open"));
	unlink(path);
}

static void the_table_of_reasons_names_each_once(void **state)
{
	for (enum api_reason reason = API_PREVIOUS; reason < API_REASON_COUNT; reason++) {
		enum api_reason found;
		assert_non_null(api_reason_row(reason)->name);
		assert_true(api_reason_from_name(api_reason_row(reason)->name, &found));
		assert_int_equal(found, reason);
	}
	enum api_reason none;
	assert_false(api_reason_from_name("", &none));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_answer_means_one_thing),
		cmocka_unit_test(an_answer_carries_what_was_said),
		cmocka_unit_test(content_is_believed_only_for_the_place_that_was_asked_for),
		cmocka_unit_test(an_answer_about_another_anchor_is_no_answer),
		cmocka_unit_test(final_without_proof_is_not_final),
		cmocka_unit_test(retry_after_is_read_in_seconds_only),
		cmocka_unit_test(only_what_cannot_have_left_is_unsent),
		cmocka_unit_test(a_failed_endpoint_is_avoided_for_a_while),
		cmocka_unit_test(where_all_failed_the_first_to_be_well_again_is_asked),
		cmocka_unit_test(cooling_grows_to_a_minute_and_ends_with_an_answer),
		cmocka_unit_test(a_height_that_goes_back_is_told),
		cmocka_unit_test(only_plain_base_addresses_are_endpoints),
		cmocka_unit_test(impossible_options_are_refused),
		cmocka_unit_test(the_token_follows_its_file_and_survives_a_bad_one),
		cmocka_unit_test(the_table_of_reasons_names_each_once),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
