/* admission.h -- what may be appended to a chain, and in which order: decisions only (P2, P4).
 *
 * Several batches of one chain may be under way at once. They are verified ahead, each on the
 * assumption that the one before it will be admitted, and admitted strictly in order:
 *
 *     durable          admitted           expected
 *        | in the writer  |  being verified  |
 *     ---+----------------+------------------+----> height
 *
 * What a worker found out counts only if it was found under the position and the trust set that are
 * in force when the batch's turn comes; otherwise it is found again.
 *
 * Pure: no I/O, no clock, no memory of its own.
 */
#ifndef ZR_RELAY_ADMISSION_H
#define ZR_RELAY_ADMISSION_H

#include "adapters/sidechain/walk.h"
#include "proto/record.h"

/* One chain. */
struct admission {
	struct walk_position durable;  /* Committed: all that may be acked. */
	struct walk_position admitted; /* With what was handed to the writer. */
	struct walk_position expected; /* With what is being verified, as its senders claim. */
	uint64_t trust_from; /* Names the trust set in force at admitted: its first height. */
};

void admission_init(struct admission *admission, struct walk_position durable, uint64_t trust_from);

/* What a sender says about a batch before anybody looked into it. */
struct claim {
	uint64_t first_height;
	uint32_t block_count;
	struct hash tip; /* Of its last block. */
};

/* Last height of the batch; claim_valid() says that there is one. */
bool claim_valid(const struct claim *claim);
uint64_t claim_last(const struct claim *claim);

enum arrival {
	ARRIVAL_EXPECTED,  /* The next one: verify it from `expected`. */
	ARRIVAL_DUPLICATE, /* All of it is durable here: ack again. */
	ARRIVAL_IN_FLIGHT, /* Its place is taken by one under way: that one's commit will be acked. */
	ARRIVAL_SUSPECT,   /* Ours at these heights is not what it claims to be: look into it. */
	ARRIVAL_GAP,       /* Ask for the blocks from `expected` on. */
	ARRIVAL_MALFORMED, /* No such heights. */
};

/* known_tip: hash of our durable block at the claim's last height; NULL if that is not durable. */
enum arrival admission_arrival(const struct admission *admission, const struct claim *claim,
                               const struct hash *known_tip);
/* The batch is under verification now: what follows it is expected next. */
void admission_expect(struct admission *admission, const struct claim *claim);

/* What a worker's facts were found under. */
struct basis {
	struct walk_position position;
	uint64_t trust_from;
};
struct basis
admission_basis(const struct admission *admission); /* For the batch whose turn it is. */

enum verdict {
	VERDICT_APPEND, /* Hand it to the writer. */
	VERDICT_AGAIN,  /* Verify again, under admission_basis(). */
	VERDICT_BAD,    /* Never acceptable: quarantine and reject. */
	VERDICT_GAP,    /* One before it was not admitted: it has to be sent again. */
};

struct facts {
	struct basis basis;
	enum walk_fault fault;
	size_t header_count; /* As found; the rest only where fault is WALK_FINE. */
	struct hash tip;
	bool trust_changed;
	uint64_t trust_next_from;
};

/* For the oldest batch under way that is not admitted yet, and only for it. */
enum verdict admission_verdict(const struct admission *admission, const struct claim *claim,
                               const struct facts *facts);
/* After VERDICT_APPEND: the batch went to the writer. */
void admission_append(struct admission *admission, const struct claim *claim,
                      const struct facts *facts);
/* The writer committed this batch. */
void admission_commit(struct admission *admission, const struct claim *claim);
/* The batch after `admitted` was not admitted: those that were verified ahead of it hang in the air. */
void admission_cut(struct admission *admission);
/* The writer refused: back to what is durable. trust_from: of the set in force there. */
void admission_rollback(struct admission *admission, uint64_t trust_from);

/* ---- suspects ---- */

enum comparison {
	COMPARE_SAME_WHOLE,   /* Nothing new in it: a duplicate. */
	COMPARE_SAME_OVERLAP, /* The part that we have is ours: to be sent again from next_height. */
	COMPARE_DIFFERENT,    /* *out_height is the first that differs: is it validly signed? */
	COMPARE_ABOVE,        /* It does not reach down to what is durable. */
};
/* ours: hashes of our durable blocks from headers[0].height on, as many as overlap. */
enum comparison admission_compare(const struct block_header *headers, size_t header_count,
                                  const struct hash *ours, size_t our_count, uint64_t *out_height);

#endif
