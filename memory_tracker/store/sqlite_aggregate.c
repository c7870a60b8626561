#include "store/sqlite_aggregate.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"

enum {
    HOUR_S = 3600,
    SPAN_STEPS = 4096,  /* buckets filled before they are handed out, more only for a whole day */
    SPAN_DAYS = 512,    /* read before buckets are handed out */
    LOOSE_MOST = 32768, /* loose rows under one lock */
};

static enum mt_err out_of_memory(const struct mt_sqlite_aggregation *aggregation,
                                 struct mt_error *error)
{
    return mt_error_set(error, MT_ERR_NO_MEMORY, "store %s: read: out of memory",
                        aggregation->store->file.path);
}

struct mt_tally *mt_sqlite_tally(const struct mt_sqlite_aggregation *aggregation, int64_t second)
{
    return &aggregation->tallies[second / aggregation->wanted->step_s - aggregation->first_step];
}

static void let_go(struct mt_sqlite_aggregation *aggregation)
{
    if (aggregation->held != NULL)
        (void)sqlite3_reset(aggregation->held);
    aggregation->held = NULL;
}

/* takes the read lock; *latest: the greatest arrival mark */
static enum mt_err hold(struct mt_sqlite_aggregation *aggregation, int64_t *latest,
                        struct mt_error *error)
{
    struct mt_sqlite *file = &aggregation->store->file;
    sqlite3_stmt *statement = NULL;
    int64_t sealed = 0;
    bool is_sealed = false;
    int result;
    enum mt_err err =
        mt_sqlite_statement(file, "SELECT max(seq) FROM memory_log", &statement, error);

    if (err != MT_OK)
        return err;
    result = sqlite3_step(statement);
    if (result != SQLITE_ROW) {
        (void)sqlite3_reset(statement);
        return mt_sqlite_fail(file, result, "read", error);
    }
    *latest = sqlite3_column_int64(statement, 0);
    aggregation->held = statement;
    aggregation->held_ms = mt_clock_monotonic_ms();
    aggregation->has_blocks = mt_sqlite_has_blocks(aggregation->store);
    if (aggregation->has_blocks)
        err = mt_sqlite_statement(file, "SELECT max(last_seq) FROM block", &statement, error);
    if (err == MT_OK && aggregation->has_blocks)
        err = mt_sqlite_read_i64(aggregation->store, statement, &sealed, &is_sealed, error);
    if (is_sealed && sealed > *latest)
        *latest = sealed;
    return err;
}

/* between two pieces: the lock is held, and for long enough to read something */
static enum mt_err hold_on(struct mt_sqlite_aggregation *aggregation, struct mt_error *error)
{
    const struct mt_aggregation *wanted = aggregation->wanted;
    const char *path = aggregation->store->file.path;
    int64_t now_ms = mt_clock_monotonic_ms();
    int64_t latest;

    if (wanted->cancelled != NULL && wanted->cancelled(wanted->cancel_context))
        return mt_error_set(error, MT_ERR_CANCELLED, "store %s: read: cancelled", path);
    if (wanted->deadline_ms != 0 && now_ms >= wanted->deadline_ms)
        return mt_error_set(error, MT_ERR_DEADLINE, "store %s: read: the deadline has passed",
                            path);
    if (aggregation->held != NULL && now_ms - aggregation->held_ms <= MT_SQLITE_LOCK_MS / 2)
        return MT_OK;
    let_go(aggregation);
    return hold(aggregation, &latest, error);
}

static enum mt_err add_host(struct mt_sqlite_aggregation *aggregation, int64_t id,
                            struct mt_error *error)
{
    size_t count = aggregation->host_count;

    /* grows at each power of two */
    if ((count & (count - 1)) == 0) {
        int64_t *grown =
            realloc(aggregation->host_ids, (count == 0 ? 1 : count * 2) * sizeof *grown);

        if (grown == NULL)
            return out_of_memory(aggregation, error);
        aggregation->host_ids = grown;
    }
    aggregation->host_ids[aggregation->host_count++] = id;
    return MT_OK;
}

