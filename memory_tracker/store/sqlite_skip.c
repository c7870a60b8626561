#include <stdlib.h>

#include "store/sqlite_scan.h"

/*
 * Where a skip ends, found without touching what is skipped: whole days by their counts, then whole
 * hours by counting index entries, then inside one hour by walking the index.
 */

enum {
    DAY_S = 86400,
    HOUR_S = 3600,
    SHORT_SKIP = 4096, /* walked at once; no counts of days are worth their reading */
};

static bool is_short(const struct mt_sqlite_scan *scan, int64_t records)
{
    return records <= SHORT_SKIP && scan->shape != MT_SQLITE_SOME_HOSTS;
}

static enum mt_err add_day(struct mt_sqlite_scan *scan, int64_t day, int64_t records,
                           struct mt_error *error)
{
    if (scan->day_count == scan->day_capacity) {
        size_t capacity = scan->day_capacity == 0 ? 64 : scan->day_capacity * 2;
        struct mt_sqlite_day *grown = realloc(scan->days, capacity * sizeof *grown);

        if (grown == NULL)
            return mt_error_set(error, MT_ERR_NO_MEMORY, "store %s: read: out of memory",
                                scan->store->file.path);
        scan->days = grown;
        scan->day_capacity = capacity;
    }
    scan->days[scan->day_count++] = (struct mt_sqlite_day){day, records};
    return MT_OK;
}

static enum mt_err days_statement(struct mt_sqlite_scan *scan, sqlite3_stmt **statement,
                                  struct mt_error *error)
{
    static const char *const heads[] = {
        [MT_SQLITE_ALL_HOSTS] = "SELECT day, records FROM day WHERE 1",
        [MT_SQLITE_ONE_HOST] = "SELECT day, records FROM host_day WHERE 1",
        [MT_SQLITE_SOME_HOSTS] =
            "SELECT day, (SELECT sum(records) FROM host_day AS h WHERE h.day = day.day",
    };
    struct mt_buf sql;
    enum mt_err err;

    mt_buf_init(&sql, 0);
    mt_buf_append_string(&sql, heads[scan->shape]);
    mt_sqlite_scan_hosts(scan, &sql);
    if (scan->shape == MT_SQLITE_SOME_HOSTS)
        mt_buf_append_string(&sql, ") FROM day WHERE 1");
    mt_buf_append_string(&sql, " AND day BETWEEN ?1 AND ?2 ORDER BY day DESC");
    if (mt_buf_string(&sql) == NULL)
        err = mt_error_set(error, MT_ERR_NO_MEMORY, "store %s: read: out of memory",
                           scan->store->file.path);
    else
        err = mt_sqlite_statement(&scan->store->file, mt_buf_string(&sql), statement, error);
    mt_buf_fini(&sql);
    if (err == MT_OK) {
        (void)sqlite3_bind_int64(*statement, 1, scan->lower / DAY_S);
        (void)sqlite3_bind_int64(*statement, 2, (scan->upper - 1) / DAY_S);
    }
    return err;
}

enum mt_err mt_sqlite_skip_prepare(struct mt_sqlite_scan *scan, int64_t records,
                                   struct mt_error *error)
{
    int64_t day_end = ((scan->upper - 1) / DAY_S + 1) * DAY_S;
    int64_t sum = 0;
    sqlite3_stmt *statement = NULL;
    int64_t one;
    int result;
    enum mt_err err;

