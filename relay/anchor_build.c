/* anchor_build.c -- see anchor_build.h. */
#include "relay/anchor_build.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "spool/audit.h"

#define BATCH_PAGE  64
#define HEADER_PAGE 512

/* What one block costs the submission, by deliver; an entry costs about one record. */
#define ENTRY_BYTES     ENTRY_RECORD_SIZE_MAX
#define BATCH_REF_BYTES 72

void anchor_draft_init(struct anchor_draft *draft)
{
	memset(draft, 0, sizeof(*draft));
}

void anchor_draft_fini(struct anchor_draft *draft)
{
	buffer_fini(&draft->content);
	free(draft->entries);
	free(draft->chains);
	free(draft->headers);
	free(draft->batches);
	free(draft->uploads);
	anchor_draft_init(draft);
}

/* What is wrong with one chain's rows must not stop the others (P6). */
bool anchor_draft_blame(struct anchor_draft *draft, const struct chain_key *chain,
                        const struct err *err)
{
	draft->has_culprit = err->code == ZR_CORRUPT || err->code == ZR_STATE;
	draft->culprit = *chain;
	return false;
}

bool anchor_draft_unreadable(const struct anchor_draft *draft, int64_t *out_entry)
{
	*out_entry = -1;
	if (!draft->has_culprit)
		return draft->stale;
	for (size_t i = 0; i < draft->anchor.entry_count && *out_entry < 0; i++) {
		if (chain_key_equal(&draft->chains[i], &draft->culprit))
			*out_entry = (int64_t)i;
	}
	return *out_entry >= 0;
}

/* ---- choosing ------------------------------------------------------------------------------ */

/* Where each chain's entry is, by its key: open addressing over twice as many places. */
struct placement {
	uint32_t *places; /* Entry index plus 1; 0: free. */
	size_t mask;
};

static bool placement_new(struct placement *placement, size_t entry_max, struct err *err)
{
	size_t size = 16;
	while (size < entry_max * 2)
		size *= 2;
	placement->places = calloc(size, sizeof(*placement->places));
	placement->mask = size - 1;
	if (placement->places == NULL)
		return err_set(err, ZR_NO_MEMORY, "choosing among %zu chains", entry_max);
	return true;
}

static uint32_t *place_of(const struct placement *placement, const struct chain_key *chains,
                          const struct chain_key *chain)
{
	size_t at = (size_t)get_be64(chain->bytes) & placement->mask;
	while (placement->places[at] != 0 &&
	       !chain_key_equal(&chains[placement->places[at] - 1], chain))
		at = (at + 1) & placement->mask;
	return &placement->places[at];
}

/* One chain's next whole batches, from `from` on, of one policy. */
struct run {
	uint64_t from, to;
	enum policy policy;
	uint64_t blocks;
	uint64_t bytes;
};

static uint64_t cost_of(enum deliver deliver, const struct spool_batch_info *info)
{
	if (deliver == DELIVER_HEADERS)
		return (uint64_t)info->block_count * HEADER_RECORD_SIZE;
	return deliver == DELIVER_FULL ? BATCH_REF_BYTES + (uint64_t)info->payload_size : 0;
}

/* Fills run; run->blocks is 0 if there is nothing, or it has another policy than `policy` (0: any). */
static bool next_run(struct spool *spool, const struct chain_key *chain, struct run *run,
                     enum deliver deliver, uint64_t block_max, struct err *err)
{
	struct spool_batch_info infos[BATCH_PAGE];
	size_t count = 0;
	run->blocks = 0;
	run->bytes = 0;
	if (!spool_batches_page(spool, chain, run->from, infos, BATCH_PAGE, &count, err))
		return false;
	for (size_t i = 0; i < count; i++) {
		uint64_t expected = run->blocks == 0 ? run->from : run->to + 1;
		if (infos[i].first_height != expected)
			break; /* Heights declared lost lie between: another entry. */
		if (run->policy != 0 && infos[i].policy != run->policy)
			break;
		if (run->blocks > 0 && run->blocks + infos[i].block_count > block_max)
			break;
		run->policy = infos[i].policy;
		run->to = spool_batch_next(&infos[i]) - 1;
		run->blocks += infos[i].block_count;
		run->bytes += cost_of(deliver, &infos[i]);
	}
	return true;
}

struct chooser {
	const struct anchor_choice *choice;
	struct anchor_draft *draft;
	struct placement placement;
};

