/*
 * store_hammer URI HOST FIRST: appends batches and prunes without end, and says on standard output
 * what it is about to do and what was acknowledged, a line each, flushed. Made to be killed.
 *
 *   + FIRST COUNT   about to append COUNT records of HOST, a minute apart, from second FIRST on
 *   - BEFORE        about to prune what is before that second
 *   ok              the last of these was acknowledged
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "store/store.h"

enum { BATCH_MOST = 120, KEPT = 3000 };

static int fail(const char *what, const struct mt_error *error)
{
    (void)fprintf(stderr, "store_hammer: %s: %s\n", what, error->text);
    return 1;
}

static struct mt_record make_record(const char *host, int64_t timestamp)
{
    struct mt_record record = {.timestamp = timestamp, .has_boot_id = true};

    (void)snprintf(record.host, sizeof record.host, "%s", host);
    record.boot_id[0] = (uint8_t)(timestamp / 6000);
    for (enum mt_field i = 0; i < MT_FIELD_COUNT; i++)
        mt_record_set(&record, i, timestamp + (int64_t)i);
    return record;
}

int main(int argc, char **argv)
{
    static struct mt_record records[BATCH_MOST];
    static struct mt_outcome outcomes[BATCH_MOST];
    struct mt_store_options options = {.busy_wait_ms = 60000};
    struct mt_store *store = NULL;
    struct mt_error error = {0};
    int64_t next;
    int64_t pruned;

    if (argc != 4) {
        (void)fprintf(stderr, "usage: store_hammer URI HOST FIRST\n");
        return 2;
    }
    next = strtoll(argv[3], NULL, 10);
    if (mt_store_open(argv[1], &options, &store, &error) != MT_OK)
        return fail("open", &error);
    for (unsigned round = 0;; round++) {
        size_t count = 1 + round * 37 % BATCH_MOST;

        for (size_t i = 0; i < count; i++)
            records[i] = make_record(argv[2], next + (int64_t)i * 60);
        (void)printf("+ %" PRId64 " %zu\n", next, count);
        (void)fflush(stdout);
        if (mt_store_append(store, records, count, MT_CONFLICT_REPORT, outcomes, &error) != MT_OK)
            return fail("append", &error);
        (void)printf("ok\n");
        next += (int64_t)count * 60;
        if (round % 8 != 7)
            continue;
        (void)printf("- %" PRId64 "\n", next - KEPT * INT64_C(60));
        (void)fflush(stdout);
        if (mt_store_prune(store, next - KEPT * INT64_C(60), &pruned, &error) != MT_OK)
            return fail("prune", &error);
        (void)printf("ok\n");
        (void)fflush(stdout);
    }
}
