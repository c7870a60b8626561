#include <inttypes.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/utc.h"
#include "cli/output.h"
#include "cli/subcommand.h"
#include "cli/table.h"
#include "record/csv.h"
#include "record/derive.h"

enum { LIMIT, SKIP, HOST, USED, JSON, CSV };

static const struct mt_option options[] = {
    [LIMIT] = {"limit", "COUNT", "how many records, or all (default: 10)"},
    [SKIP] = {"skip", "COUNT", "leave out that many of the newest records (default: 0)"},
    [HOST] = {"host", "NAME", "only records of this host"},
    [USED] = {"used", "FORMULA",
              "what counts as used: available, free, procps3, htop or sar (default: available)"},
    [JSON] = {"json", NULL, "write a JSON array, sizes in MiB"},
    [CSV] = {"csv", NULL, "write CSV, sizes in MiB, as import reads it"},
    {0},
};

struct answer {
    struct mt_output out;
    struct mt_table table;
    enum mt_used_formula formula;
    int64_t count;
    enum { AS_TABLE, AS_JSON, AS_CSV } form;
};

static const struct mt_column columns[] = {
    {"TIME", false}, {"HOST", false}, {"TOTAL/MiB", true}, {"FREE/MiB", true}, {"USED/MiB", true},
};

enum { COLUMNS = sizeof columns / sizeof columns[0] };

/* False if a part of the formula is absent. */
static bool used_mib(const struct answer *answer, const struct mt_record *record,
                     const struct mt_summary *summary, int64_t *used)
{
    int64_t used_kib;

    *used = summary->used_mib; /* total = free + used also after rounding */
    if (answer->formula == MT_USED_AVAILABLE)
        return true;
    if (!mt_used_kib(record, answer->formula, &used_kib))
        return false;
    *used = used_kib / 1024;
    return true;
}

static enum mt_err emit(void *context, const struct mt_record *record, struct mt_error *error)
{
    struct answer *answer = context;
    struct mt_buf *text = &answer->out.text;
    struct mt_summary summary = mt_summarize(record);
    int64_t used;
    bool has_used = used_mib(answer, record, &summary, &used);
    char time[MT_UTC_SIZE];

    switch (answer->form) {
    case AS_TABLE:
        mt_utc_format(record->timestamp, time);
        mt_table_cell(&answer->table, time);
        mt_table_cell(&answer->table, record->host);
        mt_table_number(&answer->table, summary.total_mib);
        mt_table_number(&answer->table, summary.free_mib);
        if (has_used)
            mt_table_number(&answer->table, used);
        else
            mt_table_cell(&answer->table, "-");
        break;
    case AS_JSON:
        mt_buf_append_string(text, answer->count == 0 ? "[\n{\"host\":" : ",\n{\"host\":");
        mt_buf_append_json_string(text, record->host, strlen(record->host));
        mt_buf_printf(text, ",\"timestamp\":%" PRId64 ",\"total\":%" PRId64 ",\"free\":%" PRId64,
                      record->timestamp, summary.total_mib, summary.free_mib);
        mt_buf_append_string(text, ",\"used\":");
        if (has_used)
            mt_buf_append_i64(text, used);
        else
            mt_buf_append_string(text, "null");
        mt_buf_append_char(text, '}');
        break;
    case AS_CSV:
        mt_buf_printf(text, "%" PRId64 ",", record->timestamp);
        mt_csv_append_cell(text, record->host);
        mt_buf_printf(text, ",%" PRId64 ",%" PRId64 ",", summary.total_mib, summary.free_mib);
        if (has_used)
            mt_buf_append_i64(text, used);
        mt_buf_append_char(text, '\n');
        break;
    }
    answer->count++;
    return answer->form == AS_TABLE ? mt_table_drain(&answer->table, error)
                                    : mt_output_drain(&answer->out, error);
}

static void begin(struct answer *answer)
{
    mt_table_init(&answer->table, columns, COLUMNS, &answer->out);
    if (answer->form == AS_CSV)
        mt_buf_append_string(&answer->out.text, "timestamp,host,total,free,used\n");
}

