#include "store/uri_part.h"

#include <string.h>
#include <strings.h>

static struct mt_slice cut(const char *from, const char *end)
{
    return (struct mt_slice){from, (size_t)(end - from)};
}

bool mt_uri_split(const char *uri, struct mt_uri_parts *parts)
{
    const char *colon = strstr(uri, "://");
    struct mt_uri_parts found = {0};
    const char *authority;
    const char *path;
    const char *question;
    const char *at;

    if (colon == NULL)
        return false;
    authority = colon + 3;
    path = authority + strcspn(authority, "/?#");
    question = path + strcspn(path, "?");
    at = memrchr(authority, '@', (size_t)(path - authority));
    found.scheme = cut(uri, colon);
    found.has_user = at != NULL;
    found.user = cut(authority, at != NULL ? at : authority);
    found.hosts = cut(at != NULL ? at + 1 : authority, path);
    found.path = cut(path, question);
    found.has_options = *question == '?';
    question += found.has_options;
    found.options = mt_slice_of(question);
    *parts = found;
    return true;
}

bool mt_uri_next_option(struct mt_slice *rest, struct mt_slice *name, struct mt_slice *value)
{
    const char *end;
    const char *equals;
    struct mt_slice option = *rest;

    if (rest->length == 0)
        return false;
    end = memchr(rest->data, '&', rest->length);
    if (end != NULL)
        option.length = (size_t)(end - rest->data);
    rest->data += option.length + (end != NULL);
    rest->length -= option.length + (end != NULL);
    equals = option.length > 0 ? memchr(option.data, '=', option.length) : NULL;
    *name = option;
    *value = (struct mt_slice){0};
    if (equals != NULL) {
        *name = cut(option.data, equals);
        *value = cut(equals + 1, option.data + option.length);
    }
    return true;
}

bool mt_uri_equal(struct mt_slice text, const char *name)
{
    return text.length == strlen(name) && strncasecmp(text.data, name, text.length) == 0;
}

bool mt_uri_is(const struct mt_uri_parts *parts, const char *scheme)
{
    return mt_slice_equal(parts->scheme, scheme);
}

bool mt_uri_decode(struct mt_slice text, struct mt_buf *out)
{
    for (size_t i = 0; i < text.length; i++) {
        int high;
        int low;

        if (text.data[i] != '%') {
            mt_buf_append_char(out, text.data[i]);
            continue;
        }
        if (text.length - i < 3)
            return false;
        high = mt_hex_digit(text.data[i + 1]);
        low = mt_hex_digit(text.data[i + 2]);
        if (high < 0 || low < 0 || high + low == 0)
            return false;
        mt_buf_append_char(out, (char)(high * 16 + low));
        i += 2;
    }
    return !out->failed;
}

static bool is_plain(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
           c == '.' || c == '_' || c == '~';
}

void mt_uri_encode(struct mt_slice text, struct mt_buf *out)
{
    for (size_t i = 0; i < text.length; i++) {
        if (is_plain(text.data[i]))
            mt_buf_append_char(out, text.data[i]);
        else
            mt_buf_printf(out, "%%%02X", (unsigned)(unsigned char)text.data[i]);
    }
}
