/* LMDB's pages as they are in the file: what no checksum of ours covers, and LMDB believes.
 *
 *     page   its number, a size_t; u16; u16 flags; u16 lower, u16 upper, or u32 pages of a long value
 *     leaf   then u16 offsets of its rows up to lower, and the rows from upper to the page's end:
 *            u16, u16 size of the value; u16 flags; u16 size of the key; key; value, or a page's number
 *     head   pages 0 and 1, one per commit in turn: after the page's, struct head
 *
 * When LMDB changes or deletes a row, it frees the pages that the row's page says it is, for a long value
 * as many as that says there are; and it moves the other rows of the leaf by what they say of their
 * sizes. With one bit wrong it would write over what is somebody else's. So the place of a change is looked
 * at first. In memory order, as LMDB writes it; only this file and salvage look at pages.
 */
#include <string.h>
#include <unistd.h>

#include "spool/store_private.h"
#include "spool/txn.h"

#define FLAGS_AT      (sizeof(size_t) + 2)
#define LOWER_AT      (sizeof(size_t) + 4)
#define HEAD_SIZE     (sizeof(size_t) + 8)
#define IS_LEAF       0x02
#define IS_OVERFLOW   0x04
#define ROW_HEAD_SIZE 8
#define ROW_IS_LONG   0x01
#define READS_MAX     1000

/* ---- the two heads ---- */

struct head_table {
	uint32_t page_size;
	uint16_t flags, depth;
	size_t branches, leaves, overflows, rows, root;
};

struct head {
	uint32_t magic, version;
	void *address;
	size_t map_size;
	struct head_table tables[2];
	size_t last_page, commit;
};

static bool read_commit(int fd, uint32_t page_size, unsigned index, size_t *out_commit)
{
	struct head head;
	off_t at = (off_t)(index * page_size + HEAD_SIZE);
	if (pread(fd, &head, sizeof(head), at) != (ssize_t)sizeof(head))
		return false;
	*out_commit = head.commit;
	return true;
}

bool page_heads_agree(int fd, uint32_t page_size)
{
	/* Beside a writer: until nothing was committed while both were read. */
	for (int i = 0; i < READS_MAX; i++) {
		size_t even, odd, again;
		if (!read_commit(fd, page_size, 0, &even) || !read_commit(fd, page_size, 1, &odd) ||
		    !read_commit(fd, page_size, 0, &again))
			return false;
		/* Commit n is in page n % 2, and n - 1 in the other. */
		if (even == again)
			return even % 2 == 0 &&
			       (odd == even + 1 || odd + 1 == even || (even == 0 && odd == 0));
	}
	return true;
}

/* What a commit frees stands in LMDB's table 0 under the commit's number, and every commit but the first
 * frees the pages that it has copied. */
int page_check_newest(MDB_txn *txn)
{
	MDB_cursor *cursor;
	MDB_val key, data;
	size_t commit;
	int rc = mdb_cursor_open(txn, 0, &cursor);
	if (rc != 0)
		return rc;
	rc = mdb_cursor_get(cursor, &key, &data, MDB_LAST);
	mdb_cursor_close(cursor);
	if (rc == MDB_NOTFOUND)
		return mdb_txn_id(txn) <= 1 ? 0 : MDB_CORRUPTED;
	if (rc != 0)
		return rc;
	if (key.mv_size != sizeof(commit))
		return MDB_CORRUPTED;
	memcpy(&commit, key.mv_data, sizeof(commit));
	return commit == mdb_txn_id(txn) ? 0 : MDB_CORRUPTED;
}

/* ---- the place of a change ---- */

static uint16_t u16_at(const uint8_t *at)
{
	uint16_t number;
	memcpy(&number, at, sizeof(number));
	return number;
}

static const uint8_t *page_of(const struct txn *txn, const void *inside)
{
	const uint8_t *at = inside;
	return at - (uintptr_t)at % txn->store->page_size;
}

static size_t page_number(const uint8_t *page)
{
	size_t number;
	memcpy(&number, page, sizeof(number));
	return number;
}

/* The row of the store's own table is never changed in a struct txn, and so is in the map. */
static int find_map(struct txn *txn)
{
	MDB_val key = { sizeof(STORE_IDENTITY_KEY) - 1, (void *)STORE_IDENTITY_KEY }, data;
	int rc = mdb_get(txn->handle, txn->store->identity_dbi, &key, &data);
	if (rc != 0)
		return rc == MDB_NOTFOUND ? MDB_CORRUPTED : rc;
	const uint8_t *page = page_of(txn, data.mv_data);
	size_t number = page_number(page);
	if (number >= store_end_bytes(txn->store) / txn->store->page_size)
		return MDB_CORRUPTED;
	txn->map = page - number * txn->store->page_size;
	return 0;
}