    if (records == 0 || is_short(scan, records))
        return MT_OK;
    err = mt_sqlite_scan_statement(scan, "1", " LIMIT 1", scan->upper, day_end, &statement, error);
    if (err == MT_OK)
        err = mt_sqlite_read_i64(scan->store, statement, &one, &scan->newest_day_is_cut, error);
    if (err == MT_OK)
        err = days_statement(scan, &statement, error);
    if (err != MT_OK)
        return err;
    while (err == MT_OK && sum <= records && (result = sqlite3_step(statement)) != SQLITE_DONE) {
        int64_t in_day = 0;

        if (result != SQLITE_ROW) {
            err = mt_sqlite_fail(&scan->store->file, result, "read", error);
            break;
        }
        in_day = sqlite3_column_int64(statement, 1);
        if (in_day <= 0)
            continue;
        err = add_day(scan, sqlite3_column_int64(statement, 0), in_day, error);
        /* a day that is cut promises nothing */
        if (scan->day_count > 1 || !scan->newest_day_is_cut)
            sum += in_day;
    }
    (void)sqlite3_reset(statement);
    return err;
}

static enum mt_err count(struct mt_sqlite_scan *scan, int64_t from, int64_t to, int64_t *records,
                         struct mt_error *error)
{
    sqlite3_stmt *statement = NULL;
    bool found;
    enum mt_err err = mt_sqlite_scan_statement(scan, "count(*)", "", from, to, &statement, error);

    return err == MT_OK ? mt_sqlite_read_i64(scan->store, statement, records, &found, error) : err;
}

/* the place inside a span that may hold more than `records`; *found false if it does not */
static enum mt_err walk(struct mt_sqlite_scan *scan, int64_t from, int64_t to, int64_t records,
                        struct mt_sqlite_place *place, bool *found, struct mt_error *error)
{
    sqlite3_stmt *statement = NULL;
    int64_t second = 0;
    int64_t newer = 0;
    enum mt_err err =
        mt_sqlite_scan_statement(scan, "timestamp", " ORDER BY timestamp DESC LIMIT 1 OFFSET ?4",
                                 from, to, &statement, error);

    if (err != MT_OK)
        return err;
    (void)sqlite3_bind_int64(statement, 4, records);
    err = mt_sqlite_read_i64(scan->store, statement, &second, found, error);
    if (err == MT_OK && *found)
        err = count(scan, second + 1, to, &newer, error);
    if (err == MT_OK && *found)
        *place = (struct mt_sqlite_place){second + 1, records - newer};
    return err;
}

/* the same inside one day, *records having come down to what is left to skip in or before it */
static enum mt_err walk_day(struct mt_sqlite_scan *scan, int64_t from, int64_t to, int64_t *records,
                            struct mt_sqlite_place *place, bool *found, struct mt_error *error)
{
    enum mt_err err = MT_OK;

    while (err == MT_OK && !*found && to > from) {
        int64_t hour = to - from > HOUR_S ? to - HOUR_S : from;
        int64_t in_hour = 0;

        err = count(scan, hour, to, &in_hour, error);
        if (err == MT_OK && *records < in_hour)
            err = walk(scan, hour, to, *records, place, found, error);
        else
            *records -= in_hour;
        to = hour;
    }
    return err;
}

enum mt_err mt_sqlite_skip(struct mt_sqlite_scan *scan, struct mt_sqlite_place from,
                           int64_t records, struct mt_sqlite_place *place, struct mt_error *error)
{
    bool found = false;
    enum mt_err err = MT_OK;

    if (records == 0) {
        *place = from;
        return MT_OK;
    }
    records = records > INT64_MAX - from.ties ? INT64_MAX : records + from.ties;
    *place = (struct mt_sqlite_place){scan->lower, 0};
    if (is_short(scan, records))
        return walk(scan, scan->lower, from.below, records, place, &found, error);
    for (size_t i = 0; i < scan->day_count && err == MT_OK && !found; i++) {
        int64_t start = scan->days[i].day * DAY_S;
        int64_t end = start + DAY_S;
        bool is_whole =
            end <= from.below || (i == 0 && from.below == scan->upper && !scan->newest_day_is_cut);

        if (start >= scan->lower && is_whole && records >= scan->days[i].records) {
            records -= scan->days[i].records;
            continue;
        }
        err = walk_day(scan, start > scan->lower ? start : scan->lower,
                       end < from.below ? end : from.below, &records, place, &found, error);
    }
    return err;
}
