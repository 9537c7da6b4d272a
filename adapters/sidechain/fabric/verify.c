/* verify.c -- a block under a trust set: its signatures, and what it says about itself.
 *
 *     Metadata             { bytes value = 1; repeated MetadataSignature signatures = 2; }
 *     MetadataSignature    { bytes signature_header = 1; bytes signature = 2;
 *                            bytes identifier_header = 3; }
 *     SignatureHeader      { bytes creator = 1; bytes nonce = 2; }
 *     IdentifierHeader     { uint32 identifier = 1; bytes nonce = 2; }
 *     OrdererBlockMetadata { LastConfig last_config = 1; bytes consenter_metadata = 2; }
 *     LastConfig           { uint64 index = 1; }
 *
 * What is signed is value || signature_header (or identifier_header) || the block header in DER.
 * As in Fabric, a signature that does not count is passed over: what decides is whether those that
 * do count are enough. Which orderers signed a copy of a block differs from copy to copy.
 */
#include "adapters/sidechain/fabric/verify.h"

#include <inttypes.h>
#include <stdlib.h>

#include "adapters/sidechain/fabric/block.h"
#include "adapters/sidechain/fabric/envelope.h"
#include "adapters/sidechain/fabric/shown.h"
#include "adapters/sidechain/wire.h"

/* What is signed may grow with new versions of Fabric: it cannot be changed on the way. */
#define SIGNED_CONTENT ((enum wire_rule)(WIRE_ONCE | WIRE_MINIMAL))

#define BAD_MAX 16 /* Signatures that do not count; after one more, nobody looks further. */

/* ---- the metadata ---- */

struct metadata {
	struct bytes value;
	struct bytes signatures[SIGNERS_MAX];
	size_t signature_count;
};

static bool decode_metadata(struct bytes message, struct metadata *out_metadata, struct err *err)
{
	struct wire wire = wire_of(message, WIRE_CANONICAL);
	struct wire_field field;
	struct bytes signature;
	out_metadata->value = BYTES_NONE;
	out_metadata->signature_count = 0;
	while (wire_next(&wire, &field)) {
		switch (field.number) {
		case 1:
			wire_bytes(&wire, &field, &out_metadata->value);
			break;
		case 2:
			if (!wire_repeated(&wire, &field, &signature))
				break;
			if (out_metadata->signature_count == SIGNERS_MAX)
				return err_set(err, ZR_INVALID, "more than %d signatures",
				               SIGNERS_MAX);
			out_metadata->signatures[out_metadata->signature_count++] = signature;
			break;
		default:
			wire_unknown(&wire);
		}
	}
	return wire_ok(&wire) || err_set(err, ZR_INVALID, "malformed signatures");
}

struct signature_parts {
	struct bytes signature_header;
	struct bytes signature;
	struct bytes identifier_header;
};

static bool decode_signature(struct bytes message, struct signature_parts *out_parts)
{
	struct wire wire = wire_of(message, WIRE_CANONICAL);
	struct wire_field field;
	*out_parts = (struct signature_parts){ .signature = BYTES_NONE };
	while (wire_next(&wire, &field)) {
		switch (field.number) {
		case 1:
			wire_bytes(&wire, &field, &out_parts->signature_header);
			break;
		case 2:
			wire_bytes(&wire, &field, &out_parts->signature);
			break;
		case 3:
			wire_bytes(&wire, &field, &out_parts->identifier_header);
			break;
		default:
			wire_unknown(&wire);
		}
	}
	/* With both headers, one of them would be signed by nobody. */
	return wire_ok(&wire) &&
	       (out_parts->signature_header.size == 0) != (out_parts->identifier_header.size == 0);
}

/* The config block that whoever signed says is in force. */
static bool decode_last_config(struct bytes value, uint64_t *out_index)
{
	struct wire wire = wire_of(value, SIGNED_CONTENT);
	struct wire_field field;
	struct bytes last_config = BYTES_NONE;
	bool found = false;
	*out_index = 0;
	while (wire_next(&wire, &field)) {
		if (field.number == 1) {
			wire_message(&wire, &field, &last_config);
			found = true;
		}
	}
	if (!wire_ok(&wire) || !found)
		return false;
	wire = wire_of(last_config, SIGNED_CONTENT);
	while (wire_next(&wire, &field)) {
		if (field.number == 1)
			wire_u64(&wire, &field, out_index);
	}
	return wire_ok(&wire);
}

