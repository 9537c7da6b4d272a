/* rot.h -- what rot.c (damages a spool, piece by piece) and rot_look.c (looks at what is left) share. */
#ifndef ZR_TESTS_DISK_ROT_H
#define ZR_TESTS_DISK_ROT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "spool/spool_private.h"

#define ROT_BATCHES_MAX 4096
#define ROT_FAULTS_MAX  64
#define ROT_LINE_BYTES  256

/* One row as it was. */
struct rot_row {
	enum spool_table table;
	struct bytes key, value; /* Owned. */
};

struct rot_rows {
	struct rot_row *items; /* In the order of tables and keys. */
	size_t count;
};

/* The sound spool. */
struct rot_truth {
	struct rot_rows rows;
	struct rot_rows salvaged;        /* Batches that salvage finds in it: pruned ones, too. */
	size_t batches[ROT_BATCHES_MAX]; /* The held ones: their places in rows. */
	size_t batch_count;
};

enum rot_batch { ROT_UNSEEN, ROT_SAME, ROT_NAMED, ROT_GONE, ROT_PRUNED };

/* What a child saw, in memory that its parent shares. */
struct rot_seen {
	bool opened;
	uint32_t same, named, missing;
	uint32_t stale; /* Rows that change: another value, validly checksummed. */
	uint32_t wrong; /* A byte that was never stored there. Never. */
	uint32_t repaired;
	char what[ROT_LINE_BYTES];        /* Of the first wrong or stale one. */
	uint8_t batches[ROT_BATCHES_MAX]; /* enum rot_batch. */

	bool verified; /* verify could look. */
	uint64_t fault_count;
	char faults[ROT_FAULTS_MAX][ROT_LINE_BYTES];
	bool salvage_worked;
	uint32_t invented; /* Salvaged, and never stored. */
	bool salvaged[ROT_BATCHES_MAX];
};

/* Reads all of a sound spool. Ends the program where that fails. */
void rot_read_truth(const char *dir, struct rot_truth *truth);

/* Each is for a child of its own. */
void rot_look(const char *dir, const struct rot_truth *truth, struct rot_seen *seen);
void rot_look_after(const char *dir, const struct rot_truth *truth, struct rot_seen *seen);
void rot_live(const char *dir, const struct rot_truth *truth, struct rot_seen *seen);
void rot_judge(const char *dir, const struct rot_truth *truth, struct rot_seen *seen);

/* Name and first height of a held batch. */
void rot_batch_name(const struct rot_truth *truth, size_t index,
                    char name[static CHAIN_NAME_MAX + 1], uint64_t *out_height);

#endif
