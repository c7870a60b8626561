#include "store/spool.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "store/spool_file.h"

#define COLUMNS                                                                                    \
    " host TEXT NOT NULL,"                                                                         \
    " timestamp INTEGER NOT NULL,"                                                                 \
    " boot_id BLOB CHECK(length(boot_id) = 16)"

static const char *const create_sql[] = {
    "CREATE TABLE waiting("
    " id INTEGER PRIMARY KEY AUTOINCREMENT,"
    " destination TEXT NOT NULL," COLUMNS,
#define MT_FIELD(symbol, name, ...) ", " #name " INTEGER",
#include "record/field.def"
#undef MT_FIELD
    ") STRICT;"
    "CREATE INDEX waiting_by_destination ON waiting(destination, id);"
    "CREATE TABLE rejected("
    " id INTEGER PRIMARY KEY,"
    " reason TEXT NOT NULL,"
    " destination TEXT NOT NULL," COLUMNS,
#define MT_FIELD(symbol, name, ...) ", " #name " INTEGER",
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

static const char count_sql[] = "SELECT count(*) FROM waiting";

static const char *const field_tables[] = {"waiting", "rejected", NULL};

static const struct mt_sqlite_kind kind = {
    .what = "outbox",
    .maker = "memory-sampler",
    .application_id = 0x4D545350, /* "MTSP" */
    .version = 1,
    .create = create_sql,
    .field_tables = field_tables,
};

bool mt_spool_exists(const char *path)
{
    struct stat status;

    return stat(path, &status) == 0;
}

bool mt_spool_is_missing(const char *path)
{
    struct stat status;

    return stat(path, &status) != 0 && (errno == ENOENT || errno == ENOTDIR);
}

static enum mt_err open_file(const char *path, bool read_only, int busy_wait_ms,
                             struct mt_spool **spool, struct mt_error *error)
{
    struct mt_spool *made = calloc(1, sizeof *made);
    enum mt_err err;

    if (made == NULL)
        return mt_error_set(error, MT_ERR_NO_MEMORY, "outbox %s: out of memory", path);
    err = mt_sqlite_open(&made->file, &kind, path, read_only, busy_wait_ms, error);
    if (err != MT_OK)
        free(made);
    else
        *spool = made;
    return err;
}

enum mt_err mt_spool_open(const char *path, int busy_wait_ms, struct mt_spool **spool,
                          struct mt_error *error)
{
    return open_file(path, false, busy_wait_ms, spool, error);
}

enum mt_err mt_spool_open_reader(const char *path, int busy_wait_ms, struct mt_spool **spool,
                                 struct mt_error *error)
{
    return open_file(path, true, busy_wait_ms, spool, error);
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
            (void)sqlite3_bind_int64(statement, SPOOL_FIRST_FIELD + 1 + (int)i, record->value[i]);
    return mt_sqlite_run(&spool->file, statement, error);
}

/* takes the record, or counts it as dropped: *dropped then is how many were, else 0 */
static enum mt_err put_locked(struct mt_spool *spool, const char *destination,
                              const struct mt_record *record, int64_t limit, int64_t *dropped,
                              struct mt_error *error)
{
    int64_t waiting = 0;
    enum mt_err err = read_number(spool, count_sql, NULL, &waiting, error);

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
        return mt_error_set(error, MT_ERR_OUTBOX_FULL,
                            "outbox %s: holds %" PRId64 " records, as many as it may; dropped so "
                            "far: %" PRId64 "; make the store %s reachable again",
                            spool->file.path, limit, dropped, destination);
    return err;
}

enum mt_err mt_spool_count(struct mt_spool *spool, int64_t *waiting, struct mt_error *error)
{
    enum mt_err err = mt_sqlite_look(&spool->file, error);

    return err == MT_OK ? read_number(spool, count_sql, NULL, waiting, error) : err;
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
