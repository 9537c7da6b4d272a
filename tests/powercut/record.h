/* record.h -- what happened to the files of a store, and what was said meanwhile, in one order.
 *
 * The recorder stands before the C library (LD_PRELOAD, or linked into the program) and writes a
 * record of each call that changes a file or folder below a root, or that lets bytes out or in. The
 * order of records errs on the safe side only:
 *
 *     a write        is recorded before it happens; it is on the disk (O_DSYNC) from RECORD_DONE on
 *     a sync         covers what was recorded before its RECORD_SYNC, and counts from RECORD_DONE on
 *     bytes out      are recorded before they can have left: what they promise must hold from there
 *     bytes in       are recorded after they came, before the program has seen them
 *
 * A store under a file that is mapped for writing cannot be judged: RECORD_MAPPED says that there was
 * one.
 */
#ifndef ZR_TESTS_POWERCUT_RECORD_H
#define ZR_TESTS_POWERCUT_RECORD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define RECORD_MAGIC 0x5a525057u

enum record_kind {
	RECORD_START = 1,    /* A process begins; number: its pid. */
	RECORD_CREATE = 2,   /* path -> file, which is new. */
	RECORD_OPEN = 3,     /* path -> file, which was there. */
	RECORD_WRITE = 4,    /* bytes at offset of file; flags say RECORD_DURABLE for O_DSYNC. */
	RECORD_TRUNCATE = 5, /* file is offset bytes long. */
	RECORD_ALLOCATE = 6, /* file is at least offset bytes long. */
	RECORD_SYNC = 7,     /* Of file, or of a folder: flags say RECORD_FOLDER, path which. */
	RECORD_DONE = 8,     /* The WRITE or SYNC with that number has returned without an error. */
	RECORD_RENAME = 9,   /* path, then after a zero byte the new one. */
	RECORD_UNLINK = 10,  /* path */
	RECORD_MKDIR = 11,   /* path */
	RECORD_OUT = 12,     /* bytes leave; file: the stream, offset: their place in it. */
	RECORD_IN = 13,      /* bytes came; likewise. */
	RECORD_MAPPED = 14,  /* file is mapped shared and writable. */
	RECORD_MARK = 15,    /* bytes: whatever the one who runs the programs has to say. */
};

#define RECORD_DURABLE 1u
#define RECORD_FOLDER  2u
#define RECORD_TLS     4u /* OUT, IN: plain text of a TLS connection. */

/* Stands before each path or bytes; numbers in the byte order of the machine. */
struct record {
	uint32_t magic;
	uint16_t kind;
	uint16_t flags;
	uint64_t file;
	uint64_t offset;
	uint64_t number; /* Pairs DONE with what is done. */
	uint64_t size;   /* Of what follows. */
};

/* In a program that has the recorder inside: records what happens below root to fd, from now on. */
void record_begin(int fd, const char *root);
void record_end(void);
/* A RECORD_MARK with this text. */
void record_mark(const char *text);
/* Syncs are recorded, but not waited for: the files are in memory anyhow. */
void record_skip_syncs(void);

#endif
