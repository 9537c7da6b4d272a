/* fault.c -- see fault.h. */
#include "tests/lib/fault.h"

#include <stdbool.h>

void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__real_realloc(void *pointer, size_t size);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_realloc(void *pointer, size_t size);

static size_t until_failure; /* 0: none is planned. */
static size_t failure_count;

void fault_at(size_t n)
{
	until_failure = n;
	failure_count = 0;
}

size_t fault_off(void)
{
	until_failure = 0;
	return failure_count;
}

static bool fails_now(void)
{
	if (until_failure == 0 || --until_failure > 0)
		return false;
	failure_count++;
	return true;
}

void *__wrap_malloc(size_t size)
{
	return fails_now() ? NULL : __real_malloc(size);
}

void *__wrap_calloc(size_t count, size_t size)
{
	return fails_now() ? NULL : __real_calloc(count, size);
}

void *__wrap_realloc(void *pointer, size_t size)
{
	return fails_now() ? NULL : __real_realloc(pointer, size);
}