static enum mt_err choose_hosts(struct mt_sqlite_aggregation *aggregation, struct mt_error *error)
{
    struct mt_sqlite *file = &aggregation->store->file;
    const char *name = aggregation->wanted->host;
    sqlite3_stmt *statement = NULL;
    int result;
    enum mt_err err = mt_sqlite_statement(file,
                                          name == NULL ? "SELECT id FROM host ORDER BY id"
                                                       : "SELECT id FROM host WHERE name = ?1",
                                          &statement, error);

    if (err != MT_OK)
        return err;
    if (name != NULL)
        (void)sqlite3_bind_text(statement, 1, name, -1, SQLITE_STATIC);
    while ((result = sqlite3_step(statement)) == SQLITE_ROW && err == MT_OK)
        err = add_host(aggregation, sqlite3_column_int64(statement, 0), error);
    if (err == MT_OK && result != SQLITE_DONE)
        err = mt_sqlite_fail(file, result, "read", error);
    (void)sqlite3_reset(statement);
    return err;
}

static void choose_span(struct mt_sqlite_aggregation *aggregation)
{
    const struct mt_aggregation *wanted = aggregation->wanted;

    aggregation->lower = wanted->from > 0 ? wanted->from : 0;
    aggregation->upper = MT_TIMESTAMP_MAX + 1;
    if (wanted->to != 0) {
        aggregation->upper = wanted->to < aggregation->upper ? wanted->to : aggregation->upper;
    } else if (wanted->host == NULL && wanted->now_s < MT_TIMESTAMP_MAX - MT_FUTURE_SLACK_S) {
        aggregation->upper = wanted->now_s + MT_FUTURE_SLACK_S + 1;
    }
}

static enum mt_err ask(struct mt_sqlite_aggregation *aggregation, const char *sql, int64_t from,
                       int64_t *value, bool *found, struct mt_error *error)
{
    sqlite3_stmt *statement = NULL;
    enum mt_err err = mt_sqlite_statement(&aggregation->store->file, sql, &statement, error);

    if (err != MT_OK)
        return err;
    (void)sqlite3_bind_int64(statement, 1, from);
    if (aggregation->wanted->host != NULL)
        (void)sqlite3_bind_int64(statement, 2, aggregation->host_ids[0]);
    return mt_sqlite_read_i64(aggregation->store, statement, value, found, error);
}

/* the first second from *second on that may have a record; upper: there is none */
static enum mt_err next_second(struct mt_sqlite_aggregation *aggregation, int64_t *second,
                               struct mt_error *error)
{
    bool is_one = aggregation->wanted->host != NULL;
    int64_t day = 0;
    int64_t loose = 0;
    int64_t next = aggregation->upper;
    bool is_sealed = false;
    bool is_loose = false;
    enum mt_err err =
        ask(aggregation,
            is_one ? "SELECT timestamp FROM memory_log INDEXED BY memory_log_by_host"
                     " WHERE host_id = ?2 AND timestamp >= ?1 ORDER BY timestamp LIMIT 1"
                   : "SELECT timestamp FROM memory_log INDEXED BY memory_log_by_time"
                     " WHERE timestamp >= ?1 ORDER BY timestamp LIMIT 1",
            *second, &loose, &is_loose, error);

    if (err == MT_OK && aggregation->has_blocks)
        err = ask(aggregation,
                  is_one ? "SELECT min(day) FROM block WHERE host_id = ?2 AND day >= ?1"
                         : "SELECT min(day) FROM block WHERE day >= ?1",
                  *second / MT_BLOCK_SECONDS, &day, &is_sealed, error);
    /* an index that is out of order would lead in circles */
    if (err == MT_OK &&
        ((is_loose && loose < *second) || (is_sealed && day < *second / MT_BLOCK_SECONDS)))
        return mt_sqlite_fail(&aggregation->store->file, SQLITE_CORRUPT, "read", error);
    if (is_loose && loose < next)
        next = loose;
    if (is_sealed && day <= next / MT_BLOCK_SECONDS && day * MT_BLOCK_SECONDS < next)
        next = day * MT_BLOCK_SECONDS;
    if (next > *second)
        *second = next;
    return err;
}

