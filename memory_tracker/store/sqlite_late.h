/*
 * What is sealed of the days that records come late to. Private to store/.
 *
 * Each block is decoded once for a whole batch, also where the batch goes from host to host, and of
 * it only what tells a repeated sample from another one.
 */
#ifndef MT_STORE_SQLITE_LATE_H
#define MT_STORE_SQLITE_LATE_H

#include "store/sqlite_block.h"

/* Is anything sealed of host ?1 and day ?2? To be prepared before the transaction. */
#define MT_SQLITE_IS_SEALED "SELECT 1 FROM block WHERE host_id=?1 AND day=?2"

struct mt_sqlite_late_day;

/* The days of one call, valid within its transaction. Set store, zero the rest; freed by
 * mt_sqlite_late_fini. */
struct mt_sqlite_late {
    struct sqlite_store *store;
    struct mt_sqlite_late_day *days;
    size_t count, capacity;
    size_t last;  /* the day that was asked for last */
    int64_t held; /* numbers that are decoded now, of all days */
};

/* mt_sqlite_late_look: is anything sealed of a host's day? */
enum mt_err mt_sqlite_late_look(struct mt_sqlite_late *late, int64_t host_id, int64_t day,
                                bool *is_sealed, struct mt_error *error);

/*
 * mt_sqlite_late_find: the sealed record of a host at that second, as far as it takes to compare
 * `record` with it; *row is of no use if there is none. Of a day that is damaged there is nothing,
 * which is logged once.
 */
enum mt_err mt_sqlite_late_find(struct mt_sqlite_late *late, int64_t host_id, int64_t second,
                                const struct mt_record *record, struct sqlite_row *row, bool *found,
                                struct mt_error *error);

void mt_sqlite_late_fini(struct mt_sqlite_late *late);

#endif
