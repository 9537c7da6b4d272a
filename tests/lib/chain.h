/* chain.h -- a side chain in memory for tests: its raw blocks, its trust, a walk over it. */
#ifndef ZR_TESTS_LIB_CHAIN_H
#define ZR_TESTS_LIB_CHAIN_H

#include "adapters/sidechain/walk.h"

#define CHAIN_BLOCKS_MAX 128

struct chain {
	const struct sidechain *format;
	struct buffer blocks[CHAIN_BLOCKS_MAX]; /* Raw, by height. */
	size_t count;
	struct trust *trust; /* Pinned from block 0. */
};

/* Reads folder/0.block, folder/1.block, ... as far as they go, and pins block 0. Fails the test
 * where that fails. */
void chain_read(struct chain *chain, const char *format, const char *folder);
/* Takes blocks one by one; block 0 pins. */
void chain_init(struct chain *chain, const char *format);
void chain_add(struct chain *chain, struct bytes raw);
void chain_fini(struct chain *chain);

struct bytes chain_raw(const struct chain *chain, size_t height);
/* A walk that stands before block 0. End with walk_fini(). */
struct walk chain_walk(const struct chain *chain);
/* A walk that has been over all blocks below height, with every signature checked. */
struct walk chain_walk_to(const struct chain *chain, uint64_t height);
/* What block raw is, where height is next. err may be NULL. */
enum walk_fault chain_judge(const struct chain *chain, uint64_t height, struct bytes raw,
                            struct err *err);
/* Blocks from..to as a raw batch, appended. */
void chain_batch(const struct chain *chain, size_t from, size_t to, struct buffer *out);

#endif
