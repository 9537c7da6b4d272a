#include "relay/edge/folder.h"

#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "relay/base/crypto.h"
#include "relay/base/file.h"

struct file {
	uint64_t height;  /* Where known. */
	uint64_t version; /* That the content was read of; 0: not read. Of nameless files only. */
	bool known;
	char *name; /* Owned. */
};

struct folder {
	char *path;
	struct file *files; /* By known first, height, name. */
	size_t count;
};

bool folder_new(struct folder **out_folder, const char *path, struct err *err)
{
	struct folder *folder = calloc(1, sizeof(*folder));
	if (folder != NULL)
		folder->path = strdup(path);
	if (folder == NULL || folder->path == NULL) {
		folder_free(folder);
		return err_set(err, ZR_NO_MEMORY, "folder %s", path);
	}
	*out_folder = folder;
	return true;
}

static void free_files(struct file *files, size_t count)
{
	for (size_t i = 0; i < count; i++)
		free(files[i].name);
	free(files);
}

void folder_free(struct folder *folder)
{
	if (folder == NULL)
		return;
	free_files(folder->files, folder->count);
	free(folder->path);
	free(folder);
}

/* ---- names ---- */

static bool ends_with(const char *text, const char *end)
{
	size_t size = strlen(text);
	size_t end_size = strlen(end);
	return size >= end_size && strcmp(text + size - end_size, end) == 0;
}

bool folder_height_of_name(const char *name, uint64_t *out_height)
{
	if (!ends_with(name, ".block"))
		return false;
	const char *end = name + strlen(name) - strlen(".block");
	const char *begin = end;
	while (begin > name && begin[-1] >= '0' && begin[-1] <= '9')
		begin--;
	if (begin == end || (begin > name && strchr("._-", begin[-1]) == NULL))
		return false;
	uint64_t height = 0;
	for (const char *digit = begin; digit < end; digit++) {
		if (height > INT64_MAX / 10)
			return false;
		height = height * 10 + (uint64_t)(*digit - '0');
	}
	if (height >= INT64_MAX)
		return false;
	*out_height = height;
	return true;
}

static bool is_unfinished(const char *name)
{
	return name[0] == '.' || ends_with(name, ".tmp") || ends_with(name, ".part") ||
	       ends_with(name, ".partial") || ends_with(name, "~");
}

/* ---- order ---- */

static int by_height(const void *a, const void *b)
{
	const struct file *one = a;
	const struct file *other = b;
	if (one->known != other->known)
		return one->known ? -1 : 1;
	if (one->known && one->height != other->height)
		return one->height < other->height ? -1 : 1;
	return strcmp(one->name, other->name);
}

static int by_name(const void *a, const void *b)
{
	return strcmp(((const struct file *)a)->name, ((const struct file *)b)->name);
}

static void sort(struct folder *folder)
{
	if (folder->count > 1)
		qsort(folder->files, folder->count, sizeof(folder->files[0]), by_height);
}

