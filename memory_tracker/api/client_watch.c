#include "api/client_watch.h"

bool mt_client_is_too_slow(struct mt_client_watch *watch, const struct mt_client_look *look,
                           int64_t now_ms, int64_t timeout_ms)
{
    if (!watch->begun || watch->state != look->state || watch->requests != look->requests) {
        *watch = (struct mt_client_watch){
            .begun = true,
            .state = look->state,
            .requests = look->requests,
            .progress = look->progress,
            .since_ms = now_ms,
            .progress_ms = now_ms,
        };
        return false;
    }
    if (watch->progress != look->progress) {
        watch->progress = look->progress;
        watch->progress_ms = now_ms;
    }
    switch (look->state) {
    case MT_CLIENT_IDLE:
    case MT_CLIENT_RECEIVING:
        return now_ms - watch->since_ms >= timeout_ms;
    case MT_CLIENT_WAITING:
        return false;
    case MT_CLIENT_SENDING:
        return now_ms - watch->progress_ms >= timeout_ms ||
               now_ms - watch->since_ms >=
                   timeout_ms + look->answer_bytes * 1000 / MT_CLIENT_LEAST_BYTES_PER_S;
    }
    return false;
}
