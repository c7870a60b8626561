#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "store/spool_file.h"

enum {
    FIRST_BATCH = 50,       /* a store that is away costs little until it answers */
    SUSPECTS_MOST = 100,    /* records refused without a word about any other */
    SET_ASIDE_MOST = 10000, /* beyond that the oldest go, counted as dropped */
};

static const char oldest_sql[] = "SELECT id,host,timestamp,boot_id"
#define MT_FIELD(symbol, name, ...) "," #name
#include "record/field.def"
#undef MT_FIELD
                                 " FROM waiting INDEXED BY waiting_by_destination"
                                 " WHERE destination = ?1 AND id > ?2 ORDER BY id LIMIT ?3";

static const char set_aside_sql[] =
    "INSERT INTO rejected(id,reason,destination,host,timestamp,boot_id"
#define MT_FIELD(symbol, name, ...) "," #name
#include "record/field.def"
#undef MT_FIELD
    ") SELECT id,?2,destination,host,timestamp,boot_id"
#define MT_FIELD(symbol, name, ...) "," #name
#include "record/field.def"
#undef MT_FIELD
    " FROM waiting WHERE id = ?1";

/* A record that the store refused as a whole call, and the row it came from. */
struct suspect {
    int64_t id;
    struct mt_record record;
    struct mt_outcome outcome;
};

/* Records on their way out, with the rows they came from. */
struct batch {
    size_t count;
    int64_t ids[MT_SPOOL_BATCH];
    struct mt_record records[MT_SPOOL_BATCH];
    struct mt_outcome outcomes[MT_SPOOL_BATCH];
    size_t suspect_count;
    struct suspect suspects[SUSPECTS_MOST];
};

static bool is_refused(const struct mt_outcome *outcome)
{
    return outcome->verdict == MT_VERDICT_REJECTED || outcome->verdict == MT_VERDICT_CONFLICT;
}

static void read_record(sqlite3_stmt *statement, struct mt_record *record)
{
    *record = (struct mt_record){.timestamp = sqlite3_column_int64(statement, 2)};
    (void)snprintf(record->host, sizeof record->host, "%s",
                   (const char *)sqlite3_column_text(statement, 1));
    if (sqlite3_column_bytes(statement, 3) == MT_BOOT_ID_SIZE) {
        record->has_boot_id = true;
        memcpy(record->boot_id, sqlite3_column_blob(statement, 3), MT_BOOT_ID_SIZE);
    }
    for (enum mt_field i = 0; i < MT_FIELD_COUNT; i++)
        if (sqlite3_column_type(statement, SPOOL_FIRST_FIELD + (int)i) != SQLITE_NULL)
            mt_record_set(record, i, sqlite3_column_int64(statement, SPOOL_FIRST_FIELD + (int)i));
}

/* at most `most` rows after that id */
static enum mt_err read_batch(struct mt_spool *spool, const char *destination, int64_t after,
                              size_t most, struct batch *batch, struct mt_error *error)
{
    sqlite3_stmt *statement = NULL;
    int result = SQLITE_DONE;
    enum mt_err err = mt_sqlite_statement(&spool->file, oldest_sql, &statement, error);

    batch->count = 0;
    if (err != MT_OK)
        return err;
    (void)sqlite3_bind_text(statement, 1, destination, -1, SQLITE_STATIC);
    (void)sqlite3_bind_int64(statement, 2, after);
    (void)sqlite3_bind_int64(statement, 3, (int64_t)most);
    while (batch->count < most && (result = sqlite3_step(statement)) == SQLITE_ROW) {
        batch->ids[batch->count] = sqlite3_column_int64(statement, 0);
        read_record(statement, &batch->records[batch->count]);
        batch->count++;
    }
    if (result != SQLITE_ROW && result != SQLITE_DONE)
        err = mt_sqlite_fail(&spool->file, result, "read", error);
    (void)sqlite3_reset(statement);
    return err;
}

/* one row leaves the outbox; what was refused is set aside first */
static enum mt_err remove_row(struct mt_spool *spool, int64_t id, const struct mt_outcome *outcome,
                              struct mt_error *error)
{
    sqlite3_stmt *statement = NULL;
    enum mt_err err = MT_OK;

    if (is_refused(outcome)) {
        err = mt_sqlite_statement(&spool->file, set_aside_sql, &statement, error);
        if (err != MT_OK)
            return err;
        (void)sqlite3_bind_int64(statement, 1, id);
        (void)sqlite3_bind_text(statement, 2, outcome->text, -1, SQLITE_STATIC);
        err = mt_sqlite_run(&spool->file, statement, error);
    }
    if (err == MT_OK)
        err = mt_sqlite_statement(&spool->file, "DELETE FROM waiting WHERE id = ?1", &statement,
                                  error);
    if (err != MT_OK)
        return err;
    (void)sqlite3_bind_int64(statement, 1, id);
    return mt_sqlite_run(&spool->file, statement, error);
}

static enum mt_err bound_set_aside(struct mt_spool *spool, struct mt_error *error)
{
    char sql[256];

    (void)snprintf(sql, sizeof sql,
                   "DELETE FROM rejected WHERE id <= (SELECT id FROM rejected ORDER BY id DESC"
                   " LIMIT 1 OFFSET %d);"
                   "UPDATE counter SET dropped = dropped + changes() WHERE changes() > 0",
                   SET_ASIDE_MOST);
    return mt_sqlite_exec(&spool->file, sql, error);
}

