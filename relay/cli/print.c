/* print.c -- see print.h. What a command's answer looks like is the table below: a list becomes a
 * table with these columns, everything else a page of names and values. */
#include "relay/cli/print.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "relay/base/clock.h"
#include "relay/cli/cli.h"

#define COLUMNS_MAX    14
#define CELL_SIZE      200
#define UNKNOWN_LENGTH 4096
#define INDENT_MAX     16 /* What is nested deeper is "...". */

/* ---- values ---- */

const char *print_bytes(uint64_t bytes, char text[static PRINT_SIZE])
{
	static const char *const units[] = { "B", "KiB", "MiB", "GiB", "TiB" };
	double number = (double)bytes;
	size_t unit = 0;
	while (number >= 1024 && unit + 1 < sizeof(units) / sizeof(units[0])) {
		number /= 1024;
		unit++;
	}
	(void)snprintf(text, PRINT_SIZE, unit == 0 ? "%.0f %s" : "%.1f %s", number, units[unit]);
	return text;
}

const char *print_duration(int64_t ms, char text[static PRINT_SIZE])
{
	static const struct {
		const char *name;
		int64_t ms;
	} units[] = {
		{ "d", 86400000 }, { "h", 3600000 }, { "min", 60000 }, { "s", 1000 }, { "ms", 1 }
	};
	size_t unit = 0;
	while (unit < 4 && ms < units[unit].ms)
		unit++;
	int64_t rest = ms % units[unit].ms;
	if (unit >= 3 || rest / units[unit + 1].ms == 0)
		(void)snprintf(text, PRINT_SIZE, "%" PRId64 " %s", ms / units[unit].ms,
		               units[unit].name);
	else
		(void)snprintf(text, PRINT_SIZE, "%" PRId64 " %s %" PRId64 " %s",
		               ms / units[unit].ms, units[unit].name, rest / units[unit + 1].ms,
		               units[unit + 1].name);
	return text;
}

static bool ends_with(const char *text, const char *end)
{
	size_t size = strlen(text);
	size_t end_size = strlen(end);
	return size >= end_size && strcmp(text + size - end_size, end) == 0;
}

static void print_integer(const char *key, json_int_t number, char *text, size_t size)
{
	char unit[PRINT_SIZE];
	char time[CLOCK_TEXT_SIZE];
	bool is_bytes = ends_with(key, "_bytes") || strcmp(key, "bytes") == 0;
	if (is_bytes && number >= 0)
		(void)snprintf(text, size, "%s", print_bytes((uint64_t)number, unit));
	else if (strcmp(key, "uptime_ms") == 0)
		(void)snprintf(text, size, "%s", print_duration(number, unit));
	else if (ends_with(key, "_ms"))
		(void)snprintf(text, size, "%s", number == 0 ? "never" : clock_text(number, time));
	else
		(void)snprintf(text, size, "%" JSON_INTEGER_FORMAT, number);
}

/* [3, 5]: the two ends of a range. */
static bool is_pair(const json_t *list)
{
	return json_array_size(list) == 2 && json_is_integer(json_array_get(list, 0)) &&
	       json_is_integer(json_array_get(list, 1));
}

static void print_scalar(const char *key, const json_t *value, char *text, size_t size)
{
	if (json_is_integer(value))
		print_integer(key, json_integer_value(value), text, size);
	else if (json_is_real(value))
		(void)snprintf(text, size, "%.1f", json_real_value(value));
	else if (json_is_boolean(value))
		(void)snprintf(text, size, "%s", json_is_true(value) ? "yes" : "no");
	else if (json_is_string(value))
		(void)snprintf(text, size, "%s", json_string_value(value));
	else if (is_pair(value))
		(void)snprintf(text, size, "%" JSON_INTEGER_FORMAT "..%" JSON_INTEGER_FORMAT,
		               json_integer_value(json_array_get(value, 0)),
		               json_integer_value(json_array_get(value, 1)));
	else
		(void)snprintf(text, size,
		               json_is_object(value) || json_is_array(value) ? "..." : "-");
}

/* Values of a list, joined. */
static void print_list(const json_t *list, char *text, size_t size)
{
	size_t used = 0;
	size_t index;
	const json_t *item;
	text[0] = '\0';
	json_array_foreach(list, index, item)
	{
		char cell[CELL_SIZE];
		print_scalar("", item, cell, sizeof(cell));
		int more = snprintf(text + used, size - used, "%s%s", index == 0 ? "" : ", ", cell);
		if (more < 0 || (size_t)more >= size - used)
			return;
		used += (size_t)more;
	}
}

