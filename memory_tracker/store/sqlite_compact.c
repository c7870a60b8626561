#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/log.h"
#include "store/sqlite_block.h"

enum {
    ROWS_PER_LOCK = 2048, /* loose rows read under one lock */
    TRIES = 5, /* for a day that others write into meanwhile; the last one keeps them out */
    LOCKED_MOST = 4096, /* records of a day for which they are: some tens of milliseconds */
};

struct host_day {
    int64_t host_id;
    int64_t day;
};

/* A compaction on its way. */
struct compacting {
    struct sqlite_store *store;
    struct mt_compaction *compaction;
    int64_t before; /* loose records before this second are due */
    /* the oldest loose record that may be sealed comes after this one */
    int64_t timestamp;
    int64_t host_id;
    /* days that are left as they are */
    struct host_day *left;
    size_t left_count, left_capacity;
    int64_t held_ms; /* see mt_sqlite_take_turns */
};

/* A loose record that was kept beside a day when that was damaged, and is not the sealed one. */
struct moved {
    int64_t from, to;
};

/* What one host-day is made of, and what it was like when it was read. */
struct day {
    struct host_day key;
    bool is_sealed;
    struct mt_sqlite_block block; /* if it is */
    struct sqlite_rows rows;      /* its records, then the loose ones; at last all in order */
    int64_t loose;                /* how many are loose */
    int64_t last_seq;             /* the greatest of these */
    uint64_t sum;                 /* of their marks of arrival */
    struct moved *moved;          /* of the records, which belong to another second */
    size_t moved_count;
    bool is_elsewhere; /* a record that is dropped is there, at another second */
    bool has_twins;    /* a second has two records, and no other one is free */
};

static bool is_over(void *context)
{
    const struct mt_compaction *compaction = context;

    return (compaction->deadline_ms != 0 && mt_clock_monotonic_ms() >= compaction->deadline_ms) ||
           (compaction->cancelled != NULL && compaction->cancelled(compaction->cancel_context));
}

static bool is_left(const struct compacting *compacting, const struct host_day *day)
{
    for (size_t i = 0; i < compacting->left_count; i++)
        if (compacting->left[i].host_id == day->host_id && compacting->left[i].day == day->day)
            return true;
    return false;
}

static enum mt_err leave(struct compacting *compacting, const struct host_day *day,
                         struct mt_error *error)
{
    if (compacting->left_count == compacting->left_capacity) {
        size_t capacity = compacting->left_capacity == 0 ? 8 : compacting->left_capacity * 2;
        struct host_day *grown = realloc(compacting->left, capacity * sizeof *grown);

        if (grown == NULL)
            return mt_error_set(error, MT_ERR_NO_MEMORY, "store %s: seal: out of memory",
                                compacting->store->file.path);
        compacting->left = grown;
        compacting->left_capacity = capacity;
    }
    compacting->left[compacting->left_count++] = *day;
    return MT_OK;
}

/* the host-day of the oldest loose record that is due and not left */
static enum mt_err find_next(struct compacting *compacting, struct host_day *day, bool *found,
                             struct mt_error *error)
{
    sqlite3_stmt *statement = NULL;
    int result = SQLITE_DONE;
    enum mt_err err = mt_sqlite_statement(
        &compacting->store->file,
        "SELECT timestamp,host_id FROM memory_log INDEXED BY memory_log_by_time"
        " WHERE (timestamp,host_id) > (?1,?2) AND timestamp < ?3 ORDER BY timestamp,host_id",
        &statement, error);

    *found = false;
    if (err != MT_OK)
        return err;
    (void)sqlite3_bind_int64(statement, 1, compacting->timestamp);
    (void)sqlite3_bind_int64(statement, 2, compacting->host_id);
    (void)sqlite3_bind_int64(statement, 3, compacting->before);
    while (!*found && (result = sqlite3_step(statement)) == SQLITE_ROW) {
        int64_t timestamp = sqlite3_column_int64(statement, 0);

        *day = (struct host_day){sqlite3_column_int64(statement, 1), timestamp / MT_BLOCK_SECONDS};
        *found = !is_left(compacting, day);
        if (!*found) {
            compacting->timestamp = timestamp;
            compacting->host_id = day->host_id;
        }
    }
    if (!*found && result != SQLITE_DONE)
        err = mt_sqlite_fail(&compacting->store->file, result, "read", error);
    (void)sqlite3_reset(statement);
    return err;
}

/* some more loose rows of the day, from a second on */
static enum mt_err read_some(struct sqlite_store *store, struct day *day, int64_t from,
                             struct mt_error *error)
{
    sqlite3_stmt *statement = NULL;
    struct mt_buf sql;
    int result = SQLITE_DONE;
    enum mt_err err;

