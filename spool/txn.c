/* Transactions that remember their first failure, and the checksum at the end of every value:
 *
 *     value as stored = value || CRC-32C(u8 table id || key || value), big-endian
 */
#include "spool/txn.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "relay/base/clock.h"
#include "relay/base/fault_point.h"
#include "spool/store_private.h"

/* One row changed copies its leaf and may split it; the branches above and the list of free pages
 * are shared by all rows of a transaction. */
#define ROW_PAGES 3
#define TXN_PAGES 64

/* ---- readers of this process ---- */

static bool reader_enter(struct store *store, unsigned *out_place)
{
	int64_t now_ms = clock_monotonic_ms(clock_system());
	if (now_ms == 0)
		now_ms = 1;
	for (unsigned i = 0; i < STORE_READERS_MAX; i++) {
		int64_t none = 0;
		if (atomic_compare_exchange_strong(&store->readers[i], &none, now_ms)) {
			*out_place = i;
			return true;
		}
	}
	return false;
}

static void reader_leave(struct store *store, unsigned place)
{
	atomic_store(&store->readers[place], 0);
}

/* A thread that begins to write while it writes would wait for itself, for ever. */
static void writer_enter(struct store *store)
{
	assert(atomic_load(&store->writer) != (uintptr_t)pthread_self());
}

static void writer_leave(struct store *store)
{
	atomic_store(&store->writer, 0);
}

/* ---- failing ---- */

bool txn_ok(const struct txn *txn)
{
	return !txn->failed;
}

bool txn_check(const struct txn *txn, struct err *err)
{
	if (txn->failed && err != NULL)
		*err = txn->err;
	return !txn->failed;
}

void txn_fail(struct txn *txn, enum err_code code, const char *format, ...)
{
	if (txn->failed)
		return;
	char message[ERR_MESSAGE_SIZE];
	va_list args;
	va_start(args, format);
	vsnprintf(message, sizeof(message), format, args);
	va_end(args);
	err_set(&txn->err, code, "%s", message);
	txn->failed = true;
}

void txn_wrap(struct txn *txn, const char *format, ...)
{
	if (!txn->failed)
		return;
	char where[128];
	va_list args;
	va_start(args, format);
	vsnprintf(where, sizeof(where), format, args);
	va_end(args);
	err_wrap(&txn->err, "%s", where);
}

static const char *table_name(const struct txn *txn, unsigned table)
{
	return txn->store->format->tables[table];
}

static void fail_rc(struct txn *txn, int rc, unsigned table)
{
	assert(!txn->failed);
	store_failed(txn->store, &txn->err, rc, table_name(txn, table));
	txn->failed = true;
}

#define KEY_TEXT_BYTES 40

static void fail_row(struct txn *txn, enum err_code code, unsigned table, struct bytes key,
                     const char *what)
{
	char text[2 * KEY_TEXT_BYTES + 1];
	bool cut = key.size > KEY_TEXT_BYTES;
	if (cut)
		key.size = KEY_TEXT_BYTES;
	txn_fail(txn, code, "table %s, key %s%s: %s", table_name(txn, table), hex_encode(key, text),
	         cut ? "..." : "", what);
}

/* ---- life ---- */

static int begin(struct txn *txn)
{
	int rc = store_fault(txn->store, "begin");
	if (rc != 0)
		return rc;
	MDB_env *env = txn->store->env;
	unsigned flags = txn->kind == TXN_READ ? MDB_RDONLY : 0;
	rc = mdb_txn_begin(env, NULL, flags, &txn->handle);
	if (rc == MDB_MAP_RESIZED &&
	    mdb_env_set_mapsize(env, 0) == 0) /* The owner made it larger. */
		rc = mdb_txn_begin(env, NULL, flags, &txn->handle);
	if (rc == MDB_READERS_FULL && store_clear_dead_readers(txn->store) > 0)
		rc = mdb_txn_begin(env, NULL, flags, &txn->handle);
	if (rc != 0)
		txn->handle = NULL;
	return rc;
}

