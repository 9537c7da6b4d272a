/* The worked examples of docs/SPOOL-FORMAT.md against the bytes that are really stored. A block there
 * looks like this, any text after two spaces being for people:
 *
 *     ```row batches
 *     key
 *     00 00 00 00 00 00 00 01  arrival number 1
 *     value
 *     5a 52 62 31  "ZRb1"
 *     ...
 *     ```
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <ctype.h>
#include <fcntl.h>

#include "spool/spool_private.h"
#include "tests/unit/spool_fixture.h"

#define DOCUMENT "docs/SPOOL-FORMAT.md"
#define MAX_SIZE 2048

/* The example's store: everything in it is fixed. */
static void make_example(struct fixture *fixture)
{
	struct err err;
	static const uint8_t uuid[STORE_UUID_SIZE] = { 0, 1, 2,  3,  4,  5,  6,  7,
		                                       8, 9, 10, 11, 12, 13, 14, 15 };
	fresh_path(fixture->dir);
	MUST(store_create(&(struct store_create_options){ .dir = fixture->dir,
	                                                  .format = &spool_format,
	                                                  .size_bytes = 16u << 20,
	                                                  .uuid = uuid,
	                                                  .now_ms = TEST_TIME_MS },
	                  &err));
	open_spool(fixture);
	struct test_chain chain = test_chain("tq-0001");
	struct test_batch batch;
	uint64_t number;
	add_chain(fixture, &chain);
	next_batch(&chain, 2, 8, &batch);
	batch.batch.trust = BYTES_LITERAL("trust 2");
	batch.batch.trust_from = 2;
	MUST(spool_batch_put(begin(fixture, SPOOL_INTAKE), &batch.batch, &number, &err));
	commit(fixture);
	anchor_all(fixture, &chain);
	put_batch(fixture, &chain, 1);

	struct spool_suspect suspect = { .chain = chain.key,
		                         .reason = "link",
		                         .detail = "parent",
		                         .first_height = 3,
		                         .bad_height = 3,
		                         .block_count = 1,
		                         .codec = CODEC_NONE,
		                         .payload = BYTES_LITERAL("bad"),
		                         .raw_size = 3,
		                         .received_ms = TEST_TIME_MS,
		                         .agent = "agent-1" };
	enum spool_suspect_outcome outcome;
	suspect.content = sha256(suspect.payload);
	MUST(spool_quarantine_put(begin(fixture, SPOOL_INTAKE), &suspect, &outcome, &number, &err));
	suspect.payload = BYTES_LITERAL("worse");
	suspect.content = sha256(suspect.payload);
	MUST(spool_quarantine_put(&fixture->txn, &suspect, &outcome, &number, &err));
	struct spool_resolution reject = { SPOOL_VERDICT_REJECTED, "alice", "forged",
		                           TEST_TIME_MS };
	MUST(spool_quarantine_resolve(&fixture->txn, number, &reject, &err));
	struct spool_evidence evidence = { .chain = chain.key,
		                           .height = 1,
		                           .ours = { { 1 } },
		                           .theirs = { { 2 } },
		                           .time_ms = TEST_TIME_MS,
		                           .agent = "agent-1" };
	MUST(spool_evidence_put(&fixture->txn, &evidence, BYTES_LITERAL("bundle"), &number, &err));
	struct spool_audit audit = { .time_ms = TEST_TIME_MS,
		                     .who = "alice",
		                     .verb = "chains list",
		                     .reason = "",
		                     .result = "ok",
		                     .request_id = { 0xaa } };
	struct hash dictionary;
	uint8_t class;
	MUST(spool_audit_append(&fixture->txn, &audit, &err));
	MUST(spool_dictionary_put(&fixture->txn, BYTES_LITERAL("dictionary"), &dictionary, &err));
	MUST(spool_class_number(&fixture->txn, "bulk", &class, &err));
	commit(fixture);
}

/* ---- reading the document ---- */

struct example {
	char table[32];
	uint8_t key[MAX_SIZE], value[MAX_SIZE];
	size_t key_size, value_size;
	int line; /* Where it begins. */
};

/* Pairs of digits at the beginning of line, up to two spaces or anything else. */
static size_t take_bytes(const char *line, uint8_t *out, size_t room)
{
	size_t count = 0;
	while (isxdigit((unsigned char)line[0]) && isxdigit((unsigned char)line[1]) &&
	       count < room && hex_decode((char[]){ line[0], line[1], 0 }, &out[count], 1)) {
		count++;
		line += 2;
		if (line[0] == ' ' && isxdigit((unsigned char)line[1]))
			line++;
		else
			break;
	}
	return count;
}

/* The next example of file; false at its end. */
static bool next_example(FILE *file, struct example *example, int *line_number)
{
	char line[256];
	bool inside = false, in_value = false;
	*example = (struct example){ .line = 0 };
	while (fgets(line, sizeof(line), file) != NULL) {
		++*line_number;
		if (!inside) {
			inside = sscanf(line, "```row %31s", example->table) == 1;
			example->line = *line_number;
		} else if (strncmp(line, "```", 3) == 0) {
			return true;
		} else if (strncmp(line, "value", 5) == 0) {
			in_value = true;
		} else if (in_value) {
			example->value_size +=
				take_bytes(line, example->value + example->value_size,
			                   MAX_SIZE - example->value_size);
		} else {
			example->key_size += take_bytes(line, example->key + example->key_size,
			                                MAX_SIZE - example->key_size);
		}
	}
	return false;
}

