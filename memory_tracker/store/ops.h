/* What a kind of store implements; included by store.c and the kinds only. The contract is
 * store.h's. */
#ifndef MT_STORE_OPS_H
#define MT_STORE_OPS_H

#include "base/version.h"
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
    /* NULL: there is nothing to seal */
    enum mt_err (*compact)(struct mt_store *store, struct mt_compaction *compaction,
                           struct mt_error *error);
    /* NULL: it cannot be told */
    enum mt_err (*size)(struct mt_store *store, int64_t *bytes, struct mt_error *error);
    /* NULL: by scan */
    enum mt_err (*aggregate)(struct mt_store *store, const struct mt_aggregation *aggregation,
                             mt_emit_bucket *emit, void *context, struct mt_error *error);
    /* NULL: there is none */
    enum mt_err (*stamp)(struct mt_store *store, uint64_t *stamp, struct mt_error *error);
    enum mt_err (*ping)(struct mt_store *store, struct mt_error *error);
    enum mt_err (*verify)(struct mt_store *store, bool deep, mt_report *report, void *context,
                          int64_t *findings, struct mt_error *error);
};

/* The head of every kind's own struct. */
struct mt_store {
    const struct mt_store_ops *ops;
};

extern const struct mt_store_ops mt_sqlite_ops;

/*
 * What a module exports under the name MT_STORE_MODULE_SYMBOL. Everything in it is static. A module
 * has its own copy of base/ and record/ inside and shares no state with the program but what passes
 * through the ops; it never logs.
 */
struct mt_store_module {
    const char *version;            /* MT_STORE_MODULE_VERSION it was built with */
    const char *fields;             /* mt_field_names it was built with */
    const struct mt_store_ops *ops; /* scheme is the longest common beginning: "mongodb" */
};

#define MT_STORE_MODULE_SYMBOL "mt_store_module"

/* Programs and modules of different builds do not understand each other's structs. */
#define MT_STORE_MODULE_VERSION  MT_VERSION " " MT_STRINGIFY(MT_STORE_MODULE_REVISION)
#define MT_STORE_MODULE_REVISION 3
#define MT_STRINGIFY(x)          MT_STRINGIFY_(x)
#define MT_STRINGIFY_(x)         #x

/* Finds the ops for a URI of a scheme that is not compiled in: CONFIG for an unknown one. */
typedef enum mt_err mt_store_finder(const char *uri, const struct mt_store_ops **ops,
                                    struct mt_error *error);

/* mt_store_set_finder: from now on; NULL, as at the start: there are no modules. */
void mt_store_set_finder(mt_store_finder *finder);

#endif
