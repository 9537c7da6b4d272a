/* value.h -- one value: from the text of the file into its field, and back into YAML.
 *
 * Pure, but for the arena. "field" is the address in the struct that the key's row names.
 */
#ifndef ZR_CONFIG_VALUE_H
#define ZR_CONFIG_VALUE_H

#include "config/arena.h"
#include "config/keys.h"
#include "relay/base/bytes.h"
#include "relay/base/err.h"

#define CONFIG_SCALAR_MAX 4096 /* Bytes of one text. */

struct value_place {
	struct arena *arena; /* Gets what the value points at. */
	const char *folder;  /* What relative paths are relative to. */
};

bool config_type_is_list(enum config_type type);

/* Parses one scalar into field (of a key that is no list).
 * Errors: ZR_INVALID  with a sentence that goes after the key's name: "must be ...". */
bool value_parse(const struct config_key *key, const struct value_place *place, struct bytes text,
                 void *field, struct err *err) MUST_CHECK;
/* The elements of a list, as texts. */
struct value_texts {
	const struct bytes *items;
	size_t count;
	size_t bad; /* After a failure: the one that failed, or count where it is their number. */
};

/* Parses texts into field (of a key that is a list). Errors: ZR_INVALID  likewise. */
bool value_parse_list(const struct config_key *key, const struct value_place *place,
                      struct value_texts *texts, void *field, struct err *err) MUST_CHECK;
/* Parses the default of key, which the table guarantees to be a good one; clears the field where
 * there is none. */
void value_set_normal(const struct config_key *key, const struct value_place *place, void *field);

/* Optional and not given? */
bool value_is_none(const struct config_key *key, const void *field);
bool value_equal(const struct config_key *key, const void *a, const void *b);
/* As YAML that value_parse() reads back; passwords in URLs of secret keys become "***". */
void value_print(const struct config_key *key, const void *field, struct buffer *out);
/* "64 KiB", "15 min": the largest unit that is exact. For min and max too. */
void value_print_number(enum config_type type, uint64_t number, struct buffer *out);

#endif
