#include "store/sqlite_block.h"

#include <stdlib.h>
#include <string.h>

#include "base/utc.h"

enum {
    FEW = 12, /* columns that are sought one by one */
    VERSION_WITH_BLOCKS = 2,
};

/* A column's bytes among the data's. */
struct mt_sqlite_block_piece {
    int column;
    uint8_t field; /* + 1, as in store->column_field */
    const char *name;
    struct mt_block_summary summary;
    size_t offset;
    size_t size;
};

static const char too_large[] = "has more bytes than its records can have";

static enum mt_err no_memory(const struct sqlite_store *store, struct mt_error *error)
{
    return mt_error_set(error, MT_ERR_NO_MEMORY, "store %s: read: out of memory", store->file.path);
}

bool mt_sqlite_has_blocks(struct sqlite_store *store)
{
    sqlite3_stmt *statement = NULL;
    struct mt_error ignored = {0};
    int64_t version = 0;
    bool found = false;

    if (!store->file.read_only)
        return true;
    if (!store->has_blocks &&
        mt_sqlite_statement(&store->file, "PRAGMA user_version", &statement, &ignored) == MT_OK &&
        mt_sqlite_read_i64(store, statement, &version, &found, &ignored) == MT_OK)
        store->has_blocks = found && version >= VERSION_WITH_BLOCKS;
    return store->has_blocks;
}

enum mt_err mt_sqlite_block_corrupt(struct sqlite_store *store, int64_t host_id, int64_t day,
                                    const char *column, const char *what, struct mt_error *error)
{
    struct mt_error ignored = {0};
    char host[MT_HOST_MAX + 1] = "?";
    char date[MT_UTC_SIZE] = "?";

    (void)mt_sqlite_host_name(store, host_id, host, &ignored);
    if (day >= 0 && day <= MT_TIMESTAMP_MAX / MT_BLOCK_SECONDS)
        mt_utc_format(day * MT_BLOCK_SECONDS, date);
    date[strcspn(date, "T")] = '\0';
    return mt_error_set(error, MT_ERR_CORRUPT,
                        "store %s: %s of host %s is damaged: %s%s %s; %srestore a backup, or save "
                        "what memory-tracker export still reads",
                        store->file.path, date, host, column == NULL ? "it" : "column ",
                        column == NULL ? "" : column, what,
                        store->is_verified ? ""
                                           : "see what else is with: memory-tracker verify; then ");
}

/* the counts of hours, written as summaries of nothing but counts */
static bool read_hours(sqlite3_stmt *statement, int column, struct mt_sqlite_block *block)
{
    struct mt_block_summary hours[MT_BLOCK_HOURS];
    const void *bytes = sqlite3_column_blob(statement, column);
    int64_t records = 0;

    if (bytes == NULL ||
        mt_block_hours_decode(bytes, (size_t)sqlite3_column_bytes(statement, column), hours,
                              NULL) != MT_OK)
        return false;
    for (size_t i = 0; i < MT_BLOCK_HOURS; i++) {
        block->hours[i] = (uint32_t)hours[i].count;
        records += hours[i].count;
    }
    return records == block->records;
}

struct mt_sqlite_block mt_sqlite_block_columns(sqlite3_stmt *statement)
{
    return (struct mt_sqlite_block){
        .id = sqlite3_column_int64(statement, 0),
        .host_id = sqlite3_column_int64(statement, 1),
        .day = sqlite3_column_int64(statement, 2),
        .records = sqlite3_column_int64(statement, 3),
        .first = sqlite3_column_int64(statement, 4),
        .last = sqlite3_column_int64(statement, 5),
        .first_seq = sqlite3_column_int64(statement, 6),
        .last_seq = sqlite3_column_int64(statement, 7),
    };
}

enum mt_err mt_sqlite_read_block(struct sqlite_store *store, sqlite3_stmt *statement,
                                 struct mt_sqlite_block *block, struct mt_error *error)
{
    struct mt_sqlite_block read = mt_sqlite_block_columns(statement);

    /* its columns' numbers are products of its own */
    if (read.id < 1 || read.id >= INT64_MAX / MT_SQLITE_COLUMNS || read.day < 0 ||
        read.day > MT_TIMESTAMP_MAX / MT_BLOCK_SECONDS || read.records < 1 ||
        read.records > MT_BLOCK_RECORDS_MAX || read.first / MT_BLOCK_SECONDS != read.day ||
        read.last / MT_BLOCK_SECONDS != read.day || read.first > read.last || read.first_seq < 1 ||
        read.first_seq > read.last_seq || !read_hours(statement, 8, &read))
        return mt_sqlite_block_corrupt(store, read.host_id, read.day, NULL,
                                       "has an impossible row in table block", error);
    *block = read;
    return MT_OK;
}