static int64_t step_of(const struct mt_sqlite_aggregation *aggregation, int64_t second)
{
    return second / aggregation->wanted->step_s;
}

/* empty buckets for the seconds of a span; the last one of those before goes on if it has to */
static enum mt_err make_tallies(struct mt_sqlite_aggregation *aggregation, int64_t from, int64_t to,
                                struct mt_error *error)
{
    size_t count = (size_t)(step_of(aggregation, to - 1) - step_of(aggregation, from) + 1);
    struct mt_tally carried = {0};

    if (aggregation->tally_count > 0)
        carried = aggregation->tallies[0];
    if (count > aggregation->tally_capacity) {
        struct mt_tally *grown = realloc(aggregation->tallies, count * sizeof *grown);

        if (grown == NULL)
            return out_of_memory(aggregation, error);
        aggregation->tallies = grown;
        aggregation->tally_capacity = count;
    }
    aggregation->tally_count = count;
    aggregation->first_step = step_of(aggregation, from);
    for (size_t i = 0; i < count; i++)
        aggregation->tallies[i] = (struct mt_tally){
            .start_s = (aggregation->first_step + (int64_t)i) * aggregation->wanted->step_s};
    if (carried.count > 0)
        aggregation->tallies[0] = carried;
    return MT_OK;
}

/* hands out the buckets in which nothing of second `next` or later belongs; at most one stays */
static enum mt_err emit_tallies(struct mt_sqlite_aggregation *aggregation, int64_t next,
                                mt_emit_bucket *emit, void *context, struct mt_error *error)
{
    int64_t done = step_of(aggregation, next) - aggregation->first_step;
    size_t count = aggregation->tally_count;
    enum mt_err err = MT_OK;

    if (next < aggregation->upper && done < (int64_t)count)
        count = (size_t)done;
    for (size_t i = 0; i < count && err == MT_OK; i++)
        err = mt_tally_emit(&aggregation->tallies[i], emit, context, error);
    if (count < aggregation->tally_count)
        aggregation->tallies[0] = aggregation->tallies[count];
    aggregation->tally_count = count < aggregation->tally_count ? 1 : 0;
    return err;
}

static enum mt_err add_loose(struct mt_sqlite_aggregation *aggregation,
                             struct mt_sqlite_piece *piece, sqlite3_stmt *statement,
                             struct mt_error *error)
{
    struct mt_record record = {0};
    int column = 4;
    int64_t value = 0;

    for (enum mt_field i = 0; i < MT_FIELD_COUNT; i++) {
        if ((aggregation->fields & MT_FIELD_BIT(i)) == 0)
            continue;
        if (sqlite3_column_type(statement, column) != SQLITE_NULL)
            mt_record_set(&record, i, sqlite3_column_int64(statement, column));
        column++;
    }
    if (!mt_measure(&record, aggregation->wanted->measure, &value))
        return MT_OK;
    if (piece->loose_count == piece->loose_capacity) {
        size_t capacity = piece->loose_capacity == 0 ? 256 : piece->loose_capacity * 2;
        struct mt_sqlite_loose *grown = realloc(piece->loose, capacity * sizeof *grown);

        if (grown == NULL)
            return out_of_memory(aggregation, error);
        piece->loose = grown;
        piece->loose_capacity = capacity;
    }
    piece->loose[piece->loose_count++] =
        (struct mt_sqlite_loose){sqlite3_column_int64(statement, 2), value};
    return MT_OK;
}

