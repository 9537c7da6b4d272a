/* Every record that is decoded: what is accepted is exactly what encoding gives. */
#include <assert.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/record.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const struct bytes record = { data, size };
	struct buffer again = BUFFER_EMPTY;
	struct block_header header;
	struct entry entry;
	struct anchor_decoded *anchor = NULL;
	struct err err;
	if (header_record_decode(record, &header, &err)) {
		uint8_t encoded[HEADER_RECORD_SIZE];
		header_record_encode(&header, encoded);
		assert(bytes_equal(BYTES_OF(encoded), record));
	}
	if (entry_record_decode(record, &entry, &err)) {
		entry_record_encode(&entry, &again);
		assert(bytes_equal(buffer_bytes(&again), record));
	}
	if (anchor_content_decode(record, &anchor, &err)) {
		buffer_clear(&again);
		anchor_content_encode(anchor_decoded_view(anchor), &again);
		assert(bytes_equal(buffer_bytes(&again), record));
	}
	anchor_decoded_free(anchor);
	buffer_fini(&again);
	return 0;
}
