#include "store/sqlite_scan.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"

/* How far the reading of a slice has come; rows hold whole seconds only. */
struct reader {
    struct mt_sqlite_scan *scan;
    struct mt_sqlite_place newest; /* the slice lies between these two */
    struct mt_sqlite_place oldest;
    int64_t from; /* seconds not read yet: from <= timestamp < to */
    int64_t to;
    int64_t window_s; /* seconds read at once where rows come unsorted */
    uint64_t fields;
    const char *columns;
    struct sqlite_rows rows;
    const struct sqlite_row **sorted; /* one second's rows by name */
    size_t sorted_capacity;
};

void mt_sqlite_scan_let_go(struct mt_sqlite_scan *scan)
{
    if (scan->held != NULL)
        (void)sqlite3_reset(scan->held);
    scan->held = NULL;
}

static enum mt_err out_of_memory(const struct mt_sqlite_scan *scan, struct mt_error *error)
{
    return mt_error_set(error, MT_ERR_NO_MEMORY, "store %s: read: out of memory",
                        scan->store->file.path);
}

/* asked between statements */
static enum mt_err check_wishes(const struct mt_sqlite_scan *scan, struct mt_error *error)
{
    const struct mt_query *query = scan->query;

    if (query->cancelled != NULL && query->cancelled(query->cancel_context))
        return mt_error_set(error, MT_ERR_CANCELLED, "store %s: read: cancelled",
                            scan->store->file.path);
    if (query->deadline_ms != 0 && mt_clock_monotonic_ms() >= query->deadline_ms)
        return mt_error_set(error, MT_ERR_DEADLINE, "store %s: read: the deadline has passed",
                            scan->store->file.path);
    return MT_OK;
}

void mt_sqlite_scan_hosts(const struct mt_sqlite_scan *scan, struct mt_buf *sql)
{
    if (scan->hosts.length == 0)
        return;
    mt_buf_append_string(sql, " AND host_id IN ");
    mt_buf_append(sql, scan->hosts.data, scan->hosts.length);
}

enum mt_err mt_sqlite_scan_statement(struct mt_sqlite_scan *scan, const char *columns,
                                     const char *order, int64_t from, int64_t to,
                                     sqlite3_stmt **statement, struct mt_error *error)
{
    struct mt_buf sql;
    enum mt_err err;

    if (scan->held != NULL && mt_clock_monotonic_ms() - scan->held_ms > MT_SQLITE_LOCK_MS / 2)
        mt_sqlite_scan_let_go(scan);
    mt_buf_init(&sql, 0);
    mt_buf_printf(&sql,
                  "SELECT %s FROM memory_log INDEXED BY memory_log_by_%s"
                  " WHERE timestamp >= ?1 AND timestamp < ?2%s",
                  columns, scan->shape == MT_SQLITE_ALL_HOSTS ? "time" : "host",
                  /* under the snapshot's own lock there is nothing that arrived later */
                  scan->held != NULL ? "" : " AND seq <= ?3");
    mt_sqlite_scan_hosts(scan, &sql);
    mt_buf_append_string(&sql, order);
    err = mt_buf_string(&sql) == NULL
              ? out_of_memory(scan, error)
              : mt_sqlite_statement(&scan->store->file, mt_buf_string(&sql), statement, error);
    mt_buf_fini(&sql);
    if (err != MT_OK)
        return err;
    (void)sqlite3_bind_int64(*statement, 1, from);
    (void)sqlite3_bind_int64(*statement, 2, to);
    if (scan->held == NULL)
        (void)sqlite3_bind_int64(*statement, 3, scan->snapshot);
    return MT_OK;
}

/* the condition on host_id; *none if no host of the question is known */
static enum mt_err choose_hosts(struct mt_sqlite_scan *scan, bool *none, struct mt_error *error)
{
    const struct mt_query *query = scan->query;
    size_t known = 0;

