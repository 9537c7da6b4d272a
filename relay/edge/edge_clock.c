#include "relay/edge/edge_clock.h"

/* Times above this (year 9999) are nonsense, and adding to them could overflow. */
#define TIME_MAX_MS INT64_C(253402300799999)

static int64_t monotonic(const struct clock *clock)
{
	const struct edge_clock *edge = (const struct edge_clock *)(const void *)clock;
	return clock_monotonic_ms(edge->machine);
}

static int64_t wall(const struct clock *clock)
{
	const struct edge_clock *edge = (const struct edge_clock *)(const void *)clock;
	int64_t machine_ms = clock_wall_ms(edge->machine);
	int64_t floor_ms = edge_clock_floor_ms(edge);
	return machine_ms > floor_ms ? machine_ms : floor_ms;
}

void edge_clock_init(struct edge_clock *clock, const struct clock *machine, int64_t stored_ms)
{
	if (stored_ms < 0 || stored_ms > TIME_MAX_MS)
		stored_ms = 0;
	*clock = (struct edge_clock){
		.clock = { .monotonic_ms = monotonic, .wall_ms = wall },
		.machine = machine,
		.floor_wall_ms = stored_ms,
		.floor_at_ms = clock_monotonic_ms(machine),
	};
}

int64_t edge_clock_floor_ms(const struct edge_clock *clock)
{
	return clock->floor_wall_ms + clock_monotonic_ms(clock->machine) - clock->floor_at_ms;
}

bool edge_clock_on_gateway(struct edge_clock *clock, int64_t gateway_ms)
{
	if (gateway_ms <= edge_clock_floor_ms(clock) || gateway_ms > TIME_MAX_MS)
		return false;
	clock->floor_wall_ms = gateway_ms;
	clock->floor_at_ms = clock_monotonic_ms(clock->machine);
	return true;
}
