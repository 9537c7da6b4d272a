/* folder.c -- see folder.h.
 *
 * Files are sorted by height, and each height is judged in turn under the set that the heights
 * before it led to. Where the block before is missing or bad, nothing says which parent is right:
 * then only the block's signatures speak for it. Under POLICY_TAIL a second pass, downwards, lets
 * good signatures vouch for what they link to. The last pass looks for branches.
 */
#include "adapters/sidechain/folder.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "adapters/sidechain/folder_files.h"
#include "adapters/sidechain/walk.h"
#include "relay/base/file.h"

struct run {
	const struct folder_options *options;
	struct folder_files files;
	struct trust *pinned; /* Owned. */
	struct walk walk;     /* Its position is set anew for each file. */
	struct buffer raw;
	/* The height before the one that is judged: its files are [before, at). */
	size_t before;
	size_t at;
};

static struct folder_file *file_of(struct run *run, size_t index)
{
	return &run->files.list[index];
}

/* The files of one height are [first, the result). */
static size_t height_end(const struct run *run, size_t first)
{
	const struct folder_file *list = run->files.list;
	size_t end = first;
	while (end < run->files.count && list[end].header.height == list[first].header.height)
		end++;
	return end;
}

/* ---- links ---- */

/* Is it certain that header's parent is not the block before it? A block that is bad says nothing,
 * and neither does one that is missing; the pinned block is known without a file. */
static bool links_elsewhere(struct run *run, const struct block_header *header)
{
	const struct block_header *origin = run->options->format->trust_origin(run->pinned);
	bool any_good = false;
	if (header->height == origin->height)
		return false; /* The walk compares it with the pinned one. */
	if (header->height == origin->height + 1)
		return !hash_equal(&header->parent, &origin->hash);
	for (size_t i = run->before; i < run->at; i++) {
		const struct folder_file *file = file_of(run, i);
		if (file->header.height + 1 != header->height ||
		    hash_equal(&file->header.hash, &header->parent))
			return false;
		any_good = any_good || (file->reason == NULL && file->is_signed);
	}
	return any_good;
}

/* ---- judging upwards ---- */

/* The block's own signatures under the set that was in force before it. */
static bool judge_signatures(struct run *run, struct folder_file *file, const struct block *block,
                             struct err *err)
{
	struct err reason;
	file->is_signed = run->options->format->verify(run->walk.trust, block, &reason);
	if (file->is_signed)
		return true;
	if (reason.code == ZR_NO_MEMORY)
		return err_set(err, ZR_NO_MEMORY, "%s: %s", file->path, reason.message);
	if (run->options->policy == POLICY_ALL)
		return folder_file_fail(file, reason.message, err);
	file->unsigned_reason = strdup(reason.message);
	return file->unsigned_reason != NULL || err_set(err, ZR_NO_MEMORY, "%s", file->path);
}

/* Everything but the signatures, which only a change of the set needs at once. */
static bool judge_content(struct run *run, struct folder_file *file, struct trust **next,
                          struct err *err)
{
	struct block block;
	struct err reason;
	struct walk trial = run->walk;
	trial.trust_owned = NULL;
	trial.position.next_height = file->header.height;
	trial.position.tip = file->header.parent;
	enum walk_fault fault = walk_block(&trial, buffer_bytes(&run->raw), false, &block, &reason);
	if (fault == WALK_FINE && *next == NULL)
		*next = walk_take_trust(&trial);
	walk_fini(&trial);
	if (fault != WALK_FINE && reason.code == ZR_NO_MEMORY)
		return err_set(err, ZR_NO_MEMORY, "%s: %s", file->path, reason.message);
	if (fault != WALK_FINE)
		return folder_file_fail(file, reason.message, err);
	if (!hash_equal(&block.header.hash, &file->header.hash))
		return folder_file_fail(file, "the file changed while it was verified", err);
	return judge_signatures(run, file, &block, err);
}

/* Judges one file; *next is the set it brings, if none of its copies brought it already. */
static bool judge_file(struct run *run, struct folder_file *file, struct trust **next,
                       struct err *err)
{
	if (file->reason != NULL)
		return true;
	if (links_elsewhere(run, &file->header))
		return folder_file_fail(file, "it does not link to the block before it", err);
	buffer_clear(&run->raw);
	return file_read(file->path, run->options->block_max_bytes, &run->raw, err) &&
	       judge_content(run, file, next, err);
}

static bool judge_height(struct run *run, size_t first, size_t end, struct err *err)
{
	struct trust *next = NULL;
	bool ok = true;
	for (size_t i = first; ok && i < end; i++)
		ok = judge_file(run, file_of(run, i), &next, err);
	if (next != NULL) {
		run->options->format->trust_free(run->walk.trust_owned);
		run->walk.trust_owned = next;
		run->walk.trust = next;
	}
	run->before = first;
	run->at = end;
	return ok;
}

static bool judge_below(struct run *run, size_t first, size_t end, uint64_t origin, struct err *err)
{
	char reason[96];
	(void)snprintf(reason, sizeof(reason),
	               "below the pinned block %" PRIu64 ": nothing here can verify it", origin);
	for (size_t i = first; i < end; i++) {
		if (!folder_file_fail(file_of(run, i), reason, err))
			return false;
	}
	return true;
}

static bool judge_all(struct run *run, struct err *err)
{
	uint64_t origin = run->options->format->trust_origin(run->pinned)->height;
	size_t end;
	for (size_t first = 0; first < run->files.count; first = end) {
		uint64_t height = file_of(run, first)->header.height;
		end = height_end(run, first);
		if (height == HEIGHT_UNKNOWN)
			break;
		if (height < origin ? !judge_below(run, first, end, origin, err)
		                    : !judge_height(run, first, end, err))
			return false;
	}
	return true;
}

