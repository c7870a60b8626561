#include <stdlib.h>
#include <string.h>

#include "store/sqlite_scan.h"

/*
 * Where a skip ends, found without touching what is skipped: whole days by their counts, then whole
 * hours by counting index entries and by what blocks know of their hours, then inside one hour by
 * its timestamps.
 */

enum {
    DAY_S = 86400,
    HOUR_S = 3600,
    SHORT_SKIP = 4096, /* walked at once; no counts of days are worth their reading */
    MANY_BLOCKS = 32,
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

/* the second from which on there is no block before `to`; 0: there is none at all */
static enum mt_err end_of_blocks(struct mt_sqlite_scan *scan, int64_t to, int64_t *end,
                                 struct mt_error *error)
{
    int64_t day = 0;
    bool found = false;
    enum mt_err err = mt_sqlite_listing_day(scan, true, 0, (to - 1) / DAY_S, &day, &found, error);

    *end = found ? (day + 1) * DAY_S : 0;
    return err;
}

/* are there records of the newest day that do not match because they are too new? */
static enum mt_err look_beyond(struct mt_sqlite_scan *scan, struct mt_error *error)
{
    int64_t day = (scan->upper - 1) / DAY_S;
    sqlite3_stmt *statement = NULL;
    int64_t one;
    enum mt_err err = mt_sqlite_scan_statement(scan, "1", " LIMIT 1", scan->upper,
                                               (day + 1) * DAY_S, &statement, error);

    if (err == MT_OK)
        err = mt_sqlite_read_i64(scan->store, statement, &one, &scan->newest_day_is_cut, error);
    if (err == MT_OK && scan->upper < (day + 1) * DAY_S)
        err = mt_sqlite_listing_look_at_day(scan, day, error);
    for (size_t i = 0; i < scan->listing.count; i++)
        if (mt_sqlite_listing_has(&scan->listing.blocks[i], scan->upper, INT64_MAX))
            scan->newest_day_is_cut = true;
    return err;
}

/* under the snapshot's lock */
static enum mt_err read_days(struct mt_sqlite_scan *scan, struct mt_error *error)
{
    int64_t sum = 0;
    sqlite3_stmt *statement = NULL;
    int result;
    enum mt_err err = look_beyond(scan, error);

    if (err == MT_OK)
        err = days_statement(scan, &statement, error);
    if (err != MT_OK)
        return err;
    while (err == MT_OK && sum <= scan->skip_most &&
           (result = sqlite3_step(statement)) != SQLITE_DONE) {
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
    scan->has_days = err == MT_OK;
    return err;
}

enum mt_err mt_sqlite_skip_begin(struct mt_sqlite_scan *scan, int64_t records,
                                 struct mt_error *error)
{
    scan->skip_most = records;
    return records == 0 || is_short(scan, records) ? MT_OK : read_days(scan, error);
}

static enum mt_err count(struct mt_sqlite_scan *scan, int64_t from, int64_t to, int64_t *records,
                         struct mt_error *error)
{
    sqlite3_stmt *statement = NULL;
    bool found;
    enum mt_err err = mt_sqlite_scan_statement(scan, "count(*)", "", from, to, &statement, error);

    return err == MT_OK ? mt_sqlite_read_i64(scan->store, statement, records, &found, error) : err;
}

/* the place before the newest `records` loose ones of a span without blocks; *found false if it has
 * no more than those */
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

/* a short skip among the newest, which are loose; *found false: there are blocks to be looked at */
static enum mt_err walk_tail(struct mt_sqlite_scan *scan, int64_t to, int64_t records,
                             struct mt_sqlite_place *place, bool *found, struct mt_error *error)
{
    int64_t from = 0;
    /* the days' counts may still have to be read under the snapshot's lock */
    enum mt_err err = scan->is_first_hold ? MT_OK : mt_sqlite_scan_hold(scan, error);

