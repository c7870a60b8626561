#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "store/sqlite_aggregate.h"

enum {
    HOUR_S = 3600,
    ALL_HOURS = 0xFFFFFF,
    COLUMNS_MOST = 2,  /* whose summaries a measure is made from */
    BLOCK_COLUMNS = 9, /* of MT_SQLITE_BLOCK_COLUMNS */
};

/* The fields whose summaries say what the measure is. */
static size_t summarized_fields(int measure, enum mt_field fields[COLUMNS_MOST])
{
    if (measure != MT_MEASURE_USED) {
        fields[0] = (enum mt_field)measure;
        return 1;
    }
    fields[0] = MT_FIELD_MEM_TOTAL;
    fields[1] = MT_FIELD_MEM_AVAILABLE;
    return 2;
}

static enum mt_err corrupt(struct mt_sqlite_aggregation *aggregation,
                           const struct mt_sqlite_block *block, enum mt_field field,
                           const char *what, struct mt_error *error)
{
    return mt_sqlite_block_corrupt(aggregation->store, block->host_id, block->day,
                                   mt_field_info(field)->name, what, error);
}

/* The statement that reads a host's blocks with the summaries of what the measure is made of. */
static enum mt_err write_sql(struct mt_sqlite_aggregation *aggregation, struct mt_error *error)
{
    enum mt_field fields[COLUMNS_MOST];
    size_t count = summarized_fields(aggregation->wanted->measure, fields);
    struct mt_buf *sql = &aggregation->blocks;

    mt_buf_append_string(sql, "SELECT b.id,b.host_id,b.day,b.records,b.first,b.last,b.first_seq,"
                              "b.last_seq,b.hours");
    for (size_t i = 0; i < count; i++)
        mt_buf_printf(sql, ",c%zu.count,c%zu.min,c%zu.max,c%zu.hours", i, i, i, i);
    mt_buf_append_string(sql, " FROM block AS b");
    for (size_t i = 0; i < count; i++)
        mt_buf_printf(sql,
                      " LEFT JOIN block_column AS c%zu ON c%zu.id = b.id * %d"
                      " + (SELECT id FROM block_field WHERE name = '%s')",
                      i, i, MT_SQLITE_COLUMNS, mt_field_info(fields[i])->name);
    mt_buf_append_string(sql,
                         " WHERE b.host_id = ?1 AND b.day >= ?2 AND b.day < ?3 ORDER BY b.day");
    return mt_buf_string(sql) == NULL
               ? mt_error_set(error, MT_ERR_NO_MEMORY, "store %s: read: out of memory",
                              aggregation->store->file.path)
               : MT_OK;
}

/* An hour's summary of a column that has the same value in every record. */
static enum mt_err constant_hours(struct mt_sqlite_aggregation *aggregation,
                                  const struct mt_sqlite_block *block, enum mt_field field,
                                  const struct mt_block_summary *whole,
                                  struct mt_block_summary hours[MT_BLOCK_HOURS],
                                  struct mt_error *error)
{
    if (whole->count != block->records || whole->min != whole->max || whole->min < 0)
        return corrupt(aggregation, block, field, "lacks its summaries", error);
    for (size_t i = 0; i < MT_BLOCK_HOURS; i++)
        hours[i] = (struct mt_block_summary){
            .count = block->hours[i], .min = whole->min, .max = whole->max};
    return MT_OK;
}

/* what is kept of the hours has to add up to what is kept of the day */
static bool adds_up(const struct mt_sqlite_block *block, const struct mt_block_summary *whole,
                    const struct mt_block_summary hours[MT_BLOCK_HOURS])
{
    struct mt_tally tally = {0};

    for (size_t i = 0; i < MT_BLOCK_HOURS; i++) {
        if (hours[i].count > block->hours[i])
            return false;
        if (hours[i].count > 0)
            mt_tally_add(&tally, hours[i].count, hours[i].min, hours[i].max, 0);
    }
    return tally.count > 0 && tally.count == whole->count && tally.min == whole->min &&
           tally.max == whole->max;
}

