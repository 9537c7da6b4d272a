/* shown.c -- see shown.h. */
#include "adapters/sidechain/fabric/shown.h"

const char *shown(struct bytes name, char text[static SHOWN_SIZE])
{
	size_t size = name.size < SHOWN_SIZE - 1 ? name.size : SHOWN_SIZE - 1;
	for (size_t i = 0; i < size; i++) {
		bool printable = name.data[i] > ' ' && name.data[i] < 0x7f;
		text[i] = (char)(printable ? name.data[i] : '?');
	}
	text[size] = '\0';
	return text;
}
