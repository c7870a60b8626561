#include "mongodb_fixture.h"

#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>
#include <mongoc/mongoc.h>

#include "remove_tree.h"
#include "store/module.h"

static char *base_uri;      /* of the server in use; a database may stand in it */
static char directory[256]; /* of FerretDB; "" if it was not started */
static pid_t server;
static int server_stdin; /* it ends when this is closed, also if this process crashes */
static int places;

static void use_library(void)
{
    /* its counters in /dev/shm stay there when a child ends by _exit */
    (void)setenv("MONGOC_DISABLE_SHM", "1", 1);
    mongoc_init();
    mt_store_use_modules();
}

static int cannot_run(const char *reason)
{
    const char *ci = getenv("CI");

    (void)printf("%s\n", reason);
    return ci != NULL && strcmp(ci, "true") == 0 ? 1 : MONGODB_SKIPPED;
}

/* the program's path, to be freed; NULL: not built */
static char *find_ferretdb(void)
{
    const char *given = getenv("MT_FERRETDB");
    char line[512] = "";
    FILE *printed;

    if (given != NULL)
        return strdup(given);
    printed = popen("'" MT_TESTS_DIR "/testbed/build' ferretdb --print 2>/dev/null", "re");
    if (printed == NULL)
        return NULL;
    if (fgets(line, sizeof line, printed) != NULL)
        line[strcspn(line, "\n")] = '\0';
    return pclose(printed) == 0 ? strdup(line) : NULL;
}

/* the child's end of the pipes; never returns */
static void become_server(const char *program, const int to[2], const int from[2])
{
    if (dup2(to[0], STDIN_FILENO) < 0 || dup2(from[1], STDOUT_FILENO) < 0)
        _exit(1);
    (void)execl(program, program, "--dir", directory, (char *)NULL);
    (void)fprintf(stderr, "%s: %s\n", program, strerror(errno));
    _exit(1);
}

static void start_server(const char *program)
{
    char line[256] = "";
    int to[2];
    int from[2];
    FILE *printed;

    if (pipe2(to, O_CLOEXEC) != 0 || pipe2(from, O_CLOEXEC) != 0)
        return;
    server = fork();
    if (server == 0)
        become_server(program, to, from);
    (void)close(to[0]);
    (void)close(from[1]);
    server_stdin = to[1];
    printed = fdopen(from[0], "r");
    if (printed == NULL)
        return;
    if (server > 0 && fgets(line, sizeof line, printed) != NULL) {
        line[strcspn(line, "\n")] = '\0';
        /* a machine that has much else to do is no fault of the store's */
        if (asprintf(&base_uri, "%s?socketTimeoutMS=30000", line) < 0)
            base_uri = NULL;
    }
    (void)fclose(printed);
}

int mongodb_use_ferretdb(void)
{
    char *program = find_ferretdb();
    const char *memory = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp";

    if (program == NULL)
        return cannot_run("FerretDB has not been built; run tests/testbed/build ferretdb");
    (void)snprintf(directory, sizeof directory, "%s/mt-ferretdb-XXXXXX", memory);
    if (mkdtemp(directory) == NULL) {
        perror(directory);
        directory[0] = '\0';
    } else {
        start_server(program);
    }
    free(program);
    if (base_uri == NULL) {
        (void)fprintf(stderr, "FerretDB did not start\n");
        mongodb_finish();
        return 1;
    }
    use_library();
    return 0;
}

int mongodb_use_mongod(void)
{
    const char *uri = getenv("MEMORY_TRACKER_TEST_MONGODB");

    /* no registry has a mongod: CI accepts that it is not there */
    if (uri == NULL || *uri == '\0') {
        (void)printf("skipped: MEMORY_TRACKER_TEST_MONGODB names no mongod\n");
        return MONGODB_SKIPPED;
    }
    base_uri = strdup(uri);
    use_library();
    return 0;
}

void mongodb_finish(void)
{
    if (server > 0) {
        (void)close(server_stdin);
        (void)waitpid(server, NULL, 0);
        server = 0;
    }
    if (directory[0] != '\0')
        (void)remove_tree(directory);
    directory[0] = '\0';
    free(base_uri);
    base_uri = NULL;
    mongoc_cleanup();
}

/* the same server with another database; whoever logs in does so where the given URI says */
void mongodb_make_place(char *uri, size_t size)
{
    const char *authority = strstr(base_uri, "://") + strlen("://");
    size_t until_path = (size_t)(authority - base_uri) + strcspn(authority, "/?");
    const char *path = base_uri + until_path + (base_uri[until_path] == '/' ? 1 : 0);
    const char *options = path + strcspn(path, "?");
    char source[128] = "";

    if (memchr(base_uri, '@', until_path) != NULL && strcasestr(options, "authSource=") == NULL)
        (void)snprintf(source, sizeof source, "%cauthSource=%.*s", *options == '?' ? '&' : '?',
                       options == path ? 5 : (int)(options - path),
                       options == path ? "admin" : path);
    assert_in_range(snprintf(uri, size, "%.*s/mt_test_%lld_%d_%d%s%s", (int)until_path, base_uri,
                             (long long)time(NULL), (int)getpid(), places++, options, source),
                    1, size - 1);
}

void mongodb_remove_place(const char *uri)
{
    mongoc_uri_t *parsed = mongoc_uri_new(uri);
    mongoc_client_t *client;
    mongoc_database_t *database;
    bson_error_t failure = {0};
    bool dropped;

    assert_non_null(parsed);
    client = mongoc_client_new_from_uri(parsed);
    assert_non_null(client);
    database = mongoc_client_get_database(client, mongoc_uri_get_database(parsed));
    dropped = mongoc_database_drop(database, &failure);
    mongoc_database_destroy(database);
    mongoc_client_destroy(client);
    mongoc_uri_destroy(parsed);
    if (!dropped)
        fail_msg("drop: %s", failure.message);
}
