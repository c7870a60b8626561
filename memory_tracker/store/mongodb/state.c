#include <inttypes.h>
#include <poll.h>
#include <string.h>
#include <sys/random.h>

#include "base/clock.h"
#include "store/mongodb/mongodb.h"

static const char state_id[] = "memory_log";

enum { MOST_PAUSE_MS = 300 };

static enum mt_err fail_missing(const struct mongodb_store *store, struct mt_error *error)
{
    return mt_error_set(error, MT_ERR_MISSING,
                        "store %s: holds no history; memory-sampler makes it", store->name);
}

static enum mt_err read_state(const struct mongodb_store *store, const bson_t *document,
                              int64_t *generation, struct mt_error *error)
{
    bson_iter_t iter;
    int64_t version = 0;

    if (bson_iter_init_find(&iter, document, "version") && BSON_ITER_HOLDS_NUMBER(&iter))
        version = bson_iter_as_int64(&iter);
    if (version > MONGODB_VERSION)
        return mt_error_set(error, MT_ERR_NEWER_SCHEMA,
                            "store %s: its version is %" PRId64
                            ", this program knows up to %d; use a newer memory-tracker",
                            store->name, version, MONGODB_VERSION);
    if (version < 1 || !bson_iter_init_find(&iter, document, "generation") ||
        !BSON_ITER_HOLDS_INT64(&iter))
        return mt_error_set(error, MT_ERR_CORRUPT,
                            "store %s: the document '%s' of collection %s lacks version or "
                            "generation; delete it, and the next writer makes it anew",
                            store->name, state_id, mongoc_collection_get_name(store->state));
    *generation = bson_iter_int64(&iter);
    return MT_OK;
}

static bson_t *state_filter(void)
{
    return BCON_NEW("_id", BCON_UTF8(state_id));
}

enum mt_err mongodb_generation(struct mongodb_store *store, int64_t *generation,
                               struct mt_error *error)
{
    bson_t *filter = state_filter();
    bson_t *options = BCON_NEW("limit", BCON_INT64(1), "singleBatch", BCON_BOOL(true), "maxTimeMS",
                               BCON_INT64(store->timeout_ms));
    mongoc_cursor_t *cursor = mongoc_collection_find_with_opts(store->state, filter, options, NULL);
    const bson_t *document = NULL;
    const bson_t *reply = NULL;
    bson_error_t failure;
    enum mt_err err;

    if (mongoc_cursor_next(cursor, &document))
        err = read_state(store, document, generation, error);
    else if (mongoc_cursor_error_document(cursor, &failure, &reply))
        err = mongodb_fail(store, "read its state", &failure, reply, error);
    else
        err = fail_missing(store, error);
    mongoc_cursor_destroy(cursor);
    bson_destroy(options);
    bson_destroy(filter);
    return err;
}

enum mt_err mongodb_server_time_us(struct mongodb_store *store, int64_t *now_us,
                                   struct mt_error *error)
{
    bson_t *command = BCON_NEW("isMaster", BCON_INT32(1));
    bson_t reply;
    bson_error_t failure;
    bson_iter_t iter;
    enum mt_err err = MT_OK;

    if (!mongoc_client_command_simple(store->client, "admin", command,
                                      mongoc_client_get_read_prefs(store->client), &reply,
                                      &failure))
        err = mongodb_fail(store, "ask for the time", &failure, &reply, error);
    else if (!bson_iter_init_find(&iter, &reply, "localTime") || !BSON_ITER_HOLDS_DATE_TIME(&iter))
        err = mt_error_set(error, MT_ERR_UNAVAILABLE,
                           "store %s: ask for the time: the server does not tell it", store->name);
    else
        *now_us = bson_iter_date_time(&iter) * 1000;
    bson_destroy(&reply);
    bson_destroy(command);
    return err;
}

static const struct {
    const char *name;
    const char *keys[3];
} indexes[] = {
    {"by_time", {"_id.t", "_id.h", "arrival_us"}}, /* the tail of all hosts */
    {"by_host", {"_id.h", "_id.t", "arrival_us"}}, /* a host's range */
    {"by_arrival", {"arrival_us"}},                /* what came lately */
};

enum { INDEXES = sizeof indexes / sizeof indexes[0] };

/* One at a time: FerretDB fails where some of several are there already. */
static enum mt_err make_index(struct mongodb_store *store, size_t number, struct mt_error *error)
{
    bson_t key = BSON_INITIALIZER;
    bson_t *command;
    bson_t reply;
    bson_error_t failure;
    enum mt_err err = MT_OK;

