/* evidence.c -- see evidence.h. */
#include "relay/evidence.h"

#include <inttypes.h>

static const char magic[4] = { 'Z', 'R', 'v', '1' };

void evidence_encode(const struct evidence *evidence, struct buffer *out)
{
	buffer_put(out, BYTES_OF(magic));
	buffer_put_short(out, bytes_of_string(evidence->format->name));
	buffer_put_short(out, bytes_of_string(evidence->chain.name));
	buffer_put_hash(out, &evidence->chain.epoch);
	buffer_put_u64(out, evidence->height);
	buffer_put_long(out, evidence->trust);
	buffer_put_long(out, evidence->ours);
	buffer_put_long(out, evidence->theirs);
}

bool evidence_decode(struct bytes bundle, struct evidence *out_evidence, struct err *err)
{
	struct reader reader = reader_of(bundle);
	struct evidence evidence = { .format = NULL };
	struct bytes head = reader_bytes(&reader, sizeof(magic));
	struct bytes format = reader_short(&reader);
	bool named = reader_name(&reader, evidence.chain.name);
	evidence.chain.epoch = reader_hash(&reader);
	evidence.height = reader_u64(&reader);
	evidence.trust = reader_long(&reader);
	evidence.ours = reader_long(&reader);
	evidence.theirs = reader_long(&reader);
	if (!reader_done(&reader) || !bytes_equal(head, BYTES_OF(magic)))
		return err_set(err, ZR_INVALID, "not an evidence bundle");
	evidence.format = sidechain_find_bytes(format);
	if (evidence.format == NULL || !named)
		return err_set(err, ZR_INVALID, "no such format, or no such chain name");
	*out_evidence = evidence;
	return true;
}

static bool check_block(const struct evidence *evidence, const struct trust *trust,
                        struct bytes raw, struct block_header *out_header, struct err *err)
{
	struct block block;
	if (!evidence->format->read(raw, &block, err))
		return false;
	if (block.header.height != evidence->height)
		return err_set(err, ZR_INVALID, "height %" PRIu64 ", not %" PRIu64,
		               block.header.height, evidence->height);
	if (!evidence->format->admits(trust, &block, err) ||
	    !evidence->format->verify(trust, &block, err))
		return false;
	*out_header = block.header;
	return true;
}

bool evidence_check(const struct evidence *evidence, struct block_header out_headers[static 2],
                    struct err *err)
{
	struct trust *trust;
	if (!evidence->format->trust_load(evidence->trust, &trust, err))
		return err_wrap(err, "trust set");
	bool ok = (check_block(evidence, trust, evidence->ours, &out_headers[0], err) ||
	           err_wrap(err, "first block")) &&
	          (check_block(evidence, trust, evidence->theirs, &out_headers[1], err) ||
	           err_wrap(err, "second block"));
	evidence->format->trust_free(trust);
	if (!ok)
		return false;
	if (hash_equal(&out_headers[0].hash, &out_headers[1].hash))
		return err_set(err, ZR_INVALID, "both are the same block");
	return true;
}
