/* fabric_gen.c -- see fabric_gen.h. */
#include "tests/lib/fabric_gen.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "adapters/sidechain/fabric/fabric.h"
#include "adapters/sidechain/wire.h"
#include "tests/lib/fabric_gen_pki.h"

#define REQUIRED_UNIT "SEALERS"

static void must(bool ok, const struct err *err)
{
	if (ok)
		return;
	fprintf(stderr, "fabric_gen: %s\n", err->message);
	abort();
}

static struct bytes text(const char *string)
{
	return bytes_of_string(string);
}

/* Puts inner into out as a message, and empties inner. */
static void wrap(struct buffer *out, uint32_t number, struct buffer *inner)
{
	wire_put_message(out, number, buffer_bytes(inner));
	buffer_fini(inner);
}

/* ---- people ---- */

struct gen_org *gen_org_new(const char *name, unsigned flags)
{
	struct gen_org *org = calloc(1, sizeof(*org));
	if (org == NULL)
		abort();
	(void)snprintf(org->name, sizeof(org->name), "%s", name);
	(void)snprintf(org->msp, sizeof(org->msp), "%sMSP", org->name);
	org->flags = flags;
	org->root = gen_ca_new(name, NULL);
	org->issuer = org->root;
	if ((flags & GEN_INTERMEDIATE) != 0) {
		char below[48];
		(void)snprintf(below, sizeof(below), "int.%s", org->name);
		org->issuer = gen_ca_new(below, org->root);
	}
	return org;
}

void gen_org_free(struct gen_org *org)
{
	if (org == NULL)
		return;
	if (org->issuer != org->root)
		gen_ca_free(org->issuer);
	gen_ca_free(org->root);
	buffer_fini(&org->crl);
	buffer_fini(&org->admins);
	buffer_fini(&org->writers);
	buffer_fini(&org->extra);
	free(org);
}

struct gen_node *gen_node_new(struct gen_org *org, const char *unit, enum suite suite)
{
	struct err err;
	struct gen_node *node = calloc(1, sizeof(*node));
	if (node == NULL)
		abort();
	node->org = org;
	must(key_generate(&node->key, suite, &err), &err);
	gen_ca_issue(org->issuer, node->key, unit, false, &node->pem);
	return node;
}

struct gen_node *gen_node_again(const struct gen_node *node, const char *unit)
{
	struct err err;
	struct buffer pem = BUFFER_EMPTY;
	struct gen_node *again = calloc(1, sizeof(*again));
	if (again == NULL)
		abort();
	again->org = node->org;
	must(key_to_pem(node->key, true, &pem, &err), &err);
	must(key_from_pem(&again->key, buffer_bytes(&pem), &err), &err);
	buffer_fini(&pem);
	gen_ca_issue(node->org->issuer, again->key, unit, false, &again->pem);
	return again;
}

void gen_node_free(struct gen_node *node)
{
	if (node == NULL)
		return;
	key_free(node->key);
	buffer_fini(&node->pem);
	free(node);
}

void gen_revoke(const struct gen_node *node)
{
	gen_ca_revoke(node->org->issuer, buffer_bytes(&node->pem), &node->org->crl);
}

void gen_identity(const struct gen_node *node, struct buffer *out)
{
	wire_put_bytes(out, 1, text(node->org->msp));
	wire_put_bytes(out, 2, buffer_bytes(&node->pem));
}

/* ---- policies ---- */

static void put_policy(struct buffer *out, unsigned type, struct buffer *content)
{
	buffer_clear(out);
	wire_put_u64(out, 1, type);
	wire_put_bytes(out, 2, buffer_bytes(content));
	buffer_fini(content);
}

void gen_policy_meta(struct buffer *out, unsigned rule, const char *name)
{
	struct buffer content = BUFFER_EMPTY;
	wire_put_bytes(&content, 1, text(name));
	wire_put_u64(&content, 2, rule);
	put_policy(out, 3, &content);
}

static void put_principal(struct buffer *out, unsigned kind, struct buffer *content)
{
	buffer_clear(out);
	wire_put_u64(out, 1, kind);
	wire_put_bytes(out, 2, buffer_bytes(content));
	buffer_fini(content);
}

void gen_principal_role(struct buffer *out, const char *msp, unsigned role)
{
	struct buffer content = BUFFER_EMPTY;
	wire_put_bytes(&content, 1, text(msp));
	wire_put_u64(&content, 2, role);
	put_principal(out, 0, &content);
}

