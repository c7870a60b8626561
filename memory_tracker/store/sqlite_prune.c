#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "store/sqlite_block.h"

enum {
    SLICE_FIRST = 500, /* records removed in the first transaction */
    SLICE_LEAST = 50,
    SLICE_MOST = 20000,
    AIM_MS = 10, /* of a transaction, its commit aside */
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

/* A pruning on its way. */
struct pruning {
    struct sqlite_store *store;
    int64_t before;
    int64_t records; /* of the next slice, about */
    int64_t removed; /* by the present transaction */
    bool is_done;    /* there was nothing left for it */
    /* the sealed day that is being removed host by host */
    int64_t day;
    char after[MT_HOST_MAX + 1]; /* the host whose turn was last */
};

/* removes the loose records of a statement's WHERE, bound to (?1, ?2) and a host as ?3 */
static enum mt_err remove_loose(struct pruning *pruning, const char *sql, int64_t from, int64_t to,
                                int64_t host_id, struct mt_error *error)
{
    struct mt_sqlite *file = &pruning->store->file;
    sqlite3_stmt *statement = NULL;
    enum mt_err err = mt_sqlite_statement(file, sql, &statement, error);

    if (err != MT_OK)
        return err;
    (void)sqlite3_bind_int64(statement, 1, from);
    (void)sqlite3_bind_int64(statement, 2, to);
    if (host_id != 0)
        (void)sqlite3_bind_int64(statement, 3, host_id);
    err = mt_sqlite_run(file, statement, error);
    if (err == MT_OK)
        pruning->removed += sqlite3_changes(file->db);
    return err;
}

/* whole seconds only: a scan may cut a second in two by counting its records */
static enum mt_err remove_seconds(struct pruning *pruning, int64_t before, struct mt_error *error)
{
    int64_t end = before;
    enum mt_err err = end_of_slice(pruning->store, before, pruning->records, &end, error);

    return err == MT_OK ? remove_loose(pruning,
                                       "DELETE FROM memory_log INDEXED BY memory_log_by_time"
                                       " WHERE timestamp >= ?1 AND timestamp < ?2",
                                       0, end, 0, error)
                        : err;
}

/* a sealed day that begins before the end of what is removed and ends after it */
static enum mt_err cut_block(struct pruning *pruning, const struct mt_sqlite_block *block,
                             struct mt_error *error)
{
    struct sqlite_store *store = pruning->store;
    struct mt_sqlite_block_data data = {0};
    struct sqlite_row *rows = NULL;
    bool found = true;
    size_t at = 0;
    size_t count = 0;
    enum mt_err err = mt_sqlite_block_fetch(
        store, block, MT_FIELD_ALL, MT_SQLITE_PART_SEQ | MT_SQLITE_PART_BOOT, &data, &found, error);

    if (err == MT_OK)
        err = mt_sqlite_block_decode(store, &data, error);
    if (err == MT_OK) {
        at = mt_sqlite_block_at(&data, pruning->before);
        count = (size_t)block->records - at;
        rows = calloc(count, sizeof *rows);
        if (rows == NULL)
            err = mt_error_set(error, MT_ERR_NO_MEMORY, "store %s: prune: out of memory",
                               store->file.path);
    }
    for (size_t i = 0; i < count && err == MT_OK; i++)
        err = mt_sqlite_block_row(store, &data, at + i, &rows[i], error);
    if (err == MT_OK)
        err = mt_sqlite_drop_block(store, block->id, error);
    if (err == MT_OK)
        err = mt_sqlite_put_block(store, rows, count, error);
    if (err == MT_OK)
        pruning->removed += (int64_t)at;
    free(rows);
    mt_sqlite_block_fini(&data);
    return err;
}

/* of one host, what a day has before the end of what is removed */
static enum mt_err remove_host(struct pruning *pruning, int64_t host_id, struct mt_error *error)
{
    struct sqlite_store *store = pruning->store;
    int64_t from = pruning->day * MT_BLOCK_SECONDS;
    int64_t to = from + MT_BLOCK_SECONDS;
    struct mt_sqlite_block block = {0};
    bool found = false;
    enum mt_err err = mt_sqlite_find_block(store, host_id, pruning->day, &block, &found, error);

    if (err == MT_OK && found && block.last < pruning->before) {
        err = mt_sqlite_drop_block(store, block.id, error);
        pruning->removed += err == MT_OK ? block.records : 0;
    } else if (err == MT_OK && found && block.first < pruning->before) {
        err = cut_block(pruning, &block, error);
    }
    return err == MT_OK
               ? remove_loose(pruning,
                              "DELETE FROM memory_log INDEXED BY memory_log_by_host"
                              " WHERE timestamp >= ?1 AND timestamp < ?2 AND host_id = ?3",
                              from, to < pruning->before ? to : pruning->before, host_id, error)
               : err;
}

/* the host after the last one in the order of names; *id 0: there is none */
static enum mt_err next_host(struct pruning *pruning, int64_t *id, struct mt_error *error)
{
    struct sqlite_store *store = pruning->store;
    sqlite3_stmt *statement = NULL;
    enum mt_err err = mt_sqlite_statement(
        &store->file, "SELECT id, name FROM host WHERE name > ?1 ORDER BY name LIMIT 1", &statement,
        error);
    int result;

