/* What the kernel knows of the other side of a connected socket, TCP or unix. */
#ifndef MT_API_PEER_H
#define MT_API_PEER_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>

enum { MT_PEER_TEXT = INET6_ADDRSTRLEN + sizeof "[]:65535" };

/* mt_peer_print: "127.0.0.1:41234", "[::1]:41234", or "unix". */
void mt_peer_print(int fd, char text[static MT_PEER_TEXT]);

/*
 * mt_peer_progress: a number that changes when the peer takes bytes; `given` is how many were
 * handed to fd or wait to be.
 */
uint64_t mt_peer_progress(int fd, uint64_t given);

/*
 * mt_peer_hurry: from now on the kernel takes up to `bytes` that it has not sent yet, for a peer
 * that reads as fast as it can. False for other sockets than TCP, of which mt_peer_progress also
 * knows less: what is handed to them at once is to be little.
 */
bool mt_peer_hurry(int fd, int bytes);

/* mt_peer_is_gone: the connection was reset or fully closed; half-closed ones are not gone. */
bool mt_peer_is_gone(int fd);

/* mt_peer_has_more: there is input that nobody has read. */
bool mt_peer_has_more(int fd);

/*
 * mt_peer_cut: ends the connection without a look at what it still has to send; the next read or
 * write fails, and closing fd resets it.
 */
void mt_peer_cut(int fd);

#endif