    *none = false;
    if (query->hosts == NULL)
        return MT_OK;
    for (size_t i = 0; i < query->host_count; i++) {
        sqlite3_stmt *statement = NULL;
        int64_t id = 0;
        bool found = false;
        enum mt_err err = mt_sqlite_statement(
            &scan->store->file, "SELECT id FROM host WHERE name = ?1", &statement, error);

        if (err != MT_OK)
            return err;
        (void)sqlite3_bind_text(statement, 1, query->hosts[i], -1, SQLITE_STATIC);
        err = mt_sqlite_read_i64(scan->store, statement, &id, &found, error);
        if (err != MT_OK)
            return err;
        if (found)
            mt_buf_printf(&scan->hosts, "%s%lld", known++ == 0 ? "(" : ",", (long long)id);
    }
    mt_buf_append_string(&scan->hosts, known > 0 ? ")" : "");
    scan->shape = known > 1 ? MT_SQLITE_SOME_HOSTS : MT_SQLITE_ONE_HOST;
    *none = known == 0;
    return scan->hosts.failed ? out_of_memory(scan, error) : MT_OK;
}

static void choose_span(struct mt_sqlite_scan *scan)
{
    const struct mt_query *query = scan->query;

    scan->lower = query->from > 0 ? query->from : 0;
    scan->upper = MT_TIMESTAMP_MAX + 1;
    if (query->to != 0) {
        scan->upper = query->to < scan->upper ? query->to : scan->upper;
    } else if (query->hosts == NULL) {
        int64_t latest = query->now_s < MT_TIMESTAMP_MAX - MT_FUTURE_SLACK_S
                             ? query->now_s + MT_FUTURE_SLACK_S
                             : MT_TIMESTAMP_MAX;
        scan->upper = latest + 1;
    }
}

/* fixes the instant that the answer is of; keeps its lock, so that what follows is of it too */
static enum mt_err take_snapshot(struct mt_sqlite_scan *scan, struct mt_error *error)
{
    sqlite3_stmt *statement = NULL;
    enum mt_err err = mt_sqlite_statement(&scan->store->file, "SELECT max(seq) FROM memory_log",
                                          &statement, error);
    int result;

    if (err != MT_OK)
        return err;
    result = sqlite3_step(statement);
    if (result != SQLITE_ROW) {
        (void)sqlite3_reset(statement);
        return mt_sqlite_fail(&scan->store->file, result, "read", error);
    }
    scan->snapshot = sqlite3_column_int64(statement, 0);
    scan->held = statement;
    scan->held_ms = mt_clock_monotonic_ms();
    return MT_OK;
}

/* where rows come unsorted and a window was empty: the next second that has a row; or the end */
static enum mt_err next_second(struct reader *reader, bool oldest_first, int64_t *second,
                               bool *found, struct mt_error *error)
{
    struct mt_sqlite_scan *scan = reader->scan;
    struct mt_buf sql;
    sqlite3_stmt *statement = NULL;
    enum mt_err err;

    mt_buf_init(&sql, 0);
    mt_buf_printf(&sql,
                  "SELECT %s((SELECT timestamp FROM memory_log AS m INDEXED BY memory_log_by_host"
                  " WHERE m.host_id = host.id AND timestamp >= ?1 AND timestamp < ?2"
                  " AND seq <= ?3 ORDER BY timestamp %s LIMIT 1)) FROM host WHERE id IN ",
                  oldest_first ? "min" : "max", oldest_first ? "ASC" : "DESC");
    mt_buf_append(&sql, scan->hosts.data, scan->hosts.length);
    err = mt_buf_string(&sql) == NULL
              ? out_of_memory(scan, error)
              : mt_sqlite_statement(&scan->store->file, mt_buf_string(&sql), &statement, error);
    mt_buf_fini(&sql);
    if (err != MT_OK)
        return err;
    (void)sqlite3_bind_int64(statement, 1, reader->from);
    (void)sqlite3_bind_int64(statement, 2, reader->to);
    (void)sqlite3_bind_int64(statement, 3, scan->snapshot);
    return mt_sqlite_read_i64(scan->store, statement, second, found, error);
}

/* narrows the span to be read next to one that a sort of its rows is quick for */
static void choose_window(const struct reader *reader, int64_t *from, int64_t *to)
{
    if (reader->scan->shape != MT_SQLITE_SOME_HOSTS || *to - *from <= reader->window_s)
        return;
    if (reader->scan->query->order == MT_OLDEST_FIRST)
        *to = *from + reader->window_s;
    else
        *from = *to - reader->window_s;
}

