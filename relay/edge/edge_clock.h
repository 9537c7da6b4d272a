/* edge_clock.h -- a wall clock that never runs behind the last authenticated gateway time.
 *
 * Devices lose their clocks with their batteries. The gateway names its time inside the mutually
 * authenticated link; from then on wall_ms is at least that time plus what has passed since. A
 * machine clock that is ahead is left alone: blocks are labelled with it, nothing is decided by it.
 */
#ifndef ZR_EDGE_EDGE_CLOCK_H
#define ZR_EDGE_EDGE_CLOCK_H

#include <stdbool.h>

#include "relay/base/clock.h"

struct edge_clock {
	struct clock clock;          /* First, so that an edge_clock is a clock. */
	const struct clock *machine; /* Borrowed for ever. */
	int64_t floor_wall_ms;       /* The wall clock was at least this ... */
	int64_t floor_at_ms;         /* ... when the machine's monotonic clock showed this. */
};

/* stored_ms: the newest gateway time known from an earlier run; 0 for none. */
void edge_clock_init(struct edge_clock *clock, const struct clock *machine, int64_t stored_ms);

/* The gateway said, authenticated, that it is gateway_ms now. True if the floor rose by more than
 * what had passed anyway: worth storing. */
bool edge_clock_on_gateway(struct edge_clock *clock, int64_t gateway_ms);

/* The last known gateway time plus what has passed since: what the next run begins with. */
int64_t edge_clock_floor_ms(const struct edge_clock *clock);

#endif
