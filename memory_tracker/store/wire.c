#include "store/wire.h"

#include <inttypes.h>
#include <jansson.h>
#include <string.h>

#include "record/json.h"
#include "record/json_parse.h"

static const char *const verdicts[] = {
    [MT_VERDICT_NEW] = "new",           [MT_VERDICT_REPEAT] = "repeat",
    [MT_VERDICT_MOVED] = "moved",       [MT_VERDICT_CONFLICT] = "conflict",
    [MT_VERDICT_REJECTED] = "rejected",
};

static const char *const symbols[MT_ERR_COUNT] = {
    [MT_OK] = "OK",
#define MT_ERROR(code, name, exit_status, http_status, level) [MT_ERR_##code] = #code,
#include "base/error.def"
#undef MT_ERROR
};

/* "name":"text", whatever bytes the text has: it may have been cut within a character */
static void write_text(struct mt_buf *out, const char *name, const char *text)
{
    struct mt_buf valid;

    mt_buf_init(&valid, 0);
    mt_utf8_append_valid(&valid, text, strlen(text));
    mt_buf_append_string(out, name);
    mt_buf_append_json_string(out, valid.length > 0 ? valid.data : "", valid.length);
    out->failed = out->failed || valid.failed;
    mt_buf_fini(&valid);
}

static void write_number(struct mt_buf *out, const char *name, int64_t value)
{
    mt_buf_append_string(out, name);
    mt_buf_append_i64(out, value);
}

/* the generation is a string: most readers of JSON lose digits of such a number */
static void write_place(struct mt_buf *out, const struct mt_token *place)
{
    mt_buf_printf(out, "\"generation\":\"%" PRIu64 "\",\"sequence\":%" PRId64, place->generation,
                  place->sequence);
}

void mt_wire_write_outcomes(struct mt_buf *out, const struct mt_outcome *outcomes, size_t count)
{
    mt_buf_append_string(out, "{\"outcomes\":[");
    for (size_t i = 0; i < count; i++) {
        mt_buf_append_string(out, i > 0 ? ",{\"verdict\":\"" : "{\"verdict\":\"");
        mt_buf_append_string(out, verdicts[outcomes[i].verdict]);
        write_number(out, "\",\"timestamp\":", outcomes[i].timestamp);
        write_text(out, ",\"text\":", outcomes[i].text);
        mt_buf_append_char(out, '}');
    }
    mt_buf_append_string(out, "]}");
}

void mt_wire_write_token(struct mt_buf *out, const struct mt_token *token)
{
    mt_buf_append_char(out, '{');
    write_place(out, token);
    mt_buf_append_char(out, '}');
}

void mt_wire_write_changes_head(struct mt_buf *out, bool reset, const struct mt_token *place)
{
    mt_buf_append_string(out, reset ? "{\"reset\":true," : "{\"reset\":false,");
    write_place(out, place);
    mt_buf_append_string(out, "}\n");
}

void mt_wire_write_change(struct mt_buf *out, const struct mt_token *place,
                          const struct mt_record *record)
{
    mt_buf_append_char(out, '{');
    write_place(out, place);
    mt_buf_append_string(out, ",\"record\":");
    mt_json_record(out, record);
    mt_buf_append_string(out, "}\n");
}

void mt_wire_write_host(struct mt_buf *out, const struct mt_host *host)
{
    write_text(out, "{\"name\":", host->name);
    write_number(out, ",\"records\":", host->records);
    write_number(out, ",\"first\":", host->first);
    write_number(out, ",\"last\":", host->last);
    write_number(out, ",\"future\":", host->future);
    write_number(out, ",\"interval_s\":", host->interval_s);
    mt_buf_append_string(out, "}\n");
}

void mt_wire_write_pruned(struct mt_buf *out, int64_t pruned)
{
    write_number(out, "{\"pruned\":", pruned);
    mt_buf_append_char(out, '}');
}

void mt_wire_write_size(struct mt_buf *out, int64_t bytes)
{
    write_number(out, "{\"size\":", bytes);
    mt_buf_append_char(out, '}');
}

