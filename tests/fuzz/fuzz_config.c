/* A configuration file of any content: mistakes are reported, never more than so many; and what is
 * accepted is shown as a file that is accepted too. The first byte says whose file it is. */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "config/config.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct config *load(const void *yaml, size_t size, enum config_program program)
{
	char path[64];
	int fd = memfd_create("config", 0);
	assert(fd >= 0 && write(fd, yaml, size) == (ssize_t)size);
	(void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	struct config *config = NULL;
	struct config_errors errors = CONFIG_NO_ERRORS;
	if (!config_load(path, program, &config, &errors)) {
		struct buffer text = BUFFER_EMPTY;
		assert(config == NULL && errors.count > 0 && errors.count <= CONFIG_ERROR_MAX);
		config_errors_text(&errors, &text);
		assert(text.size > 0);
		buffer_fini(&text);
	}
	config_errors_fini(&errors);
	(void)close(fd);
	return config;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const enum config_program programs[] = { CONFIG_GATEWAY, CONFIG_EDGE,
		                                        CONFIG_DEVCHAIN };
	if (size == 0)
		return 0;
	enum config_program program = programs[data[0] % 3];
	struct config *config = load(data + 1, size - 1, program);
	if (config == NULL)
		return 0;
	struct buffer shown = BUFFER_EMPTY;
	config_show_effective(config, &shown);
	struct config *again = load(shown.data, shown.size, program);
	assert(again != NULL);
	struct config_change *changes = NULL;
	size_t count = 0;
	struct err err;
	assert(config_diff(config, again, &changes, &count, &err));
	free(changes);
	config_free(again);
	config_free(config);
	buffer_fini(&shown);
	return 0;
}
