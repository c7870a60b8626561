#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "store/sqlite_file.h"

struct row {
    int result;    /* an extended result code, or a primary one for the rest of its family */
    int sys_errno; /* 0: any */
    enum mt_err code;
    const char *text; /* what is wrong, and what to do */
};

/* the first row that fits */
static const struct row rows[] = {
    {SQLITE_FULL, 0, MT_ERR_FULL, "the disk is full; free some space"},
    {SQLITE_IOERR, ENOSPC, MT_ERR_FULL, "the disk is full; free some space"},
    {SQLITE_IOERR, EDQUOT, MT_ERR_FULL, "the disk quota is used up; free some space"},
    {SQLITE_CANTOPEN, ENOSPC, MT_ERR_FULL, "the disk is full; free some space"},
    {SQLITE_CANTOPEN, EDQUOT, MT_ERR_FULL, "the disk quota is used up; free some space"},
    {SQLITE_BUSY_RECOVERY, 0, MT_ERR_BUSY, "locked by a process that repairs it; try again"},
    {SQLITE_BUSY, 0, MT_ERR_BUSY, "locked by another process; try again"},
    {SQLITE_LOCKED, 0, MT_ERR_BUSY, "locked by another handle; try again"},
    {SQLITE_PROTOCOL, 0, MT_ERR_BUSY, "locked by other processes; try again"},
    {SQLITE_READONLY_ROLLBACK, 0, MT_ERR_UNAVAILABLE,
     "a writer was interrupted, and only a writer can repair that: the next memory-sampler does"},
    {SQLITE_READONLY_DBMOVED, 0, MT_ERR_MISSING, "moved or deleted while it was open; try again"},
    {SQLITE_READONLY_DIRECTORY, 0, MT_ERR_PERMISSION,
     "its directory may not be written, where SQLite keeps its journal; give this user write "
     "permission on the directory"},
    {SQLITE_READONLY, 0, MT_ERR_READ_ONLY, "may not be written; check the mount and the modes"},
    {SQLITE_CANTOPEN_ISDIR, 0, MT_ERR_NOT_DATABASE, "is a directory; name a file"},
    {SQLITE_CANTOPEN, EISDIR, MT_ERR_NOT_DATABASE, "is a directory; name a file"},
    {SQLITE_IOERR, EISDIR, MT_ERR_NOT_DATABASE, "is a directory; name a file"},
    {SQLITE_CANTOPEN, ENOENT, MT_ERR_MISSING, NULL},
    {SQLITE_CANTOPEN, ENOTDIR, MT_ERR_MISSING, "a part of its path is not a directory"},
    {SQLITE_CANTOPEN, EROFS, MT_ERR_READ_ONLY, "the file system is mounted read-only"},
    {SQLITE_CANTOPEN, EACCES, MT_ERR_PERMISSION,
     "this user may not open it; run as its owner, or give permission on the file and its "
     "directory"},
    {SQLITE_CANTOPEN, EPERM, MT_ERR_PERMISSION, "this user may not open it"},
    {SQLITE_CANTOPEN, 0, MT_ERR_UNAVAILABLE, "cannot be opened"},
    {SQLITE_PERM, 0, MT_ERR_PERMISSION, "this user may not open it"},
    {SQLITE_AUTH, 0, MT_ERR_PERMISSION, "this user may not open it"},
    {SQLITE_NOTADB, 0, MT_ERR_NOT_DATABASE,
     "is not an SQLite database; it was left as it is; name another file"},
    {SQLITE_CORRUPT, 0, MT_ERR_CORRUPT,
     "is damaged; restore a backup, or save what memory-tracker export still reads"},
    {SQLITE_TOOBIG, 0, MT_ERR_CORRUPT,
     "is damaged: holds a value larger than any that is ever written; restore a backup, or save "
     "what memory-tracker export still reads"},
    {SQLITE_IOERR_CORRUPTFS, 0, MT_ERR_CORRUPT,
     "the file system is damaged; check it, then restore a backup"},
    {SQLITE_IOERR_NOMEM, 0, MT_ERR_NO_MEMORY, "out of memory"},
    {SQLITE_NOMEM, 0, MT_ERR_NO_MEMORY, "out of memory"},
    {SQLITE_IOERR, 0, MT_ERR_UNAVAILABLE, "input/output error; check the disk"},
    {SQLITE_SCHEMA, 0, MT_ERR_BUSY, "its schema is being changed; try again"},
};

