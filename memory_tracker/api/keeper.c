#include "api/keeper.h"

#include <malloc.h>
#include <signal.h>
#include <stdlib.h>
#include <time.h>

#include "api/store_log.h"
#include "api/window.h"
#include "api/window_fill.h"
#include "base/clock.h"
#include "base/log.h"

enum {
    CHANGES_AT_ONCE = 4096,
    HURRY_MS = 100, /* least time between two polls that workers' errors ask for */
    SAY_AGAIN_MS = 60000,
    AWAIT_PAUSE_MS = 10,
    /* what a record takes at most, with its part of the compressed form; to know what is too much
     * to begin with */
    RECORD_BYTES = 160,
    RECORDS_FEWEST = 512, /* not even for want of memory are fewer kept */
};

struct mt_keeper {
    struct mt_keeper_options options;
    struct mt_store_log *log;
    struct mt_ticker *ticker;
    struct mt_news news;
    struct mt_reader *readers;
    struct mt_gauge memory;
    struct mt_gauge returns;
    struct mt_gauge answered;   /* 1: the store has answered, ever */
    struct mt_gauge polled_ms;  /* when the last poll began */
    struct mt_gauge through_ms; /* when a worker last got an answer of the store */
    /* the ticker's thread's */
    struct mt_stamp_watch *watch; /* NULL: the store is remote */
    struct mt_store *store;       /* NULL: not open */
    struct mt_window *window;     /* NULL: never filled */
    struct mt_token token;
    struct mt_batch batch;
    uint64_t stamp;  /* of the store as the window knows it */
    bool is_filled;  /* token tells where the window stands */
    bool is_unshown; /* it knows what the newest view does not */
    bool is_announced;
    size_t wanted; /* records; in this period so far */
    size_t wanted_before;
    int64_t period_ms;  /* when this period began */
    int64_t refused_ms; /* when permission was refused, 0: it was not */
    int64_t said_ms;    /* when it last said that it cannot follow a store that answers */
    /* guarded by guard */
    struct mt_guard *guard;
    struct mt_view *view; /* the newest; NULL: there is none */
    bool is_away;
    struct mt_error why;
    void (*refreshed)(void *context);
    void *refreshed_context;
};

static bool is_stopping(void *context)
{
    return mt_ticker_is_stopping(((const struct mt_keeper *)context)->ticker);
}

static void set_away(struct mt_keeper *keeper, bool is_away, const struct mt_error *why)
{
    bool returns;

    mt_guard_write(keeper->guard);
    returns = keeper->is_away && !is_away;
    keeper->is_away = is_away;
    keeper->why = *why;
    /* before anybody sees that it is back: handles from before it went are not to be trusted */
    if (returns)
        mt_gauge_add(&keeper->returns, 1);
    mt_guard_leave(keeper->guard);
    if (returns || is_away)
        mt_store_log_tell(keeper->log, why);
}

/* A view of the window as it is goes to everybody. */
static enum mt_err publish(struct mt_keeper *keeper, struct mt_error *error)
{
    struct mt_view *view = mt_window_publish(keeper->window);
    struct mt_view *old;

    keeper->is_unshown = view == NULL;
    if (view == NULL)
        return mt_error_set(error, MT_ERR_NO_MEMORY, "no memory for a view of recent records");
    for (size_t i = 0; i < keeper->options.readers; i++)
        mt_view_unref(mt_letterbox_swap(&keeper->readers[i].incoming, mt_view_ref(view)));
    mt_guard_write(keeper->guard);
    old = keeper->view;
    keeper->view = view;
    mt_guard_leave(keeper->guard);
    mt_view_unref(old);
    return MT_OK;
}

static struct mt_filler filler(struct mt_keeper *keeper)
{
    return (struct mt_filler){.store = keeper->store,
                              .batch = &keeper->batch,
                              .cancelled = is_stopping,
                              .cancel_context = keeper};
}

