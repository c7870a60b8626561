#include <stdlib.h>

#include "base/buf.h"
#include "base/clock.h"
#include "store/sqlite_arrival.h"

enum {
    SPAN_MOST = 16384, /* marks looked at at once where days are sealed: 10 MB of records */
    BLOCKS_AT_ONCE = 32,
};

/* One call's reading of what arrived. */
struct arrivals {
    struct sqlite_store *store;
    struct sqlite_rows rows;
    int64_t generation;
    bool is_known; /* the place that it began with */
    /* the span of marks being read: after < seq <= end */
    int64_t after;
    int64_t end;
    int64_t later; /* the least mark behind the span that was met */
    /* the sealed days that have marks of it, a few at a time */
    struct mt_sqlite_block blocks[BLOCKS_AT_ONCE];
    size_t block_count;
    struct mt_sqlite_block_cursor cursor;
    bool is_last;      /* no more after these */
    bool has_sealed;   /* there are any with marks after `after` */
    int64_t last_read; /* the mark of the last loose row of the span; 0: it has none */
};

/* loose rows of the span, as many as fit into it and the time; `end` comes down to the last one */
static enum mt_err read_loose(struct arrivals *arrivals, size_t most, struct mt_error *error)
{
    struct sqlite_store *store = arrivals->store;
    int64_t begun_ms = mt_clock_monotonic_ms();
    struct mt_buf sql;
    sqlite3_stmt *statement = NULL;
    int result = SQLITE_ROW;
    enum mt_err err;

    mt_buf_init(&sql, 0);
    mt_buf_append_string(&sql, "SELECT ");
    mt_sqlite_columns(store, MT_FIELD_ALL, &sql);
    mt_buf_append_string(&sql,
                         " FROM memory_log WHERE seq > ?1 AND seq <= ?2 ORDER BY seq LIMIT ?3");
    err = mt_buf_string(&sql) == NULL
              ? mt_error_set(error, MT_ERR_NO_MEMORY, "store %s: read: out of memory",
                             store->file.path)
              : mt_sqlite_statement(&store->file, mt_buf_string(&sql), &statement, error);
    mt_buf_fini(&sql);
    if (err != MT_OK)
        return err;
    (void)sqlite3_bind_int64(statement, 1, arrivals->after);
    (void)sqlite3_bind_int64(statement, 2, arrivals->end);
    (void)sqlite3_bind_int64(statement, 3, (int64_t)most);
    while (err == MT_OK && (result = sqlite3_step(statement)) == SQLITE_ROW) {
        err = mt_sqlite_add_row(store, statement, MT_FIELD_ALL, &arrivals->rows, error);
        if (arrivals->rows.count % 32 == 0 &&
            mt_clock_monotonic_ms() - begun_ms > MT_SQLITE_LOCK_MS)
            break;
    }
    if (err == MT_OK && result != SQLITE_ROW && result != SQLITE_DONE)
        err = mt_sqlite_fail(&store->file, result, "read", error);
    (void)sqlite3_reset(statement);
    arrivals->last_read =
        arrivals->rows.count > 0 ? arrivals->rows.rows[arrivals->rows.count - 1].seq : 0;
    if (arrivals->rows.count > 0 && (result == SQLITE_ROW || arrivals->rows.count == most))
        arrivals->end = arrivals->last_read;
    return err;
}

/* the next few blocks that have marks of the span */
static enum mt_err next_blocks(struct arrivals *arrivals, struct mt_error *error)
{
    return mt_sqlite_next_blocks(
        arrivals->store, &arrivals->cursor, arrivals->after + 1, arrivals->end, arrivals->blocks,
        BLOCKS_AT_ONCE, &arrivals->block_count, &arrivals->is_last, &arrivals->later, error);
}

/* the least mark of a loose record after the span */
static enum mt_err look_behind(struct arrivals *arrivals, struct mt_error *error)
{
    sqlite3_stmt *statement = NULL;
    bool found;
    enum mt_err err =
        mt_sqlite_statement(&arrivals->store->file,
                            "SELECT min(seq) FROM memory_log WHERE seq > ?1", &statement, error);

    if (err != MT_OK)
        return err;
    (void)sqlite3_bind_int64(statement, 1, arrivals->end);
    return mt_sqlite_read_i64(arrivals->store, statement, &arrivals->later, &found, error);
}

/* the span is cut so that no mark after `greatest` is in it: of those, some may not be there yet */
static enum mt_err begin_sealed(struct arrivals *arrivals, size_t limit, int64_t greatest,
                                struct mt_error *error)
{
    int64_t most = limit < SPAN_MOST ? (int64_t)limit : SPAN_MOST;
    enum mt_err err;

