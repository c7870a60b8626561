#include <string.h>

#include "store/sqlite_block.h"

/*
 * Numbers of fields are made together with the first block that has them: who sees a block finds
 * all of its fields' numbers in the table.
 */
static enum mt_err read_columns(struct sqlite_store *store, int64_t block_id,
                                struct mt_error *error)
{
    sqlite3_stmt *statement = NULL;
    int result = SQLITE_DONE;
    enum mt_err err =
        mt_sqlite_statement(&store->file, "SELECT id,name FROM block_field", &statement, error);

    if (err != MT_OK)
        return err;
    memset(store->column_field, 0, sizeof store->column_field);
    while ((result = sqlite3_step(statement)) == SQLITE_ROW) {
        int column = sqlite3_column_int(statement, 0);
        const char *name = (const char *)sqlite3_column_text(statement, 1);
        enum mt_field field;

        if (column >= MT_SQLITE_COLUMN_FIELDS && column < MT_SQLITE_COLUMNS && name != NULL &&
            mt_field_find(name, (size_t)sqlite3_column_bytes(statement, 1), &field))
            store->column_field[column] = (uint8_t)(field + 1);
    }
    if (result != SQLITE_DONE)
        err = mt_sqlite_fail(&store->file, result, "read", error);
    (void)sqlite3_reset(statement);
    /* what is not committed yet may be rolled back, and the numbers given to others */
    store->columns_known_to =
        err == MT_OK && sqlite3_txn_state(store->file.db, "main") != SQLITE_TXN_WRITE ? block_id
                                                                                      : 0;
    return err;
}

int mt_sqlite_field_column(const struct sqlite_store *store, enum mt_field field)
{
    for (int i = MT_SQLITE_COLUMN_FIELDS; i < MT_SQLITE_COLUMNS; i++)
        if (store->column_field[i] == field + 1)
            return i;
    return 0;
}

enum mt_err mt_sqlite_know_columns(struct sqlite_store *store, int64_t block_id, uint64_t fields,
                                   struct mt_error *error)
{
    if (store->columns_known_to >= block_id)
        return MT_OK;
    if (store->columns_known_to > 0) {
        bool is_known = true;

        for (enum mt_field i = 0; i < MT_FIELD_COUNT; i++)
            if ((fields & MT_FIELD_BIT(i)) != 0 && mt_sqlite_field_column(store, i) == 0)
                is_known = false;
        if (is_known)
            return MT_OK;
    }
    return read_columns(store, block_id, error);
}

const char *mt_sqlite_column_name(const struct sqlite_store *store, int column)
{
    static const char *const own[] = {"timestamp", "seq", "boot_id"};

    if (column >= 0 && column < MT_SQLITE_COLUMN_FIELDS)
        return own[column];
    if (column < 0 || column >= MT_SQLITE_COLUMNS || store->column_field[column] == 0)
        return "?";
    return mt_field_info((enum mt_field)(store->column_field[column] - 1))->name;
}