void mt_wire_begin_findings(struct mt_buf *out)
{
    mt_buf_append_string(out, "{\"findings\":[");
}

void mt_wire_add_finding(struct mt_buf *out, int64_t number, const char *text)
{
    write_text(out, number > 0 ? "," : "", text);
}

void mt_wire_end_findings(struct mt_buf *out)
{
    mt_buf_append_string(out, "]}");
}

void mt_wire_write_ping(struct mt_buf *out)
{
    mt_buf_append_string(out, "{\"status\":\"ok\"}");
}

void mt_wire_write_error(struct mt_buf *out, const struct mt_error *failure)
{
    write_text(out, "{\"detail\":", failure->text);
    mt_buf_append_string(out, ",\"error\":\"");
    mt_buf_append_string(
        out, symbols[(unsigned)failure->code < MT_ERR_COUNT ? failure->code : MT_ERR_FAILED]);
    mt_buf_append_string(out, "\"}");
}

/* how many of the first `count` bytes are whole characters */
static size_t whole_characters(const char *text, size_t count)
{
    size_t end = count;

    while (end > 0 && ((unsigned char)text[end - 1] & 0xC0) == 0x80)
        end--;
    if (end == 0 || (unsigned char)text[end - 1] < 0xC0)
        return count;
    /* the last character starts at end - 1 */
    return mt_utf8_is_valid(text + end - 1, count - end + 1) ? count : end - 1;
}

void mt_wire_clean(char *line, size_t size, struct mt_slice text)
{
    struct mt_buf valid;
    size_t length;

    mt_buf_init(&valid, 0);
    mt_utf8_append_valid(&valid, text.data, text.length < size ? text.length : size);
    length = valid.length < size ? valid.length : size - 1;
    if (length > 0)
        memcpy(line, valid.data, length);
    length = whole_characters(line, length);
    line[length] = '\0';
    mt_buf_fini(&valid);
    for (size_t i = 0; i < length; i++) {
        unsigned char byte = (unsigned char)line[i];

        /* also the control characters U+0080 to U+009F, which some terminals obey */
        if (byte < ' ' || byte == 0x7F)
            line[i] = ' ';
        else if (byte == 0xC2 && (unsigned char)line[i + 1] < 0xA0)
            line[i] = line[i + 1] = ' ';
    }
}

/* *object is freed by the caller with json_decref */
static enum mt_err parse(struct mt_slice text, json_t **object, struct mt_error *error)
{
    json_error_t failure;
    json_t *value = json_loadb(text.length > 0 ? text.data : "", text.length,
                               JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &failure);

    if (value == NULL)
        return mt_error_set(error, MT_ERR_BAD_DATA, "no JSON (at byte %d)", failure.position);
    if (!json_is_object(value)) {
        json_decref(value);
        return mt_error_set(error, MT_ERR_BAD_DATA, "no JSON object");
    }
    *object = value;
    return MT_OK;
}

static enum mt_err read_number(const json_t *object, const char *name, int64_t least,
                               int64_t *value, struct mt_error *error)
{
    const json_t *member = json_object_get(object, name);

    if (!json_is_integer(member) || json_integer_value(member) < least)
        return mt_error_set(error, MT_ERR_BAD_DATA, "%s: missing or no number from %" PRId64, name,
                            least);
    *value = json_integer_value(member);
    return MT_OK;
}

/* a member's bytes, or "" where it is no string */
static struct mt_slice text_of(const json_t *object, const char *name)
{
    const json_t *member = json_object_get(object, name);

    if (!json_is_string(member))
        return (struct mt_slice){"", 0};
    return (struct mt_slice){json_string_value(member), json_string_length(member)};
}

static bool find_name(struct mt_slice text, const char *const *names, size_t count, unsigned *found)
{
    for (unsigned i = 0; i < count; i++)
        if (mt_slice_equal(text, names[i])) {
            *found = i;
            return true;
        }
    return false;
}

static enum mt_err read_outcome(const json_t *object, struct mt_outcome *outcome,
                                struct mt_error *error)
{
    unsigned verdict;

