/*
 * Conclusions from a record's facts, drawn when reading. Every tool has its own `used`; here each
 * has a name. Sizes in KiB unless the name says otherwise.
 */
#ifndef MT_RECORD_DERIVE_H
#define MT_RECORD_DERIVE_H

#include "record/record.h"

/* total, free and used of the HTTP contract, whole MiB; total = free + used always. */
struct mt_summary {
    int64_t total_mib;
    int64_t free_mib;
    int64_t used_mib;
};

/*
 * mt_available_kib: mem_available; where that is absent, or larger than mem_total (seen under
 * lxcfs), mem_free, at most mem_total. The same fallbacks as procps 4 (library/meminfo.c). Any
 * thread.
 */
int64_t mt_available_kib(const struct mt_record *record);

/* mt_summarize: total = floor(mem_total/1024), free = floor(available/1024), used = total - free.
 */
struct mt_summary mt_summarize(const struct mt_record *record);

enum mt_used_formula {
    MT_USED_AVAILABLE, /* total - available: free(1) and top of procps 4, sar 12.7.8, btop */
    MT_USED_FREE,      /* total - free: sar up to 11.7.3 */
    MT_USED_PROCPS3,   /* total - free - buffers - cached - s_reclaimable: free(1) of procps 3.3.10+
                        */
    MT_USED_HTOP, /* total - free - buffers - (cached + s_reclaimable - shmem): htop 3.1, Netdata */
    MT_USED_SAR,  /* total - free - buffers - cached - slab: sar 11.7.4 to 12.7.7 */
    MT_USED_COUNT
};

/* mt_used_formula_name: "available", "free", "procps3", "htop", "sar". */
const char *mt_used_formula_name(enum mt_used_formula formula);

/*
 * mt_used_kib: `used` after a formula. False if a field it needs is absent. A negative result
 * (parts read at different instants) is 0.
 */
bool mt_used_kib(const struct mt_record *record, enum mt_used_formula formula, int64_t *used_kib);

#endif
