#include "api/reader.h"

#include <stdlib.h>

#include "base/clock.h"

struct mt_lease *mt_lease_take(struct mt_lease *lease)
{
    lease->users++;
    return lease;
}

void mt_lease_return(struct mt_lease *lease)
{
    if (lease == NULL || --lease->users > 0)
        return;
    mt_view_unref(lease->view);
    free(lease);
}

enum mt_err mt_reader_init(struct mt_reader *reader, struct mt_news *news, const char *store,
                           int64_t trusted_ms, struct mt_error *error)
{
    *reader = (struct mt_reader){.news = news, .trusted_ms = trusted_ms};
    return mt_stamp_watch_new(store, &reader->watch, error);
}

void mt_reader_fini(struct mt_reader *reader)
{
    mt_view_unref(mt_letterbox_swap(&reader->incoming, NULL));
    mt_lease_return(reader->lease);
    reader->lease = NULL;
    mt_stamp_watch_free(reader->watch);
    reader->watch = NULL;
}

/* False: there is no view at all. */
static bool take_newest(struct mt_reader *reader)
{
    struct mt_view *view;
    struct mt_lease *lease;

    if (!mt_letterbox_is_full(&reader->incoming))
        return reader->lease != NULL;
    view = mt_letterbox_swap(&reader->incoming, NULL);
    lease = malloc(sizeof *lease);
    mt_lease_return(reader->lease);
    reader->lease = lease;
    if (lease == NULL) {
        mt_view_unref(view);
        return false;
    }
    *lease = (struct mt_lease){.view = view, .users = 1};
    return true;
}

static bool is_recent(const struct mt_reader *reader)
{
    int64_t current_ms = mt_gauge_get(&reader->news->current_ms);

    return current_ms != 0 && mt_gauge_get(&reader->news->ails) == 0 &&
           mt_clock_monotonic_ms() - current_ms < reader->trusted_ms;
}

/* After a file was replaced, both sides may be the ones to find out. */
static uint64_t read_stamp(struct mt_reader *reader, uint64_t known)
{
    uint64_t stamp = mt_stamp_watch_read(reader->watch);

    if (stamp == 0 || mt_stamp_same_file(stamp, known))
        return stamp;
    mt_stamp_watch_look(reader->watch);
    return mt_stamp_watch_read(reader->watch);
}

enum mt_reading mt_reader_look(struct mt_reader *reader)
{
    uint64_t known, stamp;

    if (reader->watch == NULL)
        return is_recent(reader) && take_newest(reader) ? MT_READING_CURRENT : MT_READING_UNKNOWN;
    known = (uint64_t)mt_gauge_get(&reader->news->stamp);
    if (known == 0)
        return MT_READING_UNKNOWN;
    stamp = read_stamp(reader, known);
    if (stamp != known)
        return stamp != 0 && mt_gauge_get(&reader->news->ails) == 0 ? MT_READING_STALE
                                                                    : MT_READING_UNKNOWN;
    return take_newest(reader) ? MT_READING_CURRENT : MT_READING_UNKNOWN;
}

int64_t mt_reader_ticket(const struct mt_reader *reader)
{
    return mt_gauge_get(&reader->news->begun);
}

enum mt_reading_end mt_reader_check(struct mt_reader *reader, int64_t ticket)
{
    if (mt_gauge_get(&reader->news->ended) <= ticket)
        return MT_READING_GOES_ON;
    /* this may already be of a later refresh, which knows no less */
    if (mt_gauge_get(&reader->news->ails) != 0 || !take_newest(reader))
        return MT_READING_FAILED;
    return MT_READING_DONE;
}

void mt_reader_settle(struct mt_reader *reader)
{
    (void)take_newest(reader);
    mt_gauge_raise(&reader->news->wanted, reader->wanted);
    reader->wanted = 0;
}
