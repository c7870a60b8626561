#include "api/caretaker.h"

#include <stdlib.h>

#include "api/threads.h"
#include "base/clock.h"
#include "base/log.h"
#include "store/tend.h"

/* of the time, it works at most one part in REST_SHARE + 1, and rests no longer than that */
enum { REST_SHARE = 3, REST_MOST_MS = 1000 };

struct mt_caretaker {
    struct mt_caretaker_options options;
    struct mt_ticker *ticker;
    /* the ticker's thread's */
    bool has_begun;
    int64_t rested_ms; /* when it last rested */
    enum mt_err told;  /* the failure of the last time */
};

/* Asked between two days. */
static bool rest(void *context)
{
    struct mt_caretaker *caretaker = context;
    int64_t rest_ms = REST_SHARE * (mt_clock_monotonic_ms() - caretaker->rested_ms);
    bool is_stopping =
        mt_ticker_rest(caretaker->ticker, rest_ms < REST_MOST_MS ? rest_ms : REST_MOST_MS);

    caretaker->rested_ms = mt_clock_monotonic_ms();
    return is_stopping;
}

static void tell(struct mt_caretaker *caretaker, const struct mt_tending *tending,
                 const struct mt_error *failure)
{
    struct mt_buf done;

    mt_buf_init(&done, 0);
    mt_tend_describe(tending, &done);
    if (done.length > 0)
        mt_log(MT_LOG_INFO, "store: %s", mt_buf_string(&done));
    if (failure->code != MT_OK && failure->code != MT_ERR_MISSING &&
        failure->code != caretaker->told)
        mt_log(MT_LOG_WARNING, "%s: %.800s; finished days are sealed, and old ones removed, later",
               mt_err_name(failure->code), failure->text);
    caretaker->told = failure->code;
    mt_buf_fini(&done);
}

static void tick(void *context)
{
    struct mt_caretaker *caretaker = context;
    const struct mt_store_options options = {.busy_wait_ms = caretaker->options.timeout_ms,
                                             .timeout_ms = caretaker->options.timeout_ms};
    struct mt_tending tending = {.pruning = {
                                     .kept = caretaker->options.kept,
                                     .now_s = mt_clock_wall_s(),
                                     .cancelled = rest,
                                     .cancel_context = caretaker,
                                 }};
    struct mt_store *store = NULL;
    struct mt_error failure = {0};

    if (!caretaker->has_begun && mt_ticker_rest(caretaker->ticker, caretaker->options.first_ms))
        return;
    caretaker->has_begun = true;
    caretaker->rested_ms = mt_clock_monotonic_ms();
    if (mt_tend_open(caretaker->options.store, &options, &store, &failure) == MT_OK)
        (void)mt_tend(store, &tending, &failure);
    mt_store_close(store);
    tell(caretaker, &tending, &failure);
}

enum mt_err mt_caretaker_start(const struct mt_caretaker_options *options,
                               struct mt_caretaker **caretaker, struct mt_error *error)
{
    struct mt_caretaker *new = calloc(1, sizeof *new);
    enum mt_err result;

    if (new == NULL)
        return mt_error_set(error, MT_ERR_NO_MEMORY, "out of memory for the store's caretaker");
    new->options = *options;
    result = mt_ticker_start(options->every_ms, tick, new, &new->ticker, error);
    if (result == MT_OK)
        *caretaker = new;
    else
        free(new);
    return result;
}

void mt_caretaker_stop(struct mt_caretaker *caretaker)
{
    if (caretaker == NULL)
        return;
    mt_ticker_stop(caretaker->ticker);
    free(caretaker);
}