enum mt_err mt_sqlite_find_block(struct sqlite_store *store, int64_t host_id, int64_t day,
                                 struct mt_sqlite_block *block, bool *found, struct mt_error *error)
{
    sqlite3_stmt *statement = NULL;
    enum mt_err err = mt_sqlite_statement(&store->file,
                                          "SELECT " MT_SQLITE_BLOCK_COLUMNS
                                          " FROM block WHERE host_id = ?1 AND day = ?2",
                                          &statement, error);
    int result;

    if (err != MT_OK)
        return err;
    (void)sqlite3_bind_int64(statement, 1, host_id);
    (void)sqlite3_bind_int64(statement, 2, day);
    result = sqlite3_step(statement);
    if (result == SQLITE_ROW)
        err = mt_sqlite_read_block(store, statement, block, error);
    else if (result != SQLITE_DONE)
        err = mt_sqlite_fail(&store->file, result, "read", error);
    (void)sqlite3_reset(statement);
    if (err == MT_OK)
        *found = result == SQLITE_ROW;
    return err;
}

/* a bit for each wanted column */
static uint64_t choose_columns(const struct sqlite_store *store, uint64_t fields, unsigned parts)
{
    uint64_t columns = UINT64_C(1) << MT_SQLITE_COLUMN_TIMESTAMP;

    if ((parts & MT_SQLITE_PART_SEQ) != 0)
        columns |= UINT64_C(1) << MT_SQLITE_COLUMN_SEQ;
    if ((parts & MT_SQLITE_PART_BOOT) != 0)
        columns |= UINT64_C(1) << MT_SQLITE_COLUMN_BOOT;
    for (int i = MT_SQLITE_COLUMN_FIELDS; i < MT_SQLITE_COLUMNS; i++)
        if (store->column_field[i] != 0 && (fields & MT_FIELD_BIT(store->column_field[i] - 1)) != 0)
            columns |= UINT64_C(1) << i;
    return columns;
}

static enum mt_err prepare_fetch(struct sqlite_store *store, int64_t block_id, uint64_t columns,
                                 sqlite3_stmt **statement, struct mt_error *error)
{
    bool is_few = __builtin_popcountll(columns) <= FEW;
    enum mt_err err =
        mt_sqlite_statement(&store->file,
                            is_few ? "SELECT id,count,min,max,data FROM block_column"
                                     " WHERE id IN (?1,?2,?3,?4,?5,?6,?7,?8,?9,?10,?11,?12)"
                                   : "SELECT id,count,min,max,data FROM block_column"
                                     " WHERE id BETWEEN ?1 AND ?2",
                            statement, error);
    int parameter = 1;

    if (err != MT_OK)
        return err;
    if (!is_few) {
        (void)sqlite3_bind_int64(*statement, 1, block_id * MT_SQLITE_COLUMNS);
        (void)sqlite3_bind_int64(*statement, 2,
                                 block_id * MT_SQLITE_COLUMNS + MT_SQLITE_COLUMNS - 1);
        return MT_OK;
    }
    for (int i = 0; i < MT_SQLITE_COLUMNS; i++)
        if ((columns >> i & 1) != 0)
            (void)sqlite3_bind_int64(*statement, parameter++, block_id * MT_SQLITE_COLUMNS + i);
    return MT_OK;
}

static enum mt_err keep_piece(struct sqlite_store *store, sqlite3_stmt *statement, int column,
                              struct mt_sqlite_block_data *data, struct mt_error *error)
{
    const struct mt_sqlite_block *block = &data->block;
    struct mt_sqlite_block_piece *piece = &data->pieces[data->piece_count];
    const void *bytes = sqlite3_column_blob(statement, 4);
    size_t size = (size_t)sqlite3_column_bytes(statement, 4);

    if (size > mt_block_bytes_most((size_t)block->records))
        return mt_sqlite_block_corrupt(store, block->host_id, block->day,
                                       mt_sqlite_column_name(store, column), too_large, error);

    *piece = (struct mt_sqlite_block_piece){
        .column = column,
        .field = store->column_field[column],
        .name = mt_sqlite_column_name(store, column),
        .summary = {.count = sqlite3_column_int64(statement, 1),
                    .min = sqlite3_column_int64(statement, 2),
                    .max = sqlite3_column_int64(statement, 3)},
        .offset = data->bytes.length,
        .size = size,
    };
    data->piece_count++;
    if (size > 0)
        mt_buf_append(&data->bytes, bytes, size);
    return data->bytes.failed ? no_memory(store, error) : MT_OK;
}

static enum mt_err fetch(struct sqlite_store *store, const struct mt_sqlite_block *block,
                         uint64_t columns, struct mt_sqlite_block_data *data, bool *found,
                         struct mt_error *error)
{
    sqlite3_stmt *statement = NULL;
    int result = SQLITE_DONE;
    enum mt_err err = prepare_fetch(store, block->id, columns, &statement, error);

