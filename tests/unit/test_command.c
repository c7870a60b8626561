#include "captured.h"

#include <fcntl.h>
#include <string.h>

#include "base/command.h"
#include "base/log.h"

enum { OPTION_LIMIT, OPTION_JSON };

static const struct mt_option options[] = {
    [OPTION_LIMIT] = {"limit", "COUNT", "how many"},
    [OPTION_JSON] = {"json", NULL, "as JSON"},
    {0},
};

static const struct mt_command command = {
    .name = "memory-tracker frob",
    .operands = "FILE [OTHER]",
    .summary = "Frobs a FILE.",
    .examples = "  memory-tracker frob a.csv\n",
    .notes = "Some notes.\n",
    .program = MT_PROGRAM_TRACKER,
    .options = options,
    .least_operands = 1,
    .most_operands = 2,
};

static struct mt_config *config;
static struct mt_arguments arguments;
static struct mt_error error;

enum { WORDS_MAX = 10 };

/* Parses `words`, which blanks divide, with one variable in the environment (or NULL). */
static enum mt_err parse_with(const char *words, char *variable)
{
    static char copy[512];
    char *const environment[] = {variable, NULL};
    char *argv[WORDS_MAX + 1] = {"frob"};
    char *rest;
    int argc = 1;

    mt_config_free(config);
    config = NULL;
    error = (struct mt_error){0};
    (void)snprintf(copy, sizeof copy, "%s", words);
    for (char *word = strtok_r(copy, " ", &rest); word != NULL; word = strtok_r(NULL, " ", &rest)) {
        assert_true(argc < WORDS_MAX);
        argv[argc++] = word;
    }
    return mt_command_parse(&command, argc, argv, environment, &config, &arguments, &error);
}

static enum mt_err parse(const char *words)
{
    return parse_with(words, NULL);
}

static int tear_down(void **state)
{
    (void)state;
    mt_config_free(config);
    config = NULL;
    return 0;
}

static void test_options_and_operands_mix(void **state)
{
    (void)state;
    assert_int_equal(parse("a --limit 3 b --json --store=sqlite:x"), MT_OK);
    assert_int_equal(arguments.operand_count, 2);
    assert_string_equal(arguments.operand[0], "a");
    assert_string_equal(arguments.operand[1], "b");
    assert_string_equal(arguments.option[OPTION_LIMIT], "3");
    assert_string_equal(arguments.option[OPTION_JSON], "");
    assert_string_equal(mt_config_string(config, MT_SETTING_STORE), "sqlite:x");
    assert_string_equal(mt_config_source(config, MT_SETTING_STORE), "--store");
    assert_false(arguments.answered);
    assert_string_equal(arguments.config_path, MT_CONFIG_DEFAULT_PATH);
}

static void test_what_is_not_given_is_null(void **state)
{
    (void)state;
    assert_int_equal(parse("a"), MT_OK);
    assert_null(arguments.option[OPTION_LIMIT]);
    assert_null(arguments.option[OPTION_JSON]);
    assert_int_equal(mt_config_origin(config, MT_SETTING_STORE), MT_ORIGIN_DEFAULT);
}

static void test_two_dashes_end_the_options(void **state)
{
    (void)state;
    assert_int_equal(parse("-- --json --"), MT_OK);
    assert_string_equal(arguments.operand[0], "--json");
    assert_string_equal(arguments.operand[1], "--");
    assert_null(arguments.option[OPTION_JSON]);
    assert_int_equal(parse("-"), MT_OK);
    assert_string_equal(arguments.operand[0], "-");
}

static void test_values_may_be_odd(void **state)
{
    (void)state;
    assert_int_equal(parse("a --limit --json"), MT_OK);
    assert_string_equal(arguments.option[OPTION_LIMIT], "--json");
    assert_int_equal(parse("a --limit="), MT_OK);
    assert_string_equal(arguments.option[OPTION_LIMIT], "");
    assert_int_equal(parse("a --limit=a=b"), MT_OK);
    assert_string_equal(arguments.option[OPTION_LIMIT], "a=b");
}

