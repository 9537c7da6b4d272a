/* fuzz_signature.c -- signatures in DER: none but the canonical encoding of the right numbers holds.
 *
 * The first byte chooses key, message and rule; the rest is the signature.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "relay/base/crypto.h"

/* Public keys of published examples: RFC 6979 A.2.5, GB/T 32918.5 A.2, RFC 8032 7.1 test 3. Each
 * example's signature is in the corpus. */
static const struct {
	enum suite suite;
	const char *raw;
	struct bytes message;
} keys[] = {
	{ SUITE_SHA256_P256,
	  "0460FED4BA255A9D31C961EB74C6356D68C049B8923B61FA6CE669622E60F29FB6"
	  "7903FE1008B8BC99A41AE9E95628BC64F2F1B20C2D7E9F5177A3C294D4462299",
	  { (const uint8_t *)"sample", 6 } },
	{ SUITE_SM3_SM2,
	  "0409F9DF311E5421A150DD7D161E4BC5C672179FAD1833FC076BB08FF356F35020"
	  "CCEA490CE26775A52DC6EA718CC1AA600AED05FBF35E084A6632F6072DA9AD13",
	  { (const uint8_t *)"message digest", 14 } },
	{ SUITE_SHA256_ED25519,
	  "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
	  { (const uint8_t *)"\xaf\x82", 2 } },
};

#define KEY_COUNT (sizeof(keys) / sizeof(keys[0]))

static struct key *key_of(size_t index)
{
	static struct key *made[KEY_COUNT];
	uint8_t raw[65];
	size_t size = strlen(keys[index].raw) / 2;
	if (made[index] == NULL &&
	    (!hex_decode(keys[index].raw, raw, size) ||
	     !key_from_raw(&made[index], keys[index].suite, (struct bytes){ raw, size }, NULL)))
		abort();
	return made[index];
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size == 0)
		return 0;
	size_t index = data[0] % KEY_COUNT;
	struct bytes signature = { data + 1, size - 1 };
	const struct key *key = key_of(index);
	struct err err;
	bool any = key_verify(key, keys[index].message, signature, VERIFY_ANY_S, &err);
	if (!any && err.code != ZR_UNTRUSTED)
		abort();
	bool low = key_verify(key, keys[index].message, signature, VERIFY_LOW_S, &err);
	if (low && !any)
		abort();
	/* Whatever holds is as long as it says and holds for nothing else. */
	if (any && keys[index].suite != SUITE_SHA256_ED25519 &&
	    (signature.size > 72 || signature.data[1] != signature.size - 2))
		abort();
	if (any && key_verify(key, BYTES_LITERAL("another message"), signature, VERIFY_ANY_S, &err))
		abort();
	return 0;
}
