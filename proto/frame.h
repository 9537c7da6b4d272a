/* frame.h -- cutting a byte stream into frames: a 4-byte big-endian length, then that many bytes.
 *
 * Pure: no I/O, no clock. docs/PROTOCOL.md section 2.
 */
#ifndef ZR_PROTO_FRAME_H
#define ZR_PROTO_FRAME_H

#include <stdint.h>

#include "relay/base/bytes.h"

#define FRAME_HEADER_SIZE     4
#define FRAME_MAX_BYTES_LIMIT (16u << 20) /* No frame_max_bytes is configured above this. */

enum frame_cut {
	FRAME_READY, /* *out_frame is the next whole frame's body. */
	FRAME_MORE,  /* The bytes so far are the beginning of one. */
	FRAME_EMPTY, /* A frame of length 0: the peer does not speak our protocol. */
	FRAME_LARGE, /* A frame above frame_max_bytes: likewise. */
};

/* Looks at the front of input. FRAME_READY: *out_frame borrows from input and *out_used bytes of
 * input are done with. FRAME_MORE: *out_used is how many bytes the frame needs in all, or
 * FRAME_HEADER_SIZE while the length is not there yet. */
enum frame_cut frame_cut(struct bytes input, uint32_t frame_max_bytes, struct bytes *out_frame,
                         size_t *out_used);

#endif
