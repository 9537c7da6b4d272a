#include "proto/frame.h"

#include <assert.h>

enum frame_cut frame_cut(struct bytes input, uint32_t frame_max_bytes, struct bytes *out_frame,
                         size_t *out_used)
{
	assert(frame_max_bytes > 0 && frame_max_bytes <= FRAME_MAX_BYTES_LIMIT);

	if (input.size < FRAME_HEADER_SIZE) {
		*out_used = FRAME_HEADER_SIZE;
		return FRAME_MORE;
	}
	uint32_t size = get_be32(input.data);
	if (size == 0)
		return FRAME_EMPTY;
	if (size > frame_max_bytes)
		return FRAME_LARGE;

	*out_used = FRAME_HEADER_SIZE + (size_t)size;
	if (input.size < *out_used)
		return FRAME_MORE;
	*out_frame = (struct bytes){ input.data + FRAME_HEADER_SIZE, size };
	return FRAME_READY;
}
