/* reader.c -- YAML into struct config, guided by the table of keys. The only user of libyaml.
 *
 * The events of libyaml are followed by recursive descent: what may stand where is the table's
 * business, so the depth is the table's too. What is unknown is reported and skipped, and reading
 * goes on, so that all mistakes of a file come out at once; only a file that is not YAML ends
 * there. Anchors, aliases, tags and further documents are refused: nothing here needs them.
 */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <yaml.h>

#include "config/load.h"
#include "config/suggest.h"
#include "relay/base/file.h"

#define FILE_SIZE_MAX ((size_t)64 << 20)
#define DEPTH_MAX     8 /* Of what is skipped. */
#define PATH_MAX_SIZE 128
#define LIST_MAX      4096
#define GROUPS_MAX    32 /* Distinct groups of keys ("spool", "limits") in one mapping. */

struct yaml_reader {
	struct load *load;
	const char *file; /* In the arena. */
	const char *folder;
	struct buffer content;
	yaml_parser_t parser;
	yaml_event_t event; /* The one that is looked at. */
	bool have_event;
	bool dead; /* No more events: the file is not YAML, or there is no memory. */
};

/* One mapping that is being read. */
struct mapping {
	enum config_section section;
	size_t item;
	char inner[PATH_MAX_SIZE]; /* Its path within the section; "" at the top. */
};

static struct config_origin place_of(const struct yaml_reader *reader, const yaml_mark_t *mark)
{
	return (struct config_origin){ .file = reader->file,
		                       .line = (unsigned)mark->line + 1,
		                       .column = (unsigned)mark->column + 1 };
}

static struct config_origin here(const struct yaml_reader *reader)
{
	return place_of(reader, &reader->event.start_mark);
}

/* ---- events ---- */

/* libyaml has no line for bytes that are no characters, only how far it came. */
static struct config_origin place_of_byte(const struct yaml_reader *reader, size_t offset)
{
	struct config_origin place = { .file = reader->file, .line = 1, .column = 1 };
	for (size_t i = 0; i < offset && i < reader->content.size; i++) {
		bool newline = reader->content.data[i] == '\n';
		place.line += newline ? 1 : 0;
		place.column = newline ? 1 : place.column + 1;
	}
	return place;
}

static void report_broken(struct yaml_reader *reader)
{
	reader->dead = true;
	reader->load->torn = true;
	const yaml_parser_t *parser = &reader->parser;
	if (parser->error == YAML_MEMORY_ERROR) {
		reader->load->sources->arena.failed = true;
		return;
	}
	struct config_origin place = parser->error == YAML_READER_ERROR
	                                     ? place_of_byte(reader, parser->problem_offset)
	                                     : place_of(reader, &parser->problem_mark);
	errors_add(reader->load->errors, &place, "is not YAML: %s",
	           parser->problem == NULL ? "no reason given" : parser->problem);
}

static void drop_event(struct yaml_reader *reader)
{
	if (reader->have_event)
		yaml_event_delete(&reader->event);
	reader->have_event = false;
}

static void refuse_extras(struct yaml_reader *reader, const yaml_char_t *anchor,
                          const yaml_char_t *tag)
{
	struct config_origin place = here(reader);
	if (anchor != NULL)
		errors_add(reader->load->errors, &place, "anchors are not used here");
	if (tag != NULL)
		errors_add(reader->load->errors, &place, "tags are not used here");
}

