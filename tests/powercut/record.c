/* record.c -- see record.h. Names are given to the assembler, since <unistd.h> may rename ours. System
 * calls are made directly: nothing below needs the C library's own functions that stand behind us. */
#include "tests/powercut/record.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "tests/powercut/record_private.h"

#define FILES_MAX   4096
#define STREAMS_MAX 4096
#define LINK_SIZE   4096

static struct recorder {
	atomic_flag busy;
	int fd; /* The log; -1: nothing is recorded. */
	char root[LINK_SIZE];
	size_t root_size;
	bool skip_syncs;
	uint64_t number;
	/* Files below the root that were opened. */
	uint64_t files[FILES_MAX];
	size_t file_count;
	/* By descriptor: which use of it this is, and how many bytes went out and in. */
	struct stream {
		uint64_t number;
		uint64_t out, in;
	} streams[STREAMS_MAX];
	uint64_t stream_count;
	long die_at; /* The so-manieth durable write is the process's last act; 0: none is. */
	bool dies_at_rename; /* The first rename of a store is. */
} recorder = { .busy = ATOMIC_FLAG_INIT, .fd = -1 };

/* ---- the log ---- */

/* The lock is held. */
static uint64_t put(struct record *record, const void *bytes, size_t size)
{
	record->magic = RECORD_MAGIC;
	record->size = size;
	if (record->kind != RECORD_DONE)
		record->number = ++recorder.number;
	struct iovec parts[2] = { { record, sizeof(*record) }, { (void *)bytes, size } };
	ssize_t wanted = (ssize_t)(sizeof(*record) + size);
	if (syscall(SYS_writev, recorder.fd, parts, size > 0 ? 2 : 1) != wanted)
		abort(); /* A log with holes says nothing. */
	return record->number;
}

static uint64_t put_path(enum record_kind kind, uint64_t file, const char *path)
{
	struct record record = { .kind = (uint16_t)kind, .file = file };
	return put(&record, path, strlen(path) + 1);
}

static void put_done(uint64_t number)
{
	struct record record = { .kind = RECORD_DONE, .number = number };
	put(&record, NULL, 0);
}

/* No mutex of the system: a sanitizer calls us before its own are ready. */
static void lock(void)
{
	while (atomic_flag_test_and_set_explicit(&recorder.busy, memory_order_acquire))
		(void)sched_yield();
}

static void unlock(void)
{
	atomic_flag_clear_explicit(&recorder.busy, memory_order_release);
}

void record_begin(int fd, const char *root)
{
	lock();
	struct record record = { .kind = RECORD_START, .offset = (uint64_t)getpid() };
	recorder.root_size = strlen(root);
	if (recorder.root_size >= sizeof(recorder.root))
		abort();
	memcpy(recorder.root, root, recorder.root_size + 1);
	recorder.file_count = 0;
	recorder.fd = fd;
	put(&record, NULL, 0);
	unlock();
}

void record_end(void)
{
	lock();
	recorder.fd = -1;
	unlock();
}

void record_mark(const char *text)
{
	struct record record = { .kind = RECORD_MARK };
	lock();
	if (recorder.fd >= 0)
		put(&record, text, strlen(text) + 1);
	unlock();
}

void record_skip_syncs(void)
{
	recorder.skip_syncs = true;
}

/* Preloaded: the environment says where to. Numbers go on from one process to the next. */
__attribute__((constructor)) static void begin_preloaded(void)
{
	const char *log = getenv("ZR_POWER_LOG");
	const char *root = getenv("ZR_POWER_ROOT");
	const char *die = getenv("ZR_POWER_DIE");
	if (log == NULL || root == NULL)
		return;
	int fd = (int)syscall(SYS_openat, AT_FDCWD, log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC,
	                      0600);
	if (fd < 0)
		abort();
	recorder.number = (uint64_t)getpid() << 40;
	recorder.die_at = die != NULL ? strtol(die, NULL, 10) : 0;
	recorder.dies_at_rename = die != NULL && strcmp(die, "rename") == 0;
	record_begin(fd, root);
}

