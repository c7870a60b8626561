#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "store/sqlite_block.h"

enum { HOSTS_BATCH = 64 };

/* What of a host is told by sealed days has to be read from their columns. */
struct wanted {
    size_t host;    /* its index in the batch */
    bool is_newest; /* the interval of its last record; or else how many are of the future */
    struct mt_sqlite_block_data data;
};

/* Hosts read under one lock, in order of their names. */
struct batch {
    struct mt_host hosts[HOSTS_BATCH];
    size_t count;
    int64_t after;        /* id of the host that was read last; INT64_MIN: none was */
    struct mt_error *bad; /* the first host that is none; its code is MT_OK before */
    struct wanted wanted[2 * HOSTS_BATCH];
    size_t wanted_count;
};

/* columns of a row of hosts_sql */
enum { RECORDS, FIRST, LAST, FUTURE, INTERVAL, ID, SEALED_FIRST, SEALED_LAST, SEALED_FUTURE };

#define HOSTS_SQL_BEGIN                                                                            \
    "SELECT"                                                                                       \
    " (SELECT sum(records) FROM host_day WHERE host_id = host.id) AS total,"                       \
    " (SELECT timestamp FROM memory_log INDEXED BY memory_log_by_host"                             \
    "   WHERE host_id = host.id ORDER BY timestamp LIMIT 1),"                                      \
    " (SELECT timestamp FROM memory_log INDEXED BY memory_log_by_host"                             \
    "   WHERE host_id = host.id ORDER BY timestamp DESC LIMIT 1),"                                 \
    " (SELECT count(*) FROM memory_log INDEXED BY memory_log_by_host"                              \
    "   WHERE host_id = host.id AND timestamp > ?2 AND timestamp < (?3 + 1) * 86400)"              \
    " + (SELECT ifnull(sum(records), 0) FROM host_day WHERE host_id = host.id AND day > ?3),"      \
    " (SELECT %s FROM memory_log INDEXED BY memory_log_by_host"                                    \
    "   WHERE host_id = host.id ORDER BY timestamp DESC LIMIT 1), id"
#define HOSTS_SQL_SEALED                                                                           \
    ", (SELECT first FROM block WHERE host_id = host.id ORDER BY day LIMIT 1),"                    \
    " (SELECT last FROM block WHERE host_id = host.id ORDER BY day DESC LIMIT 1),"                 \
    " (SELECT last > ?2 FROM block WHERE host_id = host.id AND day = ?3)"
#define HOSTS_SQL_END                                                                              \
    " FROM host WHERE " MT_SQLITE_AFTER_HOST " AND total IS NOT NULL ORDER BY name, id"

/* the bytes of a sealed day, to be looked into when the lock is given back */
static enum mt_err want(struct sqlite_store *store, struct batch *batch, int64_t host_id,
                        int64_t day, bool is_newest, struct mt_error *error)
{
    struct wanted *wanted = &batch->wanted[batch->wanted_count];
    struct mt_sqlite_block block = {0};
    bool found = false;
    enum mt_err err = mt_sqlite_find_block(store, host_id, day, &block, &found, error);

    if (err != MT_OK || !found)
        return err;
    *wanted = (struct wanted){.host = batch->count, .is_newest = is_newest};
    batch->wanted_count++;
    return mt_sqlite_block_fetch(store, &block, is_newest ? MT_FIELD_BIT(MT_FIELD_INTERVAL_S) : 0,
                                 0, &wanted->data, &found, error);
}

/* adds the host that statement stands on */
static enum mt_err add_host(struct sqlite_store *store, sqlite3_stmt *statement, int64_t latest,
                            struct batch *batch, struct mt_error *error)
{
    struct mt_host *host = &batch->hosts[batch->count];
    bool has_loose = sqlite3_column_type(statement, FIRST) != SQLITE_NULL;
    bool has_sealed = sqlite3_column_type(statement, SEALED_LAST) != SQLITE_NULL;
    int64_t id = sqlite3_column_int64(statement, ID);
    int64_t sealed_first = sqlite3_column_int64(statement, SEALED_FIRST);
    int64_t sealed_last = sqlite3_column_int64(statement, SEALED_LAST);
    struct mt_error failure = {0};
    char name[MT_HOST_MAX + 1];
    enum mt_err err;

    batch->after = id;
    err = mt_sqlite_host_name(store, id, name, &failure);
    if (err == MT_ERR_CORRUPT) {
        if (batch->bad->code == MT_OK)
            *batch->bad = failure;
        return MT_OK;
    }
    if (err != MT_OK)
        return mt_error_set(error, err, "%s", failure.text);
    *host = (struct mt_host){
        .records = sqlite3_column_int64(statement, RECORDS),
        .first = sqlite3_column_int64(statement, FIRST),
        .last = sqlite3_column_int64(statement, LAST),
        .future = sqlite3_column_int64(statement, FUTURE),
        .interval_s = sqlite3_column_int64(statement, INTERVAL),
    };
    memcpy(host->name, name, sizeof host->name);
    if (has_sealed && (!has_loose || sealed_first < host->first))
        host->first = sealed_first;
    if (has_sealed && (!has_loose || sealed_last > host->last)) {
        host->last = sealed_last;
        host->interval_s = 0;
        err = want(store, batch, id, sealed_last / MT_BLOCK_SECONDS, true, error);
    }
    if (err == MT_OK && sqlite3_column_int64(statement, SEALED_FUTURE) != 0)
        err = want(store, batch, id, latest / MT_BLOCK_SECONDS, false, error);
    batch->count++;
    return err;
}

