/* The file and the folder under a store: space, locks, syncing. Nothing of LMDB. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "spool/store_private.h"

/* Not in every linux/magic.h. */
#define MAGIC_ZFS      0x2fc12fc1
#define MAGIC_BCACHEFS 0xca451a4e
#define MAGIC_CIFS     0xff534d42
#define MAGIC_SMB2     0xfe534d42
#define MAGIC_NFS      0x6969

/* Of lock.mdb: LMDB's table of STORE_READERS_ALL readers and its head have 64 bytes each. */
#define LOCK_FILE_BYTES ((STORE_READERS_ALL + 8) * 64)

static const struct {
	uint32_t magic;
	const char *name;
} unfit_file_systems[] = {
	{ BTRFS_SUPER_MAGIC, "btrfs (copies on write)" },
	{ MAGIC_ZFS, "zfs (copies on write)" },
	{ MAGIC_BCACHEFS, "bcachefs (copies on write)" },
	{ MAGIC_NFS, "nfs (locks and maps are not safe)" },
	{ MAGIC_CIFS, "cifs (locks and maps are not safe)" },
	{ MAGIC_SMB2, "smb (locks and maps are not safe)" },
};

const char *store_unfit_file_system(const char *path)
{
	struct statfs fs;
	if (statfs(path, &fs) != 0)
		return NULL;
	for (size_t i = 0; i < sizeof(unfit_file_systems) / sizeof(unfit_file_systems[0]); i++) {
		if ((uint32_t)fs.f_type == unfit_file_systems[i].magic)
			return unfit_file_systems[i].name;
	}
	return NULL;
}

bool store_path(char path[static STORE_PATH_MAX], const char *dir, const char *name,
                struct err *err)
{
	int size = snprintf(path, STORE_PATH_MAX, "%s/%s", dir, name);
	if (size < 0 || size >= STORE_PATH_MAX)
		return err_set(err, ZR_INVALID, "the path of the store is too long");
	return true;
}

bool store_exists(const char *dir)
{
	char path[STORE_PATH_MAX];
	struct err ignored;
	return store_path(path, dir, STORE_DATA_NAME, &ignored) && access(path, F_OK) == 0;
}

void store_remove(const char *dir)
{
	static const char *const names[] = { STORE_DATA_NAME, STORE_LOCK_NAME, STORE_OWNER_NAME };
	char path[STORE_PATH_MAX];
	struct err ignored;
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		if (store_path(path, dir, names[i], &ignored))
			unlink(path);
	}
}

bool store_inherit_owner(const char *path, const char *from, struct err *err)
{
	struct stat file, owner;
	if (geteuid() != 0)
		return true;
	if (stat(path, &file) != 0 && errno == ENOENT)
		return true; /* LMDB does without lock.mdb where nothing can be written. */
	if (stat(from, &owner) != 0 || stat(path, &file) != 0)
		return err_set(err, ZR_IO, "look at %s: %s", path, strerror(errno));
	if (file.st_uid == owner.st_uid && file.st_gid == owner.st_gid)
		return true;
	if (chown(path, owner.st_uid, owner.st_gid) != 0 && errno != EROFS)
		return err_set(err, ZR_IO, "give %s to its owner: %s", path, strerror(errno));
	return true;
}

bool store_sync_folder(const char *path, struct err *err)
{
	int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return err_set(err, ZR_IO, "open %s: %s", path, strerror(errno));
	int rc = fsync(fd);
	int why = errno;
	close(fd);
	if (rc != 0)
		return err_set(err, ZR_IO, "sync %s: %s", path, strerror(why));
	return true;
}

bool store_allocate(int fd, uint64_t size_bytes, struct err *err)
{
	/* Not posix_fallocate(): where the file system cannot, the C library writes zeros instead,
	 * and that promises nothing. */
	int rc;
	do
		rc = fallocate(fd, 0, 0, (off_t)size_bytes);
	while (rc != 0 && errno == EINTR);
	if (rc == 0)
		return true;
	switch (errno) {
	case ENOSPC:
	case EDQUOT:
	case EFBIG:
		return err_set(err, ZR_FULL, "no room on the disk for %" PRIu64 " bytes: %s",
		               size_bytes, strerror(errno));
	case EOPNOTSUPP:
	case ENOSYS:
		return err_set(err, ZR_INVALID,
		               "the file system cannot allocate space in advance; use ext4 or XFS");
	default:
		return err_set(err, ZR_IO, "allocate %" PRIu64 " bytes: %s", size_bytes,
		               strerror(errno));
	}
}

static long owner_pid(int fd)
{
	char text[32] = "";
	ssize_t size = pread(fd, text, sizeof(text) - 1, 0);
	return size > 0 ? strtol(text, NULL, 10) : 0;
}

static bool write_pid(int fd, struct err *err)
{
	char text[32];
	int size = snprintf(text, sizeof(text), "%ld\n", (long)getpid());
	/* Over the last owner's, then cut: on a full disk its one block must not be given back. */
	if (pwrite(fd, text, (size_t)size, 0) == size && ftruncate(fd, size) == 0)
		return true;
	return err_set(err, errno == ENOSPC ? ZR_FULL : ZR_IO, "write " STORE_OWNER_NAME ": %s",
	               strerror(errno));
}

