/* arena.c -- see arena.h. */
#include "config/arena.h"

#include <stdlib.h>
#include <string.h>

#define BLOCK_SIZE ((size_t)64 * 1024)
#define ALIGNMENT  _Alignof(max_align_t)

struct arena_block {
	struct arena_block *older;
	size_t used;
	size_t size;
	max_align_t data[];
};

void arena_fini(struct arena *arena)
{
	while (arena->newest != NULL) {
		struct arena_block *block = arena->newest;
		arena->newest = block->older;
		free(block);
	}
	arena->failed = false;
}

static bool add_block(struct arena *arena, size_t size)
{
	struct arena_block *block = calloc(1, sizeof(*block) + size);
	if (block == NULL) {
		arena->failed = true;
		return false;
	}
	block->size = size;
	block->older = arena->newest;
	arena->newest = block;
	return true;
}

void *arena_alloc(struct arena *arena, size_t size)
{
	size_t rounded = (size + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
	struct arena_block *block = arena->newest;
	if (block == NULL || block->size - block->used < rounded) {
		if (!add_block(arena, rounded > BLOCK_SIZE ? rounded : BLOCK_SIZE))
			return NULL;
		block = arena->newest;
	}
	void *piece = (char *)block->data + block->used;
	block->used += rounded;
	return piece;
}

char *arena_text(struct arena *arena, const char *text, size_t size)
{
	char *copy = arena_alloc(arena, size + 1);
	if (copy != NULL)
		memcpy(copy, text, size);
	return copy;
}
