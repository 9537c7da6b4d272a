/* principal.c -- see principal.h.
 *
 *     MSPPrincipal     { enum { ROLE, ORGANIZATION_UNIT, IDENTITY, ANONYMITY, COMBINED }
 *                        classification = 1; bytes principal = 2; }
 *     MSPRole          { string msp_identifier = 1; enum role = 2; }
 *     OrganizationUnit { string msp_identifier = 1; string organizational_unit_identifier = 2;
 *                        bytes certifiers_identifier = 3; }
 */
#include "adapters/sidechain/fabric/principal.h"

#include <assert.h>

#include "adapters/sidechain/wire.h"

bool identity_split(struct bytes serialised, struct bytes *out_msp_name, struct bytes *out_pem)
{
	struct wire wire = wire_of(serialised, WIRE_PLAIN);
	struct wire_field field;
	*out_msp_name = BYTES_NONE;
	*out_pem = BYTES_NONE;
	while (wire_next(&wire, &field)) {
		switch (field.number) {
		case 1:
			wire_bytes(&wire, &field, out_msp_name);
			break;
		case 2:
			wire_bytes(&wire, &field, out_pem);
			break;
		default:
			wire_unknown(&wire);
		}
	}
	return wire_ok(&wire);
}

static bool decode_role(struct principal *principal, struct bytes message, struct bytes *out_msp,
                        struct err *err)
{
	struct wire wire = wire_of(message, WIRE_PLAIN);
	struct wire_field field;
	uint64_t role = MSP_MEMBER;
	while (wire_next(&wire, &field)) {
		switch (field.number) {
		case 1:
			wire_bytes(&wire, &field, out_msp);
			break;
		case 2:
			wire_choice(&wire, &field, &role);
			break;
		default:
			wire_unknown(&wire);
		}
	}
	if (!wire_ok(&wire))
		return err_set(err, ZR_INVALID, "a malformed role");
	if (role >= MSP_ROLE_COUNT)
		return err_set(err, ZR_UNTRUSTED, "a role of kind %llu", (unsigned long long)role);
	principal->role = (enum msp_role)role;
	return true;
}

static bool decode_unit(struct principal *principal, struct bytes message, struct bytes *out_msp,
                        struct err *err)
{
	struct wire wire = wire_of(message, WIRE_PLAIN);
	struct wire_field field;
	while (wire_next(&wire, &field)) {
		switch (field.number) {
		case 1:
			wire_bytes(&wire, &field, out_msp);
			break;
		case 2:
			wire_bytes(&wire, &field, &principal->unit);
			break;
		case 3:
			wire_bytes(&wire, &field, &principal->certifiers);
			break;
		default:
			wire_unknown(&wire);
		}
	}
	return (wire_ok(&wire) && principal->unit.size > 0) ||
	       err_set(err, ZR_INVALID, "a malformed organisational unit");
}

static bool decode_identity(struct principal *principal, struct bytes message,
                            struct bytes *out_msp, struct err *err)
{
	struct bytes pem;
	if (!identity_split(message, out_msp, &pem))
		return err_set(err, ZR_INVALID, "a malformed identity");
	return cert_from_pem(&principal->cert, pem, err);
}

static bool decode_kind(struct bytes message, uint64_t *out_kind, struct bytes *out_content)
{
	struct wire wire = wire_of(message, WIRE_PLAIN);
	struct wire_field field;
	*out_kind = PRINCIPAL_ROLE;
	*out_content = BYTES_NONE;
	while (wire_next(&wire, &field)) {
		switch (field.number) {
		case 1:
			wire_choice(&wire, &field, out_kind);
			break;
		case 2:
			wire_bytes(&wire, &field, out_content);
			break;
		default:
			wire_unknown(&wire);
		}
	}
	return wire_ok(&wire);
}

static bool decode(struct principal *principal, struct bytes message, struct bytes *out_msp,
                   struct err *err)
{
	uint64_t kind;
	struct bytes content;
	if (!decode_kind(message, &kind, &content))
		return err_set(err, ZR_INVALID, "a malformed principal");
	principal->kind = (enum principal_kind)kind;
	switch (kind) {
	case PRINCIPAL_ROLE:
		return decode_role(principal, content, out_msp, err);
	case PRINCIPAL_UNIT:
		return decode_unit(principal, content, out_msp, err);
	case PRINCIPAL_IDENTITY:
		return decode_identity(principal, content, out_msp, err);
	default:
		return err_set(err, ZR_UNTRUSTED, "a principal of kind %llu",
		               (unsigned long long)kind);
	}
}

bool principal_init(struct principal *principal, struct bytes message, struct orgs *orgs,
                    struct err *err)
{
	struct bytes msp_name = BYTES_NONE;
	*principal = (struct principal){ .unit = BYTES_NONE };
	if (!decode(principal, message, &msp_name, err) ||
	    !orgs_load(orgs, msp_name, &principal->msp, err)) {
		principal_fini(principal);
		return false;
	}
	return true;
}

void principal_fini(struct principal *principal)
{
	cert_free(principal->cert);
	principal->cert = NULL;
}

bool principal_fits(const struct principal *principal, const struct msp *msp,
                    const struct cert *cert, const struct hash *certifiers)
{
	if (principal->msp != msp)
		return false;
	switch (principal->kind) {
	case PRINCIPAL_ROLE:
		return msp_has_role(msp, cert, principal->role);
	case PRINCIPAL_UNIT:
		return msp_is_of_unit(cert, principal->unit) &&
		       bytes_equal(principal->certifiers, BYTES_OF(*certifiers));
	case PRINCIPAL_IDENTITY:
		return bytes_equal(cert_der(principal->cert), cert_der(cert));
	}
	assert(false); /* principal_init() lets no other kind pass. */
	return false;
}
