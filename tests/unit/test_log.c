#include "captured.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <regex.h>
#include <signal.h>
#include <string.h>
#include <sys/stat.h>

#include "base/log.h"

static char path[] = "/tmp/mt-test-log-XXXXXX";

static void assert_matches(const char *text, const char *pattern)
{
    regex_t regex;

    assert_int_equal(regcomp(&regex, pattern, REG_EXTENDED | REG_NOSUB), 0);
    if (regexec(&regex, text, 0, NULL, 0) != 0)
        fail_msg("'%s' does not match '%s'", text, pattern);
    regfree(&regex);
}

#define STAMP "[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\\.[0-9]{3}Z"

/* One line at level warning, in a format; the caller frees it. */
static char *logged(enum mt_log_format format, const char *text)
{
    struct captured captured = captured_begin(STDERR_FILENO);

    assert_int_equal(mt_log_open("memory-api", MT_LOG_DEBUG, format, "-", NULL), MT_OK);
    mt_log(MT_LOG_WARNING, "%s", text);
    return captured_end(captured);
}

static void assert_text_line(const char *text, const char *shown)
{
    char *line = logged(MT_LOG_TEXT, text);

    assert_matches(line, "^" STAMP " warning memory-api: ");
    assert_string_equal(strstr(line, "memory-api: ") + 12, shown);
    free(line);
}

static void assert_json_line(const char *text, const char *shown)
{
    char *line = logged(MT_LOG_JSON, text);

    assert_matches(line,
                   "^\\{\"time\":\"" STAMP "\",\"level\":\"warning\",\"program\":\"memory-api\","
                   "\"message\":");
    assert_string_equal(strstr(line, "\"message\":") + 10, shown);
    free(line);
}

static void test_a_text_line_stays_one_clean_line(void **state)
{
    (void)state;
    assert_text_line("plain \xE2\x82\xAC", "plain \xE2\x82\xAC\n");
    assert_text_line("", "\n");
    assert_text_line("a\nb\tc\x1B[31m\x7F", "a\\x0ab\\x09c\\x1b[31m\\x7f\n");
    /* C1 control characters, as code points and as stray bytes */
    assert_text_line("\xC2\x9B"
                     "31m \xC2\xA9",
                     "\\x9b31m \xC2\xA9\n");
    assert_text_line("\x9B"
                     "31m",
                     "\xEF\xBF\xBD"
                     "31m\n");
}

static void test_a_json_line_is_json(void **state)
{
    (void)state;
    assert_json_line("plain", "\"plain\"}\n");
    assert_json_line("\"\\\n\x01", "\"\\\"\\\\\\n\\u0001\"}\n");
    assert_json_line("\xFF", "\"\xEF\xBF\xBD\"}\n");
}

static void test_long_texts_are_cut_to_a_whole_line(void **state)
{
    char text[5000];
    char *line;

    (void)state;
    memset(text, 'x', sizeof text - 1);
    text[sizeof text - 1] = '\0';
    line = logged(MT_LOG_JSON, text);
    assert_string_equal(line + strlen(line) - 4, "x\"}\n");
    free(line);
}

static void test_levels_below_the_least_are_left_out(void **state)
{
    struct captured captured = captured_begin(STDERR_FILENO);
    char *text;

    (void)state;
    assert_int_equal(mt_log_open("x", MT_LOG_WARNING, MT_LOG_TEXT, "-", NULL), MT_OK);
    assert_false(mt_log_enabled(MT_LOG_INFO));
    assert_true(mt_log_enabled(MT_LOG_WARNING));
    mt_log(MT_LOG_INFO, "left out");
    mt_log(MT_LOG_WARNING, "warned");
    mt_log(MT_LOG_CRITICAL, "alarmed");
    text = captured_end(captured);
    assert_null(strstr(text, "left out"));
    assert_non_null(strstr(text, " warning x: warned\n"));
    assert_non_null(strstr(text, " critical x: alarmed\n"));
    free(text);
}

static void test_an_error_has_its_name_and_level(void **state)
{
    struct captured captured = captured_begin(STDERR_FILENO);
    struct mt_error error = {0};
    char *text;

    (void)state;
    assert_int_equal(mt_log_open("x", MT_LOG_DEBUG, MT_LOG_TEXT, "-", NULL), MT_OK);
    (void)mt_error_set(&error, MT_ERR_CORRUPT, "%s: 100%% gone", "a.db");
    mt_log_error(&error);
    text = captured_end(captured);
    assert_non_null(strstr(text, " critical x: store corrupt: a.db: 100% gone\n"));
    free(text);
}

