/* keys.h -- the one table of configuration keys.
 *
 * A row says everything about its key: where it stands in the file, what it may hold, where it goes
 * in struct config, whether SIGHUP can change it, and the sentence that people read. The reader,
 * the checks, "config show", the manual page and the completeness of the samples all come from it.
 */
#ifndef ZR_CONFIG_KEYS_H
#define ZR_CONFIG_KEYS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum config_type {
	CONFIG_BOOL,         /* bool */
	CONFIG_INTEGER,      /* uint64_t */
	CONFIG_SIZE,         /* uint64_t, bytes */
	CONFIG_DURATION,     /* uint64_t, milliseconds */
	CONFIG_TEXT,         /* const char *; min and max are its length */
	CONFIG_NAME,         /* const char *; a name as chains have */
	CONFIG_PATH,         /* const char * */
	CONFIG_ADDRESS,      /* struct config_address */
	CONFIG_ENUM,         /* an enum: one of choices */
	CONFIG_HASH,         /* struct hash */
	CONFIG_TEXT_LIST,    /* struct config_list; min and max are its length */
	CONFIG_NAME_LIST,    /* struct config_list */
	CONFIG_PATH_LIST,    /* struct config_list */
	CONFIG_ADDRESS_LIST, /* struct config_addresses */
	CONFIG_TYPE_COUNT,
};

/* A part of the file whose keys go into one struct. All but the first repeat. */
enum config_section {
	SECTION_ROOT,
	SECTION_CLASSES,
	SECTION_CHAINS,
	SECTION_ROUTES,
	SECTION_EDGE_CHAINS,
	SECTION_COUNT,
};

struct config_choice {
	const char *name; /* NULL ends the list. */
	unsigned value;
};

struct config_key {
	const char *path; /* "spool.size", "classes.NAME.priority", "chains[].agents" */
	enum config_type type;
	unsigned programs; /* enum config_program, as bits. */
	enum config_section section;
	bool required;
	bool reloadable;
	bool ledger_only;   /* Of a source: says nothing where it is a folder of blocks. */
	bool secret;        /* May hold a password: "config show" masks it. */
	size_t offset;      /* In the struct of its section. */
	const char *normal; /* The default as it would be written; NULL: none. */
	uint64_t min, max;  /* Both within. max 0: no limit but the type's own. */
	const char *unit;   /* What an integer counts. */
	const struct config_choice *choices;
	const char *text;
};

/* How a section repeats, and where struct config has it. */
struct config_section_row {
	const char *path; /* "classes", "gateway.routes"; of the root: "". */
	unsigned programs;
	bool named;      /* A mapping from names to items, not a list of items. */
	bool reloadable; /* May items come and go? */
	bool required;
	size_t item_size; /* 0 for the root. */
	size_t items_offset, count_offset;
	size_t name_offset; /* Of the item's name, by which two are told apart. */
	size_t count_max;
	const char *text;
};

/* Rows of one section stand together, and in it those with a common beginning. */
const struct config_key *config_key_at(size_t index); /* NULL past the end. */
const struct config_section_row *config_section_at(enum config_section section);
const char *config_type_name(enum config_type type); /* "size": for people. */
/* What follows the section's own part of the path: "agents" of "chains[].agents". */
const char *config_key_inner(const struct config_key *key);

#endif