    mt_buf_init(&sql, 0);
    mt_buf_append_string(&sql, "SELECT ");
    mt_sqlite_columns(store, MT_FIELD_ALL, &sql);
    mt_buf_append_string(&sql, " FROM memory_log INDEXED BY memory_log_by_host WHERE host_id = ?1"
                               " AND timestamp >= ?2 AND timestamp < ?3"
                               " ORDER BY timestamp LIMIT ?4");
    err = mt_buf_string(&sql) == NULL
              ? mt_error_set(error, MT_ERR_NO_MEMORY, "store %s: out of memory", store->file.path)
              : mt_sqlite_statement(&store->file, mt_buf_string(&sql), &statement, error);
    mt_buf_fini(&sql);
    if (err != MT_OK)
        return err;
    (void)sqlite3_bind_int64(statement, 1, day->key.host_id);
    (void)sqlite3_bind_int64(statement, 2, from);
    (void)sqlite3_bind_int64(statement, 3, (day->key.day + 1) * MT_BLOCK_SECONDS);
    (void)sqlite3_bind_int64(statement, 4, ROWS_PER_LOCK);
    while (err == MT_OK && (result = sqlite3_step(statement)) == SQLITE_ROW)
        err = mt_sqlite_add_row(store, statement, MT_FIELD_ALL, &day->rows, error);
    if (err == MT_OK && result != SQLITE_DONE)
        err = mt_sqlite_fail(&store->file, result, "read", error);
    (void)sqlite3_reset(statement);
    return err;
}

/* under several locks: what comes and goes between them is noticed when the day is stored */
static enum mt_err read_loose(struct sqlite_store *store, struct day *day, struct mt_error *error)
{
    int64_t from = day->key.day * MT_BLOCK_SECONDS;
    size_t sealed = day->rows.count;
    size_t before;
    enum mt_err err;

    do {
        before = day->rows.count;
        err = read_some(store, day, from, error);
        if (day->rows.count > before)
            from = day->rows.rows[day->rows.count - 1].record.timestamp + 1;
    } while (err == MT_OK && day->rows.count == before + ROWS_PER_LOCK);
    day->loose = (int64_t)(day->rows.count - sealed);
    for (size_t i = sealed; i < day->rows.count; i++) {
        day->sum += (uint64_t)day->rows.rows[i].seq;
        if (day->rows.rows[i].seq > day->last_seq)
            day->last_seq = day->rows.rows[i].seq;
    }
    return err;
}

static enum mt_err add_sealed(struct sqlite_store *store, struct day *day,
                              const struct mt_sqlite_block_data *data, struct mt_error *error)
{
    size_t records = (size_t)data->block.records;
    struct sqlite_rows *rows = &day->rows;
    enum mt_err err = MT_OK;

    rows->rows = calloc(records, sizeof *rows->rows);
    if (rows->rows == NULL)
        return mt_error_set(error, MT_ERR_NO_MEMORY, "store %s: seal: out of memory",
                            store->file.path);
    rows->capacity = records;
    for (; rows->count < records && err == MT_OK; rows->count++)
        err = mt_sqlite_block_row(store, data, rows->count, &rows->rows[rows->count], error);
    return err;
}

static enum mt_err read_sealed(struct sqlite_store *store, struct day *day, struct mt_error *error)
{
    struct mt_sqlite_block_data data = {0};
    bool found = false;
    enum mt_err err = mt_sqlite_find_block(store, day->key.host_id, day->key.day, &day->block,
                                           &day->is_sealed, error);

    if (err != MT_OK || !day->is_sealed)
        return err;
    err = mt_sqlite_block_fetch(store, &day->block, MT_FIELD_ALL,
                                MT_SQLITE_PART_SEQ | MT_SQLITE_PART_BOOT, &data, &found, error);
    /* gone meanwhile: noticed when the day is stored */
    if (err == MT_OK && found)
        err = mt_sqlite_block_decode(store, &data, error);
    if (err == MT_OK && found)
        err = add_sealed(store, day, &data, error);
    mt_sqlite_block_fini(&data);
    return err;
}

/* what came first, first */
static int by_time(const void *a, const void *b)
{
    const struct sqlite_row *left = a;
    const struct sqlite_row *right = b;

    if (left->record.timestamp != right->record.timestamp)
        return left->record.timestamp < right->record.timestamp ? -1 : 1;
    return (left->seq > right->seq) - (left->seq < right->seq);
}

