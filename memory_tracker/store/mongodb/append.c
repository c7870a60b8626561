#include <inttypes.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "store/mongodb/places.h"
#include "store/outcome.h"

/*
 * A call goes through its records in slices, a slice in rounds. A round looks at what stands at the
 * seconds of the records still open, decides for each where it belongs, writes all of these at
 * once, and takes the server's word for each. A record is written to a second only if every second
 * from its own up to there is known to hold another sample; so, since records never change, it can
 * stand nowhere else, and the unique key settles a race with other writers. A record whose way
 * leads over a second that is only about to be written waits for the next round, and with it the
 * later ones of its host, so that all comes out as if the records had come one by one.
 *
 * What is there already is written again all the same: the server says 11000 only after a majority
 * has what it collided with (w: majority waits for that too), and so a REPEAT lasts like a NEW.
 */

enum {
    SLICE_RECORDS = 1000, /* most documents of a batch in old servers */
    RUN_S = 64,           /* taken seconds that are read at once */
    APART_S = 10,         /* samples this far from each other hardly move into each other's way */
    MOST_PAUSE_MS = 128,
    CLOCK_OLD_MS = MT_STORE_TIMEOUT_MOST_MS / 2,
};

enum state {
    OPEN,    /* to be decided */
    WAITING, /* until the next round */
    PLANNED, /* to be written to `second` */
    DONE,    /* outcome holds */
};

struct item {
    const struct mt_record *record;
    struct mt_outcome *outcome;
    enum state state;
    bool is_repeat; /* stands at `second` already */
    int64_t second; /* where it is to stand, while PLANNED */
};

struct append {
    struct mongodb_store *store;
    enum mt_on_conflict on_conflict;
    int64_t asked_ms; /* when the server told its time: monotonic and wall clock */
    int64_t asked_wall_ms;
    int64_t server_us;
    struct item *items;
    size_t count;
    struct mongodb_places places;
    mongoc_bulk_operation_t *bulk;
    size_t *batch; /* numbers of the items whose documents are in the bulk, in order */
    size_t batch_count;
    size_t batch_bytes;
    bool is_full;      /* the rest waits for the next batch */
    bool is_waiting;   /* some record does */
    bool is_surprised; /* not all that was planned is there now, or something else is */
};

static int left_ms(const struct append *append)
{
    int64_t left = append->store->deadline_ms - mt_clock_monotonic_ms();

    return left < 1 ? 1 : (int)left;
}

static bool is_open(const struct item *item)
{
    return item->state == OPEN || item->state == WAITING;
}

/* Whether the time told may be older than a write may take: the machine slept, or was held up. */
static bool is_time_old(const struct append *append)
{
    return append->server_us == 0 || mt_clock_monotonic_ms() - append->asked_ms >= CLOCK_OLD_MS ||
           mt_clock_wall_ms() - append->asked_wall_ms >= CLOCK_OLD_MS;
}

/* The time that records get. */
static enum mt_err ask_time(struct append *append, struct mt_error *error)
{
    if (!is_time_old(append))
        return MT_OK;
    append->asked_ms = mt_clock_monotonic_ms();
    append->asked_wall_ms = mt_clock_wall_ms();
    return mongodb_server_time_us(append->store, &append->server_us, error);
}

static void append_key(bson_t *array, const char *number, const char *host, int64_t second)
{
    bson_t key;

    BSON_APPEND_DOCUMENT_BEGIN(array, number, &key);
    BSON_APPEND_UTF8(&key, "h", host);
    BSON_APPEND_INT64(&key, "t", second);
    bson_append_document_end(array, &key);
}

/* The first and the last second of the open records. */
static void find_span(const struct append *append, int64_t *first, int64_t *last)
{
    *first = MT_TIMESTAMP_MAX;
    *last = 0;
    for (size_t i = 0; i < append->count; i++) {
        const struct item *item = &append->items[i];

        if (is_open(item) && item->record->timestamp < *first)
            *first = item->record->timestamp;
        if (is_open(item) && item->record->timestamp > *last)
            *last = item->record->timestamp;
    }
}

