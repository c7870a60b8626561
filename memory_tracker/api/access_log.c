#include "api/access_log.h"

#include "base/log.h"

enum { TARGET_MOST = 1024, METHOD_MOST = 32 };

static struct mt_slice cut(struct mt_slice text, size_t most)
{
    return (struct mt_slice){text.data, text.length > most ? most : text.length};
}

static void append_escaped(struct mt_buf *out, struct mt_slice text)
{
    for (size_t i = 0; i < text.length; i++) {
        unsigned char c = (unsigned char)text.data[i];

        if (c < 0x20 || c > 0x7E || c == '"' || c == '\\')
            mt_buf_printf(out, "\\x%02x", c);
        else
            mt_buf_append_char(out, (char)c);
    }
}

static void append_json(struct mt_buf *out, struct mt_slice text, const char *end)
{
    struct mt_buf valid;

    mt_buf_init(&valid, 0);
    mt_utf8_append_valid(&valid, text.data, text.length);
    mt_buf_append_string(&valid, end);
    if (valid.failed)
        out->failed = true;
    mt_buf_append_json_string(out, valid.data, valid.length);
    mt_buf_fini(&valid);
}

void mt_access_print(struct mt_buf *out, const struct mt_access *access,
                     enum mt_access_format format)
{
    const char *end = access->target.length > TARGET_MOST ? "..." : "";
    struct mt_slice target = cut(access->target, TARGET_MOST);
    struct mt_slice method = cut(access->method, METHOD_MOST);
    char stamp[32];

    mt_log_stamp(stamp, access->time_ms);
    if (format == MT_ACCESS_JSON) {
        mt_buf_printf(out,
                      "{\"time\":\"%s\",\"level\":\"access\",\"remote\":\"%s\",\"method\":", stamp,
                      access->remote);
        append_json(out, method, "");
        mt_buf_append_string(out, ",\"target\":");
        append_json(out, target, end);
        mt_buf_printf(out, ",\"status\":%d,\"bytes\":%lld,\"duration_ms\":%lld", access->status,
                      (long long)access->bytes, (long long)access->duration_ms);
        if (access->token[0] != '\0')
            mt_buf_printf(out, ",\"token\":\"%s\"", access->token);
        mt_buf_append_string(out, "}\n");
        return;
    }
    mt_buf_printf(out, "%s access %s \"", stamp, access->remote);
    append_escaped(out, method);
    mt_buf_append_char(out, ' ');
    append_escaped(out, target);
    mt_buf_printf(out, "%s\" %d %lld %lldms", end, access->status, (long long)access->bytes,
                  (long long)access->duration_ms);
    if (access->token[0] != '\0')
        mt_buf_printf(out, " token=%s", access->token);
    mt_buf_append_char(out, '\n');
}

void mt_access_write(const struct mt_access *access, enum mt_access_format format, int64_t *lost)
{
    struct mt_buf line;

    mt_buf_init(&line, 0);
    mt_access_print(&line, access, format);
    if (line.failed || !mt_log_line(line.data, line.length)) {
        ++*lost;
    } else if (*lost > 0) {
        mt_log(MT_LOG_WARNING, "%lld lines of the access log are lost: nobody took them in time",
               (long long)*lost);
        *lost = 0;
    }
    mt_buf_fini(&line);
}