/* Takes the chain's next run into the draft. A chain without one takes nothing: *out_run says so. */
static bool take(struct chooser *chooser, const struct spool_pending *pending, uint64_t block_max,
                 struct plan_run *out_run, struct err *err)
{
	struct anchor_draft *draft = chooser->draft;
	const struct plan *plan = chooser->choice->plan;
	uint32_t *place = place_of(&chooser->placement, draft->chains, &pending->chain);
	struct entry *entry = *place != 0 ? &draft->entries[*place - 1] : NULL;
	*out_run = (struct plan_run){ .chain = pending->chain, .first = entry == NULL };
	struct run run = { .from = entry != NULL ? entry->to + 1 : pending->from,
		           .policy = entry != NULL ? entry->policy : 0 };
	if (!next_run(chooser->choice->spool, &pending->chain, &run, plan->deliver, block_max, err))
		return anchor_draft_blame(draft, &pending->chain, err);
	if (run.blocks == 0)
		return true;
	if (entry == NULL) {
		size_t index = draft->anchor.entry_count;
		struct spool_chain chain;
		if (!spool_chain(chooser->choice->spool, &pending->chain, &chain, err))
			return anchor_draft_blame(draft, &pending->chain, err);
		draft->chains[index] = pending->chain;
		entry = &draft->entries[index];
		*entry = (struct entry){ .chain = chain.id, .from = run.from };
		draft->anchor.entry_count++;
		*place = (uint32_t)draft->anchor.entry_count;
		out_run->bytes += ENTRY_BYTES;
	}
	entry->to = run.to;
	entry->policy = run.policy;
	out_run->blocks = run.blocks;
	out_run->bytes += run.bytes;
	return true;
}

/* Only the suspects of a refused anchor, each once. */
static bool choose_probe(struct chooser *chooser, struct err *err)
{
	struct plan *plan = chooser->choice->plan;
	const struct chain_key *suspects;
	size_t count = plan_probe(plan, &suspects);
	for (size_t i = 0; i < count && chooser->draft->anchor.entry_count < plan->limits.entry_max;
	     i++) {
		struct spool_chain chain;
		struct plan_run run;
		if (!spool_chain(chooser->choice->spool, &suspects[i], &chain, err))
			return false;
		struct spool_pending pending = { .chain = suspects[i], .from = chain.pending_from };
		if (chain.delivery_held || chain.pending_from >= chain.next_height)
			continue;
		if (!take(chooser, &pending, PLAN_QUANTUM_BLOCKS, &run, err))
			return false;
	}
	return true;
}

static bool choose_by_turns(struct chooser *chooser, struct err *err)
{
	const struct anchor_choice *choice = chooser->choice;
	size_t class = 0;
	uint64_t block_max = 0;
	while (plan_next(choice->plan, &class, &block_max)) {
		struct spool_pending pending;
		struct plan_run run;
		size_t count = 0;
		struct spool_pending_query query = { .sink = choice->sink,
			                             .class = choice->class_numbers[class],
			                             .after =
			                                     &choice->plan->classes[class].cursor };
		if (!spool_pending_page(choice->spool, &query, &pending, 1, &count, err))
			return false;
		if (count == 0) {
			plan_wrapped(choice->plan, class);
			continue;
		}
		if (!take(chooser, &pending, block_max, &run, err))
			return false;
		if (run.blocks > 0)
			plan_took(choice->plan, class, &run);
		else
			plan_skipped(choice->plan, class, &pending.chain);
	}
	return true;
}

bool anchor_draft_choose(struct anchor_draft *draft, const struct anchor_choice *choice,
                         struct err *err)
{
	struct chooser chooser = { .choice = choice, .draft = draft };
	size_t entry_max = choice->plan->limits.entry_max;
	assert(draft->entries == NULL && entry_max > 0);
	draft->entries = calloc(entry_max, sizeof(*draft->entries));
	draft->chains = calloc(entry_max, sizeof(*draft->chains));
	if (draft->entries == NULL || draft->chains == NULL)
		return err_set(err, ZR_NO_MEMORY, "an anchor of %zu chains", entry_max);
	if (!placement_new(&chooser.placement, entry_max, err))
		return false;
	const struct chain_key *suspects;
	bool chosen = plan_probe(choice->plan, &suspects) > 0 ? choose_probe(&chooser, err)
	                                                      : choose_by_turns(&chooser, err);
	free(chooser.placement.places);
	draft->anchor.deliver = choice->plan->deliver;
	return chosen || err_wrap(err, "choosing what is anchored next");
}

/* ---- completing ---------------------------------------------------------------------------- */

