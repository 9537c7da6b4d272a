/* Which policies are evaluated, how, and which are refused when a channel is enrolled. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "adapters/sidechain/wire.h"
#include "tests/lib/fabric_gen_pki.h"
#include "tests/lib/fabric_scene.h"

static const struct gen_options three = {
	.name = "three", .kind = GEN_RAFT, .org_count = 3, .node_count = 6
};

/* Node i is of organisation i % 3. */
static void sign_by(struct gen_draft *draft, const struct gen_channel *channel, const char *nodes)
{
	draft->signer_count = 0;
	for (const char *at = nodes; *at != '\0'; at++)
		draft->signers[draft->signer_count++] = channel->nodes[*at - '0'];
}

/* Starts a channel with the policy and asks it about sets of signers: those that satisfy it, those
 * that do not; each a list of nodes, such as "013". */
static void expect_answers(struct gen_channel *take_channel, const char *const *enough,
                           const char *const *too_few)
{
	struct scene scene;
	scene_start(&scene, take_channel);
	for (; *enough != NULL; enough++) {
		struct gen_draft draft = gen_draft(scene.channel);
		sign_by(&draft, scene.channel, *enough);
		EXPECT_DRAFT(&scene, &draft, WALK_FINE, "");
		gen_commit(scene.channel, &draft, buffer_bytes(&scene.raw));
	}
	for (; *too_few != NULL; too_few++) {
		struct gen_draft draft = gen_draft(scene.channel);
		sign_by(&draft, scene.channel, *too_few);
		EXPECT_DRAFT(&scene, &draft, WALK_UNTRUSTED, "do not satisfy");
	}
	scene_fini(&scene);
}

static void expect_meta(unsigned rule, const char *const *enough, const char *const *too_few)
{
	struct gen_channel *channel = gen_channel_new(&three);
	gen_policy_meta(&channel->block_validation, rule, "Writers");
	expect_answers(channel, enough, too_few);
}

#define SETS(...) ((const char *const[]){ __VA_ARGS__, NULL })

static void any_all_and_majority_count_organisations(void **state)
{
	expect_meta(0, SETS("0", "5"), SETS(""));
	expect_meta(1, SETS("012", "345", "045120"), SETS("0", "01", "0314"));
	expect_meta(2, SETS("01", "12", "345"), SETS("", "0", "03"));
}

static void signatures_are_used_up_one_for_each_rule(void **state)
{
	struct gen_channel *channel = gen_channel_new(&three);
	struct buffer principals[3] = { BUFFER_EMPTY, BUFFER_EMPTY, BUFFER_EMPTY };
	gen_principal_role(&principals[0], "Org0MSP", 0);
	gen_principal_role(&principals[1], "Org0MSP", 0);
	gen_principal_role(&principals[2], "Org1MSP", 0);
	gen_policy_signatures(&channel->block_validation, 2, principals, 3);
	expect_answers(channel, SETS("03", "01", "31"), SETS("0", "1", "14", "25", "00"));

	channel = gen_channel_new(&three);
	gen_policy_signatures(&channel->block_validation, 3, principals, 3);
	expect_answers(channel, SETS("031"), SETS("03", "01", "041"));
	for (size_t i = 0; i < 3; i++)
		buffer_fini(&principals[i]);
}

static void one_certificate_may_be_named(void **state)
{
	struct gen_channel *channel = gen_channel_new(&three);
	struct buffer principals[2] = { BUFFER_EMPTY, BUFFER_EMPTY };
	gen_principal_identity(&principals[0], channel->nodes[4]);
	gen_principal_identity(&principals[1], channel->nodes[2]);
	gen_policy_signatures(&channel->block_validation, 1, principals, 2);
	expect_answers(channel, SETS("4", "2", "024"), SETS("1", "0135"));
	buffer_fini(&principals[0]);
	buffer_fini(&principals[1]);
}

/* Somebody who is none of the channel's organisations may be named: nobody fits. */
static void an_organisation_that_is_not_there_satisfies_nothing(void **state)
{
	struct gen_channel *channel = gen_channel_new(&three);
	struct buffer principals[2] = { BUFFER_EMPTY, BUFFER_EMPTY };
	gen_principal_role(&principals[0], "NobodyMSP", 0);
	gen_principal_role(&principals[1], "Org2MSP", 0);
	gen_policy_signatures(&channel->block_validation, 2, principals, 2);
	expect_answers(channel, SETS(NULL), SETS("2", "012345"));
	buffer_fini(&principals[0]);
	buffer_fini(&principals[1]);
}

