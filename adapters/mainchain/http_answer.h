/* http_answer.h -- what an HTTP answer of the main-chain API means. Pure.
 *
 * Only what is exactly an answer of that API to exactly this question counts; everything else is
 * MAINCHAIN_UNKNOWN, whatever its status: a proxy, a login page or a broken node may say anything.
 */
#ifndef ZR_ADAPTERS_MAINCHAIN_HTTP_ANSWER_H
#define ZR_ADAPTERS_MAINCHAIN_HTTP_ANSWER_H

#include "adapters/mainchain.h"
#include "adapters/mainchain/trusted.h"

struct http_question {
	enum mainchain_call call;
	uint64_t token;
	uint16_t lane;
	struct hash key;  /* SUBMIT, LOOKUP: the anchor's key. PUT: the content hash. */
	struct hash root; /* SUBMIT */
	uint64_t seq;     /* SUBMIT, CONTENT */
	uint64_t fence;   /* SUBMIT: ours. FENCE: the one expected. */
};

struct http_response {
	long status;
	struct bytes body;      /* Borrowed. */
	int64_t retry_after_ms; /* 0: not said. */
};

#define HTTP_DETAIL_SIZE 256

/* What mainchain_answer borrows from. Begin with HTTP_ANSWER_EMPTY; end with http_answer_fini(). */
struct http_answer {
	struct mainchain_answer view;
	bool from_api;   /* It was an answer of the API; the endpoint is well. */
	bool has_height; /* view.height was said. */
	struct buffer evidence;
	char detail[HTTP_DETAIL_SIZE];
};
#define HTTP_ANSWER_EMPTY ((struct http_answer){ .evidence = BUFFER_EMPTY })

void http_answer_fini(struct http_answer *answer);

/* Begins answer: of question, outcome as given, nothing else in it. */
void http_answer_begin(struct http_answer *answer, const struct http_question *question,
                       enum mainchain_outcome outcome);

/* Sets detail; cut where too long. */
void http_answer_tell(struct http_answer *answer, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

/* trusted may be NULL: then evidence is compared with the question and not verified. */
void http_answer_read(struct http_answer *answer, const struct http_question *question,
                      const struct http_response *response, const struct trusted *trusted);

/* "Retry-After: 120" -> 120000, at most an hour; 0 for anything else. */
int64_t http_retry_after_ms(struct bytes header_line);

#endif