    arrivals->end = greatest - arrivals->after > most ? arrivals->after + most : greatest;
    err = read_loose(arrivals, (size_t)most, error);
    if (err == MT_OK)
        err = look_behind(arrivals, error);
    arrivals->cursor = (struct mt_sqlite_block_cursor){0};
    return err == MT_OK ? next_blocks(arrivals, error) : err;
}

/*
 * Chooses the span after `after` and reads its loose rows, all under one lock: what is sealed of it
 * may be read later, since a record that was there then is in one of its day's blocks from then on.
 */
static enum mt_err begin_span(struct arrivals *arrivals, size_t limit, struct mt_error *error)
{
    sqlite3_stmt *held = NULL;
    int64_t greatest = 0;
    enum mt_err err = mt_sqlite_greatest_seq(arrivals->store, &held, &greatest, error);

    arrivals->rows.count = 0;
    arrivals->end = INT64_MAX;
    arrivals->later = INT64_MAX;
    arrivals->cursor = (struct mt_sqlite_block_cursor){0};
    if (err == MT_OK)
        err = next_blocks(arrivals, error);
    arrivals->has_sealed = err == MT_OK && arrivals->block_count > 0;
    if (err == MT_OK)
        err = arrivals->has_sealed
                  ? begin_sealed(arrivals, limit, greatest, error)
                  : read_loose(arrivals, limit < MT_SQLITE_BATCH ? limit : MT_SQLITE_BATCH, error);
    (void)sqlite3_reset(held);
    return err;
}

/* is any of the block's marks in the span? */
static bool has_any(struct arrivals *arrivals, const struct mt_sqlite_block_data *data)
{
    bool has = false;

    for (int64_t i = 0; i < data->block.records; i++) {
        if (data->seqs[i] > arrivals->end && data->seqs[i] < arrivals->later)
            arrivals->later = data->seqs[i];
        has = has || (data->seqs[i] > arrivals->after && data->seqs[i] <= arrivals->end);
    }
    return has;
}

static enum mt_err add_row(struct arrivals *arrivals, const struct sqlite_row *row,
                           struct mt_error *error)
{
    struct sqlite_rows *rows = &arrivals->rows;

    if (rows->count == rows->capacity) {
        size_t capacity = rows->capacity == 0 ? 64 : rows->capacity * 2;
        struct sqlite_row *grown = realloc(rows->rows, capacity * sizeof *grown);

        if (grown == NULL)
            return mt_error_set(error, MT_ERR_NO_MEMORY, "store %s: read: out of memory",
                                arrivals->store->file.path);
        rows->rows = grown;
        rows->capacity = capacity;
    }
    rows->rows[rows->count++] = *row;
    return MT_OK;
}

static enum mt_err add_rows(struct arrivals *arrivals, const struct mt_sqlite_block_data *data,
                            struct mt_error *error)
{
    enum mt_err err = MT_OK;

    for (int64_t i = 0; i < data->block.records && err == MT_OK; i++) {
        struct sqlite_row row;

        if (data->seqs[i] <= arrivals->after || data->seqs[i] > arrivals->end)
            continue;
        err = mt_sqlite_block_row(arrivals->store, data, (size_t)i, &row, error);
        if (err == MT_OK)
            err = add_row(arrivals, &row, error);
    }
    return err;
}

/* fetches and decodes what is sealed of a host's day now; *found false: it was pruned */
static enum mt_err open_block(struct arrivals *arrivals, struct mt_sqlite_block *block,
                              uint64_t fields, unsigned parts, struct mt_sqlite_block_data *data,
                              bool *found, struct mt_error *error)
{
    struct sqlite_store *store = arrivals->store;
    enum mt_err err = mt_sqlite_block_fetch(store, block, fields, parts, data, found, error);
    bool is_there = true;

    while (err == MT_OK && !*found && is_there) {
        mt_sqlite_block_fini(data);
        *data = (struct mt_sqlite_block_data){0};
        /* merged since */
        err = mt_sqlite_find_block(store, block->host_id, block->day, block, &is_there, error);
        if (err == MT_OK && is_there)
            err = mt_sqlite_block_fetch(store, block, fields, parts, data, found, error);
    }
    return err == MT_OK && *found ? mt_sqlite_block_decode(store, data, error) : err;
}

static enum mt_err read_block(struct arrivals *arrivals, struct mt_sqlite_block *block,
                              struct mt_error *error)
{
    struct mt_sqlite_block_data data = {0};
    bool is_wanted = block->first_seq > arrivals->after && block->last_seq <= arrivals->end;
    bool found = true;
    enum mt_err err = MT_OK;

