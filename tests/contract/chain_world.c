/* chain_world.c -- see chain_world.h. */
#include "tests/contract/chain_world.h"

#include <arpa/inet.h>
#include <errno.h>
#include <event2/event.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "tests/lib/temp_folder.h"

#include "relay/base/clock.h"
#include "relay/base/file.h"

/* ---- the devchain ---- */

static void path_in(const struct chain_world *world, const char *name,
                    char out_path[static WORLD_PATH_SIZE])
{
	int size = snprintf(out_path, WORLD_PATH_SIZE, "%.180s/%s", world->folder, name);
	assert_true(size > 0 && size < WORLD_PATH_SIZE);
}

static void run_devchain(const struct chain_world *world)
{
	char dir[WORLD_PATH_SIZE], listen[32], port_file[WORLD_PATH_SIZE];
	const char *arguments[WORLD_ARGUMENTS_MAX + 16] = {
		world->setup->devchain,
		"run",
		"--dir",
		dir,
		"--listen",
		listen,
		"--port-file",
		port_file,
		"--finality-blocks",
		"2",
		"--block-interval-ms",
		"20",
		"--log-level",
		"warn",
	};
	size_t count = 14;
	path_in(world, "devchain", dir);
	path_in(world, "port", port_file);
	(void)snprintf(listen, sizeof(listen), "127.0.0.1:%u", world->port);
	for (size_t i = 0; world->devchain_arguments[i] != NULL; i++)
		arguments[count++] = world->devchain_arguments[i];
	execv(world->setup->devchain, (char *const *)(uintptr_t)arguments);
	_exit(127);
}

static bool read_port(const char *path, uint16_t *out_port)
{
	struct buffer text = BUFFER_EMPTY;
	bool found = file_read(path, 16, &text, NULL) && text.size > 1;
	if (found) {
		buffer_put_u8(&text, 0);
		*out_port = (uint16_t)atoi((const char *)text.data);
	}
	buffer_fini(&text);
	return found;
}

void world_start(struct chain_world *world)
{
	char port_file[WORLD_PATH_SIZE];
	path_in(world, "port", port_file);
	(void)unlink(port_file);
	assert_int_equal(world->devchain, 0);
	world->devchain = fork();
	assert_true(world->devchain >= 0);
	if (world->devchain == 0)
		run_devchain(world);
	for (int i = 0; !read_port(port_file, &world->port); i++) {
		if (i == 1000 || waitpid(world->devchain, NULL, WNOHANG) != 0) {
			world->devchain = 0;
			fail_msg("the devchain did not start");
		}
		usleep(10000);
	}
}

static int end_devchain(struct chain_world *world, int number)
{
	int status = 0;
	if (world->devchain == 0)
		return 0;
	kill(world->devchain, number);
	waitpid(world->devchain, &status, 0);
	world->devchain = 0;
	return status;
}

void world_kill(struct chain_world *world)
{
	(void)end_devchain(world, SIGKILL);
}

int world_stop(struct chain_world *world)
{
	int status = end_devchain(world, SIGTERM);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static int connect_devchain(const struct chain_world *world)
{
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_port = htons(world->port) };
	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_true(fd >= 0);
	assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	return fd;
}

void world_post(struct chain_world *world, const char *path, const char *json)
{
	char request[4096], answer[4096];
	int size = snprintf(request, sizeof(request),
	                    "POST %s HTTP/1.1\r\nHost: a\r\nConnection: close\r\n"
	                    "Content-Length: %zu\r\n\r\n%s",
	                    path, strlen(json), json);
	assert_true(size > 0 && (size_t)size < sizeof(request));
	int fd = connect_devchain(world);
	assert_int_equal(write(fd, request, (size_t)size), size);
	size_t have = 0;
	ssize_t more;
	while ((more = read(fd, answer + have, sizeof(answer) - 1 - have)) > 0)
		have += (size_t)more;
	close(fd);
	answer[have] = 0;
	if (strncmp(answer, "HTTP/1.1 200", 12) != 0)
		fail_msg("POST %s %s: %s", path, json, answer);
}

void world_misbehave(struct chain_world *world, const char *rules)
{
	char json[2048];
	(void)snprintf(json, sizeof(json), "{\"seed\":1,\"rules\":[%s]}", rules);
	world_post(world, "/dev/misbehave", json);
}

/* ---- the adapter ---- */

static void on_answer(const struct mainchain_answer *answer, void *arg)
{
	struct chain_world *world = arg;
	for (size_t i = 0; i < world->answer_count; i++) {
		if (world->answers[i].view.token == answer->token)
			fail_msg("call %d was answered twice", (int)answer->token);
	}
	/* Grown in steps, so that answers that were given out stay where they are. */
	assert_true(world->answer_count < 4096);
	struct world_answer *kept = &world->answers[world->answer_count++];
	*kept = (struct world_answer){ .view = *answer, .evidence = BUFFER_EMPTY };
	buffer_put(&kept->evidence, answer->evidence);
	buffer_put(&kept->evidence, answer->content_bytes); /* Never both. */
	assert_non_null(answer->detail);
	(void)snprintf(kept->detail, sizeof(kept->detail), "%.200s", answer->detail);
	kept->view.evidence = buffer_bytes(&kept->evidence);
	kept->view.detail = kept->detail;
}

