/* control.c -- see control.h. The only file that knows nng.
 *
 * Each slot is one REP context with one aio, and is in one of three states; the aio's callback runs
 * on a thread of nng's, everything else on the owner's. The mailbox hands a slot from the one to
 * the other, so that no two threads ever look at the same slot:
 *
 *     RECEIVING --- request, decoded ---> OWNED --- control_call_answer() ---> SENDING
 *         ^                                                                      |
 *         +----------------------------------------------------------------------+
 */
#include "relay/control.h"

#include <assert.h>
#include <errno.h>
#include <grp.h>
#include <nng/nng.h>
#include <nng/protocol/pubsub0/pub.h>
#include <nng/protocol/pubsub0/sub.h>
#include <nng/protocol/reqrep0/rep.h>
#include <nng/protocol/reqrep0/req.h>
#include <nng/transport/ipc/ipc.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "relay/base/crypto.h"
#include "relay/base/mailbox.h"

#define URL_SIZE           256
#define RESEND_MS          10000
#define WATCH_QUEUE        4096
#define NAME_LOOKUP_BUFFER 4096

enum slot_state { SLOT_RECEIVING, SLOT_OWNED, SLOT_SENDING };

struct control_slot {
	struct control_call call; /* First, so that a call is its slot. */
	struct control_server *server;
	nng_ctx context;
	nng_aio *aio; /* Owned. */
	enum slot_state state;
	Zonerelay__Control__Request *request; /* Owned while OWNED. */
};

struct control_server {
	nng_socket requests;
	nng_socket events;
	bool requests_open, events_open;
	struct mailbox *calls;    /* Owned. */
	struct list_node waiting; /* Taken out of calls, not given out yet. */
	struct control_slot slots[CONTROL_CALLS_MAX];
	size_t slot_count; /* Those that are set up. */
	uint64_t event_number;
};

/* ---- small things of nng ---- */

static bool fail(struct err *err, const char *what, const char *path, int code)
{
	return err_set(err, ZR_UNAVAILABLE, "%s %s: %s", what, path, nng_strerror(code));
}

static bool ipc_url(const char *path, char url[static URL_SIZE], struct err *err)
{
	int size = snprintf(url, URL_SIZE, "ipc://%s", path);
	if (size < 0 || size >= URL_SIZE)
		return err_set(err, ZR_UNAVAILABLE, "socket %s: the path is too long", path);
	return true;
}

static nng_msg *message_of(struct bytes bytes)
{
	nng_msg *message;
	if (nng_msg_alloc(&message, 0) != 0)
		return NULL;
	if (nng_msg_append(message, bytes.data, bytes.size) != 0) {
		nng_msg_free(message);
		return NULL;
	}
	return message;
}

static struct bytes message_bytes(nng_msg *message)
{
	return (struct bytes){ nng_msg_body(message), nng_msg_len(message) };
}

/* ---- the daemon's end: answers ---- */

static void receive(struct control_slot *slot)
{
	slot->state = SLOT_RECEIVING;
	nng_ctx_recv(slot->context, slot->aio);
}

static bool encode_answer(const struct control_answer *answer, struct buffer *out, struct err *err)
{
	Zonerelay__Control__Response response = ZONERELAY__CONTROL__RESPONSE__INIT;
	char none[] = "";
	struct buffer json = BUFFER_EMPTY;
	buffer_put(&json, answer->json);
	buffer_put_u8(&json, '\0');
	if (!buffer_ok(&json, err))
		return false;
	response.version = CONTROL_VERSION;
	response.exit_status = answer->exit_status;
	response.json = (char *)json.data;
	response.error = answer->error == NULL ? none : (char *)answer->error;
	response.attachment.data = (uint8_t *)answer->attachment.data;
	response.attachment.len = answer->attachment.size;
	bool encoded = control_response_encode(&response, out, err);
	buffer_fini(&json);
	return encoded;
}

/* An answer that cannot be encoded is answered with the reason why. */
static nng_msg *answer_message(const struct control_answer *answer)
{
	struct buffer body = BUFFER_EMPTY;
	struct err err;
	if (!encode_answer(answer, &body, &err)) {
		const struct control_answer refusal = { .exit_status = 1, .error = err.message };
		buffer_clear(&body);
		if (!encode_answer(&refusal, &body, &err))
			buffer_clear(&body);
	}
	nng_msg *message = message_of(buffer_bytes(&body));
	buffer_fini(&body);
	return message;
}

