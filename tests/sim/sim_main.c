/* sim_main.c -- many runs, one seed after the other.
 *
 *     sim                      so many seeds as a quick or a deep run has; begins at ZR_SEED or anywhere
 *     sim --seed S             one of them, and says what happened in it
 *     sim --from S --count N   these
 *
 * Seeds that once found something go first. Figures and the coverage of every kind of fault come at
 * the end; a kind that never happened, over enough seeds, is a failure of the test.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "relay/base/crypto.h"
#include "tests/sim/sim.h"

#define QUICK_COUNT    150
#define DEEP_COUNT     10000
#define DEEP_MINUTES   60
#define COVERAGE_COUNT 150 /* From so many seeds on, everything must have been seen. */
#define SEED_RANGE     (UINT64_C(1) << 32)

/* Each with what it found. They are runs of the profile as it was drawn then: a change to the drawing
 * makes them ordinary seeds. */
static const uint64_t regressions[] = {
	19,
	223, /* A main chain put back from a copy, whose older fence was waited for without end. */
	3336, 3617, /* A main chain that was away, asked every retry-min for as long. */
};

struct range {
	uint64_t from, count;
	bool talk, fixed;
};

static bool number_of(const char *text, uint64_t *out_number)
{
	char *end;
	errno = 0;
	uint64_t number = strtoull(text, &end, 0);
	if (text[0] < '0' || text[0] > '9' || *end != 0 || errno != 0)
		return false;
	*out_number = number;
	return true;
}

static bool from_environment(struct range *out_range)
{
	const char *seed = getenv("ZR_SEED"), *deep = getenv("ZR_DEEP");
	uint64_t minutes = 0;
	struct range range = { .count = QUICK_COUNT };
	random_bytes(&range.from, sizeof(range.from));
	range.from %= SEED_RANGE;
	if (seed != NULL && !number_of(seed, &range.from))
		return false;
	if (deep != NULL && !number_of(deep, &minutes))
		return false;
	if (minutes > 0) {
		range.count = DEEP_COUNT * minutes / DEEP_MINUTES;
		range.count = range.count < QUICK_COUNT ? QUICK_COUNT : range.count;
	}
	*out_range = range;
	return true;
}

static bool from_arguments(int argc, char **argv, struct range *out_range)
{
	struct range range = { .from = 1, .count = QUICK_COUNT, .fixed = true };
	for (int i = 1; i < argc; i += 2) {
		if (i + 1 == argc)
			return false;
		uint64_t *number = strcmp(argv[i], "--count") == 0 ? &range.count : &range.from;
		if (strcmp(argv[i], "--seed") == 0) {
			range.count = 1;
			range.talk = true;
		} else if (strcmp(argv[i], "--from") != 0 && number == &range.from) {
			return false;
		}
		if (!number_of(argv[i + 1], number))
			return false;
	}
	*out_range = range;
	return true;
}

/* True where nothing is missing. */
static bool report_coverage(const struct sim_counts *counts)
{
	bool complete = true;
	printf("seen to happen, over all seeds:\n");
	for (enum fault fault = 0; fault < FAULT_COUNT; fault++) {
		printf("  %-40s %12llu%s\n", sim_fault_name(fault),
		       (unsigned long long)counts->seen[fault],
		       counts->seen[fault] == 0 ? "  NEVER" : "");
		complete = complete && counts->seen[fault] > 0;
	}
	for (enum effect effect = 0; effect < EFFECT_COUNT; effect++) {
		printf("  %-40s %12llu%s\n", sim_effect_name(effect),
		       (unsigned long long)counts->effects[effect],
		       counts->effects[effect] == 0 ? "  NEVER" : "");
		complete = complete && counts->effects[effect] > 0;
	}
	return complete;
}

static double cpu_seconds(void)
{
	struct timespec now;
	(void)clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
	return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static void report_figures(const struct sim_counts *counts, uint64_t seeds, double seconds)
{
	printf("figure: simulation: seeds without a violation: %llu\n", (unsigned long long)seeds);
	printf("figure: simulation: events: %llu\n", (unsigned long long)counts->events);
	printf("figure: simulation: events per minute of one core: %.0f\n",
	       (double)counts->events / (seconds > 0 ? seconds : 1) * 60);
	printf("figure: simulation: days of its time: %.0f\n",
	       (double)counts->virtual_ms / 86400000.0);
}

int main(int argc, char **argv)
{
	struct range range;
	struct sim_counts counts = { .events = 0 };
	if (!(argc > 1 ? from_arguments(argc, argv, &range) : from_environment(&range))) {
		(void)fprintf(stderr, "usage: sim [--seed S | --from S --count N]\n"
		                      "ZR_SEED and ZR_DEEP (minutes) are numbers.\n");
		return 2;
	}
	printf("seeds %llu to %llu (one of them: sim --seed S; all: ./dev test --seed %llu sim)\n",
	       (unsigned long long)range.from, (unsigned long long)(range.from + range.count - 1),
	       (unsigned long long)range.from);
	(void)fflush(stdout);
	uint64_t seeds = 0;
	for (size_t i = 0; !range.fixed && i < sizeof(regressions) / sizeof(regressions[0]); i++) {
		sim_run(regressions[i], false, &counts);
		seeds++;
	}
	for (uint64_t i = 0; i < range.count; i++, seeds++)
		sim_run(range.from + i, range.talk, &counts);
	report_figures(&counts, seeds, cpu_seconds());
	if (seeds < COVERAGE_COUNT)
		return 0;
	if (report_coverage(&counts))
		return 0;
	(void)fprintf(stderr, "some of it never happened: the test tries less than it says\n");
	return 1;
}
