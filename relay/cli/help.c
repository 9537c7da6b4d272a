/* help.c -- zonerelay help, version and completions: all from the table of commands. */
#include <string.h>

#include "adapters/sidechain.h"
#include "relay/cli/cli.h"
#include "relay/cli/print.h"

/* ---- help ---- */

static void put_option(enum command_option option)
{
	const struct command_option_row *row = command_option_row(option);
	char left[64];
	(void)snprintf(left, sizeof(left), "%s%s%s", row->name, row->value == NULL ? "" : " ",
	               row->value == NULL ? "" : row->value);
	(void)printf("  %-26s %s\n", left, row->text);
}

#define PAGE_WIDTH 78

/* Breaks a text into lines at its blanks. */
static void put_paragraph(const char *text)
{
	size_t column = 0;
	while (*text != '\0') {
		size_t size = strcspn(text, " ");
		if (column > 0 && column + 1 + size > PAGE_WIDTH) {
			(void)printf("\n");
			column = 0;
		}
		(void)printf("%s%.*s", column == 0 ? "" : " ", (int)size, text);
		column += size + (column == 0 ? 0 : 1);
		text += size;
		text += strspn(text, " ");
	}
	(void)printf("\n");
}

static void help_on(enum command command)
{
	const struct command_row *row = command_row(command);
	(void)printf("usage: zonerelay %s%s%s [OPTION...]\n\n", row->words,
	             row->synopsis[0] == '\0' ? "" : " ", row->synopsis);
	put_paragraph(row->text);
	if (row->more != NULL)
		put_paragraph(row->more);
	(void)printf("\n");
	for (unsigned option = 0; option < OPTION_COUNT; option++) {
		if (command_has_option(command, option))
			put_option(option);
	}
	if ((row->flags & COMMAND_OFFLINE) != 0)
		(void)printf("\nWorks without the daemon.\n");
}

static void help_on_all(void)
{
	(void)printf("usage: zonerelay COMMAND [ARGUMENT...] [OPTION...]\n\n");
	for (unsigned command = 0; command < COMMAND_COUNT; command++) {
		const struct command_row *row = command_row(command);
		char left[64];
		(void)snprintf(left, sizeof(left), "%s%s%s", row->words,
		               row->synopsis[0] == '\0' ? "" : " ", row->synopsis);
		(void)printf("  %-30s %s\n", left, row->text);
	}
	(void)printf(
		"\n\"zonerelay COMMAND --help\" says more; zonerelay(1) says everything.\n"
		"Exit status: 0 done, 1 failed, 2 usage, 3 degraded, 4 integrity violation.\n");
}

/* The command that the words begin with; COMMAND_COUNT: none. */
static enum command find(const struct cli *cli)
{
	struct command_line found;
	const char *words[3] = { cli_argument(cli, 0), cli_argument(cli, 1), NULL };
	size_t count = cli->line->argument_count;
	words[count++] = "--help";
	return command_parse(words, count, &found, NULL) ? found.command : COMMAND_COUNT;
}

/* "zonerelay help chains": all commands of that word. */
static bool help_on_group(const char *word)
{
	size_t size = strlen(word);
	bool any = false;
	for (unsigned command = 0; command < COMMAND_COUNT; command++) {
		const struct command_row *row = command_row(command);
		if (strncmp(row->words, word, size) != 0 || row->words[size] != ' ')
			continue;
		(void)printf("  %s %s\n      %s\n", row->words, row->synopsis, row->text);
		any = true;
	}
	return any;
}

int cli_help(struct cli *cli)
{
	if (cli_option(cli, OPTION_HELP) != NULL) {
		help_on(cli->line->command);
		return EXIT_OK;
	}
	if (cli->line->argument_count == 0) {
		help_on_all();
		return EXIT_OK;
	}
	enum command command = find(cli);
	if (command != COMMAND_COUNT)
		help_on(command);
	else if (!help_on_group(cli_argument(cli, 0)))
		return cli_usage(cli, "%s: no such command; \"zonerelay help\" lists them",
		                 cli_argument(cli, 0));
	return EXIT_OK;
}

/* ---- version ---- */

