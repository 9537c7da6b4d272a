/* Making a store: whole under its name, or not there at all. It grows under another name, is synced,
 * and is renamed last. */
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "relay/base/fault_point.h"
#include "spool/store_private.h"

#define IDENTITY_MAGIC "ZRs1"

void store_identity_encode(const struct store_identity *identity, struct buffer *out)
{
	buffer_put(out, BYTES_LITERAL(IDENTITY_MAGIC));
	buffer_put_short(out, bytes_of_string(identity->format));
	buffer_put_u32(out, identity->version);
	buffer_put(out, (struct bytes){ identity->uuid, STORE_UUID_SIZE });
	buffer_put_u64(out, (uint64_t)identity->created_ms);
	buffer_put_u64(out, identity->size_bytes);
	buffer_put_u8(out, identity->allocated);
}

bool store_identity_decode(struct bytes value, struct store_identity *out_identity, struct err *err)
{
	struct reader reader = reader_of(value);
	struct store_identity identity = { .version = 0 };
	struct bytes magic = reader_bytes(&reader, sizeof(IDENTITY_MAGIC) - 1);
	struct bytes format = reader_short(&reader);
	identity.version = reader_u32(&reader);
	struct bytes uuid = reader_bytes(&reader, STORE_UUID_SIZE);
	identity.created_ms = (int64_t)reader_u64(&reader);
	identity.size_bytes = reader_u64(&reader);
	uint8_t allocated = reader_u8(&reader);
	if (!reader_done(&reader) || !bytes_equal(magic, BYTES_LITERAL(IDENTITY_MAGIC)) ||
	    format.size == 0 || format.size > STORE_FORMAT_NAME_MAX || allocated > 1)
		return err_set(err, ZR_CORRUPT, "the store's identity record is not one of ours");
	memcpy(identity.format, format.data, format.size);
	memcpy(identity.uuid, uuid.data, STORE_UUID_SIZE);
	identity.allocated = allocated != 0;
	*out_identity = identity;
	return true;
}

/* Takes value, which gets its checksum. */
static int put_row(MDB_txn *txn, MDB_dbi dbi, unsigned table, struct bytes key,
                   struct buffer *take_value)
{
	struct bytes content = buffer_bytes(take_value);
	buffer_put_u32(take_value, store_crc(table, key, &content, 1));
	struct err ignored;
	if (!buffer_ok(take_value, &ignored))
		return ENOMEM;
	MDB_val k = { key.size, (void *)(uintptr_t)key.data };
	MDB_val data = { take_value->size, take_value->data };
	int rc = mdb_put(txn, dbi, &k, &data, 0);
	buffer_fini(take_value);
	return rc;
}

int store_put_identity(MDB_txn *txn, MDB_dbi dbi, const struct store_identity *identity)
{
	struct buffer value = BUFFER_EMPTY;
	store_identity_encode(identity, &value);
	return put_row(txn, dbi, STORE_IDENTITY_ID, BYTES_LITERAL(STORE_IDENTITY_KEY), &value);
}

static int put_first(MDB_txn *txn, MDB_dbi dbi, const struct store_create_options *options)
{
	struct buffer value = BUFFER_EMPTY;
	buffer_put(&value, options->first.value);
	return put_row(txn, dbi, options->first.table, options->first.key, &value);
}

static int create_tables(MDB_env *env, const struct store_create_options *options,
                         const struct store_identity *identity)
{
	const struct store_format *format = options->format;
	MDB_txn *txn;
	MDB_dbi dbi;
	int rc = mdb_txn_begin(env, NULL, 0, &txn);
	if (rc != 0)
		return rc;
	for (size_t i = 0; rc == 0 && i < format->table_count; i++) {
		rc = mdb_dbi_open(txn, format->tables[i], MDB_CREATE, &dbi);
		if (rc == 0 && options->first.key.size > 0 && options->first.table == i)
			rc = put_first(txn, dbi, options);
	}
	if (rc == 0)
		rc = mdb_dbi_open(txn, STORE_IDENTITY_TABLE, MDB_CREATE, &dbi);
	if (rc == 0)
		rc = store_put_identity(txn, dbi, identity);
	if (rc != 0) {
		mdb_txn_abort(txn);
		return rc;
	}
	return mdb_txn_commit(txn);
}

static bool write_tables(const char *path, const struct store_create_options *options,
                         const struct store_identity *identity, struct err *err)
{
	MDB_env *env = NULL;
	int rc = mdb_env_create(&env);
	if (rc == 0)
		rc = mdb_env_set_maxdbs(env, STORE_TABLES_MAX + 1);
	if (rc == 0)
		rc = mdb_env_set_mapsize(env, (size_t)identity->size_bytes);
	if (rc == 0)
		rc = mdb_env_open(env, path, MDB_NOSUBDIR | MDB_NOLOCK, 0600);
	if (rc == 0)
		rc = create_tables(env, options, identity);
	if (rc == 0)
		rc = mdb_env_sync(env, 1);
	mdb_env_close(env);
	if (rc == MDB_MAP_FULL)
		return err_set(err, ZR_INVALID, "the size is too small for the tables alone");
	if (rc == ENOSPC)
		return err_set(err, ZR_FULL, "the disk is full");
	if (rc == ENOMEM)
		return err_set(err, ZR_NO_MEMORY, "create %s", path);
	if (rc != 0)
		return err_set(err, ZR_IO, "create %s: %s", path, mdb_strerror(rc));
	return true;
}

