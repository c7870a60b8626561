/* /proc/meminfo: a good line is read whatever stands before it. */
#include "scan_fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const struct scan_case it = {
        .scan = mt_scan_meminfo,
        .fields = fields_of(MT_SOURCE_MEMINFO),
        .line = "MemFree:          4711 kB\n",
        .field = MT_FIELD_MEM_FREE,
        .value = 4711,
    };

    check_scan(&it, data, size);
    return 0;
}