/* ---- signers ---- */

/* Counting one block's signatures. */
struct tally {
	const struct trust *trust;
	const struct fabric_block *block;
	struct metadata metadata;
	const struct identity *signers[SIGNERS_MAX]; /* Whose signature is valid, each once. */
	size_t signer_count;
	struct identity *own[SIGNERS_MAX]; /* Identities that nobody else keeps. */
	size_t own_count;
	struct buffer scratch; /* What one signature covers. */
};

static void tally_fini(struct tally *tally)
{
	for (size_t i = 0; i < tally->own_count; i++)
		identity_free(tally->own[i]);
	buffer_fini(&tally->scratch);
}

static bool is_counted(const struct tally *tally, const struct identity *identity)
{
	for (size_t i = 0; i < tally->signer_count; i++) {
		if (identity_same(tally->signers[i], identity))
			return true;
	}
	return false;
}

static bool find_by_number(const struct trust *trust, struct bytes header,
                           const struct identity **out_identity, struct err *err)
{
	struct wire wire = wire_of(header, SIGNED_CONTENT);
	struct wire_field field;
	uint64_t number = 0;
	if (!trust->by_number)
		return err_set(err, ZR_UNTRUSTED, "a signer named by number, in a channel without");
	while (wire_next(&wire, &field)) {
		if (field.number == 1)
			wire_u64(&wire, &field, &number);
	}
	*out_identity = wire_ok(&wire) ? fabric_trust_consenter(trust, number) : NULL;
	if (*out_identity == NULL)
		return err_set(err, ZR_UNTRUSTED, "signer %" PRIu64 " is no consenter that counts",
		               number);
	return true;
}

static bool find_by_identity(struct tally *tally, struct bytes header,
                             const struct identity **out_identity, struct err *err)
{
	struct wire wire = wire_of(header, SIGNED_CONTENT);
	struct wire_field field;
	struct bytes creator = BYTES_NONE;
	struct identity *own;
	while (wire_next(&wire, &field)) {
		if (field.number == 1)
			wire_bytes(&wire, &field, &creator);
	}
	if (!wire_ok(&wire))
		return err_set(err, ZR_UNTRUSTED, "a malformed signature header");
	if (!fabric_trust_signer(tally->trust, creator, out_identity, &own, err))
		return false;
	if (own != NULL)
		tally->own[tally->own_count++] = own;
	return true;
}

/* Counts one signature if it is valid. */
static bool count_signature(struct tally *tally, struct bytes message, struct err *err)
{
	struct signature_parts parts;
	const struct identity *identity;
	if (!decode_signature(message, &parts))
		return err_set(err, ZR_UNTRUSTED, "a malformed signature");
	bool numbered = parts.identifier_header.size > 0;
	struct bytes header = numbered ? parts.identifier_header : parts.signature_header;
	if (numbered ? !find_by_number(tally->trust, header, &identity, err)
	             : !find_by_identity(tally, header, &identity, err))
		return false;
	if (is_counted(tally, identity))
		return err_set(err, ZR_UNTRUSTED, "%s signed twice",
		               cert_subject(identity_cert(identity)));

	const struct fabric_block *block = tally->block;
	buffer_clear(&tally->scratch);
	buffer_put(&tally->scratch, tally->metadata.value);
	buffer_put(&tally->scratch, header);
	buffer_put(&tally->scratch, (struct bytes){ block->header_der, block->header_der_size });
	if (!buffer_ok(&tally->scratch, err))
		return false;
	if (!key_verify(identity_key(identity), buffer_bytes(&tally->scratch), parts.signature,
	                VERIFY_LOW_S, err))
		return err_wrap(err, "%s", cert_subject(identity_cert(identity)));
	tally->signers[tally->signer_count++] = identity;
	return true;
}

/* ---- enough of them ---- */

static size_t count_consenters(const struct tally *tally)
{
	size_t count = 0;
	for (size_t i = 0; i < tally->trust->consenter_count; i++) {
		const struct identity *identity = tally->trust->consenters[i].identity;
		if (identity != NULL && is_counted(tally, identity))
			count++;
	}
	return count;
}

