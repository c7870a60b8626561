/* memory-api: answers questions about the history over HTTP. */
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/caretaker.h"
#include "api/health_check.h"
#include "api/keeper.h"
#include "api/library_output.h"
#include "api/limits.h"
#include "api/listener.h"
#include "api/server.h"
#include "api/threads.h"
#include "api/window.h"
#include "base/command.h"
#include "base/log.h"
#include "store/module.h"
#include "store/uri.h"

enum {
    STORE_TIMEOUT_MS = 3000, /* short, so that the end of the program is not held up */
    POLL_MS = 500,
    REFUSED_PAUSE_MS = 10000,
    TEND_FIRST_MS = 1000, /* whoever waits for the first answers comes first */
    TEND_MS = 3600000,
    BUSY_WAIT_MS = 1000,    /* of the keeper, for another process's lock */
    TRUSTED_MS = 1000,      /* how old news of a remote store may be */
    FORGET_MS = 300000,     /* after which a window may shrink again */
    LEAST_RECORDS = 2048,   /* more than a day of one host: quickly read, and small */
    FIRST_ANSWER_MS = 5000, /* how long a store that is a server may take to come within reach */
};

enum { OPTION_HEALTH_CHECK };

static const struct mt_option options[] = {
    [OPTION_HEALTH_CHECK] = {"health-check", NULL,
                             "ask the running API whether it lives; exit status 0 if it does"},
    {0},
};

static const struct mt_command command = {
    .name = "memory-api",
    .operands = "",
    .summary = "Answers questions about the memory history over HTTP.",
    .notes =
        "SIGTERM, SIGINT and SIGHUP end it once every request that was sent is answered; a\n"
        "second signal ends it at once. GET /memory-logs gives records, /healthz says that it\n"
        "lives, /readyz that its store answers.\n",
    .examples = "  memory-api --store sqlite:/var/lib/memory-tracker/memory.db\n"
                "  memory-api --listen 127.0.0.1:8000,[::1]:8000,unix:/run/memory-tracker.sock\n"
                "  memory-api --health-check\n"
                "  curl 'http://localhost:8000/memory-logs?limit=1'\n",
    .program = MT_PROGRAM_API,
    .options = options,
    .without_secrets = 1U << OPTION_HEALTH_CHECK,
};

/* Bodies of answers go back to the system when they were sent, and few arenas keep few spare pages.
 */
static void tune_memory(void)
{
    (void)mallopt(M_MMAP_THRESHOLD, 256 * 1024);
    (void)mallopt(M_ARENA_MAX, 2);
}

static void say_ready(const struct mt_server_options *server)
{
    char text[MT_LISTENER_TEXT];

    for (size_t i = 0; i < server->listeners->count; i++) {
        mt_listener_print(&server->listeners->item[i], text);
        (void)printf("listening on %s\n", text);
    }
    (void)fflush(stdout);
    mt_setting_mask(MT_SETTING_STORE, server->store, text, sizeof text);
    mt_log(MT_LOG_INFO, "serving %s with %zu event loops and %zu workers to at most %lld clients",
           text, server->loops, server->workers, (long long)server->most_connections);
}

/* With a caretaker where records are pushed to, unless they go on to another memory-api, which has
 * one itself. */
static enum mt_err serve_tended(struct mt_server_options *server, int64_t kept,
                                struct mt_error *error)
{
    const struct mt_caretaker_options tend = {.store = server->store,
                                              .kept = kept,
                                              .first_ms = TEND_FIRST_MS,
                                              .every_ms = TEND_MS,
                                              .timeout_ms = server->store_timeout_ms};
    struct mt_caretaker *caretaker = NULL;
    enum mt_err result = MT_OK;

    if (server->tokens[0] != '\0' && strncmp(server->store, "http", 4) != 0)
        result = mt_caretaker_start(&tend, &caretaker, error);
    if (result == MT_OK)
        result = mt_server_run(server, error);
    mt_caretaker_stop(caretaker);
    return result;
}

