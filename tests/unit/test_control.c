#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <nng/nng.h>
#include <nng/protocol/reqrep0/req.h>
#include <poll.h>
#include <pthread.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "relay/control.h"
#include "tests/lib/temp_folder.h"

struct place {
	char dir[64];
	char socket[96];
	char events[96];
};

static int make_place(void **state)
{
	struct place *place = calloc(1, sizeof(*place));
	assert_non_null(place);
	temp_folder_make(place->dir, sizeof(place->dir));
	(void)snprintf(place->socket, sizeof(place->socket), "%s/control.sock", place->dir);
	(void)snprintf(place->events, sizeof(place->events), "%s/events.sock", place->dir);
	*state = place;
	return 0;
}

static int remove_place(void **state)
{
	struct place *place = *state;
	temp_folder_remove(place->dir);
	free(place);
	return 0;
}

static struct control_server *start(const struct place *place)
{
	struct control_server *server;
	struct err err = { .message = "" };
	const struct control_server_options options = { .socket = place->socket,
		                                        .events = place->events };
	if (!control_server_start(&server, &options, &err))
		fail_msg("%s", err.message);
	return server;
}

/* One question, asked on a thread of its own. */
struct asker {
	pthread_t thread;
	const char *socket;
	const char *words[2];
	int timeout_ms;
	bool ok;
	Zonerelay__Control__Response *response;
	struct err err;
};

static void *ask(void *arg)
{
	struct asker *asker = arg;
	const struct control_request request = { .words = asker->words,
		                                 .word_count = 2,
		                                 .reason = "why not",
		                                 .dry_run = true,
		                                 .attachment = BYTES_LITERAL("attached") };
	asker->ok = control_ask(asker->socket, &request, asker->timeout_ms, &asker->response,
	                        &asker->err);
	return NULL;
}

static void begin(struct asker *asker, const struct place *place, const char *last_word)
{
	*asker = (struct asker){ .socket = place->socket,
		                 .words = { "chains", last_word },
		                 .timeout_ms = 10000 };
	assert_int_equal(pthread_create(&asker->thread, NULL, ask, asker), 0);
}

static void finish(struct asker *asker)
{
	assert_int_equal(pthread_join(asker->thread, NULL), 0);
}

static struct control_call *wait_for_call(struct control_server *server)
{
	struct control_call *call = control_server_next(server);
	if (call != NULL)
		return call;
	struct pollfd waited = { .fd = control_server_fd(server), .events = POLLIN };
	assert_int_equal(poll(&waited, 1, 10000), 1);
	call = control_server_next(server);
	assert_non_null(call);
	return call;
}

static void a_request_arrives_whole_and_is_answered_whole(void **state)
{
	struct control_server *server = start(*state);
	struct asker asker;
	begin(&asker, *state, "list");

	struct control_call *call = wait_for_call(server);
	const Zonerelay__Control__Request *request = call->request;
	assert_int_equal(request->n_words, 2);
	assert_string_equal(request->words[1], "list");
	assert_string_equal(request->reason, "why not");
	assert_true(request->dry_run);
	assert_int_equal(request->request_id.len, 16);
	assert_memory_equal(request->attachment.data, "attached", 8);

	const struct control_answer answer = { .exit_status = 3,
		                               .json = BYTES_LITERAL("{\"a\":1}"),
		                               .error = "look",
		                               .attachment = BYTES_LITERAL("back") };
	control_call_answer(call, &answer);
	finish(&asker);
	assert_true(asker.ok);
	assert_int_equal(asker.response->exit_status, 3);
	assert_string_equal(asker.response->json, "{\"a\":1}");
	assert_string_equal(asker.response->error, "look");
	assert_int_equal(asker.response->attachment.len, 4);
	control_response_free(asker.response);
	control_server_stop(server);
}

static void who_asks_is_known_from_the_kernel(void **state)
{
	struct control_server *server = start(*state);
	struct asker asker;
	begin(&asker, *state, "list");
	struct control_call *call = wait_for_call(server);
	const struct passwd *self = getpwuid(geteuid());
	char number[32];
	(void)snprintf(number, sizeof(number), "uid %u", (unsigned)geteuid());
	assert_string_equal(call->user, self == NULL ? number : self->pw_name);
	control_call_answer(call, &(struct control_answer){ .exit_status = 0 });
	finish(&asker);
	assert_true(asker.ok);
	control_response_free(asker.response);
	control_server_stop(server);
}

