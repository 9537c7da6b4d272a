/* policy.h -- who must have signed: a policy of a config block, compiled once, and the signers it
 * is asked about.
 *
 * A policy that we cannot evaluate to the letter, or that anybody would satisfy, does not compile:
 * the chain is refused at enrolment, not its blocks one by one later.
 */
#ifndef ZR_ADAPTERS_SIDECHAIN_FABRIC_POLICY_H
#define ZR_ADAPTERS_SIDECHAIN_FABRIC_POLICY_H

#include "adapters/sidechain/fabric/orgs.h"

#define SIGNERS_MAX 256 /* That one block may have. */

struct signing_policy;

/* The policy called name in group, a checked group of which orgs are the organisations; whoever it
 * names is loaded into orgs, which is borrowed until policy_free().
 *
 * Errors: ZR_INVALID    malformed.
 *         ZR_UNTRUSTED  there is none, or it cannot be evaluated. */
bool policy_compile(struct signing_policy **out_policy, struct bytes group, const char *name,
                    struct orgs *orgs, struct err *err) MUST_CHECK;
void policy_free(struct signing_policy *policy); /* NULL is allowed. */
/* "ANY Writers", "2 of 3 signatures": for people. Borrowed. */
const char *policy_text(const struct signing_policy *policy);

/* ---- signers ---- */

struct identity; /* A member of an organisation, and which principals of the policy it fits. */

/* orgs is borrowed until identity_free(). Gives *out_identity.
 * Errors: ZR_UNTRUSTED  not a member of an organisation that the policy names. */
bool identity_new(struct identity **out_identity, const struct signing_policy *policy,
                  const struct orgs *orgs, struct bytes msp_name, struct bytes pem,
                  struct err *err) MUST_CHECK;
void identity_free(struct identity *identity); /* NULL is allowed. */
const struct key *identity_key(const struct identity *identity);
const struct cert *identity_cert(const struct identity *identity);
/* Two with one key are one signer, whatever their certificates say. */
bool identity_same(const struct identity *a, const struct identity *b);

/* Signers are different from each other (identity_same()), SIGNERS_MAX at most. */
bool policy_is_satisfied(const struct signing_policy *policy, const struct identity *const *signers,
                         size_t count);

#endif
