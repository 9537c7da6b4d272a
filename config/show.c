/* show.c -- what is in force, as YAML. See config_show_effective(). */
#include <string.h>

#include "config/load.h"

#define COMMENT_COLUMN 56

/* Where in the file we are: the groups that are open, by the path of the last key. */
struct shower {
	const struct config *config;
	struct buffer *out;
	size_t indent;
	bool in_list; /* The next line begins an item: its indent ends in "- ". */
};

static void begin_line(struct shower *shower, size_t depth)
{
	size_t spaces = shower->indent + 2 * depth;
	if (shower->in_list)
		spaces -= 2;
	for (size_t i = 0; i < spaces; i++)
		buffer_put_u8(shower->out, ' ');
	if (shower->in_list)
		buffer_put(shower->out, BYTES_LITERAL("- "));
	shower->in_list = false;
}

/* Opens the groups of path that the path before it did not have; returns the depth. */
static size_t open_groups(struct shower *shower, const char *before, const char *path)
{
	size_t depth = 0;
	size_t begin = 0;
	bool same = true;
	for (size_t i = 0; path[i] != '\0'; i++) {
		if (path[i] != '.')
			continue;
		same = same && strncmp(before, path, i + 1) == 0;
		if (!same) {
			begin_line(shower, depth);
			buffer_printf(shower->out, "%.*s:\n", (int)(i - begin), path + begin);
		}
		begin = i + 1;
		depth++;
	}
	return depth;
}

static void put_comment(struct shower *shower, size_t line_begin,
                        const struct config_origin *origin)
{
	size_t width = shower->out->size - line_begin;
	do
		buffer_put_u8(shower->out, ' ');
	while (++width < COMMENT_COLUMN);
	if (origin->file == NULL)
		buffer_put(shower->out, BYTES_LITERAL("# default\n"));
	else
		buffer_printf(shower->out, "# %s:%u\n", origin->file, origin->line);
}

static void show_value(struct shower *shower, const struct config_key *key, size_t item,
                       size_t depth)
{
	const struct config_sources *sources = shower->config->sources;
	const void *field = sources_field(sources, key, item);
	const struct config_origin *origin = sources_origin(sources, key, item);
	const char *inner = config_key_inner(key);
	const char *dot = strrchr(inner, '.');
	size_t line_begin = shower->out->size;
	begin_line(shower, depth);
	/* The chains of the folder are shown with the others: loading what is shown must not meet
	 * them twice. */
	if (strcmp(key->path, "chains-folder") == 0)
		buffer_put(shower->out, BYTES_LITERAL("#"));
	buffer_printf(shower->out, "%s: ", dot == NULL ? inner : dot + 1);
	value_print(key, field, shower->out);
	put_comment(shower, line_begin, origin);
}

static void show_section(struct shower *shower, enum config_section section);

/* The next row of the same section and program that has something to show; NULL: none. */
static const struct config_key *next_row(const struct shower *shower, size_t *index,
                                         enum config_section section, size_t item)
{
	const struct config_sources *sources = shower->config->sources;
	const struct config_items *items = &sources->sections[section];
	while (*index < items->row_count) {
		const struct config_key *key = config_key_at(items->row_first + (*index)++);
		if (sources_applies(shower->config, key, item) &&
		    !value_is_none(key, sources_field(sources, key, item)))
			return key;
	}
	return NULL;
}

/* Sections inside the group that ends with this row ("gateway.routes" in "gateway"). */
/* NOLINTNEXTLINE(misc-no-recursion): sections have none inside. */
static void show_inner_sections(struct shower *shower, const struct config_key *key,
                                const struct config_key *next)
{
	for (unsigned section = SECTION_ROOT + 1; section < SECTION_COUNT; section++) {
		const char *path = config_section_at(section)->path;
		const char *dot = strchr(path, '.');
		size_t size = dot == NULL ? 0 : (size_t)(dot + 1 - path);
		if (size > 0 && sources_has(shower->config, section) &&
		    strncmp(key->path, path, size) == 0 &&
		    (next == NULL || strncmp(next->path, path, size) != 0))
			show_section(shower, section);
	}
}

/* NOLINTNEXTLINE(misc-no-recursion): sections have none inside. */
static void show_rows(struct shower *shower, enum config_section section, size_t item)
{
	size_t index = 0;
	const char *before = "";
	const struct config_key *key = next_row(shower, &index, section, item);
	while (key != NULL) {
		const struct config_key *next = next_row(shower, &index, section, item);
		const char *inner = config_key_inner(key);
		show_value(shower, key, item, open_groups(shower, before, inner));
		if (section == SECTION_ROOT)
			show_inner_sections(shower, key, next);
		before = inner;
		key = next;
	}
}

/* NOLINTNEXTLINE(misc-no-recursion): sections have none inside. */
static void show_section(struct shower *shower, enum config_section section)
{
	const struct config_items *items = &shower->config->sources->sections[section];
	const struct config_section_row *row = config_section_at(section);
	if (items->count == 0)
		return;
	const char *dot = strrchr(row->path, '.');
	size_t depth = dot == NULL ? 0 : 1; /* Its group is open. */
	begin_line(shower, depth);
	buffer_printf(shower->out, "%s:\n", dot == NULL ? row->path : dot + 1);
	for (size_t item = 0; item < items->count; item++) {
		shower->indent = 2 * depth + 4;
		shower->in_list = !row->named;
		if (row->named)
			buffer_printf(shower->out, "  %s:\n",
			              sources_item_name(shower->config->sources, section, item));
		show_rows(shower, section, item);
	}
	shower->indent = 0;
}

void config_show_effective(const struct config *config, struct buffer *out)
{
	struct shower shower = { .config = config, .out = out };
	show_rows(&shower, SECTION_ROOT, 0);
	for (unsigned section = SECTION_ROOT + 1; section < SECTION_COUNT; section++) {
		if (sources_has(config, section) &&
		    strchr(config_section_at(section)->path, '.') == NULL)
			show_section(&shower, section);
	}
}
