/* endpoints.h -- which of several equal addresses to ask, and what is known of each. Pure.
 *
 * They stand in order of preference. One that failed is avoided for a while, longer each time, with
 * jitter; it is asked all the same where no other is left, so that a call never fails untried. The
 * pace of trying again after that is the caller's.
 */
#ifndef ZR_ADAPTERS_MAINCHAIN_ENDPOINTS_H
#define ZR_ADAPTERS_MAINCHAIN_ENDPOINTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "adapters/mainchain.h"

#define ENDPOINTS_MAX        16
#define ENDPOINT_COOL_MIN_MS 1000
#define ENDPOINT_COOL_MAX_MS 60000

struct endpoint {
	struct mainchain_endpoint_status status; /* Its url is kept by whoever filled it in. */
	uint32_t failures_in_row;
	int64_t cool_until_ms; /* Monotonic; 0: it is well. */
};

struct endpoints {
	struct endpoint items[ENDPOINTS_MAX];
	size_t count;
	uint64_t height; /* The highest that any of them answered at. */
};

/* The best one whose bit is not set in tried. False: all were tried. */
bool endpoints_choose(const struct endpoints *endpoints, uint32_t tried, int64_t now_ms,
                      size_t *out_index);

/* It answered, at height; NULL where the answer names none. */
void endpoints_answered(struct endpoints *endpoints, size_t index, const uint64_t *height);

/* It did not answer, or not as it should. retry_after_ms is its own wish, 0 for none. jitter is
 * uniform below 2^32. */
void endpoints_failed(struct endpoints *endpoints, size_t index, int64_t now_ms,
                      int64_t retry_after_ms, uint32_t jitter);

#endif
