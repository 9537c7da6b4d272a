/* SIGKILL at any moment of a gateway's life: what was told is there, in order, and every invariant
 * holds. The child lives and tells its parent through a pipe what it would have told an edge; the
 * parent kills it, looks, and lets the next child go on. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <signal.h>
#include <sys/wait.h>

#include "tests/unit/spool_life.h"

#define ROUNDS 30

static void tell_parent(struct life *life)
{
	int fd = *(const int *)life->arg;
	if (write(fd, &life->told, sizeof(life->told)) != sizeof(life->told))
		_exit(4);
}

static void live(const char *dir, int fd, uint64_t seed, const struct told *told)
{
	struct life life = { .seed = seed, .told = *told, .tell = tell_parent, .arg = &fd };
	signal(SIGBUS, SIG_DFL);
	signal(SIGSEGV, SIG_DFL);
	signal(SIGABRT, SIG_DFL);
	life_open(&life, dir);
	for (;;)
		life_step(&life);
}

static void read_told(int fd, struct told *told)
{
	struct told now;
	while (read(fd, &now, sizeof(now)) == sizeof(now))
		*told = now;
	close(fd);
}

static void check(struct fixture *fixture, const struct told *told)
{
	struct err err;
	struct spool_verify_result result;
	open_spool(fixture);
	assert_true(life_holds(fixture->spool, told));
	spool_close(fixture->spool);
	fixture->spool = NULL;
	MUST(spool_verify(fixture->dir, print_fault, NULL, NULL, &result, &err));
	assert_int_equal(result.fault_count, 0);
}

static void what_was_told_survives_sigkill_and_nothing_is_half_done(void **state)
{
	struct fixture *fixture = *state;
	struct told told = { .commit_number = 0 };
	const char *given = getenv("ZR_TEST_SEED");
	uint64_t seed =
		given != NULL ? strtoull(given, NULL, 10) : (uint64_t)getpid() * 2654435761u + 1;
	print_message("seed %" PRIu64 "\n", seed);
	life_add_chains(fixture);
	spool_close(fixture->spool);
	fixture->spool = NULL;
	for (int round = 0; round < ROUNDS; round++) {
		int fds[2], status;
		assert_int_equal(pipe(fds), 0);
		uint64_t child_seed = life_random(&seed) | 1;
		pid_t child = fork();
		if (child == 0) {
			close(fds[0]);
			live(fixture->dir, fds[1], child_seed, &told);
		}
		close(fds[1]);
		usleep((useconds_t)(life_random(&seed) % 20000));
		assert_int_equal(kill(child, SIGKILL), 0);
		assert_int_equal(waitpid(child, &status, 0), child);
		assert_true(WIFSIGNALED(status));
		read_told(fds[0], &told);
		check(fixture, &told);
	}
	assert_true(told.next[0] > 0);
	assert_true(told.anchored[0] > 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		WITH_SPOOL(what_was_told_survives_sigkill_and_nothing_is_half_done),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