    /* most of it is of other spans, or all: its marks tell before the rest is read */
    if (!is_wanted) {
        err = open_block(arrivals, block, 0, MT_SQLITE_PART_SEQ, &data, &found, error);
        is_wanted = err == MT_OK && found && has_any(arrivals, &data);
        mt_sqlite_block_fini(&data);
        data = (struct mt_sqlite_block_data){0};
    }
    if (is_wanted)
        err = open_block(arrivals, block, MT_FIELD_ALL, MT_SQLITE_PART_SEQ | MT_SQLITE_PART_BOOT,
                         &data, &found, error);
    if (err == MT_OK && is_wanted && found)
        err = add_rows(arrivals, &data, error);
    mt_sqlite_block_fini(&data);
    return err;
}

/* the last day of which anything is sealed; -1: there is none */
static enum mt_err last_sealed(struct sqlite_store *store, int64_t *day, struct mt_error *error)
{
    sqlite3_stmt *statement = NULL;
    bool found = false;
    enum mt_err err;

    *day = -1;
    if (!mt_sqlite_has_blocks(store))
        return MT_OK;
    err = mt_sqlite_statement(&store->file, "SELECT max(day) FROM block", &statement, error);
    return err == MT_OK ? mt_sqlite_read_i64(store, statement, day, &found, error) : err;
}

static int compare_keys(const void *a, const void *b)
{
    const struct sqlite_row *left = *(struct sqlite_row *const *)a;
    const struct sqlite_row *right = *(struct sqlite_row *const *)b;

    if (left->host_id != right->host_id)
        return left->host_id < right->host_id ? -1 : 1;
    return (left->record.timestamp > right->record.timestamp) -
           (left->record.timestamp < right->record.timestamp);
}

/* of a host-day's loose rows, those whose second has another mark in the block lose theirs */
static void mark_twins(const struct mt_sqlite_block_data *data, struct sqlite_row *const *rows,
                       size_t count)
{
    for (size_t i = 0; i < count; i++) {
        size_t at = mt_sqlite_block_at(data, rows[i]->record.timestamp);

        if (at < (size_t)data->block.records && data->timestamps[at] == rows[i]->record.timestamp &&
            data->seqs[at] != rows[i]->seq)
            rows[i]->seq = 0;
    }
}

/* what of a day is sealed is looked at; if that is damaged, nobody knows */
static enum mt_err look_at_day(struct arrivals *arrivals, struct sqlite_row *const *rows,
                               size_t count, struct mt_error *error)
{
    struct sqlite_store *store = arrivals->store;
    struct mt_sqlite_block block = {0};
    struct mt_sqlite_block_data data = {0};
    struct mt_error failure = {0};
    bool found = false;
    enum mt_err err =
        mt_sqlite_find_block(store, rows[0]->host_id, rows[0]->record.timestamp / MT_BLOCK_SECONDS,
                             &block, &found, &failure);

    if (err == MT_OK && found)
        err = open_block(arrivals, &block, 0, MT_SQLITE_PART_SEQ, &data, &found, &failure);
    if (err == MT_OK && found)
        mark_twins(&data, rows, count);
    mt_sqlite_block_fini(&data);
    return err == MT_OK || err == MT_ERR_CORRUPT ? MT_OK
                                                 : mt_error_set(error, err, "%s", failure.text);
}

static enum mt_err look_at_days(struct arrivals *arrivals, struct sqlite_row **late, size_t count,
                                struct mt_error *error)
{
    enum mt_err err = MT_OK;

    qsort(late, count, sizeof *late, compare_keys);
    for (size_t i = 0, end; i < count && err == MT_OK; i = end) {
        int64_t day = late[i]->record.timestamp / MT_BLOCK_SECONDS;

        for (end = i + 1; end < count && late[end]->host_id == late[i]->host_id &&
                          late[end]->record.timestamp / MT_BLOCK_SECONDS == day;)
            end++;
        err = look_at_day(arrivals, late + i, end - i, error);
    }
    return err;
}

/*
 * A record that came late to a day that was damaged may be sealed there as well, which shows if
 * that can be read again: then the sealed one is handed out alone.
 */
static enum mt_err drop_twins(struct arrivals *arrivals, struct mt_error *error)
{
    struct sqlite_rows *rows = &arrivals->rows;
    struct sqlite_row **late = NULL;
    size_t count = 0;
    size_t kept = 0;
    int64_t last = -1;
    enum mt_err err = rows->count > 0 ? last_sealed(arrivals->store, &last, error) : MT_OK;

