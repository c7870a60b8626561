#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "store/mongodb/stream.h"

struct row {
    uint32_t code; /* 0: every other one of the domain */
    enum mt_err err;
    const char *text; /* what is wrong, and what to do */
};

/* what the server says: its own codes */
static const struct row server_rows[] = {
    {11, MT_ERR_PERMISSION, "the server does not know the user; check user and authSource"},
    {13, MT_ERR_PERMISSION,
     "the user may not do this; give it the role readWrite (or read) on the database"},
    {18, MT_ERR_PERMISSION, "user or password is wrong; check them and authSource"},
    {8000, MT_ERR_PERMISSION, "user or password is wrong; check them and authSource"},
    {31, MT_ERR_PERMISSION, "the user lacks a role; give it readWrite on the database"},
    {334, MT_ERR_PERMISSION, "the server does not offer this way to authenticate"},

    {6, MT_ERR_UNAVAILABLE, "a member of the cluster cannot be reached"},
    {7, MT_ERR_UNAVAILABLE, "a member of the cluster cannot be found"},
    {43, MT_ERR_UNAVAILABLE, "the server gave up the answer midway; try again"},
    {89, MT_ERR_UNAVAILABLE, "the network was too slow within the cluster"},
    {91, MT_ERR_UNAVAILABLE, "the server is shutting down"},
    {100, MT_ERR_UNAVAILABLE, "fewer servers are there than `w` asks for"},
    {133, MT_ERR_UNAVAILABLE, "no member of the cluster fits the read preference"},
    {175, MT_ERR_UNAVAILABLE, "the server gave up the query; try again"},
    {189, MT_ERR_UNAVAILABLE, "the primary stepped down"},
    {237, MT_ERR_UNAVAILABLE, "the server gave up the answer midway; try again"},
    {262, MT_ERR_UNAVAILABLE, "the server was too slow"},
    {9001, MT_ERR_UNAVAILABLE, "the server lost a connection"},
    {10058, MT_ERR_UNAVAILABLE, "the server is not the primary at the moment"},
    {10107, MT_ERR_UNAVAILABLE, "the server is not the primary at the moment"},
    {11600, MT_ERR_UNAVAILABLE, "the server is shutting down"},
    {11601, MT_ERR_UNAVAILABLE, "the server was told to stop this"},
    {11602, MT_ERR_UNAVAILABLE, "the servers elect a new primary"},
    {13435, MT_ERR_UNAVAILABLE, "the server is not the primary at the moment"},
    {13436, MT_ERR_UNAVAILABLE, "the server is starting or recovering"},

    {24, MT_ERR_BUSY, "the server is locked; try again"},
    {46, MT_ERR_BUSY, "the server is locked; try again"},
    {112, MT_ERR_BUSY, "another client writes the same; try again"},
    {117, MT_ERR_BUSY, "another client is changing the collection; try again"},
    {12586, MT_ERR_BUSY, "another client is changing the collection; try again"},
    {12587, MT_ERR_BUSY, "another client is changing the collection; try again"},
    {13388, MT_ERR_BUSY, "the cluster is moving data; try again"},

    {50, MT_ERR_DEADLINE, "the server did not answer within the time given"},
    {14031, MT_ERR_FULL, "the server's disk is full; free some space there"},
    {12501, MT_ERR_FULL, "the server's quota is used up"},
    {12505, MT_ERR_FULL, "the server's quota is used up"},
    {121, MT_ERR_REJECTED, "the collection's validation rules refuse the record"},
    {10334, MT_ERR_REJECTED, "the record is larger than the server takes"},
    {17280, MT_ERR_REJECTED, "the record's key is longer than the server takes"},
    {17420, MT_ERR_REJECTED, "the record is larger than the server takes"},

    {59, MT_ERR_FAILED, "the server lacks a command; MongoDB 3.6 or later is needed"},
    {79, MT_ERR_CONFIG, "the server does not know this `w`; correct it in the URI"},
    {85, MT_ERR_FAILED, "an index of that name differs; drop it, and the next writer makes it"},
    {86, MT_ERR_FAILED, "an index of that name differs; drop it, and the next writer makes it"},
    {166, MT_ERR_NOT_DATABASE, "the collection is a view; name another one"},
    {238, MT_ERR_FAILED, "the server does not implement what is needed"},
};

