/* notify.c -- see notify.h. */
#include "relay/base/notify.h"

#ifdef ZR_HAVE_SYSTEMD

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <systemd/sd-daemon.h>
#include <time.h>

#define STATUS_SIZE 512

/* Nothing here reports failure: where no service manager listens there is nobody to tell, and one
 * that stopped listening will act on our silence. */

void notify_ready(void)
{
	(void)sd_notify(0, "READY=1");
}

void notify_stopping(void)
{
	(void)sd_notify(0, "STOPPING=1");
}

void notify_reloading(void)
{
	struct timespec now;
	(void)clock_gettime(CLOCK_MONOTONIC, &now);
	int64_t now_us = (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
	(void)sd_notifyf(0, "RELOADING=1\nMONOTONIC_USEC=%" PRId64, now_us);
}

void notify_status(const char *format, ...)
{
	char text[STATUS_SIZE];
	va_list args;
	va_start(args, format);
	(void)vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	/* A line end would begin another assignment of the protocol. */
	for (char *at = text; *at != '\0'; at++) {
		if (*at == '\n')
			*at = ' ';
	}
	(void)sd_notifyf(0, "STATUS=%s", text);
}

void notify_watchdog(void)
{
	(void)sd_notify(0, "WATCHDOG=1");
}

int64_t notify_watchdog_interval_ms(void)
{
	uint64_t interval_us = 0;
	if (sd_watchdog_enabled(0, &interval_us) <= 0)
		return 0;
	return (int64_t)(interval_us / 2000);
}

#else

void notify_ready(void)
{
}

void notify_stopping(void)
{
}

void notify_reloading(void)
{
}

void notify_status(const char *format, ...)
{
}

void notify_watchdog(void)
{
}

int64_t notify_watchdog_interval_ms(void)
{
	return 0;
}

#endif
