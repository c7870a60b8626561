/*
 * What keeps a history small: finished days are sealed, the oldest days go by setting RETENTION.
 * One for all that tend a store: the courier, the API, memory-tracker. No state; the handle's
 * thread.
 */
#ifndef MT_STORE_TEND_H
#define MT_STORE_TEND_H

#include "base/buf.h"
#include "store/store.h"

/* mt_tend_open: as mt_store_open, for writing, but never makes a store: MISSING. */
enum mt_err mt_tend_open(const char *uri, const struct mt_store_options *options,
                         struct mt_store **store, struct mt_error *error);

/* What is to go, and what went. Zero-initialise, then set what is wanted. */
struct mt_pruning {
    int64_t before;      /* whole days (UTC) before this second; 0: none */
    int64_t kept;        /* and by RETENTION, as mt_retention_parse gives it; 0: all is kept */
    int64_t now_s;       /* the clock, Unix s; its day never goes, nor a later one */
    int64_t deadline_ms; /* mt_clock_monotonic_ms at which to stop, between two days; 0: never */
    bool (*cancelled)(void *context); /* asked between two days; true stops; may be NULL */
    void *cancel_context;
    int64_t records;     /* out: how many went */
    int64_t first, end;  /* out, if any went: the seconds in which the first of their days begins
                            and the last one ends */
    int64_t size_before; /* out: bytes, or -1 where kept is no size */
    int64_t size;        /* out: the same afterwards */
    bool is_done;        /* out: nothing is left to go */
};

/*
 * mt_prune_days: removes the oldest whole days, of all hosts: those before pruning->before, those
 * that were over `kept` seconds ago or longer, and, day by day, as many as it takes until the store
 * is not larger than `kept` bytes. What went is told also on failure.
 */
enum mt_err mt_prune_days(struct mt_store *store, struct mt_pruning *pruning,
                          struct mt_error *error);

/*
 * mt_prune_foretell: what mt_prune_days would do, by reading what would go: exactly for times;
 * about, taking records for equally large, for a size.
 */
enum mt_err mt_prune_foretell(struct mt_store *store, struct mt_pruning *pruning,
                              struct mt_error *error);

/* A look after a store. Zero-initialise, then set the first ones of pruning, which are also those
 * of the compaction. */
struct mt_tending {
    struct mt_pruning pruning;
    struct mt_compaction compaction; /* out */
};

/*
 * mt_tend: removes the days whose time is over, seals finished days, and removes what is then too
 * much for a size. Unattended, so that a clock that is wrong must not cost the history: `kept` as a
 * time removes nothing unless the store has a record of the time that is kept that is a day old.
 * MT_OK also where the deadline or the caller stopped it: is_done of both tells.
 */
enum mt_err mt_tend(struct mt_store *store, struct mt_tending *tending, struct mt_error *error);

/* mt_tend_describe: appends what was done, one phrase for a person; nothing if that was nothing. */
void mt_tend_describe(const struct mt_tending *tending, struct mt_buf *out);

/* mt_tend_describe_days: appends "2026-08-20" or "2026-08-20 to 2026-08-22": the days of what went.
 */
void mt_tend_describe_days(const struct mt_pruning *pruning, struct mt_buf *out);

/*
 * mt_tend_is_hour: an hour has begun, by this host's own minute, within the last interval_s: looks
 * that many samplers make once an hour are not made in the same minute.
 */
bool mt_tend_is_hour(const char *host, int64_t now_s, int64_t interval_s);

#endif
