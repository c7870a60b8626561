#include "courier/courier.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/interrupt.h"
#include "base/log.h"
#include "base/utc.h"
#include "store/spool.h"
#include "store/spool_lock.h"
#include "store/tend.h"
#include "store/uri.h"

enum {
    SPOOL_WAIT_MS = 5000,
    BUDGET_LEAST_MS = 2000,
    BUDGET_MOST_MS = 45000,
    NOTICES_MOST = 5, /* records told of one by one */
};

struct run {
    const char *path;  /* the outbox */
    char *uri;         /* owned */
    char *destination; /* owned */
    int64_t start_ms;
    int64_t budget_ms;
    struct mt_spool *spool;
    struct mt_spool_status before, after;
    struct mt_spool_delivery delivery;
    int64_t notices;
};

static void notice(void *context, const struct mt_record *record, const struct mt_outcome *outcome)
{
    struct run *run = context;

    if (++run->notices > NOTICES_MOST)
        return;
    if (outcome->verdict == MT_VERDICT_MOVED)
        mt_log(MT_LOG_WARNING,
               "second %" PRId64 " of host %s is taken, the record is kept at %" PRId64
               ": the clock stepped back, or two machines have this name",
               record->timestamp, record->host, outcome->timestamp);
    else
        mt_log(MT_LOG_WARNING,
               "second %" PRId64 " of host %s is refused by the store for good and set aside: %s",
               record->timestamp, record->host, outcome->text);
}

/* Opening may take half of the time, and so may the last batch. */
static int timeout_ms(const struct run *run)
{
    int64_t half = run->budget_ms / 2;

    return half < MT_STORE_TIMEOUT_MS ? (int)half : MT_STORE_TIMEOUT_MS;
}

static enum mt_err deliver(struct run *run, struct mt_error *error)
{
    const struct mt_store_options options = {
        .busy_wait_ms = timeout_ms(run),
        .timeout_ms = timeout_ms(run),
    };
    struct mt_store *store = NULL;
    enum mt_err result = mt_store_open(run->uri, &options, &store, error);

    if (result != MT_OK)
        return result;
    run->delivery = (struct mt_spool_delivery){
        .destination = run->destination,
        .store = store,
        .deadline_ms = run->start_ms + run->budget_ms - timeout_ms(run),
        .slow_ms = timeout_ms(run) / 2,
        .cancelled = mt_interrupt_seen,
        .notice = notice,
        .context = run,
    };
    result = mt_spool_deliver(run->spool, &run->delivery, error);
    mt_store_close(store);
    return result;
}

/* cause: why records still wait; code MT_OK: there was no time for more */
static void tell_waiting(const struct run *run, const struct mt_error *cause)
{
    enum mt_log_level level = mt_err_log_level(cause->code);
    char since[MT_UTC_SIZE] = "an unknown time";

    if (run->after.oldest >= 0 && run->after.oldest <= MT_TIMESTAMP_MAX)
        mt_utc_format(run->after.oldest, since);
    if (cause->code == MT_OK)
        mt_log(MT_LOG_WARNING,
               "outbox %s: %" PRId64 " delivered, %" PRId64 " still waiting since %s; the next run "
               "goes on",
               run->path, run->delivery.delivered, run->after.waiting, since);
    else
        mt_log(level < MT_LOG_WARNING ? MT_LOG_WARNING : level,
               "%s: %.600s; outbox %s: %" PRId64 " waiting since %s", mt_err_name(cause->code),
               cause->text, run->path, run->after.waiting, since);
}

