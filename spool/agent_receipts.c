/* agent_receipts.c -- custody and anchor receipts of the agent.
 *
 *     custody    chain, to -> from 8, tip 32, content 32, store UUID 16, the message
 *     runs       chain, from -> to 8, root 32, lane 2, seq 8, entry index 4
 *     messages   root 32 -> runs that need it 4, the message
 */
#include <inttypes.h>
#include <string.h>

#include "spool/agent_private.h"

/* ---- custody ------------------------------------------------------------------------------- */

static void custody_encode(const struct agent_custody *custody, struct bytes receipt,
                           struct buffer *out)
{
	buffer_put_u64(out, custody->from);
	buffer_put_hash(out, &custody->tip);
	buffer_put_hash(out, &custody->content);
	buffer_put(out, BYTES_OF(custody->store_uuid));
	buffer_put(out, receipt);
}

static void drop_oldest_custody(struct txn *txn, const struct chain_key *chain)
{
	struct bytes key;
	uint64_t to = 0;
	struct agent_key oldest[AGENT_CUSTODY_KEPT + 1];
	size_t count = 0;
	struct agent_key from = agent_key(chain, 0);
	bool found = txn_at_or_after(txn, AGENT_CUSTODY, BYTES_OF(from), &key, NULL);
	while (found && agent_key_of(key, chain, &to) && count <= AGENT_CUSTODY_KEPT) {
		oldest[count++] = agent_key(chain, to);
		found = txn_after(txn, AGENT_CUSTODY, key, &key, NULL);
	}
	if (count > AGENT_CUSTODY_KEPT)
		(void)txn_delete(txn, AGENT_CUSTODY, BYTES_OF(oldest[0]));
}

bool agent_custody_put(struct agent_store *store, const struct chain_key *chain,
                       const struct agent_custody *custody, struct bytes receipt, struct err *err)
{
	struct agent_chain row;
	struct txn txn;
	txn_begin(&txn, store->store, TXN_WRITE);
	if (agent_chain_read(&txn, chain, &row)) {
		struct buffer value = BUFFER_EMPTY;
		struct agent_key at = agent_key(chain, custody->to);
		custody_encode(custody, receipt, &value);
		agent_put_buffer(&txn, AGENT_CUSTODY, BYTES_OF(at), &value);
		drop_oldest_custody(&txn, chain);
		if (custody->to + 1 > row.durable_next) {
			row.durable_next = custody->to + 1;
			agent_chain_write(&txn, chain, &row);
		}
	}
	return txn_commit(&txn, err) || err_wrap(err, "keep a custody receipt");
}

/* The last row of the chain: the one before where the next chain's would begin. */
static bool newest_custody(struct txn *txn, const struct chain_key *chain, uint64_t *out_to,
                           struct bytes *out_value)
{
	struct bytes key;
	struct agent_key end = agent_key(chain, UINT64_MAX);
	return txn_before(txn, AGENT_CUSTODY, BYTES_OF(end), &key, out_value) &&
	       agent_key_of(key, chain, out_to);
}

bool agent_custody_newest(struct agent_store *store, const struct chain_key *chain,
                          struct agent_custody *out_custody, struct buffer *out_receipt,
                          bool *out_found, struct err *err)
{
	struct agent_custody custody = { .to = 0 };
	struct bytes value;
	struct txn txn;
	txn_begin(&txn, store->store, TXN_READ);
	bool found = newest_custody(&txn, chain, &custody.to, &value);
	if (found) {
		struct reader reader = reader_of(value);
		custody.from = reader_u64(&reader);
		custody.tip = reader_hash(&reader);
		custody.content = reader_hash(&reader);
		struct bytes uuid = reader_bytes(&reader, STORE_UUID_SIZE);
		if (reader.failed)
			txn_fail(&txn, ZR_CORRUPT, "a custody receipt is malformed");
		else
			memcpy(custody.store_uuid, uuid.data, STORE_UUID_SIZE);
		agent_copy(&txn, reader.rest, out_receipt);
	}
	if (!txn_commit(&txn, err))
		return err_wrap(err, "the newest custody receipt");
	*out_found = found;
	if (found)
		*out_custody = custody;
	return true;
}

