#include <inttypes.h>

#include "base/clock.h"
#include "store/sqlite_block.h"
#include "store/sqlite_verify.h"

enum {
    DAY_S = 86400,
    SHORT_SPAN_S = 600, /* counted at once where a day takes too long */
};

/* Kept counts, and where the counted records are. ?1: host's id where it matters, ?2: a day. */
struct counts {
    const char *name;
    const char *kept_sql;
    const char *next_kept_sql;   /* first day from ?2 on that has a count */
    const char *next_found_sql;  /* first second from ?2 on that has a loose record */
    const char *next_sealed_sql; /* first day from ?2 on that has a block */
    const char *span_sql;        /* loose records in ?2 <= timestamp < ?3 */
    const char *sealed_sql;      /* sealed records of day ?2 */
};

static const struct counts day_counts = {
    "day",
    "SELECT records FROM day WHERE day = ?2 AND ?1 IS ?1",
    "SELECT min(day) FROM day WHERE day >= ?2 AND ?1 IS ?1",
    "SELECT timestamp FROM memory_log INDEXED BY memory_log_by_time WHERE timestamp >= ?2"
    " AND ?1 IS ?1 ORDER BY timestamp LIMIT 1",
    "SELECT min(day) FROM block INDEXED BY block_by_day WHERE day >= ?2 AND ?1 IS ?1",
    "SELECT count(*) FROM memory_log INDEXED BY memory_log_by_time WHERE timestamp >= ?2"
    " AND timestamp < ?3 AND ?1 IS ?1",
    "SELECT sum(records) FROM block INDEXED BY block_by_day WHERE day = ?2 AND ?1 IS ?1"};

static const struct counts host_day_counts = {
    "host_day",
    "SELECT records FROM host_day WHERE host_id = ?1 AND day = ?2",
    "SELECT min(day) FROM host_day WHERE host_id = ?1 AND day >= ?2",
    "SELECT timestamp FROM memory_log INDEXED BY memory_log_by_host WHERE host_id = ?1"
    " AND timestamp >= ?2 ORDER BY timestamp LIMIT 1",
    "SELECT min(day) FROM block WHERE host_id = ?1 AND day >= ?2",
    "SELECT count(*) FROM memory_log INDEXED BY memory_log_by_host WHERE host_id = ?1"
    " AND timestamp >= ?2 AND timestamp < ?3",
    "SELECT sum(records) FROM block WHERE host_id = ?1 AND day = ?2"};

static enum mt_err ask(struct mt_sqlite_verify *verify, const char *sql, int64_t host_id,
                       int64_t from, int64_t to, int64_t *value, bool *found,
                       struct mt_error *error)
{
    struct mt_sqlite *file = &verify->store->file;
    sqlite3_stmt *statement = NULL;
    enum mt_err err = mt_sqlite_statement(file, sql, &statement, error);

    if (err != MT_OK)
        return err;
    (void)sqlite3_bind_int64(statement, 1, host_id);
    (void)sqlite3_bind_int64(statement, 2, from);
    if (sqlite3_bind_parameter_count(statement) > 2)
        (void)sqlite3_bind_int64(statement, 3, to);
    file->stopped = MT_OK;
    file->lock_until_ms = mt_clock_monotonic_ms() + MT_SQLITE_LOCK_MS;
    err = mt_sqlite_read_i64(verify->store, statement, value, found, error);
    file->lock_until_ms = 0;
    return err;
}

/* loose rows: the whole day under one lock, or, where that takes too long, in short spans */
static enum mt_err count_loose(struct mt_sqlite_verify *verify, const struct counts *counts,
                               int64_t host_id, int64_t day, int64_t *records,
                               struct mt_error *error)
{
    int64_t end = (day + 1) * DAY_S;
    bool found;
    enum mt_err err =
        ask(verify, counts->span_sql, host_id, day * DAY_S, end, records, &found, error);

    if (err != MT_ERR_BUSY || verify->store->file.stopped != MT_ERR_BUSY)
        return err;
    *records = 0;
    err = MT_OK;
    for (int64_t from = day * DAY_S; from < end && err == MT_OK; from += SHORT_SPAN_S) {
        int64_t part = 0;

        err =
            ask(verify, counts->span_sql, host_id, from, from + SHORT_SPAN_S, &part, &found, error);
        *records += part;
    }
    return err;
}

