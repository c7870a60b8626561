/*
 * One open SQLite file of ours, a store or an outbox: opening, making, migrating and reopening it,
 * waiting for locks, prepared statements, errors. Private to store/. Used by one thread at a time.
 */
#ifndef MT_STORE_SQLITE_FILE_H
#define MT_STORE_SQLITE_FILE_H

#include <sqlite3.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"

/* What a file has to be; static and immutable. */
struct mt_sqlite_kind {
    const char *what;          /* "the store" */
    const char *maker;         /* who makes it, for a person who misses it */
    int application_id;        /* at offset 68 of the file */
    int version;               /* user_version that this program knows */
    const char *const *create; /* pieces of the SQL that makes the schema; NULL-terminated */
    const char *const *const *migrate; /* [n - 1]: pieces that make version n + 1 of version n */
    const char *const *field_tables;   /* tables with a column for each field; NULL-terminated */
};

enum { MT_SQLITE_STATEMENTS = 40 };

struct mt_sqlite {
    sqlite3 *db; /* NULL: the file was missing at the last look */
    char *path;  /* never begins with a scheme or a colon: "./" stands before a relative one */
    const struct mt_sqlite_kind *kind;
    bool read_only;
    int busy_wait_ms;
    int64_t busy_until_ms; /* end of the present wait for a lock */
    bool busy_shared;      /* the waits of one call share busy_until_ms */
    uint32_t jitter;
    int64_t looked_ms; /* when the path was last compared with the open file */
    uint64_t epoch;    /* counts how often it was opened: what was read before may be of another */

    /* why a call may be stopped; whoever sets one of these unsets it: 0 and NULL, it may not */
    int64_t lock_until_ms; /* the read lock has been held long enough */
    int64_t deadline_ms;
    bool (*cancelled)(void *context);
    void *cancel_context;
    enum mt_err stopped; /* MT_OK; or DEADLINE, CANCELLED; BUSY: lock_until_ms has passed */

    struct {
        char *sql;
        sqlite3_stmt *statement;
        uint64_t used;
    } cache[MT_SQLITE_STATEMENTS];
    uint64_t uses;
};

/*
 * mt_sqlite_open: opens path and, unless read_only, makes or migrates it. On failure nothing is
 * left open and *file needs no close.
 */
enum mt_err mt_sqlite_open(struct mt_sqlite *file, const struct mt_sqlite_kind *kind,
                           const char *path, bool read_only, int busy_wait_ms,
                           struct mt_error *error);
void mt_sqlite_close(struct mt_sqlite *file);

/*
 * mt_sqlite_look: begins a call. At most once a second compares the path with the open file and
 * opens anew what was replaced; MISSING while there is none.
 */
enum mt_err mt_sqlite_look(struct mt_sqlite *file, struct mt_error *error);

/* mt_sqlite_reopen: opens the path anew, without making anything. */
enum mt_err mt_sqlite_reopen(struct mt_sqlite *file, struct mt_error *error);

/* mt_sqlite_upgrade: makes the schema in an empty file, adds what the schema lacks. */
enum mt_err mt_sqlite_upgrade(struct mt_sqlite *file, struct mt_error *error);

/* mt_sqlite_missing_fields: bits of the fields for which table has no column. */
enum mt_err mt_sqlite_missing_fields(struct mt_sqlite *file, const char *table, uint64_t *missing,
                                     struct mt_error *error);

/*
 * mt_sqlite_statement: the prepared statement of sql, reset and without bindings; borrowed until
 * MT_SQLITE_STATEMENTS others have been asked for or the file is closed.
 */
enum mt_err mt_sqlite_statement(struct mt_sqlite *file, const char *sql, sqlite3_stmt **statement,
                                struct mt_error *error);

/* mt_sqlite_run: steps a statement that gives no rows to its end and resets it. */
enum mt_err mt_sqlite_run(struct mt_sqlite *file, sqlite3_stmt *statement, struct mt_error *error);

/* mt_sqlite_exec: runs SQL that gives no rows. */
enum mt_err mt_sqlite_exec(struct mt_sqlite *file, const char *sql, struct mt_error *error);

/* mt_sqlite_begin: BEGIN IMMEDIATE; it and the commit wait busy_wait_ms together. */
enum mt_err mt_sqlite_begin(struct mt_sqlite *file, struct mt_error *error);
enum mt_err mt_sqlite_commit(struct mt_sqlite *file, struct mt_error *error);
void mt_sqlite_rollback(struct mt_sqlite *file);

/*
 * mt_sqlite_fail: turns the result of the last call on file->db into *error and its code; doing
 * says what was tried: "append". The one place that knows what SQLite's codes mean.
 */
enum mt_err mt_sqlite_fail(const struct mt_sqlite *file, int result, const char *doing,
                           struct mt_error *error);

#endif