/* the summaries of a column's hours; all empty: none of the block's records has it */
static enum mt_err read_hours(struct mt_sqlite_aggregation *aggregation,
                              const struct mt_sqlite_block *block, enum mt_field field,
                              sqlite3_stmt *statement, int column,
                              struct mt_block_summary hours[MT_BLOCK_HOURS], struct mt_error *error)
{
    const struct mt_block_summary whole = {
        .count = sqlite3_column_int64(statement, column),
        .min = sqlite3_column_int64(statement, column + 1),
        .max = sqlite3_column_int64(statement, column + 2),
    };
    const void *bytes;

    if (sqlite3_column_type(statement, column) == SQLITE_NULL) {
        if (field == MT_FIELD_MEM_TOTAL)
            return corrupt(aggregation, block, field, "is missing", error);
        memset(hours, 0, MT_BLOCK_HOURS * sizeof *hours);
        return MT_OK;
    }
    if (sqlite3_column_type(statement, column + 3) == SQLITE_NULL)
        return constant_hours(aggregation, block, field, &whole, hours, error);
    bytes = sqlite3_column_blob(statement, column + 3);
    if (mt_block_hours_decode(bytes, (size_t)sqlite3_column_bytes(statement, column + 3), hours,
                              error) != MT_OK ||
        !adds_up(block, &whole, hours))
        return corrupt(aggregation, block, field, "has damaged summaries of its hours", error);
    return MT_OK;
}

/*
 * An hour's summary of used, from those of what it is made of, where they are enough: the total is
 * the same all the time, and available is always there and never above it.
 */
static bool used_summary(int64_t records, const struct mt_block_summary *total,
                         const struct mt_block_summary *available, struct mt_block_summary *used)
{
    if (total->count != records || available->count != records || total->min != total->max ||
        available->max > total->min)
        return false;
    used->count = records;
    used->min = total->min - available->max;
    used->max = total->min - available->min;
    used->above =
        (mt_u128)(uint64_t)(available->max - available->min) * (uint64_t)records - available->above;
    return true;
}

/* the measure's summary of an hour; false: the records have to be looked at */
static bool summarize(const struct mt_sqlite_aggregation *aggregation,
                      const struct mt_sqlite_block *block,
                      struct mt_block_summary columns[COLUMNS_MOST][MT_BLOCK_HOURS], size_t hour,
                      struct mt_block_summary *summary)
{
    if (aggregation->wanted->measure == MT_MEASURE_USED)
        return used_summary(block->hours[hour], &columns[0][hour], &columns[1][hour], summary);
    *summary = columns[0][hour];
    return true;
}

/* bits of the hours in which there are loose rows, too: of what is damaged, the same record */
static uint32_t loose_hours(const struct mt_sqlite_piece *piece, int64_t day, size_t *loose)
{
    uint32_t hours = 0;

    while (*loose < piece->loose_count &&
           piece->loose[*loose].timestamp < (day + 1) * MT_BLOCK_SECONDS) {
        int64_t second = piece->loose[*loose].timestamp - day * MT_BLOCK_SECONDS;

        if (second >= 0)
            hours |= UINT32_C(1) << second / HOUR_S;
        ++*loose;
    }
    return hours;
}

/* an hour lies in the piece and in one bucket, so that its summary is all that is to be known */
static bool is_whole(const struct mt_sqlite_aggregation *aggregation,
                     const struct mt_sqlite_piece *piece, int64_t start)
{
    int64_t step_s = aggregation->wanted->step_s;

    return start >= piece->from && start + HOUR_S <= piece->to &&
           (step_s % HOUR_S == 0 || start / step_s == (start + HOUR_S - 1) / step_s);
}

