/* The ledger of the development main chain: whole blocks or nothing, and going back. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>

#include "adapters/mainchain/devchain/ledger_private.h"
#include "adapters/mainchain/evidence.h"
#include "tests/lib/fault.h"
#include "tests/unit/store_fixture.h"

struct fixture {
	char dir[TEST_PATH_MAX];
	struct key *key;
	struct ledger *ledger;
};

static const struct ledger_rules rules = { .finality_blocks = 2 };

static void open_again(struct fixture *fixture)
{
	struct err err;
	ledger_close(fixture->ledger);
	fixture->ledger = NULL;
	MUST(ledger_open(&fixture->ledger,
	                 &(struct ledger_options){ .dir = fixture->dir, .key = fixture->key },
	                 &err));
}

static void make(struct fixture *fixture, enum suite suite, uint64_t size_bytes)
{
	struct err err;
	fresh_path(fixture->dir);
	MUST(key_generate(&fixture->key, suite, &err));
	MUST(ledger_create(&(struct ledger_options){ .dir = fixture->dir,
	                                             .key = fixture->key,
	                                             .chain = "main",
	                                             .size_bytes = size_bytes },
	                   &err));
	fixture->ledger = NULL;
	open_again(fixture);
}

static void end(struct fixture *fixture)
{
	ledger_close(fixture->ledger);
	key_free(fixture->key);
	temp_folder_remove(fixture->dir);
}

static int set_up(void **state)
{
	struct fixture *fixture = calloc(1, sizeof(*fixture));
	make(fixture, SUITE_SHA256_P256, 64u << 20);
	*state = fixture;
	return 0;
}

static int tear_down(void **state)
{
	end(*state);
	free(*state);
	return 0;
}

/* ---- anchors ---- */

/* One entry: heights from..to of chain, on the head of lane. */
struct sample {
	struct entry entry;
	struct buffer content;
	struct ledger_submission submission;
};

static void sample_init(struct sample *sample, struct ledger *ledger, uint16_t lane,
                        const char *chain, uint64_t from, uint64_t to)
{
	struct ledger_head head;
	struct err err;
	MUST(ledger_head(ledger, lane, UINT64_MAX, &head, &err));
	memset(sample, 0, sizeof(*sample));
	snprintf(sample->entry.chain.name, sizeof(sample->entry.chain.name), "%s", chain);
	sample->entry.chain.epoch = sha256(bytes_of_string(chain));
	sample->entry.from = from;
	sample->entry.to = to;
	sample->entry.policy = POLICY_ALL;
	struct anchor anchor = { .alg = HASH_SHA256,
		                 .deliver = DELIVER_ANCHOR,
		                 .lane = lane,
		                 .seq = head.seq + 1,
		                 .previous = head.root,
		                 .entries = &sample->entry,
		                 .entry_count = 1 };
	anchor.root = anchor_entries_root(anchor.alg, anchor.entries, 1);
	anchor_content_encode(&anchor, &sample->content);
	sample->submission.lane = lane;
	sample->submission.fence = head.fence;
	sample->submission.content = buffer_bytes(&sample->content);
	sample->submission.key = anchor_key(anchor.alg, sample->submission.content);
}

static bool try_block(struct ledger *ledger, struct sample *sample, struct err *err)
{
	struct ledger_submission *submission = &sample->submission;
	return ledger_make_block(ledger, &submission, 1, &rules, 1000, err);
}

static void fence(struct ledger *ledger, uint16_t lane)
{
	struct ledger_head head;
	struct err err;
	bool acquired;
	uint64_t number;
	MUST(ledger_head(ledger, lane, UINT64_MAX, &head, &err));
	MUST(ledger_fence(ledger, lane, head.fence, &acquired, &number, &err));
	assert_true(acquired);
}

/* A block with one anchor; gives its key. */
static struct hash record(struct ledger *ledger, uint16_t lane, const char *chain, uint64_t from,
                          uint64_t to)
{
	struct sample sample;
	struct err err;
	sample_init(&sample, ledger, lane, chain, from, to);
	MUST(try_block(ledger, &sample, &err));
	if (!sample.submission.verdict.accepted)
		fail_msg("%s", sample.submission.verdict.detail);
	buffer_fini(&sample.content);
	return sample.submission.key;
}

static void empty_blocks(struct ledger *ledger, size_t count)
{
	struct err err;
	while (count-- > 0)
		MUST(ledger_make_block(ledger, NULL, 0, &rules, 1000, &err));
}

static bool is_recorded(struct ledger *ledger, uint16_t lane, const struct hash *key)
{
	struct ledger_place place;
	struct err err;
	bool found;
	MUST(ledger_find(ledger, lane, key, UINT64_MAX, &found, &place, &err));
	return found;
}