    for (size_t i = 0; i < 3 && indexes[number].keys[i] != NULL; i++)
        BSON_APPEND_INT32(&key, indexes[number].keys[i], 1);
    command = BCON_NEW("createIndexes", BCON_UTF8(mongoc_collection_get_name(store->log)),
                       "indexes", "[", "{", "name", BCON_UTF8(indexes[number].name), "key",
                       BCON_DOCUMENT(&key), "}", "]");
    if (!mongoc_collection_write_command_with_opts(store->log, command, NULL, &reply, &failure))
        err = mongodb_fail(store, "make the indexes", &failure, &reply, error);
    bson_destroy(&reply);
    bson_destroy(command);
    bson_destroy(&key);
    return err;
}

static bool is_index(const bson_t *description)
{
    bson_iter_t name;

    if (!bson_iter_init_find(&name, description, "name") || !BSON_ITER_HOLDS_UTF8(&name))
        return false;
    for (size_t i = 0; i < INDEXES; i++)
        if (strcmp(bson_iter_utf8(&name, NULL), indexes[i].name) == 0)
            return true;
    return false;
}

/* Somebody may have dropped the collection and left the state. Who may not look trusts the state.
 */
static enum mt_err check_indexes(struct mongodb_store *store, bool *complete,
                                 struct mt_error *error)
{
    mongoc_cursor_t *cursor = mongoc_collection_find_indexes_with_opts(store->log, NULL);
    struct mt_error said = {0};
    const bson_t *document = NULL;
    const bson_t *reply = NULL;
    bson_error_t failure;
    size_t found = 0;

    while (mongoc_cursor_next(cursor, &document))
        found += is_index(document);
    if (mongoc_cursor_error_document(cursor, &failure, &reply))
        (void)mongodb_fail(store, "look at the indexes", &failure, reply, &said);
    mongoc_cursor_destroy(cursor);
    *complete = found == INDEXES || said.code == MT_ERR_PERMISSION;
    if (said.code == MT_OK || *complete)
        return MT_OK;
    if (error != NULL)
        *error = said;
    return said.code;
}

int64_t mongodb_new_generation(void)
{
    int64_t generation = 0;

    while (generation == 0) {
        if (getrandom(&generation, sizeof generation, 0) != sizeof generation)
            generation = mt_clock_wall_ms();
        generation &= INT64_MAX;
    }
    return generation;
}

/* Of several writers one makes the document; the others find it there. */
static enum mt_err make_state(struct mongodb_store *store, struct mt_error *error)
{
    bson_t *filter = state_filter();
    bson_t *update = BCON_NEW("$setOnInsert", "{", "version", BCON_INT32(MONGODB_VERSION),
                              "generation", BCON_INT64(mongodb_new_generation()), "}");
    bson_t *options = BCON_NEW("upsert", BCON_BOOL(true));
    bson_t reply;
    bson_error_t failure;
    enum mt_err err = MT_OK;

    if (!mongoc_collection_update_one(store->state, filter, update, options, &reply, &failure) &&
        failure.code != MONGOC_ERROR_DUPLICATE_KEY)
        err = mongodb_fail(store, "make the state document", &failure, &reply, error);
    bson_destroy(&reply);
    bson_destroy(options);
    bson_destroy(update);
    bson_destroy(filter);
    return err;
}

/* Writers that make a store at once may get into each other's way, which passes. */
static enum mt_err make_all(struct mongodb_store *store, struct mt_error *error)
{
    int pause_ms = 10;

    for (;;) {
        enum mt_err err = MT_OK;

        for (size_t i = 0; i < INDEXES && err == MT_OK; i++)
            err = make_index(store, i, error);
        if (err == MT_OK)
            err = make_state(store, error);
        if ((err != MT_ERR_BUSY && err != MT_ERR_FAILED && err != MT_ERR_UNAVAILABLE) ||
            pause_ms > MOST_PAUSE_MS || mt_clock_monotonic_ms() + pause_ms >= store->deadline_ms)
            return err;
        (void)poll(NULL, 0, pause_ms);
        pause_ms *= 2;
    }
}

enum mt_err mongodb_open_state(struct mongodb_store *store, struct mt_error *error)
{
    int64_t generation = 0;
    struct mt_error missing = {0};
    bool complete = true;
    enum mt_err err = mongodb_generation(store, &generation, store->read_only ? error : &missing);

    if (store->read_only)
        return err;
    if (err == MT_OK) {
        err = check_indexes(store, &complete, error);
        return err == MT_OK && !complete ? make_all(store, error) : err;
    }
    if (err != MT_ERR_MISSING) {
        if (error != NULL)
            *error = missing;
        return err;
    }
    err = make_all(store, error);
    return err == MT_OK ? mongodb_generation(store, &generation, error) : err;
}
