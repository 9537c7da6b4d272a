/* fuzz_move.c -- files of "chains move": as they are, and with the hash at their end made right. */
#include <assert.h>
#include <stddef.h>
#include <stdint.h>

#include "relay/base/crypto.h"
#include "relay/move.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void decode(struct bytes file)
{
	struct move move;
	struct buffer again = BUFFER_EMPTY;
	if (!move_decode(file, &move, NULL))
		return;
	move_encode(&move, &again);
	assert(bytes_equal(buffer_bytes(&again), file));
	buffer_fini(&again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct bytes file = { data, size };
	decode(file);
	/* Nothing behind a hash would be reached otherwise. */
	struct bytes body = { data, size > HASH_SIZE ? size - HASH_SIZE : 0 };
	struct buffer whole = BUFFER_EMPTY;
	struct hash digest = sha256(body);
	buffer_put(&whole, body);
	buffer_put_hash(&whole, &digest);
	decode(buffer_bytes(&whole));
	buffer_fini(&whole);
	return 0;
}
