#include "api/follower.h"

#include <signal.h>
#include <stdlib.h>
#include <time.h>

#include "api/store_log.h"
#include "api/view.h"
#include "api/window.h"
#include "base/clock.h"
#include "base/log.h"

enum {
    CHANGES_AT_ONCE = 4096,
    HURRY_MS = 100, /* least time between two polls that workers' errors ask for */
    SAY_AGAIN_MS = 60000,
    AWAIT_PAUSE_MS = 10,
};

struct mt_follower {
    struct mt_follower_options options;
    struct mt_store_log *log;
    struct mt_ticker *ticker;
    struct mt_gauge returns;
    struct mt_gauge answered;   /* 1: the store has answered, ever */
    struct mt_gauge polled_ms;  /* when the last poll began */
    struct mt_gauge through_ms; /* when a worker last got an answer of the store */
    /* the ticker's thread's */
    struct mt_store *store; /* NULL: not open */
    struct mt_token token;
    struct mt_batch batch;
    bool is_filled;           /* token tells where the window stands */
    struct mt_window *window; /* NULL: never filled */
    int64_t refused_ms;       /* when permission was refused, 0: it was not */
    int64_t said_ms;          /* when it last said that it cannot follow a store that answers */
    /* guarded by guard */
    struct mt_guard *guard;
    struct mt_view *view; /* NULL: never filled */
    int64_t current_ms;   /* when the window last was all there is */
    bool is_away;
    struct mt_error why;
};

static bool is_stopping(void *context)
{
    return mt_ticker_is_stopping(((const struct mt_follower *)context)->ticker);
}

static void set_away(struct mt_follower *follower, bool is_away, const struct mt_error *why)
{
    bool returns;

    mt_guard_write(follower->guard);
    returns = follower->is_away && !is_away;
    follower->is_away = is_away;
    follower->why = *why;
    /* before anybody sees that it is back: handles from before it went are not to be trusted */
    if (returns)
        mt_gauge_add(&follower->returns, 1);
    mt_guard_leave(follower->guard);
    if (returns || is_away)
        mt_store_log_tell(follower->log, why);
}

/* A window that is being filled, and where from. */
struct filling {
    struct mt_follower *follower;
    struct mt_window *window;
    int64_t now_s;
    size_t kept;  /* records that are not of the future */
    size_t count; /* of the present scan so far */
    size_t most;  /* at which to stop */
};

static enum mt_err fill_one(void *context, const struct mt_record *record, struct mt_error *error)
{
    struct filling *filling = context;
    struct mt_batch *batch = &filling->follower->batch;
    enum mt_err code = mt_batch_add(batch, record, error);

    filling->count++;
    if (code == MT_OK && batch->count >= CHANGES_AT_ONCE)
        code = mt_window_merge(filling->window, batch, filling->now_s, error);
    if (code == MT_OK && filling->count >= filling->most)
        code = mt_error_set(error, MT_ERR_CANCELLED, "enough");
    return code;
}

static enum mt_err scan(struct filling *filling, const struct mt_query *query,
                        struct mt_error *error)
{
    struct mt_follower *follower = filling->follower;
    enum mt_err code = mt_store_scan(follower->store, query, fill_one, filling, error);

    if (code == MT_ERR_CANCELLED && filling->count >= filling->most)
        code = MT_OK;
    if (code == MT_OK)
        code = mt_window_merge(filling->window, &follower->batch, filling->now_s, error);
    return code;
}

static enum mt_err scan_all(struct filling *filling, struct mt_error *error)
{
    struct mt_query past = {
        .now_s = filling->now_s,
        .limit = MT_WINDOW_RECORDS,
        .order = MT_NEWEST_FIRST,
        .fields = MT_FIELD_BIT(MT_FIELD_MEM_TOTAL) | MT_FIELD_BIT(MT_FIELD_MEM_AVAILABLE) |
                  MT_FIELD_BIT(MT_FIELD_MEM_FREE),
        .cancelled = is_stopping,
        .cancel_context = filling->follower,
    };
    struct mt_query future = past;
    enum mt_err code;

    filling->most = MT_WINDOW_RECORDS + 1;
    code = scan(filling, &past, error);
    if (code != MT_OK)
        return code;
    if (filling->count >= MT_WINDOW_RECORDS)
        mt_window_end_history(filling->window);
    future.from = filling->now_s + MT_FUTURE_SLACK_S + 1;
    future.now_s = MT_TIMESTAMP_MAX;
    future.limit = 0;
    future.order = MT_OLDEST_FIRST;
    filling->kept = filling->count;
    filling->count = 0;
    /* one more than there is room for, so that the window knows there are more */
    filling->most = MT_WINDOW_FUTURE + 1;
    return scan(filling, &future, error);
}

/* The window as it is now is what answers are made of; current as of then, if *current_ms says. */
static enum mt_err publish(struct mt_follower *follower, const int64_t *current_ms,
                           struct mt_error *error)
{
    struct mt_view *view = mt_window_publish(follower->window);
    struct mt_view *old;

