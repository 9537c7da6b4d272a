/* config.h -- one YAML file per program, checked against one table of keys (config/keys.h).
 *
 * Loading is all or nothing: every mistake in every file is reported at once as file:line:column
 * and a sentence, and only a configuration without mistakes is given. It is immutable afterwards; a
 * reload loads a second one and asks config_diff() what is different.
 *
 * Sizes are in bytes, times in milliseconds, whatever unit the file used. Relative paths are
 * relative to the folder of the file that names them, and are given whole. An optional text, path
 * or list that was not given is NULL or empty.
 *
 * Threads: a loaded configuration may be read by any thread.
 */
#ifndef ZR_CONFIG_CONFIG_H
#define ZR_CONFIG_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/record.h"
#include "relay/base/bytes.h"
#include "relay/base/crypto.h"
#include "relay/base/err.h"
#include "relay/base/log.h"

/* Whose file it is. Bits, because a key may belong to several programs. */
enum config_program {
	CONFIG_GATEWAY = 1,  /* zonerelayd, and zonerelay beside it */
	CONFIG_EDGE = 2,     /* zonerelay-edge */
	CONFIG_DEVCHAIN = 4, /* zonerelay-devchain */
};

/* ---- values ---- */

struct config_list {
	const char *const *items;
	size_t count;
};

/* "10.1.2.3:7443", "[2001:db8::1]:7443", "gw.example:7443"; port 0 where it may be left out. */
struct config_address {
	const char *host; /* Without brackets. */
	uint16_t port;
	const char *text; /* As written. */
};

struct config_addresses {
	const struct config_address *items;
	size_t count;
};

struct config_log {
	enum log_level level;
	enum log_style style;
};

struct config_tls {
	const char *certificate; /* Own certificate and its intermediates. */
	const char *key;
	const char *ca;         /* The zone's CA certificates. */
	struct config_list crl; /* Lists of revoked certificates. */
	const char *groups;     /* The next three go to OpenSSL as they are; */
	const char *ciphers;    /* NULL: its own choice. */
	const char *signature_algorithms;
};

/* ---- the gateway ---- */

struct config_spool {
	const char *dir;
	uint64_t size_bytes;    /* Allocated whole by "zonerelay spool init". */
	uint64_t reserve_bytes; /* Kept for receipts and deletes when intake is paused. */
	uint64_t retention_ms;  /* Payloads live so long after their anchor is final; */
	uint64_t
		retention_size_bytes; /* and beyond this many bytes of them not even so long. 0: any. */
	uint64_t history_ms;          /* Headers, entries and receipts live so long. 0: for ever. */
	uint64_t quarantine_size_bytes; /* Of one chain. */
};

struct config_limits {
	uint64_t link_count;
	uint64_t handshakes_per_s;
	uint64_t handshake_burst;
	uint64_t handshake_timeout_ms;
	uint64_t idle_timeout_ms;
	uint64_t frame_timeout_ms; /* From a frame's first byte to its last. */
	uint64_t stall_timeout_ms; /* Of an agent that takes nothing of what waits for it. */
	uint64_t frame_bytes;
	uint64_t chunk_bytes;
	uint64_t batch_bytes; /* Raw. */
	uint64_t batch_block_count;
	uint64_t block_bytes;
	uint64_t partial_budget_bytes; /* Of all batches that are only partly here, together. */
	uint64_t link_out_bytes;       /* Waiting to be sent to one agent. */
	uint64_t verify_queue_count;   /* Batches that wait for a verify worker. */
	uint64_t credit_bytes;         /* Granted to one link at once, at most. */
	uint64_t credit_batch_count;
	uint64_t pace_bytes_per_s; /* Asked of one link; 0: as fast as it can. */
};

struct config_receipts {
	const char *key;
	const char *certificate;
	struct config_list old_certificates;
};

