#include <stdlib.h>
#include <string.h>

#include "store/sqlite_block.h"

enum {
    PARTS = MT_SQLITE_COLUMN_FIELDS + MT_FIELD_COUNT, /* own columns, then the fields in order */
    SECONDS_PER_HOUR = MT_BLOCK_SECONDS / MT_BLOCK_HOURS,
};

/* A column ready to be stored: places in the sealed day's bytes. */
struct part {
    struct mt_block_summary summary; /* count 0: no record has it */
    size_t hours, hours_size;
    size_t data, data_size;
};

struct mt_sqlite_sealed {
    struct mt_sqlite_block block; /* without id */
    struct part parts[PARTS];
    size_t hours, hours_size;
    struct mt_buf bytes;
};

/* Rows being sealed. */
struct sealing {
    struct sqlite_store *store;
    const struct sqlite_row *rows;
    size_t count;
    size_t hour_ends[MT_BLOCK_HOURS]; /* index after the hour's last row */
    struct mt_block_column column;    /* the present one */
    int64_t *boots;                   /* row in table boot of each; 0: none */
    struct mt_sqlite_sealed *sealed;
};

static enum mt_err no_memory(const struct sqlite_store *store, struct mt_error *error)
{
    return mt_error_set(error, MT_ERR_NO_MEMORY, "store %s: seal: out of memory", store->file.path);
}

static enum mt_err find_boots(struct sealing *sealing, struct mt_error *error)
{
    const struct mt_record *last = NULL;
    int64_t id = 0;

    for (size_t i = 0; i < sealing->count; i++) {
        const struct mt_record *record = &sealing->rows[i].record;
        sqlite3_stmt *statement = NULL;
        bool found = false;
        enum mt_err err;

        if (!record->has_boot_id)
            continue;
        if (last == NULL || memcmp(last->boot_id, record->boot_id, MT_BOOT_ID_SIZE) != 0) {
            err = mt_sqlite_statement(&sealing->store->file, "SELECT id FROM boot WHERE uuid = ?1",
                                      &statement, error);
            if (err != MT_OK)
                return err;
            (void)sqlite3_bind_blob(statement, 1, record->boot_id, MT_BOOT_ID_SIZE, SQLITE_STATIC);
            err = mt_sqlite_read_i64(sealing->store, statement, &id, &found, error);
            if (err != MT_OK)
                return err;
            if (!found)
                return mt_error_set(error, MT_ERR_CORRUPT,
                                    "store %s: seal: the boot of a record is not in table boot",
                                    sealing->store->file.path);
            last = record;
        }
        sealing->boots[i] = id;
    }
    return MT_OK;
}

/* the numbers of one part into sealing->column */
static void gather(struct sealing *sealing, int part)
{
    struct mt_block_column *column = &sealing->column;

    for (size_t i = 0; i < sealing->count; i++) {
        const struct sqlite_row *row = &sealing->rows[i];
        const struct mt_record *record = &row->record;
        int field = part - MT_SQLITE_COLUMN_FIELDS;

        column->present[i] = 1;
        if (part == MT_SQLITE_COLUMN_TIMESTAMP) {
            column->values[i] = record->timestamp;
        } else if (part == MT_SQLITE_COLUMN_SEQ) {
            column->values[i] = row->seq;
        } else if (part == MT_SQLITE_COLUMN_BOOT) {
            column->values[i] = sealing->boots[i];
            column->present[i] = record->has_boot_id ? 1 : 0;
        } else {
            column->values[i] = record->value[field];
            column->present[i] = (record->present & MT_FIELD_BIT(field)) != 0 ? 1 : 0;
        }
    }
}

static bool is_same(const struct mt_block_column *a, const struct mt_block_column *b)
{
    for (size_t i = 0; i < a->records; i++)
        if ((a->present != NULL && a->present[i] == 0) !=
                (b->present != NULL && b->present[i] == 0) ||
            a->values[i] != b->values[i])
            return false;
    return true;
}

/* what was encoded gives the same numbers again */
static enum mt_err check_part(struct sealing *sealing, const struct part *part,
                              struct mt_error *error)
{
    struct mt_block_column got = {.records = sealing->count,
                                  .values = malloc(sealing->count * sizeof *got.values)};
    const struct mt_buf *bytes = &sealing->sealed->bytes;
    struct mt_error inner = {0};
    enum mt_err err;

