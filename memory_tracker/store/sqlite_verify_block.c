#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "record/record.h"
#include "store/sqlite_block.h"
#include "store/sqlite_verify.h"

enum { HOUR_S = 3600 };

/* What a row of table block_column says beside its numbers. */
struct column {
    int number;
    bool has_hours;
    struct mt_block_summary whole; /* but for what is above */
    struct mt_block_summary hours[MT_BLOCK_HOURS];
};

/* One block on its way through the checks: all that is read of it under one lock. */
struct check {
    struct mt_sqlite_verify *verify;
    struct mt_sqlite_block block;
    struct mt_sqlite_block_data data;
    struct column columns[MT_SQLITE_COLUMNS];
    size_t column_count;
    int64_t *loose; /* seconds of its host and day that have a loose row */
    size_t loose_count;
    size_t loose_capacity;
};

static enum mt_err out_of_memory(const struct check *check, struct mt_error *error)
{
    return mt_error_set(error, MT_ERR_NO_MEMORY, "store %s: verify: out of memory",
                        check->verify->store->file.path);
}

/* one finding: of a column, or, if that is NULL, of the block itself */
static void tell(struct check *check, const char *column, const char *what)
{
    struct mt_error finding = {0};

    (void)mt_sqlite_block_corrupt(check->verify->store, check->block.host_id, check->block.day,
                                  column, what, &finding);
    mt_sqlite_tell(check->verify, "%s", finding.text);
}

/* a CORRUPT that reading gave is one finding */
static enum mt_err tell_error(struct check *check, enum mt_err err, const struct mt_error *error)
{
    if (err != MT_ERR_CORRUPT)
        return err;
    mt_sqlite_tell(check->verify, "%s", error->text);
    return MT_OK;
}

static enum mt_err check_checksum(struct check *check, struct mt_error *error)
{
    bool found = false;
    bool is_right = true;
    enum mt_err err =
        mt_sqlite_block_checksum(check->verify->store, check->block.id, &found, &is_right, error);

    if (err == MT_OK && !is_right)
        tell(check, NULL, "has another checksum than its row in table block says");
    return err;
}

static void read_column(struct check *check, sqlite3_stmt *statement)
{
    struct column *column = &check->columns[check->column_count];
    bool has_data = sqlite3_column_type(statement, 5) != SQLITE_NULL;
    const void *hours;

    *column = (struct column){.number = sqlite3_column_int(statement, 0),
                              .has_hours = sqlite3_column_type(statement, 4) != SQLITE_NULL,
                              .whole = {.count = sqlite3_column_int64(statement, 1),
                                        .min = sqlite3_column_int64(statement, 2),
                                        .max = sqlite3_column_int64(statement, 3)}};
    if (sqlite3_column_type(statement, 6) == SQLITE_NULL &&
        column->number >= MT_SQLITE_COLUMN_FIELDS)
        tell(check, "?", "has a number that table block_field does not name");
    if (column->has_hours != has_data && column->number >= MT_SQLITE_COLUMN_FIELDS)
        tell(check, mt_sqlite_column_name(check->verify->store, column->number),
             has_data ? "lacks the summaries of its hours" : "lacks its numbers");
    hours = sqlite3_column_blob(statement, 4);
    if (column->has_hours &&
        mt_block_hours_decode(hours, (size_t)sqlite3_column_bytes(statement, 4), column->hours,
                              NULL) != MT_OK) {
        tell(check, mt_sqlite_column_name(check->verify->store, column->number),
             "has damaged summaries of its hours");
        return;
    }
    check->column_count++;
}

static enum mt_err read_columns(struct check *check, struct mt_error *error)
{
    struct mt_sqlite *file = &check->verify->store->file;
    sqlite3_stmt *statement = NULL;
    int result;
    enum mt_err err = mt_sqlite_statement(
        file,
        "SELECT c.id % 64, count, min, max, hours, length(data), name FROM block_column AS c"
        " LEFT JOIN block_field ON block_field.id = c.id % 64"
        " WHERE c.id BETWEEN ?1 * 64 AND ?1 * 64 + 63",
        &statement, error);

