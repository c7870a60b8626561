#include "proc/procps.h"

#include <errno.h>
#include <libproc2/meminfo.h>
#include <string.h>

#include "base/log.h"

/* libproc2 4.0.2 does not know Zswap and Zswapped. */
static const struct {
    enum mt_field field;
    enum meminfo_item item;
} meminfo_items[] = {
    {MT_FIELD_MEM_TOTAL, MEMINFO_MEM_TOTAL},
    {MT_FIELD_MEM_FREE, MEMINFO_MEM_FREE},
    {MT_FIELD_MEM_AVAILABLE, MEMINFO_MEM_AVAILABLE},
    {MT_FIELD_BUFFERS, MEMINFO_MEM_BUFFERS},
    {MT_FIELD_CACHED, MEMINFO_MEM_CACHED},
    {MT_FIELD_S_RECLAIMABLE, MEMINFO_MEM_SLAB_RECLAIM},
    {MT_FIELD_S_UNRECLAIM, MEMINFO_MEM_SLAB_UNRECLAIM},
    {MT_FIELD_SHMEM, MEMINFO_MEM_SHARED},
    {MT_FIELD_ANON_PAGES, MEMINFO_MEM_ANON},
    {MT_FIELD_MAPPED, MEMINFO_MEM_MAPPED},
    {MT_FIELD_PAGE_TABLES, MEMINFO_MEM_PAGE_TABLES},
    {MT_FIELD_KERNEL_STACK, MEMINFO_MEM_KERNEL_STACK},
    {MT_FIELD_PERCPU, MEMINFO_MEM_PER_CPU},
    {MT_FIELD_DIRTY, MEMINFO_MEM_DIRTY},
    {MT_FIELD_WRITEBACK, MEMINFO_MEM_WRITEBACK},
    {MT_FIELD_COMMITTED_AS, MEMINFO_MEM_COMMITTED_AS},
    {MT_FIELD_COMMIT_LIMIT, MEMINFO_MEM_COMMIT_LIMIT},
    {MT_FIELD_SWAP_TOTAL, MEMINFO_SWAP_TOTAL},
    {MT_FIELD_SWAP_FREE, MEMINFO_SWAP_FREE},
    {MT_FIELD_SWAP_CACHED, MEMINFO_SWAP_CACHED},
    {MT_FIELD_HUGETLB, MEMINFO_MEM_HUGETBL},
};

enum {
    MEMINFO_ITEMS = sizeof meminfo_items / sizeof *meminfo_items,
    HUGE_ITEMS = 2, /* pages and the size of one, after the items of the table */
};

/* 0 is what libproc2 says for a line it did not find: not knowledge. */
static void take(struct mt_record *record, enum mt_field field, unsigned long value)
{
    if ((record->present & MT_FIELD_BIT(field)) == 0 || value == 0 ||
        value > (unsigned long)MT_VALUE_MAX)
        return;
    record->value[field] = (int64_t)value;
}

/* The line itself is asked, since libproc2's answer does not tell whether it is an invention. */
static bool is_believed(const struct mt_record *record)
{
    int64_t available;

    return mt_record_get(record, MT_FIELD_MEM_AVAILABLE, &available) && available > 0 &&
           available <= record->value[MT_FIELD_MEM_TOTAL];
}

static void take_huge_pages(struct mt_record *record, unsigned long pages, unsigned long page_kib)
{
    unsigned long kib;

    if (!__builtin_mul_overflow(pages, page_kib, &kib))
        take(record, MT_FIELD_HUGETLB_FREE, kib);
}

void mt_procps_meminfo(struct mt_record *record)
{
    enum meminfo_item items[MEMINFO_ITEMS + HUGE_ITEMS];
    struct meminfo_info *info = NULL;
    struct meminfo_stack *stack = NULL;
    int status = procps_meminfo_new(&info);

    for (size_t i = 0; i < MEMINFO_ITEMS; i++)
        items[i] = meminfo_items[i].item;
    items[MEMINFO_ITEMS] = MEMINFO_MEM_HUGE_FREE;
    items[MEMINFO_ITEMS + 1] = MEMINFO_MEM_HUGE_SIZE;
    if (status == 0)
        stack = procps_meminfo_select(info, items, MEMINFO_ITEMS + HUGE_ITEMS);
    if (stack == NULL) {
        mt_log(MT_LOG_WARNING, "libproc2 cannot read /proc/meminfo (%s); read without it",
               strerrordesc_np(status < 0 ? -status : errno));
    } else {
        bool believed = is_believed(record);

        for (size_t i = 0; i < MEMINFO_ITEMS; i++)
            if (meminfo_items[i].field != MT_FIELD_MEM_AVAILABLE || believed)
                take(record, meminfo_items[i].field, stack->head[i].result.ul_int);
        take_huge_pages(record, stack->head[MEMINFO_ITEMS].result.ul_int,
                        stack->head[MEMINFO_ITEMS + 1].result.ul_int);
    }
    if (info != NULL)
        (void)procps_meminfo_unref(&info);
}
