/* Chains: identity, state, watermarks, trust sets. */
#include "spool/chains.h"

#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "spool/spool_private.h"

uint64_t spool_chain_pending_blocks(const struct spool_chain *chain)
{
	return chain->received_blocks - chain->anchored_blocks - chain->quarantined_blocks -
	       chain->tombstoned_blocks;
}

/* ---- rows ---- */

bool spool_is_stranger(const struct chain_key *key)
{
	static const struct chain_key none;
	return chain_key_equal(key, &none);
}

/* The row of an unknown chain's quarantine is a chain record without a name, in table meta. */
static bool read_stranger(struct txn *txn, struct spool_chain *out_chain)
{
	struct spool_key key = spool_key_name(SPOOL_META_STRANGER);
	struct bytes value;
	if (!spool_get(txn, SPOOL_META, &key, &value)) {
		*out_chain = (struct spool_chain){ .state = SPOOL_CHAIN_FROZEN };
		return txn_ok(txn);
	}
	if (!spool_chain_decode(value, out_chain)) {
		spool_damaged(txn, SPOOL_META, spool_key_bytes(&key));
		return false;
	}
	memset(&out_chain->key, 0, sizeof(out_chain->key));
	return true;
}

bool spool_read_chain(struct txn *txn, const struct chain_key *key, struct spool_chain *out_chain)
{
	if (spool_is_stranger(key))
		return read_stranger(txn, out_chain);
	struct spool_key row = spool_key_chain(key);
	struct bytes value;
	if (!spool_get(txn, SPOOL_CHAINS, &row, &value))
		return false;
	if (spool_chain_decode(value, out_chain) && chain_key_equal(&out_chain->key, key))
		return true;
	spool_damaged(txn, SPOOL_CHAINS, spool_key_bytes(&row));
	return false;
}

bool spool_load_chain(struct spool_txn *txn, const struct chain_key *key,
                      struct spool_chain *out_chain, struct err *err)
{
	if (spool_read_chain(&txn->txn, key, out_chain))
		return true;
	return txn_check(&txn->txn, err) && err_set(err, ZR_STATE, "no such chain");
}

void spool_save_chain(struct spool_txn *txn, const struct spool_chain *chain)
{
	assert(chain->anchored_next <= chain->pending_from);
	assert(chain->pending_from <= chain->next_height);
	struct spool_key key = spool_is_stranger(&chain->key) ? spool_key_name(SPOOL_META_STRANGER)
	                                                      : spool_key_chain(&chain->key);
	spool_chain_encode(chain, spool_scratch(txn));
	spool_put(txn, spool_is_stranger(&chain->key) ? SPOOL_META : SPOOL_CHAINS, &key);
}

void spool_index_pending(struct spool_txn *txn, const struct spool_chain *chain)
{
	struct spool_key key = spool_key_pending(chain->sink, chain->class, &chain->key);
	if (chain->pending_from < chain->next_height && !chain->delivery_held)
		spool_put_u64(txn, SPOOL_PENDING, &key, chain->pending_from);
	else
		(void)spool_delete(txn, SPOOL_PENDING, &key);
}

uint64_t spool_skip_lost(struct txn *txn, const struct chain_key *chain, uint64_t height)
{
	struct spool_key at = spool_key_tombstone(chain, height, 0);
	struct bytes key, value;
	struct chain_key found;
	uint64_t from, number;
	while (txn_after(txn, SPOOL_TOMBSTONES, spool_key_bytes(&at), &key, &value) &&
	       spool_key_tombstone_read(key, &found, &from, &number) &&
	       chain_key_equal(&found, chain) && from == height) {
		struct spool_tombstone tombstone;
		if (!spool_tombstone_decode(value, &tombstone)) {
			spool_damaged(txn, SPOOL_TOMBSTONES, key);
			break;
		}
		if (tombstone.kind == SPOOL_TOMBSTONE_LOST) {
			height = tombstone.to + 1;
			at = spool_key_tombstone(chain, height, 0);
		} else {
			at = spool_key_tombstone(chain, from, number);
		}
	}
	return height;
}

/* ---- adding ---- */

static bool new_chain_is_valid(const struct spool_chain_new *chain, struct err *err)
{
	size_t format_size = strlen(chain->format);
	if (!chain_name_valid(chain->id.name))
		return err_set(err, ZR_INVALID, "\"%s\" is not a chain's name", chain->id.name);
	if (format_size == 0 || format_size > SPOOL_FORMAT_NAME_MAX)
		return err_set(err, ZR_INVALID, "\"%s\" is not a format's name", chain->format);
	if (chain->trust.size == 0)
		return err_set(err, ZR_INVALID, "the trust set is empty");
	if (chain->first_height > SPOOL_HEIGHT_MAX)
		return err_set(err, ZR_INVALID, "height %" PRIu64 " is too high",
		               chain->first_height);
	if ((chain->first_height == 0) != hash_is_zero(&chain->tip))
		return err_set(err, ZR_INVALID,
		               "a chain from its first block on has no tip, any other has one");
	return true;
}

