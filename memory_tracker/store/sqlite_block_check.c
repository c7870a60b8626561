#include <string.h>

#include "store/sqlite_block.h"

/* FNV-1a: not against forgery, but a changed bit does not go unnoticed */
static void add_bytes(struct mt_sqlite_check *check, const void *bytes, size_t size)
{
    const uint8_t *at = bytes;
    uint64_t sum = check->sum;

    for (size_t i = 0; i < size; i++)
        sum = (sum ^ at[i]) * UINT64_C(1099511628211);
    check->sum = sum;
}

static void add_number(struct mt_sqlite_check *check, int64_t number)
{
    uint8_t bytes[8];

    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (uint8_t)((uint64_t)number >> 8 * i);
    add_bytes(check, bytes, sizeof bytes);
}

static void add_blob(struct mt_sqlite_check *check, const void *bytes, size_t size)
{
    add_number(check, (int64_t)size);
    add_bytes(check, bytes, size);
}

void mt_sqlite_check_block(struct mt_sqlite_check *check, const struct mt_sqlite_block *block,
                           const void *hours, size_t hours_size)
{
    check->sum = UINT64_C(14695981039346656037);
    add_number(check, block->host_id);
    add_number(check, block->day);
    add_number(check, block->records);
    add_number(check, block->first);
    add_number(check, block->last);
    add_number(check, block->first_seq);
    add_number(check, block->last_seq);
    add_blob(check, hours, hours_size);
}

void mt_sqlite_check_column(struct mt_sqlite_check *check, int column, const char *name,
                            const struct mt_block_summary *summary, const void *hours,
                            size_t hours_size, const void *data, size_t data_size)
{
    add_number(check, column);
    if (name != NULL)
        add_blob(check, name, strlen(name));
    add_number(check, summary->count);
    add_number(check, summary->min);
    add_number(check, summary->max);
    add_blob(check, hours, hours_size);
    add_blob(check, data, data_size);
}

/* the block's own row; *stated is the checksum it has */
static enum mt_err check_row(struct sqlite_store *store, int64_t id, bool *found,
                             struct mt_sqlite_check *check, uint64_t *stated,
                             struct mt_error *error)
{
    sqlite3_stmt *statement = NULL;
    enum mt_err err = mt_sqlite_statement(
        &store->file, "SELECT " MT_SQLITE_BLOCK_COLUMNS ",checksum FROM block WHERE id = ?1",
        &statement, error);
    int result;

    if (err != MT_OK)
        return err;
    (void)sqlite3_bind_int64(statement, 1, id);
    result = sqlite3_step(statement);
    if (result == SQLITE_ROW) {
        const struct mt_sqlite_block block = mt_sqlite_block_columns(statement);
        const void *hours = sqlite3_column_blob(statement, 8);

        mt_sqlite_check_block(check, &block, hours, (size_t)sqlite3_column_bytes(statement, 8));
        *stated = (uint64_t)sqlite3_column_int64(statement, 9);
    } else if (result != SQLITE_DONE) {
        err = mt_sqlite_fail(&store->file, result, "read", error);
    }
    (void)sqlite3_reset(statement);
    *found = result == SQLITE_ROW;
    return err;
}

static enum mt_err check_columns(struct sqlite_store *store, int64_t id,
                                 struct mt_sqlite_check *check, struct mt_error *error)
{
    sqlite3_stmt *statement = NULL;
    int result = SQLITE_DONE;
    enum mt_err err = mt_sqlite_statement(&store->file,
                                          "SELECT id,count,min,max,hours,data,"
                                          " (SELECT name FROM block_field AS f"
                                          "   WHERE f.id = block_column.id % 64)"
                                          " FROM block_column"
                                          " WHERE id BETWEEN ?1 AND ?2 ORDER BY id",
                                          &statement, error);

    if (err != MT_OK)
        return err;
    (void)sqlite3_bind_int64(statement, 1, id * MT_SQLITE_COLUMNS);
    (void)sqlite3_bind_int64(statement, 2, id * MT_SQLITE_COLUMNS + MT_SQLITE_COLUMNS - 1);
    while ((result = sqlite3_step(statement)) == SQLITE_ROW) {
        const struct mt_block_summary summary = {
            .count = sqlite3_column_int64(statement, 1),
            .min = sqlite3_column_int64(statement, 2),
            .max = sqlite3_column_int64(statement, 3),
        };
        const void *hours = sqlite3_column_blob(statement, 4);
        const void *data = sqlite3_column_blob(statement, 5);

        mt_sqlite_check_column(check, (int)(sqlite3_column_int64(statement, 0) % MT_SQLITE_COLUMNS),
                               (const char *)sqlite3_column_text(statement, 6), &summary, hours,
                               (size_t)sqlite3_column_bytes(statement, 4), data,
                               (size_t)sqlite3_column_bytes(statement, 5));
    }
    if (result != SQLITE_DONE)
        err = mt_sqlite_fail(&store->file, result, "read", error);
    (void)sqlite3_reset(statement);
    return err;
}

enum mt_err mt_sqlite_block_checksum(struct sqlite_store *store, int64_t id, bool *found,
                                     bool *is_right, struct mt_error *error)
{
    struct mt_sqlite_check check = {0};
    uint64_t stated = 0;
    enum mt_err err = check_row(store, id, found, &check, &stated, error);

    if (err == MT_OK && *found)
        err = check_columns(store, id, &check, error);
    if (err == MT_OK)
        *is_right = *found && check.sum == stated;
    return err;
}
