/* traffic.h -- signed blocks as the frames that carry them, made before the clock starts.
 *
 * Every link of the load sends the same blocks under a chain name of its own, so a frame is encoded
 * once and sent by all: what is left to the generator is TLS.
 */
#ifndef ZR_TESTS_BENCH_TRAFFIC_H
#define ZR_TESTS_BENCH_TRAFFIC_H

#include "adapters/sidechain.h"

struct traffic_batch {
	uint64_t from, to;
	uint64_t size; /* Compressed. */
	uint64_t raw_size;
	struct buffer *frames; /* Owned. Bodies. */
	size_t frame_count;
};

struct traffic {
	struct hash epoch;
	struct block_header tip;
	struct traffic_batch *batches; /* Owned. The first is the genesis alone. */
	size_t batch_count;
};

/* Reads folder/genesis.block and folder/blocks.raw, as bench_make wrote them. batch_blocks: in each
 * batch but the first; what is left over at the end is left out. */
bool traffic_read(struct traffic *out_traffic, const char *folder, const char *format,
                  size_t batch_blocks, struct err *err) MUST_CHECK;
void traffic_free(struct traffic *traffic);

#endif
