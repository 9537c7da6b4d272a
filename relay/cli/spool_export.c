/* spool_export.c -- zonerelay spool export: blocks out of the spool, one file each. */
#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>

#include "proto/compress.h"
#include "relay/base/file.h"
#include "relay/cli/cli.h"
#include "spool/audit.h"
#include "spool/batches.h"

#define BLOCK_MAX ((size_t)64 << 20)

struct export_job {
	struct spool *spool;
	struct spool_chain chain;
	struct ranges ranges;
	uint64_t from, to; /* The one of them at hand. */
	const char *folder;
	struct decompressor *decompressor;
	struct buffer payload;    /* Of the batch at hand, */
	struct buffer raw;        /* decompressed. */
	struct buffer dictionary; /* Of the batch at hand. */
	uint64_t written, missing;
};

/* Writes one block, checked against the hash that the spool knows for its height. */
static bool write_block(struct export_job *job, struct bytes block, uint64_t height,
                        struct err *err)
{
	struct buffer path = BUFFER_EMPTY;
	buffer_printf(&path, "%s/%s_%" PRIu64 ".block", job->folder, job->chain.id.name, height);
	buffer_put_u8(&path, '\0');
	bool written = buffer_ok(&path, err) &&
	               file_write_atomic((const char *)path.data, block, 0644, err);
	buffer_fini(&path);
	if (written)
		job->written++;
	return written;
}

static bool decompress(struct export_job *job, const struct spool_batch_info *info, struct err *err)
{
	struct dictionary *dictionary = NULL;
	buffer_clear(&job->raw);
	if (info->codec == CODEC_NONE) {
		buffer_put(&job->raw, buffer_bytes(&job->payload));
		return buffer_ok(&job->raw, err);
	}
	if (!hash_is_zero(&info->dictionary)) {
		buffer_clear(&job->dictionary);
		if (!spool_dictionary_get(job->spool, &info->dictionary, &job->dictionary, err) ||
		    !dictionary_new(&dictionary, buffer_bytes(&job->dictionary), 3, err))
			return false;
	}
	bool good = decompressor_run(job->decompressor, buffer_bytes(&job->payload), dictionary,
	                             info->raw_size, &job->raw, err);
	dictionary_free(dictionary);
	return good;
}

/* The wanted blocks of one batch. */
static bool export_batch(struct export_job *job, const struct spool_batch_info *info,
                         struct err *err)
{
	struct spool_batch_info found;
	buffer_clear(&job->payload);
	if (!spool_batch_payload(job->spool, &job->chain.key, info->first_height, &found,
	                         &job->payload, err) ||
	    !decompress(job, &found, err))
		return err_wrap(err, "batch at height %" PRIu64, info->first_height);
	struct reader reader = reader_of(buffer_bytes(&job->raw));
	uint64_t height = info->first_height;
	struct bytes block;
	int given;
	while ((given = batch_next_block(&reader, BLOCK_MAX, &block)) == 1) {
		if (height >= job->from && height <= job->to &&
		    !write_block(job, block, height, err))
			return false;
		height++;
	}
	if (given < 0 || height != spool_batch_next(info))
		return err_set(err, ZR_CORRUPT, "batch at height %" PRIu64 " is not whole",
		               info->first_height);
	return true;
}

/* What no batch has between two heights, and what is not held any more. */
static void count_missing(struct export_job *job, uint64_t from, uint64_t next)
{
	if (next > from)
		job->missing += next - from;
}

/* From one batch to the next, through the range at hand. */
static bool export_range(struct export_job *job, struct err *err)
{
	uint64_t next = job->from;
	/* One above the last height that there is and that is wanted. */
	uint64_t end = job->to < job->chain.next_height ? job->to + 1 : job->chain.next_height;
	while (next < end) {
		struct spool_batch_info info;
		size_t count;
		if (!spool_batches_page(job->spool, &job->chain.key, next, &info, 1, &count, err))
			return false;
		if (count == 0 || info.first_height >= end) {
			count_missing(job, next, end);
			return true;
		}
		count_missing(job, next, info.first_height);
		uint64_t batch_next = spool_batch_next(&info);
		uint64_t first = info.first_height > next ? info.first_height : next;
		if (!info.held)
			count_missing(job, first, batch_next < end ? batch_next : end);
		else if (!export_batch(job, &info, err))
			return false;
		next = batch_next;
	}
	return true;
}

static bool export_all(struct export_job *job, const char *name, struct err *err)
{
	if (!spool_chain_by_name(job->spool, name, &job->chain, err) ||
	    !decompressor_new(&job->decompressor, err))
		return false;
	if (mkdir(job->folder, 0755) != 0 && errno != EEXIST)
		return err_set(err, ZR_UNAVAILABLE, "%s: %s", job->folder, strerror(errno));
	/* Ranges that share a batch read it twice, and write each block once. */
	for (size_t i = 0; i < job->ranges.count; i++) {
		job->from = job->ranges.items[i].from;
		job->to = job->ranges.items[i].to;
		if (!export_range(job, err))
			return false;
	}
	return true;
}

static int run(struct cli *cli, struct export_job *job, const char *dir)
{
	const struct spool_options options = { .dir = dir, .mode = STORE_READ };
	struct err err;
	bool good = spool_open(&job->spool, &options, &err) &&
	            export_all(job, cli_argument(cli, 0), &err);
	decompressor_free(job->decompressor);
	spool_close(job->spool);
	buffer_fini(&job->payload);
	buffer_fini(&job->raw);
	buffer_fini(&job->dictionary);
	if (!good)
		return err.code == ZR_CORRUPT ? cli_violation(cli, &err) : cli_fail(cli, &err);
	cli_json(cli, json_pack("{s:s,s:s,s:I,s:I}", "chain", job->chain.id.name, "folder",
	                        job->folder, "blocks", (json_int_t)job->written, "missing",
	                        (json_int_t)job->missing));
	cli_say("%" PRIu64 " blocks written to %s; %" PRIu64 " are no longer held", job->written,
	        job->folder, job->missing);
	return job->missing == 0 ? EXIT_OK : EXIT_DEGRADED;
}

int cli_spool_export(struct cli *cli)
{
	struct export_job job = { .folder = cli_option(cli, OPTION_OUT) };
	struct err err;
	const char *dir = cli_spool_dir(cli, 2);
	if (dir == NULL)
		return cli_refuse_spool(cli);
	if (!ranges_parse(cli_argument(cli, 1), &job.ranges, &err))
		return cli_usage(cli, "%s", err.message);
	return run(cli, &job, dir);
}