static void append_keys(const struct append *append, bson_t *keys)
{
    const struct mt_record *last = NULL;
    uint32_t count = 0;

    for (size_t i = 0; i < append->count; i++) {
        const struct mt_record *record = append->items[i].record;
        char buffer[16];
        const char *number;

        if (!is_open(&append->items[i]) || (last != NULL && last->timestamp == record->timestamp &&
                                            strcmp(last->host, record->host) == 0))
            continue;
        last = record;
        (void)bson_uint32_to_string(count++, &number, buffer, sizeof buffer);
        append_key(keys, number, record->host, record->timestamp);
    }
}

/* Reads what stands at the seconds that the open records came with. */
static enum mt_err look(struct append *append, struct mt_error *error)
{
    bson_t filter = BSON_INITIALIZER;
    bson_t part;
    bson_t keys;
    int64_t first;
    int64_t last;
    enum mt_err err;

    mongodb_places_clear(&append->places);
    find_span(append, &first, &last);
    /* says nothing new, but spares servers that compare each document with each key */
    BSON_APPEND_DOCUMENT_BEGIN(&filter, "_id.t", &part);
    BSON_APPEND_INT64(&part, "$gte", first);
    BSON_APPEND_INT64(&part, "$lte", last);
    bson_append_document_end(&filter, &part);
    BSON_APPEND_DOCUMENT_BEGIN(&filter, "_id", &part);
    BSON_APPEND_ARRAY_BEGIN(&part, "$in", &keys);
    append_keys(append, &keys);
    bson_append_array_end(&part, &keys);
    bson_append_document_end(&filter, &part);
    err = mongodb_places_read(&append->places, append->store, &filter, left_ms(append), error);
    bson_destroy(&filter);
    return err;
}

/* Reads the taken seconds of a host from one on. */
static enum mt_err look_along(struct append *append, const char *host, int64_t from,
                              struct mt_error *error)
{
    bson_t filter = BSON_INITIALIZER;
    bson_t id;
    enum mt_err err;

    BSON_APPEND_DOCUMENT_BEGIN(&filter, "_id", &id);
    append_key(&id, "$gte", host, from);
    append_key(&id, "$lt", host, from + RUN_S);
    bson_append_document_end(&filter, &id);
    err = mongodb_places_read(&append->places, append->store, &filter, left_ms(append), error);
    if (err == MT_OK)
        err = mongodb_places_note_run(&append->places, host, from, from + RUN_S, error);
    bson_destroy(&filter);
    return err;
}

/* Walks from the record's second to the one it belongs to. */
static enum mt_err decide(struct append *append, struct item *item, struct mt_error *error)
{
    const struct mt_record *record = item->record;
    const struct mongodb_place *place;
    int64_t at = record->timestamp;

    item->state = PLANNED;
    item->is_repeat = false;
    while ((place = mongodb_places_find(&append->places, record->host, at)) != NULL) {
        if (place->is_planned) {
            item->state = WAITING;
            return MT_OK;
        }
        if (mt_record_is_repeat(record, &place->there)) {
            item->is_repeat = true;
            break;
        }
        if (append->on_conflict == MT_CONFLICT_REPORT || at == MT_TIMESTAMP_MAX) {
            mt_outcome_conflict(&place->there, item->outcome);
            item->state = DONE;
            return MT_OK;
        }
        if (!mongodb_places_is_read(&append->places, record->host, ++at)) {
            enum mt_err err = look_along(append, record->host, at, error);

            if (err != MT_OK)
                return err;
        }
    }
    item->second = at;
    return MT_OK;
}

/* Puts what was decided into the batch, or leaves it for the next one, which then begins with it.
 */
static enum mt_err put(struct append *append, struct item *item, struct mt_error *error)
{
    struct mongodb_store *store = append->store;
    int64_t arrival_us = store->last_arrival_us + 1;
    size_t most = (size_t)store->max_data_bytes;
    bson_error_t failure;
    bson_t document;
    enum mt_err err = MT_OK;