/* How many of `records` there is memory for, beside what is still being sent of old views. */
static size_t affordable(const struct mt_keeper *keeper, size_t records)
{
    int64_t bytes = keeper->options.memory_bytes - mt_gauge_get(&keeper->memory);
    size_t most = bytes > 0 ? (size_t)bytes / RECORD_BYTES : 0;

    return records < most ? records : most;
}

/* Who relies on what is in memory gets to know when it is there. */
static void announce(struct mt_keeper *keeper)
{
    if (keeper->is_announced)
        return;
    keeper->is_announced = true;
    if (keeper->watch == NULL)
        mt_log(MT_LOG_INFO, "the newest %zu records are in memory, for when the store is away",
               mt_window_records(keeper->window));
    else
        mt_log(MT_LOG_DEBUG, "the newest %zu records are in memory",
               mt_window_records(keeper->window));
}

static enum mt_err fill(struct mt_keeper *keeper, struct mt_error *error)
{
    struct mt_filler from = filler(keeper);
    int64_t begun_ms = mt_clock_monotonic_ms();
    int64_t now_s = mt_clock_wall_s();
    size_t records = keeper->options.least_records;
    struct mt_window_options options = {.future = MT_WINDOW_FUTURE, .memory = &keeper->memory};
    struct mt_window *window;
    struct mt_token token;
    enum mt_err code;

    /* further back it goes in steps, so that nobody waits for them */
    options.records = affordable(keeper, records < MT_FILL_STEP ? records : MT_FILL_STEP);
    if (options.records < RECORDS_FEWEST)
        options.records = RECORDS_FEWEST;
    window = mt_window_new(&options);
    if (window == NULL)
        return mt_error_set(error, MT_ERR_NO_MEMORY, "no memory for recent records");
    /* what arrives while the scan runs comes again as a change */
    code = mt_store_token(keeper->store, &token, error);
    if (code == MT_OK) {
        set_away(keeper, false, error);
        mt_gauge_set(&keeper->answered, 1);
        code = mt_window_fill(window, &from, options.records, now_s, error);
    }
    if (code != MT_OK) {
        mt_window_free(window);
        return code;
    }
    mt_window_free(keeper->window);
    keeper->window = window;
    keeper->token = token;
    keeper->is_filled = true;
    keeper->is_unshown = true;
    keeper->is_announced = false;
    code = publish(keeper, error);
    if (code != MT_OK)
        return code;
    mt_gauge_set(&keeper->news.current_ms, begun_ms);
    if (options.records >= records || mt_window_is_whole(window))
        announce(keeper);
    return MT_OK;
}

static enum mt_err keep_change(void *context, const struct mt_record *record,
                               struct mt_error *error)
{
    return mt_batch_add(context, record, error);
}

/* *more: there may be further changes, or the window must be filled anew. */
static enum mt_err follow(struct mt_keeper *keeper, bool *more, struct mt_error *error)
{
    struct mt_token token = keeper->token;
    bool reset = false;
    enum mt_err code = mt_store_changes(keeper->store, &token, CHANGES_AT_ONCE, keep_change,
                                        &keeper->batch, &reset, error);

    if (code != MT_OK)
        return code;
    *more = reset || keeper->batch.count >= CHANGES_AT_ONCE;
    keeper->is_unshown |= keeper->batch.count > 0;
    code = mt_window_merge(keeper->window, &keeper->batch, mt_clock_wall_s(), error);
    keeper->is_filled = code == MT_OK && !reset;
    keeper->token = token;
    return code;
}

static enum mt_err open_store(struct mt_keeper *keeper, struct mt_error *error)
{
    struct mt_store_options how = {.read_only = true,
                                   .busy_wait_ms = keeper->options.busy_wait_ms,
                                   .timeout_ms = keeper->options.timeout_ms};

    if (keeper->store != NULL)
        return MT_OK;
    return mt_store_open(keeper->options.store, &how, &keeper->store, error);
}

static void close_store(struct mt_keeper *keeper)
{
    mt_store_close(keeper->store);
    keeper->store = NULL;
}

/* The window learns what is new. *stamp: of the store at some time before. */
static enum mt_err catch_up(struct mt_keeper *keeper, uint64_t *stamp, struct mt_error *error)
{
    enum mt_err code = open_store(keeper, error);
    bool more = true;

