/*
 * How a question is read.
 *
 * Few records are one command, newest first; oldest first they are turned round in memory. One
 * batch is one instant. More takes many batches, in which records that arrive meanwhile would show:
 * these scans leave out what has a later arrival mark than when they began.
 *
 * Oldest first with a limit, the key of the oldest record is found first, by index alone; from
 * there on `limit` records come in ascending order. If there are not as many, it is the key of the
 * newest after skip that bounds the scan.
 *
 * Where the server forgot the cursor (emit took ten minutes) reading goes on after the last key.
 *
 * Cost on mongod: what is handed out, and for skip a walk over the index, some tenths of a second
 * for each million records skipped. Several hosts out of many are picked from the index of all.
 */
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "store/mongodb/changes.h"
#include "store/mongodb/query.h"

enum {
    FEW = 2000,
    BATCH = 1000,
    SKIP_MOST = 10000, /* beyond it the way there is by index alone */
    CURSOR_NOT_FOUND = 43,
};

/* No store has as many records. */
#define MANY (INT64_C(1) << 40)

struct scan {
    struct mongodb_store *store;
    const struct mt_query *query;
    struct mongodb_bounds bounds;
    struct mongodb_key ends[2]; /* what bounds borrow */
    mt_emit *emit;
    void *context;
    bool is_refused; /* by emit */
};

static enum mt_err check_wishes(const struct scan *scan, struct mt_error *error)
{
    const struct mt_query *query = scan->query;

    if (query->cancelled != NULL && query->cancelled(query->cancel_context))
        return mt_error_set(error, MT_ERR_CANCELLED, "store %s: read: cancelled",
                            scan->store->name);
    if (query->deadline_ms != 0 && mt_clock_monotonic_ms() >= query->deadline_ms)
        return mt_error_set(error, MT_ERR_DEADLINE, "store %s: read: the deadline has passed",
                            scan->store->name);
    return MT_OK;
}

/* *options already have the order and the amounts; takes what they hold */
static mongoc_cursor_t *find(const struct scan *scan, bson_t *options, bool only_keys)
{
    bson_t filter = BSON_INITIALIZER;
    bson_t projection;
    mongoc_cursor_t *cursor;

    mongodb_query_filter(scan->query, &scan->bounds, &filter);
    if (scan->query->deadline_ms != 0) {
        int64_t left_ms = scan->query->deadline_ms - mt_clock_monotonic_ms();

        left_ms = left_ms < INT32_MAX ? left_ms : INT32_MAX;
        BSON_APPEND_INT64(options, "maxTimeMS", left_ms > 0 ? left_ms : 1);
    }
    BSON_APPEND_DOCUMENT_BEGIN(options, "projection", &projection);
    if (only_keys)
        mongodb_key_projection(&projection);
    else
        mongodb_projection(scan->query->fields, false, &projection);
    bson_append_document_end(options, &projection);
    cursor = mongoc_collection_find_with_opts(scan->store->log, &filter, options, NULL);
    bson_destroy(&filter);
    bson_destroy(options);
    return cursor;
}

/* why the cursor came to its end; *forgotten true: the server dropped it, and that is no error */
static enum mt_err end_of(const struct scan *scan, mongoc_cursor_t *cursor, bool *forgotten,
                          struct mt_error *error)
{
    bson_error_t failure;
    const bson_t *reply = NULL;

    if (!mongoc_cursor_error_document(cursor, &failure, &reply))
        return MT_OK;
    if (forgotten == NULL || failure.code != CURSOR_NOT_FOUND)
        return mongodb_fail(scan->store, "read", &failure, reply, error);
    *forgotten = true;
    return MT_OK;
}

