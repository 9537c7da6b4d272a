/* misbehave.h -- the rules by which the development main chain stops being honest.
 *
 * Rules are JSON, given at start or to POST /dev/misbehave:
 *
 *     { "seed": 7, "rules": [
 *         { "do": "drop-after", "on": ["submit"], "count": 2 },
 *         { "do": "slow", "ms": 300, "probability": 0.2 } ] }
 *
 * A rule acts each time it applies, at most `count` times if that is given, and with `probability`
 * if that is given, drawn from the seed. The first rule that applies acts; rules of different kinds
 * act side by side. docs/man/zonerelay-devchain.8 lists the kinds; so does the table in the .c file.
 */
#ifndef ZR_ADAPTERS_MAINCHAIN_DEVCHAIN_MISBEHAVE_H
#define ZR_ADAPTERS_MAINCHAIN_DEVCHAIN_MISBEHAVE_H

#include <jansson.h>

#include "adapters/mainchain.h"

enum misbehaviour {
	MISBEHAVE_DROP_BEFORE,
	MISBEHAVE_DROP_AFTER,
	MISBEHAVE_ERROR_BEFORE,
	MISBEHAVE_ERROR_AFTER,
	MISBEHAVE_SLOW,
	MISBEHAVE_RESET,
	MISBEHAVE_BUSY,
	MISBEHAVE_DENY,
	MISBEHAVE_GARBLE,
	MISBEHAVE_BAD_EVIDENCE,
	MISBEHAVE_STALE,
	MISBEHAVE_REFUSE_CHAIN,
	MISBEHAVE_HOLD_BLOCKS,
	MISBEHAVE_HOLD_FINALITY,
	MISBEHAVE_REORGANISE,
	MISBEHAVE_COUNT,
};

#define MISBEHAVE_RULES_MAX 64
#define MISBEHAVE_TEXT_MAX  65536

/* Not a call of the adapter: for rules that act on blocks. */
#define MISBEHAVE_NO_CALL (-1)

struct misbehave;

/* Errors: ZR_INVALID  with the rule and what is wrong. */
bool misbehave_new(struct misbehave **out_misbehave, struct bytes json, struct err *err) MUST_CHECK;
void misbehave_free(struct misbehave *misbehave); /* NULL is allowed. */

/* Does it act now? Counts if so. call: enum mainchain_call, or MISBEHAVE_NO_CALL. out_parameter:
 * the rule's number (milliseconds, bytes, status ...), or its default. */
bool misbehave_acts(struct misbehave *misbehave, enum misbehaviour kind, int call,
                    uint64_t *out_parameter);
/* As misbehave_acts() for MISBEHAVE_REFUSE_CHAIN and this chain; never counts. */
bool misbehave_refuses(const struct misbehave *misbehave, const char *chain);

/* The rules in force, what is left of their counts, and how often each acted. A new reference. */
json_t *misbehave_show(const struct misbehave *misbehave);

/* Name and sentence of each kind, for --help and documents. NULL past the end. */
const char *misbehave_name(enum misbehaviour kind);
const char *misbehave_text(enum misbehaviour kind);

#endif
