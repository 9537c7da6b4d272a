/* The spool's life, its transactions, its totals, and small named values. */
#include "spool/spool.h"

#include <assert.h>
#include <ctype.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "spool/spool_private.h"

#define RESERVE_MIN_BYTES        (256u << 10)
#define RECOUNT_EVERY            256         /* Transactions. */
#define PAGE_BYTES               4096        /* For estimates only. */
#define FULL_MARGIN_BYTES        (64u << 10) /* Less than this is full: a batch may be as large. */
#define QUARANTINE_COUNT_DEFAULT 64
#define QUARANTINE_BYTES_DEFAULT (256u << 20)

/* ---- life ---- */

bool spool_exists(const char *dir)
{
	return store_exists(dir);
}

bool spool_create(const struct spool_create_options *options, struct err *err)
{
	return store_create(&(struct store_create_options){ .dir = options->dir,
	                                                    .format = &spool_format,
	                                                    .size_bytes = options->size_bytes,
	                                                    .allocate = options->allocate,
	                                                    .now_ms = options->now_ms },
	                    err);
}

bool spool_set_reserve(struct spool *spool, uint64_t reserve_bytes, struct err *err)
{
	uint64_t limit = store_limit_bytes(spool->store);
	if (reserve_bytes == 0)
		reserve_bytes = limit / 16 < RESERVE_MIN_BYTES ? RESERVE_MIN_BYTES : limit / 16;
	if (reserve_bytes > limit / 2)
		return err_set(err, ZR_INVALID, "a reserve of %" PRIu64 " is over half of %" PRIu64,
		               reserve_bytes, limit);
	atomic_store(&spool->mark_bytes, limit - reserve_bytes);
	atomic_store(&spool->anchor_mark_bytes, limit - reserve_bytes / 2);
	return true;
}

/* What a restore has not finished is no spool yet. */
static bool is_finished(struct spool *spool, struct err *err)
{
	struct txn txn;
	struct spool_key key = spool_key_name(SPOOL_META_UNFINISHED);
	txn_begin(&txn, spool->store, TXN_READ);
	bool unfinished = txn_has(&txn, SPOOL_META, spool_key_bytes(&key));
	if (!txn_commit(&txn, err))
		return false;
	return !unfinished ||
	       err_set(err, ZR_CORRUPT,
	               "a restore into it was cut short: remove it and restore again");
}

bool spool_open(struct spool **out_spool, const struct spool_options *options, struct err *err)
{
	struct spool *spool = calloc(1, sizeof(*spool));
	if (spool == NULL)
		return err_set(err, ZR_NO_MEMORY, "spool %s", options->dir);
	spool->margin_bytes = FULL_MARGIN_BYTES;
	spool->quarantine_count_max = options->quarantine_count_max != 0
	                                      ? options->quarantine_count_max
	                                      : QUARANTINE_COUNT_DEFAULT;
	spool_set_quarantine_max(spool, options->quarantine_bytes_max);
	if (!store_open(&spool->store,
	                &(struct store_options){ .dir = options->dir,
	                                         .format = &spool_format,
	                                         .mode = options->mode,
	                                         .size_bytes = options->size_bytes },
	                err))
		goto fail;
	if (!spool_set_reserve(spool, options->reserve_bytes, err) || !is_finished(spool, err))
		goto fail;
	*out_spool = spool;
	return true;

fail:
	spool_close(spool);
	return err_wrap(err, "spool");
}

void spool_close(struct spool *spool)
{
	if (spool == NULL)
		return;
	store_close(spool->store);
	buffer_fini(&spool->scratch);
	free(spool);
}

struct store *spool_store(struct spool *spool)
{
	return spool->store;
}

const uint8_t *spool_uuid(const struct spool *spool)
{
	return store_uuid(spool->store);
}

bool spool_is_poisoned(const struct spool *spool)
{
	return store_is_poisoned(spool->store);
}

void spool_set_quarantine_max(struct spool *spool, uint64_t bytes_max)
{
	atomic_store(&spool->quarantine_bytes_max,
	             bytes_max != 0 ? bytes_max : QUARANTINE_BYTES_DEFAULT);
}

