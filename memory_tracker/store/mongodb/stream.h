/*
 * The connections that the driver gets from us, so that none of its waits, however the bytes drip,
 * outlasts what a call may take, and no request can arrive after it was given up.
 */
#ifndef MT_STORE_MONGODB_STREAM_H
#define MT_STORE_MONGODB_STREAM_H

#include "store/mongodb/mongodb.h"

/*
 * mongodb_connect: a mongoc_stream_initiator_t whose context is the struct mongodb_store; its
 * timeout_ms bounds each command, its deadline_ms, where not 0, all of them.
 */
mongoc_stream_t *mongodb_connect(const mongoc_uri_t *uri, const mongoc_host_list_t *host,
                                 void *context, bson_error_t *failure);

/* mongodb_wants_tls: the URI's TLS options; they live as long as uri. False: it wants none. */
bool mongodb_wants_tls(const mongoc_uri_t *uri, mongoc_ssl_opt_t *options);

/* How the text of a failure begins where a file of the URI's holds no certificates or key. */
#define MONGODB_BAD_PEM "no PEM file of certificates or key"

#endif
