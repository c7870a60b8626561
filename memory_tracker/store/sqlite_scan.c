#include <stdlib.h>

#include "base/clock.h"
#include "store/sqlite_merge.h"

/* How far the reading of a slice has come; rows hold whole seconds only. */
struct reader {
    struct mt_sqlite_scan *scan;
    struct mt_sqlite_merge merge;
    int64_t from; /* seconds not read yet: from <= timestamp < to */
    int64_t to;
    int64_t window_s; /* seconds read at once where rows come unsorted */
    int64_t loose_at; /* between the end that is read next and here no row is loose */
    const char *columns;
    struct sqlite_rows rows;
};

enum {
    FEW_BLOCKS = 16,
    WINDOW_MOST_S = 1 << 30,
    SHORT_S = 3600, /* in so little time many a block may have nothing to hand out */
};

void mt_sqlite_scan_let_go(struct mt_sqlite_scan *scan)
{
    if (scan->held != NULL)
        (void)sqlite3_reset(scan->held);
    scan->held = NULL;
    scan->is_first_hold = false;
}

bool mt_sqlite_scan_is_long(const struct mt_sqlite_scan *scan)
{
    return mt_clock_monotonic_ms() - scan->held_ms > MT_SQLITE_LOCK_MS / 2;
}

/* a statement whose one row is at hand, left standing on it */
static enum mt_err stand(struct mt_sqlite_scan *scan, const char *sql, struct mt_error *error)
{
    sqlite3_stmt *statement = NULL;
    enum mt_err err = mt_sqlite_statement(&scan->store->file, sql, &statement, error);
    int result;

    if (err != MT_OK)
        return err;
    result = sqlite3_step(statement);
    if (result != SQLITE_ROW) {
        (void)sqlite3_reset(statement);
        return mt_sqlite_fail(&scan->store->file, result, "read", error);
    }
    scan->held = statement;
    scan->held_ms = mt_clock_monotonic_ms();
    return MT_OK;
}

enum mt_err mt_sqlite_scan_hold(struct mt_sqlite_scan *scan, struct mt_error *error)
{
    if (scan->held != NULL && !mt_sqlite_scan_is_long(scan))
        return MT_OK;
    mt_sqlite_scan_let_go(scan);
    return stand(scan, "SELECT max(seq) FROM memory_log", error);
}

enum mt_err mt_sqlite_scan_no_memory(const struct mt_sqlite_scan *scan, struct mt_error *error)
{
    return mt_error_set(error, MT_ERR_NO_MEMORY, "store %s: read: out of memory",
                        scan->store->file.path);
}

enum mt_err mt_sqlite_scan_prepare(const struct mt_sqlite_scan *scan, struct mt_buf *sql,
                                   sqlite3_stmt **statement, struct mt_error *error)
{
    const char *text = mt_buf_string(sql);
    enum mt_err err = text == NULL
                          ? mt_sqlite_scan_no_memory(scan, error)
                          : mt_sqlite_statement(&scan->store->file, text, statement, error);

    mt_buf_fini(sql);
    return err;
}

enum mt_err mt_sqlite_scan_check(const struct mt_sqlite_scan *scan, struct mt_error *error)
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

    mt_buf_init(&sql, 0);
    mt_buf_printf(&sql,
                  "SELECT %s FROM memory_log INDEXED BY memory_log_by_%s"
                  " WHERE timestamp >= ?1 AND timestamp < ?2%s",
                  columns, scan->shape == MT_SQLITE_ALL_HOSTS ? "time" : "host",
                  /* under the snapshot's own lock there is nothing that arrived later */
                  scan->is_first_hold ? "" : " AND seq <= ?3");
    mt_sqlite_scan_hosts(scan, &sql);
    mt_buf_append_string(&sql, order);
    err = mt_sqlite_scan_prepare(scan, &sql, statement, error);
    if (err != MT_OK)
        return err;
    (void)sqlite3_bind_int64(*statement, 1, from);
    (void)sqlite3_bind_int64(*statement, 2, to);
    if (!scan->is_first_hold)
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
    return scan->hosts.failed ? mt_sqlite_scan_no_memory(scan, error) : MT_OK;
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
    static const char *const newest[] = {
        "SELECT max(seq) FROM memory_log",
        "SELECT max((SELECT ifnull(max(seq), 0) FROM memory_log),"
        " (SELECT ifnull(max(last_seq), 0) FROM block INDEXED BY block_by_seq))"};
    bool has_blocks = mt_sqlite_has_blocks(scan->store);
    enum mt_err err = stand(scan, newest[has_blocks], error);

    /* another process may just have made them */
    if (err == MT_OK && !has_blocks && mt_sqlite_has_blocks(scan->store)) {
        mt_sqlite_scan_let_go(scan);
        err = stand(scan, newest[true], error);
    }
    if (err != MT_OK)
        return err;
    scan->snapshot = sqlite3_column_int64(scan->held, 0);
    scan->is_first_hold = true;
    return MT_OK;
}

