/* Evidence of the http adapter, and the file of what is trusted. What decodes encodes to the same
 * bytes; the rest must be refused without harm. */
#include <assert.h>
#include <stdint.h>
#include <string.h>

#include "adapters/mainchain/evidence.h"

static const char trusted_pem[] = "threshold: 1\n"
				  "-----BEGIN PUBLIC KEY-----\n"
				  "MCowBQYDK2VwAyEA11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=\n"
				  "-----END PUBLIC KEY-----\n";

static void check_round_trip(const struct main_evidence *evidence, struct bytes bytes)
{
	struct buffer again = BUFFER_EMPTY, record = BUFFER_EMPTY;
	main_evidence_encode(evidence, &again);
	assert(bytes_equal(buffer_bytes(&again), bytes));
	main_block_encode(&evidence->block, &record);
	assert(bytes_equal(buffer_bytes(&record), evidence->block_record));
	buffer_clear(&record);
	main_transaction_encode(&evidence->transaction, &record);
	assert(bytes_equal(buffer_bytes(&record), evidence->transaction_record));
	buffer_fini(&again);
	buffer_fini(&record);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct bytes bytes = { data, size };
	struct bytes trusted = BYTES_LITERAL(trusted_pem);
	struct buffer checks = BUFFER_EMPTY;
	struct main_evidence evidence;
	struct anchor anchor = { .alg = HASH_SHA256, .lane = 3, .seq = 5 };
	struct hash key = { { 0 } };
	if (main_evidence_decode(bytes, &evidence, NULL)) {
		check_round_trip(&evidence, bytes);
		anchor.alg = evidence.transaction.alg;
		anchor.lane = evidence.transaction.lane;
		anchor.seq = evidence.transaction.seq;
		anchor.root = evidence.transaction.root;
		key = evidence.transaction.key;
	}
	(void)http_evidence_check(bytes, trusted, &anchor, &key, &checks, NULL);
	struct trusted *parsed;
	if (trusted_parse(bytes, &parsed, NULL)) {
		assert(trusted_threshold(parsed) >= 1);
		assert(trusted_threshold(parsed) <= trusted_key_count(parsed));
		trusted_free(parsed);
	}
	buffer_fini(&checks);
	return 0;
}
