/* trust.c -- see trust.h.
 *
 *     ConsensusType { string type = 1; bytes metadata = 2; enum state = 3; }
 *     Orderers      { repeated Consenter consenter_mapping = 1; }
 *     Consenter     { uint32 id = 1; string host = 2; uint32 port = 3; string msp_id = 4;
 *                     bytes identity = 5, client_tls_cert = 6, server_tls_cert = 7; }
 *     Capabilities  { map<string, Capability> capabilities = 1; }
 *     HashingAlgorithm { string name = 1; }  BlockDataHashingStructure { uint32 width = 1; }
 */
#include "adapters/sidechain/fabric/trust.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "adapters/sidechain/fabric/block.h"
#include "adapters/sidechain/fabric/config.h"
#include "adapters/sidechain/fabric/envelope.h"
#include "adapters/sidechain/fabric/fabric.h"
#include "adapters/sidechain/fabric/principal.h"
#include "adapters/sidechain/fabric/shown.h"
#include "adapters/sidechain/wire.h"

#define CONSENTERS_MAX   SIGNERS_MAX
#define CHANNEL_SIZE_MAX 249

/* ---- signers met before ---- */

struct seen_signer {
	struct identity *identity; /* Owned. */
	size_t creator_size;
	uint8_t creator[];
};

struct seen {
	_Atomic(struct seen_signer *) slots[SEEN_MAX];
};

static void seen_signer_free(struct seen_signer *signer)
{
	if (signer == NULL)
		return;
	identity_free(signer->identity);
	free(signer);
}

static void seen_free(struct seen *seen)
{
	if (seen == NULL)
		return;
	for (size_t i = 0; i < SEEN_MAX; i++)
		seen_signer_free(atomic_load(&seen->slots[i]));
	free(seen);
}

static const struct identity *seen_find(struct seen *seen, struct bytes creator)
{
	for (size_t i = 0; i < SEEN_MAX; i++) {
		const struct seen_signer *signer =
			atomic_load_explicit(&seen->slots[i], memory_order_acquire);
		if (signer == NULL)
			return NULL; /* Slots are filled from the first on. */
		if (bytes_equal((struct bytes){ signer->creator, signer->creator_size }, creator))
			return signer->identity;
	}
	return NULL;
}

/* One beyond reason is not worth its memory. */
#define SEEN_CREATOR_SIZE_MAX 8192

/* Takes the identity on success. Two threads may add the same signer: both find it afterwards. */
static bool seen_add(struct seen *seen, struct bytes creator, struct identity *take_identity)
{
	struct seen_signer *signer = NULL;
	if (creator.size <= SEEN_CREATOR_SIZE_MAX)
		signer = malloc(sizeof(*signer) + creator.size);
	if (signer == NULL)
		return false; /* Then it is looked at again next time. */
	signer->identity = take_identity;
	signer->creator_size = creator.size;
	memcpy(signer->creator, creator.data, creator.size);
	for (size_t i = 0; i < SEEN_MAX; i++) {
		struct seen_signer *empty = NULL;
		if (atomic_compare_exchange_strong(&seen->slots[i], &empty, signer))
			return true;
	}
	free(signer);
	return false;
}

bool fabric_trust_signer(const struct trust *trust, struct bytes creator,
                         const struct identity **out_identity, struct identity **out_own,
                         struct err *err)
{
	struct bytes msp_name;
	struct bytes pem;
	struct identity *identity;
	*out_own = NULL;
	*out_identity = seen_find(trust->seen, creator);
	if (*out_identity != NULL)
		return true;
	if (!identity_split(creator, &msp_name, &pem) || pem.size == 0)
		return err_set(err, ZR_UNTRUSTED, "a signer without an identity");
	if (!identity_new(&identity, trust->policy, &trust->orgs, msp_name, pem, err))
		return false;
	*out_identity = identity;
	if (!seen_add(trust->seen, creator, identity))
		*out_own = identity;
	return true;
}

const struct identity *fabric_trust_consenter(const struct trust *trust, uint64_t id)
{
	for (size_t i = 0; i < trust->consenter_count; i++) {
		if (trust->consenters[i].id == id)
			return trust->consenters[i].identity;
	}
	return NULL;
}