    if (code == MT_OK)
        code = mt_store_stamp(keeper->store, stamp, error);
    if (code == MT_OK && keeper->stamp != 0 && !mt_stamp_same_file(*stamp, keeper->stamp))
        keeper->is_filled = false;
    while (code == MT_OK && more && !is_stopping(keeper)) {
        more = false;
        if (!keeper->is_filled || mt_window_is_outrun(keeper->window, mt_clock_wall_s()))
            code = fill(keeper, error);
        if (code == MT_OK)
            code = follow(keeper, &more, error);
    }
    if (code == MT_OK && more)
        code = mt_error_set(error, MT_ERR_CANCELLED, "the program is stopping");
    /* also what came before an earlier call failed */
    if (code == MT_OK && keeper->is_unshown)
        code = publish(keeper, error);
    return code;
}

/* What everybody was given is all there is as of now, when nothing was written since. */
static bool is_current(struct mt_keeper *keeper)
{
    if (keeper->watch == NULL || !keeper->is_filled || keeper->is_unshown ||
        mt_gauge_get(&keeper->news.ails) != 0 ||
        mt_window_is_outrun(keeper->window, mt_clock_wall_s()))
        return false;
    mt_stamp_watch_look(keeper->watch);
    return keeper->stamp != 0 && mt_stamp_watch_read(keeper->watch) == keeper->stamp;
}

static void tell_readers(struct mt_keeper *keeper, int64_t refresh)
{
    mt_gauge_set(&keeper->news.ended, refresh);
    mt_guard_read(keeper->guard);
    if (keeper->refreshed != NULL)
        keeper->refreshed(keeper->refreshed_context);
    mt_guard_leave(keeper->guard);
}

static enum mt_err refresh(struct mt_keeper *keeper, struct mt_error *error)
{
    int64_t begun_ms = mt_clock_monotonic_ms();
    int64_t number = mt_gauge_get(&keeper->news.begun) + 1;
    uint64_t stamp = 0;
    enum mt_err code = MT_OK;

    mt_gauge_set(&keeper->news.begun, number);
    if (!is_current(keeper)) {
        code = catch_up(keeper, &stamp, error);
        /* the views are out before their stamp: whoever finds it equal has one that it is true of
         */
        if (code == MT_OK)
            keeper->stamp = stamp;
        mt_gauge_set(&keeper->news.ails, code == MT_OK ? 0 : 1);
        if (code == MT_OK)
            mt_gauge_set(&keeper->news.stamp, (int64_t)stamp);
    }
    if (code == MT_OK)
        mt_gauge_set(&keeper->news.current_ms, begun_ms);
    tell_readers(keeper, number);
    return code;
}

/* Not every failure of a poll means that nobody gets an answer. Leaves in *error why nobody does.
 */
static bool is_gone(struct mt_keeper *keeper, struct mt_error *error)
{
    bool was_open = keeper->store != NULL;
    struct mt_error again = {0};

    close_store(keeper);
    if (!was_open || error->code == MT_ERR_UNAVAILABLE)
        return true;
    if (open_store(keeper, &again) == MT_OK && mt_store_ping(keeper->store, &again) == MT_OK)
        return false;
    *error = again;
    close_store(keeper);
    return true;
}

static void complain(struct mt_keeper *keeper, struct mt_error *error)
{
    int64_t now_ms = mt_clock_monotonic_ms();

    if (keeper->said_ms != 0 && now_ms - keeper->said_ms < SAY_AGAIN_MS)
        return;
    keeper->said_ms = now_ms;
    mt_error_prefix(error, "cannot keep the recent history in memory");
    mt_log_error(error);
}

/* A server logs each login that it refuses, and some lock the user out after a few. */
static bool is_refused(const struct mt_keeper *keeper)
{
    return keeper->refused_ms != 0 &&
           mt_clock_monotonic_ms() - keeper->refused_ms < keeper->options.refused_pause_ms;
}