bool store_lock_owner(const char *dir, int *out_fd, struct err *err)
{
	char path[STORE_PATH_MAX];
	if (!store_path(path, dir, STORE_OWNER_NAME, err))
		return false;
	int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (fd < 0)
		return err_set(err, errno == ENOSPC ? ZR_FULL : ZR_IO, "open %s: %s", path,
		               strerror(errno));
	if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
		int why = errno;
		long pid = owner_pid(fd);
		close(fd);
		if (why != EWOULDBLOCK)
			return err_set(err, ZR_IO, "lock %s: %s", path, strerror(why));
		return err_set(err, ZR_UNAVAILABLE, "the store is in use by process %ld", pid);
	}
	if (!write_pid(fd, err) || !store_inherit_owner(path, dir, err)) {
		close(fd);
		return false;
	}
	*out_fd = fd;
	return true;
}

/* A full XFS refuses to allocate even what a file has already. */
static bool has_blocks(int fd, uint64_t size_bytes)
{
	struct stat file;
	return fstat(fd, &file) == 0 && (uint64_t)file.st_blocks * 512 >= size_bytes;
}

/* LMDB maps the file of its readers and writes through the map: on a full disk that would be a bus
 * error, unless the blocks are there. */
bool store_allocate_lock(const char *dir, struct err *err)
{
	char path[STORE_PATH_MAX];
	if (!store_path(path, dir, STORE_LOCK_NAME, err))
		return false;
	int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (fd < 0)
		return err_set(err, errno == ENOSPC ? ZR_FULL : ZR_IO, "open %s: %s", path,
		               strerror(errno));
	int rc = 0;
	if (!has_blocks(fd, LOCK_FILE_BYTES))
		rc = fallocate(fd, FALLOC_FL_KEEP_SIZE, 0, LOCK_FILE_BYTES);
	int why = errno;
	close(fd);
	if (rc == 0 || why == EOPNOTSUPP || why == ENOSYS)
		return store_inherit_owner(path, dir, err);
	return err_set(err, why == ENOSPC || why == EDQUOT ? ZR_FULL : ZR_IO, "allocate %s: %s",
	               path, strerror(why));
}

/* ---- room for the next commit, in files that were not allocated whole ---- */

#define ROOM_STEP_BYTES (1u << 20)
#define BLOCKS_OF_FILE_BYTES \
	(64u << 10)                    /* Where a file lies may be written in blocks of its own. */
#define ROOM_SPARED_BYTES (256u << 10) /* Left to others where we can only look, not take. */

static bool look_for_room(int fd, uint64_t change_bytes, struct err *err)
{
	struct statvfs fs;
	if (fstatvfs(fd, &fs) != 0)
		return err_set(err, ZR_IO, "look for room on the disk: %s", strerror(errno));
	uint64_t free_bytes = (uint64_t)fs.f_bavail * fs.f_frsize;
	if (free_bytes < change_bytes + ROOM_SPARED_BYTES)
		return err_set(err, ZR_FULL, "the disk is full: %" PRIu64 " bytes are free",
		               free_bytes);
	return true;
}

static uint64_t smaller(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

/* Where the disk is full, how much it lacks is kept for store_disk_is_full(). */
static bool make_room(struct store *store, uint64_t change_bytes, struct err *err)
{
	int fault = store_fault(store, "room");
	if (fault != 0)
		return err_set(err, ZR_FULL, "the disk is full: %s", strerror(fault));
	if (store->identity.allocated && store->ready_bytes >= store->limit_bytes)
		return true;

	mdb_filehandle_t fd;
	mdb_env_get_fd(store->env, &fd);
	if (store->copies_on_write)
		return look_for_room(fd, change_bytes, err);

	uint64_t wanted = smaller(store_end_bytes(store) + change_bytes, store->limit_bytes);
	if (wanted <= store->ready_bytes)
		return true;
	uint64_t ahead = smaller(wanted + ROOM_STEP_BYTES, store->limit_bytes);
	if (fallocate(fd, FALLOC_FL_KEEP_SIZE, 0, (off_t)ahead) == 0) {
		store->ready_bytes = ahead;
		return true;
	}
	if (errno == EOPNOTSUPP || errno == ENOSYS)
		return look_for_room(fd, change_bytes, err);
	if (fallocate(fd, FALLOC_FL_KEEP_SIZE, 0, (off_t)wanted) == 0) {
		store->ready_bytes = wanted;
		return true;
	}
	if (errno != ENOSPC && errno != EDQUOT && errno != EFBIG)
		return err_set(err, ZR_IO, "allocate: %s", strerror(errno));
	if (!has_blocks(fd, wanted + BLOCKS_OF_FILE_BYTES))
		return err_set(err, ZR_FULL, "the disk is full: %s", strerror(ENOSPC));
	store->ready_bytes = wanted;
	return true;
}

bool store_make_room(struct store *store, uint64_t change_bytes, struct err *err)
{
	struct err why;
	if (make_room(store, change_bytes, &why))
		return true;
	uint64_t wanted = smaller(store_end_bytes(store) + change_bytes, store->limit_bytes);
	if (why.code == ZR_FULL && wanted > store->ready_bytes)
		atomic_store(&store->missing_bytes, wanted - store->ready_bytes);
	if (err != NULL)
		*err = why;
	return false;
}

bool store_disk_is_full(struct store *store)
{
	uint64_t missing = atomic_load(&store->missing_bytes);
	struct statvfs fs;
	mdb_filehandle_t fd;
	if (missing == 0)
		return false;
	mdb_env_get_fd(store->env, &fd);
	if (fstatvfs(fd, &fs) != 0 || (uint64_t)fs.f_bavail * fs.f_frsize < missing)
		return true;
	atomic_store(&store->missing_bytes, 0);
	return false;
}
