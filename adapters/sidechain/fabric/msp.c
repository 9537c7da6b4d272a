/* msp.c -- see msp.h.
 *
 *     MSPConfig          { int32 type = 1; bytes config = 2; }
 *     FabricMSPConfig    { string name = 1; repeated bytes root_certs = 2, intermediate_certs = 3,
 *                          admins = 4, revocation_list = 5; SigningIdentityInfo = 6;
 *                          repeated FabricOUIdentifier = 7; FabricCryptoConfig = 8;
 *                          repeated bytes tls_root_certs = 9, tls_intermediate_certs = 10;
 *                          FabricNodeOUs = 11; }
 *     FabricOUIdentifier { bytes certificate = 1; string organizational_unit_identifier = 2; }
 *     FabricCryptoConfig { string signature_hash_family = 1;
 *                          string identity_identifier_hash_function = 2; }
 *     FabricNodeOUs      { bool enable = 1; FabricOUIdentifier client = 2, peer = 3, admin = 4,
 *                          orderer = 5; }
 */
#include "adapters/sidechain/fabric/msp.h"

#include <stdlib.h>
#include <string.h>

#include "adapters/sidechain/fabric/shown.h"
#include "adapters/sidechain/wire.h"

#define X509_KIND       0 /* MSPConfig.type. */
#define AUTHORITIES_MAX 64
#define ADMINS_MAX      64
#define CRLS_MAX        64
#define UNITS_MAX       64

/* A root or intermediate CA. */
struct authority {
	struct bytes pem;
	struct cert *cert; /* Owned. */
	bool is_root;
	bool is_parent;         /* Has intermediates below it, and so issues no identities. */
	struct hash certifiers; /* Over the certificates from this one up to its root. */
};

/* An organisational unit, perhaps only as one issuer certifies it. */
struct unit {
	struct bytes name;
	bool is_certified;
	struct hash certifiers;
};

struct msp {
	struct bytes name;
	enum msp_level level;
	struct authority authorities[AUTHORITIES_MAX];
	size_t authority_count;
	struct cert *admins[ADMINS_MAX]; /* Owned, each. */
	size_t admin_count;
	struct bytes crls[CRLS_MAX];
	size_t crl_count;
	struct unit units[UNITS_MAX]; /* If any: a member is of one of them. */
	size_t unit_count;
	bool tells_apart;                  /* Units say what an identity is ("NodeOUs"). */
	struct unit roles[MSP_ROLE_COUNT]; /* A role without a name has no unit. */
};

struct bytes msp_name(const struct msp *msp)
{
	return msp->name;
}

void msp_free(struct msp *msp)
{
	if (msp == NULL)
		return;
	for (size_t i = 0; i < msp->authority_count; i++)
		cert_free(msp->authorities[i].cert);
	for (size_t i = 0; i < msp->admin_count; i++)
		cert_free(msp->admins[i]);
	free(msp);
}

/* ---- decoding ---- */

struct parts {
	struct bytes crypto;
	struct bytes node_ous;
	struct bytes units[UNITS_MAX];
	size_t unit_count;
};

static bool decode_kind(struct bytes value, uint64_t *out_kind, struct bytes *out_config)
{
	struct wire wire = wire_of(value, WIRE_PLAIN);
	struct wire_field field;
	*out_kind = X509_KIND;
	*out_config = BYTES_NONE;
	while (wire_next(&wire, &field)) {
		switch (field.number) {
		case 1:
			wire_u64(&wire, &field, out_kind);
			break;
		case 2:
			wire_bytes(&wire, &field, out_config);
			break;
		default:
			wire_unknown(&wire);
		}
	}
	return wire_ok(&wire);
}

bool msp_peek(struct bytes value, struct bytes *out_name)
{
	uint64_t kind;
	struct bytes config;
	if (!decode_kind(value, &kind, &config) || kind != X509_KIND)
		return false;
	struct wire wire = wire_of(config, WIRE_GO);
	struct wire_field field;
	*out_name = BYTES_NONE;
	while (wire_next(&wire, &field)) {
		if (field.number == 1)
			wire_bytes(&wire, &field, out_name);
	}
	return wire_ok(&wire) && out_name->size > 0;
}

static bool is_known(const struct msp *msp, const struct cert *cert)
{
	for (size_t i = 0; i < msp->authority_count; i++) {
		if (bytes_equal(cert_der(msp->authorities[i].cert), cert_der(cert)))
			return true;
	}
	return false;
}

