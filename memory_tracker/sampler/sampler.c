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
#include "store/spool.h"
#include "store/store.h"

/*
 * The next run begins a minute after this one. The store may be waited for twice (opening and
 * appending) and the outbox twice, 48 s in all; deliveries begin no batch after 25 s, so that
 * the last one may still wait for the store.
 */
enum {
    STORE_WAIT_MS = 20000,
    SPOOL_WAIT_MS = 4000,
    DELIVERY_MS = 25000,
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

/*
 * The store as the outbox names it. There a relative path would mean another file for a run in
 * another directory. Freed by the caller; NULL: no memory, or the directory is gone.
 */
static char *name_destination(const struct mt_config *config)
{
    static const char scheme[] = "sqlite:";
    const char *store = mt_config_string(config, MT_SETTING_STORE);
    const char *path = store + sizeof scheme - 1;
    char *directory;
    char *name = NULL;

    if (strncmp(store, scheme, sizeof scheme - 1) != 0 || path[0] == '/')
        return strdup(store);
    while (strncmp(path, "./", 2) == 0)
        path += 2;
    directory = getcwd(NULL, 0);
    if (directory != NULL && asprintf(&name, "%s%s/%s", scheme, directory, path) < 0)
        name = NULL;
    free(directory);
    return name;
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

static void tell_delivery(const char *path, const struct mt_spool_status *before,
                          const struct mt_spool_status *after, int64_t delivered)
{
    if (delivered > 0)
        mt_log(MT_LOG_INFO, "outbox %s: %" PRId64 " delivered, %" PRId64 " waiting", path,
               delivered, after->waiting);
    if (after->rejected > before->rejected)
        mt_log(MT_LOG_WARNING, "outbox %s: %" PRId64 " refused by the store for good and set aside",
               path, after->rejected - before->rejected);
    if (after->elsewhere > 0)
        mt_log(MT_LOG_WARNING,
               "outbox %s: %" PRId64 " waiting for another store; run memory-sampler with the "
               "former --store to deliver them",
               path, after->elsewhere);
}

/* The record of this run is stored already, so whatever fails here is a warning. */
static void deliver(const struct mt_config *config, const char *destination, struct mt_store *store,
                    int64_t deadline_ms)
{
    const char *path = mt_config_string(config, MT_SETTING_SPOOL);
    struct mt_spool_status before = {0};
    struct mt_spool_status after = {0};
    struct mt_spool *spool = NULL;
    struct mt_error error = {0};
    int64_t delivered = 0;
    enum mt_err result;

    if (!mt_spool_exists(path))
        return;
    result = mt_spool_open(path, SPOOL_WAIT_MS, &spool, &error);
    if (result == MT_OK)
        result = mt_spool_status(spool, destination, &before, &error);
    after = before;
    if (result == MT_OK && before.waiting > 0) {
        result = mt_spool_deliver(spool, destination, store, deadline_ms, &delivered, &error);
        if (mt_spool_status(spool, destination, &after, NULL) != MT_OK)
            after = before;
    }
    if (result != MT_OK && result != MT_ERR_DEADLINE)
        mt_log(MT_LOG_WARNING, CAUSE_FORMAT "; what waits in the outbox %s is tried again",
               mt_err_name(result), error.text, path);
    tell_delivery(path, &before, &after, delivered);
    mt_spool_close(spool);
}

static enum mt_err judge(const struct mt_record *record, const struct mt_outcome *outcome,
                         struct mt_error *error)
{
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

enum mt_err mt_sampler_keep(const struct mt_config *config, const struct mt_record *record,
                            int64_t start_ms, struct mt_error *error)
{
    const struct mt_store_options options = {.busy_wait_ms = STORE_WAIT_MS};
    const char *uri = mt_config_string(config, MT_SETTING_STORE);
    char *named = name_destination(config);
    const char *destination = named != NULL ? named : uri;
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
        result = judge(record, &outcome, error);
        deliver(config, destination, store, start_ms + DELIVERY_MS);
    } else {
        result = put_aside(config, destination, record, &cause, error);
    }
    mt_store_close(store);
    free(named);
    return result;
}
