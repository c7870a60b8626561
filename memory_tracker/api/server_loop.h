/*
 * What the files of the server share: loops, connections and requests in the library's terms. The
 * only header that includes h2o's, and included by server*.c only.
 */
#ifndef MT_API_SERVER_LOOP_H
#define MT_API_SERVER_LOOP_H

#include <h2o.h>

#include "api/client_watch.h"
#include "api/http.h"
#include "api/keeper.h"
#include "api/peer.h"
#include "api/pool.h"
#include "api/server.h"

enum phase {
    SERVING,
    LEAVING, /* a signal came: /readyz says 503, answers say `Connection: close` */
    CLOSING, /* new clients are turned away, requests that were sent are answered */
};

/* Immutable while loops run, but for the gauges and what is the first loop's. */
struct server {
    const struct mt_server_options *options;
    h2o_globalconf_t config;
    struct mt_pool *pool;
    struct mt_gauge phase;
    struct mt_gauge connections; /* of all loops, lingering ones included */
    struct mt_gauge held_bytes;  /* bodies being sent or waiting to be */
    struct mt_gauge refused;     /* bodies that there was no room for, since it was last told */
    struct mt_gauge body_bytes;  /* bodies of requests, being received or with a worker */
    struct mt_gauge finished;    /* loops, without the first, that have nothing left to do */
    struct loop *loops;
    h2o_socket_t *signals;  /* the first loop's, as are the next two */
    int64_t leave_until_ms; /* LEAVING: when to begin closing */
    int64_t close_until_ms; /* CLOSING: when to give up */
};

/* Owned by its thread. */
struct loop {
    h2o_context_t ctx;
    h2o_accept_ctx_t accept_ctx;
    h2o_multithread_receiver_t finished; /* where workers hand jobs back; any thread may send */
    struct server *server;
    size_t index;
    int listener_fds[MT_LISTENERS_MAX];
    h2o_socket_t *listeners[MT_LISTENERS_MAX]; /* NULL once closed */
    bool paused;                               /* the listeners are not polled: no room */
    enum phase phase;                          /* as seen by this loop */
    int64_t closing_ms;                        /* when it saw CLOSING */
    int64_t looked_ms;                         /* when it last looked at its clients */
    int64_t complained_ms;
    int64_t lost_lines;           /* of the access log */
    struct mt_tokens_file tokens; /* zeroed where there are none */
    int64_t input_bytes;          /* this loop's part of body_bytes that is being received */
    h2o_linklist_t clients;
    h2o_linklist_t lingering;
    size_t tasks; /* with workers */
    struct mt_reader *reader;
    enum mt_reading reading; /* of this turn, if read_turn is turn */
    uint64_t turn;           /* counts them */
    uint64_t read_turn;
    int64_t now_ms, now_s; /* the clocks, as of then */
    struct mt_packer packer;
    h2o_linklist_t waiting;      /* exchanges, until the keeper has looked; oldest first */
    int64_t hurried;             /* the ticket for which it was last asked to */
    bool has_resumed;            /* some were answered after the last turn */
    struct mt_gauge has_waiting; /* 1: the keeper is to wake this loop */
};

/* A connection; from accept to the close of its socket. */
struct client {
    h2o_linklist_t link;
    struct loop *loop;
    h2o_socket_t *sock;
    struct exchange *exchange; /* the request in progress, or NULL */
    uint64_t requests;         /* begun on this connection */
    uint64_t turn;             /* of the loop when the last one began */
    int64_t accepted_ms;
    int64_t begun_ms; /* when the last one was complete; 0: the library answers by itself */
    struct mt_client_watch watch;
    bool shut;    /* no more input is taken */
    bool cut;     /* given up */
    bool lingers; /* a struct lingering carries its place in server->connections on */
    char remote[MT_PEER_TEXT];
};

