/*
 * Loose rows and pieces of blocks as one, in order. Private to sqlite_scan.c and sqlite_merge.c.
 */
#ifndef MT_STORE_SQLITE_MERGE_H
#define MT_STORE_SQLITE_MERGE_H

#include "store/sqlite_scan.h"

/* The next record of a piece. */
struct mt_sqlite_merge_head {
    int64_t key; /* its timestamp; negative where the newest comes first */
    size_t rank; /* of its host, in the order of output */
    struct mt_sqlite_listed *listed;
    size_t index;
    size_t left;
};

/* A record: a loose row, or one of a piece. */
struct mt_sqlite_found {
    const struct sqlite_row *row; /* or NULL */
    struct mt_sqlite_listed *listed;
    size_t index;
};

/* Zero-initialise, then set what is wanted; freed by mt_sqlite_merge_fini. */
struct mt_sqlite_merge {
    struct mt_sqlite_scan *scan;
    struct mt_sqlite_place newest; /* what is handed out lies between these two */
    struct mt_sqlite_place oldest;

    const struct sqlite_rows *rows; /* in the order of output, by second */
    size_t next_row;
    struct mt_sqlite_merge_head *heads; /* a heap */
    size_t head_count;
    size_t head_capacity;
    const struct sqlite_row **loose; /* of one second */
    size_t loose_capacity;
    struct mt_sqlite_found *second; /* the same, and what is listed */
    size_t second_count;
    size_t second_capacity;
    struct mt_record record; /* of what is listed, as it is handed out */
    const struct mt_sqlite_part *record_of;
};

/*
 * mt_sqlite_merge: hands out the records of [from, to) of rows and of the parts that
 * scan->listing has, which all have their names; a record that is in both once. emit NULL: marks
 * those blocks whose records would be handed out as wanted instead.
 */
enum mt_err mt_sqlite_merge(struct mt_sqlite_merge *merge, const struct sqlite_rows *rows,
                            int64_t from, int64_t to, mt_emit *emit, void *context,
                            struct mt_error *error);

void mt_sqlite_merge_fini(struct mt_sqlite_merge *merge);

#endif
