/*
 * A record from JSON. What is accepted obeys mt_record_check_values and comes back the same when it
 * is written and read again; what is refused is refused with a reason.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "record/json.h"
#include "record/json_parse.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_record(const struct mt_record *record)
{
    struct mt_record again = {0};
    struct mt_buf text;

    if (mt_record_check_values(record, NULL) != MT_OK)
        abort();
    mt_buf_init(&text, 0);
    mt_json_record(&text, record);
    if (mt_json_parse_record((struct mt_slice){text.data, text.length}, &again, NULL, NULL) !=
        MT_OK)
        abort();
    if (strcmp(record->host, again.host) != 0 || record->timestamp != again.timestamp ||
        record->has_boot_id != again.has_boot_id || record->present != again.present ||
        memcmp(record->boot_id, again.boot_id, sizeof again.boot_id) != 0 ||
        memcmp(record->value, again.value, sizeof again.value) != 0)
        abort();
    mt_buf_fini(&text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct mt_record record = {0};
    struct mt_error error = {0};
    bool is_json = false;

    if (mt_json_parse_record((struct mt_slice){(const char *)data, size}, &record, &is_json,
                             &error) == MT_OK) {
        if (!is_json)
            abort();
        check_record(&record);
    } else if (error.code != MT_ERR_BAD_DATA || error.text[0] == '\0' || record.host[0] != '\0') {
        abort();
    }
    return 0;
}
