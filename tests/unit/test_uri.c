#include "unit.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "captured.h"
#include "store/uri.h"
#include "store/uri_check.h"

/* In every place of a URI or a setting that may hold a secret; it shows in nothing that we say. */
#define SECRET "hUnter2"

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
    {"mongodb://u:p%@h/d?collection=%&x=y", "mongodb://***@h/d?***"},
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

static const char *const good[] = {
    "mongodb://h",
    "mongodb://h/",
    "mongodb://h1,h2:27018,[::1]:1,[fe80::1],%2Ftmp%2Fmongodb.sock/db",
    "mongodb://u:p%40%3A%2F%3f@h/db?authSource=admin",
    "mongodb://u:p@h/?authSource=%24external&authMechanism=PLAIN&tls=true",
    "mongodb://u:p@localhost/?authMechanism=PLAIN",
    "mongodb://CN%3Dme@h/?authMechanism=MONGODB-X509&tlsCertificateKeyFile=/a.pem",
    "mongodb://h/?ssl=true&replicaSet=rs0&readPreference=secondaryPreferred&RETRYWRITES=false",
    "mongodb://h/?readPreference=nearest&readPreferenceTags=dc:ny,rack:1&readPreferenceTags=",
    "mongodb://h/?readPreference=secondary&maxStalenessSeconds=90",
    "mongodb://h/?w=majority&journal=true&wTimeoutMS=30000",
    "mongodb://h/?w=3&compressors=zstd,snappy",
    "mongodb://h/?w=myTag&",
    "mongodb://h/d%C3%A9?collection=a.b&maxData=16000000",
    "mongodb://h/?tlsInsecure=false",
    "mongodb+srv://u:p@cluster0.example.org/?retryWrites=true&w=majority&appName=Cluster0",
    "mongodb+srv://cluster0.example.org/?srvMaxHosts=2&srvServiceName=mongo-x",
    "http://h",
    "http://127.0.0.9:8000/a/b?",
    "http://token@localhost",
    "http://to%2Fken@[::1]:80/",
    "http://token@a.localhost",
    "https://token%3D@h:8443/p?tlsCAFile=/a%20b.pem&tlsCertificateKeyFile=/c",
};

