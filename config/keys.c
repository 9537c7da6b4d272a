/* keys.c -- see keys.h. To add a key: a row here, a field in config.h, a line in the sample. */
#include "config/keys.h"

#include <string.h>

#include "config/config.h"

#define KIB(n) ((uint64_t)(n) << 10)
#define MIB(n) ((uint64_t)(n) << 20)
#define GIB(n) ((uint64_t)(n) << 30)
#define TIB(n) ((uint64_t)(n) << 40)

#define SECOND UINT64_C(1000)
#define MINUTE (60 * SECOND)
#define HOUR   (60 * MINUTE)
#define DAY    (24 * HOUR)

#define EVERYWHERE   (CONFIG_GATEWAY | CONFIG_EDGE | CONFIG_DEVCHAIN)
#define ROOT(field)  .section = SECTION_ROOT, .offset = offsetof(struct config, field)
#define CLASS(field) .section = SECTION_CLASSES, .offset = offsetof(struct class_config, field)
#define CHAIN(field) .section = SECTION_CHAINS, .offset = offsetof(struct chain_config, field)
#define ROUTE(field) .section = SECTION_ROUTES, .offset = offsetof(struct route_config, field)
#define EDGE_CHAIN(field) \
	.section = SECTION_EDGE_CHAINS, .offset = offsetof(struct edge_chain_config, field)

static const struct config_choice levels[] = {
	{ "error", LOG_LEVEL_ERROR },
	{ "warn", LOG_LEVEL_WARN },
	{ "info", LOG_LEVEL_INFO },
	{ "debug", LOG_LEVEL_DEBUG },
	{ NULL, 0 },
};
static const struct config_choice styles[] = {
	{ "text", LOG_STYLE_TEXT },
	{ "json", LOG_STYLE_JSON },
	{ NULL, 0 },
};
static const struct config_choice hashes[] = {
	{ "sha256", HASH_SHA256 },
	{ "sm3", HASH_SM3 },
	{ NULL, 0 },
};
static const struct config_choice suites[] = {
	{ "sha256-p256", SUITE_SHA256_P256 },
	{ "sha256-ed25519", SUITE_SHA256_ED25519 },
	{ "sm3-sm2", SUITE_SM3_SM2 },
	{ NULL, 0 },
};
static const struct config_choice policies[] = {
	{ "all", POLICY_ALL },
	{ "tail", POLICY_TAIL },
	{ NULL, 0 },
};
static const struct config_choice delivers[] = {
	{ "anchor", DELIVER_ANCHOR },
	{ "headers", DELIVER_HEADERS },
	{ "full", DELIVER_FULL },
	{ NULL, 0 },
};
static const struct config_choice sources[] = {
	{ "fabric-dir", EDGE_SOURCE_FABRIC_DIR },
	{ "ledger", EDGE_SOURCE_LEDGER },
	{ NULL, 0 },
};
static const struct config_choice inputs[] = {
	{ "stdin", EDGE_INPUT_STDIN },
	{ "file", EDGE_INPUT_FILE },
	{ "csv", EDGE_INPUT_CSV },
	{ "socket", EDGE_INPUT_SOCKET },
	{ NULL, 0 },
};
static const struct config_choice prunes[] = {
	{ "never", EDGE_PRUNE_NEVER },
	{ "durable", EDGE_PRUNE_DURABLE },
	{ "anchored", EDGE_PRUNE_ANCHORED },
	{ NULL, 0 },
};