/* ---- capabilities ---- */

/* Anything newer may change what a block means. */
static const struct capability {
	const char *name;
	enum msp_level level; /* Where the channel has it. */
} channel_capabilities[] = {
	{ "V1_1", MSP_1_1 },     { "V1_3", MSP_1_1 }, { "V1_4_2", MSP_1_1 },
	{ "V1_4_3", MSP_1_4_3 }, { "V2_0", MSP_1_4_3 }, { "V3_0", MSP_3_0 },
}, orderer_capabilities[] = {
	{ "V1_1", MSP_1_0 },
	{ "V1_4_2", MSP_1_0 },
	{ "V2_0", MSP_1_0 },
};

struct capabilities {
	const struct capability *known;
	size_t count;
	const char *whose;
};

static bool add_capability(struct capabilities known, struct bytes entry, enum msp_level *level,
                           struct err *err)
{
	struct wire wire = wire_of(entry, WIRE_PLAIN);
	struct wire_field field;
	struct bytes name = BYTES_NONE;
	struct bytes content = BYTES_NONE;
	char text[SHOWN_SIZE];
	while (wire_next(&wire, &field)) {
		if (field.number == 1)
			wire_bytes(&wire, &field, &name);
		else if (field.number == 2)
			wire_message(&wire, &field, &content);
		else
			wire_unknown(&wire);
	}
	for (size_t i = 0; wire_ok(&wire) && i < known.count; i++) {
		if (!bytes_equal(name, bytes_of_string(known.known[i].name)))
			continue;
		if (known.known[i].level > *level)
			*level = known.known[i].level;
		return true;
	}
	return err_set(err, ZR_UNTRUSTED, "the %s needs capability %s, which is new to us",
	               known.whose, shown(name, text));
}

static bool read_capabilities(struct bytes group, struct capabilities known,
                              enum msp_level *out_level, struct err *err)
{
	struct bytes value;
	struct bytes entry;
	struct wire_field field;
	*out_level = MSP_1_0;
	if (!config_find(group, CONFIG_VALUE, BYTES_LITERAL("Capabilities"), &value))
		return true;
	struct wire wire = wire_of(value, WIRE_PLAIN);
	while (wire_next(&wire, &field)) {
		if (field.number != 1)
			wire_unknown(&wire);
		else if (wire_repeated(&wire, &field, &entry) &&
		         !add_capability(known, entry, out_level, err))
			return false;
	}
	return wire_ok(&wire) || err_set(err, ZR_INVALID, "malformed capabilities");
}

/* ---- hashing ---- */

/* Fabric has one way to hash blocks, and says so in two values. */
static bool check_hashing(struct bytes channel_group, struct err *err)
{
	struct bytes value;
	if (config_find(channel_group, CONFIG_VALUE, BYTES_LITERAL("HashingAlgorithm"), &value) &&
	    !bytes_equal(value, BYTES_LITERAL("\x0a\x06SHA256")))
		return err_set(err, ZR_UNTRUSTED, "the channel hashes otherwise than with SHA-256");
	if (config_find(channel_group, CONFIG_VALUE, BYTES_LITERAL("BlockDataHashingStructure"),
	                &value) &&
	    !bytes_equal(value, BYTES_LITERAL("\x08\xff\xff\xff\xff\x0f")))
		return err_set(err, ZR_UNTRUSTED, "the channel hashes its data as a tree");
	return true;
}

/* ---- consenters ---- */

struct consenter_parts {
	uint64_t id;
	struct bytes msp_name;
	struct bytes pem;
};

static bool decode_consenter(struct bytes message, struct consenter_parts *out_parts)
{
	struct wire wire = wire_of(message, WIRE_PLAIN);
	struct wire_field field;
	struct bytes ignored;
	uint64_t port;
	*out_parts = (struct consenter_parts){ .pem = BYTES_NONE };
	while (wire_next(&wire, &field)) {
		switch (field.number) {
		case 1:
			wire_u64(&wire, &field, &out_parts->id);
			break;
		case 3:
			wire_u64(&wire, &field, &port);
			break;
		case 4:
			wire_bytes(&wire, &field, &out_parts->msp_name);
			break;
		case 5:
			wire_bytes(&wire, &field, &out_parts->pem);
			break;
		case 2:
		case 6:
		case 7:
			wire_bytes(&wire, &field, &ignored);
			break;
		default:
			wire_unknown(&wire);
		}
	}
	return wire_ok(&wire) && out_parts->id <= UINT32_MAX;
}

