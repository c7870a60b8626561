#include "api/query.h"

#include <string.h>

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return -1;
}

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
        high = hex_digit(rest->data[1]);
        low = hex_digit(rest->data[2]);
        if (high >= 0 && low >= 0) {
            skip_bytes(rest, 3);
            return high << 4 | low;
        }
    }
    skip_bytes(rest, 1);
    return (unsigned char)c;
}

static int next_byte(struct mt_slice *rest)
{
    bool plus = rest->length > 0 && rest->data[0] == '+';
    int byte = mt_percent_next(rest);

    return plus ? ' ' : byte;
}

static bool is_ascii(char c)
{
    return (unsigned char)c < 0x80;
}

void mt_query_decode(struct mt_buf *out, struct mt_slice encoded)
{
    struct mt_buf run;

    mt_buf_init(&run, 0);
    while (encoded.length > 0 && !out->failed) {
        mt_buf_clear(&run);
        /* a %XX that is cut by a Latin-1 character is none, so a run may be read byte by byte */
        while (encoded.length > 0 && is_ascii(encoded.data[0]))
            mt_buf_append_char(&run, (char)next_byte(&encoded));
        if (run.failed)
            out->failed = true;
        mt_utf8_append_valid(out, run.data, run.length);
        for (; encoded.length > 0 && !is_ascii(encoded.data[0]); skip_bytes(&encoded, 1)) {
            unsigned char c = (unsigned char)encoded.data[0];
            mt_buf_append_char(out, (char)(0xC0 | c >> 6));
            mt_buf_append_char(out, (char)(0x80 | (c & 0x3F)));
        }
    }
    mt_buf_fini(&run);
}

bool mt_query_equal(struct mt_slice encoded, const char *text)
{
    for (; *text != '\0'; text++) {
        if (next_byte(&encoded) != (unsigned char)*text)
            return false;
    }
    return encoded.length == 0;
}
