/* receipts.c -- custody and anchor receipts, checked against our own blocks before they count. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "proto/receipt.h"
#include "relay/base/fault_point.h"
#include "relay/base/log.h"
#include "relay/edge/agent.h"

#define ENTRY_BLOCKS_MAX 65536u /* Of one anchored run: headers are read at once to check it. */

/* The gateway says what is anchored again at the next welcome. */
static void have_it_repeated(struct agent *agent, const struct err *why)
{
	link_give_up(agent, ZONERELAY__LINK__GOODBYE_REASON__GOODBYE_REASON_BUSY, "a receipt: %s",
	             why->message);
}

static void refuse(struct agent *agent, struct edge_chain *chain, const char *kind,
                   const struct err *why)
{
	if (why->code == ZR_NO_MEMORY) { /* It may be as good as any. */
		have_it_repeated(agent, why);
		return;
	}
	chain->receipts_refused++;
	log_error("receipt-refused", "chain=%s kind=%s detail=\"%s\"", chain->config->name, kind,
	          why->message);
}

/* ---- custody ---- */

/* The record that the receipt must be for: our own block, and the batch as we sent it or, where
 * another agent sent the blocks, as the gateway says. */
static bool expected_custody(struct agent *agent, const Zonerelay__Link__Ack *ack,
                             struct custody *out_custody)
{
	struct edge_chain *chain = &agent->chains[ack->chain];
	struct bytes content = { ack->content.data, ack->content.len };
	struct block_header tip;
	uint64_t to = ack->durable_next - 1;
	const struct upload_batch *sent = upload_find(agent->upload, ack->chain, ack->from, to);
	if (!edge_chain_header(agent, chain, to, &tip))
		return false;
	*out_custody = (struct custody){
		.chain = chain->source->id, .from = ack->from, .to = to, .tip = tip.hash
	};
	if (hash_from_bytes(&out_custody->content, content))
		return true;
	if (sent == NULL)
		return false;
	out_custody->content = sent->content;
	return true;
}

static bool note_custody(struct agent *agent, struct edge_chain *chain,
                         const struct custody *custody,
                         const Zonerelay__Link__CustodyReceipt *receipt, struct err *err)
{
	struct bytes id = { receipt->key_id.data, receipt->key_id.len };
	const struct key *key = receipt_keys_find(&agent->link.keys, id);
	if (key == NULL)
		return err_set(err, ZR_UNTRUSTED, "signed by a key that is not certified");
	if (!custody_receipt_check(receipt, agent->link.store_uuid, custody, key, err))
		return false;
	struct custody_news *news = &chain->custody;
	if (news->waiting && news->custody.to >= custody->to)
		return true;
	buffer_clear(&news->receipt);
	news->waiting = false;
	if (!link_custody_encode(receipt, &news->receipt, err))
		return false;
	news->custody = (struct agent_custody){ .from = custody->from,
		                                .to = custody->to,
		                                .tip = custody->tip,
		                                .content = custody->content };
	memcpy(news->custody.store_uuid, agent->link.store_uuid, STORE_UUID_SIZE);
	news->waiting = true;
	return true;
}

void receipt_on_ack(struct agent *agent, const Zonerelay__Link__Ack *ack)
{
	struct edge_chain *chain = &agent->chains[ack->chain];
	struct custody custody;
	struct err err;
	FAULT_POINT(ACK_READ);
	if (ack->custody == NULL || ack->durable_next == 0 || ack->from >= ack->durable_next)
		return;
	if (!expected_custody(agent, ack, &custody)) {
		log_debug("receipt-unknown", "chain=%s from=%" PRIu64 " next=%" PRIu64,
		          chain->config->name, ack->from, ack->durable_next);
		return;
	}
	if (!note_custody(agent, chain, &custody, ack->custody, &err))
		refuse(agent, chain, "custody", &err);
}

/* ---- anchored ---- */

enum own { OWN_SAME, OWN_OTHER, OWN_UNKNOWN };

/* Does the entry speak of exactly our blocks? */
static enum own compare_blocks(struct agent *agent, struct edge_chain *chain, enum hash_alg alg,
                               const struct entry *entry, struct err *err)
{
	uint64_t wanted = entry->to - entry->from + 1;
	struct agent_range range = { .chain = chain->source->key };
	size_t have = 0;
	if (wanted > ENTRY_BLOCKS_MAX) {
		err_set(err, ZR_INVALID, "a run of %" PRIu64 " blocks", wanted);
		return OWN_OTHER;
	}
	struct block_header *headers = calloc((size_t)wanted, sizeof(headers[0]));
	if (headers == NULL) {
		err_set(err, ZR_NO_MEMORY, "%" PRIu64 " headers", wanted);
		return OWN_OTHER;
	}
	while (have < wanted) {
		size_t count = 0;
		range.from = entry->from + have;
		range.to = entry->to;
		if (!agent_headers(chain->store, &range, headers + have, (size_t)wanted - have,
		                   &count, err)) {
			agent_fail(agent, err);
			break;
		}
		if (count == 0)
			break;
		have += count;
	}
	enum own own = OWN_UNKNOWN;
	if (have == wanted)
		own = entry_check_headers(alg, entry, headers, have, err) ? OWN_SAME : OWN_OTHER;
	free(headers);
	return own;
}

