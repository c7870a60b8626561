#include "store/spool.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/clock.h"
#include "store/sqlite_file.h"

enum {
    DELIVER_BATCH = 100,
    REJECTED_MOST = 10000, /* set aside; beyond that the oldest go, counted as dropped */
};

#define COLUMNS                                                                                    \
    " host TEXT NOT NULL,"                                                                         \
    " timestamp INTEGER NOT NULL,"                                                                 \
    " boot_id BLOB CHECK(length(boot_id) = 16)"

static const char *const create_sql[] = {
    "CREATE TABLE waiting("
    " id INTEGER PRIMARY KEY AUTOINCREMENT,"
    " destination TEXT NOT NULL," COLUMNS,
#define MT_FIELD(symbol, name, ...) ", " #name " INTEGER CHECK(" #name MT_SQLITE_IN_RANGE ")",
#include "record/field.def"
#undef MT_FIELD
    ") STRICT;"
    "CREATE INDEX waiting_by_destination ON waiting(destination, id);"
    "CREATE TABLE rejected("
    " id INTEGER PRIMARY KEY,"
    " reason TEXT NOT NULL,"
    " destination TEXT NOT NULL," COLUMNS,
#define MT_FIELD(symbol, name, ...) ", " #name " INTEGER CHECK(" #name MT_SQLITE_IN_RANGE ")",
#include "record/field.def"
#undef MT_FIELD
    ") STRICT;"
    "CREATE TABLE counter("
    " one INTEGER PRIMARY KEY CHECK(one = 1),"
    " dropped INTEGER NOT NULL CHECK(dropped >= 0)) STRICT;"
    "INSERT INTO counter VALUES(1, 0);",
    NULL,
};

static const char put_sql[] = "INSERT INTO waiting(destination,host,timestamp,boot_id"
#define MT_FIELD(symbol, name, ...) "," #name
#include "record/field.def"
#undef MT_FIELD
                              ") VALUES(?,?,?,?"
#define MT_FIELD(...) ",?"
#include "record/field.def"
#undef MT_FIELD
                              ")";

static const char oldest_sql[] = "SELECT id,host,timestamp,boot_id"
#define MT_FIELD(symbol, name, ...) "," #name
#include "record/field.def"
#undef MT_FIELD
                                 " FROM waiting INDEXED BY waiting_by_destination"
                                 " WHERE destination = ?1 ORDER BY id LIMIT ?2";

static const char set_aside_sql[] =
    "INSERT INTO rejected(id,reason,destination,host,timestamp,boot_id"
#define MT_FIELD(symbol, name, ...) "," #name
#include "record/field.def"
#undef MT_FIELD
    ") SELECT id,?2,destination,host,timestamp,boot_id"
#define MT_FIELD(symbol, name, ...) "," #name
#include "record/field.def"
#undef MT_FIELD
    " FROM waiting WHERE id = ?1";

enum { FIRST_FIELD = 4 }; /* column of the first field; parameters count from 1 */

static const char *const field_tables[] = {"waiting", "rejected", NULL};

static const struct mt_sqlite_kind kind = {
    .what = "outbox",
    .maker = "memory-sampler",
    .application_id = 0x4D545350, /* "MTSP" */
    .version = 1,
    .create = create_sql,
    .field_tables = field_tables,
};

struct mt_spool {
    struct mt_sqlite file;
};

/* Records on their way out, with the rows they came from. */
struct batch {
    size_t count;
    int64_t ids[DELIVER_BATCH];
    struct mt_record records[DELIVER_BATCH];
    struct mt_outcome outcomes[DELIVER_BATCH];
};

bool mt_spool_exists(const char *path)
{
    struct stat status;

    return stat(path, &status) == 0;
}

enum mt_err mt_spool_open(const char *path, int busy_wait_ms, struct mt_spool **spool,
                          struct mt_error *error)
{
    struct mt_spool *made = calloc(1, sizeof *made);
    enum mt_err err;

    if (made == NULL)
        return mt_error_set(error, MT_ERR_NO_MEMORY, "outbox %s: out of memory", path);
    err = mt_sqlite_open(&made->file, &kind, path, false, busy_wait_ms, error);
    if (err != MT_OK)
        free(made);
    else
        *spool = made;
    return err;
}

void mt_spool_close(struct mt_spool *spool)
{
    if (spool == NULL)
        return;
    mt_sqlite_close(&spool->file);
    free(spool);
}

/* one number of a statement, in which ?1 is the destination */
static enum mt_err read_number(struct mt_spool *spool, const char *sql, const char *destination,
                               int64_t *value, struct mt_error *error)
{
    sqlite3_stmt *statement = NULL;
    int result;
    enum mt_err err = mt_sqlite_statement(&spool->file, sql, &statement, error);

    if (err != MT_OK)
        return err;
    (void)sqlite3_bind_text(statement, 1, destination, -1, SQLITE_STATIC);
    result = sqlite3_step(statement);
    if (result == SQLITE_ROW)
        *value = sqlite3_column_int64(statement, 0);
    else
        err = mt_sqlite_fail(&spool->file, result, "read", error);
    (void)sqlite3_reset(statement);
    return err;
}

