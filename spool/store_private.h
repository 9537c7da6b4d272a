/* store_private.h -- what store.c, store_create.c and txn.c share. Nobody else includes it. */
#ifndef ZR_SPOOL_STORE_PRIVATE_H
#define ZR_SPOOL_STORE_PRIVATE_H

#include <lmdb.h>
#include <stdatomic.h>

#include "spool/store.h"

#define STORE_DATA_NAME   "data.mdb"
#define STORE_NEW_NAME    "data.mdb.new"
#define STORE_OWNER_NAME  "owner.lock"
#define STORE_LOCK_NAME   "lock.mdb"
#define STORE_PATH_MAX    4096
#define STORE_READERS_ALL 256 /* Of all processes. */

/* The store's own table: one row, "identity". */
#define STORE_IDENTITY_TABLE "store"
#define STORE_IDENTITY_KEY   "identity"
#define STORE_IDENTITY_ID    0xff /* Its table id in checksums. */

#define STORE_CRC_SIZE 4

struct store_identity {
	char format[STORE_FORMAT_NAME_MAX + 1];
	uint32_t version;
	uint8_t uuid[STORE_UUID_SIZE];
	int64_t created_ms;
	uint64_t size_bytes;
	bool allocated; /* The whole size was taken from the disk at creation. */
};

struct store {
	char *dir; /* Owned. */
	const struct store_format *format;
	enum store_mode mode;
	MDB_env *env;
	MDB_dbi dbis[STORE_TABLES_MAX];
	MDB_dbi identity_dbi;
	struct store_identity identity;
	uint32_t page_size;
	uint64_t limit_bytes; /* What this opening allows; LMDB's map is at least as large. */
	int owner_fd;         /* Holds owner.lock; -1 when reading. */
	/* Files that were not allocated whole: the disk space is ours up to here. */
	uint64_t ready_bytes;
	bool copies_on_write; /* The file system does; allocating ahead proves nothing there. */
	_Atomic uint64_t
		missing_bytes; /* What the disk did not have when it was last full; 0: it has. */
	atomic_bool poisoned;
	_Atomic uintptr_t writer; /* The thread that has a write transaction open; 0: none. */
	/* When each open read transaction began, monotonic; 0: a free place. */
	_Atomic int64_t readers[STORE_READERS_MAX];
	store_fault_fn *fault;
	void *fault_arg;
};

/* The checksum that ends every value. */
uint32_t store_crc(unsigned table, struct bytes key, const struct bytes *parts, size_t part_count);

/* What a fault hook wants this step to result in; 0 for nothing. */
int store_fault(const struct store *store, const char *point);

/* Around what LMDB does: a crash in between is the store's (store_exit_on_fault()). */
void store_guard_enter(void);
void store_guard_leave(void);

/* Do the two heads of the file speak of two commits that follow each other? Else LMDB may take an old
 * one for the newest, and what was promised since is gone. */
bool page_heads_agree(int fd, uint32_t page_size);

/* Is the newest commit, as LMDB sees it, the one that its pages are of? Returns an MDB_ number. */
int page_check_newest(MDB_txn *txn);

struct txn;

/* Before a row is put or deleted: are the pages that LMDB will change what they say? last: the key is
 * above all others. Returns an MDB_ number. */
int page_check_place(struct txn *txn, unsigned table, struct bytes key, bool last);

/* Sets err from a result of LMDB or an errno, and poisons where the disk may have failed. Always
 * false. */
bool store_failed(struct store *store, struct err *err, int rc, const char *what);

/* Makes sure that the next commit, which may write change_bytes, finds room on the disk. */
bool store_make_room(struct store *store, uint64_t change_bytes, struct err *err) MUST_CHECK;

/* Takes the disk space of the first size_bytes of fd.
 * Errors: ZR_FULL, ZR_INVALID (cannot allocate), ZR_IO. */
bool store_allocate(int fd, uint64_t size_bytes, struct err *err) MUST_CHECK;

/* The name of the file system of path if it is one on which an allocated file may run out of space
 * after all, or which LMDB cannot use safely; NULL for a good one. */
const char *store_unfit_file_system(const char *path);

/* Where root works for somebody else ("sudo zonerelay spool init"): path gets the owner that `from`
 * has, or the daemon could not open it. Nothing for anybody but root. */
bool store_inherit_owner(const char *path, const char *from, struct err *err) MUST_CHECK;

/* fsync() of a folder. */
bool store_sync_folder(const char *path, struct err *err) MUST_CHECK;

/* owner.lock of dir, or a failure naming who has it. Gives the descriptor. */
bool store_lock_owner(const char *dir, int *out_fd, struct err *err) MUST_CHECK;

/* Takes the disk space of dir's lock.mdb. */
bool store_allocate_lock(const char *dir, struct err *err) MUST_CHECK;

/* Puts the one row of the store's own table. Returns what LMDB says. */
int store_put_identity(MDB_txn *txn, MDB_dbi dbi, const struct store_identity *identity);
void store_identity_encode(const struct store_identity *identity, struct buffer *out);
bool store_identity_decode(struct bytes value, struct store_identity *out_identity,
                           struct err *err) MUST_CHECK;

/* dir/name into path; false where that is too long. */
bool store_path(char path[static STORE_PATH_MAX], const char *dir, const char *name,
                struct err *err) MUST_CHECK;

#endif
