/* clock.h -- the only place where time comes from.
 *
 * What decides takes a const struct clock *, so that tests drive it in virtual time. Durations and
 * deadlines use monotonic_ms; wall_ms (Unix time in milliseconds) only labels things for people and
 * other machines, and is checked against certificates.
 */
#ifndef ZR_BASE_CLOCK_H
#define ZR_BASE_CLOCK_H

#include <stdint.h>

struct clock {
	int64_t (*monotonic_ms)(const struct clock *clock);
	int64_t (*wall_ms)(const struct clock *clock);
};

/* The machine's own clocks. Static. */
const struct clock *clock_system(void);

static inline int64_t clock_monotonic_ms(const struct clock *clock)
{
	return clock->monotonic_ms(clock);
}

static inline int64_t clock_wall_ms(const struct clock *clock)
{
	return clock->wall_ms(clock);
}

/* A clock that moves only when told to: simulation and unit tests. */
struct clock_virtual {
	struct clock clock; /* First, so that a clock_virtual is a clock. */
	int64_t now_ms;
	int64_t wall_offset_ms;
};

void clock_virtual_init(struct clock_virtual *clock, int64_t now_ms, int64_t wall_ms);
void clock_virtual_advance(struct clock_virtual *clock, int64_t ms);

#define CLOCK_TEXT_SIZE 25
/* "2026-11-23T02:15:00.123Z". Returns text. */
const char *clock_text(int64_t wall_ms, char text[static CLOCK_TEXT_SIZE]);

#endif
