/* One question on its way through an SQLite store. Private to sqlite_scan*.c and sqlite_skip.c. */
#ifndef MT_STORE_SQLITE_SCAN_H
#define MT_STORE_SQLITE_SCAN_H

#include "base/buf.h"
#include "store/sqlite.h"
#include "store/sqlite_listing.h"

enum mt_sqlite_shape {
    MT_SQLITE_ALL_HOSTS,  /* by the index memory_log_by_time, in order */
    MT_SQLITE_ONE_HOST,   /* by memory_log_by_host, in order */
    MT_SQLITE_SOME_HOSTS, /* by memory_log_by_host, each host in turn, to be sorted */
};

/*
 * A place between two records: after everything from second `below` on, and after the last `ties`
 * records, in the order of names, of the second before. No other second is cut in two.
 */
struct mt_sqlite_place {
    int64_t below;
    int64_t ties;
};

/*
 * What has arrived up to the snapshot only moves, from loose rows into blocks and from block to
 * block, or is pruned. So whatever is seen of one host's span under one lock is all there is of it,
 * and all that is seen of other hosts or spans under a later lock fits to it.
 */
struct mt_sqlite_scan {
    struct sqlite_store *store;
    const struct mt_query *query;
    enum mt_sqlite_shape shape;
    struct mt_buf hosts; /* the ids of those asked for, "(1,2)", or "" for all */
    int64_t lower;       /* seconds that match: lower <= timestamp < upper */
    int64_t upper;
    int64_t snapshot;   /* what arrived later is not there */
    sqlite3_stmt *held; /* stands on its row, and so holds the read lock since held_ms; or NULL */
    int64_t held_ms;
    bool is_first_hold; /* held is of the very instant of the snapshot */
    /* days before the skip's end, newest first, as they were at the snapshot */
    struct mt_sqlite_day {
        int64_t day;
        int64_t records;
    } * days;
    size_t day_count;
    size_t day_capacity;
    int64_t skip_most;      /* so far skips reach */
    bool has_days;          /* days has been read */
    bool newest_day_is_cut; /* it has records from `upper` on, which do not match */
    struct mt_sqlite_listing listing;
};

/* mt_sqlite_scan_hold: begins to look at what must be of one instant: takes the read lock, or goes
 * on with the one that is held, unless that was held for long. */
enum mt_err mt_sqlite_scan_hold(struct mt_sqlite_scan *scan, struct mt_error *error);

/* mt_sqlite_scan_let_go: gives the lock back. mt_sqlite_scan_is_long: it should be given back. */
void mt_sqlite_scan_let_go(struct mt_sqlite_scan *scan);
bool mt_sqlite_scan_is_long(const struct mt_sqlite_scan *scan);

/* mt_sqlite_scan_check: DEADLINE, CANCELLED; asked between looks. */
enum mt_err mt_sqlite_scan_check(const struct mt_sqlite_scan *scan, struct mt_error *error);

/* mt_sqlite_scan_no_memory: sets *error and returns its code. */
enum mt_err mt_sqlite_scan_no_memory(const struct mt_sqlite_scan *scan, struct mt_error *error);

/* mt_sqlite_scan_prepare: prepares sql, which it frees; NO_MEMORY where that could not be made.
 */
enum mt_err mt_sqlite_scan_prepare(const struct mt_sqlite_scan *scan, struct mt_buf *sql,
                                   sqlite3_stmt **statement, struct mt_error *error);

/* mt_sqlite_scan_hosts: appends the condition on host_id, " AND ...", to a statement. */
void mt_sqlite_scan_hosts(const struct mt_sqlite_scan *scan, struct mt_buf *sql);

/*
 * mt_sqlite_scan_statement: a statement on memory_log, bound to a span of seconds (?1, ?2) and the
 * snapshot (?3): "SELECT columns FROM ... WHERE ... order". The lock is held.
 */
enum mt_err mt_sqlite_scan_statement(struct mt_sqlite_scan *scan, const char *columns,
                                     const char *order, int64_t from, int64_t to,
                                     sqlite3_stmt **statement, struct mt_error *error);

/*
 * mt_sqlite_skip_begin: while the lock of the snapshot is held, reads the counts that skips of up
 * to `records` will need. It is held on to until they are read, or not needed.
 */
enum mt_err mt_sqlite_skip_begin(struct mt_sqlite_scan *scan, int64_t records,
                                 struct mt_error *error);

/* mt_sqlite_skip: the place before the newest `records` matching records that lie before `from`. */
enum mt_err mt_sqlite_skip(struct mt_sqlite_scan *scan, struct mt_sqlite_place from,
                           int64_t records, struct mt_sqlite_place *place, struct mt_error *error);

#endif