    for (size_t i = 0; i < rows->count && err == MT_OK; i++) {
        if (rows->rows[i].record.timestamp / MT_BLOCK_SECONDS > last)
            continue;
        if (late == NULL)
            late = calloc(rows->count - i, sizeof *late);
        if (late == NULL)
            err = mt_error_set(error, MT_ERR_NO_MEMORY, "store %s: read: out of memory",
                               arrivals->store->file.path);
        else
            late[count++] = &rows->rows[i];
    }
    if (err == MT_OK && count > 0)
        err = look_at_days(arrivals, late, count, error);
    free(late);
    for (size_t i = 0; i < rows->count; i++)
        if (rows->rows[i].seq != 0)
            rows->rows[kept++] = rows->rows[i];
    rows->count = kept;
    return err;
}

static int compare_seqs(const void *a, const void *b)
{
    const struct sqlite_row *left = a;
    const struct sqlite_row *right = b;

    return left->seq < right->seq ? -1 : left->seq > right->seq;
}

/* in order of arrival; one that was loose and has been sealed since was read twice */
static void put_in_order(struct sqlite_rows *rows)
{
    size_t kept = 0;
    bool is_in_order = true;

    for (size_t i = 1; i < rows->count && is_in_order; i++)
        is_in_order = rows->rows[i - 1].seq < rows->rows[i].seq;
    if (is_in_order)
        return;
    qsort(rows->rows, rows->count, sizeof rows->rows[0], compare_seqs);
    for (size_t i = 0; i < rows->count; i++)
        if (kept == 0 || rows->rows[kept - 1].seq != rows->rows[i].seq)
            rows->rows[kept++] = rows->rows[i];
    rows->count = kept;
}

static enum mt_err read_sealed(struct arrivals *arrivals, struct mt_error *error)
{
    enum mt_err err = MT_OK;

    for (;;) {
        for (size_t i = 0; i < arrivals->block_count && err == MT_OK; i++)
            err = read_block(arrivals, &arrivals->blocks[i], error);
        if (err != MT_OK || arrivals->is_last)
            break;
        err = next_blocks(arrivals, error);
        if (err != MT_OK)
            break;
    }
    put_in_order(&arrivals->rows);
    return err;
}

static enum mt_err hand_out(const struct arrivals *arrivals, struct mt_token *token, mt_emit *emit,
                            void *context, struct mt_error *error)
{
    for (size_t i = 0; i < arrivals->rows.count; i++) {
        const struct sqlite_row *row = &arrivals->rows.rows[i];
        enum mt_err err = emit(context, &row->record, error);

        if (err != MT_OK)
            return err;
        *token =
            mt_sqlite_token_of(arrivals->generation, row->seq, row->host_id, row->record.timestamp);
    }
    return MT_OK;
}

/* moves on to what lies behind the span; false: there is nothing */
static bool next_span(struct arrivals *arrivals)
{
    bool is_empty = !(arrivals->rows.count > 0 || arrivals->last_read > 0);

    if (is_empty && arrivals->later == INT64_MAX)
        return false;
    if (is_empty)
        arrivals->after = arrivals->later - 1;
    else
        arrivals->after = arrivals->has_sealed ? arrivals->end : arrivals->last_read;
    return true;
}

enum mt_err mt_sqlite_changes(struct mt_store *base, struct mt_token *token, size_t limit,
                              mt_emit *emit, void *context, bool *reset, struct mt_error *error)
{
    struct arrivals arrivals = {.store = (struct sqlite_store *)base, .after = token->sequence};
    sqlite3_stmt *held = NULL;
    enum mt_err err = mt_sqlite_store_look(arrivals.store, error);

    *reset = false;
    if (err == MT_OK)
        err = mt_sqlite_check_place(arrivals.store, token, &arrivals.generation, &arrivals.is_known,
                                    &held, error);
    while (err == MT_OK && arrivals.is_known && limit > 0) {
        /* the first span is of the same instant as the generation that its places carry */
        err = begin_span(&arrivals, limit, error);
        (void)sqlite3_reset(held);
        if (err == MT_OK)
            err = drop_twins(&arrivals, error);
        if (err == MT_OK && arrivals.has_sealed)
            err = read_sealed(&arrivals, error);
        limit -= arrivals.rows.count;
        if (err == MT_OK)
            err = hand_out(&arrivals, token, emit, context, error);
        if (err == MT_OK && !next_span(&arrivals))
            break;
    }
    (void)sqlite3_reset(held);
    free(arrivals.rows.rows);
    if (err == MT_OK && !arrivals.is_known) {
        err = mt_sqlite_token(base, token, error);
        *reset = err == MT_OK;
    }
    return err;
}