/* adds the hours whose summaries are enough; *hours: bits of those whose records have to be seen */
static void add_hours(struct mt_sqlite_aggregation *aggregation,
                      const struct mt_sqlite_piece *piece, const struct mt_sqlite_block *block,
                      struct mt_block_summary columns[COLUMNS_MOST][MT_BLOCK_HOURS],
                      uint32_t *hours)
{
    for (size_t i = 0; i < MT_BLOCK_HOURS; i++) {
        int64_t start = block->day * MT_BLOCK_SECONDS + (int64_t)i * HOUR_S;
        struct mt_block_summary summary;

        if (block->hours[i] == 0 || start >= piece->to || start + HOUR_S <= piece->from) {
            *hours &= ~(UINT32_C(1) << i);
            continue;
        }
        if ((*hours >> i & 1) != 0)
            continue;
        if (!summarize(aggregation, block, columns, i, &summary)) {
            *hours |= UINT32_C(1) << i;
        } else if (summary.count > 0) {
            if (is_whole(aggregation, piece, start))
                mt_tally_add(mt_sqlite_tally(aggregation, start), summary.count, summary.min,
                             summary.max,
                             (mt_i128)summary.min * summary.count + (mt_i128)summary.above);
            else
                *hours |= UINT32_C(1) << i;
        }
    }
}

static enum mt_err fetch(struct mt_sqlite_aggregation *aggregation, struct mt_sqlite_piece *piece,
                         const struct mt_sqlite_block *block, uint32_t hours,
                         struct mt_error *error)
{
    bool found = false;
    unsigned parts = block->last_seq > aggregation->snapshot ? MT_SQLITE_PART_SEQ : 0;
    struct mt_sqlite_block_data *data = &piece->pending[piece->pending_count].data;
    enum mt_err err;

    memset(data, 0, sizeof *data);
    piece->pending[piece->pending_count++].hours = hours;
    err = mt_sqlite_block_fetch(aggregation->store, block, aggregation->fields, parts, data, &found,
                                error);
    if (err == MT_OK && !found)
        err = corrupt(aggregation, block, MT_FIELD_MEM_TOTAL,
                      "cannot be found although its lock is held", error);
    return err;
}

/* the block that statement stands on */
static enum mt_err take_block(struct mt_sqlite_aggregation *aggregation,
                              struct mt_sqlite_piece *piece, sqlite3_stmt *statement, size_t *loose,
                              struct mt_error *error)
{
    enum mt_field fields[COLUMNS_MOST];
    size_t count = summarized_fields(aggregation->wanted->measure, fields);
    struct mt_block_summary columns[COLUMNS_MOST][MT_BLOCK_HOURS];
    struct mt_sqlite_block block;
    uint32_t hours = 0;
    enum mt_err err = mt_sqlite_read_block(aggregation->store, statement, &block, error);

    for (size_t i = 0; i < count && err == MT_OK; i++)
        err = read_hours(aggregation, &block, fields[i], statement, BLOCK_COLUMNS + (int)i * 4,
                         columns[i], error);
    if (err != MT_OK)
        return err;
    hours =
        block.last_seq > aggregation->snapshot ? ALL_HOURS : loose_hours(piece, block.day, loose);
    add_hours(aggregation, piece, &block, columns, &hours);
    return hours == 0 ? MT_OK : fetch(aggregation, piece, &block, hours, error);
}

enum mt_err mt_sqlite_piece_blocks(struct mt_sqlite_aggregation *aggregation,
                                   struct mt_sqlite_piece *piece, struct mt_error *error)
{
    struct mt_sqlite *file = &aggregation->store->file;
    sqlite3_stmt *statement = NULL;
    size_t loose = 0;
    int result;
    enum mt_err err = aggregation->blocks.length == 0 ? write_sql(aggregation, error) : MT_OK;