/* reads whole seconds from one end of a span; *from and *to close in on what was read */
static enum mt_err read_span(struct reader *reader, int64_t *from, int64_t *to,
                             struct mt_error *error)
{
    struct mt_sqlite_scan *scan = reader->scan;
    bool oldest_first = scan->query->order == MT_OLDEST_FIRST;
    struct sqlite_rows *rows = &reader->rows;
    sqlite3_stmt *statement = NULL;
    int result;
    enum mt_err err = mt_sqlite_scan_statement(
        scan, reader->columns, oldest_first ? " ORDER BY timestamp" : " ORDER BY timestamp DESC",
        *from, *to, &statement, error);

    rows->count = 0;
    if (err != MT_OK)
        return err;
    if (scan->held == NULL)
        scan->held_ms = mt_clock_monotonic_ms();
    while ((result = sqlite3_step(statement)) == SQLITE_ROW && err == MT_OK) {
        bool is_full =
            rows->count >= MT_SQLITE_BATCH ||
            (rows->count % 32 == 31 && mt_clock_monotonic_ms() - scan->held_ms > MT_SQLITE_LOCK_MS);
        int64_t last = rows->count > 0 ? rows->rows[rows->count - 1].record.timestamp : -1;

        if (is_full && sqlite3_column_int64(statement, 2) != last) {
            *from = oldest_first ? *from : last;
            *to = oldest_first ? last + 1 : *to;
            break;
        }
        err = mt_sqlite_add_row(scan->store, statement, reader->fields, rows, error);
    }
    if (err == MT_OK && result != SQLITE_ROW && result != SQLITE_DONE)
        err = mt_sqlite_fail(&scan->store->file, result, "read", error);
    (void)sqlite3_reset(statement);
    return err;
}

/* the next rows of the slice; none if it has been read to its end */
static enum mt_err read_batch(struct reader *reader, struct mt_error *error)
{
    bool oldest_first = reader->scan->query->order == MT_OLDEST_FIRST;
    int64_t from = reader->from;
    int64_t to = reader->to;
    enum mt_err err;

    choose_window(reader, &from, &to);
    err = read_span(reader, &from, &to, error);
    if (err != MT_OK)
        return err;
    if (oldest_first)
        reader->from = to;
    else
        reader->to = from;
    if (reader->rows.count == 0 && reader->from < reader->to) {
        int64_t second = 0;
        bool found = false;

        err = next_second(reader, oldest_first, &second, &found, error);
        if (!found)
            reader->from = reader->to;
        else if (oldest_first)
            reader->from = second;
        else
            reader->to = second + 1;
    }
    if (reader->rows.count < MT_SQLITE_BATCH / 4)
        reader->window_s *= 4;
    else if (reader->rows.count >= MT_SQLITE_BATCH && reader->window_s > 1)
        reader->window_s /= 2;
    mt_sqlite_scan_let_go(reader->scan);
    return err;
}

static int compare_names(const void *a, const void *b)
{
    const struct sqlite_row *const *left = a;
    const struct sqlite_row *const *right = b;

    return strcmp((*left)->record.host, (*right)->record.host);
}

/* hands out the rows of one second, those of them that lie in the slice */
static enum mt_err emit_second(struct reader *reader, const struct sqlite_row *rows, size_t count,
                               mt_emit *emit, void *context, struct mt_error *error)
{
    int64_t second = rows[0].record.timestamp;
    size_t from = 0;
    size_t to = count;
    enum mt_err err = MT_OK;

    if (count > reader->sorted_capacity) {
        const struct sqlite_row **grown =
            realloc(reader->sorted, count * sizeof(const struct sqlite_row *));

        if (grown == NULL)
            return out_of_memory(reader->scan, error);
        reader->sorted = grown;
        reader->sorted_capacity = count;
    }
    for (size_t i = 0; i < count; i++)
        reader->sorted[i] = &rows[i];
    if (count > 1)
        qsort(reader->sorted, count, sizeof(const struct sqlite_row *), compare_names);
    if (reader->oldest.ties > 0 && second == reader->oldest.below - 1)
        from = count - (size_t)(reader->oldest.ties < (int64_t)count ? reader->oldest.ties
                                                                     : (int64_t)count);
    if (reader->newest.ties > 0 && second == reader->newest.below - 1)
        to = count -
             (size_t)(reader->newest.ties < (int64_t)count ? reader->newest.ties : (int64_t)count);
    for (size_t i = from; i < to && err == MT_OK; i++) {
        size_t at = reader->scan->query->order == MT_OLDEST_FIRST ? i : to - 1 - (i - from);

        err = emit(context, &reader->sorted[at]->record, error);
    }
    return err;
}

