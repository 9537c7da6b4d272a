#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "relay/base/log.h"

/* Standard error goes to a file while a test looks at it. */
static int saved_stderr;
static int captured;
static char captured_text[1u << 20];

static void capture(void)
{
	char path[] = "/tmp/zr-test-log-XXXXXX";
	captured = mkstemp(path);
	assert_true(captured >= 0);
	(void)unlink(path);
	assert_int_equal(fcntl(captured, F_SETFL, O_APPEND), 0);
	saved_stderr = dup(STDERR_FILENO);
	assert_true(dup2(captured, STDERR_FILENO) >= 0);
}

static const char *release(void)
{
	assert_true(dup2(saved_stderr, STDERR_FILENO) >= 0);
	(void)close(saved_stderr);
	ssize_t size = pread(captured, captured_text, sizeof(captured_text) - 1, 0);
	assert_true(size >= 0);
	captured_text[size] = '\0';
	(void)close(captured);
	return captured_text;
}

static unsigned count_of(const char *text, const char *part)
{
	unsigned count = 0;
	for (const char *at = strstr(text, part); at != NULL; at = strstr(at + 1, part))
		count++;
	return count;
}

static int begin(void **state)
{
	(void)unsetenv("JOURNAL_STREAM");
	log_init("tested", LOG_LEVEL_INFO, LOG_STYLE_TEXT);
	return 0;
}

static void a_line_has_time_level_program_event_and_pairs(void **state)
{
	uint64_t before = log_count(LOG_LEVEL_INFO);
	capture();
	errno = ENOENT;
	log_info("batch-stored", "chain=%d name=\"%s\"", 7, "a b");
	assert_int_equal(errno, ENOENT);
	const char *text = release();
	assert_int_equal(text[23], 'Z');
	assert_string_equal(text + 24, " info tested batch-stored chain=7 name=\"a b\"\n");
	assert_int_equal(log_count(LOG_LEVEL_INFO), before + 1);
}

static void what_is_above_the_level_is_not_written(void **state)
{
	uint64_t before = log_count(LOG_LEVEL_DEBUG);
	capture();
	log_debug("unseen", "a=1");
	log_write(LOG_LEVEL_DEBUG, "unseen", "a=1");
	log_set_level(LOG_LEVEL_ERROR);
	log_warn("unseen", "a=1");
	log_error("seen", "a=1");
	log_set_level(LOG_LEVEL_DEBUG);
	log_debug("seen-too", "a=%d", 2);
	log_set_level(LOG_LEVEL_INFO);
	const char *text = release();
	assert_null(strstr(text, "unseen"));
	assert_non_null(strstr(text, " error tested seen a=1\n"));
	assert_non_null(strstr(text, " debug tested seen-too a=2\n"));
	assert_int_equal(log_count(LOG_LEVEL_DEBUG), before + 1);
}

static void levels_have_names(void **state)
{
	enum log_level level = LOG_LEVEL_WARN;
	assert_true(log_level_from_name("debug", &level));
	assert_int_equal(level, LOG_LEVEL_DEBUG);
	assert_false(log_level_from_name("loud", &level));
	assert_int_equal(level, LOG_LEVEL_DEBUG);
	assert_string_equal(log_level_name(LOG_LEVEL_WARN), "warn");
	assert_int_equal(log_get_level(), LOG_LEVEL_INFO);
}

static void a_peers_text_cannot_forge_a_line(void **state)
{
	static const struct {
		const char *given;
		const char *written;
	} rows[] = {
		{ "a\nb\r\t\x1b[31m\x7f", "a?b???[31m?" },
		{ "\xe5\x8f\xb0\xe5\x8c\xba caf\xc3\xa9", "\xe5\x8f\xb0\xe5\x8c\xba caf\xc3\xa9" },
		{ "\xff\xfe", "??" },           /* Not UTF-8. */
		{ "\xc2\x9b", "??" },           /* A control character of the terminal. */
		{ "\xc0\xaf", "??" },           /* Overlong. */
		{ "\xe0\x80\xaf", "???" },      /* Overlong. */
		{ "\xed\xa0\x80", "???" },      /* Half of a surrogate pair. */
		{ "\xf4\x90\x80\x80", "????" }, /* Above the last character. */
		{ "\xf0\x9f\x94\x8c", "\xf0\x9f\x94\x8c" },
		{ "cut\xe5\x8f", "cut??" },
	};
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		char expected[128];
		capture();
		log_info("peer", "name=\"%s\"", rows[i].given);
		(void)snprintf(expected, sizeof(expected), " peer name=\"%s\"\n", rows[i].written);
		const char *text = release();
		if (strstr(text, expected) == NULL)
			fail_msg("row %zu: %s", i, text);
		assert_int_equal(count_of(text, "\n"), 1);
	}
}

static void a_line_that_is_too_long_is_cut_with_three_dots(void **state)
{
	char *long_text = malloc(10000);
	memset(long_text, 'y', 9999);
	long_text[9999] = '\0';
	capture();
	log_info("long", "text=%s", long_text);
	const char *text = release();
	size_t size = strlen(text);
	assert_true(size > 2000 && size < 2200);
	assert_string_equal(text + size - 5, "y...\n");
	free(long_text);
}

