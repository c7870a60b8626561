#include "store/sqlite_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "store/store.h"

enum {
    LOOK_EVERY_MS = 1000,
    HEADER_SIZE = 72, /* up to and with the application id */
    OPCODES_PER_POLL = 2000,
    ROW_MOST = 2 << 20, /* bytes; a column of 86,400 sealed records takes less than half of it */
};

/* asked while a statement runs and while a lock is awaited: is there a reason to give up? */
static bool is_stopped(struct mt_sqlite *file, int64_t now_ms)
{
    if (file->cancelled != NULL && file->cancelled(file->cancel_context))
        file->stopped = MT_ERR_CANCELLED;
    else if (file->deadline_ms != 0 && now_ms >= file->deadline_ms)
        file->stopped = MT_ERR_DEADLINE;
    return file->stopped != MT_OK;
}

static int wait_for_lock(void *context, int tries)
{
    struct mt_sqlite *file = context;
    int64_t now_ms = mt_clock_monotonic_ms();
    struct timespec nap = {0};

    if (tries == 0 && !file->busy_shared)
        file->busy_until_ms = now_ms + file->busy_wait_ms;
    if (now_ms >= file->busy_until_ms || is_stopped(file, now_ms))
        return 0;
    /* 1 to 10 ms, never in step with another process that waits */
    file->jitter = file->jitter * 1664525 + 1013904223;
    nap.tv_nsec = 1000000 + (long)(file->jitter >> 8) % 9000000;
    (void)nanosleep(&nap, NULL);
    return 1;
}

static int poll_running(void *context)
{
    struct mt_sqlite *file = context;
    int64_t now_ms;

    if (file->lock_until_ms == 0 && file->deadline_ms == 0 && file->cancelled == NULL)
        return 0;
    now_ms = mt_clock_monotonic_ms();
    if (is_stopped(file, now_ms))
        return 1;
    if (file->lock_until_ms != 0 && now_ms >= file->lock_until_ms)
        file->stopped = MT_ERR_BUSY;
    return file->stopped != MT_OK;
}

/* the directory part of path into directory; "." if it has none */
static void directory_of(const char *path, char *directory, size_t size)
{
    const char *slash = strrchr(path, '/');

    if (slash == NULL)
        (void)snprintf(directory, size, ".");
    else
        (void)snprintf(directory, size, "%.*s", slash == path ? 1 : (int)(slash - path), path);
}

/* a new directory's own name is durable only once its parent is */
static void sync_directory(const char *path)
{
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    if (fd >= 0) {
        (void)fsync(fd);
        (void)close(fd);
    }
}

static enum mt_err make_directory(const struct mt_sqlite *file, struct mt_error *error)
{
    char directory[4096];
    char parent[4096];
    struct stat status;

    directory_of(file->path, directory, sizeof directory);
    directory_of(directory, parent, sizeof parent);
    if (stat(directory, &status) == 0)
        return MT_OK;
    if (stat(parent, &status) != 0)
        return mt_error_set(error, MT_ERR_MISSING,
                            "%s %s: directory %s does not exist, nor does %s; make it, owned by "
                            "the user that memory-sampler runs as",
                            file->kind->what, file->path, directory, parent);
    if (status.st_uid != geteuid())
        return mt_error_set(error, MT_ERR_MISSING,
                            "%s %s: directory %s does not exist, and %s belongs to another user "
                            "(uid %u); make it: install -d -m 0750 -o USER %s",
                            file->kind->what, file->path, directory, parent,
                            (unsigned)status.st_uid, directory);
    if (mkdir(directory, 0750) != 0 && errno != EEXIST)
        return mt_error_set_errno(error, errno == EROFS ? MT_ERR_READ_ONLY : MT_ERR_PERMISSION,
                                  errno, "%s %s: cannot make directory %s", file->kind->what,
                                  file->path, directory);
    sync_directory(parent);
    return MT_OK;
}

/*
 * An empty file with our mode. mknod(2), because a descriptor of a database file that is closed
 * drops the locks of every other handle of this process on it.
 */
static enum mt_err make_file(const struct mt_sqlite *file, struct mt_error *error)
{
    enum mt_err err = make_directory(file, error);

