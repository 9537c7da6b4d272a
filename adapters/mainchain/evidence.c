/* Evidence of the http adapter, from the anchor inwards: the transaction says the same as the
 * anchor, the path leads from it to the block's root, the block is signed by enough trusted keys. */
#include "adapters/mainchain/evidence.h"

#include <inttypes.h>
#include <string.h>

#include "relay/base/clock.h"
#include "relay/base/file.h"

#define SHORT_HEX_SIZE 17

/* The first eight bytes: enough for people to recognise it. */
static const char *short_hex(const struct hash *hash, char text[static SHORT_HEX_SIZE])
{
	return hex_encode((struct bytes){ hash->bytes, 8 }, text);
}

static bool check_block(const struct main_evidence *evidence, const struct trusted *trusted,
                        struct buffer *out_checks, struct err *err)
{
	const struct main_block *block = &evidence->block;
	const char *chain = trusted_chain(trusted);
	if (chain != NULL && strcmp(chain, block->chain) != 0)
		return err_set(err, ZR_UNTRUSTED, "it is of main chain %s, and %s is trusted",
		               block->chain, chain);

	struct hash leaf = merkle_leaf(block->alg, evidence->transaction_record);
	struct hash root;
	if (!merkle_path_root(block->alg, &leaf, &evidence->path, &root) ||
	    !hash_equal(&root, &block->root))
		return err_set(err, ZR_UNTRUSTED,
		               "the path does not lead from the transaction to the block's root");

	char time[CLOCK_TEXT_SIZE];
	buffer_printf(out_checks,
	              "path: transaction %" PRIu64 " of %" PRIu64
	              " leads to the root of block %" PRIu64 " of main chain %s, %s\n",
	              evidence->path.index + 1, block->count, block->height, block->chain,
	              clock_text(block->time_ms, time));
	return true;
}

static bool check_signatures(const struct main_evidence *evidence, const struct trusted *trusted,
                             struct buffer *out_checks, struct err *err)
{
	size_t good = 0;
	for (size_t i = 0; i < evidence->signature_count; i++) {
		const struct main_signature *signature = &evidence->signatures[i];
		char id[SHORT_HEX_SIZE];
		const struct key *key = trusted_find(trusted, &signature->key_id);
		if (key != NULL && !key_verify(key, evidence->block_record, signature->signature,
		                               VERIFY_ANY_S, err))
			return err_wrap(err, "signature by key %s",
			                short_hex(&signature->key_id, id));
		good += key == NULL ? 0 : 1;
		buffer_printf(
			out_checks, "signature: key %s, %s\n", short_hex(&signature->key_id, id),
			key == NULL ? "not trusted, not counted" : suite_name(key_suite(key)));
	}
	if (good < trusted_threshold(trusted))
		return err_set(err, ZR_UNTRUSTED, "%zu of %zu trusted keys signed, %zu must have",
		               good, trusted_key_count(trusted), trusted_threshold(trusted));

	buffer_printf(out_checks, "threshold: %zu of %zu trusted keys signed, %zu must have\n",
	              good, trusted_key_count(trusted), trusted_threshold(trusted));
	return true;
}

bool evidence_verify(const struct main_evidence *evidence, const struct trusted *trusted,
                     struct buffer *out_checks, struct err *err)
{
	return check_block(evidence, trusted, out_checks, err) &&
	       check_signatures(evidence, trusted, out_checks, err);
}

/* Does the transaction speak of this anchor? */
static bool check_anchor(const struct main_transaction *transaction, const struct anchor *anchor,
                         const struct hash *key, struct buffer *out_checks, struct err *err)
{
	const char *differs = NULL;
	if (transaction->alg != anchor->alg)
		differs = "hash";
	else if (transaction->lane != anchor->lane)
		differs = "lane";
	else if (transaction->seq != anchor->seq)
		differs = "sequence number";
	else if (!hash_equal(&transaction->root, &anchor->root))
		differs = "root";
	else if (!hash_equal(&transaction->key, key))
		differs = "key";
	if (differs != NULL)
		return err_set(err, ZR_UNTRUSTED, "it is of another anchor: the %s differs",
		               differs);

	char root[SHORT_HEX_SIZE], key_text[SHORT_HEX_SIZE];
	buffer_printf(out_checks,
	              "anchor: lane %u, sequence %" PRIu64 ", root %s, key %s as recorded\n",
	              anchor->lane, anchor->seq, short_hex(&anchor->root, root),
	              short_hex(key, key_text));
	return true;
}

bool http_evidence_check(struct bytes bytes, struct bytes trusted_text, const struct anchor *anchor,
                         const struct hash *key, struct buffer *out_checks, struct err *err)
{
	struct main_evidence evidence;
	if (!main_evidence_decode(bytes, &evidence, err))
		return false;
	buffer_printf(out_checks,
	              "evidence: of the http adapter, version 1, in its canonical form\n");
	if (!check_anchor(&evidence.transaction, anchor, key, out_checks, err))
		return err_wrap(err, "evidence");

	struct trusted *trusted;
	if (!trusted_parse(trusted_text, &trusted, err))
		return false;
	bool proven = evidence_verify(&evidence, trusted, out_checks, err);
	trusted_free(trusted);
	return (proven && buffer_ok(out_checks, err)) || err_wrap(err, "evidence");
}

static const struct {
	const char *adapter;
	mainchain_evidence_check *check;
} checks[] = {
	{ "http", http_evidence_check },
};

mainchain_evidence_check *mainchain_evidence_find(const char *adapter_name)
{
	for (size_t i = 0; i < sizeof(checks) / sizeof(checks[0]); i++) {
		if (strcmp(checks[i].adapter, adapter_name) == 0)
			return checks[i].check;
	}
	return NULL;
}

bool mainchain_trusted_read(const char *const *paths, size_t count, struct buffer *out,
                            struct err *err)
{
	for (size_t i = 0; i < count; i++) {
		if (!file_read(paths[i], TRUSTED_SIZE_MAX, out, err))
			return err_wrap(err, "trusted keys of the main chain");
		buffer_put_u8(out, '\n'); /* A last line without its end must not join the next. */
	}
	return buffer_ok(out, err);
}