static void test_logging_leaves_errno_alone(void **state)
{
    char *line;

    (void)state;
    struct captured captured = captured_begin(STDERR_FILENO);
    (void)close(STDERR_FILENO);
    errno = ENOSPC;
    mt_log(MT_LOG_CRITICAL, "to nowhere");
    assert_int_equal(errno, ENOSPC);
    line = captured_end(captured);
    assert_string_equal(line, "");
    free(line);
}

static void test_a_closed_pipe_is_survived(void **state)
{
    int saved = dup(STDERR_FILENO);
    int ends[2];
    struct sigaction action;
    sigset_t pending;

    (void)state;
    assert_int_equal(sigaction(SIGPIPE, NULL, &action), 0);
    assert_true(action.sa_handler == SIG_DFL);
    assert_int_equal(pipe(ends), 0);
    (void)close(ends[0]);
    assert_int_equal(dup2(ends[1], STDERR_FILENO), STDERR_FILENO);
    (void)close(ends[1]);
    mt_log(MT_LOG_CRITICAL, "to nobody");
    assert_int_equal(dup2(saved, STDERR_FILENO), STDERR_FILENO);
    (void)close(saved);
    assert_int_equal(sigpending(&pending), 0);
    assert_int_equal(sigismember(&pending, SIGPIPE), 0);
}

static char *read_log_file(void)
{
    char *text = calloc(1, 1 << 20);
    FILE *file = fopen(path, "r");

    assert_non_null(text);
    assert_non_null(file);
    (void)fread(text, 1, (1 << 20) - 1, file);
    (void)fclose(file);
    return text;
}

static void test_a_file_is_made_private_and_appended_to(void **state)
{
    struct stat status;
    char *text;

    (void)state;
    assert_int_equal(unlink(path), 0);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(mt_log_open("x", MT_LOG_INFO, MT_LOG_TEXT, path, NULL), MT_OK);
        mt_log(MT_LOG_INFO, "round %d", i);
        mt_log_close();
    }
    assert_int_equal(stat(path, &status), 0);
    assert_int_equal(status.st_mode & 07777, 0640);
    text = read_log_file();
    assert_non_null(strstr(text, "round 0\n"));
    assert_non_null(strstr(text, "round 1\n"));
    free(text);
}

static void test_a_file_that_cannot_be_opened_changes_nothing(void **state)
{
    struct captured captured = captured_begin(STDERR_FILENO);
    struct mt_error error = {0};
    char *text;

    (void)state;
    assert_int_equal(mt_log_open("before", MT_LOG_INFO, MT_LOG_TEXT, "-", NULL), MT_OK);
    assert_int_equal(mt_log_open("after", MT_LOG_DEBUG, MT_LOG_JSON, "/nonexistent/log", &error),
                     MT_ERR_CONFIG);
    assert_string_equal(error.text,
                        "cannot open log file /nonexistent/log: No such file or directory");
    assert_int_equal(mt_log_format_in_use(), MT_LOG_TEXT);
    assert_false(mt_log_enabled(MT_LOG_DEBUG));
    mt_log(MT_LOG_INFO, "still here");
    text = captured_end(captured);
    assert_non_null(strstr(text, " info before: still here\n"));
    free(text);
}

static void *log_many(void *name)
{
    for (int i = 0; i < 500; i++)
        mt_log(MT_LOG_INFO, "%s says the same thing again and again", (const char *)name);
    return NULL;
}

static void test_lines_of_threads_do_not_mix(void **state)
{
    static const char *const names[] = {"one", "two", "three", "four"};
    pthread_t threads[4];
    int lines = 0;
    char *text;
    char *rest;

    (void)state;
    assert_int_equal(truncate(path, 0), 0);
    assert_int_equal(mt_log_open("x", MT_LOG_INFO, MT_LOG_TEXT, path, NULL), MT_OK);
    for (size_t i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, log_many, (void *)(uintptr_t)names[i]),
                         0);
    for (size_t i = 0; i < 4; i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    mt_log_close();
    text = read_log_file();
    for (char *line = strtok_r(text, "\n", &rest); line != NULL;
         line = strtok_r(NULL, "\n", &rest)) {
        assert_matches(line, "^" STAMP " info x: (one|two|three|four) says the same thing again "
                             "and again$");
        lines++;
    }
    assert_int_equal(lines, 2000);
    free(text);
}

