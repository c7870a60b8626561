#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "store/sqlite.h"
#include "store/sqlite_head.h"
#include "store/stamp.h"

enum { FILE_SHIFT = 32 };

bool mt_stamp_same_file(uint64_t a, uint64_t b)
{
    return a >> FILE_SHIFT == b >> FILE_SHIFT;
}

/* Which file stands at path, in the upper half of a stamp; 0 if file is not that one. */
static uint64_t identify(sqlite3_file *file, const char *path)
{
    struct stat status;
    int moved = 1;
    uint64_t mixed;

    if (stat(path, &status) != 0 ||
        file->pMethods->xFileControl(file, SQLITE_FCNTL_HAS_MOVED, &moved) != SQLITE_OK ||
        moved != 0)
        return 0;
    mixed = ((uint64_t)status.st_dev * UINT64_C(0x9E3779B97F4A7C15)) ^ (uint64_t)status.st_ino;
    mixed *= UINT64_C(0xD6E8FEB86659FD93);
    /* never 0: that would be no stamp at all */
    return (mixed >> FILE_SHIFT | 1) << FILE_SHIFT;
}

static uint64_t make_stamp(uint64_t identity, struct mt_sqlite_head head)
{
    return head.format == MT_SQLITE_JOURNAL ? identity | head.counter : 0;
}

static enum mt_err stamp_of(struct sqlite_store *store, uint64_t *stamp, struct mt_error *error)
{
    sqlite3_file *file = NULL;
    struct mt_sqlite_head head;
    uint64_t identity;

    (void)sqlite3_file_control(store->file.db, "main", SQLITE_FCNTL_FILE_POINTER, &file);
    identity = file == NULL || file->pMethods == NULL ? 0 : identify(file, store->file.path);
    if (identity == 0)
        return mt_error_set(error, MT_ERR_UNAVAILABLE, "store %s: its file is being replaced",
                            store->file.path);
    if (!mt_sqlite_head_read(file, &head))
        return mt_sqlite_fail(&store->file, SQLITE_IOERR_READ, "read", error);
    *stamp = make_stamp(identity, head);
    return MT_OK;
}

enum mt_err mt_sqlite_stamp(struct mt_store *base, uint64_t *stamp, struct mt_error *error)
{
    struct sqlite_store *store = (struct sqlite_store *)base;
    sqlite3_stmt *statement = NULL;
    int result;
    enum mt_err err;

    /* not only once a second: whoever asks was told that there is another file */
    store->file.looked_ms = 0;
    err = mt_sqlite_store_look(store, error);
    if (err == MT_OK)
        err = mt_sqlite_statement(&store->file, "SELECT generation FROM meta", &statement, error);
    if (err != MT_OK)
        return err;
    /* under its read lock nobody writes, nor is anything in the file that may be rolled back */
    result = sqlite3_step(statement);
    err = result == SQLITE_ROW || result == SQLITE_DONE
              ? stamp_of(store, stamp, error)
              : mt_sqlite_fail(&store->file, result, "read", error);
    (void)sqlite3_reset(statement);
    return err;
}

/*
 * A file of SQLite's own layer below the database: only that may open and close the file beside
 * open databases of this process, since it knows of their locks, which the system would drop with
 * any descriptor that is closed.
 */
struct mt_stamp_watch {
    sqlite3_vfs *vfs;
    char *path;
    sqlite3_filename name;
    uint64_t identity; /* 0: not open */
    sqlite3_file *file;
    const void *head; /* of the open file, in memory; NULL: it is to be read */
};

static void close_file(struct mt_stamp_watch *watch)
{
    if (watch->identity == 0)
        return;
    mt_sqlite_head_unmap(watch->file, watch->head);
    (void)watch->file->pMethods->xClose(watch->file);
    watch->head = NULL;
    watch->identity = 0;
}

static void open_file(struct mt_stamp_watch *watch)
{
    int flags = 0;

    memset(watch->file, 0, (size_t)watch->vfs->szOsFile);
    if (watch->vfs->xOpen(watch->vfs, watch->name, watch->file,
                          SQLITE_OPEN_READONLY | SQLITE_OPEN_MAIN_DB, &flags) != SQLITE_OK)
        return;
    watch->identity = identify(watch->file, watch->path);
    if (watch->identity != 0)
        watch->head = mt_sqlite_head_map(watch->file);
    else
        (void)watch->file->pMethods->xClose(watch->file);
}

enum mt_err mt_stamp_watch_new(const char *uri, struct mt_stamp_watch **watch,
                               struct mt_error *error)
{
    size_t length = strlen(mt_sqlite_ops.scheme);
    struct mt_stamp_watch *new;

    *watch = NULL;
    if (strncmp(uri, mt_sqlite_ops.scheme, length) != 0)
        return MT_OK;
    new = calloc(1, sizeof *new);
    if (new == NULL)
        return mt_error_set(error, MT_ERR_NO_MEMORY, "out of memory for watching the store");
    new->vfs = sqlite3_vfs_find(NULL);
    new->path = strdup(uri + length);
    if (new->path != NULL &&new->vfs != NULL) {
        new->name = sqlite3_create_filename(new->path, "", "", 0, NULL);
        new->file = calloc(1, (size_t) new->vfs->szOsFile);
    }
    if (new->name == NULL || new->file == NULL) {
        mt_stamp_watch_free(new);
        return mt_error_set(error, MT_ERR_NO_MEMORY, "out of memory for watching the store");
    }
    *watch = new;
    return MT_OK;
}

void mt_stamp_watch_free(struct mt_stamp_watch *watch)
{
    if (watch == NULL)
        return;
    close_file(watch);
    sqlite3_free_filename(watch->name);
    free(watch->file);
    free(watch->path);
    free(watch);
}

static bool read_head(struct mt_stamp_watch *watch, struct mt_sqlite_head *head)
{
    if (watch->identity == 0)
        open_file(watch);
    if (watch->identity == 0)
        return false;
    /* the library itself would read what is mapped, and not survive that it is cut off */
    if (watch->head == NULL)
        return mt_sqlite_head_read(watch->file, head);
    *head = mt_sqlite_head_look(watch->head);
    return true;
}

uint64_t mt_stamp_watch_read(struct mt_stamp_watch *watch)
{
    struct mt_sqlite_head head;

    if (read_head(watch, &head) && head.format == MT_SQLITE_JOURNAL)
        return make_stamp(watch->identity, head);
    /* cut off, and perhaps written anew: what was mapped is not the file any more */
    close_file(watch);
    if (read_head(watch, &head))
        return make_stamp(watch->identity, head);
    close_file(watch);
    return 0;
}

void mt_stamp_watch_look(struct mt_stamp_watch *watch)
{
    if (watch->identity == 0 || identify(watch->file, watch->path) == watch->identity)
        return;
    close_file(watch);
    open_file(watch);
}
