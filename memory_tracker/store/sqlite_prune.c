#include <stdio.h>
#include <time.h>

#include "base/clock.h"
#include "store/sqlite.h"

enum {
    SLICE_FIRST = 500, /* records removed in the first transaction */
    SLICE_LEAST = 50,
    SLICE_MOST = 20000,
};

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
        size = mt_sqlite_adapt(size, mt_clock_monotonic_ms() - begun_ms, SLICE_LEAST, SLICE_MOST);
        mt_sqlite_let_others_in();
    }
    return err == MT_OK ? mt_sqlite_give_back(store, NULL, NULL, error) : err;
}