/* ---- totals ---- */

bool spool_read_totals(struct txn *txn, struct spool_totals *out_totals)
{
	struct spool_key key = spool_key_name(SPOOL_META_TOTALS);
	struct bytes value;
	if (spool_get(txn, SPOOL_META, &key, &value)) {
		if (spool_totals_decode(value, out_totals))
			return true;
		spool_damaged(txn, SPOOL_META, spool_key_bytes(&key));
		return false;
	}
	/* None yet: only a store that was never used has none. */
	if (txn_row_count(txn, SPOOL_CHAINS) + txn_row_count(txn, SPOOL_BATCHES) > 0)
		txn_fail(txn, ZR_CORRUPT, "table meta: the totals are missing");
	*out_totals = (struct spool_totals){ .arrival_next = 1,
		                             .quarantine_next = 1,
		                             .evidence_next = 1,
		                             .tombstone_next = 1,
		                             .audit_next = 1 };
	return txn_ok(txn);
}

static void save_totals(struct spool_txn *txn)
{
	struct spool_key key = spool_key_name(SPOOL_META_TOTALS);
	spool_totals_encode(&txn->totals, spool_scratch(txn));
	spool_put(txn, SPOOL_META, &key);
}

/* ---- transactions ---- */

void spool_begin(struct spool_txn *txn, struct spool *spool, enum spool_work work)
{
	*txn = (struct spool_txn){ .spool = spool, .work = work };
	txn_begin(&txn->txn, spool->store, TXN_WRITE);
	(void)spool_read_totals(&txn->txn, &txn->totals);
	if (spool->recount_in > 0)
		spool->recount_in--;
}

uint64_t spool_commit_number(const struct spool_txn *txn)
{
	return txn->totals.commit_number + 1;
}

bool spool_txn_ok(const struct spool_txn *txn)
{
	return txn_ok(&txn->txn);
}

bool spool_commit(struct spool_txn *txn, struct err *err)
{
	if (txn->intake_done)
		txn->totals.commit_number++;
	if (txn->txn.change_bytes > 0)
		save_totals(txn);
	if (txn_commit(&txn->txn, err))
		return true;
	txn->spool->recount_in = 0;
	return err_wrap(err, "spool");
}

void spool_abort(struct spool_txn *txn)
{
	txn_abort(&txn->txn);
}

struct buffer *spool_scratch(struct spool_txn *txn)
{
	buffer_clear(&txn->spool->scratch);
	return &txn->spool->scratch;
}

static bool scratch_is_whole(struct spool_txn *txn)
{
	if (txn->spool->scratch.failed)
		txn_fail(&txn->txn, ZR_NO_MEMORY, "encode a row");
	return txn_ok(&txn->txn);
}

void spool_put(struct spool_txn *txn, enum spool_table table, const struct spool_key *key)
{
	if (scratch_is_whole(txn))
		txn_put(&txn->txn, table, spool_key_bytes(key), buffer_bytes(&txn->spool->scratch));
}

void spool_insert(struct spool_txn *txn, enum spool_table table, const struct spool_key *key)
{
	if (scratch_is_whole(txn))
		txn_insert(&txn->txn, table, spool_key_bytes(key),
		           buffer_bytes(&txn->spool->scratch));
}

void spool_put_u64(struct spool_txn *txn, enum spool_table table, const struct spool_key *key,
                   uint64_t number)
{
	uint8_t value[8];
	put_be64(value, number);
	txn_put(&txn->txn, table, spool_key_bytes(key), BYTES_OF(value));
}

bool spool_delete(struct spool_txn *txn, enum spool_table table, const struct spool_key *key)
{
	return txn_delete(&txn->txn, table, spool_key_bytes(key));
}

/* ---- room ---- */

/* An upper bound of what is in use. While the file has never been used beyond the mark, its end
 * will do; after that free pages are counted, now and then, and at once when it looks full. */
