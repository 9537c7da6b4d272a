/* dictionaries.h -- the compression dictionaries that the loop has at hand, out of the spool.
 *
 * One that was loaded stays: workers use it, and there are few. Threads: the loop.
 */
#ifndef ZR_RELAY_DICTIONARIES_H
#define ZR_RELAY_DICTIONARIES_H

#include "proto/compress.h"
#include "spool/spool.h"

#define DICTIONARIES_MAX 64

struct dictionaries {
	struct spool *spool; /* Kept. */
	struct dictionary *loaded[DICTIONARIES_MAX];
	size_t count;
};

void dictionaries_init(struct dictionaries *dictionaries, struct spool *spool);
void dictionaries_fini(struct dictionaries *dictionaries);

/* Errors: ZR_STATE  not known.  ZR_FULL  DICTIONARIES_MAX are in use already. */
bool dictionaries_find(struct dictionaries *dictionaries, const struct hash *hash,
                       const struct dictionary **out_dictionary, struct err *err) MUST_CHECK;

#endif
