/* subject.h -- what is judged: the gateway's spool, or the agent's stores. */
#ifndef ZR_TESTS_POWERCUT_SUBJECT_H
#define ZR_TESTS_POWERCUT_SUBJECT_H

#include <stdbool.h>
#include <stdint.h>

struct subject_state; /* Each subject has its own. */

struct subject {
	const char *name;
	/* facts: the folder with what is known from outside: the chains as their source has them. */
	struct subject_state *(*open)(const char *facts);
	void (*close)(struct subject_state *state);
	/* A mark of the log: what was told or asked, and holds from here on. */
	void (*tell)(struct subject_state *state, const char *line);
	/* In a process of its own: opens what is found below root with the real code, compares it with
	 * what was told, and runs it on to the end. False: why is on standard error. It marks what it
	 * tells itself (record_mark), for the power may be cut again. */
	bool (*check)(const struct subject_state *state, const char *root, uint64_t chance);
};

extern const struct subject subject_gateway;
extern const struct subject subject_agent;

#endif
