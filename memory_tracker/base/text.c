#include "base/text.h"

#include <string.h>

#include "base/buf.h"

struct mt_slice mt_slice_of(const char *string)
{
    return (struct mt_slice){string, strlen(string)};
}

bool mt_slice_equal(struct mt_slice slice, const char *string)
{
    size_t length = strlen(string);

    return slice.length == length && (length == 0 || memcmp(slice.data, string, length) == 0);
}

bool mt_slice_starts_with(struct mt_slice slice, const char *string)
{
    size_t length = strlen(string);

    return slice.length >= length && memcmp(slice.data, string, length) == 0;
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

struct mt_slice mt_next_word(struct mt_slice *rest)
{
    struct mt_slice word;

    while (rest->length > 0 && is_blank(rest->data[0])) {
        rest->data++;
        rest->length--;
    }
    word = (struct mt_slice){rest->data, 0};
    while (word.length < rest->length && !is_blank(rest->data[word.length]))
        word.length++;
    if (word.length > 0) {
        rest->data += word.length;
        rest->length -= word.length;
    }
    return word;
}

int mt_hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return -1;
}

bool mt_parse_i64(struct mt_slice text, int64_t *value)
{
    bool negative = text.length > 0 && text.data[0] == '-';
    size_t i = negative ? 1 : 0;
    int64_t sum = 0;

    if (i == text.length)
        return false;
    for (; i < text.length; i++) {
        int digit = text.data[i] - '0';
        if (digit < 0 || digit > 9)
            return false;
        /* counts below zero, since INT64_MIN has no positive twin */
        if (__builtin_mul_overflow(sum, 10, &sum) || __builtin_sub_overflow(sum, digit, &sum))
            return false;
    }
    if (!negative && __builtin_sub_overflow(0, sum, &sum))
        return false;
    *value = sum;
    return true;
}

bool mt_parse_i64_range(struct mt_slice text, int64_t least, int64_t most, int64_t *value)
{
    int64_t parsed;

    if (!mt_parse_i64(text, &parsed) || parsed < least || parsed > most)
        return false;
    *value = parsed;
    return true;
}

/*
 * Reads one sequence at the head of the bytes: its length if well-formed (*valid), else the length
 * of the maximal part of a well-formed sequence, at least 1.
 */
static size_t utf8_sequence(const unsigned char *s, size_t count, bool *valid)
{
    unsigned char low = 0x80;
    unsigned char high = 0xBF;
    size_t length;

    *valid = true;
    if (s[0] < 0x80)
        return 1;
    *valid = false;
    if (s[0] >= 0xC2 && s[0] <= 0xDF) {
        length = 2;
    } else if (s[0] >= 0xE0 && s[0] <= 0xEF) {
        length = 3;
        if (s[0] == 0xE0)
            low = 0xA0;
        if (s[0] == 0xED)
            high = 0x9F;
    } else if (s[0] >= 0xF0 && s[0] <= 0xF4) {
        length = 4;
        if (s[0] == 0xF0)
            low = 0x90;
        if (s[0] == 0xF4)
            high = 0x8F;
    } else {
        return 1;
    }
    for (size_t i = 1; i < length; i++) {
        if (i == count || s[i] < low || s[i] > high)
            return i;
        low = 0x80;
        high = 0xBF;
    }
    *valid = true;
    return length;
}

void mt_utf8_append_valid(struct mt_buf *out, const char *bytes, size_t count)
{
    while (count > 0) {
        size_t good = 0;
        size_t length = 0;
        bool valid = true;

        while (good < count && valid) {
            length = utf8_sequence((const unsigned char *)bytes + good, count - good, &valid);
            if (valid)
                good += length;
        }
        mt_buf_append(out, bytes, good);
        if (valid)
            return;
        mt_buf_append_string(out, "\xEF\xBF\xBD");
        bytes += good + length;
        count -= good + length;
    }
}

bool mt_utf8_is_valid(const char *bytes, size_t count)
{
    bool valid = true;

    while (count > 0 && valid) {
        size_t length = utf8_sequence((const unsigned char *)bytes, count, &valid);
        bytes += length;
        count -= length;
    }
    return valid;
}

enum { NAME_MAX_LENGTH = 64 };

static char lower(char c)
{
    return (char)(c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : c);
}

/* Levenshtein distance with one row; names longer than NAME_MAX_LENGTH are never near. */
static size_t edit_distance(const char *a, const char *b)
{
    size_t row[NAME_MAX_LENGTH + 1];
    size_t a_length = strlen(a);
    size_t b_length = strlen(b);

    if (a_length > NAME_MAX_LENGTH || b_length > NAME_MAX_LENGTH)
        return SIZE_MAX;
    for (size_t j = 0; j <= b_length; j++)
        row[j] = j;
    for (size_t i = 1; i <= a_length; i++) {
        size_t diagonal = row[0];
        row[0] = i;
        for (size_t j = 1; j <= b_length; j++) {
            size_t above = row[j];
            size_t best = diagonal + (lower(a[i - 1]) != lower(b[j - 1]));
            if (above + 1 < best)
                best = above + 1;
            if (row[j - 1] + 1 < best)
                best = row[j - 1] + 1;
            diagonal = above;
            row[j] = best;
        }
    }
    return row[b_length];
}

const char *mt_text_nearest(const char *text, const char *const *names, size_t count)
{
    const char *nearest = NULL;
    /* a third of the letters wrong is still a slip of the fingers, more is another word */
    size_t best = strlen(text) / 3 + 2;

    for (size_t i = 0; i < count; i++) {
        size_t distance = edit_distance(text, names[i]);
        if (distance < best) {
            best = distance;
            nearest = names[i];
        }
    }
    return nearest;
}