int cli_version(struct cli *cli)
{
	json_t *formats = json_array();
	for (size_t i = 0; sidechain_at(i) != NULL; i++)
		(void)json_array_append_new(formats, json_string(sidechain_at(i)->name));
	json_t *suites = json_array();
	for (unsigned suite = SUITE_SHA256_P256; suite <= SUITE_SM3_SM2; suite++) {
		if (suite_available(suite))
			(void)json_array_append_new(suites, json_string(suite_name(suite)));
	}
	json_t *json = json_pack("{s:s,s:o,s:o,s:s}", "version", ZR_VERSION, "formats", formats,
	                         "suites", suites, "jansson", JANSSON_VERSION);
	char text[256];
	if (!cli->json) {
		(void)printf("zonerelay %s\n", ZR_VERSION);
		(void)printf("formats  %s\n", print_value("", formats, text, sizeof(text)));
		(void)printf("suites   %s\n", print_value("", suites, text, sizeof(text)));
	}
	cli_json(cli, json);
	return EXIT_OK;
}

/* ---- completions ---- */

/* "status chains adopt": the first words, each once. */
static void put_first_words(void)
{
	const char *before = "";
	for (unsigned command = 0; command < COMMAND_COUNT; command++) {
		const char *words = command_row(command)->words;
		size_t size = strcspn(words, " ");
		if (strncmp(before, words, size) != 0 || before[strcspn(before, " ")] != ' ')
			(void)printf("%s%.*s", command == 0 ? "" : " ", (int)size, words);
		before = words;
	}
}

/* The second words after a first one; nothing where there are none. */
static void put_second_words(const char *first, size_t size)
{
	bool any = false;
	for (unsigned command = 0; command < COMMAND_COUNT; command++) {
		const char *words = command_row(command)->words;
		if (strncmp(words, first, size) == 0 && words[size] == ' ') {
			(void)printf("%s%s", any ? " " : "", words + size + 1);
			any = true;
		}
	}
}

static void put_options(enum command command)
{
	bool any = false;
	for (unsigned option = 0; option < OPTION_COUNT; option++) {
		if (command_has_option(command, option)) {
			(void)printf("%s%s", any ? " " : "", command_option_row(option)->name);
			any = true;
		}
	}
}

/* One function for both shells, since zsh reads bash's with bashcompinit. */
static void put_completion_function(void)
{
	(void)printf("_zonerelay() {\n"
	             "\tlocal current=\"${COMP_WORDS[COMP_CWORD]}\" words=\n"
	             "\tCOMPREPLY=()\n"
	             "\tif [ \"$COMP_CWORD\" -eq 1 ]; then\n"
	             "\t\twords='");
	put_first_words();
	(void)printf("'\n\telif [ \"${current#-}\" != \"$current\" ]; then\n"
	             "\t\tcase \"${COMP_WORDS[1]} ${COMP_WORDS[2]}\" in\n");
	for (unsigned command = 0; command < COMMAND_COUNT; command++) {
		const char *words = command_row(command)->words;
		bool two = strchr(words, ' ') != NULL;
		(void)printf("\t\t'%s%s words='", words, two ? "')" : " '*)");
		put_options(command);
		(void)printf("' ;;\n");
	}
	(void)printf("\t\tesac\n\telif [ \"$COMP_CWORD\" -eq 2 ]; then\n"
	             "\t\tcase \"${COMP_WORDS[1]}\" in\n");
	const char *before = "";
	for (unsigned command = 0; command < COMMAND_COUNT; command++) {
		const char *words = command_row(command)->words;
		size_t size = strcspn(words, " ");
		if (words[size] == ' ' && strncmp(before, words, size + 1) != 0) {
			(void)printf("\t\t%.*s) words='", (int)size, words);
			put_second_words(words, size);
			(void)printf("' ;;\n");
		}
		before = words;
	}
	(void)printf("\t\tesac\n\tfi\n"
	             "\tif [ -n \"$words\" ]; then\n"
	             "\t\tCOMPREPLY=($(compgen -W \"$words\" -- \"$current\"))\n"
	             "\telse\n"
	             "\t\tCOMPREPLY=($(compgen -f -- \"$current\"))\n"
	             "\tfi\n}\n");
}

int cli_completions(struct cli *cli)
{
	const char *shell = cli_argument(cli, 0);
	bool zsh = strcmp(shell, "zsh") == 0;
	if (!zsh && strcmp(shell, "bash") != 0)
		return cli_usage(cli, "completions are there for bash and zsh, not for %s", shell);
	if (zsh)
		(void)printf("#compdef zonerelay\n"
		             "autoload -U +X bashcompinit && bashcompinit\n");
	put_completion_function();
	(void)printf("complete -o filenames -F _zonerelay zonerelay\n");
	return EXIT_OK;
}