void gen_principal_unit(struct buffer *out, const char *msp, const char *unit,
                        struct bytes certifiers)
{
	struct buffer content = BUFFER_EMPTY;
	wire_put_bytes(&content, 1, text(msp));
	wire_put_bytes(&content, 2, text(unit));
	wire_put_bytes(&content, 3, certifiers);
	put_principal(out, 1, &content);
}

void gen_principal_identity(struct buffer *out, const struct gen_node *node)
{
	struct buffer content = BUFFER_EMPTY;
	gen_identity(node, &content);
	put_principal(out, 2, &content);
}

void gen_policy_signatures(struct buffer *out, unsigned needed, const struct buffer *principals,
                           size_t count)
{
	struct buffer n_of = BUFFER_EMPTY;
	struct buffer rule = BUFFER_EMPTY;
	struct buffer content = BUFFER_EMPTY;
	wire_put_u64(&n_of, 1, needed);
	for (size_t i = 0; i < count; i++) {
		/* signed_by is a member of a oneof: present even where it is 0. */
		uint8_t signed_by[2] = { 0x08, (uint8_t)i };
		wire_put_message(&n_of, 2, (struct bytes){ signed_by, 2 });
	}
	wrap(&rule, 2, &n_of);
	wrap(&content, 2, &rule);
	for (size_t i = 0; i < count; i++)
		wire_put_message(&content, 3, buffer_bytes(&principals[i]));
	put_policy(out, 1, &content);
}

/* ---- the configuration ---- */

/* A member of a map, whose value is { 2: content, 3: "Admins" }. */
static void put_leaf(struct buffer *group, uint32_t kind, const char *name, struct bytes content)
{
	struct buffer leaf = BUFFER_EMPTY;
	struct buffer entry = BUFFER_EMPTY;
	wire_put_bytes(&leaf, 2, content);
	wire_put_bytes(&leaf, 3, text("Admins"));
	wire_put_bytes(&entry, 1, text(name));
	wrap(&entry, 2, &leaf);
	wrap(group, kind, &entry);
}

static void put_value(struct buffer *group, const char *name, struct buffer *content)
{
	put_leaf(group, 3, name, buffer_bytes(content));
	buffer_fini(content);
}

static void put_meta_policy(struct buffer *group, const char *name, unsigned rule, const char *of)
{
	struct buffer policy = BUFFER_EMPTY;
	gen_policy_meta(&policy, rule, of);
	put_leaf(group, 4, name, buffer_bytes(&policy));
	buffer_fini(&policy);
}

static void put_group(struct buffer *group, const char *name, struct buffer *content)
{
	struct buffer entry = BUFFER_EMPTY;
	wire_put_bytes(&entry, 1, text(name));
	wrap(&entry, 2, content);
	wrap(group, 2, &entry);
}

static void put_capability(struct buffer *group, const char *name)
{
	struct buffer entry = BUFFER_EMPTY;
	struct buffer value = BUFFER_EMPTY;
	wire_put_bytes(&entry, 1, text(name));
	wire_put_message(&entry, 2, BYTES_NONE);
	wrap(&value, 1, &entry);
	put_value(group, "Capabilities", &value);
}

static void put_unit(struct buffer *out, uint32_t number, const struct gen_ca *ca, const char *unit)
{
	struct buffer message = BUFFER_EMPTY;
	struct buffer pem = BUFFER_EMPTY;
	gen_ca_pem(ca, &pem);
	wire_put_bytes(&message, 1, buffer_bytes(&pem));
	wire_put_bytes(&message, 2, text(unit));
	wrap(out, number, &message);
	buffer_fini(&pem);
}