/* where rows come unsorted and a window was empty: how far there is no loose row */
static enum mt_err next_loose(struct reader *reader, bool oldest_first, struct mt_error *error)
{
    struct mt_sqlite_scan *scan = reader->scan;
    int64_t from = oldest_first ? reader->loose_at : reader->from;
    int64_t to = oldest_first ? reader->to : reader->loose_at;
    int64_t second = 0;
    bool found = false;
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
    err = mt_sqlite_scan_prepare(scan, &sql, &statement, error);
    if (err != MT_OK)
        return err;
    (void)sqlite3_bind_int64(statement, 1, from);
    (void)sqlite3_bind_int64(statement, 2, to);
    (void)sqlite3_bind_int64(statement, 3, scan->snapshot);
    err = mt_sqlite_read_i64(scan->store, statement, &second, &found, error);
    if (oldest_first)
        reader->loose_at = found ? second : to;
    else
        reader->loose_at = found ? second + 1 : from;
    return err;
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
        err = mt_sqlite_add_row(scan->store, statement, scan->query->fields, rows, error);
    }
    if (err == MT_OK && result != SQLITE_ROW && result != SQLITE_DONE)
        err = mt_sqlite_fail(&scan->store->file, result, "read", error);
    (void)sqlite3_reset(statement);
    return err;
}

/* the loose rows of a span whose hosts are read one after the other, and sorted: few at once */
static enum mt_err read_window(struct reader *reader, int64_t *from, int64_t *to,
                               struct mt_error *error)
{
    bool oldest_first = reader->scan->query->order == MT_OLDEST_FIRST;
    enum mt_err err;

    reader->rows.count = 0;
    if (oldest_first ? reader->loose_at >= *to : reader->loose_at <= *from)
        return MT_OK;
    if (oldest_first && *to - reader->loose_at > reader->window_s)
        *to = reader->loose_at + reader->window_s;
    else if (!oldest_first && reader->loose_at - *from > reader->window_s)
        *from = reader->loose_at - reader->window_s;
    err = read_span(reader, from, to, error);
    reader->loose_at = oldest_first ? *to : *from;
    if (reader->rows.count < MT_SQLITE_BATCH / 4 && reader->window_s < WINDOW_MOST_S)
        reader->window_s *= 4;
    else if (reader->rows.count >= MT_SQLITE_BATCH && reader->window_s > 1)
        reader->window_s /= 2;
    if (err == MT_OK && reader->rows.count == 0)
        err = next_loose(reader, oldest_first, error);
    return err;
}

/*
 * Under one lock: which blocks there are and which rows are loose, from one end of what is left to
 * be read; *from and *to close in on it.
 */
static enum mt_err look(struct reader *reader, int64_t *from, int64_t *to, struct mt_error *error)
{
    struct mt_sqlite_scan *scan = reader->scan;
    enum mt_err err = mt_sqlite_scan_hold(scan, error);

    if (err == MT_OK)
        err = mt_sqlite_listing_look(scan, scan->query->order == MT_NEWEST_FIRST, from, to, error);
    if (err != MT_OK)
        return err;
    return scan->shape == MT_SQLITE_SOME_HOSTS ? read_window(reader, from, to, error)
                                               : read_span(reader, from, to, error);
}

/* reads of which blocks there is anything to hand out: by their timestamps, where they may be few
 */
static enum mt_err choose_blocks(struct reader *reader, int64_t from, int64_t to, bool *chosen,
                                 struct mt_error *error)
{
    struct mt_sqlite_scan *scan = reader->scan;
    struct mt_sqlite_listing *listing = &scan->listing;
    size_t count = 0;
    enum mt_err err;

