/* Words of a command line, one a line, as the control socket brings them: taken apart or refused;
 * what is taken apart is sent on as words that mean the same. Each word is tried as heights too. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "relay/commands.h"

#define WORDS_MAX 256

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void try_ranges(const char *word)
{
	struct ranges ranges;
	struct err err;
	if (!ranges_parse(word, &ranges, &err))
		return;
	assert(ranges.count > 0 && ranges.count <= RANGES_MAX);
	for (size_t i = 0; i < ranges.count; i++) {
		assert(ranges.items[i].from <= ranges.items[i].to);
		assert(i == 0 || ranges.items[i].from > ranges.items[i - 1].to);
		assert(ranges_contain(&ranges, ranges.items[i].from));
	}
}

static void try_line(const char *const *words, size_t count)
{
	struct command_line line;
	struct command_line again;
	const char *sent[COMMAND_WORDS_MAX];
	struct err err;
	if (!command_parse(words, count, &line, &err) || line.options[OPTION_HELP] != NULL)
		return;
	size_t sent_count = command_words(&line, sent);
	assert(command_parse(sent, sent_count, &again, &err));
	assert(again.command == line.command && again.argument_count == line.argument_count);
	for (size_t i = 0; i < line.argument_count; i++)
		assert(strcmp(again.arguments[i], line.arguments[i]) == 0);
	for (unsigned option = 0; option < OPTION_FIRST_LOCAL; option++)
		assert((again.options[option] == NULL) == (line.options[option] == NULL));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const char *words[WORDS_MAX];
	size_t count = 0;
	char *text = calloc(1, size + 1);
	assert(text != NULL);
	if (size > 0)
		memcpy(text, data, size);
	for (char *word = text; word != NULL && count < WORDS_MAX;) {
		char *end = strchr(word, '\n');
		if (end != NULL)
			*end++ = '\0';
		words[count++] = word;
		try_ranges(word);
		word = end;
	}
	try_line(words, count);
	free(text);
	return 0;
}