static enum mt_err serve_store(struct mt_server_options *server, const struct mt_config *config,
                               struct mt_error *error)
{
    bool is_remote = mt_store_is_remote(server->store);
    struct mt_keeper_options keep = {
        .store = server->store,
        .readers = server->loops,
        /* of a store that goes away all that one question may ask for is kept at hand */
        .least_records = is_remote ? MT_WINDOW_RECORDS : LEAST_RECORDS,
        .memory_bytes = mt_config_number(config, MT_SETTING_WINDOW_MEMORY),
        .busy_wait_ms = is_remote ? server->store_timeout_ms : BUSY_WAIT_MS,
        .timeout_ms = server->store_timeout_ms,
        .poll_ms = POLL_MS,
        .refused_pause_ms = REFUSED_PAUSE_MS,
        .trusted_ms = TRUSTED_MS,
        .stale_limit_ms = mt_config_number(config, MT_SETTING_STALE_LIMIT) * 1000,
        .forget_ms = FORGET_MS,
    };
    enum mt_err result = mt_keeper_start(&keep, &server->keeper, error);

    if (result != MT_OK)
        return result;
    if (is_remote) {
        server->standby = mt_keeper_standby(server->keeper);
        /* where a container begins, its network may follow a second later: who is sent here as
         * soon as it is healthy gets no 503 for that */
        mt_keeper_await(server->keeper, FIRST_ANSWER_MS);
    }
    result = serve_tended(server, mt_config_number(config, MT_SETTING_RETENTION), error);
    mt_keeper_stop(server->keeper);
    return result;
}

static enum mt_err serve(const struct mt_config *config, struct mt_error *error)
{
    struct mt_listeners listeners;
    struct mt_server_options server = {
        .listeners = &listeners,
        .tokens = mt_config_string(config, MT_SETTING_TOKENS),
        .store_timeout_ms = STORE_TIMEOUT_MS,
        .loops = (size_t)mt_config_number(config, MT_SETTING_THREADS),
        .workers = (size_t)mt_config_number(config, MT_SETTING_WORKERS),
        .client_timeout_ms = mt_config_number(config, MT_SETTING_CLIENT_TIMEOUT) * 1000,
        .response_memory_bytes = mt_config_number(config, MT_SETTING_RESPONSE_MEMORY),
        .drain_delay_ms = mt_config_number(config, MT_SETTING_DRAIN_DELAY) * 1000,
        .access_log = (enum mt_access_format)mt_config_number(config, MT_SETTING_ACCESS_LOG),
        .ready = say_ready,
    };
    char *store = NULL;
    enum mt_err result = mt_store_uri(config, &store, error);

    if (result != MT_OK)
        return result;
    server.store = store;
    tune_memory();
    mt_store_use_modules();
    mt_threads_block_signals();
    mt_library_output_to_log();
    mt_log_never_wait();
    /* what is not installed does not come by itself, as a store that is away does */
    result = mt_store_check(store, error);
    if (result == MT_OK)
        result = mt_listeners_open(mt_config_string(config, MT_SETTING_LISTEN), &listeners, error);
    if (result == MT_OK) {
        result =
            mt_limits_connections(mt_config_number(config, MT_SETTING_MAX_CONNECTIONS),
                                  mt_server_descriptors(&server), &server.most_connections, error);
        if (result == MT_OK)
            result = serve_store(&server, config, error);
        mt_listeners_close(&listeners);
    }
    free(store);
    return result;
}

static enum mt_err work(const struct mt_run *run, struct mt_error *error)
{
    enum mt_err result;

    /* what it finds is for the one who asks, not for the log */
    if (run->arguments->option[OPTION_HEALTH_CHECK] != NULL)
        return mt_health_check(mt_config_string(run->config, MT_SETTING_LISTEN), error);
    result = mt_config_start_log(run->config, command.name, error);
    return result == MT_OK ? serve(run->config, error) : result;
}

int main(int argc, char **argv)
{
    return mt_command_main(&command, argc, argv, work);
}