static void send_answer(struct control_slot *slot, const struct control_answer *answer)
{
	nng_msg *message = answer_message(answer);
	control_request_free(slot->request);
	slot->request = NULL;
	if (message == NULL) {
		receive(slot); /* No memory for an answer: the asker asks again. */
		return;
	}
	slot->state = SLOT_SENDING;
	nng_aio_set_msg(slot->aio, message);
	nng_ctx_send(slot->context, slot->aio);
}

void control_call_answer(struct control_call *call, const struct control_answer *answer)
{
	struct control_slot *slot = (struct control_slot *)(void *)call;
	assert(slot->state == SLOT_OWNED);
	send_answer(slot, answer);
}

/* ---- the daemon's end: requests ---- */

static void name_user(nng_pipe pipe, char user[static CONTROL_USER_SIZE])
{
	uint64_t uid;
	if (nng_pipe_get_uint64(pipe, NNG_OPT_IPC_PEER_UID, &uid) != 0) {
		(void)snprintf(user, CONTROL_USER_SIZE, "unknown");
		return;
	}
	struct passwd entry;
	struct passwd *found = NULL;
	char names[NAME_LOOKUP_BUFFER];
	(void)getpwuid_r((uid_t)uid, &entry, names, sizeof(names), &found);
	if (found != NULL)
		(void)snprintf(user, CONTROL_USER_SIZE, "%s", found->pw_name);
	else
		(void)snprintf(user, CONTROL_USER_SIZE, "uid %llu", (unsigned long long)uid);
}

/* On a thread of nng's. Takes message. */
static void take_request(struct control_slot *slot, nng_msg *message)
{
	struct err err;
	bool decoded = control_request_decode(message_bytes(message), &slot->request, &err);
	if (decoded)
		name_user(nng_msg_get_pipe(message), slot->call.user);
	nng_msg_free(message);
	if (!decoded) {
		const struct control_answer refusal = { .exit_status = 2, .error = err.message };
		send_answer(slot, &refusal);
		return;
	}
	slot->call.request = slot->request;
	slot->state = SLOT_OWNED;
	/* There are no more slots than places, so that only a closed mailbox refuses. */
	if (!mailbox_put(slot->server->calls, &slot->call.node)) {
		const struct control_answer refusal = { .exit_status = 1,
			                                .error = "the daemon is stopping" };
		send_answer(slot, &refusal);
	}
}

/* On a thread of nng's. */
static void on_aio(void *arg)
{
	struct control_slot *slot = arg;
	int result = nng_aio_result(slot->aio);
	if (slot->state == SLOT_SENDING && result != 0) {
		nng_msg_free(nng_aio_get_msg(slot->aio)); /* It was not taken. */
		nng_aio_set_msg(slot->aio, NULL);
	}
	if (result == NNG_ECLOSED || result == NNG_ECANCELED)
		return;
	if (slot->state == SLOT_SENDING || result != 0)
		receive(slot);
	else
		take_request(slot, nng_aio_get_msg(slot->aio));
}

/* ---- the daemon's end: its life ---- */

static bool find_group(const char *name, gid_t *out_group, struct err *err)
{
	struct group entry;
	struct group *found = NULL;
	char names[NAME_LOOKUP_BUFFER];
	(void)getgrnam_r(name, &entry, names, sizeof(names), &found);
	if (found == NULL)
		return err_set(err, ZR_UNAVAILABLE, "there is no group %s", name);
	*out_group = found->gr_gid;
	return true;
}

static bool listen_on(nng_socket socket, const char *path, const char *group, struct err *err)
{
	char url[URL_SIZE];
	gid_t gid = (gid_t)-1;
	if (!ipc_url(path, url, err) || (group != NULL && !find_group(group, &gid, err)))
		return false;
	nng_listener listener;
	int code = nng_listener_create(&listener, socket, url);
	if (code == 0)
		code = nng_listener_set_int(listener, NNG_OPT_IPC_PERMISSIONS,
		                            group == NULL ? 0600 : 0660);
	if (code == 0)
		code = nng_listener_set_size(listener, NNG_OPT_RECVMAXSZ, CONTROL_MESSAGE_SIZE_MAX);
	if (code == 0)
		code = nng_listener_start(listener, 0);
	if (code != 0)
		return fail(err, "listen on", path, code);
	if (group != NULL && chown(path, (uid_t)-1, gid) != 0)
		return err_set(err, ZR_UNAVAILABLE, "give %s to group %s: %s", path, group,
		               strerror(errno));
	return true;
}