static enum mt_err insert(struct mt_spool *spool, const char *destination,
                          const struct mt_record *record, struct mt_error *error)
{
    sqlite3_stmt *statement = NULL;
    enum mt_err err = mt_sqlite_statement(&spool->file, put_sql, &statement, error);

    if (err != MT_OK)
        return err;
    (void)sqlite3_bind_text(statement, 1, destination, -1, SQLITE_STATIC);
    (void)sqlite3_bind_text(statement, 2, record->host, -1, SQLITE_STATIC);
    (void)sqlite3_bind_int64(statement, 3, record->timestamp);
    if (record->has_boot_id)
        (void)sqlite3_bind_blob(statement, 4, record->boot_id, MT_BOOT_ID_SIZE, SQLITE_STATIC);
    for (enum mt_field i = 0; i < MT_FIELD_COUNT; i++)
        if ((record->present & MT_FIELD_BIT(i)) != 0)
            (void)sqlite3_bind_int64(statement, FIRST_FIELD + 1 + (int)i, record->value[i]);
    return mt_sqlite_run(&spool->file, statement, error);
}

/* takes the record, or counts it as dropped: *dropped then is how many were, else 0 */
static enum mt_err put_locked(struct mt_spool *spool, const char *destination,
                              const struct mt_record *record, int64_t limit, int64_t *dropped,
                              struct mt_error *error)
{
    int64_t waiting = 0;
    enum mt_err err = read_number(spool, "SELECT count(*) FROM waiting", NULL, &waiting, error);

    if (err != MT_OK)
        return err;
    if (waiting >= limit)
        return read_number(spool,
                           "UPDATE counter SET dropped = dropped + 1 WHERE ?1 IS ?1"
                           " RETURNING dropped",
                           NULL, dropped, error);
    return insert(spool, destination, record, error);
}

enum mt_err mt_spool_put(struct mt_spool *spool, const char *destination,
                         const struct mt_record *record, int64_t limit, struct mt_error *error)
{
    int64_t dropped = 0;
    sqlite3_stmt *statement = NULL;
    enum mt_err err = mt_record_check(record, error);

    if (err == MT_OK)
        err = mt_sqlite_look(&spool->file, error);
    /* before the transaction, since preparing it may have to add a column */
    if (err == MT_OK)
        err = mt_sqlite_statement(&spool->file, put_sql, &statement, error);
    if (err == MT_OK)
        err = mt_sqlite_begin(&spool->file, error);
    if (err != MT_OK)
        return err;
    err = put_locked(spool, destination, record, limit, &dropped, error);
    if (err == MT_OK)
        err = mt_sqlite_commit(&spool->file, error);
    else
        mt_sqlite_rollback(&spool->file);
    if (err == MT_OK && dropped > 0)
        return mt_error_set(error, MT_ERR_FULL,
                            "outbox %s: holds %" PRId64 " records, as many as it may; dropped so "
                            "far: %" PRId64 "; make the store %s reachable again",
                            spool->file.path, limit, dropped, destination);
    return err;
}

enum mt_err mt_spool_status(struct mt_spool *spool, const char *destination,
                            struct mt_spool_status *status, struct mt_error *error)
{
    struct mt_spool_status read = {0};
    const struct {
        const char *sql;
        int64_t *value;
    } numbers[] = {
        {"SELECT count(*) FROM waiting WHERE ?1 IS NULL OR destination = ?1", &read.waiting},
        {"SELECT count(*) FROM waiting WHERE destination != ?1", &read.elsewhere},
        {"SELECT count(*) FROM rejected WHERE ?1 IS NULL OR destination = ?1", &read.rejected},
        {"SELECT dropped FROM counter WHERE ?1 IS ?1", &read.dropped},
        {"SELECT ifnull(min(timestamp), 0) FROM waiting WHERE ?1 IS NULL OR destination = ?1",
         &read.oldest},
    };
    enum mt_err err = mt_sqlite_look(&spool->file, error);

    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0] && err == MT_OK; i++)
        err = read_number(spool, numbers[i].sql, destination, numbers[i].value, error);
    if (err == MT_OK)
        *status = read;
    return err;
}

static void read_record(sqlite3_stmt *statement, struct mt_record *record)
{
    *record = (struct mt_record){.timestamp = sqlite3_column_int64(statement, 2)};
    (void)snprintf(record->host, sizeof record->host, "%s",
                   (const char *)sqlite3_column_text(statement, 1));
    if (sqlite3_column_bytes(statement, 3) == MT_BOOT_ID_SIZE) {
        record->has_boot_id = true;
        memcpy(record->boot_id, sqlite3_column_blob(statement, 3), MT_BOOT_ID_SIZE);
    }
    for (enum mt_field i = 0; i < MT_FIELD_COUNT; i++)
        if (sqlite3_column_type(statement, FIRST_FIELD + (int)i) != SQLITE_NULL)
            mt_record_set(record, i, sqlite3_column_int64(statement, FIRST_FIELD + (int)i));
}