static int table_of(const char *name)
{
	for (int table = 0; table < SPOOL_TABLE_COUNT; table++) {
		if (strcmp(spool_table_name((enum spool_table)table), name) == 0)
			return table;
	}
	return -1;
}

/* ---- comparing ---- */

static void print_bytes(const char *what, struct bytes bytes)
{
	print_error("%s", what);
	for (size_t i = 0; i < bytes.size; i++)
		print_error("%s%02x", i % 16 == 0 ? "\n  " : " ", bytes.data[i]);
	print_error("\n");
}

/* What is stored: the value, and the checksum behind it. */
static void stored_value(struct txn *txn, unsigned table, struct bytes key, struct buffer *out)
{
	struct bytes value;
	if (!txn_get(txn, table, key, &value))
		return;
	uint8_t id = (uint8_t)table;
	uint32_t crc = crc32c(crc32c(crc32c(0, BYTES_OF(id)), key), value);
	buffer_put(out, value);
	buffer_put_u32(out, crc);
}

static void check_example(struct fixture *fixture, const struct example *example)
{
	int table = table_of(example->table);
	struct bytes key = { example->key, example->key_size };
	struct bytes value = { example->value, example->value_size };
	struct buffer stored = BUFFER_EMPTY;
	struct txn txn;
	assert_true(table >= 0);
	txn_begin(&txn, spool_store(fixture->spool), TXN_READ);
	stored_value(&txn, (unsigned)table, key, &stored);
	assert_true(txn_ok(&txn));
	txn_abort(&txn);
	if (!bytes_equal(value, buffer_bytes(&stored))) {
		print_error("%s:%d: the example of table %s is not what is stored\n", DOCUMENT,
		            example->line, example->table);
		print_bytes("key", key);
		print_bytes("documented", value);
		print_bytes("stored", buffer_bytes(&stored));
		fail();
	}
	buffer_fini(&stored);
}

static void print_rows(struct fixture *fixture)
{
	for (unsigned table = 0; table < SPOOL_TABLE_COUNT; table++) {
		struct txn txn;
		struct bytes key, value;
		struct spool_key at = { .size = 0 };
		txn_begin(&txn, spool_store(fixture->spool), TXN_READ);
		bool more = txn_first(&txn, table, &key, &value);
		while (more) {
			struct buffer stored = BUFFER_EMPTY;
			print_error("table %s\n", spool_table_name((enum spool_table)table));
			print_bytes("key", key);
			memcpy(at.bytes, key.data, key.size);
			at.size = key.size;
			stored_value(&txn, table, spool_key_bytes(&at), &stored);
			print_bytes("value", buffer_bytes(&stored));
			buffer_fini(&stored);
			more = txn_after(&txn, table, spool_key_bytes(&at), &key, &value);
		}
		txn_abort(&txn);
	}
}

static void every_table_has_an_example_and_the_bytes_are_right(void **state)
{
	struct fixture fixture = { .spool = NULL };
	struct example example;
	bool seen[SPOOL_TABLE_COUNT] = { false };
	int line = 0;
	make_example(&fixture);
	if (getenv("ZR_PRINT_ROWS") != NULL) /* For whoever writes the document. */
		print_rows(&fixture);
	FILE *file = fopen(DOCUMENT, "r");
	assert_non_null(file);
	while (next_example(file, &example, &line)) {
		if (strcmp(example.table, "store") == 0)
			continue; /* Below. */
		check_example(&fixture, &example);
		seen[table_of(example.table)] = true;
	}
	fclose(file);
	for (int table = 0; table < SPOOL_TABLE_COUNT; table++) {
		if (!seen[table]) {
			print_error("%s has no example of table %s\n", DOCUMENT,
			            spool_table_name((enum spool_table)table));
			fail();
		}
	}
	spool_close(fixture.spool);
	temp_folder_remove(fixture.dir);
}

/* The store's own table cannot be read through the store; its row is in the file as it is. */
static void the_identity_of_the_example_is_in_the_file(void **state)
{
	struct fixture fixture = { .spool = NULL };
	struct example example;
	static uint8_t data[1u << 20];
	char path[TEST_PATH_MAX + 16];
	bool found = false;
	int line = 0;
	make_example(&fixture);
	spool_close(fixture.spool);
	snprintf(path, sizeof(path), "%s/data.mdb", fixture.dir);
	int fd = open(path, O_RDONLY);
	ssize_t size = read(fd, data, sizeof(data));
	close(fd);
	if (getenv("ZR_PRINT_ROWS") != NULL)
		print_bytes("identity",
		            (struct bytes){ memmem(data, (size_t)size, "ZRs1", 4), 61 });
	FILE *file = fopen(DOCUMENT, "r");
	assert_non_null(file);
	while (next_example(file, &example, &line)) {
		if (strcmp(example.table, "store") != 0)
			continue;
		found = true;
		assert_non_null(memmem(data, (size_t)size, example.value, example.value_size));
		assert_true(bytes_equal((struct bytes){ example.key, example.key_size },
		                        BYTES_LITERAL("identity")));
	}
	fclose(file);
	assert_true(found);
	temp_folder_remove(fixture.dir);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_table_has_an_example_and_the_bytes_are_right),
		cmocka_unit_test(the_identity_of_the_example_is_in_the_file),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
