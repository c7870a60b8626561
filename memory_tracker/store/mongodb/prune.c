#include "store/mongodb/query.h"

enum { SLICE = 1000 };

/* the second of the record with `skip` older ones; *found false if there are not as many */
static enum mt_err find_second(const struct mongodb_store *store, int64_t before, int64_t skip,
                               int64_t *second, bool *found, struct mt_error *error)
{
    struct mt_query query = {.to = before};
    struct mongodb_bounds bounds = {0};
    bson_t filter = BSON_INITIALIZER;
    bson_t options = BSON_INITIALIZER;
    bson_t projection;
    struct mongodb_key key;
    mongoc_cursor_t *cursor;
    const bson_t *document;
    const bson_t *reply = NULL;
    bson_error_t failure;
    enum mt_err err = MT_OK;

    mongodb_query_filter(&query, &bounds, &filter);
    mongodb_query_options(&query, MT_OLDEST_FIRST, skip, 1, 1, &options);
    BSON_APPEND_DOCUMENT_BEGIN(&options, "projection", &projection);
    mongodb_key_projection(&projection);
    bson_append_document_end(&options, &projection);
    cursor = mongoc_collection_find_with_opts(store->log, &filter, &options, NULL);
    *found = mongoc_cursor_next(cursor, &document);
    if (*found && mongodb_read_key(document, &key))
        *second = key.timestamp;
    else if (*found)
        err = mt_error_set(error, MT_ERR_CORRUPT,
                           "store %s: prune: a document's _id is none of a record; run "
                           "memory-tracker verify",
                           store->name);
    else if (mongoc_cursor_error_document(cursor, &failure, &reply))
        err = mongodb_fail(store, "prune", &failure, reply, error);
    mongoc_cursor_destroy(cursor);
    bson_destroy(&options);
    bson_destroy(&filter);
    return err;
}

/* {writeConcern: majority}: a generation that a failover takes back would bring old places back */
static void append_majority(const struct mongodb_store *store, bson_t *options)
{
    mongoc_write_concern_t *concern = mongoc_write_concern_new();

    mongoc_write_concern_set_wmajority(concern, store->timeout_ms);
    mongoc_write_concern_set_journal(concern, true);
    (void)mongoc_write_concern_append(concern, options);
    mongoc_write_concern_destroy(concern);
}

/* random, so that a store restored from a backup never comes to one that a reader knows */
static enum mt_err change_generation(const struct mongodb_store *store, struct mt_error *error)
{
    bson_t *filter = BCON_NEW("_id", "memory_log");
    bson_t *update = BCON_NEW("$set", "{", "generation", BCON_INT64(mongodb_new_generation()), "}");
    bson_t options = BSON_INITIALIZER;
    bson_t reply;
    bson_error_t failure;
    enum mt_err err = MT_OK;

    append_majority(store, &options);
    if (!mongoc_collection_update_one(store->state, filter, update, &options, &reply, &failure))
        err = mongodb_fail(store, "prune", &failure, &reply, error);
    bson_destroy(&reply);
    bson_destroy(&options);
    bson_destroy(update);
    bson_destroy(filter);
    return err;
}

static enum mt_err delete_before(const struct mongodb_store *store, int64_t before, int64_t *pruned,
                                 struct mt_error *error)
{
    bson_t *filter = BCON_NEW("_id.t", "{", "$lt", BCON_INT64(before), "}");
    bson_t reply;
    bson_iter_t iter;
    bson_error_t failure;
    enum mt_err err = MT_OK;

    if (!mongoc_collection_delete_many(store->log, filter, NULL, &reply, &failure))
        err = mongodb_fail(store, "prune", &failure, &reply, error);
    /* a write concern that was not met comes with the count of what was done */
    if (bson_iter_init_find(&iter, &reply, "deletedCount") && BSON_ITER_HOLDS_NUMBER(&iter))
        *pruned += bson_iter_as_int64(&iter);
    bson_destroy(&reply);
    bson_destroy(filter);
    return err;
}

static enum mt_err delete_slices(const struct mongodb_store *store, int64_t before, int64_t *pruned,
                                 struct mt_error *error)
{
    bool found = true;
    enum mt_err err = MT_OK;

    while (err == MT_OK && found) {
        int64_t second = 0;

        err = find_second(store, before, SLICE, &second, &found, error);
        if (err == MT_OK && found)
            err = delete_before(store, second + 1, pruned, error);
    }
    return err == MT_OK ? delete_before(store, before, pruned, error) : err;
}

/*
 * Places lose their meaning before the first record goes, and again after the last: one that was
 * given in between knows of records that are gone. Each slice is a command of its own, short enough
 * for its timeout and for whoever waits behind it.
 */
enum mt_err mongodb_prune(struct mt_store *base, int64_t before, int64_t *pruned,
                          struct mt_error *error)
{
    struct mongodb_store *store = (struct mongodb_store *)base;
    int64_t oldest = 0;
    bool found = false;
    enum mt_err err;
    enum mt_err last;

    *pruned = 0;
    if (store->read_only)
        return mt_error_set(error, MT_ERR_READ_ONLY, "store %s: prune: opened read-only",
                            store->name);
    if (before <= 0)
        return MT_OK;
    err = find_second(store, before, 0, &oldest, &found, error);
    if (err != MT_OK || !found)
        return err;
    err = change_generation(store, error);
    if (err != MT_OK)
        return err;
    err = delete_slices(store, before, pruned, error);
    last = change_generation(store, err == MT_OK ? error : NULL);
    return err == MT_OK ? last : err;
}
