/* fuzz_intake.c -- any bytes from a program at the agent's entry socket: every whole entry before the
 * first bad one is taken once, in order and whole, and is answered; after that comes the refusal. */
#include <event2/event.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "relay/base/log.h"
#include "relay/edge/intake.h"
#include "relay/edge/local_socket.h"

#define ENTRY_BYTES 4096u
#define INPUT_BYTES (48u << 10) /* What a socket takes without a reader. */
#define HEAD_SIZE   4
#define ANSWER_SIZE 13
#define TURNS_MAX   10000

static struct event_base *base;
static struct intake *intake;
static char path[108];

static void must(bool ok)
{
	if (!ok)
		abort();
}

static void wake(void *arg)
{
}

static void remove_socket(void)
{
	intake_close(intake);
	event_base_free(base);
}

static void open_once(void)
{
	static struct edge_source_config config;
	if (intake != NULL)
		return;
	(void)snprintf(path, sizeof(path), "/tmp/zr-fuzz-intake-%ld", (long)getpid());
	config = (struct edge_source_config){ .path = path, .entry_bytes = ENTRY_BYTES };
	config.input = EDGE_INPUT_SOCKET;
	log_init("fuzz", LOG_LEVEL_ERROR, LOG_STYLE_TEXT);
	base = event_base_new();
	must(base != NULL);
	const struct intake_context context = {
		.chain = "fuzz", .config = &config, .base = base, .wake = wake
	};
	must(intake_open(&intake, &context, (struct bytes){ NULL, 0 }, NULL));
	(void)atexit(remove_socket);
}

/* What the bytes mean: the next whole entry. False: there is none, or it is bad. */
static bool next_entry(struct bytes *rest, struct bytes *out_entry, bool *out_bad)
{
	if (rest->size < HEAD_SIZE)
		return false;
	uint32_t size = get_be32(rest->data);
	*out_bad = size == 0 || size > ENTRY_BYTES;
	if (*out_bad || rest->size < HEAD_SIZE + (size_t)size)
		return false;
	*out_entry = (struct bytes){ rest->data + HEAD_SIZE, size };
	rest->data += HEAD_SIZE + size;
	rest->size -= HEAD_SIZE + size;
	return true;
}

/* Takes what is there, compares, and says that it is stored. Returns how many. */
static uint64_t take(struct bytes *rest, uint64_t first_number, bool *out_bad)
{
	static struct intake_queue queue;
	int64_t wake_ms;
	queue.first = queue.count = 0;
	buffer_clear(&queue.data);
	intake->ops->fill(intake, &queue, 0, &wake_ms);
	for (size_t i = 0; i < queue.count; i++) {
		struct bytes entry;
		must(next_entry(rest, &entry, out_bad));
		must(bytes_equal(entry, intake_queue_bytes(&queue, &queue.entries[i])));
	}
	intake->ops->stored(intake, queue.entries, queue.count, first_number);
	return queue.count;
}

/* Reads what is answered. False: the connection has ended. */
static bool read_answers(int fd, struct buffer *answers)
{
	uint8_t bytes[4096];
	ssize_t size = recv(fd, bytes, sizeof(bytes), MSG_DONTWAIT);
	if (size > 0)
		buffer_put(answers, (struct bytes){ bytes, (size_t)size });
	return size != 0;
}

static void check_answers(struct bytes answers, uint64_t count, bool bad)
{
	must(answers.size == (count + (bad ? 1 : 0)) * ANSWER_SIZE);
	for (uint64_t i = 0; i < count; i++) {
		const uint8_t *answer = answers.data + i * ANSWER_SIZE;
		must(answer[HEAD_SIZE] == 0 && get_be64(answer + HEAD_SIZE + 1) == i);
	}
	must(!bad || answers.data[count * ANSWER_SIZE + HEAD_SIZE] == 1);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct bytes rest = { data, size < INPUT_BYTES ? size : INPUT_BYTES };
	struct buffer answers = BUFFER_EMPTY;
	struct bytes entry;
	bool bad = false;
	uint64_t taken = 0;
	int fd = -1;
	open_once();
	must(local_socket_call(path, 1000, &fd, NULL));
	must(send(fd, rest.data, rest.size, MSG_NOSIGNAL) == (ssize_t)rest.size);
	must(shutdown(fd, SHUT_WR) == 0);
	for (int turn = 0; read_answers(fd, &answers); turn++) {
		must(turn < TURNS_MAX);
		must(event_base_loop(base, EVLOOP_NONBLOCK) >= 0);
		taken += take(&rest, taken, &bad);
	}
	must(!next_entry(&rest, &entry, &bad)); /* Nothing whole is left. */
	check_answers(buffer_bytes(&answers), taken, bad);
	buffer_fini(&answers);
	close(fd);
	return 0;
}
