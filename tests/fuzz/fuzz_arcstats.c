/* ZFS arcstats: a good row is read whatever stands before it. */
#include "scan_fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const struct scan_case it = {
        .scan = mt_scan_arcstats,
        .fields = fields_of(MT_SOURCE_ARC),
        .line = "size                            4    10240\n",
        .field = MT_FIELD_ZFS_ARC_SIZE,
        .value = 10,
    };

    check_scan(&it, data, size);
    return 0;
}
