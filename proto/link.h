/* link.h -- frames of the link between agent and gateway: encoded, decoded, held to their limits.
 *
 * What is decoded here is well-formed in itself: sizes of hashes, ranges of heights, lengths of
 * texts and lists, fields that need one another. What it means on this connection (does this place
 * in `chains` exist, is there credit) is for the sessions to judge. docs/PROTOCOL.md section 3.
 */
#ifndef ZR_PROTO_LINK_H
#define ZR_PROTO_LINK_H

#include "proto/link.pb-c.h"
#include "relay/base/bytes.h"
#include "relay/base/err.h"

#define LINK_VERSION 1 /* The only one so far; Hello and Welcome agree on one. */

#define LINK_CHAINS_MAX       4096u
#define LINK_DICTIONARIES_MAX 64u
#define LINK_CERTIFICATES_MAX 8u /* Receipt certificates of former keys. */
#define LINK_TEXT_MAX         512u
#define LINK_SINK_MAX         32u
#define LINK_CHUNK_MAX        (64u << 10)
#define LINK_CERTIFICATE_MAX  (16u << 10)
#define LINK_EVIDENCE_MAX     (256u << 10)
#define LINK_BATCH_SIZE_MAX   (1u << 30)
#define LINK_BATCH_BLOCKS_MAX 65535u
#define LINK_TIME_MAX_MS      INT64_C(253402300799999) /* The end of the year 9999. */
#define LINK_KEY_ID_SIZE      8

/* Nobody sends a frame above the first, and everybody takes one of the second: a gateway may ask for
 * smaller frames (Limits.frame_max_bytes), but not below it. */
#define LINK_FRAME_SIZE_MAX (1u << 20)
#define LINK_FRAME_SIZE_MIN (128u << 10)

enum link_decoded {
	LINK_FRAME,   /* *out_frame is given. */
	LINK_UNKNOWN, /* A body that a newer peer knows; it may be ignored. */
	LINK_BAD,     /* err says why; the link is to be ended with Goodbye(PROTOCOL). */
};

/* body is what frame_cut() gives. End with link_frame_free(). */
enum link_decoded link_frame_decode(struct bytes body, Zonerelay__Link__Frame **out_frame,
                                    struct err *err) MUST_CHECK;
/* NULL is allowed. Only for what link_frame_decode() gave. */
void link_frame_free(Zonerelay__Link__Frame *frame);

/* Appends the body, without the length in front, after the checks that the peer will make too.
 * Errors: ZR_INVALID  the peer would refuse it; nothing was appended. */
bool link_frame_encode(const Zonerelay__Link__Frame *frame, struct buffer *out,
                       struct err *err) MUST_CHECK;

/* The limits of every field, for message.h; a unit test looks whether a field lacks one. */
struct rule_table;
const struct rule_table *link_rules(void);

/* A receipt by itself, as an agent keeps it. */
bool link_custody_decode(struct bytes body, Zonerelay__Link__CustodyReceipt **out_receipt,
                         struct err *err) MUST_CHECK;
void link_custody_free(Zonerelay__Link__CustodyReceipt *receipt);
bool link_custody_encode(const Zonerelay__Link__CustodyReceipt *receipt, struct buffer *out,
                         struct err *err) MUST_CHECK;
bool link_anchored_decode(struct bytes body, Zonerelay__Link__Anchored **out_anchored,
                          struct err *err) MUST_CHECK;
void link_anchored_free(Zonerelay__Link__Anchored *anchored);
bool link_anchored_encode(const Zonerelay__Link__Anchored *anchored, struct buffer *out,
                          struct err *err) MUST_CHECK;

#endif