/* Headers of one entry, page by page: leaves always, the headers themselves where they are sent. */
static bool add_headers(struct anchor_draft *draft, struct spool *spool, size_t index,
                        struct hash *leaves, struct err *err)
{
	struct entry *entry = &draft->entries[index];
	struct block_header page[HEADER_PAGE];
	uint64_t height = entry->from;
	while (height <= entry->to) {
		size_t count = 0;
		struct spool_range range = { .chain = draft->chains[index],
			                     .from = height,
			                     .to = entry->to };
		if (!spool_headers(spool, &range, page, HEADER_PAGE, &count, err))
			return err_wrap(err, "headers of %s from %llu on", entry->chain.name,
			                (unsigned long long)height);
		if (count == 0 || page[0].height != height)
			return err_set(err, ZR_STATE,
			               "headers of %s from %llu on are not known any more",
			               entry->chain.name, (unsigned long long)height);
		for (size_t i = 0; i < count; i++)
			leaves[height - entry->from + i] = header_leaf(draft->anchor.alg, &page[i]);
		if (draft->anchor.deliver == DELIVER_HEADERS) {
			memcpy(&draft->headers[draft->anchor.header_count], page,
			       count * sizeof(page[0]));
			draft->anchor.header_count += count;
		}
		entry->tip = page[count - 1].hash;
		height += count;
	}
	return true;
}

static uint64_t block_count(const struct anchor_draft *draft)
{
	uint64_t count = 0;
	for (size_t i = 0; i < draft->anchor.entry_count; i++)
		count += draft->entries[i].to - draft->entries[i].from + 1;
	return count;
}

/* Leaves of the longest entry are the only large thing kept in memory beside the headers sent. */
static bool add_subtrees(struct anchor_draft *draft, struct spool *spool, struct err *err)
{
	uint64_t longest = 0;
	for (size_t i = 0; i < draft->anchor.entry_count; i++) {
		uint64_t length = draft->entries[i].to - draft->entries[i].from + 1;
		longest = length > longest ? length : longest;
	}
	if (draft->anchor.deliver == DELIVER_HEADERS)
		draft->headers = calloc((size_t)block_count(draft), sizeof(*draft->headers));
	struct hash *leaves = calloc((size_t)longest, sizeof(*leaves));
	bool good = leaves != NULL &&
	            (draft->anchor.deliver != DELIVER_HEADERS || draft->headers != NULL);
	if (!good)
		(void)err_set(err, ZR_NO_MEMORY, "the headers of an anchor");
	for (size_t i = 0; good && i < draft->anchor.entry_count; i++) {
		struct entry *entry = &draft->entries[i];
		good = add_headers(draft, spool, i, leaves, err) ||
		       anchor_draft_blame(draft, &draft->chains[i], err);
		if (good)
			entry->subtree =
				merkle_root(draft->anchor.alg, leaves, entry->to - entry->from + 1);
	}
	free(leaves);
	return good;
}

static bool grow_batches(struct anchor_draft *draft, size_t *capacity, struct err *err)
{
	size_t larger = *capacity == 0 ? 64 : *capacity * 2;
	struct batch_ref *batches = reallocarray(draft->batches, larger, sizeof(*batches));
	if (batches != NULL)
		draft->batches = batches;
	struct upload *uploads = reallocarray(draft->uploads, larger * 2, sizeof(*uploads));
	if (uploads != NULL)
		draft->uploads = uploads;
	if (batches == NULL || uploads == NULL)
		return err_set(err, ZR_NO_MEMORY, "the batches of an anchor");
	*capacity = larger;
	return true;
}

static void add_upload(struct anchor_draft *draft, const struct upload *upload)
{
	/* A dictionary serves many batches in a row; once is enough. */
	for (size_t i = 0; upload->is_dictionary && i < draft->upload_count; i++) {
		if (hash_equal(&draft->uploads[i].content, &upload->content))
			return;
	}
	draft->uploads[draft->upload_count++] = *upload;
}

static void add_batch(struct anchor_draft *draft, const struct spool_batch_info *info)
{
	draft->batches[draft->anchor.batch_count++] = (struct batch_ref){
		.content = info->content,
		.size_bytes = info->payload_size,
		.dictionary = info->dictionary,
	};
	if (!hash_is_zero(&info->dictionary)) {
		struct upload dictionary = { .content = info->dictionary,
			                     .is_dictionary = true,
			                     .chain = info->chain,
			                     .height = info->first_height };
		add_upload(draft, &dictionary);
	}
	struct upload batch = { .content = info->content,
		                .held = info->held,
		                .chain = info->chain,
		                .height = info->first_height };
	add_upload(draft, &batch);
}

static bool add_batches(struct anchor_draft *draft, struct spool *spool, struct err *err)
{
	size_t capacity = 0;
	for (size_t i = 0; i < draft->anchor.entry_count; i++) {
		const struct entry *entry = &draft->entries[i];
		uint64_t height = entry->from;
		while (height <= entry->to) {
			struct spool_batch_info info;
			if (draft->anchor.batch_count == capacity &&
			    !grow_batches(draft, &capacity, err))
				return false;
			if (!spool_batch_info(spool, &draft->chains[i], height, &info, err))
				return err_wrap(err, "batches of %s", entry->chain.name) ||
				       anchor_draft_blame(draft, &draft->chains[i], err);
			add_batch(draft, &info);
			height = spool_batch_next(&info);
		}
	}
	return true;
}