static uint64_t head_seq(struct ledger *ledger, uint16_t lane)
{
	struct ledger_head head;
	struct err err;
	MUST(ledger_head(ledger, lane, UINT64_MAX, &head, &err));
	return head.seq;
}

/* ---- tests ---- */

static int fault_countdown;

static int fail_nth(const char *point, void *arg)
{
	/* Reading a row and finding none is not among what fails: "get" is the device, too. */
	return --fault_countdown == 0 ? EIO : 0;
}

static void a_failure_at_any_step_leaves_nothing_of_a_block(void **state)
{
	struct fixture *fixture = *state;
	fence(fixture->ledger, 1);
	(void)record(fixture->ledger, 1, "a", 0, 3);
	bool done = false;
	int failures = 0;
	for (int n = 1; !done; n++) {
		struct sample sample;
		struct err err;
		sample_init(&sample, fixture->ledger, 1, "a", 4, 5);
		fault_countdown = n;
		store_set_fault(fixture->ledger->store, fail_nth, NULL);
		done = try_block(fixture->ledger, &sample, &err);
		store_set_fault(fixture->ledger->store, NULL, NULL);
		if (!done) {
			failures++;
			assert_int_equal(ledger_height(fixture->ledger), 1);
			open_again(fixture); /* A failed commit poisons the store, rightly. */
			assert_int_equal(ledger_height(fixture->ledger), 1);
			assert_int_equal(head_seq(fixture->ledger, 1), 1);
			assert_false(is_recorded(fixture->ledger, 1, &sample.submission.key));
		} else {
			assert_true(is_recorded(fixture->ledger, 1, &sample.submission.key));
		}
		buffer_fini(&sample.content);
	}
	assert_true(failures > 10);
	open_again(fixture);
	assert_int_equal(head_seq(fixture->ledger, 1), 2);
}

static void an_allocation_that_fails_leaves_nothing_of_a_block(void **state)
{
	struct fixture *fixture = *state;
	fence(fixture->ledger, 1);
	size_t failures = 0;
	for (size_t n = 1;; n++) {
		struct sample sample;
		struct err err = { .code = ZR_OK };
		sample_init(&sample, fixture->ledger, 1, "a", 0, 5);
		fault_at(n);
		bool done = try_block(fixture->ledger, &sample, &err);
		bool failed = fault_off() > 0;
		assert_int_equal(done, !failed);
		if (done)
			assert_true(sample.submission.verdict.accepted); /* Never refused for it. */
		assert_int_equal(is_recorded(fixture->ledger, 1, &sample.submission.key), done);
		buffer_fini(&sample.content);
		if (done)
			break;
		failures++;
	}
	assert_true(failures > 3);
}

static void a_full_ledger_takes_nothing_and_keeps_what_it_has(void **state)
{
	struct fixture fixture;
	struct err err = { .code = ZR_OK };
	make(&fixture, SUITE_SHA256_P256, 1u << 20);
	uint8_t payload[30000];
	bool before = false, done = true;
	uint64_t stored = 0;
	while (done) {
		memset(payload, (int)stored, sizeof(payload));
		struct hash content = sha256(BYTES_OF(payload));
		done = ledger_put_batch(fixture.ledger, &content, BYTES_OF(payload), &before, &err);
		stored += done ? 1 : 0;
		assert_true(stored < 60);
	}
	assert_int_equal(err.code, ZR_FULL);
	open_again(&fixture);
	for (uint64_t i = 0; i < stored; i++) {
		struct buffer again = BUFFER_EMPTY;
		bool found = false;
		memset(payload, (int)i, sizeof(payload));
		struct hash content = sha256(BYTES_OF(payload));
		MUST(ledger_get_batch(fixture.ledger, &content, &again, &found, &err));
		assert_true(found && bytes_equal(buffer_bytes(&again), BYTES_OF(payload)));
		buffer_fini(&again);
	}
	end(&fixture);
}

static void evidence_of_every_suite_verifies(void **state)
{
	static const enum suite suites[] = { SUITE_SHA256_P256, SUITE_SHA256_ED25519,
		                             SUITE_SM3_SM2 };
	for (size_t i = 0; i < 3; i++) {
		struct fixture fixture;
		struct ledger_place place;
		struct buffer evidence = BUFFER_EMPTY, pem = BUFFER_EMPTY, checks = BUFFER_EMPTY;
		struct err err;
		bool found;
		if (!suite_available(suites[i]))
			continue;
		make(&fixture, suites[i], 8u << 20);
		assert_int_equal(ledger_alg(fixture.ledger), suite_hash(suites[i]));
		fence(fixture.ledger, 3);
		struct hash key = record(fixture.ledger, 3, "a", 0, 9);
		MUST(ledger_find(fixture.ledger, 3, &key, UINT64_MAX, &found, &place, &err));
		assert_false(ledger_is_settled(fixture.ledger));
		assert_false(ledger_evidence(fixture.ledger, &place, &evidence, &err));
		empty_blocks(fixture.ledger, 2);
		assert_true(ledger_is_settled(fixture.ledger));
		MUST(ledger_evidence(fixture.ledger, &place, &evidence, &err));
		MUST(key_to_pem(fixture.key, false, &pem, &err));
		struct anchor anchor = { .alg = HASH_SHA256, .lane = 3, .seq = 1 };
		anchor.root = place.transaction.root;
		MUST(http_evidence_check(buffer_bytes(&evidence), buffer_bytes(&pem), &anchor, &key,
		                         &checks, &err));
		buffer_fini(&evidence);
		buffer_fini(&pem);
		buffer_fini(&checks);
		end(&fixture);
	}
}

