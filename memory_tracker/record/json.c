#include "record/json.h"

#include <string.h>

static void append_name(struct mt_buf *out, char before, const char *name)
{
    mt_buf_append_char(out, before);
    mt_buf_append_char(out, '"');
    mt_buf_append_string(out, name);
    mt_buf_append(out, "\":", 2);
}

static void append_record(struct mt_buf *out, const struct mt_record *record, bool with_nulls)
{
    append_name(out, '{', "host");
    mt_buf_append_json_string(out, record->host, strlen(record->host));
    append_name(out, ',', "timestamp");
    mt_buf_append_i64(out, record->timestamp);
    if (record->has_boot_id) {
        char text[MT_BOOT_ID_TEXT_SIZE];

        append_name(out, ',', "boot_id");
        mt_boot_id_format(record->boot_id, text);
        mt_buf_append_json_string(out, text, sizeof text - 1);
    } else if (with_nulls) {
        append_name(out, ',', "boot_id");
        mt_buf_append_string(out, "null");
    }
    for (enum mt_field i = 0; i < MT_FIELD_COUNT; i++) {
        int64_t value;

        if (mt_record_get(record, i, &value)) {
            append_name(out, ',', mt_field_info(i)->name);
            mt_buf_append_i64(out, value);
        } else if (with_nulls) {
            append_name(out, ',', mt_field_info(i)->name);
            mt_buf_append_string(out, "null");
        }
    }
    mt_buf_append_char(out, '}');
}

void mt_json_record(struct mt_buf *out, const struct mt_record *record)
{
    append_record(out, record, true);
}

void mt_json_record_known(struct mt_buf *out, const struct mt_record *record)
{
    append_record(out, record, false);
}

/* The longest entry: four numbers of 20 characters and what stands between them. */
enum { LOG_ENTRY_MAX = 128 };

static char *put(char *at, const char *text, size_t length)
{
    memcpy(at, text, length);
    return at + length;
}

/* Digits of value, which is not negative: no second and no size is. */
static char *put_number(char *at, int64_t value)
{
    char digits[20];
    size_t first = sizeof digits;
    uint64_t rest = (uint64_t)value;

    do
        digits[--first] = (char)('0' + rest % 10);
    while ((rest /= 10) != 0);
    return put(at, digits + first, sizeof digits - first);
}

#define PUT(at, literal) put(at, literal, sizeof(literal) - 1)

/* An answer has up to 99,999 of these, so each is one append. */
void mt_json_summary(struct mt_buf *out, int64_t timestamp, const struct mt_summary *summary)
{
    char entry[LOG_ENTRY_MAX];
    char *at = entry;

    at = put_number(PUT(at, "{\"timestamp\":"), timestamp);
    at = put_number(PUT(at, ",\"total\":"), summary->total_mib);
    at = put_number(PUT(at, ",\"free\":"), summary->free_mib);
    at = put_number(PUT(at, ",\"used\":"), summary->used_mib);
    *at++ = '}';
    mt_buf_append(out, entry, (size_t)(at - entry));
}

void mt_json_log_entry(struct mt_buf *out, const struct mt_record *record)
{
    struct mt_summary summary = mt_summarize(record);

    mt_json_summary(out, record->timestamp, &summary);
}