    if (arrival_us < append->server_us)
        arrival_us = append->server_us;
    mongodb_write_record(item->record, item->second, arrival_us, &document);
    if (document.len > most) {
        struct mt_error reason = {0};

        (void)mt_error_set(&reason, MT_ERR_REJECTED,
                           "its document of %" PRIu32 " bytes is larger than maxData, %zu",
                           document.len, most);
        mt_outcome_reject(reason.text, item->outcome);
        item->state = DONE;
    } else if (append->batch_bytes + document.len > most) {
        append->is_full = true;
        item->state = WAITING;
    } else if (!mongoc_bulk_operation_insert_with_opts(append->bulk, &document, NULL, &failure)) {
        err = mongodb_fail(store, "append", &failure, NULL, error);
    } else {
        err = mongodb_places_plan(&append->places, item->record, item->second, error);
        store->last_arrival_us = arrival_us;
        append->batch_bytes += document.len;
        append->batch[append->batch_count++] = (size_t)(item - append->items);
    }
    bson_destroy(&document);
    return err;
}

static bool host_waits(const struct append *append, const struct item *until)
{
    for (const struct item *item = append->items; append->is_waiting && item < until; item++)
        if (item->state == WAITING && strcmp(item->record->host, until->record->host) == 0)
            return true;
    return false;
}

/* Decides for every open record, in order, and fills the batch. */
static enum mt_err plan(struct append *append, struct mt_error *error)
{
    enum mt_err err = MT_OK;

    append->batch_count = 0;
    append->batch_bytes = 0;
    append->is_waiting = append->is_full = false;
    for (size_t i = 0; i < append->count && err == MT_OK; i++) {
        struct item *item = &append->items[i];

        if (item->state == DONE)
            continue;
        item->state = WAITING;
        if (append->is_full || host_waits(append, item))
            continue;
        err = decide(append, item, error);
        if (err == MT_OK && item->state == PLANNED)
            err = put(append, item, error);
        append->is_waiting = append->is_waiting || item->state == WAITING;
    }
    return err;
}

/* The server did not take one document. */
static enum mt_err settle_error(struct append *append, struct item *item,
                                const bson_error_t *failure, struct mt_error *error)
{
    struct mt_error reason = {0};

    if (failure->code == MONGOC_ERROR_DUPLICATE_KEY) {
        if (item->is_repeat) {
            *item->outcome = (struct mt_outcome){MT_VERDICT_REPEAT, item->second, ""};
            item->state = DONE;
            return MT_OK;
        }
        /* another writer was first: what stands there now is looked at in the next round */
        item->state = OPEN;
        append->is_surprised = true;
        return MT_OK;
    }
    if (mongodb_fail(append->store, "append", failure, NULL, &reason) != MT_ERR_REJECTED) {
        if (error != NULL)
            *error = reason;
        return reason.code;
    }
    mt_outcome_reject(reason.text, item->outcome);
    item->state = DONE;
    append->is_surprised = true;
    return MT_OK;
}

/* One element of writeErrors or writeConcernErrors; the number of its document, or -1. */
static int64_t read_error(const bson_iter_t *element, bson_error_t *said)
{
    bson_iter_t part;
    int64_t index = -1;

    if (!BSON_ITER_HOLDS_DOCUMENT(element) || !bson_iter_recurse(element, &part))
        return index;
    while (bson_iter_next(&part)) {
        if (strcmp(bson_iter_key(&part), "index") == 0)
            index = bson_iter_as_int64(&part);
        else if (strcmp(bson_iter_key(&part), "code") == 0)
            said->code = (uint32_t)bson_iter_as_int64(&part);
        else if (strcmp(bson_iter_key(&part), "errmsg") == 0 && BSON_ITER_HOLDS_UTF8(&part))
            bson_strncpy(said->message, bson_iter_utf8(&part, NULL), sizeof said->message);
    }
    return index;
}