    *found = false;
    while (err == MT_OK && (result = sqlite3_step(statement)) == SQLITE_ROW) {
        int column = (int)(sqlite3_column_int64(statement, 0) % MT_SQLITE_COLUMNS);

        *found = true;
        if ((columns >> column & 1) != 0)
            err = keep_piece(store, statement, column, data, error);
    }
    if (err == MT_OK && (result & 0xFF) == SQLITE_TOOBIG)
        err = mt_sqlite_block_corrupt(store, block->host_id, block->day, NULL, too_large, error);
    if (err == MT_OK && result != SQLITE_DONE)
        err = mt_sqlite_fail(&store->file, result, "read", error);
    if (statement != NULL)
        (void)sqlite3_reset(statement);
    return err;
}

static enum mt_err check_gone(struct sqlite_store *store, const struct mt_sqlite_block *block,
                              struct mt_error *error)
{
    sqlite3_stmt *statement = NULL;
    int64_t id;
    bool is_there = false;
    enum mt_err err =
        mt_sqlite_statement(&store->file, "SELECT id FROM block WHERE id = ?1", &statement, error);

    if (err != MT_OK)
        return err;
    (void)sqlite3_bind_int64(statement, 1, block->id);
    err = mt_sqlite_read_i64(store, statement, &id, &is_there, error);
    return is_there ? mt_sqlite_block_corrupt(store, block->host_id, block->day, NULL,
                                              "has no columns", error)
                    : err;
}

enum mt_err mt_sqlite_block_fetch(struct sqlite_store *store, const struct mt_sqlite_block *block,
                                  uint64_t fields, unsigned parts,
                                  struct mt_sqlite_block_data *data, bool *found,
                                  struct mt_error *error)
{
    bool is_there = false;
    enum mt_err err;

    mt_sqlite_block_fini(data);
    data->block = *block;
    data->fields = fields;
    data->parts = parts;
    data->pieces = calloc(MT_SQLITE_COLUMNS, sizeof *data->pieces);
    err = data->pieces == NULL ? no_memory(store, error)
                               : mt_sqlite_know_columns(store, block->id, fields, error);
    if (err == MT_OK)
        err = fetch(store, block, choose_columns(store, fields, parts), data, &is_there, error);
    /* it goes together with its columns */
    if (err == MT_OK && !is_there)
        err = check_gone(store, block, error);
    if (err != MT_OK)
        mt_sqlite_block_fini(data);
    else
        *found = is_there;
    return err;
}

static enum mt_err decode_piece(struct sqlite_store *store, const struct mt_sqlite_block_data *data,
                                const struct mt_sqlite_block_piece *piece,
                                struct mt_block_column *column, struct mt_error *error)
{
    const struct mt_sqlite_block *block = &data->block;
    struct mt_error inner = {0};
    enum mt_err err;

    /* two rows cannot have one number, so that nothing was decoded into it yet */
    column->records = (size_t)block->records;
    column->values = calloc(column->records, sizeof *column->values);
    if (column->values == NULL)
        return no_memory(store, error);
    err = mt_block_decode(&store->codec, piece->size == 0 ? NULL : data->bytes.data + piece->offset,
                          piece->size, &piece->summary, column, &inner);
    if (err == MT_ERR_NO_MEMORY)
        return no_memory(store, error);
    if (err != MT_OK)
        return mt_sqlite_block_corrupt(store, block->host_id, block->day, piece->name, inner.text,
                                       error);
    return MT_OK;
}

/* a number of each record: timestamps, marks of arrival */
static enum mt_err take_complete(struct sqlite_store *store, const struct mt_sqlite_block *block,
                                 const struct mt_sqlite_block_piece *piece,
                                 struct mt_block_column *column, int64_t **values,
                                 struct mt_error *error)
{
    if (column->present != NULL) {
        free(column->present);
        column->present = NULL;
        return mt_sqlite_block_corrupt(store, block->host_id, block->day, piece->name,
                                       "lacks some of its numbers", error);
    }
    *values = column->values;
    column->values = NULL;
    return MT_OK;
}

static enum mt_err decode_column(struct sqlite_store *store, struct mt_sqlite_block_data *data,
                                 const struct mt_sqlite_block_piece *piece, struct mt_error *error)
{
    bool is_complete = piece->column < MT_SQLITE_COLUMN_BOOT;
    struct mt_block_column own = {0};
    struct mt_block_column *column = &own;
    enum mt_err err;

    if (piece->column == MT_SQLITE_COLUMN_BOOT)
        column = &data->boots;
    if (piece->field != 0) {
        column = &data->field[piece->field - 1];
        data->there |= MT_FIELD_BIT(piece->field - 1);
    }
    err = decode_piece(store, data, piece, column, error);
    if (err == MT_OK && is_complete)
        err = take_complete(store, &data->block, piece, &own,
                            piece->column == MT_SQLITE_COLUMN_SEQ ? &data->seqs : &data->timestamps,
                            error);
    free(own.values);
    return err;
}

