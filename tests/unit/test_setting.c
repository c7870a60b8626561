#include "unit.h"

#include <string.h>

#include "base/setting.h"

struct row {
    enum mt_setting setting;
    const char *value;
    int64_t number;    /* of a good value */
    const char *error; /* of a bad one; NULL: it is good */
};

static const struct row rows[] = {
    {MT_SETTING_STORE, "sqlite:/var/lib/memory-tracker/memory.db", 0, NULL},
    {MT_SETTING_STORE, "sqlite:relative.db", 0, NULL},
    {MT_SETTING_STORE, "sqlite:a@b?c", 0, NULL},
    {MT_SETTING_STORE, "", 0,
     "X: bad value '': give sqlite:PATH (for example "
     "sqlite:/var/lib/memory-tracker/memory.db), mongodb://HOST/DATABASE, "
     "mongodb+srv://HOST/DATABASE, http://HOST or https://HOST"},
    {MT_SETTING_STORE, "mongodb://h", 0, NULL},
    {MT_SETTING_STORE, "mongodb+srv://h/db", 0, NULL},
    {MT_SETTING_STORE, "http://h", 0, NULL},
    {MT_SETTING_STORE, "https://h/prefix", 0, NULL},
    {MT_SETTING_STORE, "mongodb://", 0, "'mongodb://'"},
    {MT_SETTING_STORE, "https:/h", 0, "'https:/h'"},
    {MT_SETTING_STORE, "sqlite:", 0, "'sqlite:': give sqlite:PATH"},
    {MT_SETTING_STORE, "sqlite://a", 0, "'sqlite://a'"},
    {MT_SETTING_STORE, "/var/lib/a.db", 0, "'/var/lib/a.db'"},
    {MT_SETTING_STORE, "SQLITE:a", 0, "'SQLITE:a'"},
    {MT_SETTING_STORE, "mysql://u:secret@h/d", 0, "'mysql://***@h/d'"},
    {MT_SETTING_LISTEN, "127.0.0.1:8000", 0, NULL},
    {MT_SETTING_LISTEN, "0.0.0.0:0,[::1]:65535,unix:/run/a.sock", 0, NULL},
    {MT_SETTING_LISTEN, "", 0,
     "give ADDR:PORT or [V6]:PORT with a numeric address, or unix:PATH, "
     "several divided by commas, for example 127.0.0.1:8000"},
    {MT_SETTING_LISTEN, "127.0.0.1:8000,", 0, "bad value '127.0.0.1:8000,'"},
    {MT_SETTING_LISTEN, ",127.0.0.1:8000", 0, "bad value"},
    {MT_SETTING_LISTEN, "localhost:8000", 0, "numeric"},
    {MT_SETTING_HOST, "web-1.example.org", 0, NULL},
    {MT_SETTING_HOST, "b\xC3\xA9", 0, NULL},
    {MT_SETTING_HOST, "", 0, "X: bad value '': give a name of 1 to 255 bytes"},
    {MT_SETTING_HOST, "two words", 0, "'two words'"},
    {MT_SETTING_HOST, "tab\t", 0, "bad value"},
    {MT_SETTING_HOST, "del\x7F", 0, "bad value"},
    {MT_SETTING_HOST, "ill\xFF", 0, "bad value"},
    {MT_SETTING_INTERVAL, "60", 60, NULL},
    {MT_SETTING_INTERVAL, "60s", 60, NULL},
    {MT_SETTING_INTERVAL, "1", 1, NULL},
    {MT_SETTING_INTERVAL, "86400", 86400, NULL},
    {MT_SETTING_INTERVAL, "0", 0,
     "X: bad value '0': give a whole number from 1 to 86400 (seconds)"},
    {MT_SETTING_INTERVAL, "86401", 0, "bad value '86401'"},
    {MT_SETTING_INTERVAL, "s", 0, "bad value 's'"},
    {MT_SETTING_INTERVAL, "60ss", 0, "bad value"},
    {MT_SETTING_INTERVAL, "1m", 0, "bad value"},
    {MT_SETTING_INTERVAL, "1.5", 0, "bad value"},
    {MT_SETTING_INTERVAL, "-1", 0, "bad value"},
    {MT_SETTING_INTERVAL, "", 0, "bad value"},
    {MT_SETTING_STALE_LIMIT, "0", 0, NULL},
    {MT_SETTING_STALE_LIMIT, "86401", 0, "bad value"},
    {MT_SETTING_DRAIN_DELAY, "0", 0, NULL},
    {MT_SETTING_SPOOL, "a", 0, NULL},
    {MT_SETTING_SPOOL, "", 0, "X: bad value '': give a path"},
    {MT_SETTING_THREADS, "256", 256, NULL},
    {MT_SETTING_THREADS, "257", 0, "X: bad value '257': give a whole number from 1 to 256"},
    {MT_SETTING_THREADS, "2s", 0, "bad value"},
    {MT_SETTING_THREADS, "18446744073709551617", 0, "bad value"},
    {MT_SETTING_RESPONSE_MEMORY, "16MiB", 16777216, NULL},
    {MT_SETTING_RESPONSE_MEMORY, "16777216B", 16777216, NULL},
    {MT_SETTING_RESPONSE_MEMORY, "16384KiB", 16777216, NULL},
    {MT_SETTING_RESPONSE_MEMORY, "1GiB", 1 << 30, NULL},
    {MT_SETTING_RESPONSE_MEMORY, "1TiB", (int64_t)1 << 40, NULL},
    {MT_SETTING_RESPONSE_MEMORY, "15MiB", 0,
     "X: bad value '15MiB': give a size with its unit (B, KiB, MiB, GiB, TiB) from 16MiB to "
     "1TiB"},
    {MT_SETTING_RESPONSE_MEMORY, "2TiB", 0, "bad value"},
    {MT_SETTING_RESPONSE_MEMORY, "268435456", 0, "with its unit"},
    {MT_SETTING_RESPONSE_MEMORY, "256MB", 0, "with its unit"},
    {MT_SETTING_RESPONSE_MEMORY, "256mib", 0, "with its unit"},
    {MT_SETTING_RESPONSE_MEMORY, "MiB", 0, "with its unit"},
    {MT_SETTING_RESPONSE_MEMORY, "-1GiB", 0, "with its unit"},
    {MT_SETTING_RESPONSE_MEMORY, "16777216TiB", 0, "with its unit"},
    {MT_SETTING_RESPONSE_MEMORY, "18446744073709551632MiB", 0, "with its unit"},
    {MT_SETTING_DOCDB_MAX_DATA, "16000000", 16000000, NULL},
    {MT_SETTING_DOCDB_MAX_DATA, "15MiB", 15 << 20, NULL},
    {MT_SETTING_DOCDB_MAX_DATA, "16KiB", 16384, NULL},
    {MT_SETTING_DOCDB_MAX_DATA, "16000001", 0,
     "X: bad value '16000001': give a size with or without its unit (B, KiB, MiB, GiB, TiB) from "
     "16384 to 16000000"},
    {MT_SETTING_DOCDB_MAX_DATA, "16383", 0, "bad value"},
    {MT_SETTING_DOCDB_MAX_DATA, "16MB", 0, "bad value"},
    {MT_SETTING_DOCDB_MAX_DATA, "", 0, "bad value"},
    {MT_SETTING_DOCDB_PORT, "27018", 27018, NULL},
    {MT_SETTING_DOCDB_PORT, "0", 0, "give a whole number from 1 to 65535"},
    {MT_SETTING_DOCDB_HOST, "db.example.org", 0, NULL},
    {MT_SETTING_DOCDB_HOST, "a:27018,[::1],::1", 0, NULL},
    {MT_SETTING_DOCDB_HOST, "", 0, "give HOST or HOST:PORT"},
    {MT_SETTING_DOCDB_HOST, "mongodb://h", 0, "without scheme and options"},
    {MT_SETTING_DOCDB_HOST, "u:p@h", 0, "bad value"},
    {MT_SETTING_DOCDB_USER, "", 0, NULL},
    {MT_SETTING_DOCDB_SECRET, "p w\n", 0, NULL},
    {MT_SETTING_DOCDB_DATABASE_NAME, "a", 0, NULL},
    {MT_SETTING_DOCDB_DATABASE_NAME, "", 0, "give a name without spaces"},
    {MT_SETTING_DOCDB_COLLECTION, "a b", 0, "give a name without spaces"},
    {MT_SETTING_DOCDB_OPTIONS, "", 0, NULL},
    {MT_SETTING_DOCDB_OPTIONS, "/test?ssl=true&replicaSet=rs0", 0, NULL},
    {MT_SETTING_DOCDB_OPTIONS, "/test?password=p w", 0, "X: bad value '/test?***': give NAME="},
    {MT_SETTING_DOCDB_OPTIONS, "password=p w", 0, "X: bad value '***': give NAME="},
    {MT_SETTING_STORE_TOKEN, "t0k/en==", 0, NULL},
    {MT_SETTING_STORE_TOKEN, "", 0, "X: bad value '': give a token"},
    {MT_SETTING_STORE_TOKEN, "secret two", 0, "X: bad value '***': give a token"},
    {MT_SETTING_STORE_TOKEN, "secret\xC3\xA9", 0, "X: bad value '***': give a token"},
    {MT_SETTING_TOKENS, "/etc/tokens", 0, NULL},
    {MT_SETTING_TOKENS, "", 0, "give a path"},
    {MT_SETTING_ALLOW_INSECURE_TLS, "yes", 1, NULL},
    {MT_SETTING_ALLOW_INSECURE_TLS, "true", 0, "give no|yes"},
    {MT_SETTING_LOG_LEVEL, "debug", 0, NULL},
    {MT_SETTING_LOG_LEVEL, "critical", 4, NULL},
    {MT_SETTING_LOG_LEVEL, "Debug", 0,
     "X: bad value 'Debug': give debug|info|warning|error|critical"},
    {MT_SETTING_LOG_LEVEL, "debug|info", 0, "bad value"},
    {MT_SETTING_LOG_LEVEL, "", 0, "bad value"},
    {MT_SETTING_LOG_LEVEL, "inf", 0, "bad value"},
    {MT_SETTING_ACCESS_LOG, "json", 2, NULL},
    {MT_SETTING_RETENTION, "", 0, NULL},
    {MT_SETTING_RETENTION, "1d", 86400, NULL},
    {MT_SETTING_RETENTION, "86400s", 86400, NULL},
    {MT_SETTING_RETENTION, "1440m", 86400, NULL},
    {MT_SETTING_RETENTION, "36h", 129600, NULL},
    {MT_SETTING_RETENTION, "90d", 90 * 86400, NULL},
    {MT_SETTING_RETENTION, "12w", 84 * 86400, NULL},
    {MT_SETTING_RETENTION, "1000y", INT64_C(365000) * 86400, NULL},
    {MT_SETTING_RETENTION, "1MiB", -(1 << 20), NULL},
    {MT_SETTING_RETENTION, "2GiB", -(INT64_C(2) << 30), NULL},
    {MT_SETTING_RETENTION, "1048576B", -(1 << 20), NULL},
    {MT_SETTING_RETENTION, "1024TiB", -(INT64_C(1) << 50), NULL},
    {MT_SETTING_RETENTION, "90", 0, "X: bad value '90': give a time from 1d to 1000y (s, m, h"},
    {MT_SETTING_RETENTION, "23h", 0, "a time from 1d"},
    {MT_SETTING_RETENTION, "1001y", 0, "to 1000y"},
    {MT_SETTING_RETENTION, "0d", 0, "bad value"},
    {MT_SETTING_RETENTION, "d", 0, "bad value"},
    {MT_SETTING_RETENTION, "-1d", 0, "bad value"},
    {MT_SETTING_RETENTION, "90D", 0, "bad value"},
    {MT_SETTING_RETENTION, "90 d", 0, "bad value"},
    {MT_SETTING_RETENTION, "90dd", 0, "bad value"},
    {MT_SETTING_RETENTION, "3month", 0, "bad value"},
    {MT_SETTING_RETENTION, "1023KiB", 0, "or a size from 1MiB to 1024TiB"},
    {MT_SETTING_RETENTION, "1025TiB", 0, "bad value"},
    {MT_SETTING_RETENTION, "2GB", 0, "or nothing to keep everything"},
    {MT_SETTING_RETENTION, "9223372036854775807y", 0, "bad value"},
    {MT_SETTING_RETENTION, "18446744073709551617d", 0, "bad value"},
};