/* ---- which files ---- */

static bool is_below_root(const char *path)
{
	return strncmp(path, recorder.root, recorder.root_size) == 0 &&
	       (path[recorder.root_size] == '/' || path[recorder.root_size] == '\0');
}

static bool path_of_fd(int fd, char path[static LINK_SIZE])
{
	char link[64];
	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	ssize_t size = readlink(link, path, LINK_SIZE - 1);
	if (size <= 0)
		return false;
	path[size] = '\0';
	return true;
}

/* An absolute path of our files is never reached through links. */
static bool absolute(const char *name, char path[static LINK_SIZE])
{
	if (name[0] == '/') {
		if (strlen(name) >= LINK_SIZE)
			return false;
		strcpy(path, name);
		return true;
	}
	char here[LINK_SIZE];
	if (syscall(SYS_getcwd, here, sizeof(here)) <= 0)
		return false;
	return snprintf(path, LINK_SIZE, "%s/%s", here, name) < LINK_SIZE;
}

static bool knows(uint64_t file)
{
	for (size_t i = 0; i < recorder.file_count; i++) {
		if (recorder.files[i] == file)
			return true;
	}
	return false;
}

static bool is_recorded(int fd, uint64_t *out_file)
{
	struct stat file;
	if (recorder.fd < 0 || fstat(fd, &file) != 0 || !S_ISREG(file.st_mode) ||
	    !knows(file.st_ino))
		return false;
	*out_file = file.st_ino;
	return true;
}

/* ---- files ---- */

/* The lock is held. */
static void opened(int fd, bool existed)
{
	char path[LINK_SIZE];
	struct stat file;
	if (fstat(fd, &file) != 0 || !S_ISREG(file.st_mode) || !path_of_fd(fd, path) ||
	    !is_below_root(path))
		return;
	if (!knows(file.st_ino)) {
		if (recorder.file_count == FILES_MAX)
			abort();
		recorder.files[recorder.file_count++] = file.st_ino;
	}
	put_path(existed ? RECORD_OPEN : RECORD_CREATE, file.st_ino, path);
}

static int do_open(int folder, const char *name, int flags, mode_t mode)
{
	if (recorder.fd < 0)
		return (int)syscall(SYS_openat, folder, name, flags, mode);
	lock();
	bool existed = syscall(SYS_faccessat, folder, name, F_OK) == 0;
	int fd = (int)syscall(SYS_openat, folder, name, flags, mode);
	if (fd >= 0) {
		opened(fd, existed);
		uint64_t file;
		if (existed && (flags & O_TRUNC) != 0 && is_recorded(fd, &file)) {
			struct record record = { .kind = RECORD_TRUNCATE, .file = file };
			put(&record, NULL, 0);
		}
	}
	unlock();
	return fd;
}

static mode_t mode_of(int flags, va_list args)
{
	return (flags & (O_CREAT | O_TMPFILE)) != 0 ? (mode_t)va_arg(args, unsigned) : 0;
}

int our_open(const char *name, int flags, ...) __asm__("open");
int our_open64(const char *name, int flags, ...) __asm__("open64");
int our_openat(int folder, const char *name, int flags, ...) __asm__("openat");
int our_openat64(int folder, const char *name, int flags, ...) __asm__("openat64");

#define WITH_MODE(call)                             \
	do {                                        \
		va_list args;                       \
		va_start(args, flags);              \
		mode_t mode = mode_of(flags, args); \
		va_end(args);                       \
		return call;                        \
	} while (0)

int our_open(const char *name, int flags, ...)
{
	WITH_MODE(do_open(AT_FDCWD, name, flags, mode));
}

int our_open64(const char *name, int flags, ...)
{
	WITH_MODE(do_open(AT_FDCWD, name, flags, mode));
}

int our_openat(int folder, const char *name, int flags, ...)
{
	WITH_MODE(do_open(folder, name, flags, mode));
}

