/* fake_daemon.c -- the daemon's end of the control socket with answers that a test wrote down.
 *
 *     fake_daemon SOCKET EVENTS FOLDER
 *
 * Each request goes into FOLDER/requests as one line of JSON. Its answer is FOLDER/answer.json:
 * {"exit_status": 0, "json": {...}, "error": "...", "attachment": "text"}. An event is
 * published every 20 ms. Ends when standard input does.
 */
#include <jansson.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "relay/control.h"

static void write_down(const char *folder, const struct control_call *call)
{
	char path[512];
	const Zonerelay__Control__Request *request = call->request;
	const char *attachment =
		request->attachment.len == 0 ? "" : (const char *)request->attachment.data;
	json_t *words = json_array();
	for (size_t i = 0; i < request->n_words; i++)
		(void)json_array_append_new(words, json_string(request->words[i]));
	json_t *line =
		json_pack("{s:o,s:s,s:b,s:s#,s:i}", "words", words, "reason", request->reason,
	                  "dry_run", (int)request->dry_run, "attachment", attachment,
	                  (int)request->attachment.len, "id_size", (int)request->request_id.len);
	(void)snprintf(path, sizeof(path), "%s/requests", folder);
	FILE *file = fopen(path, "a");
	if (file == NULL || line == NULL || json_dumpf(line, file, JSON_COMPACT) != 0)
		abort();
	(void)fputc('\n', file);
	(void)fclose(file);
	json_decref(line);
}

static void answer(const char *folder, struct control_call *call)
{
	char path[512];
	json_error_t why;
	(void)snprintf(path, sizeof(path), "%s/answer.json", folder);
	json_t *written = json_load_file(path, 0, &why);
	if (written == NULL)
		abort();
	char *json = json_dumps(json_object_get(written, "json"), JSON_COMPACT);
	const char *text = json_string_value(json_object_get(written, "text"));
	const char *attachment = json_string_value(json_object_get(written, "attachment"));
	const struct control_answer given = {
		.exit_status =
			(unsigned)json_integer_value(json_object_get(written, "exit_status")),
		.json = bytes_of_string(text != NULL   ? text
		                        : json != NULL ? json
		                                       : ""),
		.error = json_string_value(json_object_get(written, "error")),
		.attachment = bytes_of_string(attachment == NULL ? "" : attachment),
	};
	control_call_answer(call, &given);
	free(json);
	json_decref(written);
}

int main(int argc, char **argv)
{
	struct control_server *server;
	struct err err;
	if (argc != 4)
		return 2;
	const struct control_server_options options = { .socket = argv[1], .events = argv[2] };
	if (!control_server_start(&server, &options, &err)) {
		(void)fprintf(stderr, "%s\n", err.message);
		return 1;
	}
	for (int64_t time_ms = 1790000000000;; time_ms += 20) {
		struct pollfd waited[2] = { { .fd = control_server_fd(server), .events = POLLIN },
			                    { .fd = STDIN_FILENO, .events = POLLIN } };
		(void)poll(waited, 2, 20);
		if (waited[1].revents != 0)
			break;
		struct control_call *call;
		while ((call = control_server_next(server)) != NULL) {
			write_down(argv[3], call);
			answer(argv[3], call);
		}
		control_server_publish(server, "batch-stored", "{\"chain\":\"a\",\"from\":1}",
		                       time_ms);
		control_server_publish(server, "chain-frozen", "{\"chain\":\"b\"}", time_ms);
	}
	control_server_stop(server);
	return 0;
}
