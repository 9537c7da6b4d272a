/* test_evidence.c -- bundles that prove a fork, and those that only look like one. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "relay/base/file.h"
#include "relay/evidence.h"

/* Made by a gateway that met a fork. */
#define BUNDLE "tests/fuzz/corpus/evidence/fork"

static int set_up(void **state)
{
	struct buffer *bundle = calloc(1, sizeof(*bundle));
	assert_true(file_read(BUNDLE, 1u << 20, bundle, NULL));
	*state = bundle;
	return 0;
}

static int tear_down(void **state)
{
	buffer_fini(*state);
	free(*state);
	return 0;
}

static void a_bundle_proves_the_fork_it_is_of(void **state)
{
	struct evidence evidence;
	struct block_header headers[2];
	struct buffer again = BUFFER_EMPTY;
	struct bytes bundle = buffer_bytes(*state);
	assert_true(evidence_decode(bundle, &evidence, NULL));
	assert_string_equal(evidence.format->name, "ledger");
	assert_true(evidence_check(&evidence, headers, NULL));
	assert_int_equal(headers[0].height, evidence.height);
	assert_false(hash_equal(&headers[0].hash, &headers[1].hash));
	evidence_encode(&evidence, &again);
	assert_true(bytes_equal(buffer_bytes(&again), bundle));
	buffer_fini(&again);
}

static void a_bundle_that_is_cut_anywhere_is_refused(void **state)
{
	struct bytes bundle = buffer_bytes(*state);
	struct evidence evidence;
	struct err err;
	for (size_t size = 0; size < bundle.size; size++) {
		assert_false(evidence_decode((struct bytes){ bundle.data, size }, &evidence, &err));
		assert_int_equal(err.code, ZR_INVALID);
	}
}

/* Else two bundles would say the same, and only one of them would be what encoding gives. */
static void a_name_with_a_zero_inside_is_refused(void **state)
{
	enum { FORMAT_AT = 4, NAME_AT = FORMAT_AT + 1 + 6 }; /* After the magic; after "ledger". */
	struct evidence evidence;
	struct buffer changed = BUFFER_EMPTY;
	buffer_put(&changed, buffer_bytes(*state));
	uint8_t size = changed.data[NAME_AT];
	assert_true(size >= 2 && evidence_decode(buffer_bytes(&changed), &evidence, NULL));
	changed.data[NAME_AT + size] = '\0';
	assert_false(evidence_decode(buffer_bytes(&changed), &evidence, NULL));
	buffer_clear(&changed);
	buffer_put(&changed, buffer_bytes(*state));
	changed.data[FORMAT_AT + 6] = '\0';
	assert_false(evidence_decode(buffer_bytes(&changed), &evidence, NULL));
	buffer_fini(&changed);
}

static void one_block_twice_proves_nothing(void **state)
{
	struct evidence evidence;
	struct block_header headers[2];
	struct err err;
	assert_true(evidence_decode(buffer_bytes(*state), &evidence, NULL));
	evidence.theirs = evidence.ours;
	assert_false(evidence_check(&evidence, headers, &err));
	assert_int_equal(err.code, ZR_INVALID);
}

static void another_height_proves_nothing(void **state)
{
	struct evidence evidence;
	struct block_header headers[2];
	assert_true(evidence_decode(buffer_bytes(*state), &evidence, NULL));
	evidence.height++;
	assert_false(evidence_check(&evidence, headers, NULL));
}

static void no_byte_of_it_can_be_changed_unseen(void **state)
{
	struct buffer *bundle = *state;
	struct evidence evidence, changed;
	struct block_header headers[2];
	assert_true(evidence_decode(buffer_bytes(bundle), &evidence, NULL));
	/* From the trust set on: format, name and epoch are what the reader compares himself. */
	size_t from = (size_t)(evidence.trust.data - bundle->data);
	for (size_t i = from; i < bundle->size; i++) {
		bundle->data[i] ^= 1;
		assert_false(evidence_decode(buffer_bytes(bundle), &changed, NULL) &&
		             evidence_check(&changed, headers, NULL));
		bundle->data[i] ^= 1;
	}
}

#define WITH_BUNDLE(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		WITH_BUNDLE(a_bundle_proves_the_fork_it_is_of),
		WITH_BUNDLE(a_bundle_that_is_cut_anywhere_is_refused),
		WITH_BUNDLE(a_name_with_a_zero_inside_is_refused),
		WITH_BUNDLE(one_block_twice_proves_nothing),
		WITH_BUNDLE(another_height_proves_nothing),
		WITH_BUNDLE(no_byte_of_it_can_be_changed_unseen),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
