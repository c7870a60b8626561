/*
 * Following the arrivals.
 *
 * A place is the generation and the largest arrival mark handed out (0: none yet). A record gets
 * its mark before it is written, and can become visible as long as a write may be on its way: with
 * a mark below the place. So a call first reads forward, what has a larger mark than the place;
 * once it has come to the end, it looks back over the marks of the last MONGODB_OVERLAP_US and
 * hands out what was not handed out before (seen.h). A caller that catches up on a long history
 * thus looks back once, at the end; and since forward comes first, it gets on whatever its limit
 * is.
 *
 * What was looked back at does not show in the mark, and two that follow, through one handle or
 * through several, may be at one mark with different records seen. So each place that comes after
 * a record has a number of its own in the low half of the generation, of which only the high half
 * is the store's: whoever comes with it has been handed out what this handle remembers of it.
 *
 * How far to look back: what was not visible when this handle came to the end at server time L has
 * a mark above L - MT_STORE_TIMEOUT_MOST_MS. The overlap is twice that, for clocks of several
 * servers that differ, and counts from the place if that is earlier, as on a secondary that lags.
 * A catching up that began at L looks back over the overlap before L; only what can be looked back
 * at is remembered, so a long history takes no more memory than its last minute. If the server's
 * clock went back (another primary), new marks lie before the old floor: the stretch in between is
 * owed, and is read once as a whole.
 *
 * A place that the handle does not remember, another handle's or an old one: the stretch before it
 * is owed too, since what its giver missed of it cannot be known.
 *
 * {generation, 0} is the place of an empty store: all is new, nothing is owed. mt_store_token gives
 * the largest mark there is, and remembers what could be seen then of the stretch before; where the
 * handle gave a place with that mark already, that one again, for it may know of less. Where
 * secondaries are read, it remembers nothing, and the stretch is owed: the scan that comes next may
 * be answered by another one, which has less.
 *
 * The record of a place must still be there (a restored backup, an emptied collection): else the
 * place is not known any more. A secondary that lags may lack it for a while: the primary, where
 * there is one, has the last word.
 */
#include "store/mongodb/changes.h"

#include <stdlib.h>

#include "store/mongodb/query.h"
#include "store/mongodb/seen.h"

enum {
    BATCH = 1000,
    UNSORTED_MOST = 10000,
    CURSOR_NOT_FOUND = 43,
};

/* The store's part of a place's generation. */
#define STORE_BITS (~UINT64_C(0) << 32)

/* A write is on its way for no longer. */
#define WRITE_US ((int64_t)MT_STORE_TIMEOUT_MOST_MS * 1000)

/* One call of changes(). */
struct following {
    struct mongodb_store *store;
    struct mongodb_memory *memory;
    struct mt_token *token;
    bool is_known;  /* the memory is of this handle's own place */
    bool is_found;  /* a record of the place is still there */
    bool is_ended;  /* nothing is left that way */
    int64_t now_us; /* the server's clock when the call began */
    int64_t place_us;
    size_t limit; /* still to be handed out */
    mt_emit *emit;
    void *context;
};

static enum mt_err out_of_memory(const struct mongodb_store *store, struct mt_error *error)
{
    return mt_error_set(error, MT_ERR_NO_MEMORY, "store %s: read: out of memory", store->name);
}

/* records with from <= mark <= to, in order of arrival; only_keys: no more than key and mark */
static mongoc_cursor_t *find_arrivals(const struct mongodb_store *store, int64_t from, int64_t to,
                                      bool only_keys, int64_t batch)
{
    bson_t *filter =
        BCON_NEW("arrival_us", "{", "$gte", BCON_INT64(from), "$lte", BCON_INT64(to), "}");
    bson_t options = BSON_INITIALIZER;
    bson_t part;
    mongoc_cursor_t *cursor;

    BSON_APPEND_DOCUMENT_BEGIN(&options, "sort", &part);
    BSON_APPEND_INT32(&part, "arrival_us", 1);
    bson_append_document_end(&options, &part);
    if (only_keys) {
        BSON_APPEND_DOCUMENT_BEGIN(&options, "projection", &part);
        mongodb_projection(0, true, &part);
        bson_append_document_end(&options, &part);
    }
    BSON_APPEND_INT64(&options, "batchSize", batch);
    cursor = mongoc_collection_find_with_opts(store->log, filter, &options, NULL);
    bson_destroy(filter);
    bson_destroy(&options);
    return cursor;
}

