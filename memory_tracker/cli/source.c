#include "cli/source.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/interrupt.h"
#include "cli/rows.h"

static const char sqlite_magic[16] = "SQLite format 3";

struct mt_source {
    char *name; /* owned; for messages */
    int64_t size;
    int64_t number; /* of the last line, from 1 */
    char place[512];
    /* CSV */
    int fd;
    int64_t offset; /* of the byte after those in the buffer */
    bool at_end;
    size_t begin, end; /* what of the buffer is not handed out yet */
    char buffer[2 * MT_SOURCE_LINE_MAX];
    /* SQLite */
    struct mt_rows *rows; /* NULL: CSV */
};

static enum mt_err fail(const char *name, struct mt_error *error)
{
    if (errno == EINTR)
        return mt_error_set(error, MT_ERR_CANCELLED, "interrupted while reading %s", name);
    return mt_error_set_errno(error, MT_ERR_IO, errno, "cannot read %s", name);
}

static enum mt_err cannot_keep(const char *name, const char *path, struct mt_error *error)
{
    return mt_error_set_errno(error, MT_ERR_IO, errno,
                              "cannot keep %s in a temporary file like %s (TMPDIR names the place)",
                              name, path);
}

/* Reads a stream to its end into a file. */
static enum mt_err copy_all(int from, int to, const char *name, const char *path,
                            struct mt_error *error)
{
    char chunk[64 * 1024];
    ssize_t count;

    while ((count = read(from, chunk, sizeof chunk)) > 0) {
        for (ssize_t at = 0; at < count;) {
            ssize_t written = write(to, chunk + at, (size_t)(count - at));

            if (written < 0 && errno != EINTR)
                return cannot_keep(name, path, error);
            at += written > 0 ? written : 0;
        }
        if (mt_interrupt_seen(NULL))
            return mt_error_set(error, MT_ERR_CANCELLED, "interrupted while reading %s", name);
    }
    return count == 0 ? MT_OK : fail(name, error);
}

/* Puts a temporary file that has no name, with all that the stream gives, in the stream's place. */
static enum mt_err spool(int *fd, const char *name, struct mt_error *error)
{
    const char *directory = getenv("TMPDIR");
    enum mt_err result;
    char path[4096];
    int copy;

    (void)snprintf(path, sizeof path, "%s/memory-tracker.XXXXXX",
                   directory != NULL && directory[0] == '/' ? directory : "/tmp");
    copy = mkostemp(path, O_CLOEXEC);
    if (copy < 0)
        return cannot_keep(name, path, error);
    (void)unlink(path);
    result = copy_all(*fd, copy, name, path, error);
    if (result != MT_OK) {
        (void)close(copy);
        return result;
    }
    if (*fd != STDIN_FILENO)
        (void)close(*fd);
    *fd = copy;
    return MT_OK;
}

/* Tells by the first bytes what the file is; an SQLite file is then read by its engine alone. */
static enum mt_err recognise(struct mt_source *source, const char *path, bool is_spooled,
                             struct mt_error *error)
{
    char head[sizeof sqlite_magic];
    ssize_t count = pread(source->fd, head, sizeof head, 0);

    if (count < 0)
        return fail(source->name, error);
    if (count == 0)
        return mt_error_set(error, MT_ERR_BAD_DATA,
                            "%s is empty; the first line must name the columns", source->name);
    if ((size_t)count < sizeof head || memcmp(head, sqlite_magic, sizeof head) != 0)
        return MT_OK;
    if (is_spooled)
        return mt_error_set(error, MT_ERR_BAD_DATA,
                            "%s: an SQLite file cannot come through a pipe; name the file itself",
                            source->name);
    (void)close(source->fd);
    source->fd = -1;
    return mt_rows_open(path, &source->rows, &source->size, error);
}

enum mt_err mt_source_open(const char *path, struct mt_source **source, struct mt_error *error)
{
    bool is_stdin = strcmp(path, "-") == 0;
    struct mt_source *opened = calloc(1, sizeof *opened);
    struct stat status = {0};
    bool is_spooled = false;
    enum mt_err result = MT_OK;

