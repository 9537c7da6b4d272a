/* print_tables.c -- manual pages from the tables of keys and commands: "print_tables conf" and
 * "print_tables commands", and "print_tables devchain". tests/lint/tables.py compares them with docs/man. */
#include <stdio.h>
#include <string.h>

#include "adapters/mainchain/devchain/misbehave.h"
#include "adapters/mainchain/devchain/options.h"
#include "config/config.h"
#include "config/keys.h"
#include "config/value.h"
#include "relay/commands.h"

/* ---- roff ---- */

/* One text, with what roff would take for itself escaped. */
static void put(const char *text)
{
	for (; *text != '\0'; text++) {
		if (*text == '-')
			(void)fputs("\\-", stdout);
		else if (*text == '\\')
			(void)fputs("\\e", stdout);
		else if (*text == '\'')
			(void)fputs("\\(aq", stdout);
		else
			(void)putchar(*text);
	}
}

static void put_line(const char *text)
{
	if (text[0] == '.')
		(void)fputs("\\&", stdout);
	put(text);
	(void)putchar('\n');
}

static void put_head(const char *page, unsigned chapter, const char *text)
{
	(void)printf(".\\\" Made from the tables by tests/lint/tables.py --write: do not edit.\n"
	             ".TH %s %u \"\" \"zonerelay %s\" \"zonerelay\"\n.SH NAME\n",
	             page, chapter, ZR_VERSION);
	put_line(text);
}

/* Lines of running text; "" begins a paragraph, "." and a capital is a macro. */
static void put_text(const char *const *lines, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		if (lines[i][0] == '\0')
			(void)printf(".PP\n");
		else if (lines[i][0] == '.' && lines[i][1] >= 'A' && lines[i][1] <= 'Z')
			(void)printf("%s\n", lines[i]);
		else
			put_line(lines[i]);
	}
}
#define PUT_TEXT(...)                                  \
	put_text((const char *const[]){ __VA_ARGS__ }, \
	         sizeof((const char *const[]){ __VA_ARGS__ }) / sizeof(const char *))

/* ---- zonerelay.conf.5 ---- */

static void put_range(const struct config_key *key)
{
	struct buffer range = BUFFER_EMPTY;
	bool counted = key->type == CONFIG_INTEGER || key->type == CONFIG_SIZE ||
	               key->type == CONFIG_DURATION;
	if (key->type == CONFIG_ENUM) {
		for (const struct config_choice *choice = key->choices; choice->name != NULL;
		     choice++)
			buffer_printf(&range, "%s%s", choice == key->choices ? " " : ", ",
			              choice->name);
	} else if (counted && key->max != 0) {
		buffer_printf(&range, ", ");
		value_print_number(key->type, key->min, &range);
		buffer_printf(&range, " to ");
		value_print_number(key->type, key->max, &range);
		if (key->unit != NULL && key->unit[0] != '\0')
			buffer_printf(&range, " %s", key->unit);
	} else if (config_type_is_list(key->type)) {
		buffer_printf(&range, ", at most %u", (unsigned)key->max);
	}
	buffer_put_u8(&range, '\0');
	put((const char *)range.data);
	buffer_fini(&range);
}

static void put_key(const struct config_key *key)
{
	(void)printf(".TP\n.B ");
	put_line(key->path);
	put(key->text);
	(void)printf("\n(");
	put(config_type_name(key->type));
	put_range(key);
	if (key->required)
		put("; required");
	if (key->normal != NULL) {
		put("; ");
		put(strcmp(key->normal, ",") == 0 ? "a comma" : key->normal);
		put(" if not given");
	}
	if (key->reloadable)
		put("; reload");
	put(")\n");
}

static void put_keys(enum config_program program)
{
	const struct config_key *key;
	enum config_section section = SECTION_ROOT;
	for (size_t i = 0; (key = config_key_at(i)) != NULL; i++) {
		if ((key->programs & program) == 0)
			continue;
		if (key->section != section) {
			section = key->section;
			(void)printf(".SS ");
			put_line(config_section_at(section)->path);
			put_line(config_section_at(section)->text);
		}
		put_key(key);
	}
}

