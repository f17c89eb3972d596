"""What this process holds, and who computes on this machine: this process with its children, or others. Linux only."""

import os
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

DISTURBED_CORES = 0.2  # what others may use beside a measurement
QUIET_WINDOW_S = 0.5
IDLE_WINDOW_S = 0.1
IDLE_S = 0.02  # of a processor in such a window; a queue that polls counts as idle
STAT, WAITING = Path("/proc/stat"), (3, 4)  # of its first line, what isn't work: idle and iowait


@dataclass(frozen=True, slots=True, kw_only=True)
class CpuTimes:
    """A moment.

    Attributes:
        wall: seconds of a monotonic clock.
        machine: processor seconds used by everybody, summed over cores.
        tree: processor seconds used by this process and its living descendants.
    """

    wall: float
    machine: float
    tree: float


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0))


def read_cpu() -> CpuTimes:
    """The clocks now."""
    try:
        import psutil
    except ImportError:  # on a GPU machine without a network: all that is computed there counts as this process's
        ticks = sum(int(field) for place, field in enumerate(STAT.read_text().split()[1:9]) if place not in WAITING)
        all_of_it = ticks / os.sysconf("SC_CLK_TCK")
        return CpuTimes(wall=time.perf_counter(), machine=all_of_it, tree=all_of_it)
    everybody, tree, this = psutil.cpu_times(), 0.0, psutil.Process()
    for process in (this, *this.children(recursive=True)):
        with suppress(psutil.Error):  # it has just ended
            times = process.cpu_times()
            tree += times.user + times.system
    busy = (everybody.user, everybody.nice, everybody.system, everybody.irq, everybody.softirq, everybody.steal)
    return CpuTimes(wall=time.perf_counter(), machine=sum(busy), tree=tree)


def cores_of_others(before: CpuTimes, after: CpuTimes) -> float:
    """How many cores other processes kept busy between two moments, on average."""
    foreign = (after.machine - before.machine) - (after.tree - before.tree)
    return max(0.0, foreign / (after.wall - before.wall))


def wait_until_idle(limit_s: float = 10.0) -> None:
    """Return when this process and its children stopped computing (prefetch queues are full), or after `limit_s`."""
    end, before = time.monotonic() + limit_s, read_cpu().tree
    while time.monotonic() < end:
        time.sleep(IDLE_WINDOW_S)
        now = read_cpu().tree
        if now - before <= IDLE_S:
            return
        before = now


def wait_until_quiet(limit_s: float) -> float:
    """Return when other processes use less than `DISTURBED_CORES`, or after about `limit_s`; the seconds waited."""
    start = time.monotonic()
    while time.monotonic() - start < limit_s:
        before = read_cpu()
        time.sleep(QUIET_WINDOW_S)
        if cores_of_others(before, read_cpu()) <= DISTURBED_CORES:
            break
    return time.monotonic() - start


def resident_bytes() -> int:
    """Memory of this process."""
    import psutil

    return psutil.Process().memory_info().rss


def peak_bytes() -> int:
    """The most memory that this process has held since `reset_peak`; psutil doesn't tell it."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith("VmHWM:"))


def reset_peak() -> int:
    """Begin anew to look for the peak, where Linux allows it; the peak as of now."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
    return peak_bytes()


def thread_names() -> tuple[str, ...]:
    """Names of all threads of this process, Python's and others; psutil knows their numbers only."""
    names = []
    for task in Path("/proc/self/task").iterdir():
        with suppress(OSError):  # it has just ended
            names.append((task / "comm").read_text().strip())
    return tuple(sorted(names))


def open_files() -> tuple[str, ...]:
    """What the open file descriptors lead to; psutil leaves out pipes, sockets and devices."""
    targets = []
    for number in os.listdir("/proc/self/fd"):
        with suppress(OSError):  # the listing's own
            targets.append(os.readlink(f"/proc/self/fd/{number}"))
    return tuple(sorted(targets))