struct config_main_chain {
	const char *adapter; /* "http" */
	const char *name;    /* The sink's name. */
	struct config_list endpoints;
	const char *ca;
	const char *certificate;
	const char *key;
	const char *token_file;
	const char *proxy;
	struct config_list trusted; /* Files with the main chain's public keys or certificates. */
	uint64_t lane;              /* Below 65536. */
	enum hash_alg hash;
	uint64_t anchor_interval_ms; /* An anchor at the latest after so long, */
	uint64_t anchor_block_count; /* or with so many blocks, */
	uint64_t anchor_entry_count; /* so many chains, */
	uint64_t anchor_bytes;       /* or so much to submit. */
	uint64_t in_flight_count;
	uint64_t connect_timeout_ms;
	uint64_t answer_timeout_ms;
	uint64_t poll_interval_ms;
	uint64_t retry_min_ms;
	uint64_t retry_max_ms;
};

/* How a group of chains is treated. */
struct class_config {
	const char *name;
	uint64_t priority; /* Weight in the fair choice. */
	enum policy policy;
	enum deliver deliver;
	uint64_t quota_bytes; /* What one chain may hold in the spool before it is final. 0: any. */
	struct hash dictionary; /* Asked of the agents; zero: none. */
};

/* One chain that agents may bring. */
struct chain_config {
	const char *name;
	const char *format;
	const char *trust; /* The file that is pinned: genesis or configuration block. */
	struct hash epoch; /* Hash of block 0, to compare the pinned file with; zero: not given. */
	const char *class_name;
	const struct class_config *class;
	struct config_list agents; /* Ids, as in the certificates. */
	enum policy policy;        /* In force: its own, or its class's. */
	bool enabled;
};

struct gateway_config {
	const char *zone;
	struct config_addresses listen;
	struct config_limits limits;
	uint64_t heartbeat_ms;
	struct config_spool spool;
	struct config_receipts receipts;
	struct config_main_chain main_chain;
	const char *control_socket;
	const char *control_events;
	const char *control_group; /* Group that may use the sockets; NULL: only our own user. */
	struct config_addresses http_listen;
	uint64_t verify_thread_count; /* 0: one per core. */
	struct config_list metrics_chains;
	const struct class_config
		*classes; /* In the order of the file; `default` is always there. */
	size_t class_count;
	const struct chain_config *chains; /* In the order of the files. */
	size_t chain_count;
	const char *chains_folder;
};

/* ---- the agent ---- */

struct route_config {
	struct config_address address;
	const char *source; /* Local address to bind, e.g. of the APN interface; NULL: any. */
};

struct config_batch {
	uint64_t bytes; /* Raw. */
	uint64_t block_count;
	uint64_t wait_ms;
	uint64_t compression_level;
};

enum edge_source { EDGE_SOURCE_FABRIC_DIR = 1, EDGE_SOURCE_LEDGER = 2 };
enum edge_input { EDGE_INPUT_STDIN = 1, EDGE_INPUT_FILE, EDGE_INPUT_CSV, EDGE_INPUT_SOCKET };
enum edge_prune { EDGE_PRUNE_NEVER = 1, EDGE_PRUNE_DURABLE, EDGE_PRUNE_ANCHORED };

struct edge_source_config {
	enum edge_source type;
	const char *dir;           /* fabric-dir: the folder; ledger: where its store is. */
	uint64_t scan_interval_ms; /* How often a folder or file is looked at again. */
	/* The rest is for ledger. */
	uint64_t size_bytes; /* Of its store. */
	enum edge_input input;
	const char *path;               /* Of the file or socket. */
	struct config_list csv_columns; /* NAME=NUMBER; see config_csv_column(). */
	const char *csv_delimiter;      /* One character. */
	bool csv_skip_header;
	uint64_t entry_bytes; /* Largest entry. */
	uint64_t block_interval_ms;
	uint64_t block_bytes;
	uint64_t block_entry_count;
	enum suite suite;
	const char *key; /* Seals the blocks. */
};

struct edge_chain_config {
	const char *name;
	const char *format;
	const char *trust; /* Pinned file; for ledger written at first start if it is not there. */
	struct hash epoch; /* As in struct chain_config. */
	struct edge_source_config source;
	struct config_list dictionaries; /* Files. */
	enum edge_prune prune;
	const char *main_chain_adapter; /* Whose evidence it is: "http". */
	const char
		*main_chain_trusted; /* With it the agent checks the evidence itself. NULL: no. */
};

