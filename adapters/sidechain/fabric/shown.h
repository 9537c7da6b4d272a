/* shown.h -- names out of blocks, made fit for a log line. */
#ifndef ZR_ADAPTERS_SIDECHAIN_FABRIC_SHOWN_H
#define ZR_ADAPTERS_SIDECHAIN_FABRIC_SHOWN_H

#include "relay/base/bytes.h"

#define SHOWN_SIZE 65

/* At most 64 printable characters of name; others are shown as '?'. Returns text. */
const char *shown(struct bytes name, char text[static SHOWN_SIZE]);

#endif
