#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "record/record.h"
#include "store/sqlite_file.h"

/* one number from a statement, without the cache: the schema may be just about to change */
static enum mt_err read_number(struct mt_sqlite *file, const char *sql, int64_t *value,
                               struct mt_error *error)
{
    sqlite3_stmt *statement = NULL;
    int result = sqlite3_prepare_v2(file->db, sql, -1, &statement, NULL);
    enum mt_err err = MT_OK;

    if (result == SQLITE_OK)
        result = sqlite3_step(statement);
    if (result == SQLITE_ROW)
        *value = sqlite3_column_int64(statement, 0);
    else
        err = mt_sqlite_fail(file, result, "open", error);
    (void)sqlite3_finalize(statement);
    return err;
}

enum mt_err mt_sqlite_missing_fields(struct mt_sqlite *file, const char *table, uint64_t *missing,
                                     struct mt_error *error)
{
    sqlite3_stmt *statement = NULL;
    uint64_t lacking = MT_FIELD_ALL;
    int result = sqlite3_prepare_v2(file->db, "SELECT name FROM pragma_table_info(?1)", -1,
                                    &statement, NULL);
    enum mt_field field;

    if (result == SQLITE_OK)
        result = sqlite3_bind_text(statement, 1, table, -1, SQLITE_STATIC);
    while (result == SQLITE_OK || result == SQLITE_ROW) {
        result = sqlite3_step(statement);
        if (result == SQLITE_ROW &&
            mt_field_find((const char *)sqlite3_column_text(statement, 0),
                          (size_t)sqlite3_column_bytes(statement, 0), &field))
            lacking &= ~MT_FIELD_BIT(field);
    }
    (void)sqlite3_finalize(statement);
    if (result != SQLITE_DONE)
        return mt_sqlite_fail(file, result, "open", error);
    *missing = lacking;
    return MT_OK;
}

static enum mt_err add_missing_fields(struct mt_sqlite *file, struct mt_error *error)
{
    enum mt_err err = MT_OK;

    for (const char *const *table = file->kind->field_tables; *table != NULL && err == MT_OK;
         table++) {
        uint64_t missing = 0;

        err = mt_sqlite_missing_fields(file, *table, &missing, error);
        for (enum mt_field i = 0; i < MT_FIELD_COUNT && err == MT_OK; i++) {
            const char *name = mt_field_info(i)->name;
            char sql[256];

            if ((missing & MT_FIELD_BIT(i)) == 0)
                continue;
            (void)snprintf(sql, sizeof sql, "ALTER TABLE %s ADD COLUMN %s INTEGER", *table, name);
            err = mt_sqlite_exec(file, sql, error);
        }
    }
    return err;
}

static enum mt_err create(struct mt_sqlite *file, struct mt_error *error)
{
    struct mt_buf sql;
    enum mt_err err;

    mt_buf_init(&sql, 0);
    for (const char *const *piece = file->kind->create; *piece != NULL; piece++)
        mt_buf_append_string(&sql, *piece);
    mt_buf_printf(&sql, "PRAGMA application_id=%d; PRAGMA user_version=%d",
                  file->kind->application_id, file->kind->version);
    err = mt_buf_string(&sql) == NULL
              ? mt_error_set(error, MT_ERR_NO_MEMORY, "%s: out of memory", file->path)
              : mt_sqlite_exec(file, mt_buf_string(&sql), error);
    mt_buf_fini(&sql);
    return err;
}

/* only makes what is new, so that it is quick on a file of any size */
static enum mt_err migrate(struct mt_sqlite *file, int64_t version, struct mt_error *error)
{
    enum mt_err err = MT_OK;
    char sql[64];

    for (; version < file->kind->version && err == MT_OK; version++)
        for (const char *const *piece = file->kind->migrate[version - 1];
             *piece != NULL && err == MT_OK; piece++)
            err = mt_sqlite_exec(file, *piece, error);
    if (err != MT_OK)
        return err;
    (void)snprintf(sql, sizeof sql, "PRAGMA user_version=%d", file->kind->version);
    return mt_sqlite_exec(file, sql, error);
}

static enum mt_err refuse_other(struct mt_sqlite *file, struct mt_error *error)
{
    int64_t has_log = 0;
    enum mt_err err = read_number(
        file, "SELECT count(*) FROM sqlite_schema WHERE name = 'memory_log' AND type = 'table'",
        &has_log, error);

    if (err != MT_OK)
        return err;
    return mt_error_set(
        error, MT_ERR_NOT_DATABASE,
        "%s %s: is an SQLite database of another program%s; it was left as it is; "
        "name another file%s",
        file->kind->what, file->path, has_log != 0 ? ", with a table memory_log" : "",
        has_log != 0 ? " and take its records over with: memory-tracker import" : "");
}

static enum mt_err upgrade_locked(struct mt_sqlite *file, struct mt_error *error)
{
    int64_t application_id = 0;
    int64_t version = 0;
    int64_t entries = 0;
    enum mt_err err = read_number(file, "PRAGMA application_id", &application_id, error);

    if (err == MT_OK)
        err = read_number(file, "PRAGMA user_version", &version, error);
    if (err == MT_OK)
        err = read_number(file, "SELECT count(*) FROM sqlite_schema", &entries, error);
    if (err != MT_OK)
        return err;
    if (application_id == 0 && version == 0 && entries == 0) {
        if (file->read_only)
            return mt_error_set(error, MT_ERR_MISSING, "%s %s: is still empty; %s fills it",
                                file->kind->what, file->path, file->kind->maker);
        return create(file, error);
    }
    if (application_id != file->kind->application_id)
        return refuse_other(file, error);
    if (version > file->kind->version)
        return mt_error_set(error, MT_ERR_NEWER_SCHEMA,
                            "%s %s: has schema version %" PRId64 ", this program knows %d; use "
                            "the newer Memory Tracker that wrote it",
                            file->kind->what, file->path, version, file->kind->version);
    if (file->read_only)
        return MT_OK;
    if (version < 1)
        return refuse_other(file, error);
    if (version < file->kind->version)
        err = migrate(file, version, error);
    return err == MT_OK ? add_missing_fields(file, error) : err;
}

enum mt_err mt_sqlite_upgrade(struct mt_sqlite *file, struct mt_error *error)
{
    int64_t pages = 0;
    enum mt_err err;

    if (file->read_only)
        return upgrade_locked(file, error);
    /* heard only before the first table; afterwards it would write to a file that is not ours */
    err = read_number(file, "PRAGMA page_count", &pages, error);
    if (err == MT_OK && pages == 0)
        err = mt_sqlite_exec(file, "PRAGMA auto_vacuum=INCREMENTAL", error);
    if (err == MT_OK)
        err = mt_sqlite_begin(file, error);
    if (err != MT_OK)
        return err;
    err = upgrade_locked(file, error);
    if (err == MT_OK)
        err = mt_sqlite_commit(file, error);
    else
        mt_sqlite_rollback(file);
    /* a migration that failed may have left it on */
    if (err != MT_OK)
        (void)sqlite3_db_config(file->db, SQLITE_DBCONFIG_WRITABLE_SCHEMA, 0, NULL);
    return err;
}
