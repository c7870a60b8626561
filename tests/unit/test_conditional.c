#include "unit.h"

#include <string.h>

#include "api/conditional.h"

static const char *format(uint64_t value, uint64_t count, bool is_gzip)
{
    static char tag[MT_TAG_SIZE];
    const struct mt_entries_hash hash = {value, count};

    mt_tag_format(hash, is_gzip, tag);
    return tag;
}

static void tags_are_quoted_and_each_form_has_its_own(void **state)
{
    (void)state;
    assert_string_equal(format(0, 0, false), "\"0000000000000000-0\"");
    assert_string_equal(format(0x1234567890ABCDEF, 99999, false), "\"1234567890abcdef-1869f\"");
    assert_string_equal(format(0x1234567890ABCDEF, 16, true), "W/\"1234567890abcdef-10-gzip\"");
    assert_string_equal(format(UINT64_MAX, UINT64_MAX, true),
                        "W/\"ffffffffffffffff-ffffffffffffffff-gzip\"");
}

static void what_names_a_tag(void **state)
{
    static const char *const tags[] = {"\"a-1\"", "W/\"a-1\""};
    static const char *const yes[] = {
        "\"a-1\"",
        "W/\"a-1\"",
        " \t\"a-1\"\t ",
        "\"b\", \"a-1\"",
        "\"b\",W/\"a-1\"",
        "\"a-1\" , \"b\"",
        "W/\"b\",,\"c\" ,\t, \"a-1\"",
        ",\"a-1\",",
        "*",
        " * ",
        "\"\",\"!#~\xC3\xA4,*W/\",\"a-1\"",
    };
    static const char *const no[] = {
        "",
        " ",
        ",",
        "\"b\"",
        "\"A-1\"",
        "\"a-1",
        "a-1",
        "'a-1'",
        "w/\"a-1\"",
        "W/ \"a-1\"",
        "W/",
        "W",
        "\"\"a-1\"\"",
        "\"b \", \"a-1\"",
        "\"a-1\" \"b\"",
        "\"a-1\", b",
        "\"a-1\", *",
        "*, \"a-1\"",
        "**",
        "\"a-1\"x",
        "\"a-1\", \"b",
        "\"b\x7F\", \"a-1\"",
        "\"a-1\\\"\"",
    };

    (void)state;
    for (size_t i = 0; i < sizeof yes / sizeof yes[0]; i++)
        for (size_t j = 0; j < sizeof tags / sizeof tags[0]; j++)
            if (!mt_none_match_has(mt_slice_of(yes[i]), tags[j]))
                fail_msg("'%s' names %s", yes[i], tags[j]);
    for (size_t i = 0; i < sizeof no / sizeof no[0]; i++)
        for (size_t j = 0; j < sizeof tags / sizeof tags[0]; j++)
            if (mt_none_match_has(mt_slice_of(no[i]), tags[j]))
                fail_msg("'%s' does not name %s", no[i], tags[j]);
    assert_false(mt_none_match_has((struct mt_slice){NULL, 0}, "\"a-1\""));
}

static void which_coding_is_chosen(void **state)
{
    static const struct {
        const char *value;
        enum mt_coding coding;
    } cases[] = {
        {"gzip", MT_CODING_GZIP},
        {"GZip", MT_CODING_GZIP},
        {"x-gzip", MT_CODING_GZIP},
        {"deflate, gzip", MT_CODING_GZIP},
        {"br,gzip;q=0.5", MT_CODING_GZIP},
        {" gzip ; q=1 ,x", MT_CODING_GZIP},
        {"gzip;q=1.000", MT_CODING_GZIP},
        {"gzip;Q=0.001", MT_CODING_GZIP},
        {"gzip; q=1.", MT_CODING_GZIP},
        {"gzip, deflate, br, zstd", MT_CODING_GZIP},
        {"identity;q=0,gzip;q=0.01", MT_CODING_GZIP},
        {"identity, gzip", MT_CODING_GZIP},
        {"identity;q=0.5, gzip;q=0.6", MT_CODING_GZIP},
        {"*", MT_CODING_GZIP},
        {"*;q=0.1", MT_CODING_GZIP},
        {"identity;q=0.1, *;q=0.2", MT_CODING_GZIP},
        {"identity;q=0, *", MT_CODING_GZIP},
        {"gzip, *;q=0", MT_CODING_GZIP},
        {",,gzip,,", MT_CODING_GZIP},
        {"gzip, gzip;q=0", MT_CODING_GZIP},
        {"nonsense here, gzip", MT_CODING_GZIP},
        {"\"gzip;q=0\", gzip", MT_CODING_GZIP},
        {"", MT_CODING_IDENTITY},
        {" ", MT_CODING_IDENTITY},
        {",;,", MT_CODING_IDENTITY},
        {"br", MT_CODING_IDENTITY},
        {"gzipx", MT_CODING_IDENTITY},
        {"gzip;q=0", MT_CODING_IDENTITY},
        {"gzip; q=0.000", MT_CODING_IDENTITY},
        {"gzip;q=0, gzip", MT_CODING_IDENTITY},
        {"gzip;q=0, *", MT_CODING_IDENTITY},
        {"identity, gzip;q=0.999", MT_CODING_IDENTITY},
        {"gzip;q=0.5, *", MT_CODING_IDENTITY},
        {"identity;q=0.3, *;q=0.2", MT_CODING_IDENTITY},
        {"identity, *;q=0", MT_CODING_IDENTITY},
        {"gzip;q=0.0001", MT_CODING_IDENTITY},
        {"gzip;q=1.001", MT_CODING_IDENTITY},
        {"gzip;q=2", MT_CODING_IDENTITY},
        {"gzip;q=-1", MT_CODING_IDENTITY},
        {"gzip;q=", MT_CODING_IDENTITY},
        {"gzip;q", MT_CODING_IDENTITY},
        {"gzip;", MT_CODING_IDENTITY},
        {"gzip;level=9", MT_CODING_IDENTITY},
        {"gzip;q=1;x=1", MT_CODING_IDENTITY},
        {"gzip q=1", MT_CODING_IDENTITY},
        {"gzip;q=.5", MT_CODING_IDENTITY},
        {"gzip;q=0x1", MT_CODING_IDENTITY},
        {"\xFFgzip", MT_CODING_IDENTITY},
        {"*;q=0", MT_CODING_NONE},
        {"br, *;q=0", MT_CODING_NONE},
        {"identity;q=0", MT_CODING_NONE},
        {"identity;q=0, br", MT_CODING_NONE},
        {"identity;q=0, gzip;q=0", MT_CODING_NONE},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        if (mt_coding_choose(mt_slice_of(cases[i].value)) != cases[i].coding)
            fail_msg("'%s' is not %d", cases[i].value, (int)cases[i].coding);
    assert_int_equal(mt_coding_choose((struct mt_slice){NULL, 0}), MT_CODING_IDENTITY);
    assert_int_equal(mt_coding_choose((struct mt_slice){"gzip\0", 5}), MT_CODING_IDENTITY);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tags_are_quoted_and_each_form_has_its_own),
        cmocka_unit_test(what_names_a_tag),
        cmocka_unit_test(which_coding_is_chosen),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
