/* errors.c -- the mistakes in a configuration, collected and shown. See config.h. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config/load.h"
#include "relay/base/exit.h"

void config_errors_fini(struct config_errors *errors)
{
	for (size_t i = 0; i < errors->count; i++) {
		free((char *)errors->items[i].file);
		free((char *)errors->items[i].text);
	}
	free(errors->items);
	*errors = CONFIG_NO_ERRORS;
}

int config_errors_exit_status(const struct config_errors *errors)
{
	return errors->no_memory ? EXIT_SYSTEM : EXIT_CONFIG;
}

void errors_no_memory(struct config_errors *errors)
{
	errors->no_memory = true;
	errors->dropped++;
}

void errors_add_args(struct config_errors *errors, const struct config_origin *origin,
                     const char *format, va_list args)
{
	char text[1024];
	(void)vsnprintf(text, sizeof(text), format, args);
	if (errors->items == NULL)
		errors->items = calloc(CONFIG_ERROR_MAX, sizeof(*errors->items));
	if (errors->items == NULL) {
		errors_no_memory(errors);
		return;
	}
	if (errors->count == CONFIG_ERROR_MAX) {
		errors->dropped++;
		return;
	}
	struct config_error error = { strdup(origin->file == NULL ? "" : origin->file),
		                      origin->line, origin->column, strdup(text) };
	if (error.file == NULL || error.text == NULL) {
		free((char *)error.file);
		free((char *)error.text);
		errors_no_memory(errors);
		return;
	}
	errors->items[errors->count++] = error;
}

void errors_add(struct config_errors *errors, const struct config_origin *origin,
                const char *format, ...)
{
	va_list args;
	va_start(args, format);
	errors_add_args(errors, origin, format, args);
	va_end(args);
}

void config_error_at(struct config_errors *errors, const struct config *config, const void *field,
                     const char *format, ...)
{
	const struct config_origin *origin = sources_whence(config, field);
	struct config_origin nowhere = config->sources->sections[SECTION_ROOT].places[0];
	va_list args;
	va_start(args, format);
	errors_add_args(errors, origin == NULL ? &nowhere : origin, format, args);
	va_end(args);
	errors_sort(errors);
}

static int compare_errors(const void *left, const void *right)
{
	const struct config_error *a = left;
	const struct config_error *b = right;
	int files = strcmp(a->file, b->file);
	if (files != 0)
		return files;
	if (a->line != b->line)
		return a->line < b->line ? -1 : 1;
	return (a->column > b->column) - (a->column < b->column);
}

void errors_sort(struct config_errors *errors)
{
	if (errors->count > 1)
		qsort(errors->items, errors->count, sizeof(*errors->items), compare_errors);
}

void config_errors_text(const struct config_errors *errors, struct buffer *out)
{
	for (size_t i = 0; i < errors->count; i++) {
		const struct config_error *error = &errors->items[i];
		if (error->line == 0)
			buffer_printf(out, "%s: %s\n", error->file, error->text);
		else
			buffer_printf(out, "%s:%u:%u: %s\n", error->file, error->line,
			              error->column, error->text);
	}
	if (errors->no_memory)
		buffer_printf(out, "error: out of memory\n");
	else if (errors->dropped > 0)
		buffer_printf(out, "and %zu more\n", errors->dropped);
}
