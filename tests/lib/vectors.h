/* vectors.h -- the test vectors of tests/data/vectors/: lines of a name and its bytes. */
#ifndef ZR_TESTS_LIB_VECTORS_H
#define ZR_TESTS_LIB_VECTORS_H

#include "relay/base/bytes.h"

struct vectors;

/* file is a name like "records.txt". Fails the test where it cannot be read. Run from the top of
 * the tree, as meson does. */
struct vectors *vectors_open(const char *file);
void vectors_close(struct vectors *vectors);
/* Borrowed until vectors_close(). Fails the test where there is no such name. */
struct bytes vector(const struct vectors *vectors, const char *name);
/* The same with a name made by printf. */
struct bytes vector_at(const struct vectors *vectors, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

/* Fails the test, showing both, unless they are equal. */
#define assert_bytes_equal(found, expected) \
	vectors_assert_equal((found), (expected), __FILE__, __LINE__)
void vectors_assert_equal(struct bytes found, struct bytes expected, const char *file, int line);

#endif
