/* Rules of misbehaviour, and the command line of the development main chain. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "adapters/mainchain/devchain/misbehave.h"
#include "adapters/mainchain/devchain/options.h"

static struct misbehave *rules(const char *text)
{
	struct misbehave *misbehave;
	struct err err;
	char json[512];
	(void)snprintf(json, sizeof(json), "{\"seed\":3,\"rules\":[%s]}", text);
	if (!misbehave_new(&misbehave, bytes_of_string(json), &err))
		fail_msg("%s", err.message);
	return misbehave;
}

static void a_rule_acts_as_often_as_it_says(void **state)
{
	struct misbehave *misbehave =
		rules("{\"do\":\"slow\",\"ms\":7,\"count\":2},{\"do\":\"slow\",\"on\":\"head\"}");
	uint64_t ms = 0;
	assert_true(misbehave_acts(misbehave, MISBEHAVE_SLOW, MAINCHAIN_SUBMIT, &ms));
	assert_int_equal(ms, 7);
	assert_true(misbehave_acts(misbehave, MISBEHAVE_SLOW, MAINCHAIN_HEAD, &ms));
	assert_false(misbehave_acts(misbehave, MISBEHAVE_SLOW, MAINCHAIN_SUBMIT, &ms));
	assert_true(misbehave_acts(misbehave, MISBEHAVE_SLOW, MAINCHAIN_HEAD, &ms));
	assert_int_equal(ms, 1000); /* The default of the second rule. */
	assert_false(misbehave_acts(misbehave, MISBEHAVE_RESET, MAINCHAIN_HEAD, &ms));
	json_t *shown = misbehave_show(misbehave);
	json_t *first = json_array_get(json_object_get(shown, "rules"), 0);
	assert_int_equal(json_integer_value(json_object_get(first, "acted")), 2);
	assert_int_equal(json_integer_value(json_object_get(first, "left")), 0);
	json_decref(shown);
	misbehave_free(misbehave);
}

static void a_rule_acts_on_the_calls_it_names(void **state)
{
	struct misbehave *misbehave = rules("{\"do\":\"drop-after\",\"on\":[\"put\",\"fence\"]}");
	uint64_t ignored;
	assert_true(misbehave_acts(misbehave, MISBEHAVE_DROP_AFTER, MAINCHAIN_PUT, &ignored));
	assert_true(misbehave_acts(misbehave, MISBEHAVE_DROP_AFTER, MAINCHAIN_FENCE, &ignored));
	assert_false(misbehave_acts(misbehave, MISBEHAVE_DROP_AFTER, MAINCHAIN_LOOKUP, &ignored));
	misbehave_free(misbehave);
}

static void one_seed_misbehaves_in_one_order(void **state)
{
	unsigned drawn[2] = { 0, 0 };
	for (int run = 0; run < 2; run++) {
		struct misbehave *misbehave = rules("{\"do\":\"deny\",\"probability\":0.25}");
		uint64_t ignored, hits = 0;
		for (unsigned i = 0; i < 4000; i++) {
			bool hit =
				misbehave_acts(misbehave, MISBEHAVE_DENY, MAINCHAIN_PUT, &ignored);
			hits += hit ? 1 : 0;
			drawn[run] = drawn[run] * 31 + hit;
		}
		assert_in_range(hits, 850, 1150);
		misbehave_free(misbehave);
	}
	assert_int_equal(drawn[0], drawn[1]);
}

static void a_refused_chain_is_refused_by_its_whole_name(void **state)
{
	struct misbehave *misbehave = rules("{\"do\":\"refuse-chain\",\"chain\":\"tq-2\"}");
	assert_true(misbehave_refuses(misbehave, "tq-2"));
	assert_false(misbehave_refuses(misbehave, "tq-20"));
	assert_false(misbehave_refuses(misbehave, "tq"));
	misbehave_free(misbehave);
}