/* Space and sync of the finished file. */
static bool settle(const char *path, const struct store_identity *identity, struct err *err)
{
	int fd = open(path, O_RDWR | O_CLOEXEC);
	if (fd < 0)
		return err_set(err, ZR_IO, "open %s: %s", path, strerror(errno));
	bool ok = !identity->allocated || store_allocate(fd, identity->size_bytes, err);
	if (ok && fsync(fd) != 0)
		ok = err_set(err, ZR_IO, "sync %s: %s", path, strerror(errno));
	close(fd);
	return ok;
}

static bool parent_of(const char *dir, char path[static STORE_PATH_MAX], struct err *err)
{
	char copy[STORE_PATH_MAX];
	if (!store_path(copy, dir, ".", err))
		return false;
	copy[strlen(copy) - 2] = '\0'; /* dirname() wants a copy, not a trailing dot. */
	strcpy(path, dirname(copy));
	return true;
}

static bool sync_parent(const char *dir, struct err *err)
{
	char path[STORE_PATH_MAX];
	return parent_of(dir, path, err) && store_sync_folder(path, err);
}

static bool make_folder(const char *dir, struct err *err)
{
	char parent[STORE_PATH_MAX];
	if (mkdir(dir, 0700) == 0)
		return parent_of(dir, parent, err) && store_inherit_owner(dir, parent, err);
	return errno == EEXIST || err_set(err, errno == ENOSPC ? ZR_FULL : ZR_IO,
	                                  "make the folder: %s", strerror(errno));
}

static bool make(const struct store_create_options *options, struct err *err)
{
	struct store_identity identity = { .version = options->format->version,
		                           .created_ms = options->now_ms,
		                           .size_bytes = options->size_bytes,
		                           .allocated = options->allocate };
	strcpy(identity.format, options->format->name);
	if (options->uuid != NULL)
		memcpy(identity.uuid, options->uuid, STORE_UUID_SIZE);
	else
		random_bytes(identity.uuid, STORE_UUID_SIZE);

	char new_path[STORE_PATH_MAX], path[STORE_PATH_MAX];
	if (!store_path(new_path, options->dir, STORE_NEW_NAME, err) ||
	    !store_path(path, options->dir, STORE_DATA_NAME, err))
		return false;
	unlink(new_path); /* Of an attempt that was cut short. */
	if (!write_tables(new_path, options, &identity, err))
		goto fail;
	FAULT_POINT(STORE_MAKING);
	if (!store_inherit_owner(new_path, options->dir, err) ||
	    !settle(new_path, &identity, err) || !store_allocate_lock(options->dir, err))
		goto fail;
	/* The folder's own name first: whoever finds a store here, after we were killed, syncs the
	 * folder, and nobody its parent. */
	if (!sync_parent(options->dir, err))
		goto fail;
	FAULT_POINT(STORE_NAMING);
	if (rename(new_path, path) != 0) {
		err_set(err, ZR_IO, "rename %s: %s", new_path, strerror(errno));
		goto fail;
	}
	FAULT_POINT(STORE_NAMED);
	return store_sync_folder(options->dir, err);

fail:
	unlink(new_path);
	if (store_path(path, options->dir, STORE_LOCK_NAME, NULL))
		unlink(path);
	return false;
}

static bool options_fit(const struct store_create_options *options, struct err *err)
{
	if (options->size_bytes < STORE_SIZE_MIN_BYTES || options->size_bytes > PTRDIFF_MAX ||
	    options->size_bytes > SIZE_MAX)
		return err_set(err, ZR_INVALID, "a store of that size is not possible here");
	if (!make_folder(options->dir, err))
		return false;
	if (store_exists(options->dir))
		return err_set(err, ZR_STATE, "there is a store already");
	const char *unfit = store_unfit_file_system(options->dir);
	if (options->allocate && unfit != NULL)
		return err_set(
			err, ZR_INVALID,
			"the file system is %s: allocated space may run out; use ext4 or XFS",
			unfit);
	return true;
}

bool store_create(const struct store_create_options *options, struct err *err)
{
	struct store_create_options whole = *options;
	uint64_t page_size = (uint64_t)sysconf(_SC_PAGESIZE);
	whole.size_bytes -= whole.size_bytes % page_size;

	int owner_fd = -1;
	bool ok = options_fit(&whole, err) && store_lock_owner(whole.dir, &owner_fd, err);
	/* Looked for again under the lock: two that create at once. */
	if (ok && store_exists(whole.dir))
		ok = err_set(err, ZR_STATE, "there is a store already");
	if (ok)
		ok = make(&whole, err);
	if (owner_fd >= 0)
		close(owner_fd);
	return ok || err_wrap(err, "create the store in %s", options->dir);
}
