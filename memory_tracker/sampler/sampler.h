/* The steps of a run of memory-sampler, in their order. One thread. */
#ifndef MT_SAMPLER_SAMPLER_H
#define MT_SAMPLER_SAMPLER_H

#include "base/config.h"
#include "record/record.h"

/* mt_sampler_take: the record of this second, complete and checked. FAILED if /proc does not tell.
 */
enum mt_err mt_sampler_take(const struct mt_config *config, struct mt_record *record,
                            struct mt_error *error);

/* mt_sampler_print: the record as a line of JSON on standard output. IO if that cannot be written.
 */
enum mt_err mt_sampler_print(const struct mt_record *record, struct mt_error *error);

/*
 * mt_sampler_keep: stores the record in a local store, or, when that does not take it, puts it into
 * the outbox and says so in one warning; either is MT_OK. When the store took it, what waited in
 * the outbox follows. REJECTED: the store will never take it. Any other error is the store's, with
 * the outbox's in its text: the record is lost. Takes less than 50 s, counted from start_ms
 * (monotonic). Then, where days are to be sealed or removed, mt_sampler_tend; for a server's store
 * see mt_sampler_hand_over; argv is main's.
 */
enum mt_err mt_sampler_keep(const struct mt_config *config, const struct mt_record *record,
                            int64_t start_ms, char *const *argv, struct mt_error *error);

/*
 * mt_sampler_hand_over: puts the record into the outbox and becomes memory-courier, with the
 * arguments and the environment of this run. Returns MT_OK where the courier cannot be executed,
 * which was logged, or had to be run before, since the outbox was full. On any error the record is
 * lost.
 */
enum mt_err mt_sampler_hand_over(const struct mt_config *config, const char *destination,
                                 const struct mt_record *record, char *const *argv,
                                 struct mt_error *error);

/*
 * mt_sampler_tend: becomes memory-courier, which seals finished days and applies RETENTION, with
 * the arguments and the environment of this run. Returns where it cannot be executed, which was
 * logged.
 */
void mt_sampler_tend(char *const *argv);

#endif