    if (got.values == NULL)
        return no_memory(sealing->store, error);
    err = mt_block_decode(&sealing->store->codec,
                          part->data_size == 0 ? NULL : bytes->data + part->data, part->data_size,
                          &part->summary, &got, &inner);
    if (err == MT_ERR_NO_MEMORY)
        err = no_memory(sealing->store, error);
    else if (err != MT_OK || !is_same(&sealing->column, &got))
        err = mt_error_set(error, MT_ERR_FAILED,
                           "store %s: seal: a column does not come back as it was: %s",
                           sealing->store->file.path, inner.text);
    free(got.values);
    free(got.present);
    return err;
}

static void add_hours(struct sealing *sealing, struct part *part)
{
    struct mt_block_summary hours[MT_BLOCK_HOURS];
    struct mt_buf *bytes = &sealing->sealed->bytes;
    size_t first = 0;

    for (size_t i = 0; i < MT_BLOCK_HOURS; i++) {
        hours[i] = mt_block_summarize(&sealing->column, first, sealing->hour_ends[i]);
        first = sealing->hour_ends[i];
    }
    part->hours = bytes->length;
    mt_block_hours_encode(hours, bytes);
    part->hours_size = bytes->length - part->hours;
}

static enum mt_err add_part(struct sealing *sealing, int number, struct mt_error *error)
{
    struct part *part = &sealing->sealed->parts[number];
    struct mt_buf *bytes = &sealing->sealed->bytes;
    enum mt_err err;

    gather(sealing, number);
    part->summary = mt_block_summarize(&sealing->column, 0, sealing->count);
    if (part->summary.count == 0)
        return MT_OK;
    part->data = bytes->length;
    err = mt_block_encode(&sealing->store->codec, &sealing->column, &part->summary, bytes, error);
    part->data_size = bytes->length - part->data;
    if (err == MT_OK)
        err = check_part(sealing, part, error);
    if (err == MT_OK && number >= MT_SQLITE_COLUMN_FIELDS && part->data_size > 0)
        add_hours(sealing, part);
    return err;
}

static void describe(struct sealing *sealing)
{
    struct mt_sqlite_sealed *sealed = sealing->sealed;
    struct mt_sqlite_block *block = &sealed->block;
    struct mt_block_summary hours[MT_BLOCK_HOURS] = {0};
    const struct sqlite_row *rows = sealing->rows;

    *block = (struct mt_sqlite_block){
        .host_id = rows[0].host_id,
        .day = rows[0].record.timestamp / MT_BLOCK_SECONDS,
        .records = (int64_t)sealing->count,
        .first = rows[0].record.timestamp,
        .last = rows[sealing->count - 1].record.timestamp,
        .first_seq = rows[0].seq,
        .last_seq = rows[0].seq,
    };
    for (size_t i = 0; i < sealing->count; i++) {
        size_t hour = (size_t)(rows[i].record.timestamp % MT_BLOCK_SECONDS / SECONDS_PER_HOUR);

        block->hours[hour]++;
        hours[hour].count++;
        if (rows[i].seq < block->first_seq)
            block->first_seq = rows[i].seq;
        if (rows[i].seq > block->last_seq)
            block->last_seq = rows[i].seq;
    }
    for (size_t i = 0, end = 0; i < MT_BLOCK_HOURS; i++) {
        end += block->hours[i];
        sealing->hour_ends[i] = end;
    }
    mt_block_hours_encode(hours, &sealed->bytes);
    sealed->hours_size = sealed->bytes.length;
}

/* rows that cannot be one block are a mistake of the caller, which must cost nobody a record */
static enum mt_err check_rows(const struct sealing *sealing, struct mt_error *error)
{
    const struct sqlite_row *rows = sealing->rows;
    bool is_right = sealing->count > 0 && sealing->count <= MT_BLOCK_RECORDS_MAX;

    for (size_t i = 0; i < sealing->count && is_right; i++)
        is_right = rows[i].host_id == rows[0].host_id && rows[i].seq > 0 &&
                   rows[i].record.timestamp >= 0 &&
                   rows[i].record.timestamp / MT_BLOCK_SECONDS ==
                       rows[0].record.timestamp / MT_BLOCK_SECONDS &&
                   (i == 0 || rows[i].record.timestamp > rows[i - 1].record.timestamp);
    return is_right ? MT_OK
                    : mt_error_set(error, MT_ERR_FAILED,
                                   "store %s: seal: these are not the records of a host's day",
                                   sealing->store->file.path);
}

