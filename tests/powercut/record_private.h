/* record_private.h -- between record.c (files) and record_net.c (what leaves and what comes). */
#ifndef ZR_TESTS_POWERCUT_RECORD_PRIVATE_H
#define ZR_TESTS_POWERCUT_RECORD_PRIVATE_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>
#include <sys/uio.h>

bool record_is_on(void);
/* They are about to leave, from where the stream stands; record_went_out() moves it. What is tried
 * again is recorded again, and the reader keeps the first of each byte. */
void record_out(int fd, unsigned flags, const void *bytes, size_t size);
void record_went_out(int fd, size_t size);
void record_in(int fd, unsigned flags, const void *bytes, size_t size);
void record_stream_ends(int fd);

/* record_net.c; a program without it has record_quiet.c instead. */
bool record_is_local_socket(int fd);
ssize_t record_send(int fd, const struct iovec *parts, int count, int flags);

#endif
