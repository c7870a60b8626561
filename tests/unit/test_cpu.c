#include "unit.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/config.h"
#include "base/cpu.h"
#include "remove_tree.h"

static char root[64];

/* Writes a file below root, with the directories above it. */
static void make(const char *name, const char *content)
{
    char path[512];
    FILE *file;

    (void)snprintf(path, sizeof path, "%s/%s", root, name);
    for (char *slash = strchr(path + strlen(root) + 1, '/'); slash != NULL;
         slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        assert_true(mkdir(path, 0700) == 0 || errno == EEXIST);
        *slash = '/';
    }
    file = fopen(path, "w");
    assert_non_null(file);
    assert_true(fputs(content, file) >= 0);
    assert_int_equal(fclose(file), 0);
}

static int64_t quota(const char *membership)
{
    char path[128];
    char mount[128];

    make("membership", membership);
    (void)snprintf(path, sizeof path, "%s/membership", root);
    (void)snprintf(mount, sizeof mount, "%s/cgroup", root);
    return mt_cpu_quota(path, mount);
}

static void test_v2(void **state)
{
    static const struct {
        const char *text;
        int64_t cpus;
    } rows[] = {
        {"50000 100000\n", 1},
        {"100000 100000\n", 1},
        {"100001 100000\n", 2},
        {"max 100000\n", 0},
        {"650000 100000\n", 7},
        {"150000 50000\n", 3},
        {"", 0},
        {"50000\n", 0},
        {"-1 100000\n", 0},
        {"50000 0\n", 0},
        {"x y\n", 0},
        {"9223372036854775807 1\n", 0},
    };

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        make("cgroup/cpu.max", rows[i].text);
        if (quota("0::/\n") != rows[i].cpus)
            fail_msg("'%s' is not %lld CPUs", rows[i].text, (long long)rows[i].cpus);
    }
}

static void test_v2_the_least_of_all_above(void **state)
{
    (void)state;
    make("cgroup/a/cpu.max", "200000 100000\n");
    make("cgroup/a/b/cpu.max", "max 100000\n");
    make("cgroup/a/b/c/cpu.max", "400000 100000\n");
    make("cgroup/other/cpu.max", "10000 100000\n");
    assert_int_equal(quota("0::/a/b/c\n"), 2);
    assert_int_equal(quota("0::/a/b"), 2);
    assert_int_equal(quota("0::/a/b/c/d\n"), 2);
    assert_int_equal(quota("0::/\n"), 0);
    /* the machine's path, in a container that sees its own group as the root */
    make("cgroup/cpu.max", "300000 100000\n");
    assert_int_equal(quota("0::/docker/0123456789abcdef\n"), 3);
    assert_int_equal(quota("0::/a\n"), 2);
}

static void test_v1(void **state)
{
    static const char membership[] = "12:cpuset:/docker/x\n"
                                     "4:cpu,cpuacct:/docker/x\n"
                                     "1:name=systemd:/docker/x\n"
                                     "0::/docker/x\n";

    (void)state;
    assert_int_equal(quota(membership), 0);
    make("cgroup/cpu,cpuacct/cpu.cfs_period_us", "100000\n");
    make("cgroup/cpu,cpuacct/cpu.cfs_quota_us", "-1\n");
    assert_int_equal(quota(membership), 0);
    make("cgroup/cpu,cpuacct/cpu.cfs_quota_us", "150000\n");
    assert_int_equal(quota(membership), 2);
    make("cgroup/cpu,cpuacct/docker/x/cpu.cfs_period_us", "20000\n");
    make("cgroup/cpu,cpuacct/docker/x/cpu.cfs_quota_us", "10000\n");
    assert_int_equal(quota(membership), 1);
    /* another controller's, whose name only begins alike */
    make("cgroup/cpuset/cpu.cfs_period_us", "100000\n");
    make("cgroup/cpuset/cpu.cfs_quota_us", "10000\n");
    assert_int_equal(quota("12:cpuset:/\n"), 0);
}

static void test_what_is_no_membership(void **state)
{
    char path[128];
    char longest[4000];

    (void)state;
    make("cgroup/cpu.max", "50000 100000\n");
    assert_int_equal(quota(""), 0);
    assert_int_equal(quota("\n\n"), 0);
    assert_int_equal(quota("0"), 0);
    assert_int_equal(quota("0:"), 0);
    assert_int_equal(quota("garbage\n0::/\n"), 1);
    (void)snprintf(path, sizeof path, "%s/missing", root);
    assert_int_equal(mt_cpu_quota(path, root), 0);
    assert_int_equal(mt_cpu_quota(root, root), 0);
    memset(longest, '/', sizeof longest - 1);
    memcpy(longest, "0::", 3);
    longest[sizeof longest - 1] = '\0';
    assert_int_equal(quota(longest), 1);
    memset(longest + 3, 'x', sizeof longest - 4);
    assert_int_equal(quota(longest), 0);
}

static void test_the_default_of_threads(void **state)
{
    struct mt_config *config = mt_config_new();
    int64_t cpus = mt_config_number(config, MT_SETTING_THREADS);

    (void)state;
    assert_true(cpus >= 1);
    mt_config_heed_cpu_quota(config, 0);
    assert_int_equal(mt_config_number(config, MT_SETTING_THREADS), cpus);
    mt_config_heed_cpu_quota(config, cpus + 1);
    assert_int_equal(mt_config_number(config, MT_SETTING_THREADS), cpus);
    mt_config_heed_cpu_quota(config, 1);
    assert_int_equal(mt_config_number(config, MT_SETTING_THREADS), 1);
    assert_string_equal(mt_config_string(config, MT_SETTING_THREADS), "1");
    assert_int_equal(mt_config_origin(config, MT_SETTING_THREADS), MT_ORIGIN_DEFAULT);
    /* who gives it gets it */
    assert_int_equal(
        mt_config_set(config, MT_SETTING_THREADS, "7", false, MT_ORIGIN_OPTION, "--threads", NULL),
        MT_OK);
    mt_config_heed_cpu_quota(config, 1);
    assert_int_equal(mt_config_number(config, MT_SETTING_THREADS), 7);
    mt_config_free(config);
}

static int set_up(void **state)
{
    (void)state;
    (void)snprintf(root, sizeof root, "/tmp/mt-test-cpu-XXXXXX");
    return mkdtemp(root) != NULL ? 0 : -1;
}

static int tear_down(void **state)
{
    (void)state;
    return remove_tree(root);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_v2, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_v2_the_least_of_all_above, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_v1, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_what_is_no_membership, set_up, tear_down),
        cmocka_unit_test(test_the_default_of_threads),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
