/* log.h -- one line per event on standard error: an event name that never changes, then key=value.
 *
 * Layers 0 to 3 return failures and log nothing above debug; actors log once, where a failure stops
 * being passed on. Never a payload, never a key. Where systemd runs us the journal's own priority
 * prefix is used. Lines of one event beyond log_burst_max in a second are counted instead of
 * written, and the count is written when the event is next allowed.
 *
 * Threads: any.
 */
#ifndef ZR_BASE_LOG_H
#define ZR_BASE_LOG_H

#include <stdbool.h>
#include <stdint.h>

enum log_level { LOG_LEVEL_ERROR, LOG_LEVEL_WARN, LOG_LEVEL_INFO, LOG_LEVEL_DEBUG };
enum log_style { LOG_STYLE_TEXT, LOG_STYLE_JSON };

/* program is borrowed for ever. May be called again (SIGHUP). */
void log_init(const char *program, enum log_level level, enum log_style style);
void log_set_level(enum log_level level);
enum log_level log_get_level(void);
bool log_level_from_name(const char *name, enum log_level *out_level);
const char *log_level_name(enum log_level level);

/* Lines written so far at level, for metrics. */
uint64_t log_count(enum log_level level);

#define LOG_BURST_MAX 50

/* event: stable, lower case, words joined by '-'. format gives key=value pairs; a value with spaces
 * is written in double quotes by the caller: detail=\"%s\". Control characters are replaced. */
void log_write(enum log_level level, const char *event, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

#define log_error(event, ...) log_write(LOG_LEVEL_ERROR, event, __VA_ARGS__)
#define log_warn(event, ...)  log_write(LOG_LEVEL_WARN, event, __VA_ARGS__)
#define log_info(event, ...)  log_write(LOG_LEVEL_INFO, event, __VA_ARGS__)
#define log_debug(event, ...)                                           \
	do {                                                            \
		if (log_get_level() >= LOG_LEVEL_DEBUG)                 \
			log_write(LOG_LEVEL_DEBUG, event, __VA_ARGS__); \
	} while (0)

#endif