static bool used_bytes(struct spool_txn *txn, uint64_t mark, uint64_t wanted, uint64_t *out_used,
                       struct err *err)
{
	struct spool *spool = txn->spool;
	uint64_t end = store_end_bytes(spool->store) + txn->txn.change_bytes;
	if (end + wanted <= mark) {
		*out_used = end;
		return true;
	}
	if (!txn->pages_counted && (spool->recount_in == 0 || spool->used_bytes + wanted > mark)) {
		if (!store_used_bytes(spool->store, &spool->used_bytes, err))
			return false;
		txn->pages_counted = true;
		spool->used_bytes += txn->txn.change_bytes;
		spool->recount_in = RECOUNT_EVERY;
	}
	*out_used = spool->used_bytes;
	return true;
}

/* *out_left: below the mark, when that is taken. */
static bool take_room(struct spool_txn *txn, uint64_t mark, uint64_t bytes, uint64_t *out_left,
                      struct err *err)
{
	uint64_t used;
	uint64_t wanted = bytes + PAGE_BYTES - bytes % PAGE_BYTES;
	if (!used_bytes(txn, mark, wanted, &used, err))
		return false;
	if (used + wanted > mark)
		return err_set(err, ZR_FULL,
		               "the spool is full: %" PRIu64 " of %" PRIu64 " bytes in use", used,
		               mark);
	txn->spool->used_bytes += wanted;
	*out_left = mark - used - wanted;
	return true;
}

bool spool_take_room(struct spool_txn *txn, uint64_t bytes, struct err *err)
{
	assert(txn->work == SPOOL_INTAKE);
	struct spool *spool = txn->spool;
	uint64_t margin = atomic_load(&spool->margin_bytes);
	uint64_t left;
	txn->intake_done = true;
	txn_leave_room(&txn->txn,
	               store_limit_bytes(spool->store) - atomic_load(&spool->mark_bytes));
	if (!take_room(txn, atomic_load(&spool->mark_bytes), bytes, &left, err)) {
		if (bytes > margin)
			atomic_store(&spool->margin_bytes, bytes + PAGE_BYTES);
		return false;
	}
	if (margin > FULL_MARGIN_BYTES && left >= margin) /* What was refused would fit as well. */
		atomic_store(&spool->margin_bytes, FULL_MARGIN_BYTES);
	return true;
}

bool spool_intake_is_full(struct spool_txn *txn)
{
	uint64_t used;
	struct err ignored;
	uint64_t mark = atomic_load(&txn->spool->mark_bytes);
	uint64_t margin = atomic_load(&txn->spool->margin_bytes);
	return used_bytes(txn, mark, margin, &used, &ignored) && used + margin > mark;
}

bool spool_anchor_room(struct spool_txn *txn, uint64_t bytes, struct err *err)
{
	uint64_t left;
	return take_room(txn, atomic_load(&txn->spool->anchor_mark_bytes), bytes, &left, err);
}

/* ---- helpers of all files ---- */

void spool_damaged(struct txn *txn, enum spool_table table, struct bytes key)
{
	char text[2 * SPOOL_KEY_MAX + 1];
	if (key.size > SPOOL_KEY_MAX)
		key.size = SPOOL_KEY_MAX;
	txn_fail(txn, ZR_CORRUPT, "table %s, key %s: not a row of this format",
	         spool_table_name(table), hex_encode(key, text));
}

bool spool_get(struct txn *txn, enum spool_table table, const struct spool_key *key,
               struct bytes *out_value)
{
	return txn_get(txn, table, spool_key_bytes(key), out_value);
}

bool spool_end_read(struct txn *txn, bool found, const char *missing, struct err *err)
{
	if (!txn_commit(txn, err))
		return err_wrap(err, "spool");
	return found || err_set(err, ZR_STATE, "%s", missing);
}

/* ---- how it stands ---- */

bool spool_totals(struct spool *spool, struct spool_totals *out_totals, struct err *err)
{
	struct txn txn;
	struct spool_totals totals;
	txn_begin(&txn, spool->store, TXN_READ);
	bool found = spool_read_totals(&txn, &totals);
	if (!spool_end_read(&txn, found, "no totals", err))
		return false;
	*out_totals = totals;
	return true;
}