/* what the row in table block says of the numbers */
static const char *check_numbers(const struct mt_sqlite_block_data *data)
{
    const struct mt_sqlite_block *block = &data->block;
    size_t count = (size_t)block->records;
    uint32_t hours[MT_BLOCK_HOURS] = {0};

    if (data->timestamps == NULL)
        return "has no timestamps";
    if ((data->parts & MT_SQLITE_PART_SEQ) != 0 && data->seqs == NULL)
        return "has no marks of arrival";
    /* there is no record without it */
    if ((data->fields & MT_FIELD_BIT(MT_FIELD_MEM_TOTAL)) != 0 &&
        ((data->there & MT_FIELD_BIT(MT_FIELD_MEM_TOTAL)) == 0 ||
         data->field[MT_FIELD_MEM_TOTAL].present != NULL))
        return "has no mem_total, or only in some of its records";
    if (data->timestamps[0] != block->first || data->timestamps[count - 1] != block->last)
        return "begins or ends at another second than its row in table block says";
    for (size_t i = 0; i < count; i++) {
        if (i > 0 && data->timestamps[i] <= data->timestamps[i - 1])
            return "has timestamps that are not in order";
        hours[data->timestamps[i] % MT_BLOCK_SECONDS / (MT_BLOCK_SECONDS / MT_BLOCK_HOURS)]++;
        if (data->seqs != NULL &&
            (data->seqs[i] < block->first_seq || data->seqs[i] > block->last_seq))
            return "has other marks of arrival than its row in table block says";
    }
    return memcmp(hours, block->hours, sizeof hours) == 0 ? NULL : "has other records in its hours";
}

enum mt_err mt_sqlite_block_decode(struct sqlite_store *store, struct mt_sqlite_block_data *data,
                                   struct mt_error *error)
{
    const char *wrong;
    enum mt_err err = MT_OK;

    for (size_t i = 0; i < data->piece_count && err == MT_OK; i++)
        err = decode_column(store, data, &data->pieces[i], error);
    free(data->pieces);
    data->pieces = NULL;
    data->piece_count = 0;
    mt_buf_fini(&data->bytes);
    wrong = err == MT_OK ? check_numbers(data) : NULL;
    return wrong == NULL ? err
                         : mt_sqlite_block_corrupt(store, data->block.host_id, data->block.day,
                                                   NULL, wrong, error);
}

enum mt_err mt_sqlite_block_row(struct sqlite_store *store, const struct mt_sqlite_block_data *data,
                                size_t index, struct sqlite_row *row, struct mt_error *error)
{
    const struct mt_block_column *boots = &data->boots;
    struct mt_record *record = &row->record;
    enum mt_err err;

    row->seq = data->seqs == NULL ? 0 : data->seqs[index];
    row->host_id = data->block.host_id;
    record->timestamp = data->timestamps[index];
    record->has_boot_id =
        boots->values != NULL && (boots->present == NULL || boots->present[index] != 0);
    record->present = 0;
    memset(record->boot_id, 0, sizeof record->boot_id);
    memset(record->value, 0, sizeof record->value);
    err = mt_sqlite_host_name(store, row->host_id, record->host, error);
    if (err == MT_OK && boots->values != NULL && record->has_boot_id)
        err = mt_sqlite_boot_uuid(store, boots->values[index], record->boot_id, error);
    for (uint64_t left = data->there; left != 0; left &= left - 1) {
        enum mt_field field = (enum mt_field)__builtin_ctzll(left);
        const struct mt_block_column *column = &data->field[field];

        if (column->present == NULL || column->present[index] != 0)
            mt_record_set(record, field, column->values[index]);
    }
    return err;
}

size_t mt_sqlite_block_at(const struct mt_sqlite_block_data *data, int64_t second)
{
    size_t low = 0;
    size_t high = (size_t)data->block.records;

    while (low < high) {
        size_t middle = low + (high - low) / 2;

        if (data->timestamps[middle] < second)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

void mt_sqlite_block_fini(struct mt_sqlite_block_data *data)
{
    free(data->timestamps);
    free(data->seqs);
    free(data->boots.values);
    free(data->boots.present);
    for (enum mt_field i = 0; i < MT_FIELD_COUNT; i++) {
        free(data->field[i].values);
        free(data->field[i].present);
    }
    mt_buf_fini(&data->bytes);
    free(data->pieces);
    memset(data, 0, sizeof *data);
}
