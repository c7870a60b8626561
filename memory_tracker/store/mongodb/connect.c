#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/text.h"
#include "store/mongodb/seen.h"
#include "store/mongodb/stream.h"
#include "store/uri.h"

static const char default_database[] = "memory_tracker";
static const char default_collection[] = "memory_log";

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

/* A time of the URI's, else ours; never more than a call may take. */
static void set_time(mongoc_uri_t *uri, const char *option, int ours_ms, int most_ms)
{
    int32_t ms = mongoc_uri_get_option_as_int32(uri, option, 0);

    if (ms <= 0)
        ms = ours_ms;
    (void)mongoc_uri_set_option_as_int32(uri, option, ms < most_ms ? ms : most_ms);
}

static void set_write_concern(mongoc_uri_t *uri, int wtimeout_ms)
{
    mongoc_write_concern_t *concern = mongoc_write_concern_copy(mongoc_uri_get_write_concern(uri));
    int64_t given_ms = mongoc_write_concern_get_wtimeout_int64(concern);

    if (!mongoc_uri_has_option(uri, MONGOC_URI_W))
        mongoc_write_concern_set_w(concern, MONGOC_WRITE_CONCERN_W_MAJORITY);
    if (!mongoc_uri_has_option(uri, MONGOC_URI_JOURNAL))
        mongoc_write_concern_set_journal(concern, true);
    if (given_ms <= 0 || given_ms > wtimeout_ms)
        mongoc_write_concern_set_wtimeout_int64(concern, wtimeout_ms);
    mongoc_uri_set_write_concern(uri, concern);
    mongoc_write_concern_destroy(concern);
}

static int choose_timeout(const mongoc_uri_t *uri, const struct mt_store_options *options)
{
    int ms = options->timeout_ms;

    if (ms <= 0)
        ms = mongoc_uri_get_option_as_int32(uri, MONGOC_URI_SOCKETTIMEOUTMS, 0);
    if (ms <= 0)
        ms = MT_STORE_TIMEOUT_MS;
    return ms < MT_STORE_TIMEOUT_MOST_MS ? ms : MT_STORE_TIMEOUT_MOST_MS;
}

static void set_defaults(mongoc_uri_t *uri, int timeout_ms)
{
    /* a member that swallows packets holds up the search among the others for so long */
    set_time(uri, MONGOC_URI_CONNECTTIMEOUTMS, timeout_ms / 3 + 1, timeout_ms / 2 + 1);
    set_time(uri, MONGOC_URI_SERVERSELECTIONTIMEOUTMS, timeout_ms, timeout_ms);
    set_time(uri, MONGOC_URI_SOCKETTIMEOUTMS, timeout_ms, timeout_ms);
    /* a write is repeated by whoever gives its record again */
    if (!mongoc_uri_has_option(uri, MONGOC_URI_RETRYWRITES))
        (void)mongoc_uri_set_option_as_bool(uri, MONGOC_URI_RETRYWRITES, false);
    if (mongoc_uri_get_appname(uri) == NULL)
        (void)mongoc_uri_set_appname(uri, "memory-tracker");
    set_write_concern(uri, timeout_ms - timeout_ms / 4);
}

/* Files are named here, where what is wrong with them is known; the driver only says that it is. */
static enum mt_err check_tls_files(const struct mongodb_store *store, const mongoc_uri_t *uri,
                                   struct mt_error *error)
{
    static const struct {
        const char *option;
        const char *name;
    } files[] = {
        {MONGOC_URI_TLSCAFILE, "tlsCAFile"},
        {MONGOC_URI_TLSCERTIFICATEKEYFILE, "tlsCertificateKeyFile"},
    };

    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
        const char *path = mongoc_uri_get_option_as_utf8(uri, files[i].option, NULL);

        if (path != NULL && access(path, R_OK) != 0)
            return mt_error_set_errno(error, MT_ERR_CONFIG, errno, "store %s: %s '%s'", store->name,
                                      files[i].name, path);
    }
    return MT_OK;
}

