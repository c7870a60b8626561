/*
 * A server of MongoDB's protocol for the tests of the MongoDB store, and databases on it. One
 * server a process; one thread.
 */
#ifndef MONGODB_FIXTURE_H
#define MONGODB_FIXTURE_H

#include <stddef.h>

/* What ctest takes for a skipped test, see SKIP_RETURN_CODE. */
enum { MONGODB_SKIPPED = 77 };

/*
 * mongodb_use_ferretdb: starts FerretDB, with its databases in a new directory in memory. 0, or
 * what main has to exit with: where FerretDB has not been built the reason is printed, and that is
 * a failure where CI=true and skipped elsewhere.
 */
int mongodb_use_ferretdb(void);

/* mongodb_use_mongod: the real one that MEMORY_TRACKER_TEST_MONGODB names, otherwise as above. */
int mongodb_use_mongod(void);

/* mongodb_finish: ends the server that was started and removes its directory. */
void mongodb_finish(void);

/* For struct contract_kind: names a new database of the server in use; drops it. */
void mongodb_make_place(char *uri, size_t size);
void mongodb_remove_place(const char *uri);

#endif
