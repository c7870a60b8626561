#include "api/pool.h"

#include <pthread.h>
#include <stdlib.h>

#include "api/store_log.h"
#include "base/clock.h"

/* Quick work is taken first, but not so often in a row that large work starves. */
enum lane { LANE_QUICK, LANE_LARGE, LANE_COUNT };
enum { QUICK_IN_A_ROW = 16 };

/* What a worker opens the store for. */
enum purpose { READING, WRITING, PURPOSE_COUNT };

struct mt_pool {
    struct mt_pool_options options;
    pthread_mutex_t mu;
    pthread_cond_t changed;
    struct {
        struct mt_work *first, *last;
    } lanes[LANE_COUNT]; /* guarded by mu */
    size_t waiting;      /* guarded by mu: in all lanes */
    unsigned passed;     /* guarded by mu: quick work taken since large work waits */
    bool stopping;       /* guarded by mu */
    size_t started;      /* workers; only used by the thread that starts and stops */
    pthread_t *threads;
    struct mt_gauge openings; /* how often a worker opened the store */
    struct mt_store_log *logs[PURPOSE_COUNT];
};

/* A worker's own way to the store. */
struct handle {
    struct mt_store *store;
    struct mt_error open_error; /* why store is NULL */
    int64_t opened_ms;          /* when it last tried */
    int64_t openings;           /* the pool's, just before that */
    int64_t returns;            /* the stand-in's, just before that */
    bool tried;
};

/* Owned by its worker's thread. */
struct worker {
    struct mt_pool *pool;
    struct handle handles[PURPOSE_COUNT];
    struct mt_packer packer;
};

static bool is_cancelled(void *context)
{
    const struct mt_work *work = context;

    return mt_gauge_get(&work->cancelled) != 0;
}

/* That a store takes no records says nothing of whether it answers: the stand-in does not hear it.
 */
static void tell(const struct mt_pool *pool, enum purpose purpose, const struct mt_error *outcome)
{
    const struct mt_standby *standby = &pool->options.standby;

    if (standby->tell != NULL && purpose == READING)
        standby->tell(standby->context, outcome);
    else
        mt_store_log_tell(pool->logs[purpose], outcome);
}

static int64_t count_returns(const struct mt_pool *pool)
{
    const struct mt_standby *standby = &pool->options.standby;

    return standby->returns != NULL ? standby->returns(standby->context) : 0;
}

static void close_store(struct handle *handle)
{
    mt_store_close(handle->store);
    handle->store = NULL;
}

static void open_store(struct mt_pool *pool, struct handle *handle, enum purpose purpose)
{
    const struct mt_pool_options *options = &pool->options;
    struct mt_store_options how = {.read_only = purpose == READING,
                                   .busy_wait_ms = options->busy_wait_ms,
                                   .timeout_ms = options->timeout_ms};
    int64_t now_ms = mt_clock_monotonic_ms();
    int64_t returns = count_returns(pool);

    if (handle->returns != returns) {
        close_store(handle);
        handle->tried = false;
    }
    /* where another worker got through, so will this one: after a /readyz that says 200, no worker
     * goes on saying 503 for its turn to come; and a push may have made the store */
    if (handle->store != NULL ||
        (handle->tried && handle->openings == mt_gauge_get(&pool->openings) &&
         now_ms - handle->opened_ms < options->reopen_after_ms))
        return;
    handle->tried = true;
    handle->opened_ms = now_ms;
    handle->openings = mt_gauge_get(&pool->openings);
    handle->returns = returns;
    if (mt_store_open(options->store, &how, &handle->store, &handle->open_error) == MT_OK)
        mt_gauge_add(&pool->openings, 1);
}

/* The store did not answer in time, or not at all: recent history may do. */
static bool stand_in(struct worker *worker, struct mt_work *work)
{
    const struct mt_standby *standby = &worker->pool->options.standby;

    return standby->answer != NULL &&
           standby->answer(standby->context, &work->job, &worker->packer, &work->response);
}

/* The answer is known, and only takes some time to put into its form. */
static bool answer_from_view(struct worker *worker, struct mt_work *work)
{
    const struct mt_job *job = &work->job;

    return job->view != NULL && job->from_view(job, job->view, &worker->packer, &work->response);
}

static void run_job(struct worker *worker, struct mt_work *work)
{
    enum purpose purpose = work->job.writes ? WRITING : READING;
    struct handle *handle = &worker->handles[purpose];
    struct mt_error error = {0};

    work->job.cancelled = is_cancelled;
    work->job.cancel_context = work;
    open_store(worker->pool, handle, purpose);
    work->job.run(&work->job, handle->store, handle->store == NULL ? &handle->open_error : NULL,
                  &work->response, &error);
    if (error.code == MT_ERR_CANCELLED)
        return;
    tell(worker->pool, purpose, &error);
    if (mt_err_http_status(error.code) == 503)
        (void)stand_in(worker, work);
    /* a handle that failed may be one on a file that is gone: the next job gets a new one */
    if (error.code != MT_OK && handle->store != NULL &&
        mt_clock_monotonic_ms() - handle->opened_ms >= worker->pool->options.reopen_after_ms)
        close_store(handle);
}

