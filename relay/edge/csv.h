/* csv.h -- one line of a CSV file becomes one entry of a ledger.
 *
 * The mapping names the columns that are taken and their order. The entry is one line of text in a
 * canonical form, so that the same reading always gives the same bytes: a JSON object whose values
 * are all strings, exactly as they stood in the file:
 *
 *     {"time":"2026-01-05T00:00:00Z","meter":"M0000001","kwh":"1523.417"}
 *
 * A column named `time` is the meter's own time: it must be readable, and it decides which block
 * the entry goes into. Quoting is RFC 4180's; a quoted field may not contain a line end.
 *
 * Pure: no I/O.
 */
#ifndef ZR_EDGE_CSV_H
#define ZR_EDGE_CSV_H

#include <stdint.h>

#include "relay/base/bytes.h"
#include "relay/base/err.h"

#define CSV_COLUMN_MAX 64   /* Columns that one mapping takes. */
#define CSV_FIELD_MAX  1024 /* Fields of one line. */

struct csv_column {
	struct bytes name; /* Borrowed from the configuration. */
	unsigned number;   /* Place in the line, from 1. */
};

struct csv_mapping {
	struct csv_column columns[CSV_COLUMN_MAX];
	size_t count;
	char delimiter;
};

/* Is one of the columns the meter's time? */
bool csv_has_time(const struct csv_mapping *mapping);

/* line is without its end. Appends the entry to out; *out_time_ms is the meter's time, 0 where the
 * mapping has none.
 *
 * Errors: ZR_INVALID  the reason; out is as before. */
bool csv_entry(const struct csv_mapping *mapping, struct bytes line, struct buffer *out,
               int64_t *out_time_ms, struct err *err) MUST_CHECK;

/* "2026-01-05T00:15:00Z", with fractions, a blank for the T, an offset (+08:00) or none (UTC); or
 * Unix seconds (10 digits) or milliseconds (13 digits). Years 1970 to 9999. */
bool time_from_text(struct bytes text, int64_t *out_time_ms);

#endif
