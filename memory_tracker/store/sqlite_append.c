#include <string.h>

#include "base/buf.h"
#include "store/outcome.h"
#include "store/sqlite_late.h"

enum {
    FIRST_FIELD = 4, /* parameter of the first field; 1 to 3: host_id, timestamp, boot_id */
    SMALL_BATCH = 64,
};

static const char insert_sql[] = "INSERT INTO memory_log(host_id,timestamp,boot_id"
#define MT_FIELD(symbol, name, ...) "," #name
#include "record/field.def"
#undef MT_FIELD
                                 ") VALUES(?,?,?"
#define MT_FIELD(...) ",?"
#include "record/field.def"
#undef MT_FIELD
                                 ") ON CONFLICT(host_id,timestamp) DO NOTHING";

/* the occupied seconds of a host from one on, in order */
static const char occupied_sql[] = "SELECT seq,host_id,timestamp,boot_id"
#define MT_FIELD(symbol, name, ...) "," #name
#include "record/field.def"
#undef MT_FIELD
                                   " FROM memory_log INDEXED BY memory_log_by_host"
                                   " WHERE host_id = ?1 AND timestamp >= ?2 ORDER BY timestamp";

/* One call's way through its records. */
struct append {
    struct sqlite_store *store;
    enum mt_on_conflict on_conflict;
    struct mt_sqlite_late late;
    /* of the record before, valid within the transaction */
    const struct mt_record *last_host;
    int64_t host_id;
    const struct mt_record *last_boot;
    int64_t boot_id;
};

/* the id of a name or a uuid, made if it is new */
static enum mt_err find_or_make(struct sqlite_store *store, const char *find_sql,
                                const char *make_sql, const void *bytes, int size, bool is_text,
                                int64_t *id, struct mt_error *error)
{
    const char *const steps[] = {find_sql, make_sql};
    bool found = false;

    for (size_t i = 0; i < 2 && !found; i++) {
        sqlite3_stmt *statement = NULL;
        enum mt_err err = mt_sqlite_statement(&store->file, steps[i], &statement, error);

        if (err != MT_OK)
            return err;
        if (is_text)
            (void)sqlite3_bind_text(statement, 1, bytes, size, SQLITE_STATIC);
        else
            (void)sqlite3_bind_blob(statement, 1, bytes, size, SQLITE_STATIC);
        err = mt_sqlite_read_i64(store, statement, id, &found, error);
        if (err != MT_OK)
            return err;
    }
    return MT_OK;
}

static enum mt_err find_ids(struct append *append, const struct mt_record *record,
                            struct mt_error *error)
{
    enum mt_err err = MT_OK;

    if (append->last_host == NULL || strcmp(append->last_host->host, record->host) != 0)
        err = find_or_make(append->store, "SELECT id FROM host WHERE name = ?1",
                           "INSERT INTO host(name) VALUES(?1) RETURNING id", record->host,
                           (int)strlen(record->host), true, &append->host_id, error);
    if (err != MT_OK)
        return err;
    append->last_host = record;
    if (!record->has_boot_id)
        return MT_OK;
    if (append->last_boot == NULL ||
        memcmp(append->last_boot->boot_id, record->boot_id, MT_BOOT_ID_SIZE) != 0)
        err = find_or_make(append->store, "SELECT id FROM boot WHERE uuid = ?1",
                           "INSERT INTO boot(uuid) VALUES(?1) RETURNING id", record->boot_id,
                           MT_BOOT_ID_SIZE, false, &append->boot_id, error);
    if (err == MT_OK)
        append->last_boot = record;
    return err;
}

static enum mt_err insert(struct append *append, const struct mt_record *record, int64_t timestamp,
                          bool *inserted, struct mt_error *error)
{
    struct mt_sqlite *file = &append->store->file;
    sqlite3_stmt *statement = NULL;
    enum mt_err err = mt_sqlite_statement(file, insert_sql, &statement, error);

    if (err != MT_OK)
        return err;
    (void)sqlite3_bind_int64(statement, 1, append->host_id);
    (void)sqlite3_bind_int64(statement, 2, timestamp);
    if (record->has_boot_id)
        (void)sqlite3_bind_int64(statement, 3, append->boot_id);
    for (enum mt_field i = 0; i < MT_FIELD_COUNT; i++)
        if ((record->present & MT_FIELD_BIT(i)) != 0)
            (void)sqlite3_bind_int64(statement, FIRST_FIELD + (int)i, record->value[i]);
    err = mt_sqlite_run(file, statement, error);
    *inserted = err == MT_OK && sqlite3_changes(file->db) > 0;
    return err;
}