void txn_begin(struct txn *txn, struct store *store, enum txn_kind kind)
{
	assert(kind == TXN_READ || store->mode == STORE_WRITE);
	*txn = (struct txn){ .store = store, .kind = kind };
	if (store_is_poisoned(store)) {
		txn_fail(txn, ZR_IO, "the store failed before; it must be opened again");
		return;
	}
	if (kind == TXN_READ && !reader_enter(store, &txn->reader)) {
		txn_fail(txn, ZR_FULL, "too many read transactions at once");
		return;
	}
	if (kind == TXN_WRITE)
		writer_enter(store);
	store_guard_enter();
	int rc = begin(txn);
	if (rc == 0) {
		if (kind == TXN_WRITE)
			atomic_store(&store->writer, (uintptr_t)pthread_self());
		return;
	}
	store_guard_leave();
	if (kind == TXN_READ)
		reader_leave(store, txn->reader);
	store_failed(store, &txn->err, rc, "begin");
	txn->failed = true;
}

void txn_abort(struct txn *txn)
{
	if (txn->handle == NULL)
		return;
	if (txn->kind == TXN_WRITE)
		writer_leave(txn->store);
	mdb_txn_abort(txn->handle);
	store_guard_leave();
	txn->handle = NULL;
	if (txn->kind == TXN_READ)
		reader_leave(txn->store, txn->reader);
}

static bool commit_write(struct txn *txn, struct err *err)
{
	if (txn->change_bytes > 0 &&
	    !store_make_room(txn->store,
	                     txn->change_bytes + txn->spare_bytes +
	                             (uint64_t)TXN_PAGES * txn->store->page_size,
	                     err)) {
		txn_abort(txn);
		return false;
	}
	FAULT_POINT(STORE_COMMITTING);
	int rc = store_fault(txn->store, "commit");
	writer_leave(txn->store);
	if (rc != 0)
		mdb_txn_abort(txn->handle);
	else
		rc = mdb_txn_commit(txn->handle);
	store_guard_leave();
	txn->handle = NULL;
	FAULT_POINT(STORE_COMMITTED);
	return rc == 0 || store_failed(txn->store, err, rc, "commit");
}

bool txn_commit(struct txn *txn, struct err *err)
{
	if (!txn_check(txn, err)) {
		txn_abort(txn);
		return false;
	}
	assert(txn->handle != NULL);
	if (txn->kind == TXN_WRITE)
		return commit_write(txn, err);
	txn_abort(txn);
	return true;
}

/* ---- reading ---- */

static MDB_val val_of(struct bytes bytes)
{
	return (MDB_val){ bytes.size, (void *)(uintptr_t)bytes.data };
}

static bool may_begin(struct txn *txn, unsigned table, const char *point)
{
	assert(table < txn->store->format->table_count);
	if (txn->failed)
		return false;
	assert(txn->handle != NULL);
	int rc = store_fault(txn->store, point);
	if (rc != 0)
		fail_rc(txn, rc, table);
	return rc == 0;
}

static bool open_value(struct txn *txn, unsigned table, struct bytes key, MDB_val data,
                       struct bytes *out_value)
{
	if (data.mv_size < STORE_CRC_SIZE || data.mv_size > txn->store->limit_bytes) {
		fail_row(txn, ZR_CORRUPT, table, key, "an impossible size");
		return false;
	}
	struct bytes value = { data.mv_data, data.mv_size - STORE_CRC_SIZE };
	if (get_be32(value.data + value.size) != store_crc(table, key, &value, 1)) {
		fail_row(txn, ZR_CORRUPT, table, key, "the checksum is wrong");
		return false;
	}
	*out_value = value;
	return true;
}

bool txn_get(struct txn *txn, unsigned table, struct bytes key, struct bytes *out_value)
{
	assert(key.size > 0 && key.size <= TXN_KEY_MAX);
	if (!may_begin(txn, table, "get"))
		return false;
	MDB_val k = val_of(key), data;
	int rc = mdb_get(txn->handle, txn->store->dbis[table], &k, &data);
	if (rc == 0)
		return open_value(txn, table, key, data, out_value);
	if (rc != MDB_NOTFOUND)
		fail_rc(txn, rc, table);
	return false;
}

