#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <string.h>

#include "relay/commands.h"

#define WORDS(...)                            \
	(const char *const[]){ __VA_ARGS__ }, \
		sizeof((const char *const[]){ __VA_ARGS__ }) / sizeof(char *)

static void parse(const char *const *words, size_t count, struct command_line *line)
{
	struct err err = { .message = "" };
	if (!command_parse(words, count, line, &err))
		fail_msg("%s", err.message);
}

static void refused(const char *const *words, size_t count, const char *sentence)
{
	struct command_line line;
	struct err err;
	assert_false(command_parse(words, count, &line, &err));
	assert_int_equal(err.code, ZR_INVALID);
	assert_string_equal(err.message, sentence);
}

static void every_row_of_the_table_is_filled(void **state)
{
	(void)state;
	for (unsigned command = 0; command < COMMAND_COUNT; command++) {
		const struct command_row *row = command_row(command);
		if (row->words == NULL)
			fail_msg("command %u has no row", command);
		assert_non_null(row->synopsis);
		assert_non_null(row->text);
		assert_true(row->argument_min <= row->argument_max);
		assert_true(row->argument_max <= COMMAND_ARGUMENTS_MAX);
		assert_int_equal(row->argument_max == 0, row->synopsis[0] == '\0');
		assert_non_null(strchr(".?", row->text[strlen(row->text) - 1]));
		/* What changes something can be tried first, and says so. */
		if ((row->flags & COMMAND_CHANGES) != 0)
			assert_true((row->flags & COMMAND_DRY_RUN) != 0);
		if ((row->flags & COMMAND_GIVES) != 0)
			assert_true(command_has_option(command, OPTION_OUT));
	}
	for (unsigned option = 0; option < OPTION_COUNT; option++) {
		const struct command_option_row *row = command_option_row(option);
		if (row->name == NULL)
			fail_msg("option %u has no row", option);
		assert_int_equal(strncmp(row->name, "--", 2), 0);
		assert_non_null(row->text);
	}
}

static void every_command_is_found_by_its_own_words(void **state)
{
	(void)state;
	for (unsigned command = 0; command < COMMAND_COUNT; command++) {
		const char *text = command_row(command)->words;
		char copy[64];
		assert_true(strlen(text) < sizeof(copy));
		strcpy(copy, text);
		const char *words[4];
		size_t count = 0;
		for (char *word = strtok(copy, " "); word != NULL; word = strtok(NULL, " "))
			words[count++] = word;
		words[count++] = "--help";
		struct command_line line;
		parse(words, count, &line);
		assert_int_equal(line.command, command);
		assert_non_null(line.options[OPTION_HELP]);
	}
}

static void words_arguments_and_options_are_told_apart(void **state)
{
	(void)state;
	struct command_line line;
	parse(WORDS("chains", "freeze", "--reason", "maintenance", "tq-0001", "--hold-delivery",
	            "--timeout=5 s"),
	      &line);
	assert_int_equal(line.command, COMMAND_CHAINS_FREEZE);
	assert_int_equal(line.argument_count, 1);
	assert_string_equal(line.arguments[0], "tq-0001");
	assert_string_equal(line.options[OPTION_REASON], "maintenance");
	assert_string_equal(line.options[OPTION_HOLD_DELIVERY], "");
	assert_string_equal(line.options[OPTION_TIMEOUT], "5 s");
	assert_null(line.options[OPTION_JSON]);
}

static void after_two_dashes_everything_is_an_argument(void **state)
{
	(void)state;
	struct command_line line;
	parse(WORDS("blocks", "verify", "--format", "fabric", "--", "--odd-name", "-"), &line);
	assert_int_equal(line.argument_count, 2);
	assert_string_equal(line.arguments[0], "--odd-name");
}

static void what_is_sent_is_parsed_to_the_same_again(void **state)
{
	(void)state;
	struct command_line line;
	parse(WORDS("chains", "freeze", "--json", "--reason", "x", "--hold-delivery", "--",
	            "-name"),
	      &line);
	const char *words[COMMAND_WORDS_MAX];
	size_t count = command_words(&line, words);
	struct command_line again;
	parse(words, count, &again);
	assert_int_equal(again.command, COMMAND_CHAINS_FREEZE);
	assert_string_equal(again.arguments[0], "-name");
	assert_non_null(again.options[OPTION_HOLD_DELIVERY]);
	assert_null(again.options[OPTION_JSON]);
	assert_null(again.options[OPTION_REASON]);
}

static void mistakes_are_sentences(void **state)
{
	(void)state;
	refused(NULL, 0, "a command is missing; \"zonerelay help\" lists them");
	refused(WORDS("chian"), "chian: no such command; \"zonerelay help\" lists them");
	refused(WORDS("evidence"), "evidence needs one of: list, export, verify");
	refused(WORDS("evidence", "lst"),
	        "evidence lst: no such command; evidence has: list, export, verify");
	refused(WORDS("status", "--rason"), "--rason: no such option of \"status\"; see --help");
	refused(WORDS("status", "--reason", "x"),
	        "--reason: no such option of \"status\"; see --help");
	refused(WORDS("status", "x"), "status: one argument too many: x");
	refused(WORDS("proof", "get", "x"), "usage: zonerelay proof get NAME HEIGHT");
	refused(WORDS("chains", "list", "--limit"), "--limit needs a value: N");
	refused(WORDS("status", "--json=1"), "--json takes no value");
	refused(WORDS("status", "--json", "--json"), "--json is given twice");
}