    if (err == MT_OK)
        err = end_of_blocks(scan, to, &from, error);
    if (err != MT_OK)
        return err;
    from = from > scan->lower ? from : scan->lower;
    if (from < to)
        err = walk(scan, from, to, records, place, found, error);
    if (err == MT_OK && !*found && from == scan->lower) {
        *place = (struct mt_sqlite_place){scan->lower, 0};
        *found = true;
    }
    return err;
}

/* how many records a block has in a piece of an hour; *is_exact false: only timestamps tell */
static int64_t count_block(const struct mt_sqlite_scan *scan, const struct mt_sqlite_block *block,
                           int64_t from, int64_t to, bool *is_exact)
{
    int64_t hour = from / HOUR_S * HOUR_S;

    if (!mt_sqlite_listing_is_clean(scan, block) || (block->first < from && hour < from) ||
        (block->last >= to && hour + HOUR_S > to))
        *is_exact = false;
    return block->hours[hour % DAY_S / HOUR_S];
}

/* how many records there are in a piece of an hour; *is_exact false: that was not found out */
static enum mt_err count_piece(struct mt_sqlite_scan *scan, int64_t from, int64_t to,
                               int64_t *records, bool *is_exact, struct mt_error *error)
{
    const struct mt_sqlite_listing *listing = &scan->listing;
    enum mt_err err = mt_sqlite_scan_hold(scan, error);

    *is_exact = true;
    *records = 0;
    if (err == MT_OK)
        err = mt_sqlite_listing_look_at_day(scan, from / DAY_S, error);
    if (err == MT_OK)
        err = count(scan, from, to, records, error);
    for (size_t i = 0; err == MT_OK && i < listing->count && *is_exact; i++)
        if (mt_sqlite_listing_has(&listing->blocks[i], from, to))
            *records += count_block(scan, &listing->blocks[i].block, from, to, is_exact);
    return err;
}

static int compare_newest_first(const void *a, const void *b)
{
    const int64_t *left = a;
    const int64_t *right = b;

    return *left > *right ? -1 : *left < *right ? 1 : 0;
}

/*
 * Where few records are skipped and many hosts end in the piece: each has a record at its last
 * second, so that from one of these seconds on there are enough, and the other hosts are not read.
 */
static enum mt_err raise_from(struct mt_sqlite_scan *scan, int64_t *from, int64_t to,
                              int64_t records, struct mt_error *error)
{
    const struct mt_sqlite_listing *listing = &scan->listing;
    int64_t *lasts;
    size_t count = 0;

    if (listing->count <= MANY_BLOCKS || records >= (int64_t)listing->count)
        return MT_OK;
    lasts = malloc(listing->count * sizeof *lasts);
    if (lasts == NULL)
        return mt_sqlite_scan_no_memory(scan, error);
    for (size_t i = 0; i < listing->count; i++)
        if (mt_sqlite_listing_has(&listing->blocks[i], *from, to) &&
            listing->blocks[i].block.last < to &&
            mt_sqlite_listing_is_clean(scan, &listing->blocks[i].block))
            lasts[count++] = listing->blocks[i].block.last;
    if ((int64_t)count > records) {
        qsort(lasts, count, sizeof *lasts, compare_newest_first);
        *from = lasts[records];
    }
    free(lasts);
    return MT_OK;
}

/* How many records each second of a piece of an hour has. */
struct seconds {
    int64_t from, to;
    uint32_t records[HOUR_S];
};

/* the loose ones, from the newest on; what took too long is left for later: from closes in */
static enum mt_err add_loose(struct mt_sqlite_scan *scan, struct seconds *seconds,
                             struct mt_error *error)
{
    sqlite3_stmt *statement = NULL;
    int64_t last = -1;
    int64_t rows = 0;
    int result = SQLITE_DONE;
    enum mt_err err = mt_sqlite_scan_statement(scan, "timestamp", " ORDER BY timestamp DESC",
                                               seconds->from, seconds->to, &statement, error);

