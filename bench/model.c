#include "model.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { PAGE_KIB = 4, TOTAL_KIB = 16262144, SWAP_KIB = 2097148, REBOOT_MINUTES = 60480 };

/* How a gauge of the kernel moves: the standard deviation of a minute's change, and how often it
 * does not change at all. */
struct gauge {
    enum mt_field field;
    double rest;    /* pages around which it moves */
    double move[3]; /* pages a minute: calm, usual, busy */
};

static const struct gauge gauges[] = {
    {MT_FIELD_BUFFERS, 60000, {1, 12, 150}},
    {MT_FIELD_S_RECLAIMABLE, 110000, {2, 40, 900}},
    {MT_FIELD_S_UNRECLAIM, 30000, {2, 20, 300}},
    {MT_FIELD_SHMEM, 12000, {0.2, 3, 200}},
    {MT_FIELD_ANON_PAGES, 900000, {12, 900, 40000}},
    {MT_FIELD_MAPPED, 90000, {3, 60, 2000}},
    {MT_FIELD_PAGE_TABLES, 9000, {1, 8, 150}},
    {MT_FIELD_KERNEL_STACK, 3000, {0.5, 3, 25}},
    {MT_FIELD_PERCPU, 2500, {0.002, 0.02, 1}},
    {MT_FIELD_COMMITTED_AS, 1400000, {20, 1500, 60000}},
};
enum { GAUGES = sizeof gauges / sizeof gauges[0] };

/* A counter: how likely it moves in a minute, and by how much then, on average. */
struct counter {
    enum mt_field field;
    double chance[3];
    double step[3];
};

static const struct counter counters[] = {
    {MT_FIELD_PSI_SOME_US, {0.005, 0.1, 0.9}, {300, 2000, 400000}},
    {MT_FIELD_OOM_KILL, {0, 0, 0.0005}, {1, 1, 1}},
    {MT_FIELD_PGMAJFAULT, {0.1, 0.7, 1}, {3, 15, 500}},
    {MT_FIELD_PSWPIN, {0, 0.02, 0.6}, {1, 20, 2000}},
    {MT_FIELD_PSWPOUT, {0, 0.01, 0.5}, {1, 60, 4000}},
    {MT_FIELD_ALLOCSTALL, {0, 0.005, 0.5}, {1, 4, 30}},
    {MT_FIELD_WORKINGSET_REFAULT_ANON, {0, 0.02, 0.6}, {1, 15, 1500}},
    {MT_FIELD_WORKINGSET_REFAULT_FILE, {0.002, 0.1, 0.8}, {10, 60, 3000}},
};
enum { COUNTERS = sizeof counters / sizeof counters[0] };

struct mt_profile {
    const char *name;
    int column;         /* of the tables above */
    double still;       /* share of the minutes in which a gauge does not move */
    double day_pages;   /* more of it at the busiest time of a working day */
    double cache_pages; /* files read and written in a minute */
    double dirty_pages; /* what waits to be written, on average */
    double writing;     /* share of the minutes in which something is being written */
    double late;        /* share of the minutes in which cron is a second later than usual */
};

static const struct mt_profile profiles[] = {
    {"calm", 0, 0.4, 2000, 6, 15, 0.01, 0.02},
    {"usual", 1, 0.03, 500000, 500, 150, 0.05, 0.05},
    {"busy", 2, 0, 900000, 30000, 5000, 0.4, 0.2},
};

const struct mt_profile *mt_profile_find(const char *name)
{
    for (size_t i = 0; i < sizeof profiles / sizeof profiles[0]; i++)
        if (strcmp(profiles[i].name, name) == 0)
            return &profiles[i];
    return NULL;
}

/* xorshift64*, 0 <= result < 1 */
static double uniform(struct mt_machine *machine)
{
    machine->random ^= machine->random >> 12;
    machine->random ^= machine->random << 25;
    machine->random ^= machine->random >> 27;
    return (double)(machine->random * UINT64_C(2685821657736338717) >> 11) * 0x1p-53;
}

