#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/utc.h"
#include "cli/audit.h"
#include "cli/duration.h"
#include "cli/output.h"
#include "cli/subcommand.h"
#include "store/uri.h"

enum { DEEP, JSON };

static const struct mt_option options[] = {
    [DEEP] = {"deep", NULL, "also let the database engine check every page of a private copy"},
    [JSON] = {"json", NULL, "write one JSON object"},
    {0},
};

struct names {
    char (*name)[MT_HOST_MAX + 1];
    size_t count, capacity;
};

struct report {
    struct mt_output out;
    struct mt_audit audit; /* of the host at hand */
    struct names hosts;
    int64_t faults; /* of the store itself */
    int64_t problems, warnings, records;
    bool as_json;
};

static enum mt_err take_host(void *context, const struct mt_host *host, struct mt_error *error)
{
    struct names *names = context;

    if (names->count == names->capacity) {
        size_t capacity = names->capacity == 0 ? 16 : 2 * names->capacity;
        void *grown = reallocarray(names->name, capacity, sizeof *names->name);

        if (grown == NULL)
            return mt_error_set(error, MT_ERR_NO_MEMORY, "out of memory");
        names->name = grown;
        names->capacity = capacity;
    }
    memcpy(names->name[names->count++], host->name, sizeof *names->name);
    return MT_OK;
}

/* A database engine may tell a fault in several lines. */
static void put_indented(struct mt_buf *out, const char *text)
{
    for (; *text != '\0'; text++) {
        mt_buf_append_char(out, *text);
        if (*text == '\n')
            mt_buf_append_string(out, "    ");
    }
    mt_buf_append_char(out, '\n');
}

static void put_fault(void *context, const char *text)
{
    struct report *report = context;
    struct mt_buf *out = &report->out.text;

    if (report->as_json) {
        mt_buf_append_string(out, report->faults == 0 ? "\n" : ",\n");
        mt_buf_append_json_string(out, text, strlen(text));
    } else {
        mt_buf_append_string(out, report->faults == 0 ? "not sound\n  problem: " : "  problem: ");
        put_indented(out, text);
    }
    report->faults++;
}

/* A line of a host's findings; says nothing where there is nothing. */
static void put_finding(struct mt_buf *out, const struct mt_finding *finding, const char *kind,
                        const char *one, const char *many)
{
    char first[MT_UTC_SIZE];

    if (finding->count == 0)
        return;
    mt_utc_format(finding->first, first);
    mt_buf_printf(out, "  %s: %" PRId64 " %s, first at %s\n", kind, finding->count,
                  finding->count == 1 ? one : many, first);
}

static void put_host_text(struct mt_buf *out, const char *host, const struct mt_audit *audit)
{
    char first[MT_UTC_SIZE];
    char last[MT_UTC_SIZE];
    char missing[MT_DURATION_SIZE];
    char longest[MT_DURATION_SIZE];
    char text[160];

    mt_utc_format(audit->first, first);
    mt_utc_format(audit->last, last);
    if (audit->records == 0)
        mt_buf_printf(out, "%s: 0 records\n", host);
    else
        mt_buf_printf(out, "%s: %" PRId64 " record%s from %s to %s\n", host, audit->records,
                      mt_plural(audit->records), first, last);
    put_finding(out, &audit->order, "problem", "record is out of order",
                "records are out of order");
    put_finding(out, &audit->interleaved, "problem",
                "boot comes back after another: two machines with one name, or a clock set back",
                "boots come back after others: two machines with one name, or a clock set back");
    (void)snprintf(text, sizeof text, "counter falls within a boot (%s)",
                   mt_field_info(audit->falling_field)->name);
    put_finding(out, &audit->falling, "problem", text, text);
    if (audit->gaps.count > 0) {
        mt_utc_format(audit->longest_from, first);
        mt_duration_format(audit->missing_s, missing);
        mt_duration_format(audit->longest_s, longest);
        mt_buf_printf(out,
                      "  warning: %" PRId64 " gap%s, %" PRId64
                      " record%s (%s) missing; the longest is %s from %s\n",
                      audit->gaps.count, mt_plural(audit->gaps.count), audit->missing,
                      mt_plural(audit->missing), missing, longest, first);
    }
    put_finding(out, &audit->close, "warning", "record less than half an interval after another",
                "records less than half an interval after others");
    put_finding(out, &audit->steps, "warning", "time the clock was set back within a boot",
                "times the clock was set back within a boot");
    if (audit->future > 0)
        mt_buf_printf(out, "  warning: %" PRId64 " record%s dated in the future\n", audit->future,
                      mt_plural(audit->future));
}

static void put_host_json(struct mt_buf *out, const char *host, const struct mt_audit *audit,
                          bool is_complete)
{
    const struct {
        const char *name;
        int64_t value;
    } numbers[] = {
        {"records", audit->records},
        {"first", audit->first},
        {"last", audit->last},
        {"out_of_order", audit->order.count},
        {"boots_that_come_back", audit->interleaved.count},
        {"falling_counters", audit->falling.count},
        {"gaps", audit->gaps.count},
        {"missing", audit->missing},
        {"missing_s", audit->missing_s},
        {"longest_gap_s", audit->longest_s},
        {"longest_gap_from", audit->longest_from},
        {"too_close", audit->close.count},
        {"clock_set_back", audit->steps.count},
        {"future", audit->future},
    };

    mt_buf_append_string(out, "\n{\"host\":");
    mt_buf_append_json_string(out, host, strlen(host));
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++)
        mt_buf_printf(out, ",\"%s\":%" PRId64, numbers[i].name, numbers[i].value);
    mt_buf_printf(out, ",\"is_complete\":%s}", is_complete ? "true" : "false");
}

