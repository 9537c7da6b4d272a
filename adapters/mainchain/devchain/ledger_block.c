/* Judging submissions and making blocks of them. */
#include <assert.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "adapters/mainchain/devchain/ledger_private.h"

/* ---- judging ---- */

static void refuse(struct ledger_verdict *verdict, enum api_reason reason, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

static void refuse(struct ledger_verdict *verdict, enum api_reason reason, const char *format, ...)
{
	va_list arguments;
	verdict->accepted = false;
	verdict->reason = reason;
	va_start(arguments, format);
	(void)vsnprintf(verdict->detail, sizeof(verdict->detail), format, arguments);
	va_end(arguments);
}

/* Is the key recorded already? Then nothing else matters but that the body is the same. */
static bool judge_known(struct txn *txn, struct ledger_submission *submission)
{
	struct ledger_verdict *verdict = &submission->verdict;
	struct bytes content;
	if (!find_place(txn, &submission->key, &verdict->place))
		return false;
	if (verdict->place.transaction.lane != submission->lane)
		refuse(verdict, API_CONTENT, "the anchor is of lane %u",
		       verdict->place.transaction.lane);
	else if (!txn_get(txn, TABLE_CONTENTS, BYTES_OF(submission->key.bytes), &content) ||
	         !bytes_equal(content, submission->content))
		refuse(verdict, API_CHANGED, "this key is recorded with another body");
	else
		verdict->before = true;
	return true;
}

static bool judge_order(struct txn *txn, const struct anchor *anchor,
                        struct ledger_submission *submission)
{
	struct ledger_head head = { .seq = 0 };
	find_head(txn, submission->lane, UINT64_MAX, &head);
	if (submission->fence != head.fence || head.fence == 0) {
		refuse(&submission->verdict, API_FENCED, "fence %" PRIu64 " is in force",
		       head.fence);
		submission->verdict.fence = head.fence;
		return false;
	}
	if (anchor->seq != head.seq + 1 || !hash_equal(&anchor->previous, &head.root)) {
		refuse(&submission->verdict, API_PREVIOUS,
		       "sequence %" PRIu64 " does not follow on the head, %" PRIu64
		       ", with its previous root",
		       anchor->seq, head.seq);
		return false;
	}
	return true;
}

static bool judge_batches(struct txn *txn, const struct anchor *anchor,
                          struct ledger_verdict *verdict)
{
	for (size_t i = 0; i < anchor->batch_count; i++) {
		const struct hash *content = &anchor->batches[i].content;
		if (!txn_has(txn, TABLE_BATCHES, BYTES_OF(content->bytes))) {
			refuse(verdict, API_MISSING, "batch %zu is not stored", i);
			verdict->content = *content;
			return false;
		}
	}
	return true;
}

static bool judge_entries(const struct anchor *anchor, const struct ledger_rules *rules,
                          struct ledger_verdict *verdict)
{
	for (size_t i = 0; rules->refuses != NULL && i < anchor->entry_count; i++) {
		if (rules->refuses(anchor->entries[i].chain.name, rules->arg)) {
			refuse(verdict, API_CONTENT, "side chain %s is refused",
			       anchor->entries[i].chain.name);
			verdict->entry_index = (int64_t)i;
			return false;
		}
	}
	return true;
}

/* The order of these checks is the API's. Gives the decoded anchor where it is new and acceptable. */
static void judge(struct txn *txn, struct ledger_submission *submission,
                  const struct ledger_rules *rules, struct anchor_decoded **out_decoded)
{
	struct ledger_verdict *verdict = &submission->verdict;
	struct anchor_decoded *decoded;
	struct err err;
	*out_decoded = NULL;
	memset(verdict, 0, sizeof(*verdict));
	verdict->accepted = true;
	verdict->entry_index = -1;
	if (judge_known(txn, submission))
		return;
	if (!anchor_content_decode(submission->content, &decoded, &err)) {
		if (err.code == ZR_INVALID)
			refuse(verdict, API_CONTENT, "%.140s", err.message);
		else
			txn_fail(txn, err.code, "%s",
			         err.message); /* Says nothing of the anchor. */
		return;
	}
	const struct anchor *anchor = anchor_decoded_view(decoded);
	struct hash key = anchor_key(anchor->alg, submission->content);
	if (!hash_equal(&key, &submission->key))
		refuse(verdict, API_CONTENT, "the key is not the hash of the body");
	else if (anchor->lane != submission->lane)
		refuse(verdict, API_CONTENT, "the anchor is of lane %u", anchor->lane);
	else if (anchor->seq > MAIN_NUMBER_MAX)
		refuse(verdict, API_CONTENT, "sequence %" PRIu64, anchor->seq);
	else if (judge_order(txn, anchor, submission) && judge_batches(txn, anchor, verdict) &&
	         judge_entries(anchor, rules, verdict)) {
		*out_decoded = decoded;
		return;
	}
	anchor_decoded_free(decoded);
}

bool ledger_judge(struct ledger *ledger, struct ledger_submission *submission,
                  const struct ledger_rules *rules, struct err *err)
{
	struct anchor_decoded *decoded;
	struct txn txn;
	txn_begin(&txn, ledger->store, TXN_READ);
	judge(&txn, submission, rules, &decoded);
	anchor_decoded_free(decoded);
	return txn_commit(&txn, err) || err_wrap(err, "ledger");
}

/* ---- recording ---- */

static void record_chain(struct txn *txn, const struct chain_key *key, const struct chain_id *id)
{
	if (txn_has(txn, TABLE_CHAINS, BYTES_OF(key->bytes)))
		return;
	struct buffer value = BUFFER_EMPTY;
	buffer_put_hash(&value, &id->epoch);
	buffer_put_short(&value, bytes_of_string(id->name));
	if (value.failed)
		txn_fail(txn, ZR_NO_MEMORY, "a side chain");
	txn_insert(txn, TABLE_CHAINS, BYTES_OF(key->bytes), buffer_bytes(&value));
	buffer_fini(&value);
}

static void record_entries(struct txn *txn, const struct anchor *anchor,
                           const struct main_transaction *transaction)
{
	for (size_t i = 0; i < anchor->entry_count; i++) {
		const struct entry *entry = &anchor->entries[i];
		struct chain_key chain = chain_key(&entry->chain);
		struct ledger_key range = range_key(&chain, entry->from, transaction, (uint32_t)i);
		uint8_t to[8];
		put_be64(to, entry->to);
		record_chain(txn, &chain, &entry->chain);
		txn_insert(txn, TABLE_RANGES, ledger_key_bytes(&range), BYTES_OF(to));
	}
}

static void record_anchor(struct txn *txn, const struct anchor *anchor,
                          const struct ledger_submission *submission,
                          const struct ledger_place *place)
{
	struct ledger_key sequence = sequence_key(anchor->lane, anchor->seq);
	struct bytes key = BYTES_OF(submission->key.bytes);
	struct buffer value = BUFFER_EMPTY;
	buffer_put_u64(&value, place->block);
	buffer_put_u32(&value, place->index);
	main_transaction_encode(&place->transaction, &value);
	if (value.failed)
		txn_fail(txn, ZR_NO_MEMORY, "an anchor");
	txn_insert(txn, TABLE_ANCHORS, key, buffer_bytes(&value));
	txn_insert(txn, TABLE_CONTENTS, key, submission->content);
	txn_insert(txn, TABLE_SEQUENCE, ledger_key_bytes(&sequence), key);
	record_entries(txn, anchor, &place->transaction);
	buffer_fini(&value);
}

/* ---- blocks ---- */

static void put_block_row(struct txn *txn, uint64_t height, struct bytes record,
                          const struct hash *key_id, const struct signature *signature)
{
	struct ledger_key key = height_key(height);
	struct buffer value = BUFFER_EMPTY;
	buffer_put_short(&value, record);
	if (signature != NULL) {
		buffer_put_hash(&value, key_id);
		buffer_put_short(&value, signature_bytes(signature));
	}
	if (value.failed)
		txn_fail(txn, ZR_NO_MEMORY, "a block");
	txn_put(txn, TABLE_BLOCKS, ledger_key_bytes(&key), buffer_bytes(&value));
	buffer_fini(&value);
}

/* The header record of height; borrowed until the next change. BYTES_NONE on failure. */
static struct bytes block_record(struct txn *txn, uint64_t height)
{
	struct ledger_key key = height_key(height);
	struct bytes value;
	if (!txn_get(txn, TABLE_BLOCKS, ledger_key_bytes(&key), &value)) {
		txn_fail(txn, ZR_CORRUPT, "block %" PRIu64 " is missing", height);
		return BYTES_NONE;
	}
	struct reader reader = reader_of(value);
	return reader_short(&reader);
}

static void sign_block(struct txn *txn, const struct key *key, uint64_t height)
{
	struct signature signature;
	struct err err;
	struct buffer record = BUFFER_EMPTY; /* A copy: the row is about to change. */
	buffer_put(&record, block_record(txn, height));
	struct hash id = key_id(key);
	if (txn_ok(txn) && !record.failed) {
		if (key_sign(key, buffer_bytes(&record), &signature, &err))
			put_block_row(txn, height, buffer_bytes(&record), &id, &signature);
		else
			txn_fail(txn, err.code, "%s", err.message);
	} else if (record.failed) {
		txn_fail(txn, ZR_NO_MEMORY, "a block");
	}
	buffer_fini(&record);
}

/* Time never goes back from one block to the next, whatever the clock does. */
static void follow_on(struct txn *txn, struct main_block *block, int64_t now_ms)
{
	struct main_block before;
	struct err err;
	block->time_ms = now_ms;
	if (block->height == 1)
		return;
	struct bytes record = block_record(txn, block->height - 1);
	if (!txn_ok(txn))
		return;
	if (!main_block_decode(record, &before, &err)) {
		txn_fail(txn, ZR_CORRUPT, "%s", err.message);
		return;
	}
	block->previous = main_block_hash(block->alg, record);
	if (before.time_ms > now_ms)
		block->time_ms = before.time_ms;
}

static struct hash put_transactions(struct txn *txn, const struct main_block *block,
                                    const struct main_transaction *transactions, size_t count)
{
	struct merkle_builder builder;
	merkle_builder_init(&builder, block->alg);
	for (size_t i = 0; i < count; i++) {
		struct ledger_key key = transaction_key(block->height, (uint32_t)i);
		struct buffer record = BUFFER_EMPTY;
		main_transaction_encode(&transactions[i], &record);
		if (record.failed)
			txn_fail(txn, ZR_NO_MEMORY, "a transaction");
		struct hash leaf = merkle_leaf(block->alg, buffer_bytes(&record));
		merkle_builder_add(&builder, &leaf);
		txn_insert(txn, TABLE_TRANSACTIONS, ledger_key_bytes(&key), buffer_bytes(&record));
		buffer_fini(&record);
	}
	return merkle_builder_root(&builder);
}

void add_block(struct txn *txn, struct ledger *ledger, struct ledger_state *state,
               const struct main_transaction *transactions, size_t count,
               const struct ledger_rules *rules, int64_t now_ms)
{
	struct main_block block = { .alg = state->alg,
		                    .height = state->height + 1,
		                    .count = count };
	memcpy(block.chain, state->chain, sizeof(block.chain));
	follow_on(txn, &block, now_ms);
	block.root = put_transactions(txn, &block, transactions, count);
	struct buffer record = BUFFER_EMPTY;
	main_block_encode(&block, &record);
	if (record.failed)
		txn_fail(txn, ZR_NO_MEMORY, "a block");
	put_block_row(txn, block.height, buffer_bytes(&record), NULL, NULL);
	buffer_fini(&record);

	state->height = block.height;
	while (txn_ok(txn) && !rules->hold_finality &&
	       state->final_height + rules->finality_blocks < state->height)
		sign_block(txn, ledger->key, ++state->final_height);
}

bool ledger_make_block(struct ledger *ledger, struct ledger_submission *const *submissions,
                       size_t count, const struct ledger_rules *rules, int64_t now_ms,
                       struct err *err)
{
	assert(count <= LEDGER_BLOCK_MAX);
	struct ledger_state state = ledger->state;
	struct main_transaction transactions[LEDGER_BLOCK_MAX];
	uint32_t recorded = 0;
	struct txn txn;
	txn_begin(&txn, ledger->store, TXN_WRITE);
	for (size_t i = 0; i < count; i++) {
		struct ledger_submission *submission = submissions[i];
		struct anchor_decoded *decoded;
		judge(&txn, submission, rules, &decoded);
		if (decoded == NULL)
			continue;
		const struct anchor *anchor = anchor_decoded_view(decoded);
		struct ledger_place *place = &submission->verdict.place;
		*place = (struct ledger_place){ .block = state.height + 1, .index = recorded };
		place->transaction = (struct main_transaction){ .alg = anchor->alg,
			                                        .lane = anchor->lane,
			                                        .seq = anchor->seq,
			                                        .fence = submission->fence,
			                                        .root = anchor->root,
			                                        .key = submission->key };
		record_anchor(&txn, anchor, submission, place);
		transactions[recorded++] = place->transaction;
		anchor_decoded_free(decoded);
	}
	add_block(&txn, ledger, &state, transactions, recorded, rules, now_ms);
	return ledger_commit(ledger, &txn, &state, err);
}