enum mt_err mt_sqlite_seal(struct sqlite_store *store, const struct sqlite_row *rows, size_t count,
                           struct mt_sqlite_sealed **sealed, struct mt_error *error)
{
    struct sealing sealing = {.store = store, .rows = rows, .count = count};
    enum mt_err err = check_rows(&sealing, error);

    if (err != MT_OK)
        return err;
    sealing.sealed = calloc(1, sizeof *sealing.sealed);
    sealing.boots = calloc(count, sizeof *sealing.boots);
    sealing.column = (struct mt_block_column){
        .records = count, .values = calloc(count, sizeof(int64_t)), .present = malloc(count)};
    if (sealing.sealed == NULL || sealing.boots == NULL || sealing.column.values == NULL ||
        sealing.column.present == NULL) {
        err = no_memory(store, error);
    } else {
        describe(&sealing);
        err = find_boots(&sealing, error);
        for (int i = 0; i < PARTS && err == MT_OK; i++)
            err = add_part(&sealing, i, error);
        if (err == MT_OK && sealing.sealed->bytes.failed)
            err = no_memory(store, error);
    }
    free(sealing.boots);
    free(sealing.column.values);
    free(sealing.column.present);
    /* what compression needs is much for a program that seals a day an hour */
    mt_block_codec_fini(&store->codec);
    if (err == MT_OK)
        *sealed = sealing.sealed;
    else
        mt_sqlite_sealed_free(sealing.sealed);
    return err;
}

void mt_sqlite_sealed_free(struct mt_sqlite_sealed *sealed)
{
    if (sealed == NULL)
        return;
    mt_buf_fini(&sealed->bytes);
    free(sealed);
}

/* a field that only a newer program knows would be lost with the loose rows */
static enum mt_err check_known(struct sqlite_store *store, struct mt_error *error)
{
    sqlite3_stmt *statement = NULL;
    int result = SQLITE_DONE;
    enum mt_err err =
        mt_sqlite_statement(&store->file,
                            "SELECT name FROM pragma_table_info('memory_log')"
                            " WHERE name NOT IN ('seq', 'host_id', 'timestamp', 'boot_id')"
                            " UNION ALL SELECT name FROM block_field",
                            &statement, error);

    while (err == MT_OK && (result = sqlite3_step(statement)) == SQLITE_ROW) {
        const char *name = (const char *)sqlite3_column_text(statement, 0);
        enum mt_field field;

        if (name == NULL ||
            !mt_field_find(name, (size_t)sqlite3_column_bytes(statement, 0), &field))
            err = mt_error_set(error, MT_ERR_NEWER_SCHEMA,
                               "store %s: seal: has a field '%s', which this program does not "
                               "know; use the newer Memory Tracker that wrote it",
                               store->file.path, name == NULL ? "" : name);
    }
    if (err == MT_OK && result != SQLITE_DONE)
        err = mt_sqlite_fail(&store->file, result, "seal", error);
    if (statement != NULL)
        (void)sqlite3_reset(statement);
    return err;
}

static enum mt_err make_fields(struct sqlite_store *store, const struct mt_sqlite_sealed *sealed,
                               struct mt_error *error)
{
    enum mt_err err = mt_sqlite_know_columns(store, INT64_MAX, MT_FIELD_ALL, error);
    bool has_made = false;

    for (enum mt_field i = 0; i < MT_FIELD_COUNT && err == MT_OK; i++) {
        sqlite3_stmt *statement = NULL;

        if (sealed->parts[MT_SQLITE_COLUMN_FIELDS + i].summary.count == 0 ||
            mt_sqlite_field_column(store, i) != 0)
            continue;
        err = mt_sqlite_statement(&store->file,
                                  "INSERT INTO block_field"
                                  " SELECT coalesce(max(id) + 1, 3), ?1 FROM block_field",
                                  &statement, error);
        if (err != MT_OK)
            return err;
        (void)sqlite3_bind_text(statement, 1, mt_field_info(i)->name, -1, SQLITE_STATIC);
        err = mt_sqlite_run(&store->file, statement, error);
        has_made = true;
    }
    if (err == MT_OK && has_made)
        err = mt_sqlite_know_columns(store, INT64_MAX, MT_FIELD_ALL, error);
    return err;
}

static void bind_blob(sqlite3_stmt *statement, int parameter, const struct mt_buf *bytes,
                      size_t offset, size_t size)
{
    if (size > 0)
        (void)sqlite3_bind_blob64(statement, parameter, bytes->data + offset, size, SQLITE_STATIC);
}

