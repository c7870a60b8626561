/* The access log: one line per request, as text or JSON. */
#ifndef MT_API_ACCESS_LOG_H
#define MT_API_ACCESS_LOG_H

#include <stdint.h>

#include "base/buf.h"
#include "base/text.h"

/* In the order of setting.def. */
enum mt_access_format { MT_ACCESS_OFF, MT_ACCESS_TEXT, MT_ACCESS_JSON };

struct mt_access {
    int64_t time_ms;    /* Unix ms at which the line is written: the answer is done */
    const char *remote; /* "127.0.0.1:41234", "[::1]:41234" or "unix" */
    struct mt_slice method;
    struct mt_slice target; /* path and query as sent */
    int status;             /* 0: the connection ended before there was an answer */
    int64_t bytes;          /* of the body, handed to the connection */
    int64_t duration_ms;    /* from the complete request to the end of its answer */
    const char *token;      /* name of the token that it came with; "" if there was none */
};

/*
 * mt_access_print: appends the line with its newline. Text:
 * `2026-11-21T09:00:00.123Z access 127.0.0.1:41234 "GET /memory-logs?limit=1" 200 63 2ms`, where
 * control characters, `"`, `\` and bytes above 0x7E are written as \xNN. A target of more than 1024
 * bytes is cut, and ends in `...`. Where there was a token, ` token=NAME` follows.
 */
void mt_access_print(struct mt_buf *out, const struct mt_access *access,
                     enum mt_access_format format);

/*
 * mt_access_write: writes the line to where log lines go. *lost counts lines that could not be
 * written; the next one that can is followed by a warning with their number, and *lost is 0 again.
 */
void mt_access_write(const struct mt_access *access, enum mt_access_format format, int64_t *lost);

#endif
