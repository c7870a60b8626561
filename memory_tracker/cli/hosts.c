#include <inttypes.h>
#include <string.h>

#include "base/clock.h"
#include "base/utc.h"
#include "cli/duration.h"
#include "cli/output.h"
#include "cli/subcommand.h"
#include "cli/table.h"

enum { JSON };

static const struct mt_option options[] = {
    [JSON] = {"json", NULL, "write a JSON array; times in Unix seconds, age in seconds"},
    {0},
};

static const struct mt_column columns[] = {
    {"HOST", false}, {"RECORDS", true}, {"FIRST", false},
    {"LAST", false}, {"AGE", true},     {"FUTURE", true},
};

struct answer {
    struct mt_output out;
    struct mt_table table;
    int64_t now_s;
    int64_t count;
    bool as_json;
};

static enum mt_err emit(void *context, const struct mt_host *host, struct mt_error *error)
{
    struct answer *answer = context;
    struct mt_buf *text = &answer->out.text;
    int64_t age_s = answer->now_s > host->last ? answer->now_s - host->last : 0;
    char first[MT_UTC_SIZE];
    char last[MT_UTC_SIZE];
    char age[MT_DURATION_SIZE];

    if (answer->as_json) {
        mt_buf_append_string(text, answer->count == 0 ? "[\n{\"host\":" : ",\n{\"host\":");
        mt_buf_append_json_string(text, host->name, strlen(host->name));
        mt_buf_printf(text,
                      ",\"records\":%" PRId64 ",\"first\":%" PRId64 ",\"last\":%" PRId64
                      ",\"age_s\":%" PRId64 ",\"future\":%" PRId64 "}",
                      host->records, host->first, host->last, answer->now_s - host->last,
                      host->future);
        answer->count++;
        return mt_output_drain(&answer->out, error);
    }
    mt_utc_format(host->first, first);
    mt_utc_format(host->last, last);
    mt_duration_format(age_s, age);
    mt_table_cell(&answer->table, host->name);
    mt_table_number(&answer->table, host->records);
    mt_table_cell(&answer->table, first);
    mt_table_cell(&answer->table, last);
    mt_table_cell(&answer->table, host->future > 0 ? "-" : age);
    mt_table_number(&answer->table, host->future);
    return mt_table_drain(&answer->table, error);
}

static enum mt_err run(const struct mt_config *config, const struct mt_arguments *arguments,
                       struct mt_error *error)
{
    struct answer answer = {.now_s = mt_clock_wall_s(), .as_json = arguments->option[JSON] != NULL};
    struct mt_store *store = NULL;
    enum mt_err result = mt_output_open(&answer.out, NULL, error);

    if (result == MT_OK)
        result = mt_open_reader(config, &store, error);
    if (result != MT_OK)
        goto out;
    mt_table_init(&answer.table, columns, sizeof columns / sizeof columns[0], &answer.out);
    result = mt_store_hosts(store, answer.now_s, emit, &answer, error);
    if (!answer.as_json)
        mt_table_finish(&answer.table);
    else
        mt_buf_append_string(&answer.out.text, answer.count == 0 ? "[]\n" : "\n]\n");
    if (result == MT_OK)
        result = mt_output_commit(&answer.out, error);
out:
    mt_store_close(store);
    mt_output_close(&answer.out);
    return result;
}

const struct mt_subcommand mt_hosts_subcommand = {
    .name = "hosts",
    .command =
        {
            .name = "memory-tracker hosts",
            .operands = "",
            .summary = "Lists the hosts, how many records each has, and from when to when.",
            .examples = "  memory-tracker hosts\n"
                        "  memory-tracker hosts --json\n",
            .notes = "AGE is how long ago the last record was taken. FUTURE counts records dated\n"
                     "more than 300 s ahead of this machine's clock; where there are any, AGE is\n"
                     "unknown and the host's clock is worth a look.\n",
            .program = MT_PROGRAM_TRACKER,
            .options = options,
        },
    .run = run,
};
