/* record_net.c -- what a program says: the plain text of its TLS connections, what it sends to plain
 * TCP connections with send(), and to local sockets. Recorded before the first byte can have left. */
#include "tests/powercut/record_private.h"

#include <dlfcn.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "tests/powercut/record.h"

static int family_of(int fd)
{
	struct sockaddr_storage address;
	socklen_t size = sizeof(address);
	int before = errno;
	bool is_socket = getsockname(fd, (struct sockaddr *)&address, &size) == 0;
	errno = before;
	return is_socket ? address.ss_family : AF_UNSPEC;
}

bool record_is_local_socket(int fd)
{
	return record_is_on() && family_of(fd) == AF_UNIX;
}

ssize_t record_send(int fd, const struct iovec *parts, int count, int flags)
{
	size_t size = 0;
	for (int i = 0; i < count; i++)
		size += parts[i].iov_len;
	char *gathered = malloc(size + 1);
	if (gathered == NULL)
		abort();
	size_t at = 0;
	for (int i = 0; i < count; i++) {
		memcpy(gathered + at, parts[i].iov_base, parts[i].iov_len);
		at += parts[i].iov_len;
	}
	record_out(fd, 0, gathered, size);
	free(gathered);
	struct msghdr message = { .msg_iov = (struct iovec *)parts, .msg_iovlen = (size_t)count };
	ssize_t sent = syscall(SYS_sendmsg, fd, &message, flags);
	if (sent > 0)
		record_went_out(fd, (size_t)sent);
	return sent;
}

ssize_t our_send(int fd, const void *bytes, size_t size, int flags) __asm__("send");
ssize_t our_recv(int fd, void *bytes, size_t size, int flags) __asm__("recv");
ssize_t our_read(int fd, void *bytes, size_t size) __asm__("read");
ssize_t our_readv(int fd, const struct iovec *parts, int count) __asm__("readv");
int our_close(int fd) __asm__("close");

ssize_t our_send(int fd, const void *bytes, size_t size, int flags)
{
	struct iovec part = { (void *)bytes, size };
	if (!record_is_on())
		return syscall(SYS_sendto, fd, bytes, size, flags, NULL, 0);
	return record_send(fd, &part, 1, flags);
}

ssize_t our_recv(int fd, void *bytes, size_t size, int flags)
{
	ssize_t got = syscall(SYS_recvfrom, fd, bytes, size, flags, NULL, NULL);
	if (got > 0 && record_is_on() && (flags & MSG_PEEK) == 0)
		record_in(fd, 0, bytes, (size_t)got);
	return got;
}

ssize_t our_read(int fd, void *bytes, size_t size)
{
	ssize_t got = syscall(SYS_read, fd, bytes, size);
	if (got > 0 && record_is_local_socket(fd))
		record_in(fd, 0, bytes, (size_t)got);
	return got;
}

ssize_t our_readv(int fd, const struct iovec *parts, int count)
{
	ssize_t got = syscall(SYS_readv, fd, parts, count);
	if (got <= 0 || !record_is_local_socket(fd))
		return got;
	size_t left = (size_t)got;
	for (int i = 0; i < count && left > 0; i++) {
		size_t part = left < parts[i].iov_len ? left : parts[i].iov_len;
		record_in(fd, 0, parts[i].iov_base, part);
		left -= part;
	}
	return got;
}

int our_close(int fd)
{
	record_stream_ends(fd);
	return (int)syscall(SYS_close, fd);
}

/* ---- TLS ---- */

int SSL_write_ex(void *ssl, const void *bytes, size_t size, size_t *out_put);
int SSL_read_ex(void *ssl, void *bytes, size_t size, size_t *out_got);

static void *behind(const char *name)
{
	void *function = dlsym(RTLD_NEXT, name);
	if (function == NULL)
		abort();
	return function;
}

static int fd_of(void *ssl)
{
	int (*get_fd)(const void *) = NULL;
	void *function = behind("SSL_get_fd");
	memcpy(&get_fd, &function, sizeof(get_fd));
	return get_fd(ssl);
}

int SSL_write_ex(void *ssl, const void *bytes, size_t size, size_t *out_put)
{
	int (*next)(void *, const void *, size_t, size_t *) = NULL;
	void *function = behind("SSL_write_ex");
	memcpy(&next, &function, sizeof(next));
	int fd = fd_of(ssl);
	record_out(fd, RECORD_TLS, bytes, size);
	int result = next(ssl, bytes, size, out_put);
	if (result == 1)
		record_went_out(fd, *out_put);
	return result;
}

int SSL_read_ex(void *ssl, void *bytes, size_t size, size_t *out_got)
{
	int (*next)(void *, void *, size_t, size_t *) = NULL;
	void *function = behind("SSL_read_ex");
	memcpy(&next, &function, sizeof(next));
	int result = next(ssl, bytes, size, out_got);
	if (result == 1)
		record_in(fd_of(ssl), RECORD_TLS, bytes, *out_got);
	return result;
}
