/* seal.h -- when the open entries of a ledger chain become a block. Pure.
 *
 * Time is cut into slots of interval_ms (quarter hours, counted from 1970). A block holds entries of
 * one slot: an entry of another slot ends it. By default an entry's slot is when it arrived. With
 * meter time it is what the entry itself says, so that old readings replayed fast still give one
 * block for each quarter hour of meter time; an entry that is late goes into the open block, since
 * blocks that were sealed are never written again. In both cases no block stays open longer than
 * interval_ms after its first entry arrived, and size and count end it early.
 */
#ifndef ZR_EDGE_SEAL_H
#define ZR_EDGE_SEAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct seal_rule {
	int64_t interval_ms;
	uint64_t bytes_max;
	uint64_t count_max;
};

/* The entries that are not in a block yet. */
struct seal_open {
	uint64_t count;
	uint64_t bytes;
	int64_t slot;          /* Of the first entry, or of a later one that is further on. */
	int64_t first_wall_ms; /* When the first arrived. */
	int64_t first_ms;      /* The same on the monotonic clock. */
};

/* time_ms: the meter's, or of arrival. */
int64_t seal_slot(const struct seal_rule *rule, int64_t time_ms);

/* Must the open entries be sealed before one more of this size and slot joins them? */
bool seal_before(const struct seal_rule *rule, const struct seal_open *open, int64_t slot,
                 uint64_t size);
void seal_add(struct seal_open *open, int64_t slot, uint64_t size, int64_t wall_ms, int64_t now_ms);

/* Must the open entries be sealed now, whether more come or not? meter_time: their slots are not
 * of the wall clock, so only their age counts. Otherwise *out_wake_ms is when to ask again. */
bool seal_due(const struct seal_rule *rule, const struct seal_open *open, bool meter_time,
              int64_t wall_ms, int64_t now_ms, int64_t *out_wake_ms);

#endif