/* ---- vouching downwards ---- */

/* *expected is the hash that a block above leads to, and then the one that this height leads to;
 * zero for none. */
static bool vouch_height(struct run *run, size_t first, size_t end, struct hash *expected,
                         struct err *err)
{
	struct hash below = { { 0 } };
	for (size_t i = first; i < end; i++) {
		struct folder_file *file = file_of(run, i);
		bool led_to = !hash_is_zero(expected) && hash_equal(&file->header.hash, expected);
		if (led_to || file->is_signed)
			below = file->header.parent;
		else if (file->unsigned_reason != NULL &&
		         !folder_file_fail(file, file->unsigned_reason, err))
			return false;
	}
	*expected = below;
	return true;
}

static bool vouch_all(struct run *run, struct err *err)
{
	uint64_t origin = run->options->format->trust_origin(run->pinned)->height;
	struct hash expected = { { 0 } };
	size_t first;
	for (size_t end = run->files.count; end > 0; end = first) {
		uint64_t height = file_of(run, end - 1)->header.height;
		for (first = end; first > 0 && file_of(run, first - 1)->header.height == height;)
			first--;
		if (height == HEIGHT_UNKNOWN)
			continue;
		if (height <= origin)
			break; /* The pinned block needs nobody. */
		if (!vouch_height(run, first, end, &expected, err))
			return false;
	}
	return true;
}

/* ---- branches ---- */

/* Two blocks of one height that are both fine: neither can be relied on. */
static bool fork_height(struct run *run, size_t first, size_t end, struct err *err)
{
	const struct folder_file *good = NULL;
	bool is_fork = false;
	for (size_t i = first; i < end; i++) {
		const struct folder_file *file = file_of(run, i);
		if (file->reason != NULL)
			continue;
		is_fork = is_fork ||
		          (good != NULL && !hash_equal(&good->header.hash, &file->header.hash));
		good = file;
	}
	for (size_t i = first; is_fork && i < end; i++) {
		if (!folder_file_fail(file_of(run, i),
		                      "fork: another block of this height is valid, too", err))
			return false;
	}
	return true;
}

static bool fork_all(struct run *run, struct err *err)
{
	size_t end;
	for (size_t first = 0; first < run->files.count; first = end) {
		end = height_end(run, first);
		if (!fork_height(run, first, end, err))
			return false;
	}
	return true;
}

/* ---- reporting ---- */

struct reporter {
	folder_report *report;
	void *arg;
	struct folder_totals totals;
};

/* All copies of one block are [first, end). */
static void report_block(struct reporter *reporter, const struct folder_file *list, size_t first,
                         size_t end)
{
	size_t shown = first;
	for (size_t i = end; i-- > first;) {
		if (list[i].reason != NULL)
			shown = i;
	}
	const struct folder_file *file = &list[shown];
	struct folder_block block = { .verdict = file->reason == NULL ? FOLDER_OK : FOLDER_BAD,
		                      .height = file->header.height,
		                      .last_height = file->header.height,
		                      .hash = file->header.hash,
		                      .copy_count = end - first,
		                      .path = file->path,
		                      .reason = file->reason };
	if (block.verdict == FOLDER_OK)
		reporter->totals.ok_count++;
	else
		reporter->totals.bad_count++;
	reporter->report(&block, reporter->arg);
}

static void report_missing(struct reporter *reporter, uint64_t from, uint64_t to)
{
	struct folder_block block = { .verdict = FOLDER_MISSING,
		                      .height = from,
		                      .last_height = to,
		                      .reason = "no file has it" };
	reporter->totals.missing_count += to - from + 1;
	reporter->report(&block, reporter->arg);
}

static void report_all(const struct run *run, struct reporter *reporter)
{
	const struct folder_file *list = run->files.list;
	uint64_t origin = run->options->format->trust_origin(run->pinned)->height;
	uint64_t next = list[0].header.height < origin ? list[0].header.height : origin + 1;
	size_t end;
	for (size_t first = 0; first < run->files.count; first = end) {
		uint64_t height = list[first].header.height;
		bool known = height != HEIGHT_UNKNOWN;
		if (known && height > next)
			report_missing(reporter, next, height - 1);
		for (end = first + 1; known && end < run->files.count; end++) {
			if (list[end].header.height != height ||
			    !hash_equal(&list[end].header.hash, &list[first].header.hash))
				break;
		}
		bool again = first > 0 && list[first - 1].header.height == height;
		reporter->totals.height_count += known && !again ? 1 : 0;
		report_block(reporter, list, first, end);
		if (known && height >= next)
			next = height + 1;
	}
}

bool folder_verify(const struct folder_options *options, folder_report *report, void *arg,
                   struct folder_totals *out_totals, struct err *err)
{
	struct run run = { .options = options, .raw = BUFFER_EMPTY };
	struct reporter reporter = { .report = report, .arg = arg };
	struct walk_position nowhere = { .next_height = 0 };
	if (!options->format->trust_pin(options->pinned, &run.pinned, err))
		return false;
	const struct hash *epoch = &options->format->trust_origin(run.pinned)->hash;
	walk_init(&run.walk, options->format, run.pinned, epoch, nowhere);
	bool ok = folder_files_init(&run.files, options, err);
	if (ok) {
		ok = judge_all(&run, err) && vouch_all(&run, err) && fork_all(&run, err);
		if (ok) {
			report_all(&run, &reporter);
			*out_totals = reporter.totals;
		}
		folder_files_fini(&run.files);
	}
	walk_fini(&run.walk);
	buffer_fini(&run.raw);
	options->format->trust_free(run.pinned);
	return ok;
}
