#include "unit.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/config.h"
#include "base/log.h"

static struct mt_config *config;
static char path[] = "/tmp/mt-test-config-XXXXXX";

static int set_up(void **state)
{
    int fd;

    (void)state;
    config = mt_config_new();
    memcpy(path + sizeof path - 7, "XXXXXX", 6);
    fd = mkstemp(path);
    return config == NULL || fd < 0 ? -1 : close(fd);
}

static int tear_down(void **state)
{
    (void)state;
    mt_config_free(config);
    return unlink(path);
}

static void write_file(const char *bytes, size_t length)
{
    FILE *file = fopen(path, "w");

    assert_non_null(file);
    assert_int_equal(fwrite(bytes, 1, length, file), length);
    assert_int_equal(fclose(file), 0);
}

static void assert_error(enum mt_err result, const struct mt_error *error, enum mt_err code,
                         const char *text)
{
    assert_int_equal(result, code);
    assert_int_equal(error->code, code);
    assert_string_equal(error->text, text);
}

static enum mt_err load(const char *text, struct mt_error *error)
{
    return mt_config_load_text(config, "a.conf", text, strlen(text), error);
}

static void assert_load_fails(const char *text, const char *expected)
{
    struct mt_error error = {0};

    assert_error(load(text, &error), &error, MT_ERR_CONFIG, expected);
}

static void test_defaults(void **state)
{
    char host[256] = "";

    (void)state;
    assert_string_equal(mt_config_string(config, MT_SETTING_STORE),
                        "sqlite:/var/lib/memory-tracker/memory.db");
    assert_string_equal(mt_config_string(config, MT_SETTING_LISTEN), "127.0.0.1:8000");
    assert_int_equal(mt_config_number(config, MT_SETTING_INTERVAL), 60);
    assert_int_equal(mt_config_number(config, MT_SETTING_RESPONSE_MEMORY), 256 << 20);
    assert_int_equal(mt_config_number(config, MT_SETTING_LOG_LEVEL), MT_LOG_INFO);
    assert_in_range(mt_config_number(config, MT_SETTING_THREADS), 1, 256);
    assert_int_equal(gethostname(host, sizeof host - 1), 0);
    assert_string_equal(mt_config_string(config, MT_SETTING_HOST), host);
    for (enum mt_setting i = 0; i < MT_SETTING_COUNT; i++) {
        assert_int_equal(mt_config_origin(config, i), MT_ORIGIN_DEFAULT);
        assert_string_equal(mt_config_source(config, i), "default");
    }
    mt_config_free(NULL);
}

static void set(enum mt_origin origin, const char *value, const char *spelling)
{
    assert_int_equal(mt_config_set(config, MT_SETTING_HOST, value, false, origin, spelling, NULL),
                     MT_OK);
}

static void test_the_higher_origin_wins_in_any_order(void **state)
{
    (void)state;
    set(MT_ORIGIN_ENVIRONMENT, "from-environment", "MEMORY_TRACKER_HOST");
    set(MT_ORIGIN_FILE, "from-file", "a.conf:1");
    assert_string_equal(mt_config_string(config, MT_SETTING_HOST), "from-environment");
    assert_int_equal(mt_config_origin(config, MT_SETTING_HOST), MT_ORIGIN_ENVIRONMENT);
    assert_string_equal(mt_config_source(config, MT_SETTING_HOST), "MEMORY_TRACKER_HOST");
    set(MT_ORIGIN_OPTION, "from-option", "--host");
    set(MT_ORIGIN_ENVIRONMENT, "again", "MEMORY_TRACKER_HOST");
    assert_string_equal(mt_config_string(config, MT_SETTING_HOST), "from-option");
    assert_string_equal(mt_config_source(config, MT_SETTING_HOST), "--host");
}

static void test_a_bad_value_changes_nothing(void **state)
{
    struct mt_error error = {0};

    (void)state;
    assert_error(mt_config_set(config, MT_SETTING_THREADS, "many", false, MT_ORIGIN_OPTION,
                               "--threads", &error),
                 &error, MT_ERR_USAGE,
                 "--threads: bad value 'many': give a whole number from 1 to 256");
    assert_int_equal(mt_config_origin(config, MT_SETTING_THREADS), MT_ORIGIN_DEFAULT);
    assert_error(
        mt_config_set(config, MT_SETTING_THREADS, "many", false, MT_ORIGIN_FILE, "f:1", &error),
        &error, MT_ERR_CONFIG, "f:1: bad value 'many': give a whole number from 1 to 256");
    /* also where a higher origin would have hidden it */
    assert_int_equal(
        mt_config_set(config, MT_SETTING_THREADS, "2", false, MT_ORIGIN_OPTION, "--threads", NULL),
        MT_OK);
    assert_int_equal(
        mt_config_set(config, MT_SETTING_THREADS, "many", false, MT_ORIGIN_ENVIRONMENT, "M", NULL),
        MT_ERR_CONFIG);
    assert_int_equal(mt_config_number(config, MT_SETTING_THREADS), 2);
}

