#include <time.h>

#include "base/clock.h"
#include "store/sqlite_verify.h"

enum { COPY_PAGES = 256 }; /* copied under one lock */

/* copies the file in short steps; a writer in between makes the engine begin again */
static enum mt_err copy(struct mt_sqlite_verify *verify, sqlite3 *copied, struct mt_error *error)
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
    while (restarts < MT_SQLITE_VERIFY_TRIES) {
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
    if (restarts == MT_SQLITE_VERIFY_TRIES)
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

static enum mt_err check_copy(struct mt_sqlite_verify *verify, sqlite3 *copied,
                              struct mt_error *error)
{
    static const char *const checks[] = {"PRAGMA integrity_check", "PRAGMA foreign_key_check"};

    for (size_t i = 0; i < sizeof checks / sizeof checks[0]; i++) {
        sqlite3_stmt *statement = NULL;
        int result = sqlite3_prepare_v2(copied, checks[i], -1, &statement, NULL);

        mt_sqlite_begin_telling(verify, false);
        while (result == SQLITE_OK || result == SQLITE_ROW) {
            result = sqlite3_step(statement);
            if (result != SQLITE_ROW)
                break;
            if (i == 1)
                mt_sqlite_tell(verify,
                               "foreign keys: row %lld of table %s names a row that does not exist",
                               (long long)sqlite3_column_int64(statement, 1),
                               (const char *)sqlite3_column_text(statement, 0));
            else if (sqlite3_stricmp((const char *)sqlite3_column_text(statement, 0), "ok") != 0)
                mt_sqlite_tell(verify, "integrity: %s",
                               (const char *)sqlite3_column_text(statement, 0));
        }
        (void)sqlite3_finalize(statement);
        if (result == SQLITE_CORRUPT || (result & 0xFF) == SQLITE_NOTADB)
            mt_sqlite_tell(verify, "integrity: %s", sqlite3_errmsg(copied));
        else if (result != SQLITE_DONE)
            return mt_error_set(error, MT_ERR_FAILED, "store %s: verify: %s",
                                verify->store->file.path, sqlite3_errmsg(copied));
    }
    return MT_OK;
}

enum mt_err mt_sqlite_verify_copy(struct mt_sqlite_verify *verify, struct mt_error *error)
{
    sqlite3 *copied = NULL;
    enum mt_err err = MT_OK;

    /* no name: a file that only this handle sees and that goes with it */
    if (sqlite3_open_v2("", &copied, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, NULL) != SQLITE_OK)
        err = mt_error_set(error, MT_ERR_NO_MEMORY, "store %s: verify: out of memory",
                           verify->store->file.path);
    if (err == MT_OK)
        err = mt_sqlite_tell_damage(verify, copy(verify, copied, error), error, "the file");
    if (err == MT_OK)
        err = check_copy(verify, copied, error);
    (void)sqlite3_close(copied);
    return mt_sqlite_report(verify, err, error);
}