/* The taken seconds of a host from one on, one after the other, loose and sealed. */
struct taken {
    sqlite3_stmt *loose; /* stands on the first loose row not passed, if has_loose */
    bool has_loose;
};

/* the loose rows' next step */
static enum mt_err step_loose(struct append *append, struct taken *taken, struct mt_error *error)
{
    int result = sqlite3_step(taken->loose);

    taken->has_loose = result == SQLITE_ROW;
    return result == SQLITE_ROW || result == SQLITE_DONE
               ? MT_OK
               : mt_sqlite_fail(&append->store->file, result, "append", error);
}

/* who is there at that second, one later with each call */
static enum mt_err find_taker(struct append *append, struct taken *taken,
                              const struct mt_record *record, int64_t second,
                              struct sqlite_row *row, bool *found, struct mt_error *error)
{
    struct mt_error failure = {0};
    struct sqlite_row sealed;
    bool is_sealed = false;
    enum mt_err err;

    *found = taken->has_loose && sqlite3_column_int64(taken->loose, 2) == second;
    if (!*found)
        return mt_sqlite_late_find(&append->late, append->host_id, second, record, row, found,
                                   error);
    err = mt_sqlite_read_row(append->store, taken->loose, MT_FIELD_ALL, row, &failure);
    /* whatever it is, its second is taken, and this is no reason to keep a queue waiting */
    if (err == MT_ERR_CORRUPT)
        row->record = (struct mt_record){.timestamp = second};
    else if (err != MT_OK)
        return mt_error_set(error, err, "%s", failure.text);
    err = step_loose(append, taken, error);
    if (err != MT_OK || mt_record_is_repeat(record, &row->record))
        return err;
    /* it came late to a day that was damaged then, and is not the sealed one */
    err = mt_sqlite_late_find(&append->late, append->host_id, second, record, &sealed, &is_sealed,
                              error);
    if (err == MT_OK && is_sealed && mt_record_is_repeat(record, &sealed.record))
        *row = sealed;
    return err;
}

/*
 * Looks along the run of taken seconds for the record itself, which a repeated delivery finds where
 * the first one put it, or for the end of the run.
 */
static enum mt_err walk(struct append *append, const struct mt_record *record, struct taken *taken,
                        struct mt_outcome *outcome, struct mt_error *error)
{
    int64_t at = record->timestamp;
    enum mt_err err;

    for (;; at++) {
        struct sqlite_row row;
        bool found;

        err = find_taker(append, taken, record, at, &row, &found, error);
        if (err != MT_OK)
            return err;
        if (!found)
            outcome->verdict = at == record->timestamp ? MT_VERDICT_NEW : MT_VERDICT_MOVED;
        else if (mt_record_is_repeat(record, &row.record))
            outcome->verdict = MT_VERDICT_REPEAT;
        else if (append->on_conflict == MT_CONFLICT_MOVE && at < MT_TIMESTAMP_MAX)
            continue;
        else
            mt_outcome_conflict(&row.record, outcome);
        break;
    }
    if (outcome->verdict != MT_VERDICT_CONFLICT)
        outcome->timestamp = at;
    return MT_OK;
}

/* The record's second is taken, or its day is sealed. */
static enum mt_err settle(struct append *append, const struct mt_record *record,
                          struct mt_outcome *outcome, struct mt_error *error)
{
    struct taken taken = {0};
    bool inserted = false;
    enum mt_err err = mt_sqlite_statement(&append->store->file, occupied_sql, &taken.loose, error);