static const struct {
    const char *uri;
    const char *error; /* part of the text */
} bad[] = {
    {"mongodb://", "host 1 is missing"},
    {"mongodb://h,", "host 2 is missing"},
    {"mongodb://,h", "host 1 is missing"},
    {"mongodb://h h", "percent-encode"},
    {"mongodb://h\xC3\xA9", "percent-encode"},
    {"mongodb://h/%zz", "a % itself is written %25"},
    {"mongodb://h/%00", "%00"},
    {"mongodb://h/#x", "%23"},
    {"mongodb://h:0", "host 1: what follows its : is no port"},
    {"mongodb://h,h:65536", "host 2"},
    {"mongodb://h:", "port"},
    {"mongodb://h:00080", "port"},
    {"mongodb://h:+80", "port"},
    {"mongodb://::1", "an IPv6 address stands in brackets"},
    {"mongodb://[::1", "host 1: a [ without"},
    {"mongodb://[]", "host 1: a [ without"},
    {"mongodb://[::g]", "no IPv6 address"},
    {"mongodb://[::1]x", "a : or nothing follows the ]"},
    {"mongodb://[::1]:x", "port"},
    {"mongodb://h!", "a name consists of"},
    {"mongodb://%2Ftmp%2Fx", "socket"},
    {"mongodb://tmp%2Fx.sock", "socket"},
    {"https://%2Ftmp%2Fx.sock", "socket"},
    {"mongodb://h/a.b", "no name of a database: at most 63 bytes"},
    {"mongodb://h/a/b", "no name of a database"},
    {"mongodb://h/a%20b", "no name of a database"},
    {"mongodb://h/%FF", "no name of a database"},
    {"mongodb://h/1234567890123456789012345678901234567890123456789012345678901234",
     "no name of a database"},
    {"mongodb://h/?collection=system.x", "option collection: bad value 'system.x': give the name"},
    {"mongodb://h/?collection=a%24b", "option collection"},
    {"mongodb://h/?collection=a..b", "option collection"},
    {"mongodb://h/?collection=", "option collection"},
    {"mongodb://h/12345678901234567890?collection="
     "123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890",
     "more than 109 bytes together"},
    {"mongodb://h/?maxData=16000001", "give a whole number from 16384 to 16000000"},
    {"mongodb://@h", "nothing stands before the @"},
    {"mongodb://:" SECRET "@h", "nothing stands before the :"},
    {"mongodb://u@h", "a user without a password"},
    {"mongodb://u:@h", "a user without a password"},
    {"mongodb://u:a:" SECRET "@h", "a special character in the user or the password"},
    {"mongodb://u:" SECRET "@x@h", "a special character"},
    {"mongodb://u:" SECRET "/x@h", "an @ after the hosts"},
    {"mongodb://u:" SECRET "?x@h", "an @ after the hosts"},
    {"mongodb://u:x?" SECRET "=1@h", "an @ after the hosts"},
    {"mongodb://u:x#" SECRET "@h", "a # is written %23"},
    {"mongodb://u:%2" SECRET "@h", "a % without two hexadecimal digits"},
    {"mongodb://u:%FF" SECRET "@h", "the password is not UTF-8"},
    {"mongodb://%FF:" SECRET "@h", "the user is not UTF-8"},
    {"mongodb://u:" SECRET, "no port"},
    {"mongodb://u:" SECRET "@h/?authMechanism=MONGODB-X509", "takes none"},
    {"mongodb://h/?authMechanism=SCRAM-SHA-256", "takes a user"},
    {"mongodb://h/?authMechanism=MONGODB-CR", "give SCRAM-SHA-1|"},
    {"mongodb://u:p@h/?authMechanism=GSSAPI&authSource=admin", "it is %24external"},
    {"mongodb://u:" SECRET "@h/?authMechanism=PLAIN", "without TLS to another machine"},
    {"mongodb://u:" SECRET "@h/?authMechanism=PLAIN&ssl=false", "without TLS"},
    {"mongodb://u:" SECRET "@localhost,h/?authMechanism=PLAIN", "without TLS"},
    {"mongodb://h/?authMechanismProperties=AWS_SESSION_TOKEN:" SECRET, "give authMechanism"},
    {"mongodb://h/?replicaset2=x", "unknown option 'replicaset2'; did you mean replicaSet?"},
    {"mongodb://h/?colour=x", "unknown option 'colour'; memory-tracker.conf(5) has the list"},
    {"mongodb://h/?=x", "unknown option ''"},
    {"mongodb://h/?w", "an option without a value"},
    {"mongodb://h/?w=1&W=1", "option w is given twice; keep one"},
    {"mongodb://h/?w=0", "would not acknowledge"},
    {"mongodb://h/?w=-1", "a number from 1 to 50"},
    {"mongodb://h/?w=majorty", "majority"},
    {"mongodb://h/?w=", "majority"},
    {"mongodb://h/?journal=yes", "option journal: bad value 'yes': give true or false"},
    {"mongodb://h/?connectTimeoutMS=0", "give a whole number from 1 to 30000"},
    {"mongodb://h/?connectTimeoutMS=1s", "bad value '1s'"},
    {"mongodb://h/?readPreference=Secondary", "give primary|primaryPreferred|"},
    {"mongodb://h/?compressors=zstd,", "several divided by commas"},
    {"mongodb://h/?readPreference=nearest&readPreferenceTags=dc", "NAME:VALUE"},
    {"mongodb://h/?readPreference=nearest&readPreferenceTags=dc:a,", "NAME:VALUE"},
    {"mongodb://h/?readPreferenceTags=dc:a", "give readPreference, too"},
    {"mongodb://h/?readPreference=primary&maxStalenessSeconds=90", "give readPreference"},
    {"mongodb://h/?readPreference=nearest&maxStalenessSeconds=89", "give 90 or more"},
    {"mongodb://h/?appName=", "a text of 1 to 128 bytes"},
    {"mongodb://h/?appName=%FF", "bad value '***': give a text"},
    {"mongodb://h/?timeoutMS=5", "option timeoutMS: the driver ignores it"},
    {"mongodb://h/?SLAVEOK=true", "option slaveOk: it is old"},
    {"mongodb://h/?tls=true&ssl=true", "options tls and ssl exclude each other"},
    {"mongodb://h/?tls=false&tlsCAFile=/a", "option tlsCAFile, but TLS is switched off"},
    {"mongodb://h/?tlsInsecure=true", "MEMORY_TRACKER_ALLOW_INSECURE_TLS=yes"},
    {"mongodb://h/?tlsAllowInvalidHostnames=true", "ALLOW_INSECURE_TLS"},
    {"mongodb://h/?sslAllowInvalidCertificates=true", "ALLOW_INSECURE_TLS"},
    {"https://h/?tlsAllowInvalidCertificates=true", "ALLOW_INSECURE_TLS"},
    {"mongodb://a,b/?directConnection=true", "option directConnection: it takes one host"},
    {"mongodb://a,b/?loadBalanced=true", "option loadBalanced: it takes one host"},
    {"mongodb://h/?srvMaxHosts=1", "only mongodb+srv:// has it"},
    {"mongodb+srv://a.b.c/?srvServiceName=a--b", "single hyphens"},
    {"mongodb+srv://a.b.c/?srvMaxHosts=1&replicaSet=r", "exclude each other"},
    {"mongodb+srv://a.b", "a name of three parts or more"},
    {"mongodb+srv://a.b.c:1", "takes no port"},
    {"mongodb+srv://a.b.c,d.e.f", "several hosts"},
    {"mongodb://h/?tlsCertificateKeyFilePassword=a&" SECRET "=b",
     "what follows tlsCertificateKeyFilePassword is no option; an & in its value is written %26"},
    {"mongodb://h/?tlsCertificateKeyFilePassword=a&w=x&" SECRET, "what follows"},
    {"mongodb://h/?tlsCertificateKeyFilePassword=" SECRET "%FF", "bad value '***'"},
    {"mongodb://h/?tlsCertificateKeyFilePassword=a&journal=" SECRET, "bad value '***'"},
    {"http://a,b", "several hosts"},
    {"http://h/?tlsCAFile=/a", "option tlsCAFile: only a mongodb:// or https:// URI has it"},
    {"https://h/?w=1", "option w: only a mongodb:// URI has it"},
    {"https://h/?tlsCaFiles=1", "did you mean tlsCAFile?"},
    {"https://u:" SECRET "@h", "a token stands alone"},
    {"https://" SECRET "%0A@h", "visible ASCII"},
    {"https://" SECRET "%C3%A9@h", "visible ASCII"},
    {"http://" SECRET "@h", "a token over http:// to another machine"},
    {"http://" SECRET "@localhost.example.org", "a token over http://"},
    {"http://" SECRET "@[::2]", "a token over http://"},
    {"https://h/\"", "special character"},
    {"gopher://h", "an unknown scheme"},
    {"mongodb:h", "://"},
};

