/* fail_disk.c -- a disk that fails when it is told to, for LD_PRELOAD under one of our daemons.
 *
 * ZR_FAIL names a file. When it exists, the next step on a store's data.mdb that its text names ends with
 * EIO, and the file is removed: from then on the disk says that all is well, as disks do.
 *
 *     sync   fdatasync() or fsync() of the pages       meta   the write of the page that makes a commit
 *     page   a write of pages
 */
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

static bool is_data_file(int fd)
{
	char link[64], path[4096];
	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	ssize_t size = readlink(link, path, sizeof(path) - 1);
	if (size < 0)
		return false;
	path[size] = '\0';
	const char *name = strrchr(path, '/');
	return name != NULL && strcmp(name, "/data.mdb") == 0;
}

/* Is this the step? Then it is the last one that fails. */
static bool fails(int fd, const char *step)
{
	const char *trigger = getenv("ZR_FAIL");
	char wanted[16] = "";
	int saved = errno;
	int file = trigger == NULL ? -1 : open(trigger, O_RDONLY | O_CLOEXEC);
	if (file < 0) {
		errno = saved;
		return false;
	}
	ssize_t size = read(file, wanted, sizeof(wanted) - 1);
	close(file);
	errno = saved;
	if (size <= 0 || strcmp(wanted, step) != 0 || !is_data_file(fd))
		return false;
	unlink(trigger);
	errno = EIO;
	return true;
}

static const char *step_of_write(int fd)
{
	return (fcntl(fd, F_GETFL) & O_DSYNC) != 0 ? "meta" : "page";
}

/* By their names in the library that LMDB is linked with; <unistd.h> may rename ours. */
ssize_t our_pwrite(int fd, const void *bytes, size_t size, off_t offset) __asm__("pwrite");
ssize_t our_pwrite64(int fd, const void *bytes, size_t size, off_t offset) __asm__("pwrite64");
ssize_t our_writev(int fd, const struct iovec *parts, int count) __asm__("writev");
int our_fdatasync(int fd) __asm__("fdatasync");
int our_fsync(int fd) __asm__("fsync");

ssize_t our_pwrite(int fd, const void *bytes, size_t size, off_t offset)
{
	if (fails(fd, step_of_write(fd)))
		return -1;
	return syscall(SYS_pwrite64, fd, bytes, size, offset);
}

ssize_t our_pwrite64(int fd, const void *bytes, size_t size, off_t offset)
{
	return our_pwrite(fd, bytes, size, offset);
}

ssize_t our_writev(int fd, const struct iovec *parts, int count)
{
	if (fails(fd, "page"))
		return -1;
	return syscall(SYS_writev, fd, parts, count);
}

int our_fdatasync(int fd)
{
	return fails(fd, "sync") ? -1 : (int)syscall(SYS_fdatasync, fd);
}

int our_fsync(int fd)
{
	return fails(fd, "sync") ? -1 : (int)syscall(SYS_fsync, fd);
}