/* ---- roles ---- */

static const char *const units[] = { "orderer", "admin", "client", "peer" };

/* A channel whose blocks are signed by role of Org0, which has a node of each unit. Exactly those
 * fit whose unit's first letter is in fitting. */
static void expect_role(unsigned role, unsigned flags, const char *capability, const char *fitting)
{
	struct gen_options options = three;
	struct buffer principal = BUFFER_EMPTY;
	struct scene scene;
	options.org_flags = flags;
	options.capability = capability;
	struct gen_channel *channel = gen_channel_new(&options);
	for (size_t i = 0; i < 4; i++) {
		gen_node_free(channel->nodes[i]);
		channel->nodes[i] = gen_node_new(channel->orgs[0], units[i], SUITE_SHA256_P256);
	}
	gen_principal_role(&principal, "Org0MSP", role);
	gen_policy_signatures(&channel->block_validation, 1, &principal, 1);
	buffer_fini(&principal);

	scene_start(&scene, channel);
	for (size_t i = 0; i < 4; i++) {
		struct gen_draft draft = gen_draft(channel);
		draft.signers[0] = channel->nodes[i];
		bool fits = strchr(fitting, units[i][0]) != NULL;
		EXPECT_DRAFT(&scene, &draft, fits ? WALK_FINE : WALK_UNTRUSTED,
		             fits ? "" : "do not satisfy");
		if (fits)
			gen_commit(channel, &draft, buffer_bytes(&scene.raw));
	}
	scene_fini(&scene);
}

enum { MEMBER, ADMIN, CLIENT, PEER, ORDERER };

static void units_tell_roles_apart_as_the_channels_version_says(void **state)
{
	expect_role(MEMBER, GEN_NODE_OUS, "V2_0", "oacp");
	expect_role(ADMIN, GEN_NODE_OUS, "V2_0", "a");
	expect_role(CLIENT, GEN_NODE_OUS, "V2_0", "c");
	expect_role(PEER, GEN_NODE_OUS, "V2_0", "p");
	expect_role(ORDERER, GEN_NODE_OUS, "V2_0", "o");
	expect_role(ORDERER, GEN_NODE_OUS, "V1_4_3", "o");
	/* Before 1.4.3 there were clients and peers only, and a member had to be one of them. */
	expect_role(MEMBER, GEN_NODE_OUS, "V1_3", "cp");
	expect_role(PEER, GEN_NODE_OUS, "V1_1", "p");
	expect_role(ORDERER, GEN_NODE_OUS, "V1_4_2", "");
	expect_role(ADMIN, GEN_NODE_OUS, "V1_3", "");
}

static void without_units_everybody_is_a_member_and_nothing_else(void **state)
{
	expect_role(MEMBER, 0, "V2_0", "oacp");
	expect_role(ORDERER, 0, "V2_0", "");
	expect_role(PEER, 0, "V2_0", "");
	expect_role(ADMIN, 0, "V2_0", "");
}

static void an_admin_may_be_listed(void **state)
{
	struct gen_options options = three;
	struct buffer principal = BUFFER_EMPTY;
	options.capability = "V1_3";
	struct gen_channel *channel = gen_channel_new(&options);
	buffer_put(&channel->orgs[0]->admins, buffer_bytes(&channel->nodes[3]->pem));
	gen_principal_role(&principal, "Org0MSP", ADMIN);
	gen_policy_signatures(&channel->block_validation, 1, &principal, 1);
	buffer_fini(&principal);
	expect_answers(channel, SETS("3", "03"), SETS("0", "012"));
}

