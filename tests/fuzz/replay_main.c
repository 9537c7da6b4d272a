/* replay_main.c -- runs a fuzz target over every file of the folders and files it is given. */
#include <dirent.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define INPUT_SIZE_MAX (1u << 20)

static bool replay_file(const char *path)
{
	FILE *file = fopen(path, "rb");
	if (file == NULL) {
		perror(path);
		return false;
	}
	/* Exactly as large as its content, so that the sanitizers see a read past the end. */
	uint8_t *scratch = malloc(INPUT_SIZE_MAX);
	size_t size = scratch == NULL ? 0 : fread(scratch, 1, INPUT_SIZE_MAX, file);
	uint8_t *data = malloc(size + 1);
	if (data == NULL)
		abort();
	for (size_t i = 0; i < size; i++)
		data[i] = scratch[i];
	free(scratch);
	fclose(file);
	uint8_t *exact = realloc(data, size == 0 ? 1 : size);
	(void)LLVMFuzzerTestOneInput(exact == NULL ? data : exact, size);
	free(exact == NULL ? data : exact);
	return true;
}

static unsigned replay_folder(const char *path)
{
	unsigned count = 0;
	struct dirent **names;
	int found = scandir(path, &names, NULL, alphasort);
	for (int i = 0; i < found; i++) {
		char child[4096];
		struct stat info;
		(void)snprintf(child, sizeof(child), "%s/%s", path, names[i]->d_name);
		if (stat(child, &info) == 0 && S_ISREG(info.st_mode) && replay_file(child))
			count++;
		free(names[i]);
	}
	if (found >= 0)
		free(names);
	return count;
}

int main(int argc, char **argv)
{
	unsigned count = 0;
	for (int i = 1; i < argc; i++) {
		struct stat info;
		if (stat(argv[i], &info) == 0 && S_ISDIR(info.st_mode))
			count += replay_folder(argv[i]);
		else
			count += replay_file(argv[i]) ? 1 : 0;
	}
	printf("replayed %u inputs\n", count);
	return count > 0 ? 0 : 1; /* An empty corpus proves nothing. */
}
