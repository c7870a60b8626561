#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/text.h"

/* written by main before threads start, read-only afterwards */
static struct {
    const char *program;
    enum mt_log_level least;
    enum mt_log_format format;
    int fd;
    bool never_wait;
} out = {.program = "memory-tracker", .least = MT_LOG_INFO, .fd = STDERR_FILENO};

static const char *const level_names[] = {"debug", "info", "warning", "error", "critical"};

enum mt_err mt_log_open(const char *program, enum mt_log_level least, enum mt_log_format format,
                        const char *path, struct mt_error *error)
{
    int fd = STDERR_FILENO;

    if (strcmp(path, "-") != 0) {
        fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOCTTY, 0640);
        if (fd < 0)
            return mt_error_set_errno(error, MT_ERR_CONFIG, errno, "cannot open log file %s", path);
    }
    mt_log_close();
    out.program = program;
    out.least = least;
    out.format = format;
    out.fd = fd;
    return MT_OK;
}

void mt_log_close(void)
{
    if (out.fd != STDERR_FILENO)
        (void)close(out.fd);
    out.fd = STDERR_FILENO;
}

bool mt_log_enabled(enum mt_log_level level)
{
    return level >= out.least;
}

const char *mt_log_level_name(enum mt_log_level level)
{
    return level_names[(unsigned)level <= MT_LOG_CRITICAL ? level : MT_LOG_CRITICAL];
}

enum mt_log_format mt_log_format_in_use(void)
{
    return out.format;
}

void mt_log_stamp(char stamp[static 32], long long unix_ms)
{
    int millis = (int)((unix_ms % 1000 + 1000) % 1000);
    time_t seconds = (time_t)((unix_ms - millis) / 1000);
    struct tm utc = {.tm_year = 70, .tm_mday = 1};
    size_t used;

    (void)gmtime_r(&seconds, &utc);
    used = strftime(stamp, 32, "%Y-%m-%dT%H:%M:%S", &utc);
    (void)snprintf(stamp + used, 32 - used, ".%03dZ", millis);
}

void mt_log_never_wait(void)
{
    out.never_wait = true;
}

/* a pipe with room takes PIPE_BUF bytes at once; a file takes anything */
static bool takes_more(void)
{
    struct pollfd place = {.fd = out.fd, .events = POLLOUT};

    return !out.never_wait || (poll(&place, 1, 0) > 0 && (place.revents & POLLOUT) != 0);
}

bool mt_log_line(const char *line, unsigned long length)
{
    /* a log that cannot be written must not stop the program: there is nowhere left to say it */
    while (length > 0) {
        ssize_t written;

        if (!takes_more())
            return false;
        written = write(out.fd, line, out.never_wait && length > PIPE_BUF ? PIPE_BUF : length);
        if (written < 0 && errno == EINTR)
            continue;
        if (written <= 0)
            return false;
        line += written;
        length -= (unsigned long)written;
    }
    return true;
}

/* text is valid UTF-8; besides ASCII's, U+0080 to U+009F (C2 80..9F) are control characters */
static void append_text(struct mt_buf *line, const char *text, size_t length)
{
    for (size_t i = 0; i < length; i++) {
        unsigned char c = (unsigned char)text[i];
        bool second = c == 0xC2 && (unsigned char)text[i + 1] < 0xA0;

        if (second)
            c = (unsigned char)text[++i];
        if (second || c < 0x20 || c == 0x7F)
            mt_buf_printf(line, "\\x%02x", c);
        else
            mt_buf_append_char(line, (char)c);
    }
}

/*
 * A reader of the log that went away must not take the program along: a sampler that warns still
 * has its record to keep. Only this write is guarded; standard output keeps the usual meaning of a
 * closed pipe.
 */
static void write_surviving(const char *line, size_t length)
{
    static const struct timespec at_once = {0};
    sigset_t pipe_signal;
    sigset_t before;

    (void)sigemptyset(&pipe_signal);
    (void)sigaddset(&pipe_signal, SIGPIPE);
    (void)pthread_sigmask(SIG_BLOCK, &pipe_signal, &before);
    (void)mt_log_line(line, length);
    if (errno == EPIPE)
        (void)sigtimedwait(&pipe_signal, NULL, &at_once);
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
}

static void write_line(enum mt_log_level level, const char *text)
{
    char stamp[32];
    struct mt_buf line;
    struct mt_buf valid;

    errno = 0;
    mt_buf_init(&line, 0);
    mt_buf_init(&valid, 0);
    mt_utf8_append_valid(&valid, text, strlen(text));
    mt_log_stamp(stamp, mt_clock_wall_ms());
    if (out.format == MT_LOG_JSON) {
        mt_buf_printf(&line,
                      "{\"time\":\"%s\",\"level\":\"%s\",\"program\":\"%s\",\"message\":", stamp,
                      mt_log_level_name(level), out.program);
        mt_buf_append_json_string(&line, valid.data, valid.length);
        mt_buf_append_string(&line, "}\n");
    } else {
        mt_buf_printf(&line, "%s %s %s: ", stamp, mt_log_level_name(level), out.program);
        append_text(&line, valid.data, valid.length);
        mt_buf_append_char(&line, '\n');
    }
    if (!line.failed && !valid.failed)
        write_surviving(line.data, line.length);
    mt_buf_fini(&line);
    mt_buf_fini(&valid);
}

void mt_log(enum mt_log_level level, const char *format, ...)
{
    int saved_errno = errno;
    char text[2048];
    va_list arguments;

    if (!mt_log_enabled(level))
        return;
    va_start(arguments, format);
    (void)vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    write_line(level, text);
    errno = saved_errno;
}

void mt_log_error(const struct mt_error *error)
{
    mt_log(mt_err_log_level(error->code), "%s: %s", mt_err_name(error->code), error->text);
}
