/* spool_stream.c -- zonerelay spool verify, backup, restore and salvage. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <unistd.h>

#include "relay/base/clock.h"
#include "relay/base/file.h"
#include "relay/cli/cli.h"
#include "relay/cli/print.h"
#include "spool/chains.h"
#include "spool/tools.h"

/* ---- verify ---- */

struct faults {
	const struct cli *cli;
	json_t *lines; /* Owned. */
};

#define FAULT_LINES_MAX 10000

static void on_fault(const char *line, void *arg)
{
	struct faults *faults = arg;
	if (!faults->cli->json)
		(void)printf("%s\n", line);
	else if (json_array_size(faults->lines) < FAULT_LINES_MAX)
		(void)json_array_append_new(faults->lines, json_string(line));
}

static int conclude_verify(const struct cli *cli, const struct spool_verify_result *result,
                           json_t *faults)
{
	cli_json(cli, json_pack("{s:b,s:I,s:I,s:I,s:I,s:I,s:I,s:O}", "ok", result->fault_count == 0,
	                        "rows", (json_int_t)result->row_count, "chains",
	                        (json_int_t)result->chain_count, "batches",
	                        (json_int_t)result->batch_count, "blocks",
	                        (json_int_t)result->block_count, "payload_bytes",
	                        (json_int_t)result->payload_bytes, "fault_count",
	                        (json_int_t)result->fault_count, "faults", faults));
	if (!cli->json)
		(void)printf("%" PRIu64 " rows, %" PRIu64 " chains, %" PRIu64 " batches, %" PRIu64
		             " blocks: %" PRIu64 " faults\n",
		             result->row_count, result->chain_count, result->batch_count,
		             result->block_count, result->fault_count);
	return result->fault_count == 0 ? EXIT_OK : EXIT_INTEGRITY;
}

int cli_spool_verify(struct cli *cli)
{
	const char *dir = cli_spool_dir(cli, 0);
	struct spool_verify_result result;
	struct err err;
	if (dir == NULL)
		return cli_refuse_spool(cli);
	struct faults faults = { cli, json_array() };
	struct spool_progress progress = cli_progress();
	bool looked = spool_verify(dir, on_fault, &faults, &progress, &result, &err);
	cli_progress_end();
	int status = looked ? conclude_verify(cli, &result, faults.lines) : cli_fail(cli, &err);
	json_decref(faults.lines);
	return status;
}

/* ---- the record stream, out ---- */

/* A new file, or standard output. */
static bool open_out(struct file_out *out, const char *path, struct err *err)
{
	if (strcmp(path, "-") != 0)
		return file_begin(out, path, 0600, err);
	*out = (struct file_out){ .path = path, .fd = STDOUT_FILENO };
	return true;
}

/* A stream is only there when it is on the disk; a torn one is taken away again. */
static bool close_out(struct file_out *out, bool good, struct err *err)
{
	if (out->fd == STDOUT_FILENO)
		return good;
	if (good)
		return file_finish(out, err);
	file_abandon(out);
	return false;
}

static int report_stream(const struct cli *cli, const char *what, const char *path,
                         const struct spool_stream_result *result)
{
	char size[PRINT_SIZE];
	/* A stream on standard output leaves no room for a result there. */
	bool on_stdout = strcmp(path, "-") == 0;
	if (!on_stdout)
		cli_json(cli, json_pack("{s:s,s:I,s:I,s:I,s:I}", "file", path, "rows",
		                        (json_int_t)result->row_count, "chains",
		                        (json_int_t)result->chain_count, "batches",
		                        (json_int_t)result->batch_count, "bytes",
		                        (json_int_t)result->byte_count));
	cli_say("%s: %" PRIu64 " rows, %" PRIu64 " chains, %" PRIu64 " batches, %s", what,
	        result->row_count, result->chain_count, result->batch_count,
	        print_bytes(result->byte_count, size));
	return EXIT_OK;
}

/* Only the chain of --chain. */
static bool find_chain(const char *dir, const char *name, struct chain_key *out_key,
                       struct err *err)
{
	const struct spool_options options = { .dir = dir, .mode = STORE_READ };
	struct spool *spool = NULL;
	struct spool_chain chain;
	if (!spool_open(&spool, &options, err))
		return false;
	bool found = spool_chain_by_name(spool, name, &chain, err);
	if (found)
		*out_key = chain.key;
	spool_close(spool);
	return found;
}