static enum mt_err settle_errors(struct append *append, const bson_t *reply,
                                 const bson_error_t *failure, struct mt_error *error)
{
    bool is_explained = false;
    bson_iter_t found;
    bson_iter_t errors;
    enum mt_err err = MT_OK;

    if (!bson_iter_init_find(&found, reply, "writeErrors") || !bson_iter_recurse(&found, &errors))
        return mongodb_fail(append->store, "append", failure, reply, error);
    while (err == MT_OK && bson_iter_next(&errors)) {
        bson_error_t said = {.domain = MONGOC_ERROR_SERVER};
        int64_t index = read_error(&errors, &said);

        is_explained = is_explained || said.code == failure->code;
        if (index >= 0 && (size_t)index < append->batch_count)
            err = settle_error(append, &append->items[append->batch[index]], &said, error);
    }
    /* a batch may fail as a whole after single documents did */
    if (err == MT_OK && !is_explained)
        err = mongodb_fail(append->store, "append", failure, reply, error);
    return err;
}

/* A majority may lack what was written, or what it collided with. */
static enum mt_err check_concern(struct append *append, const bson_t *reply, struct mt_error *error)
{
    bson_error_t said = {.domain = MONGOC_ERROR_WRITE_CONCERN};
    bson_iter_t found;
    bson_iter_t concerns;

    if (!bson_iter_init_find(&found, reply, "writeConcernErrors") ||
        !bson_iter_recurse(&found, &concerns) || !bson_iter_next(&concerns))
        return MT_OK;
    (void)read_error(&concerns, &said);
    return mongodb_fail(append->store, "append", &said, reply, error);
}

/*
 * What no error was told of is stored only if the server counted it: of a batch that the driver
 * splits it tells the first message's duplicates, and not that the next one failed as a whole.
 */
static enum mt_err check_count(const struct append *append, const bson_t *reply,
                               struct mt_error *error)
{
    int64_t confirmed = 0;
    int64_t planned = 0;
    bson_iter_t found;

    for (size_t i = 0; i < append->batch_count; i++)
        planned += append->items[append->batch[i]].state == PLANNED;
    if (bson_iter_init_find(&found, reply, "nInserted") && BSON_ITER_HOLDS_NUMBER(&found))
        confirmed = bson_iter_as_int64(&found);
    if (confirmed >= planned)
        return MT_OK;
    return mt_error_set(error, MT_ERR_UNAVAILABLE,
                        "store %s: append: the server confirms %" PRId64 " of %" PRId64
                        " records; all can be given again",
                        append->store->name, confirmed, planned);
}

static enum mt_err execute(struct append *append, struct mt_error *error)
{
    bson_error_t failure;
    bson_t reply;
    enum mt_err err = MT_OK;
    bool is_done = mongoc_bulk_operation_execute(append->bulk, &reply, &failure) != 0;

    if (!is_done)
        err = settle_errors(append, &reply, &failure, error);
    if (err == MT_OK)
        err = check_concern(append, &reply, error);
    if (err == MT_OK)
        err = check_count(append, &reply, error);
    for (size_t i = 0; i < append->batch_count && err == MT_OK; i++) {
        struct item *item = &append->items[append->batch[i]];

        if (item->state != PLANNED)
            continue;
        *item->outcome = (struct mt_outcome){
            .verdict = item->second == item->record->timestamp ? MT_VERDICT_NEW : MT_VERDICT_MOVED,
            .timestamp = item->second};
        item->state = DONE;
    }
    bson_destroy(&reply);
    return err;
}

static size_t count_done(const struct append *append)
{
    size_t done = 0;

    for (size_t i = 0; i < append->count; i++)
        if (append->items[i].state == DONE)
            done++;
    return done;
}

static enum mt_err run_round(struct append *append, struct mt_error *error)
{
    bson_t options = BSON_INITIALIZER;
    enum mt_err err;

    BSON_APPEND_BOOL(&options, "ordered", false);
    append->bulk = mongoc_collection_create_bulk_operation_with_opts(append->store->log, &options);
    bson_destroy(&options);
    err = plan(append, error);
    append->is_surprised = is_time_old(append);
    if (err == MT_OK && append->batch_count > 0 && !append->is_surprised)
        err = execute(append, error);
    mongoc_bulk_operation_destroy(append->bulk);
    return err;
}