/* the part of each column, by its number */
static void order_parts(const struct sqlite_store *store, const struct mt_sqlite_sealed *sealed,
                        const struct part *by_column[MT_SQLITE_COLUMNS])
{
    for (int i = 0; i < PARTS; i++) {
        int column =
            i < MT_SQLITE_COLUMN_FIELDS
                ? i
                : mt_sqlite_field_column(store, (enum mt_field)(i - MT_SQLITE_COLUMN_FIELDS));

        if (sealed->parts[i].summary.count > 0)
            by_column[column] = &sealed->parts[i];
    }
}

static struct mt_sqlite_check check_of(const struct sqlite_store *store,
                                       const struct mt_sqlite_sealed *sealed,
                                       const struct part *const by_column[MT_SQLITE_COLUMNS])
{
    const struct mt_sqlite_block *block = &sealed->block;
    const char *bytes = sealed->bytes.data;
    struct mt_sqlite_check check = {0};

    mt_sqlite_check_block(&check, block, bytes + sealed->hours, sealed->hours_size);
    for (int i = 0; i < MT_SQLITE_COLUMNS; i++)
        if (by_column[i] != NULL)
            mt_sqlite_check_column(
                &check, i, i < MT_SQLITE_COLUMN_FIELDS ? NULL : mt_sqlite_column_name(store, i),
                &by_column[i]->summary, bytes + by_column[i]->hours, by_column[i]->hours_size,
                bytes + by_column[i]->data, by_column[i]->data_size);
    return check;
}

static enum mt_err insert_block(struct sqlite_store *store, const struct mt_sqlite_sealed *sealed,
                                struct mt_sqlite_check check, int64_t *id, struct mt_error *error)
{
    const struct mt_sqlite_block *block = &sealed->block;
    const int64_t numbers[] = {block->host_id, block->day,       block->records, block->first,
                               block->last,    block->first_seq, block->last_seq};
    sqlite3_stmt *statement = NULL;
    enum mt_err err = mt_sqlite_statement(
        &store->file, "INSERT INTO block VALUES(NULL,?,?,?,?,?,?,?,?,?)", &statement, error);

    if (err != MT_OK)
        return err;
    for (int i = 0; i < 7; i++)
        (void)sqlite3_bind_int64(statement, i + 1, numbers[i]);
    bind_blob(statement, 8, &sealed->bytes, sealed->hours, sealed->hours_size);
    (void)sqlite3_bind_int64(statement, 9, (int64_t)check.sum);
    err = mt_sqlite_run(&store->file, statement, error);
    *id = sqlite3_last_insert_rowid(store->file.db);
    return err;
}

static enum mt_err insert_column(struct sqlite_store *store, const struct mt_sqlite_sealed *sealed,
                                 const struct part *part, int64_t id, struct mt_error *error)
{
    sqlite3_stmt *statement = NULL;
    enum mt_err err = mt_sqlite_statement(
        &store->file, "INSERT INTO block_column VALUES(?,?,?,?,?,?)", &statement, error);

    if (err != MT_OK)
        return err;
    (void)sqlite3_bind_int64(statement, 1, id);
    (void)sqlite3_bind_int64(statement, 2, part->summary.count);
    (void)sqlite3_bind_int64(statement, 3, part->summary.min);
    (void)sqlite3_bind_int64(statement, 4, part->summary.max);
    bind_blob(statement, 5, &sealed->bytes, part->hours, part->hours_size);
    bind_blob(statement, 6, &sealed->bytes, part->data, part->data_size);
    return mt_sqlite_run(&store->file, statement, error);
}

/*
 * What triggers do for loose records. Blocks are written here alone, and triggers for them would be
 * parsed at each start of the sampler, which never has a use for them. ?1 is the host, ?2 the day,
 * ?3 the number of records.
 */
static const char *const count_more_sql[] = {
    "INSERT INTO day VALUES(?2, ?3) ON CONFLICT DO UPDATE SET records = records + ?3",
    "INSERT INTO host_day VALUES(?1, ?2, ?3) ON CONFLICT DO UPDATE SET records = records + ?3",
    NULL,
};

static const char *const count_less_sql[] = {
    "DELETE FROM day WHERE day = ?2 AND records = ?3",
    "UPDATE day SET records = records - ?3 WHERE day = ?2 AND records > ?3",
    "DELETE FROM host_day WHERE host_id = ?1 AND day = ?2 AND records = ?3",
    "UPDATE host_day SET records = records - ?3 WHERE host_id = ?1 AND day = ?2 AND records > ?3",
    NULL,
};

