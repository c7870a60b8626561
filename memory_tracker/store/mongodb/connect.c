#include <inttypes.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "base/clock.h"
#include "store/mongodb/mongodb.h"
#include "store/mongodb/seen.h"
#include "store/uri.h"

static const char default_database[] = "memory_tracker";
static const char default_collection[] = "memory_log";
static const char state_id[] = "memory_log";

enum { MAX_DATA_BYTES = 16000000 };

/* the library's messages may hold a URI, and standard output is for answers */
static void drop_message(mongoc_log_level_t level, const char *domain, const char *message,
                         void *context)
{
    (void)level;
    (void)domain;
    (void)message;
    (void)context;
}

/* A time of the URI's, else ours; never more than a call may last. */
static void set_time(mongoc_uri_t *uri, const char *option, int ours_ms)
{
    int32_t ms = mongoc_uri_get_option_as_int32(uri, option, 0);

    if (ms <= 0)
        ms = ours_ms;
    if (ms > MT_STORE_TIMEOUT_MOST_MS)
        ms = MT_STORE_TIMEOUT_MOST_MS;
    (void)mongoc_uri_set_option_as_int32(uri, option, ms);
}

static void set_write_concern(mongoc_uri_t *uri, int wtimeout_ms)
{
    mongoc_write_concern_t *concern = mongoc_write_concern_copy(mongoc_uri_get_write_concern(uri));

    if (!mongoc_uri_has_option(uri, MONGOC_URI_W))
        mongoc_write_concern_set_wmajority(concern, wtimeout_ms);
    if (!mongoc_uri_has_option(uri, MONGOC_URI_JOURNAL))
        mongoc_write_concern_set_journal(concern, true);
    if (mongoc_uri_get_option_as_int32(uri, MONGOC_URI_WTIMEOUTMS, 0) <= 0 ||
        mongoc_write_concern_get_wtimeout_int64(concern) > wtimeout_ms)
        mongoc_write_concern_set_wtimeout_int64(concern, wtimeout_ms);
    mongoc_uri_set_write_concern(uri, concern);
    mongoc_write_concern_destroy(concern);
}

static void set_defaults(mongoc_uri_t *uri, int timeout_ms)
{
    /* one member that swallows packets holds up the search for the others this long */
    set_time(uri, MONGOC_URI_CONNECTTIMEOUTMS, timeout_ms / 3 > 0 ? timeout_ms / 3 : 1);
    set_time(uri, MONGOC_URI_SERVERSELECTIONTIMEOUTMS, timeout_ms);
    set_time(uri, MONGOC_URI_SOCKETTIMEOUTMS, timeout_ms);
    if (!mongoc_uri_has_option(uri, MONGOC_URI_RETRYWRITES))
        (void)mongoc_uri_set_option_as_bool(uri, MONGOC_URI_RETRYWRITES, false);
    if (!mongoc_uri_has_option(uri, MONGOC_URI_APPNAME))
        (void)mongoc_uri_set_appname(uri, "memory-tracker");
    set_write_concern(uri, timeout_ms - timeout_ms / 4);
}

static enum mt_err connect_client(struct mongodb_store *store, const char *text,
                                  struct mt_error *error)
{
    bson_error_t failure;
    mongoc_uri_t *uri = mongoc_uri_new_with_error(text, &failure);
    mongoc_read_prefs_t *primary;
    const char *database;
    char *state_name;

    if (uri == NULL)
        return mt_error_set(error, MT_ERR_CONFIG, "store %s: the URI is wrong: %s", store->name,
                            strstr(failure.message, "://") == NULL ? failure.message
                                                                   : "it cannot be understood");
    set_defaults(uri, store->timeout_ms);
    database = mongoc_uri_get_database(uri);
    store->client = mongoc_client_new_from_uri_with_error(uri, &failure);
    if (store->client == NULL) {
        mongoc_uri_destroy(uri);
        return mongodb_fail(store, "connect", &failure, NULL, error);
    }
    (void)mongoc_client_set_error_api(store->client, MONGOC_ERROR_API_VERSION_2);
    if (!store->read_only) {
        primary = mongoc_read_prefs_new(MONGOC_READ_PRIMARY);
        mongoc_client_set_read_prefs(store->client, primary);
        mongoc_read_prefs_destroy(primary);
    }
    if (database == NULL)
        database = default_database;
    state_name = bson_strdup_printf("%s_state", default_collection);
    store->log = mongoc_client_get_collection(store->client, database, default_collection);
    store->state = mongoc_client_get_collection(store->client, database, state_name);
    bson_free(state_name);
    mongoc_uri_destroy(uri);
    return MT_OK;
}

