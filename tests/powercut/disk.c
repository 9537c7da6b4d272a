/* disk.c -- see disk.h. */
#include "tests/powercut/disk.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define SECTOR 512

/* A change of a file that is not certain. */
struct change {
	const struct record *record;
	const uint8_t *bytes;
	uint64_t order;
};

struct file {
	uint64_t number; /* Its inode; 0: not known yet. */
	uint8_t *bytes;  /* Owned: what is certain of it. */
	size_t used, size;
	bool mapped;
	struct change *changes; /* Owned. */
	size_t change_count, change_capacity;
};

/* A name in a folder. */
struct name {
	char path[DISK_PATH_MAX];
	int file; /* -1: a folder. */
};

struct names {
	struct name items[DISK_FILES_MAX];
	size_t count;
};

/* A change of names that is not certain. */
struct renaming {
	enum record_kind kind;
	char path[DISK_PATH_MAX];
	char to[DISK_PATH_MAX];
	int file;
	uint64_t order;
};

/* A sync under way. */
struct syncing {
	uint64_t number;
	int file;                 /* -1: a folder, */
	char path[DISK_PATH_MAX]; /* this one. */
	uint64_t order;
};

struct disk {
	size_t root_size;
	enum disk_fault fault;
	uint64_t order; /* Records passed. */
	struct file files[DISK_FILES_MAX * 4];
	size_t file_count;
	struct names names; /* What is certain. */
	struct renaming renamings[DISK_FILES_MAX * 8];
	size_t renaming_count;
	struct syncing syncs[DISK_FILES_MAX];
	size_t sync_count;
};

uint64_t next_chance(uint64_t *chance)
{
	*chance += 0x9e3779b97f4a7c15u;
	uint64_t value = *chance;
	value = (value ^ (value >> 30)) * 0xbf58476d1ce4e5b9u;
	value = (value ^ (value >> 27)) * 0x94d049bb133111ebu;
	return value ^ (value >> 31);
}

static void die(const char *what)
{
	fprintf(stderr, "powercut: %s\n", what);
	abort();
}

static void *grown(void *array, size_t count, size_t size)
{
	void *larger = reallocarray(array, count, size);
	if (larger == NULL)
		die("out of memory");
	return larger;
}

static void set_path(char path[static DISK_PATH_MAX], const char *from)
{
	if (strlen(from) >= DISK_PATH_MAX)
		die("a path is too long");
	strcpy(path, from);
}

/* ---- names ---- */

static struct name *find_name(struct names *names, const char *path)
{
	for (size_t i = 0; i < names->count; i++) {
		if (strcmp(names->items[i].path, path) == 0)
			return &names->items[i];
	}
	return NULL;
}

static void put_name(struct names *names, const char *path, int file)
{
	struct name *name = find_name(names, path);
	if (name == NULL) {
		if (names->count == DISK_FILES_MAX)
			die("too many files");
		name = &names->items[names->count++];
		set_path(name->path, path);
	}
	name->file = file;
}

static void remove_name(struct names *names, const char *path)
{
	struct name *name = find_name(names, path);
	if (name != NULL)
		*name = names->items[--names->count];
}

static void apply_renaming(struct names *names, const struct renaming *renaming)
{
	if (renaming->kind == RECORD_CREATE || renaming->kind == RECORD_MKDIR) {
		put_name(names, renaming->path, renaming->file);
		return;
	}
	const struct name *from = find_name(names, renaming->path);
	if (from == NULL)
		return; /* It was never there. */
	int file = from->file;
	remove_name(names, renaming->path);
	if (renaming->kind == RECORD_RENAME)
		put_name(names, renaming->to, file);
}

/* Is it in that folder? */
static bool is_in(const char *path, const char *folder)
{
	const char *slash = strrchr(path, '/');
	size_t size = (size_t)(slash - path);
	return strlen(folder) == size && strncmp(path, folder, size) == 0;
}

/* ---- life ---- */

struct disk *disk_new(const char *root, enum disk_fault fault)
{
	struct disk *disk = calloc(1, sizeof(*disk));
	if (disk == NULL)
		die("out of memory");
	disk->root_size = strlen(root);
	disk->fault = fault;
	return disk;
}

void disk_free(struct disk *disk)
{
	for (size_t i = 0; i < disk->file_count; i++) {
		free(disk->files[i].bytes);
		free(disk->files[i].changes);
	}
	free(disk);
}

static int add_file(struct disk *disk, uint64_t number)
{
	if (disk->file_count == sizeof(disk->files) / sizeof(disk->files[0]))
		die("too many files");
	disk->files[disk->file_count] = (struct file){ .number = number };
	return (int)disk->file_count++;
}

