#include "store/sqlite_late.h"

#include <stdlib.h>

#include "base/log.h"

/* numbers decoded at a time, 16 MiB; of a day that has more, these */
#define HELD_MOST (INT64_C(1) << 21)

enum { MOMENT_COLUMNS = 3 }; /* timestamp, boot, uptime */

struct mt_sqlite_late_day {
    int64_t host_id;
    int64_t day;
    bool is_there;
    bool is_damaged;
    bool is_whole;                     /* all of its columns are decoded */
    struct mt_sqlite_block_data *data; /* NULL: nothing is */
};

static enum mt_err no_memory(const struct mt_sqlite_late *late, struct mt_error *error)
{
    return mt_error_set(error, MT_ERR_NO_MEMORY, "store %s: append: out of memory",
                        late->store->file.path);
}

static void close_day(struct mt_sqlite_late_day *day)
{
    if (day->data != NULL)
        mt_sqlite_block_fini(day->data);
    free(day->data);
    day->data = NULL;
    day->is_whole = false;
}

static void close_all(struct mt_sqlite_late *late)
{
    for (size_t i = 0; i < late->count; i++)
        close_day(&late->days[i]);
    late->held = 0;
}

static bool is_day(const struct mt_sqlite_late *late, size_t index, int64_t host_id, int64_t day)
{
    return index < late->count && late->days[index].host_id == host_id &&
           late->days[index].day == day;
}

/* batches stay with a day, or go round through the hosts */
static bool recall(struct mt_sqlite_late *late, int64_t host_id, int64_t day)
{
    if (is_day(late, late->last, host_id, day))
        return true;
    if (is_day(late, late->last + 1, host_id, day)) {
        late->last++;
        return true;
    }
    for (size_t i = 0; i < late->count; i++) {
        if (is_day(late, i, host_id, day)) {
            late->last = i;
            return true;
        }
    }
    return false;
}

/* makes the day late->days[late->last] */
static enum mt_err look(struct mt_sqlite_late *late, int64_t host_id, int64_t day,
                        struct mt_error *error)
{
    struct mt_sqlite_late_day made = {.host_id = host_id, .day = day};
    sqlite3_stmt *statement = NULL;
    int64_t one;
    enum mt_err err;

    if (recall(late, host_id, day))
        return MT_OK;
    err = mt_sqlite_statement(&late->store->file, MT_SQLITE_IS_SEALED, &statement, error);
    if (err != MT_OK)
        return err;
    (void)sqlite3_bind_int64(statement, 1, host_id);
    (void)sqlite3_bind_int64(statement, 2, day);
    err = mt_sqlite_read_i64(late->store, statement, &one, &made.is_there, error);
    if (err != MT_OK)
        return err;
    if (late->count == late->capacity) {
        size_t capacity = late->capacity == 0 ? 4 : late->capacity * 2;
        struct mt_sqlite_late_day *grown = realloc(late->days, capacity * sizeof *grown);

        if (grown == NULL)
            return no_memory(late, error);
        late->days = grown;
        late->capacity = capacity;
    }
    late->last = late->count;
    late->days[late->count++] = made;
    return MT_OK;
}

enum mt_err mt_sqlite_late_look(struct mt_sqlite_late *late, int64_t host_id, int64_t day,
                                bool *is_sealed, struct mt_error *error)
{
    enum mt_err err = look(late, host_id, day, error);

    if (err == MT_OK)
        *is_sealed = late->days[late->last].is_there;
    return err;
}

/* decodes what tells one sample from another, or all */
static enum mt_err open_day(struct mt_sqlite_late *late, struct mt_sqlite_late_day *day,
                            bool is_whole, struct mt_error *error)
{
    uint64_t fields = is_whole ? MT_FIELD_ALL : MT_FIELD_BIT(MT_FIELD_UPTIME_S);
    struct mt_sqlite_block block = {0};
    bool found = false;
    enum mt_err err;

    if (day->data != NULL && (day->is_whole || !is_whole))
        return MT_OK;
    err = mt_sqlite_find_block(late->store, day->host_id, day->day, &block, &found, error);
    if (err != MT_OK)
        return err;
    close_day(day);
    if (late->held > HELD_MOST)
        close_all(late);
    day->data = calloc(1, sizeof *day->data);
    if (day->data == NULL)
        return no_memory(late, error);
    err = mt_sqlite_block_fetch(late->store, &block, fields, MT_SQLITE_PART_BOOT, day->data, &found,
                                error);
    if (err == MT_OK)
        err = mt_sqlite_block_decode(late->store, day->data, error);
    if (err != MT_OK) {
        close_day(day);
        return err;
    }
    day->is_whole = is_whole;
    late->held += block.records * (is_whole ? MT_SQLITE_COLUMNS : MOMENT_COLUMNS);
    return MT_OK;
}

/* nothing else is looked at to tell whether they are the same sample */
static bool is_moment_enough(const struct mt_record *a, const struct mt_record *b)
{
    uint64_t uptime = MT_FIELD_BIT(MT_FIELD_UPTIME_S);

    return a->has_boot_id && b->has_boot_id && (a->present & b->present & uptime) != 0;
}

static enum mt_err find(struct mt_sqlite_late *late, struct mt_sqlite_late_day *day, int64_t second,
                        const struct mt_record *record, struct sqlite_row *row, bool *found,
                        struct mt_error *error)
{
    size_t index;
    enum mt_err err = open_day(late, day, false, error);

    if (err != MT_OK)
        return err;
    index = mt_sqlite_block_at(day->data, second);
    *found = index < (size_t)day->data->block.records && day->data->timestamps[index] == second;
    if (!*found)
        return MT_OK;
    err = mt_sqlite_block_row(late->store, day->data, index, row, error);
    if (err != MT_OK || day->is_whole || is_moment_enough(record, &row->record))
        return err;
    err = open_day(late, day, true, error);
    return err == MT_OK ? mt_sqlite_block_row(late->store, day->data, index, row, error) : err;
}

static void warn(struct sqlite_store *store, const struct mt_sqlite_late_day *day,
                 const struct mt_error *failure)
{
    if (store->damaged_host_id == day->host_id && store->damaged_day == day->day)
        return;
    store->damaged_host_id = day->host_id;
    store->damaged_day = day->day;
    mt_log(
        MT_LOG_WARNING,
        "%s. What comes late to that day is kept beside it, without knowing whether it was there",
        failure->text);
}

enum mt_err mt_sqlite_late_find(struct mt_sqlite_late *late, int64_t host_id, int64_t second,
                                const struct mt_record *record, struct sqlite_row *row, bool *found,
                                struct mt_error *error)
{
    struct mt_sqlite_late_day *day;
    struct mt_error failure = {0};
    enum mt_err err = look(late, host_id, second / MT_BLOCK_SECONDS, error);

    *found = false;
    if (err != MT_OK)
        return err;
    day = &late->days[late->last];
    if (!day->is_there || day->is_damaged)
        return MT_OK;
    err = find(late, day, second, record, row, found, &failure);
    if (err == MT_OK)
        return MT_OK;
    *found = false;
    if (err != MT_ERR_CORRUPT)
        return mt_error_set(error, err, "%s", failure.text);
    /* a queue that waits behind this record would wait for ever */
    close_day(day);
    day->is_damaged = true;
    warn(late->store, day, &failure);
    return MT_OK;
}

void mt_sqlite_late_fini(struct mt_sqlite_late *late)
{
    close_all(late);
    free(late->days);
    late->days = NULL;
    late->count = 0;
    late->capacity = 0;
}