/* puts a record at the first free second after its own, if it is not at one before, where it was
 * put when it first came; false: none is free in this day */
static bool move(struct day *day, struct sqlite_row row)
{
    struct moved *moved = &day->moved[day->moved_count];
    struct sqlite_row *rows = day->rows.rows;
    int64_t second = row.record.timestamp;
    size_t at = 0;

    while (at < day->rows.count && rows[at].record.timestamp <= second) {
        if (rows[at].record.timestamp == second &&
            mt_record_is_repeat(&row.record, &rows[at].record)) {
            day->is_elsewhere = true;
            return true;
        }
        if (rows[at].record.timestamp == second)
            second++;
        at++;
    }
    if (second / MT_BLOCK_SECONDS != day->key.day)
        return false;
    *moved = (struct moved){row.record.timestamp, second};
    day->moved_count++;
    row.record.timestamp = second;
    memmove(&rows[at + 1], &rows[at], (day->rows.count - at) * sizeof *rows);
    rows[at] = row;
    day->rows.count++;
    return true;
}

/* of a second with two records the later one goes: it is the same, or is moved */
static enum mt_err part_twins(struct sqlite_store *store, struct day *day, struct mt_error *error)
{
    struct sqlite_rows *rows = &day->rows;
    struct sqlite_row *others = NULL; /* in order */
    size_t other_count = 0;
    size_t kept = 1;

    for (size_t i = 1; i < rows->count; i++) {
        const struct mt_record *before = &rows->rows[kept - 1].record;
        const struct mt_record *record = &rows->rows[i].record;

        if (record->timestamp != before->timestamp) {
            rows->rows[kept++] = rows->rows[i];
        } else if (!mt_record_is_repeat(record, before)) {
            if (others == NULL)
                others = calloc(rows->count - i, sizeof *others);
            if (others == NULL)
                return mt_error_set(error, MT_ERR_NO_MEMORY, "store %s: seal: out of memory",
                                    store->file.path);
            others[other_count++] = rows->rows[i];
        }
    }
    rows->count = kept;
    day->moved = calloc(other_count + 1, sizeof *day->moved);
    if (day->moved == NULL) {
        free(others);
        return mt_error_set(error, MT_ERR_NO_MEMORY, "store %s: seal: out of memory",
                            store->file.path);
    }
    for (size_t i = 0; i < other_count && !day->has_twins; i++)
        day->has_twins = !move(day, others[i]);
    free(others);
    return MT_OK;
}

/* the block first: a record is never loose after it was sealed, but sealed after it was loose */
static enum mt_err read_day(struct sqlite_store *store, struct day *day, struct mt_error *error)
{
    struct sqlite_rows *rows = &day->rows;
    enum mt_err err = read_sealed(store, day, error);

    if (err == MT_OK)
        err = read_loose(store, day, error);
    if (err != MT_OK || day->loose == 0)
        return err;
    qsort(rows->rows, rows->count, sizeof *rows->rows, by_time);
    for (size_t i = 1; i < rows->count; i++)
        if (rows->rows[i].record.timestamp == rows->rows[i - 1].record.timestamp)
            return part_twins(store, day, error);
    return MT_OK;
}

/* a statement on the loose records of the host-day */
static enum mt_err loose_statement(struct sqlite_store *store, const struct day *day,
                                   const char *sql, sqlite3_stmt **statement,
                                   struct mt_error *error)
{
    enum mt_err err = mt_sqlite_statement(&store->file, sql, statement, error);

    if (err != MT_OK)
        return err;
    (void)sqlite3_bind_int64(*statement, 1, day->key.host_id);
    (void)sqlite3_bind_int64(*statement, 2, day->key.day * MT_BLOCK_SECONDS);
    (void)sqlite3_bind_int64(*statement, 3, (day->key.day + 1) * MT_BLOCK_SECONDS);
    return MT_OK;
}

/*
 * *is_same: the day is as it was read: records are never changed, and new ones have greater marks:
 * as many of them in place of some that went between two locks show in the sum.
 */
static enum mt_err check_unchanged(struct sqlite_store *store, const struct day *day, bool *is_same,
                                   struct mt_error *error)
{
    struct mt_sqlite_block block = {0};
    sqlite3_stmt *statement = NULL;
    bool is_sealed = false;
    enum mt_err err = loose_statement(store, day,
                                      "SELECT count(*),max(seq),sum(seq) FROM memory_log"
                                      " INDEXED BY memory_log_by_host"
                                      " WHERE host_id = ?1 AND timestamp >= ?2 AND timestamp < ?3",
                                      &statement, error);
    int result;

