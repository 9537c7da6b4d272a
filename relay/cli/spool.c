/* spool.c -- zonerelay spool: what is done to a store from outside. */
#include "spool/spool.h"
#include "relay/base/clock.h"
#include "relay/cli/cli.h"
#include "relay/cli/print.h"

/* ---- init ---- */

int cli_spool_init(struct cli *cli)
{
	struct spool_create_options options = {
		.dir = cli_spool_dir(cli, 0),
		.allocate = cli_option(cli, OPTION_NO_ALLOCATE) == NULL,
		.now_ms = clock_wall_ms(clock_system()),
	};
	struct err err;
	if (options.dir == NULL)
		return cli_refuse_spool(cli);
	if (!cli_spool_size(cli, &options.size_bytes, &err))
		return cli_usage(cli, "%s", err.message);
	if (!spool_create(&options, &err))
		return cli_fail(cli, &err);
	cli_json(cli, json_pack("{s:s,s:I,s:b}", "dir", options.dir, "size_bytes",
	                        (json_int_t)options.size_bytes, "allocated", options.allocate));
	if (!cli->json) {
		char size[PRINT_SIZE];
		(void)printf("made an empty spool of %s in %s\n",
		             print_bytes(options.size_bytes, size), options.dir);
	}
	return EXIT_OK;
}

/* ---- stat ---- */

static json_t *stats_json(const char *dir, const struct spool_stats *stats, const uint8_t *uuid)
{
	const struct spool_totals *totals = &stats->totals;
	char hex[2 * STORE_UUID_SIZE + 1];
	json_t *rows = json_object();
	for (unsigned table = 0; table < SPOOL_TABLE_COUNT; table++)
		(void)json_object_set_new(rows, spool_table_name(table),
		                          json_integer((json_int_t)stats->store.row_counts[table]));
	return json_pack(
		"{s:s,s:s,s:I,s:I,s:I,s:b,s:I,s:I,s:I,s:I,s:{s:I,s:I,s:I,s:I,s:I},s:I,s:I,s:o}",
		"dir", dir, "store_uuid", hex_encode((struct bytes){ uuid, STORE_UUID_SIZE }, hex),
		"used_bytes", (json_int_t)stats->used_bytes, "limit_bytes",
		(json_int_t)stats->limit_bytes, "mark_bytes", (json_int_t)stats->mark_bytes, "full",
		stats->intake_full, "chains", (json_int_t)totals->chain_count, "held_batches",
		(json_int_t)totals->held_batches, "held_bytes", (json_int_t)totals->held_bytes,
		"final_bytes", (json_int_t)totals->final_bytes, "blocks", "received",
		(json_int_t)totals->received_blocks, "duplicates",
		(json_int_t)totals->duplicate_blocks, "anchored",
		(json_int_t)totals->anchored_blocks, "quarantined",
		(json_int_t)totals->quarantined_blocks, "tombstoned",
		(json_int_t)totals->tombstoned_blocks, "anchors", (json_int_t)totals->anchor_count,
		"restored_ms", (json_int_t)totals->restored_ms, "rows", rows);
}

int cli_spool_stat(struct cli *cli)
{
	const struct spool_options options = { .dir = cli_spool_dir(cli, 0), .mode = STORE_READ };
	struct spool *spool = NULL;
	struct spool_stats stats;
	struct err err;
	if (options.dir == NULL)
		return cli_refuse_spool(cli);
	if (!spool_open(&spool, &options, &err))
		return cli_fail(cli, &err);
	int status = EXIT_OK;
	if (spool_stats(spool, &stats, &err)) {
		json_t *json = stats_json(options.dir, &stats, spool_uuid(spool));
		if (!cli->json)
			cli_print(COMMAND_SPOOL_STAT, json, stdout);
		cli_json(cli, json);
		status = stats.intake_full ? EXIT_DEGRADED : EXIT_OK;
	} else {
		status = cli_fail(cli, &err);
	}
	spool_close(spool);
	return status;
}