static void put_msp(struct buffer *group, const struct gen_org *org)
{
	struct buffer msp = BUFFER_EMPTY;
	struct buffer pem = BUFFER_EMPTY;
	struct buffer crypto = BUFFER_EMPTY;
	struct buffer value = BUFFER_EMPTY;
	wire_put_bytes(&msp, 1, text(org->msp));
	gen_ca_pem(org->root, &pem);
	wire_put_message(&msp, 2, buffer_bytes(&pem));
	buffer_clear(&pem);
	if (org->issuer != org->root) {
		gen_ca_pem(org->issuer, &pem);
		wire_put_message(&msp, 3, buffer_bytes(&pem));
	}
	buffer_fini(&pem);
	if (org->admins.size > 0)
		wire_put_message(&msp, 4, buffer_bytes(&org->admins));
	if (org->crl.size > 0)
		wire_put_message(&msp, 5, buffer_bytes(&org->crl));
	if ((org->flags & GEN_REQUIRED_OU) != 0)
		put_unit(&msp, 7, org->issuer, REQUIRED_UNIT);
	wire_put_bytes(&crypto, 1, text((org->flags & GEN_SHA3) != 0 ? "SHA3" : "SHA2"));
	wire_put_bytes(&crypto, 2, text("SHA256"));
	wrap(&msp, 8, &crypto);
	if ((org->flags & GEN_NODE_OUS) != 0) {
		struct buffer units = BUFFER_EMPTY;
		bool of_root = (org->flags & GEN_ROOT_OUS) != 0;
		const struct gen_ca *ca = of_root ? org->root : org->issuer;
		wire_put_u64(&units, 1, 1);
		put_unit(&units, 2, ca, "client");
		put_unit(&units, 3, ca, "peer");
		put_unit(&units, 4, ca, "admin");
		put_unit(&units, 5, ca, "orderer");
		wrap(&msp, 11, &units);
	}
	buffer_put(&msp, buffer_bytes(&org->extra));
	wire_put_bytes(&value, 2, buffer_bytes(&msp));
	buffer_fini(&msp);
	put_value(group, "MSP", &value);
}

static void put_org(struct buffer *group, const struct gen_org *org)
{
	struct buffer content = BUFFER_EMPTY;
	struct buffer policy = BUFFER_EMPTY;
	struct buffer member = BUFFER_EMPTY;
	put_msp(&content, org);
	if (org->writers.size > 0) {
		buffer_put(&policy, buffer_bytes(&org->writers));
	} else {
		gen_principal_role(&member, org->msp, 0);
		gen_policy_signatures(&policy, 1, &member, 1);
	}
	put_leaf(&content, 4, "Readers", buffer_bytes(&policy));
	put_leaf(&content, 4, "Writers", buffer_bytes(&policy));
	buffer_fini(&member);
	buffer_fini(&policy);
	put_group(group, org->name, &content);
}

static size_t quorum_of(const struct gen_channel *channel)
{
	size_t n = channel->node_count;
	return (n + (n - 1) / 3 + 2) / 2;
}

static void put_consenters(struct buffer *group, const struct gen_channel *channel)
{
	struct buffer value = BUFFER_EMPTY;
	for (size_t i = 0; i < channel->node_count; i++) {
		const struct gen_node *node = channel->nodes[i];
		struct buffer consenter = BUFFER_EMPTY;
		wire_put_u64(&consenter, 1, node->id);
		wire_put_bytes(&consenter, 2, text("127.0.0.1"));
		wire_put_u64(&consenter, 3, 7050 + i);
		wire_put_bytes(&consenter, 4, text(node->org->msp));
		wire_put_bytes(&consenter, 5, buffer_bytes(&node->pem));
		wrap(&value, 1, &consenter);
	}
	put_value(group, "Orderers", &value);
}

static void put_block_validation(struct buffer *group, const struct gen_channel *channel)
{
	struct buffer policy = BUFFER_EMPTY;
	if (channel->block_validation.size > 0) {
		buffer_put(&policy, buffer_bytes(&channel->block_validation));
	} else if (channel->options.kind == GEN_BFT) {
		struct buffer principals[GEN_NODES_MAX] = { BUFFER_EMPTY };
		for (size_t i = 0; i < channel->node_count; i++)
			gen_principal_identity(&principals[i], channel->nodes[i]);
		gen_policy_signatures(&policy, (unsigned)quorum_of(channel), principals,
		                      channel->node_count);
		for (size_t i = 0; i < channel->node_count; i++)
			buffer_fini(&principals[i]);
	} else {
		gen_policy_meta(&policy, 0, "Writers");
	}
	put_leaf(group, 4, "BlockValidation", buffer_bytes(&policy));
	buffer_fini(&policy);
}

static void put_orderer_group(struct buffer *group, const struct gen_channel *channel)
{
	struct buffer content = BUFFER_EMPTY;
	struct buffer consensus = BUFFER_EMPTY;
	bool is_bft = channel->options.kind == GEN_BFT;
	for (size_t i = 0; i < channel->org_count; i++)
		put_org(&content, channel->orgs[i]);
	put_capability(&content, "V2_0");
	wire_put_bytes(&consensus, 1, text(is_bft ? "BFT" : "etcdraft"));
	put_value(&content, "ConsensusType", &consensus);
	if (is_bft)
		put_consenters(&content, channel);
	put_block_validation(&content, channel);
	put_meta_policy(&content, "Writers", 0, "Writers");
	wire_put_bytes(&content, 5, text("Admins"));
	put_group(group, "Orderer", &content);
}

