/*
 * The MongoDB store, shared between its files. Loaded as a module; never logs.
 *
 * Collection memory_log (or the URI's `collection`), one document per record:
 *
 *   { _id: {h: HOST, t: int64 Unix s}, arrival_us: int64, boot_id: BinData(4),  FIELD: int64 ... }
 *
 * Fields have the names of field.def; what is absent is not there. arrival_us is the server's clock
 * just before the write (isMaster's localTime, turned into us), made strictly increasing within a
 * handle, so that records of one handle keep their order. A write can be on its way for
 * MT_STORE_TIMEOUT_MOST_MS; whoever follows arrivals therefore looks back MONGODB_OVERLAP_US.
 *
 * Indexes: _id; by_time {_id.t, _id.h, arrival_us}; by_host {_id.h, _id.t, arrival_us};
 * by_arrival {arrival_us}. Collection NAME_state holds one document
 * { _id: "memory_log", version: int32, generation: int64 }, which a writer makes last, so that
 * where it is, all is. No command that MongoDB 3.6 and Amazon DocumentDB lack is used.
 */
#ifndef MT_STORE_MONGODB_MONGODB_H
#define MT_STORE_MONGODB_MONGODB_H

#include <mongoc/mongoc.h>

#include "store/ops.h"

#define MONGODB_OVERLAP_US ((int64_t)2 * MT_STORE_TIMEOUT_MOST_MS * 1000)
#define MONGODB_VERSION    1

extern const struct mt_store_ops mongodb_ops; /* module.c */

struct mongodb_seen; /* what changes() handed out lately; seen.h */

struct mongodb_store {
    struct mt_store base;
    mongoc_client_t *client;  /* single mode: no threads of the driver's */
    mongoc_collection_t *log; /* write concern and read preference are those of the URI */
    mongoc_collection_t *state;
    char *name; /* mt_store_destination: for messages, no secrets in it */
    bool read_only;
    bool was_connected; /* to some server, at some time */
    char refusal[512];  /* why no connection could be made; "": one could. Then it is a dead end. */
    int timeout_ms;     /* longest a call waits, or of long ones each of its commands */
    int64_t deadline_ms;       /* no command waits beyond it; 0: none */
    int32_t max_data_bytes;    /* largest document or batch */
    int64_t last_arrival_us;   /* of this handle's last record */
    struct mongodb_seen *seen; /* NULL until changes() or token() needs it */
};

/* error.c: what the driver said, as one of ours; what is "read", "store" ... Fills *error (which
 * then never holds a credential) and returns its code. reply may be NULL. */
enum mt_err mongodb_fail(const struct mongodb_store *store, const char *what,
                         const bson_error_t *failure, const bson_t *reply, struct mt_error *error);

/* connect.c: from begin to end all commands together take timeout_ms, else each does. For calls of
 * few commands. */
void mongodb_begin(struct mongodb_store *store);
void mongodb_end(struct mongodb_store *store);

/* state.c: looks whether all that a store needs is there; a writer makes what is not. */
enum mt_err mongodb_open_state(struct mongodb_store *store, struct mt_error *error);

/* state.c: the server's clock now, us since 1970, by isMaster. */
enum mt_err mongodb_server_time_us(struct mongodb_store *store, int64_t *now_us,
                                   struct mt_error *error);

/* state.c: the state document's generation; MISSING where there is none, NEWER_SCHEMA. */
enum mt_err mongodb_generation(struct mongodb_store *store, int64_t *generation,
                               struct mt_error *error);

/* state.c: for a store that was never at it: random, above 0. */
int64_t mongodb_new_generation(void);

/* document.c: *document is initialised, filled and destroyed by the caller afterwards. */
void mongodb_write_record(const struct mt_record *record, int64_t timestamp, int64_t arrival_us,
                          bson_t *document);

/* document.c: fields is a choice as in mt_query. Whatever stands in the document: CORRUPT names it.
 * *arrival_us may be NULL. */
enum mt_err mongodb_read_record(const struct mongodb_store *store, const bson_t *document,
                                uint64_t fields, struct mt_record *record, int64_t *arrival_us,
                                struct mt_error *error);

/* document.c: a projection of _id, boot_id and the chosen fields, into an initialised document. */
void mongodb_projection(uint64_t fields, bool with_arrival, bson_t *projection);

/* The ops; contract in store.h. */
enum mt_err mongodb_open(const char *uri, const struct mt_store_options *options,
                         struct mt_store **store, struct mt_error *error);
void mongodb_close(struct mt_store *store);
enum mt_err mongodb_append(struct mt_store *store, const struct mt_record *records, size_t count,
                           enum mt_on_conflict on_conflict, struct mt_outcome *outcomes,
                           struct mt_error *error);
enum mt_err mongodb_scan(struct mt_store *store, const struct mt_query *query, mt_emit *emit,
                         void *context, struct mt_error *error);
enum mt_err mongodb_token(struct mt_store *store, struct mt_token *token, struct mt_error *error);
enum mt_err mongodb_changes(struct mt_store *store, struct mt_token *token, size_t limit,
                            mt_emit *emit, void *context, bool *reset, struct mt_error *error);
enum mt_err mongodb_hosts(struct mt_store *store, int64_t now_s, mt_emit_host *emit, void *context,
                          struct mt_error *error);
enum mt_err mongodb_prune(struct mt_store *store, int64_t before, int64_t *pruned,
                          struct mt_error *error);
enum mt_err mongodb_size(struct mt_store *store, int64_t *bytes, struct mt_error *error);
enum mt_err mongodb_ping(struct mt_store *store, struct mt_error *error);
enum mt_err mongodb_verify(struct mt_store *store, bool deep, mt_report *report, void *context,
                           int64_t *findings, struct mt_error *error);

#endif
