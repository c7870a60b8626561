/* What a kind of store implements; included by store.c and the kinds only. The contract is
 * store.h's. */
#ifndef MT_STORE_OPS_H
#define MT_STORE_OPS_H

#include "store/store.h"

struct mt_store_ops {
    const char *scheme; /* with the colon: "sqlite:" */
    enum mt_err (*open)(const char *uri, const struct mt_store_options *options,
                        struct mt_store **store, struct mt_error *error);
    void (*close)(struct mt_store *store);
    enum mt_err (*append)(struct mt_store *store, const struct mt_record *records, size_t count,
                          enum mt_on_conflict on_conflict, struct mt_outcome *outcomes,
                          struct mt_error *error);
    enum mt_err (*scan)(struct mt_store *store, const struct mt_query *query, mt_emit *emit,
                        void *context, struct mt_error *error);
    enum mt_err (*token)(struct mt_store *store, struct mt_token *token, struct mt_error *error);
    enum mt_err (*changes)(struct mt_store *store, struct mt_token *token, size_t limit,
                           mt_emit *emit, void *context, bool *reset, struct mt_error *error);
    enum mt_err (*hosts)(struct mt_store *store, int64_t now_s, mt_emit_host *emit, void *context,
                         struct mt_error *error);
    enum mt_err (*prune)(struct mt_store *store, int64_t before, int64_t *pruned,
                         struct mt_error *error);
    enum mt_err (*ping)(struct mt_store *store, struct mt_error *error);
    enum mt_err (*verify)(struct mt_store *store, bool deep, mt_report *report, void *context,
                          int64_t *findings, struct mt_error *error);
};

/* The head of every kind's own struct. */
struct mt_store {
    const struct mt_store_ops *ops;
};

extern const struct mt_store_ops mt_sqlite_ops;

#endif
