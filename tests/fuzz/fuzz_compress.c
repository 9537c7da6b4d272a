/* A compressed batch from a peer, with and without a dictionary, then cut into blocks. The first
 * byte says which limit and whether there is a dictionary. */
#include <assert.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include "proto/compress.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void fuzz_batch(struct bytes raw)
{
	struct reader reader = reader_of(raw);
	struct bytes block;
	size_t total = 0;
	int answer;
	while ((answer = batch_next_block(&reader, 1024, &block)) == 1) {
		assert(block.size > 0 && block.size <= 1024);
		total += 4 + block.size;
	}
	assert(answer != 0 || total == raw.size);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size < 1)
		return 0;
	size_t size_max = (size_t)(data[0] & 0x7f) << 10;
	bool with_dictionary = (data[0] & 0x80) != 0;
	struct decompressor *decompressor = NULL;
	struct dictionary *dictionary = NULL;
	struct buffer raw = BUFFER_EMPTY;
	struct err err;
	if (!decompressor_new(&decompressor, &err) ||
	    !dictionary_new(&dictionary, BYTES_LITERAL("{\"meter\":\"31-000001\",\"kwh\":"), 1,
	                    &err))
		abort();
	if (decompressor_run(decompressor, (struct bytes){ data + 1, size - 1 },
	                     with_dictionary ? dictionary : NULL, size_max, &raw, &err)) {
		assert(raw.size <= size_max);
		fuzz_batch(buffer_bytes(&raw));
	}
	fuzz_batch((struct bytes){ data + 1, size - 1 });
	dictionary_free(dictionary);
	decompressor_free(decompressor);
	buffer_fini(&raw);
	return 0;
}