static void finish(struct answer *answer)
{
    if (answer->form == AS_TABLE)
        mt_table_finish(&answer->table);
    if (answer->form == AS_JSON)
        mt_buf_append_string(&answer->out.text, answer->count == 0 ? "[]\n" : "\n]\n");
}

static enum mt_err take_formula(const char *text, enum mt_used_formula *formula,
                                struct mt_error *error)
{
    for (*formula = 0; text != NULL && *formula < MT_USED_COUNT; (*formula)++)
        if (strcmp(text, mt_used_formula_name(*formula)) == 0)
            return MT_OK;
    if (text == NULL)
        return MT_OK;
    return mt_error_set(error, MT_ERR_USAGE,
                        "--used: bad value '%s': give available, free, procps3, htop or sar", text);
}

static enum mt_err take_options(const struct mt_arguments *arguments, struct mt_query *query,
                                struct answer *answer, struct mt_error *error)
{
    const char *limit = arguments->option[LIMIT];
    enum mt_err result = MT_OK;

    if (arguments->option[JSON] != NULL && arguments->option[CSV] != NULL)
        return mt_error_set(error, MT_ERR_USAGE, "--json and --csv exclude each other; keep one");
    answer->form = arguments->option[JSON] != NULL  ? AS_JSON
                   : arguments->option[CSV] != NULL ? AS_CSV
                                                    : AS_TABLE;
    query->limit = 10;
    if (limit != NULL && strcmp(limit, "all") == 0)
        query->limit = 0;
    else
        result = mt_take_count("limit", limit, 1, ", or all", &query->limit, error);
    if (result == MT_OK)
        result = mt_take_count("skip", arguments->option[SKIP], 0, "", &query->skip, error);
    if (result == MT_OK)
        result = take_formula(arguments->option[USED], &answer->formula, error);
    if (result == MT_OK)
        result = mt_check_host(arguments->option[HOST], error);
    if (result == MT_OK && arguments->option[HOST] != NULL) {
        query->hosts = &arguments->option[HOST];
        query->host_count = 1;
    }
    return result;
}

static enum mt_err run(const struct mt_config *config, const struct mt_arguments *arguments,
                       struct mt_error *error)
{
    struct answer answer = {0};
    struct mt_query query = {.now_s = mt_clock_wall_s(), .fields = MT_FIELD_ALL};
    struct mt_store *store = NULL;
    enum mt_err result = take_options(arguments, &query, &answer, error);

    if (result == MT_OK)
        result = mt_output_open(&answer.out, NULL, error);
    if (result == MT_OK)
        result = mt_open_reader(config, &store, error);
    if (result != MT_OK)
        goto out;
    begin(&answer);
    result = mt_store_scan(store, &query, emit, &answer, error);
    finish(&answer);
    if (result == MT_OK)
        result = mt_output_commit(&answer.out, error);
    if (result == MT_OK && answer.count == 0 && query.skip == 0 && query.host_count > 0)
        mt_log(MT_LOG_WARNING, "no records of host '%s'; memory-tracker hosts lists all",
               query.hosts[0]);
out:
    mt_store_close(store);
    mt_output_close(&answer.out);
    return result;
}

const struct mt_subcommand mt_logs_subcommand = {
    .name = "logs",
    .command =
        {
            .name = "memory-tracker logs",
            .operands = "",
            .summary = "Shows the newest records, oldest first; sizes in MiB.",
            .examples = "  memory-tracker logs\n"
                        "  memory-tracker logs --limit 60 --used htop\n"
                        "  memory-tracker logs --limit all --csv\n",
            .notes = "FREE is what can be had without swapping (MemAvailable), USED the rest;\n"
                     "--used chooses another formula. A size that cannot be told is - in the\n"
                     "table, null in JSON and empty in CSV.\n",
            .program = MT_PROGRAM_TRACKER,
            .options = options,
        },
    .run = run,
};
