/* intake_socket.c -- entries from programs on this device, over a local stream socket.
 *
 *     producer -> agent   u32 size (big-endian) | entry            any number, without waiting
 *     agent -> producer   u32 9 | u8 code | u64 number             one for each entry, in order
 *
 *     code 0  the entry is on the disk, and this is its number in the ledger
 *     code 1  it is empty or larger than entry-size; the connection ends
 *
 * No answer means that nothing is promised: after a broken connection the producer sends again what
 * was not answered. While the store is full nothing is answered and nothing more is read.
 */
#include <assert.h>
#include <errno.h>
#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/event.h>
#include <event2/listener.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "relay/base/list.h"
#include "relay/base/log.h"
#include "relay/edge/intake.h"
#include "relay/edge/local_socket.h"

#define CLIENTS_MAX     64
#define SIZE_SIZE       4
#define ANSWER_SIZE     9
#define ANSWERS_MAX     (64u << 10) /* Bytes that wait for a producer who does not read them. */
#define CLIENT_TURN_MAX 64          /* Entries of one producer before the next has its turn. */
#define ANSWER_ACCEPTED 0
#define ANSWER_REFUSED  1

struct client {
	struct list_node node; /* In sockets->clients; the first has the next turn. */
	struct sockets *sockets;
	struct bufferevent *stream;
	uint64_t number; /* Names it in marks: pointers might be reused. */
	size_t queued;   /* Its entries that are not stored yet. */
	bool closed;     /* It sends nothing more, but may still read answers. */
	bool refused;    /* It sent something that is no entry: nothing more is taken. */
	bool told;       /* That answer is out. */
};

struct sockets {
	struct intake intake; /* First: sockets are an intake. */
	struct evconnlistener *listener;
	struct list_node clients;
	size_t client_count;
	uint64_t client_next;
	struct buffer entry; /* Scratch. */
};

static struct sockets *sockets_of(struct intake *intake)
{
	return (struct sockets *)(void *)intake;
}

static void wake(struct sockets *sockets)
{
	sockets->intake.context.wake(sockets->intake.context.wake_arg);
}

static void free_client(struct client *client)
{
	client->sockets->client_count--;
	list_remove(&client->node);
	bufferevent_free(client->stream);
	free(client);
}

static void on_readable(struct bufferevent *stream, void *arg)
{
	struct client *client = arg;
	wake(client->sockets);
}

/* The size of the next whole entry in its input; 0: there is none now. */
static uint32_t whole_entry(struct client *client, bool *out_bad)
{
	struct evbuffer *input = bufferevent_get_input(client->stream);
	uint8_t head[SIZE_SIZE];
	*out_bad = false;
	if (evbuffer_copyout(input, head, SIZE_SIZE) < SIZE_SIZE)
		return 0;
	uint32_t size = get_be32(head);
	*out_bad = size == 0 || size > client->sockets->intake.context.config->entry_bytes;
	if (*out_bad || evbuffer_get_length(input) < SIZE_SIZE + (size_t)size)
		return 0;
	return size;
}

/* Frees the client if nothing more will happen with it. */
static bool finish(struct client *client)
{
	bool bad = false;
	if (evbuffer_get_length(bufferevent_get_output(client->stream)) > 0 || client->queued > 0)
		return false;
	if (!client->told && !(client->closed && whole_entry(client, &bad) == 0 && !bad))
		return false;
	free_client(client);
	return true;
}

/* The output is empty: a client that only waited for that may go; others may go on. */
static void on_written(struct bufferevent *stream, void *arg)
{
	struct client *client = arg;
	struct sockets *sockets = client->sockets;
	if (!finish(client))
		wake(sockets);
}

static void on_event(struct bufferevent *stream, short what, void *arg)
{
	struct client *client = arg;
	if ((what & BEV_EVENT_EOF) == 0) {
		free_client(client);
		return;
	}
	client->closed = true;
	if (!finish(client))
		wake(client->sockets);
}

static void on_accept(struct evconnlistener *listener, evutil_socket_t fd, struct sockaddr *address,
                      int address_size, void *arg)
{
	struct sockets *sockets = arg;
	struct client *client = NULL;
	if (sockets->client_count < CLIENTS_MAX)
		client = calloc(1, sizeof(*client));
	if (client != NULL)
		client->stream = bufferevent_socket_new(sockets->intake.context.base, fd,
		                                        BEV_OPT_CLOSE_ON_FREE);
	if (client == NULL || client->stream == NULL) {
		log_warn("producer-refused", "chain=%s clients=%zu", sockets->intake.context.chain,
		         sockets->client_count);
		free(client);
		evutil_closesocket(fd);
		return;
	}
	client->sockets = sockets;
	client->number = ++sockets->client_next;
	sockets->client_count++;
	list_append(&sockets->clients, &client->node);
	bufferevent_setcb(client->stream, on_readable, on_written, on_event, client);
	size_t most = SIZE_SIZE + (size_t)sockets->intake.context.config->entry_bytes;
	bufferevent_setwatermark(client->stream, EV_READ, 0, most);
	/* One whom nobody would hear is told so at once. */
	if (bufferevent_enable(client->stream, EV_READ | EV_WRITE) != 0)
		free_client(client);
}

static void sockets_close(struct intake *intake)
{
	struct sockets *sockets = sockets_of(intake);
	while (!list_is_empty(&sockets->clients))
		free_client(LIST_ENTRY(sockets->clients.next, struct client, node));
	if (sockets->listener != NULL) {
		evconnlistener_free(sockets->listener);
		(void)unlink(intake->context.config->path);
	}
	buffer_fini(&sockets->entry);
	free(sockets);
}

