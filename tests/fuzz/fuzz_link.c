/* One frame's body from a peer: whatever is taken can be sent again and is taken again. */
#include <assert.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/link.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void fuzz_frame(struct bytes body)
{
	Zonerelay__Link__Frame *frame = NULL;
	Zonerelay__Link__Frame *again = NULL;
	struct buffer encoded = BUFFER_EMPTY;
	struct err err;
	if (link_frame_decode(body, &frame, &err) == LINK_FRAME) {
		bool ok = link_frame_encode(frame, &encoded, &err);
		assert(ok);
		enum link_decoded answer = link_frame_decode(buffer_bytes(&encoded), &again, &err);
		assert(answer == LINK_FRAME && again->body_case == frame->body_case);
	}
	link_frame_free(frame);
	link_frame_free(again);
	buffer_fini(&encoded);
}

static void fuzz_receipts(struct bytes body)
{
	Zonerelay__Link__CustodyReceipt *custody = NULL;
	Zonerelay__Link__Anchored *anchored = NULL;
	struct buffer encoded = BUFFER_EMPTY;
	struct err err;
	if (link_custody_decode(body, &custody, &err)) {
		bool ok = link_custody_encode(custody, &encoded, &err);
		assert(ok);
	}
	if (link_anchored_decode(body, &anchored, &err)) {
		bool ok = link_anchored_encode(anchored, &encoded, &err);
		assert(ok);
	}
	link_custody_free(custody);
	link_anchored_free(anchored);
	buffer_fini(&encoded);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	fuzz_frame((struct bytes){ data, size });
	fuzz_receipts((struct bytes){ data, size });
	return 0;
}
