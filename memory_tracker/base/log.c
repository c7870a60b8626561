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
#include <sys/stat.h>
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
    int patience_ms; /* for the reader of a pipe; -1: without end */
    bool counts;     /* one thread only: the two below are kept */
    bool gave_up;    /* the last line waited in vain */
    long long lost;  /* lines since the last that was written */
} out = {.program = "memory-tracker", .least = MT_LOG_INFO, .fd = STDERR_FILENO, .patience_ms = -1};

static const char *const level_names[] = {"debug", "info", "warning", "error", "critical"};

/* errno of open(2) is that of a pipe without reader, or of something that no program can open */
static bool is_unread_pipe(const char *path)
{
    struct stat status;

    return errno == ENXIO && stat(path, &status) == 0 && S_ISFIFO(status.st_mode);
}

enum mt_err mt_log_open(const char *program, enum mt_log_level least, enum mt_log_format format,
                        const char *path, struct mt_error *error)
{
    bool is_unread = false;
    int fd = STDERR_FILENO;

    if (strcmp(path, "-") != 0) {
        /* non-blocking matters to pipes alone, which otherwise wait for a reader to come */
        fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOCTTY | O_NONBLOCK, 0640);
        is_unread = fd < 0 && is_unread_pipe(path);
        if (fd < 0 && !is_unread)
            return mt_error_set_errno(error, MT_ERR_CONFIG, errno, "cannot open log file %s", path);
    }
    mt_log_close();
    out.program = program;
    out.least = least;
    out.format = format;
    out.fd = is_unread ? STDERR_FILENO : fd;
    if (is_unread)
        mt_log(MT_LOG_WARNING,
               "nobody reads the log file %s, which is a pipe; lines go to standard error", path);
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
    out.patience_ms = 0;
}

void mt_log_wait_at_most(int patience_ms)
{
    out.patience_ms = patience_ms;
    out.counts = true;
}

/* a pipe with room takes PIPE_BUF bytes at once; a file takes anything */
static bool takes_more(int patience_ms)
{
    struct pollfd place = {.fd = out.fd, .events = POLLOUT};
    int ready = poll(&place, 1, patience_ms);

    while (ready < 0 && errno == EINTR)
        ready = poll(&place, 1, patience_ms);
    return ready > 0 && (place.revents & POLLOUT) != 0;
}

/* A file takes a line as a whole, so that it does not mix with another program's. */
static size_t most_at_once(size_t length)
{
    struct stat status;

    if (length <= PIPE_BUF || (fstat(out.fd, &status) == 0 && S_ISREG(status.st_mode)))
        return length;
    return PIPE_BUF;
}

bool mt_log_line(const char *line, unsigned long length)
{
    /* one that waited in vain is enough for a while */
    int patience_ms = out.gave_up ? 0 : out.patience_ms;

    /* a log that cannot be written must not stop the program: there is nowhere left to say it */
    while (length > 0) {
        ssize_t written;

        if (!takes_more(patience_ms))
            return false;
        written = write(out.fd, line, most_at_once(length));
        if (written < 0 && (errno == EINTR || errno == EAGAIN))
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
static bool write_surviving(const char *line, size_t length)
{
    static const struct timespec at_once = {0};
    sigset_t pipe_signal;
    sigset_t before;
    bool is_written;

    (void)sigemptyset(&pipe_signal);
    (void)sigaddset(&pipe_signal, SIGPIPE);
    (void)pthread_sigmask(SIG_BLOCK, &pipe_signal, &before);
    is_written = mt_log_line(line, length);
    if (errno == EPIPE)
        (void)sigtimedwait(&pipe_signal, NULL, &at_once);
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    return is_written;
}

static bool write_line(enum mt_log_level level, const char *text)
{
    char stamp[32];
    struct mt_buf line;
    struct mt_buf valid;
    bool is_written = false;

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
        is_written = write_surviving(line.data, line.length);
    mt_buf_fini(&line);
    mt_buf_fini(&valid);
    return is_written;
}

static void write_counting(enum mt_log_level level, const char *text)
{
    char notice[96];

    (void)snprintf(notice, sizeof notice, "%lld log lines are lost, since nobody read them",
                   out.lost);
    if (out.lost > 0 && write_line(MT_LOG_WARNING, notice))
        out.lost = 0;
    out.gave_up = !write_line(level, text);
    out.lost += out.gave_up;
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
    if (out.counts)
        write_counting(level, text);
    else
        (void)write_line(level, text);
    errno = saved_errno;
}

void mt_log_error(const struct mt_error *error)
{
    mt_log(mt_err_log_level(error->code), "%s: %s", mt_err_name(error->code), error->text);
}
