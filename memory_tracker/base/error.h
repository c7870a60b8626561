/*
 * The one error type. A fallible function returns enum mt_err and never mixes it with data; at the
 * border of a module a last parameter `struct mt_error *` carries the text, filled once, where the
 * knowledge is. Upper layers may put context before it; only the main of a program logs it.
 */
#ifndef MT_BASE_ERROR_H
#define MT_BASE_ERROR_H

#include <stdarg.h>

enum mt_log_level {
    MT_LOG_DEBUG,
    MT_LOG_INFO,
    MT_LOG_WARNING,
    MT_LOG_ERROR,
    MT_LOG_CRITICAL,
};

enum mt_err {
    MT_OK = 0,
#define MT_ERROR(code, name, exit_status, http_status, level) MT_ERR_##code,
#include "base/error.def"
#undef MT_ERROR
    MT_ERR_COUNT
};

/* Caller-owned, usually on the stack; zero it (`= {0}`) before use. */
struct mt_error {
    enum mt_err code;
    int sys_errno;   /* errno of the failing call, 0 where there was none */
    char text[1024]; /* one line for a person: what, which value, what to do */
};

/*
 * mt_error_set: fills *error (which may be NULL) with code and a formatted text and returns code.
 * The text is cut, never overrun. Any thread.
 */
enum mt_err mt_error_set(struct mt_error *error, enum mt_err code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/*
 * mt_error_set_errno: as mt_error_set, keeps sys_errno and appends ": " and its text. Returns code.
 */
enum mt_err mt_error_set_errno(struct mt_error *error, enum mt_err code, int sys_errno,
                               const char *format, ...) __attribute__((format(printf, 4, 5)));

/* mt_error_prefix: puts "context: " before the text of *error (may be NULL). */
void mt_error_prefix(struct mt_error *error, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* The columns of error.def; any thread, static strings. MT_OK gives "ok", 0, 200, info. */
const char *mt_err_name(enum mt_err code);
int mt_err_exit_status(enum mt_err code);
int mt_err_http_status(enum mt_err code);
enum mt_log_level mt_err_log_level(enum mt_err code);

#endif
