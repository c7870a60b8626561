/*
 * The outbox: an SQLite file of this host in which records wait while their store does not take
 * them. Each keeps its destination. Bounded: when it is full the oldest are kept and the new one is
 * refused, and counted. A handle is used by one thread; several processes may use one file.
 */
#ifndef MT_STORE_SPOOL_H
#define MT_STORE_SPOOL_H

#include "record/record.h"
#include "store/store.h"

struct mt_spool; /* from mt_spool_open, closed by mt_spool_close */

/* mt_spool_exists: there is a file at path, so that something may be waiting. Costs one stat(2). */
bool mt_spool_exists(const char *path);

/* mt_spool_is_missing: there is certainly none, as opposed to one that may not be looked at. */
bool mt_spool_is_missing(const char *path);

/* mt_spool_open: opens or makes the outbox, the directory too if its parent is ours. Errors as
 * store.h. */
enum mt_err mt_spool_open(const char *path, int busy_wait_ms, struct mt_spool **spool,
                          struct mt_error *error);
void mt_spool_close(struct mt_spool *spool); /* accepts NULL */

/* mt_spool_open_reader: opens the outbox to look at it only; makes nothing: MISSING. */
enum mt_err mt_spool_open_reader(const char *path, int busy_wait_ms, struct mt_spool **spool,
                                 struct mt_error *error);

/*
 * mt_spool_put: durable when it returns MT_OK. At most limit records wait; when there are that
 * many, the record is not taken, the drop is counted in the file, and the result is
 * OUTBOX_FULL.
 */
enum mt_err mt_spool_put(struct mt_spool *spool, const char *destination,
                         const struct mt_record *record, int64_t limit, struct mt_error *error);

/* mt_spool_count: how many records wait, for whatever destination. */
enum mt_err mt_spool_count(struct mt_spool *spool, int64_t *waiting, struct mt_error *error);

/* How much waits, by destination or for all (destination NULL), and how many were ever dropped. */
struct mt_spool_status {
    int64_t waiting;   /* for the destination asked for */
    int64_t elsewhere; /* for other destinations */
    int64_t rejected;  /* set aside: the store refused them for good */
    int64_t dropped;   /* refused since the file was made, for want of room */
    int64_t oldest;    /* timestamp of the oldest waiting record, 0 if none */
};
enum mt_err mt_spool_status(struct mt_spool *spool, const char *destination,
                            struct mt_spool_status *status, struct mt_error *error);

/* A delivery: what to deliver where and for how long, and then what became of it. */
struct mt_spool_delivery {
    const char *destination;
    struct mt_store *store;
    int64_t deadline_ms; /* mt_clock_monotonic_ms after which no batch begins */
    int64_t slow_ms;     /* a batch that took longer is followed by a smaller one; 0: none is */

    /* asked before each batch, true ends with CANCELLED; may be NULL */
    bool (*cancelled)(void *context);
    /* told of each record that was moved or set aside, after it left; may be NULL */
    void (*notice)(void *context, const struct mt_record *record, const struct mt_outcome *outcome);
    void *context; /* of both */

    int64_t delivered; /* left for the store; also on failure */
    int64_t set_aside; /* refused by the store for good; also on failure */
};

/*
 * mt_spool_deliver: appends what waits for the destination to its store, oldest first, in batches
 * that grow to MT_SPOOL_BATCH records, until nothing waits or the deadline has passed; either is
 * MT_OK. A record leaves the outbox only after the store acknowledged it. What the store rejects is
 * set aside with its reason. A batch that is REJECTED as a whole is tried in ever smaller ones; a
 * single record is set aside for that only once the store accepted another one: a store that takes
 * nothing at all is the one at fault, and REJECTED is the result. A second deliverer at the same
 * time is harmless: appends are idempotent.
 */
enum { MT_SPOOL_BATCH = 500 };
enum mt_err mt_spool_deliver(struct mt_spool *spool, struct mt_spool_delivery *delivery,
                             struct mt_error *error);

/* What one destination has in the outbox. */
struct mt_spool_place {
    const char *destination; /* borrowed until emit returns */
    int64_t waiting, set_aside;
    int64_t oldest, newest; /* timestamps of what waits, Unix s; 0 if nothing does */
};

/* mt_spool_places: every destination that records wait for or were set aside for, by name. */
typedef enum mt_err mt_emit_place(void *context, const struct mt_spool_place *place,
                                  struct mt_error *error);
enum mt_err mt_spool_places(struct mt_spool *spool, mt_emit_place *emit, void *context,
                            struct mt_error *error);

/*
 * mt_spool_tell_others: what waits for other destinations than this one, and what to do about it,
 * as words for a log line; "" if nothing does. Cut to size.
 */
enum mt_err mt_spool_tell_others(struct mt_spool *spool, const char *destination, char *text,
                                 size_t size, struct mt_error *error);

/* A record that was set aside; strings are borrowed until emit returns. */
struct mt_spool_reject {
    int64_t id;
    const char *destination, *host, *reason;
    int64_t timestamp;
};

/* mt_spool_rejects: what was set aside, in the order in which it was put into the outbox. */
typedef enum mt_err mt_emit_reject(void *context, const struct mt_spool_reject *reject,
                                   struct mt_error *error);
enum mt_err mt_spool_rejects(struct mt_spool *spool, mt_emit_reject *emit, void *context,
                             struct mt_error *error);

/*
 * mt_spool_retry: all that was set aside waits again, at its old place in the order, beyond any
 * limit. mt_spool_discard: all that was set aside is gone for good. mt_spool_readdress: all that
 * waits for the destination `from` waits for `to`. *count says how many records that were.
 */
enum mt_err mt_spool_retry(struct mt_spool *spool, int64_t *count, struct mt_error *error);
enum mt_err mt_spool_discard(struct mt_spool *spool, int64_t *count, struct mt_error *error);
enum mt_err mt_spool_readdress(struct mt_spool *spool, const char *from, const char *to,
                               int64_t *count, struct mt_error *error);

#endif
