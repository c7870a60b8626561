/* What libproc2 says about fields whose presence is known already. Not thread-safe. */
#ifndef MT_PROC_PROCPS_H
#define MT_PROC_PROCPS_H

#include "record/record.h"

/*
 * mt_procps_meminfo: puts libproc2's value, all from one read of the file, into every field that
 * *record has and libproc2 knows. libproc2 says 0 for a line it did not find and MemFree for a
 * MemAvailable it does not believe: there the value *record came with stays, as it does when
 * libproc2 fails, which is logged. vmstat is not asked of it: it knows half of our counters, reads
 * them by a second read(2) of the file, which the kernel makes anew, and hashes all two hundred
 * lines, a tenth of what a sample costs.
 */
void mt_procps_meminfo(struct mt_record *record);

#endif
