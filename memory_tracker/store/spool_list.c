#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "store/spool_file.h"

static const char places_sql[] =
    "SELECT destination, sum(waits), sum(1 - waits), ifnull(min(timestamp) FILTER (WHERE waits), "
    "0), ifnull(max(timestamp) FILTER (WHERE waits), 0)"
    " FROM (SELECT destination, timestamp, 1 AS waits FROM waiting"
    " UNION ALL SELECT destination, timestamp, 0 FROM rejected)"
    " GROUP BY destination ORDER BY destination";

static const char rejects_sql[] =
    "SELECT id, destination, host, timestamp, reason FROM rejected ORDER BY id";

static const char retry_sql[] = "INSERT INTO waiting(id,destination,host,timestamp,boot_id"
#define MT_FIELD(symbol, name, ...) "," #name
#include "record/field.def"
#undef MT_FIELD
                                ") SELECT id,destination,host,timestamp,boot_id"
#define MT_FIELD(symbol, name, ...) "," #name
#include "record/field.def"
#undef MT_FIELD
                                " FROM rejected";

static const char discard_sql[] = "DELETE FROM rejected";

static const char readdress_sql[] = "UPDATE waiting SET destination = ?2 WHERE destination = ?1";

static const char *text_of(sqlite3_stmt *statement, int column)
{
    const char *text = (const char *)sqlite3_column_text(statement, column);

    return text == NULL ? "" : text;
}

static enum mt_err emit_place(sqlite3_stmt *statement, mt_emit_place *emit, void *context,
                              struct mt_error *error)
{
    struct mt_spool_place place = {
        .destination = text_of(statement, 0),
        .waiting = sqlite3_column_int64(statement, 1),
        .set_aside = sqlite3_column_int64(statement, 2),
        .oldest = sqlite3_column_int64(statement, 3),
        .newest = sqlite3_column_int64(statement, 4),
    };

    return emit(context, &place, error);
}

static enum mt_err emit_reject(sqlite3_stmt *statement, mt_emit_reject *emit, void *context,
                               struct mt_error *error)
{
    struct mt_spool_reject reject = {
        .id = sqlite3_column_int64(statement, 0),
        .destination = text_of(statement, 1),
        .host = text_of(statement, 2),
        .timestamp = sqlite3_column_int64(statement, 3),
        .reason = text_of(statement, 4),
    };

    return emit(context, &reject, error);
}

enum mt_err mt_spool_places(struct mt_spool *spool, mt_emit_place *emit, void *context,
                            struct mt_error *error)
{
    sqlite3_stmt *statement = NULL;
    int result = SQLITE_DONE;
    enum mt_err err = mt_sqlite_look(&spool->file, error);

    if (err == MT_OK)
        err = mt_sqlite_statement(&spool->file, places_sql, &statement, error);
    while (err == MT_OK && (result = sqlite3_step(statement)) == SQLITE_ROW)
        err = emit_place(statement, emit, context, error);
    if (err == MT_OK && result != SQLITE_DONE)
        err = mt_sqlite_fail(&spool->file, result, "read", error);
    if (statement != NULL)
        (void)sqlite3_reset(statement);
    return err;
}

struct others {
    const char *destination;
    char *text;
    size_t size, length;
    char example[512]; /* one of them */
    int64_t count;
};

static enum mt_err add_other(void *context, const struct mt_spool_place *place,
                             struct mt_error *error)
{
    struct others *others = context;
    int written;

    (void)error;
    if (place->waiting == 0 || strcmp(place->destination, others->destination) == 0)
        return MT_OK;
    if (others->count++ == 0)
        (void)snprintf(others->example, sizeof others->example, "%s", place->destination);
    if (others->length >= others->size)
        return MT_OK;
    written = snprintf(others->text + others->length, others->size - others->length,
                       "%s%" PRId64 " waiting for %s", others->length == 0 ? "" : ", ",
                       place->waiting, place->destination);
    others->length += written > 0 ? (size_t)written : 0;
    return MT_OK;
}