    if (err != MT_OK || mknod(file->path, S_IFREG | 0640, 0) == 0 || errno == EEXIST)
        return err;
    switch (errno) {
    case EROFS:
        return mt_error_set_errno(error, MT_ERR_READ_ONLY, errno, "%s %s: cannot be made",
                                  file->kind->what, file->path);
    case ENOSPC:
    case EDQUOT:
        return mt_error_set_errno(error, MT_ERR_FULL, errno,
                                  "%s %s: cannot be made; free some space", file->kind->what,
                                  file->path);
    case EACCES:
        return mt_error_set_errno(error, MT_ERR_PERMISSION, errno,
                                  "%s %s: cannot be made; run as the directory's owner, or give "
                                  "this user (uid %u) write permission on the directory",
                                  file->kind->what, file->path, (unsigned)geteuid());
    default:
        return MT_OK; /* a file system without mknod: SQLite makes the file */
    }
}

static void close_db(struct mt_sqlite *file)
{
    for (size_t i = 0; i < MT_SQLITE_STATEMENTS; i++) {
        (void)sqlite3_finalize(file->cache[i].statement);
        free(file->cache[i].sql);
    }
    memset(file->cache, 0, sizeof file->cache);
    (void)sqlite3_close(file->db);
    file->db = NULL;
}

void mt_store_one_thread(void)
{
    (void)sqlite3_config(SQLITE_CONFIG_SINGLETHREAD);
    (void)sqlite3_config(SQLITE_CONFIG_MEMSTATUS, 0);
}

static int open_db(struct mt_sqlite *file, int flags)
{
    int result;

    close_db(file);
    result = sqlite3_open_v2(file->path, &file->db,
                             flags | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE, NULL);
    /* what is larger is not read into memory at all */
    if (file->db != NULL)
        (void)sqlite3_limit(file->db, SQLITE_LIMIT_LENGTH, ROW_MOST);
    return result;
}

/*
 * SQLite falls back to reading in silence when it cannot open for writing, also when the file was
 * not there yet at its first try and is, made by another process, at its second.
 */
static bool was_made_meanwhile(const struct mt_sqlite *file)
{
    return sqlite3_db_readonly(file->db, "main") == 1 &&
           faccessat(AT_FDCWD, file->path, W_OK, AT_EACCESS) == 0;
}

static enum mt_err check_writable(const struct mt_sqlite *file, struct mt_error *error)
{
    if (sqlite3_db_readonly(file->db, "main") != 1)
        return MT_OK;
    if (faccessat(AT_FDCWD, file->path, W_OK, AT_EACCESS) != 0 && errno == EROFS)
        return mt_error_set_errno(error, MT_ERR_READ_ONLY, errno, "%s %s: cannot be written",
                                  file->kind->what, file->path);
    return mt_error_set(error, MT_ERR_PERMISSION,
                        "%s %s: this user (uid %u) may not write it; run as its owner or give "
                        "write permission",
                        file->kind->what, file->path, (unsigned)geteuid());
}

static int32_t big_endian(const unsigned char *bytes)
{
    return (int32_t)((uint32_t)bytes[0] << 24 | (uint32_t)bytes[1] << 16 | (uint32_t)bytes[2] << 8 |
                     bytes[3]);
}

enum identity { IS_OURS, IS_OLDER, IS_EMPTY, IS_NEWER, IS_OTHER, IS_NO_DATABASE };

/*
 * From the header alone, without a lock: both numbers are written when the schema is made, and with
 * each migration. A reader that meets a half-made schema, which a rollback is about to remove,
 * finds out when it prepares its first statement.
 */
static enum identity identify(const struct mt_sqlite *file)
{
    unsigned char header[HEADER_SIZE];
    sqlite3_file *handle = NULL;

    (void)sqlite3_file_control(file->db, "main", SQLITE_FCNTL_FILE_POINTER, &handle);
    if (handle == NULL || handle->pMethods == NULL)
        return IS_OTHER;
    switch (handle->pMethods->xRead(handle, header, sizeof header, 0)) {
    case SQLITE_OK:
        break;
    case SQLITE_IOERR_SHORT_READ: /* the rest is zeros */
        if (header[0] == '\0')
            return IS_EMPTY;
        break;
    default:
        return IS_OTHER;
    }
    if (memcmp(header, "SQLite format 3", 16) != 0)
        return IS_NO_DATABASE;
    if (big_endian(header + 68) != file->kind->application_id)
        return IS_OTHER;
    if (big_endian(header + 60) > file->kind->version)
        return IS_NEWER;
    return big_endian(header + 60) < file->kind->version ? IS_OLDER : IS_OURS;
}

