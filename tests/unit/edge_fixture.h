/* edge_fixture.h -- a folder, a store and an event loop for tests of the agent's sources. */
#ifndef ZR_TESTS_EDGE_FIXTURE_H
#define ZR_TESTS_EDGE_FIXTURE_H

#include <event2/event.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "relay/base/file.h"
#include "relay/edge/source.h"
#include "tests/unit/store_fixture.h"

#define EDGE_PATH_MAX 512

struct edge_fixture {
	char folder[EDGE_PATH_MAX];
	char blocks[EDGE_PATH_MAX]; /* folder/blocks, made. */
	char trust[EDGE_PATH_MAX];
	char key[EDGE_PATH_MAX];
	char input[EDGE_PATH_MAX];
	struct agent_store *store;
	struct event_base *base;
	struct clock_virtual clock;
	struct edge_chain_config config;
	struct source *source;
	int wakes;
};

static inline void fixture_wake(void *arg)
{
	((struct edge_fixture *)arg)->wakes++;
}

static inline void fixture_path(const struct edge_fixture *fixture, char *out, const char *name)
{
	snprintf(out, EDGE_PATH_MAX, "%.400s/%s", fixture->folder, name);
}

static inline void fixture_open_store(struct edge_fixture *fixture)
{
	struct err err;
	char dir[EDGE_PATH_MAX];
	fixture_path(fixture, dir, "store");
	if (!store_exists(dir))
		MUST(agent_store_create(dir, 16u << 20, 1, &err));
	MUST(agent_store_open(&fixture->store, dir, STORE_WRITE, 0, &err));
}

static inline void fixture_init(struct edge_fixture *fixture)
{
	memset(fixture, 0, sizeof(*fixture));
	temp_folder_make(fixture->folder, sizeof(fixture->folder));
	fixture_path(fixture, fixture->blocks, "blocks");
	assert_int_equal(mkdir(fixture->blocks, 0755), 0);
	fixture_path(fixture, fixture->trust, "genesis.block");
	fixture_path(fixture, fixture->key, "seal.key");
	fixture_path(fixture, fixture->input, "input");
	clock_virtual_init(&fixture->clock, 1000, INT64_C(1767571200000)); /* 2026-01-05 00:00 */
	fixture->base = event_base_new();
	assert_non_null(fixture->base);
	fixture_open_store(fixture);
}

static inline void fixture_fini(struct edge_fixture *fixture)
{
	source_close(fixture->source);
	agent_store_close(fixture->store);
	event_base_free(fixture->base);
	temp_folder_remove(fixture->folder);
}

static inline bool fixture_open_source(struct edge_fixture *fixture, struct err *err)
{
	struct source_context context = {
		.config = &fixture->config,
		.state_dir = fixture->folder,
		.block_max_bytes = 1u << 20,
		.store = fixture->store,
		.base = fixture->base,
		.clock = &fixture->clock.clock,
		.wake = fixture_wake,
		.wake_arg = fixture,
	};
	return source_open(&fixture->source, &context, err);
}

/* As after a crash: nothing of the process is left, only what is stored. */
static inline void fixture_restart(struct edge_fixture *fixture)
{
	struct err err;
	source_close(fixture->source);
	fixture->source = NULL;
	agent_store_close(fixture->store);
	fixture_open_store(fixture);
	MUST(fixture_open_source(fixture, &err));
}

/* Turns until the source wants to sleep; the time of the last answer. */
static inline int64_t fixture_turn(struct edge_fixture *fixture)
{
	struct err err;
	int64_t wake_ms = 0;
	for (int i = 0; i < 1000; i++) {
		MUST(source_turn(fixture->source, fixture->clock.now_ms, &wake_ms, &err));
		(void)event_base_loop(fixture->base, EVLOOP_NONBLOCK);
		if (wake_ms > fixture->clock.now_ms)
			return wake_ms;
	}
	fail_msg("the source never rests");
	return 0;
}

static inline void write_file(const char *path, const char *mode, const void *data, size_t size)
{
	FILE *file = fopen(path, mode);
	assert_non_null(file);
	assert_int_equal(fwrite(data, 1, size, file), size);
	assert_int_equal(fclose(file), 0);
}

#endif