static enum mt_err fail_missing(const struct mongodb_store *store, struct mt_error *error)
{
    return mt_error_set(error, MT_ERR_MISSING,
                        "store %s: open: holds no history; memory-sampler makes it", store->name);
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
                            "store %s: open: its version is %" PRId64
                            ", this program knows up to %d; use a newer memory-tracker",
                            store->name, version, MONGODB_VERSION);
    if (version < 1 || !bson_iter_init_find(&iter, document, "generation") ||
        !BSON_ITER_HOLDS_INT64(&iter))
        return mt_error_set(error, MT_ERR_CORRUPT,
                            "store %s: open: the document '%s' of collection %s lacks version or "
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
        err = mongodb_fail(store, "open", &failure, reply, error);
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

static enum mt_err make_indexes(struct mongodb_store *store, struct mt_error *error)
{
    bson_t *command =
        BCON_NEW("createIndexes", BCON_UTF8(mongoc_collection_get_name(store->log)), "indexes", "[",
                 /* the tail of all hosts */
                 "{", "name", "by_time", "key", "{", "_id.t", BCON_INT32(1), "_id.h", BCON_INT32(1),
                 "arrival_us", BCON_INT32(1), "}", "}",
                 /* some hosts' ranges */
                 "{", "name", "by_host", "key", "{", "_id.h", BCON_INT32(1), "_id.t", BCON_INT32(1),
                 "arrival_us", BCON_INT32(1), "}", "}",
                 /* what came lately */
                 "{", "name", "by_arrival", "key", "{", "arrival_us", BCON_INT32(1), "}", "}", "]");
    bson_t reply;
    bson_error_t failure;
    enum mt_err err = MT_OK;

    if (!mongoc_collection_write_command_with_opts(store->log, command, NULL, &reply, &failure))
        err = mongodb_fail(store, "make the indexes", &failure, &reply, error);
    bson_destroy(&reply);
    bson_destroy(command);
    return err;
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
static enum mt_err make_all(struct mongodb_store *store, int64_t deadline_ms,
                            struct mt_error *error)
{
    int pause_ms = 10;

    for (;;) {
        enum mt_err err = make_indexes(store, error);

        if (err == MT_OK)
            err = make_state(store, error);
        if ((err != MT_ERR_BUSY && err != MT_ERR_FAILED) ||
            mt_clock_monotonic_ms() + pause_ms >= deadline_ms || pause_ms > 1000)
            return err;
        (void)poll(NULL, 0, pause_ms);
        pause_ms *= 2;
    }
}

static enum mt_err open_state(struct mongodb_store *store, struct mt_error *error)
{
    int64_t deadline_ms = mt_clock_monotonic_ms() + store->timeout_ms;
    int64_t generation = 0;
    struct mt_error missing = {0};
    enum mt_err err = mongodb_generation(store, &generation, store->read_only ? error : &missing);

    if (err != MT_ERR_MISSING || store->read_only) {
        if (err != MT_OK && !store->read_only && error != NULL)
            *error = missing;
        return err;
    }
    err = make_all(store, deadline_ms, error);
    return err == MT_OK ? mongodb_generation(store, &generation, error) : err;
}

enum mt_err mongodb_open(const char *uri, const struct mt_store_options *options,
                         struct mt_store **store, struct mt_error *error)
{
    struct mongodb_store *opened = calloc(1, sizeof *opened);
    enum mt_err err;

    mongoc_init();
    mongoc_log_set_handler(drop_message, NULL);
    if (opened == NULL)
        return mt_error_set(error, MT_ERR_NO_MEMORY, "out of memory");
    opened->base.ops = &mongodb_ops;
    opened->read_only = options->read_only;
    opened->timeout_ms = options->timeout_ms > 0 ? options->timeout_ms : MT_STORE_TIMEOUT_MS;
    if (opened->timeout_ms > MT_STORE_TIMEOUT_MOST_MS)
        opened->timeout_ms = MT_STORE_TIMEOUT_MOST_MS;
    opened->max_data_bytes = MAX_DATA_BYTES;
    opened->name = mt_store_destination(uri);
    if (opened->name == NULL)
        err = mt_error_set(error, MT_ERR_NO_MEMORY, "out of memory");
    else
        err = connect_client(opened, uri, error);
    if (err == MT_OK)
        err = open_state(opened, error);
    if (err == MT_OK)
        *store = &opened->base;
    else
        mongodb_close(&opened->base);
    return err;
}

void mongodb_close(struct mt_store *base)
{
    struct mongodb_store *store = (struct mongodb_store *)base;

    mongodb_seen_free(store->seen);
    if (store->log != NULL)
        mongoc_collection_destroy(store->log);
    if (store->state != NULL)
        mongoc_collection_destroy(store->state);
    if (store->client != NULL)
        mongoc_client_destroy(store->client);
    free(store->name);
    free(store);
}

enum mt_err mongodb_ping(struct mt_store *base, struct mt_error *error)
{
    struct mongodb_store *store = (struct mongodb_store *)base;
    int64_t generation = 0;

    return mongodb_generation(store, &generation, error);
}