/* where to stop instead of at a second: at the last midnight, or else at the last full hour */
static int64_t round_down(int64_t from, int64_t second)
{
    if (second - second % MT_BLOCK_SECONDS > from)
        return second - second % MT_BLOCK_SECONDS;
    if (second - second % HOUR_S > from)
        return second - second % HOUR_S;
    return second;
}

/* reads the piece's loose rows; piece->to comes nearer if they are too many for one lock */
static enum mt_err read_loose(struct mt_sqlite_aggregation *aggregation,
                              struct mt_sqlite_piece *piece, struct mt_error *error)
{
    struct mt_sqlite *file = &aggregation->store->file;
    sqlite3_stmt *statement = NULL;
    int64_t rows = 0;
    int result;
    enum mt_err err =
        mt_sqlite_statement(file, mt_buf_string(&aggregation->loose), &statement, error);

    piece->loose_count = 0;
    if (err != MT_OK)
        return err;
    (void)sqlite3_bind_int64(statement, 1, piece->host_id);
    (void)sqlite3_bind_int64(statement, 2, piece->from);
    (void)sqlite3_bind_int64(statement, 3, piece->to);
    (void)sqlite3_bind_int64(statement, 4, aggregation->snapshot);
    while ((result = sqlite3_step(statement)) == SQLITE_ROW && err == MT_OK) {
        bool is_long =
            rows % 32 == 31 && mt_clock_monotonic_ms() - aggregation->held_ms > MT_SQLITE_LOCK_MS;

        if (rows >= LOOSE_MOST || is_long) {
            piece->to = round_down(piece->from, sqlite3_column_int64(statement, 2));
            break;
        }
        err = add_loose(aggregation, piece, statement, error);
        rows++;
    }
    if (err == MT_OK && result != SQLITE_ROW && result != SQLITE_DONE)
        err = mt_sqlite_fail(file, result, "read", error);
    (void)sqlite3_reset(statement);
    return err;
}

static void take_loose(const struct mt_sqlite_aggregation *aggregation,
                       const struct mt_sqlite_piece *piece)
{
    for (size_t i = 0; i < piece->loose_count && piece->loose[i].timestamp < piece->to; i++) {
        int64_t value = piece->loose[i].value;

        mt_tally_add(mt_sqlite_tally(aggregation, piece->loose[i].timestamp), 1, value, value,
                     value);
    }
}

/* what fits under one lock, from piece->from on; piece->to is where it ended */
static enum mt_err read_piece(struct mt_sqlite_aggregation *aggregation,
                              struct mt_sqlite_piece *piece, struct mt_error *error)
{
    enum mt_err err = hold_on(aggregation, error);

    if (err == MT_OK)
        err = read_loose(aggregation, piece, error);
    if (err == MT_OK && aggregation->has_blocks)
        err = mt_sqlite_piece_blocks(aggregation, piece, error);
    if (err == MT_OK && piece->pending_count > 0) {
        let_go(aggregation);
        err = mt_sqlite_piece_decode(aggregation, piece, error);
    }
    if (err == MT_OK)
        take_loose(aggregation, piece);
    for (size_t i = 0; i < piece->pending_count; i++)
        mt_sqlite_block_fini(&piece->pending[i].data);
    piece->pending_count = 0;
    return err;
}

static enum mt_err read_span(struct mt_sqlite_aggregation *aggregation, int64_t from, int64_t to,
                             struct mt_error *error)
{
    struct mt_sqlite_piece piece = {0};
    enum mt_err err = make_tallies(aggregation, from, to, error);

    for (size_t i = 0; i < aggregation->host_count && err == MT_OK; i++) {
        piece.host_id = aggregation->host_ids[i];
        for (piece.from = from; piece.from < to && err == MT_OK; piece.from = piece.to) {
            piece.to = to;
            err = read_piece(aggregation, &piece, error);
        }
    }
    free(piece.loose);
    return err;
}

