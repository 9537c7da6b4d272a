/* api.h -- what both sides of the main-chain API know of it: the table of reasons, and limits.
 *
 * docs/mainchain-api.yaml says what it all means; a test compares the two.
 */
#ifndef ZR_ADAPTERS_MAINCHAIN_API_H
#define ZR_ADAPTERS_MAINCHAIN_API_H

#include <stddef.h>

#include "adapters/mainchain.h"

#define API_FENCE_HEADER    "Zonerelay-Fence"
#define API_ANSWER_SIZE_MAX 65536

enum api_reason {
	API_PREVIOUS,
	API_CONTENT,
	API_CHANGED,
	API_MISSING,
	API_DENIED,
	API_TOO_LARGE,
	API_FENCED,
	API_BUSY,
	API_REASON_COUNT,
};

struct api_reason_row {
	const char *name;
	int statuses[2]; /* HTTP statuses it comes with; 0: no second one. */
	enum mainchain_reject reject;
	unsigned calls; /* 1 << enum mainchain_call for each that may be refused so. */
};

const struct api_reason_row *api_reason_row(enum api_reason reason);
/* False: no such reason. */
bool api_reason_from_name(const char *name, enum api_reason *out_reason);

#endif