/*
 * Most records' seconds are free, and looking first would be one more question to the server. Where
 * one that has to move could come to stand on the second of a later one of the batch, it is needed:
 * else the later one would have it.
 */
static bool may_write_first(const struct append *append)
{
    if (append->on_conflict == MT_CONFLICT_REPORT)
        return true;
    for (size_t i = 1; i < append->count; i++) {
        const struct mt_record *record = append->items[i].record;
        const struct mt_record *before = append->items[i - 1].record;

        if (record->timestamp < before->timestamp ||
            record->timestamp - before->timestamp < APART_S ||
            strcmp(record->host, before->host) != 0)
            return false;
    }
    return true;
}

static enum mt_err append_slice(struct append *append, struct mt_error *error)
{
    bool has_looked = false;
    bool must_look = !may_write_first(append);
    size_t done = count_done(append);
    int pause_ms = 1;
    enum mt_err err = MT_OK;

    while (err == MT_OK && done < append->count) {
        size_t before = done;

        if (mt_clock_monotonic_ms() >= append->store->deadline_ms) {
            err = mt_error_set(error, MT_ERR_UNAVAILABLE,
                               "store %s: append: not done within %d ms; what is stored already is "
                               "found there when it is given again",
                               append->store->name, append->store->timeout_ms);
            break;
        }
        err = ask_time(append, error);
        if (err == MT_OK && must_look)
            err = look(append, error);
        has_looked = has_looked || must_look;
        if (err == MT_OK)
            err = run_round(append, error);
        must_look = append->is_surprised || !has_looked;
        mongodb_places_confirm(&append->places);
        done = count_done(append);
        /* others are at the same seconds */
        if (err == MT_OK && done == before) {
            (void)poll(NULL, 0, pause_ms);
            pause_ms = pause_ms < MOST_PAUSE_MS ? pause_ms * 2 : pause_ms;
        }
    }
    mongodb_places_clear(&append->places);
    return err;
}

static void begin_slice(struct append *append, const struct mt_record *records,
                        struct mt_outcome *outcomes, size_t count)
{
    append->count = count;
    for (size_t i = 0; i < count; i++) {
        struct item *item = &append->items[i];
        struct mt_error reason = {0};

        *item = (struct item){.record = &records[i], .outcome = &outcomes[i]};
        outcomes[i] =
            (struct mt_outcome){.verdict = MT_VERDICT_NEW, .timestamp = records[i].timestamp};
        if (mt_record_check(&records[i], &reason) != MT_OK) {
            mt_outcome_reject(reason.text, &outcomes[i]);
            item->state = DONE;
        }
    }
}

enum mt_err mongodb_append(struct mt_store *base, const struct mt_record *records, size_t count,
                           enum mt_on_conflict on_conflict, struct mt_outcome *outcomes,
                           struct mt_error *error)
{
    struct mongodb_store *store = (struct mongodb_store *)base;
    size_t slice = count < SLICE_RECORDS ? count : SLICE_RECORDS;
    struct append append = {.store = store, .on_conflict = on_conflict};
    enum mt_err err = MT_OK;

    if (store->read_only)
        return mt_error_set(error, MT_ERR_READ_ONLY, "store %s: was opened for reading only",
                            store->name);
    if (count == 0)
        return MT_OK;
    append.items = calloc(slice, sizeof *append.items);
    append.batch = calloc(slice, sizeof *append.batch);
    if (append.items == NULL || append.batch == NULL) {
        free(append.batch);
        free(append.items);
        return mt_error_set(error, MT_ERR_NO_MEMORY, "out of memory");
    }
    mongodb_begin(store);
    for (size_t at = 0; at < count && err == MT_OK; at += slice) {
        begin_slice(&append, records + at, outcomes + at, count - at < slice ? count - at : slice);
        err = append_slice(&append, error);
    }
    mongodb_end(store);
    free(append.batch);
    free(append.items);
    return err;
}
