/* commands.h -- the one table of commands, for the daemon and for its command line.
 *
 * A row says everything about its command: the words, the arguments, the options, who does it and
 * the sentences of --help and of the manual page. The command line parses with it and sends the
 * words; the daemon parses the same words with it again and calls handlers[row->command].
 * docs/CONTROL.md has the JSON that each command answers with.
 */
#ifndef ZR_RELAY_COMMANDS_H
#define ZR_RELAY_COMMANDS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "relay/base/err.h"

enum command {
	COMMAND_STATUS,
	COMMAND_CHAINS_LIST,
	COMMAND_CHAINS_SHOW,
	COMMAND_CHAINS_ADD,
	COMMAND_CHAINS_RENEW,
	COMMAND_CHAINS_MOVE,
	COMMAND_CHAINS_FREEZE,
	COMMAND_CHAINS_UNFREEZE,
	COMMAND_ADOPT_CHAIN,
	COMMAND_ADOPT_LANE,
	COMMAND_ADOPT_STORE,
	COMMAND_PENDING,
	COMMAND_GAPS,
	COMMAND_RESYNC,
	COMMAND_REPLAY,
	COMMAND_ANCHORS_LIST,
	COMMAND_ANCHORS_SHOW,
	COMMAND_ANCHORS_RETRY,
	COMMAND_QUARANTINE_LIST,
	COMMAND_QUARANTINE_SHOW,
	COMMAND_QUARANTINE_RELEASE,
	COMMAND_QUARANTINE_REJECT,
	COMMAND_EVIDENCE_LIST,
	COMMAND_EVIDENCE_EXPORT,
	COMMAND_EVIDENCE_VERIFY,
	COMMAND_PROOF_GET,
	COMMAND_PROOF_VERIFY,
	COMMAND_BLOCKS_VERIFY,
	COMMAND_RECONCILE,
	COMMAND_SPOOL_INIT,
	COMMAND_SPOOL_STAT,
	COMMAND_SPOOL_VERIFY,
	COMMAND_SPOOL_EXPORT,
	COMMAND_SPOOL_SALVAGE,
	COMMAND_SPOOL_BACKUP,
	COMMAND_SPOOL_RESTORE,
	COMMAND_CERTS,
	COMMAND_CONFIG_CHECK,
	COMMAND_CONFIG_SHOW,
	COMMAND_CONFIG_RELOAD,
	COMMAND_LOG_LEVEL,
	COMMAND_AUDIT_LIST,
	COMMAND_AUDIT_VERIFY,
	COMMAND_DICTIONARY_ADD,
	COMMAND_DICTIONARY_LIST,
	COMMAND_DICTIONARY_TRAIN,
	COMMAND_WATCH,
	COMMAND_VERSION,
	COMMAND_COMPLETIONS,
	COMMAND_HELP,
	COMMAND_COUNT,
};

/* Options of commands. --reason and --dry-run are fields of the request, not words of it; those
 * marked local never leave the command line. */
enum command_option {
	/* sent to the daemon among the words */
	OPTION_AFTER,
	OPTION_AGENTS,
	OPTION_ANCHORED,
	OPTION_CHAIN,
	OPTION_CLASS,
	OPTION_EPOCH,
	OPTION_HOLD_DELIVERY,
	OPTION_LIMIT,
	OPTION_NEXT,
	OPTION_STATE,
	OPTION_TIP,
	/* local */
	OPTION_BLOCK,
	OPTION_CONFIG,
	OPTION_DRY_RUN,
	OPTION_EFFECTIVE,
	OPTION_EVENTS,
	OPTION_FORMAT,
	OPTION_HELP,
	OPTION_IN,
	OPTION_JSON,
	OPTION_NO_ALLOCATE,
	OPTION_OUT,
	OPTION_PACE,
	OPTION_POLICY,
	OPTION_PROGRAM,
	OPTION_REASON,
	OPTION_SIZE,
	OPTION_SOCKET,
	OPTION_TIMEOUT,
	OPTION_TRUST,
	OPTION_TRUSTED,
	OPTION_WITHIN,
	OPTION_COUNT,
};
#define OPTION_FIRST_LOCAL OPTION_BLOCK