static void under_the_journal_a_line_has_its_priority_and_no_time(void **state)
{
	char stream[64];
	struct stat info;
	capture();
	assert_int_equal(fstat(STDERR_FILENO, &info), 0);
	(void)snprintf(stream, sizeof(stream), "%llu:%llu", (unsigned long long)info.st_dev,
	               (unsigned long long)info.st_ino);
	assert_int_equal(setenv("JOURNAL_STREAM", stream, 1), 0);
	log_init("tested", LOG_LEVEL_DEBUG, LOG_STYLE_TEXT);
	log_error("one", "a=1");
	log_warn("two", "%s", "");
	log_info("three", "a=1");
	log_debug("four", "a=1");
	assert_string_equal(release(), "<3>one a=1\n<4>two\n<6>three a=1\n<7>four a=1\n");
	/* Somebody else's stream: standard error was redirected since. */
	capture();
	assert_int_equal(setenv("JOURNAL_STREAM", "1:1", 1), 0);
	log_init("tested", LOG_LEVEL_INFO, LOG_STYLE_TEXT);
	log_info("five", "a=1");
	assert_int_equal(release()[0], '2');
}

static void as_json_each_pair_is_a_member(void **state)
{
	log_init("tested", LOG_LEVEL_INFO, LOG_STYLE_JSON);
	capture();
	log_info("json", "a=1 b=\"two words\" c= d=\"\" path=\"C:\\x\" e=f=g");
	const char *text = release();
	assert_memory_equal(text, "{\"time\":\"2", 10);
	assert_string_equal(strstr(text, "\",\"level\":"),
	                    "\",\"level\":\"info\",\"program\":\"tested\",\"event\":\"json\","
	                    "\"a\":\"1\",\"b\":\"two words\",\"c\":\"\",\"d\":\"\","
	                    "\"path\":\"C:\\\\x\",\"e\":\"f=g\"}\n");
	capture();
	log_info("json", "no pairs \"at all\"");
	text = release();
	assert_non_null(strstr(text, "\"event\":\"json\",\"text\":\"no pairs \\\"at all\\\"\"}\n"));
	capture();
	log_info("json", "%s", "");
	assert_non_null(strstr(release(), "\"event\":\"json\"}\n"));
}

static void the_worst_line_is_still_whole_json(void **state)
{
	log_init("tested", LOG_LEVEL_INFO, LOG_STYLE_JSON);
	static const char *const parts[] = { "\\= ", "a= ", "\"", "\\", "= " };
	for (size_t k = 0; k < sizeof(parts) / sizeof(parts[0]); k++) {
		char worst[2100] = "";
		size_t size = strlen(parts[k]);
		for (size_t at = 0; at + size < sizeof(worst) - 1; at += size)
			memcpy(worst + at, parts[k], size);
		capture();
		log_info("worst", "%s", worst);
		const char *text = release();
		assert_string_equal(text + strlen(text) - 2, "}\n");
	}
}

static void an_event_that_comes_too_often_is_counted_instead(void **state)
{
	capture();
	for (int i = 0; i < LOG_BURST_MAX + 30; i++)
		log_warn("burst", "i=%d", i);
	log_warn("other", "a=1"); /* Each event has its own measure. */
	const char *text = release();
	assert_int_equal(count_of(text, " burst "), LOG_BURST_MAX);
	assert_int_equal(count_of(text, " other "), 1);
	(void)nanosleep(&(struct timespec){ .tv_sec = 1, .tv_nsec = 50000000 }, NULL);
	capture();
	log_warn("burst", "i=last");
	log_warn("burst", "i=more");
	text = release();
	assert_int_equal(count_of(text, " warn tested log-suppressed event=burst count=30\n"), 1);
	assert_int_equal(count_of(text, " burst i=last\n"), 1);
	assert_int_equal(count_of(text, "log-suppressed"), 1);
}

static void *write_many(void *arg)
{
	for (int i = 0; i < 40; i++)
		log_info(arg, "a=0123456789 b=0123456789 c=0123456789");
	return NULL;
}

static void lines_of_several_threads_do_not_mix(void **state)
{
	pthread_t threads[4];
	static char events[4][16] = { "thread-1", "thread-2", "thread-3", "thread-4" };
	capture();
	for (int i = 0; i < 4; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, write_many, events[i]), 0);
	for (int i = 0; i < 4; i++)
		assert_int_equal(pthread_join(threads[i], NULL), 0);
	const char *text = release();
	assert_int_equal(count_of(text, "\n"), 160);
	assert_int_equal(count_of(text, " a=0123456789 b=0123456789 c=0123456789\n2"), 159);
	for (int i = 0; i < 4; i++)
		assert_int_equal(count_of(text, events[i]), 40);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(a_line_has_time_level_program_event_and_pairs, begin),
		cmocka_unit_test_setup(what_is_above_the_level_is_not_written, begin),
		cmocka_unit_test_setup(levels_have_names, begin),
		cmocka_unit_test_setup(a_peers_text_cannot_forge_a_line, begin),
		cmocka_unit_test_setup(a_line_that_is_too_long_is_cut_with_three_dots, begin),
		cmocka_unit_test_setup(under_the_journal_a_line_has_its_priority_and_no_time,
		                       begin),
		cmocka_unit_test_setup(as_json_each_pair_is_a_member, begin),
		cmocka_unit_test_setup(the_worst_line_is_still_whole_json, begin),
		cmocka_unit_test_setup(an_event_that_comes_too_often_is_counted_instead, begin),
		cmocka_unit_test_setup(lines_of_several_threads_do_not_mix, begin),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
