/* admission.c -- see admission.h. */
#include "relay/admission.h"

#include <assert.h>

void admission_init(struct admission *admission, struct walk_position durable, uint64_t trust_from)
{
	*admission = (struct admission){
		.durable = durable,
		.admitted = durable,
		.expected = durable,
		.trust_from = trust_from,
	};
}

bool claim_valid(const struct claim *claim)
{
	return claim->block_count > 0 && claim->first_height <= HEIGHT_MAX &&
	       claim->block_count - 1 <= HEIGHT_MAX - claim->first_height;
}

uint64_t claim_last(const struct claim *claim)
{
	assert(claim_valid(claim));
	return claim->first_height + claim->block_count - 1;
}

enum arrival admission_arrival(const struct admission *admission, const struct claim *claim,
                               const struct hash *known_tip)
{
	if (!claim_valid(claim))
		return ARRIVAL_MALFORMED;
	if (claim->first_height > admission->expected.next_height)
		return ARRIVAL_GAP;
	if (claim->first_height == admission->expected.next_height)
		return ARRIVAL_EXPECTED;
	if (claim->first_height >= admission->durable.next_height)
		return ARRIVAL_IN_FLIGHT;
	if (claim_last(claim) < admission->durable.next_height && known_tip != NULL &&
	    hash_equal(known_tip, &claim->tip))
		return ARRIVAL_DUPLICATE;
	return ARRIVAL_SUSPECT;
}

static struct walk_position after(const struct claim *claim)
{
	return (struct walk_position){ claim_last(claim) + 1, claim->tip };
}

void admission_expect(struct admission *admission, const struct claim *claim)
{
	assert(claim->first_height == admission->expected.next_height);
	admission->expected = after(claim);
}

struct basis admission_basis(const struct admission *admission)
{
	return (struct basis){ admission->admitted, admission->trust_from };
}

static bool basis_equal(const struct basis *a, const struct basis *b)
{
	return a->position.next_height == b->position.next_height &&
	       hash_equal(&a->position.tip, &b->position.tip) && a->trust_from == b->trust_from;
}

enum verdict admission_verdict(const struct admission *admission, const struct claim *claim,
                               const struct facts *facts)
{
	if (claim->first_height != admission->admitted.next_height)
		return VERDICT_GAP;
	struct basis now = admission_basis(admission);
	if (!basis_equal(&facts->basis, &now))
		return VERDICT_AGAIN;
	if (facts->fault != WALK_FINE)
		return VERDICT_BAD;
	/* The sender's claims are part of what was sent: a batch that is not what its header says is
	 * malformed, however good its blocks. */
	if (facts->header_count != claim->block_count || !hash_equal(&facts->tip, &claim->tip))
		return VERDICT_BAD;
	return VERDICT_APPEND;
}

void admission_append(struct admission *admission, const struct claim *claim,
                      const struct facts *facts)
{
	assert(claim->first_height == admission->admitted.next_height);
	admission->admitted = after(claim);
	if (facts->trust_changed)
		admission->trust_from = facts->trust_next_from;
	assert(admission->admitted.next_height <= admission->expected.next_height);
}

void admission_commit(struct admission *admission, const struct claim *claim)
{
	/* P2: a watermark moves by whole contiguous batches. */
	assert(claim->first_height == admission->durable.next_height);
	admission->durable = after(claim);
	assert(admission->durable.next_height <= admission->admitted.next_height);
}

void admission_cut(struct admission *admission)
{
	admission->expected = admission->admitted;
}

void admission_rollback(struct admission *admission, uint64_t trust_from)
{
	admission->admitted = admission->durable;
	admission->expected = admission->durable;
	admission->trust_from = trust_from;
}

enum comparison admission_compare(const struct block_header *headers, size_t header_count,
                                  const struct hash *ours, size_t our_count, uint64_t *out_height)
{
	size_t overlap = our_count < header_count ? our_count : header_count;
	for (size_t i = 0; i < overlap; i++) {
		if (!hash_equal(&headers[i].hash, &ours[i])) {
			*out_height = headers[i].height;
			return COMPARE_DIFFERENT;
		}
	}
	if (overlap == 0)
		return COMPARE_ABOVE;
	return overlap == header_count ? COMPARE_SAME_WHOLE : COMPARE_SAME_OVERLAP;
}