/* Pages that this transaction has written are not in the map, and are as LMDB made them. */
static bool is_mapped(const struct txn *txn, const uint8_t *page)
{
	return page >= txn->map && page < txn->map + store_end_bytes(txn->store);
}

static bool is_what_it_says(const struct txn *txn, const uint8_t *page, uint16_t kind)
{
	return page_number(page) == (size_t)(page - txn->map) / txn->store->page_size &&
	       u16_at(page + FLAGS_AT) == kind;
}

/* Bytes that the row at takes of its leaf, of the room that there is; 0: it cannot be one. */
static size_t row_size(const uint8_t *at, size_t room)
{
	if (room < ROW_HEAD_SIZE)
		return 0;
	uint16_t flags = u16_at(at + 4);
	uint32_t value_size;
	memcpy(&value_size, at, sizeof(value_size)); /* In the machine's order, both halves. */
	size_t size = (flags & ROW_IS_LONG) != 0 ? sizeof(size_t) : value_size;
	size += ROW_HEAD_SIZE + (size_t)u16_at(at + 6);
	size += size % 2;
	return flags > ROW_IS_LONG || size > room ? 0 : size;
}

static struct bytes key_of(const uint8_t *row)
{
	return (struct bytes){ row + ROW_HEAD_SIZE, u16_at(row + 6) };
}

/* Its rows fill it from upper to its end, and are in order. */
static bool leaf_is_sound(const uint8_t *page, size_t page_size)
{
	size_t lower = u16_at(page + LOWER_AT), upper = u16_at(page + LOWER_AT + 2);
	if (lower < HEAD_SIZE || lower > upper || upper > page_size)
		return false;
	size_t sum = 0;
	struct bytes before = BYTES_NONE;
	for (size_t at = HEAD_SIZE; at < lower; at += 2) {
		size_t offset = u16_at(page + at);
		size_t size = offset < upper || offset >= page_size
		                      ? 0
		                      : row_size(page + offset, page_size - offset);
		if (size == 0)
			return false;
		struct bytes key = key_of(page + offset);
		if (key.size == 0 || bytes_compare(before, key) >= 0)
			return false;
		before = key;
		sum += size;
	}
	return sum == page_size - upper;
}

static bool leaf_of_is_sound(const struct txn *txn, MDB_val key)
{
	const uint8_t *page = page_of(txn, key.mv_data);
	return !is_mapped(txn, page) ||
	       (is_what_it_says(txn, page, IS_LEAF) && leaf_is_sound(page, txn->store->page_size));
}

static bool value_is_sound(const struct txn *txn, MDB_val key, MDB_val data)
{
	const uint8_t *page = page_of(txn, data.mv_data);
	uint32_t pages;
	if (page == page_of(txn, key.mv_data) || !is_mapped(txn, page))
		return true;
	memcpy(&pages, page + LOWER_AT, sizeof(pages));
	return is_what_it_says(txn, page, IS_OVERFLOW) &&
	       pages == (HEAD_SIZE - 1 + data.mv_size) / txn->store->page_size + 1;
}

/* With a cursor of its own. The row itself, or those it goes between. */
static int look(struct txn *txn, MDB_cursor *cursor, struct bytes key, bool last)
{
	MDB_val k = { key.size, (void *)(uintptr_t)key.data }, data;
	int rc = last ? MDB_NOTFOUND : mdb_cursor_get(cursor, &k, &data, MDB_SET_RANGE);
	bool behind_all = rc == MDB_NOTFOUND;
	if (behind_all)
		rc = mdb_cursor_get(cursor, &k, &data, MDB_LAST);
	if (rc != 0)
		return rc == MDB_NOTFOUND ? 0 : rc; /* The table is empty. */
	if (!leaf_of_is_sound(txn, k))
		return MDB_CORRUPTED;
	if (bytes_equal((struct bytes){ k.mv_data, k.mv_size }, key))
		return value_is_sound(txn, k, data) ? 0 : MDB_CORRUPTED;
	if (behind_all)
		return 0;
	rc = mdb_cursor_get(cursor, &k, &data, MDB_PREV);
	if (rc != 0)
		return rc == MDB_NOTFOUND ? 0 : rc;
	return leaf_of_is_sound(txn, k) ? 0 : MDB_CORRUPTED;
}

int page_check_place(struct txn *txn, unsigned table, struct bytes key, bool last)
{
	MDB_cursor *cursor;
	int rc = txn->map == NULL ? find_map(txn) : 0;
	if (rc == 0)
		rc = mdb_cursor_open(txn->handle, txn->store->dbis[table], &cursor);
	if (rc != 0)
		return rc;
	rc = look(txn, cursor, key, last);
	mdb_cursor_close(cursor);
	return rc;
}
