"""The machine that is measured on: its CPUs, what disturbs it, and what it is."""

import math
import os
import platform
import re
from pathlib import Path

# more than so much of a core, while something was measured, and the figures are of somebody else; a
# hypervisor takes two or three hundredths of each busy CPU where nobody else is there
MOST_STEAL = 0.10
MOST_OTHER = 0.10
# runs that differ by more than so much say nothing by themselves,
MOST_SPREAD = 0.20
# nor ratios that differ by so much about a bound that lies between them
MOST_DOUBT = 0.10

TICKS = os.sysconf("SC_CLK_TCK")


def list_of_cpus(text):
    """The numbers in "0-1,4"."""
    found = []
    for part in text.strip().split(","):
        first, _, last = part.partition("-")
        found.extend(range(int(first), int(last or first) + 1))
    return found


def choose_cpus():
    """(CPU of the servers, CPU of who asks them): two that share no core, if there are such."""
    allowed = sorted(os.sched_getaffinity(0))
    if len(allowed) < 2:
        return allowed[0], allowed[0]
    server = allowed[-1]
    siblings = Path(f"/sys/devices/system/cpu/cpu{server}/topology/thread_siblings_list")
    same_core = list_of_cpus(siblings.read_text()) if siblings.exists() else [server]
    others = [cpu for cpu in allowed if cpu not in same_core] or allowed[:-1]
    return server, others[-1]


def disk_of(path):
    """What kind of disk holds a directory, and its file system: "virtio disk, ext4"."""
    device = os.stat(path).st_dev
    number = f"{os.major(device)}:{os.minor(device)}"
    system = next((line.partition(" - ")[2].split()[0]
                   for line in Path("/proc/self/mountinfo").read_text().splitlines()
                   if line.split()[2] == number), "unknown file system")
    place = Path(f"/sys/dev/block/{number}").resolve()
    while not (place / "queue").exists() and place != place.parent:
        place = place.parent
    if not (place / "queue/rotational").exists():
        return system
    if place.name.startswith("vd"):
        kind = "virtio disk"
    elif place.name.startswith("nvme"):
        kind = "NVMe"
    else:
        kind = "hard disk" if (place / "queue/rotational").read_text().strip() == "1" else "SSD"
    return f"{kind}, {system}"


def describe(directory):
    """What a reader needs to know of the machine; directory: where files are measured."""
    cpu = "unknown CPU"
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            cpu = line.partition(":")[2].strip()
            break
    system = platform.freedesktop_os_release().get("PRETTY_NAME", "Linux")
    total = int(Path("/proc/meminfo").read_text().split()[1])
    return {
        "cpu": cpu,
        "cpus": os.cpu_count(),
        "memory_mib": total // 1024,
        "system": system,
        # without what somebody named their build
        "kernel": re.match(r"[\d.]+(-\d+)?", platform.release()).group(),
        "hypervisor": "hypervisor" in Path("/proc/cpuinfo").read_text(),
        "disk": disk_of(directory),
    }


def times_of_cpus():
    """(busy, stolen) seconds of all CPUs since boot."""
    cells = [int(cell) / TICKS for cell in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
    user, nice, system, _idle, _iowait, irq, softirq, steal = cells
    return user + nice + system + irq + softirq, steal


def processes():
    """{pid: (parent's pid, CPU seconds)} of all that run."""
    found = {}
    for directory in Path("/proc").iterdir():
        if not directory.name.isdigit():
            continue
        try:
            cells = (directory / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        # with those of children that have ended
        found[int(directory.name)] = int(cells[1]), sum(map(int, cells[11:15])) / TICKS
    return found


def time_of(pid):
    """CPU seconds of a process and of all that descend from it."""
    all_of_them = processes()
    family = {pid}
    grown = True
    while grown:
        children = {one for one, (parent, _) in all_of_them.items() if parent in family}
        grown = not children <= family
        family |= children
    return sum(all_of_them[one][1] for one in family if one in all_of_them)


class Watch:
    """Looks how much of the machine somebody else used while something was measured.

    assumed: a pair of numbers that stands for what would be measured, for tests.
    """

    def __init__(self, assumed=None):
        self.assumed = assumed
        self.begin()

    def begin(self):
        self.busy, self.steal = times_of_cpus()
        self.own = time_of(os.getpid())
        self.time = os.times().elapsed

    def end(self):
        """(stolen, used by others), in cores, since begin()."""
        if self.assumed:
            return self.assumed
        busy, steal = times_of_cpus()
        # ticks are coarse: of a moment they say nothing
        seconds = max(os.times().elapsed - self.time, 0.5)
        others = busy - self.busy - (time_of(os.getpid()) - self.own)
        return (steal - self.steal) / seconds, max(others, 0) / seconds


def disturbances(stolen, others):
    """Why a round does not count, as texts; none for a quiet machine."""
    found = []
    if stolen > MOST_STEAL:
        found.append(f"the hypervisor took {stolen:.2f} cores")
    if others > MOST_OTHER:
        found.append(f"other programs used {others:.2f} cores")
    return found


def middle(values):
    """The values in order without those that lie outside of where the median is with 95 %: of so few
    that nothing can be said, all (the sign test's interval)."""
    ordered = sorted(values)
    count = len(ordered)
    beyond = 0
    # how likely at most so many of them lie below the median
    below = 0.5 ** count
    while below <= 0.025 and beyond < count:
        beyond += 1
        below += math.comb(count, beyond) * 0.5 ** count
    left_out = max(beyond - 1, 0)
    return ordered[left_out:count - left_out]


def spread(values):
    """How far the runs lie apart, as a share of their median; of many, see middle()."""
    ordered = middle(values)
    median = sorted(values)[len(values) // 2]
    return (ordered[-1] - ordered[0]) / median if median else 0.0
