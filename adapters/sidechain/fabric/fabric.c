/* fabric.c -- the row of format `fabric`, and reading a block; see fabric.h. */
#include "adapters/sidechain/fabric/fabric.h"

#include <inttypes.h>
#include <string.h>

#include "adapters/sidechain/fabric/block.h"
#include "adapters/sidechain/fabric/envelope.h"
#include "adapters/sidechain/fabric/shown.h"
#include "adapters/sidechain/fabric/trust.h"
#include "adapters/sidechain/fabric/verify.h"

/* ---- read ---- */

/* Every envelope for itself. A config transaction stands alone, and may be unsigned: whoever makes
 * the first block of a channel does not sign it. */
static bool read_envelope(const struct fabric_block *parts, struct bytes bytes, bool first,
                          struct block *block, struct err *err)
{
	struct fabric_envelope envelope;
	if (!fabric_envelope_decode(bytes, &envelope, err))
		return false;
	bool is_config = envelope.readable && envelope.type == FABRIC_TYPE_CONFIG;
	if (is_config && parts->envelope_count > 1)
		return err_set(err, ZR_INVALID, "a config transaction among others");
	if (!is_config && envelope.signature.size == 0)
		return err_set(err, ZR_INVALID, "no signature");
	if (first && envelope.readable)
		block->header.time_ms = envelope.time_ms;
	block->changes_trust = is_config;
	return true;
}

static bool read_envelopes(const struct fabric_block *parts, struct block *block, struct err *err)
{
	struct bytes data = parts->data;
	struct bytes bytes;
	struct hash root;
	for (size_t i = 0; fabric_next_envelope(&data, &bytes); i++) {
		if (!read_envelope(parts, bytes, i == 0, block, err))
			return err_wrap(err, "block %" PRIu64 ": envelope %zu", parts->number, i);
	}
	if (!fabric_data_hash(parts, &root, err))
		return false;
	if (!bytes_equal(BYTES_OF(root), parts->data_hash))
		return err_set(err, ZR_INVALID, "block %" PRIu64 ": the data hash is another",
		               parts->number);
	return true;
}

static bool fabric_read(struct bytes raw, struct block *out_block, struct err *err)
{
	struct fabric_block parts;
	*out_block = (struct block){ .raw = raw };
	bool decoded = fabric_block_decode(raw, &parts, err);
	out_block->header.height = parts.number;
	if (parts.header_der_size > 0) {
		out_block->header.hash = fabric_header_hash(&parts);
		(void)hash_from_bytes(&out_block->header.parent, parts.previous_hash);
		(void)hash_from_bytes(&out_block->header.data_root, parts.data_hash);
	}
	if (!decoded)
		return false;
	if (parts.envelope_count > UINT32_MAX)
		return err_set(err, ZR_INVALID, "block %" PRIu64 " has %zu envelopes", parts.number,
		               parts.envelope_count);
	out_block->header.entry_count = (uint32_t)parts.envelope_count;
	return read_envelopes(&parts, out_block, err);
}

/* ---- trust ---- */

static bool fabric_trust_pin(struct bytes pinned, struct trust **out_trust, struct err *err)
{
	return fabric_trust_new(out_trust, pinned, err) || err_wrap(err, "pinned Fabric block");
}

static const struct block_header *fabric_trust_origin(const struct trust *trust)
{
	return &trust->origin;
}

static void fabric_trust_save(const struct trust *trust, struct buffer *out)
{
	buffer_put(out, (struct bytes){ trust->raw, trust->raw_size });
}

static void fabric_trust_describe(const struct trust *trust, struct buffer *out)
{
	char consensus[SHOWN_SIZE];
	char channel[SHOWN_SIZE];
	buffer_printf(out, "fabric channel %s, %s, config block %" PRIu64 ", block validation %s",
	              shown(trust->channel, channel), shown(trust->consensus, consensus),
	              trust->origin.height, policy_text(trust->policy));
	if (trust->quorum > 0)
		buffer_printf(out, ", %zu of %zu consenters", trust->quorum,
		              trust->consenter_count);
}

static bool follows(const struct trust *trust, const struct trust *next, struct err *err)
{
	if (!bytes_equal(trust->channel, next->channel))
		return err_set(err, ZR_UNTRUSTED, "it configures another channel");
	if (next->sequence != trust->sequence + 1)
		return err_set(err, ZR_UNTRUSTED, "it is configuration %" PRIu64 ", after %" PRIu64,
		               next->sequence, trust->sequence);
	return next->origin.height > trust->origin.height ||
	       err_set(err, ZR_UNTRUSTED, "it is older than the one in force");
}

static bool fabric_trust_next(const struct trust *trust, const struct block *block,
                              struct trust **out_trust, struct err *err)
{
	struct trust *next;
	if (!fabric_trust_new(&next, block->raw, err))
		return err_wrap(err, "config block %" PRIu64, block->header.height);
	if (!follows(trust, next, err)) {
		fabric_trust_free(next);
		return err_wrap(err, "config block %" PRIu64, block->header.height);
	}
	*out_trust = next;
	return true;
}

const struct sidechain *fabric_format(void)
{
	static const struct sidechain format = {
		.name = "fabric",
		.text = "Hyperledger Fabric 1.4.1 and later, 2.x, 3.x (Raft, Kafka, BFT).",
		.read = fabric_read,
		.trust_pin = fabric_trust_pin,
		.trust_origin = fabric_trust_origin,
		.trust_save = fabric_trust_save,
		.trust_load = fabric_trust_pin,
		.trust_free = fabric_trust_free,
		.trust_describe = fabric_trust_describe,
		.verify = fabric_verify,
		.admits = fabric_admits,
		.trust_next = fabric_trust_next,
	};
	return &format;
}
