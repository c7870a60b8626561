/*
 * The store contract. One ops table per kind of store; the URI's scheme chooses it; one suite
 * (tests/contract) runs against every kind.
 *
 * A handle is used by one thread at a time; several handles on one store, in any threads and
 * processes, may be used at once. No call waits longer than its options and deadlines say.
 *
 * Errors, alike in every kind: BUSY, UNAVAILABLE, FULL, READ_ONLY, MISSING (try again later),
 * PERMISSION, NOT_DATABASE, NEWER_SCHEMA (an operator must act), CORRUPT (stop; the text says how
 * to recover), DEADLINE, CANCELLED (the caller's own wish). After any error the store is as it was.
 */
#ifndef MT_STORE_STORE_H
#define MT_STORE_STORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "record/record.h"

struct mt_store; /* from mt_store_open, closed by mt_store_close */

struct mt_store_options {
    bool read_only;   /* never writes, never creates, works on a read-only mount */
    int busy_wait_ms; /* longest wait for another process's lock; 0: do not wait, say BUSY */
    int timeout_ms; /* remote kinds: longest a call waits for the server; 0: MT_STORE_TIMEOUT_MS */
};

/* Most that timeout_ms may be is MT_STORE_TIMEOUT_MOST_MS: no write is on its way for longer. */
enum { MT_STORE_TIMEOUT_MS = 10000, MT_STORE_TIMEOUT_MOST_MS = 30000 };

/*
 * mt_store_one_thread: this program has one thread; SQLite needs no locks of its own in it, nor
 * statistics. Before any store is opened.
 */
void mt_store_one_thread(void);

/*
 * mt_store_check: stores of this kind can be opened by this program, its module is there: CONFIG if
 * not. Touches no store.
 */
enum mt_err mt_store_check(const char *uri, struct mt_error *error);

/*
 * mt_store_open: opens, and unless read_only makes (schema and, if its parent exists and is ours,
 * the directory) or migrates the store that uri names. CONFIG for a scheme it does not know. *store
 * is untouched on failure.
 */
enum mt_err mt_store_open(const char *uri, const struct mt_store_options *options,
                          struct mt_store **store, struct mt_error *error);

/* mt_store_close: accepts NULL. */
void mt_store_close(struct mt_store *store);

enum mt_verdict {
    MT_VERDICT_NEW,      /* stored */
    MT_VERDICT_REPEAT,   /* was there already; nothing changed */
    MT_VERDICT_MOVED,    /* its second was taken: stored at the next free one */
    MT_VERDICT_CONFLICT, /* its second is taken by another record: left out */
    MT_VERDICT_REJECTED, /* not a proper record: left out; text says why */
};

/* What became of one record; filled by mt_store_append for each record when it returns MT_OK. */
struct mt_outcome {
    enum mt_verdict verdict;
    int64_t timestamp; /* where it stands now (NEW, REPEAT, MOVED), Unix s */
    char text[192];    /* reason of CONFLICT and REJECTED, else "" */
};

enum mt_on_conflict {
    MT_CONFLICT_MOVE,   /* a sampled record: keep it at the next free second */
    MT_CONFLICT_REPORT, /* an imported record: leave it out and say so */
};

/*
 * mt_store_append: durable when it returns MT_OK; in an embedded store all of the records in one
 * transaction, or none on any error. Idempotent: a record given again, also after it was moved, is
 * a REPEAT. Records of one call may collide with each other like any others. outcomes has count
 * elements.
 *
 * A sealed day that is damaged stands in nobody's way: a record that comes late to it is kept
 * beside it, as NEW although it may be there already, which cannot be told. It is logged once.
 * Readers of that day say CORRUPT as before; should it become readable again, they see what is
 * sealed of a second, and mt_store_compact keeps a record that is there twice once, and what is
 * another one at the next free second. Until then a skip, and the counts of mt_store_hosts, count
 * both.
 */
enum mt_err mt_store_append(struct mt_store *store, const struct mt_record *records, size_t count,
                            enum mt_on_conflict on_conflict, struct mt_outcome *outcomes,
                            struct mt_error *error);

