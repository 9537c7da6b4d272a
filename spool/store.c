/* Opening and closing, the identity, and how a store stands. One LMDB environment with a named
 * database per table, and one more, "store", with a single row that says what this file is:
 *
 *     "identity" -> "ZRs1", u8 length and format name, u32 version, 16 bytes UUID,
 *                   i64 created (ms), u64 size, u8 allocated; CRC-32C as in every table
 */
#include "spool/store.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "relay/base/clock.h"
#include "relay/base/exit.h"
#include "relay/base/fault_point.h"
#include "spool/store_private.h"

#define META_PAGES 2 /* Never free. */
#define FREE_LOOKED_AT \
	4096 /* Numbers of one list; a large store that is nearly empty has millions. */

uint32_t store_crc(unsigned table, struct bytes key, const struct bytes *parts, size_t part_count)
{
	uint8_t id = (uint8_t)table;
	uint32_t crc = crc32c(0, (struct bytes){ &id, 1 });
	crc = crc32c(crc, key);
	for (size_t i = 0; i < part_count; i++)
		crc = crc32c(crc, parts[i]);
	return crc;
}

int store_fault(const struct store *store, const char *point)
{
	return store->fault == NULL ? 0 : store->fault(point, store->fault_arg);
}

void store_set_fault(struct store *store, store_fault_fn *fault, void *arg)
{
	store->fault = fault;
	store->fault_arg = arg;
}

bool store_failed(struct store *store, struct err *err, int rc, const char *what)
{
	switch (rc) {
	case MDB_MAP_FULL:
		return err_set(err, ZR_FULL, "%s: the store is full", what);
	case MDB_TXN_FULL:
		return err_set(err, ZR_FULL, "%s: the transaction is too large", what);
	case MDB_READERS_FULL:
		return err_set(err, ZR_FULL, "%s: too many readers", what);
	case ENOMEM:
		return err_set(err, ZR_NO_MEMORY, "%s", what);
	case MDB_CORRUPTED:
	case MDB_PAGE_NOTFOUND:
	case MDB_CURSOR_FULL:
	case MDB_PAGE_FULL:
	case MDB_BAD_VALSIZE:
	case MDB_INCOMPATIBLE:
	case MDB_INVALID:
		/* A page of the tree, not a value. Whoever changes a damaged tree damages more. */
		if (store->mode == STORE_WRITE)
			atomic_store(&store->poisoned, true);
		return err_set(err, ZR_CORRUPT, "%s: the tree is damaged: %s", what,
		               mdb_strerror(rc));
	default:
		/* The disk, or LMDB gave up because of it. What the page cache says from now on may
		 * not be what is on the disk. */
		atomic_store(&store->poisoned, true);
		return err_set(err, ZR_IO, "%s: %s", what, mdb_strerror(rc));
	}
}

/* LMDB's own assertions fail on a damaged tree only. Its default would abort with a core. */
static void on_lmdb_assert(MDB_env *env, const char *message)
{
	static const char text[] = "store-damaged detail=\"the tree of a store is damaged\" lmdb=";
	bool said = write(STDERR_FILENO, text, sizeof(text) - 1) >= 0 &&
	            write(STDERR_FILENO, message, strlen(message)) >= 0 &&
	            write(STDERR_FILENO, "\n", 1) >= 0;
	(void)said;
	_exit(EXIT_STORE_IO);
}

/* LMDB believes what is in a page and may read or copy far beyond it. A fault while this thread has a
 * transaction open is taken for that; the signal is in the line for those who doubt it. */
static _Thread_local unsigned guards;

void store_guard_enter(void)
{
	guards++;
}

void store_guard_leave(void)
{
	guards--;
}

static void on_fault(int number)
{
	static const char unreadable[] =
		"store-damaged detail=\"a page of a store cannot be read\"\n";
	static const char crashed[] =
		"store-damaged detail=\"the tree of a store is damaged\" signal=";
	if (number != SIGBUS && guards == 0) {
		signal(number, SIG_DFL); /* Our own mistake: it happens again, and ends us. */
		return;
	}
	const char *name = number == SIGSEGV ? "SEGV\n" : "FPE\n";
	bool said = number == SIGBUS ? write(STDERR_FILENO, unreadable, sizeof(unreadable) - 1) >= 0
	                             : write(STDERR_FILENO, crashed, sizeof(crashed) - 1) >= 0 &&
	                                       write(STDERR_FILENO, name, strlen(name)) >= 0;
	(void)said;
	_exit(EXIT_STORE_IO);
}