static void test_ready_lines_pass_as_they_are(void **state)
{
    struct captured captured = captured_begin(STDERR_FILENO);
    char *text;

    (void)state;
    assert_true(mt_log_line("GET /\x01\n", 7));
    text = captured_end(captured);
    assert_string_equal(text, "GET /\x01\n");
    free(text);
}

/* What can be read from fd now. */
static char *drain(int fd)
{
    char *text = calloc(1, 1 << 20);
    size_t length = 0;
    ssize_t got;

    assert_non_null(text);
    while ((got = read(fd, text + length, (1 << 20) - 1 - length)) > 0)
        length += (size_t)got;
    return text;
}

static void test_lines_that_nobody_reads_are_lost_and_counted(void **state)
{
    char name[64];
    char *text;
    int ends[2];

    (void)state;
    assert_int_equal(pipe2(ends, O_NONBLOCK), 0);
    (void)snprintf(name, sizeof name, "/proc/self/fd/%d", ends[1]);
    assert_int_equal(mt_log_open("x", MT_LOG_INFO, MT_LOG_TEXT, name, NULL), MT_OK);
    mt_log_wait_at_most(20);
    while (write(ends[1], "................................\n", 33) > 0)
        ;
    while (write(ends[1], ".", 1) > 0)
        ;
    mt_log(MT_LOG_WARNING, "lost one");
    mt_log(MT_LOG_WARNING, "lost two");
    text = drain(ends[0]);
    assert_null(strstr(text, "lost"));
    free(text);
    mt_log(MT_LOG_INFO, "read again");
    mt_log(MT_LOG_INFO, "and again");
    text = drain(ends[0]);
    assert_matches(text,
                   "^" STAMP " warning x: 2 log lines are lost, since nobody read them\n" STAMP
                   " info x: read again\n" STAMP " info x: and again\n$");
    free(text);
    mt_log_close();
    mt_log_wait_at_most(-1);
    (void)close(ends[0]);
    (void)close(ends[1]);
}

static void test_stamps(void **state)
{
    static const struct {
        long long unix_ms;
        const char *stamp;
    } rows[] = {
        {0, "1970-01-01T00:00:00.000Z"},
        {1647039000123, "2022-03-11T22:50:00.123Z"},
        {-1, "1969-12-31T23:59:59.999Z"},
        {-1000, "1969-12-31T23:59:59.000Z"},
        {253402300799999, "9999-12-31T23:59:59.999Z"},
    };
    char stamp[32];

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        mt_log_stamp(stamp, rows[i].unix_ms);
        assert_string_equal(stamp, rows[i].stamp);
    }
    /* no year at all: still a stamp within its array */
    mt_log_stamp(stamp, INT64_MAX);
    assert_true(strlen(stamp) < sizeof stamp);
}

static void test_level_names(void **state)
{
    (void)state;
    assert_string_equal(mt_log_level_name(MT_LOG_DEBUG), "debug");
    assert_string_equal(mt_log_level_name(MT_LOG_CRITICAL), "critical");
    assert_string_equal(mt_log_level_name((enum mt_log_level)77), "critical");
}

static int make_path(void **state)
{
    int fd = mkstemp(path);

    (void)state;
    return fd < 0 ? -1 : close(fd);
}

static int remove_path(void **state)
{
    (void)state;
    mt_log_close();
    return unlink(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_text_line_stays_one_clean_line),
        cmocka_unit_test(test_a_json_line_is_json),
        cmocka_unit_test(test_long_texts_are_cut_to_a_whole_line),
        cmocka_unit_test(test_levels_below_the_least_are_left_out),
        cmocka_unit_test(test_an_error_has_its_name_and_level),
        cmocka_unit_test(test_logging_leaves_errno_alone),
        cmocka_unit_test(test_a_closed_pipe_is_survived),
        cmocka_unit_test(test_a_file_is_made_private_and_appended_to),
        cmocka_unit_test(test_a_file_that_cannot_be_opened_changes_nothing),
        cmocka_unit_test(test_lines_of_threads_do_not_mix),
        cmocka_unit_test(test_ready_lines_pass_as_they_are),
        cmocka_unit_test(test_lines_that_nobody_reads_are_lost_and_counted),
        cmocka_unit_test(test_stamps),
        cmocka_unit_test(test_level_names),
    };

    return cmocka_run_group_tests(tests, make_path, remove_path);
}