static void a_unit_counts_as_the_right_authority_certifies_it(void **state)
{
	for (unsigned flags = 0; flags <= GEN_INTERMEDIATE; flags += GEN_INTERMEDIATE) {
		struct gen_options options = three;
		struct buffer principal = BUFFER_EMPTY;
		options.org_flags = flags;
		struct gen_channel *channel = gen_channel_new(&options);
		const struct gen_org *org = channel->orgs[0];
		struct bytes path[2] = { gen_ca_der(org->issuer), gen_ca_der(org->root) };
		struct hash certifiers = hash_parts(HASH_SHA256, path, flags == 0 ? 1 : 2);
		gen_node_free(channel->nodes[3]);
		channel->nodes[3] = gen_node_new(channel->orgs[0], "peer", SUITE_SHA256_P256);
		gen_principal_unit(&principal, "Org0MSP", "orderer", BYTES_OF(certifiers));
		gen_policy_signatures(&channel->block_validation, 1, &principal, 1);
		expect_answers(channel, SETS("0"), SETS("3", "1"));

		channel = gen_channel_new(&options);
		certifiers.bytes[0] ^= 1;
		gen_principal_unit(&principal, "Org0MSP", "orderer", BYTES_OF(certifiers));
		gen_policy_signatures(&channel->block_validation, 1, &principal, 1);
		expect_answers(channel, SETS(NULL), SETS("0", "3"));
		buffer_fini(&principal);
	}
}

/* ---- members ---- */

/* A signer of the first organisation, its certificate of that unit, is refused for why. */
static void expect_no_member(unsigned flags, const char *unit, const char *why)
{
	struct gen_options options = three;
	struct scene scene;
	options.org_flags = flags;
	scene_init(&scene, &options);
	struct gen_node *node = gen_node_new(scene.channel->orgs[0], unit, SUITE_SHA256_P256);
	struct gen_draft draft = gen_draft(scene.channel);
	draft.signers[0] = node;
	EXPECT_DRAFT(&scene, &draft, WALK_UNTRUSTED, why);
	expect_honest_next(&scene);
	gen_node_free(node);
	scene_fini(&scene);
}

static void a_member_has_one_role_and_a_required_unit(void **state)
{
	expect_no_member(GEN_NODE_OUS, NULL, "its units name 0 roles, not one");
	expect_no_member(GEN_NODE_OUS, "accounting", "its units name 0 roles, not one");
	expect_no_member(GEN_NODE_OUS, "orderer+admin", "its units name 2 roles, not one");
	expect_no_member(GEN_NODE_OUS, "orderer+orderer", "its units name 2 roles, not one");
	expect_no_member(GEN_REQUIRED_OU, NULL, "it is of none of the required units");
	expect_no_member(GEN_REQUIRED_OU, "orderer", "it is of none of the required units");
	expect_no_member(GEN_REQUIRED_OU | GEN_INTERMEDIATE, "x", "none of the required units");
}

static void a_unit_is_given_by_the_authority_it_belongs_to(void **state)
{
	struct gen_options options = three;
	struct scene scene;
	options.org_flags = GEN_NODE_OUS | GEN_INTERMEDIATE | GEN_ROOT_OUS;
	scene_init(&scene, &options);
	struct gen_draft draft = gen_draft(scene.channel);
	EXPECT_DRAFT(&scene, &draft, WALK_UNTRUSTED, "unit orderer is another authority's to give");
	scene_fini(&scene);
}

/* A renewed authority beside the old one: whose members are they? The same one twice is one. */
static void an_identity_has_one_issuer(void **state)
{
	for (int round = 0; round < 2; round++) {
		struct scene scene;
		struct buffer pem = BUFFER_EMPTY;
		struct gen_channel *channel = gen_channel_new(&three);
		if (round == 0)
			gen_ca_renew(channel->orgs[0]->root, &pem);
		else
			gen_ca_pem(channel->orgs[0]->root, &pem);
		wire_put_message(&channel->orgs[0]->extra, 2, buffer_bytes(&pem));
		buffer_fini(&pem);
		scene_start(&scene, channel);
		struct gen_draft draft = gen_draft(channel);
		EXPECT_DRAFT(&scene, &draft, round == 0 ? WALK_UNTRUSTED : WALK_FINE,
		             round == 0 ? "it has 2 issuers, not one" : "");
		scene_fini(&scene);
	}
}

/* Signs with a certificate over a new key that ca issued. */
static void expect_issued(struct scene *scene, struct gen_ca *ca, bool is_ca, const char *why)
{
	struct gen_node *node = gen_node_new(scene->channel->orgs[0], "orderer", SUITE_SHA256_P256);
	struct gen_draft draft = gen_draft(scene->channel);
	buffer_clear(&node->pem);
	gen_ca_issue(ca, node->key, "orderer", is_ca, &node->pem);
	draft.signers[0] = node;
	EXPECT_DRAFT(scene, &draft, WALK_UNTRUSTED, why);
	gen_node_free(node);
}

