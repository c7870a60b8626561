/*
 * first_answer ROUNDS CPU SOCKET TARGET COMMAND...: executes a server on that CPU, over and over,
 * and prints each time the microseconds from before its exec to the end of its first answer's head
 * (200) on the Unix socket. Then it is ended by SIGTERM.
 */
#include <inttypes.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static const int64_t longest_us = 60 * INT64_C(1000000);

static int64_t now_us(void)
{
    struct timespec now;

    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

static void pause_us(long us)
{
    const struct timespec pause = {.tv_nsec = us * 1000};

    (void)nanosleep(&pause, NULL);
}

/* true if it was answered by a 200 */
static int ask(const char *path, const char *target)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    char text[4096];
    int length =
        snprintf(text, sizeof text,
                 "GET %s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", target);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int is_answered = 0;

    (void)snprintf(address.sun_path, sizeof address.sun_path, "%s", path);
    if (fd >= 0 && connect(fd, (struct sockaddr *)&address, sizeof address) == 0 &&
        write(fd, text, (size_t)length) == length) {
        ssize_t got = read(fd, text, sizeof text);

        is_answered = got > 12 && memcmp(text, "HTTP/1.1 200", 12) == 0;
    }
    if (fd >= 0)
        (void)close(fd);
    return is_answered;
}

static pid_t start(size_t cpu, char **command)
{
    pid_t child = fork();

    if (child == 0) {
        cpu_set_t cpus;

        CPU_ZERO(&cpus);
        CPU_SET(cpu, &cpus);
        (void)sched_setaffinity(0, sizeof cpus, &cpus);
        (void)dup2(STDERR_FILENO, STDOUT_FILENO);
        (void)execvp(command[0], command);
        _exit(127);
    }
    return child;
}

int main(int argc, char **argv)
{
    if (argc < 6) {
        (void)fprintf(stderr, "usage: first_answer ROUNDS CPU SOCKET TARGET COMMAND...\n");
        return 2;
    }
    for (long round = strtol(argv[1], NULL, 10); round > 0; round--) {
        int64_t begin;
        pid_t child;
        int is_answered;

        (void)unlink(argv[3]);
        begin = now_us();
        child = start((size_t)strtol(argv[2], NULL, 10), argv + 5);
        if (child < 0)
            return 1;
        while (!(is_answered = ask(argv[3], argv[4])) && now_us() - begin < longest_us &&
               waitpid(child, NULL, WNOHANG) == 0)
            pause_us(50);
        if (is_answered)
            (void)printf("%" PRId64 "\n", now_us() - begin);
        (void)kill(child, SIGTERM);
        (void)waitpid(child, NULL, 0);
        if (!is_answered || fflush(stdout) != 0)
            return 1;
    }
    return 0;
}
