/* chain_world.h -- a main chain, an adapter that speaks to it, and anchors to give it.
 *
 * The main chain is a zonerelay-devchain that the world starts itself, in a folder of its own; or any
 * that is named by its address, without the hooks that make it misbehave.
 */
#ifndef ZR_TESTS_CONTRACT_CHAIN_WORLD_H
#define ZR_TESTS_CONTRACT_CHAIN_WORLD_H

#include <sys/types.h>

#include "adapters/mainchain.h"

#define WORLD_ANSWER_MAX_MS 10000 /* Longer, and the test fails. */
#define WORLD_PATH_SIZE     256
#define WORLD_DETAIL_SIZE   256
#define WORLD_ARGUMENTS_MAX 32

/* From the command line, for all worlds of a run. */
struct world_setup {
	const struct mainchain_adapter *adapter;
	const char *devchain; /* The program; NULL: endpoint is given. */
	const char *endpoint;
	const char *trusted_file;
	const char *ca_file, *certificate_file, *key_file, *token_file, *proxy;
	uint16_t lane_base;
};

/* An answer with what it borrowed copied. */
struct world_answer {
	struct mainchain_answer view;
	struct buffer evidence;
	char detail[WORLD_DETAIL_SIZE];
};

struct chain_world {
	const struct world_setup *setup;
	char folder[WORLD_PATH_SIZE];
	char trusted[WORLD_PATH_SIZE];
	char url[WORLD_PATH_SIZE];
	const char *devchain_arguments[WORLD_ARGUMENTS_MAX]; /* More of them; kept. */
	pid_t devchain;                                      /* 0: not running. */
	uint16_t port;                                       /* Once it ran. */
	struct event_base *base;
	struct mainchain *mainchain;
	struct mainchain_options options; /* For world_connect(); a test may change them. */
	const char *urls[2];
	uint64_t token_next;
	struct world_answer *answers; /* In the order they came. */
	size_t answer_count;
	uint16_t lane_next;
};

/* Starts a devchain (unless there is an endpoint) and connects. */
void world_init(struct chain_world *world, const struct world_setup *setup);
void world_fini(struct chain_world *world);

/* The devchain: start again in the same folder, on the same port; SIGKILL; SIGTERM. */
void world_start(struct chain_world *world);
void world_kill(struct chain_world *world);
int world_stop(struct chain_world *world);
/* A POST of JSON to it; its answer must be 200. */
void world_post(struct chain_world *world, const char *path, const char *json);
/* Rules of misbehaviour: "" for none. */
void world_misbehave(struct chain_world *world, const char *rules);

void world_connect(struct chain_world *world);
void world_disconnect(struct chain_world *world);

/* Runs the loop until the call with token was answered, and gives that answer; it lives until the
 * world ends. */
const struct world_answer *world_wait(struct chain_world *world, uint64_t token);
/* Runs the loop for so long. */
void world_run(struct chain_world *world, int64_t ms);

/* ---- calls, each waited for ---- */

/* Where the next anchor of a lane goes. */
struct world_lane {
	uint16_t lane;
	uint64_t seq; /* Of its head. */
	struct hash root;
	uint64_t fence; /* Ours. */
};

/* A lane that no other test uses, with its fence acquired. */
struct world_lane world_lane(struct chain_world *world);

/* One anchor and its bytes. */
struct world_anchor {
	struct entry entries[4];
	struct block_header header;
	struct batch_ref batch;
	struct anchor anchor;
	struct buffer content;
	struct hash key;
};

/* An anchor with one entry per name (ends with NULL), each of one block at height. It follows on
 * lane's head. */
void world_anchor(struct world_anchor *anchor, const struct world_lane *lane, uint64_t height,
                  const char *const *chains);
/* Content and key anew, after a change of anchor->anchor. */
void world_anchor_seal(struct world_anchor *anchor);
void world_anchor_fini(struct world_anchor *anchor);
/* lane now stands behind anchor. */
void world_lane_follow(struct world_lane *lane, const struct world_anchor *anchor);

uint64_t world_submit_begin(struct chain_world *world, const struct world_lane *lane,
                            const struct world_anchor *anchor);
const struct world_answer *world_submit(struct chain_world *world, const struct world_lane *lane,
                                        const struct world_anchor *anchor);
const struct world_answer *world_lookup(struct chain_world *world, uint16_t lane,
                                        const struct hash *key);
const struct world_answer *world_content(struct chain_world *world, uint16_t lane, uint64_t seq);
const struct world_answer *world_head(struct chain_world *world, uint16_t lane);
const struct world_answer *world_fence(struct chain_world *world, uint16_t lane, uint64_t expected);
const struct world_answer *world_put(struct chain_world *world, struct bytes payload);
/* Looks up again and again until it is final. */
const struct world_answer *world_lookup_final(struct chain_world *world, uint16_t lane,
                                              const struct hash *key);

/* Fails the test, telling detail, unless the outcome is this. */
#define assert_outcome(answer, expected) \
	world_assert_outcome((answer), (expected), __FILE__, __LINE__)
void world_assert_outcome(const struct world_answer *answer, enum mainchain_outcome expected,
                          const char *file, int line);
#define assert_rejected(answer, reason)                            \
	do {                                                       \
		assert_outcome((answer), MAINCHAIN_REJECTED);      \
		assert_int_equal((answer)->view.reject, (reason)); \
	} while (0)

#endif
