#include "relay/edge/csv.h"

#include <assert.h>
#include <string.h>

/* ---- time ---- */

/* Exactly count digits; -1 where there are others. */
static int64_t digits(struct reader *reader, size_t count)
{
	int64_t value = 0;
	for (size_t i = 0; i < count; i++) {
		uint8_t byte = reader_u8(reader);
		if (byte < '0' || byte > '9')
			return -1;
		value = value * 10 + (byte - '0');
	}
	return value;
}

static uint8_t peek(const struct reader *reader)
{
	return reader->rest.size > 0 ? reader->rest.data[0] : 0;
}

static bool is_leap(int64_t year)
{
	return (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
}

/* Days from 1970-01-01 to the date, which must exist; -1 otherwise. */
static int64_t days_from_civil(int64_t year, int64_t month, int64_t day)
{
	static const int month_days[] = { 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31 };
	if (year < 1970 || month < 1 || month > 12 || day < 1 ||
	    day > month_days[month - 1] + (month == 2 && is_leap(year)))
		return -1;
	int64_t before = year - 1;
	int64_t days = (year - 1970) * 365 + (before / 4 - before / 100 + before / 400) -
	               (1969 / 4 - 1969 / 100 + 1969 / 400);
	for (int64_t i = 0; i < month - 1; i++)
		days += month_days[i] + (i == 1 && is_leap(year));
	return days + day - 1;
}

/* What follows the seconds: an optional fraction, of which milliseconds count. -1: malformed. */
static int64_t fraction_ms(struct reader *reader)
{
	if (peek(reader) != '.')
		return 0;
	reader_u8(reader);
	int64_t ms = 0;
	size_t count = 0;
	while (peek(reader) >= '0' && peek(reader) <= '9') {
		uint8_t digit = (uint8_t)(reader_u8(reader) - '0');
		if (count < 3)
			ms = ms * 10 + digit;
		count++;
	}
	for (size_t i = count; i < 3; i++)
		ms *= 10;
	return count > 0 && count <= 9 ? ms : -1;
}

/* "Z", "+08:00", "-0530" or nothing. */
static bool offset_minutes(struct reader *reader, int64_t *out_minutes)
{
	*out_minutes = 0;
	if (reader->rest.size == 0)
		return true;
	uint8_t sign = reader_u8(reader);
	if (sign == 'Z' || sign == 'z')
		return reader_done(reader);
	if (sign != '+' && sign != '-')
		return false;
	int64_t hours = digits(reader, 2);
	if (peek(reader) == ':')
		reader_u8(reader);
	int64_t minutes = digits(reader, 2);
	if (hours < 0 || hours > 14 || minutes < 0 || minutes > 59 || !reader_done(reader))
		return false;
	*out_minutes = (hours * 60 + minutes) * (sign == '-' ? -1 : 1);
	return true;
}

static bool time_from_civil(struct reader *reader, int64_t *out_time_ms)
{
	int64_t year = digits(reader, 4);
	bool dashes = reader_u8(reader) == '-';
	int64_t month = digits(reader, 2);
	dashes = reader_u8(reader) == '-' && dashes;
	int64_t days = days_from_civil(year, month, digits(reader, 2));
	uint8_t separator = reader_u8(reader);
	int64_t hour = digits(reader, 2);
	bool colons = reader_u8(reader) == ':';
	int64_t minute = digits(reader, 2);
	colons = reader_u8(reader) == ':' && colons;
	int64_t second = digits(reader, 2);
	int64_t ms = fraction_ms(reader);
	int64_t offset = 0;

	if (!dashes || !colons || days < 0 || (separator != 'T' && separator != ' ') ||
	    reader->failed || hour < 0 || hour > 23 || minute < 0 || minute > 59 || second < 0 ||
	    second > 60 || ms < 0 || !offset_minutes(reader, &offset))
		return false;
	*out_time_ms = ((days * 24 + hour) * 60 + minute - offset) * 60000 + second * 1000 + ms;
	return *out_time_ms >= 0;
}

bool time_from_text(struct bytes text, int64_t *out_time_ms)
{
	struct reader reader = reader_of(text);
	if (text.size == 10 || text.size == 13) {
		int64_t number = digits(&reader, text.size);
		if (number >= 0) {
			*out_time_ms = text.size == 10 ? number * 1000 : number;
			return true;
		}
		reader = reader_of(text);
	}
	int64_t time_ms = 0;
	if (!time_from_civil(&reader, &time_ms))
		return false;
	*out_time_ms = time_ms;
	return true;
}

/* ---- fields ---- */

/* One field as it stands in the line: quoted ones still have doubled quotes inside. */
struct field {
	struct bytes text;
	bool quoted;
};

/* The next field; false where the quoting is wrong. *out_last: no delimiter follows. */
static bool next_field(struct reader *reader, char delimiter, struct field *out_field,
                       bool *out_last)
{
	const uint8_t *data = reader->rest.data;
	size_t size = reader->rest.size;
	size_t end = 0;
	size_t used = 0;

	out_field->quoted = size > 0 && data[0] == '"';
	if (out_field->quoted) {
		end = 1;
		while (end < size && (data[end] != '"' || (end + 1 < size && data[end + 1] == '"')))
			end += data[end] == '"' ? 2 : 1;
		if (end >= size)
			return false;
		out_field->text = (struct bytes){ data + 1, end - 1 };
		used = end + 1;
		if (used < size && data[used] != (uint8_t)delimiter)
			return false;
	} else {
		while (end < size && data[end] != (uint8_t)delimiter) {
			if (data[end] == '"')
				return false;
			end++;
		}
		out_field->text = (struct bytes){ data, end };
		used = end;
	}
	*out_last = used == size;
	reader_bytes(reader, *out_last ? used : used + 1);
	return true;
}

/* How many bytes the UTF-8 character at the front has; 0: not well-formed. */
static size_t utf8_length(const uint8_t *data, size_t size)
{
	uint8_t first = data[0];
	size_t length = first < 0x80   ? 1
	                : first < 0xc2 ? 0
	                : first < 0xe0 ? 2
	                : first < 0xf0 ? 3
	                               : 4;
	if (length == 0 || first > 0xf4 || length > size)
		return 0;
	for (size_t i = 1; i < length; i++) {
		if ((data[i] & 0xc0) != 0x80)
			return 0;
	}
	if ((first == 0xe0 && data[1] < 0xa0) || (first == 0xed && data[1] > 0x9f) ||
	    (first == 0xf0 && data[1] < 0x90) || (first == 0xf4 && data[1] > 0x8f))
		return 0;
	return length;
}

/* A JSON string. False: not UTF-8, or a control character. */
static bool put_string(struct buffer *out, const struct field *field)
{
	const uint8_t *data = field->text.data;
	size_t size = field->text.size;

	buffer_put_u8(out, '"');
	for (size_t i = 0; i < size;) {
		size_t length = utf8_length(data + i, size - i);
		if (length == 0 || data[i] < 0x20 || data[i] == 0x7f)
			return false;
		if (data[i] == '"' || data[i] == '\\')
			buffer_put_u8(out, '\\');
		buffer_put(out, (struct bytes){ data + i, length });
		i += field->quoted && data[i] == '"' ? 2 : length;
	}
	buffer_put_u8(out, '"');
	return true;
}

/* ---- the entry ---- */

static bool is_time(const struct csv_column *column)
{
	return bytes_equal(column->name, BYTES_LITERAL("time"));
}

bool csv_has_time(const struct csv_mapping *mapping)
{
	for (size_t i = 0; i < mapping->count; i++) {
		if (is_time(&mapping->columns[i]))
			return true;
	}
	return false;
}

/* Splits line; taken[i] is the field for column i of the mapping. */
static bool take_fields(const struct csv_mapping *mapping, struct bytes line, struct field *taken,
                        struct err *err)
{
	struct reader reader = reader_of(line);
	size_t found = 0;
	bool last = false;
	for (unsigned number = 1; !last; number++) {
		struct field field;
		if (number > CSV_FIELD_MAX)
			return err_set(err, ZR_INVALID, "more than %d fields", CSV_FIELD_MAX);
		if (!next_field(&reader, mapping->delimiter, &field, &last))
			return err_set(err, ZR_INVALID, "field %u: wrong quotes", number);
		for (size_t i = 0; i < mapping->count; i++) {
			if (mapping->columns[i].number != number)
				continue;
			taken[i] = field;
			found++;
		}
	}
	if (found != mapping->count)
		return err_set(err, ZR_INVALID, "%zu of %zu columns are missing",
		               mapping->count - found, mapping->count);
	return true;
}

bool csv_entry(const struct csv_mapping *mapping, struct bytes line, struct buffer *out,
               int64_t *out_time_ms, struct err *err)
{
	assert(mapping->count > 0 && mapping->count <= CSV_COLUMN_MAX);

	struct field taken[CSV_COLUMN_MAX];
	size_t size_before = out->size;
	int64_t time_ms = 0;
	if (!take_fields(mapping, line, taken, err))
		return false;

	for (size_t i = 0; i < mapping->count; i++) {
		const struct csv_column *column = &mapping->columns[i];
		buffer_put(out, i == 0 ? BYTES_LITERAL("{\"") : BYTES_LITERAL(",\""));
		buffer_put(out, column->name);
		buffer_put(out, BYTES_LITERAL("\":"));
		if (!put_string(out, &taken[i])) {
			err_set(err, ZR_INVALID, "field %u: not printable UTF-8", column->number);
			goto fail;
		}
		if (is_time(column) && !time_from_text(taken[i].text, &time_ms)) {
			err_set(err, ZR_INVALID, "field %u: not a time", column->number);
			goto fail;
		}
	}
	buffer_put_u8(out, '}');
	if (!buffer_ok(out, err))
		goto fail;
	*out_time_ms = time_ms;
	return true;

fail:
	out->size = size_before;
	return false;
}