static enum mt_err emit_batch(struct reader *reader, mt_emit *emit, void *context,
                              struct mt_error *error)
{
    const struct sqlite_rows *rows = &reader->rows;
    enum mt_err err = MT_OK;

    for (size_t first = 0, next = 0; first < rows->count && err == MT_OK; first = next) {
        while (next < rows->count &&
               rows->rows[next].record.timestamp == rows->rows[first].record.timestamp)
            next++;
        err = emit_second(reader, &rows->rows[first], next - first, emit, context, error);
    }
    return err;
}

/* the two ends of the slice that skip and limit cut out of what matches */
static enum mt_err cut_slice(struct reader *reader, struct mt_error *error)
{
    struct mt_sqlite_scan *scan = reader->scan;
    const struct mt_query *query = scan->query;
    int64_t skip = query->skip > 0 ? query->skip : 0;
    int64_t end = query->limit > INT64_MAX - skip ? INT64_MAX : skip + query->limit;
    enum mt_err err = mt_sqlite_skip_prepare(scan, query->limit > 0 ? end : skip, error);

    reader->newest = (struct mt_sqlite_place){scan->upper, 0};
    reader->oldest = (struct mt_sqlite_place){scan->lower, 0};
    if (err == MT_OK)
        err = mt_sqlite_skip(scan, reader->newest, skip, &reader->newest, error);
    if (err == MT_OK && query->limit > 0)
        err = mt_sqlite_skip(scan, reader->newest, query->limit, &reader->oldest, error);
    reader->from = reader->oldest.below - (reader->oldest.ties > 0 ? 1 : 0);
    reader->to = reader->newest.below;
    return err;
}

static enum mt_err read_slice(struct mt_sqlite_scan *scan, mt_emit *emit, void *context,
                              struct mt_error *error)
{
    struct reader reader = {.scan = scan, .fields = scan->query->fields, .window_s = 60};
    struct mt_buf columns;
    enum mt_err err;

    mt_buf_init(&columns, 0);
    mt_sqlite_columns(scan->store, reader.fields, &columns);
    reader.columns = mt_buf_string(&columns);
    err = reader.columns == NULL ? out_of_memory(scan, error) : cut_slice(&reader, error);
    while (err == MT_OK && reader.from < reader.to) {
        err = check_wishes(scan, error);
        if (err == MT_OK)
            err = read_batch(&reader, error);
        if (err == MT_OK)
            err = emit_batch(&reader, emit, context, error);
    }
    free(reader.rows.rows);
    free(reader.sorted);
    mt_buf_fini(&columns);
    return err;
}

static enum mt_err scan_all(struct mt_sqlite_scan *scan, mt_emit *emit, void *context,
                            struct mt_error *error)
{
    bool none = false;
    enum mt_err err = mt_sqlite_store_look(scan->store, error);

    if (err == MT_OK)
        err = take_snapshot(scan, error);
    if (err == MT_OK)
        err = choose_hosts(scan, &none, error);
    if (err == MT_OK && !none && scan->lower < scan->upper)
        err = read_slice(scan, emit, context, error);
    mt_sqlite_scan_let_go(scan);
    return err;
}

enum mt_err mt_sqlite_scan(struct mt_store *base, const struct mt_query *query, mt_emit *emit,
                           void *context, struct mt_error *error)
{
    struct sqlite_store *store = (struct sqlite_store *)base;
    struct mt_sqlite_scan scan = {.store = store, .query = query};
    enum mt_err err;

    store->file.deadline_ms = query->deadline_ms;
    store->file.cancelled = query->cancelled;
    store->file.cancel_context = query->cancel_context;
    mt_buf_init(&scan.hosts, 0);
    choose_span(&scan);
    err = scan_all(&scan, emit, context, error);
    mt_buf_fini(&scan.hosts);
    free(scan.days);
    store->file.deadline_ms = 0;
    store->file.cancelled = NULL;
    return err;
}
