/* A child, a pipe, and lines through it:
 *
 *     F sentence          a fault that was found
 *     P done total        progress
 *     R n n n n n n n n   the result; the last line of a child that could do its work
 *     E code sentence     it could not
 */
#include "spool/contain.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "relay/base/exit.h"

#define LINE_MAX_BYTES 1024

/* ---- in the child ---- */

void contain_fault(struct contain_out *out, const char *format, ...)
{
	char line[LINE_MAX_BYTES - 8];
	va_list args;
	va_start(args, format);
	vsnprintf(line, sizeof(line), format, args);
	va_end(args);
	for (char *c = line; *c != '\0'; c++) {
		if (*c == '\n')
			*c = ' ';
	}
	fprintf(out->file, "F %s\n", line);
	fflush(out->file); /* What is found before a crash is told. */
}

void contain_progress(struct contain_out *out, uint64_t done, uint64_t total)
{
	fprintf(out->file, "P %" PRIu64 " %" PRIu64 "\n", done, total);
	fflush(out->file);
}

static void child(contain_work_fn *work, void *arg, int fd)
{
	struct contain_out out = { fdopen(fd, "w") };
	uint64_t numbers[CONTAIN_NUMBERS_MAX] = { 0 };
	struct err err;
	if (out.file == NULL)
		_exit(EXIT_SYSTEM);
	/* A crash is expected here and tells by itself. */
	signal(SIGSEGV, SIG_DFL);
	signal(SIGBUS, SIG_DFL);
	signal(SIGABRT, SIG_DFL);
	signal(SIGPIPE, SIG_DFL);
	if (work(&out, numbers, arg, &err)) {
		fprintf(out.file, "R");
		for (size_t i = 0; i < CONTAIN_NUMBERS_MAX; i++)
			fprintf(out.file, " %" PRIu64, numbers[i]);
		fprintf(out.file, "\n");
	} else {
		fprintf(out.file, "E %d %s\n", (int)err.code, err.message);
	}
	fclose(out.file);
	_exit(EXIT_OK);
}

/* ---- in the parent ---- */

struct listening {
	const struct contain_parent *parent;
	uint64_t *numbers;
	struct err *err;
	bool has_result;
	bool has_error;
};

static void take_numbers(struct listening *listening, const char *text)
{
	char *end = (char *)(uintptr_t)text;
	for (size_t i = 0; i < CONTAIN_NUMBERS_MAX; i++)
		listening->numbers[i] = strtoull(end, &end, 10);
	listening->has_result = true;
}

static void take_progress(struct listening *listening, const char *text)
{
	uint64_t done, total;
	const struct spool_progress *progress = listening->parent->progress;
	if (progress != NULL && progress->call != NULL &&
	    sscanf(text, "%" SCNu64 " %" SCNu64, &done, &total) == 2)
		progress->call(done, total, progress->arg);
}

static void take_error(struct listening *listening, char *text)
{
	char *sentence;
	long code = strtol(text, &sentence, 10);
	if (code <= ZR_OK || code > ZR_STATE)
		code = ZR_CORRUPT;
	err_set(listening->err, (enum err_code)code, "%s",
	        *sentence == ' ' ? sentence + 1 : sentence);
	listening->has_error = true;
}

static void take_line(struct listening *listening, char *line)
{
	line[strcspn(line, "\n")] = '\0';
	if (line[0] == '\0' || line[1] == '\0')
		return;
	switch (line[0]) {
	case 'F':
		if (listening->parent->on_fault != NULL)
			listening->parent->on_fault(line + 2, listening->parent->arg);
		break;
	case 'P':
		take_progress(listening, line + 2);
		break;
	case 'R':
		take_numbers(listening, line + 2);
		break;
	case 'E':
		take_error(listening, line + 2);
		break;
	default:
		break;
	}
}

static bool listen_to(struct listening *listening, int fd)
{
	FILE *file = fdopen(fd, "r");
	char line[LINE_MAX_BYTES];
	if (file == NULL) {
		close(fd);
		return false;
	}
	while (fgets(line, sizeof(line), file) != NULL)
		take_line(listening, line);
	fclose(file);
	return true;
}

static void describe_crash(int status, char crash[static 64])
{
	if (WIFSIGNALED(status))
		snprintf(crash, 64, "killed by signal %d (%s)", WTERMSIG(status),
		         sigabbrev_np(WTERMSIG(status)));
	else
		snprintf(crash, 64, "ended with status %d", WEXITSTATUS(status));
}

bool contain_run(contain_work_fn *work, void *arg, const struct contain_parent *parent,
                 uint64_t numbers[CONTAIN_NUMBERS_MAX], char crash[static 64], struct err *err)
{
	int fds[2];
	if (pipe(fds) != 0)
		return err_set(err, ZR_UNAVAILABLE, "pipe: %s", strerror(errno));
	fflush(NULL); /* Or what waits in our buffers is written twice. */
	pid_t pid = fork();
	if (pid == 0) {
		close(fds[0]);
		child(work, arg, fds[1]);
	}
	close(fds[1]);
	if (pid < 0) {
		close(fds[0]);
		return err_set(err, ZR_UNAVAILABLE, "fork: %s", strerror(errno));
	}
	struct listening listening = { .parent = parent, .numbers = numbers, .err = err };
	memset(numbers, 0, CONTAIN_NUMBERS_MAX * sizeof(numbers[0]));
	bool heard = listen_to(&listening, fds[0]);
	int status = 0;
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	crash[0] = '\0';
	if (listening.has_error)
		return false;
	/* What befell the child for want of memory says nothing about the store. */
	if (!heard || (WIFEXITED(status) && WEXITSTATUS(status) == EXIT_SYSTEM))
		return err_set(err, ZR_NO_MEMORY, "the reading process");
	if (!listening.has_result)
		describe_crash(status, crash);
	return true;
}
