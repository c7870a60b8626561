/* The HTTP store is held to the contract, each place a memory-api of its own on a fresh SQLite. */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "contract.h"
#include "store/module.h"

static const char token[] = "contract-suite-token-of-32-bytes";

/* A running server; at most a few are open at once. */
struct server {
    char uri[512];
    char directory[256];
    pid_t pid;
};

static struct server servers[8];

static const char *const files[] = {"tokens", "memory.db", "memory.db-journal", "api.log"};

static char *path_in(const struct server *server, const char *name)
{
    char *path = NULL;

    assert_true(asprintf(&path, "%s/%s", server->directory, name) > 0);
    return path;
}

static void write_tokens(const struct server *server)
{
    char *path = path_in(server, "tokens");
    FILE *file;

    (void)umask(077);
    file = fopen(path, "w");
    assert_non_null(file);
    assert_true(fprintf(file, "suite admin %s\n", token) > 0);
    assert_int_equal(fclose(file), 0);
    free(path);
}

/* What the child becomes; its standard output tells where it listens. */
static void run_api(const struct server *server, int output)
{
    const char *programs = getenv("MT_BIN_DIR");
    char *program = NULL;
    char *store = NULL;
    char *tokens = path_in(server, "tokens");
    char *log = path_in(server, "api.log");

    if (programs == NULL || asprintf(&program, "%s/memory-api", programs) < 0 ||
        asprintf(&store, "sqlite:%s/memory.db", server->directory) < 0 ||
        dup2(output, STDOUT_FILENO) < 0 || freopen(log, "w", stderr) == NULL)
        _exit(126);
    (void)execl(program, program, "--listen", "127.0.0.1:0", "--store", store, "--tokens", tokens,
                "--threads", "1", (char *)NULL);
    _exit(127);
}

/* An output line of the form "listening on http://127.0.0.1:PORT" ends the wait. */
static void wait_for_port(struct server *server, int output)
{
    static const char said[] = "listening on http://";
    FILE *lines = fdopen(output, "r");
    char line[256];

    assert_non_null(lines);
    while (fgets(line, sizeof line, lines) != NULL)
        if (strncmp(line, said, sizeof said - 1) == 0) {
            line[strcspn(line, "\n")] = '\0';
            (void)snprintf(server->uri, sizeof server->uri, "http://%s@%s", token,
                           line + sizeof said - 1);
            (void)fclose(lines);
            return;
        }
    fail_msg("memory-api ended before it listened; see %s/api.log", server->directory);
}

static void make_place(char *uri, size_t size)
{
    const char *base = getenv("TMPDIR");
    struct server *server = servers;
    int ends[2];

    while (server->pid != 0)
        server++;
    assert_true(server < servers + sizeof servers / sizeof servers[0]);
    (void)snprintf(server->directory, sizeof server->directory, "%s/mt-contract-XXXXXX",
                   base != NULL ? base : "/tmp");
    assert_non_null(mkdtemp(server->directory));
    write_tokens(server);
    assert_int_equal(pipe(ends), 0);
    server->pid = fork();
    assert_true(server->pid >= 0);
    if (server->pid == 0) {
        (void)close(ends[0]);
        run_api(server, ends[1]);
    }
    (void)close(ends[1]);
    wait_for_port(server, ends[0]);
    assert_true(strlen(server->uri) < size);
    (void)snprintf(uri, size, "%s", server->uri);
}

static void remove_place(const char *uri)
{
    struct server *server = servers;
    int status = 0;

    while (strcmp(server->uri, uri) != 0)
        server++;
    assert_int_equal(kill(server->pid, SIGTERM), 0);
    assert_int_equal(waitpid(server->pid, &status, 0), server->pid);
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
        fail_msg("memory-api ended with status %d; see %s/api.log", status, server->directory);
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
        char *path = path_in(server, files[i]);

        (void)unlink(path);
        free(path);
    }
    assert_int_equal(rmdir(server->directory), 0);
    *server = (struct server){0};
}

int main(void)
{
    const struct contract_kind kind = {.name = "http",
                                       .make_place = make_place,
                                       .remove_place = remove_place,
                                       .small = contract_is_sanitized()};

    mt_store_use_modules();
    return contract_run(&kind);
}
