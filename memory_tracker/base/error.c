#include "base/error.h"

#include <stdio.h>
#include <string.h>

struct row {
    const char *name;
    int exit_status;
    int http_status;
    enum mt_log_level level;
};

static const struct row rows[MT_ERR_COUNT] = {
    [MT_OK] = {"ok", 0, 200, MT_LOG_INFO},
#define MT_ERROR(code, name, exit_status, http_status, level)                                      \
    [MT_ERR_##code] = {name, exit_status, http_status, MT_LOG_##level},
#include "base/error.def"
#undef MT_ERROR
};

static const struct row *row_of(enum mt_err code)
{
    return &rows[(unsigned)code < MT_ERR_COUNT ? code : MT_ERR_FAILED];
}

enum mt_err mt_error_set(struct mt_error *error, enum mt_err code, const char *format, ...)
{
    if (error != NULL) {
        va_list arguments;
        error->code = code;
        error->sys_errno = 0;
        va_start(arguments, format);
        (void)vsnprintf(error->text, sizeof error->text, format, arguments);
        va_end(arguments);
    }
    return code;
}

enum mt_err mt_error_set_errno(struct mt_error *error, enum mt_err code, int sys_errno,
                               const char *format, ...)
{
    if (error != NULL) {
        va_list arguments;
        size_t used;
        error->code = code;
        error->sys_errno = sys_errno;
        va_start(arguments, format);
        (void)vsnprintf(error->text, sizeof error->text, format, arguments);
        va_end(arguments);
        used = strlen(error->text);
        /* strerrordesc_np is thread-safe and independent of the locale; NULL for unknown numbers */
        const char *description = strerrordesc_np(sys_errno);
        (void)snprintf(error->text + used, sizeof error->text - used, ": %s",
                       description != NULL ? description : "unknown error");
    }
    return code;
}

void mt_error_prefix(struct mt_error *error, const char *format, ...)
{
    char old[sizeof error->text];
    va_list arguments;
    size_t used;
    size_t room;

    if (error == NULL)
        return;
    memcpy(old, error->text, sizeof old);
    va_start(arguments, format);
    (void)vsnprintf(error->text, sizeof error->text / 2, format, arguments);
    va_end(arguments);
    used = strlen(error->text);
    memcpy(error->text + used, ": ", 2);
    used += 2;
    room = sizeof error->text - used - 1;
    memcpy(error->text + used, old, strnlen(old, room));
    error->text[used + strnlen(old, room)] = '\0';
}

const char *mt_err_name(enum mt_err code)
{
    return row_of(code)->name;
}

int mt_err_exit_status(enum mt_err code)
{
    return row_of(code)->exit_status;
}

int mt_err_http_status(enum mt_err code)
{
    return row_of(code)->http_status;
}

enum mt_log_level mt_err_log_level(enum mt_err code)
{
    return row_of(code)->level;
}
