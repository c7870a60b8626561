/* What the tests of SQLite files share: a directory of their own, and raw access beside the store.
 */
#ifndef SQLITE_FIXTURE_H
#define SQLITE_FIXTURE_H

#include <sqlite3.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "store/store.h"

struct fixture {
    char directory[256]; /* empty at the start, removed with all that is in it */
    char path[320];      /* directory/memory.db, which does not exist yet */
    char uri[340];
};

/* Setup and teardown of a test; *state is a struct fixture *. */
int fixture_setup(void **state);
int fixture_teardown(void **state);

#define FIXTURE_TEST(function)                                                                     \
    cmocka_unit_test_setup_teardown(function, fixture_setup, fixture_teardown)

/* Opens the fixture's store and asserts that it went well. */
struct mt_store *fixture_open(const struct fixture *fixture, bool read_only, int busy_wait_ms);

/* Opens it and asserts that it fails with that code and a text that has `words`. */
void fixture_fails(const struct fixture *fixture, bool read_only, enum mt_err code,
                   const char *words);

/* Makes the store with `minutes` records of each of `hosts` hosts, a, b, ..., from second 60 on. */
void fixture_fill(const struct fixture *fixture, int hosts, int minutes);

/* Appends one proper record of host at that second; the result and its error. */
enum mt_err fixture_append(struct mt_store *store, const char *host, int64_t timestamp,
                           struct mt_error *error);

/* How many records a scan of everything hands out; -1 and *error if it fails. */
int64_t fixture_count(struct mt_store *store, struct mt_error *error);

/* A raw connection to a file, made if it does not exist; and SQL on it that must succeed. */
sqlite3 *fixture_raw(const char *path);
void fixture_exec(sqlite3 *db, const char *sql);

/* The first value that SQL gives. */
int64_t fixture_number(sqlite3 *db, const char *sql);

/* Writes bytes at an offset of a file that no SQLite handle of this process has open. */
void fixture_overwrite(const char *path, int64_t offset, const void *bytes, size_t size);

/*
 * Runs body in a child process, as root in a mount namespace of its own, and asserts that it ends
 * well; cmocka's assertions work in it. Skips the test, saying so, where that is not allowed.
 */
void fixture_in_namespace(const struct fixture *fixture, void (*body)(const struct fixture *));

/* The same without a namespace, as the user nobody. */
void fixture_as_nobody(const struct fixture *fixture, void (*body)(const struct fixture *));

#endif
