#include "unit.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "store/uri.h"

static const struct {
    const char *uri;
    const char *destination;
} destinations[] = {
    {"sqlite:/a/b?c@d", "sqlite:/a/b?c@d"},
    {"mongodb://h", "mongodb://h/memory_tracker"},
    {"mongodb://h/", "mongodb://h/memory_tracker"},
    {"mongodb://u:p@H1:27017,h2:27018,[::1]:27017/db?w=1", "mongodb://h1,h2:27018,[::1]/db"},
    {"mongodb://h?w=1&COLLECTION=other", "mongodb://h/memory_tracker?collection=other"},
    {"mongodb://h/db?collection=memory_log", "mongodb://h/db"},
    {"mongodb://h/d%62?collection=a%26b", "mongodb://h/db?collection=a%26b"},
    {"mongodb://%2Ftmp%2FX.sock/db", "mongodb://%2Ftmp%2FX.sock/db"},
    {"mongodb+srv://u:p%40ss@Cluster.Example.Org/",
     "mongodb+srv://cluster.example.org/memory_tracker"},
    {"http://token@Host:80/a/B//", "http://host/a/B"},
    {"https://h:443?tlsCAFile=/x", "https://h"},
    {"https://h:80/", "https://h:80"},
    /* nobody checked these, and still nothing leaks */
    {"mongodb://u:p/w@h/db", "mongodb://***@h/db"},
    {"mongodb://h/db?password=p@w", "mongodb://***"},
    {"u:pw@h", "***@h"},
};

static void test_destinations(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof destinations / sizeof destinations[0]; i++) {
        char *name = mt_store_destination(destinations[i].uri);

        assert_non_null(name);
        assert_string_equal(name, destinations[i].destination);
        free(name);
    }
}

static void test_a_relative_path_becomes_absolute(void **state)
{
    char *directory = getcwd(NULL, 0);
    char *name = mt_store_destination("sqlite:././a.db");
    char expected[4096];

    (void)state;
    (void)snprintf(expected, sizeof expected, "sqlite:%s/a.db", directory);
    assert_string_equal(name, expected);
    free(name);
    free(directory);
}

static void assert_option(const char *uri, const char *name, const char *expected)
{
    char *value = NULL;

    assert_int_equal(mt_store_uri_option(uri, name, &value, NULL), MT_OK);
    if (expected == NULL)
        assert_null(value);
    else
        assert_string_equal(value, expected);
    free(value);
}

static void test_options(void **state)
{
    static const char uri[] = "mongodb://u:p@h/db?a=1&maxData=2%305&empty=&none&maxDatas=7";
    struct mt_error error = {0};
    char *value = NULL;

    (void)state;
    assert_option(uri, "a", "1");
    assert_option(uri, "MAXDATA", "205");
    assert_option(uri, "empty", "");
    assert_option(uri, "none", "");
    assert_option(uri, "max", NULL);
    assert_option(uri, "b", NULL);
    assert_option("mongodb://h", "a", NULL);
    assert_option("sqlite:x://h?a=1", "a", NULL);
    assert_int_equal(mt_store_uri_option("http://h?a=%zz", "a", &value, &error), MT_ERR_CONFIG);
    assert_null(value);
    assert_null(strstr(error.text, "zz"));
    assert_int_equal(mt_store_uri_option("http://h?a=%00", "a", &value, NULL), MT_ERR_CONFIG);
    assert_int_equal(mt_store_uri_option("http://h?a=%4", "a", &value, NULL), MT_ERR_CONFIG);
}

static void assert_for_the_driver(const char *uri, const char *expected)
{
    char *out = NULL;

    assert_int_equal(mt_store_uri_without_ours(uri, &out, NULL), MT_OK);
    assert_string_equal(out, expected);
    free(out);
}

static void test_the_driver_gets_its_own_options(void **state)
{
    (void)state;
    assert_for_the_driver("mongodb://u:p%40@h,i:1", "mongodb://u:p%40@h,i:1/");
    assert_for_the_driver("mongodb://h?collection=c&w=1", "mongodb://h/?w=1");
    assert_for_the_driver("mongodb://h/db?w=1&MaxData=5&&ssl=true&collection=c",
                          "mongodb://h/db?w=1&ssl=true");
    assert_for_the_driver("mongodb://h/db?maxData=5", "mongodb://h/db");
}

static void assert_database(const char *uri, const char *expected)
{
    char *name = NULL;

    assert_int_equal(mt_store_uri_database(uri, &name, NULL), MT_OK);
    assert_string_equal(name, expected);
    free(name);
}

static void test_databases(void **state)
{
    char *name = NULL;

    (void)state;
    assert_database("mongodb://h", "memory_tracker");
    assert_database("mongodb://h/?a=b", "memory_tracker");
    assert_database("mongodb://h/d%62?a=b", "db");
    assert_int_equal(mt_store_uri_database("mongodb://h/%", &name, NULL), MT_ERR_CONFIG);
    assert_null(name);
}

static void assert_token(const char *uri, const char *expected)
{
    char *token = NULL;

    assert_int_equal(mt_store_uri_token(uri, &token, NULL), MT_OK);
    if (expected == NULL)
        assert_null(token);
    else
        assert_string_equal(token, expected);
    free(token);
}

static void test_tokens(void **state)
{
    (void)state;
    assert_token("https://h/p", NULL);
    assert_token("https://@h/p", NULL);
    assert_token("https://a%2Fb%40@h/p", "a/b@");
    assert_token("sqlite:a://b@c", NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_destinations),
        cmocka_unit_test(test_a_relative_path_becomes_absolute),
        cmocka_unit_test(test_options),
        cmocka_unit_test(test_the_driver_gets_its_own_options),
        cmocka_unit_test(test_databases),
        cmocka_unit_test(test_tokens),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