/* How many records it is to hold: what was asked for in this period or the one before. */
static size_t wish(struct mt_keeper *keeper)
{
    int64_t now_ms = mt_clock_monotonic_ms();
    int64_t wanted = mt_gauge_take(&keeper->news.wanted);
    size_t records = keeper->options.least_records;

    if (now_ms - keeper->period_ms >= keeper->options.forget_ms) {
        keeper->wanted_before = keeper->wanted;
        keeper->wanted = 0;
        keeper->period_ms = now_ms;
    }
    if ((size_t)wanted > keeper->wanted)
        keeper->wanted = (size_t)wanted;
    if (records < keeper->wanted)
        records = keeper->wanted;
    if (records < keeper->wanted_before)
        records = keeper->wanted_before;
    return records;
}

static enum mt_err shrink(struct mt_keeper *keeper, size_t records, struct mt_error *error)
{
    enum mt_err code;

    mt_window_resize(keeper->window, records, mt_clock_wall_s());
    code = publish(keeper, error);
    (void)malloc_trim(0);
    return code;
}

/* Of what is wished for, what there would be memory for if no old view were in use. */
static size_t fitting(const struct mt_keeper *keeper, size_t wished)
{
    size_t most = (size_t)(keeper->options.memory_bytes / RECORD_BYTES);

    if (wished > most)
        wished = most;
    return wished > RECORDS_FEWEST ? wished : RECORDS_FEWEST;
}

static enum mt_err grow(struct mt_keeper *keeper, size_t present, size_t wished,
                        struct mt_error *error)
{
    struct mt_filler from = filler(keeper);
    size_t before = mt_window_records(keeper->window);
    size_t more = affordable(keeper, wished - present);
    enum mt_err code;

    /* little by little is not worth a scan each time */
    if (more < wished - present && more < RECORDS_FEWEST)
        return MT_OK;
    code = mt_window_fill_back(keeper->window, &from, present + more, mt_clock_wall_s(), error);
    if (code == MT_OK)
        code = publish(keeper, error);
    /* the next step comes after a look at the store */
    if (code == MT_OK && mt_window_records(keeper->window) > before)
        mt_ticker_hurry(keeper->ticker);
    return code;
}

/* One step towards the size that is wished for. */
static enum mt_err resize(struct mt_keeper *keeper, struct mt_error *error)
{
    size_t wished = wish(keeper);
    size_t least = fitting(keeper, wished);
    size_t present = mt_window_shown(keeper->window, mt_clock_wall_s());

    /* less than is asked for would help nobody: all of it would be read from the store instead */
    if (mt_keeper_is_short(keeper) && present > least + MT_WINDOW_SEGMENT)
        return shrink(keeper, present / 4 * 3 > least ? present / 4 * 3 : least, error);
    /* not for a little, which may be asked for again */
    if (present > wished + wished / 4 + 2 * (size_t)MT_WINDOW_SEGMENT)
        return shrink(keeper, wished, error);
    if (present < wished && !mt_window_is_whole(keeper->window))
        return grow(keeper, present, wished, error);
    announce(keeper);
    return MT_OK;
}

/* The file that the window is of stands where it stood. The number of a file is its own only while
 * somebody has it open, which the watch has, whatever becomes of the store. */
static bool has_file(struct mt_keeper *keeper)
{
    mt_stamp_watch_look(keeper->watch);
    return keeper->stamp != 0 &&
           mt_stamp_same_file(mt_stamp_watch_read(keeper->watch), keeper->stamp);
}

/* Nobody relies on the views any more: workers say what is wrong with the file. The window goes on
 * from where it is when that is mended. */
static void leave_file(struct mt_keeper *keeper)
{
    if (keeper->watch == NULL)
        return;
    mt_gauge_set(&keeper->news.stamp, 0);
    if (has_file(keeper))
        return;
    keeper->stamp = 0;
    keeper->is_filled = false;
}

/* In vain for another's lock on a file: what was known of it is as true as before. */
static bool has_waited(const struct mt_keeper *keeper, enum mt_err code)
{
    return keeper->watch != NULL && (code == MT_ERR_BUSY || code == MT_ERR_DEADLINE);
}