    if (err != MT_OK)
        return err;
    (void)sqlite3_bind_int64(taken.loose, 1, append->host_id);
    (void)sqlite3_bind_int64(taken.loose, 2, record->timestamp);
    err = step_loose(append, &taken, error);
    if (err == MT_OK)
        err = walk(append, record, &taken, outcome, error);
    (void)sqlite3_reset(taken.loose);
    if (err == MT_OK &&
        (outcome->verdict == MT_VERDICT_NEW || outcome->verdict == MT_VERDICT_MOVED))
        err = insert(append, record, outcome->timestamp, &inserted, error);
    return err;
}

static enum mt_err append_one(struct append *append, const struct mt_record *record,
                              struct mt_outcome *outcome, struct mt_error *error)
{
    struct mt_error reason = {0};
    bool is_sealed = false;
    bool inserted = false;
    enum mt_err err;

    *outcome = (struct mt_outcome){.verdict = MT_VERDICT_NEW, .timestamp = record->timestamp};
    if (mt_record_check(record, &reason) != MT_OK) {
        mt_outcome_reject(reason.text, outcome);
        return MT_OK;
    }
    err = find_ids(append, record, error);
    if (err == MT_OK)
        err = mt_sqlite_late_look(&append->late, append->host_id,
                                  record->timestamp / MT_BLOCK_SECONDS, &is_sealed, error);
    if (err == MT_OK && !is_sealed)
        err = insert(append, record, record->timestamp, &inserted, error);
    if (err == MT_OK && !inserted)
        err = settle(append, record, outcome, error);
    return err;
}

static enum mt_err append_all(struct sqlite_store *store, const struct mt_record *records,
                              size_t count, enum mt_on_conflict on_conflict,
                              struct mt_outcome *outcomes, struct mt_error *error)
{
    struct append append = {.store = store, .on_conflict = on_conflict, .late = {.store = store}};
    sqlite3_stmt *statement = NULL;
    /* before the transaction, since preparing them may have to add a table or a column */
    enum mt_err err = mt_sqlite_statement(&store->file, MT_SQLITE_IS_SEALED, &statement, error);

    if (err == MT_OK)
        err = mt_sqlite_statement(&store->file, insert_sql, &statement, error);
    /* a page that leaves the cache early would lock readers out until the end of the batch */
    if (err == MT_OK && count > SMALL_BATCH)
        err = mt_sqlite_exec(&store->file, "PRAGMA cache_spill=OFF", error);
    if (err == MT_OK)
        err = mt_sqlite_begin(&store->file, error);
    if (err != MT_OK)
        return err;
    for (size_t i = 0; i < count && err == MT_OK; i++)
        err = append_one(&append, &records[i], &outcomes[i], error);
    mt_sqlite_late_fini(&append.late);
    if (err == MT_OK)
        return mt_sqlite_commit(&store->file, error);
    mt_sqlite_rollback(&store->file);
    store->epoch = 0; /* what it remembers may be of hosts that now do not exist */
    return err;
}

enum mt_err mt_sqlite_append(struct mt_store *base, const struct mt_record *records, size_t count,
                             enum mt_on_conflict on_conflict, struct mt_outcome *outcomes,
                             struct mt_error *error)
{
    struct sqlite_store *store = (struct sqlite_store *)base;
    enum mt_err err;

    if (store->file.read_only)
        return mt_error_set(error, MT_ERR_READ_ONLY, "store %s: was opened for reading only",
                            store->file.path);
    err = mt_sqlite_store_look(store, error);
    if (err != MT_OK || count == 0)
        return err;
    err = append_all(store, records, count, on_conflict, outcomes, error);
    if (err != MT_ERR_MISSING && err != MT_ERR_FAILED)
        return err;
    /* nothing was written, so once more: into the new file if it was replaced since the last look;
     * or with what a statement misses that was prepared before an older copy was restored */
    if (err == MT_ERR_FAILED)
        return mt_sqlite_upgrade(&store->file, NULL) == MT_OK
                   ? append_all(store, records, count, on_conflict, outcomes, error)
                   : err;
    err = mt_sqlite_reopen(&store->file, error);
    if (err == MT_OK)
        err = mt_sqlite_store_look(store, error);
    return err == MT_OK ? append_all(store, records, count, on_conflict, outcomes, error) : err;
}