enum mt_err mt_spool_tell_others(struct mt_spool *spool, const char *destination, char *text,
                                 size_t size, struct mt_error *error)
{
    struct others others = {.destination = destination, .text = text, .size = size};
    enum mt_err err;

    text[0] = '\0';
    err = mt_spool_places(spool, add_other, &others, error);
    if (err == MT_OK && others.count > 0 && others.length < size)
        (void)snprintf(text + others.length, size - others.length,
                       ", not for the store in use; `memory-tracker spool flush --from '%s'` sends "
                       "them to it",
                       others.example);
    return err;
}

enum mt_err mt_spool_rejects(struct mt_spool *spool, mt_emit_reject *emit, void *context,
                             struct mt_error *error)
{
    sqlite3_stmt *statement = NULL;
    int result = SQLITE_DONE;
    enum mt_err err = mt_sqlite_look(&spool->file, error);

    if (err == MT_OK)
        err = mt_sqlite_statement(&spool->file, rejects_sql, &statement, error);
    while (err == MT_OK && (result = sqlite3_step(statement)) == SQLITE_ROW)
        err = emit_reject(statement, emit, context, error);
    if (err == MT_OK && result != SQLITE_DONE)
        err = mt_sqlite_fail(&spool->file, result, "read", error);
    if (statement != NULL)
        (void)sqlite3_reset(statement);
    return err;
}

/* runs a statement of up to two texts in the open transaction; *count: the rows that it changed */
static enum mt_err change(struct mt_spool *spool, const char *sql, const char *first,
                          const char *second, int64_t *count, struct mt_error *error)
{
    sqlite3_stmt *statement = NULL;
    enum mt_err err = mt_sqlite_statement(&spool->file, sql, &statement, error);

    if (err != MT_OK)
        return err;
    if (first != NULL)
        (void)sqlite3_bind_text(statement, 1, first, -1, SQLITE_STATIC);
    if (second != NULL)
        (void)sqlite3_bind_text(statement, 2, second, -1, SQLITE_STATIC);
    err = mt_sqlite_run(&spool->file, statement, error);
    if (err == MT_OK)
        *count = sqlite3_changes64(spool->file.db);
    return err;
}

/* ends the transaction; a failure takes everything back */
static enum mt_err end(struct mt_spool *spool, enum mt_err err, struct mt_error *error)
{
    if (err == MT_OK)
        return mt_sqlite_commit(&spool->file, error);
    mt_sqlite_rollback(&spool->file);
    return err;
}

/* sql is prepared before the transaction, since that may have to add a column */
static enum mt_err begin(struct mt_spool *spool, const char *sql, struct mt_error *error)
{
    sqlite3_stmt *statement = NULL;
    enum mt_err err = mt_sqlite_look(&spool->file, error);

    if (err == MT_OK)
        err = mt_sqlite_statement(&spool->file, sql, &statement, error);
    return err == MT_OK ? mt_sqlite_begin(&spool->file, error) : err;
}

enum mt_err mt_spool_retry(struct mt_spool *spool, int64_t *count, struct mt_error *error)
{
    int64_t moved = 0;
    int64_t removed = 0;
    enum mt_err err = begin(spool, retry_sql, error);

    if (err != MT_OK)
        return err;
    /* its id was never given to another record, so the place in the order is still free */
    err = change(spool, retry_sql, NULL, NULL, &moved, error);
    if (err == MT_OK)
        err = change(spool, discard_sql, NULL, NULL, &removed, error);
    err = end(spool, err, error);
    if (err == MT_OK)
        *count = moved;
    return err;
}

enum mt_err mt_spool_discard(struct mt_spool *spool, int64_t *count, struct mt_error *error)
{
    int64_t removed = 0;
    enum mt_err err = begin(spool, discard_sql, error);

    if (err != MT_OK)
        return err;
    err = end(spool, change(spool, discard_sql, NULL, NULL, &removed, error), error);
    if (err == MT_OK)
        *count = removed;
    return err;
}

enum mt_err mt_spool_readdress(struct mt_spool *spool, const char *from, const char *to,
                               int64_t *count, struct mt_error *error)
{
    int64_t moved = 0;
    enum mt_err err = begin(spool, readdress_sql, error);

    if (err != MT_OK)
        return err;
    err = end(spool, change(spool, readdress_sql, from, to, &moved, error), error);
    if (err == MT_OK)
        *count = moved;
    return err;
}
