/* cut.h -- cuts the power at any moment of a recorded life, and looks at what is left. */
#ifndef ZR_TESTS_POWERCUT_CUT_H
#define ZR_TESTS_POWERCUT_CUT_H

#include "tests/powercut/disk.h"
#include "tests/powercut/subject.h"

#define CUT_ALL UINT64_MAX

struct cut_options {
	const char *root;    /* What was recorded; the images go into */
	const char *scratch; /* the folder "image" in this one. */
	uint64_t image_count;
	uint64_t second_count; /* About so many more, while what the first cut left is repaired. */
	uint64_t seed;
	uint64_t only; /* This image, or CUT_ALL. */
	enum disk_fault fault;
	const struct subject *subject;
	struct subject_state *state; /* As nothing was told yet. */
};

struct cut_result {
	uint64_t images, seconds, broken;
};

/* Why an image is broken is on standard error, unless the disk was made to lie. */
void cut_life(int log_fd, const struct cut_options *options, struct cut_result *out_result);

#endif