static void fail(struct mt_keeper *keeper, struct mt_error *error)
{
    bool is_away;

    mt_batch_fini(&keeper->batch);
    if (is_stopping(keeper))
        return;
    if (has_waited(keeper, error->code) && keeper->is_filled && has_file(keeper))
        return;
    leave_file(keeper);
    is_away = is_gone(keeper, error);
    if (error->code == MT_ERR_PERMISSION)
        keeper->refused_ms = mt_clock_monotonic_ms();
    if (!is_away)
        complain(keeper, error);
    else if (keeper->watch != NULL ||
             mt_gauge_get(&keeper->through_ms) > mt_gauge_get(&keeper->polled_ms))
        /* workers say so themselves; or it came back while this poll failed: nobody is to hear 503
         * after another's 200 */
        return;
    set_away(keeper, is_away, error);
}

static void tick(void *context)
{
    struct mt_keeper *keeper = context;
    struct mt_error error = {0};

    if (is_refused(keeper))
        return;
    keeper->refused_ms = 0;
    mt_gauge_set(&keeper->polled_ms, mt_clock_monotonic_ms());
    if (refresh(keeper, &error) != MT_OK) {
        fail(keeper, &error);
        return;
    }
    set_away(keeper, false, &error);
    if (resize(keeper, &error) != MT_OK && !is_stopping(keeper))
        complain(keeper, &error);
}

static bool standby_is_away(void *context, struct mt_error *why)
{
    struct mt_keeper *keeper = context;
    bool is_away;

    mt_guard_read(keeper->guard);
    is_away = keeper->is_away;
    if (is_away)
        *why = keeper->why;
    mt_guard_leave(keeper->guard);
    return is_away;
}

static bool standby_answer(void *context, const struct mt_job *job, struct mt_packer *packer,
                           struct mt_response *response)
{
    struct mt_keeper *keeper = context;
    int64_t current_ms = mt_gauge_get(&keeper->news.current_ms);
    int64_t age_ms = mt_clock_monotonic_ms() - current_ms;
    struct mt_view *view = NULL;
    bool answered;

    if (job->from_view == NULL || current_ms == 0 || age_ms >= keeper->options.stale_limit_ms)
        return false;
    mt_guard_read(keeper->guard);
    if (keeper->view != NULL)
        view = mt_view_ref(keeper->view);
    mt_guard_leave(keeper->guard);
    answered = view != NULL && job->from_view(job, view, packer, response);
    mt_view_unref(view);
    if (answered)
        response->age_s = age_ms / 1000;
    return answered;
}

static void standby_tell(void *context, const struct mt_error *outcome)
{
    struct mt_keeper *keeper = context;
    struct mt_error why;

    mt_store_log_tell(keeper->log, outcome);
    if (outcome->code == MT_OK) {
        mt_gauge_set(&keeper->through_ms, mt_clock_monotonic_ms());
        /* it was on its way when a poll failed, and came through: so will the next */
        if (standby_is_away(keeper, &why))
            set_away(keeper, false, outcome);
        return;
    }
    /* from now on it is better to ask than to take what is known for all there is; but whoever
     * waited in vain for another's lock on a file knows no more than its stamp */
    if (mt_err_http_status(outcome->code) == 503 && !has_waited(keeper, outcome->code))
        mt_gauge_set(&keeper->news.ails, 1);
    if (mt_clock_monotonic_ms() - mt_gauge_get(&keeper->polled_ms) >= HURRY_MS)
        mt_ticker_hurry(keeper->ticker);
}

static int64_t standby_returns(void *context)
{
    return mt_gauge_get(&((struct mt_keeper *)context)->returns);
}

struct mt_standby mt_keeper_standby(struct mt_keeper *keeper)
{
    return (struct mt_standby){.context = keeper,
                               .is_away = standby_is_away,
                               .answer = standby_answer,
                               .tell = standby_tell,
                               .returns = standby_returns};
}

static enum mt_err prepare(struct mt_keeper *keeper, struct mt_error *error)
{
    const struct mt_keeper_options *options = &keeper->options;
    enum mt_err code = MT_OK;

