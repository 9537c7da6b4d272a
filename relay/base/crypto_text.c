/* crypto_text.c -- Base64; see crypto.h. */
#include <string.h>

#include "relay/base/crypto.h"

static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

void base64_encode(struct bytes bytes, struct buffer *out)
{
	size_t groups = bytes.size / 3 + (bytes.size % 3 != 0 ? 1 : 0);
	uint8_t *place = buffer_reserve(out, groups * 4);
	if (place == NULL)
		return;
	for (size_t at = 0; at < bytes.size; at += 3, place += 4) {
		size_t left = bytes.size - at;
		unsigned group = (unsigned)bytes.data[at] << 16;
		group |= left > 1 ? (unsigned)bytes.data[at + 1] << 8 : 0;
		group |= left > 2 ? (unsigned)bytes.data[at + 2] : 0;
		place[0] = (uint8_t)digits[group >> 18];
		place[1] = (uint8_t)digits[group >> 12 & 63];
		place[2] = (uint8_t)(left > 1 ? digits[group >> 6 & 63] : '=');
		place[3] = (uint8_t)(left > 2 ? digits[group & 63] : '=');
	}
	buffer_grew(out, groups * 4);
}

static int digit_value(char digit)
{
	if (digit >= 'A' && digit <= 'Z')
		return digit - 'A';
	if (digit >= 'a' && digit <= 'z')
		return digit - 'a' + 26;
	if (digit >= '0' && digit <= '9')
		return digit - '0' + 52;
	return digit == '+' ? 62 : digit == '/' ? 63 : -1;
}

/* Decodes one group of four digits of which the last pad_count are '='. */
static bool decode_group(const char *text, size_t pad_count, uint8_t *out_data)
{
	unsigned group = 0;
	for (size_t i = 0; i < 4; i++) {
		int value = i < 4 - pad_count ? digit_value(text[i]) : 0;
		if (value < 0)
			return false;
		group = group << 6 | (unsigned)value;
	}
	/* Bits that no byte uses must be zero: one text per content. */
	if ((group & ((1u << 8 * pad_count) - 1)) != 0)
		return false;
	for (size_t i = 0; i < 3 - pad_count; i++)
		out_data[i] = (uint8_t)(group >> (16 - 8 * i));
	return true;
}

bool base64_decode(const char *text, size_t size, struct buffer *out)
{
	if (size % 4 != 0)
		return false;
	if (size == 0)
		return !out->failed;
	size_t pad_count = text[size - 1] != '=' ? 0 : text[size - 2] != '=' ? 1 : 2;
	size_t decoded_size = size / 4 * 3 - pad_count;
	uint8_t *place = buffer_reserve(out, decoded_size);
	if (place == NULL)
		return false;
	for (size_t at = 0; at < size; at += 4, place += 3) {
		if (!decode_group(text + at, at + 4 == size ? pad_count : 0, place))
			return false;
	}
	buffer_grew(out, decoded_size);
	return true;
}
