/*
 * What is wrong in a store. One walk over all documents in the order of keys, one over by_host;
 * records that arrived too lately to be the same in both are not compared. deep does nothing more:
 * `validate` exists neither on Amazon DocumentDB nor on every server, locks what it looks at, and
 * is for the one who runs the server.
 */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "store/mongodb/query.h"

#define DAY_US (INT64_C(86400) * 1000000)

/* What both walks found of one host, of records that had come to rest. */
struct tally {
    char host[MT_HOST_MAX + 1];
    int64_t by_time;
    int64_t by_host;
};

struct verify {
    struct mongodb_store *store;
    mt_report *report;
    void *context;
    int64_t *findings;
    int64_t now_us;     /* the server's clock at the beginning */
    int64_t resting_us; /* what has a mark up to here arrived before the beginning */
    bool has_last;
    struct mongodb_key last; /* of the walk in the order of keys */
    struct tally *tallies;   /* sorted by name */
    size_t count;
    size_t capacity;
};

__attribute__((format(printf, 2, 3))) static void tell(struct verify *verify, const char *format,
                                                       ...)
{
    char text[1024];
    va_list arguments;

    va_start(arguments, format);
    (void)vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    ++*verify->findings;
    verify->report(verify->context, text);
}

static int compare_host(const void *name, const void *tally)
{
    return strcmp(name, ((const struct tally *)tally)->host);
}

/* NULL: out of memory */
static struct tally *tally_of(struct verify *verify, const char *host)
{
    struct tally *found = verify->count == 0 ? NULL
                                             : bsearch(host, verify->tallies, verify->count,
                                                       sizeof *found, compare_host);
    size_t at = verify->count;

    if (found != NULL)
        return found;
    if (verify->count == verify->capacity) {
        size_t capacity = verify->capacity == 0 ? 16 : 2 * verify->capacity;
        struct tally *grown = reallocarray(verify->tallies, capacity, sizeof *grown);

        if (grown == NULL)
            return NULL;
        verify->tallies = grown;
        verify->capacity = capacity;
    }
    while (at > 0 && strcmp(verify->tallies[at - 1].host, host) > 0) {
        verify->tallies[at] = verify->tallies[at - 1];
        at--;
    }
    verify->tallies[at] = (struct tally){0};
    (void)snprintf(verify->tallies[at].host, sizeof verify->tallies[at].host, "%s", host);
    verify->count++;
    return &verify->tallies[at];
}

static enum mt_err out_of_memory(const struct verify *verify, struct mt_error *error)
{
    return mt_error_set(error, MT_ERR_NO_MEMORY, "store %s: verify: out of memory",
                        verify->store->name);
}

/* one document of the walk in the order of keys */
static enum mt_err check_document(struct verify *verify, const bson_t *document,
                                  struct mt_error *error)
{
    struct mt_record record;
    struct mongodb_key key;
    struct mt_error wrong = {0};
    struct tally *tally;
    int64_t arrival_us = 0;
    enum mt_err err =
        mongodb_read_record(verify->store, document, MT_FIELD_ALL, &record, &arrival_us, &wrong);

    if (err == MT_ERR_CORRUPT) {
        tell(verify, "%s", wrong.text);
        return MT_OK;
    }
    if (err != MT_OK) {
        *error = wrong;
        return err;
    }
    key = mongodb_key_of(&record);
    if (verify->has_last && mongodb_key_compare(&verify->last, &key) == 0)
        tell(verify,
             "host '%s', second %" PRId64 ": stands there twice, with _id written in two ways; "
             "delete one",
             key.host, key.timestamp);
    verify->last = key;
    verify->has_last = true;
    if (arrival_us == 0)
        tell(verify,
             "host '%s', second %" PRId64 ": has no arrival_us, and is not seen by who follows",
             key.host, key.timestamp);
    else if (arrival_us > verify->now_us + DAY_US)
        tell(verify,
             "host '%s', second %" PRId64 ": arrival_us %" PRId64
             " is more than a day ahead of the server's clock",
             key.host, key.timestamp, arrival_us);
    if (arrival_us == 0 || arrival_us > verify->resting_us)
        return MT_OK;
    tally = tally_of(verify, key.host);
    if (tally == NULL)
        return out_of_memory(verify, error);
    tally->by_time++;
    return MT_OK;
}