static bool name_is_free(struct spool_txn *txn, const char *name, struct err *err)
{
	struct spool_key key = spool_key_name(name);
	struct bytes value;
	struct chain_key old_key;
	struct spool_chain old;
	if (!spool_get(&txn->txn, SPOOL_NAMES, &key, &value))
		return txn_check(&txn->txn, err);
	if (!spool_key_chain_read(value, &old_key) ||
	    !spool_read_chain(&txn->txn, &old_key, &old)) {
		spool_damaged(&txn->txn, SPOOL_NAMES, spool_key_bytes(&key));
		return txn_check(&txn->txn, err);
	}
	if (old.state == SPOOL_CHAIN_RETIRED)
		return true;
	char hex[HASH_HEX_SIZE];
	return err_set(err, ZR_STATE, "%s has an epoch already, %s, which is %s", name,
	               hash_hex(&old.id.epoch, hex), spool_chain_state_name(old.state));
}

static bool key_is_free(struct spool_txn *txn, const struct chain_key *key,
                        const struct chain_id *id, struct err *err)
{
	struct spool_chain old;
	if (!spool_read_chain(&txn->txn, key, &old))
		return txn_check(&txn->txn, err);
	if (chain_id_equal(&old.id, id))
		return err_set(err, ZR_STATE, "%s is known already, with this epoch", id->name);
	return err_set(err, ZR_INVALID, "%s has the same key as %s: choose another name", id->name,
	               old.id.name);
}

bool spool_chain_add(struct spool_txn *txn, const struct spool_chain_new *chain, struct err *err)
{
	struct chain_key key = chain_key(&chain->id);
	if (!new_chain_is_valid(chain, err) || !key_is_free(txn, &key, &chain->id, err) ||
	    !name_is_free(txn, chain->id.name, err))
		return false;

	struct spool_chain row = { .id = chain->id,
		                   .key = key,
		                   .state = SPOOL_CHAIN_ACTIVE,
		                   .state_since_ms = chain->now_ms,
		                   .sink = chain->sink,
		                   .class = chain->class,
		                   .added_ms = chain->now_ms,
		                   .first_height = chain->first_height,
		                   .next_height = chain->first_height,
		                   .tip = chain->tip,
		                   .pending_from = chain->first_height,
		                   .anchored_next = chain->first_height,
		                   .anchored_floor = chain->first_height,
		                   .held_from = chain->first_height,
		                   .known_from = chain->first_height,
		                   .trust_from = chain->first_height };
	spool_text_copy(row.format, sizeof(row.format), chain->format);
	spool_save_chain(txn, &row);
	struct spool_key name = spool_key_name(chain->id.name);
	txn_put(&txn->txn, SPOOL_NAMES, spool_key_bytes(&name), BYTES_OF(key));
	struct spool_key trust = spool_key_height(&key, chain->first_height);
	txn_insert(&txn->txn, SPOOL_TRUST, spool_key_bytes(&trust), chain->trust);
	txn->totals.chain_count++;
	return txn_check(&txn->txn, err);
}

/* ---- changing ---- */

bool spool_chain_set_state(struct spool_txn *txn, const struct spool_chain_state_change *change,
                           struct err *err)
{
	struct spool_chain chain;
	if (!spool_load_chain(txn, &change->chain, &chain, err))
		return false;
	if (spool_is_stranger(&chain.key))
		return err_set(err, ZR_STATE, "no such chain");
	if (chain.state == SPOOL_CHAIN_RETIRED && change->state != SPOOL_CHAIN_RETIRED)
		return err_set(err, ZR_STATE, "%s is retired", chain.id.name);
	chain.state = change->state;
	chain.state_since_ms = change->now_ms;
	chain.delivery_held = change->delivery_held;
	spool_text_copy(chain.state_reason, sizeof(chain.state_reason), change->reason);
	spool_text_copy(chain.state_who, sizeof(chain.state_who), change->who);
	spool_save_chain(txn, &chain);
	spool_index_pending(txn, &chain);
	return txn_check(&txn->txn, err);
}

bool spool_chain_set_class(struct spool_txn *txn, const struct chain_key *key, uint8_t class,
                           struct err *err)
{
	struct spool_chain chain;
	if (!spool_load_chain(txn, key, &chain, err))
		return false;
	if (chain.class == class)
		return true;
	struct spool_key old = spool_key_pending(chain.sink, chain.class, key);
	(void)spool_delete(txn, SPOOL_PENDING, &old);
	chain.class = class;
	spool_save_chain(txn, &chain);
	spool_index_pending(txn, &chain);
	return txn_check(&txn->txn, err);
}