void store_exit_on_fault(void)
{
	struct sigaction action = { .sa_handler = on_fault };
	sigaction(SIGBUS, &action, NULL);
	sigaction(SIGSEGV, &action, NULL);
	sigaction(SIGFPE, &action, NULL);
}

/* ---- opening ---- */

static bool env_open(struct store *store, struct err *err)
{
	unsigned flags = MDB_NOTLS | (store->mode == STORE_READ ? MDB_RDONLY : 0);
	int rc = mdb_env_create(&store->env);
	if (rc == 0)
		rc = mdb_env_set_maxdbs(store->env, STORE_TABLES_MAX + 1);
	if (rc == 0)
		rc = mdb_env_set_maxreaders(store->env, STORE_READERS_ALL);
	if (rc == 0)
		rc = mdb_env_set_assert(store->env, on_lmdb_assert);
	if (rc == 0)
		rc = mdb_env_open(store->env, store->dir, flags, 0600);
	if (rc == MDB_VERSION_MISMATCH)
		return err_set(err, ZR_INVALID, "written by an incompatible version of LMDB");
	if (rc == EACCES || rc == EPERM || rc == EROFS)
		return err_set(err, ZR_UNAVAILABLE, "%s", strerror(rc));
	if (rc != 0)
		return store_failed(store, err, rc, "open");

	char lock[STORE_PATH_MAX], data[STORE_PATH_MAX];
	if (!store_path(lock, store->dir, STORE_LOCK_NAME, err) ||
	    !store_path(data, store->dir, STORE_DATA_NAME, err) ||
	    !store_inherit_owner(lock, data, err))
		return false;

	unsigned now = 0;
	mdb_env_get_flags(store->env, &now);
	assert((now & (MDB_NOSYNC | MDB_NOMETASYNC | MDB_WRITEMAP | MDB_MAPASYNC)) == 0);
	return true;
}

/* A file shorter than what its own header counts was cut; LMDB would read past its end. */
static bool file_is_whole(struct store *store, struct err *err)
{
	MDB_envinfo info;
	MDB_stat stat_main;
	struct stat file;
	mdb_filehandle_t fd;
	mdb_env_get_fd(store->env, &fd);
	mdb_env_info(store->env, &info);
	mdb_env_stat(store->env, &stat_main);
	store->page_size = stat_main.ms_psize;
	if (fstat(fd, &file) != 0)
		return err_set(err, ZR_IO, "stat: %s", strerror(errno));
	if (!page_heads_agree(fd, store->page_size))
		return err_set(err, ZR_CORRUPT,
		               "the two heads of the file do not agree on which "
		               "commit is the newest");
	uint64_t wanted = ((uint64_t)info.me_last_pgno + 1) * store->page_size;
	if ((uint64_t)file.st_size < wanted)
		return err_set(err, ZR_CORRUPT,
		               "the file was cut: %" PRIu64 " of at least %" PRIu64 " bytes",
		               (uint64_t)file.st_size, wanted);
	return true;
}

static bool read_identity(struct store *store, MDB_txn *txn, MDB_dbi dbi, struct err *err)
{
	MDB_val key = { sizeof(STORE_IDENTITY_KEY) - 1, (void *)STORE_IDENTITY_KEY };
	MDB_val data;
	int rc = mdb_get(txn, dbi, &key, &data);
	if (rc == MDB_NOTFOUND)
		return err_set(err, ZR_CORRUPT, "the store has no identity record");
	if (rc != 0)
		return store_failed(store, err, rc, "read the identity");
	struct bytes value = { data.mv_data, data.mv_size };
	if (value.size < STORE_CRC_SIZE)
		return err_set(err, ZR_CORRUPT, "the store's identity record is too short");
	value.size -= STORE_CRC_SIZE;
	if (get_be32(value.data + value.size) !=
	    store_crc(STORE_IDENTITY_ID, BYTES_LITERAL(STORE_IDENTITY_KEY), &value, 1))
		return err_set(err, ZR_CORRUPT, "the store's identity record is damaged");
	return store_identity_decode(value, &store->identity, err);
}

