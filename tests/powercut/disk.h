/* disk.h -- a disk as the records leave it: what is certainly there, and what may be or may not. From
 * it come images: disks as they could be found if the power had been cut at this moment.
 *
 *     a write        is there, is not there, or is torn: any of its 512-byte sectors are, or hold
 *                    garbage. One that stays within a sector is there or not
 *     a file's size  grows with what is there, or not at all
 *     a name         (created, renamed, removed) is there only if its folder was synced since;
 *                    else any of these, in their order or not
 *     a mapped file  holds anything
 */
#ifndef ZR_TESTS_POWERCUT_DISK_H
#define ZR_TESTS_POWERCUT_DISK_H

#include "tests/powercut/record.h"

#define DISK_PATH_MAX  512
#define DISK_FILES_MAX 64

/* Files as they were found, below the root. */
struct image_file {
	char path[DISK_PATH_MAX]; /* From the root on: "/spool/data.mdb". */
	bool is_folder;
	uint8_t *bytes; /* Owned: */
	size_t used;    /* So many; the rest up to size is zero. */
	size_t size;
};

struct image {
	struct image_file files[DISK_FILES_MAX];
	size_t count;
};
void image_fini(struct image *image);
/* Into dir, which is emptied first. */
void image_write(const struct image *image, const char *dir);

/* What the disk is made to lie about: the images must then be found broken. */
enum disk_fault {
	DISK_HONEST,
	DISK_DROPS_SYNCS,        /* As if no file was ever synced, O_DSYNC or not. */
	DISK_DROPS_FOLDER_SYNCS, /* As if no folder was ever synced. */
};

struct disk;
struct disk *disk_new(const char *root, enum disk_fault fault);
/* One on which the files of image are certainly there. */
struct disk *disk_of_image(const struct image *image, const char *root);
void disk_free(struct disk *disk);

/* One record further. bytes stay valid until disk_free(). */
void disk_pass(struct disk *disk, const struct record *record, const uint8_t *bytes);
/* The power is cut. Gives out_image; chance decides, and moves on. */
void disk_cut(const struct disk *disk, uint64_t *chance, struct image *out_image);
/* Is there anything that is not certain? */
bool disk_is_settled(const struct disk *disk);

uint64_t next_chance(uint64_t *chance);

#endif
