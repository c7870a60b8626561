#include <errno.h>
#include <limits.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/log.h"
#include "sampler/health.h"
#include "sampler/sampler.h"
#include "store/spool.h"

/* Twice at most, opening and writing: with the courier's 45 s that is less than the minute. */
enum { OUTBOX_WAIT_MS = 6000 };

static char courier[] = "memory-courier";
static char tend[] = "--tend";

/* memory-courier lies beside this program: PATH and the working directory are whoever's. "" where
 * that is not known, which nothing executes. */
static void locate(char path[static PATH_MAX])
{
    const ssize_t most = PATH_MAX - (ssize_t)sizeof courier - 1;
    ssize_t length = readlink("/proc/self/exe", path, (size_t)most);
    char *slash;

    path[length > 0 && length < most ? length : 0] = '\0';
    slash = strrchr(path, '/');
    if (slash != NULL)
        (void)memcpy(slash + 1, courier, sizeof courier);
}

/* This program's arguments as the courier's, behind an option of its own unless that is NULL. Freed
 * by the caller, the strings are borrowed. */
static char **courier_arguments(char *option, char *const *argv)
{
    size_t count = 0;
    char **copy;

    while (argv[count] != NULL)
        count++;
    copy = calloc(count + 3, sizeof *copy);
    if (copy == NULL)
        return NULL;
    copy[0] = courier;
    copy[1] = option;
    for (size_t i = 1; i < count; i++)
        copy[i + (option != NULL)] = argv[i];
    return copy;
}

static void tell_missing(const char *path, int sys_errno, const char *consequence)
{
    mt_log(MT_LOG_ERROR, "cannot execute %s: %s; install it beside memory-sampler; %s",
           path[0] != '\0' ? path : courier, strerror(sys_errno), consequence);
}

static enum mt_err put(const struct mt_config *config, const char *destination,
                       const struct mt_record *record, bool unless_full, struct mt_error *error)
{
    int64_t limit = mt_config_number(config, MT_SETTING_SPOOL_LIMIT);
    int64_t waiting = 0;
    struct mt_spool *spool = NULL;
    enum mt_err result =
        mt_spool_open(mt_config_string(config, MT_SETTING_SPOOL), OUTBOX_WAIT_MS, &spool, error);

    if (result == MT_OK && unless_full)
        result = mt_spool_count(spool, &waiting, error);
    if (result == MT_OK && unless_full && waiting >= limit)
        result = MT_ERR_OUTBOX_FULL;
    else if (result == MT_OK)
        result = mt_spool_put(spool, destination, record, limit, error);
    mt_spool_close(spool);
    return result;
}

/* runs the courier and waits for its end */
static void make_room(const char *path, char **arguments)
{
    pid_t child;
    int failure = posix_spawn(&child, path, NULL, NULL, arguments, environ);

    if (failure != 0) {
        tell_missing(path, failure, "without it the outbox stays full");
        return;
    }
    while (waitpid(child, NULL, 0) < 0 && errno == EINTR)
        ;
}

enum mt_err mt_sampler_hand_over(const struct mt_config *config, const char *destination,
                                 const struct mt_record *record, char *const *argv,
                                 struct mt_error *error)
{
    char path[PATH_MAX];
    char **arguments = courier_arguments(NULL, argv);
    bool is_full;
    enum mt_err result;

    if (arguments == NULL)
        return mt_error_set(error, MT_ERR_NO_MEMORY, "out of memory; the record is lost");
    locate(path);
    result = put(config, destination, record, true, error);
    is_full = result == MT_ERR_OUTBOX_FULL && error->code == MT_OK;
    if (is_full) {
        make_room(path, arguments);
        result = put(config, destination, record, false, error);
    }
    if (result == MT_OK)
        mt_sampler_mark_health(config, "outbox");
    if (result != MT_OK) {
        mt_error_prefix(error, "the outbox does not take the record, which is lost");
    } else if (!is_full) {
        (void)execv(path, arguments);
        tell_missing(path, errno, "the record waits in the outbox");
    }
    free(arguments);
    return result;
}

void mt_sampler_tend(char *const *argv)
{
    char path[PATH_MAX];
    char **arguments = courier_arguments(tend, argv);

    if (arguments == NULL)
        return;
    locate(path);
    (void)execv(path, arguments);
    tell_missing(path, errno, "finished days are not sealed, and RETENTION is not applied");
    free(arguments);
}