/* Moves on to the next event; false if there is none, which was reported. */
static bool next(struct yaml_reader *reader)
{
	drop_event(reader);
	if (reader->dead)
		return false;
	if (yaml_parser_parse(&reader->parser, &reader->event) == 0) {
		report_broken(reader);
		return false;
	}
	reader->have_event = true;
	const yaml_event_t *event = &reader->event;
	if (event->type == YAML_SCALAR_EVENT)
		refuse_extras(reader, event->data.scalar.anchor, event->data.scalar.tag);
	else if (event->type == YAML_SEQUENCE_START_EVENT)
		refuse_extras(reader, event->data.sequence_start.anchor,
		              event->data.sequence_start.tag);
	else if (event->type == YAML_MAPPING_START_EVENT)
		refuse_extras(reader, event->data.mapping_start.anchor,
		              event->data.mapping_start.tag);
	else if (event->type == YAML_ALIAS_EVENT)
		refuse_extras(reader, event->data.alias.anchor, NULL);
	return true;
}

static bool at(const struct yaml_reader *reader, yaml_event_type_t type)
{
	return reader->have_event && reader->event.type == type;
}

/* Goes to the end of the value that begins with the present event. */
static void skip(struct yaml_reader *reader)
{
	size_t depth = 0;
	do {
		if (at(reader, YAML_MAPPING_START_EVENT) || at(reader, YAML_SEQUENCE_START_EVENT))
			depth++;
		if (at(reader, YAML_MAPPING_END_EVENT) || at(reader, YAML_SEQUENCE_END_EVENT))
			depth--;
		if (depth > DEPTH_MAX) {
			struct config_origin place = here(reader);
			errors_add(reader->load->errors, &place, "is nested too deeply");
			reader->dead = reader->load->torn = true;
		}
	} while (depth > 0 && next(reader));
}

static struct bytes scalar(const struct yaml_reader *reader)
{
	assert(at(reader, YAML_SCALAR_EVENT));
	return (struct bytes){ reader->event.data.scalar.value, reader->event.data.scalar.length };
}

/* Nothing after the colon, or YAML's words for nothing. A group may be empty in that way: all that
 * is in it is commented out. */
static bool is_null(const struct yaml_reader *reader)
{
	if (!at(reader, YAML_SCALAR_EVENT) ||
	    reader->event.data.scalar.style != YAML_PLAIN_SCALAR_STYLE)
		return false;
	struct bytes text = scalar(reader);
	return text.size == 0 || bytes_equal(text, BYTES_LITERAL("~")) ||
	       bytes_equal(text, BYTES_LITERAL("null"));
}

/* ---- values ---- */

static void report_value(struct yaml_reader *reader, const struct config_key *key,
                         const struct config_origin *place, const struct bytes *text,
                         const struct err *err)
{
	if (err->code == ZR_NO_MEMORY)
		reader->load->sources->arena.failed = true;
	else if (text == NULL || key->secret)
		errors_add(reader->load->errors, place, "%s %s", key->path, err->message);
	else
		errors_add(reader->load->errors, place, "%s %s, not \"%.*s%s\"", key->path,
		           err->message, (int)(text->size < 60 ? text->size : 60),
		           (const char *)text->data, text->size > 60 ? "..." : "");
}

static struct value_place value_place(const struct yaml_reader *reader)
{
	return (struct value_place){ &reader->load->sources->arena, reader->folder };
}

static bool read_scalar(struct yaml_reader *reader, const struct config_key *key, void *field)
{
	struct config_origin place = here(reader);
	struct load *load = reader->load;
	if (!at(reader, YAML_SCALAR_EVENT)) {
		errors_add(load->errors, &place, "%s must be one value (%s), not a list or group",
		           key->path, config_type_name(key->type));
		skip(reader);
		return false;
	}
	if (is_null(reader)) {
		errors_add(load->errors, &place, "%s has no value", key->path);
		return false;
	}
	struct value_place where = value_place(reader);
	struct bytes text = scalar(reader);
	struct err err;
	if (value_parse(key, &where, text, field, &err))
		return true;
	report_value(reader, key, &place, &text, &err);
	return false;
}

/* The elements of a list, as copies in the arena. */
struct elements {
	struct bytes texts[LIST_MAX];
	struct config_origin places[LIST_MAX];
	size_t count;
	bool bad;
};