struct command_option_row {
	const char *name;  /* "--limit" */
	const char *value; /* "N": it takes one; NULL: it is a switch. */
	const char *text;
};

/* What a row can be marked with. */
enum {
	COMMAND_OFFLINE = 1 << 0, /* The command line does it itself, without the daemon. */
	COMMAND_CHANGES = 1 << 1, /* Needs --reason; goes into the audit table; acts once per id. */
	COMMAND_DRY_RUN = 1 << 2, /* --dry-run says what it would do, and does nothing. */
	COMMAND_SENDS = 1 << 3,   /* The file of --trust, --in or FILE goes along as attachment. */
	COMMAND_GIVES = 1 << 4,   /* --out FILE gets the answer's attachment. */
};

struct command_row {
	const char *words;    /* "chains list" */
	const char *synopsis; /* "[NAME]": arguments only; the options are listed from the masks. */
	unsigned flags;
	unsigned argument_min, argument_max;
	uint64_t options; /* 1 << enum command_option. Those that all have are not in it. */
	uint64_t needs;   /* Those of them that must be given. */
	const char *text; /* One sentence. */
	const char *more; /* For the manual page; may be NULL. */
};

/* Rows in the order of enum command. */
const struct command_row *command_row(enum command command);
const struct command_option_row *command_option_row(enum command_option option);
/* Has this command this option? Counts those that all have, and those that follow from flags. */
bool command_has_option(enum command command, enum command_option option);

#define COMMAND_ARGUMENTS_MAX 200

/* One command line, taken apart. Borrows its words. */
struct command_line {
	enum command command;
	const struct command_row *row;
	const char *const *verbs; /* The command's own words, */
	size_t verb_count;
	const char *arguments[COMMAND_ARGUMENTS_MAX]; /* and what follows them. */
	size_t argument_count;
	const char *options[OPTION_COUNT]; /* The value; "" for a switch; NULL where not given. */
};

/* Takes words apart. "--name value" and "--name=value" are the same; "--" ends the options.
 * Errors: ZR_INVALID  a sentence: "chains lst: no such command; chains has: list, show, ...". */
bool command_parse(const char *const *words, size_t word_count, struct command_line *out_line,
                   struct err *err) MUST_CHECK;

/* Is everything given that the command needs? For the command line: --reason and local options are
 * no words that the daemon sees.
 * Errors: ZR_INVALID  a sentence. */
bool command_check_needs(const struct command_line *line, struct err *err) MUST_CHECK;

/* The words to send to the daemon: the command's, its arguments and its options that are not local.
 * At most COMMAND_WORDS_MAX; borrows from line. Returns how many. */
#define COMMAND_WORDS_MAX (COMMAND_ARGUMENTS_MAX + 2 * OPTION_FIRST_LOCAL + 4)
size_t command_words(const struct command_line *line,
                     const char *out_words[static COMMAND_WORDS_MAX]);

/* ---- values of arguments and options, for both sides ---- */

/* Heights as people write them: "5", "1..20", "1,10..20", "7.." (to the end). In order, apart from
 * each other, at most RANGES_MAX. Both ends within. */
#define RANGES_MAX 64
struct ranges {
	struct {
		uint64_t from, to; /* to is UINT64_MAX for "to the end". */
	} items[RANGES_MAX];
	size_t count;
};
bool ranges_parse(const char *text, struct ranges *out_ranges, struct err *err) MUST_CHECK;
bool ranges_contain(const struct ranges *ranges, uint64_t height);

/* A whole number, 0 to max. what is for the sentence: "a height". */
bool command_number(const char *text, const char *what, uint64_t max, uint64_t *out_number,
                    struct err *err) MUST_CHECK;

#endif
