/* /proc/sys/kernel/random/boot_id: what is accepted is written again as it was, letters in lower
 * case. */
#include <strings.h>

#include "scan_fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const uint8_t none[MT_BOOT_ID_SIZE];
    struct mt_record record = {0};
    char text[MT_BOOT_ID_TEXT_SIZE];

    (void)mt_log_open("fuzz", MT_LOG_CRITICAL, MT_LOG_TEXT, "-", NULL);
    mt_scan_boot_id((struct mt_slice){(const char *)data, size}, &record);
    if (!record.has_boot_id) {
        if (memcmp(record.boot_id, none, sizeof none) != 0)
            abort();
        return 0;
    }
    mt_boot_id_format(record.boot_id, text);
    if (size < sizeof text - 1 || strncasecmp(text, (const char *)data, sizeof text - 1) != 0)
        abort();
    return 0;
}
