/* fabric_gen.h -- made-up Fabric channels: own authorities, own orderers, blocks of any size.
 *
 *     struct gen_channel *channel = gen_channel_new(&options);
 *     struct gen_draft draft = gen_config_draft(channel);       the genesis
 *     gen_seal(channel, &draft, &raw);
 *     gen_commit(channel, buffer_bytes(&raw));                  it is the tip now
 *     draft = gen_draft(channel);                               the next block, as it should be
 *     draft.last_config = 7;                                    ... or not
 *     gen_seal(channel, &draft, &raw);
 *
 * What cannot fail for an honest channel aborts. Keys are fresh at every run; everything else is
 * the same each time.
 */
#ifndef ZR_TESTS_LIB_FABRIC_GEN_H
#define ZR_TESTS_LIB_FABRIC_GEN_H

#include "relay/base/bytes.h"
#include "relay/base/crypto.h"

#define GEN_ORGS_MAX    8
#define GEN_NODES_MAX   16
#define GEN_SIGNERS_MAX 32

struct gen_ca; /* A certification authority, root or intermediate: fabric_gen_pki.h. */

enum gen_org_flag {
	GEN_NODE_OUS = 1,     /* Units tell clients, peers, admins and orderers apart. */
	GEN_INTERMEDIATE = 2, /* Identities are issued by an intermediate authority. */
	GEN_REQUIRED_OU = 4,  /* Members must be of unit "SEALERS". */
	GEN_SHA3 = 8,         /* It asks for signatures over SHA-3. */
	GEN_ROOT_OUS = 16,    /* Units are the root's to give, whoever issues identities. */
};

struct gen_org {
	char name[32]; /* "Org0": the MSP is "Org0MSP". */
	char msp[40];
	unsigned flags;
	struct gen_ca *root;
	struct gen_ca *issuer; /* root, or an intermediate below it. */
	struct buffer crl;     /* Empty until gen_revoke(). */
	struct buffer admins;  /* PEM of one listed admin, or empty. */
	struct buffer writers; /* Policy that replaces "any member may write", or empty. */
	struct buffer extra;   /* Appended to its MSP configuration. */
};

struct gen_node {
	struct gen_org *org;
	uint32_t id; /* As a consenter. */
	struct key *key;
	struct buffer pem;
};

enum gen_kind { GEN_RAFT, GEN_BFT };

struct gen_options {
	const char *name;
	enum gen_kind kind;
	const char *capability; /* NULL: "V2_0", or "V3_0" for BFT. */
	size_t org_count;       /* Of orderers; 1 if 0. */
	size_t node_count;      /* Spread over the organisations. */
	unsigned org_flags;
	enum suite suite; /* Of the orderers' keys; 0: sha256-p256. */
};

struct gen_channel {
	struct gen_options options;
	struct gen_org *orgs[GEN_ORGS_MAX]; /* Owned. */
	size_t org_count;
	struct gen_node *nodes[GEN_NODES_MAX]; /* Owned. In the configuration. */
	size_t node_count;
	struct gen_org *client_org; /* Owned. */
	struct gen_node *client;    /* Owned. */
	uint64_t sequence;          /* Of the configuration that the next config block brings. */
	struct buffer block_validation; /* Policy that replaces the default, or empty. */

	uint64_t height; /* Of the next block. */
	struct hash tip;
	uint64_t last_config;
};

struct gen_channel *gen_channel_new(const struct gen_options *options);
void gen_channel_free(struct gen_channel *channel);

/* ---- people ---- */

/* Not in the configuration until it is added to channel->orgs. */
struct gen_org *gen_org_new(const char *name, unsigned flags);
void gen_org_free(struct gen_org *org);
/* unit: the organisational unit of its certificate, several ("peer+admin"), or NULL. */
struct gen_node *gen_node_new(struct gen_org *org, const char *unit, enum suite suite);
/* Another certificate over node's key. */
struct gen_node *gen_node_again(const struct gen_node *node, const char *unit);
void gen_node_free(struct gen_node *node);
/* Puts the node's certificate on its issuer's revocation list. */
void gen_revoke(const struct gen_node *node);
/* A serialised identity, appended. */
void gen_identity(const struct gen_node *node, struct buffer *out);

/* ---- blocks ---- */

struct gen_draft {
	const char *channel;
	uint64_t height;
	struct hash parent;
	uint64_t last_config;
	bool is_config;    /* Holds the channel's configuration as it is now. */
	size_t tx_count;   /* Else: so many transactions ... */
	size_t tx_size;    /* ... of about so many bytes each. */
	bool has_no_value; /* As before 1.4.1: metadata without a value. */
	bool by_identity;  /* Signers are named by certificate, even in a BFT channel. */
	bool has_both;     /* By certificate and by number. */
	bool is_high_s;    /* Signatures with s above half of the order. */
	const struct gen_node *signers[GEN_SIGNERS_MAX];
	size_t signer_count;
};

/* The next block of the channel: Raft: signed by its first node, BFT: by the smallest quorum. */
struct gen_draft gen_draft(const struct gen_channel *channel);
struct gen_draft gen_config_draft(const struct gen_channel *channel);
/* Replaces out. */
void gen_seal(const struct gen_channel *channel, const struct gen_draft *draft, struct buffer *out);
/* raw is the tip now, and if it is a config block, in force. */
void gen_commit(struct gen_channel *channel, const struct gen_draft *draft, struct bytes raw);
/* Seals and commits the next block: one line for an honest channel. */
void gen_next(struct gen_channel *channel, size_t tx_count, size_t tx_size, struct buffer *out);
void gen_next_config(struct gen_channel *channel, struct buffer *out);

/* The channel group of the configuration as it is now, appended. */
void gen_channel_group(const struct gen_channel *channel, struct buffer *out);
/* A config block around any configuration: content is that of the envelope. */
void gen_seal_config(const struct gen_channel *channel, const struct gen_draft *draft,
                     struct bytes content, struct buffer *out);

/* ---- policies, replaced in out ---- */

void gen_policy_meta(struct buffer *out, unsigned rule, const char *name);
/* A role's principal: role as in MSPRole. */
void gen_principal_role(struct buffer *out, const char *msp, unsigned role);
void gen_principal_unit(struct buffer *out, const char *msp, const char *unit,
                        struct bytes certifiers);
void gen_principal_identity(struct buffer *out, const struct gen_node *node);
/* needed of all principals. */
void gen_policy_signatures(struct buffer *out, unsigned needed, const struct buffer *principals,
                           size_t count);

#endif
