/* blocks.c -- zonerelay blocks verify: block files and folders, from a pinned block. */
#include <inttypes.h>
#include <string.h>

#include "adapters/sidechain/folder.h"
#include "relay/base/file.h"
#include "relay/cli/cli.h"

#define BLOCK_MAX  ((size_t)64 << 20)
#define PINNED_MAX ((size_t)64 << 20)

struct report {
	const struct cli *cli;
	json_t *blocks;  /* Owned; NULL without --json. */
	json_t *missing; /* Likewise: pairs. */
};

static void report_missing(struct report *report, const struct folder_block *block)
{
	if (report->missing != NULL)
		(void)json_array_append_new(report->missing,
		                            json_pack("[I,I]", (json_int_t)block->height,
		                                      (json_int_t)block->last_height));
	else if (block->height == block->last_height)
		cli_say("block %" PRIu64 " is missing", block->height);
	else
		cli_say("blocks %" PRIu64 " to %" PRIu64 " are missing", block->height,
		        block->last_height);
}

static json_t *block_json(const struct folder_block *block)
{
	bool known = block->height != HEIGHT_UNKNOWN;
	json_t *object = json_object();
	(void)json_object_set_new(object, "height",
	                          known ? json_integer((json_int_t)block->height) : json_null());
	(void)json_object_set_new(object, "hash", cli_json_hash(&block->hash));
	(void)json_object_set_new(object, "ok", json_boolean(block->verdict == FOLDER_OK));
	(void)json_object_set_new(object, "copies", json_integer((json_int_t)block->copy_count));
	(void)json_object_set_new(object, "path", json_string(block->path));
	if (block->reason != NULL)
		(void)json_object_set_new(object, "reason", json_string(block->reason));
	return object;
}

static void report_block(const struct folder_block *block, void *arg)
{
	struct report *report = arg;
	char hex[HASH_HEX_SIZE];
	if (block->verdict == FOLDER_MISSING) {
		report_missing(report, block);
		return;
	}
	if (report->blocks != NULL) {
		(void)json_array_append_new(report->blocks, block_json(block));
		return;
	}
	if (block->height == HEIGHT_UNKNOWN)
		(void)printf("- ");
	else
		(void)printf("%" PRIu64 " ", block->height);
	if (block->verdict == FOLDER_OK)
		(void)printf("%s OK\n", hash_hex(&block->hash, hex));
	else
		(void)printf("%s BAD %s\n", hash_hex(&block->hash, hex), block->reason);
}

static int conclude(struct report *report, const struct folder_totals *totals)
{
	cli_say("%zu heights: %zu blocks OK, %zu bad, %" PRIu64 " heights missing",
	        totals->height_count, totals->ok_count, totals->bad_count, totals->missing_count);
	if (report->blocks != NULL) {
		json_t *result = json_pack(
			"{s:I,s:I,s:I,s:O,s:O}", "heights", (json_int_t)totals->height_count, "ok",
			(json_int_t)totals->ok_count, "bad", (json_int_t)totals->bad_count,
			"missing", report->missing, "blocks", report->blocks);
		cli_json(report->cli, result);
	}
	if (totals->bad_count > 0)
		return EXIT_INTEGRITY;
	return totals->missing_count > 0 ? EXIT_DEGRADED : EXIT_OK;
}

static int verify(struct cli *cli, const struct folder_options *options)
{
	struct report report = { .cli = cli };
	struct folder_totals totals;
	struct err err;
	if (cli->json) {
		report.blocks = json_array();
		report.missing = json_array();
	}
	int status = folder_verify(options, report_block, &report, &totals, &err)
	                     ? conclude(&report, &totals)
	                     : cli_fail(cli, &err);
	json_decref(report.blocks);
	json_decref(report.missing);
	return status;
}

int cli_blocks_verify(struct cli *cli)
{
	const char *format = cli_option(cli, OPTION_FORMAT);
	const char *trust = cli_option(cli, OPTION_TRUST);
	const char *policy = cli_option(cli, OPTION_POLICY);
	struct folder_options options = { .policy = POLICY_ALL,
		                          .block_max_bytes = BLOCK_MAX,
		                          .paths = cli->line->arguments,
		                          .path_count = cli->line->argument_count };
	options.format = sidechain_find(format);
	if (options.format == NULL)
		return cli_usage(cli, "%s is no format that is known here", format);
	if (policy != NULL && !policy_from_name(policy, &options.policy))
		return cli_usage(cli, "--policy is all or tail, not %s", policy);
	struct buffer pinned = BUFFER_EMPTY;
	struct err err;
	int status;
	if (file_read(trust, PINNED_MAX, &pinned, &err)) {
		options.pinned = buffer_bytes(&pinned);
		status = verify(cli, &options);
	} else {
		status = cli_fail(cli, &err);
	}
	buffer_fini(&pinned);
	return status;
}
