/* envelope.c -- see envelope.h.
 *
 *     Envelope      { bytes payload = 1; bytes signature = 2; }
 *     Payload       { Header header = 1; bytes data = 2; }
 *     Header        { bytes channel_header = 1; bytes signature_header = 2; }
 *     ChannelHeader { int32 type = 1; int32 version = 2; Timestamp timestamp = 3;
 *                     string channel_id = 4; ... }
 *     Timestamp     { int64 seconds = 1; int32 nanos = 2; }
 *
 * The envelope itself is read strictly. What is inside was written by clients in any language, and
 * Fabric orders it as long as Go can decode it: it is read as Go does.
 */
#include "adapters/sidechain/fabric/envelope.h"

#include "adapters/sidechain/wire.h"

#define SECONDS_MAX INT64_C(253402300799) /* The last second of the year 9999. */

static int64_t decode_time(struct bytes message)
{
	struct wire wire = wire_of(message, WIRE_GO);
	struct wire_field field;
	uint64_t seconds = 0;
	uint64_t nanos = 0;
	while (wire_next(&wire, &field)) {
		if (field.number == 1)
			wire_u64(&wire, &field, &seconds);
		else if (field.number == 2)
			wire_u64(&wire, &field, &nanos);
	}
	if (!wire_ok(&wire) || seconds > (uint64_t)SECONDS_MAX || nanos > 999999999)
		return 0;
	return (int64_t)seconds * 1000 + (int64_t)nanos / 1000000;
}

static bool decode_channel_header(struct bytes message, struct fabric_envelope *envelope)
{
	struct wire wire = wire_of(message, WIRE_GO);
	struct wire_field field;
	uint64_t type = 0;
	struct bytes time = BYTES_NONE;
	while (wire_next(&wire, &field)) {
		switch (field.number) {
		case 1:
			wire_u64(&wire, &field, &type);
			break;
		case 3:
			wire_message(&wire, &field, &time);
			break;
		case 4:
			wire_bytes(&wire, &field, &envelope->channel);
			break;
		default:
			wire_unknown(&wire);
		}
	}
	envelope->type = (int32_t)(uint32_t)type;
	envelope->time_ms = decode_time(time);
	return wire_ok(&wire);
}

/* Called for each occurrence of a Header: Go merges several into one. */
static bool merge_header(struct bytes message, struct bytes *channel_header)
{
	struct wire wire = wire_of(message, WIRE_GO);
	struct wire_field field;
	while (wire_next(&wire, &field)) {
		if (field.number == 1)
			wire_bytes(&wire, &field, channel_header);
	}
	return wire_ok(&wire);
}

static bool decode_payload(struct fabric_envelope *envelope)
{
	struct wire wire = wire_of(envelope->payload, WIRE_GO);
	struct wire_field field;
	struct bytes header;
	struct bytes channel_header = BYTES_NONE;
	while (wire_next(&wire, &field)) {
		if (field.number == 1 && wire_repeated(&wire, &field, &header)) {
			if (!merge_header(header, &channel_header))
				return false;
		} else if (field.number == 2) {
			wire_bytes(&wire, &field, &envelope->content);
		}
	}
	return wire_ok(&wire) && decode_channel_header(channel_header, envelope);
}

bool fabric_envelope_decode(struct bytes bytes, struct fabric_envelope *out_envelope,
                            struct err *err)
{
	struct wire wire = wire_of(bytes, WIRE_CANONICAL);
	struct wire_field field;
	struct fabric_envelope envelope = { .payload = BYTES_NONE };
	while (wire_next(&wire, &field)) {
		switch (field.number) {
		case 1:
			wire_bytes(&wire, &field, &envelope.payload);
			break;
		case 2:
			wire_bytes(&wire, &field, &envelope.signature);
			break;
		default:
			wire_unknown(&wire);
		}
	}
	if (!wire_ok(&wire) || envelope.payload.size == 0)
		return err_set(err, ZR_INVALID, "not in canonical form");
	envelope.readable = decode_payload(&envelope);
	*out_envelope = envelope;
	return true;
}
