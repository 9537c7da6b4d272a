#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "relay/cli/cli.h"
#include "relay/cli/print.h"

static void expect(enum command command, const char *json_text, const char *expected)
{
	/* A real file, not a memory stream: the colours ask what it is. */
	FILE *out = tmpfile();
	assert_non_null(out);
	json_error_t why;
	json_t *json = json_loads(json_text, 0, &why);
	if (json == NULL)
		fail_msg("%s", why.text);
	cli_print(command, json, out);
	json_decref(json);
	size_t size = (size_t)ftell(out);
	rewind(out);
	char *text = calloc(1, size + 1);
	assert_non_null(text);
	assert_int_equal(fread(text, 1, size, out), size);
	(void)fclose(out);
	assert_string_equal(text, expected);
	free(text);
}

static void sizes_are_read_in_the_largest_unit(void **state)
{
	char text[PRINT_SIZE];
	(void)state;
	assert_string_equal(print_bytes(0, text), "0 B");
	assert_string_equal(print_bytes(1023, text), "1023 B");
	assert_string_equal(print_bytes(1536, text), "1.5 KiB");
	assert_string_equal(print_bytes(UINT64_C(64) << 30, text), "64.0 GiB");
	assert_string_equal(print_bytes(UINT64_MAX, text), "16777216.0 TiB");
}

static void durations_have_their_two_largest_units(void **state)
{
	char text[PRINT_SIZE];
	(void)state;
	assert_string_equal(print_duration(0, text), "0 ms");
	assert_string_equal(print_duration(999, text), "999 ms");
	assert_string_equal(print_duration(59999, text), "59 s");
	assert_string_equal(print_duration(60000, text), "1 min");
	assert_string_equal(print_duration(3661000, text), "1 h 1 min");
	assert_string_equal(print_duration(INT64_C(4) * 86400000 + 3600000, text), "4 d 1 h");
}

static void a_list_is_a_table_with_straight_columns(void **state)
{
	(void)state;
	expect(COMMAND_DICTIONARY_LIST,
	       "{\"dictionaries\": [{\"hash\": \"ab\", \"bytes\": 2048, \"classes\": [\"a\", "
	       "\"b\"]},"
	       " {\"hash\": \"cdef\", \"bytes\": 5, \"classes\": []}], \"next\": null}",
	       "HASH     SIZE  CLASSES\n"
	       "ab    2.0 KiB  a, b\n"
	       "cdef      5 B\n");
}

static void what_is_unknown_is_a_dash_and_names_may_be_wide(void **state)
{
	(void)state;
	expect(COMMAND_AUDIT_LIST,
	       "{\"audit\": [{\"number\": 7, \"time_ms\": 0, \"who\": "
	       "\"\xe5\x8f\xb0\xe5\x8c\xba\", "
	       "\"verb\": \"resync\"}]}",
	       "NUMBER  TIME   WHO  VERB    REASON\n"
	       "     7  never  \xe5\x8f\xb0\xe5\x8c\xba   resync  -\n");
}

static void an_empty_list_is_none_and_a_page_names_the_next(void **state)
{
	(void)state;
	expect(COMMAND_GAPS, "{\"gaps\": [], \"next\": null}", "none\n");
	expect(COMMAND_QUARANTINE_RELEASE,
	       "{\"items\": [{\"number\": 3, \"verdict\": \"released\", \"reason\": \"\"}],"
	       " \"next\": \"tq-9\"}",
	       "NUMBER  VERDICT   REASON\n"
	       "     3  released\n"
	       "more: --after tq-9\n");
}

static void fields_inside_objects_reach_their_columns(void **state)
{
	(void)state;
	expect(COMMAND_RECONCILE,
	       "{\"chains\": [{\"name\": \"a\", \"edge\": null, \"spool\": {\"next_height\": 5, "
	       "\"anchored_next\": 4}, \"main_chain\": {\"anchored_next\": 4}, \"differences\": "
	       "[\"x\", \"y\"]}]}",
	       "CHAIN  EDGE TIP  CUSTODY  SPOOL NEXT  SPOOL ANCHORED  MAIN CHAIN  DIFFERENCES\n"
	       "a      -         -                 5               4           4  x, y\n");
}

static void everything_else_is_a_page_of_names_and_values(void **state)
{
	(void)state;
	expect(COMMAND_CHAINS_SHOW,
	       "{\"zone\": \"iii\", \"uptime_ms\": 61000, \"ready\": true, \"attention\": "
	       "[\"one\", "
	       "\"two\"], \"empty\": [], \"links\": {\"open\": 3, \"max\": 10}, \"lanes\": "
	       "[{\"lane\": "
	       "0, \"state\": \"running\"}, {\"lane\": 1, \"state\": \"away\"}], \"rate\": 1.25}",
	       "zone       iii\n"
	       "uptime_ms  1 min 1 s\n"
	       "ready      yes\n"
	       "attention\n"
	       "  - one\n"
	       "  - two\n"
	       "empty      none\n"
	       "links\n"
	       "  open  3\n"
	       "  max   10\n"
	       "lanes\n"
	       "  lane  state\n"
	       "     0  running\n"
	       "     1  away\n"
	       "rate       1.2\n");
}

