#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/buf.h"
#include "base/clock.h"
#include "store/sqlite.h"

enum {
    DAY_S = 86400,
    SHORT_SPAN_S = 600, /* counted at once where a day takes too long */
    TOLD_MOST = 100,    /* findings of one kind; one more says that there are more */
    TRIES_MOST = 50,    /* at counting a day, or copying a file, that others are writing */
    COPY_PAGES = 256,   /* copied under one lock */
};

/* What a walk through the table or one of its indexes adds up to. */
struct sum {
    int64_t records;
    uint64_t hash; /* of seq, host_id and timestamp, in any order */
    bool is_complete;
};

struct verify {
    struct sqlite_store *store;
    mt_report *report;
    void *context;
    int64_t *findings;
    int told;            /* of the present kind */
    struct mt_buf texts; /* findings not reported yet, each with its NUL: a lock may be held */
    int64_t snapshot;
    int64_t generation;
};

static void tell(struct verify *verify, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

static void tell(struct verify *verify, const char *format, ...)
{
    char text[1024];
    va_list arguments;

    if (verify->told > TOLD_MOST)
        return;
    va_start(arguments, format);
    (void)vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    if (verify->told++ == TOLD_MOST)
        (void)snprintf(text, sizeof text, "and more like these, which are not listed");
    mt_buf_append(&verify->texts, text, strlen(text) + 1);
    ++*verify->findings;
}

/* called where no lock is held, since whoever listens may be slow */
static enum mt_err report_all(struct verify *verify, enum mt_err err, struct mt_error *error)
{
    size_t at = 0;

    while (at < verify->texts.length) {
        verify->report(verify->context, verify->texts.data + at);
        at += strlen(verify->texts.data + at) + 1;
    }
    if (verify->texts.failed && err == MT_OK)
        err = mt_error_set(error, MT_ERR_NO_MEMORY, "store %s: verify: out of memory",
                           verify->store->file.path);
    mt_buf_clear(&verify->texts);
    return err;
}

/* damage is a finding; anything else means that it could not look */
static enum mt_err tell_damage(struct verify *verify, enum mt_err err, struct mt_error *error,
                               const char *where)
{
    if (err == MT_ERR_CORRUPT) {
        tell(verify, "%s cannot be read to its end: %s", where, error->text);
        err = MT_OK;
    }
    return report_all(verify, err, error);
}

static void add_up(struct sum *sum, int64_t seq, int64_t host_id, int64_t timestamp)
{
    uint64_t x = (uint64_t)seq * UINT64_C(0x9E3779B97F4A7C15) ^
                 (uint64_t)host_id * UINT64_C(0xC2B2AE3D27D4EB4F) ^
                 (uint64_t)timestamp * UINT64_C(0x165667B19E3779F9);

    x = (x ^ (x >> 31)) * UINT64_C(0xBF58476D1CE4E5B9);
    sum->hash += x ^ (x >> 29);
    sum->records++;
}

static enum mt_err read_number(struct verify *verify, const char *sql, int64_t *value, bool *found,
                               struct mt_error *error)
{
    sqlite3_stmt *statement;
    enum mt_err err = mt_sqlite_statement(&verify->store->file, sql, &statement, error);

    return err == MT_OK ? mt_sqlite_read_i64(verify->store, statement, value, found, error) : err;
}

static void check_row(struct verify *verify, const struct sqlite_row *row)
{
    struct mt_error reason = {0};

    if (mt_record_check(&row->record, &reason) != MT_OK)
        tell(verify, "record %" PRId64 " of host %s at %" PRId64 ": %s", row->seq, row->record.host,
             row->record.timestamp, reason.text);
}

/* reads on from *seq for as long as a lock may be held; *is_end: there was no more */
static enum mt_err walk_table_part(struct verify *verify, const char *sql, int64_t *seq,
                                   struct sum *sum, bool *is_end, struct mt_error *error)
{
    struct sqlite_store *store = verify->store;
    int64_t until_ms = mt_clock_monotonic_ms() + MT_SQLITE_LOCK_MS;
    sqlite3_stmt *statement;
    struct sqlite_row row = {0};
    int result = SQLITE_ROW;
    enum mt_err err = mt_sqlite_statement(&store->file, sql, &statement, error);

    if (err != MT_OK)
        return err;
    (void)sqlite3_bind_int64(statement, 1, *seq);
    (void)sqlite3_bind_int64(statement, 2, verify->snapshot);
    while (err == MT_OK && (result = sqlite3_step(statement)) == SQLITE_ROW) {
        err = mt_sqlite_read_row(store, statement, MT_FIELD_ALL & ~store->lacking, &row, error);
        if (err == MT_OK) {
            check_row(verify, &row);
        } else if (err == MT_ERR_CORRUPT) {
            tell(verify, "record %" PRId64 ": %s", row.seq, error->text);
            err = MT_OK;
        }
        add_up(sum, row.seq, row.host_id, row.record.timestamp);
        *seq = row.seq;
        if (sum->records % 32 == 0 && mt_clock_monotonic_ms() >= until_ms)
            break;
    }
    *is_end = result == SQLITE_DONE;
    if (err == MT_OK && result != SQLITE_ROW && result != SQLITE_DONE)
        err = mt_sqlite_fail(&store->file, result, "read", error);
    (void)sqlite3_reset(statement);
    return report_all(verify, err, error);
}

static enum mt_err walk_table(struct verify *verify, struct sum *sum, struct mt_error *error)
{
    struct mt_buf sql;
    int64_t seq = INT64_MIN;
    enum mt_err err = MT_OK;

    verify->told = 0;
    mt_buf_init(&sql, 0);
    mt_buf_append_string(&sql, "SELECT ");
    mt_sqlite_columns(verify->store, MT_FIELD_ALL & ~verify->store->lacking, &sql);
    mt_buf_append_string(&sql,
                         " FROM memory_log NOT INDEXED WHERE seq > ?1 AND seq <= ?2 ORDER BY seq");
    if (mt_buf_string(&sql) == NULL)
        err = mt_error_set(error, MT_ERR_NO_MEMORY, "store %s: verify: out of memory",
                           verify->store->file.path);
    while (err == MT_OK && !sum->is_complete)
        err = walk_table_part(verify, mt_buf_string(&sql), &seq, sum, &sum->is_complete, error);
    mt_buf_fini(&sql);
    return tell_damage(verify, err, error, "table memory_log");
}

/* An index of memory_log by two columns and the row's seq. */
struct index {
    const char *name;
    const char *sql; /* its entries after (?1, ?2), up to ?3, in order */
    int host_column;
};

static const struct index indexes[] = {
    {"memory_log_by_time",
     "SELECT timestamp, host_id, seq FROM memory_log INDEXED BY memory_log_by_time"
     " WHERE (timestamp, host_id) > (?1, ?2) AND seq <= ?3 ORDER BY timestamp, host_id",
     1},
    {"memory_log_by_host",
     "SELECT host_id, timestamp, seq FROM memory_log INDEXED BY memory_log_by_host"
     " WHERE (host_id, timestamp) > (?1, ?2) AND seq <= ?3 ORDER BY host_id, timestamp",
     0},
};

static enum mt_err walk_index_part(struct verify *verify, const struct index *index, int64_t key[2],
                                   struct sum *sum, bool *is_end, struct mt_error *error)
{
    struct mt_sqlite *file = &verify->store->file;
    int64_t until_ms = mt_clock_monotonic_ms() + MT_SQLITE_LOCK_MS;
    sqlite3_stmt *statement;
    int result = SQLITE_ROW;
    enum mt_err err = mt_sqlite_statement(file, index->sql, &statement, error);

    if (err != MT_OK)
        return err;
    (void)sqlite3_bind_int64(statement, 1, key[0]);
    (void)sqlite3_bind_int64(statement, 2, key[1]);
    (void)sqlite3_bind_int64(statement, 3, verify->snapshot);
    while ((result = sqlite3_step(statement)) == SQLITE_ROW) {
        int64_t next[2] = {sqlite3_column_int64(statement, 0), sqlite3_column_int64(statement, 1)};
        int64_t seq = sqlite3_column_int64(statement, 2);

        if (next[0] < key[0] || (next[0] == key[0] && next[1] <= key[1]))
            tell(verify, "index %s: the entry of record %" PRId64 " is out of order or double",
                 index->name, seq);
        add_up(sum, seq, next[index->host_column], next[1 - index->host_column]);
        key[0] = next[0];
        key[1] = next[1];
        if (sum->records % 256 == 0 && mt_clock_monotonic_ms() >= until_ms)
            break;
    }
    *is_end = result == SQLITE_DONE;
    if (result != SQLITE_ROW && result != SQLITE_DONE)
        err = mt_sqlite_fail(file, result, "read", error);
    (void)sqlite3_reset(statement);
    return report_all(verify, err, error);
}

static enum mt_err walk_index(struct verify *verify, const struct index *index,
                              const struct sum *table, struct mt_error *error)
{
    int64_t key[2] = {INT64_MIN, INT64_MIN};
    struct sum sum = {0};
    enum mt_err err = MT_OK;

    verify->told = 0;
    while (err == MT_OK && !sum.is_complete)
        err = walk_index_part(verify, index, key, &sum, &sum.is_complete, error);
    err = tell_damage(verify, err, error, index->name);
    if (err == MT_OK && sum.is_complete && table->is_complete &&
        (sum.records != table->records || sum.hash != table->hash))
        tell(verify,
             "index %s does not match its table: %" PRId64 " entries, %" PRId64
             " records; rebuild it with: sqlite3 FILE REINDEX",
             index->name, sum.records, table->records);
    return report_all(verify, err, error);
}

/* Kept counts, and where the counted records are. ?1: host's id where it matters, ?2: a day. */
struct counts {
    const char *name;
    const char *kept_sql;
    const char *next_kept_sql;  /* first day from ?2 on that has a count */
    const char *next_found_sql; /* first second from ?2 on that has a record */
    const char *span_sql;       /* records in ?2 <= timestamp < ?3 */
};

static const struct counts day_counts = {
    "day", "SELECT records FROM day WHERE day = ?2 AND ?1 IS ?1",
    "SELECT min(day) FROM day WHERE day >= ?2 AND ?1 IS ?1",
    "SELECT timestamp FROM memory_log INDEXED BY memory_log_by_time WHERE timestamp >= ?2"
    " AND ?1 IS ?1 ORDER BY timestamp LIMIT 1",
    "SELECT count(*) FROM memory_log INDEXED BY memory_log_by_time WHERE timestamp >= ?2"
    " AND timestamp < ?3 AND ?1 IS ?1"};

static const struct counts host_day_counts = {
    "host_day", "SELECT records FROM host_day WHERE host_id = ?1 AND day = ?2",
    "SELECT min(day) FROM host_day WHERE host_id = ?1 AND day >= ?2",
    "SELECT timestamp FROM memory_log INDEXED BY memory_log_by_host WHERE host_id = ?1"
    " AND timestamp >= ?2 ORDER BY timestamp LIMIT 1",
    "SELECT count(*) FROM memory_log INDEXED BY memory_log_by_host WHERE host_id = ?1"
    " AND timestamp >= ?2 AND timestamp < ?3"};

static enum mt_err ask(struct verify *verify, const char *sql, int64_t host_id, int64_t from,
                       int64_t to, int64_t *value, bool *found, struct mt_error *error)
{
    struct mt_sqlite *file = &verify->store->file;
    sqlite3_stmt *statement;
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

/* what is there: the whole day under one lock, or, where that takes too long, in short spans */
static enum mt_err count_day(struct verify *verify, const struct counts *counts, int64_t host_id,
                             int64_t day, int64_t *records, struct mt_error *error)
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

/* counts a day until the kept count was the same before and after */
static enum mt_err check_day(struct verify *verify, const struct counts *counts, int64_t host_id,
                             int64_t day, struct mt_error *error)
{
    for (int tries = 0; tries < TRIES_MOST; tries++) {
        int64_t before = 0;
        int64_t after = 0;
        int64_t records = 0;
        bool found;
        enum mt_err err = ask(verify, counts->kept_sql, host_id, day, 0, &before, &found, error);

        if (err == MT_OK)
            err = count_day(verify, counts, host_id, day, &records, error);
        if (err == MT_OK)
            err = ask(verify, counts->kept_sql, host_id, day, 0, &after, &found, error);
        if (err != MT_OK)
            return err;
        if (before == after) {
            if (records != after)
                tell(verify,
                     "table %s says %" PRId64 " records for day %" PRId64 " (host id %" PRId64
                     ", 0: all), there are %" PRId64,
                     counts->name, after, day, host_id, records);
            return MT_OK;
        }
    }
    return mt_error_set(error, MT_ERR_BUSY,
                        "store %s: verify: day %" PRId64
                        " is being written all the time; try again when fewer write",
                        verify->store->file.path, day);
}

static enum mt_err check_days(struct verify *verify, const struct counts *counts, int64_t host_id,
                              struct mt_error *error)
{
    int64_t day = 0;

    for (;;) {
        int64_t kept = INT64_MAX;
        int64_t second = INT64_MAX;
        bool found;
        enum mt_err err = ask(verify, counts->next_kept_sql, host_id, day, 0, &kept, &found, error);

        if (err == MT_OK)
            err = ask(verify, counts->next_found_sql, host_id, day * DAY_S, 0, &second, &found,
                      error);
        if (err != MT_OK)
            return err;
        day = kept < second / DAY_S ? kept : second / DAY_S;
        if (kept == INT64_MAX && second == INT64_MAX)
            return MT_OK;
        err = check_day(verify, counts, host_id, day, error);
        if (err != MT_OK)
            return err;
        day++;
    }
}

static enum mt_err check_counts(struct verify *verify, struct mt_error *error)
{
    int64_t host_id = 0;
    bool found = true;
    enum mt_err err;

    verify->told = 0;
    err = tell_damage(verify, check_days(verify, &day_counts, 0, error), error, "table day");
    verify->told = 0;
    while (err == MT_OK && found) {
        err = ask(verify, "SELECT min(id) FROM host WHERE id > ?1 AND ?2 IS ?2", host_id, 0, 0,
                  &host_id, &found, error);
        if (err == MT_OK && found)
            err = check_days(verify, &host_day_counts, host_id, error);
    }
    return tell_damage(verify, err, error, "table host_day");
}

static enum mt_err check_sequence(struct verify *verify, struct mt_error *error)
{
    int64_t given = 0;
    bool found;
    enum mt_err err = read_number(
        verify, "SELECT seq FROM sqlite_sequence WHERE name = 'memory_log'", &given, &found, error);

    if (err == MT_OK && given < verify->snapshot)
        tell(verify,
             "arrival marks: the last one given is %" PRId64 ", but record %" PRId64
             " exists; marks may be given twice",
             given, verify->snapshot);
    return report_all(verify, err, error);
}

static enum mt_err check_generation(struct verify *verify, struct mt_error *error)
{
    int64_t generation = 0;
    bool found;
    enum mt_err err =
        read_number(verify, "SELECT generation FROM meta", &generation, &found, error);

    if (err == MT_OK && generation != verify->generation)
        return mt_error_set(error, MT_ERR_BUSY,
                            "store %s: verify: records were pruned meanwhile; try again",
                            verify->store->file.path);
    return err;
}

static enum mt_err verify_tables(struct verify *verify, struct mt_error *error)
{
    struct sum table = {0};
    bool found;
    enum mt_err err =
        read_number(verify, "SELECT generation FROM meta", &verify->generation, &found, error);

    if (err == MT_OK)
        err = read_number(verify, "SELECT max(seq) FROM memory_log", &verify->snapshot, &found,
                          error);
    if (err == MT_OK)
        err = check_sequence(verify, error);
    if (err == MT_OK)
        err = walk_table(verify, &table, error);
    for (size_t i = 0; i < sizeof indexes / sizeof indexes[0] && err == MT_OK; i++) {
        err = walk_index(verify, &indexes[i], &table, error);
        if (err == MT_OK)
            err = check_generation(verify, error);
    }
    return err == MT_OK ? check_counts(verify, error) : err;
}

/* copies the file in short steps; a writer in between makes the engine begin again */
static enum mt_err copy(struct verify *verify, sqlite3 *copied, struct mt_error *error)
{
    struct mt_sqlite *file = &verify->store->file;
    sqlite3_backup *backup = sqlite3_backup_init(copied, "main", file->db, "main");
    int64_t until_ms = mt_clock_monotonic_ms() + file->busy_wait_ms;
    int left = INT32_MAX;
    int restarts = 0;
    int result = SQLITE_OK;

    if (backup == NULL)
        return mt_error_set(error, MT_ERR_NO_MEMORY, "store %s: verify: cannot copy: %s",
                            file->path, sqlite3_errmsg(copied));
    while (restarts < TRIES_MOST) {
        result = sqlite3_backup_step(backup, COPY_PAGES);
        if (result == SQLITE_BUSY && mt_clock_monotonic_ms() < until_ms) {
            (void)nanosleep(&(struct timespec){.tv_nsec = 5000000}, NULL);
            continue;
        }
        if (result != SQLITE_OK)
            break;
        restarts += sqlite3_backup_remaining(backup) > left;
        left = sqlite3_backup_remaining(backup);
        until_ms = mt_clock_monotonic_ms() + file->busy_wait_ms;
    }
    (void)sqlite3_backup_finish(backup);
    if (result == SQLITE_DONE)
        return MT_OK;
    if (restarts == TRIES_MOST)
        return mt_error_set(error, MT_ERR_BUSY,
                            "store %s: verify: is being written all the time, so that no copy of "
                            "it could be made; try again when fewer write",
                            file->path);
    if (result == SQLITE_FULL || (result & 0xFF) == SQLITE_IOERR)
        return mt_error_set(error, MT_ERR_FULL,
                            "store %s: verify: no room for a private copy of it in the directory "
                            "for temporary files; name another with SQLITE_TMPDIR",
                            file->path);
    return mt_sqlite_fail(file, result, "verify", error);
}

static enum mt_err check_copy(struct verify *verify, sqlite3 *copied, struct mt_error *error)
{
    static const char *const checks[] = {"PRAGMA integrity_check", "PRAGMA foreign_key_check"};

    for (size_t i = 0; i < sizeof checks / sizeof checks[0]; i++) {
        sqlite3_stmt *statement = NULL;
        int result = sqlite3_prepare_v2(copied, checks[i], -1, &statement, NULL);

        verify->told = 0;
        while (result == SQLITE_OK || result == SQLITE_ROW) {
            result = sqlite3_step(statement);
            if (result != SQLITE_ROW)
                break;
            if (i == 1)
                tell(verify, "foreign keys: row %lld of table %s names a row that does not exist",
                     (long long)sqlite3_column_int64(statement, 1),
                     (const char *)sqlite3_column_text(statement, 0));
            else if (sqlite3_stricmp((const char *)sqlite3_column_text(statement, 0), "ok") != 0)
                tell(verify, "integrity: %s", (const char *)sqlite3_column_text(statement, 0));
        }
        (void)sqlite3_finalize(statement);
        if (result == SQLITE_CORRUPT || (result & 0xFF) == SQLITE_NOTADB)
            tell(verify, "integrity: %s", sqlite3_errmsg(copied));
        else if (result != SQLITE_DONE)
            return mt_error_set(error, MT_ERR_FAILED, "store %s: verify: %s",
                                verify->store->file.path, sqlite3_errmsg(copied));
    }
    return MT_OK;
}

static enum mt_err verify_deeply(struct verify *verify, struct mt_error *error)
{
    sqlite3 *copied = NULL;
    enum mt_err err = MT_OK;

    /* no name: a file that only this handle sees and that goes with it */
    if (sqlite3_open_v2("", &copied, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, NULL) != SQLITE_OK)
        err = mt_error_set(error, MT_ERR_NO_MEMORY, "store %s: verify: out of memory",
                           verify->store->file.path);
    if (err == MT_OK)
        err = tell_damage(verify, copy(verify, copied, error), error, "the file");
    if (err == MT_OK)
        err = check_copy(verify, copied, error);
    (void)sqlite3_close(copied);
    return report_all(verify, err, error);
}

enum mt_err mt_sqlite_verify(struct mt_store *base, bool deep, mt_report *report, void *context,
                             int64_t *findings, struct mt_error *error)
{
    struct verify verify = {.store = (struct sqlite_store *)base,
                            .report = report,
                            .context = context,
                            .findings = findings};
    enum mt_err err;

    *findings = 0;
    mt_buf_init(&verify.texts, 0);
    err = mt_sqlite_store_look(verify.store, error);
    if (err == MT_OK)
        err = tell_damage(&verify, verify_tables(&verify, error), error, "the store");
    if (err == MT_OK && deep)
        err = verify_deeply(&verify, error);
    mt_buf_fini(&verify.texts);
    return err;
}
