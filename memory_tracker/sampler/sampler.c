#include "sampler/sampler.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "proc/proc.h"
#include "record/json.h"
#include "sampler/health.h"
#include "store/spool.h"
#include "store/store.h"
#include "store/tend.h"
#include "store/uri.h"

/*
 * The next run begins a minute after this one. The store may be waited for twice (opening and
 * appending) and the outbox twice, 48 s in all; deliveries begin no batch after 25 s, so that
 * the last one may still wait for the store.
 */
enum {
    STORE_WAIT_MS = 20000,
    SPOOL_WAIT_MS = 4000,
    DELIVERY_MS = 25000,
    LATE_SHARE = 8, /* of the time to the next run; who took longer has nothing tended */
};

/* A text of struct mt_error, shortened so that two fit one line. */
#define CAUSE_FORMAT "%s: %.450s"

enum mt_err mt_sampler_take(const struct mt_config *config, struct mt_record *record,
                            struct mt_error *error)
{
    enum mt_err result;

    *record = (struct mt_record){.timestamp = mt_clock_wall_s()};
    (void)snprintf(record->host, sizeof record->host, "%s",
                   mt_config_string(config, MT_SETTING_HOST));
    mt_record_set(record, MT_FIELD_INTERVAL_S, mt_config_number(config, MT_SETTING_INTERVAL));
    result = mt_proc_read(record, error);
    return result == MT_OK ? mt_record_check(record, error) : result;
}

enum mt_err mt_sampler_print(const struct mt_record *record, struct mt_error *error)
{
    struct mt_buf line;
    enum mt_err result = MT_OK;

    mt_buf_init(&line, 0);
    mt_json_record(&line, record);
    mt_buf_append_char(&line, '\n');
    if (line.failed)
        result = mt_error_set(error, MT_ERR_NO_MEMORY, "out of memory");
    else
        /* what fwrite could not write, the flush at the end of main reports */
        (void)fwrite(line.data, 1, line.length, stdout);
    mt_buf_fini(&line);
    return result;
}

/* cause: why the store did not take the record */
static enum mt_err put_aside(const struct mt_config *config, const char *destination,
                             const struct mt_record *record, const struct mt_error *cause,
                             struct mt_error *error)
{
    const char *path = mt_config_string(config, MT_SETTING_SPOOL);
    struct mt_spool_status status = {0};
    struct mt_spool *spool = NULL;
    struct mt_error failure = {0};
    enum mt_err result = mt_spool_open(path, SPOOL_WAIT_MS, &spool, &failure);

    if (result == MT_OK)
        result = mt_spool_put(spool, destination, record,
                              mt_config_number(config, MT_SETTING_SPOOL_LIMIT), &failure);
    if (result == MT_OK)
        mt_sampler_mark_health(config, "outbox");
    if (result != MT_OK)
        result = mt_error_set(error, cause->code,
                              "%.450s; nor does the outbox take the record, which is lost "
                              "(" CAUSE_FORMAT ")",
                              cause->text, mt_err_name(failure.code), failure.text);
    else if (mt_spool_status(spool, destination, &status, &failure) == MT_OK)
        mt_log(MT_LOG_WARNING,
               CAUSE_FORMAT "; the record waits in the outbox %s, %" PRId64 " waiting",
               mt_err_name(cause->code), cause->text, path, status.waiting);
    else
        mt_log(MT_LOG_WARNING, CAUSE_FORMAT "; the record waits in the outbox %s",
               mt_err_name(cause->code), cause->text, path);
    mt_spool_close(spool);
    return result;
}

static void tell_delivery(const char *path, const struct mt_spool_delivery *delivery,
                          const struct mt_spool_status *after)
{
    if (delivery->delivered > 0)
        mt_log(MT_LOG_INFO, "outbox %s: %" PRId64 " delivered, %" PRId64 " waiting", path,
               delivery->delivered, after->waiting);
    if (delivery->set_aside > 0)
        mt_log(MT_LOG_WARNING, "outbox %s: %" PRId64 " refused by the store for good and set aside",
               path, delivery->set_aside);
}

/* The record of this run is stored already, so whatever fails here is a warning. */
static void deliver(const struct mt_config *config, const char *destination, struct mt_store *store,
                    int64_t deadline_ms)
{
    const char *path = mt_config_string(config, MT_SETTING_SPOOL);
    struct mt_spool_status before = {0};
    struct mt_spool_status after = {0};
    struct mt_spool_delivery delivery = {
        .destination = destination,
        .store = store,
        .deadline_ms = deadline_ms,
    };
    struct mt_spool *spool = NULL;
    struct mt_error error = {0};
    char others[900];
    enum mt_err result;

    if (!mt_spool_exists(path))
        return;
    result = mt_spool_open(path, SPOOL_WAIT_MS, &spool, &error);
    if (result == MT_OK)
        result = mt_spool_status(spool, destination, &before, &error);
    after = before;
    if (result == MT_OK && before.waiting > 0) {
        result = mt_spool_deliver(spool, &delivery, &error);
        if (mt_spool_status(spool, destination, &after, NULL) != MT_OK)
            after = before;
    }
    if (result != MT_OK)
        mt_log(MT_LOG_WARNING, CAUSE_FORMAT "; what waits in the outbox %s is tried again",
               mt_err_name(result), error.text, path);
    tell_delivery(path, &delivery, &after);
    if (after.elsewhere > 0 &&
        mt_spool_tell_others(spool, destination, others, sizeof others, NULL) == MT_OK)
        mt_log(MT_LOG_WARNING, "outbox %s: %s", path, others);
    mt_spool_close(spool);
}