/* Everything that follows from the entries: the arrays, the content, the key. */
static bool complete(struct anchor_draft *draft, struct spool *spool, struct err *err)
{
	if (draft->anchor.deliver == DELIVER_FULL && !add_batches(draft, spool, err))
		return false;
	draft->anchor.entries = draft->entries;
	draft->anchor.headers = draft->headers;
	draft->anchor.batches = draft->batches;
	draft->anchor.lane = draft->id.lane;
	draft->anchor.seq = draft->id.seq;
	anchor_content_encode(&draft->anchor, &draft->content);
	if (!buffer_ok(&draft->content, err))
		return false;
	draft->key = anchor_key(draft->anchor.alg, buffer_bytes(&draft->content));
	return true;
}

static bool entries_root(struct anchor_draft *draft, struct err *err)
{
	size_t count = draft->anchor.entry_count;
	struct hash *leaves = calloc(count, sizeof(*leaves));
	if (leaves == NULL)
		return err_set(err, ZR_NO_MEMORY, "the leaves of %zu entries", count);
	for (size_t i = 0; i < count; i++)
		leaves[i] = entry_leaf(draft->anchor.alg, &draft->entries[i]);
	draft->anchor.root = merkle_root(draft->anchor.alg, leaves, count);
	free(leaves);
	return true;
}

/* Damage of a payload shows when it is read to be uploaded; what is gone altogether shows here. */
static bool check_uploads(struct anchor_draft *draft, struct spool *spool, struct err *err)
{
	bool good = true;
	for (size_t i = 0; good && i < draft->upload_count; i++) {
		const struct upload *upload = &draft->uploads[i];
		struct buffer dictionary = BUFFER_EMPTY;
		if (upload->is_dictionary)
			good = spool_dictionary_get(spool, &upload->content, &dictionary, err);
		else if (!upload->held)
			good = err_set(err, ZR_STATE, "the payload of block %llu was pruned",
			               (unsigned long long)upload->height);
		buffer_fini(&dictionary);
		if (!good)
			(void)anchor_draft_blame(draft, &upload->chain, err);
	}
	return good;
}

bool anchor_draft_seal(struct anchor_draft *draft, struct spool *spool, struct err *err)
{
	assert(draft->anchor.entry_count > 0);
	if (!add_subtrees(draft, spool, err) || !entries_root(draft, err) ||
	    !complete(draft, spool, err) || !check_uploads(draft, spool, err))
		return err_wrap(err, "anchor %llu", (unsigned long long)draft->id.seq);
	return true;
}

/* ---- reading back -------------------------------------------------------------------------- */

static bool load_entries(struct anchor_draft *draft, struct spool *spool, struct err *err)
{
	size_t count = 0;
	if (!spool_anchor_entries(spool, &draft->id, &draft->entries, &count, err))
		return false;
	draft->anchor.entry_count = count;
	draft->chains = calloc(count, sizeof(*draft->chains));
	if (draft->chains == NULL)
		return err_set(err, ZR_NO_MEMORY, "%zu entries", count);
	for (size_t i = 0; i < count; i++)
		draft->chains[i] = chain_key(&draft->entries[i].chain);
	return true;
}

bool anchor_draft_load(struct anchor_draft *draft, struct spool *spool,
                       const struct spool_anchor_id *id, struct err *err)
{
	struct spool_anchor stored;
	if (!spool_anchor(spool, id, &stored, err))
		return false;
	draft->id = *id;
	draft->anchor.alg = stored.alg;
	draft->anchor.deliver = stored.deliver;
	draft->anchor.previous = stored.previous;
	if (!load_entries(draft, spool, err))
		return err_wrap(err, "anchor %llu", (unsigned long long)id->seq);
	/* Subtree roots are in the entries; headers are read again only where they are sent. */
	if (draft->anchor.deliver == DELIVER_HEADERS && !add_subtrees(draft, spool, err))
		return err_wrap(err, "anchor %llu", (unsigned long long)id->seq);
	if (!entries_root(draft, err) || !complete(draft, spool, err))
		return err_wrap(err, "anchor %llu", (unsigned long long)id->seq);
	draft->stale = !hash_equal(&draft->anchor.root, &stored.root) ||
	               !hash_equal(&draft->key, &stored.key);
	return !draft->stale ||
	       err_set(err, ZR_CORRUPT, "anchor %llu is not what its key was made of",
	               (unsigned long long)id->seq);
}
