/* err.c -- see err.h. */
#include "relay/base/err.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static const struct {
	const char *name;
	const char *meaning;
	enum err_fate fate;
	int exit_status;
} rows[] = { [ZR_OK] = { "ok", "no failure", ERR_RETRY, 0 },
#define ERR_ROW(code, name, fate, exit_status, meaning) \
	[ZR_##code] = { name, meaning, fate, exit_status },
	     ERR_TABLE(ERR_ROW)
#undef ERR_ROW
};

#define ROW_COUNT (sizeof(rows) / sizeof(rows[0]))

/* Ends a message that did not fit with "...", so that nobody takes half a sentence for a whole. */
static void mark_cut(char *message, int needed)
{
	if (needed >= ERR_MESSAGE_SIZE)
		memcpy(message + ERR_MESSAGE_SIZE - 4, "...", 4);
}

bool err_set(struct err *err, enum err_code code, const char *format, ...)
{
	if (err == NULL)
		return false;
	va_list args;
	va_start(args, format);
	int needed = vsnprintf(err->message, sizeof(err->message), format, args);
	va_end(args);
	mark_cut(err->message, needed);
	err->code = code;
	return false;
}

bool err_wrap(struct err *err, const char *format, ...)
{
	if (err == NULL)
		return false;
	char inner[ERR_MESSAGE_SIZE];
	char outer[ERR_MESSAGE_SIZE];
	memcpy(inner, err->message, sizeof(inner));
	va_list args;
	va_start(args, format);
	(void)vsnprintf(outer, sizeof(outer), format, args);
	va_end(args);
	int needed = snprintf(err->message, sizeof(err->message), "%s: %s", outer, inner);
	mark_cut(err->message, needed);
	return false;
}

const char *err_name(enum err_code code)
{
	return (size_t)code < ROW_COUNT ? rows[code].name : "unknown";
}

const char *err_meaning(enum err_code code)
{
	return (size_t)code < ROW_COUNT ? rows[code].meaning : "unknown";
}

enum err_fate err_fate(enum err_code code)
{
	return (size_t)code < ROW_COUNT ? rows[code].fate : ERR_STOP;
}

int err_exit_status(enum err_code code)
{
	return (size_t)code < ROW_COUNT ? rows[code].exit_status : 70;
}