static enum mt_err parse_uri(const struct mongodb_store *store, const char *text,
                             mongoc_uri_t **uri, struct mt_error *error)
{
    bson_error_t failure;
    char *of_driver = NULL;
    enum mt_err err = mt_store_uri_without_ours(text, &of_driver, error);

    if (err != MT_OK)
        return err;
    *uri = mongoc_uri_new_with_error(of_driver, &failure);
    free(of_driver);
    if (*uri == NULL)
        return mt_error_set(error, MT_ERR_CONFIG, "store %s: the URI is wrong: %s", store->name,
                            strstr(failure.message, "://") == NULL ? failure.message
                                                                   : "it cannot be understood");
    err = check_tls_files(store, *uri, error);
    if (err == MT_OK && !mongoc_write_concern_is_acknowledged(mongoc_uri_get_write_concern(*uri)))
        err = mt_error_set(error, MT_ERR_CONFIG,
                           "store %s: w=0: nobody would know of a lost record; leave w out",
                           store->name);
    if (err != MT_OK)
        mongoc_uri_destroy(*uri);
    return err;
}

static enum mt_err connect_client(struct mongodb_store *store, const mongoc_uri_t *uri,
                                  const char *collection, struct mt_error *error)
{
    const char *database = mongoc_uri_get_database(uri);
    mongoc_read_prefs_t *primary;
    mongoc_ssl_opt_t tls;
    bson_error_t failure;
    char *state_name;

    store->client = mongoc_client_new_from_uri_with_error(uri, &failure);
    if (store->client == NULL)
        return mongodb_fail(store, "connect", &failure, NULL, error);
    (void)mongoc_client_set_error_api(store->client, MONGOC_ERROR_API_VERSION_2);
    mongoc_client_set_stream_initiator(store->client, mongodb_connect, store);
    /* after the line above, which else leaves the handshake out */
    if (mongodb_wants_tls(uri, &tls))
        mongoc_client_set_ssl_opts(store->client, &tls);
    if (!store->read_only) {
        primary = mongoc_read_prefs_new(MONGOC_READ_PRIMARY);
        mongoc_client_set_read_prefs(store->client, primary);
        mongoc_read_prefs_destroy(primary);
    }
    if (database == NULL)
        database = default_database;
    state_name = bson_strdup_printf("%s_state", collection);
    store->log = mongoc_client_get_collection(store->client, database, collection);
    store->state = mongoc_client_get_collection(store->client, database, state_name);
    bson_free(state_name);
    return MT_OK;
}

/* Our own options; settings have checked them, a URI from elsewhere may hold anything. */
static enum mt_err read_options(struct mongodb_store *store, const char *uri, char **collection,
                                struct mt_error *error)
{
    char *max_data = NULL;
    int64_t bytes = MAX_DATA_BYTES;
    enum mt_err err = mt_store_uri_option(uri, "collection", collection, error);

    if (err == MT_OK)
        err = mt_store_uri_option(uri, "maxData", &max_data, error);
    if (err == MT_OK && max_data != NULL &&
        !mt_parse_i64_range(mt_slice_of(max_data), 1, MAX_DATA_BYTES, &bytes))
        err = mt_error_set(error, MT_ERR_CONFIG, "store %s: maxData '%s': must be from 1 to %d",
                           store->name, max_data, MAX_DATA_BYTES);
    store->max_data_bytes = (int32_t)bytes;
    free(max_data);
    return err;
}

static enum mt_err open_all(struct mongodb_store *store, const char *text,
                            const struct mt_store_options *options, struct mt_error *error)
{
    mongoc_uri_t *uri = NULL;
    char *collection = NULL;
    enum mt_err err = read_options(store, text, &collection, error);

    if (err == MT_OK)
        err = parse_uri(store, text, &uri, error);
    if (err == MT_OK) {
        store->timeout_ms = choose_timeout(uri, options);
        set_defaults(uri, store->timeout_ms);
        err =
            connect_client(store, uri, collection == NULL ? default_collection : collection, error);
        mongoc_uri_destroy(uri);
    }
    free(collection);
    if (err != MT_OK)
        return err;
    mongodb_begin(store);
    err = mongodb_open_state(store, error);
    mongodb_end(store);
    return err;
}

void mongodb_begin(struct mongodb_store *store)
{
    store->deadline_ms = mt_clock_monotonic_ms() + store->timeout_ms;
}

void mongodb_end(struct mongodb_store *store)
{
    store->deadline_ms = 0;
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
    opened->name = mt_store_destination(uri);
    if (opened->name == NULL)
        err = mt_error_set(error, MT_ERR_NO_MEMORY, "out of memory");
    else
        err = open_all(opened, uri, options, error);
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
    enum mt_err err;

    mongodb_begin(store);
    err = mongodb_generation(store, &generation, error);
    mongodb_end(store);
    return err;
}