static void a_rule_with_a_mistake_is_refused_with_its_number(void **state)
{
	static const char *const bad[][2] = {
		{ "", "" },
		{ "[]", "\"rules\"" },
		{ "{\"rules\":{}}", "\"rules\"" },
		{ "{\"rules\":[],\"seed\":\"x\"}", "\"seed\"" },
		{ "{\"rules\":[{}]}", "rule 1: \"do\"" },
		{ "{\"rules\":[{\"do\":\"fly\"}]}", "fly" },
		{ "{\"rules\":[{\"do\":\"deny\"},{\"do\":\"deny\",\"ms\":1}]}", "rule 2: \"ms\"" },
		{ "{\"rules\":[{\"do\":\"slow\",\"ms\":-1}]}", "\"ms\"" },
		{ "{\"rules\":[{\"do\":\"slow\",\"ms\":3600001}]}", "\"ms\"" },
		{ "{\"rules\":[{\"do\":\"slow\",\"on\":\"sing\"}]}", "\"on\"" },
		{ "{\"rules\":[{\"do\":\"slow\",\"on\":[1]}]}", "\"on\"" },
		{ "{\"rules\":[{\"do\":\"slow\",\"count\":-1}]}", "\"count\"" },
		{ "{\"rules\":[{\"do\":\"slow\",\"count\":1,\"count\":1}]}", "" },
		{ "{\"rules\":[{\"do\":\"slow\",\"probability\":1.5}]}", "\"probability\"" },
		{ "{\"rules\":[{\"do\":\"refuse-chain\"}]}", "\"chain\"" },
		{ "{\"rules\":[{\"do\":\"refuse-chain\",\"chain\":\"a/b\"}]}", "\"chain\"" },
	};
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct misbehave *misbehave;
		struct err err = { .code = ZR_OK };
		assert_false(misbehave_new(&misbehave, bytes_of_string(bad[i][0]), &err));
		assert_int_equal(err.code, ZR_INVALID);
		if (strstr(err.message, bad[i][1]) == NULL)
			fail_msg("%s: %s", bad[i][0], err.message);
	}
}

static void every_kind_has_a_name_and_a_sentence(void **state)
{
	for (enum misbehaviour kind = 0; kind < MISBEHAVE_COUNT; kind++) {
		assert_non_null(misbehave_name(kind));
		assert_true(strlen(misbehave_text(kind)) > 10);
	}
	assert_null(misbehave_name(MISBEHAVE_COUNT));
}

/* ---- the command line ---- */

static bool read_words(struct devchain_options *options, const char *const *words, struct err *err)
{
	int count = 0;
	while (words[count] != NULL)
		count++;
	return devchain_options_read(options, count, (char **)(uintptr_t)words, err);
}

static void options_go_over_their_defaults(void **state)
{
	static const char *const words[] = {
		"x", "run", "--dir", "/d", "--block-interval-ms", "0", "--listen", "[::1]:80", NULL
	};
	struct devchain_options options;
	struct err err;
	assert_true(read_words(&options, words, &err));
	assert_int_equal(options.verb, DEVCHAIN_RUN);
	assert_string_equal(options.dir, "/d");
	assert_int_equal(options.block_interval_ms, 0);
	assert_int_equal(options.finality_blocks, 1);
	assert_true(devchain_options_given(&options, "--dir"));
	assert_false(devchain_options_given(&options, "--finality-blocks"));
	assert_true(devchain_options_listen(&options, &err));
	assert_string_equal(options.address, "::1");
	assert_int_equal(options.port, 80);
}

static void mistakes_on_the_command_line_are_told(void **state)
{
	static const char *const bad[][6] = {
		{ "x", NULL },
		{ "x", "fly", "--dir", "d", NULL },
		{ "x", "--dir", NULL },
		{ "x", "--dir", "d", "--fly", NULL },
		{ "x", "--dir", "d", "--size", "12", NULL },
		{ "x", "--dir", "d", "--size", "12x", NULL },
		{ "x", "--dir", "d", "--finality-blocks", "-1", NULL },
		{ "x", "--dir", "d", "--suite", "rsa", NULL },
		{ "x", "--dir", "d", "--chain", "a b", NULL },
		{ "x", "--dir", "d", "--log-level", "loud", NULL },
	};
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct devchain_options options;
		struct err err = { .code = ZR_OK };
		assert_false(read_words(&options, bad[i], &err));
		assert_int_equal(err.code, ZR_INVALID);
	}
	static const char *const listens[] = { "", "127.0.0.1", ":80", "a:", "a:70000", "a:8o" };
	for (size_t i = 0; i < sizeof(listens) / sizeof(listens[0]); i++) {
		struct devchain_options options = { .listen = listens[i] };
		assert_false(devchain_options_listen(&options, NULL));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_rule_acts_as_often_as_it_says),
		cmocka_unit_test(a_rule_acts_on_the_calls_it_names),
		cmocka_unit_test(one_seed_misbehaves_in_one_order),
		cmocka_unit_test(a_refused_chain_is_refused_by_its_whole_name),
		cmocka_unit_test(a_rule_with_a_mistake_is_refused_with_its_number),
		cmocka_unit_test(every_kind_has_a_name_and_a_sentence),
		cmocka_unit_test(options_go_over_their_defaults),
		cmocka_unit_test(mistakes_on_the_command_line_are_told),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
