/*
 * mt_proc_read and the formulas beside free(1), vmstat(8) and sar(1), which all read the same
 * frozen /proc/meminfo and /proc/vmstat: copies, bind mounted in a mount namespace of this process
 * alone.
 */
#include "proc/proc.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <unistd.h>

#include "base/log.h"
#include "record/derive.h"
#include "unit.h"

/* Copies file into the namespace's private directory, line by line through edit, and mounts it. */
static void freeze(const char *file, void (*edit)(char *line))
{
    char path[] = "/tmp/mt-frozen-XXXXXX";
    FILE *in = fopen(file, "re");
    int fd = mkstemp(path);
    FILE *out = fd >= 0 ? fdopen(fd, "w") : NULL;
    char line[256];

    if (in == NULL || out == NULL)
        fail_msg("cannot copy %s: %s", file, strerror(errno));
    while (fgets(line, sizeof line, in) != NULL) {
        if (edit != NULL)
            edit(line);
        (void)fputs(line, out);
    }
    assert_int_equal(fclose(in), 0);
    assert_int_equal(fclose(out), 0);
    if (mount(path, file, NULL, MS_BIND, NULL) != 0)
        fail_msg("cannot mount over %s: %s", file, strerror(errno));
    assert_int_equal(unlink(path), 0);
}

/* Numbers that this machine may lack, so that no column is compared as 0 with 0. */
static void edit_meminfo(char *line)
{
    static const struct {
        const char *name, *value;
    } lines[] = {
        {"SwapTotal:", "4194300 kB"}, {"SwapFree:", "3000001 kB"}, {"SwapCached:", "77777 kB"},
        {"Buffers:", "123457 kB"},    {"Shmem:", "54321 kB"},      {"Dirty:", "1003 kB"},
        {"HugePages_Total:", "9"},    {"HugePages_Free:", "7"},    {"Hugetlb:", "18432 kB"},
        {"Hugepagesize:", "2048 kB"},
    };

    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++)
        if (strncmp(line, lines[i].name, strlen(lines[i].name)) == 0)
            (void)snprintf(line, 64, "%-16s%s\n", lines[i].name, lines[i].value);
}

static void edit_vmstat(char *line)
{
    if (strncmp(line, "pswpin ", 7) == 0)
        (void)strcpy(line, "pswpin 1234567\n");
    else if (strncmp(line, "pswpout ", 8) == 0)
        (void)strcpy(line, "pswpout 7654321\n");
}

static struct mt_record read_record(void)
{
    struct mt_record record = {0};
    struct mt_error error = {0};

    if (mt_proc_read(&record, &error) != MT_OK)
        fail_msg("%s", error.text);
    return record;
}

static int64_t value_of(const struct mt_record *record, enum mt_field field)
{
    int64_t value = -1;

    if (!mt_record_get(record, field, &value))
        fail_msg("%s is absent", mt_field_info(field)->name);
    return value;
}

static int64_t used(const struct mt_record *record, enum mt_used_formula formula)
{
    int64_t value = -1;

    assert_true(mt_used_kib(record, formula, &value));
    return value;
}

/* The whole output of a command. */
static void output_of(const char *command, char *text, size_t size)
{
    FILE *pipe = popen(command, "re");
    size_t length;

    assert_non_null(pipe);
    length = fread(text, 1, size - 1, pipe);
    text[length] = '\0';
    if (pclose(pipe) != 0)
        fail_msg("%s failed", command);
}

static void free_agrees(void **state)
{
    struct mt_record record = read_record();
    int64_t total, in_use, idle, shared, buffers, cache, available, swap, swap_used, swap_free;
    char text[2048];

    (void)state;
    output_of("LC_ALL=C free --kibi --wide", text, sizeof text);
    assert_int_equal(sscanf(text,
                            "%*[^\n] Mem: %" SCNd64 " %" SCNd64 " %" SCNd64 " %" SCNd64 " %" SCNd64
                            " %" SCNd64 " %" SCNd64 " Swap: %" SCNd64 " %" SCNd64 " %" SCNd64,
                            &total, &in_use, &idle, &shared, &buffers, &cache, &available, &swap,
                            &swap_used, &swap_free),
                     10);
    assert_int_equal(total, value_of(&record, MT_FIELD_MEM_TOTAL));
    assert_int_equal(in_use, used(&record, MT_USED_AVAILABLE));
    assert_int_equal(idle, value_of(&record, MT_FIELD_MEM_FREE));
    assert_int_equal(shared, value_of(&record, MT_FIELD_SHMEM));
    assert_int_equal(buffers, value_of(&record, MT_FIELD_BUFFERS));
    assert_int_equal(cache, value_of(&record, MT_FIELD_CACHED) +
                                value_of(&record, MT_FIELD_S_RECLAIMABLE));
    assert_int_equal(available, mt_available_kib(&record));
    assert_int_equal(swap, value_of(&record, MT_FIELD_SWAP_TOTAL));
    assert_int_equal(swap_free, value_of(&record, MT_FIELD_SWAP_FREE));
    assert_int_equal(swap_used, swap - swap_free);
    /* what free called used before procps 4: total - free - buff/cache */
    assert_int_equal(total - idle - buffers - cache, used(&record, MT_USED_PROCPS3));
    assert_int_equal(total - idle, used(&record, MT_USED_FREE));
}

