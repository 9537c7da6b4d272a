#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "proto/record.h"
#include "tests/lib/sample.h"
#include "tests/lib/vectors.h"

static struct vectors *vectors;

static int open_vectors(void **state)
{
	vectors = vectors_open("records.txt");
	return 0;
}

static int close_vectors(void **state)
{
	vectors_close(vectors);
	return 0;
}

static struct bytes header_bytes(const struct block_header *header, uint8_t *record)
{
	header_record_encode(header, record);
	return (struct bytes){ record, HEADER_RECORD_SIZE };
}

static void a_chain_name_is_letters_digits_and_three_signs(void **state)
{
	static const char *const good[] = { "a", "7", "tq-0001", "A.b_c-9" };
	static const char *const bad[] = {
		"", "-a", ".a", "_a", "a b", "a/b", "a\n", "caf\xc3\xa9"
	};
	char name[CHAIN_NAME_MAX + 2];
	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++)
		assert_true(chain_name_valid(good[i]));
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_false(chain_name_valid(bad[i]));
	memset(name, 'x', sizeof(name));
	name[CHAIN_NAME_MAX] = '\0';
	assert_true(chain_name_valid(name));
	name[CHAIN_NAME_MAX] = 'x';
	name[CHAIN_NAME_MAX + 1] = '\0';
	assert_false(chain_name_valid(name));
}

static void a_chain_is_its_name_and_its_epoch(void **state)
{
	struct chain_id a = sample_chain();
	struct chain_id b = a;
	struct chain_key key = chain_key(&a);
	assert_bytes_equal(BYTES_OF(key.bytes), vector(vectors, "chain-key"));
	assert_true(chain_id_equal(&a, &b));

	b.epoch.bytes[31] ^= 1;
	struct chain_key other = chain_key(&b);
	assert_false(chain_id_equal(&a, &b));
	assert_false(chain_key_equal(&key, &other));
	b = a;
	b.name[0] = 'T';
	other = chain_key(&b);
	assert_false(chain_id_equal(&a, &b));
	assert_false(chain_key_equal(&key, &other));
}

static void policies_and_deliveries_are_known_by_their_names(void **state)
{
	enum policy policy;
	enum deliver deliver;
	assert_true(policy_from_name("tail", &policy));
	assert_int_equal(policy, POLICY_TAIL);
	assert_true(policy_from_name(policy_name(POLICY_ALL), &policy));
	assert_int_equal(policy, POLICY_ALL);
	assert_false(policy_from_name("some", &policy));
	assert_string_equal(policy_name((enum policy)9), "unknown");
	for (enum deliver each = DELIVER_ANCHOR; each <= DELIVER_FULL; each++) {
		assert_true(deliver_from_name(deliver_name(each), &deliver));
		assert_int_equal(deliver, each);
	}
	assert_false(deliver_from_name("unknown", &deliver));
	assert_string_equal(deliver_name((enum deliver)9), "unknown");
}

static void header_records_are_the_vectors(void **state)
{
	uint8_t record[HEADER_RECORD_SIZE];
	for (int i = 0; i < SAMPLE_HEADERS; i++) {
		struct block_header header = sample_header(i);
		assert_bytes_equal(header_bytes(&header, record),
		                   vector_at(vectors, "header-%d", 7 + i));
		struct hash leaf = header_leaf(HASH_SHA256, &header);
		assert_bytes_equal(BYTES_OF(leaf.bytes),
		                   vector_at(vectors, "header-%d-leaf", 7 + i));
	}
	struct block_header first = sample_header(0);
	struct hash leaf = header_leaf(HASH_SM3, &first);
	assert_bytes_equal(BYTES_OF(leaf.bytes), vector(vectors, "header-7-leaf-sm3"));
}

static void a_header_record_decodes_to_what_it_was(void **state)
{
	struct block_header header = sample_header(1);
	header.height = HEIGHT_MAX;
	header.time_ms = -1;
	header.entry_count = UINT32_MAX;
	uint8_t record[HEADER_RECORD_SIZE];
	uint8_t again[HEADER_RECORD_SIZE];
	struct block_header decoded;
	assert_true(header_record_decode(header_bytes(&header, record), &decoded, NULL));
	assert_int_equal(decoded.time_ms, -1);
	assert_bytes_equal(header_bytes(&decoded, again), BYTES_OF(record));
}