/* what is there; right if nothing was sealed meanwhile */
static enum mt_err count_day(struct mt_sqlite_verify *verify, const struct counts *counts,
                             int64_t host_id, int64_t day, int64_t *records, struct mt_error *error)
{
    int64_t sealed = 0;
    bool found;
    enum mt_err err = count_loose(verify, counts, host_id, day, records, error);

    if (err == MT_OK && mt_sqlite_has_blocks(verify->store))
        err = ask(verify, counts->sealed_sql, host_id, day, 0, &sealed, &found, error);
    *records += sealed;
    return err;
}

/* counts a day until the kept count was the same before and after, and nothing was sealed */
static enum mt_err check_day(struct mt_sqlite_verify *verify, const struct counts *counts,
                             int64_t host_id, int64_t day, struct mt_error *error)
{
    for (int tries = 0; tries < MT_SQLITE_VERIFY_TRIES; tries++) {
        int64_t before = 0;
        int64_t after = 0;
        int64_t records = 0;
        int64_t sealed = verify->sealed;
        bool found;
        enum mt_err err = ask(verify, counts->kept_sql, host_id, day, 0, &before, &found, error);

        if (err == MT_OK)
            err = count_day(verify, counts, host_id, day, &records, error);
        if (err == MT_OK)
            err = ask(verify, counts->kept_sql, host_id, day, 0, &after, &found, error);
        if (err == MT_OK && records != after)
            err = mt_sqlite_verify_marks(verify, error);
        if (err != MT_OK)
            return err;
        if (before == after && (records == after || sealed == verify->sealed)) {
            if (records != after)
                mt_sqlite_tell(verify,
                               "table %s says %" PRId64 " records for day %" PRId64
                               " (host id %" PRId64 ", 0: all), there are %" PRId64,
                               counts->name, after, day, host_id, records);
            return MT_OK;
        }
    }
    return mt_error_set(error, MT_ERR_BUSY,
                        "store %s: verify: day %" PRId64
                        " is being written all the time; try again when fewer write",
                        verify->store->file.path, day);
}

/* the first day from *day on that has a count or a record; *is_end: there is none */
static enum mt_err next_day(struct mt_sqlite_verify *verify, const struct counts *counts,
                            int64_t host_id, int64_t *day, bool *is_end, struct mt_error *error)
{
    int64_t kept = INT64_MAX;
    int64_t second = INT64_MAX;
    int64_t sealed = INT64_MAX;
    bool found;
    enum mt_err err = ask(verify, counts->next_kept_sql, host_id, *day, 0, &kept, &found, error);

    if (err == MT_OK)
        err = ask(verify, counts->next_found_sql, host_id, *day * DAY_S, 0, &second, &found, error);
    if (err == MT_OK && mt_sqlite_has_blocks(verify->store))
        err = ask(verify, counts->next_sealed_sql, host_id, *day, 0, &sealed, &found, error);
    if (second != INT64_MAX && second / DAY_S < kept)
        kept = second / DAY_S;
    if (sealed < kept)
        kept = sealed;
    /* an index that is out of order would lead in circles */
    if (err == MT_OK && kept < *day)
        err = mt_sqlite_fail(&verify->store->file, SQLITE_CORRUPT, "verify", error);
    *is_end = kept == INT64_MAX;
    *day = kept;
    return err;
}

static enum mt_err check_days(struct mt_sqlite_verify *verify, const struct counts *counts,
                              int64_t host_id, struct mt_error *error)
{
    int64_t day = 0;

    for (;;) {
        bool is_end = false;
        enum mt_err err = next_day(verify, counts, host_id, &day, &is_end, error);

        if (err != MT_OK || is_end)
            return err;
        err = check_day(verify, counts, host_id, day, error);
        if (err != MT_OK)
            return err;
        day++;
    }
}

enum mt_err mt_sqlite_verify_counts(struct mt_sqlite_verify *verify, struct mt_error *error)
{
    int64_t host_id = 0;
    bool found = true;
    enum mt_err err;

    mt_sqlite_begin_telling(verify, false);
    err = mt_sqlite_tell_damage(verify, check_days(verify, &day_counts, 0, error), error,
                                "table day");
    mt_sqlite_begin_telling(verify, false);
    while (err == MT_OK && found) {
        int64_t before = host_id;

        err = ask(verify, "SELECT min(id) FROM host WHERE id > ?1 AND ?2 IS ?2", host_id, 0, 0,
                  &host_id, &found, error);
        if (err == MT_OK && found && host_id <= before)
            err = mt_sqlite_fail(&verify->store->file, SQLITE_CORRUPT, "verify", error);
        if (err == MT_OK && found)
            err = check_days(verify, &host_day_counts, host_id, error);
    }
    return mt_sqlite_tell_damage(verify, err, error, "table host_day");
}
