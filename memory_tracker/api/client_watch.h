/*
 * When a client is too slow: a clockwork of plain numbers, asked about once a second for each
 * connection. On the monotonic clock, so that no step of the wall clock cuts anybody off.
 */
#ifndef MT_API_CLIENT_WATCH_H
#define MT_API_CLIENT_WATCH_H

#include <stdbool.h>
#include <stdint.h>

/* The least rate at which an answer has to be read. */
enum { MT_CLIENT_LEAST_BYTES_PER_S = 16 * 1024 };

enum mt_client_state {
    MT_CLIENT_IDLE,      /* nothing of a request has come */
    MT_CLIENT_RECEIVING, /* a part of a request has */
    MT_CLIENT_WAITING,   /* its request is being worked on: not the client's time */
    MT_CLIENT_SENDING,   /* an answer is being sent */
};

/* Zero-initialise; owned by the connection's loop. */
struct mt_client_watch {
    enum mt_client_state state;
    uint64_t requests;   /* as seen last */
    uint64_t progress;   /* as seen last */
    int64_t since_ms;    /* when this state began */
    int64_t progress_ms; /* when progress last changed */
    bool begun;
};

/* What a connection looks like now. */
struct mt_client_look {
    enum mt_client_state state;
    uint64_t requests;    /* how many have come on this connection */
    uint64_t progress;    /* SENDING: changes whenever the client takes bytes */
    int64_t answer_bytes; /* SENDING: length of the whole answer */
};

/*
 * mt_client_is_too_slow: takes one look. True if for timeout_ms the client sent no complete request
 * (or nothing at all), or took no byte of an answer, or if it took an answer at less than
 * MT_CLIENT_LEAST_BYTES_PER_S, with timeout_ms on top. Then it stays true until the state changes.
 */
bool mt_client_is_too_slow(struct mt_client_watch *watch, const struct mt_client_look *look,
                           int64_t now_ms, int64_t timeout_ms);

#endif