/* ---- anchored runs ------------------------------------------------------------------------- */

static void run_encode(const struct agent_anchored *run, struct buffer *out)
{
	buffer_put_u64(out, run->to);
	buffer_put_hash(out, &run->root);
	buffer_put_u16(out, run->lane);
	buffer_put_u64(out, run->seq);
	buffer_put_u32(out, run->entry_index);
}

static bool run_decode(struct txn *txn, uint64_t from, struct bytes value,
                       struct agent_anchored *out_run)
{
	struct reader reader = reader_of(value);
	*out_run = (struct agent_anchored){ .from = from };
	out_run->to = reader_u64(&reader);
	out_run->root = reader_hash(&reader);
	out_run->lane = reader_u16(&reader);
	out_run->seq = reader_u64(&reader);
	out_run->entry_index = reader_u32(&reader);
	if (!reader_done(&reader) || out_run->to < from) {
		txn_fail(txn, ZR_CORRUPT, "an anchored run is malformed");
		return false;
	}
	return true;
}

/* The run that has `height`, or the first above it. */
static bool run_at(struct txn *txn, const struct chain_key *chain, uint64_t height,
                   struct agent_anchored *out_run)
{
	struct bytes key, value;
	uint64_t from = 0;
	struct agent_key after = agent_key(chain, height + 1);
	if (txn_before(txn, AGENT_RUNS, BYTES_OF(after), &key, &value) &&
	    agent_key_of(key, chain, &from) && run_decode(txn, from, value, out_run) &&
	    out_run->to >= height)
		return true;
	return txn_at_or_after(txn, AGENT_RUNS, BYTES_OF(after), &key, &value) &&
	       agent_key_of(key, chain, &from) && run_decode(txn, from, value, out_run);
}

static void advance_anchored(struct txn *txn, const struct chain_key *key)
{
	struct agent_chain chain;
	struct agent_anchored run;
	if (!agent_chain_read(txn, key, &chain))
		return;
	uint64_t next = chain.anchored_next;
	/* A chain pinned in mid-life has nothing before its first block. */
	if (next == 0 && !chain.is_ledger)
		next = chain.oldest_height;
	while (run_at(txn, key, next, &run) && run.from <= next)
		next = run.to + 1;
	if (next > chain.anchored_next) {
		chain.anchored_next = next;
		agent_chain_write(txn, key, &chain);
	}
}

bool agent_anchored_put(struct agent_store *store, struct bytes message,
                        const struct agent_anchored_run *runs, size_t count, struct err *err)
{
	struct txn txn;
	uint32_t added = 0;
	txn_begin(&txn, store->store, TXN_WRITE);
	for (size_t i = 0; i < count && txn_ok(&txn); i++) {
		struct agent_key at = agent_key(&runs[i].chain, runs[i].anchored.from);
		struct agent_chain chain;
		if (!agent_chain_read(&txn, &runs[i].chain, &chain))
			break;
		if (txn_has(&txn, AGENT_RUNS, BYTES_OF(at)))
			continue;
		struct buffer value = BUFFER_EMPTY;
		run_encode(&runs[i].anchored, &value);
		agent_put_buffer(&txn, AGENT_RUNS, BYTES_OF(at), &value);
		advance_anchored(&txn, &runs[i].chain);
		added++;
	}
	if (added > 0 && txn_ok(&txn)) {
		struct buffer value = BUFFER_EMPTY;
		struct bytes known;
		struct bytes key = BYTES_OF(runs[0].anchored.root);
		uint32_t users = txn_get(&txn, AGENT_MESSAGES, key, &known) && known.size >= 4
		                         ? get_be32(known.data)
		                         : 0;
		buffer_put_u32(&value, users + added);
		buffer_put(&value, message);
		agent_put_buffer(&txn, AGENT_MESSAGES, key, &value);
	}
	return txn_commit(&txn, err) || err_wrap(err, "keep an anchor receipt");
}