static void assert_line(const char *text, const char *label, int64_t expected)
{
    const char *at = strstr(text, label);
    int64_t value = -1;

    if (at == NULL)
        fail_msg("no line '%s' in %s", label, text);
    while (at > text && at[-1] != '\n')
        at--;
    assert_int_equal(sscanf(at, "%" SCNd64, &value), 1);
    if (value != expected)
        fail_msg("%s: %" PRId64 ", not %" PRId64, label, value, expected);
}

static void vmstat_agrees(void **state)
{
    struct mt_record record = read_record();
    char text[4096];

    (void)state;
    output_of("LC_ALL=C vmstat -s", text, sizeof text);
    assert_line(text, " K total memory\n", value_of(&record, MT_FIELD_MEM_TOTAL));
    assert_line(text, " K used memory\n", used(&record, MT_USED_AVAILABLE));
    assert_line(text, " K free memory\n", value_of(&record, MT_FIELD_MEM_FREE));
    assert_line(text, " K buffer memory\n", value_of(&record, MT_FIELD_BUFFERS));
    assert_line(text, " K swap cache\n",
                value_of(&record, MT_FIELD_CACHED) + value_of(&record, MT_FIELD_S_RECLAIMABLE));
    assert_line(text, " K total swap\n", value_of(&record, MT_FIELD_SWAP_TOTAL));
    assert_line(text, " K used swap\n",
                value_of(&record, MT_FIELD_SWAP_TOTAL) - value_of(&record, MT_FIELD_SWAP_FREE));
    assert_line(text, " K free swap\n", value_of(&record, MT_FIELD_SWAP_FREE));
    assert_line(text, " pages swapped in\n", value_of(&record, MT_FIELD_PSWPIN));
    assert_line(text, " pages swapped out\n", value_of(&record, MT_FIELD_PSWPOUT));
    assert_int_equal(value_of(&record, MT_FIELD_PSWPIN), 1234567);
}

/* sysstat 12.6.1 of Debian 12 still subtracts caches and slab */
static void sar_agrees(void **state)
{
    struct mt_record record = read_record();
    int64_t idle, available, in_use, buffers, cached, committed;
    char text[4096];
    const char *row;

    (void)state;
    output_of("LC_ALL=C sar -r 1 1", text, sizeof text);
    row = strstr(text, "Average:");
    if (row == NULL)
        fail_msg("no average in %s", text);
    assert_int_equal(sscanf(row,
                            "Average: %" SCNd64 " %" SCNd64 " %" SCNd64 " %*f %" SCNd64 " %" SCNd64
                            " %" SCNd64,
                            &idle, &available, &in_use, &buffers, &cached, &committed),
                     6);
    assert_int_equal(idle, value_of(&record, MT_FIELD_MEM_FREE));
    assert_int_equal(available, value_of(&record, MT_FIELD_MEM_AVAILABLE));
    assert_int_equal(in_use, used(&record, MT_USED_SAR));
    assert_int_equal(buffers, value_of(&record, MT_FIELD_BUFFERS));
    assert_int_equal(cached, value_of(&record, MT_FIELD_CACHED));
    assert_int_equal(committed, value_of(&record, MT_FIELD_COMMITTED_AS));
}

static void huge_pages_are_kib(void **state)
{
    struct mt_record record = read_record();

    (void)state;
    assert_int_equal(value_of(&record, MT_FIELD_HUGETLB), 18432);
    assert_int_equal(value_of(&record, MT_FIELD_HUGETLB_FREE), 7 * 2048);
}

/* false: this process may not have a mount namespace of its own */
static bool enter_namespace(void)
{
    bool is_user = geteuid() != 0;

    if (unshare(CLONE_NEWNS | (is_user ? CLONE_NEWUSER : 0)) == 0 &&
        mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0)
        return true;
    (void)fprintf(stderr, "skipped: no mount namespace to be had: %s\n", strerror(errno));
    return false;
}

static int freeze_all(void **state)
{
    (void)state;
    freeze("/proc/meminfo", edit_meminfo);
    freeze("/proc/vmstat", edit_vmstat);
    return mt_log_open("test", MT_LOG_WARNING, MT_LOG_TEXT, "-", NULL) == MT_OK ? 0 : -1;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(free_agrees),
        cmocka_unit_test(vmstat_agrees),
        cmocka_unit_test(sar_agrees),
        cmocka_unit_test(huge_pages_are_kib),
    };
    const char *ci = getenv("CI");

    if (!enter_namespace())
        return ci != NULL && strcmp(ci, "true") == 0 ? EXIT_FAILURE : 77;
    return cmocka_run_group_tests(tests, freeze_all, NULL);
}
