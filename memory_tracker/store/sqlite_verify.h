/* A verification on its way through an SQLite store. Private to sqlite_verify*.c. */
#ifndef MT_STORE_SQLITE_VERIFY_H
#define MT_STORE_SQLITE_VERIFY_H

#include "base/buf.h"
#include "store/sqlite.h"

enum { MT_SQLITE_VERIFY_TRIES = 50 }; /* at looking at something that others are writing */

struct mt_sqlite_verify {
    struct sqlite_store *store;
    mt_report *report;
    void *context;
    int64_t *findings;
    int told;            /* of the present kind; set to 0 where another begins */
    struct mt_buf texts; /* findings not reported yet, each with its NUL: a lock may be held */
    int64_t snapshot;    /* what arrived later is not looked at */
    int64_t generation;
};

/* mt_sqlite_tell: one finding, reported once no lock is held. Beyond 100 of a kind they are cut. */
void mt_sqlite_tell(struct mt_sqlite_verify *verify, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* mt_sqlite_report: hands out what was told; called where no lock is held. Returns err. */
enum mt_err mt_sqlite_report(struct mt_sqlite_verify *verify, enum mt_err err,
                             struct mt_error *error);

/*
 * mt_sqlite_tell_damage: mt_sqlite_report, with CORRUPT made a finding and MT_OK; every other err
 * means that it could not look.
 */
enum mt_err mt_sqlite_tell_damage(struct mt_sqlite_verify *verify, enum mt_err err,
                                  struct mt_error *error, const char *where);

/* mt_sqlite_verify_counts: are the counts of day and host_day those of the records? */
enum mt_err mt_sqlite_verify_counts(struct mt_sqlite_verify *verify, struct mt_error *error);

/* mt_sqlite_verify_copy: the engine's own checks of every page, on a private copy. */
enum mt_err mt_sqlite_verify_copy(struct mt_sqlite_verify *verify, struct mt_error *error);

#endif