static void test_the_environment(void **state)
{
    char *const environment[] = {
        "PATH=/bin",
        "MEMORY_TRACKER_HOST=web=1",
        "MEMORY_TRACKER_THREADS=3",
        "MEMORY_TRACKERS=not ours",
        "DOCDB=not ours",
        "DOCDB_HOST=db-1,db-2",
        "DOCDB_SECRET=",
        "memory_tracker_host=not ours",
        "no equals sign",
        NULL,
    };

    (void)state;
    assert_int_equal(mt_config_load_environment(config, environment, NULL), MT_OK);
    assert_string_equal(mt_config_string(config, MT_SETTING_HOST), "web=1");
    assert_int_equal(mt_config_number(config, MT_SETTING_THREADS), 3);
    assert_string_equal(mt_config_source(config, MT_SETTING_THREADS), "MEMORY_TRACKER_THREADS");
    assert_string_equal(mt_config_string(config, MT_SETTING_DOCDB_HOST), "db-1,db-2");
    assert_string_equal(mt_config_source(config, MT_SETTING_DOCDB_HOST), "DOCDB_HOST");
    assert_int_equal(mt_config_origin(config, MT_SETTING_DOCDB_SECRET), MT_ORIGIN_ENVIRONMENT);
    assert_int_equal(mt_config_load_environment(config, NULL, NULL), MT_OK);
}

static void assert_environment_fails(char *first, char *second, const char *expected)
{
    char *const environment[] = {first, second, NULL};
    struct mt_error error = {0};

    assert_error(mt_config_load_environment(config, environment, &error), &error, MT_ERR_CONFIG,
                 expected);
}

static void test_environments_that_are_wrong(void **state)
{
    (void)state;
    assert_environment_fails(
        "MEMORY_TRACKER_STROE=sqlite:a", NULL,
        "unknown setting MEMORY_TRACKER_STROE; did you mean MEMORY_TRACKER_STORE?");
    assert_environment_fails(
        "MEMORY_TRACKER_host=a", NULL,
        "unknown setting MEMORY_TRACKER_host; did you mean MEMORY_TRACKER_HOST?");
    assert_environment_fails("DOCDB_HOTS=a", NULL,
                             "unknown setting DOCDB_HOTS; did you mean DOCDB_HOST?");
    assert_environment_fails("DOCDB_URL=a", NULL,
                             "unknown setting DOCDB_URL; memory-tracker config lists all");
    assert_environment_fails("MEMORY_TRACKER_DOCDB_HOST=a", NULL,
                             "unknown setting MEMORY_TRACKER_DOCDB_HOST; did you mean "
                             "DOCDB_HOST?");
    assert_environment_fails("MEMORY_TRACKER_DOCDB_SECRET_FILE=a", NULL,
                             "unknown setting MEMORY_TRACKER_DOCDB_SECRET_FILE; did you mean "
                             "DOCDB_SECRET_FILE?");
    assert_environment_fails("DOCDB_SECRET=a", "DOCDB_SECRET_FILE=/dev/null",
                             "DOCDB_SECRET_FILE: DOCDB_SECRET is given, too; keep one");
    assert_environment_fails(
        "MEMORY_TRACKER_COLOUR=red", NULL,
        "unknown setting MEMORY_TRACKER_COLOUR; memory-tracker config lists all");
    assert_environment_fails("MEMORY_TRACKER_=x", NULL,
                             "unknown setting MEMORY_TRACKER_; memory-tracker config lists all");
    assert_environment_fails(
        "MEMORY_TRACKER_THREADS=", NULL,
        "MEMORY_TRACKER_THREADS: bad value '': give a whole number from 1 to 256");
    assert_environment_fails(
        "MEMORY_TRACKER_STORE=sqlite:a", "MEMORY_TRACKER_STORE_FILE=/dev/null",
        "MEMORY_TRACKER_STORE_FILE: MEMORY_TRACKER_STORE is given, too; keep one");
    assert_environment_fails(
        "MEMORY_TRACKER_HOST_FILE=/dev/null", NULL,
        "unknown setting MEMORY_TRACKER_HOST_FILE; did you mean MEMORY_TRACKER_LOG_FILE?");
}

