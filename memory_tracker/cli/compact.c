#include <inttypes.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/interrupt.h"
#include "cli/duration.h"
#include "cli/output.h"
#include "cli/subcommand.h"
#include "store/tend.h"
#include "store/uri.h"

enum { JSON };

static const struct mt_option options[] = {
    [JSON] = {"json", NULL, "write one JSON object, sizes in bytes"},
    {0},
};

enum { WAIT_MS = 20000 };

struct work {
    struct mt_output out;
    struct mt_store *store;
    struct mt_compaction compaction;
    int64_t before, after; /* bytes */
    bool as_json;
};

static void put(struct work *work)
{
    const struct mt_compaction *compaction = &work->compaction;
    struct mt_buf *text = &work->out.text;
    char before[MT_SIZE_SIZE];
    char after[MT_SIZE_SIZE];

    if (work->as_json) {
        mt_buf_printf(text,
                      "{\"days\":%" PRId64 ",\"records\":%" PRId64 ",\"size_before\":%" PRId64
                      ",\"size\":%" PRId64 ",\"is_done\":%s}\n",
                      compaction->days, compaction->records, work->before, work->after,
                      compaction->is_done ? "true" : "false");
        return;
    }
    mt_size_format(work->before, before);
    mt_size_format(work->after, after);
    if (compaction->days == 0)
        mt_buf_printf(text, "nothing sealed: %s\n", after);
    else
        mt_buf_printf(text,
                      "%" PRId64 " host-day%s sealed, %" PRId64 " record%s: %s before, %s now\n",
                      compaction->days, mt_plural(compaction->days), compaction->records,
                      mt_plural(compaction->records), before, after);
}

/* What was done is told also where something failed in the end. */
static enum mt_err compact(struct work *work, struct mt_error *error)
{
    enum mt_err result;

    work->compaction =
        (struct mt_compaction){.now_s = mt_clock_wall_s(), .cancelled = mt_interrupt_seen};
    result = mt_store_size(work->store, &work->before, error);
    if (result != MT_OK)
        return result;
    result = mt_store_compact(work->store, &work->compaction, error);
    if (mt_store_size(work->store, &work->after, NULL) != MT_OK)
        work->after = work->before;
    put(work);
    if (result == MT_OK && !work->compaction.is_done)
        result = mt_interrupt_seen(NULL)
                     ? mt_error_set(error, MT_ERR_CANCELLED,
                                    "interrupted; what is left can be sealed later")
                     : mt_error_set(error, MT_ERR_BUSY,
                                    "others write into days that are due all the time, and these "
                                    "are left; try again when they are done");
    return result;
}

static enum mt_err run(const struct mt_config *config, const struct mt_arguments *arguments,
                       struct mt_error *error)
{
    const struct mt_store_options writer = {.busy_wait_ms = WAIT_MS};
    struct work work = {.as_json = arguments->option[JSON] != NULL};
    char *uri = NULL;
    enum mt_err result = mt_output_open(&work.out, NULL, error);

    mt_interrupt_catch();
    if (result == MT_OK)
        result = mt_store_uri(config, &uri, error);
    if (result == MT_OK)
        result = mt_tend_open(uri, &writer, &work.store, error);
    if (result == MT_OK)
        result = compact(&work, error);
    result = mt_output_commit_after(&work.out, result, error);
    mt_store_close(work.store);
    mt_output_close(&work.out);
    free(uri);
    return result;
}

const struct mt_subcommand mt_compact_subcommand = {
    .name = "compact",
    .command =
        {
            .name = "memory-tracker compact",
            .operands = "",
            .summary = "Seals finished days, which then take a tenth of the room.",
            .examples = "  memory-tracker compact\n"
                        "  memory-tracker compact --json\n",
            .notes =
                "A day (UTC) of a host can be sealed two hours after it ended; what comes late is\n"
                "merged into it by the next compaction. memory-courier and memory-api do the same\n"
                "by themselves. It may be interrupted at any time. Servers' stores seal nothing.\n",
            .program = MT_PROGRAM_TRACKER,
            .options = options,
        },
    .run = run,
};
