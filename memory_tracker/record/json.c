#include "record/json.h"

#include <string.h>

#include "record/derive.h"

static void append_name(struct mt_buf *out, char before, const char *name)
{
    mt_buf_append_char(out, before);
    mt_buf_append_char(out, '"');
    mt_buf_append_string(out, name);
    mt_buf_append(out, "\":", 2);
}

void mt_json_record(struct mt_buf *out, const struct mt_record *record)
{
    append_name(out, '{', "host");
    mt_buf_append_json_string(out, record->host, strlen(record->host));
    append_name(out, ',', "timestamp");
    mt_buf_append_i64(out, record->timestamp);
    append_name(out, ',', "boot_id");
    if (record->has_boot_id) {
        char text[MT_BOOT_ID_TEXT_SIZE];

        mt_boot_id_format(record->boot_id, text);
        mt_buf_append_json_string(out, text, sizeof text - 1);
    } else {
        mt_buf_append_string(out, "null");
    }
    for (enum mt_field i = 0; i < MT_FIELD_COUNT; i++) {
        int64_t value;

        append_name(out, ',', mt_field_info(i)->name);
        if (mt_record_get(record, i, &value))
            mt_buf_append_i64(out, value);
        else
            mt_buf_append_string(out, "null");
    }
    mt_buf_append_char(out, '}');
}

void mt_json_log_entry(struct mt_buf *out, const struct mt_record *record)
{
    struct mt_summary summary = mt_summarize(record);

    append_name(out, '{', "timestamp");
    mt_buf_append_i64(out, record->timestamp);
    append_name(out, ',', "total");
    mt_buf_append_i64(out, summary.total_mib);
    append_name(out, ',', "free");
    mt_buf_append_i64(out, summary.free_mib);
    append_name(out, ',', "used");
    mt_buf_append_i64(out, summary.used_mib);
    mt_buf_append_char(out, '}');
}