static enum mt_err check_identity(struct mt_sqlite *file, struct mt_error *error)
{
    enum identity identity = identify(file);

    switch (identity) {
    case IS_OURS:
        return MT_OK;
    case IS_OLDER:
        if (file->read_only)
            return MT_OK;
        break;
    case IS_NO_DATABASE:
        return mt_sqlite_fail(file, SQLITE_NOTADB, "open", error);
    default:
        break;
    }
    /* looks under the lock, and makes or refuses */
    return mt_sqlite_upgrade(file, error);
}

static enum mt_err set_up(struct mt_sqlite *file, struct mt_error *error)
{
    enum mt_err err;

    (void)sqlite3_busy_handler(file->db, wait_for_lock, file);
    sqlite3_progress_handler(file->db, OPCODES_PER_POLL, poll_running, file);
    (void)sqlite3_db_config(file->db, SQLITE_DBCONFIG_ENABLE_FKEY, 1, NULL);
    file->looked_ms = mt_clock_monotonic_ms();
    if (file->read_only)
        return check_identity(file, error);
    err = check_writable(file, error);
    if (err == MT_OK)
        err = check_identity(file, error);
    /* the journal is emptied, not removed: no change of the directory at each commit */
    return err == MT_OK ? mt_sqlite_exec(file, "PRAGMA journal_mode=TRUNCATE", error) : err;
}

static enum mt_err open_path(struct mt_sqlite *file, bool may_make, struct mt_error *error)
{
    int flags = file->read_only ? SQLITE_OPEN_READONLY : SQLITE_OPEN_READWRITE;
    int result = open_db(file, flags);
    enum mt_err err = MT_OK;

    if (result == SQLITE_CANTOPEN && may_make && sqlite3_system_errno(file->db) == ENOENT) {
        err = make_file(file, error);
        if (err == MT_OK)
            result = open_db(file, flags | SQLITE_OPEN_CREATE);
    }
    if (result == SQLITE_OK && !file->read_only && was_made_meanwhile(file))
        result = open_db(file, flags);
    if (err == MT_OK && result != SQLITE_OK)
        err = mt_sqlite_fail(file, result, "open", error);
    if (err == MT_OK)
        err = set_up(file, error);
    if (err != MT_OK)
        close_db(file);
    file->epoch++;
    return err;
}

enum mt_err mt_sqlite_open(struct mt_sqlite *file, const struct mt_sqlite_kind *kind,
                           const char *path, bool read_only, int busy_wait_ms,
                           struct mt_error *error)
{
    enum mt_err err;

    *file = (struct mt_sqlite){
        .kind = kind,
        .read_only = read_only,
        .busy_wait_ms = busy_wait_ms,
        .jitter = (uint32_t)getpid() ^ (uint32_t)mt_clock_monotonic_ms(),
    };
    /* "./" keeps SQLite from reading a name such as ":memory:" or "file:x" its own way */
    if (asprintf(&file->path, "%s%s", path[0] == '/' ? "" : "./", path) < 0) {
        file->path = NULL;
        return mt_error_set(error, MT_ERR_NO_MEMORY, "open %s: out of memory", path);
    }
    err = open_path(file, !read_only, error);
    if (err != MT_OK)
        mt_sqlite_close(file);
    return err;
}

void mt_sqlite_close(struct mt_sqlite *file)
{
    close_db(file);
    free(file->path);
    file->path = NULL;
}

enum mt_err mt_sqlite_reopen(struct mt_sqlite *file, struct mt_error *error)
{
    return open_path(file, false, error);
}

enum mt_err mt_sqlite_look(struct mt_sqlite *file, struct mt_error *error)
{
    int64_t now_ms = mt_clock_monotonic_ms();
    int moved = 0;

    file->stopped = MT_OK;
    if (file->db == NULL)
        return mt_sqlite_reopen(file, error);
    if (now_ms - file->looked_ms < LOOK_EVERY_MS)
        return MT_OK;
    file->looked_ms = now_ms;
    if (sqlite3_file_control(file->db, "main", SQLITE_FCNTL_HAS_MOVED, &moved) == SQLITE_OK &&
        moved != 0)
        return mt_sqlite_reopen(file, error);
    return MT_OK;
}
