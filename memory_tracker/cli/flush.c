#include "cli/flush.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/interrupt.h"
#include "base/log.h"
#include "cli/subcommand.h"
#include "store/spool.h"
#include "store/spool_lock.h"
#include "store/uri.h"

enum { WAIT_MS = 5000 };

struct flush {
    const char *path;
    char *uri;         /* owned */
    char *destination; /* owned */
    char *from;        /* owned; NULL: nothing is re-addressed */
    int lock;
    struct mt_spool *spool;
    struct mt_store *store;
    struct mt_spool_delivery delivery;
};

static void notice(void *context, const struct mt_record *record, const struct mt_outcome *outcome)
{
    (void)context;
    if (outcome->verdict == MT_VERDICT_MOVED)
        mt_log(MT_LOG_WARNING,
               "second %" PRId64 " of host %s is taken, the record is kept at %" PRId64,
               record->timestamp, record->host, outcome->timestamp);
    else
        mt_log(MT_LOG_WARNING, "second %" PRId64 " of host %s is set aside: %s", record->timestamp,
               record->host, outcome->text);
}

static enum mt_err name_stores(struct flush *flush, const struct mt_config *config,
                               const char *from, struct mt_error *error)
{
    enum mt_err result = mt_store_uri(config, &flush->uri, error);

    if (result != MT_OK)
        return result;
    flush->destination = mt_store_destination(flush->uri);
    if (from != NULL)
        flush->from = mt_store_destination(from);
    if (flush->destination == NULL || (from != NULL && flush->from == NULL))
        return mt_error_set(error, MT_ERR_NO_MEMORY, "out of memory");
    return MT_OK;
}

static enum mt_err check_from(struct flush *flush, struct mt_error *error)
{
    struct mt_spool_status status = {0};
    enum mt_err result;

    if (flush->from == NULL)
        return MT_OK;
    result = mt_spool_status(flush->spool, flush->from, &status, error);
    if (result == MT_OK && status.waiting == 0)
        result = mt_error_set(error, MT_ERR_USAGE,
                              "--from: nothing waits for '%s'; memory-tracker spool lists what "
                              "waits, by destination",
                              flush->from);
    return result;
}

/* Only a store that answers gets the records of another: a slip in STORE moves nothing. */
static enum mt_err open_store(struct flush *flush, struct mt_error *error)
{
    const struct mt_store_options options = {.busy_wait_ms = WAIT_MS};
    int64_t moved = 0;
    enum mt_err result = mt_store_open(flush->uri, &options, &flush->store, error);

    if (result == MT_OK && flush->from != NULL)
        result = mt_store_ping(flush->store, error);
    if (result == MT_OK && flush->from != NULL)
        result = mt_spool_readdress(flush->spool, flush->from, flush->destination, &moved, error);
    return result;
}

static enum mt_err deliver(struct flush *flush, struct mt_buf *text, struct mt_error *error)
{
    struct mt_spool_status status = {0};
    char others[512] = "";
    enum mt_err result = check_from(flush, error);

    if (result == MT_OK)
        result = open_store(flush, error);
    if (result == MT_OK) {
        flush->delivery = (struct mt_spool_delivery){
            .destination = flush->destination,
            .store = flush->store,
            .deadline_ms = INT64_MAX,
            .slow_ms = MT_STORE_TIMEOUT_MS / 2,
            .cancelled = mt_interrupt_seen,
            .notice = notice,
        };
        result = mt_spool_deliver(flush->spool, &flush->delivery, error);
        mt_buf_printf(text, "%" PRId64 " delivered to %s", flush->delivery.delivered,
                      flush->destination);
        if (flush->delivery.set_aside > 0)
            mt_buf_printf(text, ", %" PRId64 " set aside", flush->delivery.set_aside);
        mt_buf_append_char(text, '\n');
    }
    if (mt_spool_status(flush->spool, flush->destination, &status, NULL) != MT_OK)
        return result;
    if (result != MT_OK && result != MT_ERR_USAGE) {
        struct mt_error cause = *error;

        return mt_error_set(error, result, "%.800s; %" PRId64 " waiting", cause.text,
                            status.waiting);
    }
    if (result == MT_OK && status.elsewhere > 0 &&
        mt_spool_tell_others(flush->spool, flush->destination, others, sizeof others, NULL) ==
            MT_OK)
        result = mt_error_set(error, MT_ERR_FAILED, "%s", others);
    return result;
}

enum mt_err mt_flush(const struct mt_config *config, const char *from, struct mt_buf *text,
                     struct mt_error *error)
{
    struct flush flush = {.path = mt_config_string(config, MT_SETTING_SPOOL), .lock = -1};
    enum mt_err result = name_stores(&flush, config, from, error);

    if (result == MT_OK && mt_spool_is_missing(flush.path)) {
        mt_buf_printf(text, "nothing waits: there is no outbox %s\n", flush.path);
        goto out;
    }
    mt_interrupt_catch();
    if (result == MT_OK)
        result = mt_spool_lock(flush.path, &flush.lock, error);
    if (result == MT_OK)
        result = mt_spool_open(flush.path, WAIT_MS, &flush.spool, error);
    if (result == MT_OK)
        result = deliver(&flush, text, error);
out:
    mt_store_close(flush.store);
    mt_spool_close(flush.spool);
    if (flush.lock >= 0)
        (void)close(flush.lock);
    free(flush.from);
    free(flush.destination);
    free(flush.uri);
    return result;
}