static void test_uris_that_are_right(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        struct mt_error error = {0};

        if (mt_uri_check(good[i], false, MT_ERR_CONFIG, &error) != MT_OK)
            fail_msg("%s: %s", good[i], error.text);
        assert_int_equal(error.code, MT_OK);
    }
}

static void test_uris_that_are_wrong(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct mt_error error = {0};

        if (mt_uri_check(bad[i].uri, false, MT_ERR_USAGE, &error) != MT_ERR_USAGE)
            fail_msg("%s is taken: %s", bad[i].uri, error.text);
        if (strstr(error.text, bad[i].error) == NULL)
            fail_msg("%s: '%s' is not in '%s'", bad[i].uri, bad[i].error, error.text);
        if (strstr(error.text, SECRET) != NULL)
            fail_msg("%s: '%s'", bad[i].uri, error.text);
    }
}

static void test_what_insecure_settings_allow(void **state)
{
    static const char *const uris[] = {
        "mongodb://h/?tlsInsecure=true",
        "mongodb://h/?tlsAllowInvalidCertificates=true&tlsAllowInvalidHostnames=true",
        "mongodb://u:p@h/?authMechanism=PLAIN",
        "https://h/?tlsAllowInvalidCertificates=true",
        "http://token@h",
    };

    (void)state;
    for (size_t i = 0; i < sizeof uris / sizeof uris[0]; i++) {
        assert_int_equal(mt_uri_check(uris[i], true, MT_ERR_CONFIG, NULL), MT_OK);
        assert_int_equal(mt_uri_check(uris[i], false, MT_ERR_CONFIG, NULL), MT_ERR_CONFIG);
    }
}

