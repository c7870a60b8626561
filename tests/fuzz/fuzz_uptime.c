/* /proc/uptime: only the first line counts, and what is accepted is the number that it begins with.
 */
#include <errno.h>

#include "scan_fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct scan_case it = {.fields = MT_FIELD_BIT(MT_FIELD_UPTIME_S)};
    struct mt_record record = {0};
    char text[64] = "";

    (void)mt_log_open("fuzz", MT_LOG_CRITICAL, MT_LOG_TEXT, "-", NULL);
    mt_scan_uptime((struct mt_slice){(const char *)data, size}, &record);
    check_values(&it, &record);
    memcpy(text, data, size < sizeof text ? size : sizeof text - 1);
    if (record.present != 0 && size < sizeof text &&
        strtoll(text, NULL, 10) != record.value[MT_FIELD_UPTIME_S])
        abort();
    return 0;
}