static enum mt_err prepare(struct sqlite_store *store, sqlite3_stmt **statement,
                           struct mt_error *error)
{
    char sql[sizeof HOSTS_SQL_BEGIN HOSTS_SQL_SEALED HOSTS_SQL_END + 32];
    bool has_interval = (store->lacking & MT_FIELD_BIT(MT_FIELD_INTERVAL_S)) == 0;

    (void)snprintf(sql, sizeof sql, HOSTS_SQL_BEGIN "%s" HOSTS_SQL_END,
                   has_interval ? "interval_s" : "NULL",
                   mt_sqlite_has_blocks(store) ? HOSTS_SQL_SEALED : ",NULL,NULL,NULL");
    return mt_sqlite_statement(&store->file, sql, statement, error);
}

static enum mt_err read_hosts(struct sqlite_store *store, int64_t latest, struct batch *batch,
                              bool *is_end, struct mt_error *error)
{
    int64_t begun_ms = mt_clock_monotonic_ms();
    sqlite3_stmt *statement = NULL;
    int result = SQLITE_ROW;
    enum mt_err err = prepare(store, &statement, error);

    batch->count = 0;
    batch->wanted_count = 0;
    if (err != MT_OK)
        return err;
    (void)sqlite3_bind_int64(statement, 1, batch->after);
    (void)sqlite3_bind_int64(statement, 2, latest);
    (void)sqlite3_bind_int64(statement, 3, latest / MT_BLOCK_SECONDS);
    while (err == MT_OK && batch->count < HOSTS_BATCH &&
           (batch->count == 0 || mt_clock_monotonic_ms() - begun_ms <= MT_SQLITE_LOCK_MS) &&
           (result = sqlite3_step(statement)) == SQLITE_ROW)
        err = add_host(store, statement, latest, batch, error);
    if (err == MT_OK && result != SQLITE_ROW && result != SQLITE_DONE)
        err = mt_sqlite_fail(&store->file, result, "read", error);
    (void)sqlite3_reset(statement);
    *is_end = result == SQLITE_DONE;
    return err;
}

/* what the sealed days say of their hosts; their bytes are freed also on failure */
static enum mt_err look_into(struct sqlite_store *store, struct batch *batch, int64_t latest,
                             enum mt_err err, struct mt_error *error)
{
    for (size_t i = 0; i < batch->wanted_count; i++) {
        struct mt_sqlite_block_data *data = &batch->wanted[i].data;
        struct mt_host *host = &batch->hosts[batch->wanted[i].host];

        if (err == MT_OK)
            err = mt_sqlite_block_decode(store, data, error);
        if (err == MT_OK && !batch->wanted[i].is_newest)
            host->future += data->block.records - (int64_t)mt_sqlite_block_at(data, latest + 1);
        else if (err == MT_OK && (data->there & MT_FIELD_BIT(MT_FIELD_INTERVAL_S)) != 0)
            host->interval_s = data->field[MT_FIELD_INTERVAL_S].values[data->block.records - 1];
        mt_sqlite_block_fini(data);
    }
    return err;
}

enum mt_err mt_sqlite_hosts(struct mt_store *base, int64_t now_s, mt_emit_host *emit, void *context,
                            struct mt_error *error)
{
    struct sqlite_store *store = (struct sqlite_store *)base;
    int64_t latest = now_s < MT_TIMESTAMP_MAX ? now_s + MT_FUTURE_SLACK_S : MT_TIMESTAMP_MAX;
    struct batch *batch;
    struct mt_error bad = {0};
    bool is_end = false;
    enum mt_err err = mt_sqlite_store_look(store, error);

    if (err != MT_OK)
        return err;
    batch = calloc(1, sizeof *batch);
    if (batch == NULL)
        return mt_error_set(error, MT_ERR_NO_MEMORY, "store %s: read: out of memory",
                            store->file.path);
    latest = latest < 0 ? 0 : latest;
    batch->after = INT64_MIN;
    batch->bad = &bad;
    while (err == MT_OK && !is_end) {
        err = read_hosts(store, latest, batch, &is_end, error);
        err = look_into(store, batch, latest, err, error);
        for (size_t i = 0; i < batch->count && err == MT_OK; i++)
            err = emit(context, &batch->hosts[i], error);
    }
    free(batch);
    return err == MT_OK && bad.code != MT_OK ? mt_error_set(error, bad.code, "%s", bad.text) : err;
}