static enum mt_err remove_batch(struct mt_spool *spool, const struct batch *batch,
                                size_t suspect_count, struct mt_error *error)
{
    enum mt_err err = mt_sqlite_begin(&spool->file, error);

    if (err != MT_OK)
        return err;
    for (size_t i = 0; i < suspect_count && err == MT_OK; i++)
        err = remove_row(spool, batch->suspects[i].id, &batch->suspects[i].outcome, error);
    for (size_t i = 0; i < batch->count && err == MT_OK; i++)
        err = remove_row(spool, batch->ids[i], &batch->outcomes[i], error);
    if (err == MT_OK)
        err = bound_set_aside(spool, error);
    if (err == MT_OK)
        return mt_sqlite_commit(&spool->file, error);
    mt_sqlite_rollback(&spool->file);
    return err;
}

static void tell(struct mt_spool_delivery *delivery, const struct mt_record *record,
                 const struct mt_outcome *outcome)
{
    if (is_refused(outcome))
        delivery->set_aside++;
    else
        delivery->delivered++;
    if (delivery->notice != NULL && (is_refused(outcome) || outcome->verdict == MT_VERDICT_MOVED))
        delivery->notice(delivery->context, record, outcome);
}

/* what the store acknowledged leaves the outbox, and with it the suspects if that proves them */
static enum mt_err settle(struct mt_spool *spool, struct mt_spool_delivery *delivery,
                          struct batch *batch, struct mt_error *error)
{
    size_t suspect_count = 0;
    enum mt_err err;

    for (size_t i = 0; i < batch->count && suspect_count == 0; i++)
        if (!is_refused(&batch->outcomes[i]))
            suspect_count = batch->suspect_count;
    err = remove_batch(spool, batch, suspect_count, error);
    if (err != MT_OK)
        return err;
    for (size_t i = 0; i < suspect_count; i++)
        tell(delivery, &batch->suspects[i].record, &batch->suspects[i].outcome);
    if (suspect_count > 0)
        batch->suspect_count = 0;
    for (size_t i = 0; i < batch->count; i++)
        tell(delivery, &batch->records[i], &batch->outcomes[i]);
    return MT_OK;
}

/* the batch's only record is passed over for now; false: that were too many */
static bool suspect(struct batch *batch, const struct mt_error *error)
{
    struct suspect *one = &batch->suspects[batch->suspect_count];

    if (batch->suspect_count == SUSPECTS_MOST)
        return false;
    one->id = batch->ids[0];
    one->record = batch->records[0];
    one->outcome = (struct mt_outcome){.verdict = MT_VERDICT_REJECTED};
    (void)snprintf(one->outcome.text, sizeof one->outcome.text, "%.*s",
                   (int)sizeof one->outcome.text - 1, error->text);
    batch->suspect_count++;
    return true;
}

static bool may_go_on(const struct mt_spool_delivery *delivery, enum mt_err *err,
                      struct mt_error *error)
{
    if (mt_clock_monotonic_ms() >= delivery->deadline_ms)
        return false;
    if (delivery->cancelled == NULL || !delivery->cancelled(delivery->context))
        return true;
    *err = mt_error_set(error, MT_ERR_CANCELLED, "interrupted");
    return false;
}

/* Slowness never makes batches tiny: what costs a call, not a record, would be paid more often. */
static size_t next_size(size_t size, int64_t took_ms, const struct mt_spool_delivery *delivery)
{
    if (delivery->slow_ms == 0 || took_ms < delivery->slow_ms)
        return 2 * size < MT_SPOOL_BATCH ? 2 * size : MT_SPOOL_BATCH;
    return size / 2 > FIRST_BATCH ? size / 2 : size < FIRST_BATCH ? size : FIRST_BATCH;
}

static enum mt_err deliver_batches(struct mt_spool *spool, struct mt_spool_delivery *delivery,
                                   struct batch *batch, struct mt_error *error)
{
    struct mt_error refusal = {0};
    size_t size = FIRST_BATCH;
    int64_t after = 0;
    enum mt_err err = MT_OK;

    while (err == MT_OK && may_go_on(delivery, &err, error)) {
        int64_t begin_ms = mt_clock_monotonic_ms();

        err = read_batch(spool, delivery->destination, after, size, batch, error);
        if (err != MT_OK || batch->count == 0)
            break;
        err = mt_store_append(delivery->store, batch->records, batch->count, MT_CONFLICT_MOVE,
                              batch->outcomes, &refusal);
        if (err == MT_ERR_REJECTED && batch->count > 1) {
            size = batch->count / 2;
            err = MT_OK;
        } else if (err == MT_ERR_REJECTED && suspect(batch, &refusal)) {
            after = batch->ids[0];
            err = MT_OK;
        } else if (err == MT_OK) {
            size = next_size(size, mt_clock_monotonic_ms() - begin_ms, delivery);
            err = settle(spool, delivery, batch, error);
        } else {
            return mt_error_set(error, err, "%s", refusal.text);
        }
    }
    if (err == MT_OK && batch->suspect_count > 0)
        err = mt_error_set(error, MT_ERR_REJECTED, "%s", refusal.text);
    return err;
}

enum mt_err mt_spool_deliver(struct mt_spool *spool, struct mt_spool_delivery *delivery,
                             struct mt_error *error)
{
    struct batch *batch = calloc(1, sizeof *batch);
    enum mt_err err;

    delivery->delivered = 0;
    delivery->set_aside = 0;
    if (batch == NULL)
        return mt_error_set(error, MT_ERR_NO_MEMORY, "outbox %s: out of memory", spool->file.path);
    err = mt_sqlite_look(&spool->file, error);
    if (err == MT_OK)
        err = deliver_batches(spool, delivery, batch, error);
    /* what an outage made large shrinks again; if not now, then after the next one */
    if (delivery->delivered + delivery->set_aside > 0)
        (void)mt_sqlite_exec(&spool->file, "PRAGMA incremental_vacuum", NULL);
    free(batch);
    return err;
}