static enum mt_err count(struct sqlite_store *store, const char *const *statements, int64_t host_id,
                         int64_t day, int64_t records, struct mt_error *error)
{
    const int64_t numbers[] = {host_id, day, records};
    enum mt_err err = MT_OK;

    for (; *statements != NULL && err == MT_OK; statements++) {
        sqlite3_stmt *statement = NULL;

        err = mt_sqlite_statement(&store->file, *statements, &statement, error);
        for (int i = 0; i < 3 && err == MT_OK; i++)
            (void)sqlite3_bind_int64(statement, i + 1, numbers[i]);
        if (err == MT_OK)
            err = mt_sqlite_run(&store->file, statement, error);
    }
    return err;
}

enum mt_err mt_sqlite_count_less(struct sqlite_store *store, int64_t host_id, int64_t day,
                                 int64_t records, struct mt_error *error)
{
    return count(store, count_less_sql, host_id, day, records, error);
}

enum mt_err mt_sqlite_put_sealed(struct sqlite_store *store, const struct mt_sqlite_sealed *sealed,
                                 struct mt_error *error)
{
    const struct part *by_column[MT_SQLITE_COLUMNS] = {0};
    bool found = false;
    bool is_right = false;
    int64_t id = 0;
    enum mt_err err = check_known(store, error);

    if (err == MT_OK)
        err = make_fields(store, sealed, error);
    if (err != MT_OK)
        return err;
    order_parts(store, sealed, by_column);
    err = insert_block(store, sealed, check_of(store, sealed, by_column), &id, error);
    if (err == MT_OK)
        err = count(store, count_more_sql, sealed->block.host_id, sealed->block.day,
                    sealed->block.records, error);
    for (int i = 0; i < MT_SQLITE_COLUMNS && err == MT_OK; i++)
        if (by_column[i] != NULL)
            err = insert_column(store, sealed, by_column[i], id * MT_SQLITE_COLUMNS + i, error);
    if (err == MT_OK)
        err = mt_sqlite_block_checksum(store, id, &found, &is_right, error);
    if (err == MT_OK && (!found || !is_right))
        err = mt_sqlite_block_corrupt(store, sealed->block.host_id, sealed->block.day, NULL,
                                      "was not stored as it is", error);
    return err;
}

enum mt_err mt_sqlite_put_block(struct sqlite_store *store, const struct sqlite_row *rows,
                                size_t count, struct mt_error *error)
{
    struct mt_sqlite_sealed *sealed = NULL;
    enum mt_err err = mt_sqlite_seal(store, rows, count, &sealed, error);

    if (sealed != NULL)
        err = mt_sqlite_put_sealed(store, sealed, error);
    mt_sqlite_sealed_free(sealed);
    return err;
}

enum mt_err mt_sqlite_drop_block(struct sqlite_store *store, int64_t id, struct mt_error *error)
{
    sqlite3_stmt *statement = NULL;
    int64_t host_id = 0;
    int64_t day = 0;
    int64_t records = 0;
    int result;
    enum mt_err err = mt_sqlite_statement(
        &store->file, "DELETE FROM block WHERE id = ?1 RETURNING host_id, day, records", &statement,
        error);

    if (err != MT_OK)
        return err;
    (void)sqlite3_bind_int64(statement, 1, id);
    result = sqlite3_step(statement);
    if (result == SQLITE_ROW) {
        host_id = sqlite3_column_int64(statement, 0);
        day = sqlite3_column_int64(statement, 1);
        records = sqlite3_column_int64(statement, 2);
    } else if (result != SQLITE_DONE) {
        err = mt_sqlite_fail(&store->file, result, "write", error);
    }
    (void)sqlite3_reset(statement);
    if (err != MT_OK || result == SQLITE_DONE)
        return err;
    err = mt_sqlite_statement(&store->file,
                              "DELETE FROM block_column WHERE id BETWEEN ?1 * 64 AND ?1 * 64 + 63",
                              &statement, error);
    if (err != MT_OK)
        return err;
    (void)sqlite3_bind_int64(statement, 1, id);
    err = mt_sqlite_run(&store->file, statement, error);
    return err == MT_OK ? count(store, count_less_sql, host_id, day, records, error) : err;
}
