/* options.h -- the command line of zonerelay-devchain. */
#ifndef ZR_ADAPTERS_MAINCHAIN_DEVCHAIN_OPTIONS_H
#define ZR_ADAPTERS_MAINCHAIN_DEVCHAIN_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "relay/base/crypto.h"
#include "relay/base/err.h"
#include "relay/base/log.h"

enum devchain_verb { DEVCHAIN_RUN, DEVCHAIN_INIT, DEVCHAIN_STATUS, DEVCHAIN_ROUTES };

/* Texts are borrowed from the arguments. NULL: not given. */
struct devchain_options {
	enum devchain_verb verb;
	bool help, version, json;
	const char *config;
	const char *dir;
	const char *key;
	const char *suite_name;
	enum suite suite;
	const char *chain;
	const char *listen; /* ADDRESS:PORT */
	char address[64];
	uint16_t port;
	const char *port_file;
	const char *token_file;
	const char *tls_certificate, *tls_key, *tls_ca, *tls_crl;
	const char *misbehave; /* JSON, or @FILE. */
	const char *log_level_name;
	enum log_level log_level;
	enum log_style log_style;
	uint64_t size_bytes;
	uint64_t block_interval_ms;
	uint64_t finality_blocks;
	uint64_t batch_max_bytes;
	uint64_t anchor_max_bytes;
	unsigned given; /* One bit per row of the table: what the command line says itself. */
};

/* Reads the arguments over the defaults. Errors: ZR_INVALID. */
bool devchain_options_read(struct devchain_options *out_options, int argc, char **argv,
                           struct err *err) MUST_CHECK;
/* Splits options->listen into address and port. */
bool devchain_options_listen(struct devchain_options *options, struct err *err) MUST_CHECK;
/* Was this option ("--dir") on the command line? */
bool devchain_options_given(const struct devchain_options *options, const char *name);
void devchain_options_help(void);

/* The tables, for the manual page. False past the end. value is NULL where there is none. */
struct devchain_word {
	const char *name, *value, *text;
};
bool devchain_verb_at(size_t index, struct devchain_word *out_word);
bool devchain_option_at(size_t index, struct devchain_word *out_word);

#endif
