/* clock.c -- see clock.h. */
#include "relay/base/clock.h"

#include <assert.h>
#include <stdio.h>
#include <time.h>

#define MS_PER_DAY INT64_C(86400000)

static int64_t read_clock_ms(clockid_t id)
{
	struct timespec now;
	int result = clock_gettime(id, &now);
	assert(result == 0);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static int64_t system_monotonic_ms(const struct clock *clock)
{
	return read_clock_ms(CLOCK_MONOTONIC);
}

static int64_t system_wall_ms(const struct clock *clock)
{
	return read_clock_ms(CLOCK_REALTIME);
}

const struct clock *clock_system(void)
{
	static const struct clock system = { system_monotonic_ms, system_wall_ms };
	return &system;
}

static int64_t virtual_monotonic_ms(const struct clock *clock)
{
	return ((const struct clock_virtual *)(const void *)clock)->now_ms;
}

static int64_t virtual_wall_ms(const struct clock *clock)
{
	const struct clock_virtual *virtual = (const struct clock_virtual *)(const void *)clock;
	return virtual->now_ms + virtual->wall_offset_ms;
}

void clock_virtual_init(struct clock_virtual *clock, int64_t now_ms, int64_t wall_ms)
{
	*clock = (struct clock_virtual){
		.clock = { virtual_monotonic_ms, virtual_wall_ms },
		.now_ms = now_ms,
		.wall_offset_ms = wall_ms - now_ms,
	};
}

void clock_virtual_advance(struct clock_virtual *clock, int64_t ms)
{
	assert(ms >= 0);
	clock->now_ms += ms;
}

struct date {
	int year;
	int month;
	int day;
};

/* The Gregorian date of a day counted from 1970-01-01. Own arithmetic, because gmtime() ends in
 * 2038 on 32-bit machines. Counts years from March, so that the leap day is a year's last; an era
 * is 400 years. */
static struct date date_of_day(int64_t day)
{
	int64_t shifted = day + 719468; /* Days since 0000-03-01. */
	int64_t era = (shifted >= 0 ? shifted : shifted - 146096) / 146097;
	int64_t of_era = shifted - era * 146097;
	int64_t year = (of_era - of_era / 1460 + of_era / 36524 - of_era / 146096) / 365;
	int64_t of_year = of_era - (365 * year + year / 4 - year / 100);
	int64_t month = (5 * of_year + 2) / 153; /* 0 is March. */
	return (struct date){
		.year = (int)(year + era * 400 + (month >= 10 ? 1 : 0)),
		.month = (int)(month < 10 ? month + 3 : month - 9),
		.day = (int)(of_year - (153 * month + 2) / 5 + 1),
	};
}

const char *clock_text(int64_t wall_ms, char text[static CLOCK_TEXT_SIZE])
{
	/* Four digits of year hold no more than this; a label may be wrong, never too long. */
	const int64_t first_ms = INT64_C(-62167219200000); /* 0000-01-01 */
	const int64_t last_ms = INT64_C(253402300799999);  /* 9999-12-31T23:59:59.999 */
	int64_t ms = wall_ms < first_ms ? first_ms : wall_ms > last_ms ? last_ms : wall_ms;
	int64_t day = (ms >= 0 ? ms : ms - (MS_PER_DAY - 1)) / MS_PER_DAY;
	unsigned rest = (unsigned)(ms - day * MS_PER_DAY);
	struct date date = date_of_day(day);
	char wide[80];
	int size = snprintf(wide, sizeof(wide), "%04d-%02d-%02dT%02u:%02u:%02u.%03uZ", date.year,
	                    date.month, date.day, rest / 3600000, rest / 60000 % 60,
	                    rest / 1000 % 60, rest % 1000);
	assert(size == CLOCK_TEXT_SIZE - 1);
	for (int i = 0; i < CLOCK_TEXT_SIZE; i++)
		text[i] = wide[i];
	return text;
}