    if (err == MT_OK)
        err = mt_sqlite_statement(file, mt_buf_string(&aggregation->blocks), &statement, error);
    if (err != MT_OK)
        return err;
    (void)sqlite3_bind_int64(statement, 1, piece->host_id);
    (void)sqlite3_bind_int64(statement, 2, piece->from / MT_BLOCK_SECONDS);
    (void)sqlite3_bind_int64(statement, 3, (piece->to - 1) / MT_BLOCK_SECONDS + 1);
    while ((result = sqlite3_step(statement)) == SQLITE_ROW && err == MT_OK) {
        if (piece->pending_count == MT_SQLITE_PENDING) {
            piece->to = sqlite3_column_int64(statement, 2) * MT_BLOCK_SECONDS;
            break;
        }
        err = take_block(aggregation, piece, statement, &loose, error);
    }
    if (err == MT_OK && result != SQLITE_ROW && result != SQLITE_DONE)
        err = mt_sqlite_fail(file, result, "read", error);
    (void)sqlite3_reset(statement);
    return err;
}

/* the measure of a decoded block's record, which takes the place of *record; false: it has none */
static bool value_of(const struct mt_sqlite_aggregation *aggregation,
                     const struct mt_sqlite_block_data *data, size_t index,
                     struct mt_record *record, int64_t *value)
{
    record->present = 0;
    for (uint64_t left = data->there; left != 0; left &= left - 1) {
        enum mt_field field = (enum mt_field)__builtin_ctzll(left);
        const struct mt_block_column *column = &data->field[field];

        record->value[field] = column->values[index];
        if (column->present == NULL || column->present[index] != 0)
            record->present |= MT_FIELD_BIT(field);
    }
    return mt_measure(record, aggregation->wanted->measure, value);
}

/* counts the records of a decoded block one by one */
static void add_records(struct mt_sqlite_aggregation *aggregation,
                        const struct mt_sqlite_piece *piece,
                        const struct mt_sqlite_block_data *data, uint32_t hours)
{
    int64_t step_s = aggregation->wanted->step_s;
    int64_t midnight = data->block.day * MT_BLOCK_SECONDS;
    size_t end = mt_sqlite_block_at(data, piece->to);
    struct mt_record record = {0};
    struct mt_tally *tally = NULL;

    for (size_t i = mt_sqlite_block_at(data, piece->from); i < end; i++) {
        int64_t second = data->timestamps[i];
        int64_t value = 0;

        if ((hours >> (second - midnight) / HOUR_S & 1) == 0 ||
            (data->seqs != NULL && data->seqs[i] > aggregation->snapshot) ||
            !value_of(aggregation, data, i, &record, &value))
            continue;
        if (tally == NULL || second - tally->start_s >= step_s)
            tally = mt_sqlite_tally(aggregation, second);
        mt_tally_add(tally, 1, value, value, value);
    }
}

/* takes out what stands in the block as well */
static void drop_double(struct mt_sqlite_piece *piece, const struct mt_sqlite_block_data *data)
{
    size_t kept = 0;

    for (size_t i = 0; i < piece->loose_count; i++) {
        int64_t second = piece->loose[i].timestamp;
        size_t at = second < data->block.first || second > data->block.last
                        ? (size_t)data->block.records
                        : mt_sqlite_block_at(data, second);

        if (at < (size_t)data->block.records && data->timestamps[at] == second)
            continue;
        piece->loose[kept++] = piece->loose[i];
    }
    piece->loose_count = kept;
}

enum mt_err mt_sqlite_piece_decode(struct mt_sqlite_aggregation *aggregation,
                                   struct mt_sqlite_piece *piece, struct mt_error *error)
{
    enum mt_err err = MT_OK;

    for (size_t i = 0; i < piece->pending_count && err == MT_OK; i++) {
        struct mt_sqlite_block_data *data = &piece->pending[i].data;

        err = mt_sqlite_block_decode(aggregation->store, data, error);
        if (err != MT_OK)
            return err;
        add_records(aggregation, piece, data, piece->pending[i].hours);
        drop_double(piece, data);
    }
    return err;
}