    if (view == NULL)
        return mt_error_set(error, MT_ERR_NO_MEMORY, "no memory for recent records");
    mt_guard_write(follower->guard);
    old = follower->view;
    follower->view = view;
    if (current_ms != NULL)
        follower->current_ms = *current_ms;
    mt_guard_leave(follower->guard);
    mt_view_unref(old);
    return MT_OK;
}

static enum mt_err fill(struct mt_follower *follower, struct mt_error *error)
{
    struct mt_window_options options = {.records = MT_WINDOW_RECORDS, .future = MT_WINDOW_FUTURE};
    struct filling filling = {
        .follower = follower,
        .window = mt_window_new(&options),
        .now_s = mt_clock_wall_s(),
    };
    int64_t begun_ms = mt_clock_monotonic_ms();
    enum mt_err code;

    if (filling.window == NULL)
        return mt_error_set(error, MT_ERR_NO_MEMORY, "no memory for recent records");
    /* what arrives while the scan runs comes again as a change */
    code = mt_store_token(follower->store, &follower->token, error);
    if (code == MT_OK) {
        /* a long history takes its time, and workers need not wait for it */
        set_away(follower, false, error);
        mt_gauge_set(&follower->answered, 1);
        code = scan_all(&filling, error);
    }
    if (code != MT_OK) {
        mt_window_free(filling.window);
        return code;
    }
    mt_window_free(follower->window);
    follower->window = filling.window;
    code = publish(follower, &begun_ms, error);
    if (code != MT_OK)
        return code;
    mt_log(MT_LOG_INFO, "the newest %zu records are in memory, for when the store is away",
           filling.kept);
    follower->is_filled = true;
    return MT_OK;
}

static enum mt_err keep_change(void *context, const struct mt_record *record,
                               struct mt_error *error)
{
    return mt_batch_add(context, record, error);
}

/* *more: there may be further changes, or the window must be filled anew. */
static enum mt_err follow(struct mt_follower *follower, bool *more, struct mt_error *error)
{
    int64_t begun_ms = mt_clock_monotonic_ms();
    struct mt_token token = follower->token;
    bool reset = false;
    enum mt_err code = mt_store_changes(follower->store, &token, CHANGES_AT_ONCE, keep_change,
                                        &follower->batch, &reset, error);

    if (code != MT_OK)
        return code;
    *more = reset || follower->batch.count >= CHANGES_AT_ONCE;
    code = mt_window_merge(follower->window, &follower->batch, mt_clock_wall_s(), error);
    if (code == MT_OK)
        code = publish(follower, *more ? NULL : &begun_ms, error);
    follower->is_filled = code == MT_OK && !reset;
    follower->token = token;
    return code;
}

static enum mt_err open_store(struct mt_follower *follower, struct mt_error *error)
{
    struct mt_store_options how = {.read_only = true,
                                   .busy_wait_ms = follower->options.timeout_ms,
                                   .timeout_ms = follower->options.timeout_ms};

    if (follower->store != NULL)
        return MT_OK;
    return mt_store_open(follower->options.store, &how, &follower->store, error);
}

static void close_store(struct mt_follower *follower)
{
    mt_store_close(follower->store);
    follower->store = NULL;
}

static enum mt_err poll(struct mt_follower *follower, struct mt_error *error)
{
    enum mt_err code = open_store(follower, error);
    bool more = true;

    while (code == MT_OK && more && !is_stopping(follower)) {
        more = false;
        if (!follower->is_filled || mt_window_is_outrun(follower->window, mt_clock_wall_s()))
            code = fill(follower, error);
        if (code == MT_OK)
            code = follow(follower, &more, error);
    }
    return code;
}

/* Not every failure of a poll means that nobody gets an answer. Leaves in *error why nobody does.
 */
static bool is_gone(struct mt_follower *follower, struct mt_error *error)
{
    bool was_open = follower->store != NULL;
    struct mt_error again = {0};

    close_store(follower);
    if (!was_open || error->code == MT_ERR_UNAVAILABLE)
        return true;
    if (open_store(follower, &again) == MT_OK && mt_store_ping(follower->store, &again) == MT_OK)
        return false;
    *error = again;
    close_store(follower);
    return true;
}

static void complain(struct mt_follower *follower, struct mt_error *error)
{
    int64_t now_ms = mt_clock_monotonic_ms();

    if (follower->said_ms != 0 && now_ms - follower->said_ms < SAY_AGAIN_MS)
        return;
    follower->said_ms = now_ms;
    mt_error_prefix(error, "cannot keep the recent history in memory");
    mt_log_error(error);
}

/* A server logs each login that it refuses, and some lock the user out after a few. */
static bool is_refused(const struct mt_follower *follower)
{
    return follower->refused_ms != 0 &&
           mt_clock_monotonic_ms() - follower->refused_ms < follower->options.refused_pause_ms;
}

