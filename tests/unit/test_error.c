#include "unit.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>

#include "base/error.h"

static void test_set_fills_and_returns_the_code(void **state)
{
    struct mt_error error = {.sys_errno = EIO};

    (void)state;
    assert_int_equal(mt_error_set(&error, MT_ERR_BUSY, "%s is locked", "a.db"), MT_ERR_BUSY);
    assert_int_equal(error.code, MT_ERR_BUSY);
    assert_int_equal(error.sys_errno, 0);
    assert_string_equal(error.text, "a.db is locked");
    assert_int_equal(mt_error_set(NULL, MT_ERR_FULL, "%d", 1), MT_ERR_FULL);
}

static void test_set_errno_says_what_the_system_said(void **state)
{
    struct mt_error error = {0};

    (void)state;
    assert_int_equal(mt_error_set_errno(&error, MT_ERR_IO, ENOSPC, "cannot write %s", "a.db"),
                     MT_ERR_IO);
    assert_int_equal(error.code, MT_ERR_IO);
    assert_int_equal(error.sys_errno, ENOSPC);
    assert_string_equal(error.text, "cannot write a.db: No space left on device");
    (void)mt_error_set_errno(&error, MT_ERR_IO, 99999, "x");
    assert_string_equal(error.text, "x: unknown error");
    assert_int_equal(mt_error_set_errno(NULL, MT_ERR_IO, EIO, "x"), MT_ERR_IO);
}

static void test_prefix_stands_before_the_text(void **state)
{
    struct mt_error error = {0};

    (void)state;
    (void)mt_error_set_errno(&error, MT_ERR_IO, EIO, "read");
    mt_error_prefix(&error, "line %d", 7);
    assert_string_equal(error.text, "line 7: read: Input/output error");
    assert_int_equal(error.code, MT_ERR_IO);
    assert_int_equal(error.sys_errno, EIO);
    mt_error_prefix(NULL, "line %d", 7);
}

static void test_long_texts_are_cut_not_overrun(void **state)
{
    struct {
        struct mt_error error;
        char after[8];
    } guarded = {.after = "guarded"};
    char text[4000];

    (void)state;
    memset(text, 'a', sizeof text - 1);
    text[sizeof text - 1] = '\0';
    (void)mt_error_set(&guarded.error, MT_ERR_IO, "%s", text);
    assert_int_equal(strlen(guarded.error.text), sizeof guarded.error.text - 1);
    (void)mt_error_set_errno(&guarded.error, MT_ERR_IO, EIO, "%s", text);
    assert_int_equal(strlen(guarded.error.text), sizeof guarded.error.text - 1);
    memset(text, 'b', sizeof text - 1);
    mt_error_prefix(&guarded.error, "%s", text);
    assert_int_equal(strlen(guarded.error.text), sizeof guarded.error.text - 1);
    /* the context is cut to half, so that something of the cause is left */
    assert_non_null(strstr(guarded.error.text, "b: a"));
    assert_string_equal(guarded.after, "guarded");
}

static void test_every_code_has_its_row(void **state)
{
    static const int exit_statuses[] = {1, 2, 3, 4};

    (void)state;
    for (enum mt_err code = 1; code < MT_ERR_COUNT; code++) {
        bool known = false;
        for (size_t i = 0; i < 4; i++)
            known = known || mt_err_exit_status(code) == exit_statuses[i];
        assert_true(known);
        assert_true(mt_err_name(code)[0] != '\0');
        assert_true(mt_err_http_status(code) == 500 || mt_err_http_status(code) == 503 ||
                    mt_err_http_status(code) == 400);
        assert_in_range(mt_err_log_level(code), MT_LOG_INFO, MT_LOG_CRITICAL);
        for (enum mt_err other = 1; other < code; other++)
            assert_string_not_equal(mt_err_name(code), mt_err_name(other));
        /* what may pass by itself, and only that, is the store being unavailable for now */
        if (mt_err_exit_status(code) == 3)
            assert_int_equal(mt_err_http_status(code), 503);
    }
    assert_string_equal(mt_err_name(MT_OK), "ok");
    assert_int_equal(mt_err_exit_status(MT_OK), 0);
    assert_int_equal(mt_err_http_status(MT_OK), 200);
    assert_int_equal(mt_err_log_level(MT_OK), MT_LOG_INFO);
    assert_int_equal(mt_err_exit_status(MT_ERR_USAGE), 2);
    assert_int_equal(mt_err_exit_status(MT_ERR_CONFIG), 4);
    assert_int_equal(mt_err_exit_status(MT_ERR_UNAVAILABLE), 3);
}

static void test_a_code_that_is_none_is_a_failure(void **state)
{
    (void)state;
    assert_string_equal(mt_err_name((enum mt_err)9999), "failed");
    assert_int_equal(mt_err_exit_status(MT_ERR_COUNT), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_set_fills_and_returns_the_code),
        cmocka_unit_test(test_set_errno_says_what_the_system_said),
        cmocka_unit_test(test_prefix_stands_before_the_text),
        cmocka_unit_test(test_long_texts_are_cut_not_overrun),
        cmocka_unit_test(test_every_code_has_its_row),
        cmocka_unit_test(test_a_code_that_is_none_is_a_failure),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
