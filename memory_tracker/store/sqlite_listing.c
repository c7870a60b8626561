#include "store/sqlite_listing.h"

#include <stdlib.h>
#include <string.h>

#include "store/sqlite_scan.h"

enum {
    DAY_S = 86400,
    HOUR_S = 3600,
    BLOCKS_AT_ONCE = 1024, /* more of them are looked at only where they are of one day */
    MEMORY = 32 << 20,     /* what the pieces of one look take, about */
    DAYS_MEMORY = 2 << 20, /* the same where they are of several days: more gains nothing */
};

bool mt_sqlite_listing_has(const struct mt_sqlite_listed *listed, int64_t from, int64_t to)
{
    return !listed->is_gone && listed->block.first < to && listed->block.last >= from;
}

bool mt_sqlite_listing_is_clean(const struct mt_sqlite_scan *scan,
                                const struct mt_sqlite_block *block)
{
    return block->last_seq <= scan->snapshot;
}

static void free_block(struct mt_sqlite_listed *listed)
{
    mt_sqlite_part_free(listed->part);
    listed->part = NULL;
    if (listed->data != NULL)
        mt_sqlite_block_fini(listed->data);
    free(listed->data);
    listed->data = NULL;
}

static void forget(struct mt_sqlite_listing *listing)
{
    for (size_t i = 0; i < listing->count; i++)
        free_block(&listing->blocks[i]);
    listing->count = 0;
    listing->is_known = false;
}

void mt_sqlite_listing_fini(struct mt_sqlite_listing *listing)
{
    forget(listing);
    free(listing->blocks);
    *listing = (struct mt_sqlite_listing){0};
}

/* *same: nobody has written to the file since the last time this was asked */
static enum mt_err look_at_version(struct mt_sqlite_scan *scan, bool *same, struct mt_error *error)
{
    struct mt_sqlite_listing *listing = &scan->listing;
    int64_t own_changes = sqlite3_total_changes64(scan->store->file.db);
    sqlite3_stmt *statement = NULL;
    int64_t version = 0;
    bool found;
    enum mt_err err =
        mt_sqlite_statement(&scan->store->file, "PRAGMA data_version", &statement, error);

    if (err == MT_OK)
        err = mt_sqlite_read_i64(scan->store, statement, &version, &found, error);
    if (err != MT_OK)
        return err;
    *same = version == listing->data_version && own_changes == listing->own_changes;
    listing->data_version = version;
    listing->own_changes = own_changes;
    return MT_OK;
}

static void next_day_sql(const struct mt_sqlite_scan *scan, bool newest_first, struct mt_buf *sql)
{
    const char *order = newest_first ? "day DESC" : "day";

    switch (scan->shape) {
    case MT_SQLITE_ALL_HOSTS:
        mt_buf_printf(sql,
                      "SELECT day FROM block INDEXED BY block_by_day"
                      " WHERE day BETWEEN ?1 AND ?2 ORDER BY %s LIMIT 1",
                      order);
        break;
    case MT_SQLITE_ONE_HOST:
        mt_buf_append_string(sql, "SELECT day FROM block WHERE day BETWEEN ?1 AND ?2");
        mt_sqlite_scan_hosts(scan, sql);
        mt_buf_printf(sql, " ORDER BY %s LIMIT 1", order);
        break;
    case MT_SQLITE_SOME_HOSTS:
        mt_buf_printf(sql,
                      "SELECT %s((SELECT day FROM block AS b WHERE b.host_id = host.id"
                      " AND day BETWEEN ?1 AND ?2 ORDER BY %s LIMIT 1)) FROM host WHERE id IN ",
                      newest_first ? "max" : "min", order);
        mt_buf_append(sql, scan->hosts.data, scan->hosts.length);
        break;
    }
}

enum mt_err mt_sqlite_listing_day(struct mt_sqlite_scan *scan, bool newest_first, int64_t first_day,
                                  int64_t last_day, int64_t *day, bool *found,
                                  struct mt_error *error)
{
    struct mt_buf sql;
    sqlite3_stmt *statement = NULL;
    enum mt_err err;

    *found = false;
    if (!mt_sqlite_has_blocks(scan->store))
        return MT_OK;
    mt_buf_init(&sql, 0);
    next_day_sql(scan, newest_first, &sql);
    err = mt_sqlite_scan_prepare(scan, &sql, &statement, error);
    if (err != MT_OK)
        return err;
    (void)sqlite3_bind_int64(statement, 1, first_day);
    (void)sqlite3_bind_int64(statement, 2, last_day);
    return mt_sqlite_read_i64(scan->store, statement, day, found, error);
}

static enum mt_err add_block(struct mt_sqlite_scan *scan, const struct mt_sqlite_block *block,
                             struct mt_error *error)
{
    struct mt_sqlite_listing *listing = &scan->listing;

