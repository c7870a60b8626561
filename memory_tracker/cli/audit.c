#include "cli/audit.h"

#include <search.h>
#include <stdlib.h>
#include <string.h>

enum { INTERVAL_S = 60 }; /* of records that do not tell, such as imported ones */

static int compare_boots(const void *a, const void *b)
{
    return memcmp(a, b, MT_BOOT_ID_SIZE);
}

static void note(struct mt_finding *finding, int64_t timestamp)
{
    if (finding->count++ == 0)
        finding->first = timestamp;
}

void mt_audit_init(struct mt_audit *audit, int64_t now_s)
{
    *audit = (struct mt_audit){.now_s = now_s};
}

void mt_audit_fini(struct mt_audit *audit)
{
    tdestroy(audit->boots_seen, free);
    audit->boots_seen = NULL;
}

static bool is_future(const struct mt_audit *audit, const struct mt_record *record)
{
    return record->timestamp - MT_FUTURE_SLACK_S > audit->now_s;
}

/* How the time between two records fits the interval that the sampler meant to keep. */
static void judge_pace(struct mt_audit *audit, const struct mt_record *record)
{
    int64_t passed_s = record->timestamp - audit->before.timestamp;
    int64_t interval_s = INTERVAL_S;
    int64_t missing;

    (void)mt_record_get(record, MT_FIELD_INTERVAL_S, &interval_s);
    if (interval_s < 1)
        interval_s = INTERVAL_S;
    if (passed_s <= 0) {
        note(&audit->order, record->timestamp);
        return;
    }
    if (passed_s * 2 < interval_s)
        note(&audit->close, record->timestamp);
    /* cron is seconds late now and then: what counts is the nearest number of intervals */
    missing = (passed_s + interval_s / 2) / interval_s - 1;
    if (missing < 1 || is_future(audit, record))
        return;
    note(&audit->gaps, audit->before.timestamp);
    audit->missing += missing;
    audit->missing_s += missing * interval_s;
    if (passed_s > audit->longest_s) {
        audit->longest_s = passed_s;
        audit->longest_from = audit->before.timestamp;
    }
}

/* Within one boot, numbers that only grow. */
static void judge_counters(struct mt_audit *audit, const struct mt_record *record)
{
    int64_t before;
    int64_t now;

    if (mt_record_get(&audit->before, MT_FIELD_UPTIME_S, &before) &&
        mt_record_get(record, MT_FIELD_UPTIME_S, &now) && now < before) {
        /* ordered by a clock that was set back, these two stand in the wrong order */
        note(&audit->steps, record->timestamp);
        return;
    }
    for (enum mt_field i = 0; i < MT_FIELD_COUNT; i++) {
        if (mt_field_info(i)->kind != MT_KIND_COUNTER ||
            !mt_record_get(&audit->before, i, &before) || !mt_record_get(record, i, &now) ||
            now >= before)
            continue;
        if (audit->falling.count == 0)
            audit->falling_field = i;
        note(&audit->falling, record->timestamp);
        return;
    }
}

/* Each boot is one run of records; imported ones without a boot_id may lie between. False: no
 * memory. */
static bool judge_boot(struct mt_audit *audit, const struct mt_record *record)
{
    uint8_t *copy;

    if (audit->boots > 0 && compare_boots(record->boot_id, audit->last_boot) == 0)
        return true;
    memcpy(audit->last_boot, record->boot_id, MT_BOOT_ID_SIZE);
    audit->boots++;

    if (tfind(record->boot_id, &audit->boots_seen, compare_boots) != NULL) {
        note(&audit->interleaved, record->timestamp);
        return true;
    }
    copy = malloc(MT_BOOT_ID_SIZE);
    if (copy == NULL)
        return false;
    memcpy(copy, record->boot_id, MT_BOOT_ID_SIZE);
    if (tsearch(copy, &audit->boots_seen, compare_boots) == NULL) {
        free(copy);
        return false;
    }
    return true;
}

bool mt_audit_take(struct mt_audit *audit, const struct mt_record *record)
{
    bool is_same_boot = audit->has_before && record->has_boot_id && audit->before.has_boot_id &&
                        compare_boots(record->boot_id, audit->before.boot_id) == 0;
    bool taken = true;

    if (audit->records++ == 0)
        audit->first = record->timestamp;
    audit->last = record->timestamp;
    audit->future += is_future(audit, record);
    if (audit->has_before)
        judge_pace(audit, record);
    if (is_same_boot)
        judge_counters(audit, record);
    if (record->has_boot_id)
        taken = judge_boot(audit, record);
    audit->before = *record;
    audit->has_before = true;
    return taken;
}

int mt_audit_problems(const struct mt_audit *audit)
{
    return (audit->order.count > 0) + (audit->interleaved.count > 0) + (audit->falling.count > 0);
}

int mt_audit_warnings(const struct mt_audit *audit)
{
    return (audit->gaps.count > 0) + (audit->close.count > 0) + (audit->steps.count > 0) +
           (audit->future > 0);
}