/* MT_OK at the end of what there is; *forgotten as the server forgets cursors that rest */
static enum mt_err end_of(const struct mongodb_store *store, mongoc_cursor_t *cursor,
                          bool *forgotten, struct mt_error *error)
{
    bson_error_t failure;
    const bson_t *reply = NULL;

    if (!mongoc_cursor_error_document(cursor, &failure, &reply))
        return MT_OK;
    if (forgotten != NULL && failure.code == CURSOR_NOT_FOUND) {
        *forgotten = true;
        return MT_OK;
    }
    return mongodb_fail(store, "read", &failure, reply, error);
}

enum mt_err mongodb_last_arrival(struct mongodb_store *store, int64_t *arrival_us,
                                 struct mt_error *error)
{
    bson_t filter = BSON_INITIALIZER;
    bson_t *options =
        BCON_NEW("sort", "{", "arrival_us", BCON_INT32(-1), "}", "projection", "{", "_id",
                 BCON_INT32(0), "arrival_us", BCON_INT32(1), "}", "limit", BCON_INT64(1));
    mongoc_cursor_t *cursor = mongoc_collection_find_with_opts(store->log, &filter, options, NULL);
    const bson_t *document;
    bson_iter_t iter;
    enum mt_err err = MT_OK;

    if (!mongoc_cursor_next(cursor, &document)) {
        err = end_of(store, cursor, NULL, error);
        if (err == MT_OK)
            *arrival_us = 0;
    } else if (bson_iter_init_find(&iter, document, "arrival_us") && BSON_ITER_HOLDS_INT64(&iter)) {
        *arrival_us = bson_iter_int64(&iter);
    } else {
        err = mt_error_set(error, MT_ERR_CORRUPT,
                           "store %s: the last arrival_us is no 64-bit integer; run "
                           "memory-tracker verify",
                           store->name);
    }
    mongoc_cursor_destroy(cursor);
    bson_destroy(options);
    bson_destroy(&filter);
    return err;
}