static bool add_authority(struct msp *msp, struct bytes pem, bool is_root, struct err *err)
{
	if (msp->authority_count == AUTHORITIES_MAX)
		return err_set(err, ZR_UNTRUSTED, "more than %d authorities", AUTHORITIES_MAX);
	struct authority *authority = &msp->authorities[msp->authority_count];
	if (!cert_from_pem(&authority->cert, pem, err))
		return err_wrap(err, "authority %zu", msp->authority_count);
	authority->pem = pem;
	authority->is_root = is_root;
	if (is_known(msp, authority->cert)) {
		cert_free(authority->cert); /* Given twice, it is one. */
		return true;
	}
	msp->authority_count++;
	if (!cert_is_ca(authority->cert))
		return err_set(err, ZR_UNTRUSTED, "authority %s is not a CA",
		               cert_subject(authority->cert));
	return true;
}

static bool add_admin(struct msp *msp, struct bytes pem, struct err *err)
{
	if (msp->admin_count == ADMINS_MAX)
		return err_set(err, ZR_UNTRUSTED, "more than %d admins", ADMINS_MAX);
	if (!cert_from_pem(&msp->admins[msp->admin_count], pem, err))
		return err_wrap(err, "admin %zu", msp->admin_count);
	msp->admin_count++;
	return true;
}

static bool add_crl(struct msp *msp, struct bytes crl, struct err *err)
{
	if (msp->crl_count == CRLS_MAX)
		return err_set(err, ZR_UNTRUSTED, "more than %d revocation lists", CRLS_MAX);
	msp->crls[msp->crl_count++] = crl;
	return true;
}

static bool add_unit(struct parts *parts, struct bytes unit, struct err *err)
{
	if (parts->unit_count == UNITS_MAX)
		return err_set(err, ZR_UNTRUSTED, "more than %d units", UNITS_MAX);
	parts->units[parts->unit_count++] = unit;
	return true;
}

/* One of the repeated fields. TLS authorities play no part in signing blocks. */
static bool add_item(struct msp *msp, struct parts *parts, uint32_t number, struct bytes item,
                     struct err *err)
{
	switch (number) {
	case 2:
	case 3:
		return add_authority(msp, item, number == 2, err);
	case 4:
		return add_admin(msp, item, err);
	case 5:
		return add_crl(msp, item, err);
	case 7:
		return add_unit(parts, item, err);
	default:
		return true;
	}
}

static bool decode_config(struct msp *msp, struct bytes config, struct parts *parts,
                          struct err *err)
{
	struct wire wire = wire_of(config, WIRE_PLAIN);
	struct wire_field field;
	struct bytes item = BYTES_NONE;
	while (wire_next(&wire, &field)) {
		switch (field.number) {
		case 1:
			wire_bytes(&wire, &field, &msp->name);
			break;
		case 2:
		case 3:
		case 4:
		case 5:
		case 7:
		case 9:
		case 10:
			if (wire_repeated(&wire, &field, &item) &&
			    !add_item(msp, parts, field.number, item, err))
				return false;
			break;
		case 6:
			wire_message(&wire, &field, &item);
			break;
		case 8:
			wire_message(&wire, &field, &parts->crypto);
			break;
		case 11:
			wire_message(&wire, &field, &parts->node_ous);
			break;
		default:
			wire_unknown(&wire);
		}
	}
	return wire_ok(&wire) || err_set(err, ZR_INVALID, "malformed, or with unknown fields");
}

static bool check_crypto(struct bytes message, struct err *err)
{
	struct wire wire = wire_of(message, WIRE_PLAIN);
	struct wire_field field;
	struct bytes family = BYTES_NONE;
	struct bytes identifier = BYTES_NONE;
	while (wire_next(&wire, &field)) {
		switch (field.number) {
		case 1:
			wire_bytes(&wire, &field, &family);
			break;
		case 2:
			wire_bytes(&wire, &field, &identifier);
			break;
		default:
			wire_unknown(&wire);
		}
	}
	if (!wire_ok(&wire))
		return err_set(err, ZR_INVALID, "malformed crypto configuration");
	if ((family.size > 0 && !bytes_equal(family, BYTES_LITERAL("SHA2"))) ||
	    (identifier.size > 0 && !bytes_equal(identifier, BYTES_LITERAL("SHA256"))))
		return err_set(err, ZR_UNTRUSTED, "it hashes otherwise than with SHA-256");
	return true;
}

