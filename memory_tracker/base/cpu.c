#include "base/cpu.h"

#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/text.h"

enum { TEXT_SIZE = 4096 };

int64_t mt_cpu_count(void)
{
    cpu_set_t set;

    /* fails only where there are more CPUs than the set has bits */
    return sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 0;
}

/* The beginning of a file as a string; "" if it cannot be read. */
static void read_text(const char *path, char text[static TEXT_SIZE])
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t length = fd >= 0 ? read(fd, text, TEXT_SIZE - 1) : -1;

    text[length > 0 ? length : 0] = '\0';
    if (fd >= 0)
        (void)close(fd);
}

/* The same, as its first line. */
static struct mt_slice read_line(const char *path, char text[static TEXT_SIZE])
{
    read_text(path, text);
    return (struct mt_slice){text, strcspn(text, "\n")};
}

/* Rounded up; 0: no quota ("max" in v2, -1 in v1, or no such file). */
static int64_t cpus_of(struct mt_slice quota_us, struct mt_slice period_us)
{
    int64_t quota;
    int64_t period;

    if (!mt_parse_i64_range(quota_us, 1, INT64_MAX / 2, &quota) ||
        !mt_parse_i64_range(period_us, 1, INT64_MAX / 2, &period))
        return 0;
    return (quota + period - 1) / period;
}

static int64_t quota_of_v2(const char *directory)
{
    char path[PATH_MAX];
    char text[TEXT_SIZE];
    struct mt_slice rest;
    struct mt_slice quota;

    (void)snprintf(path, sizeof path, "%s/cpu.max", directory);
    rest = read_line(path, text);
    quota = mt_next_word(&rest);
    return cpus_of(quota, mt_next_word(&rest));
}

static int64_t quota_of_v1(const char *directory)
{
    char path[PATH_MAX];
    char quota[TEXT_SIZE];
    char period[TEXT_SIZE];
    struct mt_slice quota_rest;
    struct mt_slice period_rest;

    (void)snprintf(path, sizeof path, "%s/cpu.cfs_quota_us", directory);
    quota_rest = read_line(path, quota);
    (void)snprintf(path, sizeof path, "%s/cpu.cfs_period_us", directory);
    period_rest = read_line(path, period);
    return cpus_of(mt_next_word(&quota_rest), mt_next_word(&period_rest));
}

/* The lesser of two quotas, of which 0 is none. */
static int64_t lesser(int64_t one, int64_t other)
{
    return one == 0 || (other > 0 && other < one) ? other : one;
}

/* The least quota from a directory up to its first `root_length` bytes, the root of its tree. */
static int64_t least_quota(char *directory, size_t root_length, int64_t (*quota_of)(const char *))
{
    int64_t least = 0;

    for (;;) {
        char *slash = strrchr(directory, '/');

        least = lesser(least, quota_of(directory));
        if (slash == NULL || (size_t)(slash - directory) < root_length)
            return least;
        *slash = '\0';
    }
}

static bool has_controller(const char *list, size_t length, const char *name)
{
    while (length > 0) {
        const char *comma = memchr(list, ',', length);
        size_t word = comma != NULL ? (size_t)(comma - list) : length;

        if (mt_slice_equal((struct mt_slice){list, word}, name))
            return true;
        word += comma != NULL;
        list += word;
        length -= word;
    }
    return false;
}

/* line: `0::PATH` for v2, `N:CONTROLLER[,CONTROLLER...]:PATH` for v1 */
static int64_t quota_of_line(const char *line, size_t length, const char *mount)
{
    const char *list = memchr(line, ':', length);
    const char *end = line + length;
    const char *path = list != NULL ? memchr(list + 1, ':', (size_t)(end - list - 1)) : NULL;
    char directory[PATH_MAX];
    size_t list_length;
    int root_length;

    if (path == NULL)
        return 0;
    list++;
    list_length = (size_t)(path - list);
    path++;
    if (list_length > 0 && !has_controller(list, list_length, "cpu"))
        return 0;
    root_length = snprintf(directory, sizeof directory, "%s%s%.*s", mount,
                           list_length > 0 ? "/" : "", (int)list_length, list);
    if (root_length < 0 || (size_t)root_length + (size_t)(end - path) >= sizeof directory)
        return 0;
    memcpy(directory + root_length, path, (size_t)(end - path));
    directory[root_length + (end - path)] = '\0';
    return least_quota(directory, (size_t)root_length, list_length > 0 ? quota_of_v1 : quota_of_v2);
}

int64_t mt_cpu_quota(const char *membership, const char *mount)
{
    char text[TEXT_SIZE];
    int64_t least = 0;

    read_text(membership, text);
    for (const char *line = text; *line != '\0';) {
        size_t length = strcspn(line, "\n");

        least = lesser(least, quota_of_line(line, length, mount));
        line += length + (line[length] == '\n');
    }
    return least;
}
