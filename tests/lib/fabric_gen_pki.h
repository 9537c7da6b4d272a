/* fabric_gen_pki.h -- authorities and certificates for fabric_gen.h. Aborts where OpenSSL fails. */
#ifndef ZR_TESTS_LIB_FABRIC_GEN_PKI_H
#define ZR_TESTS_LIB_FABRIC_GEN_PKI_H

#include "relay/base/bytes.h"
#include "relay/base/crypto.h"

struct gen_ca;

/* A root, or an intermediate of parent. All certificates have expired long ago: it must not matter. */
struct gen_ca *gen_ca_new(const char *name, struct gen_ca *parent);
void gen_ca_free(struct gen_ca *ca);
/* Another root certificate of the same name over the same key, appended as PEM. */
void gen_ca_renew(struct gen_ca *ca, struct buffer *out);
void gen_ca_pem(const struct gen_ca *ca, struct buffer *out);
struct bytes gen_ca_der(const struct gen_ca *ca);
/* A certificate over key, appended as PEM. unit: NULL, "peer", or several: "peer+admin". */
void gen_ca_issue(struct gen_ca *ca, const struct key *key, const char *unit, bool is_ca,
                  struct buffer *out);
/* Replaces out with a list of all that was revoked so far and the certificate in pem. */
void gen_ca_revoke(struct gen_ca *ca, struct bytes pem, struct buffer *out);

/* n - s for s: proves the same, and is refused. */
void gen_flip_s(struct signature *signature);

#endif