struct disk *disk_of_image(const struct image *image, const char *root)
{
	struct disk *disk = disk_new(root, DISK_HONEST);
	for (size_t i = 0; i < image->count; i++) {
		const struct image_file *from = &image->files[i];
		int file = from->is_folder ? -1 : add_file(disk, 0);
		put_name(&disk->names, from->path, file);
		if (file < 0)
			continue;
		struct file *to = &disk->files[file];
		to->bytes = grown(NULL, from->used + 1, 1);
		memcpy(to->bytes, from->bytes, from->used);
		to->used = from->used;
		to->size = from->size;
	}
	return disk;
}

/* The newest file with that inode: numbers are used again. */
static int find_file(const struct disk *disk, uint64_t number)
{
	for (size_t i = disk->file_count; i > 0; i--) {
		if (disk->files[i - 1].number == number)
			return (int)i - 1;
	}
	die("a file that was never opened");
	return -1;
}

/* ---- changes of files ---- */

static void cover(struct file *file, size_t end)
{
	if (end <= file->used)
		return;
	file->bytes = grown(file->bytes, end, 1);
	memset(file->bytes + file->used, 0, end - file->used);
	file->used = end;
}

static void copy_in(struct file *file, size_t at, const uint8_t *bytes, size_t size)
{
	cover(file, at + size);
	memcpy(file->bytes + at, bytes, size);
	if (at + size > file->size)
		file->size = at + size;
}

static void apply_change(struct file *file, const struct change *change)
{
	const struct record *record = change->record;
	if (record->kind == RECORD_WRITE) {
		copy_in(file, record->offset, change->bytes, record->size);
	} else if (record->kind == RECORD_TRUNCATE) {
		file->size = record->offset;
		if (file->used > file->size)
			file->used = file->size;
	} else if (file->size < record->offset) {
		file->size = record->offset;
	}
}

static void add_change(struct disk *disk, const struct record *record, const uint8_t *bytes)
{
	struct file *file = &disk->files[find_file(disk, record->file)];
	if (file->change_count == file->change_capacity) {
		file->change_capacity = file->change_capacity * 2 + 16;
		file->changes =
			grown(file->changes, file->change_capacity, sizeof(file->changes[0]));
	}
	file->changes[file->change_count++] = (struct change){ record, bytes, disk->order };
}

/* Those that are certain now, in their order. */
static void settle(struct file *file, bool is_certain(const struct change *, const void *),
                   const void *arg)
{
	size_t kept = 0;
	for (size_t i = 0; i < file->change_count; i++) {
		if (is_certain(&file->changes[i], arg))
			apply_change(file, &file->changes[i]);
		else
			file->changes[kept++] = file->changes[i];
	}
	file->change_count = kept;
}

static bool is_before(const struct change *change, const void *arg)
{
	return change->order < *(const uint64_t *)arg;
}

static bool is_under(const struct change *change, const void *arg)
{
	const struct change *durable = arg;
	const struct record *mine = change->record;
	const struct record *other = durable->record;
	if (change->order > durable->order)
		return false;
	return change->order == durable->order ||
	       (mine->kind == RECORD_WRITE && mine->offset < other->offset + other->size &&
	        other->offset < mine->offset + mine->size);
}

/* A write on a descriptor with O_DSYNC has returned: it is there, and whatever it stands on. */
static bool durable_write_done(struct disk *disk, uint64_t number)
{
	for (size_t i = 0; i < disk->file_count; i++) {
		struct file *file = &disk->files[i];
		for (size_t k = 0; k < file->change_count; k++) {
			struct change change = file->changes[k];
			if (change.record->number != number)
				continue;
			if (disk->fault != DISK_DROPS_SYNCS)
				settle(file, is_under, &change);
			return true;
		}
	}
	return false;
}

/* ---- syncs ---- */

static void folder_synced(struct disk *disk, const struct syncing *sync)
{
	size_t kept = 0;
	for (size_t i = 0; i < disk->renaming_count; i++) {
		const struct renaming *renaming = &disk->renamings[i];
		bool covered = renaming->order < sync->order && is_in(renaming->path, sync->path);
		if (covered)
			apply_renaming(&disk->names, renaming);
		else
			disk->renamings[kept++] = *renaming;
	}
	disk->renaming_count = kept;
}

static void sync_done(struct disk *disk, uint64_t number)
{
	for (size_t i = 0; i < disk->sync_count; i++) {
		struct syncing sync = disk->syncs[i];
		if (sync.number != number)
			continue;
		disk->syncs[i] = disk->syncs[--disk->sync_count];
		if (sync.file >= 0 && disk->fault != DISK_DROPS_SYNCS)
			settle(&disk->files[sync.file], is_before, &sync.order);
		else if (sync.file < 0 && disk->fault != DISK_DROPS_FOLDER_SYNCS)
			folder_synced(disk, &sync);
		return;
	}
}