/* The first file of a height of at least this. */
static size_t lower_bound(const struct folder *folder, uint64_t height)
{
	size_t low = 0;
	size_t high = folder->count;
	while (low < high) {
		size_t middle = low + (high - low) / 2;
		const struct file *file = &folder->files[middle];
		if (file->known && file->height < height)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

/* ---- scanning ---- */

struct listing {
	struct file *files;
	size_t count;
	size_t capacity;
};

static bool add_file(struct listing *listing, const char *name, struct err *err)
{
	if (listing->count == FOLDER_FILES_MAX)
		return err_set(err, ZR_FULL, "more than %u files", FOLDER_FILES_MAX);
	if (listing->count == listing->capacity) {
		size_t capacity = listing->capacity == 0 ? 64 : listing->capacity * 2;
		struct file *files = realloc(listing->files, capacity * sizeof(files[0]));
		if (files == NULL)
			return err_set(err, ZR_NO_MEMORY, "%zu files", capacity);
		listing->files = files;
		listing->capacity = capacity;
	}
	struct file file = { .name = strdup(name) };
	if (file.name == NULL)
		return err_set(err, ZR_NO_MEMORY, "a file name");
	file.known = folder_height_of_name(name, &file.height);
	listing->files[listing->count++] = file;
	return true;
}

/* What was learnt from content stays with the file's name. */
static void keep_learnt(struct folder *folder, struct listing *listing)
{
	if (listing->count > 1)
		qsort(listing->files, listing->count, sizeof(listing->files[0]), by_name);
	for (size_t i = 0; i < folder->count && listing->count > 0; i++) {
		const struct file *old = &folder->files[i];
		if (old->version == 0)
			continue;
		struct file *kept = bsearch(old, listing->files, listing->count,
		                            sizeof(listing->files[0]), by_name);
		if (kept == NULL)
			continue;
		kept->known = old->known;
		kept->height = old->height;
		kept->version = old->version;
	}
}

bool folder_scan(struct folder *folder, struct err *err)
{
	struct listing listing = { 0 };
	DIR *directory = opendir(folder->path);
	if (directory == NULL)
		return err_set(err, ZR_UNAVAILABLE, "%s: %s", folder->path, strerror(errno));
	bool ok = true;
	for (struct dirent *entry = readdir(directory); ok && entry != NULL;
	     entry = readdir(directory)) {
		bool regular = entry->d_type == DT_REG || entry->d_type == DT_LNK ||
		               entry->d_type == DT_UNKNOWN;
		if (regular && !is_unfinished(entry->d_name))
			ok = add_file(&listing, entry->d_name, err);
	}
	closedir(directory);
	if (!ok) {
		free_files(listing.files, listing.count);
		return err_wrap(err, "%s", folder->path);
	}
	keep_learnt(folder, &listing);
	free_files(folder->files, folder->count);
	folder->files = listing.files;
	folder->count = listing.count;
	sort(folder);
	return true;
}

/* ---- finding ---- */

const char *folder_find(const struct folder *folder, uint64_t height, size_t index)
{
	size_t at = lower_bound(folder, height) + index;
	if (at >= folder->count || !folder->files[at].known || folder->files[at].height != height)
		return NULL;
	return folder->files[at].name;
}

const char *folder_next_nameless(struct folder *folder)
{
	for (size_t i = folder->count; i > 0; i--) {
		struct file *file = &folder->files[i - 1];
		if (file->known)
			break; /* Those without a height are the last. */
		uint64_t version = folder_version(folder, file->name);
		if (version == 0 || version == file->version)
			continue;
		file->version = version;
		return file->name;
	}
	return NULL;
}

const char *folder_next_unread(const struct folder *folder, uint64_t height)
{
	for (size_t i = lower_bound(folder, height + 1); i < folder->count; i++) {
		const struct file *file = &folder->files[i];
		if (!file->known)
			break;
		if (file->version == 0)
			return file->name;
	}
	return NULL;
}

void folder_learn(struct folder *folder, const char *name, bool found, uint64_t height)
{
	for (size_t i = 0; i < folder->count; i++) {
		struct file *file = &folder->files[i];
		if (strcmp(file->name, name) != 0)
			continue;
		file->version = folder_version(folder, name);
		file->known = found;
		file->height = height;
		sort(folder);
		return;
	}
}

uint64_t folder_oldest(const struct folder *folder, uint64_t next)
{
	uint64_t oldest = next;
	for (size_t i = lower_bound(folder, next); i > 0 && oldest > 0; i--) {
		uint64_t height = folder->files[i - 1].height;
		if (height == oldest - 1)
			oldest = height;
		else if (height != oldest)
			break;
	}
	return oldest;
}

bool folder_has_above(const struct folder *folder, uint64_t height)
{
	size_t at = lower_bound(folder, height + 1);
	return at < folder->count && folder->files[at].known;
}

size_t folder_count(const struct folder *folder)
{
	return folder->count;
}

/* ---- files ---- */

static bool path_of(const struct folder *folder, const char *name, struct buffer *out_path,
                    struct err *err)
{
	buffer_printf(out_path, "%s/%s", folder->path, name);
	buffer_put_u8(out_path, 0);
	return buffer_ok(out_path, err);
}

uint64_t folder_version(const struct folder *folder, const char *name)
{
	struct buffer path = BUFFER_EMPTY;
	struct stat stat_of;
	uint64_t version = 0;
	if (path_of(folder, name, &path, NULL) && stat((const char *)path.data, &stat_of) == 0 &&
	    S_ISREG(stat_of.st_mode)) {
		uint64_t facts[] = { (uint64_t)stat_of.st_size, (uint64_t)stat_of.st_mtim.tv_sec,
			             (uint64_t)stat_of.st_mtim.tv_nsec, (uint64_t)stat_of.st_ino };
		struct hash hash = sha256(BYTES_OF(facts));
		version = get_be64(hash.bytes) | 1;
	}
	buffer_fini(&path);
	return version;
}

bool folder_read(const struct folder *folder, const char *name, size_t size_max, struct buffer *out,
                 struct err *err)
{
	struct buffer path = BUFFER_EMPTY;
	bool ok = path_of(folder, name, &path, err) &&
	          file_read((const char *)path.data, size_max, out, err);
	buffer_fini(&path);
	return ok;
}
