/*
 * HEALTH_FILE: how others see whether the sampler, which is no daemon, does its work. It holds one
 * line, the Unix time and where the record is: "1647033600 store" or "1647033600 outbox".
 */
#ifndef MT_SAMPLER_HEALTH_H
#define MT_SAMPLER_HEALTH_H

#include "base/config.h"

/*
 * mt_sampler_mark_health: the record is durable in `place` ("store" or "outbox"). Does nothing
 * where HEALTH_FILE is not set. Failing is a warning, as the record is safe. The file is made with
 * mode 0644 whatever the umask, as the one who checks may be another user, and written in place,
 * which works on a full disk; links, pipes and files of others are left alone.
 */
void mt_sampler_mark_health(const struct mt_config *config, const char *place);

/*
 * mt_sampler_check_health: says on standard output how old the last record is, or fails: FAILED if
 * it is 2 * INTERVAL + 30 s old or more, if there is none, or if it is as far in the future, after
 * which nobody can tell (less than that is a clock that was put right, and no age); CONFIG without
 * HEALTH_FILE.
 */
enum mt_err mt_sampler_check_health(const struct mt_config *config, struct mt_error *error);

#endif