bool agent_anchored(struct agent_store *store, const struct chain_key *chain, uint64_t height,
                    struct agent_anchored *out_anchored, struct buffer *out_message,
                    bool *out_found, struct err *err)
{
	struct agent_anchored run;
	struct bytes value;
	struct txn txn;
	txn_begin(&txn, store->store, TXN_READ);
	bool found = run_at(&txn, chain, height, &run) && run.from <= height;
	if (found && out_message != NULL) {
		if (txn_get(&txn, AGENT_MESSAGES, BYTES_OF(run.root), &value) && value.size >= 4)
			agent_copy(&txn, (struct bytes){ value.data + 4, value.size - 4 },
			           out_message);
		else
			txn_fail(&txn, ZR_CORRUPT, "the message of an anchored run is missing");
	}
	if (!txn_commit(&txn, err))
		return err_wrap(err, "the anchor receipt of block %" PRIu64, height);
	*out_found = found;
	if (found)
		*out_anchored = run;
	return true;
}

bool agent_anchored_page(struct agent_store *store, const struct chain_key *chain, uint64_t from,
                         struct agent_anchored *out_runs, size_t count_max, size_t *out_count,
                         struct err *err)
{
	size_t count = 0;
	uint64_t height = from;
	struct txn txn;
	txn_begin(&txn, store->store, TXN_READ);
	while (count < count_max && run_at(&txn, chain, height, &out_runs[count])) {
		height = out_runs[count].to + 1;
		count++;
	}
	if (!txn_commit(&txn, err))
		return err_wrap(err, "anchor receipts from %" PRIu64 " on", from);
	*out_count = count;
	return true;
}

/* ---- pruning ------------------------------------------------------------------------------- */

static void release_message(struct txn *txn, const struct hash *root)
{
	struct bytes value;
	if (!txn_get(txn, AGENT_MESSAGES, BYTES_OF(*root), &value) || value.size < 4)
		return;
	uint32_t users = get_be32(value.data);
	if (users <= 1) {
		(void)txn_delete(txn, AGENT_MESSAGES, BYTES_OF(*root));
		return;
	}
	struct buffer changed = BUFFER_EMPTY;
	buffer_put_u32(&changed, users - 1);
	buffer_put(&changed, (struct bytes){ value.data + 4, value.size - 4 });
	agent_put_buffer(txn, AGENT_MESSAGES, BYTES_OF(*root), &changed);
}

/* Deletes up to *count rows of headers of the run; true once all of them are gone. */
static bool drop_headers(struct txn *txn, const struct chain_key *chain,
                         const struct agent_anchored *run, size_t *count)
{
	struct bytes key;
	uint64_t height = 0;
	/* The genesis stays: it names the chain. */
	struct agent_key from = agent_key(chain, run->from > 0 ? run->from : 1);
	while (txn_at_or_after(txn, AGENT_HEADERS, BYTES_OF(from), &key, NULL) &&
	       agent_key_of(key, chain, &height) && height <= run->to) {
		if (*count == 0)
			return false;
		struct agent_key at = agent_key(chain, height);
		(void)txn_delete(txn, AGENT_HEADERS, BYTES_OF(at));
		(*count)--;
	}
	return true;
}

bool agent_prune_receipts(struct agent_store *store, const struct chain_key *chain, uint64_t below,
                          size_t count_max, bool *out_more, struct err *err)
{
	struct agent_anchored run;
	bool more = false;
	size_t count = count_max;
	struct txn txn;
	txn_begin(&txn, store->store, TXN_WRITE);
	while ((more = run_at(&txn, chain, 0, &run) && run.to < below) && count > 0) {
		if (!drop_headers(&txn, chain, &run, &count))
			break;
		struct agent_key at = agent_key(chain, run.from);
		(void)txn_delete(&txn, AGENT_RUNS, BYTES_OF(at));
		release_message(&txn, &run.root);
		count -= count > 0 ? 1 : 0;
	}
	if (!txn_commit(&txn, err))
		return err_wrap(err, "prune receipts below %" PRIu64, below);
	*out_more = more;
	return true;
}
