/* policy.c -- see policy.h.
 *
 *     ImplicitMetaPolicy      { string sub_policy = 1; enum { ANY, ALL, MAJORITY } rule = 2; }
 *     SignaturePolicyEnvelope { int32 version = 1; SignaturePolicy rule = 2;
 *                               repeated MSPPrincipal identities = 3; }
 *     SignaturePolicy         { oneof { int32 signed_by = 1; NOutOf n_out_of = 2; } }
 *     NOutOf                  { int32 n = 1; repeated SignaturePolicy rules = 2; }
 *
 * Compiled, a policy is a tree in one array; children are a list of indices. Signatures are used
 * up from left to right as Fabric does it: each signer counts for one leaf, and what an N-of branch
 * used stays used even if the branch fails in the end.
 */
#include "adapters/sidechain/fabric/policy.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#include "adapters/sidechain/fabric/config.h"
#include "adapters/sidechain/fabric/principal.h"
#include "adapters/sidechain/fabric/shown.h"
#include "adapters/sidechain/wire.h"

#define DEPTH_MAX      16
#define NODES_MAX      2048
#define PRINCIPALS_MAX 1024
#define NONE           SIZE_MAX

enum node_kind {
	NODE_NEVER,  /* A sub-policy that is not there. */
	NODE_SIGNED, /* By a signer who fits a principal. */
	NODE_N_OF,   /* Children share the signers among them. */
	NODE_META,   /* Each child has all signers to itself. */
};

struct node {
	enum node_kind kind;
	size_t needed;    /* NODE_N_OF, NODE_META: so many children. */
	size_t principal; /* NODE_SIGNED. */
	size_t first_child;
	size_t sibling;
};

struct signing_policy {
	struct node *nodes; /* Owned. */
	size_t node_count;
	struct principal *principals; /* Owned. */
	size_t principal_count;
	size_t root;
	char text[SHOWN_SIZE + 32];
};

struct identity {
	struct cert *cert; /* Owned. */
	struct hash key_id;
	bool fits[]; /* By number of the principal. */
};

/* ---- compiling ---- */

struct compiler {
	struct signing_policy *policy;
	struct orgs *orgs;
	struct err *err;
};

static bool add_node(struct compiler *compiler, enum node_kind kind, size_t *out_index)
{
	struct signing_policy *policy = compiler->policy;
	if (policy->node_count == NODES_MAX)
		return err_set(compiler->err, ZR_UNTRUSTED, "a policy of more than %d parts",
		               NODES_MAX);
	struct node *nodes = realloc(policy->nodes, (policy->node_count + 1) * sizeof(*nodes));
	if (nodes == NULL)
		return err_set(compiler->err, ZR_NO_MEMORY, "a policy");
	nodes[policy->node_count] =
		(struct node){ .kind = kind, .first_child = NONE, .sibling = NONE };
	policy->nodes = nodes;
	*out_index = policy->node_count++;
	return true;
}

/* Children are added one after the other: *last_child is where the list ends. */
static void add_child(struct signing_policy *policy, size_t parent, size_t child,
                      size_t *last_child)
{
	if (*last_child == NONE)
		policy->nodes[parent].first_child = child;
	else
		policy->nodes[*last_child].sibling = child;
	*last_child = child;
}

static bool add_principal(struct compiler *compiler, struct bytes message)
{
	struct signing_policy *policy = compiler->policy;
	if (policy->principal_count == PRINCIPALS_MAX)
		return err_set(compiler->err, ZR_UNTRUSTED, "a policy of more than %d principals",
		               PRINCIPALS_MAX);
	struct principal *principals =
		realloc(policy->principals, (policy->principal_count + 1) * sizeof(*principals));
	if (principals == NULL)
		return err_set(compiler->err, ZR_NO_MEMORY, "a policy");
	policy->principals = principals;
	if (!principal_init(&principals[policy->principal_count], message, compiler->orgs,
	                    compiler->err))
		return false;
	policy->principal_count++;
	return true;
}

/* The principals of one envelope are numbered from the first on. */
struct scope {
	size_t first;
	size_t count;
};

static bool compile_rule(struct compiler *compiler, struct bytes message, struct scope scope,
                         unsigned depth, size_t *out_index);

