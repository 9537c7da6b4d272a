/* What operators did: a list in which every record carries the hash of the one before; and
 * dictionaries. The hash of the last record is in the totals, so that cutting the list is seen too. */
#include "spool/audit.h"

#include <inttypes.h>
#include <string.h>

#include "proto/compress.h"
#include "spool/spool_private.h"

static bool has_request(const uint8_t request_id[SPOOL_REQUEST_ID_SIZE])
{
	static const uint8_t none[SPOOL_REQUEST_ID_SIZE];
	return memcmp(request_id, none, SPOOL_REQUEST_ID_SIZE) != 0;
}

bool spool_audit_append(struct spool_txn *txn, const struct spool_audit *audit, struct err *err)
{
	size_t size = strlen(audit->who) + strlen(audit->verb) + strlen(audit->reason) +
	              strlen(audit->result);
	if (size > SPOOL_AUDIT_TEXT_MAX)
		return err_set(err, ZR_INVALID, "an audit record of %zu bytes", size);
	struct spool_key request = spool_key_request(audit->request_id);
	if (has_request(audit->request_id) &&
	    txn_has(&txn->txn, SPOOL_REQUESTS, spool_key_bytes(&request)))
		return err_set(err, ZR_STATE, "that request was carried out before");

	struct spool_audit row = *audit;
	row.number = txn->totals.audit_next++;
	struct buffer *value = spool_scratch(txn);
	spool_audit_encode(&row, &txn->totals.audit_head, value);
	txn->totals.audit_head = sha256(buffer_bytes(value));
	struct spool_key key = spool_key_number(row.number);
	spool_insert(txn, SPOOL_AUDIT, &key);
	if (has_request(audit->request_id))
		spool_put_u64(txn, SPOOL_REQUESTS, &request, row.number);
	return txn_check(&txn->txn, err);
}

/* ---- reading ---- */

void spool_audit_copy_fini(struct spool_audit_copy *copy)
{
	buffer_fini(&copy->text);
	*copy = SPOOL_AUDIT_COPY_EMPTY;
}

static void add_text(struct buffer *out, struct bytes text)
{
	buffer_put(out, text);
	buffer_put_u8(out, '\0');
}

/* The texts one after the other; then pointers to them, when the buffer does not move any more. */
static void copy_row(struct bytes value, const struct spool_audit_row *row,
                     struct spool_audit_copy *copy)
{
	struct buffer *text = &copy->text;
	buffer_clear(text);
	add_text(text, row->who);
	add_text(text, row->verb);
	add_text(text, row->reason);
	add_text(text, row->result);
	if (text->failed)
		return;
	const char *at = (const char *)text->data;
	copy->audit = (struct spool_audit){ .number = row->number, .time_ms = row->time_ms };
	copy->audit.who = at;
	copy->audit.verb = copy->audit.who + row->who.size + 1;
	copy->audit.reason = copy->audit.verb + row->verb.size + 1;
	copy->audit.result = copy->audit.reason + row->reason.size + 1;
	memcpy(copy->audit.request_id, row->request_id, SPOOL_REQUEST_ID_SIZE);
	copy->previous = row->previous;
	copy->hash = sha256(value);
}

static bool take_row(struct txn *txn, struct bytes key, struct bytes value,
                     struct spool_audit_copy *copy)
{
	struct spool_audit_row row;
	uint64_t number;
	if (!spool_key_number_read(key, &number) || !spool_audit_decode(value, &row) ||
	    row.number != number) {
		spool_damaged(txn, SPOOL_AUDIT, key);
		return false;
	}
	copy_row(value, &row, copy);
	return true;
}

bool spool_audit_next(struct spool *spool, uint64_t after, struct spool_audit_copy *copy,
                      bool *out_found, struct err *err)
{
	struct txn txn;
	struct spool_key at = spool_key_number(after);
	struct bytes key, value;
	txn_begin(&txn, spool->store, TXN_READ);
	bool found = txn_after(&txn, SPOOL_AUDIT, spool_key_bytes(&at), &key, &value) &&
	             take_row(&txn, key, value, copy);
	if (!spool_end_read(&txn, true, "", err) || !buffer_ok(&copy->text, err))
		return false;
	*out_found = found;
	return true;
}

