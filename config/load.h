/* load.h -- inside config/: what reader, checks and "show" share about one configuration. */
#ifndef ZR_CONFIG_LOAD_H
#define ZR_CONFIG_LOAD_H

#include <stdarg.h>

#include "config/arena.h"
#include "config/config.h"
#include "config/keys.h"
#include "config/value.h"

/* Where a value came from. */
struct config_origin {
	const char *file; /* NULL: nowhere, it is the default. */
	unsigned line, column;
	bool bad; /* It was given, but not accepted: no check says more about it. */
};

/* The items of one section, each with a place and one origin per row of the section. */
struct config_items {
	char *items; /* Owned, but for the root's, which is struct config itself. */
	struct config_origin *places;
	struct config_origin *origins;
	size_t count, capacity;
	size_t row_first, row_count; /* In the table of keys. */
};

struct config_chain_name {
	const struct chain_config *chain;
};

struct config_sources {
	struct arena arena;
	struct config_items sections[SECTION_COUNT];
	struct config_chain_name *chains_by_name; /* Owned; sorted. */
};

/* One load under way. */
struct load {
	struct config *config;
	struct config_sources *sources;
	struct config_errors *errors;
	bool torn; /* A file could not be read to its end: what is missing may stand there. */
};

/* ---- errors.c ---- */

void errors_add(struct config_errors *errors, const struct config_origin *origin,
                const char *format, ...) __attribute__((format(printf, 3, 4)));
/* Something could not be told, or not be looked at, for want of memory. */
void errors_no_memory(struct config_errors *errors);
void errors_add_args(struct config_errors *errors, const struct config_origin *origin,
                     const char *format, va_list args) __attribute__((format(printf, 3, 0)));
void errors_sort(struct config_errors *errors);

/* ---- sources.c ---- */

bool sources_new(struct config *config, struct err *err) MUST_CHECK;
void sources_free(struct config *config);
/* Does the section belong to the program of this configuration? */
bool sources_has(const struct config *config, enum config_section section);
/* A new item with its defaults; its index. SIZE_MAX: no memory. */
size_t sources_add_item(struct config *config, enum config_section section,
                        const struct config_origin *place);
void *sources_item(const struct config_sources *sources, enum config_section section, size_t item);
void *sources_field(const struct config_sources *sources, const struct config_key *key,
                    size_t item);
struct config_origin *sources_origin(const struct config_sources *sources,
                                     const struct config_key *key, size_t item);
/* The row of section for a program, by the inner part of its path; NULL: none. */
const struct config_key *sources_find_key(const struct config *config, enum config_section section,
                                          const char *inner);
/* Does this key say anything for this item? */
bool sources_applies(const struct config *config, const struct config_key *key, size_t item);
/* The name of an item, or of a route its address; may be NULL where it was not given. */
const char *sources_item_name(const struct config_sources *sources, enum config_section section,
                              size_t item);
/* What field is: its origin, or its item's place. NULL: it is no part of config. */
const struct config_origin *sources_whence(const struct config *config, const void *field);

/* ---- reader.c ---- */

/* Reads one file into the configuration; mistakes go to load->errors. */
void reader_read_zone(struct load *load, const char *path);
void reader_read_chains(struct load *load, const char *path);

/* ---- check.c ---- */

/* What concerns more than one value; also ties chains to their classes. */
void check_all(struct load *load);

#endif