static bool format_fits(const struct store *store, struct err *err)
{
	const struct store_identity *identity = &store->identity;
	if (strcmp(identity->format, store->format->name) != 0)
		return err_set(err, ZR_INVALID, "this is a %s store, not a %s store",
		               identity->format, store->format->name);
	if (identity->version != store->format->version)
		return err_set(err, ZR_INVALID,
		               "the store has version %" PRIu32 " of its format, this program "
		               "knows version %" PRIu32,
		               identity->version, store->format->version);
	return true;
}

static bool open_tables_in(struct store *store, MDB_txn *txn, struct err *err)
{
	int rc = page_check_newest(txn);
	if (rc != 0)
		return store_failed(store, err, rc, "look at the newest commit");
	rc = mdb_dbi_open(txn, STORE_IDENTITY_TABLE, 0, &store->identity_dbi);
	if (rc == MDB_NOTFOUND)
		return err_set(err, ZR_CORRUPT, "an LMDB file, but not one of ours");
	if (rc != 0)
		return store_failed(store, err, rc, "open table " STORE_IDENTITY_TABLE);
	if (!read_identity(store, txn, store->identity_dbi, err) || !format_fits(store, err))
		return false;
	for (size_t i = 0; i < store->format->table_count; i++) {
		rc = mdb_dbi_open(txn, store->format->tables[i], 0, &store->dbis[i]);
		if (rc == MDB_NOTFOUND)
			return err_set(err, ZR_CORRUPT, "table %s is missing",
			               store->format->tables[i]);
		if (rc != 0)
			return store_failed(store, err, rc, "open tables");
	}
	return true;
}

static bool open_tables(struct store *store, struct err *err)
{
	MDB_txn *txn;
	int rc = mdb_txn_begin(store->env, NULL, MDB_RDONLY, &txn);
	if (rc != 0)
		return store_failed(store, err, rc, "begin");
	if (!open_tables_in(store, txn, err)) {
		mdb_txn_abort(txn);
		return false;
	}
	/* Committed, not aborted: that is what keeps the handles open. */
	rc = mdb_txn_commit(txn);
	return rc == 0 || store_failed(store, err, rc, "open tables");
}

/* What a process that died has left in the page cache only must be on the disk before anybody is
 * told "already have it": LMDB syncs nothing at open. */
static bool sync_all(struct store *store, struct err *err)
{
	int rc = store_fault(store, "sync");
	if (rc == 0)
		rc = mdb_env_sync(store->env, 1);
	if (rc != 0)
		return store_failed(store, err, rc, "sync at open");
	return store_sync_folder(store->dir, err);
}

/* Kept, so that whoever opens it next without a size of his own knows the same limit. */
static bool keep_size(struct store *store, struct err *err)
{
	struct store_identity identity = store->identity;
	identity.size_bytes = store->limit_bytes;
	MDB_txn *txn;
	int rc = mdb_txn_begin(store->env, NULL, 0, &txn);
	if (rc != 0)
		return store_failed(store, err, rc, "begin");
	rc = store_put_identity(txn, store->identity_dbi, &identity);
	if (rc != 0) {
		mdb_txn_abort(txn);
		return store_failed(store, err, rc, "keep the size");
	}
	rc = mdb_txn_commit(txn);
	if (rc != 0)
		return store_failed(store, err, rc, "keep the size");
	store->identity = identity;
	return true;
}

/* Space first, then the map, then the record of it: cut short anywhere, the old size holds. */
static bool grow(struct store *store, struct err *err)
{
	if (store->identity.allocated) {
		mdb_filehandle_t fd;
		mdb_env_get_fd(store->env, &fd);
		if (!store_allocate(fd, store->limit_bytes, err))
			return false;
	}
	MDB_envinfo info;
	mdb_env_info(store->env, &info);
	if (store->limit_bytes > info.me_mapsize) {
		int rc = mdb_env_set_mapsize(store->env, (size_t)store->limit_bytes);
		if (rc != 0)
			return store_failed(store, err, rc, "grow the map");
	}
	FAULT_POINT(STORE_GROWING);
	return keep_size(store, err);
}

static bool set_limit(struct store *store, uint64_t size_bytes, struct err *err)
{
	uint64_t size_before = store->identity.size_bytes;
	store->limit_bytes =
		size_bytes == 0 ? size_before : size_bytes - size_bytes % store->page_size;
	if (store->mode == STORE_WRITE && store->limit_bytes > size_before && !grow(store, err))
		return false;
	store->ready_bytes = store->identity.allocated ? store->identity.size_bytes : 0;
	return true;
}

