#include "base/buf.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void mt_buf_init(struct mt_buf *buf, size_t limit)
{
    *buf = (struct mt_buf){.limit = limit};
}

void mt_buf_fini(struct mt_buf *buf)
{
    free(buf->data);
    mt_buf_init(buf, buf->limit);
}

void mt_buf_clear(struct mt_buf *buf)
{
    buf->length = 0;
    buf->failed = false;
}

/* Room for `more` further bytes within the cap, and for a NUL that the cap does not count. */
static bool make_room(struct mt_buf *buf, size_t more, size_t nul)
{
    size_t most = SIZE_MAX / 2 - 1;
    size_t capacity;
    char *data;

    if (buf->failed)
        return false;
    if (buf->limit != 0 && buf->limit < most)
        most = buf->limit;
    if (buf->length > most || more > most - buf->length) {
        buf->failed = true;
        return false;
    }
    if (buf->capacity - buf->length >= more + nul)
        return true;
    /* doubling keeps the cost of n appends linear */
    capacity = buf->capacity < 128 ? 128 : buf->capacity * 2;
    if (capacity < buf->length + more + nul)
        capacity = buf->length + more + nul;
    if (capacity > most + 1)
        capacity = most + 1;
    data = realloc(buf->data, capacity);
    if (data == NULL) {
        buf->failed = true;
        return false;
    }
    buf->data = data;
    buf->capacity = capacity;
    return true;
}

bool mt_buf_reserve(struct mt_buf *buf, size_t more)
{
    return make_room(buf, more, 0);
}

void mt_buf_append(struct mt_buf *buf, const void *bytes, size_t count)
{
    if (count == 0 || !mt_buf_reserve(buf, count))
        return;
    memcpy(buf->data + buf->length, bytes, count);
    buf->length += count;
}

void mt_buf_append_string(struct mt_buf *buf, const char *string)
{
    mt_buf_append(buf, string, strlen(string));
}

void mt_buf_append_char(struct mt_buf *buf, char c)
{
    mt_buf_append(buf, &c, 1);
}

void mt_buf_append_i64(struct mt_buf *buf, int64_t value)
{
    char digits[20];
    size_t at = sizeof digits;
    uint64_t rest = value < 0 ? 0 - (uint64_t)value : (uint64_t)value;

    do
        digits[--at] = (char)('0' + rest % 10);
    while ((rest /= 10) != 0);
    if (value < 0)
        mt_buf_append_char(buf, '-');
    mt_buf_append(buf, digits + at, sizeof digits - at);
}

void mt_buf_printf(struct mt_buf *buf, const char *format, ...)
{
    va_list arguments;
    int count;

    va_start(arguments, format);
    count = vsnprintf(NULL, 0, format, arguments);
    va_end(arguments);
    if (count < 0) {
        buf->failed = true;
        return;
    }
    if (!make_room(buf, (size_t)count, 1))
        return;
    va_start(arguments, format);
    (void)vsnprintf(buf->data + buf->length, (size_t)count + 1, format, arguments);
    va_end(arguments);
    buf->length += (size_t)count;
}

/* The bytes at the head that a JSON string holds as they are. */
static size_t plain_length(const char *bytes, size_t count)
{
    size_t length = 0;

    while (length < count && (unsigned char)bytes[length] >= 0x20 && bytes[length] != '"' &&
           bytes[length] != '\\')
        length++;
    return length;
}

void mt_buf_append_json_string(struct mt_buf *buf, const char *bytes, size_t count)
{
    static const char hex[] = "0123456789abcdef";

    mt_buf_append_char(buf, '"');
    while (count > 0) {
        size_t plain = plain_length(bytes, count);
        unsigned char c = plain < count ? (unsigned char)bytes[plain] : 0;
        char escape[6] = {'\\', 'u', '0', '0', hex[c >> 4], hex[c & 15]};
        const char *known = c == 0 ? NULL : strchr("\"\"\\\\\bb\tt\nn\ff\rr", c);

        mt_buf_append(buf, bytes, plain);
        bytes += plain;
        count -= plain;
        if (count == 0)
            break;
        if (known != NULL) {
            escape[1] = known[1];
            mt_buf_append(buf, escape, 2);
        } else {
            mt_buf_append(buf, escape, sizeof escape);
        }
        bytes++;
        count--;
    }
    mt_buf_append_char(buf, '"');
}

const char *mt_buf_string(struct mt_buf *buf)
{
    if (!make_room(buf, 0, 1))
        return NULL;
    buf->data[buf->length] = '\0';
    return buf->data;
}
