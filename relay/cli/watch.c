/* watch.c -- zonerelay watch: events as they happen. */
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <string.h>

#include "relay/base/clock.h"
#include "relay/cli/cli.h"
#include "relay/cli/print.h"
#include "relay/control.h"

#define POLL_MS    200 /* How soon an interrupt is seen. */
#define VALUE_SIZE 2048

static volatile sig_atomic_t interrupted;

static void on_interrupt(int number)
{
	(void)number;
	interrupted = 1;
}

static bool is_wanted(const struct cli *cli, const char *name)
{
	for (size_t i = 0; i < cli->line->argument_count; i++) {
		if (strcmp(cli->line->arguments[i], name) == 0)
			return true;
	}
	return cli->line->argument_count == 0;
}

/* "chain=tq-0001 from=3": the members of one object in a line. */
static void put_members(const json_t *object)
{
	const char *key;
	json_t *value;
	json_object_foreach((json_t *)object, key, value)
	{
		char text[VALUE_SIZE];
		(void)printf(" %s=%s", key, print_value(key, value, text, sizeof(text)));
	}
}

static void show(const struct cli *cli, const Zonerelay__Control__Event *event)
{
	json_error_t why;
	char time[CLOCK_TEXT_SIZE];
	json_t *json = json_loads(event->json, 0, &why);
	if (cli->json) {
		cli_json(cli, json_pack("{s:I,s:I,s:s,s:o}", "number", (json_int_t)event->number,
		                        "time_ms", (json_int_t)event->time_ms, "event", event->name,
		                        "data", json == NULL ? json_null() : json));
	} else {
		(void)printf("%s %s", clock_text(event->time_ms, time), event->name);
		if (json != NULL)
			put_members(json);
		(void)printf("\n");
		json_decref(json);
	}
	(void)fflush(stdout);
}

static void say_missed(uint64_t last, uint64_t number)
{
	if (last != 0 && number > last + 1)
		cli_say("%" PRIu64 " events were missed", number - last - 1);
	else if (last != 0 && number <= last)
		cli_say("the daemon has started again");
}

static int follow(struct cli *cli, struct control_watch *watch)
{
	uint64_t last = 0;
	struct err err;
	while (interrupted == 0 && ferror(stdout) == 0) {
		Zonerelay__Control__Event *event = NULL;
		if (!control_watch_next(watch, POLL_MS, &event, &err))
			return cli_fail(cli, &err);
		if (event == NULL)
			continue;
		say_missed(last, event->number);
		last = event->number;
		if (is_wanted(cli, event->name))
			show(cli, event);
		control_event_free(event);
	}
	return EXIT_OK;
}

int cli_watch(struct cli *cli)
{
	const char *given = cli_option(cli, OPTION_EVENTS);
	const struct config *config = given == NULL ? cli_config_brief(cli) : NULL;
	const char *path = given != NULL    ? given
	                   : config != NULL ? config->gateway.control_events
	                                    : CLI_EVENTS_DEFAULT;
	struct control_watch *watch = NULL;
	struct err err;
	const struct sigaction action = { .sa_handler = on_interrupt };
	(void)sigaction(SIGINT, &action, NULL);
	(void)sigaction(SIGTERM, &action, NULL);
	if (!control_watch_open(&watch, path, &err))
		return cli_fail(cli, &err);
	int status = follow(cli, watch);
	control_watch_close(watch);
	return status;
}
