/* mainchain.h -- one interface for every main chain: put, submit, look up, head, fence.
 *
 * Asynchronous on the caller's libevent loop: a call returns at once, and its answer comes later to
 * on_answer with the token that was given. Each call has exactly one answer. Nothing here decides
 * what an answer means for an anchor: relay/submission.h does. No adapter without a look-up.
 *
 * "Timed out" is not an outcome. Whatever is not a positive answer from the main chain is
 * MAINCHAIN_UNKNOWN (it may have happened) or MAINCHAIN_UNSENT (it cannot have happened: no
 * connection was made).
 *
 * Threads: the one that runs base; callbacks come on it.
 */
#ifndef ZR_ADAPTERS_MAINCHAIN_H
#define ZR_ADAPTERS_MAINCHAIN_H

#include "proto/record.h"
#include "relay/base/bytes.h"
#include "relay/base/err.h"

struct event_base;
struct mainchain; /* Opaque, each adapter has its own. */

enum mainchain_call {
	MAINCHAIN_PUT,     /* A compressed batch (or dictionary) by content hash. */
	MAINCHAIN_SUBMIT,  /* An anchor. */
	MAINCHAIN_LOOKUP,  /* An anchor by key. */
	MAINCHAIN_HEAD,    /* The newest anchor of a lane, and the fence. */
	MAINCHAIN_FENCE,   /* Compare-and-swap of the fence. */
	MAINCHAIN_CONTENT, /* What was recorded as anchor `seq` of a lane. */
};

enum mainchain_outcome {
	MAINCHAIN_OK,       /* PUT, FENCE, HEAD, CONTENT: done; fields below. */
	MAINCHAIN_INCLUDED, /* SUBMIT, LOOKUP: recorded, may still be reorganised away. */
	MAINCHAIN_FINAL,    /* SUBMIT, LOOKUP: recorded for good; evidence is given. */
	MAINCHAIN_ABSENT, /* LOOKUP, CONTENT: not recorded as of `height`, and a node at or past it says so.
	                     Never below a height that this adapter has seen since it was opened. */
	MAINCHAIN_REJECTED, /* SUBMIT: will never be accepted as it is; `reject` says why. PUT: likewise. */
	MAINCHAIN_FENCED,  /* SUBMIT, FENCE: another holder has a newer fence: `fence`. */
	MAINCHAIN_UNKNOWN, /* No positive answer; it may have happened. */
	MAINCHAIN_UNSENT, /* Certainly not received: not connected, or the main chain itself says that
	                      it is busy and did nothing. */
};

enum mainchain_reject {
	MAINCHAIN_REJECT_NONE,
	MAINCHAIN_REJECT_PREVIOUS, /* Previous root or sequence is not the lane's head: look at the head. */
	MAINCHAIN_REJECT_CONTENT, /* Malformed for them, or its entry `entry_index` is refused. */
	MAINCHAIN_REJECT_CHANGED, /* That key is known with another body. */
	MAINCHAIN_REJECT_MISSING, /* A batch it refers to was not put: `content`. */
	MAINCHAIN_REJECT_DENIED,  /* Credentials or rights: an operator is needed; nothing is void.
	                            With LOOKUP, HEAD and FENCE the outcome is UNKNOWN. */
	MAINCHAIN_REJECT_TOO_LARGE,
};

struct mainchain_answer {
	enum mainchain_call call;
	uint64_t token; /* As given. */
	enum mainchain_outcome outcome;
	enum mainchain_reject reject;
	int64_t entry_index; /* MAINCHAIN_REJECT_CONTENT: which entry, or -1 where it was not said. */
	uint64_t height;     /* Main-chain height the answer was made at. */
	uint64_t seq;        /* HEAD: newest sequence of the lane, 0 for none. */
	struct hash root;    /* HEAD: its root. */
	struct hash key;     /* HEAD: its key. */
	uint64_t fence;      /* HEAD, FENCE: in force now. */
	struct hash content; /* MAINCHAIN_REJECT_MISSING. */
	struct bytes
		evidence; /* FINAL: the main chain's own proof. Borrowed until the callback returns. */
	int64_t retry_after_ms; /* Where the main chain asked for it; 0 otherwise. */
	/* CONTENT: the anchor content as it was submitted; it is of that lane and seq and right in
	 * itself. Borrowed likewise. */
	struct bytes content_bytes;
	const char *detail; /* For people: status, endpoint, message. Borrowed likewise. */
};

