"""Who computes: this process with its children, or somebody else on the same machine. Linux only."""

import os
import time
from dataclasses import dataclass
from pathlib import Path

TICKS_PER_S = os.sysconf("SC_CLK_TCK")
DISTURBED_CORES = 0.2  # what others may use beside a measurement
QUIET_WINDOW_S = 0.5
IDLE_WINDOW_S = 0.1
IDLE_TICKS = 2  # in such a window; a queue that polls counts as idle


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
    user, nice, system, _, _, irq, softirq, steal = map(int, Path("/proc/stat").read_text().split(maxsplit=9)[1:9])
    machine = (user + nice + system + irq + softirq + steal) / TICKS_PER_S
    return CpuTimes(wall=time.perf_counter(), machine=machine, tree=_tree_ticks("self") / TICKS_PER_S)


def cores_of_others(before: CpuTimes, after: CpuTimes) -> float:
    """How many cores other processes kept busy between two moments, on average."""
    foreign = (after.machine - before.machine) - (after.tree - before.tree)
    return max(0.0, foreign / (after.wall - before.wall))


def wait_until_idle(limit_s: float = 10.0) -> None:
    """Return when this process and its children stopped computing (prefetch queues are full), or after `limit_s`."""
    end = time.monotonic() + limit_s
    before = _tree_ticks("self")
    while time.monotonic() < end:
        time.sleep(IDLE_WINDOW_S)
        now = _tree_ticks("self")
        if now - before <= IDLE_TICKS:
            return
        before = now


def wait_until_quiet(limit_s: float) -> float:
    """Return when other processes use less than `DISTURBED_CORES`, or after about `limit_s`.

    The value is the time waited, in seconds.
    """
    start = time.monotonic()
    while time.monotonic() - start < limit_s:
        before = read_cpu()
        time.sleep(QUIET_WINDOW_S)
        if cores_of_others(before, read_cpu()) <= DISTURBED_CORES:
            break
    return time.monotonic() - start


def _tree_ticks(pid: str) -> int:
    process = Path("/proc") / pid
    try:
        fields = (process / "stat").read_text().rpartition(")")[2].split()
        children = [child for task in (process / "task").iterdir() for child in (task / "children").read_text().split()]
    except OSError:  # it has just ended
        return 0
    user_and_system = int(fields[11]) + int(fields[12])  # fields 14 and 15 of proc(5); these here begin with the third
    return user_and_system + sum(_tree_ticks(child) for child in children)
