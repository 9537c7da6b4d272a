/* main.c -- zonerelay-edge: the agent on the edge device, and its local commands. */
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "relay/base/exit.h"
#include "relay/base/log.h"
#include "relay/edge/commands.h"
#include "spool/store.h"

#define CONFIG_PATH "/etc/zonerelay/edge.yaml"

static void print_help(void)
{
	printf("zonerelay-edge %s: carries a side chain of this device to the zone's gateway\n\n"
	       "usage: zonerelay-edge [--config FILE] [COMMAND]\n\n",
	       ZR_VERSION);
	for (int i = 0; command_at(i) != NULL; i++) {
		const struct command *command = command_at(i);
		printf("  %s%s%s\n      %s\n", command->verb,
		       command->arguments[0] == '\0' ? "" : " ", command->arguments, command->text);
	}
	printf("\n  --config FILE   instead of " CONFIG_PATH "\n"
	       "  --json          one line of JSON for programs\n"
	       "  --help, --version\n\n"
	       "Exit status: 0 ok, 1 failed, 2 usage, 3 degraded; run: 78 configuration, 66 store\n"
	       "missing, 74 disk failed, 75 full. See zonerelay-edge(8).\n");
}

static int usage(const char *problem, const char *word)
{
	fprintf(stderr, "zonerelay-edge: %s%s%s\nTry zonerelay-edge --help.\n", problem,
	        word[0] == '\0' ? "" : ": ", word);
	return EXIT_BAD_USAGE;
}

/* The command that words begin with; *out_used: how many of them name it. */
static const struct command *find(const char *const *words, int count, int *out_used)
{
	for (int i = 0; command_at(i) != NULL; i++) {
		const struct command *command = command_at(i);
		const char *blank = strchr(command->verb, ' ');
		size_t size =
			blank == NULL ? strlen(command->verb) : (size_t)(blank - command->verb);
		if (strncmp(words[0], command->verb, size) != 0 || words[0][size] != '\0')
			continue;
		if (blank != NULL && (count < 2 || strcmp(words[1], blank + 1) != 0))
			continue;
		*out_used = blank == NULL ? 1 : 2;
		return command;
	}
	return NULL;
}

int main(int argument_count, char **argument_values)
{
	struct arguments arguments = { .config_path = CONFIG_PATH };
	const char *words[6] = { "run" };
	int count = 0;
	for (int i = 1; i < argument_count; i++) {
		const char *word = argument_values[i];
		if (strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0) {
			print_help();
			return EXIT_OK;
		}
		if (strcmp(word, "--version") == 0) {
			printf("zonerelay-edge %s\n", ZR_VERSION);
			return EXIT_OK;
		}
		if (strcmp(word, "--json") == 0)
			arguments.json = true;
		else if (strncmp(word, "--config=", 9) == 0)
			arguments.config_path = word + 9;
		else if (strcmp(word, "--config") == 0 && i + 1 < argument_count)
			arguments.config_path = argument_values[++i];
		else if (word[0] == '-')
			return usage("unknown option", word);
		else if (count == (int)(sizeof(words) / sizeof(words[0])))
			return usage("too many words", word);
		else
			words[count++] = word;
	}
	int used = 0;
	const struct command *command = find(words, count, &used);
	if (command == NULL)
		return usage("unknown command", words[0]);
	arguments.word_count = count > used ? count - used : 0;
	if (arguments.word_count < command->word_min || arguments.word_count > command->word_max)
		return usage("wrong number of words", command->verb);
	for (int i = 0; i < arguments.word_count; i++)
		arguments.words[i] = words[used + i];

	signal(SIGPIPE, SIG_IGN);
	store_exit_on_fault();
	log_init("zonerelay-edge", LOG_LEVEL_WARN, LOG_STYLE_TEXT);
	return command->run(&arguments);
}