static int64_t earlier(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static void number_place(struct mt_token *place)
{
    place->generation =
        (place->generation & STORE_BITS) | ((uint64_t)mongodb_new_generation() & ~STORE_BITS);
}

/* what can be seen now with marks that one may have to look back at */
static enum mt_err remember_visible(struct mongodb_store *store, struct mongodb_memory *memory,
                                    struct mt_error *error)
{
    mongoc_cursor_t *cursor =
        find_arrivals(store, memory->floor_us + 1, memory->place.sequence, true, BATCH);
    const bson_t *document;
    enum mt_err err = MT_OK;

    while (err == MT_OK && mongoc_cursor_next(cursor, &document)) {
        struct mt_record record;
        int64_t arrival_us = 0;

        err = mongodb_read_record(store, document, 0, &record, &arrival_us, error);
        if (err == MT_OK &&
            !mongodb_memory_add(store->seen, memory, arrival_us, record.timestamp, record.host))
            err = out_of_memory(store, error);
    }
    if (err == MT_OK)
        err = end_of(store, cursor, NULL, error);
    mongoc_cursor_destroy(cursor);
    return err;
}

static enum mt_err make_seen(struct mongodb_store *store, struct mt_error *error)
{
    if (store->seen == NULL)
        store->seen = mongodb_seen_new();
    return store->seen != NULL ? MT_OK : out_of_memory(store, error);
}

static bool reads_secondaries(const struct mongodb_store *store)
{
    return mongoc_read_prefs_get_mode(mongoc_collection_get_read_prefs(store->log)) !=
           MONGOC_READ_PRIMARY;
}

/* a place of its own for the mark that place has */
static enum mt_err remember_place(struct mongodb_store *store, struct mt_token *place,
                                  struct mt_error *error)
{
    struct mongodb_memory *memory;
    int64_t now_us = 0;
    bool known = false;
    enum mt_err err = MT_OK;

    if (reads_secondaries(store)) {
        number_place(place);
        return MT_OK;
    }
    known = mongodb_seen_find(store->seen, STORE_BITS, place);
    if (!known && place->sequence > 0)
        err = mongodb_server_time_us(store, &now_us, error);
    if (known || err != MT_OK)
        return err;
    number_place(place);
    memory = mongodb_seen_take(store->seen, place, &known);
    if (memory == NULL)
        return out_of_memory(store, error);
    memory->floor_us = memory->rise_us = earlier(place->sequence, now_us) - MONGODB_OVERLAP_US;
    if (place->sequence > 0)
        err = remember_visible(store, memory, error);
    if (err == MT_OK)
        mongodb_seen_put(store->seen, memory);
    else
        mongodb_memory_free(memory);
    return err;
}

enum mt_err mongodb_token(struct mt_store *base, struct mt_token *token, struct mt_error *error)
{
    struct mongodb_store *store = (struct mongodb_store *)base;
    struct mt_token place = {0};
    int64_t generation = 0;
    enum mt_err err = make_seen(store, error);

    mongodb_begin(store);
    if (err == MT_OK)
        err = mongodb_generation(store, &generation, error);
    if (err == MT_OK)
        err = mongodb_last_arrival(store, &place.sequence, error);
    place.generation = (uint64_t)generation;
    if (err == MT_OK)
        err = remember_place(store, &place, error);
    mongodb_end(store);
    if (err == MT_OK)
        *token = place;
    return err;
}

/* drops what is not looked back at any more */
static void settle(struct following *following)
{
    struct mongodb_memory *memory = following->memory;
    int64_t reached_us =
        earlier(following->token->sequence, following->now_us) - MONGODB_OVERLAP_US;

    memory->place = *following->token;
    if (memory->floor_us < earlier(memory->rise_us, reached_us))
        memory->floor_us = earlier(memory->rise_us, reached_us);
    mongodb_memory_settle(memory);
}

static enum mt_err hand_out(struct following *following, const struct mt_record *record,
                            int64_t arrival_us, struct mt_error *error)
{
    enum mt_err err = following->emit(following->context, record, error);

    if (err != MT_OK)
        return err;
    following->limit--;
    if (arrival_us > following->token->sequence)
        following->token->sequence = arrival_us;
    if (!mongodb_memory_add(following->store->seen, following->memory, arrival_us,
                            record->timestamp, record->host))
        return out_of_memory(following->store, error);
    if (following->memory->count - following->memory->sorted >= UNSORTED_MOST)
        settle(following);
    return MT_OK;
}

/* forward from the place; the record of the place itself shows that it is known */
static enum mt_err take_forward(struct following *following, const bson_t *document,
                                struct mt_error *error)
{
    struct mt_record record;
    int64_t arrival_us = 0;
    enum mt_err err =
        mongodb_read_record(following->store, document, MT_FIELD_ALL, &record, &arrival_us, error);

    if (err != MT_OK)
        return err;
    if (arrival_us == following->place_us) {
        following->is_found = true;
        /* two handles may give one mark; of an unknown place it is owed */
        if (!following->is_known ||
            mongodb_memory_has(following->memory, arrival_us, record.timestamp, record.host))
            return MT_OK;
    } else if (!following->is_found) {
        following->is_ended = true;
        return MT_OK;
    }
    return hand_out(following, &record, arrival_us, error);
}

/* up to the limit; *forgotten: and on from the new place */
static enum mt_err read_forward(struct following *following, bool *forgotten,
                                struct mt_error *error)
{
    int64_t batch = following->limit < BATCH ? (int64_t)following->limit + 1 : BATCH;
    mongoc_cursor_t *cursor;
    const bson_t *document;
    enum mt_err err = MT_OK;

    settle(following);
    following->place_us = following->token->sequence;
    following->is_found = following->place_us == 0;
    following->is_ended = false;
    *forgotten = false;
    cursor = find_arrivals(following->store, following->place_us, INT64_MAX, false, batch);
    while (err == MT_OK && following->limit > 0 && !following->is_ended &&
           mongoc_cursor_next(cursor, &document))
        err = take_forward(following, document, error);
    if (err == MT_OK && following->limit > 0 && !following->is_ended) {
        bool has_moved = following->token->sequence > following->place_us;

        err = end_of(following->store, cursor, has_moved ? forgotten : NULL, error);
        following->is_ended = !*forgotten;
    }
    mongoc_cursor_destroy(cursor);
    return err;
}

/* the marks of the first and the last record there that was not handed out; first 0: none */
static enum mt_err find_missed(const struct following *following, int64_t from, int64_t to,
                               int64_t *first, int64_t *last, struct mt_error *error)
{
    mongoc_cursor_t *cursor = find_arrivals(following->store, from, to, true, BATCH);
    const bson_t *document;
    enum mt_err err = MT_OK;

    *first = 0;
    while (err == MT_OK && mongoc_cursor_next(cursor, &document)) {
        struct mt_record record;
        int64_t arrival_us = 0;

        err = mongodb_read_record(following->store, document, 0, &record, &arrival_us, error);
        if (err != MT_OK ||
            mongodb_memory_has(following->memory, arrival_us, record.timestamp, record.host))
            continue;
        *first = *first == 0 ? arrival_us : *first;
        *last = arrival_us;
    }
    if (err == MT_OK)
        err = end_of(following->store, cursor, NULL, error);
    mongoc_cursor_destroy(cursor);
    return err;
}

/* hands out what was not yet with from <= mark <= to; is_ended if nothing of it is left */
static enum mt_err look_back(struct following *following, int64_t from, int64_t to,
                             struct mt_error *error)
{
    const bson_t *document;
    mongoc_cursor_t *cursor;
    int64_t first = from;
    int64_t last = to;
    bool forgotten = false;
    enum mt_err err = MT_OK;

    following->is_ended = true;
    if (from > to)
        return MT_OK;
    settle(following);
    if (following->memory->count > 0)
        err = find_missed(following, from, to, &first, &last, error);
    if (err != MT_OK || first == 0)
        return err;
    cursor = find_arrivals(following->store, first, last, false, BATCH);
    while (err == MT_OK && following->limit > 0 && mongoc_cursor_next(cursor, &document)) {
        struct mt_record record;
        int64_t arrival_us = 0;

        err = mongodb_read_record(following->store, document, MT_FIELD_ALL, &record, &arrival_us,
                                  error);
        if (err == MT_OK &&
            !mongodb_memory_has(following->memory, arrival_us, record.timestamp, record.host))
            err = hand_out(following, &record, arrival_us, error);
    }
    if (err == MT_OK && following->limit > 0)
        err = end_of(following->store, cursor, &forgotten, error);
    following->is_ended = following->limit > 0 && !forgotten;
    mongoc_cursor_destroy(cursor);
    return err;
}

/* what is owed, then what the memory is about, up to where the call began */
static enum mt_err look_back_all(struct following *following, int64_t began_us,
                                 struct mt_error *error)
{
    struct mongodb_memory *memory = following->memory;
    int64_t from;
    enum mt_err err = MT_OK;

    settle(following);
    from = memory->floor_us;
    following->is_ended = true;
    if (memory->owed_from_us < memory->owed_to_us) {
        err = look_back(following, memory->owed_from_us + 1, memory->owed_to_us, error);
        from = from > memory->owed_to_us ? from : memory->owed_to_us;
    }
    if (err == MT_OK && following->is_ended)
        err = look_back(following, from + 1, began_us, error);
    if (err == MT_OK && following->is_ended) {
        memory->owed_from_us = memory->owed_to_us = 0;
        memory->floor_us = memory->rise_us =
            earlier(following->token->sequence, following->now_us) - MONGODB_OVERLAP_US;
    }
    return err;
}

/* which stretch is owed, and how far the floor may rise until the end is reached */
static void begin_memory(struct following *following)
{
    struct mongodb_memory *memory = following->memory;
    int64_t place_us = following->token->sequence;
    int64_t overlap_us = following->now_us - MONGODB_OVERLAP_US;
    bool is_owed = memory->owed_from_us < memory->owed_to_us;

    if (!following->is_known || place_us == 0) {
        memory->floor_us = earlier(place_us - MONGODB_OVERLAP_US, overlap_us);
        memory->rise_us = overlap_us;
        memory->owed_from_us = place_us == 0 ? 0 : memory->floor_us;
        memory->owed_to_us = place_us;
    } else if (overlap_us < memory->floor_us - WRITE_US) {
        memory->owed_from_us = overlap_us;
        if (!is_owed || memory->owed_to_us < memory->floor_us)
            memory->owed_to_us = memory->floor_us;
    } else if (!is_owed && place_us < overlap_us) {
        /* much may have come since: of what is older than a write, nothing need be remembered */
        memory->owed_from_us = memory->floor_us;
        memory->owed_to_us = place_us;
        memory->rise_us = overlap_us;
    }
}

/* whether the record of the place is nowhere, rather than not yet on the member that was read */
static enum mt_err check_gone(const struct following *following, bool *gone, struct mt_error *error)
{
    bson_t *filter = BCON_NEW("arrival_us", BCON_INT64(following->place_us));
    bson_t *options = BCON_NEW("limit", BCON_INT64(1), "singleBatch", BCON_BOOL(true));
    mongoc_read_prefs_t *primary = mongoc_read_prefs_new(MONGOC_READ_PRIMARY_PREFERRED);
    mongoc_cursor_t *cursor =
        mongoc_collection_find_with_opts(following->store->log, filter, options, primary);
    const bson_t *document;
    enum mt_err err = MT_OK;

    *gone = !mongoc_cursor_next(cursor, &document);
    if (*gone)
        err = end_of(following->store, cursor, NULL, error);
    mongoc_cursor_destroy(cursor);
    mongoc_read_prefs_destroy(primary);
    bson_destroy(options);
    bson_destroy(filter);
    return err;
}

static enum mt_err follow(struct following *following, bool *reset, struct mt_error *error)
{
    int64_t began_us = following->token->sequence;
    bool forgotten = false;
    enum mt_err err;

    begin_memory(following);
    err = read_forward(following, &forgotten, error);
    /* what lags has nothing to look back at either */
    if (err == MT_OK && !following->is_found)
        return check_gone(following, reset, error);
    while (err == MT_OK && forgotten) {
        following->is_known = true;
        err = read_forward(following, &forgotten, error);
    }
    if (err == MT_OK && following->is_ended && following->limit > 0 && began_us > 0)
        err = look_back_all(following, began_us, error);
    return err;
}

/* the token's generation is the store's */
static enum mt_err follow_from(struct following *following, bool *reset, struct mt_error *error)
{
    struct mongodb_store *store = following->store;
    const size_t limit = following->limit;
    enum mt_err err = mongodb_server_time_us(store, &following->now_us, error);

    if (err != MT_OK)
        return err;
    following->memory = mongodb_seen_take(store->seen, following->token, &following->is_known);
    if (following->memory == NULL)
        return out_of_memory(store, error);
    err = follow(following, reset, error);
    *reset = *reset && err == MT_OK;
    if (*reset) {
        mongodb_memory_free(following->memory);
        return err;
    }
    if (following->limit < limit)
        number_place(following->token);
    following->memory->place = *following->token;
    mongodb_seen_put(store->seen, following->memory);
    return err;
}

enum mt_err mongodb_changes(struct mt_store *base, struct mt_token *token, size_t limit,
                            mt_emit *emit, void *context, bool *reset, struct mt_error *error)
{
    struct following following = {.store = (struct mongodb_store *)base,
                                  .token = token,
                                  .limit = limit,
                                  .emit = emit,
                                  .context = context};
    int64_t generation = 0;
    enum mt_err err = make_seen(following.store, error);

    *reset = false;
    if (err == MT_OK)
        err = mongodb_generation(following.store, &generation, error);
    if (err != MT_OK)
        return err;
    if (token->generation == 0 && token->sequence == 0)
        token->generation = (uint64_t)generation & STORE_BITS;
    *reset = ((token->generation ^ (uint64_t)generation) & STORE_BITS) != 0;
    if (!*reset)
        err = follow_from(&following, reset, error);
    if (err == MT_OK && *reset) {
        err = mongodb_token(base, token, error);
        *reset = err == MT_OK;
    }
    return err;
}