/* ---- authorities ---- */

static bool is_issued_by(const struct cert *cert, const struct cert *issuer, struct err *err)
{
	struct cert_trust trust = { .roots = &issuer, .root_count = 1 };
	return cert_check(cert, &trust, CERT_ANY_TIME, err);
}

/* The authority that issued cert. With two that could have, it would be unclear whose it is:
 * Fabric refuses that, too. */
static bool find_issuer(const struct msp *msp, const struct cert *cert, size_t *out_issuer,
                        struct err *err)
{
	size_t count = 0;
	for (size_t i = 0; i < msp->authority_count; i++) {
		struct err reason;
		if (is_issued_by(cert, msp->authorities[i].cert, &reason)) {
			*out_issuer = i;
			count++;
		} else if (reason.code == ZR_NO_MEMORY) {
			return err_set(err, ZR_NO_MEMORY, "%s", reason.message);
		}
	}
	return count == 1 || err_set(err, ZR_UNTRUSTED, "it has %zu issuers, not one", count);
}

/* Is there an unrevoked path from cert to a root? */
static bool check_path(const struct msp *msp, const struct cert *cert, struct err *err)
{
	const struct cert *roots[AUTHORITIES_MAX];
	const struct cert *intermediates[AUTHORITIES_MAX];
	struct cert_trust trust = { .roots = roots,
		                    .intermediates = intermediates,
		                    .crls = msp->crls,
		                    .crl_count = msp->crl_count };
	for (size_t i = 0; i < msp->authority_count; i++) {
		if (msp->authorities[i].is_root)
			roots[trust.root_count++] = msp->authorities[i].cert;
		else
			intermediates[trust.intermediate_count++] = msp->authorities[i].cert;
	}
	return cert_check(cert, &trust, CERT_ANY_TIME, err);
}

/* Walks from an authority to its root: marks the parents, hashes the path. */
static bool connect_authority(struct msp *msp, size_t index, struct err *err)
{
	struct bytes path[AUTHORITIES_MAX];
	size_t length = 0;
	size_t at = index;
	path[length++] = cert_der(msp->authorities[at].cert);
	while (!msp->authorities[at].is_root) {
		if (!find_issuer(msp, msp->authorities[at].cert, &at, err))
			return err_wrap(err, "%s", cert_subject(msp->authorities[index].cert));
		if (length == AUTHORITIES_MAX)
			return err_set(err, ZR_UNTRUSTED, "its authorities run in a circle");
		msp->authorities[at].is_parent = true;
		path[length++] = cert_der(msp->authorities[at].cert);
	}
	msp->authorities[index].certifiers = hash_parts(HASH_SHA256, path, length);
	return true;
}

static bool connect_authorities(struct msp *msp, struct err *err)
{
	if (msp->authority_count == 0)
		return err_set(err, ZR_UNTRUSTED, "it has no authority");
	for (size_t i = 0; i < msp->authority_count; i++) {
		const struct authority *authority = &msp->authorities[i];
		if (!authority->is_root && !check_path(msp, authority->cert, err))
			return err_wrap(err, "intermediate authority");
		if (!connect_authority(msp, i, err))
			return false;
	}
	return true;
}

/* ---- units ---- */

static bool find_certifiers(const struct msp *msp, struct bytes pem, struct hash *out_certifiers,
                            struct err *err)
{
	struct cert *cert;
	for (size_t i = 0; i < msp->authority_count; i++) {
		/* Most often it is written just as the authority was: no need to take it apart. */
		if (bytes_equal(msp->authorities[i].pem, pem)) {
			*out_certifiers = msp->authorities[i].certifiers;
			return true;
		}
	}
	if (!cert_from_pem(&cert, pem, err))
		return false;
	bool found = false;
	for (size_t i = 0; !found && i < msp->authority_count; i++) {
		found = bytes_equal(cert_der(msp->authorities[i].cert), cert_der(cert));
		if (found)
			*out_certifiers = msp->authorities[i].certifiers;
	}
	cert_free(cert);
	return found || err_set(err, ZR_UNTRUSTED, "a unit's issuer is none of the authorities");
}

