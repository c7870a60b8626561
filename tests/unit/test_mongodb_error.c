/* What the driver and the server say, as one of our errors; never a credential. */
#include <stdio.h>
#include <string.h>

#include "store/mongodb/stream.h"
#include "unit.h"

static char store_name[] = "mongodb://h/d";

static struct mt_error said(const struct mongodb_store *store, uint32_t domain, uint32_t code,
                            const char *message, const bson_t *reply)
{
    bson_error_t failure = {.domain = domain, .code = code};
    struct mt_error error = {0};
    enum mt_err err;

    (void)snprintf(failure.message, sizeof failure.message, "%s", message);
    err = mongodb_fail(store, "read", &failure, reply, &error);
    assert_int_equal(err, error.code);
    assert_int_equal(mongodb_fail(store, "read", &failure, reply, NULL), err);
    return error;
}

static void each_failure_has_its_code(void **state)
{
    static const struct {
        uint32_t domain;
        uint32_t code;
        enum mt_err err;
    } cases[] = {
        {MONGOC_ERROR_SERVER, 13, MT_ERR_PERMISSION},
        {MONGOC_ERROR_SERVER, 18, MT_ERR_PERMISSION},
        {MONGOC_ERROR_CLIENT, MONGOC_ERROR_CLIENT_AUTHENTICATE, MT_ERR_PERMISSION},
        {MONGOC_ERROR_SCRAM, MONGOC_ERROR_SCRAM_PROTOCOL_ERROR, MT_ERR_PERMISSION},
        {MONGOC_ERROR_SERVER, 10107, MT_ERR_UNAVAILABLE},
        {MONGOC_ERROR_SERVER, 13435, MT_ERR_UNAVAILABLE},
        {MONGOC_ERROR_SERVER, 11602, MT_ERR_UNAVAILABLE},
        {MONGOC_ERROR_SERVER, 91, MT_ERR_UNAVAILABLE},
        {MONGOC_ERROR_SERVER, 189, MT_ERR_UNAVAILABLE},
        {MONGOC_ERROR_SERVER, 112, MT_ERR_BUSY},
        {MONGOC_ERROR_SERVER, 50, MT_ERR_DEADLINE},
        {MONGOC_ERROR_SERVER, 14031, MT_ERR_FULL},
        {MONGOC_ERROR_SERVER, 121, MT_ERR_REJECTED},
        {MONGOC_ERROR_SERVER, 10334, MT_ERR_REJECTED},
        {MONGOC_ERROR_SERVER, 79, MT_ERR_CONFIG},
        {MONGOC_ERROR_SERVER, 59, MT_ERR_FAILED},
        {MONGOC_ERROR_SERVER, 123456, MT_ERR_FAILED},
        {MONGOC_ERROR_WRITE_CONCERN, 64, MT_ERR_UNAVAILABLE},
        {MONGOC_ERROR_WRITE_CONCERN, 79, MT_ERR_CONFIG},
        {MONGOC_ERROR_STREAM, MONGOC_ERROR_STREAM_SOCKET, MT_ERR_UNAVAILABLE},
        {MONGOC_ERROR_STREAM, MONGOC_ERROR_STREAM_NAME_RESOLUTION, MT_ERR_UNAVAILABLE},
        /* how the driver's search for servers tells of a connection */
        {MONGOC_ERROR_CLIENT, MONGOC_ERROR_STREAM_CONNECT, MT_ERR_UNAVAILABLE},
        {MONGOC_ERROR_SERVER_SELECTION, MONGOC_ERROR_SERVER_SELECTION_FAILURE, MT_ERR_UNAVAILABLE},
        {MONGOC_ERROR_PROTOCOL, MONGOC_ERROR_PROTOCOL_INVALID_REPLY, MT_ERR_UNAVAILABLE},
        {MONGOC_ERROR_PROTOCOL, MONGOC_ERROR_PROTOCOL_BAD_WIRE_VERSION, MT_ERR_FAILED},
        {MONGOC_ERROR_BSON, MONGOC_ERROR_BSON_INVALID, MT_ERR_UNAVAILABLE},
        {MONGOC_ERROR_COMMAND, MONGOC_ERROR_COMMAND_INVALID_ARG, MT_ERR_FAILED},
    };
    const struct mongodb_store store = {.name = store_name};

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct mt_error error = said(&store, cases[i].domain, cases[i].code, "it said so", NULL);

        if (error.code != cases[i].err)
            fail_msg("domain %u, code %u: %s: %s", cases[i].domain, cases[i].code,
                     mt_err_name(error.code), error.text);
        assert_non_null(strstr(error.text, "store mongodb://h/d: read: "));
        assert_non_null(strstr(error.text, ": it said so"));
    }
}

