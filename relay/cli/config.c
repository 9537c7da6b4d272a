/* config.c -- zonerelay config check and show. */
#include <string.h>

#include "relay/base/clock.h"
#include "relay/cli/cli.h"
#include "relay/preflight.h"

static const struct {
	const char *name;
	enum config_program program;
} programs[] = {
	{ "gateway", CONFIG_GATEWAY },
	{ "edge", CONFIG_EDGE },
	{ "devchain", CONFIG_DEVCHAIN },
};

/* Of --program; false: there is no such one. */
static bool find_program(const struct cli *cli, enum config_program *out_program)
{
	const char *given = cli_option(cli, OPTION_PROGRAM);
	for (size_t i = 0; i < sizeof(programs) / sizeof(programs[0]); i++) {
		if (given == NULL || strcmp(programs[i].name, given) == 0) {
			*out_program = programs[i].program;
			return true;
		}
	}
	return false;
}

static const char *file_of(const struct cli *cli)
{
	const char *given = cli_argument(cli, 0);
	return given == NULL ? cli_config_path(cli) : given;
}

static json_t *errors_json(const struct config_errors *errors)
{
	json_t *list = json_array();
	for (size_t i = 0; i < errors->count; i++) {
		const struct config_error *error = &errors->items[i];
		(void)json_array_append_new(list,
		                            json_pack("{s:s,s:i,s:i,s:s}", "file", error->file,
		                                      "line", (int)error->line, "column",
		                                      (int)error->column, "text", error->text));
	}
	return list;
}

static int report_errors(const struct cli *cli, const struct config_errors *errors)
{
	struct buffer text = BUFFER_EMPTY;
	config_errors_text(errors, &text);
	if (text.size > 0)
		(void)fwrite(text.data, 1, text.size, stderr);
	buffer_fini(&text);
	bool good = errors->count == 0 && errors->dropped == 0;
	cli_json(cli, json_pack("{s:b,s:o,s:I}", "ok", good, "errors", errors_json(errors),
	                        "dropped", (json_int_t)errors->dropped));
	return good ? EXIT_OK : EXIT_FAILED;
}

/* Loads the file; otherwise *out_status is what to exit with. */
static bool load(struct cli *cli, struct config **out_config, int *out_status)
{
	enum config_program program = CONFIG_GATEWAY;
	struct config_errors errors = CONFIG_NO_ERRORS;
	if (!find_program(cli, &program)) {
		*out_status = cli_usage(cli, "--program is gateway, edge or devchain, not %s",
		                        cli_option(cli, OPTION_PROGRAM));
		return false;
	}
	bool loaded = config_load(file_of(cli), program, out_config, &errors);
	if (!loaded)
		*out_status = report_errors(cli, &errors);
	config_errors_fini(&errors);
	return loaded;
}

int cli_config_check(struct cli *cli)
{
	struct config *config = NULL;
	struct config_errors errors = CONFIG_NO_ERRORS;
	int status;
	if (!load(cli, &config, &status))
		return status;
	preflight_check(config, clock_system(), &errors);
	status = report_errors(cli, &errors);
	if (status == EXIT_OK && !cli->json)
		(void)printf("%s: OK, %zu chains\n", file_of(cli),
		             config->gateway.chain_count + config->edge.chain_count);
	if (config->program == CONFIG_GATEWAY && !spool_exists(config->gateway.spool.dir))
		cli_say("note: there is no spool in %s yet: see \"zonerelay spool init\"",
		        config->gateway.spool.dir);
	config_errors_fini(&errors);
	config_free(config);
	return status;
}

/* One line of the YAML, without its end. */
struct yaml_line {
	const char *text;
	size_t size, indent;
};

#define GROUPS_DEEP 8

/* Groups of which nothing was printed yet. */
struct open_groups {
	struct yaml_line lines[GROUPS_DEEP];
	size_t count;
};

static void put_line(const struct yaml_line *line)
{
	(void)printf("%.*s\n", (int)line->size, line->text);
}

static bool ends_in(const struct yaml_line *line, const char *end)
{
	size_t size = strlen(end);
	return line->size >= size && memcmp(line->text + line->size - size, end, size) == 0;
}

/* Without --effective only what the file says itself: no defaults, nor groups of nothing else. */
static void put_given(struct open_groups *groups, const struct yaml_line *line)
{
	while (groups->count > 0 && groups->lines[groups->count - 1].indent >= line->indent)
		groups->count--;
	bool begins_item = line->size > line->indent && line->text[line->indent] == '-';
	if (ends_in(line, ":") && groups->count < GROUPS_DEEP) {
		groups->lines[groups->count++] = *line;
		return;
	}
	if (ends_in(line, "# default") && !begins_item)
		return;
	for (size_t i = 0; i < groups->count; i++)
		put_line(&groups->lines[i]);
	groups->count = 0;
	put_line(line);
}

static void print_given(const struct buffer *text)
{
	struct open_groups groups = { .count = 0 };
	const char *cursor = (const char *)text->data;
	for (size_t rest = text->size; rest > 0;) {
		const char *end = memchr(cursor, '\n', rest);
		struct yaml_line line = { .text = cursor };
		line.size = end == NULL ? rest : (size_t)(end - cursor);
		while (line.indent < line.size && cursor[line.indent] == ' ')
			line.indent++;
		put_given(&groups, &line);
		size_t used = line.size + (end == NULL ? 0 : 1);
		cursor += used;
		rest -= used;
	}
}

int cli_config_show(struct cli *cli)
{
	struct config *config = NULL;
	struct buffer text = BUFFER_EMPTY;
	struct err err;
	int status = EXIT_OK;
	if (!load(cli, &config, &status))
		return status;
	config_show_effective(config, &text);
	if (!buffer_ok(&text, &err))
		status = cli_fail(cli, &err);
	else if (cli->json)
		cli_json(cli, json_pack("{s:s,s:s%}", "file", file_of(cli), "yaml",
		                        (const char *)text.data, text.size));
	else if (cli_option(cli, OPTION_EFFECTIVE) != NULL)
		(void)fwrite(text.data, 1, text.size, stdout);
	else
		print_given(&text);
	buffer_fini(&text);
	config_free(config);
	return status;
}
