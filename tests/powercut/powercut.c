/* powercut.c -- cuts the power at any moment of a recorded life, and looks at what is left.
 *
 *     powercut --log FILE --root FOLDER --facts FOLDER --scratch FOLDER --images N --seed S
 *              [--second N] [--fault syncs|folders] [--only IMAGE] gateway|agent
 *
 * --second: so many of the images' recoveries are recorded, and cut again. --fault: the disk lies; the
 * images must be found broken. --only: that image of the same run, and nothing else. The last line is
 * "images N second N broken N". */
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "relay/base/log.h"
#include "tests/powercut/cut.h"

struct arguments {
	const char *log_path, *facts;
	struct cut_options cut;
};

static const struct option options[] = {
	{ "log", required_argument, NULL, 'l' },    { "root", required_argument, NULL, 'r' },
	{ "facts", required_argument, NULL, 'f' },  { "scratch", required_argument, NULL, 's' },
	{ "images", required_argument, NULL, 'n' }, { "seed", required_argument, NULL, 'S' },
	{ "second", required_argument, NULL, '2' }, { "fault", required_argument, NULL, 'x' },
	{ "only", required_argument, NULL, 'o' },   { NULL, 0, NULL, 0 },
};

static void take_option(struct arguments *arguments, int option, const char *value)
{
	switch (option) {
	case 'l':
		arguments->log_path = value;
		return;
	case 'r':
		arguments->cut.root = value;
		return;
	case 'f':
		arguments->facts = value;
		return;
	case 's':
		arguments->cut.scratch = value;
		return;
	case 'n':
		arguments->cut.image_count = strtoull(value, NULL, 10);
		return;
	case 'S':
		arguments->cut.seed = strtoull(value, NULL, 10);
		return;
	case '2':
		arguments->cut.second_count = strtoull(value, NULL, 10);
		return;
	case 'o':
		arguments->cut.only = strtoull(value, NULL, 10);
		return;
	case 'x':
		arguments->cut.fault =
			strcmp(value, "syncs") == 0 ? DISK_DROPS_SYNCS : DISK_DROPS_FOLDER_SYNCS;
		return;
	default:
		exit(2);
	}
}

static const struct subject *const subjects[] = { &subject_gateway, &subject_agent, NULL };

static void usage(void)
{
	fprintf(stderr, "powercut: see the head of tests/powercut/powercut.c\n");
	exit(2);
}

static void parse(struct arguments *arguments, int argc, char **argv)
{
	for (int option; (option = getopt_long(argc, argv, "", options, NULL)) != -1;)
		take_option(arguments, option, optarg);
	if (optind + 1 != argc || arguments->log_path == NULL || arguments->cut.root == NULL ||
	    arguments->facts == NULL || arguments->cut.scratch == NULL ||
	    arguments->cut.image_count == 0)
		usage();
	for (size_t i = 0; subjects[i] != NULL; i++) {
		if (strcmp(argv[optind], subjects[i]->name) == 0)
			arguments->cut.subject = subjects[i];
	}
	if (arguments->cut.subject == NULL)
		usage();
}

int main(int argc, char **argv)
{
	struct arguments arguments = { .cut = { .only = CUT_ALL } };
	struct cut_result result;
	parse(&arguments, argc, argv);
	int fd = open(arguments.log_path, O_RDONLY);
	if (fd < 0) {
		perror(arguments.log_path);
		return 2;
	}
	log_set_level(LOG_LEVEL_ERROR); /* Each image seals its blocks again. */
	arguments.cut.state = arguments.cut.subject->open(arguments.facts);
	cut_life(fd, &arguments.cut, &result);
	close(fd);
	arguments.cut.subject->close(arguments.cut.state);
	printf("images %" PRIu64 " second %" PRIu64 " broken %" PRIu64 "\n", result.images,
	       result.seconds, result.broken);
	return result.broken > 0 ? 1 : 0;
}