static void tell(struct run *run, const struct mt_error *cause)
{
    char others[900];

    if (run->notices > NOTICES_MOST)
        mt_log(MT_LOG_WARNING, "outbox %s: the same for %" PRId64 " more", run->path,
               run->notices - NOTICES_MOST);
    if (run->delivery.set_aside > 0)
        mt_log(MT_LOG_WARNING,
               "outbox %s: %" PRId64 " set aside; memory-tracker spool rejected shows them",
               run->path, run->delivery.set_aside);
    if (run->after.dropped > run->before.dropped)
        mt_log(MT_LOG_ERROR, "outbox %s: %" PRId64 " of those set aside dropped for want of room",
               run->path, run->after.dropped - run->before.dropped);
    if (run->after.waiting > 0)
        tell_waiting(run, cause);
    else if (run->delivery.delivered > 0)
        mt_log(run->before.waiting > 1 ? MT_LOG_INFO : MT_LOG_DEBUG,
               "outbox %s: %" PRId64 " delivered", run->path, run->delivery.delivered);
    if (run->after.elsewhere > 0 &&
        mt_spool_tell_others(run->spool, run->destination, others, sizeof others, NULL) == MT_OK)
        mt_log(MT_LOG_WARNING, "outbox %s: %s", run->path, others);
}

static enum mt_err work(struct run *run, struct mt_error *error)
{
    struct mt_error cause = {0};
    enum mt_err result = mt_spool_open(run->path, SPOOL_WAIT_MS, &run->spool, error);

    if (result == MT_OK)
        result = mt_spool_status(run->spool, run->destination, &run->before, error);
    if (result != MT_OK)
        return result;
    run->after = run->before;
    if (run->before.waiting > 0) {
        (void)deliver(run, &cause);
        if (mt_spool_status(run->spool, run->destination, &run->after, NULL) != MT_OK)
            run->after = run->before;
    }
    tell(run, &cause);
    return MT_OK;
}

int64_t mt_courier_budget_ms(const struct mt_config *config)
{
    int64_t budget_ms = mt_config_number(config, MT_SETTING_INTERVAL) * 750;

    if (budget_ms < BUDGET_LEAST_MS)
        return BUDGET_LEAST_MS;
    return budget_ms < BUDGET_MOST_MS ? budget_ms : BUDGET_MOST_MS;
}

/* Once an hour, and only where all went well and it is not another memory-api's business. */
static bool must_tend(const struct mt_config *config, const struct run *run)
{
    return run->after.waiting == 0 && strncmp(run->uri, "http", 4) != 0 &&
           (mt_config_number(config, MT_SETTING_RETENTION) != 0 || !mt_store_is_remote(run->uri)) &&
           mt_tend_is_hour(mt_config_string(config, MT_SETTING_HOST), mt_clock_wall_s(),
                           mt_config_number(config, MT_SETTING_INTERVAL));
}

enum mt_err mt_courier_run(const struct mt_config *config, int64_t start_ms, struct mt_error *error)
{
    struct run run = {
        .path = mt_config_string(config, MT_SETTING_SPOOL),
        .start_ms = start_ms,
        .budget_ms = mt_courier_budget_ms(config),
    };
    int lock = -1;
    enum mt_err result = mt_store_uri_untold(config, &run.uri, error);

    if (result != MT_OK)
        return result;
    run.destination = mt_store_destination(run.uri);
    if (run.destination == NULL) {
        result = mt_error_set(error, MT_ERR_FAILED,
                              "the store has no name: out of memory, or the "
                              "working directory is gone");
        goto out;
    }
    if (mt_spool_is_missing(run.path)) {
        mt_log(MT_LOG_DEBUG, "outbox %s: there is none, nothing waits", run.path);
        goto out;
    }
    result = mt_spool_lock(run.path, &lock, error);
    if (result == MT_OK) {
        result = work(&run, error);
        if (result == MT_OK && must_tend(config, &run))
            mt_courier_tend_uri(config, run.uri, start_ms + run.budget_ms);
    } else if (result == MT_ERR_BUSY) {
        mt_log(MT_LOG_DEBUG, "%s", error->text);
        result = MT_OK;
    }
out:
    mt_spool_close(run.spool);
    /* only now: the next courier is to find everything written */
    if (lock >= 0)
        (void)close(lock);
    free(run.destination);
    free(run.uri);
    return result;
}
