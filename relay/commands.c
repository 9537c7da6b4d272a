/* commands.c -- the table of commands. See commands.h. To add a command: a row here, its place in
 * enum command, a handler in the daemon or the command line, its JSON in docs/CONTROL.md. */
#include "relay/commands.h"

#include <assert.h>

#define O(option) (UINT64_C(1) << OPTION_##option)

#define PAGE (O(AFTER) | O(LIMIT))

/* Those that every command has. */
#define COMMON (O(HELP) | O(JSON) | O(CONFIG) | O(SOCKET) | O(TIMEOUT))

#define CHANGES COMMAND_CHANGES
#define OFFLINE COMMAND_OFFLINE
#define DRY_RUN COMMAND_DRY_RUN

static const struct command_option_row option_rows[OPTION_COUNT] = {
	[OPTION_AFTER] = { "--after", "NAME|N", "Begin after this one: the next page." },
	[OPTION_AGENTS] = { "--agents", "ID,...", "Ids of the agents that may bring the chain." },
	[OPTION_ANCHORED] = { "--anchored", "HEIGHT",
	                      "First height that the main chain does not have yet." },
	[OPTION_CHAIN] = { "--chain", "NAME", "Only of this chain." },
	[OPTION_CLASS] = { "--class", "NAME", "Its class, or only of this class." },
	[OPTION_EPOCH] = { "--epoch", "HASH", "Hash of the genesis block that must be pinned." },
	[OPTION_HOLD_DELIVERY] = { "--hold-delivery", NULL,
	                           "Also stop delivering what is pending to the main chain." },
	[OPTION_LIMIT] = { "--limit", "N", "At most so many; 100 if it is not given." },
	[OPTION_NEXT] = { "--next", "HEIGHT", "Height at which the chain goes on." },
	[OPTION_STATE] = { "--state", "STATE", "Only in this state." },
	[OPTION_TIP] = { "--tip", "HASH", "Hash of the block before that height." },
	[OPTION_BLOCK] = { "--block", "FILE", "The block as it stands at its owner's." },
	[OPTION_CONFIG] = { "--config", "FILE",
	                    "The zone file; /etc/zonerelay/zone.yaml if it is not given." },
	[OPTION_DRY_RUN] = { "--dry-run", NULL, "Say what would be done, and do nothing." },
	[OPTION_EFFECTIVE] = { "--effective", NULL,
	                       "With all defaults, and where each value came from." },
	[OPTION_EVENTS] = { "--events", "PATH", "The daemon's event socket." },
	[OPTION_FORMAT] = { "--format", "FORMAT", "How the blocks are encoded: fabric or ledger." },
	[OPTION_HELP] = { "--help", NULL, "Say what the command does." },
	[OPTION_IN] = { "--in", "FILE", "Read it from this file." },
	[OPTION_JSON] = { "--json", NULL, "One line of JSON on standard output." },
	[OPTION_NO_ALLOCATE] = { "--no-allocate", NULL,
	                         "Let the file grow instead of taking its space now." },
	[OPTION_OUT] = { "--out", "FILE", "Write it to this file; - is standard output." },
	[OPTION_PACE] = { "--pace", "SIZE", "At most so many bytes per second." },
	[OPTION_POLICY] = { "--policy", "all|tail",
	                    "Whose signatures are verified; all if it is not given." },
	[OPTION_PROGRAM] = { "--program", "gateway|edge|devchain",
	                     "Whose configuration it is; the gateway's if it is not given." },
	[OPTION_REASON] = { "--reason", "TEXT", "Why, for the audit table." },
	[OPTION_SIZE] = { "--size", "SIZE", "Size of the store; the zone file's if not given." },
	[OPTION_SOCKET] = { "--socket", "PATH", "The daemon's control socket." },
	[OPTION_TIMEOUT] = { "--timeout", "DURATION",
	                     "How long to wait for the daemon; 30 s if it is not given." },
	[OPTION_TRUST] = { "--trust", "FILE",
	                   "The block that is pinned: a genesis or configuration block." },
	[OPTION_TRUSTED] = { "--trusted", "FILE",
	                     "The main chain's public keys or certificates, in PEM." },
	[OPTION_WITHIN] = { "--within", "DURATION",
	                    "How soon is soon to expire; 30 d if it is not given, and a tenth of "
	                    "it for lists." },
};

