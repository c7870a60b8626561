#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "store/sqlite_verify.h"

enum { TOLD_MOST = 100 }; /* findings of one kind */

/* What a walk through the table or one of its indexes adds up to. */
struct sum {
    int64_t records;
    uint64_t hash; /* of seq, host_id and timestamp, in any order */
    bool is_complete;
};

void mt_sqlite_tell(struct mt_sqlite_verify *verify, const char *format, ...)
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

enum mt_err mt_sqlite_report(struct mt_sqlite_verify *verify, enum mt_err err,
                             struct mt_error *error)
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

enum mt_err mt_sqlite_tell_damage(struct mt_sqlite_verify *verify, enum mt_err err,
                                  struct mt_error *error, const char *where)
{
    if (err == MT_ERR_CORRUPT) {
        mt_sqlite_tell(verify, "%s cannot be read to its end: %s", where, error->text);
        err = MT_OK;
    }
    return mt_sqlite_report(verify, err, error);
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

static enum mt_err read_number(struct mt_sqlite_verify *verify, const char *sql, int64_t *value,
                               bool *found, struct mt_error *error)
{
    sqlite3_stmt *statement = NULL;
    enum mt_err err = mt_sqlite_statement(&verify->store->file, sql, &statement, error);

    return err == MT_OK ? mt_sqlite_read_i64(verify->store, statement, value, found, error) : err;
}

static void check_row(struct mt_sqlite_verify *verify, const struct sqlite_row *row)
{
    struct mt_error reason = {0};

    if (mt_record_check(&row->record, &reason) != MT_OK)
        mt_sqlite_tell(verify, "record %" PRId64 " of host %s at %" PRId64 ": %s", row->seq,
                       row->record.host, row->record.timestamp, reason.text);
}

/* reads on from *seq for as long as a lock may be held; *is_end: there was no more */
static enum mt_err walk_table_part(struct mt_sqlite_verify *verify, const char *sql, int64_t *seq,
                                   struct sum *sum, bool *is_end, struct mt_error *error)
{
    struct sqlite_store *store = verify->store;
    int64_t until_ms = mt_clock_monotonic_ms() + MT_SQLITE_LOCK_MS;
    sqlite3_stmt *statement = NULL;
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
            mt_sqlite_tell(verify, "record %" PRId64 ": %s", row.seq, error->text);
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
    return mt_sqlite_report(verify, err, error);
}

static enum mt_err walk_table(struct mt_sqlite_verify *verify, struct sum *sum,
                              struct mt_error *error)
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
    return mt_sqlite_tell_damage(verify, err, error, "table memory_log");
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

static enum mt_err walk_index_part(struct mt_sqlite_verify *verify, const struct index *index,
                                   int64_t key[2], struct sum *sum, bool *is_end,
                                   struct mt_error *error)
{
    struct mt_sqlite *file = &verify->store->file;
    int64_t until_ms = mt_clock_monotonic_ms() + MT_SQLITE_LOCK_MS;
    sqlite3_stmt *statement = NULL;
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
            mt_sqlite_tell(verify,
                           "index %s: the entry of record %" PRId64 " is out of order or double",
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
    return mt_sqlite_report(verify, err, error);
}

static enum mt_err walk_index(struct mt_sqlite_verify *verify, const struct index *index,
                              const struct sum *table, struct mt_error *error)
{
    int64_t key[2] = {INT64_MIN, INT64_MIN};
    struct sum sum = {0};
    enum mt_err err = MT_OK;

    verify->told = 0;
    while (err == MT_OK && !sum.is_complete)
        err = walk_index_part(verify, index, key, &sum, &sum.is_complete, error);
    err = mt_sqlite_tell_damage(verify, err, error, index->name);
    if (err == MT_OK && sum.is_complete && table->is_complete &&
        (sum.records != table->records || sum.hash != table->hash))
        mt_sqlite_tell(verify,
                       "index %s does not match its table: %" PRId64 " entries, %" PRId64
                       " records; rebuild it with: sqlite3 FILE REINDEX",
                       index->name, sum.records, table->records);
    return mt_sqlite_report(verify, err, error);
}

static enum mt_err check_sequence(struct mt_sqlite_verify *verify, struct mt_error *error)
{
    int64_t given = 0;
    bool found;
    enum mt_err err = read_number(
        verify, "SELECT seq FROM sqlite_sequence WHERE name = 'memory_log'", &given, &found, error);

    if (err == MT_OK && given < verify->snapshot)
        mt_sqlite_tell(verify,
                       "arrival marks: the last one given is %" PRId64 ", but record %" PRId64
                       " exists; marks may be given twice",
                       given, verify->snapshot);
    return mt_sqlite_report(verify, err, error);
}

static enum mt_err check_generation(struct mt_sqlite_verify *verify, struct mt_error *error)
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

static enum mt_err verify_tables(struct mt_sqlite_verify *verify, struct mt_error *error)
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
    return err == MT_OK ? mt_sqlite_verify_counts(verify, error) : err;
}

enum mt_err mt_sqlite_verify(struct mt_store *base, bool deep, mt_report *report, void *context,
                             int64_t *findings, struct mt_error *error)
{
    struct mt_sqlite_verify verify = {.store = (struct sqlite_store *)base,
                                      .report = report,
                                      .context = context,
                                      .findings = findings};
    enum mt_err err;

    *findings = 0;
    mt_buf_init(&verify.texts, 0);
    err = mt_sqlite_store_look(verify.store, error);
    if (err == MT_OK)
        err = mt_sqlite_tell_damage(&verify, verify_tables(&verify, error), error, "the store");
    if (err == MT_OK && deep)
        err = mt_sqlite_verify_copy(&verify, error);
    mt_buf_fini(&verify.texts);
    return err;
}