static void tick(void *context)
{
    struct mt_follower *follower = context;
    struct mt_error error = {0};
    bool is_away = false;

    if (is_refused(follower))
        return;
    follower->refused_ms = 0;
    mt_gauge_set(&follower->polled_ms, mt_clock_monotonic_ms());
    if (poll(follower, &error) != MT_OK) {
        mt_batch_fini(&follower->batch);
        if (is_stopping(follower))
            return;
        is_away = is_gone(follower, &error);
        if (error.code == MT_ERR_PERMISSION)
            follower->refused_ms = mt_clock_monotonic_ms();
        if (!is_away)
            complain(follower, &error);
        else if (mt_gauge_get(&follower->through_ms) > mt_gauge_get(&follower->polled_ms))
            /* it came back while this poll failed: nobody is to hear 503 after another's 200 */
            return;
    }
    set_away(follower, is_away, &error);
}

static bool standby_is_away(void *context, struct mt_error *why)
{
    struct mt_follower *follower = context;
    bool is_away;

    mt_guard_read(follower->guard);
    is_away = follower->is_away;
    if (is_away)
        *why = follower->why;
    mt_guard_leave(follower->guard);
    return is_away;
}

static bool standby_answer(void *context, const struct mt_job *job, struct mt_response *response)
{
    struct mt_follower *follower = context;
    int64_t age_ms;
    bool answered;

    if (job->from_window == NULL)
        return false;
    mt_guard_read(follower->guard);
    age_ms = mt_clock_monotonic_ms() - follower->current_ms;
    answered = follower->view != NULL && age_ms <= follower->options.stale_limit_ms &&
               job->from_window(job, follower->view, response);
    mt_guard_leave(follower->guard);
    if (answered)
        response->age_s = age_ms / 1000;
    return answered;
}

static void standby_tell(void *context, const struct mt_error *outcome)
{
    struct mt_follower *follower = context;
    struct mt_error why;

    mt_store_log_tell(follower->log, outcome);
    if (outcome->code == MT_OK) {
        mt_gauge_set(&follower->through_ms, mt_clock_monotonic_ms());
        /* it was on its way when a poll failed, and came through: so will the next */
        if (standby_is_away(follower, &why))
            set_away(follower, false, outcome);
    } else if (mt_clock_monotonic_ms() - mt_gauge_get(&follower->polled_ms) >= HURRY_MS) {
        mt_ticker_hurry(follower->ticker);
    }
}

static int64_t standby_returns(void *context)
{
    return mt_gauge_get(&((struct mt_follower *)context)->returns);
}

struct mt_standby mt_follower_standby(struct mt_follower *follower)
{
    return (struct mt_standby){.context = follower,
                               .is_away = standby_is_away,
                               .answer = standby_answer,
                               .tell = standby_tell,
                               .returns = standby_returns};
}

enum mt_err mt_follower_start(const struct mt_follower_options *options,
                              struct mt_follower **follower, struct mt_error *error)
{
    struct mt_follower *new = calloc(1, sizeof *new);
    enum mt_err code;

    if (new == NULL)
        return mt_error_set(error, MT_ERR_NO_MEMORY, "out of memory for recent records");
    new->options = *options;
    new->guard = mt_guard_new();
    new->log = mt_store_log_new("the store answers again");
    if (new->guard != NULL &&new->log != NULL)
        code = mt_ticker_start(options->poll_ms, tick, new, &new->ticker, error);
    else
        code = mt_error_set(error, MT_ERR_NO_MEMORY, "out of memory for recent records");
    if (code == MT_OK)
        *follower = new;
    else
        mt_follower_stop(new);
    return code;
}

/* The signals that end the program are blocked, and wait for the event loop that will take them. */
static bool is_ending(void)
{
    sigset_t pending;

    return sigpending(&pending) == 0 &&
           (sigismember(&pending, SIGTERM) == 1 || sigismember(&pending, SIGINT) == 1 ||
            sigismember(&pending, SIGHUP) == 1);
}

void mt_follower_await(struct mt_follower *follower, int64_t most_ms)
{
    const struct timespec pause = {.tv_nsec = AWAIT_PAUSE_MS * 1000000L};
    int64_t end_ms = mt_clock_monotonic_ms() + most_ms;
    int64_t now_ms;

    while (mt_gauge_get(&follower->answered) == 0 && !is_ending()) {
        now_ms = mt_clock_monotonic_ms();
        if (now_ms >= end_ms)
            return;
        if (now_ms - mt_gauge_get(&follower->polled_ms) >= HURRY_MS)
            mt_ticker_hurry(follower->ticker);
        (void)nanosleep(&pause, NULL);
    }
}

void mt_follower_stop(struct mt_follower *follower)
{
    if (follower == NULL)
        return;
    mt_ticker_stop(follower->ticker);
    close_store(follower);
    mt_batch_fini(&follower->batch);
    mt_view_unref(follower->view);
    mt_window_free(follower->window);
    mt_store_log_free(follower->log);
    mt_guard_free(follower->guard);
    free(follower);
}