static void begin_sync(struct disk *disk, const struct record *record, const uint8_t *bytes)
{
	if (disk->sync_count == DISK_FILES_MAX) /* Of processes that were killed in the middle. */
		memmove(&disk->syncs[0], &disk->syncs[1],
		        --disk->sync_count * sizeof(disk->syncs[0]));
	struct syncing *sync = &disk->syncs[disk->sync_count++];
	*sync = (struct syncing){ .number = record->number, .file = -1, .order = disk->order };
	if ((record->flags & RECORD_FOLDER) != 0)
		set_path(sync->path, (const char *)bytes + disk->root_size);
	else
		sync->file = find_file(disk, record->file);
}

static void add_renaming(struct disk *disk, const struct record *record, const uint8_t *bytes)
{
	if (disk->renaming_count == sizeof(disk->renamings) / sizeof(disk->renamings[0]))
		die("too many changes of names without a sync");
	struct renaming *renaming = &disk->renamings[disk->renaming_count++];
	const char *path = (const char *)bytes;
	*renaming = (struct renaming){ .kind = (enum record_kind)record->kind,
		                       .file = -1,
		                       .order = disk->order };
	set_path(renaming->path, path + disk->root_size);
	if (record->kind == RECORD_RENAME)
		set_path(renaming->to, path + strlen(path) + 1 + disk->root_size);
	if (record->kind == RECORD_CREATE)
		renaming->file = add_file(disk, record->file);
}

/* A file that was there before the recording began. */
static void note_number(struct disk *disk, const struct record *record, const uint8_t *bytes)
{
	const struct name *name = find_name(&disk->names, (const char *)bytes + disk->root_size);
	if (name != NULL && name->file >= 0 && disk->files[name->file].number == 0)
		disk->files[name->file].number = record->file;
}

void disk_pass(struct disk *disk, const struct record *record, const uint8_t *bytes)
{
	disk->order++;
	switch ((enum record_kind)record->kind) {
	case RECORD_WRITE:
	case RECORD_TRUNCATE:
	case RECORD_ALLOCATE:
		add_change(disk, record, bytes);
		return;
	case RECORD_CREATE:
	case RECORD_RENAME:
	case RECORD_UNLINK:
	case RECORD_MKDIR:
		add_renaming(disk, record, bytes);
		return;
	case RECORD_SYNC:
		begin_sync(disk, record, bytes);
		return;
	case RECORD_DONE:
		if (!durable_write_done(disk, record->number))
			sync_done(disk, record->number);
		return;
	case RECORD_MAPPED:
		disk->files[find_file(disk, record->file)].mapped = true;
		return;
	case RECORD_OPEN:
		note_number(disk, record, bytes);
		return;
	case RECORD_START:
	case RECORD_OUT:
	case RECORD_IN:
	case RECORD_MARK:
		return;
	}
	die("a record of no kind");
}

bool disk_is_settled(const struct disk *disk)
{
	for (size_t i = 0; i < disk->file_count; i++) {
		if (disk->files[i].change_count > 0)
			return false;
	}
	return disk->renaming_count == 0;
}

/* ---- the cut ---- */

/* How this cut falls: of ten. Some lose nearly everything, some nearly nothing. */
struct mood {
	unsigned whole, torn, garbage;
	bool growth_lost; /* Of this file. */
};

static bool drawn(uint64_t *chance, unsigned of_ten)
{
	return next_chance(chance) % 10 < of_ten;
}

static void fill_with_garbage(uint8_t *bytes, size_t size, uint64_t *chance)
{
	for (size_t i = 0; i < size; i++)
		bytes[i] = (uint8_t)next_chance(chance);
}

/* Some of its sectors. */
static void tear(struct file *file, const struct change *change, const struct mood *mood,
                 uint64_t *chance)
{
	uint8_t noise[SECTOR];
	size_t end = change->record->offset + change->record->size;
	for (size_t at = change->record->offset; at < end;) {
		size_t next = (at / SECTOR + 1) * SECTOR;
		next = next > end ? end : next;
		const uint8_t *bytes = change->bytes + (at - change->record->offset);
		if (next - at == SECTOR && drawn(chance, mood->garbage)) {
			fill_with_garbage(noise, SECTOR, chance);
			bytes = noise;
		}
		if (drawn(chance, 5))
			copy_in(file, at, bytes, next - at);
		at = next;
	}
}

static bool spans_sectors(const struct record *record)
{
	return record->kind == RECORD_WRITE &&
	       record->offset / SECTOR != (record->offset + record->size - 1) / SECTOR;
}