bool spool_chain_add_duplicates(struct spool_txn *txn, const struct chain_key *key,
                                uint64_t block_count, struct err *err)
{
	struct spool_chain chain;
	if (!spool_load_chain(txn, key, &chain, err))
		return false;
	chain.duplicate_blocks += block_count;
	txn->totals.duplicate_blocks += block_count;
	spool_save_chain(txn, &chain);
	return txn_check(&txn->txn, err);
}

bool spool_chain_set_trust(struct spool_txn *txn, const struct chain_key *key, struct bytes trust,
                           struct err *err)
{
	struct spool_chain chain;
	if (trust.size == 0)
		return err_set(err, ZR_INVALID, "the trust set is empty");
	if (!spool_load_chain(txn, key, &chain, err))
		return false;
	struct spool_key row = spool_key_height(key, chain.next_height);
	txn_put(&txn->txn, SPOOL_TRUST, spool_key_bytes(&row), trust);
	chain.trust_from = chain.next_height;
	spool_save_chain(txn, &chain);
	return txn_check(&txn->txn, err);
}

/* ---- adopting ---- */

static bool adoption_fits(struct spool_txn *txn, const struct spool_adoption *adoption,
                          const struct spool_chain *chain, struct err *err)
{
	if (chain->state == SPOOL_CHAIN_RETIRED)
		return err_set(err, ZR_STATE, "%s is retired", chain->id.name);
	if (chain->pending_from != chain->anchored_next)
		return err_set(err, ZR_STATE, "%s has anchors that are not final", chain->id.name);
	if (adoption->next_height < chain->next_height || adoption->next_height > SPOOL_HEIGHT_MAX)
		return err_set(err, ZR_STATE, "%s is at height %" PRIu64 " already", chain->id.name,
		               chain->next_height);
	if (adoption->next_height == chain->next_height && !hash_equal(&adoption->tip, &chain->tip))
		return err_set(err, ZR_STATE, "%s has another block below height %" PRIu64,
		               chain->id.name, chain->next_height);
	if (adoption->next_height > 0 && hash_is_zero(&adoption->tip))
		return err_set(err, ZR_STATE, "the block to go on after is not named");
	if (adoption->anchored_next < chain->anchored_next ||
	    adoption->anchored_next > adoption->next_height)
		return err_set(err, ZR_STATE, "anchored up to %" PRIu64 " does not fit",
		               adoption->anchored_next);
	/* Only whole batches are anchored. */
	struct spool_span span;
	if (adoption->anchored_next < chain->next_height &&
	    spool_span_with(&txn->txn, &chain->key, adoption->anchored_next, &span) &&
	    span.row.info.first_height != adoption->anchored_next)
		return err_set(err, ZR_STATE, "height %" PRIu64 " is inside a batch from %" PRIu64,
		               adoption->anchored_next, span.row.info.first_height);
	return txn_check(&txn->txn, err);
}

/* The batches below anchored_next count as anchored from now on. */
static void adopt_anchored(struct spool_txn *txn, struct spool_chain *chain, uint64_t anchored_next)
{
	struct spool_span span;
	uint64_t at = chain->anchored_next;
	while (at < anchored_next && spool_span_at_or_after(&txn->txn, &chain->key, at, &span) &&
	       span.row.info.first_height < anchored_next) {
		chain->anchored_blocks += span.row.info.block_count;
		txn->totals.anchored_blocks += span.row.info.block_count;
		txn->totals.final_bytes += span.row.info.payload_size;
		at = spool_span_next(&span);
	}
}

static void declare_lost(struct spool_txn *txn, const struct spool_adoption *adoption,
                         struct spool_chain *chain)
{
	struct spool_tombstone tombstone = { .kind = SPOOL_TOMBSTONE_LOST,
		                             .chain = chain->key,
		                             .from = chain->next_height,
		                             .to = adoption->next_height - 1,
		                             .hash = adoption->tip,
		                             .time_ms = adoption->now_ms };
	spool_text_copy(tombstone.who, sizeof(tombstone.who), adoption->who);
	spool_text_copy(tombstone.why, sizeof(tombstone.why), adoption->why);
	spool_put_tombstone(txn, &tombstone);
	chain->lost_heights += adoption->next_height - chain->next_height;
}

bool spool_chain_adopt(struct spool_txn *txn, const struct spool_adoption *adoption,
                       struct err *err)
{
	struct spool_chain chain;
	if (!spool_load_chain(txn, &adoption->chain, &chain, err) ||
	    !adoption_fits(txn, adoption, &chain, err))
		return false;