    keeper->news.most = options->memory_bytes / RECORD_BYTES;
    keeper->guard = mt_guard_new();
    keeper->log = mt_store_log_new("the store answers again");
    keeper->readers = calloc(options->readers + 1, sizeof *keeper->readers);
    keeper->period_ms = mt_clock_monotonic_ms();
    if (keeper->guard == NULL || keeper->log == NULL || keeper->readers == NULL)
        return mt_error_set(error, MT_ERR_NO_MEMORY, "out of memory for recent records");
    for (size_t i = 0; i < options->readers && code == MT_OK; i++)
        code = mt_reader_init(&keeper->readers[i], &keeper->news, options->store,
                              options->trusted_ms, error);
    if (code == MT_OK)
        code = mt_stamp_watch_new(options->store, &keeper->watch, error);
    return code;
}

enum mt_err mt_keeper_start(const struct mt_keeper_options *options, struct mt_keeper **keeper,
                            struct mt_error *error)
{
    struct mt_keeper *new = calloc(1, sizeof *new);
    enum mt_err code;

    if (new == NULL)
        return mt_error_set(error, MT_ERR_NO_MEMORY, "out of memory for recent records");
    new->options = *options;
    code = prepare(new, error);
    if (code == MT_OK)
        code = mt_ticker_start(options->poll_ms, tick, new, &new->ticker, error);
    if (code == MT_OK)
        *keeper = new;
    else
        mt_keeper_stop(new);
    return code;
}

struct mt_reader *mt_keeper_reader(struct mt_keeper *keeper, size_t index)
{
    return &keeper->readers[index];
}

void mt_keeper_listen(struct mt_keeper *keeper, void (*refreshed)(void *context), void *context)
{
    mt_guard_write(keeper->guard);
    keeper->refreshed = refreshed;
    keeper->refreshed_context = context;
    mt_guard_leave(keeper->guard);
}

void mt_keeper_hurry(struct mt_keeper *keeper)
{
    mt_ticker_hurry(keeper->ticker);
}

int64_t mt_keeper_memory(const struct mt_keeper *keeper)
{
    return mt_gauge_get(&keeper->memory);
}

bool mt_keeper_is_short(const struct mt_keeper *keeper)
{
    return mt_gauge_get(&keeper->memory) > keeper->options.memory_bytes;
}

/* The signals that end the program are blocked, and wait for the event loop that will take them. */
static bool is_ending(void)
{
    sigset_t pending;

    return sigpending(&pending) == 0 &&
           (sigismember(&pending, SIGTERM) == 1 || sigismember(&pending, SIGINT) == 1 ||
            sigismember(&pending, SIGHUP) == 1);
}

void mt_keeper_await(struct mt_keeper *keeper, int64_t most_ms)
{
    const struct timespec pause = {.tv_nsec = AWAIT_PAUSE_MS * 1000000L};
    int64_t end_ms = mt_clock_monotonic_ms() + most_ms;
    int64_t now_ms;

    while (mt_gauge_get(&keeper->answered) == 0 && !is_ending()) {
        now_ms = mt_clock_monotonic_ms();
        if (now_ms >= end_ms)
            return;
        if (now_ms - mt_gauge_get(&keeper->polled_ms) >= HURRY_MS)
            mt_ticker_hurry(keeper->ticker);
        (void)nanosleep(&pause, NULL);
    }
}

void mt_keeper_stop(struct mt_keeper *keeper)
{
    if (keeper == NULL)
        return;
    mt_ticker_stop(keeper->ticker);
    close_store(keeper);
    mt_batch_fini(&keeper->batch);
    mt_window_free(keeper->window);
    mt_view_unref(keeper->view);
    for (size_t i = 0; keeper->readers != NULL && i < keeper->options.readers; i++)
        mt_reader_fini(&keeper->readers[i]);
    free(keeper->readers);
    mt_stamp_watch_free(keeper->watch);
    mt_store_log_free(keeper->log);
    mt_guard_free(keeper->guard);
    free(keeper);
}