static bool data_file_has_content(const char *dir, struct err *err)
{
	char path[STORE_PATH_MAX];
	struct stat file;
	if (!store_path(path, dir, STORE_DATA_NAME, err))
		return false;
	if (stat(path, &file) != 0)
		return err_set(err, ZR_UNAVAILABLE, "%s: %s", path, strerror(errno));
	/* LMDB would make a new store of it, and an emptied one would look never used. */
	if (file.st_size == 0)
		return err_set(err, ZR_CORRUPT, "%s is empty", path);
	return true;
}

static bool open_into(struct store *store, const struct store_options *options, struct err *err)
{
	store->dir = strdup(options->dir);
	if (store->dir == NULL)
		return err_set(err, ZR_NO_MEMORY, "open");
	if (!data_file_has_content(store->dir, err))
		return false;
	if (store->mode == STORE_WRITE && !store_lock_owner(store->dir, &store->owner_fd, err))
		return false;
	if (store->mode == STORE_WRITE && !store_allocate_lock(store->dir, err))
		return false;
	if (!env_open(store, err) || !file_is_whole(store, err))
		return false;
	if (store->mode == STORE_WRITE) {
		FAULT_POINT(STORE_OPENING);
		if (!sync_all(store, err))
			return false;
		FAULT_POINT(STORE_OPENED);
		store_clear_dead_readers(store);
	}
	store->copies_on_write = store_unfit_file_system(store->dir) != NULL;
	return open_tables(store, err) && set_limit(store, options->size_bytes, err);
}

bool store_open(struct store **out_store, const struct store_options *options, struct err *err)
{
	assert(options->format->table_count <= STORE_TABLES_MAX);
	if (!store_exists(options->dir))
		return err_set(err, ZR_UNAVAILABLE, "there is no store in %s", options->dir);
	struct store *store = calloc(1, sizeof(*store));
	if (store == NULL)
		return err_set(err, ZR_NO_MEMORY, "open the store in %s", options->dir);
	store->format = options->format;
	store->mode = options->mode;
	store->owner_fd = -1;
	store_guard_enter();
	bool opened = open_into(store, options, err);
	store_guard_leave();
	if (!opened)
		goto fail;
	*out_store = store;
	return true;

fail:
	store_close(store);
	return err_wrap(err, "open the store in %s", options->dir);
}

void store_close(struct store *store)
{
	if (store == NULL)
		return;
	if (store->env != NULL)
		mdb_env_close(store->env);
	if (store->owner_fd >= 0)
		close(store->owner_fd);
	free(store->dir);
	free(store);
}

/* ---- how it stands ---- */

const uint8_t *store_uuid(const struct store *store)
{
	return store->identity.uuid;
}

int64_t store_created_ms(const struct store *store)
{
	return store->identity.created_ms;
}

const char *store_dir(const struct store *store)
{
	return store->dir;
}

bool store_is_poisoned(const struct store *store)
{
	return atomic_load(&store->poisoned);
}

int store_clear_dead_readers(struct store *store)
{
	int dead = 0;
	return mdb_reader_check(store->env, &dead) == 0 ? dead : 0;
}

/* LMDB lists its readers as text only: "pid thread txnid", txnid "-" where none is open. */
struct reader_scan {
	uint64_t oldest_commit; /* UINT64_MAX: none. */
};

static int on_reader_line(const char *line, void *arg)
{
	struct reader_scan *scan = arg;
	unsigned long pid;
	uint64_t commit;
	if (sscanf(line, "%lu %*s %" SCNu64, &pid, &commit) == 2 && commit < scan->oldest_commit)
		scan->oldest_commit = commit;
	return 0;
}

static void stat_readers(struct store *store, struct store_stats *stats)
{
	int64_t now_ms = clock_monotonic_ms(clock_system());
	for (size_t i = 0; i < STORE_READERS_MAX; i++) {
		int64_t since_ms = atomic_load(&store->readers[i]);
		if (since_ms == 0)
			continue;
		stats->reader_count++;
		if (now_ms - since_ms > stats->reader_oldest_ms)
			stats->reader_oldest_ms = now_ms - since_ms;
	}
	struct reader_scan scan = { .oldest_commit = UINT64_MAX };
	mdb_reader_list(store->env, on_reader_line, &scan);
	if (scan.oldest_commit < stats->last_commit)
		stats->reader_lag_commits = stats->last_commit - scan.oldest_commit;
}

