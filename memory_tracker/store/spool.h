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

/* mt_spool_open: opens or makes the outbox, the directory too if its parent is ours. Errors as
 * store.h. */
enum mt_err mt_spool_open(const char *path, int busy_wait_ms, struct mt_spool **spool,
                          struct mt_error *error);
void mt_spool_close(struct mt_spool *spool); /* accepts NULL */

/*
 * mt_spool_put: durable when it returns MT_OK. At most limit records wait; when there are that
 * many, the record is not taken, the drop is counted in the file, and the result is FULL.
 */
enum mt_err mt_spool_put(struct mt_spool *spool, const char *destination,
                         const struct mt_record *record, int64_t limit, struct mt_error *error);

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

/*
 * mt_spool_deliver: appends what waits for destination to store, oldest first, in batches, until
 * nothing waits or the monotonic clock passes deadline_ms. A record leaves the outbox only after
 * the store acknowledged it; what the store rejects is set aside with its reason. *delivered counts
 * what left for the store. A second deliverer at the same time is harmless: appends are idempotent.
 */
enum mt_err mt_spool_deliver(struct mt_spool *spool, const char *destination,
                             struct mt_store *store, int64_t deadline_ms, int64_t *delivered,
                             struct mt_error *error);

#endif