static void read_element(struct yaml_reader *reader, const struct config_key *key,
                         struct elements *elements)
{
	struct config_origin place = here(reader);
	if (!at(reader, YAML_SCALAR_EVENT) || is_null(reader)) {
		errors_add(reader->load->errors, &place, "each element of %s must be one value",
		           key->path);
		elements->bad = true;
		skip(reader);
		return;
	}
	if (elements->count == LIST_MAX) {
		if (!elements->bad)
			errors_add(reader->load->errors, &place, "%s has too many elements",
			           key->path);
		elements->bad = true;
		return;
	}
	struct bytes text = scalar(reader);
	const char *copy =
		arena_text(&reader->load->sources->arena, (const char *)text.data, text.size);
	if (copy == NULL)
		return;
	elements->places[elements->count] = place;
	elements->texts[elements->count++] = (struct bytes){ (const uint8_t *)copy, text.size };
}

static bool read_list(struct yaml_reader *reader, const struct config_key *key, void *field)
{
	struct config_origin place = here(reader);
	struct load *load = reader->load;
	if (!at(reader, YAML_SEQUENCE_START_EVENT)) {
		errors_add(load->errors, &place, "%s must be a list, for instance [a, b]",
		           key->path);
		skip(reader);
		return false;
	}
	struct elements *elements = calloc(1, sizeof(*elements));
	if (elements == NULL) {
		load->sources->arena.failed = true;
		skip(reader);
		return false;
	}
	while (next(reader) && !at(reader, YAML_SEQUENCE_END_EVENT))
		read_element(reader, key, elements);
	bool good = !elements->bad && !reader->dead;
	struct value_place where = value_place(reader);
	struct value_texts texts = { .items = elements->texts, .count = elements->count };
	struct err err;
	if (good && !value_parse_list(key, &where, &texts, field, &err)) {
		bool one = texts.bad < texts.count;
		report_value(reader, key, one ? &elements->places[texts.bad] : &place,
		             one ? &elements->texts[texts.bad] : NULL, &err);
		good = false;
	}
	free(elements);
	return good;
}

static void read_value(struct yaml_reader *reader, const struct config_key *key, size_t item,
                       const struct config_origin *key_place)
{
	struct config_sources *sources = reader->load->sources;
	struct config_origin *origin = sources_origin(sources, key, item);
	if (origin->file != NULL) {
		errors_add(reader->load->errors, key_place, "%s is given twice; first in line %u",
		           key->path, origin->line);
		skip(reader);
		return;
	}
	struct config_origin place = here(reader);
	void *field = sources_field(sources, key, item);
	bool good = config_type_is_list(key->type) ? read_list(reader, key, field)
	                                           : read_scalar(reader, key, field);
	place.bad = !good;
	*origin = place;
}

/* ---- groups and sections ---- */

static void read_mapping(struct yaml_reader *reader, const struct mapping *mapping);

/* Reads the item that begins with the present event. */
/* NOLINTNEXTLINE(misc-no-recursion): as deep as the table nests keys. */
static void read_item(struct yaml_reader *reader, enum config_section section, const char *name,
                      const struct config_origin *place)
{
	struct load *load = reader->load;
	const struct config_section_row *row = config_section_at(section);
	bool empty = row->named && is_null(reader);
	if (!empty && !at(reader, YAML_MAPPING_START_EVENT)) {
		errors_add(load->errors, place, "each of %s must be a group of keys", row->path);
		skip(reader);
		return;
	}
	if (load->sources->sections[section].count >= row->count_max) {
		errors_add(load->errors, place, "there are more than %zu %s", row->count_max,
		           row->path);
		reader->dead = load->torn = true;
		return;
	}
	size_t item = sources_add_item(load->config, section, place);
	if (item == SIZE_MAX) {
		reader->dead = load->torn = true;
		return;
	}
	if (name != NULL) {
		char *base = sources_item(load->sources, section, item);
		*(const char **)(void *)(base + row->name_offset) = name;
	}
	const struct mapping mapping = { section, item, "" };
	if (!empty)
		read_mapping(reader, &mapping);
}