static void a_login_that_is_cut_off_tells_nothing_of_the_password(void **state)
{
    const struct mongodb_store store = {.name = store_name};
    struct mt_error error = said(&store, MONGOC_ERROR_CLIENT, MONGOC_ERROR_CLIENT_AUTHENTICATE,
                                 "Failed to send \"saslContinue\" command with database \"d\": "
                                 "Failure during socket delivery: Connection timed out (110)",
                                 NULL);

    (void)state;
    assert_int_equal(error.code, MT_ERR_UNAVAILABLE);
    assert_non_null(strstr(error.text, "read: the connection failed: Failed to send"));
}

static void what_passes_by_itself_is_unavailable(void **state)
{
    const struct mongodb_store store = {.name = store_name};
    bson_t *reply = BCON_NEW("errorLabels", "[", "RetryableWriteError", "]");

    (void)state;
    assert_int_equal(said(&store, MONGOC_ERROR_SERVER, 123456, "x", reply).code,
                     MT_ERR_UNAVAILABLE);
    bson_destroy(reply);
}

static void a_failed_search_tells_what_each_server_said(void **state)
{
    const struct mongodb_store store = {.name = store_name};
    struct mt_error error =
        said(&store, MONGOC_ERROR_SERVER_SELECTION, MONGOC_ERROR_SERVER_SELECTION_FAILURE,
             "No suitable servers found (`serverSelectionTryOnce` set): [refused on 'a:1']", NULL);

    (void)state;
    assert_string_equal(error.text, "store mongodb://h/d: read: no server can be reached: "
                                    "[refused on 'a:1']");
}

static void tls_failures_tell_what_to_check(void **state)
{
    const struct mongodb_store store = {.name = store_name};
    struct mt_error error = said(
        &store, MONGOC_ERROR_SERVER_SELECTION, MONGOC_ERROR_SERVER_SELECTION_FAILURE,
        "No: [TLS handshake failed: certificate verify failed (64): IP address mismatch]", NULL);

    (void)state;
    assert_int_equal(error.code, MT_ERR_UNAVAILABLE);
    assert_non_null(strstr(error.text, "check tlsCAFile"));
    error = said(&store, MONGOC_ERROR_SERVER_SELECTION, MONGOC_ERROR_SERVER_SELECTION_FAILURE,
                 "No: [" MONGODB_BAD_PEM " (tlsCAFile 'ca.pem', tlsCertificateKeyFile '')]", NULL);
    assert_int_equal(error.code, MT_ERR_CONFIG);
    assert_non_null(strstr(error.text, "'ca.pem'"));
}

static void no_text_holds_a_credential(void **state)
{
    mongoc_uri_t *uri = mongoc_uri_new("mongodb://user:open%20sesame@h/d");
    mongoc_client_t *client;
    struct mongodb_store store = {.name = store_name};
    static const char *const texts[] = {
        "wrong password 'open sesame' for user",
        "cannot parse mongodb://user:open%20sesame@h/d",
        "cannot parse mongodb+srv://x:y@h/d",
    };

    (void)state;
    assert_non_null(uri);
    client = mongoc_client_new_from_uri(uri);
    assert_non_null(client);
    store.client = client;
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        struct mt_error error = said(&store, MONGOC_ERROR_SERVER, 18, texts[i], NULL);

        assert_null(strstr(error.text, "sesame"));
        assert_null(strstr(error.text, "x:y"));
        assert_non_null(strstr(error.text, "code 18"));
    }
    mongoc_client_destroy(client);
    mongoc_uri_destroy(uri);
}

static void a_message_is_one_line(void **state)
{
    const struct mongodb_store store = {.name = store_name};
    struct mt_error error = said(&store, MONGOC_ERROR_SERVER, 1, "a\nb\tc\x7f", NULL);

    (void)state;
    assert_non_null(strstr(error.text, "a b c "));
    assert_null(strchr(error.text, '\n'));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_failure_has_its_code),
        cmocka_unit_test(a_login_that_is_cut_off_tells_nothing_of_the_password),
        cmocka_unit_test(what_passes_by_itself_is_unavailable),
        cmocka_unit_test(a_failed_search_tells_what_each_server_said),
        cmocka_unit_test(tls_failures_tell_what_to_check),
        cmocka_unit_test(no_text_holds_a_credential),
        cmocka_unit_test(a_message_is_one_line),
    };
    int failed;

    mongoc_init();
    failed = cmocka_run_group_tests(tests, NULL, NULL);
    mongoc_cleanup();
    return failed;
}
