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
    int told;            /* of the present kind; see mt_sqlite_begin_telling */
    struct mt_buf texts; /* findings not reported yet, each with its NUL: a lock may be held */
    int64_t snapshot;    /* loose rows that arrived later are not looked at */
    int64_t generation;
    int64_t sealed; /* the last block's id: another one means that records were moved meanwhile */
};

/* What a walk through a table or one of its indexes adds up to. */
struct mt_sqlite_sum {
    int64_t entries;
    uint64_t hash; /* of id, host_id and a third number, in any order */
    bool is_complete;
};

/* mt_sqlite_sum_add: one more entry. */
void mt_sqlite_sum_add(struct mt_sqlite_sum *sum, int64_t id, int64_t host_id, int64_t value);

/* mt_sqlite_begin_telling: another kind of findings; is_mute: they have been told already. */
void mt_sqlite_begin_telling(struct mt_sqlite_verify *verify, bool is_mute);

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

/* mt_sqlite_verify_marks: reads verify->sealed anew; BUSY if records were pruned meanwhile. */
enum mt_err mt_sqlite_verify_marks(struct mt_sqlite_verify *verify, struct mt_error *error);

/* mt_sqlite_sealing: BUSY: days are sealed one after the other, so that nothing stands still. */
enum mt_err mt_sqlite_sealing(struct mt_sqlite_verify *verify, struct mt_error *error);

/* mt_sqlite_verify_records: loose rows, and the indexes of their table. */
enum mt_err mt_sqlite_verify_records(struct mt_sqlite_verify *verify, struct mt_error *error);

/* mt_sqlite_verify_rows: the loose rows themselves; sum: of them all. */
enum mt_err mt_sqlite_verify_rows(struct mt_sqlite_verify *verify, bool is_mute,
                                  struct mt_sqlite_sum *sum, struct mt_error *error);

/* mt_sqlite_verify_blocks: sealed days against their columns, summaries and checksums. */
enum mt_err mt_sqlite_verify_blocks(struct mt_sqlite_verify *verify, struct mt_error *error);

/* mt_sqlite_verify_block_indexes: the indexes of table block. */
enum mt_err mt_sqlite_verify_block_indexes(struct mt_sqlite_verify *verify, struct mt_error *error);

/* mt_sqlite_verify_counts: are the counts of day and host_day those of the records? */
enum mt_err mt_sqlite_verify_counts(struct mt_sqlite_verify *verify, struct mt_error *error);

/* mt_sqlite_verify_copy: the engine's own checks of every page, on a private copy. */
enum mt_err mt_sqlite_verify_copy(struct mt_sqlite_verify *verify, struct mt_error *error);

#endif
