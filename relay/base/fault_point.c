/* fault_point.c -- see fault_point.h. Not part of a build without fault points. */
#include "relay/base/fault_point.h"

#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "relay/base/exit.h"

#define FAULT_POINT_NAME(name, process, text) #name,
static const char *const names[] = { FAULT_POINTS(FAULT_POINT_NAME) };

/* The one thing here that is global: a process is armed as a whole, by what started it. */
static struct {
	enum fault_point point; /* FAULT_POINT_COUNT: none. */
	atomic_long hits_left;
	int signal; /* 0: exit. */
} armed = { .point = FAULT_POINT_COUNT };

/* A wish that cannot be fulfilled would be a test that tests nothing. */
static void refuse(const char *wish)
{
	(void)fprintf(stderr, "ZR_FAULT=%s: not NAME:HIT[:stop|:exit]\n", wish);
	_exit(EXIT_INTERNAL);
}

/* Before main(), so that no thread is there yet. */
__attribute__((constructor)) static void arm(void)
{
	const char *wish = getenv("ZR_FAULT");
	if (wish == NULL || wish[0] == '\0')
		return;
	size_t size = strcspn(wish, ":");
	enum fault_point point = 0;
	while (point < FAULT_POINT_COUNT &&
	       (strlen(names[point]) != size || memcmp(names[point], wish, size) != 0))
		point++;
	char *rest = NULL;
	long hits = wish[size] == ':' ? strtol(wish + size + 1, &rest, 10) : 1;
	if (rest == NULL || rest[0] == '\0')
		armed.signal = SIGKILL;
	else if (strcmp(rest, ":stop") == 0)
		armed.signal = SIGSTOP;
	else if (strcmp(rest, ":exit") != 0)
		refuse(wish);
	if (point == FAULT_POINT_COUNT || hits < 1)
		refuse(wish);
	armed.hits_left = hits;
	armed.point = point;
}

void fault_point(enum fault_point point)
{
	if (point != armed.point || atomic_fetch_sub(&armed.hits_left, 1) != 1)
		return;
	(void)dprintf(STDERR_FILENO, "fault-point name=%s\n", names[point]);
	if (armed.signal == 0)
		_exit(EXIT_OK);
	(void)raise(armed.signal);
}