    if (err != MT_OK)
        return err;
    result = sqlite3_step(statement);
    *is_same = result == SQLITE_ROW && sqlite3_column_int64(statement, 0) == day->loose &&
               sqlite3_column_int64(statement, 1) == day->last_seq &&
               (uint64_t)sqlite3_column_int64(statement, 2) == day->sum;
    if (result != SQLITE_ROW)
        err = mt_sqlite_fail(&store->file, result, "read", error);
    (void)sqlite3_reset(statement);
    if (err == MT_OK)
        err =
            mt_sqlite_find_block(store, day->key.host_id, day->key.day, &block, &is_sealed, error);
    if (is_sealed != day->is_sealed || (is_sealed && block.id != day->block.id))
        *is_same = false;
    return err;
}

static enum mt_err replace(struct sqlite_store *store, const struct day *day,
                           const struct mt_sqlite_sealed *sealed, struct mt_error *error)
{
    sqlite3_stmt *statement = NULL;
    enum mt_err err = MT_OK;

    /* and nobody pruned the one and brought the other meanwhile */
    if (day->has_twins)
        return mt_sqlite_block_corrupt(store, day->key.host_id, day->key.day, NULL,
                                       "has another record than table memory_log at a second, and "
                                       "no free one after it",
                                       error);
    if (day->is_sealed)
        err = mt_sqlite_drop_block(store, day->block.id, error);
    if (err == MT_OK)
        err = mt_sqlite_put_sealed(store, sealed, error);
    if (err == MT_OK)
        err = loose_statement(store, day,
                              "DELETE FROM memory_log INDEXED BY memory_log_by_host"
                              " WHERE host_id = ?1 AND timestamp >= ?2 AND timestamp < ?3",
                              &statement, error);
    if (err == MT_OK)
        err = mt_sqlite_run(&store->file, statement, error);
    /* who follows the order of arrival has passed the records that are elsewhere now */
    if (err == MT_OK && (day->moved_count > 0 || day->is_elsewhere))
        err = mt_sqlite_exec(&store->file, "UPDATE meta SET generation = random()", error);
    return err == MT_OK
               ? mt_sqlite_count_less(store, day->key.host_id, day->key.day, day->loose, error)
               : err;
}

/* encodes what was read */
static enum mt_err encode_day(struct sqlite_store *store, const struct day *day,
                              struct mt_sqlite_sealed **sealed, struct mt_error *error)
{
    return day->loose > 0 && !day->has_twins
               ? mt_sqlite_seal(store, day->rows.rows, day->rows.count, sealed, error)
               : MT_OK;
}

static enum mt_err store_day(struct compacting *compacting, struct day *day,
                             struct mt_sqlite_sealed **sealed, bool is_locked, bool *is_stored,
                             struct mt_error *error)
{
    struct sqlite_store *store = compacting->store;
    enum mt_err err = mt_sqlite_begin(&store->file, error);
    int64_t begun_ms = mt_clock_monotonic_ms();

    if (err != MT_OK)
        return err;
    if (is_locked)
        err = read_day(store, day, error);
    if (err == MT_OK && is_locked)
        err = encode_day(store, day, sealed, error);
    if (err == MT_OK)
        err = check_unchanged(store, day, is_stored, error);
    if (err == MT_OK && *is_stored && day->loose > 0)
        err = replace(store, day, *sealed, error);
    if (err == MT_OK && *is_stored && day->loose > 0)
        err = mt_sqlite_commit(&store->file, error);
    else
        mt_sqlite_rollback(&store->file);
    if (err != MT_OK)
        *is_stored = false;
    mt_sqlite_take_turns(&compacting->held_ms, mt_clock_monotonic_ms() - begun_ms);
    return err;
}

/* what was done to a day */
static void note(struct compacting *compacting, const struct day *day)
{
    struct mt_error ignored = {0};
    char host[MT_HOST_MAX + 1] = "?";

    compacting->compaction->days++;
    compacting->compaction->records += day->loose;
    if (day->moved_count > 0)
        (void)mt_sqlite_host_name(compacting->store, day->key.host_id, host, &ignored);
    for (size_t i = 0; i < day->moved_count; i++)
        mt_log(MT_LOG_WARNING,
               "second %" PRId64 " of host %s has two records, one sealed and one that was kept "
               "beside its day when that was damaged: the latter is kept at %" PRId64,
               day->moved[i].from, host, day->moved[i].to);
}

