#include "api/threads.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/log.h"

enum { LOG_CHANGE_MS = 1000, LOG_AGAIN_MS = 60000 };

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

struct mt_pool {
    struct mt_pool_options options;
    pthread_mutex_t mu;
    pthread_cond_t changed;
    struct {
        struct mt_work *first, *last;
    } lanes[LANE_COUNT];     /* guarded by mu */
    size_t waiting;          /* guarded by mu: in all lanes */
    unsigned passed;         /* guarded by mu: quick work taken since large work waits */
    bool stopping;           /* guarded by mu */
    enum mt_err logged_code; /* guarded by mu: what was last said about the store */
    int64_t logged_ms;       /* guarded by mu */
    size_t started;          /* workers; only used by the thread that starts and stops */
    pthread_t *threads;
    struct mt_gauge openings; /* how often a worker opened the store */
};

/* Owned by its worker's thread. */
struct worker {
    struct mt_pool *pool;
    struct mt_store *store;
    struct mt_error open_error; /* why store is NULL */
    int64_t opened_ms;          /* when it last tried */
    int64_t openings;           /* the pool's, just before that */
    bool tried;
};

static bool is_cancelled(void *context)
{
    const struct mt_work *work = context;

    return mt_gauge_get(&work->cancelled) != 0;
}

/*
 * One line when the store goes and one when it comes back, not one per worker, second and request;
 * where it comes and goes quickly, still not more than one a second.
 */
static void log_outcome(struct mt_pool *pool, const struct mt_error *error)
{
    int64_t now_ms = mt_clock_monotonic_ms();
    int64_t quiet_ms;
    bool speak;

    (void)pthread_mutex_lock(&pool->mu);
    quiet_ms = now_ms - pool->logged_ms;
    if (error->code == pool->logged_code)
        speak = error->code != MT_OK && quiet_ms >= LOG_AGAIN_MS;
    else
        speak = quiet_ms >= LOG_CHANGE_MS || pool->logged_ms == 0;
    if (speak) {
        pool->logged_code = error->code;
        pool->logged_ms = now_ms;
    }
    (void)pthread_mutex_unlock(&pool->mu);
    if (speak && error->code != MT_OK)
        mt_log_error(error);
    else if (speak)
        mt_log(MT_LOG_INFO, "the store answers again");
}

static void open_store(struct worker *worker)
{
    const struct mt_pool_options *options = &worker->pool->options;
    struct mt_store_options how = {.read_only = true, .busy_wait_ms = options->busy_wait_ms};
    int64_t now_ms = mt_clock_monotonic_ms();

    /* where another worker got through, so will this one: after a /readyz that says 200, no worker
     * goes on saying 503 for its turn to come */
    if (worker->store != NULL ||
        (worker->tried && worker->openings == mt_gauge_get(&worker->pool->openings) &&
         now_ms - worker->opened_ms < options->reopen_after_ms))
        return;
    worker->tried = true;
    worker->opened_ms = now_ms;
    worker->openings = mt_gauge_get(&worker->pool->openings);
    if (mt_store_open(options->store, &how, &worker->store, &worker->open_error) == MT_OK)
        mt_gauge_add(&worker->pool->openings, 1);
}

static void run_job(struct worker *worker, struct mt_work *work)
{
    struct mt_error error = {0};

    work->job.cancelled = is_cancelled;
    work->job.cancel_context = work;
    open_store(worker);
    work->job.run(&work->job, worker->store, worker->store == NULL ? &worker->open_error : NULL,
                  &work->response, &error);
    if (error.code != MT_ERR_CANCELLED)
        log_outcome(worker->pool, &error);
    /* a handle that failed may be one on a file that is gone: the next job gets a new one */
    if (error.code != MT_OK && error.code != MT_ERR_CANCELLED && worker->store != NULL &&
        mt_clock_monotonic_ms() - worker->opened_ms >= worker->pool->options.reopen_after_ms) {
        mt_store_close(worker->store);
        worker->store = NULL;
    }
}

static void do_work(struct worker *worker, struct mt_work *work)
{
    mt_response_init(&work->response);
    if (is_cancelled(work))
        mt_response_fail(&work->response, MT_ERR_CANCELLED);
    else if (mt_clock_monotonic_ms() >= work->job.deadline_ms)
        mt_response_fail(&work->response, MT_ERR_DEADLINE);
    else
        run_job(worker, work);
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
    mt_store_close(worker.store);
    return NULL;
}

enum mt_err mt_pool_start(const struct mt_pool_options *options, struct mt_pool **pool,
                          struct mt_error *error)
{
    struct mt_pool *new = calloc(1, sizeof *new);
    int failure = 0;

    if (new != NULL)
        new->threads = calloc(options->workers, sizeof *new->threads);
    if (new == NULL || new->threads == NULL) {
        free(new);
        return mt_error_set(error, MT_ERR_NO_MEMORY, "out of memory for %zu workers",
                            options->workers);
    }
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
    free(pool->threads);
    free(pool);
}