/* near enough to normal, mean 0, deviation 1 */
static double normal(struct mt_machine *machine)
{
    return (uniform(machine) + uniform(machine) + uniform(machine) - 1.5) * 2;
}

static double exponential(struct mt_machine *machine, double mean)
{
    return -log(1 - uniform(machine)) * mean;
}

static bool happens(struct mt_machine *machine, double chance)
{
    return uniform(machine) < chance;
}

static void boot(struct mt_machine *machine, int64_t now_s)
{
    machine->boot_s = now_s - 20 - (int64_t)exponential(machine, 30);
    machine->boots++;
    machine->cache = 200000;
    memset(machine->counter, 0, sizeof machine->counter);
}

void mt_machine_init(struct mt_machine *machine, const struct mt_profile *profile, int number,
                     int64_t start_s)
{
    memset(machine, 0, sizeof *machine);
    machine->profile = profile;
    machine->number = number;
    machine->random = UINT64_C(0x9e3779b97f4a7c15) * (uint64_t)(number + 1);
    boot(machine, start_s);
}

/* 0 at night and on Sundays, 1 at the busiest time of a working day (UTC) */
static double working_day(int64_t now_s)
{
    double hour = (double)(now_s % 86400) / 3600;
    int64_t weekday = (now_s / 86400 + 4) % 7;

    return exp(-pow((hour - 13.5) / 4, 2)) * (weekday == 0 ? 0.1 : weekday == 6 ? 0.3 : 1);
}

/* goes a random step, and a part of the way back to where it rests */
static int64_t gauge_kib(struct mt_machine *machine, const struct gauge *gauge, double load)
{
    double move = gauge->move[machine->profile->column];
    double *level = &machine->level[gauge->field];
    /* stacks of the kernel are 16 KiB each */
    int64_t unit = gauge->field == MT_FIELD_KERNEL_STACK ? 16 : PAGE_KIB;
    double pages;

    if (happens(machine, machine->profile->still) && machine->steady[gauge->field] != 0)
        return machine->steady[gauge->field];
    *level += move * normal(machine) - *level * 0.01;
    pages = gauge->rest + *level + load * gauge->rest / 900000 * machine->profile->day_pages;
    machine->steady[gauge->field] = (int64_t)fmax(pages, 16) * PAGE_KIB / unit * unit;
    return machine->steady[gauge->field];
}

static void set_counters(struct mt_machine *machine, struct mt_record *record)
{
    int column = machine->profile->column;
    int64_t *value = machine->counter;

    for (size_t i = 0; i < COUNTERS; i++) {
        int64_t step;

        if (!happens(machine, counters[i].chance[column]))
            continue;
        step = 1 + (int64_t)exponential(machine, counters[i].step[column] - 1);
        value[counters[i].field] += step;
        if (counters[i].field == MT_FIELD_PSI_SOME_US)
            value[MT_FIELD_PSI_FULL_US] += (int64_t)((double)step * uniform(machine));
        if (counters[i].field == MT_FIELD_ALLOCSTALL)
            value[MT_FIELD_PGSCAN_DIRECT] += step * 32 + (int64_t)exponential(machine, 200);
    }
    for (enum mt_field i = 0; i < MT_FIELD_COUNT; i++)
        if (mt_field_info(i)->kind == MT_KIND_COUNTER)
            mt_record_set(record, i, value[i]);
}

static int64_t value_of(const struct mt_record *record, enum mt_field field)
{
    int64_t value = 0;

    (void)mt_record_get(record, field, &value);
    return value;
}

/* files fill what processes leave, until the kernel reclaims a part of them */
static int64_t cache_kib(struct mt_machine *machine, int64_t left_kib)
{
    const struct mt_profile *profile = machine->profile;
    double most = (double)left_kib / PAGE_KIB * 0.94;

    if (!happens(machine, profile->still))
        machine->cache += profile->cache_pages * (0.3 + normal(machine));
    if (machine->cache > most)
        machine->cache = most - exponential(machine, 40 * profile->cache_pages);
    machine->cache = fmax(machine->cache, 20000);
    return (int64_t)machine->cache * PAGE_KIB;
}