/* One node must not count as two: neither a number nor a key stands twice. */
static bool is_new(const struct trust *trust, const struct consenter *consenter, struct err *err)
{
	for (size_t i = 0; i < trust->consenter_count; i++) {
		const struct consenter *other = &trust->consenters[i];
		if (other->id == consenter->id ||
		    (other->identity != NULL && consenter->identity != NULL &&
		     identity_same(other->identity, consenter->identity)))
			return err_set(err, ZR_UNTRUSTED, "consenters %u and %u are one",
			               (unsigned)other->id, (unsigned)consenter->id);
	}
	return true;
}

static bool add_consenter(struct trust *trust, struct bytes message, struct err *err)
{
	struct consenter_parts parts;
	if (!decode_consenter(message, &parts))
		return err_set(err, ZR_INVALID, "a malformed consenter");
	if (trust->consenter_count == CONSENTERS_MAX)
		return err_set(err, ZR_UNTRUSTED, "more than %d consenters", CONSENTERS_MAX);
	struct consenter *consenters =
		realloc(trust->consenters, (trust->consenter_count + 1) * sizeof(*consenters));
	if (consenters == NULL)
		return err_set(err, ZR_NO_MEMORY, "consenters");
	trust->consenters = consenters;
	struct consenter *consenter = &consenters[trust->consenter_count];
	*consenter = (struct consenter){ .id = (uint32_t)parts.id };
	/* One that was revoked stays in the mapping, and in N, until an administrator acts. */
	if (!identity_new(&consenter->identity, trust->policy, &trust->orgs, parts.msp_name,
	                  parts.pem, err) &&
	    err->code == ZR_NO_MEMORY)
		return false;
	if (!is_new(trust, consenter, err)) {
		identity_free(consenter->identity);
		return false;
	}
	trust->consenter_count++;
	return true;
}

static bool read_consenters(struct trust *trust, struct bytes orderer_group, struct err *err)
{
	struct bytes value;
	struct bytes message;
	struct wire_field field;
	if (!config_find(orderer_group, CONFIG_VALUE, BYTES_LITERAL("Orderers"), &value))
		return true;
	struct wire wire = wire_of(value, WIRE_PLAIN);
	while (wire_next(&wire, &field)) {
		if (field.number != 1)
			wire_unknown(&wire);
		else if (wire_repeated(&wire, &field, &message) &&
		         !add_consenter(trust, message, err))
			return false;
	}
	return wire_ok(&wire) || err_set(err, ZR_INVALID, "malformed consenters");
}

/* ---- consensus ---- */

static bool read_consensus(struct trust *trust, struct bytes orderer_group, struct err *err)
{
	struct bytes value = BYTES_NONE;
	struct bytes metadata;
	uint64_t state;
	struct wire_field field;
	(void)config_find(orderer_group, CONFIG_VALUE, BYTES_LITERAL("ConsensusType"), &value);
	struct wire wire = wire_of(value, WIRE_PLAIN);
	while (wire_next(&wire, &field)) {
		switch (field.number) {
		case 1:
			wire_bytes(&wire, &field, &trust->consensus);
			break;
		case 2:
			wire_bytes(&wire, &field, &metadata);
			break;
		case 3:
			wire_u64(&wire, &field, &state);
			break;
		default:
			wire_unknown(&wire);
		}
	}
	if (!wire_ok(&wire) || trust->consensus.size == 0)
		return err_set(err, ZR_INVALID, "no kind of consensus");
	return true;
}

/* Of n nodes, f = (n - 1) / 3 may be faulty; ceil((n + f + 1) / 2) is what two honest majorities
 * need in order to meet. */
static bool settle_quorum(struct trust *trust, struct err *err)
{
	if (!bytes_equal(trust->consensus, BYTES_LITERAL("BFT")))
		return true;
	size_t n = trust->consenter_count;
	if (!trust->by_number || n == 0)
		return err_set(err, ZR_UNTRUSTED, "BFT consensus without its consenters");
	size_t f = (n - 1) / 3;
	trust->quorum = (n + f + 2) / 2;
	return true;
}