static bool decode_unit(const struct msp *msp, struct bytes message, struct unit *out_unit,
                        struct err *err)
{
	struct wire wire = wire_of(message, WIRE_PLAIN);
	struct wire_field field;
	struct bytes pem = BYTES_NONE;
	struct unit unit = { .name = BYTES_NONE };
	while (wire_next(&wire, &field)) {
		switch (field.number) {
		case 1:
			wire_bytes(&wire, &field, &pem);
			break;
		case 2:
			wire_bytes(&wire, &field, &unit.name);
			break;
		default:
			wire_unknown(&wire);
		}
	}
	if (!wire_ok(&wire) || unit.name.size == 0)
		return err_set(err, ZR_INVALID, "a malformed organisational unit");
	unit.is_certified = pem.size > 0;
	if (unit.is_certified && !find_certifiers(msp, pem, &unit.certifiers, err))
		return false;
	*out_unit = unit;
	return true;
}

static bool decode_units(struct msp *msp, const struct parts *parts, struct err *err)
{
	for (size_t i = 0; i < parts->unit_count; i++) {
		struct unit *unit = &msp->units[msp->unit_count];
		if (!decode_unit(msp, parts->units[i], unit, err))
			return false;
		if (!unit->is_certified)
			return err_set(err, ZR_INVALID, "a unit without its issuer");
		msp->unit_count++;
	}
	return true;
}

/* Field number of FabricNodeOUs -> role. */
static const enum msp_role role_of_field[] = {
	[2] = MSP_CLIENT, [3] = MSP_PEER, [4] = MSP_ADMIN, [5] = MSP_ORDERER
};

static bool decode_roles(struct msp *msp, struct bytes message, struct err *err)
{
	struct wire wire = wire_of(message, WIRE_PLAIN);
	struct wire_field field;
	uint64_t enable = 0;
	size_t role_count = 0;
	while (wire_next(&wire, &field)) {
		struct bytes unit = BYTES_NONE;
		switch (field.number) {
		case 1:
			wire_u64(&wire, &field, &enable);
			break;
		case 2:
		case 3:
		case 4:
		case 5:
			wire_message(&wire, &field, &unit);
			if (!wire.failed &&
			    !decode_unit(msp, unit, &msp->roles[role_of_field[field.number]], err))
				return false;
			role_count++;
			break;
		default:
			wire_unknown(&wire);
		}
	}
	if (!wire_ok(&wire))
		return err_set(err, ZR_INVALID, "malformed node units");
	msp->tells_apart = enable != 0 && role_count > 0;
	return true;
}

/* What the channel's level does not know is as if it were not there. */
static bool settle_roles(struct msp *msp, struct err *err)
{
	if (msp->level == MSP_1_0)
		msp->tells_apart = false;
	if (msp->level == MSP_1_1) {
		msp->roles[MSP_ADMIN] = (struct unit){ .name = BYTES_NONE };
		msp->roles[MSP_ORDERER] = (struct unit){ .name = BYTES_NONE };
	}
	if (msp->tells_apart && msp->level == MSP_1_1 &&
	    (msp->roles[MSP_CLIENT].name.size == 0 || msp->roles[MSP_PEER].name.size == 0))
		return err_set(err, ZR_INVALID, "no units for clients and peers");
	return true;
}

static bool decode(struct msp *msp, struct bytes value, struct err *err)
{
	uint64_t kind;
	struct bytes config;
	struct parts parts = { .crypto = BYTES_NONE };
	if (!decode_kind(value, &kind, &config))
		return err_set(err, ZR_INVALID, "malformed");
	if (kind != X509_KIND)
		return err_set(err, ZR_UNTRUSTED, "it is not of the X.509 kind");
	return decode_config(msp, config, &parts, err) && check_crypto(parts.crypto, err) &&
	       connect_authorities(msp, err) && decode_units(msp, &parts, err) &&
	       decode_roles(msp, parts.node_ous, err) && settle_roles(msp, err);
}

bool msp_new(struct msp **out_msp, struct bytes value, enum msp_level level, struct err *err)
{
	struct msp *msp = calloc(1, sizeof(*msp));
	if (msp == NULL)
		return err_set(err, ZR_NO_MEMORY, "an organisation");
	msp->level = level;
	if (!decode(msp, value, err)) {
		char name[SHOWN_SIZE];
		(void)err_wrap(err, "organisation %s", shown(msp->name, name));
		msp_free(msp);
		return false;
	}
	*out_msp = msp;
	return true;
}