static const struct config_key keys[] = {
	/* ---- who we are ---- */
	{ "zone", CONFIG_NAME, CONFIG_GATEWAY, ROOT(gateway.zone), .required = true,
	  .text = "Name of the zone this gateway serves. It is in logs, metrics and receipts." },
	{ "listen", CONFIG_ADDRESS_LIST, CONFIG_GATEWAY, ROOT(gateway.listen), .min = 1, .max = 16,
	  .required = true, .text = "Numeric addresses and ports on which agents are awaited." },

	/* ---- TLS ---- */
	{ "tls.certificate", CONFIG_PATH, EVERYWHERE, ROOT(tls.certificate), .reloadable = true,
	  .text = "PEM file: our own certificate, then its intermediates." },
	{ "tls.key", CONFIG_PATH, EVERYWHERE, ROOT(tls.key), .reloadable = true,
	  .text = "PEM file: the certificate's private key." },
	{ "tls.ca", CONFIG_PATH, EVERYWHERE, ROOT(tls.ca), .reloadable = true,
	  .text = "PEM file: the CA certificates that the other side's certificate must lead to." },
	{ "tls.crl", CONFIG_PATH_LIST, EVERYWHERE, ROOT(tls.crl), .max = 64, .reloadable = true,
	  .text = "Files with lists of revoked certificates (PEM or DER). A peer that appears on "
	          "one is cut off at once when it is reloaded." },
	{ "tls.groups", CONFIG_TEXT, EVERYWHERE, ROOT(tls.groups), .max = 512, .reloadable = true,
	  .text = "Key exchange groups, as OpenSSL names them, for instance X25519:P-256." },
	{ "tls.ciphers", CONFIG_TEXT, EVERYWHERE, ROOT(tls.ciphers), .max = 512, .reloadable = true,
	  .text = "TLS 1.3 cipher suites, as OpenSSL names them." },
	{ "tls.signature-algorithms", CONFIG_TEXT, EVERYWHERE, ROOT(tls.signature_algorithms),
	  .max = 512, .reloadable = true, .text = "Signature algorithms, as OpenSSL names them." },

	/* ---- what one link and all links may use ---- */
	{ "limits.links", CONFIG_INTEGER, CONFIG_GATEWAY, ROOT(gateway.limits.link_count), "25000",
	  1, 200000, "links", .reloadable = true,
	  .text = "Links open at once. Further ones are closed as they come." },
	{ "limits.handshakes-per-second", CONFIG_INTEGER, CONFIG_GATEWAY,
	  ROOT(gateway.limits.handshakes_per_s), "200", 1, 100000, "handshakes per second",
	  .reloadable = true, .text = "TLS handshakes begun in a second, on average." },
	{ "limits.handshake-burst", CONFIG_INTEGER, CONFIG_GATEWAY,
	  ROOT(gateway.limits.handshake_burst), "400", 1, 100000, "handshakes", .reloadable = true,
	  .text = "Handshakes that may begin at once after a quiet time." },
	{ "limits.handshake-timeout", CONFIG_DURATION, CONFIG_GATEWAY,
	  ROOT(gateway.limits.handshake_timeout_ms), "20 s", SECOND, 5 * MINUTE, .reloadable = true,
	  .text = "From the connection to the end of handshake and Hello; also how long one waits "
	          "for its turn." },
	{ "limits.idle-timeout", CONFIG_DURATION, CONFIG_GATEWAY,
	  ROOT(gateway.limits.idle_timeout_ms), "10 min", SECOND, DAY, .reloadable = true,
	  .text = "A link from which nothing has come for so long is closed. At least twice the "
	          "heartbeat." },
	{ "limits.frame-timeout", CONFIG_DURATION, CONFIG_GATEWAY,
	  ROOT(gateway.limits.frame_timeout_ms), "2 min", SECOND, HOUR, .reloadable = true,
	  .text = "From a frame's first byte to its last. A slower writer is cut off." },
	{ "limits.stall-timeout", CONFIG_DURATION, CONFIG_GATEWAY,
	  ROOT(gateway.limits.stall_timeout_ms), "1 min", SECOND, HOUR, .reloadable = true,
	  .text = "An agent that takes nothing for so long of what waits for it is cut off." },
	{ "limits.frame", CONFIG_SIZE, CONFIG_GATEWAY, ROOT(gateway.limits.frame_bytes), "2 MiB",
	  MIB(2), MIB(16),
	  .text = "Largest frame in either direction. A peer that sends a larger one is cut off." },
	{ "limits.chunk", CONFIG_SIZE, CONFIG_GATEWAY, ROOT(gateway.limits.chunk_bytes), "64 KiB",
	  KIB(4), KIB(64), .reloadable = true,
	  .text = "Largest piece of a batch in one frame. What a lost link costs to send again." },
	{ "limits.batch", CONFIG_SIZE, CONFIG_GATEWAY, ROOT(gateway.limits.batch_bytes), "16 MiB",
	  KIB(64), MIB(64), .reloadable = true,
	  .text = "Largest batch, before compression. At least limits.block." },
	{ "limits.batch-blocks", CONFIG_INTEGER, CONFIG_GATEWAY,
	  ROOT(gateway.limits.batch_block_count), "1024", 1, 65535, "blocks", .reloadable = true,
	  .text = "Most blocks in a batch." },
	{ "limits.block", CONFIG_SIZE, CONFIG_GATEWAY, ROOT(gateway.limits.block_bytes), "12 MiB",
	  KIB(64), MIB(64), .reloadable = true,
	  .text = "Largest block. A chain that has a larger one stops there with an alarm." },
	{ "limits.partial-budget", CONFIG_SIZE, CONFIG_GATEWAY,
	  ROOT(gateway.limits.partial_budget_bytes), "256 MiB", MIB(1), TIB(1), .reloadable = true,
	  .text = "Memory for all batches that are only partly here. At least limits.batch." },
	{ "limits.link-out", CONFIG_SIZE, CONFIG_GATEWAY, ROOT(gateway.limits.link_out_bytes),
	  "4 MiB", KIB(256), MIB(256), .reloadable = true,
	  .text = "Bytes that may wait to be sent to one agent. A reader slower than that is cut "
	          "off. At least limits.frame." },
	{ "limits.verify-queue", CONFIG_INTEGER, CONFIG_GATEWAY,
	  ROOT(gateway.limits.verify_queue_count), "256", 1, 65536, "batches",
	  .text = "Batches that may wait for a verify worker. Beyond it agents get no new "
	          "credit." },
	{ "limits.credit", CONFIG_SIZE, CONFIG_GATEWAY, ROOT(gateway.limits.credit_bytes), "8 MiB",
	  KIB(64), GIB(1), .reloadable = true,
	  .text = "Compressed bytes that one link may send before they are acknowledged." },
	{ "limits.credit-batches", CONFIG_INTEGER, CONFIG_GATEWAY,
	  ROOT(gateway.limits.credit_batch_count), "32", 1, 65536, "batches", .reloadable = true,
	  .text = "Batches that one link may send before they are acknowledged." },
	{ "limits.pace", CONFIG_SIZE, CONFIG_GATEWAY, ROOT(gateway.limits.pace_bytes_per_s), "0", 0,
	  UINT32_MAX, .reloadable = true,
	  .text = "Bytes per second that each agent is asked to keep to. 0: as fast as it can." },
	{ "heartbeat", CONFIG_DURATION, CONFIG_GATEWAY, ROOT(gateway.heartbeat_ms), "240 s", SECOND,
	  10 * MINUTE, .reloadable = true,
	  .text = "Silence after which an agent asks whether the link still lives." },

	/* ---- the spool ---- */
	{ "spool.dir", CONFIG_PATH, CONFIG_GATEWAY, ROOT(gateway.spool.dir), .required = true,
	  .text = "Folder of the spool. Made by \"zonerelay spool init\"; a missing one is "
	          "refused." },
	{ "spool.size", CONFIG_SIZE, CONFIG_GATEWAY, ROOT(gateway.spool.size_bytes), "64 GiB",
	  MIB(16), TIB(16),
	  .text = "Size of the spool file, allocated whole by \"zonerelay spool init\". When it is "
	          "full, intake pauses; delivery goes on." },
	{ "spool.reserve", CONFIG_SIZE, CONFIG_GATEWAY, ROOT(gateway.spool.reserve_bytes), "64 MiB",
	  MIB(1), GIB(64), .reloadable = true,
	  .text = "Part of the spool that intake leaves free, so that receipts and deletes always "
	          "fit. At most half of spool.size; if it is not given, a quarter of a spool for "
	          "which it is too large." },
	{ "spool.retention", CONFIG_DURATION, CONFIG_GATEWAY, ROOT(gateway.spool.retention_ms),
	  "30 d", 0, 3650 * DAY, .reloadable = true,
	  .text = "Blocks are kept for so long after their anchor is final. Hashes and proofs are "
	          "kept longer: spool.history." },
	{ "spool.retention-size", CONFIG_SIZE, CONFIG_GATEWAY,
	  ROOT(gateway.spool.retention_size_bytes), "0", 0, TIB(16), .reloadable = true,
	  .text = "Final blocks beyond this many bytes are deleted before their time, oldest "
	          "first. 0: never." },
	{ "spool.history", CONFIG_DURATION, CONFIG_GATEWAY, ROOT(gateway.spool.history_ms), "0", 0,
	  3650 * DAY, .reloadable = true,
	  .text = "Hashes, entries and receipts are kept for so long after their anchor is final; "
	          "then only the edge can prove its blocks. 0: for ever, about 300 bytes per "
	          "block." },
	{ "spool.quarantine-size", CONFIG_SIZE, CONFIG_GATEWAY,
	  ROOT(gateway.spool.quarantine_size_bytes), "16 MiB", MIB(1), TIB(1), .reloadable = true,
	  .text = "Bytes of one chain that quarantine keeps whole; beyond it what arrives is only "
	          "counted and hashed. At most half of spool.size; if it is not given, a quarter "
	          "of a spool for which it is too large." },

	/* ---- receipts ---- */
	{ "receipts.key", CONFIG_PATH, CONFIG_GATEWAY, ROOT(gateway.receipts.key), .required = true,
	  .reloadable = true,
	  .text = "PEM file: the private key that signs custody and anchor receipts." },
	{ "receipts.certificate", CONFIG_PATH, CONFIG_GATEWAY, ROOT(gateway.receipts.certificate),
	  .required = true, .reloadable = true,
	  .text = "PEM file: the certificate of that key, issued by the zone's CA." },
	{ "receipts.old-certificates", CONFIG_PATH_LIST, CONFIG_GATEWAY,
	  ROOT(gateway.receipts.old_certificates), .max = 64, .reloadable = true,
	  .text = "Certificates of earlier receipt keys, so that old receipts still verify." },

	/* ---- the main chain ---- */
	{ "main-chain.adapter", CONFIG_NAME, CONFIG_GATEWAY, ROOT(gateway.main_chain.adapter),
	  "http", .text = "How the main chain is spoken to." },
	{ "main-chain.name", CONFIG_NAME, CONFIG_GATEWAY, ROOT(gateway.main_chain.name), "main",
	  .text = "Name of the main chain in logs, metrics and proofs. Never change it while the "
	          "spool holds anchors." },
	{ "main-chain.endpoints", CONFIG_TEXT_LIST, CONFIG_GATEWAY,
	  ROOT(gateway.main_chain.endpoints), .min = 1, .max = 16, .required = true,
	  .reloadable = true, .secret = true,
	  .text = "URLs of the main chain's API, in order of preference." },
	{ "main-chain.ca", CONFIG_PATH, CONFIG_GATEWAY, ROOT(gateway.main_chain.ca),
	  .reloadable = true,
	  .text = "PEM file: CA certificates for the endpoints. Without it: the system's." },
	{ "main-chain.certificate", CONFIG_PATH, CONFIG_GATEWAY,
	  ROOT(gateway.main_chain.certificate), .reloadable = true,
	  .text = "PEM file: the certificate we show to the endpoints." },
	{ "main-chain.key", CONFIG_PATH, CONFIG_GATEWAY, ROOT(gateway.main_chain.key),
	  .reloadable = true, .text = "PEM file: the private key of that certificate." },
	{ "main-chain.token-file", CONFIG_PATH, CONFIG_GATEWAY, ROOT(gateway.main_chain.token_file),
	  .reloadable = true, .text = "File with a bearer token. Read again when it changes." },
	{ "main-chain.proxy", CONFIG_TEXT, CONFIG_GATEWAY, ROOT(gateway.main_chain.proxy),
	  .max = 1024, .reloadable = true, .secret = true,
	  .text = "URL of a proxy. Without it: none, whatever the environment says." },
	{ "main-chain.trusted", CONFIG_PATH_LIST, CONFIG_GATEWAY, ROOT(gateway.main_chain.trusted),
	  .max = 64, .reloadable = true,
	  .text = "PEM files: the main chain's public keys or certificates. With them every anchor "
	          "receipt is checked before it counts." },
	{ "main-chain.lane", CONFIG_INTEGER, CONFIG_GATEWAY, ROOT(gateway.main_chain.lane), "0", 0,
	  65535, "",
	  .text = "Number of our ordered sequence of anchors. Every gateway has its own." },
	{ "main-chain.hash", CONFIG_ENUM, CONFIG_GATEWAY, ROOT(gateway.main_chain.hash), "sha256",
	  .choices = hashes,
	  .text = "Hash of the trees and keys of anchors. Never change it while the spool holds "
	          "anchors." },
	{ "main-chain.anchor-interval", CONFIG_DURATION, CONFIG_GATEWAY,
	  ROOT(gateway.main_chain.anchor_interval_ms), "10 s", 10, DAY, .reloadable = true,
	  .text = "A pending block is anchored at the latest after so long, where the main chain "
	          "keeps up." },
	{ "main-chain.anchor-blocks", CONFIG_INTEGER, CONFIG_GATEWAY,
	  ROOT(gateway.main_chain.anchor_block_count), "10000", 1, 1000000, "blocks",
	  .reloadable = true, .text = "Most blocks in one anchor, as far as whole batches allow." },
	{ "main-chain.anchor-entries", CONFIG_INTEGER, CONFIG_GATEWAY,
	  ROOT(gateway.main_chain.anchor_entry_count), "4096", 1, 65536, "chains",
	  .reloadable = true, .text = "Most chains in one anchor." },
	{ "main-chain.anchor-bytes", CONFIG_SIZE, CONFIG_GATEWAY,
	  ROOT(gateway.main_chain.anchor_bytes), "4 MiB", KIB(64), MIB(64), .reloadable = true,
	  .text = "Largest anchor to submit." },
	{ "main-chain.in-flight", CONFIG_INTEGER, CONFIG_GATEWAY,
	  ROOT(gateway.main_chain.in_flight_count), "8", 1, 256, "calls", .reloadable = true,
	  .text = "Calls to the main chain under way at once." },
	{ "main-chain.connect-timeout", CONFIG_DURATION, CONFIG_GATEWAY,
	  ROOT(gateway.main_chain.connect_timeout_ms), "10 s", 100, 10 * MINUTE, .reloadable = true,
	  .text = "How long connecting to an endpoint may take before the next one is tried." },
	{ "main-chain.answer-timeout", CONFIG_DURATION, CONFIG_GATEWAY,
	  ROOT(gateway.main_chain.answer_timeout_ms), "60 s", 100, HOUR, .reloadable = true,
	  .text = "How long an answer may take before it is looked up instead." },
	{ "main-chain.poll-interval", CONFIG_DURATION, CONFIG_GATEWAY,
	  ROOT(gateway.main_chain.poll_interval_ms), "2 s", 10, HOUR, .reloadable = true,
	  .text = "How often an anchor that is not final yet is looked up." },
	{ "main-chain.retry-min", CONFIG_DURATION, CONFIG_GATEWAY,
	  ROOT(gateway.main_chain.retry_min_ms), "1 s", 10, HOUR, .reloadable = true,
	  .text = "First wait after a failure. It doubles, with jitter, up to "
	          "main-chain.retry-max." },
	{ "main-chain.retry-max", CONFIG_DURATION, CONFIG_GATEWAY,
	  ROOT(gateway.main_chain.retry_max_ms), "5 min", 10, DAY, .reloadable = true,
	  .text = "Longest wait after failures. We never give up." },

	/* ---- the operator ---- */
	{ "control.socket", CONFIG_PATH, CONFIG_GATEWAY, ROOT(gateway.control_socket),
	  "/run/zonerelay/control.sock", .text = "Socket on which \"zonerelay\" asks the daemon." },
	{ "control.events", CONFIG_PATH, CONFIG_GATEWAY, ROOT(gateway.control_events),
	  "/run/zonerelay/events.sock",
	  .text = "Socket on which \"zonerelay watch\" listens to what happens." },
	{ "control.group", CONFIG_TEXT, CONFIG_GATEWAY, ROOT(gateway.control_group), .min = 1,
	  .max = 64,
	  .text = "Group whose members may use the two sockets. Without it: only the daemon's own "
	          "user and root." },
	{ "http.listen", CONFIG_ADDRESS_LIST, CONFIG_GATEWAY, ROOT(gateway.http_listen),
	  "127.0.0.1:9464", .max = 16,
	  .text = "Numeric addresses and ports of /metrics, /healthz, /readyz, /api/v1 and the "
	          "console. They have no passwords: keep them on the loopback." },
	{ "verify.threads", CONFIG_INTEGER, CONFIG_GATEWAY, ROOT(gateway.verify_thread_count), "0",
	  0, 256, "threads", .text = "Workers that verify batches. 0: one per processor." },
	{ "metrics.chains", CONFIG_NAME_LIST, CONFIG_GATEWAY, ROOT(gateway.metrics_chains),
	  .max = 1000, .reloadable = true,
	  .text = "Chains that get series of their own. All chains are in the sums." },
	{ "chains-folder", CONFIG_PATH, CONFIG_GATEWAY, ROOT(gateway.chains_folder), "chains.d",
	  .reloadable = true,
	  .text = "Folder with more chains: each *.yaml file in it is a list like \"chains\"." },

	/* ---- the agent ---- */
	{ "gateway.name", CONFIG_TEXT, CONFIG_EDGE, ROOT(edge.gateway_name), .min = 1, .max = 255,
	  .required = true, .reloadable = true,
	  .text = "DNS name or URI that the gateway's certificate must carry." },
	{ "gateway.connect-timeout", CONFIG_DURATION, CONFIG_EDGE, ROOT(edge.connect_timeout_ms),
	  "30 s", 100, 10 * MINUTE, .reloadable = true,
	  .text = "How long connecting, handshake and Welcome may take before the next route is "
	          "tried." },
	{ "gateway.idle-timeout", CONFIG_DURATION, CONFIG_EDGE, ROOT(edge.idle_timeout_ms), "60 s",
	  SECOND, HOUR, .reloadable = true,
	  .text = "How long an answer to a heartbeat may take before the link counts as dead." },
	{ "gateway.retry-min", CONFIG_DURATION, CONFIG_EDGE, ROOT(edge.retry_min_ms), "2 s", 10,
	  HOUR, .reloadable = true,
	  .text = "First wait before connecting again. It doubles, with jitter, up to "
	          "gateway.retry-max." },
	{ "gateway.retry-max", CONFIG_DURATION, CONFIG_EDGE, ROOT(edge.retry_max_ms), "10 min", 10,
	  DAY, .reloadable = true, .text = "Longest wait before connecting again." },
	{ "limits.frame", CONFIG_SIZE, CONFIG_EDGE, ROOT(edge.frame_bytes), "2 MiB", MIB(2),
	  MIB(16), .text = "Largest frame in either direction." },
	{ "limits.block", CONFIG_SIZE, CONFIG_EDGE, ROOT(edge.block_bytes), "12 MiB", KIB(64),
	  MIB(64), .reloadable = true,
	  .text = "Largest block. A chain that has a larger one stops there with an alarm." },
	{ "state.dir", CONFIG_PATH, CONFIG_EDGE, ROOT(edge.state_dir), .required = true,
	  .text = "Folder for receipts and for what the agent knows of its gateway." },
	{ "state.size", CONFIG_SIZE, CONFIG_EDGE, ROOT(edge.state_size_bytes), "64 MiB", MIB(1),
	  TIB(1), .text = "Limit of the file in it." },
	{ "batch.bytes", CONFIG_SIZE, CONFIG_EDGE, ROOT(edge.batch.bytes), "1 MiB", KIB(4), MIB(64),
	  .reloadable = true,
	  .text = "A batch is sent when it has so many bytes before compression," },
	{ "batch.blocks", CONFIG_INTEGER, CONFIG_EDGE, ROOT(edge.batch.block_count), "256", 1,
	  65535, "blocks", .reloadable = true, .text = "or so many blocks," },
	{ "batch.wait", CONFIG_DURATION, CONFIG_EDGE, ROOT(edge.batch.wait_ms), "5 s", 0, DAY,
	  .reloadable = true,
	  .text = "or when its first block has waited so long. Longer saves traffic." },
	{ "batch.compression-level", CONFIG_INTEGER, CONFIG_EDGE,
	  ROOT(edge.batch.compression_level), "6", 1, 19, "", .reloadable = true,
	  .text = "Level of zstd. Higher saves traffic and costs time and memory." },
	{ "status.socket", CONFIG_PATH, CONFIG_EDGE, ROOT(edge.status_socket),
	  "/run/zonerelay-edge/status.sock",
	  .text = "Socket on which \"zonerelay-edge status\" asks the agent." },

	/* ---- the developer's main chain ---- */
	{ "listen", CONFIG_ADDRESS, CONFIG_DEVCHAIN, ROOT(devchain.listen), "127.0.0.1:7480",
	  .text = "Numeric address and port of the API." },
	{ "dir", CONFIG_PATH, CONFIG_DEVCHAIN, ROOT(devchain.dir), .required = true,
	  .text = "Folder of its ledger." },
	{ "size", CONFIG_SIZE, CONFIG_DEVCHAIN, ROOT(devchain.size_bytes), "1 GiB", MIB(1), TIB(1),
	  .text = "Limit of the file in it." },
	{ "key", CONFIG_PATH, CONFIG_DEVCHAIN, ROOT(devchain.key),
	  .text = "PEM file: the private key that signs its block headers. Without it: key.pem in "
	          "dir, made at the first start." },
	{ "suite", CONFIG_ENUM, CONFIG_DEVCHAIN, ROOT(devchain.suite), "sha256-p256",
	  .choices = suites, .text = "Suite of a key that is made." },
	{ "chain", CONFIG_NAME, CONFIG_DEVCHAIN, ROOT(devchain.chain), "devchain",
	  .text = "Name of a main chain that is made." },
	{ "token-file", CONFIG_PATH, CONFIG_DEVCHAIN, ROOT(devchain.token_file),
	  .text = "File with the bearer token that callers must show. Without it: none." },
	{ "block-interval", CONFIG_DURATION, CONFIG_DEVCHAIN, ROOT(devchain.block_interval_ms),
	  "1 s", 0, HOUR,
	  .text = "Time between blocks while there is something to record. 0: at once." },
	{ "finality-blocks", CONFIG_INTEGER, CONFIG_DEVCHAIN, ROOT(devchain.finality_blocks), "1",
	  0, 1000, "blocks", .text = "Blocks that must follow before an anchor is final." },

	/* ---- logs ---- */
	{ "log.level", CONFIG_ENUM, EVERYWHERE, ROOT(log.level), "info", .choices = levels,
	  .reloadable = true, .text = "Least important events that are still written." },
	{ "log.style", CONFIG_ENUM, EVERYWHERE, ROOT(log.style), "text", .choices = styles,
	  .reloadable = true,
	  .text = "Form of a line: an event name with key=value pairs, or a JSON object." },

	/* ---- classes ---- */
	{ "classes.NAME.priority", CONFIG_INTEGER, CONFIG_GATEWAY, CLASS(priority), "10", 1, 1000,
	  "", .reloadable = true,
	  .text = "Weight against other classes where there is not enough for all." },
	{ "classes.NAME.policy", CONFIG_ENUM, CONFIG_GATEWAY, CLASS(policy), "all",
	  .choices = policies, .reloadable = true,
	  .text = "Whose signatures are verified: of all blocks, or of the tail of each batch and "
	          "of set changes. Links and data roots are always checked." },
	{ "classes.NAME.deliver", CONFIG_ENUM, CONFIG_GATEWAY, CLASS(deliver), "full",
	  .choices = delivers, .reloadable = true,
	  .text = "How much the main chain is given: the anchor only, header records too, or the "
	          "whole batches." },
	{ "classes.NAME.quota", CONFIG_SIZE, CONFIG_GATEWAY, CLASS(quota_bytes), "1 GiB", 0,
	  TIB(16), .reloadable = true,
	  .text = "What one chain may hold in the spool before it is anchored. 0: no limit." },
	{ "classes.NAME.dictionary", CONFIG_HASH, CONFIG_GATEWAY, CLASS(dictionary),
	  .reloadable = true,
	  .text = "SHA-256 of an installed dictionary that agents are asked to compress with." },

	/* ---- chains of the zone ---- */
	{ "chains[].name", CONFIG_NAME, CONFIG_GATEWAY, CHAIN(name), .required = true,
	  .reloadable = true, .text = "The zone's name for the chain." },
	{ "chains[].format", CONFIG_NAME, CONFIG_GATEWAY, CHAIN(format), .required = true,
	  .reloadable = true, .text = "How its blocks are encoded and signed: fabric or ledger." },
	{ "chains[].trust", CONFIG_PATH, CONFIG_GATEWAY, CHAIN(trust), .required = true,
	  .reloadable = true,
	  .text = "The block that is pinned: its genesis or a configuration block. Read when the "
	          "chain is enrolled; afterwards the spool knows its trust set." },
	{ "chains[].epoch", CONFIG_HASH, CONFIG_GATEWAY, CHAIN(epoch), .reloadable = true,
	  .text = "Hash of its genesis block, where the pinned file must be compared with it." },
	{ "chains[].class", CONFIG_NAME, CONFIG_GATEWAY, CHAIN(class_name), "default",
	  .reloadable = true, .text = "Its class." },
	{ "chains[].agents", CONFIG_NAME_LIST, CONFIG_GATEWAY, CHAIN(agents), .min = 1, .max = 64,
	  .required = true, .reloadable = true,
	  .text = "Ids of the agents that may bring it. One is active, the others stand by." },
	{ "chains[].policy", CONFIG_ENUM, CONFIG_GATEWAY, CHAIN(policy), .choices = policies,
	  .reloadable = true, .text = "Its own policy instead of its class's." },
	{ "chains[].enabled", CONFIG_BOOL, CONFIG_GATEWAY, CHAIN(enabled), "true",
	  .reloadable = true,
	  .text = "False: agents may not bring it now. What is spooled is still delivered." },

	/* ---- routes of the agent ---- */
	{ "gateway.routes[].address", CONFIG_ADDRESS, CONFIG_EDGE, ROUTE(address), .required = true,
	  .reloadable = true, .text = "Host and port of the gateway." },
	{ "gateway.routes[].source", CONFIG_TEXT, CONFIG_EDGE, ROUTE(source), .min = 1, .max = 64,
	  .reloadable = true,
	  .text = "Numeric local address to connect from, for instance that of the APN "
	          "interface." },

	/* ---- chains of the agent ---- */
	{ "chains[].name", CONFIG_NAME, CONFIG_EDGE, EDGE_CHAIN(name), .required = true,
	  .text = "The zone's name for the chain." },
	{ "chains[].format", CONFIG_NAME, CONFIG_EDGE, EDGE_CHAIN(format), .required = true,
	  .text = "How its blocks are encoded and signed: fabric or ledger." },
	{ "chains[].trust", CONFIG_PATH, CONFIG_EDGE, EDGE_CHAIN(trust), .required = true,
	  .text = "The block that is pinned: its genesis or a configuration block. For a ledger it "
	          "is written at the first start, to be given to the zone." },
	{ "chains[].epoch", CONFIG_HASH, CONFIG_EDGE, EDGE_CHAIN(epoch),
	  .text = "Hash of its genesis block, where the pinned file must be compared with it." },
	{ "chains[].source.type", CONFIG_ENUM, CONFIG_EDGE, EDGE_CHAIN(source.type),
	  .choices = sources, .required = true,
	  .text = "Where blocks come from: a folder of Fabric blocks that grows, or a ledger that "
	          "the agent keeps itself." },
	{ "chains[].source.dir", CONFIG_PATH, CONFIG_EDGE, EDGE_CHAIN(source.dir), .required = true,
	  .text = "That folder, or the folder of the ledger's store." },
	{ "chains[].source.scan-interval", CONFIG_DURATION, CONFIG_EDGE,
	  EDGE_CHAIN(source.scan_interval_ms), "1 s", 10, HOUR,
	  .text = "How often a folder or file is looked at for something new." },
	{ "chains[].source.size", CONFIG_SIZE, CONFIG_EDGE, EDGE_CHAIN(source.size_bytes),
	  "256 MiB", MIB(1), TIB(1), .ledger_only = true, .text = "Limit of the ledger's store." },
	{ "chains[].source.input", CONFIG_ENUM, CONFIG_EDGE, EDGE_CHAIN(source.input), "stdin",
	  .choices = inputs, .ledger_only = true,
	  .text = "Where the ledger's entries come from: lines of standard input, of a file that "
	          "grows, of a CSV file that grows, or a local socket." },
	{ "chains[].source.path", CONFIG_PATH, CONFIG_EDGE, EDGE_CHAIN(source.path),
	  .ledger_only = true, .text = "That file or socket." },
	{ "chains[].source.csv.columns", CONFIG_TEXT_LIST, CONFIG_EDGE,
	  EDGE_CHAIN(source.csv_columns), .max = 64, .ledger_only = true,
	  .text = "Fields of an entry and the columns they come from, each NAME=NUMBER, from 1. "
	          "One named time is the meter's own time. Without any the whole line is the "
	          "entry." },
	{ "chains[].source.csv.delimiter", CONFIG_TEXT, CONFIG_EDGE,
	  EDGE_CHAIN(source.csv_delimiter), ",", 1, 1, .ledger_only = true,
	  .text = "What stands between columns." },
	{ "chains[].source.csv.skip-header", CONFIG_BOOL, CONFIG_EDGE,
	  EDGE_CHAIN(source.csv_skip_header), "true", .ledger_only = true,
	  .text = "Is the first line of the file a heading?" },
	{ "chains[].source.entry-size", CONFIG_SIZE, CONFIG_EDGE, EDGE_CHAIN(source.entry_bytes),
	  "64 KiB", 64, MIB(1), .ledger_only = true,
	  .text = "Largest entry. A larger one is refused, and counted." },
	{ "chains[].source.block-interval", CONFIG_DURATION, CONFIG_EDGE,
	  EDGE_CHAIN(source.block_interval_ms), "15 min", 10, DAY, .ledger_only = true,
	  .text = "A block is sealed when such an interval of the clock (of the column time, where "
	          "there is one) is over or its first entry has waited so long," },
	{ "chains[].source.block-bytes", CONFIG_SIZE, CONFIG_EDGE, EDGE_CHAIN(source.block_bytes),
	  "256 KiB", KIB(1), MIB(8), .ledger_only = true, .text = "or when it has so many bytes," },
	{ "chains[].source.block-entries", CONFIG_INTEGER, CONFIG_EDGE,
	  EDGE_CHAIN(source.block_entry_count), "1000", 1, 65536, "entries", .ledger_only = true,
	  .text = "or so many entries." },
	{ "chains[].source.suite", CONFIG_ENUM, CONFIG_EDGE, EDGE_CHAIN(source.suite),
	  "sha256-p256", .choices = suites, .ledger_only = true,
	  .text = "Hash and signature of the ledger's blocks." },
	{ "chains[].source.key", CONFIG_PATH, CONFIG_EDGE, EDGE_CHAIN(source.key),
	  .ledger_only = true,
	  .text = "PEM file: the private key that seals the ledger's blocks." },
	{ "chains[].dictionaries", CONFIG_PATH_LIST, CONFIG_EDGE, EDGE_CHAIN(dictionaries),
	  .max = 16,
	  .text = "Dictionaries for compression that are here already. Others are fetched." },
	{ "chains[].prune", CONFIG_ENUM, CONFIG_EDGE, EDGE_CHAIN(prune), "never", .choices = prunes,
	  .text = "When blocks may be deleted here: never, when the gateway has them on its disk, "
	          "or when the main chain has them. A ledger does it; of another source it is only "
	          "said." },
	{ "chains[].main-chain.adapter", CONFIG_NAME, CONFIG_EDGE, EDGE_CHAIN(main_chain_adapter),
	  "http", .text = "Kind of evidence that the main chain gives." },
	{ "chains[].main-chain.trusted", CONFIG_PATH, CONFIG_EDGE, EDGE_CHAIN(main_chain_trusted),
	  .text = "PEM file: the main chain's public keys or certificates. With it the agent "
	          "checks the evidence itself, and not only the gateway's signature." },
};

