/* suggest.h -- "did you mean": the key that is most like one that does not exist. Pure. */
#ifndef ZR_CONFIG_SUGGEST_H
#define ZR_CONFIG_SUGGEST_H

#include "config/config.h"
#include "config/keys.h"

/* Inserted, left out, changed and swapped neighbours that turn one text into the other; counted
 * only as far as it may matter: more than most is most + 1. */
size_t suggest_distance(const char *a, const char *b, size_t most);

#define SUGGEST_SIZE 128

/* Writes the path of a key of section (or of a group or section in it) that is like inner; false if
 * none is. */
bool suggest_key(const struct config *config, enum config_section section, const char *inner,
                 char out[static SUGGEST_SIZE]);

#endif