static void a_header_record_of_another_size_name_or_height_is_refused(void **state)
{
	uint8_t record[HEADER_RECORD_SIZE + 1] = { 0 };
	struct block_header header = sample_header(0);
	struct block_header decoded;
	struct err err;
	header_record_encode(&header, record);
	for (size_t size = 0; size <= HEADER_RECORD_SIZE + 1; size++) {
		bool ok = header_record_decode((struct bytes){ record, size }, &decoded, &err);
		assert_int_equal(ok, size == HEADER_RECORD_SIZE);
		assert_true(ok || err.code == ZR_INVALID);
	}
	record[3] ^= 1;
	assert_false(
		header_record_decode((struct bytes){ record, HEADER_RECORD_SIZE }, &decoded, &err));
	header.height = HEIGHT_MAX + 1;
	assert_false(header_record_decode(header_bytes(&header, record), &decoded, &err));
	assert_non_null(strstr(err.message, "2^63"));
}

static void entry_records_are_the_vectors(void **state)
{
	struct entry entry = sample_entry(HASH_SHA256);
	struct buffer record = BUFFER_EMPTY;
	entry_record_encode(&entry, &record);
	assert_bytes_equal(BYTES_OF(entry.subtree.bytes), vector(vectors, "subtree"));
	assert_bytes_equal(buffer_bytes(&record), vector(vectors, "entry"));
	struct hash leaf = entry_leaf(HASH_SHA256, &entry);
	assert_bytes_equal(BYTES_OF(leaf.bytes), vector(vectors, "entry-leaf"));
	buffer_clear(&record);
	entry = sample_other_entry();
	entry_record_encode(&entry, &record);
	assert_bytes_equal(buffer_bytes(&record), vector(vectors, "entry-other"));
	buffer_fini(&record);
}

static void an_entry_record_decodes_to_what_it_was(void **state)
{
	struct bytes record = vector(vectors, "entry");
	struct buffer again = BUFFER_EMPTY;
	struct entry entry;
	assert_true(entry_record_decode(record, &entry, NULL));
	assert_string_equal(entry.chain.name, "tq-0001");
	assert_int_equal(entry.from, 7);
	assert_int_equal(entry.to, 9);
	assert_int_equal(entry.policy, POLICY_ALL);
	entry_record_encode(&entry, &again);
	assert_bytes_equal(buffer_bytes(&again), record);
	buffer_fini(&again);
}

/* The sample's entry record with one byte changed, or cut short, or with one byte more. */
static bool entry_decodes(size_t at, uint8_t value, size_t size, struct err *err)
{
	struct buffer record = BUFFER_EMPTY;
	struct entry entry;
	buffer_put(&record, vector(vectors, "entry"));
	buffer_put_u8(&record, 0);
	record.data[at] = value;
	bool ok = entry_record_decode((struct bytes){ record.data, size }, &entry, err);
	assert_true(ok || err->code == ZR_INVALID);
	buffer_fini(&record);
	return ok;
}

static void an_entry_record_that_is_not_exactly_right_is_refused(void **state)
{
	enum { NAME = 5, FROM = 12 + 32, TO = FROM + 8, POLICY = TO + 8 + 32 };
	size_t size = vector(vectors, "entry").size;
	struct err err;
	assert_true(entry_decodes(0, 'Z', size, &err));
	for (size_t cut = 0; cut < size; cut++)
		assert_false(entry_decodes(0, 'Z', cut, &err));
	assert_false(entry_decodes(0, 'Z', size + 1, &err));
	assert_false(entry_decodes(3, '2', size, &err));
	assert_false(entry_decodes(NAME - 1, 0, size, &err));
	assert_false(entry_decodes(NAME - 1, CHAIN_NAME_MAX + 1, size, &err));
	assert_false(entry_decodes(NAME, '-', size, &err));
	assert_false(entry_decodes(NAME + 3, '\0', size, &err));
	assert_false(entry_decodes(NAME + 3, 0xe5, size, &err));
	assert_false(entry_decodes(FROM + 7, 10, size, &err)); /* from 10, to 9 */
	assert_true(entry_decodes(FROM + 7, 9, size, &err));
	assert_false(entry_decodes(TO, 0x80, size, &err));
	assert_false(entry_decodes(POLICY, 0, size, &err));
	assert_false(entry_decodes(POLICY, 3, size, &err));
	assert_true(entry_decodes(POLICY, 2, size, &err));
}

static bool run_checks(const struct block_header *headers, size_t count, struct err *err)
{
	struct entry entry = sample_entry(HASH_SHA256);
	bool ok = entry_check_headers(HASH_SHA256, &entry, headers, count, err);
	assert_true(ok || err->code == ZR_INVALID);
	return ok;
}