static void put_conf(void)
{
	put_head("zonerelay.conf", 5, "zonerelay.conf - configuration of zonerelay's programs");
	PUT_TEXT(
		".SH DESCRIPTION",
		"zonerelayd(8), zonerelay-edge(8) and zonerelay-devchain(8) each read one YAML "
		"file.",
		"Here a key is written with dots: limits.links is the key links in the group "
		"limits.",
		"A name in capitals stands for names of your own, and brackets for each item of a "
		"list.",
		"Keys that do not exist, or that are given twice, are mistakes; all mistakes of "
		"all",
		"files are reported at once, as file, line and column, before anything is touched.",
		"Anchors, aliases, tags and further documents are refused.", "",
		"A size is a whole number with its unit: B, KiB, MiB, GiB or TiB.",
		"A duration is a whole number with its unit: ms, s, min, h or d.",
		"A name has up to 64 letters, digits, '.', '-' and '_'.",
		"A relative path is relative to the folder of the file that names it.", "",
		"Keys marked reload take effect with SIGHUP, or with \"zonerelay config reload\";",
		"the others at the next start. A reload with a mistake in the file changes "
		"nothing.",
		".SH THE GATEWAY", "/etc/zonerelay/zone.yaml, for zonerelayd(8) and zonerelay(1).",
		"Each *.yaml file of chains-folder is a list like chains; thousands of them are "
		"fine.");
	put_keys(CONFIG_GATEWAY);
	PUT_TEXT(".SH THE AGENT", "/etc/zonerelay/edge.yaml, for zonerelay-edge(8).");
	put_keys(CONFIG_EDGE);
	PUT_TEXT(".SH THE DEVELOPER'S MAIN CHAIN", "For zonerelay-devchain(8).");
	put_keys(CONFIG_DEVCHAIN);
	PUT_TEXT(".SH SEE ALSO",
	         "zonerelay(1), zonerelayd(8), zonerelay-edge(8), zonerelay-devchain(8)");
}

/* ---- zonerelay.1 ---- */

static void put_command(enum command command)
{
	const struct command_row *row = command_row(command);
	(void)printf(".TP\n.B ");
	put(row->words);
	(void)printf("%s\\fI", row->synopsis[0] == '\0' ? "" : " ");
	put(row->synopsis);
	(void)printf("\\fR\n");
	put_line(row->text);
	if (row->more != NULL)
		put_line(row->more);
	if ((row->flags & COMMAND_OFFLINE) != 0)
		put_line("Works without the daemon.");
	bool any = false;
	for (unsigned option = 0; option < OPTION_COUNT; option++) {
		bool own = command_has_option(command, option) &&
		           !command_has_option(COMMAND_VERSION, option);
		if (own)
			(void)printf("%s\\fB", any ? ", " : "Options: ");
		if (own)
			put(command_option_row(option)->name);
		if (own)
			(void)printf("\\fR");
		any = any || own;
	}
	if (any)
		(void)printf(".\n");
}

static void put_options(void)
{
	(void)printf(".SH OPTIONS\nEvery command has ");
	bool any = false;
	for (unsigned option = 0; option < OPTION_COUNT; option++) {
		if (!command_has_option(COMMAND_VERSION, option))
			continue;
		(void)printf("%s", any ? ", " : "");
		put(command_option_row(option)->name);
		any = true;
	}
	put_line("; the others are named with their commands.");
	for (unsigned option = 0; option < OPTION_COUNT; option++) {
		const struct command_option_row *row = command_option_row(option);
		(void)printf(".TP\n.B ");
		put(row->name);
		if (row->value != NULL) {
			(void)printf(" \\fI");
			put(row->value);
			(void)printf("\\fR");
		}
		(void)putchar('\n');
		put_line(row->text);
	}
}

static void put_commands(void)
{
	put_head("zonerelay", 1, "zonerelay - look at a zonerelay gateway, and tell it what to do");
	PUT_TEXT(".SH SYNOPSIS", "zonerelay COMMAND [ARGUMENT...] [OPTION...]", ".SH DESCRIPTION",
	         "Most commands ask zonerelayd(8) over its control socket; those that say so work",
	         "without it. Results go to standard output, everything else to standard error.",
	         "",
	         "A command that changes something needs --reason: it goes into the audit table, "
	         "with",
	         "who asked. With --dry-run nothing is changed, and the answer is the same. A "
	         "request",
	         "that was cut off acts once, however often it is repeated by the program.", "",
	         "RANGES are heights: 5, 1..20, 1,10..20, or 7.. to the end.", ".SH COMMANDS");
	for (unsigned command = 0; command < COMMAND_COUNT; command++)
		put_command(command);
	put_options();
	PUT_TEXT(".SH EXIT STATUS", ".TP", "0", "Done, and all is well.", ".TP", "1", "Failed.",
	         ".TP", "2", "The command line makes no sense.", ".TP", "3",
	         "Done, but something needs attention.", ".TP", "4",
	         "An integrity violation: a bad block, a proof that proves nothing, a fork, a",
	         "difference between what the ends say.", ".TP", "71",
	         "The system gave no memory: for a hash, or for the answer.", ".SH ENVIRONMENT",
	         ".TP", "NO_COLOR", "If it is set, no colours, also on a terminal.", ".SH FILES",
	         ".TP", "/etc/zonerelay/zone.yaml", "The zone file, zonerelay.conf(5).", ".TP",
	         "/run/zonerelay/control.sock, /run/zonerelay/events.sock",
	         "Where the daemon is asked, and where its events come from.", ".SH EXAMPLES",
	         ".TP", "zonerelay status --json", "How the gateway stands, for a script.", ".TP",
	         "zonerelay chains add tq-0007 --format fabric --trust genesis.block "
	         "--agents edge-0007 --reason \"new site\"",
	         "Enrol a chain.", ".TP",
	         "zonerelay proof get tq-0007 4711 --out block.proof; zonerelay proof verify "
	         "block.proof --trusted main-chain.pem",
	         "Show somebody who trusts only the main chain that a block is anchored.",
	         ".SH SEE ALSO", "zonerelay.conf(5), zonerelayd(8), zonerelay-edge(8)");
}