    check->column_count = 0;
    if (err != MT_OK)
        return err;
    (void)sqlite3_bind_int64(statement, 1, check->block.id);
    while ((result = sqlite3_step(statement)) == SQLITE_ROW)
        read_column(check, statement);
    if (result != SQLITE_DONE)
        err = mt_sqlite_fail(file, result, "read", error);
    (void)sqlite3_reset(statement);
    return err;
}

static enum mt_err read_loose(struct check *check, struct mt_error *error)
{
    struct mt_sqlite *file = &check->verify->store->file;
    sqlite3_stmt *statement = NULL;
    int result;
    enum mt_err err = mt_sqlite_statement(
        file,
        "SELECT timestamp FROM memory_log INDEXED BY memory_log_by_host WHERE host_id = ?1"
        " AND timestamp BETWEEN ?2 AND ?3 ORDER BY timestamp",
        &statement, error);

    check->loose_count = 0;
    if (err != MT_OK)
        return err;
    (void)sqlite3_bind_int64(statement, 1, check->block.host_id);
    (void)sqlite3_bind_int64(statement, 2, check->block.first);
    (void)sqlite3_bind_int64(statement, 3, check->block.last);
    while (err == MT_OK && (result = sqlite3_step(statement)) == SQLITE_ROW) {
        if (check->loose_count == check->loose_capacity) {
            size_t capacity = check->loose_capacity == 0 ? 256 : check->loose_capacity * 2;
            int64_t *grown = realloc(check->loose, capacity * sizeof *grown);

            if (grown == NULL) {
                err = out_of_memory(check, error);
                break;
            }
            check->loose = grown;
            check->loose_capacity = capacity;
        }
        check->loose[check->loose_count++] = sqlite3_column_int64(statement, 0);
    }
    if (err == MT_OK && result != SQLITE_DONE)
        err = mt_sqlite_fail(file, result, "read", error);
    (void)sqlite3_reset(statement);
    return err;
}

/* all that is to be read of the block that statement stands on, which holds the lock */
static enum mt_err read_block(struct check *check, sqlite3_stmt *statement, struct mt_error *error)
{
    struct sqlite_store *store = check->verify->store;
    bool found = false;
    enum mt_err err = mt_sqlite_read_block(store, statement, &check->block, error);

    if (err == MT_OK)
        err = mt_sqlite_block_fetch(store, &check->block, MT_FIELD_ALL,
                                    MT_SQLITE_PART_SEQ | MT_SQLITE_PART_BOOT, &check->data, &found,
                                    error);
    if (err == MT_OK)
        err = check_checksum(check, error);
    if (err == MT_OK)
        err = read_columns(check, error);
    return err == MT_OK ? read_loose(check, error) : err;
}

/* the decoded numbers of a column; NULL: this program does not know it */
static const struct mt_block_column *numbers_of(const struct check *check, int number)
{
    for (enum mt_field i = 0; i < MT_FIELD_COUNT; i++)
        if ((check->data.there & MT_FIELD_BIT(i)) != 0 &&
            mt_sqlite_field_column(check->verify->store, i) == number)
            return &check->data.field[i];
    return NULL;
}

static bool is_same(const struct mt_block_summary *a, const struct mt_block_summary *b)
{
    return a->count == b->count && a->min == b->min && a->max == b->max && a->above == b->above;
}