bool txn_has(struct txn *txn, unsigned table, struct bytes key)
{
	assert(key.size > 0 && key.size <= TXN_KEY_MAX);
	if (!may_begin(txn, table, "get"))
		return false;
	MDB_val k = val_of(key), data;
	int rc = mdb_get(txn->handle, txn->store->dbis[table], &k, &data);
	if (rc != 0 && rc != MDB_NOTFOUND)
		fail_rc(txn, rc, table);
	return rc == 0;
}

enum place { PLACE_FIRST, PLACE_LAST, PLACE_AT_OR_AFTER, PLACE_AFTER, PLACE_BEFORE };

static int go(MDB_cursor *cursor, enum place place, struct bytes key, MDB_val *k, MDB_val *data)
{
	int rc;
	*k = val_of(key);
	switch (place) {
	case PLACE_FIRST:
		return mdb_cursor_get(cursor, k, data, MDB_FIRST);
	case PLACE_LAST:
		return mdb_cursor_get(cursor, k, data, MDB_LAST);
	case PLACE_AT_OR_AFTER:
		return mdb_cursor_get(cursor, k, data, MDB_SET_RANGE);
	case PLACE_AFTER:
		rc = mdb_cursor_get(cursor, k, data, MDB_SET_RANGE);
		if (rc != 0 || !bytes_equal((struct bytes){ k->mv_data, k->mv_size }, key))
			return rc;
		return mdb_cursor_get(cursor, k, data, MDB_NEXT);
	case PLACE_BEFORE:
		rc = mdb_cursor_get(cursor, k, data, MDB_SET_RANGE);
		if (rc == MDB_NOTFOUND)
			return mdb_cursor_get(cursor, k, data, MDB_LAST);
		return rc != 0 ? rc : mdb_cursor_get(cursor, k, data, MDB_PREV);
	}
	assert(false);
	return EINVAL;
}

/* A damaged page may have its keys in any order; whoever walks must still come to an end. */
static bool is_in_place(enum place place, struct bytes found, struct bytes key)
{
	if (found.size == 0 || found.size > TXN_KEY_MAX)
		return false;
	switch (place) {
	case PLACE_FIRST:
	case PLACE_LAST:
		return true;
	case PLACE_AT_OR_AFTER:
		return bytes_compare(found, key) >= 0;
	case PLACE_AFTER:
		return bytes_compare(found, key) > 0;
	case PLACE_BEFORE:
		return bytes_compare(found, key) < 0;
	}
	return false;
}

struct row {
	struct bytes *key;
	struct bytes *value; /* NULL: not asked for. */
};

static bool find(struct txn *txn, unsigned table, enum place place, struct bytes key,
                 struct row out)
{
	if (!may_begin(txn, table, "get"))
		return false;
	MDB_cursor *cursor;
	MDB_val k, data;
	int rc = mdb_cursor_open(txn->handle, txn->store->dbis[table], &cursor);
	if (rc == 0) {
		rc = go(cursor, place, key, &k, &data);
		mdb_cursor_close(cursor);
	}
	if (rc == MDB_NOTFOUND)
		return false;
	if (rc != 0) {
		fail_rc(txn, rc, table);
		return false;
	}
	struct bytes found = { k.mv_data, k.mv_size };
	if (!is_in_place(place, found, key)) {
		txn_fail(txn, ZR_CORRUPT, "table %s: keys are out of order",
		         table_name(txn, table));
		return false;
	}
	if (out.value != NULL && !open_value(txn, table, found, data, out.value))
		return false;
	*out.key = found;
	return true;
}

bool txn_first(struct txn *txn, unsigned table, struct bytes *out_key, struct bytes *out_value)
{
	return find(txn, table, PLACE_FIRST, BYTES_NONE, (struct row){ out_key, out_value });
}

bool txn_last(struct txn *txn, unsigned table, struct bytes *out_key, struct bytes *out_value)
{
	return find(txn, table, PLACE_LAST, BYTES_NONE, (struct row){ out_key, out_value });
}

bool txn_at_or_after(struct txn *txn, unsigned table, struct bytes key, struct bytes *out_key,
                     struct bytes *out_value)
{
	return find(txn, table, PLACE_AT_OR_AFTER, key, (struct row){ out_key, out_value });
}