static void many_are_asked_at_once_and_answered_in_any_order(void **state)
{
	enum { COUNT = 5 };
	static const char *const names[COUNT] = { "a", "b", "c", "d", "e" };
	struct control_server *server = start(*state);
	struct asker askers[COUNT];
	struct control_call *calls[COUNT];
	for (size_t i = 0; i < COUNT; i++)
		begin(&askers[i], *state, names[i]);
	for (size_t i = 0; i < COUNT; i++)
		calls[i] = wait_for_call(server);
	for (size_t i = COUNT; i-- > 0;) {
		const char *word = calls[i]->request->words[1];
		control_call_answer(calls[i],
		                    &(struct control_answer){ .json = bytes_of_string(word) });
	}
	for (size_t i = 0; i < COUNT; i++) {
		finish(&askers[i]);
		assert_true(askers[i].ok);
		assert_string_equal(askers[i].response->json, names[i]);
		control_response_free(askers[i].response);
	}
	control_server_stop(server);
}

static void an_answer_beyond_the_limits_becomes_a_refusal(void **state)
{
	struct control_server *server = start(*state);
	struct asker asker;
	begin(&asker, *state, "list");
	static char long_text[CONTROL_TEXT_MAX + 2];
	memset(long_text, 'x', sizeof(long_text) - 1);
	control_call_answer(wait_for_call(server), &(struct control_answer){ .error = long_text });
	finish(&asker);
	assert_true(asker.ok);
	assert_int_equal(asker.response->exit_status, 1);
	assert_non_null(strstr(asker.response->error, "error"));
	control_response_free(asker.response);
	control_server_stop(server);
}

static void without_a_daemon_asking_fails_at_once(void **state)
{
	const struct place *place = *state;
	struct asker asker;
	begin(&asker, place, "list");
	finish(&asker);
	assert_false(asker.ok);
	assert_int_equal(asker.err.code, ZR_UNAVAILABLE);
	assert_non_null(strstr(asker.err.message, "does zonerelayd run?"));
}

static void without_an_answer_asking_ends_in_time(void **state)
{
	const struct place *place = *state;
	struct control_server *server = start(place);
	struct asker asker = { .socket = place->socket,
		               .words = { "chains", "list" },
		               .timeout_ms = 200 };
	(void)ask(&asker);
	assert_false(asker.ok);
	assert_int_equal(asker.err.code, ZR_UNAVAILABLE);
	assert_non_null(strstr(asker.err.message, "may have been done"));
	control_server_stop(server); /* With the call still waiting. */
}

static void a_request_waits_for_a_daemon_that_comes_back(void **state)
{
	struct control_server *server = start(*state);
	struct asker asker;
	begin(&asker, *state, "list");
	uint8_t id[CONTROL_REQUEST_ID_SIZE];
	memcpy(id, wait_for_call(server)->request->request_id.data, sizeof(id));
	control_server_stop(server); /* As a crash would: no answer. */

	server = start(*state);
	struct control_call *call = wait_for_call(server);
	assert_memory_equal(call->request->request_id.data, id, sizeof(id));
	control_call_answer(call, &(struct control_answer){ .exit_status = 0 });
	finish(&asker);
	assert_true(asker.ok);
	control_response_free(asker.response);
	control_server_stop(server);
}

static void only_we_may_use_the_sockets(void **state)
{
	const struct place *place = *state;
	struct control_server *server = start(place);
	struct stat found;
	assert_int_equal(stat(place->socket, &found), 0);
	assert_int_equal(found.st_mode & 0777, 0600);
	assert_int_equal(stat(place->events, &found), 0);
	assert_int_equal(found.st_mode & 0777, 0600);
	control_server_stop(server);
}

static void a_second_daemon_is_refused(void **state)
{
	const struct place *place = *state;
	struct control_server *server = start(place);
	struct control_server *second;
	struct err err;
	const struct control_server_options options = { .socket = place->socket,
		                                        .events = place->events };
	assert_false(control_server_start(&second, &options, &err));
	assert_int_equal(err.code, ZR_UNAVAILABLE);
	control_server_stop(server);
}

static void an_unknown_group_is_refused(void **state)
{
	const struct place *place = *state;
	struct control_server *server;
	struct err err;
	const struct control_server_options options = { .socket = place->socket,
		                                        .events = place->events,
		                                        .group = "no-such-group-here" };
	assert_false(control_server_start(&server, &options, &err));
	assert_non_null(strstr(err.message, "no-such-group-here"));
}

/* A connection that speaks nothing we know, left open. */
static int connect_raw(const struct place *place, struct bytes bytes)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_true(fd >= 0);
	(void)snprintf(address.sun_path, sizeof(address.sun_path), "%s", place->socket);
	assert_int_equal(connect(fd, (const struct sockaddr *)&address, sizeof(address)), 0);
	assert_int_equal(send(fd, bytes.data, bytes.size, MSG_NOSIGNAL), (ssize_t)bytes.size);
	return fd;
}

