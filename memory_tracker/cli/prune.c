#include <inttypes.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/interrupt.h"
#include "base/log.h"
#include "cli/duration.h"
#include "cli/output.h"
#include "cli/subcommand.h"
#include "store/tend.h"
#include "store/uri.h"

enum { BEFORE, DRY_RUN, JSON };

static const struct mt_option options[] = {
    [BEFORE] = {"before", "TIME", "remove the days that ended before TIME, not those by RETENTION"},
    [DRY_RUN] = {"dry-run", NULL, "remove nothing, say what would go"},
    [JSON] = {"json", NULL, "write one JSON object; times in Unix seconds, sizes in bytes"},
    {0},
};

enum { WAIT_MS = 20000 };

struct work {
    struct mt_output out;
    struct mt_store *store;
    struct mt_tending tending;
    const char *kept; /* RETENTION */
    bool is_dry, as_json;
};

static void put_number(struct mt_buf *out, const char *name, int64_t value, bool is_known)
{
    if (is_known)
        mt_buf_printf(out, ",\"%s\":%" PRId64, name, value);
    else
        mt_buf_printf(out, ",\"%s\":null", name);
}

static void put_json(const struct work *work, struct mt_buf *out)
{
    const struct mt_pruning *pruning = &work->tending.pruning;

    mt_buf_printf(out, "{\"dry_run\":%s,\"records\":%" PRId64, work->is_dry ? "true" : "false",
                  pruning->records);
    put_number(out, "from", pruning->first, pruning->records > 0);
    put_number(out, "to", pruning->end, pruning->records > 0);
    put_number(out, "size_before", pruning->size_before, pruning->size_before >= 0);
    put_number(out, "size", pruning->size, pruning->size >= 0);
    mt_buf_printf(out, ",\"is_done\":%s}\n", pruning->is_done ? "true" : "false");
}

static void put_text(const struct work *work, struct mt_buf *out)
{
    const struct mt_pruning *pruning = &work->tending.pruning;
    const char *about = work->is_dry && pruning->kept < 0 ? "about " : "";
    char before[MT_SIZE_SIZE];
    char after[MT_SIZE_SIZE];

    if (pruning->records == 0) {
        mt_buf_append_string(out, work->is_dry ? "would remove nothing" : "nothing removed");
    } else {
        mt_buf_printf(out, "%s %s%" PRId64 " record%s of ",
                      work->is_dry ? "would remove" : "removed", about, pruning->records,
                      mt_plural(pruning->records));
        mt_tend_describe_days(pruning, out);
    }
    if (pruning->size >= 0) {
        mt_size_format(pruning->size_before, before);
        mt_size_format(pruning->size, after);
        if (pruning->records == 0)
            mt_buf_printf(out, ": %s", after);
        else
            mt_buf_printf(out, ": %s before, %s%s %s", before, about, after,
                          work->is_dry ? "then" : "now");
    }
    mt_buf_append_char(out, '\n');
}

static enum mt_err prune(struct work *work, struct mt_error *error)
{
    struct mt_pruning *pruning = &work->tending.pruning;
    enum mt_err result;

    if (work->is_dry)
        result = mt_prune_foretell(work->store, pruning, error);
    else if (pruning->kept < 0)
        result = mt_tend(work->store, &work->tending, error);
    else
        result = mt_prune_days(work->store, pruning, error);
    if (result != MT_OK && (work->is_dry || pruning->records == 0))
        return result;
    /* what went is told also where something failed in the end */
    if (work->as_json)
        put_json(work, &work->out.text);
    else
        put_text(work, &work->out.text);
    if (result == MT_OK && !pruning->is_done)
        result = mt_error_set(error, MT_ERR_CANCELLED, "interrupted");
    if (result == MT_OK && pruning->kept < 0 && pruning->size > -pruning->kept && !work->is_dry)
        mt_log(MT_LOG_WARNING,
               "the history is larger than RETENTION, %s: the present day is never removed",
               work->kept);
    return result;
}

static enum mt_err choose(struct work *work, const struct mt_config *config,
                          const struct mt_arguments *arguments, struct mt_error *error)
{
    struct mt_pruning *pruning = &work->tending.pruning;
    const char *before = arguments->option[BEFORE];

    pruning->now_s = mt_clock_wall_s();
    pruning->cancelled = mt_interrupt_seen;
    if (before == NULL)
        pruning->kept = mt_config_number(config, MT_SETTING_RETENTION);
    else if (mt_config_origin(config, MT_SETTING_RETENTION) == MT_ORIGIN_OPTION)
        return mt_error_set(error, MT_ERR_USAGE, "--before and --retention exclude each other");
    if (before == NULL && pruning->kept == 0)
        return mt_error_set(error, MT_ERR_USAGE,
                            "nothing says what is to go: give --before TIME or RETENTION");
    return mt_take_instant("before", before, &pruning->before, error);
}

static enum mt_err run(const struct mt_config *config, const struct mt_arguments *arguments,
                       struct mt_error *error)
{
    const struct mt_store_options writer = {.busy_wait_ms = WAIT_MS};
    struct work work = {.kept = mt_config_string(config, MT_SETTING_RETENTION),
                        .is_dry = arguments->option[DRY_RUN] != NULL,
                        .as_json = arguments->option[JSON] != NULL};
    char *uri = NULL;
    enum mt_err result = choose(&work, config, arguments, error);

    mt_interrupt_catch();
    if (result == MT_OK)
        result = mt_output_open(&work.out, NULL, error);
    if (result == MT_OK)
        result = mt_store_uri(config, &uri, error);
    if (result == MT_OK)
        result = work.is_dry ? mt_open_reader_of(uri, &work.store, error)
                             : mt_tend_open(uri, &writer, &work.store, error);
    if (work.store != NULL) {
        result = prune(&work, error);
        result = mt_output_commit_after(&work.out, result, error);
    }
    mt_store_close(work.store);
    mt_output_close(&work.out);
    free(uri);
    return result;
}

const struct mt_subcommand mt_prune_subcommand = {
    .name = "prune",
    .command =
        {
            .name = "memory-tracker prune",
            .operands = "",
            .summary = "Removes the oldest days of the history for good.",
            .examples = "  memory-tracker prune --before 2026-01-01 --dry-run\n"
                        "  memory-tracker prune --retention 90d\n"
                        "  memory-tracker prune --retention 2GiB\n",
            .notes =
                "Whole days (UTC) of all hosts go, never the present one. RETENTION as a size\n"
                "first seals finished days; what --dry-run says is about right then. With\n"
                "--before RETENTION does not count. Interrupted, it has removed the oldest.\n",
            .program = MT_PROGRAM_TRACKER,
            .options = options,
        },
    .run = run,
};