enum mt_order { MT_OLDEST_FIRST, MT_NEWEST_FIRST };

/*
 * A question. Records are ordered by (timestamp, host's bytes). skip and limit are counted from the
 * newest matching record back; order only says in which order they are handed out.
 *
 * Unless `to` or hosts are given, records later than now_s + MT_FUTURE_SLACK_S do not match.
 * Zero-initialise, then set what is wanted; see MT_QUERY_ALL.
 */
struct mt_query {
    const char *const *hosts; /* NULL: all */
    size_t host_count;
    int64_t from;  /* first second that matches; 0: from the beginning */
    int64_t to;    /* first second that matches no more; 0: no end */
    int64_t now_s; /* the reader's clock, Unix s */
    int64_t skip;
    int64_t limit; /* 0: no limit */
    enum mt_order order;
    uint64_t fields;     /* MT_FIELD_BIT of what is wanted (host and timestamp always come) */
    int64_t deadline_ms; /* mt_clock_monotonic_ms at which to give up with DEADLINE; 0: never */
    bool (*cancelled)(
        void *context); /* asked now and then; true ends with CANCELLED; may be NULL */
    void *cancel_context;
};

/*
 * Takes one record; it is borrowed until the call returns. Anything but MT_OK stops the scan, which
 * then returns that code (the callee fills *error).
 */
typedef enum mt_err mt_emit(void *context, const struct mt_record *record, struct mt_error *error);

/*
 * mt_store_scan: hands out what matches, as it stood at one instant after the call began (a record
 * pruned meanwhile may be missing; of a remote store, one that was on its way when the call began
 * may or may not be there, nor is it certain what arrives while an http store hands out more than
 * one page, 20,000 records). Cost grows with what is handed out, not with history or skip.
 * Holds no lock for longer than 50 ms, none while emit runs longer than that, and so never holds
 * off an append.
 */
enum mt_err mt_store_scan(struct mt_store *store, const struct mt_query *query, mt_emit *emit,
                          void *context, struct mt_error *error);

/* A place in the order of arrival; a value, compared only with ==. {0, 0} is before everything. */
struct mt_token {
    uint64_t generation; /* changes whenever earlier places lost their meaning */
    int64_t sequence;
};

/* mt_store_token: the place after all that has arrived. */
enum mt_err mt_store_token(struct mt_store *store, struct mt_token *token, struct mt_error *error);

/*
 * mt_store_changes: what arrived after *token, in order of arrival, whatever its timestamp, at most
 * limit records (limit > 0); *token moves on past the last one handed out. *reset true, and nothing
 * handed out: the place is not known any more (prune, restore); *token then is the place after all
 * that has arrived, and the caller scans anew. {0, 0} never resets.
 *
 * A record that took long to arrive is not missed: remote kinds look back over the time that a
 * write can be on its way, and the handle remembers what it handed out. Where another handle goes
 * on from a token, and after mt_store_token of a store read from secondaries, what arrived in that
 * time may be handed out once more: keep records by their key.
 */
enum mt_err mt_store_changes(struct mt_store *store, struct mt_token *token, size_t limit,
                             mt_emit *emit, void *context, bool *reset, struct mt_error *error);

struct mt_host {
    char name[MT_HOST_MAX + 1];
    int64_t records;
    int64_t first, last; /* timestamps, Unix s */
    int64_t future;      /* records later than now_s + MT_FUTURE_SLACK_S */
    int64_t interval_s;  /* of the newest record; 0 if it has none */
};

typedef enum mt_err mt_emit_host(void *context, const struct mt_host *host, struct mt_error *error);

/* mt_store_hosts: every host that has records, in order of its name's bytes. */
enum mt_err mt_store_hosts(struct mt_store *store, int64_t now_s, mt_emit_host *emit, void *context,
                           struct mt_error *error);

/*
 * mt_store_prune: removes every record before the second `before`, in short transactions, and gives
 * the space back. *pruned counts them, also on failure. A damaged day goes like any other; one of
 * which a part stays that cannot be read is left whole: all the rest is removed, then CORRUPT.
 */