/* A store that only is not made yet is no reason to turn away who makes it. */
static bool is_away(const struct mt_pool *pool, const struct mt_job *job, struct mt_error *why)
{
    const struct mt_standby *standby = &pool->options.standby;

    return standby->is_away != NULL && standby->is_away(standby->context, why) &&
           !(job->writes && why->code == MT_ERR_MISSING);
}

static void do_work(struct worker *worker, struct mt_work *work)
{
    struct mt_error why = {0};

    mt_response_init(&work->response);
    if (is_cancelled(work))
        mt_response_fail(&work->response, MT_ERR_CANCELLED);
    else if (answer_from_view(worker, work)) {
        /* the store is not needed */
    } else if (is_away(worker->pool, &work->job, &why)) {
        struct mt_error known = {0};

        if (!stand_in(worker, work))
            work->job.run(&work->job, NULL, &why, &work->response, &known);
    } else if (mt_clock_monotonic_ms() < work->job.deadline_ms)
        run_job(worker, work);
    else if (!stand_in(worker, work))
        mt_response_fail(&work->response, MT_ERR_DEADLINE);
    work->done(work);
}

/* with mu held */
static enum lane choose_lane(struct mt_pool *pool)
{
    if (pool->lanes[LANE_LARGE].first == NULL)
        return LANE_QUICK;
    if (pool->lanes[LANE_QUICK].first != NULL && pool->passed < QUICK_IN_A_ROW) {
        pool->passed++;
        return LANE_QUICK;
    }
    pool->passed = 0;
    return LANE_LARGE;
}

static struct mt_work *take_work(struct mt_pool *pool)
{
    struct mt_work *work = NULL;

    (void)pthread_mutex_lock(&pool->mu);
    while (pool->waiting == 0 && !pool->stopping)
        (void)pthread_cond_wait(&pool->changed, &pool->mu);
    if (pool->waiting > 0) {
        enum lane lane = choose_lane(pool);

        work = pool->lanes[lane].first;
        pool->lanes[lane].first = work->next;
        pool->waiting--;
    }
    (void)pthread_mutex_unlock(&pool->mu);
    return work;
}

static void *run_worker(void *context)
{
    struct worker worker = {.pool = context};
    struct mt_work *work;

    while ((work = take_work(worker.pool)) != NULL)
        do_work(&worker, work);
    for (enum purpose i = 0; i < PURPOSE_COUNT; i++)
        mt_store_close(worker.handles[i].store);
    mt_packer_fini(&worker.packer);
    return NULL;
}

static void free_pool(struct mt_pool *pool)
{
    for (enum purpose i = 0; i < PURPOSE_COUNT; i++)
        mt_store_log_free(pool->logs[i]);
    free(pool->threads);
    free(pool);
}

static struct mt_pool *new_pool(size_t workers)
{
    struct mt_pool *pool = calloc(1, sizeof *pool);

    if (pool == NULL)
        return NULL;
    pool->threads = calloc(workers, sizeof *pool->threads);
    pool->logs[READING] = mt_store_log_new("the store answers again");
    pool->logs[WRITING] = mt_store_log_new("the store takes records again");
    if (pool->threads != NULL && pool->logs[READING] != NULL && pool->logs[WRITING] != NULL)
        return pool;
    free_pool(pool);
    return NULL;
}

enum mt_err mt_pool_start(const struct mt_pool_options *options, struct mt_pool **pool,
                          struct mt_error *error)
{
    struct mt_pool *new = new_pool(options->workers);
    int failure = 0;

    if (new == NULL)
        return mt_error_set(error, MT_ERR_NO_MEMORY, "out of memory for %zu workers",
                            options->workers);
    new->options = *options;
    (void)pthread_mutex_init(&new->mu, NULL);
    (void)pthread_cond_init(&new->changed, NULL);
    for (; new->started < options->workers &&failure == 0; new->started++)
        failure = pthread_create(&new->threads[new->started], NULL, run_worker, new);
    if (failure != 0) {
        new->started--;
        mt_pool_stop(new);
        return mt_error_set_errno(error, MT_ERR_FAILED, failure,
                                  "cannot start %zu workers; give a smaller --workers",
                                  options->workers);
    }
    *pool = new;
    return MT_OK;
}

bool mt_pool_submit(struct mt_pool *pool, struct mt_work *work)
{
    enum lane lane = work->job.is_large ? LANE_LARGE : LANE_QUICK;
    bool room;

    work->next = NULL;
    (void)pthread_mutex_lock(&pool->mu);
    room = pool->waiting < pool->options.queue_limit;
    if (room) {
        if (pool->lanes[lane].first == NULL)
            pool->lanes[lane].first = work;
        else
            pool->lanes[lane].last->next = work;
        pool->lanes[lane].last = work;
        pool->waiting++;
        (void)pthread_cond_signal(&pool->changed);
    }
    (void)pthread_mutex_unlock(&pool->mu);
    return room;
}

void mt_pool_stop(struct mt_pool *pool)
{
    if (pool == NULL)
        return;
    (void)pthread_mutex_lock(&pool->mu);
    pool->stopping = true;
    (void)pthread_cond_broadcast(&pool->changed);
    (void)pthread_mutex_unlock(&pool->mu);
    for (size_t i = 0; i < pool->started; i++)
        (void)pthread_join(pool->threads[i], NULL);
    (void)pthread_cond_destroy(&pool->changed);
    (void)pthread_mutex_destroy(&pool->mu);
    free_pool(pool);
}