void gen_channel_group(const struct gen_channel *channel, struct buffer *out)
{
	struct buffer value = BUFFER_EMPTY;
	struct buffer content = BUFFER_EMPTY;
	const char *capability = channel->options.capability;
	if (capability == NULL)
		capability = channel->options.kind == GEN_BFT ? "V3_0" : "V2_0";
	put_orderer_group(out, channel);
	put_org(&content, channel->client_org);
	put_group(out, "Application", &content);
	wire_put_bytes(&value, 1, text("SHA256"));
	put_value(out, "HashingAlgorithm", &value);
	wire_put_u64(&value, 1, UINT32_MAX);
	put_value(out, "BlockDataHashingStructure", &value);
	put_capability(out, capability);
	put_meta_policy(out, "Writers", 0, "Writers");
	wire_put_bytes(out, 5, text("Admins"));
}

/* ---- envelopes ---- */

#define TYPE_CONFIG      1
#define TYPE_TRANSACTION 3

static void put_payload(struct buffer *out, const struct gen_channel *channel,
                        const struct gen_draft *draft, unsigned type, struct bytes content)
{
	struct buffer time = BUFFER_EMPTY;
	struct buffer channel_header = BUFFER_EMPTY;
	struct buffer creator = BUFFER_EMPTY;
	struct buffer signature_header = BUFFER_EMPTY;
	struct buffer header = BUFFER_EMPTY;
	wire_put_u64(&time, 1, 1700000000 + draft->height);
	wire_put_u64(&time, 2, 5000000);
	wire_put_u64(&channel_header, 1, type);
	wrap(&channel_header, 3, &time);
	wire_put_bytes(&channel_header, 4, text(draft->channel));
	gen_identity(channel->client, &creator);
	wrap(&signature_header, 1, &creator);
	wrap(&header, 1, &channel_header);
	wrap(&header, 2, &signature_header);
	wrap(out, 1, &header);
	wire_put_bytes(out, 2, content);
}

/* Nobody here checks what a client signed: bytes of the right size will do. */
static void put_envelope(struct buffer *data, struct buffer *payload, bool is_signed)
{
	static const uint8_t signature[70] = { 0x30, 0x44, 0x02, 0x20 };
	struct buffer envelope = BUFFER_EMPTY;
	wrap(&envelope, 1, payload);
	if (is_signed)
		wire_put_bytes(&envelope, 2, BYTES_OF(signature));
	wrap(data, 1, &envelope);
}

static void put_transaction(struct buffer *data, const struct gen_channel *channel,
                            const struct gen_draft *draft, size_t number)
{
	struct buffer content = BUFFER_EMPTY;
	struct buffer payload = BUFFER_EMPTY;
	uint64_t noise = (draft->height << 16 | number) * UINT64_C(0x9e3779b97f4a7c15) + 1;
	while (content.size < draft->tx_size) {
		noise ^= noise << 13;
		noise ^= noise >> 7;
		noise ^= noise << 17;
		buffer_printf(&content, "%016llx", (unsigned long long)noise);
	}
	put_payload(&payload, channel, draft, TYPE_TRANSACTION, buffer_bytes(&content));
	buffer_fini(&content);
	put_envelope(data, &payload, true);
}

/* ---- signing ---- */

static void put_signature(struct buffer *metadata, const struct gen_channel *channel,
                          const struct gen_draft *draft, const struct gen_node *node,
                          const struct bytes covered[2])
{
	struct err err;
	struct signature signature;
	struct buffer by_number = BUFFER_EMPTY;
	struct buffer by_identity = BUFFER_EMPTY;
	struct buffer creator = BUFFER_EMPTY;
	struct buffer message = BUFFER_EMPTY;
	struct buffer out = BUFFER_EMPTY;
	bool numbered = channel->options.kind == GEN_BFT && !draft->by_identity;
	uint8_t nonce[24];
	memset(nonce, (int)(draft->height & 0x7f) + 1, sizeof(nonce));
	wire_put_u64(&by_number, 1, node->id);
	wire_put_bytes(&by_number, 2, BYTES_OF(nonce));
	gen_identity(node, &creator);
	wrap(&by_identity, 1, &creator);
	wire_put_bytes(&by_identity, 2, BYTES_OF(nonce));

	buffer_put(&message, covered[0]);
	buffer_put(&message, buffer_bytes(numbered ? &by_number : &by_identity));
	buffer_put(&message, covered[1]);
	must(key_sign(node->key, buffer_bytes(&message), &signature, &err), &err);
	if (draft->is_high_s)
		gen_flip_s(&signature);
	if (!numbered || draft->has_both)
		wire_put_bytes(&out, 1, buffer_bytes(&by_identity));
	wire_put_bytes(&out, 2, signature_bytes(&signature));
	if (numbered || draft->has_both)
		wire_put_bytes(&out, 3, buffer_bytes(&by_number));
	wrap(metadata, 2, &out);
	buffer_fini(&message);
	buffer_fini(&by_number);
	buffer_fini(&by_identity);
}

