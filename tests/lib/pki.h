/* pki.h -- throw-away certificates for tests in C: tests/system/pki.py does the work. */
#ifndef ZR_TESTS_LIB_PKI_H
#define ZR_TESTS_LIB_PKI_H

#include <stddef.h>

#define PKI_PATH_SIZE 256

struct pki {
	char folder[192]; /* Temporary; pki_fini() removes it. */
};

/* Makes a folder and runs script in it, with everything of pki.py known and the folder's path in
 * `folder`: "pki = make_pki(folder, ['e1'])". Fails the test where that fails. Run from the top of
 * the tree, as meson does. */
void pki_init(struct pki *pki, const char *script);
/* Runs another script over the same folder. */
void pki_run(const struct pki *pki, const char *script);
/* Writes the path of a file of the folder into path; returns path. */
const char *pki_path(const struct pki *pki, const char *name, char path[static PKI_PATH_SIZE]);
void pki_fini(struct pki *pki);

#endif