typedef void mainchain_on_answer(const struct mainchain_answer *answer, void *arg);

struct mainchain_options {
	const char *name;             /* The sink's name in the zone file. */
	const char *const *endpoints; /* URLs, in order of preference. */
	size_t endpoint_count;
	const char *ca_file;          /* NULL: the system's. */
	const char *certificate_file; /* NULL: no client certificate. */
	const char *key_file;
	const char *token_file; /* Bearer token, read again when the file changes; NULL: none. */
	const char *proxy;      /* NULL: none, whatever the environment says. */
	/* What evidence_check() trusts. With it the adapter checks all evidence itself before it says
	 * FINAL; without (count 0) it only compares what the evidence says with what was asked. */
	const char *const *trusted_files;
	size_t trusted_file_count;
	uint64_t connect_timeout_ms;
	uint64_t answer_timeout_ms;
	uint32_t in_flight_max; /* Calls at once; more wait inside, at most in_flight_max * 4. */
};

/* Counters for metrics, one per endpoint. */
struct mainchain_endpoint_status {
	const char *url;
	bool up;     /* The last call it was asked got an answer. */
	bool behind; /* Its last answer was made below its own or another endpoint's height. */
	uint64_t height;
	uint64_t call_count, failure_count;
	uint64_t bytes_out, bytes_in;
};

/* Pure and offline: does evidence prove, to whoever trusts trusted (PEM public keys or certificates
 * of the main chain), that an anchor with this lane, seq, root and key is recorded? Appends one line
 * per check made to out_checks, for people; the other fields of anchor are not looked at.
 *
 * Errors: ZR_INVALID  malformed.  ZR_UNTRUSTED  it does not prove that. */
typedef bool mainchain_evidence_check(struct bytes evidence, struct bytes trusted,
                                      const struct anchor *anchor, const struct hash *key,
                                      struct buffer *out_checks, struct err *err);

struct mainchain_adapter {
	const char *name; /* "http": as in configuration and proofs. */
	const char *text;
	unsigned deliver_mask; /* 1 << enum deliver for each it can do. */

	/* The process must ignore SIGPIPE. No network yet.
	 * Errors: ZR_INVALID  an option.  ZR_UNAVAILABLE  a file. */
	bool (*open)(struct mainchain **out_mainchain, const struct mainchain_options *options,
	             struct event_base *base, mainchain_on_answer *on_answer, void *arg,
	             struct err *err);
	/* Calls still under way get no answer any more. Not from within on_answer. NULL is allowed. */
	void (*close)(struct mainchain *mainchain);
	/* Reads files again (certificates, token); keeps the old ones on failure. */
	bool (*reload)(struct mainchain *mainchain, const struct mainchain_options *options,
	               struct err *err);

	/* Each returns false with ZR_FULL if too many calls are under way: then there is no answer.
	 * Everything passed in is copied. */
	bool (*put)(struct mainchain *mainchain, uint64_t token, const struct hash *content,
	            struct bytes payload, struct err *err);
	bool (*submit)(struct mainchain *mainchain, uint64_t token, const struct hash *key,
	               struct bytes anchor_content, uint64_t fence, struct err *err);
	bool (*lookup)(struct mainchain *mainchain, uint64_t token, uint16_t lane,
	               const struct hash *key, struct err *err);
	bool (*head)(struct mainchain *mainchain, uint64_t token, uint16_t lane, struct err *err);
	/* If the fence in force is expected, it becomes expected + 1 and ours. */
	bool (*fence)(struct mainchain *mainchain, uint64_t token, uint16_t lane, uint64_t expected,
	              struct err *err);

	/* After a restore of our own spool: what did we submit? */
	bool (*content)(struct mainchain *mainchain, uint64_t token, uint16_t lane, uint64_t seq,
	                struct err *err);

	size_t (*endpoint_count)(const struct mainchain *mainchain);
	void (*endpoint_status)(const struct mainchain *mainchain, size_t index,
	                        struct mainchain_endpoint_status *out_status);

	/* The same function that adapters/mainchain/evidence.h gives to programs without a network. */
	mainchain_evidence_check *evidence_check;
};

/* The adapters there are; the table that names them all is relay/sinks.c. */
const struct mainchain_adapter *mainchain_http(void);

#endif