int our_openat64(int folder, const char *name, int flags, ...)
{
	WITH_MODE(do_open(folder, name, flags, mode));
}

static bool is_durable(int fd)
{
	return (fcntl(fd, F_GETFL) & O_DSYNC) != 0;
}

/* The machine goes on without the process: the write is in the page cache, and nobody was told. */
static void die(void)
{
	syscall(SYS_kill, getpid(), SIGKILL);
}

static ssize_t do_write(int fd, const struct iovec *parts, int count, off_t offset, bool moves)
{
	uint64_t file;
	if (!is_recorded(fd, &file))
		return moves ? syscall(SYS_writev, fd, parts, count)
		             : syscall(SYS_pwritev, fd, parts, count, offset, 0);
	lock();
	bool durable = is_durable(fd);
	off_t at = offset;
	if (moves)
		at = (fcntl(fd, F_GETFL) & O_APPEND) != 0 ? lseek(fd, 0, SEEK_END)
		                                          : lseek(fd, 0, SEEK_CUR);
	uint64_t number = 0;
	for (int i = 0; i < count; i++) {
		struct record record = { .kind = RECORD_WRITE,
			                 .flags = durable ? RECORD_DURABLE : 0,
			                 .file = file,
			                 .offset = (uint64_t)at };
		number = put(&record, parts[i].iov_base, parts[i].iov_len);
		at += (off_t)parts[i].iov_len;
	}
	bool last = durable && recorder.die_at > 0 && --recorder.die_at == 0;
	if (durable && !last)
		unlock(); /* It takes its time; others may be told things meanwhile. */
	ssize_t size = moves ? syscall(SYS_writev, fd, parts, count)
	                     : syscall(SYS_pwritev, fd, parts, count, offset, 0);
	if (last)
		die();
	if (!durable) {
		unlock();
		return size;
	}
	lock();
	for (int i = 0; size >= 0 && i < count; i++)
		put_done(number - (uint64_t)(count - 1 - i));
	unlock();
	return size;
}

ssize_t our_pwrite(int fd, const void *bytes, size_t size, off_t offset) __asm__("pwrite");
ssize_t our_pwrite64(int fd, const void *bytes, size_t size, off_t offset) __asm__("pwrite64");
ssize_t our_pwritev(int fd, const struct iovec *parts, int count, off_t offset) __asm__("pwritev");
ssize_t our_pwritev64(int fd, const struct iovec *parts, int count,
                      off_t offset) __asm__("pwritev64");
ssize_t our_write(int fd, const void *bytes, size_t size) __asm__("write");
ssize_t our_writev(int fd, const struct iovec *parts, int count) __asm__("writev");

ssize_t our_pwrite(int fd, const void *bytes, size_t size, off_t offset)
{
	struct iovec part = { (void *)bytes, size };
	return do_write(fd, &part, 1, offset, false);
}

ssize_t our_pwrite64(int fd, const void *bytes, size_t size, off_t offset)
{
	return our_pwrite(fd, bytes, size, offset);
}

ssize_t our_pwritev(int fd, const struct iovec *parts, int count, off_t offset)
{
	return do_write(fd, parts, count, offset, false);
}

ssize_t our_pwritev64(int fd, const struct iovec *parts, int count, off_t offset)
{
	return do_write(fd, parts, count, offset, false);
}

ssize_t our_write(int fd, const void *bytes, size_t size)
{
	struct iovec part = { (void *)bytes, size };
	if (record_is_local_socket(fd))
		return record_send(fd, &part, 1, 0);
	return do_write(fd, &part, 1, 0, true);
}

ssize_t our_writev(int fd, const struct iovec *parts, int count)
{
	if (record_is_local_socket(fd))
		return record_send(fd, parts, count, 0);
	return do_write(fd, parts, count, 0, true);
}

