/*
 * Who has records. A small store is read as a whole: keys and interval_s in one answer. A large one
 * is asked for its names (distinct, a walk from name to name over by_host) and then for each host's
 * first, last and number of records, three or four short commands on by_host; counting walks over
 * the host's part of the index, some tenths of a second for each million records.
 */
#include <stdlib.h>
#include <string.h>

#include "store/mongodb/query.h"

enum { SMALL_STORE = 5000 };

struct hosts {
    struct mongodb_store *store;
    int64_t latest; /* later records are of the future */
    mt_emit_host *emit;
    void *context;
};

static enum mt_err fail(const struct hosts *hosts, const bson_error_t *failure, const bson_t *reply,
                        struct mt_error *error)
{
    return mongodb_fail(hosts->store, "read", failure, reply, error);
}

static enum mt_err out_of_memory(const struct hosts *hosts, struct mt_error *error)
{
    return mt_error_set(error, MT_ERR_NO_MEMORY, "store %s: read: out of memory",
                        hosts->store->name);
}

/* what matches filter, or by the collection's own books where it is NULL */
static enum mt_err count(const struct hosts *hosts, const bson_t *filter, int64_t *number,
                         struct mt_error *error)
{
    bson_t command = BSON_INITIALIZER;
    bson_t reply;
    bson_iter_t iter;
    bson_error_t failure;
    enum mt_err err = MT_OK;

    BSON_APPEND_UTF8(&command, "count", mongoc_collection_get_name(hosts->store->log));
    if (filter != NULL)
        BSON_APPEND_DOCUMENT(&command, "query", filter);
    if (!mongoc_collection_read_command_with_opts(hosts->store->log, &command, NULL, NULL, &reply,
                                                  &failure))
        err = fail(hosts, &failure, &reply, error);
    else if (!bson_iter_init_find(&iter, &reply, "n") || !BSON_ITER_HOLDS_NUMBER(&iter))
        err = mt_error_set(error, MT_ERR_UNAVAILABLE,
                           "store %s: read: the server's answer to count has no number",
                           hosts->store->name);
    else
        *number = bson_iter_as_int64(&iter);
    bson_destroy(&reply);
    bson_destroy(&command);
    return err;
}

static enum mt_err count_host(const struct hosts *hosts, struct mt_host *host,
                              struct mt_error *error)
{
    bson_t filter = BSON_INITIALIZER;
    bson_t range;
    enum mt_err err;

    BSON_APPEND_UTF8(&filter, "_id.h", host->name);
    err = count(hosts, &filter, &host->records, error);
    if (err == MT_OK && host->last > hosts->latest) {
        BSON_APPEND_DOCUMENT_BEGIN(&filter, "_id.t", &range);
        BSON_APPEND_INT64(&range, "$gt", hosts->latest);
        bson_append_document_end(&filter, &range);
        err = count(hosts, &filter, &host->future, error);
    }
    bson_destroy(&filter);
    return err;
}

/* keys and interval_s of what matches */
static mongoc_cursor_t *find(const struct hosts *hosts, const char *name, int direction,
                             int64_t limit)
{
    bson_t filter = BSON_INITIALIZER;
    bson_t options = BSON_INITIALIZER;
    mongoc_cursor_t *cursor;
    bson_t part;

    if (name != NULL)
        BSON_APPEND_UTF8(&filter, "_id.h", name);
    BSON_APPEND_DOCUMENT_BEGIN(&options, "sort", &part);
    if (name == NULL)
        BSON_APPEND_INT32(&part, "_id.h", direction);
    BSON_APPEND_INT32(&part, "_id.t", direction);
    bson_append_document_end(&options, &part);
    BSON_APPEND_UTF8(&options, "hint", mongodb_indexes[MONGODB_BY_HOST].name);
    BSON_APPEND_DOCUMENT_BEGIN(&options, "projection", &part);
    mongodb_projection(MT_FIELD_BIT(MT_FIELD_INTERVAL_S), false, &part);
    bson_append_document_end(&options, &part);
    if (limit > 0)
        BSON_APPEND_INT64(&options, "limit", limit);
    else
        BSON_APPEND_INT64(&options, "batchSize", SMALL_STORE);
    cursor = mongoc_collection_find_with_opts(hosts->store->log, &filter, &options, NULL);
    bson_destroy(&filter);
    bson_destroy(&options);
    return cursor;
}

/* *found false at the end */
static enum mt_err next(const struct hosts *hosts, mongoc_cursor_t *cursor,
                        struct mt_record *record, bool *found, struct mt_error *error)
{
    const bson_t *document;
    const bson_t *reply = NULL;
    bson_error_t failure;

    *found = mongoc_cursor_next(cursor, &document);
    if (*found)
        return mongodb_read_record(hosts->store, document, MT_FIELD_BIT(MT_FIELD_INTERVAL_S),
                                   record, NULL, error);
    if (mongoc_cursor_error_document(cursor, &failure, &reply))
        return fail(hosts, &failure, reply, error);
    return MT_OK;
}

