/* Several processes on one store. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "contract.h"

enum {
    WRITERS = 2,
    BATCHES = 60,
    PER_BATCH = 3, /* records of one batch have one second and different hosts */
    WAIT_MS = 60000,
};

/* a child says what went wrong with its exit status and a line; cmocka is the parent's alone */
static void end_child(const char *what, const struct mt_error *error)
{
    if (error != NULL)
        (void)fprintf(stderr, "writer: %s: %s\n", what, error->text);
    _exit(error != NULL ? 1 : 0);
}

static void write_batches(const struct contract *contract, int writer)
{
    struct mt_store_options options = {.busy_wait_ms = WAIT_MS};
    struct mt_store *store = NULL;
    struct mt_error error = {0};

    if (mt_store_open(contract->uri, &options, &store, &error) != MT_OK)
        end_child("open", &error);
    for (int i = 0; i < BATCHES; i++) {
        struct mt_record records[PER_BATCH];
        struct mt_outcome outcomes[PER_BATCH];

        for (int j = 0; j < PER_BATCH; j++) {
            char host[32];

            (void)snprintf(host, sizeof host, "host-%d-%d", writer, j);
            records[j] = contract_record(host, 1000 + i, i);
        }
        if (mt_store_append(store, records, PER_BATCH, MT_CONFLICT_REPORT, outcomes, &error) !=
            MT_OK)
            end_child("append", &error);
    }
    mt_store_close(store);
    end_child(NULL, NULL);
}

/* of every batch all of the records or none: an instant, never a moment within a transaction */
static void check_whole_batches(const struct contract_list *list)
{
    int seen[WRITERS][BATCHES] = {{0}};

    for (size_t i = 0; i < list->count; i++) {
        int writer = list->records[i].host[5] - '0';

        assert_in_range(writer, 0, WRITERS - 1);
        seen[writer][list->records[i].timestamp - 1000]++;
    }
    for (int writer = 0; writer < WRITERS; writer++)
        for (int i = 0; i < BATCHES; i++)
            assert_true(seen[writer][i] == 0 || seen[writer][i] == PER_BATCH);
}

static void no_finding(void *context, const char *text)
{
    (void)context;
    fail_msg("verify: %s", text);
}

/* what others write meanwhile is no finding; at worst there is no looking for the moment */
static void verify_meanwhile(struct mt_store *store, bool deep)
{
    struct mt_error error = {0};
    int64_t findings = -1;
    enum mt_err err = mt_store_verify(store, deep, no_finding, NULL, &findings, &error);

    if (err != MT_ERR_BUSY)
        assert_ok(err);
    assert_int_equal(findings, 0);
}

static int children_left(pid_t children[WRITERS])
{
    int left = 0;

    for (int i = 0; i < WRITERS; i++) {
        int status = 0;

        if (children[i] == 0)
            continue;
        if (waitpid(children[i], &status, WNOHANG) == 0) {
            left++;
            continue;
        }
        children[i] = 0;
        assert_true(WIFEXITED(status));
        assert_int_equal(WEXITSTATUS(status), 0);
    }
    return left;
}

void contract_two_writers_and_readers(void **state)
{
    struct contract *contract = *state;
    struct mt_query query = contract_everything();
    struct contract_list list = {0};
    struct contract_list followed = {0};
    struct mt_token token = {0};
    struct mt_store *reader;
    struct mt_error error = {0};
    pid_t children[WRITERS];
    bool reset = false;
    int left;

    /* no handle is open across the forks */
    mt_store_close(contract->store);
    contract->store = NULL;
    for (int i = 0; i < WRITERS; i++) {
        children[i] = fork();
        if (children[i] == 0)
            write_batches(contract, i);
        assert_true(children[i] > 0);
    }
    reader = contract_open(contract, true, WAIT_MS);
    do {
        left = children_left(children);
        query.order = query.order == MT_OLDEST_FIRST ? MT_NEWEST_FIRST : MT_OLDEST_FIRST;
        contract_scan(reader, &query, &list);
        check_whole_batches(&list);
        assert_ok(
            mt_store_changes(reader, &token, 100, contract_collect, &followed, &reset, &error));
        assert_false(reset);
        verify_meanwhile(reader, left % 2 == 0);
    } while (left > 0);
    contract_scan(reader, &query, &list);
    assert_int_equal(list.count, WRITERS * BATCHES * PER_BATCH);
    while (followed.count < list.count) {
        size_t before = followed.count;

        assert_ok(
            mt_store_changes(reader, &token, 100, contract_collect, &followed, &reset, &error));
        assert_true(followed.count > before);
    }
    check_whole_batches(&followed);
    mt_store_close(reader);
    contract_list_free(&list);
    contract_list_free(&followed);
}

static void open_and_append(const char *uri, int opener)
{
    struct mt_store_options options = {.busy_wait_ms = WAIT_MS};
    struct mt_record record = contract_record("h", 1000 + opener, opener);
    struct mt_store *store = NULL;
    struct mt_outcome outcome;
    struct mt_error error = {0};

    if (mt_store_open(uri, &options, &store, &error) != MT_OK)
        end_child("open", &error);
    if (mt_store_append(store, &record, 1, MT_CONFLICT_REPORT, &outcome, &error) != MT_OK)
        end_child("append", &error);
    mt_store_close(store);
    end_child(NULL, NULL);
}

/* the first records of a store may come from several samplers at once */
void contract_first_openers_at_once(void **state)
{
    const int rounds = 10 * contract_rounds();
    struct contract *contract = *state;
    struct mt_query query = contract_everything();
    struct contract_list list = {0};

    for (int round = 0; round < rounds; round++) {
        struct contract fresh = *contract;
        pid_t children[WRITERS];

        fresh.kind->make_place(fresh.uri, sizeof fresh.uri);
        for (int i = 0; i < WRITERS; i++) {
            children[i] = fork();
            if (children[i] == 0)
                open_and_append(fresh.uri, i);
            assert_true(children[i] > 0);
        }
        for (int i = 0; i < WRITERS; i++) {
            int status = 0;

            assert_int_equal(waitpid(children[i], &status, 0), children[i]);
            assert_true(WIFEXITED(status));
            assert_int_equal(WEXITSTATUS(status), 0);
        }
        fresh.store = contract_open(&fresh, true, 0);
        contract_scan(fresh.store, &query, &list);
        assert_int_equal(list.count, WRITERS);
        mt_store_close(fresh.store);
        fresh.kind->remove_place(fresh.uri);
    }
    contract_list_free(&list);
}
