/* How many CPUs this process may use. Any thread. */
#ifndef MT_BASE_CPU_H
#define MT_BASE_CPU_H

#include <stdint.h>

/* mt_cpu_count: CPUs that it may run on, by affinity. 0: cannot be told. */
int64_t mt_cpu_count(void);

/*
 * mt_cpu_quota: the least CPU quota of the process's cgroups, v1 or v2, in whole CPUs, rounded up;
 * 0: there is none. `membership` is what /proc/self/cgroup is, `mount` where the cgroup file
 * systems are, /sys/fs/cgroup. In a container without a namespace for cgroups the path of the
 * membership is the machine's and not to be found there; what the container sees as the root is its
 * own then.
 */
int64_t mt_cpu_quota(const char *membership, const char *mount);

#endif
