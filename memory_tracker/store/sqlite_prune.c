#include <stdio.h>
#include <time.h>

#include "base/clock.h"
#include "store/sqlite.h"

enum {
    SLICE_FIRST = 500, /* records removed in the first transaction */
    SLICE_LEAST = 50,
    SLICE_MOST = 20000,
    PAGES_FIRST = 32, /* pages given back in one transaction */
    PAGES_LEAST = 8,
    PAGES_MOST = 1024,
    AIM_MS = 20, /* what one transaction may take */
};

/* longer than anybody's nap while waiting for the lock, so that each gets its turn */
static void let_others_in(void)
{
    (void)nanosleep(&(struct timespec){.tv_nsec = 12000000}, NULL);
}

static int64_t adapt(int64_t size, int64_t took_ms, int64_t least, int64_t most)
{
    if (took_ms > AIM_MS)
        size /= 2;
    else if (took_ms < AIM_MS / 2)
        size *= 2;
    return size < least ? least : size > most ? most : size;
}

/* the second up to which a slice of about that many records reaches; `before` if fewer are left */
static enum mt_err end_of_slice(struct sqlite_store *store, int64_t before, int64_t records,
                                int64_t *end, struct mt_error *error)
{
    sqlite3_stmt *statement = NULL;
    int64_t second = 0;
    bool found = false;
    enum mt_err err = mt_sqlite_statement(
        &store->file,
        "SELECT timestamp FROM memory_log INDEXED BY memory_log_by_time WHERE timestamp < ?1"
        " ORDER BY timestamp LIMIT 1 OFFSET ?2",
        &statement, error);

    if (err != MT_OK)
        return err;
    (void)sqlite3_bind_int64(statement, 1, before);
    (void)sqlite3_bind_int64(statement, 2, records);
    err = mt_sqlite_read_i64(store, statement, &second, &found, error);
    *end = found ? second + 1 : before;
    return err;
}

/* whole seconds only: a scan may cut a second in two by counting its records */
static enum mt_err remove_slice(struct sqlite_store *store, int64_t before, int64_t records,
                                int64_t *removed, struct mt_error *error)
{
    struct mt_sqlite *file = &store->file;
    sqlite3_stmt *statement = NULL;
    int64_t end = before;
    enum mt_err err = mt_sqlite_begin(file, error);

    *removed = 0;
    if (err != MT_OK)
        return err;
    err = end_of_slice(store, before, records, &end, error);
    if (err == MT_OK)
        err = mt_sqlite_statement(file,
                                  "DELETE FROM memory_log INDEXED BY memory_log_by_time"
                                  " WHERE timestamp < ?1",
                                  &statement, error);
    if (err == MT_OK) {
        (void)sqlite3_bind_int64(statement, 1, end);
        err = mt_sqlite_run(file, statement, error);
    }
    if (err == MT_OK)
        *removed = sqlite3_changes(file->db);
    /* with each slice: whoever looked between two of them holds what the next one removed */
    if (err == MT_OK && *removed > 0)
        err = mt_sqlite_exec(file, "UPDATE meta SET generation = random()", error);
    if (err == MT_OK)
        err = mt_sqlite_commit(file, error);
    else
        mt_sqlite_rollback(file);
    if (err != MT_OK)
        *removed = 0;
    return err;
}

static enum mt_err free_pages(struct sqlite_store *store, int64_t *pages, struct mt_error *error)
{
    sqlite3_stmt *statement = NULL;
    bool found;
    enum mt_err err = mt_sqlite_statement(&store->file, "PRAGMA freelist_count", &statement, error);

    return err == MT_OK ? mt_sqlite_read_i64(store, statement, pages, &found, error) : err;
}

static enum mt_err give_back(struct sqlite_store *store, struct mt_error *error)
{
    int64_t size = PAGES_FIRST;
    int64_t pages = 0;
    int64_t before = 0;
    enum mt_err err = free_pages(store, &pages, error);

    while (err == MT_OK && pages > 0 && pages != before) {
        int64_t begun_ms = mt_clock_monotonic_ms();
        char sql[64];

        (void)snprintf(sql, sizeof sql, "PRAGMA incremental_vacuum(%lld)", (long long)size);
        err = mt_sqlite_exec(&store->file, sql, error);
        size = adapt(size, mt_clock_monotonic_ms() - begun_ms, PAGES_LEAST, PAGES_MOST);
        before = pages;
        if (err == MT_OK)
            err = free_pages(store, &pages, error);
        let_others_in();
    }
    return err;
}

enum mt_err mt_sqlite_prune(struct mt_store *base, int64_t before, int64_t *pruned,
                            struct mt_error *error)
{
    struct sqlite_store *store = (struct sqlite_store *)base;
    int64_t size = SLICE_FIRST;
    int64_t removed = 0;
    enum mt_err err;

    *pruned = 0;
    if (store->file.read_only)
        return mt_error_set(error, MT_ERR_READ_ONLY, "store %s: was opened for reading only",
                            store->file.path);
    err = mt_sqlite_store_look(store, error);
    /* zeroing what is freed would write every page once more */
    if (err == MT_OK)
        err =
            mt_sqlite_exec(&store->file, "PRAGMA secure_delete=OFF; PRAGMA cache_spill=OFF", error);
    while (err == MT_OK) {
        int64_t begun_ms = mt_clock_monotonic_ms();

        err = remove_slice(store, before, size, &removed, error);
        *pruned += removed;
        if (removed == 0)
            break;
        size = adapt(size, mt_clock_monotonic_ms() - begun_ms, SLICE_LEAST, SLICE_MOST);
        let_others_in();
    }
    return err == MT_OK ? give_back(store, error) : err;
}
