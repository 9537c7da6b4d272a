/* commands_release.c -- quarantine release: verified again, under the trust set in force now (P4).
 *
 * Each item is walked from where its chain stands, one after the other; those that are good are put
 * like any batch, in one transaction with their tombstones. Those that are not stay where they are.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "relay/commands_daemon.h"

#define ITEMS_MAX 64

struct release_item {
	uint64_t number;
	struct spool_suspect_info info;
	struct chain_id id;
	struct buffer payload; /* Owned, like the rest. */
	struct buffer trust;
	struct verify_job job;
	enum { RELEASE_KEPT, RELEASE_PUT, RELEASE_DUPLICATE } verdict;
	char reason[SPOOL_REASON_MAX + 1];
};

struct release_change {
	struct change change; /* First. */
	size_t count;
	struct release_item items[ITEMS_MAX];
};

static void fini_release(struct change *change)
{
	struct release_change *release = (struct release_change *)change;
	for (size_t i = 0; i < release->count; i++) {
		struct release_item *item = &release->items[i];
		if (item->job.format != NULL)
			verify_job_forget(&item->job);
		buffer_fini(&item->payload);
		buffer_fini(&item->trust);
	}
}

/* ---- the change ---- */

static bool apply_item(struct spool_txn *txn, const struct release_item *item,
                       const struct command_call *call, struct err *err)
{
	bool put = item->verdict == RELEASE_PUT;
	const struct spool_resolution resolution = {
		.verdict = put ? SPOOL_VERDICT_RELEASED : SPOOL_VERDICT_DUPLICATE,
		.who = call->user,
		.why = call->reason,
		.now_ms = clock_wall_ms(call->gateway->clock),
	};
	if (!spool_quarantine_resolve(txn, item->number, &resolution, err))
		return false;
	if (!put)
		return true;
	const struct verify_job *job = &item->job;
	const struct spool_batch batch = { .chain = item->info.chain,
		                           .headers = job->headers,
		                           .block_count = (uint32_t)job->header_count,
		                           .policy = job->policy,
		                           .codec = job->codec,
		                           .dictionary = item->info.dictionary,
		                           .content = item->info.content,
		                           .raw_size = item->info.raw_size,
		                           .payload = job->payload,
		                           .received_ms = item->info.received_ms,
		                           .agent = item->info.agent,
		                           .trust = buffer_bytes(&item->trust),
		                           .trust_from = job->trust_next_from };
	return intake_put(txn, &batch, job, err);
}

static bool apply_release(struct spool_txn *txn, struct change *change, struct err *err)
{
	const struct release_change *release = (struct release_change *)change;
	for (size_t i = 0; i < release->count; i++) {
		const struct release_item *item = &release->items[i];
		if (item->verdict == RELEASE_KEPT)
			continue;
		if (apply_item(txn, item, change->call, err))
			continue;
		/* All or nothing: what was said here must be what is done. */
		txn_fail(&txn->txn, err->code, "item %" PRIu64 ": %s", item->number, err->message);
		return false;
	}
	return true;
}

static void after_release(struct change *change)
{
	const struct release_change *release = (struct release_change *)change;
	struct gateway *gateway = change->call->gateway;
	for (size_t i = 0; i < release->count; i++) {
		struct chain *chain = chains_by_id(gateway->chains, &release->items[i].id);
		if (release->items[i].verdict != RELEASE_KEPT && chain != NULL)
			links_chain_changed(gateway->links, chain);
	}
	delivery_nudge(gateway->delivery);
}

/* ---- looking again ---- */

static void keep(struct release_item *item, const char *reason)
{
	item->verdict = RELEASE_KEPT;
	(void)snprintf(item->reason, sizeof(item->reason), "%.*s", SPOOL_REASON_MAX, reason);
}

/* Where the chain stands after the items before this one, and the set in force there. */
struct standing {
	struct chain *chain;
	struct walk_position position;
	uint64_t trust_from;
	const struct trust *trust; /* Borrowed from the chain, or from an item before. */
};

static bool stand(struct release_change *release, size_t index, struct standing *out_standing,
                  struct err *err)
{
	struct gateway *gateway = release->change.call->gateway;
	struct release_item *item = &release->items[index];
	struct spool_chain row;
	struct chain *chain;
	if (!spool_chain(gateway->spool, &item->info.chain, &row, err) ||
	    !chains_find(gateway->chains, row.id.name, &row.id.epoch, &chain, err))
		return false;
	item->id = row.id;
	if (row.state != SPOOL_CHAIN_ACTIVE)
		return err_set(err, ZR_STATE, "the chain is %s", spool_chain_state_name(row.state));
	if (!list_is_empty(&chain->pipeline))
		return err_set(err, ZR_STATE, "batches of the chain are under way: try again");
	*out_standing = (struct standing){ .chain = chain,
		                           .position = chain->admission.durable,
		                           .trust_from = chain->admission.trust_from };
	if (!chain_trust(gateway->chains, chain, &out_standing->trust, err))
		return false;
	for (size_t i = 0; i < index; i++) {
		const struct release_item *before = &release->items[i];
		if (before->verdict != RELEASE_PUT ||
		    !chain_key_equal(&before->info.chain, &item->info.chain))
			continue;
		const struct block_header *tip = &before->job.headers[before->job.header_count - 1];
		out_standing->position = (struct walk_position){ tip->height + 1, tip->hash };
		if (before->job.trust_next != NULL) {
			out_standing->trust = before->job.trust_next;
			out_standing->trust_from = before->job.trust_next_from;
		}
	}
	return true;
}

