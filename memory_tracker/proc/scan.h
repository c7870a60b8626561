/*
 * Total parsers of the files of /proc: they take any bytes, set the fields of *record whose lines
 * are there and make sense, and leave the others alone. A known line with a value that makes no
 * sense is logged as a warning. Of a repeated line the last one counts. Any thread.
 */
#ifndef MT_PROC_SCAN_H
#define MT_PROC_SCAN_H

#include "base/text.h"
#include "record/record.h"

/* mt_scan_meminfo: /proc/meminfo. Huge pages are turned into KiB by the line Hugepagesize. */
void mt_scan_meminfo(struct mt_slice text, struct mt_record *record);

/* mt_scan_vmstat: /proc/vmstat. */
void mt_scan_vmstat(struct mt_slice text, struct mt_record *record);

/* mt_scan_pressure: /proc/pressure/memory; the totals, in microseconds. */
void mt_scan_pressure(struct mt_slice text, struct mt_record *record);

/* mt_scan_arcstats: ZFS's /proc/spl/kstat/zfs/arcstats; bytes become KiB, rounded down. */
void mt_scan_arcstats(struct mt_slice text, struct mt_record *record);

/* mt_scan_uptime: /proc/uptime; whole seconds, rounded down. */
void mt_scan_uptime(struct mt_slice text, struct mt_record *record);

/* mt_scan_boot_id: /proc/sys/kernel/random/boot_id. */
void mt_scan_boot_id(struct mt_slice text, struct mt_record *record);

#endif
