/* fuzz_csv.c -- lines of a CSV file, and times in them, from outside. What is accepted is one line
 * of well-formed text. */
#include <stdint.h>
#include <stdlib.h>

#include "relay/edge/csv.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(const struct csv_mapping *mapping, struct bytes line)
{
	struct buffer out = BUFFER_EMPTY;
	struct err err;
	int64_t time_ms = 0;
	buffer_put(&out, BYTES_LITERAL("before"));
	size_t before = out.size;
	if (csv_entry(mapping, line, &out, &time_ms, &err)) {
		if (out.data[before] != '{' || out.data[out.size - 1] != '}' || time_ms < 0)
			abort();
		for (size_t i = before; i < out.size; i++) {
			if (out.data[i] < 0x20 || out.data[i] == 0x7f)
				abort();
		}
	} else if (out.size != before) {
		abort();
	}
	buffer_fini(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct csv_mapping mapping = {
		.columns = { { { (const uint8_t *)"meter", 5 }, 2 },
		             { { (const uint8_t *)"time", 4 }, 1 },
		             { { (const uint8_t *)"kwh", 3 }, 3 },
		             { { (const uint8_t *)"again", 5 }, 2 } },
		.count = 4,
		.delimiter = ',',
	};
	static const struct csv_mapping plain = {
		.columns = { { { (const uint8_t *)"all", 3 }, 1 } }, .count = 1, .delimiter = ';'
	};
	struct bytes line = { data, size };
	int64_t time_ms = 0;
	check(&mapping, line);
	check(&plain, line);
	if (time_from_text(line, &time_ms) && time_ms < 0)
		abort();
	return 0;
}
