/* dictionaries.c -- see dictionaries.h. */
#include "relay/dictionaries.h"

#include "spool/audit.h"

/* Only used for inflating here. */
#define LEVEL 3

void dictionaries_init(struct dictionaries *dictionaries, struct spool *spool)
{
	*dictionaries = (struct dictionaries){ .spool = spool };
}

void dictionaries_fini(struct dictionaries *dictionaries)
{
	for (size_t i = 0; i < dictionaries->count; i++)
		dictionary_free(dictionaries->loaded[i]);
	dictionaries->count = 0;
}

bool dictionaries_find(struct dictionaries *dictionaries, const struct hash *hash,
                       const struct dictionary **out_dictionary, struct err *err)
{
	for (size_t i = 0; i < dictionaries->count; i++) {
		if (hash_equal(dictionary_hash(dictionaries->loaded[i]), hash)) {
			*out_dictionary = dictionaries->loaded[i];
			return true;
		}
	}
	struct buffer bytes = BUFFER_EMPTY;
	struct dictionary *dictionary = NULL;
	bool ok = spool_dictionary_get(dictionaries->spool, hash, &bytes, err);
	if (ok && dictionaries->count == DICTIONARIES_MAX)
		ok = err_set(err, ZR_FULL, "%d dictionaries are in use", DICTIONARIES_MAX);
	ok = ok && dictionary_new(&dictionary, buffer_bytes(&bytes), LEVEL, err);
	buffer_fini(&bytes);
	if (!ok)
		return false;
	dictionaries->loaded[dictionaries->count++] = dictionary;
	*out_dictionary = dictionary;
	return true;
}