bool spool_stats(struct spool *spool, struct spool_stats *out_stats, struct err *err)
{
	struct spool_stats stats;
	if (!store_stats(spool->store, &stats.store, err) ||
	    !spool_totals(spool, &stats.totals, err))
		return false;
	stats.used_bytes =
		(stats.store.pages_file - stats.store.pages_free) * stats.store.page_size;
	stats.limit_bytes = store_limit_bytes(spool->store);
	stats.mark_bytes = atomic_load(&spool->mark_bytes);
	stats.disk_full = store_disk_is_full(spool->store);
	stats.intake_full = stats.disk_full ||
	                    stats.used_bytes + atomic_load(&spool->margin_bytes) > stats.mark_bytes;
	*out_stats = stats;
	return true;
}

bool spool_adopted(struct spool_txn *txn, struct err *err)
{
	txn->totals.restored_ms = 0;
	save_totals(txn);
	return txn_check(&txn->txn, err);
}

/* ---- named values ---- */

static bool name_is_valid(const char *name)
{
	size_t size = strlen(name);
	return size > 0 && size <= SPOOL_META_NAME_MAX && isalpha((unsigned char)name[0]);
}

bool spool_meta_put(struct spool_txn *txn, const char *name, struct bytes value, struct err *err)
{
	if (!name_is_valid(name))
		return err_set(err, ZR_INVALID, "\"%s\" is not a name for a value", name);
	struct spool_key key = spool_key_name(name);
	if (value.size == 0)
		spool_delete(txn, SPOOL_META, &key);
	else
		txn_put(&txn->txn, SPOOL_META, spool_key_bytes(&key), value);
	return txn_check(&txn->txn, err);
}

bool spool_meta_get(struct spool *spool, const char *name, struct buffer *out, struct err *err)
{
	if (!name_is_valid(name))
		return err_set(err, ZR_INVALID, "\"%s\" is not a name for a value", name);
	struct spool_key key = spool_key_name(name);
	struct bytes value;
	struct txn txn;
	txn_begin(&txn, spool->store, TXN_READ);
	if (spool_get(&txn, SPOOL_META, &key, &value))
		buffer_put(out, value);
	return spool_end_read(&txn, true, "", err) && buffer_ok(out, err);
}

/* The highest number given so far; 0 for none. */
static uint8_t highest_class(struct txn *txn)
{
	uint8_t highest = 0;
	struct spool_key prefix = spool_key_name(SPOOL_META_CLASS);
	struct spool_key at = prefix;
	struct bytes key, value;
	while (txn_after(txn, SPOOL_META, spool_key_bytes(&at), &key, &value)) {
		if (key.size <= prefix.size || key.size > SPOOL_KEY_MAX ||
		    memcmp(key.data, prefix.bytes, prefix.size) != 0)
			break;
		if (value.size != 1) {
			spool_damaged(txn, SPOOL_META, key);
			break;
		}
		if (value.data[0] > highest)
			highest = value.data[0];
		memcpy(at.bytes, key.data, key.size);
		at.size = key.size;
	}
	return highest;
}

bool spool_class_number(struct spool_txn *txn, const char *class_name, uint8_t *out_class,
                        struct err *err)
{
	size_t size = strlen(class_name);
	if (size == 0 || size > SPOOL_META_NAME_MAX)
		return err_set(err, ZR_INVALID, "\"%s\" is not a name for a class", class_name);
	char name[sizeof(SPOOL_META_CLASS) + SPOOL_META_NAME_MAX] = SPOOL_META_CLASS;
	strcat(name, class_name);
	struct spool_key key = spool_key_name(name);
	struct bytes value;
	if (spool_get(&txn->txn, SPOOL_META, &key, &value)) {
		if (value.size != 1)
			spool_damaged(&txn->txn, SPOOL_META, spool_key_bytes(&key));
		else
			*out_class = value.data[0];
		return txn_check(&txn->txn, err);
	}
	uint8_t highest = highest_class(&txn->txn);
	if (highest == UINT8_MAX)
		return err_set(err, ZR_FULL, "there have been 255 classes already");
	uint8_t number = (uint8_t)(highest + 1);
	txn_put(&txn->txn, SPOOL_META, spool_key_bytes(&key), BYTES_OF(number));
	*out_class = number;
	return txn_check(&txn->txn, err);
}