/* ---- members ---- */

bool msp_is_of_unit(const struct cert *cert, struct bytes name)
{
	const char *unit;
	for (size_t i = 0; (unit = cert_subject_ou(cert, i)) != NULL; i++) {
		if (bytes_equal(bytes_of_string(unit), name))
			return true;
	}
	return false;
}

static bool is_of_required_unit(const struct msp *msp, const struct cert *cert,
                                const struct hash *certifiers)
{
	for (size_t i = 0; i < msp->unit_count; i++) {
		if (hash_equal(&msp->units[i].certifiers, certifiers) &&
		    msp_is_of_unit(cert, msp->units[i].name))
			return true;
	}
	return msp->unit_count == 0;
}

/* Counts as Fabric does, over the certificate's units: one that stands twice counts twice. */
static bool has_one_role(const struct msp *msp, const struct cert *cert,
                         const struct hash *certifiers, struct err *err)
{
	size_t count = 0;
	const char *unit;
	for (size_t i = 0; (unit = cert_subject_ou(cert, i)) != NULL; i++) {
		for (size_t role = MSP_ADMIN; role < MSP_ROLE_COUNT; role++) {
			const struct unit *wanted = &msp->roles[role];
			if (wanted->name.size == 0 ||
			    !bytes_equal(bytes_of_string(unit), wanted->name))
				continue;
			if (wanted->is_certified && !hash_equal(&wanted->certifiers, certifiers))
				return err_set(err, ZR_UNTRUSTED,
				               "unit %s is another authority's to give", unit);
			count++;
		}
	}
	return count == 1 || err_set(err, ZR_UNTRUSTED, "its units name %zu roles, not one", count);
}

static bool check_key(const struct msp *msp, const struct cert *cert, struct err *err)
{
	const struct key *key = cert_key(cert);
	if (key != NULL && key_suite(key) == SUITE_SHA256_P256)
		return true;
	if (key != NULL && key_suite(key) == SUITE_SHA256_ED25519 && msp->level >= MSP_3_0)
		return true;
	return err_set(err, ZR_UNTRUSTED, "a kind of key that is not accepted");
}

static bool check_member(const struct msp *msp, const struct cert *cert,
                         struct hash *out_certifiers, struct err *err)
{
	if (!check_key(msp, cert, err))
		return false;
	if (cert_is_ca(cert))
		return err_set(err, ZR_UNTRUSTED, "an authority signs no blocks");
	if (!check_path(msp, cert, err))
		return false;
	size_t issuer = 0;
	/* A path through the only authority there is needs no second look. */
	if (msp->authority_count > 1 && !find_issuer(msp, cert, &issuer, err))
		return false;
	if (msp->authorities[issuer].is_parent)
		return err_set(err, ZR_UNTRUSTED, "its issuer only issues authorities");
	const struct hash *certifiers = &msp->authorities[issuer].certifiers;
	if (!is_of_required_unit(msp, cert, certifiers))
		return err_set(err, ZR_UNTRUSTED, "it is of none of the required units");
	if (msp->tells_apart && !has_one_role(msp, cert, certifiers, err))
		return false;
	*out_certifiers = *certifiers;
	return true;
}

bool msp_check_member(const struct msp *msp, const struct cert *cert, struct hash *out_certifiers,
                      struct err *err)
{
	char name[SHOWN_SIZE];
	return check_member(msp, cert, out_certifiers, err) ||
	       err_wrap(err, "%s is no member of %s", cert_subject(cert), shown(msp->name, name));
}

static bool is_listed_admin(const struct msp *msp, const struct cert *cert)
{
	for (size_t i = 0; i < msp->admin_count; i++) {
		if (bytes_equal(cert_der(msp->admins[i]), cert_der(cert)))
			return true;
	}
	return false;
}

bool msp_has_role(const struct msp *msp, const struct cert *cert, enum msp_role role)
{
	if (role == MSP_MEMBER)
		return true;
	if (role == MSP_ADMIN && is_listed_admin(msp, cert))
		return true;
	const struct unit *unit = &msp->roles[role];
	return msp->tells_apart && unit->name.size > 0 && msp_is_of_unit(cert, unit->name);
}
