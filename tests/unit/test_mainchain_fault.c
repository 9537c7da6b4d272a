/* The n-th allocation fails, for every n: nothing is given, nothing leaks, and nothing that is not so
 * is said of the main chain. */
#include <event2/event.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "adapters/mainchain/evidence.h"
#include "adapters/mainchain/http_answer.h"
#include "adapters/mainchain/http_settings.h"
#include "relay/base/file.h"
#include "tests/lib/fault.h"
#include "tests/lib/sample.h"
#include "tests/lib/vectors.h"

/* What the vectors' evidence is trusted by, and the question it answers. */
struct world {
	struct vectors *vectors;
	struct bytes evidence;
	struct buffer trusted;
	struct http_question question;
	struct buffer answer; /* Final, with the evidence. */
	char path[64];        /* A file with what is trusted. */
};

static void put_hex(struct buffer *out, const struct hash *hash)
{
	char hex[HASH_HEX_SIZE];
	buffer_put(out, bytes_of_string(hash_hex(hash, hex)));
}

static int set_up(void **state)
{
	struct world *world = calloc(1, sizeof(*world));
	struct main_evidence evidence;
	struct key *key;
	assert_non_null(world);
	world->vectors = vectors_open("evidence.txt");
	world->evidence = vector(world->vectors, "evidence");
	assert_true(key_from_spki(&key, vector(world->vectors, "evidence-signer-first"), NULL));
	assert_true(key_to_pem(key, false, &world->trusted, NULL));
	key_free(key);
	(void)snprintf(world->path, sizeof(world->path), "/tmp/zonerelay-trusted-XXXXXX");
	int fd = mkstemp(world->path);
	assert_true(fd >= 0 && close(fd) == 0);
	assert_true(file_write_atomic(world->path, buffer_bytes(&world->trusted), 0600, NULL));

	assert_true(main_evidence_decode(world->evidence, &evidence, NULL));
	const struct main_transaction *transaction = &evidence.transaction;
	world->question = (struct http_question){ .call = MAINCHAIN_LOOKUP,
		                                  .lane = transaction->lane,
		                                  .key = transaction->key };
	buffer_printf(&world->answer,
	              "{\"status\":\"final\",\"lane\":3,\"seq\":43,\"block\":1842,\"height\":1850,"
	              "\"root\":\"");
	put_hex(&world->answer, &transaction->root);
	buffer_printf(&world->answer, "\",\"key\":\"");
	put_hex(&world->answer, &transaction->key);
	buffer_printf(&world->answer, "\",\"evidence\":\"");
	base64_encode(world->evidence, &world->answer);
	buffer_printf(&world->answer, "\"}");
	assert_false(world->answer.failed);
	*state = world;
	return 0;
}

static int tear_down(void **state)
{
	struct world *world = *state;
	vectors_close(world->vectors);
	buffer_fini(&world->trusted);
	buffer_fini(&world->answer);
	(void)unlink(world->path);
	free(world);
	return 0;
}

static void evidence_proves_or_fails_and_never_less(void **state)
{
	const struct world *world = *state;
	struct main_evidence evidence;
	assert_true(main_evidence_decode(world->evidence, &evidence, NULL));
	struct anchor anchor = { .alg = evidence.transaction.alg,
		                 .lane = evidence.transaction.lane,
		                 .seq = evidence.transaction.seq,
		                 .root = evidence.transaction.root };
	size_t faults = 0;
	for (size_t n = 1;; n++) {
		struct buffer checks = BUFFER_EMPTY;
		fault_at(n);
		bool proven =
			http_evidence_check(world->evidence, buffer_bytes(&world->trusted), &anchor,
		                            &evidence.transaction.key, &checks, NULL);
		bool failed = fault_off() > 0;
		assert_true(failed != proven);
		buffer_fini(&checks);
		if (!failed)
			break;
		faults++;
	}
	assert_true(faults > 2);
}

