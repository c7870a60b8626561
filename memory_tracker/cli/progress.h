/* A progress bar on standard error, if that is a terminal. Owned by one thread. */
#ifndef MT_CLI_PROGRESS_H
#define MT_CLI_PROGRESS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"

struct mt_progress {
    const char *verb; /* "importing"; borrowed */
    bool is_shown;    /* standard error is a terminal */
    int64_t started_ms;
    int64_t drawn_ms;
};

/* mt_progress_begin: nothing is drawn yet. */
void mt_progress_begin(struct mt_progress *progress, const char *verb);

/* mt_progress_step: draws at most ten times a second. done of size, and the records that makes. */
void mt_progress_step(struct mt_progress *progress, int64_t done, int64_t size, int64_t records);

/* mt_progress_wipe: clears the line, at the end or before another line; a step draws it again. */
void mt_progress_wipe(const struct mt_progress *progress);

/* mt_progress_render: the line as it is drawn after elapsed_ms, without control characters. */
void mt_progress_render(struct mt_buf *out, const char *verb, int64_t done, int64_t size,
                        int64_t records, int64_t elapsed_ms);

#endif