static const struct command_row rows[COMMAND_COUNT] = {
	[COMMAND_STATUS] = { "status", "", .text = "How the gateway stands, on one page.",
	                     .more = "Exits with 3 where something needs attention: a full spool, "
	                             "a lane that stopped, a frozen chain, a gap." },
	[COMMAND_CHAINS_LIST] = { "chains list", "", .options = PAGE | O(CLASS) | O(STATE),
	                          .text = "The chains, with state and watermarks." },
	[COMMAND_CHAINS_SHOW] = { "chains show", "NAME", 0, 1, 1,
	                          .text = "Everything about one chain." },
	[COMMAND_CHAINS_ADD] = { "chains add", "NAME", CHANGES | DRY_RUN | OFFLINE, 1, 1,
	                         O(FORMAT) | O(TRUST) | O(AGENTS) | O(CLASS) | O(POLICY) | O(EPOCH),
	                         .needs = O(FORMAT) | O(TRUST) | O(AGENTS),
	                         .text = "Enrol a chain: into the folder of chains, then reload.",
	                         .more = "Writes NAME.yaml and a copy of the pinned block into "
	                                 "chains-folder, checks the whole configuration with them, "
	                                 "and asks the daemon to reload it. If the daemon refuses, "
	                                 "the files are removed again; if it does not run, they "
	                                 "wait for its next start." },
	[COMMAND_CHAINS_RENEW] = { "chains renew", "NAME", CHANGES | DRY_RUN | COMMAND_SENDS, 1, 1,
	                           O(TRUST), .needs = O(TRUST),
	                           .text = "Admit a new epoch (a new genesis) under an old name.",
	                           .more = "The old epoch is retired: it takes no more blocks, and "
	                                   "what is pending is still delivered. This is not a "
	                                   "fork." },
	[COMMAND_CHAINS_MOVE] = { "chains move", "NAME",
	                          CHANGES | DRY_RUN | COMMAND_SENDS | COMMAND_GIVES, 1, 1,
	                          O(IN) | O(OUT),
	                          .text = "Hand a chain over to another gateway's store.",
	                          .more = "With --out the chain is retired here, and its tip, "
	                                  "watermark and trust set are written to the file; with "
	                                  "--in the other gateway takes it over from there. Its "
	                                  "agents must then forget the store that they have "
	                                  "pinned: zonerelay-edge unpin." },
	[COMMAND_CHAINS_FREEZE] = { "chains freeze", "NAME", CHANGES | DRY_RUN, 1, 1,
	                            O(HOLD_DELIVERY),
	                            .text = "Take no more blocks of a chain until it is "
	                                    "unfrozen." },
	[COMMAND_CHAINS_UNFREEZE] = { "chains unfreeze", "NAME", CHANGES | DRY_RUN, 1, 1,
	                              .text = "Take blocks of a frozen chain again.",
	                              .more = "A chain that was frozen because what it holds "
	                                      "cannot be read (reason \"unreadable\") has its "
	                                      "agent asked for that again. Where no agent has "
	                                      "it any more, give the chain a class whose "
	                                      "deliver needs less, or salvage the spool." },
	[COMMAND_ADOPT_CHAIN] = { "adopt chain", "NAME", CHANGES | DRY_RUN, 1, 1,
	                          O(NEXT) | O(TIP) | O(ANCHORED),
	                          .text = "After a restore: say where a chain goes on.",
	                          .more = "Without options, at what its agent still holds. Heights "
	                                  "that nobody holds any more are declared lost, with a "
	                                  "tombstone." },
	[COMMAND_ADOPT_LANE] = { "adopt lane", "LANE", CHANGES | DRY_RUN, 1, 1,
	                         .text = "After a restore: go on after the main chain's head of a "
	                                 "lane, and send again." },
	[COMMAND_ADOPT_STORE] = { "adopt store", "", CHANGES | DRY_RUN,
	                          .text = "After a restore: everything is adopted; the store "
	                                  "counts as whole again." },
	[COMMAND_PENDING] = { "pending", "[NAME]", 0, 0, 1, PAGE | O(CLASS),
	                      .text = "What is durable here and not yet final on the main chain." },
	[COMMAND_GAPS] = { "gaps", "[NAME]", 0, 0, 1, PAGE,
	                   .text = "Heights that are missing: lost, in quarantine, or not yet "
	                           "brought." },
	[COMMAND_RESYNC] = { "resync", "NAME RANGES", CHANGES | DRY_RUN, 2, 2,
	                     .text = "Ask the edge to send blocks again." },
	[COMMAND_REPLAY] = { "replay", "NAME RANGES", CHANGES | DRY_RUN, 2, 2,
	                     .text = "Send anchors to the main chain again from the spool: the "
	                             "same ones, under the same keys." },
	[COMMAND_ANCHORS_LIST] = { "anchors list", "", .options = PAGE | O(STATE),
	                           .text = "The anchors of the lane, newest last." },
	[COMMAND_ANCHORS_SHOW] = { "anchors show", "SEQ", 0, 1, 1,
	                           .text = "One anchor with its entries and attempts." },
	[COMMAND_ANCHORS_RETRY] = { "anchors retry", "[SEQ]", CHANGES | DRY_RUN, 0, 1,
	                            .text = "Try now what waits for its next try." },
	[COMMAND_QUARANTINE_LIST] = { "quarantine list", "", .options = PAGE | O(CHAIN),
	                              .text = "What arrived and failed verification." },
	[COMMAND_QUARANTINE_SHOW] = { "quarantine show", "NUMBER", COMMAND_GIVES, 1, 1, O(OUT),
	                              .text = "One item; with --out its bytes as they arrived." },
	[COMMAND_QUARANTINE_RELEASE] = { "quarantine release", "NUMBERS", CHANGES | DRY_RUN, 1, 1,
	                                 .text = "Verify items again under the trust set in force, "
	                                         "and let in what passes." },
	[COMMAND_QUARANTINE_REJECT] = { "quarantine reject", "NUMBERS", CHANGES | DRY_RUN, 1, 1,
	                                .text = "Remove items for good; a tombstone remains." },
	[COMMAND_EVIDENCE_LIST] = { "evidence list", "", .options = PAGE | O(CHAIN),
	                            .text = "Chains that signed two blocks at one height." },
	[COMMAND_EVIDENCE_EXPORT] = { "evidence export", "NUMBER", COMMAND_GIVES, 1, 1, O(OUT),
	                              .needs = O(OUT), .text = "Write one bundle to a file." },
	[COMMAND_EVIDENCE_VERIFY] = { "evidence verify", "FILE", OFFLINE, 1, 1, O(TRUST),
	                              .text = "Does a bundle prove that a chain forked?",
	                              .more = "With --trust the bundle's trust set must be the one "
	                                      "of that pinned block; without it the set inside is "
	                                      "believed, and the output says so." },
	[COMMAND_PROOF_GET] = { "proof get", "NAME HEIGHT", COMMAND_GIVES, 2, 2, O(OUT),
	                        .needs = O(OUT),
	                        .text = "Write the proof that a block is anchored to a file." },
	[COMMAND_PROOF_VERIFY] = { "proof verify", "FILE", OFFLINE, 1, 1, O(TRUSTED) | O(BLOCK),
	                           .text = "Check a proof against nothing but the main chain's "
	                                   "keys.",
	                           .more = "One line for each check that was made." },
	[COMMAND_BLOCKS_VERIFY] = { "blocks verify", "PATH...", OFFLINE, 1, COMMAND_ARGUMENTS_MAX,
	                            O(FORMAT) | O(TRUST) | O(POLICY), .needs = O(FORMAT) | O(TRUST),
	                            .text = "Verify block files or folders in height order from a "
	                                    "pinned block.",
	                            .more = "One line for each block: HEIGHT HASH OK, or HEIGHT "
	                                    "HASH BAD and the reason. Copies of a block with other "
	                                    "signatures are each checked and count as one height; "
	                                    "two different blocks at one height are a fork." },
	[COMMAND_RECONCILE] = { "reconcile", "[NAME...]", 0, 0, COMMAND_ARGUMENTS_MAX, PAGE,
	                        .text = "Compare edge, spool and main chain for each chain.",
	                        .more = "Exits with 4 on any difference." },
	[COMMAND_SPOOL_INIT] = { "spool init", "[DIR]", OFFLINE, 0, 1, O(SIZE) | O(NO_ALLOCATE),
	                         .text = "Make an empty spool and take its disk space." },
	[COMMAND_SPOOL_STAT] = { "spool stat", "[DIR]", OFFLINE, 0, 1,
	                         .text = "How full a spool is, and with what." },
	[COMMAND_SPOOL_VERIFY] = { "spool verify", "[DIR]", OFFLINE, 0, 1,
	                           .text = "Check every checksum and every invariant of a spool.",
	                           .more = "The daemon may run; only with it stopped are all rows "
	                                   "judged as of one moment." },
	[COMMAND_SPOOL_EXPORT] = { "spool export", "NAME RANGES [DIR]", OFFLINE, 2, 3, O(OUT),
	                           .needs = O(OUT),
	                           .text = "Write blocks of a chain from the spool into a folder.",
	                           .more = "One file for each block, NAME_HEIGHT.block, in the "
	                                   "folder of --out." },
	[COMMAND_SPOOL_SALVAGE] = { "spool salvage", "[DIR]", OFFLINE, 0, 1, O(OUT),
	                            .needs = O(OUT),
	                            .text = "Read whole batches out of a damaged spool, without "
	                                    "its tree.",
	                            .more = "Writes a record stream for \"spool restore\"." },
	[COMMAND_SPOOL_BACKUP] = { "spool backup", "[DIR]", OFFLINE, 0, 1,
	                           O(OUT) | O(CHAIN) | O(PACE), .needs = O(OUT),
	                           .text = "Copy a spool into a portable file, beside a running "
	                                   "daemon." },
	[COMMAND_SPOOL_RESTORE] = { "spool restore", "[DIR]", OFFLINE, 0, 1,
	                            O(IN) | O(SIZE) | O(NO_ALLOCATE), .needs = O(IN),
	                            .text = "Make a new spool from a backup or from what was "
	                                    "salvaged.",
	                            .more = "The daemon then sends nothing until \"adopt\" has "
	                                    "said what became of the time since the backup." },
	[COMMAND_CERTS] = { "certs", "", OFFLINE, .options = O(WITHIN),
	                    .text = "Certificates and revocation lists of the zone file, and when "
	                            "they expire.",
	                    .more = "Exits with 3 where one expires soon or has expired." },
	[COMMAND_CONFIG_CHECK] = { "config check", "[FILE]", OFFLINE, 0, 1, O(PROGRAM),
	                           .text = "Check the zone file and everything that it names.",
	                           .more = "All mistakes at once, as FILE:LINE:COLUMN and a "
	                                   "sentence." },
	[COMMAND_CONFIG_SHOW] = { "config show", "[FILE]", OFFLINE, 0, 1, O(EFFECTIVE) | O(PROGRAM),
	                          .text = "Print the zone file as it was understood." },
	[COMMAND_CONFIG_RELOAD] = { "config reload", "", CHANGES | DRY_RUN,
	                            .text = "Read the zone file, certificates and revocation lists "
	                                    "again, as SIGHUP does, and say what changed." },
	[COMMAND_LOG_LEVEL] = { "log level", "[LEVEL]", 0, 0, 1,
	                        .text = "Show or set the log level, until the next start." },
	[COMMAND_AUDIT_LIST] = { "audit list", "", .options = PAGE,
	                         .text = "What operators did, and why." },
	[COMMAND_AUDIT_VERIFY] = { "audit verify", "",
	                           .text = "Is each audit record bound to the one before?" },
	[COMMAND_DICTIONARY_ADD] = { "dictionary add", "FILE", CHANGES | DRY_RUN | COMMAND_SENDS, 1,
	                             1, .text = "Install a dictionary for compression." },
	[COMMAND_DICTIONARY_LIST] = { "dictionary list", "",
	                              .text = "The dictionaries that are installed." },
	[COMMAND_DICTIONARY_TRAIN] = { "dictionary train", "PATH...", OFFLINE, 1,
	                               COMMAND_ARGUMENTS_MAX, O(OUT) | O(SIZE), .needs = O(OUT),
	                               .text = "Make a dictionary from block files or folders." },
	[COMMAND_WATCH] = { "watch", "[EVENT...]", OFFLINE, 0, COMMAND_ARGUMENTS_MAX, O(EVENTS),
	                    .text = "Print events as they happen, until interrupted." },
	[COMMAND_VERSION] = { "version", "", OFFLINE,
	                      .text = "Version of this program and of its libraries." },
	[COMMAND_COMPLETIONS] = { "completions", "bash|zsh", OFFLINE, 1, 1,
	                          .text = "Print the completion file of a shell." },
	[COMMAND_HELP] = { "help", "[COMMAND...]", OFFLINE, 0, 2,
	                   .text = "Say what there is, or what a command does." },
};

const struct command_row *command_row(enum command command)
{
	assert(command < COMMAND_COUNT);
	return &rows[command];
}

const struct command_option_row *command_option_row(enum command_option option)
{
	assert(option < OPTION_COUNT);
	return &option_rows[option];
}

bool command_has_option(enum command command, enum command_option option)
{
	const struct command_row *row = command_row(command);
	uint64_t options = row->options | COMMON;
	if ((row->flags & COMMAND_CHANGES) != 0)
		options |= O(REASON);
	if ((row->flags & COMMAND_DRY_RUN) != 0)
		options |= O(DRY_RUN);
	return (options & (UINT64_C(1) << option)) != 0;
}
