#include "cli/output.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { PIECE_BYTES = 64 * 1024 };

static enum mt_err fail(const struct mt_output *out, struct mt_error *error)
{
    return mt_error_set_errno(error, MT_ERR_IO, errno, "cannot write to %s", out->name);
}

/* The mode a file made by open(2) would get; only the kernel knows the umask without changing it.
 */
static mode_t usual_mode(void)
{
    mode_t mask = umask(0);

    (void)umask(mask);
    return 0666 & ~mask;
}

static enum mt_err open_temporary(struct mt_output *out, const char *path, struct mt_error *error)
{
    struct stat status;
    mode_t mode = usual_mode();

    /* through a symbolic link the file it leads to is replaced, not the link */
    out->path = realpath(path, NULL);
    if (out->path != NULL && stat(out->path, &status) == 0)
        mode = status.st_mode & 07777;
    else
        out->path = strdup(path);
    if (out->path == NULL || asprintf(&out->temporary, "%s.XXXXXX", out->path) < 0) {
        out->temporary = NULL;
        return mt_error_set(error, MT_ERR_NO_MEMORY, "out of memory");
    }
    out->fd = mkostemp(out->temporary, O_CLOEXEC);
    if (out->fd < 0) {
        enum mt_err result = fail(out, error);
        free(out->temporary);
        out->temporary = NULL;
        return result;
    }
    return fchmod(out->fd, mode) == 0 ? MT_OK : fail(out, error);
}

/* Nobody means to replace a history by an answer; --output memory.db is a slip. */
static enum mt_err spare_databases(const char *path, struct mt_error *error)
{
    static const char magic[16] = "SQLite format 3";
    char head[sizeof magic];
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    bool is_database = fd >= 0 && read(fd, head, sizeof head) == (ssize_t)sizeof head &&
                       memcmp(head, magic, sizeof head) == 0;

    if (fd >= 0)
        (void)close(fd);
    if (!is_database)
        return MT_OK;
    return mt_error_set(error, MT_ERR_IO, "%s is a database and stays as it is; name another file",
                        path);
}

enum mt_err mt_output_open(struct mt_output *out, const char *path, struct mt_error *error)
{
    struct stat status;

    *out = (struct mt_output){.fd = STDOUT_FILENO, .name = "standard output"};
    mt_buf_init(&out->text, 0);
    if (path == NULL)
        return MT_OK;
    out->name = path;
    if (stat(path, &status) != 0 || S_ISREG(status.st_mode)) {
        enum mt_err result = spare_databases(path, error);
        return result == MT_OK ? open_temporary(out, path, error) : result;
    }
    out->fd = open(path, O_WRONLY | O_CLOEXEC | O_NOCTTY);
    return out->fd >= 0 ? MT_OK : fail(out, error);
}

static enum mt_err write_all(struct mt_output *out, struct mt_error *error)
{
    size_t at = 0;

    if (out->text.failed)
        return mt_error_set(error, MT_ERR_NO_MEMORY, "out of memory");
    while (at < out->text.length) {
        ssize_t count = write(out->fd, out->text.data + at, out->text.length - at);
        if (count < 0 && errno == EINTR)
            continue;
        if (count < 0)
            return fail(out, error);
        at += (size_t)count;
    }
    mt_buf_clear(&out->text);
    return MT_OK;
}

enum mt_err mt_output_drain(struct mt_output *out, struct mt_error *error)
{
    return out->text.length < PIECE_BYTES && !out->text.failed ? MT_OK : write_all(out, error);
}

/* A name is durable once its directory is. */
static enum mt_err sync_directory(const struct mt_output *out, struct mt_error *error)
{
    char *copy = strdup(out->path);
    enum mt_err result = MT_OK;
    int fd;

    if (copy == NULL)
        return mt_error_set(error, MT_ERR_NO_MEMORY, "out of memory");
    fd = open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0 || fsync(fd) != 0)
        result = fail(out, error);
    if (fd >= 0)
        (void)close(fd);
    free(copy);
    return result;
}

enum mt_err mt_output_commit(struct mt_output *out, struct mt_error *error)
{
    enum mt_err result = write_all(out, error);

    if (result != MT_OK || out->temporary == NULL)
        return result;
    if (fsync(out->fd) != 0 || rename(out->temporary, out->path) != 0)
        return fail(out, error);
    free(out->temporary);
    out->temporary = NULL;
    return sync_directory(out, error);
}

enum mt_err mt_output_commit_after(struct mt_output *out, enum mt_err result,
                                   struct mt_error *error)
{
    struct mt_error unwritten = {0};

    if (result == MT_OK)
        return mt_output_commit(out, error);
    (void)mt_output_commit(out, &unwritten);
    return result;
}

void mt_output_close(struct mt_output *out)
{
    if (out->temporary != NULL)
        (void)unlink(out->temporary);
    if (out->fd > STDERR_FILENO)
        (void)close(out->fd);
    free(out->temporary);
    free(out->path);
    mt_buf_fini(&out->text);
    out->temporary = NULL;
    out->path = NULL;
    out->fd = -1;
}
