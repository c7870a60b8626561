#include "record/json_parse.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

enum { SHOWN_MOST = 80 }; /* bytes of a value that an error shows */

static const char *const member_names[] = {
    "host",
    "timestamp",
    "boot_id",
#define MT_FIELD(symbol, name, ...) #name,
#include "record/field.def"
#undef MT_FIELD
};

/* "NAME VALUE: must be ..." */
static enum mt_err refuse(const char *name, const json_t *value, const char *must,
                          struct mt_error *error)
{
    char *shown = json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT);

    (void)mt_error_set(error, MT_ERR_BAD_DATA, "%.*s %.*s%s: %s", SHOWN_MOST, name, SHOWN_MOST,
                       shown != NULL ? shown : "?",
                       shown != NULL && strlen(shown) > SHOWN_MOST ? "..." : "", must);
    free(shown);
    return MT_ERR_BAD_DATA;
}

static enum mt_err take_host(const json_t *value, struct mt_record *record, struct mt_error *error)
{
    size_t length = json_string_length(value);

    if (!json_is_string(value) || length == 0 || length > MT_HOST_MAX)
        return refuse("host", value, "must be a string of 1 to 255 bytes", error);
    memcpy(record->host, json_string_value(value), length + 1);
    return MT_OK;
}

static enum mt_err take_boot_id(const json_t *value, struct mt_record *record,
                                struct mt_error *error)
{
    if (!json_is_string(value) ||
        !mt_boot_id_parse(json_string_value(value), json_string_length(value), record->boot_id))
        return refuse("boot_id", value,
                      "must be a UUID such as 01234567-89ab-cdef-0123-456789abcdef", error);
    record->has_boot_id = true;
    return MT_OK;
}

static enum mt_err take_member(const char *name, const json_t *value, struct mt_record *record,
                               struct mt_error *error)
{
    size_t count = sizeof member_names / sizeof member_names[0];
    enum mt_field field;

    if (strcmp(name, "host") == 0)
        return json_is_null(value) ? MT_OK : take_host(value, record, error);
    if (strcmp(name, "boot_id") == 0)
        return json_is_null(value) ? MT_OK : take_boot_id(value, record, error);
    if (strcmp(name, "timestamp") == 0) {
        if (!json_is_integer(value))
            return refuse(name, value, "must be an integer (Unix seconds)", error);
        record->timestamp = json_integer_value(value);
        return MT_OK;
    }
    if (!mt_field_find(name, strlen(name), &field)) {
        const char *nearest = mt_text_nearest(name, member_names, count);

        return mt_error_set(error, MT_ERR_BAD_DATA,
                            "member '%.*s': a record has none of that name%s%s%s", SHOWN_MOST, name,
                            nearest != NULL ? "; did you mean " : "",
                            nearest != NULL ? nearest : "", nearest != NULL ? "?" : "");
    }
    if (json_is_null(value))
        return MT_OK;
    if (!json_is_integer(value))
        return refuse(name, value, "must be an integer or null", error);
    mt_record_set(record, field, json_integer_value(value));
    return MT_OK;
}

static enum mt_err take_object(json_t *object, struct mt_record *record, struct mt_error *error)
{
    const json_t *timestamp = json_object_get(object, "timestamp");
    const char *name;
    json_t *value;

    if (!json_is_object(object))
        return refuse("record", object, "must be an object", error);
    json_object_foreach(object, name, value)
    {
        enum mt_err result = take_member(name, value, record, error);

        if (result != MT_OK)
            return result;
    }
    if (record->host[0] == '\0')
        return mt_error_set(error, MT_ERR_BAD_DATA, "host: must be given");
    if (timestamp == NULL)
        return mt_error_set(error, MT_ERR_BAD_DATA, "timestamp: must be given");
    return mt_record_check_values(record, error);
}

/* What the parser refuses though the grammar of JSON has it. */
static bool is_grammatical(const json_error_t *failure)
{
    switch (json_error_code(failure)) {
    case json_error_duplicate_key:
    case json_error_numeric_overflow:
    case json_error_null_character:
    case json_error_null_byte_in_key:
    case json_error_stack_overflow:
        return true;
    default:
        return false;
    }
}

enum mt_err mt_json_read_record(json_t *value, struct mt_record *record, struct mt_error *error)
{
    struct mt_record parsed = {0};
    enum mt_err result = take_object(value, &parsed, error);

    if (result == MT_OK)
        *record = parsed;
    return result;
}

enum mt_err mt_json_parse_record(struct mt_slice text, struct mt_record *record, bool *is_json,
                                 struct mt_error *error)
{
    bool unused;
    json_error_t failure;
    enum mt_err result;
    json_t *value;

    is_json = is_json != NULL ? is_json : &unused;
    *is_json = true;
    if (text.length > MT_JSON_RECORD_MOST)
        return mt_error_set(error, MT_ERR_BAD_DATA, "a record of %zu bytes: at most %d are read",
                            text.length, MT_JSON_RECORD_MOST);
    value = json_loadb(text.length > 0 ? text.data : "", text.length,
                       JSON_DECODE_ANY | JSON_REJECT_DUPLICATES, &failure);
    if (value == NULL) {
        *is_json = is_grammatical(&failure);
        return mt_error_set(error, MT_ERR_BAD_DATA, "byte %d: %s", failure.position, failure.text);
    }
    result = mt_json_read_record(value, record, error);
    json_decref(value);
    return result;
}