static enum mt_err judge(const struct mt_config *config, const struct mt_record *record,
                         const struct mt_outcome *outcome, struct mt_error *error)
{
    /* before anything is logged, which may have to wait for a reader */
    if (outcome->verdict != MT_VERDICT_REJECTED && outcome->verdict != MT_VERDICT_CONFLICT)
        mt_sampler_mark_health(config, "store");
    switch (outcome->verdict) {
    case MT_VERDICT_REJECTED:
    case MT_VERDICT_CONFLICT:
        return mt_error_set(error, MT_ERR_REJECTED, "%s", outcome->text);
    case MT_VERDICT_MOVED:
        mt_log(MT_LOG_WARNING,
               "second %" PRId64 " of host %s is taken, the record is kept at %" PRId64
               ": the clock stepped back, or two machines have this name",
               record->timestamp, record->host, outcome->timestamp);
        break;
    case MT_VERDICT_REPEAT:
        mt_log(MT_LOG_INFO, "second %" PRId64 " of host %s is recorded already", record->timestamp,
               record->host);
        break;
    case MT_VERDICT_NEW:
        mt_log(MT_LOG_DEBUG, "stored second %" PRId64 " of host %s", record->timestamp,
               record->host);
        break;
    }
    return MT_OK;
}

/*
 * Looked for once an hour: an ordinary minute has nothing to do with it. Nor has one that took long
 * already: the courier takes three quarters of the time to the next run, which must not be late.
 */
static bool must_be_tended(const struct mt_config *config, struct mt_store *store,
                           const struct mt_record *record, int64_t start_ms)
{
    int64_t interval_s = mt_config_number(config, MT_SETTING_INTERVAL);
    /* there is no time for anything, so that it only tells whether it is done */
    struct mt_compaction compaction = {.now_s = record->timestamp, .deadline_ms = 1};

    if (!mt_tend_is_hour(record->host, record->timestamp, interval_s) ||
        mt_clock_monotonic_ms() - start_ms > interval_s * 1000 / LATE_SHARE)
        return false;
    if (mt_config_number(config, MT_SETTING_RETENTION) != 0)
        return true;
    return mt_store_compact(store, &compaction, NULL) != MT_OK || !compaction.is_done;
}

static enum mt_err keep_here(const struct mt_config *config, const char *uri,
                             const char *destination, const struct mt_record *record,
                             int64_t start_ms, bool *tend, struct mt_error *error)
{
    const struct mt_store_options options = {.busy_wait_ms = STORE_WAIT_MS};
    struct mt_store *store = NULL;
    struct mt_outcome outcome = {0};
    struct mt_error cause = {0};
    enum mt_err result = mt_store_open(uri, &options, &store, &cause);

    if (result == MT_OK)
        result = mt_store_append(store, record, 1, MT_CONFLICT_MOVE, &outcome, &cause);
    if (result == MT_ERR_CONFIG) {
        /* nothing that later runs could deliver to */
        *error = cause;
    } else if (result == MT_OK) {
        result = judge(config, record, &outcome, error);
        deliver(config, destination, store, start_ms + DELIVERY_MS);
        *tend = must_be_tended(config, store, record, start_ms);
    } else {
        result = put_aside(config, destination, record, &cause, error);
    }
    mt_store_close(store);
    return result;
}

enum mt_err mt_sampler_keep(const struct mt_config *config, const struct mt_record *record,
                            int64_t start_ms, char *const *argv, struct mt_error *error)
{
    char *uri = NULL;
    char *destination = NULL;
    bool tend = false;
    enum mt_err result = mt_store_uri(config, &uri, error);

    if (result != MT_OK)
        return result;
    destination = mt_store_destination(uri);
    if (!mt_store_is_remote(uri))
        result = keep_here(config, uri, destination != NULL ? destination : uri, record, start_ms,
                           &tend, error);
    else if (destination != NULL)
        result = mt_sampler_hand_over(config, destination, record, argv, error);
    else
        result = mt_error_set(error, MT_ERR_NO_MEMORY, "out of memory; the record is lost");
    free(destination);
    free(uri);
    /* the courier's exit status is 0 whatever becomes of it */
    if (result == MT_OK && tend)
        mt_sampler_tend(argv);
    return result;
}
