#include "api/limits.h"

#include <errno.h>
#include <sys/resource.h>

#include "base/log.h"

enum mt_err mt_limits_connections(int64_t wanted, int64_t reserve, int64_t *connections,
                                  struct mt_error *error)
{
    struct rlimit limit;
    long long needed = wanted + reserve;
    int64_t room;

    if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
        return mt_error_set_errno(error, MT_ERR_FAILED, errno,
                                  "cannot read the limit of open files");
    if (limit.rlim_cur < limit.rlim_max) {
        struct rlimit raised = {limit.rlim_max, limit.rlim_max};

        if (setrlimit(RLIMIT_NOFILE, &raised) == 0)
            limit = raised;
    }
    if (limit.rlim_cur >= (rlim_t)needed) {
        *connections = wanted;
        return MT_OK;
    }
    room = (int64_t)limit.rlim_cur - reserve;
    if (room < 1)
        return mt_error_set(error, MT_ERR_FAILED,
                            "the limit of open files, %lld, leaves none for clients: raise it "
                            "(ulimit -n, LimitNOFILE=) to %lld",
                            (long long)limit.rlim_cur, needed);
    mt_log(MT_LOG_WARNING,
           "the limit of open files, %lld, allows %lld connections, not the %lld of "
           "--max-connections: raise it (ulimit -n, LimitNOFILE=) to %lld or give %lld",
           (long long)limit.rlim_cur, (long long)room, (long long)wanted, needed, (long long)room);
    *connections = room;
    return MT_OK;
}
