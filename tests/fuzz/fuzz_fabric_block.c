/* fuzz_fabric_block.c -- any bytes as a block: read, pinned, and judged under two real channels.
 *
 * Nobody has those channels' keys any more: whatever they accept must be one of their real blocks.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "adapters/sidechain/fabric/fabric.h"
#include "relay/base/file.h"

#define BLOCKS_MAX 16

struct channel {
	struct trust *trust;
	struct hash blocks[BLOCKS_MAX];
	size_t count;
};

static void must(bool ok)
{
	if (!ok)
		abort();
}

static void channel_init(struct channel *channel, const char *folder, size_t count)
{
	struct buffer raw = BUFFER_EMPTY;
	struct block block;
	channel->count = count;
	for (size_t i = 0; i < count; i++) {
		char path[512];
		(void)snprintf(path, sizeof(path), "%s/fabric/%s/%zu.block", TEST_DATA, folder, i);
		buffer_clear(&raw);
		must(file_read(path, 1u << 20, &raw, NULL));
		must(fabric_format()->read(buffer_bytes(&raw), &block, NULL));
		channel->blocks[i] = block.header.hash;
		must(i > 0 ||
		     fabric_format()->trust_pin(buffer_bytes(&raw), &channel->trust, NULL));
	}
	buffer_fini(&raw);
}

static void judge(const struct channel *channel, const struct block *block)
{
	struct trust *next;
	bool known = false;
	(void)fabric_format()->admits(channel->trust, block, NULL);
	if (fabric_format()->verify(channel->trust, block, NULL)) {
		for (size_t i = 0; i < channel->count; i++)
			known = known || hash_equal(&channel->blocks[i], &block->header.hash);
		must(known);
	}
	if (block->changes_trust && fabric_format()->trust_next(channel->trust, block, &next, NULL))
		fabric_format()->trust_free(next);
}

static void pin(struct bytes raw)
{
	struct trust *trust;
	struct block block;
	struct buffer saved = BUFFER_EMPTY;
	struct buffer text = BUFFER_EMPTY;
	if (!fabric_format()->trust_pin(raw, &trust, NULL))
		return;
	fabric_format()->trust_describe(trust, &text);
	fabric_format()->trust_save(trust, &saved);
	must(bytes_equal(buffer_bytes(&saved), raw));
	must(fabric_format()->read(raw, &block, NULL) && block.changes_trust);
	must(fabric_format()->verify(trust, &block, NULL));
	must(fabric_format()->admits(trust, &block, NULL));
	fabric_format()->trust_free(trust);
	buffer_fini(&saved);
	buffer_fini(&text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct channel raft;
	static struct channel bft;
	struct bytes raw = { data, size };
	struct block block;
	if (raft.trust == NULL) {
		channel_init(&raft, "raft-edge-1", 11);
		channel_init(&bft, "bft-edge", 7);
	}
	pin(raw);
	if (!fabric_format()->read(raw, &block, NULL))
		return 0;
	must(block.header.height <= INT64_MAX && block.header.entry_count > 0);
	must(block.header.time_ms >= 0 && !hash_is_zero(&block.header.hash));
	judge(&raft, &block);
	judge(&bft, &block);
	return 0;
}