/* NOLINTNEXTLINE(misc-no-recursion): DEPTH_MAX. */
static bool compile_n_of(struct compiler *compiler, struct bytes message, struct scope scope,
                         unsigned depth, size_t *out_index)
{
	struct wire wire = wire_of(message, WIRE_PLAIN);
	struct wire_field field;
	uint64_t needed = 0;
	struct bytes rule;
	size_t index;
	size_t child;
	size_t last_child = NONE;
	if (!add_node(compiler, NODE_N_OF, &index))
		return false;
	while (wire_next(&wire, &field)) {
		switch (field.number) {
		case 1:
			wire_u64(&wire, &field, &needed);
			break;
		case 2:
			if (!wire_repeated(&wire, &field, &rule))
				break;
			if (!compile_rule(compiler, rule, scope, depth + 1, &child))
				return false;
			add_child(compiler->policy, index, child, &last_child);
			break;
		default:
			wire_unknown(&wire);
		}
	}
	if (!wire_ok(&wire) || needed > INT32_MAX)
		return err_set(compiler->err, ZR_INVALID, "a malformed signature rule");
	if (needed == 0)
		return err_set(compiler->err, ZR_UNTRUSTED, "a rule that needs nobody's signature");
	compiler->policy->nodes[index].needed = (size_t)needed;
	*out_index = index;
	return true;
}

static bool compile_signed(struct compiler *compiler, uint64_t number, struct scope scope,
                           size_t *out_index)
{
	if (number >= scope.count)
		return err_set(compiler->err, ZR_INVALID, "a rule names principal %llu of %zu",
		               (unsigned long long)number, scope.count);
	if (!add_node(compiler, NODE_SIGNED, out_index))
		return false;
	compiler->policy->nodes[*out_index].principal = scope.first + (size_t)number;
	return true;
}

/* NOLINTNEXTLINE(misc-no-recursion): DEPTH_MAX. */
static bool compile_rule(struct compiler *compiler, struct bytes message, struct scope scope,
                         unsigned depth, size_t *out_index)
{
	struct wire wire = wire_of(message, WIRE_PLAIN);
	struct wire_field field;
	uint64_t number = 0;
	struct bytes n_of = BYTES_NONE;
	if (depth > DEPTH_MAX)
		return err_set(compiler->err, ZR_UNTRUSTED, "a rule nested too deep");
	while (wire_next(&wire, &field)) {
		switch (field.number) {
		case 1:
			wire_choice(&wire, &field, &number);
			break;
		case 2:
			wire_message(&wire, &field, &n_of);
			break;
		default:
			wire_unknown(&wire);
		}
	}
	/* Bits 1 and 2 of what was seen: one of the two, not both. */
	if (!wire_ok(&wire) || (wire.seen != 1u << 1 && wire.seen != 1u << 2))
		return err_set(compiler->err, ZR_INVALID, "a malformed signature rule");
	if (wire.seen == 1u << 1)
		return compile_signed(compiler, number, scope, out_index);
	return compile_n_of(compiler, n_of, scope, depth, out_index);
}

static bool compile_signature(struct compiler *compiler, struct bytes message, size_t *out_index)
{
	struct wire wire = wire_of(message, WIRE_PLAIN);
	struct wire_field field;
	uint64_t version = 0;
	struct bytes rule = BYTES_NONE;
	struct bytes principal;
	struct scope scope = { .first = compiler->policy->principal_count };
	while (wire_next(&wire, &field)) {
		switch (field.number) {
		case 1:
			wire_u64(&wire, &field, &version);
			break;
		case 2:
			wire_message(&wire, &field, &rule);
			break;
		case 3:
			if (wire_repeated(&wire, &field, &principal) &&
			    !add_principal(compiler, principal))
				return false;
			break;
		default:
			wire_unknown(&wire);
		}
	}
	if (!wire_ok(&wire))
		return err_set(compiler->err, ZR_INVALID, "a malformed signature policy");
	if (version != 0)
		return err_set(compiler->err, ZR_UNTRUSTED, "a signature policy of version %llu",
		               (unsigned long long)version);
	scope.count = compiler->policy->principal_count - scope.first;
	return compile_rule(compiler, rule, scope, 0, out_index);
}

static bool compile_policy(struct compiler *compiler, struct bytes group, struct bytes name,
                           unsigned depth, size_t *out_index);

