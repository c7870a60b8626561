/*
 * The contract suite: every promise of store.h, held against one kind of store. A kind's own test
 * program hands contract_run() a way to name fresh, empty stores.
 *
 * MT_CONTRACT_SEED (default 1) and MT_CONTRACT_ROUNDS (default 1) vary the random tests; the seed
 * is printed.
 */
#ifndef CONTRACT_H
#define CONTRACT_H

#include "store/store.h"

struct contract_kind {
    const char *name;
    /* names a store that does not exist yet, in a place of its own: its URI */
    void (*make_place)(char *uri, size_t size);
    void (*remove_place)(const char *uri);
    /* random tests are a tenth as large, for a server that reads whole collections for every
     * question or that is slow for another reason */
    bool small;
};

/* contract_run: runs the suite; the number of failed tests. */
int contract_run(const struct contract_kind *kind);

/* What a test has: a fresh place, and a handle on it that may write and waits up to 20 s. */
struct contract {
    const struct contract_kind *kind;
    char uri[512];
    struct mt_store *store;
};

/* Setup and teardown of a test; *state is a struct contract *. */
int contract_setup(void **state);
int contract_teardown(void **state);

/* Asserts that a call returned MT_OK; shows the text of `error`, which must be in scope. */
#define assert_ok(call)                                                                            \
    do {                                                                                           \
        enum mt_err assert_ok_ = (call);                                                           \
        if (assert_ok_ != MT_OK)                                                                   \
            fail_msg("%s: %s: %s", #call, mt_err_name(assert_ok_), error.text);                    \
    } while (0)

/* Opens one more handle on the test's store. */
struct mt_store *contract_open(const struct contract *contract, bool read_only, int busy_wait_ms);

/* A record with what each must have; uptime_s tells samples of one boot apart. */
struct mt_record contract_record(const char *host, int64_t timestamp, int64_t uptime_s);

/* Appends one record and returns what became of it. */
struct mt_outcome contract_append(struct mt_store *store, const struct mt_record *record,
                                  enum mt_on_conflict on_conflict);

/* Records in the order they were handed out. Zero-initialise; free with contract_list_free. */
struct contract_list {
    struct mt_record *records;
    size_t count;
    size_t capacity;
};
void contract_list_free(struct contract_list *list);
void contract_list_add(struct contract_list *list, const struct mt_record *record);

/* An mt_emit whose context is a struct contract_list. */
mt_emit contract_collect;

/* Scans into list, which is emptied first, and asserts that it went well. */
void contract_scan(struct mt_store *store, const struct mt_query *query,
                   struct contract_list *list);

/* Asserts that both are the same as far as the fields asked for go. */
void contract_check_same(const struct mt_record *got, const struct mt_record *expected,
                         uint64_t fields);

/* By time, then by host: an order for qsort and the like. */
int contract_compare(const void *a, const void *b);

/* Asserts that a host is what its records in the list make it at that time. */
void contract_check_host(const struct mt_host *host, const struct contract_list *model,
                         int64_t now_s);

/* A question for everything, also the future, all fields, oldest first. */
struct mt_query contract_everything(void);

/* The random tests' own generator; *state is never 0. */
uint64_t contract_random(uint64_t *state);
uint64_t contract_seed(void);
int contract_rounds(void);

/* With sanitizers each step takes some ten times as long, and what they look for shows in fewer. */
bool contract_is_sanitized(void);

/* A record of a random host, mostly one that a store takes, mostly with few fields. */
struct mt_record contract_random_record(uint64_t *random, int64_t timestamp);

/* What append does, on a list in order of arrival: the outcome, but for the text. */
struct mt_outcome contract_model_append(struct contract_list *model, const struct mt_record *record,
                                        enum mt_on_conflict on_conflict);

/* contract_concurrency.c, contract_model.c, contract_aggregate.c, contract_tend.c */
void contract_two_writers_and_readers(void **state);
void contract_first_openers_at_once(void **state);
void contract_size_follows_what_is_there(void **state);
void contract_retention_by_time(void **state);
void contract_retention_by_size(void **state);
void contract_model_small(void **state);
void contract_model_large(void **state);
void contract_aggregate_is_what_a_scan_gives(void **state);
void contract_aggregate_of_a_sparse_history(void **state);
void contract_aggregate_stops_when_told(void **state);

#endif