    if (listing->count == listing->capacity) {
        size_t capacity = listing->capacity == 0 ? 8 : listing->capacity * 2;
        struct mt_sqlite_listed *grown = realloc(listing->blocks, capacity * sizeof *grown);

        if (grown == NULL)
            return mt_sqlite_scan_no_memory(scan, error);
        listing->blocks = grown;
        listing->capacity = capacity;
    }
    listing->blocks[listing->count++] = (struct mt_sqlite_listed){.block = *block};
    return MT_OK;
}

/* adds the blocks of one day that have records in [from, to) */
static enum mt_err add_day(struct mt_sqlite_scan *scan, int64_t day, int64_t from, int64_t to,
                           struct mt_error *error)
{
    struct mt_buf sql;
    sqlite3_stmt *statement = NULL;
    int result = SQLITE_DONE;
    enum mt_err err;

    mt_buf_init(&sql, 0);
    mt_buf_printf(&sql, "SELECT " MT_SQLITE_BLOCK_COLUMNS " FROM block%s WHERE day = ?1",
                  scan->shape == MT_SQLITE_ALL_HOSTS ? " INDEXED BY block_by_day" : "");
    mt_sqlite_scan_hosts(scan, &sql);
    mt_buf_append_string(&sql, " ORDER BY host_id");
    err = mt_sqlite_scan_prepare(scan, &sql, &statement, error);
    if (err != MT_OK)
        return err;
    (void)sqlite3_bind_int64(statement, 1, day);
    while (err == MT_OK && (result = sqlite3_step(statement)) == SQLITE_ROW) {
        struct mt_sqlite_block block;

        err = mt_sqlite_read_block(scan->store, statement, &block, error);
        if (err == MT_OK && block.first < to && block.last >= from &&
            block.first_seq <= scan->snapshot)
            err = add_block(scan, &block, error);
    }
    if (err == MT_OK && result != SQLITE_DONE)
        err = mt_sqlite_fail(&scan->store->file, result, "read", error);
    (void)sqlite3_reset(statement);
    return err;
}

/* how many records the blocks from number `first` on have in [from, to); exact for whole hours */
static int64_t estimate(const struct mt_sqlite_listing *listing, size_t first, int64_t from,
                        int64_t to)
{
    int64_t records = 0;

    for (size_t i = first; i < listing->count; i++) {
        const struct mt_sqlite_block *block = &listing->blocks[i].block;
        int64_t start = block->day * DAY_S;

        for (int hour = 0; hour < MT_BLOCK_HOURS; hour++, start += HOUR_S) {
            int64_t begin = start > from ? start : from;
            int64_t end = start + HOUR_S < to ? start + HOUR_S : to;

            if (end > begin)
                records += (block->hours[hour] * (end - begin) + HOUR_S - 1) / HOUR_S;
        }
    }
    return records;
}

/* how many records that take so many bytes each fit into memory */
static int64_t most_of(const struct mt_sqlite_scan *scan, int64_t record_bytes)
{
    int64_t memory = scan->store->scan_memory > 0 ? scan->store->scan_memory : MEMORY;

    return memory / record_bytes;
}

static int columns_of(const struct mt_sqlite_scan *scan)
{
    return 2 + __builtin_popcountll(scan->query->fields & MT_FIELD_ALL);
}

/* closes in on as many hours of the one day that is known as fit into memory when they are cut */
static void choose_hours(const struct mt_sqlite_scan *scan, int64_t day, bool newest_first,
                         int64_t *from, int64_t *to)
{
    const struct mt_sqlite_listing *listing = &scan->listing;
    int64_t most = most_of(scan, listing->record_bytes > 0 ? listing->record_bytes
                                                           : INT64_C(4) * columns_of(scan));
    int64_t start = day * DAY_S;
    int64_t end = start + DAY_S;
    int64_t at = newest_first ? (*to < end ? *to : end) : *from > start ? *from : start;
    int64_t records = 0;

    while (newest_first ? at > *from : at < *to) {
        int64_t next = newest_first ? (at - 1) / HOUR_S * HOUR_S : (at / HOUR_S + 1) * HOUR_S;
        int64_t more;

        if (newest_first ? next < *from : next > *to)
            next = newest_first ? *from : *to;
        more = newest_first ? estimate(listing, 0, next, at) : estimate(listing, 0, at, next);
        if (records + more > most && records > 0)
            break;
        if (more > most && more > 0) {
            int64_t seconds = (newest_first ? at - next : next - at) * most / more;

            seconds = seconds > 0 ? seconds : 1;
            at = newest_first ? at - seconds : at + seconds;
            break;
        }
        records += more;
        at = next;
    }
    if (newest_first)
        *from = at;
    else
        *to = at;
}

/* closes in on [*from, *to) at the border of a day, so that its other side is left for later */
static void stop_at(bool newest_first, int64_t day, int64_t *from, int64_t *to)
{
    int64_t border = newest_first ? (day + 1) * DAY_S : day * DAY_S;

    if (newest_first && border > *from)
        *from = border;
    else if (!newest_first && border < *to)
        *to = border;
}