static void test_a_configuration_file(void **state)
{
    (void)state;
    assert_int_equal(load("# a comment = with an equals sign\n"
                          "\n"
                          "  \t \r\n"
                          "MEMORY_TRACKER_HOST=plain # not a comment\r\n",
                          NULL),
                     MT_ERR_CONFIG);
    assert_int_equal(load("MEMORY_TRACKER_HOST=plain#1\r\n"
                          "  MEMORY_TRACKER_THREADS  =  7  \n"
                          "MEMORY_TRACKER_SPOOL=\" a b \"\n"
                          "MEMORY_TRACKER_LOG_FILE='it\"s'\n"
                          "MEMORY_TRACKER_LOG_LEVEL=debug",
                          NULL),
                     MT_OK);
    assert_string_equal(mt_config_string(config, MT_SETTING_HOST), "plain#1");
    assert_int_equal(mt_config_number(config, MT_SETTING_THREADS), 7);
    assert_string_equal(mt_config_string(config, MT_SETTING_SPOOL), " a b ");
    assert_string_equal(mt_config_string(config, MT_SETTING_LOG_FILE), "it\"s");
    assert_int_equal(mt_config_number(config, MT_SETTING_LOG_LEVEL), MT_LOG_DEBUG);
    assert_int_equal(mt_config_origin(config, MT_SETTING_THREADS), MT_ORIGIN_FILE);
    assert_string_equal(mt_config_source(config, MT_SETTING_THREADS),
                        "a.conf:2: MEMORY_TRACKER_THREADS");
}

static void test_configuration_files_that_are_wrong(void **state)
{
    struct mt_error error = {0};

    (void)state;
    assert_load_fails("\n\nMEMORY_TRACKER_STROE=a\n",
                      "a.conf:3: unknown setting MEMORY_TRACKER_STROE; did you mean "
                      "MEMORY_TRACKER_STORE?");
    assert_load_fails("STORE=a\n",
                      "a.conf:1: unknown setting STORE; names begin with MEMORY_TRACKER_ or "
                      "DOCDB_");
    assert_load_fails("MEMORY_TRACKER_STORE\n", "a.conf:1: not a line of the form NAME=value");
    assert_load_fails("=\n",
                      "a.conf:1: unknown setting ; names begin with MEMORY_TRACKER_ or DOCDB_");
    assert_load_fails("MEMORY_TRACKER_HOST=a\nMEMORY_TRACKER_HOST=a\n",
                      "a.conf:2: MEMORY_TRACKER_HOST is given twice; keep one");
    assert_load_fails("MEMORY_TRACKER_SPOOL=\"a\n",
                      "a.conf:1: a quote at the start but not at the end");
    assert_load_fails("MEMORY_TRACKER_SPOOL='\n",
                      "a.conf:1: a quote at the start but not at the end");
    assert_load_fails("MEMORY_TRACKER_SPOOL=\"\"\n",
                      "a.conf:1: MEMORY_TRACKER_SPOOL: bad value '': give a path");
    assert_load_fails("MEMORY_TRACKER_STORE=mysql://u:secret@h\n",
                      "a.conf:1: MEMORY_TRACKER_STORE: bad value 'mysql://***@h': give "
                      "sqlite:PATH (for example sqlite:/var/lib/memory-tracker/memory.db), "
                      "mongodb://HOST/DATABASE, mongodb+srv://HOST/DATABASE, http://HOST or "
                      "https://HOST");
    assert_error(mt_config_load_text(config, "a.conf", "MEMORY_TRACKER_SPOOL=a\0b\n", 25, &error),
                 &error, MT_ERR_CONFIG, "a.conf:1: not a line of the form NAME=value");
    assert_int_equal(mt_config_load_text(config, "a.conf", NULL, 0, NULL), MT_OK);
}

