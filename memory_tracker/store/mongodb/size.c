#include "store/mongodb/mongodb.h"

/*
 * What the documents take before the engine compresses them: that is exact at once. What the files
 * take follows a removal a minute later, at the next checkpoint, and who removes days until a size
 * is reached would remove more than he has to.
 */
enum mt_err mongodb_size(struct mt_store *base, int64_t *bytes, struct mt_error *error)
{
    struct mongodb_store *store = (struct mongodb_store *)base;
    bson_t *command = BCON_NEW("collStats", BCON_UTF8(mongoc_collection_get_name(store->log)));
    bson_t reply;
    bson_iter_t iter;
    bson_error_t failure;
    enum mt_err err = MT_OK;

    mongodb_begin(store);
    /* not as a read: the command takes no read concern */
    if (!mongoc_collection_command_simple(store->log, command, NULL, &reply, &failure))
        err = mongodb_fail(store, "size", &failure, &reply, error);
    else if (!bson_iter_init_find(&iter, &reply, "size") || !BSON_ITER_HOLDS_NUMBER(&iter))
        err = mt_error_set(error, MT_ERR_UNAVAILABLE,
                           "store %s: size: the server's answer to collStats has no size",
                           store->name);
    else
        *bytes = bson_iter_as_int64(&iter);
    mongodb_end(store);
    bson_destroy(&reply);
    bson_destroy(command);
    return err;
}
