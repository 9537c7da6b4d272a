/* The table of reasons. */
#include "adapters/mainchain/api.h"

#include <assert.h>
#include <string.h>

#define PUT    (1u << MAINCHAIN_PUT)
#define SUBMIT (1u << MAINCHAIN_SUBMIT)
#define FENCE  (1u << MAINCHAIN_FENCE)
#define ANY                                                                     \
	(PUT | SUBMIT | FENCE | 1u << MAINCHAIN_LOOKUP | 1u << MAINCHAIN_HEAD | \
	 1u << MAINCHAIN_CONTENT)

static const struct api_reason_row rows[API_REASON_COUNT] = {
	[API_PREVIOUS] = { "previous", { 409, 0 }, MAINCHAIN_REJECT_PREVIOUS, SUBMIT },
	[API_CONTENT] = { "content", { 422, 400 }, MAINCHAIN_REJECT_CONTENT, PUT | SUBMIT },
	[API_CHANGED] = { "changed", { 409, 0 }, MAINCHAIN_REJECT_CHANGED, SUBMIT },
	[API_MISSING] = { "missing", { 422, 0 }, MAINCHAIN_REJECT_MISSING, SUBMIT },
	[API_DENIED] = { "denied", { 403, 401 }, MAINCHAIN_REJECT_DENIED, ANY },
	[API_TOO_LARGE] = { "too-large", { 413, 0 }, MAINCHAIN_REJECT_TOO_LARGE, PUT | SUBMIT },
	[API_FENCED] = { "fenced", { 409, 0 }, MAINCHAIN_REJECT_NONE, SUBMIT | FENCE },
	[API_BUSY] = { "busy", { 503, 429 }, MAINCHAIN_REJECT_NONE, ANY },
};

const struct api_reason_row *api_reason_row(enum api_reason reason)
{
	assert(reason < API_REASON_COUNT);
	return &rows[reason];
}

bool api_reason_from_name(const char *name, enum api_reason *out_reason)
{
	for (enum api_reason reason = API_PREVIOUS; reason < API_REASON_COUNT; reason++) {
		if (strcmp(rows[reason].name, name) == 0) {
			*out_reason = reason;
			return true;
		}
	}
	return false;
}
