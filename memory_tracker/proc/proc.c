#include "proc/proc.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "proc/procps.h"
#include "proc/scan.h"

/* Several times what any kernel's vmstat takes; what lies beyond is not read. */
enum { FILE_MAX_BYTES = 1 << 16, EVIDENCE_MAX = 200 };

static const struct source {
    const char *path;
    void (*scan)(struct mt_slice text, struct mt_record *record);
    void (*refine)(struct mt_record *record); /* NULL: libproc2 is not asked */
} sources[] = {
    {"/proc/meminfo", mt_scan_meminfo, mt_procps_meminfo},
    {"/proc/vmstat", mt_scan_vmstat, NULL},
    {"/proc/pressure/memory", mt_scan_pressure, NULL},
    {"/proc/uptime", mt_scan_uptime, NULL},
    {"/proc/sys/kernel/random/boot_id", mt_scan_boot_id, NULL},
    {"/proc/spl/kstat/zfs/arcstats", mt_scan_arcstats, NULL},
};

/* Reads the file into buffer; text->data stays NULL and the result is an errno on failure. */
static int read_file(const char *path, char buffer[static FILE_MAX_BYTES], struct mt_slice *text)
{
    size_t used = 0;
    ssize_t count = 1;
    int failure = 0;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);

    if (fd < 0)
        return errno;
    while (count != 0 && used < FILE_MAX_BYTES && failure == 0) {
        count = read(fd, buffer + used, FILE_MAX_BYTES - used);
        if (count > 0)
            used += (size_t)count;
        else if (count < 0 && errno != EINTR)
            failure = errno;
    }
    (void)close(fd);
    if (failure != 0)
        return failure;
    /* a line that was cut would be read as a smaller number */
    while (used == FILE_MAX_BYTES && count != 0 && used > 0 && buffer[used - 1] != '\n')
        used--;
    *text = (struct mt_slice){buffer, used};
    return 0;
}

/* A record has to tell how much memory there is and how much of it is left. */
static enum mt_err check_meminfo(struct mt_slice text, const struct mt_record *record,
                                 struct mt_error *error)
{
    uint64_t free_fields = MT_FIELD_BIT(MT_FIELD_MEM_AVAILABLE) | MT_FIELD_BIT(MT_FIELD_MEM_FREE);
    int length = (int)(text.length < EVIDENCE_MAX ? text.length : EVIDENCE_MAX);
    const char *missing = NULL;

    if (record->value[MT_FIELD_MEM_TOTAL] == 0)
        missing = "MemTotal";
    else if ((record->present & free_fields) == 0)
        missing = "MemAvailable or MemFree";
    if (missing == NULL)
        return MT_OK;
    return mt_error_set(error, MT_ERR_FAILED,
                        "/proc/meminfo has no usable line %s; it begins: %.*s", missing, length,
                        text.data);
}

enum mt_err mt_proc_read(struct mt_record *record, struct mt_error *error)
{
    static char buffer[FILE_MAX_BYTES];

    for (size_t i = 0; i < sizeof sources / sizeof *sources; i++) {
        const struct source *source = &sources[i];
        bool is_meminfo = source->scan == mt_scan_meminfo;
        struct mt_slice text = {0};
        int failure = read_file(source->path, buffer, &text);

        if (failure != 0) {
            if (is_meminfo)
                return mt_error_set_errno(error, MT_ERR_FAILED, failure, "cannot read %s",
                                          source->path);
            mt_log(MT_LOG_DEBUG, "cannot read %s (%s): what it says is absent", source->path,
                   strerrordesc_np(failure));
            continue;
        }
        source->scan(text, record);
        if (is_meminfo && check_meminfo(text, record, error) != MT_OK)
            return MT_ERR_FAILED;
        if (source->refine != NULL)
            source->refine(record);
    }
    return MT_OK;
}
