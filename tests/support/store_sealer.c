/*
 * store_sealer URI: seals whatever is loose, days that are not over included, without end, and says
 * "sealed DAYS RECORDS" on standard output each time that it did something. Made to be killed.
 */
#include <inttypes.h>
#include <stdio.h>
#include <time.h>

#include "store/store.h"

int main(int argc, char **argv)
{
    const struct timespec nap = {.tv_nsec = 1000000};
    struct mt_store_options options = {.busy_wait_ms = 60000};
    struct mt_store *store = NULL;
    struct mt_error error = {0};

    if (argc != 2) {
        (void)fprintf(stderr, "usage: store_sealer URI\n");
        return 2;
    }
    if (mt_store_open(argv[1], &options, &store, &error) != MT_OK) {
        (void)fprintf(stderr, "store_sealer: open: %s\n", error.text);
        return 1;
    }
    for (;;) {
        struct mt_compaction compaction = {.now_s = MT_TIMESTAMP_MAX};

        if (mt_store_compact(store, &compaction, &error) != MT_OK) {
            (void)fprintf(stderr, "store_sealer: compact: %s\n", error.text);
            return 1;
        }
        if (compaction.days > 0) {
            (void)printf("sealed %" PRId64 " %" PRId64 "\n", compaction.days, compaction.records);
            (void)fflush(stdout);
        } else {
            (void)nanosleep(&nap, NULL);
        }
    }
}