struct edge_config {
	const char *gateway_name; /* What the gateway's certificate must be for. */
	const struct route_config *routes;
	size_t route_count;
	uint64_t connect_timeout_ms;
	uint64_t idle_timeout_ms;
	uint64_t retry_min_ms;
	uint64_t retry_max_ms;
	uint64_t frame_bytes;
	uint64_t block_bytes;
	const char *state_dir;
	uint64_t state_size_bytes;
	struct config_batch batch;
	const char *status_socket;
	const struct edge_chain_config *chains;
	size_t chain_count;
};

/* ---- the developer's main chain ---- */

struct devchain_config {
	struct config_address listen;
	const char *dir;
	uint64_t size_bytes;
	const char *key;  /* Signs its block headers. NULL: the one in dir. */
	enum suite suite; /* Of a key that is made. */
	const char *chain;
	const char *token_file;
	uint64_t block_interval_ms;
	uint64_t finality_blocks;
};

/* ---- all of it ---- */

struct config_sources; /* Which file and line each value came from. */

struct config {
	enum config_program program; /* Says which of the parts below are filled. */
	struct config_log log;
	struct config_tls tls;
	struct gateway_config gateway;
	struct edge_config edge;
	struct devchain_config devchain;
	struct config_sources *sources;
};

#define CONFIG_ERROR_MAX 100

struct config_error {
	const char *file;
	unsigned line, column; /* From 1; 0: the file as a whole. */
	const char *text;
};

/* Begin with CONFIG_NO_ERRORS. */
struct config_errors {
	struct config_error *items; /* Sorted by file, line and column. */
	size_t count;
	size_t dropped; /* Found beyond CONFIG_ERROR_MAX, or not told for want of memory. */
	bool no_memory; /* The machine is short; the configuration may be as good as any. */
};
#define CONFIG_NO_ERRORS ((struct config_errors){ NULL, 0, 0, false })

void config_errors_fini(struct config_errors *errors);
/* Of a program that cannot start because of them: EXIT_CONFIG, or EXIT_SYSTEM, which a restart may mend. */
int config_errors_exit_status(const struct config_errors *errors);
/* One line each, file:line:column: sentence. Appends. */
void config_errors_text(const struct config_errors *errors, struct buffer *out);

/* Reads path and the folder of chains it names. False: errors says what is wrong, completely. */
bool config_load(const char *path, enum config_program program, struct config **out_config,
                 struct config_errors *errors) MUST_CHECK;
/* Only what stands in the file at path, unchecked and without the folder of chains: to find a
 * socket or a folder quickly. Chains have no class. NULL: it cannot be read to its end. */
struct config *config_load_brief(const char *path, enum config_program program);
void config_free(struct config *config); /* NULL is allowed. */

/* NULL: no such chain or class. */
const struct chain_config *config_chain(const struct config *config, const char *name);
const struct class_config *config_class(const struct config *config, const char *name);
/* May this agent bring this chain? */
bool config_chain_grants(const struct chain_config *chain, const char *agent);

/* "2=time" style columns were checked at loading: gives the name and the number from 1. */
void config_csv_column(const char *text, struct bytes *out_name, unsigned *out_number);

/* For checks made by higher layers: a mistake at field, which points into config or into one of its
 * chains, classes or routes. config is changed in nothing. */
void config_error_at(struct config_errors *errors, const struct config *config, const void *field,
                     const char *format, ...) __attribute__((format(printf, 4, 5)));

/* What is in force as a YAML file that could be loaded, with defaults, where each value came from
 * as a comment, and secrets masked. Appends. */
void config_show_effective(const struct config *config, struct buffer *out);

/* One difference between two configurations. */
struct config_change {
	const char *key;  /* Borrowed from the table: "limits.links", "chains[].agents". */
	const char *name; /* Of the chain or class it is in, or NULL. Borrowed from either. */
	bool reloadable;  /* False: takes effect at the next start only. */
	enum {
		CONFIG_CHANGED,
		CONFIG_ADDED,
		CONFIG_REMOVED
	} kind; /* The last two: whole chains, ... */
};

/* Gives an array, ended with free(); NULL and 0 where nothing is different. */
bool config_diff(const struct config *old, const struct config *new,
                 struct config_change **out_changes, size_t *out_count, struct err *err) MUST_CHECK;

#endif
