/*
 * ceiling [HEADER=VALUE...] PATH=FILE...: the most that this HTTP library can give on one core. The
 * bytes of each file are the constant answer to its path; every answer has the given headers. Takes
 * a free port of 127.0.0.1, which it prints, and serves until it is killed.
 */
#include <arpa/inet.h>
#include <h2o.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include <h2o/file.h>

struct constant {
    h2o_handler_t super; /* first: the library makes it */
    h2o_iovec_t body;
};

static h2o_iovec_t headers[32][2];
static size_t header_count;
static h2o_accept_ctx_t accept_context;

static int on_request(h2o_handler_t *handler, h2o_req_t *request)
{
    static h2o_generator_t generator;
    struct constant *constant = (struct constant *)handler;

    request->res.status = 200;
    request->res.reason = "OK";
    request->res.content_length = constant->body.len;
    for (size_t i = 0; i < header_count; i++)
        h2o_add_header_by_str(&request->pool, &request->res.headers, headers[i][0].base,
                              headers[i][0].len, 0, NULL, headers[i][1].base, headers[i][1].len);
    h2o_start_response(request, &generator);
    h2o_send(request, &constant->body, 1, H2O_SEND_STATE_FINAL);
    return 0;
}

static void on_accept(h2o_socket_t *listener, const char *error)
{
    h2o_socket_t *client;

    while (!error && (client = h2o_evloop_socket_accept(listener)))
        h2o_accept(&accept_context, client);
}

static int listen_somewhere(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof address;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

    if (fd < 0 || bind(fd, (struct sockaddr *)&address, length) != 0 || listen(fd, 1024) != 0 ||
        getsockname(fd, (struct sockaddr *)&address, &length) != 0) {
        perror("ceiling");
        exit(1);
    }
    (void)printf("%d\n", ntohs(address.sin_port));
    (void)fflush(stdout);
    return fd;
}

int main(int argc, char **argv)
{
    h2o_globalconf_t config;
    h2o_context_t context;
    h2o_hostconf_t *host;

    /* of clients that go before all was sent */
    (void)signal(SIGPIPE, SIG_IGN);
    h2o_config_init(&config);
    config.server_name = h2o_iovec_init(H2O_STRLIT("memory-tracker"));
    host = h2o_config_register_host(&config, h2o_iovec_init(H2O_STRLIT("default")), 65535);
    for (int i = 1; i < argc; i++) {
        char *value = strchr(argv[i], '=');

        if (!value)
            return 2;
        *value++ = '\0';
        if (argv[i][0] == '/') {
            h2o_pathconf_t *path = h2o_config_register_path(host, argv[i], 0);
            struct constant *constant =
                (struct constant *)h2o_create_handler(path, sizeof *constant);

            constant->super.on_req = on_request;
            constant->body = h2o_file_read(value);
            if (!constant->body.base)
                return 1;
        } else if (header_count < sizeof headers / sizeof headers[0]) {
            headers[header_count][0] = h2o_iovec_init(argv[i], strlen(argv[i]));
            headers[header_count++][1] = h2o_iovec_init(value, strlen(value));
        }
    }
    h2o_context_init(&context, h2o_evloop_create(), &config);
    accept_context = (h2o_accept_ctx_t){.ctx = &context, .hosts = config.hosts};
    h2o_socket_read_start(
        h2o_evloop_socket_create(context.loop, listen_somewhere(), H2O_SOCKET_FLAG_DONT_READ),
        on_accept);
    while (h2o_evloop_run(context.loop, INT32_MAX) == 0)
        continue;
    return 1;
}