bool txn_after(struct txn *txn, unsigned table, struct bytes key, struct bytes *out_key,
               struct bytes *out_value)
{
	return find(txn, table, PLACE_AFTER, key, (struct row){ out_key, out_value });
}

bool txn_before(struct txn *txn, unsigned table, struct bytes key, struct bytes *out_key,
                struct bytes *out_value)
{
	return find(txn, table, PLACE_BEFORE, key, (struct row){ out_key, out_value });
}

uint64_t txn_row_count(struct txn *txn, unsigned table)
{
	if (!may_begin(txn, table, "get"))
		return 0;
	MDB_stat stat;
	int rc = mdb_stat(txn->handle, txn->store->dbis[table], &stat);
	if (rc != 0) {
		fail_rc(txn, rc, table);
		return 0;
	}
	return stat.ms_entries;
}

/* ---- changing ---- */

struct change {
	unsigned table;
	struct bytes key;
	const struct bytes *parts;
	size_t part_count;
};

static void write_row(struct txn *txn, const struct change *change, unsigned flags)
{
	assert(txn->failed || txn->kind == TXN_WRITE);
	assert(change->key.size > 0 && change->key.size <= TXN_KEY_MAX);
	if (!may_begin(txn, change->table, "put"))
		return;
	size_t size = STORE_CRC_SIZE;
	for (size_t i = 0; i < change->part_count; i++)
		size += change->parts[i].size;
	MDB_val k = val_of(change->key), data = { size, NULL };
	int rc = page_check_place(txn, change->table, change->key, (flags & MDB_APPEND) != 0);
	if (rc == 0)
		rc = mdb_put(txn->handle, txn->store->dbis[change->table], &k, &data,
		             flags | MDB_RESERVE);
	if (rc == MDB_KEYEXIST) {
		fail_row(txn, ZR_STATE, change->table, change->key,
		         flags & MDB_APPEND ? "not above all others" : "there already");
		return;
	}
	if (rc != 0) {
		fail_rc(txn, rc, change->table);
		return;
	}
	uint8_t *place = data.mv_data;
	for (size_t i = 0; i < change->part_count; i++) {
		if (change->parts[i].size > 0)
			memcpy(place, change->parts[i].data, change->parts[i].size);
		place += change->parts[i].size;
	}
	put_be32(place, store_crc(change->table, change->key, change->parts, change->part_count));
	uint64_t pages = size / txn->store->page_size + ROW_PAGES;
	txn->change_bytes += pages * txn->store->page_size;
}

void txn_insert(struct txn *txn, unsigned table, struct bytes key, struct bytes value)
{
	write_row(txn, &(struct change){ table, key, &value, 1 }, MDB_NOOVERWRITE);
}

void txn_insert_parts(struct txn *txn, unsigned table, struct bytes key, const struct bytes *parts,
                      size_t part_count)
{
	write_row(txn, &(struct change){ table, key, parts, part_count }, MDB_NOOVERWRITE);
}

void txn_put(struct txn *txn, unsigned table, struct bytes key, struct bytes value)
{
	write_row(txn, &(struct change){ table, key, &value, 1 }, 0);
}

void txn_append(struct txn *txn, unsigned table, struct bytes key, const struct bytes *parts,
                size_t part_count)
{
	write_row(txn, &(struct change){ table, key, parts, part_count }, MDB_APPEND);
}

void txn_leave_room(struct txn *txn, uint64_t bytes)
{
	if (bytes > txn->spare_bytes)
		txn->spare_bytes = bytes;
}

bool txn_delete(struct txn *txn, unsigned table, struct bytes key)
{
	assert(txn->failed || txn->kind == TXN_WRITE);
	if (!may_begin(txn, table, "delete"))
		return false;
	MDB_val k = val_of(key);
	int rc = page_check_place(txn, table, key, false);
	if (rc == 0)
		rc = mdb_del(txn->handle, txn->store->dbis[table], &k, NULL);
	if (rc == MDB_NOTFOUND)
		return false;
	if (rc != 0) {
		fail_rc(txn, rc, table);
		return false;
	}
	txn->change_bytes += (uint64_t)ROW_PAGES * txn->store->page_size;
	return true;
}
