#include "store/spool_lock.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define LOCK_SUFFIX ".courier"

/* Beside the real file, so that two names of one outbox are one lock. Freed by the caller. */
static char *lock_path(const char *path)
{
    char *real = realpath(path, NULL);
    char *name = NULL;

    if (asprintf(&name, "%s" LOCK_SUFFIX, real != NULL ? real : path) < 0)
        name = NULL;
    free(real);
    return name;
}

static enum mt_err code_of(int number)
{
    return number == EACCES || number == EPERM ? MT_ERR_PERMISSION
           : number == EROFS                   ? MT_ERR_READ_ONLY
           : number == ENOSPC                  ? MT_ERR_FULL
           : number == ENOENT                  ? MT_ERR_MISSING
                                               : MT_ERR_IO;
}

/* Opens or makes the lock file, as the outbox's owner may use it also where root makes it. */
static int open_lock(const char *name, const char *path)
{
    struct stat outbox;
    bool is_there = stat(path, &outbox) == 0;
    mode_t mode = is_there ? outbox.st_mode & 0666 : 0640;
    int fd = open(name, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NOCTTY, mode);

    if (fd >= 0 && is_there && geteuid() == 0 && fchown(fd, outbox.st_uid, outbox.st_gid) != 0) {
        /* an outbox of nobody's: whoever opens it next will be told */
    }
    return fd;
}

enum mt_err mt_spool_lock(const char *path, int *fd, struct mt_error *error)
{
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    char *name = lock_path(path);
    enum mt_err err = MT_OK;
    int file;

    if (name == NULL)
        return mt_error_set(error, MT_ERR_NO_MEMORY, "outbox %s: out of memory", path);
    file = open_lock(name, path);
    if (file < 0)
        err =
            mt_error_set_errno(error, code_of(errno), errno, "cannot open the lock file %s", name);
    else if (fcntl(file, F_OFD_SETLK, &lock) == 0)
        *fd = file;
    else if (errno == EAGAIN || errno == EACCES)
        err = mt_error_set(error, MT_ERR_BUSY, "outbox %s: another process delivers it now", path);
    else
        err = mt_error_set_errno(error, MT_ERR_IO, errno, "cannot lock %s", name);
    if (err != MT_OK && file >= 0)
        (void)close(file);
    free(name);
    return err;
}

bool mt_spool_is_locked(const char *path)
{
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    char *name = lock_path(path);
    int file = name == NULL ? -1 : open(name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NOCTTY);
    bool is_locked = false;

    if (file >= 0) {
        is_locked = fcntl(file, F_OFD_GETLK, &lock) == 0 && lock.l_type != F_UNLCK;
        (void)close(file);
    }
    free(name);
    return is_locked;
}
