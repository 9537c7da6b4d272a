/* chain.c -- see chain.h. */
#include "tests/lib/chain.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

#include <cmocka.h>

#include "proto/compress.h"
#include "relay/base/file.h"

#define FILE_SIZE_MAX (64u << 20)

void chain_init(struct chain *chain, const char *format)
{
	*chain = (struct chain){ .format = sidechain_find(format) };
	assert_non_null(chain->format);
}

void chain_add(struct chain *chain, struct bytes raw)
{
	struct err err;
	assert_true(chain->count < CHAIN_BLOCKS_MAX);
	struct buffer *block = &chain->blocks[chain->count++];
	buffer_put(block, raw);
	assert_true(buffer_ok(block, &err));
	if (chain->count == 1 && !chain->format->trust_pin(raw, &chain->trust, &err))
		fail_msg("%s", err.message);
}

void chain_read(struct chain *chain, const char *format, const char *folder)
{
	struct err err;
	struct buffer raw = BUFFER_EMPTY;
	char path[512];
	chain_init(chain, format);
	for (size_t height = 0;; height++) {
		(void)snprintf(path, sizeof(path), "%s/%zu.block", folder, height);
		if (access(path, R_OK) != 0)
			break;
		buffer_clear(&raw);
		if (!file_read(path, FILE_SIZE_MAX, &raw, &err))
			fail_msg("%s", err.message);
		chain_add(chain, buffer_bytes(&raw));
	}
	buffer_fini(&raw);
	if (chain->count == 0)
		fail_msg("no blocks in %s", folder);
}

void chain_fini(struct chain *chain)
{
	chain->format->trust_free(chain->trust);
	for (size_t i = 0; i < chain->count; i++)
		buffer_fini(&chain->blocks[i]);
	chain->count = 0;
}

struct bytes chain_raw(const struct chain *chain, size_t height)
{
	assert_true(height < chain->count);
	return buffer_bytes(&chain->blocks[height]);
}

struct walk chain_walk(const struct chain *chain)
{
	struct walk walk;
	struct walk_position position = { .next_height = 0 };
	walk_init(&walk, chain->format, chain->trust,
	          &chain->format->trust_origin(chain->trust)->hash, position);
	return walk;
}

struct walk chain_walk_to(const struct chain *chain, uint64_t height)
{
	struct walk walk = chain_walk(chain);
	struct block block;
	struct err err;
	for (uint64_t at = 0; at < height; at++) {
		if (walk_block(&walk, chain_raw(chain, at), true, &block, &err) != WALK_FINE)
			fail_msg("block %d: %s", (int)at, err.message);
	}
	return walk;
}

enum walk_fault chain_judge(const struct chain *chain, uint64_t height, struct bytes raw,
                            struct err *err)
{
	struct block block;
	struct walk walk = chain_walk_to(chain, height);
	enum walk_fault fault = walk_block(&walk, raw, true, &block, err);
	walk_fini(&walk);
	return fault;
}

void chain_batch(const struct chain *chain, size_t from, size_t to, struct buffer *out)
{
	for (size_t at = from; at <= to; at++)
		batch_put_block(out, chain_raw(chain, at));
}
