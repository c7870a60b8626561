/* Sealing chosen host-days of an SQLite store, whatever the time is: for tests. */
#ifndef SQLITE_SEAL_H
#define SQLITE_SEAL_H

#include "store/store.h"

/*
 * Seals what is loose of a host's day, merged with what is sealed of it already, in one
 * transaction; asserts that it went well. Nothing happens where nothing is loose.
 */
void sqlite_seal(struct mt_store *store, const char *host, int64_t day);

#endif
