/*
 * make_history URI HOSTS MINUTES [END]: fills a store with a record a minute of each host, the last
 * one at the Unix second END (default 1700000040), all made up but always the same. For measuring
 * and for trying things out.
 */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "store/store.h"

enum { PER_BATCH = 5000 };

/* a working day: load rises from 8 to 17 UTC; every host leans its own way */
static int64_t used_kib(int host, int64_t timestamp)
{
    double hour = (double)(timestamp % 86400) / 3600;
    double load = 0.35 + 0.2 * exp(-pow((hour - 13.5) / 4, 2)) + 0.01 * (host % 10);
    uint64_t noise = (uint64_t)(timestamp / 60) * 2654435761U ^ (uint64_t)host * 40503U;

    return (int64_t)(load * 16384000) + (int64_t)(noise % 65536);
}

static struct mt_record make_record(int host, int64_t timestamp, int64_t minute)
{
    struct mt_record record = {.timestamp = timestamp, .has_boot_id = true};
    int64_t used = used_kib(host, timestamp);

    (void)snprintf(record.host, sizeof record.host, "node-%03d", host + 1);
    record.boot_id[0] = (uint8_t)host;
    record.boot_id[1] = (uint8_t)(minute / 43200); /* a reboot every 30 days */
    for (enum mt_field i = 0; i < MT_FIELD_COUNT; i++)
        if (mt_field_info(i)->kind == MT_KIND_COUNTER)
            mt_record_set(&record, i, minute % 43200 * (int64_t)(i % 7));
        else if (i != MT_FIELD_ZFS_ARC_SIZE && i != MT_FIELD_ZFS_ARC_MIN)
            mt_record_set(&record, i, used / (2 + (int64_t)i));
    mt_record_set(&record, MT_FIELD_UPTIME_S, minute % 43200 * 60);
    mt_record_set(&record, MT_FIELD_INTERVAL_S, 60);
    mt_record_set(&record, MT_FIELD_MEM_TOTAL, 16384000);
    mt_record_set(&record, MT_FIELD_MEM_FREE, (16384000 - used) / 3);
    mt_record_set(&record, MT_FIELD_MEM_AVAILABLE, 16384000 - used);
    return record;
}

static enum mt_err fill(struct mt_store *store, int hosts, int64_t minutes, int64_t end,
                        struct mt_error *error)
{
    static struct mt_record records[PER_BATCH];
    static struct mt_outcome outcomes[PER_BATCH];
    size_t count = 0;
    enum mt_err err = MT_OK;

    for (int64_t minute = 0; minute < minutes && err == MT_OK; minute++) {
        for (int host = 0; host < hosts && err == MT_OK; host++) {
            records[count++] = make_record(host, end - (minutes - 1 - minute) * 60, minute);
            if (count < PER_BATCH && !(minute == minutes - 1 && host == hosts - 1))
                continue;
            err = mt_store_append(store, records, count, MT_CONFLICT_REPORT, outcomes, error);
            count = 0;
        }
    }
    return err;
}

int main(int argc, char **argv)
{
    struct mt_store_options options = {.busy_wait_ms = 20000};
    struct mt_store *store = NULL;
    struct mt_error error = {0};
    enum mt_err err;

    if (argc < 4) {
        (void)fprintf(stderr, "usage: make_history URI HOSTS MINUTES [END]\n");
        return 2;
    }
    err = mt_store_open(argv[1], &options, &store, &error);
    if (err == MT_OK)
        err = fill(store, (int)strtol(argv[2], NULL, 10), strtoll(argv[3], NULL, 10),
                   argc > 4 ? strtoll(argv[4], NULL, 10) : INT64_C(1700000040), &error);
    if (err != MT_OK)
        (void)fprintf(stderr, "make_history: %s: %s\n", mt_err_name(err), error.text);
    mt_store_close(store);
    return mt_err_exit_status(err);
}