/* A request and its answer; in the request's pool, disposed with the request. */
struct exchange {
    h2o_generator_t generator;
    h2o_req_t *req;
    struct client *client;
    struct task *task; /* NULL: no worker has it */
    struct mt_response response;
    struct mt_lease *lease; /* of the view that has the body, or NULL */
    int64_t held_bytes;
    size_t sent;         /* bytes of the body handed on; */
    h2o_iovec_t *slices; /* or where it is a page, what is left of it */
    size_t slice_count;
    size_t most_at_once;                /* bytes; its last slice may exceed that */
    h2o_linklist_t waits;               /* in loop->waiting, if linked; */
    int64_t ticket;                     /* for what; see mt_reader_check */
    int64_t now_s;                      /* the wall clock when it was complete */
    char token[MT_TOKEN_NAME_MOST + 1]; /* name of the token that it came with, or "" */
};

/* A job on its way to a worker and back. Freed by its loop. */
struct task {
    struct mt_work work;
    h2o_multithread_message_t message;
    struct loop *loop;
    struct exchange *exchange; /* NULL: the request is gone. The loop's; workers leave it alone. */
    int64_t held_bytes;
    int64_t body_bytes; /* of the request */
};

/*
 * A connection whose answer is sent while the client still sends. Closing it at once would make the
 * kernel send a reset, which can destroy the answer on its way.
 */
struct lingering {
    h2o_linklist_t link;
    struct loop *loop;
    h2o_socket_t *sock;
    int64_t begun_ms;
};

/* Most memory for bodies of requests, over all connections. */
enum { BODY_MEMORY_BYTES = 64 * 1024 * 1024 };

/* server.c */

/* mt_loop_complain: a warning of what goes wrong with many clients, once a minute at most. */
void mt_loop_complain(struct loop *loop, const char *what);

/* server_exchange.c: requests and answers. All in the loop's thread. */

/* mt_exchange_register: requests under host are answered by it; while configuring. */
void mt_exchange_register(h2o_hostconf_t *host);

/* mt_exchange_resume: goes on with those that waited for the keeper; to be called in every turn. */
void mt_exchange_resume(struct loop *loop, int64_t now_ms);

/* mt_exchange_on_finished: answers what workers handed back; the loop's receiver. */
void mt_exchange_on_finished(h2o_multithread_receiver_t *receiver, h2o_linklist_t *messages);

/* server_answer.c: what is sent. In the loop's thread, but for mt_answer_hold. */

/*
 * mt_answer_hold: counts the body against the budget, or replaces it by a 503. Any thread. Returns
 * the bytes for mt_answer_release, which counts them back and makes *held_bytes 0.
 */
int64_t mt_answer_hold(struct server *server, struct mt_response *response);
void mt_answer_release(struct server *server, int64_t *held_bytes);

/* mt_answer_send: sends exchange->response. */
void mt_answer_send(struct exchange *exchange);

/* mt_answer_proceed: of a generator: sends the next piece of a body. */
void mt_answer_proceed(h2o_generator_t *generator, h2o_req_t *req);

/*
 * mt_answer_again: true if the request is one that was just answered, asked again about the same
 * history in the same second, and is answered: nothing else was looked at, no exchange made. To be
 * called while the reading of loop->reader is CURRENT.
 *
 * mt_answer_remember: exchange->response is a page of exchange->lease's view, for the next one.
 */
bool mt_answer_again(struct client *client, h2o_req_t *req);
void mt_answer_remember(struct exchange *exchange, int64_t reach);

/* server_client.c: connections. All in the loop's thread. */

/* mt_client_of: the connection of a request. */
struct client *mt_client_of(h2o_req_t *req);

/* mt_clients_begin: the loop accepts clients from here on. */
void mt_clients_begin(struct loop *loop);

/* mt_client_linger: called when a request ends whose connection is about to be closed by the
 * library. */
void mt_client_linger(struct client *client, h2o_req_t *req);

/* mt_clients_bound_input: counts what clients have sent of bodies, and turns those with the longest
 * away where all of it is more than BODY_MEMORY_BYTES; to be called in every turn. */
void mt_clients_bound_input(struct loop *loop);

/* mt_clients_look: ends those that are too slow; to be called once a second. */
void mt_clients_look(struct loop *loop, int64_t now_ms);

/* mt_clients_close: while CLOSING: takes the last ones in, closes listeners and idle connections.
 */
void mt_clients_close(struct loop *loop, int64_t now_ms);

/* mt_clients_are_gone: no connection is left and no listener open. */
bool mt_clients_are_gone(const struct loop *loop);

#endif