static void too_many_arguments_are_refused(void **state)
{
	(void)state;
	const char *words[COMMAND_ARGUMENTS_MAX + 3] = { "reconcile" };
	for (size_t i = 1; i < sizeof(words) / sizeof(words[0]); i++)
		words[i] = "a";
	refused(words, COMMAND_ARGUMENTS_MAX + 2, "there are more than 200 arguments");
	struct command_line line;
	parse(words, COMMAND_ARGUMENTS_MAX + 1, &line);
	const char *sent[COMMAND_WORDS_MAX];
	assert_int_equal(command_words(&line, sent), COMMAND_ARGUMENTS_MAX + 2);
}

static void check_ranges(const char *text, size_t count, uint64_t from, uint64_t to)
{
	struct ranges ranges;
	struct err err = { .message = "" };
	if (!ranges_parse(text, &ranges, &err))
		fail_msg("%s", err.message);
	assert_int_equal(ranges.count, count);
	assert_true(ranges.items[count - 1].from == from);
	assert_true(ranges.items[count - 1].to == to);
}

static void ranges_are_read_as_people_write_them(void **state)
{
	(void)state;
	check_ranges("5", 1, 5, 5);
	check_ranges("0..0", 1, 0, 0);
	check_ranges("1,10..20", 2, 10, 20);
	check_ranges("1..3,7..", 2, 7, UINT64_MAX);
	check_ranges("18446744073709551615", 1, UINT64_MAX, UINT64_MAX);
	static const char *const bad[] = { "",
		                           ",",
		                           "1,",
		                           "a",
		                           "-1",
		                           "1..0",
		                           "1...2",
		                           "5,5",
		                           "5..7,7",
		                           "1..,9",
		                           "2,1",
		                           "1 ",
		                           "..4",
		                           "18446744073709551616",
		                           "000000000000000000000" };
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct ranges ranges;
		struct err err;
		if (ranges_parse(bad[i], &ranges, &err))
			fail_msg("\"%s\" was taken for heights", bad[i]);
		assert_int_equal(err.code, ZR_INVALID);
	}
}

static void ranges_contain_what_they_say(void **state)
{
	(void)state;
	struct ranges ranges;
	assert_true(ranges_parse("1,10..20,30..", &ranges, NULL));
	assert_true(ranges_contain(&ranges, 1));
	assert_false(ranges_contain(&ranges, 2));
	assert_true(ranges_contain(&ranges, 10));
	assert_true(ranges_contain(&ranges, 20));
	assert_false(ranges_contain(&ranges, 21));
	assert_true(ranges_contain(&ranges, UINT64_MAX));
}

static void more_ranges_than_there_is_room_for_are_refused(void **state)
{
	(void)state;
	char text[RANGES_MAX * 4 + 8] = "";
	for (unsigned i = 0; i <= RANGES_MAX; i++) {
		char number[8];
		snprintf(number, sizeof(number), "%s%u", i == 0 ? "" : ",", i);
		strcat(text, number);
	}
	struct ranges ranges;
	assert_false(ranges_parse(text, &ranges, NULL));
	*strrchr(text, ',') = '\0';
	assert_true(ranges_parse(text, &ranges, NULL));
	assert_int_equal(ranges.count, RANGES_MAX);
}

static void numbers_are_whole_and_within_their_limit(void **state)
{
	(void)state;
	uint64_t number = 0;
	struct err err;
	assert_true(command_number("65535", "a lane", 65535, &number, &err));
	assert_int_equal(number, 65535);
	assert_false(command_number("65536", "a lane", 65535, &number, &err));
	assert_string_equal(err.message, "65536 is not a lane");
	assert_false(command_number("", "a lane", 65535, &number, &err));
	assert_false(command_number("1x", "a lane", 65535, &number, &err));
	assert_false(command_number("99999999999999999999", "a height", UINT64_MAX, &number, &err));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_row_of_the_table_is_filled),
		cmocka_unit_test(every_command_is_found_by_its_own_words),
		cmocka_unit_test(words_arguments_and_options_are_told_apart),
		cmocka_unit_test(after_two_dashes_everything_is_an_argument),
		cmocka_unit_test(what_is_sent_is_parsed_to_the_same_again),
		cmocka_unit_test(mistakes_are_sentences),
		cmocka_unit_test(too_many_arguments_are_refused),
		cmocka_unit_test(ranges_are_read_as_people_write_them),
		cmocka_unit_test(ranges_contain_what_they_say),
		cmocka_unit_test(more_ranges_than_there_is_room_for_are_refused),
		cmocka_unit_test(numbers_are_whole_and_within_their_limit),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
