/* commands.h -- the verbs of zonerelay-edge: one table, one function each. */
#ifndef ZR_EDGE_COMMANDS_H
#define ZR_EDGE_COMMANDS_H

#include <stdbool.h>

/* What the command line said. Strings are borrowed from argv. */
struct arguments {
	const char *config_path;
	bool json;
	const char *words[4]; /* After the verb. */
	int word_count;
};

struct command {
	const char *verb;      /* One word or two. */
	const char *arguments; /* As --help shows them. */
	int word_min, word_max;
	int (*run)(const struct arguments *arguments); /* Returns the exit status. */
	const char *text;
};

/* NULL past the end. The first is what runs without a verb. */
const struct command *command_at(int index);

#endif
