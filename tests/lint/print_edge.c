/* print_edge.c -- the manual page of zonerelay-edge from its table of commands and of reasons to
 * hold a chain. tests/lint/tables.py compares it with docs/man. */
#include <stdio.h>
#include <string.h>

#include "relay/base/exit.h"
#include "relay/edge/commands.h"
#include "relay/edge/upload.h"

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

/* Lines of running text; "" begins a paragraph, "." and a capital is a macro. */
static void put_text(const char *const *lines, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		if (lines[i][0] == '\0') {
			(void)printf(".PP\n");
		} else if (lines[i][0] == '.' && lines[i][1] >= 'A' && lines[i][1] <= 'Z') {
			(void)printf("%s\n", lines[i]);
		} else {
			if (lines[i][0] == '.')
				(void)fputs("\\&", stdout);
			put(lines[i]);
			(void)putchar('\n');
		}
	}
}
#define PUT_TEXT(...)                                  \
	put_text((const char *const[]){ __VA_ARGS__ }, \
	         sizeof((const char *const[]){ __VA_ARGS__ }) / sizeof(const char *))

static void put_item(const char *name, const char *rest, const char *text)
{
	(void)printf(".TP\n.B ");
	put(name);
	(void)printf(rest[0] == '\0' ? "" : " \\fI");
	put(rest);
	(void)printf(rest[0] == '\0' ? "\n" : "\\fR\n");
	put(text);
	(void)putchar('\n');
}

static void put_number(int number, const char *text)
{
	char name[16];
	(void)snprintf(name, sizeof(name), "%d", number);
	put_item(name, "", text);
}

static void put_what_it_does(void)
{
	PUT_TEXT(
		".SH DESCRIPTION",
		"Runs on the device at the edge. It follows a side chain in a folder, or keeps one",
		"of its own, brings every block to the gateway of its zone over one TLS link that "
		"it",
		"dials itself, and keeps the receipts for them. A block is verified before it is",
		"sent; a receipt is checked against the agent's own blocks before it counts.", "",
		"Everything that is told to others is on the disk first: it may be killed at any",
		"moment. What is kept: the ledger's entries and blocks, a header of each block, "
		"the",
		"newest custody receipts, and every anchor receipt, so that the proof of a block",
		"can be written when the block itself is long pruned.", "",
		"The first gateway store that takes a chain is pinned. Another one is refused "
		"until",
		"an operator, who has moved the chain there, says unpin: two stores could anchor "
		"the",
		"same block twice.");
}

static void put_sources(void)
{
	PUT_TEXT(
		".SH SOURCES", ".SS fabric-dir",
		"A folder that somebody else fills with block files. A height is taken from a name",
		"that ends in digits before .block (7.block, channel_7.block), or from the "
		"content.",
		"Hidden files and those that end in .tmp, .part, .partial or ~ are left alone, and",
		"a file that is still being written is waited for. Nothing is deleted there; the",
		"file STATE/CHAIN.prunable holds the height below which blocks may go.",
		".SS ledger",
		"The agent keeps the chain. Entries are lines of standard input, of a file that",
		"grows, or of a CSV file, or come from programs over a local socket. Files are",
		"followed through rotation and truncation. A line that is no entry is kept aside "
		"in",
		"DIR/CHAIN.refused.", "",
		"A block holds the entries of one interval (source.block-interval, a quarter "
		"hour).",
		"Where a CSV column is named time, that column decides which one, so that old",
		"readings give the same blocks however fast they come; a late entry goes into the",
		"block that is open. Size and count end a block early, nothing stays open for "
		"longer",
		"than an interval, and the end of standard input ends the last block.", "",
		"With csv.columns an entry is one JSON object whose values are strings, exactly as",
		"they stood in the line, in the order of the mapping.", "",
		"At the first start the genesis is made and written to the file that trust names.",
		"Give it to the zone. If that file is there and the store is not, the store was "
		"lost",
		"and the agent does not start: a second chain under one genesis would be a fork.",
		".SS The entry socket",
		"A Unix stream socket. The producer sends, without waiting, for each entry its "
		"size",
		"(4 bytes, big-endian) and the entry. The agent answers each in order with 13 "
		"bytes:",
		"the number 9 (4 bytes), a code (1 byte) and a number (8 bytes). Code 0: the entry "
		"is",
		"on the disk, and this is its number in the ledger. Code 1: it is empty or above",
		"source.entry-size; the connection ends. What was not answered was not promised:",
		"send it again.");
}

static void put_rest(void)
{
	PUT_TEXT(".SH SIGNALS", ".TP", ".B SIGTERM, SIGINT",
	         "Say goodbye and end, within three seconds.", ".TP", ".B SIGHUP",
	         "Read the configuration and the certificates again. A good link is kept. What "
	         "cannot",
	         "change while running is said in the log.", ".TP", ".B SIGUSR1",
	         "Write the state to the log, as JSON.");
	PUT_TEXT(".SH EXIT STATUS");
	put_number(EXIT_OK, "Fine. Of status: the link is up and no chain is held.");
	put_number(EXIT_FAILED, "The command failed, and said why.");
	put_number(EXIT_BAD_USAGE, "The command line is wrong.");
	put_number(EXIT_DEGRADED,
	           "Of status: the agent is not running, has no link, or a chain is held.");
	put_number(EXIT_STORE_MISSING,
	           "Of run: the ledger's store was lost. A restart cannot mend it.");
	put_number(EXIT_STORE_IO, "Of run: the disk failed or a store is damaged.");
	put_number(EXIT_CONFIG, "Of run: the configuration is wrong.");
	PUT_TEXT("Others are those of sysexits.h.", ".SH FILES", ".TP",
	         ".I /etc/zonerelay/edge.yaml",
	         "The configuration; config/edge.yaml is a commented sample.", ".TP",
	         ".I STATE/data.mdb, DIR/data.mdb",
	         "Stores of the agent and of each ledger. Do not copy a ledger's store back over",
	         "itself: the agent notices when the gateway has more, and seals nothing.", ".TP",
	         ".I STATE/*.dict", "Dictionaries that were fetched.", ".SH SEE ALSO",
	         "zonerelayd(8), zonerelay(1), zonerelay.conf(5)");
}

int main(void)
{
	(void)printf(".\\\" Made from the tables by tests/lint/tables.py --write: do not edit.\n"
	             ".TH zonerelay-edge 8 \"\" \"zonerelay %s\" \"zonerelay\"\n",
	             ZR_VERSION);
	PUT_TEXT(".SH NAME",
	         "zonerelay-edge - carries a side chain of this device to the zone's gateway",
	         ".SH SYNOPSIS", "zonerelay-edge [--config FILE] [COMMAND [ARGUMENT...]]");
	put_what_it_does();
	PUT_TEXT(".SH COMMANDS");
	for (int i = 0; command_at(i) != NULL; i++)
		put_item(command_at(i)->verb, command_at(i)->arguments, command_at(i)->text);
	PUT_TEXT(".SH OPTIONS");
	put_item("--config", "FILE", "Instead of /etc/zonerelay/edge.yaml.");
	put_item("--json", "", "One line of JSON for programs.");
	put_item("--help, --version", "", "Say so and end.");
	put_sources();
	PUT_TEXT(".SH HELD CHAINS",
	         "A chain that is held sends nothing; the others go on. The reasons, as status "
	         "names",
	         "them:");
	for (int hold = HOLD_NONE + 1; hold < HOLD_COUNT; hold++)
		put_item(upload_hold_name((enum upload_hold)hold), "",
		         upload_hold_text((enum upload_hold)hold));
	put_rest();
	return 0;
}