static void an_answer_is_final_or_unknown_and_never_less(void **state)
{
	const struct world *world = *state;
	struct http_response response = { 200, buffer_bytes(&world->answer), 0 };
	struct trusted *trusted;
	assert_true(trusted_parse(buffer_bytes(&world->trusted), &trusted, NULL));
	size_t faults = 0;
	for (size_t n = 1;; n++) {
		struct http_answer answer = HTTP_ANSWER_EMPTY;
		fault_at(n);
		http_answer_read(&answer, &world->question, &response, trusted);
		bool failed = fault_off() > 0;
		if (!failed)
			assert_int_equal(answer.view.outcome, MAINCHAIN_FINAL);
		else
			assert_true(answer.view.outcome == MAINCHAIN_FINAL ||
			            answer.view.outcome == MAINCHAIN_UNKNOWN);
		http_answer_fini(&answer);
		if (!failed)
			break;
		faults++;
	}
	assert_true(faults > 0);
	trusted_free(trusted);
}

static struct mainchain_options options_of(const struct world *world, const char *const *url,
                                           const char **trusted)
{
	*trusted = world->path;
	return (struct mainchain_options){ .name = "iv",
		                           .endpoints = url,
		                           .endpoint_count = 1,
		                           .trusted_files = trusted,
		                           .trusted_file_count = 1,
		                           .connect_timeout_ms = 100,
		                           .answer_timeout_ms = 100,
		                           .in_flight_max = 2 };
}

static void settings_are_whole_or_none(void **state)
{
	const struct world *world = *state;
	static const char *const url = "https://127.0.0.1:9";
	const char *trusted;
	struct mainchain_options options = options_of(world, &url, &trusted);
	for (size_t n = 1;; n++) {
		struct http_settings *settings = NULL;
		fault_at(n);
		bool made = http_settings_new(&settings, &options, NULL);
		bool failed = fault_off() > 0;
		assert_true(failed != made);
		http_settings_free(settings);
		if (!failed)
			break;
		assert_true(n < 1000);
	}
}

static void on_answer(const struct mainchain_answer *answer, void *arg)
{
	unsigned *answered = arg;
	assert_int_equal(answer->outcome, MAINCHAIN_UNSENT); /* Nobody listens there. */
	(*answered)++;
}

/* One submission from open to close. Gives how far it got. */
static bool live(const struct mainchain_options *options, unsigned *answered)
{
	const struct mainchain_adapter *adapter = mainchain_http();
	struct entry entries[2];
	struct anchor anchor = sample_anchor(entries);
	struct buffer content = BUFFER_EMPTY;
	struct mainchain *mainchain = NULL;
	struct event_base *base = event_base_new();
	if (base == NULL)
		return false;
	anchor_content_encode(&anchor, &content);
	bool going = !content.failed &&
	             adapter->open(&mainchain, options, base, on_answer, answered, NULL);
	struct hash key = going ? anchor_key(anchor.alg, buffer_bytes(&content)) : anchor.root;
	going = going && adapter->submit(mainchain, 1, &key, buffer_bytes(&content), 1, NULL);
	for (int i = 0; going && *answered == 0 && i < 2000; i++) {
		event_base_loop(base, EVLOOP_NONBLOCK);
		usleep(200);
	}
	adapter->close(mainchain);
	event_base_free(base);
	buffer_fini(&content);
	return going;
}

static void a_call_is_answered_once_or_was_never_taken(void **state)
{
	const struct world *world = *state;
	static const char *const url = "http://127.0.0.1:9";
	const char *trusted;
	struct mainchain_options options = options_of(world, &url, &trusted);
	(void)signal(SIGPIPE, SIG_IGN);
	for (size_t n = 1;; n++) {
		unsigned answered = 0;
		fault_at(n);
		bool taken = live(&options, &answered);
		bool failed = fault_off() > 0;
		assert_int_equal(answered, taken ? 1 : 0);
		if (!failed) {
			assert_true(taken);
			break;
		}
		assert_true(n < 1000);
	}
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(evidence_proves_or_fails_and_never_less),
		TEST(an_answer_is_final_or_unknown_and_never_less),
		TEST(settings_are_whole_or_none),
		TEST(a_call_is_answered_once_or_was_never_taken),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
