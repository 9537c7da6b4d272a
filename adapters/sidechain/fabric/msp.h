/* msp.h -- one organisation as a config block defines it ("membership service provider"): whose
 * certificates are its members, and which of them are admins, clients, peers or orderers.
 *
 * What counts differs with the channel's capabilities, as it does in Fabric: each level keeps the
 * rules that its blocks were made under. Validity periods never count, revocations always do.
 */
#ifndef ZR_ADAPTERS_SIDECHAIN_FABRIC_MSP_H
#define ZR_ADAPTERS_SIDECHAIN_FABRIC_MSP_H

#include "relay/base/bytes.h"
#include "relay/base/crypto.h"
#include "relay/base/err.h"

enum msp_level {
	MSP_1_0,   /* Organisational units tell nothing apart. */
	MSP_1_1,   /* Clients and peers are told apart by their unit, if asked to. */
	MSP_1_4_3, /* Admins and orderers, too. */
	MSP_3_0,   /* Ed25519 keys. */
};

enum msp_role { MSP_MEMBER = 0, MSP_ADMIN = 1, MSP_CLIENT = 2, MSP_PEER = 3, MSP_ORDERER = 4 };
#define MSP_ROLE_COUNT 5

struct msp;

/* What an organisation's "MSP" value is called, without looking further. False: not one of the
 * X.509 kind, which is the only one that signs blocks. */
bool msp_peek(struct bytes value, struct bytes *out_name);

/* Borrows value until msp_free(). Gives *out_msp.
 * Errors: ZR_INVALID    malformed.
 *         ZR_UNTRUSTED  something in it is beyond us, or its authorities do not hold together. */
bool msp_new(struct msp **out_msp, struct bytes value, enum msp_level level,
             struct err *err) MUST_CHECK;
void msp_free(struct msp *msp); /* NULL is allowed. */

struct bytes msp_name(const struct msp *msp);

/* Is cert a member's? Then *out_certifiers is the hash over the certificates from its issuer up to
 * the root, which is how Fabric names an issuer.
 * Errors: ZR_UNTRUSTED  with the reason. */
bool msp_check_member(const struct msp *msp, const struct cert *cert, struct hash *out_certifiers,
                      struct err *err) MUST_CHECK;

/* Of a member's certificate. */
bool msp_has_role(const struct msp *msp, const struct cert *cert, enum msp_role role);
/* Does its subject name that organisational unit? */
bool msp_is_of_unit(const struct cert *cert, struct bytes name);

#endif
