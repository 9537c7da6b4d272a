/* suggest.c -- see suggest.h. */
#include "config/suggest.h"

#include <string.h>

#include "config/load.h"

#define WORD_MAX 96

static size_t least(size_t a, size_t b)
{
	return a < b ? a : b;
}

size_t suggest_distance(const char *a, const char *b, size_t most)
{
	size_t a_size = strnlen(a, WORD_MAX);
	size_t b_size = strnlen(b, WORD_MAX);
	size_t rows[3][WORD_MAX + 1]; /* Two rows back, one row back, this one. */
	size_t *before = rows[0];
	size_t *last = rows[1];
	size_t *now = rows[2];
	for (size_t j = 0; j <= b_size; j++)
		last[j] = before[j] = j;
	for (size_t i = 1; i <= a_size; i++) {
		now[0] = i;
		for (size_t j = 1; j <= b_size; j++) {
			size_t changed = last[j - 1] + (a[i - 1] == b[j - 1] ? 0 : 1);
			now[j] = least(changed, least(last[j], now[j - 1]) + 1);
			if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
				now[j] = least(now[j], before[j - 2] + 1);
		}
		size_t *oldest = before;
		before = last;
		last = now;
		now = oldest;
	}
	return least(last[b_size], most + 1);
}

/* What follows the last dot. */
static const char *last_word(const char *path)
{
	const char *dot = strrchr(path, '.');
	return dot == NULL ? path : dot + 1;
}

/* The best so far. */
struct guess {
	const char *inner;
	size_t distance; /* Anything nearer is better. */
	char *out;
	bool found;
};

/* inner_size characters of candidate are what inner is compared with, and path_size of path what
 * would be suggested. */
static void consider(struct guess *guess, struct bytes candidate, struct bytes path)
{
	char word[WORD_MAX + 1];
	if (candidate.size > WORD_MAX || path.size >= SUGGEST_SIZE)
		return;
	memcpy(word, candidate.data, candidate.size);
	word[candidate.size] = '\0';
	size_t distance = suggest_distance(guess->inner, word, guess->distance);
	/* The right word in the wrong group. */
	if (strcmp(last_word(guess->inner), last_word(word)) == 0 && distance > 1)
		distance = 1;
	if (distance >= guess->distance)
		return;
	guess->distance = distance;
	guess->found = true;
	memcpy(guess->out, path.data, path.size);
	guess->out[path.size] = '\0';
}

/* The key itself and every group it is in. */
static void consider_all(struct guess *guess, const char *inner, const char *path)
{
	struct bytes candidate = bytes_of_string(inner);
	struct bytes whole = bytes_of_string(path);
	size_t outer = whole.size - candidate.size;
	while (candidate.size > 0) {
		consider(guess, candidate, (struct bytes){ whole.data, outer + candidate.size });
		const uint8_t *dot = memrchr(candidate.data, '.', candidate.size);
		candidate.size = dot == NULL ? 0 : (size_t)(dot - candidate.data);
	}
}

bool suggest_key(const struct config *config, enum config_section section, const char *inner,
                 char out[static SUGGEST_SIZE]) /* NOLINT(readability-non-const-parameter) */
{
	size_t size = strlen(inner);
	struct guess guess = { inner, size < 4 ? 2 : size < 12 ? 3 : 4, out, false };
	const struct config_items *items = &config->sources->sections[section];
	for (size_t i = 0; i < items->row_count; i++) {
		const struct config_key *key = config_key_at(items->row_first + i);
		if ((key->programs & config->program) != 0)
			consider_all(&guess, config_key_inner(key), key->path);
	}
	for (unsigned i = SECTION_ROOT + 1; section == SECTION_ROOT && i < SECTION_COUNT; i++) {
		const char *path = config_section_at(i)->path;
		if (sources_has(config, i))
			consider_all(&guess, path, path);
	}
	return guess.found;
}