    if (!find_name(text_of(object, "verdict"), verdicts, sizeof verdicts / sizeof verdicts[0],
                   &verdict))
        return mt_error_set(error, MT_ERR_BAD_DATA, "verdict: missing or unknown");
    outcome->verdict = (enum mt_verdict)verdict;
    mt_wire_clean(outcome->text, sizeof outcome->text, text_of(object, "text"));
    return read_number(object, "timestamp", INT64_MIN, &outcome->timestamp, error);
}

enum mt_err mt_wire_read_outcomes(struct mt_slice body, struct mt_outcome *outcomes, size_t count,
                                  struct mt_error *error)
{
    json_t *object = NULL;
    const json_t *array;
    enum mt_err err = parse(body, &object, error);

    if (err != MT_OK)
        return err;
    array = json_object_get(object, "outcomes");
    if (!json_is_array(array) || json_array_size(array) != count)
        err = mt_error_set(error, MT_ERR_BAD_DATA, "%zu outcomes for %zu records",
                           json_array_size(array), count);
    for (int fill = 0; fill < 2; fill++)
        for (size_t i = 0; err == MT_OK && i < count; i++) {
            struct mt_outcome outcome;

            err = read_outcome(json_array_get(array, i), &outcome, error);
            if (fill != 0)
                outcomes[i] = outcome;
        }
    json_decref(object);
    return err;
}

static enum mt_err read_place(const json_t *object, struct mt_token *place, struct mt_error *error)
{
    struct mt_slice text = text_of(object, "generation");
    struct mt_token read = {0};
    enum mt_err err;

    for (size_t i = 0; i < text.length; i++) {
        unsigned digit = (unsigned)(unsigned char)text.data[i] - '0';

        if (digit > 9 || __builtin_mul_overflow(read.generation, 10U, &read.generation) ||
            __builtin_add_overflow(read.generation, digit, &read.generation)) {
            text.length = 0;
            break;
        }
    }
    if (text.length == 0)
        return mt_error_set(error, MT_ERR_BAD_DATA, "generation: missing or no number below 2^64");
    err = read_number(object, "sequence", INT64_MIN, &read.sequence, error);
    if (err == MT_OK)
        *place = read;
    return err;
}

enum mt_err mt_wire_read_token(struct mt_slice body, struct mt_token *token, struct mt_error *error)
{
    json_t *object = NULL;
    enum mt_err err = parse(body, &object, error);

    if (err == MT_OK)
        err = read_place(object, token, error);
    json_decref(object);
    return err;
}

enum mt_err mt_wire_read_changes_head(struct mt_slice line, bool *reset, struct mt_token *place,
                                      struct mt_error *error)
{
    json_t *object = NULL;
    const json_t *member;
    enum mt_err err = parse(line, &object, error);

    if (err == MT_OK) {
        member = json_object_get(object, "reset");
        if (json_is_boolean(member))
            err = read_place(object, place, error);
        else
            err = mt_error_set(error, MT_ERR_BAD_DATA, "reset: missing or neither true nor false");
        if (err == MT_OK)
            *reset = json_is_true(member);
    }
    json_decref(object);
    return err;
}

enum mt_err mt_wire_read_change(struct mt_slice line, struct mt_token *place,
                                struct mt_record *record, struct mt_error *error)
{
    struct mt_token read_token;
    struct mt_record read;
    json_t *object = NULL;
    enum mt_err err = parse(line, &object, error);

    if (err == MT_OK)
        err = read_place(object, &read_token, error);
    if (err == MT_OK && json_object_get(object, "record") == NULL)
        err = mt_error_set(error, MT_ERR_BAD_DATA, "record: missing");
    if (err == MT_OK)
        err = mt_json_read_record(json_object_get(object, "record"), &read, error);
    if (err == MT_OK)
        err = mt_record_check(&read, error);
    if (err == MT_OK) {
        *place = read_token;
        *record = read;
    }
    json_decref(object);
    return err;
}

