/* verify.c -- see verify.h. */
#include "relay/verify.h"

#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>

struct verify_bench {
	struct decompressor *decompressor;
	struct buffer raw; /* The batch at hand, inflated; kept between jobs for its capacity. */
};

/* A buffer that one large batch has blown up is not kept beyond this. */
#define RAW_KEPT_MAX (4u << 20)

bool verify_bench_new(struct verify_bench **out_bench, struct err *err)
{
	struct verify_bench *bench = calloc(1, sizeof(*bench));
	if (bench == NULL)
		return err_set(err, ZR_NO_MEMORY, "verify worker");
	if (!decompressor_new(&bench->decompressor, err)) {
		free(bench);
		return false;
	}
	*out_bench = bench;
	return true;
}

void verify_bench_free(struct verify_bench *bench)
{
	if (bench == NULL)
		return;
	decompressor_free(bench->decompressor);
	buffer_fini(&bench->raw);
	free(bench);
}

void verify_job_forget(struct verify_job *job)
{
	free(job->headers);
	job->headers = NULL;
	job->header_count = 0;
	if (job->trust_next != NULL)
		job->format->trust_free(job->trust_next);
	job->trust_next = NULL;
	buffer_fini(&job->trusts_between);
	buffer_fini(&job->block);
	job->fault = WALK_FINE;
	job->bad_height = 0;
	job->no_memory = false;
	job->mislabelled = false;
	job->err.code = ZR_OK;
	job->err.message[0] = '\0';
}

/* Shortage of memory must never be taken for a fault of the batch. */
static void found(struct verify_job *job, enum walk_fault fault)
{
	if (fault != WALK_FINE && job->err.code == ZR_NO_MEMORY)
		job->no_memory = true;
	else
		job->fault = fault;
}

static bool inflate(struct verify_bench *bench, struct verify_job *job)
{
	struct hash content = sha256(job->payload);
	job->mislabelled = !hash_equal(&content, &job->content);
	if (job->mislabelled)
		return err_set(&job->err, ZR_INVALID, "the batch is not what its hash says");
	buffer_clear(&bench->raw);
	if (job->codec == CODEC_NONE) {
		if (job->payload.size > job->raw_size)
			return err_set(&job->err, ZR_INVALID, "larger than it says");
		buffer_put(&bench->raw, job->payload);
		if (!buffer_ok(&bench->raw, &job->err))
			return false;
	} else if (!decompressor_run(bench->decompressor, job->payload, job->dictionary,
	                             job->raw_size, &bench->raw, &job->err)) {
		return false;
	}
	if (bench->raw.size != job->raw_size)
		return err_set(&job->err, ZR_INVALID, "%zu bytes inflated, %zu announced",
		               bench->raw.size, job->raw_size);
	return true;
}

static enum walk_fault run_walk(const struct verify_bench *bench, struct verify_job *job)
{
	struct walk walk;
	walk_init(&walk, job->format, job->trust, job->epoch, job->position);
	walk.trust_from = job->trust_from;
	walk.replaced = &job->trusts_between;
	const struct walk_batch batch = {
		.raw = buffer_bytes(&bench->raw),
		.policy = job->policy,
		.block_max_bytes = job->block_max_bytes,
		.count_max = job->count_max,
	};
	enum walk_fault fault = walk_batch(&walk, &batch, job->headers, &job->header_count,
	                                   &job->bad_height, &job->err);
	if (fault == WALK_FINE) {
		job->trust_next = walk_take_trust(&walk);
		job->trust_next_from = walk.trust_from;
	}
	walk_fini(&walk);
	return fault;
}

static enum walk_fault run_read(const struct verify_bench *bench, struct verify_job *job)
{
	struct reader raw = reader_of(buffer_bytes(&bench->raw));
	struct bytes bytes;
	int more;
	while ((more = batch_next_block(&raw, job->block_max_bytes, &bytes)) == 1) {
		if (job->header_count == job->count_max) {
			err_set(&job->err, ZR_INVALID, "more than %zu blocks", job->count_max);
			return WALK_MALFORMED;
		}
		struct block block;
		if (!job->format->read(bytes, &block, &job->err))
			return WALK_MALFORMED;
		struct block_header *header = &job->headers[job->header_count];
		*header = block.header;
		if (job->header_count > 0 && header->height != header[-1].height + 1) {
			job->bad_height = header->height;
			err_set(&job->err, ZR_INVALID, "height %" PRIu64 " follows %" PRIu64,
			        header->height, header[-1].height);
			return WALK_HEIGHT;
		}
		job->header_count++;
	}
	if (more < 0 || job->header_count == 0) {
		err_set(&job->err, ZR_INVALID, "not a batch of blocks");
		return WALK_MALFORMED;
	}
	return WALK_FINE;
}