static void test_values(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct mt_error error = {0};
        int64_t number = -42;
        bool good =
            mt_setting_check(rows[i].setting, "X", rows[i].value, MT_ERR_USAGE, &number, &error);

        if (good != (rows[i].error == NULL))
            fail_msg("'%s': %s", rows[i].value, error.text);
        if (good) {
            assert_int_equal(number, rows[i].number);
            assert_int_equal(error.code, MT_OK);
        } else {
            assert_int_equal(number, -42);
            assert_int_equal(error.code, MT_ERR_USAGE);
            if (strstr(error.text, rows[i].error) == NULL)
                fail_msg("'%s' is not in '%s'", rows[i].error, error.text);
        }
    }
    /* both out-parameters are optional */
    assert_true(mt_setting_check(MT_SETTING_THREADS, "X", "1", MT_ERR_USAGE, NULL, NULL));
    assert_false(mt_setting_check(MT_SETTING_THREADS, "X", "x", MT_ERR_USAGE, NULL, NULL));
}

static void test_a_host_of_255_bytes(void **state)
{
    char name[257];

    (void)state;
    memset(name, 'h', sizeof name);
    name[256] = '\0';
    assert_false(mt_setting_check(MT_SETTING_HOST, "X", name, MT_ERR_USAGE, NULL, NULL));
    name[255] = '\0';
    assert_true(mt_setting_check(MT_SETTING_HOST, "X", name, MT_ERR_USAGE, NULL, NULL));
}

