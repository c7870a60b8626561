#include "api/threads.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

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