static void test_reading_a_file(void **state)
{
    struct mt_error error = {0};
    char *large = calloc(1, (1 << 20) + 1);
    char expected[128];

    (void)state;
    assert_non_null(large);
    assert_int_equal(mt_config_load_file(config, "/nonexistent.conf", true, &error), MT_OK);
    assert_error(mt_config_load_file(config, "/nonexistent.conf", false, &error), &error,
                 MT_ERR_CONFIG, "cannot read /nonexistent.conf: No such file or directory");
    assert_error(mt_config_load_file(config, "/", true, &error), &error, MT_ERR_CONFIG,
                 "cannot read /: Is a directory");
    memset(large, '\n', (1 << 20) + 1);
    write_file(large, 1 << 20);
    assert_int_equal(mt_config_load_file(config, path, false, NULL), MT_OK);
    write_file(large, (1 << 20) + 1);
    (void)snprintf(expected, sizeof expected, "%s is larger than 1048576 bytes", path);
    assert_error(mt_config_load_file(config, path, false, &error), &error, MT_ERR_CONFIG, expected);
    free(large);
    write_file("MEMORY_TRACKER_HOST=filed\n", 26);
    assert_int_equal(mt_config_load_file(config, path, false, NULL), MT_OK);
    assert_string_equal(mt_config_string(config, MT_SETTING_HOST), "filed");
}

static enum mt_err set_store_from_file(struct mt_error *error)
{
    return mt_config_set(config, MT_SETTING_STORE, path, true, MT_ORIGIN_OPTION, "--store-file",
                         error);
}

static void test_a_secret_from_a_file(void **state)
{
    static const char *const contents[] = {"sqlite:secret.db", "sqlite:secret.db\n",
                                           "sqlite:secret.db\r\nmore\n"};

    (void)state;
    for (size_t i = 0; i < sizeof contents / sizeof contents[0]; i++) {
        write_file(contents[i], strlen(contents[i]));
        assert_int_equal(set_store_from_file(NULL), MT_OK);
        assert_string_equal(mt_config_string(config, MT_SETTING_STORE), "sqlite:secret.db");
        assert_string_equal(mt_config_source(config, MT_SETTING_STORE), "--store-file");
    }
}

static void test_secret_files_that_are_wrong(void **state)
{
    struct mt_error error = {0};
    char expected[256];

    (void)state;
    (void)snprintf(expected, sizeof expected, "--store-file: the first line of %s holds no value",
                   path);
    write_file("", 0);
    assert_error(set_store_from_file(&error), &error, MT_ERR_CONFIG, expected);
    write_file("\nsqlite:a\n", 10);
    assert_error(set_store_from_file(&error), &error, MT_ERR_CONFIG, expected);
    write_file("sqlite:a\0b\n", 11);
    assert_error(set_store_from_file(&error), &error, MT_ERR_CONFIG, expected);
    write_file("nothing known\n", 14);
    assert_int_equal(set_store_from_file(&error), MT_ERR_USAGE);
    assert_non_null(strstr(error.text, "may be a secret, so it is not shown: give sqlite:PATH"));
    assert_null(strstr(error.text, "nothing known"));
    assert_error(mt_config_set(config, MT_SETTING_STORE, "/nonexistent", true, MT_ORIGIN_FILE,
                               "a.conf:1: MEMORY_TRACKER_STORE_FILE", &error),
                 &error, MT_ERR_CONFIG,
                 "a.conf:1: MEMORY_TRACKER_STORE_FILE: cannot read /nonexistent: "
                 "No such file or directory");
    assert_int_equal(mt_config_origin(config, MT_SETTING_STORE), MT_ORIGIN_DEFAULT);
}

static void test_the_log_starts_as_configured(void **state)
{
    struct mt_error error = {0};

    (void)state;
    assert_int_equal(load("MEMORY_TRACKER_LOG_LEVEL=error\nMEMORY_TRACKER_LOG_FORMAT=json\n", NULL),
                     MT_OK);
    assert_int_equal(mt_config_start_log(config, "memory-api", &error), MT_OK);
    assert_false(mt_log_enabled(MT_LOG_WARNING));
    assert_true(mt_log_enabled(MT_LOG_ERROR));
    assert_int_equal(mt_log_format_in_use(), MT_LOG_JSON);
    assert_int_equal(mt_log_open("memory-tracker", MT_LOG_INFO, MT_LOG_TEXT, "-", NULL), MT_OK);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_defaults),
        TEST(test_the_higher_origin_wins_in_any_order),
        TEST(test_a_bad_value_changes_nothing),
        TEST(test_the_environment),
        TEST(test_environments_that_are_wrong),
        TEST(test_a_configuration_file),
        TEST(test_configuration_files_that_are_wrong),
        TEST(test_reading_a_file),
        TEST(test_a_secret_from_a_file),
        TEST(test_secret_files_that_are_wrong),
        TEST(test_the_log_starts_as_configured),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
