/*
 * history sealed|loose URI PROFILE HOSTS RECORDS END: fills a store by its own append with RECORDS
 * records, one a minute of each host, the last of them in the minute of the Unix second END; with
 * "sealed" it is compacted as it grows, as a store that is in use is.
 *
 * history openmetrics DIRECTORY PROFILE HOSTS RECORDS END: the same as texts for promtool, one for
 * each SPAN_S seconds, so that no block of Prometheus needs two of them.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "model.h"
#include "store/store.h"

enum { PER_BATCH = 20000, PER_COMPACTION = 400000, SPAN_S = 486 * 3600 };

struct work {
    const char *how;
    const char *where;
    const struct mt_profile *profile;
    int hosts;
    int64_t records;
    int64_t end;
    struct mt_machine *machines;
};

static enum mt_err compact(struct mt_store *store, int64_t now_s, struct mt_error *error)
{
    struct mt_compaction compaction = {.now_s = now_s};

    return mt_store_compact(store, &compaction, error);
}

/* the i-th record of all, in the order in which they would have been taken */
static void next_record(const struct work *work, int64_t i, struct mt_record *record)
{
    int64_t minutes = (work->records + work->hosts - 1) / work->hosts;
    int64_t minute_s = (work->end / 60 - (minutes - 1 - i / work->hosts)) * 60;
    int host = (int)(i % work->hosts);

    if (i < work->hosts)
        mt_machine_init(&work->machines[host], work->profile, host, minute_s);
    mt_machine_record(&work->machines[host], minute_s, record);
}

static enum mt_err fill(const struct work *work, struct mt_store *store, struct mt_error *error)
{
    static struct mt_record records[PER_BATCH];
    static struct mt_outcome outcomes[PER_BATCH];
    bool is_sealed = strcmp(work->how, "sealed") == 0;
    int64_t loose = 0;
    enum mt_err err = MT_OK;

    for (int64_t i = 0; i < work->records && err == MT_OK;) {
        size_t count = 0;

        while (count < PER_BATCH && i < work->records)
            next_record(work, i++, &records[count++]);
        err = mt_store_append(store, records, count, MT_CONFLICT_REPORT, outcomes, error);
        for (size_t j = 0; j < count && err == MT_OK; j++)
            if (outcomes[j].verdict != MT_VERDICT_NEW)
                err = mt_error_set(error, MT_ERR_BAD_DATA, "%s", outcomes[j].text);
        loose += (int64_t)count;
        if (err == MT_OK && is_sealed && (loose >= PER_COMPACTION || i == work->records)) {
            err = compact(store, i == work->records ? work->end + 60 : records[count - 1].timestamp,
                          error);
            loose = 0;
        }
    }
    return err;
}

static int fill_store(const struct work *work)
{
    struct mt_store_options options = {.busy_wait_ms = 20000};
    struct mt_store *store = NULL;
    struct mt_error error = {0};
    enum mt_err err = mt_store_open(work->where, &options, &store, &error);

    if (err == MT_OK)
        err = fill(work, store, &error);
    if (err != MT_OK)
        (void)fprintf(stderr, "history: %s: %s\n", mt_err_name(err), error.text);
    mt_store_close(store);
    return mt_err_exit_status(err);
}

static void print_metrics(FILE *file, const struct mt_record *record)
{
    int64_t value;

    for (enum mt_field i = 0; i < MT_FIELD_COUNT; i++)
        if (mt_record_get(record, i, &value))
            (void)fprintf(file, "%s{host=\"%s\"} %" PRId64 " %" PRId64 "\n", mt_field_info(i)->name,
                          record->host, value, record->timestamp);
}

static bool end_text(FILE *file)
{
    (void)fprintf(file, "# EOF\n");
    return fclose(file) == 0;
}

static int print_texts(const struct work *work)
{
    FILE *file = NULL;
    int64_t span = -1;
    bool is_whole = true;

    for (int64_t i = 0; i < work->records && is_whole; i++) {
        struct mt_record record;
        char name[4096];

        next_record(work, i, &record);
        if (record.timestamp / SPAN_S != span) {
            is_whole = !file || end_text(file);
            span = record.timestamp / SPAN_S;
            (void)snprintf(name, sizeof name, "%s/%" PRId64 ".txt", work->where, span);
            file = fopen(name, "w");
            if (!file) {
                perror(name);
                return 1;
            }
        }
        print_metrics(file, &record);
    }
    return file && is_whole && end_text(file) ? 0 : 1;
}

int main(int argc, char **argv)
{
    struct work work = {0};
    int status;

    if (argc == 7) {
        work.how = argv[1];
        work.where = argv[2];
        work.profile = mt_profile_find(argv[3]);
        work.hosts = (int)strtol(argv[4], NULL, 10);
        work.records = strtoll(argv[5], NULL, 10);
        work.end = strtoll(argv[6], NULL, 10);
    }
    if (!work.profile || work.hosts < 1 || work.records < 1) {
        (void)fprintf(stderr, "usage: history sealed|loose URI PROFILE HOSTS RECORDS END\n"
                              "       history openmetrics DIRECTORY PROFILE HOSTS RECORDS END\n");
        return 2;
    }
    work.machines = calloc((size_t)work.hosts, sizeof *work.machines);
    if (!work.machines)
        return 1;
    status = strcmp(work.how, "openmetrics") == 0 ? print_texts(&work) : fill_store(&work);
    free(work.machines);
    return status;
}