enum meta_rule { META_ANY = 0, META_ALL = 1, META_MAJORITY = 2 };
static const char *const meta_names[] = { "ANY", "ALL", "MAJORITY" };

static bool decode_meta(struct bytes message, struct bytes *out_name, enum meta_rule *out_rule)
{
	struct wire wire = wire_of(message, WIRE_PLAIN);
	struct wire_field field;
	uint64_t rule = META_ANY;
	*out_name = BYTES_NONE;
	while (wire_next(&wire, &field)) {
		switch (field.number) {
		case 1:
			wire_bytes(&wire, &field, out_name);
			break;
		case 2:
			wire_u64(&wire, &field, &rule);
			break;
		default:
			wire_unknown(&wire);
		}
	}
	*out_rule = (enum meta_rule)rule;
	return wire_ok(&wire) && out_name->size > 0 && rule <= META_MAJORITY;
}

static size_t meta_needed(enum meta_rule rule, size_t count)
{
	if (rule == META_ANY)
		return 1;
	return rule == META_ALL ? count : count / 2 + 1;
}

/* NOLINTNEXTLINE(misc-no-recursion): DEPTH_MAX. */
static bool compile_meta(struct compiler *compiler, struct bytes group, struct bytes message,
                         unsigned depth, size_t *out_index)
{
	struct bytes name;
	enum meta_rule rule;
	struct bytes key;
	struct bytes member;
	size_t index;
	size_t child;
	size_t last_child = NONE;
	size_t count = 0;
	char text[SHOWN_SIZE];
	if (!decode_meta(message, &name, &rule))
		return err_set(compiler->err, ZR_UNTRUSTED, "a rule over sub-policies that is new");
	if (!add_node(compiler, NODE_META, &index))
		return false;
	for (struct bytes at = group; config_next(&at, CONFIG_GROUP, &key, &member); count++) {
		if (!compile_policy(compiler, member, name, depth + 1, &child))
			return err_wrap(compiler->err, "%s", shown(key, text));
		add_child(compiler->policy, index, child, &last_child);
	}
	/* Fabric takes a rule over no groups for satisfied. */
	if (count == 0)
		return err_set(compiler->err, ZR_UNTRUSTED,
		               "a rule over no groups, which anybody satisfies");
	compiler->policy->nodes[index].needed = meta_needed(rule, count);
	if (depth == 0)
		(void)snprintf(compiler->policy->text, sizeof(compiler->policy->text), "%s %s",
		               meta_names[rule], shown(name, text));
	*out_index = index;
	return true;
}

/* Where name is not there, or is a path, nobody satisfies it; the group counts all the same. */
/* NOLINTNEXTLINE(misc-no-recursion): DEPTH_MAX. */
static bool compile_policy(struct compiler *compiler, struct bytes group, struct bytes name,
                           unsigned depth, size_t *out_index)
{
	struct bytes found;
	struct config_policy policy;
	if (depth > DEPTH_MAX)
		return err_set(compiler->err, ZR_UNTRUSTED, "a policy nested too deep");
	if (!config_find(group, CONFIG_POLICY, name, &found))
		return add_node(compiler, NODE_NEVER, out_index);
	if (!config_policy_decode(found, &policy))
		return err_set(compiler->err, ZR_INVALID, "a malformed policy");
	if (policy.type == CONFIG_POLICY_SIGNATURE)
		return compile_signature(compiler, policy.content, out_index);
	if (policy.type == CONFIG_POLICY_IMPLICIT_META)
		return compile_meta(compiler, group, policy.content, depth, out_index);
	return err_set(compiler->err, ZR_UNTRUSTED, "a policy of type %llu",
	               (unsigned long long)policy.type);
}

bool policy_compile(struct signing_policy **out_policy, struct bytes group, const char *name,
                    struct orgs *orgs, struct err *err)
{
	struct signing_policy *policy = calloc(1, sizeof(*policy));
	if (policy == NULL)
		return err_set(err, ZR_NO_MEMORY, "a policy");
	struct compiler compiler = { .policy = policy, .orgs = orgs, .err = err };
	if (!compile_policy(&compiler, group, bytes_of_string(name), 0, &policy->root))
		goto fail;
	const struct node *root = &policy->nodes[policy->root];
	if (root->kind == NODE_NEVER) {
		(void)err_set(err, ZR_UNTRUSTED, "there is no such policy");
		goto fail;
	}
	if (root->kind != NODE_META)
		(void)snprintf(policy->text, sizeof(policy->text), "%zu of %zu signatures",
		               root->kind == NODE_N_OF ? root->needed : 1, policy->principal_count);
	*out_policy = policy;
	return true;

fail:
	policy_free(policy);
	return err_wrap(err, "policy %s", name);
}

