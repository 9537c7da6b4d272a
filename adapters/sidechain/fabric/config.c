/* config.c -- see config.h.
 *
 *     ConfigEnvelope { Config config = 1; Envelope last_update = 2; }
 *     Config         { uint64 sequence = 1; ConfigGroup channel_group = 2; }
 *     ConfigGroup    { uint64 version = 1; map<string, ConfigGroup> groups = 2;
 *                      map<string, ConfigValue> values = 3; map<string, ConfigPolicy> policies = 4;
 *                      string mod_policy = 5; }
 *     ConfigValue    { uint64 version = 1; bytes value = 2; string mod_policy = 3; }
 *     ConfigPolicy   { uint64 version = 1; Policy policy = 2; string mod_policy = 3; }
 *     Policy         { int32 type = 1; bytes value = 2; }
 *
 * Maps have no order, and values are encoded by whatever tool an administrator used: order and
 * shortest form are not asked for, but nothing may be said twice and nothing may be unknown.
 */
#include "adapters/sidechain/fabric/config.h"

#include <assert.h>

#include "adapters/sidechain/wire.h"

#define DEPTH_MAX   8    /* Channel, Orderer, organisation: Fabric uses 3, or 4 with consortiums. */
#define MEMBERS_MAX 1024 /* Of one kind in one group. */

/* A map's entry is a message { key = 1; value = 2; }. */
static bool decode_member(struct bytes entry, struct bytes *out_name, struct bytes *out_content)
{
	struct wire wire = wire_of(entry, WIRE_PLAIN);
	struct wire_field field;
	*out_name = BYTES_NONE;
	*out_content = BYTES_NONE;
	while (wire_next(&wire, &field)) {
		switch (field.number) {
		case 1:
			wire_bytes(&wire, &field, out_name);
			break;
		case 2:
			wire_message(&wire, &field, out_content);
			break;
		default:
			wire_unknown(&wire);
		}
	}
	return wire_ok(&wire) && out_name->size > 0;
}

/* ConfigValue and ConfigPolicy have the same form. */
static bool decode_leaf(struct bytes leaf, struct bytes *out_content)
{
	struct wire wire = wire_of(leaf, WIRE_PLAIN);
	struct wire_field field;
	uint64_t version = 0;
	struct bytes mod_policy = BYTES_NONE;
	*out_content = BYTES_NONE;
	while (wire_next(&wire, &field)) {
		switch (field.number) {
		case 1:
			wire_u64(&wire, &field, &version);
			break;
		case 2:
			wire_message(&wire, &field, out_content);
			break;
		case 3:
			wire_bytes(&wire, &field, &mod_policy);
			break;
		default:
			wire_unknown(&wire);
		}
	}
	return wire_ok(&wire);
}

bool config_policy_decode(struct bytes policy, struct config_policy *out_policy)
{
	struct wire wire = wire_of(policy, WIRE_PLAIN);
	struct wire_field field;
	*out_policy = (struct config_policy){ .content = BYTES_NONE };
	while (wire_next(&wire, &field)) {
		switch (field.number) {
		case 1:
			wire_u64(&wire, &field, &out_policy->type);
			break;
		case 2:
			wire_bytes(&wire, &field, &out_policy->content);
			break;
		default:
			wire_unknown(&wire);
		}
	}
	return wire_ok(&wire);
}

/* ---- walking a checked group ---- */

bool config_next(struct bytes *at, enum config_kind kind, struct bytes *out_name,
                 struct bytes *out_found)
{
	struct wire wire = wire_of(*at, WIRE_PLAIN);
	struct wire_field field;
	struct bytes content;
	while (wire_next(&wire, &field)) {
		if (field.number != (uint32_t)kind)
			continue;
		bool decoded = decode_member(field.bytes, out_name, &content);
		if (decoded && kind != CONFIG_GROUP)
			decoded = decode_leaf(content, out_found);
		else
			*out_found = content;
		assert(decoded); /* check_group() has seen it. */
		*at = wire.rest;
		return true;
	}
	return false;
}