/* "classes:": names, and a group for each. */
/* NOLINTNEXTLINE(misc-no-recursion): as deep as the table nests keys. */
static void read_named_items(struct yaml_reader *reader, enum config_section section)
{
	const struct config_key name_key = { .path = "a name", .type = CONFIG_NAME };
	while (next(reader) && !at(reader, YAML_MAPPING_END_EVENT)) {
		struct config_origin place = here(reader);
		const char *name;
		bool good = read_scalar(reader, &name_key, &name);
		if (!next(reader))
			return;
		if (good)
			read_item(reader, section, name, &place);
		else
			skip(reader);
	}
}

/* NOLINTNEXTLINE(misc-no-recursion): as deep as the table nests keys. */
static void read_section(struct yaml_reader *reader, enum config_section section)
{
	const struct config_section_row *row = config_section_at(section);
	struct config_origin place = here(reader);
	if (is_null(reader))
		return;
	if (!at(reader, row->named ? YAML_MAPPING_START_EVENT : YAML_SEQUENCE_START_EVENT)) {
		errors_add(reader->load->errors, &place, "%s must be %s", row->path,
		           row->named ? "a group of names" : "a list");
		reader->load->torn = true; /* What is in it is unknown, not missing. */
		skip(reader);
		return;
	}
	if (row->named) {
		read_named_items(reader, section);
		return;
	}
	while (next(reader) && !at(reader, YAML_SEQUENCE_END_EVENT)) {
		place = here(reader);
		read_item(reader, section, NULL, &place);
	}
}

/* What "inner" is: a repeating section of this program, or SECTION_ROOT for none. */
static enum config_section find_section(const struct yaml_reader *reader,
                                        const struct mapping *mapping, const char *inner)
{
	if (mapping->section != SECTION_ROOT)
		return SECTION_ROOT;
	for (unsigned i = SECTION_ROOT + 1; i < SECTION_COUNT; i++) {
		if (sources_has(reader->load->config, i) &&
		    strcmp(config_section_at(i)->path, inner) == 0)
			return i;
	}
	return SECTION_ROOT;
}

static bool begins_group(const char *path, const char *inner)
{
	size_t size = strlen(inner);
	return strncmp(path, inner, size) == 0 && path[size] == '.';
}

static bool is_group(const struct yaml_reader *reader, const struct mapping *mapping,
                     const char *inner)
{
	const struct config *config = reader->load->config;
	const struct config_items *items = &reader->load->sources->sections[mapping->section];
	for (size_t i = 0; i < items->row_count; i++) {
		const struct config_key *key = config_key_at(items->row_first + i);
		if ((key->programs & config->program) != 0 &&
		    begins_group(config_key_inner(key), inner))
			return true;
	}
	for (unsigned i = SECTION_ROOT + 1; i < SECTION_COUNT; i++) {
		if (mapping->section == SECTION_ROOT && sources_has(config, i) &&
		    begins_group(config_section_at(i)->path, inner))
			return true;
	}
	return false;
}

/* Groups and sections met in one mapping: each may be there once. */
struct seen {
	struct {
		char inner[PATH_MAX_SIZE];
		unsigned line;
	} groups[GROUPS_MAX];
	size_t count;
};

static bool first_time(struct yaml_reader *reader, struct seen *seen, const char *inner,
                       const struct config_origin *place)
{
	for (size_t i = 0; i < seen->count; i++) {
		if (strcmp(seen->groups[i].inner, inner) != 0)
			continue;
		errors_add(reader->load->errors, place, "%s is given twice; first in line %u",
		           inner, seen->groups[i].line);
		return false;
	}
	assert(seen->count < GROUPS_MAX);
	memcpy(seen->groups[seen->count].inner, inner, strlen(inner) + 1);
	seen->groups[seen->count++].line = place->line;
	return true;
}

