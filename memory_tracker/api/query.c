#include "api/query.h"

#include <string.h>

static void skip_bytes(struct mt_slice *rest, size_t count)
{
    rest->data += count;
    rest->length -= count;
}

/* Cuts *rest at the first separator, which goes too; without one, takes everything. */
static struct mt_slice cut_at(struct mt_slice *rest, char separator)
{
    const char *at = rest->length == 0 ? NULL : memchr(rest->data, separator, rest->length);
    struct mt_slice head = *rest;

    if (at != NULL)
        head.length = (size_t)(at - rest->data);
    skip_bytes(rest, at != NULL ? head.length + 1 : head.length);
    return head;
}

bool mt_query_next(struct mt_slice *rest, struct mt_query_pair *pair)
{
    while (rest->length > 0) {
        struct mt_slice value = cut_at(rest, '&');

        if (value.length == 0)
            continue;
        pair->name = cut_at(&value, '=');
        pair->value = value;
        return true;
    }
    return false;
}

int mt_percent_next(struct mt_slice *rest)
{
    int high, low;
    char c;

    if (rest->length == 0)
        return -1;
    c = rest->data[0];
    if (c == '%' && rest->length >= 3) {
        high = mt_hex_digit(rest->data[1]);
        low = mt_hex_digit(rest->data[2]);
        if (high >= 0 && low >= 0) {
            skip_bytes(rest, 3);
            return high << 4 | low;
        }
    }
    skip_bytes(rest, 1);
    return (unsigned char)c;
}

static inline int next_byte(struct mt_slice *rest)
{
    bool plus;
    int byte;

    /* what stands for itself, as nearly all does */
    if (rest->length > 0 && rest->data[0] != '%' && rest->data[0] != '+') {
        byte = (unsigned char)rest->data[0];
        skip_bytes(rest, 1);
        return byte;
    }
    plus = rest->length > 0 && rest->data[0] == '+';
    byte = mt_percent_next(rest);
    return plus ? ' ' : byte;
}

static bool is_ascii(char c)
{
    return (unsigned char)c < 0x80;
}

/* Takes the ASCII at the head of *rest, decodes it and puts right what is not UTF-8 then. */
static void decode_run(struct mt_buf *out, struct mt_slice *rest)
{
    size_t start = out->length;
    size_t length = 0;
    struct mt_slice run;
    struct mt_buf raw;

    while (length < rest->length && is_ascii(rest->data[length]))
        length++;
    run = (struct mt_slice){rest->data, length};
    skip_bytes(rest, length);
    if (length == 0 || !mt_buf_reserve(out, length))
        return;
    while (run.length > 0)
        out->data[out->length++] = (char)next_byte(&run);
    if (mt_utf8_is_valid(out->data + start, out->length - start))
        return;
    mt_buf_init(&raw, 0);
    mt_buf_append(&raw, out->data + start, out->length - start);
    out->length = start;
    mt_utf8_append_valid(out, raw.data, raw.length);
    out->failed |= raw.failed;
    mt_buf_fini(&raw);
}

bool mt_query_is_plain(struct mt_slice encoded)
{
    for (size_t i = 0; i < encoded.length; i++)
        if (!is_ascii(encoded.data[i]) || encoded.data[i] == '%' || encoded.data[i] == '+')
            return false;
    return true;
}

void mt_query_decode(struct mt_buf *out, struct mt_slice encoded)
{
    while (encoded.length > 0) {
        unsigned char c = (unsigned char)encoded.data[0];

        if (is_ascii(encoded.data[0])) {
            decode_run(out, &encoded);
        } else {
            char utf8[2] = {(char)(0xC0 | c >> 6), (char)(0x80 | (c & 0x3F))};
            mt_buf_append(out, utf8, sizeof utf8);
            skip_bytes(&encoded, 1);
        }
    }
}

bool mt_query_equal(struct mt_slice encoded, const char *text)
{
    /* as nearly everybody writes it */
    if (mt_slice_equal(encoded, text))
        return true;
    for (; *text != '\0'; text++) {
        if (next_byte(&encoded) != (unsigned char)*text)
            return false;
    }
    return encoded.length == 0;
}
