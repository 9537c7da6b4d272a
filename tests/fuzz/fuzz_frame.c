/* A stream cut into frames: all of it is accounted for, however it is cut. */
#include <assert.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/frame.h"

#define LIMIT 4096

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct bytes input = { data, size };
	for (;;) {
		struct bytes frame = BYTES_NONE;
		size_t used = 0;
		enum frame_cut cut = frame_cut(input, LIMIT, &frame, &used);
		if (cut == FRAME_MORE)
			assert(used > input.size && used <= FRAME_HEADER_SIZE + LIMIT);
		if (cut != FRAME_READY)
			return 0;
		assert(used <= input.size && frame.size == used - FRAME_HEADER_SIZE);
		assert(frame.size > 0 && frame.size <= LIMIT);
		assert(frame.data == input.data + FRAME_HEADER_SIZE);
		input.data += used;
		input.size -= used;
	}
}