static void report_unknown(struct yaml_reader *reader, const struct mapping *mapping,
                           const char *inner, const struct config_origin *place)
{
	char like[SUGGEST_SIZE] = "";
	bool found = suggest_key(reader->load->config, mapping->section, inner, like);
	const char *section = config_section_at(mapping->section)->path;
	errors_add(reader->load->errors, place, "there is no key %s%s%s%s%s%s", inner,
	           mapping->section == SECTION_ROOT ? "" : " in ", section,
	           found ? "; did you mean " : "", like, found ? "?" : "");
}

/* The present event is the value of the key called inner. */
/* NOLINTNEXTLINE(misc-no-recursion): as deep as the table nests keys. */
static void read_member(struct yaml_reader *reader, const struct mapping *mapping,
                        struct seen *seen, const char *inner, const struct config_origin *place)
{
	const struct config_key *key =
		sources_find_key(reader->load->config, mapping->section, inner);
	if (key != NULL) {
		read_value(reader, key, mapping->item, place);
		return;
	}
	enum config_section section = find_section(reader, mapping, inner);
	bool group = section == SECTION_ROOT && is_group(reader, mapping, inner);
	if (section == SECTION_ROOT && !group) {
		report_unknown(reader, mapping, inner, place);
		skip(reader);
		return;
	}
	if (!first_time(reader, seen, inner, place)) {
		skip(reader);
		return;
	}
	if (section != SECTION_ROOT) {
		read_section(reader, section);
		return;
	}
	if (is_null(reader))
		return;
	if (!at(reader, YAML_MAPPING_START_EVENT)) {
		errors_add(reader->load->errors, place, "%s must be a group of keys", inner);
		skip(reader);
		return;
	}
	struct mapping deeper = { mapping->section, mapping->item, "" };
	memcpy(deeper.inner, inner, strlen(inner) + 1);
	read_mapping(reader, &deeper);
}

/* Writes the path of the key that is the present event. Too long for any key: false. */
static bool inner_path(const struct yaml_reader *reader, const struct mapping *mapping,
                       char inner[static PATH_MAX_SIZE])
{
	struct bytes name = scalar(reader);
	bool top = mapping->inner[0] == '\0';
	int size = snprintf(inner, PATH_MAX_SIZE, "%s%s%.*s", mapping->inner, top ? "" : ".",
	                    (int)(name.size < PATH_MAX_SIZE ? name.size : PATH_MAX_SIZE),
	                    (const char *)name.data);
	return size > 0 && size < PATH_MAX_SIZE && memchr(name.data, '.', name.size) == NULL &&
	       strlen(inner) == (size_t)size;
}

/* The present event is the beginning of the mapping; afterwards it is its end. */
/* NOLINTNEXTLINE(misc-no-recursion): as deep as the table nests keys. */
static void read_mapping(struct yaml_reader *reader, const struct mapping *mapping)
{
	struct seen seen = { .count = 0 };
	while (next(reader) && !at(reader, YAML_MAPPING_END_EVENT)) {
		struct config_origin place = here(reader);
		char inner[PATH_MAX_SIZE] = "";
		bool named = at(reader, YAML_SCALAR_EVENT) && inner_path(reader, mapping, inner);
		if (!named) {
			errors_add(reader->load->errors, &place, "a key must be one word");
			skip(reader);
		}
		if (!next(reader))
			return;
		if (named)
			read_member(reader, mapping, &seen, inner, &place);
		else
			skip(reader);
	}
}

/* ---- files ---- */