static enum walk_fault run_prove(const struct verify_bench *bench, struct verify_job *job)
{
	struct reader raw = reader_of(buffer_bytes(&bench->raw));
	struct bytes bytes;
	while (batch_next_block(&raw, job->block_max_bytes, &bytes) == 1) {
		struct block block;
		if (!job->format->read(bytes, &block, &job->err))
			return WALK_MALFORMED;
		if (block.header.height != job->prove_height)
			continue;
		job->headers[0] = block.header;
		job->header_count = 1;
		job->bad_height = job->prove_height;
		buffer_put(&job->block, bytes);
		if (!buffer_ok(&job->block, &job->err))
			return WALK_MALFORMED;
		if (!job->format->admits(job->trust, &block, &job->err) ||
		    !job->format->verify(job->trust, &block, &job->err))
			return WALK_UNTRUSTED;
		return WALK_FINE;
	}
	err_set(&job->err, ZR_INVALID, "block %" PRIu64 " is not in the batch", job->prove_height);
	return WALK_MALFORMED;
}

void verify_run(struct verify_bench *bench, struct verify_job *job)
{
	verify_job_forget(job);
	job->headers = calloc(job->count_max, sizeof(*job->headers));
	if (job->headers == NULL) {
		err_set(&job->err, ZR_NO_MEMORY, "%zu headers", job->count_max);
		job->no_memory = true;
		return;
	}
	if (!inflate(bench, job)) {
		found(job, WALK_MALFORMED);
	} else {
		switch (job->kind) {
		case VERIFY_WALK:
			found(job, run_walk(bench, job));
			break;
		case VERIFY_READ:
			found(job, run_read(bench, job));
			break;
		case VERIFY_PROVE:
			found(job, run_prove(bench, job));
			break;
		}
	}
	if (bench->raw.capacity > RAW_KEPT_MAX)
		buffer_fini(&bench->raw);
}

/* ---- the pool ---- */

struct verify_pool {
	struct mailbox *jobs;
	size_t thread_count; /* Of those that run. */
	pthread_t *threads;
	struct verify_bench **benches;
};

struct worker {
	struct verify_pool *pool;
	struct verify_bench *bench;
};

static void *worker_main(void *arg)
{
	struct worker worker = *(struct worker *)arg;
	free(arg);
	struct list_node *node;
	while ((node = mailbox_wait(worker.pool->jobs)) != NULL) {
		struct verify_job *job = LIST_ENTRY(node, struct verify_job, node);
		verify_run(worker.bench, job);
		mailbox_answer(job->reply, &job->node);
	}
	return NULL;
}

static bool worker_start(struct verify_pool *pool, size_t index, struct err *err)
{
	struct worker *worker = calloc(1, sizeof(*worker));
	if (worker == NULL)
		return err_set(err, ZR_NO_MEMORY, "verify worker");
	if (!verify_bench_new(&pool->benches[index], err)) {
		free(worker);
		return false;
	}
	*worker = (struct worker){ .pool = pool, .bench = pool->benches[index] };
	/* Signals belong to the loop. */
	sigset_t all, before;
	(void)sigfillset(&all);
	(void)pthread_sigmask(SIG_SETMASK, &all, &before);
	int failed = pthread_create(&pool->threads[index], NULL, worker_main, worker);
	(void)pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (failed != 0) {
		verify_bench_free(pool->benches[index]);
		free(worker);
		return err_set(err, ZR_UNAVAILABLE, "verify worker: no thread");
	}
	(void)pthread_setname_np(pool->threads[index], "verify");
	return true;
}

bool verify_pool_start(struct verify_pool **out_pool, size_t thread_count, size_t queue_max,
                       struct err *err)
{
	struct verify_pool *pool = calloc(1, sizeof(*pool));
	if (pool == NULL)
		return err_set(err, ZR_NO_MEMORY, "verify workers");
	pool->threads = calloc(thread_count, sizeof(*pool->threads));
	pool->benches = calloc(thread_count, sizeof(struct verify_bench *));
	if (pool->threads == NULL || pool->benches == NULL) {
		err_set(err, ZR_NO_MEMORY, "verify workers");
		goto fail;
	}
	if (!mailbox_new(&pool->jobs, queue_max, err))
		goto fail;
	for (; pool->thread_count < thread_count; pool->thread_count++) {
		if (!worker_start(pool, pool->thread_count, err))
			goto fail;
	}
	*out_pool = pool;
	return true;

fail:
	verify_pool_stop(pool);
	return false;
}

void verify_pool_stop(struct verify_pool *pool)
{
	if (pool == NULL)
		return;
	if (pool->jobs != NULL)
		mailbox_close(pool->jobs);
	for (size_t i = 0; i < pool->thread_count; i++) {
		(void)pthread_join(pool->threads[i], NULL);
		verify_bench_free(pool->benches[i]);
	}
	free(pool->threads);
	free(pool->benches);
	mailbox_free(pool->jobs);
	free(pool);
}

bool verify_pool_put(struct verify_pool *pool, struct verify_job *take_job)
{
	return mailbox_put(pool->jobs, &take_job->node);
}

size_t verify_pool_waiting(struct verify_pool *pool)
{
	return mailbox_count(pool->jobs);
}