/* why: what was wrong with the first signature that did not count, or nothing. */
static bool is_enough(const struct tally *tally, const struct err *why, struct err *err)
{
	const char *text = why->code == ZR_OK ? "" : why->message;
	const char *colon = why->code == ZR_OK ? "" : "; one does not count: ";
	size_t consenters = count_consenters(tally);
	if (consenters < tally->trust->quorum)
		return err_set(err, ZR_UNTRUSTED, "%zu consenters signed, %zu must%s%s", consenters,
		               tally->trust->quorum, colon, text);
	if (!policy_is_satisfied(tally->trust->policy, tally->signers, tally->signer_count))
		return err_set(err, ZR_UNTRUSTED, "%zu valid signatures do not satisfy %s%s%s",
		               tally->signer_count, policy_text(tally->trust->policy), colon, text);
	return true;
}

/* Stops as soon as there are enough. An orderer writes no signature that does not count, so one who
 * sends many of them only wants us to look at them. */
static bool count_signatures(struct tally *tally, struct err *err)
{
	struct err why = { .code = ZR_OK };
	size_t bad_count = 0;
	for (size_t i = 0; i < tally->metadata.signature_count && bad_count <= BAD_MAX; i++) {
		struct err reason;
		if (count_signature(tally, tally->metadata.signatures[i], &reason)) {
			if (tally->signer_count >= tally->trust->quorum &&
			    is_enough(tally, &why, NULL))
				return true;
			continue;
		}
		if (reason.code == ZR_NO_MEMORY)
			return err_set(err, ZR_NO_MEMORY, "%s", reason.message);
		if (bad_count++ == 0)
			why = reason;
	}
	return is_enough(tally, &why, err);
}

static bool is_origin(const struct trust *trust, const struct block *block)
{
	return block->header.height == trust->origin.height &&
	       hash_equal(&block->header.hash, &trust->origin.hash);
}

bool fabric_verify(const struct trust *trust, const struct block *block, struct err *err)
{
	struct fabric_block parts;
	if (is_origin(trust, block))
		return true;
	struct tally tally = { .trust = trust, .block = &parts, .scratch = BUFFER_EMPTY };
	bool ok = fabric_block_decode(block->raw, &parts, err) &&
	          decode_metadata(parts.signatures, &tally.metadata, err) &&
	          count_signatures(&tally, err);
	tally_fini(&tally);
	return ok || err_wrap(err, "block %" PRIu64, block->header.height);
}

/* ---- what it says about itself ---- */

static bool check_last_config(const struct trust *trust, const struct block *block,
                              struct bytes signatures, struct err *err)
{
	struct metadata metadata;
	uint64_t index;
	if (!decode_metadata(signatures, &metadata, err))
		return false;
	if (metadata.value.size == 0)
		return err_set(err, ZR_UNTRUSTED,
		               "it does not say which configuration is in force, as Fabric does "
		               "from 1.4.1 on");
	if (!decode_last_config(metadata.value, &index))
		return err_set(err, ZR_INVALID, "malformed orderer metadata");
	/* A config block is the first to be in force for itself. */
	uint64_t expected = block->changes_trust ? block->header.height : trust->origin.height;
	if (index != expected)
		return err_set(err, ZR_UNTRUSTED,
		               "it was made under config block %" PRIu64 ", in force is %" PRIu64,
		               index, expected);
	return true;
}

static bool check_channel(const struct trust *trust, struct bytes data, struct err *err)
{
	struct bytes bytes;
	struct fabric_envelope envelope;
	char theirs[SHOWN_SIZE];
	char ours[SHOWN_SIZE];
	for (size_t i = 0; fabric_next_envelope(&data, &bytes); i++) {
		if (!fabric_envelope_decode(bytes, &envelope, err))
			return err_wrap(err, "envelope %zu", i);
		/* What Fabric cannot read it orders as it is, and no peer believes it. */
		if (envelope.readable && !bytes_equal(envelope.channel, trust->channel))
			return err_set(
				err, ZR_UNTRUSTED, "envelope %zu is of channel \"%s\", not \"%s\"",
				i, shown(envelope.channel, theirs), shown(trust->channel, ours));
	}
	return true;
}

bool fabric_admits(const struct trust *trust, const struct block *block, struct err *err)
{
	struct fabric_block parts;
	if (is_origin(trust, block))
		return true;
	return (fabric_block_decode(block->raw, &parts, err) &&
	        check_channel(trust, parts.data, err) &&
	        check_last_config(trust, block, parts.signatures, err)) ||
	       err_wrap(err, "block %" PRIu64, block->header.height);
}