/* The gateway's word is enough for a chain whose operator does not know the main chain's keys. */
static bool check_evidence(const struct edge_chain *chain,
                           const Zonerelay__Link__Anchored *anchored, struct err *err)
{
	struct bytes evidence = { anchored->evidence.data, anchored->evidence.len };
	struct bytes root = { anchored->root.data, anchored->root.len };
	struct bytes key = { anchored->key.data, anchored->key.len };
	struct hash key_hash;
	struct buffer checks = BUFFER_EMPTY;
	struct anchor anchor = {
		.alg = (enum hash_alg)anchored->hash_alg,
		.lane = (uint16_t)anchored->lane,
		.seq = anchored->seq,
	};
	if (chain->evidence_check == NULL)
		return true;
	bool ok = (hash_from_bytes(&anchor.root, root) && hash_from_bytes(&key_hash, key)) ||
	          err_set(err, ZR_INVALID, "root or key");
	ok = ok && chain->evidence_check(evidence, buffer_bytes(&chain->trusted), &anchor,
	                                 &key_hash, &checks, err);
	buffer_fini(&checks);
	return ok || err_wrap(err, "the main chain's evidence");
}

static void keep_run(struct agent *agent, struct edge_chain *chain, struct bytes message,
                     const Zonerelay__Link__Anchored *anchored, const struct entry *entry,
                     uint32_t entry_index)
{
	struct err err;
	struct bytes root = { anchored->root.data, anchored->root.len };
	struct agent_anchored_run run = {
		.chain = chain->source->key,
		.anchored = { .from = entry->from,
		              .to = entry->to,
		              .lane = (uint16_t)anchored->lane,
		              .seq = anchored->seq,
		              .entry_index = entry_index },
	};
	if (!hash_from_bytes(&run.anchored.root, root))
		return;
	uint64_t before = chain->facts.anchored_next;
	FAULT_POINT(ANCHORED_KEEPING);
	if (!agent_anchored_put(chain->store, message, &run, 1, &err)) {
		if (err_fate(err.code) == ERR_STOP)
			agent_fail(agent, &err);
		else if (err.code == ZR_NO_MEMORY)
			have_it_repeated(agent, &err);
		else
			log_warn("receipt-not-kept", "chain=%s detail=\"%s\"", chain->config->name,
			         err.message);
		return;
	}
	FAULT_POINT(ANCHORED_KEPT);
	if (!edge_chain_refresh(chain, &err)) {
		agent_fail(agent, &err);
		return;
	}
	log_info("blocks-anchored",
	         "chain=%s from=%" PRIu64 " to=%" PRIu64 " lane=%" PRIu32 " seq=%" PRIu64
	         " anchored_next=%" PRIu64 "%s",
	         chain->config->name, entry->from, entry->to, anchored->lane, anchored->seq,
	         chain->facts.anchored_next,
	         chain->facts.anchored_next == before ? " detail=\"known, or after a hole\"" : "");
}

static void take_entry(struct agent *agent, const Zonerelay__Link__Anchored *anchored,
                       uint32_t index, struct bytes message)
{
	const Zonerelay__Link__AnchoredEntry *claim = anchored->entries[index];
	struct merkle_path path;
	struct entry entry;
	struct err err;
	if (claim->chain >= agent->chain_count) {
		link_give_up(agent, ZONERELAY__LINK__GOODBYE_REASON__GOODBYE_REASON_PROTOCOL,
		             "a receipt for chain %" PRIu32 ", which we do not have", claim->chain);
		return;
	}
	struct edge_chain *chain = &agent->chains[claim->chain];
	if (!anchored_entry_check(anchored, claim, &chain->source->id, &entry, &path, &err) ||
	    !check_evidence(chain, anchored, &err)) {
		refuse(agent, chain, "anchored", &err);
		return;
	}
	switch (compare_blocks(agent, chain, (enum hash_alg)anchored->hash_alg, &entry, &err)) {
	case OWN_SAME:
		keep_run(agent, chain, message, anchored, &entry, index);
		return;
	case OWN_OTHER:
		refuse(agent, chain, "anchored", &err);
		return;
	case OWN_UNKNOWN:
		/* Blocks that another agent of the chain brought and that are not here yet: the
		 * gateway says it again at the next welcome. */
		log_debug("receipt-unknown", "chain=%s from=%" PRIu64 " to=%" PRIu64,
		          chain->config->name, entry.from, entry.to);
		return;
	}
}

void receipt_on_anchored(struct agent *agent, const Zonerelay__Link__Anchored *anchored)
{
	struct bytes id = { anchored->key_id.data, anchored->key_id.len };
	const struct key *key = receipt_keys_find(&agent->link.keys, id);
	struct buffer message = BUFFER_EMPTY;
	struct err err;
	bool ok = key != NULL;
	FAULT_POINT(ANCHORED_READ);
	if (!ok)
		err_set(&err, ZR_UNTRUSTED, "signed by a key that is not certified");
	ok = ok && anchored_check(anchored, agent->link.store_uuid, key, &err) &&
	     link_anchored_encode(anchored, &message, &err);
	for (size_t i = 0; i < anchored->n_entries && !agent->failed; i++) {
		if (ok)
			take_entry(agent, anchored, (uint32_t)i, buffer_bytes(&message));
		else if (anchored->entries[i]->chain < agent->chain_count)
			refuse(agent, &agent->chains[anchored->entries[i]->chain], "anchored",
			       &err);
	}
	buffer_fini(&message);
}
