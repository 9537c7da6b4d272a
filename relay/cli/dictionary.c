/* dictionary.c -- zonerelay dictionary train: from block files to a dictionary. */
#include <dirent.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "proto/compress.h"
#include "relay/base/crypto.h"
#include "relay/base/file.h"
#include "relay/cli/cli.h"

#define SAMPLE_MAX       ((size_t)64 << 20)
#define SAMPLES_MAX      20000
#define SAMPLES_SIZE_MAX ((size_t)512 << 20)
#define SIZE_DEFAULT     ((size_t)112 << 10) /* What zstd itself takes. */

struct samples {
	struct buffer content;    /* All of them, one after the other. */
	size_t ends[SAMPLES_MAX]; /* Where each ends in it. */
	size_t count;
};

static bool add_file(struct samples *samples, const char *path, struct err *err)
{
	if (samples->count == SAMPLES_MAX || samples->content.size > SAMPLES_SIZE_MAX)
		return err_set(err, ZR_FULL, "there are more than %d samples, or 512 MiB of them",
		               SAMPLES_MAX);
	if (!file_read(path, SAMPLE_MAX, &samples->content, err))
		return false;
	samples->ends[samples->count++] = samples->content.size;
	return true;
}

static int is_visible(const struct dirent *entry)
{
	return entry->d_name[0] != '.';
}

/* The files of a folder, in order, so that the same folder gives the same dictionary. */
static bool add_folder(struct samples *samples, const char *path, struct err *err)
{
	struct dirent **entries = NULL;
	int count = scandir(path, &entries, is_visible, alphasort);
	bool good = count >= 0 || err_set(err, ZR_UNAVAILABLE, "%s cannot be read", path);
	for (int i = 0; i < count; i++) {
		struct buffer inner = BUFFER_EMPTY;
		struct stat found;
		buffer_printf(&inner, "%s/%s", path, entries[i]->d_name);
		buffer_put_u8(&inner, '\0');
		good = good && buffer_ok(&inner, err);
		if (good && stat((const char *)inner.data, &found) == 0 && S_ISREG(found.st_mode))
			good = add_file(samples, (const char *)inner.data, err);
		buffer_fini(&inner);
		free(entries[i]);
	}
	free((void *)entries);
	return good;
}

static bool gather(const struct cli *cli, struct samples *samples, struct err *err)
{
	for (size_t i = 0; i < cli->line->argument_count; i++) {
		struct stat found;
		const char *path = cli->line->arguments[i];
		bool folder = stat(path, &found) == 0 && S_ISDIR(found.st_mode);
		if (!(folder ? add_folder(samples, path, err) : add_file(samples, path, err)))
			return false;
	}
	return true;
}

static bool train(const struct samples *samples, size_t size_max, struct buffer *out,
                  struct err *err)
{
	struct bytes *pieces = calloc(samples->count + 1, sizeof(*pieces));
	if (pieces == NULL)
		return err_set(err, ZR_NO_MEMORY, "samples");
	size_t begin = 0;
	for (size_t i = 0; i < samples->count; i++) {
		pieces[i] =
			(struct bytes){ samples->content.data + begin, samples->ends[i] - begin };
		begin = samples->ends[i];
	}
	bool trained = dictionary_train(pieces, samples->count, size_max, out, err);
	free(pieces);
	return trained;
}

static int run(struct cli *cli, struct samples *samples, size_t size_max)
{
	const char *out = cli_option(cli, OPTION_OUT);
	struct buffer dictionary = BUFFER_EMPTY;
	struct err err;
	int status = EXIT_OK;
	char hex[HASH_HEX_SIZE];
	if (!gather(cli, samples, &err) || !train(samples, size_max, &dictionary, &err) ||
	    !cli_write(out, buffer_bytes(&dictionary), 0644, &err)) {
		status = cli_fail(cli, &err);
	} else {
		struct hash hash = sha256(buffer_bytes(&dictionary));
		(void)hash_hex(&hash, hex);
		if (strcmp(out, "-") != 0)
			cli_json(cli, json_pack("{s:s,s:s,s:I,s:I}", "file", out, "hash", hex,
			                        "bytes", (json_int_t)dictionary.size, "samples",
			                        (json_int_t)samples->count));
		cli_say("%zu bytes from %zu samples, SHA-256 %s", dictionary.size, samples->count,
		        hex);
	}
	buffer_fini(&dictionary);
	return status;
}

int cli_dictionary_train(struct cli *cli)
{
	const char *size = cli_option(cli, OPTION_SIZE);
	uint64_t size_max = SIZE_DEFAULT;
	struct err err;
	if (size != NULL && (!cli_parse_size(size, &size_max, &err) || size_max < 1024 ||
	                     size_max > DICTIONARY_SIZE_MAX))
		return cli_usage(cli, "--size is from 1 KiB to 1 MiB, not %s", size);
	struct samples *samples = calloc(1, sizeof(*samples));
	if (samples == NULL) {
		err_set(&err, ZR_NO_MEMORY, "samples");
		return cli_fail(cli, &err);
	}
	int status = run(cli, samples, (size_t)size_max);
	buffer_fini(&samples->content);
	free(samples);
	return status;
}
