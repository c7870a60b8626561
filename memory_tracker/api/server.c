#include "api/server.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "api/server_loop.h"
#include "base/clock.h"
#include "base/log.h"

enum {
    TURN_MS = 1000,       /* longest wait of a loop, and how often it looks at its clients */
    HURRIED_TURN_MS = 20, /* the same while the server closes */
    QUEUED_PER_WORKER = 64,
    BUSY_WAIT_MS = 2000,
    REOPEN_AFTER_MS = 1000,
    ENTITY_MOST = 1024,                      /* a request's body, where nothing takes one, */
    PUSHED_ENTITY_MOST = 1024 * 1024,        /* and where records are pushed */
    INPUT_MOST = 1024 * 1024,                /* buffered input of one connection: the head, */
    PUSHED_INPUT_MOST = 4 * 1024 * 1024 + 1, /* and a body; it grows by doubling */
    /* when the server closes: for everything, beyond the client timeout */
    DRAIN_MOST_MS = 20000,
    COMPLAIN_EVERY_MS = 60000,
};

void mt_loop_complain(struct loop *loop, const char *what)
{
    int64_t now_ms = mt_clock_monotonic_ms();

    if (loop->complained_ms != 0 && now_ms - loop->complained_ms < COMPLAIN_EVERY_MS)
        return;
    loop->complained_ms = now_ms;
    mt_log(MT_LOG_WARNING, "%s", what);
}

static void follow_phase(struct loop *loop, int64_t now_ms)
{
    enum phase phase = (enum phase)mt_gauge_get(&loop->server->phase);

    /* makes the library say `Connection: close` from the next request on; its own function for this
     * would start timers of HTTP/2, too */
    loop->ctx.shutdown_requested = phase != SERVING;
    if (phase == CLOSING && loop->phase != CLOSING)
        loop->closing_ms = now_ms;
    loop->phase = phase;
}

static bool is_finished(const struct loop *loop)
{
    const struct server *server = loop->server;

    if (loop->phase != CLOSING || loop->tasks > 0 || !mt_clients_are_gone(loop))
        return false;
    /* signals and the time limit are the first loop's: it is the last to go */
    return loop->index != 0 ||
           mt_gauge_get(&server->finished) == (int64_t)server->options->loops - 1;
}

static void enter_phase(struct server *server, enum phase phase)
{
    mt_gauge_set(&server->phase, phase);
    for (size_t i = 1; i < server->options->loops; i++)
        h2o_multithread_send_message(&server->loops[i].finished, NULL);
}

static void turn_away(const struct server *server)
{
    for (size_t i = 0; i < server->options->listeners->count; i++)
        mt_listener_turn_away(&server->options->listeners->item[i]);
}

static _Noreturn void end_at_once(struct server *server, const char *why)
{
    int64_t left = mt_gauge_get(&server->connections);

    turn_away(server);
    mt_log(MT_LOG_WARNING, "%s: ends with %lld connections open", why, (long long)left);
    _exit(mt_err_exit_status(MT_ERR_FAILED));
}

/* The first loop leads the way from one phase to the next. */
static void lead(struct server *server, int64_t now_ms)
{
    enum phase phase = (enum phase)mt_gauge_get(&server->phase);

    if (phase == LEAVING && now_ms >= server->leave_until_ms) {
        turn_away(server);
        server->close_until_ms = now_ms + server->options->client_timeout_ms + DRAIN_MOST_MS;
        enter_phase(server, CLOSING);
    } else if (phase == CLOSING && now_ms >= server->close_until_ms) {
        end_at_once(server, "clients take too long to read their answers");
    }
}

static void on_signal(h2o_socket_t *sock, const char *err)
{
    struct server *server = sock->data;
    struct signalfd_siginfo info;

    (void)err;
    while (read(h2o_socket_get_fd(sock), &info, sizeof info) == (ssize_t)sizeof info) {
        if (mt_gauge_get(&server->phase) != SERVING)
            end_at_once(server, "a second signal came");
        server->leave_until_ms = mt_clock_monotonic_ms() + server->options->drain_delay_ms;
        /* before it is said: who reads that may rely on it */
        enter_phase(server, LEAVING);
        mt_log(MT_LOG_INFO, "signal %u: finishes what was asked, then ends", info.ssi_signo);
    }
}

static void open_signals(struct server *server)
{
    sigset_t ends;
    int fd;

    (void)sigemptyset(&ends);
    (void)sigaddset(&ends, SIGTERM);
    (void)sigaddset(&ends, SIGINT);
    (void)sigaddset(&ends, SIGHUP);
    (void)sigaddset(&ends, SIGQUIT);
    fd = signalfd(-1, &ends, SFD_NONBLOCK | SFD_CLOEXEC);
    server->signals =
        h2o_evloop_socket_create(server->loops[0].ctx.loop, fd, H2O_SOCKET_FLAG_DONT_READ);
    server->signals->data = server;
    h2o_socket_read_start(server->signals, on_signal);
}

