/* fuzz_fabric_config.c -- any bytes as a channel's configuration, in an honest block around it: the
 * tree, the organisations, the policies. fuzz_fabric_block.c hardly ever gets past the hashes.
 */
#include <stdint.h>
#include <stdlib.h>

#include "adapters/sidechain/fabric/fabric.h"
#include "adapters/sidechain/wire.h"
#include "relay/base/crypto.h"

static void must(bool ok)
{
	if (!ok)
		abort();
}

static void wrap(struct buffer *out, uint32_t number, struct buffer *inner)
{
	wire_put_message(out, number, buffer_bytes(inner));
	buffer_fini(inner);
}

/* A genesis of channel "fuzz" that carries content. */
static void put_block(struct buffer *out, struct bytes content)
{
	struct buffer channel_header = BUFFER_EMPTY;
	struct buffer header = BUFFER_EMPTY;
	struct buffer payload = BUFFER_EMPTY;
	struct buffer envelope = BUFFER_EMPTY;
	struct buffer block_header = BUFFER_EMPTY;
	struct buffer data = BUFFER_EMPTY;
	wire_put_u64(&channel_header, 1, 1);
	wire_put_bytes(&channel_header, 4, BYTES_LITERAL("fuzz"));
	wrap(&header, 1, &channel_header);
	wrap(&payload, 1, &header);
	wire_put_bytes(&payload, 2, content);
	wrap(&envelope, 1, &payload);
	struct hash hash = sha256(buffer_bytes(&envelope));
	wire_put_bytes(&block_header, 3, BYTES_OF(hash));
	wrap(&data, 1, &envelope);
	wrap(out, 1, &block_header);
	wrap(out, 2, &data);
	wire_put_message(out, 3, BYTES_LITERAL("\x0a\x00"));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct buffer raw = BUFFER_EMPTY;
	struct buffer text = BUFFER_EMPTY;
	struct trust *trust;
	struct block block;
	put_block(&raw, (struct bytes){ data, size });
	must(buffer_ok(&raw, NULL));
	must(fabric_format()->read(buffer_bytes(&raw), &block, NULL) && block.changes_trust);
	if (fabric_format()->trust_pin(buffer_bytes(&raw), &trust, NULL)) {
		fabric_format()->trust_describe(trust, &text);
		must(text.size > 0);
		fabric_format()->trust_free(trust);
	}
	buffer_fini(&text);
	buffer_fini(&raw);
	return 0;
}
