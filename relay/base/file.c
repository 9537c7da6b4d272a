/* file.c -- see file.h. */
#include "relay/base/file.h"
#include "relay/base/fault_point.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define READ_STEP 65536u

static bool read_all(int fd, size_t size_max, struct buffer *out, struct err *err)
{
	size_t total = 0;
	for (;;) {
		/* One byte more than allowed is asked for: that is how too much is noticed. */
		size_t left = size_max - total;
		size_t step = left < READ_STEP ? left + 1 : READ_STEP;
		uint8_t *place = buffer_reserve(out, step);
		if (place == NULL)
			return buffer_ok(out, err);
		ssize_t got = read(fd, place, step);
		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return err_set(err, ZR_UNAVAILABLE, "read: %s", strerror(errno));
		if (got == 0)
			return true;
		if ((size_t)got > left)
			return err_set(err, ZR_FULL, "larger than %zu bytes", size_max);
		buffer_grew(out, (size_t)got);
		total += (size_t)got;
	}
}

bool file_read(const char *path, size_t size_max, struct buffer *out, struct err *err)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0) {
		err_set(err, ZR_UNAVAILABLE, "open: %s", strerror(errno));
		return err_wrap(err, "%s", path);
	}
	bool ok = read_all(fd, size_max, out, err);
	(void)close(fd);
	return ok || err_wrap(err, "%s", path);
}

/* What errno says about a failed write: a full disk passes, everything else is the device. */
static bool write_failed(struct err *err, const char *what)
{
	bool full = errno == ENOSPC || errno == EDQUOT;
	return err_set(err, full ? ZR_FULL : ZR_IO, "%s: %s", what, strerror(errno));
}

static bool write_all(int fd, struct bytes bytes, struct err *err)
{
	while (bytes.size > 0) {
		ssize_t put = write(fd, bytes.data, bytes.size);
		if (put < 0 && errno == EINTR)
			continue;
		if (put < 0)
			return write_failed(err, "write");
		bytes.data += put;
		bytes.size -= (size_t)put;
	}
	return true;
}

/* -1: err. */
static int create(const char *path, unsigned mode, struct err *err)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, (mode_t)mode);
	if (fd < 0) {
		err_set(err, ZR_UNAVAILABLE, "create %s: %s", path, strerror(errno));
		return -1;
	}
	/* The umask, or a file left by a crash, may have given it another mode. */
	if (fchmod(fd, (mode_t)mode) == 0)
		return fd;
	(void)write_failed(err, "chmod");
	(void)close(fd);
	return -1;
}

/* Closes fd; true where all that was written is on the disk. */
static bool sync_and_close(int fd, struct err *err)
{
	bool ok = fsync(fd) == 0 || write_failed(err, "fsync");
	if (close(fd) != 0 && ok)
		ok = write_failed(err, "close");
	return ok;
}

/* Creates path with exactly this content, on the disk when it returns. */
static bool write_synced(const char *path, struct bytes bytes, unsigned mode, struct err *err)
{
	int fd = create(path, mode, err);
	if (fd < 0)
		return false;
	if (write_all(fd, bytes, err))
		return sync_and_close(fd, err);
	(void)close(fd);
	return false;
}

/* The rename is in the directory, so the directory has to reach the disk too. */
static bool sync_directory_of(const char *path, struct err *err)
{
	char directory[PATH_MAX];
	const char *slash = strrchr(path, '/');
	size_t size = slash == NULL ? 0 : (size_t)(slash - path);
	if (size >= sizeof(directory))
		return err_set(err, ZR_INVALID, "path is too long");
	memcpy(directory, path, size);
	directory[size] = '\0';
	const char *name = slash == NULL ? "." : size == 0 ? "/" : directory;
	int fd = open(name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return err_set(err, ZR_UNAVAILABLE, "open %s: %s", name, strerror(errno));
	bool ok = fsync(fd) == 0 || write_failed(err, "fsync of the directory");
	(void)close(fd);
	return ok;
}

static bool temporary_of(const char *path, char temporary[static PATH_MAX], struct err *err)
{
	int size = snprintf(temporary, PATH_MAX, "%s.tmp", path);
	return (size >= 0 && size < PATH_MAX) ||
	       err_set(err, ZR_INVALID, "%s: path is too long", path);
}

/* Gives what was written under the other name, if it is whole, its own; takes it away if not. */
static bool settle(const char *temporary, const char *path, bool whole, struct err *err)
{
	FAULT_POINT(FILE_RENAMING);
	if (whole && rename(temporary, path) != 0)
		whole = err_set(err, ZR_UNAVAILABLE, "rename: %s", strerror(errno));
	FAULT_POINT(FILE_RENAMED);
	if (!whole)
		(void)unlink(temporary);
	return (whole && sync_directory_of(path, err)) || err_wrap(err, "%s", path);
}

bool file_write_atomic(const char *path, struct bytes bytes, unsigned mode, struct err *err)
{
	char temporary[PATH_MAX];
	if (!temporary_of(path, temporary, err))
		return false;
	return settle(temporary, path, write_synced(temporary, bytes, mode, err), err);
}

/* ---- piece by piece ---- */

bool file_begin(struct file_out *out, const char *path, unsigned mode, struct err *err)
{
	char temporary[PATH_MAX];
	if (!temporary_of(path, temporary, err))
		return false;
	if (access(path, F_OK) == 0)
		return err_set(err, ZR_STATE, "%s: there is such a file already", path);
	int fd = create(temporary, mode, err);
	if (fd < 0)
		return false;
	*out = (struct file_out){ .path = path, .fd = fd };
	return true;
}

bool file_finish(struct file_out *out, struct err *err)
{
	char temporary[PATH_MAX];
	bool whole = sync_and_close(out->fd, err);
	return temporary_of(out->path, temporary, err) && settle(temporary, out->path, whole, err);
}

void file_abandon(struct file_out *out)
{
	char temporary[PATH_MAX];
	struct err ignored;
	(void)close(out->fd);
	if (temporary_of(out->path, temporary, &ignored))
		(void)unlink(temporary);
}