bool spool_audit_by_request(struct spool *spool, const uint8_t request_id[SPOOL_REQUEST_ID_SIZE],
                            struct spool_audit_copy *copy, bool *out_found, struct err *err)
{
	struct txn txn;
	struct spool_key request = spool_key_request(request_id);
	struct bytes value;
	uint64_t number;
	txn_begin(&txn, spool->store, TXN_READ);
	bool found = spool_get(&txn, SPOOL_REQUESTS, &request, &value);
	if (found) {
		struct spool_key key = { .size = 0 };
		if (spool_u64_decode(value, &number))
			key = spool_key_number(number);
		if (key.size == 0 || !spool_get(&txn, SPOOL_AUDIT, &key, &value))
			spool_damaged(&txn, SPOOL_REQUESTS, spool_key_bytes(&request));
		else
			found = take_row(&txn, spool_key_bytes(&key), value, copy);
	}
	if (!spool_end_read(&txn, true, "", err) || !buffer_ok(&copy->text, err))
		return false;
	*out_found = found;
	return true;
}

/* One read transaction per slice: an audit list is long in the end. */
#define VERIFY_SLICE 256

struct audit_walk {
	uint64_t number;  /* Of the last record seen. */
	struct hash head; /* Its hash. */
	bool at_end;
};

static void walk_slice(struct txn *txn, struct audit_walk *walk)
{
	struct bytes key, value;
	struct spool_audit_row row;
	for (int i = 0; i < VERIFY_SLICE; i++) {
		struct spool_key at = spool_key_number(walk->number);
		if (!txn_after(txn, SPOOL_AUDIT, spool_key_bytes(&at), &key, &value)) {
			walk->at_end = true;
			return;
		}
		uint64_t number = 0;
		if (!spool_key_number_read(key, &number) || !spool_audit_decode(value, &row) ||
		    number != walk->number + 1 || row.number != number ||
		    !hash_equal(&row.previous, &walk->head)) {
			txn_fail(txn, ZR_CORRUPT,
			         "table audit: record %" PRIu64 " does not follow record %" PRIu64,
			         number, walk->number);
			return;
		}
		walk->number = number;
		walk->head = sha256(value);
	}
}

bool spool_audit_verify(struct spool *spool, uint64_t *out_count, struct err *err)
{
	struct audit_walk walk = { .number = 0 };
	while (!walk.at_end) {
		struct txn txn;
		struct spool_totals totals;
		txn_begin(&txn, spool->store, TXN_READ);
		walk_slice(&txn, &walk);
		if (walk.at_end && spool_read_totals(&txn, &totals) &&
		    (!hash_equal(&totals.audit_head, &walk.head) ||
		     totals.audit_next != walk.number + 1))
			txn_fail(&txn, ZR_CORRUPT,
			         "table audit ends at record %" PRIu64 " of %" PRIu64, walk.number,
			         totals.audit_next - 1);
		if (!spool_end_read(&txn, true, "", err))
			return false;
	}
	*out_count = walk.number;
	return true;
}

/* ---- dictionaries ---- */

bool spool_dictionary_put(struct spool_txn *txn, struct bytes dictionary, struct hash *out_hash,
                          struct err *err)
{
	if (dictionary.size == 0 || dictionary.size > DICTIONARY_SIZE_MAX)
		return err_set(err, ZR_INVALID, "a dictionary of %zu bytes", dictionary.size);
	struct hash hash = sha256(dictionary);
	struct spool_key key = spool_key_hash(&hash);
	if (!txn_has(&txn->txn, SPOOL_DICTIONARIES, spool_key_bytes(&key)))
		txn_insert(&txn->txn, SPOOL_DICTIONARIES, spool_key_bytes(&key), dictionary);
	if (!txn_check(&txn->txn, err))
		return false;
	*out_hash = hash;
	return true;
}

bool spool_dictionary_get(struct spool *spool, const struct hash *hash, struct buffer *out,
                          struct err *err)
{
	struct txn txn;
	struct spool_key key = spool_key_hash(hash);
	struct bytes value;
	txn_begin(&txn, spool->store, TXN_READ);
	bool found = spool_get(&txn, SPOOL_DICTIONARIES, &key, &value);
	if (found)
		buffer_put(out, value);
	return spool_end_read(&txn, found, "no such dictionary", err) && buffer_ok(out, err);
}

bool spool_dictionaries_page(struct spool *spool, const struct hash *after, struct hash *out_hashes,
                             size_t count_max, size_t *out_count, struct err *err)
{
	static const struct hash none;
	struct txn txn;
	struct spool_key at = spool_key_hash(after != NULL ? after : &none);
	struct bytes key;
	size_t count = 0;
	txn_begin(&txn, spool->store, TXN_READ);
	while (count < count_max &&
	       txn_after(&txn, SPOOL_DICTIONARIES, spool_key_bytes(&at), &key, NULL)) {
		if (!spool_key_hash_read(key, &out_hashes[count])) {
			spool_damaged(&txn, SPOOL_DICTIONARIES, key);
			break;
		}
		at = spool_key_hash(&out_hashes[count]);
		count++;
	}
	if (!spool_end_read(&txn, true, "", err))
		return false;
	*out_count = count;
	return true;
}
