#include "unit.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "api/tokens.h"
#include "base/clock.h"

#define SECRET "0123456789abcdef"

/* Stands in for clock.c: a file ages while the test goes on. */
static int64_t later_s;

int64_t mt_clock_wall_s(void)
{
    return (int64_t)time(NULL) + later_s;
}

int64_t mt_clock_wall_ms(void)
{
    return mt_clock_wall_s() * 1000;
}

int64_t mt_clock_monotonic_ms(void)
{
    return mt_clock_wall_ms();
}

static enum mt_err parse(const char *text, struct mt_tokens **tokens, struct mt_error *error)
{
    *error = (struct mt_error){0};
    return mt_tokens_parse("t", mt_slice_of(text), tokens, error);
}

static void the_scopes_of_a_file(void **state)
{
    static const char text[] =
        "# who may what\n"
        "\n"
        " \t# indented\n"
        "web-1.a_b\thost:w\xC3\xA4"
        "b1  aaaaaaaaaaaaaaaa\r\n"
        "any append b+/=~_.-bbbbbbbbbbbbbbbb\n"
        /* the digest of 0123456789abcdef */
        "reader read sha256:9f9f5111f7b27a781f1f1ddde5ebc2dd2b796bfc7365c9c28b548e564176929F\n"
        "boss admin cccccccccccccccc";
    struct mt_tokens *tokens = NULL;
    struct mt_error error;
    const struct mt_grant *grant;

    (void)state;
    assert_int_equal(parse(text, &tokens, &error), MT_OK);
    grant = mt_tokens_find(tokens, mt_slice_of("Bearer aaaaaaaaaaaaaaaa"));
    assert_non_null(grant);
    assert_int_equal(grant->scope, MT_SCOPE_HOST);
    assert_string_equal(grant->name, "web-1.a_b");
    assert_string_equal(grant->host, "w\xC3\xA4"
                                     "b1");
    grant = mt_tokens_find(tokens, mt_slice_of("bearer   b+/=~_.-bbbbbbbbbbbbbbbb"));
    assert_non_null(grant);
    assert_int_equal(grant->scope, MT_SCOPE_APPEND);
    assert_string_equal(grant->host, "");
    grant = mt_tokens_find(tokens, mt_slice_of("Bearer " SECRET));
    assert_non_null(grant);
    assert_int_equal(grant->scope, MT_SCOPE_READ);
    grant = mt_tokens_find(tokens, mt_slice_of("Bearer cccccccccccccccc"));
    assert_non_null(grant);
    assert_int_equal(grant->scope, MT_SCOPE_ADMIN);
    mt_tokens_free(tokens);
}

static void what_is_no_token_gives_nothing(void **state)
{
    static const char *const values[] = {
        "",
        "Bearer",
        "Bearer ",
        "Bearer  ",
        "Bearer 0123456789abcdeg",
        "Bearer 0123456789abcde",
        "Bearer 0123456789abcdef0",
        "Bearer 0123456789abcdef ",
        "Bearer 0123456789abcdef 0123456789abcdef",
        "Basic 0123456789abcdef",
        "0123456789abcdef",
        "Bearer sha256:9f9f5111f7b27a781f1f1ddde5ebc2dd2b796bfc7365c9c28b548e564176929f",
        "Bearer 9f9f5111f7b27a781f1f1ddde5ebc2dd2b796bfc7365c9c28b548e564176929f",
    };
    struct mt_tokens *tokens = NULL;
    struct mt_tokens *none = NULL;
    struct mt_error error;

    (void)state;
    assert_int_equal(parse("a append " SECRET "\n", &tokens, &error), MT_OK);
    assert_int_equal(parse("# nobody\n", &none, &error), MT_OK);
    for (size_t i = 0; i < sizeof values / sizeof values[0]; i++)
        if (mt_tokens_find(tokens, mt_slice_of(values[i])) != NULL)
            fail_msg("'%s' is a token", values[i]);
    assert_non_null(mt_tokens_find(tokens, mt_slice_of("Bearer " SECRET)));
    assert_null(mt_tokens_find(none, mt_slice_of("Bearer " SECRET)));
    mt_tokens_free(tokens);
    mt_tokens_free(none);
}

