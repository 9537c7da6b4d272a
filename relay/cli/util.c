/* util.c -- see cli.h. */
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "config/value.h"
#include "relay/base/file.h"
#include "relay/cli/cli.h"

const char *cli_option(const struct cli *cli, enum command_option option)
{
	return cli->line->options[option];
}

const char *cli_argument(const struct cli *cli, size_t index)
{
	return index < cli->line->argument_count ? cli->line->arguments[index] : NULL;
}

/* ---- saying ---- */

void cli_say(const char *format, ...)
{
	va_list args;
	va_start(args, format);
	(void)fputs("zonerelay: ", stderr);
	(void)vfprintf(stderr, format, args);
	(void)fputc('\n', stderr);
	va_end(args);
}

static int say_error(const struct cli *cli, const char *message, int status)
{
	cli_say("%s", message);
	cli_json(cli, json_pack("{s:s}", "error", message));
	return status;
}

int cli_fail(const struct cli *cli, const struct err *err)
{
	return say_error(cli, err->message, EXIT_FAILED);
}

int cli_violation(const struct cli *cli, const struct err *err)
{
	return say_error(cli, err->message,
	                 err->code == ZR_NO_MEMORY ? EXIT_FAILED : EXIT_INTEGRITY);
}

int cli_usage(const struct cli *cli, const char *format, ...)
{
	char message[ERR_MESSAGE_SIZE];
	va_list args;
	va_start(args, format);
	(void)vsnprintf(message, sizeof(message), format, args);
	va_end(args);
	return say_error(cli, message, EXIT_BAD_USAGE);
}

void cli_json(const struct cli *cli, json_t *take_json)
{
	if (cli->json && take_json != NULL) {
		(void)json_dumpf(take_json, stdout, JSON_COMPACT);
		(void)fputc('\n', stdout);
	}
	json_decref(take_json);
}

/* An answer with a part left out would be a wrong one. */
static void *allocate_or_end(size_t size)
{
	void *memory = malloc(size);
	if (memory == NULL) {
		cli_say("error: no memory for the answer");
		_exit(EXIT_SYSTEM);
	}
	return memory;
}

void cli_json_needs_memory(void)
{
	json_set_alloc_funcs(allocate_or_end, free);
}

json_t *cli_json_hash(const struct hash *hash)
{
	char hex[HASH_HEX_SIZE];
	return json_string(hash_hex(hash, hex));
}

/* ---- the zone file ---- */

const char *cli_config_path(const struct cli *cli)
{
	const char *given = cli_option(cli, OPTION_CONFIG);
	return given == NULL ? CLI_CONFIG_DEFAULT : given;
}

struct config *cli_config(struct cli *cli, struct err *err)
{
	struct config_errors errors = CONFIG_NO_ERRORS;
	struct config *config = NULL;
	if (config_load(cli_config_path(cli), CONFIG_GATEWAY, &config, &errors)) {
		config_free(cli->config);
		cli->config = config;
		return config;
	}
	struct buffer text = BUFFER_EMPTY;
	config_errors_text(&errors, &text);
	if (text.size > 0)
		(void)fwrite(text.data, 1, text.size, stderr);
	buffer_fini(&text);
	config_errors_fini(&errors);
	err_set(err, ZR_INVALID, "%s has mistakes", cli_config_path(cli));
	return NULL;
}

const struct config *cli_config_brief(struct cli *cli)
{
	if (cli->config == NULL)
		cli->config = config_load_brief(cli_config_path(cli), CONFIG_GATEWAY);
	return cli->config;
}

static bool parse_number(const char *text, enum config_type type, uint64_t *out_number,
                         struct err *err)
{
	const struct config_key key = { .type = type };
	struct arena arena = ARENA_EMPTY;
	const struct value_place nowhere = { &arena, "" };
	return value_parse(&key, &nowhere, bytes_of_string(text), out_number, err) ||
	       err_wrap(err, "\"%s\"", text);
}

bool cli_parse_size(const char *text, uint64_t *out_bytes, struct err *err)
{
	return parse_number(text, CONFIG_SIZE, out_bytes, err);
}

bool cli_parse_duration(const char *text, uint64_t *out_ms, struct err *err)
{
	return parse_number(text, CONFIG_DURATION, out_ms, err);
}

/* ---- the spool ---- */

const char *cli_spool_dir(struct cli *cli, size_t index)
{
	const char *given = cli_argument(cli, index);
	const struct config *config = given == NULL ? cli_config_brief(cli) : NULL;
	return given != NULL ? given : config == NULL ? NULL : config->gateway.spool.dir;
}

int cli_refuse_spool(struct cli *cli)
{
	return cli_usage(cli, "which spool? give its folder, or --config FILE; %s cannot be read",
	                 cli_config_path(cli));
}

bool cli_spool_size(struct cli *cli, uint64_t *out_bytes, struct err *err)
{
	const char *given = cli_option(cli, OPTION_SIZE);
	if (given != NULL)
		return cli_parse_size(given, out_bytes, err);
	const struct config *config = cli_config_brief(cli);
	*out_bytes = config == NULL ? 0 : config->gateway.spool.size_bytes;
	if (*out_bytes == 0)
		return err_set(err, ZR_INVALID, "how large? give --size SIZE, or --config FILE");
	return true;
}

/* ---- files ---- */

bool cli_write(const char *path, struct bytes bytes, unsigned mode, struct err *err)
{
	if (strcmp(path, "-") == 0) {
		if (bytes.size > 0 && fwrite(bytes.data, 1, bytes.size, stdout) != bytes.size)
			return err_set(err, ZR_UNAVAILABLE, "standard output: %s", strerror(errno));
		return true;
	}
	struct stat found;
	if (lstat(path, &found) == 0)
		return err_set(err, ZR_STATE, "%s is there already; it is not replaced", path);
	return file_write_atomic(path, bytes, mode, err);
}

static void show_progress(uint64_t done, uint64_t total, void *arg)
{
	(void)arg;
	if (total == 0)
		(void)fprintf(stderr, "\r%llu rows", (unsigned long long)done);
	else
		(void)fprintf(stderr, "\r%llu of %llu rows, %llu %%", (unsigned long long)done,
		              (unsigned long long)total, (unsigned long long)(done * 100 / total));
}

struct spool_progress cli_progress(void)
{
	return (struct spool_progress){ isatty(STDERR_FILENO) ? show_progress : NULL, NULL };
}

void cli_progress_end(void)
{
	if (isatty(STDERR_FILENO))
		(void)fputc('\n', stderr);
}
