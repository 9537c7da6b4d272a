#include "relay/edge/seal.h"

#include <assert.h>

int64_t seal_slot(const struct seal_rule *rule, int64_t time_ms)
{
	assert(rule->interval_ms > 0);
	return time_ms / rule->interval_ms;
}

bool seal_before(const struct seal_rule *rule, const struct seal_open *open, int64_t slot,
                 uint64_t size)
{
	if (open->count == 0)
		return false;
	return slot > open->slot || open->count >= rule->count_max ||
	       open->bytes + size > rule->bytes_max;
}

void seal_add(struct seal_open *open, int64_t slot, uint64_t size, int64_t wall_ms, int64_t now_ms)
{
	if (open->count == 0)
		*open = (struct seal_open){ .slot = slot,
			                    .first_wall_ms = wall_ms,
			                    .first_ms = now_ms };
	if (slot > open->slot)
		open->slot = slot;
	open->count++;
	open->bytes += size;
}

bool seal_due(const struct seal_rule *rule, const struct seal_open *open, bool meter_time,
              int64_t wall_ms, int64_t now_ms, int64_t *out_wake_ms)
{
	*out_wake_ms = INT64_MAX;
	if (open->count == 0)
		return false;
	if (open->count >= rule->count_max || open->bytes >= rule->bytes_max)
		return true;
	int64_t left_ms = open->first_ms + rule->interval_ms - now_ms;
	if (!meter_time) {
		int64_t slot_end_ms = (open->slot + 1) * rule->interval_ms;
		left_ms = slot_end_ms - wall_ms < left_ms ? slot_end_ms - wall_ms : left_ms;
	}
	if (left_ms <= 0)
		return true;
	*out_wake_ms = now_ms + left_ms;
	return false;
}