static void blocks_are_chained_and_their_time_never_goes_back(void **state)
{
	struct fixture *fixture = *state;
	struct err err;
	struct hash before = { { 0 } };
	int64_t times[] = { 5000, 4000, 6000 };
	for (size_t i = 0; i < 3; i++) {
		struct ledger_block block = LEDGER_BLOCK_EMPTY;
		struct main_block header;
		bool found;
		MUST(ledger_make_block(fixture->ledger, NULL, 0, &rules, times[i], &err));
		MUST(ledger_block(fixture->ledger, i + 1, &found, &block, &err));
		MUST(main_block_decode(buffer_bytes(&block.record), &header, &err));
		assert_true(found && hash_equal(&header.previous, &before));
		assert_int_equal(header.time_ms, i == 1 ? 5000 : times[i]);
		before = main_block_hash(HASH_SHA256, buffer_bytes(&block.record));
		ledger_block_fini(&block);
	}
}

static void several_anchors_of_one_lane_fit_into_one_block(void **state)
{
	struct fixture *fixture = *state;
	struct sample first, second;
	struct err err;
	fence(fixture->ledger, 1);
	sample_init(&first, fixture->ledger, 1, "a", 0, 0);
	sample_init(&second, fixture->ledger, 1, "a", 1, 1);
	struct anchor_decoded *decoded;
	MUST(anchor_content_decode(first.submission.content, &decoded, &err));
	struct anchor next = *anchor_decoded_view(decoded);
	next.previous = next.root;
	next.seq = 2;
	next.entries = &second.entry;
	next.root = anchor_entries_root(HASH_SHA256, next.entries, 1);
	buffer_clear(&second.content);
	anchor_content_encode(&next, &second.content);
	second.submission.content = buffer_bytes(&second.content);
	second.submission.key = anchor_key(HASH_SHA256, second.submission.content);
	anchor_decoded_free(decoded);

	struct sample again = first;
	struct ledger_submission *all[] = { &first.submission, &second.submission,
		                            &again.submission };
	MUST(ledger_make_block(fixture->ledger, all, 3, &rules, 1000, &err));
	assert_true(first.submission.verdict.accepted && !first.submission.verdict.before);
	assert_true(second.submission.verdict.accepted);
	assert_int_equal(second.submission.verdict.place.index, 1);
	assert_true(again.submission.verdict.accepted && again.submission.verdict.before);
	assert_int_equal(head_seq(fixture->ledger, 1), 2);
	buffer_fini(&first.content);
	buffer_fini(&second.content);
}

static void a_reorganisation_spares_what_is_final(void **state)
{
	struct fixture *fixture = *state;
	struct err err;
	uint64_t dropped;
	fence(fixture->ledger, 1);
	struct hash final = record(fixture->ledger, 1, "a", 0, 0);
	empty_blocks(fixture->ledger, 2);
	struct hash open = record(fixture->ledger, 1, "a", 1, 1);
	uint64_t height = ledger_height(fixture->ledger);
	MUST(ledger_reorganise(fixture->ledger, 1000, &rules, 1000, &dropped, &err));
	assert_int_equal(dropped, 2);
	assert_true(ledger_height(fixture->ledger) > height);
	assert_true(is_recorded(fixture->ledger, 1, &final));
	assert_false(is_recorded(fixture->ledger, 1, &open));
	struct hash again = record(fixture->ledger, 1, "a", 1, 1);
	assert_true(hash_equal(&again, &open));
	open_again(fixture);
	assert_int_equal(head_seq(fixture->ledger, 1), 2);
}