/* the end of the span that begins at `from`: a midnight, or the end of everything */
static int64_t span_end(const struct mt_sqlite_aggregation *aggregation, int64_t from)
{
    int64_t days = SPAN_DAYS;

    if (aggregation->wanted->step_s < days * MT_BLOCK_SECONDS / SPAN_STEPS)
        days = aggregation->wanted->step_s * SPAN_STEPS / MT_BLOCK_SECONDS;
    if (days == 0)
        days = 1;
    if (days > (aggregation->upper - from) / MT_BLOCK_SECONDS + 1)
        return aggregation->upper;
    from += days * MT_BLOCK_SECONDS - from % MT_BLOCK_SECONDS;
    return from < aggregation->upper ? from : aggregation->upper;
}

static enum mt_err read_all(struct mt_sqlite_aggregation *aggregation, mt_emit_bucket *emit,
                            void *context, struct mt_error *error)
{
    int64_t from = aggregation->lower;
    enum mt_err err = next_second(aggregation, &from, error);

    while (err == MT_OK && from < aggregation->upper) {
        int64_t to = span_end(aggregation, from);

        err = read_span(aggregation, from, to, error);
        from = to;
        if (err == MT_OK)
            err = hold_on(aggregation, error);
        if (err == MT_OK)
            err = next_second(aggregation, &from, error);
        let_go(aggregation);
        if (err == MT_OK)
            err = emit_tallies(aggregation, from, emit, context, error);
    }
    return err;
}

static enum mt_err write_loose_sql(struct mt_sqlite_aggregation *aggregation,
                                   struct mt_error *error)
{
    mt_buf_append_string(&aggregation->loose, "SELECT ");
    mt_sqlite_columns(aggregation->store, aggregation->fields, &aggregation->loose);
    mt_buf_append_string(
        &aggregation->loose,
        " FROM memory_log INDEXED BY memory_log_by_host WHERE host_id = ?1"
        " AND timestamp >= ?2 AND timestamp < ?3 AND seq <= ?4 ORDER BY timestamp");
    return mt_buf_string(&aggregation->loose) == NULL ? out_of_memory(aggregation, error) : MT_OK;
}

static enum mt_err aggregate(struct mt_sqlite_aggregation *aggregation, mt_emit_bucket *emit,
                             void *context, struct mt_error *error)
{
    enum mt_err err = mt_sqlite_store_look(aggregation->store, error);

    if (err == MT_OK)
        err = write_loose_sql(aggregation, error);
    if (err == MT_OK)
        err = hold(aggregation, &aggregation->snapshot, error);
    if (err == MT_OK)
        err = choose_hosts(aggregation, error);
    if (err == MT_OK && aggregation->host_count > 0 && aggregation->lower < aggregation->upper)
        err = read_all(aggregation, emit, context, error);
    let_go(aggregation);
    return err;
}

enum mt_err mt_sqlite_aggregate(struct mt_store *base, const struct mt_aggregation *wanted,
                                mt_emit_bucket *emit, void *context, struct mt_error *error)
{
    struct sqlite_store *store = (struct sqlite_store *)base;
    struct mt_sqlite_aggregation aggregation = {
        .store = store, .wanted = wanted, .fields = mt_measure_fields(wanted->measure)};
    enum mt_err err;

    store->file.deadline_ms = wanted->deadline_ms;
    store->file.cancelled = wanted->cancelled;
    store->file.cancel_context = wanted->cancel_context;
    mt_buf_init(&aggregation.blocks, 0);
    mt_buf_init(&aggregation.loose, 0);
    choose_span(&aggregation);
    err = aggregate(&aggregation, emit, context, error);
    mt_buf_fini(&aggregation.blocks);
    mt_buf_fini(&aggregation.loose);
    free(aggregation.host_ids);
    free(aggregation.tallies);
    store->file.deadline_ms = 0;
    store->file.cancelled = NULL;
    return err;
}
