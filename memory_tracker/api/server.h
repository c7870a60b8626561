/*
 * The HTTP server: event loops of libh2o, workers that read the store, limits for hostile clients,
 * and an end that loses no request. server.c runs the loops, server_client.c the connections,
 * server_exchange.c the requests; they alone know h2o.
 */
#ifndef MT_API_SERVER_H
#define MT_API_SERVER_H

#include <stddef.h>
#include <stdint.h>

#include "api/access_log.h"
#include "api/keeper.h"
#include "api/listener.h"
#include "api/pool.h"
#include "base/error.h"

struct mt_server_options {
    const struct mt_listeners *listeners; /* open; the caller closes them afterwards */
    const char *store;                    /* URI */
    int store_timeout_ms;                 /* see mt_store_options */
    struct mt_standby standby;            /* for a remote store */
    struct mt_keeper *keeper;             /* with a reader for each loop */
    const char *tokens;                   /* path of the file of tokens; "": nobody may push */
    size_t loops;
    size_t workers;
    int64_t most_connections;      /* at once, over all loops */
    int64_t client_timeout_ms;     /* see mt_client_is_too_slow */
    int64_t response_memory_bytes; /* bodies of answers that clients are still reading */
    int64_t drain_delay_ms;
    enum mt_access_format access_log;
    void (*ready)(const struct mt_server_options *options); /* called once all loops accept */
};

/* mt_server_descriptors: how many files a server with these options opens besides its clients'. */
int64_t mt_server_descriptors(const struct mt_server_options *options);

/*
 * mt_server_run: serves until SIGTERM, SIGINT or SIGHUP, then goes on for drain_delay_ms with
 * /readyz at 503, then turns new clients away, answers every request that was sent, and returns
 * MT_OK. A second signal ends the process at once; so does a drain that takes longer than 20 s past
 * client_timeout_ms, with exit status 1. Signals must be blocked (mt_threads_block_signals). FAILED
 * if threads or descriptors are not to be had.
 */
enum mt_err mt_server_run(const struct mt_server_options *options, struct mt_error *error);

#endif