/* what mt_store_uri makes of a configuration file; freed by the caller, NULL: *error tells */
static char *uri_of(const char *text, struct mt_error *error)
{
    struct mt_config *config = mt_config_new();
    char *uri = NULL;

    assert_non_null(config);
    assert_int_equal(mt_config_load_text(config, "a.conf", text, strlen(text), NULL), MT_OK);
    if (mt_store_uri(config, &uri, error) != MT_OK)
        assert_null(uri);
    mt_config_free(config);
    return uri;
}

static const struct {
    const char *settings;
    const char *uri;
} made[] = {
    {"", "sqlite:/var/lib/memory-tracker/memory.db"},
    {"MEMORY_TRACKER_STORE=sqlite:a?b@c\n", "sqlite:a?b@c"},
    {"MEMORY_TRACKER_STORE=sqlite:a\nMEMORY_TRACKER_STORE_TOKEN=t\n", "sqlite:a"},
    {"MEMORY_TRACKER_STORE=mongodb://h\nMEMORY_TRACKER_STORE_TOKEN=t\n", "mongodb://h"},
    {"MEMORY_TRACKER_STORE=https://h/p?tlsCAFile=/x\nMEMORY_TRACKER_STORE_TOKEN=a/b=@\n",
     "https://a%2Fb%3D%40@h/p?tlsCAFile=/x"},
    {"DOCDB_HOST=h\n", "mongodb://h:27017/memory_tracker?retryWrites=false"},
    {"DOCDB_HOST=a,b:1,::1,[::2],[::3]:4\nDOCDB_PORT=5\n",
     "mongodb://a:5,b:1,[::1]:5,[::2]:5,[::3]:4/memory_tracker?retryWrites=false"},
    {"DOCDB_HOST=h\nDOCDB_USER=m@e\nDOCDB_SECRET=p@:/?#%&=w\n",
     "mongodb://m%40e:p%40%3A%2F%3F%23%25%26%3Dw@h:27017/memory_tracker?authSource=admin&"
     "retryWrites=false"},
    {"DOCDB_HOST=h\nDOCDB_USER=u\nDOCDB_SECRET=p\n"
     "DOCDB_OPTIONS=/test?ssl=true&replicaSet=rs0&readPreference=secondaryPreferred\n",
     "mongodb://u:p@h:27017/memory_tracker?authSource=test&ssl=true&replicaSet=rs0&"
     "readPreference=secondaryPreferred&retryWrites=false"},
    {"DOCDB_HOST=h\nDOCDB_USER=u\nDOCDB_SECRET=p\n"
     "DOCDB_OPTIONS=/test?authsource=other&RetryWrites=true\n",
     "mongodb://u:p@h:27017/memory_tracker?authsource=other&RetryWrites=true"},
    {"DOCDB_HOST=h\nDOCDB_USER=u\n"
     "DOCDB_OPTIONS=authMechanism=MONGODB-X509&tlsCertificateKeyFile=/a\n",
     "mongodb://u@h:27017/memory_tracker?authMechanism=MONGODB-X509&tlsCertificateKeyFile=/a&"
     "retryWrites=false"},
    /* nobody logs in, so nobody has to be looked for */
    {"DOCDB_HOST=h\nDOCDB_OPTIONS=/test\n", "mongodb://h:27017/memory_tracker?retryWrites=false"},
    {"DOCDB_HOST=h\nDOCDB_OPTIONS=?w=1\n",
     "mongodb://h:27017/memory_tracker?w=1&retryWrites=false"},
    {"DOCDB_HOST=h\nDOCDB_OPTIONS=\nDOCDB_USER=\nDOCDB_SECRET=\n",
     "mongodb://h:27017/memory_tracker?retryWrites=false"},
    {"DOCDB_HOST=h\nDOCDB_DATABASE_NAME=d\xC3\xA9\nDOCDB_COLLECTION=c\nDOCDB_MAX_DATA=1MiB\n"
     "DOCDB_OPTIONS=retryWrites=true\n",
     "mongodb://h:27017/d%C3%A9?retryWrites=true&collection=c&maxData=1048576"},
    {"DOCDB_HOST=h\nMEMORY_TRACKER_STORE=sqlite:a\n", "sqlite:a"},
};