static enum mt_err audit_record(void *context, const struct mt_record *record,
                                struct mt_error *error)
{
    return mt_audit_take(context, record) ? MT_OK
                                          : mt_error_set(error, MT_ERR_NO_MEMORY, "out of memory");
}

/* Damage is what is looked for: here and below it goes into the report, and the work goes on. */
static enum mt_err audit_host(struct report *report, struct mt_store *store, const char *host,
                              int64_t now_s, struct mt_error *error)
{
    struct mt_query query = {
        .hosts = &host, .host_count = 1, .to = MT_TIMESTAMP_MAX + 1, .now_s = now_s};
    enum mt_err result;

    for (enum mt_field i = 0; i < MT_FIELD_COUNT; i++)
        if (mt_field_info(i)->kind != MT_KIND_GAUGE)
            query.fields |= MT_FIELD_BIT(i);
    mt_audit_init(&report->audit, now_s);
    result = mt_store_scan(store, &query, audit_record, &report->audit, error);
    if (result == MT_OK || result == MT_ERR_CORRUPT) {
        if (report->as_json)
            put_host_json(&report->out.text, host, &report->audit, result == MT_OK);
        else
            put_host_text(&report->out.text, host, &report->audit);
        if (!report->as_json && result != MT_OK)
            mt_buf_append_string(&report->out.text, "  problem: damage hides further records\n");
        report->problems += result != MT_OK;
        result = MT_OK;
        report->problems += mt_audit_problems(&report->audit);
        report->warnings += mt_audit_warnings(&report->audit);
        report->records += report->audit.records;
    }
    mt_audit_fini(&report->audit);
    return result;
}

static enum mt_err verify(struct report *report, struct mt_store *store, const char *uri, bool deep,
                          struct mt_error *error)
{
    struct mt_buf *out = &report->out.text;
    int64_t now_s = mt_clock_wall_s();
    int64_t findings = 0;
    char shown[1024];
    enum mt_err result;

    mt_setting_mask(MT_SETTING_STORE, uri, shown, sizeof shown);
    if (report->as_json)
        mt_buf_append_string(out, "{\"faults\":[");
    else
        mt_buf_printf(out, "%s: ", shown);
    result = mt_store_verify(store, deep, put_fault, report, &findings, error);
    if (result == MT_ERR_CORRUPT)
        put_fault(report, error->text);
    else if (result != MT_OK)
        return result;
    result = mt_store_hosts(store, now_s, take_host, &report->hosts, error);
    if (result == MT_ERR_CORRUPT) {
        put_fault(report, error->text);
        result = MT_OK;
    }
    report->problems += report->faults;
    if (report->as_json)
        mt_buf_append_string(out, "],\"hosts\":[");
    else if (report->faults == 0)
        mt_buf_append_string(out, "sound\n");
    for (size_t i = 0; i < report->hosts.count && result == MT_OK; i++) {
        if (report->as_json && i > 0)
            mt_buf_append_char(out, ',');
        result = audit_host(report, store, report->hosts.name[i], now_s, error);
    }
    if (result != MT_OK)
        return result;
    if (report->as_json)
        mt_buf_printf(out, "],\n\"problems\":%" PRId64 ",\"warnings\":%" PRId64 "}\n",
                      report->problems, report->warnings);
    else
        mt_buf_printf(
            out, "%zu host%s, %" PRId64 " record%s: %" PRId64 " problem%s, %" PRId64 " warning%s\n",
            report->hosts.count, mt_plural((int64_t)report->hosts.count), report->records,
            mt_plural(report->records), report->problems, mt_plural(report->problems),
            report->warnings, mt_plural(report->warnings));
    return MT_OK;
}

static enum mt_err run(const struct mt_config *config, const struct mt_arguments *arguments,
                       struct mt_error *error)
{
    struct report report = {.as_json = arguments->option[JSON] != NULL};
    struct mt_store *store = NULL;
    char *uri = NULL;
    enum mt_err result;

    result = mt_output_open(&report.out, NULL, error);
    if (result == MT_OK)
        result = mt_store_uri(config, &uri, error);
    if (result == MT_OK)
        result = mt_open_reader_of(uri, &store, error);
    if (result == MT_OK)
        result = verify(&report, store, uri, arguments->option[DEEP] != NULL, error);
    if (result == MT_OK)
        result = mt_output_commit(&report.out, error);
    /* also where nobody reads the report to its end, the exit status tells */
    if ((result == MT_OK || (result == MT_ERR_IO && error->sys_errno == EPIPE)) &&
        report.problems > 0)
        result = mt_error_set(error, MT_ERR_FAILED, "%" PRId64 " problem%s found", report.problems,
                              mt_plural(report.problems));
    mt_store_close(store);
    mt_output_close(&report.out);
    free(report.hosts.name);
    free(uri);
    return result;
}

const struct mt_subcommand mt_verify_subcommand = {
    .name = "verify",
    .command =
        {
            .name = "memory-tracker verify",
            .operands = "",
            .summary = "Checks the store, and each host's history for gaps and contradictions.",
            .examples = "  memory-tracker verify\n"
                        "  memory-tracker verify --deep --json\n",
            .notes =
                "Problems make the exit status 1: a store that is not sound, boots that\n"
                "interleave, counters that fall within a boot. Warnings do not: gaps, records\n"
                "that stand too close, a clock that was set back, records dated in the future.\n",
            .program = MT_PROGRAM_TRACKER,
            .options = options,
        },
    .run = run,
};