static void begin_loop(struct loop *loop)
{
    /* in the thread that runs it: the library keeps free lists per thread */
    h2o_context_init(&loop->ctx, h2o_evloop_create(), &loop->server->config);
    loop->accept_ctx = (h2o_accept_ctx_t){.ctx = &loop->ctx, .hosts = loop->server->config.hosts};
    h2o_multithread_register_receiver(loop->ctx.queue, &loop->finished, mt_exchange_on_finished);
    h2o_linklist_init_anchor(&loop->waiting);
    loop->reader = mt_keeper_reader(loop->server->options->keeper, loop->index);
    mt_clients_begin(loop);
    if (loop->index == 0)
        open_signals(loop->server);
}

static void end_loop(struct loop *loop)
{
    h2o_evloop_t *evloop = loop->ctx.loop;

    if (loop->index == 0)
        h2o_socket_close(loop->server->signals);
    /* closed sockets are freed in the turn after */
    (void)h2o_evloop_run(evloop, 0);
    h2o_multithread_unregister_receiver(loop->ctx.queue, &loop->finished);
    h2o_context_dispose(&loop->ctx);
    h2o_evloop_destroy(evloop);
    mt_packer_fini(&loop->packer);
}

/* In the keeper's thread. */
static void wake_waiting(void *context)
{
    struct server *server = context;

    for (size_t i = 0; i < server->options->loops; i++)
        if (mt_gauge_get(&server->loops[i].has_waiting) != 0)
            h2o_multithread_send_message(&server->loops[i].finished, NULL);
}

/* Each loop has tokens of its own; the first one speaks for all. */
static void look_at_tokens(struct loop *loop)
{
    struct mt_error error = {0};
    size_t readings = loop->tokens.readings;
    enum mt_err result;

    if (loop->tokens.path == NULL)
        return;
    result = mt_tokens_file_look(&loop->tokens, &error);
    if (loop->index != 0)
        return;
    if (result != MT_OK)
        mt_log_error(&error);
    if (loop->tokens.readings != readings)
        mt_log(MT_LOG_INFO, "tokens %s: read anew, %zu valid from now on", loop->tokens.path,
               mt_tokens_count(loop->tokens.tokens));
}

static void turn(struct loop *loop)
{
    bool hurried = loop->phase != SERVING;
    int most_ms = hurried ? HURRIED_TURN_MS : TURN_MS;
    int64_t now_ms;

    /* what was sent after the last turn is only finished, and the next request read, in this one */
    if (loop->has_resumed)
        most_ms = 0;
    loop->has_resumed = false;
    loop->turn++;
    if (h2o_evloop_run(loop->ctx.loop, most_ms) != 0 && errno != EINTR) {
        mt_log(MT_LOG_CRITICAL, "event loop: %s", strerrordesc_np(errno));
        end_at_once(loop->server, "an event loop failed");
    }
    now_ms = mt_clock_monotonic_ms();
    if (!h2o_linklist_is_empty(&loop->waiting))
        mt_exchange_resume(loop, now_ms);
    if (loop->tokens.path != NULL)
        mt_clients_bound_input(loop);
    if (loop->index == 0)
        lead(loop->server, now_ms);
    follow_phase(loop, now_ms);
    if (loop->phase == CLOSING)
        mt_clients_close(loop, now_ms);
    if (now_ms - loop->looked_ms >= (hurried ? TURN_MS / 10 : TURN_MS)) {
        loop->looked_ms = now_ms;
        mt_clients_look(loop, now_ms);
        mt_reader_settle(loop->reader);
        look_at_tokens(loop);
        if (loop->index == 0 && mt_gauge_take(&loop->server->refused) > 0)
            mt_loop_complain(loop, "large answers that clients are still reading take all of "
                                   "RESPONSE_MEMORY: further ones are answered with 503; slow "
                                   "the clients down or give more --response-memory");
    }
}

static void run_loop(struct mt_threads *threads, size_t index, void *context)
{
    struct server *server = context;
    struct loop *loop = &server->loops[index];

    begin_loop(loop);
    mt_threads_meet(threads);
    if (index == 0) {
        mt_keeper_listen(server->options->keeper, wake_waiting, server);
        server->options->ready(server->options);
    }
    while (!is_finished(loop))
        turn(loop);
    if (index != 0)
        mt_gauge_add(&server->finished, 1);
    /* the first loop wakes the others, and workers may be on their way out of hand_back */
    mt_threads_meet(threads);
    if (index == 0) {
        mt_keeper_listen(server->options->keeper, NULL, NULL);
        mt_pool_stop(server->pool);
    }
    mt_threads_meet(threads);
    end_loop(loop);
}