    for (size_t i = 0; i < listing->count; i++) {
        listing->blocks[i].is_wanted = false;
        count += mt_sqlite_listing_has(&listing->blocks[i], from, to);
    }
    *chosen = count > FEW_BLOCKS && scan->query->limit > 0 && to - from < SHORT_S;
    if (!*chosen)
        return MT_OK;
    err =
        mt_sqlite_parts(scan, MT_SQLITE_TIMES, false, from, to, listing->from, listing->to, error);
    if (err == MT_OK)
        err = mt_sqlite_parts_name(scan, error);
    return err == MT_OK
               ? mt_sqlite_merge(&reader->merge, &reader->rows, from, to, NULL, NULL, error)
               : err;
}

/* reads and hands out some of what is left */
static enum mt_err read_batch(struct reader *reader, mt_emit *emit, void *context,
                              struct mt_error *error)
{
    struct mt_sqlite_scan *scan = reader->scan;
    struct mt_sqlite_listing *listing = &scan->listing;
    int64_t from = reader->from;
    int64_t to = reader->to;
    bool chosen = false;
    enum mt_err err = look(reader, &from, &to, error);

    if (err == MT_OK && listing->count > 0)
        err = choose_blocks(reader, from, to, &chosen, error);
    if (err == MT_OK && listing->count > 0)
        err = mt_sqlite_parts(scan, MT_SQLITE_WHOLE, chosen, from, to, listing->from, listing->to,
                              error);
    if (err == MT_OK && listing->count > 0)
        err = mt_sqlite_parts_name(scan, error);
    mt_sqlite_scan_let_go(scan);
    if (err == MT_OK)
        err = mt_sqlite_merge(&reader->merge, &reader->rows, from, to, emit, context, error);
    if (scan->query->order == MT_OLDEST_FIRST)
        reader->from = to;
    else
        reader->to = from;
    return err;
}

/* the two ends of the slice that skip and limit cut out of what matches */
static enum mt_err cut_slice(struct reader *reader, struct mt_error *error)
{
    struct mt_sqlite_scan *scan = reader->scan;
    struct mt_sqlite_merge *merge = &reader->merge;
    const struct mt_query *query = scan->query;
    int64_t skip = query->skip > 0 ? query->skip : 0;
    int64_t end = query->limit > INT64_MAX - skip ? INT64_MAX : skip + query->limit;
    enum mt_err err = mt_sqlite_skip_begin(scan, query->limit > 0 ? end : skip, error);

    merge->newest = (struct mt_sqlite_place){scan->upper, 0};
    merge->oldest = (struct mt_sqlite_place){scan->lower, 0};
    if (err == MT_OK)
        err = mt_sqlite_skip(scan, merge->newest, skip, &merge->newest, error);
    if (err == MT_OK && query->limit > 0)
        err = mt_sqlite_skip(scan, merge->newest, query->limit, &merge->oldest, error);
    reader->from = merge->oldest.below - (merge->oldest.ties > 0 ? 1 : 0);
    reader->to = merge->newest.below;
    reader->loose_at = query->order == MT_OLDEST_FIRST ? reader->from : reader->to;
    return err;
}

static enum mt_err read_slice(struct mt_sqlite_scan *scan, mt_emit *emit, void *context,
                              struct mt_error *error)
{
    struct reader reader = {.scan = scan, .merge = {.scan = scan}, .window_s = 60};
    struct mt_buf columns;
    enum mt_err err;

    mt_buf_init(&columns, 0);
    mt_sqlite_columns(scan->store, scan->query->fields, &columns);
    reader.columns = mt_buf_string(&columns);
    err =
        reader.columns == NULL ? mt_sqlite_scan_no_memory(scan, error) : cut_slice(&reader, error);
    while (err == MT_OK && reader.from < reader.to) {
        err = mt_sqlite_scan_check(scan, error);
        if (err == MT_OK)
            err = read_batch(&reader, emit, context, error);
    }
    free(reader.rows.rows);
    mt_sqlite_merge_fini(&reader.merge);
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
    mt_sqlite_listing_fini(&scan.listing);
    store->file.deadline_ms = 0;
    store->file.cancelled = NULL;
    return err;
}
