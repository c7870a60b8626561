#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/source.h"
#include "unit.h"

static char path[] = "/tmp/memory-tracker-source-XXXXXX";
static struct mt_source *source;

static void open_with(const void *bytes, size_t count)
{
    struct mt_error error = {0};
    int fd;

    mt_source_close(source);
    source = NULL;
    fd = open(path, O_WRONLY | O_TRUNC);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, bytes, count), count);
    assert_int_equal(close(fd), 0);
    if (mt_source_open(path, &source, &error) != MT_OK)
        fail_msg("%s", error.text);
}

static void expect_line(const char *text, int64_t number)
{
    struct mt_slice line = {0};
    struct mt_error error = {0};

    if (mt_source_next(source, &line, &error) != MT_OK)
        fail_msg("%s", error.text);
    if (text == NULL) {
        assert_null(line.data);
        return;
    }
    if (!mt_slice_equal(line, text))
        fail_msg("expected '%s', got '%.*s'", text, (int)line.length, line.data);
    assert_int_equal(mt_source_number(source), number);
}

static int set_up(void **state)
{
    int fd;

    (void)state;
    (void)strcpy(path + strlen(path) - 6, "XXXXXX");
    fd = mkstemp(path);
    return fd >= 0 ? close(fd) : -1;
}

static int tear_down(void **state)
{
    (void)state;
    mt_source_close(source);
    source = NULL;
    return unlink(path);
}

static void lines_end_in_many_ways(void **state)
{
    static const char text[] = "one\ntwo\r\n\n\r\nfive\r";

    (void)state;
    open_with(text, sizeof text - 1);
    for (int pass = 0; pass < 2; pass++) {
        mt_source_rewind(source);
        expect_line("one", 1);
        expect_line("two", 2);
        expect_line("five", 5);
        expect_line(NULL, 0);
        expect_line(NULL, 0);
        assert_int_equal(mt_source_read(source), sizeof text - 1);
        assert_int_equal(mt_source_size(source), sizeof text - 1);
    }
}

static void a_nul_is_a_byte_like_others(void **state)
{
    struct mt_slice line = {0};

    (void)state;
    open_with("a\0b\nc\n", 6);
    assert_int_equal(mt_source_next(source, &line, NULL), MT_OK);
    assert_int_equal(line.length, 3);
    expect_line("c", 2);
}

/* lines of every length around the limit, among many others: nothing is lost at buffer borders */
static void long_lines_are_skipped_and_counted(void **state)
{
    static const size_t lengths[] = {
        1, MT_SOURCE_LINE_MAX - 1, MT_SOURCE_LINE_MAX,     3, 5 * MT_SOURCE_LINE_MAX,
        2, 2 * MT_SOURCE_LINE_MAX, MT_SOURCE_LINE_MAX + 1, 1};
    enum { LINES = sizeof lengths / sizeof *lengths };
    size_t total = 0;
    char *text;
    size_t at = 0;

    (void)state;
    for (size_t i = 0; i < LINES; i++)
        total += lengths[i] + 1;
    text = malloc(total);
    assert_non_null(text);
    for (size_t i = 0; i < LINES; i++) {
        memset(text + at, 'a' + (int)i, lengths[i]);
        at += lengths[i];
        text[at++] = '\n';
    }
    open_with(text, total);
    free(text);
    for (size_t i = 0; i < LINES; i++) {
        struct mt_slice line = {0};
        struct mt_error error = {0};
        enum mt_err result = mt_source_next(source, &line, &error);

        assert_int_equal(mt_source_number(source), i + 1);
        /* the line's end counts */
        assert_int_equal(result, lengths[i] + 1 > MT_SOURCE_LINE_MAX ? MT_ERR_BAD_DATA : MT_OK);
        if (result == MT_OK) {
            assert_int_equal(line.length, lengths[i]);
            assert_int_equal(line.data[0], 'a' + (int)i);
            assert_int_equal(line.data[line.length - 1], 'a' + (int)i);
        }
    }
    expect_line(NULL, 0);
}

static void places_name_file_and_line(void **state)
{
    char expected[64];

    (void)state;
    open_with("a\nb", 3);
    (void)snprintf(expected, sizeof expected, "%s:12", path);
    assert_string_equal(mt_source_place(source, 12), expected);
}

static void what_cannot_be_read_is_named(void **state)
{
    struct mt_source *none = NULL;
    struct mt_error error = {0};

    (void)state;
    assert_int_equal(mt_source_open("/nonexistent/x.csv", &none, &error), MT_ERR_IO);
    assert_string_equal(error.text, "cannot read /nonexistent/x.csv: No such file or directory");
    assert_int_equal(mt_source_open("/tmp", &none, &error), MT_ERR_IO);
    assert_string_equal(error.text, "/tmp is a directory; name a file");
    assert_int_equal(mt_source_open("/dev/null", &none, &error), MT_ERR_BAD_DATA);
    assert_non_null(strstr(error.text, "/dev/null is empty"));
    assert_null(none);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(lines_end_in_many_ways, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_nul_is_a_byte_like_others, set_up, tear_down),
        cmocka_unit_test_setup_teardown(long_lines_are_skipped_and_counted, set_up, tear_down),
        cmocka_unit_test_setup_teardown(places_name_file_and_line, set_up, tear_down),
        cmocka_unit_test(what_cannot_be_read_is_named),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