static bool takes_pushes(const struct mt_server_options *options)
{
    return options->tokens != NULL && options->tokens[0] != '\0';
}

static void configure(struct server *server)
{
    h2o_globalconf_t *config = &server->config;
    bool pushed = takes_pushes(server->options);

    h2o_config_init(config);
    config->server_name = h2o_iovec_init(H2O_STRLIT("memory-tracker"));
    config->max_request_entity_size = pushed ? PUSHED_ENTITY_MOST : ENTITY_MOST;
    config->http1.upgrade_to_http2 = 0;
    /* these timeouts are on the wall clock, which may step: look_at_clients is on the other one */
    config->http1.req_timeout = (uint64_t)24 * 60 * 60 * 1000;
    /* larger input would go to a file under /tmp: without a place for one the connection is closed
     */
    h2o_socket_buffer_mmap_settings.threshold = pushed ? PUSHED_INPUT_MOST : INPUT_MOST;
    (void)snprintf(h2o_socket_buffer_mmap_settings.fn_template,
                   sizeof h2o_socket_buffer_mmap_settings.fn_template, "/dev/null/XXXXXX");
    mt_exchange_register(
        h2o_config_register_host(config, h2o_iovec_init(H2O_STRLIT("default")), 65535));
}

/* Every loop reads the file for itself: what is not shared needs no lock. */
static enum mt_err open_tokens(struct server *server, struct mt_error *error)
{
    enum mt_err result = MT_OK;

    for (size_t l = 0; l < server->options->loops && result == MT_OK; l++)
        if (takes_pushes(server->options))
            result = mt_tokens_file_open(&server->loops[l].tokens, server->options->tokens, error);
    return result;
}

/* All descriptors that loops need are made here, so that making a loop cannot fail. */
static enum mt_err share_listeners(struct server *server, struct mt_error *error)
{
    const struct mt_listeners *listeners = server->options->listeners;

    for (size_t l = 0; l < server->options->loops; l++) {
        struct loop *loop = &server->loops[l];

        loop->server = server;
        loop->index = l;
        for (size_t i = 0; i < listeners->count; i++) {
            loop->listener_fds[i] = fcntl(listeners->item[i].fd, F_DUPFD_CLOEXEC, 0);
            if (loop->listener_fds[i] < 0)
                return mt_error_set_errno(error, MT_ERR_FAILED, errno,
                                          "cannot share the listening sockets among %zu threads",
                                          server->options->loops);
        }
    }
    return MT_OK;
}

int64_t mt_server_descriptors(const struct mt_server_options *options)
{
    enum {
        /* epoll, two ends of a pipe; one while a connection begins to linger; the store's stamp */
        PER_LOOP = 3 + 1 + 1,
        PER_WORKER = 3, /* the store, its journal and its directory; twice where it also writes */
        OTHERS = 20,    /* standard streams, log, signals, the keeper's store and stamp, and
                           whatever started us left open */
    };
    int64_t listeners = (int64_t)options->listeners->count;

    return OTHERS + listeners + (int64_t)options->loops * (PER_LOOP + listeners) +
           (int64_t)options->workers * PER_WORKER * (takes_pushes(options) ? 2 : 1);
}

enum mt_err mt_server_run(const struct mt_server_options *options, struct mt_error *error)
{
    struct server server = {.options = options};
    struct mt_pool_options pool = {.workers = options->workers,
                                   .queue_limit = options->workers * QUEUED_PER_WORKER,
                                   .store = options->store,
                                   .busy_wait_ms = BUSY_WAIT_MS,
                                   .timeout_ms = options->store_timeout_ms,
                                   .standby = options->standby,
                                   .reopen_after_ms = REOPEN_AFTER_MS};
    enum mt_err result;

    server.loops = calloc(options->loops, sizeof *server.loops);
    if (server.loops == NULL)
        return mt_error_set(error, MT_ERR_NO_MEMORY, "out of memory for %zu event loops",
                            options->loops);
    configure(&server);
    result = open_tokens(&server, error);
    if (result == MT_OK)
        result = share_listeners(&server, error);
    if (result == MT_OK)
        result = mt_pool_start(&pool, &server.pool, error);
    if (result == MT_OK) {
        result = mt_threads_run(options->loops, run_loop, &server, error);
        if (result != MT_OK)
            mt_pool_stop(server.pool);
    }
    h2o_config_dispose(&server.config);
    for (size_t l = 0; l < options->loops; l++)
        mt_tokens_file_close(&server.loops[l].tokens);
    free(server.loops);
    return result;
}
