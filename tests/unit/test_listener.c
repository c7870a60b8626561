#include "unit.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "api/listener.h"

static char directory[64];

static int make_directory(void **state)
{
    (void)state;
    (void)snprintf(directory, sizeof directory, "/tmp/mt-listener-XXXXXX");
    return mkdtemp(directory) == NULL;
}

static int remove_directory(void **state)
{
    (void)state;
    return rmdir(directory);
}

static const char *in_directory(const char *prefix, const char *name)
{
    static char path[4][128];
    static unsigned turn;

    turn = (turn + 1) % 4;
    (void)snprintf(path[turn], sizeof path[turn], "%s%s/%s", prefix, directory, name);
    return path[turn];
}

static void open_well(const char *listen_value, struct mt_listeners *listeners)
{
    struct mt_error error = {0};

    if (mt_listeners_open(listen_value, listeners, &error) != MT_OK)
        fail_msg("%s", error.text);
}

static void assert_refused(const char *listen_value, const char *words)
{
    struct mt_listeners listeners;
    struct mt_error error = {0};

    assert_int_equal(mt_listeners_open(listen_value, &listeners, &error), MT_ERR_FAILED);
    if (strstr(error.text, words) == NULL)
        fail_msg("'%s' is not in '%s'", words, error.text);
    assert_int_equal(listeners.count, 0);
}

static int connect_unix(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);

    assert_true(fd >= 0);
    (void)snprintf(address.sun_path, sizeof address.sun_path, "%s", path);
    if (connect(fd, (struct sockaddr *)&address, sizeof address) == 0)
        return fd;
    (void)close(fd);
    return -1;
}

/* Whether a client got through to the listener's queue. */
static bool takes_client(const struct mt_listener *listener)
{
    int fd = accept(listener->fd, NULL, NULL);

    if (fd < 0)
        assert_int_equal(errno, EAGAIN);
    else
        (void)close(fd);
    return fd >= 0;
}

static void test_any_free_port_becomes_a_real_one(void **state)
{
    struct mt_listeners listeners;
    char text[MT_LISTENER_TEXT];
    char expected[MT_LISTENER_TEXT];

    (void)state;
    open_well("127.0.0.1:0,127.0.0.1:0", &listeners);
    assert_int_equal(listeners.count, 2);
    assert_int_not_equal(listeners.item[0].where.port, 0);
    assert_int_not_equal(listeners.item[0].where.port, listeners.item[1].where.port);
    mt_listener_print(&listeners.item[0], text);
    (void)snprintf(expected, sizeof expected, "http://127.0.0.1:%d", listeners.item[0].where.port);
    assert_string_equal(text, expected);
    mt_listeners_close(&listeners);
    mt_listeners_close(&listeners);
}

static void test_a_port_in_use_is_refused_by_name(void **state)
{
    struct mt_listeners listeners;
    char again[64];

    (void)state;
    open_well("127.0.0.1:0", &listeners);
    (void)snprintf(again, sizeof again, "127.0.0.1:0,127.0.0.1:%d", listeners.item[0].where.port);
    assert_refused(again, "Address already in use; another program uses it");
    mt_listeners_close(&listeners);
}

static void test_an_address_of_another_machine_is_refused(void **state)
{
    (void)state;
    assert_refused("192.0.2.1:0", "no interface of this machine has that address");
}

static void test_more_addresses_than_it_holds_are_refused(void **state)
{
    static const char one[] = ",127.0.0.1:0";
    char value[sizeof one * (MT_LISTENERS_MAX + 1)];
    struct mt_listeners listeners;
    struct mt_error error = {0};

    (void)state;
    for (size_t i = 0; i <= MT_LISTENERS_MAX; i++)
        memcpy(value + i * (sizeof one - 1), one, sizeof one);
    assert_int_equal(mt_listeners_open(value + 1, &listeners, &error), MT_ERR_CONFIG);
    assert_int_equal(listeners.count, 0);
}

static void test_a_unix_socket_is_for_owner_and_group_and_goes_in_the_end(void **state)
{
    struct mt_listeners listeners;
    char text[MT_LISTENER_TEXT];
    struct stat status;
    mode_t mask = umask(0);
    int client;

    (void)state;
    open_well(in_directory("unix:", "api"), &listeners);
    assert_int_equal(umask(mask), 0);
    assert_int_equal(stat(in_directory("", "api"), &status), 0);
    assert_int_equal(status.st_mode, S_IFSOCK | 0660);
    mt_listener_print(&listeners.item[0], text);
    assert_string_equal(text, in_directory("unix:", "api"));
    client = connect_unix(in_directory("", "api"));
    assert_true(client >= 0);
    assert_true(takes_client(&listeners.item[0]));
    (void)close(client);
    mt_listeners_close(&listeners);
    assert_int_equal(stat(in_directory("", "api"), &status), -1);
}