/* Whole, so that what is given stays right in another working directory. */
static const char *folder_of(struct arena *arena, const char *path)
{
	const char *slash = strrchr(path, '/');
	const char *folder = ".";
	if (slash != NULL)
		folder = arena_text(arena, path, slash == path ? 1 : (size_t)(slash - path));
	if (folder == NULL || folder[0] == '/')
		return folder;
	char *whole = realpath(folder, NULL);
	if (whole == NULL)
		return folder; /* Opening the file will say why. */
	folder = arena_text(arena, whole, strlen(whole));
	free(whole);
	return folder;
}

static bool open_reader(struct yaml_reader *reader, struct load *load, const char *path)
{
	struct arena *arena = &load->sources->arena;
	*reader = (struct yaml_reader){ .load = load, .content = BUFFER_EMPTY };
	reader->file = arena_text(arena, path, strlen(path));
	reader->folder = folder_of(arena, path);
	if (reader->file == NULL || reader->folder == NULL)
		return false;
	struct err err;
	if (!file_read(path, FILE_SIZE_MAX, &reader->content, &err)) {
		struct config_origin whole = { .file = reader->file };
		if (err.code == ZR_NO_MEMORY)
			arena->failed = true;
		else
			errors_add(load->errors, &whole, "%s", err.message);
		load->torn = true;
		return false;
	}
	if (yaml_parser_initialize(&reader->parser) == 0) {
		arena->failed = true;
		return false;
	}
	yaml_parser_set_input_string(&reader->parser, reader->content.data, reader->content.size);
	return true;
}

/* Up to the beginning of the one document; false if there is none. */
static bool begin_document(struct yaml_reader *reader)
{
	bool begun = next(reader);     /* The stream, */
	begun = begun && next(reader); /* then the document. */
	if (!begun)
		return false;
	if (at(reader, YAML_DOCUMENT_START_EVENT))
		return next(reader);
	struct config_origin whole = { .file = reader->file };
	errors_add(reader->load->errors, &whole, "is empty");
	reader->load->torn = true;
	return false;
}

static void end_document(struct yaml_reader *reader)
{
	bool ended = next(reader);
	ended = ended && next(reader);
	if (!ended || at(reader, YAML_STREAM_END_EVENT))
		return;
	struct config_origin place = here(reader);
	errors_add(reader->load->errors, &place, "only one document is read from a file");
}

static void close_reader(struct yaml_reader *reader)
{
	drop_event(reader);
	yaml_parser_delete(&reader->parser);
	buffer_fini(&reader->content);
}

void reader_read_zone(struct load *load, const char *path)
{
	struct yaml_reader reader;
	if (!open_reader(&reader, load, path)) {
		buffer_fini(&reader.content);
		return;
	}
	/* Defaults first: a path among them is relative to this file, as a given one would be. */
	const struct value_place where = value_place(&reader);
	const struct config_items *root = &load->sources->sections[SECTION_ROOT];
	for (size_t i = 0; i < root->row_count; i++) {
		const struct config_key *key = config_key_at(root->row_first + i);
		if ((key->programs & load->config->program) != 0)
			value_set_normal(key, &where, sources_field(load->sources, key, 0));
	}
	load->sources->sections[SECTION_ROOT].places[0] =
		(struct config_origin){ .file = reader.file, .line = 1, .column = 1 };
	if (begin_document(&reader)) {
		const struct mapping top = { SECTION_ROOT, 0, "" };
		struct config_origin place = here(&reader);
		if (at(&reader, YAML_MAPPING_START_EVENT)) {
			read_mapping(&reader, &top);
		} else {
			errors_add(load->errors, &place, "must be a group of keys");
			load->torn = true;
			skip(&reader);
		}
		end_document(&reader);
	}
	close_reader(&reader);
}

void reader_read_chains(struct load *load, const char *path)
{
	struct yaml_reader reader;
	if (!open_reader(&reader, load, path)) {
		buffer_fini(&reader.content);
		return;
	}
	if (begin_document(&reader)) {
		read_section(&reader, SECTION_CHAINS);
		end_document(&reader);
	}
	close_reader(&reader);
}
