#include "relay/edge/local_socket.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#define BACKLOG 16

static bool address_of(const char *path, struct sockaddr_un *address, struct err *err)
{
	size_t size = strlen(path);
	*address = (struct sockaddr_un){ .sun_family = AF_UNIX };
	if (size >= sizeof(address->sun_path))
		return err_set(err, ZR_INVALID, "%s is too long for a socket", path);
	memcpy(address->sun_path, path, size + 1);
	return true;
}

static bool call_at(const struct sockaddr_un *address, int type, int *out_fd)
{
	int fd = socket(AF_UNIX, type, 0);
	if (fd < 0)
		return false;
	if (connect(fd, (const struct sockaddr *)address, sizeof(*address)) != 0) {
		int failure = errno;
		close(fd);
		errno = failure;
		return false;
	}
	*out_fd = fd;
	return true;
}

bool local_socket_listen(const char *path, unsigned mode, int *out_fd, struct err *err)
{
	struct sockaddr_un address;
	int other = -1;
	if (!address_of(path, &address, err))
		return false;
	if (call_at(&address, SOCK_STREAM | SOCK_CLOEXEC, &other)) {
		close(other);
		return err_set(err, ZR_STATE, "%s: another process listens there", path);
	}
	if (errno == ECONNREFUSED)
		(void)unlink(path); /* Left by a process that was killed. */

	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return err_set(err, ZR_UNAVAILABLE, "socket: %s", strerror(errno));
	mode_t before = umask(0777 & ~(mode_t)mode);
	bool ok = bind(fd, (const struct sockaddr *)&address, sizeof(address)) == 0;
	int failure = errno;
	umask(before);
	if (ok && listen(fd, BACKLOG) == 0) {
		*out_fd = fd;
		return true;
	}
	if (ok)
		failure = errno;
	close(fd);
	return err_set(err, ZR_UNAVAILABLE, "%s: %s", path, strerror(failure));
}

bool local_socket_call(const char *path, int timeout_ms, int *out_fd, struct err *err)
{
	struct sockaddr_un address;
	int fd = -1;
	if (!address_of(path, &address, err))
		return false;
	if (!call_at(&address, SOCK_STREAM | SOCK_CLOEXEC, &fd))
		return err_set(err, ZR_UNAVAILABLE, "%s: %s", path, strerror(errno));
	struct timeval timeout = { .tv_sec = timeout_ms / 1000,
		                   .tv_usec = timeout_ms % 1000 * 1000 };
	(void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout));
	(void)setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof(timeout));
	*out_fd = fd;
	return true;
}