static void test_a_socket_left_behind_is_replaced(void **state)
{
    struct mt_listeners left;
    struct mt_listeners listeners;

    (void)state;
    open_well(in_directory("unix:", "api"), &left);
    (void)close(left.item[0].fd);
    open_well(in_directory("unix:", "api"), &listeners);
    mt_listeners_close(&listeners);
}

static void test_a_living_socket_and_other_files_are_left_alone(void **state)
{
    struct mt_listeners listeners;
    int file;

    (void)state;
    open_well(in_directory("unix:", "api"), &listeners);
    assert_refused(in_directory("unix:", "api"), "another program uses it");
    assert_true(connect_unix(in_directory("", "api")) >= 0);
    mt_listeners_close(&listeners);
    file = open(in_directory("", "api"), O_CREAT | O_WRONLY, 0600);
    assert_true(file >= 0);
    (void)close(file);
    assert_refused(in_directory("unix:", "api"), "that file is not a socket");
    assert_int_equal(unlink(in_directory("", "api")), 0);
    assert_refused(in_directory("unix:", "none/api"), "the directory does not exist");
}

static void test_a_file_that_another_put_there_is_not_removed(void **state)
{
    struct mt_listeners first;
    struct mt_listeners second;

    (void)state;
    open_well(in_directory("unix:", "api"), &first);
    assert_int_equal(unlink(in_directory("", "api")), 0);
    open_well(in_directory("unix:", "api"), &second);
    mt_listeners_close(&first);
    assert_int_equal(access(in_directory("", "api"), F_OK), 0);
    mt_listeners_close(&second);
    assert_int_equal(access(in_directory("", "api"), F_OK), -1);
}

/* some kernels want CAP_NET_ADMIN for a socket filter, which a container does not have */
static bool filters_are_allowed(const struct mt_listener *listener)
{
    struct sock_filter code[] = {BPF_STMT(BPF_RET | BPF_K, UINT32_MAX)};
    struct sock_fprog program = {1, code};

    return setsockopt(listener->fd, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof program) == 0;
}

static void test_turned_away_clients_wait_unanswered_and_those_inside_stay(void **state)
{
    struct mt_listeners listeners;
    struct sockaddr_in address = {.sin_family = AF_INET};
    int early = socket(AF_INET, SOCK_STREAM, 0);
    int late = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    struct pollfd arrival = {.events = POLLIN};
    bool filtered;
    int file;

    (void)state;
    open_well("127.0.0.1:0", &listeners);
    filtered = filters_are_allowed(&listeners.item[0]);
    arrival.fd = listeners.item[0].fd;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    address.sin_port = htons(listeners.item[0].where.port);
    assert_int_equal(connect(early, (struct sockaddr *)&address, sizeof address), 0);
    mt_listener_turn_away(&listeners.item[0]);
    assert_int_equal(connect(late, (struct sockaddr *)&address, sizeof address), -1);
    assert_int_equal(errno, EINPROGRESS);
    /* connect() returns before the last packet of the handshake is in */
    assert_int_equal(poll(&arrival, 1, 10000), 1);
    assert_true(takes_client(&listeners.item[0]));
    if (filtered)
        assert_false(takes_client(&listeners.item[0]));
    (void)close(early);
    (void)close(late);
    mt_listeners_close(&listeners);

    open_well(in_directory("unix:", "api"), &listeners);
    early = connect_unix(in_directory("", "api"));
    assert_true(early >= 0);
    mt_listener_turn_away(&listeners.item[0]);
    assert_int_equal(connect_unix(in_directory("", "api")), -1);
    assert_true(takes_client(&listeners.item[0]));
    (void)close(early);
    /* a successor may have its own socket there by now */
    file = open(in_directory("", "api"), O_CREAT | O_WRONLY, 0600);
    (void)close(file);
    mt_listeners_close(&listeners);
    assert_int_equal(unlink(in_directory("", "api")), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_any_free_port_becomes_a_real_one),
        cmocka_unit_test(test_a_port_in_use_is_refused_by_name),
        cmocka_unit_test(test_an_address_of_another_machine_is_refused),
        cmocka_unit_test(test_more_addresses_than_it_holds_are_refused),
        cmocka_unit_test(test_a_unix_socket_is_for_owner_and_group_and_goes_in_the_end),
        cmocka_unit_test(test_a_socket_left_behind_is_replaced),
        cmocka_unit_test(test_a_living_socket_and_other_files_are_left_alone),
        cmocka_unit_test(test_a_file_that_another_put_there_is_not_removed),
        cmocka_unit_test(test_turned_away_clients_wait_unanswered_and_those_inside_stay),
    };
    return cmocka_run_group_tests(tests, make_directory, remove_directory);
}