static bool sockets_open(struct intake **out_intake, const struct intake_context *context,
                         struct bytes position, struct err *err)
{
	struct sockets *sockets = calloc(1, sizeof(*sockets));
	if (sockets == NULL)
		return err_set(err, ZR_NO_MEMORY, "intake");
	sockets->intake.ops = &intake_socket;
	sockets->intake.context = *context;
	list_init(&sockets->clients);
	int fd = -1;
	if (!local_socket_listen(context->config->path, 0660, &fd, err)) {
		sockets_close(&sockets->intake);
		return false;
	}
	sockets->listener = evconnlistener_new(context->base, on_accept, sockets,
	                                       LEV_OPT_CLOSE_ON_FREE, 16, fd);
	if (sockets->listener == NULL) {
		close(fd);
		sockets_close(&sockets->intake);
		return err_set(err, ZR_NO_MEMORY, "socket %s", context->config->path);
	}
	/* It has been done; but only this says whether it was. */
	if (evconnlistener_enable(sockets->listener) != 0) {
		sockets_close(&sockets->intake);
		return err_set(err, ZR_UNAVAILABLE, "socket %s cannot be watched",
		               context->config->path);
	}
	*out_intake = &sockets->intake;
	return true;
}

/* ---- entries ---- */

static void answer(struct client *client, uint8_t code, uint64_t number)
{
	uint8_t bytes[SIZE_SIZE + ANSWER_SIZE];
	put_be32(bytes, ANSWER_SIZE);
	bytes[SIZE_SIZE] = code;
	put_be64(bytes + SIZE_SIZE + 1, number);
	(void)bufferevent_write(client->stream, bytes, sizeof(bytes));
}

/* After the answers to what came before. */
static void tell_refused(struct client *client)
{
	if (!client->refused || client->told || client->queued > 0)
		return;
	client->told = true;
	answer(client, ANSWER_REFUSED, 0);
}

static void refuse(struct client *client)
{
	client->sockets->intake.counts.refused++;
	log_warn("entry-refused", "chain=%s producer=%" PRIu64 " detail=\"size\"",
	         client->sockets->intake.context.chain, client->number);
	client->refused = true;
	bufferevent_disable(client->stream, EV_READ);
	tell_refused(client);
}

/* Moves one whole entry into the queue. False: there is none now. */
static bool take_one(struct client *client, struct intake_queue *queue)
{
	struct sockets *sockets = client->sockets;
	struct evbuffer *input = bufferevent_get_input(client->stream);
	bool bad = false;
	if (client->refused ||
	    evbuffer_get_length(bufferevent_get_output(client->stream)) > ANSWERS_MAX)
		return false;
	uint32_t size = whole_entry(client, &bad);
	if (bad)
		refuse(client);
	if (size == 0)
		return false;
	buffer_clear(&sockets->entry);
	uint8_t *place = buffer_reserve(&sockets->entry, size);
	if (place == NULL)
		return false;
	evbuffer_drain(input, SIZE_SIZE);
	evbuffer_remove(input, place, size);
	buffer_grew(&sockets->entry, size);
	if (!intake_queue_add(queue, buffer_bytes(&sockets->entry), 0, client->number)) {
		refuse(client); /* No memory: what is lost here must not be followed by more. */
		return false;
	}
	client->queued++;
	sockets->intake.counts.entries++;
	return true;
}

static void sockets_fill(struct intake *intake, struct intake_queue *queue, int64_t now_ms,
                         int64_t *out_wake_ms)
{
	struct sockets *sockets = sockets_of(intake);
	*out_wake_ms = INT64_MAX;
	for (size_t i = sockets->client_count; i > 0 && intake_queue_has_room(queue); i--) {
		struct client *client =
			LIST_ENTRY(list_pop(&sockets->clients), struct client, node);
		list_append(&sockets->clients, &client->node);
		size_t taken = 0;
		while (taken < CLIENT_TURN_MAX && intake_queue_has_room(queue) &&
		       take_one(client, queue))
			taken++;
		if (taken > 0)
			*out_wake_ms = now_ms;
		else
			(void)finish(client);
	}
	if (!intake_queue_has_room(queue))
		*out_wake_ms = now_ms;
}

static struct client *find_client(struct sockets *sockets, uint64_t number)
{
	LIST_FOR_EACH (node, &sockets->clients) {
		struct client *client = LIST_ENTRY(node, struct client, node);
		if (client->number == number)
			return client;
	}
	return NULL; /* Gone meanwhile. */
}

static void sockets_stored(struct intake *intake, const struct intake_entry *entries, size_t count,
                           uint64_t first_number)
{
	struct sockets *sockets = sockets_of(intake);
	for (size_t i = 0; i < count; i++) {
		struct client *client = find_client(sockets, entries[i].mark);
		if (client == NULL)
			continue;
		assert(client->queued > 0);
		client->queued--;
		answer(client, ANSWER_ACCEPTED, first_number + i);
		tell_refused(client);
	}
}

static void sockets_position(struct intake *intake, const struct intake_entry *last,
                             struct buffer *out)
{
	/* Producers know what was answered; there is nothing to come back to. */
}

const struct intake_ops intake_socket = {
	.open = sockets_open,
	.close = sockets_close,
	.fill = sockets_fill,
	.position = sockets_position,
	.stored = sockets_stored,
};
