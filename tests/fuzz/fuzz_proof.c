/* A proof from a file: decoded, checked, written again. */
#include <assert.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/proof.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct proof *proof = NULL;
	struct proof *again = NULL;
	struct buffer file = BUFFER_EMPTY;
	struct err err;
	if (!proof_decode((struct bytes){ data, size }, &proof, &err))
		return 0;
	bool holds = proof_check(proof, &err);
	bool ok =
		proof_encode(proof, &file, &err) && proof_decode(buffer_bytes(&file), &again, &err);
	assert(ok);
	assert(proof_check(again, &err) == holds);
	ok = proof_check_block(again, &proof->header, &err);
	assert(ok);
	proof_free(proof);
	proof_free(again);
	buffer_fini(&file);
	return 0;
}