    if (opened == NULL)
        return mt_error_set(error, MT_ERR_NO_MEMORY, "out of memory");
    opened->name = strdup(is_stdin ? "standard input" : path);
    opened->fd = is_stdin ? STDIN_FILENO : open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
    if (opened->name == NULL)
        result = mt_error_set(error, MT_ERR_NO_MEMORY, "out of memory");
    else if (opened->fd < 0 || fstat(opened->fd, &status) != 0)
        result = fail(opened->name, error);
    else if (S_ISDIR(status.st_mode))
        result = mt_error_set(error, MT_ERR_IO, "%s is a directory; name a file", path);
    if (result == MT_OK && (is_stdin || !S_ISREG(status.st_mode))) {
        result = spool(&opened->fd, opened->name, error);
        is_spooled = true;
        if (result == MT_OK && fstat(opened->fd, &status) != 0)
            result = fail(opened->name, error);
    }
    opened->size = status.st_size;
    if (result == MT_OK)
        result = recognise(opened, path, is_spooled, error);
    if (result == MT_OK)
        *source = opened;
    else
        mt_source_close(opened);
    return result;
}

void mt_source_close(struct mt_source *source)
{
    if (source == NULL)
        return;
    mt_rows_close(source->rows);
    if (source->fd > STDERR_FILENO)
        (void)close(source->fd);
    free(source->name);
    free(source);
}

/* Makes room behind what is left and reads more. */
static enum mt_err fill(struct mt_source *source, struct mt_error *error)
{
    ssize_t count;

    memmove(source->buffer, source->buffer + source->begin, source->end - source->begin);
    source->end -= source->begin;
    source->begin = 0;
    do
        count = pread(source->fd, source->buffer + source->end, sizeof source->buffer - source->end,
                      source->offset);
    while (count < 0 && errno == EINTR);
    if (count < 0)
        return fail(source->name, error);
    source->at_end = count == 0;
    source->offset += count;
    source->end += (size_t)count;
    return MT_OK;
}

/* One line with its end, or what the file's last bytes are; *line empty at the end. */
static enum mt_err next_piece(struct mt_source *source, struct mt_slice *line,
                              struct mt_error *error)
{
    bool is_too_long = false;
    enum mt_err result;

    for (;;) {
        const char *data = source->buffer + source->begin;
        size_t left = source->end - source->begin;
        const char *newline = memchr(data, '\n', left);
        size_t length = newline != NULL ? (size_t)(newline - data) + 1 : left;

        if (newline != NULL || source->at_end) {
            source->begin += length;
            source->number += length > 0 || is_too_long;
            if (is_too_long || length > MT_SOURCE_LINE_MAX)
                return mt_error_set(error, MT_ERR_BAD_DATA,
                                    "a line of more than %d bytes is no record",
                                    MT_SOURCE_LINE_MAX);
            *line = (struct mt_slice){data, length};
            return MT_OK;
        }
        if (left > MT_SOURCE_LINE_MAX) {
            is_too_long = true;
            source->begin = source->end;
        }
        result = fill(source, error);
        if (result != MT_OK)
            return result;
    }
}

enum mt_err mt_source_next(struct mt_source *source, struct mt_slice *line, struct mt_error *error)
{
    struct mt_slice piece = {0};
    enum mt_err result;
    size_t length;

    if (source->rows != NULL)
        return mt_rows_next(source->rows, line, &source->number, error);
    do {
        result = next_piece(source, &piece, error);
        if (result != MT_OK)
            return result;
        if (piece.length == 0) {
            *line = (struct mt_slice){0};
            return MT_OK;
        }
        length = piece.length;
        if (piece.data[length - 1] == '\n')
            length--;
        if (length > 0 && piece.data[length - 1] == '\r')
            length--;
    } while (length == 0);
    *line = (struct mt_slice){piece.data, length};
    return MT_OK;
}

void mt_source_rewind(struct mt_source *source)
{
    source->number = 0;
    source->offset = 0;
    source->begin = source->end = 0;
    source->at_end = false;
    if (source->rows != NULL)
        mt_rows_rewind(source->rows);
}

const char *mt_source_name(const struct mt_source *source)
{
    return source->name;
}

int64_t mt_source_number(const struct mt_source *source)
{
    return source->number;
}

const char *mt_source_place(struct mt_source *source, int64_t number)
{
    (void)snprintf(source->place, sizeof source->place,
                   source->rows != NULL ? "%s: row %" PRId64 : "%s:%" PRId64, source->name, number);
    return source->place;
}

int64_t mt_source_read(const struct mt_source *source)
{
    if (source->rows != NULL)
        return mt_rows_read(source->rows);
    return source->offset - (int64_t)(source->end - source->begin);
}

int64_t mt_source_size(const struct mt_source *source)
{
    return source->size > 0 ? source->size : 1;
}
