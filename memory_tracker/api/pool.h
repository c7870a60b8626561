/* The pool of workers that ask the store: the loops never wait for it. */
#ifndef MT_API_POOL_H
#define MT_API_POOL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "api/http.h"
#include "api/threads.h"

/* One job on its way through the pool; embedded in what its submitter keeps about it. */
struct mt_work {
    struct mt_job job;                  /* filled by the submitter, owned by the pool until done */
    struct mt_response response;        /* filled by a worker */
    struct mt_gauge cancelled;          /* not 0: nobody waits for the answer any more */
    void (*done)(struct mt_work *work); /* called in the worker's thread, last */
    struct mt_work *next;               /* the pool's */
};

/*
 * Who stands in for a store that is away, so that no worker waits for it. All of it may be called
 * by any thread until the pool is stopped; without a stand-in is_away is NULL, as are the others.
 */
struct mt_standby {
    void *context;
    /* The store is known to be away: jobs need not try it, but for those that write if *why, which
     * is set then, is MISSING. */
    bool (*is_away)(void *context, struct mt_error *why);
    /* Answers a job instead of the store. False, *response untouched, if it cannot. */
    bool (*answer)(void *context, const struct mt_job *job, struct mt_packer *packer,
                   struct mt_response *response);
    /* What became of a job that tried the store; code MT_OK: all went well. Logs it. */
    void (*tell)(void *context, const struct mt_error *outcome);
    /* Has another value each time the store came back: handles from before are to be replaced. */
    int64_t (*returns)(void *context);
};

struct mt_pool_options {
    size_t workers;
    size_t queue_limit;  /* most jobs that wait for a worker */
    const char *store;   /* URI; must live as long as the pool */
    int busy_wait_ms;    /* see mt_store_options */
    int timeout_ms;      /* see mt_store_options */
    int reopen_after_ms; /* least time between two attempts of a worker to open the store */
    struct mt_standby standby;
};

struct mt_pool; /* from mt_pool_start, ended by mt_pool_stop; any thread may submit */

/*
 * mt_pool_start: starts the workers. Each opens the store for itself, read-only, when its first job
 * comes, a second time for writing when its first job that writes does, and anew after a failure;
 * that the store is missing is an answer of the job, not an error here. FAILED if there are no
 * threads to be had.
 */
enum mt_err mt_pool_start(const struct mt_pool_options *options, struct mt_pool **pool,
                          struct mt_error *error);

/*
 * mt_pool_submit: queues work, which must live until its done was called. Quick work passes large
 * work (is_large of its job), which still gets its turn. False, and done is not
 * called, if the queue is full. A cancelled job and one whose deadline passed in the queue are done
 * without having run.
 */
bool mt_pool_submit(struct mt_pool *pool, struct mt_work *work);

/* mt_pool_stop: does what is queued, ends the workers and frees the pool. Accepts NULL. */
void mt_pool_stop(struct mt_pool *pool);

#endif
