/* notify.h -- what the service manager is told (sd_notify); does nothing where none listens.
 *
 * Built with libsystemd if meson finds it (option systemd), otherwise as no-ops.
 */
#ifndef ZR_BASE_NOTIFY_H
#define ZR_BASE_NOTIFY_H

#include <stdint.h>

void notify_ready(void);
void notify_stopping(void);
void notify_reloading(void); /* RELOADING=1 with MONOTONIC_USEC; end with notify_ready(). */
void notify_status(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* Call only when progress was made, or proven unnecessary (architecture section 12). */
void notify_watchdog(void);
/* Half of the watchdog's interval, or 0 where none is set. */
int64_t notify_watchdog_interval_ms(void);

#endif