/* every default obeys its own setting, and every row can be told from every other */
static void test_the_table(void **state)
{
    (void)state;
    for (enum mt_setting i = 0; i < MT_SETTING_COUNT; i++) {
        const struct mt_setting_info *info = mt_setting_info(i);
        const char *name;

        assert_true(info->name[0] != '\0' && info->option[0] != '\0' && info->help[0] != '\0');
        assert_true((info->programs & MT_ALL_PROGRAMS) != 0);
        if (info->fallback != NULL)
            assert_true(mt_setting_check(i, "X", info->fallback, MT_ERR_USAGE, NULL, NULL));
        for (enum mt_setting j = 0; j < i; j++) {
            assert_string_not_equal(info->name, mt_setting_info(j)->name);
            assert_string_not_equal(info->option, mt_setting_info(j)->option);
        }
        /* MEMORY_TRACKER_LOG_LEVEL's option is log-level, DOCDB_HOST's docdb-host */
        name = info->name;
        if ((info->flags & MT_SETTING_OWN_NAME) == 0) {
            assert_memory_equal(name, MT_SETTING_PREFIX, strlen(MT_SETTING_PREFIX));
            name += strlen(MT_SETTING_PREFIX);
        } else {
            assert_memory_equal(name, MT_SETTING_DOCDB_PREFIX, strlen(MT_SETTING_DOCDB_PREFIX));
        }
        assert_int_equal(strlen(name), strlen(info->option));
        for (size_t c = 0; name[c] != '\0'; c++)
            assert_int_equal(info->option[c], name[c] == '_' ? '-' : name[c] - 'A' + 'a');
    }
}

