/* Counting and comparing, nothing else. */
#include "adapters/mainchain/endpoints.h"

#include <assert.h>

bool endpoints_choose(const struct endpoints *endpoints, uint32_t tried, int64_t now_ms,
                      size_t *out_index)
{
	const struct endpoint *best = NULL;
	for (size_t i = 0; i < endpoints->count; i++) {
		const struct endpoint *endpoint = &endpoints->items[i];
		if ((tried & (UINT32_C(1) << i)) != 0)
			continue;
		if (endpoint->cool_until_ms <= now_ms) {
			*out_index = i;
			return true;
		}
		if (best == NULL || endpoint->cool_until_ms < best->cool_until_ms)
			best = endpoint;
	}
	if (best == NULL)
		return false;
	*out_index = (size_t)(best - endpoints->items);
	return true;
}

void endpoints_answered(struct endpoints *endpoints, size_t index, const uint64_t *height)
{
	assert(index < endpoints->count);
	struct endpoint *endpoint = &endpoints->items[index];
	endpoint->status.up = true;
	endpoint->failures_in_row = 0;
	endpoint->cool_until_ms = 0;
	if (height == NULL)
		return;
	/* endpoints->height is at least its own last one. */
	endpoint->status.behind = *height < endpoints->height;
	endpoint->status.height = *height;
	if (*height > endpoints->height)
		endpoints->height = *height;
}

void endpoints_failed(struct endpoints *endpoints, size_t index, int64_t now_ms,
                      int64_t retry_after_ms, uint32_t jitter)
{
	assert(index < endpoints->count);
	struct endpoint *endpoint = &endpoints->items[index];
	int64_t cool_ms = ENDPOINT_COOL_MIN_MS;
	for (uint32_t i = 0; i < endpoint->failures_in_row && cool_ms < ENDPOINT_COOL_MAX_MS; i++)
		cool_ms *= 2;
	if (cool_ms > ENDPOINT_COOL_MAX_MS)
		cool_ms = ENDPOINT_COOL_MAX_MS;
	/* From half of it to all of it, so that many gateways do not come back together. */
	cool_ms = cool_ms / 2 + (int64_t)((uint64_t)(cool_ms / 2) * jitter >> 32);
	if (cool_ms < retry_after_ms)
		cool_ms = retry_after_ms;

	endpoint->status.up = false;
	endpoint->status.failure_count++;
	endpoint->failures_in_row++;
	endpoint->cool_until_ms = now_ms + cool_ms;
}