const char *print_value(const char *key, const json_t *value, char *text, size_t size)
{
	if (json_is_array(value) && !is_pair(value))
		print_list(value, text, size);
	else
		print_scalar(key, value, text, size);
	/* What came from outside does not get to move the cursor. */
	for (char *c = text; *c != '\0'; c++) {
		if ((unsigned char)*c < 0x20 || *c == 0x7f)
			*c = '?';
	}
	return text;
}

/* ---- colours ---- */

#define RED    "\x1b[31m"
#define GREEN  "\x1b[32m"
#define YELLOW "\x1b[33m"
#define PLAIN  "\x1b[0m"

static const char *colour_of(FILE *out, const char *key, const char *text)
{
	static const struct {
		const char *text, *colour;
	} words[] = {
		{ "active", GREEN },  { "running", GREEN },      { "final", GREEN },
		{ "frozen", RED },    { "stopped", RED },        { "restored", RED },
		{ "rejected", RED },  { "away", YELLOW },        { "unknown", YELLOW },
		{ "absent", YELLOW }, { "quarantined", YELLOW },
	};
	if (!isatty(fileno(out)) || getenv("NO_COLOR") != NULL)
		return NULL;
	if (strcmp(key, "state") != 0 && strcmp(key, "kind") != 0)
		return NULL;
	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
		if (strcmp(words[i].text, text) == 0)
			return words[i].colour;
	}
	return NULL;
}

static void put_coloured(FILE *out, const char *key, const char *text)
{
	const char *colour = colour_of(out, key, text);
	(void)fprintf(out, "%s%s%s", colour == NULL ? "" : colour, text,
	              colour == NULL ? "" : PLAIN);
}

/* ---- tables ---- */

struct column {
	const char *title;
	const char *key; /* "edge.tip_height": inside an object. */
};

/* One list of an answer, and how it is shown. */
struct view {
	enum command command;
	const char *list; /* Key of the list in the answer. */
	struct column columns[COLUMNS_MAX];
};

static const struct view views[] = {
	{ COMMAND_CHAINS_LIST,
	  "chains",
	  { { "CHAIN", "name" },
	    { "STATE", "state" },
	    { "CLASS", "class" },
	    { "NEXT", "next_height" },
	    { "ANCHORED", "anchored_next" },
	    { "PENDING", "pending_blocks" },
	    { "QUARANTINE", "quarantined_blocks" },
	    { "HELD", "held_bytes" },
	    { "AGENT", "agent" },
	    { "LAST RECEIVED", "last_received_ms" } } },
	{ COMMAND_PENDING,
	  "pending",
	  { { "CHAIN", "name" },
	    { "CLASS", "class" },
	    { "FROM", "from" },
	    { "TO", "to" },
	    { "BLOCKS", "blocks" },
	    { "IN ANCHORS", "in_anchors" },
	    { "SIZE", "bytes" },
	    { "OLDEST", "oldest_ms" } } },
	{ COMMAND_GAPS,
	  "gaps",
	  { { "CHAIN", "name" },
	    { "FROM", "from" },
	    { "TO", "to" },
	    { "KIND", "kind" },
	    { "SINCE", "since_ms" },
	    { "REASON", "reason" } } },
	{ COMMAND_ANCHORS_LIST,
	  "anchors",
	  { { "SINK", "sink" },
	    { "LANE", "lane" },
	    { "SEQ", "seq" },
	    { "STATE", "state" },
	    { "CHAINS", "entries" },
	    { "BLOCKS", "blocks" },
	    { "ATTEMPTS", "attempts" },
	    { "CREATED", "created_ms" },
	    { "FINAL", "final_ms" },
	    { "DETAIL", "detail" } } },
	{ COMMAND_QUARANTINE_LIST,
	  "items",
	  { { "NUMBER", "number" },
	    { "CHAIN", "chain" },
	    { "FROM", "from" },
	    { "BLOCKS", "blocks" },
	    { "BAD", "bad_height" },
	    { "REASON", "reason" },
	    { "SIZE", "bytes" },
	    { "AGENT", "agent" },
	    { "RECEIVED", "received_ms" },
	    { "DETAIL", "detail" } } },
	{ COMMAND_QUARANTINE_RELEASE,
	  "items",
	  { { "NUMBER", "number" }, { "VERDICT", "verdict" }, { "REASON", "reason" } } },
	{ COMMAND_EVIDENCE_LIST,
	  "evidence",
	  { { "NUMBER", "number" },
	    { "CHAIN", "chain" },
	    { "HEIGHT", "height" },
	    { "OURS", "ours" },
	    { "THEIRS", "theirs" },
	    { "AGENT", "agent" },
	    { "TIME", "time_ms" } } },
	{ COMMAND_RECONCILE,
	  "chains",
	  { { "CHAIN", "name" },
	    { "EDGE TIP", "edge.tip_height" },
	    { "CUSTODY", "edge.custody_height" },
	    { "SPOOL NEXT", "spool.next_height" },
	    { "SPOOL ANCHORED", "spool.anchored_next" },
	    { "MAIN CHAIN", "main_chain.anchored_next" },
	    { "DIFFERENCES", "differences" } } },
	{ COMMAND_AUDIT_LIST,
	  "audit",
	  { { "NUMBER", "number" },
	    { "TIME", "time_ms" },
	    { "WHO", "who" },
	    { "VERB", "verb" },
	    { "REASON", "reason" } } },
	{ COMMAND_DICTIONARY_LIST,
	  "dictionaries",
	  { { "HASH", "hash" }, { "SIZE", "bytes" }, { "CLASSES", "classes" } } },
	{ COMMAND_CERTS,
	  "certificates",
	  { { "FOR", "key" },
	    { "STATE", "state" },
	    { "UNTIL", "not_after_ms" },
	    { "SUBJECT", "subject" },
	    { "FILE", "file" } } },
};