static void assert_mask(enum mt_setting setting, const char *value, const char *shown)
{
    char out[256];

    mt_setting_mask(setting, value, out, sizeof out);
    assert_string_equal(out, shown);
}

static void test_secrets_are_masked(void **state)
{
    char small[8];

    (void)state;
    assert_mask(MT_SETTING_STORE, "sqlite:/a/b@c?d.db", "sqlite:/a/b@c?d.db");
    assert_mask(MT_SETTING_STORE, "mongodb://h1,h2/db", "mongodb://h1,h2/db");
    assert_mask(MT_SETTING_STORE, "mongodb://user:pw@h1,h2/db", "mongodb://***@h1,h2/db");
    assert_mask(MT_SETTING_STORE, "mongodb://user@h", "mongodb://***@h");
    /* nobody percent-encoded these passwords */
    assert_mask(MT_SETTING_STORE, "mongodb://u:p@ss@h/db", "mongodb://***@h/db");
    assert_mask(MT_SETTING_STORE, "mongodb://u:p/w@h/db", "mongodb://***@h/db");
    assert_mask(MT_SETTING_STORE, "mongodb://u:p?w@h/db", "mongodb://***");
    assert_mask(MT_SETTING_STORE, "mongodb://u:p@h/db?password=p@w", "mongodb://***");
    assert_mask(MT_SETTING_STORE, "u:p?w@h", "***");
    assert_mask(MT_SETTING_STORE, "mongodb://u:p#w@h/db", "mongodb://***@h/db");
    assert_mask(MT_SETTING_STORE, "mongodb:/u:pw@h/db", "***@h/db");
    assert_mask(MT_SETTING_STORE, "u:pw@h://x", "***@h://x");
    assert_mask(MT_SETTING_STORE, "mongodb://h/db?tlsCertificateKeyFilePassword=pw",
                "mongodb://h/db?***");
    assert_mask(MT_SETTING_STORE, "mongodb://u:pw@h/db?a=b", "mongodb://***@h/db?***");
    assert_mask(MT_SETTING_HOST, "a://b:c@d", "a://b:c@d");
    assert_mask(MT_SETTING_STORE, "", "");
    assert_mask(MT_SETTING_STORE_TOKEN, "pw@x?y", "***");
    assert_mask(MT_SETTING_STORE_TOKEN, "", "");
    assert_mask(MT_SETTING_DOCDB_SECRET, "p@w?x", "***");
    assert_mask(MT_SETTING_DOCDB_HOST, "a,b:1,::1", "a,b:1,::1");
    assert_mask(MT_SETTING_DOCDB_HOST, "mongodb://u:pw@h/?x", "mongodb://***@h/?***");
    assert_mask(MT_SETTING_DOCDB_HOST, "u:pw@h", "***@h");
    assert_mask(MT_SETTING_DOCDB_USER, "me", "me");
    assert_mask(MT_SETTING_DOCDB_OPTIONS, "/test?a=p?w", "/test?***");
    assert_mask(MT_SETTING_DOCDB_OPTIONS, "/test", "***");
    assert_mask(MT_SETTING_DOCDB_OPTIONS, "?a=pw", "***");
    assert_mask(MT_SETTING_DOCDB_OPTIONS, "a=pw", "***");
    mt_setting_mask(MT_SETTING_STORE, "mongodb://user:pw@host", small, sizeof small);
    assert_string_equal(small, "mongodb");
}

