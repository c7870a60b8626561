#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/clock.h"
#include "store/sqlite.h"

enum {
    HOSTS_BATCH = 64,
    DAY_S = 86400,
};

static uint64_t mix(uint64_t x)
{
    x = (x ^ (x >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
    x = (x ^ (x >> 27)) * UINT64_C(0x94D049BB133111EB);
    return x ^ (x >> 31);
}

/*
 * A place names the row before it as well: in a store that was restored from a copy and went on
 * from there, the same number belongs to another record, and the place is not known any more.
 */
static struct mt_token token_of(int64_t generation, int64_t seq, int64_t host_id, int64_t timestamp)
{
    uint64_t mixed = mix((uint64_t)generation);

    mixed = mix(mixed ^ (uint64_t)host_id);
    mixed = mix(mixed ^ (uint64_t)timestamp);
    return (struct mt_token){.generation = mixed == 0 ? 1 : mixed, .sequence = seq};
}

/* the place after the row of statement, whose columns are generation, seq, host_id, timestamp */
static enum mt_err read_token(struct sqlite_store *store, sqlite3_stmt *statement,
                              struct mt_token *token, struct mt_error *error)
{
    int result = sqlite3_step(statement);
    enum mt_err err = MT_OK;

    if (result == SQLITE_ROW)
        *token = token_of(sqlite3_column_int64(statement, 0), sqlite3_column_int64(statement, 1),
                          sqlite3_column_int64(statement, 2), sqlite3_column_int64(statement, 3));
    else if (result == SQLITE_DONE)
        err = mt_error_set(error, MT_ERR_CORRUPT, "store %s: table meta is empty; restore a backup",
                           store->file.path);
    else
        err = mt_sqlite_fail(&store->file, result, "read", error);
    return err;
}

enum mt_err mt_sqlite_token(struct mt_store *base, struct mt_token *token, struct mt_error *error)
{
    struct sqlite_store *store = (struct sqlite_store *)base;
    sqlite3_stmt *statement = NULL;
    enum mt_err err = mt_sqlite_store_look(store, error);

    if (err == MT_OK)
        err = mt_sqlite_statement(&store->file,
                                  "SELECT generation, seq, host_id, timestamp FROM meta LEFT JOIN "
                                  "memory_log ON seq = (SELECT max(seq) FROM memory_log)",
                                  &statement, error);
    if (err != MT_OK)
        return err;
    err = read_token(store, statement, token, error);
    (void)sqlite3_reset(statement);
    return err;
}

/* One call's reading of what arrived. */
struct arrivals {
    struct sqlite_store *store;
    struct sqlite_rows rows;
    int64_t generation;
    bool is_known; /* the place that it began with */
};

/* is the row before the place still the one it was, in the same generation? */
static enum mt_err check_place(struct arrivals *arrivals, const struct mt_token *token,
                               sqlite3_stmt **held, struct mt_error *error)
{
    struct mt_token there = {0};
    enum mt_err err = mt_sqlite_statement(
        &arrivals->store->file,
        "SELECT generation, seq, host_id, timestamp FROM meta LEFT JOIN memory_log ON seq = ?1",
        held, error);

    if (err != MT_OK)
        return err;
    (void)sqlite3_bind_int64(*held, 1, token->sequence);
    err = read_token(arrivals->store, *held, &there, error);
    if (err != MT_OK)
        return err;
    arrivals->generation = sqlite3_column_int64(*held, 0);
    arrivals->is_known =
        (token->generation == 0 && token->sequence == 0) ||
        (there.generation == token->generation && there.sequence == token->sequence);
    return MT_OK;
}

static enum mt_err read_arrivals(struct arrivals *arrivals, int64_t after, size_t most,
                                 struct mt_error *error)
{
    struct sqlite_store *store = arrivals->store;
    int64_t begun_ms = mt_clock_monotonic_ms();
    struct mt_buf sql;
    sqlite3_stmt *statement = NULL;
    int result = SQLITE_ROW;
    enum mt_err err;

    arrivals->rows.count = 0;
    mt_buf_init(&sql, 0);
    mt_buf_append_string(&sql, "SELECT ");
    mt_sqlite_columns(store, MT_FIELD_ALL, &sql);
    mt_buf_append_string(&sql, " FROM memory_log WHERE seq > ?1 ORDER BY seq LIMIT ?2");
    err = mt_buf_string(&sql) == NULL
              ? mt_error_set(error, MT_ERR_NO_MEMORY, "store %s: read: out of memory",
                             store->file.path)
              : mt_sqlite_statement(&store->file, mt_buf_string(&sql), &statement, error);
    mt_buf_fini(&sql);
    if (err != MT_OK)
        return err;
    (void)sqlite3_bind_int64(statement, 1, after);
    (void)sqlite3_bind_int64(statement, 2, (int64_t)most);
    while (err == MT_OK && (result = sqlite3_step(statement)) == SQLITE_ROW) {
        err = mt_sqlite_add_row(store, statement, MT_FIELD_ALL, &arrivals->rows, error);
        if (arrivals->rows.count % 32 == 0 &&
            mt_clock_monotonic_ms() - begun_ms > MT_SQLITE_LOCK_MS)
            break;
    }
    if (err == MT_OK && result != SQLITE_ROW && result != SQLITE_DONE)
        err = mt_sqlite_fail(&store->file, result, "read", error);
    (void)sqlite3_reset(statement);
    return err;
}

static enum mt_err hand_out(const struct arrivals *arrivals, struct mt_token *token, mt_emit *emit,
                            void *context, struct mt_error *error)
{
    for (size_t i = 0; i < arrivals->rows.count; i++) {
        const struct sqlite_row *row = &arrivals->rows.rows[i];
        enum mt_err err = emit(context, &row->record, error);

        if (err != MT_OK)
            return err;
        *token = token_of(arrivals->generation, row->seq, row->host_id, row->record.timestamp);
    }
    return MT_OK;
}

enum mt_err mt_sqlite_changes(struct mt_store *base, struct mt_token *token, size_t limit,
                              mt_emit *emit, void *context, bool *reset, struct mt_error *error)
{
    struct arrivals arrivals = {.store = (struct sqlite_store *)base};
    sqlite3_stmt *held = NULL;
    enum mt_err err = mt_sqlite_store_look(arrivals.store, error);

    *reset = false;
    if (err == MT_OK)
        err = check_place(&arrivals, token, &held, error);
    while (err == MT_OK && arrivals.is_known && limit > 0) {
        size_t most = limit < MT_SQLITE_BATCH ? limit : MT_SQLITE_BATCH;

        /* the first batch is of the same instant as the generation that its places carry */
        err = read_arrivals(&arrivals, token->sequence, most, error);
        (void)sqlite3_reset(held);
        if (err == MT_OK && arrivals.rows.count == 0)
            break;
        limit -= arrivals.rows.count;
        if (err == MT_OK)
            err = hand_out(&arrivals, token, emit, context, error);
    }
    (void)sqlite3_reset(held);
    free(arrivals.rows.rows);
    if (err == MT_OK && !arrivals.is_known) {
        err = mt_sqlite_token(base, token, error);
        *reset = err == MT_OK;
    }
    return err;
}

static const char hosts_sql[] =
    "SELECT name,"
    " (SELECT sum(records) FROM host_day WHERE host_id = host.id) AS total,"
    " (SELECT timestamp FROM memory_log INDEXED BY memory_log_by_host"
    "   WHERE host_id = host.id ORDER BY timestamp LIMIT 1),"
    " (SELECT timestamp FROM memory_log INDEXED BY memory_log_by_host"
    "   WHERE host_id = host.id ORDER BY timestamp DESC LIMIT 1),"
    " (SELECT count(*) FROM memory_log INDEXED BY memory_log_by_host"
    "   WHERE host_id = host.id AND timestamp > ?2 AND timestamp < (?3 + 1) * 86400)"
    " + (SELECT ifnull(sum(records), 0) FROM host_day WHERE host_id = host.id AND day > ?3),"
    " (SELECT %s FROM memory_log INDEXED BY memory_log_by_host"
    "   WHERE host_id = host.id ORDER BY timestamp DESC LIMIT 1)"
    " FROM host WHERE name > ?1 AND total IS NOT NULL ORDER BY name";

static enum mt_err read_hosts(struct sqlite_store *store, const char *after, int64_t latest,
                              struct mt_host hosts[HOSTS_BATCH], size_t *count,
                              struct mt_error *error)
{
    char sql[sizeof hosts_sql + 32];
    bool has_interval = (store->lacking & MT_FIELD_BIT(MT_FIELD_INTERVAL_S)) == 0;
    int64_t begun_ms = mt_clock_monotonic_ms();
    sqlite3_stmt *statement = NULL;
    int result = SQLITE_ROW;
    enum mt_err err;

    (void)snprintf(sql, sizeof sql, hosts_sql, has_interval ? "interval_s" : "NULL");
    err = mt_sqlite_statement(&store->file, sql, &statement, error);
    *count = 0;
    if (err != MT_OK)
        return err;
    (void)sqlite3_bind_text(statement, 1, after, -1, SQLITE_TRANSIENT);
    (void)sqlite3_bind_int64(statement, 2, latest);
    (void)sqlite3_bind_int64(statement, 3, latest / DAY_S);
    while (*count < HOSTS_BATCH &&
           (*count == 0 || mt_clock_monotonic_ms() - begun_ms <= MT_SQLITE_LOCK_MS) &&
           (result = sqlite3_step(statement)) == SQLITE_ROW) {
        struct mt_host *host = &hosts[(*count)++];

        *host = (struct mt_host){
            .records = sqlite3_column_int64(statement, 1),
            .first = sqlite3_column_int64(statement, 2),
            .last = sqlite3_column_int64(statement, 3),
            .future = sqlite3_column_int64(statement, 4),
            .interval_s = sqlite3_column_int64(statement, 5),
        };
        (void)snprintf(host->name, sizeof host->name, "%s",
                       (const char *)sqlite3_column_text(statement, 0));
    }
    if (result != SQLITE_ROW && result != SQLITE_DONE)
        err = mt_sqlite_fail(&store->file, result, "read", error);
    (void)sqlite3_reset(statement);
    return err;
}

enum mt_err mt_sqlite_hosts(struct mt_store *base, int64_t now_s, mt_emit_host *emit, void *context,
                            struct mt_error *error)
{
    struct sqlite_store *store = (struct sqlite_store *)base;
    int64_t latest = now_s < MT_TIMESTAMP_MAX ? now_s + MT_FUTURE_SLACK_S : MT_TIMESTAMP_MAX;
    struct mt_host *hosts;
    char after[MT_HOST_MAX + 1] = "";
    size_t count;
    enum mt_err err = mt_sqlite_store_look(store, error);

    if (err != MT_OK)
        return err;
    hosts = calloc(HOSTS_BATCH, sizeof *hosts);
    if (hosts == NULL)
        return mt_error_set(error, MT_ERR_NO_MEMORY, "store %s: read: out of memory",
                            store->file.path);
    do {
        err = read_hosts(store, after, latest < 0 ? 0 : latest, hosts, &count, error);
        for (size_t i = 0; i < count && err == MT_OK; i++)
            err = emit(context, &hosts[i], error);
        if (count > 0)
            memcpy(after, hosts[count - 1].name, sizeof after);
    } while (err == MT_OK && count > 0);
    free(hosts);
    return err;
}