static bool open_sockets(struct control_server *server, struct err *err)
{
	int code = nng_rep0_open(&server->requests);
	server->requests_open = code == 0;
	if (code == 0) {
		code = nng_pub0_open(&server->events);
		server->events_open = code == 0;
	}
	if (code != 0)
		return fail(err, "open", "the control sockets", code);
	return true;
}

static bool open_slots(struct control_server *server, struct err *err)
{
	for (size_t i = 0; i < CONTROL_CALLS_MAX; i++) {
		struct control_slot *slot = &server->slots[i];
		slot->server = server;
		int code = nng_aio_alloc(&slot->aio, on_aio, slot);
		if (code != 0)
			return fail(err, "open", "the control socket", code);
		server->slot_count = i + 1;
		code = nng_ctx_open(&slot->context, server->requests);
		if (code != 0)
			return fail(err, "open", "the control socket", code);
		receive(slot);
	}
	return true;
}

bool control_server_start(struct control_server **out_server,
                          const struct control_server_options *options, struct err *err)
{
	struct control_server *server = calloc(1, sizeof(*server));
	if (server == NULL)
		return err_set(err, ZR_NO_MEMORY, "control socket");
	list_init(&server->waiting);
	if (!mailbox_new(&server->calls, CONTROL_CALLS_MAX, err) || !open_sockets(server, err) ||
	    !open_slots(server, err) ||
	    !listen_on(server->requests, options->socket, options->group, err) ||
	    !listen_on(server->events, options->events, options->group, err)) {
		control_server_stop(server);
		return false;
	}
	*out_server = server;
	return true;
}

void control_server_stop(struct control_server *server)
{
	if (server == NULL)
		return;
	if (server->calls != NULL)
		mailbox_close(server->calls);
	if (server->requests_open)
		(void)nng_close(server->requests);
	if (server->events_open)
		(void)nng_close(server->events);
	for (size_t i = 0; i < server->slot_count; i++) {
		struct control_slot *slot = &server->slots[i];
		nng_aio_free(slot->aio); /* Waits for its callback. */
		control_request_free(slot->request);
	}
	if (server->calls != NULL)
		(void)mailbox_take_all(server->calls, &server->waiting);
	mailbox_free(server->calls);
	free(server);
}

int control_server_fd(const struct control_server *server)
{
	return mailbox_fd(server->calls);
}

struct control_call *control_server_next(struct control_server *server)
{
	if (list_is_empty(&server->waiting))
		(void)mailbox_take_all(server->calls, &server->waiting);
	struct list_node *node = list_pop(&server->waiting);
	return node == NULL ? NULL : LIST_ENTRY(node, struct control_call, node);
}

void control_server_publish(struct control_server *server, const char *name, const char *json,
                            int64_t time_ms)
{
	Zonerelay__Control__Event event = ZONERELAY__CONTROL__EVENT__INIT;
	event.number = ++server->event_number;
	event.time_ms = time_ms;
	event.name = (char *)name;
	event.json = (char *)json;
	struct buffer body = BUFFER_EMPTY;
	struct err err;
	nng_msg *message = NULL;
	if (control_event_encode(&event, &body, &err))
		message = message_of(buffer_bytes(&body));
	buffer_fini(&body);
	/* What cannot be told is missed, and the next event's number shows it. */
	if (message != NULL && nng_sendmsg(server->events, message, NNG_FLAG_NONBLOCK) != 0)
		nng_msg_free(message);
}

/* ---- the command line's end ---- */

static bool dial(nng_socket socket, const char *path, struct err *err)
{
	char url[URL_SIZE];
	if (!ipc_url(path, url, err))
		return false;
	nng_dialer dialer;
	int code = nng_dialer_create(&dialer, socket, url);
	if (code == 0)
		code = nng_dialer_set_size(dialer, NNG_OPT_RECVMAXSZ, CONTROL_MESSAGE_SIZE_MAX);
	if (code == 0)
		code = nng_dialer_start(dialer, 0);
	if (code == NNG_ECONNREFUSED || code == NNG_ENOENT)
		return err_set(err, ZR_UNAVAILABLE, "nobody listens on %s: does zonerelayd run?",
		               path);
	if (code == NNG_EPERM)
		return err_set(err, ZR_UNAVAILABLE, "%s is not ours to use: permission denied",
		               path);
	return code == 0 || fail(err, "connect to", path, code);
}