/* The header in DER, written another way than the code under test does. */
static void put_der(struct buffer *out, const struct gen_draft *draft, const struct hash *data)
{
	struct buffer body = BUFFER_EMPTY;
	uint8_t number[9] = { 0 };
	put_be64(number + 1, draft->height);
	const uint8_t *at = number;
	while (at < number + 8 && at[0] == 0 && at[1] < 0x80)
		at++;
	size_t size = (size_t)(number + 9 - at);
	buffer_put_u8(&body, 0x02);
	buffer_put_short(&body, (struct bytes){ at, size });
	buffer_put_u8(&body, 0x04);
	buffer_put_short(&body, draft->height == 0 ? BYTES_NONE : BYTES_OF(draft->parent));
	buffer_put_u8(&body, 0x04);
	buffer_put_short(&body, BYTES_OF(*data));
	buffer_put_u8(out, 0x30);
	buffer_put_short(out, buffer_bytes(&body));
	buffer_fini(&body);
}

static void put_metadata(struct buffer *block, const struct gen_channel *channel,
                         const struct gen_draft *draft, struct bytes der)
{
	struct buffer last_config = BUFFER_EMPTY;
	struct buffer value = BUFFER_EMPTY;
	struct buffer metadata = BUFFER_EMPTY;
	struct buffer list = BUFFER_EMPTY;
	wire_put_u64(&last_config, 1, draft->last_config);
	wrap(&value, 1, &last_config);
	if (draft->has_no_value)
		buffer_clear(&value);
	wire_put_bytes(&metadata, 1, buffer_bytes(&value));
	const struct bytes covered[2] = { buffer_bytes(&value), der };
	for (size_t i = 0; i < draft->signer_count; i++)
		put_signature(&metadata, channel, draft, draft->signers[i], covered);
	wrap(&list, 1, &metadata);
	for (int i = 0; i < 4; i++)
		wire_put_message(&list, 1, BYTES_NONE);
	wrap(block, 3, &list);
	buffer_fini(&value);
}

/* The data hash covers the envelopes without their tags and lengths. */
static struct hash hash_of_data(struct bytes data)
{
	struct buffer whole = BUFFER_EMPTY;
	struct wire wire = wire_of(data, WIRE_CANONICAL);
	struct wire_field field;
	while (wire_next(&wire, &field))
		buffer_put(&whole, field.bytes);
	struct hash hash = sha256(buffer_bytes(&whole));
	buffer_fini(&whole);
	return hash;
}

/* Takes data. */
static void seal(const struct gen_channel *channel, const struct gen_draft *draft,
                 struct buffer *data, struct buffer *out)
{
	struct err err;
	struct buffer header = BUFFER_EMPTY;
	struct buffer der = BUFFER_EMPTY;
	struct hash data_hash = hash_of_data(buffer_bytes(data));
	wire_put_u64(&header, 1, draft->height);
	if (draft->height > 0)
		wire_put_bytes(&header, 2, BYTES_OF(draft->parent));
	wire_put_bytes(&header, 3, BYTES_OF(data_hash));
	put_der(&der, draft, &data_hash);
	buffer_clear(out);
	wrap(out, 1, &header);
	wrap(out, 2, data);
	put_metadata(out, channel, draft, buffer_bytes(&der));
	buffer_fini(&der);
	must(buffer_ok(out, &err), &err);
}

void gen_seal_config(const struct gen_channel *channel, const struct gen_draft *draft,
                     struct bytes content, struct buffer *out)
{
	struct buffer data = BUFFER_EMPTY;
	struct buffer payload = BUFFER_EMPTY;
	put_payload(&payload, channel, draft, TYPE_CONFIG, content);
	put_envelope(&data, &payload, draft->height > 0);
	seal(channel, draft, &data, out);
}