/* what the driver says: the rest of a domain after its codes */
static const struct {
    uint32_t domain;
    struct row row;
} driver_rows[] = {
    {MONGOC_ERROR_CLIENT,
     {MONGOC_ERROR_CLIENT_AUTHENTICATE, MT_ERR_PERMISSION,
      "user or password is wrong; check them and authSource"}},
    {MONGOC_ERROR_CLIENT, {MONGOC_ERROR_CLIENT_GETNONCE, MT_ERR_PERMISSION, "cannot authenticate"}},
    {MONGOC_ERROR_CLIENT,
     {MONGOC_ERROR_CLIENT_TOO_BIG, MT_ERR_REJECTED, "larger than the server takes"}},
    {MONGOC_ERROR_CLIENT, {0, MT_ERR_UNAVAILABLE, "the connection failed"}},
    {MONGOC_ERROR_SASL, {0, MT_ERR_PERMISSION, "cannot authenticate; check authMechanism"}},
    {MONGOC_ERROR_SCRAM, {0, MT_ERR_PERMISSION, "cannot authenticate; check user and password"}},
    {MONGOC_ERROR_STREAM,
     {MONGOC_ERROR_STREAM_NAME_RESOLUTION, MT_ERR_UNAVAILABLE, "its name cannot be resolved"}},
    {MONGOC_ERROR_STREAM, {0, MT_ERR_UNAVAILABLE, "the connection failed"}},
    {MONGOC_ERROR_SERVER_SELECTION,
     {MONGOC_ERROR_SERVER_SELECTION_BAD_WIRE_VERSION, MT_ERR_FAILED,
      "the server's version does not fit the driver's"}},
    {MONGOC_ERROR_SERVER_SELECTION, {0, MT_ERR_UNAVAILABLE, "no server can be reached"}},
    {MONGOC_ERROR_PROTOCOL,
     {MONGOC_ERROR_PROTOCOL_BAD_WIRE_VERSION, MT_ERR_FAILED,
      "the server's version does not fit the driver's"}},
    {MONGOC_ERROR_PROTOCOL, {0, MT_ERR_UNAVAILABLE, "the answer is none of MongoDB's"}},
    {MONGOC_ERROR_BSON, {0, MT_ERR_UNAVAILABLE, "the answer is damaged"}},
    {MONGOC_ERROR_WRITE_CONCERN,
     {79, MT_ERR_CONFIG, "the server does not know this `w`; correct it in the URI"}},
    {MONGOC_ERROR_WRITE_CONCERN,
     {0, MT_ERR_UNAVAILABLE,
      "not confirmed by enough servers in time; it may be stored, and can be given again"}},
};

/* what only the text tells */
static const struct {
    const char *part;
    struct row row;
} hints[] = {
    {MONGODB_BAD_PEM, {0, MT_ERR_CONFIG, "cannot use a TLS file"}},
    {"certificate verify failed",
     {0, MT_ERR_UNAVAILABLE,
      "the server's certificate is not accepted; check tlsCAFile and the host's name in the URI"}},
    /* under the code of a wrong password, too, where it is the login that was cut off */
    {"Failed to send \"", {0, MT_ERR_UNAVAILABLE, "the connection failed"}},
};

static const struct row unknown = {0, MT_ERR_FAILED, "failed"};
static const struct row transient = {0, MT_ERR_UNAVAILABLE, "cannot do it at the moment"};

static const struct row *row_of(const bson_error_t *failure, const bson_t *reply)
{
    size_t count = sizeof server_rows / sizeof server_rows[0];

    for (size_t i = 0; i < sizeof hints / sizeof hints[0]; i++)
        if (failure->domain != MONGOC_ERROR_SERVER &&
            strstr(failure->message, hints[i].part) != NULL)
            return &hints[i].row;
    for (size_t i = 0; failure->domain == MONGOC_ERROR_SERVER && i < count; i++)
        if (server_rows[i].code == failure->code)
            return &server_rows[i];
    for (size_t i = 0; i < sizeof driver_rows / sizeof driver_rows[0]; i++)
        if (driver_rows[i].domain == failure->domain &&
            (driver_rows[i].row.code == 0 || driver_rows[i].row.code == failure->code))
            return &driver_rows[i].row;
    if (reply != NULL && (mongoc_error_has_label(reply, "RetryableWriteError") ||
                          mongoc_error_has_label(reply, "TransientTransactionError")))
        return &transient;
    return &unknown;
}

static bool holds_secret(const struct mongodb_store *store, const char *text)
{
    const mongoc_uri_t *uri = store->client != NULL ? mongoc_client_get_uri(store->client) : NULL;
    const char *password = uri != NULL ? mongoc_uri_get_password(uri) : NULL;

    return strstr(text, "mongodb://") != NULL || strstr(text, "mongodb+srv://") != NULL ||
           (password != NULL && password[0] != '\0' && strstr(text, password) != NULL);
}

enum mt_err mongodb_fail(const struct mongodb_store *store, const char *what,
                         const bson_error_t *failure, const bson_t *reply, struct mt_error *error)
{
    const struct row *row = row_of(failure, reply);
    const char *reason = failure->message;
    char said[sizeof failure->message + 32];

    /* of a failed search for servers what each of them said */
    if (failure->domain == MONGOC_ERROR_SERVER_SELECTION && strchr(reason, '[') != NULL)
        reason = strchr(reason, '[');
    if (store->refusal[0] != '\0' && strstr(reason, "connection refused calling ") != NULL)
        reason = store->refusal;
    if (holds_secret(store, failure->message))
        (void)snprintf(said, sizeof said, "code %u", failure->code);
    else
        (void)snprintf(said, sizeof said, "%s", reason);
    for (char *c = said; *c != '\0'; c++)
        if (iscntrl((unsigned char)*c))
            *c = ' ';
    return mt_error_set(error, row->err, "store %s: %s: %s: %s", store->name, what, row->text,
                        said);
}
