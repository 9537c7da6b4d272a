/* evidence.h -- what a main chain's evidence proves, without a network and without its libraries.
 *
 * The agent and the command line link this alone; the adapters themselves use it too.
 */
#ifndef ZR_ADAPTERS_MAINCHAIN_EVIDENCE_H
#define ZR_ADAPTERS_MAINCHAIN_EVIDENCE_H

#include "adapters/mainchain.h"
#include "adapters/mainchain/evidence_record.h"
#include "adapters/mainchain/trusted.h"

/* How evidence of the adapter of this name is checked. NULL: there is no such adapter. */
mainchain_evidence_check *mainchain_evidence_find(const char *adapter_name);

mainchain_evidence_check http_evidence_check;

/* Reads the files that an operator trusts, as evidence checks take them. Appends.
 * Errors: ZR_UNAVAILABLE  cannot be read.  ZR_FULL  are too large. */
bool mainchain_trusted_read(const char *const *paths, size_t count, struct buffer *out,
                            struct err *err) MUST_CHECK;

/* Does the evidence prove the transaction in it to whoever trusts trusted? Every signature by a
 * trusted key must be good, and there must be enough of them. Appends one line per check, for people.
 * Errors: ZR_UNTRUSTED. */
bool evidence_verify(const struct main_evidence *evidence, const struct trusted *trusted,
                     struct buffer *out_checks, struct err *err) MUST_CHECK;

#endif