static void identities_come_from_the_leaves_of_the_tree_of_authorities(void **state)
{
	struct gen_options options = three;
	struct scene scene;
	options.org_flags = GEN_INTERMEDIATE;
	scene_init(&scene, &options);
	expect_honest_next(&scene);
	expect_issued(&scene, scene.channel->orgs[0]->root, false,
	              "its issuer only issues authorities");
	expect_issued(&scene, scene.channel->orgs[0]->issuer, true, "an authority signs no blocks");
	expect_issued(&scene, scene.channel->orgs[1]->issuer, false, "is no member of Org0MSP");
	expect_honest_next(&scene);
	scene_fini(&scene);
}

static void a_signer_without_a_certificate_is_refused(void **state)
{
	struct scene scene;
	scene_init(&scene, &three);
	struct gen_node *node = gen_node_new(scene.channel->orgs[0], "orderer", SUITE_SHA256_P256);
	struct gen_draft draft = gen_draft(scene.channel);
	draft.signers[0] = node;
	buffer_clear(&node->pem);
	EXPECT_DRAFT(&scene, &draft, WALK_UNTRUSTED, "a signer without an identity");
	buffer_printf(&node->pem, "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
	EXPECT_DRAFT(&scene, &draft, WALK_UNTRUSTED, "not a certificate");
	gen_node_free(node);
	scene_fini(&scene);
}

/* ---- what is refused when a channel is enrolled ---- */

static void expect_pin(const struct buffer *raw, enum err_code code, const char *why)
{
	struct trust *trust;
	struct err err = { .code = ZR_OK };
	EXPECT_FAILURE(fabric_format()->trust_pin(buffer_bytes(raw), &trust, &err), err, code, why);
}

/* Frees the channel. */
static void expect_refused(struct gen_channel *take_channel, enum err_code code, const char *why)
{
	struct buffer raw = BUFFER_EMPTY;
	gen_next_config(take_channel, &raw);
	expect_pin(&raw, code, why);
	buffer_fini(&raw);
	gen_channel_free(take_channel);
}

/* A BlockValidation policy of any type and content. */
static void expect_policy_refused(unsigned type, struct bytes content, enum err_code code,
                                  const char *why)
{
	struct gen_channel *channel = gen_channel_new(&three);
	wire_put_u64(&channel->block_validation, 1, type);
	wire_put_bytes(&channel->block_validation, 2, content);
	expect_refused(channel, code, why);
}

static void a_policy_beyond_us_is_refused_at_once(void **state)
{
	expect_policy_refused(2, BYTES_LITERAL("x"), ZR_UNTRUSTED, "a policy of type 2");
	expect_policy_refused(9, BYTES_NONE, ZR_UNTRUSTED, "a policy of type 9");
	expect_policy_refused(1, BYTES_NONE, ZR_INVALID, "a malformed signature rule");
	expect_policy_refused(1, BYTES_LITERAL("\x08\x01\x12\x02\x08\x00"), ZR_UNTRUSTED,
	                      "a signature policy of version 1");
	expect_policy_refused(1, BYTES_LITERAL("\x12\x02\x08\x00"), ZR_INVALID,
	                      "a rule names principal 0 of 0");
	expect_policy_refused(1, BYTES_LITERAL("\x12\x02\x12\x00"), ZR_UNTRUSTED,
	                      "a rule that needs nobody's signature");
	expect_policy_refused(1, BYTES_LITERAL("\x12\x04\x08\x00\x12\x00"), ZR_INVALID,
	                      "a malformed signature rule");
	expect_policy_refused(3, BYTES_LITERAL("\x0a\x07Writers\x10\x03"), ZR_UNTRUSTED,
	                      "a rule over sub-policies that is new");
	expect_policy_refused(3, BYTES_LITERAL("\x10\x01"), ZR_UNTRUSTED,
	                      "a rule over sub-policies that is new");
	expect_policy_refused(3, BYTES_LITERAL("\x0a\x07Writers\x1a\x00"), ZR_UNTRUSTED,
	                      "a rule over sub-policies that is new");
}

/* A signature policy that asks for one signature of the principal. */
static void expect_principal_refused(struct bytes principal, enum err_code code, const char *why)
{
	struct gen_channel *channel = gen_channel_new(&three);
	struct buffer buffer = BUFFER_EMPTY;
	buffer_put(&buffer, principal);
	gen_policy_signatures(&channel->block_validation, 1, &buffer, 1);
	buffer_fini(&buffer);
	expect_refused(channel, code, why);
}

static void a_principal_beyond_us_is_refused_at_once(void **state)
{
	expect_principal_refused(BYTES_LITERAL("\x08\x03"), ZR_UNTRUSTED, "a principal of kind 3");
	expect_principal_refused(BYTES_LITERAL("\x08\x04"), ZR_UNTRUSTED, "a principal of kind 4");
	expect_principal_refused(BYTES_LITERAL("\x18\x04"), ZR_INVALID, "a malformed principal");
	expect_principal_refused(BYTES_LITERAL("\x12\x02\x10\x05"), ZR_UNTRUSTED,
	                         "a role of kind 5");
	expect_principal_refused(BYTES_LITERAL("\x12\x01\x10"), ZR_INVALID, "a malformed role");
	expect_principal_refused(BYTES_LITERAL("\x08\x01\x12\x02\x0a\x00"), ZR_INVALID,
	                         "a malformed organisational unit");
	expect_principal_refused(BYTES_LITERAL("\x08\x02\x12\x03\x12\x01x"), ZR_INVALID,
	                         "certificate");
	expect_principal_refused(BYTES_LITERAL("\x08\x02\x12\x01\x12"), ZR_INVALID,
	                         "a malformed identity");
}

static void a_rule_nested_beyond_reason_is_refused(void **state)
{
	struct buffer rule = BUFFER_EMPTY;
	struct buffer outer = BUFFER_EMPTY;
	buffer_put(&rule, BYTES_LITERAL("\x08\x00"));
	for (int i = 0; i < 20; i++) {
		struct buffer n_of = BUFFER_EMPTY;
		wire_put_u64(&n_of, 1, 1);
		wire_put_message(&n_of, 2, buffer_bytes(&rule));
		buffer_clear(&rule);
		wire_put_message(&rule, 2, buffer_bytes(&n_of));
		buffer_fini(&n_of);
	}
	wire_put_message(&outer, 2, buffer_bytes(&rule));
	wire_put_message(&outer, 3, BYTES_LITERAL("\x12\x09\x0a\x07Org0MSP"));
	expect_policy_refused(1, buffer_bytes(&outer), ZR_UNTRUSTED, "a rule nested too deep");
	buffer_fini(&rule);
	buffer_fini(&outer);
}

static void a_rule_over_no_organisations_is_refused(void **state)
{
	struct gen_channel *channel = gen_channel_new(&three);
	struct buffer raw = BUFFER_EMPTY;
	channel->org_count = 0;
	gen_next_config(channel, &raw);
	expect_pin(&raw, ZR_UNTRUSTED, "a rule over no groups, which anybody satisfies");
	channel->org_count = 3;
	buffer_fini(&raw);
	gen_channel_free(channel);
}

/* Replaces the last occurrence of from in the configuration by to, of the same size. */
static void expect_changed_refused(const struct gen_options *options, struct bytes from,
                                   struct bytes to, enum err_code code, const char *why)
{
	struct gen_channel *channel = gen_channel_new(options);
	struct gen_draft draft = gen_config_draft(channel);
	struct buffer group = BUFFER_EMPTY;
	struct buffer config = BUFFER_EMPTY;
	struct buffer content = BUFFER_EMPTY;
	struct buffer raw = BUFFER_EMPTY;
	gen_channel_group(channel, &group);
	size_t at = group.size - from.size;
	while (at > 0 && memcmp(group.data + at, from.data, from.size) != 0)
		at--;
	assert_true(at > 0);
	memcpy(group.data + at, to.data, to.size);
	wire_put_message(&config, 2, buffer_bytes(&group));
	wire_put_message(&content, 1, buffer_bytes(&config));
	gen_seal_config(channel, &draft, buffer_bytes(&content), &raw);
	expect_pin(&raw, code, why);
	buffer_fini(&group);
	buffer_fini(&config);
	buffer_fini(&content);
	buffer_fini(&raw);
	gen_channel_free(channel);
}

#define EXPECT_CHANGED(options, from, to, code, why) \
	expect_changed_refused((options), BYTES_LITERAL(from), BYTES_LITERAL(to), (code), (why))

static void a_channel_that_works_otherwise_is_refused(void **state)
{
	struct gen_options newer = three;
	newer.capability = "V9_1";
	expect_refused(gen_channel_new(&newer), ZR_UNTRUSTED, "the channel needs capability V9_1");
	newer.capability = "V3_0";
	EXPECT_CHANGED(&newer, "V2_0", "V2_7", ZR_UNTRUSTED,
	               "the ordering service needs capability V2_7");
	EXPECT_CHANGED(&three, "SHA256", "SHA3_2", ZR_UNTRUSTED, "hashes otherwise than with");
	EXPECT_CHANGED(&three, "\xff\xff\xff\xff\x0f", "\xfe\xff\xff\xff\x0f", ZR_UNTRUSTED,
	               "hashes its data as a tree");
	EXPECT_CHANGED(&three, "BlockValidation", "BlockValidatiox", ZR_UNTRUSTED,
	               "there is no such policy");
	EXPECT_CHANGED(&three, "ConsensusType", "ConsensusTypx", ZR_INVALID,
	               "no kind of consensus");
	EXPECT_CHANGED(&three, "\x07Orderer", "\x07Orderex", ZR_INVALID, "no ordering service");
	EXPECT_CHANGED(&three, "Clients\x12", "Clients\x0a", ZR_INVALID,
	               "malformed, or says something twice");
}

static void an_organisation_is_defined_in_one_way(void **state)
{
	struct gen_channel *channel = gen_channel_new(&three);
	(void)snprintf(channel->orgs[1]->msp, sizeof(channel->orgs[1]->msp), "Org0MSP");
	expect_refused(channel, ZR_UNTRUSTED, "organisation Org0MSP is defined in two ways");
	channel = gen_channel_new(&three);
	(void)snprintf(channel->orgs[1]->name, sizeof(channel->orgs[1]->name), "Org0");
	expect_refused(channel, ZR_INVALID, "says something twice");
}

/* Appends a field to the definition of the first organisation. */
static void expect_org_refused(uint32_t number, struct bytes field, enum err_code code,
                               const char *why)
{
	struct gen_channel *channel = gen_channel_new(&three);
	wire_put_message(&channel->orgs[0]->extra, number, field);
	expect_refused(channel, code, why);
}

static void an_organisation_beyond_us_is_refused_at_once(void **state)
{
	struct gen_options options = three;
	struct gen_ca *other = gen_ca_new("other", NULL);
	struct gen_ca *below = gen_ca_new("below", other);
	struct buffer pem = BUFFER_EMPTY;
	options.org_flags = GEN_SHA3;
	expect_refused(gen_channel_new(&options), ZR_UNTRUSTED,
	               "hashes otherwise than with SHA-256");
	expect_org_refused(15, BYTES_LITERAL("new"), ZR_INVALID, "with unknown fields");
	expect_org_refused(2, BYTES_LITERAL("not PEM"), ZR_INVALID, "authority 1");
	gen_ca_pem(below, &pem);
	expect_org_refused(3, buffer_bytes(&pem), ZR_UNTRUSTED, "intermediate authority");
	buffer_clear(&pem);
	struct gen_channel *channel = gen_channel_new(&three);
	buffer_put(&pem, buffer_bytes(&channel->nodes[0]->pem));
	gen_channel_free(channel);
	expect_org_refused(2, buffer_bytes(&pem), ZR_UNTRUSTED, "is not a CA");
	expect_org_refused(7, BYTES_LITERAL("\x12\x01X"), ZR_INVALID, "a unit without its issuer");
	expect_org_refused(7, BYTES_LITERAL("\x0a\x01X"), ZR_INVALID, "a malformed organisational");
	expect_org_refused(11, BYTES_LITERAL("\x1a\x00"), ZR_INVALID, "a malformed organisational");
	buffer_clear(&pem);
	gen_ca_pem(other, &pem);
	struct buffer unit = BUFFER_EMPTY;
	wire_put_bytes(&unit, 1, buffer_bytes(&pem));
	wire_put_bytes(&unit, 2, BYTES_LITERAL("peer"));
	expect_org_refused(7, buffer_bytes(&unit), ZR_UNTRUSTED, "a unit's issuer is none of the");
	buffer_fini(&unit);
	buffer_fini(&pem);
	gen_ca_free(other);
	gen_ca_free(below);
}

/* A list that cannot be read may have revoked anybody. */
static void an_unreadable_revocation_list_stops_its_organisation(void **state)
{
	struct scene scene;
	struct gen_channel *channel = gen_channel_new(&three);
	wire_put_message(&channel->orgs[0]->extra, 5, BYTES_LITERAL("not a list at all"));
	scene_start(&scene, channel);
	struct gen_draft draft = gen_draft(channel);
	EXPECT_DRAFT(&scene, &draft, WALK_UNTRUSTED, "a revocation list cannot be read");
	draft.signers[0] = channel->nodes[1];
	EXPECT_DRAFT(&scene, &draft, WALK_FINE, "");
	scene_fini(&scene);
}

static void two_consenters_are_two(void **state)
{
	struct gen_options options = { .name = "bft", .kind = GEN_BFT, .node_count = 4 };
	struct gen_channel *channel = gen_channel_new(&options);
	channel->nodes[2]->id = 2;
	expect_refused(channel, ZR_UNTRUSTED, "consenters 2 and 2 are one");
	channel = gen_channel_new(&options);
	struct gen_node *again = gen_node_again(channel->nodes[1], "orderer");
	again->id = 3;
	gen_node_free(channel->nodes[2]);
	channel->nodes[2] = again;
	expect_refused(channel, ZR_UNTRUSTED, "consenters 2 and 3 are one");
	options.capability = "V2_0";
	expect_refused(gen_channel_new(&options), ZR_UNTRUSTED, "BFT consensus without its");
}

static void an_ordinary_block_cannot_be_pinned(void **state)
{
	struct gen_channel *channel = gen_channel_new(&three);
	struct buffer raw = BUFFER_EMPTY;
	gen_next_config(channel, &raw);
	gen_next(channel, 1, 10, &raw);
	expect_pin(&raw, ZR_INVALID, "it is not a config block");
	raw.size--;
	expect_pin(&raw, ZR_INVALID, "torn");
	buffer_clear(&raw);
	expect_pin(&raw, ZR_INVALID, "not a Fabric block");
	struct gen_draft draft = gen_config_draft(channel);
	draft.channel = "with space";
	gen_seal(channel, &draft, &raw);
	expect_pin(&raw, ZR_INVALID, "without a proper name");
	draft.channel = "raft";
	gen_seal_config(channel, &draft, BYTES_LITERAL("\x0a\x02\x08\x01"), &raw);
	expect_pin(&raw, ZR_INVALID, "not a channel configuration");
	buffer_fini(&raw);
	gen_channel_free(channel);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(any_all_and_majority_count_organisations),
		cmocka_unit_test(signatures_are_used_up_one_for_each_rule),
		cmocka_unit_test(one_certificate_may_be_named),
		cmocka_unit_test(an_organisation_that_is_not_there_satisfies_nothing),
		cmocka_unit_test(units_tell_roles_apart_as_the_channels_version_says),
		cmocka_unit_test(without_units_everybody_is_a_member_and_nothing_else),
		cmocka_unit_test(an_admin_may_be_listed),
		cmocka_unit_test(a_unit_counts_as_the_right_authority_certifies_it),
		cmocka_unit_test(a_member_has_one_role_and_a_required_unit),
		cmocka_unit_test(a_unit_is_given_by_the_authority_it_belongs_to),
		cmocka_unit_test(an_identity_has_one_issuer),
		cmocka_unit_test(identities_come_from_the_leaves_of_the_tree_of_authorities),
		cmocka_unit_test(a_signer_without_a_certificate_is_refused),
		cmocka_unit_test(a_policy_beyond_us_is_refused_at_once),
		cmocka_unit_test(a_principal_beyond_us_is_refused_at_once),
		cmocka_unit_test(a_rule_nested_beyond_reason_is_refused),
		cmocka_unit_test(a_rule_over_no_organisations_is_refused),
		cmocka_unit_test(a_channel_that_works_otherwise_is_refused),
		cmocka_unit_test(an_organisation_is_defined_in_one_way),
		cmocka_unit_test(an_organisation_beyond_us_is_refused_at_once),
		cmocka_unit_test(an_unreadable_revocation_list_stops_its_organisation),
		cmocka_unit_test(two_consenters_are_two),
		cmocka_unit_test(an_ordinary_block_cannot_be_pinned),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
