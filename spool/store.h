/* store.h -- one LMDB file with a format, an identity and a checksum on every value.
 *
 * Everything durable in this project sits on this: the gateway's spool, the agent's store, the
 * development main chain's ledger. A store is a folder with data.mdb (the tables), lock.mdb (LMDB's
 * readers) and owner.lock (the one process that writes). Transactions are in spool/txn.h.
 *
 * Default durability of LMDB only: a commit that returned is on the disk. What a process that died
 * may have left in the page cache is synced when the store is opened, before anything is answered.
 *
 * The disk is never believed twice. After a commit or sync that failed, the store is poisoned: every
 * later call fails with ZR_IO, and the process is to exit (EXIT_STORE_IO) and look again at what is
 * really there. A full store is another thing: ZR_FULL comes from our own page count, and nothing was
 * stored. Where the file is not allocated whole, room is made sure of before each commit, so that an
 * error inside a commit means the device there too.
 *
 * Threads: any number of read transactions in any threads, one write transaction at a time. One
 * struct store per folder and process. After fork() the child must not touch it.
 */
#ifndef ZR_SPOOL_STORE_H
#define ZR_SPOOL_STORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/record.h"
#include "relay/base/bytes.h"
#include "relay/base/err.h"

#define STORE_TABLES_MAX      32
#define STORE_FORMAT_NAME_MAX 31
#define STORE_READERS_MAX     64 /* Read transactions of one process at once. */
#define STORE_SIZE_MIN_BYTES  (256u << 10)

/* What is in the file. Usually a static const of the module that owns the format. */
struct store_format {
	const char *name;          /* "zonerelay-spool" */
	uint32_t version;          /* Another one is refused, never guessed at. */
	const char *const *tables; /* Names. A table's index is its id, stored: never reorder. */
	size_t table_count;        /* At most STORE_TABLES_MAX. */
};

struct store;

/* Is there a store in dir? A daemon that finds none exits with EXIT_STORE_MISSING. */
bool store_exists(const char *dir);

struct store_create_options {
	const char *dir; /* Made if it is missing; its parent must exist. */
	const struct store_format *format;
	uint64_t size_bytes; /* Limit of the file; rounded down to whole pages. */
	/* Take the disk space now, so that "full" is our own page count. Refused on file systems that
	 * copy on write or cannot allocate. False: the file grows (agents, tests). */
	bool allocate;
	const uint8_t *uuid; /* STORE_UUID_SIZE bytes to keep (restore); NULL: a new random one. */
	int64_t now_ms;      /* Unix time, kept as the time of creation. */
	/* A row that is there as soon as the store is: what is not to be taken for a finished one says
	 * so from the first moment on. No key: none. */
	struct {
		unsigned table;
		struct bytes key, value;
	} first;
};

/* Makes an empty store, whole and synced with its folder and the parent, or none at all.
 *
 * Errors: ZR_STATE    there is one already.
 *         ZR_INVALID  size, or a file system that cannot keep the promise; the message says which.
 *         ZR_FULL     not enough room on the disk.
 *         ZR_IO       anything else of the disk or the folder. */
bool store_create(const struct store_create_options *options, struct err *err) MUST_CHECK;

/* Deletes the files of a store that was just made and not put to use. */
void store_remove(const char *dir);

enum store_mode {
	STORE_READ, /* Beside a running owner; changes nothing. */
	STORE_WRITE,
};

struct store_options {
	const char *dir;
	const struct store_format *format;
	enum store_mode mode;
	uint64_t size_bytes; /* 0: as it is. Larger: grown to it. Smaller: a lower limit. */
};

/* In O(1), whatever is inside. Writing: takes owner.lock, syncs file and folder, clears readers that
 * died. Gives *out_store; end with store_close().
 *
 * Errors: ZR_UNAVAILABLE  no store in dir (store_exists() tells), or another process owns it: its
 *                         pid is in the message.
 *         ZR_INVALID      another format or version: both are in the message.
 *         ZR_CORRUPT      not a store, or damaged.
 *         ZR_IO           the disk; ZR_FULL: growing it found no room. */
bool store_open(struct store **out_store, const struct store_options *options,
                struct err *err) MUST_CHECK;

/* NULL is allowed. No transaction may be open. */
void store_close(struct store *store);

const uint8_t *store_uuid(const struct store *store); /* STORE_UUID_SIZE bytes; borrowed. */
int64_t store_created_ms(const struct store *store);
const char *store_dir(const struct store *store);
/* A commit failed, or LMDB panicked: every later call fails with ZR_IO. Any thread. */
bool store_is_poisoned(const struct store *store);

struct store_stats {
	uint32_t page_size;
	uint64_t pages_limit; /* What size_bytes allows. */
	uint64_t pages_file;  /* Highest page ever used, plus one. */
	uint64_t pages_free;  /* Of those, free again. */
	uint64_t last_commit; /* LMDB's number of the last commit. */
	/* Read transactions of this process, and how long the oldest has been open. */
	uint32_t reader_count;
	int64_t reader_oldest_ms;
	/* Of all processes: how many commits the oldest reader is behind; pages freed since then
	 * cannot be used again. */
	uint64_t reader_lag_commits;
	uint64_t row_counts[STORE_TABLES_MAX];
};

/* Walks the list of free pages, not the tables. */
bool store_stats(struct store *store, struct store_stats *out_stats, struct err *err) MUST_CHECK;

/* Where the highest page ever used ends: at most so much is in use. Costs nothing. */
uint64_t store_end_bytes(struct store *store);
/* Pages in use; walks the list of free pages. */
bool store_used_bytes(struct store *store, uint64_t *out_bytes, struct err *err) MUST_CHECK;
uint64_t store_limit_bytes(const struct store *store);
/* A commit was refused because the disk, not the store, is full, and there is still not enough room
 * for it. Of stores that grow; one that was allocated whole has its space. Any thread. */
bool store_disk_is_full(struct store *store);

/* Frees the slots of readers whose process died. Returns how many. */
int store_clear_dead_readers(struct store *store);

/* For daemons, at start: where a page of the map cannot be read, or LMDB is led astray by a damaged
 * one, the process ends with EXIT_STORE_IO and a line on standard error, instead of a crash. */
void store_exit_on_fault(void);

/* ---- for tests: faults ---- */

/* Called before each step that can fail; what it returns (0: nothing) is taken for the step's result:
 * an errno or an MDB_ number. Points: "begin", "get", "put", "delete", "commit", "sync", "room". Not
 * for use while other threads use the store. */
typedef int store_fault_fn(const char *point, void *arg);
void store_set_fault(struct store *store, store_fault_fn *fault, void *arg);

#endif