static int run_backup(struct cli *cli, struct spool_backup_options *options, const char *path)
{
	struct spool_stream_result result;
	struct file_out out;
	struct err err;
	if (!open_out(&out, path, &err))
		return cli_fail(cli, &err);
	options->fd = out.fd;
	bool good = spool_backup(options, &result, &err);
	cli_progress_end();
	if (!close_out(&out, good, &err))
		return cli_fail(cli, &err);
	return report_stream(cli, "backed up", path, &result);
}

int cli_spool_backup(struct cli *cli)
{
	const char *out = cli_option(cli, OPTION_OUT);
	const char *chain = cli_option(cli, OPTION_CHAIN);
	const char *pace = cli_option(cli, OPTION_PACE);
	struct spool_backup_options options = { .dir = cli_spool_dir(cli, 0),
		                                .progress = cli_progress() };
	struct chain_key key;
	uint64_t pace_bytes = 0;
	struct err err;
	if (options.dir == NULL)
		return cli_refuse_spool(cli);
	if (pace != NULL && (!cli_parse_size(pace, &pace_bytes, &err) || pace_bytes > UINT32_MAX))
		return cli_usage(cli, "--pace is a number of bytes below 4 GiB, not %s", pace);
	options.pace_bytes_per_s = (uint32_t)pace_bytes;
	if (chain != NULL && !find_chain(options.dir, chain, &key, &err))
		return cli_fail(cli, &err);
	options.chain = chain == NULL ? NULL : &key;
	return run_backup(cli, &options, out);
}

int cli_spool_salvage(struct cli *cli)
{
	const char *dir = cli_spool_dir(cli, 0);
	const char *path = cli_option(cli, OPTION_OUT);
	struct spool_salvage_result result;
	struct file_out out;
	struct err err;
	if (dir == NULL)
		return cli_refuse_spool(cli);
	if (!open_out(&out, path, &err))
		return cli_fail(cli, &err);
	struct spool_progress progress = cli_progress();
	bool good = spool_salvage(dir, out.fd, &progress, &result, &err);
	cli_progress_end();
	if (!close_out(&out, good, &err))
		return cli_fail(cli, &err);
	if (out.fd != STDOUT_FILENO)
		cli_json(cli, json_pack("{s:s,s:I,s:I,s:I,s:I}", "file", path, "pages",
		                        (json_int_t)result.page_count, "batches",
		                        (json_int_t)result.batch_count, "damaged",
		                        (json_int_t)result.damaged_count, "chains",
		                        (json_int_t)result.chain_count));
	cli_say("salvaged %" PRIu64 " batches of %" PRIu64 " chains from %" PRIu64
	        " pages; %" PRIu64 " are damaged",
	        result.batch_count, result.chain_count, result.page_count, result.damaged_count);
	return result.damaged_count == 0 ? EXIT_OK : EXIT_INTEGRITY;
}

/* ---- the record stream, in ---- */

static int run_restore(struct cli *cli, struct spool_restore_options *options, const char *in)
{
	struct spool_stream_result result;
	struct err err;
	bool on_stdin = strcmp(in, "-") == 0;
	options->fd = on_stdin ? STDIN_FILENO : open(in, O_RDONLY | O_CLOEXEC);
	if (options->fd < 0) {
		err_set(&err, ZR_UNAVAILABLE, "%s: %s", in, strerror(errno));
		return cli_fail(cli, &err);
	}
	bool good = spool_restore(options, &result, &err);
	cli_progress_end();
	if (!on_stdin)
		(void)close(options->fd);
	if (!good)
		return err.code == ZR_CORRUPT ? cli_violation(cli, &err) : cli_fail(cli, &err);
	return report_stream(cli, "restored", options->dir, &result);
}

int cli_spool_restore(struct cli *cli)
{
	struct spool_restore_options options = {
		.dir = cli_spool_dir(cli, 0),
		.allocate = cli_option(cli, OPTION_NO_ALLOCATE) == NULL,
		.now_ms = clock_wall_ms(clock_system()),
		.progress = cli_progress(),
	};
	const char *in = cli_option(cli, OPTION_IN);
	struct err err;
	if (options.dir == NULL)
		return cli_refuse_spool(cli);
	if (!cli_spool_size(cli, &options.size_bytes, &err))
		return cli_usage(cli, "%s", err.message);
	return run_restore(cli, &options, in);
}