/* *is_stored false: others wrote into it meanwhile */
static enum mt_err try_day(struct compacting *compacting, const struct host_day *key,
                           bool is_locked, size_t *records, bool *is_stored, struct mt_error *error)
{
    struct sqlite_store *store = compacting->store;
    struct day day = {.key = *key};
    struct mt_sqlite_sealed *sealed = NULL;
    enum mt_err err = MT_OK;

    if (!is_locked)
        err = read_day(store, &day, error);
    if (err == MT_OK && !is_locked)
        err = encode_day(store, &day, &sealed, error);
    if (err == MT_OK && (is_locked || day.loose > 0))
        err = store_day(compacting, &day, &sealed, is_locked, is_stored, error);
    if (err == MT_OK && *is_stored && day.loose > 0)
        note(compacting, &day);
    /* sealed or pruned by another meanwhile */
    if (err == MT_OK && day.loose == 0)
        *is_stored = true;
    *records = day.rows.count;
    mt_sqlite_sealed_free(sealed);
    free(day.rows.rows);
    free(day.moved);
    return err;
}

/* *is_stored false: others write into it, every time */
static enum mt_err seal_day(struct compacting *compacting, const struct host_day *key,
                            bool *is_stored, struct mt_error *error)
{
    size_t records = 0;
    enum mt_err err = MT_OK;

    *is_stored = false;
    for (int i = 1; i <= TRIES && err == MT_OK && !*is_stored; i++)
        err = try_day(compacting, key, i == TRIES && records <= LOCKED_MOST, &records, is_stored,
                      error);
    return err;
}

/* what is wrong with one day; anything else ends the compaction */
static bool is_of_a_day(enum mt_err err)
{
    return err == MT_ERR_CORRUPT || err == MT_ERR_FAILED;
}

static enum mt_err seal_due(struct compacting *compacting, struct mt_error *error)
{
    struct mt_compaction *compaction = compacting->compaction;
    struct mt_error worst = {0};
    struct host_day day;
    bool found = true;
    enum mt_err err = MT_OK;

    while (err == MT_OK && found) {
        struct mt_error failure = {0};
        bool is_stored = false;

        /* looked for first: who has no time for a day still learns whether there is one */
        err = find_next(compacting, &day, &found, error);
        if (err != MT_OK || !found || is_over(compaction))
            break;
        err = seal_day(compacting, &day, &is_stored, &failure);
        if (is_of_a_day(err) && worst.code == MT_OK)
            worst = failure;
        if (err != MT_OK && !is_of_a_day(err) && error != NULL)
            *error = failure;
        if (is_of_a_day(err) || (err == MT_OK && !is_stored))
            err = leave(compacting, &day, error);
    }
    compaction->is_done = err == MT_OK && !found && compacting->left_count == 0;
    if (err != MT_OK || worst.code == MT_OK)
        return err;
    if (error != NULL)
        *error = worst;
    return worst.code;
}

enum mt_err mt_sqlite_compact(struct mt_store *base, struct mt_compaction *compaction,
                              struct mt_error *error)
{
    struct sqlite_store *store = (struct sqlite_store *)base;
    struct compacting compacting = {.store = store, .compaction = compaction, .timestamp = -1};
    struct mt_error failure = {0};
    enum mt_err err;
    enum mt_err space;

    compaction->days = 0;
    compaction->records = 0;
    compaction->is_done = false;
    if (store->file.read_only)
        return mt_error_set(error, MT_ERR_READ_ONLY, "store %s: was opened for reading only",
                            store->file.path);
    if (compaction->now_s > MT_SEAL_AFTER_S)
        compacting.before =
            (compaction->now_s - MT_SEAL_AFTER_S) / MT_BLOCK_SECONDS * MT_BLOCK_SECONDS;
    err = mt_sqlite_store_look(store, error);
    /* zeroing what is freed would write every page once more */
    if (err == MT_OK)
        err =
            mt_sqlite_exec(&store->file, "PRAGMA secure_delete=OFF; PRAGMA cache_spill=OFF", error);
    if (err != MT_OK)
        return err;
    /* the trigger that counts each record that goes would take most of a day's transaction */
    (void)sqlite3_db_config(store->file.db, SQLITE_DBCONFIG_ENABLE_TRIGGER, 0, NULL);
    err = seal_due(&compacting, error);
    (void)sqlite3_db_config(store->file.db, SQLITE_DBCONFIG_ENABLE_TRIGGER, 1, NULL);
    free(compacting.left);
    if (err != MT_OK && !is_of_a_day(err))
        return err;
    space = mt_sqlite_give_back(store, is_over, compaction, &failure);
    if (space != MT_OK)
        compaction->is_done = false;
    if (err != MT_OK || space == MT_OK)
        return err;
    return mt_error_set(error, space, "%s", failure.text);
}