static void set_swap(struct mt_machine *machine, struct mt_record *record)
{
    int64_t gone = machine->counter[MT_FIELD_PSWPOUT] -
                   (int64_t)(0.9 * (double)machine->counter[MT_FIELD_PSWPIN]);
    int64_t used_kib = gone < 0 ? 0 : gone % (SWAP_KIB / PAGE_KIB) * PAGE_KIB;

    mt_record_set(record, MT_FIELD_SWAP_TOTAL, SWAP_KIB);
    mt_record_set(record, MT_FIELD_SWAP_FREE, SWAP_KIB - used_kib);
    mt_record_set(record, MT_FIELD_SWAP_CACHED,
                  machine->counter[MT_FIELD_PSWPIN] * PAGE_KIB % (used_kib / 8 + 4) / 4 * 4);
}

static void set_gauges(struct mt_machine *machine, int64_t now_s, struct mt_record *record)
{
    const struct mt_profile *profile = machine->profile;
    double load = working_day(now_s);
    int64_t left = TOTAL_KIB - 300000; /* what the kernel takes for itself */
    int64_t cached;

    for (size_t i = 0; i < GAUGES; i++)
        mt_record_set(record, gauges[i].field, gauge_kib(machine, &gauges[i], load));
    left -= value_of(record, MT_FIELD_ANON_PAGES) + value_of(record, MT_FIELD_BUFFERS) +
            value_of(record, MT_FIELD_S_RECLAIMABLE) + value_of(record, MT_FIELD_S_UNRECLAIM) +
            value_of(record, MT_FIELD_PAGE_TABLES) + value_of(record, MT_FIELD_KERNEL_STACK) +
            value_of(record, MT_FIELD_PERCPU);
    if (left < 400000)
        left = 400000;
    cached = cache_kib(machine, left);
    mt_record_set(record, MT_FIELD_CACHED, cached);
    mt_record_set(record, MT_FIELD_MEM_TOTAL, TOTAL_KIB);
    mt_record_set(record, MT_FIELD_MEM_FREE, left - cached);
    mt_record_set(record, MT_FIELD_MEM_AVAILABLE,
                  left - value_of(record, MT_FIELD_SHMEM) + value_of(record, MT_FIELD_BUFFERS) +
                      value_of(record, MT_FIELD_S_RECLAIMABLE) - 130000);
    mt_record_set(record, MT_FIELD_DIRTY,
                  (int64_t)exponential(machine, profile->dirty_pages) * PAGE_KIB);
    mt_record_set(record, MT_FIELD_WRITEBACK,
                  happens(machine, profile->writing)
                      ? (int64_t)exponential(machine, profile->dirty_pages) * PAGE_KIB
                      : 0);
    mt_record_set(record, MT_FIELD_COMMIT_LIMIT, TOTAL_KIB / 2 + SWAP_KIB);
    mt_record_set(record, MT_FIELD_ZSWAP, 0);
    mt_record_set(record, MT_FIELD_ZSWAPPED, 0);
    mt_record_set(record, MT_FIELD_HUGETLB, 0);
    mt_record_set(record, MT_FIELD_HUGETLB_FREE, 0);
}

void mt_machine_record(struct mt_machine *machine, int64_t minute_s, struct mt_record *record)
{
    int64_t now_s = minute_s + 1 + happens(machine, machine->profile->late);

    if (now_s - machine->boot_s > REBOOT_MINUTES * INT64_C(60))
        boot(machine, now_s);
    memset(record, 0, sizeof *record);
    (void)snprintf(record->host, sizeof record->host, "node-%04d", machine->number + 1);
    record->timestamp = now_s;
    record->has_boot_id = true;
    memcpy(record->boot_id, &machine->boot_s, sizeof machine->boot_s);
    record->boot_id[8] = (uint8_t)machine->number;
    record->boot_id[9] = (uint8_t)(machine->number >> 8);
    mt_record_set(record, MT_FIELD_UPTIME_S, now_s - machine->boot_s);
    mt_record_set(record, MT_FIELD_INTERVAL_S, 60);
    set_counters(machine, record);
    set_gauges(machine, now_s, record);
    set_swap(machine, record);
}
