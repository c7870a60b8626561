#include "cli/progress.h"

#include <inttypes.h>
#include <unistd.h>

#include "base/clock.h"

enum { BAR_CELLS = 20, REDRAW_MS = 100 };

void mt_progress_begin(struct mt_progress *progress, const char *verb)
{
    *progress = (struct mt_progress){.verb = verb,
                                     .is_shown = isatty(STDERR_FILENO) == 1,
                                     .started_ms = mt_clock_monotonic_ms()};
    progress->drawn_ms = progress->started_ms;
}

/* a lost drawing is no reason to stop the work */
static void put(struct mt_buf *line)
{
    if (!line->failed && write(STDERR_FILENO, line->data, line->length) < 0)
        line->failed = true;
    mt_buf_fini(line);
}

void mt_progress_render(struct mt_buf *out, const char *verb, int64_t done, int64_t size,
                        int64_t records, int64_t elapsed_ms)
{
    double share = size > 0 && done < size ? (double)done / (double)size : 1;
    double rate = elapsed_ms > 0 ? (double)records * 1000 / (double)elapsed_ms : 0;
    int64_t left_s = share > 0 ? (int64_t)((double)elapsed_ms / share * (1 - share) / 1000) : 0;

    mt_buf_printf(out, "%s %3d%% [", verb, (int)(share * 100));
    for (int i = 0; i < BAR_CELLS; i++)
        mt_buf_append_char(out, i < (int)(share * BAR_CELLS) ? '#' : '.');
    mt_buf_printf(out, "] %" PRId64 " records, %.0f/s, ETA %" PRId64 ":%02" PRId64, records, rate,
                  left_s / 60, left_s % 60);
}

void mt_progress_step(struct mt_progress *progress, int64_t done, int64_t size, int64_t records)
{
    struct mt_buf line;
    int64_t now_ms;

    if (!progress->is_shown)
        return;
    now_ms = mt_clock_monotonic_ms();
    if (now_ms - progress->drawn_ms < REDRAW_MS)
        return;
    progress->drawn_ms = now_ms;
    mt_buf_init(&line, 0);
    mt_buf_append_string(&line, "\r");
    mt_progress_render(&line, progress->verb, done, size, records, now_ms - progress->started_ms);
    mt_buf_append_string(&line, "\x1b[K");
    put(&line);
}

void mt_progress_wipe(const struct mt_progress *progress)
{
    struct mt_buf line;

    if (!progress->is_shown || progress->drawn_ms == progress->started_ms)
        return;
    mt_buf_init(&line, 0);
    mt_buf_append_string(&line, "\r\x1b[K");
    put(&line);
}
