#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "relay/edge/csv.h"

static const struct csv_mapping mapping = {
	.columns = { { { (const uint8_t *)"time", 4 }, 1 },
	             { { (const uint8_t *)"meter", 5 }, 2 },
	             { { (const uint8_t *)"kwh", 3 }, 4 } },
	.count = 3,
	.delimiter = ',',
};

static bool entry_of(const char *line, char *out_text, int64_t *out_time_ms)
{
	struct buffer out = BUFFER_EMPTY;
	struct err err;
	bool ok = csv_entry(&mapping, bytes_of_string(line), &out, out_time_ms, &err);
	if (ok) {
		memcpy(out_text, out.data, out.size);
		out_text[out.size] = '\0';
	} else {
		assert_int_equal(out.size, 0);
		assert_int_equal(err.code, ZR_INVALID);
	}
	buffer_fini(&out);
	return ok;
}

static void columns_are_taken_by_their_number(void **state)
{
	char text[512];
	int64_t time_ms = 0;
	assert_true(entry_of("2026-01-05T00:15:00Z,M1,x,12.5,y", text, &time_ms));
	assert_string_equal(
		text, "{\"time\":\"2026-01-05T00:15:00Z\",\"meter\":\"M1\",\"kwh\":\"12.5\"}");
	assert_int_equal(time_ms, INT64_C(1767572100000));
}

static void quoted_fields_lose_their_quotes_and_keep_their_delimiters(void **state)
{
	char text[512];
	int64_t time_ms = 0;
	assert_true(entry_of("1767572100,\"a,\"\"b\"\"\\\",,\"\"", text, &time_ms));
	assert_string_equal(text,
	                    "{\"time\":\"1767572100\",\"meter\":\"a,\\\"b\\\"\\\\\",\"kwh\":\"\"}");
	assert_int_equal(time_ms, INT64_C(1767572100000));
}

static void a_line_that_is_not_as_the_mapping_says_is_refused(void **state)
{
	static const char *const bad[] = {
		"",
		"2026-01-05T00:15:00Z,M1,x",              /* kwh is missing */
		"yesterday,M1,x,1",                       /* no time */
		"2026-01-05T00:15:00Z,\"M1,x,1",          /* quote never ends */
		"2026-01-05T00:15:00Z,\"M1\"x,x,1",       /* something after the quote */
		"2026-01-05T00:15:00Z,M\"1,x,1",          /* quote inside */
		"2026-01-05T00:15:00Z,M\x01,x,1",         /* control character */
		"2026-01-05T00:15:00Z,M\xc0\xaf,x,1",     /* overlong */
		"2026-01-05T00:15:00Z,M\xed\xa0\x80,x,1", /* surrogate */
		"2026-01-05T00:15:00Z,M\xe4\xb8,x,1",     /* cut */
	};
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		char text[512];
		int64_t time_ms = 0;
		assert_false(entry_of(bad[i], text, &time_ms));
	}
	char text[512];
	int64_t time_ms = 0;
	assert_true(entry_of("2026-01-05T00:15:00Z,\xe7\x94\xb5\xe8\xa1\xa8,x,1", text, &time_ms));
}

static void a_line_of_too_many_fields_is_refused(void **state)
{
	char line[CSV_FIELD_MAX + 64] = "2026-01-05T00:15:00Z,M1,x,1";
	memset(line + strlen(line), ',', CSV_FIELD_MAX);
	char text[512];
	int64_t time_ms = 0;
	assert_false(entry_of(line, text, &time_ms));
}

static void times_are_read_in_every_written_form(void **state)
{
	static const struct {
		const char *text;
		int64_t ms; /* -1: refused. */
	} times[] = {
		{ "1970-01-01T00:00:00Z", 0 },
		{ "2026-01-05T00:15:00Z", INT64_C(1767572100000) },
		{ "2026-01-05 00:15:00", INT64_C(1767572100000) },
		{ "2026-01-05T08:15:00+08:00", INT64_C(1767572100000) },
		{ "2026-01-04T19:15:00-0500", INT64_C(1767572100000) },
		{ "2026-01-05T00:15:00.25Z", INT64_C(1767572100250) },
		{ "2026-01-05T00:15:00.123456Z", INT64_C(1767572100123) },
		{ "1767572100", INT64_C(1767572100000) },
		{ "1767572100250", INT64_C(1767572100250) },
		{ "2024-02-29T00:00:00Z", INT64_C(1709164800000) },
		{ "2000-03-01T00:00:00Z", INT64_C(951868800000) },
		{ "9999-12-31T23:59:59Z", INT64_C(253402300799000) },
		{ "2026-02-29T00:00:00Z", -1 },
		{ "2026-13-01T00:00:00Z", -1 },
		{ "2026-00-01T00:00:00Z", -1 },
		{ "2026-01-00T00:00:00Z", -1 },
		{ "2026-01-01T24:00:00Z", -1 },
		{ "2026-01-01T00:60:00Z", -1 },
		{ "2026-01-01T00:00:61Z", -1 },
		{ "2026-01-01T00:00:00.Z", -1 },
		{ "2026-01-01T00:00:00.1234567890Z", -1 },
		{ "2026-01-01T00:00:00+15:00", -1 },
		{ "2026-01-01T00:00:00+8", -1 },
		{ "2026-01-01T00:00:00Zx", -1 },
		{ "2026-01-01", -1 },
		{ "1969-12-31T23:59:59Z", -1 },
		{ "1970-01-01T00:00:00+00:01", -1 },
		{ "17675721000", -1 },
		{ "", -1 },
	};
	for (size_t i = 0; i < sizeof(times) / sizeof(times[0]); i++) {
		int64_t ms = -1;
		bool ok = time_from_text(bytes_of_string(times[i].text), &ms);
		assert_int_equal(ok, times[i].ms >= 0);
		assert_int_equal(ms, times[i].ms);
	}
}

static void a_mapping_knows_whether_it_has_the_meter_s_time(void **state)
{
	struct csv_mapping other = mapping;
	assert_true(csv_has_time(&other));
	other.columns[0].name = BYTES_LITERAL("when");
	assert_false(csv_has_time(&other));
	struct buffer out = BUFFER_EMPTY;
	int64_t time_ms = 7;
	assert_true(csv_entry(&other, BYTES_LITERAL("yesterday,M1,,1"), &out, &time_ms, NULL));
	assert_int_equal(time_ms, 0);
	buffer_fini(&out);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(columns_are_taken_by_their_number),
		cmocka_unit_test(quoted_fields_lose_their_quotes_and_keep_their_delimiters),
		cmocka_unit_test(a_line_that_is_not_as_the_mapping_says_is_refused),
		cmocka_unit_test(a_line_of_too_many_fields_is_refused),
		cmocka_unit_test(times_are_read_in_every_written_form),
		cmocka_unit_test(a_mapping_knows_whether_it_has_the_meter_s_time),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