static enum mt_err read_host(const json_t *object, struct mt_host *host, struct mt_error *error)
{
    struct mt_slice name = text_of(object, "name");
    struct mt_record named = {0};
    const struct {
        const char *name;
        int64_t *value;
    } numbers[] = {
        {"records", &host->records}, {"first", &host->first},           {"last", &host->last},
        {"future", &host->future},   {"interval_s", &host->interval_s},
    };

    if (name.length >= sizeof named.host)
        return mt_error_set(error, MT_ERR_BAD_DATA, "name: too long");
    memcpy(named.host, name.data, name.length);
    if (strlen(named.host) != name.length || mt_record_check_values(&named, NULL) != MT_OK)
        return mt_error_set(error, MT_ERR_BAD_DATA, "name: missing or no host's name");
    memcpy(host->name, named.host, sizeof host->name);
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
        enum mt_err err = read_number(object, numbers[i].name, 0, numbers[i].value, error);

        if (err != MT_OK)
            return err;
    }
    return MT_OK;
}

enum mt_err mt_wire_read_host(struct mt_slice line, struct mt_host *host, struct mt_error *error)
{
    struct mt_host read;
    json_t *object = NULL;
    enum mt_err err = parse(line, &object, error);

    if (err == MT_OK)
        err = read_host(object, &read, error);
    if (err == MT_OK)
        *host = read;
    json_decref(object);
    return err;
}

/* the one number of an object */
static enum mt_err read_only_number(struct mt_slice body, const char *key, int64_t *value,
                                    struct mt_error *error)
{
    json_t *object = NULL;
    enum mt_err err = parse(body, &object, error);

    if (err == MT_OK)
        err = read_number(object, key, 0, value, error);
    json_decref(object);
    return err;
}

enum mt_err mt_wire_read_pruned(struct mt_slice body, int64_t *pruned, struct mt_error *error)
{
    return read_only_number(body, "pruned", pruned, error);
}

enum mt_err mt_wire_read_size(struct mt_slice body, int64_t *bytes, struct mt_error *error)
{
    return read_only_number(body, "size", bytes, error);
}

enum mt_err mt_wire_read_findings(struct mt_slice body, mt_report *report, void *context,
                                  int64_t *findings, struct mt_error *error)
{
    json_t *object = NULL;
    const json_t *array = NULL;
    const json_t *finding;
    size_t i;
    enum mt_err err = parse(body, &object, error);

    if (err == MT_OK) {
        array = json_object_get(object, "findings");
        if (!json_is_array(array))
            err = mt_error_set(error, MT_ERR_BAD_DATA, "findings: missing or no array");
        json_array_foreach(array, i, finding) if (err == MT_OK && !json_is_string(finding)) err =
            mt_error_set(error, MT_ERR_BAD_DATA, "findings: not all are strings");
    }
    if (err == MT_OK) {
        json_array_foreach(array, i, finding)
        {
            char line[1024];

            mt_wire_clean(
                line, sizeof line,
                (struct mt_slice){json_string_value(finding), json_string_length(finding)});
            report(context, line);
        }
        *findings = (int64_t)json_array_size(array);
    }
    json_decref(object);
    return err;
}

enum mt_err mt_wire_read_ping(struct mt_slice body, struct mt_error *error)
{
    json_t *object = NULL;
    enum mt_err err = parse(body, &object, error);

    if (err == MT_OK && !mt_slice_equal(text_of(object, "status"), "ok"))
        err = mt_error_set(error, MT_ERR_BAD_DATA, "status: not ok");
    json_decref(object);
    return err;
}

bool mt_wire_read_error(struct mt_slice body, struct mt_error *failure)
{
    json_t *object = NULL;
    bool is_error;
    unsigned code;

    if (parse(body, &object, NULL) != MT_OK)
        return false;
    is_error = json_is_string(json_object_get(object, "detail"));
    if (is_error) {
        failure->code = MT_OK;
        failure->sys_errno = 0;
        if (find_name(text_of(object, "error"), symbols, MT_ERR_COUNT, &code))
            failure->code = (enum mt_err)code;
        mt_wire_clean(failure->text, sizeof failure->text, text_of(object, "detail"));
    }
    json_decref(object);
    return is_error;
}
