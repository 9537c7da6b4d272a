/* A record stream that somebody hands to "zonerelay spool restore": read to its end or to the first
 * fault, and what was read is what writing gives. */
#include <assert.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "spool/stream.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int file_of(struct bytes content)
{
	int fd = memfd_create("stream", MFD_CLOEXEC);
	assert(fd >= 0);
	if (content.size > 0)
		assert(write(fd, content.data, content.size) == (ssize_t)content.size);
	assert(lseek(fd, 0, SEEK_SET) == 0);
	return fd;
}

/* Reads in, writing each row again to fd. True: the stream is whole. */
static bool copy(struct stream_in *in, struct stream_out *out)
{
	struct stream_head head;
	struct stream_row row;
	struct err err;
	bool end = false;
	if (!stream_head_get(in, &head, &err))
		return false;
	assert(stream_head_put(out, &head, &err));
	while (stream_row_get(in, &row, &end, &err)) {
		if (end)
			return stream_end_put(out, &err);
		assert(stream_row_put(out, row.table, row.key, row.value, &err));
	}
	return false;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct stream_in in = { .fd = file_of((struct bytes){ data, size }), .row = BUFFER_EMPTY };
	struct stream_out out = { .fd = file_of(BYTES_NONE), .buffer = BUFFER_EMPTY };
	if (copy(&in, &out)) {
		static uint8_t again[1u << 20];
		assert(in.byte_count == out.byte_count);
		if (out.byte_count <= sizeof(again)) {
			assert(pread(out.fd, again, sizeof(again), 0) == (ssize_t)out.byte_count);
			assert(memcmp(again, data, out.byte_count) == 0);
		}
	}
	stream_in_fini(&in);
	stream_out_fini(&out);
	close(in.fd);
	close(out.fd);
	return 0;
}
