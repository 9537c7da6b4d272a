/* receipt.h -- the two receipts of the link, made by the gateway and checked by the agent.
 *
 * Custody: one signature per commit. The gateway builds a tree over the commit's custody records
 * and signs its root; each batch's receipt is its path. The agent builds the record itself from
 * what it sent, so a receipt says nothing that the agent did not know.
 *
 * Anchored: one signature per final anchor, over the receipt root; each chain's entry carries its
 * path to the anchor's root.
 */
#ifndef ZR_PROTO_RECEIPT_H
#define ZR_PROTO_RECEIPT_H

#include "proto/link.h"
#include "proto/record.h"

struct receipt_key_id {
	uint8_t bytes[LINK_KEY_ID_SIZE];
};
/* The first bytes of key_id(). */
struct receipt_key_id receipt_key_id(const struct key *key);
/* Is this the key that the receipt names? For who holds several. */
bool receipt_key_matches(const struct key *key, struct bytes id);

/* ---- custody, gateway ---- */

struct custody_stamp {
	uint8_t store_uuid[STORE_UUID_SIZE];
	uint64_t commit_number;
	int64_t time_ms; /* Gateway wall clock. */
};

struct custody_commit; /* The signed tree of one commit. */

/* Takes one signature, whatever count is; any thread. The records are not needed afterwards. */
bool custody_commit_new(struct custody_commit **out_commit, const struct custody_stamp *stamp,
                        const struct custody *custodies, size_t count, const struct key *key,
                        struct err *err) MUST_CHECK;
void custody_commit_free(struct custody_commit *commit); /* NULL is allowed. */
const struct custody_root *custody_commit_root(const struct custody_commit *commit);

/* One batch's receipt as a message. Points into itself and into its commit: not to be copied. */
struct custody_receipt {
	Zonerelay__Link__CustodyReceipt message;
	struct merkle_path path;
	ProtobufCBinaryData nodes[MERKLE_PATH_MAX];
};
/* Of custodies[index]. Keeps commit as long as *out_receipt is used. */
void custody_commit_receipt(const struct custody_commit *commit, size_t index,
                            struct custody_receipt *out_receipt);

/* ---- custody, agent ---- */

/* Does the receipt say that the store has this batch?
 * Errors: ZR_INVALID  malformed.  ZR_UNTRUSTED  it does not, or another key signed it. */
bool custody_receipt_check(const Zonerelay__Link__CustodyReceipt *receipt,
                           const uint8_t store_uuid[static STORE_UUID_SIZE],
                           const struct custody *custody, const struct key *key,
                           struct err *err) MUST_CHECK;

/* ---- anchored, gateway ---- */

bool receipt_root_sign(const struct receipt_root *root, const struct key *key,
                       struct signature *out_signature, struct err *err) MUST_CHECK;
/* Fills out_message; nodes and message borrow from entry and path. The caller sets `chain`. */
void anchored_entry_fill(const struct entry *entry, const struct merkle_path *path,
                         ProtobufCBinaryData nodes[static MERKLE_PATH_MAX],
                         Zonerelay__Link__AnchoredEntry *out_message);

/* ---- anchored, agent ---- */

/* The record that the message's signature is over; also how the gateway fills one. */
bool anchored_receipt_root(const Zonerelay__Link__Anchored *anchored,
                           const uint8_t store_uuid[static STORE_UUID_SIZE],
                           struct receipt_root *out_root, struct err *err) MUST_CHECK;
/* Errors: ZR_INVALID, ZR_UNTRUSTED as above. */
bool anchored_check(const Zonerelay__Link__Anchored *anchored,
                    const uint8_t store_uuid[static STORE_UUID_SIZE], const struct key *key,
                    struct err *err) MUST_CHECK;
/* Does message, as an entry of chain, lead to the anchor's root? Gives the entry and its path. That
 * its tip and subtree are those of the agent's own blocks is for entry_check_headers() to say. */
bool anchored_entry_check(const Zonerelay__Link__Anchored *anchored,
                          const Zonerelay__Link__AnchoredEntry *message,
                          const struct chain_id *chain, struct entry *out_entry,
                          struct merkle_path *out_path, struct err *err) MUST_CHECK;

/* ---- paths in messages ---- */

/* nodes borrow from path. */
void path_to_message(const struct merkle_path *path,
                     ProtobufCBinaryData nodes[static MERKLE_PATH_MAX]);
/* Errors: ZR_INVALID  too many nodes, or one that is no hash. */
bool path_from_message(uint64_t index, uint64_t count, const ProtobufCBinaryData *nodes,
                       size_t node_count, struct merkle_path *out_path, struct err *err) MUST_CHECK;

#endif