	adopt_anchored(txn, &chain, adoption->anchored_next);
	if (adoption->next_height > chain.next_height)
		declare_lost(txn, adoption, &chain);
	if (chain.held_batches == 0)
		chain.held_from = adoption->next_height;
	chain.next_height = adoption->next_height;
	chain.tip = adoption->tip;
	/* Inside the lost heights there is nothing to anchor: on to where blocks are again. */
	struct spool_span span;
	uint64_t anchored_next = adoption->anchored_next;
	if (anchored_next < chain.next_height)
		anchored_next = spool_span_at_or_after(&txn->txn, &chain.key, anchored_next, &span)
		                        ? span.row.info.first_height
		                        : chain.next_height;
	chain.anchored_next = anchored_next;
	chain.anchored_floor = chain.anchored_next;
	chain.pending_from = chain.anchored_next;
	chain.state = SPOOL_CHAIN_ACTIVE;
	chain.delivery_held = false;
	chain.state_since_ms = adoption->now_ms;
	spool_text_copy(chain.state_reason, sizeof(chain.state_reason), adoption->why);
	spool_text_copy(chain.state_who, sizeof(chain.state_who), adoption->who);
	if (!txn_check(&txn->txn, err))
		return false;
	spool_save_chain(txn, &chain);
	spool_index_pending(txn, &chain);
	return txn_check(&txn->txn, err);
}

/* ---- reading ---- */

bool spool_chain_in(struct spool_txn *txn, const struct chain_key *key,
                    struct spool_chain *out_chain, struct err *err)
{
	struct spool_chain chain;
	if (!spool_load_chain(txn, key, &chain, err))
		return false;
	*out_chain = chain;
	return true;
}

bool spool_chain(struct spool *spool, const struct chain_key *key, struct spool_chain *out_chain,
                 struct err *err)
{
	struct txn txn;
	struct spool_chain chain;
	txn_begin(&txn, spool->store, TXN_READ);
	bool found = spool_read_chain(&txn, key, &chain);
	if (!spool_end_read(&txn, found, "no such chain", err))
		return false;
	*out_chain = chain;
	return true;
}

bool spool_chain_by_name(struct spool *spool, const char *name, struct spool_chain *out_chain,
                         struct err *err)
{
	if (!chain_name_valid(name))
		return err_set(err, ZR_STATE, "\"%s\" is not a chain's name", name);
	struct spool_key row = spool_key_name(name);
	struct txn txn;
	struct bytes value;
	struct chain_key key;
	struct spool_chain chain;
	txn_begin(&txn, spool->store, TXN_READ);
	bool found = spool_get(&txn, SPOOL_NAMES, &row, &value);
	if (found && (!spool_key_chain_read(value, &key) || !spool_read_chain(&txn, &key, &chain)))
		spool_damaged(&txn, SPOOL_NAMES, spool_key_bytes(&row));
	if (!spool_end_read(&txn, found, "no such chain", err))
		return err_wrap(err, "%s", name);
	*out_chain = chain;
	return true;
}

bool spool_chains_page(struct spool *spool, const struct chain_key *after,
                       struct spool_chain *out_chains, size_t count_max, size_t *out_count,
                       struct err *err)
{
	static const struct chain_key none;
	struct spool_key at = spool_key_chain(after != NULL ? after : &none);
	struct txn txn;
	struct bytes key, value;
	size_t count = 0;
	txn_begin(&txn, spool->store, TXN_READ);
	while (count < count_max &&
	       txn_after(&txn, SPOOL_CHAINS, spool_key_bytes(&at), &key, &value)) {
		if (!spool_chain_decode(value, &out_chains[count]) || key.size != CHAIN_KEY_SIZE) {
			spool_damaged(&txn, SPOOL_CHAINS, key);
			break;
		}
		memcpy(at.bytes, key.data, CHAIN_KEY_SIZE);
		count++;
	}
	if (!spool_end_read(&txn, true, "", err))
		return false;
	*out_count = count;
	return true;
}

bool spool_trust_at(struct spool *spool, const struct chain_key *chain, uint64_t height,
                    struct buffer *out_trust, uint64_t *out_from, struct err *err)
{
	/* The last set at or below height: the one before height + 1. */
	struct spool_key above = spool_key_height(chain, height < UINT64_MAX ? height + 1 : height);
	struct txn txn;
	struct bytes key, value;
	struct chain_key owner;
	uint64_t from = 0;
	txn_begin(&txn, spool->store, TXN_READ);
	bool found = txn_before(&txn, SPOOL_TRUST, spool_key_bytes(&above), &key, &value) &&
	             spool_key_height_read(key, &owner, &from) && chain_key_equal(&owner, chain);
	if (found)
		buffer_put(out_trust, value);
	if (!spool_end_read(&txn, found, "no trust set is known for that height", err) ||
	    !buffer_ok(out_trust, err))
		return false;
	*out_from = from;
	return true;
}
