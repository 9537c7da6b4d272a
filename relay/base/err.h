/* err.h -- a failure: a code, a sentence, and what to do next (its fate).
 *
 * A function that can fail returns bool, takes struct err *err last, and fills it only when it
 * returns false. The message grows backwards as the failure travels up: the callee says what went
 * wrong, each caller may prefix what it was doing. A caller switches on the fate, hardly ever on
 * the code. err may be NULL where nobody reads it.
 */
#ifndef ZR_BASE_ERR_H
#define ZR_BASE_ERR_H

#include <stdbool.h>

#define MUST_CHECK __attribute__((warn_unused_result))

/* What the one who meets a failure does with it. */
enum err_fate {
	ERR_RETRY,  /* The same call may succeed later; nothing is lost. */
	ERR_REJECT, /* This input will never be accepted; keep it as evidence, go on with others. */
	ERR_STOP,   /* The process cannot go on honestly: exit with the code's exit status. */
};

/* X(code, name, fate, exit status of a program that ends because of it, meaning) */
#define ERR_TABLE(X)                                                                             \
	X(NO_MEMORY, "no-memory", ERR_RETRY, 71, "out of memory")                                \
	X(IO, "io", ERR_STOP, 74, "the disk failed")                                             \
	X(CORRUPT, "corrupt", ERR_STOP, 74, "the store is damaged")                              \
	X(FULL, "full", ERR_RETRY, 75, "a limit is reached")                                     \
	X(UNAVAILABLE, "unavailable", ERR_RETRY, 69, "not reachable, or not ready")              \
	X(INVALID, "invalid", ERR_REJECT, 65, "malformed or unacceptable input")                 \
	X(UNTRUSTED, "untrusted", ERR_REJECT, 77, "not signed or not allowed by those we trust") \
	X(STATE, "state", ERR_REJECT, 70, "not possible in the present state")

enum err_code {
	ZR_OK = 0,
#define ERR_ENUM(code, name, fate, exit_status, meaning) ZR_##code,
	ERR_TABLE(ERR_ENUM)
#undef ERR_ENUM
};

#define ERR_MESSAGE_SIZE 384

struct err {
	enum err_code code;
	char message[ERR_MESSAGE_SIZE]; /* One line; cut with "..." at its end where too long. */
};

/* Sets code and message. Always returns false, so that "return err_set(...)" ends a function. */
bool err_set(struct err *err, enum err_code code, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

/* Prefixes the message with what we were doing and ": ". Always returns false. */
bool err_wrap(struct err *err, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* "invalid", "io", ...: the name column of the table. Static. */
const char *err_name(enum err_code code);

/* The meaning column of the table. Static. */
const char *err_meaning(enum err_code code);

enum err_fate err_fate(enum err_code code);

int err_exit_status(enum err_code code);

#endif
