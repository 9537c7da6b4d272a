/* fuzz_walk_batch.c -- any bytes as a batch of a real channel: all of it, or nothing.
 *
 * The first byte says where the walk stands and which policy holds; the rest is the batch.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "adapters/sidechain/fabric/fabric.h"
#include "adapters/sidechain/walk.h"
#include "relay/base/file.h"

#define COUNT 7

static void must(bool ok)
{
	if (!ok)
		abort();
}

/* The real channel, which nobody can continue any more. */
struct channel {
	struct trust *trust;
	struct hash hashes[COUNT];
};

static void channel_init(struct channel *channel)
{
	struct buffer raw = BUFFER_EMPTY;
	struct block block;
	for (size_t i = 0; i < COUNT; i++) {
		char path[512];
		(void)snprintf(path, sizeof(path), "%s/fabric/bft-edge/%zu.block", TEST_DATA, i);
		buffer_clear(&raw);
		must(file_read(path, 1u << 20, &raw, NULL));
		must(fabric_format()->read(buffer_bytes(&raw), &block, NULL));
		channel->hashes[i] = block.header.hash;
		must(i > 0 ||
		     fabric_format()->trust_pin(buffer_bytes(&raw), &channel->trust, NULL));
	}
	buffer_fini(&raw);
}

static void walk_on(const struct channel *channel, struct walk *walk, struct bytes raw,
                    enum policy policy)
{
	struct block_header headers[COUNT];
	struct walk before = *walk;
	struct walk_batch batch = {
		.raw = raw, .policy = policy, .block_max_bytes = 1u << 20, .count_max = COUNT
	};
	uint64_t bad_height;
	size_t count = 0;
	struct err err;
	if (walk_batch(walk, &batch, headers, &count, &bad_height, &err) != WALK_FINE) {
		must(memcmp(walk, &before, sizeof(before)) == 0 && err.message[0] != '\0');
		return;
	}
	must(count > 0 && walk->position.next_height == before.position.next_height + count);
	for (size_t i = 0; i < count; i++) {
		must(headers[i].height == before.position.next_height + i);
		must(hash_equal(&headers[i].hash, &channel->hashes[headers[i].height]));
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct channel channel;
	if (channel.trust == NULL)
		channel_init(&channel);
	if (size == 0)
		return 0;
	struct walk walk;
	struct walk_position position = { .next_height = data[0] % COUNT };
	if (position.next_height > 0)
		position.tip = channel.hashes[position.next_height - 1];
	walk_init(&walk, fabric_format(), channel.trust, &channel.hashes[0], position);
	walk_on(&channel, &walk, (struct bytes){ data + 1, size - 1 },
	        data[0] < 128 ? POLICY_ALL : POLICY_TAIL);
	walk_fini(&walk);
	return 0;
}
