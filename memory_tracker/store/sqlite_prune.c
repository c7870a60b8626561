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
    bool has_host; /* a host's turn was before: */
    int64_t host_id;
    /* a sealed day of which only a part goes and that cannot be read: the first one; it is left */
    struct mt_error left;
    bool is_past_sealed; /* what else is sealed stays */
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

/* what is left of a sealed day that begins before the end of what is removed and ends after it */
static enum mt_err read_rest(struct pruning *pruning, const struct mt_sqlite_block *block,
                             struct sqlite_row **rows, size_t *count, struct mt_error *error)
{
    struct sqlite_store *store = pruning->store;
    struct mt_sqlite_block_data data = {0};
    bool found = true;
    size_t at = 0;
    enum mt_err err = mt_sqlite_block_fetch(
        store, block, MT_FIELD_ALL, MT_SQLITE_PART_SEQ | MT_SQLITE_PART_BOOT, &data, &found, error);

    if (err == MT_OK)
        err = mt_sqlite_block_decode(store, &data, error);
    if (err == MT_OK) {
        at = mt_sqlite_block_at(&data, pruning->before);
        *count = (size_t)block->records - at;
        *rows = calloc(*count, sizeof **rows);
        if (*rows == NULL)
            err = mt_error_set(error, MT_ERR_NO_MEMORY, "store %s: prune: out of memory",
                               store->file.path);
    }
    for (size_t i = 0; i < *count && err == MT_OK; i++)
        err = mt_sqlite_block_row(store, &data, at + i, &(*rows)[i], error);
    mt_sqlite_block_fini(&data);
    return err;
}

/* a host's part of the day in which what is removed ends; if it cannot be read, it is left */
static enum mt_err cut_block(struct pruning *pruning, int64_t host_id, struct mt_error *error)
{
    struct sqlite_store *store = pruning->store;
    struct mt_sqlite_block block = {0};
    struct sqlite_row *rows = NULL;
    struct mt_error failure = {0};
    bool is_cut = false;
    bool found = false;
    size_t count = 0;
    enum mt_err err = mt_sqlite_find_block(store, host_id, pruning->day, &block, &found, &failure);

    if (err == MT_OK && found && block.first < pruning->before) {
        is_cut = block.last >= pruning->before;
        if (is_cut)
            err = read_rest(pruning, &block, &rows, &count, &failure);
        if (err == MT_OK) {
            pruning->removed += block.records - (int64_t)count;
            err = mt_sqlite_drop_block(store, block.id, error);
            if (err == MT_OK && is_cut)
                err = mt_sqlite_put_block(store, rows, count, error);
            free(rows);
            return err;
        }
    }
    free(rows);
    if (err == MT_ERR_CORRUPT) {
        if (pruning->left.code == MT_OK)
            pruning->left = failure;
        return MT_OK;
    }
    return err == MT_OK ? MT_OK : mt_error_set(error, err, "%s", failure.text);
}

static enum mt_err drop_block(struct pruning *pruning, int64_t id, struct mt_error *error)
{
    struct sqlite_store *store = pruning->store;
    sqlite3_stmt *statement = NULL;
    int64_t records = 0;
    bool found = false;
    enum mt_err err = mt_sqlite_statement(&store->file, "SELECT records FROM block WHERE id = ?1",
                                          &statement, error);

    if (err != MT_OK)
        return err;
    (void)sqlite3_bind_int64(statement, 1, id);
    err = mt_sqlite_read_i64(store, statement, &records, &found, error);
    if (err == MT_OK)
        err = mt_sqlite_drop_block(store, id, error);
    pruning->removed += records > 0 ? records : 1;
    return err;
}

/* a host's sealed day that goes as a whole: nothing of it has to be readable */
static enum mt_err drop_day(struct pruning *pruning, int64_t host_id, struct mt_error *error)
{
    struct sqlite_store *store = pruning->store;
    sqlite3_stmt *statement = NULL;
    int64_t id = 0;
    bool found = false;
    enum mt_err err = mt_sqlite_statement(
        &store->file, "SELECT id FROM block WHERE host_id = ?1 AND day = ?2", &statement, error);

    if (err != MT_OK)
        return err;
    (void)sqlite3_bind_int64(statement, 1, host_id);
    (void)sqlite3_bind_int64(statement, 2, pruning->day);
    err = mt_sqlite_read_i64(store, statement, &id, &found, error);
    return err == MT_OK && found ? drop_block(pruning, id, error) : err;
}