int our_ftruncate(int fd, off_t size) __asm__("ftruncate");
int our_ftruncate64(int fd, off_t size) __asm__("ftruncate64");
int our_fallocate(int fd, int mode, off_t offset, off_t size) __asm__("fallocate");
int our_fallocate64(int fd, int mode, off_t offset, off_t size) __asm__("fallocate64");

int our_ftruncate(int fd, off_t size)
{
	struct record record = { .kind = RECORD_TRUNCATE, .offset = (uint64_t)size };
	lock();
	if (is_recorded(fd, &record.file))
		put(&record, NULL, 0);
	int result = (int)syscall(SYS_ftruncate, fd, size);
	unlock();
	return result;
}

int our_ftruncate64(int fd, off_t size)
{
	return our_ftruncate(fd, size);
}

int our_fallocate(int fd, int mode, off_t offset, off_t size)
{
	struct record record = { .kind = RECORD_ALLOCATE, .offset = (uint64_t)(offset + size) };
	lock();
	if ((mode & ~FALLOC_FL_KEEP_SIZE) != 0)
		abort(); /* Holes and the like: not in the model. */
	int result = (int)syscall(SYS_fallocate, fd, mode, offset, size);
	if (result == 0 && mode == 0 && is_recorded(fd, &record.file))
		put(&record, NULL, 0);
	unlock();
	return result;
}

int our_fallocate64(int fd, int mode, off_t offset, off_t size)
{
	return our_fallocate(fd, mode, offset, size);
}

/* ---- syncs ---- */

static bool sync_record(int fd, uint64_t *out_number)
{
	struct record record = { .kind = RECORD_SYNC };
	char path[LINK_SIZE];
	struct stat file;
	if (recorder.fd < 0 || fstat(fd, &file) != 0)
		return false;
	if (S_ISREG(file.st_mode) && knows(file.st_ino)) {
		record.file = file.st_ino;
		*out_number = put(&record, NULL, 0);
		return true;
	}
	if (!S_ISDIR(file.st_mode) || !path_of_fd(fd, path) || !is_below_root(path))
		return false;
	record.flags = RECORD_FOLDER;
	*out_number = put(&record, path, strlen(path) + 1);
	return true;
}

static int do_sync(int fd, long call)
{
	uint64_t number;
	lock();
	bool recorded = sync_record(fd, &number);
	unlock();
	int result = recorder.skip_syncs ? 0 : (int)syscall(call, fd);
	if (recorded && result == 0) {
		lock();
		put_done(number);
		unlock();
	}
	return result;
}

int our_fsync(int fd) __asm__("fsync");
int our_fdatasync(int fd) __asm__("fdatasync");
int our_sync_file_range(int fd, off_t offset, off_t size,
                        unsigned flags) __asm__("sync_file_range");
int our_msync(void *address, size_t size, int flags) __asm__("msync");

int our_fsync(int fd)
{
	return do_sync(fd, SYS_fsync);
}

int our_fdatasync(int fd)
{
	return do_sync(fd, SYS_fdatasync);
}

/* Promises nothing after a power cut: no record. */
int our_sync_file_range(int fd, off_t offset, off_t size, unsigned flags)
{
	return (int)syscall(SYS_sync_file_range, fd, offset, size, flags);
}

int our_msync(void *address, size_t size, int flags)
{
	return (int)syscall(SYS_msync, address, size, flags);
}

void *our_mmap(void *address, size_t size, int protection, int flags, int fd,
               off_t offset) __asm__("mmap");
void *our_mmap64(void *address, size_t size, int protection, int flags, int fd,
                 off_t offset) __asm__("mmap64");

void *our_mmap(void *address, size_t size, int protection, int flags, int fd, off_t offset)
{
	struct record record = { .kind = RECORD_MAPPED };
	if (fd >= 0 && (flags & MAP_SHARED) != 0 && (protection & PROT_WRITE) != 0) {
		lock();
		if (is_recorded(fd, &record.file))
			put(&record, NULL, 0);
		unlock();
	}
	return (void *)syscall(SYS_mmap, address, size, protection, flags, fd, offset);
}

