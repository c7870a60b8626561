/*
 * Made-up machines whose memory moves as that of real ones does: a record a minute, always the same
 * for the same profile and number. Three profiles: calm (nothing to do), usual (a server by day),
 * busy (one that builds and tests, and swaps).
 */
#ifndef MT_BENCH_MODEL_H
#define MT_BENCH_MODEL_H

#include <stdbool.h>
#include <stdint.h>

#include "record/record.h"

struct mt_profile; /* static and immutable */

/* One machine; a value type. Owned by one thread. */
struct mt_machine {
    const struct mt_profile *profile;
    uint64_t random;
    int number;
    int64_t boot_s;
    int64_t boots;
    double level[MT_FIELD_COUNT];    /* gauges, pages away from where they would rest */
    int64_t counter[MT_FIELD_COUNT]; /* since boot */
    double cache;                    /* pages of files that were read or written */
    int64_t steady[MT_FIELD_COUNT];  /* KiB, as last given */
};

/* mt_profile_find: by name; NULL if there is none. */
const struct mt_profile *mt_profile_find(const char *name);

/* mt_machine_init: machine number `number` (from 0), booted shortly before start_s (Unix s). */
void mt_machine_init(struct mt_machine *machine, const struct mt_profile *profile, int number,
                     int64_t start_s);

/* mt_machine_record: what a sampler started at the second minute_s (a multiple of 60) records;
 * minutes have to come in order. */
void mt_machine_record(struct mt_machine *machine, int64_t minute_s, struct mt_record *record);

#endif