static void test_addresses_that_are(void **state)
{
    static const struct {
        const char *text;
        struct mt_address address;
    } good[] = {
        {"127.0.0.1:8000", {.host = "127.0.0.1", .port = 8000}},
        {"0.0.0.0:0", {.host = "0.0.0.0", .port = 0}},
        {"[::]:65535", {.host = "::", .port = 65535}},
        {"[2001:db8::1]:80", {.host = "2001:db8::1", .port = 80}},
        {"[::ffff:1.2.3.4]:80", {.host = "::ffff:1.2.3.4", .port = 80}},
        {"unix:/run/a.sock", {.is_unix = true, .host = "/run/a.sock"}},
        {"unix:a", {.is_unix = true, .host = "a"}},
        {"unix:127.0.0.1:80", {.is_unix = true, .host = "127.0.0.1:80"}},
    };

    (void)state;
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        struct mt_address address;

        memset(&address, 0xFF, sizeof address);
        if (!mt_address_parse(good[i].text, strlen(good[i].text), &address))
            fail_msg("%s", good[i].text);
        assert_int_equal(address.is_unix, good[i].address.is_unix);
        assert_string_equal(address.host, good[i].address.host);
        assert_int_equal(address.port, good[i].address.port);
    }
}

static void test_addresses_that_are_not(void **state)
{
    static const char *const bad[] = {
        "",
        ":",
        "8000",
        ":8000",
        "127.0.0.1",
        "127.0.0.1:",
        "127.0.0.1:65536",
        "127.0.0.1:-1",
        "127.0.0.1:+1",
        "127.0.0.1: 80",
        "127.0.0.1:8000 ",
        " 127.0.0.1:80",
        "127.1:80",
        "256.0.0.1:80",
        "localhost:80",
        "*:80",
        "::1:80",
        "[::1]",
        "[::1]80",
        "[]:80",
        "[127.0.0.1]:80",
        "[::1:80",
        "::1]:80",
        "[fe80::1%lo]:80",
        "unix:",
        "unix:a\nb",
        "UNIX:/a",
        "127.0.0.1:80:80",
    };
    char path[5 + 108 + 1] = "unix:";
    char endless[600];

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct mt_address address = {.port = 42};
        if (mt_address_parse(bad[i], strlen(bad[i]), &address))
            fail_msg("'%s' was taken", bad[i]);
        assert_int_equal(address.port, 42);
    }
    struct mt_address address;
    memset(path + 5, 'p', 108);
    assert_true(mt_address_parse(path, 5 + 107, &address));
    assert_false(mt_address_parse(path, 5 + 108, &address));
    memset(endless, '1', sizeof endless);
    assert_false(mt_address_parse(endless, sizeof endless, &address));
    memcpy(endless + sizeof endless - 3, ":80", 3);
    assert_false(mt_address_parse(endless, sizeof endless, &address));
    assert_false(mt_address_parse("unix:a\0b", 8, &address));
}

static void test_an_address_reads_only_its_length(void **state)
{
    struct mt_address address;

    (void)state;
    assert_true(mt_address_parse("127.0.0.1:8000,junk", 13, &address));
    assert_int_equal(address.port, 800);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_values),
        cmocka_unit_test(test_a_host_of_255_bytes),
        cmocka_unit_test(test_the_table),
        cmocka_unit_test(test_secrets_are_masked),
        cmocka_unit_test(test_addresses_that_are),
        cmocka_unit_test(test_addresses_that_are_not),
        cmocka_unit_test(test_an_address_reads_only_its_length),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
