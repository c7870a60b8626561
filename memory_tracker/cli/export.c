#include "base/clock.h"
#include "base/interrupt.h"
#include "base/log.h"
#include "cli/output.h"
#include "cli/subcommand.h"
#include "record/csv.h"
#include "record/json.h"

enum { CSV, JSON, HOST, FROM, TO, OUTPUT };

static const struct mt_option options[] = {
    [CSV] = {"csv", NULL, "write CSV, as import reads it (the default)"},
    [JSON] = {"json", NULL, "write JSON lines: one object a record"},
    [HOST] = {"host", "NAME", "only records of this host"},
    [FROM] = {"from", "TIME", "the first second that is wanted (default: the beginning)"},
    [TO] = {"to", "TIME", "the first second that is not wanted any more (default: no end)"},
    [OUTPUT] = {"output", "FILE", "write to FILE, which appears complete or not at all"},
    {0},
};

struct answer {
    struct mt_output out;
    bool as_json;
};

static enum mt_err emit(void *context, const struct mt_record *record, struct mt_error *error)
{
    struct answer *answer = context;

    if (answer->as_json) {
        mt_json_record(&answer->out.text, record);
        mt_buf_append_char(&answer->out.text, '\n');
    } else {
        mt_csv_write_record(&answer->out.text, record);
    }
    return mt_output_drain(&answer->out, error);
}

static enum mt_err take_options(const struct mt_arguments *arguments, struct mt_query *query,
                                struct mt_error *error)
{
    enum mt_err result;

    if (arguments->option[JSON] != NULL && arguments->option[CSV] != NULL)
        return mt_error_set(error, MT_ERR_USAGE, "--json and --csv exclude each other; keep one");
    result = mt_check_host(arguments->option[HOST], error);
    if (result == MT_OK)
        result = mt_take_instant("from", arguments->option[FROM], &query->from, error);
    if (result == MT_OK)
        result = mt_take_instant("to", arguments->option[TO], &query->to, error);
    if (result != MT_OK)
        return result;
    if (query->to <= query->from)
        return mt_error_set(error, MT_ERR_USAGE, "--to: bad value '%s': must be later than --from",
                            arguments->option[TO]);
    if (arguments->option[HOST] != NULL) {
        query->hosts = &arguments->option[HOST];
        query->host_count = 1;
    }
    return MT_OK;
}

static enum mt_err run(const struct mt_config *config, const struct mt_arguments *arguments,
                       struct mt_error *error)
{
    struct answer answer = {.as_json = arguments->option[JSON] != NULL};
    /* an explicit end, since records dated in the future belong to the history, too */
    struct mt_query query = {.to = MT_TIMESTAMP_MAX + 1,
                             .now_s = mt_clock_wall_s(),
                             .fields = MT_FIELD_ALL,
                             .cancelled = mt_interrupt_seen};
    struct mt_store *store = NULL;
    enum mt_err result = take_options(arguments, &query, error);

    mt_interrupt_catch();
    if (result == MT_OK)
        result = mt_output_open(&answer.out, arguments->option[OUTPUT], error);
    if (result == MT_OK)
        result = mt_open_reader(config, &store, error);
    if (result != MT_OK)
        goto out;
    if (!answer.as_json)
        mt_csv_write_header(&answer.out.text);
    result = mt_store_scan(store, &query, emit, &answer, error);
    if (result == MT_OK)
        result = mt_output_commit(&answer.out, error);
out:
    mt_store_close(store);
    mt_output_close(&answer.out);
    return result;
}

const struct mt_subcommand mt_export_subcommand = {
    .name = "export",
    .command =
        {
            .name = "memory-tracker export",
            .operands = "",
            .summary = "Writes whole records, oldest first, as CSV or JSON lines.",
            .examples = "  memory-tracker export --output history.csv\n"
                        "  memory-tracker export --json --from 2026-11-21 --to 2026-11-22\n"
                        "  memory-tracker export | gzip > history.csv.gz\n",
            .notes = "TIME is in UTC, as 2026-11-21 or 2026-11-21T09:00:00Z, or Unix seconds.\n"
                     "Sizes are in KiB. Absent values are empty cells, in JSON null.\n",
            .program = MT_PROGRAM_TRACKER,
            .options = options,
        },
    .run = run,
};