enum mt_err mt_store_prune(struct mt_store *store, int64_t before, int64_t *pruned,
                           struct mt_error *error);

/*
 * A host's day (UTC) is sealed MT_SEAL_AFTER_S after it ended, when most of what comes late is
 * there; what comes later still is merged by a later compaction.
 */
enum { MT_SEAL_AFTER_S = 7200 };

/* How a compaction goes, and what it did. Zero-initialise, then set what is wanted. */
struct mt_compaction {
    int64_t now_s;       /* the clock, Unix s: what ended long enough before is sealed */
    int64_t deadline_ms; /* mt_clock_monotonic_ms at which to stop, between two days; 0: never */
    bool (*cancelled)(void *context); /* asked between two days; true stops; may be NULL */
    void *cancel_context;
    int64_t days;    /* out: host-days sealed, or merged with late records */
    int64_t records; /* out: records that were loose and now are not */
    bool is_done;    /* out: nothing is left to do */
};

/*
 * mt_store_compact: seals finished host-days, oldest first, each in one transaction that is short
 * for others, merges late records into sealed ones, and gives free space back. Changes no answer of
 * the store, nor a place in the order of arrival. A day that cannot be read is left as it is: the
 * others are sealed, then CORRUPT. is_done is false with MT_OK only where it was told to stop, or
 * where others write many records into a day all the time. Kinds of store that seal nothing are
 * always done.
 */
enum mt_err mt_store_compact(struct mt_store *store, struct mt_compaction *compaction,
                             struct mt_error *error);

/*
 * mt_store_size: bytes that the history takes on disk, without what is free to be used again; of
 * MongoDB, what its documents take before they are compressed. It follows a prune at once.
 */
enum mt_err mt_store_size(struct mt_store *store, int64_t *bytes, struct mt_error *error);

/* What is aggregated: a field (its enum mt_field), or mem_total - mt_available_kib, in KiB. */
enum { MT_MEASURE_USED = MT_FIELD_COUNT };

/* Values of one measure in the seconds [start_s, start_s + step_s). */
struct mt_bucket {
    int64_t start_s;
    int64_t count;    /* records that have the measure, at least 1 */
    int64_t min, max; /* in its unit */
    double sum;       /* / count: the mean */
};

struct mt_aggregation {
    const char *host; /* NULL: the records of all hosts together */
    int measure;
    int64_t from, to;    /* as in mt_query, records of the future too */
    int64_t now_s;       /* as in mt_query */
    int64_t step_s;      /* > 0; buckets begin at multiples of it */
    int64_t deadline_ms; /* as in mt_query */
    bool (*cancelled)(void *context);
    void *cancel_context;
};

typedef enum mt_err mt_emit_bucket(void *context, const struct mt_bucket *bucket,
                                   struct mt_error *error);

/*
 * mt_store_aggregate: hands out every bucket that has a value, oldest first, exactly as a scan of
 * the records would give them. Where whole hours are asked for, a store that seals days answers
 * from what it keeps of each hour. Locks as mt_store_scan.
 */
enum mt_err mt_store_aggregate(struct mt_store *store, const struct mt_aggregation *aggregation,
                               mt_emit_bucket *emit, void *context, struct mt_error *error);

/* mt_store_ping: the store answers a read now. Cheap. */
enum mt_err mt_store_ping(struct mt_store *store, struct mt_error *error);

/* Takes one finding of a verification, a line for a person. */
typedef void mt_report(void *context, const char *text);

/*
 * mt_store_verify: reads every record and index and reports each inconsistency of the store itself;
 * no lock for longer than 50 ms. deep: also lets the engine check every page of a private copy made
 * in short steps. *findings counts the reports. MT_OK if it could look everywhere, whatever it
 * found.
 */
enum mt_err mt_store_verify(struct mt_store *store, bool deep, mt_report *report, void *context,
                            int64_t *findings, struct mt_error *error);

#endif
