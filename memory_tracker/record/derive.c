#include "record/derive.h"

int64_t mt_available_kib(const struct mt_record *record)
{
    int64_t total = record->value[MT_FIELD_MEM_TOTAL];
    int64_t available;

    if (mt_record_get(record, MT_FIELD_MEM_AVAILABLE, &available) && available <= total)
        return available;
    if (mt_record_get(record, MT_FIELD_MEM_FREE, &available) && available <= total)
        return available;
    return total;
}

struct mt_summary mt_summarize(const struct mt_record *record)
{
    struct mt_summary summary = {
        .total_mib = record->value[MT_FIELD_MEM_TOTAL] / 1024,
        .free_mib = mt_available_kib(record) / 1024,
    };

    summary.used_mib = summary.total_mib - summary.free_mib;
    return summary;
}

/* A formula is a sum of fields: what it starts from less what it subtracts, plus what it gives
 * back. */
struct formula {
    const char *name;
    uint64_t minus;
    uint64_t plus;
};

#define BIT(field) MT_FIELD_BIT(MT_FIELD_##field)

static const struct formula formulas[MT_USED_COUNT] = {
    [MT_USED_AVAILABLE] = {"available", 0, 0},
    [MT_USED_FREE] = {"free", BIT(MEM_FREE), 0},
    [MT_USED_PROCPS3] = {"procps3", BIT(MEM_FREE) | BIT(BUFFERS) | BIT(CACHED) | BIT(S_RECLAIMABLE),
                         0},
    [MT_USED_HTOP] = {"htop", BIT(MEM_FREE) | BIT(BUFFERS) | BIT(CACHED) | BIT(S_RECLAIMABLE),
                      BIT(SHMEM)},
    [MT_USED_SAR] = {"sar",
                     BIT(MEM_FREE) | BIT(BUFFERS) | BIT(CACHED) | BIT(S_RECLAIMABLE) |
                         BIT(S_UNRECLAIM),
                     0},
};

const char *mt_used_formula_name(enum mt_used_formula formula)
{
    return formulas[formula].name;
}

bool mt_used_kib(const struct mt_record *record, enum mt_used_formula formula, int64_t *used_kib)
{
    uint64_t needed = formulas[formula].minus | formulas[formula].plus | BIT(MEM_TOTAL);
    int64_t used = record->value[MT_FIELD_MEM_TOTAL];

    if ((record->present & needed) != needed)
        return false;
    if (formula == MT_USED_AVAILABLE)
        used -= mt_available_kib(record);
    for (enum mt_field i = 0; i < MT_FIELD_COUNT; i++) {
        if ((formulas[formula].minus & MT_FIELD_BIT(i)) != 0)
            used -= record->value[i];
        if ((formulas[formula].plus & MT_FIELD_BIT(i)) != 0)
            used += record->value[i];
    }
    *used_kib = used > 0 ? used : 0;
    return true;
}
