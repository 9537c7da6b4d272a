/* pki.c -- see pki.h. */
#include "tests/lib/pki.h"

#include <setjmp.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include <cmocka.h>

#include "tests/lib/temp_folder.h"

#define PREAMBLE "import sys; sys.path.insert(0, 'tests/system'); from pki import *\n"

extern char **environ;

static void run(char *const arguments[])
{
	pid_t pid;
	int status = -1;
	if (posix_spawnp(&pid, arguments[0], NULL, NULL, arguments, environ) != 0)
		fail_msg("cannot run %s", arguments[0]);
	if (waitpid(pid, &status, 0) != pid || status != 0)
		fail_msg("%s failed with status %d", arguments[0], status);
}

void pki_run(const struct pki *pki, const char *script)
{
	char text[4096];
	int size = snprintf(text, sizeof(text), PREAMBLE "folder = pathlib.Path('%s/pki')\n%s\n",
	                    pki->folder, script);
	assert_true(size > 0 && (size_t)size < sizeof(text));
	char name[] = "python3";
	char dont_write[] = "-B";
	char command[] = "-c";
	run((char *const[]){ name, dont_write, command, text, NULL });
}

void pki_init(struct pki *pki, const char *script)
{
	temp_folder_make(pki->folder, sizeof(pki->folder));
	pki_run(pki, script);
}

const char *pki_path(const struct pki *pki, const char *name, char path[static PKI_PATH_SIZE])
{
	int size = snprintf(path, PKI_PATH_SIZE, "%s/pki/%s", pki->folder, name);
	assert_true(size > 0 && size < PKI_PATH_SIZE);
	return path;
}

void pki_fini(struct pki *pki)
{
	temp_folder_remove(pki->folder);
}
