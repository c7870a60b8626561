#include "sampler/health.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/text.h"

enum {
    LINE_SIZE = 64,
    GRACE_S = 30, /* after two missed records */
    MODE = S_IRUSR | S_IWUSR | S_IRGRP | S_IROTH,
};

/* Why this is no file to write to; NULL: it is one. A second name could be anybody's file. */
static const char *objection(int fd)
{
    struct stat status;

    if (fstat(fd, &status) != 0)
        return strerror(errno);
    if (!S_ISREG(status.st_mode) || status.st_nlink != 1)
        return "not a file of its own";
    if (status.st_uid != geteuid())
        return "another user's file";
    if ((status.st_mode & 07777) != MODE && fchmod(fd, MODE) != 0)
        return strerror(errno);
    return NULL;
}

static const char *write_line(int fd, const char *place)
{
    char line[LINE_SIZE];
    int length = snprintf(line, sizeof line, "%" PRId64 " %s\n", mt_clock_wall_s(), place);

    if (write(fd, line, (size_t)length) != length || ftruncate(fd, length) != 0)
        return strerror(errno);
    return NULL;
}

void mt_sampler_mark_health(const struct mt_config *config, const char *place)
{
    const char *path = mt_config_string(config, MT_SETTING_HEALTH_FILE);
    const char *failure;
    int fd;

    if (path[0] == '\0')
        return;
    /* not to wait for a pipe's reader */
    fd = open(path, O_WRONLY | O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC, MODE);
    failure = fd < 0 ? strerror(errno) : objection(fd);
    if (failure == NULL)
        failure = write_line(fd, place);
    if (failure != NULL)
        mt_log(MT_LOG_WARNING, "cannot write HEALTH_FILE %s: %s; the record is safe in the %s",
               path, failure, place);
    if (fd >= 0)
        (void)close(fd);
}

/* The time in the file. A line that is being written at this moment has no other time in it than
 * the two minutes' that follow one another. */
static enum mt_err read_time(const char *path, int64_t *unix_s, struct mt_error *error)
{
    int fd = open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    char line[LINE_SIZE];
    ssize_t length;
    const char *space;

    if (fd < 0 && errno == ENOENT)
        return mt_error_set(error, MT_ERR_FAILED,
                            "no record yet: there is no %s; see the log of memory-sampler", path);
    if (fd < 0)
        return mt_error_set_errno(error, MT_ERR_FAILED, errno, "cannot read HEALTH_FILE %s", path);
    length = read(fd, line, sizeof line);
    (void)close(fd);
    space = length > 0 ? memchr(line, ' ', (size_t)length) : NULL;
    if (space == NULL || !mt_parse_i64((struct mt_slice){line, (size_t)(space - line)}, unix_s))
        return mt_error_set(error, MT_ERR_FAILED,
                            "HEALTH_FILE %s is not memory-sampler's: no time is in it", path);
    return MT_OK;
}

enum mt_err mt_sampler_check_health(const struct mt_config *config, struct mt_error *error)
{
    const char *path = mt_config_string(config, MT_SETTING_HEALTH_FILE);
    int64_t limit_s = 2 * mt_config_number(config, MT_SETTING_INTERVAL) + GRACE_S;
    int64_t unix_s = 0;
    int64_t age_s;
    enum mt_err result;

    if (path[0] == '\0')
        return mt_error_set(error, MT_ERR_CONFIG,
                            "--health-check needs HEALTH_FILE, which memory-sampler writes after "
                            "each record; give both the same");
    result = read_time(path, &unix_s, error);
    if (result != MT_OK)
        return result;
    if (__builtin_sub_overflow(mt_clock_wall_s(), unix_s, &age_s) || age_s <= -limit_s)
        return mt_error_set(error, MT_ERR_FAILED,
                            "the last record is of %" PRId64 ", which is to come: the clock "
                            "stepped back; the next record will tell, see the log of "
                            "memory-sampler",
                            unix_s);
    if (age_s >= limit_s)
        return mt_error_set(error, MT_ERR_FAILED,
                            "last record %" PRId64 " s ago, and the limit is %" PRId64
                            " s (2 * INTERVAL + 30); see the log of memory-sampler",
                            age_s, limit_s);
    (void)printf("last record %" PRId64 " s ago\n", age_s > 0 ? age_s : 0);
    return MT_OK;
}