/* of one host, what a day has before the end of what is removed */
static enum mt_err remove_host(struct pruning *pruning, int64_t host_id, struct mt_error *error)
{
    int64_t from = pruning->day * MT_BLOCK_SECONDS;
    int64_t to = from + MT_BLOCK_SECONDS;
    enum mt_err err = to <= pruning->before ? drop_day(pruning, host_id, error)
                                            : cut_block(pruning, host_id, error);

    return err == MT_OK
               ? remove_loose(pruning,
                              "DELETE FROM memory_log INDEXED BY memory_log_by_host"
                              " WHERE timestamp >= ?1 AND timestamp < ?2 AND host_id = ?3",
                              from, to < pruning->before ? to : pruning->before, host_id, error)
               : err;
}

/* the host after the last one in the order of names, whatever bytes these are */
static enum mt_err next_host(struct pruning *pruning, bool *found, struct mt_error *error)
{
    struct sqlite_store *store = pruning->store;
    sqlite3_stmt *statement = NULL;
    enum mt_err err = mt_sqlite_statement(&store->file, MT_SQLITE_NEXT_HOST, &statement, error);

    if (err != MT_OK)
        return err;
    (void)sqlite3_bind_int64(statement, 1, pruning->has_host ? pruning->host_id : INT64_MIN);
    err = mt_sqlite_read_i64(store, statement, &pruning->host_id, found, error);
    pruning->has_host = err == MT_OK && *found;
    return err;
}

/* what is sealed of a day without belonging to a host; where that is not all, it is left as well */
static enum mt_err remove_unowned(struct pruning *pruning, struct mt_error *error)
{
    struct sqlite_store *store = pruning->store;
    sqlite3_stmt *statement = NULL;
    int64_t id = 0;
    bool found = false;
    enum mt_err err = MT_OK;

    if ((pruning->day + 1) * MT_BLOCK_SECONDS <= pruning->before) {
        err = mt_sqlite_statement(
            &store->file, "SELECT id FROM block INDEXED BY block_by_day WHERE day = ?1 LIMIT 1",
            &statement, error);
        if (err != MT_OK)
            return err;
        (void)sqlite3_bind_int64(statement, 1, pruning->day);
        err = mt_sqlite_read_i64(store, statement, &id, &found, error);
    }
    if (err == MT_OK && found)
        return drop_block(pruning, id, error);
    pruning->is_past_sealed = true;
    if (err == MT_OK && pruning->left.code == MT_OK)
        (void)mt_error_set(&pruning->left, MT_ERR_CORRUPT,
                           "store %s: day %lld is sealed of a host that does not exist; restore a "
                           "backup, or save what memory-tracker export still reads",
                           store->file.path, (long long)pruning->day);
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
    bool found = true;
    enum mt_err err = MT_OK;

    if (pruning->day != day)
        pruning->has_host = false;
    pruning->day = day;
    is_from_start = !pruning->has_host;
    /* when there are no more it begins anew, for what came when its host's turn was over */
    while (err == MT_OK && found &&
           (pruning->removed == 0 || mt_clock_monotonic_ms() - begun_ms < AIM_MS)) {
        err = next_host(pruning, &found, error);
        if (err == MT_OK && found)
            err = remove_host(pruning, pruning->host_id, error);
    }
    return err == MT_OK && !found && is_from_start && pruning->removed == 0
               ? remove_unowned(pruning, error)
               : err;
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
    enum mt_err err =
        pruning->is_past_sealed ? MT_OK : oldest_sealed(pruning, &day, &has_sealed, error);

    pruning->removed = 0;
    if (err != MT_OK)
        return err;
    err = remove_seconds(pruning, has_sealed ? day * MT_BLOCK_SECONDS : pruning->before, error);
    if (err == MT_OK && pruning->removed == 0 && has_sealed)
        err = remove_hosts(pruning, day, error);
    pruning->is_done = (!has_sealed || pruning->is_past_sealed) && pruning->removed == 0;
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
    if (err == MT_OK)
        err = mt_sqlite_give_back(store, NULL, NULL, error);
    return err == MT_OK && pruning.left.code != MT_OK
               ? mt_error_set(error, pruning.left.code, "%s", pruning.left.text)
               : err;
}