void *our_mmap64(void *address, size_t size, int protection, int flags, int fd, off_t offset)
{
	return our_mmap(address, size, protection, flags, fd, offset);
}

/* ---- folders ---- */

int our_rename(const char *from, const char *to) __asm__("rename");
int our_unlink(const char *name) __asm__("unlink");
int our_mkdir(const char *name, mode_t mode) __asm__("mkdir");
int our_link(const char *from, const char *to) __asm__("link");

int our_rename(const char *from, const char *to)
{
	char paths[2 * LINK_SIZE];
	char path[LINK_SIZE];
	struct record record = { .kind = RECORD_RENAME };
	lock();
	int result = (int)syscall(SYS_renameat, AT_FDCWD, from, AT_FDCWD, to);
	if (result == 0 && recorder.fd >= 0 && absolute(from, paths) && absolute(to, path) &&
	    is_below_root(path)) {
		size_t first = strlen(paths) + 1;
		strcpy(paths + first, path);
		put(&record, paths, first + strlen(path) + 1);
		if (recorder.dies_at_rename && strstr(from, ".mdb.new") != NULL)
			die();
	}
	unlock();
	return result;
}

int our_unlink(const char *name)
{
	char path[LINK_SIZE];
	lock();
	int result = (int)syscall(SYS_unlinkat, AT_FDCWD, name, 0);
	if (result == 0 && recorder.fd >= 0 && absolute(name, path) && is_below_root(path))
		put_path(RECORD_UNLINK, 0, path);
	unlock();
	return result;
}

int our_mkdir(const char *name, mode_t mode)
{
	char path[LINK_SIZE];
	lock();
	int result = (int)syscall(SYS_mkdirat, AT_FDCWD, name, mode);
	if (result == 0 && recorder.fd >= 0 && absolute(name, path) && is_below_root(path))
		put_path(RECORD_MKDIR, 0, path);
	unlock();
	return result;
}

/* Nothing of ours makes hard links; if that changes, the model has to learn them. */
int our_link(const char *from, const char *to)
{
	char path[LINK_SIZE];
	if (recorder.fd >= 0 && absolute(to, path) && is_below_root(path))
		abort();
	return (int)syscall(SYS_linkat, AT_FDCWD, from, AT_FDCWD, to, 0);
}

/* ---- what leaves and what comes ---- */

static struct stream *stream_of(int fd)
{
	if (fd < 0 || fd >= STREAMS_MAX)
		return NULL;
	struct stream *stream = &recorder.streams[fd];
	if (stream->number == 0)
		stream->number = (uint64_t)getpid() << 32 | ++recorder.stream_count;
	return stream;
}

bool record_is_on(void)
{
	return recorder.fd >= 0;
}

void record_out(int fd, unsigned flags, const void *bytes, size_t size)
{
	lock();
	struct stream *stream = stream_of(fd);
	if (recorder.fd >= 0 && stream != NULL) {
		struct record record = { .kind = RECORD_OUT,
			                 .flags = (uint16_t)flags,
			                 .file = stream->number,
			                 .offset = stream->out };
		put(&record, bytes, size);
	}
	unlock();
}

void record_went_out(int fd, size_t size)
{
	lock();
	struct stream *stream = stream_of(fd);
	if (stream != NULL)
		stream->out += size;
	unlock();
}

void record_in(int fd, unsigned flags, const void *bytes, size_t size)
{
	lock();
	struct stream *stream = stream_of(fd);
	if (recorder.fd >= 0 && stream != NULL) {
		struct record record = { .kind = RECORD_IN,
			                 .flags = (uint16_t)flags,
			                 .file = stream->number,
			                 .offset = stream->in };
		put(&record, bytes, size);
		stream->in += size;
	}
	unlock();
}

void record_stream_ends(int fd)
{
	lock();
	if (fd >= 0 && fd < STREAMS_MAX)
		recorder.streams[fd] = (struct stream){ .number = 0 };
	unlock();
}
