#include "record/record.h"

#include <inttypes.h>
#include <string.h>

#include "base/text.h"

static const struct mt_field_info fields[MT_FIELD_COUNT] = {
#define MT_FIELD(symbol, name, kind, unit, source, key, help)                                      \
    [MT_FIELD_##symbol] = {#name, MT_KIND_##kind, unit, MT_SOURCE_##source, key, help},
#include "record/field.def"
#undef MT_FIELD
};

_Static_assert(MT_FIELD_COUNT < 64, "present is a bit mask of 64 bits");

const char mt_field_names[] =
#define MT_FIELD(symbol, name, ...) #name " "
#include "record/field.def"
#undef MT_FIELD
    ;

const struct mt_field_info *mt_field_info(enum mt_field field)
{
    return &fields[field];
}

bool mt_field_find(const char *name, size_t length, enum mt_field *field)
{
    for (enum mt_field i = 0; i < MT_FIELD_COUNT; i++) {
        if (mt_slice_equal((struct mt_slice){name, length}, fields[i].name)) {
            *field = i;
            return true;
        }
    }
    return false;
}

void mt_record_set(struct mt_record *record, enum mt_field field, int64_t value)
{
    record->present |= MT_FIELD_BIT(field);
    record->value[field] = value;
}

void mt_record_unset(struct mt_record *record, enum mt_field field)
{
    record->present &= ~MT_FIELD_BIT(field);
    record->value[field] = 0;
}

bool mt_record_get(const struct mt_record *record, enum mt_field field, int64_t *value)
{
    if ((record->present & MT_FIELD_BIT(field)) == 0)
        return false;
    *value = record->value[field];
    return true;
}

static bool host_is_proper(const char *host)
{
    size_t length = strnlen(host, MT_HOST_MAX + 1);

    if (length == 0 || length > MT_HOST_MAX || !mt_utf8_is_valid(host, length))
        return false;
    for (size_t i = 0; i < length; i++)
        if ((unsigned char)host[i] <= 0x20 || host[i] == 0x7F)
            return false;
    return true;
}

enum mt_err mt_record_check_values(const struct mt_record *record, struct mt_error *error)
{
    int64_t value;

    if (!host_is_proper(record->host))
        return mt_error_set(
            error, MT_ERR_BAD_DATA,
            "host '%.*s': must be 1 to %d bytes of UTF-8 without spaces and control "
            "characters",
            MT_HOST_MAX, record->host, MT_HOST_MAX);
    if (record->timestamp < 0 || record->timestamp > MT_TIMESTAMP_MAX)
        return mt_error_set(error, MT_ERR_BAD_DATA,
                            "timestamp %" PRId64 ": must be from 0 to %" PRId64 " (Unix seconds)",
                            record->timestamp, MT_TIMESTAMP_MAX);
    for (enum mt_field i = 0; i < MT_FIELD_COUNT; i++)
        if (mt_record_get(record, i, &value) && (value < 0 || value > MT_VALUE_MAX))
            return mt_error_set(error, MT_ERR_BAD_DATA, "%s %" PRId64 ": must be from 0 to 2^53",
                                fields[i].name, value);
    return MT_OK;
}

enum mt_err mt_record_check(const struct mt_record *record, struct mt_error *error)
{
    enum mt_err result = mt_record_check_values(record, error);
    int64_t value;

    if (result != MT_OK)
        return result;
    if (!mt_record_get(record, MT_FIELD_MEM_TOTAL, &value) || value == 0)
        return mt_error_set(error, MT_ERR_BAD_DATA, "mem_total: must be known and more than 0");
    if (!mt_record_get(record, MT_FIELD_MEM_AVAILABLE, &value) &&
        !mt_record_get(record, MT_FIELD_MEM_FREE, &value))
        return mt_error_set(error, MT_ERR_BAD_DATA, "mem_available or mem_free: one must be known");
    return MT_OK;
}

bool mt_record_is_repeat(const struct mt_record *a, const struct mt_record *b)
{
    int64_t uptime_a;
    int64_t uptime_b;
    bool same_boot = a->has_boot_id == b->has_boot_id &&
                     (!a->has_boot_id || memcmp(a->boot_id, b->boot_id, MT_BOOT_ID_SIZE) == 0);

    if (a->has_boot_id && b->has_boot_id && mt_record_get(a, MT_FIELD_UPTIME_S, &uptime_a) &&
        mt_record_get(b, MT_FIELD_UPTIME_S, &uptime_b))
        return same_boot && uptime_a == uptime_b;
    if (!same_boot || a->present != b->present)
        return false;
    for (enum mt_field i = 0; i < MT_FIELD_COUNT; i++)
        if ((a->present & MT_FIELD_BIT(i)) != 0 && a->value[i] != b->value[i])
            return false;
    return true;
}

/* where the dashes stand in 8-4-4-4-12 */
static bool is_dash(size_t at)
{
    return at == 8 || at == 13 || at == 18 || at == 23;
}

void mt_boot_id_format(const uint8_t boot_id[MT_BOOT_ID_SIZE], char text[MT_BOOT_ID_TEXT_SIZE])
{
    static const char hex[] = "0123456789abcdef";
    size_t digit = 0;

    for (size_t at = 0; at < MT_BOOT_ID_TEXT_SIZE - 1; at++) {
        if (is_dash(at)) {
            text[at] = '-';
            continue;
        }
        text[at] = hex[digit % 2 == 0 ? boot_id[digit / 2] >> 4 : boot_id[digit / 2] & 15];
        digit++;
    }
    text[MT_BOOT_ID_TEXT_SIZE - 1] = '\0';
}

bool mt_boot_id_parse(const char *text, size_t length, uint8_t boot_id[MT_BOOT_ID_SIZE])
{
    uint8_t parsed[MT_BOOT_ID_SIZE] = {0};
    size_t digit = 0;

    if (length != MT_BOOT_ID_TEXT_SIZE - 1)
        return false;
    for (size_t at = 0; at < length; at++) {
        int value = mt_hex_digit(text[at]);

        if (is_dash(at)) {
            if (text[at] != '-')
                return false;
            continue;
        }
        if (value < 0)
            return false;
        parsed[digit / 2] = (uint8_t)(parsed[digit / 2] << 4 | value);
        digit++;
    }
    memcpy(boot_id, parsed, sizeof parsed);
    return true;
}