/* a column's summaries against its numbers */
static void check_summaries(struct check *check, const struct column *column)
{
    const struct mt_block_column *numbers = numbers_of(check, column->number);
    const char *name = mt_sqlite_column_name(check->verify->store, column->number);
    int64_t midnight = check->block.day * MT_BLOCK_SECONDS;
    struct mt_block_summary whole;

    if (numbers == NULL)
        return;
    whole = mt_block_summarize(numbers, 0, numbers->records);
    if (whole.count != column->whole.count || whole.min != column->whole.min ||
        whole.max != column->whole.max)
        tell(check, name, "has another count, least or greatest value than its numbers");
    for (size_t i = 0; i < MT_BLOCK_HOURS && column->has_hours; i++) {
        size_t first = mt_sqlite_block_at(&check->data, midnight + (int64_t)i * HOUR_S);
        size_t end = mt_sqlite_block_at(&check->data, midnight + (int64_t)(i + 1) * HOUR_S);
        struct mt_block_summary hour = mt_block_summarize(numbers, first, end);

        if (!is_same(&hour, &column->hours[i])) {
            tell(check, name, "has other summaries of its hours than its numbers give");
            return;
        }
    }
}

static int compare_numbers(const void *a, const void *b)
{
    int64_t left = *(const int64_t *)a;
    int64_t right = *(const int64_t *)b;

    return left < right ? -1 : left > right;
}

/* the arrival marks: each one once, and the first and the last one as the row says */
static void check_marks(struct check *check)
{
    size_t count = (size_t)check->block.records;
    int64_t *seqs = check->data.seqs;

    qsort(seqs, count, sizeof *seqs, compare_numbers);
    if (seqs[0] != check->block.first_seq || seqs[count - 1] != check->block.last_seq)
        tell(check, "seq", "begins or ends otherwise than its row in table block says");
    for (size_t i = 1; i < count; i++) {
        if (seqs[i] == seqs[i - 1]) {
            tell(check, "seq", "has the same arrival mark twice");
            return;
        }
    }
}

static enum mt_err check_records(struct check *check, struct mt_error *error)
{
    struct mt_error reason = {0};
    struct sqlite_row row = {0};
    enum mt_err err = MT_OK;

    for (size_t i = 0; i < (size_t)check->block.records && err == MT_OK; i++) {
        err = mt_sqlite_block_row(check->verify->store, &check->data, i, &row, error);
        if (err == MT_OK && mt_record_check(&row.record, &reason) != MT_OK)
            mt_sqlite_tell(check->verify, "sealed record of host %s at %" PRId64 ": %s",
                           row.record.host, row.record.timestamp, reason.text);
    }
    return tell_error(check, err, error);
}

/* seconds that have a record in the block and a loose one */
static void check_double(struct check *check)
{
    for (size_t i = 0; i < check->loose_count; i++) {
        int64_t second = check->loose[i];
        size_t at = mt_sqlite_block_at(&check->data, second);

        if (at < (size_t)check->block.records && check->data.timestamps[at] == second)
            mt_sqlite_tell(check->verify,
                           "the record of host id %" PRId64 " at %" PRId64
                           " is there twice, loose and sealed; readers get the sealed one; put it "
                           "right with: memory-tracker compact",
                           check->block.host_id, second);
    }
}

/* without a lock */
static enum mt_err check_numbers(struct check *check, struct mt_error *error)
{
    enum mt_err err = mt_sqlite_block_decode(check->verify->store, &check->data, error);

    if (err != MT_OK)
        return tell_error(check, err, error);
    for (size_t i = 0; i < check->column_count; i++)
        check_summaries(check, &check->columns[i]);
    check_double(check);
    err = check_records(check, error);
    check_marks(check);
    return err;
}

/* the first block after *id; *is_end: there is none */
static enum mt_err check_next(struct check *check, int64_t *id, bool *is_end,
                              struct mt_error *error)
{
    struct mt_sqlite *file = &check->verify->store->file;
    sqlite3_stmt *statement = NULL;
    bool is_readable = false;
    int result;
    enum mt_err err = mt_sqlite_statement(
        file, "SELECT " MT_SQLITE_BLOCK_COLUMNS " FROM block WHERE id > ?1 ORDER BY id LIMIT 1",
        &statement, error);

