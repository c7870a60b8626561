#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "store/sqlite.h"

void mt_sqlite_columns(const struct sqlite_store *store, uint64_t fields, struct mt_buf *sql)
{
    mt_buf_append_string(sql, "seq,host_id,timestamp,boot_id");
    for (enum mt_field i = 0; i < MT_FIELD_COUNT; i++) {
        if ((fields & MT_FIELD_BIT(i)) == 0)
            continue;
        mt_buf_append_char(sql, ',');
        mt_buf_append_string(sql, (store->lacking & MT_FIELD_BIT(i)) != 0 ? "NULL"
                                                                          : mt_field_info(i)->name);
    }
}

enum mt_err mt_sqlite_read_row(struct sqlite_store *store, sqlite3_stmt *statement, uint64_t fields,
                               struct sqlite_row *row, struct mt_error *error)
{
    struct mt_record *record = &row->record;
    int column = 4;
    enum mt_err err;

    row->seq = sqlite3_column_int64(statement, 0);
    row->host_id = sqlite3_column_int64(statement, 1);
    record->timestamp = sqlite3_column_int64(statement, 2);
    record->has_boot_id = sqlite3_column_type(statement, 3) != SQLITE_NULL;
    record->present = 0;
    memset(record->boot_id, 0, sizeof record->boot_id);
    memset(record->value, 0, sizeof record->value);
    err = mt_sqlite_host_name(store, row->host_id, record->host, error);
    if (err == MT_OK && record->has_boot_id)
        err =
            mt_sqlite_boot_uuid(store, sqlite3_column_int64(statement, 3), record->boot_id, error);
    for (enum mt_field i = 0; i < MT_FIELD_COUNT; i++) {
        if ((fields & MT_FIELD_BIT(i)) == 0)
            continue;
        if (sqlite3_column_type(statement, column) != SQLITE_NULL)
            mt_record_set(record, i, sqlite3_column_int64(statement, column));
        column++;
    }
    return err;
}

enum mt_err mt_sqlite_add_row(struct sqlite_store *store, sqlite3_stmt *statement, uint64_t fields,
                              struct sqlite_rows *rows, struct mt_error *error)
{
    enum mt_err err;

    if (rows->count == rows->capacity) {
        size_t capacity = rows->capacity == 0 ? 16 : rows->capacity * 2;
        struct sqlite_row *grown = realloc(rows->rows, capacity * sizeof *grown);

        if (grown == NULL)
            return mt_error_set(error, MT_ERR_NO_MEMORY, "store %s: read: out of memory",
                                store->file.path);
        rows->rows = grown;
        rows->capacity = capacity;
    }
    err = mt_sqlite_read_row(store, statement, fields, &rows->rows[rows->count], error);
    if (err == MT_OK)
        rows->count++;
    return err;
}

enum mt_err mt_sqlite_read_i64(struct sqlite_store *store, sqlite3_stmt *statement, int64_t *value,
                               bool *found, struct mt_error *error)
{
    int result = sqlite3_step(statement);
    enum mt_err err = MT_OK;

    *found = result == SQLITE_ROW && sqlite3_column_type(statement, 0) != SQLITE_NULL;
    if (*found)
        *value = sqlite3_column_int64(statement, 0);
    if (result != SQLITE_ROW && result != SQLITE_DONE)
        err = mt_sqlite_fail(&store->file, result, "read", error);
    (void)sqlite3_reset(statement);
    return err;
}