static void objects_with_more_inside_are_pages_of_their_own(void **state)
{
	(void)state;
	expect(COMMAND_CHAINS_SHOW,
	       "{\"a\": [{\"b\": {\"c\": 1}}, {\"b\": {\"c\": 2}}], \"ranges\": [[3, 5], [7, 7]]}",
	       "a\n"
	       "  b\n"
	       "    c  1\n"
	       "\n"
	       "  b\n"
	       "    c  2\n"
	       "ranges\n"
	       "  - 3..5\n"
	       "  - 7..7\n");
}

static void a_status_names_what_needs_attention_first(void **state)
{
	(void)state;
	expect(COMMAND_STATUS,
	       "{\"zone\": \"iii\", \"version\": \"0.1.0\", \"uptime_ms\": 61000, \"ready\": true,"
	       "\"not_ready\": [], \"attention\": [\"chain b is frozen: fork at height 17\"],"
	       "\"store_uuid\": \"5f\", \"restored\": false,"
	       "\"links\": {\"open\": 3, \"max\": 25000, \"agents\": 2},"
	       "\"chains\": {\"total\": 3, \"enrolled\": 3, \"active\": 2, \"frozen\": 1, "
	       "\"restored\": 0},"
	       "\"blocks\": {\"received\": 10, \"duplicates\": 0, \"pending\": 1, \"anchored\": 9},"
	       "\"spool\": {\"used_bytes\": 1024, \"limit_bytes\": 2048, \"full\": true, "
	       "\"held_batches\": 4, \"held_bytes\": 512, \"oldest_pending_ms\": 0},"
	       "\"lanes\": [{\"sink\": \"main\", \"lane\": 0, \"state\": \"away\", \"reason\": "
	       "\"refused\", \"final_seq\": 4, \"sent_seq\": 5, \"unknown\": 1, "
	       "\"last_progress_ms\": 0}],"
	       "\"endpoints\": [{\"url\": \"https://m\", \"up\": false, \"behind\": true, "
	       "\"height\": 10, \"calls\": 12, \"failures\": 3}]}",
	       "zone iii: zonerelayd 0.1.0, up 1 min 1 s, ready\n"
	       "needs attention\n"
	       "  - chain b is frozen: fork at height 17\n"
	       "\n"
	       "links      3 of 25000, 2 agents\n"
	       "chains     3: 3 enrolled, 2 active, 1 frozen\n"
	       "blocks     10 received: 1 pending, 9 anchored\n"
	       "spool      1.0 KiB of 2.0 KiB, FULL: intake is paused, 512 B in 4 batches\n"
	       "lane       main/0 away (refused): final 4, sent 5, in doubt 1; last progress "
	       "never\n"
	       "endpoint   https://m DOWN, BEHIND, height 10; 12 calls, 3 failed\n"
	       "store      5f\n");
	/* What an older or newer daemon leaves out is a dash. */
	expect(COMMAND_STATUS, "{}",
	       "zone -: zonerelayd -, up -, NOT READY\n"
	       "\n"
	       "links      - of -, - agents\n"
	       "chains     -\n"
	       "blocks     - received\n"
	       "spool      - of -, - in - batches\n"
	       "store      -\n");
}

static void what_came_from_outside_cannot_move_the_cursor(void **state)
{
	char text[32];
	json_t *value = json_string("a\x1b[2Jb\nc");
	(void)state;
	assert_string_equal(print_value("detail", value, text, sizeof(text)), "a?[2Jb?c");
	json_decref(value);
}

static void times_are_dates(void **state)
{
	char text[64];
	json_t *value = json_integer(INT64_C(1790000000000));
	(void)state;
	assert_string_equal(print_value("time_ms", value, text, sizeof(text)),
	                    "2026-09-21T14:13:20.000Z");
	json_decref(value);
	value = json_integer(0);
	assert_string_equal(print_value("final_ms", value, text, sizeof(text)), "never");
	json_decref(value);
}

static void a_long_value_is_cut_to_its_place(void **state)
{
	char text[8];
	json_t *list = json_pack("[s,s,s]", "aaa", "bbb", "ccc");
	(void)state;
	assert_true(strlen(print_value("", list, text, sizeof(text))) < sizeof(text));
	json_decref(list);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(sizes_are_read_in_the_largest_unit),
		cmocka_unit_test(durations_have_their_two_largest_units),
		cmocka_unit_test(a_list_is_a_table_with_straight_columns),
		cmocka_unit_test(what_is_unknown_is_a_dash_and_names_may_be_wide),
		cmocka_unit_test(an_empty_list_is_none_and_a_page_names_the_next),
		cmocka_unit_test(fields_inside_objects_reach_their_columns),
		cmocka_unit_test(everything_else_is_a_page_of_names_and_values),
		cmocka_unit_test(objects_with_more_inside_are_pages_of_their_own),
		cmocka_unit_test(a_status_names_what_needs_attention_first),
		cmocka_unit_test(what_came_from_outside_cannot_move_the_cursor),
		cmocka_unit_test(times_are_dates),
		cmocka_unit_test(a_long_value_is_cut_to_its_place),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