/* one key of by_host; what is no record was told of in the other walk */
static enum mt_err check_key(struct verify *verify, const bson_t *document, struct mt_error *error)
{
    struct mongodb_key key;
    struct tally *tally;

    if (!mongodb_read_key(document, &key) || key.host[0] == '\0')
        return MT_OK;
    tally = tally_of(verify, key.host);
    if (tally == NULL)
        return out_of_memory(verify, error);
    tally->by_host++;
    return MT_OK;
}

typedef enum mt_err check(struct verify *verify, const bson_t *document, struct mt_error *error);

static enum mt_err end_of(const struct verify *verify, mongoc_cursor_t *cursor,
                          struct mt_error *error)
{
    const bson_t *reply = NULL;
    bson_error_t failure;

    if (!mongoc_cursor_error_document(cursor, &failure, &reply))
        return MT_OK;
    return mongodb_fail(verify->store, "verify", &failure, reply, error);
}

static enum mt_err walk(struct verify *verify, const bson_t *filter, const bson_t *options,
                        check *check_one, struct mt_error *error)
{
    mongoc_cursor_t *cursor =
        mongoc_collection_find_with_opts(verify->store->log, filter, options, NULL);
    const bson_t *document;
    enum mt_err err = MT_OK;

    while (err == MT_OK && mongoc_cursor_next(cursor, &document))
        err = check_one(verify, document, error);
    if (err == MT_OK)
        err = end_of(verify, cursor, error);
    mongoc_cursor_destroy(cursor);
    return err;
}

/* without its index only as they lie: servers do not sort as much */
static enum mt_err walk_by_time(struct verify *verify, bool has_index, struct mt_error *error)
{
    bson_t *filter = bson_new();
    bson_t *options = BCON_NEW("batchSize", BCON_INT64(1000));
    bson_t sort;
    enum mt_err err;

    if (has_index) {
        BSON_APPEND_DOCUMENT_BEGIN(options, "sort", &sort);
        BSON_APPEND_INT32(&sort, "_id.t", 1);
        BSON_APPEND_INT32(&sort, "_id.h", 1);
        bson_append_document_end(options, &sort);
    }
    err = walk(verify, filter, options, check_document, error);
    bson_destroy(options);
    bson_destroy(filter);
    return err;
}

static enum mt_err walk_by_host(struct verify *verify, struct mt_error *error)
{
    bson_t *filter = BCON_NEW("arrival_us", "{", "$gt", BCON_INT64(0), "$lte",
                              BCON_INT64(verify->resting_us), "}");
    bson_t *options =
        BCON_NEW("sort", "{", "_id.h", BCON_INT32(1), "_id.t", BCON_INT32(1), "}", "hint",
                 BCON_UTF8(mongodb_indexes[MONGODB_BY_HOST].name), "projection", "{", "_id.t",
                 BCON_INT32(1), "_id.h", BCON_INT32(1), "}", "batchSize", BCON_INT64(1000));
    enum mt_err err = walk(verify, filter, options, check_key, error);

    bson_destroy(options);
    bson_destroy(filter);
    return err;
}

static bool has_fields(const bson_t *index, const struct mongodb_index *expected)
{
    bson_iter_t iter;
    bson_iter_t field;
    size_t i = 0;

    if (!bson_iter_init_find(&iter, index, "key") || !bson_iter_recurse(&iter, &field))
        return false;
    for (; bson_iter_next(&field); i++)
        if (expected->fields[i] == NULL ||
            strcmp(bson_iter_key(&field), expected->fields[i]) != 0 ||
            !BSON_ITER_HOLDS_NUMBER(&field) || bson_iter_as_int64(&field) != 1)
            return false;
    return expected->fields[i] == NULL;
}

