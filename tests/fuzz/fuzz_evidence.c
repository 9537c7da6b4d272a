/* fuzz_evidence.c -- evidence bundles: decoded, encoded again to the same bytes, and judged. */
#include <assert.h>
#include <stddef.h>
#include <stdint.h>

#include "relay/evidence.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct bytes bundle = { data, size };
	struct evidence evidence;
	struct block_header headers[2];
	if (!evidence_decode(bundle, &evidence, NULL))
		return 0;
	struct buffer again = BUFFER_EMPTY;
	evidence_encode(&evidence, &again);
	assert(bytes_equal(buffer_bytes(&again), bundle));
	buffer_fini(&again);
	if (evidence_check(&evidence, headers, NULL))
		assert(!hash_equal(&headers[0].hash, &headers[1].hash));
	return 0;
}
