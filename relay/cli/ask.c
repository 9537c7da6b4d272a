/* ask.c -- commands that the daemon does: the words go there, its answer is printed. */
#include <string.h>
#include <unistd.h>

#include "relay/base/file.h"
#include "relay/cli/cli.h"
#include "relay/control.h"

#define TIMEOUT_MS_DEFAULT 30000
#define TIMEOUT_MS_MAX     3600000

static const char *socket_path(struct cli *cli)
{
	const char *given = cli_option(cli, OPTION_SOCKET);
	const struct config *config = given == NULL ? cli_config_brief(cli) : NULL;
	return given != NULL    ? given
	       : config != NULL ? config->gateway.control_socket
	                        : CLI_SOCKET_DEFAULT;
}

/* The file that goes along: of --trust, of --in, or the argument. NULL: none. */
static const char *attached_path(const struct cli *cli)
{
	if ((cli->line->row->flags & COMMAND_SENDS) == 0)
		return NULL;
	if (cli->line->command == COMMAND_DICTIONARY_ADD)
		return cli_argument(cli, 0);
	const char *trust = cli_option(cli, OPTION_TRUST);
	return trust != NULL ? trust : cli_option(cli, OPTION_IN);
}

/* Handing over has two ends, and a trial of the giving end writes nothing. */
static bool check_move(const struct cli *cli, struct err *err)
{
	bool gives = cli_option(cli, OPTION_OUT) != NULL;
	bool takes = cli_option(cli, OPTION_IN) != NULL;
	bool dry_run = cli_option(cli, OPTION_DRY_RUN) != NULL;
	if (cli->line->command != COMMAND_CHAINS_MOVE || gives != takes ||
	    (dry_run && !gives && !takes))
		return true;
	return err_set(err, ZR_INVALID,
	               "\"chains move\" needs --out FILE to give, or --in FILE to take");
}

/* The answer's attachment, to the file of --out. */
static bool save_attachment(const struct cli *cli, const Zonerelay__Control__Response *response,
                            struct err *err)
{
	const char *path = cli_option(cli, OPTION_OUT);
	if (path == NULL || response->attachment.len == 0)
		return true;
	const struct bytes bytes = { response->attachment.data, response->attachment.len };
	return cli_write(path, bytes, 0644, err);
}

/* With --json the object as it came; an answer without one has at least its error. */
static int print_answer(struct cli *cli, const Zonerelay__Control__Response *response)
{
	json_error_t why;
	json_t *json =
		response->json[0] == '\0' ? json_object() : json_loads(response->json, 0, &why);
	if (json == NULL) {
		cli_say("the daemon's answer is no JSON: %s", why.text);
		return EXIT_FAILED;
	}
	/* What is written to standard output leaves no room for a result there. */
	const char *out = cli_option(cli, OPTION_OUT);
	bool taken = out != NULL && strcmp(out, "-") == 0;
	if (response->error[0] != '\0') {
		cli_say("%s", response->error);
		if (json_is_object(json))
			(void)json_object_set_new(json, "error", json_string(response->error));
	} else if (!cli->json && response->json[0] != '\0') {
		cli_print(cli->line->command, json, taken ? stderr : stdout);
	}
	if (taken)
		json_decref(json);
	else
		cli_json(cli, json);
	return (int)response->exit_status;
}

static int finish(struct cli *cli, const Zonerelay__Control__Response *response)
{
	struct err err;
	bool good = response->exit_status != EXIT_FAILED && response->exit_status != EXIT_BAD_USAGE;
	if (good && !save_attachment(cli, response, &err))
		return cli_fail(cli, &err);
	return print_answer(cli, response);
}

static int ask(struct cli *cli, struct bytes attachment, uint64_t timeout_ms)
{
	const char *words[COMMAND_WORDS_MAX];
	const struct control_request request = {
		.words = words,
		.word_count = command_words(cli->line, words),
		.reason = cli_option(cli, OPTION_REASON),
		.dry_run = cli_option(cli, OPTION_DRY_RUN) != NULL,
		.attachment = attachment,
	};
	Zonerelay__Control__Response *response = NULL;
	struct err err;
	if (!control_ask(socket_path(cli), &request, (int)timeout_ms, &response, &err))
		return cli_fail(cli, &err);
	int status = finish(cli, response);
	control_response_free(response);
	return status;
}

int cli_ask(struct cli *cli)
{
	const char *timeout = cli_option(cli, OPTION_TIMEOUT);
	const char *path = attached_path(cli);
	uint64_t timeout_ms = TIMEOUT_MS_DEFAULT;
	struct buffer attachment = BUFFER_EMPTY;
	struct err err;
	if (!check_move(cli, &err))
		return cli_usage(cli, "%s", err.message);
	if (timeout != NULL && (!cli_parse_duration(timeout, &timeout_ms, &err) ||
	                        timeout_ms == 0 || timeout_ms > TIMEOUT_MS_MAX))
		return cli_usage(cli, "--timeout is a time up to 1 h, such as 30 s, not %s",
		                 timeout);
	int status = path == NULL || file_read(path, CONTROL_ATTACHMENT_MAX, &attachment, &err)
	                     ? ask(cli, buffer_bytes(&attachment), timeout_ms)
	                     : cli_fail(cli, &err);
	buffer_fini(&attachment);
	return status;
}