#define ITEMS(type, items, count, name)                                                   \
	.item_size = sizeof(struct type), .items_offset = offsetof(struct config, items), \
	.count_offset = offsetof(struct config, count), .name_offset = offsetof(struct type, name)
static const struct config_section_row section_rows[SECTION_COUNT] = {
	[SECTION_ROOT] = { .path = "", .programs = EVERYWHERE },
	[SECTION_CLASSES] = { "classes", CONFIG_GATEWAY, .named = true, .reloadable = true,
	                      ITEMS(class_config, gateway.classes, gateway.class_count, name),
	                      .count_max = 256,
	                      .text = "Groups of chains that are treated alike. The class "
	                              "\"default\" is always there." },
	[SECTION_CHAINS] = { "chains", CONFIG_GATEWAY, .reloadable = true,
	                     ITEMS(chain_config, gateway.chains, gateway.chain_count, name),
	                     .count_max = 200000,
	                     .text = "Chains that agents may bring. One line enrols a chain." },
	[SECTION_ROUTES] = { "gateway.routes", CONFIG_EDGE, .reloadable = true, .required = true,
	                     ITEMS(route_config, edge.routes, edge.route_count, address.text),
	                     .count_max = 16,
	                     .text = "Ways to the one gateway, in order of preference." },
	[SECTION_EDGE_CHAINS] = { "chains", CONFIG_EDGE, .required = true,
	                          ITEMS(edge_chain_config, edge.chains, edge.chain_count, name),
	                          .count_max = 256, .text = "Chains that this agent brings." },
};

