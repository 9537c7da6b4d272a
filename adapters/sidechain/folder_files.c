/* folder_files.c -- see folder_files.h. */
#include "adapters/sidechain/folder_files.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "relay/base/file.h"

#define SUFFIX ".block"

bool folder_file_fail(struct folder_file *file, const char *reason, struct err *err)
{
	if (file->reason == NULL)
		file->reason = strdup(reason);
	return file->reason != NULL || err_set(err, ZR_NO_MEMORY, "%s", file->path);
}

void folder_files_fini(struct folder_files *files)
{
	for (size_t i = 0; i < files->count; i++) {
		free(files->list[i].path);
		free(files->list[i].reason);
		free(files->list[i].unsigned_reason);
	}
	free(files->list);
	*files = (struct folder_files){ .list = NULL };
}

/* ---- finding ---- */

static bool add_file(struct folder_files *files, const char *path, struct err *err)
{
	struct folder_file *list = realloc(files->list, (files->count + 1) * sizeof(*list));
	if (list == NULL)
		return err_set(err, ZR_NO_MEMORY, "%s", path);
	files->list = list;
	list[files->count] = (struct folder_file){ .path = strdup(path) };
	if (list[files->count].path == NULL)
		return err_set(err, ZR_NO_MEMORY, "%s", path);
	files->count++;
	return true;
}

static int is_block_file(const struct dirent *entry)
{
	size_t size = strlen(entry->d_name);
	return entry->d_name[0] != '.' && size > strlen(SUFFIX) &&
	       strcmp(entry->d_name + size - strlen(SUFFIX), SUFFIX) == 0;
}

static bool add_folder(struct folder_files *files, const char *path, struct err *err)
{
	struct dirent **entries;
	int count = scandir(path, &entries, is_block_file, alphasort);
	if (count < 0)
		return err_set(err, ZR_UNAVAILABLE, "%s: %s", path, strerror(errno));
	bool ok = true;
	for (int i = 0; i < count; i++) {
		char *child = NULL;
		if (ok && asprintf(&child, "%s/%s", path, entries[i]->d_name) < 0)
			ok = err_set(err, ZR_NO_MEMORY, "%s", path);
		else if (ok)
			ok = add_file(files, child, err);
		free(child);
		free(entries[i]);
	}
	free(entries);
	return ok;
}

static bool find(struct folder_files *files, const struct folder_options *options, struct err *err)
{
	for (size_t i = 0; i < options->path_count; i++) {
		const char *path = options->paths[i];
		struct stat info;
		if (stat(path, &info) != 0)
			return err_set(err, ZR_UNAVAILABLE, "%s: %s", path, strerror(errno));
		if (S_ISDIR(info.st_mode) ? !add_folder(files, path, err)
		                          : !add_file(files, path, err))
			return false;
	}
	return files->count > 0 || err_set(err, ZR_UNAVAILABLE, "no block file");
}

/* ---- reading ---- */

/* A file that is damaged is a verdict, not a failure. */
static bool read_header(struct folder_file *file, const struct folder_options *options,
                        struct buffer *raw, struct err *err)
{
	struct block block;
	struct err reason;
	file->header.height = HEIGHT_UNKNOWN;
	buffer_clear(raw);
	if (!file_read(file->path, options->block_max_bytes, raw, &reason)) {
		if (reason.code == ZR_FULL)
			return folder_file_fail(file, reason.message, err);
		return err_set(err, reason.code, "%s", reason.message);
	}
	bool readable = options->format->read(buffer_bytes(raw), &block, &reason);
	file->header = block.header;
	if (readable)
		return true;
	if (reason.code == ZR_NO_MEMORY)
		return err_set(err, ZR_NO_MEMORY, "%s: %s", file->path, reason.message);
	return folder_file_fail(file, reason.message, err);
}

static int by_height(const void *left, const void *right)
{
	const struct folder_file *a = left;
	const struct folder_file *b = right;
	if (a->header.height != b->header.height)
		return a->header.height < b->header.height ? -1 : 1;
	int order = memcmp(a->header.hash.bytes, b->header.hash.bytes, HASH_SIZE);
	return order != 0 ? order : strcmp(a->path, b->path);
}

bool folder_files_init(struct folder_files *files, const struct folder_options *options,
                       struct err *err)
{
	struct buffer raw = BUFFER_EMPTY;
	*files = (struct folder_files){ .list = NULL };
	bool ok = find(files, options, err);
	for (size_t i = 0; ok && i < files->count; i++)
		ok = read_header(&files->list[i], options, &raw, err);
	buffer_fini(&raw);
	if (!ok) {
		folder_files_fini(files);
		return false;
	}
	qsort(files->list, files->count, sizeof(files->list[0]), by_height);
	return true;
}