static bool encode_request(const struct control_request *request, struct buffer *out,
                           struct err *err)
{
	Zonerelay__Control__Request message = ZONERELAY__CONTROL__REQUEST__INIT;
	uint8_t id[CONTROL_REQUEST_ID_SIZE];
	char none[] = "";
	random_bytes(id, sizeof(id));
	message.version = CONTROL_VERSION;
	message.request_id.data = id;
	message.request_id.len = sizeof(id);
	message.n_words = request->word_count;
	message.words = (char **)request->words;
	message.reason = request->reason == NULL ? none : (char *)request->reason;
	message.dry_run = request->dry_run;
	message.attachment.data = (uint8_t *)request->attachment.data;
	message.attachment.len = request->attachment.size;
	message.user = none;
	return control_request_encode(&message, out, err);
}

/* Sends and waits; gives *out_reply, to be freed with nng_msg_free(). */
static bool exchange(nng_socket socket, struct bytes body, const char *path, nng_msg **out_reply,
                     struct err *err)
{
	nng_msg *message = message_of(body);
	if (message == NULL)
		return err_set(err, ZR_NO_MEMORY, "request");
	int code = nng_sendmsg(socket, message, 0);
	if (code != 0) {
		nng_msg_free(message);
		return fail(err, "send to", path, code);
	}
	code = nng_recvmsg(socket, out_reply, 0);
	if (code == NNG_ETIMEDOUT)
		return err_set(err, ZR_UNAVAILABLE,
		               "no answer came on %s in time: what was asked for may have been "
		               "done; see \"zonerelay audit list\"",
		               path);
	return code == 0 || fail(err, "receive from", path, code);
}

static bool ask_on(nng_socket socket, const char *path, struct bytes body,
                   Zonerelay__Control__Response **out_response, struct err *err)
{
	nng_msg *reply = NULL;
	if (!dial(socket, path, err) || !exchange(socket, body, path, &reply, err))
		return false;
	bool decoded = control_response_decode(message_bytes(reply), out_response, err);
	nng_msg_free(reply);
	return decoded || err_wrap(err, "answer on %s", path);
}

bool control_ask(const char *socket, const struct control_request *request, int timeout_ms,
                 Zonerelay__Control__Response **out_response, struct err *err)
{
	struct buffer body = BUFFER_EMPTY;
	nng_socket requests;
	bool asked = false;
	if (encode_request(request, &body, err)) {
		int code = nng_req0_open(&requests);
		if (code != 0) {
			fail(err, "open", "a socket", code);
		} else {
			(void)nng_socket_set_ms(requests, NNG_OPT_SENDTIMEO, timeout_ms);
			(void)nng_socket_set_ms(requests, NNG_OPT_RECVTIMEO, timeout_ms);
			(void)nng_socket_set_ms(requests, NNG_OPT_REQ_RESENDTIME, RESEND_MS);
			asked = ask_on(requests, socket, buffer_bytes(&body), out_response, err);
			(void)nng_close(requests);
		}
	}
	buffer_fini(&body);
	return asked;
}

struct control_watch {
	nng_socket socket;
	const char *path; /* Kept by the caller. */
};

bool control_watch_open(struct control_watch **out_watch, const char *events, struct err *err)
{
	struct control_watch *watch = calloc(1, sizeof(*watch));
	if (watch == NULL)
		return err_set(err, ZR_NO_MEMORY, "events");
	watch->path = events;
	int code = nng_sub0_open(&watch->socket);
	if (code != 0) {
		free(watch);
		return fail(err, "open", "a socket", code);
	}
	(void)nng_socket_set_int(watch->socket, NNG_OPT_RECVBUF, WATCH_QUEUE);
	code = nng_socket_set(watch->socket, NNG_OPT_SUB_SUBSCRIBE, "", 0);
	if (code != 0)
		fail(err, "watch", events, code);
	if (code != 0 || !dial(watch->socket, events, err)) {
		control_watch_close(watch);
		return false;
	}
	*out_watch = watch;
	return true;
}

void control_watch_close(struct control_watch *watch)
{
	if (watch == NULL)
		return;
	(void)nng_close(watch->socket);
	free(watch);
}

bool control_watch_next(struct control_watch *watch, int timeout_ms,
                        Zonerelay__Control__Event **out_event, struct err *err)
{
	nng_msg *message;
	(void)nng_socket_set_ms(watch->socket, NNG_OPT_RECVTIMEO, timeout_ms);
	int code = nng_recvmsg(watch->socket, &message, 0);
	if (code == NNG_ETIMEDOUT) {
		*out_event = NULL;
		return true;
	}
	if (code != 0)
		return fail(err, "watch", watch->path, code);
	bool decoded = control_event_decode(message_bytes(message), out_event, err);
	nng_msg_free(message);
	return decoded || err_wrap(err, "event on %s", watch->path);
}
