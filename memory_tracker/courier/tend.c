#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/interrupt.h"
#include "base/log.h"
#include "courier/courier.h"
#include "store/tend.h"
#include "store/uri.h"

static void tell(const char *name, const struct mt_tending *tending, const struct mt_error *failure)
{
    /* a day sealed each day is nothing to tell */
    bool is_news = tending->compaction.days > 1 || tending->pruning.records > 0;
    struct mt_buf done;
    enum mt_log_level level = mt_err_log_level(failure->code);

    mt_buf_init(&done, 0);
    mt_tend_describe(tending, &done);
    if (done.length > 0)
        mt_log(is_news ? MT_LOG_INFO : MT_LOG_DEBUG, "store %s: %s", name, mt_buf_string(&done));
    if (failure->code != MT_OK)
        mt_log(
            level < MT_LOG_WARNING ? MT_LOG_WARNING : level,
            "%s: %.800s; no record is lost, finished days are sealed, and old ones removed, later",
            mt_err_name(failure->code), failure->text);
    mt_buf_fini(&done);
}

void mt_courier_tend_uri(const struct mt_config *config, const char *uri, int64_t deadline_ms)
{
    int64_t patience_ms = (deadline_ms - mt_clock_monotonic_ms()) / 2;
    int wait_ms = patience_ms < 1                     ? 1
                  : patience_ms > MT_STORE_TIMEOUT_MS ? MT_STORE_TIMEOUT_MS
                                                      : (int)patience_ms;
    const struct mt_store_options options = {.busy_wait_ms = wait_ms, .timeout_ms = wait_ms};
    struct mt_tending tending = {.pruning = {
                                     .kept = mt_config_number(config, MT_SETTING_RETENTION),
                                     .now_s = mt_clock_wall_s(),
                                     /* the last day may have to wait for the store */
                                     .deadline_ms = deadline_ms - wait_ms,
                                     .cancelled = mt_interrupt_seen,
                                 }};
    char *name = mt_store_destination(uri);
    struct mt_store *store = NULL;
    struct mt_error failure = {0};

    if (mt_tend_open(uri, &options, &store, &failure) == MT_OK)
        (void)mt_tend(store, &tending, &failure);
    mt_store_close(store);
    tell(name != NULL ? name : "", &tending, &failure);
    free(name);
}

enum mt_err mt_courier_tend(const struct mt_config *config, int64_t start_ms,
                            struct mt_error *error)
{
    char *uri = NULL;
    enum mt_err result = mt_store_uri_untold(config, &uri, error);

    if (result == MT_OK)
        mt_courier_tend_uri(config, uri, start_ms + mt_courier_budget_ms(config));
    free(uri);
    return result;
}
