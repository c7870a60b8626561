#include "api/parameter.h"

#include <string.h>

#include "api/query.h"
#include "record/record.h"

static const struct mt_parameter_info table[MT_PARAMETER_COUNT] = {
#define MT_PARAMETER(symbol, name, type, gt, lt, fallback, help)                                   \
    [MT_PARAMETER_##symbol] = {#name, MT_PARAMETER_TYPE_##type, gt, lt, fallback, "", help},
#define MT_STORE_PARAMETER(symbol, name, type, gt, lt, fallback, choices, help)                    \
    [MT_PARAMETER_##symbol] = {#name, MT_PARAMETER_TYPE_##type, gt, lt, fallback, choices, help},
#include "api/parameter.def"
#undef MT_PARAMETER
#undef MT_STORE_PARAMETER
};

static const int64_t fallbacks[MT_PARAMETER_COUNT] = {
#define MT_PARAMETER(symbol, name, type, gt, lt, fallback, help)                                   \
    [MT_PARAMETER_##symbol] = (fallback),
#define MT_STORE_PARAMETER(symbol, name, type, gt, lt, fallback, choices, help)                    \
    [MT_PARAMETER_##symbol] = (fallback),
#include "api/parameter.def"
#undef MT_PARAMETER
#undef MT_STORE_PARAMETER
};

const struct mt_parameter_info *mt_parameter_info(enum mt_parameter parameter)
{
    return &table[parameter];
}

enum {
    /* the same bounds as pydantic's, which tell its two readers of digits apart */
    INTEGER_LENGTH_MAX = 4300,
    PATIENT_LENGTH_MIN = 19,
};

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/*
 * `[+-]?` and digits. The patient reader also passes over any `_` after the first digit: pydantic
 * hands longer texts to another parser, which is that lenient.
 */
static bool read_digits(const char *text, size_t length, bool patient, int64_t *value)
{
    bool negative = length > 0 && text[0] == '-';
    size_t i = length > 0 && (text[0] == '-' || text[0] == '+') ? 1 : 0;
    int64_t sum = 0;

    if (i == length || !is_digit(text[i]))
        return false;
    for (; i < length; i++) {
        if (patient && text[i] == '_')
            continue;
        if (!is_digit(text[i]))
            return false;
        if (__builtin_mul_overflow(sum, 10, &sum) ||
            __builtin_sub_overflow(sum, text[i] - '0', &sum))
            sum = INT64_MIN;
    }
    *value = negative ? sum : sum == INT64_MIN ? INT64_MAX : -sum;
    return true;
}

/* The head before the first dot, if nothing but zeros follows that. */
static bool cut_zero_decimals(struct mt_slice text, size_t *head)
{
    const char *dot = memchr(text.data, '.', text.length);

    if (dot == NULL)
        return false;
    *head = (size_t)(dot - text.data);
    for (size_t i = *head + 1; i < text.length; i++) {
        if (text.data[i] != '0')
            return false;
    }
    return true;
}

/* Copies the text without its `_`, if they stand alone and not at either end. */
static bool strip_underscores(struct mt_slice text, char *stripped, size_t *length)
{
    const char *data = text.data;

    if (data[0] == '_' || data[text.length - 1] == '_')
        return false;
    *length = 0;
    for (size_t i = 0; i < text.length; i++) {
        if (data[i] != '_')
            stripped[(*length)++] = data[i];
        else if (data[i - 1] == '_')
            return false;
    }
    return *length < text.length;
}

enum mt_integer_verdict mt_integer_parse(struct mt_slice text, int64_t *value)
{
    bool patient = text.length >= PATIENT_LENGTH_MIN;
    char stripped[INTEGER_LENGTH_MAX];
    size_t length;
    bool read;

    if (text.length > INTEGER_LENGTH_MAX)
        return MT_INTEGER_TOO_LONG;
    if (text.length == 0)
        return MT_INTEGER_UNPARSABLE;
    read = read_digits(text.data, text.length, patient, value);
    if (!read && cut_zero_decimals(text, &length))
        read = read_digits(text.data, length, patient, value);
    else if (!read && strip_underscores(text, stripped, &length))
        read = read_digits(stripped, length, patient, value);
    return read ? MT_INTEGER_OK : MT_INTEGER_UNPARSABLE;
}

/* What is wrong with a value: pydantic's type, its words, and the bound it names, if any. */
struct complaint {
    const char *type;
    const char *message;
    const char *bound; /* "gt" or "lt": the value is put after the message and in ctx */
};

static const struct complaint int_parsing = {
    "int_parsing", "Input should be a valid integer, unable to parse string as an integer", NULL};
static const struct complaint int_parsing_size = {
    "int_parsing_size", "Unable to parse input string as an integer, exceeded maximum size", NULL};
static const struct complaint greater_than = {"greater_than", "Input should be greater than ",
                                              "gt"};
static const struct complaint less_than = {"less_than", "Input should be less than ", "lt"};

static void begin_complaint(struct mt_buf *errors, const struct mt_parameter_info *info,
                            const char *type)
{
    mt_buf_append_string(errors, errors->length == 0 ? "{\"detail\":[" : ",");
    mt_buf_printf(errors, "{\"type\":\"%s\",\"loc\":[\"query\",\"%s\"],\"msg\":\"", type,
                  info->name);
}

static void end_complaint(struct mt_buf *errors, const char *type)
{
    mt_buf_printf(errors, ",\"url\":\"https://errors.pydantic.dev/2.6/v/%s\"}", type);
}

static void complain(struct mt_buf *errors, const struct mt_parameter_info *info,
                     const struct complaint *complaint, int64_t bound, struct mt_slice input)
{
    begin_complaint(errors, info, complaint->type);
    mt_buf_append_string(errors, complaint->message);
    if (complaint->bound != NULL)
        mt_buf_append_i64(errors, bound);
    mt_buf_append_string(errors, "\",\"input\":");
    mt_buf_append_json_string(errors, input.data, input.length);
    if (complaint->bound != NULL) {
        mt_buf_printf(errors, ",\"ctx\":{\"%s\":", complaint->bound);
        mt_buf_append_i64(errors, bound);
        mt_buf_append_char(errors, '}');
    }
    end_complaint(errors, complaint->type);
}

static void complain_missing(struct mt_buf *errors, const struct mt_parameter_info *info)
{
    begin_complaint(errors, info, "missing");
    mt_buf_append_string(errors, "Field required\",\"input\":null");
    end_complaint(errors, "missing");
}

/* "'a', 'b' or 'c'" */
static void append_choices(struct mt_buf *out, const char *choices)
{
    for (const char *at = choices; *at != '\0';) {
        size_t length = strcspn(at, "|");
        bool is_last = at[length] == '\0';

        if (at != choices)
            mt_buf_append_string(out, is_last ? " or " : ", ");
        mt_buf_append_char(out, '\'');
        mt_buf_append(out, at, length);
        mt_buf_append_char(out, '\'');
        at += is_last ? length : length + 1;
    }
}

static bool check_choice(const struct mt_parameter_info *info, struct mt_slice input,
                         int64_t *value, struct mt_buf *errors)
{
    int64_t number = 0;

    for (const char *at = info->choices; *at != '\0'; number++) {
        size_t length = strcspn(at, "|");

        if (length == input.length && memcmp(at, input.data, length) == 0) {
            *value = number;
            return true;
        }
        at += at[length] == '\0' ? length : length + 1;
    }
    begin_complaint(errors, info, "literal_error");
    mt_buf_append_string(errors, "Input should be ");
    append_choices(errors, info->choices);
    mt_buf_append_string(errors, "\",\"input\":");
    mt_buf_append_json_string(errors, input.data, input.length);
    mt_buf_append_string(errors, ",\"ctx\":{\"expected\":\"");
    append_choices(errors, info->choices);
    mt_buf_append_string(errors, "\"}");
    end_complaint(errors, "literal_error");
    return false;
}

static bool check_unsigned(const struct mt_parameter_info *info, struct mt_slice input,
                           int64_t *value, struct mt_buf *errors)
{
    uint64_t sum = 0;
    bool proper = input.length > 0;

    for (size_t i = 0; i < input.length && proper; i++)
        proper = is_digit(input.data[i]) && !__builtin_mul_overflow(sum, 10, &sum) &&
                 !__builtin_add_overflow(sum, (uint64_t)(input.data[i] - '0'), &sum);
    if (!proper) {
        complain(errors, info, &int_parsing, 0, input);
        return false;
    }
    *value = (int64_t)sum;
    return true;
}

static bool check_fields(const struct mt_parameter_info *info, struct mt_slice input,
                         int64_t *value, struct mt_buf *errors)
{
    uint64_t chosen = 0;
    struct mt_slice rest = input;

    while (rest.length > 0) {
        const char *comma = memchr(rest.data, ',', rest.length);
        size_t length = comma != NULL ? (size_t)(comma - rest.data) : rest.length;
        enum mt_field field;

        if (!mt_field_find(rest.data, length, &field)) {
            begin_complaint(errors, info, "value_error");
            mt_buf_append_string(errors, "Value error, names of fields divided by commas are "
                                         "wanted\",\"input\":");
            mt_buf_append_json_string(errors, input.data, input.length);
            end_complaint(errors, "value_error");
            return false;
        }
        chosen |= MT_FIELD_BIT(field);
        rest.data += length + (comma != NULL);
        rest.length -= length + (comma != NULL);
    }
    *value = (int64_t)chosen;
    return true;
}

static bool check_integer(const struct mt_parameter_info *info, struct mt_slice input,
                          int64_t *value, struct mt_buf *errors)
{
    const struct complaint *complaint = NULL;
    int64_t bound = 0;

    switch (mt_integer_parse(input, value)) {
    case MT_INTEGER_TOO_LONG:
        complaint = &int_parsing_size;
        break;
    case MT_INTEGER_UNPARSABLE:
        complaint = &int_parsing;
        break;
    case MT_INTEGER_OK:
        if (info->lt != MT_UNBOUNDED && *value >= info->lt) {
            complaint = &less_than;
            bound = info->lt;
        } else if (info->gt != MT_UNBOUNDED_BELOW && *value <= info->gt) {
            complaint = &greater_than;
            bound = info->gt;
        }
        break;
    }
    if (complaint != NULL)
        complain(errors, info, complaint, bound, input);
    return complaint == NULL;
}

static bool check_value(const struct mt_parameter_info *info, struct mt_slice input, int64_t *value,
                        struct mt_buf *errors)
{
    switch (info->type) {
    case MT_PARAMETER_TYPE_CHOICE:
        return check_choice(info, input, value, errors);
    case MT_PARAMETER_TYPE_UNSIGNED:
        return check_unsigned(info, input, value, errors);
    case MT_PARAMETER_TYPE_FIELDS:
        return check_fields(info, input, value, errors);
    case MT_PARAMETER_TYPE_INTEGER:
        break;
    }
    return check_integer(info, input, value, errors);
}

/* The values of the last pairs of those names; returns the MT_PARAMETER_BITs of those found. */
static uint32_t find_last(struct mt_slice query, uint32_t choice, struct mt_slice *values)
{
    struct mt_query_pair pair;
    uint32_t found = 0;

    while (mt_query_next(&query, &pair)) {
        for (uint32_t rest = choice; rest != 0; rest &= rest - 1) {
            int i = __builtin_ctz(rest);

            if (!mt_query_equal(pair.name, table[i].name))
                continue;
            values[i] = pair.value;
            found |= MT_PARAMETER_BIT(i);
            break;
        }
    }
    return found;
}

/* The value as a text; it lives as long as text or the query. text->failed: no memory. */
static struct mt_slice decode(struct mt_slice encoded, struct mt_buf *text)
{
    if (mt_query_is_plain(encoded))
        return encoded;
    mt_buf_clear(text);
    mt_query_decode(text, encoded);
    return (struct mt_slice){text->data, text->length};
}

bool mt_parameters_check(struct mt_slice query, uint32_t choice, struct mt_parameters *parameters,
                         struct mt_buf *errors)
{
    struct mt_slice encoded[MT_PARAMETER_COUNT];
    struct mt_buf text;
    bool proper = true;

    mt_buf_init(&text, 0);
    memcpy(parameters->value, fallbacks, sizeof fallbacks);
    parameters->given = find_last(query, choice, encoded);
    for (; choice != 0; choice &= choice - 1) {
        enum mt_parameter i = (enum mt_parameter)__builtin_ctz(choice);
        struct mt_slice value;

        if ((parameters->given & MT_PARAMETER_BIT(i)) == 0) {
            if (table[i].fallback == MT_REQUIRED) {
                complain_missing(errors, &table[i]);
                proper = false;
            }
            continue;
        }
        value = decode(encoded[i], &text);
        if (text.failed) {
            errors->failed = true;
            proper = false;
        } else if (!check_value(&table[i], value, &parameters->value[i], errors)) {
            proper = false;
        }
    }
    if (!proper)
        mt_buf_append_string(errors, "]}");
    mt_buf_fini(&text);
    return proper;
}
