#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "store/sqlite_file.h"

static enum mt_err prepare(struct mt_sqlite *file, const char *sql, sqlite3_stmt **statement,
                           struct mt_error *error)
{
    int result = sqlite3_prepare_v3(file->db, sql, -1, SQLITE_PREPARE_PERSISTENT, statement, NULL);
    enum mt_err err;

    /* a table or a column is missing: made, unless a transaction is under way already */
    if (result == SQLITE_ERROR && !file->read_only && sqlite3_get_autocommit(file->db) != 0) {
        err = mt_sqlite_upgrade(file, error);
        if (err != MT_OK)
            return err;
        result = sqlite3_prepare_v3(file->db, sql, -1, SQLITE_PREPARE_PERSISTENT, statement, NULL);
    }
    return result == SQLITE_OK ? MT_OK : mt_sqlite_fail(file, result, "read", error);
}

enum mt_err mt_sqlite_statement(struct mt_sqlite *file, const char *sql, sqlite3_stmt **statement,
                                struct mt_error *error)
{
    size_t oldest = 0;
    sqlite3_stmt *made = NULL;
    char *copy;
    enum mt_err err;

    for (size_t i = 0; i < MT_SQLITE_STATEMENTS; i++) {
        if (file->cache[i].sql != NULL && strcmp(file->cache[i].sql, sql) == 0) {
            file->cache[i].used = ++file->uses;
            (void)sqlite3_reset(file->cache[i].statement);
            (void)sqlite3_clear_bindings(file->cache[i].statement);
            *statement = file->cache[i].statement;
            return MT_OK;
        }
        if (file->cache[i].used < file->cache[oldest].used)
            oldest = i;
    }
    err = prepare(file, sql, &made, error);
    if (err != MT_OK)
        return err;
    copy = strdup(sql);
    if (copy == NULL) {
        (void)sqlite3_finalize(made);
        return mt_error_set(error, MT_ERR_NO_MEMORY, "%s: out of memory", file->path);
    }
    (void)sqlite3_finalize(file->cache[oldest].statement);
    free(file->cache[oldest].sql);
    file->cache[oldest].sql = copy;
    file->cache[oldest].statement = made;
    file->cache[oldest].used = ++file->uses;
    *statement = made;
    return MT_OK;
}

enum mt_err mt_sqlite_run(struct mt_sqlite *file, sqlite3_stmt *statement, struct mt_error *error)
{
    int result = sqlite3_step(statement);
    enum mt_err err = result == SQLITE_DONE || result == SQLITE_ROW
                          ? MT_OK
                          : mt_sqlite_fail(file, result, "write", error);

    (void)sqlite3_reset(statement);
    return err;
}

enum mt_err mt_sqlite_exec(struct mt_sqlite *file, const char *sql, struct mt_error *error)
{
    int result = sqlite3_exec(file->db, sql, NULL, NULL, NULL);

    return result == SQLITE_OK ? MT_OK : mt_sqlite_fail(file, result, "write", error);
}

enum mt_err mt_sqlite_begin(struct mt_sqlite *file, struct mt_error *error)
{
    enum mt_err err;

    file->busy_until_ms = mt_clock_monotonic_ms() + file->busy_wait_ms;
    file->busy_shared = true;
    err = mt_sqlite_exec(file, "BEGIN IMMEDIATE", error);
    file->busy_shared = err == MT_OK;
    return err;
}

enum mt_err mt_sqlite_commit(struct mt_sqlite *file, struct mt_error *error)
{
    enum mt_err err = mt_sqlite_exec(file, "COMMIT", error);

    if (err != MT_OK)
        mt_sqlite_rollback(file);
    file->busy_shared = false;
    return err;
}

void mt_sqlite_rollback(struct mt_sqlite *file)
{
    /* the engine may have rolled back by itself; a hot journal that stays is the next opener's */
    if (file->db != NULL && sqlite3_get_autocommit(file->db) == 0)
        (void)sqlite3_exec(file->db, "ROLLBACK", NULL, NULL, NULL);
    file->busy_shared = false;
}
