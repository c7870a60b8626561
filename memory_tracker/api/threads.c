#include "api/threads.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "api/store_log.h"
#include "base/clock.h"

void mt_threads_block_signals(void)
{
    static const int kept[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, SIGTRAP, SIGSYS, SIGTSTP};
    sigset_t blocked;

    (void)sigfillset(&blocked);
    for (size_t i = 0; i < sizeof kept / sizeof kept[0]; i++)
        (void)sigdelset(&blocked, kept[i]);
    (void)pthread_sigmask(SIG_SETMASK, &blocked, NULL);
}

int64_t mt_gauge_get(const struct mt_gauge *gauge)
{
    return atomic_load(&gauge->value);
}

void mt_gauge_set(struct mt_gauge *gauge, int64_t value)
{
    atomic_store(&gauge->value, value);
}

void mt_gauge_add(struct mt_gauge *gauge, int64_t amount)
{
    atomic_fetch_add(&gauge->value, amount);
}

bool mt_gauge_try_add(struct mt_gauge *gauge, int64_t amount, int64_t limit)
{
    int64_t seen = atomic_load(&gauge->value);

    do {
        if (amount > limit - seen)
            return false;
    } while (!atomic_compare_exchange_weak(&gauge->value, &seen, seen + amount));
    return true;
}

bool mt_gauge_drop(struct mt_gauge *gauge)
{
    return atomic_fetch_sub(&gauge->value, 1) == 1;
}

void *mt_slot_get(const struct mt_slot *slot)
{
    return atomic_load_explicit(&slot->value, memory_order_acquire);
}

void *mt_slot_fill(struct mt_slot *slot, void *value)
{
    void *present = NULL;

    return atomic_compare_exchange_strong(&slot->value, &present, value) ? value : present;
}

void mt_gauge_raise(struct mt_gauge *gauge, int64_t value)
{
    int64_t seen = atomic_load(&gauge->value);

    while (seen < value && !atomic_compare_exchange_weak(&gauge->value, &seen, value))
        continue;
}

int64_t mt_gauge_take(struct mt_gauge *gauge)
{
    return atomic_exchange(&gauge->value, 0);
}

bool mt_letterbox_is_full(const struct mt_letterbox *box)
{
    return atomic_load(&box->thing) != NULL;
}

void *mt_letterbox_swap(struct mt_letterbox *box, void *thing)
{
    return atomic_exchange(&box->thing, thing);
}

struct mt_guard {
    pthread_rwlock_t lock;
};

struct mt_guard *mt_guard_new(void)
{
    struct mt_guard *guard = malloc(sizeof *guard);
    pthread_rwlockattr_t attributes;

    if (guard == NULL)
        return NULL;
    (void)pthread_rwlockattr_init(&attributes);
    /* by default readers that come and go without a pause would keep a writer out for ever */
    (void)pthread_rwlockattr_setkind_np(&attributes, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
    (void)pthread_rwlock_init(&guard->lock, &attributes);
    (void)pthread_rwlockattr_destroy(&attributes);
    return guard;
}

void mt_guard_free(struct mt_guard *guard)
{
    if (guard != NULL)
        (void)pthread_rwlock_destroy(&guard->lock);
    free(guard);
}

void mt_guard_read(struct mt_guard *guard)
{
    (void)pthread_rwlock_rdlock(&guard->lock);
}

void mt_guard_write(struct mt_guard *guard)
{
    (void)pthread_rwlock_wrlock(&guard->lock);
}

void mt_guard_leave(struct mt_guard *guard)
{
    (void)pthread_rwlock_unlock(&guard->lock);
}

struct mt_ticker {
    void (*tick)(void *context);
    void *context;
    int every_ms;
    pthread_t thread;
    pthread_mutex_t mu;
    pthread_cond_t changed;
    bool hurries;             /* guarded by mu */
    struct mt_gauge stopping; /* changes with mu held */
};

static struct timespec from_now(int64_t after_ms)
{
    int64_t until_ms = mt_clock_monotonic_ms() + after_ms;

    return (struct timespec){.tv_sec = until_ms / 1000, .tv_nsec = until_ms % 1000 * 1000000};
}

/* Until the next tick is due. False: there is none. */
static bool wait_for_tick(struct mt_ticker *ticker)
{
    struct timespec until = from_now(ticker->every_ms);
    int failure = 0;

    (void)pthread_mutex_lock(&ticker->mu);
    while (!ticker->hurries && !mt_ticker_is_stopping(ticker) && failure == 0)
        failure = pthread_cond_timedwait(&ticker->changed, &ticker->mu, &until);
    ticker->hurries = false;
    (void)pthread_mutex_unlock(&ticker->mu);
    return !mt_ticker_is_stopping(ticker);
}

static void *run_ticker(void *context)
{
    struct mt_ticker *ticker = context;

    do
        ticker->tick(ticker->context);
    while (wait_for_tick(ticker));
    return NULL;
}

static void free_ticker(struct mt_ticker *ticker)
{
    (void)pthread_cond_destroy(&ticker->changed);
    (void)pthread_mutex_destroy(&ticker->mu);
    free(ticker);
}

enum mt_err mt_ticker_start(int every_ms, void (*tick)(void *context), void *context,
                            struct mt_ticker **ticker, struct mt_error *error)
{
    struct mt_ticker *new = calloc(1, sizeof *new);
    pthread_condattr_t attributes;
    int failure;