static void test_settings_make_the_uri(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof made / sizeof made[0]; i++) {
        struct mt_error error = {0};
        char *uri = uri_of(made[i].settings, &error);

        if (uri == NULL)
            fail_msg("%s: %s", made[i].settings, error.text);
        assert_string_equal(uri, made[i].uri);
        free(uri);
    }
}

static const struct {
    const char *settings;
    const char *error;
} refused[] = {
    {"MEMORY_TRACKER_STORE=mongodb://u:" SECRET "@h/?w=0\n",
     "a.conf:1: MEMORY_TRACKER_STORE: option w: bad value '0'"},
    {"MEMORY_TRACKER_STORE=https://" SECRET "@h\nMEMORY_TRACKER_STORE_TOKEN=" SECRET "\n",
     "both STORE_TOKEN (a.conf:2: MEMORY_TRACKER_STORE_TOKEN) and STORE (a.conf:1: "
     "MEMORY_TRACKER_STORE) hold a token; keep one"},
    {"MEMORY_TRACKER_STORE=http://h\nMEMORY_TRACKER_STORE_TOKEN=" SECRET "\n",
     "MEMORY_TRACKER_STORE: a token over http://"},
    {"DOCDB_HOST=h\nDOCDB_SECRET=" SECRET "\n",
     "a.conf:2: DOCDB_SECRET: a password without a user; set DOCDB_USER, too"},
    {"DOCDB_HOST=h\nDOCDB_USER=" SECRET "\n",
     "the store of the DOCDB_ settings: a user without a password"},
    {"DOCDB_HOST=h\nDOCDB_USER=u\nDOCDB_SECRET=" SECRET "\xFF\n", "the password is not UTF-8"},
    {"DOCDB_HOST=h\nDOCDB_DATABASE_NAME=a.b\n", "no name of a database"},
    {"DOCDB_HOST=h\nDOCDB_COLLECTION=system.a\n", "option collection"},
    {"DOCDB_HOST=h\nDOCDB_OPTIONS=collection=a\nDOCDB_COLLECTION=b\n", "given twice"},
    {"DOCDB_HOST=h\nDOCDB_OPTIONS=tlsCertificateKeyFilePassword=" SECRET "@x\n", "an @"},
    {"DOCDB_HOST=h\nDOCDB_USER=u\nDOCDB_SECRET=p\nDOCDB_OPTIONS=/a@" SECRET "\n", "an @"},
    {"DOCDB_HOST=h\nDOCDB_OPTIONS=tlsInsecure=true\n", "ALLOW_INSECURE_TLS"},
    {"DOCDB_HOST=a,,b\n", "host 2 is missing"},
};

