/*
 * Log lines on standard error or in a file. One line is one write(2), so lines of several threads
 * and processes do not mix. Set up once by main before any thread starts; then any thread may log.
 */
#ifndef MT_BASE_LOG_H
#define MT_BASE_LOG_H

#include <stdbool.h>

#include "base/error.h"

enum mt_log_format {
    MT_LOG_TEXT, /* 2026-11-21T09:00:00.123Z warning memory-sampler: text */
    MT_LOG_JSON, /* {"time":"…","level":"warning","program":"memory-sampler","message":"text"} */
};

/*
 * mt_log_open: where and how to log from now on. path "-" is standard error; a file is appended to
 * and made with mode 0640; a pipe that nobody reads is not waited for, its lines go to standard
 * error after one that says so. program must live as long as the process. Before this call lines go
 * to standard error as text from level info on. CONFIG if the file cannot be opened (nothing
 * changed).
 */
enum mt_err mt_log_open(const char *program, enum mt_log_level least, enum mt_log_format format,
                        const char *path, struct mt_error *error);

/* mt_log_close: closes the log file, if any; lines go to standard error again. */
void mt_log_close(void);

/* mt_log_enabled: a line of this level would be written. */
bool mt_log_enabled(enum mt_log_level level);

/*
 * mt_log: one line. Control characters in the text are escaped and ill-formed UTF-8 replaced, so it
 * stays one line and cannot steer a terminal. Leaves errno alone and survives a closed pipe.
 */
void mt_log(enum mt_log_level level, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* mt_log_error: the text of *error at the level its code has in error.def. */
void mt_log_error(const struct mt_error *error);

/*
 * mt_log_line: writes a ready line (newline included) to where logs go, as it is. For access logs.
 * False if not all of it could be written.
 */
bool mt_log_line(const char *line, unsigned long length);

/*
 * mt_log_never_wait: from now on a line that cannot be taken at once, by a pipe that nobody reads,
 * is lost. For programs with event loops, which must not wait for a reader of logs; before threads
 * start.
 */
void mt_log_never_wait(void);

/*
 * mt_log_wait_at_most: from now on a line waits at most so long for the reader of a pipe and is
 * lost then, and those that follow do not wait until one is taken. Their number is told before the
 * next line that is written. For programs of one thread that have better to do than to log.
 */
void mt_log_wait_at_most(int patience_ms);

/* mt_log_format_in_use: text or json, as given to mt_log_open. */
enum mt_log_format mt_log_format_in_use(void);

/* mt_log_level_name: "debug" ... "critical", a static string. */
const char *mt_log_level_name(enum mt_log_level level);

/* mt_log_stamp: writes a UTC time like 2026-11-21T09:00:00.123Z and a NUL into stamp. */
void mt_log_stamp(char stamp[static 32], long long unix_ms);

#endif
