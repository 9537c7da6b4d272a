/* Promise P9: what a start reads of a spool does not grow with what is in it. Every look-up and step of
 * a cursor is counted (the program's own mdb_get() and mdb_cursor_get() come before the library's):
 * they are as many in a full spool as in a small one. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <dlfcn.h>
#include <lmdb.h>

#include "tests/unit/spool_fixture.h"

static size_t read_count;

int mdb_get(MDB_txn *txn, MDB_dbi dbi, MDB_val *key, MDB_val *data)
{
	int (*theirs)(MDB_txn *, MDB_dbi, MDB_val *, MDB_val *);
	*(void **)&theirs = dlsym(RTLD_NEXT, "mdb_get");
	read_count++;
	return theirs(txn, dbi, key, data);
}

int mdb_cursor_get(MDB_cursor *cursor, MDB_val *key, MDB_val *data, MDB_cursor_op op)
{
	int (*theirs)(MDB_cursor *, MDB_val *, MDB_val *, MDB_cursor_op);
	*(void **)&theirs = dlsym(RTLD_NEXT, "mdb_cursor_get");
	read_count++;
	return theirs(cursor, key, data, op);
}

/* What zonerelayd does before it listens and before its lane asks the main chain; how many reads. */
static size_t start(struct fixture *fixture)
{
	struct err err;
	struct spool_totals totals;
	struct spool_lane lane;
	read_count = 0;
	open_spool(fixture);
	MUST(spool_totals(fixture->spool, &totals, &err));
	MUST(spool_lane(fixture->spool, SPOOL_SINK_MAIN, 0, &lane, &err));
	assert_int_equal(lane.newest_seq, fixture->seq);
	return read_count;
}

/* Each chain with blocks that are final and blocks that are pending. */
static void fill(struct fixture *fixture, int from, int to)
{
	for (int i = from; i < to; i++) {
		char name[16];
		(void)snprintf(name, sizeof(name), "c-%d", i);
		struct test_chain chain = test_chain(name);
		add_chain(fixture, &chain);
		for (int k = 0; k < 4; k++) {
			put_batch(fixture, &chain, 3);
			anchor_all(fixture, &chain);
		}
		put_batch(fixture, &chain, 2);
	}
}

static void a_start_reads_as_much_of_a_full_spool_as_of_a_small_one(void **state)
{
	struct fixture *fixture = *state;
	fill(fixture, 0, 2);
	size_t small = start(fixture);
	assert_true(small > 0);
	fill(fixture, 2, 60);
	assert_int_equal(start(fixture), small);
	/* And once more: a start leaves nothing behind that costs the next one. */
	assert_int_equal(start(fixture), small);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		WITH_SPOOL(a_start_reads_as_much_of_a_full_spool_as_of_a_small_one),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
