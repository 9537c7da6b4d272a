/* crypto_crc32c.c -- CRC-32C by the processor's own instruction where it has one; see crypto.h. */
#include <pthread.h>
#include <string.h>

#include "relay/base/crypto.h"

#define POLYNOMIAL UINT32_C(0x82f63b78) /* Reflected Castagnoli. */

typedef uint32_t crc_function(uint32_t crc, const uint8_t *data, size_t size);

/* tables[k][b]: what byte b does to the CRC when k more bytes follow it in the same step. */
static uint32_t tables[8][256];
static crc_function *best;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void fill_tables(void)
{
	for (uint32_t byte = 0; byte < 256; byte++) {
		uint32_t crc = byte;
		for (int bit = 0; bit < 8; bit++)
			crc = (crc & 1) != 0 ? crc >> 1 ^ POLYNOMIAL : crc >> 1;
		tables[0][byte] = crc;
	}
	for (int k = 1; k < 8; k++) {
		for (int byte = 0; byte < 256; byte++) {
			uint32_t before = tables[k - 1][byte];
			tables[k][byte] = before >> 8 ^ tables[0][before & 0xff];
		}
	}
}

static uint32_t crc_by_table(uint32_t crc, const uint8_t *data, size_t size)
{
	for (; size >= 8; size -= 8, data += 8) {
		crc ^= (uint32_t)data[0] | (uint32_t)data[1] << 8 | (uint32_t)data[2] << 16 |
		       (uint32_t)data[3] << 24;
		crc = tables[7][crc & 0xff] ^ tables[6][crc >> 8 & 0xff] ^
		      tables[5][crc >> 16 & 0xff] ^ tables[4][crc >> 24] ^ tables[3][data[4]] ^
		      tables[2][data[5]] ^ tables[1][data[6]] ^ tables[0][data[7]];
	}
	for (; size > 0; size--, data++)
		crc = crc >> 8 ^ tables[0][(crc ^ *data) & 0xff];
	return crc;
}

#if defined(__x86_64__)

#include <nmmintrin.h>

__attribute__((target("sse4.2"))) static uint32_t crc_by_processor(uint32_t crc,
                                                                   const uint8_t *data, size_t size)
{
	uint64_t wide = crc;
	for (; size >= 8; size -= 8, data += 8) {
		uint64_t word;
		memcpy(&word, data, sizeof(word));
		wide = _mm_crc32_u64(wide, word);
	}
	crc = (uint32_t)wide;
	for (; size > 0; size--, data++)
		crc = _mm_crc32_u8(crc, *data);
	return crc;
}

static bool processor_has_crc(void)
{
	__builtin_cpu_init();
	return __builtin_cpu_supports("sse4.2") != 0;
}

#elif defined(__aarch64__) && defined(__linux__) && __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__

#include <asm/hwcap.h>
#include <sys/auxv.h>

/* In assembler, because gcc and clang disagree on how a function asks for the extension. */
static uint32_t crc_by_processor(uint32_t crc, const uint8_t *data, size_t size)
{
	for (; size >= 8; size -= 8, data += 8) {
		uint64_t word;
		memcpy(&word, data, sizeof(word));
		__asm__(".arch_extension crc\n\tcrc32cx %w0, %w0, %x1" : "+r"(crc) : "r"(word));
	}
	for (; size > 0; size--, data++)
		__asm__(".arch_extension crc\n\tcrc32cb %w0, %w0, %w1" : "+r"(crc) : "r"(*data));
	return crc;
}

static bool processor_has_crc(void)
{
	return (getauxval(AT_HWCAP) & HWCAP_CRC32) != 0;
}

#else

static uint32_t crc_by_processor(uint32_t crc, const uint8_t *data, size_t size)
{
	return crc_by_table(crc, data, size);
}

static bool processor_has_crc(void)
{
	return false;
}

#endif

static void choose(void)
{
	fill_tables();
	best = processor_has_crc() ? crc_by_processor : crc_by_table;
}

uint32_t crc32c(uint32_t seed, struct bytes bytes)
{
	(void)pthread_once(&once, choose);
	return ~best(~seed, bytes.data, bytes.size);
}

uint32_t crc32c_portable(uint32_t seed, struct bytes bytes)
{
	(void)pthread_once(&once, choose);
	return ~crc_by_table(~seed, bytes.data, bytes.size);
}