static void test_usage_errors(void **state)
{
    static const struct {
        const char *words, *text;
    } rows[] = {
        {"a --limti 3", "unknown option --limti; did you mean --limit?"},
        {"a --log_level=info", "unknown option --log_level; did you mean --log-level?"},
        {"a --colour", "unknown option --colour"},
        {"a --listen 127.0.0.1:0", "unknown option --listen"}, /* another program's */
        {"a --log-level-file x", "unknown option --log-level-file; did you mean --log-level?"},
        {"a --=x", "unknown option --"},
        {"a -l", "unknown option -l; options are long, as in --help"},
        {"a --json=yes", "--json takes no value, but 'yes' was given"},
        {"a --help=yes", "--help takes no value, but 'yes' was given"},
        {"a --limit", "--limit needs a value"},
        {"a --store", "--store needs a value"},
        {"a --config", "--config needs a value"},
        {"a --limit 1 --limit 2", "--limit is given twice"},
        {"a --json --json", "--json is given twice"},
        {"a --store sqlite:a --store sqlite:b", "--store is given twice"},
        {"a --store sqlite:a --store-file /dev/null", "--store is given twice"},
        {"a --config /dev/null --config /dev/null", "--config is given twice"},
        {"", "missing argument: FILE [OTHER]"},
        {"a b c", "unexpected argument 'c'"},
        {"a --log-level loud",
         "--log-level: bad value 'loud': give debug|info|warning|error|critical"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        assert_int_equal(parse(rows[i].words), MT_ERR_USAGE);
        assert_int_equal(error.code, MT_ERR_USAGE);
        if (strcmp(error.text, rows[i].text) != 0 &&
            strncmp(error.text, rows[i].text, strlen(rows[i].text)) != 0)
            fail_msg("'%s': '%s'", rows[i].words, error.text);
    }
}

static void test_option_environment_file_default(void **state)
{
    char path[] = "/tmp/mt-test-command-XXXXXX";
    char words[128];
    int fd = mkstemp(path);

    (void)state;
    assert_true(fd >= 0);
    assert_int_equal(dprintf(fd, "MEMORY_TRACKER_STORE=sqlite:file\n"
                                 "MEMORY_TRACKER_LOG_LEVEL=debug\n"
                                 "MEMORY_TRACKER_LISTEN=[::1]:0\n"),
                     33 + 31 + 30);
    (void)close(fd);
    (void)snprintf(words, sizeof words, "a --config %s --store sqlite:option", path);
    assert_int_equal(parse_with(words, "MEMORY_TRACKER_LOG_LEVEL=error"), MT_OK);
    assert_string_equal(mt_config_string(config, MT_SETTING_STORE), "sqlite:option");
    assert_string_equal(mt_config_string(config, MT_SETTING_LOG_LEVEL), "error");
    /* a setting of another program may stand in the file that all share */
    assert_string_equal(mt_config_string(config, MT_SETTING_LISTEN), "[::1]:0");
    assert_string_equal(mt_config_source(config, MT_SETTING_INTERVAL), "default");
    (void)snprintf(words, sizeof words, "a --config %s", path);
    assert_int_equal(parse_with(words, "MEMORY_TRACKER_STORE=sqlite:environment"), MT_OK);
    assert_string_equal(mt_config_string(config, MT_SETTING_STORE), "sqlite:environment");
    assert_int_equal(unlink(path), 0);
    assert_int_equal(parse(words), MT_ERR_CONFIG);
    assert_non_null(strstr(error.text, "cannot read /tmp/mt-test-command-"));
    assert_int_equal(parse_with("a", "MEMORY_TRACKER_STROE=x"), MT_ERR_CONFIG);
}

static void test_help_names_everything(void **state)
{
    struct captured captured = captured_begin(STDOUT_FILENO);
    enum mt_err result = parse_with("--help", "MEMORY_TRACKER_STROE=a wrong environment");
    char *help = captured_end(captured);

    (void)state;
    assert_int_equal(result, MT_OK);
    assert_true(arguments.answered);
    assert_ptr_equal(
        strstr(help, "Usage: memory-tracker frob [OPTION...] FILE [OTHER]\nFrobs a FILE.\n"), help);
    assert_non_null(strstr(help, "\n  --limit COUNT\n      how many\n"));
    assert_non_null(strstr(help, "\n  --json\n      as JSON\n"));
    assert_non_null(strstr(help, "\n  --help\n"));
    assert_non_null(strstr(help, "\n  --version\n"));
    assert_non_null(strstr(help, "\n  --config FILE\n"));
    assert_non_null(strstr(help, "\n  --store-file FILE\n"));
    assert_non_null(strstr(help, "(default: sqlite:/var/lib/memory-tracker/memory.db)\n"));
    assert_non_null(strstr(help, "\nSome notes.\n"));
    assert_non_null(strstr(help, "\nExamples:\n  memory-tracker frob a.csv\n"));
    for (enum mt_setting i = 0; i < MT_SETTING_COUNT; i++) {
        const struct mt_setting_info *info = mt_setting_info(i);
        char row[512];

        (void)snprintf(row, sizeof row, "\n  --%s %s\n      %s", info->option, info->placeholder,
                       info->help);
        assert_int_equal(strstr(help, row) != NULL, (info->programs & MT_PROGRAM_TRACKER) != 0);
    }
    free(help);
}

static void test_version(void **state)
{
    struct captured captured = captured_begin(STDOUT_FILENO);
    enum mt_err result = parse("--version");
    char *text = captured_end(captured);
    int major;
    int minor;
    int patch;
    char newline;

    (void)state;
    assert_int_equal(result, MT_OK);
    assert_true(arguments.answered);
    assert_int_equal(sscanf(text, "memory-tracker %d.%d.%d%c", &major, &minor, &patch, &newline),
                     4);
    assert_int_equal(newline, '\n');
    free(text);
}

static void test_failing_says_what_and_where_help_is(void **state)
{
    struct captured captured = captured_begin(STDERR_FILENO);
    int usage_status;
    int busy_status;
    char *text;

    (void)state;
    (void)mt_log_open("memory-tracker", MT_LOG_INFO, MT_LOG_TEXT, "-", NULL);
    (void)mt_error_set(&error, MT_ERR_USAGE, "unknown option --x");
    usage_status = mt_command_fail(&command, &error);
    (void)mt_error_set(&error, MT_ERR_BUSY, "a.db is locked");
    busy_status = mt_command_fail(&command, &error);
    text = captured_end(captured);
    assert_int_equal(usage_status, 2);
    assert_int_equal(busy_status, 3);
    assert_non_null(strstr(
        text, " error memory-tracker: unknown option --x; see memory-tracker frob --help\n"));
    assert_non_null(strstr(text, " error memory-tracker: store locked: a.db is locked\n"));
    free(text);
}

static void test_output_that_cannot_be_written_is_told(void **state)
{
    int saved = dup(STDOUT_FILENO);
    int full = open("/dev/full", O_WRONLY);
    enum mt_err result;

    (void)state;
    assert_true(saved >= 0 && full >= 0);
    assert_int_equal(mt_command_finish_output(&error), MT_OK);
    assert_int_equal(dup2(full, STDOUT_FILENO), STDOUT_FILENO);
    (void)printf("into a full disk\n");
    result = mt_command_finish_output(&error);
    clearerr(stdout);
    assert_int_equal(dup2(saved, STDOUT_FILENO), STDOUT_FILENO);
    (void)close(saved);
    (void)close(full);
    assert_int_equal(result, MT_ERR_IO);
    assert_string_equal(error.text, "cannot write to standard output: No space left on device");
}

static void test_closed_standard_streams_stay_taken(void **state)
{
    int saved = dup(STDERR_FILENO);
    int opened;
    ssize_t written;

    (void)state;
    assert_true(saved >= 0);
    (void)close(STDERR_FILENO);
    (void)parse("a");
    opened = open("/dev/null", O_WRONLY);
    written = write(STDERR_FILENO, "x", 1);
    assert_int_equal(dup2(saved, STDERR_FILENO), STDERR_FILENO);
    (void)close(saved);
    assert_true(opened > STDERR_FILENO);
    (void)close(opened);
    assert_int_equal(written, -1);
}

#define TEST(name) cmocka_unit_test_teardown(name, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_options_and_operands_mix),
        TEST(test_what_is_not_given_is_null),
        TEST(test_two_dashes_end_the_options),
        TEST(test_values_may_be_odd),
        TEST(test_usage_errors),
        TEST(test_option_environment_file_default),
        TEST(test_help_names_everything),
        TEST(test_version),
        TEST(test_failing_says_what_and_where_help_is),
        TEST(test_output_that_cannot_be_written_is_told),
        TEST(test_closed_standard_streams_stay_taken),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