void policy_free(struct signing_policy *policy)
{
	if (policy == NULL)
		return;
	for (size_t i = 0; i < policy->principal_count; i++)
		principal_fini(&policy->principals[i]);
	free(policy->principals);
	free(policy->nodes);
	free(policy);
}

const char *policy_text(const struct signing_policy *policy)
{
	return policy->text;
}

/* ---- signers ---- */

bool identity_new(struct identity **out_identity, const struct signing_policy *policy,
                  const struct orgs *orgs, struct bytes msp_name, struct bytes pem, struct err *err)
{
	char text[SHOWN_SIZE];
	struct hash certifiers;
	const struct msp *msp = orgs_find(orgs, msp_name);
	if (msp == NULL)
		return err_set(err, ZR_UNTRUSTED, "organisation %s is not to sign blocks",
		               shown(msp_name, text));
	struct identity *identity =
		calloc(1, sizeof(*identity) + policy->principal_count * sizeof(bool));
	if (identity == NULL)
		return err_set(err, ZR_NO_MEMORY, "an identity");
	if (!cert_from_pem(&identity->cert, pem, err)) {
		if (err != NULL && err->code == ZR_INVALID)
			err->code = ZR_UNTRUSTED;
		goto fail;
	}
	if (!msp_check_member(msp, identity->cert, &certifiers, err))
		goto fail;
	identity->key_id = key_id(cert_key(identity->cert));
	for (size_t i = 0; i < policy->principal_count; i++)
		identity->fits[i] =
			principal_fits(&policy->principals[i], msp, identity->cert, &certifiers);
	*out_identity = identity;
	return true;

fail:
	identity_free(identity);
	return false;
}

void identity_free(struct identity *identity)
{
	if (identity == NULL)
		return;
	cert_free(identity->cert);
	free(identity);
}

const struct key *identity_key(const struct identity *identity)
{
	return cert_key(identity->cert);
}

const struct cert *identity_cert(const struct identity *identity)
{
	return identity->cert;
}

bool identity_same(const struct identity *a, const struct identity *b)
{
	return hash_equal(&a->key_id, &b->key_id);
}

/* ---- evaluating ---- */

/* A set of signers, by number. */
struct used {
	uint64_t bits[SIGNERS_MAX / 64];
};

struct question {
	const struct signing_policy *policy;
	const struct identity *const *signers;
	size_t count;
};

static bool is_signed(const struct question *question, size_t principal, struct used *used)
{
	for (size_t i = 0; i < question->count; i++) {
		uint64_t bit = UINT64_C(1) << (i % 64);
		if ((used->bits[i / 64] & bit) != 0 || !question->signers[i]->fits[principal])
			continue;
		used->bits[i / 64] |= bit;
		return true;
	}
	return false;
}

/* A child that fails gives back what it used. */
/* NOLINTNEXTLINE(misc-no-recursion): DEPTH_MAX. */
static bool holds(const struct question *question, size_t index, struct used *used)
{
	const struct node *node = &question->policy->nodes[index];
	if (node->kind == NODE_NEVER)
		return false;
	if (node->kind == NODE_SIGNED)
		return is_signed(question, node->principal, used);
	size_t count = 0;
	for (size_t child = node->first_child; child != NONE;
	     child = question->policy->nodes[child].sibling) {
		struct used trial = { { 0 } };
		if (node->kind == NODE_N_OF)
			trial = *used;
		if (!holds(question, child, &trial))
			continue;
		count++;
		if (node->kind == NODE_N_OF)
			*used = trial;
	}
	return count >= node->needed;
}

bool policy_is_satisfied(const struct signing_policy *policy, const struct identity *const *signers,
                         size_t count)
{
	assert(count <= SIGNERS_MAX);
	struct question question = { policy, signers, count };
	struct used used = { { 0 } };
	return holds(&question, policy->root, &used);
}