/* One commit's freed pages: a count, then their numbers, falling. LMDB writes on them unasked. */
static bool free_list_is_sound(MDB_val data, uint64_t page_end, uint64_t *out_count)
{
	size_t count, page, above = (size_t)page_end;
	const uint8_t *at = data.mv_data;
	if (data.mv_size < sizeof(count))
		return false;
	memcpy(&count, at, sizeof(count));
	if (count > data.mv_size / sizeof(count) - 1)
		return false;
	for (size_t i = 1; i <= count && i <= FREE_LOOKED_AT; i++) {
		memcpy(&page, at + i * sizeof(page), sizeof(page));
		if (page >= above || page < META_PAGES)
			return false;
		above = page;
	}
	*out_count = count;
	return true;
}

/* The rows of LMDB's database 0. */
static int count_free_pages(MDB_txn *txn, uint64_t page_end, uint64_t *out_count)
{
	MDB_cursor *cursor;
	MDB_val key, data;
	uint64_t count = 0;
	int rc = mdb_cursor_open(txn, 0, &cursor);
	if (rc != 0)
		return rc;
	while ((rc = mdb_cursor_get(cursor, &key, &data, MDB_NEXT)) == 0) {
		uint64_t pages = 0;
		if (!free_list_is_sound(data, page_end, &pages) || count + pages > page_end) {
			rc = MDB_CORRUPTED;
			break;
		}
		count += pages;
	}
	mdb_cursor_close(cursor);
	if (rc != MDB_NOTFOUND)
		return rc;
	*out_count = count;
	return 0;
}

static int stat_tables(struct store *store, MDB_txn *txn, struct store_stats *stats)
{
	for (size_t i = 0; i < store->format->table_count; i++) {
		MDB_stat table;
		int rc = mdb_stat(txn, store->dbis[i], &table);
		if (rc != 0)
			return rc;
		stats->row_counts[i] = table.ms_entries;
	}
	return 0;
}

uint64_t store_limit_bytes(const struct store *store)
{
	return store->limit_bytes;
}

uint64_t store_end_bytes(struct store *store)
{
	MDB_envinfo info;
	mdb_env_info(store->env, &info);
	return ((uint64_t)info.me_last_pgno + 1) * store->page_size;
}

/* In a short read transaction: pages up to the highest one used, and how many of them are free; the
 * rows of each table, unless stats is NULL. */
static int count_pages(struct store *store, uint64_t *out_end, uint64_t *out_free,
                       struct store_stats *stats)
{
	MDB_envinfo info;
	MDB_txn *txn;
	store_guard_enter();
	int rc = mdb_txn_begin(store->env, NULL, MDB_RDONLY, &txn);
	if (rc == 0) {
		mdb_env_info(store->env, &info);
		*out_end = (uint64_t)info.me_last_pgno + 1;
		rc = count_free_pages(txn, *out_end, out_free);
		if (rc == 0 && stats != NULL) {
			stats->last_commit = info.me_last_txnid;
			rc = stat_tables(store, txn, stats);
		}
		mdb_txn_abort(txn);
	}
	store_guard_leave();
	return rc;
}

bool store_used_bytes(struct store *store, uint64_t *out_bytes, struct err *err)
{
	uint64_t end = 0, free_pages = 0;
	if (store_is_poisoned(store))
		return err_set(err, ZR_IO, "the store failed before");
	int rc = count_pages(store, &end, &free_pages, NULL);
	if (rc != 0)
		return store_failed(store, err, rc, "count pages");
	*out_bytes = (end - free_pages) * store->page_size;
	return true;
}

bool store_stats(struct store *store, struct store_stats *out_stats, struct err *err)
{
	struct store_stats stats = { .page_size = store->page_size };
	if (store_is_poisoned(store))
		return err_set(err, ZR_IO, "the store failed before");
	int rc = count_pages(store, &stats.pages_file, &stats.pages_free, &stats);
	if (rc != 0)
		return store_failed(store, err, rc, "count pages");
	stats.pages_limit = store->limit_bytes / store->page_size;
	stat_readers(store, &stats);
	*out_stats = stats;
	return true;
}
