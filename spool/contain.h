/* contain.h -- work in a child process, because LMDB may crash on a damaged tree: the crash stays
 * there and is told as what it is. Nobody outside spool/ includes it. */
#ifndef ZR_SPOOL_CONTAIN_H
#define ZR_SPOOL_CONTAIN_H

#include <stdint.h>
#include <stdio.h>

#include "relay/base/err.h"
#include "spool/tools.h"

#define CONTAIN_NUMBERS_MAX 8

/* What the child tells its parent, one line each. */
struct contain_out {
	FILE *file;
};

void contain_fault(struct contain_out *out, const char *format, ...)
	__attribute__((format(printf, 2, 3)));
void contain_progress(struct contain_out *out, uint64_t done, uint64_t total);

/* In the child. Sets numbers (its result) and returns true, or fails with err. */
typedef bool contain_work_fn(struct contain_out *out, uint64_t numbers[CONTAIN_NUMBERS_MAX],
                             void *arg, struct err *err);

struct contain_parent {
	spool_fault_fn *on_fault; /* NULL: nobody reads them. */
	void *arg;
	const struct spool_progress *progress;
};

/* Runs work in a child and waits for it. crash: empty, or how it ended: by a signal, or the exit of a
 * damaged store; numbers are then zero, and the function returns true: that is a finding.
 * Errors: those of work; ZR_UNAVAILABLE  no child could be made. */
bool contain_run(contain_work_fn *work, void *arg, const struct contain_parent *parent,
                 uint64_t numbers[CONTAIN_NUMBERS_MAX], char crash[static 64],
                 struct err *err) MUST_CHECK;

#endif