static const char *const type_names[CONFIG_TYPE_COUNT] = {
	[CONFIG_BOOL] = "true or false",
	[CONFIG_INTEGER] = "integer",
	[CONFIG_SIZE] = "size",
	[CONFIG_DURATION] = "duration",
	[CONFIG_TEXT] = "text",
	[CONFIG_NAME] = "name",
	[CONFIG_PATH] = "path",
	[CONFIG_ADDRESS] = "address:port",
	[CONFIG_ENUM] = "one of",
	[CONFIG_HASH] = "hash",
	[CONFIG_TEXT_LIST] = "list of texts",
	[CONFIG_NAME_LIST] = "list of names",
	[CONFIG_PATH_LIST] = "list of paths",
	[CONFIG_ADDRESS_LIST] = "list of address:port",
};

const struct config_key *config_key_at(size_t index)
{
	return index < sizeof(keys) / sizeof(keys[0]) ? &keys[index] : NULL;
}

const struct config_section_row *config_section_at(enum config_section section)
{
	return &section_rows[section];
}

const char *config_type_name(enum config_type type)
{
	return type_names[type];
}

const char *config_key_inner(const struct config_key *key)
{
	const struct config_section_row *section = &section_rows[key->section];
	if (key->section == SECTION_ROOT)
		return key->path;
	return key->path + strlen(section->path) + strlen(section->named ? ".NAME." : "[].");
}
