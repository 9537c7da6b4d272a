/* arena.h -- memory of one configuration: taken piece by piece, given back all at once. */
#ifndef ZR_CONFIG_ARENA_H
#define ZR_CONFIG_ARENA_H

#include <stdbool.h>
#include <stddef.h>

struct arena_block;

struct arena {
	struct arena_block *newest; /* Owned. */
	bool failed;                /* Some allocation failed; the contents are incomplete. */
};

#define ARENA_EMPTY ((struct arena){ NULL, false })

void arena_fini(struct arena *arena);
/* Zeroed and aligned for any type; NULL, and failed, if there is no memory. */
void *arena_alloc(struct arena *arena, size_t size);
/* A copy of size bytes of text and a terminating zero. */
char *arena_text(struct arena *arena, const char *text, size_t size);

#endif