static enum mt_err read_batch(struct mt_spool *spool, const char *destination, struct batch *batch,
                              struct mt_error *error)
{
    sqlite3_stmt *statement = NULL;
    int result = SQLITE_DONE;
    enum mt_err err = mt_sqlite_statement(&spool->file, oldest_sql, &statement, error);

    batch->count = 0;
    if (err != MT_OK)
        return err;
    (void)sqlite3_bind_text(statement, 1, destination, -1, SQLITE_STATIC);
    (void)sqlite3_bind_int64(statement, 2, DELIVER_BATCH);
    while (batch->count < DELIVER_BATCH && (result = sqlite3_step(statement)) == SQLITE_ROW) {
        batch->ids[batch->count] = sqlite3_column_int64(statement, 0);
        read_record(statement, &batch->records[batch->count]);
        batch->count++;
    }
    if (result != SQLITE_ROW && result != SQLITE_DONE)
        err = mt_sqlite_fail(&spool->file, result, "read", error);
    (void)sqlite3_reset(statement);
    return err;
}

/* one row leaves the outbox; what was refused is set aside first */
static enum mt_err remove_row(struct mt_spool *spool, int64_t id, const struct mt_outcome *outcome,
                              struct mt_error *error)
{
    sqlite3_stmt *statement = NULL;
    enum mt_err err = MT_OK;

    if (outcome->verdict == MT_VERDICT_REJECTED || outcome->verdict == MT_VERDICT_CONFLICT) {
        err = mt_sqlite_statement(&spool->file, set_aside_sql, &statement, error);
        if (err != MT_OK)
            return err;
        (void)sqlite3_bind_int64(statement, 1, id);
        (void)sqlite3_bind_text(statement, 2, outcome->text, -1, SQLITE_STATIC);
        err = mt_sqlite_run(&spool->file, statement, error);
    }
    if (err == MT_OK)
        err = mt_sqlite_statement(&spool->file, "DELETE FROM waiting WHERE id = ?1", &statement,
                                  error);
    if (err != MT_OK)
        return err;
    (void)sqlite3_bind_int64(statement, 1, id);
    return mt_sqlite_run(&spool->file, statement, error);
}

static enum mt_err bound_rejected(struct mt_spool *spool, struct mt_error *error)
{
    char sql[256];

    (void)snprintf(sql, sizeof sql,
                   "DELETE FROM rejected WHERE id <= (SELECT id FROM rejected ORDER BY id DESC"
                   " LIMIT 1 OFFSET %d);"
                   "UPDATE counter SET dropped = dropped + changes() WHERE changes() > 0",
                   REJECTED_MOST);
    return mt_sqlite_exec(&spool->file, sql, error);
}

static enum mt_err remove_batch(struct mt_spool *spool, const struct batch *batch,
                                struct mt_error *error)
{
    enum mt_err err = mt_sqlite_begin(&spool->file, error);

    if (err != MT_OK)
        return err;
    for (size_t i = 0; i < batch->count && err == MT_OK; i++)
        err = remove_row(spool, batch->ids[i], &batch->outcomes[i], error);
    if (err == MT_OK)
        err = bound_rejected(spool, error);
    if (err == MT_OK)
        return mt_sqlite_commit(&spool->file, error);
    mt_sqlite_rollback(&spool->file);
    return err;
}

static enum mt_err deliver_batch(struct mt_spool *spool, struct mt_store *store,
                                 struct batch *batch, int64_t *delivered, struct mt_error *error)
{
    enum mt_err err = mt_store_append(store, batch->records, batch->count, MT_CONFLICT_MOVE,
                                      batch->outcomes, error);

    if (err == MT_OK)
        err = remove_batch(spool, batch, error);
    for (size_t i = 0; i < batch->count && err == MT_OK; i++)
        if (batch->outcomes[i].verdict != MT_VERDICT_REJECTED &&
            batch->outcomes[i].verdict != MT_VERDICT_CONFLICT)
            ++*delivered;
    return err;
}

enum mt_err mt_spool_deliver(struct mt_spool *spool, const char *destination,
                             struct mt_store *store, int64_t deadline_ms, int64_t *delivered,
                             struct mt_error *error)
{
    struct batch *batch = calloc(1, sizeof *batch);
    enum mt_err err;

    *delivered = 0;
    if (batch == NULL)
        return mt_error_set(error, MT_ERR_NO_MEMORY, "outbox %s: out of memory", spool->file.path);
    err = mt_sqlite_look(&spool->file, error);
    while (err == MT_OK && mt_clock_monotonic_ms() < deadline_ms) {
        err = read_batch(spool, destination, batch, error);
        if (err != MT_OK || batch->count == 0)
            break;
        err = deliver_batch(spool, store, batch, delivered, error);
    }
    /* what an outage made large shrinks again */
    if (err == MT_OK && *delivered > 0)
        err = mt_sqlite_exec(&spool->file, "PRAGMA incremental_vacuum", error);
    free(batch);
    return err;
}