static enum mt_err read_end(const struct hosts *hosts, const char *name, int direction,
                            struct mt_record *record, bool *found, struct mt_error *error)
{
    mongoc_cursor_t *cursor = find(hosts, name, direction, 1);
    enum mt_err err = next(hosts, cursor, record, found, error);

    mongoc_cursor_destroy(cursor);
    return err;
}

static enum mt_err read_host(const struct hosts *hosts, const char *name, struct mt_error *error)
{
    struct mt_host host = {0};
    struct mt_record oldest;
    struct mt_record newest;
    bool found = false;
    enum mt_err err = read_end(hosts, name, 1, &oldest, &found, error);

    if (err == MT_OK && found)
        err = read_end(hosts, name, -1, &newest, &found, error);
    /* pruned meanwhile */
    if (err != MT_OK || !found)
        return err;
    memcpy(host.name, newest.host, sizeof host.name);
    host.first = oldest.timestamp;
    host.last = newest.timestamp;
    host.interval_s = newest.value[MT_FIELD_INTERVAL_S];
    err = count_host(hosts, &host, error);
    return err == MT_OK && host.records > 0 ? hosts->emit(hosts->context, &host, error) : err;
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* the strings of a reply's array, NULL-terminated, borrowed from it; NULL: out of memory */
static const char **names_of(const bson_t *reply, size_t *names_count)
{
    size_t capacity = 1;
    const char **names;
    bson_iter_t iter;
    bson_iter_t name;

    *names_count = 0;
    if (bson_iter_init_find(&iter, reply, "values") && bson_iter_recurse(&iter, &name))
        while (bson_iter_next(&name))
            capacity++;
    names = calloc(capacity, sizeof *names);
    if (names != NULL && bson_iter_init_find(&iter, reply, "values") &&
        bson_iter_recurse(&iter, &name))
        while (bson_iter_next(&name))
            if (BSON_ITER_HOLDS_UTF8(&name))
                names[(*names_count)++] = bson_iter_utf8(&name, NULL);
    return names;
}

static enum mt_err read_each(const struct hosts *hosts, struct mt_error *error)
{
    bson_t *command = BCON_NEW("distinct", BCON_UTF8(mongoc_collection_get_name(hosts->store->log)),
                               "key", "_id.h");
    bson_t reply;
    bson_error_t failure;
    const char **names = NULL;
    size_t names_count = 0;
    enum mt_err err = MT_OK;

    if (!mongoc_collection_read_command_with_opts(hosts->store->log, command, NULL, NULL, &reply,
                                                  &failure)) {
        err = fail(hosts, &failure, &reply, error);
    } else {
        names = names_of(&reply, &names_count);
        if (names != NULL)
            qsort(names, names_count, sizeof names[0], compare_names);
        else
            err = out_of_memory(hosts, error);
    }
    for (size_t i = 0; names != NULL && err == MT_OK && i < names_count; i++)
        err = read_host(hosts, names[i], error);
    free(names);
    bson_destroy(&reply);
    bson_destroy(command);
    return err;
}

/* the records of a host come one after the other, oldest first */
static enum mt_err read_whole(const struct hosts *hosts, struct mt_error *error)
{
    mongoc_cursor_t *cursor = find(hosts, NULL, 1, 0);
    struct mt_host host = {0};
    struct mt_record record;
    bool found;
    enum mt_err err;

    do {
        err = next(hosts, cursor, &record, &found, error);
        if (err == MT_OK && host.records > 0 && (!found || strcmp(host.name, record.host) != 0)) {
            err = hosts->emit(hosts->context, &host, error);
            host = (struct mt_host){0};
        }
        if (err != MT_OK || !found)
            break;
        if (host.records++ == 0) {
            memcpy(host.name, record.host, sizeof host.name);
            host.first = record.timestamp;
        }
        host.last = record.timestamp;
        host.future += record.timestamp > hosts->latest;
        host.interval_s = record.value[MT_FIELD_INTERVAL_S];
    } while (true);
    mongoc_cursor_destroy(cursor);
    return err;
}

enum mt_err mongodb_hosts(struct mt_store *base, int64_t now_s, mt_emit_host *emit, void *context,
                          struct mt_error *error)
{
    struct hosts hosts = {.store = (struct mongodb_store *)base,
                          .latest = now_s < MT_TIMESTAMP_MAX ? now_s + MT_FUTURE_SLACK_S
                                                             : MT_TIMESTAMP_MAX,
                          .emit = emit,
                          .context = context};
    int64_t records = 0;
    enum mt_err err = count(&hosts, NULL, &records, error);

    if (err != MT_OK)
        return err;
    return records <= SMALL_STORE ? read_whole(&hosts, error) : read_each(&hosts, error);
}