static void test_settings_that_make_none(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof refused / sizeof refused[0]; i++) {
        struct mt_error error = {0};

        assert_null(uri_of(refused[i].settings, &error));
        assert_int_equal(error.code, MT_ERR_CONFIG);
        if (strstr(error.text, refused[i].error) == NULL)
            fail_msg("%s: '%s' is not in '%s'", refused[i].settings, refused[i].error, error.text);
        assert_null(strstr(error.text, SECRET));
    }
}

static void test_a_mistake_of_the_command_line_is_one_of_usage(void **state)
{
    struct mt_config *config = mt_config_new();
    char *uri = NULL;

    (void)state;
    assert_int_equal(mt_config_set(config, MT_SETTING_DOCDB_HOST, "h!", false, MT_ORIGIN_OPTION,
                                   "--docdb-host", NULL),
                     MT_OK);
    assert_int_equal(mt_store_uri(config, &uri, NULL), MT_ERR_USAGE);
    assert_int_equal(mt_config_set(config, MT_SETTING_STORE, "mongodb://h/?w=0", false,
                                   MT_ORIGIN_FILE, "f", NULL),
                     MT_OK);
    assert_int_equal(mt_store_uri(config, &uri, NULL), MT_ERR_CONFIG);
    assert_int_equal(mt_config_set(config, MT_SETTING_STORE, "mongodb://h/?w=0", false,
                                   MT_ORIGIN_OPTION, "--store", NULL),
                     MT_OK);
    assert_int_equal(mt_store_uri(config, &uri, NULL), MT_ERR_USAGE);
    assert_null(uri);
    mt_config_free(config);
}

static void assert_logs(const char *settings, const char *expected)
{
    struct captured log = captured_begin(STDERR_FILENO);
    char *uri = uri_of(settings, NULL);
    char *text = captured_end(log);

    assert_non_null(uri);
    if (expected == NULL)
        assert_string_equal(text, "");
    else if (strstr(text, expected) == NULL)
        fail_msg("%s: '%s' is not in '%s'", settings, expected, text);
    assert_null(strstr(text, SECRET));
    free(uri);
    free(text);
}

static void test_a_setting_without_effect_is_told(void **state)
{
    (void)state;
    assert_logs("DOCDB_HOST=h\nDOCDB_USER=u\nDOCDB_SECRET=" SECRET "\n", NULL);
    assert_logs("DOCDB_HOST=h\nMEMORY_TRACKER_STORE=sqlite:a\n",
                "warning memory-tracker: both STORE (a.conf:2: MEMORY_TRACKER_STORE) and "
                "DOCDB_HOST (a.conf:1: DOCDB_HOST) are given: STORE wins\n");
    assert_logs("DOCDB_PORT=1\nDOCDB_SECRET=" SECRET "\n",
                "warning memory-tracker: a.conf:1: DOCDB_PORT has no effect, since DOCDB_HOST is "
                "not given\n");
    assert_logs("DOCDB_OPTIONS=\n", NULL);
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
        cmocka_unit_test(test_uris_that_are_right),
        cmocka_unit_test(test_uris_that_are_wrong),
        cmocka_unit_test(test_what_insecure_settings_allow),
        cmocka_unit_test(test_settings_make_the_uri),
        cmocka_unit_test(test_settings_that_make_none),
        cmocka_unit_test(test_a_setting_without_effect_is_told),
        cmocka_unit_test(test_a_mistake_of_the_command_line_is_one_of_usage),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