    *ticker = new;
    if (new == NULL)
        return mt_error_set(error, MT_ERR_NO_MEMORY, "out of memory for another thread");
    new->tick = tick;
    new->context = context;
    new->every_ms = every_ms;
    (void)pthread_mutex_init(&new->mu, NULL);
    (void)pthread_condattr_init(&attributes);
    (void)pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    (void)pthread_cond_init(&new->changed, &attributes);
    (void)pthread_condattr_destroy(&attributes);
    failure = pthread_create(&new->thread, NULL, run_ticker, new);
    if (failure == 0)
        return MT_OK;
    *ticker = NULL;
    free_ticker(new);
    return mt_error_set_errno(error, MT_ERR_FAILED, failure, "cannot start another thread");
}

void mt_ticker_hurry(struct mt_ticker *ticker)
{
    (void)pthread_mutex_lock(&ticker->mu);
    ticker->hurries = true;
    (void)pthread_cond_signal(&ticker->changed);
    (void)pthread_mutex_unlock(&ticker->mu);
}

bool mt_ticker_is_stopping(const struct mt_ticker *ticker)
{
    return mt_gauge_get(&ticker->stopping) != 0;
}

bool mt_ticker_rest(struct mt_ticker *ticker, int64_t rest_ms)
{
    struct timespec until = from_now(rest_ms);
    int failure = 0;

    (void)pthread_mutex_lock(&ticker->mu);
    while (!mt_ticker_is_stopping(ticker) && failure == 0)
        failure = pthread_cond_timedwait(&ticker->changed, &ticker->mu, &until);
    (void)pthread_mutex_unlock(&ticker->mu);
    return mt_ticker_is_stopping(ticker);
}

void mt_ticker_stop(struct mt_ticker *ticker)
{
    if (ticker == NULL)
        return;
    (void)pthread_mutex_lock(&ticker->mu);
    mt_gauge_set(&ticker->stopping, 1);
    (void)pthread_cond_signal(&ticker->changed);
    (void)pthread_mutex_unlock(&ticker->mu);
    (void)pthread_join(ticker->thread, NULL);
    free_ticker(ticker);
}

enum gate { GATE_SHUT, GATE_OPEN, GATE_GIVEN_UP };

struct mt_threads {
    void (*run)(struct mt_threads *threads, size_t index, void *context);
    void *context;
    size_t count;
    pthread_mutex_t mu;
    pthread_cond_t changed;
    enum gate gate;   /* guarded by mu: threads run once it is known that all of them exist */
    size_t arrived;   /* guarded by mu: threads waiting in the present meeting */
    uint64_t meeting; /* guarded by mu: meetings that took place */
};

struct member {
    struct mt_threads *threads;
    size_t index;
    pthread_t thread;
};

static void *run_member(void *context)
{
    struct member *member = context;
    struct mt_threads *threads = member->threads;
    enum gate gate;

    (void)pthread_mutex_lock(&threads->mu);
    while (threads->gate == GATE_SHUT)
        (void)pthread_cond_wait(&threads->changed, &threads->mu);
    gate = threads->gate;
    (void)pthread_mutex_unlock(&threads->mu);
    if (gate == GATE_OPEN)
        threads->run(threads, member->index, threads->context);
    return NULL;
}

static void move_gate(struct mt_threads *threads, enum gate gate)
{
    (void)pthread_mutex_lock(&threads->mu);
    threads->gate = gate;
    (void)pthread_cond_broadcast(&threads->changed);
    (void)pthread_mutex_unlock(&threads->mu);
}

enum mt_err mt_threads_run(size_t count,
                           void (*run)(struct mt_threads *threads, size_t index, void *context),
                           void *context, struct mt_error *error)
{
    struct mt_threads threads = {.run = run, .context = context, .count = count};
    struct member *members = calloc(count, sizeof *members);
    enum mt_err result = MT_OK;
    size_t started = 1;

    if (members == NULL)
        return mt_error_set(error, MT_ERR_NO_MEMORY, "out of memory for %zu threads", count);
    (void)pthread_mutex_init(&threads.mu, NULL);
    (void)pthread_cond_init(&threads.changed, NULL);
    for (; started < count; started++) {
        int failure;

        members[started] = (struct member){.threads = &threads, .index = started};
        failure = pthread_create(&members[started].thread, NULL, run_member, &members[started]);
        if (failure != 0) {
            result =
                mt_error_set_errno(error, MT_ERR_FAILED, failure,
                                   "cannot start %zu threads; give a smaller --threads", count);
            break;
        }
    }
    move_gate(&threads, result == MT_OK ? GATE_OPEN : GATE_GIVEN_UP);
    if (result == MT_OK)
        run(&threads, 0, context);
    while (--started > 0)
        (void)pthread_join(members[started].thread, NULL);
    (void)pthread_cond_destroy(&threads.changed);
    (void)pthread_mutex_destroy(&threads.mu);
    free(members);
    return result;
}

void mt_threads_meet(struct mt_threads *threads)
{
    uint64_t meeting;

    (void)pthread_mutex_lock(&threads->mu);
    meeting = threads->meeting;
    if (++threads->arrived == threads->count) {
        threads->arrived = 0;
        threads->meeting++;
        (void)pthread_cond_broadcast(&threads->changed);
    }
    while (threads->meeting == meeting)
        (void)pthread_cond_wait(&threads->changed, &threads->mu);
    (void)pthread_mutex_unlock(&threads->mu);
}

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
