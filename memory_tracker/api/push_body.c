#include "api/push_body.h"

#include <stdlib.h>
#include <string.h>

#include "record/json_parse.h"
#include "store/outcome.h"

enum { FIRST_CAPACITY = 64 };

/* A body being read. */
struct reading {
    struct mt_push *push;
    const char *only_host;
    const char *unit; /* "line" or "element", for messages */
    size_t number;    /* of the text at hand */
    int status;
    struct mt_error *error;
};

static bool is_white(char c)
{
    return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

static struct mt_slice trim(struct mt_slice text)
{
    while (text.length > 0 && is_white(text.data[0])) {
        text.data++;
        text.length--;
    }
    while (text.length > 0 && is_white(text.data[text.length - 1]))
        text.length--;
    return text;
}

static bool refuse(struct reading *reading, int status, enum mt_err code, const char *text)
{
    reading->status = status;
    (void)mt_error_set(reading->error, code, "%s", text);
    return false;
}

/* All that grows, grown together. */
static bool make_room(struct reading *reading)
{
    struct mt_push *push = reading->push;
    size_t capacity = push->capacity == 0 ? FIRST_CAPACITY : push->capacity * 2;
    void *records;
    void *places;
    void *outcomes;

    if (push->count == MT_PUSH_RECORDS_MOST)
        return refuse(reading, 413, MT_ERR_BAD_DATA, "more than 10000 records; send fewer at once");
    if (push->count < push->capacity)
        return true;
    records = realloc(push->records, capacity * sizeof *push->records);
    push->records = records != NULL ? records : push->records;
    places = realloc(push->places, capacity * sizeof *push->places);
    push->places = places != NULL ? places : push->places;
    outcomes = realloc(push->outcomes, capacity * sizeof *push->outcomes);
    push->outcomes = outcomes != NULL ? outcomes : push->outcomes;
    if (records == NULL || places == NULL || outcomes == NULL)
        return refuse(reading, 500, MT_ERR_NO_MEMORY, "no memory for the records of a push");
    push->capacity = capacity;
    return true;
}

static void reject(struct mt_push *push, int64_t timestamp, const char *why)
{
    struct mt_outcome *outcome = &push->outcomes[push->count++];

    outcome->timestamp = timestamp;
    mt_outcome_reject(why, outcome);
}

/* Takes one text; false if that refuses the whole. */
static bool take(struct reading *reading, struct mt_slice text)
{
    struct mt_push *push = reading->push;
    struct mt_record *record;
    struct mt_error error = {0};
    bool is_json;

    if (!make_room(reading))
        return false;
    record = &push->records[push->record_count];
    if (mt_json_parse_record(text, record, &is_json, &error) != MT_OK) {
        if (!is_json) {
            reading->status = 422;
            (void)mt_error_set(reading->error, MT_ERR_BAD_DATA, "%s %zu is not JSON: %s",
                               reading->unit, reading->number, error.text);
            return false;
        }
        reject(push, 0, error.text);
        return true;
    }
    if (reading->only_host[0] != '\0' && strcmp(record->host, reading->only_host) != 0) {
        (void)mt_error_set(&error, MT_ERR_REJECTED, "host '%.64s': this token is for host '%.64s'",
                           record->host, reading->only_host);
        reject(push, record->timestamp, error.text);
        return true;
    }
    push->outcomes[push->count] = (struct mt_outcome){.verdict = MT_VERDICT_REJECTED};
    push->places[push->record_count++] = push->count++;
    return true;
}

static bool take_lines(struct reading *reading, struct mt_slice text)
{
    while (text.length > 0) {
        const char *newline = memchr(text.data, '\n', text.length);
        struct mt_slice line = {text.data,
                                newline != NULL ? (size_t)(newline - text.data) : text.length};
        size_t used = line.length + (newline != NULL);

        reading->number++;
        line = trim(line);
        if (line.length > 0 && !take(reading, line))
            return false;
        text.data += used;
        text.length -= used;
    }
    return true;
}

/*
 * The length of the first element of an array: up to a comma or bracket outside of strings and
 * nested values. Whether it is JSON is for the parser to say, which never sees the whole: a body of
 * ten million empty arrays takes no more memory than itself.
 */
static size_t element_length(struct mt_slice text)
{
    size_t depth = 0;
    bool in_string = false;

    for (size_t i = 0; i < text.length; i++) {
        char c = text.data[i];

        if (in_string) {
            if (c == '\\')
                i++;
            else
                in_string = c != '"';
        } else if (c == '"') {
            in_string = true;
        } else if (c == '[' || c == '{') {
            depth++;
        } else if ((c == ']' || c == '}' || c == ',') && depth == 0) {
            return i;
        } else if (c == ']' || c == '}') {
            depth--;
        }
    }
    return text.length;
}

/* text begins after the bracket */
static bool take_array(struct reading *reading, struct mt_slice text)
{
    bool is_first = true;

    for (;;) {
        size_t length = element_length(text);
        struct mt_slice element = trim((struct mt_slice){text.data, length});
        char end;

        reading->number++;
        if (length == text.length)
            return refuse(reading, 422, MT_ERR_BAD_DATA, "the array has no end");
        end = text.data[length];
        text.data += length + 1;
        text.length -= length + 1;
        if (end == ']' && is_first && element.length == 0)
            break;
        if (!take(reading, element))
            return false;
        if (end == ']')
            break;
        if (end == '}')
            return refuse(reading, 422, MT_ERR_BAD_DATA, "the array is not JSON: a stray '}'");
        is_first = false;
    }
    if (trim(text).length > 0)
        return refuse(reading, 422, MT_ERR_BAD_DATA, "something follows the array");
    return true;
}

void mt_push_read(struct mt_slice text, bool lines, const char *only_host, struct mt_push *push,
                  int *status, struct mt_error *error)
{
    struct reading reading = {.push = push,
                              .only_host = only_host,
                              .unit = lines ? "line" : "element",
                              .status = 200,
                              .error = error};

    if (lines) {
        (void)take_lines(&reading, text);
    } else {
        text = trim(text);
        if (text.length > 0 && text.data[0] == '[') {
            (void)take_array(&reading, (struct mt_slice){text.data + 1, text.length - 1});
        } else {
            reading.number = 1;
            (void)take(&reading, text);
        }
    }
    *status = reading.status;
}

void mt_push_fini(struct mt_push *push)
{
    free(push->records);
    free(push->places);
    free(push->outcomes);
    *push = (struct mt_push){0};
}
