/* main.c -- zonerelay: the operator's command line. */
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "relay/base/log.h"
#include "relay/cli/cli.h"

static cli_command *const offline[COMMAND_COUNT] = {
	[COMMAND_CHAINS_ADD] = cli_chains_add,
	[COMMAND_EVIDENCE_VERIFY] = cli_evidence_verify,
	[COMMAND_PROOF_VERIFY] = cli_proof_verify,
	[COMMAND_BLOCKS_VERIFY] = cli_blocks_verify,
	[COMMAND_SPOOL_INIT] = cli_spool_init,
	[COMMAND_SPOOL_STAT] = cli_spool_stat,
	[COMMAND_SPOOL_VERIFY] = cli_spool_verify,
	[COMMAND_SPOOL_EXPORT] = cli_spool_export,
	[COMMAND_SPOOL_SALVAGE] = cli_spool_salvage,
	[COMMAND_SPOOL_BACKUP] = cli_spool_backup,
	[COMMAND_SPOOL_RESTORE] = cli_spool_restore,
	[COMMAND_CERTS] = cli_certs,
	[COMMAND_CONFIG_CHECK] = cli_config_check,
	[COMMAND_CONFIG_SHOW] = cli_config_show,
	[COMMAND_DICTIONARY_TRAIN] = cli_dictionary_train,
	[COMMAND_WATCH] = cli_watch,
	[COMMAND_VERSION] = cli_version,
	[COMMAND_COMPLETIONS] = cli_completions,
	[COMMAND_HELP] = cli_help,
};

/* "zonerelay --help" and "--version" are what people try first. */
static const char *first_word(const char *word)
{
	if (strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0)
		return "help";
	if (strcmp(word, "--version") == 0)
		return "version";
	return word;
}

static int run(const struct command_line *line)
{
	struct cli cli = { .line = line, .json = line->options[OPTION_JSON] != NULL };
	struct err err;
	int status;
	if (line->options[OPTION_HELP] != NULL)
		status = cli_help(&cli);
	else if (!command_check_needs(line, &err))
		status = cli_usage(&cli, "%s", err.message);
	else if (offline[line->command] != NULL)
		status = offline[line->command](&cli);
	else
		status = cli_ask(&cli);
	config_free(cli.config);
	/* A result that did not reach its reader whole is no success. */
	if (fflush(stdout) != 0 || ferror(stdout) != 0) {
		cli_say("standard output cannot be written");
		return status == EXIT_OK ? EXIT_FAILED : status;
	}
	return status;
}

int main(int argc, char **argv)
{
	const char *words[CLI_WORDS_MAX];
	size_t count = 0;
	/* Logs of the libraries below go to standard error, and only what went wrong. */
	log_init("zonerelay", LOG_LEVEL_WARN, LOG_STYLE_TEXT);
	(void)signal(SIGPIPE, SIG_IGN);
	cli_json_needs_memory();
	if (argc - 1 > CLI_WORDS_MAX) {
		cli_say("there are more than %d words", CLI_WORDS_MAX);
		return EXIT_BAD_USAGE;
	}
	for (int i = 1; i < argc; i++)
		words[count++] = i == 1 ? first_word(argv[i]) : argv[i];
	struct command_line line;
	struct err err;
	if (count == 0)
		words[count++] = "help";
	if (!command_parse(words, count, &line, &err)) {
		cli_say("%s", err.message);
		return EXIT_BAD_USAGE;
	}
	return run(&line);
}