    *id = 0;
    if (err != MT_OK)
        return err;
    (void)sqlite3_bind_text(statement, 1, pruning->after, -1, SQLITE_TRANSIENT);
    result = sqlite3_step(statement);
    if (result == SQLITE_ROW) {
        *id = sqlite3_column_int64(statement, 0);
        (void)snprintf(pruning->after, sizeof pruning->after, "%s",
                       (const char *)sqlite3_column_text(statement, 1));
    } else if (result != SQLITE_DONE) {
        err = mt_sqlite_fail(&store->file, result, "prune", error);
    }
    (void)sqlite3_reset(statement);
    return err;
}

/*
 * A day of which something is sealed goes host by host, in the order of names: of each second, the
 * first ones are gone first, and a scan that cut it in two counts from the last.
 */
static enum mt_err remove_hosts(struct pruning *pruning, int64_t day, struct mt_error *error)
{
    int64_t begun_ms = mt_clock_monotonic_ms();
    bool is_from_start;
    enum mt_err err = MT_OK;
    int64_t id = 1;

    if (pruning->day != day)
        pruning->after[0] = '\0';
    pruning->day = day;
    is_from_start = pruning->after[0] == '\0';
    while (err == MT_OK && id != 0 &&
           (pruning->removed == 0 || mt_clock_monotonic_ms() - begun_ms < AIM_MS)) {
        err = next_host(pruning, &id, error);
        if (err == MT_OK && id != 0)
            err = remove_host(pruning, id, error);
    }
    /* for what came when its host's turn was over */
    if (id == 0)
        pruning->after[0] = '\0';
    if (err == MT_OK && id == 0 && is_from_start && pruning->removed == 0)
        err = mt_error_set(error, MT_ERR_CORRUPT,
                           "store %s: day %lld is sealed of a host that does not exist; restore a "
                           "backup, or save what memory-tracker export still reads",
                           pruning->store->file.path, (long long)day);
    return err;
}

/* the oldest sealed day with something to remove */
static enum mt_err oldest_sealed(const struct pruning *pruning, int64_t *day, bool *found,
                                 struct mt_error *error)
{
    sqlite3_stmt *statement = NULL;
    enum mt_err err = mt_sqlite_statement(
        &pruning->store->file,
        "SELECT day FROM block INDEXED BY block_by_day WHERE day <= ?1 / 86400 AND first < ?1"
        " ORDER BY day LIMIT 1",
        &statement, error);

    if (err != MT_OK)
        return err;
    (void)sqlite3_bind_int64(statement, 1, pruning->before);
    return mt_sqlite_read_i64(pruning->store, statement, day, found, error);
}

/* one slice of what is oldest, in the caller's transaction */
static enum mt_err remove_oldest(struct pruning *pruning, struct mt_error *error)
{
    bool has_sealed = false;
    int64_t day = 0;
    enum mt_err err = oldest_sealed(pruning, &day, &has_sealed, error);

    pruning->removed = 0;
    if (err != MT_OK)
        return err;
    err = remove_seconds(pruning, has_sealed ? day * MT_BLOCK_SECONDS : pruning->before, error);
    if (err == MT_OK && pruning->removed == 0 && has_sealed)
        err = remove_hosts(pruning, day, error);
    pruning->is_done = !has_sealed && pruning->removed == 0;
    return err;
}

static enum mt_err remove_slice(struct pruning *pruning, struct mt_error *error)
{
    struct mt_sqlite *file = &pruning->store->file;
    enum mt_err err = mt_sqlite_begin(file, error);

    if (err != MT_OK)
        return err;
    err = remove_oldest(pruning, error);
    /* with each slice: whoever looked between two of them holds what the next one removed */
    if (err == MT_OK && pruning->removed > 0)
        err = mt_sqlite_exec(file, "UPDATE meta SET generation = random()", error);
    if (err == MT_OK)
        err = mt_sqlite_commit(file, error);
    else
        mt_sqlite_rollback(file);
    return err;
}

enum mt_err mt_sqlite_prune(struct mt_store *base, int64_t before, int64_t *pruned,
                            struct mt_error *error)
{
    struct sqlite_store *store = (struct sqlite_store *)base;
    struct pruning pruning = {.store = store, .before = before, .records = SLICE_FIRST, .day = -1};
    int64_t day = 0;
    bool found;
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
    /* outside of a transaction, since preparing it may have to add a table */
    if (err == MT_OK)
        err = oldest_sealed(&pruning, &day, &found, error);
    while (err == MT_OK && !pruning.is_done) {
        int64_t begun_ms = mt_clock_monotonic_ms();

        err = remove_slice(&pruning, error);
        if (err != MT_OK || pruning.removed == 0)
            continue;
        *pruned += pruning.removed;
        pruning.records = mt_sqlite_adapt(pruning.records, mt_clock_monotonic_ms() - begun_ms,
                                          SLICE_LEAST, SLICE_MOST);
        mt_sqlite_let_others_in();
    }
    return err == MT_OK ? mt_sqlite_give_back(store, NULL, NULL, error) : err;
}
