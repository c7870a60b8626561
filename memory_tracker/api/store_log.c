#include "api/store_log.h"

#include <stdlib.h>

#include "api/threads.h"
#include "base/clock.h"
#include "base/log.h"

enum { CHANGE_MS = 1000, AGAIN_MS = 60000 };

struct mt_store_log {
    struct mt_guard *guard;
    const char *again;
    enum mt_err code; /* guarded: what was last said, as is the next */
    int64_t said_ms;
};

struct mt_store_log *mt_store_log_new(const char *again)
{
    struct mt_store_log *log = calloc(1, sizeof *log);

    if (log != NULL) {
        log->again = again;
        log->guard = mt_guard_new();
    }
    if (log != NULL && log->guard != NULL)
        return log;
    free(log);
    return NULL;
}

void mt_store_log_free(struct mt_store_log *log)
{
    if (log != NULL)
        mt_guard_free(log->guard);
    free(log);
}

void mt_store_log_tell(struct mt_store_log *log, const struct mt_error *error)
{
    int64_t now_ms = mt_clock_monotonic_ms();
    int64_t quiet_ms;
    bool speak;

    mt_guard_write(log->guard);
    quiet_ms = now_ms - log->said_ms;
    if (error->code == log->code)
        speak = error->code != MT_OK && quiet_ms >= AGAIN_MS;
    else
        speak = quiet_ms >= CHANGE_MS || log->said_ms == 0;
    if (speak) {
        log->code = error->code;
        log->said_ms = now_ms;
    }
    mt_guard_leave(log->guard);
    if (speak && error->code != MT_OK)
        mt_log_error(error);
    else if (speak)
        mt_log(MT_LOG_INFO, "%s", log->again);
}
