/* print.h -- JSON as people read it: pages of names and values, tables, and numbers with units. */
#ifndef ZR_CLI_PRINT_H
#define ZR_CLI_PRINT_H

#include <jansson.h>
#include <stdint.h>
#include <stdio.h>

#include "relay/commands.h"

#define PRINT_SIZE 64

/* "1.4 GiB". Returns text. */
const char *print_bytes(uint64_t bytes, char text[static PRINT_SIZE]);
/* "3 d 4 h", "12 min", "350 ms": the two largest units. Returns text. */
const char *print_duration(int64_t ms, char text[static PRINT_SIZE]);
/* How a value is written, by the last part of its key: _bytes, _ms; null is "-". Returns text, cut
 * to its size. */
const char *print_value(const char *key, const json_t *value, char *text, size_t size);

/* The answer to "status", as docs/CONTROL.md has it. */
void print_status(const json_t *status, FILE *out);

#endif