    if (err != MT_OK)
        return err;
    while ((result = sqlite3_step(statement)) == SQLITE_ROW) {
        int64_t second = sqlite3_column_int64(statement, 0);

        if (second != last && ++rows % 16 == 0 && mt_sqlite_scan_is_long(scan)) {
            seconds->from = last;
            break;
        }
        seconds->records[second - seconds->to + HOUR_S]++;
        last = second;
    }
    if (result != SQLITE_ROW && result != SQLITE_DONE)
        err = mt_sqlite_fail(&scan->store->file, result, "read", error);
    (void)sqlite3_reset(statement);
    return err;
}

static void add_sealed(const struct mt_sqlite_scan *scan, struct seconds *seconds)
{
    for (size_t i = 0; i < scan->listing.count; i++) {
        const struct mt_sqlite_part *part = scan->listing.blocks[i].part;
        size_t end;

        if (!mt_sqlite_listing_has(&scan->listing.blocks[i], seconds->from, seconds->to))
            continue;
        end = mt_sqlite_part_at(part, seconds->to);
        for (size_t j = mt_sqlite_part_at(part, seconds->from); j < end; j++)
            seconds->records[mt_sqlite_number(&part->timestamps, j) - seconds->to + HOUR_S]++;
    }
}

/* the records of a piece of an hour, or of what is newest of it: seconds->from closes in */
static enum mt_err count_seconds(struct mt_sqlite_scan *scan, int64_t records,
                                 struct seconds *seconds, struct mt_error *error)
{
    int64_t from = seconds->from;
    int64_t cut_from;
    enum mt_err err;

    do {
        err = mt_sqlite_scan_check(scan, error);
        memset(seconds->records, 0, sizeof seconds->records);
        seconds->from = from;
        if (err == MT_OK)
            err = mt_sqlite_scan_hold(scan, error);
        if (err == MT_OK)
            err = mt_sqlite_listing_look_at_day(scan, from / DAY_S, error);
        if (err == MT_OK)
            err = raise_from(scan, &seconds->from, seconds->to, records, error);
        cut_from = seconds->from;
        if (err == MT_OK)
            err = add_loose(scan, seconds, error);
        if (err == MT_OK)
            err = mt_sqlite_parts(scan, MT_SQLITE_TIMES, false, seconds->from, seconds->to,
                                  cut_from, seconds->to, error);
        /* what was loose at the look may be in the block by now: counted anew */
    } while (err == MT_OK && scan->listing.was_replaced);
    if (err == MT_OK)
        add_sealed(scan, seconds);
    return err;
}

/* the place in a piece of an hour; *records comes down by what the piece has if it is not there */
static enum mt_err walk_piece(struct mt_sqlite_scan *scan, int64_t from, int64_t to,
                              int64_t *records, struct mt_sqlite_place *place, bool *found,
                              struct mt_error *error)
{
    struct seconds seconds;
    enum mt_err err = MT_OK;

    while (err == MT_OK && !*found && to > from) {
        seconds.from = from;
        seconds.to = to;
        err = count_seconds(scan, *records, &seconds, error);
        for (int64_t second = to - 1; err == MT_OK && !*found && second >= seconds.from; second--) {
            int64_t in_second = seconds.records[second - to + HOUR_S];

            *found = *records < in_second;
            if (*found)
                *place = (struct mt_sqlite_place){second + 1, *records};
            else
                *records -= in_second;
        }
        to = seconds.from;
    }
    return err;
}

/* the same inside one day, *records having come down to what is left to skip in or before it */
static enum mt_err walk_day(struct mt_sqlite_scan *scan, int64_t from, int64_t to, int64_t *records,
                            struct mt_sqlite_place *place, bool *found, struct mt_error *error)
{
    enum mt_err err = MT_OK;

    while (err == MT_OK && !*found && to > from) {
        int64_t hour = (to - 1) / HOUR_S * HOUR_S;
        int64_t in_hour = 0;
        bool is_exact = false;

        hour = hour > from ? hour : from;
        err = count_piece(scan, hour, to, &in_hour, &is_exact, error);
        if (err == MT_OK && is_exact && *records >= in_hour)
            *records -= in_hour;
        else if (err == MT_OK)
            err = walk_piece(scan, hour, to, records, place, found, error);
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
    if (is_short(scan, records))
        err = walk_tail(scan, from.below, records, place, &found, error);
    if (err == MT_OK && !found && !scan->has_days)
        err = read_days(scan, error);
    if (err != MT_OK || found)
        return err;
    *place = (struct mt_sqlite_place){scan->lower, 0};
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