/* ---- zonerelay-devchain.8 ---- */

static void put_word(const char *name, const char *value, const char *text)
{
	(void)printf(".TP\n.B ");
	put(name);
	if (value != NULL) {
		(void)printf(" \\fI");
		put(value);
		(void)printf("\\fR");
	}
	(void)putchar('\n');
	put_line(text);
}

static void put_misbehaviour(void)
{
	PUT_TEXT(".SH MISBEHAVIOUR",
	         "Rules come with --misbehave, or at run time with POST /dev/misbehave, which "
	         "replaces",
	         "those in force; GET /dev/misbehave tells what is left of them:", ".PP", ".EX",
	         "{ \"seed\": 7, \"rules\": [",
	         "  { \"do\": \"drop-after\", \"on\": \"submit\", "
	         "\"count\": 2 },",
	         "  { \"do\": \"slow\", \"ms\": 300, \"probability\": 0.2 } ] }", ".EE", ".PP",
	         "A rule acts each time it applies: at most count times if that is given, and with",
	         "probability if that is given, drawn from the seed. \"on\" names calls, one or a "
	         "list",
	         "of them: put, submit, lookup, head, fence, content; without it, all. The first "
	         "rule of",
	         "a kind that applies acts; rules of different kinds act side by side. \"do\" is "
	         "one "
	         "of:");
	for (enum misbehaviour kind = 0; misbehave_name(kind) != NULL; kind++)
		put_word(misbehave_name(kind), NULL, misbehave_text(kind));
}

static void put_devchain(void)
{
	struct devchain_word word;
	put_head("zonerelay-devchain", 8,
	         "zonerelay-devchain - a small honest main chain for developers");
	PUT_TEXT(".SH SYNOPSIS", "zonerelay-devchain [VERB] [OPTION...]", ".SH DESCRIPTION",
	         "Serves the main-chain API of docs/mainchain-api.yaml over a ledger of its own, "
	         "for",
	         "development, demonstrations and tests; not for service. It signs the headers of "
	         "its",
	         "blocks once they are final, so that evidence can be checked without it.", "",
	         "What it says is recorded is on the disk. A submission waits for the block that",
	         "records it; what waits when the program dies was never answered, and is absent.",
	         ".SH VERBS");
	for (size_t i = 0; devchain_verb_at(i, &word); i++)
		put_word(word.name, NULL, word.text);
	PUT_TEXT(".SH OPTIONS");
	for (size_t i = 0; devchain_option_at(i, &word); i++)
		put_word(word.name, word.value, word.text);
	put_misbehaviour();
	PUT_TEXT(".SH FOR DEVELOPERS", "Beside the API, with bodies and answers in JSON:", ".TP",
	         "GET /v1/audit?chain=NAME",
	         "Which heights of a side chain are in anchors, and how many of them more than "
	         "once.",
	         ".TP", "POST /dev/blocks {\"count\": N}", "Make N blocks now.", ".TP",
	         "POST /dev/snapshot {\"name\": NAME}", "Remember everything as it is.", ".TP",
	         "POST /dev/restore {\"name\": NAME}",
	         "Everything is again as it was then, final or not: a node restored from an old "
	         "copy.",
	         ".SH SIGNALS",
	         "SIGTERM and SIGINT end it; SIGHUP reads certificates and the log level "
	         "again.",
	         ".SH EXIT STATUS", ".TP", "0", "Ended as it was told to.", ".TP", "64",
	         "The command line makes no sense.", ".TP", "65", "A setting is impossible.", ".TP",
	         "69",
	         "A file cannot be read, the port is taken, or another process has the ledger.",
	         ".TP", "74", "The disk failed, or the ledger is damaged.", ".TP", "75",
	         "The disk is full.", ".TP", "78", "The configuration file has mistakes.",
	         ".SH FILES", ".TP", "DIR/ledger", "The ledger.", ".TP", "DIR/key.pem",
	         "The key that signs.", ".TP", "DIR/trusted.pem",
	         "What others are to trust: \"trusted\" in the zone file.", ".SH EXAMPLES", ".TP",
	         "zonerelay-devchain --dir /tmp/devchain",
	         "A main chain on 127.0.0.1:7480, made at the first start.", ".TP",
	         "curl -d '{\"rules\":[{\"do\":\"drop-after\",\"on\":\"submit\",\"count\":1}]}' "
	         "127.0.0.1:7480/dev/misbehave",
	         "Lose the answer to the next anchor.", ".SH SEE ALSO",
	         "zonerelay.conf(5), zonerelayd(8), zonerelay(1)");
}

int main(int argc, char **argv)
{
	if (argc == 2 && strcmp(argv[1], "conf") == 0)
		put_conf();
	else if (argc == 2 && strcmp(argv[1], "commands") == 0)
		put_commands();
	else if (argc == 2 && strcmp(argv[1], "devchain") == 0)
		put_devchain();
	else
		return 2;
	return 0;
}
