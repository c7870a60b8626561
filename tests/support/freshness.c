/*
 * freshness URI PORT CONNECTIONS ROUNDS: appends a record and, as soon as that has returned, asks
 * the API on all of its connections at once for the newest record; ends with status 1 and says so
 * when an answer has not that record in it. Prints how many answers it looked at.
 */
#include <arpa/inet.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "store/store.h"

enum { FIRST = 1500000000, CONNECTIONS_MOST = 256, ANSWER_MOST = 4096 };

static const char request[] = "GET /memory-logs?limit=1 HTTP/1.1\r\nHost: localhost\r\n\r\n";

static int fail(const char *what, const char *why)
{
    (void)fprintf(stderr, "freshness: %s: %s\n", what, why);
    return 1;
}

static int open_connection(uint16_t port)
{
    struct sockaddr_in where = {.sin_family = AF_INET, .sin_port = htons(port)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    where.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (fd >= 0 && connect(fd, (struct sockaddr *)&where, sizeof where) != 0) {
        (void)close(fd);
        fd = -1;
    }
    return fd;
}

/* Reads one answer, up to the bracket that ends its body. */
static bool read_answer(int fd, char answer[ANSWER_MOST])
{
    size_t length = 0;

    do {
        ssize_t got = read(fd, answer + length, ANSWER_MOST - 1 - length);

        if (got <= 0)
            return false;
        length += (size_t)got;
        answer[length] = '\0';
    } while (answer[length - 1] != ']' && length < ANSWER_MOST - 1);
    return true;
}

static int ask_all(const int *fds, size_t count, int64_t timestamp)
{
    char expected[64];
    char answer[ANSWER_MOST];

    (void)snprintf(expected, sizeof expected, "[{\"timestamp\":%" PRId64 ",", timestamp);
    for (size_t i = 0; i < count; i++)
        if (write(fds[i], request, sizeof request - 1) != (ssize_t)(sizeof request - 1))
            return fail("request", "the connection is gone");
    for (size_t i = 0; i < count; i++) {
        if (!read_answer(fds[i], answer))
            return fail("answer", "the connection is gone");
        if (strstr(answer, expected) == NULL) {
            (void)fprintf(stderr, "freshness: wanted %s on connection %zu, got:\n%s\n", expected, i,
                          answer);
            return 1;
        }
    }
    return 0;
}

static int append(struct mt_store *store, int64_t timestamp)
{
    struct mt_record record = {.timestamp = timestamp, .host = "fresh"};
    struct mt_outcome outcome;
    struct mt_error error = {0};

    mt_record_set(&record, MT_FIELD_MEM_TOTAL, INT64_C(8388608));
    mt_record_set(&record, MT_FIELD_MEM_AVAILABLE, timestamp % 8388608);
    if (mt_store_append(store, &record, 1, MT_CONFLICT_REPORT, &outcome, &error) != MT_OK)
        return fail("append", error.text);
    return outcome.verdict == MT_VERDICT_NEW ? 0 : fail("append", outcome.text);
}

int main(int argc, char **argv)
{
    static int fds[CONNECTIONS_MOST];
    struct mt_store_options options = {.busy_wait_ms = 60000};
    struct mt_store *store = NULL;
    struct mt_error error = {0};
    int64_t rounds, answers = 0;
    size_t count;
    int status = 0;

    if (argc != 5)
        return fail("usage", "freshness URI PORT CONNECTIONS ROUNDS");
    count = strtoul(argv[3], NULL, 10);
    rounds = strtoll(argv[4], NULL, 10);
    if (count > CONNECTIONS_MOST)
        return fail("usage", "too many connections");
    if (mt_store_open(argv[1], &options, &store, &error) != MT_OK)
        return fail("open", error.text);
    for (size_t i = 0; i < count; i++) {
        fds[i] = open_connection((uint16_t)strtoul(argv[2], NULL, 10));
        if (fds[i] < 0)
            return fail("connect", "refused");
    }
    for (int64_t round = 0; round < rounds && status == 0; round++) {
        status = append(store, FIRST + round);
        if (status == 0)
            status = ask_all(fds, count, FIRST + round);
        answers += (int64_t)count;
    }
    (void)printf("%" PRId64 " answers\n", answers);
    mt_store_close(store);
    return status;
}