static const struct row *row_of(int result, int sys_errno)
{
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        if ((rows[i].result == result || rows[i].result == (result & 0xFF)) &&
            (rows[i].sys_errno == 0 || rows[i].sys_errno == sys_errno))
            return &rows[i];
    return NULL;
}

static enum mt_err fail_stopped(const struct mt_sqlite *file, const char *doing,
                                struct mt_error *error)
{
    switch (file->stopped) {
    case MT_ERR_CANCELLED:
        return mt_error_set(error, MT_ERR_CANCELLED, "%s %s: %s: cancelled", file->kind->what,
                            file->path, doing);
    case MT_ERR_DEADLINE:
        return mt_error_set(error, MT_ERR_DEADLINE, "%s %s: %s: the deadline has passed",
                            file->kind->what, file->path, doing);
    default:
        return mt_error_set(error, MT_ERR_BUSY, "%s %s: %s: took too long at once",
                            file->kind->what, file->path, doing);
    }
}

/* a file that SQLite keeps beside this one and that this user may not open: its suffix; or NULL */
static const char *find_closed(const struct mt_sqlite *file, struct stat *status)
{
    static const char *const suffixes[] = {"-wal", "-shm", "-journal"};
    int mode = file->read_only ? R_OK : R_OK | W_OK;

    if (faccessat(AT_FDCWD, file->path, mode, AT_EACCESS) != 0)
        return NULL;
    for (size_t i = 0; i < sizeof suffixes / sizeof suffixes[0]; i++) {
        char path[4096];

        if (snprintf(path, sizeof path, "%s%s", file->path, suffixes[i]) < (int)sizeof path &&
            faccessat(AT_FDCWD, path, mode, AT_EACCESS) != 0 && errno == EACCES &&
            stat(path, status) == 0)
            return suffixes[i];
    }
    return NULL;
}

/* the result has to do with opening or writing files */
static bool is_of_files(int result)
{
    switch (result & 0xFF) {
    case SQLITE_CANTOPEN:
    case SQLITE_READONLY:
    case SQLITE_PERM:
    case SQLITE_AUTH:
        return true;
    default:
        return false;
    }
}

enum mt_err mt_sqlite_fail(const struct mt_sqlite *file, int result, const char *doing,
                           struct mt_error *error)
{
    int sys_errno = file->db != NULL ? sqlite3_system_errno(file->db) : 0;
    const struct row *row = row_of(result, sys_errno);
    const char *what = file->kind->what;
    struct stat status;
    const char *closed = is_of_files(result) ? find_closed(file, &status) : NULL;

    if (file->stopped != MT_OK && (result & 0xFF) != SQLITE_CORRUPT)
        return fail_stopped(file, doing, error);
    if (closed != NULL)
        return mt_error_set(error, MT_ERR_PERMISSION,
                            "%s %s: %s: %s%s, which SQLite keeps beside it, belongs to uid %u, and "
                            "this user (uid %u) may not open it; run memory-tracker compact as uid "
                            "%u, or give it to the owner of %s",
                            what, file->path, doing, file->path, closed, (unsigned)status.st_uid,
                            (unsigned)geteuid(), (unsigned)status.st_uid, file->path);
    if (row == NULL)
        return mt_error_set(
            error, MT_ERR_FAILED, "%s %s: %s: %s (SQLite's code %d)", what, file->path, doing,
            file->db != NULL ? sqlite3_errmsg(file->db) : sqlite3_errstr(result), result);
    if (row->text == NULL)
        return mt_error_set(error, row->code, "%s %s: %s: does not exist; %s makes it", what,
                            file->path, doing, file->kind->maker);
    if (sys_errno != 0 && (result & 0xFF) != SQLITE_BUSY && row->code != MT_ERR_CORRUPT &&
        row->code != MT_ERR_NOT_DATABASE)
        return mt_error_set_errno(error, row->code, sys_errno, "%s %s: %s: %s", what, file->path,
                                  doing, row->text);
    return mt_error_set(error, row->code, "%s %s: %s: %s", what, file->path, doing, row->text);
}