static enum mt_err check_indexes(struct verify *verify, bool is_there[MONGODB_INDEXES],
                                 struct mt_error *error)
{
    mongoc_cursor_t *cursor = mongoc_collection_find_indexes_with_opts(verify->store->log, NULL);
    const bson_t *document;
    enum mt_err err;

    while (mongoc_cursor_next(cursor, &document)) {
        bson_iter_t name;

        for (size_t i = 0; i < MONGODB_INDEXES; i++)
            if (bson_iter_init_find(&name, document, "name") && BSON_ITER_HOLDS_UTF8(&name) &&
                strcmp(bson_iter_utf8(&name, NULL), mongodb_indexes[i].name) == 0)
                is_there[i] = has_fields(document, &mongodb_indexes[i]);
    }
    err = end_of(verify, cursor, error);
    mongoc_cursor_destroy(cursor);
    for (size_t i = 0; err == MT_OK && i < MONGODB_INDEXES; i++)
        if (!is_there[i])
            tell(verify,
                 "index %s: is missing or has other fields; drop it if it is there, then delete "
                 "the document of collection %s, and the next writer makes both",
                 mongodb_indexes[i].name, mongoc_collection_get_name(verify->store->state));
    return err;
}

static void compare_tallies(struct verify *verify)
{
    for (size_t i = 0; i < verify->count; i++) {
        const struct tally *tally = &verify->tallies[i];

        if (tally->by_time != tally->by_host)
            tell(verify,
                 "host '%s': %" PRId64 " records in the order of time, %" PRId64
                 " in index by_host; drop the indexes, then delete the document of collection %s, "
                 "and the next writer makes all anew",
                 tally->host, tally->by_time, tally->by_host,
                 mongoc_collection_get_name(verify->store->state));
    }
}

static enum mt_err check_documents(struct verify *verify, struct mt_error *error)
{
    bool is_there[MONGODB_INDEXES] = {false};
    enum mt_err err = check_indexes(verify, is_there, error);

    if (err == MT_OK)
        err = walk_by_time(verify, is_there[MONGODB_BY_TIME], error);
    if (err != MT_OK || !is_there[MONGODB_BY_HOST])
        return err;
    err = walk_by_host(verify, error);
    if (err == MT_OK)
        compare_tallies(verify);
    return err;
}

static enum mt_err check_all(struct verify *verify, struct mt_error *error)
{
    int64_t generation = 0;
    int64_t later = 0;
    enum mt_err err = mongodb_generation(verify->store, &generation, error);

    if (err == MT_OK)
        err = mongodb_server_time_us(verify->store, &verify->now_us, error);
    verify->resting_us = verify->now_us - MONGODB_OVERLAP_US;
    if (err == MT_OK && generation == 0)
        tell(verify,
             "state document: its generation is 0, which no store has; delete the document of "
             "collection %s, and the next writer makes it anew",
             mongoc_collection_get_name(verify->store->state));
    if (err == MT_OK)
        err = check_documents(verify, error);
    if (err == MT_OK)
        err = mongodb_generation(verify->store, &later, error);
    if (err == MT_OK && later != generation)
        err = mt_error_set(error, MT_ERR_BUSY,
                           "store %s: verify: records were pruned meanwhile; try again",
                           verify->store->name);
    return err;
}

enum mt_err mongodb_verify(struct mt_store *base, bool deep, mt_report *report, void *context,
                           int64_t *findings, struct mt_error *error)
{
    struct verify verify = {.store = (struct mongodb_store *)base,
                            .report = report,
                            .context = context,
                            .findings = findings};
    enum mt_err err;

    (void)deep;
    *findings = 0;
    err = check_all(&verify, error);
    free(verify.tallies);
    return err;
}