void world_connect(struct chain_world *world)
{
	struct err err;
	if (world->setup->devchain != NULL)
		(void)snprintf(world->url, sizeof(world->url), "http://127.0.0.1:%u", world->port);
	if (!world->setup->adapter->open(&world->mainchain, &world->options, world->base, on_answer,
	                                 world, &err))
		fail_msg("%s", err.message);
}

void world_disconnect(struct chain_world *world)
{
	world->setup->adapter->close(world->mainchain);
	world->mainchain = NULL;
}

void world_run(struct chain_world *world, int64_t ms)
{
	struct timeval wait = { ms / 1000, ms % 1000 * 1000 };
	event_base_loopexit(world->base, &wait);
	event_base_dispatch(world->base);
}

const struct world_answer *world_wait(struct chain_world *world, uint64_t token)
{
	int64_t end_ms = clock_monotonic_ms(clock_system()) + WORLD_ANSWER_MAX_MS;
	while (true) {
		for (size_t i = 0; i < world->answer_count; i++) {
			if (world->answers[i].view.token == token)
				return &world->answers[i];
		}
		if (clock_monotonic_ms(clock_system()) > end_ms)
			fail_msg("call %d has no answer", (int)token);
		world_run(world, 5);
	}
}

/* ---- life ---- */

void world_init(struct chain_world *world, const struct world_setup *setup)
{
	memset(world, 0, sizeof(*world));
	world->setup = setup;
	world->lane_next = setup->lane_base;
	world->base = event_base_new();
	world->answers = calloc(4096, sizeof(*world->answers));
	assert_true(world->base != NULL && world->answers != NULL);
	temp_folder_make(world->folder, sizeof(world->folder));
	if (setup->devchain != NULL) {
		path_in(world, "devchain/trusted.pem", world->trusted);
		world_start(world);
	} else {
		(void)snprintf(world->trusted, sizeof(world->trusted), "%s", setup->trusted_file);
		(void)snprintf(world->url, sizeof(world->url), "%s", setup->endpoint);
	}
	world->urls[0] = world->url;
	world->urls[1] = world->trusted; /* A place to borrow the trusted file's name from. */
	world->options = (struct mainchain_options){ .name = "contract",
		                                     .endpoints = world->urls,
		                                     .endpoint_count = 1,
		                                     .ca_file = setup->ca_file,
		                                     .certificate_file = setup->certificate_file,
		                                     .key_file = setup->key_file,
		                                     .token_file = setup->token_file,
		                                     .proxy = setup->proxy,
		                                     .trusted_files = &world->urls[1],
		                                     .trusted_file_count = 1,
		                                     .connect_timeout_ms = 2000,
		                                     .answer_timeout_ms = 5000,
		                                     .in_flight_max = 4 };
	world_connect(world);
}

void world_fini(struct chain_world *world)
{
	world_disconnect(world);
	assert_int_equal(world_stop(world), 0); /* Not killed: it tells of its leaks. */
	event_base_free(world->base);
	for (size_t i = 0; i < world->answer_count; i++)
		buffer_fini(&world->answers[i].evidence);
	free(world->answers);
	temp_folder_remove(world->folder);
}

/* ---- anchors ---- */

static struct hash some_hash(const char *text, uint64_t number)
{
	uint8_t bytes[8];
	put_be64(bytes, number);
	const struct bytes parts[] = { bytes_of_string(text), BYTES_OF(bytes) };
	return hash_parts(HASH_SHA256, parts, 2);
}

void world_anchor_seal(struct world_anchor *anchor)
{
	struct anchor *view = &anchor->anchor;
	view->root = anchor_entries_root(view->alg, view->entries, view->entry_count);
	buffer_clear(&anchor->content);
	anchor_content_encode(view, &anchor->content);
	anchor->key = anchor_key(view->alg, buffer_bytes(&anchor->content));
}

