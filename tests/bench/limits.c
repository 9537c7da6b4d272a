/* limits.c -- what this machine's disk and store give at best, for the same bytes.
 *
 *     bench_limits append DIR SECONDS SIZE        a file, SIZE bytes and fdatasync() again and again
 *     bench_limits store  DIR SECONDS SIZE ROWS   a store, ROWS values of SIZE bytes in each commit
 *
 * Prints "COUNT NANOSECONDS": how many syncs or commits in how long. DIR must exist; what is made in
 * it is left there.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "relay/base/crypto.h"
#include "spool/txn.h"

#define STORE_SIZE_BYTES (UINT64_C(1) << 30)

static void die(const char *what)
{
	fprintf(stderr, "bench_limits: %s\n", what);
	exit(1);
}

static int64_t now_ns(void)
{
	struct timespec now;
	if (clock_gettime(CLOCK_MONOTONIC, &now) != 0)
		die("no clock");
	return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

static struct buffer random_buffer(size_t size)
{
	struct buffer buffer = BUFFER_EMPTY;
	uint8_t *data = buffer_reserve(&buffer, size);
	if (data == NULL)
		die("out of memory");
	random_bytes(data, size);
	buffer_grew(&buffer, size);
	return buffer;
}

static void append(const char *folder, int64_t last_ns, size_t size)
{
	char path[512];
	uint64_t count = 0;
	struct buffer bytes = random_buffer(size);
	(void)snprintf(path, sizeof(path), "%s/append", folder);
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC, 0644);
	if (fd < 0)
		die(path);
	int64_t begin = now_ns();
	while (now_ns() - begin < last_ns) {
		if (write(fd, bytes.data, size) != (ssize_t)size || fdatasync(fd) != 0)
			die("the disk failed");
		count++;
	}
	printf("%llu %lld\n", (unsigned long long)count, (long long)(now_ns() - begin));
	close(fd);
	buffer_fini(&bytes);
}

static void put_rows(struct store *store, struct bytes value, size_t rows, uint64_t *number)
{
	struct txn txn;
	struct err err;
	txn_begin(&txn, store, TXN_WRITE);
	for (size_t i = 0; i < rows; i++) {
		uint8_t key[8];
		put_be64(key, ++*number);
		txn_append(&txn, 0, BYTES_OF(key), &value, 1);
	}
	if (!txn_commit(&txn, &err))
		die(err.message);
}

static void commit(const char *folder, int64_t last_ns, size_t size, size_t rows)
{
	static const char *const tables[] = { "rows" };
	const struct store_format format = { "bench", 1, tables, 1 };
	char path[512];
	struct err err;
	struct store *store;
	uint64_t count = 0, number = 0;
	struct buffer bytes = random_buffer(size);
	(void)snprintf(path, sizeof(path), "%s/store", folder);
	const struct store_create_options create = {
		.dir = path, .format = &format, .size_bytes = STORE_SIZE_BYTES, .allocate = true
	};
	const struct store_options options = { .dir = path,
		                               .format = &format,
		                               .mode = STORE_WRITE };
	if (!store_create(&create, &err) || !store_open(&store, &options, &err))
		die(err.message);
	int64_t begin = now_ns();
	/* Half of the store at most, so that it is never full. */
	while (now_ns() - begin < last_ns && number * (size + 4096) < STORE_SIZE_BYTES / 2) {
		put_rows(store, buffer_bytes(&bytes), rows, &number);
		count++;
	}
	printf("%llu %lld\n", (unsigned long long)count, (long long)(now_ns() - begin));
	store_close(store);
	buffer_fini(&bytes);
}

int main(int argc, char **argv)
{
	if (argc < 5)
		die("append DIR SECONDS SIZE | store DIR SECONDS SIZE ROWS");
	int64_t last_ns = (int64_t)(strtod(argv[3], NULL) * 1e9);
	size_t size = strtoul(argv[4], NULL, 10);
	if (argc == 5 && strcmp(argv[1], "append") == 0 && size > 0)
		append(argv[2], last_ns, size);
	else if (argc == 6 && strcmp(argv[1], "store") == 0 && size > 0)
		commit(argv[2], last_ns, size, strtoul(argv[5], NULL, 10));
	else
		die("append DIR SECONDS SIZE | store DIR SECONDS SIZE ROWS");
	return 0;
}