static void draw_file(const struct file *from, const struct mood *mood, uint64_t *chance,
                      struct file *out)
{
	*out = (struct file){ .used = from->used, .size = from->size };
	out->bytes = grown(NULL, from->used + 1, 1);
	if (from->used > 0)
		memcpy(out->bytes, from->bytes, from->used);
	for (size_t i = 0; i < from->change_count; i++) {
		const struct change *change = &from->changes[i];
		if (drawn(chance, mood->whole))
			apply_change(out, change);
		else if (spans_sectors(change->record) && drawn(chance, mood->torn))
			tear(out, change, mood, chance);
	}
	if (mood->growth_lost && out->size > from->size)
		out->size = from->size;
	if (out->used > out->size)
		out->used = out->size;
	if (from->mapped && drawn(chance, 5)) {
		cover(out, out->size);
		fill_with_garbage(out->bytes, out->used, chance);
	}
}

static void draw_names(const struct disk *disk, uint64_t *chance, struct names *out)
{
	*out = disk->names;
	bool in_order = drawn(chance, 5);
	size_t prefix = next_chance(chance) % (disk->renaming_count + 1);
	for (size_t i = 0; i < disk->renaming_count; i++) {
		if (in_order ? i < prefix : drawn(chance, 5))
			apply_renaming(out, &disk->renamings[i]);
	}
}

static bool has_folder(struct names *names, const char *path)
{
	char folder[DISK_PATH_MAX];
	set_path(folder, path);
	*strrchr(folder, '/') = '\0';
	return folder[0] == '\0' || find_name(names, folder) != NULL;
}

void disk_cut(const struct disk *disk, uint64_t *chance, struct image *out_image)
{
	static const unsigned degrees[] = { 0, 2, 5, 8, 10 };
	struct mood mood = { .whole = degrees[next_chance(chance) % 5],
		             .torn = degrees[next_chance(chance) % 5],
		             .garbage = drawn(chance, 3) ? 5 : 0 };
	struct names names;
	draw_names(disk, chance, &names);
	out_image->count = 0;
	for (size_t i = 0; i < names.count; i++) {
		if (!has_folder(&names, names.items[i].path))
			continue;
		struct image_file *file = &out_image->files[out_image->count++];
		*file = (struct image_file){ .is_folder = names.items[i].file < 0 };
		set_path(file->path, names.items[i].path);
		if (file->is_folder)
			continue;
		struct file drawn_file;
		mood.growth_lost = drawn(chance, 3);
		draw_file(&disk->files[names.items[i].file], &mood, chance, &drawn_file);
		file->bytes = drawn_file.bytes;
		file->used = drawn_file.used;
		file->size = drawn_file.size;
	}
}

/* ---- images ---- */

void image_fini(struct image *image)
{
	for (size_t i = 0; i < image->count; i++)
		free(image->files[i].bytes);
	image->count = 0;
}

static void empty_folder(const char *dir)
{
	DIR *folder = opendir(dir);
	if (folder == NULL)
		return;
	for (struct dirent *entry; (entry = readdir(folder)) != NULL;) {
		char path[2 * DISK_PATH_MAX];
		if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
			continue;
		snprintf(path, sizeof(path), "%.500s/%s", dir, entry->d_name);
		if (unlink(path) != 0) {
			empty_folder(path);
			(void)rmdir(path);
		}
	}
	closedir(folder);
}

static void write_file(const struct image_file *file, const char *path)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
	if (fd < 0 || ftruncate(fd, (off_t)file->size) != 0 ||
	    pwrite(fd, file->bytes, file->used, 0) != (ssize_t)file->used)
		die("an image cannot be written");
	close(fd);
}

/* Folders before what is in them: by the length of their paths. */
static int by_length(const void *a, const void *b)
{
	const struct image_file *const *first = a;
	const struct image_file *const *second = b;
	size_t first_size = strlen((*first)->path);
	size_t second_size = strlen((*second)->path);
	return (first_size > second_size) - (first_size < second_size);
}

void image_write(const struct image *image, const char *dir)
{
	const struct image_file *files[DISK_FILES_MAX];
	empty_folder(dir);
	for (size_t i = 0; i < image->count; i++)
		files[i] = &image->files[i];
	qsort(files, image->count, sizeof(files[0]), by_length);
	for (size_t i = 0; i < image->count; i++) {
		char path[2 * DISK_PATH_MAX];
		snprintf(path, sizeof(path), "%.500s%s", dir, files[i]->path);
		if (!files[i]->is_folder)
			write_file(files[i], path);
		else if (mkdir(path, 0700) != 0 && errno != EEXIST)
			die("a folder of an image cannot be made");
	}
}
