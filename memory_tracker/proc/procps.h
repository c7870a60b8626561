/* What libproc2 says about fields whose presence is known already. Not thread-safe. */
#ifndef MT_PROC_PROCPS_H
#define MT_PROC_PROCPS_H

#include "record/record.h"

/*
 * mt_procps_meminfo, mt_procps_vmstat: put libproc2's value, all from one read of the file, into
 * every field that *record has and libproc2 knows. libproc2 says 0 for a line it did not find and
 * MemFree for a MemAvailable it does not believe: there the value *record came with stays, as it
 * does when libproc2 fails, which is logged.
 */
void mt_procps_meminfo(struct mt_record *record);
void mt_procps_vmstat(struct mt_record *record);

#endif