void gen_seal(const struct gen_channel *channel, const struct gen_draft *draft, struct buffer *out)
{
	struct buffer data = BUFFER_EMPTY;
	if (!draft->is_config) {
		for (size_t i = 0; i < draft->tx_count; i++)
			put_transaction(&data, channel, draft, i);
		seal(channel, draft, &data, out);
		return;
	}
	struct buffer group = BUFFER_EMPTY;
	struct buffer config = BUFFER_EMPTY;
	struct buffer content = BUFFER_EMPTY;
	gen_channel_group(channel, &group);
	wire_put_u64(&config, 1, channel->sequence);
	wrap(&config, 2, &group);
	wrap(&content, 1, &config);
	gen_seal_config(channel, draft, buffer_bytes(&content), out);
	buffer_fini(&content);
}

/* ---- the channel ---- */

struct gen_channel *gen_channel_new(const struct gen_options *options)
{
	struct gen_channel *channel = calloc(1, sizeof(*channel));
	if (channel == NULL || options->node_count > GEN_NODES_MAX)
		abort();
	channel->options = *options;
	if (channel->options.suite == 0)
		channel->options.suite = SUITE_SHA256_P256;
	channel->org_count = options->org_count == 0 ? 1 : options->org_count;
	for (size_t i = 0; i < channel->org_count; i++) {
		char name[16];
		(void)snprintf(name, sizeof(name), "Org%zu", i);
		channel->orgs[i] = gen_org_new(name, options->org_flags);
	}
	const char *unit = (options->org_flags & GEN_REQUIRED_OU) != 0 ? REQUIRED_UNIT : "orderer";
	for (size_t i = 0; i < options->node_count; i++) {
		channel->nodes[i] = gen_node_new(channel->orgs[i % channel->org_count], unit,
		                                 channel->options.suite);
		channel->nodes[i]->id = (uint32_t)i + 1;
	}
	channel->node_count = options->node_count;
	channel->client_org = gen_org_new("Clients", 0);
	channel->client = gen_node_new(channel->client_org, "client", SUITE_SHA256_P256);
	return channel;
}

void gen_channel_free(struct gen_channel *channel)
{
	for (size_t i = 0; i < channel->node_count; i++)
		gen_node_free(channel->nodes[i]);
	for (size_t i = 0; i < channel->org_count; i++)
		gen_org_free(channel->orgs[i]);
	gen_node_free(channel->client);
	gen_org_free(channel->client_org);
	buffer_fini(&channel->block_validation);
	free(channel);
}

struct gen_draft gen_draft(const struct gen_channel *channel)
{
	struct gen_draft draft = { .channel = channel->options.name,
		                   .height = channel->height,
		                   .parent = channel->tip,
		                   .last_config = channel->last_config,
		                   .tx_count = 2,
		                   .tx_size = 400 };
	draft.signer_count = channel->options.kind == GEN_BFT ? quorum_of(channel) : 1;
	if (channel->height == 0)
		draft.signer_count = 0;
	for (size_t i = 0; i < draft.signer_count; i++)
		draft.signers[i] = channel->nodes[i];
	return draft;
}

struct gen_draft gen_config_draft(const struct gen_channel *channel)
{
	struct gen_draft draft = gen_draft(channel);
	draft.is_config = true;
	draft.last_config = channel->height;
	return draft;
}

void gen_commit(struct gen_channel *channel, const struct gen_draft *draft, struct bytes raw)
{
	struct block block;
	struct err err;
	must(fabric_format()->read(raw, &block, &err), &err);
	channel->tip = block.header.hash;
	channel->height = block.header.height + 1;
	if (draft->is_config) {
		channel->last_config = block.header.height;
		channel->sequence++;
	}
}

void gen_next(struct gen_channel *channel, size_t tx_count, size_t tx_size, struct buffer *out)
{
	struct gen_draft draft = gen_draft(channel);
	draft.tx_count = tx_count;
	draft.tx_size = tx_size;
	gen_seal(channel, &draft, out);
	gen_commit(channel, &draft, buffer_bytes(out));
}

void gen_next_config(struct gen_channel *channel, struct buffer *out)
{
	struct gen_draft draft = gen_config_draft(channel);
	gen_seal(channel, &draft, out);
	gen_commit(channel, &draft, buffer_bytes(out));
}
