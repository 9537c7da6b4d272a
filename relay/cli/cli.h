/* cli.h -- inside relay/cli: what the commands of "zonerelay" share.
 *
 * A command returns what the program exits with. Results go to standard output, everything else to
 * standard error; with --json the result is one line of JSON.
 */
#ifndef ZR_CLI_CLI_H
#define ZR_CLI_CLI_H

#include <jansson.h>
#include <stdio.h>

#include "config/config.h"
#include "relay/base/bytes.h"
#include "relay/base/err.h"
#include "relay/base/exit.h"
#include "relay/commands.h"
#include "spool/tools.h"

#define CLI_WORDS_MAX      256
#define CLI_CONFIG_DEFAULT "/etc/zonerelay/zone.yaml"
#define CLI_SOCKET_DEFAULT "/run/zonerelay/control.sock"
#define CLI_EVENTS_DEFAULT "/run/zonerelay/events.sock"

struct cli {
	const struct command_line *line;
	bool json;
	struct config *config; /* Owned; loaded by cli_config() when first asked for. */
};

/* Those that are done without the daemon; NULL in the table of main.c for the others. */
typedef int cli_command(struct cli *cli);
cli_command cli_blocks_verify, cli_proof_verify, cli_evidence_verify;
cli_command cli_spool_init, cli_spool_stat, cli_spool_verify, cli_spool_export, cli_spool_salvage;
cli_command cli_spool_backup, cli_spool_restore;
cli_command cli_chains_add, cli_certs, cli_config_check, cli_config_show, cli_dictionary_train;
cli_command cli_watch, cli_version, cli_completions, cli_help;

/* Asks the daemon, and prints its answer. */
int cli_ask(struct cli *cli);

/* ---- util.c ---- */

/* The value of an option; NULL: not given. */
const char *cli_option(const struct cli *cli, enum command_option option);
/* The index-th argument; NULL: not given. */
const char *cli_argument(const struct cli *cli, size_t index);

/* Says why, and gives what to exit with: EXIT_FAILED or what the macro names. */
int cli_fail(const struct cli *cli, const struct err *err);
int cli_usage(const struct cli *cli, const char *format, ...) __attribute__((format(printf, 2, 3)));
int cli_violation(const struct cli *cli, const struct err *err);
/* "zonerelay: ..." on standard error. */
void cli_say(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* From now on lack of memory for JSON ends the program with EXIT_SYSTEM: nobody asks each part. */
void cli_json_needs_memory(void);
/* With --json one line, otherwise nothing. Takes json. */
void cli_json(const struct cli *cli, json_t *take_json);
/* A hash as a JSON string. */
json_t *cli_json_hash(const struct hash *hash);

/* The zone file, whole and checked. NULL: its mistakes are printed, and err says so. */
struct config *cli_config(struct cli *cli, struct err *err);
/* Only what stands in the zone file itself, without the folder of chains, to find a socket or the
 * spool quickly. NULL: there is none that can be read. */
const struct config *cli_config_brief(struct cli *cli);
/* The path of the zone file. */
const char *cli_config_path(const struct cli *cli);

/* The spool's folder that is meant: the index-th argument, or the zone file's. NULL: neither. */
const char *cli_spool_dir(struct cli *cli, size_t index);
int cli_refuse_spool(struct cli *cli);
/* Of --size, or of the zone file. */
bool cli_spool_size(struct cli *cli, uint64_t *out_bytes, struct err *err) MUST_CHECK;

/* "64 MiB", "30 s", as in the zone file. */
bool cli_parse_size(const char *text, uint64_t *out_bytes, struct err *err) MUST_CHECK;
bool cli_parse_duration(const char *text, uint64_t *out_ms, struct err *err) MUST_CHECK;

/* Writes to the file of --out, whole or not at all; "-" is standard output. A file that is there is
 * not replaced. */
bool cli_write(const char *path, struct bytes bytes, unsigned mode, struct err *err) MUST_CHECK;
/* A progress line on a terminal, for long work. */
struct spool_progress cli_progress(void);
void cli_progress_end(void);

/* ---- print.c ---- */

/* The daemon's JSON as people read it. */
void cli_print(enum command command, const json_t *json, FILE *out);

#endif
