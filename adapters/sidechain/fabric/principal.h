/* principal.h -- one of those whom a policy names: a role, a unit or one certificate. */
#ifndef ZR_ADAPTERS_SIDECHAIN_FABRIC_PRINCIPAL_H
#define ZR_ADAPTERS_SIDECHAIN_FABRIC_PRINCIPAL_H

#include "adapters/sidechain/fabric/orgs.h"

enum principal_kind { PRINCIPAL_ROLE = 0, PRINCIPAL_UNIT = 1, PRINCIPAL_IDENTITY = 2 };

struct principal {
	enum principal_kind kind;
	const struct msp *msp; /* NULL: not an organisation of this channel; nobody fits. */
	enum msp_role role;
	struct bytes unit;
	struct bytes certifiers; /* Of the unit. */
	struct cert *cert;       /* Owned; of an identity. */
};

/* Loads the organisation it names. Errors: ZR_INVALID, ZR_UNTRUSTED. */
bool principal_init(struct principal *principal, struct bytes message, struct orgs *orgs,
                    struct err *err) MUST_CHECK;
void principal_fini(struct principal *principal);

/* Is a member of msp, whose issuer is certifiers, meant? */
bool principal_fits(const struct principal *principal, const struct msp *msp,
                    const struct cert *cert, const struct hash *certifiers);

/* A serialised identity: { string mspid = 1; bytes id_bytes = 2; }. False: malformed. */
bool identity_split(struct bytes serialised, struct bytes *out_msp_name, struct bytes *out_pem);

#endif
