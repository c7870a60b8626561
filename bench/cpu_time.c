/*
 * cpu_time ROUNDS CPU -- COMMAND... [-- COMMAND...]...: runs the commands one after the other, over
 * and over, and prints for each run a line
 *
 *   COMMAND-NUMBER USER+SYSTEM-US PEAK-KIB WALL-US STATUS
 *
 * Each round begins with a new second, since a sampler takes one record of a second, and with
 * another command: the first finds caches that were left alone for a while. Small, and its children
 * start by vfork: what a child has used begins with what its parent did.
 */
#include <fcntl.h>
#include <inttypes.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { COMMANDS_MOST = 16 };

static int64_t now_us(void)
{
    struct timespec now;

    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

static int64_t time_us(struct timeval time)
{
    return (int64_t)time.tv_sec * 1000000 + time.tv_usec;
}

static void wait_for_a_second(void)
{
    struct timespec next;

    (void)clock_gettime(CLOCK_REALTIME, &next);
    next.tv_sec++;
    next.tv_nsec = 1000000;
    while (clock_nanosleep(CLOCK_REALTIME, TIMER_ABSTIME, &next, NULL) != 0)
        continue;
}

static int run(int number, char **command, int null)
{
    int64_t begin = now_us();
    struct rusage usage;
    int status = 0;
    pid_t child = vfork();

    if (child == 0) {
        (void)dup2(null, STDOUT_FILENO);
        (void)execvp(command[0], command);
        _exit(127);
    }
    if (child < 0 || wait4(child, &status, 0, &usage) != child)
        return 1;
    (void)printf("%d %" PRId64 " %ld %" PRId64 " %d\n", number,
                 time_us(usage.ru_utime) + time_us(usage.ru_stime), usage.ru_maxrss,
                 now_us() - begin, WIFEXITED(status) ? WEXITSTATUS(status) : 256);
    return fflush(stdout);
}

int main(int argc, char **argv)
{
    char **commands[COMMANDS_MOST];
    int count = 0;
    cpu_set_t cpus;
    int null = open("/dev/null", O_WRONLY | O_CLOEXEC);

    for (int i = 3; i < argc; i++)
        if (strcmp(argv[i], "--") == 0) {
            argv[i] = NULL;
            if (count < COMMANDS_MOST && i + 1 < argc)
                commands[count++] = argv + i + 1;
        }
    if (count == 0 || null < 0) {
        (void)fprintf(stderr, "usage: cpu_time ROUNDS CPU -- COMMAND... [-- COMMAND...]...\n");
        return 2;
    }
    CPU_ZERO(&cpus);
    CPU_SET((size_t)strtol(argv[2], NULL, 10), &cpus);
    if (sched_setaffinity(0, sizeof cpus, &cpus) != 0) {
        perror("cpu_time");
        return 1;
    }
    for (long round = strtol(argv[1], NULL, 10); round > 0; round--) {
        wait_for_a_second();
        for (int i = 0; i < count; i++) {
            int number = (int)((round + i) % count);

            if (run(number, commands[number], null) != 0)
                return 1;
        }
    }
    return 0;
}