static const struct view *view_of(enum command command)
{
	for (size_t i = 0; i < sizeof(views) / sizeof(views[0]); i++) {
		if (views[i].command == command)
			return &views[i];
	}
	return NULL;
}

/* "edge.tip_height" of an object; NULL: not there. */
static const json_t *find(const json_t *object, const char *key)
{
	char part[64];
	for (const char *dot = strchr(key, '.'); dot != NULL; dot = strchr(key, '.')) {
		size_t size = (size_t)(dot - key);
		if (size >= sizeof(part))
			return NULL;
		memcpy(part, key, size);
		part[size] = '\0';
		object = json_object_get(object, part);
		key = dot + 1;
	}
	return json_object_get(object, key);
}

/* Characters, not bytes, so that columns stand straight. */
static size_t width_of(const char *text)
{
	size_t width = 0;
	for (; *text != '\0'; text++)
		width += ((unsigned char)*text & 0xc0) != 0x80 ? 1 : 0;
	return width;
}

static bool is_number(const json_t *list, const char *key)
{
	size_t index;
	const json_t *row;
	json_array_foreach(list, index, row)
	{
		if (!json_is_number(find(row, key)))
			return false;
	}
	return !ends_with(key, "_ms");
}

static void put_padding(FILE *out, size_t count)
{
	while (count-- > 0)
		(void)fputc(' ', out);
}

/* One line of a table. Blanks are owed until something follows them: no line ends in blanks. */
struct table_line {
	FILE *out;
	size_t blanks;
};

static void put_cell(struct table_line *line, const char *key, const char *text, size_t width,
                     bool right)
{
	size_t spaces = width - width_of(text);
	line->blanks += right ? spaces : 0;
	if (text[0] != '\0') {
		put_padding(line->out, line->blanks);
		put_coloured(line->out, key, text);
		line->blanks = 0;
	}
	line->blanks += 2 + (right ? 0 : spaces);
}

static void print_table(const struct view *view, const json_t *list, FILE *out, size_t indent)
{
	size_t widths[COLUMNS_MAX] = { 0 };
	bool right[COLUMNS_MAX] = { false };
	char cell[CELL_SIZE];
	size_t index;
	const json_t *row;
	for (size_t c = 0; view->columns[c].title != NULL; c++) {
		const struct column *column = &view->columns[c];
		right[c] = is_number(list, column->key);
		widths[c] = width_of(column->title);
		json_array_foreach(list, index, row)
		{
			size_t width = width_of(print_value(column->key, find(row, column->key),
			                                    cell, sizeof(cell)));
			widths[c] = width > widths[c] ? width : widths[c];
		}
	}
	struct table_line line = { out, indent };
	for (size_t c = 0; view->columns[c].title != NULL; c++)
		put_cell(&line, "", view->columns[c].title, widths[c], right[c]);
	(void)fputc('\n', out);
	json_array_foreach(list, index, row)
	{
		line.blanks = indent;
		for (size_t c = 0; view->columns[c].title != NULL; c++) {
			const char *key = view->columns[c].key;
			put_cell(&line, key, print_value(key, find(row, key), cell, sizeof(cell)),
			         widths[c], right[c]);
		}
		(void)fputc('\n', out);
	}
}

