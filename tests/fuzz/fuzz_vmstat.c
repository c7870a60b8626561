/* /proc/vmstat: a good line is read whatever stands before it, sums stay in bounds. */
#include "scan_fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const struct scan_case it = {
        .scan = mt_scan_vmstat,
        .fields = fields_of(MT_SOURCE_VMSTAT) | fields_of(MT_SOURCE_VMSTAT_SUM),
        .line = "oom_kill 4711\n",
        .field = MT_FIELD_OOM_KILL,
        .value = 4711,
    };

    check_scan(&it, data, size);
    return 0;
}
