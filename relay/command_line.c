/* command_line.c -- taking a command line apart, by the table. See commands.h. */
#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "relay/commands.h"

/* How many words of the line are those of the command: "chains list" has two. 0: it is another. */
static size_t match_words(const struct command_row *row, const char *const *words,
                          size_t word_count)
{
	const char *rest = row->words;
	size_t count = 0;
	while (rest[0] != '\0') {
		size_t size = strcspn(rest, " ");
		if (count == word_count || strlen(words[count]) != size ||
		    strncmp(words[count], rest, size) != 0)
			return 0;
		count++;
		rest += size;
		rest += strspn(rest, " ");
	}
	return count;
}

/* Names that begin like the first word: "chains" of "chains lst". */
static bool refuse_command(const char *const *words, size_t word_count, struct err *err)
{
	char known[256] = "";
	size_t size = 0;
	for (unsigned command = 0; command < COMMAND_COUNT; command++) {
		const char *name = command_row(command)->words;
		size_t first = strlen(words[0]);
		if (strncmp(name, words[0], first) != 0 || name[first] != ' ')
			continue;
		int more = snprintf(known + size, sizeof(known) - size, "%s%s",
		                    size == 0 ? "" : ", ", name + first + 1);
		if (more > 0 && (size_t)more < sizeof(known) - size)
			size += (size_t)more;
	}
	if (size == 0)
		return err_set(err, ZR_INVALID,
		               "%s: no such command; \"zonerelay help\" lists them", words[0]);
	if (word_count < 2 || words[1][0] == '-')
		return err_set(err, ZR_INVALID, "%s needs one of: %s", words[0], known);
	return err_set(err, ZR_INVALID, "%s %s: no such command; %s has: %s", words[0], words[1],
	               words[0], known);
}

static bool find_command(const char *const *words, size_t word_count, struct command_line *line,
                         struct err *err)
{
	if (word_count == 0)
		return err_set(err, ZR_INVALID,
		               "a command is missing; \"zonerelay help\" lists them");
	for (unsigned command = 0; command < COMMAND_COUNT; command++) {
		size_t used = match_words(command_row(command), words, word_count);
		if (used == 0)
			continue;
		line->command = command;
		line->row = command_row(command);
		line->verb_count = used;
		return true;
	}
	return refuse_command(words, word_count, err);
}

/* "--limit", or "--limit=5": which option, if this command has it. OPTION_COUNT: none. */
static enum command_option find_option(const struct command_line *line, const char *word)
{
	size_t size = strcspn(word, "=");
	for (unsigned option = 0; option < OPTION_COUNT; option++) {
		const char *name = command_option_row(option)->name;
		if (command_has_option(line->command, option) && strlen(name) == size &&
		    strncmp(name, word, size) == 0)
			return option;
	}
	return OPTION_COUNT;
}

/* words[*index] is an option; moves index to its last word. */
static bool take_option(struct command_line *line, const char *const *words, size_t word_count,
                        size_t *index, struct err *err)
{
	const char *word = words[*index];
	enum command_option option = find_option(line, word);
	if (option == OPTION_COUNT)
		return err_set(err, ZR_INVALID, "%s: no such option of \"%s\"; see --help", word,
		               line->row->words);
	const struct command_option_row *row = command_option_row(option);
	const char *equals = strchr(word, '=');
	const char *value = "";
	if (row->value == NULL && equals != NULL)
		return err_set(err, ZR_INVALID, "%s takes no value", row->name);
	if (row->value != NULL && equals != NULL) {
		value = equals + 1;
	} else if (row->value != NULL) {
		if (*index + 1 == word_count)
			return err_set(err, ZR_INVALID, "%s needs a value: %s", row->name,
			               row->value);
		value = words[++*index];
	}
	if (line->options[option] != NULL)
		return err_set(err, ZR_INVALID, "%s is given twice", row->name);
	line->options[option] = value;
	return true;
}

static bool check_count(const struct command_line *line, struct err *err)
{
	if (line->options[OPTION_HELP] != NULL)
		return true;
	if (line->argument_count < line->row->argument_min)
		return err_set(err, ZR_INVALID, "usage: zonerelay %s %s", line->row->words,
		               line->row->synopsis);
	if (line->argument_count > line->row->argument_max)
		return err_set(err, ZR_INVALID, "%s: one argument too many: %s", line->row->words,
		               line->arguments[line->row->argument_max]);
	return true;
}

bool command_parse(const char *const *words, size_t word_count, struct command_line *out_line,
                   struct err *err)
{
	struct command_line line = { .verbs = words };
	if (!find_command(words, word_count, &line, err))
		return false;
	assert(line.row != NULL);
	bool options_end = false;
	for (size_t i = line.verb_count; i < word_count; i++) {
		const char *word = words[i];
		if (!options_end && strcmp(word, "--") == 0) {
			options_end = true;
		} else if (!options_end && word[0] == '-' && word[1] != '\0') {
			if (!take_option(&line, words, word_count, &i, err))
				return false;
		} else if (line.argument_count == COMMAND_ARGUMENTS_MAX) {
			return err_set(err, ZR_INVALID, "there are more than %d arguments",
			               COMMAND_ARGUMENTS_MAX);
		} else {
			line.arguments[line.argument_count++] = word;
		}
	}
	if (!check_count(&line, err))
		return false;
	*out_line = line;
	return true;
}

