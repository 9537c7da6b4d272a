/* zonerelayd.c -- the gateway's program: options, configuration, and the exit status. */
#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "relay/base/exit.h"
#include "relay/base/log.h"
#include "relay/gateway.h"
#include "relay/preflight.h"
#include "spool/store.h"

#define CONFIG_DEFAULT "/etc/zonerelay/zone.yaml"

static const char help[] =
	"Usage: zonerelayd [--config FILE] [--check]\n"
	"\n"
	"Takes blocks of side chains from their agents, keeps them durably, and anchors them on "
	"the\n"
	"main chain.\n"
	"\n"
	"  -c, --config FILE  the zone's configuration (" CONFIG_DEFAULT ")\n"
	"      --check        check the configuration and what it names, then exit\n"
	"      --version      print the version\n"
	"  -h, --help         print this\n"
	"\n"
	"Signals: TERM stops, a second TERM at once; HUP reads configuration, certificates and\n"
	"revocation lists again; USR1 writes the state to the log.\n"
	"\n"
	"Exit status: 0 stopped, 64 usage, 66 no spool, 70 internal, 71 system, 74 the disk "
	"failed,\n"
	"75 full, 78 configuration.\n";

struct arguments {
	const char *config;
	bool check;
};

/* Returns -1 to go on, or what to exit with. */
static int parse(int argc, char **argv, struct arguments *out_arguments)
{
	enum { OPTION_CHECK = 256, OPTION_VERSION };
	static const struct option options[] = {
		{ "config", required_argument, NULL, 'c' },
		{ "check", no_argument, NULL, OPTION_CHECK },
		{ "version", no_argument, NULL, OPTION_VERSION },
		{ "help", no_argument, NULL, 'h' },
		{ NULL, 0, NULL, 0 },
	};
	*out_arguments = (struct arguments){ .config = CONFIG_DEFAULT };
	int option;
	while ((option = getopt_long(argc, argv, "c:h", options, NULL)) != -1) {
		switch (option) {
		case 'c':
			out_arguments->config = optarg;
			break;
		case OPTION_CHECK:
			out_arguments->check = true;
			break;
		case OPTION_VERSION:
			(void)puts("zonerelayd " ZR_VERSION);
			return EXIT_OK;
		case 'h':
			(void)fputs(help, stdout);
			return EXIT_OK;
		default:
			(void)fputs("Try \"zonerelayd --help\".\n", stderr);
			return EXIT_USAGE_ERROR;
		}
	}
	if (optind < argc) {
		(void)fprintf(stderr, "zonerelayd: unexpected argument %s\n", argv[optind]);
		return EXIT_USAGE_ERROR;
	}
	return -1;
}

static void print_errors(struct config_errors *errors)
{
	struct buffer text = BUFFER_EMPTY;
	config_errors_text(errors, &text);
	if (!buffer_ok(&text, NULL))
		(void)fputs("error: out of memory\n", stderr);
	else if (text.size > 0)
		(void)fwrite(text.data, 1, text.size, stderr);
	buffer_fini(&text);
	config_errors_fini(errors);
}

/* Gives the status to exit with, or EXIT_OK. */
static int load(const char *path, struct config **out_config)
{
	struct config_errors errors = CONFIG_NO_ERRORS;
	if (config_load(path, CONFIG_GATEWAY, out_config, &errors))
		return EXIT_OK;
	int status = config_errors_exit_status(&errors);
	print_errors(&errors);
	return status;
}

/* What would fail at start or later, as "zonerelay config check" finds it. */
static int check(struct config *config)
{
	struct config_errors errors = CONFIG_NO_ERRORS;
	preflight_check(config, clock_system(), &errors);
	bool good = errors.count == 0 && errors.dropped == 0;
	print_errors(&errors);
	config_free(config);
	if (good)
		(void)puts("configuration: OK");
	return good ? EXIT_OK : EXIT_CONFIG;
}

int main(int argc, char **argv)
{
	struct arguments arguments;
	struct config *config;
	struct gateway *gateway = NULL;
	struct err err;
	int status = parse(argc, argv, &arguments);
	if (status >= 0)
		return status;
	log_init("zonerelayd", LOG_LEVEL_INFO, LOG_STYLE_TEXT);
	(void)signal(SIGPIPE, SIG_IGN);
	store_exit_on_fault();
	(void)umask(0077);
	status = load(arguments.config, &config);
	if (status != EXIT_OK)
		return status;
	log_init("zonerelayd", config->log.level, config->log.style);
	if (arguments.check)
		return check(config);
	if (gateway_start(&gateway, config, arguments.config, &err)) {
		status = (int)gateway_run(gateway);
	} else {
		log_error("start-failed", "detail=\"%s\"", err.message);
		status = gateway != NULL ? (int)gateway->exit_status : EXIT_SYSTEM;
	}
	gateway_stop(gateway);
	return status;
}