/* the key of the record with so many newer ones that match; *found false if there is none */
static enum mt_err find_key(const struct scan *scan, int64_t skip, struct mongodb_key *key,
                            bool *found, struct mt_error *error)
{
    bson_t options = BSON_INITIALIZER;
    const bson_t *document;
    mongoc_cursor_t *cursor;
    enum mt_err err = check_wishes(scan, error);

    *found = false;
    if (err != MT_OK)
        return err;
    mongodb_query_options(scan->query, MT_NEWEST_FIRST, skip, 1, 1, &options);
    cursor = find(scan, &options, true);
    *found = mongoc_cursor_next(cursor, &document);
    if (!*found)
        err = end_of(scan, cursor, NULL, error);
    else if (!mongodb_read_key(document, key))
        err = mt_error_set(error, MT_ERR_CORRUPT,
                           "store %s: a document's _id is not {h: HOST, t: SECONDS}; run "
                           "memory-tracker verify",
                           scan->store->name);
    mongoc_cursor_destroy(cursor);
    return err;
}

static bool is_outside(const struct scan *scan, const struct mongodb_key *key)
{
    const struct mongodb_bounds *bounds = &scan->bounds;

    return (bounds->oldest != NULL && mongodb_key_compare(key, bounds->oldest) < 0) ||
           (bounds->newest != NULL && mongodb_key_compare(key, bounds->newest) > 0);
}

/* What one cursor has given so far. */
struct run {
    enum mt_order order;
    int64_t left; /* records still to hand out */
    bool has_last;
    struct mongodb_key last; /* handed out last */
};

static enum mt_err take(struct scan *scan, const bson_t *document, struct run *run,
                        struct mt_error *error)
{
    struct mt_record record;
    struct mongodb_key key;
    enum mt_err err = check_wishes(scan, error);

    if (err == MT_OK)
        err = mongodb_read_record(scan->store, document, scan->query->fields, &record, NULL, error);
    if (err != MT_OK)
        return err;
    key = mongodb_key_of(&record);
    /* a key that bounds a repeated reading was handed out */
    if (is_outside(scan, &key) || (run->has_last && mongodb_key_compare(&key, &run->last) == 0))
        return MT_OK;
    err = scan->emit(scan->context, &record, error);
    scan->is_refused = err != MT_OK;
    run->last = key;
    run->has_last = true;
    run->left--;
    return err;
}

/* skip is for the server to count */
static enum mt_err read_run(struct scan *scan, struct run *run, int64_t skip,
                            struct mt_error *error)
{
    enum mt_err err = MT_OK;
    bool forgotten;

    do {
        bool is_bounded = scan->bounds.oldest != NULL || scan->bounds.newest != NULL;
        int64_t batch = run->left <= FEW ? run->left : BATCH;
        bson_t options = BSON_INITIALIZER;
        const bson_t *document;
        mongoc_cursor_t *cursor;
        int64_t before = run->left;

        /* within bounds some that come are not counted; a huge limit is slow on some servers */
        mongodb_query_options(scan->query, run->order, skip,
                              is_bounded || run->left >= MANY ? 0 : run->left, batch, &options);
        cursor = find(scan, &options, false);
        forgotten = false;
        while (err == MT_OK && run->left > 0 && mongoc_cursor_next(cursor, &document))
            err = take(scan, document, run, error);
        if (err == MT_OK && run->left > 0)
            err = end_of(scan, cursor, run->left < before ? &forgotten : NULL, error);
        mongoc_cursor_destroy(cursor);
        if (forgotten) {
            skip = 0;
            scan->ends[0] = run->last;
            if (run->order == MT_OLDEST_FIRST)
                scan->bounds.oldest = &scan->ends[0];
            else
                scan->bounds.newest = &scan->ends[0];
        }
    } while (err == MT_OK && forgotten);
    return err;
}

/* An mt_emit that keeps records, to hand them out the other way round. */
struct kept {
    struct mt_record *records;
    size_t count;
};

static enum mt_err keep(void *context, const struct mt_record *record, struct mt_error *error)
{
    struct kept *kept = context;

    (void)error;
    kept->records[kept->count++] = *record;
    return MT_OK;
}

static enum mt_err read_few_reversed(struct scan *scan, struct mt_error *error)
{
    const struct mt_query *query = scan->query;
    struct run run = {.order = MT_NEWEST_FIRST, .left = query->limit};
    struct kept kept = {.records = calloc((size_t)query->limit, sizeof *kept.records)};
    mt_emit *emit = scan->emit;
    void *context = scan->context;
    enum mt_err err;