    if (err != MT_OK)
        return err;
    (void)sqlite3_bind_int64(statement, 1, *id);
    result = sqlite3_step(statement);
    *is_end = result == SQLITE_DONE;
    /* a table that is out of order would lead in circles */
    if (result == SQLITE_ROW && sqlite3_column_int64(statement, 0) <= *id)
        result = SQLITE_CORRUPT;
    if (result == SQLITE_ROW) {
        *id = sqlite3_column_int64(statement, 0);
        err = read_block(check, statement, error);
        is_readable = err == MT_OK;
        /* what is damaged here leaves the other blocks to be looked at */
        err = tell_error(check, err, error);
    } else if (result != SQLITE_DONE) {
        err = mt_sqlite_fail(file, result, "read", error);
    }
    (void)sqlite3_reset(statement);
    if (err == MT_OK && is_readable)
        err = check_numbers(check, error);
    mt_sqlite_block_fini(&check->data);
    return mt_sqlite_report(check->verify, err, error);
}

/* columns whose block is not there */
static enum mt_err find_orphans(struct mt_sqlite_verify *verify, struct mt_error *error)
{
    struct mt_sqlite *file = &verify->store->file;
    int64_t from = INT64_MIN;
    enum mt_err err = MT_OK;
    int result = SQLITE_ROW;

    while (err == MT_OK && result == SQLITE_ROW) {
        sqlite3_stmt *statement = NULL;

        err = mt_sqlite_statement(
            file,
            "SELECT id, EXISTS(SELECT 1 FROM block WHERE block.id = block_column.id / 64)"
            " FROM block_column WHERE id >= ?1 ORDER BY id LIMIT 1",
            &statement, error);
        if (err != MT_OK)
            return err;
        (void)sqlite3_bind_int64(statement, 1, from);
        result = sqlite3_step(statement);
        if (result == SQLITE_ROW && sqlite3_column_int64(statement, 0) < from)
            result = SQLITE_CORRUPT;
        if (result == SQLITE_ROW) {
            int64_t id = sqlite3_column_int64(statement, 0);

            if (sqlite3_column_int(statement, 1) == 0)
                mt_sqlite_tell(verify,
                               "table block_column: row %" PRId64 " belongs to block %" PRId64
                               ", which does not exist; a day may have been lost: restore a backup",
                               id, id / MT_SQLITE_COLUMNS);
            /* the last numbers that there are have none behind them */
            if (id / MT_SQLITE_COLUMNS >= INT64_MAX / MT_SQLITE_COLUMNS)
                result = SQLITE_DONE;
            else
                from = (id / MT_SQLITE_COLUMNS + 1) * MT_SQLITE_COLUMNS;
        } else if (result != SQLITE_DONE) {
            err = mt_sqlite_fail(file, result, "read", error);
        }
        (void)sqlite3_reset(statement);
    }
    return err;
}

enum mt_err mt_sqlite_verify_blocks(struct mt_sqlite_verify *verify, struct mt_error *error)
{
    struct check *check = calloc(1, sizeof *check);
    int64_t id = INT64_MIN;
    bool is_end = false;
    enum mt_err err = MT_OK;

    if (check == NULL)
        return mt_error_set(error, MT_ERR_NO_MEMORY, "store %s: verify: out of memory",
                            verify->store->file.path);
    check->verify = verify;
    mt_sqlite_begin_telling(verify, false);
    while (err == MT_OK && !is_end)
        err = check_next(check, &id, &is_end, error);
    free(check->loose);
    free(check);
    err = mt_sqlite_tell_damage(verify, err, error, "table block");
    mt_sqlite_begin_telling(verify, false);
    return err == MT_OK ? mt_sqlite_tell_damage(verify, find_orphans(verify, error), error,
                                                "table block_column")
                        : err;
}
