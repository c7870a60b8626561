/* /proc/pressure/memory: a good line is read whatever stands before it. */
#include "scan_fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const struct scan_case it = {
        .scan = mt_scan_pressure,
        .fields = fields_of(MT_SOURCE_PSI),
        .line = "full avg10=0.10 avg60=0.00 avg300=0.00 total=4711\n",
        .field = MT_FIELD_PSI_FULL_US,
        .value = 4711,
    };

    check_scan(&it, data, size);
    return 0;
}
