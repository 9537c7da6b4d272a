/* txn.h -- a transaction that remembers its first failure.
 *
 * After a failure every further call does nothing, so steps are written one after the other and
 * checked once, at txn_commit() (or txn_ok()). "Not found" is no failure. Every value carries a
 * CRC-32C over its table's id, its key and itself; it is checked at each read, and a wrong one fails
 * the transaction with ZR_CORRUPT, naming table and key.
 *
 *     struct txn txn;
 *     txn_begin(&txn, store, TXN_WRITE);
 *     txn_insert(&txn, TABLE_ANIMALS, BYTES_OF(key), value);
 *     if (!txn_commit(&txn, err))
 *             return err_wrap(err, "add an animal");
 *
 * Keys are 1 to 511 bytes and sort as memcmp does, a prefix first: write numbers big-endian.
 *
 * Lifetimes: a key or value that was read is borrowed from the file itself. It lives until the end
 * of the transaction, and in a write transaction only until its next change.
 *
 * A transaction is begun and ended in one function. A read transaction that stays open keeps every
 * page that is freed meanwhile from being used again: the file grows.
 */
#ifndef ZR_SPOOL_TXN_H
#define ZR_SPOOL_TXN_H

#include "spool/store.h"

#define TXN_KEY_MAX 511

enum txn_kind { TXN_READ, TXN_WRITE };

struct MDB_txn;

/* On the caller's stack. The fields are txn.c's own. */
struct txn {
	struct store *store;
	struct MDB_txn *handle; /* NULL once ended, or if it could not begin. */
	enum txn_kind kind;
	unsigned reader;       /* Its place in the store's table of readers. */
	uint64_t change_bytes; /* What the changes may take on the disk, rounded up to pages. */
	uint64_t spare_bytes;  /* What is to be left on the disk behind them. */
	const uint8_t *map;    /* Where the file is mapped; NULL: not asked yet. */
	bool failed;
	struct err err; /* Set where failed. */
};

/* Always to be ended by txn_commit() or txn_abort(). TXN_WRITE waits for the other writer, if any:
 * have one writing thread. */
void txn_begin(struct txn *txn, struct store *store, enum txn_kind kind);

/* Ends it. For TXN_WRITE true means: on the disk. False: nothing was stored; err says why.
 * Errors: ZR_FULL  the store's limit, or the disk's.  ZR_IO  the store is now poisoned.
 *         ZR_CORRUPT  a damaged value was met.  And what txn_fail() was given. */
bool txn_commit(struct txn *txn, struct err *err) MUST_CHECK;
/* Ends it and forgets its changes. Harmless on one that has ended. */
void txn_abort(struct txn *txn);

bool txn_ok(const struct txn *txn);
/* The first failure, into err; false if there is one. Does not end it. */
bool txn_check(const struct txn *txn, struct err *err) MUST_CHECK;
/* Makes it fail, unless it already has: for what the caller finds wrong in a value. */
void txn_fail(struct txn *txn, enum err_code code, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

/* Prefixes its failure, if any, with where it was met and ": ". */
void txn_wrap(struct txn *txn, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* ---- reading: true where something was found ---- */

bool txn_get(struct txn *txn, unsigned table, struct bytes key, struct bytes *out_value);
/* Is there such a key? Does not read, and so does not check, the value. */
bool txn_has(struct txn *txn, unsigned table, struct bytes key);

/* Neighbours in the order of keys. Each call finds its place anew in O(log n). out_value may be
 * NULL: then the value is not read. */
bool txn_first(struct txn *txn, unsigned table, struct bytes *out_key, struct bytes *out_value);
bool txn_last(struct txn *txn, unsigned table, struct bytes *out_key, struct bytes *out_value);
bool txn_at_or_after(struct txn *txn, unsigned table, struct bytes key, struct bytes *out_key,
                     struct bytes *out_value);
bool txn_after(struct txn *txn, unsigned table, struct bytes key, struct bytes *out_key,
               struct bytes *out_value);
bool txn_before(struct txn *txn, unsigned table, struct bytes key, struct bytes *out_key,
                struct bytes *out_value);

uint64_t txn_row_count(struct txn *txn, unsigned table);

/* ---- changing ---- */

/* Asserts (fails with ZR_STATE) that there is no such key. */
void txn_insert(struct txn *txn, unsigned table, struct bytes key, struct bytes value);
void txn_insert_parts(struct txn *txn, unsigned table, struct bytes key, const struct bytes *parts,
                      size_t part_count);
/* Inserts or replaces. */
void txn_put(struct txn *txn, unsigned table, struct bytes key, struct bytes value);
/* As txn_insert(), the value in parts, for a key above all others of the table: fills pages whole.
 * ZR_STATE if it is not above. */
void txn_append(struct txn *txn, unsigned table, struct bytes key, const struct bytes *parts,
                size_t part_count);
/* Where the file grows with its use: these changes only if the disk has so much room behind them, too.
 * What takes in says it, so that what makes room again still finds some on a full disk. */
void txn_leave_room(struct txn *txn, uint64_t bytes);

/* True where there was one. */
bool txn_delete(struct txn *txn, unsigned table, struct bytes key);

#endif