static void broken_lines_are_told_without_their_secrets(void **state)
{
    static const struct {
        const char *text;
        const char *said;
    } cases[] = {
        {"a append\n", "t:1: must be three words: NAME SCOPE TOKEN"},
        {SECRET "\n", "t:1: must be three words: NAME SCOPE TOKEN"},
        {"\na append " SECRET " x\n", "t:2: must be three words: NAME SCOPE TOKEN"},
        {"a" SECRET "/ append " SECRET "\n",
         "t:1: the name (first word) must be 1 to 64 letters, digits, dots, dashes and "
         "underscores"},
        {"a " SECRET " append\n",
         "t:1: the scope (second word) must be host:NAME, append, read or admin"},
        {"a host: " SECRET "\n",
         "t:1: the scope (second word) must be host:NAME, append, read or admin"},
        {"a host:\xFF " SECRET "\n",
         "t:1: the scope (second word) must be host:NAME, append, read or admin"},
        {"a append 0123456789abcde\n",
         "t:1: the token (third word) must be 16 to 512 letters, digits and -._~+/= (try `openssl "
         "rand -hex 32`), or sha256: and 64 hexadecimal digits"},
        {"a append sha256:" SECRET "\n",
         "t:1: the token (third word) must be 16 to 512 letters, digits and -._~+/= (try `openssl "
         "rand -hex 32`), or sha256: and 64 hexadecimal digits"},
        {"a append " SECRET "\na read b" SECRET "\n",
         "t:2: the name (first word) stands on an earlier line; each token needs its own"},
        {"a append " SECRET
         "\nb read sha256:9f9f5111f7b27a781f1f1ddde5ebc2dd2b796bfc7365c9c28b548e564176929f\n",
         "t:2: the token (third word) stands on an earlier line; each name needs its own"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct mt_tokens *tokens = NULL;
        struct mt_error error;

        assert_int_equal(parse(cases[i].text, &tokens, &error), MT_ERR_CONFIG);
        assert_string_equal(error.text, cases[i].said);
        assert_null(strstr(error.text, SECRET));
        assert_null(tokens);
    }
}

struct place {
    char directory[64];
    char path[96];
    struct mt_tokens_file file;
};

static void write_file(const struct place *place, const char *text)
{
    FILE *out = fopen(place->path, "we");

    assert_non_null(out);
    assert_int_equal(fchmod(fileno(out), 0640), 0);
    assert_true(fputs(text, out) >= 0);
    assert_int_equal(fclose(out), 0);
}

static bool is_valid(const struct place *place, const char *authorization)
{
    return mt_tokens_find(place->file.tokens, mt_slice_of(authorization)) != NULL;
}

static int set_up(void **state)
{
    struct place *place = calloc(1, sizeof *place);

    if (place == NULL)
        return -1;
    (void)strcpy(place->directory, "/tmp/test-tokens-XXXXXX");
    if (mkdtemp(place->directory) == NULL) {
        free(place);
        return -1;
    }
    (void)snprintf(place->path, sizeof place->path, "%s/tokens", place->directory);
    *state = place;
    return 0;
}

static int tear_down(void **state)
{
    struct place *place = *state;
    int result;

    mt_tokens_file_close(&place->file);
    (void)unlink(place->path);
    result = rmdir(place->directory);
    free(place);
    return result;
}

static void a_changed_file_counts(void **state)
{
    struct place *place = *state;
    struct mt_error error = {0};

    write_file(place, "a append aaaaaaaaaaaaaaaa\n");
    assert_int_equal(mt_tokens_file_open(&place->file, place->path, &error), MT_OK);
    assert_true(is_valid(place, "Bearer aaaaaaaaaaaaaaaa"));
    /* of the same size, and within the same tick of the file system's clock */
    write_file(place, "a append bbbbbbbbbbbbbbbb\n");
    assert_int_equal(mt_tokens_file_look(&place->file, &error), MT_OK);
    assert_false(is_valid(place, "Bearer aaaaaaaaaaaaaaaa"));
    assert_true(is_valid(place, "Bearer bbbbbbbbbbbbbbbb"));
    /* between two steps of who writes it */
    write_file(place, "");
    assert_int_equal(mt_tokens_file_look(&place->file, &error), MT_OK);
    assert_true(is_valid(place, "Bearer bbbbbbbbbbbbbbbb"));
    write_file(place, "#");
    assert_int_equal(mt_tokens_file_look(&place->file, &error), MT_OK);
    assert_false(is_valid(place, "Bearer bbbbbbbbbbbbbbbb"));
}

static void a_broken_file_is_told_once_and_changes_nothing(void **state)
{
    struct place *place = *state;
    struct mt_error error = {0};

    write_file(place, "a append aaaaaaaaaaaaaaaa\n");
    assert_int_equal(mt_tokens_file_open(&place->file, place->path, &error), MT_OK);
    write_file(place, "a append\n");
    assert_int_equal(mt_tokens_file_look(&place->file, &error), MT_ERR_CONFIG);
    for (int i = 0; i < 3; i++)
        assert_int_equal(mt_tokens_file_look(&place->file, &error), MT_OK);
    assert_int_equal(chmod(place->path, 0604), 0);
    assert_int_equal(mt_tokens_file_look(&place->file, &error), MT_ERR_CONFIG);
    assert_non_null(strstr(error.text, "type: chmod o-rw /tmp/"));
    assert_int_equal(mt_tokens_file_look(&place->file, &error), MT_OK);
    assert_int_equal(unlink(place->path), 0);
    assert_int_equal(mt_tokens_file_look(&place->file, &error), MT_ERR_CONFIG);
    assert_int_equal(mt_tokens_file_look(&place->file, &error), MT_OK);
    assert_int_equal(mkfifo(place->path, 0600), 0);
    assert_int_equal(mt_tokens_file_look(&place->file, &error), MT_ERR_CONFIG);
    assert_non_null(strstr(error.text, "not a regular file"));
    assert_true(is_valid(place, "Bearer aaaaaaaaaaaaaaaa"));
    assert_int_equal(unlink(place->path), 0);
    write_file(place, "b append bbbbbbbbbbbbbbbb\n");
    assert_int_equal(mt_tokens_file_look(&place->file, &error), MT_OK);
    assert_true(is_valid(place, "Bearer bbbbbbbbbbbbbbbb"));
    assert_false(is_valid(place, "Bearer aaaaaaaaaaaaaaaa"));
}

static void a_file_that_was_right_counts_again_once_its_mode_is(void **state)
{
    struct place *place = *state;
    struct mt_error error = {0};

    write_file(place, "a append aaaaaaaaaaaaaaaa\n");
    assert_int_equal(chmod(place->path, 0644), 0);
    assert_int_equal(mt_tokens_file_open(&place->file, place->path, &error), MT_ERR_CONFIG);
    assert_null(place->file.tokens);
    assert_int_equal(chmod(place->path, 0640), 0);
    assert_int_equal(mt_tokens_file_look(&place->file, &error), MT_OK);
    assert_true(is_valid(place, "Bearer aaaaaaaaaaaaaaaa"));
}

static void an_empty_file_is_broken_if_it_stays_so(void **state)
{
    struct place *place = *state;
    struct mt_error error = {0};

    write_file(place, "");
    assert_int_equal(mt_tokens_file_open(&place->file, place->path, &error), MT_ERR_CONFIG);
    assert_non_null(strstr(error.text, "is empty"));
    write_file(place, "a append aaaaaaaaaaaaaaaa\n");
    assert_int_equal(mt_tokens_file_look(&place->file, &error), MT_OK);
    write_file(place, "");
    /* as if a while ago */
    later_s = 60;
    assert_int_equal(mt_tokens_file_look(&place->file, &error), MT_ERR_CONFIG);
    assert_int_equal(mt_tokens_file_look(&place->file, &error), MT_OK);
    later_s = 0;
    assert_true(is_valid(place, "Bearer aaaaaaaaaaaaaaaa"));
}

static void a_huge_file_is_no_file_of_tokens(void **state)
{
    struct place *place = *state;
    struct mt_error error = {0};

    write_file(place, "");
    assert_int_equal(truncate(place->path, (off_t)64 * 1024 * 1024), 0);
    assert_int_equal(mt_tokens_file_open(&place->file, place->path, &error), MT_ERR_CONFIG);
    assert_non_null(strstr(error.text, "larger than 1 MiB"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_scopes_of_a_file),
        cmocka_unit_test(what_is_no_token_gives_nothing),
        cmocka_unit_test(broken_lines_are_told_without_their_secrets),
        cmocka_unit_test_setup_teardown(a_changed_file_counts, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_broken_file_is_told_once_and_changes_nothing, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(a_file_that_was_right_counts_again_once_its_mode_is, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(an_empty_file_is_broken_if_it_stays_so, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_huge_file_is_no_file_of_tokens, set_up, tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