bool config_find(struct bytes group, enum config_kind kind, struct bytes name,
                 struct bytes *out_found)
{
	struct bytes here;
	struct bytes found;
	while (config_next(&group, kind, &here, &found)) {
		if (bytes_equal(here, name)) {
			*out_found = found;
			return true;
		}
	}
	return false;
}

/* ---- checking ---- */

/* Go would let the last of two entries win. Written maps are small: no need of anything clever. */
static bool is_repeated(struct bytes group, uint32_t kind, struct bytes name)
{
	struct wire wire = wire_of(group, WIRE_PLAIN);
	struct wire_field field;
	struct bytes here;
	struct bytes content;
	while (wire_next(&wire, &field)) {
		if (field.number != kind || !decode_member(field.bytes, &here, &content))
			continue;
		if (here.data == name.data)
			return false; /* Nothing before name has its name. */
		if (bytes_equal(here, name))
			return true;
	}
	return false;
}

static bool check_group(struct bytes group, unsigned depth);

/* NOLINTNEXTLINE(misc-no-recursion): DEPTH_MAX. */
static bool check_member(struct bytes group, const struct wire_field *field, unsigned depth)
{
	struct bytes name;
	struct bytes content;
	struct bytes leaf;
	if (!decode_member(field->bytes, &name, &content) ||
	    is_repeated(group, field->number, name))
		return false;
	if (field->number == CONFIG_GROUP)
		return check_group(content, depth + 1);
	return decode_leaf(content, &leaf);
}

/* NOLINTNEXTLINE(misc-no-recursion): DEPTH_MAX. */
static bool check_group(struct bytes group, unsigned depth)
{
	struct wire wire = wire_of(group, WIRE_PLAIN);
	struct wire_field field;
	struct bytes entry;
	struct bytes mod_policy = BYTES_NONE;
	uint64_t version = 0;
	size_t member_count = 0;
	if (depth > DEPTH_MAX)
		return false;
	while (wire_next(&wire, &field)) {
		switch (field.number) {
		case 1:
			wire_u64(&wire, &field, &version);
			break;
		case CONFIG_GROUP:
		case CONFIG_VALUE:
		case CONFIG_POLICY:
			if (++member_count > MEMBERS_MAX || !wire_repeated(&wire, &field, &entry) ||
			    !check_member(group, &field, depth))
				return false;
			break;
		case 5:
			wire_bytes(&wire, &field, &mod_policy);
			break;
		default:
			wire_unknown(&wire);
		}
	}
	return wire_ok(&wire);
}

/* ---- the way to the tree ---- */

/* Both messages on the way have two fields, of which one leads on. */
static bool decode_config(struct bytes message, struct config *config)
{
	struct wire wire = wire_of(message, WIRE_PLAIN);
	struct wire_field field;
	while (wire_next(&wire, &field)) {
		switch (field.number) {
		case 1:
			wire_u64(&wire, &field, &config->sequence);
			break;
		case 2:
			wire_message(&wire, &field, &config->channel_group);
			break;
		default:
			wire_unknown(&wire);
		}
	}
	return wire_ok(&wire) && config->channel_group.size > 0;
}

bool config_decode(struct bytes content, struct config *out_config, struct err *err)
{
	struct wire wire = wire_of(content, WIRE_PLAIN);
	struct wire_field field;
	struct bytes message = BYTES_NONE;
	struct bytes last_update = BYTES_NONE;
	struct config config = { .channel_group = BYTES_NONE };
	while (wire_next(&wire, &field)) {
		switch (field.number) {
		case 1:
			wire_message(&wire, &field, &message);
			break;
		case 2:
			wire_message(&wire, &field, &last_update);
			break;
		default:
			wire_unknown(&wire);
		}
	}
	if (!wire_ok(&wire) || !decode_config(message, &config))
		return err_set(err, ZR_INVALID, "not a channel configuration");
	if (!check_group(config.channel_group, 0))
		return err_set(err, ZR_INVALID,
		               "the channel configuration is malformed, or says something twice");
	*out_config = config;
	return true;
}