static bool fill_job(const struct gateway *gateway, struct release_item *item,
                     const struct standing *standing, struct err *err)
{
	const struct config_limits *limits = &gateway->config->gateway.limits;
	const struct chain_config *config = standing->chain->config;
	item->job = (struct verify_job){ .kind = VERIFY_WALK,
		                         .format = standing->chain->format,
		                         .epoch = &standing->chain->id.epoch,
		                         .trust = standing->trust,
		                         .trust_from = standing->trust_from,
		                         .position = standing->position,
		                         .policy = config != NULL ? config->policy : POLICY_ALL,
		                         .payload = buffer_bytes(&item->payload),
		                         .content = item->info.content,
		                         .codec = item->info.codec,
		                         .raw_size = item->info.raw_size,
		                         .block_max_bytes = limits->block_bytes,
		                         .count_max = item->info.block_count };
	return hash_is_zero(&item->info.dictionary) ||
	       dictionaries_find((struct dictionaries *)&gateway->dictionaries,
	                         &item->info.dictionary, &item->job.dictionary, err);
}

static bool is_ours(struct gateway *gateway, const struct release_item *item)
{
	/* Its last block decides: what leads to it is then ours too. */
	const struct verify_job *job = &item->job;
	struct block_header ours;
	if (job->fault != WALK_FINE || job->header_count == 0)
		return false;
	const struct block_header *tip = &job->headers[job->header_count - 1];
	return spool_header(gateway->spool, &item->info.chain, tip->height, &ours, NULL) &&
	       hash_equal(&ours.hash, &tip->hash);
}

static void look_again(struct release_change *release, size_t index, struct verify_bench *bench)
{
	struct gateway *gateway = release->change.call->gateway;
	struct release_item *item = &release->items[index];
	struct standing standing;
	struct err err;
	if (!stand(release, index, &standing, &err) || !fill_job(gateway, item, &standing, &err)) {
		keep(item, err.message);
		return;
	}
	/* What it says of itself may be why it was refused: its blocks decide where it belongs. */
	item->job.kind = VERIFY_READ;
	verify_run(bench, &item->job);
	if (item->job.fault == WALK_FINE && item->job.header_count > 0 &&
	    item->job.headers[0].height < standing.position.next_height) {
		if (is_ours(gateway, item))
			item->verdict = RELEASE_DUPLICATE;
		else
			keep(item, "another block is ours at these heights");
		return;
	}
	item->job.kind = VERIFY_WALK;
	verify_run(bench, &item->job);
	if (item->job.no_memory || item->job.fault != WALK_FINE) {
		err = item->job.err;
		keep(item, err.message);
		return;
	}
	if (item->job.trust_next != NULL) {
		item->job.format->trust_save(item->job.trust_next, &item->trust);
		if (!buffer_ok(&item->trust, &err)) {
			keep(item, err.message);
			return;
		}
	}
	item->verdict = RELEASE_PUT;
}

static void tell_verdicts(struct release_change *release)
{
	static const char *const names[] = { [RELEASE_KEPT] = "kept",
		                             [RELEASE_PUT] = "released",
		                             [RELEASE_DUPLICATE] = "duplicate" };
	json_t *list = json_array();
	for (size_t i = 0; i < release->count; i++) {
		const struct release_item *item = &release->items[i];
		json_array_append_new(
			list, json_pack("{s:I, s:s, s:s}", "number", (json_int_t)item->number,
		                        "verdict", names[item->verdict], "reason", item->reason));
		if (item->verdict == RELEASE_KEPT)
			release->change.exit_status = EXIT_INTEGRITY;
		else
			change_say(&release->change, "item %" PRIu64 " %s", item->number,
			           names[item->verdict]);
	}
	release->change.extra = json_pack("{s:o}", "items", list);
}

void command_quarantine_release(struct command_call *call)
{
	struct ranges numbers;
	struct err err;
	if (!ranges_parse(call->line.arguments[0], &numbers, &err)) {
		command_answer_error(call, EXIT_BAD_USAGE, "%s", err.message);
		return;
	}
	struct verify_bench *bench;
	if (!verify_bench_new(&bench, &err)) {
		command_answer_err(call, &err);
		return;
	}
	struct release_change *release = change_new(sizeof(*release), call);
	if (release == NULL) {
		verify_bench_free(bench);
		return;
	}
	release->change.is_intake = true;
	release->change.apply = apply_release;
	release->change.after = after_release;
	release->change.fini = fini_release;
	for (size_t i = 0; i < numbers.count; i++) {
		for (uint64_t number = numbers.items[i].from;
		     number <= numbers.items[i].to && release->count < ITEMS_MAX; number++) {
			struct release_item *item = &release->items[release->count++];
			item->number = number;
			if (spool_quarantine_get(call->gateway->spool, number, &item->info,
			                         &item->payload, &err))
				look_again(release, release->count - 1, bench);
			else
				keep(item, err.message);
		}
	}
	verify_bench_free(bench);
	tell_verdicts(release);
	change_run(&release->change);
}