/* ---- all of it ---- */

static bool read_orderer(struct trust *trust, struct bytes channel_group, enum msp_level level,
                         struct err *err)
{
	struct bytes group;
	enum msp_level ignored;
	struct capabilities known = { orderer_capabilities,
		                      sizeof(orderer_capabilities) /
		                              sizeof(orderer_capabilities[0]),
		                      "ordering service" };
	if (!config_find(channel_group, CONFIG_GROUP, BYTES_LITERAL("Orderer"), &group))
		return err_set(err, ZR_INVALID, "no ordering service");
	trust->by_number = level == MSP_3_0;
	return read_capabilities(group, known, &ignored, err) &&
	       read_consensus(trust, group, err) &&
	       orgs_init(&trust->orgs, channel_group, level, err) &&
	       policy_compile(&trust->policy, group, "BlockValidation", &trust->orgs, err) &&
	       (!trust->by_number || read_consenters(trust, group, err)) &&
	       settle_quorum(trust, err);
}

static bool is_channel_name(struct bytes name)
{
	for (size_t i = 0; i < name.size; i++) {
		char at = (char)name.data[i];
		bool plain = (at >= 'a' && at <= 'z') || (at >= '0' && at <= '9') || at == '.' ||
		             at == '-';
		/* Kafka's first channels had capitals and underscores. */
		if (!plain && !(at >= 'A' && at <= 'Z') && at != '_')
			return false;
	}
	return name.size > 0 && name.size <= CHANNEL_SIZE_MAX;
}

static bool read_channel(struct trust *trust, const struct fabric_envelope *envelope,
                         struct err *err)
{
	struct config config;
	enum msp_level level;
	struct capabilities known = { channel_capabilities,
		                      sizeof(channel_capabilities) /
		                              sizeof(channel_capabilities[0]),
		                      "channel" };
	if (!is_channel_name(envelope->channel))
		return err_set(err, ZR_INVALID, "a channel without a proper name");
	trust->channel = envelope->channel;
	if (!config_decode(envelope->content, &config, err))
		return false;
	trust->sequence = config.sequence;
	return check_hashing(config.channel_group, err) &&
	       read_capabilities(config.channel_group, known, &level, err) &&
	       read_orderer(trust, config.channel_group, level, err);
}

static bool read_block(struct trust *trust, struct err *err)
{
	struct bytes raw = { trust->raw, trust->raw_size };
	struct block block;
	struct fabric_block parts;
	struct fabric_envelope envelope;
	struct bytes bytes;
	if (!fabric_format()->read(raw, &block, err))
		return false;
	if (!block.changes_trust)
		return err_set(err, ZR_INVALID, "it is not a config block");
	trust->origin = block.header;
	return fabric_block_decode(raw, &parts, err) && fabric_next_envelope(&parts.data, &bytes) &&
	       fabric_envelope_decode(bytes, &envelope, err) && read_channel(trust, &envelope, err);
}

bool fabric_trust_new(struct trust **out_trust, struct bytes raw, struct err *err)
{
	struct trust *trust = calloc(1, sizeof(*trust));
	struct err ignored;
	if (trust == NULL)
		return err_set(err, ZR_NO_MEMORY, "a trust set");
	trust->raw = bytes_dup(raw);
	trust->raw_size = raw.size;
	trust->seen = calloc(1, sizeof(*trust->seen));
	if (trust->raw == NULL || trust->seen == NULL)
		(void)err_set(err, ZR_NO_MEMORY, "a trust set");
	else if (read_block(trust, err == NULL ? &ignored : err)) {
		*out_trust = trust;
		return true;
	}
	fabric_trust_free(trust);
	return false;
}

void fabric_trust_free(struct trust *trust)
{
	if (trust == NULL)
		return;
	seen_free(trust->seen);
	for (size_t i = 0; i < trust->consenter_count; i++)
		identity_free(trust->consenters[i].identity);
	free(trust->consenters);
	policy_free(trust->policy);
	orgs_fini(&trust->orgs);
	free(trust->raw);
	free(trust);
}
