/*
 * The sockets the API listens on: TCP v4 and v6, and unix sockets. Made by main before any thread
 * starts (a unix socket's mode needs the process's umask).
 */
#ifndef MT_API_LISTENER_H
#define MT_API_LISTENER_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "base/error.h"
#include "base/setting.h"

enum { MT_LISTENERS_MAX = 16, MT_LISTENER_TEXT = 320 };

struct mt_listener {
    int fd;                  /* listening, non-blocking, close-on-exec */
    struct mt_address where; /* the port is the real one */
    dev_t device;            /* of a unix socket's file, to know it again */
    ino_t inode;
};

struct mt_listeners {
    struct mt_listener item[MT_LISTENERS_MAX];
    size_t count;
};

/*
 * mt_listeners_open: listens on every address of a valid LISTEN value. A unix socket's file gets
 * mode 0660; a socket file that nobody answers on is replaced. FAILED with the address, the reason
 * and the remedy if one cannot be had, CONFIG for more than MT_LISTENERS_MAX; then none is open.
 */
enum mt_err mt_listeners_open(const char *listen, struct mt_listeners *listeners,
                              struct mt_error *error);

/* mt_listener_print: `http://127.0.0.1:8000`, `http://[::1]:8000` or `unix:PATH`. */
void mt_listener_print(const struct mt_listener *listener, char text[static MT_LISTENER_TEXT]);

/*
 * mt_listener_turn_away: lets no new client begin to connect, while those that are connected or
 * half-way through can still be accepted: TCP connection requests are dropped unanswered, a unix
 * socket's file is removed if it is still ours.
 */
void mt_listener_turn_away(const struct mt_listener *listener);

/* mt_listeners_close: closes the sockets and removes the files of unix sockets that are still ours.
 */
void mt_listeners_close(struct mt_listeners *listeners);

#endif