/* day after day, until there is enough */
static enum mt_err add_days(struct mt_sqlite_scan *scan, bool newest_first, int64_t *from,
                            int64_t *to, struct mt_error *error)
{
    struct mt_sqlite_listing *listing = &scan->listing;
    const int64_t most = most_of(scan, INT64_C(8) * columns_of(scan));
    const int64_t most_of_days = most * DAYS_MEMORY / MEMORY;
    int64_t first_day = *from / DAY_S;
    int64_t last_day = (*to - 1) / DAY_S;
    int64_t records = 0;

    while (first_day <= last_day) {
        int64_t day = 0;
        bool found = false;
        size_t before = listing->count;
        enum mt_err err =
            mt_sqlite_listing_day(scan, newest_first, first_day, last_day, &day, &found, error);

        if (err == MT_OK && found)
            err = add_day(scan, day, *from, *to, error);
        if (err != MT_OK || !found)
            return err;
        records += estimate(listing, before, *from, *to);
        if (before > 0 && (records > most_of_days || listing->count > BLOCKS_AT_ONCE)) {
            listing->count = before;
            stop_at(newest_first, day, from, to);
            return MT_OK;
        }
        if (newest_first)
            last_day = day - 1;
        else
            first_day = day + 1;
        if (records > most) {
            stop_at(newest_first, newest_first ? last_day : first_day, from, to);
            choose_hours(scan, day, newest_first, from, to);
            listing->is_tight = true;
            return MT_OK;
        }
        if (mt_sqlite_scan_is_long(scan)) {
            stop_at(newest_first, newest_first ? last_day : first_day, from, to);
            return MT_OK;
        }
    }
    return MT_OK;
}

static int compare_places(const struct mt_sqlite_block *a, const struct mt_sqlite_block *b,
                          bool newest_first)
{
    if (a->day != b->day)
        return (a->day < b->day) != newest_first ? -1 : 1;
    return a->host_id < b->host_id ? -1 : a->host_id > b->host_id ? 1 : 0;
}

/* blocks never change: what was read of those that are still there is kept */
static void keep_parts(struct mt_sqlite_listing *listing, struct mt_sqlite_listed *old,
                       size_t old_count)
{
    size_t at = 0;

    for (size_t i = 0; i < listing->count; i++) {
        const struct mt_sqlite_block *block = &listing->blocks[i].block;

        while (at < old_count && compare_places(&old[at].block, block, listing->newest_first) < 0)
            at++;
        if (at < old_count && old[at].block.id == block->id) {
            listing->blocks[i].part = old[at].part;
            old[at].part = NULL;
        }
    }
    for (size_t i = 0; i < old_count; i++)
        free_block(&old[i]);
    free(old);
}

static bool is_inside(const struct mt_sqlite_listing *listing, bool newest_first, int64_t from,
                      int64_t to)
{
    return listing->is_known && !listing->is_one_day && listing->newest_first == newest_first &&
           (newest_first ? to > listing->from && to <= listing->to
                         : from >= listing->from && from < listing->to);
}

static void close_in(const struct mt_sqlite_listing *listing, bool newest_first, int64_t *from,
                     int64_t *to)
{
    if (newest_first && listing->from > *from)
        *from = listing->from;
    else if (!newest_first && listing->to < *to)
        *to = listing->to;
}

enum mt_err mt_sqlite_listing_look(struct mt_sqlite_scan *scan, bool newest_first, int64_t *from,
                                   int64_t *to, struct mt_error *error)
{
    struct mt_sqlite_listing *listing = &scan->listing;
    struct mt_sqlite_listed *old = listing->blocks;
    size_t old_count = listing->count;
    bool same = false;
    enum mt_err err;

    if (!mt_sqlite_has_blocks(scan->store))
        return MT_OK;
    err = look_at_version(scan, &same, error);
    if (err != MT_OK)
        return err;
    if (is_inside(listing, newest_first, *from, *to)) {
        close_in(listing, newest_first, from, to);
        if (same)
            return MT_OK;
    }
    listing->blocks = NULL;
    listing->count = 0;
    listing->capacity = 0;
    listing->newest_first = newest_first;
    listing->is_one_day = false;
    listing->is_tight = false;
    err = add_days(scan, newest_first, from, to, error);
    keep_parts(listing, old, old_count);
    listing->is_known = err == MT_OK;
    listing->from = *from;
    listing->to = *to;
    return err;
}

enum mt_err mt_sqlite_listing_look_at_day(struct mt_sqlite_scan *scan, int64_t day,
                                          struct mt_error *error)
{
    struct mt_sqlite_listing *listing = &scan->listing;
    int64_t from = day * DAY_S;
    int64_t to = from + DAY_S;
    int64_t there = 0;
    bool found = false;
    bool same = false;
    enum mt_err err = look_at_version(scan, &same, error);

    if (err != MT_OK || (same && listing->is_known && listing->is_one_day && listing->from == from))
        return err;
    forget(listing);
    err = mt_sqlite_listing_day(scan, true, day, day, &there, &found, error);
    if (err == MT_OK && found)
        err = add_day(scan, day, from, to, error);
    listing->is_known = err == MT_OK;
    listing->is_one_day = true;
    listing->from = from;
    listing->to = to;
    return err;
}
