/* fuzz_ledger_block.c -- any bytes as a block of format `ledger`: read, pinned, and judged.
 *
 * What is read has one encoding, the one protobuf-c gives it; what is accepted has good seals.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "adapters/sidechain/ledger/ledger.h"
#include "proto/ledger.pb-c.h"

static void must(bool ok)
{
	if (!ok)
		abort();
}

static void check_encoding(struct bytes raw)
{
	Zonerelay__Ledger__Block *block =
		zonerelay__ledger__block__unpack(NULL, raw.size, raw.data);
	must(block != NULL && zonerelay__ledger__block__get_packed_size(block) == raw.size);
	uint8_t *packed = malloc(raw.size);
	must(packed != NULL);
	zonerelay__ledger__block__pack(block, packed);
	must(memcmp(packed, raw.data, raw.size) == 0);
	free(packed);
	zonerelay__ledger__block__free_unpacked(block, NULL);
}

static void pin(struct bytes raw, const struct block *block)
{
	struct trust *trust;
	struct trust *next;
	struct buffer saved = BUFFER_EMPTY;
	if (!ledger_format()->trust_pin(raw, &trust, NULL))
		return;
	must(block->changes_trust);
	ledger_format()->trust_save(trust, &saved);
	must(bytes_equal(buffer_bytes(&saved), raw));
	must(ledger_format()->verify(trust, block, NULL));
	must(ledger_format()->admits(trust, block, NULL));
	must(ledger_format()->trust_next(trust, block, &next, NULL));
	ledger_format()->trust_free(next);
	ledger_format()->trust_free(trust);
	buffer_fini(&saved);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct bytes raw = { data, size };
	struct block block;
	struct trust *trust;
	if (!ledger_format()->read(raw, &block, NULL)) {
		must(!ledger_format()->trust_pin(raw, &trust, NULL));
		return 0;
	}
	must(block.header.height <= INT64_MAX);
	must((block.header.height == 0) == hash_is_zero(&block.header.parent));
	check_encoding(raw);
	pin(raw, &block);
	return 0;
}