static void the_headers_of_an_entry_are_its_run_and_no_other(void **state)
{
	struct block_header good[SAMPLE_HEADERS];
	struct block_header bad[SAMPLE_HEADERS + 1];
	struct err err;
	for (int i = 0; i < SAMPLE_HEADERS; i++)
		good[i] = sample_header(i);
	assert_true(run_checks(good, SAMPLE_HEADERS, &err));
	assert_false(run_checks(good, 0, &err));
	assert_false(run_checks(good, SAMPLE_HEADERS - 1, &err));
	memcpy(bad, good, sizeof(good));
	bad[SAMPLE_HEADERS] = sample_header(SAMPLE_HEADERS);
	assert_false(run_checks(bad, SAMPLE_HEADERS + 1, &err));

	memcpy(bad, good, sizeof(good));
	bad[1].height++;
	assert_false(run_checks(bad, SAMPLE_HEADERS, &err));
	assert_non_null(strstr(err.message, "height"));
	memcpy(bad, good, sizeof(good));
	bad[1].parent.bytes[0]++;
	assert_false(run_checks(bad, SAMPLE_HEADERS, &err));
	assert_non_null(strstr(err.message, "parent"));
	memcpy(bad, good, sizeof(good));
	bad[2].hash.bytes[0]++;
	assert_false(run_checks(bad, SAMPLE_HEADERS, &err));
	assert_non_null(strstr(err.message, "tip"));
	memcpy(bad, good, sizeof(good));
	bad[1].entry_count++;
	assert_false(run_checks(bad, SAMPLE_HEADERS, &err));
	assert_non_null(strstr(err.message, "subtree"));
}

static void custody_records_and_their_root_are_the_vectors(void **state)
{
	struct vectors *receipts = vectors_open("receipts.txt");
	struct buffer record = BUFFER_EMPTY;
	struct hash leaves[SAMPLE_CUSTODIES];
	for (int i = 0; i < SAMPLE_CUSTODIES; i++) {
		struct custody custody = sample_custody(i);
		buffer_clear(&record);
		custody_record_encode(&custody, &record);
		assert_bytes_equal(buffer_bytes(&record), vector_at(receipts, "custody-%d", i));
		leaves[i] = custody_leaf(&custody);
		struct hash leaf = merkle_leaf(HASH_SHA256, buffer_bytes(&record));
		assert_true(hash_equal(&leaves[i], &leaf));
	}
	buffer_fini(&record);

	struct custody_root root = { .commit_number = 42,
		                     .time_ms = SAMPLE_TIME_MS,
		                     .count = SAMPLE_CUSTODIES };
	memcpy(root.store_uuid, sample_uuid, STORE_UUID_SIZE);
	root.root = merkle_root(HASH_SHA256, leaves, SAMPLE_CUSTODIES);
	uint8_t encoded[CUSTODY_ROOT_SIZE];
	custody_root_encode(&root, encoded);
	assert_bytes_equal(BYTES_OF(encoded), vector(receipts, "custody-root"));
	vectors_close(receipts);
}

static void the_receipt_root_record_is_the_vector(void **state)
{
	struct vectors *receipts = vectors_open("receipts.txt");
	struct receipt_root root = sample_receipt_root();
	uint8_t record[RECEIPT_ROOT_SIZE];
	receipt_root_encode(&root, record);
	assert_bytes_equal(BYTES_OF(record), vector(receipts, "receipt-root"));
	vectors_close(receipts);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_chain_name_is_letters_digits_and_three_signs),
		cmocka_unit_test(a_chain_is_its_name_and_its_epoch),
		cmocka_unit_test(policies_and_deliveries_are_known_by_their_names),
		cmocka_unit_test(header_records_are_the_vectors),
		cmocka_unit_test(a_header_record_decodes_to_what_it_was),
		cmocka_unit_test(a_header_record_of_another_size_name_or_height_is_refused),
		cmocka_unit_test(entry_records_are_the_vectors),
		cmocka_unit_test(an_entry_record_decodes_to_what_it_was),
		cmocka_unit_test(an_entry_record_that_is_not_exactly_right_is_refused),
		cmocka_unit_test(the_headers_of_an_entry_are_its_run_and_no_other),
		cmocka_unit_test(custody_records_and_their_root_are_the_vectors),
		cmocka_unit_test(the_receipt_root_record_is_the_vector),
	};
	return cmocka_run_group_tests(tests, open_vectors, close_vectors);
}