static void bytes_that_are_no_request_harm_nobody(void **state)
{
	struct control_server *server = start(*state);
	/* A greeting of the right protocol, then a message far over the limit. */
	static const uint8_t greeting[] = { 0,    'S',  'P',  0,    0,    0x30, 0,    0,   1,
		                            0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff };
	int fds[4] = { connect_raw(*state, BYTES_LITERAL("GET / HTTP/1.1\r\n\r\n")),
		       connect_raw(*state, BYTES_LITERAL("")),
		       connect_raw(*state, (struct bytes){ greeting, sizeof(greeting) }),
		       connect_raw(*state, (struct bytes){ greeting, 5 }) };
	struct asker asker;
	begin(&asker, *state, "list");
	control_call_answer(wait_for_call(server), &(struct control_answer){ .exit_status = 0 });
	finish(&asker);
	assert_true(asker.ok);
	control_response_free(asker.response);
	for (size_t i = 0; i < 4; i++)
		(void)close(fds[i]);
	control_server_stop(server);
}

static void a_message_that_is_no_request_is_answered_with_why(void **state)
{
	const struct place *place = *state;
	struct control_server *server = start(place);
	char url[128];
	nng_socket socket;
	nng_msg *message;
	Zonerelay__Control__Response *response = NULL;
	struct err err;
	(void)snprintf(url, sizeof(url), "ipc://%s", place->socket);
	assert_int_equal(nng_req0_open(&socket), 0);
	assert_int_equal(nng_dial(socket, url, NULL, 0), 0);
	assert_int_equal(nng_msg_alloc(&message, 0), 0);
	assert_int_equal(nng_msg_append(message, "no request", 10), 0);
	assert_int_equal(nng_sendmsg(socket, message, 0), 0);
	assert_int_equal(nng_recvmsg(socket, &message, 0), 0);
	const struct bytes body = { nng_msg_body(message), nng_msg_len(message) };
	assert_true(control_response_decode(body, &response, &err));
	assert_int_equal(response->exit_status, 2);
	assert_true(strlen(response->error) > 0);
	assert_null(control_server_next(server));
	control_response_free(response);
	nng_msg_free(message);
	(void)nng_close(socket);
	control_server_stop(server);
}

static void more_than_can_be_under_way_wait_their_turn(void **state)
{
	enum { COUNT = CONTROL_CALLS_MAX + 8 };
	struct control_server *server = start(*state);
	struct asker askers[COUNT];
	for (size_t i = 0; i < COUNT; i++)
		begin(&askers[i], *state, "list");
	for (size_t i = 0; i < COUNT; i++)
		control_call_answer(wait_for_call(server),
		                    &(struct control_answer){ .exit_status = 3 });
	for (size_t i = 0; i < COUNT; i++) {
		finish(&askers[i]);
		assert_true(askers[i].ok);
		assert_int_equal(askers[i].response->exit_status, 3);
		control_response_free(askers[i].response);
	}
	control_server_stop(server);
}

static void events_reach_a_watcher_numbered(void **state)
{
	const struct place *place = *state;
	struct control_server *server = start(place);
	struct control_watch *watch;
	Zonerelay__Control__Event *event = NULL;
	struct err err;
	assert_true(control_watch_open(&watch, place->events, &err));
	/* The subscription takes a moment; until then events are missed, and their numbers too. */
	uint64_t first = 0;
	for (int i = 0; i < 100 && event == NULL; i++) {
		control_server_publish(server, "batch-stored", "{}", 1000 + i);
		assert_true(control_watch_next(watch, 50, &event, &err));
	}
	assert_non_null(event);
	first = event->number;
	assert_string_equal(event->name, "batch-stored");
	assert_true(event->time_ms >= 1000);
	control_event_free(event);
	control_server_publish(server, "chain-frozen", "{\"chain\":\"a\"}", 5);
	do {
		assert_true(control_watch_next(watch, 10000, &event, &err));
		assert_non_null(event);
		assert_true(event->number >= first);
		bool last = strcmp(event->name, "chain-frozen") == 0;
		if (last)
			assert_string_equal(event->json, "{\"chain\":\"a\"}");
		control_event_free(event);
		if (last)
			break;
	} while (true);
	assert_true(control_watch_next(watch, 20, &event, &err));
	assert_null(event);
	control_watch_close(watch);
	control_server_stop(server);
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, make_place, remove_place)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_request_arrives_whole_and_is_answered_whole),
		TEST(who_asks_is_known_from_the_kernel),
		TEST(many_are_asked_at_once_and_answered_in_any_order),
		TEST(an_answer_beyond_the_limits_becomes_a_refusal),
		TEST(without_a_daemon_asking_fails_at_once),
		TEST(without_an_answer_asking_ends_in_time),
		TEST(a_request_waits_for_a_daemon_that_comes_back),
		TEST(only_we_may_use_the_sockets),
		TEST(a_second_daemon_is_refused),
		TEST(an_unknown_group_is_refused),
		TEST(bytes_that_are_no_request_harm_nobody),
		TEST(a_message_that_is_no_request_is_answered_with_why),
		TEST(more_than_can_be_under_way_wait_their_turn),
		TEST(events_reach_a_watcher_numbered),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