/* ---- pages ---- */

static void print_page(const json_t *object, FILE *out, size_t indent);

/* Has it only values that fit into a cell? */
static bool is_flat(const json_t *object)
{
	const char *key;
	json_t *value;
	json_object_foreach((json_t *)object, key, value)
	{
		if (json_is_object(value) || json_is_object(json_array_get(value, 0)))
			return false;
	}
	return json_is_object(object) && json_object_size(object) < COLUMNS_MAX;
}

/* A table with a column for each key of the first object, where all are flat. */
static bool print_flat_objects(const json_t *list, FILE *out, size_t indent)
{
	struct view view = { .list = "" };
	size_t index;
	const json_t *item;
	const char *key;
	json_t *value;
	json_array_foreach(list, index, item)
	{
		if (!is_flat(item))
			return false;
	}
	index = 0;
	json_object_foreach(json_array_get(list, 0), key, value) view.columns[index++] =
		(struct column){ key, key };
	print_table(&view, list, out, indent);
	return true;
}

/* A list of objects: a table, or each a small page of its own. */
/* NOLINTNEXTLINE(misc-no-recursion): INDENT_MAX. */
static void print_objects(const json_t *list, FILE *out, size_t indent)
{
	if (print_flat_objects(list, out, indent))
		return;

	size_t index;
	const json_t *item;
	json_array_foreach(list, index, item)
	{
		if (index > 0)
			(void)fputc('\n', out);
		print_page(item, out, indent);
	}
}

/* A list of sentences, one a line. */
static void print_sentences(const json_t *list, FILE *out, size_t indent)
{
	size_t index;
	const json_t *item;
	json_array_foreach(list, index, item)
	{
		char text[UNKNOWN_LENGTH];
		put_padding(out, indent);
		(void)fprintf(out, "- %s\n", print_value("", item, text, sizeof(text)));
	}
}

/* NOLINTNEXTLINE(misc-no-recursion): INDENT_MAX. */
static void print_member(const char *key, const json_t *value, size_t width, FILE *out,
                         size_t indent)
{
	char text[UNKNOWN_LENGTH];
	bool nested = json_is_object(value) || (json_is_array(value) && json_array_size(value) > 0);
	put_padding(out, indent);
	(void)fputs(key, out);
	if (!nested) {
		put_padding(out, width - strlen(key) + 2);
		if (json_is_array(value) && json_array_size(value) == 0)
			(void)fputs("none", out);
		else
			put_coloured(out, key, print_value(key, value, text, sizeof(text)));
		(void)fputc('\n', out);
		return;
	}
	(void)fputc('\n', out);
	if (json_is_object(value))
		print_page(value, out, indent + 2);
	else if (json_is_object(json_array_get(value, 0)))
		print_objects(value, out, indent + 2);
	else
		print_sentences(value, out, indent + 2);
}

/* NOLINTNEXTLINE(misc-no-recursion): INDENT_MAX. */
static void print_page(const json_t *object, FILE *out, size_t indent)
{
	size_t width = 0;
	const char *key;
	json_t *value;
	json_object_foreach((json_t *)object, key, value) width =
		strlen(key) > width ? strlen(key) : width;
	json_object_foreach((json_t *)object, key, value)
		print_member(key, value, width, out, indent);
}

void cli_print(enum command command, const json_t *json, FILE *out)
{
	if (command == COMMAND_STATUS) {
		print_status(json, out);
		return;
	}
	const struct view *view = view_of(command);
	const json_t *list = view == NULL ? NULL : json_object_get(json, view->list);
	if (!json_is_array(list)) {
		print_page(json, out, 0);
		return;
	}
	if (json_array_size(list) == 0)
		(void)fprintf(out, "none\n");
	else
		print_table(view, list, out, 0);
	const json_t *next = json_object_get(json, "next");
	char text[CELL_SIZE];
	if (next != NULL && !json_is_null(next))
		(void)fprintf(out, "more: --after %s\n", print_value("", next, text, sizeof(text)));
}
