/* Answers of the main chain: byte 0 says which call, bytes 1 and 2 the status, the rest is the body.
 * Whatever comes, an answer that is taken speaks of the anchor that was asked for. */
#include <assert.h>
#include <stdint.h>
#include <string.h>

#include "adapters/mainchain/http_answer.h"

static void check(const struct http_answer *answer, const struct http_question *question)
{
	const struct mainchain_answer *view = &answer->view;
	assert(view->call == question->call && view->token == question->token);
	assert(view->detail == answer->detail && view->detail[0] != 0);
	assert(memchr(answer->detail, 0, sizeof(answer->detail)) != NULL);
	if (view->outcome == MAINCHAIN_FINAL)
		assert(view->evidence.size > 0 && hash_equal(&view->key, &question->key));
	else
		assert(view->evidence.size == 0);
	if (view->outcome == MAINCHAIN_ABSENT)
		assert(answer->has_height &&
		       (question->call == MAINCHAIN_LOOKUP || question->call == MAINCHAIN_CONTENT));
	if (question->call == MAINCHAIN_CONTENT && view->outcome == MAINCHAIN_OK)
		assert(view->content_bytes.size > 0);
	else
		assert(view->content_bytes.size == 0);
	if (view->outcome == MAINCHAIN_REJECTED)
		assert(view->reject != MAINCHAIN_REJECT_NONE);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size < 3)
		return 0;
	struct http_question question = { .call = data[0] % (MAINCHAIN_CONTENT + 1),
		                          .token = 7,
		                          .lane = 3,
		                          .seq = 5,
		                          .fence = 7 };
	memset(question.key.bytes, 0x11, HASH_SIZE);
	memset(question.root.bytes, 0x22, HASH_SIZE);
	struct http_response response = { get_be16(data + 1), { data + 3, size - 3 }, 1000 };
	struct http_answer answer = HTTP_ANSWER_EMPTY;
	http_answer_read(&answer, &question, &response, NULL);
	check(&answer, &question);
	(void)http_retry_after_ms(response.body);
	http_answer_fini(&answer);
	return 0;
}
