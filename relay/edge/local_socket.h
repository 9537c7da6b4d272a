/* local_socket.h -- listening on and calling a Unix stream socket. */
#ifndef ZR_EDGE_LOCAL_SOCKET_H
#define ZR_EDGE_LOCAL_SOCKET_H

#include "relay/base/err.h"

/* A listening, non-blocking socket with this mode; one that nobody answers any more is replaced.
 * Gives *out_fd.
 * Errors: ZR_INVALID  the path is too long.  ZR_STATE  another process listens there.
 *         ZR_UNAVAILABLE  the system refused; the message says why. */
bool local_socket_listen(const char *path, unsigned mode, int *out_fd, struct err *err) MUST_CHECK;
/* A blocking socket whose reads and writes give up after timeout_ms. */
bool local_socket_call(const char *path, int timeout_ms, int *out_fd, struct err *err) MUST_CHECK;

#endif