void world_anchor(struct world_anchor *anchor, const struct world_lane *lane, uint64_t height,
                  const char *const *chains)
{
	memset(anchor, 0, sizeof(*anchor));
	size_t count = 0;
	for (; chains[count] != NULL; count++) {
		struct block_header header = { .height = height,
			                       .hash = some_hash(chains[count], height),
			                       .data_root = some_hash("data", height),
			                       .time_ms = 1763865300000,
			                       .entry_count = 3 };
		struct entry *entry = &anchor->entries[count];
		assert_true(count < 4);
		(void)snprintf(entry->chain.name, sizeof(entry->chain.name), "%.60s",
		               chains[count]);
		entry->chain.epoch = some_hash(chains[count], 0);
		entry->from = entry->to = height;
		entry->tip = header.hash;
		entry->policy = POLICY_ALL;
		entry->subtree = header_leaf(HASH_SHA256, &header);
	}
	anchor->anchor = (struct anchor){ .alg = HASH_SHA256,
		                          .deliver = DELIVER_ANCHOR,
		                          .lane = lane->lane,
		                          .seq = lane->seq + 1,
		                          .previous = lane->root,
		                          .entries = anchor->entries,
		                          .entry_count = count };
	world_anchor_seal(anchor);
}

void world_anchor_fini(struct world_anchor *anchor)
{
	buffer_fini(&anchor->content);
}

void world_lane_follow(struct world_lane *lane, const struct world_anchor *anchor)
{
	lane->seq = anchor->anchor.seq;
	lane->root = anchor->anchor.root;
}

/* ---- calls ---- */

uint64_t world_submit_begin(struct chain_world *world, const struct world_lane *lane,
                            const struct world_anchor *anchor)
{
	struct err err;
	uint64_t token = ++world->token_next;
	if (!world->setup->adapter->submit(world->mainchain, token, &anchor->key,
	                                   buffer_bytes(&anchor->content), lane->fence, &err))
		fail_msg("%s", err.message);
	return token;
}

const struct world_answer *world_submit(struct chain_world *world, const struct world_lane *lane,
                                        const struct world_anchor *anchor)
{
	return world_wait(world, world_submit_begin(world, lane, anchor));
}

const struct world_answer *world_content(struct chain_world *world, uint16_t lane, uint64_t seq)
{
	struct err err;
	uint64_t token = ++world->token_next;
	if (!world->setup->adapter->content(world->mainchain, token, lane, seq, &err))
		fail_msg("%s", err.message);
	return world_wait(world, token);
}

const struct world_answer *world_lookup(struct chain_world *world, uint16_t lane,
                                        const struct hash *key)
{
	struct err err;
	uint64_t token = ++world->token_next;
	if (!world->setup->adapter->lookup(world->mainchain, token, lane, key, &err))
		fail_msg("%s", err.message);
	return world_wait(world, token);
}

const struct world_answer *world_lookup_final(struct chain_world *world, uint16_t lane,
                                              const struct hash *key)
{
	const struct world_answer *answer;
	int64_t end_ms = clock_monotonic_ms(clock_system()) + WORLD_ANSWER_MAX_MS;
	while ((answer = world_lookup(world, lane, key))->view.outcome == MAINCHAIN_INCLUDED &&
	       clock_monotonic_ms(clock_system()) < end_ms)
		world_run(world, 20);
	assert_outcome(answer, MAINCHAIN_FINAL);
	return answer;
}

const struct world_answer *world_head(struct chain_world *world, uint16_t lane)
{
	struct err err;
	uint64_t token = ++world->token_next;
	if (!world->setup->adapter->head(world->mainchain, token, lane, &err))
		fail_msg("%s", err.message);
	return world_wait(world, token);
}

const struct world_answer *world_fence(struct chain_world *world, uint16_t lane, uint64_t expected)
{
	struct err err;
	uint64_t token = ++world->token_next;
	if (!world->setup->adapter->fence(world->mainchain, token, lane, expected, &err))
		fail_msg("%s", err.message);
	return world_wait(world, token);
}

const struct world_answer *world_put(struct chain_world *world, struct bytes payload)
{
	struct err err;
	struct hash content = sha256(payload);
	uint64_t token = ++world->token_next;
	if (!world->setup->adapter->put(world->mainchain, token, &content, payload, &err))
		fail_msg("%s", err.message);
	return world_wait(world, token);
}

struct world_lane world_lane(struct chain_world *world)
{
	uint16_t number = world->lane_next++;
	const struct world_answer *head = world_head(world, number);
	assert_outcome(head, MAINCHAIN_OK);
	struct world_lane lane = { .lane = number, .seq = head->view.seq, .root = head->view.root };
	const struct world_answer *fence = world_fence(world, number, head->view.fence);
	assert_outcome(fence, MAINCHAIN_OK);
	lane.fence = fence->view.fence;
	return lane;
}

void world_assert_outcome(const struct world_answer *answer, enum mainchain_outcome expected,
                          const char *file, int line)
{
	static const char *const names[] = { "OK",       "INCLUDED", "FINAL",   "ABSENT",
		                             "REJECTED", "FENCED",   "UNKNOWN", "UNSENT" };
	if (answer->view.outcome != expected) {
		print_error("%s:%d: %s, not %s: %s\n", file, line, names[answer->view.outcome],
		            names[expected], answer->detail);
		_fail(file, line);
	}
}