bool command_check_needs(const struct command_line *line, struct err *err)
{
	const struct command_row *row = line->row;
	if (line->options[OPTION_HELP] != NULL)
		return true;
	for (unsigned option = 0; option < OPTION_COUNT; option++) {
		const struct command_option_row *needed = command_option_row(option);
		if ((row->needs & (UINT64_C(1) << option)) != 0 && line->options[option] == NULL)
			return err_set(err, ZR_INVALID, "\"%s\" needs %s %s: %s", row->words,
			               needed->name, needed->value, needed->text);
	}
	if ((row->flags & COMMAND_CHANGES) != 0 && line->options[OPTION_REASON] == NULL)
		return err_set(err, ZR_INVALID,
		               "\"%s\" changes something: say why with --reason TEXT", row->words);
	return true;
}

size_t command_words(const struct command_line *line,
                     const char *out_words[static COMMAND_WORDS_MAX])
{
	size_t count = 0;
	while (count < line->verb_count) {
		out_words[count] = line->verbs[count];
		count++;
	}
	for (unsigned option = 0; option < OPTION_FIRST_LOCAL; option++) {
		if (line->options[option] == NULL)
			continue;
		out_words[count++] = command_option_row(option)->name;
		if (command_option_row(option)->value != NULL)
			out_words[count++] = line->options[option];
	}
	out_words[count++] = "--";
	for (size_t i = 0; i < line->argument_count; i++)
		out_words[count++] = line->arguments[i];
	assert(count <= COMMAND_WORDS_MAX);
	return count;
}

/* ---- values ---- */

bool command_number(const char *text, const char *what, uint64_t max, uint64_t *out_number,
                    struct err *err)
{
	uint64_t number = 0;
	size_t size = strspn(text, "0123456789");
	bool good = size > 0 && text[size] == '\0';
	for (size_t i = 0; good && i < size; i++) {
		uint64_t digit = (uint64_t)(text[i] - '0');
		good = number <= (UINT64_MAX - digit) / 10;
		number = good ? number * 10 + digit : 0;
	}
	if (!good || number > max)
		return err_set(err, ZR_INVALID, "%s is not %s", text, what);
	*out_number = number;
	return true;
}

static bool refuse_ranges(const char *text, struct err *err)
{
	return err_set(err, ZR_INVALID,
	               "%s is no list of heights: write 5, 1..20, 1,10..20 or 7.., in rising order",
	               text);
}

/* One number of at most 20 digits at *cursor, which is moved behind it. */
static bool take_number(const char **cursor, uint64_t *out_number)
{
	char digits[21];
	size_t size = strspn(*cursor, "0123456789");
	if (size == 0 || size >= sizeof(digits))
		return false;
	memcpy(digits, *cursor, size);
	digits[size] = '\0';
	*cursor += size;
	return command_number(digits, "a number", UINT64_MAX, out_number, NULL);
}

/* "5", "5..9" or "5.." at *cursor. */
static bool take_range(const char **cursor, uint64_t *out_from, uint64_t *out_to)
{
	*out_from = 0;
	if (!take_number(cursor, out_from))
		return false;
	*out_to = *out_from;
	if (strncmp(*cursor, "..", 2) != 0)
		return true;
	*cursor += 2;
	if (**cursor == ',' || **cursor == '\0') {
		*out_to = UINT64_MAX;
		return true;
	}
	return take_number(cursor, out_to) && *out_to >= *out_from;
}

bool ranges_parse(const char *text, struct ranges *out_ranges, struct err *err)
{
	struct ranges ranges = { .count = 0 };
	const char *cursor = text;
	uint64_t below = 0; /* The next one begins here at the lowest. */
	bool closed = false;
	while (true) {
		uint64_t from;
		uint64_t to;
		if (!take_range(&cursor, &from, &to) || closed || from < below ||
		    ranges.count == RANGES_MAX)
			return refuse_ranges(text, err);
		ranges.items[ranges.count].from = from;
		ranges.items[ranges.count++].to = to;
		closed = to == UINT64_MAX;
		below = closed ? to : to + 1;
		if (*cursor == '\0')
			break;
		if (*cursor++ != ',')
			return refuse_ranges(text, err);
	}
	*out_ranges = ranges;
	return true;
}

bool ranges_contain(const struct ranges *ranges, uint64_t height)
{
	for (size_t i = 0; i < ranges->count; i++) {
		if (height >= ranges->items[i].from && height <= ranges->items[i].to)
			return true;
	}
	return false;
}
