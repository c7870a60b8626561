#include "store/store.h"

#include <string.h>

#include "store/aggregate.h"
#include "store/ops.h"
#include "store/stamp.h"

static const struct mt_store_ops *const kinds[] = {&mt_sqlite_ops};

/* set once by main, before threads */
static mt_store_finder *find_module;

void mt_store_set_finder(mt_store_finder *finder)
{
    find_module = finder;
}

static enum mt_err find_kind(const char *uri, const struct mt_store_ops **ops,
                             struct mt_error *error)
{
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        if (strncmp(uri, kinds[i]->scheme, strlen(kinds[i]->scheme)) == 0) {
            *ops = kinds[i];
            return MT_OK;
        }
    }
    if (find_module == NULL) {
        (void)mt_error_set(error, MT_ERR_CONFIG,
                           "store '%s': unknown kind of store; known is sqlite:PATH", uri);
        return MT_ERR_CONFIG;
    }
    return find_module(uri, ops, error);
}

enum mt_err mt_store_check(const char *uri, struct mt_error *error)
{
    const struct mt_store_ops *ops = NULL;

    return find_kind(uri, &ops, error);
}

enum mt_err mt_store_open(const char *uri, const struct mt_store_options *options,
                          struct mt_store **store, struct mt_error *error)
{
    const struct mt_store_ops *ops = NULL;
    enum mt_err err = find_kind(uri, &ops, error);

    return err == MT_OK ? ops->open(uri, options, store, error) : err;
}

void mt_store_close(struct mt_store *store)
{
    if (store != NULL)
        store->ops->close(store);
}

enum mt_err mt_store_append(struct mt_store *store, const struct mt_record *records, size_t count,
                            enum mt_on_conflict on_conflict, struct mt_outcome *outcomes,
                            struct mt_error *error)
{
    return store->ops->append(store, records, count, on_conflict, outcomes, error);
}

enum mt_err mt_store_scan(struct mt_store *store, const struct mt_query *query, mt_emit *emit,
                          void *context, struct mt_error *error)
{
    return store->ops->scan(store, query, emit, context, error);
}

enum mt_err mt_store_token(struct mt_store *store, struct mt_token *token, struct mt_error *error)
{
    return store->ops->token(store, token, error);
}

enum mt_err mt_store_changes(struct mt_store *store, struct mt_token *token, size_t limit,
                             mt_emit *emit, void *context, bool *reset, struct mt_error *error)
{
    return store->ops->changes(store, token, limit, emit, context, reset, error);
}

enum mt_err mt_store_hosts(struct mt_store *store, int64_t now_s, mt_emit_host *emit, void *context,
                           struct mt_error *error)
{
    return store->ops->hosts(store, now_s, emit, context, error);
}

enum mt_err mt_store_prune(struct mt_store *store, int64_t before, int64_t *pruned,
                           struct mt_error *error)
{
    return store->ops->prune(store, before, pruned, error);
}

enum mt_err mt_store_compact(struct mt_store *store, struct mt_compaction *compaction,
                             struct mt_error *error)
{
    compaction->days = 0;
    compaction->records = 0;
    compaction->is_done = store->ops->compact == NULL;
    return store->ops->compact == NULL ? MT_OK : store->ops->compact(store, compaction, error);
}

enum mt_err mt_store_size(struct mt_store *store, int64_t *bytes, struct mt_error *error)
{
    if (store->ops->size == NULL)
        return mt_error_set(error, MT_ERR_CONFIG, "this kind of store does not tell its size");
    return store->ops->size(store, bytes, error);
}

enum mt_err mt_store_aggregate(struct mt_store *store, const struct mt_aggregation *aggregation,
                               mt_emit_bucket *emit, void *context, struct mt_error *error)
{
    if (store->ops->aggregate != NULL)
        return store->ops->aggregate(store, aggregation, emit, context, error);
    return mt_aggregate_by_scan(store, aggregation, emit, context, error);
}

enum mt_err mt_store_stamp(struct mt_store *store, uint64_t *stamp, struct mt_error *error)
{
    if (store->ops->stamp != NULL)
        return store->ops->stamp(store, stamp, error);
    *stamp = 0;
    return MT_OK;
}

enum mt_err mt_store_ping(struct mt_store *store, struct mt_error *error)
{
    return store->ops->ping(store, error);
}

enum mt_err mt_store_verify(struct mt_store *store, bool deep, mt_report *report, void *context,
                            int64_t *findings, struct mt_error *error)
{
    return store->ops->verify(store, deep, report, context, findings, error);
}
