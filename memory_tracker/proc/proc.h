/*
 * What the kernel says about memory now. This folder is the only one that reads /proc and knows
 * libproc2. Where a field's number stands is said by field.def; a line the kernel does not offer,
 * or one that makes no sense, is an absent field and never 0.
 */
#ifndef MT_PROC_PROC_H
#define MT_PROC_PROC_H

#include "record/record.h"

/*
 * mt_proc_read: fills boot_id, uptime_s, all gauges and all counters of *record, which the caller
 * has zeroed; host, timestamp and interval_s are the caller's to fill. FAILED, with what the file
 * says, if /proc/meminfo cannot be read or does not tell how much memory there is. Not thread-safe,
 * as libproc2 is not.
 */
enum mt_err mt_proc_read(struct mt_record *record, struct mt_error *error);

#endif