    if (kept.records == NULL)
        return mt_error_set(error, MT_ERR_NO_MEMORY, "store %s: read: out of memory",
                            scan->store->name);
    scan->emit = keep;
    scan->context = &kept;
    err = read_run(scan, &run, query->skip, error);
    while (err == MT_OK && kept.count > 0) {
        err = check_wishes(scan, error);
        if (err != MT_OK)
            break;
        err = emit(context, &kept.records[--kept.count], error);
        scan->is_refused = err != MT_OK;
    }
    free(kept.records);
    return err;
}

/*
 * Marks are the server's clock in ms and a count within it. One clock: a mark given after a full ms
 * has passed is above all that this ms can have. Several (a failover, many mongos): the largest
 * mark that is there, since a clock that lags would hide what was acknowledged.
 */
static enum mt_err begin_instant(struct scan *scan, struct mt_error *error)
{
    mongoc_client_t *client = scan->store->client;
    /* without read preferences it would look for a primary, for as long as that takes */
    mongoc_server_description_t *server =
        mongoc_client_select_server(client, false, mongoc_client_get_read_prefs(client), NULL);
    bool one_clock =
        server != NULL && strcmp(mongoc_server_description_type(server), "Standalone") == 0;
    const struct timespec two_ms = {.tv_nsec = 2000000};
    enum mt_err err;

    mongoc_server_description_destroy(server);
    scan->bounds.has_arrival = true;
    if (one_clock) {
        err = mongodb_server_time_us(scan->store, &scan->bounds.arrival_us, error);
        scan->bounds.arrival_us += 999;
    } else {
        err = mongodb_last_arrival(scan->store, &scan->bounds.arrival_us, error);
    }
    (void)nanosleep(&two_ms, NULL);
    return err;
}

static enum mt_err read_many(struct scan *scan, struct mt_error *error)
{
    const struct mt_query *query = scan->query;
    bool has_limit = query->limit > 0 && query->limit < MANY;
    struct run run = {.order = query->order, .left = has_limit ? query->limit : MANY};
    int64_t skip = query->skip;
    bool found = false;
    enum mt_err err = begin_instant(scan, error);

    if (err == MT_OK && has_limit && query->order == MT_OLDEST_FIRST) {
        err = find_key(scan, skip + query->limit - 1, &scan->ends[0], &found, error);
        if (found)
            scan->bounds.oldest = &scan->ends[0];
    }
    /* from the oldest of so many on, these are just so many */
    if (found)
        skip = 0;
    if (err == MT_OK && (skip > SKIP_MOST || (skip > 0 && query->order == MT_OLDEST_FIRST))) {
        err = find_key(scan, skip, &scan->ends[1], &found, error);
        if (err == MT_OK && !found)
            return MT_OK;
        scan->bounds.newest = &scan->ends[1];
        skip = 0;
    }
    return err == MT_OK ? read_run(scan, &run, skip, error) : err;
}

static enum mt_err read_all(struct scan *scan, struct mt_error *error)
{
    const struct mt_query *query = scan->query;
    struct run run = {.order = MT_NEWEST_FIRST, .left = query->limit};

    if (mongodb_matches_nothing(query) || query->skip >= MANY)
        return MT_OK;
    if (query->limit == 0 || query->limit > FEW || query->skip > SKIP_MOST)
        return read_many(scan, error);
    if (query->order == MT_OLDEST_FIRST)
        return read_few_reversed(scan, error);
    return read_run(scan, &run, query->skip, error);
}

enum mt_err mongodb_scan(struct mt_store *base, const struct mt_query *query, mt_emit *emit,
                         void *context, struct mt_error *error)
{
    struct scan scan = {
        .store = (struct mongodb_store *)base, .query = query, .emit = emit, .context = context};
    enum mt_err err = check_wishes(&scan, error);

    if (err != MT_OK)
        return err;
    scan.store->deadline_ms = query->deadline_ms;
    err = read_all(&scan, error);
    scan.store->deadline_ms = 0;
    /* whoever gave up first, the server or the wait for it */
    if (err == MT_ERR_UNAVAILABLE && !scan.is_refused && query->deadline_ms != 0 &&
        mt_clock_monotonic_ms() >= query->deadline_ms)
        err = check_wishes(&scan, error);
    return err;
}