static void a_snapshot_brings_everything_back(void **state)
{
	struct fixture *fixture = *state;
	struct ledger *ledger = fixture->ledger;
	struct ledger_head head;
	struct err err;
	bool before, found;
	static const uint8_t old[] = "old", new[] = "new";
	struct hash old_content = sha256(BYTES_OF(old)), new_content = sha256(BYTES_OF(new));
	fence(ledger, 1);
	struct hash first = record(ledger, 1, "a", 0, 0);
	MUST(ledger_put_batch(ledger, &old_content, BYTES_OF(old), &before, &err));
	MUST(ledger_snapshot(ledger, "s", &err));
	fence(ledger, 1);
	fence(ledger, 2);
	(void)record(ledger, 2, "b", 0, 0);
	empty_blocks(ledger, 5);
	MUST(ledger_put_batch(ledger, &new_content, BYTES_OF(new), &before, &err));
	MUST(ledger_snapshot(ledger, "later", &err));

	MUST(ledger_restore(ledger, "s", &err));
	assert_int_equal(ledger_height(ledger), 1);
	assert_true(is_recorded(ledger, 1, &first));
	assert_int_equal(head_seq(ledger, 2), 0);
	MUST(ledger_head(ledger, 1, UINT64_MAX, &head, &err));
	assert_int_equal(head.fence, 1);
	MUST(ledger_head(ledger, 2, UINT64_MAX, &head, &err));
	assert_int_equal(head.fence, 0);
	struct buffer bytes = BUFFER_EMPTY;
	MUST(ledger_get_batch(ledger, &old_content, &bytes, &found, &err));
	assert_true(found);
	MUST(ledger_get_batch(ledger, &new_content, &bytes, &found, &err));
	assert_false(found);
	buffer_fini(&bytes);

	assert_false(ledger_restore(ledger, "later", &err));
	assert_int_equal(err.code, ZR_INVALID);
	assert_false(ledger_restore(ledger, "none", &err));
	assert_int_equal(err.code, ZR_INVALID);
	open_again(fixture);
	assert_int_equal(ledger_height(fixture->ledger), 1);
	MUST(ledger_put_batch(fixture->ledger, &new_content, BYTES_OF(new), &before, &err));
	assert_false(before);
}

static void the_audit_counts_duplicates_and_gaps(void **state)
{
	struct fixture *fixture = *state;
	struct ledger_audit audit = LEDGER_AUDIT_EMPTY;
	struct err err;
	fence(fixture->ledger, 1);
	fence(fixture->ledger, 2);
	(void)record(fixture->ledger, 1, "a", 0, 9);
	(void)record(fixture->ledger, 1, "a", 10, 14);
	(void)record(fixture->ledger, 2, "a", 8, 12); /* Again, in another lane: five too many. */
	(void)record(fixture->ledger, 1, "a", 20, 20);
	(void)record(fixture->ledger, 1, "b", 0, 0);
	MUST(ledger_audit(fixture->ledger, "a", &audit, &err));
	assert_int_equal(audit.count, 1);
	const struct ledger_audit_chain *chain = &audit.chains[0];
	assert_string_equal(chain->id.name, "a");
	assert_int_equal(chain->blocks, 16);
	assert_int_equal(chain->duplicates, 5);
	assert_int_equal(chain->anchored_count, 2);
	assert_int_equal(chain->anchored[0].to, 14);
	assert_int_equal(chain->anchored[1].from, 20);
	ledger_audit_fini(&audit);
	MUST(ledger_audit(fixture->ledger, NULL, &audit, &err));
	assert_int_equal(audit.count, 2);
	ledger_audit_fini(&audit);
	MUST(ledger_audit(fixture->ledger, "c", &audit, &err));
	assert_int_equal(audit.count, 0);
	ledger_audit_fini(&audit);
}

static void another_key_cannot_go_on_with_a_ledger_of_another_hash(void **state)
{
	struct fixture *fixture = *state;
	struct key *other;
	struct ledger *ledger;
	struct err err;
	if (!suite_available(SUITE_SM3_SM2))
		skip();
	MUST(key_generate(&other, SUITE_SM3_SM2, &err));
	ledger_close(fixture->ledger);
	fixture->ledger = NULL;
	assert_false(ledger_open(
		&ledger, &(struct ledger_options){ .dir = fixture->dir, .key = other }, &err));
	assert_int_equal(err.code, ZR_INVALID);
	key_free(other);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_failure_at_any_step_leaves_nothing_of_a_block),
		TEST(an_allocation_that_fails_leaves_nothing_of_a_block),
		cmocka_unit_test(a_full_ledger_takes_nothing_and_keeps_what_it_has),
		cmocka_unit_test(evidence_of_every_suite_verifies),
		TEST(blocks_are_chained_and_their_time_never_goes_back),
		TEST(several_anchors_of_one_lane_fit_into_one_block),
		TEST(a_reorganisation_spares_what_is_final),
		TEST(a_snapshot_brings_everything_back),
		TEST(the_audit_counts_duplicates_and_gaps),
		TEST(another_key_cannot_go_on_with_a_ledger_of_another_hash),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
